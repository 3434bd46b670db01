//! Which pictures of a fragment are in the range of a clip, and which are at its edges.

use super::super::walk::FragmentClock;
use footage::media::Sample;
use footage::pack::FragmentEntry;
use footage::units::{Ticks90k, TimeRange, WallTime};

/// What a clip begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Begins {
    /// The first picture that was filmed at or after the start: nothing of before is visible.
    InTheRange,
    /// The picture that was on screen at the start: for a still.
    WithWhatIsShown,
}

/// A picture on the clip's timeline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Composition time in the clip.
    pub(super) at: i64,
    /// Wall-clock time.
    pub(super) wall: WallTime,
}

/// Which pictures are at the edges of the range, so far.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The last picture before those of the range.
    at_start: Option<Frame>,
    /// The first of the range.
    after_start: Option<Frame>,
    /// The last that begins before the end, and its end by its own duration.
    pub(super) last: Option<(Frame, i64)>,
    /// Composition time of the first that begins at or after the end.
    pub(super) next: Option<i64>,
    /// When the last picture of all ends.
    wall_end: Option<WallTime>,
}

impl Shown {
    /// The picture that the clip begins with.
    pub(super) fn first(&self, begins: Begins, start: WallTime) -> Option<Frame> {
        let goes_on = begins == Begins::WithWhatIsShown && self.wall_end.is_some_and(|end| end > start);
        self.at_start.filter(|_| goes_on).or(self.after_start)
    }

    /// A gap follows: what ended before the start is not shown at it.
    pub(super) fn interrupted(&mut self, start: WallTime) {
        if self.wall_end.is_none_or(|end| end <= start) {
            self.at_start = None;
        }
    }

    /// Whether nothing before this random access point is needed for what is shown.
    pub(super) fn is_cleared_by(&self, seen: &Seen, begins: Begins) -> bool {
        let is_first = self.at_start.is_none() || begins == Begins::InTheRange && !seen.leads;
        seen.begins_before_start || self.after_start.is_none() && is_first
    }

    /// Of a fragment that begins at the clip time `clip`.
    pub(super) fn merge(&mut self, seen: &Seen, clip: u64) {
        let frame = |media: i64| Frame { at: media + clip as i64, wall: seen.clock.wall(media) };
        self.at_start = self.at_start.into_iter().chain(seen.at_start.map(frame)).max_by_key(|f| f.at);
        self.after_start = self.after_start.into_iter().chain(seen.after_start.map(frame)).min_by_key(|f| f.at);
        if let Some((media, duration)) = seen.last {
            let last = frame(media);
            if self.last.is_none_or(|(known, _)| known.at < last.at) {
                self.last = Some((last, last.at + i64::from(duration)));
            }
        }
        let next = seen.next.map(|media| media + clip as i64);
        self.next = self.next.into_iter().chain(next).min();
        self.wall_end = self.wall_end.max(Some(seen.wall_end));
    }
}

/// A fragment's pictures against the range: media times counted from its decode time.
#[derive(Debug)]
pub(super) struct Seen {
    clock: FragmentClock,
    begins_before_start: bool,
    /// Pictures of the range are shown before the first that is decoded.
    leads: bool,
    at_start: Option<i64>,
    after_start: Option<i64>,
    /// The last that begins before the end, with its duration; none: the range is behind.
    pub(super) last: Option<(i64, u32)>,
    next: Option<i64>,
    wall_end: WallTime,
}

impl Seen {
    pub(super) fn of(entry: &FragmentEntry, range: TimeRange, begins: Begins) -> Self {
        let clock = FragmentClock::new(entry);
        let just_after = clock.media_at(range.start().saturating_add(Ticks90k(1)));
        let after_start = match begins {
            Begins::InTheRange => clock.media_at(range.start()),
            Begins::WithWhatIsShown => just_after,
        };
        let end = clock.media_at(range.end());
        let first = entry.video.first().map_or(0, |s| i64::from(s.composition_offset));
        let begins_before_start = first < just_after;
        let mut seen = Self {
            clock,
            begins_before_start,
            leads: false,
            at_start: None,
            after_start: None,
            last: None,
            next: None,
            wall_end: entry.stamp.wall_start,
        };
        if let Some(inside) = Inside::of(&entry.video).filter(|i| after_start <= i.first && i.last.0 < end) {
            seen.after_start = Some(inside.first);
            seen.leads = inside.first < first;
            seen.last = Some(inside.last);
            seen.wall_end = clock.wall(inside.end);
            return seen;
        }
        let (mut decode, mut media_end) = (0i64, 0i64);
        for sample in &entry.video {
            let media = decode + i64::from(sample.composition_offset);
            decode += i64::from(sample.duration);
            media_end = media_end.max(media + i64::from(sample.duration));
            if media >= end {
                seen.next = Some(seen.next.map_or(media, |known| known.min(media)));
                continue;
            }
            if seen.last.is_none_or(|(known, _)| known < media) {
                seen.last = Some((media, sample.duration));
            }
            if media < after_start {
                seen.at_start = seen.at_start.max(Some(media));
            } else {
                seen.after_start = Some(seen.after_start.map_or(media, |known| known.min(media)));
            }
        }
        seen.leads = seen.after_start.is_some_and(|shown| shown < first);
        seen.wall_end = clock.wall(media_end);
        seen
    }
}

/// Media times of a fragment's pictures, where it does not matter which of them the range cuts off: of a long clip, all
/// but the first and the last.
struct Inside {
    first: i64,
    /// With its duration.
    last: (i64, u32),
    end: i64,
}

impl Inside {
    fn of(samples: &[Sample]) -> Option<Self> {
        let sample = samples.first()?;
        let media = i64::from(sample.composition_offset);
        let mut inside = Self { first: media, last: (media, sample.duration), end: 0 };
        let mut decode = 0i64;
        for sample in samples {
            let media = decode + i64::from(sample.composition_offset);
            decode += i64::from(sample.duration);
            inside.first = inside.first.min(media);
            if media > inside.last.0 {
                inside.last = (media, sample.duration);
            }
            inside.end = inside.end.max(media + i64::from(sample.duration));
        }
        Some(inside)
    }
}
