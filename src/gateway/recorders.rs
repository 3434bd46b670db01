//! Recorders on their threads, cameras dealt out over them; one camera's starts and stops without the others.
//!
//! Cameras over UDP have a thread of their own, which never lets a socket fill: the kernel's usual receive buffer holds a
//! hundred packets, less than one large picture, and what comes then is lost. A TCP socket that is full holds its camera
//! back instead.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::pulse::Pulse;
use super::{CERTIFICATES_DIR, GatewayError, OPENING_AT_ONCE, SETUP_TIMEOUT, TEARDOWN_TIME, tick};
use crate::config::{self, CameraConfig, Config, Transport};
use crate::index::{Change, Index, IndexError};
use crate::permission::Permissions;
use crate::record::{Continuity, Recorder, RecordingContext};
use crate::status::StatusBoard;
use crate::store::Store;
use footage::media::GapCause;
use footage::units::{CameraKey, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};
use rtsp::{RtspConfig, RtspSource, SessionGroup};

/// Recorders on their way to a thread; to start more waits.
const JOBS_MAX: usize = 64;

/// A recorder for a thread.
struct Job {
    recorder: Recorder,
    stop: CancellationToken,
    /// Dropped when the recorder has ended, and its pack is on its way to be sealed.
    ended: oneshot::Sender<()>,
}

/// A thread of recorders.
#[derive(Debug)]
struct Shard {
    jobs: mpsc::Sender<Job>,
    thread: thread::JoinHandle<()>,
}

/// A camera that is recorded.
#[derive(Debug)]
struct Running {
    /// What its session depends on: another means another session.
    session: blake3::Hash,
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
}

/// What recorders are made of.
pub(super) struct Recorders {
    shared: RecordingContext,
    store: Store,
    status: StatusBoard,
    permissions: Permissions,
    stop: CancellationToken,
    /// Where certificates that were pinned are kept.
    certificates: PathBuf,
    pulse: Pulse,
    tick: Duration,
    shards_max: usize,
    /// Sessions on one server are opened one after the other.
    groups: HashMap<(Option<String>, Option<u16>), SessionGroup>,
    over_tcp: Vec<Shard>,
    over_udp: Option<Shard>,
    /// Cameras given to the TCP threads so far.
    dealt: usize,
    running: HashMap<CameraKey, Running>,
}

impl std::fmt::Debug for Recorders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorders({} cameras)", self.running.len())
    }
}

/// What a change of the configuration did to the cameras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CameraChanges {
    /// Recorded from now on.
    pub added: usize,
    /// Not recorded any more.
    pub removed: usize,
    /// Recorded with another session.
    pub restarted: usize,
    /// Untouched: their sessions go on.
    pub kept: usize,
}

impl Recorders {
    pub(super) fn new(
        config: &Config,
        shared: RecordingContext,
        store: Store,
        (status, permissions): (StatusBoard, Permissions),
        stop: CancellationToken,
    ) -> Self {
        let over_tcp = cameras(config).filter(|(_, camera)| camera.transport == Transport::Tcp).count();
        Self {
            pulse: Pulse::new(shared.clock.clone()),
            certificates: config.data_dir.join(CERTIFICATES_DIR),
            shared,
            store,
            status,
            permissions,
            stop,
            tick: config.recording.tick,
            shards_max: config.recording.shards.clamp(1, over_tcp.max(1)),
            groups: HashMap::new(),
            over_tcp: Vec::new(),
            over_udp: None,
            dealt: 0,
            running: HashMap::new(),
        }
    }

    /// Records the configuration's cameras and no others. Sessions of cameras that stay as they were go on.
    ///
    /// # Errors
    /// When a thread cannot be started, or the index does not say where a camera's footage ended. Cameras that were
    /// started before are recorded.
    pub(super) async fn apply(&mut self, config: &Config) -> Result<CameraChanges, GatewayError> {
        let mut changes = CameraChanges::default();
        let wanted: HashMap<CameraKey, &CameraConfig> = cameras(config).collect();
        let gone: Vec<CameraKey> = self.running.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in gone {
            self.end(&key).await;
            self.status.remove(&key);
            changes.removed += 1;
        }
        for (key, camera) in cameras(config) {
            let session = session(camera);
            match self.running.get(&key).map(|running| running.session == session) {
                Some(true) => {
                    changes.kept += 1;
                    continue;
                }
                Some(false) => {
                    self.end(&key).await;
                    changes.restarted += 1;
                }
                None => changes.added += 1,
            }
            self.begin(key, camera, session).await?;
        }
        Ok(changes)
    }

    /// The camera's pack is on its way to be sealed when this returns.
    async fn end(&mut self, key: &CameraKey) {
        if let Some(Running { stop, ended, .. }) = self.running.remove(key) {
            stop.cancel();
            // Ended is ended, whether it says so or is dropped.
            let _ = ended.await;
        }
    }

    async fn begin(
        &mut self,
        key: CameraKey,
        camera: &CameraConfig,
        session: blake3::Hash,
    ) -> Result<(), GatewayError> {
        let shared = self.shared.clone();
        let server = (camera.url.host_str().map(str::to_owned), camera.url.port());
        let group = self.groups.entry(server).or_default().clone();
        let source = RtspSource::new(rtsp_config(&self.certificates, &key, camera), shared.clock.clone(), group);
        let now = shared.clock.wall();
        let continuity = match self.store.shared(&key) {
            // What others recorded does not count.
            Some(config::SharedStore { rank, .. }) => {
                let last_end = shared.index.own_end(&key, *rank).await?;
                continuity_after(&shared.index, &key, last_end, now).await?
            }
            None => continuity(&shared.index, &key, now).await?,
        };
        let recorder = Recorder::new(shared, Box::new(source), self.status.slot(&key), key.clone(), continuity);
        let recorder = recorder.within(self.stop.clone()).permitted_by(self.permissions.of(&key));
        let (stop, (ended, has_ended)) = (self.stop.child_token(), oneshot::channel());
        let jobs = self.thread_for(camera.transport)?;
        let job = Job { recorder, stop: stop.clone(), ended };
        if jobs.send(job).await.is_err() {
            tracing::error!(camera = %key, "its recording thread has ended: it is not recorded until the next start");
        }
        self.running.insert(key, Running { session, stop, ended: has_ended });
        Ok(())
    }

    fn thread_for(&mut self, transport: Transport) -> Result<mpsc::Sender<Job>, GatewayError> {
        let (opening, pulse) = (&self.shared.opening, &self.pulse);
        if transport == Transport::Udp {
            let shard = match self.over_udp.take() {
                Some(shard) => shard,
                None => start_shard("udp".to_owned(), Duration::ZERO, opening, pulse)?,
            };
            return Ok(self.over_udp.insert(shard).jobs.clone());
        }
        let n = self.dealt % self.shards_max;
        self.dealt += 1;
        if n >= self.over_tcp.len() {
            self.over_tcp.push(start_shard(n.to_string(), self.tick, opening, pulse)?);
        }
        Ok(self.over_tcp[n].jobs.clone())
    }

    /// Whether the threads turn.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The threads, which end when the recorders have: their `stop` is cancelled by the caller.
    pub(super) fn into_threads(self) -> Vec<thread::JoinHandle<()>> {
        self.over_tcp.into_iter().chain(self.over_udp).map(|shard| shard.thread).collect()
    }
}

fn cameras(config: &Config) -> impl Iterator<Item = (CameraKey, &CameraConfig)> {
    config.tenants.iter().flat_map(|tenant| {
        let key = |camera: &CameraConfig| CameraKey { tenant: tenant.id.clone(), camera: camera.id.clone() };
        tenant.cameras.iter().map(move |camera| (key(camera), camera))
    })
}

/// Everything that a camera's session depends on, as a hash that is compared and never shown.
fn session(camera: &CameraConfig) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    let password = camera.password.as_ref().map(|password| password.expose_secret());
    let text = format!(
        "{:?}",
        (
            camera.url.as_str(),
            camera.username.as_deref(),
            password,
            camera.transport == Transport::Tcp,
            camera.audio_legal_basis.is_some(),
            camera.silence_max,
            &camera.tls,
        )
    );
    hash.update(text.as_bytes());
    hash.finalize()
}

/// A thread that runs what it is given until nothing more can come, and all of it has ended.
fn start_shard(name: String, tick: Duration, opening: &Arc<Semaphore>, pulse: &Pulse) -> Result<Shard, GatewayError> {
    let beating = pulse.thread(&name);
    let io = |source| GatewayError::Io { path: format!("recording thread {name}").into(), source };
    let opening = opening.clone();
    let is_opening = move || opening.available_permits() < OPENING_AT_ONCE;
    let runtime = tick::recording_runtime(tick, is_opening).map_err(io)?;
    let (jobs, mut given) = mpsc::channel::<Job>(JOBS_MAX);
    let record = async move {
        tokio::spawn(beating);
        let mut recorders = JoinSet::new();
        loop {
            tokio::select! {
                job = given.recv() => {
                    let Some(Job { recorder, stop, ended }) = job else { break };
                    recorders.spawn(async move {
                        recorder.run(stop).await;
                        drop(ended);
                    });
                }
                Some(done) = recorders.join_next() => log_bad_end(done),
            }
        }
        while let Some(done) = recorders.join_next().await {
            log_bad_end(done);
        }
        tokio::time::sleep(TEARDOWN_TIME).await;
    };
    let thread = thread::Builder::new().name(format!("record-{name}"));
    Ok(Shard { jobs, thread: thread.spawn(move || runtime.block_on(record)).map_err(io)? })
}

fn log_bad_end(done: Result<(), tokio::task::JoinError>) {
    if let Err(e) = done {
        tracing::error!(error = %e, "a recorder ended badly: its camera is not recorded until the next start");
    }
}

fn rtsp_config(certificates: &Path, key: &CameraKey, camera: &CameraConfig) -> RtspConfig {
    RtspConfig {
        camera: key.clone(),
        url: camera.url.clone(),
        tls: camera.tls.trust(certificates.join(key.tenant.to_string()).join(format!("{}.sha256", key.camera))),
        username: camera.username.clone(),
        password: camera.password.clone(),
        transport: camera.transport,
        audio: camera.audio_legal_basis.is_some(),
        silence_max: camera.silence_max,
        setup_timeout: SETUP_TIMEOUT,
    }
}

/// The last picture before a stop covers its whole time: so much of that may lie ahead of a start that follows at once.
const LAST_PICTURE_MAX: Ticks90k = Ticks90k(TICKS_PER_SECOND / 2);

/// Where a camera's footage ended, and why. A gateway that was stopped has left an open gap; footage without one means
/// that it was killed.
pub async fn continuity(index: &Index, key: &CameraKey, now: WallTime) -> Result<Continuity, IndexError> {
    let last_end = index.extent(key).await?.map(|extent| extent.end());
    continuity_after(index, key, last_end, now).await
}

async fn continuity_after(
    index: &Index,
    key: &CameraKey,
    last_end: Option<WallTime>,
    now: WallTime,
) -> Result<Continuity, IndexError> {
    let around = last_end.and_then(|end| TimeRange::new(end, WallTime(i64::MAX)));
    let everything = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX));
    let misdated = !index.misdated(key).await?.is_empty();
    // By the right times, which are not of the future. What other gateways recorded is not known to them.
    let stamped_end = last_end;
    let last_end = if misdated { index.filmed_until(key).await? } else { last_end };
    let last_end = last_end.map(|end| if end.since(now) > LAST_PICTURE_MAX { now } else { end });
    let mut open = None;
    if let Some(range) = around.filter(|_| !misdated).or(everything) {
        let gaps = index.gaps(key, range).await?;
        open = gaps.iter().rev().find(|gap| gap.end.is_none()).map(|gap| (gap.start, gap.cause));
    }
    if stamped_end != last_end
        && let (Some((start, cause)), Some(end)) = (open, last_end)
        && start != end
    {
        open = Some((end, cause));
        index.write(vec![Change::OpenGap { camera: key.clone(), start: end, cause }]).await?;
    }
    // The torn tail of a pack may reach beyond the start of a gap that was opened without it.
    if let (Some((start, cause)), Some(end)) = (open, last_end)
        && start < end
    {
        open = Some((end, cause));
    }
    let mut continuity = Continuity::new(key.clone(), last_end, open);
    if open.is_none() && last_end.is_some() {
        index.write(continuity.stopped(now, GapCause::GatewayCrashed)).await?;
    }
    Ok(continuity)
}
