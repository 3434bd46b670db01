//! Rebuilds the index from the packs alone.
//!
//! Invariant: the index that is there is not written to and not replaced before the new one is whole; it is kept beside
//! it. What cannot be read is reported and left out. A pack of the store costs one request, or two where its fragment table
//! is long; memory grows with runs and reference packs, not with packs.
//!
//! What packs do not tell comes from the old index where that can be read (`index::carry`): events, the register of
//! destructions, gaps that no footage follows, that a hold was released, holds without footage, and which footage is damaged
//! beyond repair. What nobody tells
//! is found again: condemned packs are condemned again by the next sweep, and a run whose first packs are gone begins with
//! the first that is left.
//! Absent on purpose: anything that needs a running gateway; the caller holds its lock.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt, future, stream};

use crate::archive::{Archive, PackRef};
use crate::index::carry::{Carried, carry_over};
use crate::index::damage::{Lost, all_lost};
use crate::index::of_pack::{changes_of, place_changes, rows_of, rows_without};
use crate::index::{CameraRow, Change, Index, IndexError, PackState, snapshot};
use crate::spool::{Spool, SpoolError};
use crate::store::{Store, request_kind};
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::media::GapCause;
use footage::pack::PackTable;
use footage::platform;
use footage::units::{CameraKey, PackId, RunId, Ticks90k, WallTime};

pub mod walk;

/// Packs whose tables are read at a time.
const TABLES_AT_ONCE: usize = 16;
/// Packs written to the index at a time.
const PACKS_PER_WRITE: usize = 128;

/// Why there is no new index; the old one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The new index could not be written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The spool could not be listed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The store could not be listed.
    #[error("the store could not be listed: {0}")]
    Store(#[from] object_store::Error),
    /// A file could not be moved.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Failure for RebuildError {
    fn kind(&self) -> Kind {
        match self {
            Self::Index(error) => error.kind(),
            Self::Spool(error) => error.kind(),
            Self::Store(error) => request_kind(error),
            Self::Io { source, .. } => Failure::kind(source),
        }
    }
}

/// What to build from.
#[derive(Debug)]
pub struct Rebuild {
    /// Where the index lies, or should.
    pub index: PathBuf,
    /// The configuration's cameras.
    pub cameras: Vec<CameraRow>,
    /// Where packs are kept.
    pub store: Store,
    /// Where packs grow and wait.
    pub spool_dir: PathBuf,
    /// To check what was growing.
    pub keys: Keys,
    /// For the name under which the old index is kept.
    pub clock: Arc<dyn Clock>,
}

/// What was built.
#[derive(Debug, Default)]
pub struct RebuildReport {
    /// Packs of the store.
    pub stored: u64,
    /// Whole packs that wait in the spool.
    pub waiting: u64,
    /// Packs that were growing: the next start of the gateway seals them.
    pub growing: u64,
    /// Packs that could not be read.
    pub unreadable: u64,
    /// Objects that are not ours.
    pub foreign: u64,
    /// Cameras of no configuration and no older index: their names and places are lost.
    pub unnamed: Vec<CameraKey>,
    /// What was taken over from the old index, or why nothing was.
    pub history: Option<Result<Carried, IndexError>>,
    /// The old index.
    pub kept: Option<PathBuf>,
}

/// A pack that is in no index now.
#[derive(Debug)]
pub struct Unreadable {
    /// Object or file.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Rebuild {
    /// Builds, then takes the old index's place. `unreadable` hears of each pack that is left out.
    pub async fn run(self, unreadable: &mut (dyn FnMut(Unreadable) + Send)) -> Result<RebuildReport, RebuildError> {
        let new = beside(&self.index, ".new");
        for file in [new.clone(), beside(&new, "-wal"), beside(&new, "-shm")] {
            remove_if_there(&file)?;
        }
        let index = Index::open(&new).await?;
        let mut builder = Builder::new(index.clone(), self.known_cameras().await, unreadable);
        builder.configure().await?;
        let spool =
            Spool::new(&self.spool_dir, self.store.clone(), index.clone(), self.clock.clone(), self.keys.clone());
        let packs = Archive::new(spool.clone(), self.store.clone());
        let lost = self.known_lost().await;
        builder.take(stored(&self.store, &packs, &lost)).await?;
        let files = spool.pack_files().await?;
        builder.take(spooled(files, &spool, &index, &packs, &lost)).await?;
        let mut report = builder.finish().await?;
        index.close().await;
        drop((index, spool, packs));

        let (old, clock) = (self.index, self.clock);
        platform::spawn_blocking(move || {
            if old.exists() {
                report.history = Some(carry_over(&old, &new));
            }
            let snapshot = snapshot::path(old.parent().unwrap_or(&old));
            if !matches!(report.history, Some(Ok(_))) && snapshot.exists() {
                report.history = Some(carry_over(&snapshot, &new));
            }
            report.kept = replace(&old, &new, clock.wall())?;
            Ok(report)
        })
        .await
        .unwrap_or(Err(RebuildError::Index(IndexError::Stopped)))
    }

    /// What the old index knows to be damaged beyond repair; nothing where it cannot be read: the scrub finds it again.
    async fn known_lost(&self) -> AllLost {
        let old = self.index.clone();
        let lost = platform::spawn_blocking(move || all_lost(&old)).await;
        lost.ok().and_then(Result::ok).unwrap_or_default().into_iter().collect()
    }

    /// The configuration's cameras, and those that the old index remembers, where it can still be read.
    async fn known_cameras(&self) -> BTreeMap<CameraKey, CameraRow> {
        let remembered = match Index::open_read_only(&self.index).await {
            Ok(old) => old.all_cameras().await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let remembered = remembered.into_iter().map(|row| CameraRow { configured: false, ..row });
        remembered.chain(self.cameras.iter().cloned()).map(|row| (row.key.clone(), row)).collect()
    }
}

/// What is known of a pack.
enum Read {
    Pack {
        state: PackState,
        changes: Vec<Change>,
        /// Where bytes of it lie, written when every pack is known.
        refers: Option<Box<Change>>,
        end: RunEnd,
    },
    /// A pack that is in the index already, or has no fragment yet.
    Nothing,
    Foreign,
    Unreadable(Unreadable),
}

/// What a pack says about the end of its run.
#[derive(Clone)]
struct RunEnd {
    camera: CameraKey,
    run: RunId,
    end: WallTime,
    camera_clock_offset: Option<Ticks90k>,
}

fn stored<'a>(
    store: &Store,
    packs: &'a Archive,
    lost: &'a AllLost,
) -> impl Stream<Item = Result<Read, RebuildError>> + Send + 'a {
    let read = move |listed: crate::store::Listed| async move {
        let Some((camera, id)) = listed.pack else { return Ok(Read::Foreign) };
        Ok(read(packs, lost, PackRef { id, camera, state: PackState::Stored }, listed.bytes, listed.location).await)
    };
    store.list().map_err(RebuildError::from).map_ok(read).try_buffer_unordered(TABLES_AT_ONCE)
}

fn spooled<'a>(
    files: Vec<crate::spool::recover::Found>,
    spool: &'a Spool,
    index: &'a Index,
    packs: &'a Archive,
    lost: &'a AllLost,
) -> impl Stream<Item = Result<Read, RebuildError>> + Send + 'a {
    let read = move |file: crate::spool::recover::Found| async move {
        if index.any_pack(file.pack).await?.is_some() {
            return Ok(Read::Nothing);
        }
        let [_, whole, _] = spool.files(&file.camera, file.pack);
        let state = if file.path == whole { PackState::Sealed } else { PackState::Open };
        let meta =
            std::fs::metadata(&file.path).map_err(|source| RebuildError::Io { path: file.path.clone(), source })?;
        let pack = PackRef { id: file.pack, camera: file.camera, state };
        Ok(read(packs, lost, pack, meta.len(), file.path.display().to_string()).await)
    };
    stream::iter(files).map(read).buffer_unordered(TABLES_AT_ONCE)
}

/// Everything that a pack says to the index.
async fn read(packs: &Archive, lost: &AllLost, pack: PackRef, bytes: u64, what: String) -> Read {
    let table = match pack.state {
        PackState::Stored => packs.table_for_once(&pack, bytes).await,
        _ => packs.table(&pack).await,
    };
    let table = match table {
        Ok(table) => table,
        Err(e) => return Read::Unreadable(Unreadable { what, why: e.to_string() }),
    };
    let bytes = if pack.state == PackState::Open { table.end() } else { bytes };
    // What another gateway keeps for a hold is that gateway's.
    let is_theirs = |table: &PackTable| table.header.hold.is_some() && packs.is_foreign(&pack.camera, pack.id);
    let Some(rows) = rows_of(&table, bytes).filter(|_| !is_theirs(&table)) else { return Read::Nothing };
    let mut changes = changes_of(&rows);
    changes.extend(place_changes(&table, bytes));
    let refers = changes.last().filter(|_| table.is_reference()).cloned().map(Box::new);
    if pack.state >= PackState::Sealed {
        changes.push(Change::SealPack { pack: pack.id, bytes });
        // Of a pack that grew, the next start of the gateway tells.
        match packs.encrypted_under(&pack).await {
            Ok(day) => changes.extend(day.map(|day| Change::EncryptedUnder { pack: pack.id, key: day.id })),
            Err(e) => return Read::Unreadable(Unreadable { what, why: e.to_string() }),
        }
    }
    if pack.state == PackState::Stored {
        changes.push(Change::PackStored { pack: pack.id });
    }
    changes.extend(lost.get(&pack.id).and_then(|lost| damage(&table, bytes, lost)));
    let reported = table.fragments.iter().rev().find_map(|f| Some(f.stamp.camera_time?.since(f.stamp.wall_start)));
    let end = RunEnd { camera: pack.camera, run: rows.pack.run, end: rows.pack.end, camera_clock_offset: reported };
    Read::Pack { state: pack.state, changes, refers, end }
}

/// What of which packs is damaged beyond repair.
type AllLost = HashMap<PackId, Lost>;

/// What is known to be lost of the pack has no segment in the new index either.
fn damage(table: &PackTable, bytes: u64, lost: &Lost) -> Option<Change> {
    let rows = rows_without(table, bytes, lost)?;
    let gaps = rows.gaps.into_iter().filter(|gap| gap.cause == GapCause::Corrupt).collect();
    let (pack, end) = (table.header.pack, rows.pack.end);
    Some(Change::Damage { pack, end, lost: lost.clone(), segments: rows.segments, gaps })
}

/// The new index in the making.
struct Builder<'a> {
    index: Index,
    cameras: BTreeMap<CameraKey, CameraRow>,
    /// One entry a run.
    runs: BTreeMap<RunId, (WallTime, Option<Ticks90k>)>,
    /// One entry a reference pack.
    refers: Vec<Change>,
    report: RebuildReport,
    unreadable: &'a mut (dyn FnMut(Unreadable) + Send),
}

impl<'a> Builder<'a> {
    fn new(
        index: Index,
        cameras: BTreeMap<CameraKey, CameraRow>,
        unreadable: &'a mut (dyn FnMut(Unreadable) + Send),
    ) -> Self {
        Self { index, cameras, runs: BTreeMap::new(), refers: Vec::new(), report: RebuildReport::default(), unreadable }
    }

    async fn configure(&self) -> Result<(), RebuildError> {
        Ok(self.index.write(vec![Change::Configure(self.cameras.values().cloned().collect())]).await?)
    }

    async fn take(&mut self, packs: impl Stream<Item = Result<Read, RebuildError>>) -> Result<(), RebuildError> {
        let mut batches = std::pin::pin!(packs.ready_chunks(PACKS_PER_WRITE));
        while let Some(batch) = batches.next().await {
            let mut reported = Vec::with_capacity(batch.len());
            for read in batch {
                match read? {
                    Read::Nothing => {}
                    Read::Foreign => self.report.foreign += 1,
                    Read::Unreadable(unreadable) => self.leave_out(unreadable),
                    Read::Pack { state, changes, refers, end } => {
                        self.know(&end.camera).await?;
                        self.refers.extend(refers.map(|refers| *refers));
                        reported.push((state, changes, end));
                    }
                }
            }
            self.report(reported).await?;
        }
        Ok(())
    }

    fn leave_out(&mut self, unreadable: Unreadable) {
        self.report.unreadable += 1;
        (self.unreadable)(unreadable);
    }

    /// A camera that only its packs tell of.
    async fn know(&mut self, camera: &CameraKey) -> Result<(), RebuildError> {
        if self.cameras.contains_key(camera) {
            return Ok(());
        }
        let row = walk::unknown_camera(camera);
        self.cameras.insert(camera.clone(), row);
        self.report.unnamed.push(camera.clone());
        self.configure().await
    }

    /// Each pack in a call of its own, which the index commits together: one that it refuses takes no other with it.
    async fn report(&mut self, packs: Vec<(PackState, Vec<Change>, RunEnd)>) -> Result<(), RebuildError> {
        let index = &self.index;
        let writes =
            packs.into_iter().map(|(state, changes, end)| async move { (index.write(changes).await, state, end) });
        for (outcome, state, end) in future::join_all(writes).await {
            match outcome {
                Ok(()) => self.count(state, end),
                Err(e @ (IndexError::Refused(_) | IndexError::Unknown(_))) => {
                    self.leave_out(Unreadable { what: format!("a pack of {}", end.camera), why: e.to_string() });
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn count(&mut self, state: PackState, RunEnd { run, end, camera_clock_offset, .. }: RunEnd) {
        match state {
            PackState::Open => self.report.growing += 1,
            PackState::Sealed => self.report.waiting += 1,
            PackState::Stored | PackState::Condemned => self.report.stored += 1,
        }
        let last = self.runs.entry(run).or_insert((end, camera_clock_offset));
        if end > last.0 {
            *last = (end, camera_clock_offset.or(last.1));
        }
    }

    /// Every run is over: no gateway runs.
    async fn finish(self) -> Result<RebuildReport, RebuildError> {
        let ends = self.runs.into_iter().flat_map(|(run, (end, camera_clock_offset))| {
            let clocks = camera_clock_offset.map(|offset| Change::RunClocks {
                run,
                camera_clock_offset: Some(offset),
                timeline_offset: Ticks90k::ZERO,
            });
            [Some(Change::EndRun { run, end }), clocks].into_iter().flatten()
        });
        let last: Vec<Change> = ends.chain(self.refers).collect();
        for some in last.chunks(PACKS_PER_WRITE) {
            self.index.write(some.to_vec()).await?;
        }
        Ok(self.report)
    }
}

/// Puts the new index in the old one's place, and keeps that under a name with its time. At each step, and after a
/// power cut at each, there is an index under its own name if there was one.
fn replace(index: &Path, new: &Path, at: WallTime) -> Result<Option<PathBuf>, RebuildError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| RebuildError::Io { path, source }
    };
    std::fs::File::open(new).and_then(|f| f.sync_all()).map_err(io(new))?;
    let folder = index.parent().unwrap_or(index);
    let kept = beside(index, &format!(".old-{}", at.to_timestamp().strftime("%Y%m%dT%H%M%S%.3fZ")));
    let had_one = index.exists();
    if had_one {
        std::fs::hard_link(index, &kept).map_err(io(&kept))?;
    }
    // A log left beside would be read into the new index: it goes with the old one, first.
    for suffix in ["-wal", "-shm"] {
        let log = beside(index, suffix);
        if log.exists() {
            platform::rename(&log, &beside(&kept, suffix)).map_err(io(&log))?;
        }
    }
    platform::sync_folder(folder).map_err(io(folder))?;
    platform::rename(new, index).map_err(io(index))?;
    platform::sync_folder(folder).map_err(io(folder))?;
    Ok(had_one.then_some(kept))
}

/// The path with something behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove_if_there(path: &Path) -> Result<(), RebuildError> {
    match platform::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(RebuildError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
