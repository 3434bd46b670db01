//! What facts are made of: words of a few kinds, each with one spelling.

use serde::{Deserialize, Serialize};

/// Where the bytes came from that mended a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MendSource {
    /// What is left of the pack itself.
    Itself,
    /// Another pack that has the same fragments.
    OtherPack,
    /// The copy in the spool.
    Spool,
    /// The damaged bytes read right again.
    Reappeared,
}

/// What a store's trial found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialVerdict {
    /// It lacks an ability; Vigie runs.
    Lacking,
    /// It does not answer.
    Away,
    /// It refuses what Vigie cannot do without.
    Refused,
}

/// What others can tell of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalProof {
    /// Its copy in the store.
    Copy,
    /// Time stamps of its checkpoints.
    TimeStamp,
}

impl JournalProof {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::TimeStamp => "time_stamp",
        }
    }
}

/// Why footage is destroyed. The numbers are those of index rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum DestructionReason {
    /// Its time was over.
    Expired = 1,
    /// The disk was full and it was the oldest beyond its guaranteed time.
    DiskFull = 2,
    /// The hold that it stayed for is over, or was released.
    HoldEnded = 3,
}

impl DestructionReason {
    /// The word in events and in the register.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::DiskFull => "disk_full",
            Self::HoldEnded => "hold_ended",
        }
    }

    /// From the number that rows hold.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Expired, Self::DiskFull, Self::HoldEnded].into_iter().find(|r| *r as u8 == code)
    }
}

/// A step of a request for footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestStep {
    /// It was taken in, and what it covers is held for some days.
    Opened,
    /// A scan of the paper was attached.
    ScanAttached,
    /// A scan was read.
    ScanRead,
    /// Holds were placed for it.
    Held,
    /// What is to be handed over was prepared.
    Prepared,
    /// That was released.
    Released,
    /// That was handed over.
    HandedOver,
    /// It was refused.
    Refused,
    /// It was closed.
    Closed,
    /// Its file was destroyed: its time was over.
    Destroyed,
}

impl RequestStep {
    /// The word in events, in the journal and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::ScanAttached => "scan_attached",
            Self::ScanRead => "scan_read",
            Self::Held => "held",
            Self::Prepared => "prepared",
            Self::Released => "released",
            Self::HandedOver => "handed_over",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Destroyed => "destroyed",
        }
    }
}

/// Why a cut is not filled from the camera's own storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeRefusal {
    /// The device has no search or no replay service.
    NoService,
    /// It has no recording of that time.
    NothingRecorded,
    /// It has recordings of several views, and does not say which is this camera's.
    SeveralSources,
    /// No picture of its recording is one that was recorded here beside the cut, so that its times prove nothing.
    NothingInCommon,
    /// Its clock moved during the cut.
    ClockMoved,
    /// No right time is known of the footage beside the cut.
    TimesUnknown,
}

impl EdgeRefusal {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::NoService,
        Self::NothingRecorded,
        Self::SeveralSources,
        Self::NothingInCommon,
        Self::ClockMoved,
        Self::TimesUnknown,
    ];
}
