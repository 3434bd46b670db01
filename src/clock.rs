//! The clock seam: wall time that may step, and monotonic time that may not.
//!
//! Invariant: only this file reads the machine's clocks; timers go through `tokio::time`, which tests pause.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::units::{Ticks90k, WallTime};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Wall clock: disciplined by NTP, may step either way.
    pub wall: WallTime,
    /// Time since an arbitrary origin of the process: never goes back.
    pub mono: Duration,
}

/// Where the time comes from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Both clocks, read together.
    fn read(&self) -> Reading;

    /// The wall clock alone.
    fn wall(&self) -> WallTime {
        self.read().wall
    }
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: tokio::time::Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn read(&self) -> Reading {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Reading { wall: WallTime(Ticks90k::from_duration(since_epoch).0), mono: self.origin.elapsed() }
    }
}

/// A clock for tests: follows tokio's clock, which a test pauses and which then advances by itself whenever every
/// task waits; its wall time can be stepped as an operator or an NTP server would.
#[derive(Debug)]
pub struct SimClock {
    origin: tokio::time::Instant,
    wall_at_origin: AtomicI64,
}

impl SimClock {
    /// A clock that shows `wall` now.
    pub fn starting_at(wall: WallTime) -> Self {
        Self { origin: tokio::time::Instant::now(), wall_at_origin: AtomicI64::new(wall.0) }
    }

    /// Steps the wall clock, forwards or backwards; monotonic time does not notice.
    pub fn step(&self, by: Ticks90k) {
        self.wall_at_origin.fetch_add(by.0, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn read(&self) -> Reading {
        let mono = self.origin.elapsed();
        let base = WallTime(self.wall_at_origin.load(Ordering::SeqCst));
        Reading { wall: base.saturating_add(Ticks90k::from_duration(mono)), mono }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_moves_the_wall_and_not_the_monotonic_clock() {
        let clock = SimClock::starting_at(WallTime(1_000_000));
        tokio::time::advance(Duration::from_secs(2)).await;
        let before = clock.read();
        assert_eq!(before.wall, WallTime(1_000_000 + 180_000));
        clock.step(Ticks90k(-30 * 90_000));
        let after = clock.read();
        assert_eq!(after.mono, before.mono);
        assert_eq!(after.wall.since(before.wall), Ticks90k(-30 * 90_000));
    }
}
