//! Gateways without cameras: made-up fragments into real packs, an index and a spool for each, one store in memory.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use footage::clock::{Clock, Reading, SimClock};
use footage::keys::Keys;
use footage::media::{Fragment, Gap, Params, Sample, VideoCodec, VideoParams};
use footage::pack::reader::{self, Tail};
use footage::pack::{PackHeader, Stamp};
use footage::units::{CameraKey, PackId, RunId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use tempfile::TempDir;
use vigie::archive::Archive;
use vigie::config::{SharedStore, StoreConfig};
use vigie::dedup::Dedup;
use vigie::fsck::{Finding, Fsck};
use vigie::index::{CameraRow, Change, Index, PackRow, PackState};
use vigie::redundancy::{Depth, Redundancy};
use vigie::retention::rehost::Rehoster;
use vigie::retention::{Policy, storage, sweep};
use vigie::retrieve::Footage;
use vigie::retrieve::mp4::Clip;
use vigie::retrieve::timeline::{Timeline, timeline};
use vigie::seal::{Sealer, Tasks};
use vigie::spool::Spool;
use vigie::store::{Listed, Store};

/// When the scene begins.
pub(crate) const NOON: WallTime = WallTime(1_772_539_200 * TICKS_PER_SECOND);
pub(crate) const DAY: i64 = 86_400;
/// A group of pictures, in fragments of a second.
pub(crate) const GOP: u32 = 2;
/// Pictures of a second.
pub(crate) const PICTURES: usize = 4;

/// What the gateways have in common.
pub(crate) struct Town {
    pub(crate) objects: Arc<InMemory>,
    pub(crate) clock: Arc<SimClock>,
    /// For how many days the footage of each camera stays. Their tenants share one domain.
    cameras: Vec<(&'static str, i64)>,
}

/// One gateway.
pub(crate) struct Side {
    dir: TempDir,
    pub(crate) rank: u8,
    pub(crate) index: Index,
    pub(crate) spool: Spool,
    pub(crate) packs: Archive,
    pub(crate) store: Store,
    pub(crate) redundancy: Redundancy,
    keys: Keys,
    pub(crate) clock: Arc<SimClock>,
    /// Its own clock is ahead by so much.
    ahead: Ticks90k,
    cameras: Vec<(&'static str, i64)>,
    tasks: Option<Tasks>,
    runs: u64,
    sweeper: Option<sweep::Sweeper>,
}

fn params() -> Arc<Params> {
    let video = VideoParams {
        codec: VideoCodec::H264,
        width: 704,
        height: 576,
        sample_entry: Bytes::from_static(b"\0\0\0\x10avc1\x01\x02\x03\x04\x05\x06\x07\x08"),
        rfc6381: "avc1.4D001E".into(),
    };
    Arc::new(Params { video, audio: None })
}

/// A picture of the scene, by its number.
fn picture(n: u32) -> Vec<u8> {
    let mut bytes = vec![0; 700 + (n as usize * 37) % 500];
    blake3::Hasher::new().update(b"scene").update(&n.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// The sample bytes of these seconds of the scene.
pub(crate) fn scene(seconds: Range<u32>) -> Vec<u8> {
    pictures(seconds.start * PICTURES as u32..seconds.end * PICTURES as u32)
}

/// Those of these pictures.
pub(crate) fn pictures(numbers: Range<u32>) -> Vec<u8> {
    numbers.flat_map(picture).collect()
}

/// The scene's second number `n`, as a run that began with second `first` has it, of which so many pictures came.
fn second(n: u32, first: u32, pictures: usize) -> Fragment {
    let received = Reading { wall: NOON, mono: Duration::ZERO };
    let samples: Vec<Vec<u8>> = (0..pictures as u32).map(|i| picture(n * PICTURES as u32 + i)).collect();
    let duration = (TICKS_PER_SECOND / PICTURES as i64) as u32;
    let sample = |bytes: &Vec<u8>| Sample { size: bytes.len() as u32, duration, composition_offset: 0 };
    Fragment {
        params: params(),
        decode_time: Ticks90k(i64::from(n - first) * TICKS_PER_SECOND),
        duration: Ticks90k(i64::from(duration) * pictures as i64),
        random_access: n.is_multiple_of(GOP),
        video: samples.iter().map(sample).collect(),
        audio: Vec::new(),
        audio_decode_time: 0,
        payload: samples.into_iter().map(Bytes::from).collect(),
        first_timestamp: 0,
        first_received: received,
        last_received: received,
        followed: true,
        arrivals: Vec::new(),
        losses: Vec::new(),
    }
}

pub(crate) fn at(second: i64) -> WallTime {
    NOON.saturating_add(Ticks90k(second * TICKS_PER_SECOND))
}

fn range(seconds: Range<i64>) -> TimeRange {
    TimeRange::new(at(seconds.start), at(seconds.end)).unwrap()
}

pub(crate) fn camera() -> CameraKey {
    "town/gate".parse().unwrap()
}

/// A run of a gateway that is being recorded.
pub(crate) struct Run {
    id: RunId,
    camera: CameraKey,
    first: u32,
}

impl Town {
    pub(crate) fn new() -> Self {
        Self::with_cameras(vec![("town/gate", 30)])
    }

    pub(crate) fn with_cameras(cameras: Vec<(&'static str, i64)>) -> Self {
        Self { objects: Arc::new(InMemory::new()), clock: Arc::new(SimClock::starting_at(at(600))), cameras }
    }

    /// A gateway whose clock is ahead by so many milliseconds.
    pub(crate) async fn gateway(&self, rank: u8, ahead_ms: i64) -> Side {
        Side::in_folder(self, TempDir::new().unwrap(), rank, ahead_ms).await
    }

    /// Every object of the store.
    pub(crate) async fn objects(&self) -> Vec<Listed> {
        let store = Store::over(self.objects.clone());
        store.list().try_collect().await.unwrap()
    }

    /// Bytes of all objects, and of the samples in them.
    pub(crate) async fn held_bytes(&self) -> (u64, u64) {
        let (mut stored, mut held) = (0, 0);
        for listed in self.objects().await {
            let object = self.objects.get(&listed.location.as_str().into()).await.unwrap().bytes().await.unwrap();
            let Tail::Table(table) = reader::table_from_tail(&object, listed.bytes).unwrap() else {
                panic!("all of it is there")
            };
            stored += listed.bytes;
            held += table.fragments.iter().map(|entry| u64::from(entry.data_bytes)).sum::<u64>();
        }
        (stored, held)
    }

    /// Bytes that the store holds.
    pub(crate) async fn stored_bytes(&self) -> u64 {
        self.objects().await.iter().map(|listed| listed.bytes).sum()
    }
}

impl Side {
    async fn in_folder(town: &Town, dir: TempDir, rank: u8, ahead_ms: i64) -> Self {
        let clock = town.clock.clone();
        let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
        let row = |(name, days): &(&str, i64)| CameraRow {
            key: name.parse().unwrap(),
            name: (*name).to_owned(),
            place: String::new(),
            configured: true,
            retention_max: Ticks90k(days * DAY * TICKS_PER_SECOND),
            retention_min: Ticks90k::ZERO,
        };
        let rows: Vec<CameraRow> = town.cameras.iter().map(row).collect();
        let keys: Vec<CameraKey> = rows.iter().map(|row| row.key.clone()).collect();
        index.write(vec![Change::Configure(rows)]).await.unwrap();
        let shared = Some(SharedStore::of_rank(rank));
        let config = StoreConfig { shared, ..StoreConfig::at("memory:///".parse().unwrap()) };
        let store = Store::over_config(town.objects.clone(), &config, &(clock.clone() as Arc<dyn Clock>));
        let domains = keys.iter().map(|key| (key.tenant.clone(), "together".parse().unwrap()));
        let all = keys.clone();
        let keys = Keys::from_secret([7; 32]).with_domains(domains);
        let spool = Spool::new(&dir.path().join("spool"), store.clone(), index.clone(), clock.clone(), keys.clone());
        let packs = Archive::new(spool.clone(), store.clone());
        let redundancy = Redundancy::new(
            index.clone(),
            spool.clone(),
            store.clone(),
            packs.clone(),
            keys.clone(),
            clock.clone(),
            all,
        );
        let dedup = Dedup::new(index.clone(), spool.clone(), packs.clone(), keys.clone());
        let tasks = Some(Sealer::new(spool.clone()).comparing(dedup).start().unwrap());
        spool.recover().await.unwrap();
        let ahead = Ticks90k(ahead_ms * TICKS_PER_SECOND / 1_000);
        let cameras = town.cameras.clone();
        Self {
            dir,
            rank,
            index,
            spool,
            packs,
            store,
            redundancy,
            keys,
            clock,
            ahead,
            cameras,
            tasks,
            runs: 0,
            sweeper: None,
        }
    }

    /// A session begins with this second of the scene.
    pub(crate) async fn connect(&mut self, first: u32) -> Run {
        self.connect_to("town/gate", first).await
    }

    /// The same of one of several cameras.
    pub(crate) async fn connect_to(&mut self, camera: &str, first: u32) -> Run {
        let camera: CameraKey = camera.parse().unwrap();
        self.runs += 1;
        let mut id = RunId([self.rank; 16]);
        id.0[8..].copy_from_slice(&self.runs.to_be_bytes());
        let start = at(first.into()).saturating_add(self.ahead);
        self.index.write(vec![Change::BeginRun { camera: camera.clone(), run: id, start }]).await.unwrap();
        Run { id, camera, first }
    }

    /// A pack of these seconds is sealed; of the last of them only some pictures came, where that is said.
    pub(crate) async fn seal(&mut self, run: &Run, seconds: Range<u32>, last_pictures: Option<usize>) -> PackId {
        let begins = at(seconds.start.into()).saturating_add(self.ahead);
        let id = self.spool.new_pack_id(&run.camera, begins);
        let header = PackHeader { pack: id, camera: run.camera.clone(), run: run.id, params: params(), hold: None };
        let pack = self.spool.open_pack(header).unwrap();
        let last = seconds.end - 1;
        for n in seconds {
            let pictures = last_pictures.filter(|_| n == last).unwrap_or(PICTURES);
            let fragment = second(n, run.first, pictures);
            let stamp = Stamp {
                wall_start: at(n.into()).saturating_add(self.ahead),
                wall_duration: fragment.duration,
                camera_time: None,
                gaps: Vec::new(),
            };
            let room = self.spool.room(fragment.payload.len()).await;
            pack.append(&fragment, stamp, Vec::new(), room).unwrap();
        }
        self.spool.seal(pack).await.unwrap();
        self.comes_to(id, PackState::Sealed).await;
        id
    }

    /// The same, in the store when this returns.
    pub(crate) async fn record(&mut self, run: &Run, seconds: Range<u32>, last_pictures: Option<usize>) -> PackId {
        let id = self.seal(run, seconds, last_pictures).await;
        // Somebody asks for it: it need not wait its turn.
        self.spool.send_first(&run.camera, range(-DAY..DAY)).await.unwrap();
        self.comes_to(id, PackState::Stored).await;
        id
    }

    /// Time goes on by so many seconds, then it looks; what is sent is stored when this returns.
    pub(crate) async fn look_after(&self, seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        self.poll().await;
        let is_sent = |row: &PackRow| !self.spool.waits_its_turn(&row.camera, row.id, row.end);
        for row in self.waiting().await.iter().filter(|row| is_sent(row)) {
            self.comes_to(row.id, PackState::Stored).await;
        }
    }

    /// Packs that the store has not.
    pub(crate) async fn waiting(&self) -> Vec<PackRow> {
        self.index.sealed_packs(&camera(), 1_000).await.unwrap()
    }

    /// Kinds of its events of the camera, the newest first.
    pub(crate) async fn events(&self) -> Vec<String> {
        let camera = camera();
        let events = self.index.events(&camera.tenant, Some(&camera), 0, 100).await.unwrap();
        events.into_iter().map(|event| event.kind().to_owned()).collect()
    }

    /// The file of a pack that waits.
    pub(crate) fn file_of(&self, pack: PackId) -> PathBuf {
        let [_, whole, _] = self.spool.files(&camera(), pack);
        whole
    }

    /// Files of its spool that are no cache.
    pub(crate) fn spooled(&self) -> usize {
        let folder = self.spool.dir().join("town").join("gate");
        let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".cache.mp4")).count()
    }

    pub(crate) async fn comes_to(&self, pack: PackId, state: PackState) {
        // A guard against waiting for ever: minutes of a busy machine.
        for _ in 0..5_000_000 {
            let row = self.index.any_pack(pack).await.unwrap();
            if row.as_ref().is_some_and(|row| row.state >= state) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("pack {pack} of rank {} never comes to {state:?}: {:?}", self.rank, self.index.any_pack(pack).await);
    }

    pub(crate) async fn gap(&self, start: i64, end: i64, cause: footage::media::GapCause) {
        let on_own_clock = |second: i64| at(second).saturating_add(self.ahead);
        let gap = Gap { start: on_own_clock(start), end: on_own_clock(end), cause, lost_packets: 0 };
        self.index.write(vec![Change::PutGap { camera: camera(), gap }]).await.unwrap();
    }

    /// Looks for what others stored. Gives how many packs that is.
    pub(crate) async fn poll(&self) -> usize {
        self.redundancy.poll(&camera(), Depth::All).await.unwrap().adopted
    }

    /// Looks at all cameras, as a gateway does by itself.
    pub(crate) async fn poll_all(&self) {
        assert!(self.redundancy.poll_all(Depth::All).await);
    }

    /// The sample bytes of a clip of these seconds, in order.
    pub(crate) async fn samples(&self, seconds: Range<i64>) -> Vec<u8> {
        self.samples_of("town/gate", seconds).await.expect("footage")
    }

    /// The same of one of several cameras; nothing where it has nothing.
    pub(crate) async fn samples_of(&self, camera: &str, seconds: Range<i64>) -> Option<Vec<u8>> {
        let clip = Clip::new(&self.footage(), &camera.parse().unwrap(), range(seconds)).await.ok()?;
        let parts: Vec<Bytes> = clip.body(0..clip.len()).try_collect().await.unwrap();
        let all = parts.concat();
        let at = all.windows(4).position(|w| w == b"mdat").expect("a clip has samples") + 4;
        // A box of over 4 GiB has a longer head; these are short.
        Some(all[at..].to_vec())
    }

    /// What is due by now goes.
    pub(crate) async fn sweep(&mut self) {
        if self.sweeper.is_none() {
            let (index, spool, packs) = (self.index.clone(), self.spool.clone(), self.packs.clone());
            let zone = jiff::tz::TimeZone::UTC;
            let rehoster = Rehoster::new(index, spool, packs, self.keys.clone(), zone);
            let storage = storage::Storage::new(self.packs.clone(), Arc::new(|| Ok(u64::MAX))).with_rehoster(rehoster);
            let known = self.redundancy.clone();
            let storage = storage.unless(Arc::new(move |pack| {
                (!known.may_delete(&pack.camera, pack.id)).then_some("another gateway wrote it")
            }));
            let sweeper = sweep::Sweeper::new(self.index.clone(), self.clock.clone(), storage, self.policy());
            self.sweeper = Some(sweeper);
        }
        let sweeper = self.sweeper.as_mut().unwrap();
        while sweeper.sweep().await.unwrap().more {}
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy {
            interval: Duration::from_secs(60),
            grace: Duration::from_secs(60),
            disk_reserve_bytes: 0,
            store_on_disk: false,
            stored_elsewhere: self.cameras.iter().map(|(name, _)| name.parse().unwrap()).collect(),
            time_zone: jiff::tz::TimeZone::UTC,
            shared: Some(self.store.clone()),
            stores: None,
        }
    }

    pub(crate) async fn timeline(&self, seconds: Range<i64>) -> Timeline {
        timeline(&self.footage(), &camera(), range(seconds), Ticks90k::ZERO).await.unwrap()
    }

    pub(crate) fn footage(&self) -> Footage {
        Footage::new(self.index.clone(), self.packs.clone(), self.clock.clone())
    }

    /// Nothing is wrong, each byte looked at.
    pub(crate) async fn check(&self) {
        let fsck = Fsck {
            index: self.index.clone(),
            spool: self.spool.clone(),
            store: self.store.clone(),
            packs: Archive::new(self.spool.clone(), self.store.clone()),
            settle: Duration::ZERO,
            read_data: true,
        };
        let mut said = Vec::new();
        let mut hear = |finding: Finding| {
            if !matches!(finding, Finding::Foreign(_)) {
                said.push(format!("{finding:?}"));
            }
        };
        fsck.check(&mut hear).await.unwrap();
        assert!(said.is_empty(), "{said:#?}");
    }

    /// The gateway ends, and starts again on what it has.
    pub(crate) async fn restart(mut self, town: &Town) -> Self {
        self.stop().await;
        let ahead_ms = self.ahead.0 * 1_000 / TICKS_PER_SECOND;
        let runs = self.runs;
        Self { runs, ..Self::in_folder(town, self.dir, self.rank, ahead_ms).await }
    }

    async fn stop(&mut self) {
        self.spool.close();
        if let Some(tasks) = self.tasks.take() {
            tasks.join().await;
        }
        self.index.close().await;
    }
}
