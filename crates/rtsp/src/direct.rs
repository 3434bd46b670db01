//! Sessions with cameras over connections of our own: RTSP over TCP or TLS, RTP inside it or over UDP.
//!
//! Recording costs most in reading, so that here one read takes all that came since the last tick, into a buffer that
//! all cameras of a thread share and that stays in the processor's cache; from there bytes go straight into the
//! picture. What is cut off at the end of a read is kept until the next.
//!
//! Invariant: a session is described, set up, played and kept alive on one connection. No answer to a keep-alive, and none
//! that is missing, ends a session: the camera does that, or silence. One look takes a bounded number of bytes, however
//! fast a camera sends.

mod access_unit;
mod challenge;
mod connection;
mod depacketise;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod interleaved;
mod learnt;
mod link;
mod rtp;
mod setup;
mod sound;
mod tls;
mod tracks;
mod wire;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use footage::clock::Clock;
use footage::media::{Oddity, OddityCounts, VideoParams};

use super::codec::ParameterSets;
use super::description::{Description, Media};
use super::failure::SessionEnd;
use super::params::Choice;
use super::stream::{CodedFrame, MediaEvent};
use connection::{RtspConnection, TornDown};
use interleaved::{Format, InterleavedParser};
use learnt::Ping;
use tracks::Tracks;
use wire::{Answer, BODY_BYTES_MAX, FRAMING_BYTES, HEAD_BYTES_MAX, Incoming};

pub use challenge::strongest as strongest_challenge;
pub(super) use connection::Closing;
pub(super) use learnt::Learnt;
pub(super) use link::port;
pub(super) use setup::{Opened, SetupError, open};
pub(super) use sound::SoundCoding;
pub use tls::{Secured, TlsError, TlsTrust, connect as secure};
pub(super) use wire::text_of;

/// Most that one read takes: more than a camera of 16 Mb/s sends in a tick, and less than a core's own cache.
const READ_BYTES: usize = 256 * 1024;
/// What one look takes: then other cameras of the thread have their turn.
const LOOK_BYTES_MAX: usize = 4 * READ_BYTES;
/// A connection that the camera closes so soon after a keep-alive is closed for it.
const HANG_UP_WITHIN: Duration = Duration::from_secs(3);
/// Receiver reports are at most this far apart: they too keep a session alive.
const REPORT_EVERY_MAX: Duration = Duration::from_secs(10);
/// Largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// Where what is read lies until it is taken apart: what a read begins with is what the last one left over.
    static READING: RefCell<Vec<u8>> =
        RefCell::new(vec![0; HEAD_BYTES_MAX + BODY_BYTES_MAX + FRAMING_BYTES + READ_BYTES]);
}

/// A receiver report without a block, and a source description, as each compound packet must have (RFC 3550 §6.1). The SSRC
/// is any: nothing else sends to the camera.
const RECEIVER_REPORT: &[u8] = b"\x80\xc9\x00\x01VIGI\x81\xca\x00\x03VIGI\x01\x05vigie\x00";

/// What keeps a session alive.
#[derive(Debug)]
struct Keepalive {
    timer: Pin<Box<Sleep>>,
    /// Between requests.
    interval: Duration,
    asked_next: Instant,
    offers_get_parameter: bool,
    /// The last request, until it is answered.
    open: Option<(Ping, Instant)>,
    /// What the camera refused in this session.
    refused: Option<Ping>,
    /// The last request was sent twice, with a challenge between.
    again: bool,
}

impl Keepalive {
    fn new(interval: Duration, offers_get_parameter: bool) -> Self {
        let timer = Box::pin(sleep(interval.min(REPORT_EVERY_MAX)));
        let asked_next = Instant::now() + interval;
        Self { timer, interval, asked_next, offers_get_parameter, open: None, refused: None, again: false }
    }

    /// Takes an answer to a keep-alive, or to another request that came late. Whether it succeeded matters little: a
    /// camera that minds closes the connection, or sends no more pictures.
    fn answered(&mut self, answer: &Answer, connection: &mut RtspConnection) {
        self.offers_get_parameter |= answer.offers("GET_PARAMETER");
        let Some((ping, _)) = self.open.take() else { return };
        match answer.status {
            401 if !self.again && connection.takes_challenge(answer) => {
                self.again = true;
                self.ask(ping, connection);
            }
            status => {
                self.again = false;
                self.refused = (status >= 400).then_some(ping);
            }
        }
    }

    fn ask(&mut self, ping: Ping, connection: &mut RtspConnection) {
        if connection.put_request(ping.method()) {
            self.open = Some((ping, Instant::now()));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, connection: &mut RtspConnection, tracks: &Tracks) {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            tracks.send_reports(RECEIVER_REPORT, |channel| {
                let length = RECEIVER_REPORT.len() as u16;
                let [l0, l1] = length.to_be_bytes();
                connection.put(&[&[b'$', channel, l0, l1], RECEIVER_REPORT].concat());
            });
            if now >= self.asked_next {
                self.asked_next = now + self.interval;
                self.again = false;
                let ping = connection.learnt().ping(self.offers_get_parameter);
                let ping = if self.refused == Some(ping) { ping.other() } else { ping };
                self.ask(ping, connection);
            }
            let next = (now + REPORT_EVERY_MAX).min(self.asked_next);
            self.timer.as_mut().reset(next);
        }
    }

    /// The connection ended.
    fn ended(&self, connection: &RtspConnection) {
        if let Some((ping, at)) = self.open
            && at.elapsed() < HANG_UP_WITHIN
        {
            connection.learnt().ends_at(ping);
        }
    }
}

/// A session that plays.
#[derive(Debug)]
pub(super) struct Reader {
    connection: TornDown,
    tracks: Tracks,
    keepalive: Keepalive,
    parser: InterleavedParser,
    /// What came with the answer to PLAY has been taken.
    begun: bool,
    /// Goes off when a picture that may be whole has waited long enough for more of it, while that is awaited.
    quiet: Pin<Box<Sleep>>,
    awaits_quiet: bool,
    /// What comes after all that was heard.
    ended: Option<SessionEnd>,
    /// Bytes of this look.
    looked: usize,
}

impl Reader {
    fn new(
        connection: TornDown,
        tracks: Tracks,
        description: &Description,
        choice: &Choice,
        offers_get_parameter: bool,
    ) -> Self {
        let video = &description.media[choice.video.stream];
        let codec = choice.video.codec;
        let units = video.parameter_sets();
        let sets = ParameterSets::of_units(codec, units.iter().map(|unit| &unit[..]));
        let format =
            |media: &Media, ssrc| Format { payload_type: media.payload_type, clock_rate: media.clock_rate, ssrc };
        let sound = choice.audio.as_ref().map(|audio| (audio.coding, format(&description.media[audio.stream], None)));
        let keepalive = Keepalive::new(connection.keepalive_interval(), offers_get_parameter);
        Self {
            parser: InterleavedParser::new(codec, sets, format(video, tracks.video_ssrc()), sound),
            connection,
            tracks,
            keepalive,
            begun: false,
            quiet: Box::pin(sleep(Duration::ZERO)),
            awaits_quiet: false,
            ended: None,
            looked: 0,
        }
    }

    /// The same, of a replay: packets say when their pictures were filmed.
    fn replaying(mut self, is_replay: bool) -> Self {
        self.parser.is_replay = is_replay;
        self
    }

    /// The sample description of the first picture, where the session's description has it.
    pub(super) fn described(&self) -> Option<VideoParams> {
        self.parser.params().cloned()
    }

    /// What was odd since it was last taken.
    pub(super) fn odd(&mut self) -> &mut OddityCounts {
        &mut self.parser.odd
    }

    /// What has been taken and is not given out yet, when nothing more is read.
    pub(super) fn rest(&mut self, clock: &dyn Clock) -> VecDeque<MediaEvent> {
        self.parser.finish(clock.read());
        std::mem::take(&mut self.parser.events)
    }

    /// The first picture whose parameter sets are known, with its sample description; nothing before it can be decoded.
    /// The packets lost before it are counted with its own.
    pub(super) async fn first_described_picture(
        &mut self,
        clock: &dyn Clock,
    ) -> Result<(CodedFrame, VideoParams), SessionEnd> {
        let mut lost = 0;
        loop {
            if let MediaEvent::Picture(mut picture) = std::future::poll_fn(|cx| self.poll(cx, clock)).await? {
                picture.lost_packets += lost;
                match picture.new_params.take() {
                    Some(params) => return Ok((picture, params)),
                    None => lost = picture.lost_packets,
                }
            }
        }
    }

    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, clock: &dyn Clock) -> Poll<Result<MediaEvent, SessionEnd>> {
        if !std::mem::replace(&mut self.begun, true) {
            self.take_what_came_with_the_answer(clock);
        }
        loop {
            if let Some(event) = self.parser.events.pop_front() {
                return Poll::Ready(Ok(event));
            }
            if let Some(end) = self.ended.take() {
                return Poll::Ready(Err(end));
            }
            let look_is_over = self.looked >= LOOK_BYTES_MAX;
            let read = if look_is_over { Poll::Pending } else { self.read(cx, clock) };
            match read {
                Poll::Ready(Ok(bytes)) => self.looked += bytes,
                Poll::Ready(Err(end)) => {
                    self.keepalive.ended(&self.connection);
                    self.end(end, clock);
                }
                Poll::Pending => {
                    self.looked = 0;
                    self.keepalive.poll(cx, &mut self.connection, &self.tracks);
                    // What cannot be sent does not matter while pictures come; reading shows when the connection ended.
                    let _ = self.connection.poll_send(cx);
                    if self.is_quiet(cx) {
                        if let Err(what) = self.parser.quiet(clock.read()) {
                            self.end(SessionEnd::Irregular(what), clock);
                        }
                        continue;
                    }
                    if look_is_over {
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn end(&mut self, end: SessionEnd, clock: &dyn Clock) {
        self.parser.finish(clock.read());
        self.ended = Some(end);
    }

    /// No packet has come for a while, whatever else did, and something waits for that.
    fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(wait) = self.parser.awaits_quiet() else { return false };
        if !std::mem::replace(&mut self.awaits_quiet, true) {
            self.quiet.as_mut().reset(Instant::now() + wait);
        }
        let is_quiet = self.quiet.as_mut().poll(cx).is_ready();
        self.awaits_quiet = !is_quiet;
        is_quiet
    }

    /// Reads what came, once; gives how many bytes.
    fn read(&mut self, cx: &mut Context<'_>, clock: &dyn Clock) -> Poll<Result<usize, SessionEnd>> {
        READING.with_borrow_mut(|buffer| {
            let held = self.connection.received.len();
            buffer[..held].copy_from_slice(&self.connection.received);
            let mut room = ReadBuf::new(&mut buffer[held..]);
            match Pin::new(&mut self.connection.link).poll_read(cx, &mut room) {
                Poll::Ready(read) => read.map_err(SessionEnd::Io)?,
                Poll::Pending => return self.datagram(cx, &mut buffer[..DATAGRAM_BYTES_MAX], clock),
            }
            let read = room.filled().len();
            if read == 0 {
                return Poll::Ready(Err(if held == 0 { SessionEnd::Closed } else { SessionEnd::CutOff }));
            }
            let bytes = &buffer[..held + read];
            let used = self.take(bytes, clock)?;
            self.connection.received.clear();
            self.connection.received.extend_from_slice(&bytes[used..]);
            Poll::Ready(Ok(read))
        })
    }

    fn datagram(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        clock: &dyn Clock,
    ) -> Poll<Result<usize, SessionEnd>> {
        let (role, bytes) = std::task::ready!(self.tracks.poll_datagram(cx, buffer)).map_err(SessionEnd::Io)?;
        self.awaits_quiet = false;
        self.parser.packet(role, &buffer[..bytes], clock.read()).map_err(SessionEnd::Irregular)?;
        Poll::Ready(Ok(bytes))
    }

    fn take_what_came_with_the_answer(&mut self, clock: &dyn Clock) {
        let mut received = std::mem::take(&mut self.connection.received);
        match self.take(&received, clock) {
            Ok(used) => drop(received.drain(..used)),
            Err(end) => self.end(end, clock),
        }
        received.shrink_to_fit();
        self.connection.received = received;
    }

    /// Takes every whole packet and message; gives how many bytes they are.
    fn take(&mut self, bytes: &[u8], clock: &dyn Clock) -> Result<usize, SessionEnd> {
        let received = clock.read();
        let mut rest = bytes;
        loop {
            let (used, message) = match wire::next_message(rest) {
                Ok(Some(next)) => next,
                Ok(None) => break,
                // A message beyond its bounds, or what only looked like one: pictures may follow it.
                Err(_) => (wire::oversized(rest), Incoming::Stray),
            };
            match message {
                Incoming::Packet { channel, packet } => match self.tracks.role(channel) {
                    Some(role) => {
                        self.awaits_quiet = false;
                        self.parser.packet(role, packet, received).map_err(SessionEnd::Irregular)?;
                    }
                    None => self.parser.odd.add(Oddity::UnknownChannel),
                },
                Incoming::Answer(answer) => self.keepalive.answered(&answer, &mut self.connection),
                Incoming::Request(asked) => self.connection.reply(&asked),
                Incoming::Stray => {
                    self.connection.stray_bytes += used as u64;
                    self.parser.odd.add(Oddity::StrayBytes);
                }
                Incoming::Blank => {}
            }
            rest = &rest[used..];
        }
        Ok(bytes.len() - rest.len())
    }
}
