//! Stores, keys and the index are removed, swapped, emptied and put back under a gateway that records: nothing takes their
//! place silently, nothing is called destroyed, lost or damaged that is not, and recording goes on.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

mod index;
mod keys;
mod policy;
mod rig;
mod stores;
