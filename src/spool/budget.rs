//! How much footage may wait in memory to be written.
//!
//! Invariant: who waits is served in order, so that no camera waits for ever beside busier ones.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted in.
const UNIT_BYTES: usize = 4096;
/// Of the machine's memory, for footage that waits to be written, unless the configuration says another amount.
const SHARE_OF_MEMORY: u64 = 8;
/// At least this much, whatever the machine has.
const DEFAULT_BYTES_MIN: u64 = 64 << 20;

/// Room for footage that waits to be written.
#[derive(Debug)]
pub(super) struct Budget {
    free: Arc<Semaphore>,
    units: usize,
}

/// A part of it, taken for a fragment until that is written.
#[derive(Debug)]
pub struct Room(OwnedSemaphorePermit);

impl Room {
    /// Both as one.
    pub(super) fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new((memory_bytes() / SHARE_OF_MEMORY).max(DEFAULT_BYTES_MIN))
    }
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT_BYTES;
        let units = units.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { free: Arc::new(Semaphore::new(units)), units }
    }

    /// Waits for room for so many bytes; what is larger than all of it waits for all of it.
    pub(super) async fn take(&self, bytes: usize) -> Room {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, self.units) as u32;
        Room(self.free.clone().acquire_many_owned(units).await.expect("it is never closed"))
    }

    /// Bytes taken, and all there are.
    pub(super) fn taken_bytes(&self) -> (u64, u64) {
        let taken = self.units - self.free.available_permits().min(self.units);
        ((taken * UNIT_BYTES) as u64, (self.units * UNIT_BYTES) as u64)
    }
}

/// Memory of the machine; of the control group, where that may use less.
fn memory_bytes() -> u64 {
    let machine = rustix::system::sysinfo();
    let machine = machine.totalram.saturating_mul(u64::from(machine.mem_unit));
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    group.and_then(|max| max.trim().parse::<u64>().ok()).map_or(machine, |max| max.min(machine))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_waits_longest_is_served_first_and_what_is_too_large_gets_all() {
        let budget = Budget::new(8 * UNIT_BYTES as u64);
        let all = budget.take(usize::MAX).await;
        assert_eq!(budget.taken_bytes(), (8 * 4096, 8 * 4096));
        let (large, small) = (budget.take(4 * UNIT_BYTES), budget.take(1));
        let (mut large, mut small) = (std::pin::pin!(large), std::pin::pin!(small));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(small.as_mut().now_or_never().is_none(), "behind the large one");
        drop(all);
        let large = large.now_or_never().expect("room");
        assert!(small.now_or_never().is_some());
        drop(large);
        assert_eq!(budget.taken_bytes().0, 0);
    }
}
