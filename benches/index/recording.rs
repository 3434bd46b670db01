//! Rows as a thousand recorders would have written them, pack after pack, camera after camera.
//!
//! They go through the index's own writer, some minutes at a time. The hooks of a day alone are put in by SQL, in their
//! order: a hook lies anywhere in its table, and millions of transactions of a few would write the table a thousand times.

use std::path::Path;

use footage::media::{Gap, GapCause};
use footage::units::{CameraKey, PackId, RunId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::{Connection, params};
use vigie::event::{Event, Fact};
use vigie::index::dedup::Refers;
use vigie::index::{CameraRow, Change, Index, PackRow, PackState, SegmentRow};

use super::Failure;

/// Two minutes, the length at which a pack is sealed.
pub(crate) const PACK: i64 = 120 * TICKS_PER_SECOND;
/// Packs of each camera in one transaction. They lie in the index as if each had come alone.
const PACKS_PER_CALL: usize = 10;
/// One pack in so many ends early, because the camera hung up: three a day.
const DISCONNECTED_ONE_IN: u32 = 240;
/// One pack in so many has lost packets in its middle, and so two segments.
const LOSSY_ONE_IN: u32 = 100;
/// One pack in so many has bytes in another.
const REFERRING_ONE_IN: u32 = 100;
/// Of 120 fragments: one in 64, and the least.
const HOOKS: u64 = 3;

pub(crate) struct Camera {
    pub(crate) key: CameraKey,
    run: RunId,
    run_start: WallTime,
    /// Cameras do not seal at the same instant.
    offset: i64,
    /// The pack that grows.
    open: Option<PackId>,
    last: Option<PackId>,
}

impl Camera {
    fn begin_run(&mut self, start: WallTime) -> [Change; 2] {
        (self.run, self.run_start) = (RunId::generate(start), start);
        let (camera, run) = (self.key.clone(), self.run);
        [
            Change::BeginRun { camera, run, start },
            self.event(start, Fact::Connected { codecs: "avc1.640028".to_owned(), width: 1920, height: 1080 }),
        ]
    }

    fn event(&self, at: WallTime, fact: Fact) -> Change {
        Change::Event(Event::of_camera(at, &self.key, fact))
    }

    /// The pack that grows from `start` on, and the change that begins it unless that was written.
    fn open(&mut self, start: WallTime) -> (PackId, Option<Change>) {
        if let Some(id) = self.open {
            return (id, None);
        }
        let id = PackId::generate(start);
        self.open = Some(id);
        let (camera, run) = (self.key.clone(), self.run);
        let row = PackRow { id, camera, run, state: PackState::Open, bytes: 0, start, end: start, condemned_at: None };
        (id, Some(Change::OpenPack(row)))
    }

    fn segment(&self, pack: PackId, start: WallTime, duration: i64, first_fragment: u32) -> Change {
        let range = TimeRange::new(start, WallTime(start.0 + duration)).expect("a segment has a length");
        let segment = SegmentRow {
            range,
            run: self.run,
            decode_time: Ticks90k(start.0 - self.run_start.0),
            pack,
            state: PackState::Open,
            first_fragment,
            fragments: (duration / TICKS_PER_SECOND) as u32,
        };
        let bytes = (start.0 + duration - self.run_start.0).rem_euclid(PACK).unsigned_abs() * 6;
        Change::PutSegment { camera: self.key.clone(), segment, pack_bytes: bytes }
    }
}

/// What has been recorded so far.
pub(crate) struct Recording {
    pub(crate) cameras: Vec<Camera>,
    pub(crate) beginning: WallTime,
    /// Packs of each camera that are stored.
    pub(crate) packs: usize,
    random: StdRng,
    /// The newest row of `pack` that has its hooks.
    hooked: i64,
}

impl Recording {
    /// Nothing yet of so many cameras.
    pub(crate) async fn begin(index: &Index, cameras: usize, beginning: WallTime) -> Result<Self, Failure> {
        let mut random = StdRng::seed_from_u64(1);
        let mut camera = |n: usize| -> Result<Camera, Failure> {
            let (run, offset) = (RunId::generate(beginning), random.random_range(1..PACK));
            Ok(Camera { key: format!("bench/{n}").parse()?, run, run_start: beginning, offset, open: None, last: None })
        };
        let mut cameras = (0..cameras).map(&mut camera).collect::<Result<Vec<_>, _>>()?;
        let mut changes = vec![Change::Configure(rows(&cameras, super::MONTH))];
        for camera in &mut cameras {
            changes.extend(camera.begin_run(WallTime(beginning.0 + camera.offset)));
        }
        index.write(changes).await?;
        Ok(Self { cameras, beginning, packs: 0, random, hooked: 0 })
    }

    /// Start of a camera's `n`th pack.
    fn start(&self, camera: usize, n: usize) -> WallTime {
        WallTime(self.beginning.0 + self.cameras[camera].offset + n as i64 * PACK)
    }

    /// First instant that no camera has recorded whole.
    pub(crate) fn end(&self) -> WallTime {
        WallTime(self.beginning.0 + self.packs as i64 * PACK)
    }

    /// Records until every camera has so many packs.
    pub(crate) async fn record(&mut self, index: &Index, path: &Path, packs: usize) -> Result<(), Failure> {
        const PACKS_PER_DAY: usize = 720;
        while self.packs < packs {
            let until = packs.min(self.packs + PACKS_PER_CALL);
            let mut changes = Vec::new();
            for n in self.packs..until {
                for camera in 0..self.cameras.len() {
                    self.pack(camera, n, &mut changes);
                }
            }
            index.write(changes).await?;
            self.packs = until;
            if until == packs || until % PACKS_PER_DAY < PACKS_PER_CALL {
                let path = path.to_owned();
                let after = self.hooked;
                self.hooked =
                    tokio::task::spawn_blocking(move || hook_packs(&path, after).map_err(|e| e.to_string())).await??;
            }
        }
        Ok(())
    }

    /// What its recorder, the drain and deduplication write of one pack.
    fn pack(&mut self, camera: usize, n: usize, changes: &mut Vec<Change>) {
        let start = self.start(camera, n);
        let host = self.cameras[(camera + 1) % self.cameras.len()].last;
        let disconnected = self.random.random_ratio(1, DISCONNECTED_ONE_IN);
        let lossy = self.random.random_ratio(1, LOSSY_ONE_IN);
        let host = host.filter(|_| self.random.random_ratio(1, REFERRING_ONE_IN));
        let camera = &mut self.cameras[camera];
        let (pack, opened) = camera.open(start);
        changes.extend(opened);
        let duration = if disconnected { PACK - 20 * TICKS_PER_SECOND } else { PACK };
        if lossy {
            let (half, lost) = (PACK / 2, TICKS_PER_SECOND / 2);
            let gap = Gap {
                start: WallTime(start.0 + half - lost),
                end: WallTime(start.0 + half),
                cause: GapCause::PacketLoss,
                lost_packets: 12,
            };
            changes.push(camera.segment(pack, start, half - lost, 0));
            changes.push(Change::PutGap { camera: camera.key.clone(), gap });
            changes.push(camera.segment(pack, WallTime(start.0 + half), duration - half, 60));
        } else {
            changes.push(camera.segment(pack, start, duration, 0));
        }
        if let Some(host) = host {
            changes.push(Change::Refers(Refers {
                pack,
                bytes: 50_000_000,
                fragments: 120,
                lent: (0..20).collect(),
                lent_bytes: 10_000_000,
                hosts: vec![host],
            }));
        }
        changes.push(Change::SealPack { pack, bytes: 60_000_000 });
        changes.push(Change::PackStored { pack });
        (camera.open, camera.last) = (None, Some(pack));
        if disconnected {
            let (end, next) = (WallTime(start.0 + duration), WallTime(start.0 + PACK));
            let gap = Gap { start: end, end: next, cause: GapCause::Disconnected, lost_packets: 0 };
            changes.push(Change::EndRun { run: camera.run, end });
            changes.push(camera.event(end, Fact::ConnectionLost { cause: GapCause::Disconnected }));
            changes.push(Change::PutGap { camera: camera.key.clone(), gap });
            changes.extend(camera.begin_run(next));
        }
    }

    /// A second more of the packs that grow: one call for each of these cameras, as their recorders make them.
    pub(crate) fn flush(&mut self, cameras: usize, second: i64) -> Vec<Vec<Change>> {
        let n = self.packs;
        let starts: Vec<_> = (0..cameras).map(|camera| self.start(camera, n)).collect();
        let calls = self.cameras.iter_mut().zip(starts).map(|(camera, start)| {
            let (pack, opened) = camera.open(start);
            let grown = camera.segment(pack, start, second * TICKS_PER_SECOND, 0);
            opened.into_iter().chain([grown]).collect()
        });
        calls.collect()
    }

    /// The gateway was stopped: packs that grow are stored, runs end.
    pub(crate) async fn stop(&mut self, index: &Index) -> Result<(), Failure> {
        let end = self.end();
        let mut changes = Vec::new();
        for camera in &mut self.cameras {
            if let Some(pack) = camera.open.take() {
                changes.extend([Change::SealPack { pack, bytes: 60_000_000 }, Change::PackStored { pack }]);
            }
            let gap = Change::OpenGap { camera: camera.key.clone(), start: end, cause: GapCause::GatewayStopped };
            changes.extend([Change::EndRun { run: camera.run, end }, gap]);
        }
        Ok(index.write(changes).await?)
    }
}

/// The configuration's rows.
pub(crate) fn rows(cameras: &[Camera], retention_max: Ticks90k) -> Vec<CameraRow> {
    let row = |camera: &Camera| CameraRow {
        key: camera.key.clone(),
        name: camera.key.to_string(),
        place: "place de la Mairie".to_owned(),
        configured: true,
        retention_max,
        retention_min: Ticks90k::ZERO,
    };
    cameras.iter().map(row).collect()
}

/// A pack's hooks are spread as hashes are: each lands somewhere else in its table.
pub(crate) fn hooks(pack: PackId) -> Vec<u64> {
    let hash = blake3::hash(&pack.0);
    let hooks = hash.as_bytes().chunks_exact(6).take(HOOKS as usize);
    hooks.map(|bytes| bytes.iter().fold(0, |hook, byte| hook << 8 | u64::from(*byte))).collect()
}

/// Gives hooks to the packs above this row; gives the last row.
fn hook_packs(path: &Path, after: i64) -> Result<i64, Failure> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(std::time::Duration::from_secs(60))?;
    db.pragma_update(None, "synchronous", "off")?;
    db.pragma_update(None, "cache_size", -1_000_000)?;
    let change = db.transaction()?;
    let mut spread = Vec::new();
    {
        let mut unhooked = change.prepare("SELECT id, pack FROM pack WHERE id > ?1 AND state = 2 ORDER BY id")?;
        let packs = unhooked.query_map([after], |row| Ok((row.get::<_, i64>(0)?, PackId(row.get(1)?))))?;
        let packs = packs.collect::<Result<Vec<_>, _>>()?;
        let mut keep = change.prepare("UPDATE pack SET hooks = ?2 WHERE id = ?1")?;
        for (id, pack) in packs {
            let hooks = hooks(pack);
            let kept: Vec<u8> = hooks.iter().flat_map(|hook| hook.to_be_bytes().into_iter().skip(2)).collect();
            keep.execute(params![id, kept])?;
            spread.extend(hooks.into_iter().map(|hook| (hook as i64, id)));
        }
        spread.sort_unstable();
        let mut insert = change.prepare("INSERT INTO hook (hook, pack) VALUES (?1, ?2)")?;
        for (hook, id) in &spread {
            insert.execute(params![hook, id])?;
        }
    }
    change.commit()?;
    let last = spread.iter().map(|(_, id)| *id).max();
    Ok(last.map_or(after, |last| last.max(after)))
}
