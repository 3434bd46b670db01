//! Packs: immutable stretches of one camera's fragments, readable by any MP4 player.
//!
//! ```text
//! ftyp                          ISO/IEC 14496-12 §4.3, brands iso6 mp41, cmfc without sound
//! moov                          §8.2.1: one video trak (id 1), with sound a second trak (id 2), mvex/trex
//! uuid  pack header             ours: pack, tenant, camera, run, and the hold that it is kept by
//! ┌ uuid  fragment record       ours: id, wall time, camera time, gaps before it, wall duration
//! │ prft                        §8.16.5: NTP time of the first video sample
//! │ moof  mfhd traf…            §8.8.4: one traf a track, default-base-is-moof
//! └ mdat                        video samples, then audio samples
//! …
//! uuid  fragment table          ours: header, every fragment's entry; ends with its own length, so that the last
//!                               bytes of the object find it (as mfro does, §8.8.11)
//! ```
//!
//! A fragment's bytes may lie in another pack: then its record, `prft`, `moof` and `mdat` are not in the file, and its entry
//! names the place ([`mod@reference`]). A player sees what is in the file only.
//!
//! Invariants: a pack's first sample is a random access point; all of it is one run and one set of sample
//! descriptions; an entry's bytes hash to its id.
//! Absent on purpose: this module knows no store, no clock, no camera.

use std::ops::Range;
use std::sync::Arc;

use self::reference::Place;
use crate::failure::{Failure, Kind};
use crate::keys::vault::VaultError;
use crate::media::{Gap, Params, Sample};
use crate::units::{CameraKey, FragmentId, HoldId, PackId, RunId, Ticks90k, TimeRange, WallTime};

pub mod encrypted;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod reader;
pub mod reference;
mod table;
#[cfg(test)]
pub(crate) mod testing;
pub mod writer;

/// What a pack is a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackHeader {
    /// Its own id.
    pub pack: PackId,
    /// Whose footage.
    pub camera: CameraKey,
    /// The RTSP session that it was recorded from.
    pub run: RunId,
    /// Sample descriptions of all its samples.
    pub params: Arc<Params>,
    /// The hold that it was copied for and is kept by; `None` for footage as it was recorded.
    pub hold: Option<Arc<HoldFacts>>,
}

/// A legal hold on a stretch of one camera's footage. Each pack that it keeps tells all of it, so that the index can be
/// rebuilt with its holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldFacts {
    /// Its id.
    pub id: HoldId,
    /// The footage that it covers.
    pub range: TimeRange,
    /// What keeps it lawful: the requisition's number. Empty for a hold that keeps nothing beyond a month.
    pub reference: String,
    /// Who asked for it.
    pub requester: String,
    /// Why.
    pub reason: String,
    /// The footage is kept until then.
    pub until: WallTime,
    /// When it was placed.
    pub placed: WallTime,
}

/// What the recorder knows of a fragment beyond its media: where it lies in wall-clock time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Gateway time of the first video sample.
    pub wall_start: WallTime,
    /// Gateway time that it covers. Equals the media duration but for the slewing of clock drift.
    pub wall_duration: Ticks90k,
    /// The camera's own clock at the first video sample, where it sends sender reports.
    pub camera_time: Option<WallTime>,
    /// Gaps that ended since the previous fragment, or lie inside this one; oldest first.
    pub gaps: Vec<Gap>,
}

/// One fragment of a pack, as the fragment table holds it. Offsets are those of the pack with all its bytes
/// ([`mod@reference`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentEntry {
    /// Where its first box begins in the file.
    pub offset: u64,
    /// Bytes from there to the first sample byte: fragment record, `prft`, `moof`, `mdat` header.
    pub header_bytes: u32,
    /// Sample bytes: the `mdat` payload, to the end of the fragment.
    pub data_bytes: u32,
    /// Keyed BLAKE3 of the sample bytes.
    pub id: FragmentId,
    /// See [`crate::media::Fragment::decode_time`].
    pub decode_time: Ticks90k,
    /// See [`crate::media::Fragment::random_access`].
    pub random_access: bool,
    /// Video samples.
    pub video: Vec<Sample>,
    /// Audio samples.
    pub audio: Vec<Sample>,
    /// See [`crate::media::Fragment::audio_decode_time`].
    pub audio_decode_time: i64,
    /// Wall-clock facts.
    pub stamp: Stamp,
    /// Where its sample bytes lie; `None`: in this pack.
    pub place: Option<Place>,
}

impl FragmentEntry {
    /// Its length: boxes and samples.
    pub fn bytes(&self) -> u64 {
        u64::from(self.header_bytes) + u64::from(self.data_bytes)
    }

    /// First byte after the fragment.
    pub fn end(&self) -> u64 {
        self.data_offset() + u64::from(self.data_bytes)
    }

    /// First sample byte.
    pub fn data_offset(&self) -> u64 {
        self.offset + u64::from(self.header_bytes)
    }

    /// Bytes of its video samples, which lie before those of the sound.
    pub fn video_bytes(&self) -> u32 {
        self.video.iter().map(|sample| sample.size).sum()
    }

    /// First instant after it.
    pub fn wall_end(&self) -> WallTime {
        self.stamp.wall_start.saturating_add(self.stamp.wall_duration)
    }

    /// Sum of the video samples' durations.
    pub fn duration(&self) -> Ticks90k {
        Ticks90k(self.video.iter().map(|s| i64::from(s.duration)).sum())
    }
}

/// A pack's contents. Entries are shared, so that a copy of a growing pack's table is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackTable {
    /// What the pack is.
    pub header: PackHeader,
    /// Bytes before the first fragment: `ftyp`, `moov`, pack header. The initialisation segment is the first two.
    pub init_bytes: u32,
    /// In file order, which is decode order and wall-clock order.
    pub fragments: Vec<Arc<FragmentEntry>>,
}

impl PackTable {
    /// First byte after the last fragment.
    pub fn end(&self) -> u64 {
        self.fragments.last().map_or(u64::from(self.init_bytes), |entry| entry.end())
    }

    /// Its groups of pictures, each from a random access point up to the next, as numbers of fragments.
    pub fn groups(&self) -> Vec<Range<usize>> {
        let starts = self.fragments.iter().enumerate().filter(|(_, entry)| entry.random_access).map(|(n, _)| n);
        let bounds: Vec<usize> = starts.chain([self.fragments.len()]).collect();
        bounds.windows(2).filter_map(|pair| pair.first().zip(pair.last())).map(|(&from, &to)| from..to).collect()
    }

    /// Whether this entry may follow: it lies where the last one ends, and in both times it is not before that end.
    fn admits(&self, entry: &FragmentEntry) -> Result<(), &'static str> {
        let payload: u64 = entry.video.iter().chain(&entry.audio).map(|s| u64::from(s.size)).sum();
        if payload != u64::from(entry.data_bytes) {
            return Err("its samples do not add up to its bytes");
        }
        if entry.video.is_empty() {
            return Err("it has no picture");
        }
        // `tfdt` has no sign, and a fragment that ends before it begins would put the next one before it.
        if entry.decode_time.0 < 0 || entry.audio_decode_time < 0 || entry.stamp.wall_duration.0 < 0 {
            return Err("its decode time or its duration is negative");
        }
        if entry.offset != self.end() {
            return Err("it does not begin where the one before ends");
        }
        match self.fragments.last() {
            None if !entry.random_access => Err("a pack's first sample must be a random access point"),
            Some(last) if entry.decode_time.0 < last.decode_time.0.saturating_add(last.duration().0) => {
                Err("its decode time is before the end of the one before")
            }
            Some(last) if entry.stamp.wall_start < last.wall_end() => {
                Err("its wall-clock time is before the end of the one before")
            }
            _ => Ok(()),
        }
    }
}

/// What can be wrong with a pack.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The disk: retry, or make room when the kind is `StorageFull`.
    #[error("pack {pack}: {source}")]
    Io {
        /// Which pack.
        pack: PackId,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is encrypted, and its key cannot be had.
    #[error("pack {pack}: {source}")]
    Key {
        /// Which pack.
        pack: PackId,
        /// What to do about it.
        source: Box<VaultError>,
    },
    /// These bytes are not a pack, or are a damaged one.
    #[error("not a whole pack at byte {offset}: {what}")]
    Malformed {
        /// Where in the file.
        offset: u64,
        /// What was wrong there.
        what: String,
    },
    /// The samples are not those that were written.
    #[error("fragment at byte {offset} is corrupt: content hashes to {got}, the table says {want}")]
    Corrupt {
        /// Where in the file.
        offset: u64,
        /// The id on record.
        want: FragmentId,
        /// The id of what is there.
        got: FragmentId,
    },
    /// A caller broke an invariant of this module.
    #[error("pack {pack} refused a fragment: {what}")]
    Refused {
        /// Which pack.
        pack: PackId,
        /// Which invariant.
        what: &'static str,
    },
}

impl Failure for PackError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } => Failure::kind(source),
            Self::Key { source, .. } => source.kind(),
            Self::Malformed { .. } | Self::Corrupt { .. } => Kind::Corrupt,
            Self::Refused { .. } => Kind::Internal,
        }
    }
}
