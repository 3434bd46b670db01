//! retina's sessions: over UDP, with sound, and with whatever a camera does beside the standards.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use retina::client::Demuxed;
use retina::codec::{AudioFrame, CodecItem, VideoFrame};
use retina::rtcp::ReceivedCompoundPacket;

use crate::clock::{Clock, Reading};
use crate::media::{VideoCodec, VideoParams};

use super::failure::{End, panic_message};
use super::items::{Coded, Heard};
use super::params::VideoStream;

/// retina's stream, with the rest of a picture that was under way when we joined passed over, and panics caught.
pub(super) struct Library {
    demuxed: Demuxed,
    video: VideoStream,
    /// The sample description is known.
    described: bool,
    joined: bool,
}

impl Library {
    pub(super) fn new(demuxed: Demuxed, video: VideoStream) -> Self {
        let mut library = Self { demuxed, video, described: false, joined: false };
        library.described = library.params().is_some();
        library
    }

    /// The sample description as of the last picture, once the parameter sets are known.
    pub(super) fn params(&self) -> Option<VideoParams> {
        self.video.params(self.demuxed.streams())
    }

    fn has_sets(&self) -> bool {
        self.demuxed.streams().get(self.video.stream).is_some_and(|stream| stream.parameters().is_some())
    }

    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, clock: &dyn Clock) -> Poll<Result<Heard, End>> {
        loop {
            // Unwind-safe: after a panic the session is only dropped, which tears it down.
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.demuxed).poll_next(cx)));
            let heard = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(Some(Ok(CodecItem::VideoFrame(frame))))) => {
                    self.joined = true;
                    match self.coded(frame, clock.read()) {
                        Ok(picture) => Some(Heard::Picture(picture)),
                        Err(end) => return Poll::Ready(Err(end)),
                    }
                }
                Ok(Poll::Ready(Some(Ok(CodecItem::AudioFrame(frame))))) => Some(Heard::Sound(sound(&frame, clock.read()))),
                Ok(Poll::Ready(Some(Ok(CodecItem::Rtcp(packet))))) => self.report(&packet),
                Ok(Poll::Ready(Some(Ok(_)))) => None,
                Ok(Poll::Ready(Some(Err(error)))) if !self.joined && is_rest_of_picture(&error) => None,
                Ok(Poll::Ready(Some(Err(error)))) => return Poll::Ready(Err(End::Library(error))),
                Ok(Poll::Ready(None)) => return Poll::Ready(Err(End::Closed)),
                Err(panic) => return Poll::Ready(Err(End::Panic(panic_message(panic.as_ref())))),
            };
            if let Some(heard) = heard {
                return Poll::Ready(Ok(heard));
            }
        }
    }

    fn coded(&mut self, frame: VideoFrame, received: Reading) -> Result<Coded, End> {
        let is_new = frame.has_new_parameters() || !self.described;
        let new_params = if is_new && self.has_sets() { Some(self.params().ok_or(End::Undescribed)?) } else { None };
        self.described |= new_params.is_some();
        let (timestamp, lost_packets) = (frame.timestamp().timestamp(), u32::from(frame.loss()));
        let data = Bytes::from(frame.into_data());
        let random_access = begins_random_access(self.video.codec, &data);
        Ok(Coded { timestamp, lost_packets, random_access, received, new_params, data })
    }

    fn report(&self, packet: &ReceivedCompoundPacket) -> Option<Heard> {
        if packet.stream_id() != self.video.stream {
            return None;
        }
        let timestamp = packet.rtp_timestamp()?.timestamp();
        let report = packet.pkts().next()?.as_sender_report().ok()??;
        Some(Heard::Report { timestamp, ntp: report.ntp_timestamp().0 })
    }
}

fn sound(frame: &AudioFrame, received: Reading) -> Coded {
    Coded {
        timestamp: frame.timestamp().timestamp(),
        lost_packets: u32::from(frame.loss()),
        random_access: false,
        received,
        new_params: None,
        // retina does not give this buffer away; a sound frame is small.
        data: Bytes::copy_from_slice(frame.data()),
    }
}

/// A server that streams one encoder to all may start in the middle of a fragmented picture (RFC 6184 §5.8,
/// RFC 7798 §4.4.3).
fn is_rest_of_picture(error: &retina::Error) -> bool {
    error.status_code().is_none() && error.to_string().contains("has start bit unset while no frag in progress")
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
