//! Coverage and gaps of one camera.
//!
//! Invariant: coverage is what segments hold, to the tick; a gap that lies inside a segment (packets lost on the way)
//! is listed and takes nothing away from it. Answers are bounded: what would be longer is refused with a way to ask.

use std::collections::HashSet;

use super::{Footage, FootageOf, RetrieveError};
use crate::index::clock::MisdatedRun;
use crate::index::{GapRow, SEGMENT_DURATION_MAX};
use footage::media::GapCause;
use footage::units::{CameraKey, TICKS_PER_DAY, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// Longest range, in days: a month of retention and its margins.
pub const TIMELINE_DAYS_MAX: i64 = 32;

/// Most stretches of either kind in one answer.
const STRETCHES_MAX: usize = 20_000;

/// What there is of a camera in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Footage, cut to the range; stretches no further apart than the resolution are joined, short ones are kept.
    pub coverage: Vec<TimeRange>,
    /// Gaps that share an instant with the range, with their own bounds and cause; those shorter than the resolution
    /// are left out unless it is zero.
    pub gaps: Vec<GapRow>,
    /// What of the coverage the camera recorded itself and was fetched after a cut, joined likewise. Gaps that it fills stay.
    pub filled: Vec<TimeRange>,
    /// How much of the range has footage, exact whatever the resolution.
    pub covered: Ticks90k,
    /// Runs with wrong times that share an instant with the range, by their own times or by the right ones.
    pub misdated: Vec<MisdatedRun>,
}

/// What there is of `camera` in `range`.
///
/// # Errors
/// [`RetrieveError::Invalid`] for a range over [`TIMELINE_DAYS_MAX`] or an answer that would be too long.
pub async fn timeline(
    footage: &Footage,
    camera: &CameraKey,
    range: TimeRange,
    resolution: Ticks90k,
) -> Result<Timeline, RetrieveError> {
    if range.duration().0 > TIMELINE_DAYS_MAX * TICKS_PER_DAY {
        return Err(RetrieveError::Invalid(format!(
            "a timeline covers at most {TIMELINE_DAYS_MAX} days: ask for a shorter range, or several one after the other"
        )));
    }
    footage.known(camera).await?;
    let spans = footage.index.spans(camera, range).await?;
    let gaps = footage.index.gaps(camera, range).await?;
    let edge = footage.index.edge_spans(camera, range).await?;
    let mut timeline = lay_out(&spans, &edge, &gaps, range, resolution)?;
    let right = |run: &MisdatedRun| {
        let corrected = |at: WallTime| at.saturating_sub(run.error);
        TimeRange::new(corrected(run.range.start()), corrected(run.range.end()))
    };
    let is_asked = |run: &MisdatedRun| {
        let at = [Some(run.range), right(run)];
        at.into_iter().flatten().any(|at| at.intersection(&range).is_some())
    };
    let misdated = footage.index.misdated(camera).await?.into_iter().filter(is_asked);
    timeline.misdated = misdated.take(STRETCHES_MAX).collect();
    Ok(timeline)
}

/// A stretch without footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// When.
    pub range: TimeRange,
    /// Why, where that is on record: not of what was destroyed, never recorded, or is not written yet.
    pub cause: Option<GapCause>,
}

/// A stretch without footage and without a cause is one from here on: what is shorter lies between the clocks of two runs.
const MISSING_MIN: Ticks90k = Ticks90k(TICKS_PER_SECOND);

/// What of a range has no footage, and so is not in a clip of it, by its beginning.
pub async fn missing(footage: &Footage, camera: &CameraKey, range: TimeRange) -> Result<Vec<Missing>, RetrieveError> {
    let spans = footage.index.spans(camera, range).await?;
    let gaps = footage.index.gaps(camera, range).await?;
    Ok(missing_of(&spans, &gaps, range))
}

/// What of a range the camera recorded itself, fetched after a cut.
pub async fn filled(
    footage: &Footage,
    camera: &CameraKey,
    of: FootageOf,
    range: TimeRange,
) -> Result<Vec<TimeRange>, RetrieveError> {
    let spans = match of {
        FootageOf::Timeline => footage.index.edge_spans(camera, range).await?,
        FootageOf::Run(run) if !run.is_edge() => Vec::new(),
        FootageOf::Run(_) => vec![range],
        FootageOf::Hold(hold) => {
            let kept = footage.index.held_segments(camera, hold, range).await?;
            kept.into_iter().filter(|segment| segment.run.is_edge()).map(|segment| segment.range).collect()
        }
    };
    Ok(joined(&spans, range, Ticks90k::ZERO))
}

/// The same from index rows, both by start.
fn missing_of(spans: &[TimeRange], gaps: &[GapRow], range: TimeRange) -> Vec<Missing> {
    let within = |gap: GapRow| {
        let end = gap.end.unwrap_or(range.end()).max(gap.start);
        let range = TimeRange::new(gap.start, end)?.intersection(&range)?;
        Some(Missing { range, cause: Some(gap.cause) })
    };
    let mut missing: Vec<Missing> = without_footage(gaps, spans).filter_map(within).collect();
    let mut known: Vec<TimeRange> = spans.to_vec();
    known.extend(missing.iter().map(|missing| missing.range));
    known.sort_unstable_by_key(TimeRange::start);
    let mut from = range.start();
    let ends = known.iter().map(|known| (known.start(), known.end())).chain([(range.end(), range.end())]);
    for (start, end) in ends {
        let unknown = TimeRange::new(from, start.min(range.end())).filter(|left| left.duration() >= MISSING_MIN);
        missing.extend(unknown.map(|range| Missing { range, cause: None }));
        from = from.max(end);
    }
    missing.sort_unstable_by_key(|missing| missing.range.start());
    missing
}

/// The answer from index rows, both by start.
fn lay_out(
    spans: &[TimeRange],
    edge: &[TimeRange],
    gaps: &[GapRow],
    range: TimeRange,
    resolution: Ticks90k,
) -> Result<Timeline, RetrieveError> {
    let resolution = resolution.max(Ticks90k::ZERO);
    let mut covered = Ticks90k::ZERO;
    let mut counted_to = range.start();
    for span in spans.iter().filter_map(|s| s.intersection(&range)) {
        covered.0 += span.end().since(span.start().max(counted_to)).0.max(0);
        counted_to = counted_to.max(span.end());
    }
    let (coverage, filled) = (joined(spans, range, resolution), joined(edge, range, resolution));
    let shown = |gap: &GapRow| gap.end.is_none_or(|end| end.since(gap.start) >= resolution);
    let asked = |gap: &GapRow| {
        gap.start < range.end() && gap.end.is_none_or(|end| end > range.start() || gap.start >= range.start())
    };
    let of_edge: HashSet<(WallTime, WallTime)> = edge.iter().map(|span| (span.start(), span.end())).collect();
    let live: Vec<TimeRange> =
        spans.iter().filter(|span| !of_edge.contains(&(span.start(), span.end()))).copied().collect();
    let gaps: Vec<GapRow> = without_footage(gaps, &live).filter(asked).filter(shown).collect();
    if coverage.len().max(gaps.len()) > STRETCHES_MAX {
        return Err(RetrieveError::Invalid(format!(
            "more than {STRETCHES_MAX} stretches at this resolution: ask for a coarser one or a shorter range"
        )));
    }
    Ok(Timeline { coverage, gaps, filled, covered, misdated: Vec::new() })
}

/// Spans cut to the range, those no further apart than the resolution as one.
fn joined(spans: &[TimeRange], range: TimeRange, resolution: Ticks90k) -> Vec<TimeRange> {
    let mut joined: Vec<TimeRange> = Vec::new();
    for span in spans.iter().filter_map(|s| s.intersection(&range)) {
        match joined.last_mut() {
            Some(last) if span.start().since(last.end()) <= resolution => *last = until(last, span.end()),
            _ => joined.push(span),
        }
    }
    joined
}

/// What is left of gaps where footage fills them: that of another gateway in a timeline. Packets may be lost between two pictures of one
/// segment: that stays a gap.
fn without_footage(gaps: &[GapRow], spans: &[TimeRange]) -> impl Iterator<Item = GapRow> {
    gaps.iter().flat_map(|gap| {
        let (mut left, mut from) = (Vec::new(), gap.start);
        let end = gap.end.unwrap_or(WallTime(i64::MAX));
        // Spans are by start, and none is longer than a segment may be.
        let first = spans.partition_point(|span| span.start() <= gap.start.saturating_sub(SEGMENT_DURATION_MAX));
        let over = spans[first..].iter().take_while(|span| span.start() < end && gap.cause != GapCause::PacketLoss);
        for span in over.filter(|span| span.end() > gap.start) {
            if span.start() > from {
                left.push(GapRow { start: from, end: Some(span.start()), ..gap.clone() });
            }
            from = from.max(span.end());
        }
        if from < end || gap.start == end {
            left.push(GapRow { start: from, ..gap.clone() });
        }
        left
    })
}

/// `span` drawn out to `end`, never shortened.
fn until(span: &TimeRange, end: WallTime) -> TimeRange {
    TimeRange::new(span.start(), end.max(span.end())).unwrap_or(*span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whole seconds since the epoch.
    fn range(start: i64, end: i64) -> TimeRange {
        TimeRange::new(WallTime(start * TICKS_PER_SECOND), WallTime(end * TICKS_PER_SECOND)).expect("start < end")
    }

    fn gap(start: i64, end: Option<i64>, cause: GapCause) -> GapRow {
        let wall = |s: i64| WallTime(s * TICKS_PER_SECOND);
        GapRow { start: wall(start), end: end.map(wall), cause, lost_packets: 0 }
    }

    fn check(spans: &[(i64, i64)], asked: (i64, i64), resolution: i64, expect: &[(i64, i64)], covered: i64) {
        let spans: Vec<_> = spans.iter().map(|s| range(s.0, s.1)).collect();
        let got =
            lay_out(&spans, &[], &[], range(asked.0, asked.1), Ticks90k(resolution * TICKS_PER_SECOND)).expect("short");
        let expect: Vec<_> = expect.iter().map(|s| range(s.0, s.1)).collect();
        assert_eq!(got.coverage, expect);
        assert_eq!(got.covered, Ticks90k(covered * TICKS_PER_SECOND));
    }

    #[test]
    fn touching_segments_are_one_stretch_and_others_join_only_up_to_the_resolution() {
        check(&[(0, 10), (10, 20), (21, 30), (40, 50)], (0, 60), 0, &[(0, 20), (21, 30), (40, 50)], 39);
        check(&[(0, 10), (10, 20), (21, 30), (40, 50)], (0, 60), 1, &[(0, 30), (40, 50)], 39);
        check(&[(0, 10), (10, 20), (21, 30), (40, 50)], (0, 60), 10, &[(0, 50)], 39);
    }

    #[test]
    fn coverage_is_cut_to_the_range_and_overlaps_count_once() {
        check(&[(0, 10), (5, 20), (6, 7)], (4, 15), 0, &[(4, 15)], 11);
        check(&[], (0, 10), 0, &[], 0);
        check(&[(0, 10)], (10, 20), 0, &[], 0);
    }

    #[test]
    fn gaps_shorter_than_the_resolution_are_left_out_and_open_ones_never() {
        let rows = [
            gap(10, Some(11), GapCause::PacketLoss),
            gap(20, Some(40), GapCause::Silent),
            gap(59, None, GapCause::ConnectFailed),
        ];
        let causes = |resolution| {
            let got = lay_out(&[], &[], &rows, range(0, 60), Ticks90k(resolution)).expect("short");
            got.gaps.iter().map(|g| g.cause).collect::<Vec<_>>()
        };
        assert_eq!(causes(0), [GapCause::PacketLoss, GapCause::Silent, GapCause::ConnectFailed]);
        assert_eq!(causes(2 * TICKS_PER_SECOND), [GapCause::Silent, GapCause::ConnectFailed]);
        assert_eq!(causes(60 * TICKS_PER_SECOND), [GapCause::ConnectFailed]);
    }

    #[test]
    fn a_gap_that_other_footage_fills_is_none_and_lost_packets_are() {
        let rows = [
            gap(10, Some(20), GapCause::GatewayCrashed),
            gap(30, Some(40), GapCause::Silent),
            gap(44, Some(45), GapCause::PacketLoss),
            gap(50, None, GapCause::ConnectFailed),
        ];
        let spans = [range(0, 11), range(9, 21), range(32, 34), range(36, 46), range(52, 55)];
        let got = lay_out(&spans, &[], &rows, range(0, 60), Ticks90k::ZERO).expect("short");
        let seconds = |at: WallTime| at.0 / TICKS_PER_SECOND;
        let got: Vec<_> = got.gaps.iter().map(|g| (seconds(g.start), g.end.map(seconds), g.cause)).collect();
        let expect = [
            (30, Some(32), GapCause::Silent),
            (34, Some(36), GapCause::Silent),
            (44, Some(45), GapCause::PacketLoss),
            (50, Some(52), GapCause::ConnectFailed),
            (55, None, GapCause::ConnectFailed),
        ];
        assert_eq!(got, expect);
    }

    #[test]
    fn a_gap_that_the_camera_s_own_recording_fills_stays_and_what_fills_it_is_named() {
        let rows = [gap(10, Some(20), GapCause::Disconnected)];
        let (spans, edge) = ([range(0, 10), range(8, 15), range(15, 20), range(20, 30)], [range(8, 15), range(15, 20)]);
        let got = lay_out(&spans, &edge, &rows, range(0, 60), Ticks90k::ZERO).expect("short");
        assert_eq!((got.coverage, got.filled), (vec![range(0, 30)], vec![range(8, 20)]));
        assert_eq!((got.gaps, got.covered), (rows.to_vec(), Ticks90k(30 * TICKS_PER_SECOND)));
        assert_eq!(missing_of(&spans, &rows, range(0, 30)), []);
    }

    #[test]
    fn what_has_no_footage_is_named_with_its_cause_where_one_is_on_record() {
        let rows = [
            gap(8, Some(20), GapCause::GatewayCrashed),
            gap(24, Some(25), GapCause::PacketLoss),
            gap(50, None, GapCause::ConnectFailed),
        ];
        let spans = [range(0, 10), range(20, 30), range(35, 45)];
        let seconds = |at: WallTime| at.0 / TICKS_PER_SECOND;
        let got = |asked| {
            let found = missing_of(&spans, &rows, asked).into_iter();
            found.map(|m| (seconds(m.range.start()), seconds(m.range.end()), m.cause)).collect::<Vec<_>>()
        };
        let whole = [
            (10, 20, Some(GapCause::GatewayCrashed)),
            (24, 25, Some(GapCause::PacketLoss)),
            (30, 35, None),
            (45, 50, None),
            (50, 60, Some(GapCause::ConnectFailed)),
        ];
        assert_eq!(got(range(0, 60)), whole);
        assert_eq!(got(range(12, 33)), [(12, 20, whole[0].2), whole[1], (30, 33, None)]);
        assert_eq!(got(range(36, 44)), []);
        assert_eq!(missing_of(&[], &[], range(5, 6)), [Missing { range: range(5, 6), cause: None }]);
    }

    #[test]
    fn an_answer_that_would_be_too_long_says_how_to_ask() {
        let spans: Vec<_> = (0..=STRETCHES_MAX as i64).map(|i| range(i * 3, i * 3 + 1)).collect();
        let asked = range(0, 3 * spans.len() as i64);
        let err = lay_out(&spans, &[], &[], asked, Ticks90k::ZERO).expect_err("too long");
        assert!(err.to_string().contains("coarser"), "{err}");
        assert!(lay_out(&spans, &[], &[], asked, Ticks90k(2 * TICKS_PER_SECOND)).is_ok());
    }

    proptest! {
        #[test]
        fn covered_time_does_not_depend_on_the_resolution(
            lengths in prop::collection::vec((0i64..50, 1i64..50), 1..40), resolution in 0i64..100,
        ) {
            let mut at = 0;
            let spans: Vec<_> = lengths.iter().map(|(gap, length)| {
                let start = at + gap;
                at = start + length;
                range(start, at)
            }).collect();
            let sum: i64 = lengths.iter().map(|(_, length)| length).sum();
            let got = lay_out(&spans, &[], &[], range(0, at + 1), Ticks90k(resolution * TICKS_PER_SECOND)).expect("short");
            prop_assert_eq!(got.covered, Ticks90k(sum * TICKS_PER_SECOND));
        }
    }
}
