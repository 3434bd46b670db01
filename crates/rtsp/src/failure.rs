//! What goes wrong, as one line without credentials, and the cause of the gap that follows.

use std::any::Any;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::Transport;
use footage::media::GapCause;
use footage::source::SourceError;

use super::RtspConfig;
use super::direct::{SetupError, port};

/// Longest detail, in characters: it is shown in a table and kept in the index.
const DETAIL_CHARS_MAX: usize = 300;

/// How a playing session ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// What came is not regular, or no RTP at all.
    Irregular(Box<str>),
    /// The connection broke.
    Io(std::io::Error),
    /// End of the TCP stream.
    Closed,
    /// End of the TCP stream in the middle of a packet or message.
    CutOff,
}

/// Turns errors into what the operator reads.
#[derive(Clone, Debug)]
pub(super) struct Failures {
    /// `host:port`.
    endpoint: String,
    username: Option<String>,
    password: Option<SecretString>,
    transport: Transport,
    setup_timeout: Duration,
}

impl Failures {
    pub(super) fn new(config: &RtspConfig) -> Self {
        let host = config.url.host_str().unwrap_or("(no host)");
        Self {
            endpoint: format!("{host}:{}", port(&config.url)),
            username: config.username.clone(),
            password: config.password.clone(),
            transport: config.transport,
            setup_timeout: config.setup_timeout,
        }
    }

    /// Why a session could not be opened.
    pub(super) fn of(&self, error: &SetupError) -> SourceError {
        let endpoint = &self.endpoint;
        match error {
            SetupError::Unreachable => self.no_answer(""),
            SetupError::Connect(error) => self.unconnected(&error.to_string()),
            SetupError::Tls(error) => self.say(GapCause::ConnectFailed, format!("no trust in {endpoint}: {error}")),
            SetupError::Ports(error) => {
                self.say(GapCause::ConnectFailed, format!("the gateway has no UDP ports to offer to {endpoint}: {error}"))
            }
            SetupError::Io { source, .. } => self.ended(&source.to_string()),
            SetupError::Closed { request } => {
                let detail = format!("{endpoint} closed the connection instead of answering {request}");
                self.say(GapCause::Disconnected, detail)
            }
            SetupError::Wire(error) => self.unusable(&error.to_string()),
            SetupError::Status { request, status, reason } => self.of_status(*status, reason, request),
            SetupError::Challenge { request } => self.say(
                GapCause::Unauthorized,
                format!("the camera asks for a login of a kind that is not known ({request}): choose digest on the camera"),
            ),
            SetupError::Moved { request, location, .. } | SetupError::MovedElsewhere { request, to: location } => self.say(
                GapCause::ProtocolError,
                format!("{endpoint} redirects {request} to {location}, which is not followed: set that url if it is right"),
            ),
            SetupError::MovedTooOften => {
                self.say(GapCause::ProtocolError, format!("{endpoint} redirects in circles: check the path of its url"))
            }
            SetupError::NoStream => self.say(
                GapCause::UnsupportedMedia,
                "the camera describes no stream that can be read: check the path of its url".to_owned(),
            ),
            SetupError::NoVideo(offered) => self.no_video(offered),
        }
    }

    pub(super) fn end(&self, end: SessionEnd) -> SourceError {
        match end {
            SessionEnd::Irregular(what) => self.unusable(&what),
            SessionEnd::Io(error) => self.ended(&error.to_string()),
            SessionEnd::Closed => self.say(GapCause::Disconnected, format!("{} closed the connection", self.endpoint)),
            SessionEnd::CutOff => self.cut_off(),
        }
    }

    pub(super) fn panicked(&self, panic: &(dyn Any + Send)) -> SourceError {
        self.broken(&panic_message(panic))
    }

    /// The time for a session to open ran out at this request, or before any.
    pub(super) fn no_answer(&self, request: &str) -> SourceError {
        let (endpoint, seconds) = (&self.endpoint, self.setup_timeout.as_secs_f32());
        if matches!(request, "" | "a connection") {
            let detail =
                format!("no answer from {endpoint} within {seconds} s: check that the camera has power and network");
            return self.say(GapCause::ConnectFailed, detail);
        }
        self.say(GapCause::SetupTimeout, format!("{endpoint} did not answer {request} within {seconds} s"))
    }

    pub(super) fn no_parameter_sets(&self) -> SourceError {
        let (endpoint, seconds) = (&self.endpoint, self.setup_timeout.as_secs_f32());
        let detail = format!("{endpoint} sent no picture with parameter sets within {seconds} s");
        self.say(GapCause::SetupTimeout, detail)
    }

    fn no_video(&self, offered: &[String]) -> SourceError {
        let offered = offered.join(", ");
        let detail = format!(
            "the camera offers no H.264 or H.265 video, only {offered}: choose one of these codings on the camera",
        );
        self.say(GapCause::UnsupportedMedia, detail)
    }

    pub(super) fn silent(&self, silence_max: Duration) -> SourceError {
        let (endpoint, seconds) = (&self.endpoint, silence_max.as_secs_f32());
        let hint = match self.transport {
            Transport::Tcp => "",
            Transport::Udp => {
                ": if this is from the start, a firewall may hold back UDP (transport = \"tcp\" avoids it)"
            }
        };
        self.say(GapCause::Silent, format!("no whole picture from {endpoint} for {seconds} s{hint}"))
    }

    fn unconnected(&self, reason: &str) -> SourceError {
        let endpoint = &self.endpoint;
        let detail = if reason.contains("lookup address") {
            format!("the host name of {endpoint} is not known: check the url and the gateway's DNS ({reason})")
        } else if reason.contains("refused") {
            format!("{endpoint} refused the connection: check the port, and that RTSP is on ({reason})")
        } else {
            format!("no connection to {endpoint}: check that the camera has power and network ({reason})")
        };
        self.say(GapCause::ConnectFailed, detail)
    }

    fn ended(&self, reason: &str) -> SourceError {
        let cause = if reason.contains("timed out") { GapCause::Silent } else { GapCause::Disconnected };
        self.say(cause, format!("the connection with {} ended: {reason}", self.endpoint))
    }

    fn cut_off(&self) -> SourceError {
        self.say(GapCause::Disconnected, format!("{} closed the connection in the middle of a message", self.endpoint))
    }

    fn unusable(&self, what: &str) -> SourceError {
        self.say(GapCause::ProtocolError, format!("{} sent what cannot be used: {what}", self.endpoint))
    }

    fn of_status(&self, status: u16, reason: &str, request: &str) -> SourceError {
        let (cause, detail) = match (status, &self.username) {
            (401 | 403, None) => (
                GapCause::Unauthorized,
                format!("the camera asks for a user ({status} to {request}): set username and password"),
            ),
            (401 | 403, Some(user)) => (
                GapCause::Unauthorized,
                format!(
                    "the camera refused user {user} ({status} to {request}: {reason}): check username and password"
                ),
            ),
            (404, _) => {
                (GapCause::ProtocolError, format!("the camera answered 404 to {request}: check the path of its url"))
            }
            (453 | 503, _) => (
                GapCause::ProtocolError,
                format!("the camera answered {status} to {request}: it lacks resources, perhaps for too many viewers"),
            ),
            (461, _) => (
                GapCause::ProtocolError,
                format!("the camera answered 461 to {request}: try the other transport (tcp or udp)"),
            ),
            _ => (GapCause::ProtocolError, format!("the camera answered {status} to {request} ({reason})")),
        };
        self.say(cause, detail)
    }

    fn broken(&self, message: &str) -> SourceError {
        let detail = format!("{} sent a stream that broke its reader: {}", self.endpoint, first_line(message));
        self.say(GapCause::ProtocolError, detail)
    }

    fn say(&self, cause: GapCause, detail: String) -> SourceError {
        let mut detail = without_url_secrets(&detail);
        if let Some(password) = self.password.as_ref().map(|p| p.expose_secret()).filter(|p| !p.is_empty()) {
            detail = detail.replace(password, "***");
        }
        SourceError { cause, detail: clean(&detail, DETAIL_CHARS_MAX) }
    }
}

/// What a panic said.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no message)").to_owned()
}

/// One line of at most `chars` characters, without control characters: cameras choose part of these texts.
pub(super) fn clean(text: &str, chars: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars).collect()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end()
}

/// Cuts each URL down to scheme, host and port: both its user part and its path may hold a password.
fn without_url_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "\"'<>()".contains(c)).unwrap_or(after.len());
        let (url, tail) = after.split_at(end);
        // A password may hold '/', unescaped: the user part goes up to the last '@'.
        let host_on = url.rsplit_once('@').map_or(url, |(_, host)| host);
        let host = host_on.split(['/', '?', '#']).next().unwrap_or_default();
        out.push_str(host);
        if host.len() < host_on.len() {
            out.push_str("/…");
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}
