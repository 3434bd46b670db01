//! Which alarms are due at a target.

use std::collections::HashMap;

use jiff::civil::Time;

use crate::config::AlarmTarget;
use crate::event::alarm::CAMERA_NOT_RECORDED;
use crate::event::{Actor, Fact, Scope, Severity};
use crate::index::alarm::{AlarmRow, NoticeRow};
use footage::units::{Ticks90k, WallTime};

/// What a message says of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It has begun.
    Began,
    /// It lasts, and nobody has acknowledged it.
    Lasts,
    /// It is over.
    Ended,
}

impl News {
    /// The word in a webhook's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Lasts => "lasts",
            Self::Ended => "ended",
        }
    }
}

/// An alarm, and what the next message to a target says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The alarm, as the target may read it.
    pub alarm: AlarmRow,
    /// What of it.
    pub news: News,
    /// When the target was last sent something of it: what makes this notice another than the last one.
    pub last: Option<WallTime>,
}

impl Notice {
    /// That the alarm is over.
    pub fn is_end(&self) -> bool {
        self.news == News::Ended
    }
}

/// What is due at `now`, when local clocks show `local`; the most severe first.
pub fn due(
    target: &AlarmTarget,
    alarms: &[AlarmRow],
    notices: &HashMap<(i64, String), NoticeRow>,
    now: WallTime,
    local: Time,
) -> Vec<Notice> {
    let quiet = target.quiet.is_some_and(|span| covers(span, local));
    let mut due: Vec<Notice> = alarms
        .iter()
        .filter_map(|alarm| {
            let alarm = visible(target, alarm)?;
            let severity = alarm.severity;
            if severity < target.min_severity || (quiet && severity < Severity::Critical) {
                return None;
            }
            let last = notices.get(&(alarm.id, target.id.to_string()));
            let news = news(target, &alarm, last, now)?;
            Some(Notice { alarm, news, last: last.map(|notice| notice.at) })
        })
        .collect();
    due.sort_by_key(|notice| (notice.is_end(), std::cmp::Reverse(notice.alarm.severity), notice.alarm.id));
    due
}

/// The alarm as the target may read it.
fn visible(target: &AlarmTarget, alarm: &AlarmRow) -> Option<AlarmRow> {
    // A target that reads that it could not be reached has been reached.
    if matches!(&alarm.event.fact, Fact::AlarmNotDelivered { target: of } if of == target.id.as_str()) {
        return None;
    }
    let Some(tenant) = &target.tenant else { return Some(alarm.clone()) };
    match alarm.event.scope.tenant() {
        Some(of) if of != tenant => None,
        _ => alarm.clone().for_tenant(),
    }
}

fn news(target: &AlarmTarget, alarm: &AlarmRow, last: Option<&NoticeRow>, now: WallTime) -> Option<News> {
    // A clock that was ahead has been set back: how long ago that was is not known.
    let passed = |since: WallTime, time| since > now || now.since(since) >= Ticks90k::from_duration(time);
    // A tenant cannot silence the operator.
    let is_seen = alarm.acknowledged.is_some_and(|(_, by)| by == Actor::Operator || target.tenant.is_some());
    match last {
        // The end of what was not announced is not announced either.
        None if alarm.ended.is_some() || is_seen => None,
        None => {
            let waits = alarm.kind == CAMERA_NOT_RECORDED && !passed(alarm.began, target.wait);
            (!waits).then_some(News::Began)
        }
        Some(last) if alarm.ended.is_some() => (!last.is_end).then_some(News::Ended),
        Some(last) => (!is_seen && passed(last.at, target.repeat)).then_some(News::Lasts),
    }
}

/// Whether a span of local time, which may go over midnight, covers an instant.
fn covers((from, to): (Time, Time), local: Time) -> bool {
    if from < to { from <= local && local < to } else { local >= from || local < to }
}

/// Of which camera, tenant, or of the gateway.
pub fn place(scope: &Scope) -> Option<String> {
    match scope {
        Scope::Gateway => None,
        Scope::Tenant(tenant) => Some(tenant.to_string()),
        Scope::Camera(key) => Some(key.to_string()),
    }
}
