//! Evidence packages: what a gateway hands over to who will need it in years, and the verifier that needs nothing of a
//! gateway ([ADR 36](../../../docs/adr/0036-the-evidence-package.md); `docs/EVIDENCE.md` is the format, for who reads one).
//!
//! ```text
//! footage ─→ video/…mp4 ─ SHA-256 of each fragment ─→ video/…pieces.jsonl ─┐
//! journal ─→ journal/entry.jsonl, journal/entry.tlog-proof ────────────────┼─ SHA-256 ─→ manifest.json ─ signed ─→ manifest.sig
//! keys ────→ keys/gateway.pem, keys/authority.pem ─────────────────────────┘                 └─ stamped ─→ manifest.tsr
//!                                                                     all of these ─ SHA-256 ─→ SHA256SUMS
//! ```
//!
//! Invariants: one package has one form. No byte of it, its ZIP's own included, can change without the verifier naming the file, and
//! of footage the time. The verifier takes a package for hostile: it follows no link, decompresses nothing, and its memory has a
//! bound whatever a package says.
//! Absent on purpose: SQLite, HTTP, RTSP, decoders; where footage comes from, and when a package has to go.

pub mod canonical;
pub mod cli;
pub mod manifest;
pub mod names;
pub mod pieces;
pub mod sign;
pub mod sums;
pub mod verify;
pub mod write;
pub mod zip;

pub use self::manifest::Manifest;
pub use self::verify::{Report, Trust, verify};
