//! Footage out: timeline, progressive MP4, HLS, snapshot.
//!
//! Invariant: sample bytes are copied as stored, never transcoded; boxes are written around them. Snapshots alone
//! decode, in a process of their own.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};

use crate::archive::readable::Unreadable;
use crate::archive::{Archive, PackRef, ReadError};
use crate::index::{Index, IndexError};
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::pack::PackError;
use footage::signing::Anchors;
use footage::units::{CameraKey, FragmentId, PackId, TICKS_PER_SECOND, TimeRange};

pub mod hls;
pub mod holes;
pub mod labels;
pub mod mp4;
mod select;
pub mod signatures;
pub mod snapshot;
#[cfg(test)]
mod testing;
pub mod timeline;
mod walk;

pub use walk::FootageOf;

/// Longest clip and longest playlist, in hours: a day with its change of clock.
pub const CLIP_HOURS_MAX: i64 = 25;

/// What retrieval reads from; cheap to clone.
#[derive(Clone, Debug)]
pub struct Footage {
    /// Where things lie.
    pub index: Index,
    /// Their bytes.
    pub packs: Archive,
    /// What time it is, for what is live.
    pub clock: Arc<dyn Clock>,
    live: hls::LiveWindows,
    looks: holes::Looks,
    /// Fragments are compared with their ids when they are played.
    compares: bool,
    /// Who says which cameras sign.
    anchors: Arc<Anchors>,
    labels: labels::CurrentLabels,
}

impl Footage {
    /// Over this index and these packs.
    pub fn new(index: Index, packs: Archive, clock: Arc<dyn Clock>) -> Self {
        Self {
            index,
            packs,
            clock,
            live: hls::LiveWindows::default(),
            looks: holes::Looks::default(),
            compares: true,
            anchors: Arc::default(),
            labels: labels::CurrentLabels::default(),
        }
    }

    /// Whether fragments are compared with their ids when they are played. For exports and holds they always are.
    pub fn comparing(self, compares: bool) -> Self {
        Self { compares, ..self }
    }

    /// Signatures of cameras count where one of these vouches for the key; without any, each key is taken and shown.
    pub fn trusting(self, anchors: Anchors) -> Self {
        Self { anchors: Arc::new(anchors), ..self }
    }

    /// What is written into files from now on, by all copies of this.
    pub fn label(&self, labels: labels::Labels) {
        self.labels.set(labels);
    }

    /// What people call places and times.
    pub fn labels(&self) -> Arc<labels::Labels> {
        self.labels.get()
    }

    /// What cannot be read is named there.
    pub fn naming(self, looks: holes::Looks) -> Self {
        Self { looks, ..self }
    }

    fn look_at(&self, holes: &[holes::Hole]) {
        // One that was destroyed is no matter of the scrub, and one without its key cannot be checked.
        let is_amiss = |hole: &&holes::Hole| matches!(hole.why, Unreadable::Missing | Unreadable::Damaged);
        let mut packs: Vec<PackId> = holes.iter().filter(is_amiss).map(|hole| hole.pack).collect();
        packs.dedup();
        packs.into_iter().for_each(|pack| self.looks.look_at(pack));
    }

    /// Refuses a camera that the index does not know.
    async fn known(&self, camera: &CameraKey) -> Result<(), RetrieveError> {
        match self.index.camera(camera).await? {
            Some(_) => Ok(()),
            None => Err(RetrieveError::NoCamera(camera.clone())),
        }
    }
}

/// Why footage was not handed out.
#[derive(Debug, thiserror::Error)]
pub enum RetrieveError {
    /// No such camera for this tenant.
    #[error("no camera {0}")]
    NoCamera(CameraKey),
    /// Nothing is recorded there.
    #[error("camera {camera} has no footage from {} to {}", range.start(), range.end())]
    NoFootage {
        /// Which camera.
        camera: CameraKey,
        /// What was asked.
        range: TimeRange,
    },
    /// No one decoder plays all of it.
    #[error("the footage of camera {camera} there is {} files, as its coding or the size of its picture changes: ask for one part", parts.len())]
    SeveralParts {
        /// Which camera.
        camera: CameraKey,
        /// What there is.
        parts: Vec<mp4::Part>,
    },
    /// All that is recorded there is missing or damaged.
    #[error(
        "all footage of camera {camera} from {} to {} is missing or damaged (packs: {}); run `vigie fsck --repair`",
        range.start(), range.end(), holes.len()
    )]
    Lost {
        /// Which camera.
        camera: CameraKey,
        /// What was asked.
        range: TimeRange,
        /// What is left out: all of it.
        holes: Vec<holes::Hole>,
    },
    /// The question cannot be answered as put; says how to put it.
    #[error("{0}")]
    Invalid(String),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A pack could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No decoder is started for a picture of this size.
    #[error("snapshot: the picture has {width}x{height} pixels, more than a decoder is started for")]
    PictureTooLarge {
        /// In pixels.
        width: u16,
        /// In pixels.
        height: u16,
    },
    /// No decoder for snapshots, or it failed.
    #[error("snapshot: {0}")]
    Decoder(String),
}

impl Failure for RetrieveError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoCamera(_) | Self::NoFootage { .. } => Kind::NotFound,
            // Its key may come back.
            Self::Lost { holes, .. } if holes.iter().any(|hole| hole.why == Unreadable::NoKey) => Kind::Denied,
            Self::Lost { .. } => Kind::Corrupt,
            Self::SeveralParts { .. } => Kind::Conflict,
            Self::Invalid(_) => Kind::Invalid,
            Self::Index(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::PictureTooLarge { .. } | Self::Decoder(_) => Kind::Internal,
        }
    }
}

impl RetrieveError {
    /// Of a range of which these holes are all that there is. What was destroyed is no longer on record.
    fn nothing_left(camera: CameraKey, range: TimeRange, holes: Vec<holes::Hole>) -> Self {
        if holes.iter().all(|hole| hole.why == Unreadable::Destroyed) {
            return Self::NoFootage { camera, range };
        }
        Self::Lost { camera, range, holes }
    }
}

/// Refuses ranges longer than a day and its margins.
fn within_hours_max(range: TimeRange) -> Result<(), RetrieveError> {
    if range.duration().0 > CLIP_HOURS_MAX * 3600 * TICKS_PER_SECOND {
        return Err(RetrieveError::Invalid(format!(
            "one request covers at most {CLIP_HOURS_MAX} hours: ask for a shorter range, or several one after the other"
        )));
    }
    Ok(())
}

/// The bytes of these ranges, or an error when the pack gives fewer or more.
fn exactly(
    packs: &Archive,
    pack: PackRef,
    ranges: Vec<Range<u64>>,
) -> BoxStream<'static, Result<Bytes, RetrieveError>> {
    let wanted: u64 = ranges.iter().map(|r| r.end - r.start).sum();
    let end = ranges.last().map_or(0, |r| r.end);
    let bytes = packs.stream(&pack, ranges);
    let checked = stream::unfold((bytes, Some(wanted)), move |(mut bytes, left)| async move {
        let left = left?;
        let wrong = || {
            let what = "it does not have the bytes that its table promises".to_owned();
            RetrieveError::Read(PackError::Malformed { offset: end - left, what }.into())
        };
        match bytes.next().await {
            Some(Ok(chunk)) => match left.checked_sub(chunk.len() as u64) {
                Some(left) => Some((Ok(chunk), (bytes, Some(left)))),
                None => Some((Err(wrong()), (bytes, None))),
            },
            Some(Err(e)) => Some((Err(e.into()), (bytes, None))),
            None if left > 0 => Some((Err(wrong()), (bytes, None))),
            None => None,
        }
    });
    checked.boxed()
}

/// A range of a pack's bytes, and its id where it is all of a fragment's samples.
type Piece = (Range<u64>, Option<FragmentId>);

/// The bytes of these ranges of a pack; where it compares, those of whole fragments with their ids before they are handed on.
fn compared(
    packs: &Archive,
    pack: PackRef,
    pieces: Vec<Piece>,
    compares: bool,
    looks: &holes::Looks,
) -> BoxStream<'static, Result<Bytes, RetrieveError>> {
    let key = packs.key_to_compare(&pack).filter(|_| compares);
    let (id, looks) = (pack.id, looks.clone());
    let bytes = exactly(packs, pack, pieces.iter().map(|(range, _)| range.clone()).collect());
    let state = (bytes, BytesMut::new(), VecDeque::from(pieces), key, looks);
    let compared = stream::try_unfold(state, move |(mut bytes, mut rest, mut pieces, key, looks)| async move {
        let Some((range, want)) = pieces.pop_front() else { return Ok(None) };
        let len = (range.end - range.start) as usize;
        while rest.len() < len {
            match bytes.next().await {
                Some(Ok(some)) => rest.extend_from_slice(&some),
                Some(Err(error)) => {
                    looks.look_at(id);
                    return Err(error);
                }
                None => break,
            }
        }
        let piece = rest.split_to(len.min(rest.len())).freeze();
        if let (Some(key), Some(want)) = (&key, want) {
            let got = key.id_of(&piece);
            if got != want && !key.had_id(&piece, want) {
                looks.look_at(id);
                return Err(ReadError::Pack(PackError::Corrupt { offset: range.start, want, got }).into());
            }
        }
        Ok(Some((piece, (bytes, rest, pieces, key, looks))))
    });
    compared.boxed()
}
