//! A gateway, in this process, that records a simulated camera into a local store.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use footage::units::{CameraKey, TimeRange, WallTime};
use tempfile::TempDir;
use testkit::camera::{self, Server};
use vigie::config::Config;
use vigie::demo;
use vigie::gateway::Gateway;
use vigie::index::{EventRow, Index, PackRow, PackState};

/// A hang guard: debug builds on a busy machine take their time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Kinds of events that say that footage is gone. None may come of what is only away.
pub(crate) const GONE: [&str; 6] =
    ["pack_lost", "pack_deleted", "pack_absent", "footage_lost", "footage_damaged", "key_destroyed"];

pub(crate) fn mairie() -> CameraKey {
    "demo/mairie".parse().unwrap()
}

pub(crate) fn all_time() -> TimeRange {
    TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap()
}

/// A camera, a configuration, and the folders of a gateway.
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) dir: TempDir,
    _camera: Server,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let mut film = camera::demo_camera().unwrap();
        film.path = "mairie".to_owned();
        let camera = Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![film]).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let cameras = vec![demo::camera("mairie".parse().unwrap(), "Mairie", camera.url("mairie"))];
        let data = dir.path().join("data");
        let mut config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), &data, cameras).unwrap();
        (config.recording.durability, config.recording.pack_duration_max) =
            (Duration::from_millis(200), Duration::from_secs(1));
        (config.retention.interval, config.retention.grace) = (Duration::from_secs(1), Duration::from_secs(1));
        Self { config, dir, _camera: camera }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.config.data_dir.join(name)
    }

    pub(crate) fn store_dir(&self) -> PathBuf {
        self.path("store")
    }

    pub(crate) async fn start(&self) -> Running {
        let gateway = Gateway::start(&self.config).await.unwrap();
        let index = gateway.footage().index.clone();
        Running { gateway, index }
    }

    /// Runs a gateway until two packs are in the store.
    pub(crate) async fn record(&self) -> Vec<PackRow> {
        let running = self.start().await;
        running.until_packs(PackState::Stored, 2).await;
        let index = running.stop().await;
        index.packs_in_state(PackState::Stored, 100).await.unwrap()
    }
}

pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) index: Index,
}

impl Running {
    pub(crate) async fn until_packs(&self, state: PackState, packs: usize) {
        until(&format!("{packs} packs that are {state:?}"), async || {
            self.index.packs_in_state(state, 100).await.unwrap().len() >= packs
        })
        .await;
    }

    pub(crate) async fn until_event(&self, kind: &str) -> EventRow {
        let mut found = None;
        until(&format!("an event {kind}"), async || {
            found = events(&self.index).await.into_iter().find(|event| event.kind() == kind);
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Alarms come to last, or not to last, under this kind.
    pub(crate) async fn until_alarm(&self, kind: &str, lasts: bool) {
        until(&format!("an alarm {kind}: {lasts}"), async || {
            let open = self.index.open_alarms().await.unwrap();
            lasts == open.iter().any(|alarm| alarm.kind == kind && alarm.ended.is_none())
        })
        .await;
    }

    /// Gives the index, which can still be read.
    pub(crate) async fn stop(self) -> Index {
        self.gateway.stop().await;
        self.index
    }
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let waits = async {
        while !holds().await {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waits).await.is_ok(), "waited in vain for {what}");
}

/// Every event, of the gateway and of its tenant.
pub(crate) async fn events(index: &Index) -> Vec<EventRow> {
    index.all_events(0, 10_000).await.unwrap()
}

/// What an event says, in English.
pub(crate) fn words(event: &EventRow) -> String {
    event.event.fact.words(vigie::event::words::Language::English)
}

/// Nothing is called gone, and these packs are what they were.
pub(crate) async fn assert_nothing_gone(index: &Index, packs: &[PackRow]) {
    for event in events(index).await {
        assert!(!GONE.contains(&event.kind()), "{event:?}");
    }
    assert!(index.deletions(&mairie(), all_time()).await.unwrap().is_empty(), "the register says that something went");
    for pack in packs {
        let row = index.any_pack(pack.id).await.unwrap();
        assert_eq!(row.as_ref().map(|row| row.state), Some(PackState::Stored), "{pack:?}");
        assert!(!index.segments_of_pack(pack.id).await.unwrap().is_empty(), "{pack:?} has lost its segments");
    }
}

/// Every file below a folder, by its name there.
pub(crate) fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_owned());
            }
        }
    }
    found
}
