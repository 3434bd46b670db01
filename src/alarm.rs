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

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::deliver::Delivery;
use self::notice::{Notice, due};
use crate::clock::Clock;
use crate::config::AlarmTarget;
use crate::event::alarm::{Effect, of, scope_of};
use crate::event::{Event, Fact};
use crate::index::alarm::{AlarmChange, NoticeRow};
use crate::index::identity::Kind;
use crate::index::{Change, Index, IndexError};
use crate::metrics::Sources;
use crate::units::AlarmTargetId;

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
/// How often the disk is looked at.
const DISK_EVERY: Duration = Duration::from_secs(60);
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
    disk: Option<Sources>,
    disk_looked: Option<Instant>,
    disk_hours: bool,
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
        let (disk, disk_looked, followed) = (None, None, None);
        let (ways, sending) = (HashMap::new(), JoinSet::new());
        Self { index, clock, time_zone, targets, disk, disk_looked, disk_hours: false, followed, ways, sending }
    }

    /// The same, which also watches the hours that are left on the disk.
    pub fn watching(self, disk: Sources) -> Self {
        Self { disk: Some(disk), ..self }
    }

    /// Runs until told to stop; what cannot be done now is done in a later turn.
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
        let names = targets.iter().map(|target| target.id.to_string()).collect();
        for target in targets {
            let fresh = || Way { delivery: Arc::default(), busy: false, gathers: None, failures: 0, retry: None };
            let way = self.ways.entry(target.id.clone()).or_insert_with(fresh);
            way.delivery = Arc::new(Delivery::new(target, self.time_zone.clone()));
            way.retry = None;
        }
        self.index.write(vec![Change::Alarm(AlarmChange::Targets(names))]).await
    }

    async fn turn(&mut self) -> Result<(), IndexError> {
        self.follow().await?;
        self.look_at_disk().await?;
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
            let due = due(target, &alarms, &notices, wall, at);
            if due.is_empty() {
                way.gathers = None;
            } else if now.saturating_duration_since(*way.gathers.get_or_insert(now)) >= GATHER {
                (way.busy, way.gathers) = (true, None);
                let (delivery, target) = (way.delivery.clone(), id.clone());
                self.sending.spawn(async move {
                    let outcome = delivery.send(&due, wall).await;
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
            let mut changes: Vec<Change> = events.into_iter().filter_map(|row| change_of(row.event)).collect();
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

    async fn look_at_disk(&mut self) -> Result<(), IndexError> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let now = Instant::now();
        if self.disk_looked.is_some_and(|last| now.saturating_duration_since(last) < DISK_EVERY) {
            return Ok(());
        }
        let first = self.disk_looked.replace(now).is_none();
        let snapshot = disk.snapshot().await?;
        let hours = snapshot.free_hours().filter(|hours| *hours < DISK_HOURS_MIN);
        let hours = hours.filter(|_| snapshot.oldest_waiting_s() > WAITING_S_MAX);
        if first {
            self.disk_hours = self.index.open_alarms().await?.iter().any(|alarm| alarm.kind == "disk_hours_left");
        }
        let fact = match (hours, self.disk_hours) {
            (Some(hours), false) => Fact::DiskHoursLeft { hours: hours as u64 },
            (None, true) => Fact::DiskHoursLeftEnded,
            _ => return Ok(()),
        };
        self.disk_hours = hours.is_some();
        self.index.write(vec![Change::Event(Event::of_gateway(self.clock.wall(), fact))]).await
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

fn change_of(event: Event) -> Option<Change> {
    let (kind, effect, subject) = of(&event.fact)?;
    let (scope, at) = (scope_of(&event.fact, event.scope), event.at);
    let event = Event { scope: scope.clone(), ..event };
    Some(Change::Alarm(match effect {
        Effect::Begins | Effect::Happened => AlarmChange::Raise { kind, subject, event },
        Effect::Ends => AlarmChange::End { kind, subject, scope, at },
    }))
}
