//! Deduplication: a pack whose fragments are stored already refers to them, and is stored without their bytes.
//!
//! Fragments are equal where their ids are: keyed hashes of their sample bytes, under the key of a deduplication domain. So
//! nothing is ever shared between domains, and nothing is compared but ids. A pack is looked at when it is whole,
//! before the store has it:
//!
//! ```text
//! its hooks → packs of the index that have one of them  ┐
//! its ids   → packs sealed lately, in memory            ├→ candidates' tables (cached) → equal ids → places
//! its camera's last hosts, and those that follow them   ┘
//! ```
//!
//! The index holds one id in 64 and each pack's least (Sparse Indexing, Lillibridge et al., FAST 2009). Recordings that
//! are made at the same time are found through the memory of ids instead, which forgets the oldest; what is imported in order
//! is found through the hosts of the pack before.
//!
//! Invariants: a place names a pack that holds the bytes itself, and that the index promised to keep before this pack's own
//! copy goes ([`crate::index::dedup`] has the rules, and refuses what breaks them); what fails leaves the pack whole. Packs of one
//! domain are compared one after the other, each after the index knows the one before. Bounds: [`RECENT_FRAGMENTS_MAX`] ids in
//! memory, [`CANDIDATES_MAX`] tables read for a pack.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tracing::{info, warn};

use crate::archive::{Archive, PackRef, ReadError};
use crate::index::of_pack::{claim, place_changes};
use crate::index::{Change, Index, IndexError, PackState};
use crate::spool::{Spool, SpoolError};
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::pack::reference::{Host, Place};
use footage::pack::{PackError, PackTable, reader};
use footage::platform;
use footage::units::{CameraKey, FragmentId, PackId};

/// Ids of fragments in memory: half an hour of 500 cameras, about 60 MB.
const RECENT_FRAGMENTS_MAX: usize = 1 << 20;

/// Packs looked at for one pack; of more, those found first.
const CANDIDATES_MAX: usize = 32;

/// A pack refers to another for no less than this part of its sample bytes: a host costs it a request when it is read, a row,
/// and a rewriting when the host's time comes before its own.
const LEAST_PART: u64 = 32;

/// Why a pack could not be compared with others. It is stored whole, unless its file refers to others already.
#[derive(Debug, thiserror::Error)]
pub enum DedupError {
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The pack's own bytes could not be read, or its new file could not be written.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The pack's file is no pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The spool has no room for the new file.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The pack's file could not be used.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The work was cut off, by a panic or because the gateway stops.
    #[error("the comparison was cut off")]
    CutOff(#[from] tokio::task::JoinError),
}

impl Failure for DedupError {
    fn kind(&self) -> Kind {
        match self {
            Self::Index(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::Pack(error) => error.kind(),
            Self::Spool(error) => error.kind(),
            Self::Io { source, .. } => Failure::kind(source),
            Self::CutOff(_) => Kind::Internal,
        }
    }
}

/// A pack that was compared. The next pack of its domain waits until this is dropped, or [`Dedup::remember`] takes it.
#[derive(Debug)]
pub struct Compared {
    /// Size of its file now.
    pub bytes: u64,
    /// What the index has to learn of where its bytes lie.
    pub changes: Vec<Change>,
    own: Host,
    table: PackTable,
    _turn: OwnedMutexGuard<()>,
}

/// Finds what is stored already.
#[derive(Debug)]
pub struct Dedup {
    index: Index,
    spool: Spool,
    packs: Archive,
    keys: Keys,
    recent: Mutex<Recent>,
    /// Whose turn it is, for each domain by its key.
    turns: Mutex<HashMap<[u8; 32], Arc<tokio::sync::Mutex<()>>>>,
}

impl Dedup {
    /// Over these packs.
    pub fn new(index: Index, spool: Spool, packs: Archive, keys: Keys) -> Self {
        Self { index, spool, packs, keys, recent: Mutex::default(), turns: Mutex::default() }
    }

    fn turn(&self, camera: &CameraKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        turns.entry(*self.keys.domain(&camera.tenant).as_bytes()).or_default().clone()
    }

    /// Compares a whole, flushed pack file of the spool with what is stored, and may put a smaller one in its place; a
    /// crash at any step leaves either. May be done again for the same pack. What it writes to the index before of
    /// `changes`, which the index has not heard of the pack, it takes out of them.
    ///
    /// # Errors
    /// See [`DedupError`].
    pub async fn compare(
        &self,
        camera: &CameraKey,
        file: &Path,
        changes: &mut Vec<Change>,
    ) -> Result<Compared, DedupError> {
        platform::turn().await;
        let turn = self.turn(camera).lock_owned().await;
        let (path, vault) = (file.to_owned(), self.keys.vault().clone());
        let table = platform::spawn_blocking(move || reader::read_table(&path, &vault)).await??;
        let own = Host { pack: table.header.pack, camera: camera.clone() };
        let io = |source| DedupError::Io { path: file.to_owned(), source };
        let mut now = table;
        if now.is_reference() {
            // An earlier attempt got so far, and may have ended before the new name was durable.
            let renamed = file.to_owned();
            platform::spawn_blocking(move || platform::sync_name(&renamed)).await?.map_err(io)?;
        } else {
            let places = self.places(&now, &own).await?;
            let referring = now.with_places(places);
            if referring.is_reference() && self.replace(&own, &now, &referring, file, changes).await? {
                now = referring;
            }
        }
        let bytes = std::fs::metadata(file).map_err(io)?.len();
        Ok(Compared { bytes, changes: place_changes(&now, bytes), own, table: now, _turn: turn })
    }

    /// The index has learned of a pack that was compared: the next one may find it.
    pub fn remember(&self, compared: Compared) {
        let Compared { own, table, .. } = &compared;
        self.recent.lock().add(own, table);
    }

    /// For each fragment, where its bytes are already.
    async fn places(&self, table: &PackTable, own: &Host) -> Result<Vec<Option<Place>>, DedupError> {
        let mut found: Vec<Option<Place>> = vec![None; table.fragments.len()];
        let wanted: BTreeMap<FragmentId, Vec<usize>> = {
            let mut wanted: BTreeMap<_, Vec<usize>> = BTreeMap::new();
            table.fragments.iter().enumerate().for_each(|(n, entry)| wanted.entry(entry.id).or_default().push(n));
            wanted
        };
        for candidate in self.candidates(table, own).await? {
            if found.iter().all(Option::is_some) {
                break;
            }
            let pack = PackRef { id: candidate.pack, camera: candidate.camera.clone(), state: PackState::Stored };
            let other = match self.packs.table(&pack).await {
                Ok(other) => other,
                Err(ReadError::NotFound(_)) => continue,
                Err(error) => {
                    warn!(%error, "a pack that may hold the same footage could not be read");
                    continue;
                }
            };
            for (number, entry) in other.fragments.iter().enumerate() {
                for &n in wanted.get(&entry.id).into_iter().flatten() {
                    let here = || Place { host: candidate.clone(), fragment: number as u32 };
                    let place = entry.place.clone().unwrap_or_else(here);
                    // A copy of this very pack is no host for it.
                    if found[n].is_none() && place.host.pack != own.pack {
                        found[n] = Some(place);
                    }
                }
            }
        }
        worthwhile(table, &mut found);
        Ok(found)
    }

    /// Packs that may hold fragments of this one, the likeliest first.
    async fn candidates(&self, table: &PackTable, own: &Host) -> Result<Vec<Arc<Host>>, IndexError> {
        let mut candidates = self.recent.lock().holders(table, own);
        let hooked = self.index.packs_hooked(table.hooks()).await?;
        candidates.extend(hooked.into_iter().map(|row| Arc::new(Host { pack: row.id, camera: row.camera })));
        for host in candidates.clone() {
            // What was imported in order lies in order: the neighbours in time of a pack that has some of it.
            let near = self.index.neighbours(&host.camera, host.pack).await?;
            candidates.extend(near.into_iter().map(|pack| Arc::new(Host { pack, camera: host.camera.clone() })));
            if candidates.len() >= 2 * CANDIDATES_MAX {
                break;
            }
        }
        let mut seen = std::collections::HashSet::new();
        // Another gateway's packs go when it sees fit: nothing of this one's may lie in them.
        let may_hold = |host: &Host| {
            let is_own = host.pack != own.pack && !self.packs.is_foreign(&host.camera, host.pack);
            is_own && self.packs.share_a_store(&host.camera, &own.camera)
        };
        candidates.retain(|host| may_hold(host) && seen.insert(host.pack));
        candidates.truncate(CANDIDATES_MAX);
        Ok(candidates)
    }

    /// Writes the reference pack in the whole one's place. False when the pack stays as it is.
    async fn replace(
        &self,
        own: &Host,
        whole: &PackTable,
        reduced: &PackTable,
        file: &Path,
        unheard: &mut Vec<Change>,
    ) -> Result<bool, DedupError> {
        let io = |source| DedupError::Io { path: file.to_owned(), source };
        let mut changes = unheard.clone();
        changes.push(Change::Claim(claim(whole, reduced)));
        match self.index.write(changes).await {
            Ok(()) => unheard.clear(),
            // A host that is going meanwhile, that the index does not know or that refers to others itself by now: the
            // pack keeps its bytes. So it does when an earlier attempt sealed it and did not hear so: others may refer to it.
            Err(IndexError::Refused(_) | IndexError::Unknown(_)) => return Ok(false),
            Err(e) => return Err(e.into()),
        }
        let pack = PackRef { id: own.pack, camera: own.camera.clone(), state: PackState::Sealed };
        let draft = self.spool.draft_path(&own.camera, own.pack)?;
        let key = self.keys.domain(&own.camera.tenant);
        let whole_bytes = std::fs::metadata(file).map_err(io)?.len();
        let bytes = self.packs.rewrite(&pack, reduced, &key, &draft).await?;
        if bytes >= whole_bytes {
            platform::remove_file(&draft).map_err(io)?;
            return Ok(false);
        }
        let to = file.to_owned();
        platform::spawn_blocking(move || {
            platform::rename(&draft, &to)?;
            to.parent().map_or(Ok(()), platform::sync_folder)
        })
        .await?
        .map_err(io)?;
        self.packs.forget_table(own.pack).await;
        info!(pack = %own.pack, camera = %own.camera, bytes, saved_bytes = whole_bytes - bytes, "a pack refers to what is stored");
        Ok(true)
    }
}

/// Drops the places in hosts that hold too little of the pack to be worth it.
fn worthwhile(table: &PackTable, places: &mut [Option<Place>]) {
    let all: u64 = table.fragments.iter().map(|entry| u64::from(entry.data_bytes)).sum();
    let mut held: HashMap<PackId, u64> = HashMap::new();
    for (entry, place) in table.fragments.iter().zip(places.iter()) {
        if let Some(place) = place {
            *held.entry(place.host.pack).or_default() += u64::from(entry.data_bytes);
        }
    }
    for place in places.iter_mut() {
        let too_little = |place: &Place| held.get(&place.host.pack).is_none_or(|bytes| bytes * LEAST_PART < all);
        if place.as_ref().is_some_and(too_little) {
            *place = None;
        }
    }
}

/// Where the fragments of packs sealed lately lie.
#[derive(Debug, Default)]
struct Recent {
    /// By the first half of the id.
    places: HashMap<u64, Arc<Host>>,
    /// In the order of sealing, with what to forget.
    order: VecDeque<(Arc<Host>, Vec<u64>)>,
}

impl Recent {
    fn add(&mut self, own: &Host, table: &PackTable) {
        let own = Arc::new(own.clone());
        // What lies elsewhere is known already, or will be found where it lies.
        let ids = table.fragments.iter().filter(|entry| entry.place.is_none()).map(|entry| short(&entry.id));
        let ids: Vec<u64> = ids.filter(|id| self.places.insert(*id, own.clone()).is_none()).collect();
        self.order.push_back((own, ids));
        while self.places.len() > RECENT_FRAGMENTS_MAX {
            let Some((_, oldest)) = self.order.pop_front() else { return };
            oldest.iter().for_each(|id| {
                self.places.remove(id);
            });
        }
    }

    /// Packs that have ids of this one, those with the most of them first.
    fn holders(&self, table: &PackTable, own: &Host) -> Vec<Arc<Host>> {
        let mut holders: HashMap<&Arc<Host>, usize> = HashMap::new();
        for host in table.fragments.iter().filter_map(|entry| self.places.get(&short(&entry.id))) {
            if host.pack != own.pack {
                *holders.entry(host).or_default() += 1;
            }
        }
        let mut holders: Vec<_> = holders.into_iter().collect();
        holders.sort_by_key(|(host, fragments)| (std::cmp::Reverse(*fragments), host.pack));
        holders.into_iter().map(|(host, _)| host.clone()).collect()
    }
}

fn short(id: &FragmentId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
