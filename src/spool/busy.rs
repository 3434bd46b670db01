//! Packs that are on their way to the store, or being deleted: never both. An upload that ended after the deletion would
//! leave an object that no row knows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::{Spool, lock};
use crate::units::PackId;

/// Bounded by what the drain sends and the sweep deletes at a time.
#[derive(Debug, Default)]
pub(super) struct BusyPacks {
    packs: Mutex<BTreeSet<PackId>>,
    freed: Notify,
}

/// As long as it lives, nobody else sends or deletes the pack.
#[derive(Debug)]
pub(crate) struct Busy {
    all: Arc<BusyPacks>,
    pack: PackId,
}

impl Spool {
    /// Waits until nobody sends or deletes this pack.
    pub(crate) async fn busy(&self, pack: PackId) -> Busy {
        let all = self.0.busy.clone();
        loop {
            let freed = all.freed.notified();
            if lock(&all.packs).insert(pack) {
                break;
            }
            freed.await;
        }
        Busy { all, pack }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.all.packs).remove(&self.pack);
        self.all.freed.notify_waiters();
    }
}
