#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::collections::HashMap;
use std::time::Duration;

use jiff::civil::time;

use super::notice::{News, due};
use crate::config::{AlarmTarget, AlarmWay};
use crate::event::words::Language;
use crate::event::{Event, Fact, Scope, Severity};
use crate::index::alarm::{AlarmChange, AlarmRow, NoticeRow};
use crate::index::{Change, Index};
use crate::media::GapCause;
use crate::units::{CameraKey, TICKS_PER_SECOND, WallTime};

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
        way: AlarmWay::Webhook { url: "http://127.0.0.1:1/".parse().unwrap(), token: None, ca_file: None },
    }
}

fn alarm(id: i64, event: Event) -> AlarmRow {
    let kind = crate::event::alarm::of(&event.fact).unwrap().0.to_owned();
    AlarmRow { id, kind, began: event.at, event, ended: None, acknowledged: None }
}

fn lost(name: &str) -> AlarmRow {
    alarm(1, Event::of_camera(at(0), &camera(name), Fact::ConnectionLost { cause: GapCause::Silent }))
}

fn told(second: i64, is_end: bool) -> HashMap<(i64, String), NoticeRow> {
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
    check(&target, &alarm, &told(60, false), 3_659, None);
    check(&target, &alarm, &told(60, false), 3_660, Some(News::Lasts));
    alarm.acknowledged = Some(at(100));
    check(&target, &alarm, &told(60, false), 90_000, None);
    check(&target, &alarm, &nothing, 90_000, None);
    alarm.ended = Some(at(200));
    check(&target, &alarm, &told(60, false), 201, Some(News::Ended));
    check(&target, &alarm, &told(201, true), 90_000, None);
    check(&target, &alarm, &nothing, 201, None);
}

#[test]
fn in_quiet_times_only_what_is_critical_is_sent_and_the_rest_when_they_end() {
    let night = AlarmTarget { quiet: Some((time(22, 0, 0, 0), time(6, 30, 0, 0))), ..target() };
    let warning = lost("t/c");
    let critical = alarm(2, Event::of_gateway(at(0), Fact::OverAge { packs: 3, oldest: at(0) }));
    let alarms = [warning, critical];
    let sent = |hour, minute| {
        let due = due(&night, &alarms, &HashMap::new(), at(600), time(hour, minute, 0, 0));
        due.iter().map(|notice| notice.alarm.id).collect::<Vec<_>>()
    };
    assert_eq!([sent(21, 59), sent(6, 30)], [[2, 1], [2, 1]], "the most severe first");
    assert_eq!([sent(22, 0), sent(0, 0), sent(6, 29)], [[2], [2], [2]]);
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
    let raise = |second, fact| {
        let event = event(second, fact);
        let (kind, _, subject) = crate::event::alarm::of(&event.fact).unwrap();
        AlarmChange::Raise { kind, subject, event }
    };
    let silent = |second| raise(second, Fact::ConnectionLost { cause: GapCause::Silent });
    changes(vec![silent(0), silent(9), raise(9, Fact::RetentionConflict)]).await;
    let open = index.open_alarms().await.unwrap();
    assert_eq!(open.iter().map(|alarm| (alarm.id, alarm.began)).collect::<Vec<_>>(), [(1, at(0)), (2, at(9))]);

    let notified = |id| {
        let notice = NoticeRow { at: at(70), is_end: false };
        AlarmChange::Notified { id, target: "night-shift".to_owned(), notice }
    };
    let acknowledge = |id| AlarmChange::Acknowledge { id, at: at(80) };
    changes(vec![notified(1), notified(2), acknowledge(1), acknowledge(2)]).await;
    let open = index.open_alarms().await.unwrap();
    assert_eq!(open.iter().map(|alarm| (alarm.id, alarm.acknowledged)).collect::<Vec<_>>(), [(1, Some(at(80)))]);

    let scope = Scope::Camera(camera("t/c"));
    let end = AlarmChange::End { kind: "camera_not_recorded", subject: String::new(), scope, at: at(90) };
    changes(vec![end.clone(), end, silent(95)]).await;
    let open = index.open_alarms().await.unwrap();
    assert_eq!(open.iter().map(|alarm| (alarm.id, alarm.ended)).collect::<Vec<_>>(), [(1, Some(at(90))), (3, None)]);
    assert_eq!(index.alarms(&"u".parse().unwrap(), 9).await.unwrap(), []);
    assert_eq!(index.alarms(&"t".parse().unwrap(), 9).await.unwrap().len(), 3);

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
