//! A gateway on the simulated machine: the parts that the composition root starts, without its sockets and threads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use footage::clock::{Clock, SimClock};
use footage::keys::Keys;
use footage::keys::vault::Vault;
use footage::keys::vault::master::Master;
use footage::media::{Params, VideoCodec, VideoParams};
use footage::units::{CameraKey, Ticks90k, WallTime};
use testkit::replay::{ReplayCamera, ReplaySource};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vigie::archive::Archive;
use vigie::dedup::Dedup;
use vigie::gateway::continuity;
use vigie::hold::Holds;
use vigie::index::{CameraRow, Change, Index};
use vigie::policy::utc_day;
use vigie::record::{Recorder, RecordingContext};
use vigie::retention::rehost::Rehoster;
use vigie::retention::{storage, sweep};
use vigie::scrub::Scrubber;
use vigie::seal::Sealer;
use vigie::spool::Spool;
use vigie::status::StatusBoard;
use vigie::store::Store;

use crate::holds::HoldAttempts;
use crate::model::{ObservedSource, Sent};
use crate::objects::SimObjects;
use crate::plan::{CameraPlan, HistoryPlan};

/// What outlives the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) plan: Arc<HistoryPlan>,
    pub(crate) dir: PathBuf,
    pub(crate) objects: SimObjects,
    pub(crate) sent: Sent,
    pub(crate) asked: HoldAttempts,
}

/// What the parts share.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) index: Index,
    pub(crate) spool: Spool,
    pub(crate) store: Store,
    pub(crate) packs: Archive,
    pub(crate) keys: Keys,
}

impl Site {
    pub(crate) fn index_path(&self) -> PathBuf {
        self.dir.join("index.sqlite")
    }

    pub(crate) fn spool_dir(&self) -> PathBuf {
        self.dir.join("spool")
    }

    pub(crate) fn store_dir(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub(crate) fn store(&self) -> Store {
        let objects = Arc::new(self.objects.clone());
        if self.plan.local { Store::over_folder(objects, self.store_dir()) } else { Store::over(objects) }
    }

    pub(crate) fn keys(&self) -> Keys {
        let keys = Keys::from_secret([5; 32]);
        if !self.plan.references {
            return keys;
        }
        let tenants = ["town", "mirror", "third", "fourth"].map(|tenant| tenant.parse().expect("a tenant"));
        let keys = keys.with_domains(tenants.map(|tenant| (tenant, "scene".parse().expect("a domain"))));
        if !self.plan.encrypted {
            return keys;
        }
        let master = Master::from_hex(&"5a".repeat(32).into()).expect("64 digits");
        let kept: BTreeMap<CameraKey, Ticks90k> =
            self.plan.cameras.iter().map(|camera| (camera.key.clone(), camera.retention_max)).collect();
        let until = move |camera: &CameraKey, now: WallTime| Some(utc_day(now.saturating_add(*kept.get(camera)?)));
        keys.with_vault(Vault::open(&self.keys_dir(), vec![master]), Arc::new(until))
    }

    pub(crate) fn keys_dir(&self) -> PathBuf {
        self.dir.join("keys")
    }

    pub(crate) fn camera_rows(&self) -> Vec<CameraRow> {
        let row = |camera: &CameraPlan| CameraRow {
            key: camera.key.clone(),
            name: camera.key.to_string(),
            place: String::new(),
            configured: true,
            retention_max: camera.retention_max,
            retention_min: camera.retention_min,
        };
        self.plan.cameras.iter().map(row).collect()
    }

    pub(crate) fn open(&self, index: Index, clock: Arc<dyn Clock>) -> Opened {
        let (store, keys) = (self.store(), self.keys());
        let spool = Spool::new(&self.spool_dir(), store.clone(), index.clone(), clock, keys.clone());
        let packs = Archive::new(spool.clone(), store.clone());
        Opened { index, spool, store, packs, keys }
    }
}

pub(crate) struct Gateway {
    pub(crate) opened: Opened,
    seal_tasks: vigie::seal::Tasks,
    recorders: Vec<JoinHandle<()>>,
    flusher: JoinHandle<()>,
    sweeper: JoinHandle<()>,
    pub(crate) holds: Holds,
    /// Where holds are placed.
    holder: Option<JoinHandle<()>>,
    scrubber: Option<JoinHandle<()>>,
    stop_recording: CancellationToken,
    stop_flushing: CancellationToken,
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

impl Gateway {
    /// As `vigie run` starts. `recovered` is notified when the spool and the index agree again.
    pub(crate) async fn start(
        site: &Site,
        life: u64,
        clock: Arc<SimClock>,
        recovered: impl FnOnce(),
    ) -> Result<Self, String> {
        let plan = &site.plan;
        let index = Index::open(&site.index_path()).await.map_err(|e| e.to_string())?;
        let opened = site.open(index.clone(), clock.clone());
        let Opened { spool, store, packs, keys, .. } = opened.clone();
        let mut sealer = Sealer::new(spool.clone());
        if plan.references {
            sealer = sealer.comparing(Dedup::new(index.clone(), spool.clone(), packs.clone(), keys.clone()));
        }
        let seal_tasks = sealer.start().map_err(|e| e.to_string())?;
        index.write(vec![Change::Configure(site.camera_rows())]).await.map_err(|e| e.to_string())?;
        let found = spool.recover().await.map_err(|e| e.to_string())?;
        // What the disk would not let it read waits for the next start.
        if found.unreadable == 0 {
            recovered();
        }
        let shared = RecordingContext {
            spool: spool.clone(),
            index: index.clone(),
            clock: clock.clone(),
            limits: plan.limits,
            opening: Arc::new(Semaphore::new(4)),
        };
        let (stop_recording, stop_flushing) = (CancellationToken::new(), CancellationToken::new());
        let mut recorders = Vec::new();
        for (n, camera) in plan.cameras.iter().enumerate() {
            let continuity = continuity(&index, &camera.key, clock.wall()).await.map_err(|e| e.to_string())?;
            recorders.push((n, camera, continuity));
        }
        let run = |(n, camera, continuity): (usize, &CameraPlan, _)| {
            let seed = plan.seed ^ (life << 8) ^ ((camera.scene as u64) << 4) ^ 0x00ca_3e7a_0000;
            let film = ReplayCamera {
                seed,
                frame_rate: camera.frame_rate,
                gop_frames: camera.gop_frames,
                key_frame_bytes: camera.key_frame_bytes,
                ..ReplayCamera::default()
            };
            let sees_after = camera.sees_after;
            let film = film.into_iter().filter(move |event| event.at >= sees_after);
            let source = ReplaySource::new(params(), film, clock.clone());
            let source = ObservedSource::new(source, n, life, site.sent.clone());
            let slot = StatusBoard::default().slot(&camera.key);
            let recorder = Recorder::new(shared.clone(), Box::new(source), slot, camera.key.clone(), continuity);
            tokio::spawn(recorder.run(stop_recording.clone()))
        };
        let recorders = recorders.into_iter().map(run).collect();
        let flusher = {
            let (spool, every, stop) = (spool.clone(), plan.durability, stop_flushing.clone());
            tokio::spawn(async move { spool.flush_until(every, stop).await })
        };
        let reserve_bytes = plan.policy.disk_reserve_bytes;
        let zone = plan.policy.time_zone.clone();
        let rehoster = Rehoster::new(index.clone(), spool.clone(), packs.clone(), keys.clone(), zone.clone());
        let holds = Holds::new(index.clone(), spool.clone(), packs.clone(), keys.clone(), clock.clone(), zone.clone());
        let holder = plan.holds.iter().any(|of| !of.is_empty());
        let holder = holder.then(|| tokio::spawn(holds.clone().run(stop_flushing.clone())));
        let mut scrubber = None;
        if let Some(every) = plan.scrub_every {
            let parts = (index.clone(), spool.clone(), store.clone(), packs.clone());
            let scrub = Scrubber::new(parts, keys.clone(), clock.clone(), site.dir.join("scrub"));
            let scrub = scrub.map_err(|e| e.to_string())?;
            let (all, stop) = (store.ids().next().expect("a store"), stop_flushing.clone());
            scrubber = Some(tokio::spawn(async move { scrub.run(all, every, stop).await }));
        }
        let storage = storage::Storage::new(packs, Arc::new(move || spool.free_bytes(reserve_bytes)));
        let storage = if plan.references { storage.with_rehoster(rehoster) } else { storage };
        let sweeper = sweep::Sweeper::new(index, clock, storage, plan.policy.clone());
        let sweeper = tokio::spawn(sweeper.run(stop_flushing.clone()));
        Ok(Self {
            opened,
            seal_tasks,
            recorders,
            flusher,
            sweeper,
            holds,
            holder,
            scrubber,
            stop_recording,
            stop_flushing,
        })
    }

    /// As `vigie run` stops.
    pub(crate) async fn stop(self) -> Result<(), String> {
        self.stop_recording.cancel();
        for recorder in self.recorders {
            recorder.await.map_err(|e| format!("a recorder: {e}"))?;
        }
        self.stop_flushing.cancel();
        // The gateway warns when one of these ended badly, and goes on.
        let _ = (self.flusher.await, self.sweeper.await);
        for task in [self.holder, self.scrubber].into_iter().flatten() {
            let _ = task.await;
        }
        self.opened.spool.close();
        self.seal_tasks.join().await;
        self.opened.index.close().await;
        Ok(())
    }
}
