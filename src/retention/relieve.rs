//! Before a pack goes in which bytes of others lie: they get them.
//!
//! The pack that stays longest of those that refer to it is written anew with the bytes that it needs, and the others
//! refer to that one. So bytes are held only by packs that may have them, and what nobody refers to goes with the host.
//!
//! ```text
//! claim the new hosts in the index → put the new file in the old one's place → tell the index what it refers to
//! ```
//!
//! Invariant: at each step, whatever is cut off, every pack that may be read has all of its bytes. Everything here may be
//! done twice.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use tracing::{error, info};

use super::{deadline, max_of};
use crate::index::{Change, Index, IndexError, PackRow, PackState};
use crate::keys::Keys;
use crate::pack::PackTable;
use crate::pack::reference::{Host, Place};
use crate::packs::{PackRef, Packs, ReadError};
use crate::spool::segments::places_told;
use crate::spool::{Spool, SpoolError};
use crate::units::WallTime;

/// Why a pack cannot go yet. It is tried again with the next sweep.
#[derive(Debug, thiserror::Error)]
pub enum RelieveError {
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
    Growing(crate::units::PackId),
}

/// Gives their bytes to packs whose host goes.
#[derive(Clone, Debug)]
pub struct Reliever {
    index: Index,
    spool: Spool,
    packs: Packs,
    keys: Keys,
    time_zone: TimeZone,
    /// One host at a time: two may have a referrer in common.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Reliever {
    /// For these packs. The zone says how long a month is.
    pub fn new(index: Index, spool: Spool, packs: Packs, keys: Keys, time_zone: TimeZone) -> Self {
        Self { index, spool, packs, keys, time_zone, turn: Arc::default() }
    }

    /// Afterwards no pack that readers may see refers to this one, which is condemned.
    ///
    /// # Errors
    /// When it has to stay for now. Bytes that are damaged beyond use are no reason: they are lost to the packs that refer to
    /// them, which is told in the log and by `fsck`.
    pub async fn relieve(&self, host: &PackRef) -> Result<(), RelieveError> {
        let _turn = self.turn.lock().await;
        let mut referrers = Vec::new();
        for row in self.index.referrers(host.id).await? {
            if row.state == PackState::Open {
                return Err(RelieveError::Growing(row.id));
            }
            referrers.push((self.deadline(&row).await?, row));
        }
        referrers.sort_by_key(|(until, row)| (std::cmp::Reverse(*until), row.id));
        // Where the host's fragments lie from now on.
        let mut moved: HashMap<u32, Place> = HashMap::new();
        for (_, row) in referrers {
            match self.free(host, &row, &mut moved).await {
                Err(RelieveError::Read(error @ (ReadError::Pack(_) | ReadError::NotFound(_)))) => {
                    error!(%error, pack = %row.id, camera = %row.camera, host = %host.id,
                        "footage is lost: what it refers to is damaged");
                }
                done => done?,
            }
        }
        Ok(())
    }

    async fn deadline(&self, row: &PackRow) -> Result<WallTime, IndexError> {
        let camera = self.index.camera(&row.camera).await?;
        let max = camera.as_ref().map_or(super::MAX_DEFAULT, max_of);
        Ok(deadline(row.start, max, &self.time_zone))
    }

    /// Takes the host out of one pack's places.
    async fn free(&self, host: &PackRef, row: &PackRow, moved: &mut HashMap<u32, Place>) -> Result<(), RelieveError> {
        let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
        // What is known may be older than the file.
        self.packs.forget_table(pack.id).await;
        let table = self.packs.table(&pack).await?;
        let (now, taken) = without(&table, host, moved);
        if *table != now {
            self.write(&pack, &table, &now).await?;
        } else {
            // Cut off before the index heard of it.
            let bytes = self.packs.file_bytes(&pack).await?;
            self.index.write(places_told(&now, bytes)).await?;
        }
        let own = Arc::new(Host { pack: pack.id, camera: pack.camera });
        moved.extend(
            taken.into_iter().map(|(of_host, number)| (of_host, Place { host: own.clone(), fragment: number })),
        );
        Ok(())
    }

    async fn write(&self, pack: &PackRef, before: &PackTable, now: &PackTable) -> Result<(), RelieveError> {
        let known = before.hosts();
        let hosts = now.hosts().iter().filter(|host| !known.contains(host)).map(|host| host.pack).collect();
        self.index.write(vec![Change::Claim { pack: pack.id, hosts }]).await?;
        let draft = self.spool.draft_path(&pack.camera, pack.id)?;
        let key = self.keys.domain(&pack.camera.tenant);
        let bytes = self.packs.write_anew(pack, now, &key, &draft).await?;
        self.spool.replace(&pack.camera, pack.id, &draft).await?;
        self.packs.forget_table(pack.id).await;
        self.index.write(places_told(now, bytes)).await?;
        info!(pack = %pack.id, camera = %pack.camera, bytes, "a pack got bytes of its own: its host goes");
        Ok(())
    }
}

/// The table without the host, and which of the host's fragments it takes over, each with the number that it has here.
fn without(table: &PackTable, host: &PackRef, moved: &HashMap<u32, Place>) -> (PackTable, Vec<(u32, u32)>) {
    let mut taken = Vec::new();
    let places = table.fragments.iter().enumerate().map(|(number, entry)| match &entry.place {
        Some(place) if place.host.pack == host.id => {
            let elsewhere = moved.get(&place.fragment).cloned();
            if elsewhere.is_none() {
                taken.push((place.fragment, number as u32));
            }
            elsewhere
        }
        place => place.clone(),
    });
    let places = places.collect();
    (table.with_places(places), taken)
}
