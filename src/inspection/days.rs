//! What there is of each day of a camera's footage, what is missing and why.

use std::collections::BTreeMap;

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::index::DeletionRow;
use crate::index::hold::united;
use crate::retrieve::timeline::Missing;
use footage::media::GapCause;
use footage::units::{TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// A day of a camera, by the calendar of the time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayOf {
    /// Which one.
    pub day: Date,
    /// How much of it has footage.
    pub covered: Ticks90k,
    /// How much of it has none, by cause.
    pub gaps: BTreeMap<GapCause, Ticks90k>,
    /// How much of it was destroyed, by the register.
    pub destroyed: Ticks90k,
    /// How much of its past has no footage, no cause, and no entry in the register: it was never recorded.
    pub not_recorded: Ticks90k,
}

impl DayOf {
    /// Whether a second or more has no footage that was not destroyed.
    pub fn is_incomplete(&self) -> bool {
        !self.gaps.is_empty() || self.not_recorded.0 >= TICKS_PER_SECOND
    }
}

/// The bounds of a day, of 23 to 25 hours; `None` for one outside of the calendar.
pub fn bounds(day: Date, zone: &TimeZone) -> Option<TimeRange> {
    let midnight = |day: Date| zone.to_ambiguous_timestamp(day.into()).compatible().ok();
    let (start, end) = (midnight(day)?, midnight(day.checked_add(1.day()).ok()?)?);
    TimeRange::new(WallTime::from_timestamp(start), WallTime::from_timestamp(end))
}

/// The day that an instant is in.
pub fn day_of(at: WallTime, zone: &TimeZone) -> Date {
    zone.to_datetime(at.to_timestamp()).date()
}

/// Each day of the range that has something to say. All by start; `missing` as of the whole range.
pub fn days_of(
    range: TimeRange,
    zone: &TimeZone,
    (spans, missing, register): (&[TimeRange], &[Missing], &[DeletionRow]),
) -> Vec<DayOf> {
    let mut days: BTreeMap<Date, DayOf> = BTreeMap::new();
    let mut add = |span: TimeRange, put: &mut dyn FnMut(&mut DayOf, Ticks90k)| {
        for (day, part) in split(span, range, zone) {
            let of = days.entry(day).or_insert_with(|| DayOf {
                day,
                covered: Ticks90k::ZERO,
                gaps: BTreeMap::new(),
                destroyed: Ticks90k::ZERO,
                not_recorded: Ticks90k::ZERO,
            });
            put(of, part.duration());
        }
    };
    // Of two packs that cover the same time, one counts.
    let mut from = range.start();
    for span in spans {
        if let Some(span) = TimeRange::new(span.start().max(from), span.end()) {
            add(span, &mut |day, length| day.covered = sum(day.covered, length));
            from = span.end();
        }
    }
    let gone = united(register.iter().map(|row| row.range).collect());
    for Missing { range: without, cause } in missing {
        if let Some(cause) = *cause {
            add(*without, &mut |day, length| {
                let sum_of = day.gaps.entry(cause).or_insert(Ticks90k::ZERO);
                *sum_of = sum(*sum_of, length);
            });
            continue;
        }
        let mut from = without.start();
        for part in gone.iter().filter_map(|part| part.intersection(without)) {
            add(part, &mut |day, length| day.destroyed = sum(day.destroyed, length));
            if let Some(before) = TimeRange::new(from, part.start()) {
                add(before, &mut |day, length| day.not_recorded = sum(day.not_recorded, length));
            }
            from = part.end();
        }
        if let Some(rest) = TimeRange::new(from, without.end()) {
            add(rest, &mut |day, length| day.not_recorded = sum(day.not_recorded, length));
        }
    }
    days.into_values().collect()
}

fn sum(a: Ticks90k, b: Ticks90k) -> Ticks90k {
    Ticks90k(a.0.saturating_add(b.0))
}

/// A stretch cut at the days' bounds.
fn split(span: TimeRange, within: TimeRange, zone: &TimeZone) -> Vec<(Date, TimeRange)> {
    let Some(span) = span.intersection(&within) else { return Vec::new() };
    let mut parts = Vec::new();
    let mut day = day_of(span.start(), zone);
    while let Some(bounds) = bounds(day, zone).filter(|bounds| bounds.start() < span.end()) {
        parts.extend(bounds.intersection(&span).map(|part| (day, part)));
        let Ok(next) = day.checked_add(1.day()) else { break };
        day = next;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Outcome, Reason};

    fn range(start: &str, end: &str) -> TimeRange {
        TimeRange::new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
    }

    fn hours(length: Ticks90k) -> i64 {
        length.0 / 90_000 / 3_600
    }

    #[test]
    fn a_day_says_what_there_is_what_is_missing_and_what_was_destroyed() {
        let whole = range("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z");
        let spans = [
            range("2026-03-01T12:00:00Z", "2026-03-01T18:00:00Z"),
            range("2026-03-01T17:00:00Z", "2026-03-02T02:00:00Z"),
        ];
        let missing = [
            Missing { range: range("2026-03-01T00:00:00Z", "2026-03-01T12:00:00Z"), cause: None },
            Missing {
                range: range("2026-03-02T02:00:00Z", "2026-03-03T00:00:00Z"),
                cause: Some(GapCause::ConnectFailed),
            },
        ];
        let row = |start, end| DeletionRow {
            range: range(start, end),
            reason: Reason::Expired,
            outcome: Outcome::Destroyed,
            packs: 1,
            bytes: 1,
            first_at: whole.end(),
            last_at: whole.end(),
        };
        let register =
            [row("2026-03-01T02:00:00Z", "2026-03-01T05:00:00Z"), row("2026-03-01T04:00:00Z", "2026-03-01T10:00:00Z")];
        let days = days_of(whole, &TimeZone::UTC, (&spans, &missing, &register));
        let [first, second] = &days[..] else { panic!("{days:?}") };
        assert_eq!((hours(first.covered), hours(first.destroyed), hours(first.not_recorded)), (12, 8, 4));
        assert!(first.gaps.is_empty());
        assert_eq!((hours(second.covered), hours(second.gaps[&GapCause::ConnectFailed])), (2, 22));
    }

    #[test]
    fn a_night_that_the_clocks_change_in_is_shorter_or_longer() {
        let zone = TimeZone::get("Europe/Paris").unwrap();
        let long = bounds(jiff::civil::date(2026, 10, 25), &zone).unwrap();
        let short = bounds(jiff::civil::date(2026, 3, 29), &zone).unwrap();
        assert_eq!((hours(long.duration()), hours(short.duration())), (25, 23));
        let days = days_of(long, &zone, (&[long], &[], &[]));
        assert_eq!((days.len(), hours(days[0].covered)), (1, 25));
    }
}
