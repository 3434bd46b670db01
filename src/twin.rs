//! Redundant recording: several gateways record the same cameras into one store, each with an index and a spool of its own.
//!
//! They share nothing but the store. Each looks through it for packs that others wrote, whose names sort by time, and
//! adopts them: rows as `rebuild` makes them, from the packs' tables alone. So each knows all that is stored.
//!
//! Invariants: nothing is adopted that cannot be read whole as this camera's footage; what is adopted is never
//! written to. Who wrote a pack is the last byte of its id.
//! Absent on purpose: messages between gateways, elections, leases.
//! Bounds: [`UNREADABLE_MAX`] packs remembered as unreadable; the names of one day of one camera in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::clock::Clock;
use crate::index::{Change, Index, IndexError, PackState};
use crate::packs::{PackRef, Packs, ReadError};
use crate::spool::recover::changes_of;
use crate::spool::segments::{places_told, rows_of};
use crate::store::{Listed, Store};
use crate::units::{CameraKey, PackId, TICKS_PER_SECOND, Ticks90k, WallTime};

/// Cameras looked after at a time, and packs of one adopted at a time.
const CAMERAS_AT_ONCE: usize = 8;
const ADOPTIONS_AT_ONCE: usize = 8;
/// Packs that could not be read and are not tried again while they stay as they are; of more, the rest is tried with
/// each look.
const UNREADABLE_MAX: usize = 4_096;
/// Every so many looks a day is looked through, and everything: packs that a gateway stored late have names of the
/// time they were filmed.
const LOOKS_TO_A_DAY: u64 = 10;
const LOOKS_TO_ALL: u64 = 120;
/// Otherwise this much, and what a gateway may wait before it stores a pack.
const RECENT: Duration = Duration::from_secs(20 * 60);
const DAY: Ticks90k = Ticks90k(86_400 * TICKS_PER_SECOND);
/// Another gateway's clock may be ahead by so much.
const AHEAD_MAX: Ticks90k = Ticks90k(3_600 * TICKS_PER_SECOND);

/// Why a look was not finished. The next one tries again.
#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store could not be listed.
    #[error("the store could not be looked through: {0}")]
    Store(#[from] object_store::Error),
    /// The store did not hand over a pack.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// How far back a look goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What may have come since the look before.
    Recent,
    /// A day.
    Day,
    /// All that there is.
    All,
}

/// One gateway's part; cheap to clone.
#[derive(Clone, Debug)]
pub struct Twin(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    index: Index,
    store: Store,
    packs: Packs,
    clock: Arc<dyn Clock>,
    /// Those whose stores are shared.
    cameras: Vec<CameraKey>,
    /// Packs that are not adopted, with the size that they had.
    left_out: Mutex<HashMap<PackId, u64>>,
}

impl Twin {
    /// For those of these cameras whose stores are shared.
    pub fn new(
        index: Index,
        store: Store,
        packs: Packs,
        clock: Arc<dyn Clock>,
        cameras: impl IntoIterator<Item = CameraKey>,
    ) -> Self {
        let cameras = cameras.into_iter().filter(|camera| store.shared(camera).is_some()).collect();
        Self(Arc::new(Inner { index, store, packs, clock, cameras, left_out: Mutex::default() }))
    }

    /// Looks at the interval of the configuration until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let looks = self.0.cameras.iter().filter_map(|camera| self.0.store.shared(camera)).map(|shared| shared.look);
        let Some(interval) = looks.min() else { return };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let rounds = async {
            let mut owed = Depth::All;
            for round in 0u64.. {
                ticks.tick().await;
                let depth = match round {
                    _ if round % LOOKS_TO_ALL == 0 => Depth::All,
                    _ if round % LOOKS_TO_A_DAY == 0 && owed != Depth::All => Depth::Day,
                    _ => owed,
                };
                // What failed is owed to the next round.
                owed = if self.look_at_all(depth).await { Depth::Recent } else { depth };
            }
        };
        stop.run_until_cancelled(rounds).await;
    }

    /// One look at every camera. False when one of them failed.
    pub async fn look_at_all(&self, depth: Depth) -> bool {
        let looks = self.0.cameras.iter().map(|camera| async move {
            let looked = self.look(camera, depth).await;
            looked.inspect_err(|error| warn!(%camera, %error, "others' footage is not known")).is_ok()
        });
        let looks: Vec<_> = looks.collect();
        stream::iter(looks).buffer_unordered(CAMERAS_AT_ONCE).fold(true, |all, good| async move { all && good }).await
    }

    /// Adopts what others stored of a camera and this index does not know. Gives how many packs that is.
    pub async fn look(&self, camera: &CameraKey, depth: Depth) -> Result<usize, TwinError> {
        let Some(shared) = self.0.store.shared(camera) else { return Ok(0) };
        let now = self.0.clock.wall();
        let recent = Ticks90k::from_duration(RECENT + shared.wait * (u32::from(shared.rank) + 2));
        let days = match depth {
            Depth::Recent => days_since(now.saturating_sub(recent), now),
            Depth::Day => days_since(now.saturating_sub(DAY), now),
            Depth::All => self.0.store.days(camera).await?,
        };
        let mut adopted = 0;
        for day in days {
            adopted += self.adopt_day(camera, day).await?;
        }
        Ok(adopted)
    }

    /// Adopts what is after this id and of the same day.
    async fn adopt_day(&self, camera: &CameraKey, after: PackId) -> Result<usize, TwinError> {
        let mut foreign: HashMap<PackId, Listed> = HashMap::new();
        for listed in self.0.store.list_day(camera, after).await? {
            let pack = listed.pack.as_ref().filter(|(of, pack)| of == camera && self.0.store.is_foreign(camera, *pack));
            if let Some((_, pack)) = pack.filter(|(_, pack)| !self.is_left_out(*pack, listed.bytes)) {
                foreign.insert(*pack, listed.clone());
            }
        }
        let mut unknown = self.0.index.unknown_packs(foreign.keys().copied().collect()).await?;
        // In order: what refers to another pack began after it.
        unknown.sort();
        let adoptions =
            unknown.into_iter().filter_map(|pack| foreign.remove(&pack)).map(|listed| self.read(camera, listed));
        let adoptions: Vec<_> = adoptions.collect();
        let mut read = stream::iter(adoptions).buffered(ADOPTIONS_AT_ONCE);
        let mut adopted = 0;
        while let Some(changes) = read.try_next().await? {
            let Some((pack, bytes, changes)) = changes else { continue };
            match self.0.index.write(changes).await {
                Ok(()) => adopted += 1,
                Err(error @ (IndexError::Refused(_) | IndexError::Unknown(_))) => {
                    self.leave_out(camera, pack, bytes, &error).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if adopted > 0 {
            debug!(%camera, adopted, "took in what another gateway stored");
        }
        Ok(adopted)
    }

    /// What the index shall hear of a pack; nothing when it is gone, or is no footage of the camera's timeline.
    async fn read(&self, camera: &CameraKey, listed: Listed) -> Result<Option<(PackId, u64, Vec<Change>)>, TwinError> {
        let Some((_, id)) = listed.pack else { return Ok(None) };
        let pack = PackRef { id, camera: camera.clone(), state: PackState::Stored };
        let table = match self.0.packs.table_for_once(&pack, listed.bytes).await {
            Ok(table) => table,
            // Deleted, or written anew, since it was listed: the next look tells.
            Err(ReadError::NotFound(_) | ReadError::WrittenAnew(_)) => return Ok(None),
            Err(error @ ReadError::Pack(_)) => {
                self.leave_out(camera, id, listed.bytes, &error).await?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        // Who placed a hold keeps it.
        let Some(rows) = rows_of(&table, listed.bytes).filter(|_| table.header.hold.is_none()) else {
            self.remember(id, listed.bytes);
            return Ok(None);
        };
        let mut changes = changes_of(&rows);
        changes.extend(places_told(&table, listed.bytes));
        changes.push(Change::SealPack { pack: id, bytes: listed.bytes });
        changes.push(Change::PackStored { pack: id });
        changes.push(Change::EndRun { run: rows.pack.run, end: rows.pack.end });
        Ok(Some((id, listed.bytes, changes)))
    }

    fn is_left_out(&self, pack: PackId, bytes: u64) -> bool {
        self.0.left_out.lock().unwrap_or_else(PoisonError::into_inner).get(&pack) == Some(&bytes)
    }

    fn remember(&self, pack: PackId, bytes: u64) -> bool {
        let mut left_out = self.0.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        if left_out.len() >= UNREADABLE_MAX {
            return false;
        }
        left_out.insert(pack, bytes) != Some(bytes)
    }

    /// It is told once, in the log and as an event.
    async fn leave_out(
        &self,
        camera: &CameraKey,
        pack: PackId,
        bytes: u64,
        why: &(dyn std::error::Error + Sync),
    ) -> Result<(), TwinError> {
        if !self.remember(pack, bytes) {
            return Ok(());
        }
        error!(%camera, %pack, error = %why, "a pack that another gateway stored is not usable");
        let detail = format!("pack {pack}, which another gateway stored, is not usable and not counted on: {why}");
        let (tenant, of) = (Some(camera.tenant.clone()), Some(camera.clone()));
        let event =
            Change::Event { at: self.0.clock.wall(), tenant, camera: of, kind: "foreign_pack_unusable", detail };
        Ok(self.0.index.write(vec![event]).await?)
    }
}

/// The least ids from this instant on, one for each day (UTC).
fn days_since(from: WallTime, now: WallTime) -> Vec<PackId> {
    let mut days = vec![from];
    let mut midnight = WallTime((from.0.div_euclid(DAY.0) + 1) * DAY.0);
    while midnight <= now.saturating_add(AHEAD_MAX) {
        days.push(midnight);
        midnight = midnight.saturating_add(DAY);
    }
    days.into_iter().map(PackId::least_at).collect()
}
