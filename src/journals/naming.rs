//! How journals are called, under which keys they sign, and where in the stores their copies lie.
//!
//! Invariants: no name reveals its tenant. A name has one tree: where a loss was accepted, and in a store that several gateways
//! write into, it is another. So whatever a copy says under a name has to be in the journal of that name.

use std::path::Path;

use journal::checkpoint::Signer;
use journal::{Head, copy};

use crate::store::shelf::Shelf;
use crate::store::{Store, StoreError};
use footage::failure::{Failure, Kind};
use footage::keys::Keys;
use footage::platform;
use footage::units::TenantId;

/// Losses of one journal that are accepted, at most.
const LOSSES_MAX: u32 = 1_000;

/// What the names and keys of journals follow from.
#[derive(Clone, Debug)]
pub struct Naming {
    keys: Keys,
    store: Store,
}

/// A journal's name, and where its copies may lie.
#[derive(Debug)]
pub struct Named {
    /// How many losses of its were accepted.
    losses: u32,
    /// Who signs its checkpoints.
    pub signer: Signer,
    /// The store of the tenant's footage first, then those that had it before.
    pub shelves: Vec<Shelf>,
}

/// What stores say of a journal.
#[derive(Debug, Default)]
pub struct InStores {
    /// Checkpoints that the journal has signed, with the name of the store.
    pub heads: Vec<(String, Head)>,
    /// Copies that cannot be read.
    pub faults: Vec<CopyError>,
}

/// Why a copy of a journal says nothing, or something else.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The store is away, refuses, or is not the known one.
    #[error("the journal's copy in store {store} cannot be reached: {source}")]
    Store {
        /// Its name.
        store: String,
        /// What it says.
        source: StoreError,
    },
    /// It took too long.
    #[error("the journal's copy in store {store} takes too long: it is tried again")]
    Slow {
        /// Its name.
        store: String,
    },
    /// What lies there is not the journal's.
    #[error(
        "the journal's copy in store {store} is damaged or was changed: {object}: {what}; nothing is replaced there: have a \
         look at it, then remove it"
    )]
    Damaged {
        /// The store's name.
        store: String,
        /// Which object.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// The journal was another when the copy was made.
    #[error("the journal is not what it was at the checkpoint {head} in store {store}: it was set back, or exchanged")]
    Contradicted {
        /// The store's name.
        store: String,
        /// What its copy says.
        head: Head,
    },
    /// The journal itself cannot be read.
    #[error("the journal cannot be read: {0}")]
    Disk(#[from] std::io::Error),
}

impl Failure for CopyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Store { source, .. } => source.kind(),
            Self::Slow { .. } => Kind::Retry,
            Self::Damaged { .. } | Self::Contradicted { .. } => Kind::Corrupt,
            Self::Disk(source) => Failure::kind(source),
        }
    }
}

impl Naming {
    /// The names of this gateway's journals, with copies in these stores.
    pub fn new(keys: Keys, store: Store) -> Self {
        Self { keys, store }
    }

    /// The tenant's journal after so many accepted losses.
    fn after(&self, tenant: &TenantId, losses: u32) -> Named {
        let (name, seed) = self.name_after(tenant, losses);
        let signer = Signer::new(&format!("vigie.invalid/journal/{name}"), &seed);
        Named { losses, signer, shelves: self.store.shelves(tenant, &name) }
    }

    fn name_after(&self, tenant: &TenantId, losses: u32) -> (String, [u8; 32]) {
        let mut of = tenant.as_str().as_bytes().to_vec();
        // No id has a byte of zero in it.
        self.store.rank(tenant).into_iter().for_each(|rank| of.extend([0, 1, rank]));
        if losses > 0 {
            of.extend([0, 2]);
            of.extend(losses.to_be_bytes());
        }
        let name = self.keys.derive("vigie 2026-11 name of a tenant's journal", &of);
        let name = name.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        (name, self.keys.derive("vigie 2026-11 signing key of a tenant's journal", &of))
    }

    /// The tenant's journal as it lies in this folder, or as the first one that is made there. Blocks.
    pub fn current(&self, tenant: &TenantId, folder: &Path) -> Named {
        let keys = copy::keys(folder).unwrap_or_default();
        let origins: Vec<&str> = keys.iter().filter_map(|key| key.split('+').next()?.rsplit('/').next()).collect();
        let is_listed = |losses: &u32| origins.contains(&self.name_after(tenant, *losses).0.as_str());
        // All but a few journals have lost nothing.
        let highest = match &origins[..] {
            [] => None,
            [_] if is_listed(&0) => Some(0),
            _ => (0..=LOSSES_MAX).rev().find(is_listed),
        };
        self.after(tenant, highest.unwrap_or(0))
    }

    /// The tenant's journal after one more accepted loss: one that no store knows yet, as far as they answer.
    pub async fn next(&self, tenant: &TenantId, current: &Named) -> Named {
        for losses in current.losses + 1..LOSSES_MAX {
            let next = self.after(tenant, losses);
            if next.in_stores().await.heads.is_empty() {
                return next;
            }
        }
        self.after(tenant, LOSSES_MAX)
    }

    /// What stores say of this journal, and of what it was continued as where that was lost too.
    pub async fn in_stores(&self, tenant: &TenantId, current: &Named) -> InStores {
        let next = self.after(tenant, current.losses + 1);
        let (mut all, later) = futures::join!(current.in_stores(), next.in_stores());
        all.heads.extend(later.heads);
        all.faults.extend(later.faults);
        all
    }
}

impl Named {
    /// The keys under which its copies are signed.
    pub fn keys(&self) -> [String; 1] {
        [self.signer.verifier().to_owned()]
    }

    async fn in_stores(&self) -> InStores {
        let looks = futures::future::join_all(self.shelves.iter().map(|shelf| self.head_in(shelf)));
        let mut all = InStores::default();
        for (shelf, look) in self.shelves.iter().zip(looks.await) {
            match look {
                // One without entries contradicts nothing.
                Ok(head) => {
                    all.heads.extend(head.filter(|of| of.size > 0).map(|head| (shelf.store().to_owned(), head)))
                }
                Err(fault) => all.faults.push(fault),
            }
        }
        all
    }

    /// What the copy's checkpoint says; `None` where there is none.
    pub(super) async fn head_in(&self, shelf: &Shelf) -> Result<Option<Head>, CopyError> {
        let store = || shelf.store().to_owned();
        let damaged = |what: String| CopyError::Damaged { store: store(), object: copy::CHECKPOINT.to_owned(), what };
        match shelf.get(copy::CHECKPOINT, copy::BYTES_MAX).await {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => copy::open(&bytes, &self.keys()).map(Some).map_err(|error| damaged(error.to_string())),
            Err(error @ StoreError::SizeDiffers { .. }) => Err(damaged(error.to_string())),
            Err(source) => Err(CopyError::Store { store: store(), source }),
        }
    }
}

/// The tenant's journal as it lies in this folder, from where waiting is not allowed.
pub(super) async fn current(naming: &Naming, tenant: &TenantId, folder: &Path) -> Option<Named> {
    let (naming, tenant, folder) = (naming.clone(), tenant.clone(), folder.to_owned());
    platform::spawn_blocking(move || naming.current(&tenant, &folder)).await.ok()
}
