//! A simulated camera: a real RTSP 1.0 server (RFC 2326) over TCP and UDP that loops an elementary stream and
//! misbehaves on demand. `vigie demo` shows it, the tests and the load benchmark record it.
//!
//! Invariant: what a session was sent can be read back from the camera's log, access unit by access unit, so that a
//! test can say what must have been recorded.
//! Absent on purpose: anything that a recorder could share with it. It knows no other module but the units and `signing`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use footage::clock::{Clock, SystemClock};
use footage::units::{Ticks90k, WallTime};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

mod card;
mod description;
pub mod fleet;
mod playing;
mod quirk;
mod rtp;
mod session;
mod stream;

#[cfg(test)]
mod tests;

use crate::signing::Signing;
pub use card::{Card, CardQuirk, Filmed};
pub use quirk::Quirk;
pub use stream::{Codec, ElementaryStream, StreamError};

/// The film of the demonstration: see `camera/README.md`.
const PEDESTRIANS: &[u8] = include_bytes!("camera/pedestrians.h264");

/// A camera's description.
#[derive(Clone, Debug)]
pub struct SimulatedCamera {
    /// The first part of its URL's path.
    pub path: String,
    /// What it films, over and over.
    pub stream: Arc<ElementaryStream>,
    /// What it sends after [`CameraFaults::other_stream`] was set.
    pub other_stream: Option<Arc<ElementaryStream>>,
    /// User name and password that it asks for.
    pub credentials: Option<(String, String)>,
    /// Asks for basic authentication instead of digest.
    pub basic: bool,
    /// Prepends to each access unit a user-data SEI message that no other has, so that nothing is stored once by
    /// accident.
    pub unique: bool,
    /// Films on whether anybody watches or not, and every session sees the same pictures at the same time with the same
    /// timestamps, from the one that is due when it begins. Otherwise each session sees the film from its beginning.
    pub one_scene: bool,
    /// For so long it has filmed that scene when it starts.
    pub filming_for: Duration,
    /// Signs its stream, each session's from its beginning.
    pub signing: Option<Signing>,
    /// What is odd about its stream.
    pub quirk: Quirk,
    /// Keeps a log of what is sent, without bound: for tests, not for a fleet.
    pub log: bool,
}

impl SimulatedCamera {
    /// A camera that behaves.
    pub fn new(path: &str, stream: Arc<ElementaryStream>) -> Self {
        let path = path.to_owned();
        Self {
            path,
            stream,
            other_stream: None,
            credentials: None,
            basic: false,
            unique: false,
            one_scene: false,
            filming_for: Duration::ZERO,
            signing: None,
            quirk: Quirk::None,
            log: false,
        }
    }

    /// What it films while these faults last.
    fn film(&self, faults: &CameraFaults) -> &Arc<ElementaryStream> {
        self.other_stream.as_ref().filter(|_| faults.other_stream).unwrap_or(&self.stream)
    }
}

/// The camera of the demonstration: pedestrians, each picture unique.
pub fn demo_camera() -> Result<SimulatedCamera, StreamError> {
    let stream = ElementaryStream::parse(PEDESTRIANS, Codec::H264, 10)?;
    Ok(SimulatedCamera { unique: true, ..SimulatedCamera::new("pedestrians", Arc::new(stream)) })
}

/// A request of RTSP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtspStep {
    /// Asks for the description.
    Describe,
    /// Sets a stream up.
    Setup,
    /// Starts it.
    Play,
}

/// What is wrong with a camera now. Lasting faults are flags; those that happen once are taken when they happen.
#[derive(Clone, Debug, Default)]
pub struct CameraFaults {
    /// Connections are closed: as they come when every camera of the server refuses, else at the first request.
    pub refuse: bool,
    /// This request is never answered.
    pub mute_at: Option<RtspStep>,
    /// This request is answered with this status.
    pub error_at: Option<(RtspStep, u16)>,
    /// The description offers no video.
    pub no_video: bool,
    /// The description offers Motion JPEG only.
    pub mjpeg_only: bool,
    /// Playing sessions send nothing, and stay open.
    pub silent: bool,
    /// Each RTP packet is lost with this probability.
    pub loss: f64,
    /// Seed of those losses.
    pub seed: u64,
    /// The second stream is sent, from its first random access point.
    pub other_stream: bool,
    /// Once: every session that plays then ends without a word.
    pub close: bool,
    /// Once: bytes that are no RTSP.
    pub garbage: bool,
    /// Once: RTP timestamps move by so many ticks.
    pub timestamp_jump: i32,
    /// RTP timestamps grow by so many thousandths of what they should: 0 stands for 1000, and a negative number for none
    /// at all.
    pub timestamp_speed: i32,
    /// Packets carry another SSRC than was announced.
    pub wrong_ssrc: bool,
    /// Once: an access unit begins with a NAL unit of no bytes.
    pub empty_nal: bool,
    /// Once: an access unit carries so many bytes more.
    pub huge_bytes: usize,
}

impl CameraFaults {
    /// What is wrong now; what happens once has happened then.
    fn take_once(&mut self) -> Self {
        let now = self.clone();
        (self.garbage, self.timestamp_jump, self.empty_nal, self.huge_bytes) = (false, 0, false, 0);
        now
    }
}

/// An access unit that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which session of this camera, from 1.
    pub session: u64,
    /// RTP timestamp, not wrapped.
    pub timestamp: i64,
    /// Random access point.
    pub random_access: bool,
    /// BLAKE3 of its NAL units, parameter sets first, each after its length in 4 bytes.
    pub hash: blake3::Hash,
    /// The same after the parameter sets that arrived of pictures no slice of which did: they hold for what follows.
    pub after_sets: blake3::Hash,
    /// As `hash`, without the NAL units of which a packet was dropped. When the first packet of an access unit is lost, no
    /// receiver can tell whose it was, and what is left of the unit looks whole.
    pub arrived: blake3::Hash,
    /// No packet of it was dropped.
    pub whole: bool,
}

/// A running camera, to be interfered with.
#[derive(Debug)]
pub struct Live {
    camera: SimulatedCamera,
    faults: Mutex<CameraFaults>,
    clock_offset_ms: AtomicI64,
    sessions: AtomicU64,
    /// How often its sessions were ended.
    closings: AtomicU64,
    /// When its one scene began, the timestamp of the first picture, and the machine's time then.
    scene: (Instant, i64, WallTime),
    card: Mutex<Option<Card>>,
    /// Pictures of the card that were sent.
    replayed: AtomicU64,
    log: Mutex<Vec<Sent>>,
}

impl Live {
    fn new(camera: SimulatedCamera) -> Self {
        Self {
            faults: Mutex::default(),
            clock_offset_ms: AtomicI64::new(0),
            sessions: AtomicU64::new(0),
            closings: AtomicU64::new(0),
            scene: Self::scene(camera.filming_for),
            card: Mutex::default(),
            replayed: AtomicU64::new(0),
            log: Mutex::default(),
            camera,
        }
    }

    /// A scene that began so long ago.
    fn scene(ago: Duration) -> (Instant, i64, WallTime) {
        let (now, wall) = (Instant::now(), SystemClock::default().wall());
        let began = now.checked_sub(ago).unwrap_or(now);
        (began, i64::from(rand::random::<u32>()), wall.saturating_sub(Ticks90k::from_duration(now - began)))
    }

    /// Changes what is wrong with it, for sessions that are open and those that come.
    pub fn set(&self, change: impl FnOnce(&mut CameraFaults)) {
        let mut faults = self.faults.lock();
        change(&mut faults);
        if std::mem::take(&mut faults.close) {
            self.closings.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sets its own clock against the machine's.
    pub fn set_clock_offset(&self, milliseconds: i64) {
        self.clock_offset_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// What it has sent so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.log.lock().clone()
    }

    /// Pictures that it sent from its card so far.
    pub fn replayed(&self) -> u64 {
        self.replayed.load(Ordering::Relaxed)
    }

    /// What no other session of any camera has; of one scene, what no other camera has.
    fn seed(&self, session: u64) -> u64 {
        let session = if self.camera.one_scene { 0 } else { session };
        self.camera.path.bytes().fold(session, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
    }

    /// Sessions that were played so far.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }
}

/// The next of a row of numbers that the seed decides (SplitMix64).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A server of cameras. Dropping it ends every session.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    cameras: HashMap<String, Arc<Live>>,
    _stop: DropGuard,
}

impl Server {
    /// Serves these cameras on this address; port 0 takes any that is free.
    pub async fn start(listen: SocketAddr, cameras: Vec<SimulatedCamera>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let live = |camera: SimulatedCamera| (camera.path.clone(), Arc::new(Live::new(camera)));
        let cameras: HashMap<String, Arc<Live>> = cameras.into_iter().map(live).collect();
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, cameras.clone(), stop.clone()));
        Ok(Self { address, cameras, _stop: stop.drop_guard() })
    }

    /// A camera's address, without credentials.
    pub fn url(&self, path: &str) -> Url {
        let text = format!("rtsp://{}/{path}", self.address);
        Url::parse(&text).expect("a socket address and a plain name make a URL")
    }

    /// A running camera.
    pub fn camera(&self, path: &str) -> Option<&Arc<Live>> {
        self.cameras.get(path)
    }
}

async fn accept(listener: TcpListener, cameras: HashMap<String, Arc<Live>>, stop: CancellationToken) {
    let cameras = Arc::new(cameras);
    let mut sessions = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = sessions.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // Whom it wants is not known yet: only a host that refuses for all its cameras can hang up at once.
            Ok(_) if cameras.values().all(|live| live.faults.lock().refuse) => {}
            Ok((connection, _)) => {
                sessions.spawn(session::serve(connection, cameras.clone()));
            }
            // Out of file descriptors, most often: sessions that end give some back.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
