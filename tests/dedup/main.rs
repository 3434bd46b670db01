//! Equal fragments are stored once, whichever camera sent them, and stay for exactly those who may have it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

mod expiry;
mod playing;
mod racing;
#[allow(dead_code, reason = "the tests of encrypted stores need more of it")]
mod rig;
mod sealing;
