//! An open session's items, pulled straight from the socket: no task, no channel, no timer an access unit.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::runtime::Handle;

use crate::clock::Clock;
use crate::media::{AccessUnit, Params, Track, VideoCodec, VideoParams};
use crate::source::{Item, SourceError};
use crate::units::WallTime;

use super::direct::Reader;
use super::failure::Failures;
use super::watchdog::Watchdog;

/// What a session yields, as it comes from a depacketiser.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Picture(Coded),
    Sound(Coded),
    /// A sender report of the video stream.
    Report {
        timestamp: i64,
        /// NTP time; 0 from a camera without a clock.
        ntp: u64,
    },
}

/// A picture or a sound frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Coded {
    pub(super) timestamp: i64,
    pub(super) data: Bytes,
    pub(super) lost_packets: u32,
    /// Set where it needs another sample description than those before it may have needed.
    pub(super) new_params: Option<VideoParams>,
}

/// The stream of a session's items.
pub(super) struct Items {
    /// `None` once the session has ended.
    reader: Option<Box<Reader>>,
    /// The first picture, when the session had to wait for its parameter sets.
    first: Option<Coded>,
    codec: VideoCodec,
    params: Arc<Params>,
    clock: Arc<dyn Clock>,
    watchdog: Watchdog,
    failures: Failures,
    runtime: Handle,
}

impl Items {
    #[expect(clippy::too_many_arguments, reason = "each is a part of the one session that this is")]
    pub(super) fn new(
        reader: Box<Reader>,
        first: Option<Coded>,
        codec: VideoCodec,
        params: Arc<Params>,
        clock: Arc<dyn Clock>,
        silence_max: Duration,
        failures: Failures,
    ) -> Self {
        let watchdog = Watchdog::new(silence_max, clock.read().mono);
        let runtime = Handle::current();
        Self { reader: Some(reader), first, codec, params, clock, watchdog, failures, runtime }
    }

    fn picture(&mut self, picture: Coded) -> Item {
        let received = self.clock.read();
        self.watchdog.hear(received.mono);
        let Coded { timestamp, data, lost_packets, new_params } = picture;
        let new_params = new_params.and_then(|video| self.changed(video));
        Item::AccessUnit(AccessUnit {
            track: Track::Video,
            timestamp,
            random_access: begins_random_access(self.codec, &data),
            data,
            lost_packets,
            received,
            new_params,
        })
    }

    fn changed(&mut self, video: VideoParams) -> Option<Arc<Params>> {
        if video == self.params.video {
            return None;
        }
        self.params = Arc::new(Params { video, audio: self.params.audio.clone() });
        Some(self.params.clone())
    }

    fn sound(&self, sound: Coded) -> Item {
        let Coded { timestamp, data, lost_packets, .. } = sound;
        Item::AccessUnit(AccessUnit {
            track: Track::Audio,
            timestamp,
            data,
            random_access: false,
            lost_packets,
            received: self.clock.read(),
            new_params: None,
        })
    }

    fn end(&mut self, error: SourceError) -> Poll<Option<Result<Item, SourceError>>> {
        self.reader = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Items {
    type Item = Result<Item, SourceError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(picture) = this.first.take() {
            return Poll::Ready(Some(Ok(this.picture(picture))));
        }
        loop {
            let Some(reader) = &mut this.reader else { return Poll::Ready(None) };
            let item = match reader.poll(cx) {
                Poll::Ready(Ok(Heard::Picture(picture))) => this.picture(picture),
                Poll::Ready(Ok(Heard::Sound(sound))) => this.sound(sound),
                // A camera without a clock sends zero (RFC 3550 §6.4.1).
                Poll::Ready(Ok(Heard::Report { ntp: 0, .. })) => continue,
                Poll::Ready(Ok(Heard::Report { timestamp, ntp })) => {
                    Item::SenderReport { timestamp, camera_time: WallTime::from_ntp(ntp), received: this.clock.read() }
                }
                Poll::Ready(Err(end)) => {
                    let error = this.failures.end(end);
                    return this.end(error);
                }
                Poll::Pending => {
                    std::task::ready!(this.watchdog.poll(cx, &*this.clock));
                    let error = this.failures.silent(this.watchdog.silence_max);
                    return this.end(error);
                }
            };
            return Poll::Ready(Some(Ok(item)));
        }
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        // TEARDOWN is spawned when the reader is dropped, which panics outside a runtime.
        let _inside = self.runtime.enter();
        self.reader = None;
    }
}

/// Whether a picture begins with the first slice of an IDR (H.264 §7.4.1.2.4) or IRAP picture (H.265 §3.69).
///
/// retina's own flag is not used: it says no to CRA pictures, on which open-GOP encoders rely, and yes to an access
/// unit without any slice or whose first slice was lost.
fn begins_random_access(codec: VideoCodec, data: &[u8]) -> bool {
    let mut rest = data;
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((nal, next)) = body.split_at_checked(length) else { return false };
        // Of a slice header, only the first bit is read: `first_mb_in_slice` is 0 as ue(v) exactly when it is set
        // (H.264 §7.3.3), and it is `first_slice_segment_in_pic_flag` itself (H.265 §7.3.6.1).
        let (slice, wanted, header) = match (codec, nal) {
            (_, []) => (false, false, 0),
            (VideoCodec::H264, [h, ..]) => ((1..=5).contains(&(h & 0x1f)), h & 0x1f == 5, 1),
            (VideoCodec::H265, [h, ..]) => ((h >> 1) & 0x3f < 32, (16..=23).contains(&((h >> 1) & 0x3f)), 2),
        };
        if slice {
            return wanted && nal.get(header).is_some_and(|b| b & 0x80 != 0);
        }
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(codec: VideoCodec, nals: &[&[u8]], expect: bool) {
        let mut data = Vec::new();
        for nal in nals {
            data.extend_from_slice(&u32::try_from(nal.len()).expect("short").to_be_bytes());
            data.extend_from_slice(nal);
        }
        assert_eq!(begins_random_access(codec, &data), expect, "{codec:?} {nals:02x?}");
    }

    #[test]
    fn a_random_access_point_is_a_whole_idr_or_irap_picture() {
        use VideoCodec::{H264, H265};
        check(H264, &[&[0x65, 0x88]], true);
        check(H264, &[&[0x09, 0xf0], &[0x06, 0x05, 0x01], &[0x65, 0x88], &[0x65, 0x00, 0x44]], true);
        check(H264, &[&[0x41, 0x9a]], false);
        // Its first slice was lost.
        check(H264, &[&[0x65, 0x00, 0x44]], false);
        // No slice at all.
        check(H264, &[&[0x09, 0xf0]], false);
        check(H264, &[], false);
        check(H264, &[&[], &[0x65]], false);
        check(H265, &[&[19 << 1, 1, 0xaf]], true);
        check(H265, &[&[20 << 1, 1, 0xaf]], true);
        // CRA, as open-GOP encoders send.
        check(H265, &[&[35 << 1, 1, 0x50], &[21 << 1, 1, 0xaf]], true);
        check(H265, &[&[19 << 1, 1, 0x2f]], false);
        check(H265, &[&[1 << 1, 1, 0xd0]], false);
    }

    #[test]
    fn lengths_that_lie_are_no_random_access_point() {
        assert!(!begins_random_access(VideoCodec::H264, &[0xff, 0xff, 0xff, 0xff, 0x65, 0x88]));
        assert!(!begins_random_access(VideoCodec::H265, &[0, 0, 0]));
    }
}
