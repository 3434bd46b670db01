//! The camera whose footage the benchmarks make.

use std::sync::Arc;

use bytes::Bytes;
use footage::media::{Params, VideoCodec, VideoParams};

/// 1080p in H.264.
pub(crate) fn params() -> Arc<Params> {
    let video = VideoParams {
        codec: VideoCodec::H264,
        width: 1920,
        height: 1080,
        sample_entry: Bytes::from_static(b"\0\0\0\x08avc1"),
        rfc6381: "avc1.640028".into(),
    };
    Arc::new(Params { video, audio: None })
}
