//! Finds a pack's bytes wherever they lie: growing in the spool, whole in the spool, or in the store.
//!
//! Invariant: the spool is asked first, so that nothing waits for an uplink that need not. A pack that moves from spool
//! to store between two reads is found again. A pack is read as if it held all of its bytes, wherever they lie; one that
//! was rewritten since its table was read has another size, and is not read by the old table.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use moka::future::Cache;

use crate::index::{IndexError, PackState};
use crate::spool::{Growing, Spool, SpoolError};
use crate::store::{Listed, Store, request_kind};
use footage::failure::{Failure, Kind};
use footage::keys::DomainKey;
use footage::keys::vault::{DayKey, Vault};
use footage::pack::encrypted::Encrypted;
use footage::pack::reader::{self, TAIL_BYTES, Tail};
use footage::pack::reference::{Host, Piece};
use footage::pack::writer::HeldBytes;
use footage::pack::{PackError, PackTable};
use footage::platform;
use footage::units::{CameraKey, PackId, TimeRange};

mod assemble;
pub mod check;
mod encrypted;
mod groups;
mod ranges;
pub mod readable;
pub mod rewrite;

use ranges::{LocalBytes, join, pick};

/// Weight of cached fragment tables, in samples: about 200 MB at 12 bytes a sample and its share of the rest.
const CACHED_SAMPLES_MAX: u64 = 12_000_000;

/// Enough to find a pack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PackRef {
    /// Its id.
    pub id: PackId,
    /// Whose.
    pub camera: CameraKey,
    /// Where it is in its life, as far as the caller knows: a hint, not a promise.
    pub state: PackState,
}

/// Why a pack's bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Neither the spool nor the store has it: it was deleted since it was looked up, or the index is wrong (`vigie fsck`).
    #[error("pack {0} is neither in the spool nor in the store")]
    NotFound(PackId),
    /// The bytes are there and are not a pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The store failed; trying again later may help.
    #[error("pack {pack}: {source}")]
    Store {
        /// Which pack.
        pack: PackId,
        /// What the store said.
        source: object_store::Error,
    },
    /// It has other bytes than when its table was read: ask again.
    #[error("pack {0} was rewritten while it was read: ask again")]
    WrittenAnew(PackId),
    /// The index did not answer.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The spool's disk failed.
    #[error("pack {pack}: {source}")]
    Io {
        /// Which pack.
        pack: PackId,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Failure for ReadError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Pack(error) => error.kind(),
            Self::Store { source, .. } => request_kind(source),
            Self::WrittenAnew(_) => Kind::Retry,
            Self::Index(error) => error.kind(),
            Self::Io { source, .. } => Failure::kind(source),
        }
    }
}

/// All packs; cheap to clone.
#[derive(Clone, Debug)]
pub struct Archive {
    spool: Spool,
    store: Store,
    /// Whole packs' tables.
    tables: Cache<PackId, Whole>,
    /// How often a table was forgotten. One that was read from a file before it was replaced, and comes to the cache
    /// after, would stay there: it is kept only when none was forgotten meanwhile.
    forgotten: Arc<AtomicU64>,
}

/// Packs of a camera, wherever they lie, whatever the index says of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lying {
    /// In its stores.
    pub in_stores: Vec<PackId>,
    /// In the spool: those that grow, that wait, and that are kept as a cache.
    pub in_spool: Vec<PackId>,
    /// Names in its folder of a store that are no pack's.
    pub strangers: Vec<String>,
    /// Where nothing could be listed.
    pub not_listed: Vec<Place>,
}

/// A place where packs lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A store.
    Store,
    /// The spool.
    Spool,
    /// Packages of evidence on the gateway.
    Exports,
}

/// What is known of a whole pack: its table, and the size of the file that it was read from.
#[derive(Clone, Debug)]
struct Whole {
    table: Arc<PackTable>,
    file_bytes: u64,
    /// How it is encrypted, if it is.
    encrypted: Option<Arc<Encrypted>>,
}

impl Whole {
    fn new(table: PackTable, file_bytes: u64, encrypted: Option<Encrypted>) -> Self {
        Self { table: Arc::new(table), file_bytes, encrypted: encrypted.map(Arc::new) }
    }
}

/// Where a pack's bytes are at this moment.
enum Lies {
    /// In a file that grows, or may have grown a moment ago, and in memory: together all of its bytes.
    Growing(LocalBytes, Option<Arc<Encrypted>>),
    /// In a file that is whole.
    Local(File),
    Store,
}

/// So often is a pack looked at that is rewritten meanwhile.
const LOOKS_MAX: usize = 3;

impl Archive {
    /// Over a spool and the store behind it.
    pub fn new(spool: Spool, store: Store) -> Self {
        let weight = |_: &PackId, whole: &Whole| {
            let samples: usize = whole.table.fragments.iter().map(|f| f.video.len() + f.audio.len() + 16).sum();
            u32::try_from(samples).unwrap_or(u32::MAX)
        };
        let tables = Cache::builder().max_capacity(CACHED_SAMPLES_MAX).weigher(weight).build();
        Self { spool, store, tables, forgotten: Arc::default() }
    }

    /// The pack's fragment table: from memory while it grows and the caller knows no better, otherwise from its trailing
    /// box, cached.
    pub async fn table(&self, pack: &PackRef) -> Result<Arc<PackTable>, ReadError> {
        // Of an encrypted pack the file alone says where its bytes lie: other packs go by that.
        if pack.state == PackState::Open
            && let Some(table) = self.spool.growing(pack.id).and_then(|growing| growing.table())
        {
            return Ok(table);
        }
        match self.whole(pack).await {
            // Beside a running gateway, a pack that grows is known by its file alone.
            Err(ReadError::Pack(_)) if pack.state == PackState::Open => self.scan(pack).await,
            whole => Ok(whole?.table),
        }
    }

    /// The tables of several packs, in their order. Those that lie here are opened, read and decoded in one go: a day's
    /// clip needs hundreds, and a trip to another thread for each costs more than its decoding.
    pub async fn tables(&self, packs: &[PackRef]) -> Result<Vec<Arc<PackTable>>, ReadError> {
        let mut unknown = Vec::new();
        for (place, pack) in packs.iter().enumerate() {
            if pack.state != PackState::Open && !self.tables.contains_key(&pack.id) {
                unknown.push((place, pack.id, self.opener(pack)));
            }
        }
        let at = self.forgotten();
        let mut here: Vec<Option<Whole>> = Vec::new();
        here.resize_with(packs.len(), || None);
        if let Some(&(_, id, _)) = unknown.first() {
            let vault = self.spool.vault();
            here = blocking(id, move || {
                for (place, id, open) in unknown {
                    // What is not here or is damaged is asked for alone, which says what is wrong with it.
                    here[place] = open().ok().flatten().and_then(|(file, _)| whole_of(file, id, &vault).ok());
                }
                Ok(here)
            })
            .await?;
        }
        let each = packs.iter().zip(here).map(|(pack, here)| async move {
            match here {
                Some(whole) => Ok(self.keep(pack, whole, at).await?.table),
                None => self.table(pack).await,
            }
        });
        futures::future::try_join_all(each).await
    }

    /// What is known of a whole pack, or is found out now.
    async fn whole(&self, pack: &PackRef) -> Result<Whole, ReadError> {
        match self.tables.get(&pack.id).await {
            Some(whole) => Ok(whole),
            None => {
                let at = self.forgotten();
                let whole = self.read_table(pack).await?;
                self.keep(pack, whole, at).await
            }
        }
    }

    /// The table of a whole pack of which the store has an object of this size, for once: nothing is kept of it, and the
    /// store is not asked for the size again.
    pub async fn table_for_once(&self, pack: &PackRef, object_bytes: u64) -> Result<Arc<PackTable>, ReadError> {
        let whole = match self.read_local_table(pack).await? {
            Some(read) => read,
            None => self.read_object_table(pack, object_bytes).await?,
        };
        Ok(is_of(pack, whole)?.table)
    }

    /// The state of the count before a table is read.
    fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }

    /// Keeps a table that was read since the count was `at`.
    async fn keep(&self, pack: &PackRef, whole: Whole, at: u64) -> Result<Whole, ReadError> {
        let whole = is_of(pack, whole)?;
        self.tables.insert(pack.id, whole.clone()).await;
        // Forgetting counts before it removes: one of the two sees the other.
        if self.forgotten() != at {
            self.tables.invalidate(&pack.id).await;
        }
        Ok(whole)
    }

    async fn scan(&self, pack: &PackRef) -> Result<Arc<PackTable>, ReadError> {
        let (spool, pack) = (self.spool.clone(), pack.clone());
        let id = pack.id;
        platform::spawn_blocking(move || {
            let scan = reader::scan(&spool.open_path(&pack.camera, id), &spool.key(&pack.camera))?;
            scan.table.map(Arc::new).ok_or(ReadError::NotFound(id))
        })
        .await
        .unwrap_or_else(|e| Err(ReadError::Io { pack: id, source: std::io::Error::other(e) }))
    }

    async fn read_table(&self, pack: &PackRef) -> Result<Whole, ReadError> {
        if let Some(read) = self.read_local_table(pack).await? {
            return Ok(read);
        }
        let id = pack.id;
        let bytes = self.store.pack_bytes(&pack.camera, id).await;
        let bytes = bytes.map_err(|source| ReadError::Store { pack: id, source })?.ok_or(ReadError::NotFound(id))?;
        self.read_object_table(pack, bytes).await
    }

    /// `None` where the store has to be asked.
    async fn read_local_table(&self, pack: &PackRef) -> Result<Option<Whole>, ReadError> {
        let (id, open, vault) = (pack.id, self.opener(pack), self.spool.vault());
        // Opened, read and decoded in one go: a day's clip needs hundreds of tables, on all cores at once.
        blocking(id, move || open()?.map(|(file, _)| whole_of(file, id, &vault)).transpose()).await
    }

    async fn read_object_table(&self, pack: &PackRef, bytes: u64) -> Result<Whole, ReadError> {
        let id = pack.id;
        let mut want = TAIL_BYTES.min(bytes);
        loop {
            let (tail, vault) = (self.object_bytes(pack, bytes, bytes - want..bytes).await?, self.spool.vault());
            // A key that is not in memory yet is read from its file.
            let (ended, encrypted) = blocking(id, move || Ok(reader::end_of(&tail, bytes, id, &vault)?)).await?;
            match ended {
                Tail::Table(table) => return Ok(Whole::new(table, bytes, encrypted)),
                Tail::NeedBytes(more) if more > want && more <= bytes => want = more,
                Tail::NeedBytes(more) => {
                    let what = format!("its fragment table would need {more} of {bytes} bytes");
                    return Err(PackError::Malformed { offset: bytes - want, what }.into());
                }
            }
        }
    }

    /// Opens a file of the spool, or of a local store, and says whether it is one that grows; `None` where the store has
    /// to be asked. Blocks.
    fn opener(&self, pack: &PackRef) -> impl FnOnce() -> Result<Option<(File, bool)>, ReadError> + Send + 'static {
        let growing = self.spool.open_path(&pack.camera, pack.id);
        let mut candidates: Vec<PathBuf> = self.spool.files(&pack.camera, pack.id).into();
        let local = self.store.local_file(&pack.camera, pack.id);
        if pack.state == PackState::Stored {
            candidates.splice(0..0, local);
        } else {
            candidates.extend(local);
        }
        // A pack that is renamed while the list is walked has left one name and not yet got the next that is asked:
        // the second walk finds it.
        candidates.extend_from_within(..);
        let id = pack.id;
        move || {
            for path in candidates {
                match File::open(&path) {
                    Ok(file) => return Ok(Some((file, path == growing))),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(source) => return Err(ReadError::Io { pack: id, source }),
                }
            }
            // The store says that it is absent, once it is known to be the right one.
            Ok(None)
        }
    }

    /// A file of the spool, or of a local store; else the store must have it. Of a pack that grows, its bytes in `wanted`
    /// are found.
    async fn lies(&self, pack: &PackRef, wanted: Range<u64>) -> Result<Lies, ReadError> {
        let (id, growing) = (pack.id, self.spool.growing(pack.id));
        let (open_path, open, vault) = (self.spool.open_path(&pack.camera, id), self.opener(pack), self.spool.vault());
        blocking(id, move || {
            let io = |source| ReadError::Io { pack: id, source };
            // What is held is looked at first: what it does not hold any more is in the file.
            if let Some(held) = growing.and_then(|growing| growing.held(&wanted)) {
                let HeldBytes { from, bytes, all, encrypted } = held;
                let encrypted = encrypted.map(Arc::new);
                if all {
                    return Ok(Lies::Growing(LocalBytes::growing(None, from, bytes), encrypted));
                }
                match File::open(&open_path) {
                    Ok(file) => return Ok(Lies::Growing(LocalBytes::growing(Some(file), from, bytes), encrypted)),
                    // It is whole by now, and has another name.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => return Err(io(e)),
                }
            }
            Ok(match open()? {
                Some((file, true)) => {
                    let encrypted = encrypted::of_growing(id, &file, &vault)?;
                    Lies::Growing(LocalBytes::in_file(file), encrypted)
                }
                Some((file, false)) => Lies::Local(file),
                None => Lies::Store,
            })
        })
        .await
    }

    /// Ranges of an object that has this size; one of another size was rewritten.
    fn stream_object(
        &self,
        pack: PackRef,
        object_bytes: u64,
        ranges: Vec<Range<u64>>,
    ) -> BoxStream<'static, Result<Bytes, ReadError>> {
        let store = self.store.clone();
        futures::stream::iter(join(ranges))
            .then(move |(whole, wanted)| {
                let (store, pack) = (store.clone(), pack.clone());
                async move {
                    let failed = |source| match source {
                        object_store::Error::NotFound { .. } => ReadError::NotFound(pack.id),
                        source => ReadError::Store { pack: pack.id, source },
                    };
                    let got = store.get_stream_sized(&pack.camera, pack.id, whole.clone()).await;
                    let (found_bytes, bytes) = got.map_err(failed)?;
                    let id = pack.id;
                    if found_bytes != object_bytes {
                        return Err(ReadError::WrittenAnew(id));
                    }
                    let bytes = bytes.map_err(move |source| ReadError::Store { pack: id, source });
                    Ok::<_, ReadError>(pick(bytes.boxed(), whole.start, wanted))
                }
            })
            .try_flatten()
            .boxed()
    }

    /// One small range, whole.
    pub async fn bytes(&self, pack: &PackRef, range: Range<u64>) -> Result<Bytes, ReadError> {
        whole_range(self.stream(pack, vec![range.clone()]), range).await
    }

    /// One small range of an object's own bytes.
    async fn object_bytes(&self, pack: &PackRef, object_bytes: u64, range: Range<u64>) -> Result<Bytes, ReadError> {
        whole_range(self.stream_object(pack.clone(), object_bytes, vec![range.clone()]), range).await
    }

    /// Whether a pack can be read without a request to a store elsewhere.
    pub fn lies_here(&self, pack: &PackRef) -> bool {
        let here = || self.spool.files(&pack.camera, pack.id).iter().any(|path| path.exists());
        self.store.local_root(&pack.camera).is_some() || here()
    }

    /// The key by which a pack's fragments are compared with their ids. None for another gateway's packs, and none while a
    /// substitute stands for the gateway's key: by it every fragment would look damaged.
    pub(crate) fn key_to_compare(&self, pack: &PackRef) -> Option<DomainKey> {
        let is_ours = !self.is_foreign(&pack.camera, pack.id);
        (is_ours && self.spool.has_its_key()).then(|| self.spool.key(&pack.camera))
    }

    /// Whether both cameras' packs go to one store: bytes of the one may lie in the other's.
    pub fn share_a_store(&self, one: &CameraKey, other: &CameraKey) -> bool {
        self.store.home(one) == self.store.home(other)
    }

    /// Reads the pack by this table from now on, that of its own being damaged.
    pub(crate) async fn read_by(&self, pack: PackId, table: PackTable, file_bytes: u64, encrypted: Option<Encrypted>) {
        self.tables.insert(pack, Whole::new(table, file_bytes, encrypted)).await;
    }

    /// See [`Spool::send_first`].
    pub async fn send_first(&self, camera: &CameraKey, range: TimeRange) -> Result<usize, SpoolError> {
        self.spool.send_first(camera, range).await
    }

    /// Size of a whole pack's file.
    pub async fn file_bytes(&self, pack: &PackRef) -> Result<u64, ReadError> {
        Ok(self.whole(pack).await?.file_bytes)
    }

    /// The key that a whole pack is encrypted under, if it is.
    pub async fn encrypted_under(&self, pack: &PackRef) -> Result<Option<Arc<DayKey>>, ReadError> {
        Ok(self.whole(pack).await?.encrypted.map(|encrypted| encrypted.day().clone()))
    }

    /// The pack was rewritten: what is known of its table is no longer true.
    pub async fn forget_table(&self, pack: PackId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.tables.invalidate(&pack).await;
    }

    /// Deletes a pack's object from the store and its file from the spool, and says so only when both are gone for good
    /// (absent already counts as gone).
    pub async fn delete(&self, pack: &PackRef) -> Result<(), ReadError> {
        let _busy = self.spool.lock_to_delete(pack.id).await;
        self.forget_table(pack.id).await;
        // What is invalidated is dropped with the cache's next work; until then it would hold the pack's key.
        self.tables.run_pending_tasks().await;
        let stored = self.store.delete(&pack.camera, pack.id).await;
        let files = self.spool.files(&pack.camera, pack.id);
        // Whatever the store does: what lies here is over too.
        let removed =
            platform::spawn_blocking(move || files.iter().try_for_each(|path| platform::remove_durably(path)));
        let removed = removed.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        removed.map_err(|source| ReadError::Io { pack: pack.id, source })?;
        stored.map_err(|source| ReadError::Store { pack: pack.id, source })
    }

    /// Whether there are bytes of this pack: in the spool, or in a store.
    pub async fn is_there(&self, pack: &PackRef) -> Result<bool, ReadError> {
        let files = self.spool.files(&pack.camera, pack.id);
        if blocking(pack.id, move || Ok(files.iter().any(|file| file.exists()))).await? {
            return Ok(true);
        }
        let bytes = self.store.pack_bytes(&pack.camera, pack.id).await;
        Ok(bytes.map_err(|source| ReadError::Store { pack: pack.id, source })?.is_some())
    }

    /// What lies of a camera, wherever that may be.
    pub async fn lying(&self, camera: &CameraKey) -> Lying {
        let mut lying = Lying::default();
        for (id, listing) in self.store.list_of_camera(camera).await {
            match listing {
                Ok(objects) => {
                    for Listed { pack, location, .. } in objects {
                        match pack {
                            Some((_, pack)) => lying.in_stores.push(pack),
                            None => lying.strangers.push(location.rsplit('/').next().unwrap_or_default().to_owned()),
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(store = self.store.name(id), %camera, %error, "what lies of a camera could not be listed");
                    lying.not_listed.push(Place::Store);
                }
            }
        }
        for listing in [self.spool.pack_files().await, self.spool.cache_files().await] {
            match listing {
                Ok(files) => {
                    lying.in_spool.extend(files.into_iter().filter(|of| of.camera == *camera).map(|of| of.pack));
                }
                Err(error) => {
                    tracing::warn!(%camera, %error, "what lies of a camera in the spool could not be listed");
                    lying.not_listed.push(Place::Spool);
                }
            }
        }
        lying
    }

    /// Whether another gateway wrote this pack.
    pub fn is_foreign(&self, camera: &CameraKey, pack: PackId) -> bool {
        self.store.is_foreign(camera, pack)
    }

    /// The pack that grows now for this camera, with all that is written of it (flushed or not): what live view shows.
    pub fn live(&self, camera: &CameraKey) -> Option<(PackRef, Arc<PackTable>)> {
        let growing: Arc<Growing> = self.spool.live(camera)?;
        let pack = PackRef { id: growing.header().pack, camera: camera.clone(), state: PackState::Open };
        Some((pack, growing.table()?))
    }
}

/// All of a stream of one range.
async fn whole_range(
    stream: BoxStream<'static, Result<Bytes, ReadError>>,
    range: Range<u64>,
) -> Result<Bytes, ReadError> {
    let parts: Vec<Bytes> = stream.try_collect().await?;
    let all = match <[Bytes; 1]>::try_from(parts) {
        Ok([one]) => one,
        Err(parts) => parts.concat().into(),
    };
    if all.len() as u64 != range.end.saturating_sub(range.start) {
        return Err(short(range.start + all.len() as u64));
    }
    Ok(all)
}

/// What is known of a whole pack from its open file. Blocks.
fn whole_of(file: File, pack: PackId, vault: &Vault) -> Result<Whole, ReadError> {
    let file_bytes = file.metadata().map_err(|source| ReadError::Io { pack, source })?.len();
    let (table, encrypted) = reader::table_of(file, pack, vault)?;
    Ok(Whole::new(table, file_bytes, encrypted))
}

/// Refuses another pack's table.
fn is_of(pack: &PackRef, whole: Whole) -> Result<Whole, ReadError> {
    let table = &whole.table;
    if table.header.camera == pack.camera && table.header.pack == pack.id {
        return Ok(whole);
    }
    let what = format!("it says that it is pack {} of {}", table.header.pack, table.header.camera);
    Err(PackError::Malformed { offset: 0, what }.into())
}

fn short(at: u64) -> ReadError {
    let what = "the pack ends before its table says".to_owned();
    ReadError::Pack(PackError::Malformed { offset: at, what })
}

/// Runs file work off the runtime's threads.
async fn blocking<T: Send + 'static>(
    pack: PackId,
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    let done = platform::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(ReadError::Io { pack, source: std::io::Error::other(e) }))
}
