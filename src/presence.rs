//! Whether there is footage of a camera at a time: yes, and until when; no, and why not.
//!
//! ```text
//! footage in the index, held or not → packs that are being destroyed → gaps → footage that is due, and a hold would save
//!     → the register of destructions → nothing on record
//! ```
//!
//! Invariant: the stretches of an answer are in order, without overlaps, and together are all of what was asked; what is
//! said of each is on record, or it says that nothing is.
//! Absent on purpose: who may ask.

use jiff::tz::TimeZone;

use crate::hold::holes;
use crate::index::hold::HoldRow;
use crate::index::{GapRow, Index, IndexError, Outcome, Reason};
use crate::policy::deadline;
use footage::media::GapCause;
use footage::units::{CameraKey, HoldId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// Footage this recent may not be in the index yet.
const NOT_WRITTEN_MAX: Ticks90k = Ticks90k(30 * TICKS_PER_SECOND);
/// What is shorter lies between the clocks of two runs, or between two pictures: nothing is absent there.
const ABSENT_MIN: Ticks90k = Ticks90k(TICKS_PER_SECOND);
/// Stretches of one answer.
pub const STRETCHES_MAX: usize = 20_000;

/// A stretch of what was asked, and what there is of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// From, to.
    pub range: TimeRange,
    /// What there is.
    pub found: Found,
}

/// What there is of a camera at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Footage.
    Footage {
        /// The holds in force that keep it; the one that lasts longest first.
        holds: Vec<HoldId>,
        /// When the first of it is destroyed: by the hold that lasts longest, or by the camera's retention.
        until: WallTime,
    },
    /// Its destruction has begun, and cannot be stopped.
    Destroying,
    /// It was destroyed.
    Destroyed {
        /// When the first of that day's footage was, and the last.
        at: (WallTime, WallTime),
        /// Under which rule.
        reason: Reason,
    },
    /// It was due, and was not in its store any more.
    WasAbsent {
        /// When that was found.
        at: WallTime,
    },
    /// It was never recorded.
    Gap(GapCause),
    /// Nothing is on record: neither footage, nor a gap, nor a destruction.
    Unknown,
    /// It is before all that is on record of the camera.
    BeforeRecord,
    /// It was filmed a moment ago, and may not be written yet.
    NotWritten,
    /// It has not been filmed yet.
    Future,
}

/// Why it cannot be said.
#[derive(Debug, thiserror::Error)]
pub enum PresenceError {
    /// The tenant has no such camera.
    #[error("no camera {0}")]
    NoCamera(CameraKey),
    /// The answer would be too long.
    #[error("there are over {STRETCHES_MAX} stretches: ask for a shorter range")]
    TooMany,
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// What there is of a camera in this range, at this instant. The zone says how long a month is.
///
/// # Errors
/// When there is no such camera, or the answer would be too long.
pub async fn presence(
    index: &Index,
    zone: &TimeZone,
    camera: &CameraKey,
    range: TimeRange,
    now: WallTime,
) -> Result<Vec<Stretch>, PresenceError> {
    let row = index.camera(camera).await?.ok_or_else(|| PresenceError::NoCamera(camera.clone()))?;
    let holds = index.holds_over(camera, range).await?;
    let mut spans = index.spans(camera, range).await?;
    spans.extend(index.kept_spans(camera, range).await?);
    let gaps = index.gaps(camera, range).await?;
    let spans = joined(spans, range, &gaps);
    let mut answer = Vec::new();
    for span in &spans {
        answer.extend(footage(*span, &holds, |start| deadline(start, row.retention_max, zone)));
    }
    let mut open = holes(range, &spans);
    let take = |open: &mut Vec<TimeRange>, answer: &mut Vec<Stretch>, span: Option<TimeRange>, found: Found| {
        let Some(span) = span else { return };
        let mut left = Vec::new();
        for hole in open.drain(..) {
            let Some(range) = hole.intersection(&span) else {
                left.push(hole);
                continue;
            };
            answer.push(Stretch { range, found: found.clone() });
            left.extend(TimeRange::new(hole.start(), range.start()));
            left.extend(TimeRange::new(range.end(), hole.end()));
        }
        *open = left;
    };
    take(&mut open, &mut answer, TimeRange::new(now, range.end()), Found::Future);
    for span in index.deleting_spans(camera, range).await? {
        take(&mut open, &mut answer, Some(span), Found::Destroying);
    }
    for gap in &gaps {
        let span = TimeRange::new(gap.start, gap.end.unwrap_or(now));
        take(&mut open, &mut answer, span, Found::Gap(gap.cause));
    }
    // What is due is there until its destruction begins: it goes now, where no hold keeps it.
    let mut due = Vec::new();
    for span in index.condemned_spans(camera, range).await? {
        take(&mut open, &mut due, Some(span), Found::Destroying);
    }
    for Stretch { range, .. } in due {
        answer.extend(footage(range, &holds, |start| deadline(start, row.retention_max, zone)));
    }
    for entry in index.deletions(camera, range).await? {
        let found = match entry.outcome {
            Outcome::Destroyed => Found::Destroyed { at: (entry.first_at, entry.last_at), reason: entry.reason },
            Outcome::WasAbsent => Found::WasAbsent { at: entry.last_at },
        };
        take(&mut open, &mut answer, Some(entry.range), found);
    }
    let first = index.first_trace(camera).await?.unwrap_or(now);
    take(&mut open, &mut answer, TimeRange::new(range.start(), first), Found::BeforeRecord);
    let recent = TimeRange::new(now.saturating_sub(NOT_WRITTEN_MAX), now);
    take(&mut open, &mut answer, recent, Found::NotWritten);
    answer.extend(open.into_iter().map(|range| Stretch { range, found: Found::Unknown }));
    if answer.len() > STRETCHES_MAX {
        return Err(PresenceError::TooMany);
    }
    answer.sort_by_key(|stretch| stretch.range.start());
    Ok(answer)
}

/// Sorted, cut to the range, and what is hardly apart joined where no gap is on record between.
fn joined(mut spans: Vec<TimeRange>, range: TimeRange, gaps: &[GapRow]) -> Vec<TimeRange> {
    let is_gap =
        |hole: TimeRange| gaps.iter().any(|gap| gap.start < hole.end() && gap.end.is_none_or(|end| end > hole.start()));
    spans.sort_unstable_by_key(|span| (span.start(), span.end()));
    let mut out: Vec<TimeRange> = Vec::new();
    for span in spans.into_iter().filter_map(|span| span.intersection(&range)) {
        match out.last_mut() {
            Some(last)
                if span.start().since(last.end()).0 < ABSENT_MIN.0
                    && TimeRange::new(last.end(), span.start()).is_none_or(|hole| !is_gap(hole)) =>
            {
                *last = TimeRange::new(last.start(), last.end().max(span.end())).unwrap_or(*last);
            }
            _ => out.push(span),
        }
    }
    out
}

/// Footage, cut where a hold begins or ends to cover it.
fn footage(span: TimeRange, holds: &[HoldRow], expires: impl Fn(WallTime) -> WallTime) -> Vec<Stretch> {
    let mut cuts = vec![span.start(), span.end()];
    cuts.extend(holds.iter().flat_map(|hold| [hold.facts.range.start(), hold.facts.range.end()]));
    cuts.retain(|cut| span.start() <= *cut && *cut <= span.end());
    cuts.sort_unstable();
    cuts.dedup();
    let pieces = cuts.windows(2).filter_map(|pair| TimeRange::new(pair[0], pair[1]));
    pieces
        .map(|range| {
            let over: Vec<&HoldRow> =
                holds.iter().filter(|hold| hold.facts.range.intersection(&range) == Some(range)).collect();
            let held = over.iter().map(|hold| hold.facts.until).max();
            let by_policy = expires(range.start());
            let until = held.map_or(by_policy, |held| held.max(by_policy));
            Stretch { range, found: Found::Footage { holds: over.iter().map(|hold| hold.facts.id).collect(), until } }
        })
        .collect()
}

/// How much of an answer is footage.
pub fn covered(stretches: &[Stretch]) -> Ticks90k {
    let footage = stretches.iter().filter(|stretch| matches!(stretch.found, Found::Footage { .. }));
    Ticks90k(footage.map(|stretch| stretch.range.duration().0).sum())
}

#[cfg(test)]
mod tests;
