//! Twenty-four hours of two cameras in seconds: faults, clocks that step, retention. What must always hold is looked at
//! each simulated half hour.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use footage::clock::{Clock, SimClock};
use footage::keys::Keys;
use footage::media::{GapCause, Params, VideoCodec, VideoParams};
use footage::source::SourceError;
use footage::units::{CameraKey, PackId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};
use testkit::replay::{ReplayCamera, ReplayFault, ReplaySource};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use vigie::archive::Archive;
use vigie::gateway::continuity;
use vigie::index::{CameraRow, Change, Index};
use vigie::record::{PackLimits, Recorder, RecordingContext};
use vigie::retention::{Policy, storage, sweep};
use vigie::seal::Sealer;
use vigie::spool::Spool;
use vigie::status::StatusBoard;
use vigie::store::Store;

const HOUR: i64 = 3_600 * TICKS_PER_SECOND;
const MAX: Ticks90k = Ticks90k(6 * HOUR);
const MIN: Ticks90k = Ticks90k(2 * HOUR);
/// 1 March 2026, 00:00 UTC.
const START: WallTime = WallTime(1_772_323_200 * TICKS_PER_SECOND);

fn params() -> Arc<Params> {
    let video = VideoParams {
        codec: VideoCodec::H264,
        width: 704,
        height: 576,
        sample_entry: Bytes::from_static(b"\0\0\0\x10avc1\x01\x02\x03\x04\x05\x06\x07\x08"),
        rfc6381: "avc1.4D001E".into(),
    };
    Arc::new(Params { video, audio: None })
}

/// What goes wrong with the first camera in the course of the day.
fn faults() -> Vec<(Duration, ReplayFault)> {
    let at = |hours: f64| Duration::from_secs_f64(hours * 3_600.0);
    let error = |cause| SourceError { cause, detail: "as the script says".to_owned() };
    vec![
        (at(1.0), ReplayFault::Loss { packets: 12 }),
        (at(2.3), ReplayFault::Silence { until: at(2.4) }),
        (at(4.0), ReplayFault::Jump { by: Ticks90k(HOUR) }),
        (at(6.1), ReplayFault::Jump { by: Ticks90k(-HOUR) }),
        (at(9.0), ReplayFault::Fail { until: at(9.5), error: error(GapCause::ConnectFailed) }),
        (at(13.0), ReplayFault::ClockStep { by: Ticks90k(HOUR) }),
        (at(15.0), ReplayFault::Fail { until: at(15.0), error: error(GapCause::Disconnected) }),
        (at(20.0), ReplayFault::Loss { packets: 3 }),
    ]
}

struct Day {
    clock: Arc<SimClock>,
    index: Index,
    dir: tempfile::TempDir,
}

fn key(id: &str) -> CameraKey {
    format!("town/{id}").parse().unwrap()
}

fn everything() -> TimeRange {
    TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap()
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Bytes of memory in use, from Linux's own account.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

impl Day {
    /// Nothing too old anywhere, nothing too young gone, a row for each file and a file for each row.
    async fn check(&self, recorded_from: WallTime) {
        let now = self.clock.wall();
        let mut paths = Vec::new();
        files(&self.dir.path().join("store"), &mut paths);
        files(&self.dir.path().join("spool"), &mut paths);
        let named = |path: &PathBuf| path.file_name()?.to_str()?.split('.').next()?.parse::<PackId>().ok();
        let on_disk: BTreeSet<PackId> = paths.iter().filter_map(named).collect();
        assert_eq!(on_disk.len(), paths.len(), "a file that is no pack, or a pack twice");
        let rows = self.index.packs_after(None, 100_000).await.unwrap();
        let known: BTreeSet<PackId> = rows.iter().map(|row| row.id).collect();
        // A pack that began within the last second is not in the index yet.
        assert!(on_disk.difference(&known).count() <= 2, "orphans: {:?}", on_disk.difference(&known));
        assert!(known.is_subset(&on_disk), "rows without bytes: {:?}", known.difference(&on_disk));
        for row in &rows {
            assert!(row.start >= now.saturating_sub(MAX), "a pack from {} is still there at {now}", row.start);
        }
        for id in ["a", "b"] {
            let extent = self.index.extent(&key(id)).await.unwrap().expect("footage");
            let guaranteed = now.saturating_sub(MIN).max(recorded_from);
            let gone = extent.start().since(guaranteed);
            assert!(gone <= Ticks90k(120 * TICKS_PER_SECOND), "{id}: footage from {guaranteed} on is gone at {now}");
            self.check_overlaps(id).await;
        }
    }

    /// An instant is shown once, but where the clock was set back: there the earlier run is known to bear wrong times.
    async fn check_overlaps(&self, id: &str) {
        let segments = self.index.segments(&key(id), everything()).await.unwrap();
        let wrong: BTreeSet<_> = self.index.misdated(&key(id)).await.unwrap().iter().map(|run| run.run).collect();
        for (n, one) in segments.iter().enumerate() {
            for other in segments[n + 1..].iter().take_while(|other| other.range.start() < one.range.end()) {
                let is_known = one.run != other.run && (wrong.contains(&one.run) || wrong.contains(&other.run));
                assert!(is_known, "{id}: {one:?} and {other:?} overlap, and neither is known to be misdated");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_keeps_exactly_what_the_policy_says_and_every_hole_has_its_cause() {
    // In memory where there is some: a day has thousands of packs, each flushed on its way, and this is not about the
    // disk.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let clock = Arc::new(SimClock::starting_at(START));
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    let url = url::Url::from_directory_path(dir.path().join("store")).unwrap();
    let store = Store::open(&url, &vigie::config::S3::default()).unwrap();
    let keys = Keys::from_secret([5; 32]);
    let spool = Spool::new(&dir.path().join("spool"), store.clone(), index.clone(), clock.clone(), keys);
    let tasks = Sealer::new(spool.clone()).start().unwrap();
    let row = |id| CameraRow {
        key: key(id),
        name: id.to_owned(),
        place: String::new(),
        configured: true,
        retention_max: MAX,
        retention_min: MIN,
    };
    index.write(vec![Change::Configure(vec![row("a"), row("b")])]).await.unwrap();

    let stop = CancellationToken::new();
    let shared = RecordingContext {
        spool: spool.clone(),
        index: index.clone(),
        clock: clock.clone(),
        limits: PackLimits { pack_bytes_max: 64 << 20, pack_duration_max: Duration::from_secs(120) },
        opening: Arc::new(Semaphore::new(4)),
    };
    let mut recorders = Vec::new();
    for (id, faults) in [("a", faults()), ("b", Vec::new())] {
        let seed = u64::from(id.as_bytes()[0]);
        let film = ReplayCamera {
            seed,
            frame_rate: 10,
            gop_frames: 20,
            camera_time: Some(START),
            faults,
            ..ReplayCamera::default()
        };
        let source = ReplaySource::new(params(), film, clock.clone())
            .waking_every(Duration::from_millis(500))
            .silent_after(Duration::from_secs(10));
        let continuity = continuity(&index, &key(id), clock.wall()).await.unwrap();
        let slot = StatusBoard::default().slot(&key(id));
        let recorder = Recorder::new(shared.clone(), Box::new(source), slot, key(id), continuity);
        recorders.push(tokio::spawn(recorder.run(stop.clone())));
    }
    let (flush, ends) = (spool.clone(), stop.clone());
    let flusher = tokio::spawn(async move { flush.flush_until(Duration::from_secs(1), ends).await });
    let storage = storage::Storage::new(Archive::new(spool.clone(), store), Arc::new(|| Ok(u64::MAX)));
    let minute = Duration::from_secs(60);
    let policy = Policy {
        interval: minute,
        grace: minute,
        disk_reserve_bytes: 0,
        store_on_disk: true,
        stored_elsewhere: std::collections::HashSet::new(),
        time_zone: jiff::tz::TimeZone::UTC,
        shared: None,
        stores: None,
    };
    let sweeper = tokio::spawn(sweep::Sweeper::new(index.clone(), clock.clone(), storage, policy).run(stop.clone()));

    let day = Day { clock: clock.clone(), index: index.clone(), dir };
    let mut half_hours = tokio::time::interval(Duration::from_secs(1_800));
    half_hours.tick().await;
    let mut memory = Vec::new();
    for half_hour in 1..=48 {
        half_hours.tick().await;
        match half_hour {
            22 => clock.step(Ticks90k(30 * TICKS_PER_SECOND)),
            36 => clock.step(Ticks90k(-30 * TICKS_PER_SECOND)),
            _ => {}
        }
        day.check(START).await;
        memory.push(resident_bytes());
    }
    stop.cancel();
    for task in recorders.into_iter().chain([flusher, sweeper]) {
        task.await.unwrap();
    }
    spool.close();
    tasks.join().await;
    check_holes(&index).await;
    let (early, late) = (memory[15], memory[47]);
    assert!(late < early + (48 << 20), "memory grew from {early} to {late} bytes");
}

/// Every instant of what is kept is in a segment or in a gap, and each fault of those hours shows as its cause.
async fn check_holes(index: &Index) {
    for id in ["a", "b"] {
        let spans = index.spans(&key(id), everything()).await.unwrap();
        let gaps = index.gaps(&key(id), everything()).await.unwrap();
        for pair in spans.windows(2).filter(|pair| pair[0].end() != pair[1].start()) {
            let mut at = pair[0].end();
            while at < pair[1].start() {
                let gap = gaps.iter().find(|gap| gap.start == at && gap.end.is_some_and(|end| end <= pair[1].start()));
                at = gap
                    .and_then(|gap| gap.end)
                    .unwrap_or_else(|| panic!("{id}: no gap row says why nothing is at {at}"));
            }
        }
        let closed = index.gaps(&key(id), everything()).await.unwrap();
        assert!(closed.iter().any(|gap| gap.end.is_none() && gap.cause == GapCause::GatewayStopped));
    }
    let events = index.events(&key("a").tenant, Some(&key("a")), 0, 1_000).await.unwrap();
    let count = |kind: &str| events.iter().filter(|event| event.kind() == kind).count();
    assert_eq!(count("timestamp_jump"), 2);
    assert!(count("clock_step") >= 1, "the gateway's clock stepped");
    assert!(count("camera_clock_step") >= 1, "the camera's clock stepped");
    let losses = index.gaps(&key("a"), everything()).await.unwrap();
    assert!(losses.iter().any(|gap| gap.cause == GapCause::PacketLoss && gap.lost_packets == 3));
}
