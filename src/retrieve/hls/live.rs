//! The live playlist: a window that slides over the newest segments.
//!
//! Segments are numbered by counting, as RFC 8216 §6.2.2 wants: a segment keeps its number for as long as it is
//! listed, whatever pack or run it is of, and each discontinuity that slides out is counted. The first number comes
//! from the footage's own wall-clock time, on a grid finer than segments are long: after a restart of the gateway,
//! numbers go on above all that were given before.
//!
//! Invariant: what is listed was written whole before and does not change any more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::walk::Walk;
use super::super::{Footage, RetrieveError};
use super::cut::{Cutter, HlsSegment};
use super::{Maps, header, target_seconds, write_segments};
use crate::archive::PackRef;
use crate::index::SegmentRow;
use footage::pack::PackTable;
use footage::units::{CameraKey, PackId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};
use parking_lot::Mutex;

const fn millis(ms: i64) -> Ticks90k {
    Ticks90k(ms * TICKS_PER_SECOND / 1000)
}

/// A segment is complete once it is this long: one fragment, whatever the distance between random access points, so that
/// each second is listed as soon as it is there; several of a camera whose random access points lie closer together.
const SEGMENT_DUE: Ticks90k = millis(800);
/// At least this much is listed, beginning with a random access point, once there is as much.
const WINDOW: Ticks90k = millis(20_000);
/// At most this much is listed, even when no random access point comes.
const WINDOW_MAX: Ticks90k = millis(60_000);
/// Footage that ended longer ago than this is not live.
const STALE: Ticks90k = millis(30_000);
/// The recording may be ahead of the clock by so much, where that is slewed.
const AHEAD_MAX: Ticks90k = millis(5_000);
/// `EXT-X-TARGETDURATION` of a camera that sends a picture a second or more often.
const TARGET_SECONDS_MIN: u64 = 1;
/// Numbers begin at the count of these since the Unix epoch.
const NUMBER_GRID: Ticks90k = millis(250);

/// Playlist of what is being recorded now. However many ask, it is made once for each fragment that grows.
///
/// # Errors
/// [`RetrieveError::NoFootage`] when nothing has been recorded lately.
pub async fn live_playlist(footage: &Footage, camera: &CameraKey) -> Result<String, RetrieveError> {
    if let Some((pack, table)) = footage.packs.live(camera)
        && let Some(said) = footage.live.said(camera, LiveTail::of(&pack, &table))
    {
        return Ok(said);
    }
    footage.known(camera).await?;
    let now = footage.clock.wall();
    let nothing = || {
        let range = TimeRange::new(now.saturating_sub(STALE), now.saturating_add(Ticks90k(1)));
        range.map_or_else(
            || RetrieveError::Invalid("the gateway's clock is out of range".to_owned()),
            |range| RetrieveError::NoFootage { camera: camera.clone(), range },
        )
    };
    let newest = newest(footage, camera, now).await?.ok_or_else(nothing)?;
    let range = TimeRange::new(newest.saturating_sub(WINDOW_MAX), newest).ok_or_else(nothing)?;
    let (rows, live) = rows_and_live(footage, camera, range).await?;
    let mut tables = Vec::new();
    for pack in packs_before(rows, camera, live.as_ref()) {
        tables.push(footage.packs.table(&pack).await?);
    }
    let segments = cut(&tables, live.as_ref().map(|(_, table)| table.as_ref()));
    let grown = live.as_ref().map(|(pack, table)| LiveTail::of(pack, table));
    footage.live.advance(camera, segments, newest, grown).ok_or_else(nothing)
}

/// How far a camera's live pack has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LiveTail {
    pack: PackId,
    fragments: usize,
}

impl LiveTail {
    fn of(pack: &PackRef, table: &PackTable) -> Self {
        Self { pack: pack.id, fragments: table.fragments.len() }
    }
}

/// Where live footage ends: on the recording's own timeline, which is another than the clock's from when that was set
/// until the next random access point.
async fn newest(footage: &Footage, camera: &CameraKey, now: WallTime) -> Result<Option<WallTime>, RetrieveError> {
    if let Some((_, table)) = footage.packs.live(camera)
        && let Some(fragment) = table.fragments.last()
    {
        return Ok(Some(fragment.wall_end()));
    }
    let end = footage.index.extent(camera).await?.map(|extent| extent.end());
    // What a wrong clock put into the future is not live.
    Ok(end.filter(|&end| (-AHEAD_MAX.0..STALE.0).contains(&now.since(end).0)))
}

/// What the index has, and what grows. A pack that is sealed between the two looks may be in neither: then both are
/// taken again.
async fn rows_and_live(
    footage: &Footage,
    camera: &CameraKey,
    range: TimeRange,
) -> Result<(Vec<SegmentRow>, Option<(PackRef, Arc<PackTable>)>), RetrieveError> {
    let growing = || footage.packs.live(camera);
    let id = |live: &Option<(PackRef, Arc<PackTable>)>| live.as_ref().map(|(pack, _)| pack.id);
    let mut before = growing();
    loop {
        let mut rows = footage.index.segments(camera, range).await?;
        // What others record of the same camera comes later than one's own.
        rows.retain(|row| !footage.packs.is_foreign(camera, row.pack));
        let misdated = footage.index.misdated(camera).await?;
        rows.retain(|row| misdated.iter().all(|run| run.run != row.run));
        let live = growing();
        if id(&before) == id(&live) {
            return Ok((rows, live));
        }
        before = live;
    }
}

/// The packs of these rows, each once, without the live one.
fn packs_before(rows: Vec<SegmentRow>, camera: &CameraKey, live: Option<&(PackRef, Arc<PackTable>)>) -> Vec<PackRef> {
    let mut packs: Vec<PackRef> = Vec::new();
    for row in rows {
        let known = packs.iter().any(|p| p.id == row.pack) || live.is_some_and(|(live, _)| live.id == row.pack);
        if !known {
            packs.push(PackRef { id: row.pack, camera: camera.clone(), state: row.state });
        }
    }
    packs
}

/// All segments of packs that are whole, then those of the live pack that are complete. Tables are cut from their
/// beginning, so that segments are the same whenever they are asked for.
pub(super) fn cut(whole: &[Arc<PackTable>], live: Option<&PackTable>) -> Vec<HlsSegment> {
    let (mut walk, mut cutter) = (Walk::default(), Cutter::new(SEGMENT_DUE, SEGMENT_DUE));
    let mut segments = Vec::new();
    for table in whole {
        segments.extend(walk.table(table).iter().filter_map(|step| cutter.push(table, step)));
        segments.extend(cutter.finish());
    }
    if let Some(table) = live {
        segments.extend(walk.table(table).iter().filter_map(|step| cutter.push(table, step)));
        segments.extend(cutter.take_due());
    }
    segments
}

/// Windows by camera: as many as there are cameras that have been watched.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct LiveWindows(Arc<Mutex<HashMap<CameraKey, Window>>>);

impl LiveWindows {
    fn advance(
        &self,
        camera: &CameraKey,
        segments: Vec<HlsSegment>,
        newest: WallTime,
        grown: Option<LiveTail>,
    ) -> Option<String> {
        let mut windows = self.0.lock();
        let window = windows.entry(camera.clone()).or_default();
        window.advance(segments, newest);
        let playlist = window.playlist();
        window.said = grown.zip(playlist.clone());
        playlist
    }

    /// What was last said, when nothing has grown since.
    fn said(&self, camera: &CameraKey, grown: LiveTail) -> Option<String> {
        let windows = self.0.lock();
        let (then, playlist) = windows.get(camera)?.said.as_ref()?;
        (*then == grown).then(|| playlist.clone())
    }
}

/// What is listed now for one camera.
#[derive(Debug, Default)]
pub(super) struct Window {
    segments: VecDeque<HlsSegment>,
    /// Number of the first segment (`EXT-X-MEDIA-SEQUENCE`).
    number: u64,
    /// Number of the discontinuities before it (`EXT-X-DISCONTINUITY-SEQUENCE`).
    discontinuities: u64,
    /// The longest segment so far, which must not change while a client looks (`EXT-X-TARGETDURATION`).
    target_seconds: u64,
    /// The playlist as it was last said, and of what.
    said: Option<(LiveTail, String)>,
}

impl Window {
    /// Appends what is new among `segments`, which are all that there are near `newest`, and slides.
    pub(super) fn advance(&mut self, segments: Vec<HlsSegment>, newest: WallTime) {
        let end = |s: Option<&HlsSegment>| s.map(|s| s.wall_end);
        if end(segments.last()) <= end(self.segments.back()) {
            return; // another request has been quicker, or nothing is new
        }
        let same = |a: &HlsSegment, b: &HlsSegment| (a.pack, a.first, a.last) == (b.pack, b.first, b.last);
        let known = self.segments.back().and_then(|last| segments.iter().rposition(|s| same(s, last)));
        let recent = |s: &HlsSegment| newest.since(s.wall_end) < WINDOW_MAX;
        let new: Vec<HlsSegment> = match known {
            Some(position) => segments.into_iter().skip(position + 1).collect(),
            None => {
                let mut new: Vec<_> = segments.into_iter().filter(recent).collect();
                self.begin_again(new.first_mut());
                new
            }
        };
        self.target_seconds = self.target_seconds.max(target_seconds(&new)).max(TARGET_SECONDS_MIN);
        self.segments.extend(new);
        self.slide();
    }

    /// Nobody has looked for so long that nothing listed is near any more, or the gateway has restarted: numbers jump
    /// ahead, as if all between had been listed and had slid out.
    fn begin_again(&mut self, first: Option<&mut HlsSegment>) {
        let Some(first) = first else { return };
        first.discontinuity = false; // counted in the jump
        let on_grid = u64::try_from(first.wall_start.0 / NUMBER_GRID.0).unwrap_or(0);
        let listed = self.segments.len() as u64;
        self.number = on_grid.max(self.number + listed);
        self.discontinuities = on_grid.max(self.discontinuities + listed);
        self.segments.clear();
    }

    fn slide(&mut self) {
        let mut listed = Ticks90k::ZERO;
        let mut keep = self.segments.len();
        for (position, segment) in self.segments.iter().enumerate().rev() {
            listed.0 += segment.ticks.0;
            if listed > WINDOW_MAX {
                break;
            }
            keep = position;
            if segment.random_access && listed >= WINDOW {
                break;
            }
        }
        // One segment longer than the window is still the newest.
        let keep = keep.min(self.segments.len().saturating_sub(1));
        for slid in self.segments.drain(..keep) {
            self.number += 1;
            self.discontinuities += u64::from(slid.discontinuity);
        }
    }

    /// `None` while there is nothing to list.
    pub(super) fn playlist(&self) -> Option<String> {
        if self.segments.is_empty() {
            return None;
        }
        let mut out = String::with_capacity(256 + self.segments.len() * 80);
        header(&mut out, self.target_seconds);
        out.push_str(&format!("#EXT-X-MEDIA-SEQUENCE:{}\n", self.number));
        out.push_str(&format!("#EXT-X-DISCONTINUITY-SEQUENCE:{}\n", self.discontinuities));
        write_segments(&mut out, self.segments.iter(), Maps::EachPack);
        Some(out)
    }
}
