//! When to try a camera again.

use std::time::Duration;

use crate::media::GapCause;

const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(30);
/// Cameras lock an account that fails too often.
const FIRST_UNAUTHORIZED: Duration = Duration::from_secs(30);
const MOST_UNAUTHORIZED: Duration = Duration::from_secs(300);

/// Doubles from failure to failure up to a cap; the actual wait is drawn from its upper half, so that a thousand
/// cameras that fell together do not come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A session worked: the next failure starts from the beginning.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait now; `draw` is uniform in 0..1.
    pub(super) fn next(&mut self, cause: GapCause, draw: f64) -> Duration {
        let (first, most) = match cause {
            GapCause::Unauthorized => (FIRST_UNAUTHORIZED, MOST_UNAUTHORIZED),
            _ => (FIRST, MOST),
        };
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(most);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(0.5 + draw / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cause: GapCause, draw: f64, expect_ms: &[u128]) {
        let mut backoff = Backoff::default();
        let got: Vec<u128> = expect_ms.iter().map(|_| backoff.next(cause, draw).as_millis()).collect();
        assert_eq!(got, expect_ms);
    }

    #[test]
    fn waits_double_to_a_cap_and_are_drawn_from_the_upper_half() {
        check(GapCause::ConnectFailed, 1.0, &[1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        check(GapCause::ConnectFailed, 0.0, &[500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
    }

    #[test]
    fn refused_credentials_are_not_tried_so_often_that_the_camera_locks_the_account() {
        check(GapCause::Unauthorized, 1.0, &[30_000, 60_000, 120_000, 240_000, 300_000]);
    }

    #[test]
    fn a_session_that_worked_starts_again_from_the_beginning() {
        let mut backoff = Backoff::default();
        (0..9).for_each(|_| {
            backoff.next(GapCause::Silent, 0.5);
        });
        backoff.reset();
        assert_eq!(backoff.next(GapCause::Silent, 1.0), FIRST);
    }
}
