//! Groups fragments into media segments.
//!
//! Invariant: where a segment ends depends only on the fragments since it began and on whether the next one is a
//! random access point, so that a playlist asked again is cut alike.

use std::sync::Arc;

use super::super::walk::WalkStep;
use footage::media::Params;
use footage::pack::PackTable;
use footage::units::{PackId, Ticks90k, WallTime};

/// One media segment: fragments `first..=last` of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HlsSegment {
    pub(super) pack: PackId,
    pub(super) first: u32,
    pub(super) last: u32,
    /// Media time.
    pub(super) ticks: Ticks90k,
    pub(super) wall_start: WallTime,
    pub(super) wall_end: WallTime,
    /// Begins with a random access point.
    pub(super) random_access: bool,
    /// Media time does not go on from the segment before, or other sample descriptions begin.
    pub(super) discontinuity: bool,
    /// Its sample descriptions are not those of the segment before.
    pub(super) new_params: bool,
}

/// Cuts a walk into segments.
#[derive(Debug)]
pub(super) struct Cutter {
    ticks_min: Ticks90k,
    ticks_max: Ticks90k,
    current: Option<HlsSegment>,
    params: Option<Arc<Params>>,
}

impl Cutter {
    /// Segments end before a random access point once they are `ticks_min` long or where they do not begin with one
    /// themselves, and anywhere once they are `ticks_max` long. They also end with their pack and at discontinuities.
    pub(super) fn new(ticks_min: Ticks90k, ticks_max: Ticks90k) -> Self {
        Self { ticks_min, ticks_max, current: None, params: None }
    }

    /// Forgets the segment that has begun.
    pub(super) fn restart(&mut self) {
        self.current = None;
    }

    /// Takes the next fragment; gives the segment that is complete now.
    pub(super) fn push(&mut self, table: &PackTable, step: &WalkStep<'_>) -> Option<HlsSegment> {
        let params = &table.header.params;
        let described_alike = self.params.as_ref().is_some_and(|known| Arc::ptr_eq(known, params) || known == params);
        let discontinuity = !step.joined || !described_alike;
        let goes_on = |s: &HlsSegment| {
            let may_end = s.ticks >= self.ticks_min || !s.random_access;
            let due = s.ticks >= self.ticks_max || (step.entry.random_access && may_end);
            s.pack == table.header.pack && !discontinuity && !due
        };
        let (ticks, wall_end) = (step.entry.duration(), step.entry.wall_end());
        if let Some(current) = self.current.as_mut().filter(|s| goes_on(s)) {
            current.last = step.index;
            current.ticks = Ticks90k(current.ticks.0.saturating_add(ticks.0));
            current.wall_end = wall_end;
            return None;
        }
        self.params = Some(Arc::clone(params));
        self.current.replace(HlsSegment {
            pack: table.header.pack,
            first: step.index,
            last: step.index,
            ticks,
            wall_start: step.entry.stamp.wall_start,
            wall_end,
            random_access: step.entry.random_access,
            discontinuity,
            new_params: !described_alike,
        })
    }

    /// The segment that has begun, if its length alone says that it is complete.
    pub(super) fn take_due(&mut self) -> Option<HlsSegment> {
        self.current.take_if(|s| s.ticks >= self.ticks_max)
    }

    /// The segment that has begun: nothing more comes.
    pub(super) fn finish(&mut self) -> Option<HlsSegment> {
        self.current.take()
    }
}
