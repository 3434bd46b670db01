//! An RTSP connection of our own (RFC 2326): requests and their answers, and the end of the session.

use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;
use std::time::Duration;

use http_auth::{PasswordClient, PasswordParams};
use rtsp_types::headers::{self, HeaderName};
use rtsp_types::{Message, Method, ParseError, Request, Response, StatusCode, Version};
use rustix::net::sockopt;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::info;
use url::Url;

/// What a camera may take to answer the last request of a session.
const TEARDOWN_WAIT_MAX: Duration = Duration::from_secs(5);
/// What the kernel shall keep of a camera while nobody reads, because the disk or the processor makes us wait: eight
/// seconds of 4 Mb/s. It takes memory only then.
const KEPT_BYTES: usize = 4 << 20;
/// Where it allows less than this (`net.core.rmem_max`), what it chooses by itself is more.
const KEPT_BYTES_MIN: usize = 1 << 20;
/// An RTSP message, headers and body, is never larger.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Of an interleaved packet (RFC 2326 §10.12): `$`, channel and length.
pub(super) const FRAMING_BYTES: usize = 4;
/// How long a session lives without a request where the camera does not say (RFC 2326 §12.37).
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether the kernel lets us have such buffers, as a socket of no other use says: asked for more than it allows, it gives
/// what it allows. It counts twice what was asked for, for what it needs itself (`SO_RCVBUF` in socket(7)).
static MAY_KEEP_MORE: LazyLock<bool> = LazyLock::new(|| {
    let allowed = std::net::UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| {
        sockopt::set_socket_recv_buffer_size(&socket, KEPT_BYTES)?;
        Ok(sockopt::socket_recv_buffer_size(&socket)? / 2)
    });
    let may = allowed.is_ok_and(|bytes| bytes >= KEPT_BYTES_MIN);
    if !may {
        info!("net.core.rmem_max is low: a camera is held back sooner while the disk is busy");
    }
    may
});

/// Sessions that are being ended: a new one waits until the camera has let go of them.
pub(in super::super) type Closing = watch::Sender<usize>;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
}

/// The RTSP session that a camera holds for us.
#[derive(Clone, Debug)]
struct Held {
    id: String,
    timeout: Duration,
}

/// An answer that is no success, or none that can be used. The text never holds a credential.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in super::super) struct Refused(String);

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// A connection, and the session on it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// Read, and not taken yet.
    pub(super) received: Vec<u8>,
    url: Url,
    login: Login,
    challenge: Option<PasswordClient>,
    held: Option<Held>,
    next_cseq: u32,
}

impl Connection {
    /// Connects to the host of `camera`, for the session that is called `url`.
    pub(super) async fn open(camera: &Url, url: Url, login: Login) -> Result<Self, Refused> {
        let host = camera.host_str().ok_or_else(|| Refused("the url has no host".to_owned()))?.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, camera.port().unwrap_or(554))).await?;
        if *MAY_KEEP_MORE {
            sockopt::set_socket_recv_buffer_size(&stream, KEPT_BYTES).map_err(std::io::Error::from)?;
        }
        Ok(Self { stream, received: Vec::new(), url, login, challenge: None, held: None, next_cseq: 1 })
    }

    /// How often the camera wants to hear from us: twice as often as it would forget us.
    pub(super) fn keepalive_interval(&self) -> Duration {
        self.held.as_ref().map_or(SESSION_TIMEOUT, |held| held.timeout) / 2
    }

    /// Sets up one stream, interleaved on channels 0 and 1; gives the channel of its RTP packets.
    pub(super) async fn set_up(&mut self, control: &Url) -> Result<u8, Refused> {
        let transport = [(headers::TRANSPORT, "RTP/AVP/TCP;unicast;interleaved=0-1".to_owned())];
        let answer = self.ask(Method::Setup, control.clone(), &transport).await?;
        let session = header(&answer, &headers::SESSION).ok_or_else(|| Refused("no session in it".to_owned()))?;
        self.held = Some(Held::parse(session));
        let transport = header(&answer, &headers::TRANSPORT).unwrap_or_default();
        let channel = transport.split(';').find_map(|part| part.trim().strip_prefix("interleaved="));
        let channel = channel.and_then(|range| range.split('-').next()?.trim().parse().ok());
        channel.ok_or_else(|| Refused("no interleaved channel in it".to_owned()))
    }

    /// Asks for everything that was set up, from now on.
    pub(super) async fn play(&mut self) -> Result<(), Refused> {
        let range = [(headers::RANGE, "npt=0.000-".to_owned())];
        self.ask(Method::Play, self.url.clone(), &range).await.map(drop)
    }

    /// Sends a request and waits for its answer, passing over interleaved packets. Answers a challenge once.
    async fn ask(
        &mut self,
        method: Method,
        url: Url,
        extra: &[(HeaderName, String)],
    ) -> Result<Response<Vec<u8>>, Refused> {
        let mut challenged = false;
        loop {
            let cseq = self.next_cseq;
            let request = self.request(method.clone(), url.clone(), extra)?;
            self.stream.write_all(&request).await?;
            let answer = self.answer(cseq).await?;
            if answer.status() == StatusCode::Unauthorized && !challenged {
                self.take_challenge(&answer)?;
                challenged = true;
                continue;
            }
            if !answer.status().is_success() {
                return Err(Refused(format!("{} to {}", u16::from(answer.status()), <&str>::from(&method))));
            }
            return Ok(answer);
        }
    }

    /// The camera's challenge (RFC 2617) is answered in the requests from now on.
    pub(super) fn take_challenge(&mut self, answer: &Response<Vec<u8>>) -> Result<(), Refused> {
        let asked = header(answer, &headers::WWW_AUTHENTICATE).unwrap_or_default();
        let client =
            PasswordClient::try_from(asked).map_err(|_| Refused("a challenge that is not understood".to_owned()));
        self.challenge = Some(client?);
        Ok(())
    }

    /// The bytes of a request in this session.
    fn request(&mut self, method: Method, url: Url, extra: &[(HeaderName, String)]) -> Result<Vec<u8>, Refused> {
        let mut request = Request::builder(method.clone(), Version::V1_0)
            .header(headers::CSEQ, self.next_cseq.to_string())
            .header(headers::USER_AGENT, concat!("vigie/", env!("CARGO_PKG_VERSION")));
        self.next_cseq += 1;
        for (name, value) in extra {
            request = request.header(name.clone(), value.as_str());
        }
        if let Some(held) = &self.held {
            request = request.header(headers::SESSION, held.id.as_str());
        }
        if let (Some(challenge), Some(username)) = (&mut self.challenge, &self.login.username) {
            let answer = challenge.respond(&PasswordParams {
                username,
                password: self.login.password.as_ref().map_or("", |password| password.expose_secret()),
                uri: url.as_str(),
                method: <&str>::from(&method),
                body: Some(&[]),
            });
            // The library's reason is not shown: it was given the password.
            let answer = answer.map_err(|_| Refused("a challenge that cannot be answered".to_owned()))?;
            request = request.header(headers::AUTHORIZATION, answer);
        }
        let mut bytes = Vec::new();
        let request = request.request_uri(url).build(Vec::new());
        request.write(&mut bytes).map_err(|_| Refused("a request that cannot be written".to_owned()))?;
        Ok(bytes)
    }

    /// Sends a request whose answer comes among the packets. One that the socket does not take whole is an error, which
    /// ends the session: what follows it could not be understood.
    pub(super) fn send(&mut self, method: Method) -> Result<(), Refused> {
        let request = self.request(method, self.url.clone(), &[])?;
        let sent = self.stream.try_write(&request)?;
        if sent < request.len() { Err(Refused("it does not take requests".to_owned())) } else { Ok(()) }
    }

    async fn answer(&mut self, cseq: u32) -> Result<Response<Vec<u8>>, Refused> {
        loop {
            match next_message(&self.received)? {
                Some((used, message)) => {
                    let answer = match message {
                        Incoming::Answer(answer) if sequence_of(&answer) == Some(cseq) => Some(answer),
                        Incoming::Answer(_) | Incoming::Packet { .. } | Incoming::Other => None,
                    };
                    self.received.drain(..used);
                    if let Some(answer) = answer {
                        return Ok(answer);
                    }
                }
                None => {
                    if self.stream.read_buf(&mut self.received).await? == 0 {
                        return Err(Refused("the connection was closed".to_owned()));
                    }
                }
            }
        }
    }

    /// Tells the camera that the session is over; what it still sends is passed over.
    async fn tear_down(mut self) -> Result<(), Refused> {
        let cseq = self.next_cseq;
        let request = self.request(Method::Teardown, self.url.clone(), &[])?;
        self.stream.write_all(&request).await?;
        self.answer(cseq).await.map(drop)
    }
}

/// A connection whose session is torn down in the background when it is dropped.
#[derive(Debug)]
pub(super) struct TornDown {
    connection: Option<Connection>,
    closing: Closing,
    runtime: Handle,
}

impl TornDown {
    pub(super) fn new(connection: Connection, closing: Closing) -> Self {
        Self { connection: Some(connection), closing, runtime: Handle::current() }
    }
}

impl Deref for TornDown {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is taken only when this is dropped")
    }
}

impl DerefMut for TornDown {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is taken only when this is dropped")
    }
}

impl Drop for TornDown {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take().filter(|connection| connection.held.is_some()) else { return };
        let counted = Counted::new(&self.closing);
        self.runtime.spawn(async move {
            // A camera that does not answer forgets the session in time.
            let _ = timeout(TEARDOWN_WAIT_MAX, connection.tear_down()).await;
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

/// What a camera sends.
pub(super) enum Incoming<'a> {
    /// An interleaved packet (RFC 2326 §10.12).
    Packet { channel: u8, packet: &'a [u8] },
    /// An answer to a request of ours.
    Answer(Response<Vec<u8>>),
    /// What nothing follows from: a request, a line break too many after a message.
    Other,
}

/// The first thing in `received`, with its length; `None` when more has to come.
#[inline]
pub(super) fn next_message(received: &[u8]) -> Result<Option<(usize, Incoming<'_>)>, Refused> {
    match received {
        [b'$', channel, l0, l1, after @ ..] => {
            let packet = after.get(..usize::from(u16::from_be_bytes([*l0, *l1])));
            Ok(packet.map(|packet| (FRAMING_BYTES + packet.len(), Incoming::Packet { channel: *channel, packet })))
        }
        [] | [b'$', ..] => Ok(None),
        [b'\r' | b'\n', ..] => Ok(Some((1, Incoming::Other))),
        _ => message(received),
    }
}

fn message(received: &[u8]) -> Result<Option<(usize, Incoming<'static>)>, Refused> {
    match Message::<Vec<u8>>::parse(received) {
        Ok((Message::Response(answer), used)) => Ok(Some((used, Incoming::Answer(answer)))),
        Ok((Message::Request(_) | Message::Data(_), used)) => Ok(Some((used, Incoming::Other))),
        Err(ParseError::Incomplete(_)) if received.len() < MESSAGE_BYTES_MAX => Ok(None),
        Err(_) => Err(Refused("Invalid RTSP message".to_owned())),
    }
}

pub(super) fn sequence_of(answer: &Response<Vec<u8>>) -> Option<u32> {
    header(answer, &headers::CSEQ)?.trim().parse().ok()
}

fn header<'a>(answer: &'a Response<Vec<u8>>, name: &HeaderName) -> Option<&'a str> {
    answer.header(name).map(|value| value.as_str())
}

/// Whether an answer to `OPTIONS` names this method.
pub(super) fn offers(answer: &Response<Vec<u8>>, method: &str) -> bool {
    header(answer, &headers::PUBLIC).is_some_and(|public| public.split(',').any(|m| m.trim() == method))
}

impl Held {
    /// `id[;timeout=seconds]` (RFC 2326 §12.37).
    fn parse(header: &str) -> Self {
        let mut parts = header.split(';').map(str::trim);
        let id = parts.next().unwrap_or_default().to_owned();
        let seconds = parts.find_map(|part| part.strip_prefix("timeout=")).and_then(|s| s.trim().parse().ok());
        let timeout = seconds.filter(|s| (4..=86_400).contains(s)).map_or(SESSION_TIMEOUT, Duration::from_secs);
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
        check("a;timeout=0", "a", 60);
        check("a;timeout=never", "a", 60);
    }

    #[test]
    fn messages_are_told_from_packets_wherever_they_are_cut() {
        let bytes = b"$\x00\x00\x02ab\r\nRTSP/1.0 200 OK\r\nCSeq: 7\r\nPublic: OPTIONS, GET_PARAMETER\r\n\r\n$";
        for cut in 0..=bytes.len() {
            let (mut rest, mut answers) = (&bytes[..cut], Vec::new());
            while let Some((used, message)) = next_message(rest).expect("well formed") {
                if let Incoming::Answer(answer) = message {
                    answers.push((sequence_of(&answer), offers(&answer, "GET_PARAMETER"), offers(&answer, "SETUP")));
                }
                rest = &rest[used..];
            }
            let whole = cut >= bytes.len() - 1;
            assert_eq!(answers, [(Some(7), true, false)][..usize::from(whole)].to_vec(), "cut at {cut}");
        }
        assert!(next_message(b"\x00\x01garbage\r\n\r\n").is_err());
        assert!(next_message(&[b'A'; MESSAGE_BYTES_MAX]).is_err(), "a message without an end");
    }
}
