//! A session over a TCP connection of our own, for the regular case: video alone, interleaved (RFC 2326 §10.12).
//!
//! Recording costs most in reading, so that here one read takes all that came since the last tick, into a buffer that
//! all cameras of a thread share and that stays in the processor's cache; from there bytes go straight into the
//! picture. What is cut off at the end of a read is kept until the next.
//!
//! Invariant: what can be carried is recorded, byte for byte and in its order; what is odd is counted. A session ends when
//! nothing more can come of it ([ADR 13](../../../docs/adr/0013-record-what-can-be-carried.md)).
//! Absent on purpose: the description (retina reads it), sound, UDP.

mod access_unit;
mod connection;
mod depacketise;
mod intake;
mod rtp;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use retina::client::{Described, Session};
use retina::codec::{ParametersRef, VideoParametersCodec};
use rtsp_types::{Method, Response, StatusCode};
use secrecy::SecretString;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use url::Url;

use crate::clock::Clock;
use crate::media::{OddityCounts, VideoCodec, VideoParams};

use super::codec::ParameterSets;
use super::failure::End;
use super::items::Heard;
use super::params::Choice;
use connection::{Connection, Login, MESSAGE_BYTES_MAX, TornDown};
use access_unit::QUIET;
use intake::{Format, Intake};

pub(super) use connection::{Closing, Refused};

/// Most that one read takes: more than a camera of 16 Mb/s sends in a tick, and less than a core's own cache.
const READ_BYTES: usize = 256 * 1024;

thread_local! {
    /// Where what is read lies until it is taken apart: what a read begins with is what the last one left over.
    static READING: RefCell<Vec<u8>> = RefCell::new(vec![0; MESSAGE_BYTES_MAX + connection::FRAMING_BYTES + READ_BYTES]);
}

/// What is to be set up and played.
#[derive(Debug)]
pub(super) struct Plan {
    /// Where the camera is. What its description says of hosts is not followed.
    camera: Url,
    /// What the session as a whole is called, and its video stream.
    session: Url,
    control: Url,
    codec: VideoCodec,
    sets: ParameterSets,
    payload_type: u8,
    clock_rate: u32,
}

impl Plan {
    /// The plan for a camera that described itself so; `None` where it is not regular.
    pub(super) fn of(described: &Session<Described>, url: &Url, choice: &Choice) -> Option<Self> {
        let stream = described.streams().get(choice.video.stream)?;
        let control = stream.control().unwrap_or(url).clone();
        let codec = choice.video.codec;
        let sets = match stream.parameters() {
            Some(ParametersRef::Video(video)) => match video.codec_params() {
                VideoParametersCodec::H264 { sps, pps } => ParameterSets::of_units(codec, [&sps[..], pps]),
                VideoParametersCodec::H265 { vps, sps, pps } => ParameterSets::of_units(codec, [&vps[..], sps, pps]),
                _ => return None,
            },
            _ => ParameterSets::new(codec),
        };
        let session = session_url(described.sdp(), url, &control)?;
        let (payload_type, clock_rate) = (stream.rtp_payload_type(), stream.clock_rate_hz());
        Some(Self { camera: url.clone(), session, control, codec, sets, payload_type, clock_rate })
    }

    /// Connects, sets up and plays. `step` is told what is asked for.
    pub(super) async fn play(
        self,
        username: Option<String>,
        password: Option<SecretString>,
        closing: Closing,
        mut step: impl FnMut(&'static str),
    ) -> Result<Reader, Refused> {
        let connection = Connection::open(&self.camera, self.session, Login { username, password }).await?;
        let mut connection = TornDown::new(connection, closing);
        step("SETUP");
        let channel = connection.set_up(&self.control).await?;
        step("PLAY");
        connection.play().await?;
        let keepalive = Keepalive { timer: Box::pin(sleep(connection.keepalive_interval())), method: Method::Options };
        let format = Format { payload_type: self.payload_type, clock_rate: self.clock_rate, ssrc: None };
        let intake = Intake::new(channel, self.codec, self.sets, format);
        Ok(Reader { connection, keepalive, intake, begun: false, quiet: None, ended: None })
    }
}

/// What `PLAY` is about (RFC 2326 §C.1.1): the session's own control, or what the streams' are relative to.
fn session_url(sdp: &[u8], asked: &Url, control: &Url) -> Option<Url> {
    let sdp = std::str::from_utf8(sdp).ok()?;
    let (session, media) = sdp.split_once("\nm=")?;
    let attribute = |line: &str| line.trim_end().strip_prefix("a=control:").map(|value| value.trim().to_owned());
    match session.lines().find_map(attribute).as_deref() {
        None | Some("" | "*") => Some(base_of(media.lines().filter_map(attribute), asked, control)),
        // Another relative one is no regular description.
        Some(own) => Url::parse(own).ok(),
    }
}

fn base_of(mut relative: impl Iterator<Item = String>, asked: &Url, control: &Url) -> Url {
    let base = relative.find_map(|own| Url::parse(control.as_str().strip_suffix(own.as_str())?).ok());
    let same = |base: &Url| base.as_str().trim_end_matches('/') == asked.as_str().trim_end_matches('/');
    base.filter(|base| base.has_host() && !same(base)).unwrap_or_else(|| asked.clone())
}

/// Requests that keep a session alive: `OPTIONS`, and `GET_PARAMETER` where the camera offers it.
#[derive(Debug)]
struct Keepalive {
    timer: Pin<Box<Sleep>>,
    method: Method,
}

/// A session that plays.
#[derive(Debug)]
pub(super) struct Reader {
    connection: TornDown,
    keepalive: Keepalive,
    intake: Intake,
    /// What came with the answer to PLAY has been taken.
    begun: bool,
    /// When a picture that the marker ended is taken for whole, where markers are not relied on.
    quiet: Option<Pin<Box<Sleep>>>,
    /// What comes after all that was heard.
    ended: Option<End>,
}

impl Reader {
    /// The sample description of the first picture, where the session's description has it.
    pub(super) fn described(&self) -> Option<VideoParams> {
        self.intake.params().cloned()
    }

    /// What was odd since it was last taken.
    pub(super) fn odd(&mut self) -> &mut OddityCounts {
        &mut self.intake.odd
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, clock: &dyn Clock) -> Poll<Result<Heard, End>> {
        if !std::mem::replace(&mut self.begun, true) {
            self.take_what_came_with_the_answer(clock);
        }
        loop {
            if let Some(heard) = self.intake.heard.pop_front() {
                return Poll::Ready(Ok(heard));
            }
            if let Some(end) = self.ended.take() {
                return Poll::Ready(Err(end));
            }
            match self.read(cx, clock) {
                Poll::Ready(Ok(())) => self.quiet = None,
                Poll::Ready(Err(end)) => self.end(end, clock),
                Poll::Pending => {
                    if self.is_quiet(cx) {
                        if let Err(what) = self.intake.quiet(clock.read()) {
                            self.end(End::Irregular(what), clock);
                        }
                        continue;
                    }
                    self.keep_alive(cx)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// What has been taken and is not given out yet, when nothing more is read.
    pub(super) fn rest(&mut self, clock: &dyn Clock) -> VecDeque<Heard> {
        self.intake.finish(clock.read());
        std::mem::take(&mut self.intake.heard)
    }

    fn end(&mut self, end: End, clock: &dyn Clock) {
        self.intake.finish(clock.read());
        self.ended = Some(end);
    }

    /// Nothing has come for a while, and something waits for that.
    fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.intake.awaits_quiet() {
            return false;
        }
        let quiet = self.quiet.get_or_insert_with(|| Box::pin(sleep(QUIET)));
        let is_quiet = quiet.as_mut().poll(cx).is_ready();
        if is_quiet {
            self.quiet = None;
        }
        is_quiet
    }

    /// Reads what came, once.
    fn read(&mut self, cx: &mut Context<'_>, clock: &dyn Clock) -> Poll<Result<(), End>> {
        READING.with_borrow_mut(|buffer| {
            let held = self.connection.received.len();
            buffer[..held].copy_from_slice(&self.connection.received);
            let mut room = ReadBuf::new(&mut buffer[held..]);
            std::task::ready!(Pin::new(&mut self.connection.stream).poll_read(cx, &mut room)).map_err(End::Io)?;
            let read = room.filled().len();
            if read == 0 {
                return Poll::Ready(Err(if held == 0 { End::Closed } else { End::CutOff }));
            }
            let bytes = &buffer[..held + read];
            let used = self.take(bytes, clock)?;
            self.connection.received.clear();
            self.connection.received.extend_from_slice(&bytes[used..]);
            Poll::Ready(Ok(()))
        })
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
    fn take(&mut self, bytes: &[u8], clock: &dyn Clock) -> Result<usize, End> {
        let Self { intake, connection, keepalive, .. } = self;
        let answered = |answer: &Response<Vec<u8>>| {
            // Whether it succeeded does not matter: a camera that minds closes the connection, or sends no more pictures.
            if connection::offers(answer, "GET_PARAMETER") {
                keepalive.method = Method::GetParameter;
            }
            if answer.status() == StatusCode::Unauthorized {
                // A challenge that is not understood changes nothing.
                let _ = connection.take_challenge(answer);
            }
        };
        intake.take(bytes, clock.read(), answered).map_err(End::Irregular)
    }

    fn keep_alive(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while self.keepalive.timer.as_mut().poll(cx).is_ready() {
            let method = self.keepalive.method.clone();
            self.connection.send(method).map_err(|e| End::Unsent(e.to_string()))?;
            let next = Instant::now() + self.connection.keepalive_interval();
            self.keepalive.timer.as_mut().reset(next);
        }
        Ok(())
    }
}
