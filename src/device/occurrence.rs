//! What one camera notices, gathered into the index.
//!
//! Invariant: rows are bounded, whatever a device sends: only changes of what it said before, of the kinds that are named,
//! and [`ROWS_A_MINUTE`] of them for long; a row's time is the gateway's, moved by the device's no further than
//! [`LATE_MAX`] into the past and never into the future, so that retention finds it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use onvif::{Error, Notification, NotificationKind, Operation, Subscription};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Asked, wait_after};
use crate::index::{Change, Index, OccurrenceRow};
use crate::status::DeviceClock;
use footage::units::{Ticks90k, WallTime};

/// How long a device remembers us without a word.
const LIFETIME: Duration = Duration::from_secs(120);
/// How long a device may keep a question open while it notices nothing.
const PULL_WAIT: Duration = Duration::from_secs(20);
/// From one question to the next: a device that does not wait is not asked all the time.
const PULL_APART: Duration = Duration::from_secs(1);
/// What a device may take to let us go.
const UNSUBSCRIBE_TIME_MAX: Duration = Duration::from_secs(2);
/// Sources whose state is remembered; of more, nothing is kept.
const SOURCES_MAX: usize = 64;
/// Rows of one camera, in the long run and at once.
const ROWS_A_MINUTE: f64 = 20.0;
const ROWS_AT_ONCE: f64 = 100.0;
/// What was noticed longer ago than this, by the device's clock, is entered when it was told.
const LATE_MAX: Ticks90k = Ticks90k(300 * 90_000);

#[derive(Debug)]
pub(super) struct Gathering {
    asked: Asked,
    index: Index,
    seen: Seen,
}

impl Gathering {
    pub(super) fn new(asked: Asked, index: Index, kinds: BTreeSet<NotificationKind>) -> Self {
        Self { asked, index, seen: Seen::new(kinds) }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            let mut subscription = None;
            let followed = stop.run_until_cancelled(self.follow(&mut subscription, &mut failures)).await;
            if let Some(subscription) = subscription {
                let going = self.asked.device.unsubscribe(subscription);
                // It forgets us by itself, later.
                let _ = tokio::time::timeout(UNSUBSCRIBE_TIME_MAX, going).await;
            }
            let Some(Err(error)) = followed else { return };
            failures += 1;
            self.asked.trouble(&error, "the camera does not tell what it notices", |trouble| &mut trouble.occurrences);
            let wait = self.asked.wait(wait_after(&error, failures));
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }

    /// Gathers until the device gives no more answer; its subscription, while there is one, lies in `held`.
    async fn follow(&mut self, held: &mut Option<Subscription>, failures: &mut u32) -> Result<(), Error> {
        loop {
            let subscription = match held {
                Some(subscription) => subscription,
                None => held.insert(self.subscribe().await?),
            };
            if self.asked.device.is_due(subscription)
                && let Err(error) = self.asked.device.renew(subscription, LIFETIME).await
            {
                // Some cannot: they are asked for another one.
                if !error.is_unsupported() {
                    return Err(error);
                }
                if let Some(old) = held.take() {
                    let _ = self.asked.device.unsubscribe(old).await;
                }
                continue;
            }
            let began = self.asked.clock.read().mono;
            let pulled = self.asked.device.pull(subscription, PULL_WAIT).await?;
            *failures = 0;
            self.asked.slot.update(|status| status.device_trouble.occurrences.clear());
            self.enter(&pulled.notifications).await;
            let took = self.asked.clock.read().mono.saturating_sub(began);
            tokio::time::sleep(PULL_APART.saturating_sub(took)).await;
        }
    }

    async fn subscribe(&self) -> Result<Subscription, Error> {
        // Never closed.
        let _permit = self.asked.at_once.acquire().await;
        let subscription = self.asked.device.subscribe(LIFETIME).await?;
        info!(camera = %self.asked.camera, "the camera tells what it notices");
        Ok(subscription)
    }

    async fn enter(&mut self, notifications: &[Notification]) {
        let now = self.asked.clock.read();
        let mut offset = None;
        self.asked.slot.update(|status| {
            if let DeviceClock::Compared { offset: of_device, .. } = status.device_clock {
                offset = Some(of_device);
            }
        });
        let rows = notifications.iter().filter_map(|told| self.seen.news(told, now.wall, offset));
        let rows: Vec<OccurrenceRow> = rows.collect();
        let (rows, left_out) = self.seen.within_budget(rows, now.mono);
        if left_out > 0 {
            warn!(camera = %self.asked.camera, left_out, "the camera notices more than is kept: see its settings");
        }
        let camera = &self.asked.camera;
        let changes: Vec<Change> =
            rows.into_iter().map(|row| Change::Occurrence { camera: camera.clone(), row }).collect();
        if !changes.is_empty()
            && let Err(error) = self.index.write(changes).await
        {
            warn!(%camera, %error, "the index did not take what the camera noticed");
        }
    }
}

/// What a device said before.
#[derive(Debug)]
pub(super) struct Seen {
    kinds: BTreeSet<NotificationKind>,
    /// By topic and source.
    states: HashMap<(String, String), bool>,
    budget: f64,
    /// Monotonic time.
    budget_at: Duration,
}

impl Seen {
    pub(super) fn new(kinds: BTreeSet<NotificationKind>) -> Self {
        Self { kinds, states: HashMap::new(), budget: ROWS_AT_ONCE, budget_at: Duration::ZERO }
    }

    /// What a notification that was told now says that is new; `offset` is the device's clock minus the gateway's.
    pub(super) fn news(
        &mut self,
        told: &Notification,
        now: WallTime,
        offset: Option<Ticks90k>,
    ) -> Option<OccurrenceRow> {
        if !self.kinds.contains(&told.kind) {
            return None;
        }
        let active = if told.operation == Operation::Deleted { Some(false) } else { told.active };
        if let Some(active) = active {
            let of = (told.topic.clone(), told.source.clone());
            let is_full = self.states.len() >= SOURCES_MAX && !self.states.contains_key(&of);
            // What has not begun cannot end.
            if is_full || self.states.insert(of, active).unwrap_or(false) == active {
                return None;
            }
        }
        let noticed = told.device_time.zip(offset).map(|(time, offset)| time.saturating_sub(offset));
        let at = noticed.filter(|at| (now.saturating_sub(LATE_MAX)..=now).contains(at)).unwrap_or(now);
        Some(OccurrenceRow { at, kind: told.kind, topic: told.topic.clone(), source: told.source.clone(), active })
    }

    /// The first of these that the budget allows, and how many it does not.
    pub(super) fn within_budget(&mut self, mut rows: Vec<OccurrenceRow>, now: Duration) -> (Vec<OccurrenceRow>, usize) {
        let passed = now.saturating_sub(self.budget_at).as_secs_f64();
        self.budget = (self.budget + passed * ROWS_A_MINUTE / 60.0).min(ROWS_AT_ONCE);
        self.budget_at = now;
        let kept = rows.len().min(self.budget as usize);
        let left_out = rows.len() - kept;
        rows.truncate(kept);
        self.budget -= kept as f64;
        (rows, left_out)
    }
}
