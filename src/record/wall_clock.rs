//! Where a run lies on the gateway's wall clock.
//!
//! [`Pace`] says when a picture was filmed on the monotonic clock; the wall clock's distance from that is one number
//! for the whole run. Slewing is followed, a part in sixteen at most. A step is not: it ends the run
//! ([`super::session`]), so that what was recorded before it stays together and can be corrected by one number.
//!
//! Invariant: inside a run, wall time never goes back, and each fragment begins where the one before it ends.
//! Absent on purpose: the camera's own clock places nothing. It is recorded beside (DESIGN, decision 9).

use super::pace::{Fitted, Pace};
use crate::index::clock::CLOCK_STEP_MIN;
use footage::clock::Reading;
use footage::media::{Fragment, Loss};
use footage::units::{TICKS_PER_SECOND, Ticks90k, WallTime};

/// The wall clock steps where it moves by so much against the monotonic clock.
const STEP_TICKS: i64 = CLOCK_STEP_MIN.0;
/// What it moves by less is followed by so much of a fragment's length.
const SLEW_PARTS: i64 = 16;
/// Where the camera's clock by RTP timestamps differs from that by arrival by more than this, its timestamps do not
/// keep time.
const REPORT_TICKS: i64 = TICKS_PER_SECOND;

/// One run's line.
#[derive(Debug)]
pub(super) struct WallTimeline {
    pace: Pace,
    /// Nothing of this run lies before.
    not_before: WallTime,
    /// Wall clock minus monotonic clock, as this run takes it.
    base: Ticks90k,
    next: Option<WallTime>,
    report: Option<Report>,
}

/// What the camera's clock showed at an RTP timestamp, and when that was received.
#[derive(Clone, Copy, Debug)]
struct Report {
    timestamp: i64,
    camera_time: WallTime,
    received: Ticks90k,
}

/// A fragment's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Where it begins.
    pub(super) wall_start: WallTime,
    /// What it covers.
    pub(super) wall_duration: Ticks90k,
    /// The camera's own clock at its first sample.
    pub(super) camera_time: Option<WallTime>,
    pub(super) fitted: Fitted,
    /// Decode time and length of the fragment by its timestamps alone.
    timed: (i64, i64),
}

impl Placed {
    /// A loss of the fragment. What lies before the fragment is not stretched with it.
    pub(super) fn on_wall(&self, loss: &Loss) -> (WallTime, WallTime) {
        let (begin, length) = self.timed;
        let on_wall = |media: Ticks90k| {
            let since = media.0.saturating_sub(begin);
            let since = match since > 0 && length > 0 {
                true => (i128::from(since) * i128::from(self.wall_duration.0) / i128::from(length)) as i64,
                false => since,
            };
            self.wall_start.saturating_add(Ticks90k(since))
        };
        let end = on_wall(loss.end);
        (on_wall(loss.start).min(WallTime(end.0.saturating_sub(1))), end)
    }
}

impl WallTimeline {
    /// A run that begins when the clocks show this, and of which nothing lies before `not_before`.
    pub(super) fn new(now: Reading, not_before: WallTime) -> Self {
        Self { pace: Pace::default(), not_before, base: now.base(), next: None, report: None }
    }

    /// Wall clock minus monotonic clock that the run goes by.
    pub(super) fn base(&self) -> Ticks90k {
        self.base
    }

    /// The camera's timestamps did not keep time within the last minute.
    pub(super) fn is_following(&self) -> bool {
        self.pace.is_following()
    }

    /// The wall clock is not where the run takes it to be.
    pub(super) fn has_stepped(&self, now: Reading) -> bool {
        (now.base().0 - self.base.0).abs() >= STEP_TICKS
    }

    /// The camera said what its clock showed at an RTP timestamp.
    pub(super) fn sender_report(&mut self, timestamp: i64, camera_time: WallTime, received: Reading) {
        self.report = Some(Report { timestamp, camera_time, received: Ticks90k::from_duration(received.mono) });
    }

    /// Takes the run's next fragment; gives those that can be placed now, in order.
    pub(super) fn take(&mut self, fragment: Fragment) -> Vec<Fragment> {
        self.pace.take(fragment)
    }

    /// The run is over: gives what is left to place.
    pub(super) fn rest(&mut self) -> Vec<Fragment> {
        self.pace.rest()
    }

    /// Places the next fragment that was given out.
    pub(super) fn place(&mut self, fragment: &mut Fragment) -> Placed {
        let slewed = fragment.first_received.base().0 - self.base.0;
        if self.next.is_none() {
            let target = WallTime(self.pace.filmed(fragment).0.saturating_add(self.base.0));
            let start = target.max(self.not_before);
            self.pace.delay(start.since(target));
            self.next = Some(start);
        }
        let filmed = self.pace.filmed(fragment);
        let timed = (fragment.decode_time.0, fragment.duration.0);
        let fitted = self.pace.fit(fragment);
        let wall_start = self.next.unwrap_or(self.not_before);
        let most = fragment.duration.0 / SLEW_PARTS;
        let slew = if slewed.abs() >= STEP_TICKS { 0 } else { slewed.clamp(-most, most) };
        self.base = Ticks90k(self.base.0.saturating_add(slew));
        let wall_duration = Ticks90k((fragment.duration.0 + fitted.drift.0 + slew).max(1));
        self.next = Some(wall_start.saturating_add(wall_duration));
        let camera_time = self.report.map(|report| {
            let by_arrival = report.camera_time.saturating_add(Ticks90k(filmed.0.saturating_sub(report.received.0)));
            let since = fragment.first_timestamp.saturating_sub(report.timestamp);
            let by_timestamp = report.camera_time.saturating_add(Ticks90k(since));
            let keeps_time = by_timestamp.since(by_arrival).0.saturating_abs() <= REPORT_TICKS;
            if keeps_time { by_timestamp } else { by_arrival }
        });
        Placed { wall_start, wall_duration, camera_time, fitted, timed }
    }
}

#[cfg(test)]
mod tests;
