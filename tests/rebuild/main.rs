//! A rebuilt index from a bucket of ten thousand packs is the one that it replaces, row for row.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::path::Path;
use std::sync::Arc;

use footage::clock::Clock;
use footage::media::{Gap, GapCause};
use footage::units::{PackId, RunId, Ticks90k, TimeRange};
use object_store::memory::InMemory;
use rusqlite::Connection;
use rusqlite::types::Value;
use vigie::hold::{Holds, Request};
use vigie::index::{Change, Index, PackState};
use vigie::scrub::{ScrubVerdict, Scrubber};
use vigie::store::Store;

#[allow(dead_code, reason = "the deduplication tests need more of it")]
#[path = "../dedup/rig.rs"]
mod rig;

use rig::{DAY, Options, Rig, at, key};

const CAMERAS: [&str; 16] = [
    "a/gate", "b/gate", "c/gate", "d/gate", "e/gate", "f/gate", "g/gate", "h/gate", "i/gate", "j/gate", "k/gate",
    "l/gate", "m/gate", "n/gate", "o/gate", "p/gate",
];
const PACKS_EACH: u32 = 625;
/// Seconds of footage in each.
const SECONDS: u32 = 2;
/// What of its footage is gone by then.
const SHORT_LIVED: &str = "q/yard";

/// Every row that packs, or the index before, tell of: numbers that an index gives itself are names here.
const ROWS: &[(&str, &str)] = &[
    (
        "cameras",
        "SELECT t.name, c.camera, c.name, c.place, c.configured, c.retention_max, c.retention_min
                 FROM camera c JOIN tenant t ON t.id = c.tenant",
    ),
    (
        "runs",
        "SELECT r.run, t.name, c.camera, r.start, r.until, r.camera_clock_offset, r.timeline_offset, r.packs
              FROM run r JOIN camera c ON c.id = r.camera JOIN tenant t ON t.id = c.tenant",
    ),
    (
        "packs",
        "SELECT p.pack, t.name, r.run, p.state, p.bytes, p.start, p.until, p.condemned_at, p.reason, h.hold,
               p.lent_bytes, p.hooks FROM pack p JOIN camera c ON c.id = p.camera JOIN tenant t ON t.id = c.tenant
               JOIN run r ON r.id = p.run LEFT JOIN hold h ON h.id = p.hold",
    ),
    ("hooks", "SELECT h.hook, p.pack FROM hook h JOIN pack p ON p.id = h.pack"),
    (
        "references",
        "SELECT h.pack, p.pack FROM reference r JOIN pack h ON h.id = r.host JOIN pack p ON p.id = r.referrer",
    ),
    (
        "usage",
        "SELECT t.name, u.packs, u.bytes, u.lent_bytes FROM usage u JOIN camera c ON c.id = u.camera
               JOIN tenant t ON t.id = c.tenant WHERE u.packs > 0",
    ),
    (
        "segments",
        "SELECT t.name, s.start, s.duration, s.decode_time, p.pack, s.first_fragment, s.fragments FROM segment s
                  JOIN pack p ON p.id = s.pack JOIN camera c ON c.id = s.camera JOIN tenant t ON t.id = c.tenant",
    ),
    ("open segments", "SELECT start FROM open_segment"),
    (
        "held segments",
        "SELECT h.hold, s.start, s.duration, s.decode_time, p.pack, s.first_fragment, s.fragments
                       FROM held_segment s JOIN pack p ON p.id = s.pack JOIN hold h ON h.id = s.hold",
    ),
    (
        "gaps",
        "SELECT t.name, g.start, g.until, g.cause, g.lost_packets FROM gap g JOIN camera c ON c.id = g.camera
              JOIN tenant t ON t.id = c.tenant",
    ),
    (
        "open gaps",
        "SELECT t.name, g.start, g.cause FROM open_gap g JOIN camera c ON c.id = g.camera
                   JOIN tenant t ON t.id = c.tenant",
    ),
    (
        "holds",
        "SELECT h.hold, t.name, h.start, h.until, h.reference, h.requester, h.reason, h.ends, h.placed, h.closed
               FROM hold h JOIN camera c ON c.id = h.camera JOIN tenant t ON t.id = c.tenant",
    ),
    ("damage", "SELECT p.pack, d.first, d.fragments FROM damage d JOIN pack p ON p.id = d.pack"),
    (
        "deletions",
        "SELECT t.name, d.day, d.reason, d.start, d.until, d.packs, d.bytes, d.first_at, d.last_at FROM deletion d
                   JOIN camera c ON c.id = d.camera JOIN tenant t ON t.id = c.tenant",
    ),
    (
        "events",
        "SELECT e.id, e.at, t.name, e.kind, e.entry FROM event e LEFT JOIN camera c ON c.id = e.camera
                LEFT JOIN tenant t ON t.id = c.tenant",
    ),
    ("clock", "SELECT steady, wall, held, lead FROM steady_clock"),
    ("scrub", "SELECT store, began, after, bytes FROM scrub"),
];

/// Each kind of row, sorted.
fn rows(index: &Path) -> Vec<(&'static str, Vec<Vec<String>>)> {
    let db = Connection::open_with_flags(index, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let read = |sql: &str| {
        let mut statement = db.prepare(sql).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            (0..columns).map(|n| Ok(format!("{:?}", row.get::<_, Value>(n)?))).collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut rows: Vec<Vec<String>> = statement.query_map([], row).unwrap().map(Result::unwrap).collect();
        rows.sort();
        rows
    };
    ROWS.iter().map(|(kind, sql)| (*kind, read(sql))).collect()
}

/// Its packs with a gap before each fiftieth. The run is over then, and each pack is sealed.
async fn record(rig: &mut Rig, camera: &str, packs: u32) -> PackId {
    let (mut recorded, mut from) = (Vec::new(), 0);
    for n in 0..packs {
        let mut gaps = Vec::new();
        if n % 50 == 49 {
            let (start, end) = (at(from.into()), at((from + 2 * SECONDS).into()));
            gaps.push(Gap { start, end, cause: GapCause::ALL[n as usize % 9 + 2], lost_packets: 0 });
            from += 2 * SECONDS;
        }
        recorded.push(rig.seal_after(camera, from..from + SECONDS, gaps).await);
        from += SECONDS;
    }
    let mut run = RunId([9; 16]);
    run.0[..8].copy_from_slice(&blake3::hash(camera.as_bytes()).as_bytes()[..8]);
    let clocks = Change::RunClocks { run, camera_clock_offset: None, timeline_offset: Ticks90k::ZERO };
    rig.index.write(vec![clocks, Change::EndRun { run, end: at(from.into()) }]).await.unwrap();
    for pack in &recorded {
        while rig.spool.growing(*pack).is_some() {
            tokio::task::yield_now().await;
        }
    }
    recorded[0]
}

async fn all_stored(rig: &Rig) {
    while !rig.index.packs_in_state(PackState::Sealed, 1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_rebuilt_from_ten_thousand_packs_is_the_one_before() {
    let options = Options {
        cameras: CAMERAS.iter().map(|camera| (*camera, 9)).chain([(SHORT_LIVED, 1)]).collect(),
        sharing: vec!["a", "b", "c", "d"],
        dedup: true,
        elsewhere: true,
        encrypted: false,
    };
    // Ten thousand packs are flushed, and the disk is not what this is about.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let path = dir.path().join("index.sqlite");
    let index = Index::open(&path).await.unwrap();
    let store = Store::over(Arc::new(InMemory::new()));
    let mut rig = Rig::over(dir, index, store, options).await;

    record(&mut rig, SHORT_LIVED, 20).await;
    let mut first = Vec::new();
    for camera in CAMERAS {
        first.push(record(&mut rig, camera, PACKS_EACH).await);
    }
    all_stored(&rig).await;

    // A hold, a pack that nobody can mend, expired footage, an open gap, events.
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let (spool, packs) = (rig.spool.clone(), rig.packs.clone());
    let holds = Holds::new(rig.index.clone(), spool, packs, rig.keys.clone(), clock, jiff::tz::TimeZone::UTC);
    let request = Request {
        camera: key(CAMERAS[5]),
        range: TimeRange::new(at(101), at(163)).unwrap(),
        reference: "PV 2026/117".into(),
        requester: "Major Durand".into(),
        reason: "theft".into(),
        until: rig::NOON.saturating_add(Ticks90k(20 * DAY)),
    };
    holds.place(request).await.unwrap();
    holds.copy_all().await.unwrap();
    all_stored(&rig).await;
    rig.settle().await;
    let [cached, ..] = rig.spool.files(&key(CAMERAS[9]), first[9]);
    let mut bytes = std::fs::read(&cached).unwrap();
    std::fs::remove_file(&cached).unwrap();
    let hit = rig.table(first[9]).await.fragments[1].end() as usize - 5;
    bytes[hit] ^= 1;
    let damaged = rig.dir.path().join("damaged.mp4");
    std::fs::write(&damaged, bytes).unwrap();
    rig.store.put_pack(&key(CAMERAS[9]), first[9], &damaged).await.unwrap();
    let parts = (rig.index.clone(), rig.spool.clone(), rig.store.clone(), rig.packs.clone());
    let scrubber = Scrubber::new(parts, rig.keys.clone(), rig.clock.clone(), rig.dir.path().join("scrub")).unwrap();
    assert!(matches!(scrubber.examine(first[9]).await.unwrap(), ScrubVerdict::Lost(_)));
    drop(scrubber);
    let open_gap = Change::OpenGap { camera: key(CAMERAS[3]), start: at(2_000), cause: GapCause::ConnectFailed };
    rig.index.write(vec![open_gap]).await.unwrap();
    rig.sweep_at(rig::NOON.saturating_add(Ticks90k(2 * DAY))).await;
    rig.index.close().await;

    let before = rows(&path);
    let count = |kind: &str| before.iter().find(|(of, _)| *of == kind).unwrap().1.len();
    assert!(count("packs") > 10_000, "{}", count("packs"));
    for kind in ["references", "held segments", "gaps", "open gaps", "holds", "damage", "deletions", "events"] {
        assert!(count(kind) > 0, "there are no {kind}: nothing is compared");
    }
    let index = Index::open(&path).await.unwrap();
    let known = index.all_cameras().await.unwrap();
    index.close().await;
    let rig = rig.rebuilt_with(known).await;
    rig.index.close().await;
    for ((kind, was), (_, is)) in before.iter().zip(rows(&path)) {
        let differs = was.iter().zip(&is).find(|(was, is)| was != is);
        assert!(*was == is, "{kind}: {} rows were {}, the first that differs: {differs:#?}", is.len(), was.len());
    }
}
