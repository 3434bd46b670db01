//! One picture at an instant, as JPEG: the GOP is decoded by ffmpeg in a process of its own.

use bytes::Bytes;

use super::{Footage, RetrieveError};
use crate::units::{CameraKey, WallTime};

/// A picture.
#[derive(Debug)]
pub struct Snapshot {
    /// JFIF bytes.
    pub jpeg: Bytes,
    /// When the picture was filmed: at or before the instant asked for.
    pub at: WallTime,
}

/// The picture that was shown at `at`.
pub async fn snapshot(_footage: &Footage, _camera: &CameraKey, _at: WallTime) -> Result<Snapshot, RetrieveError> {
    todo!()
}
