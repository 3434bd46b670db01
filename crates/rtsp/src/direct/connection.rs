//! An RTSP connection (RFC 2326): requests and their answers, and the end of the session.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_auth::{PasswordClient, PasswordParams};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::challenge::{is_stale, strongest};
use super::learnt::Learnt;
use super::link::Link;
use super::setup::SetupError;
use super::tls::TlsTrust;
use super::wire::{Answer, Asked, Incoming, WireError, next_message};
use crate::replay::ReplayRange;

/// What a camera may take to answer the last request of a session.
const TEARDOWN_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a session lives without a request where the camera does not say (RFC 2326 §12.37).
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);
/// Challenges that are answered for one request: some cameras take each nonce once.
const CHALLENGES_MAX: u32 = 3;
/// Packets that come before the answer to PLAY are kept, up to this.
const EARLY_BYTES_MAX: usize = 1 << 20;
/// A camera that sends packets and has not answered PLAY for this long does not answer it at all.
const PLAY_PATIENCE: Duration = Duration::from_secs(1);
/// What waits to be sent while the camera does not read. Further keep-alives are left out.
const OUTGOING_BYTES_MAX: usize = 16 * 1024;
/// Room for a read while the session is being set up.
const READ_BYTES: usize = 8 * 1024;

/// Sessions that are being ended: a new one waits until the camera has let go of them.
pub(in super::super) type Closing = watch::Sender<usize>;

/// Where a camera is, and who asks.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    /// For the log.
    pub(super) camera: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) trust: TlsTrust,
    /// The stretch of the camera's own recording that is played; none: what it films.
    pub(super) replay: Option<ReplayRange>,
}

/// The RTSP session that a camera holds for us.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    id: String,
    timeout: Duration,
}

/// A connection, and the session on it.
#[derive(Debug)]
pub(super) struct RtspConnection {
    pub(super) link: Link,
    /// Read, and not taken yet.
    pub(super) received: Vec<u8>,
    /// What the session as a whole is called.
    pub(super) session: String,
    /// Bytes that were neither packet nor message.
    pub(super) stray_bytes: u64,
    target: Target,
    learnt: Arc<Learnt>,
    challenge: Option<PasswordClient>,
    /// The challenge was one of the session before.
    inherited: bool,
    /// The camera has taken our credentials in this session.
    proven: bool,
    held: Option<Held>,
    next_cseq: u32,
    outgoing: Vec<u8>,
}

impl RtspConnection {
    /// Connects.
    pub(super) async fn open(target: Target, learnt: Arc<Learnt>) -> Result<Self, SetupError> {
        let link = Link::open(&target.url, &target.camera, &target.trust).await?;
        let challenge = learnt.take_challenge();
        Ok(Self {
            link,
            received: Vec::new(),
            session: target.url.as_str().to_owned(),
            stray_bytes: 0,
            target,
            learnt,
            inherited: challenge.is_some(),
            challenge,
            proven: false,
            held: None,
            next_cseq: 1,
            outgoing: Vec::new(),
        })
    }

    /// How often the camera wants to hear from us: three times as often as it would forget us.
    pub(super) fn keepalive_interval(&self) -> Duration {
        self.held.as_ref().map_or(SESSION_TIMEOUT, |held| held.timeout) / 3
    }

    /// Whether it plays what the camera recorded.
    pub(super) fn is_replay(&self) -> bool {
        self.target.replay.is_some()
    }

    /// Asks for the camera's description.
    pub(super) async fn describe(&mut self) -> Result<Answer, SetupError> {
        let url = self.target.url.as_str().to_owned();
        self.ask("DESCRIBE", &url, &[("Accept", "application/sdp")]).await
    }

    /// Sets up one stream; gives what the camera says of the transport.
    pub(super) async fn set_up(&mut self, control: &str, transport: &str) -> Result<String, SetupError> {
        let answer = self.ask("SETUP", control, &[("Transport", transport)]).await?;
        if let Some(session) = answer.header("session") {
            self.held = Some(Held::parse(session));
        }
        Ok(answer.header("transport").unwrap_or_default().to_owned())
    }

    /// Asks for everything that was set up, from now on. Packets that come before the answer are kept. `datagrams` is
    /// ready when some came beside the connection.
    pub(super) async fn play(&mut self, url: &str, datagrams: impl Future<Output = ()>) -> Result<(), SetupError> {
        let mut early = Vec::new();
        let played = self.play_keeping(url, &mut early, datagrams).await;
        early.append(&mut self.received);
        self.received = early;
        played
    }

    async fn play_keeping(
        &mut self,
        url: &str,
        early: &mut Vec<u8>,
        datagrams: impl Future<Output = ()>,
    ) -> Result<(), SetupError> {
        let mut answered = 0;
        let range = self.target.replay.as_ref().map(ReplayRange::header);
        let recorded = range.as_deref().map(|range| [("Range", range), ("Rate-Control", "no")]);
        let mut extra = recorded.as_ref().map_or(&[("Range", "npt=0.000-")][..], |headers| &headers[..]);
        tokio::pin!(datagrams);
        let mut patience = None;
        loop {
            let authorised = self.challenge.is_some();
            self.send("PLAY", url, extra).await?;
            let answer = loop {
                match self.next_answer(Some(&mut *early))? {
                    Some(answer) => break answer,
                    None if early.len() >= EARLY_BYTES_MAX => return Ok(()),
                    None => {}
                }
                if !early.is_empty() && patience.is_none() {
                    patience = Some(Instant::now() + PLAY_PATIENCE);
                }
                let read = async {
                    match patience {
                        Some(until) => timeout_at(until, self.read("PLAY")).await.ok(),
                        None => Some(self.read("PLAY").await),
                    }
                };
                tokio::select! {
                    read = read => match read {
                        Some(read) => read?,
                        None => return Ok(()),
                    },
                    () = &mut datagrams, if patience.is_none() => patience = Some(Instant::now() + PLAY_PATIENCE),
                }
            };
            match answer.status {
                401 => self.answer_challenge("PLAY", &answer, authorised, &mut answered)?,
                // A camera that knows no ranges.
                457 if recorded.is_none() && !extra.is_empty() => extra = &[],
                _ => return self.outcome("PLAY", answer).map(drop),
            }
        }
    }

    /// Sends a request and waits for its answer, passing over packets. Answers challenges.
    async fn ask(&mut self, method: &'static str, url: &str, extra: &[(&str, &str)]) -> Result<Answer, SetupError> {
        let (mut answered, mut reopened) = (0, false);
        loop {
            let authorised = self.challenge.is_some();
            let answer = match self.exchange(method, url, extra).await {
                // Some close the connection with each challenge.
                Err(SetupError::Closed { .. } | SetupError::Io { .. })
                    if answered > 0 && !reopened && self.held.is_none() =>
                {
                    reopened = true;
                    self.link = Link::open(&self.target.url, &self.target.camera, &self.target.trust).await?;
                    self.received.clear();
                    continue;
                }
                answer => answer?,
            };
            if answer.status != 401 {
                let answer = self.outcome(method, answer)?;
                self.proven |= authorised;
                return Ok(answer);
            }
            self.answer_challenge(method, &answer, authorised, &mut answered)?;
        }
    }

    async fn exchange(
        &mut self,
        method: &'static str,
        url: &str,
        extra: &[(&str, &str)],
    ) -> Result<Answer, SetupError> {
        self.send(method, url, extra).await?;
        loop {
            if let Some(answer) = self.next_answer(None)? {
                return Ok(answer);
            }
            self.read(method).await?;
        }
    }

    fn outcome(&self, method: &'static str, answer: Answer) -> Result<Answer, SetupError> {
        match (answer.status, answer.header("location")) {
            (300..=308, Some(location)) => {
                let camera = self.link.ends().map_err(|source| SetupError::Io { request: method, source })?.1;
                Err(SetupError::Moved { request: method, location: location.to_owned(), camera })
            }
            _ if answer.is_success() => Ok(answer),
            (status, _) => Err(SetupError::Status { request: method, status, reason: answer.reason }),
        }
    }

    /// Takes up a challenge, unless it says that our credentials are wrong: to try these again would lock the account.
    fn answer_challenge(
        &mut self,
        request: &'static str,
        answer: &Answer,
        authorised: bool,
        answered: &mut u32,
    ) -> Result<(), SetupError> {
        let refused = SetupError::Status { request, status: 401, reason: answer.reason.clone() };
        if self.target.username.is_none() {
            return Err(refused);
        }
        let Some(challenge) = strongest(answer.headers("www-authenticate")) else {
            return Err(SetupError::Challenge { request });
        };
        // An old nonce, or one that was good once: cameras forget them without saying so.
        let is_old = is_stale(&challenge) || self.inherited || (self.proven && *answered == 0);
        if (authorised && !is_old) || *answered >= CHALLENGES_MAX {
            return Err(refused);
        }
        self.inherited = false;
        self.challenge = Some(challenge);
        *answered += 1;
        Ok(())
    }

    /// Takes up the challenge of an answer to a keep-alive; true if the request is worth sending again.
    pub(super) fn takes_challenge(&mut self, answer: &Answer) -> bool {
        let Some(challenge) = strongest(answer.headers("www-authenticate")) else { return false };
        self.challenge = Some(challenge);
        self.target.username.is_some()
    }

    /// The bytes of a request in this session.
    fn request(&mut self, method: &str, url: &str, extra: &[(&str, &str)]) -> Result<Vec<u8>, SetupError> {
        let cseq = self.next_cseq;
        self.next_cseq = self.next_cseq.wrapping_add(1);
        let agent = concat!("vigie/", env!("CARGO_PKG_VERSION"));
        let mut request = format!("{method} {url} RTSP/1.0\r\nCSeq: {cseq}\r\nUser-Agent: {agent}\r\n");
        let mut header = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                request.push_str(part);
            }
        };
        extra.iter().for_each(|(name, value)| header(name, value));
        if self.target.replay.is_some() && matches!(method, "DESCRIBE" | "SETUP" | "PLAY") {
            header("Require", "onvif-replay");
        }
        if let Some(held) = &self.held {
            header("Session", &held.id);
        }
        if let (Some(challenge), Some(username)) = (&mut self.challenge, &self.target.username) {
            let password = self.target.password.as_ref().map_or("", |password| password.expose_secret());
            let answer = challenge.respond(&PasswordParams { username, password, uri: url, method, body: Some(&[]) });
            // The reason is not shown: it was made from the password.
            let answer = answer.map_err(|_| SetupError::Challenge { request: "any request" })?;
            header("Authorization", &answer);
        }
        request.push_str("\r\n");
        Ok(request.into_bytes())
    }

    async fn send(&mut self, method: &'static str, url: &str, extra: &[(&str, &str)]) -> Result<(), SetupError> {
        let request = self.request(method, url, extra)?;
        self.outgoing.extend_from_slice(&request);
        let outgoing = std::mem::take(&mut self.outgoing);
        let sent = async {
            self.link.write_all(&outgoing).await?;
            self.link.flush().await
        };
        sent.await.map_err(|source| SetupError::Io { request: method, source })
    }

    async fn read(&mut self, request: &'static str) -> Result<(), SetupError> {
        self.received.reserve(READ_BYTES);
        match self.link.read_buf(&mut self.received).await {
            Ok(0) => Err(SetupError::Closed { request }),
            Ok(_) => Ok(()),
            Err(source) => Err(SetupError::Io { request, source }),
        }
    }

    /// The next answer, if it is there. One request is open at a time, so that it is the answer to that, whatever its
    /// `CSeq` says. Packets before it go to `early`.
    fn next_answer(&mut self, mut early: Option<&mut Vec<u8>>) -> Result<Option<Answer>, WireError> {
        let received = std::mem::take(&mut self.received);
        let mut at = 0;
        let found = loop {
            let Some((used, message)) = next_message(&received[at..])? else { break None };
            let whole = &received[at..at + used];
            at += used;
            match message {
                // "100 Continue" and its like are no answer yet.
                Incoming::Answer(answer) if answer.status >= 200 => break Some(answer),
                Incoming::Request(asked) => self.reply(&asked),
                Incoming::Stray => self.stray_bytes += used as u64,
                Incoming::Packet { .. } => {
                    if let Some(early) = early.as_deref_mut().filter(|early| early.len() < EARLY_BYTES_MAX) {
                        early.extend_from_slice(whole);
                    }
                }
                Incoming::Answer(_) | Incoming::Blank => {}
            }
        };
        self.received = received;
        self.received.drain(..at);
        Ok(found)
    }

    /// Puts a request in line to be sent; false if the camera takes none at present.
    pub(super) fn put_request(&mut self, method: &str) -> bool {
        let url = self.session.clone();
        match self.request(method, &url, &[]) {
            Ok(request) => self.put(&request),
            Err(_) => false,
        }
    }

    /// Answers a request of the camera's: those that ask whether we are there, or tell something, with success.
    pub(super) fn reply(&mut self, asked: &Asked) {
        let status = match asked.method.as_str() {
            "OPTIONS" | "GET_PARAMETER" | "SET_PARAMETER" | "ANNOUNCE" => "200 OK",
            _ => "501 Not Implemented",
        };
        self.put(format!("RTSP/1.0 {status}\r\nCSeq: {}\r\n\r\n", asked.cseq).as_bytes());
    }

    /// Puts bytes in line to be sent, unless too many wait.
    pub(super) fn put(&mut self, bytes: &[u8]) -> bool {
        let fits = self.outgoing.len() + bytes.len() <= OUTGOING_BYTES_MAX;
        if fits {
            self.outgoing.extend_from_slice(bytes);
        }
        fits
    }

    /// Sends what waits, as far as the camera takes it.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        let mut link = std::pin::Pin::new(&mut self.link);
        while !self.outgoing.is_empty() {
            match link.as_mut().poll_write(cx, &self.outgoing) {
                Poll::Ready(sent) => drop(self.outgoing.drain(..sent?)),
                Poll::Pending => return Ok(()),
            }
        }
        match link.poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }

    pub(super) fn learnt(&self) -> &Learnt {
        &self.learnt
    }

    /// Ends the session with the camera; what it still sends is passed over.
    async fn tear_down(&mut self) {
        let url = self.session.clone();
        // The camera's answer does not matter: it forgets the session in time.
        let _ = timeout(TEARDOWN_WAIT_MAX, self.exchange("TEARDOWN", &url, &[])).await;
    }

    /// The next session begins with a challenge that was answered well: one request less that the camera refuses.
    fn bequeath(&mut self) {
        if let Some(challenge) = self.challenge.take().filter(|_| self.proven) {
            self.learnt.keep_challenge(challenge);
        }
    }
}

/// A connection whose session is torn down in the background when it is dropped.
#[derive(Debug)]
pub(super) struct TornDown {
    connection: Option<RtspConnection>,
    closing: Closing,
    runtime: Handle,
}

impl TornDown {
    pub(super) fn new(connection: RtspConnection, closing: Closing) -> Self {
        Self { connection: Some(connection), closing, runtime: Handle::current() }
    }
}

impl Deref for TornDown {
    type Target = RtspConnection;

    fn deref(&self) -> &RtspConnection {
        self.connection.as_ref().expect("it is taken only when this is dropped")
    }
}

impl DerefMut for TornDown {
    fn deref_mut(&mut self) -> &mut RtspConnection {
        self.connection.as_mut().expect("it is taken only when this is dropped")
    }
}

impl Drop for TornDown {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if connection.held.is_none() {
            connection.bequeath();
            return;
        }
        let counted = Counted::new(&self.closing);
        self.runtime.spawn(async move {
            connection.tear_down().await;
            connection.bequeath();
            drop(counted);
        });
    }
}

/// One of the sessions that are being ended.
struct Counted(Closing);

impl Counted {
    fn new(closing: &Closing) -> Self {
        closing.send_modify(|sessions| *sessions += 1);
        Self(closing.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|sessions| *sessions -= 1);
    }
}

impl Held {
    /// `id[;timeout=seconds]` (RFC 2326 §12.37).
    fn parse(header: &str) -> Self {
        let mut parts = header.split(';').map(str::trim);
        let id = parts.next().unwrap_or_default().to_owned();
        let seconds = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok())?
        });
        let timeout = seconds.filter(|s| (1..=86_400).contains(s)).map_or(SESSION_TIMEOUT, Duration::from_secs);
        Self { id, timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_header_says_how_long_the_session_lives() {
        let check = |text: &str, id: &str, seconds: u64| {
            let held = Held::parse(text);
            assert_eq!((held.id.as_str(), held.timeout.as_secs()), (id, seconds), "{text:?}");
        };
        check("12345678", "12345678", 60);
        check("12345678;timeout=30", "12345678", 30);
        check("12345678 ; timeout=30", "12345678", 30);
        check("12345678; Timeout = 8", "12345678", 8);
        check("12345678;x=y;TIMEOUT=3", "12345678", 3);
        check("a;timeout=0", "a", 60);
        check("a;timeout=never", "a", 60);
    }
}
