//! Two cameras whose recorder is the test, with a gap and a change of coding, and the exports of their gateway.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use catalogue::Roles;
use evidence::sign::Authority;
use evidence::{Report, Trust};
use footage::clock::{Clock, SimClock};
use footage::keys::Keys;
use footage::media::Fragment;
use footage::pack::{PackHeader, Stamp};
use footage::units::{
    CameraKey, ExportId, HoldId, PackId, RunId, TICKS_PER_DAY, TenantId, Ticks90k, TimeRange, WallTime,
};
use journal::entry::{ActingPerson, Action, Author, Draft};
use tempfile::TempDir;
use url::Url;
use vigie::archive::Archive;
use vigie::config::S3;
use vigie::export::{self, ExportError, Exports, Request, Settings, Shown};
use vigie::hold::Holds;
use vigie::index::{CameraRow, Change, Index};
use vigie::journals::Journals;
use vigie::journals::stamping::Stamping;
use vigie::people::{self, People};
use vigie::retrieve::Footage;
use vigie::seal::{Sealer, Tasks};
use vigie::spool::Spool;
use vigie::store::Store;

use super::real::encode;

/// When recordings begin.
const NOON: WallTime = WallTime(1_772_539_200 * 90_000);
pub(crate) const H264: &str = "-map 0:v -t 12 -c:v libx264 -g 50 -bf 0 -preset veryfast";
pub(crate) const H265: &str =
    "-map 0:v -t 4 -c:v libx265 -g 50 -preset veryfast -tag:v hvc1 -x265-params log-level=error";
pub(crate) const DAYS_MAX: i64 = 7;

/// Noon and so many seconds.
pub(crate) fn at(seconds: i64) -> WallTime {
    NOON.saturating_add(Ticks90k(seconds * 90_000))
}

pub(crate) fn between(start: i64, end: i64) -> TimeRange {
    TimeRange::new(at(start), at(end)).expect("start < end")
}

pub(crate) fn town() -> TenantId {
    "town".parse().expect("a good name")
}

/// What a command said. Fails when it failed.
pub(crate) fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.status.success(), "{command:?}: {done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A folder that goes with the test, or one of another process's.
pub(crate) struct Folder {
    path: PathBuf,
    _own: Option<TempDir>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        Self { path: dir.path().to_owned(), _own: Some(dir) }
    }

    /// That is there, and stays.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, _own: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

pub(crate) struct Rig {
    pub(crate) footage: Footage,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) holds: Holds,
    pub(crate) journals: Journals,
    pub(crate) people: People,
    pub(crate) settings: Settings,
    pub(crate) dir: Folder,
    pub(crate) keys: Keys,
    spool: Spool,
    tasks: Option<Tasks>,
    packs_made: u8,
}

impl Rig {
    /// No footage yet; ten minutes past noon.
    pub(crate) async fn empty(stamps: Option<Stamping>) -> Self {
        Self::start(Folder::new(), stamps).await
    }

    /// With what is in this folder.
    pub(crate) async fn start(dir: Folder, stamps: Option<Stamping>) -> Self {
        let index = Index::open(&dir.path().join("index.db")).await.expect("a new index");
        let row = |key: &str| CameraRow {
            key: key.parse().expect("a good name"),
            name: format!("Caméra {key}"),
            place: "Grande place".into(),
            configured: true,
            retention_max: Ticks90k(30 * TICKS_PER_DAY),
            retention_min: Ticks90k::ZERO,
        };
        let rows = vec![row("town/gate"), row("town/square"), row("village/pond")];
        index.write(vec![Change::Configure(rows)]).await.expect("a good change");
        let store_dir = dir.path().join("store");
        std::fs::create_dir_all(&store_dir).expect("a folder");
        let store =
            Store::open(&Url::from_directory_path(&store_dir).expect("absolute"), &S3::default()).expect("a folder");
        let clock = Arc::new(SimClock::starting_at(at(600)));
        let seam: Arc<dyn Clock> = clock.clone();
        let keys = Keys::from_secret([7; 32]);
        let spool = Spool::new(&dir.path().join("spool"), store.clone(), index.clone(), seam.clone(), keys.clone());
        let tasks = Sealer::new(spool.clone()).start().expect("a spool");
        let packs = Archive::new(spool.clone(), store.clone());
        let zone = jiff::tz::TimeZone::UTC;
        let holds = Holds::new(index.clone(), spool.clone(), packs.clone(), keys.clone(), seam.clone(), zone);
        let footage = Footage::new(index.clone(), packs, seam.clone());
        let journals = Journals::new(dir.path().join("journal"), keys.clone(), store, index.clone(), seam.clone());
        let journals = journals.stamped_by(stamps);
        journals.follow([(town(), 36), ("village".parse().expect("a good name"), 36)]).await;
        let path = people::path(dir.path());
        let people = People::open(path, Roles::built_in(), (index, &keys), journals.clone(), seam).await;
        let settings = Settings {
            days_max: DAYS_MAX as u16,
            bytes_per_second_max: 1 << 30,
            authority: None,
            reserve_bytes: 0,
            tenants: 2,
        };
        let tasks = Some(tasks);
        Self { footage, clock, holds, journals, people, settings, dir, keys, spool, tasks, packs_made: 0 }
    }

    /// The gate: twelve seconds of H.264, eight of nothing, four of H.265. The square: twelve seconds.
    pub(crate) async fn with_footage() -> Self {
        let mut rig = Self::empty(None).await;
        rig.film().await;
        rig
    }

    pub(crate) async fn film(&mut self) {
        let (old, new) = (encode(H264), encode(H265));
        self.record("town/gate", at(0), old.fragments.iter().cloned()).await;
        self.record("town/gate", at(20), new.fragments.into_iter()).await;
        self.record("town/square", at(2), old.fragments.into_iter()).await;
        self.settle().await;
    }

    /// Every pack is sealed and lies in the store.
    pub(crate) async fn settle(&mut self) {
        self.spool.close();
        if let Some(tasks) = self.tasks.take() {
            tasks.join().await;
        }
    }

    /// A pack of these, whose run began then.
    pub(crate) async fn record(
        &mut self,
        camera: &str,
        run_start: WallTime,
        fragments: impl Iterator<Item = Fragment>,
    ) {
        self.packs_made += 1;
        let (mut run, camera): (_, CameraKey) = (RunId([9; 16]), camera.parse().expect("a good name"));
        run.0[8..].copy_from_slice(&run_start.0.to_be_bytes());
        run.0[0] = camera.camera.as_str().as_bytes()[0];
        let mut fragments = fragments.peekable();
        let params = fragments.peek().expect("a fragment").params.clone();
        let pack = PackId([self.packs_made; 16]);
        let begin = Change::BeginRun { camera: camera.clone(), run, start: run_start };
        self.footage.index.write(vec![begin]).await.expect("a new run");
        let pack = self.spool.open_pack(PackHeader { pack, camera, run, params, hold: None }).expect("a new pack");
        for fragment in fragments {
            let stamp = Stamp {
                wall_start: run_start.saturating_add(fragment.decode_time),
                wall_duration: fragment.duration,
                camera_time: None,
                gaps: Vec::new(),
            };
            let room = self.spool.room(fragment.payload.len()).await;
            pack.append(&fragment, stamp, Vec::new(), room).expect("a good fragment");
        }
        self.spool.flush().await;
        self.spool.seal(pack).await.expect("the spool is open");
    }

    /// The exports as they lie on the disk: each call is a start of the gateway.
    pub(crate) async fn exports(&self) -> Exports {
        let of = (self.journals.clone(), self.keys.clone());
        let folder = export::folder(self.dir.path());
        Exports::open(folder, self.footage.clone(), self.holds.clone(), of, self.settings.clone()).await.unwrap()
    }

    pub(crate) fn signed_by(&mut self, authority: Authority) {
        self.settings.authority = Some(Arc::new(authority));
    }

    pub(crate) fn folder(&self, id: ExportId) -> PathBuf {
        export::folder(self.dir.path()).join("town").join(id.to_string())
    }

    pub(crate) fn zip(&self, id: ExportId) -> PathBuf {
        self.folder(id).join("package.zip")
    }

    /// The journal's lines of this action.
    pub(crate) async fn entries(&self, action: &str) -> Vec<serde_json::Value> {
        let lines = self.journals.entries(&town(), 0, 1_000).await.unwrap();
        let entries = lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        entries.filter(|entry| entry["action"] == action).collect()
    }
}

/// Both cameras, for half a minute.
pub(crate) fn request(hold: Option<HoldId>) -> Request {
    let cameras: &[&str] = if hold.is_some() { &["gate"] } else { &["gate", "square"] };
    Request {
        tenant: town(),
        cameras: cameras.iter().map(|camera| camera.parse().expect("a good name")).collect(),
        range: between(0, 30),
        hold,
        reference: "PV 2026/117".to_owned(),
        reason: "vol à l'étalage".to_owned(),
        recipient: "Major Durand".to_owned(),
    }
}

/// Marie orders it.
pub(crate) fn marie(action: Action) -> Draft {
    let id = "marie".parse().expect("a good name");
    let (name, act) = ("Marie Durand".to_owned(), "2026-117 of 2026-01-05, le maire".to_owned());
    Draft::new(Author::Person(ActingPerson { id, name, act }), action)
}

pub(crate) async fn order(exports: &Exports) -> Result<Shown, ExportError> {
    exports.order(request(None), marie).await
}

pub(crate) async fn ready(rig: &Rig, exports: &Exports) -> ExportId {
    let id = order(exports).await.unwrap().job.id;
    assert_eq!(exports.prepare_all().await, 1);
    let shown = exports.get(&town(), id).await.unwrap();
    assert!(shown.job.package().is_some(), "{:?}", shown.job.state);
    assert!(rig.zip(id).exists());
    id
}

pub(crate) fn verified(path: &Path) -> Report {
    evidence::verify(path, &Trust::default()).unwrap()
}
