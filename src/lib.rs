//! Vigie: a storage gateway for video protection.
//!
//! One way only; a module imports only from those above it in this list:
//!
//! ```text
//! camera ─RTSP→ source ─access units→ fragment ─fragments→ record ─packs→ spool → store
//!                                                             │                     │
//!                                                             └────── index ←───────┘ receipts
//! HTTP ← retrieve (timeline, MP4, HLS, snapshot) ← index + packs (spool first, then store)
//! retention, hold, scrub, fsck, rebuild: compare the index with the store, and act on it
//! ```

pub mod alarm;
pub mod archive;
pub mod authorisation;
pub mod backfill;
pub mod config;
pub mod dedup;
pub mod demo;
pub mod desk;
pub mod device;
pub mod event;
pub mod export;
pub mod fsck;
pub mod gateway;
pub mod hold;
pub mod http;
pub mod index;
pub mod inspection;
pub mod journals;
pub mod metrics;
pub mod oidc;
pub mod people;
pub mod permission;
pub mod policy;
pub mod presence;
pub mod printed;
pub mod rebuild;
pub mod record;
pub mod redundancy;
pub mod retention;
pub mod retrieve;
pub mod scrub;
pub mod seal;
pub mod spool;
pub mod status;
pub mod store;
pub mod upload;
