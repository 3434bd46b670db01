//! Composition root: starts everything in order, drains it in order.
//!
//! Start: lock, keys, store, index, HTTP address, recovery, recorders, sweep. Stop: recorders finish their packs, a last
//! flush, packs are sealed and stored, HTTP answers end, the index closes. Recorders run on threads of their own,
//! cameras dealt out over them; the sockets of a thread are drained together each tick, because many small reads are
//! what recording costs most. A reload changes cameras, tenants, access tokens and retention; cameras that stay as they
//! were keep their sessions.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch as channel;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use self::open::Beside;
pub use self::open::{
    Opened, gateway_key, index_path, key_places, lock, open, parts, signing_anchors, time_stamp_roots, vault,
};
pub use self::pulse::Pulse;
use self::recorders::Recorders;
pub use self::recorders::{CameraChanges, continuity};
use self::watch::{CatchingUp, OwnWatch, StoreWatch};
use crate::alarm::Alarms;
use crate::backfill::EdgeCameras;
use crate::config::{AlarmTarget, CameraConfig, Config, RecordingConfig};
use crate::dedup::Dedup;
use crate::desk::Desk;
use crate::device::Devices;
use crate::hold::{Disk, Holds};
use crate::http::{self, Access, Operator, ReloadRequest};
use crate::index::{CameraRow, Change, IndexError};
use crate::journals::{self, Journals};
use crate::metrics::Sources;
use crate::oidc::Oidc;
use crate::people::People;
use crate::permission::Permissions;
use crate::policy::CameraPolicy;
use crate::rebuild::walk::{Walker, unknown_camera};
use crate::record::{PackLimits, RecordingContext};
use crate::redundancy::Redundancy;
use crate::retention::rehost::Rehoster;
use crate::retention::{self, Policy};
use crate::retrieve::Footage;
use crate::retrieve::holes::Looks;
use crate::retrieve::labels::Labels;
use crate::seal::Sealer;
use crate::spool::{Spool, SpoolError};
use crate::status::StatusBoard;
use crate::store::identity::Identified;
use crate::store::{Store, StoreError};
use footage::failure::{Failure, Kind};
use footage::keys::KeysError;
use footage::keys::vault::VaultError;
use footage::keys::vault::master::BadMasterKey;
use footage::units::CameraKey;

mod clock;
mod files;
mod fixed;
mod listener;
mod open;
mod pulse;
mod recorders;
mod services;
mod tick;
mod watch;

/// Sessions being opened at a time.
const OPENING_AT_ONCE: usize = 64;
/// From the first packet sent to a session being open. Cameras that start their encoder when they are asked take ten
/// seconds for one answer.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);
/// Below the data directory: the certificates of cameras that were pinned at first use.
const CERTIFICATES_DIR: &str = "camera-certificates";
/// What a thread of recorders waits at its end, for the TEARDOWN of its sessions.
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
    /// The tenants cannot be distinguished.
    #[error(transparent)]
    Access(#[from] http::TokenMissing),
    /// The gateway's own certificate.
    #[error(transparent)]
    Tls(#[from] http::TlsFilesError),
    /// The gateway's secret.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The keys of encrypted packs.
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
    /// It was stopped before it recorded anything.
    #[error("stopped before recording began")]
    Stopped,
    /// A running gateway cannot take this over.
    #[error("{0} cannot be changed while the gateway runs: restart it; nothing was changed")]
    NeedsRestart(&'static str),
    /// The scrub.
    #[error(transparent)]
    Scrub(#[from] crate::scrub::ScrubError),
}

impl Failure for GatewayError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } | Self::Listen { source, .. } => Failure::kind(source),
            Self::InUse(_) | Self::NeedsRestart(_) => Kind::Conflict,
            Self::Access(_) | Self::Master(_) => Kind::Invalid,
            Self::Tls(error) => error.kind(),
            Self::Keys(error) => error.kind(),
            Self::Vault(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Index(error) => error.kind(),
            Self::Spool(error) => error.kind(),
            Self::Stopped => Kind::Retry,
            Self::Scrub(error) => error.kind(),
        }
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    address: std::net::SocketAddr,
    /// The socket that is served, for the service manager to keep.
    listener: std::net::TcpListener,
    /// As started, with what reloads changed.
    config: Config,
    opened: Opened,
    footage: Footage,
    service: http::Service,
    journals: Journals,
    people: People,
    desk: Desk,
    oidc: Oidc,
    keeping_journals: tokio::task::JoinHandle<()>,
    policy: channel::Sender<Policy>,
    alarms: channel::Sender<Vec<AlarmTarget>>,
    recorders: Recorders,
    permissions: Permissions,
    devices: Devices,
    edge_cameras: EdgeCameras,
    beside: Beside,
    seal_tasks: crate::seal::Tasks,
    /// What sealing the last packs waits for.
    tasks: TaskTracker,
    server: tokio::task::JoinHandle<()>,
    reloads: mpsc::Receiver<ReloadRequest>,
    stop_recording: CancellationToken,
    stop_flushing: CancellationToken,
    stop_serving: CancellationToken,
    stop_journals: CancellationToken,
    _lock: File,
}

impl Gateway {
    /// Starts recording and serving.
    pub async fn start(config: &Config) -> Result<Self, GatewayError> {
        Self::start_unless(config, &CancellationToken::new(), None).await
    }

    /// The same, until `stop` is cancelled, on the listening socket that was handed over. Before anything is recorded it
    /// is cut off anywhere; afterwards the caller stops the gateway, so that no stop is taken for a crash.
    pub async fn start_unless(
        config: &Config,
        stop: &CancellationToken,
        handed_over: Option<std::net::TcpListener>,
    ) -> Result<Self, GatewayError> {
        let held = lock(config)?;
        let anchors = open::signing_anchors(config)?;
        let authority = open::time_stamps(config)?;
        let signing = services::export_authority(config)?;
        let tls = config.http_tls.clone().map(http::ServerTls::open).transpose()?;
        let access = access_of(config)?;
        let files = files::left_for_http(files::raise_limit(), camera_rows(config).len() as u64);
        // An address that is taken is found out before anything is recorded.
        let listen_error = |source| GatewayError::Listen { address: config.http_listen, source };
        let (listener, kept) = listener::listen(config.http_listen, handed_over).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let preparing = async {
            let (opened, beside) = open::open_for_gateway(config).await?;
            let Opened { index, spool, packs, keys, .. } = &opened;
            open::configure(config, &opened).await?;
            let catching_up = begin_catching_up(&opened, &beside).await;
            if beside.condition().lacks_packs() {
                // Packs of cameras that nothing else tells of.
                let found = spool.pack_files().await?.into_iter();
                let cameras: BTreeSet<CameraKey> = found.map(|found| found.camera).collect();
                index.write(cameras.iter().map(|of| Change::KnowCamera(unknown_camera(of))).collect()).await?;
            }
            let dedup = Dedup::new(index.clone(), spool.clone(), packs.clone(), keys.clone());
            let seal_tasks = Sealer::new(spool.clone()).comparing(dedup).start()?;
            spool.recover().await?;
            clock::at_start(index, &*opened.clock).await?;
            open::note_version(index, opened.clock.wall(), env!("CARGO_PKG_VERSION")).await?;
            Ok::<_, GatewayError>((opened, seal_tasks, beside, catching_up))
        };
        let (opened, seal_tasks, beside, catching_up) =
            stop.run_until_cancelled(preparing).await.ok_or(GatewayError::Stopped)??;
        let [stop_recording, stop_flushing, stop_serving, stop_journals] = [(); 4].map(|()| CancellationToken::new());
        let status = StatusBoard::default();
        let Opened { index, spool, packs, clock, keys, .. } = &opened;
        let permissions = Permissions::open(index.clone(), clock.clone(), config).await?;
        let recorders = start_recorders(config, &opened, (&status, &permissions), &stop_recording).await?;
        let journals = {
            let (folder, store) = (journals::folder(&config.data_dir), opened.store.clone());
            Journals::new(folder, keys.clone(), store, index.clone(), clock.clone()).stamped_by(authority)
        };
        services::follow(&journals, config).await;
        let people = services::open_people(config, &opened, &journals).await;
        let keeping_journals = tokio::spawn(journals.clone().run(stop_journals.clone()));
        let tasks = TaskTracker::new();
        // Before alarms look at what is known of the clocks.
        let devices = services::start_devices(config, &opened, &status, &tasks, &stop_recording);
        let limits = pack_limits(config);
        let edge_cameras = services::start_backfill(config, &opened, &status, limits, &tasks, &stop_recording);
        let (looks, policy) = start_upkeep(config, (&opened, &journals), &tasks, &catching_up, &stop_flushing)?;
        start_watches(config, &opened, &tasks, &beside, &catching_up, &stop_flushing);
        let holds = {
            let zone = config.time_zone.clone();
            let (index, spool, packs) = (index.clone(), spool.clone(), packs.clone());
            let disk = disk_for_holds(config, &spool);
            Holds::within(index, spool, packs, keys.clone(), clock.clone(), zone, Some(disk))
        };
        tasks.spawn(holds.clone().run(stop_flushing.clone()));
        let desk = services::open_desk(config, &opened, &holds, &journals).await;
        tasks.spawn(desk.clone().run(stop_flushing.clone()));
        let footage = Footage::new(index.clone(), packs.clone(), clock.clone());
        let footage = footage.naming(looks).comparing(config.check_played).trusting(anchors);
        footage.label(Labels::of(config));
        let (request_reload, reloads) = mpsc::channel(1);
        let sources =
            Sources::new(index.clone(), spool.clone(), status.clone(), clock.clone(), config.disk_reserve_bytes);
        let alarms = start_alarms(config, &opened, sources.clone(), &tasks, &stop_flushing);
        tasks.spawn(people.clone().run(stop_flushing.clone()));
        tasks.spawn(permissions.clone().run(stop_flushing.clone()));
        let of_persons = (journals.clone(), people.clone());
        let exports = {
            let of = (&opened, &footage, &holds, &journals);
            services::start_exports(config, of, signing, &tasks, &stop_flushing).await
        };
        let service = http::Service::new(footage.clone(), holds, of_persons, access, &config.time_zone, status);
        service.record_under(permissions.clone());
        exports.into_iter().for_each(|exports| service.export(exports));
        service.look_for_exports_in(crate::export::folder(&config.data_dir));
        service.handle_requests(desk.clone());
        let oidc = Oidc::new(keys, clock.clone());
        services::follow_providers(config, &oidc, &people);
        service.sign_in_by(oidc.clone());
        service.operate(Operator::new(config.operator_token.as_ref(), sources, request_reload));
        if let Some(tls) = tls.clone() {
            tasks.spawn(tls.keep(index.clone(), clock.clone(), stop_flushing.clone()));
        }
        let server = {
            let (stop, service) = (stop_serving.clone(), service.clone());
            let until = async move { stop.cancelled().await };
            let (router, limits) = (http::router(service), http::ServeLimits::within(files));
            let router = if tls.is_some() { http::strict(router) } else { router };
            tokio::spawn(http::serve_over(tls, listener, router, limits, until))
        };
        info!(%address, cameras = camera_rows(config).len(), "recording and serving");
        Ok(Self {
            address,
            listener: kept,
            config: config.clone(),
            opened,
            footage,
            service,
            journals,
            people,
            desk,
            oidc,
            keeping_journals,
            policy,
            alarms,
            recorders,
            permissions,
            devices,
            edge_cameras,
            beside,
            seal_tasks,
            tasks,
            server,
            reloads,
            stop_recording,
            stop_flushing,
            stop_serving,
            stop_journals,
            _lock: held,
        })
    }

    /// Where it serves.
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// The socket that it serves.
    pub fn listener(&self) -> &std::net::TcpListener {
        &self.listener
    }

    /// Whether its recording threads turn.
    pub fn pulse(&self) -> &Pulse {
        self.recorders.pulse()
    }

    /// What it records, to be read.
    pub fn footage(&self) -> &Footage {
        &self.footage
    }

    /// The next request for a reload that comes over HTTP. Cancel-safe.
    pub async fn reload_requested(&mut self) -> Option<ReloadRequest> {
        self.reloads.recv().await
    }

    /// Takes over another configuration: cameras, tenants, access tokens, retention, caps, alarms. Cameras that stay as they were keep
    /// their sessions.
    ///
    /// # Errors
    /// [`GatewayError::NeedsRestart`] and [`GatewayError::Access`] before anything is changed.
    pub async fn reload(&mut self, config: &Config) -> Result<CameraChanges, GatewayError> {
        if let Some(what) = fixed::differs(&self.config, config, &self.opened.store) {
            return Err(GatewayError::NeedsRestart(what));
        }
        let access = access_of(config)?;
        let Opened { store, policies, .. } = &self.opened;
        open::configure(config, &self.opened).await?;
        policies.replace(config);
        self.policy.send_replace(policy(config, store));
        self.alarms.send_replace(config.alarms.clone());
        store.set_caps(&config.stores);
        services::follow(&self.journals, config).await;
        self.people.set_roles(config.roles.clone());
        services::follow_providers(config, &self.oidc, &self.people);
        self.service.set_access(access);
        self.footage.label(Labels::of(config));
        self.permissions.apply(config);
        self.desk.set_rules(services::desk_rules(config));
        let changes = self.recorders.apply(config).await?;
        self.devices.apply(config);
        self.edge_cameras.apply(config, &config.data_dir.join(CERTIFICATES_DIR));
        self.config = config.clone();
        let CameraChanges { added, removed, restarted, kept } = changes;
        info!(added, removed, restarted, kept, "took over another configuration");
        Ok(changes)
    }

    /// Stops in order; everything received whole is in the store or in the spool when this returns.
    pub async fn stop(self) {
        info!("stopping");
        self.stop_recording.cancel();
        let shards = self.recorders.into_threads();
        let joined = tokio::task::spawn_blocking(move || {
            shards.into_iter().map(thread::JoinHandle::join).filter(Result::is_err).count()
        });
        if joined.await.unwrap_or(0) > 0 {
            warn!("a recording thread ended badly: the next start recovers what it left");
        }
        self.stop_flushing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let Opened { index, spool, .. } = &self.opened;
        spool.close();
        self.seal_tasks.join().await;
        self.stop_serving.cancel();
        if let Err(e) = self.server.await {
            warn!(error = %e, "the server ended badly");
        }
        // What was handed out to the last is entered, and a last checkpoint made.
        self.stop_journals.cancel();
        if let Err(e) = self.keeping_journals.await {
            warn!(error = %e, "keeping the journals ended badly");
        }
        index.close().await;
        self.beside.closed().await;
        let delays = spool.delays();
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

fn pack_limits(config: &Config) -> PackLimits {
    let RecordingConfig { pack_bytes_max, pack_duration_max, .. } = config.recording;
    PackLimits { pack_bytes_max, pack_duration_max }
}

async fn start_recorders(
    config: &Config,
    opened: &Opened,
    (status, permissions): (&StatusBoard, &Permissions),
    stop: &CancellationToken,
) -> Result<Recorders, GatewayError> {
    let shared = RecordingContext {
        spool: opened.spool.clone(),
        index: opened.index.clone(),
        clock: opened.clock.clone(),
        limits: pack_limits(config),
        opening: Arc::new(Semaphore::new(OPENING_AT_ONCE)),
    };
    let shown = (status.clone(), permissions.clone());
    let mut recorders = Recorders::new(config, shared, opened.store.clone(), shown, stop.clone());
    recorders.apply(config).await?;
    Ok(recorders)
}

/// Flush, retention, redundancy, scrub. Gives where readers name what they cannot read, and the way to change retention's
/// policy.
fn start_upkeep(
    config: &Config,
    (opened, journals): (&Opened, &Journals),
    tasks: &TaskTracker,
    catching_up: &CatchingUp,
    stop: &CancellationToken,
) -> Result<(Looks, channel::Sender<Policy>), GatewayError> {
    let Opened { index, spool, store, packs, clock, keys, .. } = opened;
    let (flushed, within, until) = (spool.clone(), config.recording.durability, stop.clone());
    tasks.spawn(async move { flushed.flush_until(within, until).await });
    let all = camera_rows(config).into_iter().map(|row| row.key);
    let redundancy =
        Redundancy::new(index.clone(), spool.clone(), store.clone(), packs.clone(), keys.clone(), clock.clone(), all);
    let (known, catching, of_sweep) = (redundancy.clone(), catching_up.clone(), store.clone());
    let (disk, reserve_bytes, spool_max) = (spool.clone(), config.disk_reserve_bytes, config.spool_bytes_max);
    let zone = config.time_zone.clone();
    let rehoster = Rehoster::new(index.clone(), spool.clone(), packs.clone(), keys.clone(), zone);
    let free_bytes = Arc::new(move || disk.free_bytes_within(reserve_bytes, spool_max));
    let storage = retention::storage::Storage::new(packs.clone(), free_bytes)
        .with_rehoster(rehoster)
        .unless(Arc::new(move |pack| {
            if !known.may_delete(&pack.camera, pack.id) {
                return Some("another gateway wrote it, and what else that stored is not known yet");
            }
            let waits = catching.holds(&of_sweep, pack);
            waits.then_some("the packs of its store are being entered in the index")
        }))
        .shredding(keys.vault().clone());
    let (policy, changed) = channel::channel(policy(config, store));
    let sweeper = retention::sweep::Sweeper::following(index.clone(), clock.clone(), storage, changed)
        .confirmed_by(retention::confirm::file(&config.data_dir))
        .entering(journals.clone());
    tasks.spawn(sweeper.run(stop.clone()));
    tasks.spawn(redundancy.run(stop.clone()));
    // By a substitute of the key every fragment would look damaged.
    let looks = match keys.trouble() {
        None => services::start_scrubs(config, opened, tasks, stop)?,
        Some(_) => Looks::default(),
    };
    Ok((looks, policy))
}

/// Alarms, and the way to change their targets.
fn start_alarms(
    config: &Config,
    opened: &Opened,
    disk: Sources,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> channel::Sender<Vec<AlarmTarget>> {
    let Opened { index, clock, .. } = opened.clone();
    let (targets, changed) = channel::channel(config.alarms.clone());
    let alarms = Alarms::new(index, clock, config.time_zone.clone(), changed).watching(disk);
    tasks.spawn(alarms.run(stop.clone()));
    targets
}

/// Stores whose packs the index may not know. Local ones are looked at now: what recovers the spool may ask them.
async fn begin_catching_up(opened: &Opened, beside: &Beside) -> CatchingUp {
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
    tasks: &TaskTracker,
    beside: &Beside,
    catching_up: &CatchingUp,
    stop: &CancellationToken,
) {
    let Opened { index, store, packs, clock, .. } = opened.clone();
    let own = OwnWatch {
        opened: opened.clone(),
        beside: beside.clone(),
        index_path: index_path(config),
        data_dir: config.data_dir.clone(),
    };
    tasks.spawn(own.run(stop.clone()));
    let walker = Walker::new(index, store.clone(), packs, clock, config.time_zone.clone());
    for id in store.ids() {
        let (opened, beside, walker) = (opened.clone(), beside.clone(), walker.clone());
        let watch = StoreWatch { opened, beside, walker, catching_up: catching_up.clone() };
        tasks.spawn(watch.run(id, stop.clone()));
    }
}

fn disk_for_holds(config: &Config, spool: &Spool) -> Disk {
    let (disk, reserve_bytes) = (spool.clone(), config.disk_reserve_bytes);
    let free_bytes = Arc::new(move || disk.free_bytes(reserve_bytes));
    Disk { free_bytes, reserve_bytes, tenants: config.tenants.len() as u64 }
}

/// Who may ask for what.
fn access_of(config: &Config) -> Result<Access, http::TokenMissing> {
    let access =
        Access::new(config.tenants.iter().map(|of| (&of.id, of.access_token.as_ref(), of.token_role.as_str())));
    let asking = config.tenants.iter().filter(|of| of.reason_required).map(|of| of.id.clone());
    Ok(access?.asking_why(asking))
}

/// The configuration's cameras as the index keeps them.
pub fn camera_rows(config: &Config) -> Vec<CameraRow> {
    let cameras = config.tenants.iter().flat_map(|tenant| &tenant.cameras);
    let row = |(policy, camera): (CameraPolicy, &CameraConfig)| CameraRow {
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
