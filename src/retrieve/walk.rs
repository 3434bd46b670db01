//! The fragments of a time range in order, from index rows and fragment tables: what MP4 and HLS are laid out from.
//!
//! Invariant: what comes out can be decoded from its first fragment on, and each fragment comes out once.
//! Absent on purpose: no samples are read here, and no table is kept longer than its turn.

use std::ops::Range;
use std::sync::Arc;

use futures::stream::{self, StreamExt};

use super::holes::{Hole, LeftOut, joined};
use super::{Footage, RetrieveError, select};
use crate::archive::PackRef;
use crate::index::SegmentRow;
use footage::clip::Stretch;
use footage::pack::{FragmentEntry, PackTable};
use footage::units::{CameraKey, HoldId, PackId, RunId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// Tables read together, and how often at once: enough to hide a store's latency, few enough for a small machine.
pub(super) const TABLES_TOGETHER: usize = 8;
const READS_AT_ONCE: usize = 3;

/// How far before the range to look for a picture that is shown in it but was coded before: longer than any camera
/// reorders.
const REORDER_MAX: Ticks90k = Ticks90k(TICKS_PER_SECOND);

/// Index rows of one pack, and its table.
pub(super) struct PackRows {
    pub(super) pack: PackRef,
    pub(super) rows: Vec<SegmentRow>,
    pub(super) table: Arc<PackTable>,
}

/// Where footage is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FootageOf {
    /// In the camera's own timeline.
    Timeline,
    /// In one run of it, by that run's own times: those of a wrong clock may be another run's too.
    Run(RunId),
    /// In what is kept for a hold on it.
    Hold(HoldId),
}

/// Visits the packs of a range in order, and gives what of it is left out. Tables are read ahead.
pub(super) async fn for_each_pack(
    footage: &Footage,
    camera: &CameraKey,
    from: FootageOf,
    range: TimeRange,
    left_out: &LeftOut,
    mut visit: impl FnMut(PackRows) -> Result<(), RetrieveError>,
) -> Result<Vec<Hole>, RetrieveError> {
    let wider = TimeRange::new(range.start().saturating_sub(REORDER_MAX), range.end()).unwrap_or(range);
    let rows = match from {
        FootageOf::Timeline => {
            let rows = footage.index.segments(camera, wider).await?;
            select::one_per_instant(&footage.index, &footage.packs, camera, rows).await?
        }
        FootageOf::Run(run) => {
            let rows = footage.index.segments(camera, wider).await?;
            rows.into_iter().filter(|row| row.run == run).collect()
        }
        FootageOf::Hold(hold) => {
            let rows = footage.index.held_segments(camera, hold, wider).await?;
            select::one_per_instant(&footage.index, &footage.packs, camera, rows).await?
        }
    };
    let mut packs = stream::iter(by_pack(rows, camera))
        .chunks(TABLES_TOGETHER)
        .map(|together| async move {
            let (packs, rows): (Vec<_>, Vec<_>) = together.into_iter().unzip();
            let tables = footage.packs.tables_or_why(&packs).await?;
            Ok::<_, RetrieveError>(packs.into_iter().zip(rows).zip(tables))
        })
        .buffered(READS_AT_ONCE);
    let mut holes = Vec::new();
    while let Some(together) = packs.next().await {
        for ((pack, rows), table) in together? {
            match table {
                Ok(table) => {
                    let rows = left_out.without(&pack, rows, &table, &mut holes);
                    visit(PackRows { pack, rows, table })?;
                }
                Err(why) => holes.extend(rows.iter().map(|row| Hole { range: row.range, pack: pack.id, why })),
            }
        }
    }
    Ok(joined(holes, range))
}

/// Neighbouring rows of the same pack together.
fn by_pack(rows: Vec<SegmentRow>, camera: &CameraKey) -> Vec<(PackRef, Vec<SegmentRow>)> {
    let mut packs: Vec<(PackRef, Vec<SegmentRow>)> = Vec::new();
    for row in rows {
        match packs.last_mut() {
            Some((pack, rows)) if pack.id == row.pack => rows.push(row),
            _ => packs.push((PackRef { id: row.pack, camera: camera.clone(), state: row.state }, vec![row])),
        }
    }
    packs
}

/// One fragment on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct WalkStep<'a> {
    /// Where it lies in its pack's table.
    pub(super) index: u32,
    /// Its facts.
    pub(super) entry: &'a FragmentEntry,
    /// True when its media time goes on where the previous fragment's ended, in the same run.
    pub(super) joined: bool,
}

/// Where a walk has got to.
#[derive(Debug, Default)]
pub(super) struct Walk {
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    run: RunId,
    pack: PackId,
    index: u32,
    decode_end: Ticks90k,
}

impl Walk {
    /// The fragments of the next pack's rows. The first row of all begins at the random access point that its first
    /// fragment is decoded from; later, fragments that follow a hole are left out up to the next random access point.
    pub(super) fn steps<'a>(&mut self, rows: &[SegmentRow], table: &'a PackTable) -> Vec<WalkStep<'a>> {
        let mut steps = Vec::new();
        for row in rows {
            let end = row.first_fragment.saturating_add(row.fragments).min(table.fragments.len() as u32);
            let indices = self.first_index(row, table)..end;
            steps.extend(self.admitted(table, indices));
        }
        steps
    }

    /// All fragments of the next pack.
    pub(super) fn table<'a>(&mut self, table: &'a PackTable) -> Vec<WalkStep<'a>> {
        self.admitted(table, 0..table.fragments.len() as u32)
    }

    fn admitted<'a>(&mut self, table: &'a PackTable, indices: Range<u32>) -> Vec<WalkStep<'a>> {
        let step = |index: u32| {
            let entry = table.fragments[index as usize].as_ref();
            self.admits(table, index, entry).map(|joined| WalkStep { index, entry, joined })
        };
        indices.filter_map(step).collect()
    }

    fn first_index(&self, row: &SegmentRow, table: &PackTable) -> u32 {
        match self.last {
            Some(last) if last.pack == table.header.pack => row.first_fragment.max(last.index + 1),
            Some(_) => row.first_fragment,
            None => random_access_at_or_before(table, row.first_fragment),
        }
    }

    /// Whether the fragment is joined to the last one; `None` when it cannot be decoded after it.
    fn admits(&mut self, table: &PackTable, index: u32, entry: &FragmentEntry) -> Option<bool> {
        let header = &table.header;
        let joined = self.last.is_some_and(|l| l.run == header.run && l.decode_end == entry.decode_time);
        // Packets lost inside a run leave the next fragment in its place in the pack: it is shown as it was received.
        let next_in_pack = self.last.is_some_and(|l| l.pack == header.pack && l.index + 1 == index);
        if !joined && !next_in_pack && !entry.random_access {
            return None;
        }
        let decode_end = Ticks90k(entry.decode_time.0.saturating_add(entry.duration().0));
        self.last = Some(Last { run: header.run, pack: header.pack, index, decode_end });
        Some(joined)
    }
}

/// The fragment from which the one at `index` is decoded; 0 when the table is empty.
pub(super) fn random_access_at_or_before(table: &PackTable, index: u32) -> u32 {
    let upto = table.fragments.len().min(index as usize + 1);
    table.fragments[..upto].iter().rposition(|f| f.random_access).unwrap_or(0) as u32
}

/// A fragment's media time against wall-clock time: linear, as drift is slewed evenly inside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FragmentClock {
    wall_start: WallTime,
    wall: i128,
    media: i128,
}

impl FragmentClock {
    pub(super) fn new(entry: &FragmentEntry) -> Self {
        let (wall, media) = (entry.stamp.wall_duration.0, entry.duration().0);
        let (wall, media) = if wall > 0 && media > 0 { (wall, media) } else { (1, 1) };
        Self { wall_start: entry.stamp.wall_start, wall: wall.into(), media: media.into() }
    }

    /// The same for a file, from its own beginning on.
    pub(super) fn stretch(&self) -> Stretch {
        let sides =
            u32::try_from(self.media).ok().zip(u32::try_from(self.wall).ok()).filter(|(media, wall)| media != wall);
        let (media, wall) = sides.unwrap_or((1, 1));
        Stretch { media_start: 0, wall_start: self.wall_start, media, wall }
    }

    /// Wall-clock time of a media time counted from the fragment's decode time.
    pub(super) fn wall(&self, media: i64) -> WallTime {
        if self.wall == self.media {
            return self.wall_start.saturating_add(Ticks90k(media));
        }
        let ticks = (i128::from(media) * self.wall).div_euclid(self.media);
        self.wall_start.saturating_add(Ticks90k(ticks as i64))
    }

    /// The least media time, counted from the fragment's decode time, whose wall-clock time is not before `at`.
    pub(super) fn media_at(&self, at: WallTime) -> i64 {
        if self.wall == self.media {
            return at.since(self.wall_start).0;
        }
        let wanted = i128::from(at.since(self.wall_start).0) * self.media;
        let ticks = -(-wanted).div_euclid(self.wall);
        ticks.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Recording;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_walk_begins_at_the_random_access_point_before_its_first_row() {
        let mut recording = Recording::new();
        recording.gop(4).gop(4);
        let (pack, mut rows) = recording.finish();
        rows[0].first_fragment = 6;
        rows[0].fragments = 2;
        let steps = Walk::default().steps(&rows, &pack);
        assert_eq!(steps.iter().map(|s| s.index).collect::<Vec<_>>(), [4, 5, 6, 7]);
        assert_eq!(steps.iter().map(|s| s.joined).collect::<Vec<_>>(), [false, true, true, true]);
    }

    #[test]
    fn fragments_after_a_hole_wait_for_a_random_access_point() {
        let mut recording = Recording::new();
        recording.gop(4).gop(2);
        let (pack, rows) = recording.finish();
        let mut first = rows[0].clone();
        first.fragments = 2;
        let mut second = rows[0].clone();
        second.first_fragment = 3;
        second.fragments = 3;
        let steps = Walk::default().steps(&[first, second], &pack);
        assert_eq!(steps.iter().map(|s| s.index).collect::<Vec<_>>(), [0, 1, 4, 5]);
        assert_eq!(steps.iter().map(|s| s.joined).collect::<Vec<_>>(), [false, true, false, true]);
    }

    #[test]
    fn a_row_that_promises_more_fragments_than_the_table_has_yields_those_there_are() {
        let mut recording = Recording::new();
        recording.gop(2);
        let (pack, mut rows) = recording.finish();
        rows[0].fragments = 90;
        assert_eq!(Walk::default().steps(&rows, &pack).len(), 2);
    }

    proptest! {
        #[test]
        fn media_at_is_the_least_media_time_not_before(
            wall in 1i64..200_000, media in 1i64..200_000, at in -500_000i64..500_000,
        ) {
            let clock = FragmentClock { wall_start: WallTime(1_000_000), wall: wall.into(), media: media.into() };
            let at = WallTime(1_000_000 + at);
            let found = clock.media_at(at);
            prop_assert!(clock.wall(found) >= at);
            prop_assert!(clock.wall(found - 1) < at);
        }
    }
}
