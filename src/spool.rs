//! The spool: where packs grow, wait for the store, and stay as a cache.
