//! RTSP cameras (RFC 2326), RTP over TCP or UDP: the only module that names retina.
//!
//! A camera is described by retina. Its video alone over TCP, which is what nearly all send, is then read over a connection
//! of our own ([`direct`]), because reading is most of what recording costs; everything else by retina ([`library`]).
//! What the direct reader cannot set up, or did not understand in sessions before, is left to retina too ([`leave`]).
//!
//! Invariants:
//! - An error is one line, says what to do where that is known, and never holds a credential; it names host and port
//!   of the camera, not the path, because some makes put the password there.
//! - What can be carried is recorded, byte for byte and in its order; what is odd is counted ([`Item::Oddities`]). A
//!   session ends when nothing more can come of it. A panic of retina on hostile input is such an end too.
//! - A picture of any size that arrives within `silence_max` is yielded; one that does not is given up as silence,
//!   which is what bounds the memory that an endless one can take.
//! - A session that ends or is dropped sends TEARDOWN in the background.
//!
//! Absent on purpose: retries (the recorder's), TLS and HTTP tunnelling (retina has none), reordering of UDP packets
//! (retina counts a late packet as lost).
//!
//! Losses: the packets lost before each access unit are reported with it. When a loss hits an access unit that already
//! had one before it, retina forgets the first count: `lost_packets` is then too low, but never zero.

mod codec;
mod direct;
mod failure;
mod items;
mod leave;
mod library;
mod params;
#[cfg(test)]
mod tests;
mod watchdog;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use retina::client::{
    self, Credentials, Described, InitialSequenceNumberPolicy, InitialTimestampPolicy, PlayOptions, SessionOptions,
    SetupOptions,
};
use retina::codec::{FrameFormat, ParameterSetInsertion};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};
use url::Url;

use crate::clock::Clock;
use crate::config::Transport;
use crate::media::Params;
use crate::source::{Session, Source, SourceError};
use crate::units::CameraKey;

use direct::{Closing, Plan, Refused};
use failure::Failures;
use items::{Feed, Items};
use leave::Leave;
use library::Library;
use params::Choice;

/// How long a new session waits for the camera to let go of the old one. Longer is useless: a camera that has not
/// answered TEARDOWN by then is busy restarting, and the attempt to connect will tell.
const STALE_SESSION_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long to look whether a host that did not answer DESCRIBE can be reached at all.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The sessions with one RTSP server that may still be open on its side. Cameras behind one host and port share one
/// group, so that a new session waits until the server has closed the old ones.
#[derive(Clone, Default)]
pub struct SessionGroup {
    library: Arc<client::SessionGroup>,
    direct: Closing,
}

impl std::fmt::Debug for SessionGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionGroup({} stale)", self.library.stale_sessions().num_sessions + *self.direct.borrow())
    }
}

/// How to reach one camera.
#[derive(Clone, Debug)]
pub struct RtspConfig {
    /// Whose it is, for the log.
    pub camera: CameraKey,
    /// `rtsp://host[:port]/path?query`, sent as it is; credentials in it are ignored.
    pub url: Url,
    /// RTSP user name, for digest (RFC 2617 §3) or basic (§2) authentication, whichever the camera asks for.
    pub username: Option<String>,
    /// RTSP password.
    pub password: Option<SecretString>,
    /// How RTP travels.
    pub transport: Transport,
    /// Whether sound is recorded: true only where its legal basis is stated.
    pub audio: bool,
    /// A session without a video access unit for this long has ended.
    pub silence_max: Duration,
    /// From the first packet sent to the session being open.
    pub setup_timeout: Duration,
}

/// A camera reached over RTSP.
///
/// Sessions live on the tokio runtime they were opened on, with its timers and sockets.
#[derive(Debug)]
pub struct RtspSource {
    config: RtspConfig,
    clock: Arc<dyn Clock>,
    group: SessionGroup,
    failures: Failures,
    /// What the direct reader could not read.
    leave: Arc<Leave>,
}

impl RtspSource {
    /// A source that has not connected yet.
    pub fn new(mut config: RtspConfig, clock: Arc<dyn Clock>, group: SessionGroup) -> Self {
        // Fails only for a URL without a host, which has no credentials either; the first session then says what is
        // wrong with it.
        let _ = config.url.set_username("").and_then(|()| config.url.set_password(None));
        let failures = Failures::new(&config);
        Self { config, clock, group, failures, leave: Arc::default() }
    }

    async fn connect(&self) -> Result<Session, SourceError> {
        self.await_stale_sessions().await;
        let deadline = Instant::now() + self.config.setup_timeout;
        let mut described = self.describe(deadline).await?;
        let mut choice = self.choose(&described)?;
        let plan = self.direct_plan(&described, &choice);
        let tried = plan.is_some();
        if let Some(plan) = plan {
            // Cheap cameras take few connections at once.
            drop(described);
            match self.play_directly(plan, deadline).await? {
                Ok(reader) => return self.begin(Feed::Direct(Box::new(reader)), choice, deadline).await,
                Err(refused) => debug!(camera = %self.config.camera, %refused, "left to the library"),
            }
            described = self.describe(deadline).await?;
            choice = self.choose(&described)?;
        }
        let library = self.play_with_library(described, &mut choice, deadline).await?;
        if tried {
            self.leave.irregular();
        }
        self.begin(Feed::Library(Box::new(library)), choice, deadline).await
    }

    fn choose(&self, described: &client::Session<Described>) -> Result<Choice, SourceError> {
        Choice::among(described.streams(), self.config.audio).map_err(|offered| self.failures.no_video(&offered))
    }

    /// How to read the camera directly, where that is possible.
    fn direct_plan(&self, described: &client::Session<Described>, choice: &Choice) -> Option<Plan> {
        let alone = self.config.transport == Transport::Tcp && choice.audio.is_none();
        if alone && !self.leave.take() { Plan::of(described, &self.config.url, choice) } else { None }
    }

    /// The inner error is one that retina may fare better with.
    async fn play_directly(
        &self,
        plan: Plan,
        deadline: Instant,
    ) -> Result<Result<direct::Reader, Refused>, SourceError> {
        let mut request = "a connection";
        let (username, password) = (self.config.username.clone(), self.config.password.clone());
        let playing = plan.play(username, password, self.group.direct.clone(), |step| request = step);
        timeout_at(deadline, playing).await.map_err(|_| self.failures.no_answer(request))
    }

    async fn play_with_library(
        &self,
        mut session: client::Session<Described>,
        choice: &mut Choice,
        deadline: Instant,
    ) -> Result<Library, SourceError> {
        self.answer(deadline, "SETUP", session.setup(choice.video.stream, self.setup_options())).await?;
        if let Some(audio) = &choice.audio {
            let stream = audio.stream;
            let refusal = self.within(deadline, "SETUP", session.setup(stream, self.setup_options())).await?.err();
            match refusal {
                // Pictures without sound are better than nothing at all.
                Some(error) if error.status_code().is_some() => {
                    debug!(camera = %self.config.camera, "the camera refused to set up its audio stream");
                    choice.forgo_audio(session.streams());
                }
                Some(error) => return Err(self.failures.of(&error, "SETUP")),
                None => {}
            }
        }
        // Cameras omit `rtptime`, and nothing here uses normal play time. Their `seq` is often wrong (GStreamer's is
        // one too low), and would have each session begin with a loss that was none.
        let options = PlayOptions::default()
            .initial_timestamp(InitialTimestampPolicy::Permissive)
            .initial_seq(InitialSequenceNumberPolicy::Ignore);
        let playing = self.answer(deadline, "PLAY", session.play(options)).await?;
        let demuxed = playing.demuxed().map_err(|error| self.failures.unusable_description(&error))?;
        Ok(Library::new(demuxed, choice.video))
    }

    /// The session is open once its sample descriptions are known.
    async fn begin(&self, mut feed: Feed, choice: Choice, deadline: Instant) -> Result<Session, SourceError> {
        let (first, video) = match feed.described() {
            Some(video) => (None, video),
            None => {
                let first = self.within(deadline, "PLAY with a parameter set", feed.first_described_picture(&*self.clock)).await?;
                let (first, video) = first.map_err(|end| self.failures.end(end))?;
                (Some(first), video)
            }
        };
        let Choice { audio, also_offered, .. } = choice;
        let params = Arc::new(Params { video, audio: audio.map(|audio| audio.params) });
        let (clock, silence_max, failures) = (self.clock.clone(), self.config.silence_max, self.failures.clone());
        let leave = self.leave.clone();
        let items = Items::new(feed, first, params.clone(), clock, silence_max, failures, leave);
        Ok(Session { params, also_offered, items: Box::pin(items) })
    }

    async fn describe(&self, deadline: Instant) -> Result<client::Session<Described>, SourceError> {
        let credentials = self.config.username.as_ref().map(|username| Credentials {
            username: username.clone(),
            password: self.config.password.as_ref().map(|p| p.expose_secret().to_owned()).unwrap_or_default(),
        });
        let options = SessionOptions::default()
            .creds(credentials)
            .user_agent(concat!("vigie/", env!("CARGO_PKG_VERSION")).to_owned())
            .session_group(self.group.library.clone());
        let describe = client::Session::describe(self.config.url.clone(), options);
        match timeout_at(deadline, describe).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(self.failures.of(&error, "DESCRIBE")),
            // retina connects and describes in one: only another look tells a dead host from a hung camera.
            Err(_) if self.is_reachable().await => Err(self.failures.no_answer("DESCRIBE")),
            Err(_) => Err(self.failures.unreachable()),
        }
    }

    async fn is_reachable(&self) -> bool {
        let host = self.config.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let connection = tokio::net::TcpStream::connect((host, self.config.url.port().unwrap_or(554)));
        matches!(timeout(PROBE_TIMEOUT, connection).await, Ok(Ok(_)))
    }

    fn setup_options(&self) -> SetupOptions {
        let transport = match self.config.transport {
            Transport::Tcp => client::Transport::Tcp(Default::default()),
            Transport::Udp => client::Transport::Udp(Default::default()),
        };
        // Nearest to what our own reader records: cameras repeat their parameter sets before each key picture.
        let parameter_set_insertion = ParameterSetInsertion::EachKeyFrame;
        let format = FrameFormat { parameter_set_insertion, ..FrameFormat::MP4 };
        SetupOptions::default().transport(transport).frame_format(format)
    }

    async fn within<T>(
        &self,
        deadline: Instant,
        request: &'static str,
        step: impl Future<Output = T>,
    ) -> Result<T, SourceError> {
        timeout_at(deadline, step).await.map_err(|_| self.failures.no_answer(request))
    }

    async fn answer<T>(
        &self,
        deadline: Instant,
        request: &'static str,
        step: impl Future<Output = Result<T, retina::Error>>,
    ) -> Result<T, SourceError> {
        self.within(deadline, request, step).await?.map_err(|error| self.failures.of(&error, request))
    }

    /// Cheap cameras take few sessions at once, and some go on sending the old one's packets into the new one.
    async fn await_stale_sessions(&self) {
        let SessionGroup { library, direct } = &self.group;
        let stale = library.stale_sessions();
        let sessions = stale.num_sessions + *direct.borrow();
        if sessions == 0 {
            return;
        }
        let mut closing = direct.subscribe();
        let gone = async {
            // An error means that the group is gone, which it is not while we hold it.
            let _ = closing.wait_for(|sessions| *sessions == 0).await;
            let _ = library.await_stale_sessions(&stale).await;
        };
        if timeout(STALE_SESSION_WAIT_MAX, gone).await.is_err() {
            warn!(camera = %self.config.camera, sessions, "the camera keeps old sessions open");
        }
    }
}

impl Source for RtspSource {
    fn open(&self) -> BoxFuture<'_, Result<Session, SourceError>> {
        // Unwind-safe: what the attempt owned is dropped, and retina's session group is behind a lock that no
        // parsing happens under.
        let attempt = AssertUnwindSafe(self.connect()).catch_unwind();
        attempt.map(|outcome| outcome.unwrap_or_else(|panic| Err(self.failures.panicked(panic.as_ref())))).boxed()
    }
}
