//! Alarms: what is wrong, sent by webhook and e-mail until somebody acknowledges it or it is over.
//!
//! ```text
//! events → rules (event::alarm) → rows (index::alarm) → notices due for each target → webhook, e-mail
//! ```
//!
//! Invariants: recording never waits for a target; an alarm that lasts is announced once, then again each `repeat_minutes`
//! until it is acknowledged; its end is announced to whom its begin was; a tenant's target gets what that tenant may
//! read, and nothing else. What was sent is in the index, so that a start repeats nothing.
//! Absent on purpose: SNMP, and whatever else an Alertmanager does (`config/alertmanager-rules.yml`).

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::deliver::Delivery;
use self::notice::{Notice, due};
use crate::config::AlarmTarget;
use crate::event::alarm::{
    CAMERA_CLOCK_OFF, CAMERA_NOT_RECORDED, CAMERA_UNSTEADY, CERTIFICATE_ENDS, Effect, Rule, of, scope_of,
};
use crate::event::{Event, Fact};
use crate::index::alarm::{AlarmChange, NoticeRow};
use crate::index::identity::Kind;
use crate::index::{Change, Index, IndexError};
use crate::metrics::Sources;
use crate::status::{CameraState, CameraStatus, DeviceClock};
use footage::clock::Clock;
use footage::units::{AlarmTargetId, TICKS_PER_DAY, TICKS_PER_SECOND, Ticks90k, WallTime};

pub mod deliver;
pub mod notice;

#[cfg(test)]
mod tests;

/// How often events and targets are looked at.
const TURN: Duration = Duration::from_secs(1);
/// What begins within so much of the first is one message.
const GATHER: Duration = Duration::from_secs(5);
/// Events read at a time.
const EVENTS_AT_ONCE: u32 = 500;
/// How often the disk, the cameras and their certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A camera that was cut off so often within [`CUTS_WITHIN`] is an alarm, however short each cut was: a target hears of no
/// cut that is shorter than its `wait_seconds`.
const CUTS_MAX: u64 = 6;
const CUTS_WITHIN: Ticks90k = Ticks90k(3_600 * TICKS_PER_SECOND);
/// A certificate that ends to be valid within so much is an alarm.
const CERTIFICATE_DAYS_MIN: i64 = 30;
/// With fewer hours of recording left, and a store that is away, the disk is an alarm.
const DISK_HOURS_MIN: f64 = 24.0;
/// A store is away where the oldest pack has waited for so long.
const WAITING_S_MAX: f64 = 900.0;
/// Between two attempts at a target that is not reached.
const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(1_800);

/// Raises alarms and sends them.
#[derive(Debug)]
pub struct Alarms {
    index: Index,
    clock: Arc<dyn Clock>,
    time_zone: TimeZone,
    targets: watch::Receiver<Vec<AlarmTarget>>,
    watched: Option<Sources>,
    looked: Option<Instant>,
    followed: Option<i64>,
    ways: HashMap<AlarmTargetId, Way>,
    sending: JoinSet<Sent>,
}

/// A target as it stands.
#[derive(Debug)]
struct Way {
    delivery: Arc<Delivery>,
    busy: bool,
    /// Since when something is due.
    gathers: Option<Instant>,
    failures: u32,
    retry: Option<Instant>,
}

/// An attempt that is over.
#[derive(Debug)]
struct Sent {
    target: AlarmTargetId,
    notices: Vec<Notice>,
    outcome: Result<(), String>,
}

impl Alarms {
    /// Of this gateway, for the targets that the channel holds.
    pub fn new(
        index: Index,
        clock: Arc<dyn Clock>,
        time_zone: TimeZone,
        targets: watch::Receiver<Vec<AlarmTarget>>,
    ) -> Self {
        let (watched, looked, followed) = (None, None, None);
        let (ways, sending) = (HashMap::new(), JoinSet::new());
        Self { index, clock, time_zone, targets, watched, looked, followed, ways, sending }
    }

    /// The same, which also watches the hours that are left on the disk, and the certificates of cameras.
    pub fn watching(self, sources: Sources) -> Self {
        Self { watched: Some(sources), ..self }
    }

    /// Runs until it is stopped; what cannot be done now is done in a later turn.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut turns = tokio::time::interval(TURN);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let work = async {
            let mut turned = self.set_targets().await;
            loop {
                if let Err(error) = turned {
                    warn!(%error, "alarms could not be looked at, and will be again");
                }
                turned = tokio::select! {
                    _ = turns.tick() => self.turn().await,
                    Some(Ok(sent)) = self.sending.join_next() => self.sent(sent).await,
                    Ok(()) = self.targets.changed() => self.set_targets().await,
                };
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn set_targets(&mut self) -> Result<(), IndexError> {
        let targets = self.targets.borrow_and_update().clone();
        self.ways.retain(|id, _| targets.iter().any(|target| target.id == *id));
        let names: Vec<String> = targets.iter().map(|target| target.id.to_string()).collect();
        let not_reached = self.not_reached().await?;
        for target in targets {
            // It was not reached when the gateway stopped: that it is again has to be said.
            let failures = u32::from(not_reached.contains(target.id.as_str()));
            let fresh = || Way { delivery: Arc::default(), busy: false, gathers: None, failures, retry: None };
            let way = self.ways.entry(target.id.clone()).or_insert_with(fresh);
            way.delivery = Arc::new(Delivery::new(target, self.time_zone.clone()));
            way.retry = None;
        }
        let at = self.clock.wall();
        let removed = not_reached.into_iter().filter(|target| !names.contains(target));
        let mut changes: Vec<Change> =
            removed.map(|target| Change::Event(Event::of_gateway(at, Fact::AlarmDelivered { target }))).collect();
        changes.push(Change::Alarm(AlarmChange::Targets(names)));
        self.index.write(changes).await
    }

    /// Targets that an alarm says are not reached.
    async fn not_reached(&self) -> Result<HashSet<String>, IndexError> {
        let open = self.index.open_alarms().await?.into_iter().filter(|alarm| alarm.ended.is_none());
        Ok(open
            .filter_map(|alarm| match alarm.event.fact {
                Fact::AlarmNotDelivered { target } => Some(target),
                _ => None,
            })
            .collect())
    }

    async fn turn(&mut self) -> Result<(), IndexError> {
        self.follow().await?;
        self.look().await?;
        if self.ways.is_empty() {
            return Ok(());
        }
        let (alarms, notices) = (self.index.open_alarms().await?, self.index.notices().await?);
        let (now, wall) = (Instant::now(), self.clock.wall());
        let at = self.time_zone.to_datetime(wall.to_timestamp()).time();
        for (id, way) in &mut self.ways {
            let Some(target) = way.delivery.target() else { continue };
            if way.busy || way.retry.is_some_and(|retry| retry > now) {
                continue;
            }
            let mut due = due(target, &alarms, &notices, wall, at);
            // The rest goes with the next message.
            due.truncate(deliver::ALARMS_MAX);
            if due.is_empty() {
                way.gathers = None;
            } else if now.saturating_duration_since(*way.gathers.get_or_insert(now)) >= GATHER {
                (way.busy, way.gathers) = (true, None);
                let (delivery, target) = (way.delivery.clone(), id.clone());
                self.sending.spawn(async move {
                    let attempt = AssertUnwindSafe(delivery.send(&due, wall)).catch_unwind();
                    let outcome = attempt.await.unwrap_or_else(|_| Err("the attempt panicked".to_owned()));
                    Sent { target, notices: due, outcome }
                });
            }
        }
        Ok(())
    }

    /// Raises and ends alarms by the events that are new.
    async fn follow(&mut self) -> Result<(), IndexError> {
        let mut followed = match self.followed {
            Some(followed) => followed,
            None => self.begin_following().await?,
        };
        loop {
            let events = self.index.events_after(followed, EVENTS_AT_ONCE).await?;
            let Some(last) = events.last().map(|row| row.id) else { break };
            let mut changes: Vec<Change> =
                events.into_iter().flat_map(|row| changes_of(row.event)).map(Change::Alarm).collect();
            let id = Some(last.to_be_bytes().to_vec());
            changes.push(Change::Identify { kind: Kind::AlarmsFollowed, name: String::new(), id });
            self.index.write(changes).await?;
            followed = last;
            self.followed = Some(last);
        }
        self.followed = Some(followed);
        Ok(())
    }

    /// Where the last run stopped; an index that never had alarms begins with its first event: what was wrong when it was
    /// made is one.
    async fn begin_following(&self) -> Result<i64, IndexError> {
        let kept = self.index.identities(Kind::AlarmsFollowed).await?.remove("");
        Ok(kept.and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes))
    }

    /// Looks at what no single event says: the disk that fills, cameras that come and go, certificates that run out.
    async fn look(&mut self) -> Result<(), IndexError> {
        let Some(watched) = &self.watched else { return Ok(()) };
        let now = Instant::now();
        if self.looked.is_some_and(|last| now.saturating_duration_since(last) < LOOK_EVERY) {
            return Ok(());
        }
        self.looked = Some(now);
        let snapshot = watched.snapshot().await?;
        let waits = snapshot.oldest_waiting_s() > WAITING_S_MAX;
        let open = self.index.open_alarms().await?;
        let lasting = |kind: &'static str| open.iter().filter(move |alarm| alarm.ended.is_none() && alarm.kind == kind);
        let lasts = lasting("disk_hours_left").next().is_some();
        let disk = disk_news(waits, snapshot.free_hours(), lasts).map(|fact| Event::of_gateway(snapshot.at, fact));
        let cuts = self.index.alarms_ended(CAMERA_NOT_RECORDED, snapshot.at.saturating_sub(CUTS_WITHIN)).await?;
        let cameras = |kind| lasting(kind).filter_map(|alarm| alarm.event.scope.camera()).collect::<HashSet<_>>();
        let (unsteady, running_out) = (cameras(CAMERA_UNSTEADY), cameras(CERTIFICATE_ENDS));
        let clocks_off = cameras(CAMERA_CLOCK_OFF);
        let of_cameras = snapshot.cameras.iter().flat_map(|(camera, status)| {
            let cuts = cuts.get(camera).copied().unwrap_or_default();
            let facts = [
                cuts_news(status, cuts, unsteady.contains(camera)),
                certificate_news(status, running_out.contains(camera), snapshot.at),
                clock_news(status, clocks_off.contains(camera)),
            ];
            facts.into_iter().flatten().map(|fact| Event::of_camera(snapshot.at, camera, fact))
        });
        let changes: Vec<Change> = disk.into_iter().chain(of_cameras).map(Change::Event).collect();
        if changes.is_empty() { Ok(()) } else { self.index.write(changes).await }
    }

    async fn sent(&mut self, sent: Sent) -> Result<(), IndexError> {
        let Sent { target, notices, outcome } = sent;
        let at = self.clock.wall();
        let mut changes: Vec<Change> = Vec::new();
        if outcome.is_ok() {
            let notified = notices.iter().map(|of| {
                let notice = NoticeRow { at, is_end: of.is_end() };
                Change::Alarm(AlarmChange::Notified { id: of.alarm.id, target: target.to_string(), notice })
            });
            changes.extend(notified);
        }
        let mut report = |fact| changes.push(Change::Event(Event::of_gateway(at, fact)));
        if let Some(way) = self.ways.get_mut(&target) {
            way.busy = false;
            match outcome {
                Ok(()) => {
                    info!(%target, alarms = notices.len(), "alarms were sent");
                    if std::mem::take(&mut way.failures) > 0 {
                        report(Fact::AlarmDelivered { target: target.to_string() });
                    }
                }
                Err(why) => {
                    way.failures += 1;
                    let wait = RETRY_FIRST.saturating_mul(1 << way.failures.min(12).saturating_sub(1)).min(RETRY_MAX);
                    // Targets that failed together are not tried together.
                    way.retry = Some(Instant::now() + wait.mul_f64(rand::random_range(0.5..1.0)));
                    warn!(%target, alarms = notices.len(), "alarms could not be sent, and will be again: {why}");
                    if way.failures == 1 {
                        report(Fact::AlarmNotDelivered { target: target.to_string() });
                    }
                }
            }
        }
        if changes.is_empty() { Ok(()) } else { self.index.write(changes).await }
    }
}

/// Whether a disk that fills while its store is away begins or ends to be an alarm. While no camera has a bit rate, as just
/// after a start, nobody knows the hours.
fn disk_news(waits: bool, hours: Option<f64>, lasts: bool) -> Option<Fact> {
    match (waits, hours, lasts) {
        (true, Some(hours), false) if hours < DISK_HOURS_MIN => Some(Fact::DiskHoursLeft { hours: hours as u64 }),
        (false, _, true) => Some(Fact::DiskHoursLeftEnded),
        (true, Some(hours), true) if hours >= DISK_HOURS_MIN => Some(Fact::DiskHoursLeftEnded),
        _ => None,
    }
}

fn plays(status: &CameraStatus) -> bool {
    matches!(status.state, CameraState::Connected | CameraState::Recording)
}

/// Whether a camera that was cut off so often within an hour begins or ends to be an alarm. One that is away is not steady.
fn cuts_news(status: &CameraStatus, cuts: u64, lasts: bool) -> Option<Fact> {
    match (cuts, lasts) {
        (CUTS_MAX.., false) => Some(Fact::CameraUnsteady { cuts }),
        (0 | 1, true) if plays(status) => Some(Fact::CameraSteady),
        _ => None,
    }
}

/// Whether a camera's certificate begins or ends to be an alarm. Only a session that plays says which certificate there is.
fn certificate_news(status: &CameraStatus, lasts: bool, now: WallTime) -> Option<Fact> {
    let left = status.certificate_until.map(|until| until.since(now));
    match left.filter(|left| left.0 < CERTIFICATE_DAYS_MIN * TICKS_PER_DAY) {
        Some(left) if !lasts => Some(Fact::CertificateEnds { days: (left.0 / TICKS_PER_DAY).max(0) as u64 }),
        None if lasts && plays(status) => Some(Fact::CertificateRenewed),
        _ => None,
    }
}

/// Whether a camera's clock begins or ends to be an alarm. Until it has been compared, nobody knows.
fn clock_news(status: &CameraStatus, lasts: bool) -> Option<Fact> {
    match (status.device_clock, lasts) {
        (DeviceClock::Compared { offset, is_off: true, .. }, false) => {
            Some(Fact::CameraClockOff { by_ms: offset.0 / 90 })
        }
        (DeviceClock::Compared { is_off: false, .. } | DeviceClock::NotCompared, true) => Some(Fact::CameraClockRight),
        _ => None,
    }
}

/// What an event changes.
pub(crate) fn changes_of(event: Event) -> Vec<AlarmChange> {
    let Some(Rule { kinds, effect, subject }) = of(&event.fact) else { return Vec::new() };
    let (scope, at) = (scope_of(&event.fact, event.scope), event.at);
    let event = Event { scope: scope.clone(), ..event };
    let change = |kind| match effect {
        Effect::Begins | Effect::Happened => {
            let (subject, event) = (subject.clone(), event.clone());
            AlarmChange::Raise { kind, subject, lasts: effect == Effect::Begins, event }
        }
        Effect::Ends => AlarmChange::End { kind, subject: subject.clone(), scope: scope.clone(), at },
    };
    kinds.into_iter().map(change).collect()
}
