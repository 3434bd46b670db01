//! Footage out: timeline, progressive MP4, HLS, snapshot.
//!
//! Invariant: sample bytes are copied as stored, never transcoded; boxes are written around them. Snapshots alone
//! decode, in a process of their own.

use std::sync::Arc;

use crate::clock::Clock;
use crate::index::{Index, IndexError};
use crate::packs::{Packs, ReadError};
use crate::units::{CameraKey, TimeRange};

pub mod hls;
pub mod mp4;
pub mod snapshot;
#[cfg(test)]
mod testing;
pub mod timeline;
mod walk;

/// What retrieval reads from; cheap to clone.
#[derive(Clone, Debug)]
pub struct Footage {
    /// Where things lie.
    pub index: Index,
    /// Their bytes.
    pub packs: Packs,
    /// What time it is, for what is live.
    pub clock: Arc<dyn Clock>,
}

impl Footage {
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
    /// No decoder for snapshots, or it failed.
    #[error("snapshot: {0}")]
    Decoder(String),
}
