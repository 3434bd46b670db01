//! An open session's items, pulled straight from the socket: no task, no channel, no timer an access unit.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use retina::client::Demuxed;
use retina::codec::{AudioFrame, CodecItem, VideoFrame};
use retina::rtcp::ReceivedCompoundPacket;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep};

use crate::clock::Clock;
use crate::media::{AccessUnit, Params, Track, VideoCodec};
use crate::source::{Item, SourceError};
use crate::units::WallTime;

use super::failure::{End, Failures, panic_message};
use super::params::Choice;

/// A second look, this long after the alarm: a task whose tokio budget is spent sees every socket empty once.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// retina's stream, with the rest of a picture that was under way when we joined passed over, and panics caught.
pub(super) struct Feed {
    demuxed: Demuxed,
    joined: bool,
}

impl Feed {
    pub(super) fn new(demuxed: Demuxed) -> Self {
        Self { demuxed, joined: false }
    }

    pub(super) fn streams(&self) -> &[retina::client::Stream] {
        self.demuxed.streams()
    }

    /// The first picture after which the parameter sets are known; nothing before it can be decoded. The number is
    /// that of the packets lost before, and not counted in the picture's own.
    pub(super) async fn first_described_picture(&mut self, stream: usize) -> Result<(VideoFrame, u32), End> {
        let mut lost = 0;
        loop {
            if let CodecItem::VideoFrame(picture) = poll_fn(|cx| self.poll(cx)).await? {
                if self.streams()[stream].parameters().is_some() {
                    return Ok((picture, lost));
                }
                lost += u32::from(picture.loss());
            }
        }
    }

    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<CodecItem, End>> {
        loop {
            // Unwind-safe: after a panic the session is only dropped, which tears it down.
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.demuxed).poll_next(cx)));
            return Poll::Ready(match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(Some(Ok(item)))) => {
                    self.joined |= matches!(item, CodecItem::VideoFrame(_));
                    Ok(item)
                }
                Ok(Poll::Ready(Some(Err(error)))) if !self.joined && is_rest_of_picture(&error) => continue,
                Ok(Poll::Ready(Some(Err(error)))) => Err(End::Error(error)),
                Ok(Poll::Ready(None)) => Err(End::Closed),
                Err(panic) => Err(End::Panic(panic_message(panic.as_ref()))),
            });
        }
    }
}

/// A server that streams one encoder to all may start in the middle of a fragmented picture (RFC 6184 §5.8,
/// RFC 7798 §4.4.3).
fn is_rest_of_picture(error: &retina::Error) -> bool {
    error.status_code().is_none() && error.to_string().contains("has start bit unset while no frag in progress")
}

/// Watches for silence with one timer, which is looked at when there is nothing else to do and set again only when
/// it has gone off.
struct Watchdog {
    alarm: Pin<Box<Sleep>>,
    silence_max: Duration,
    /// Monotonic time of the last picture.
    heard: Duration,
    overdue: bool,
}

impl Watchdog {
    fn new(silence_max: Duration, now: Duration) -> Self {
        Self { alarm: Box::pin(sleep(silence_max)), silence_max, heard: now, overdue: false }
    }

    fn hear(&mut self, now: Duration) {
        self.heard = now;
        self.overdue = false;
    }

    /// Ready when it has been silent for too long.
    fn poll(&mut self, cx: &mut Context<'_>, clock: &dyn Clock) -> Poll<()> {
        // Not `poll` alone: it stays pending while the task's tokio budget is spent, which is for ever when a camera
        // floods us with what is no picture.
        while self.alarm.is_elapsed() || self.alarm.as_mut().poll(cx).is_ready() {
            let now = clock.read().mono;
            let left = self.silence_max.saturating_sub(now.saturating_sub(self.heard));
            if left.is_zero() && self.overdue {
                return Poll::Ready(());
            }
            self.overdue = left.is_zero();
            self.alarm.as_mut().reset(Instant::now() + left.max(SECOND_LOOK));
        }
        Poll::Pending
    }
}

/// The stream of a session's items.
pub(super) struct Items {
    /// `None` once the session has ended.
    feed: Option<Feed>,
    /// The first picture and the packets lost before it, when the session had to wait for its parameter sets.
    first: Option<(VideoFrame, u32)>,
    choice: Choice,
    params: Arc<Params>,
    clock: Arc<dyn Clock>,
    watchdog: Watchdog,
    failures: Failures,
    runtime: Handle,
}

impl Items {
    pub(super) fn new(
        feed: Feed,
        first: Option<(VideoFrame, u32)>,
        choice: Choice,
        params: Arc<Params>,
        clock: Arc<dyn Clock>,
        silence_max: Duration,
        failures: Failures,
    ) -> Self {
        let watchdog = Watchdog::new(silence_max, clock.read().mono);
        Self { feed: Some(feed), first, choice, params, clock, watchdog, failures, runtime: Handle::current() }
    }

    fn picture(&mut self, frame: VideoFrame, lost_before: u32) -> Item {
        let received = self.clock.read();
        self.watchdog.hear(received.mono);
        let new_params = if frame.has_new_parameters() { self.changed_params() } else { None };
        let timestamp = frame.timestamp().timestamp();
        let lost_packets = u32::from(frame.loss()) + lost_before;
        let data = Bytes::from(frame.into_data());
        Item::AccessUnit(AccessUnit {
            track: Track::Video,
            timestamp,
            random_access: begins_random_access(self.choice.video.codec, &data),
            data,
            lost_packets,
            received,
            new_params,
        })
    }

    fn changed_params(&mut self) -> Option<Arc<Params>> {
        let video = self.choice.video.params(self.feed.as_ref()?.streams())?;
        if video == self.params.video {
            return None;
        }
        self.params = Arc::new(Params { video, audio: self.params.audio.clone() });
        Some(self.params.clone())
    }

    fn sound(&self, frame: &AudioFrame) -> Item {
        Item::AccessUnit(AccessUnit {
            track: Track::Audio,
            timestamp: frame.timestamp().timestamp(),
            // retina does not give this buffer away; a sound frame is small.
            data: Bytes::copy_from_slice(frame.data()),
            random_access: false,
            lost_packets: u32::from(frame.loss()),
            received: self.clock.read(),
            new_params: None,
        })
    }

    fn sender_report(&self, packet: &ReceivedCompoundPacket) -> Option<Item> {
        if packet.stream_id() != self.choice.video.stream {
            return None;
        }
        let timestamp = packet.rtp_timestamp()?.timestamp();
        let report = packet.pkts().next()?.as_sender_report().ok()??;
        let ntp = report.ntp_timestamp().0;
        // A camera without a clock sends zero (RFC 3550 §6.4.1).
        (ntp != 0).then(|| Item::SenderReport {
            timestamp,
            camera_time: WallTime::from_ntp(ntp),
            received: self.clock.read(),
        })
    }

    fn end(&mut self, error: SourceError) -> Poll<Option<Result<Item, SourceError>>> {
        self.feed = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Items {
    type Item = Result<Item, SourceError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some((frame, lost_before)) = this.first.take() {
            return Poll::Ready(Some(Ok(this.picture(frame, lost_before))));
        }
        loop {
            let Some(feed) = &mut this.feed else { return Poll::Ready(None) };
            let item = match feed.poll(cx) {
                Poll::Ready(Ok(CodecItem::VideoFrame(frame))) => this.picture(frame, 0),
                Poll::Ready(Ok(CodecItem::AudioFrame(frame))) => this.sound(&frame),
                Poll::Ready(Ok(CodecItem::Rtcp(packet))) => match this.sender_report(&packet) {
                    Some(report) => report,
                    None => continue,
                },
                Poll::Ready(Ok(_)) => continue,
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
        // retina spawns its TEARDOWN when dropped, which would be a panic outside a runtime.
        let _inside = self.runtime.enter();
        self.feed = None;
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
