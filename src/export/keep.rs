//! How long packages are kept, and what they may take of the disk.

use tracing::{error, info};

use super::job::{Folder, Job, State, folders};
use super::prepare::blocking;
use super::{ExportError, Exports, Known};
use crate::policy::deadline;
use crate::retrieve::FootageOf;
use footage::platform;
use footage::units::{CameraKey, HoldId, TICKS_PER_DAY, TICKS_PER_SECOND, TenantId, Ticks90k, TimeRange, WallTime};
use journal::entry::{Action, Author, Draft};

/// A package goes so long before the footage inside has to be gone: while it is prepared, nobody knows yet how much of before the range
/// has to be decoded.
const MARGIN: Ticks90k = Ticks90k(600 * TICKS_PER_SECOND);
/// Packs with footage of so long ago are whole.
const WHOLE_AFTER: Ticks90k = Ticks90k(1_800 * TICKS_PER_SECOND);
/// Footage this recent may not be in the index yet.
const SETTLED_AFTER: Ticks90k = Ticks90k(60 * TICKS_PER_SECOND);

impl Exports {
    /// When the earliest of a camera's footage in this range was filmed, by the right clock as far as that is known.
    pub(super) async fn first_of(
        &self,
        key: &CameraKey,
        range: TimeRange,
        hold: Option<HoldId>,
    ) -> Result<Option<WallTime>, ExportError> {
        let index = &self.footage().index;
        if let Some(hold) = hold {
            let state = self.holds().get(&key.tenant, hold).await?;
            let within = state.protected.iter().filter_map(|span| span.intersection(&range));
            return Ok(within.map(|span| span.start()).min());
        }
        let Some(first) = index.spans(key, range).await?.first().map(|span| span.start().max(range.start())) else {
            return Ok(None);
        };
        // Where times are known to be late, the footage is older than it says.
        let misdated = index.misdated(key).await?;
        let within = misdated.iter().filter_map(|run| Some((run.range.intersection(&range)?.start(), run.error)));
        let right = within.map(|(start, error)| start.saturating_sub(error));
        Ok(right.chain([first]).min())
    }

    /// When this export has to be gone.
    pub(super) async fn must_go_at(&self, job: &Job) -> Result<WallTime, ExportError> {
        let life = Ticks90k(i64::from(self.settings().days_max) * TICKS_PER_DAY);
        let mut until = job.ordered.saturating_add(life);
        let index = &self.footage().index;
        if let Some(hold) = job.hold {
            // One that nobody knows any more is over long since.
            let row = index.hold(&job.tenant, hold).await?;
            let end = row.map_or(job.ordered, |row| row.closed.unwrap_or(row.facts.until));
            return Ok(until.min(end));
        }
        let zone = &self.footage().labels().time_zone;
        for of in &job.cameras {
            // What is decoded and not shown is of before the range.
            let inside = job.package().and_then(|package| package.earliest);
            let Some(first) = of.first.into_iter().chain(inside).min() else { continue };
            let key = CameraKey { tenant: job.tenant.clone(), camera: of.camera.clone() };
            // A camera is known for as long as it has footage.
            let by_policy =
                index.camera(&key).await?.map_or(job.ordered, |row| deadline(first, row.retention_max, zone));
            until = until.min(by_policy.saturating_sub(MARGIN));
        }
        Ok(until)
    }

    /// Destroys what has to be gone.
    pub async fn keep(&self) {
        let all: Vec<Known> = self.0.known.lock().values().cloned().collect();
        for known in all {
            let (tenant, id) = (&known.job.tenant, known.job.id);
            let due = match self.must_go_at(&known.job).await {
                _ if known.job.state == State::Removed => true,
                Ok(until) => until <= self.now(),
                Err(error) => {
                    error!(%error, export = %id, %tenant, "it is not known whether an export is over: it is looked at again");
                    continue;
                }
            };
            if due && let Err(error) = self.destroy_over(&known).await {
                error!(%error, export = %id, %tenant, "an export that is over is not destroyed yet, and is tried again");
            }
        }
        if let Err(error) = self.destroy_unknown().await {
            error!(%error, "what lies among exports and is none is not destroyed yet, and is tried again");
        }
    }

    /// Destroys the folders that belong to no export: those that an order or a start could not deal with.
    async fn destroy_unknown(&self) -> Result<(), ExportError> {
        // An order has its folder before it is known, in its own turn.
        let _turn = self.0.turn.lock().await;
        let root = self.root().to_owned();
        let mut all = blocking(move || folders(&root)).await?;
        all.retain(|key| !self.0.known.lock().contains_key(key));
        for (tenant, id) in all {
            let folder = Folder::of(self.root(), &tenant, id);
            blocking(move || folder.destroy()).await?;
        }
        Ok(())
    }

    async fn destroy_over(&self, known: &Known) -> Result<(), ExportError> {
        let _turn = self.0.turn.lock().await;
        let key = (known.job.tenant.clone(), known.job.id);
        let Some(known) = self.0.known.lock().get(&key).cloned() else { return Ok(()) };
        let job = &known.job;
        self.destroy(&known).await?;
        if job.state == State::Removed {
            return Ok(());
        }
        info!(export = %job.id, tenant = %job.tenant, "an export is over: its package is destroyed");
        let action = Action::PackageRemoved { export: job.id.to_string(), why: "over".to_owned() };
        let cameras = job.cameras.iter().map(|of| of.camera.clone()).collect();
        // That it had to go does not wait for the journal.
        self.journals().note(&job.tenant, Draft { cameras, ..Draft::new(Author::Gateway, action) }).await;
        Ok(())
    }

    /// Whether all that it is of lies where it is read from.
    pub(super) async fn can_begin(&self, job: &Job) -> bool {
        if job.end.saturating_add(SETTLED_AFTER) > self.now() {
            return false;
        }
        let Some(hold) = job.hold else { return true };
        // What the hold keeps is copied into packs of its own first, a pack that grows when it is whole.
        let Ok(state) = self.holds().get(&job.tenant, hold).await else { return false };
        let to_copy = self.footage().index.to_copy(&state.hold, 1).await;
        let is_settled = job.end.saturating_add(WHOLE_AFTER) <= self.now();
        state.protected == state.copied || is_settled && to_copy.is_ok_and(|packs| packs.is_empty())
    }

    /// Refuses a film of so many bytes for a package that has `own` of them with it, where the reserve or the share of another tenant
    /// would be taken.
    pub(super) async fn leave_room(&self, tenant: &TenantId, own: u64, more: u64) -> Result<(), ExportError> {
        let folder = self.root().to_owned();
        let free = blocking(move || platform::free_bytes(&folder)).await?;
        let (mut all, mut ours) = (own.saturating_sub(more), own);
        for ((of, _), known) in self.0.known.lock().iter() {
            let bytes = known.job.package().map_or(0, |package| package.bytes);
            all = all.saturating_add(bytes);
            ours = ours.saturating_add(if of == tenant { bytes } else { 0 });
        }
        let settings = self.settings();
        let left = free.saturating_sub(settings.reserve_bytes);
        let share = left.saturating_add(all) / settings.tenants.max(1);
        if more <= left && ours <= share { Ok(()) } else { Err(ExportError::NoRoom) }
    }
}

impl From<&Job> for FootageOf {
    fn from(job: &Job) -> Self {
        job.hold.map_or(Self::Timeline, Self::Hold)
    }
}
