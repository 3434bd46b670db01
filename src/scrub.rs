//! Finds bit rot and mends it: every byte that is stored is read once in a configured time, and checked.
//!
//! ```text
//! check   the pack's own file, where the index says that it lies, against its ids and checksums
//! mend    from the copy in the spool, or from another pack that has the same fragment; boxes and fragment tables follow
//!         from one another
//! report  what nobody has any more: an event, and a gap (`corrupt`) in the place of its segments
//! ```
//!
//! Invariants: what is mended has the bytes of its ids, and takes the damaged file's place whole and flushed. A pack that
//! is on its way to destruction is left alone. What is lost stays where it lies until its time is over, and is shown again
//! when its bytes are found to be right again.
//! Of bytes that lie in other packs only that they do is checked: each byte is checked where it lies. Absent on purpose: packs that another gateway wrote into a shared
//! store (that one checks them); the index against the store (`fsck`).

use std::path::PathBuf;
use std::sync::Arc;

use tracing::error;

use crate::archive::check::Scratch;
use crate::archive::{Archive, PackRef, ReadError};
use crate::event::{Event, Fact};
use crate::index::{Change, Index, IndexError, PackRow, PackState};
use crate::spool::{Spool, SpoolError};
use crate::store::Store;
use crate::store::identity::NotKnown;
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::units::PackId;

mod mend;
mod pass;
mod places;

pub use pass::LOST_IN_A_ROW_MAX;

/// So often is a pack looked at that moves or is rewritten meanwhile; then the next pass has it.
const LOOKS_MAX: usize = 3;

/// Why a pack could not be checked or mended: it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store, or the disk, did not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was mended could not be put in the damaged file's place.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// It is not the store that the index knows.
    #[error(transparent)]
    NotKnown(#[from] NotKnown),
    /// Footage cannot be checked without the gateway's key.
    #[error("footage cannot be checked: {0}")]
    NoKey(String),
    /// There is nowhere to read packs of a store elsewhere into.
    #[error("{path}: {source}; make room for a few packs there")]
    Scratch {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Failure for ScrubError {
    fn kind(&self) -> Kind {
        match self {
            Self::Index(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::Spool(error) => error.kind(),
            Self::NotKnown(error) => error.kind(),
            Self::NoKey(_) => Kind::Denied,
            Self::Scratch { source, .. } => Failure::kind(source),
        }
    }
}

/// What a look at a pack came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrubVerdict {
    /// Every byte is what was written.
    Sound,
    /// It was damaged, and is sound now. Says how, for people.
    Mended(String),
    /// Some of it is lost, or all. Says what, for people.
    Lost(String),
    /// It is not whole yet, or is being destroyed, or is gone, or is another gateway's.
    NotLookedAt,
}

/// Checks and mends packs.
#[derive(Debug)]
pub struct Scrubber {
    index: Index,
    spool: Spool,
    store: Store,
    packs: Archive,
    keys: Keys,
    clock: Arc<dyn Clock>,
    scratch: Scratch,
}

impl Scrubber {
    /// Over these packs. The scratch folder is made, for objects of stores elsewhere on their way through.
    pub fn new(
        (index, spool, store, packs): (Index, Spool, Store, Archive),
        keys: Keys,
        clock: Arc<dyn Clock>,
        scratch: PathBuf,
    ) -> Result<Self, ScrubError> {
        let scratch =
            Scratch::create(scratch.clone()).map_err(|source| ScrubError::Scratch { path: scratch, source })?;
        Ok(Self { index, spool, store, packs, keys, clock, scratch })
    }

    /// Checks every byte of a pack's own file, mends what can be mended, and reports what cannot.
    pub async fn examine(&self, id: PackId) -> Result<ScrubVerdict, ScrubError> {
        // By another key every fragment would look damaged.
        if let Some(trouble) = self.keys.trouble() {
            return Err(ScrubError::NoKey(trouble.to_string()));
        }
        for _ in 0..LOOKS_MAX {
            let row = self.index.any_pack(id).await?;
            let whole = |row: &PackRow| {
                let is_foreign = self.store.is_foreign(&row.camera, row.id);
                matches!(row.state, PackState::Sealed | PackState::Stored) && !is_foreign
            };
            let Some(row) = row.filter(whole) else { return Ok(ScrubVerdict::NotLookedAt) };
            let pack = PackRef { id, camera: row.camera.clone(), state: row.state };
            let checked = self.packs.check(&pack, row.bytes, &self.scratch).await;
            if checked.as_ref().is_ok_and(|checked| checked.damages.is_empty()) {
                return self.sound(&row, &pack).await;
            }
            // Nobody sends it, deletes it or rewrites it from here on. It may have been done meanwhile.
            let _busy = self.spool.lock_pack(id).await;
            if self.index.any_pack(id).await?.as_ref() != Some(&row) {
                continue;
            }
            return match checked {
                Ok(checked) => self.mend(&row, &pack, checked).await,
                Err(ReadError::NotFound(_)) => self.mend_missing(&row, &pack).await,
                Err(e) => Err(e.into()),
            };
        }
        Ok(ScrubVerdict::NotLookedAt)
    }

    /// `detail` is for the operator's log alone.
    async fn report(&self, row: &PackRow, fact: Fact, detail: &str) -> Result<(), IndexError> {
        error!(pack = %row.id, camera = %row.camera, kind = fact.kind(), "{detail}");
        self.index.write(vec![Change::Event(Event::of_camera(self.clock.wall(), &row.camera, fact))]).await
    }
}
