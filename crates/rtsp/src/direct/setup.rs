//! How a session is opened: described, set up and played, all on one connection.
//!
//! Cameras write their own addresses wrong: behind a router, without the slash, without the query. So a stream is asked for
//! by each name that its description may mean, until the camera knows one.
//!
//! Invariant: whatever a camera answers, requests go to the host that was configured; what its answers say of others is at
//! most a name inside a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use url::Url;

use crate::Transport;
use crate::replay::ReplayRange;

use super::super::RtspConfig;
use super::super::description::Description;
use super::super::params::Choice;
use super::Reader;
use super::connection::{Closing, RtspConnection, Target, TornDown};
use super::learnt::Learnt;
use super::link::{host, is_secure, port};
use super::tls::TlsError;
use super::tracks::Tracks;
use super::wire::WireError;
use footage::units::WallTime;

/// Redirects that are followed for one session.
const REDIRECTS_MAX: usize = 5;
/// A host that does not take a connection within this is away.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest name of a stream that is asked for.
const NAME_BYTES_MAX: usize = 4096;

/// Why a session could not be opened. Parts of its text are the camera's own; none is a credential.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum SetupError {
    #[error("no answer")]
    Unreachable,
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("{0}")]
    Tls(TlsError),
    #[error("{source}")]
    Io { request: &'static str, source: std::io::Error },
    #[error("closed instead of answering {request}")]
    Closed { request: &'static str },
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{status} to {request}: {reason}")]
    Status { request: &'static str, status: u16, reason: String },
    #[error("{request} was answered with a challenge that is not understood")]
    Challenge { request: &'static str },
    #[error("sent to {location}")]
    Moved { request: &'static str, location: String, camera: IpAddr },
    #[error("{request} was redirected to {to}, which is not the configured host")]
    MovedElsewhere { request: &'static str, to: String },
    #[error("redirected more than {REDIRECTS_MAX} times")]
    MovedTooOften,
    #[error("no UDP ports: {0}")]
    Ports(std::io::Error),
    #[error("no stream in the description")]
    NoStream,
    #[error("no video, only {0:?}")]
    NoVideo(Vec<String>),
}

impl SetupError {
    /// The camera does not know the name that it was asked for.
    fn is_unknown_name(&self) -> bool {
        matches!(self, Self::Status { status: 400 | 404 | 410 | 451 | 454 | 455 | 459 | 460 | 500, .. })
    }

    fn is_hang_up(&self) -> bool {
        matches!(self, Self::Closed { .. } | Self::Io { .. })
    }
}

/// A session that plays.
pub(in super::super) struct Opened {
    pub(in super::super) reader: Reader,
    pub(in super::super) choice: Choice,
    /// What is odd about how it was opened, for people.
    pub(in super::super) odd: Vec<String>,
    /// When the certificate that convinced ends to be valid.
    pub(in super::super) certificate_until: Option<WallTime>,
}

/// Opens a session. `step` is given what is asked for; `replay` is what of the camera's own recording is played.
pub(in super::super) async fn open(
    config: &RtspConfig,
    replay: Option<ReplayRange>,
    learnt: &Arc<Learnt>,
    closing: &Closing,
    step: &mut (dyn FnMut(&'static str) + Send),
) -> Result<Opened, SetupError> {
    let mut url = config.url.clone();
    let mut odd = Vec::new();
    for _ in 0..=REDIRECTS_MAX {
        step("a connection");
        let target = Target {
            url: url.clone(),
            camera: config.camera.to_string(),
            username: config.username.clone(),
            password: config.password.clone(),
            trust: config.tls.clone(),
            replay,
        };
        let connecting = timeout(CONNECT_WAIT_MAX, RtspConnection::open(target, learnt.clone()));
        let connection = connecting.await.map_err(|_| SetupError::Unreachable)??;
        let connection = TornDown::new(connection, closing.clone());
        match open_on(connection, &url, config, learnt, step).await {
            Err(SetupError::Moved { request, location, camera }) => {
                url = redirected(&config.url, &url, &location, camera)
                    .ok_or(SetupError::MovedElsewhere { request, to: location })?;
                odd.push(format!("{request} is redirected to another address of the camera"));
            }
            Ok(mut opened) => {
                opened.odd.append(&mut odd);
                return Ok(opened);
            }
            Err(error) => return Err(error),
        }
    }
    Err(SetupError::MovedTooOften)
}

async fn open_on(
    mut connection: TornDown,
    url: &Url,
    config: &RtspConfig,
    learnt: &Learnt,
    step: &mut (dyn FnMut(&'static str) + Send),
) -> Result<Opened, SetupError> {
    step("DESCRIBE");
    let answer = connection.describe().await?;
    let description = Description::parse(&answer.body);
    if description.media.is_empty() {
        return Err(SetupError::NoStream);
    }
    let mut choice = Choice::among(&description, config.audio).map_err(SetupError::NoVideo)?;
    let mut odd: Vec<String> = description.odd.iter().map(|what| (*what).to_owned()).collect();
    let base = answer.header("content-base").or(answer.header("content-location")).filter(|base| has_scheme(base));
    let names = Names { asked: url, base, session: description.control.as_deref() };
    let offers_get_parameter = answer.offers("GET_PARAMETER");
    step("SETUP");
    let video = &description.media[choice.video.stream];
    let mut tracks = Tracks::new(config.transport, connection.link.ends().ok())?;
    let controls = names.of_stream(video.control.as_deref());
    let answered = set_up(&mut connection, &controls, &tracks.video_transport(), learnt).await;
    let (control, answered) = match answered {
        Err(SetupError::Moved { request, location, camera }) => {
            let location = without_control(location, video.control.as_deref());
            return Err(SetupError::Moved { request, location, camera });
        }
        answered => answered?,
    };
    if controls.first() != Some(&control) {
        odd.push("the stream is not set up at the address that the description gives".to_owned());
    }
    odd.extend(tracks.take_video(&answered).map(str::to_owned));
    if let Some(audio) = &choice.audio {
        let controls = names.of_stream(description.media[audio.stream].control.as_deref());
        match set_up(&mut connection, &controls, &tracks.sound_transport()?, learnt).await {
            Ok((_, answered)) => odd.extend(tracks.take_sound(&answered).map(str::to_owned)),
            // Pictures without sound are better than nothing at all.
            Err(SetupError::Status { .. }) => {
                odd.push("the sound is refused".to_owned());
                tracks.forgo_sound();
                choice.forgo_audio(&description);
            }
            Err(error) => return Err(error),
        }
    }
    step("PLAY");
    play(&mut connection, names.of_session(&control), &tracks).await?;
    let certificate_until = connection.link.certificate_until();
    let is_replay = connection.is_replay();
    let reader = Reader::new(connection, tracks, &description, &choice, offers_get_parameter).replaying(is_replay);
    Ok(Opened { reader, choice, odd, certificate_until })
}

/// Sets a stream up by the first of its names that the camera knows; gives that, and what it says of the transport.
async fn set_up(
    connection: &mut RtspConnection,
    names: &[String],
    transport: &str,
    learnt: &Learnt,
) -> Result<(String, String), SetupError> {
    let first = learnt.variant() % names.len().max(1);
    let mut refusal = SetupError::NoStream;
    for n in (first..names.len()).chain(0..first) {
        match connection.set_up(&names[n], transport).await {
            Ok(answered) => {
                learnt.set_variant(n);
                return Ok((names[n].clone(), answered));
            }
            Err(error) if error.is_unknown_name() => {
                // What it says to the name that the description means is what people should read.
                if !matches!(refusal, SetupError::Status { .. }) {
                    refusal = error;
                }
            }
            Err(error) => {
                if error.is_hang_up() {
                    learnt.set_variant(n + 1);
                }
                return Err(error);
            }
        }
    }
    Err(refusal)
}

async fn play(connection: &mut RtspConnection, names: Vec<String>, tracks: &Tracks) -> Result<(), SetupError> {
    let mut refusal = SetupError::NoStream;
    for name in names {
        match connection.play(&name, tracks.datagrams()).await {
            Ok(()) => {
                connection.session = name;
                return Ok(());
            }
            Err(error) if error.is_unknown_name() => {
                if !matches!(refusal, SetupError::Status { .. }) {
                    refusal = error;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(refusal)
}

/// What a session and its streams may be called.
struct Names<'a> {
    asked: &'a Url,
    base: Option<&'a str>,
    session: Option<&'a str>,
}

impl Names<'_> {
    /// Of one stream, by what its description says, likeliest first.
    fn of_stream(&self, control: Option<&str>) -> Vec<String> {
        let asked = self.asked.as_str();
        let base = self.base.unwrap_or(asked);
        let control = match control {
            None | Some("*") => return written([base.to_owned(), asked.to_owned()]),
            Some(control) => control,
        };
        let resolved =
            |base: &str| Url::parse(base).ok().and_then(|b| b.join(control).ok()).map(|u| u.as_str().to_owned());
        if has_scheme(control) {
            let own = Url::parse(control).ok();
            let last = own.as_ref().and_then(|own| own.path_segments()?.next_back().map(str::to_owned));
            let at_our_host = own.and_then(|own| self.at_our_host(own));
            let by_last = last.filter(|last| !last.is_empty()).map(|last| appended(asked, &last));
            return written([Some(control.to_owned()), at_our_host, by_last].into_iter().flatten());
        }
        let on_session = self.session.filter(|s| has_scheme(s)).map(|session| appended(session, control));
        let absolute = control.starts_with('/').then(|| resolved(base)).flatten();
        let names = [
            absolute,
            Some(appended(base, control)),
            Some(appended(asked, control)),
            on_session,
            resolved(base),
            query_last(self.asked, control),
        ];
        written(names.into_iter().flatten())
    }

    /// Of the session as a whole (RFC 2326 §C.1.1), likeliest first; `control` is its video stream.
    fn of_session(&self, control: &str) -> Vec<String> {
        let asked = self.asked.as_str();
        let base = self.base.filter(|base| base.trim_end_matches('/') != asked.trim_end_matches('/')).unwrap_or(asked);
        let own = match self.session {
            Some(session) if has_scheme(session) => session.to_owned(),
            Some(session) => appended(base, session),
            None => base.to_owned(),
        };
        written([own, base.to_owned(), asked.to_owned(), control.to_owned()])
    }

    fn at_our_host(&self, mut url: Url) -> Option<String> {
        url.set_host(self.asked.host_str()).ok()?;
        url.set_port(self.asked.port()).ok()?;
        Some(url.as_str().to_owned())
    }
}

/// Some cameras want the query behind the stream's own name.
fn query_last(asked: &Url, control: &str) -> Option<String> {
    let query = asked.query()?;
    let mut plain = asked.clone();
    plain.set_query(None);
    Some(format!("{}?{query}", appended(plain.as_str(), control)))
}

/// As cameras mean it, whatever RFC 3986 says of queries and missing slashes.
fn appended(base: &str, control: &str) -> String {
    format!("{}/{}", base.trim_end_matches('/'), control.trim_start_matches('/'))
}

/// Each name once, in a form that a request line can hold.
fn written(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut written = Vec::new();
    for name in names {
        let name: String = name
            .chars()
            .map(|c| match c {
                ' ' => "%20".to_owned(),
                c if c.is_control() => String::new(),
                c => c.to_string(),
            })
            .collect();
        if name.len() <= NAME_BYTES_MAX && !written.contains(&name) {
            written.push(name);
        }
    }
    written
}

fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| scheme == "rtsp" || scheme == "rtsps")
}

/// Where a camera may send us: to another port or path of its own, never to another host, never out of TLS.
fn redirected(configured: &Url, from: &Url, location: &str, camera: IpAddr) -> Option<Url> {
    let mut to = from.join(location).ok()?;
    let known_scheme = to.scheme() == "rtsps" || (to.scheme() == "rtsp" && !is_secure(configured));
    let own = !host(&to).is_empty() && host(&to).eq_ignore_ascii_case(host(configured))
        || host(&to).parse::<IpAddr>().is_ok_and(|to| to == camera);
    if !known_scheme || !own || port(&to) == 0 {
        return None;
    }
    // What a camera writes there is no credential of ours.
    to.set_username("").and_then(|()| to.set_password(None)).ok()?;
    to.set_fragment(None);
    Some(to)
}

/// A redirect of SETUP names the stream: the session is what comes before.
fn without_control(location: String, control: Option<&str>) -> String {
    let session = control.and_then(|control| location.strip_suffix(control)).map(str::to_owned);
    session.unwrap_or(location)
}

/// How RTP travels, as a request says it.
pub(super) fn transport_of(transport: Transport, first: u16) -> String {
    let last = first + 1;
    match transport {
        Transport::Tcp => format!("RTP/AVP/TCP;unicast;interleaved={first}-{last}"),
        Transport::Udp => format!("RTP/AVP;unicast;client_port={first}-{last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect("a url")
    }

    #[test]
    fn a_stream_is_asked_for_by_each_name_that_may_be_meant() {
        let check = |asked: &str, base: Option<&str>, control: &str, expect: &[&str]| {
            let names = Names { asked: &url(asked), base, session: None };
            assert_eq!(names.of_stream(Some(control)), expect, "{asked} {base:?} {control}");
        };
        check("rtsp://h/s", Some("rtsp://h/s/"), "t1", &["rtsp://h/s/t1"]);
        check("rtsp://h/s", None, "t1", &["rtsp://h/s/t1", "rtsp://h/t1"]);
        check("rtsp://h/s", Some("rtsp://10.0.0.9/s/"), "t1", &["rtsp://10.0.0.9/s/t1", "rtsp://h/s/t1"]);
        check("rtsp://h/s/", None, "rtsp://10.0.0.9:554/s/t1", &["rtsp://10.0.0.9:554/s/t1", "rtsp://h/s/t1"]);
        check(
            "rtsp://h/m?profile=1",
            None,
            "t1",
            &["rtsp://h/m?profile=1/t1", "rtsp://h/t1", "rtsp://h/m/t1?profile=1"],
        );
        check("rtsp://h/m", None, "/a/t1", &["rtsp://h/a/t1", "rtsp://h/m/a/t1"]);
        check("rtsp://h/m", None, "a b", &["rtsp://h/m/a%20b", "rtsp://h/a%20b"]);
        check("rtsp://h/m", Some("rtsp://h/other"), "*", &["rtsp://h/other", "rtsp://h/m"]);
    }

    #[test]
    fn a_session_is_called_as_the_description_says_or_as_it_was_asked_for() {
        let check = |base: Option<&str>, session: Option<&str>, expect: &[&str]| {
            let names = Names { asked: &url("rtsp://h/s"), base, session };
            assert_eq!(names.of_session("rtsp://h/s/t1"), expect, "{base:?} {session:?}");
        };
        check(None, None, &["rtsp://h/s", "rtsp://h/s/t1"]);
        check(Some("rtsp://h/s/"), None, &["rtsp://h/s", "rtsp://h/s/t1"]);
        check(Some("rtsp://10.0.0.9/x/"), None, &["rtsp://10.0.0.9/x/", "rtsp://h/s", "rtsp://h/s/t1"]);
        check(None, Some("rtsp://192.0.2.1/e"), &["rtsp://192.0.2.1/e", "rtsp://h/s", "rtsp://h/s/t1"]);
        check(None, Some("all"), &["rtsp://h/s/all", "rtsp://h/s", "rtsp://h/s/t1"]);
    }

    #[test]
    fn a_redirect_stays_with_the_camera() {
        let check = |configured: &str, location: &str, expect: Option<&str>| {
            let camera = "10.0.0.2".parse().expect("an address");
            let to = redirected(&url(configured), &url(configured), location, camera);
            assert_eq!(to.as_ref().map(Url::as_str), expect, "{configured} to {location}");
        };
        check("rtsp://cam/s", "rtsp://cam:8554/real/", Some("rtsp://cam:8554/real/"));
        check("rtsp://cam/s", "rtsp://10.0.0.2/s2", Some("rtsp://10.0.0.2/s2"));
        check("rtsp://cam/s", "/other", Some("rtsp://cam/other"));
        check("rtsp://cam/s", "rtsps://cam/s", Some("rtsps://cam/s"));
        check("rtsp://cam/s", "rtsp://root:pw@cam/s", Some("rtsp://cam/s"));
        check("rtsps://cam/s", "rtsp://cam/s", None);
        for elsewhere in ["rtsp://10.0.0.3/s", "rtsp://camera/s", "file:///etc/passwd", "http://cam/s", "rtsp://", ""] {
            let same = elsewhere.is_empty().then_some("rtsp://cam/s");
            check("rtsp://cam/s", elsewhere, same);
        }
    }

    #[test]
    fn a_redirect_of_a_stream_is_one_of_its_session() {
        let check = |location: &str, control: Option<&str>, expect: &str| {
            assert_eq!(without_control(location.to_owned(), control), expect);
        };
        check("rtsp://h:8554/real/t1", Some("t1"), "rtsp://h:8554/real/");
        check("rtsp://h/real", Some("t1"), "rtsp://h/real");
        check("rtsp://h/real", None, "rtsp://h/real");
    }
}
