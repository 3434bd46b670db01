//! The way from access units to a pack and back: what a camera costs the processor before any network or index.
//!
//! ```text
//! cargo bench --bench pack                      packs in the temporary directory and in memory (/dev/shm)
//! VIGIE_BENCH_DIR=/data cargo bench …           on the disk to be measured
//! ```
//!
//! The camera is an ordinary one: 4 Mb/s, 25 images/s, a random access point every two seconds, jitter of a
//! millisecond. A pack of it is two minutes long.

mod camera;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use footage::clock::Reading;
use footage::fragment::Fragmenter;
use footage::keys::DomainKey;
use footage::keys::vault::{DayKey, Vault, master};
use footage::media::{AccessUnit, Fragment, Track};
use footage::pack::reader::{self, Tail};
use footage::pack::writer::PackWriter;
use footage::pack::{PackHeader, Stamp};
use footage::units::{PackId, RunId, TICKS_PER_SECOND, TenantId, Ticks90k, WallTime};

use camera::params;

const FRAME: i64 = TICKS_PER_SECOND / 25;
const GOP: i64 = 50;
const PACK_FRAMES: i64 = 120 * 25;
const RANDOM_ACCESS_BYTES: usize = 120_000;
const PICTURE_BYTES: usize = 18_000;

/// The camera's next pictures. All share one buffer, which the processor's cache holds: a recorder's come from memory.
fn pictures(count: i64) -> impl Iterator<Item = AccessUnit> {
    let bytes: Bytes = (0..RANDOM_ACCESS_BYTES).map(|i| (i * 31) as u8).collect::<Vec<_>>().into();
    (0..count).map(move |i| {
        let random_access = i % GOP == 0;
        let jitter = i * 7_919 % 90;
        let timestamp = i * FRAME + jitter;
        let mono = Duration::from_millis(40 * i as u64);
        // Sizes differ from picture to picture, as a table has to say them.
        let size = if random_access { RANDOM_ACCESS_BYTES } else { PICTURE_BYTES - (i * 613 % 4_000) as usize };
        AccessUnit {
            track: Track::Video,
            timestamp,
            data: bytes.slice(..size),
            random_access,
            lost_packets: 0,
            received: Reading { wall: WallTime(timestamp), mono },
            new_params: None,
        }
    })
}

fn fragments(count: i64) -> Vec<Fragment> {
    let mut cutter = Fragmenter::new(params());
    let mut fragments: Vec<Fragment> = pictures(count).filter_map(|picture| cutter.push(picture)).collect();
    fragments.extend(cutter.finish());
    fragments
}

fn key() -> DomainKey {
    let tenant: TenantId = "town".parse().expect("a name");
    DomainKey::for_tenant(&[1; 32], &tenant)
}

/// A new pack, sealed where there is a key for it.
fn create(path: &Path, day: Option<&Arc<DayKey>>) -> PackWriter {
    let camera = "town/square".parse().expect("a camera");
    let header = PackHeader { pack: PackId([1; 16]), camera, run: RunId([2; 16]), params: params(), hold: None };
    match day {
        Some(day) => PackWriter::create_encrypted(path, header, key(), day.clone()),
        None => PackWriter::create(path, header, key()),
    }
    .expect("a new pack")
}

fn day_key(dir: &Path) -> Arc<DayKey> {
    let masters = master::load_or_create(&dir.join("master.key")).expect("a directory to write to");
    let tenant: TenantId = "town".parse().expect("a name");
    Vault::open(dir, masters).for_day(&tenant, jiff::civil::date(2026, 6, 1)).expect("a key")
}

fn append(writer: &mut PackWriter, fragments: &[Fragment]) {
    for fragment in fragments {
        let wall_start = WallTime(1_780_000_000 * TICKS_PER_SECOND + fragment.decode_time.0);
        let (wall_duration, camera_time) = (fragment.duration, Some(wall_start.saturating_add(Ticks90k(250))));
        let stamp = Stamp { wall_start, wall_duration, camera_time, gaps: Vec::new() };
        writer.append(fragment, stamp).expect("a disk with room");
    }
}

fn cut(c: &mut Criterion) {
    let hour: Vec<AccessUnit> = pictures(3_600 * 25).collect();
    let mut group = c.benchmark_group("fragment");
    group.throughput(Throughput::Elements(hour.len() as u64));
    group.bench_function("1h_25fps_gop50", |b| {
        let input = || (Fragmenter::new(params()), hour.clone());
        let cut_all = |(mut cutter, pictures): (Fragmenter, Vec<AccessUnit>)| {
            pictures.into_iter().filter_map(|picture| cutter.push(picture)).count()
        };
        b.iter_batched(input, cut_all, BatchSize::LargeInput);
    });
    group.finish();
}

/// Fragments that the processor's cache does not hold, as those of hundreds of cameras are: this is what their ids cost.
fn identify(c: &mut Criterion) {
    let pack = fragments(PACK_FRAMES);
    let bytes: usize = pack.iter().map(|f| f.payload.len()).sum();
    let mut group = c.benchmark_group("id");
    group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20);
    group.bench_function("2min_4mbps", |b| {
        let id = |fragment: &Fragment| key().id_of_parts(fragment.payload.pieces());
        b.iter(|| pack.iter().map(id).fold(0, |all, id| all ^ id.0[0]));
    });
    group.finish();
}

fn write(c: &mut Criterion) {
    let pack = fragments(PACK_FRAMES);
    let bytes: usize = pack.iter().map(|f| f.payload.len()).sum();
    let disk = std::env::var_os("VIGIE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20);
    for (name, parent) in [("2min_4mbps_memory", PathBuf::from("/dev/shm")), ("2min_4mbps_disk_unflushed", disk)] {
        if !parent.is_dir() {
            continue;
        }
        let dir = tempfile::tempdir_in(&parent).expect("a directory to write to");
        let (path, day) = (dir.path().join("pack.mp4"), day_key(dir.path()));
        for (name, day) in [(name.to_owned(), None), (format!("{name}_encrypted"), Some(&day))] {
            group.bench_function(name, |b| {
                let new = || {
                    // Absent the first time.
                    let _ = std::fs::remove_file(&path);
                    create(&path, day)
                };
                b.iter_batched_ref(new, |writer| append(writer, &pack), BatchSize::PerIteration);
            });
        }
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory to write to");
    let path = dir.path().join("pack.mp4");
    let mut writer = create(&path, None);
    append(&mut writer, &fragments(PACK_FRAMES));
    let (table, size) = writer.finish().expect("a disk with room");
    let pack = std::fs::read(&path).expect("the pack just written");
    let tail = &pack[pack.len() - reader::TAIL_BYTES as usize..];

    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Elements(table.fragments.len() as u64));
    group.bench_function("table_of_2min_25fps", |b| {
        b.iter(|| assert!(matches!(reader::table_from_tail(tail, size), Ok(Tail::Table(_)))));
    });
    group.throughput(Throughput::Bytes(size)).sample_size(20);
    group.bench_function("scan_2min_4mbps", |b| {
        b.iter(|| assert!(reader::scan(&path, &key()).expect("a readable file").finished));
    });
    group.finish();
}

criterion_group!(pack, cut, identify, write, read);
criterion_main!(pack);
