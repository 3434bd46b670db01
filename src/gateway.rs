//! Composition root: starts everything in order, drains it in order.
//!
//! Start: lock, keys, store, index, HTTP address, recovery, recorders, sweep. Stop: recorders finish their packs, a last
//! flush, packs are sealed and stored, HTTP answers end, the index closes. Recorders run on threads of their own,
//! cameras dealt out over them; the sockets of a thread are drained together each tick, because many small reads are
//! what recording costs most.

use std::collections::HashMap;
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

use crate::clock::{Clock, SystemClock};
use crate::config::{self, Camera, CameraTls, Config, Transport};
use crate::dedup::Dedup;
use crate::hold::Holds;
use crate::http::{self, Access};
use crate::index::{CameraRow, Change, Index, IndexError};
use crate::keys::vault::master::{self, BadMasterKey, Master};
use crate::keys::vault::{Vault, VaultError};
use crate::keys::{Keys, KeysError};
use crate::media::GapCause;
use crate::packs::Packs;
use crate::record::{Continuity, Limits, Recorder, Shared};
use crate::retention::relieve::Reliever;
use crate::retention::{self, Policy};
use crate::retrieve::Footage;
use crate::scrub::Scrubber;
use crate::source::rtsp::{RtspConfig, RtspSource, SessionGroup, TlsTrust};
use crate::spool::{Spool, SpoolError};
use crate::status::StatusBoard;
use crate::store::probe::Verdict;
use crate::store::{Store, StoreError};
use crate::twin::Twin;
use crate::units::{CameraKey, Ticks90k, TimeRange, WallTime};

mod pulse;
mod tick;

pub use pulse::Pulse;

/// Sessions being opened at a time.
const OPENING_AT_ONCE: usize = 64;
/// From the first packet sent to a session being open. Cameras that start their encoder when they are asked take ten
/// seconds for one answer.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);
/// Below the data directory: the certificates of cameras that were pinned at first use.
const CERTIFICATES_DIR: &str = "camera-certificates";
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
    pulse: Pulse,
    flusher: JoinHandle<()>,
    sweeper: JoinHandle<()>,
    prober: JoinHandle<()>,
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
#[derive(Debug)]
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

/// Where the index lies.
pub fn index_path(config: &Config) -> PathBuf {
    config.data_dir.join("index.sqlite")
}

/// Opens what footage is read through. Read-only beside a gateway that may be running; otherwise the folders and the
/// secret are made where they are missing.
pub async fn open(config: &Config, read_only: bool) -> Result<Opened, GatewayError> {
    let index_path = index_path(config);
    let index = if read_only { Index::open_read_only(&index_path).await? } else { Index::open(&index_path).await? };
    let (keys, store, clock) = parts(config)?;
    let spool = Spool::new(&config.spool_dir, store.clone(), index.clone(), clock.clone(), keys.clone());
    let packs = Packs::new(spool.clone(), store.clone());
    Ok(Opened { index, spool, store, packs, clock, keys })
}

/// What does not need the index.
pub fn parts(config: &Config) -> Result<(Keys, Store, Arc<dyn Clock>), GatewayError> {
    let shared = config.tenants.iter().filter_map(|tenant| Some((tenant.id.clone(), tenant.dedup_domain.clone()?)));
    let keys = Keys::load_or_create(&config.data_dir.join("keys").join("gateway.key"))?.with_domains(shared);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let Some(vault) = vault(config)? else {
        let store = Store::of_config(config, &clock, None)?;
        return Ok((keys, store, clock));
    };
    let store = Store::of_config(config, &clock, Some(&keys.names()))?;
    let zone = config.time_zone.clone();
    let maxima: HashMap<CameraKey, Ticks90k> = camera_rows(config)
        .into_iter()
        .filter(|row| config.stores.iter().any(|of| of.encrypt && of.name == store.name(store.home(&row.key))))
        .map(|row| (row.key, row.retention_max))
        .collect();
    let kept_until = move |camera: &CameraKey, now| Some(retention::deadline(now, *maxima.get(camera)?, &zone));
    Ok((keys.with_vault(vault, Arc::new(kept_until)), store, clock))
}

/// The folder of tenant and day keys, and the file of the master key that Vigie makes where none is given.
pub fn key_places(config: &Config) -> (PathBuf, PathBuf) {
    let keys = config.data_dir.join("keys");
    (keys.join("packs"), keys.join("master.key"))
}

/// The keys of sealed packs, where a store is encrypted, or one was.
pub fn vault(config: &Config) -> Result<Option<Vault>, GatewayError> {
    let (folder, own) = key_places(config);
    if !folder.is_dir() && !config.stores.iter().any(|store| store.encrypt) {
        return Ok(None);
    }
    let given = [&config.master_keys.current, &config.master_keys.previous].into_iter().flatten();
    let mut masters = given.map(Master::from_hex).collect::<Result<Vec<_>, _>>()?;
    if masters.is_empty() {
        masters = master::load_or_create(&own)?;
    } else {
        // What Vigie's own wrapped before one was given.
        masters.extend(master::load(&own)?.into_iter().flatten());
    }
    Ok(Some(Vault::open(&folder, masters)))
}

/// Keeps a second gateway out of the data folder for as long as the file is held.
pub fn lock(config: &Config) -> Result<File, GatewayError> {
    let io = |path: &PathBuf| {
        let path = path.clone();
        move |source| GatewayError::Io { path, source }
    };
    std::fs::create_dir_all(&config.data_dir).map_err(io(&config.data_dir))?;
    let path = config.data_dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(GatewayError::InUse(config.data_dir.clone())),
        Err(std::fs::TryLockError::Error(source)) => Err(GatewayError::Io { path, source }),
    }
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
        let Opened { index, spool, store, packs, clock, keys } = open(config, false).await?;
        spool.reduce_with(Arc::new(Dedup::new(index.clone(), spool.clone(), packs.clone(), keys.clone())));
        let spool_tasks = spool.start()?;
        let prober = tokio::spawn(probe_stores(store.clone(), index.clone(), clock.clone()));
        index.write(vec![Change::Configure(camera_rows(config))]).await?;
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
        let (shards, pulse) = start_shards(config, recorders, &shared, &stop_recording)?;

        let (stop_flushing, stop_serving) = (CancellationToken::new(), CancellationToken::new());
        let flusher = {
            let (spool, within, stop) = (spool.clone(), config.recording.durability, stop_flushing.clone());
            tokio::spawn(async move { spool.flush_until(within, stop).await })
        };
        let all = camera_rows(config).into_iter().map(|row| row.key);
        let twin =
            Twin::new(index.clone(), spool.clone(), store.clone(), packs.clone(), keys.clone(), clock.clone(), all);
        let sweeper = {
            let known = twin.clone();
            let (disk, reserve_bytes, spool_max) = (spool.clone(), config.disk_reserve_bytes, config.spool_bytes_max);
            let zone = config.time_zone.clone();
            let reliever = Reliever::new(index.clone(), spool.clone(), packs.clone(), keys.clone(), zone);
            let free_bytes = Arc::new(move || disk.free_bytes_within(reserve_bytes, spool_max));
            let storage = retention::sweep::Storage::new(packs.clone(), free_bytes)
                .relieved_by(reliever)
                .when(Arc::new(move |pack| known.may_delete(&pack.camera, pack.id)))
                .shredding(keys.vault().clone());
            let sweeper = retention::sweep::Sweeper::new(index.clone(), clock.clone(), storage, policy(config, &store));
            tokio::spawn(sweeper.run(stop_flushing.clone()))
        };
        let twin = tokio::spawn(twin.run(stop_flushing.clone()));
        let scrubbers = {
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
            pulse,
            flusher,
            sweeper,
            prober,
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

    /// Whether its recording threads turn.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
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
        self.prober.abort();
        let tasks = [self.flusher, self.sweeper, self.holder, self.twin];
        for task in tasks.into_iter().chain(self.scrubbers) {
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

/// Says of each store what it lacks, in the log and as events. Recording does not wait for it.
async fn probe_stores(store: Store, index: Index, clock: Arc<dyn Clock>) {
    for id in store.ids() {
        let report = store.probe(id, &*clock).await;
        let mut events = Vec::new();
        for finding in report.complaints() {
            let name = &report.store;
            match finding.verdict {
                Verdict::Refused => error!(store = %name, "{finding}"),
                _ => warn!(store = %name, "{finding}"),
            }
            let detail = format!("store {name}: {finding}");
            events.push(Change::Event { at: clock.wall(), tenant: None, camera: None, kind: "store_probe", detail });
        }
        if events.is_empty() {
            info!(store = %report.store, "the store does all that is asked of it");
        } else if let Err(error) = index.write(events).await {
            warn!(%error, "the index did not take what was found out about a store");
        }
    }
}

/// The configuration's cameras as the index keeps them.
pub fn camera_rows(config: &Config) -> Vec<CameraRow> {
    let of_tenant = |tenant: &crate::config::Tenant| {
        let id = tenant.id.clone();
        let row = move |camera: &Camera| CameraRow {
            key: CameraKey { tenant: id.clone(), camera: camera.id.clone() },
            name: camera.name.clone(),
            place: camera.place.clone(),
            configured: true,
            retention_max: Ticks90k::from_duration(camera.retention.max),
            retention_min: Ticks90k::from_duration(camera.retention.min),
        };
        tenant.cameras.iter().map(row).collect::<Vec<_>>()
    };
    config.tenants.iter().flat_map(of_tenant).collect()
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
            let source = RtspSource::new(rtsp_config(config, &key, camera), shared.clock.clone(), group);
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

fn rtsp_config(config: &Config, key: &CameraKey, camera: &Camera) -> RtspConfig {
    RtspConfig {
        camera: key.clone(),
        url: camera.url.clone(),
        tls: tls_trust(config, key, camera),
        username: camera.username.clone(),
        password: camera.password.clone(),
        transport: camera.transport,
        audio: camera.audio_legal_basis.is_some(),
        silence_max: camera.silence_max,
        setup_timeout: SETUP_TIMEOUT,
    }
}

fn tls_trust(config: &Config, key: &CameraKey, camera: &Camera) -> TlsTrust {
    match &camera.tls {
        CameraTls::System => TlsTrust::System,
        CameraTls::CaFile(file) => TlsTrust::CaFile(file.clone()),
        CameraTls::FirstUse => {
            let pins = config.data_dir.join(CERTIFICATES_DIR).join(key.tenant.to_string());
            TlsTrust::FirstUse(pins.join(format!("{}.sha256", key.camera)))
        }
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
    shared: &Shared,
    stop: &CancellationToken,
) -> Result<(Vec<thread::JoinHandle<()>>, Pulse), GatewayError> {
    let shards = config.recording.shards.clamp(1, over_tcp.len().max(1));
    let mut dealt: Vec<Vec<Recorder>> = (0..shards).map(|_| Vec::new()).collect();
    for (i, recorder) in over_tcp.into_iter().enumerate() {
        dealt[i % shards].push(recorder);
    }
    let ticking = dealt.into_iter().map(|recorders| (config.recording.tick, recorders));
    let threads = ticking.chain([(Duration::ZERO, over_udp)]).filter(|(_, recorders)| !recorders.is_empty());
    let threads: Vec<_> = threads.collect();
    let pulse = Pulse::new(threads.len(), shared.clock.clone());
    let start = |(n, (tick, recorders)): (usize, (Duration, Vec<Recorder>))| {
        let opening = shared.opening.clone();
        let is_opening = move || opening.available_permits() < OPENING_AT_ONCE;
        let beating = pulse.beats()[n].clone().keep(shared.clock.clone());
        start_shard(n, tick::recording_runtime(tick, is_opening), recorders, beating, stop.clone())
    };
    let started: Result<_, _> = threads.into_iter().enumerate().map(start).collect();
    Ok((started?, pulse))
}

fn start_shard(
    n: usize,
    runtime: std::io::Result<Runtime>,
    recorders: Vec<Recorder>,
    beating: impl Future<Output = ()> + Send + 'static,
    stop: CancellationToken,
) -> Result<thread::JoinHandle<()>, GatewayError> {
    let io = |source| GatewayError::Io { path: format!("recording thread {n}").into(), source };
    let runtime = runtime.map_err(io)?;
    let record = async move {
        tokio::spawn(beating);
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
