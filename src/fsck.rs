//! Compares the index with the store and the spool, and reports differences.
//!
//! Invariants: nothing is changed; memory does not grow with the number of packs. Beside a gateway that runs, what looks
//! wrong is looked up again before it is reported: packs grow, move and are deleted meanwhile.
//! Absent on purpose: repair. What a start of the gateway, a copy of the store or `vigie rebuild-index` mends differs
//! from case to case.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::archive::Archive;
use crate::archive::check::Scratch;
use crate::index::{Index, IndexError, PackState};
use crate::spool::{Spool, SpoolError};
use crate::store::{Store, request_kind};
use footage::failure::{Failure, Kind};
use footage::media::GapCause;
use footage::units::{CameraKey, PackId, TimeRange, WallTime};

mod data;
mod packs;
mod references;
mod strays;
mod timelines;

/// Why the check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The spool could not be listed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The store could not be listed.
    #[error("the store could not be listed: {0}")]
    Store(#[from] object_store::Error),
    /// Packs of a store elsewhere have nowhere to be read into.
    #[error("{path}: {source}; set TMPDIR to a folder with room for a few packs")]
    Scratch {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Failure for FsckError {
    fn kind(&self) -> Kind {
        match self {
            Self::Index(error) => error.kind(),
            Self::Spool(error) => error.kind(),
            Self::Store(error) => request_kind(error),
            Self::Scratch { source, .. } => Failure::kind(source),
        }
    }
}

/// Something that should not be so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    /// The index has a pack whose bytes are nowhere.
    #[error(
        "pack {pack} of {camera}, {} to {}: the index says that it is {}, and it is not there",
        covers.0, covers.1, word(*state)
    )]
    Missing {
        /// Which pack.
        pack: PackId,
        /// Whose.
        camera: CameraKey,
        /// What it should cover.
        covers: (WallTime, WallTime),
        /// Where it should be.
        state: PackState,
    },
    /// The index and the place where a pack lies disagree on its size.
    #[error("pack {pack} of {camera}: {found} bytes are there, the index says {indexed}")]
    Size {
        /// Which pack.
        pack: PackId,
        /// Whose.
        camera: CameraKey,
        /// According to the index.
        indexed: u64,
        /// According to the disk or the store.
        found: u64,
    },
    /// A pack's size, table or bytes could not be read.
    #[error("pack {pack} of {camera} cannot be read: {what}")]
    Unreadable {
        /// Which pack.
        pack: PackId,
        /// Whose.
        camera: CameraKey,
        /// Why.
        what: String,
    },
    /// A pack says something else about itself than the index.
    #[error("pack {pack} of {camera}: {what}")]
    Rows {
        /// Which pack.
        pack: PackId,
        /// Whose.
        camera: CameraKey,
        /// What differs.
        what: String,
    },
    /// Bytes of a pack are not those that were written.
    #[error("pack {pack} of {camera} is damaged: {what}")]
    Damaged {
        /// Which pack.
        pack: PackId,
        /// Whose.
        camera: CameraKey,
        /// Where, and how.
        what: String,
    },
    /// Bytes of a pack are not where it says that they lie, or the index does not keep them there for it.
    #[error("pack {pack} of {camera} refers to bytes of other packs: {what}")]
    Reference {
        /// Which pack.
        pack: PackId,
        /// Whose.
        camera: CameraKey,
        /// What is wrong.
        what: String,
    },
    /// The store has a pack that the index does not know there: no reader finds it and no retention deletes it.
    #[error("object {location} ({bytes} bytes) is in the store, and the index knows no such pack")]
    OrphanObject {
        /// Its name in the store.
        location: String,
        /// Its size.
        bytes: u64,
    },
    /// The spool has a copy of a pack that the index does not know: nothing destroys it at its time.
    #[error(
        "{} is in the spool as a copy, and the index knows no such pack: if the store has it, vigie rebuild-index takes it \
         in; if it came back from a backup, remove it", path.display()
    )]
    OrphanCopy {
        /// Which file.
        path: PathBuf,
    },
    /// The spool has a pack that the index does not know.
    #[error("{} is in the spool, and the index knows no such pack: the next start of the gateway takes it in", path.display())]
    OrphanFile {
        /// The file.
        path: PathBuf,
    },
    /// Two segments of a camera claim the same time.
    #[error("segments of {camera} overlap: {} to {}, and {} to {}", first.start(), first.end(), second.start(), second.end())]
    SegmentsOverlap {
        /// Whose.
        camera: CameraKey,
        /// One.
        first: TimeRange,
        /// The other.
        second: TimeRange,
    },
    /// A gap claims that there is no footage where there is.
    #[error(
        "a gap of {camera}, {} to {} ({cause}), lies over footage, {} to {}",
        gap.start(), gap.end(), footage.start(), footage.end()
    )]
    GapOverFootage {
        /// Whose.
        camera: CameraKey,
        /// The gap.
        gap: TimeRange,
        /// Its cause.
        cause: GapCause,
        /// The segment.
        footage: TimeRange,
    },
}

fn word(state: PackState) -> &'static str {
    match state {
        PackState::Open => "growing in the spool",
        PackState::Sealed => "waiting in the spool",
        PackState::Stored => "in the store",
        PackState::Condemned => "condemned",
    }
}

/// What is said while the check goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Something is wrong.
    Complaint(Complaint),
    /// An object in the store that is not ours: left alone.
    Foreign(String),
}

/// What was looked at, and how much of it was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Rows of packs.
    pub packs: u64,
    /// Objects of the store.
    pub objects: u64,
    /// Pack files of the spool.
    pub spool_files: u64,
    /// Cameras whose segments and gaps were walked.
    pub cameras: u64,
    /// Bytes of packs that were read and checked.
    pub checked_bytes: u64,
    /// Objects that are not ours.
    pub foreign: u64,
    /// What is wrong.
    pub complaints: u64,
}

/// What is checked against what.
#[derive(Debug)]
pub struct Fsck {
    /// What should be.
    pub index: Index,
    /// Where packs grow and wait.
    pub spool: Spool,
    /// Where packs are kept.
    pub store: Store,
    /// Packs wherever they lie.
    pub packs: Archive,
    /// How long a gateway that runs may need to tell its index what it did to a pack; zero when none does.
    pub settle: Duration,
    /// Check each byte of each pack.
    pub read_data: bool,
}

/// Counts, and passes on what is found.
struct Tally<'a> {
    report: FsckReport,
    found: &'a mut (dyn FnMut(Finding) + Send),
}

impl Tally<'_> {
    fn complain(&mut self, complaint: Complaint) {
        self.report.complaints += 1;
        (self.found)(Finding::Complaint(complaint));
    }

    fn foreign(&mut self, location: String) {
        self.report.foreign += 1;
        (self.found)(Finding::Foreign(location));
    }
}

impl Fsck {
    /// For objects of stores elsewhere, on their way through.
    fn scratch(&self) -> Result<Scratch, FsckError> {
        static CHECKS: AtomicU64 = AtomicU64::new(0);
        let check = CHECKS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vigie-fsck-{}-{check}", std::process::id()));
        Scratch::create(path.clone()).map_err(|source| FsckError::Scratch { path, source })
    }

    /// Checks everything; `found` hears of each finding as it is made.
    pub async fn check(&self, found: &mut (dyn FnMut(Finding) + Send)) -> Result<FsckReport, FsckError> {
        let mut tally = Tally { report: FsckReport::default(), found };
        self.check_packs(&mut tally).await?;
        self.check_timelines(&mut tally).await?;
        self.check_store(&mut tally).await?;
        self.check_spool(&mut tally).await?;
        Ok(tally.report)
    }
}
