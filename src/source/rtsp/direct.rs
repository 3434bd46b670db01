//! A session over a TCP connection of our own, for the regular case: video alone, interleaved (RFC 2326 §10.12).
//!
//! Recording costs most in reading, so that here one read takes all that came since the last tick, into a buffer that
//! all cameras of a thread share and that stays in the processor's cache; from there bytes go straight into the
//! picture. What is cut off at the end of a read is kept until the next.
//!
//! Invariant: whatever is not understood ends the session with an error, and the next session is retina's, which knows
//! what cameras do beside the standards ([`super::RtspSource`] sees to that). Nothing is put together from what is left.
//! Absent on purpose: the description (retina reads it), sound, UDP.

mod connection;
mod depacketise;
mod intake;
mod rtp;

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use retina::client::{Described, Session};
use retina::codec::{ParametersRef, VideoParametersCodec};
use rtsp_types::{Method, Response, StatusCode};
use secrecy::SecretString;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use url::Url;

use crate::media::{VideoCodec, VideoParams};

use super::failure::End;
use super::items::Heard;
use super::params::Choice;
use connection::{Connection, Login, MESSAGE_BYTES_MAX, TornDown};
use depacketise::ParameterSets;
use intake::{Intake, params_of};

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
    /// What those sets make, where there are any.
    described: Option<VideoParams>,
}

impl Plan {
    /// The plan for a camera that described itself so; `None` where it is not regular.
    pub(super) fn of(described: &Session<Described>, url: &Url, choice: &Choice) -> Option<Self> {
        let stream = described.streams().get(choice.video.stream)?;
        if stream.clock_rate_hz() != 90_000 {
            return None;
        }
        let control = stream.control().unwrap_or(url).clone();
        let sets = match stream.parameters() {
            Some(ParametersRef::Video(video)) => match video.codec_params().clone() {
                VideoParametersCodec::H264 { sps, pps } => {
                    ParameterSets { video: Bytes::new(), sequence: sps, picture: pps }
                }
                VideoParametersCodec::H265 { vps, sps, pps } => {
                    ParameterSets { video: vps, sequence: sps, picture: pps }
                }
                _ => return None,
            },
            _ => ParameterSets::default(),
        };
        let codec = choice.video.codec;
        let made = params_of(codec, &sets);
        if made.is_none() && sets.are_whole(codec) {
            return None;
        }
        let session = session_url(described.sdp(), url, &control)?;
        Some(Self { camera: url.clone(), session, control, codec, sets, described: made })
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
        let intake = Intake::new(channel, self.codec, self.sets);
        let mut reader = Reader { connection, keepalive, intake, described: self.described, ended: None };
        reader.take_what_came_with_the_answer();
        Ok(reader)
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
    /// From the description, where it had parameter sets that can be used.
    described: Option<VideoParams>,
    /// What comes after all that was heard.
    ended: Option<End>,
}

impl Reader {
    /// The sample description of the first picture, where the session's description has it.
    pub(super) fn described(&self) -> Option<VideoParams> {
        self.described.clone()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, End>> {
        loop {
            if let Some(heard) = self.intake.heard.pop_front() {
                return Poll::Ready(Ok(heard));
            }
            if let Some(end) = self.ended.take() {
                return Poll::Ready(Err(end));
            }
            match self.read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(end)) => self.ended = Some(end),
                Poll::Pending => {
                    self.keep_alive(cx)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads what came, once.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
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
            let used = self.take(bytes)?;
            self.connection.received.clear();
            self.connection.received.extend_from_slice(&bytes[used..]);
            Poll::Ready(Ok(()))
        })
    }

    fn take_what_came_with_the_answer(&mut self) {
        let mut received = std::mem::take(&mut self.connection.received);
        match self.take(&received) {
            Ok(used) => drop(received.drain(..used)),
            Err(end) => self.ended = Some(end),
        }
        received.shrink_to_fit();
        self.connection.received = received;
    }

    /// Takes every whole packet and message; gives how many bytes they are.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, End> {
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
        intake.take(bytes, answered).map_err(End::Irregular)
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
