//! The spool: where packs grow, wait for the store, and stay as a cache.
//!
//! ```text
//! {spool}/{tenant}/{camera}/{pack}.open.mp4   grows; after a crash: scanned, cut at its last whole fragment, sealed
//! {spool}/{tenant}/{camera}/{pack}.mp4        whole; waits for the store
//! {spool}/{tenant}/{camera}/{pack}.cache.mp4  the store has it: goes, oldest first, when space is needed
//! ```
//!
//! Invariants: the index speaks of a fragment only after its bytes were flushed; a pack leaves the spool only by being
//! renamed into the store, or after the store acknowledged it. A failed flush is never taken back by a later one that
//! succeeds: what the kernel could not write may be gone, so the pack is closed and scanned.
//! Queues: packs to seal, bounded by [`SEALS_QUEUED_MAX`], and footage that waits to be written, bounded by [`Budget`];
//! past either the recorder waits, and its camera's TCP window with it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{MutexGuard as Turn, Notify, RwLock, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::index::{Change, Index, IndexError, PackRow, PackState};
use crate::store::{Store, StoreError, StoreId};
use footage::clock::Clock;
use footage::keys::vault::{DayKey, Vault, VaultError};
use footage::keys::{DomainKey, Keys};
use footage::media::{Fragment, GapCause};
use footage::pack::writer::{Buffers, HeldBytes, PackWriter};
use footage::pack::{PackError, PackHeader, PackTable, Stamp};
use footage::platform::{self, Folders, Writing};
use footage::units::{CameraKey, PackId, Ticks90k, WallTime};

mod budget;
mod cache;
mod durability;
mod finish;
mod flush;
mod pack_locks;
pub mod recover;
mod replace;
mod turns;
mod waiting;

use budget::Budget;
pub use budget::Room;
pub use durability::Delays;
pub(crate) use finish::Finished;
pub(crate) use finish::blocking;

pub use waiting::ASKED_MAX;
pub(crate) use waiting::WAITING_PAGE;

use crate::index::of_pack::Segments;
use footage::failure::{Failure, Kind};

/// Packs that may wait to be sealed.
const SEALS_QUEUED_MAX: usize = 1024;

/// Why the spool did not take a fragment.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk refused; the kind tells a full disk from a broken one.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A folder or file of the spool could not be used.
    #[error("spool {path}: {source}")]
    Io {
        /// Which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An earlier flush of this pack failed: seal it and open another.
    #[error("pack {pack} could not be written to the disk ({cause})")]
    FlushFailed {
        /// Which pack.
        pack: PackId,
        /// Of the gap that comes of it.
        cause: GapCause,
    },
    /// Packs are on their way to the store: a sealed one cannot be replaced now.
    #[error("packs are being sent to the store: a pack cannot be replaced meanwhile")]
    Busy,
    /// The spool is shutting down.
    #[error("the spool has stopped")]
    Stopped,
    /// The store did not take a pack.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index did not answer.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The key to encrypt a pack under could not be had.
    #[error(transparent)]
    Key(#[from] VaultError),
}

impl Failure for SpoolError {
    fn kind(&self) -> Kind {
        match self {
            Self::Pack(error) => error.kind(),
            Self::Io { source, .. } => Failure::kind(source),
            Self::FlushFailed { cause: GapCause::DiskFull, .. } => Kind::Full,
            Self::FlushFailed { .. } => Kind::Internal,
            Self::Busy | Self::Stopped => Kind::Retry,
            Self::Store(error) => error.kind(),
            Self::Index(error) => error.kind(),
            Self::Key(error) => error.kind(),
        }
    }
}

impl SpoolError {
    /// Of the gap that comes of it.
    pub fn gap_cause(&self) -> GapCause {
        match self {
            Self::FlushFailed { cause, .. } => *cause,
            Self::Pack(PackError::Io { source, .. })
            | Self::Io { source, .. }
            | Self::Key(VaultError::Io { source, .. }) => gap_cause(source),
            _ => GapCause::WriteFailed,
        }
    }
}

/// Of the gap that comes of this error of the disk.
fn gap_cause(error: &std::io::Error) -> GapCause {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => GapCause::DiskFull,
        _ => GapCause::WriteFailed,
    }
}

/// The spool; cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    folders: Folders,
    pack_locks: Arc<pack_locks::PackLocks>,
    store: Store,
    index: Index,
    clock: Arc<dyn Clock>,
    keys: Keys,
    growing: Mutex<BTreeMap<PackId, Arc<Growing>>>,
    live: Mutex<HashMap<CameraKey, PackId>>,
    seals: Mutex<Option<mpsc::Sender<Arc<Growing>>>>,
    /// For each store: something waits for it.
    waiting: HashMap<StoreId, Notify>,
    /// Packs that somebody waits for, and that there are more of them.
    asked: Mutex<VecDeque<(CameraKey, PackId)>>,
    asked_more: Notify,
    /// Packs that need not wait their turn any more, and since when by the monotonic clock.
    free: Mutex<HashMap<PackId, Duration>>,
    closing: CancellationToken,
    /// Shared while a pack is sent to the store, taken whole while one is rewritten.
    sending: RwLock<()>,
    /// From reading a fragment's last picture to its being on the disk.
    delays: Mutex<Delays>,
    /// The spool's folder, held open so that a flush of its file system hears of every failure since. Set at the start.
    disk: OnceLock<Disk>,
    /// Memory of growing packs, and how much may wait there to be written.
    buffers: Buffers,
    room: Budget,
}

/// A file system that can be flushed as a whole.
#[derive(Debug)]
struct Disk {
    folder: File,
    /// Its number.
    device: u64,
    /// How it is written.
    writing: Writing,
}

/// A pack that grows: the recorder appends, the flusher makes durable, readers see what is written.
#[derive(Debug)]
pub struct Growing {
    header: PackHeader,
    path: PathBuf,
    state: Mutex<State>,
    /// Held from taking what the index shall learn until it has learned it: a flush that is written after the seal would
    /// set a whole pack's rows back.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The key that it is encrypted under; held, so that it is not destroyed before the index knows that the pack needs it.
    day: Option<Arc<DayKey>>,
}

#[derive(Debug)]
struct State {
    /// Taken by sealing.
    writer: Option<PackWriter>,
    /// Room for what is not written yet.
    room: Option<Room>,
    /// The table as somebody asked for it since the last fragment; the whole one when the writer is gone.
    table: Option<Arc<PackTable>>,
    segments: Segments,
    /// Index changes that become true with the next flush.
    pending: Vec<Change>,
    /// The index knows of the pack.
    announced: bool,
    /// Something was appended since the last flush.
    dirty: bool,
    /// When the last pictures of the fragments that wait for a flush were received, on the monotonic clock.
    waiting: Vec<Duration>,
    /// A flush failed, with the gap that comes of it.
    failed: Option<GapCause>,
    /// A flush succeeded.
    on_disk: bool,
    /// Nothing of it is to be kept, or told.
    given_up: bool,
}

/// How large a growing pack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Bytes, written or not.
    pub bytes: u64,
    /// Media time since its first sample.
    pub duration: Ticks90k,
    /// The disk has taken some of it.
    pub on_disk: bool,
}

impl Growing {
    /// What it is.
    pub fn header(&self) -> &PackHeader {
        &self.header
    }

    /// Appends a fragment, which is written with the next flush; `room` is what [`Spool::room`] gave for it. `changes`
    /// become part of the index together with the fragment, once it is flushed.
    pub fn append(
        &self,
        fragment: &Fragment,
        stamp: Stamp,
        changes: Vec<Change>,
        room: Room,
    ) -> Result<Size, SpoolError> {
        let mut state = self.state.lock();
        if let Some(cause) = state.failed {
            return Err(SpoolError::FlushFailed { pack: self.header.pack, cause });
        }
        let writer = state.writer.as_mut().ok_or(SpoolError::Stopped)?;
        let entry = writer.append(fragment, stamp)?;
        let bytes = writer.bytes();
        let first = writer.table().fragments.first().map_or(entry.decode_time, |f| f.decode_time);
        let end = entry.decode_time.0.saturating_add(fragment.duration.0);
        state.table = None;
        match &mut state.room {
            Some(taken) => taken.merge(room),
            none => *none = Some(room),
        }
        state.segments.push(&entry);
        state.pending.extend(changes);
        state.dirty = true;
        // What waited for its session to end did not wait for the disk.
        state.waiting.extend(fragment.followed.then_some(fragment.last_received.mono));
        Ok(Size { bytes, duration: Ticks90k(end.saturating_sub(first.0)), on_disk: state.on_disk })
    }

    /// Gives up a pack of which the disk took nothing, as if it had never been begun; false where it took some.
    pub fn give_up(&self) -> bool {
        let mut state = self.state.lock();
        state.given_up = !state.on_disk;
        state.given_up
    }

    /// What the index shall learn with the next flush.
    pub fn note(&self, changes: Vec<Change>) {
        let mut state = self.state.lock();
        state.pending.extend(changes);
        state.dirty = true;
    }

    /// All that is written so far.
    pub fn table(&self) -> Option<Arc<PackTable>> {
        let State { writer, table, .. } = &mut *self.state.lock();
        if let (None, Some(writer)) = (&table, writer) {
            *table = Some(Arc::new(writer.table().clone()));
        }
        table.clone()
    }

    /// What of these bytes only memory holds; `None` once all of them are in the file.
    pub fn held(&self, range: &Range<u64>) -> Option<HeldBytes> {
        self.state.lock().writer.as_ref().map(|writer| writer.held(range))
    }

    /// Index changes that are true once the file as it is now is flushed; `None` when there is nothing to flush.
    fn take_unflushed(&self, state: &mut State, bytes: u64) -> Vec<Change> {
        state.dirty = false;
        let mut changes = std::mem::take(&mut state.pending);
        if !state.announced
            && let Some((start, end)) = state.segments.extent()
        {
            // The run begins before its packs do, and may have been forgotten with the last one that it had.
            let PackHeader { camera, run, .. } = &self.header;
            changes.insert(0, Change::BeginRun { camera: camera.clone(), run: *run, start });
            changes.push(Change::OpenPack(self.row(bytes, start, end)));
            changes.extend(self.day.as_ref().map(|day| Change::EncryptedUnder { pack: self.header.pack, key: day.id }));
            state.announced = true;
        }
        changes.extend(state.segments.take_changed().into_iter().map(|segment| Change::PutSegment {
            camera: self.header.camera.clone(),
            segment,
            pack_bytes: bytes,
        }));
        changes
    }

    /// Held while what the index shall learn is taken and written.
    pub(crate) async fn turn(&self) -> Turn<'_, ()> {
        self.turn.lock().await
    }

    /// The flush, or the index after it, failed: these changes wait for the next one.
    pub(crate) fn give_back(&self, changes: Vec<Change>) {
        let mut state = self.state.lock();
        let newer = std::mem::replace(&mut state.pending, changes);
        state.pending.extend(newer);
        state.dirty = true;
    }

    fn row(&self, bytes: u64, start: WallTime, end: WallTime) -> PackRow {
        PackRow {
            id: self.header.pack,
            camera: self.header.camera.clone(),
            run: self.header.run,
            state: PackState::Open,
            bytes,
            start,
            end,
            condemned_at: None,
        }
    }
}

impl Spool {
    /// The spool in this folder. Nothing is sealed before [`crate::seal`] is started on it: beside a gateway that runs on the same
    /// folder, it can be read.
    pub fn new(dir: &Path, store: Store, index: Index, clock: Arc<dyn Clock>, keys: Keys) -> Self {
        let waiting = store.ids().map(|id| (id, Notify::new())).collect();
        Self(Arc::new(Inner {
            dir: dir.to_owned(),
            folders: Folders::default(),
            pack_locks: Arc::default(),
            store,
            index,
            clock,
            keys,
            growing: Mutex::default(),
            live: Mutex::default(),
            seals: Mutex::new(None),
            waiting,
            asked: Mutex::default(),
            asked_more: Notify::new(),
            free: Mutex::default(),
            closing: CancellationToken::new(),
            sending: RwLock::default(),
            delays: Mutex::default(),
            disk: OnceLock::new(),
            buffers: Buffers::default(),
            room: Budget::default(),
        }))
    }

    /// So much footage may wait to be written; `None`: a share of the machine's memory. To be said before anything is
    /// recorded.
    pub fn holding_at_most(mut self, bytes: Option<u64>) -> Self {
        let budget = bytes.map_or_else(Budget::default, Budget::new);
        Arc::get_mut(&mut self.0).expect("it was just made, and nobody else has it").room = budget;
        self
    }

    /// Opens the queue of packs that are complete; [`crate::seal`] takes them from it until [`Spool::close`].
    pub(crate) fn open_queue(&self) -> Result<mpsc::Receiver<Arc<Growing>>, SpoolError> {
        let dir = &self.0.dir;
        platform::create_folders(dir).map_err(|source| SpoolError::Io { path: dir.clone(), source })?;
        let opened = File::open(dir).and_then(|folder| {
            let (device, writing) = (folder.metadata()?.dev(), platform::best_writing(dir)?);
            Ok(Disk { folder, device, writing })
        });
        let disk = opened.map_err(|source| SpoolError::Io { path: dir.clone(), source })?;
        info!(path = %dir.display(), writing = disk.writing.as_str(), "footage is written");
        // Set before: the spool was started twice, and holds the folder already.
        let _ = self.0.disk.set(disk);
        let (seals, queue) = mpsc::channel(SEALS_QUEUED_MAX);
        *self.0.seals.lock() = Some(seals);
        Ok(queue)
    }

    pub(crate) fn index(&self) -> &Index {
        &self.0.index
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// How the disk is written, found out at the start.
    pub fn writing(&self) -> Writing {
        self.0.disk.get().map_or(Writing::Buffered, |disk| disk.writing)
    }

    /// Room for a fragment of so many bytes until it is written: waits while too many others wait for the disk.
    pub async fn room(&self, bytes: usize) -> Room {
        self.0.room.take(bytes).await
    }

    /// Bytes that wait to be written, and how many may.
    pub fn unwritten_bytes(&self) -> (u64, u64) {
        self.0.room.taken_bytes()
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Where a pack of this camera grows, and where it lies when it is whole.
    fn folder(&self, camera: &CameraKey) -> PathBuf {
        self.0.dir.join(camera.tenant.as_str()).join(camera.camera.as_str())
    }

    pub(crate) fn open_path(&self, camera: &CameraKey, pack: PackId) -> PathBuf {
        self.folder(camera).join(format!("{pack}.open.mp4"))
    }

    pub(crate) fn whole_path(&self, camera: &CameraKey, pack: PackId) -> PathBuf {
        self.folder(camera).join(format!("{pack}.mp4"))
    }

    fn cache_path(&self, camera: &CameraKey, pack: PackId) -> PathBuf {
        self.folder(camera).join(format!("{pack}.cache.mp4"))
    }

    /// The keys of encrypted packs.
    pub(crate) fn vault(&self) -> Vault {
        self.0.keys.vault().clone()
    }

    /// False while a substitute stands for the gateway's key.
    pub(crate) fn has_its_key(&self) -> bool {
        self.0.keys.trouble().is_none()
    }

    pub(crate) fn key(&self, camera: &CameraKey) -> DomainKey {
        self.0.keys.domain(&camera.tenant)
    }

    /// The id of a pack that begins at this instant.
    pub fn new_pack_id(&self, camera: &CameraKey, at: WallTime) -> PackId {
        self.as_written_here(camera, PackId::generate(at))
    }

    /// The id of a pack that this gateway writes: in a shared store it says so.
    pub fn as_written_here(&self, camera: &CameraKey, id: PackId) -> PackId {
        self.0.store.as_written_here(camera, id)
    }

    /// Begins a pack, whose file is created with the next flush. It becomes the camera's live pack.
    pub fn open_pack(&self, header: PackHeader) -> Result<Arc<Growing>, SpoolError> {
        let (camera, pack) = (header.camera.clone(), header.pack);
        let growing = self.open_pack_beside(header)?;
        self.0.live.lock().insert(camera, pack);
        Ok(growing)
    }

    /// The same of footage that is not filmed now: the live pack stays what it is.
    pub fn open_pack_beside(&self, header: PackHeader) -> Result<Arc<Growing>, SpoolError> {
        let path = self.open_path(&header.camera, header.pack);
        let folder = self.folder(&header.camera);
        self.0.folders.ensure(&self.0.dir, &folder).map_err(|source| SpoolError::Io { path: folder, source })?;
        // Before the file is made: its key is durable when the first byte under it is written.
        let day = self.0.keys.day_key_now(&header.camera, header.pack.created())?;
        let key = self.key(&header.camera);
        let memory = (self.writing(), self.0.buffers.clone());
        let writer = PackWriter::hold(&path, header.clone(), key, day.clone(), memory)?;
        let pack = Arc::new(Growing {
            path,
            state: Mutex::new(State {
                writer: Some(writer),
                room: None,
                table: None,
                segments: Segments::new(header.run, header.pack),
                pending: Vec::new(),
                announced: false,
                dirty: false,
                waiting: Vec::new(),
                failed: None,
                on_disk: false,
                given_up: false,
            }),
            turn: Arc::default(),
            day,
            header,
        });
        self.0.growing.lock().insert(pack.header.pack, pack.clone());
        Ok(pack)
    }

    /// The pack is complete: it is queued to be sealed ([`crate::seal`]).
    pub async fn seal(&self, pack: Arc<Growing>) -> Result<(), SpoolError> {
        let queue = self.0.seals.lock().clone().ok_or(SpoolError::Stopped)?;
        queue.send(pack).await.map_err(|_| SpoolError::Stopped)
    }

    /// The pack that grows now for this camera.
    pub fn live(&self, camera: &CameraKey) -> Option<Arc<Growing>> {
        let pack = *self.0.live.lock().get(camera)?;
        self.growing(pack)
    }

    /// A pack that is not sealed yet.
    pub fn growing(&self, pack: PackId) -> Option<Arc<Growing>> {
        self.0.growing.lock().get(&pack).cloned()
    }

    /// The pack is what its file says from here on: the index knows it as sealed, or it is left to the next start.
    pub(crate) fn no_longer_grows(&self, pack: PackId) {
        self.0.growing.lock().remove(&pack);
    }

    /// Files of the spool that may hold this pack, the likeliest first.
    pub fn files(&self, camera: &CameraKey, pack: PackId) -> [PathBuf; 3] {
        [self.cache_path(camera, pack), self.whole_path(camera, pack), self.open_path(camera, pack)]
    }

    /// Set when no further pack can be sealed.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    /// No further pack can be sealed; what is queued still is.
    pub fn close(&self) {
        self.0.seals.lock().take();
        self.0.closing.cancel();
    }
}
