//! What is read: rows, and the states that they hold.

use std::collections::BTreeSet;

use crate::event::Event;
use footage::media::GapCause;
use footage::units::{CameraId, CameraKey, PackId, RunId, Ticks90k, TimeRange, WallTime};

/// Cameras of a tenant that a list is about, and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cameras(BTreeSet<CameraId>);

impl Cameras {
    /// These.
    pub fn new(cameras: BTreeSet<CameraId>) -> Self {
        Self(cameras)
    }

    /// As statements read them.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(&self.0).expect("a list of ids is encoded")
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
    pub(super) fn from_code(code: u8) -> Option<Self> {
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
    pub(super) fn from_code(code: u8) -> Option<Self> {
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
