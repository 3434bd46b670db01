//! What an inspector asks (CSI L253-3, R254-1): for each camera what is kept against what was promised, what is over age, what
//! was destroyed and by what proof, who saw and received what. As values; [`report`] and [`tables`] make documents of them.
//!
//! Invariant: what is there is asked of the index by queries that see every pack, those included that readers do not see.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::archive::Archive;
use crate::hold;
use crate::index::hold::HoldRow;
use crate::index::inspect::OverAge;
use crate::index::{CameraRow, DeletionRow, Index, IndexError, Outcome, Reason};
use crate::journals::{Journals, NoEntry};
use crate::policy;
use crate::retrieve::{Footage, RetrieveError, timeline};
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::units::{CameraKey, TICKS_PER_DAY, TenantId, Ticks90k, TimeRange, WallTime};

pub mod activity;
pub mod days;
pub mod destroyed;
pub mod report;
pub mod tables;

use activity::Activities;
use days::DayOf;

/// The longest time that an inspection is about, in days: the register and most journals go no further back.
pub const DAYS_MAX: i64 = 400;

/// More than the longest month: the calendar decides.
const MONTH_AT_MOST: Ticks90k = Ticks90k(32 * TICKS_PER_DAY);

/// Why something could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum InspectionError {
    /// The tenant has no such camera.
    #[error("no camera {0}")]
    NoCamera(CameraKey),
    /// Footage of it may still come.
    #[error("{0} is not over: ask for a day before")]
    DayNotOver(Date),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Footage could not be looked at.
    #[error(transparent)]
    Retrieve(#[from] RetrieveError),
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] NoEntry),
}

impl Failure for InspectionError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoCamera(_) => Kind::NotFound,
            Self::DayNotOver(_) => Kind::Invalid,
            Self::Index(error) => error.kind(),
            Self::Retrieve(error) => error.kind(),
            Self::Journal(error) => error.kind(),
        }
    }
}

/// Who finds it out.
#[derive(Clone)]
pub struct Inspector {
    footage: Footage,
    index: Index,
    archive: Archive,
    journals: Journals,
    clock: Arc<dyn Clock>,
    zone: TimeZone,
    exports: Option<PathBuf>,
}

/// One camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedCamera {
    /// As the index knows it, with the bounds of retention in force.
    pub row: CameraRow,
    /// The oldest and newest footage that is there, without what stays for holds.
    pub footage: Option<TimeRange>,
    /// What should be gone, and is there.
    pub over_age: Vec<OverAge>,
    /// The register of destructions, of footage of the time that is asked for.
    pub register: Vec<DeletionRow>,
    /// What was destroyed against what was promised.
    pub achieved: Achieved,
    /// Its holds, those that are over included.
    pub holds: Vec<HoldRow>,
    /// The days of the time that is asked for.
    pub days: Vec<DayOf>,
    /// The camera's clock minus the gateway's, at the end of its last run.
    pub clock_offset: Option<Ticks90k>,
    /// Runs with wrong times.
    pub misdated: usize,
}

/// Retention as the register shows it, holds left aside, against the policy in force, and before it was lowered against the month of
/// the law.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Achieved {
    /// The longest that a day's footage was kept: from its first instant to the first destruction.
    pub longest: Option<Ticks90k>,
    /// The shortest, counted likewise.
    pub shortest: Option<Ticks90k>,
    /// Days with footage that was destroyed after its time.
    pub late_days: u64,
    /// Days with footage that was destroyed before its guaranteed time.
    pub early_days: u64,
    /// Packs that were not there when they were to be destroyed.
    pub absent_packs: u64,
}

/// A tenant's cameras, and what its journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Whose.
    pub tenant: TenantId,
    /// Which time it is about.
    pub range: TimeRange,
    /// When it was made.
    pub at: WallTime,
    /// The cameras, by id.
    pub cameras: Vec<InspectedCamera>,
    /// What the journal says.
    pub activities: Activities,
    /// The last checkpoint of the journal.
    pub checkpoint: Option<String>,
}

impl Inspector {
    /// Over this footage and these journals. `zone` is what people read days in.
    pub fn new(footage: &Footage, journals: &Journals, zone: &TimeZone) -> Self {
        Self {
            index: footage.index.clone(),
            archive: footage.packs.clone(),
            clock: footage.clock.clone(),
            footage: footage.clone(),
            journals: journals.clone(),
            zone: zone.clone(),
            exports: None,
        }
    }

    /// Exports are prepared below this folder, or were.
    pub fn beside_exports(self, folder: PathBuf) -> Self {
        Self { exports: Some(folder), ..self }
    }

    /// What days are read in.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The tenant's cameras that `shows` names, and what the journal says of the time.
    ///
    /// # Errors
    /// When index or journal cannot be read.
    pub async fn inspect(
        &self,
        tenant: &TenantId,
        range: TimeRange,
        shows: impl Fn(&CameraRow) -> bool,
    ) -> Result<Inspection, InspectionError> {
        let at = self.clock.wall();
        let mut cameras = Vec::new();
        for row in self.index.cameras(tenant).await?.into_iter().filter(shows) {
            cameras.push(self.camera(row, range, at).await?);
        }
        let take = move |all: &mut Activities, line: &[u8]| all.take(line, range);
        let around = activity::days_around(range);
        let activities = self.journals.fold(tenant, around, Activities::default(), take).await?;
        let checkpoint = self.journals.head(tenant).map(|head| head.to_string());
        Ok(Inspection { tenant: tenant.clone(), range, at, cameras, activities, checkpoint })
    }

    async fn camera(&self, row: CameraRow, range: TimeRange, at: WallTime) -> Result<InspectedCamera, InspectionError> {
        let Self { index, zone, .. } = self;
        let key = &row.key;
        let register = index.deletions(key, range).await?;
        let footage = index.extent(key).await?;
        // What was filmed a moment ago may not be in the index yet.
        let past = TimeRange::new(range.start(), range.end().min(at.saturating_sub(hold::NOT_FLUSHED_MAX)));
        let days = match past {
            None => Vec::new(),
            Some(past) => {
                let missing = timeline::missing(&self.footage, key, past).await?;
                let spans = index.spans(key, past).await?;
                // A camera that was not there yet has no days without footage.
                let known = missing.iter().find(|of| of.cause.is_some()).map(|of| of.range);
                let known = [known, spans.first().copied(), register.first().map(|row| row.range)];
                let began = known.into_iter().flatten().map(|of| of.start()).min();
                let past = began.and_then(|began| TimeRange::new(past.start().max(began), past.end()));
                past.map_or_else(Vec::new, |past| days::days_of(past, zone, (&spans, &missing, &register)))
            }
        };
        Ok(InspectedCamera {
            footage,
            over_age: index.over_age(key, policy::due_until(at, row.retention_max, zone)).await?,
            achieved: achieved(&row, index.retention_changed(key).await?, &register, zone),
            holds: index.holds_of(key).await?,
            days,
            clock_offset: index.runs(key, 1).await?.first().and_then(|run| run.camera_clock_offset),
            misdated: index.misdated(key).await?.len(),
            register,
            row,
        })
    }
}

/// An entry of the register is about a day's packs, which go one by one: its first destruction belongs to its first footage,
/// its last to its last.
/// What was destroyed before the bounds were lowered to those in force, or within a day of it, was promised no more than the month
/// of the law.
fn achieved(row: &CameraRow, changed: Option<WallTime>, register: &[DeletionRow], zone: &TimeZone) -> Achieved {
    let lowered = changed.map(|at| at.saturating_add(Ticks90k(TICKS_PER_DAY)));
    let mut all = Achieved::default();
    for entry in register {
        match (entry.outcome, entry.reason) {
            (Outcome::WasAbsent, _) => all.absent_packs += entry.packs,
            // A hold's end has its own date.
            (Outcome::Destroyed, Reason::HoldEnded) => {}
            (Outcome::Destroyed, Reason::Expired | Reason::DiskFull) => {
                let age = entry.first_at.since(entry.range.start());
                all.longest = Some(all.longest.map_or(age, |longest| longest.max(age)));
                all.shortest = Some(all.shortest.map_or(age, |shortest| shortest.min(age)));
                let is_of_before = lowered.is_some_and(|lowered| entry.last_at <= lowered);
                let max = if is_of_before { MONTH_AT_MOST } else { row.retention_max };
                let deadline = policy::deadline(entry.range.end(), max, zone);
                all.late_days += u64::from(entry.last_at > deadline);
                all.early_days += u64::from(age < row.retention_min);
            }
        }
    }
    all
}
