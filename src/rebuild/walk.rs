//! The walk over a store's objects: packs that the index does not know are entered in it, so that they are found and end on
//! time.
//!
//! Invariants: nothing is deleted here. What can be read is entered as what it says; what cannot be read is entered, without
//! footage, once its time is over, so that retention destroys and registers it as any other.
//! Absent on purpose: packs of another gateway in a shared store, which `redundancy` adopts.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tracing::{info, warn};

use super::{AllLost, Read, RebuildError, read};
use crate::archive::{Archive, PackRef};
use crate::config::Retention;
use crate::index::{CameraRow, Change, Index, IndexError, PackRow, PackState};
use crate::policy::deadline;
use crate::store::{Listed, Store, StoreId};
use footage::clock::Clock;
use footage::units::{CameraKey, RunId, Ticks90k, WallTime};

/// Objects set against the index at a time.
const PAGE: usize = 512;
/// Packs whose tables are read at a time.
const TABLES_AT_ONCE: usize = 8;
/// Objects between two lines of progress.
const PROGRESS_EVERY: u64 = 10_000;

/// What a walk found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Objects that were listed.
    pub objects: u64,
    /// Packs that the index did not know and knows now.
    pub adopted: u64,
    /// Packs that cannot be read and whose time is over: they are entered to be destroyed.
    pub due: u64,
    /// Packs that cannot be read and whose time is not over.
    pub unreadable: u64,
    /// Objects that are not Vigie's.
    pub foreign: u64,
}

/// Walks over stores.
#[derive(Clone, Debug)]
pub struct Walker {
    index: Index,
    store: Store,
    packs: Archive,
    clock: Arc<dyn Clock>,
    zone: jiff::tz::TimeZone,
}

impl Walker {
    /// Over these stores. The zone says how long a month is.
    pub fn new(index: Index, store: Store, packs: Archive, clock: Arc<dyn Clock>, zone: jiff::tz::TimeZone) -> Self {
        Self { index, store, packs, clock, zone }
    }

    /// Sets every object of a store against the index. Can be cut off anywhere and run again.
    ///
    /// # Errors
    /// When the store is not the known one, does not list, or the index fails.
    pub async fn walk(&self, store: StoreId) -> Result<Walked, RebuildError> {
        let name = self.store.name(store).to_owned();
        let (mut walked, mut ends, mut refers) = (Walked::default(), HashMap::new(), Vec::new());
        let mut pages = self.store.list_of(store).try_chunks(PAGE);
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| RebuildError::Store(e.1))?;
            let before = walked.objects;
            walked.objects += page.len() as u64;
            let unknown = self.unknown(page, &mut walked).await?;
            let reads = stream::iter(unknown).map(|(pack, listed)| async move {
                let lost = AllLost::new();
                let read = read(&self.packs, &lost, pack.clone(), listed.bytes, listed.location.clone()).await;
                (pack, listed, read)
            });
            let mut reads = reads.buffer_unordered(TABLES_AT_ONCE);
            while let Some((pack, listed, read)) = reads.next().await {
                self.enter(pack, listed, read, &mut walked, &mut ends, &mut refers).await?;
            }
            if before / PROGRESS_EVERY != walked.objects / PROGRESS_EVERY {
                info!(store = %name, objects = walked.objects, adopted = walked.adopted, "comparing the store with the index");
            }
        }
        // Hosts that came later in the listing are known now.
        let ends = ends.into_iter().map(|(run, end)| Change::EndRun { run, end });
        for change in refers.into_iter().chain(ends) {
            self.tolerant(vec![change]).await?;
        }
        Ok(walked)
    }

    /// Those of these objects that are packs of which the index has no row.
    async fn unknown(&self, page: Vec<Listed>, walked: &mut Walked) -> Result<Vec<(PackRef, Listed)>, RebuildError> {
        let mut named = Vec::new();
        for listed in page {
            match listed.pack.clone() {
                None => walked.foreign += 1,
                Some((camera, id)) if self.store.is_foreign(&camera, id) => {}
                Some((camera, id)) => named.push((PackRef { id, camera, state: PackState::Stored }, listed)),
            }
        }
        let ids = named.iter().map(|(pack, _)| pack.id).collect();
        let known = self.index.known_packs(ids).await?;
        named.retain(|(pack, _)| !known.contains(&pack.id));
        Ok(named)
    }

    async fn enter(
        &self,
        pack: PackRef,
        listed: Listed,
        read: Read,
        walked: &mut Walked,
        ends: &mut HashMap<RunId, WallTime>,
        refers: &mut Vec<Change>,
    ) -> Result<(), RebuildError> {
        match read {
            Read::Pack { mut changes, refers: places, end, .. } => {
                changes.insert(0, Change::KnowCamera(unknown_camera(&pack.camera)));
                if self.tolerant(changes).await? {
                    walked.adopted += 1;
                    refers.extend(places.map(|places| *places));
                    let last = ends.entry(end.run).or_insert(end.end);
                    *last = (*last).max(end.end);
                }
            }
            Read::Nothing | Read::Foreign => {}
            Read::Unreadable(unreadable) => {
                let begun = pack.id.created();
                if deadline(begun, self.maximum(&pack.camera).await?, &self.zone) > self.clock.wall() {
                    walked.unreadable += 1;
                    warn!(object = %unreadable.what, why = %unreadable.why, "a pack in the store is in no index and cannot be read");
                } else if self.tolerant(bare(&pack, begun, listed.bytes)).await? {
                    walked.due += 1;
                }
            }
        }
        Ok(())
    }

    async fn maximum(&self, camera: &CameraKey) -> Result<Ticks90k, IndexError> {
        let known = self.index.all_cameras().await?.into_iter().find(|row| row.key == *camera);
        Ok(known.map_or_else(|| unknown_camera(camera).retention_max, |row| row.retention_max))
    }

    /// Writes what a pack says; one that the index refuses is left out, with a line.
    async fn tolerant(&self, changes: Vec<Change>) -> Result<bool, IndexError> {
        match self.index.write(changes).await {
            Ok(()) => Ok(true),
            Err(error @ (IndexError::Refused(_) | IndexError::Unknown(_))) => {
                warn!(%error, "the index refuses a pack of the store");
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

/// A camera that only its packs tell of: the law's maximum, and no name.
pub fn unknown_camera(camera: &CameraKey) -> CameraRow {
    let retention = Retention::default();
    CameraRow {
        key: camera.clone(),
        name: camera.camera.to_string(),
        place: String::new(),
        configured: false,
        retention_max: Ticks90k::from_duration(retention.max),
        retention_min: Ticks90k::from_duration(retention.min),
    }
}

/// A row without footage, for retention.
fn bare(pack: &PackRef, begun: WallTime, bytes: u64) -> Vec<Change> {
    let run = RunId(pack.id.0);
    let row = PackRow {
        id: pack.id,
        camera: pack.camera.clone(),
        run,
        state: PackState::Open,
        bytes,
        start: begun,
        end: begun,
        condemned_at: None,
    };
    vec![
        Change::KnowCamera(unknown_camera(&pack.camera)),
        Change::BeginRun { camera: pack.camera.clone(), run, start: begun },
        Change::OpenPack(row),
        Change::EndRun { run, end: begun },
        Change::SealPack { pack: pack.id, bytes },
        Change::PackStored { pack: pack.id },
    ]
}
