//! Each camera's segments and gaps against each other.

use super::{Complaint, Fsck, FsckError, Tally};
use crate::index::{GapRow, SegmentRow};
use footage::media::GapCause;
use footage::units::{CameraKey, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// Rows of one camera read at a time.
const WINDOW: Ticks90k = Ticks90k(24 * 3_600 * TICKS_PER_SECOND);

impl Fsck {
    pub(super) async fn check_timelines(&self, tally: &mut Tally<'_>) -> Result<(), FsckError> {
        for camera in self.index.all_cameras().await? {
            tally.report.cameras += 1;
            self.timeline(&camera.key, tally).await?;
        }
        Ok(())
    }

    async fn timeline(&self, camera: &CameraKey, tally: &mut Tally<'_>) -> Result<(), FsckError> {
        let Some(extent) = self.index.extent(camera).await? else { return Ok(()) };
        let mut start = extent.start();
        let mut last: Option<TimeRange> = None;
        while let Some(window) = TimeRange::new(start, start.saturating_add(WINDOW).min(extent.end())) {
            // In this order: a gap that is closed meanwhile ends where footage begins that was not read yet.
            let mut segments = self.index.segments(camera, window).await?;
            let mut gaps = self.index.gaps(camera, window).await?;
            if self.store.shared(camera).is_some() {
                // Another gateway may record the same time, and records where this one has a gap.
                segments.retain(|segment| !self.store.is_foreign(camera, segment.pack));
                gaps.clear();
            }
            for complaint in overlaps(camera, &segments, window, &mut last) {
                tally.complain(complaint);
            }
            for complaint in gaps.iter().filter_map(|gap| over_footage(camera, gap, &segments, window)) {
                tally.complain(complaint);
            }
            start = window.end();
        }
        Ok(())
    }
}

/// Segments, by start, that begin before one before them has ended. Those that reach in from the window before were
/// seen there; `last` is the one that reaches furthest so far.
fn overlaps(
    camera: &CameraKey,
    segments: &[SegmentRow],
    window: TimeRange,
    last: &mut Option<TimeRange>,
) -> Vec<Complaint> {
    let mut found = Vec::new();
    for second in segments.iter().map(|s| s.range).filter(|range| range.start() >= window.start()) {
        match *last {
            Some(first) if second.start() < first.end() => {
                found.push(Complaint::SegmentsOverlap { camera: camera.clone(), first, second });
                if second.end() > first.end() {
                    *last = Some(second);
                }
            }
            _ => *last = Some(second),
        }
    }
    found
}

/// The first segment that a closed gap lies over, if that begins to be so in this window. Packets may be lost between
/// two pictures of one segment.
fn over_footage(camera: &CameraKey, gap: &GapRow, segments: &[SegmentRow], window: TimeRange) -> Option<Complaint> {
    let gap_range = TimeRange::new(gap.start, gap.end?).filter(|_| gap.cause != GapCause::PacketLoss)?;
    let footage = segments.iter().map(|s| s.range).find(|range| range.intersection(&gap_range).is_some())?;
    let begins: WallTime = footage.start().max(gap.start);
    let first_seen_here = window.start() <= begins && begins < window.end();
    first_seen_here.then(|| Complaint::GapOverFootage {
        camera: camera.clone(),
        gap: gap_range,
        cause: gap.cause,
        footage,
    })
}
