//! The clock seam: wall time that may step, and monotonic time that may not.
//!
//! Monotonic time goes on while the machine is suspended (`CLOCK_BOOTTIME`), so the wall clock's distance from it changes
//! by steps alone: what disciplines the one slews the other with it. The distance is the same for every process since
//! the machine started, which [`Clock::boot`] names.
//!
//! Invariant: only this file reads the machine's clocks; timers go through `tokio::time`, which tests pause.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::units::{BootId, Ticks90k, WallTime};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Wall clock: disciplined by NTP, may step either way.
    pub wall: WallTime,
    /// Time since the machine started, suspension included: never goes back.
    pub mono: Duration,
}

impl Reading {
    /// Wall clock minus monotonic clock.
    pub fn base(&self) -> Ticks90k {
        Ticks90k(self.wall.0.saturating_sub(Ticks90k::from_duration(self.mono).0))
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Both clocks, read together.
    fn read(&self) -> Reading;

    /// The wall clock alone.
    fn wall(&self) -> WallTime {
        self.read().wall
    }

    /// Since when monotonic time counts: another id, another origin.
    fn boot(&self) -> BootId;
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    boot: BootId,
}

impl Default for SystemClock {
    fn default() -> Self {
        // Without the kernel's id, nothing is known of the processes before this one.
        Self { boot: kernel_boot_id().unwrap_or_else(BootId::generate) }
    }
}

fn kernel_boot_id() -> Option<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    text.trim().replace('-', "").parse().ok()
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn read(&self) -> Reading {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let since_boot = rustix::time::clock_gettime(clock);
        let mono = Duration::new(since_boot.tv_sec.unsigned_abs(), since_boot.tv_nsec as u32);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Reading { wall: WallTime(Ticks90k::from_duration(since_epoch).0), mono }
    }

    fn boot(&self) -> BootId {
        self.boot
    }
}

/// A clock for tests: follows tokio's clock, which a test pauses and which then advances by itself whenever every
/// task waits; its wall time can be stepped as an operator or an NTP server would.
#[derive(Debug)]
pub struct SimClock {
    boot: BootId,
    origin: tokio::time::Instant,
    wall_at_origin: AtomicI64,
}

impl SimClock {
    /// A clock that shows `wall` now.
    pub fn starting_at(wall: WallTime) -> Self {
        Self { boot: BootId::generate(), origin: tokio::time::Instant::now(), wall_at_origin: AtomicI64::new(wall.0) }
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

    fn boot(&self) -> BootId {
        self.boot
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
