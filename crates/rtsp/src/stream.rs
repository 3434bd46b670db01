//! An open session's items, pulled straight from the socket: no task, no channel, no timer an access unit.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::runtime::Handle;

use footage::clock::{Clock, Reading};
use footage::media::{AccessUnit, Oddity, OddityCounts, Params, Track, VideoParams};
use footage::source::{Item, SourceError};
use footage::units::WallTime;

use super::direct::Reader;
use super::failure::Failures;
use super::watchdog::Watchdog;

/// How often what is odd is given out: a count, and not a line a packet.
const ODD_EVERY: Duration = Duration::from_secs(1);
/// A camera that has sent no random access point for so long is recorded from its next picture. Most send one as soon as
/// they are asked, or within two seconds.
const FIRST_RANDOM_ACCESS_WITHIN: Duration = Duration::from_secs(5);
/// And so is one whose last random access point is so long ago: a pack has to begin somewhere.
const RANDOM_ACCESS_WITHIN: Duration = Duration::from_secs(300);

/// What a session yields, as it comes from a depacketiser.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MediaEvent {
    Picture(CodedFrame),
    Sound(CodedFrame),
    /// A sender report of the video stream.
    SenderReport {
        timestamp: i64,
        /// NTP time; 0 from a camera without a clock.
        ntp: u64,
    },
    /// What a replay says of the picture with this timestamp; before the picture.
    Mark {
        timestamp: i64,
        mark: ReplayMark,
    },
}

/// What the header extension of a replayed packet says of its picture (ONVIF Streaming Specification §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplayMark {
    /// When it was filmed, by the camera's clock.
    pub(super) ntp: u64,
    /// What came before it is not on the card.
    pub(super) follows_hole: bool,
    /// Nothing more is to come.
    pub(super) is_last: bool,
}

/// A picture or a sound frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CodedFrame {
    pub(super) timestamp: i64,
    pub(super) data: Bytes,
    pub(super) lost_packets: u32,
    /// A decoder may begin here.
    pub(super) random_access: bool,
    /// When its last packet came.
    pub(super) received: Reading,
    /// Set where it needs another sample description than those before it may have needed.
    pub(super) new_params: Option<VideoParams>,
}

/// The stream of a session's items.
pub(super) struct MediaStream {
    /// `None` once the session has ended.
    reader: Option<Box<Reader>>,
    /// The first picture, when the session had to wait for its parameter sets.
    first: Option<CodedFrame>,
    params: Arc<Params>,
    clock: Arc<dyn Clock>,
    watchdog: Watchdog,
    failures: Failures,
    runtime: Handle,
    access: Access,
    odd: OddityCounts,
    /// When what was odd was last given out, on the monotonic clock.
    odd_told: Option<Duration>,
    /// What comes when the session is over.
    last: VecDeque<Result<Item, SourceError>>,
}

/// Where recording may begin, in a stream with few random access points or none.
#[derive(Debug, Default)]
struct Access {
    /// Of the last random access point, or of the first picture.
    last: Option<Duration>,
    found: bool,
}

impl Access {
    /// Whether a picture that came now is taken for a random access point.
    fn begins(&mut self, random_access: bool, now: Duration, odd: &mut OddityCounts) -> bool {
        let last = *self.last.get_or_insert(now);
        let wait = if self.found { RANDOM_ACCESS_WITHIN } else { FIRST_RANDOM_ACCESS_WITHIN };
        if !random_access && now.saturating_sub(last) < wait {
            return false;
        }
        if !random_access {
            odd.add(Oddity::NoRandomAccessPoint);
        }
        self.last = Some(now);
        self.found = true;
        true
    }
}

impl MediaStream {
    pub(super) fn new(
        reader: Box<Reader>,
        first: Option<CodedFrame>,
        params: Arc<Params>,
        clock: Arc<dyn Clock>,
        silence_max: Duration,
        failures: Failures,
    ) -> Self {
        let watchdog = Watchdog::new(silence_max, clock.read().mono);
        let runtime = Handle::current();
        Self {
            reader: Some(reader),
            first,
            params,
            clock,
            watchdog,
            failures,
            runtime,
            access: Access::default(),
            odd: OddityCounts::default(),
            odd_told: None,
            last: VecDeque::new(),
        }
    }

    fn picture(&mut self, picture: CodedFrame) -> Item {
        let CodedFrame { timestamp, data, lost_packets, random_access, received, new_params } = picture;
        self.watchdog.hear(received.mono);
        let new_params = new_params.and_then(|video| self.changed(video));
        let random_access = self.access.begins(random_access, received.mono, &mut self.odd);
        Item::AccessUnit(AccessUnit {
            track: Track::Video,
            timestamp,
            random_access,
            data,
            lost_packets,
            received,
            new_params,
        })
    }

    /// What has been odd, once a while, and at the end.
    fn oddities(&mut self, at_end: bool) -> Option<Item> {
        if let Some(reader) = &mut self.reader {
            self.odd.take_from(reader.odd());
        }
        if self.odd.total() == 0 {
            return None;
        }
        let now = self.clock.read().mono;
        if !at_end && self.odd_told.is_some_and(|reported| now.saturating_sub(reported) < ODD_EVERY) {
            return None;
        }
        self.odd_told = Some(now);
        Some(Item::Oddities(std::mem::take(&mut self.odd)))
    }

    fn changed(&mut self, video: VideoParams) -> Option<Arc<Params>> {
        if video == self.params.video {
            return None;
        }
        self.params = Arc::new(Params { video, audio: self.params.audio.clone() });
        Some(self.params.clone())
    }

    fn sound(&self, sound: CodedFrame) -> Item {
        let CodedFrame { timestamp, data, lost_packets, received, .. } = sound;
        Item::AccessUnit(AccessUnit {
            track: Track::Audio,
            timestamp,
            data,
            random_access: false,
            lost_packets,
            received,
            new_params: None,
        })
    }

    /// The session is over: what is left of it comes before the error.
    fn end(&mut self, error: SourceError) {
        let clock = self.clock.clone();
        for event in self.reader.as_mut().map(|reader| reader.rest(&*clock)).unwrap_or_default() {
            let item = self.item(event);
            self.last.extend(item.map(Ok));
        }
        let odd = self.oddities(true);
        self.last.extend(odd.map(Ok));
        self.last.push_back(Err(error));
        self.reader = None;
    }

    fn item(&mut self, event: MediaEvent) -> Option<Item> {
        match event {
            MediaEvent::Picture(picture) => Some(self.picture(picture)),
            MediaEvent::Sound(sound) => Some(self.sound(sound)),
            // A camera without a clock sends zero (RFC 3550 §6.4.1). Marks are of replays alone.
            MediaEvent::SenderReport { ntp: 0, .. } | MediaEvent::Mark { .. } => None,
            MediaEvent::SenderReport { timestamp, ntp } => Some(Item::SenderReport {
                timestamp,
                camera_time: WallTime::from_ntp(ntp),
                received: self.clock.read(),
            }),
        }
    }
}

impl Stream for MediaStream {
    type Item = Result<Item, SourceError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(picture) = this.first.take() {
            return Poll::Ready(Some(Ok(this.picture(picture))));
        }
        loop {
            if let Some(odd) = this.reader.is_some().then(|| this.oddities(false)).flatten() {
                return Poll::Ready(Some(Ok(odd)));
            }
            let Some(reader) = &mut this.reader else { return Poll::Ready(this.last.pop_front()) };
            match reader.poll(cx, &*this.clock) {
                Poll::Ready(Ok(event)) => {
                    if let Some(item) = this.item(event) {
                        return Poll::Ready(Some(Ok(item)));
                    }
                }
                Poll::Ready(Err(end)) => {
                    let error = this.failures.end(end);
                    this.end(error);
                }
                Poll::Pending => {
                    std::task::ready!(this.watchdog.poll(cx, &*this.clock));
                    let error = this.failures.silent(this.watchdog.silence_max);
                    this.end(error);
                }
            }
        }
    }
}

impl Drop for MediaStream {
    fn drop(&mut self) {
        // TEARDOWN is spawned when the reader is dropped, which panics outside a runtime.
        let _inside = self.runtime.enter();
        self.reader = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pictures: &[(u64, bool)], begins: &[bool], forced: u64) {
        let (mut access, mut odd) = (Access::default(), OddityCounts::default());
        let got: Vec<_> =
            pictures.iter().map(|(at, random)| access.begins(*random, Duration::from_secs(*at), &mut odd)).collect();
        assert_eq!((got, odd.of(Oddity::NoRandomAccessPoint)), (begins.to_vec(), forced), "{pictures:?}");
    }

    #[test]
    fn a_stream_without_random_access_points_begins_all_the_same() {
        check(&[(0, true), (1, false), (8, false), (9, true)], &[true, false, false, true], 0);
        check(&[(0, false), (4, false), (5, false), (6, false)], &[false, false, true, false], 1);
        check(&[(0, false), (3, true), (299, false), (303, false)], &[false, true, false, true], 1);
    }
}
