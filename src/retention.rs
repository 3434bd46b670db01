//! Retention: what is destroyed, when, and in which order.
//!
//! [`plan`] decides and does nothing else; [`sweep`] reads the index, plans, and acts.
//!
//! Invariants: a pack's object is gone before its oldest frame is older than the maximum; footage within its guaranteed
//! time is never chosen to make room. A policy that asks for both where both cannot be is an alarm, and the maximum
//! wins: it is the law (Code de la sécurité intérieure, L252-5). A step of the wall clock makes nothing due at once ([`steady_clock`]).
//! Absent on purpose: the copying for holds ([`crate::hold`]). What a requisition covers waits here until it is copied into
//! packs of its own, and those go when their hold is over.

use std::collections::HashSet;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::archive::PackRef;
use crate::index::{CameraRow, PackRow, PackState};
use crate::policy::Cadence;
use crate::store::Store;
use footage::units::{CameraKey, TICKS_PER_SECOND, Ticks90k, WallTime};

mod alarms;
pub mod confirm;
pub mod rehost;
pub mod steady_clock;
pub mod storage;
pub mod sweep;
mod tally;
#[cfg(test)]
mod tests;

/// The maximum of a camera of which no policy is known: 30 days.
pub const MAX_DEFAULT: Ticks90k = Ticks90k(30 * 24 * 3_600 * TICKS_PER_SECOND);

pub use crate::policy::{TAKEOVER, deadline, due_until};

/// What holds for all cameras.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How often the sweep runs.
    pub interval: Duration,
    /// Between condemning a pack and deleting its object: what readers that began before may take.
    pub grace: Duration,
    /// Bytes to keep free on the disk.
    pub disk_reserve_bytes: u64,
    /// The store lies on that disk too, so that deleting what is stored makes room. Otherwise only packs that still
    /// wait for the store do.
    pub store_on_disk: bool,
    /// Cameras whose store lies elsewhere all the same.
    pub stored_elsewhere: HashSet<CameraKey>,
    /// Whose calendar says how long a month is.
    pub time_zone: TimeZone,
    /// Stores of which some are shared with other gateways. What those wrote is theirs to delete: here it is
    /// [`TAKEOVER`] later, when it should long be gone.
    pub shared: Option<Store>,
    /// All stores: one that is not the known one has nothing to delete, and makes no room.
    pub stores: Option<Store>,
}

impl Policy {
    /// Whether deleting what is stored of this camera makes room.
    pub(crate) fn on_disk(&self, camera: &CameraKey) -> bool {
        let is_known = |store: &Store| store.standing(store.home(camera)).is_ok();
        self.store_on_disk && !self.stored_elsewhere.contains(camera) && self.stores.as_ref().is_none_or(is_known)
    }

    /// How long before its deadline a pack is condemned; see [`Cadence::margin`].
    pub fn margin(&self) -> Ticks90k {
        let cadence = Cadence { interval: self.interval, grace: self.grace, is_shared: self.shared.is_some() };
        Ticks90k::from_duration(cadence.margin())
    }

    /// From condemning this pack to deleting it.
    fn grace_of(&self, pack: &PackRow) -> Ticks90k {
        let is_foreign = self.shared.as_ref().is_some_and(|store| store.is_foreign(&pack.camera, pack.id));
        let takeover = if is_foreign { TAKEOVER } else { Duration::ZERO };
        Ticks90k::from_duration(self.grace.saturating_add(takeover))
    }
}

/// A camera's oldest whole packs.
#[derive(Clone, Debug)]
pub struct CameraPacks {
    /// Whose, with its bounds.
    pub camera: CameraRow,
    /// Sealed or stored, by start.
    pub packs: Vec<PackRow>,
    /// True when there may be more, that start later.
    pub more: bool,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The time to go by.
    pub now: WallTime,
    /// For all cameras.
    pub policy: &'a Policy,
    /// Each camera's oldest.
    pub cameras: &'a [CameraPacks],
    /// Condemned packs, whose objects are not known to be gone.
    pub condemned: &'a [PackRow],
    /// On the disk, now; what the spool would give up of its cache counts as free.
    pub free_bytes: u64,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// To condemn: their time will soon be over.
    pub expired: Vec<PackRow>,
    /// To condemn: the disk is full and these are the oldest beyond their guaranteed time.
    pub early: Vec<PackRow>,
    /// To delete: condemned, and the grace time is over.
    pub delete: Vec<PackRef>,
    /// Bytes that the disk's reserve lacks still and that nothing may be destroyed for.
    pub short_bytes: u64,
    /// Cameras with expired packs inside their guaranteed time: a policy that cannot be kept.
    pub contradicted: Vec<CameraKey>,
    /// Packs that were not among the inputs may have to go too: act, read again, plan again.
    pub more: bool,
}

/// What is destroyed now.
pub fn plan(inputs: &Inputs<'_>) -> RetentionPlan {
    let Inputs { now, policy, .. } = *inputs;
    let mut plan = RetentionPlan { delete: grace_is_over(inputs), ..RetentionPlan::default() };
    let horizon = now.saturating_add(policy.margin());
    let mut beyond_minimum = Vec::new();
    // Beyond the first start that was not read, the order across cameras is not known.
    let mut read_until = WallTime(i64::MAX);
    for CameraPacks { camera, packs, more } in inputs.cameras {
        let due = due_until(horizon, max_of(camera), &policy.time_zone);
        let guaranteed = |pack: &PackRow| pack.end.saturating_add(camera.retention_min) > now;
        let (expired, rest): (Vec<_>, Vec<_>) = packs.iter().partition(|pack| pack.start <= due);
        if expired.iter().any(|pack| guaranteed(pack)) {
            plan.contradicted.push(camera.key.clone());
        }
        plan.more |= *more && rest.is_empty();
        if let Some(last) = packs.last().filter(|_| *more) {
            read_until = read_until.min(last.start);
        }
        plan.expired.extend(expired.into_iter().cloned());
        beyond_minimum.extend(rest.into_iter().filter(|pack| frees_disk(policy, pack) && !guaranteed(pack)));
    }
    let expiring = plan.expired.iter().filter(|pack| frees_disk(policy, pack));
    let freed_soon = inputs.condemned.iter().chain(expiring).fold(0_u64, |sum, pack| sum.saturating_add(pack.bytes));
    plan.short_bytes = policy.disk_reserve_bytes.saturating_sub(inputs.free_bytes.saturating_add(freed_soon));
    beyond_minimum.sort_by_key(|pack| (pack.start, pack.id));
    for pack in beyond_minimum {
        if plan.short_bytes == 0 {
            break;
        }
        if pack.start > read_until {
            break;
        }
        plan.short_bytes = plan.short_bytes.saturating_sub(pack.bytes);
        plan.early.push(pack.clone());
    }
    plan.more |= plan.short_bytes > 0 && inputs.cameras.iter().any(|camera| camera.more);
    plan
}

/// The camera's maximum, where it is known.
fn max_of(camera: &CameraRow) -> Ticks90k {
    if camera.retention_max > Ticks90k::ZERO { camera.retention_max } else { MAX_DEFAULT }
}

/// Whether deleting this pack makes room on the disk.
fn frees_disk(policy: &Policy, pack: &PackRow) -> bool {
    policy.on_disk(&pack.camera) || pack.state == PackState::Sealed
}

/// Condemned packs to delete now. One that was condemned in the future was so before the clock stepped back, and has
/// waited for an unknown time: the maximum counts more than a reader that may be cut off.
fn grace_is_over(inputs: &Inputs<'_>) -> Vec<PackRef> {
    let over = |pack: &PackRow, at: WallTime| at.saturating_add(inputs.policy.grace_of(pack));
    let waits = |pack: &&PackRow| pack.condemned_at.is_some_and(|at| at <= inputs.now && over(pack, at) > inputs.now);
    let over = inputs.condemned.iter().filter(|pack| !waits(pack));
    over.map(|pack| PackRef { id: pack.id, camera: pack.camera.clone(), state: pack.state }).collect()
}
