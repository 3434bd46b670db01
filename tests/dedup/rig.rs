//! Cameras of several tenants that film the same, without a camera: made-up fragments into real packs, a real index and a
//! real folder.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use footage::clock::{Clock, Reading, SimClock};
use footage::keys::Keys;
use footage::keys::vault::{Vault, master};
use footage::media::{Fragment, Gap, Params, Sample, VideoCodec, VideoParams};
use footage::pack::reader::Tail;
use footage::pack::{PackHeader, PackTable, Stamp, reader};
use footage::units::{CameraKey, PackId, RunId, TICKS_PER_SECOND, TenantId, Ticks90k, TimeRange, WallTime};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use tempfile::TempDir;
use url::Url;
use vigie::archive::{Archive, PackRef};
use vigie::config::{S3, StoreConfig};
use vigie::dedup::Dedup;
use vigie::fsck::{Finding, Fsck};
use vigie::index::dedup::Savings;
use vigie::index::{CameraRow, Change, Index, PackRow, PackState};
use vigie::journals::Journals;
use vigie::rebuild::Rebuild;
use vigie::retention::rehost::Rehoster;
use vigie::retention::{Policy, storage, sweep};
use vigie::retrieve::Footage;
use vigie::retrieve::mp4::Clip;
use vigie::seal::{Sealer, Tasks};
use vigie::spool::{Growing, Spool};
use vigie::store::{Listed, Store};

/// When the scene begins.
pub(crate) const NOON: WallTime = WallTime(1_772_539_200 * TICKS_PER_SECOND);
pub(crate) const DAY: i64 = 86_400 * TICKS_PER_SECOND;
const MINUTE: Duration = Duration::from_secs(60);
/// A group of pictures, in fragments.
const GOP: u32 = 2;

pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) index: Index,
    pub(crate) spool: Spool,
    pub(crate) packs: Archive,
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    tasks: Option<Tasks>,
    packs_made: u64,
    /// What is destroyed is entered there.
    pub(crate) journals: Option<Journals>,
    sweeper: Option<sweep::Sweeper>,
}

/// A rig's parts differ where these say so.
pub(crate) struct Options {
    /// Tenant and camera, and for how many days its footage stays.
    pub(crate) cameras: Vec<(&'static str, i64)>,
    /// These tenants name the same domain.
    pub(crate) sharing: Vec<&'static str>,
    /// Whether packs refer to others.
    pub(crate) dedup: bool,
    /// The store is elsewhere, and what it has stays in the spool as a cache.
    pub(crate) elsewhere: bool,
    /// The store is encrypted.
    pub(crate) encrypted: bool,
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

/// The scene's second number `n`, of which this many bytes are sent; each second's bytes are its own.
pub(crate) fn second(n: u32) -> Fragment {
    let received = Reading { wall: NOON, mono: Duration::ZERO };
    let mut all = vec![0; 3_000 + (n as usize * 37) % 2_000];
    blake3::Hasher::new().update(b"scene").update(&n.to_be_bytes()).finalize_xof().fill(&mut all);
    let sizes: Vec<u32> = all.chunks(all.len().div_ceil(4)).map(|part| part.len() as u32).collect();
    let each = (TICKS_PER_SECOND / sizes.len() as i64) as u32;
    Fragment {
        params: params(),
        decode_time: Ticks90k(i64::from(n) * TICKS_PER_SECOND),
        duration: Ticks90k(TICKS_PER_SECOND),
        random_access: n.is_multiple_of(GOP),
        video: sizes.into_iter().map(|size| Sample { size, duration: each, composition_offset: 0 }).collect(),
        audio: Vec::new(),
        audio_decode_time: 0,
        payload: all.into(),
        first_timestamp: 0,
        first_received: received,
        last_received: received,
        followed: true,
        arrivals: Vec::new(),
        losses: Vec::new(),
    }
}

pub(crate) fn bytes_of(seconds: impl IntoIterator<Item = u32>) -> u64 {
    seconds.into_iter().map(|n| 3_000 + (u64::from(n) * 37) % 2_000).sum()
}

pub(crate) fn at(second: i64) -> WallTime {
    NOON.saturating_add(Ticks90k(second * TICKS_PER_SECOND))
}

pub(crate) fn key(text: &str) -> CameraKey {
    text.parse().unwrap()
}

fn camera_row((name, days): (&str, i64)) -> CameraRow {
    CameraRow {
        key: key(name),
        name: name.to_owned(),
        place: String::new(),
        configured: true,
        retention_max: Ticks90k(days * DAY),
        retention_min: Ticks90k::ZERO,
    }
}

/// The gateway's.
fn secret() -> Keys {
    Keys::from_secret([7; 32])
}

impl Rig {
    pub(crate) async fn new(options: Options) -> Self {
        let dir = TempDir::new().unwrap();
        let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
        let folder = dir.path().join("store");
        // As the gateway does at a store's first use: a store does not create a folder that is missing.
        std::fs::create_dir(&folder).unwrap();
        let url = Url::from_directory_path(folder).unwrap();
        let store = match (options.elsewhere, options.encrypted) {
            (true, false) => Store::over(Arc::new(InMemory::new())),
            (false, false) => Store::open(&url, &S3::default()).unwrap(),
            (elsewhere, true) => {
                let url = if elsewhere { "memory:///".parse().unwrap() } else { url };
                let config = StoreConfig { encrypt: true, ..StoreConfig::at(url) };
                Store::open_opaque(&config, secret().names()).unwrap()
            }
        };
        Self::over(dir, index, store, options).await
    }

    pub(crate) async fn over(dir: TempDir, index: Index, store: Store, options: Options) -> Self {
        let rows = options.cameras.iter().copied().map(camera_row);
        index.write(vec![Change::Configure(rows.collect())]).await.unwrap();
        let domains = options.sharing.iter().map(|tenant| (tenant.parse().unwrap(), "together".parse().unwrap()));
        let mut keys = secret().with_domains(domains);
        if options.encrypted {
            let (folder, days) = (dir.path().join("keys"), BTreeMap::from_iter(options.cameras.clone()));
            let masters = master::load_or_create(&dir.path().join("master.key")).unwrap();
            let kept = move |camera: &CameraKey, now: WallTime| {
                let until = now.saturating_add(Ticks90k(days.get(camera.to_string().as_str())? * DAY));
                Some(vigie::policy::utc_day(until.saturating_add(vigie::policy::GROWING_MAX)))
            };
            keys = keys.with_vault(Vault::open(&folder, masters), Arc::new(kept));
        }
        let clock = Arc::new(SimClock::starting_at(at(600)));
        let spool = Spool::new(&dir.path().join("spool"), store.clone(), index.clone(), clock.clone(), keys.clone());
        let packs = Archive::new(spool.clone(), store.clone());
        let mut sealer = Sealer::new(spool.clone());
        if options.dedup {
            sealer = sealer.comparing(Dedup::new(index.clone(), spool.clone(), packs.clone(), keys.clone()));
        }
        let tasks = Some(sealer.start().unwrap());
        let packs_made = index.packs_after(None, 1_000).await.unwrap().len() as u64;
        Self { dir, clock, index, spool, packs, store, keys, tasks, packs_made, journals: None, sweeper: None }
    }

    /// A whole pack of these seconds of the scene, in the store when this returns.
    pub(crate) async fn record(&mut self, camera: &str, seconds: Range<u32>) -> PackId {
        let pack = self.seal(camera, seconds).await;
        self.stored(camera, pack).await;
        pack
    }

    /// Waits until a pack that was sealed is in the store.
    pub(crate) async fn stored(&self, camera: &str, pack: PackId) {
        while self.index.any_pack(pack).await.unwrap().is_none_or(|row| row.state < PackState::Stored) {
            tokio::task::yield_now().await;
        }
        let [_, whole, _] = self.spool.files(&key(camera), pack);
        while whole.exists() || self.spool.growing(pack).is_some() {
            tokio::task::yield_now().await;
        }
    }

    /// The same, which may still be on its way.
    pub(crate) async fn seal(&mut self, camera: &str, seconds: Range<u32>) -> PackId {
        self.seal_after(camera, seconds, Vec::new()).await
    }

    /// The same, with these gaps before its first picture.
    pub(crate) async fn seal_after(&mut self, camera: &str, seconds: Range<u32>, gaps: Vec<Gap>) -> PackId {
        let pack = self.open(camera, seconds, gaps).await;
        let id = pack.header().pack;
        self.spool.seal(pack).await.unwrap();
        id
    }

    /// A pack that grows still, and is left so.
    pub(crate) async fn grow(&mut self, camera: &str, seconds: Range<u32>) -> PackId {
        self.open(camera, seconds, Vec::new()).await.header().pack
    }

    async fn open(&mut self, camera: &str, seconds: Range<u32>, mut gaps: Vec<Gap>) -> Arc<Growing> {
        self.packs_made += 1;
        let mut id = PackId::generate(at(seconds.start.into()));
        id.0[6..].copy_from_slice(&[[0; 2].as_slice(), &self.packs_made.to_be_bytes()].concat());
        let mut run = RunId([9; 16]);
        run.0[..8].copy_from_slice(&blake3::hash(camera.as_bytes()).as_bytes()[..8]);
        let header = PackHeader { pack: id, camera: key(camera), run, params: params(), hold: None };
        let begin = Change::BeginRun { camera: key(camera), run, start: at(0) };
        self.index.write(vec![begin]).await.unwrap();
        let pack = self.spool.open_pack(header).unwrap();
        for n in seconds {
            let stamp = Stamp {
                wall_start: at(n.into()),
                wall_duration: Ticks90k(TICKS_PER_SECOND),
                camera_time: None,
                gaps: std::mem::take(&mut gaps),
            };
            let reported = stamp.gaps.iter().map(|gap| Change::PutGap { camera: key(camera), gap: *gap }).collect();
            let fragment = second(n);
            let room = self.spool.room(fragment.payload.len()).await;
            pack.append(&fragment, stamp, reported, room).unwrap();
        }
        pack
    }

    pub(crate) async fn settle(&mut self) {
        self.spool.close();
        if let Some(tasks) = self.tasks.take() {
            tasks.join().await;
        }
    }

    pub(crate) async fn table(&self, pack: PackId) -> Arc<PackTable> {
        let row = self.index.any_pack(pack).await.unwrap().expect("the index knows it");
        self.packs.table(&PackRef { id: pack, camera: row.camera, state: row.state }).await.unwrap()
    }

    /// All of a pack, but its fragment table.
    pub(crate) async fn whole(&self, row: &PackRow) -> Vec<u8> {
        let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
        let end = self.packs.table(&pack).await.unwrap().end();
        self.packs.bytes(&pack, 0..end).await.unwrap().to_vec()
    }

    /// A clip of all that the camera has, byte for byte; nothing when it has nothing.
    pub(crate) async fn clip(&self, camera: &str) -> Option<Vec<u8>> {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let footage = Footage::new(self.index.clone(), self.packs.clone(), clock);
        let range = TimeRange::new(at(-3_600), at(36_000)).unwrap();
        let clip = Clip::new(&footage, &key(camera), range).await.ok()?;
        let parts: Vec<Bytes> = clip.body(0..clip.len()).try_collect().await.unwrap();
        Some(parts.concat())
    }

    /// Sample bytes that the objects of the store hold themselves. What the index counts for each tenant is the same.
    pub(crate) async fn held_bytes(&self) -> u64 {
        let (mut held, mut usage) = (0, BTreeMap::<TenantId, Savings>::new());
        let objects: Vec<Listed> = self.store.list().try_collect().await.unwrap();
        for Listed { pack, bytes, .. } in objects {
            let (camera, id) = pack.expect("only packs are there");
            let object = self.store.get_range(&camera, id, 0..bytes).await.unwrap();
            let ended = reader::end_of(&object, bytes, id, self.keys.vault()).unwrap();
            let (Tail::Table(table), _) = ended else { panic!("all of it is there") };
            let all: u64 = table.fragments.iter().map(|f| u64::from(f.data_bytes)).sum();
            held += all - table.lent_bytes();
            let of_tenant = usage.entry(camera.tenant).or_default();
            of_tenant.packs += 1;
            of_tenant.stored_bytes += bytes;
            of_tenant.saved_bytes += table.lent_bytes();
        }
        for camera in self.index.all_cameras().await.unwrap() {
            let tenant = camera.key.tenant;
            let want = usage.get(&tenant).copied().unwrap_or_default();
            assert_eq!(self.index.savings(&tenant).await.unwrap(), want, "{tenant}");
        }
        held
    }

    pub(crate) fn rehoster(&self) -> Rehoster {
        let (index, spool, packs) = (self.index.clone(), self.spool.clone(), self.packs.clone());
        Rehoster::new(index, spool, packs, self.keys.clone(), jiff::tz::TimeZone::UTC)
    }

    fn sweeper(&self) -> sweep::Sweeper {
        let storage = storage::Storage::new(self.packs.clone(), Arc::new(|| Ok(u64::MAX)))
            .with_rehoster(self.rehoster())
            .shredding(self.keys.vault().clone());
        let policy = Policy {
            interval: MINUTE,
            grace: MINUTE,
            disk_reserve_bytes: 0,
            store_on_disk: true,
            stored_elsewhere: std::collections::HashSet::new(),
            time_zone: jiff::tz::TimeZone::UTC,
            shared: None,
            stores: None,
        };
        let sweeper = sweep::Sweeper::new(self.index.clone(), self.clock.clone(), storage, policy);
        match &self.journals {
            Some(journals) => sweeper.entering(journals.clone()),
            None => sweeper,
        }
    }

    /// Time goes on to `now`; what is due by then is gone.
    pub(crate) async fn sweep_at(&mut self, now: WallTime) {
        self.goes_on(now.since(self.clock.wall()).to_duration()).await;
        self.sweep().await;
        // More than the grace time: clocks are read to a tick, and advance by nanoseconds.
        self.goes_on(MINUTE + Duration::from_secs(1)).await;
        self.sweep().await;
    }

    /// Time goes on, and the machine with it: a clock that only shows another time is not believed.
    pub(crate) async fn goes_on(&mut self, by: Duration) {
        // It begins to watch the clocks before they go on.
        let sweeper = self.sweeper();
        self.sweeper.get_or_insert(sweeper);
        self.sweep().await;
        tokio::time::advance(by).await;
    }

    pub(crate) async fn sweep(&mut self) {
        self.sweeper.as_mut().unwrap().sweep().await.unwrap();
    }

    /// A sweep of a gateway that ends when it has waited so many times. Whether the sweep was done before.
    pub(crate) async fn sweep_cut_off(&mut self, after: usize) -> bool {
        let mut sweep = Box::pin(self.sweeper.as_mut().unwrap().sweep());
        let mut polls = 0;
        let cut_off = std::future::poll_fn(move |context| {
            if polls == after {
                return std::task::Poll::Ready(false);
            }
            polls += 1;
            sweep.as_mut().poll(context).map(|swept| swept.is_ok())
        });
        cut_off.await
    }

    /// Nothing is wrong, each byte looked at.
    pub(crate) async fn check(&self) {
        let said = self.complaints().await;
        assert!(said.is_empty(), "{said:#?}");
    }

    /// What fsck says.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let fsck = Fsck {
            index: self.index.clone(),
            spool: self.spool.clone(),
            store: self.store.clone(),
            packs: Archive::new(self.spool.clone(), self.store.clone()),
            settle: Duration::ZERO,
            read_data: true,
        };
        let mut said = Vec::new();
        fsck.check(&mut |finding: Finding| said.push(format!("{finding:?}"))).await.unwrap();
        said
    }

    /// The same packs with an index that was made from them alone.
    pub(crate) async fn rebuilt(self) -> Self {
        self.index.close().await;
        let cameras = self.index.all_cameras().await.unwrap();
        self.rebuilt_with(cameras).await
    }

    /// The same where the configuration has these cameras.
    pub(crate) async fn rebuilt_with(self, cameras: Vec<CameraRow>) -> Self {
        let path = self.dir.path().join("index.sqlite");
        let rebuild = Rebuild {
            index: path.clone(),
            cameras,
            store: self.store.clone(),
            spool_dir: self.dir.path().join("spool"),
            keys: self.keys.clone(),
            clock: self.clock.clone(),
        };
        let report = rebuild.run(&mut |left_out| panic!("{left_out:?}")).await.unwrap();
        assert_eq!(report.unreadable, 0);
        let index = Index::open(&path).await.unwrap();
        let clock: Arc<dyn Clock> = self.clock.clone();
        let spool =
            Spool::new(&self.dir.path().join("spool"), self.store.clone(), index.clone(), clock, self.keys.clone());
        let packs = Archive::new(spool.clone(), self.store.clone());
        Self { index, spool, packs, ..self }
    }
}
