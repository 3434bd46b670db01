//! Many cameras record into a store that fails: no picture is lost, and the spool drains when it is back.
//!
//! ```sh
//! cargo nextest run --test s3
//! VIGIE_S3_OUTAGE_SECONDS=120 VIGIE_S3_CAMERAS=64 VIGIE_S3_PHASE_SECONDS=20 cargo test --release --test s3
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::http::Method;
use footage::units::{CameraKey, TimeRange, WallTime};
use futures::TryStreamExt;
use testkit::camera::{self, Server};
use tracing_subscriber::fmt::MakeWriter;
use vigie::archive::PackRef;
use vigie::config::{Config, StoreConfig};
use vigie::demo;
use vigie::fsck::{Finding, Fsck};
use vigie::gateway::{self, Gateway, Opened};
use vigie::index::PackState;
use vigie::retrieve::Footage;
use vigie::retrieve::mp4::Clip;

#[path = "../support/handed_back.rs"]
mod handed_back;
mod proxy;
#[allow(dead_code, reason = "other tests need more of it")]
#[path = "../support/seaweed.rs"]
mod seaweed;

use handed_back::check_handed_back;
use proxy::{Mode, Proxy};
use seaweed::Seaweed;

/// A hang guard: a debug build on two busy cores takes its time.
const PATIENCE: Duration = Duration::from_secs(240);
/// Short, so that many packs are on their way whatever happens when.
const PACK_SECONDS: u64 = 4;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Everything that the process logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Of the whole process, from the first call on.
    fn taken() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let start = || {
            let log = Log::default();
            let reported = tracing_subscriber::fmt().with_env_filter("info,vigie=debug,object_store=debug,hyper=info");
            reported.with_ansi(false).with_writer(log.clone()).init();
            log
        };
        LOG.get_or_init(start).clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let waits = async {
        while !holds().await {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waits).await.is_ok(), "waited in vain for {what}");
}

/// Cameras, and a gateway that records them into this store.
struct Town {
    server: Server,
    config: Config,
    gateway: Gateway,
    _dir: tempfile::TempDir,
}

impl Town {
    async fn recording_into(store: impl FnOnce(&tempfile::TempDir) -> StoreConfig) -> Self {
        let names: Vec<String> = (0..setting("VIGIE_S3_CAMERAS", 64)).map(|n| format!("camera-{n:02}")).collect();
        let film = |name: &String| {
            let mut camera = camera::demo_camera().unwrap();
            (camera.path, camera.log) = (name.clone(), true);
            camera
        };
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), names.iter().map(film).collect()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let cameras = names.iter().map(|name| demo::camera(name.parse().unwrap(), name, server.url(name))).collect();
        let mut config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), dir.path(), cameras).unwrap();
        config.stores = vec![store(&dir)];
        config.recording.pack_duration_max = Duration::from_secs(PACK_SECONDS);
        let gateway = Gateway::start(&config).await.unwrap();
        Self { server, config, gateway, _dir: dir }
    }

    fn keys(&self) -> Vec<CameraKey> {
        gateway::camera_rows(&self.config).into_iter().map(|row| row.key).collect()
    }

    async fn covered(&self) -> Vec<i64> {
        let everything = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap();
        let mut covered = Vec::new();
        for key in self.keys() {
            let spans = self.gateway.footage().index.spans(&key, everything).await.unwrap();
            covered.push(spans.iter().map(|span| span.duration().0).sum());
        }
        covered
    }

    /// Until every camera has so many further seconds in the index.
    async fn record(&self, seconds: u64) {
        let before = self.covered().await;
        let want: Vec<i64> = before.iter().map(|ticks| ticks + seconds as i64 * 90_000).collect();
        until("every camera to be recorded on", async || {
            self.covered().await.iter().zip(&want).all(|(has, want)| has >= want)
        })
        .await;
    }

    async fn waiting(&self) -> usize {
        self.gateway.footage().index.packs_in_state(PackState::Sealed, 100_000).await.unwrap().len()
    }

    /// Stops, and starts a gateway over the same data that records nothing, until the spool has drained.
    async fn drained(self) -> (Server, Config, tempfile::TempDir) {
        let Self { server, config, gateway, _dir } = self;
        gateway.stop().await;
        let mut mute = config.clone();
        for camera in mute.tenants.iter_mut().flat_map(|tenant| &mut tenant.cameras) {
            // Nobody listens there.
            camera.url = "rtsp://127.0.0.1:9/".parse().unwrap();
        }
        let draining = Gateway::start(&mute).await.unwrap();
        let index = draining.footage().index.clone();
        until("the spool to drain", async || {
            index.packs_in_state(PackState::Sealed, 1).await.unwrap().is_empty()
                && index.packs_in_state(PackState::Open, 1).await.unwrap().is_empty()
        })
        .await;
        draining.stop().await;
        (server, config, _dir)
    }
}

/// Every access unit in the store, read from there alone.
async fn recorded(opened: &Opened) -> HashMap<CameraKey, Vec<blake3::Hash>> {
    let mut units: HashMap<CameraKey, Vec<blake3::Hash>> = HashMap::new();
    for row in opened.index.packs_after(None, 1_000_000).await.unwrap() {
        assert_eq!(row.state, PackState::Stored);
        let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
        let table = opened.packs.table(&pack).await.unwrap();
        let bytes = opened.packs.bytes(&pack, 0..table.end()).await.unwrap();
        let of_camera = units.entry(row.camera).or_default();
        for entry in &table.fragments {
            let mut at = entry.data_offset() as usize;
            for sample in &entry.video {
                of_camera.push(blake3::hash(&bytes[at..at + sample.size as usize]));
                at += sample.size as usize;
            }
        }
    }
    units
}

/// All that was sent is in the store, whole; the index, the store and the spool agree; clips play through.
async fn judge(server: &Server, config: &Config) {
    // What stayed in the spool as a cache would hide what the store lost.
    std::fs::remove_dir_all(&config.spool_dir).unwrap();
    let opened = gateway::open(config, false).await.unwrap();
    let recorded = recorded(&opened).await;
    for row in gateway::camera_rows(config) {
        let camera = server.camera(row.key.camera.as_str()).unwrap();
        check_handed_back(&row.key, &camera.sent(), &recorded[&row.key], 10);
    }
    let Opened { index, spool, store, packs, clock, .. } = opened;
    let footage = Footage::new(index.clone(), packs.clone(), clock);
    for row in gateway::camera_rows(config) {
        let all = index.extent(&row.key).await.unwrap().expect("footage");
        let clip = Clip::new(&footage, &row.key, all).await.unwrap();
        let bytes: u64 = clip
            .body(0..clip.len())
            .map_ok(|part| part.len() as u64)
            .try_fold(0, async |a, b| Ok(a + b))
            .await
            .unwrap();
        assert_eq!(bytes, clip.len());
    }
    let fsck = Fsck { index, spool, store, packs, settle: Duration::ZERO, read_data: true };
    let mut said = Vec::new();
    let report = fsck.check(&mut |finding: Finding| said.push(format!("{finding:?}"))).await.unwrap();
    assert!(said.is_empty(), "{said:#?}");
    assert!(report.checked_bytes > 0 && report.objects == report.packs, "{report:?}");
}

/// Objects that were asked for while nothing was wrong were sent once.
fn check_requests(seen: &BTreeMap<String, Vec<proxy::Seen>>) {
    let mut packs = 0;
    let untroubled = |all: &[proxy::Seen]| all.iter().all(|seen| seen.mode == Mode::Pass);
    // A journal's checkpoint is replaced by the next, and is no pack.
    let is_pack = |path: &str| !path.contains("vigie-trial") && !path.contains("/vigie.journal/");
    let packs_alone = seen.iter().filter(|(path, _)| is_pack(path));
    for (path, all) in packs_alone.filter(|(_, all)| untroubled(all)) {
        let sent = all.iter().filter(|seen| seen.method == Method::PUT && !seen.query.contains("partNumber"));
        let ended = all.iter().filter(|seen| seen.method == Method::POST && seen.query.contains("uploadId"));
        let objects = sent.count() + ended.count();
        assert!(objects <= 1, "{path}: {all:?}");
        packs += objects;
    }
    assert!(packs > 0, "nothing was sent while nothing was wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_server_that_dies_crawls_refuses_and_breaks_off_costs_no_picture() {
    let log = Log::taken();
    let mut seaweed = Seaweed::start().await;
    let proxy = Proxy::to(seaweed.port()).await;
    let access = seaweed.access(proxy.port());
    let town = Town::recording_into(|_| StoreConfig { s3: access, ..StoreConfig::at(seaweed.url("town")) }).await;
    let phase = setting("VIGIE_S3_PHASE_SECONDS", 3);
    town.record(2 * PACK_SECONDS).await;

    seaweed.kill();
    town.record(setting("VIGIE_S3_OUTAGE_SECONDS", 8)).await;
    assert!(town.waiting().await >= town.keys().len(), "the spool takes over");
    seaweed.resume().await;
    for mode in [Mode::Slow, Mode::Unavailable, Mode::CutAnswers, Mode::CutRequests, Mode::LoseAnswers] {
        proxy.set(mode);
        town.record(phase).await;
    }
    proxy.set(Mode::Pass);
    let (server, config, _dir) = town.drained().await;
    check_requests(&proxy.seen());
    judge(&server, &config).await;
    let text = log.text();
    assert!(text.contains("packs wait in the spool"), "the outage is reported");
    for secret in [seaweed::SECRET_KEY, seaweed::ACCESS_KEY] {
        assert!(!text.contains(secret), "a credential is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_away_costs_no_picture() {
    Log::taken();
    let mut root = PathBuf::new();
    let town = Town::recording_into(|dir| {
        root = dir.path().join("store");
        StoreConfig::at(url::Url::from_directory_path(&root).unwrap())
    })
    .await;
    let phase = setting("VIGIE_S3_PHASE_SECONDS", 3);
    town.record(PACK_SECONDS).await;
    // As when a disk is not mounted, but that nothing can be made in its place.
    let away = root.with_extension("away");
    std::fs::rename(&root, &away).unwrap();
    std::fs::write(&root, b"").unwrap();
    town.record(2 * PACK_SECONDS + phase).await;
    assert!(town.waiting().await >= town.keys().len(), "the spool takes over");
    std::fs::remove_file(&root).unwrap();
    std::fs::rename(&away, &root).unwrap();
    town.record(phase).await;
    let (server, config, _dir) = town.drained().await;
    judge(&server, &config).await;
}
