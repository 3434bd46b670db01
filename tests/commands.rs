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

#[tokio::test(flavor = "multi_thread")]
async fn fsck_finds_a_sound_recording_sound_and_reads_all_of_it() {
    let site = Site::recorded().await;
    let (code, out, err) = site.vigie(&["fsck"]).await;
    assert_eq!((code, out.as_str()), (0, "sound: 1 cameras, 2 packs, 2 objects, 0 files in the spool\n"), "{err}");
    let bytes: u64 = [1, 2].map(|n| site.object(n).metadata().unwrap().len()).iter().sum();
    let (code, out, err) = site.vigie(&["fsck", "--read-data"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.ends_with(&format!("{bytes} bytes read and checked\n")), "{out}");
}

/// After this damage, `fsck` says these and nothing else.
async fn check(damage: impl AsyncFnOnce(&Site), arguments: &[&str], expect: &[&str]) {
    let site = Site::recorded().await;
    damage(&site).await;
    let (code, out, err) = site.vigie(arguments).await;
    let said: Vec<&str> = out.lines().filter(|line| !line.contains("sound: ")).collect();
    assert_eq!(said.len(), expect.len(), "{out}{err}");
    assert!(said.iter().zip(expect).all(|(said, part)| said.contains(part)), "{expect:?}: {out}");
    let complaints = said.iter().filter(|line| !line.starts_with("note: ")).count();
    assert_eq!(code, i32::from(complaints > 0), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_names_each_kind_of_damage() {
    let fsck = &["fsck"][..];
    let with_data = &["fsck", "--read-data"][..];
    check(async |s| std::fs::remove_file(s.object(1)).unwrap(), fsck, &["it is not there"]).await;
    let cut = async |s: &Site| {
        let file = std::fs::File::options().write(true).open(s.object(2)).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    };
    check(cut, fsck, &["bytes are there, the index says"]).await;
    check(async |s| flip(&s.object(1)), fsck, &[]).await;
    check(async |s| flip(&s.object(1)), with_data, &["is damaged: fragment at byte"]).await;
    check(async |s| copy(&s.object(1), &s.object(3)), fsck, &["the index knows no such pack"]).await;
    let foreign = async |s: &Site| copy(&s.object(1), &s.config.data_dir.join("store").join("notes.txt"));
    check(foreign, fsck, &["note: object notes.txt is not Vigie's"]).await;
    let spooled = async |s: &Site| {
        let [_, whole, _] = s.open().await.spool.files(&key("town/gate"), pack_id(3));
        copy(&s.object(1), &whole);
    };
    check(spooled, fsck, &["the next start of the gateway takes it in"]).await;
    // One pack's bytes under another's name.
    check(async |s| copy(&s.object(1), &s.object(2)), fsck, &["bytes are there, the index says"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_mends_what_follows_from_the_rest_and_makes_a_gap_of_what_does_not() {
    let repair = &["fsck", "--read-data", "--repair"][..];
    let site = Site::recorded().await;
    let before = std::fs::read(site.object(2)).unwrap();
    let mut damaged = before.clone();
    let table = damaged.len() - 30;
    damaged[table] ^= 1;
    std::fs::write(site.object(2), damaged).unwrap();
    flip(&site.object(1));
    let (code, out, err) = site.vigie(repair).await;
    assert_eq!(code, 1, "what is lost stays a complaint: {out}{err}");
    let said = |start: &str| out.lines().any(|line| line.starts_with(start));
    assert!(said("lost: pack ") && said("mended: pack ") && out.contains("its fragment table"), "{out}");
    assert!(std::fs::read(site.object(2)).unwrap() == before);
    let rows = site.rows().await;
    assert!(rows.gaps.iter().any(|gap| gap.cause == GapCause::Corrupt), "{rows:?}");

    let (code, _, err) = site.vigie(&["fsck", "--repair"]).await;
    assert_eq!(code, 2, "{err}");
    let held = vigie::gateway::lock(&site.config).unwrap();
    let (code, _, err) = site.vigie(repair).await;
    drop(held);
    assert!(code == 1 && err.contains("is in use by another Vigie"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_and_replaced_without_a_byte_of_footage_rewritten() {
    let plain = Site::recorded().await;
    let (code, _, err) = plain.vigie(&["keys", "show"]).await;
    assert!(code == 1 && err.contains("no store is encrypted"), "{err}");

    let site = Site::configured("[[store]]\nencrypt = true\n").with_recording().await;
    let store = site.config.data_dir.join("store");
    let objects = || {
        let folder =
            std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = objects();
    assert_eq!(before.len(), 2);
    let sound = async |after: &str| {
        let (code, out, err) = site.vigie(&["fsck", "--read-data"]).await;
        assert_eq!(code, 0, "{after}: {out}{err}");
    };
    sound("recorded").await;
    let (_, shown, err) = site.vigie(&["keys", "show"]).await;
    assert!(shown.contains("(tenant key)") && shown.contains("master key: "), "{shown}{err}");
    for arguments in [&["keys", "rotate-tenant", "town"][..], &["keys", "rotate-master"]] {
        let (code, out, err) = site.vigie(arguments).await;
        assert!(code == 0 && out.contains("wrapped again"), "{out}{err}");
        sound(arguments[1]).await;
    }
    let (_, now, _) = site.vigie(&["keys", "show"]).await;
    let days =
        |shown: &str| shown.lines().filter(|line| line.split_whitespace().any(|word| word.contains('-'))).count();
    assert!(now != shown && days(&now) == days(&shown), "{shown}{now}");
    assert!(objects() == before);
    let (code, _, err) = site.vigie(&["keys", "rotate-tenant", "nobody"]).await;
    assert!(code == 1 && err.contains("has no keys"), "{err}");

    // Another master key, where the one before is not given.
    let own = site.config.data_dir.join("keys").join("master.key");
    std::fs::write(own, format!("{}\n", "5a".repeat(32))).unwrap();
    let (code, out, err) = site.vigie(&["fsck"]).await;
    assert!(code == 1 && out.contains("previous_master_key"), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_names_what_the_index_has_wrong_by_itself() {
    let camera = key("town/gate");
    let gap = |cause, lost_packets| {
        let gap = Gap { start: at(2), end: at(3), cause, lost_packets };
        vec![Change::PutGap { camera: key("town/gate"), gap }]
    };
    let fsck = &["fsck"][..];
    check(async |s| s.report(gap(GapCause::Silent, 0)).await, fsck, &["lies over footage"]).await;
    check(async |s| s.report(gap(GapCause::PacketLoss, 4)).await, fsck, &[]).await;
    let overlapping = async |s: &Site| {
        let rows = s.rows().await;
        let segment = SegmentRow { range: TimeRange::new(at(3), at(4)).unwrap(), ..rows.segments[0].clone() };
        let put = Change::PutSegment { camera: camera.clone(), segment, pack_bytes: 0 };
        s.report(vec![put]).await;
    };
    check(overlapping, fsck, &["it has 1 segments, the index 2", "overlap"]).await;
    let shortened = async |s: &Site| {
        let rows = s.rows().await;
        let segment = SegmentRow { fragments: 5, ..rows.segments[0].clone() };
        let put = Change::PutSegment { camera: key("town/gate"), segment, pack_bytes: 0 };
        s.report(vec![put]).await;
    };
    check(shortened, fsck, &["has 6 fragments from number 0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_takes_a_pack_that_grows_for_what_it_is() {
    let site = Site::recorded().await;
    let opened = site.open().await;
    let _tasks = Sealer::new(opened.spool.clone()).start().unwrap();
    let pack = grow(&opened.spool, &key("town/gate"), 3, 20..24, &[]).await;
    opened.spool.flush().await;
    // Written, and the index does not know of it yet.
    write_second(&opened.spool, &pack, 24, Vec::new(), Vec::new()).await;
    opened.index.close().await;
    opened.spool.flush().await;
    let (code, out, err) = site.vigie(&["fsck", "--read-data"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("3 packs, 2 objects, 1 files in the spool"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_reads_packs_of_a_store_elsewhere_through_a_folder_that_it_removes() {
    let site = Site::empty();
    let memory = Arc::new(InMemory::new());
    let store = Store::over(memory.clone());
    let Opened { index, clock, keys, .. } = site.open().await;
    let spool = Spool::new(&site.config.spool_dir, store.clone(), index.clone(), clock, keys);
    let tasks = Sealer::new(spool.clone()).start().unwrap();
    let camera = key("town/gate");
    spool.seal(grow(&spool, &camera, 1, 0..4, &[]).await).await.unwrap();
    spool.close();
    tasks.join().await;
    // The spool may have been stopped before the store had it.
    let file = spool.files(&camera, pack_id(1)).into_iter().find(|path| path.exists()).unwrap();
    store.put_pack(&camera, pack_id(1), &file).await.unwrap();
    index.write(vec![Change::PackStored { pack: pack_id(1) }]).await.unwrap();

    let packs = Archive::new(spool.clone(), store.clone());
    let fsck = Fsck { index, spool, store, packs, settle: Duration::ZERO, read_data: true };
    let found = async || {
        let mut found = Vec::new();
        let report = fsck.check(&mut |finding| found.push(finding)).await.unwrap();
        (report, found)
    };
    let (report, findings) = found().await;
    assert_eq!(findings, []);
    assert!(report.checked_bytes > 36_000, "{report:?}");

    let location = fsck.store.object_path(&camera, pack_id(1));
    let mut bytes = memory.get(&location).await.unwrap().bytes().await.unwrap().to_vec();
    let middle = bytes.windows(200).position(|w| w.iter().all(|b| *b == w[0] && *b != 0)).unwrap() + 100;
    bytes[middle] ^= 1;
    memory.put_opts(&location, bytes.into(), Default::default()).await.unwrap();
    let (_, findings) = found().await;
    assert!(matches!(findings[..], [Finding::Complaint(Complaint::Damaged { .. })]), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_lost_is_rebuilt_row_for_row() {
    let site = Site::recorded().await;
    let before = site.rows().await;
    assert_eq!((before.packs.len(), before.segments.len(), before.gaps.len(), before.runs.len()), (2, 2, 1, 2));
    let path = gateway::index_path(&site.config);
    for _ in 0..2 {
        std::fs::remove_file(&path).unwrap();
        let (code, out, err) = site.vigie(&["rebuild-index"]).await;
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("2 packs in the store") && out.contains("there was no old index"), "{out}");
        assert_eq!(site.rows().await, before);
    }
    assert_eq!(site.vigie(&["fsck", "--read-data"]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_can_be_read_hands_on_what_no_pack_holds() {
    let site = Site::recorded().await;
    let camera = key("town/gate");
    let lost = Gap { start: at(30), end: at(40), cause: GapCause::Corrupt, lost_packets: 0 };
    let fact = Fact::PackLost { pack: PackId([1; 16]), start: at(30), end: at(40) };
    let event = Change::Event(Event::of_camera(at(41), &camera, fact));
    let open = Change::OpenGap { camera: camera.clone(), start: at(40), cause: GapCause::GatewayStopped };
    site.report(vec![Change::PutGap { camera, gap: lost }, event, open]).await;
    let before = site.rows().await;
    assert_eq!((before.gaps.len(), before.events.len()), (3, 1));
    for _ in 0..2 {
        let (code, out, err) = site.vigie(&["rebuild-index"]).await;
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("taken over from the old index: 2 events"), "{out}");
        assert_eq!(site.rows().await, before);
    }
    let kept = std::fs::read_dir(&site.config.data_dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(kept.filter(|name| name.starts_with("index.sqlite.old-") && name.ends_with('Z')).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_is_replaced_and_kept() {
    let site = Site::recorded().await;
    let before = site.rows().await;
    let path = gateway::index_path(&site.config);
    std::fs::write(&path, "no database at all").unwrap();
    let (code, out, err) = site.vigie(&["rebuild-index"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("start empty: the index is damaged"), "{out}");
    assert_eq!(site.rows().await, before);
    let kept = out.lines().find_map(|line| line.strip_prefix("the old index is kept as ")).unwrap();
    assert_eq!(std::fs::read(kept).unwrap(), b"no database at all");
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilding_goes_past_what_it_cannot_read_and_says_so() {
    let site = Site::recorded().await;
    let before = site.rows().await;
    std::fs::write(site.object(1), "not a pack").unwrap();
    let (code, out, err) = site.vigie(&["rebuild-index"]).await;
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains(&format!("{}.mp4: left out: ", pack_id(1))), "{err}");
    assert_eq!(site.rows().await.packs, before.packs[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilding_takes_in_the_spool_and_cameras_that_no_configuration_names() {
    let site = Site::empty();
    {
        let opened = site.open().await;
        let row = CameraRow { key: key("town/old"), ..gateway::camera_rows(&site.config).remove(0) };
        opened.index.write(vec![Change::Configure(vec![row])]).await.unwrap();
        let _growing = grow(&opened.spool, &key("town/old"), 1, 0..6, &[]).await;
        opened.spool.flush().await;
        opened.index.close().await;
    }
    std::fs::remove_file(gateway::index_path(&site.config)).unwrap();
    let (code, out, err) = site.vigie(&["rebuild-index"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("1 to be sealed at the next start") && out.contains("camera town/old is known"), "{out}");
    let rows = site.rows().await;
    let known: Vec<_> = rows.cameras.iter().map(|c| (c.key.to_string(), c.configured)).collect();
    assert_eq!(known, [("town/gate".to_owned(), true), ("town/old".to_owned(), false)]);
    assert_eq!(rows.segments[0].range, TimeRange::new(at(0), at(6)).unwrap());
    assert_eq!(site.vigie(&["fsck"]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_in_use_is_not_rebuilt() {
    let site = Site::recorded().await;
    let held = gateway::lock(&site.config).unwrap();
    let (code, _, err) = site.vigie(&["rebuild-index"]).await;
    assert!(code == 1 && err.contains("in use by another Vigie"), "{code} {err}");
    drop(held);
    assert_eq!(site.vigie(&["rebuild-index"]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_the_clip_byte_for_byte_while_the_gateway_records() {
    let site = Site::recorded().await;
    let opened = site.open().await;
    let footage = Footage::new(opened.index, opened.packs, opened.clock);
    footage.label(Labels::of(&site.config));
    let range = TimeRange::new(at(1), at(19)).unwrap();
    let clip = Clip::new(&footage, &key("town/gate"), range).await.unwrap();
    let parts: Vec<Bytes> = futures::TryStreamExt::try_collect(clip.body(0..clip.len())).await.unwrap();

    let out_file = site.dir.path().join("out").join("clip.mp4");
    std::fs::create_dir(out_file.parent().unwrap()).unwrap();
    let out_path = out_file.to_str().unwrap();
    let export = |start, end| {
        ["export", "--camera", "town/gate", "--start", start, "--end", end, "--out", out_path].map(str::to_owned)
    };
    let run = async |arguments: [String; 9]| site.vigie(&arguments.each_ref().map(String::as_str)).await;
    // Noon UTC is one o'clock in Paris in March.
    let good = export("2026-03-03T13:00:01", "2026-03-03T12:00:19Z");
    let (code, out, err) = run(good.clone()).await;
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(std::fs::read(&out_file).unwrap(), parts.concat());
    let covers = "town/gate, 2026-03-03T13:00:01.000+01:00 to 2026-03-03T13:00:19.000+01:00";
    assert!(out.contains(covers) && out.contains(&format!("{} bytes", clip.len())), "{out}");
    assert!(out.contains("13:00:06.000+01:00  2026-03-03T13:00:16.000+01:00  10.0 s  disconnected"), "{out}");

    let (code, _, err) = run(good).await;
    assert!(code == 1 && err.contains("exists"), "{code} {err}");
    assert_eq!(std::fs::read(&out_file).unwrap(), parts.concat());
    std::fs::remove_file(&out_file).unwrap();
    let wrong = [
        (export("2026-03-03T12:00:07Z", "2026-03-03T12:00:09Z"), 66, "no footage"),
        (export("2026-03-03T12:00:09Z", "2026-03-03T12:00:07Z"), 2, "must be before"),
        (export("2026-03-03T12:00:00Z", "2026-03-05T12:00:00Z"), 2, "at most 25 hours"),
        (export("yesterday", "2026-03-05T12:00:00Z"), 2, "--start"),
    ];
    for (arguments, expect, part) in wrong {
        let (code, _, err) = run(arguments).await;
        assert!(code == expect && err.contains(part), "{code} {err}");
    }
    std::fs::remove_file(site.object(1)).unwrap();
    let (code, _, err) = run(export("2026-03-03T12:00:01Z", "2026-03-03T12:00:05Z")).await;
    assert!(code == 65 && err.contains("is missing or damaged (packs: 1)"), "{code} {err}");
    assert_eq!(std::fs::read_dir(out_file.parent().unwrap()).unwrap().count(), 0, "nothing is left of a failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn ls_shows_cameras_and_what_there_is_of_one_in_local_time() {
    let site = Site::recorded().await;
    let (code, out, err) = site.vigie(&["ls"]).await;
    assert_eq!(code, 0, "{err}");
    let row = "town/gate  2026-03-03T13:00:00.000+01:00  2026-03-03T13:00:20.000+01:00";
    assert!(out.contains(row) && out.contains("Rue Haute"), "{out}");
    let (code, out, err) = site.vigie(&["ls", "--camera", "town/gate"]).await;
    assert_eq!(code, 0, "{err}");
    let lines: Vec<&str> = out.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "footage",
            "  2026-03-03T13:00:00.000+01:00  2026-03-03T13:00:06.000+01:00  6.0 s",
            "  2026-03-03T13:00:16.000+01:00  2026-03-03T13:00:20.000+01:00  4.0 s",
            "gaps",
            "  2026-03-03T13:00:06.000+01:00  2026-03-03T13:00:16.000+01:00  10.0 s  disconnected",
        ]
    );
    let (code, _, err) = site.vigie(&["ls", "--camera", "town/nobody"]).await;
    assert!(code == 66 && err.contains("no camera town/nobody"), "{code} {err}");
}

#[test]
fn run_notifies_systemd_when_it_records_lives_and_stops() {
    let site = Site::empty();
    let socket = site.dir.path().join("notify");
    let notified = UnixDatagram::bind(&socket).unwrap();
    notified.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut gateway = site.command(&["run"]);
    gateway.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "300000");
    let mut gateway = gateway.spawn().unwrap();
    let until = |word: &str| {
        let mut buffer = [0; 256];
        loop {
            let bytes = notified.recv(&mut buffer).unwrap();
            if buffer[..bytes].lines().any(|line| line.unwrap() == word) {
                return;
            }
        }
    };
    until("READY=1");
    until("WATCHDOG=1");
    let reported = Command::new("kill").args(["-TERM", &gateway.id().to_string()]).status().unwrap();
    assert!(reported.success());
    until("STOPPING=1");
    assert!(gateway.wait().unwrap().success());
}
