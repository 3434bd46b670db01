//! Evidence packages of real footage: made, verified by programs that are not ours, kept apart, begun again, destroyed on time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../time_stamp/authority.rs"]
#[allow(dead_code, reason = "another test uses the rest of it")]
mod authority;
mod keeping;
mod over_http;
mod package;
mod proof;
#[path = "../retrieve/real.rs"]
#[allow(dead_code, reason = "another test uses the rest of it")]
mod real;
mod restarting;
mod rig;
mod size;
