//! A recorder without a camera: real fragments into real packs and a real index.

use std::path::Path;
use std::sync::Arc;

use catalogue::Roles;
use footage::clock::{Clock, SimClock};
use footage::keys::Keys;
use footage::media::Fragment;
use footage::pack::{PackHeader, Stamp};
use footage::units::{CameraKey, PackId, RunId, Ticks90k, TimeRange, WallTime};
use futures::TryStreamExt;
use tempfile::TempDir;
use url::Url;
use vigie::archive::Archive;
use vigie::config::S3;
use vigie::hold::Holds;
use vigie::index::{CameraRow, Change, Index};
use vigie::journals::Journals;
use vigie::people::{self, People};
use vigie::retrieve::Footage;
use vigie::retrieve::mp4::{Clip, ClipRequest};
use vigie::seal::{Sealer, Tasks};
use vigie::spool::{Growing, Spool};
use vigie::store::Store;

/// When recordings begin.
pub(crate) const NOON: WallTime = WallTime(1_772_539_200 * 90_000);

/// Noon and so many milliseconds.
pub(crate) fn at(ms: i64) -> WallTime {
    WallTime(NOON.0 + ms * 90)
}

pub(crate) fn between(start_ms: i64, end_ms: i64) -> TimeRange {
    TimeRange::new(at(start_ms), at(end_ms)).expect("start < end")
}

pub(crate) struct Rig {
    pub(crate) footage: Footage,
    pub(crate) camera: CameraKey,
    pub(crate) dir: TempDir,
    spool: Spool,
    keys: Keys,
    tasks: Option<Tasks>,
    packs_made: u8,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let camera: CameraKey = "town/gate".parse().expect("a good name");
        let index = Index::open(&dir.path().join("index.db")).await.expect("a new index");
        let row = CameraRow {
            key: camera.clone(),
            name: "Gate".into(),
            place: "Town".into(),
            configured: true,
            retention_max: Ticks90k(30 * 86_400 * 90_000),
            retention_min: Ticks90k::ZERO,
        };
        let other = CameraRow { key: "town/other".parse().expect("a good name"), ..row.clone() };
        index.write(vec![Change::Configure(vec![row, other])]).await.expect("a good change");
        let store_dir = dir.path().join("store");
        std::fs::create_dir(&store_dir).expect("a new folder");
        let store =
            Store::open(&Url::from_directory_path(&store_dir).expect("absolute"), &S3::default()).expect("a folder");
        let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(at(60_000)));
        let keys = Keys::from_secret([7; 32]);
        let spool = Spool::new(&dir.path().join("spool"), store.clone(), index.clone(), clock.clone(), keys.clone());
        let tasks = Sealer::new(spool.clone()).start().expect("a spool");
        let packs = Archive::new(spool.clone(), store);
        let footage = Footage::new(index, packs, clock);
        Self { footage, camera, dir, spool, keys, tasks: Some(tasks), packs_made: 0 }
    }

    pub(crate) fn holds(&self) -> Holds {
        let Footage { index, packs, clock, .. } = self.footage.clone();
        Holds::new(index, self.spool.clone(), packs, self.keys.clone(), clock, jiff::tz::TimeZone::UTC)
    }

    pub(crate) async fn journals_and_people(&self) -> (Journals, People) {
        let Footage { index, clock, .. } = self.footage.clone();
        let store = Store::over(Arc::new(object_store::memory::InMemory::new()));
        let (folder, keys) = (self.dir.path().join("journal"), self.keys.clone());
        let journals = Journals::new(folder, keys, store, index.clone(), clock.clone());
        journals.follow([(self.camera.tenant.clone(), 36)]).await;
        let path = people::path(self.dir.path());
        let people = People::open(path, Roles::built_in(), (index, &self.keys), journals.clone(), clock).await;
        (journals, people)
    }

    /// A pack with these fragments, which a run that began at `run_start` sent. It goes on growing.
    pub(crate) async fn open(&mut self, run_start: WallTime, fragments: &[Fragment]) -> Arc<Growing> {
        self.packs_made += 1;
        let mut run = RunId([9; 16]);
        run.0[8..].copy_from_slice(&run_start.0.to_be_bytes());
        let header = PackHeader {
            pack: PackId([self.packs_made; 16]),
            camera: self.camera.clone(),
            run,
            params: fragments[0].params.clone(),
            hold: None,
        };
        let begin = Change::BeginRun { camera: self.camera.clone(), run, start: run_start };
        if fragments[0].decode_time == Ticks90k::ZERO {
            self.footage.index.write(vec![begin]).await.expect("a new run");
        }
        let pack = self.spool.open_pack(header).expect("a new pack");
        for fragment in fragments {
            self.append(&pack, run_start, fragment).await;
        }
        pack
    }

    pub(crate) async fn append(&self, pack: &Growing, run_start: WallTime, fragment: &Fragment) {
        let stamp = Stamp {
            wall_start: run_start.saturating_add(fragment.decode_time),
            wall_duration: fragment.duration,
            camera_time: None,
            gaps: Vec::new(),
        };
        let room = self.spool.room(fragment.payload.len()).await;
        pack.append(fragment, stamp, Vec::new(), room).expect("a good fragment");
    }

    pub(crate) async fn flush(&self) {
        self.spool.flush().await;
    }

    /// A whole pack.
    pub(crate) async fn record(&mut self, run_start: WallTime, fragments: &[Fragment]) {
        let pack = self.open(run_start, fragments).await;
        self.flush().await;
        self.seal(pack).await;
    }

    pub(crate) async fn seal(&self, pack: Arc<Growing>) {
        self.spool.seal(pack).await.expect("the spool is open");
    }

    /// Every pack is sealed and lies in the store.
    pub(crate) async fn settle(&mut self) {
        self.spool.close();
        if let Some(tasks) = self.tasks.take() {
            tasks.join().await;
        }
    }

    /// The whole clip, in a file.
    pub(crate) async fn clip(&self, range: TimeRange, file: &Path) -> Arc<Clip> {
        self.clip_as(&ClipRequest::of(range), file).await
    }

    pub(crate) async fn clip_as(&self, asked: &ClipRequest, file: &Path) -> Arc<Clip> {
        let clip = Clip::asked(&self.footage, &self.camera, asked).await.expect("footage");
        let bytes = body(&clip, 0..clip.len()).await;
        assert_eq!(bytes.len() as u64, clip.len());
        std::fs::write(file, bytes).expect("room on the disk");
        clip
    }
}

pub(crate) async fn body(clip: &Arc<Clip>, range: std::ops::Range<u64>) -> Vec<u8> {
    let chunks: Vec<_> = clip.body(range).try_collect().await.expect("the packs are there");
    chunks.concat()
}
