//! What Vigie records, and the file that holds it: units, access units, fragments, packs, and the keys that encrypt them.
//!
//! Enough to read and to check footage without a gateway. Files are changed, time is read and lots are drawn through
//! [`platform`] and [`clock`] alone, which tests replace; nothing here opens a connection.

pub mod clip;
pub mod clock;
pub mod failure;
pub mod fragment;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod keys;
pub mod media;
pub mod pack;
pub mod platform;
pub mod signing;
pub mod source;
pub mod units;
