//! The index: what is recorded, where it lies, what is missing and why, in SQLite.
//!
//! Invariants: one writer, which commits a batch of changes in one transaction and acknowledges after the commit;
//! readers apart, on read-only connections, which never wait for it (WAL). Every query names its tenant: there is no
//! function that reads across tenants except those that retention, `fsck` and the drain use, which are marked so.
//! A row says `stored` only after the store acknowledged; a pack row is forgotten only after its object is gone.
//! A pack that a hold covers is neither condemned nor deleting before it is copied: both are asked of the one writer, so
//! that a hold that was acknowledged is respected by whatever comes after it.
//! Every change but an event may be written twice: the second time changes nothing.
//!
//! After a power cut the last changes may be missing: the packs in the spool hold what is needed to find them again. Some
//! are synced before they are acknowledged: that a pack is sealed, so that none leaves the spool before its row is sure
//! to stay; and a condemnation, so that no object is deleted under a row that comes back. So are
//! a hold, and that a pack is deleting.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::event::Event;
use footage::media::{Gap, GapCause};
use footage::pack::HoldFacts;
use footage::platform;
use footage::units::{BootId, CameraKey, HoldId, KeyId, PackId, RunId, Ticks90k, TimeRange, WallTime};

pub mod alarm;
mod apply;
pub mod carry;
pub mod clock;
pub mod damage;
mod database;
pub mod dedup;
pub mod examine;
pub mod figures;
pub mod hold;
pub mod identity;
pub mod keys;
pub mod of_pack;
pub mod policy;
pub mod query;
mod redundancy;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod write;

/// Longest wall-clock span of one segment row, so that a range query knows how far before its start to look.
pub const SEGMENT_DURATION_MAX: Ticks90k = Ticks90k(15 * 60 * 90_000);

/// What can go wrong with the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite refused, or the disk did.
    #[error("index: {0}")]
    Sqlite(rusqlite::Error),
    /// The file is damaged, or is not an index.
    #[error("the index is damaged ({0}): stop the gateway and run `vigie rebuild-index`")]
    Corrupt(String),
    /// A newer Vigie wrote it.
    #[error("the index has schema {found}, this Vigie knows {known}: run the newer Vigie, or `vigie rebuild-index`")]
    Newer {
        /// Version of the file.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// Opened for reading only, it cannot be brought up to date.
    #[error("the index has schema {found}, this Vigie reads {known}: start the gateway once to migrate it")]
    Older {
        /// Version of the file.
        found: i64,
        /// Version needed.
        known: i64,
    },
    /// There is none.
    #[error("there is no index at {0}: the gateway makes it when it first runs, or `vigie rebuild-index` does")]
    Missing(PathBuf),
    /// A migration failed; nothing was changed.
    #[error("index migration: {0}")]
    Migration(#[from] rusqlite_migration::Error),
    /// A change names a camera, run or pack that the index does not know.
    #[error("index knows no {0}")]
    Unknown(String),
    /// A change contradicts what the index knows.
    #[error("index refused a change: {0}")]
    Refused(String),
    /// This handle was opened for reading only.
    #[error("the index is open for reading only")]
    ReadOnly,
    /// The gateway is shutting down, or a batch was cut off by a failure that the log tells.
    #[error("the index writer has stopped")]
    Stopped,
}

impl From<rusqlite::Error> for IndexError {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match e.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Corrupt(e.to_string()),
            _ => Self::Sqlite(e),
        }
    }
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

impl PackState {
    /// From the number that rows hold.
    fn from_code(code: u8) -> Option<Self> {
        [Self::Open, Self::Sealed, Self::Stored, Self::Condemned].into_iter().find(|s| *s as u8 == code)
    }
}

pub use crate::event::DestructionReason as Reason;

/// What came of a pack that was to be destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Its bytes were found, and deleted.
    Destroyed = 1,
    /// There was nothing to delete: another gateway, or something outside Vigie, had removed it.
    WasAbsent = 2,
}

impl Outcome {
    /// The word in events and in the register.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroyed => "destroyed",
            Self::WasAbsent => "was_absent",
        }
    }

    /// From the number that rows hold.
    fn from_code(code: u8) -> Option<Self> {
        [Self::Destroyed, Self::WasAbsent].into_iter().find(|outcome| *outcome as u8 == code)
    }
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
    /// Its footage is destroyed at the latest this long after it was filmed: kept here for the time after the camera
    /// was removed from the configuration.
    pub retention_max: Ticks90k,
    /// Its footage is not destroyed before, not even when the disk is full.
    pub retention_min: Ticks90k,
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

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Grows with each event.
    pub id: i64,
    /// What happened.
    pub event: Event,
}

impl EventRow {
    /// What happened, as one word.
    pub fn kind(&self) -> &'static str {
        self.event.fact.kind()
    }
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
    /// How much later than the recording's timeline the pictures arrived, at the last fragment that changed it.
    pub timeline_offset: Ticks90k,
}

/// What was destroyed, or was found absent, of one camera, one UTC day of footage, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionRow {
    /// From the first to the last instant destroyed.
    pub range: TimeRange,
    /// Why.
    pub reason: Reason,
    /// Whether there was anything to destroy.
    pub outcome: Outcome,
    /// How many packs.
    pub packs: u64,
    /// Their size.
    pub bytes: u64,
    /// When the first of them was gone.
    pub first_at: WallTime,
    /// When the last of them was gone.
    pub last_at: WallTime,
}

/// The clock by which retention judges the wall clock, as it was at the last sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteadyClock {
    /// What it showed.
    pub steady: WallTime,
    /// What the wall clock showed then.
    pub wall: WallTime,
    /// For how long the wall clock had been ahead by `lead` or more, or behind.
    pub held: Ticks90k,
    /// The least of its leads in that time; negative when it was behind.
    pub lead: Ticks90k,
}

/// One change to the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The pack is encrypted under this key.
    EncryptedUnder {
        /// Which pack.
        pack: PackId,
        /// The key's name.
        key: KeyId,
    },
    /// The key is gone for good.
    KeyDestroyed {
        /// Which.
        key: KeyId,
    },
    /// The configuration's cameras, all of them: those absent become unconfigured. Creates tenants too.
    Configure(Vec<CameraRow>),
    /// The same, but bounds that would destroy more than those in force wait until this instant; those in force and
    /// those that come hold until then, whichever keeps more.
    ConfigureFrom {
        /// The configuration's cameras, all of them.
        cameras: Vec<CameraRow>,
        /// When lower bounds take effect.
        at: WallTime,
    },
    /// A camera that only its packs tell of; a known one stays as it is.
    KnowCamera(CameraRow),
    /// Bounds whose time has come take effect, each with an event, `retention_changed`.
    ApplyPolicies {
        /// Now.
        now: WallTime,
    },
    /// An operator says that these bounds, which wait, take effect at once.
    ConfirmPolicy {
        /// Whose.
        camera: CameraKey,
        /// The maximum that waits; another one stays.
        retention_max: Ticks90k,
        /// The minimum that waits.
        retention_min: Ticks90k,
        /// Now.
        now: WallTime,
    },
    /// The camera's packs go to this store now.
    UsesStore {
        /// Whose.
        camera: CameraKey,
        /// Its name.
        store: String,
        /// When.
        at: WallTime,
    },
    /// No pack lies in a store of this name any more.
    ForgetStore {
        /// Its name.
        store: String,
    },
    /// A session began to be recorded. A known run of that camera at most begins earlier by it.
    BeginRun {
        /// Which camera.
        camera: CameraKey,
        /// New id.
        run: RunId,
        /// When.
        start: WallTime,
    },
    /// How the gateway's clock stood when the run began. It stands so still, until another run of that boot says
    /// otherwise, or [`Change::ClockBase`] does.
    RunBase {
        /// Which run.
        run: RunId,
        /// Since when the monotonic clock counts.
        boot: BootId,
        /// Wall clock minus monotonic clock.
        base: Ticks90k,
    },
    /// How the gateway's clock stands now.
    ClockBase {
        /// Since when the monotonic clock counts.
        boot: BootId,
        /// Wall clock minus monotonic clock.
        base: Ticks90k,
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
    /// A pack began to grow in the spool; written as `Open` whatever its `state` says. A known pack stays as it is.
    OpenPack(PackRow),
    /// A segment as it is now, durable: inserted, or replaced when one of its pack with the same start exists.
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
    /// What of a whole pack is lost, all of it: in place of what was known. Nothing, when it was repaired. Nothing happens
    /// to a condemned pack.
    Damage {
        /// Which pack.
        pack: PackId,
        /// First instant after its footage, lost or not: a pack that was cut short ends earlier from then on.
        end: WallTime,
        /// Fragments, by number.
        lost: damage::Lost,
        /// Its segments without them.
        segments: Vec<SegmentRow>,
        /// In their place.
        gaps: Vec<Gap>,
    },
    /// How far the scrub of a store has got.
    Scrubbed {
        /// The store's name.
        store: String,
        /// How far.
        row: damage::ScrubRow,
    },
    /// By these the pack is found again from a fragment of it ([`footage::pack::PackTable::hooks`]). A pack has them once.
    Hook {
        /// Which pack.
        pack: PackId,
        /// 48 bits each.
        hooks: Vec<u64>,
    },
    /// Bytes of this pack may lie in other packs from now on, besides those in which they lie already. Written before
    /// the pack's file changes. Refused unless every byte that is claimed is final: see [`dedup`].
    Claim(dedup::Claim),
    /// Where the bytes of this pack lie from now on: in these packs and in no others. Hosts that the index does not know are
    /// left out: `fsck` finds them. A condemned host of a sealed pack stays one until [`Change::Freed`]. Refused when a
    /// sealed pack would hold less by itself than before.
    Refers(dedup::Refers),
    /// No bytes of these packs lie in this condemned one any more.
    Freed {
        /// Which pack is to go.
        host: PackId,
        /// The packs that referred to it.
        referrers: Vec<PackId>,
    },
    /// The store acknowledged size and checksum.
    PackStored {
        /// Which pack.
        pack: PackId,
    },
    /// Others stored the footage of this pack, which waits for the store: it is forgotten, and its run stays. Refused when it waits no more, or
    /// when bytes of others lie in it.
    LeaveToOthers {
        /// Which pack.
        pack: PackId,
    },
    /// Nobody shall read them any more: their segments go at once, their rows stay until the objects are gone. Packs
    /// that a hold covers and has not copied stay as they are.
    Condemn {
        /// Which packs.
        packs: Vec<PackId>,
        /// When.
        at: WallTime,
        /// Why.
        reason: Reason,
    },
    /// The bytes of these condemned packs are destroyed from now on, but for packs that a hold covers and has not
    /// copied: [`Index::deleting`] says which.
    BeginDeleting {
        /// Which packs.
        packs: Vec<PackId>,
    },
    /// The bytes of these packs, which are being destroyed, were found: their destruction is one, even where a crash
    /// comes between it and the register.
    Seen {
        /// Which packs.
        packs: Vec<PackId>,
    },
    /// What it covers stays from now on. A hold that is known stays as it is.
    PlaceHold {
        /// Whose footage.
        camera: CameraKey,
        /// What and why.
        hold: Arc<HoldFacts>,
    },
    /// The hold is over: its packs go, and it keeps nothing else. One that is over stays as it is.
    EndHold {
        /// Which hold.
        hold: HoldId,
        /// When.
        at: WallTime,
    },
    /// Holds whose time is over end, each with an event, `hold_ended`.
    EndHoldsBefore {
        /// Now.
        at: WallTime,
    },
    /// The pack stays for this hold and shows in no timeline but the hold's. Before its segments are put.
    KeepFor {
        /// Which pack.
        pack: PackId,
        /// Which hold.
        hold: HoldId,
    },
    /// All that the hold covers of this pack is in packs of its own, or cannot be had.
    Copied {
        /// Which hold.
        hold: HoldId,
        /// Which pack.
        pack: PackId,
    },
    /// The object and the spool file are gone: forget the pack and its segments, and runs left without packs.
    Forget {
        /// Which pack.
        pack: PackId,
    },
    /// As [`Change::Forget`], and entered in the register of destructions. The first entry of a camera, a day and a
    /// reason is an event too, `pack_deleted`.
    Destroyed {
        /// Which pack; it was condemned.
        pack: PackId,
        /// When its bytes were gone.
        at: WallTime,
        /// Whether there were any.
        outcome: Outcome,
    },
    /// This index belongs to this store or key from now on; `None`: to none of that name any more.
    Identify {
        /// Kind of thing.
        kind: identity::Kind,
        /// Its name in the configuration, or empty.
        name: String,
        /// Its id.
        id: Option<Vec<u8>>,
    },
    /// What retention keeps of its clock, in place of what it kept before.
    SteadyClock(SteadyClock),
    /// Footage stopped at `start`; one gap at most is open for a camera, and opening another takes its place.
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
    /// Gaps that ended before this instant are forgotten with the footage around them, and so are runs without packs.
    ForgetGapsBefore {
        /// Which camera.
        camera: CameraKey,
        /// Bound.
        before: WallTime,
    },
    /// Something happened.
    Event(Event),
    /// A change of alarms.
    Alarm(alarm::AlarmChange),
    /// Events and register entries older than this instant are forgotten, the oldest first and a bounded number at a
    /// time, and so are cameras that are in no configuration and left no trace.
    ForgetEventsBefore {
        /// Bound.
        before: WallTime,
    },
}

/// A handle on the index; cheap to clone, usable from any tokio runtime. The writer ends when the last handle of an
/// [`Index::open`] is dropped, after it committed what waits.
#[derive(Clone, Debug)]
pub struct Index {
    readers: Arc<database::Readers>,
    writer: Option<Writer>,
}

/// The way to the writer task.
#[derive(Clone, Debug)]
struct Writer {
    calls: mpsc::Sender<write::WriteCall>,
    /// Asks the writer to end.
    closing: CancellationToken,
    /// Says that it has.
    closed: CancellationToken,
}

impl Index {
    /// Opens or creates the index, migrates it, and starts its writer on the current runtime.
    pub async fn open(path: &Path) -> Result<Self, IndexError> {
        let path = path.to_owned();
        let (path, connection) = database::blocking(move || {
            let connection = database::open_writer(&path)?;
            Ok((path, connection))
        })
        .await?;
        let (calls, queue) = mpsc::channel(write::QUEUED_CALLS_MAX);
        let writer = Writer { calls, closing: CancellationToken::new(), closed: CancellationToken::new() };
        let done = writer.closed.clone().drop_guard();
        tokio::spawn(write::run(path.clone(), connection, queue, writer.closing.clone(), done));
        Ok(Self { readers: Arc::new(database::Readers::new(path)), writer: Some(writer) })
    }

    /// Opens an index for reading only, beside a gateway that may be running on it.
    pub async fn open_read_only(path: &Path) -> Result<Self, IndexError> {
        let readers = Arc::new(database::Readers::new(path.to_owned()));
        // The first connection checks the file.
        readers.read(|_| Ok(())).await?;
        Ok(Self { readers, writer: None })
    }

    /// Commits these changes in order, in one transaction (with whatever else waits), and returns after the commit.
    /// The queue is bounded: past the bound the caller waits, which is what slows a recorder whose index cannot follow.
    /// One bad change fails its own call only, and the whole of it.
    pub async fn write(&self, changes: Vec<Change>) -> Result<(), IndexError> {
        let writer = self.writer.as_ref().ok_or(IndexError::ReadOnly)?;
        let (done, result) = oneshot::channel();
        platform::turn().await;
        writer.calls.send(write::WriteCall { changes, done }).await.map_err(|_| IndexError::Stopped)?;
        let written = result.await.map_err(|_| IndexError::Stopped)?;
        platform::turn().await;
        written
    }

    /// Ends the writer: what waits is committed, the log is folded into the file. Later writes fail; reads go on.
    pub async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.closing.cancel();
            writer.closed.cancelled().await;
        }
    }
}
