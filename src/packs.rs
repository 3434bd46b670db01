//! Finds a pack's bytes wherever they lie: growing in the spool, whole in the spool, or in the store.
//!
//! Invariant: the spool is asked first, so that nothing waits for an uplink that need not.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::index::PackState;
use crate::pack::{PackError, PackTable};
use crate::units::{CameraKey, PackId};

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
    /// The spool's disk failed.
    #[error("pack {pack}: {source}")]
    Io {
        /// Which pack.
        pack: PackId,
        /// What the system said.
        source: std::io::Error,
    },
}

/// All packs; cheap to clone.
#[derive(Clone, Debug)]
pub struct Packs {}

impl Packs {
    /// The pack's fragment table: from memory while it grows, otherwise from its trailing box, cached.
    pub async fn table(&self, _pack: &PackRef) -> Result<Arc<PackTable>, ReadError> {
        todo!()
    }

    /// These byte ranges (ascending, apart) one after the other. Neighbouring ranges are fetched together: from a
    /// store, a whole pack's worth of fragments costs one GET.
    pub fn stream(&self, _pack: &PackRef, _ranges: Vec<Range<u64>>) -> BoxStream<'static, Result<Bytes, ReadError>> {
        todo!()
    }

    /// One small range, whole.
    pub async fn bytes(&self, _pack: &PackRef, _range: Range<u64>) -> Result<Bytes, ReadError> {
        todo!()
    }

    /// Deletes a pack's object from the store and its file from the spool, and says so only when both are gone (absent
    /// already counts as gone).
    pub async fn delete(&self, _pack: &PackRef) -> Result<(), ReadError> {
        todo!()
    }

    /// The pack that grows now for this camera, with all that is written of it (flushed or not): what live view shows.
    pub fn live(&self, _camera: &CameraKey) -> Option<(PackRef, Arc<PackTable>)> {
        todo!()
    }
}
