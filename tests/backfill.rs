//! A gateway whose camera goes on recording through a cut, on a card of its own.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::{Clock, SystemClock};
use footage::media::Sample;
use footage::pack::FragmentEntry;
use footage::units::{CameraKey, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};
use serde_json::Value;
use testkit::camera::{Card, CardQuirk, Filmed, Live, Server, SimulatedCamera, demo_camera};
use testkit::onvif::{Login, OnvifQuirk, OnvifServer, SimulatedOnvif, SimulatedRecording};
use tokio::process::{Child, Command};
use vigie::archive::PackRef;
use vigie::config::{BackfillConfig, CameraTls, Config, OnvifConfig};
use vigie::demo;
use vigie::gateway::Gateway;

const PASSWORD: &str = "pass word/é";
/// Generous: what is awaited comes when it is there.
const PATIENCE: Duration = Duration::from_secs(90);
const SECOND: i64 = TICKS_PER_SECOND;
/// The camera's clock is so far ahead.
const AHEAD: Duration = Duration::from_secs(90);

struct Town {
    cameras: Server,
    /// Both live as long as the gateway does.
    _beside: (OnvifServer, tempfile::TempDir),
    config: Config,
    gateway: Option<Gateway>,
    /// Or in a process of its own.
    process: Option<(Child, u16)>,
}

impl Town {
    async fn start(card: Card, recordings: Vec<SimulatedRecording>) -> Self {
        let demo = demo_camera().expect("the film of the demonstration");
        let other_stream = Some(demo.stream.clone());
        let camera = SimulatedCamera { one_scene: true, other_stream, ..demo };
        let cameras = Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![camera]).await.expect("a server");
        let url = cameras.url("pedestrians");
        let rtsp: SocketAddr = (Ipv4Addr::LOCALHOST, url.port().expect("a port")).into();
        let device = SimulatedOnvif {
            login: Login::Sha256,
            quirk: OnvifQuirk::PrivateAddress,
            rtsp: (rtsp, "pedestrians".to_owned()),
            recordings,
            ..SimulatedOnvif::new()
        };
        let clock = Arc::new(SystemClock::default());
        let device = OnvifServer::start((Ipv4Addr::LOCALHOST, 0).into(), device, clock).await.expect("a server");
        device.set_clock_offset(AHEAD, true);
        let mut camera = demo::camera("gate".parse().expect("a name"), "gate", url);
        camera.onvif = Some(OnvifConfig {
            url: device.url().parse().expect("a url"),
            tls: CameraTls::System,
            username: Some("operator".to_owned()),
            password: Some(PASSWORD.to_owned().into()),
            clock_offset_max: None,
            events: BTreeSet::new(),
            events_legal_basis: None,
            backfill: Some(BackfillConfig { reach: BackfillConfig::REACH, bytes_per_second_max: 2_000_000 }),
        });
        let dir = tempfile::tempdir().expect("a folder");
        let config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), dir.path(), vec![camera]).expect("a configuration");
        let town = Self { cameras, _beside: (device, dir), config, gateway: None, process: None };
        town.live().set_clock_offset(AHEAD.as_millis() as i64);
        town.live().set_card(card);
        town
    }

    async fn started(mut self) -> Self {
        self.gateway = Some(Gateway::start(&self.config).await.expect("a gateway"));
        self
    }

    /// The same configuration as a file, for a gateway in a process of its own.
    fn file(&self, port: u16, kbit_per_second: u32) -> PathBuf {
        let (dir, camera) = (self._beside.1.path(), &self.config.tenants[0].cameras[0]);
        let onvif = camera.onvif.as_ref().expect("a device service");
        let text = format!(
            "[data]\ndir = \"{0}\"\ndisk_reserve_mib = 64\n[[store]]\nurl = \"file://{0}/store\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n[recording]\ndurability_ms = 200\n[[tenant]]\nid = \"demo\"\n[[tenant.camera]]\nid = \"gate\"\nplace = \"gate\"\nurl = \"{1}\"\n[tenant.camera.onvif]\nurl = \"{2}\"\nusername = \"operator\"\npassword = {{ env = \"CAMERA_PASSWORD\" }}\nclock = false\nbackfill = true\nbackfill_hours_max = 1\nbackfill_kbit_per_second_max = {kbit_per_second}\n",
            dir.display(),
            camera.url,
            onvif.url
        );
        let file = dir.join("vigie.toml");
        std::fs::write(&file, text).expect("a file");
        file
    }

    fn command(name: &str, file: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigie"));
        command.args(["--log", "warn", name, "--config"]).arg(file).env("CAMERA_PASSWORD", PASSWORD);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn spawn(&mut self, kbit_per_second: u32) -> PathBuf {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let port = free.expect("a free port").port();
        let file = self.file(port, kbit_per_second);
        self.process = Some((Self::command("run", &file).spawn().expect("the built binary"), port));
        self.until("a gateway", async |_| tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok())
            .await;
        file
    }

    async fn kill(&mut self) {
        let (mut child, _) = self.process.take().expect("it runs");
        child.kill().await.expect("SIGKILL");
    }

    fn live(&self) -> &Arc<Live> {
        self.cameras.camera("pedestrians").expect("it is served")
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        let address = match (&self.gateway, &self.process) {
            (Some(gateway), _) => gateway.address().to_string(),
            (None, Some((_, port))) => format!("127.0.0.1:{port}"),
            (None, None) => panic!("it does not run"),
        };
        reqwest::get(format!("http://{address}{path}")).await.expect("an answer")
    }

    async fn value(&self, path: &str) -> Value {
        self.get(path).await.json().await.expect("JSON")
    }

    /// All of today, in a query.
    fn day() -> String {
        let now = SystemClock::default().wall();
        let day = Ticks90k::from_duration(Duration::from_secs(40_000));
        format!("start={}&end={}", now.saturating_sub(day), now.saturating_add(day))
    }

    async fn timeline(&self) -> Value {
        self.value(&format!("/api/cameras/gate/timeline?{}", Self::day())).await
    }

    async fn until(&self, what: &str, mut is: impl AsyncFnMut(&Self) -> bool) {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let waits = async {
            while !is(self).await {
                tick.tick().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waits).await.is_ok(), "waited in vain for {what}");
    }

    /// Records for so many seconds more.
    async fn records(&self, seconds: u64) {
        let covered = async |town: &Self| town.timeline().await["covered_ms"].as_u64().unwrap_or(0);
        let before = covered(self).await;
        self.until("footage", async |town| covered(town).await >= before + seconds * 1_000).await;
    }

    /// Nobody reaches the camera, which films so many pictures meanwhile; its card lacks these of them.
    async fn cut(&self, pictures: usize, lacking: std::ops::Range<u64>) {
        self.live().set(|faults| faults.refuse = true);
        self.until("a gap", async |town| town.timeline().await["gaps"][0]["end"].is_null()).await;
        let before = self.live().filmed().len();
        if !lacking.is_empty() {
            let before = before as u64;
            let holes = std::iter::once(before + lacking.start..before + lacking.end).collect();
            self.live().set_card(Card { holes, ..Card::default() });
        }
        self.until("pictures", async |town| town.live().filmed().len() >= before + pictures).await;
        self.live().set(|faults| faults.refuse = false);
    }

    /// Waits until every gap that is long enough to be a cut is filled; gives how many are not.
    async fn filled(&self) -> usize {
        let length = |gap: &Value| {
            let at = |bound: &str| gap[bound].as_str().and_then(|at| at.parse::<WallTime>().ok());
            at("end").zip(at("start")).map(|(end, start)| end.since(start).0 / (SECOND / 1_000))
        };
        let gaps = async |town: &Self| town.timeline().await["gaps"].as_array().cloned().unwrap_or_default();
        let is_filled = |gap: &Value| {
            length(gap)
                .is_some_and(|ms| ms < 1_000 || gap["filled_ms"].as_i64().is_some_and(|filled| filled + 300 > ms))
        };
        self.until("filled cuts", async |town| gaps(town).await.iter().all(is_filled)).await;
        gaps(self).await.iter().filter(|gap| length(gap) < Some(1_000)).count()
    }

    /// Events of this kind.
    async fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.value("/api/events").await;
        let all = events.as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|event| event["kind"] == kind).collect()
    }

    async fn settled(&self, kind: &str) -> Value {
        self.until(kind, async |town| !town.events(kind).await.is_empty()).await;
        self.events(kind).await.remove(0)
    }

    /// Numbers of the pictures of a clip of everything, in their order.
    async fn clip(&self) -> Vec<u64> {
        let bytes =
            self.get(&format!("/api/cameras/gate/clip.mp4?{}", Self::day())).await.bytes().await.expect("a clip");
        const MARK: &[u8] = b"vigie-simulation";
        let marks = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
        let number = |at: usize| {
            let digits = std::str::from_utf8(&bytes[at + MARK.len() + 16..at + MARK.len() + 32]).expect("digits");
            u64::from_str_radix(digits, 16).expect("a number")
        };
        marks.map(|(at, _)| number(at)).collect()
    }

    async fn stop(&mut self) {
        self.gateway.take().expect("running").stop().await;
    }

    /// Every fragment that the camera recorded itself, with the hashes of its pictures.
    async fn edge(&self) -> Vec<(Arc<FragmentEntry>, Vec<blake3::Hash>)> {
        let footage = self.gateway.as_ref().expect("it runs").footage();
        let camera: CameraKey = "demo/gate".parse().expect("a key");
        let all = TimeRange::new(WallTime(0), WallTime(i64::MAX / 4)).expect("a range");
        let mut found = Vec::new();
        for segment in footage.index.segments(&camera, all).await.expect("an index") {
            if !segment.run.is_edge() {
                continue;
            }
            let pack = PackRef { id: segment.pack, camera: camera.clone(), state: segment.state };
            let table = footage.packs.table(&pack).await.expect("a pack");
            assert_eq!(table.header.run, segment.run);
            let first = segment.first_fragment as usize;
            for entry in &table.fragments[first..first + segment.fragments as usize] {
                let start = entry.data_offset();
                let bytes = footage.packs.bytes(&pack, start..entry.end()).await.expect("its pictures");
                let mut at = 0;
                let hash = |sample: &Sample| {
                    at += sample.size as usize;
                    blake3::hash(&bytes[at - sample.size as usize..at])
                };
                found.push((entry.clone(), entry.video.iter().map(hash).collect()));
            }
        }
        found
    }
}

/// No picture twice, none missing but these.
fn assert_in_order(numbers: &[u64], missing: std::ops::Range<u64>) {
    let expect: Vec<u64> = (numbers[0]..=*numbers.last().expect("pictures")).filter(|n| !missing.contains(n)).collect();
    assert_eq!(numbers, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_is_filled_byte_for_byte_each_picture_once_and_at_its_time() {
    let mut town = Town::start(Card::default(), vec![SimulatedRecording::new("pedestrians")]).await.started().await;
    town.records(4).await;
    town.cut(40, 0..0).await;
    let event = town.settled("edge_filled").await;
    assert!(event["facts"]["error_ms"].as_u64() < Some(500), "{event}");
    town.records(2).await;
    let numbers = town.clip().await;
    assert_in_order(&numbers, 0..0);
    let timeline = town.timeline().await;
    assert_eq!(timeline["coverage"].as_array().map(Vec::len), Some(1), "{timeline}");
    assert!(timeline["filled"][0]["start"].is_string(), "{timeline}");
    let clip = town.get(&format!("/api/cameras/gate/clip.mp4?{}", Town::day())).await;
    let at = |bound: &str| timeline["filled"][0][bound].as_str().expect("a time");
    assert_eq!(clip.headers()["footage-filled"], format!("\"{}/{}\"", at("start"), at("end")).as_str());
    let gap = &timeline["gaps"][0];
    assert_eq!((&gap["cause"], gap["filled_ms"].as_u64() > Some(3_000)), (&"disconnected".into(), true), "{timeline}");
    let filmed = town.live().filmed();
    let find = |hash: &blake3::Hash| -> Filmed { *filmed.iter().find(|filmed| filmed.hash == *hash).expect("filmed") };
    for (entry, hashes) in town.edge().await {
        let first = find(&hashes[0]);
        assert!(hashes.iter().all(|hash| find(hash).number >= first.number));
        let off = entry.stamp.wall_start.since(first.at).0.abs();
        assert!(off < SECOND / 2, "{off} ticks off");
        let by_camera = entry.stamp.camera_time.expect("the camera's time").since(first.at);
        assert!((by_camera.0 - Ticks90k::from_duration(AHEAD).0).abs() <= 1, "{by_camera:?}");
    }
    town.stop().await;
}

/// What comes of a cut of a camera with this card, and the numbers of the pictures that are shown then.
async fn outcome(card: Card, recordings: Vec<SimulatedRecording>, kind: &str) -> (Town, Value, Vec<u64>) {
    let town = Town::start(card, recordings).await.started().await;
    town.records(3).await;
    town.cut(30, 0..0).await;
    let event = town.settled(kind).await;
    let numbers = town.clip().await;
    (town, event, numbers)
}

/// How many pictures are missing in their order; none is there twice.
fn missing(numbers: &[u64]) -> u64 {
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_card_lacks_stays_a_gap() {
    let one = vec![SimulatedRecording::new("pedestrians")];
    let mut town = Town::start(Card::default(), one).await.started().await;
    town.records(3).await;
    // The camera was off for a while.
    town.cut(40, 5..20).await;
    town.settled("edge_filled").await;
    let numbers = town.clip().await;
    let filmed = town.live().filmed();
    // And what cannot be decoded without them, up to the next random access point.
    let hole = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1).expect("a hole");
    assert!(missing(&numbers) == hole[1] - hole[0] - 1 && hole[1] - hole[0] > 15, "{numbers:?}");
    assert!(filmed.iter().any(|filmed| filmed.number == hole[1] && filmed.random_access), "{hole:?}");
    let timeline = town.timeline().await;
    assert_eq!(timeline["coverage"].as_array().map(Vec::len), Some(2), "{timeline}");
    assert_eq!(timeline["gaps"][0]["cause"], "disconnected", "{timeline}");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_without_an_end_ends_with_the_cut() {
    let one = vec![SimulatedRecording::new("pedestrians")];
    let card = Card { quirk: CardQuirk::Endless, ..Card::default() };
    let (mut town, _, numbers) = outcome(card, one, "edge_filled").await;
    assert_eq!(missing(&numbers), 0);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_proves_nothing_fills_nothing() {
    let one = || vec![SimulatedRecording::new("pedestrians")];
    let several =
        || vec![SimulatedRecording { source: "vs2".to_owned(), ..SimulatedRecording::new("other") }, one()[0].clone()];
    let card = |quirk| Card { quirk, ..Card::default() };
    for (card, recordings, why) in [
        (Card::default(), Vec::new(), "no_service"),
        (Card::default(), several(), "several_sources"),
        (card(CardQuirk::NoExtension), one(), "nothing_in_common"),
    ] {
        let (mut town, event, numbers) = outcome(card, recordings, "edge_not_filled").await;
        assert_eq!(event["facts"]["why"], why, "{event}");
        assert!(missing(&numbers) >= 30, "{why}: {numbers:?}");
        assert_eq!(town.timeline().await["gaps"][0]["filled_ms"], 0, "{why}");
        assert!(town.edge().await.is_empty(), "{why}");
        town.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_stopped_while_it_fills_goes_on_where_it_was() {
    let mut town = Town::start(Card::default(), vec![SimulatedRecording::new("pedestrians")]).await;
    let onvif = town.config.tenants[0].cameras[0].onvif.as_mut().expect("a device service");
    onvif.backfill = Some(BackfillConfig { reach: BackfillConfig::REACH, bytes_per_second_max: 150_000 });
    town = town.started().await;
    town.records(3).await;
    town.cut(60, 0..0).await;
    town.until("some of it", async |town| !town.edge().await.is_empty()).await;
    assert!(town.events("edge_filled").await.is_empty());
    town.stop().await;
    let onvif = town.config.tenants[0].cameras[0].onvif.as_mut().expect("a device service");
    onvif.backfill = Some(BackfillConfig { reach: BackfillConfig::REACH, bytes_per_second_max: 2_000_000 });
    town = town.started().await;
    let short = town.filled().await;
    assert!(missing(&town.clip().await) <= 10 * short as u64);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_while_it_fills_doubles_and_loses_nothing_and_packs_alone_keep_the_mark() {
    let mut town = Town::start(Card::default(), vec![SimulatedRecording::new("pedestrians")]).await;
    town.spawn(1_200).await;
    town.records(3).await;
    town.cut(60, 0..0).await;
    town.until("some of it", async |town| town.timeline().await["filled"].is_array()).await;
    town.kill().await;
    let file = town.spawn(16_000).await;
    let short = town.filled().await;
    assert!(missing(&town.clip().await) <= 10 * short as u64);
    let (gaps, filled) = (town.timeline().await["gaps"].clone(), town.timeline().await["filled"].clone());
    assert!(gaps[0]["cause"] == "disconnected" && gaps[1]["cause"] == "gateway_crashed", "{gaps}");
    assert!(gaps[0]["filled_ms"].as_u64() > Some(4_000), "{gaps}");

    town.kill().await;
    let index = town._beside.1.path().join("index.sqlite");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", index.display()));
    }
    let rebuilt = Town::command("rebuild-index", &file).output().await.expect("it runs");
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    town.spawn(16_000).await;
    let after = town.timeline().await;
    assert_eq!((&after["gaps"][0], &after["filled"][0]), (&gaps[0], &filled[0]), "{after}");
    town.kill().await;
}
