//! What of a camera's time has no footage, and why: gap rows in the making.
//!
//! Invariant: from the first footage of a camera on, each instant is in a fragment or in a gap. A gap is closed and
//! another opened when its cause changes, so that each stretch says its own.
//!
//! Where the gateway's clock is set, what has happened so far moves with it: an outage begins when it began, by the new
//! time, and footage that goes on follows without a gap. A clock that was set ahead leaves times that no footage bears;
//! they are a gap of their own, [`GapCause::ClockStep`], and stand for nothing that was missed.

use crate::event::{Event, Fact};
use crate::index::Change;
use crate::index::clock::CLOCK_STEP_MIN;
use footage::clock::Reading;
use footage::media::{Gap, GapCause};
use footage::units::{BootId, CameraKey, TICKS_PER_SECOND, Ticks90k, WallTime};

/// Gaps that travel with one fragment: a camera that fails in turns for days joins the oldest.
const CARRIED_MAX: usize = 64;

/// One camera's continuity.
#[derive(Clone, Debug)]
pub struct Continuity {
    camera: CameraKey,
    /// Wall clock minus monotonic clock that the times below are by, once it is known.
    base: Option<Ticks90k>,
    last_end: Option<WallTime>,
    open: Option<(WallTime, GapCause)>,
    /// Closed since the last fragment.
    closed: Vec<Gap>,
}

impl Continuity {
    /// As the index knows it at start: the end of the last footage, and the gap that was open when the gateway ended.
    pub fn new(camera: CameraKey, last_end: Option<WallTime>, open: Option<(WallTime, GapCause)>) -> Self {
        Self { camera, base: None, last_end, open, closed: Vec::new() }
    }

    /// The gateway's clocks stand so now, in this boot of the machine.
    pub fn clock_is(&mut self, now: Reading, boot: BootId) -> Vec<Change> {
        let base = now.base();
        let by = Ticks90k(base.0.saturating_sub(self.base.replace(base).unwrap_or(base).0));
        if by.0.abs() < CLOCK_STEP_MIN.0 {
            return Vec::new();
        }
        let before = self.last_end;
        let moved = |at: WallTime| at.saturating_add(by);
        self.last_end = before.map(moved);
        for gap in &mut self.closed {
            (gap.start, gap.end) = (moved(gap.start), moved(gap.end));
        }
        if let (Some(start), Some(end)) = (before, self.last_end)
            && start < end
        {
            self.closed.insert(0, Gap { start, end, cause: GapCause::ClockStep, lost_packets: 0 });
        }
        let mut changes = vec![Change::ClockBase { boot, base }, clock_step(&self.camera, now.wall, by)];
        if let Some((start, cause)) = &mut self.open {
            *start = moved(*start);
            changes.push(Change::OpenGap { camera: self.camera.clone(), start: *start, cause: *cause });
        }
        changes
    }

    /// Footage may not begin before this.
    pub fn not_before(&self) -> Option<WallTime> {
        // A gap that a run closes has some length, or its row would look like an open one.
        match self.open {
            Some((start, _)) => Some(WallTime(start.0.saturating_add(1))),
            None => self.last_end,
        }
    }

    /// Why nothing is recorded now.
    pub fn cause(&self) -> Option<GapCause> {
        self.open.map(|(_, cause)| cause)
    }

    /// Nothing is recorded any more, or still nothing for another reason.
    pub fn stopped(&mut self, now: WallTime, cause: GapCause) -> Vec<Change> {
        let mut changes = Vec::new();
        let start = match self.open {
            None => self.last_end.unwrap_or(now),
            Some((_, before)) if before == cause => return changes,
            Some((start, before)) => {
                // The line of the recording may be ahead of a clock that stepped back.
                if now <= start {
                    start
                } else {
                    let gap = Gap { start, end: now, cause: before, lost_packets: 0 };
                    changes.push(Change::PutGap { camera: self.camera.clone(), gap });
                    self.carry(gap);
                    now
                }
            }
        };
        self.open = Some((start, cause));
        changes.push(Change::OpenGap { camera: self.camera.clone(), start, cause });
        changes
    }

    fn carry(&mut self, gap: Gap) {
        if self.closed.len() >= CARRIED_MAX {
            let second = self.closed.remove(1);
            self.closed[0].end = second.end;
        }
        self.closed.push(gap);
    }

    /// Footage goes on: the gaps that the first fragment carries, oldest first.
    pub fn resumed(&mut self, wall_start: WallTime) -> Vec<Gap> {
        let mut gaps = std::mem::take(&mut self.closed);
        if let Some((start, cause)) = self.open.take() {
            gaps.push(Gap { start, end: wall_start, cause, lost_packets: 0 });
        }
        gaps
    }

    /// A fragment that ends here was written.
    pub fn recorded(&mut self, end: WallTime) {
        self.last_end = Some(end);
    }

    /// End of the last footage.
    pub fn last_end(&self) -> Option<WallTime> {
        self.last_end
    }
}

fn clock_step(camera: &CameraKey, at: WallTime, by: Ticks90k) -> Change {
    let by_ms = by.0 / (TICKS_PER_SECOND / 1_000);
    Change::Event(Event::of_camera(at, camera, Fact::ClockStep { by_ms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> CameraKey {
        "town/hall".parse().unwrap()
    }

    fn gap(start: i64, end: i64, cause: GapCause) -> Gap {
        Gap { start: WallTime(start), end: WallTime(end), cause, lost_packets: 0 }
    }

    #[test]
    fn each_stretch_of_an_outage_says_its_own_cause() {
        let mut continuity = Continuity::new(camera(), None, None);
        continuity.recorded(WallTime(100));
        let opened = continuity.stopped(WallTime(140), GapCause::Disconnected);
        assert_eq!(
            opened,
            [Change::OpenGap { camera: camera(), start: WallTime(100), cause: GapCause::Disconnected }],
            "from the end of the footage, not from when it was noticed"
        );
        assert!(continuity.stopped(WallTime(150), GapCause::Disconnected).is_empty());
        continuity.stopped(WallTime(160), GapCause::ConnectFailed);
        let carried = continuity.resumed(WallTime(200));
        assert_eq!(carried, [gap(100, 160, GapCause::Disconnected), gap(160, 200, GapCause::ConnectFailed)]);
        assert!(continuity.resumed(WallTime(201)).is_empty());
    }

    #[test]
    fn a_gateway_that_was_down_keeps_that_stretch_apart_from_a_camera_that_is_down_now() {
        let open = Some((WallTime(50), GapCause::GatewayStopped));
        let mut continuity = Continuity::new(camera(), Some(WallTime(50)), open);
        assert_eq!(continuity.not_before(), Some(WallTime(51)));
        continuity.stopped(WallTime(90), GapCause::ConnectFailed);
        let carried = continuity.resumed(WallTime(100));
        assert_eq!(carried, [gap(50, 90, GapCause::GatewayStopped), gap(90, 100, GapCause::ConnectFailed)]);
    }

    const BOOT: BootId = BootId([1; 16]);

    /// A camera that recorded until 100 and lost its connection; then the clock is set.
    fn set_while_disconnected(by: i64) -> (Vec<Change>, Vec<Gap>) {
        let mut continuity = Continuity::new(camera(), None, None);
        let at = |wall: i64| Reading { wall: WallTime(wall), mono: std::time::Duration::ZERO };
        assert!(continuity.clock_is(at(5), BOOT).is_empty());
        continuity.recorded(WallTime(100));
        continuity.stopped(WallTime(140), GapCause::Disconnected);
        let changes = continuity.clock_is(at(5 + by), BOOT);
        (changes, continuity.resumed(WallTime(200 + by)))
    }

    #[test]
    fn an_outage_moves_with_a_clock_that_is_set() {
        let hour = 3_600 * 90_000;
        let expect = |by: i64| {
            let base = Change::ClockBase { boot: BOOT, base: Ticks90k(5 + by) };
            let (start, cause) = (WallTime(100 + by), GapCause::Disconnected);
            let step = clock_step(&camera(), WallTime(5 + by), Ticks90k(by));
            [base, step, Change::OpenGap { camera: camera(), start, cause }]
        };
        let (changes, gaps) = set_while_disconnected(-hour);
        assert_eq!(changes, expect(-hour));
        assert_eq!(gaps, [gap(100 - hour, 200 - hour, GapCause::Disconnected)]);
        let (changes, gaps) = set_while_disconnected(hour);
        assert_eq!(changes, expect(hour));
        let skipped = gap(100, 100 + hour, GapCause::ClockStep);
        assert_eq!(gaps, [skipped, gap(100 + hour, 200 + hour, GapCause::Disconnected)]);
    }

    #[test]
    fn a_clock_that_is_slewed_moves_nothing() {
        let (changes, gaps) = set_while_disconnected(CLOCK_STEP_MIN.0 - 1);
        assert_eq!((changes, gaps[0].start), (Vec::new(), WallTime(100)));
    }

    #[test]
    fn a_camera_that_fails_in_turns_carries_a_bounded_number_of_gaps_without_a_hole() {
        let mut continuity = Continuity::new(camera(), Some(WallTime(0)), None);
        for i in 0..1_000 {
            let cause = if i % 2 == 0 { GapCause::ConnectFailed } else { GapCause::SetupTimeout };
            continuity.stopped(WallTime(i * 10), cause);
        }
        let carried = continuity.resumed(WallTime(20_000));
        assert!(carried.len() <= CARRIED_MAX + 1);
        assert_eq!((carried[0].start, carried.last().unwrap().end), (WallTime(0), WallTime(20_000)));
        assert!(carried.windows(2).all(|w| w[0].end == w[1].start));
    }
}
