//! Two gateways in processes of their own record one simulated camera over real RTSP into one store; each is killed for
//! a while.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use footage::units::{CameraKey, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};
use futures::TryStreamExt;
use testkit::camera::{self, Codec, ElementaryStream, Server};
use url::Url;
use vigie::archive::PackRef;
use vigie::config::Config;
use vigie::gateway;
use vigie::index::PackState;
use vigie::retrieve::Footage;
use vigie::retrieve::mp4::Clip;
use vigie::retrieve::timeline::{Timeline, timeline};

use crate::seaweed::{ACCESS_KEY, SECRET_KEY, Seaweed};

/// How long a condition may take to come true before the test gives up.
const PATIENCE: Duration = Duration::from_secs(90);

fn camera() -> CameraKey {
    "town/yard".parse().unwrap()
}

/// A gateway in a process of its own, or the place where one was.
struct Side {
    dir: PathBuf,
    config: Config,
    process: Option<Child>,
}

impl Side {
    /// With the lines that say where the store is.
    fn new(dir: &Path, rank: u8, store: &str, rtsp: &Url) -> Self {
        let dir = dir.join(format!("gateway-{rank}"));
        std::fs::create_dir_all(dir.join("keys")).unwrap();
        let key = dir.join("keys").join("gateway.key");
        std::fs::write(&key, [7; 32]).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let text = format!(
            "[data]\ndir = \"{dir}\"\ndisk_reserve_mib = 64\n\
             [[store]]\n{store}\nencrypt = false\n[store.shared]\nrank = {rank}\npoll_seconds = 1\nwait_seconds = 8\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [recording]\npack_seconds_max = 5\ntick_ms = 20\ndurability_ms = 200\n\
             [[tenant]]\nid = \"town\"\n[[tenant.camera]]\nid = \"yard\"\nplace = \"the yard\"\nurl = \"{rtsp}\"\n",
            dir = dir.display()
        );
        std::fs::write(dir.join("vigie.toml"), text).unwrap();
        let config = Config::load(&dir.join("vigie.toml")).unwrap().config;
        Self { dir, config, process: None }
    }

    fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigie"));
        let command = command.args(["--log", "warn", "run", "--config"]).arg(self.dir.join("vigie.toml"));
        self.process = Some(command.spawn().expect("the built binary"));
    }

    /// As a power cut would.
    fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("SIGKILL");
        process.wait().expect("an exit status");
    }

    /// What it shows, read beside it.
    async fn footage(&self) -> Option<Footage> {
        let opened = gateway::open(&self.config, true).await.ok()?;
        Some(Footage::new(opened.index, opened.packs, opened.clock))
    }

    async fn covered_seconds(&self) -> i64 {
        let Some(footage) = self.footage().await else { return 0 };
        let spans = footage.index.spans(&camera(), everything()).await.unwrap_or_default();
        let (mut covered, mut to) = (0, i64::MIN);
        for span in spans {
            covered += (span.end().0 - span.start().0.max(to)).max(0);
            to = to.max(span.end().0);
        }
        covered / TICKS_PER_SECOND
    }

    /// Waits until it shows so many further seconds.
    async fn shows_more(&self, seconds: i64) {
        let before = self.covered_seconds().await;
        until(&format!("{seconds} s more than {before}"), async || self.covered_seconds().await >= before + seconds)
            .await;
    }

    /// Nothing waits and nothing grows, and it knows all that is stored.
    async fn is_settled(&self) -> bool {
        let opened = gateway::open(&self.config, true).await.unwrap();
        let open = opened.index.packs_in_state(PackState::Open, 1).await.unwrap();
        let sealed = opened.index.packs_in_state(PackState::Sealed, 1).await.unwrap();
        let objects: Vec<_> = opened.store.list().try_collect().await.unwrap_or_default();
        let packs = objects.iter().filter_map(|listed| Some(listed.pack.as_ref()?.1)).collect();
        open.is_empty() && sealed.is_empty() && opened.index.unknown_packs(packs).await.unwrap().is_empty()
    }

    /// The access units of all that it shows, in order, as hashes of their bytes.
    async fn units(&self) -> Vec<blake3::Hash> {
        let footage = self.footage().await.unwrap();
        let extent = footage.index.extent(&camera()).await.unwrap().expect("footage");
        let range = TimeRange::new(extent.start(), extent.end().saturating_add(Ticks90k(TICKS_PER_SECOND))).unwrap();
        let clip = Clip::new(&footage, &camera(), range).await.unwrap();
        let parts: Vec<Bytes> = clip.body(0..clip.len()).try_collect().await.unwrap();
        let all = parts.concat();
        let at = all.windows(4).position(|w| w == b"mdat").expect("a clip has samples") + 4;
        let mut units: Vec<blake3::Hasher> = Vec::new();
        let (mut rest, mut after_slice) = (&all[at..], true);
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let nal = &tail[..u32::from_be_bytes(*length) as usize];
            // The camera's mark comes before each picture, and parameter sets before the mark.
            let is_slice = matches!(nal[0] & 0x1f, 1..=5);
            if after_slice && !is_slice {
                units.push(blake3::Hasher::new());
            }
            after_slice = is_slice;
            units.last_mut().expect("a mark comes first").update(length).update(nal);
            rest = &tail[nal.len()..];
        }
        units.iter().map(blake3::Hasher::finalize).collect()
    }

    async fn timeline(&self) -> Timeline {
        let footage = self.footage().await.unwrap();
        let extent = footage.index.extent(&camera()).await.unwrap().expect("footage");
        timeline(&footage, &camera(), extent, Ticks90k::ZERO).await.unwrap()
    }

    /// Sample bytes of all that is stored, and of what is different of it.
    async fn stored_bytes(&self) -> (u64, u64) {
        let opened = gateway::open(&self.config, true).await.unwrap();
        let (mut all, mut each) = (0, std::collections::BTreeMap::new());
        for row in opened.index.packs_after(None, 100_000).await.unwrap() {
            let pack = PackRef { id: row.id, camera: row.camera, state: row.state };
            for entry in &opened.packs.table(&pack).await.unwrap().fragments {
                all += u64::from(entry.data_bytes);
                each.insert(entry.id.0, u64::from(entry.data_bytes));
            }
        }
        (all, each.values().sum())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

fn everything() -> TimeRange {
    TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let waits = async {
        while !holds().await {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waits).await.is_ok(), "waited in vain for {what}");
}

/// A camera that films one scene, each picture like no other; 25 a second, a random access point every 20.
async fn yard() -> Server {
    let film =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/crates/testkit/src/camera/pedestrians.h264")).unwrap();
    let film = Arc::new(ElementaryStream::parse(&film, Codec::H264, 25).unwrap());
    let camera = camera::SimulatedCamera {
        unique: true,
        one_scene: true,
        log: true,
        ..camera::SimulatedCamera::new("yard", film)
    };
    Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![camera]).await.unwrap()
}

async fn each_is_killed_for_a_while(dir: &Path, store: &str) {
    let server = yard().await;
    let live = server.camera("yard").unwrap();
    let [mut one, mut two] = [0, 1].map(|rank| Side::new(dir, rank, store, &server.url("yard")));
    one.start();
    two.start();
    two.shows_more(20).await;
    one.kill();
    // Long enough for the other to store in its place.
    two.shows_more(20).await;
    one.start();
    two.shows_more(15).await;
    two.kill();
    one.shows_more(12).await;
    two.start();
    // What the first stored meanwhile, and own footage.
    two.shows_more(20).await;
    live.set(|faults| (faults.refuse, faults.close) = (true, true));
    for side in [&one, &two] {
        until("all to be stored and known", async || side.is_settled().await).await;
    }

    let mut sent = live.sent();
    sent.sort_by_key(|unit| unit.timestamp);
    sent.dedup_by_key(|unit| unit.timestamp);
    let first = sent.iter().position(|unit| unit.random_access).unwrap();
    let sent: Vec<blake3::Hash> = sent[first..].iter().map(|unit| unit.hash).collect();
    for side in [&one, &two] {
        let shown = side.units().await;
        let from = sent.iter().position(|unit| unit == &shown[0]).expect("what was sent");
        assert!(from < 40, "it begins with picture {from}");
        let differs = shown.iter().zip(&sent[from..]).position(|(shown, sent)| shown != sent);
        assert_eq!(differs, None, "of {} pictures shown, {} sent", shown.len(), sent.len() - from);
        // What either had in memory when the camera ended is not waited for.
        assert!(shown.len() + from + 30 >= sent.len(), "{} pictures of {}", shown.len(), sent.len());
        let timeline = side.timeline().await;
        assert_eq!(timeline.coverage.len(), 1, "{timeline:?}");
    }
    let (all, once) = one.stored_bytes().await;
    assert!(all * 100 < once * 105, "{all} bytes are stored for {once}");
    assert_eq!((all, once), two.stored_bytes().await);
}

#[tokio::test]
async fn one_of_two_gateways_may_be_killed_and_a_local_store_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = format!("url = \"file://{}\"", dir.path().join("store").display());
    each_is_killed_for_a_while(dir.path(), &store).await;
}

#[tokio::test]
async fn one_of_two_gateways_may_be_killed_and_a_bucket_misses_nothing() {
    let server = Seaweed::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = format!(
        "url = \"{}\"\nendpoint = \"http://127.0.0.1:{}\"\nregion = \"us-east-1\"\npath_style = true\n\
         access_key_id = \"{ACCESS_KEY}\"\nsecret_access_key = \"{SECRET_KEY}\"",
        server.url("twins"),
        server.port()
    );
    each_is_killed_for_a_while(dir.path(), &store).await;
}
