//! What a clip is made of: which fragments, in which place, and which of their pictures are shown.
//!
//! Media time of the clip: each fragment where it was filmed, the last picture before a gap lasting over it
//! ([`Gaps::Held`]); or fragments one after the other, so that gaps take no time ([`Gaps::Joined`]). Sound is aligned with
//! the picture again after each gap, by moving the end of the last audio sample before it.
//!
//! Invariant: the first fragment begins with the random access point that the first picture shown is decoded from.

use bytes::Bytes;

use super::super::walk::{FragmentClock, WalkStep};
use super::Gaps;
use super::seen::{Frame, Shown};
use super::table::TrackTable;
use crate::archive::PackRef;
use footage::clip::{Stretch, Times};
use footage::media::{Sample, VideoCodec};
use footage::pack::{FragmentEntry, PackError, PackTable};
use footage::units::{FragmentId, RunId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

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
    /// When each picture was filmed.
    pub(super) times: Times,
    /// What of `covers` has pictures.
    pub(super) stretches: Vec<TimeRange>,
    /// The camera's clock minus the gateway's: the least and the most.
    pub(super) camera_clock: Option<(Ticks90k, Ticks90k)>,
    /// Sessions that it was recorded in.
    pub(super) runs: Vec<RunId>,
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

/// A fragment's table must agree with itself before bytes are promised from it.
pub(super) fn check(entry: &FragmentEntry) -> Result<(), PackError> {
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

/// What is gathered of a clip, fragment by fragment.
#[derive(Debug, Default)]
pub(super) struct Content {
    packs: Vec<PackRef>,
    parts: Vec<LayoutPart>,
    mdat_bytes: u64,
    pub(super) video: TrackTable,
    size: (u16, u16),
    codec: Option<VideoCodec>,
    audio: TrackTable,
    audio_timescale: u32,
    /// Clip time of the first audio sample, in audio ticks.
    audio_start: i64,
    /// Where the media time that goes on now began: on the clip's timeline, and on the run's.
    origin: (u64, Ticks90k),
    content: Vec<u8>,
    times: Times,
    stretches: Vec<TimeRange>,
    camera_clock: Option<(Ticks90k, Ticks90k)>,
    runs: Vec<RunId>,
}

impl Content {
    /// From the end of what is there to the next fragment; none where there is nothing yet, or no gap.
    pub(super) fn gap_before(&self, entry: &FragmentEntry) -> Option<Ticks90k> {
        let last = self.parts.last()?;
        Some(entry.stamp.wall_start.since(last.wall.1)).filter(|gap| gap.0 > 0)
    }

    /// Makes room for the next fragment: where time is kept, it begins as long after the first as it was filmed after it.
    pub(super) fn align(&mut self, entry: &FragmentEntry, gaps: Gaps) {
        if let (Gaps::Held, Some(first)) = (gaps, self.parts.first()) {
            self.video.end_near(ticks(entry.stamp.wall_start.since(first.wall.0).0));
        }
    }

    pub(super) fn append(&mut self, pack: &PackRef, table: &PackTable, step: &WalkStep<'_>, gaps: Gaps) {
        let (entry, params) = (step.entry, &table.header.params);
        if self.parts.is_empty() {
            self.size = (params.video.width, params.video.height);
            self.codec = Some(params.video.codec);
        }
        if !step.joined || self.parts.is_empty() || gaps == Gaps::Held {
            self.origin = (self.video.ticks, entry.decode_time);
        }
        self.note_times(step);
        if self.runs.last() != Some(&table.header.run) {
            self.runs.push(table.header.run);
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

    fn note_times(&mut self, step: &WalkStep<'_>) {
        let entry = step.entry;
        let Stretch { media, wall, .. } = FragmentClock::new(entry).stretch();
        let (media_start, wall_start) = (self.video.ticks as i64, entry.stamp.wall_start);
        self.times.push(Stretch { media_start, wall_start, media, wall });
        let filmed = TimeRange::new(wall_start, entry.wall_end());
        match self
            .stretches
            .last_mut()
            .filter(|_| step.joined || self.parts.last().is_some_and(|p| p.wall.1 >= wall_start))
        {
            Some(last) => *last = TimeRange::new(last.start(), last.end().max(entry.wall_end())).unwrap_or(*last),
            None => self.stretches.extend(filmed),
        }
        if let Some(camera) = entry.stamp.camera_time {
            let offset = camera.since(wall_start);
            let (least, most) = self.camera_clock.unwrap_or((offset, offset));
            self.camera_clock = Some((least.min(offset), most.max(offset)));
        }
    }

    /// The layout of what was gathered; `None` when no picture of the range is in it.
    pub(super) fn lay_out(mut self, first: Frame, shown: &Shown) -> Option<Layout> {
        let (last, last_end) = shown.last?;
        let end = shown.next.filter(|&next| next > last.at).unwrap_or(last_end).max(last.at + 1);
        let covers = TimeRange::new(first.wall, last.wall.saturating_add(Ticks90k(end - last.at)))?;
        // Sound of before is not even listed: who knows no edit list hears it in step with the picture.
        let audio_edit = self.audio_edit(first.at, end).map(|edit| {
            let media_time = edit.media_time - self.audio.leave_out_before(edit.media_time);
            Edit { media_time, ..edit }
        });
        // A composition time before the first decode time cannot be written in an edit list.
        let hidden = self.video.hide(ticks(first.at));
        self.times.begin_at(ticks(first.at) as i64, hidden as i64 - ticks(first.at) as i64);
        let video_edit = Edit { empty: 0, media_time: hidden, duration: ticks(end - first.at) };
        let within = |stretch: &TimeRange| stretch.intersection(&covers);
        let Self { packs, parts, mdat_bytes, video, size, audio, audio_timescale, content, codec, .. } = self;
        Some(Layout {
            packs,
            parts,
            mdat_bytes,
            video,
            video_edit,
            size,
            audio: audio_edit.map(|edit| Audio { track: audio, timescale: audio_timescale, edit }),
            covers,
            content,
            codec: codec?,
            prefix: Bytes::new(),
            times: self.times,
            stretches: self.stretches.iter().filter_map(within).collect(),
            camera_clock: self.camera_clock,
            runs: self.runs,
        })
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
