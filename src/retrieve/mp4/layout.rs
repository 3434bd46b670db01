//! What a clip is made of: which fragments, in which place, and which of their pictures are shown.
//!
//! Media time of the clip: fragments one after the other, so gaps take no time. Sound is aligned with the picture again
//! after each gap, by moving the end of the last audio sample before it.
//!
//! Invariant: the first fragment begins with the random access point that the first picture shown is decoded from.

use bytes::Bytes;

use super::super::walk::{FragmentClock, WalkStep};
use super::table::TrackTable;
use crate::archive::PackRef;
use footage::media::{Sample, VideoCodec};
use footage::pack::{FragmentEntry, PackError, PackTable};
use footage::units::{FragmentId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// Sample bytes of one fragment: where they lie in the clip and in their pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LayoutPart {
    /// First byte in the `mdat` payload.
    pub(super) at: u64,
    /// First byte in the pack.
    pub(super) offset: u64,
    /// How many.
    pub(super) bytes: u32,
    /// Which pack, as an index of [`Layout::packs`].
    pub(super) pack: u32,
    /// What they are.
    pub(super) id: FragmentId,
    /// When they were filmed: first instant, and first instant after.
    pub(super) wall: (WallTime, WallTime),
}

/// A track's edit list (ISO/IEC 14496-12 §8.6.6): nothing for a while, then one stretch of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// Before the media, in 1/90000 s.
    pub(super) empty: u64,
    /// First media time shown, in ticks of the track.
    pub(super) media_time: u64,
    /// Shown for, in 1/90000 s.
    pub(super) duration: u64,
}

/// The sound of a clip.
#[derive(Debug)]
pub(super) struct Audio {
    /// Its samples.
    pub(super) track: TrackTable,
    /// Ticks a second.
    pub(super) timescale: u32,
    /// What is heard of it.
    pub(super) edit: Edit,
}

/// A clip before its boxes are written.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) packs: Vec<PackRef>,
    pub(super) parts: Vec<LayoutPart>,
    pub(super) mdat_bytes: u64,
    pub(super) video: TrackTable,
    pub(super) video_edit: Edit,
    /// Of the first pack: pixels.
    pub(super) size: (u16, u16),
    pub(super) audio: Option<Audio>,
    /// Wall-clock time from the first picture shown to the end of the last.
    pub(super) covers: TimeRange,
    /// Pack and number of each fragment, in order: they name its bytes and their timing for good.
    pub(super) content: Vec<u8>,
    /// How the first picture is coded.
    pub(super) codec: VideoCodec,
    /// Bytes that the first picture begins with and its pack does not have.
    pub(super) prefix: Bytes,
}

impl Layout {
    /// The first access unit begins with this NAL unit: all that follows moves by it.
    pub(super) fn begin_with(&mut self, nal: &[u8]) {
        let prefix = [&(nal.len() as u32).to_be_bytes()[..], nal].concat();
        let Some(size) = self.video.sizes.first_chunk_mut::<4>() else { return };
        *size = (u32::from_be_bytes(*size) + prefix.len() as u32).to_be_bytes();
        let by = prefix.len() as u64;
        self.video.chunks.iter_mut().skip(1).for_each(|chunk| *chunk += by);
        self.audio.iter_mut().flat_map(|audio| &mut audio.track.chunks).for_each(|chunk| *chunk += by);
        self.mdat_bytes += by;
        self.prefix = prefix.into();
    }

    /// Of each part, its number in its pack.
    pub(super) fn fragment_numbers(&self) -> impl Iterator<Item = u32> {
        let (entries, _) = self.content.as_chunks::<CONTENT_BYTES>();
        entries.iter().map(|entry| {
            let [.., a, b, c, d] = *entry;
            u32::from_be_bytes([a, b, c, d])
        })
    }
}

/// Bytes of [`Layout::content`] for each fragment.
const CONTENT_BYTES: usize = 20;

/// Whether more fragments are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on.
    More,
    /// The range is behind.
    Enough,
}

/// Builds a layout fragment by fragment.
#[derive(Debug)]
pub(super) struct LayoutBuilder {
    range: TimeRange,
    content: Content,
    shown: Shown,
}

#[derive(Debug, Default)]
struct Content {
    packs: Vec<PackRef>,
    parts: Vec<LayoutPart>,
    mdat_bytes: u64,
    video: TrackTable,
    size: (u16, u16),
    codec: Option<VideoCodec>,
    audio: TrackTable,
    audio_timescale: u32,
    /// Clip time of the first audio sample, in audio ticks.
    audio_start: i64,
    /// Where the media time that goes on now began: on the clip's timeline, and on the run's.
    origin: (u64, Ticks90k),
    content: Vec<u8>,
}

impl LayoutBuilder {
    pub(super) fn new(range: TimeRange) -> Self {
        Self { range, content: Content::default(), shown: Shown::default() }
    }

    /// Takes the next fragment of the walk.
    pub(super) fn push(&mut self, pack: &PackRef, table: &PackTable, step: &WalkStep<'_>) -> Result<Next, PackError> {
        check(step.entry)?;
        let seen = Seen::of(step.entry, self.range);
        if seen.last.is_none() {
            return Ok(Next::Enough);
        }
        if !step.joined && self.shown.wall_end.is_none_or(|end| end <= self.range.start()) {
            self.shown.at_start = None;
        }
        // Nothing before this random access point is needed for what is shown.
        let clears = seen.begins_before_start || (self.shown.at_start.is_none() && self.shown.after_start.is_none());
        if step.entry.random_access && clears {
            (self.content, self.shown) = Default::default();
        }
        self.shown.merge(&seen, self.content.video.ticks);
        self.content.append(pack, table, step);
        Ok(Next::More)
    }

    /// The layout; `None` when no picture of the range came.
    pub(super) fn finish(mut self) -> Option<Layout> {
        if self.shown.wall_end? <= self.range.start() {
            self.shown.at_start = None;
        }
        let first = self.shown.at_start.or(self.shown.after_start)?;
        let (last, last_end) = self.shown.last?;
        let end = self.shown.next.filter(|&next| next > last.at).unwrap_or(last_end).max(last.at + 1);
        let covers = TimeRange::new(first.wall, last.wall.saturating_add(Ticks90k(end - last.at)))?;
        let gathered = self.content;
        let audio_edit = gathered.audio_edit(first.at, end);
        let Content { packs, parts, mdat_bytes, video, size, audio, audio_timescale, content, codec, .. } = gathered;
        Some(Layout {
            packs,
            parts,
            mdat_bytes,
            video,
            // A composition time before the first decode time cannot be written in an edit list.
            video_edit: Edit { empty: 0, media_time: ticks(first.at), duration: ticks(end - first.at) },
            size,
            audio: audio_edit.map(|edit| Audio { track: audio, timescale: audio_timescale, edit }),
            covers,
            content,
            codec: codec?,
            prefix: Bytes::new(),
        })
    }
}

/// A fragment's table must agree with itself before bytes are promised from it.
fn check(entry: &FragmentEntry) -> Result<(), PackError> {
    let malformed = |what: &str| Err(PackError::Malformed { offset: entry.offset, what: what.to_owned() });
    let bytes: u64 = entry.video.iter().chain(&entry.audio).map(|s| u64::from(s.size)).sum();
    if entry.video.is_empty() {
        malformed("the table has a fragment without video samples")
    } else if bytes != u64::from(entry.data_bytes) {
        malformed("the table's sample sizes do not add up to the fragment's")
    } else {
        Ok(())
    }
}

impl Content {
    fn append(&mut self, pack: &PackRef, table: &PackTable, step: &WalkStep<'_>) {
        let (entry, params) = (step.entry, &table.header.params);
        if self.parts.is_empty() {
            self.size = (params.video.width, params.video.height);
            self.codec = Some(params.video.codec);
        }
        if !step.joined || self.parts.is_empty() {
            self.origin = (self.video.ticks, entry.decode_time);
        }
        if self.packs.last() != Some(pack) {
            self.packs.push(pack.clone());
        }
        let at = self.mdat_bytes;
        let (bytes, pack) = (entry.data_bytes, self.packs.len() as u32 - 1);
        let wall = (entry.stamp.wall_start, entry.wall_end());
        self.parts.push(LayoutPart { at, offset: entry.data_offset(), bytes, pack, id: entry.id, wall });
        self.mdat_bytes += u64::from(bytes);
        self.content.extend_from_slice(&table.header.pack.0);
        self.content.extend_from_slice(&step.index.to_be_bytes());

        self.video.begin_chunk(at, entry.video.len(), &params.video.sample_entry);
        self.video.push_pictures(&entry.video, entry.random_access);
        if let Some(audio) = params.audio.as_ref().filter(|a| a.clock_rate > 0 && !entry.audio.is_empty()) {
            let video_bytes: u64 = entry.video.iter().map(|s| u64::from(s.size)).sum();
            self.append_audio(at + video_bytes, entry, audio.clock_rate, &audio.sample_entry);
        }
    }

    fn append_audio(&mut self, at: u64, entry: &FragmentEntry, rate: u32, sample_entry: &bytes::Bytes) {
        if self.audio.samples == 0 {
            self.audio_timescale = rate;
        }
        let timescale = self.audio_timescale;
        let on_track = |ticks: i64| rescale(ticks, rate, timescale);
        let video_on_track = |ticks: i64| rescale(ticks, TICKS_PER_SECOND as u32, timescale);
        let (clip_origin, run_origin) = self.origin;
        let start =
            video_on_track(clip_origin as i64) - video_on_track(run_origin.0) + on_track(entry.audio_decode_time);
        if self.audio.samples == 0 {
            self.audio_start = start;
        } else {
            self.audio.end_at(ticks(start - self.audio_start));
        }
        self.audio.begin_chunk(at, entry.audio.len(), sample_entry);
        let mut decode = entry.audio_decode_time;
        for sample in &entry.audio {
            let end = decode.saturating_add(sample.duration.into());
            let duration = u32::try_from(on_track(end) - on_track(decode)).unwrap_or(u32::MAX);
            self.audio.push(Sample { duration, composition_offset: 0, ..*sample }, true);
            decode = end;
        }
    }

    /// What is heard while the pictures from `first` to `end` (clip times) are shown; `None` without sound there.
    fn audio_edit(&self, first: i64, end: i64) -> Option<Edit> {
        if self.audio.samples == 0 {
            return None;
        }
        let timescale = self.audio_timescale;
        let on_clip = |ticks: i64| rescale(ticks, timescale, TICKS_PER_SECOND as u32);
        let from = on_clip(self.audio_start).max(first);
        let to = on_clip(self.audio_start.saturating_add(self.audio.ticks as i64)).min(end);
        let media_time = rescale(from, TICKS_PER_SECOND as u32, timescale) - self.audio_start;
        (from < to).then(|| Edit {
            empty: ticks(from - first),
            media_time: ticks(media_time),
            duration: ticks(to - from),
        })
    }
}

/// Ticks of one rate as ticks of another, rounded down.
fn rescale(at: i64, from: u32, to: u32) -> i64 {
    (i128::from(at) * i128::from(to)).div_euclid(from.max(1).into()) as i64
}

fn ticks(signed: i64) -> u64 {
    u64::try_from(signed).unwrap_or(0)
}

/// A picture on the clip's timeline.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Composition time in the clip.
    at: i64,
    /// Wall-clock time.
    wall: WallTime,
}

/// Which pictures are at the edges of the range, so far.
#[derive(Debug, Default)]
struct Shown {
    /// The last picture that begins at or before the start.
    at_start: Option<Frame>,
    /// The first that begins after it.
    after_start: Option<Frame>,
    /// The last that begins before the end, and its end by its own duration.
    last: Option<(Frame, i64)>,
    /// Composition time of the first that begins at or after the end.
    next: Option<i64>,
    /// When the last picture of all ends.
    wall_end: Option<WallTime>,
}

impl Shown {
    fn merge(&mut self, seen: &Seen, clip: u64) {
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
struct Seen {
    clock: FragmentClock,
    begins_before_start: bool,
    at_start: Option<i64>,
    after_start: Option<i64>,
    last: Option<(i64, u32)>,
    next: Option<i64>,
    wall_end: WallTime,
}

impl Seen {
    fn of(entry: &FragmentEntry, range: TimeRange) -> Self {
        let clock = FragmentClock::new(entry);
        let after_start = clock.media_at(range.start().saturating_add(Ticks90k(1)));
        let end = clock.media_at(range.end());
        let first = entry.video.first().map_or(0, |s| i64::from(s.composition_offset));
        let begins_before_start = first < after_start;
        let mut seen = Self {
            clock,
            begins_before_start,
            at_start: None,
            after_start: None,
            last: None,
            next: None,
            wall_end: entry.stamp.wall_start,
        };
        if let Some(inside) = Inside::of(&entry.video).filter(|i| after_start <= i.first && i.last.0 < end) {
            seen.after_start = Some(inside.first);
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
