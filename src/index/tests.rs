//! What only this module can see: the transaction itself, the schema, the query plans.

use super::write::commit;
use super::*;
use crate::event::{Event, Fact, Severity};
use crate::index::alarm::AlarmChange;
use footage::media::GapCause;
use footage::units::{BootId, CameraKey, PackId, RunId, TimeRange, WallTime};

const SECOND: i64 = 90_000;

fn camera() -> CameraKey {
    "town/gate".parse().unwrap()
}

fn configure() -> Change {
    Change::Configure(vec![CameraRow {
        key: camera(),
        name: "Gate".to_owned(),
        place: "12 rue de la Gare".to_owned(),
        configured: true,
        retention_max: Ticks90k(30 * 86_400 * SECOND),
        retention_min: Ticks90k::ZERO,
    }])
}

fn event(codecs: &str) -> Change {
    let fact = Fact::Connected { codecs: codecs.to_owned(), width: 1, height: 1 };
    Change::Event(Event::of_gateway(WallTime(0), fact))
}

fn unknown_run() -> Change {
    Change::EndRun { run: RunId([9; 16]), end: WallTime(0) }
}

fn count(db: &rusqlite::Connection, table: &str) -> i64 {
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn migrations_are_valid() {
    database::migrations().validate().unwrap();
}

#[test]
fn one_bad_change_undoes_the_whole_of_its_own_call_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let db = database::open_writer(&dir.path().join("index.sqlite")).unwrap();
    let calls = [vec![event("first")], vec![event("undone"), unknown_run()], vec![event("third")]];
    let results = commit(&db, &calls).unwrap();
    assert!(results[0].is_ok() && results[2].is_ok());
    assert!(matches!(results[1], Err(IndexError::Unknown(_))), "{:?}", results[1]);
    let kept: String =
        db.query_row("SELECT group_concat(entry ->> '$.fact.codecs') FROM event", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, "first,third");
}

#[test]
fn a_full_disk_fails_every_call_of_the_batch_and_writing_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let db = database::open_writer(&dir.path().join("index.sqlite")).unwrap();
    let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    db.pragma_update(None, "max_page_count", pages).unwrap();
    let big = event(&"x".repeat(100_000));
    let error = commit(&db, &[vec![event("small")], vec![big.clone()]]).unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(count(&db, "event"), 0, "nothing of the batch may be left");
    db.pragma_update(None, "max_page_count", pages + 1_000).unwrap();
    assert!(commit(&db, &[vec![big]]).unwrap()[0].is_ok());
    assert_eq!(count(&db, "event"), 1);
}

#[test]
fn a_flush_of_many_cameras_dirties_few_pages() {
    // What makes recording cheap: open segments lie side by side. 400 segments of open packs in a large index touch
    // about as many pages as 400 rows need, and not one page a camera.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let db = database::open_writer(&path).unwrap();
    let key = |n: usize| -> CameraKey { format!("town/camera-{n}").parse().unwrap() };
    let pack = |n: usize, k: usize| PackId(std::array::from_fn(|i| (n * 1_000 + k).to_be_bytes()[i % 8]));
    let run = |n: usize| RunId(std::array::from_fn(|i| n.to_be_bytes()[i % 8]));
    let rows = (0..400).map(|n| match configure() {
        Change::Configure(mut one) => CameraRow { key: key(n), ..one.remove(0) },
        _ => unreachable!("configure() is a configuration"),
    });
    let mut changes = vec![Change::Configure(rows.collect())];
    let put = |n: usize, k: usize, seconds: i64| {
        let start = WallTime(k as i64 * 1_000 * SECOND);
        Change::PutSegment {
            camera: key(n),
            segment: SegmentRow {
                range: TimeRange::new(start, WallTime(start.0 + seconds * SECOND)).unwrap(),
                run: run(n),
                decode_time: Ticks90k(start.0),
                pack: pack(n, k),
                state: PackState::Open,
                first_fragment: 0,
                fragments: seconds as u32,
            },
            pack_bytes: 1,
        }
    };
    for n in 0..400 {
        changes.push(Change::BeginRun { camera: key(n), run: run(n), start: WallTime(0) });
    }
    for k in 0..50 {
        for n in 0..400 {
            let start = WallTime(k as i64 * 1_000 * SECOND);
            changes.push(Change::OpenPack(PackRow {
                id: pack(n, k),
                camera: key(n),
                run: run(n),
                state: PackState::Open,
                bytes: 0,
                start,
                end: start,
                condemned_at: None,
            }));
            changes.push(put(n, k, 120));
            if k < 49 {
                changes.push(Change::SealPack { pack: pack(n, k), bytes: 1 });
                changes.push(Change::PackStored { pack: pack(n, k) });
            }
        }
    }
    commit(&db, &[changes]).unwrap().remove(0).unwrap();
    db.pragma(None, "wal_checkpoint", "truncate", |_| Ok(())).unwrap();
    let flush: Vec<Vec<Change>> = (0..400).map(|n| vec![put(n, 49, 121)]).collect();
    assert!(commit(&db, &flush).unwrap().iter().all(Result::is_ok));
    let wal = std::fs::metadata(path.with_extension("sqlite-wal")).unwrap().len();
    let pages = wal / 4_096;
    assert!(pages < 40, "{pages} pages were written for 400 segments");
}

#[test]
fn hot_queries_walk_an_index_and_never_scan_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let db = database::open_writer(&dir.path().join("index.sqlite")).unwrap();
    for (sql, parameters) in query::plans() {
        let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters = rusqlite::params_from_iter(std::iter::repeat_n(1_i64, parameters));
        let plan: Vec<String> =
            statement.query_map(parameters, |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        // Rows that were found already may be walked through: a subquery, `found`, `bounds`, …
        let scans = plan.iter().filter(|step| {
            ["segment", "open_segment", "s", "pack", "p", "gap", "event", "e", "run", "r"]
                .iter()
                .any(|table| **step == format!("SCAN {table}") || step.starts_with(&format!("SCAN {table} ")))
        });
        assert_eq!(scans.count(), 0, "{sql}\n{plan:#?}");
    }
}

#[tokio::test]
async fn a_panic_in_the_writer_fails_the_batch_and_not_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    index.write(vec![configure()]).await.unwrap();
    assert!(matches!(index.write(vec![event("panic")]).await, Err(IndexError::Stopped)));
    index.write(vec![event("after")]).await.unwrap();
    let events = index.events(&camera().tenant, None, 0, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(Change::Event(events[0].event.clone()), event("after"));
}

#[tokio::test]
async fn a_file_that_cannot_be_used_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let check = async |what: &str| {
        let write = Index::open(&path).await.expect_err("must not open").to_string();
        assert!(write.contains("rebuild-index") && write.contains(what), "{write}");
        let read = Index::open_read_only(&path).await.expect_err("must not open").to_string();
        assert!(read.contains("rebuild-index") && read.contains(what), "{read}");
    };
    std::fs::write(&path, b"this is no database, whatever its name says".repeat(200)).unwrap();
    check("damaged").await;
    std::fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE song (title TEXT)").unwrap();
    check("another program").await;
    std::fs::remove_file(&path).unwrap();
    Index::open(&path).await.unwrap().close().await;
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    check("schema 99").await;
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_hides_no_other_and_is_an_alarm_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    let index = Index::open(&path).await.unwrap();
    let at = |second: i64| WallTime(second * SECOND);
    let lost = |second| Event::of_camera(at(second), &camera(), Fact::ConnectionLost { cause: GapCause::Silent });
    index.write(vec![configure(), Change::Event(lost(1)), Change::Event(lost(2))]).await.unwrap();
    let raise = |subject: &str, event| {
        let (kind, subject) = ("camera_not_recorded", subject.to_owned());
        Change::Alarm(AlarmChange::Raise { kind, subject, lasts: true, event })
    };
    index.write(vec![raise("a", lost(1)), raise("b", lost(2))]).await.unwrap();
    let damage =
        "UPDATE event SET entry = 'x' WHERE id = 1; UPDATE alarm SET entry = '{\"v\":99}', severity = 77 WHERE id = 1";
    rusqlite::Connection::open(&path).unwrap().execute_batch(damage).unwrap();

    let unreadable = |of_kind: &str| Fact::EntryUnreadable { of_kind: of_kind.to_owned() };
    let events = index.events_after(0, 10).await.unwrap();
    assert_eq!(events[0].event, Event::of_gateway(at(1), unreadable("connection_lost")));
    assert_eq!(events[1].event, lost(2));
    let raised = crate::alarm::changes_of(events[0].event.clone());
    assert!(matches!(&raised[..], [AlarmChange::Raise { kind: "entry_unreadable", lasts: false, .. }]), "{raised:?}");
    let alarms = index.open_alarms().await.unwrap();
    let unread = Event::of_camera(at(1), &camera(), unreadable("camera_not_recorded"));
    assert_eq!((&alarms[0].event, alarms[0].severity), (&unread, Severity::Critical));
    assert_eq!(alarms[1].event, lost(2));

    // What it says may have been the operator's alone.
    assert_eq!(index.events(&camera().tenant, None, 0, 10).await.unwrap().len(), 1);
    assert_eq!(index.alarms(&camera().tenant, None, 10).await.unwrap().len(), 1);
    assert_eq!(index.all_events(0, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_missing_index_is_not_created_by_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    assert!(matches!(Index::open_read_only(&path).await, Err(IndexError::Missing(_))));
    assert!(!path.exists());
}

/// Runs of one boot, each with the clock's base then, in seconds; then the clock stands at `now`. Expects the errors of the
/// runs.
async fn check_errors(bases: &[i64], now: i64, expect: &[i64]) {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    let boot = BootId([7; 16]);
    let base = |seconds: i64| Ticks90k(1_000_000 * SECOND + seconds * SECOND);
    let mut changes = vec![configure()];
    for (n, &seconds) in (0u8..).zip(bases) {
        let run = RunId([n; 16]);
        changes.push(Change::BeginRun { camera: camera(), run, start: WallTime(i64::from(n) * SECOND) });
        changes.push(Change::ClockBase { boot, base: base(seconds) });
        changes.push(Change::RunBase { run, boot, base: base(seconds) });
    }
    // Of another boot nothing follows.
    changes.push(Change::ClockBase { boot: BootId([8; 16]), base: base(-5_000) });
    changes.push(Change::ClockBase { boot, base: base(now) });
    index.write(changes).await.unwrap();
    let misdated = index.misdated(&camera()).await.unwrap();
    let error = |n: u8| misdated.iter().find(|run| run.run == RunId([n; 16])).map_or(0, |run| run.error.0 / SECOND);
    let errors: Vec<i64> = (0..bases.len() as u8).map(error).collect();
    assert_eq!(errors, expect, "bases {bases:?}, then {now}");
}

#[tokio::test]
async fn runs_have_wrong_times_by_as_much_as_the_clock_was_set_since() {
    check_errors(&[0, 0], 0, &[0, 0]).await;
    check_errors(&[3_600], 0, &[3_600]).await;
    check_errors(&[-3_600, 0], 0, &[-3_600, 0]).await;
    // Wrong for a while: what was right before is right again.
    check_errors(&[0, 3_600, 0], 0, &[0, 3_600, 0]).await;
    check_errors(&[0, 3_600], 7_200, &[-7_200, -3_600]).await;
}

#[tokio::test]
async fn a_clock_that_is_slewed_makes_no_times_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    let (boot, run) = (BootId([7; 16]), RunId([1; 16]));
    let begin = Change::BeginRun { camera: camera(), run, start: WallTime(0) };
    index.write(vec![configure(), begin, Change::RunBase { run, boot, base: Ticks90k(0) }]).await.unwrap();
    index.write(vec![Change::ClockBase { boot, base: Ticks90k(clock::CLOCK_STEP_MIN.0 - 1) }]).await.unwrap();
    assert_eq!(index.misdated(&camera()).await.unwrap(), []);
    index.write(vec![Change::ClockBase { boot, base: clock::CLOCK_STEP_MIN }]).await.unwrap();
    assert_eq!(index.misdated(&camera()).await.unwrap()[0].error, Ticks90k(-clock::CLOCK_STEP_MIN.0));
}

#[test]
fn certificates_of_a_signing_camera_are_kept_once_each_and_the_newest_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let db = database::open_writer(&dir.path().join("index.sqlite")).unwrap();
    let sent = |at: i64, certificates: u8| Change::CertificateSei {
        camera: camera(),
        at: WallTime(at),
        certificates: [certificates; 32],
        sei: vec![certificates, at as u8].into(),
    };
    let mut changes = vec![configure(), sent(1, 1), sent(2, 1), sent(3, 2), sent(4, 2), sent(5, 1)];
    commit(&db, &[changes]).unwrap().remove(0).unwrap();
    let times = "SELECT group_concat(at) FROM (SELECT at FROM certificate_sei ORDER BY at)";
    let kept: String = db.query_row(times, [], |row| row.get(0)).unwrap();
    assert_eq!(kept, "1,3,5", "the same certificates, signed again, are no news");
    changes = (10..80).map(|at| sent(at, at as u8)).collect();
    commit(&db, &[changes]).unwrap().remove(0).unwrap();
    let (kept, oldest): (i64, i64) = db
        .query_row("SELECT count(*), min(at) FROM certificate_sei", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!((kept, oldest), (64, 16));
}

#[tokio::test]
async fn what_a_camera_noticed_goes_with_the_footage_of_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    index.write(vec![configure()]).await.unwrap();
    let at = |second: i64| WallTime(second * SECOND);
    let row = |second| OccurrenceRow {
        at: at(second),
        kind: onvif::NotificationKind::Motion,
        topic: "RuleEngine/CellMotionDetector/Motion".to_owned(),
        source: "vs1".to_owned(),
        active: Some(second % 2 == 0),
    };
    let seconds = [10, 19, 20, 25, 40, 41];
    let changes = seconds.map(|second| Change::Occurrence { camera: camera(), row: row(second) });
    index.write(changes.to_vec()).await.unwrap();
    let range = |from, until| TimeRange::new(at(from), at(until)).unwrap();
    let left = async || index.occurrences(&camera(), range(0, 100), 1_000).await.unwrap();
    assert_eq!(left().await, seconds.map(row));
    assert_eq!(index.occurrences(&camera(), range(19, 40), 2).await.unwrap(), [row(19), row(20)]);
    let stranger: CameraKey = "other/gate".parse().unwrap();
    assert_eq!(index.occurrences(&stranger, range(0, 100), 1_000).await.unwrap(), []);
    let unknown = Change::Occurrence { camera: stranger, row: row(1) };
    assert!(matches!(index.write(vec![unknown]).await, Err(IndexError::Unknown(_))));

    // A pack that is destroyed before its time, on a full disk.
    let (pack, run) = (PackId([1; 16]), RunId([2; 16]));
    let (start, end) = (at(20), at(30));
    let open =
        PackRow { id: pack, camera: camera(), run, state: PackState::Open, bytes: 1, start, end, condemned_at: None };
    let destroy = [
        Change::BeginRun { camera: camera(), run, start },
        Change::OpenPack(open),
        Change::SealPack { pack, bytes: 1 },
        Change::PackStored { pack },
        Change::Condemn { packs: vec![pack], at: at(50), reason: Reason::DiskFull },
        Change::Destroyed { pack, at: at(51), outcome: Outcome::Destroyed },
    ];
    index.write(destroy.to_vec()).await.unwrap();
    assert_eq!(left().await, [10, 19, 40, 41].map(row));
    // Where there is no footage, the camera's maximum counts, as for gaps.
    index.write(vec![Change::ForgetGapsBefore { camera: camera(), before: at(41) }]).await.unwrap();
    assert_eq!(left().await, [row(41)]);
}

#[test]
fn what_shows_an_older_key_journal_or_catalogue_goes_into_the_index_that_takes_the_place_of_another() {
    use identity::Kind;
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
    let db = database::open_writer(&old).unwrap();
    let kinds = [Kind::Store, Kind::GatewayKey, Kind::Catalogue, Kind::Journal];
    let identify = |kind| vec![Change::Identify { kind, name: "x".to_owned(), id: Some(vec![7; 24]) }];
    commit(&db, &kinds.map(identify)).unwrap();
    drop(db);
    drop(database::open_writer(&new).unwrap());
    carry::carry_over(&old, &new).unwrap();
    let db = database::open_writer(&new).unwrap();
    for kind in kinds {
        let sql = "SELECT count(*) FROM identity WHERE kind = ?1 AND name = 'x' AND length(id) = 24";
        let carried: i64 = db.query_row(sql, [kind.as_str()], |row| row.get(0)).unwrap();
        assert_eq!(carried, 1, "{kind:?}");
    }
}
