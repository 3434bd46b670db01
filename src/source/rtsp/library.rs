//! retina's sessions: over UDP, with sound, and with whatever a camera does beside the standards.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use retina::client::Demuxed;
use retina::codec::{AudioFrame, CodecItem, VideoFrame};
use retina::rtcp::ReceivedCompoundPacket;

use crate::media::VideoParams;

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
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, End>> {
        loop {
            // Unwind-safe: after a panic the session is only dropped, which tears it down.
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.demuxed).poll_next(cx)));
            let heard = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(Some(Ok(CodecItem::VideoFrame(frame))))) => {
                    self.joined = true;
                    match self.coded(frame) {
                        Ok(picture) => Some(Heard::Picture(picture)),
                        Err(end) => return Poll::Ready(Err(end)),
                    }
                }
                Ok(Poll::Ready(Some(Ok(CodecItem::AudioFrame(frame))))) => Some(Heard::Sound(sound(&frame))),
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

    fn coded(&mut self, frame: VideoFrame) -> Result<Coded, End> {
        let is_new = frame.has_new_parameters() || !self.described;
        let new_params = if is_new && self.has_sets() { Some(self.params().ok_or(End::Undescribed)?) } else { None };
        self.described |= new_params.is_some();
        Ok(Coded {
            timestamp: frame.timestamp().timestamp(),
            lost_packets: u32::from(frame.loss()),
            new_params,
            data: Bytes::from(frame.into_data()),
        })
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

fn sound(frame: &AudioFrame) -> Coded {
    Coded {
        timestamp: frame.timestamp().timestamp(),
        lost_packets: u32::from(frame.loss()),
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
