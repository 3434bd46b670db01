//! The gateway is killed, again and again, and nothing but the fragment in memory is lost.
//!
//! `VIGIE_CRASH_ROUNDS` (default 8) and `VIGIE_CRASH_SEED` (default 1) make it longer or other.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use footage::clock::{Clock, SystemClock};
use footage::keys::Keys;
use footage::media::GapCause;
use footage::pack::reader;
use footage::units::{CameraKey, TICKS_PER_SECOND, TimeRange, WallTime};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vigie::index::of_pack::rows_of;
use vigie::index::{Index, PackState, SegmentRow};

#[path = "support/demo.rs"]
mod demo;

use demo::{Demo, pass};

/// A fragment lasts a second at most, and is written when the next begins: one picture, one tick of the sockets and a
/// slow machine later.
const LOST_SECONDS_MAX: i64 = 3;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Whether a live view of the camera was begun.
fn is_viewed(gateway: &Demo) -> bool {
    let mut stream = TcpStream::connect(&gateway.address).expect("the address is served");
    let request = "GET /api/cameras/parvis/hls/live.m3u8 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.starts_with("HTTP/1.1 200 ")
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a failing seed must show")]
async fn a_killed_gateway_loses_only_the_fragment_in_memory() {
    let (rounds, seed) = (setting("VIGIE_CRASH_ROUNDS", 8), setting("VIGIE_CRASH_SEED", 1));
    println!("VIGIE_CRASH_ROUNDS={rounds} VIGIE_CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let clock = SystemClock::default();
    let (mut kills, mut views) = (Vec::new(), 0);
    for _ in 0..rounds {
        let began = clock.read().mono;
        let gateway = Demo::start(dir.path());
        pass(Duration::from_millis(random.random_range(100..4_500)));
        let recorded = clock.read().mono - began;
        views += usize::from(is_viewed(&gateway));
        kills.push((gateway.kill(|| clock.wall()), recorded));
    }
    let gateway = Demo::start(dir.path());
    pass(Duration::from_millis(2_500));
    gateway.end();
    check(dir.path(), &kills).await;
    check_journal(&dir.path().join("journal/demo"), views);
}

/// Each view that was answered, just before its gateway was killed, has its entry, and the journal is sound.
fn check_journal(folder: &Path, views: usize) {
    let report = journal::verify::verify(folder, &journal::verify::Known::default()).expect("a journal");
    assert_eq!(report.faults, []);
    let lines = journal::read::entries(folder, 0, 10_000).expect("its entries");
    let begun = lines.iter().filter(|line| line.contains("\"access_begun\"")).count();
    assert!(views > 0 && begun == views, "{views} views, {begun} entries: {lines:#?}");
}

async fn check(dir: &Path, kills: &[(WallTime, Duration)]) {
    let mut spooled = Vec::new();
    files(&dir.join("spool"), &mut spooled);
    assert!(spooled.is_empty(), "left in the spool: {spooled:?}");

    let key: CameraKey = "demo/parvis".parse().unwrap();
    let domain = Keys::load_or_create(&dir.join("keys").join("gateway.key")).unwrap().domain(&key.tenant);
    let index = Index::open_read_only(&dir.join("index.sqlite")).await.unwrap();
    let mut packs = Vec::new();
    files(&dir.join("store"), &mut packs);
    packs.retain(|path| path.extension().is_some_and(|e| e == "mp4"));
    assert!(!packs.is_empty());
    let place = |s: &SegmentRow| (s.range, s.run, s.decode_time, s.pack, s.first_fragment, s.fragments);
    for path in &packs {
        let table =
            reader::verify_pack(path, &domain).unwrap_or_else(|places| panic!("{}: {places:?}", path.display()));
        let bytes = std::fs::metadata(path).unwrap().len();
        let reported = rows_of(&table, bytes).expect("fragments");
        let row = index.any_pack(table.header.pack).await.unwrap().expect("a row");
        assert_eq!((row.state, row.bytes), (PackState::Stored, bytes));
        let found = index.segments_of_pack(row.id).await.unwrap();
        assert_eq!(
            found.iter().map(place).collect::<Vec<_>>(),
            reported.segments.iter().map(place).collect::<Vec<_>>()
        );
        plays(path);
    }

    let all = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap();
    let rows = index.packs_after(None, 10_000).await.unwrap();
    assert_eq!(rows.len(), packs.len(), "a row for each object and no other");
    let spans = index.spans(&key, all).await.unwrap();
    let gaps = index.gaps(&key, all).await.unwrap();
    for pair in spans.windows(2).filter(|pair| pair[0].end() != pair[1].start()) {
        assert!(pair[0].end() < pair[1].start(), "segments overlap at {}", pair[1].start());
        let gap = gaps.iter().find(|gap| gap.start == pair[0].end() && gap.end == Some(pair[1].start()));
        let gap = gap.unwrap_or_else(|| panic!("no gap row from {} to {}", pair[0].end(), pair[1].start()));
        assert_eq!(gap.cause, GapCause::GatewayCrashed);
    }
    for (killed, recorded) in kills.iter().filter(|(_, recorded)| *recorded > Duration::from_secs(3)) {
        let before = spans.iter().filter(|span| span.start() < *killed);
        let last = before.map(TimeRange::end).max().expect("footage before the kill");
        let lost = killed.since(last).0;
        assert!(lost <= LOST_SECONDS_MAX * TICKS_PER_SECOND, "{lost} ticks lost after {recorded:?} of recording");
    }
}

/// Any player opens a pack as it lies in the store.
fn plays(path: &Path) {
    let decoded = Command::new("ffmpeg")
        .args(["-v", "warning", "-xerror", "-i"])
        .arg(path)
        .args(["-f", "null", "-"])
        .output()
        .expect("ffmpeg (Debian's package `ffmpeg`)");
    let said = String::from_utf8_lossy(&decoded.stderr);
    assert!(decoded.status.success() && said.is_empty(), "{}: {said}", path.display());
}
