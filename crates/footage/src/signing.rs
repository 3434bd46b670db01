//! Streams that their cameras sign: ONVIF Media Signing Specification.
//!
//! A camera hashes the slices of its pictures, in order. For each GOP, or part of one, it sends a SEI message (user data
//! unregistered, H.264 §D.1.7, H.265 §D.2.7) that states the hash of their hashes, and signs that statement.
//!
//! ```text
//! SEI NAL unit ─ 5, size, UUID, flags ─ TLVs: tag (1 byte), length (2), value ─ stop bit
//!   flags      bit 7: a certificate SEI; bit 6: it was hashed with its emulation prevention bytes
//!   1 general        version, software, partial, times, counter, NAL units, GOP hash, linked hash
//!   2 hash list      version, the hashes that the GOP hash is of
//!   3 signature      version, length, signature, padding; the last one, over all before it
//!   4 crypto info    version, hash algorithm, signature algorithm (DER OIDs), RSA size
//!   5 vendor info    version, firmware, serial number, manufacturer
//!   6 certificates   version, provisioned by the user, PEM chain, the signing one first
//!   7 arbitrary data version, bytes
//! anchor   = H(first slice of the GOP's first picture)
//! NAL hash = anchor for that slice; H(anchor ‖ H(slice)) for the others; H(SEI) for a statement without signature
//! GOP hash = H(NAL hashes), linked hash = the first NAL hash of the statement before
//! ```
//!
//! Invariant: bytes are read, never changed: emulation prevention is removed in copies alone.
//! Absent on purpose: trust in what is not signed. A statement counts when its signature is verified, and not before.

mod certificate;
mod covered;
mod hashes;
mod report;
mod sei;
mod signed_time;
mod tlv;
mod verify;

#[cfg(test)]
mod tests;

pub use certificate::{Anchors, BadCertificate, Certificate, Trust};
pub use hashes::{HashAlgorithm, NalHasher};
pub use report::{CertificateUse, Reason, Remark, Report, Stretch, Verdict};
pub use sei::{
    BadSei, CERTIFICATE_SEI_BYTES_MAX, NalKind, SigningSei, certificate_sei, is_signing_sei, nal_kind, nal_units,
    signing_seis,
};
pub use signed_time::CLOCK_TOLERANCE;
pub use tlv::{BadTlv, General, Tag, Tlvs, VendorInfo};
pub use verify::Verifier;

/// What begins each SEI message of the standard.
pub const UUID: [u8; 16] =
    [0x00, 0x5b, 0xc9, 0x3f, 0x2d, 0x71, 0x5e, 0x95, 0xad, 0xa4, 0x79, 0x6f, 0x90, 0x87, 0x7a, 0x6f];
