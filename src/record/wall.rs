//! Where a run's media time lies on the gateway's wall clock.
//!
//! The first fragment is placed by its arrival. Those after it follow on from one another, and the line they make is
//! held to the wall clock: the smallest delay between media time and arrival over the last minute shows how the
//! camera's crystal drifts, the wall clock against the monotonic one shows its steps.
//!
//! Invariant: wall time never goes back, so footage is never reordered. A lead is worked off by making fragments
//! shorter on the wall clock than in media time; only a lag of more than a second is jumped, and that is a gap.
//! Absent on purpose: the camera's own clock places nothing. It is recorded beside (DESIGN, decision 7).

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Reading;
use crate::media::{Fragment, Gap, GapCause};
use crate::units::{TICKS_PER_SECOND, Ticks90k, WallTime};

/// Delays older than this say nothing of the drift now.
const WINDOW: Duration = Duration::from_secs(60);
/// A line that lags further behind the wall clock jumps.
const STEP_TICKS: i64 = TICKS_PER_SECOND;
/// Up to here the difference is drift and jitter: corrected by 500 parts in a million, which is more than a crystal is
/// off. Beyond, it is a step of a clock or a burst at the start: corrected by one part in sixteen.
const DRIFT_TICKS: i64 = TICKS_PER_SECOND / 2;
const DRIFT_PARTS: i64 = 2_000;
const STEP_PARTS: i64 = 16;

/// One run's line.
#[derive(Debug)]
pub(super) struct WallLine {
    /// Nothing of this run lies before.
    not_before: WallTime,
    next: Option<WallTime>,
    /// Delays that are the smallest of all after them, oldest first: the front is the window's minimum.
    delays: VecDeque<(Duration, i64)>,
    report: Option<(i64, WallTime)>,
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
    /// Wall clock minus line, before this fragment corrected it.
    pub(super) offset: Ticks90k,
    /// The line jumped: what lies between.
    pub(super) jumped: Option<Gap>,
}

impl WallLine {
    /// A run of which nothing lies before `not_before`.
    pub(super) fn new(not_before: WallTime) -> Self {
        Self { not_before, next: None, delays: VecDeque::new(), report: None }
    }

    /// The camera said what its clock showed at an RTP timestamp.
    pub(super) fn sender_report(&mut self, timestamp: i64, camera_time: WallTime) {
        self.report = Some((timestamp, camera_time));
    }

    /// Places the run's next fragment.
    pub(super) fn place(&mut self, fragment: &Fragment) -> Placed {
        let target = self.target(fragment);
        let (wall_start, offset, jumped) = match self.next {
            None => (target.max(self.not_before), Ticks90k::ZERO, None),
            Some(next) => {
                let offset = target.since(next);
                if offset.0 > STEP_TICKS {
                    let gap = Gap { start: next, end: target, cause: GapCause::ClockStep, lost_packets: 0 };
                    (target, offset, Some(gap))
                } else {
                    (next, offset, None)
                }
            }
        };
        let media = fragment.duration.0.max(1);
        let behind = target.since(wall_start).0;
        let parts = if behind.abs() <= DRIFT_TICKS { DRIFT_PARTS } else { STEP_PARTS };
        let most = media / parts;
        let wall_duration = Ticks90k((media + behind.clamp(-most, most)).max(1));
        self.next = Some(wall_start.saturating_add(wall_duration));
        let camera_time =
            self.report.map(|(at, time)| time.saturating_add(Ticks90k(fragment.first_timestamp.saturating_sub(at))));
        Placed { wall_start, wall_duration, camera_time, offset, jumped }
    }

    /// Where arrival says that the fragment begins.
    fn target(&mut self, fragment: &Fragment) -> WallTime {
        let Reading { wall, mono } = fragment.first_received;
        let delay = Ticks90k::from_duration(mono).0.saturating_sub(fragment.decode_time.0);
        while self.delays.back().is_some_and(|&(_, later)| later >= delay) {
            self.delays.pop_back();
        }
        self.delays.push_back((mono, delay));
        while self.delays.front().is_some_and(|&(at, _)| at + WINDOW < mono) {
            self.delays.pop_front();
        }
        let least = self.delays.front().map_or(delay, |&(_, delay)| delay);
        wall.saturating_sub(Ticks90k(delay.saturating_sub(least)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Params, VideoCodec, VideoParams};
    use bytes::Bytes;
    use std::sync::Arc;

    const SECOND: i64 = TICKS_PER_SECOND;
    const DAY0: i64 = 1_700_000_000 * SECOND;

    /// A second of media that begins at `media_seconds` and arrived when the clocks showed this.
    fn fragment(media_seconds: i64, mono_ticks: i64, wall_ticks: i64) -> Fragment {
        let video = VideoParams {
            codec: VideoCodec::H264,
            width: 704,
            height: 576,
            sample_entry: Bytes::new(),
            rfc6381: String::new(),
        };
        let received = Reading { wall: WallTime(DAY0 + wall_ticks), mono: Ticks90k(mono_ticks).to_duration() };
        Fragment {
            params: Arc::new(Params { video, audio: None }),
            decode_time: Ticks90k(media_seconds * SECOND),
            duration: Ticks90k(SECOND),
            random_access: true,
            video: Vec::new(),
            audio: Vec::new(),
            audio_decode_time: 0,
            payload: Vec::new(),
            first_timestamp: 1_000 + media_seconds * SECOND,
            first_received: received,
            last_received: received,
            followed: true,
            losses: Vec::new(),
        }
    }

    /// Places a fragment a second; `wall(i)` and `mono(i)` are the clocks at each arrival. Checks that the line is one.
    fn line(n: i64, mono: impl Fn(i64) -> i64, wall: impl Fn(i64) -> i64) -> Vec<Placed> {
        let mut line = WallLine::new(WallTime(DAY0));
        let placed: Vec<Placed> = (0..n).map(|i| line.place(&fragment(i, mono(i), wall(i)))).collect();
        for pair in placed.windows(2) {
            let end = pair[0].wall_start.saturating_add(pair[0].wall_duration);
            match pair[1].jumped {
                None => assert_eq!(end, pair[1].wall_start),
                Some(gap) => assert_eq!((gap.start, gap.end), (end, pair[1].wall_start)),
            }
            assert!(pair[1].wall_start > pair[0].wall_start, "wall time went back");
        }
        placed
    }

    #[test]
    fn a_steady_camera_covers_what_it_filmed() {
        let placed = line(10, |i| i * SECOND, |i| i * SECOND);
        assert!(placed.iter().all(|p| p.wall_duration == Ticks90k(SECOND) && p.offset == Ticks90k::ZERO));
    }

    #[test]
    fn late_packets_do_not_move_the_line() {
        let late = |i: i64| i * SECOND + if i % 7 == 3 { SECOND * 3 / 4 } else { 0 };
        let placed = line(30, late, late);
        assert!(placed.iter().all(|p| p.offset.0.abs() <= 1), "{placed:?}");
    }

    #[test]
    fn a_camera_whose_crystal_drifts_stays_on_the_wall_clock() {
        // 100 parts in a million fast: a media second arrives each 0.9999 s.
        let arrival = |i: i64| i * (SECOND - 9);
        let placed = line(20_000, arrival, arrival);
        let worst = placed.iter().map(|p| p.offset.0.abs()).max().unwrap();
        assert!(worst < SECOND / 20, "the line was off by {worst} ticks");
    }

    #[test]
    fn a_wall_clock_that_steps_forward_leaves_a_gap_and_nothing_is_reordered() {
        let placed = line(20, |i| i * SECOND, |i| (i + if i >= 10 { 30 } else { 0 }) * SECOND);
        let jumps: Vec<_> = placed.iter().filter_map(|p| p.jumped).collect();
        assert_eq!(jumps.len(), 1);
        assert_eq!(jumps[0].end.since(jumps[0].start), Ticks90k(30 * SECOND));
        assert_eq!(jumps[0].cause, GapCause::ClockStep);
    }

    #[test]
    fn a_wall_clock_that_steps_backward_is_worked_off_without_a_gap() {
        let placed = line(700, |i| i * SECOND, |i| (i - if i >= 10 { 30 } else { 0 }) * SECOND);
        assert!(placed.iter().all(|p| p.jumped.is_none()));
        assert_eq!(placed[10].offset, Ticks90k(-30 * SECOND), "the step shows");
        assert!(placed[699].offset.0.abs() <= DRIFT_TICKS, "{:?} is left", placed[699].offset);
    }

    #[test]
    fn a_run_begins_after_what_was_recorded_before() {
        let mut line = WallLine::new(WallTime(DAY0 + 5 * SECOND));
        assert_eq!(line.place(&fragment(0, 0, 0)).wall_start, WallTime(DAY0 + 5 * SECOND));
    }

    #[test]
    fn the_cameras_clock_is_told_and_places_nothing() {
        let mut line = WallLine::new(WallTime(DAY0));
        assert_eq!(line.place(&fragment(0, 0, 0)).camera_time, None);
        line.sender_report(1_000, WallTime(DAY0 + 3_600 * SECOND));
        let placed = line.place(&fragment(1, SECOND, SECOND));
        assert_eq!(placed.camera_time, Some(WallTime(DAY0 + 3_601 * SECOND)));
        assert_eq!(placed.wall_start, WallTime(DAY0 + SECOND));
    }
}
