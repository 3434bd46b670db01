//! When to try a camera again.

use std::time::Duration;

use footage::media::GapCause;

const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(30);
/// A camera whose password was put right is back within half a minute; one whose account locks after a few failures gets no
/// more of them than that takes.
const UNAUTHORIZED: Duration = Duration::from_secs(25);

/// Doubles from failure to failure up to a cap; the actual wait is drawn from its upper half, so that a thousand
/// cameras that fell together do not come back together. Refused credentials wait about as long each time.
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
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        match cause {
            GapCause::Unauthorized => UNAUTHORIZED.mul_f64(0.8 + draw / 5.0),
            _ => FIRST.saturating_mul(1 << doublings).min(MOST).mul_f64(0.5 + draw / 2.0),
        }
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
    fn credentials_that_were_put_right_are_tried_within_half_a_minute_however_long_they_were_wrong() {
        check(GapCause::Unauthorized, 1.0, &[25_000; 50]);
        check(GapCause::Unauthorized, 0.0, &[20_000; 50]);
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
