//! What of a time range is on record and cannot be handed out: its pack is missing, or damaged.
//!
//! Such footage is left out, reported with the answer, and looked at by the scrub at once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use tokio::sync::mpsc;

use crate::archive::PackRef;
use crate::archive::readable::Unreadable;
use crate::index::SegmentRow;
use crate::index::of_pack::lost_with;
use footage::pack::PackTable;
use footage::units::{PackId, TimeRange};

/// A stretch that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// When.
    pub range: TimeRange,
    /// Where it should be.
    pub pack: PackId,
    /// Why it is not handed out.
    pub why: Unreadable,
}

/// Fragments that were found unreadable.
#[derive(Debug, Default)]
pub(super) struct LeftOut(BTreeMap<PackId, BTreeMap<u32, Unreadable>>);

impl LeftOut {
    /// True when one of them is new.
    pub(super) fn add(&mut self, pack: PackId, found: BTreeMap<u32, Unreadable>) -> bool {
        let known = self.0.entry(pack).or_default();
        let mut new = false;
        for (number, why) in found {
            if let Entry::Vacant(place) = known.entry(number) {
                place.insert(why);
                new = true;
            }
        }
        new
    }

    /// The pack's rows without them and what is decoded from them, which become holes.
    pub(super) fn without(
        &self,
        pack: &PackRef,
        rows: Vec<SegmentRow>,
        table: &PackTable,
        holes: &mut Vec<Hole>,
    ) -> Vec<SegmentRow> {
        let Some(bad) = self.0.get(&pack.id).filter(|bad| !bad.is_empty()) else { return rows };
        let lost = lost_with(table, bad.keys().copied());
        let mut left = Vec::new();
        for row in rows {
            let end = row.first_fragment.saturating_add(row.fragments).min(table.fragments.len() as u32);
            let mut next = row.first_fragment;
            for range in lost.iter().filter(|range| range.start < end && range.end > row.first_fragment) {
                let (from, to) = (range.start.max(row.first_fragment), range.end.min(end));
                if next < from {
                    left.push(SegmentRow { first_fragment: next, fragments: from - next, ..row.clone() });
                }
                next = to;
                let of = &table.fragments[from as usize..to as usize];
                let why = bad.range(range.clone()).map(|(_, why)| *why).max().unwrap_or(Unreadable::Damaged);
                let span = of
                    .first()
                    .zip(of.last())
                    .and_then(|(first, last)| TimeRange::new(first.stamp.wall_start, last.wall_end()));
                holes.extend(span.map(|range| Hole { range, pack: pack.id, why }));
            }
            if next < end {
                left.push(SegmentRow { first_fragment: next, fragments: end - next, ..row.clone() });
            }
        }
        left
    }
}

/// What of the holes lies in the range; neighbours of one pack and one cause together.
pub(super) fn joined(holes: Vec<Hole>, range: TimeRange) -> Vec<Hole> {
    let mut out: Vec<Hole> = Vec::new();
    for hole in holes {
        let Some(within) = hole.range.intersection(&range) else { continue };
        match out.last_mut() {
            Some(last) if (last.pack, last.why) == (hole.pack, hole.why) && last.range.end() == within.start() => {
                last.range = TimeRange::new(last.range.start(), within.end()).unwrap_or(last.range);
            }
            _ => out.push(Hole { range: within, ..hole }),
        }
    }
    out
}

/// Where packs are named that the scrub has to look at now; none where no scrub runs. Bound: the channel's; what does not
/// fit is named again by the next reader that meets it.
#[derive(Clone, Debug, Default)]
pub struct Looks(Option<mpsc::Sender<PackId>>);

impl Looks {
    /// Into this channel.
    pub fn new(packs: mpsc::Sender<PackId>) -> Self {
        Self(Some(packs))
    }

    pub(super) fn look_at(&self, pack: PackId) {
        if let Some(packs) = &self.0 {
            // Full: others are being looked at.
            let _ = packs.try_send(pack);
        }
    }
}
