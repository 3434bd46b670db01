//! Shares: what one tenant may take of what all tenants use.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use footage::units::TenantId;

/// A number of places for each tenant. The map is as large as the number of tenants: only authorised requests ask.
#[derive(Debug)]
pub(super) struct Shares {
    each: usize,
    tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

impl Shares {
    /// So many places for each tenant.
    pub(super) fn of(each: usize) -> Self {
        Self { each, tenants: Mutex::default() }
    }

    /// Places of this tenant's; `None` when it has no so many left. Given back when the permit is dropped.
    pub(super) fn take(&self, tenant: &TenantId, places: u32) -> Option<OwnedSemaphorePermit> {
        let mut tenants = self.tenants.lock();
        let own = tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone();
        drop(tenants);
        own.try_acquire_many_owned(places).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_uses_all_of_its_share_takes_nothing_of_another() {
        let shares = Shares::of(2);
        let (greedy, other) = ("greedy".parse().unwrap(), "other".parse().unwrap());
        let held = (shares.take(&greedy, 1).unwrap(), shares.take(&greedy, 1).unwrap());
        assert!(shares.take(&greedy, 1).is_none());
        assert!(shares.take(&other, 2).is_some());
        drop(held);
        assert!(shares.take(&greedy, 2).is_some());
    }
}
