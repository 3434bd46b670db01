//! Cuts access units into fragments.
//!
//! Invariant: the cut depends only on what the camera sent, never on arrival time: at every random access point and,
//! inside a long GOP, after each second of media time counted from that point. Two recorders of one camera cut alike.
//! Absent on purpose: no I/O, no clock.

use std::sync::Arc;

use crate::media::{AccessUnit, Fragment, Params};

/// Why access units cannot be put on one run's timeline; the recorder ends the run and starts another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// Presentation time went back further than a picture may be reordered, or forward further than `u32` ticks.
    #[error("video timestamp jumped by {ticks} ticks of 1/90000 s")]
    TimestampJump {
        /// Signed size of the jump.
        ticks: i64,
    },
}

/// One run's cutter.
#[derive(Debug)]
pub struct Fragmenter {}

impl Fragmenter {
    /// For a run that starts with these sample descriptions.
    pub fn new(_params: Arc<Params>) -> Self {
        todo!()
    }

    /// Takes the next access unit of either track, in the order received; gives the fragment that it completes.
    /// Access units before the first random access point are dropped and counted.
    pub fn push(&mut self, _au: AccessUnit) -> Result<Option<Fragment>, FragmentError> {
        todo!()
    }

    /// The run is over: gives what is left.
    pub fn finish(self) -> Option<Fragment> {
        todo!()
    }

    /// Access units dropped because no random access point had come yet.
    pub fn dropped_before_first(&self) -> u64 {
        todo!()
    }
}
