//! Whether the recording threads turn: each beats once a second from within its own runtime, so that a thread which is
//! stuck in one camera's bytes, in the disk or in a lock falls silent. The service manager hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use footage::clock::Clock;
use parking_lot::Mutex;

/// From beat to beat.
const EVERY: Duration = Duration::from_secs(1);
/// A thread that has not beaten for this long is stuck: what blocks it in good health, a flush of the disk or a look at four
/// hundred sockets, takes a fraction of it.
const STUCK_AFTER: Duration = Duration::from_secs(20);

/// One thread: its name and its last beat, in milliseconds of the monotonic clock.
#[derive(Debug)]
struct Beat {
    thread: String,
    at: Arc<AtomicU64>,
}

/// The beats of all recording threads; cheap to clone.
#[derive(Clone, Debug)]
pub struct Pulse {
    beats: Arc<Mutex<Vec<Beat>>>,
    clock: Arc<dyn Clock>,
}

impl Pulse {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { beats: Arc::default(), clock }
    }

    /// A thread that begins now: what has to run on its runtime, for as long as that turns.
    pub(super) fn thread(&self, name: &str) -> impl Future<Output = ()> + Send + use<> {
        let (at, clock) = (Arc::new(AtomicU64::new(milliseconds(&*self.clock))), self.clock.clone());
        let beat = Beat { thread: name.to_owned(), at: at.clone() };
        self.beats.lock().push(beat);
        async move {
            loop {
                at.store(milliseconds(&*clock), Ordering::Relaxed);
                tokio::time::sleep(EVERY).await;
            }
        }
    }

    /// The first thread that is stuck, and for how long.
    pub fn stuck(&self) -> Option<(String, Duration)> {
        let now = milliseconds(&*self.clock);
        let beats = self.beats.lock();
        let silent = |beat: &Beat| Duration::from_millis(now.saturating_sub(beat.at.load(Ordering::Relaxed)));
        let stuck = beats.iter().find(|beat| silent(beat) > STUCK_AFTER)?;
        Some((stuck.thread.clone(), silent(stuck)))
    }
}

fn milliseconds(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.read().mono.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use footage::clock::SimClock;
    use footage::units::WallTime;

    #[tokio::test(start_paused = true)]
    async fn a_thread_whose_runtime_no_longer_turns_is_named() {
        let clock = Arc::new(SimClock::starting_at(WallTime(0)));
        let pulse = Pulse::new(clock);
        let turning = tokio::spawn(pulse.thread("0"));
        let stuck = tokio::spawn(pulse.thread("1"));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(pulse.stuck(), None);
        stuck.abort();
        tokio::time::sleep(STUCK_AFTER - 2 * EVERY).await;
        assert_eq!(pulse.stuck(), None, "it may only be slow");
        tokio::time::sleep(4 * EVERY).await;
        let (thread, silent) = pulse.stuck().expect("one is stuck");
        assert!(thread == "1" && silent > STUCK_AFTER, "{thread} {silent:?}");
        turning.abort();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(pulse.stuck().map(|(thread, _)| thread).as_deref(), Some("0"));
    }
}
