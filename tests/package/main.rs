//! The Debian package in a clean root: installed, used, upgraded, removed and purged, and every command of the guide
//! run there.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

mod guide;
mod install;
mod root;
