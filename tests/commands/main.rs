//! The commands beside a recording that was made by hand: what they print, what they leave, and what they refuse.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::BufRead;
use std::ops::Range;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use footage::clock::Reading;
use footage::media::{Fragment, Gap, GapCause, Params, Sample, VideoCodec, VideoParams};
use footage::pack::{PackHeader, Stamp};
use footage::units::{CameraKey, PackId, RunId, Ticks90k, TimeRange, WallTime};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use tempfile::TempDir;
use vigie::archive::Archive;
use vigie::config::{Config, Surroundings};
use vigie::event::{Event, Fact};
use vigie::fsck::{Complaint, Finding, Fsck};
use vigie::gateway::{self, Opened};
use vigie::index::{CameraRow, Change, GapRow, Index, PackRow, RunRow, SegmentRow};
use vigie::retrieve::labels::Labels;
use vigie::retrieve::{Footage, mp4::Clip};
use vigie::seal::Sealer;
use vigie::spool::{Growing, Spool};
use vigie::store::Store;

mod fsck;
mod inspection;
mod rebuild;
mod shown;

/// When recordings begin: 2026-03-03T12:00:00Z.
const NOON: WallTime = WallTime(1_772_539_200 * 90_000);
/// Pictures a second.
const RATE: u32 = 10;

const CONFIG: &str = r#"
time_zone = "Europe/Paris"
[data]
dir = "DIR"
[http]
listen = "127.0.0.1:0"
[[tenant]]
id = "town"
[[tenant.camera]]
id = "gate"
place = "Rue Haute"
url = "rtsp://127.0.0.1:1/a"
"#;

fn at(seconds: i64) -> WallTime {
    NOON.saturating_add(Ticks90k(seconds * 90_000))
}

fn key(text: &str) -> CameraKey {
    text.parse().unwrap()
}

fn pack_id(n: u8) -> PackId {
    let mut id = PackId::generate(NOON);
    id.0[6..].fill(n);
    id
}

/// One second from `second` on; no two have a byte in common by design.
fn fragment(second: i64) -> Fragment {
    let mut entry = vec![0, 0, 0, 86];
    entry.extend(b"avc1");
    entry.resize(86, 0);
    let video = VideoParams {
        codec: VideoCodec::H264,
        width: 640,
        height: 360,
        sample_entry: entry.into(),
        rfc6381: "avc1.42C01E".to_owned(),
    };
    let payload: Vec<Bytes> = (0..RATE).map(|i| vec![(second as u8).wrapping_add(i as u8); 900].into()).collect();
    let sample = |bytes: &Bytes| Sample { size: bytes.len() as u32, duration: 90_000 / RATE, composition_offset: 0 };
    let received = Reading { wall: at(second), mono: Duration::ZERO };
    Fragment {
        params: Arc::new(Params { video, audio: None }),
        decode_time: Ticks90k(second * 90_000),
        duration: Ticks90k(90_000),
        random_access: true,
        video: payload.iter().map(sample).collect(),
        audio: Vec::new(),
        audio_decode_time: 0,
        payload: payload.into_iter().collect(),
        first_timestamp: second * 90_000,
        first_received: received,
        last_received: received,
        followed: true,
        arrivals: Vec::new(),
        losses: Vec::new(),
    }
}

/// A pack of these seconds; the gaps end where it begins.
async fn grow(spool: &Spool, camera: &CameraKey, n: u8, seconds: Range<i64>, gaps: &[Gap]) -> Arc<Growing> {
    let run = RunId([n; 16]);
    let params = fragment(0).params;
    let pack =
        spool.open_pack(PackHeader { pack: pack_id(n), camera: camera.clone(), run, params, hold: None }).unwrap();
    let mut changes = vec![Change::BeginRun { camera: camera.clone(), run, start: at(seconds.start) }];
    changes.extend(gaps.iter().map(|&gap| Change::PutGap { camera: camera.clone(), gap }));
    write_second(spool, &pack, seconds.start, gaps.to_vec(), changes).await;
    for second in seconds.skip(1) {
        write_second(spool, &pack, second, Vec::new(), Vec::new()).await;
    }
    pack
}

/// One second of footage into a pack, by a camera whose clock is 50 ms ahead.
async fn write_second(spool: &Spool, pack: &Growing, second: i64, gaps: Vec<Gap>, changes: Vec<Change>) {
    let offset = Ticks90k(4_500);
    let stamp = Stamp {
        wall_start: at(second),
        wall_duration: Ticks90k(90_000),
        camera_time: Some(at(second).saturating_add(offset)),
        gaps,
    };
    let fragment = fragment(second);
    let room = spool.room(fragment.payload.len()).await;
    pack.append(&fragment, stamp, changes, room).unwrap();
}

/// A data folder, its configuration and what was recorded into it.
struct Site {
    dir: TempDir,
    config: Config,
}

impl Site {
    /// Seconds 0 to 6 and 16 to 20 of one camera, the hole being an outage, in two packs of the store.
    async fn recorded() -> Self {
        Self::empty().with_recording().await
    }

    async fn with_recording(self) -> Self {
        let site = self;
        let opened = site.open().await;
        let tasks = Sealer::new(opened.spool.clone()).start().unwrap();
        let outage = Gap { start: at(6), end: at(16), cause: GapCause::Disconnected, lost_packets: 0 };
        for (n, seconds, gaps) in [(1, 0..6, vec![]), (2, 16..20, vec![outage])] {
            let end = at(seconds.end);
            let pack = grow(&opened.spool, &key("town/gate"), n, seconds, &gaps).await;
            opened.spool.flush().await;
            let run = pack.header().run;
            let clocks =
                Change::RunClocks { run, camera_clock_offset: Some(Ticks90k(4_500)), timeline_offset: Ticks90k::ZERO };
            pack.note(vec![Change::EndRun { run, end }, clocks]);
            opened.spool.seal(pack).await.unwrap();
        }
        opened.spool.close();
        tasks.join().await;
        opened.index.close().await;
        site
    }

    fn empty() -> Self {
        Self::configured("")
    }

    /// With more tables.
    fn configured(more: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let text = format!("{CONFIG}{more}").replace("DIR", dir.path().join("data").to_str().unwrap());
        std::fs::write(dir.path().join("vigie.toml"), &text).unwrap();
        let around = Surroundings { variable: &|_| None, world_readable: false };
        let config = Config::parse("vigie.toml", &text, &around).unwrap().config;
        Self { dir, config }
    }

    async fn open(&self) -> Opened {
        std::fs::create_dir_all(&self.config.data_dir).unwrap();
        let opened = gateway::open(&self.config, false).await.unwrap();
        opened.index.write(vec![Change::Configure(gateway::camera_rows(&self.config))]).await.unwrap();
        opened
    }

    /// Changes the index as nothing in Vigie would.
    async fn report(&self, changes: Vec<Change>) {
        let index = Index::open(&gateway::index_path(&self.config)).await.unwrap();
        index.write(changes).await.unwrap();
        index.close().await;
    }

    fn object(&self, n: u8) -> PathBuf {
        let store = Store::open(&self.config.default_store().url, &self.config.default_store().s3).unwrap();
        store.local_file(&key("town/gate"), pack_id(n)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigie"));
        command.args(arguments).arg("--config").arg(self.dir.path().join("vigie.toml"));
        command.env_remove("NOTIFY_SOCKET").env("TMPDIR", self.dir.path());
        command
    }

    /// Runs a command; its exit code, standard output and standard error.
    async fn vigie(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = self.command(arguments);
        let run = tokio::task::spawn_blocking(move || command.output().unwrap());
        let Output { status, stdout, stderr } = run.await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    async fn rows(&self) -> Rows {
        let index = Index::open_read_only(&gateway::index_path(&self.config)).await.unwrap();
        let everything = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap();
        let cameras = index.all_cameras().await.unwrap();
        let packs = index.packs_after(None, 1_000).await.unwrap();
        let mut rows = Rows { cameras, packs, ..Rows::default() };
        for camera in rows.cameras.iter().map(|row| &row.key) {
            rows.segments.extend(index.segments(camera, everything).await.unwrap());
            rows.gaps.extend(index.gaps(camera, everything).await.unwrap());
            rows.runs.extend(index.runs(camera, 1_000).await.unwrap());
            let events = index.events(&camera.tenant, None, 0, 1_000).await.unwrap();
            // That the store is new is said once at its opening, and lost with the index.
            let events = events.into_iter().filter(|event| event.kind() != "store_new");
            rows.events.extend(events.map(|event| (event.id, event.kind().to_owned())));
        }
        rows
    }
}

/// Everything that an index says.
#[derive(Debug, Default, PartialEq)]
struct Rows {
    cameras: Vec<CameraRow>,
    packs: Vec<PackRow>,
    segments: Vec<SegmentRow>,
    gaps: Vec<GapRow>,
    runs: Vec<RunRow>,
    events: Vec<(i64, String)>,
}

/// Turns one bit in the middle of a file's samples.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let run = bytes.windows(200).position(|w| w.iter().all(|b| *b == w[0] && *b != 0)).unwrap();
    bytes[run + 100] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
}
