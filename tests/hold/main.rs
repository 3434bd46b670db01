//! What a requisition covers is kept, to the group of pictures, and nothing else is.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

mod keeping;
mod racing;
#[allow(dead_code, reason = "the deduplication tests need more of it")]
#[path = "../dedup/rig.rs"]
mod rig;
