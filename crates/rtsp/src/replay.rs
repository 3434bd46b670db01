//! What a camera recorded itself, replayed over RTSP (ONVIF Streaming Specification §6): as fast as it is read, each picture
//! with the time at which it was filmed by the camera's own clock.
//!
//! Invariant: a picture has the time that the packets of its own timestamp say, or none. A replay ends: with the camera's
//! word, with silence, or with the connection.
//! Absent on purpose: sound; reverse and trick play; any judgement of the camera's clock (the caller's).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use footage::clock::{Clock, Reading};
use footage::media::Params;
use footage::source::SourceError;
use footage::units::{Ticks90k, WallTime};

use super::direct::{self, Closing, Learnt, Reader, SetupError};
use super::failure::Failures;
use super::stream::{CodedFrame, MediaEvent, ReplayMark};
use super::watchdog::Watchdog;
use super::{RtspConfig, Transport};

/// Times that wait for their pictures: more than any coding delays.
const MARKS_MAX: usize = 256;

/// A stretch of the camera's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayRange {
    /// First instant.
    pub start: WallTime,
    /// Last instant.
    pub end: WallTime,
}

impl ReplayRange {
    /// As RFC 2326 §3.7 writes it.
    pub(crate) fn header(&self) -> String {
        let clock = |at: WallTime| {
            let at = at.to_timestamp();
            format!("{}.{:03}Z", at.strftime("%Y%m%dT%H%M%S"), at.subsec_nanosecond().max(0) / 1_000_000)
        };
        // To the millisecond, and nothing less than what is asked for.
        format!("clock={}-{}", clock(self.start), clock(self.end.saturating_add(Ticks90k(89))))
    }
}

/// Why there is no replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The camera has nothing of this range (457, RFC 2326 §11.3.8), or knows no ranges.
    #[error("the camera has no recording of that time")]
    Nothing,
    /// The session could not be opened.
    #[error(transparent)]
    Failed(#[from] SourceError),
}

/// A picture of the camera's own recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// As it is stored, each NAL unit after its length.
    pub data: Bytes,
    /// Sample descriptions that it needs.
    pub params: Arc<Params>,
    /// RTP timestamp, in ticks of 1/90000 s.
    pub timestamp: i64,
    /// When it was filmed, by the camera's own clock; none where the camera does not say.
    pub filmed: Option<WallTime>,
    /// A decoder may begin here.
    pub random_access: bool,
    /// What came before it is not on the card, or was lost on the way.
    pub follows_hole: bool,
    /// When it came.
    pub received: Reading,
}

/// A replay that plays.
pub struct Replay {
    /// `None` once it is over.
    reader: Option<Box<Reader>>,
    clock: Arc<dyn Clock>,
    watchdog: Watchdog,
    failures: Failures,
    /// The session is torn down on it.
    runtime: Handle,
    params: Option<Arc<Params>>,
    marks: VecDeque<(i64, ReplayMark)>,
    /// Timestamp of the last picture, once it is known.
    last: Option<i64>,
    rest: VecDeque<Replayed>,
    /// What comes after that.
    error: Option<SourceError>,
}

impl Replay {
    /// Opens a replay of a stretch of the camera's recording at the URL of `config`, over TCP and without sound, whatever
    /// that says.
    ///
    /// # Errors
    /// As [`footage::source::Source::open`], and [`ReplayError::Nothing`].
    pub async fn open(mut config: RtspConfig, range: ReplayRange, clock: Arc<dyn Clock>) -> Result<Self, ReplayError> {
        // Fails only for a URL without a host, which has no credentials either; the session then says what is wrong with it.
        let _ = config.url.set_username("").and_then(|()| config.url.set_password(None));
        (config.transport, config.audio) = (Transport::Tcp, false);
        let failures = Failures::new(&config);
        let (learnt, closing) = (Arc::<Learnt>::default(), Closing::default());
        let mut request = "";
        let mut step = |next| request = next;
        let opening = direct::open(&config, Some(range), &learnt, &closing, &mut step);
        let opened = match timeout_at(Instant::now() + config.setup_timeout, opening).await {
            Ok(Err(SetupError::Status { request: "PLAY", status: 457, .. })) => return Err(ReplayError::Nothing),
            Ok(opened) => opened.map_err(|error| failures.of(&error))?,
            Err(_) => return Err(failures.no_answer(request).into()),
        };
        let reader = Box::new(opened.reader);
        let params = reader.described().map(|video| Arc::new(Params { video, audio: None }));
        Ok(Self {
            reader: Some(reader),
            watchdog: Watchdog::new(config.silence_max, clock.read().mono),
            clock,
            failures,
            runtime: Handle::current(),
            params,
            marks: VecDeque::new(),
            last: None,
            rest: VecDeque::new(),
            error: None,
        })
    }

    /// The next picture that can be described; `None` when the camera has sent all.
    ///
    /// # Errors
    /// The connection ended, or nothing came for too long: a camera that does not say that it has sent all ends so too.
    pub async fn next(&mut self) -> Result<Option<Replayed>, SourceError> {
        loop {
            if let Some(picture) = self.rest.pop_front() {
                return Ok(Some(picture));
            }
            let Some(reader) = &mut self.reader else { return self.error.take().map_or(Ok(None), Err) };
            let (watchdog, clock) = (&mut self.watchdog, &*self.clock);
            let event = poll_fn(|cx| match reader.poll(cx, clock) {
                Poll::Ready(event) => Poll::Ready(Some(event)),
                Poll::Pending => watchdog.poll(cx, clock).map(|()| None),
            });
            match event.await {
                Some(Ok(event)) => {
                    let picture = self.taken(event);
                    self.rest.extend(picture);
                }
                Some(Err(end)) => self.end(Some(self.failures.end(end))),
                None => self.end(Some(self.failures.silent(self.watchdog.silence_max))),
            }
        }
    }

    /// Nothing more is read; what is left of it comes before the error.
    fn end(&mut self, error: Option<SourceError>) {
        let left = self.reader.take().map(|mut reader| reader.rest(&*self.clock)).unwrap_or_default();
        let left: Vec<Replayed> = left.into_iter().filter_map(|event| self.taken(event)).collect();
        self.rest.extend(left);
        self.error = error;
    }

    fn taken(&mut self, event: MediaEvent) -> Option<Replayed> {
        match event {
            MediaEvent::Mark { timestamp, mark } => {
                if mark.is_last {
                    self.last = Some(timestamp);
                }
                if self.marks.len() == MARKS_MAX {
                    self.marks.pop_front();
                }
                self.marks.push_back((timestamp, mark));
                None
            }
            MediaEvent::Picture(picture) => self.picture(picture),
            MediaEvent::Sound(_) | MediaEvent::SenderReport { .. } => None,
        }
    }

    fn picture(&mut self, picture: CodedFrame) -> Option<Replayed> {
        let CodedFrame { timestamp, data, lost_packets, random_access, received, new_params } = picture;
        self.watchdog.hear(received.mono);
        if let Some(video) = new_params {
            self.params = Some(Arc::new(Params { video, audio: None }));
        }
        let of_it: Vec<ReplayMark> =
            self.marks.iter().filter(|(at, _)| *at == timestamp).map(|(_, mark)| *mark).collect();
        self.marks.retain(|(at, _)| *at != timestamp);
        if self.last == Some(timestamp) {
            // The camera may keep the connection open.
            self.end(None);
        }
        Some(Replayed {
            data,
            params: self.params.clone()?,
            timestamp,
            filmed: of_it.first().map(|mark| WallTime::from_ntp(mark.ntp)),
            random_access,
            follows_hole: lost_packets > 0 || of_it.iter().any(|mark| mark.follows_hole),
            received,
        })
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        // TEARDOWN is spawned when the reader is dropped, which panics outside a runtime.
        let _inside = self.runtime.enter();
        self.reader = None;
    }
}
