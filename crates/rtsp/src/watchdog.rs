//! Notices when a session falls silent.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use footage::clock::Clock;

/// A second look, this long after the alarm: a task whose tokio budget is spent sees every socket empty once.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// Watches for silence with one timer, which is looked at when there is nothing else to do and set again only when
/// it has gone off.
pub(super) struct Watchdog {
    alarm: Pin<Box<Sleep>>,
    pub(super) silence_max: Duration,
    /// Monotonic time of the last picture.
    last_data: Duration,
    overdue: bool,
}

impl Watchdog {
    pub(super) fn new(silence_max: Duration, now: Duration) -> Self {
        Self { alarm: Box::pin(sleep(silence_max)), silence_max, last_data: now, overdue: false }
    }

    pub(super) fn hear(&mut self, now: Duration) {
        self.last_data = now;
        self.overdue = false;
    }

    /// Ready when it has been silent for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, clock: &dyn Clock) -> Poll<()> {
        // Not `poll` alone: it stays pending while the task's tokio budget is spent, which is for ever when a camera
        // floods us with what is no picture.
        while self.alarm.is_elapsed() || self.alarm.as_mut().poll(cx).is_ready() {
            let now = clock.read().mono;
            let left = self.silence_max.saturating_sub(now.saturating_sub(self.last_data));
            if left.is_zero() && self.overdue {
                return Poll::Ready(());
            }
            self.overdue = left.is_zero();
            self.alarm.as_mut().reset(Instant::now() + left.max(SECOND_LOOK));
        }
        Poll::Pending
    }
}
