//! The journal: every act on footage, with its author, in a log that nobody can change unseen.
//!
//! ```text
//! entry (one line of JSON, salted) ── SHA-256 ──→ commitment (day, hash) ── RFC 6962 ──→ tree ── each minute ──→ checkpoint
//!   content/…, forgotten on time                   tile/entries/…, kept                 tile/…, kept         signed, kept
//! ```
//!
//! A journal is a folder, one for each tenant:
//!
//! | name | holds |
//! |---|---|
//! | `content/<n>-<day>.jsonl` | entries, one a line, from number `n` on, all of one day (UTC); also the write-ahead log |
//! | `tile/entries/<N>` | commitments to 256 entries (C2SP tlog-tiles, entry bundle); `<N>.p/<W>` where it has `W` of them |
//! | `tile/<L>/<N>` | 256 hashes of the tree at level 8·`L` (C2SP tlog-tiles); `<N>.p/<W>` likewise |
//! | `checkpoint` | size and root of the tree, signed (C2SP tlog-checkpoint, signed-note) |
//! | `stamp/<size>-<time>.tsr` | a time stamp (RFC 3161) of the checkpoint beside it, `….checkpoint` |
//! | `keys` | the keys that have signed checkpoints here, one a line (C2SP signed-note, verifier key) |
//!
//! Invariants: an entry that [`Journal::append`] answered for is in the content, and stays through the end of the process;
//! after the next [`Journal::sync`] it stays through a power cut. A checkpoint covers only entries that are durable. What
//! is missing or damaged is an error, never replaced. Contents go only after an entry says that they go, and
//! their commitments stay, so that the tree verifies without them.
//! Absent on purpose: HTTP, SQLite, the clock; threads and turns are the caller's.

pub mod checkpoint;
pub mod copy;
pub mod entry;
mod files;
mod forget;
mod log;
pub mod proof;
pub mod read;
pub mod stamp;
pub mod stamps;
mod tree;
pub mod verify;

#[cfg(test)]
mod tests;

pub use self::entry::{Action, Author, Draft, Entry, Span};
pub use self::forget::forget_aside;
pub use self::log::{Head, Journal, JournalError};
