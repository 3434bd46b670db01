//! RTSP cameras (RFC 2326), over TCP or TLS, RTP inside that connection or over UDP.
//!
//! One client of our own, [`direct`], reads every camera ([ADR 15](../../../docs/adr/0015-one-rtsp-client-for-every-camera.md)).
//! What cameras do beside the standards is borne: odd answers and descriptions are read as far as they can be, and noted.
//! The crate retina makes sample descriptions of sound.
//!
//! Invariants:
//! - An error is one line, says what to do where that is known, and never holds a credential; it names host and port
//!   of the camera, not the path, because some makes put the password there.
//! - What can be carried is recorded, byte for byte and in its order; what is odd is counted ([`footage::source::Item::Oddities`]). A
//!   session ends when nothing more can come of it
//!   ([ADR 13](../../../docs/adr/0013-record-what-can-be-carried.md)).
//! - Requests go to the configured host alone, whatever a camera answers.
//! - What a camera sends is bounded before it is kept: 64 KiB of headers, 256 KiB of description.
//! - A picture of up to 16 MiB that arrives within `silence_max` is yielded; a larger one is dropped and counted.
//! - A session that ends or is dropped sends TEARDOWN in the background.
//!
//! Absent on purpose: retries (the recorder's), HTTP tunnelling, SRTP (inside TLS it is not needed).

mod codec;
mod description;
mod direct;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod params;
mod replay;
mod stream;
#[cfg(test)]
mod tests;
mod watchdog;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::SecretString;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;
use url::Url;

use footage::clock::Clock;
use footage::media::Params;
use footage::source::{Session, Source, SourceError};
use footage::units::CameraKey;

use direct::{Closing, Learnt};
use failure::Failures;
use params::Choice;
use stream::MediaStream;

pub use replay::{Replay, ReplayError, ReplayRange, Replayed};

// What `vigie-onvif` speaks HTTP with: cameras have one way to trust and one way to ask for a login.
pub use direct::{Secured, TlsError, TlsTrust, secure, strongest_challenge};

/// How long a new session waits for the camera to let go of the old one. Longer is useless: a camera that has not
/// answered TEARDOWN by then is busy restarting, and the attempt to connect will tell.
const STALE_SESSION_WAIT_MAX: Duration = Duration::from_secs(5);

/// The sessions with one RTSP server that may still be open on its side. Cameras behind one host and port share one
/// group, so that a new session waits until the server has closed the old ones.
#[derive(Clone, Debug, Default)]
pub struct SessionGroup {
    closing: Closing,
}

impl SessionGroup {
    /// Waits until the server has answered the TEARDOWN of each session that was dropped; false where it did not within
    /// this time.
    pub async fn closed_within(&self, time: Duration) -> bool {
        let mut closing = self.closing.subscribe();
        // An error means that the group is gone, which it is not while we hold it.
        timeout(time, closing.wait_for(|sessions| *sessions == 0)).await.is_ok()
    }
}

/// How RTP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Interleaved on the RTSP connection (RFC 2326 §10.12).
    #[default]
    Tcp,
    /// UDP ports of its own.
    Udp,
}

/// How to reach one camera.
#[derive(Clone, Debug)]
pub struct RtspConfig {
    /// Whose it is, for the log.
    pub camera: CameraKey,
    /// `rtsp://host[:port]/path?query` or `rtsps://…`, sent as it is; credentials in it are ignored.
    pub url: Url,
    /// Which certificates of the camera are accepted, for `rtsps`.
    pub tls: TlsTrust,
    /// RTSP user name, for digest (RFC 7616) or basic (RFC 7617) authentication, whichever the camera asks for.
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
    learnt: Arc<Learnt>,
}

impl RtspSource {
    /// A source that has not connected yet.
    pub fn new(mut config: RtspConfig, clock: Arc<dyn Clock>, group: SessionGroup) -> Self {
        // Fails only for a URL without a host, which has no credentials either; the first session then says what is
        // wrong with it.
        let _ = config.url.set_username("").and_then(|()| config.url.set_password(None));
        let failures = Failures::new(&config);
        Self { config, clock, group, failures, learnt: Arc::default() }
    }

    async fn connect(&self) -> Result<Session, SourceError> {
        self.await_stale_sessions().await;
        let deadline = Instant::now() + self.config.setup_timeout;
        let mut request = "";
        let mut step = |next| request = next;
        let opening = direct::open(&self.config, None, &self.learnt, &self.group.closing, &mut step);
        let opened = match timeout_at(deadline, opening).await {
            Ok(opened) => opened.map_err(|error| self.failures.of(&error))?,
            Err(_) => return Err(self.failures.no_answer(request)),
        };
        let direct::Opened { mut reader, choice, odd, certificate_until } = opened;
        // The session is open once its sample description is known.
        let (first, video) = match reader.described() {
            Some(video) => (None, video),
            None => {
                let first = timeout_at(deadline, reader.first_described_picture(&*self.clock)).await;
                let first = first.map_err(|_| self.failures.no_parameter_sets())?;
                let (first, video) = first.map_err(|end| self.failures.end(end))?;
                (Some(first), video)
            }
        };
        let Choice { audio, also_offered, .. } = choice;
        let params = Arc::new(Params { video, audio: audio.map(|audio| audio.params) });
        let (clock, silence_max, failures) = (self.clock.clone(), self.config.silence_max, self.failures.clone());
        let items = MediaStream::new(Box::new(reader), first, params.clone(), clock, silence_max, failures);
        Ok(Session { params, also_offered, odd, certificate_until, items: Box::pin(items) })
    }

    /// Cheap cameras take few sessions at once, and some go on sending the old one's packets into the new one.
    async fn await_stale_sessions(&self) {
        if !self.group.closed_within(STALE_SESSION_WAIT_MAX).await {
            let sessions = *self.group.closing.borrow();
            warn!(camera = %self.config.camera, sessions, "the camera keeps old sessions open");
        }
    }
}

impl Source for RtspSource {
    fn open(&self) -> BoxFuture<'_, Result<Session, SourceError>> {
        // Unwind-safe: what the attempt owned is dropped, and what it shares are whole values.
        let attempt = AssertUnwindSafe(self.connect()).catch_unwind();
        attempt.map(|outcome| outcome.unwrap_or_else(|panic| Err(self.failures.panicked(panic.as_ref())))).boxed()
    }
}
