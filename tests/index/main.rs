//! The index against a plain model, across tenants, crashes, processes and runtimes.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails, its helpers too")]

use std::path::Path;

use footage::media::{Gap, GapCause};
use footage::units::{CameraKey, PackId, RunId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};
use proptest::prelude::*;
use vigie::event::{Event, Fact, Scope, TrialVerdict};
use vigie::index::{
    CameraRow, Change, EventRow, GapRow, Index, IndexError, Outcome, PackRow, PackState, Reason, SegmentRow,
};

mod claims;
mod model;
use model::Model;

fn key(text: &str) -> CameraKey {
    text.parse().expect("a camera of these tests")
}

fn at(seconds: i64) -> WallTime {
    WallTime(seconds * TICKS_PER_SECOND)
}

fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(at(start), at(end)).expect("a range of these tests")
}

fn pack_id(n: u8) -> PackId {
    PackId([n; 16])
}

fn run_id(n: u8) -> RunId {
    RunId([n; 16])
}

fn camera_row(key: CameraKey, configured: bool) -> CameraRow {
    CameraRow {
        name: format!("camera {key}"),
        place: "place de la Mairie".to_owned(),
        key,
        configured,
        retention_max: Ticks90k(30 * 86_400 * TICKS_PER_SECOND),
        retention_min: Ticks90k(86_400 * TICKS_PER_SECOND),
    }
}

fn configure(cameras: &[&str]) -> Change {
    Change::Configure(cameras.iter().map(|camera| camera_row(key(camera), true)).collect())
}

fn begin_run(camera: &str, run: u8, start: i64) -> Change {
    Change::BeginRun { camera: key(camera), run: run_id(run), start: at(start) }
}

fn open_pack(camera: &str, run: u8, pack: u8, start: i64) -> Change {
    Change::OpenPack(PackRow {
        id: pack_id(pack),
        camera: key(camera),
        run: run_id(run),
        state: PackState::Open,
        bytes: 0,
        start: at(start),
        end: at(start),
        condemned_at: None,
    })
}

fn put_segment(camera: &str, run: u8, pack: u8, range: TimeRange) -> Change {
    let segment = SegmentRow {
        run: run_id(run),
        decode_time: Ticks90k(range.start().0 / 2),
        pack: pack_id(pack),
        state: PackState::Open,
        first_fragment: 0,
        fragments: (range.duration().0 / TICKS_PER_SECOND) as u32,
        range,
    };
    Change::PutSegment { camera: key(camera), segment, pack_bytes: range.end().0.unsigned_abs() }
}

/// One camera with one stored pack of ten minutes, a gap, a run, an event and a destroyed pack.
async fn with_footage(path: &Path) -> Index {
    let index = Index::open(path).await.unwrap();
    let camera = "town/gate";
    let gap = Gap { start: at(600), end: at(700), cause: GapCause::Silent, lost_packets: 0 };
    let changes = vec![
        configure(&[camera, "other/gate"]),
        begin_run(camera, 1, 0),
        open_pack(camera, 1, 1, 0),
        put_segment(camera, 1, 1, range(0, 600)),
        Change::SealPack { pack: pack_id(1), bytes: 5 },
        Change::PackStored { pack: pack_id(1) },
        open_pack(camera, 1, 2, 700),
        put_segment(camera, 1, 2, range(700, 800)),
        Change::Condemn { packs: vec![pack_id(2)], at: at(900), reason: Reason::Expired },
        Change::Destroyed { pack: pack_id(2), at: at(960), outcome: Outcome::Destroyed },
        Change::PutGap { camera: key(camera), gap },
        Change::Event(Event::of_camera(at(1), &key(camera), connected())),
    ];
    index.write(changes).await.unwrap();
    index
}

#[tokio::test]
async fn another_tenants_camera_of_the_same_name_shows_nothing_by_any_query() {
    let dir = tempfile::tempdir().unwrap();
    let index = with_footage(&dir.path().join("index.sqlite")).await;
    let (mine, other, stranger) = (key("town/gate"), key("other/gate"), key("nobody/gate"));
    let all = range(-1_000_000, 1_000_000);
    // First that there is something to see, so that the test can fail.
    assert_eq!(index.segments(&mine, all).await.unwrap().len(), 1);
    assert_eq!(index.spans(&mine, all).await.unwrap(), [range(0, 600)]);
    assert_eq!(index.extent(&mine).await.unwrap(), Some(range(0, 600)));
    assert_eq!(index.gaps(&mine, all).await.unwrap().len(), 1);
    assert_eq!(index.runs(&mine, 9).await.unwrap().len(), 1);
    assert_eq!(index.events(&mine.tenant, None, 0, 9).await.unwrap().len(), 2);
    assert_eq!(index.events(&mine.tenant, Some(&mine), 0, 9).await.unwrap().len(), 2);
    assert!(index.pack(&mine, pack_id(1)).await.unwrap().is_some());
    assert_eq!(index.packs_starting_before(&mine, at(9_999), 9).await.unwrap().len(), 1);
    assert_eq!(index.deletions(&mine, all).await.unwrap().len(), 1);
    for theirs in [&other, &stranger] {
        assert!(index.segments(theirs, all).await.unwrap().is_empty());
        assert!(index.spans(theirs, all).await.unwrap().is_empty());
        assert_eq!(index.extent(theirs).await.unwrap(), None);
        assert!(index.gaps(theirs, all).await.unwrap().is_empty());
        assert!(index.runs(theirs, 9).await.unwrap().is_empty());
        assert!(index.events(&theirs.tenant, None, 0, 9).await.unwrap().is_empty());
        assert!(index.events(&theirs.tenant, Some(theirs), 0, 9).await.unwrap().is_empty());
        assert!(index.events(&theirs.tenant, Some(&mine), 0, 9).await.unwrap().is_empty());
        assert!(index.pack(theirs, pack_id(1)).await.unwrap().is_none());
        assert!(index.packs_starting_before(theirs, at(9_999), 9).await.unwrap().is_empty());
        assert!(index.deletions(theirs, all).await.unwrap().is_empty());
        assert!(!index.cameras(&theirs.tenant).await.unwrap().iter().any(|row| row.key == mine));
    }
    assert!(index.camera(&stranger).await.unwrap().is_none());
    assert_eq!(index.camera(&other).await.unwrap().map(|row| row.key), Some(other));
}

#[tokio::test]
async fn events_of_the_gateway_are_shown_to_every_tenant_and_to_no_camera() {
    let dir = tempfile::tempdir().unwrap();
    let index = with_footage(&dir.path().join("index.sqlite")).await;
    let full = Fact::DiskFull { free_bytes: Some(5), reserve_bytes: Some(6) };
    let probed = Fact::StoreProbe { store: Some("archive".to_owned()), verdict: TrialVerdict::Away };
    let of_gateway = |fact| Change::Event(Event::of_gateway(at(2), fact));
    index.write(vec![of_gateway(full), of_gateway(probed)]).await.unwrap();
    let other = key("other/gate");
    let seen = index.events(&other.tenant, None, 0, 9).await.unwrap();
    assert_eq!(seen.iter().map(EventRow::kind).collect::<Vec<_>>(), ["disk_full"]);
    assert!(index.events(&other.tenant, Some(&other), 0, 9).await.unwrap().is_empty());
    assert_eq!(seen[0].event.fact, Fact::DiskFull { free_bytes: None, reserve_bytes: None });
    let all: Vec<_> = index.all_events(0, 9).await.unwrap().iter().map(EventRow::kind).collect();
    assert_eq!(all[..2], ["store_probe", "disk_full"], "the operator reads what no tenant reads");
    let newer = index.events(&key("town/gate").tenant, None, seen[0].id, 9).await.unwrap();
    assert!(newer.is_empty(), "nothing is newer than the last event: {newer:?}");
}

#[tokio::test]
async fn a_condemned_pack_is_invisible_at_once_and_known_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let index = with_footage(&dir.path().join("index.sqlite")).await;
    let camera = key("town/gate");
    let condemn = Change::Condemn { packs: vec![pack_id(1)], at: at(1_000), reason: Reason::DiskFull };
    index.write(vec![condemn]).await.unwrap();
    assert!(index.segments(&camera, range(0, 600)).await.unwrap().is_empty());
    assert!(index.spans(&camera, range(0, 600)).await.unwrap().is_empty());
    assert!(index.pack(&camera, pack_id(1)).await.unwrap().is_none());
    assert!(index.packs_starting_before(&camera, at(9_999), 9).await.unwrap().is_empty());
    let condemned = index.packs_in_state(PackState::Condemned, 9).await.unwrap();
    assert_eq!(condemned.len(), 1);
    assert_eq!((condemned[0].condemned_at, condemned[0].bytes), (Some(at(1_000)), 5));
    // A late acknowledgement of the store does not bring it back.
    index.write(vec![Change::PackStored { pack: pack_id(1) }]).await.unwrap();
    assert!(index.pack(&camera, pack_id(1)).await.unwrap().is_none());
    index
        .write(vec![Change::Destroyed { pack: pack_id(1), at: at(1_060), outcome: Outcome::Destroyed }])
        .await
        .unwrap();
    assert!(index.any_pack(pack_id(1)).await.unwrap().is_none());
    let register = index.deletions(&camera, range(0, 600)).await.unwrap();
    let early = register.iter().find(|row| row.reason == Reason::DiskFull).expect("it is in the register");
    assert_eq!((early.range, early.packs, early.last_at), (range(0, 600), 1, at(1_060)));
}

#[tokio::test]
async fn a_gap_opens_changes_its_cause_and_closes_as_one_row() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    let camera = key("town/gate");
    index.write(vec![configure(&["town/gate"])]).await.unwrap();
    let check = async |change: Change, expect: &[(i64, Option<i64>, GapCause)]| {
        index.write(vec![change]).await.unwrap();
        let expect: Vec<_> = expect
            .iter()
            .map(|(start, end, cause)| GapRow { start: at(*start), end: end.map(at), cause: *cause, lost_packets: 0 })
            .collect();
        assert_eq!(index.gaps(&camera, range(0, 10_000)).await.unwrap(), expect);
    };
    let open = |start, cause| Change::OpenGap { camera: key("town/gate"), start: at(start), cause };
    let put = |start, end, cause| Change::PutGap {
        camera: key("town/gate"),
        gap: Gap { start: at(start), end: at(end), cause, lost_packets: 0 },
    };
    use GapCause::{ConnectFailed, DiskFull, Silent};
    check(open(100, Silent), &[(100, None, Silent)]).await;
    // Opened again while it lasts: start and cause are those of the last.
    check(open(150, ConnectFailed), &[(150, None, ConnectFailed)]).await;
    // A closed gap that begins elsewhere leaves it open.
    check(put(50, 60, DiskFull), &[(50, Some(60), DiskFull), (150, None, ConnectFailed)]).await;
    check(put(150, 200, Silent), &[(50, Some(60), DiskFull), (150, Some(200), Silent)]).await;
    // The same bounds: replaced; the same start and another end: another gap.
    check(put(150, 200, DiskFull), &[(50, Some(60), DiskFull), (150, Some(200), DiskFull)]).await;
    let three = [(50, Some(60), DiskFull), (150, Some(200), DiskFull), (150, Some(201), Silent)];
    check(put(150, 201, Silent), &three).await;
    check(Change::ForgetGapsBefore { camera: camera.clone(), before: at(200) }, &three[2..]).await;
}

#[tokio::test]
async fn an_index_dropped_without_close_has_all_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let expected = {
        let index = with_footage(&path).await;
        index.segments(&key("town/gate"), range(0, 600)).await.unwrap()
    };
    // As a killed process leaves it: the files as they are now, log and all, and nothing folded.
    let copy = dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let again = Index::open(&copy.join("index.sqlite")).await.unwrap();
    assert_eq!(again.segments(&key("town/gate"), range(0, 600)).await.unwrap(), expected);
    again.write(vec![put_segment("town/gate", 1, 1, range(0, 601))]).await.unwrap();
}

#[tokio::test]
async fn close_commits_what_waits_and_refuses_what_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let index = with_footage(&path).await;
    let waiting: Vec<_> = (0..100)
        .map(|n| {
            let index = index.clone();
            let change = put_segment("town/gate", 1, 1, range(n * 10, n * 10 + 9));
            tokio::spawn(async move { index.write(vec![change]).await })
        })
        .collect();
    tokio::task::yield_now().await;
    index.close().await;
    let acknowledged: Vec<_> = futures::future::join_all(waiting).await.into_iter().map(|r| r.unwrap()).collect();
    assert!(matches!(index.write(vec![]).await, Err(IndexError::Stopped)));
    let log = std::fs::metadata(path.with_extension("sqlite-wal")).map_or(0, |file| file.len());
    assert_eq!(log, 0, "the log is folded into the file");
    let spans = Index::open(&path).await.unwrap().spans(&key("town/gate"), range(0, 1_000)).await.unwrap();
    for (n, result) in acknowledged.iter().enumerate() {
        let there = spans.contains(&range(n as i64 * 10, n as i64 * 10 + 9));
        assert_eq!(there, result.is_ok(), "segment {n} was answered {result:?}");
    }
}

#[test]
fn handles_work_from_other_runtimes_and_stop_with_the_writers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let main = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let index = main.block_on(with_footage(&path));
    let recorders: Vec<_> = (0..4)
        .map(|n: i64| {
            let index = index.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    for k in 0..25 {
                        let start = 10_000 + n * 1_000 + k * 10;
                        index.write(vec![put_segment("town/gate", 1, 1, range(start, start + 10))]).await.unwrap();
                    }
                });
            })
        })
        .collect();
    recorders.into_iter().for_each(|thread| thread.join().unwrap());
    let spans = main.block_on(index.spans(&key("town/gate"), range(10_000, 20_000))).unwrap();
    assert_eq!(spans.len(), 100);
    drop(main);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(matches!(other.block_on(index.write(vec![])), Err(IndexError::Stopped)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_another_handle_see_whole_calls_while_the_writer_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let index = with_footage(&path).await;
    let reader = Index::open_read_only(&path).await.unwrap();
    assert!(matches!(reader.write(vec![]).await, Err(IndexError::ReadOnly)));
    let writing = tokio::spawn(async move {
        for n in 0..200 {
            let pair =
                [0, 5].map(|half| put_segment("town/gate", 1, 1, range(1_000 + n * 10 + half, 1_005 + n * 10 + half)));
            index.write(pair.to_vec()).await.unwrap();
        }
    });
    let readers = (0..8).map(|_| {
        let reader = reader.clone();
        async move {
            let mut seen = 0;
            while seen < 400 {
                let now = reader.spans(&key("town/gate"), range(1_000, 9_000)).await.unwrap().len();
                assert!(now >= seen && now.is_multiple_of(2), "saw {now} segments after {seen}");
                seen = now;
            }
        }
    });
    futures::future::join_all(readers).await;
    writing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_stands_still_while_the_index_works() {
    let dir = tempfile::tempdir().unwrap();
    let before = tokio::time::Instant::now();
    let index = with_footage(&dir.path().join("index.sqlite")).await;
    // A timer that would fire if the runtime thought that everything waited.
    let hour = std::time::Duration::from_secs(3_600);
    let timer = tokio::spawn(tokio::time::timeout(hour, std::future::pending::<()>()));
    index.segments(&key("town/gate"), range(0, 600)).await.unwrap();
    index.close().await;
    assert_eq!(before.elapsed(), std::time::Duration::ZERO);
    assert!(!timer.is_finished());
}

#[tokio::test]
async fn stored_packs_of_all_cameras_come_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    let mut changes = vec![configure(&["a/x", "b/y"]), begin_run("a/x", 1, 0), begin_run("b/y", 2, 0)];
    for (pack, start) in [(1, 50), (2, 10), (3, 30)] {
        changes.extend([open_pack("a/x", 1, pack, start), Change::PackStored { pack: pack_id(pack) }]);
        changes.extend([open_pack("b/y", 2, pack + 10, start + 5), Change::PackStored { pack: pack_id(pack + 10) }]);
    }
    index.write(changes).await.unwrap();
    let starts = |rows: Vec<PackRow>| rows.iter().map(|row| row.start).collect::<Vec<_>>();
    let all = starts(index.packs_in_state(PackState::Stored, 99).await.unwrap());
    assert_eq!(all, [10, 15, 30, 35, 50, 55].map(at));
    assert_eq!(starts(index.packs_in_state(PackState::Stored, 3).await.unwrap()), all[..3]);
}

/// Cameras of the model test; the last is never configured.
const CAMERAS: [&str; 4] = ["a/gate", "a/hall", "b/gate", "b/never"];

fn some_camera() -> impl Strategy<Value = CameraKey> {
    prop_oneof![9 => 0..3usize, 1 => Just(3)].prop_map(|n| key(CAMERAS[n]))
}

/// Instants on a grid that makes equal starts and touching ranges common, over more than the longest segment.
fn some_time() -> impl Strategy<Value = i64> {
    (0..40i64).prop_map(|n| n * 60)
}

fn some_range() -> impl Strategy<Value = TimeRange> {
    (some_time(), prop_oneof![Just(60), Just(120), Just(900), Just(901)]).prop_map(|(start, d)| range(start, start + d))
}

/// Runs and packs belong mostly to the camera of their number, so that most changes are good ones.
fn some_change() -> impl Strategy<Value = Change> {
    let camera_of = |n: u8| CAMERAS[usize::from(n % 3)];
    let pack = || (0..12u8).prop_map(pack_id);
    let run = || 0..6u8;
    let cause = || prop::sample::select(GapCause::ALL.to_vec());
    let reason = || prop_oneof![Just(Reason::Expired), Just(Reason::DiskFull)];
    prop_oneof![
        1 => prop::collection::vec(any::<bool>(), 3).prop_map(|set| {
            let rows = CAMERAS.iter().zip(set).map(|(camera, on)| camera_row(key(camera), on));
            Change::Configure(rows.collect())
        }),
        1 => (0..3usize).prop_map(|n| configure(&CAMERAS[n..=n])),
        3 => (run(), some_time()).prop_map(move |(run, start)| begin_run(camera_of(run), run, start)),
        1 => (some_camera(), run(), some_time())
            .prop_map(|(camera, run, start)| Change::BeginRun { camera, run: run_id(run), start: at(start) }),
        1 => (run(), any::<Option<i32>>(), any::<i32>()).prop_map(|(run, offset, timeline)| Change::RunClocks {
            run: run_id(run),
            camera_clock_offset: offset.map(|t| Ticks90k(t.into())),
            timeline_offset: Ticks90k(timeline.into()),
        }),
        2 => (run(), some_time()).prop_map(|(run, end)| Change::EndRun { run: run_id(run), end: at(end) }),
        6 => (0..12u8, some_time()).prop_map(move |(pack, start)| open_pack(camera_of(pack), pack % 6, pack, start)),
        1 => (some_camera(), run(), 0..12u8, some_time()).prop_map(|(camera, run, pack, start)| {
            open_pack(&camera.to_string(), run, pack, start)
        }),
        12 => (0..12u8, some_range()).prop_map(move |(pack, range)| put_segment(camera_of(pack), pack % 6, pack, range)),
        1 => (some_camera(), run(), 0..12u8, some_range()).prop_map(|(camera, run, pack, range)| {
            put_segment(&camera.to_string(), run, pack, range)
        }),
        4 => (pack(), any::<u32>()).prop_map(|(pack, bytes)| Change::SealPack { pack, bytes: bytes.into() }),
        4 => pack().prop_map(|pack| Change::PackStored { pack }),
        2 => (prop::collection::vec(pack(), 1..3), some_time(), reason())
            .prop_map(|(packs, t, reason)| Change::Condemn { packs, at: at(t), reason }),
        1 => pack().prop_map(|pack| Change::Forget { pack }),
        3 => (pack(), some_time()).prop_map(|(pack, t)| Change::Destroyed { pack, at: at(t), outcome: Outcome::Destroyed }),
        2 => (some_camera(), some_time(), cause())
            .prop_map(|(camera, start, cause)| Change::OpenGap { camera, start: at(start), cause }),
        3 => (some_camera(), some_time(), -1..30i64, cause(), any::<u32>()).prop_map(|(camera, t, d, cause, lost)| {
            let gap = Gap { start: at(t), end: at(t + d * 60), cause, lost_packets: lost };
            Change::PutGap { camera, gap }
        }),
        1 => (some_camera(), some_time()).prop_map(|(camera, t)| Change::ForgetGapsBefore { camera, before: at(t) }),
        2 => (some_time(), some_scope()).prop_map(|(t, scope)| Change::Event(Event::new(at(t), scope, connected()))),
        1 => some_time().prop_map(|t| Change::ForgetEventsBefore { before: at(t) }),
    ]
}

fn connected() -> Fact {
    Fact::Connected { codecs: "avc1.640028".to_owned(), width: 1920, height: 1080 }
}

fn some_scope() -> impl Strategy<Value = Scope> {
    let tenant = prop::sample::select(vec!["a", "b", "nobody"]);
    prop_oneof![
        Just(Scope::Gateway),
        tenant.prop_map(|tenant| Scope::Tenant(tenant.parse().unwrap())),
        some_camera().prop_map(Scope::Camera),
    ]
}

/// Compares every query with what the model says.
async fn compare(index: &Index, model: &Model, ask: TimeRange, limit: u32) {
    let top = limit as usize;
    let shares = |start: WallTime, end: WallTime| start < ask.end() && (end > ask.start() || start >= ask.start());
    assert_eq!(index.all_cameras().await.unwrap(), model.cameras.values().cloned().collect::<Vec<_>>());
    for camera in CAMERAS.map(key) {
        assert_eq!(index.camera(&camera).await.unwrap(), model.cameras.get(&camera).cloned());
        let of_tenant = |row: &&CameraRow| row.key.tenant == camera.tenant;
        let cameras: Vec<_> = model.cameras.values().filter(of_tenant).cloned().collect();
        assert_eq!(index.cameras(&camera.tenant).await.unwrap(), cameras);
        compare_footage(index, model, &camera, ask, top).await;

        let gaps = model.gaps.iter().filter(|((of, start, end), _)| *of == camera && shares(*start, *end));
        let mut gaps: Vec<_> = gaps.map(|(_, gap)| gap.clone()).collect();
        gaps.extend(model.open_gaps.get(&camera).filter(|open| open.start < ask.end()).cloned());
        gaps.sort_by_key(|gap| (gap.start, gap.end.is_none(), gap.end));
        assert_eq!(index.gaps(&camera, ask).await.unwrap(), gaps);

        let runs = index.runs(&camera, limit).await.unwrap();
        let mut expected: Vec<_> =
            model.runs.values().filter(|(of, _)| *of == camera).map(|(_, r)| r.clone()).collect();
        expected.sort_by_key(|run| std::cmp::Reverse(run.start));
        let starts: Vec<_> = expected.iter().take(top).map(|run| run.start).collect();
        assert_eq!(runs.iter().map(|run| run.start).collect::<Vec<_>>(), starts);
        assert!(runs.iter().all(|run| expected.contains(run)), "{runs:?} are not among {expected:?}");

        let deletions = model
            .deletions
            .iter()
            .filter(|((of, ..), day)| *of == camera && day.range.end() > ask.start() && day.range.start() < ask.end());
        let mut deletions: Vec<_> = deletions.map(|(_, day)| day.clone()).collect();
        let mut found = index.deletions(&camera, ask).await.unwrap();
        deletions.sort_by_key(|day| (day.range.start(), day.reason as u8));
        found.sort_by_key(|day| (day.range.start(), day.reason as u8));
        assert_eq!(found, deletions);

        compare_events(index, model, &camera, top).await;
    }
    let mut packs: Vec<_> = model.packs.values().map(|(pack, _)| pack.clone()).collect();
    let after = packs.first().map(|pack| pack.id);
    assert_eq!(index.packs_after(None, limit).await.unwrap(), packs[..top.min(packs.len())]);
    let rest: Vec<_> = packs.iter().filter(|pack| Some(pack.id) > after).take(top).cloned().collect();
    assert_eq!(index.packs_after(after, limit).await.unwrap(), if after.is_some() { rest } else { Vec::new() });
    packs.sort_by_key(|pack| pack.start);
    for state in [PackState::Open, PackState::Sealed, PackState::Stored, PackState::Condemned] {
        let starts: Vec<_> = packs.iter().filter(|p| p.state == state).map(|p| p.start).take(top).collect();
        let found = index.packs_in_state(state, limit).await.unwrap();
        assert_eq!(found.iter().map(|pack| pack.start).collect::<Vec<_>>(), starts);
        assert!(found.iter().all(|pack| packs.contains(pack)));
    }
    let mut condemned = Vec::new();
    loop {
        let after = condemned.last().map(|pack: &PackRow| (pack.start, pack.id));
        let page = index.condemned_after(after, limit).await.unwrap();
        condemned.extend(page.iter().cloned());
        if page.len() < top {
            break;
        }
    }
    packs.retain(|pack| pack.state == PackState::Condemned);
    packs.sort_by_key(|pack| (pack.start, pack.id));
    assert_eq!(condemned, packs);
}

async fn compare_footage(index: &Index, model: &Model, camera: &CameraKey, ask: TimeRange, top: usize) {
    let with_state = |segment: &SegmentRow| SegmentRow { state: model.packs[&segment.pack].0.state, ..segment.clone() };
    let mine = || model.segments.iter().filter(|((of, ..), _)| of == camera).map(|(_, segment)| with_state(segment));
    let segments: Vec<_> = mine().filter(|segment| segment.range.intersection(&ask).is_some()).collect();
    assert_eq!(index.segments(camera, ask).await.unwrap(), segments);
    let spans: Vec<_> = segments.iter().map(|segment| segment.range).collect();
    assert_eq!(index.spans(camera, ask).await.unwrap(), spans);
    let start = mine().map(|segment| segment.range.start()).min();
    let end = mine().map(|segment| segment.range.end()).max();
    assert_eq!(index.extent(camera).await.unwrap(), start.zip(end).and_then(|(s, e)| TimeRange::new(s, e)));
    let mut whole = Vec::new();
    for (id, (pack, _)) in &model.packs {
        let visible = pack.state != PackState::Condemned && pack.camera == *camera;
        assert_eq!(index.pack(camera, *id).await.unwrap(), visible.then(|| pack.clone()));
        assert_eq!(index.any_pack(*id).await.unwrap().as_ref(), Some(pack));
        if pack.camera == *camera {
            let mut segments: Vec<_> = mine().filter(|segment| segment.pack == *id).collect();
            segments.sort_by_key(|segment| (segment.first_fragment, segment.range.start()));
            assert_eq!(index.segments_of_pack(*id).await.unwrap(), segments);
        }
        if visible && pack.state != PackState::Open && pack.start < ask.start() {
            whole.push(pack.start);
        }
    }
    whole.sort();
    whole.truncate(top);
    let found = index.packs_starting_before(camera, ask.start(), top as u32).await.unwrap();
    assert_eq!(found.iter().map(|pack| pack.start).collect::<Vec<_>>(), whole);
}

async fn compare_events(index: &Index, model: &Model, camera: &CameraKey, top: usize) {
    // Numbers may have holes, and the words of the register's own event are its own.
    let plain = |event: &vigie::index::EventRow| (event.event.at, event.event.scope.clone(), event.kind());
    let known = model.tenants.contains(&camera.tenant);
    let visible = |row: &EventRow| known && row.event.scope.tenant().is_none_or(|tenant| *tenant == camera.tenant);
    let newest = model.events.iter().rev();
    let of_tenant: Vec<_> = newest.clone().filter(|e| visible(e)).take(top).map(plain).collect();
    let found = index.events(&camera.tenant, None, 0, top as u32).await.unwrap();
    assert_eq!(found.iter().map(plain).collect::<Vec<_>>(), of_tenant);
    assert!(found.is_sorted_by(|a, b| a.id > b.id));
    let of_camera = newest.filter(|e| e.event.scope.camera() == Some(camera)).take(top).map(plain);
    let found = index.events(&camera.tenant, Some(camera), 0, top as u32).await.unwrap();
    assert_eq!(found.iter().map(plain).collect::<Vec<_>>(), of_camera.collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_changes_leave_the_index_as_the_model(
        calls in prop::collection::vec(prop::collection::vec(some_change(), 1..4), 1..60),
        ask in some_range(),
        limit in 1..20u32,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("index.sqlite");
            let mut model = Model::default();
            let index = Index::open(&path).await.unwrap();
            let runs = (0..4).map(|run| begin_run(CAMERAS[usize::from(run) % 3], run, 0));
            let first = std::iter::once(configure(&CAMERAS[..3])).chain(runs).collect();
            for changes in std::iter::once(first).chain(calls) {
                let expected = model.write(&changes);
                let answer = index.write(changes.clone()).await;
                assert_eq!(answer.is_ok(), expected.is_ok(), "{answer:?} to {changes:#?}");
            }
            compare(&index, &model, ask, limit).await;
            index.close().await;
            compare(&Index::open_read_only(&path).await.unwrap(), &model, ask, limit).await;
        });
    }
}
