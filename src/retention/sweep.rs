//! The sweep: acts on a plan in an order that a crash may cut anywhere.
//!
//! ```text
//! condemn the row (readers no longer see it) → wait the grace time → begin to delete → delete the object → forget the row,
//! register it
//! ```
//!
//! What a hold covers and has not copied is neither condemned nor deleting: the index says so at both steps, whenever the
//! hold was placed.
//!
//! Whatever fails is found as it was left by the next sweep: a condemned row whose object is gone already is deleted
//! again, which changes nothing, and forgotten then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt, stream};
use jiff::tz::Offset;
use journal::entry::{Action, Author, Draft};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::alarms::{self, Alarms};
use super::steady_clock::{Judgement, RetentionClock};
use super::storage::Storage;
use super::tally::Tally;
use super::{CameraPacks, Inputs, Policy, RetentionPlan, deadline, due_until, max_of, plan};
use crate::archive::{PackRef, ReadError};
use crate::event::words::Language;
use crate::event::{Event, Fact, Scope};
use crate::index::clock::ClockFrame;
use crate::index::hold::Deleting;
use crate::index::{Change, Index, IndexError, Outcome, PackRow, Reason};
use crate::journals::Journals;
use crate::spool::blocking;
use footage::clock::{Clock, Reading};
use footage::keys::vault::{Shown, VaultError};
use footage::platform;
use footage::units::{CameraKey, PackId, TICKS_PER_DAY, TICKS_PER_SECOND, TenantId, Ticks90k, WallTime};

/// Packs of a camera read at a time: a sweep that has more to do comes back for them.
const PACKS_PER_CAMERA: u32 = 64;

/// Packs that wait for a store elsewhere, read when the disk is full.
const WAITING_MAX: u32 = 4_096;

/// Condemned packs read at a time, and at most in a sweep.
const CONDEMNED_PAGE: u32 = 4_096;
const CONDEMNED_MAX: usize = 65_536;

/// Packs condemned in one change.
const CONDEMNED_PER_WRITE: usize = 512;

/// Deletions under way at a time, and acknowledged to the index together.
const DELETIONS_AT_ONCE: usize = 8;
const DELETIONS_PER_WRITE: usize = 64;

/// After so many failures the rest of a tenant's packs wait for the next sweep: its store is away.
const FAILURES_PER_TENANT_MAX: u32 = 8;

/// How long events and the register of destructions are kept: 13 months of at most 31 days.
const EVENTS_KEPT: Ticks90k = Ticks90k(13 * 31 * TICKS_PER_DAY);

/// What was found of a pack that is to be destroyed.
struct Found {
    outcome: Outcome,
    /// The index has not heard of it.
    is_new: bool,
}

/// Deletions of a tenant's packs that failed.
struct Failures {
    packs: u32,
    first: String,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Condemned because their time was over.
    pub expired: usize,
    /// Condemned to make room.
    pub early: usize,
    /// Condemned because their hold was over.
    pub released: usize,
    /// Packs whose bytes are gone.
    pub deleted: usize,
    /// Of these, packs that were not there.
    pub absent: usize,
    /// Packs whose deletion failed and waits for the next sweep.
    pub failed: usize,
    /// Condemned packs that are there still after their deadline.
    pub over_age: usize,
    /// Condemned packs that wait for a hold to copy what it covers.
    pub held: usize,
    /// See [`RetentionPlan::short_bytes`].
    pub short_bytes: u64,
    /// Keys destroyed.
    pub shredded: usize,
    /// The sweep stopped at its bound with more to do.
    pub more: bool,
}

/// Sweeps, and remembers which alarms it has raised.
#[derive(Debug)]
pub struct Sweeper {
    index: Index,
    clock: Arc<dyn Clock>,
    storage: Storage,
    policy: Policy,
    /// Where another policy comes from.
    changed: Option<watch::Receiver<Policy>>,
    alarms: Alarms,
    /// Tenants with packs over age, and those whose deletions fail.
    over_age: BTreeSet<TenantId>,
    failing: BTreeSet<TenantId>,
    /// Where an operator's confirmations are left.
    confirmations: Option<PathBuf>,
    /// What is destroyed is entered there.
    journals: Option<Journals>,
    opened: Reading,
    time: Option<RetentionClock>,
    clock_doubted: bool,
}

impl Sweeper {
    /// One for all cameras.
    pub fn new(index: Index, clock: Arc<dyn Clock>, storage: Storage, policy: Policy) -> Self {
        let opened = clock.read();
        Self {
            index,
            clock,
            storage,
            policy,
            changed: None,
            alarms: Alarms::default(),
            over_age: BTreeSet::new(),
            failing: BTreeSet::new(),
            confirmations: None,
            journals: None,
            opened,
            time: None,
            clock_doubted: false,
        }
    }

    /// The same, which takes an operator's confirmations of policies from this file.
    pub fn confirmed_by(self, file: PathBuf) -> Self {
        Self { confirmations: Some(file), ..self }
    }

    /// The same, which enters what it destroys in these journals. One that fails stops no deletion: the law sets its time.
    pub fn entering(self, journals: Journals) -> Self {
        Self { journals: Some(journals), ..self }
    }

    /// One that goes by the policy that this channel holds at each sweep.
    pub fn following(
        index: Index,
        clock: Arc<dyn Clock>,
        storage: Storage,
        mut changed: watch::Receiver<Policy>,
    ) -> Self {
        let policy = changed.borrow_and_update().clone();
        Self { changed: Some(changed), ..Self::new(index, clock, storage, policy) }
    }

    /// Sweeps every interval until it is stopped; a sweep that fails is tried again the next time.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.policy.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let sweeps = async {
            loop {
                ticks.tick().await;
                while self.sweep_and_report().await {}
            }
        };
        // Cut off at any await: the next start goes on from there.
        stop.run_until_cancelled(sweeps).await;
    }

    /// One sweep, and its line in the log. True when there is more to do at once.
    async fn sweep_and_report(&mut self) -> bool {
        match self.sweep().await {
            Ok(report) => {
                let SweepReport {
                    expired,
                    early,
                    released,
                    deleted,
                    absent,
                    failed,
                    over_age,
                    held,
                    shredded,
                    more,
                    ..
                } = report;
                if early + failed + over_age + absent > 0 {
                    warn!(expired, early, released, deleted, absent, failed, over_age, held, shredded, "swept");
                } else if expired + released + deleted + held + shredded > 0 {
                    info!(expired, released, deleted, held, shredded, "swept");
                }
                more
            }
            Err(error) => {
                error!(%error, "the retention sweep failed and will be tried again");
                false
            }
        }
    }

    /// One sweep.
    pub async fn sweep(&mut self) -> Result<SweepReport, IndexError> {
        if let Some(changed) = self.changed.as_mut().filter(|changed| changed.has_changed().unwrap_or(false)) {
            self.policy = changed.borrow_and_update().clone();
        }
        let (now, frame) = self.steady_now().await?;
        self.apply_policies(now).await?;
        let free_bytes = self.free_bytes().await;
        let mut report = SweepReport { released: self.end_holds(now).await?, ..SweepReport::default() };
        let mut condemned = self.condemned().await?;
        let all_read = condemned.len() < CONDEMNED_MAX;
        let plan = loop {
            let cameras = self.whole_packs((now, frame), &condemned, free_bytes).await?;
            let plan =
                plan(&Inputs { now, policy: &self.policy, cameras: &cameras, condemned: &condemned, free_bytes });
            self.condemn(now, &plan).await?;
            report.expired += plan.expired.len();
            report.early += plan.early.len();
            let chosen = plan.expired.iter().chain(&plan.early);
            condemned.extend(chosen.map(|pack| PackRow { condemned_at: Some(now), ..pack.clone() }));
            if !plan.more || (plan.expired.is_empty() && plan.early.is_empty()) {
                break plan;
            }
            if condemned.len() >= CONDEMNED_MAX {
                report.more = true;
                break plan;
            }
        };
        report.short_bytes = plan.short_bytes;
        self.alarms.raise(&self.index, &self.policy, &plan, self.clock.read(), (now, free_bytes)).await?;
        self.delete(now, plan.delete, &mut report).await?;
        report.over_age = self.report_over_age(now).await?;
        report.more |= !all_read && report.deleted > 0;
        self.forget(now).await?;
        report.shredded = self.shred(now).await?;
        Ok(report)
    }

    /// The time to go by; kept before anything is destroyed by it.
    async fn steady_now(&mut self) -> Result<(WallTime, ClockFrame), IndexError> {
        let mut time = match self.time {
            Some(time) => time,
            None => RetentionClock::of_index(&self.index, self.opened).await?,
        };
        let reading = self.clock.read();
        let Judgement { now, doubted } = time.judge(reading);
        // Times of footage are judged by the wall clock; retention takes off what it doubts of that.
        let frame = ClockFrame { boot: self.clock.boot(), lead: doubted.unwrap_or_default() };
        let base = Change::ClockBase { boot: frame.boot, base: reading.base() };
        let mut changes = vec![Change::SteadyClock(time.state()), base];
        changes.extend(self.clock_alarm(reading.wall, now, doubted));
        self.index.write(changes).await?;
        (self.time, self.clock_doubted) = (Some(time), doubted.is_some());
        Ok((now, frame))
    }

    /// In the log at each sweep, an event when it begins and when it ends.
    fn clock_alarm(&self, wall: WallTime, now: WallTime, doubted: Option<Ticks90k>) -> Option<Change> {
        let fact = match doubted {
            Some(lead) => {
                let lead_s = lead.0 / TICKS_PER_SECOND;
                let fact = Fact::ClockDoubted { lead_s, retention_by: now };
                error!(lead_s, %wall, "{}", fact.words(Language::English));
                fact
            }
            None => Fact::ClockBelieved,
        };
        let changed = doubted.is_some() != self.clock_doubted;
        changed.then_some(Change::Event(Event::of_gateway(wall, fact)))
    }

    /// Without an answer nothing is destroyed early; what expires goes on expiring.
    async fn free_bytes(&self) -> u64 {
        let ask = Arc::clone(&self.storage.free_bytes);
        blocking(move || ask()).await.unwrap_or_else(|error| {
            error!(%error, "the disk does not say how much is free: its reserve is not kept");
            u64::MAX
        })
    }

    /// What stayed for a hold goes when the hold is over. Gives how many packs.
    async fn end_holds(&self, at: WallTime) -> Result<usize, IndexError> {
        self.index.write(vec![Change::EndHoldsBefore { at }]).await?;
        let packs = self.index.packs_of_ended_holds(CONDEMNED_PAGE).await?;
        for part in packs.chunks(CONDEMNED_PER_WRITE) {
            self.index.write(vec![Change::Condemn { packs: part.to_vec(), at, reason: Reason::HoldEnded }]).await?;
        }
        Ok(packs.len())
    }

    async fn condemned(&self) -> Result<Vec<PackRow>, IndexError> {
        let mut condemned: Vec<PackRow> = Vec::new();
        loop {
            let after = condemned.last().map(|pack| (pack.start, pack.id));
            let page = self.index.condemned_after(after, CONDEMNED_PAGE).await?;
            let whole = page.len() == CONDEMNED_PAGE as usize;
            condemned.extend(page);
            if !whole || condemned.len() >= CONDEMNED_MAX {
                return Ok(condemned);
            }
        }
    }

    /// The oldest packs of each camera that may have to go: those due and, when the disk is full, those beyond their
    /// guaranteed time that lie on it.
    async fn whole_packs(
        &self,
        (now, frame): (WallTime, ClockFrame),
        condemned: &[PackRow],
        free_bytes: u64,
    ) -> Result<Vec<CameraPacks>, IndexError> {
        let coming = condemned.iter().fold(free_bytes, |sum, pack| sum.saturating_add(pack.bytes));
        let full = coming < self.policy.disk_reserve_bytes;
        // Beside a store elsewhere these are few, and behind many that would make no room.
        let elsewhere = !self.policy.store_on_disk || !self.policy.stored_elsewhere.is_empty();
        let waiting = if full && elsewhere { self.index.waiting_packs(WAITING_MAX).await? } else { Vec::new() };
        let mut cameras = Vec::new();
        for camera in self.index.all_cameras().await? {
            let due = due_until(now.saturating_add(self.policy.margin()), max_of(&camera), &self.policy.time_zone);
            let beyond_minimum = now.saturating_sub(camera.retention_min);
            let until = if full && self.policy.on_disk(&camera.key) { due.max(beyond_minimum) } else { due };
            let before = until.saturating_add(Ticks90k(1));
            let of_camera = waiting.iter().filter(|pack| pack.camera == camera.key);
            let mut waiting: Vec<PackRow> = of_camera.cloned().collect();
            let limit = PACKS_PER_CAMERA;
            let of_camera = self.index.packs_filmed_before(&camera.key, before, limit, frame, &mut waiting);
            let mut packs = of_camera.await?;
            let more = packs.len() == PACKS_PER_CAMERA as usize;
            if !more {
                packs.extend(waiting.into_iter().filter(|pack| pack.start > until));
            }
            cameras.push(CameraPacks { camera, packs, more });
        }
        Ok(cameras)
    }

    async fn condemn(&self, at: WallTime, plan: &RetentionPlan) -> Result<(), IndexError> {
        for (packs, reason) in [(&plan.expired, Reason::Expired), (&plan.early, Reason::DiskFull)] {
            // In parts, so that recorders need not wait long for the writer.
            for part in packs.chunks(CONDEMNED_PER_WRITE) {
                let packs = part.iter().map(|pack| pack.id).collect();
                self.index.write(vec![Change::Condemn { packs, at, reason }]).await?;
            }
        }
        let events = alarms::early_events(at, &plan.early);
        if events.is_empty() { Ok(()) } else { self.index.write(events).await }
    }

    /// Bounds of retention that waited and whose time has come, or which an operator has confirmed.
    async fn apply_policies(&self, now: WallTime) -> Result<(), IndexError> {
        if let Some(file) = self.confirmations.clone() {
            let taken = platform::spawn_blocking(move || super::confirm::take(&file)).await;
            match taken.unwrap_or_else(|e| Err(io::Error::other(e))) {
                Ok(confirmed) => {
                    let changes = confirmed.iter().filter_map(|of| of.change(now)).collect::<Vec<_>>();
                    if !changes.is_empty() {
                        self.index.write(changes).await?;
                    }
                }
                Err(error) => warn!(%error, "the confirmations of retention could not be read"),
            }
        }
        self.index.write(vec![Change::ApplyPolicies { now }]).await
    }

    /// Deletes objects, then forgets their rows.
    async fn delete(&mut self, now: WallTime, packs: Vec<PackRef>, report: &mut SweepReport) -> Result<(), IndexError> {
        let mut failures: BTreeMap<TenantId, Failures> = BTreeMap::new();
        for chunk in packs.chunks(DELETIONS_PER_WRITE) {
            let mut tally = Tally::default();
            let ids: Vec<PackId> = chunk.iter().map(|pack| pack.id).collect();
            self.index.write(vec![Change::BeginDeleting { packs: ids.clone() }]).await?;
            let deleting: HashMap<PackId, Deleting> = self.index.deleting(ids).await?.into_iter().collect();
            let cameras: HashMap<PackId, CameraKey> = chunk.iter().map(|pack| (pack.id, pack.camera.clone())).collect();
            report.held += chunk.len() - deleting.len();
            let tried = chunk.iter().filter(|pack| deleting.contains_key(&pack.id)).filter(|pack| {
                failures.get(&pack.camera.tenant).is_none_or(|failed| failed.packs < FAILURES_PER_TENANT_MAX)
            });
            let looks: Vec<_> = tried.map(|pack| self.look_for(pack.clone(), deleting[&pack.id].seen)).collect();
            let found: Vec<_> = stream::iter(looks).buffer_unordered(DELETIONS_AT_ONCE).collect().await;
            let seen: Vec<PackId> = found
                .iter()
                .filter_map(|(pack, found)| matches!(found, Ok(Found { is_new: true, .. })).then_some(pack.id))
                .collect();
            if !seen.is_empty() {
                self.index.write(vec![Change::Seen { packs: seen }]).await?;
            }
            let deletions: Vec<_> = found.into_iter().map(|(pack, found)| self.delete_one(pack, found)).collect();
            let results: Vec<_> = stream::iter(deletions).buffer_unordered(DELETIONS_AT_ONCE).collect().await;
            let mut destroyed = Vec::new();
            for result in results {
                match result {
                    Ok((pack, at, outcome)) => {
                        report.absent += usize::from(outcome == Outcome::WasAbsent);
                        destroyed.push(Change::Destroyed { pack, at, outcome });
                        if outcome == Outcome::Destroyed {
                            tally.add(&cameras[&pack], &deleting[&pack]);
                        }
                    }
                    Err((tenant, error)) => {
                        failures.entry(tenant).or_insert_with(|| Failures { packs: 0, first: error }).packs += 1;
                    }
                }
            }
            report.deleted += destroyed.len();
            report.failed += deleting.len() - destroyed.len();
            // Entered while the index still has them: an end between the two enters it twice, and never not at all.
            if let Some(journals) = &self.journals {
                tally.enter(journals).await;
            }
            if !destroyed.is_empty() {
                self.index.write(destroyed).await?;
            }
        }
        self.report_failures(now, failures).await
    }

    /// Whether there is anything to delete. What was found once was there, whatever a crash left of it.
    async fn look_for(&self, pack: PackRef, seen: bool) -> (PackRef, Result<Found, ReadError>) {
        if seen {
            return (pack, Ok(Found { outcome: Outcome::Destroyed, is_new: false }));
        }
        let found = (self.storage.is_there)(pack.clone()).await.map(|is_there| match is_there {
            true => Found { outcome: Outcome::Destroyed, is_new: true },
            false => Found { outcome: Outcome::WasAbsent, is_new: false },
        });
        (pack, found)
    }

    /// When it was gone, or whose store failed, and how.
    async fn delete_one(
        &self,
        pack: PackRef,
        found: Result<Found, ReadError>,
    ) -> Result<(PackId, WallTime, Outcome), (TenantId, String)> {
        let (id, camera) = (pack.id, pack.camera.clone());
        let deleted = match found {
            Ok(found) => (self.storage.delete)(pack).await.map(|()| found.outcome),
            Err(e) => Err(e.into()),
        };
        match deleted {
            Ok(outcome) => Ok((id, self.clock.wall(), outcome)),
            Err(error) => {
                warn!(%error, pack = %id, %camera, "a pack could not be deleted and will be tried again");
                Err((camera.tenant, error.to_string()))
            }
        }
    }

    /// An event for each tenant whose deletions begin to fail, and when they work again.
    async fn report_failures(
        &mut self,
        at: WallTime,
        failures: BTreeMap<TenantId, Failures>,
    ) -> Result<(), IndexError> {
        let mut changes = Vec::new();
        let mut event = |tenant: &TenantId, fact| {
            changes.push(Change::Event(Event::new(at, Scope::Tenant(tenant.clone()), fact)));
        };
        for (tenant, Failures { packs, first }) in &failures {
            error!(%tenant, packs, error = %first, "footage that is due cannot be deleted: it is tried again with each sweep");
            if !self.failing.contains(tenant) {
                event(tenant, Fact::DeletionFailed);
            }
        }
        for tenant in self.failing.iter().filter(|tenant| !failures.contains_key(*tenant)) {
            event(tenant, Fact::DeletionWorks);
        }
        self.failing = failures.into_keys().collect();
        if changes.is_empty() { Ok(()) } else { self.index.write(changes).await }
    }

    /// Condemned packs that are there still after their deadline: an alarm until they are gone.
    async fn report_over_age(&mut self, now: WallTime) -> Result<usize, IndexError> {
        let cameras = self.index.all_cameras().await?.into_iter();
        let maxima: HashMap<CameraKey, Ticks90k> = cameras.map(|row| (row.key.clone(), max_of(&row))).collect();
        let mut late: BTreeMap<TenantId, (usize, WallTime)> = BTreeMap::new();
        for pack in self.condemned().await? {
            let max = maxima.get(&pack.camera).copied().unwrap_or(super::MAX_DEFAULT);
            if deadline(pack.start, max, &self.policy.time_zone) < now && !self.index.is_held(pack.id).await? {
                let (packs, oldest) = late.entry(pack.camera.tenant).or_insert((0, pack.start));
                *packs += 1;
                *oldest = (*oldest).min(pack.start);
            }
        }
        let mut changes = Vec::new();
        for (tenant, (packs, oldest)) in &late {
            error!(%tenant, packs, %oldest, "footage is kept longer than its maximum: see why it cannot be deleted");
            if !self.over_age.contains(tenant) {
                let fact = Fact::OverAge { packs: *packs as u64, oldest: *oldest };
                changes.push(Change::Event(Event::new(now, Scope::Tenant(tenant.clone()), fact)));
            }
        }
        for tenant in self.over_age.iter().filter(|tenant| !late.contains_key(*tenant)) {
            changes.push(Change::Event(Event::new(now, Scope::Tenant(tenant.clone()), Fact::OverAgeEnded)));
        }
        let packs = late.values().map(|(packs, _)| packs).sum();
        self.over_age = late.into_keys().collect();
        if !changes.is_empty() {
            self.index.write(changes).await?;
        }
        Ok(packs)
    }

    /// Gaps go with the footage around them, events and the register after their time.
    async fn forget(&self, now: WallTime) -> Result<(), IndexError> {
        let horizon = now.saturating_add(self.policy.margin());
        let cameras = self.index.all_cameras().await?.into_iter();
        let mut changes: Vec<_> = cameras
            .map(|camera| {
                let before = due_until(horizon, max_of(&camera), &self.policy.time_zone);
                Change::ForgetGapsBefore { camera: camera.key, before }
            })
            .collect();
        changes.push(Change::ForgetEventsBefore { before: now.saturating_sub(EVENTS_KEPT) });
        self.index.write(changes).await
    }
}

impl Sweeper {
    /// Destroys keys whose day is over and that no pack needs: every copy of what was encrypted under them is unreadable
    /// then, wherever it is. A key that cannot be destroyed is tried again with the next sweep.
    async fn shred(&self, now: WallTime) -> Result<usize, IndexError> {
        let today = Offset::UTC.to_datetime(now.to_timestamp()).date();
        let vault = self.storage.vault.clone();
        let over = self.of_vault(move || vault.days_before(today)).await.unwrap_or_default();
        let mut shredded = 0;
        for key in over {
            if self.index.packs_under(key.id).await? > 0 {
                continue;
            }
            let (vault, tenant, id) = (self.storage.vault.clone(), key.tenant.clone(), key.id);
            if self.of_vault(move || vault.destroy(&tenant, id)).await != Some(true) {
                continue;
            }
            if let Some(journals) = &self.journals {
                let action = Action::KeyDestroyed { key: id.to_string() };
                journals.note(&key.tenant, Draft::new(Author::Gateway, action)).await;
            }
            self.index.write(vec![Change::KeyDestroyed { key: id }, key_event(now, key)]).await?;
            shredded += 1;
        }
        Ok(shredded)
    }

    /// Runs work on key files off the runtime's threads; failures are logged.
    async fn of_vault<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
    ) -> Option<T> {
        match platform::spawn_blocking(work).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                error!(%error, "keys whose day is over could not be destroyed and will be tried again");
                None
            }
            Err(error) => {
                error!(%error, "keys whose day is over could not be looked at");
                None
            }
        }
    }
}

fn key_event(at: WallTime, key: Shown) -> Change {
    Change::Event(Event::new(at, Scope::Tenant(key.tenant), Fact::KeyDestroyed { key: key.id, day: key.day }))
}
