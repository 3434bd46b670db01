//! How long a recording thread lets its sockets fill before it reads them.
//!
//! Invariant: while no session is being opened each wait is a whole tick, and in the long run nearly all are, whatever
//! cameras do.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// The wait while sessions are being opened: each takes half a dozen answers of its camera, one after the other, and a
/// camera answers within milliseconds.
const SHORT: Duration = Duration::from_millis(5);
/// A short wait costs as much as so many whole ticks have earned: cameras that never answer make a thread wake up a fifth
/// more often, no more.
const PRICE: u32 = 5;
/// Earned before the start, and kept at most: five seconds of short waits.
const CREDIT_MAX: u32 = PRICE * 1_000;

/// A runtime that, before it waits for its sockets, lets them fill for a tick: each read then takes all that came, and
/// one wake-up serves every camera of the thread.
#[expect(clippy::disallowed_methods, reason = "the pause is the point: nothing else runs on this thread")]
pub(super) fn recording_runtime(
    tick: Duration,
    is_opening: impl Fn() -> bool + Send + Sync + 'static,
) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    if !tick.is_zero() {
        let pace = Pace::new(tick);
        builder.on_thread_park(move || thread::sleep(pace.next(is_opening())));
    }
    builder.build()
}

/// One thread's waits.
struct Pace {
    tick: Duration,
    credit: AtomicU32,
}

impl Pace {
    fn new(tick: Duration) -> Self {
        Self { tick, credit: AtomicU32::new(CREDIT_MAX) }
    }

    /// The next wait.
    fn next(&self, is_opening: bool) -> Duration {
        let credit = self.credit.load(Ordering::Relaxed);
        let (wait, credit) = match credit.checked_sub(PRICE) {
            Some(left) if is_opening => (self.tick.min(SHORT), left),
            _ => (self.tick, CREDIT_MAX.min(credit + 1)),
        };
        // No other thread writes it.
        self.credit.store(credit, Ordering::Relaxed);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn a_thread_waits_whole_ticks_while_no_session_is_being_opened() {
        let pace = Pace::new(TICK);
        assert!((0..10_000).all(|_| pace.next(false) == TICK));
    }

    #[test]
    fn a_thousand_cameras_open_in_short_waits() {
        let pace = Pace::new(TICK);
        assert!((0..CREDIT_MAX / PRICE).all(|_| pace.next(true) == SHORT));
        assert_eq!(pace.next(true), TICK);
    }

    #[test]
    fn cameras_that_never_answer_cost_a_short_wait_in_six() {
        let pace = Pace::new(TICK);
        while pace.next(true) == SHORT {}
        let short = (0..6_000).filter(|_| pace.next(true) == SHORT).count();
        assert_eq!(short, 1_000);
    }

    #[test]
    fn quiet_earns_short_waits_up_to_a_bound() {
        let pace = Pace::new(TICK);
        while pace.next(true) == SHORT {}
        for _ in 0..10 * CREDIT_MAX {
            pace.next(false);
        }
        let in_a_row = (0..).take_while(|_| pace.next(true) == SHORT).count();
        assert_eq!(in_a_row, (CREDIT_MAX / PRICE) as usize);
    }

    #[test]
    fn a_tick_below_the_short_wait_stays_as_it_is() {
        let tick = Duration::from_millis(1);
        assert_eq!(Pace::new(tick).next(true), tick);
    }
}
