//! Whether the recording threads turn: each beats once a second from within its own runtime, so that a thread which is
//! stuck in one camera's bytes, in the disk or in a lock falls silent. The service manager hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// From beat to beat.
const EVERY: Duration = Duration::from_secs(1);
/// A thread that has not beaten for this long is stuck: what blocks it in good health, a flush of the disk or a look at four
/// hundred sockets, takes a fraction of it.
const STUCK_AFTER: Duration = Duration::from_secs(20);

/// One thread's last beat, in milliseconds of the monotonic clock.
#[derive(Clone, Debug)]
pub(super) struct Beat(Arc<AtomicU64>);

impl Beat {
    fn strike(&self, clock: &dyn Clock) {
        self.0.store(milliseconds(clock), Ordering::Relaxed);
    }

    /// Beats for as long as the thread's runtime turns.
    pub(super) async fn keep(self, clock: Arc<dyn Clock>) {
        loop {
            self.strike(&*clock);
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// The beats of all recording threads; cheap to clone.
#[derive(Clone, Debug)]
pub struct Pulse {
    beats: Arc<[Beat]>,
    clock: Arc<dyn Clock>,
}

impl Pulse {
    /// Of so many threads, each of which begins now.
    pub(super) fn new(threads: usize, clock: Arc<dyn Clock>) -> Self {
        let beat = |_| {
            let beat = Beat(Arc::default());
            beat.strike(&*clock);
            beat
        };
        Self { beats: (0..threads).map(beat).collect(), clock }
    }

    pub(super) fn beats(&self) -> &[Beat] {
        &self.beats
    }

    /// The first thread that is stuck, and for how long.
    pub fn stuck(&self) -> Option<(usize, Duration)> {
        let now = milliseconds(&*self.clock);
        let silent = self.beats.iter().map(|beat| now.saturating_sub(beat.0.load(Ordering::Relaxed)));
        let silent = silent.map(Duration::from_millis);
        silent.enumerate().find(|(_, silent)| *silent > STUCK_AFTER)
    }
}

fn milliseconds(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.read().mono.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimClock;
    use crate::units::WallTime;

    #[tokio::test(start_paused = true)]
    async fn a_thread_whose_runtime_no_longer_turns_is_named() {
        let clock = Arc::new(SimClock::starting_at(WallTime(0)));
        let pulse = Pulse::new(2, clock.clone());
        let turning = tokio::spawn(pulse.beats()[0].clone().keep(clock.clone()));
        let stuck = tokio::spawn(pulse.beats()[1].clone().keep(clock));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(pulse.stuck(), None);
        stuck.abort();
        tokio::time::sleep(STUCK_AFTER - 2 * EVERY).await;
        assert_eq!(pulse.stuck(), None, "it may only be slow");
        tokio::time::sleep(4 * EVERY).await;
        let (thread, silent) = pulse.stuck().expect("one is stuck");
        assert!(thread == 1 && silent > STUCK_AFTER, "{thread} {silent:?}");
        turning.abort();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(pulse.stuck().map(|(thread, _)| thread), Some(0));
    }
}
