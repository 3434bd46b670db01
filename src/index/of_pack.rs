//! What a pack means as rows: plain functions from a fragment table to what the index learns of it.
//!
//! Recording, recovery, adoption, holds, repair and rebuilding write the same rows through this. Absent on purpose: files,
//! SQL, clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::dedup::{Claim, Refers};
use super::{Change, PackRow, PackState, SEGMENT_DURATION_MAX, SegmentRow};
use footage::media::{Gap, GapCause};
use footage::pack::{FragmentEntry, HoldFacts, PackTable};
use footage::units::{KeyId, PackId, RunId, TimeRange, WallTime};

/// The segments of one pack, growing.
#[derive(Debug)]
pub struct Segments {
    run: RunId,
    pack: PackId,
    rows: Vec<SegmentRow>,
    fragments: u32,
    /// Rows from this one on changed since they were last taken.
    changed_from: usize,
}

impl Segments {
    /// For a new pack.
    pub fn new(run: RunId, pack: PackId) -> Self {
        Self { run, pack, rows: Vec::new(), fragments: 0, changed_from: 0 }
    }

    /// The next fragment is there, and is lost.
    fn skip(&mut self) {
        self.fragments += 1;
    }

    /// Takes the next fragment: it extends the last segment where it follows without a break, else it starts one.
    pub fn push(&mut self, entry: &FragmentEntry) {
        let nth = self.fragments;
        self.fragments += 1;
        let Some(covered) = TimeRange::new(entry.stamp.wall_start, entry.wall_end()) else {
            return;
        };
        let last = self.rows.len().saturating_sub(1);
        if let Some(row) = self.rows.last_mut()
            && row.range.end() == covered.start()
            && row.first_fragment + row.fragments == nth
            && covered.end().since(row.range.start()) <= SEGMENT_DURATION_MAX
            && let Some(range) = TimeRange::new(row.range.start(), covered.end())
        {
            row.range = range;
            row.fragments += 1;
            self.changed_from = self.changed_from.min(last);
            return;
        }
        self.rows.push(SegmentRow {
            range: covered,
            run: self.run,
            decode_time: entry.decode_time,
            pack: self.pack,
            state: PackState::Open,
            first_fragment: nth,
            fragments: 1,
        });
    }

    /// Rows that are new or longer since the last call.
    pub fn take_changed(&mut self) -> Vec<SegmentRow> {
        let changed = self.rows.get(self.changed_from..).unwrap_or_default().to_vec();
        self.changed_from = self.rows.len();
        changed
    }

    /// First instant and end of all of it.
    pub fn extent(&self) -> Option<(WallTime, WallTime)> {
        Some((self.rows.first()?.range.start(), self.rows.last()?.range.end()))
    }
}

/// Everything that a whole pack says to the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The pack, open still: sealing and storing are changes of their own.
    pub pack: PackRow,
    /// Its segments.
    pub segments: Vec<SegmentRow>,
    /// Gaps that travel in it. A pack that stays for a hold brings none: they come from the packs that it was copied
    /// from, for as long as the camera's timeline has those.
    pub gaps: Vec<Gap>,
    /// The hold that it stays for.
    pub hold: Option<Arc<HoldFacts>>,
}

/// The rows of a pack of `bytes` bytes; `None` when it has no fragment.
pub fn rows_of(table: &PackTable, bytes: u64) -> Option<Rows> {
    rows_without(table, bytes, &[])
}

/// The same, where these fragments are lost: no segment has them, and a gap stands in their place.
pub fn rows_without(table: &PackTable, bytes: u64, lost: &[Range<u32>]) -> Option<Rows> {
    let header = &table.header;
    let mut segments = Segments::new(header.run, header.pack);
    for (number, entry) in (0..).zip(&table.fragments) {
        match lost.iter().any(|range| range.contains(&number)) {
            true => segments.skip(),
            false => segments.push(entry),
        }
    }
    let (start, end) = extent(table)?;
    let reported = table.fragments.iter().flat_map(|entry| entry.stamp.gaps.iter().copied());
    let in_their_place = lost.iter().filter_map(|range| gap_of(table, range));
    Some(Rows {
        pack: PackRow {
            id: header.pack,
            camera: header.camera.clone(),
            run: header.run,
            state: PackState::Open,
            bytes,
            start,
            end,
            condemned_at: None,
        },
        segments: segments.rows,
        gaps: match header.hold {
            None => reported.chain(in_their_place).collect(),
            Some(_) => Vec::new(),
        },
        hold: header.hold.clone(),
    })
}

/// First instant of its footage, and end.
fn extent(table: &PackTable) -> Option<(WallTime, WallTime)> {
    let mut covered = table.fragments.iter().filter_map(|e| TimeRange::new(e.stamp.wall_start, e.wall_end()));
    let first = covered.next()?;
    Some((first.start(), covered.next_back().unwrap_or(first).end()))
}

fn gap_of(table: &PackTable, lost: &Range<u32>) -> Option<Gap> {
    let of = table.fragments.get(lost.start as usize..lost.end as usize)?;
    let (start, end) = (of.first()?.stamp.wall_start, of.last()?.wall_end());
    (start < end).then_some(Gap { start, end, cause: GapCause::Corrupt, lost_packets: 0 })
}

/// These fragments, and those after each up to the next random access point, which are decoded from it.
pub fn lost_with(table: &PackTable, damaged: impl IntoIterator<Item = u32>) -> Vec<Range<u32>> {
    let mut lost: Vec<Range<u32>> = Vec::new();
    let damaged: BTreeSet<u32> = damaged.into_iter().collect();
    for number in damaged.into_iter().filter(|number| (*number as usize) < table.fragments.len()) {
        let after = table.fragments.iter().skip(number as usize + 1);
        let end = number + 1 + after.take_while(|entry| !entry.random_access).count() as u32;
        match lost.last_mut() {
            Some(last) if number <= last.end => last.end = last.end.max(end),
            _ => lost.push(number..end),
        }
    }
    lost
}

/// The changes that make the index know a pack as it grows, its segments and its gaps.
pub fn changes_of(rows: &Rows) -> Vec<Change> {
    let camera = &rows.pack.camera;
    let begin = Change::BeginRun { camera: camera.clone(), run: rows.pack.run, start: rows.pack.start };
    let mut changes = vec![begin, Change::OpenPack(rows.pack.clone())];
    if let Some(hold) = &rows.hold {
        changes.push(Change::PlaceHold { camera: camera.clone(), hold: hold.clone() });
        changes.push(Change::KeepFor { pack: rows.pack.id, hold: hold.id });
    }
    changes.extend(rows.segments.iter().map(|segment| Change::PutSegment {
        camera: camera.clone(),
        segment: segment.clone(),
        pack_bytes: rows.pack.bytes,
    }));
    changes.extend(rows.gaps.iter().map(|&gap| Change::PutGap { camera: camera.clone(), gap }));
    changes
}

/// Everything that a whole pack says to the index, its own file having `bytes` bytes, encrypted under `key` if it is; nothing
/// where it has no footage. Written again, it changes nothing.
pub fn whole_pack(table: &PackTable, bytes: u64, key: Option<KeyId>) -> Vec<Change> {
    let Some(rows) = rows_of(table, bytes) else { return Vec::new() };
    let pack = rows.pack.id;
    let mut changes = changes_of(&rows);
    changes.extend(key.map(|key| Change::EncryptedUnder { pack, key }));
    changes.extend(place_changes(table, bytes));
    changes.push(Change::SealPack { pack, bytes });
    changes
}

/// By what a pack is found again (one that stays for a hold by nothing: no bytes of others shall lie in it), and where
/// its bytes lie, its own file having `bytes` bytes.
pub fn place_changes(table: &PackTable, bytes: u64) -> Vec<Change> {
    let hooks = if table.header.hold.is_none() { table.hooks() } else { Vec::new() };
    vec![Change::Hook { pack: table.header.pack, hooks }, Change::Refers(refers(table, bytes))]
}

/// Where a pack's bytes lie, its own file having `bytes` bytes.
pub fn refers(table: &PackTable, bytes: u64) -> Refers {
    Refers {
        pack: table.header.pack,
        bytes,
        fragments: u32::try_from(table.fragments.len()).unwrap_or(u32::MAX),
        lent: table.lent(),
        lent_bytes: table.lent_bytes(),
        hosts: table.hosts().iter().map(|host| host.pack).collect(),
    }
}

/// What has to be claimed before the pack's bytes may lie as `now` says, and no longer as `before`.
pub fn claim(before: &PackTable, now: &PackTable) -> Claim {
    let mut hosts: BTreeMap<PackId, Vec<u32>> = BTreeMap::new();
    for (n, entry) in now.fragments.iter().enumerate() {
        let known = before.fragments.get(n).and_then(|entry| entry.place.as_ref());
        if let Some(place) = entry.place.as_ref().filter(|place| Some(*place) != known) {
            hosts.entry(place.host.pack).or_default().push(place.fragment);
        }
    }
    let hosts = hosts.into_iter().map(|(host, numbers)| (host, numbers.into_iter().collect())).collect();
    Claim { pack: now.header.pack, lends: now.lent(), hosts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use footage::media::Sample;
    use footage::pack::Stamp;
    use footage::units::{FragmentId, Ticks90k};

    const SECOND: i64 = 90_000;

    fn entry(start_seconds: i64) -> FragmentEntry {
        FragmentEntry {
            offset: 0,
            header_bytes: 0,
            data_bytes: 0,
            id: FragmentId([0; 32]),
            decode_time: Ticks90k(start_seconds * SECOND),
            random_access: true,
            video: vec![Sample { size: 1, duration: SECOND as u32, composition_offset: 0 }],
            audio: Vec::new(),
            audio_decode_time: 0,
            stamp: Stamp {
                wall_start: WallTime(start_seconds * SECOND),
                wall_duration: Ticks90k(SECOND),
                camera_time: None,
                gaps: Vec::new(),
            },
            place: None,
        }
    }

    fn check(starts: &[i64], expect: &[(i64, i64, u32, u32)]) {
        let mut segments = Segments::new(RunId([1; 16]), PackId([2; 16]));
        starts.iter().for_each(|&s| segments.push(&entry(s)));
        let got: Vec<_> = segments
            .rows
            .iter()
            .map(|r| (r.range.start().0 / SECOND, r.range.end().0 / SECOND, r.first_fragment, r.fragments))
            .collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn contiguous_fragments_are_one_segment_and_a_break_starts_another() {
        check(&[], &[]);
        check(&[10, 11, 12], &[(10, 13, 0, 3)]);
        check(&[10, 11, 42, 43], &[(10, 12, 0, 2), (42, 44, 2, 2)]);
    }

    #[test]
    fn a_segment_is_never_longer_than_the_bound_that_queries_rely_on() {
        let all: Vec<i64> = (0..1000).collect();
        check(&all, &[(0, 900, 0, 900), (900, 1000, 900, 100)]);
    }

    #[test]
    fn only_rows_that_changed_are_taken() {
        let mut segments = Segments::new(RunId([1; 16]), PackId([2; 16]));
        segments.push(&entry(1));
        assert_eq!(segments.take_changed().len(), 1);
        assert!(segments.take_changed().is_empty());
        segments.push(&entry(2));
        segments.push(&entry(9));
        assert_eq!(segments.take_changed().len(), 2, "the longer one and the new one");
    }
}
