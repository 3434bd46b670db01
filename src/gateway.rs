//! Composition root: starts everything in order, drains it in order.
//!
//! Start: lock, keys, store, index, HTTP address, recovery, recorders, sweep. Stop: recorders finish their packs, a last
//! flush, packs are sealed and stored, HTTP answers end, the index closes. Recorders run on threads of their own,
//! cameras dealt out over them; the sockets of a thread are drained together each tick, because many small reads are
//! what recording costs most.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config::{self, Camera, Config, Transport};
use crate::dedup::Dedup;
use crate::hold::Holds;
use crate::http::{self, Access};
use crate::index::{CameraRow, Change, Index, IndexError};
use crate::keys::vault::VaultError;
use crate::keys::vault::master::BadMasterKey;
use crate::keys::{Keys, KeysError};
use crate::media::GapCause;
use crate::packs::Packs;
use crate::policy::CameraPolicy;
use crate::rebuild::walk::{Walker, unknown_camera};
use crate::record::{Continuity, Limits, Recorder, Shared};
use crate::retention::relieve::Reliever;
use crate::retention::{self, Policy};
use crate::retrieve::Footage;
use crate::scrub::Scrubber;
use crate::source::rtsp::{RtspConfig, RtspSource, SessionGroup};
use crate::spool::{Spool, SpoolError};
use crate::status::StatusBoard;
use crate::store::identity::Identified;
use crate::store::probe::Verdict;
use crate::store::{Store, StoreError, StoreId};
use crate::twin::Twin;
use crate::units::{CameraKey, TimeRange, WallTime};

mod open;
mod tick;
mod watch;

pub use open::{gateway_key, index_path, key_places, lock, open, parts, vault};
use watch::{CatchingUp, OwnWatch, StoreWatch};

/// Sessions being opened at a time.
const OPENING_AT_ONCE: usize = 64;
/// From the first packet sent to a session being open.
const SETUP_TIMEOUT: Duration = Duration::from_secs(15);
/// What a thread of recorders waits at its end, for cameras to be told that their sessions are over.
const TEARDOWN_TIME: Duration = Duration::from_millis(200);

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A file or folder of the gateway could not be used.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another gateway records into this folder.
    #[error("{0} is in use by another Vigie: stop that one, or give this one a data folder of its own")]
    InUse(PathBuf),
    /// The HTTP address cannot be listened on.
    #[error("cannot listen on {address}: {source}; set another `listen` in [http]")]
    Listen {
        /// As configured.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tenants cannot be told apart.
    #[error(transparent)]
    Access(#[from] http::TokenMissing),
    /// The gateway's secret.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The keys of sealed packs.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A master key, which the configuration has checked.
    #[error("the master key {0}")]
    Master(#[from] BadMasterKey),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The scrub.
    #[error(transparent)]
    Scrub(#[from] crate::scrub::ScrubError),
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    address: std::net::SocketAddr,
    footage: Footage,
    index: Index,
    spool: Spool,
    spool_tasks: crate::spool::Tasks,
    shards: Vec<thread::JoinHandle<()>>,
    flusher: JoinHandle<()>,
    sweeper: JoinHandle<()>,
    watches: Vec<JoinHandle<()>>,
    holder: JoinHandle<()>,
    twin: JoinHandle<()>,
    scrubbers: Vec<JoinHandle<()>>,
    server: JoinHandle<()>,
    stop_recording: CancellationToken,
    stop_flushing: CancellationToken,
    stop_serving: CancellationToken,
    _lock: File,
}

/// What reads footage: the gateway itself, and the commands beside it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The index.
    pub index: Index,
    /// The spool; not started.
    pub spool: Spool,
    /// The store.
    pub store: Store,
    /// All packs.
    pub packs: Packs,
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// The gateway's secret.
    pub keys: Keys,
}

impl Gateway {
    /// Starts recording and serving.
    pub async fn start(config: &Config) -> Result<Self, GatewayError> {
        let held = lock(config)?;
        let access = Access::new(config.tenants.iter().map(|t| (&t.id, t.access_token.as_ref())))?;
        // An address that is taken is found out before anything is recorded.
        let listener = TcpListener::bind(config.http_listen)
            .await
            .map_err(|source| GatewayError::Listen { address: config.http_listen, source })?;
        let address =
            listener.local_addr().map_err(|source| GatewayError::Listen { address: config.http_listen, source })?;
        let (opened, beside) = open::open_for_gateway(config).await?;
        let Opened { index, spool, store, packs, clock, keys } = opened.clone();
        spool.reduce_with(Arc::new(Dedup::new(index.clone(), spool.clone(), packs.clone(), keys.clone())));
        open::configure(config, &opened).await?;
        let catching_up = begin_catching_up(&opened, &beside).await;
        if beside.condition().lacks_packs() {
            // Packs of cameras that nothing else tells of.
            let cameras: BTreeSet<CameraKey> =
                spool.pack_files().await?.into_iter().map(|found| found.camera).collect();
            index.write(cameras.iter().map(|of| Change::KnowCamera(unknown_camera(of))).collect()).await?;
        }
        let spool_tasks = spool.start()?;
        spool.recover().await?;

        let status = StatusBoard::default();
        let stop_recording = CancellationToken::new();
        let shared = Shared {
            spool: spool.clone(),
            index: index.clone(),
            clock: clock.clone(),
            limits: Limits {
                pack_bytes_max: config.recording.pack_bytes_max,
                pack_duration_max: config.recording.pack_duration_max,
            },
            opening: Arc::new(Semaphore::new(OPENING_AT_ONCE)),
        };
        let recorders = recorders(config, &store, &shared, &status).await?;
        let cameras = recorders.iter().map(Vec::len).sum::<usize>();
        let shards = start_shards(config, recorders, &shared.opening, &stop_recording)?;

        let (stop_flushing, stop_serving) = (CancellationToken::new(), CancellationToken::new());
        let flusher = {
            let (spool, within, stop) = (spool.clone(), config.recording.durability, stop_flushing.clone());
            tokio::spawn(async move { spool.flush_until(within, stop).await })
        };
        let all = camera_rows(config).into_iter().map(|row| row.key);
        let twin =
            Twin::new(index.clone(), spool.clone(), store.clone(), packs.clone(), keys.clone(), clock.clone(), all);
        let sweeper = {
            let (known, catching, of_sweep) = (twin.clone(), catching_up.clone(), store.clone());
            let (disk, reserve_bytes, spool_max) = (spool.clone(), config.disk_reserve_bytes, config.spool_bytes_max);
            let zone = config.time_zone.clone();
            let reliever = Reliever::new(index.clone(), spool.clone(), packs.clone(), keys.clone(), zone);
            let free_bytes = Arc::new(move || disk.free_bytes_within(reserve_bytes, spool_max));
            let storage = retention::sweep::Storage::new(packs.clone(), free_bytes)
                .relieved_by(reliever)
                .unless(Arc::new(move |pack| {
                    if !known.may_delete(&pack.camera, pack.id) {
                        return Some("another gateway wrote it, and what else that stored is not known yet");
                    }
                    let waits = catching.holds(&of_sweep, pack);
                    waits.then_some("the packs of its store are being entered in the index")
                }))
                .shredding(keys.vault().clone());
            let sweeper = retention::sweep::Sweeper::new(index.clone(), clock.clone(), storage, policy(config, &store))
                .confirmed_by(retention::confirm::file(&config.data_dir));
            tokio::spawn(sweeper.run(stop_flushing.clone()))
        };
        let twin = tokio::spawn(twin.run(stop_flushing.clone()));
        let watches = start_watches(config, &opened, &beside, &catching_up, &stop_flushing);
        let scrubbers = if keys.trouble().is_some() {
            // By a substitute of the key every fragment would look damaged.
            Vec::new()
        } else {
            let parts = (index.clone(), spool.clone(), store.clone(), packs.clone());
            start_scrubs(config, parts, &keys, &clock, &stop_flushing)?
        };
        let zone = config.time_zone.clone();
        let holds = Holds::new(index.clone(), spool.clone(), packs.clone(), keys, clock.clone(), zone);
        let holder = tokio::spawn(holds.clone().run(stop_flushing.clone()));
        let footage = Footage::new(index.clone(), packs, clock);
        let server = {
            let service = http::Service::new(footage.clone(), holds, access, &config.time_zone, status);
            let stop = stop_serving.clone();
            let until = async move { stop.cancelled().await };
            tokio::spawn(http::serve(listener, http::router(service), http::Limits::default(), until))
        };
        info!(%address, cameras, "recording and serving");
        Ok(Self {
            address,
            footage,
            index,
            spool,
            spool_tasks,
            shards,
            flusher,
            sweeper,
            watches,
            holder,
            twin,
            scrubbers,
            server,
            stop_recording,
            stop_flushing,
            stop_serving,
            _lock: held,
        })
    }

    /// Where it serves.
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// What it records, to be read.
    pub fn footage(&self) -> &Footage {
        &self.footage
    }

    /// Stops in order; everything received whole is in the store or in the spool when this returns.
    pub async fn stop(self) {
        info!("stopping");
        self.stop_recording.cancel();
        let shards = self.shards;
        let joined = tokio::task::spawn_blocking(move || {
            shards.into_iter().map(thread::JoinHandle::join).filter(Result::is_err).count()
        });
        if joined.await.unwrap_or(0) > 0 {
            warn!("a recording thread ended badly: the next start recovers what it left");
        }
        self.stop_flushing.cancel();
        let tasks = [self.flusher, self.sweeper, self.holder, self.twin];
        for task in tasks.into_iter().chain(self.scrubbers).chain(self.watches) {
            if let Err(e) = task.await {
                warn!(error = %e, "a task ended badly");
            }
        }
        self.spool.close();
        self.spool_tasks.join().await;
        self.stop_serving.cancel();
        if let Err(e) = self.server.await {
            warn!(error = %e, "the server ended badly");
        }
        self.index.close().await;
        let delays = self.spool.delays();
        let ms = |delay: Duration| delay.as_millis() as u64;
        info!(
            fragments = delays.count(),
            p50_ms = ms(delays.percentile(0.5)),
            p99_ms = ms(delays.percentile(0.99)),
            max_ms = ms(delays.longest()),
            "fragments became durable after these times"
        );
        info!("stopped");
    }
}

/// One task for each store that is read and checked.
fn start_scrubs(
    config: &Config,
    parts: (Index, Spool, Store, Packs),
    keys: &Keys,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
) -> Result<Vec<JoinHandle<()>>, GatewayError> {
    let store = parts.2.clone();
    let scrubber = Arc::new(Scrubber::new(parts, keys.clone(), clock.clone(), config.data_dir.join("scrub"))?);
    let tasks = store.ids().zip(&config.stores).filter(|(_, of)| of.scrub_days > 0).map(|(id, of)| {
        let (scrubber, stop) = (scrubber.clone(), stop.clone());
        let every = Duration::from_secs(u64::from(of.scrub_days) * 86_400);
        tokio::spawn(async move { scrubber.run(id, every, stop).await })
    });
    Ok(tasks.collect())
}

/// Stores whose packs the index may not know. Local ones are looked at now: what recovers the spool may ask them.
async fn begin_catching_up(opened: &Opened, beside: &open::Beside) -> CatchingUp {
    let mut unknown = Vec::new();
    for id in opened.store.ids() {
        let mut may_have_packs = beside.condition().lacks_packs() || !beside.knows(opened.store.name(id));
        if opened.store.is_local(id) {
            match beside.identify(opened, id).await {
                Ok(Identified::New(_)) => may_have_packs = false,
                Ok(_) => {}
                Err(error) => error!("{error}"),
            }
        }
        if may_have_packs {
            unknown.push(id);
        }
    }
    CatchingUp::begin(unknown)
}

/// Watches over each store, and over keys and index.
fn start_watches(
    config: &Config,
    opened: &Opened,
    beside: &open::Beside,
    catching_up: &CatchingUp,
    stop: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let Opened { index, store, packs, clock, .. } = opened.clone();
    let own = OwnWatch {
        opened: opened.clone(),
        beside: beside.clone(),
        index_path: index_path(config),
        data_dir: config.data_dir.clone(),
    };
    let mut watches = vec![tokio::spawn(own.run(stop.clone()))];
    let walker = Walker::new(index, store.clone(), packs, clock, config.time_zone.clone());
    for id in store.ids() {
        let (opened, beside, walker) = (opened.clone(), beside.clone(), walker.clone());
        let watch = StoreWatch { opened, beside, walker, catching_up: catching_up.clone() };
        watches.push(tokio::spawn(watch.run(id, stop.clone())));
    }
    watches
}

/// Says of a store what it lacks, in the log and as events. Recording does not wait for it.
async fn probe_store(opened: &Opened, id: StoreId) {
    let report = opened.store.probe(id, &*opened.clock).await;
    let mut events = Vec::new();
    for finding in report.complaints() {
        let name = &report.store;
        match finding.verdict {
            Verdict::Refused => error!(store = %name, "{finding}"),
            _ => warn!(store = %name, "{finding}"),
        }
        let (at, detail) = (opened.clock.wall(), format!("store {name}: {finding}"));
        events.push(Change::Event { at, tenant: None, camera: None, kind: finding.kind(), detail });
    }
    if events.is_empty() {
        info!(store = %report.store, "the store does all that is asked of it");
    } else if let Err(error) = opened.index.write(events).await {
        warn!(%error, "the index did not take what was found out about a store");
    }
}

/// The configuration's cameras as the index keeps them.
pub fn camera_rows(config: &Config) -> Vec<CameraRow> {
    let cameras = config.tenants.iter().flat_map(|tenant| &tenant.cameras);
    let row = |(policy, camera): (CameraPolicy, &Camera)| CameraRow {
        key: policy.camera,
        name: camera.name.clone(),
        place: camera.place.clone(),
        configured: true,
        retention_max: policy.maximum,
        retention_min: policy.minimum,
    };
    config.policies().into_iter().zip(cameras).map(row).collect()
}

fn policy(config: &Config, store: &Store) -> Policy {
    let cameras = camera_rows(config).into_iter().map(|row| row.key);
    Policy {
        interval: config.retention.interval,
        grace: config.retention.grace,
        disk_reserve_bytes: config.disk_reserve_bytes,
        store_on_disk: store.ids().any(|id| store.is_local(id)),
        stored_elsewhere: cameras.filter(|camera| !store.is_local(store.home(camera))).collect(),
        time_zone: config.time_zone.clone(),
        shared: store.is_shared().then(|| store.clone()),
        stores: Some(store.clone()),
    }
}

/// One recorder a camera, each taking up where its footage ended; those that send over TCP, and those over UDP.
async fn recorders(
    config: &Config,
    store: &Store,
    shared: &Shared,
    status: &StatusBoard,
) -> Result<[Vec<Recorder>; 2], GatewayError> {
    let mut groups: HashMap<(Option<String>, Option<u16>), SessionGroup> = HashMap::new();
    let (mut over_tcp, mut over_udp) = (Vec::new(), Vec::new());
    for tenant in &config.tenants {
        for camera in &tenant.cameras {
            let key = CameraKey { tenant: tenant.id.clone(), camera: camera.id.clone() };
            let server = (camera.url.host_str().map(str::to_owned), camera.url.port());
            let group = groups.entry(server).or_default().clone();
            let source = RtspSource::new(rtsp_config(&key, camera), shared.clock.clone(), group);
            let now = shared.clock.wall();
            let continuity = match store.shared(&key) {
                // What others recorded does not count.
                Some(config::Shared { rank, .. }) => {
                    let last_end = shared.index.own_end(&key, *rank).await?;
                    continuity_after(&shared.index, &key, last_end, now).await?
                }
                None => continuity(&shared.index, &key, now).await?,
            };
            let slot = status.slot(&key);
            let recorder = Recorder::new(shared.clone(), Box::new(source), slot, key, continuity);
            match camera.transport {
                Transport::Tcp => over_tcp.push(recorder),
                Transport::Udp => over_udp.push(recorder),
            }
        }
    }
    Ok([over_tcp, over_udp])
}

fn rtsp_config(key: &CameraKey, camera: &Camera) -> RtspConfig {
    RtspConfig {
        camera: key.clone(),
        url: camera.url.clone(),
        username: camera.username.clone(),
        password: camera.password.clone(),
        transport: camera.transport,
        audio: camera.audio_legal_basis.is_some(),
        silence_max: camera.silence_max,
        setup_timeout: SETUP_TIMEOUT,
    }
}

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
    let mut open = None;
    if let Some(range) = around.or(everything) {
        let gaps = index.gaps(key, range).await?;
        open = gaps.iter().rev().find(|gap| gap.end.is_none()).map(|gap| (gap.start, gap.cause));
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

/// Deals the recorders out over threads and starts them. Cameras over UDP have a thread of their own, which never lets
/// a socket fill: the kernel's usual receive buffer holds a hundred packets, less than one large picture, and what
/// comes then is lost. A TCP socket that is full holds its camera back instead.
fn start_shards(
    config: &Config,
    [over_tcp, over_udp]: [Vec<Recorder>; 2],
    opening: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Result<Vec<thread::JoinHandle<()>>, GatewayError> {
    let shards = config.recording.shards.clamp(1, over_tcp.len().max(1));
    let mut dealt: Vec<Vec<Recorder>> = (0..shards).map(|_| Vec::new()).collect();
    for (i, recorder) in over_tcp.into_iter().enumerate() {
        dealt[i % shards].push(recorder);
    }
    let ticking = dealt.into_iter().map(|recorders| (config.recording.tick, recorders));
    let threads = ticking.chain([(Duration::ZERO, over_udp)]).filter(|(_, recorders)| !recorders.is_empty());
    let start = |(n, (tick, recorders))| {
        let opening = opening.clone();
        let is_opening = move || opening.available_permits() < OPENING_AT_ONCE;
        start_shard(n, tick::recording_runtime(tick, is_opening), recorders, stop.clone())
    };
    threads.enumerate().map(start).collect()
}

fn start_shard(
    n: usize,
    runtime: std::io::Result<Runtime>,
    recorders: Vec<Recorder>,
    stop: CancellationToken,
) -> Result<thread::JoinHandle<()>, GatewayError> {
    let io = |source| GatewayError::Io { path: format!("recording thread {n}").into(), source };
    let runtime = runtime.map_err(io)?;
    let record = async move {
        let tasks: Vec<_> = recorders.into_iter().map(|r| tokio::spawn(r.run(stop.clone()))).collect();
        for task in tasks {
            if let Err(e) = task.await {
                tracing::error!(error = %e, "a recorder ended badly: its camera is not recorded until the next start");
            }
        }
        tokio::time::sleep(TEARDOWN_TIME).await;
    };
    thread::Builder::new().name(format!("record-{n}")).spawn(move || runtime.block_on(record)).map_err(io)
}
