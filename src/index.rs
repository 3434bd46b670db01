//! The index: what is recorded, where it lies, what is missing and why, in SQLite.
//!
//! Invariants: one writer, which commits a batch of changes in one transaction and acknowledges after the commit;
//! readers apart, on read-only connections, which never wait for it (WAL). Every query names its tenant: there is no
//! function that reads across tenants except those that retention, `fsck` and the drain use, which are marked so.
//! A row says `stored` only after the store acknowledged; a pack row is forgotten only after its object is gone.

use std::path::Path;

use crate::media::{Gap, GapCause};
use crate::units::{CameraKey, PackId, RunId, TenantId, Ticks90k, TimeRange, WallTime};

pub mod query;
pub mod write;

/// Longest wall-clock span of one segment row, so that a range query knows how far before its start to look.
pub const SEGMENT_DURATION_MAX: Ticks90k = Ticks90k(15 * 60 * 90_000);

/// What can go wrong with the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite refused: the message says what to do where that is known.
    #[error("index: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The schema is of a newer Vigie, or a migration failed.
    #[error("index migration: {0}")]
    Migration(#[from] rusqlite_migration::Error),
    /// A change names a camera, run or pack that the index does not know.
    #[error("index knows no {0}")]
    Unknown(String),
    /// The writer has stopped: the gateway is shutting down, or the disk failed under it.
    #[error("the index writer has stopped")]
    Stopped,
}

/// Where a pack is in its life; only forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackState {
    /// Growing in the spool.
    Open = 0,
    /// Whole, in the spool, waiting for the store.
    Sealed = 1,
    /// The store acknowledged size and checksum.
    Stored = 2,
    /// Given up: no reader sees it any more, the object is deleted after the grace time.
    Condemned = 3,
}

/// A pack, to find its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRow {
    /// Its id.
    pub id: PackId,
    /// Whose footage.
    pub camera: CameraKey,
    /// The run it was recorded from.
    pub run: RunId,
    /// Where it is in its life.
    pub state: PackState,
    /// Size in bytes: whole packs; for an open one, what has been flushed.
    pub bytes: u64,
    /// First instant of its footage.
    pub start: WallTime,
    /// First instant after its footage.
    pub end: WallTime,
    /// When it was condemned.
    pub condemned_at: Option<WallTime>,
}

/// A run of fragments contiguous in one pack and in wall-clock time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// Wall-clock time covered.
    pub range: TimeRange,
    /// The run.
    pub run: RunId,
    /// Run media time of its first sample.
    pub decode_time: Ticks90k,
    /// Where it lies.
    pub pack: PackId,
    /// State of that pack: open, sealed or stored, never condemned.
    pub state: PackState,
    /// Index of its first fragment in the pack's table.
    pub first_fragment: u32,
    /// How many fragments.
    pub fragments: u32,
}

/// A camera as the index knows it: configuration at the last start, kept after the camera was removed from it for as
/// long as it has footage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraRow {
    /// Which one.
    pub key: CameraKey,
    /// Name for people.
    pub name: String,
    /// Place for people: the law wants it with each recording.
    pub place: String,
    /// In the configuration now.
    pub configured: bool,
}

/// A gap row; `end` is `None` while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapRow {
    /// First instant without footage.
    pub start: WallTime,
    /// First instant with footage again.
    pub end: Option<WallTime>,
    /// Why.
    pub cause: GapCause,
    /// RTP packets lost, for packet loss; otherwise 0.
    pub lost_packets: u32,
}

/// Something that happened, for operators and auditors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Grows with each event.
    pub id: i64,
    /// When, on the gateway's clock.
    pub at: WallTime,
    /// About which camera; `None`: about the gateway or the tenant.
    pub camera: Option<CameraKey>,
    /// What, as one word: `connected`, `connection_lost`, `gap_opened`, `clock_step`, `pack_deleted`, `disk_full`, …
    pub kind: String,
    /// One line for people. Never a credential.
    pub detail: String,
}

/// What is known of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// When it began.
    pub start: WallTime,
    /// When it ended, once it has.
    pub end: Option<WallTime>,
    /// The camera's clock minus the gateway's at the last fragment that knew it, in ticks.
    pub camera_clock_offset: Option<Ticks90k>,
    /// The gateway's wall clock minus the recording's timeline at the last fragment, in ticks: not zero while a step
    /// of the gateway's clock is being absorbed.
    pub timeline_offset: Ticks90k,
}

/// One change to the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The configuration's cameras, all of them: those absent become unconfigured. Creates tenants too.
    Configure(Vec<CameraRow>),
    /// A session began to be recorded.
    BeginRun {
        /// Which camera.
        camera: CameraKey,
        /// New id.
        run: RunId,
        /// When.
        start: WallTime,
    },
    /// What is known of a run's clocks now.
    RunClocks {
        /// Which run.
        run: RunId,
        /// See [`RunRow::camera_clock_offset`].
        camera_clock_offset: Option<Ticks90k>,
        /// See [`RunRow::timeline_offset`].
        timeline_offset: Ticks90k,
    },
    /// The session is over.
    EndRun {
        /// Which run.
        run: RunId,
        /// End of its last fragment.
        end: WallTime,
    },
    /// A pack began to grow in the spool. Its `state` is `Open`.
    OpenPack(PackRow),
    /// A segment as it is now, durable: inserted, or replaced when one of this camera with the same start exists.
    /// Moves its pack's `start`, `end` and `bytes` outwards too.
    PutSegment {
        /// Whose.
        camera: CameraKey,
        /// The row (its `state` is not written).
        segment: SegmentRow,
        /// Bytes of the pack that are durable now.
        pack_bytes: u64,
    },
    /// The pack is whole in the spool.
    SealPack {
        /// Which pack.
        pack: PackId,
        /// Its size.
        bytes: u64,
    },
    /// The store acknowledged size and checksum.
    PackStored {
        /// Which pack.
        pack: PackId,
    },
    /// Nobody shall read it any more.
    Condemn {
        /// Which packs.
        packs: Vec<PackId>,
        /// When.
        at: WallTime,
    },
    /// The object and the spool file are gone: forget the pack and its segments, and runs left without packs.
    Forget {
        /// Which pack.
        pack: PackId,
    },
    /// Footage stopped at `start`; one gap at most is open for a camera, and opening another while one is open only
    /// changes its cause.
    OpenGap {
        /// Which camera.
        camera: CameraKey,
        /// End of what was recorded.
        start: WallTime,
        /// Why.
        cause: GapCause,
    },
    /// A closed gap. It takes the place of the camera's open gap when that began at the same instant; a gap with the same bounds is replaced.
    PutGap {
        /// Which camera.
        camera: CameraKey,
        /// The gap.
        gap: Gap,
    },
    /// Gaps that ended before this instant are forgotten with the footage around them.
    ForgetGapsBefore {
        /// Which camera.
        camera: CameraKey,
        /// Bound.
        before: WallTime,
    },
    /// Something happened.
    Event {
        /// When.
        at: WallTime,
        /// Whose matter; `None`: the gateway's.
        tenant: Option<TenantId>,
        /// About which camera.
        camera: Option<CameraKey>,
        /// What.
        kind: &'static str,
        /// One line.
        detail: String,
    },
}

/// A handle on the index; cheap to clone.
#[derive(Clone, Debug)]
pub struct Index {}

impl Index {
    /// Opens or creates the index, migrates it, and starts its writer on the current runtime.
    pub async fn open(_path: &Path) -> Result<Self, IndexError> {
        todo!()
    }

    /// Opens an index for reading only, beside a gateway that may be running on it.
    pub async fn open_read_only(_path: &Path) -> Result<Self, IndexError> {
        todo!()
    }

    /// Commits these changes in order, in one transaction (with whatever else waits), and returns after the commit.
    /// The queue is bounded: past the bound the caller waits, which is what slows a recorder whose index cannot follow.
    /// One bad change fails its own call only.
    pub async fn write(&self, _changes: Vec<Change>) -> Result<(), IndexError> {
        todo!()
    }
}
