//! Packs that are on their way to the store, or being deleted: never both. An upload that ended after the deletion would
//! leave an object that no row knows. Whoever deletes asks the sender to give up: it may be waiting for a slow uplink
//! or its timetable, and footage has to go in time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Spool, lock};
use crate::machine;
use crate::units::PackId;

/// Bounded by what the drain sends and the sweep deletes at a time.
#[derive(Debug, Default)]
pub(super) struct BusyPacks {
    packs: Mutex<BTreeMap<PackId, CancellationToken>>,
    freed: Notify,
}

/// As long as it lives, nobody else sends or deletes the pack.
#[derive(Debug)]
pub(crate) struct Busy {
    all: Arc<BusyPacks>,
    pack: PackId,
    given_up: CancellationToken,
}

impl Busy {
    /// Cancelled when somebody waits to delete the pack.
    pub(crate) fn given_up(&self) -> &CancellationToken {
        &self.given_up
    }
}

impl Spool {
    /// As [`Spool::busy`], to delete the pack: whoever sends it gives up before its next part.
    pub(crate) async fn busy_deleting(&self, pack: PackId) -> Busy {
        if let Some(sender) = lock(&self.0.busy.packs).get(&pack) {
            sender.cancel();
        }
        self.busy(pack).await
    }

    /// Waits until nobody sends or deletes this pack.
    pub(crate) async fn busy(&self, pack: PackId) -> Busy {
        machine::turn().await;
        let all = self.0.busy.clone();
        loop {
            let freed = all.freed.notified();
            if let Entry::Vacant(free) = lock(&all.packs).entry(pack) {
                let given_up = free.insert(CancellationToken::new()).clone();
                return Busy { all: all.clone(), pack, given_up };
            }
            freed.await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.all.packs).remove(&self.pack);
        self.all.freed.notify_waiters();
    }
}
