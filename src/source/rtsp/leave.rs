//! Which of a camera's sessions are left to the library.
//!
//! A session that our reader did not understand leaves the next one to the library, the second such session the next
//! three, the third the next seven: a camera that is irregular once is not read the slower way for ever, and one that
//! always is costs footage ever more rarely.

use std::sync::atomic::{AtomicU32, Ordering};

/// After so many irregular sessions the number that is left no longer doubles.
const DOUBLINGS_MAX: u32 = 10;

/// One camera's; forgotten when the gateway stops.
#[derive(Debug, Default)]
pub(super) struct Leave {
    irregular: AtomicU32,
    left: AtomicU32,
}

impl Leave {
    /// Our reader did not understand what came, or was refused where the library was not.
    pub(super) fn irregular(&self) {
        let before = self.irregular.fetch_add(1, Ordering::Relaxed);
        self.left.store((2 << before.min(DOUBLINGS_MAX)) - 1, Ordering::Relaxed);
    }

    /// Whether the session that is opened now is one of the library's.
    pub(super) fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_the_library_doubles_up_to_a_bound() {
        let leave = Leave::default();
        assert!(!leave.take(), "nothing was irregular");
        let sessions = |leave: &Leave| {
            leave.irregular();
            (0..).take_while(|_| leave.take()).count()
        };
        let left: Vec<usize> = (0..13).map(|_| sessions(&leave)).collect();
        assert_eq!(left, [1, 3, 7, 15, 31, 63, 127, 255, 511, 1_023, 2_047, 2_047, 2_047]);
    }
}
