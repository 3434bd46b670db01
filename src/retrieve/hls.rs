//! HLS (RFC 8216) over the stored fragments, byte for byte: VOD of a range, and live.

use bytes::Bytes;
use futures::stream::BoxStream;

use super::{Footage, RetrieveError};
use crate::units::{CameraKey, PackId, TimeRange};

/// Playlist of a past range. Its URIs are relative: `{pack}/init.mp4` and `{pack}/{first}-{last}.m4s`.
pub async fn vod_playlist(_footage: &Footage, _camera: &CameraKey, _range: TimeRange) -> Result<String, RetrieveError> {
    todo!()
}

/// Playlist of what is being recorded now.
pub async fn live_playlist(_footage: &Footage, _camera: &CameraKey) -> Result<String, RetrieveError> {
    todo!()
}

/// A pack's initialisation segment.
pub async fn init_segment(_footage: &Footage, _camera: &CameraKey, _pack: PackId) -> Result<Bytes, RetrieveError> {
    todo!()
}

/// Bytes with their exact length.
pub struct Sized {
    /// Length in bytes.
    pub len: u64,
    /// The bytes.
    pub body: BoxStream<'static, Result<Bytes, RetrieveError>>,
}

/// Fragments `first..=last` of a pack, byte for byte as they lie in it.
pub async fn media_segment(
    _footage: &Footage,
    _camera: &CameraKey,
    _pack: PackId,
    _first: u32,
    _last: u32,
) -> Result<Sized, RetrieveError> {
    todo!()
}
