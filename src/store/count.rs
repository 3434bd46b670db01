//! How often a store is asked for what: each request has its price.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::{Decide, FaultyStore, Op, StoreCall, StoreFault};

/// Counts of each operation; cheap to clone, all clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    calls: [AtomicU64; Op::ALL.len()],
    sent_bytes: AtomicU64,
}

impl Counts {
    /// A store whose calls are counted here.
    pub fn of<S>(&self, store: S) -> FaultyStore<S> {
        FaultyStore::new(store, self.clone())
    }

    /// Calls of an operation so far.
    pub fn calls(&self, op: Op) -> u64 {
        self.0.calls[op as usize].load(Ordering::SeqCst)
    }

    /// Every operation that was asked for, with its calls.
    pub fn all(&self) -> Vec<(Op, u64)> {
        Op::ALL.into_iter().map(|op| (op, self.calls(op))).filter(|(_, calls)| *calls > 0).collect()
    }

    /// Bytes sent to the store in objects and parts.
    pub fn sent_bytes(&self) -> u64 {
        self.0.sent_bytes.load(Ordering::SeqCst)
    }

    /// From now on, counts from nothing.
    pub fn reset(&self) {
        for calls in &self.0.calls {
            calls.store(0, Ordering::SeqCst);
        }
        self.0.sent_bytes.store(0, Ordering::SeqCst);
    }

    /// Counts a call.
    pub fn add(&self, call: &StoreCall<'_>) {
        self.0.calls[call.op as usize].fetch_add(1, Ordering::SeqCst);
        self.0.sent_bytes.fetch_add(call.bytes, Ordering::SeqCst);
    }
}

impl Decide for Counts {
    fn decide(&self, call: &StoreCall<'_>) -> StoreFault {
        self.add(call);
        StoreFault::NONE
    }
}
