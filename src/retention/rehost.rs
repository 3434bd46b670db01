//! Before a pack goes in which bytes of others lie: they get them.
//!
//! The pack that stays longest of those that refer to it is rewritten with the bytes that it needs, and the others
//! refer to that one. So bytes are held only by packs that may have them, and what nobody refers to goes with the host.
//!
//! ```text
//! claim the new hosts in the index → put the new file in the old one's place → … → tell the index that none refers to it
//! ```
//!
//! Invariant: at each step, whatever is cut off, every pack that may be read has all of its bytes. Everything here may be
//! done twice.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use tracing::{error, info};

use super::{deadline, max_of};
use crate::archive::rewrite::Mending;
use crate::archive::{Archive, PackRef, ReadError};
use crate::index::of_pack::{claim, place_changes};
use crate::index::{Change, Index, IndexError, PackRow, PackState};
use crate::spool::{Spool, SpoolError};
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::pack::PackTable;
use footage::pack::reference::{Host, Place};
use footage::units::{FragmentId, WallTime};

/// Why a pack cannot go yet. It is tried again with the next sweep.
#[derive(Debug, thiserror::Error)]
pub enum RehostError {
    /// The index failed, or what was to hold the bytes is going itself.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Bytes could not be read or written.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The new file could not be put in its place.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A pack that refers to it is being sealed.
    #[error("pack {0} is not whole yet")]
    Growing(footage::units::PackId),
}

impl Failure for RehostError {
    fn kind(&self) -> Kind {
        match self {
            Self::Index(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::Spool(error) => error.kind(),
            Self::Growing(_) => Kind::Retry,
        }
    }
}

/// Gives their bytes to packs whose host goes.
#[derive(Clone, Debug)]
pub struct Rehoster {
    index: Index,
    spool: Spool,
    packs: Archive,
    keys: Keys,
    time_zone: TimeZone,
    /// One host at a time: two may have a referrer in common.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Rehoster {
    /// For these packs. The zone says how long a month is.
    pub fn new(index: Index, spool: Spool, packs: Archive, keys: Keys, time_zone: TimeZone) -> Self {
        Self { index, spool, packs, keys, time_zone, turn: Arc::default() }
    }

    /// Afterwards no pack that somebody may read refers to this one, which is condemned. Of those that are condemned
    /// themselves, readers that began before and holds that come still need the bytes, until they are deleting.
    ///
    /// # Errors
    /// When it has to stay for now. Bytes that are damaged beyond use are no reason: they are lost to the packs that refer to
    /// them, which the log and `fsck` report.
    pub async fn rehost(&self, host: &PackRef) -> Result<(), RehostError> {
        footage::platform::turn().await;
        let _turn = self.turn.lock().await;
        let mut referrers = Vec::new();
        for row in self.index.referrers(host.id).await? {
            if row.state == PackState::Open {
                return Err(RehostError::Growing(row.id));
            }
            referrers.push((self.deadline(&row).await?, row));
        }
        // Bytes of others lie in none that is condemned.
        let goes = |row: &PackRow| row.state == PackState::Condemned;
        referrers.sort_by_key(|(until, row)| (goes(row), std::cmp::Reverse(*until), row.id));
        // Where fragments lie from now on.
        let mut held: HashMap<FragmentId, Place> = HashMap::new();
        let mut freed = Vec::new();
        for (_, row) in referrers {
            match self.free(host, &row, &mut held).await {
                Ok(()) => freed.push(row.id),
                Err(RehostError::Read(error @ (ReadError::Pack(_) | ReadError::NotFound(_)))) => {
                    error!(%error, pack = %row.id, camera = %row.camera, host = %host.id,
                        "footage is lost: what it refers to is damaged");
                }
                Err(e) => return Err(e),
            }
        }
        if freed.is_empty() {
            return Ok(());
        }
        // All at once: cut off before, the next attempt finds each of them again, and what it holds already.
        Ok(self.index.write(vec![Change::Freed { host: host.id, referrers: freed }]).await?)
    }

    async fn deadline(&self, row: &PackRow) -> Result<WallTime, IndexError> {
        let camera = self.index.camera(&row.camera).await?;
        let max = camera.as_ref().map_or(super::MAX_DEFAULT, max_of);
        Ok(deadline(row.start, max, &self.time_zone))
    }

    /// Takes the host out of one pack's places.
    async fn free(
        &self,
        host: &PackRef,
        row: &PackRow,
        held: &mut HashMap<FragmentId, Place>,
    ) -> Result<(), RehostError> {
        let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
        // The scrub may be mending it. One that is being sent is refused by the spool instead: that may take long.
        let _busy = match row.state {
            PackState::Stored => Some(self.spool.lock_pack(row.id).await),
            _ => None,
        };
        // What is known may be older than the file.
        self.packs.forget_table(pack.id).await;
        let table = self.packs.table(&pack).await?;
        let now = without(&table, host, held);
        let bytes = match *table == now {
            true => self.packs.file_bytes(&pack).await?,
            false => self.write(&pack, &table, &now).await?,
        };
        // What it holds now others may claim. The index keeps the host, and any other that goes, until all of its
        // referrers are done: the next attempt finds this pack again.
        self.index.write(place_changes(&now, bytes)).await?;
        // The index lets no bytes of others lie in a pack that goes, or of which something is lost.
        if row.state != PackState::Condemned && self.index.lost(pack.id).await?.is_empty() {
            let own = Arc::new(Host { pack: pack.id, camera: pack.camera });
            for (number, entry) in now.fragments.iter().enumerate().filter(|(_, entry)| entry.place.is_none()) {
                held.entry(entry.id).or_insert_with(|| Place { host: own.clone(), fragment: number as u32 });
            }
        }
        Ok(())
    }

    async fn write(&self, pack: &PackRef, before: &PackTable, now: &PackTable) -> Result<u64, RehostError> {
        self.index.write(vec![Change::Claim(claim(before, now))]).await?;
        let draft = self.spool.draft_path(&pack.camera, pack.id)?;
        let key = self.keys.domain(&pack.camera.tenant);
        // What is known to be lost is no reason to lose the rest.
        let as_they_are = self.index.lost(pack.id).await?.into_iter().flatten().collect();
        let mending = Mending { as_they_are, ..Mending::default() };
        let bytes = self.packs.write_mended(pack, now, &mending, &key, &draft).await?;
        self.spool.replace(&pack.camera, pack.id, &draft).await?;
        self.packs.forget_table(pack.id).await;
        info!(pack = %pack.id, camera = %pack.camera, bytes, "a pack was rewritten: its host goes");
        Ok(bytes)
    }
}

/// The table without the host: what lies in it lies where it is held from now on, or in the pack itself.
fn without(table: &PackTable, host: &PackRef, held: &HashMap<FragmentId, Place>) -> PackTable {
    let places = table.fragments.iter().map(|entry| match &entry.place {
        Some(place) if place.host.pack == host.id => held.get(&entry.id).cloned(),
        place => place.clone(),
    });
    table.with_places(places.collect())
}
