//! Which cuts are to be filled: plain functions of gaps, footage and what is settled.

use crate::index::GapRow;
use footage::media::GapCause;
use footage::units::{TICKS_PER_SECOND, Ticks90k, TimeRange};

/// Shorter ones are not worth a session.
const CUT_MIN: Ticks90k = Ticks90k(TICKS_PER_SECOND);

/// Whether the camera may have filmed meanwhile, and nobody chose that it is not recorded. Lost packets are pictures inside
/// of footage, and damage is mended by the scrub.
fn may_be_filled(cause: GapCause) -> bool {
    match cause {
        GapCause::GatewayStopped
        | GapCause::GatewayCrashed
        | GapCause::ConnectFailed
        | GapCause::Unauthorized
        | GapCause::UnsupportedMedia
        | GapCause::ProtocolError
        | GapCause::SetupTimeout
        | GapCause::Silent
        | GapCause::Disconnected
        | GapCause::DiskFull
        | GapCause::WriteFailed => true,
        GapCause::PacketLoss
        | GapCause::ClockStep
        | GapCause::Corrupt
        | GapCause::Reconfigured
        | GapCause::NotAuthorised
        | GapCause::DiskSlow => false,
    }
}

/// What of the gaps has no footage, may have been filmed, and is not settled; `gaps` and `spans` are by start. The gap that
/// lasts is none of them: the camera is away.
pub(super) fn cuts(gaps: &[GapRow], spans: &[TimeRange], settled: &[TimeRange]) -> Vec<TimeRange> {
    let mut whole: Vec<TimeRange> = Vec::new();
    for gap in gaps.iter().filter(|gap| may_be_filled(gap.cause)) {
        let Some(range) = gap.end.and_then(|end| TimeRange::new(gap.start, end)) else { continue };
        match whole.last_mut() {
            // An outage changes its cause: it is one cut.
            Some(last) if range.start() <= last.end() => {
                *last = TimeRange::new(last.start(), last.end().max(range.end())).unwrap_or(*last);
            }
            _ => whole.push(range),
        }
    }
    let left = whole.into_iter().flat_map(|cut| without(cut, spans));
    let is_settled = |cut: &TimeRange| settled.iter().any(|known| known.intersection(cut) == Some(*cut));
    left.filter(|cut| cut.duration() >= CUT_MIN && !is_settled(cut)).collect()
}

/// What is left of a cut beside footage.
fn without(cut: TimeRange, spans: &[TimeRange]) -> Vec<TimeRange> {
    let (mut left, mut from) = (Vec::new(), cut.start());
    for span in spans.iter().filter(|span| span.intersection(&cut).is_some()) {
        left.extend(TimeRange::new(from, span.start()));
        from = from.max(span.end());
    }
    left.extend(TimeRange::new(from, cut.end()));
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use footage::units::WallTime;

    fn range(start: i64, end: i64) -> TimeRange {
        TimeRange::new(WallTime(start * TICKS_PER_SECOND), WallTime(end * TICKS_PER_SECOND)).expect("start < end")
    }

    fn gap(start: i64, end: Option<i64>, cause: GapCause) -> GapRow {
        let wall = |s: i64| WallTime(s * TICKS_PER_SECOND);
        GapRow { start: wall(start), end: end.map(wall), cause, lost_packets: 0 }
    }

    fn check(gaps: &[GapRow], spans: &[(i64, i64)], settled: &[(i64, i64)], expect: &[(i64, i64)]) {
        let ranges = |of: &[(i64, i64)]| of.iter().map(|(start, end)| range(*start, *end)).collect::<Vec<_>>();
        assert_eq!(cuts(gaps, &ranges(spans), &ranges(settled)), ranges(expect));
    }

    #[test]
    fn an_outage_is_one_cut_whatever_its_causes() {
        let gaps = [
            gap(10, Some(20), GapCause::Disconnected),
            gap(20, Some(50), GapCause::ConnectFailed),
            gap(50, Some(60), GapCause::GatewayStopped),
            gap(80, Some(90), GapCause::Silent),
        ];
        check(&gaps, &[(0, 10), (60, 80), (90, 99)], &[], &[(10, 60), (80, 90)]);
    }

    #[test]
    fn what_was_chosen_what_lasts_and_what_is_short_is_none() {
        let gaps = [
            gap(10, Some(20), GapCause::Reconfigured),
            gap(30, Some(31), GapCause::PacketLoss),
            gap(40, Some(400), GapCause::ClockStep),
            gap(500, Some(500), GapCause::Silent),
            gap(600, None, GapCause::ConnectFailed),
        ];
        check(&gaps, &[], &[], &[]);
    }

    #[test]
    fn what_is_filled_already_is_not_filled_again() {
        let gaps = [gap(10, Some(60), GapCause::Disconnected)];
        check(&gaps, &[(0, 10), (8, 25), (40, 45), (60, 70)], &[], &[(25, 40), (45, 60)]);
        check(&gaps, &[(0, 10), (8, 60)], &[], &[]);
        check(&gaps, &[(8, 25)], &[(10, 60)], &[]);
        check(&gaps, &[], &[(10, 59)], &[(10, 60)]);
    }
}
