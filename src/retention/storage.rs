//! Where packs lie, as far as the sweep must know, and what has to happen before one goes.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::rehost::{RehostError, Rehoster};
use crate::archive::{Archive, PackRef, ReadError};
use crate::spool::SpoolError;
use footage::failure::{Failure, Kind};
use footage::keys::vault::Vault;
use footage::units::PackId;

/// Why a pack was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// Spool or store.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// Something has to happen first.
    #[error("pack {pack}: {why}")]
    Waits {
        /// Which pack.
        pack: PackId,
        /// What.
        why: &'static str,
    },
    /// Packs that refer to it did not get its bytes.
    #[error("pack {pack}: {source}")]
    Rehost {
        /// Which pack.
        pack: PackId,
        /// Why.
        source: Box<RehostError>,
    },
}

impl Failure for DeleteError {
    fn kind(&self) -> Kind {
        match self {
            Self::Archive(error) => error.kind(),
            Self::Waits { .. } => Kind::Retry,
            Self::Rehost { source, .. } => source.kind(),
        }
    }
}

/// Why a pack must not go now, if there is a reason.
pub type Objection = dyn Fn(&PackRef) -> Option<&'static str> + Send + Sync;

/// Where packs lie, as far as the sweep must know.
#[derive(Clone)]
pub struct Storage {
    /// Whether there are bytes of a pack anywhere; only the known stores may say that there are none.
    pub is_there: Arc<dyn Fn(PackRef) -> BoxFuture<'static, Result<bool, ReadError>> + Send + Sync>,
    /// Deletes a pack wherever it lies; one that is not there is gone.
    pub delete: Arc<dyn Fn(PackRef) -> BoxFuture<'static, Result<(), DeleteError>> + Send + Sync>,
    /// Bytes free on the disk. May block.
    pub free_bytes: Arc<dyn Fn() -> Result<u64, SpoolError> + Send + Sync>,
    /// The keys that packs are encrypted under.
    pub vault: Vault,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Storage")
    }
}

impl Storage {
    /// These packs, and the disk that they are on.
    pub fn new(packs: Archive, free_bytes: Arc<dyn Fn() -> Result<u64, SpoolError> + Send + Sync>) -> Self {
        let of_delete = packs.clone();
        let delete = move |pack: PackRef| -> BoxFuture<'static, Result<(), DeleteError>> {
            let packs = of_delete.clone();
            Box::pin(async move { Ok(packs.delete(&pack).await?) })
        };
        let is_there = move |pack: PackRef| -> BoxFuture<'static, Result<bool, ReadError>> {
            let packs = packs.clone();
            Box::pin(async move { packs.is_there(&pack).await })
        };
        Self { is_there: Arc::new(is_there), delete: Arc::new(delete), free_bytes, vault: Vault::none() }
    }

    /// The same, but a pack goes only when this gives no reason against it.
    pub fn unless(self, waits: Arc<Objection>) -> Self {
        let delete = self.delete;
        let delete_then = move |pack: PackRef| -> BoxFuture<'static, Result<(), DeleteError>> {
            match waits(&pack) {
                None => delete(pack),
                Some(why) => Box::pin(std::future::ready(Err(DeleteError::Waits { pack: pack.id, why }))),
            }
        };
        Self { delete: Arc::new(delete_then), ..self }
    }

    /// The same, but before a pack goes, those that refer to it get their bytes.
    pub fn with_rehoster(self, rehoster: Rehoster) -> Self {
        let delete = self.delete;
        let rehost_then_delete = move |pack: PackRef| -> BoxFuture<'static, Result<(), DeleteError>> {
            let (rehoster, delete) = (rehoster.clone(), Arc::clone(&delete));
            Box::pin(async move {
                let failed = |source| DeleteError::Rehost { pack: pack.id, source: Box::new(source) };
                rehoster.rehost(&pack).await.map_err(failed)?;
                delete(pack).await
            })
        };
        Self { delete: Arc::new(rehost_then_delete), ..self }
    }

    /// The same, with keys that go when what is encrypted under them is gone.
    pub fn shredding(self, vault: Vault) -> Self {
        Self { vault, ..self }
    }
}
