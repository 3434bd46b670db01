//! HLS (RFC 8216) over the stored fragments, byte for byte: VOD of a range, and live.
//!
//! A media segment is a run of whole fragments of one pack, `{pack}/{first}-{last}.m4s`. Every pack can give the
//! initialisation segment of its sample descriptions. Decode times go on from pack to pack inside a run, so a change of
//! pack alone is no discontinuity.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::holes::{Hole, LeftOut};
use super::walk::{FootageOf, PackRows, Walk, WalkStep, for_each_pack};
use super::{Footage, RetrieveError, exactly, within_hours_max};
use crate::archive::{PackRef, ReadError};
use crate::index::PackState;
use footage::media::Params;
use footage::pack::{FragmentEntry, PackError, PackTable, reader};
use footage::units::{CameraKey, PackId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

mod cut;
mod live;
#[cfg(test)]
mod tests;

use cut::{Cutter, HlsSegment};
pub(super) use live::LiveWindows;
pub use live::live_playlist;

/// Playlist of a past range. Its URIs are relative: `{pack}/init.mp4` and `{pack}/{first}-{last}.m4s`. It begins with
/// the random access point before the range; `EXT-X-START` says where the range begins in it.
///
/// # Errors
/// [`RetrieveError::Invalid`] for a range over [`super::CLIP_HOURS_MAX`], [`RetrieveError::NoFootage`] when there is
/// none in it.
pub async fn vod_playlist(footage: &Footage, camera: &CameraKey, range: TimeRange) -> Result<Playlist, RetrieveError> {
    within_hours_max(range)?;
    footage.known(camera).await?;
    let (mut vod, mut walk) = (Vod::new(range), Walk::default());
    let visit = |pack: PackRows| {
        walk.steps(&pack.rows, &pack.table).iter().for_each(|step| vod.push(&pack.table, step));
        Ok(())
    };
    let holes = for_each_pack(footage, camera, FootageOf::Timeline, range, &LeftOut::default(), visit).await?;
    footage.look_at(&holes);
    let camera = camera.clone();
    match vod.playlist() {
        Some(text) => Ok(Playlist { text, holes }),
        None => Err(RetrieveError::nothing_left(camera, range, holes)),
    }
}

/// A playlist of a past range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playlist {
    /// As it is sent.
    pub text: String,
    /// What of the range is on record and left out, because it is missing or damaged.
    pub holes: Vec<Hole>,
}

/// Segments of a past range.
#[derive(Debug)]
struct Vod {
    range: TimeRange,
    cutter: Cutter,
    segments: Vec<HlsSegment>,
}

impl Vod {
    /// Segments end at the first random access point after four seconds, or wherever they are after eight.
    fn new(range: TimeRange) -> Self {
        let seconds = |s| Ticks90k(s * TICKS_PER_SECOND);
        Self { range, cutter: Cutter::new(seconds(4), seconds(8)), segments: Vec::new() }
    }

    fn push(&mut self, table: &PackTable, step: &WalkStep<'_>) {
        let stamp = &step.entry.stamp;
        if stamp.wall_start >= self.range.end() {
            return;
        }
        // Nothing before this random access point is shown.
        if step.entry.random_access && stamp.wall_start <= self.range.start() {
            self.segments.clear();
            self.cutter.restart();
        }
        self.segments.extend(self.cutter.push(table, step));
    }

    /// `None` when nothing of the range came.
    fn playlist(mut self) -> Option<String> {
        self.segments.extend(self.cutter.finish());
        // A stretch that was over before the range began is not shown, nor is what it was decoded from.
        let over = |s: &HlsSegment| s.wall_end <= self.range.start();
        let first_shown = self.segments.iter().position(|s| !over(s))?;
        let stretch = self.segments[..=first_shown].iter().rposition(|s| s.discontinuity).unwrap_or(0);
        let begins = self.segments[stretch..=first_shown].iter().rposition(|s| s.random_access).unwrap_or(0) + stretch;
        let segments = &mut self.segments[begins..];
        // Nothing comes before it that it could differ from.
        segments[0].discontinuity = false;

        let mut out = String::with_capacity(256 + segments.len() * 80);
        header(&mut out, target_seconds(&*segments));
        if segments.iter().all(|s| s.random_access) {
            out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        out.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MEDIA-SEQUENCE:0\n");
        let hidden = self.range.start().since(segments[0].wall_start);
        if hidden > Ticks90k::ZERO {
            let _ = writeln!(out, "#EXT-X-START:TIME-OFFSET={:.6},PRECISE=YES", hidden.as_seconds_f64());
        }
        write_segments(&mut out, segments.iter(), Maps::Changes);
        out.push_str("#EXT-X-ENDLIST\n");
        Some(out)
    }
}

/// Version 7 for `EXT-X-MAP` in a playlist of ordinary media segments (RFC 8216 §7).
fn header(out: &mut String, target_seconds: u64) {
    let _ = write!(out, "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target_seconds}\n");
}

/// No segment's duration, rounded to the nearest second, may exceed it (RFC 8216 §4.3.3.1).
fn target_seconds<'a>(segments: impl IntoIterator<Item = &'a HlsSegment>) -> u64 {
    let rounded = |s: &HlsSegment| (s.ticks.0 + TICKS_PER_SECOND / 2).div_euclid(TICKS_PER_SECOND).max(1);
    segments.into_iter().map(rounded).max().unwrap_or(1).unsigned_abs()
}

/// Which segments are preceded by an `EXT-X-MAP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maps {
    /// Those that begin other sample descriptions.
    Changes,
    /// The first of each pack: a live window outlives packs, and must not name one that has been deleted.
    EachPack,
}

fn write_segments<'a>(out: &mut String, segments: impl Iterator<Item = &'a HlsSegment>, maps: Maps) {
    let mut pack: Option<PackId> = None;
    for segment in segments {
        let (first_of_all, new_pack) = (pack.is_none(), pack != Some(segment.pack));
        if segment.discontinuity {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if first_of_all || segment.new_params || (new_pack && maps == Maps::EachPack) {
            let _ = writeln!(out, "#EXT-X-MAP:URI=\"{}/init.mp4\"", segment.pack);
        }
        // Of each: inside a run, wall-clock time and media time are each their own clock's.
        let _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", date_time(segment.wall_start));
        pack = Some(segment.pack);
        let HlsSegment { pack, first, last, .. } = segment;
        let _ = write!(out, "#EXTINF:{:.6},\n{pack}/{first}-{last}.m4s\n", segment.ticks.as_seconds_f64());
    }
}

/// Milliseconds, as RFC 8216 §4.3.2.6 advises: some players read no more.
fn date_time(at: WallTime) -> String {
    format!("{:.3}", at.to_timestamp())
}

/// Which tracks of the footage are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracks {
    /// Those that are stored: video, and sound where it is recorded.
    #[default]
    All,
    /// Video alone, for players that cannot decode the sound (G.711 in a browser).
    Video,
}

impl Tracks {
    /// What follows each URI of a playlist, so that what it names has the same tracks.
    const VIDEO_QUERY: &str = "?tracks=video";

    /// The same playlist, of these tracks.
    pub fn of_playlist(self, text: String) -> String {
        if self == Self::All {
            return text;
        }
        let mut out = String::with_capacity(text.len() * 2);
        for line in text.lines() {
            match line.strip_prefix("#EXT-X-MAP:URI=\"").and_then(|rest| rest.strip_suffix('"')) {
                Some(uri) => {
                    let _ = writeln!(out, "#EXT-X-MAP:URI=\"{uri}{}\"", Self::VIDEO_QUERY);
                }
                None if line.starts_with('#') => {
                    let _ = writeln!(out, "{line}");
                }
                None => {
                    let _ = writeln!(out, "{line}{}", Self::VIDEO_QUERY);
                }
            }
        }
        out
    }
}

/// A pack's initialisation segment.
pub async fn init_segment(
    footage: &Footage,
    camera: &CameraKey,
    pack: PackId,
    tracks: Tracks,
) -> Result<Bytes, RetrieveError> {
    let (_, table) = pack_of(footage, camera, pack).await?;
    let params = &table.header.params;
    if tracks == Tracks::Video && params.audio.is_some() {
        return Ok(reader::init_segment(&Params { video: params.video.clone(), audio: None }));
    }
    Ok(reader::init_segment(params))
}

/// Bytes with their exact length.
pub struct Sized {
    /// Length in bytes.
    pub len: u64,
    /// When they were filmed.
    pub filmed: Option<TimeRange>,
    /// The bytes.
    pub body: BoxStream<'static, Result<Bytes, RetrieveError>>,
}

impl Sized {
    fn of(parts: Vec<Bytes>, filmed: Option<TimeRange>) -> Self {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        Self { len, filmed, body: futures::stream::iter(parts.into_iter().map(Ok)).boxed() }
    }
}

/// Fragments `first..=last` of a pack, byte for byte as they lie in it; of video alone, the same samples at the same times.
///
/// # Errors
/// [`ReadError::NotFound`] for a pack that this camera does not have, [`RetrieveError::Invalid`] for fragments that the
/// pack does not have, or for more video alone than is put together at a time.
pub async fn media_segment(
    footage: &Footage,
    camera: &CameraKey,
    pack: PackId,
    fragments: RangeInclusive<u32>,
    tracks: Tracks,
) -> Result<Sized, RetrieveError> {
    let (pack, table) = pack_of(footage, camera, pack).await?;
    let (from, to) = (*fragments.start() as usize, *fragments.end() as usize);
    let Some([first, ..]) = table.fragments.get(from..=to) else {
        return Err(RetrieveError::Invalid(format!(
            "pack {} has no fragments {from} to {to}: it has {}, counted from 0",
            pack.id,
            table.fragments.len()
        )));
    };
    let entries = &table.fragments[from..=to];
    let last = entries.last().unwrap_or(first);
    let range = first.offset..last.end();
    let len = range.end - range.start;
    let filmed = TimeRange::new(first.stamp.wall_start, last.wall_end());
    let without_sound = tracks == Tracks::Video && entries.iter().any(|entry| !entry.audio.is_empty());
    if without_sound && len > CHECKED_BYTES_MAX {
        return Err(RetrieveError::Invalid(format!(
            "fragments {from} to {to} without their sound: {len} bytes, at most {CHECKED_BYTES_MAX} at a time; ask for fewer"
        )));
    }
    let compares = footage.compares && pack.state != PackState::Open;
    if !without_sound && (!compares || len > CHECKED_BYTES_MAX) {
        return Ok(Sized { len, filmed, body: exactly(&footage.packs, pack, vec![range]) });
    }
    // A few seconds: read and compared before they are sent, so that damage is an answer and no broken body.
    let to_compare = if compares { entries.to_vec() } else { Vec::new() };
    match footage.packs.checked_bytes(&pack, to_compare, range).await {
        Ok(bytes) if without_sound => Ok(Sized::of(video_alone(*fragments.start(), entries, &bytes)?, filmed)),
        Ok(bytes) => Ok(Sized::of(vec![bytes], filmed)),
        Err(error) => Err(unreadable(footage, &pack, filmed, error).await),
    }
}

/// These fragments without their sound, from their bytes with it.
fn video_alone(number: u32, entries: &[Arc<FragmentEntry>], bytes: &Bytes) -> Result<Vec<Bytes>, RetrieveError> {
    let begin = entries.first().map_or(0, |entry| entry.offset);
    let mut parts = Vec::with_capacity(2 * entries.len());
    for (number, entry) in (number..).zip(entries) {
        let from = (entry.data_offset() - begin) as usize;
        let samples = from..from + entry.video_bytes() as usize;
        if samples.end > bytes.len() {
            let what = "its video samples lie behind its end".to_owned();
            return Err(RetrieveError::Read(PackError::Malformed { offset: entry.offset, what }.into()));
        }
        parts.push(reader::video_header(number, entry));
        parts.push(bytes.slice(samples));
    }
    Ok(parts)
}

/// A media segment that is larger, which no playlist names, is not held in memory.
const CHECKED_BYTES_MAX: u64 = 64 << 20;

/// A pack of this camera: the one that grows now, or one that the index knows.
async fn pack_of(
    footage: &Footage,
    camera: &CameraKey,
    pack: PackId,
) -> Result<(PackRef, Arc<PackTable>), RetrieveError> {
    if let Some(live) = footage.packs.live(camera).filter(|(live, _)| live.id == pack) {
        return Ok(live);
    }
    let row = footage.index.pack(camera, pack).await?.ok_or(ReadError::NotFound(pack))?;
    let pack = PackRef { id: pack, camera: camera.clone(), state: row.state };
    match footage.packs.table(&pack).await {
        Ok(table) => Ok((pack, table)),
        Err(error) => Err(unreadable(footage, &pack, TimeRange::new(row.start, row.end), error).await),
    }
}

/// Names a pack to the scrub that could not be read, if that is the pack's fault.
async fn unreadable(footage: &Footage, pack: &PackRef, wall: Option<TimeRange>, error: ReadError) -> RetrieveError {
    let why = match footage.packs.why(pack, error).await {
        Ok(why) => why,
        Err(error) => return error.into(),
    };
    let Some(range) = wall else { return ReadError::NotFound(pack.id).into() };
    let holes = vec![Hole { range, pack: pack.id, why }];
    footage.look_at(&holes);
    RetrieveError::nothing_left(pack.camera.clone(), range, holes)
}
