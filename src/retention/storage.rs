//! Where packs lie, as far as the sweep must know, and what has to happen before one goes.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::rehost::Rehoster;
use crate::archive::{Archive, PackRef, ReadError};
use footage::keys::vault::Vault;

/// Why a pack must not go now, if there is a reason.
pub type Objection = dyn Fn(&PackRef) -> Option<&'static str> + Send + Sync;

/// Where packs lie, as far as the sweep must know.
#[derive(Clone)]
pub struct Storage {
    /// Whether there are bytes of a pack anywhere; only the known stores may say that there are none.
    pub is_there: Arc<dyn Fn(PackRef) -> BoxFuture<'static, Result<bool, ReadError>> + Send + Sync>,
    /// Deletes a pack wherever it lies; one that is not there is gone.
    pub delete: Arc<dyn Fn(PackRef) -> BoxFuture<'static, Result<(), ReadError>> + Send + Sync>,
    /// Bytes free on the disk. May block.
    pub free_bytes: Arc<dyn Fn() -> io::Result<u64> + Send + Sync>,
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
    pub fn new(packs: Archive, free_bytes: Arc<dyn Fn() -> io::Result<u64> + Send + Sync>) -> Self {
        let of_delete = packs.clone();
        let delete = move |pack: PackRef| -> BoxFuture<'static, Result<(), ReadError>> {
            let packs = of_delete.clone();
            Box::pin(async move { packs.delete(&pack).await })
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
        let delete_then = move |pack: PackRef| -> BoxFuture<'static, Result<(), ReadError>> {
            match waits(&pack) {
                None => delete(pack),
                Some(why) => {
                    let wait = io::Error::other(why);
                    Box::pin(std::future::ready(Err(ReadError::Io { pack: pack.id, source: wait })))
                }
            }
        };
        Self { delete: Arc::new(delete_then), ..self }
    }

    /// The same, but before a pack goes, those that refer to it get their bytes.
    pub fn with_rehoster(self, rehoster: Rehoster) -> Self {
        let delete = self.delete;
        let rehost_then_delete = move |pack: PackRef| -> BoxFuture<'static, Result<(), ReadError>> {
            let (rehoster, delete) = (rehoster.clone(), Arc::clone(&delete));
            Box::pin(async move {
                let held = |e| ReadError::Io { pack: pack.id, source: io::Error::other(e) };
                rehoster.rehost(&pack).await.map_err(held)?;
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
