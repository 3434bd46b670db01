//! Two gateways record one camera into one store: what either stores the other shows, and no picture twice.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

mod adopting;
mod expiring;
mod histories;
mod real;
mod rig;
#[path = "../support/seaweed.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod seaweed;
mod storing;
