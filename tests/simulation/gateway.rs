//! A gateway on the simulated machine: the parts that the composition root starts, without its sockets and threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vigie::clock::{Clock, SimClock};
use vigie::dedup::Dedup;
use vigie::gateway::continuity;
use vigie::index::{CameraRow, Change, Index};
use vigie::keys::Keys;
use vigie::media::{Params, VideoCodec, VideoParams};
use vigie::packs::Packs;
use vigie::record::{Recorder, Shared};
use vigie::retention::relieve::Reliever;
use vigie::retention::sweep;
use vigie::source::replay::{Camera, ReplaySource};
use vigie::spool::{Reduce, ReduceError, Reduced, Spool};
use vigie::status::StatusBoard;
use vigie::store::Store;
use vigie::units::CameraKey;

use crate::model::{Heard, Sent};
use crate::objects::SimObjects;
use crate::plan::{CameraPlan, Plan};

/// What outlives the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) plan: Arc<Plan>,
    pub(crate) dir: PathBuf,
    pub(crate) objects: SimObjects,
    pub(crate) sent: Sent,
}

/// What the parts share.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) index: Index,
    pub(crate) spool: Spool,
    pub(crate) store: Store,
    pub(crate) packs: Packs,
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
        let tenants = ["town", "mirror"].map(|tenant| tenant.parse().expect("a tenant"));
        keys.with_domains(tenants.map(|tenant| (tenant, "scene".parse().expect("a domain"))))
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
        let store = self.store();
        let spool = Spool::new(&self.spool_dir(), store.clone(), index.clone(), clock, self.keys());
        let packs = Packs::new(spool.clone(), store.clone());
        Opened { index, spool, store, packs }
    }
}

/// The spool and the deduplication know one another: without this, neither would end with its life, nor would the index.
#[derive(Debug)]
struct UntilDead(Weak<Dedup>);

impl Reduce for UntilDead {
    fn reduce<'a>(
        &'a self,
        camera: &'a CameraKey,
        file: &'a Path,
        changes: &'a mut Vec<Change>,
    ) -> BoxFuture<'a, Result<Reduced, ReduceError>> {
        let dedup = self.0.upgrade();
        Box::pin(async move { dedup.ok_or("the gateway is gone")?.reduce(camera, file, changes).await })
    }
}

pub(crate) struct Gateway {
    opened: Opened,
    _dedup: Option<Arc<Dedup>>,
    spool_tasks: vigie::spool::Tasks,
    recorders: Vec<JoinHandle<()>>,
    flusher: JoinHandle<()>,
    sweeper: JoinHandle<()>,
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
    /// As `vigie run` starts. `recovered` is told when the spool and the index agree again.
    pub(crate) async fn start(
        site: &Site,
        life: u64,
        clock: Arc<SimClock>,
        recovered: impl FnOnce(),
    ) -> Result<Self, String> {
        let plan = &site.plan;
        let index = Index::open(&site.index_path()).await.map_err(|e| e.to_string())?;
        let opened = site.open(index.clone(), clock.clone());
        let Opened { spool, packs, .. } = opened.clone();
        let mut dedup = None;
        if plan.references {
            let kept = Arc::new(Dedup::new(index.clone(), spool.clone(), packs.clone(), site.keys()));
            spool.reduce_with(Arc::new(UntilDead(Arc::downgrade(&kept))));
            dedup = Some(kept);
        }
        let spool_tasks = spool.start().map_err(|e| e.to_string())?;
        index.write(vec![Change::Configure(site.camera_rows())]).await.map_err(|e| e.to_string())?;
        let found = spool.recover().await.map_err(|e| e.to_string())?;
        // What the disk would not let it read waits for the next start.
        if found.unreadable == 0 {
            recovered();
        }
        let shared = Shared {
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
            let film = Camera {
                seed,
                frame_rate: camera.frame_rate,
                gop_frames: camera.gop_frames,
                key_frame_bytes: camera.key_frame_bytes,
                ..Camera::default()
            };
            let sees_after = camera.sees_after;
            let film = film.into_iter().filter(move |event| event.at >= sees_after);
            let source = ReplaySource::new(params(), film, clock.clone());
            let source = Heard::new(source, n, life, site.sent.clone());
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
        let reliever = Reliever::new(index.clone(), spool.clone(), packs.clone(), site.keys(), zone);
        let storage = sweep::Storage::new(packs, Arc::new(move || spool.free_bytes(reserve_bytes)));
        let storage = if plan.references { storage.relieved_by(reliever) } else { storage };
        let sweeper = sweep::Sweeper::new(index, clock, storage, plan.policy.clone());
        let sweeper = tokio::spawn(sweeper.run(stop_flushing.clone()));
        Ok(Self { opened, _dedup: dedup, spool_tasks, recorders, flusher, sweeper, stop_recording, stop_flushing })
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
        self.opened.spool.close();
        self.spool_tasks.join().await;
        self.opened.index.close().await;
        Ok(())
    }
}
