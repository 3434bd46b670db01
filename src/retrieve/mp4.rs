//! A time range as one progressive MP4: `moov` first, exact length, any byte range on demand.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;

use super::{Footage, RetrieveError};
use crate::units::{CameraKey, TimeRange};

/// Longest clip, in hours.
pub const CLIP_HOURS_MAX: i64 = 25;

/// A clip ready to be sent: its boxes in memory, its samples still in their packs.
#[derive(Debug)]
pub struct Clip {}

impl Clip {
    /// Lays out a clip: reads fragment tables, no samples.
    pub async fn new(_footage: &Footage, _camera: &CameraKey, _range: TimeRange) -> Result<Arc<Self>, RetrieveError> {
        todo!()
    }

    /// Exact length in bytes.
    pub fn len(&self) -> u64 {
        todo!()
    }

    /// A clip has at least its boxes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Strong entity tag, quotes included: equal for equal bytes, different for different ones (RFC 9110 §8.8.3).
    pub fn etag(&self) -> &str {
        todo!()
    }

    /// What it covers, to the frame: the asked range less what is missing at its ends.
    pub fn covers(&self) -> TimeRange {
        todo!()
    }

    /// These bytes of it.
    pub fn body(self: &Arc<Self>, _range: Range<u64>) -> BoxStream<'static, Result<Bytes, RetrieveError>> {
        todo!()
    }
}
