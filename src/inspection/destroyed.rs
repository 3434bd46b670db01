//! Proof that a camera's footage of a day is destroyed: what index, register, stores, spool, exports, keys and journal each
//! say, and where they disagree.
//!
//! Invariants: nothing is called destroyed that any of them contradicts; a store that cannot be listed leaves the answer open.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use jiff::civil::Date;
use journal::entry::{Action, Entry};

use super::activity::{days_around, is_destruction};
use super::days::bounds;
use super::{InspectionError, Inspector};
use crate::archive::{Lying, PackRef, Place};
use crate::event::Fact;
use crate::export::{self, LyingExport};
use crate::index::clock::MisdatedRun;
use crate::index::inspect::LyingPack;
use crate::index::{CameraRow, DeletionRow, Outcome, PackState};
use crate::policy;
use footage::platform;
use footage::units::{CameraKey, KeyId, PackId, TimeRange, WallTime};

/// Packs asked of the index at a time.
const PACKS_PER_QUERY: usize = 512;

/// Names that an answer lists.
const NAMES_MAX: usize = 100;

/// What became of a day's footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Some was recorded, and none of it is left anywhere.
    Destroyed,
    /// None was recorded, as far as the register goes back.
    NothingRecorded,
    /// Only what stays for holds is left.
    KeptForHolds,
    /// Some is there.
    Present,
    /// A place could not be looked at.
    Open,
    /// Some is there that should not be, or what is known of it disagrees.
    Contradicted,
}

impl Verdict {
    /// As one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroyed => "destroyed",
            Self::NothingRecorded => "nothing_recorded",
            Self::KeptForHolds => "kept_for_holds",
            Self::Present => "present",
            Self::Open => "open",
            Self::Contradicted => "contradicted",
        }
    }
}

/// Something that disagrees with the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// These lie in a store or in the spool, and the index does not know them.
    UnknownPacks(Vec<String>),
    /// The register says that this was destroyed, and no entry of the journal does.
    NotInJournal(TimeRange),
    /// This should have been gone by then, and is there.
    OverAge(WallTime),
}

/// A key that packs of such a day were encrypted under, and is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestroyedKey {
    /// Which one.
    pub key: KeyId,
    /// The day by whose end it had to be gone.
    pub day: Date,
    /// When it was destroyed.
    pub at: WallTime,
}

/// What is known of a camera's day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destruction {
    /// The camera.
    pub camera: CameraRow,
    /// The day, by the calendar of the time zone.
    pub day: Date,
    /// Its bounds.
    pub range: TimeRange,
    /// When all of this was looked at.
    pub at: WallTime,
    /// What follows from it.
    pub verdict: Verdict,
    /// When the last footage of the day has to be gone, by the policy in force.
    pub deadline: WallTime,
    /// Packs of the index with footage of that day, whatever their state.
    pub packs: Vec<LyingPack>,
    /// Runs that were filmed on that day and bear other times.
    pub misdated: Vec<MisdatedRun>,
    /// The register of destructions.
    pub register: Vec<DeletionRow>,
    /// Packs of the camera in its stores, all of them known to the index unless a disagreement says otherwise.
    pub in_stores: u64,
    /// The same in the spool.
    pub in_spool: u64,
    /// Exports on the gateway that may have footage of that day in them.
    pub in_exports: Vec<LyingExport>,
    /// Packs that other gateways of a shared store wrote, and this one does not know.
    pub foreign: u64,
    /// Where it could not be looked: the log says why.
    pub not_listed: Vec<Place>,
    /// Keys of such a day that were destroyed.
    pub keys: Vec<DestroyedKey>,
    /// Entries of the journal that say what was destroyed of that day.
    pub entries: Vec<Entry>,
    /// The first day of which the journal's entries are kept.
    pub journal_since: Option<Date>,
    /// What disagrees.
    pub disagreements: Vec<Disagreement>,
}

impl Inspector {
    /// What is known of a camera's footage of a day.
    ///
    /// # Errors
    /// For a camera that the tenant does not have, a day that is not over, and when index or journal cannot be read.
    pub async fn destruction(&self, key: &CameraKey, day: Date) -> Result<Destruction, InspectionError> {
        let Self { index, clock, zone, .. } = self;
        let camera = index.camera(key).await?.ok_or_else(|| InspectionError::NoCamera(key.clone()))?;
        let at = clock.wall();
        let range = bounds(day, zone).filter(|range| range.end() <= at).ok_or(InspectionError::DayNotOver(day))?;
        // What is on its way to be gone may be gone with the second look: the index is asked last.
        let lying = self.archive.lying(key).await;
        let (misdated, register) = (self.filmed_in(key, range).await?, index.deletions(key, range).await?);
        let keys = self.keys_of(&camera, range).await?;
        let mut not_listed = lying.not_listed.clone();
        let (in_exports, is_known) = self.in_exports(key, range, at).await?;
        not_listed.extend((!is_known).then_some(Place::Exports));
        let entries = self.entries_of(key, range, &register).await?;
        let mut found = Destruction {
            verdict: Verdict::Open,
            deadline: policy::deadline(range.end(), camera.retention_max, zone),
            packs: index.packs_of_range(key, range).await?,
            in_stores: lying.in_stores.len() as u64,
            in_spool: lying.in_spool.len() as u64,
            in_exports,
            foreign: 0,
            not_listed,
            disagreements: Vec::new(),
            camera,
            day,
            range,
            at,
            misdated,
            register,
            keys,
            entries,
            journal_since: self.journals.kept_since(&key.tenant).await?,
        };
        let (unknown, foreign) = self.unknown(key, lying).await?;
        found.foreign = foreign;
        found.disagreements = found.disagree(unknown);
        found.verdict = found.judged();
        Ok(found)
    }

    /// Exports with footage of the camera and day, with their holds where those are in force; and whether it is known of all.
    async fn in_exports(
        &self,
        key: &CameraKey,
        range: TimeRange,
        at: WallTime,
    ) -> Result<(Vec<LyingExport>, bool), InspectionError> {
        let Some(folder) = self.exports.clone() else { return Ok((Vec::new(), true)) };
        let of = key.clone();
        let listed = platform::spawn_blocking(move || export::lying(&folder, &of, range)).await;
        let listed = listed.unwrap_or_else(|_| Err(std::io::Error::other("the work on it ended badly")));
        let (mut found, unknown) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(camera = %key, %error, "what lies of a camera in exports could not be listed");
                return Ok((Vec::new(), false));
            }
        };
        for export in &mut found {
            let Some(hold) = export.hold else { continue };
            let row = self.index.hold(&key.tenant, hold).await?;
            export.hold = row.filter(|row| row.closed.is_none() && row.facts.until > at).map(|row| row.facts.id);
        }
        Ok((found, unknown == 0))
    }

    async fn filmed_in(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<MisdatedRun>, InspectionError> {
        let is_of_day = |run: &MisdatedRun| {
            let corrected = |at: WallTime| at.saturating_sub(run.error);
            let right = TimeRange::new(corrected(run.range.start()), corrected(run.range.end()));
            right.is_some_and(|right| right.intersection(&range).is_some())
        };
        Ok(self.index.misdated(key).await?.into_iter().filter(is_of_day).collect())
    }

    /// What lies somewhere and is in no row, and how many packs are other gateways'.
    async fn unknown(&self, key: &CameraKey, lying: Lying) -> Result<(Vec<String>, u64), InspectionError> {
        let packs: BTreeSet<PackId> = lying.in_stores.into_iter().chain(lying.in_spool).collect();
        let packs: Vec<PackId> = packs.into_iter().collect();
        let (mut unknown, mut foreign) = (lying.strangers, 0);
        for page in packs.chunks(PACKS_PER_QUERY) {
            let known = self.index.known_packs(page.to_vec()).await?;
            for pack in page.iter().filter(|pack| !known.contains(pack)) {
                if self.archive.is_foreign(key, *pack) {
                    foreign += 1;
                    continue;
                }
                let pack = PackRef { id: *pack, camera: key.clone(), state: PackState::Stored };
                // It may have been deleted, and its row forgotten, since it was listed.
                if self.archive.is_there(&pack).await.unwrap_or(true) {
                    unknown.push(pack.id.to_string());
                }
            }
        }
        unknown.truncate(NAMES_MAX);
        Ok((unknown, foreign))
    }

    /// Keys that footage of such a day was encrypted under, by the policy in force, and that were destroyed.
    async fn keys_of(&self, camera: &CameraRow, range: TimeRange) -> Result<Vec<DestroyedKey>, InspectionError> {
        let day = |start: WallTime| {
            let gone = policy::deadline(start, camera.retention_max, &self.zone);
            policy::utc_day(gone.saturating_add(policy::GROWING_MAX))
        };
        let days = day(range.start())..=day(range.end());
        let events = self.index.key_events(&camera.key.tenant).await?;
        let destroyed = events.into_iter().filter_map(|event| match event.fact {
            Fact::KeyDestroyed { key, day: Some(day) } if days.contains(&day) => {
                Some(DestroyedKey { key, day, at: event.at })
            }
            _ => None,
        });
        Ok(destroyed.collect())
    }

    /// What the journal says to be destroyed of that day: looked for where the register says that it was.
    async fn entries_of(
        &self,
        key: &CameraKey,
        range: TimeRange,
        register: &[DeletionRow],
    ) -> Result<Vec<Entry>, InspectionError> {
        let first = register.iter().map(|row| row.first_at).min();
        let last = register.iter().map(|row| row.last_at).max();
        let Some(when) = first.zip(last).and_then(|(first, last)| TimeRange::new(first, last.saturating_add(SECOND)))
        else {
            return Ok(Vec::new());
        };
        let camera = key.camera.clone();
        let (from, to) = (range.start().to_timestamp(), range.end().to_timestamp());
        let take = move |found: &mut Vec<Entry>, line: &[u8]| {
            if !is_destruction(line) {
                return ControlFlow::Continue(());
            }
            let entry = serde_json::from_slice::<Entry>(line).ok();
            let is_of_day = |entry: &Entry| {
                matches!(entry.draft.action, Action::FootageDestroyed { .. })
                    && entry.draft.cameras.contains(&camera)
                    && entry.draft.range.is_some_and(|span| span.from < to && span.to > from)
            };
            found.extend(entry.filter(is_of_day));
            ControlFlow::Continue(())
        };
        Ok(self.journals.fold(&key.tenant, days_around(when), Vec::new(), take).await?)
    }
}

const SECOND: footage::units::Ticks90k = footage::units::Ticks90k(footage::units::TICKS_PER_SECOND);

impl Destruction {
    fn disagree(&self, unknown: Vec<String>) -> Vec<Disagreement> {
        let mut all = Vec::new();
        if !unknown.is_empty() {
            all.push(Disagreement::UnknownPacks(unknown));
        }
        if self.deadline <= self.at && self.is_there() {
            all.push(Disagreement::OverAge(self.deadline));
        }
        // An entry is made with the sweep that destroys, of all that it destroyed of a camera.
        let is_entered = |range: TimeRange| {
            let (from, to) = (range.start().to_timestamp(), range.end().to_timestamp());
            self.entries.iter().filter_map(|entry| entry.draft.range).any(|span| span.from < to && span.to > from)
        };
        // Of entries whose time is over nothing can be said.
        let is_kept = |row: &DeletionRow| self.journal_since.is_some_and(|since| policy::utc_day(row.first_at) > since);
        let destroyed = self.register.iter().filter(|row| row.outcome == Outcome::Destroyed && is_kept(row));
        let destroyed = destroyed.map(|row| row.range);
        all.extend(destroyed.filter(|range| !is_entered(*range)).map(Disagreement::NotInJournal));
        all
    }

    /// Whether some is there, by its own times, that stays for no hold.
    fn is_there(&self) -> bool {
        self.packs.iter().any(is_unheld) || self.in_exports.iter().any(|export| export.hold.is_none())
    }

    fn judged(&self) -> Verdict {
        let is_there = self.is_there() || !self.misdated.is_empty();
        match () {
            () if !self.disagreements.is_empty() => Verdict::Contradicted,
            () if is_there => Verdict::Present,
            () if !self.not_listed.is_empty() || self.foreign > 0 => Verdict::Open,
            () if !self.packs.is_empty() || !self.in_exports.is_empty() => Verdict::KeptForHolds,
            () if self.register.iter().any(|row| row.outcome == Outcome::Destroyed) => Verdict::Destroyed,
            () if !self.register.is_empty() => Verdict::Open,
            () => Verdict::NothingRecorded,
        }
    }
}

/// No hold keeps it, nor is to copy it.
fn is_unheld(pack: &LyingPack) -> bool {
    pack.hold.is_none() && !pack.awaits_copy
}
