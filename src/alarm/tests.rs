#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::collections::HashMap;
use std::time::Duration;

use jiff::civil::time;

use super::notice::{News, due};
use super::{certificate_news, clock_news, cuts_news, disk_news};
use crate::config::{AlarmTarget, AlarmWay};
use crate::event::words::Language;
use crate::event::{Actor, Event, Fact, Scope, Severity};
use crate::index::alarm::{AlarmChange, AlarmRow, NoticeRow};
use crate::index::{Change, Index};
use crate::status::{CameraState, CameraStatus, DeviceClock};
use footage::media::GapCause;
use footage::units::{CameraKey, TICKS_PER_DAY, TICKS_PER_SECOND, Ticks90k, WallTime};

fn at(second: i64) -> WallTime {
    WallTime((1_772_366_400 + second) * TICKS_PER_SECOND)
}

fn camera(name: &str) -> CameraKey {
    name.parse().unwrap()
}

fn target() -> AlarmTarget {
    AlarmTarget {
        id: "night-shift".parse().unwrap(),
        tenant: None,
        min_severity: Severity::Warning,
        language: Language::English,
        quiet: None,
        wait: Duration::from_secs(60),
        repeat: Duration::from_secs(3_600),
        way: AlarmWay::Webhook { url: "http://127.0.0.1:1/".to_owned().into(), token: None, ca_file: None },
    }
}

fn alarm(id: i64, event: Event) -> AlarmRow {
    let kind = crate::event::alarm::of(&event.fact).unwrap().kinds[0].to_owned();
    AlarmRow { id, kind, began: event.at, severity: event.fact.severity(), event, ended: None, acknowledged: None }
}

fn lost(name: &str) -> AlarmRow {
    alarm(1, Event::of_camera(at(0), &camera(name), Fact::ConnectionLost { cause: GapCause::Silent }))
}

fn sent(second: i64, is_end: bool) -> HashMap<(i64, String), NoticeRow> {
    HashMap::from([((1, "night-shift".to_owned()), NoticeRow { at: at(second), is_end })])
}

#[track_caller]
fn check(
    target: &AlarmTarget,
    alarm: &AlarmRow,
    notices: &HashMap<(i64, String), NoticeRow>,
    now: i64,
    news: Option<News>,
) {
    let due = due(target, std::slice::from_ref(alarm), notices, at(now), time(14, 0, 0, 0));
    assert_eq!(due.first().map(|notice| notice.news), news);
}

#[test]
fn an_alarm_is_announced_once_repeated_until_acknowledged_and_its_end_said_once() {
    let (target, mut alarm, nothing) = (target(), lost("t/c"), HashMap::new());
    check(&target, &alarm, &nothing, 59, None);
    check(&target, &alarm, &nothing, 60, Some(News::Began));
    check(&target, &alarm, &sent(60, false), 3_659, None);
    check(&target, &alarm, &sent(60, false), 3_660, Some(News::Lasts));
    alarm.acknowledged = Some((at(100), Actor::Tenant));
    check(&target, &alarm, &sent(60, false), 90_000, Some(News::Lasts));
    let own = AlarmTarget { tenant: Some("t".parse().unwrap()), ..target.clone() };
    check(&own, &alarm, &sent(60, false), 90_000, None);
    alarm.acknowledged = Some((at(100), Actor::Operator));
    check(&target, &alarm, &sent(60, false), 90_000, None);
    check(&target, &alarm, &nothing, 90_000, None);
    alarm.ended = Some(at(200));
    check(&target, &alarm, &sent(60, false), 201, Some(News::Ended));
    check(&target, &alarm, &sent(201, true), 90_000, None);
    check(&target, &alarm, &nothing, 201, None);
}

#[test]
fn in_quiet_times_only_what_is_critical_is_sent_and_the_rest_when_they_end() {
    let night = AlarmTarget { quiet: Some((time(22, 0, 0, 0), time(6, 30, 0, 0))), ..target() };
    let warning = lost("t/c");
    let critical = alarm(2, Event::of_gateway(at(0), Fact::OverAge { packs: 3, oldest: at(0) }));
    let alarms = [warning, critical];
    let sent_at = |hour, minute| {
        let due = due(&night, &alarms, &HashMap::new(), at(600), time(hour, minute, 0, 0));
        due.iter().map(|notice| notice.alarm.id).collect::<Vec<_>>()
    };
    assert_eq!([sent_at(21, 59), sent_at(6, 30)], [[2, 1], [2, 1]], "the most severe first");
    assert_eq!([sent_at(22, 0), sent_at(0, 0), sent_at(6, 29)], [[2], [2], [2]]);
}

#[test]
fn a_tenants_target_gets_what_that_tenant_may_read() {
    let town = AlarmTarget { tenant: Some("town".parse().unwrap()), wait: Duration::ZERO, ..target() };
    let away = |scope| alarm(1, Event::new(at(0), scope, Fact::StoreAway { store: Some("secret-bucket".to_owned()) }));
    let missing = alarm(1, Event::of_gateway(at(0), Fact::StoreMissing { store: Some("secret-bucket".to_owned()) }));
    check(&town, &lost("town/c"), &HashMap::new(), 1, Some(News::Began));
    check(&town, &lost("other/c"), &HashMap::new(), 1, None);
    check(&town, &away(Scope::Tenant("other".parse().unwrap())), &HashMap::new(), 1, None);
    check(&town, &missing, &HashMap::new(), 1, None);
    let due = due(&town, &[away(Scope::Gateway)], &HashMap::new(), at(1), time(14, 0, 0, 0));
    assert!(due.len() == 1 && !format!("{due:?}").contains("secret-bucket"), "{due:?}");
}

#[tokio::test]
async fn an_alarm_is_one_row_while_it_lasts_and_what_happened_is_over_when_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    let event = |second, fact| Event::of_camera(at(second), &camera("t/c"), fact);
    let changes = async |changes: Vec<AlarmChange>| {
        index.write(changes.into_iter().map(Change::Alarm).collect()).await.unwrap();
    };
    let raise = |second, fact| super::changes_of(event(second, fact)).remove(0);
    let silent = |second| raise(second, Fact::ConnectionLost { cause: GapCause::Silent });
    changes(vec![silent(0), silent(9), raise(9, Fact::RetentionConflict)]).await;
    let open = index.open_alarms().await.unwrap();
    assert_eq!(open.iter().map(|alarm| (alarm.id, alarm.began)).collect::<Vec<_>>(), [(1, at(0)), (2, at(9))]);

    let notified = |id| {
        let notice = NoticeRow { at: at(70), is_end: false };
        AlarmChange::Notified { id, target: "night-shift".to_owned(), notice }
    };
    let acknowledge = |id| AlarmChange::Acknowledge { id, by: Actor::Operator, at: at(80) };
    changes(vec![notified(1), notified(2), acknowledge(1), acknowledge(2)]).await;
    let open = index.open_alarms().await.unwrap();
    assert_eq!(
        open.iter().map(|alarm| (alarm.id, alarm.acknowledged)).collect::<Vec<_>>(),
        [(1, Some((at(80), Actor::Operator)))]
    );

    let scope = Scope::Camera(camera("t/c"));
    let end = AlarmChange::End { kind: "camera_not_recorded", subject: String::new(), scope, at: at(90) };
    changes(vec![end.clone(), end, silent(95)]).await;
    let open = index.open_alarms().await.unwrap();
    assert_eq!(open.iter().map(|alarm| (alarm.id, alarm.ended)).collect::<Vec<_>>(), [(1, Some(at(90))), (3, None)]);
    assert_eq!(index.alarms(&"u".parse().unwrap(), None, 9).await.unwrap(), []);
    assert_eq!(index.alarms(&"t".parse().unwrap(), None, 9).await.unwrap().len(), 3);

    changes(vec![AlarmChange::Notified {
        id: 1,
        target: "night-shift".to_owned(),
        notice: NoticeRow { at: at(96), is_end: true },
    }])
    .await;
    assert_eq!(index.open_alarms().await.unwrap().len(), 1, "its end was announced");
    changes(vec![AlarmChange::Notified {
        id: 3,
        target: "removed".to_owned(),
        notice: NoticeRow { at: at(97), is_end: false },
    }])
    .await;
    assert_eq!(index.notices().await.unwrap().len(), 1);
    changes(vec![AlarmChange::Targets(vec!["night-shift".to_owned()])]).await;
    assert!(index.notices().await.unwrap().is_empty(), "a target that was removed is waited for");
    index.write(vec![Change::ForgetEventsBefore { before: at(100) }]).await.unwrap();
    assert_eq!(index.all_alarms(9).await.unwrap().len(), 1);
}

#[test]
fn a_clock_that_was_ahead_holds_nothing_back() {
    let target = target();
    check(&target, &lost("t/c"), &HashMap::new(), -3_600, Some(News::Began));
    check(&target, &lost("t/c"), &sent(60, false), -3_600, Some(News::Lasts));
}

#[test]
fn hours_of_the_disk_that_nobody_knows_change_nothing() {
    let begins = Some(Fact::DiskHoursLeft { hours: 5 });
    assert_eq!(disk_news(true, Some(5.9), false), begins);
    for (waits, hours, lasts) in [(true, None, true), (true, None, false), (false, Some(5.0), false)] {
        assert_eq!(disk_news(waits, hours, lasts), None, "{waits} {hours:?} {lasts}");
    }
    assert_eq!(disk_news(true, Some(5.0), true), None, "it lasts");
    assert_eq!(disk_news(true, Some(30.0), true), Some(Fact::DiskHoursLeftEnded));
    assert_eq!(disk_news(false, None, true), Some(Fact::DiskHoursLeftEnded));
}

#[test]
fn a_camera_that_is_cut_off_again_and_again_is_an_alarm_until_it_is_not_for_an_hour() {
    let status = |state| CameraStatus { state, ..CameraStatus::default() };
    let (plays, away) = (status(CameraState::Recording), status(CameraState::Gap(GapCause::Silent)));
    assert_eq!(cuts_news(&plays, 5, false), None);
    assert_eq!(cuts_news(&plays, 6, false), Some(Fact::CameraUnsteady { cuts: 6 }));
    assert_eq!((cuts_news(&plays, 6, true), cuts_news(&plays, 2, true)), (None, None));
    assert_eq!(cuts_news(&plays, 1, true), Some(Fact::CameraSteady));
    assert_eq!(cuts_news(&away, 0, true), None, "it is away, and so not steady");
    assert_eq!(cuts_news(&plays, 0, false), None);
}

#[test]
fn a_clock_that_is_off_is_an_alarm_until_it_is_right_or_not_compared() {
    let check = |device_clock, lasts, expect: Option<Fact>| {
        let status = CameraStatus { device_clock, ..CameraStatus::default() };
        assert_eq!(clock_news(&status, lasts), expect, "{device_clock:?} {lasts}");
    };
    let compared = |is_off| {
        let (offset, bound) = (Ticks90k(-540_090), Ticks90k(45_000));
        DeviceClock::Compared { offset, bound, at: at(0), is_off }
    };
    check(compared(true), false, Some(Fact::CameraClockOff { by_ms: -6_001 }));
    check(compared(true), true, None);
    check(compared(false), true, Some(Fact::CameraClockRight));
    check(compared(false), false, None);
    check(DeviceClock::NotCompared, true, Some(Fact::CameraClockRight));
    check(DeviceClock::NotCompared, false, None);
    // After a restart: nobody knows that it was set.
    check(DeviceClock::Awaited, true, None);
}

/// A camera whose certificate ends to be valid after so many days.
fn check_certificate(state: CameraState, days: Option<i64>, lasts: bool, expect: Option<Fact>) {
    let certificate_until = days.map(|days| WallTime(at(0).0 + days * TICKS_PER_DAY));
    let status = CameraStatus { state, certificate_until, ..CameraStatus::default() };
    assert_eq!(certificate_news(&status, lasts, at(0)), expect, "{state:?} {days:?} {lasts}");
}

#[test]
fn a_certificate_that_runs_out_is_an_alarm_until_a_session_shows_another() {
    let (recording, gap) = (CameraState::Recording, CameraState::Gap(GapCause::Silent));
    let ends = |days| Some(Fact::CertificateEnds { days });
    check_certificate(recording, Some(30), false, None);
    check_certificate(recording, Some(29), false, ends(29));
    check_certificate(recording, Some(29), true, None);
    check_certificate(recording, Some(-1), false, ends(0));
    check_certificate(recording, Some(400), true, Some(Fact::CertificateRenewed));
    check_certificate(recording, None, true, Some(Fact::CertificateRenewed));
    check_certificate(recording, None, false, None);
    // After a restart, or once it is refused: nobody knows that it was renewed.
    check_certificate(CameraState::Starting, None, true, None);
    check_certificate(gap, None, true, None);
    check_certificate(gap, Some(29), false, ends(29));
}

/// An index with these alarms of a store, by their events.
async fn of_store(facts: Vec<Fact>) -> (tempfile::TempDir, Index) {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    let changes = facts.into_iter().flat_map(|fact| super::changes_of(Event::of_gateway(at(0), fact)));
    index.write(changes.map(Change::Alarm).collect()).await.unwrap();
    (dir, index)
}

#[tokio::test]
async fn an_alarm_that_gets_worse_is_a_new_one_to_its_targets_and_keeps_its_severity() {
    let store = || Some("cloud".to_owned());
    let (_dir, index) = of_store(vec![Fact::StoreAway { store: store() }]).await;
    let notice = NoticeRow { at: at(1), is_end: false };
    let sent = AlarmChange::Notified { id: 1, target: "night-shift".to_owned(), notice };
    let seen = AlarmChange::Acknowledge { id: 1, by: Actor::Operator, at: at(2) };
    index.write(vec![Change::Alarm(sent.clone()), Change::Alarm(seen)]).await.unwrap();
    let raise = async |fact| {
        let changes = super::changes_of(Event::of_gateway(at(3), fact));
        index.write(changes.into_iter().map(Change::Alarm).collect()).await.unwrap();
    };
    raise(Fact::StoreAway { store: store() }).await;
    assert_eq!(index.notices().await.unwrap().len(), 1, "it is as it was");
    raise(Fact::StoreLies { store: store() }).await;
    let open = index.open_alarms().await.unwrap();
    assert_eq!((open.len(), open[0].acknowledged, open[0].severity), (1, None, Severity::Critical));
    assert!(index.notices().await.unwrap().is_empty());
    // A target of critical alarms alone learns of its end, though it was a warning by then.
    index.write(vec![Change::Alarm(sent)]).await.unwrap();
    raise(Fact::StoreAway { store: store() }).await;
    raise(Fact::StoreKnown { store: store() }).await;
    let critical = AlarmTarget { min_severity: Severity::Critical, ..target() };
    let (open, notices) = (index.open_alarms().await.unwrap(), index.notices().await.unwrap());
    let due = due(&critical, &open, &notices, at(9), time(14, 0, 0, 0));
    assert_eq!(due.iter().map(|notice| notice.news).collect::<Vec<_>>(), [News::Ended]);
}

#[tokio::test]
async fn the_worst_is_shown_first_however_many_are_newer_and_tenants_do_not_lose_room_to_the_operators() {
    let (_dir, index) =
        of_store(vec![Fact::IndexMissing, Fact::DiskFull { free_bytes: None, reserve_bytes: None }]).await;
    let many = (0..150).flat_map(|n| {
        let fact = Fact::AlarmNotDelivered { target: format!("target-{n}") };
        super::changes_of(Event::of_gateway(at(n), fact))
    });
    index.write(many.map(Change::Alarm).collect()).await.unwrap();
    let kinds = |rows: Vec<AlarmRow>| rows.into_iter().map(|row| row.kind).collect::<Vec<_>>();
    assert_eq!(kinds(index.all_alarms(2).await.unwrap()), ["disk_full", "index_missing"]);
    assert_eq!(kinds(index.alarms(&"t".parse().unwrap(), None, 2).await.unwrap()), ["disk_full"]);
    let counts = index.alarm_counts().await.unwrap();
    assert_eq!((counts.active, counts.critical, counts.not_delivered), (152, 2, 150));
}

#[tokio::test]
async fn an_index_that_was_lost_takes_alarms_over_and_raises_none_again() {
    let (dir, index) = of_store(vec![Fact::StoreAway { store: None }]).await;
    index.write(vec![Change::Event(Event::of_gateway(at(0), Fact::StoreAway { store: None }))]).await.unwrap();
    let seen = AlarmChange::Acknowledge { id: 1, by: Actor::Operator, at: at(2) };
    let followed = Change::Identify {
        kind: crate::index::identity::Kind::AlarmsFollowed,
        name: String::new(),
        id: Some(1_i64.to_be_bytes().to_vec()),
    };
    index.write(vec![Change::Alarm(seen), followed]).await.unwrap();
    index.close().await;
    let (from, to) = (dir.path().join("index.sqlite"), dir.path().join("new.sqlite"));
    let carried = crate::index::examine::begin_from(&to, &[from]).unwrap();
    assert!(carried[0].1.as_ref().unwrap().cut_off.is_none(), "{carried:?}");
    let index = Index::open(&to).await.unwrap();
    let open = index.open_alarms().await.unwrap();
    assert_eq!(open[0].acknowledged, Some((at(2), Actor::Operator)));
    let (_sender, targets) = tokio::sync::watch::channel(Vec::new());
    let clock: std::sync::Arc<dyn footage::clock::Clock> = std::sync::Arc::new(footage::clock::SystemClock::default());
    let mut alarms = super::Alarms::new(index.clone(), clock, jiff::tz::TimeZone::UTC, targets);
    alarms.follow().await.unwrap();
    assert_eq!(index.open_alarms().await.unwrap(), open, "the event of before raises nothing again");
}

#[test]
fn a_message_is_made_of_whatever_a_name_holds_and_of_the_hour_of_that_day() {
    let zone = jiff::tz::TimeZone::get("Europe/Paris").unwrap();
    let mut alarm = lost("t/c");
    alarm.kind = "kind\r\nBcc: x@example.org".to_owned();
    let notice = super::notice::Notice { alarm, news: News::Began, last: None };
    let (subject, text) = super::deliver::words(&target(), &zone, &[notice], at(0));
    assert!(!subject.contains(['\r', '\n']), "{subject:?}");
    assert!(text.contains("2026-03-01 13:00:00"), "{text}");
}

#[test]
fn quiet_times_follow_the_clock_of_the_wall_over_a_change_of_it() {
    let zone = jiff::tz::TimeZone::get("Europe/Paris").unwrap();
    let night = AlarmTarget { quiet: Some((time(2, 0, 0, 0), time(3, 0, 0, 0))), wait: Duration::ZERO, ..target() };
    // 25 October 2026: from 2 to 3 h twice.
    let is_quiet = |instant: &str| {
        let now: WallTime = instant.parse().unwrap();
        let mut alarm = lost("t/c");
        alarm.began = now;
        let local = zone.to_datetime(now.to_timestamp()).time();
        due(&night, &[alarm], &HashMap::new(), now, local).is_empty()
    };
    let hours = ["2026-10-24T23:59:59Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"];
    assert_eq!(hours.map(is_quiet), [false, true, true, false]);
}
