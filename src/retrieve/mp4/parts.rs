//! A range as files that one decoder plays whole: where one ends and the next begins.
//!
//! A new coding or another size of the picture needs another decoder: not every player changes it inside a file, and
//! programs that cut or convert scale what follows to the first picture's size. Other parameter sets of the same coding and
//! size go on in one file, as each player takes them. A gap that is too long for the time line begins a file as well.

use super::super::walk::WalkStep;
use super::Gaps;
use super::layout::{Content, Layout, check};
use super::seen::{Begins, Seen, Shown};
use crate::archive::PackRef;
use footage::media::{Params, VideoCodec};
use footage::pack::{PackError, PackTable};
use footage::units::{TICKS_PER_SECOND, Ticks90k, TimeRange};

/// A picture lasts over no longer gap: durations have 32 bits, which some players take for 31.
const HELD_MAX: Ticks90k = Ticks90k(6 * 3_600 * TICKS_PER_SECOND);

/// Parts of one range. A camera that changes its coding more often than that is asked for in shorter ranges.
pub const PARTS_MAX: usize = 1_000;

/// A stretch of a range that is one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// From its first picture to the end of its last.
    pub covers: TimeRange,
    /// How its pictures are coded.
    pub codec: VideoCodec,
    /// The `codecs` parameter of RFC 6381, of its beginning.
    pub rfc6381: String,
    /// Width and height of its pictures.
    pub size: (u16, u16),
    /// What of it has pictures.
    pub stretches: Vec<TimeRange>,
}

impl Part {
    /// Its coding and the size of its pictures, for people.
    pub fn in_words(&self) -> String {
        let codec = match self.codec {
            VideoCodec::H264 => "H.264",
            VideoCodec::H265 => "H.265",
        };
        format!("{codec} of {}x{} from {}", self.size.0, self.size.1, self.covers.start())
    }
}

/// What one decoder plays.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Coding {
    codec: VideoCodec,
    size: (u16, u16),
    rfc6381: String,
    /// Kind of the sound's sample entry, and its rate.
    sound: Option<([u8; 4], u32)>,
}

impl Coding {
    fn of(Params { video, audio }: &Params) -> Self {
        let kind = |entry: &[u8]| entry.get(4..8).and_then(|kind| kind.first_chunk().copied()).unwrap_or_default();
        Self {
            codec: video.codec,
            size: (video.width, video.height),
            rfc6381: video.rfc6381.clone(),
            sound: audio.as_ref().map(|audio| (kind(&audio.sample_entry), audio.clock_rate)),
        }
    }

    /// Whether the file goes on with the other; sound may begin and end in it.
    fn goes_on(&self, next: &Self) -> bool {
        let same_sound = self.sound.is_none() || next.sound.is_none() || self.sound == next.sound;
        self.codec == next.codec && self.size == next.size && same_sound
    }
}

/// Whether more fragments are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on.
    More,
    /// The range is behind.
    Enough,
}

/// Which layout is wanted of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) gaps: Gaps,
    pub(super) begins: Begins,
    /// The part that is laid out, counted from 0. Of all there are the facts.
    pub(super) part: usize,
}

/// Builds a layout fragment by fragment.
#[derive(Debug)]
pub(super) struct LayoutBuilder {
    range: TimeRange,
    form: Form,
    coding: Option<Coding>,
    content: Content,
    shown: Shown,
    parts: Vec<Part>,
    layout: Option<Layout>,
}

impl LayoutBuilder {
    pub(super) fn new(range: TimeRange, form: Form) -> Self {
        let (content, shown) = Default::default();
        Self { range, form, coding: None, content, shown, parts: Vec::new(), layout: None }
    }

    /// Takes the next fragment of the walk.
    pub(super) fn push(&mut self, pack: &PackRef, table: &PackTable, step: &WalkStep<'_>) -> Result<Next, PackError> {
        check(step.entry)?;
        let Form { gaps, begins, .. } = self.form;
        let seen = Seen::of(step.entry, self.range, begins);
        if seen.last.is_none() || self.parts.len() > PARTS_MAX {
            return Ok(Next::Enough);
        }
        self.begin_part(table, step);
        if !step.joined {
            self.shown.interrupted(self.range.start());
        }
        if step.entry.random_access && self.shown.is_cleared_by(&seen, begins) {
            (self.content, self.shown) = Default::default();
            self.coding = Some(Coding::of(&table.header.params));
        }
        self.content.align(step.entry, gaps);
        self.shown.merge(&seen, self.content.video.ticks);
        self.content.append(pack, table, step, gaps);
        Ok(Next::More)
    }

    /// Ends the part where this fragment cannot be in it.
    fn begin_part(&mut self, table: &PackTable, step: &WalkStep<'_>) {
        let mut coding = Coding::of(&table.header.params);
        let is_far =
            self.form.gaps == Gaps::Held && self.content.gap_before(step.entry).is_some_and(|gap| gap > HELD_MAX);
        if let Some(known) = &self.coding {
            if !known.goes_on(&coding) || is_far && step.entry.random_access {
                self.end_part();
            } else {
                coding.rfc6381.clone_from(&known.rfc6381);
                coding.sound = coding.sound.or(known.sound);
            }
        }
        self.coding = Some(coding);
    }

    fn end_part(&mut self) {
        let (content, shown) = (std::mem::take(&mut self.content), std::mem::take(&mut self.shown));
        let first = shown.first(self.form.begins, self.range.start());
        let Some((coding, layout)) = self.coding.take().zip(first.and_then(|first| content.lay_out(first, &shown)))
        else {
            return;
        };
        self.parts.push(Part {
            covers: layout.covers,
            codec: coding.codec,
            rfc6381: coding.rfc6381,
            size: coding.size,
            stretches: layout.stretches.clone(),
        });
        if self.parts.len() == self.form.part + 1 {
            self.layout = Some(layout);
        }
    }

    /// The parts of the range, and the layout of the one that is wanted; none when no picture of it came.
    pub(super) fn finish(mut self) -> (Vec<Part>, Option<Layout>) {
        self.end_part();
        (self.parts, self.layout)
    }
}
