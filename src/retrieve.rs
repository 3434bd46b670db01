//! Footage out: timeline, progressive MP4, HLS, snapshot.
//!
//! Invariant: sample bytes are copied as stored, never transcoded; boxes are written around them. Snapshots alone
//! decode, in a process of their own.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use crate::archive::{Archive, PackRef, ReadError};
use crate::clock::Clock;
use crate::index::{Index, IndexError};
use crate::pack::PackError;
use crate::units::{CameraKey, TICKS_PER_SECOND, TimeRange};

pub mod hls;
pub mod mp4;
mod select;
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
}

impl Footage {
    /// Over this index and these packs.
    pub fn new(index: Index, packs: Archive, clock: Arc<dyn Clock>) -> Self {
        Self { index, packs, clock, live: hls::LiveWindows::default() }
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
