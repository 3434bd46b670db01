//! The index at full size: what a row costs, and whether recording and the timeline stay fast.
//!
//! ```text
//! cargo bench --bench index                                    200,000 packs of 1,000 cameras
//! VIGIE_BENCH_PACKS=21600000 cargo bench --bench index         30 days of 1,000 cameras (writes some 4 GB)
//! VIGIE_BENCH_DIR=/data …                                      elsewhere than in the temporary directory
//! VIGIE_BENCH_KEEP=/data/index.sqlite …                        keep the index, for `vigie bench ingest --index`
//! ```
//!
//! The index is filled through the public interface, camera after camera, some minutes of each at a time.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;
use vigie::clock::{Clock, SystemClock};
use vigie::index::{CameraRow, Change, Index, PackRow, PackState, SegmentRow};
use vigie::units::{CameraKey, PackId, RunId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

const CAMERAS: usize = 1_000;
/// Two minutes, the length at which a pack is sealed.
const PACK: i64 = 120 * TICKS_PER_SECOND;
const DAY: i64 = 86_400 * TICKS_PER_SECOND;
/// A month ends now, so that a gateway that starts with a kept index finds nothing that it would have to delete.
static BEGINNING: LazyLock<WallTime> =
    LazyLock::new(|| SystemClock::default().wall().saturating_sub(Ticks90k(30 * DAY - 3_600 * TICKS_PER_SECOND)));

type Failure = Box<dyn std::error::Error>;

struct Camera {
    key: CameraKey,
    run: RunId,
    /// Cameras do not seal at the same instant.
    offset: i64,
}

impl Camera {
    /// Start of its `n`th pack.
    fn start(&self, n: usize) -> WallTime {
        WallTime(BEGINNING.0 + self.offset + n as i64 * PACK)
    }

    fn open(&self, n: usize) -> (PackId, Change) {
        let start = self.start(n);
        let id = PackId::generate(start);
        let (camera, run) = (self.key.clone(), self.run);
        let row = PackRow { id, camera, run, state: PackState::Open, bytes: 0, start, end: start, condemned_at: None };
        (id, Change::OpenPack(row))
    }

    fn segment(&self, n: usize, pack: PackId, duration: i64) -> Change {
        let start = self.start(n);
        let range = TimeRange::new(start, WallTime(start.0 + duration)).expect("a pack has a length");
        let segment = SegmentRow {
            range,
            run: self.run,
            decode_time: Ticks90k(n as i64 * PACK),
            pack,
            state: PackState::Open,
            first_fragment: 0,
            fragments: (duration / TICKS_PER_SECOND) as u32,
        };
        Change::PutSegment { camera: self.key.clone(), segment, pack_bytes: duration.unsigned_abs() * 6 }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // `cargo test --benches` only asks whether it runs.
    let small = !std::env::args().any(|arg| arg == "--bench");
    let packs = match std::env::var("VIGIE_BENCH_PACKS") {
        Ok(packs) => packs.parse()?,
        Err(_) => {
            if small {
                2 * CAMERAS
            } else {
                200 * CAMERAS
            }
        }
    };
    let each = (packs / CAMERAS).max(2);
    let dir = match std::env::var_os("VIGIE_BENCH_DIR") {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let path = dir.path().join("index.sqlite");
    let index = Index::open(&path).await?;
    let cameras = configure(&index).await?;
    println!("index of {CAMERAS} cameras, {each} packs of 2 min each ({:.1} days)", each as f64 / 720.0);
    let open = fill(&index, &cameras, each).await?;
    for count in [400, 1_000] {
        flush(&index, &cameras[..count], &open, each).await?;
    }
    timeline(&index, &cameras, each).await?;
    index.close().await;
    lookup(&index).await?;
    sizes(&path, each)?;
    if let Some(kept) = std::env::var_os("VIGIE_BENCH_KEEP") {
        rusqlite::Connection::open(&path)?.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        std::fs::copy(&path, kept)?;
    }
    Ok(())
}

async fn configure(index: &Index) -> Result<Vec<Camera>, Failure> {
    let camera = |n: usize| -> Result<Camera, Failure> {
        let offset = rand::rng().random_range(0..PACK);
        Ok(Camera { key: format!("bench/{n}").parse()?, run: RunId::generate(*BEGINNING), offset })
    };
    let cameras = (0..CAMERAS).map(camera).collect::<Result<Vec<_>, _>>()?;
    let rows = cameras.iter().map(|camera| CameraRow {
        key: camera.key.clone(),
        name: camera.key.to_string(),
        place: "place de la Mairie".to_owned(),
        configured: true,
        retention_max: Ticks90k(30 * DAY),
        retention_min: Ticks90k::ZERO,
    });
    let mut changes = vec![Change::Configure(rows.collect())];
    changes.extend(cameras.iter().map(|camera| Change::BeginRun {
        camera: camera.key.clone(),
        run: camera.run,
        start: *BEGINNING,
    }));
    index.write(changes).await?;
    Ok(cameras)
}

/// A pack's hooks are spread as hashes are: each lands somewhere else in its table.
fn hook(pack: PackId, n: u64) -> u64 {
    let [a, b, c, d, e, f, ..] = *blake3::hash(&[pack.0.as_slice(), &n.to_be_bytes()].concat()).as_bytes();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Looks up what a pack of ordinary footage asks for when it is sealed: hooks that nobody has.
async fn lookup(index: &Index) -> Result<(), Failure> {
    const LOOKUPS: u64 = 1_000;
    let begin = Instant::now();
    for n in 0..LOOKUPS {
        let hooks = (0..3).map(|k| hook(PackId([255; 16]), n * 3 + k)).collect();
        index.packs_hooked(hooks).await?;
    }
    println!("index/hooks           {:>9.1} µs a pack", begin.elapsed().as_secs_f64() / LOOKUPS as f64 * 1e6);
    Ok(())
}

/// Records `each` packs of every camera; the last stays open. Gives the open ones.
async fn fill(index: &Index, cameras: &[Camera], each: usize) -> Result<Vec<PackId>, Failure> {
    // Packs of a camera in one call, side by side: in life they come one by one, eight a second of a thousand cameras.
    const PACKS_PER_CALL: usize = 6;
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let mut changes = Vec::new();
    for first in (0..each - 1).step_by(PACKS_PER_CALL) {
        for camera in cameras {
            for n in first..(first + PACKS_PER_CALL).min(each - 1) {
                let (pack, change) = camera.open(n);
                changes.extend([change, camera.segment(n, pack, PACK)]);
                changes.extend([Change::SealPack { pack, bytes: 60_000_000 }, Change::PackStored { pack }]);
                // As of 120 fragments: one in 64, and the least.
                changes.push(Change::Hook { pack, hooks: (0..3).map(|n| hook(pack, n)).collect() });
            }
        }
        index.write(std::mem::take(&mut changes)).await?;
    }
    let mut open = Vec::new();
    for camera in cameras {
        let (pack, change) = camera.open(each - 1);
        changes.extend([change, camera.segment(each - 1, pack, TICKS_PER_SECOND)]);
        open.push(pack);
    }
    index.write(changes).await?;
    let packs = (each * cameras.len()) as f64;
    let (wall, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("index/fill            {:>9.0} packs/s   {:.1} µs of CPU a pack", packs / wall, cpu / packs * 1e6);
    Ok(open)
}

/// Each second, every camera's last segment is rewritten: one call a camera, as recorders make them.
async fn flush(index: &Index, cameras: &[Camera], open: &[PackId], each: usize) -> Result<(), Failure> {
    const FLUSHES: i64 = 100;
    let mut took = Vec::new();
    let cpu = cpu_seconds();
    for second in 2..2 + FLUSHES {
        let begin = Instant::now();
        let calls = cameras
            .iter()
            .zip(open)
            .map(|(camera, pack)| index.write(vec![camera.segment(each - 1, *pack, second * TICKS_PER_SECOND)]));
        futures::future::try_join_all(calls).await?;
        took.push(begin.elapsed());
    }
    let cpu = (cpu_seconds() - cpu) / FLUSHES as f64;
    let (cameras, [median, worst]) = (cameras.len(), percentiles(took));
    println!("index/flush_{cameras:<10} {median:>9.2?} median   {worst:.2?} p99   {:.1} ms of CPU", cpu * 1e3);
    Ok(())
}

/// Questions about random cameras and instants.
async fn timeline(index: &Index, cameras: &[Camera], each: usize) -> Result<(), Failure> {
    const QUESTIONS: usize = 500;
    let mut took: [Vec<Duration>; 4] = Default::default();
    let mut spans = 0;
    for _ in 0..QUESTIONS {
        let key = &cameras[rand::rng().random_range(0..cameras.len())].key;
        let last = (each as i64 * PACK - DAY).max(1);
        let start = WallTime(BEGINNING.0 + rand::rng().random_range(0..last));
        let range = |length| TimeRange::new(start, WallTime(start.0 + length)).expect("a question has a length");
        let begin = Instant::now();
        spans += index.spans(key, range(DAY)).await?.len();
        took[0].push(begin.elapsed());
        let begin = Instant::now();
        index.segments(key, range(10 * 60 * TICKS_PER_SECOND)).await?;
        took[1].push(begin.elapsed());
        let begin = Instant::now();
        index.gaps(key, range(DAY)).await?;
        took[2].push(begin.elapsed());
        let begin = Instant::now();
        index.extent(key).await?;
        took[3].push(begin.elapsed());
    }
    let names = ["index/timeline_day", "index/segments_10min", "index/gaps_day", "index/extent"];
    for (name, took) in names.into_iter().zip(took) {
        let [median, worst] = percentiles(took);
        println!("{name:<22}{median:>9.2?} median   {worst:.2?} p99");
    }
    println!("{:<22}{:>9} segments a timeline", "", spans / QUESTIONS);
    Ok(())
}

/// What lies on disk, by table, per pack (one segment each).
fn sizes(path: &Path, each: usize) -> Result<(), Failure> {
    let packs = (each * CAMERAS) as f64;
    let file = std::fs::metadata(path)?.len() as f64;
    let month = 720.0 * 30.0 * 1_000.0;
    println!(
        "index/bytes_per_pack  {:>9.1} B   {:.2} GB for 30 days of 1,000 cameras",
        file / packs,
        file / packs * month / 1e9
    );
    let db = rusqlite::Connection::open(path)?;
    let mut tables =
        db.prepare("SELECT name, sum(pgsize), sum(payload), count(*) FROM dbstat GROUP BY name ORDER BY 2 DESC")?;
    let mut rows = tables.query([])?;
    while let Some(row) = rows.next()? {
        let (name, bytes, payload): (String, f64, f64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if bytes / packs >= 0.1 {
            println!("    {name:<26}{:>6.1} B   {:>3.0}% of it payload", bytes / packs, 100.0 * payload / bytes);
        }
    }
    Ok(())
}

/// Median and 99th percentile.
fn percentiles(mut took: Vec<Duration>) -> [Duration; 2] {
    took.sort();
    [took[took.len() / 2], took[took.len() * 99 / 100]]
}

/// User and system time of this process (`man 5 proc`: fields 14 and 15 of `stat`, in 1/100 s).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
