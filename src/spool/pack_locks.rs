//! Packs that are on their way to the store, or being deleted: never both. An upload that ended after the deletion would
//! leave an object that no row knows. A deletion asks the sender to give up: it may be waiting for a slow uplink
//! or its timetable, and footage has to go in time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Spool;
use footage::platform;
use footage::units::PackId;

/// Bounded by what the drain sends and the sweep deletes at a time.
#[derive(Debug, Default)]
pub(super) struct PackLocks {
    packs: Mutex<BTreeMap<PackId, CancellationToken>>,
    freed: Notify,
}

/// As long as it lives, nobody else sends or deletes the pack.
#[derive(Debug)]
pub(crate) struct PackLock {
    all: Arc<PackLocks>,
    pack: PackId,
    given_up: CancellationToken,
}

impl PackLock {
    /// Cancelled when somebody waits to delete the pack.
    pub(crate) fn given_up(&self) -> &CancellationToken {
        &self.given_up
    }
}

impl Spool {
    /// As [`Spool::pack_locks`], to delete the pack: its sender gives up before its next part.
    pub(crate) async fn lock_to_delete(&self, pack: PackId) -> PackLock {
        if let Some(sender) = self.0.pack_locks.packs.lock().get(&pack) {
            sender.cancel();
        }
        self.lock_pack(pack).await
    }

    /// Waits until nobody sends or deletes this pack.
    pub(crate) async fn lock_pack(&self, pack: PackId) -> PackLock {
        platform::turn().await;
        let all = self.0.pack_locks.clone();
        loop {
            let freed = all.freed.notified();
            if let Entry::Vacant(free) = all.packs.lock().entry(pack) {
                let given_up = free.insert(CancellationToken::new()).clone();
                return PackLock { all: all.clone(), pack, given_up };
            }
            freed.await;
        }
    }
}

impl Drop for PackLock {
    fn drop(&mut self) {
        self.all.packs.lock().remove(&self.pack);
        self.all.freed.notify_waiters();
    }
}
