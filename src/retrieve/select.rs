//! Where packs cover the same time: each group of pictures comes out once.
//!
//! A gateway whose clock was wrong and was set records the same time twice. What was recorded while it was wrong gives
//! way to all else; it is handed out by its run ([`super::FootageOf::Run`]).
//!
//! Two gateways that record one camera cut alike and read their own clocks, so the same pictures lie in two packs at
//! times that differ a little. How much the clocks differ is seen from groups of pictures that begin with the same
//! fragment. By one clock then, of groups that share most of their time the one with the most pictures is taken, and
//! where they have as many, the one that goes on from the group before. So a switch from one gateway's footage to the
//! other's is always at a random access point.
//!
//! Times and not ids say what is the same footage: what was cut short or lost packets has other ids.

use std::collections::{BTreeMap, HashMap};

use super::RetrieveError;
use super::walk::TABLES_TOGETHER;
use crate::archive::{Archive, PackRef, ReadError};
use crate::index::clock::MisdatedRun;
use crate::index::{Index, PackState, SegmentRow};
use footage::pack::{FragmentEntry, PackTable};
use footage::units::{CameraKey, FragmentId, PackId, RunId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// Two gateways' times of the same pictures differ by no more.
const APART_MAX: Ticks90k = Ticks90k(5 * TICKS_PER_SECOND);

/// The rows without what others among them show too; rows are by start. Costs nothing where none overlap.
pub(super) async fn one_per_instant(
    index: &Index,
    packs: &Archive,
    camera: &CameraKey,
    rows: Vec<SegmentRow>,
) -> Result<Vec<SegmentRow>, RetrieveError> {
    let mut shown = Vec::with_capacity(rows.len());
    let mut misdated: Option<Vec<MisdatedRun>> = None;
    for cluster in clusters(rows) {
        if cluster.iter().all(|row| row.pack == cluster[0].pack) {
            shown.extend(cluster);
            continue;
        }
        let wrong = match &misdated {
            Some(wrong) => wrong,
            None => misdated.insert(index.misdated(camera).await?),
        };
        let is_wrong = |run: RunId| wrong.iter().any(|misdated| misdated.run == run);
        shown.extend(rows_of(best(without_misdated(groups(packs, camera, cluster).await?, is_wrong))));
    }
    Ok(shown)
}

/// Groups whose times are wrong are left out where any of the others shares their time.
fn without_misdated(groups: Vec<PictureGroup>, is_wrong: impl Fn(RunId) -> bool) -> Vec<PictureGroup> {
    let (wrong, mut right): (Vec<PictureGroup>, Vec<PictureGroup>) =
        groups.into_iter().partition(|group| is_wrong(group.run));
    if wrong.is_empty() {
        return right;
    }
    // Of several wrong clocks one counts, always the same.
    let first = wrong.iter().map(|group| group.run).max();
    let (one, others): (Vec<PictureGroup>, Vec<PictureGroup>) =
        wrong.into_iter().partition(|group| Some(group.run) == first);
    for of_one_clock in [one, others] {
        let apart =
            |group: &PictureGroup| right.iter().all(|other| other.end <= group.start || other.start >= group.end);
        let kept: Vec<PictureGroup> = of_one_clock.into_iter().filter(apart).collect();
        right.extend(kept);
    }
    right.sort_by_key(|group| (group.at, group.pack, group.first));
    right
}

/// Rows that overlap, directly or through others, together.
fn clusters(rows: Vec<SegmentRow>) -> Vec<Vec<SegmentRow>> {
    let mut clusters: Vec<Vec<SegmentRow>> = Vec::new();
    let mut end = WallTime(i64::MIN);
    for row in rows {
        let (starts, ends) = (row.range.start(), row.range.end());
        match clusters.last_mut() {
            Some(cluster) if starts < end => cluster.push(row),
            _ => clusters.push(vec![row]),
        }
        end = end.max(ends);
    }
    clusters
}

/// A random access point and what is decoded from it, as far as one pack has it without a break.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PictureGroup {
    pack: PackId,
    state: PackState,
    run: RunId,
    first: u32,
    fragments: u32,
    decode_time: Ticks90k,
    start: WallTime,
    end: WallTime,
    /// The start by the clock that all groups are compared by.
    at: WallTime,
    /// Of its first fragment.
    id: FragmentId,
    pictures: usize,
}

impl PictureGroup {
    fn new(row: &SegmentRow, first: u32, entry: &FragmentEntry) -> Self {
        Self {
            pack: row.pack,
            state: row.state,
            run: row.run,
            first,
            fragments: 1,
            decode_time: entry.decode_time,
            start: entry.stamp.wall_start,
            end: entry.wall_end(),
            at: entry.stamp.wall_start,
            id: entry.id,
            pictures: entry.video.len(),
        }
    }

    fn length(&self) -> Ticks90k {
        self.end.since(self.start)
    }

    /// Whether both share more than half of the shorter one's time.
    fn is_same_time(&self, other: &Self) -> bool {
        let end = |group: &Self| group.at.saturating_add(group.length());
        let shared = end(self).min(end(other)).since(self.at.max(other.at)).0;
        shared > self.length().min(other.length()).0 / 2
    }
}

/// The groups of these rows, by start.
async fn groups(packs: &Archive, camera: &CameraKey, rows: Vec<SegmentRow>) -> Result<Vec<PictureGroup>, ReadError> {
    let mut of_packs: BTreeMap<PackId, Vec<SegmentRow>> = BTreeMap::new();
    rows.into_iter().for_each(|row| of_packs.entry(row.pack).or_default().push(row));
    let of_packs: Vec<Vec<SegmentRow>> = of_packs.into_values().collect();
    let mut groups = Vec::new();
    for together in of_packs.chunks(TABLES_TOGETHER) {
        let pack = |rows: &Vec<SegmentRow>| PackRef { id: rows[0].pack, camera: camera.clone(), state: rows[0].state };
        let wanted: Vec<PackRef> = together.iter().map(pack).collect();
        // What cannot be read is left out here: another pack may show the same.
        let tables = packs.tables_or_why(&wanted).await?;
        let there = together.iter().zip(tables).filter_map(|(rows, table)| Some((rows, table.ok()?)));
        there.for_each(|(rows, table)| split(rows, &table, &mut groups));
    }
    align(&mut groups);
    Ok(groups)
}

/// Puts all groups on one gateway's clock, and in its order: that of the gateway whose pack begins first.
fn align(groups: &mut [PictureGroup]) {
    groups.sort_by_key(|group| (group.start, group.pack, group.first));
    let (mut packs, mut of_packs) = (Vec::new(), HashMap::<PackId, Vec<usize>>::new());
    for (n, group) in groups.iter().enumerate() {
        let of_pack = of_packs.entry(group.pack).or_default();
        if of_pack.is_empty() {
            packs.push(group.pack);
        }
        of_pack.push(n);
    }
    // Where groups that begin with this fragment were put, and by whom they were recorded.
    let mut seen: HashMap<FragmentId, Vec<(WallTime, u8)>> = HashMap::new();
    let mut clocks: HashMap<u8, i64> = HashMap::new();
    for pack in packs {
        let of_pack = of_packs.remove(&pack).unwrap_or_default();
        let apart = |group: &PictureGroup| {
            let others = seen.get(&group.id)?.iter().filter(|(_, writer)| *writer != pack.writer());
            let nearest = others.map(|(at, _)| at.since(group.start).0).min_by_key(|apart| apart.abs());
            nearest.filter(|apart| apart.abs() <= APART_MAX.0)
        };
        let mut offsets: Vec<i64> = of_pack.iter().filter_map(|&n| apart(&groups[n])).collect();
        offsets.sort_unstable();
        let known = clocks.get(&pack.writer()).copied().unwrap_or(0);
        let offset = offsets.get(offsets.len() / 2).copied().unwrap_or(known);
        clocks.insert(pack.writer(), offset);
        for n in of_pack {
            let group = &mut groups[n];
            group.at = group.start.saturating_add(Ticks90k(offset));
            seen.entry(group.id).or_default().push((group.at, pack.writer()));
        }
    }
    groups.sort_by_key(|group| (group.at, group.pack, group.first));
}

/// One pack's rows as groups.
fn split(rows: &[SegmentRow], table: &PackTable, groups: &mut Vec<PictureGroup>) {
    let mut current: Option<PictureGroup> = None;
    for row in rows {
        let end = row.first_fragment.saturating_add(row.fragments).min(table.fragments.len() as u32);
        for n in row.first_fragment..end {
            let entry = &table.fragments[n as usize];
            match current.as_mut().filter(|group| !entry.random_access && group.first + group.fragments == n) {
                Some(group) => {
                    group.fragments += 1;
                    group.end = group.end.max(entry.wall_end());
                    group.pictures += entry.video.len();
                }
                None => groups.extend(current.replace(PictureGroup::new(row, n, entry))),
            }
        }
    }
    groups.extend(current);
}

/// Of groups of the same time the best; `groups` are by start, and so is what comes out.
fn best(groups: Vec<PictureGroup>) -> Vec<PictureGroup> {
    let mut taken: Vec<PictureGroup> = Vec::new();
    for group in groups {
        let Some(last) = taken.last().filter(|last| last.pack != group.pack && last.is_same_time(&group)) else {
            taken.push(group);
            continue;
        };
        let goes_on = |other: &PictureGroup| taken.len() > 1 && taken[taken.len() - 2].run == other.run;
        if (group.pictures, goes_on(&group)) > (last.pictures, goes_on(last)) {
            taken.pop();
            taken.push(group);
        }
    }
    taken
}

/// Neighbouring groups of one pack as one row.
fn rows_of(groups: Vec<PictureGroup>) -> Vec<SegmentRow> {
    let mut rows: Vec<SegmentRow> = Vec::new();
    for group in groups {
        let Some(range) = TimeRange::new(group.start, group.end) else { continue };
        match rows.last_mut().filter(|row| row.pack == group.pack && row.first_fragment + row.fragments == group.first)
        {
            Some(row) => {
                row.fragments += group.fragments;
                row.range = TimeRange::new(row.range.start(), range.end().max(row.range.end())).unwrap_or(row.range);
            }
            None => rows.push(SegmentRow {
                range,
                run: group.run,
                decode_time: group.decode_time,
                pack: group.pack,
                state: group.state,
                first_fragment: group.first,
                fragments: group.fragments,
            }),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = TICKS_PER_SECOND / 1_000;

    /// Gateway `by`'s group number `n`, of `seconds` seconds and 10 pictures a second, `late_ms` behind the hour's beginning.
    fn group(by: u8, n: u32, start_s: i64, seconds: i64, late_ms: i64) -> PictureGroup {
        let start = WallTime((start_s * 1_000 + late_ms) * MS);
        PictureGroup {
            pack: PackId([by; 16]),
            state: PackState::Stored,
            run: RunId([by; 16]),
            first: n * 10,
            fragments: 10,
            decode_time: Ticks90k(start_s * TICKS_PER_SECOND),
            start,
            end: start.saturating_add(Ticks90k(seconds * TICKS_PER_SECOND)),
            at: start,
            id: FragmentId([start_s as u8; 32]),
            pictures: seconds as usize * 10,
        }
    }

    fn check(mut groups: Vec<PictureGroup>, expect: &[(u8, u32)]) {
        align(&mut groups);
        let got: Vec<_> = best(groups).iter().map(|group| (group.pack.0[0], group.first / 10)).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn the_same_groups_by_two_clocks_come_once_and_from_one_gateway() {
        let both = |n: u32| [group(1, n, n.into(), 1, 0), group(2, n, n.into(), 1, 30 - 20 * i64::from(n))];
        check((0..4).flat_map(both).collect(), &[(1, 0), (1, 1), (1, 2), (1, 3)]);
    }

    #[test]
    fn a_group_that_was_cut_short_gives_way_to_the_whole_one() {
        let groups = vec![
            group(1, 0, 0, 4, 0),
            group(1, 1, 4, 1, 0),
            group(2, 0, 0, 4, 9),
            group(2, 1, 4, 4, 9),
            group(2, 2, 8, 4, 9),
        ];
        check(groups, &[(1, 0), (2, 1), (2, 2)]);
    }

    #[test]
    fn a_group_that_was_cut_shorter_than_the_clocks_differ_gives_way_too() {
        let mut short = group(1, 1, 4, 1, 0);
        (short.id, short.pictures) = (FragmentId([99; 32]), 3);
        short.end = short.start.saturating_add(Ticks90k(300 * MS));
        let groups = vec![group(1, 0, 0, 4, 0), short, group(2, 0, 0, 4, 400), group(2, 1, 4, 4, 400)];
        check(groups, &[(1, 0), (2, 1)]);
    }

    #[test]
    fn footage_of_one_gateway_alone_is_shown_whole() {
        let groups = vec![group(1, 0, 0, 4, 0), group(2, 5, 4, 4, 20), group(1, 1, 8, 4, 0)];
        check(groups, &[(1, 0), (2, 5), (1, 1)]);
    }

    #[test]
    fn footage_of_a_wrong_clock_gives_way_to_that_of_the_right_one() {
        // The same gateway: run 1 while its clock was wrong.
        let groups: Vec<PictureGroup> = (0..4)
            .map(|n| group(1, n, i64::from(n) * 2, 2, 0))
            .chain((0..2).map(|n| group(2, n, 3 + i64::from(n) * 2, 2, 0)))
            .collect();
        let kept = |is_wrong: fn(RunId) -> bool| {
            let kept = without_misdated(groups.clone(), is_wrong);
            kept.iter().map(|group| (group.pack.0[0], group.first / 10)).collect::<Vec<_>>()
        };
        assert_eq!(kept(|run| run.0[0] == 1), [(1, 0), (2, 0), (2, 1)]);
        assert_eq!(kept(|_| false).len(), 6);
        assert_eq!(kept(|_| true), [(1, 0), (2, 0), (2, 1)], "both are wrong: one counts");
    }

    #[test]
    fn only_rows_that_overlap_are_looked_at_together() {
        let row = |by: u8, start: i64, end: i64| SegmentRow {
            range: TimeRange::new(WallTime(start), WallTime(end)).expect("not empty"),
            run: RunId([by; 16]),
            decode_time: Ticks90k::ZERO,
            pack: PackId([by; 16]),
            state: PackState::Stored,
            first_fragment: 0,
            fragments: 1,
        };
        let rows = vec![row(1, 0, 10), row(2, 5, 15), row(3, 14, 20), row(1, 20, 30)];
        let sizes: Vec<_> = clusters(rows).iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 1]);
    }
}
