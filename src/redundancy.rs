//! Redundant recording: several gateways record the same cameras into one store, each with an index and a spool of its own.
//!
//! They share nothing but the store. Each looks through it for packs that others wrote, whose names sort by time, and
//! adopts them: rows as `rebuild` makes them, from the packs' tables alone. So each knows all that is stored, and a pack
//! that waits its turn ([`crate::spool`]) is compared with that: what others stored is not stored again.
//!
//! Invariants: nothing is adopted that is not this camera's footage by its own table; what is adopted is never
//! written to. A pack is dropped only when each of its fragments lies in adopted packs. Who wrote a pack is the last byte of its id.
//! Absent on purpose: messages between gateways, elections, leases.
//! Bounds: [`UNREADABLE_MAX`] packs remembered as unreadable, [`WAITING_MAX`] waiting packs compared in a look; the names
//! of one day of one camera in memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::archive::{Archive, PackRef, ReadError};
use crate::config::SharedStore;
use crate::event::words::Language;
use crate::event::{Event, Fact};
use crate::index::of_pack::{changes_of, place_changes, rows_of};
use crate::index::{Change, Index, IndexError, PackRow, PackState};
use crate::spool::{Spool, SpoolError};
use crate::store::{Listed, Store, request_kind};
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::pack::writer::PackWriter;
use footage::pack::{PackHeader, PackTable};
use footage::units::{CameraKey, PackId, TICKS_PER_DAY, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

mod cover;

use cover::{Stored, missing};

/// Cameras looked after at a time, and packs of one adopted at a time.
const CAMERAS_AT_ONCE: usize = 8;
const ADOPTIONS_AT_ONCE: usize = 8;
/// Packs that could not be read and are not tried again while they stay as they are; of more, the rest is tried with
/// each look.
const UNREADABLE_MAX: usize = 4_096;
/// Packs that wait their turn, compared in one look: the oldest.
const WAITING_MAX: u32 = 256;
/// What others stored is compared with a pack when it lies within this of it: more than clocks differ.
const AROUND: Ticks90k = Ticks90k(60 * TICKS_PER_SECOND);
/// No pack is longer.
const PACK_MAX: Ticks90k = Ticks90k(2 * 3_600 * TICKS_PER_SECOND);
/// Every so many looks a day is looked through, and everything: packs that a gateway stored late have names of the
/// time they were filmed.
const LOOKS_TO_A_DAY: u64 = 10;
const LOOKS_TO_ALL: u64 = 120;
/// Otherwise this much, and what a gateway may wait before it stores a pack.
const RECENT: Duration = Duration::from_secs(20 * 60);
const DAY: Ticks90k = Ticks90k(TICKS_PER_DAY);
/// Another gateway's clock may be ahead by so much.
const AHEAD_MAX: Ticks90k = Ticks90k(3_600 * TICKS_PER_SECOND);

/// Why a look was not finished. The next one tries again.
#[derive(Debug, thiserror::Error)]
pub enum RedundancyError {
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store could not be listed.
    #[error("the store could not be looked through: {0}")]
    Store(#[from] object_store::Error),
    /// The store did not hand over a pack, or the spool one that waits.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is left of a pack could not be put in its place.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl Failure for RedundancyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Index(error) => error.kind(),
            Self::Store(error) => request_kind(error),
            Self::Read(error) => error.kind(),
            Self::Spool(error) => error.kind(),
        }
    }
}

/// What a look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// Packs of others that this index did not know.
    pub adopted: usize,
    /// Of these, packs that were stored long after they were filmed: somebody works off a backlog.
    pub late: usize,
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
pub struct Redundancy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    index: Index,
    spool: Spool,
    store: Store,
    packs: Archive,
    keys: Keys,
    clock: Arc<dyn Clock>,
    /// Since when the others had every chance to store what they have: the start, the last look that failed, the last
    /// that found late packs.
    patient_since: Mutex<HashMap<CameraKey, WallTime>>,
    /// Those whose stores are shared.
    cameras: Vec<CameraKey>,
    /// Packs that are not adopted, with the size that they had.
    left_out: Mutex<HashMap<PackId, u64>>,
    /// Packs that refer to packs that are not known: another look may know them. Bounded as `left_out`.
    postponed: Mutex<HashSet<PackId>>,
    /// All that there is was looked through since the start.
    polled: AtomicBool,
    /// Whose alarms were raised since the start.
    alarmed: Mutex<HashSet<(CameraKey, &'static str)>>,
}

impl Redundancy {
    /// For those of these cameras whose stores are shared.
    pub fn new(
        index: Index,
        spool: Spool,
        store: Store,
        packs: Archive,
        keys: Keys,
        clock: Arc<dyn Clock>,
        cameras: impl IntoIterator<Item = CameraKey>,
    ) -> Self {
        let cameras: Vec<CameraKey> = cameras.into_iter().filter(|camera| store.shared(camera).is_some()).collect();
        let now = clock.wall();
        let patient_since = Mutex::new(cameras.iter().map(|camera| (camera.clone(), now)).collect());
        Self(Arc::new(Inner {
            index,
            spool,
            store,
            packs,
            keys,
            clock,
            patient_since,
            cameras,
            left_out: Mutex::default(),
            postponed: Mutex::default(),
            polled: AtomicBool::new(false),
            alarmed: Mutex::default(),
        }))
    }

    /// Whether this pack may be deleted as far as others go. One that another gateway wrote may hold bytes of others that
    /// it wrote: these have to be known.
    pub fn may_delete(&self, camera: &CameraKey, pack: PackId) -> bool {
        !self.0.store.is_foreign(camera, pack) || self.0.polled.load(Ordering::Relaxed)
    }

    /// Looks at the interval of the configuration until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let polls = self.0.cameras.iter().filter_map(|camera| self.0.store.shared(camera)).map(|shared| shared.poll);
        let Some(interval) = polls.min() else { return };
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
                owed = if self.poll_all(depth).await { Depth::Recent } else { depth };
            }
        };
        stop.run_until_cancelled(rounds).await;
    }

    /// One look at every camera. False when one of them failed.
    pub async fn poll_all(&self, depth: Depth) -> bool {
        let mut good = self.look_once(depth).await;
        if good && !self.0.postponed.lock().is_empty() {
            good = self.look_once(depth).await;
        }
        if good && depth == Depth::All {
            self.0.polled.store(true, Ordering::Relaxed);
        }
        good
    }

    async fn look_once(&self, depth: Depth) -> bool {
        let polls = self.0.cameras.iter().map(|camera| async move {
            let polled = self.poll(camera, depth).await;
            polled.inspect_err(|error| warn!(%camera, %error, "others' footage is not known")).is_ok()
        });
        let polls: Vec<_> = polls.collect();
        stream::iter(polls).buffer_unordered(CAMERAS_AT_ONCE).fold(true, |all, good| async move { all && good }).await
    }

    /// Adopts what others stored of a camera and this index does not know; then what waits its turn is compared with all
    /// that they stored.
    pub async fn poll(&self, camera: &CameraKey, depth: Depth) -> Result<Polled, RedundancyError> {
        let Some(shared) = self.0.store.shared(camera).copied() else { return Ok(Polled::default()) };
        let began = self.0.clock.wall();
        let waiting = self.0.index.sealed_packs(camera, WAITING_MAX).await?;
        let polled = self.look_through(camera, depth, &shared, waiting.first()).await;
        if polled.as_ref().map_or(true, |polled| polled.late > 0) {
            let mut patient_since = self.0.patient_since.lock();
            patient_since.insert(camera.clone(), began);
        }
        let polled = polled?;
        self.settle(camera, &shared, began, waiting).await?;
        Ok(polled)
    }

    async fn look_through(
        &self,
        camera: &CameraKey,
        depth: Depth,
        shared: &SharedStore,
        oldest: Option<&PackRow>,
    ) -> Result<Polled, RedundancyError> {
        let now = self.0.clock.wall();
        let recent = Ticks90k::from_duration(RECENT + shared.wait * (u32::from(shared.rank) + 2));
        // A pack of a backlog is compared with what was stored of its time, whenever that was.
        let around = oldest.map_or(now, |pack| pack.start.saturating_sub(PACK_MAX));
        let days = match depth {
            Depth::Recent => days_since(around.min(now.saturating_sub(recent)), now),
            Depth::Day => days_since(around.min(now.saturating_sub(DAY)), now),
            Depth::All => self.0.store.days(camera).await?,
        };
        let late = now.saturating_sub(Ticks90k::from_duration(shared.wait * 2));
        let mut polled = Polled::default();
        for day in days {
            if depth == Depth::All {
                self.forget_gone(camera, shared, day).await?;
            }
            let Polled { adopted, late } = self.adopt_day(camera, day, late).await?;
            polled = Polled { adopted: polled.adopted + adopted, late: polled.late + late };
        }
        Ok(polled)
    }

    /// Adopts what is after this id and of the same day.
    async fn adopt_day(&self, camera: &CameraKey, after: PackId, late: WallTime) -> Result<Polled, RedundancyError> {
        let (mut foreign, mut own) = (HashMap::new(), Vec::new());
        for listed in self.0.store.list_day(camera, after).await? {
            match listed.pack {
                Some((_, pack)) if !self.0.store.is_foreign(camera, pack) => own.push(pack),
                Some((_, pack)) if !self.is_left_out(pack, listed.bytes) => {
                    foreign.insert(pack, listed);
                }
                _ => {}
            }
        }
        self.check_rank(camera, own).await?;
        let mut unknown = self.0.index.unknown_packs(foreign.keys().copied().collect()).await?;
        // In order: what refers to another pack began after it.
        unknown.sort();
        let adoptions =
            unknown.into_iter().filter_map(|pack| foreign.remove(&pack)).map(|listed| self.read(camera, listed));
        let adoptions: Vec<_> = adoptions.collect();
        let mut read = stream::iter(adoptions).buffered(ADOPTIONS_AT_ONCE);
        let mut polled = Polled::default();
        while let Some(changes) = read.try_next().await? {
            let Some((pack, bytes, changes)) = changes else { continue };
            match self.0.index.write(changes).await {
                Ok(()) => {
                    polled.adopted += 1;
                    polled.late += usize::from(pack.created() < late);
                }
                Err(error @ (IndexError::Refused(_) | IndexError::Unknown(_))) => {
                    self.leave_out(camera, pack, bytes, &error).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if polled.adopted > 0 {
            debug!(%camera, adopted = polled.adopted, late = polled.late, "took in what another gateway stored");
        }
        Ok(polled)
    }

    /// Drops, cuts down or sends what waits its turn.
    async fn settle(
        &self,
        camera: &CameraKey,
        shared: &SharedStore,
        looked_at: WallTime,
        waiting: Vec<PackRow>,
    ) -> Result<(), RedundancyError> {
        let patient_since = {
            let patient_since = self.0.patient_since.lock();
            patient_since.get(camera).copied().unwrap_or(looked_at)
        };
        let patience = Ticks90k::from_duration(shared.wait * u32::from(shared.rank));
        let mut free = Vec::new();
        for row in waiting.into_iter().filter(|row| self.0.spool.waits_its_turn(camera, row.id, row.end)) {
            let is_over = looked_at >= row.end.max(patient_since).saturating_add(patience);
            if self.settle_one(&row, shared, is_over).await? {
                free.push(row.id);
            }
        }
        self.0.spool.free_to_go(camera, free);
        Ok(())
    }

    /// True when the pack is to be sent as it is.
    async fn settle_one(&self, row: &PackRow, shared: &SharedStore, is_over: bool) -> Result<bool, RedundancyError> {
        let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
        let table = match self.0.packs.table(&pack).await {
            Ok(table) => table,
            Err(error) => {
                warn!(camera = %row.camera, pack = %row.id, %error, "a pack that waits cannot be compared");
                return Ok(is_over);
            }
        };
        if table.header.hold.is_some() {
            return Ok(true);
        }
        let around = TimeRange::new(row.start.saturating_sub(AROUND), row.end.saturating_add(AROUND));
        let foreign = match around {
            Some(around) => self.0.index.foreign_packs(&row.camera, shared.rank, around, PACK_MAX).await?,
            None => Vec::new(),
        };
        if foreign.is_empty() {
            return Ok(is_over);
        }
        let mut tables = Vec::with_capacity(foreign.len());
        for PackRow { id, camera, state, .. } in foreign {
            match self.0.packs.table(&PackRef { id, camera, state }).await {
                Ok(table) => tables.push(table),
                // Gone, or no longer what it was: nothing to count on.
                Err(error @ (ReadError::NotFound(_) | ReadError::Pack(_))) => {
                    warn!(camera = %row.camera, pack = %id, %error, "what another gateway stored cannot be read");
                }
                Err(error) => return Err(error.into()),
            }
        }
        let stored = Stored::new(&tables);
        if is_over && stored.is_strange_to(&table) {
            self.alarm(&row.camera, Fact::NothingInCommon).await?;
        }
        let missing = missing(&table, &stored, self.goes_on(row).await?);
        if missing.is_empty() {
            let left = self.0.spool.leave_to_others(row).await;
            return match left {
                Ok(()) => {
                    debug!(camera = %row.camera, pack = %row.id, "a pack is not stored: others have all of it");
                    Ok(false)
                }
                // Bytes of other packs lie in it: it goes when they went.
                Err(SpoolError::Index(IndexError::Refused(_))) => Ok(is_over),
                Err(error) => Err(error.into()),
            };
        }
        if !is_over || missing.iter().map(ExactSizeIterator::len).sum::<usize>() == table.fragments.len() {
            return Ok(is_over);
        }
        self.cut_down(row, &table, &missing).await
    }

    /// Whether this gateway has footage that follows the pack without a break.
    async fn goes_on(&self, row: &PackRow) -> Result<bool, IndexError> {
        let Some(then) = TimeRange::new(row.end, row.end.saturating_add(Ticks90k(1))) else { return Ok(false) };
        let segments = self.0.index.segments(&row.camera, then).await?;
        let follows = |pack: PackId| pack != row.id && !self.0.store.is_foreign(&row.camera, pack);
        Ok(segments.iter().any(|segment| segment.range.start() == row.end && follows(segment.pack)))
    }

    /// Only these groups are stored. True when the pack is to be sent as it is.
    async fn cut_down(
        &self,
        row: &PackRow,
        table: &PackTable,
        groups: &[std::ops::Range<usize>],
    ) -> Result<bool, RedundancyError> {
        let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
        let id = part_id(row.id);
        let header = PackHeader { pack: id, ..table.header.clone() };
        let draft = self.0.spool.draft_path(&row.camera, id)?;
        let key = self.0.keys.domain(&row.camera.tenant);
        // A shared store is not encrypted.
        let (path, writer_key) = (draft.clone(), key.clone());
        let create = move || PackWriter::create(&path, header, writer_key);
        let part = match self.0.packs.write_groups(&pack, table, groups, &key, &draft, create).await {
            Ok(part) => part,
            Err((error, _)) => {
                warn!(camera = %row.camera, pack = %row.id, %error, "a pack is stored whole: it could not be cut down");
                return Ok(true);
            }
        };
        let fragments = part.fragments.len();
        match self.0.spool.replace_by_part(row, &part, draft).await {
            Ok(()) => {
                let of = table.fragments.len();
                debug!(camera = %row.camera, pack = %row.id, part = %id, fragments, of, "others have the rest of a pack");
                Ok(false)
            }
            Err(SpoolError::Index(IndexError::Refused(_))) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Packs that name this gateway and that its index does not know are another's of the same rank, or were left by an
    /// index that is lost.
    async fn check_rank(&self, camera: &CameraKey, own: Vec<PackId>) -> Result<(), RedundancyError> {
        for pack in self.0.index.unknown_packs(own).await? {
            // It may have been deleted since it was listed.
            if self.0.store.pack_bytes(camera, pack).await?.is_some() {
                return self.alarm(camera, Fact::SameRank { pack }).await;
            }
        }
        Ok(())
    }

    /// An error in the log and an event, once for a camera.
    async fn alarm(&self, camera: &CameraKey, fact: Fact) -> Result<(), RedundancyError> {
        if !self.0.alarmed.lock().insert((camera.clone(), fact.kind())) {
            return Ok(());
        }
        error!(%camera, "{}", fact.words(Language::English));
        let event = Change::Event(Event::of_camera(self.0.clock.wall(), camera, fact));
        Ok(self.0.index.write(vec![event]).await?)
    }

    /// Forgets what others wrote on this day and what is no longer there.
    async fn forget_gone(&self, camera: &CameraKey, shared: &SharedStore, day: PackId) -> Result<(), RedundancyError> {
        let known = self.0.index.foreign_packs_of_day(camera, shared.rank, day).await?;
        if known.is_empty() {
            return Ok(());
        }
        let listed = self.0.store.list_day(camera, day).await?;
        let there: HashSet<PackId> = listed.into_iter().filter_map(|listed| Some(listed.pack?.1)).collect();
        for pack in known.into_iter().filter(|pack| !there.contains(pack)) {
            if self.0.store.pack_bytes(camera, pack).await?.is_some() {
                continue;
            }
            warn!(%camera, %pack, "what another gateway stored is gone");
            let gone = Fact::ForeignPackGone { pack };
            let event = Change::Event(Event::of_camera(self.0.clock.wall(), camera, gone));
            self.0.index.write(vec![Change::Forget { pack }, event]).await?;
            self.0.packs.forget_table(pack).await;
        }
        Ok(())
    }

    /// What the index shall hear of a pack; nothing when it is gone, or is no footage of the camera's timeline.
    async fn read(
        &self,
        camera: &CameraKey,
        listed: Listed,
    ) -> Result<Option<(PackId, u64, Vec<Change>)>, RedundancyError> {
        let Some((_, id)) = listed.pack else { return Ok(None) };
        let pack = PackRef { id, camera: camera.clone(), state: PackState::Stored };
        let table = match self.0.packs.table_for_once(&pack, listed.bytes).await {
            Ok(table) => table,
            // Deleted, or rewritten, since it was listed: the next look tells.
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
        if table.is_reference() && self.postpone(&table).await? {
            return Ok(None);
        }
        let mut changes = changes_of(&rows);
        changes.extend(place_changes(&table, listed.bytes));
        changes.push(Change::SealPack { pack: id, bytes: listed.bytes });
        changes.push(Change::PackStored { pack: id });
        changes.push(Change::EndRun { run: rows.pack.run, end: rows.pack.end });
        Ok(Some((id, listed.bytes, changes)))
    }

    /// True the first time that a pack refers to packs that are not known: the index would leave these out.
    async fn postpone(&self, table: &PackTable) -> Result<bool, RedundancyError> {
        let hosts = table.hosts().iter().map(|host| host.pack).collect();
        let knows_all = self.0.index.unknown_packs(hosts).await?.is_empty();
        let mut postponed = self.0.postponed.lock();
        let seen = postponed.remove(&table.header.pack);
        Ok(!knows_all && !seen && postponed.len() < UNREADABLE_MAX && postponed.insert(table.header.pack))
    }

    fn is_left_out(&self, pack: PackId, bytes: u64) -> bool {
        self.0.left_out.lock().get(&pack) == Some(&bytes)
    }

    fn remember(&self, pack: PackId, bytes: u64) -> bool {
        let mut left_out = self.0.left_out.lock();
        if left_out.len() >= UNREADABLE_MAX {
            return false;
        }
        left_out.insert(pack, bytes) != Some(bytes)
    }

    /// It is reported once, in the log and as an event.
    async fn leave_out(
        &self,
        camera: &CameraKey,
        pack: PackId,
        bytes: u64,
        why: &(dyn std::error::Error + Sync),
    ) -> Result<(), RedundancyError> {
        if !self.remember(pack, bytes) {
            return Ok(());
        }
        error!(%camera, %pack, error = %why, "a pack that another gateway stored is not usable");
        let unusable = Fact::ForeignPackUnusable { pack };
        let event = Change::Event(Event::of_camera(self.0.clock.wall(), camera, unusable));
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

/// The id of what is stored of a pack: at its time, by its writer, and the same however often it is made.
fn part_id(pack: PackId) -> PackId {
    let mut id = pack;
    let hash = blake3::Hasher::new_derive_key("vigie 2026 part of a pack that others lack").update(&pack.0).finalize();
    id.0[6..15].copy_from_slice(&hash.as_bytes()[..9]);
    id
}
