//! Shares: what one tenant may take of what all tenants use, and one person of what a tenant has.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use footage::units::TenantId;

/// A number of places for each tenant, or each person. The map is as large as their number: only authorised requests ask.
#[derive(Debug)]
pub(super) struct Shares<K = TenantId> {
    each: usize,
    takers: Mutex<HashMap<K, Arc<Semaphore>>>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// So many places for each.
    pub(super) fn of(each: usize) -> Self {
        Self { each, takers: Mutex::default() }
    }

    /// Places of this one's; `None` when it has no so many left. Given back when the permit is dropped.
    pub(super) fn take(&self, taker: &K, places: u32) -> Option<OwnedSemaphorePermit> {
        let mut takers = self.takers.lock();
        let own = takers.entry(taker.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone();
        drop(takers);
        own.try_acquire_many_owned(places).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_uses_all_of_its_share_takes_nothing_of_another() {
        let shares = Shares::of(2);
        let (greedy, other): (TenantId, TenantId) = ("greedy".parse().unwrap(), "other".parse().unwrap());
        let held = (shares.take(&greedy, 1).unwrap(), shares.take(&greedy, 1).unwrap());
        assert!(shares.take(&greedy, 1).is_none());
        assert!(shares.take(&other, 2).is_some());
        drop(held);
        assert!(shares.take(&greedy, 2).is_some());
    }
}
