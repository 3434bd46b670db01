//! Legal holds: what a requisition covers is kept apart, and only that.
//!
//! ```text
//! place: one row, synced → from then on the index lets no pack go that the hold covers and has not copied
//! copy:  the covered groups of pictures → a pack of the hold's own (its header tells the hold) → the original may go
//! end:   the hold's time is over, or it is released → its packs are condemned and destroyed as any others
//! ```
//!
//! Invariants: footage that a placed hold is said to protect stays until the hold ends, whatever the sweep was doing
//! when it was placed; a pack of a hold holds nothing but groups of pictures that the hold covers. A copy has an id that
//! follows from the hold and the pack that it is of: copying again, after any crash, makes the same pack again.
//! Absent on purpose: who may place a hold (`http` decides), and footage that is damaged: it is left out, and said.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::archive::{Archive, PackRef, ReadError};
use crate::event::{Actor, Event, Fact};
use crate::index::hold::HoldRow;
use crate::index::{Change, Index, IndexError, Outcome, PackRow};
use crate::retention::deadline;
use crate::spool::{Spool, SpoolError, blocking};
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::media::GapCause;
use footage::pack::{HoldFacts, PackError};
use footage::units::{
    CameraKey, HoldId, PackId, TICKS_PER_DAY, TICKS_PER_SECOND, TenantId, Ticks90k, TimeRange, WallTime,
};

mod copy;

/// A tenant's holds that may be in force at a time.
const HOLDS_MAX: u32 = 1_000;
/// Characters of a reference, a requester, a reason.
const TEXT_CHARS_MAX: usize = 200;
/// Days that one hold may cover.
const RANGE_DAYS_MAX: i64 = 31;
/// Days that a hold may last: longer is a mistake.
const HOLD_DAYS_MAX: i64 = 3_660;
/// Packs looked up at a time.
const PAGE: u32 = 64;
/// Footage this recent may not be in the index yet.
pub(crate) const NOT_FLUSHED_MAX: Ticks90k = Ticks90k(30 * TICKS_PER_SECOND);
/// How often footage is looked for that came into a hold's range since.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Why a hold was not placed, not found, or not copied.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// It cannot be placed as asked; says what to ask.
    #[error("{0}")]
    Invalid(String),
    /// The tenant has no such camera.
    #[error("no camera {0}")]
    NoCamera(CameraKey),
    /// The disk has no room for a copy: it is tried again.
    #[error(
        "the holds of tenant {0} take their share of the disk, or the disk its reserve: release holds, or add disk"
    )]
    NoRoom(TenantId),
    /// The disk does not say how much is free: it is tried again.
    #[error("the disk does not say how much is free: {0}")]
    Disk(SpoolError),
    /// The tenant has no such hold.
    #[error("no hold {0}")]
    NoHold(HoldId),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The copy could not be written: it is tried again.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The original could not be read: it is tried again.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The copy could not be written: it is tried again.
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl Failure for HoldError {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::NoCamera(_) | Self::NoHold(_) => Kind::NotFound,
            Self::NoRoom(_) => Kind::Full,
            Self::Disk(error) => error.kind(),
            Self::Index(error) => error.kind(),
            Self::Spool(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::Pack(error) => error.kind(),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose footage.
    pub camera: CameraKey,
    /// Which; some of it may be yet to come.
    pub range: TimeRange,
    /// The requisition's number. May be empty where nothing is kept beyond a month.
    pub reference: String,
    /// Who asks.
    pub requester: String,
    /// Why.
    pub reason: String,
    /// Kept until then.
    pub until: WallTime,
}

/// A stretch of a hold's range without footage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// From, to.
    pub range: TimeRange,
    /// Why.
    pub why: Why,
}

/// Why footage is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is being destroyed, or was: no hold brings it back.
    Destroyed,
    /// It was due, and was not in the store any more.
    WasAbsent,
    /// Nothing was recorded.
    Gap(GapCause),
    /// Nothing is recorded there, and nothing says why: before the camera's first footage, or a loss of a moment.
    NotRecorded,
}

impl Why {
    /// The word in answers and packages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroyed => "destroyed",
            Self::WasAbsent => "was_absent",
            Self::Gap(cause) => cause.as_str(),
            Self::NotRecorded => "not_recorded",
        }
    }
}

/// A hold, and what there is of what it covers, at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldState {
    /// The hold.
    pub hold: HoldRow,
    /// Footage that stays for it. What is yet to come is not in it.
    pub protected: Vec<TimeRange>,
    /// The part of that which is copied already.
    pub copied: Vec<TimeRange>,
    /// What is absent of the past.
    pub absent: Vec<Absent>,
}

/// Places holds and copies what they cover; cheap to clone.
#[derive(Clone, Debug)]
pub struct Holds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    index: Index,
    spool: Spool,
    packs: Archive,
    keys: Keys,
    clock: Arc<dyn Clock>,
    time_zone: TimeZone,
    wake: Notify,
    /// Holds of which it was said that they cannot be copied for now.
    reported: Mutex<HashSet<HoldId>>,
    disk: Option<Disk>,
}

/// The disk that copies are written to, and how much of it they may take.
#[derive(Clone)]
pub struct Disk {
    /// Bytes that are free. May block.
    pub free_bytes: Arc<dyn Fn() -> Result<u64, SpoolError> + Send + Sync>,
    /// Kept for recording.
    pub reserve_bytes: u64,
    /// What the reserve leaves is shared by so many.
    pub tenants: u64,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Disk(reserve of {} bytes, {} tenants)", self.reserve_bytes, self.tenants)
    }
}

impl Disk {
    /// Whether a tenant whose holds take `own` bytes, where all holds take `held`, may take so many more.
    fn grants(&self, free: u64, held: u64, own: u64, more: u64) -> bool {
        let left = free.saturating_sub(self.reserve_bytes);
        let share = left.saturating_add(held) / self.tenants.max(1);
        more <= left && own.saturating_add(more) <= share
    }
}

impl Holds {
    /// Over this index and these packs. The zone says how long a month is.
    pub fn new(
        index: Index,
        spool: Spool,
        packs: Archive,
        keys: Keys,
        clock: Arc<dyn Clock>,
        time_zone: TimeZone,
    ) -> Self {
        Self::within(index, spool, packs, keys, clock, time_zone, None)
    }

    /// The same, where copies leave the reserve of this disk alone, and each tenant's holds its share of the rest.
    pub fn within(
        index: Index,
        spool: Spool,
        packs: Archive,
        keys: Keys,
        clock: Arc<dyn Clock>,
        time_zone: TimeZone,
        disk: Option<Disk>,
    ) -> Self {
        Self(Arc::new(Inner {
            disk,
            index,
            spool,
            packs,
            keys,
            clock,
            time_zone,
            wake: Notify::new(),
            reported: Mutex::default(),
        }))
    }

    /// Places a hold. When this returns, what it says to be protected stays until the hold ends.
    ///
    /// # Errors
    /// [`HoldError::Invalid`] says what to ask instead. On any other error the hold may have been placed or not:
    /// [`Index::holds`] tells.
    pub async fn place(&self, request: Request) -> Result<HoldState, HoldError> {
        let (hold, changes) = self.planned(request).await?;
        self.0.index.write(changes).await?;
        self.look();
        self.state(hold).await
    }

    /// A hold that may be placed, and the changes that place it: for one who has more to write with them. Then
    /// [`Holds::look`].
    ///
    /// # Errors
    /// As for [`Holds::place`].
    pub(crate) async fn planned(&self, request: Request) -> Result<(HoldRow, Vec<Change>), HoldError> {
        let Inner { index, clock, .. } = &*self.0;
        let now = clock.wall();
        let request = checked(request, now, &self.0.time_zone).map_err(HoldError::Invalid)?;
        let Request { camera, range, reference, requester, reason, until } = request;
        if index.camera(&camera).await?.is_none() {
            return Err(HoldError::NoCamera(camera));
        }
        if index.holds_in_force(&camera.tenant).await? >= HOLDS_MAX {
            let what = format!("{HOLDS_MAX} holds are in force already: release those that are no longer needed");
            return Err(HoldError::Invalid(what));
        }
        let facts = HoldFacts { id: HoldId::generate(now), range, reference, requester, reason, until, placed: now };
        let placed = Fact::HoldPlaced {
            hold: facts.id,
            reference: facts.reference.clone(),
            requester: facts.requester.clone(),
            reason: facts.reason.clone(),
            start: range.start(),
            end: range.end(),
            until,
        };
        let event = Change::Event(Event::of_camera(now, &camera, placed).by(Actor::Tenant));
        let hold = HoldRow { camera: camera.clone(), facts: facts.clone(), closed: None };
        Ok((hold, vec![Change::PlaceHold { camera, hold: Arc::new(facts) }, event]))
    }

    /// The changes that end a hold before its time.
    pub(crate) fn ending(&self, hold: &HoldRow) -> Vec<Change> {
        let (at, id) = (self.0.clock.wall(), hold.facts.id);
        let released = Fact::HoldReleased { hold: id, requester: hold.facts.requester.clone() };
        let event = Change::Event(Event::of_camera(at, &hold.camera, released).by(Actor::Tenant));
        vec![Change::EndHold { hold: id, at }, event]
    }

    /// Has what holds cover copied soon.
    pub(crate) fn look(&self) {
        self.0.wake.notify_one();
    }

    /// Ends a hold before its time: its packs are destroyed by the next sweeps. One that is over stays so.
    pub async fn release(&self, tenant: &TenantId, id: HoldId) -> Result<HoldRow, HoldError> {
        let hold = self.known(tenant, id).await?;
        if hold.closed.is_some() {
            return Ok(hold);
        }
        self.0.index.write(self.ending(&hold)).await?;
        self.known(tenant, id).await
    }

    async fn known(&self, tenant: &TenantId, id: HoldId) -> Result<HoldRow, HoldError> {
        self.0.index.hold(tenant, id).await?.ok_or(HoldError::NoHold(id))
    }

    /// A hold of the tenant, and what there is of its footage now.
    pub async fn get(&self, tenant: &TenantId, id: HoldId) -> Result<HoldState, HoldError> {
        self.state(self.known(tenant, id).await?).await
    }

    async fn state(&self, hold: HoldRow) -> Result<HoldState, HoldError> {
        let Inner { index, clock, .. } = &*self.0;
        // A hold that is over has no say in what is recorded and what is not.
        if hold.closed.is_some() {
            return Ok(HoldState { hold, protected: Vec::new(), copied: Vec::new(), absent: Vec::new() });
        }
        let coverage = index.hold_coverage(&hold).await?;
        let gaps = index.gaps(&hold.camera, hold.facts.range).await?;
        let register = index.deletions(&hold.camera, hold.facts.range).await?;
        // What was filmed a moment ago may not be flushed yet, unless a gap says otherwise.
        let now = clock.wall();
        let past = match gaps.iter().any(|gap| gap.end.is_none()) {
            true => now,
            false => now.saturating_sub(NOT_FLUSHED_MAX),
        };
        let known = TimeRange::new(hold.facts.range.start(), hold.facts.range.end().min(past));
        let mut holes = known.map_or_else(Vec::new, |known| holes(known, &coverage.present));
        let mut absent = Vec::new();
        let going = coverage.deleting.iter().map(|span| (*span, Why::Destroyed));
        let gaps = gaps
            .iter()
            .filter_map(|gap| Some((TimeRange::new(gap.start, gap.end.unwrap_or(past))?, Why::Gap(gap.cause))));
        let gone = register.iter().map(|entry| match entry.outcome {
            Outcome::Destroyed => (entry.range, Why::Destroyed),
            Outcome::WasAbsent => (entry.range, Why::WasAbsent),
        });
        for (span, why) in going.chain(gaps).chain(gone) {
            explain(&mut holes, span, why, &mut absent);
        }
        absent.extend(holes.into_iter().map(|range| Absent { range, why: Why::NotRecorded }));
        absent.sort_by_key(|part| part.range.start());
        Ok(HoldState { hold, protected: coverage.present, copied: coverage.copied, absent })
    }

    /// Copies what holds cover until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let copying = async {
            loop {
                if let Err(error) = self.copy_all().await {
                    error!(%error, "what holds cover could not be looked up and will be tried again");
                }
                tokio::select! {
                    () = self.0.wake.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        };
        // Cut off at any await: the next start goes on from there.
        stop.run_until_cancelled(copying).await;
    }

    /// Copies all that holds in force cover and that is whole. Gives how many packs are done with.
    pub async fn copy_all(&self) -> Result<usize, HoldError> {
        let mut done = 0;
        for hold in self.0.index.all_holds_in_force().await? {
            loop {
                let page = self.0.index.to_copy(&hold, PAGE).await?;
                let mut copied = 0;
                for pack in &page {
                    copied += usize::from(self.copy_or_report(&hold, pack).await);
                }
                done += copied;
                // What failed is at the head of the next page too.
                if page.len() < PAGE as usize || copied == 0 {
                    break;
                }
            }
        }
        Ok(done)
    }

    /// True when the pack is done with.
    async fn copy_or_report(&self, hold: &HoldRow, pack: &PackRow) -> bool {
        let id = hold.facts.id;
        let reported = || self.0.reported.lock();
        match self.copy_one(hold, pack).await {
            Ok(()) => {
                reported().remove(&id);
                true
            }
            Err(error) => {
                warn!(%error, hold = %id, camera = %hold.camera, pack = %pack.id, "a hold could not copy a pack, which stays meanwhile");
                if reported().insert(id) {
                    self.report(hold, Fact::HoldWaits { hold: id }).await;
                }
                false
            }
        }
    }

    async fn copy_one(&self, hold: &HoldRow, row: &PackRow) -> Result<(), HoldError> {
        let Inner { index, packs, .. } = &*self.0;
        let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
        let done = Change::Copied { hold: hold.facts.id, pack: row.id };
        if index.any_pack(self.copy_id(hold, &pack)).await?.is_some() {
            return Ok(index.write(vec![done]).await?);
        }
        let table = match packs.table(&pack).await {
            Ok(table) => table,
            Err(error @ (ReadError::NotFound(_) | ReadError::Pack(PackError::Malformed { .. }))) => {
                error!(%error, hold = %hold.facts.id, camera = %hold.camera, pack = %row.id, "a pack is damaged and is not kept");
                let (hold_id, pack, start, end) = (hold.facts.id, row.id, row.start, row.end);
                self.report(hold, Fact::HoldDamaged { hold: hold_id, pack, start, end }).await;
                return Ok(index.write(vec![done]).await?);
            }
            Err(error) => return Err(error.into()),
        };
        // What a hold in force keeps is shared, this one's own included: nothing is copied twice.
        let kept = index.kept_spans(&hold.camera, hold.facts.range).await?;
        let wanted = copy::wanted(&table, hold.facts.range, &kept);
        if wanted.is_empty() {
            return Ok(index.write(vec![done]).await?);
        }
        self.leave_room(&hold.camera, row.bytes).await?;
        let copy::Copied { table, draft, lost } = self.write_copy(hold, &pack, &table, wanted).await?;
        for fact in lost {
            self.report(hold, fact).await;
        }
        match table {
            Some(table) => {
                self.0.spool.take_in(&table, draft, vec![done]).await?;
                info!(hold = %hold.facts.id, pack = %row.id, camera = %hold.camera, copy = %table.header.pack, "copied for a hold");
                Ok(())
            }
            None => Ok(index.write(vec![done]).await?),
        }
    }

    /// Refuses a copy that would take the reserve, or more than the tenant's share: the originals stay meanwhile.
    async fn leave_room(&self, camera: &CameraKey, bytes: u64) -> Result<(), HoldError> {
        let Some(disk) = self.0.disk.clone() else { return Ok(()) };
        let ask = disk.free_bytes.clone();
        let free = blocking(move || ask()).await.map_err(HoldError::Disk)?;
        let by_tenant = self.0.index.held_bytes().await?;
        let held = by_tenant.iter().map(|(_, bytes)| bytes).sum();
        let own = by_tenant.iter().find(|(tenant, _)| *tenant == camera.tenant).map_or(0, |(_, bytes)| *bytes);
        if disk.grants(free, held, own, bytes) { Ok(()) } else { Err(HoldError::NoRoom(camera.tenant.clone())) }
    }

    async fn report(&self, hold: &HoldRow, fact: Fact) {
        let kind = fact.kind();
        let event = Change::Event(Event::of_camera(self.0.clock.wall(), &hold.camera, fact));
        if let Err(error) = self.0.index.write(vec![event]).await {
            error!(%error, hold = %hold.facts.id, kind, "an event of a hold was lost");
        }
    }
}

impl Holds {
    /// The id of a pack's copy. In a store that gateways share it says who holds it.
    fn copy_id(&self, hold: &HoldRow, pack: &PackRef) -> PackId {
        self.0.spool.as_written_here(&pack.camera, copy_id(hold.facts.id, pack.id))
    }
}

/// The copy's own id: its time is the original's, so that names in the store sort by footage.
fn copy_id(hold: HoldId, pack: PackId) -> PackId {
    let mut id = pack;
    let hash = blake3::Hasher::new_derive_key("vigie 2026 copy for a hold").update(&hold.0).update(&pack.0).finalize();
    id.0[6..].copy_from_slice(&hash.as_bytes()[..10]);
    id
}

/// What somebody wrote, trimmed; or what to write instead. `what` is how messages call it.
pub(crate) fn one_line(what: &str, text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
        true => Err(format!("{what} is one line of at most {TEXT_CHARS_MAX} characters")),
        false => Ok(text.to_owned()),
    }
}

/// The request, trimmed; or what to ask instead.
fn checked(request: Request, now: WallTime, zone: &TimeZone) -> Result<Request, String> {
    let reference = one_line("the reference", &request.reference)?;
    let requester = one_line("the requester", &request.requester)?;
    let reason = one_line("the reason", &request.reason)?;
    if requester.is_empty() || reason.is_empty() {
        return Err("a hold says who asks for it (requester) and why (reason)".to_owned());
    }
    let Request { range, until, .. } = request;
    if range.duration().0 > RANGE_DAYS_MAX * TICKS_PER_DAY {
        return Err(format!("one hold covers at most {RANGE_DAYS_MAX} days: place several"));
    }
    if until <= now {
        return Err(format!("the hold would be over already: it is to be kept until after {now}"));
    }
    if until < range.end() {
        return Err(
            "the hold would be over before the footage that it covers is: keep it at least until its end".into()
        );
    }
    if until.since(now).0 > HOLD_DAYS_MAX * TICKS_PER_DAY || range.end().since(now).0 > HOLD_DAYS_MAX * TICKS_PER_DAY {
        return Err(format!("a hold lasts at most {} years: place another when it ends", HOLD_DAYS_MAX / 366));
    }
    // Beyond a month only for an enquiry or an investigation (Code de la sécurité intérieure, L252-5).
    let month = deadline(range.start(), Ticks90k(i64::MAX), zone);
    if reference.is_empty() && until > month {
        return Err(format!(
            "footage is kept beyond a month ({month}) for an enquiry or an investigation only: give its reference"
        ));
    }
    Ok(Request { reference, requester, reason, ..request })
}

/// What of a range lies in none of these, which are sorted and apart.
pub(crate) fn holes(range: TimeRange, present: &[TimeRange]) -> Vec<TimeRange> {
    let mut out = Vec::new();
    let mut from = range.start();
    for span in present {
        out.extend(TimeRange::new(from, span.start().min(range.end())));
        from = from.max(span.end());
    }
    out.extend(TimeRange::new(from, range.end()));
    out
}

/// Takes out of the holes what this span explains of them.
fn explain(holes: &mut Vec<TimeRange>, span: TimeRange, why: Why, absent: &mut Vec<Absent>) {
    let mut left = Vec::new();
    for hole in holes.drain(..) {
        let Some(range) = hole.intersection(&span) else {
            left.push(hole);
            continue;
        };
        absent.push(Absent { range, why });
        left.extend(TimeRange::new(hole.start(), range.start()));
        left.extend(TimeRange::new(range.end(), hole.end()));
    }
    *holes = left;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_leave_the_reserve_and_the_shares_of_other_tenants() {
        let disk = Disk { free_bytes: Arc::new(|| Ok(0)), reserve_bytes: 100, tenants: 2 };
        // 300 are left beyond the reserve, 100 are held: each tenant may hold 200.
        assert!(disk.grants(400, 100, 0, 200));
        assert!(!disk.grants(400, 100, 0, 201), "the other tenant's share");
        assert!(!disk.grants(400, 100, 100, 101), "what it holds counts");
        assert!(!disk.grants(100, 1_000, 0, 1), "the reserve is for recording");
        assert!(!disk.grants(50, 0, 0, 1));
    }
}
