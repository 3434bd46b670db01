//! What of a pack that waits others have not stored.
//!
//! Fragments are the same where their keyed ids are, and where that could be chance, as with a test picture that repeats,
//! where their times are too. One that was cut short, or lost pictures, is not missing where others have more of it. What is
//! missing is a group of pictures; beside a stretch of which others have nothing, one
//! group that they do have is taken with it, so that two gateways' footage overlaps by more than their clocks differ.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use footage::pack::{FragmentEntry, PackTable};
use footage::units::{FragmentId, TICKS_PER_SECOND, Ticks90k, WallTime};

const fn millis(ms: i64) -> i64 {
    ms * TICKS_PER_SECOND / 1_000
}

/// Two gateways' times of one fragment differ by less, whatever their clocks and a burst at a session's start do.
const APART_MAX: i64 = millis(30_000);
/// And where an id repeats, by less than this.
const APART_REPEATED_MAX: i64 = millis(250);
/// The same fragment stored twice is closer together than a fragment that repeats.
const STORED_TWICE: i64 = millis(500);
/// Where one's own footage goes on, theirs has to for so long: more than clocks that are in order differ.
const OVERLAP: i64 = millis(1_000);
/// So many fragments of which others have none are no chance.
const STRANGE_MIN: usize = 10;
/// Fragments further apart do not follow one another.
const FOLLOWS: i64 = millis(100);

/// What others stored around a pack's time.
#[derive(Debug, Default)]
pub(super) struct Stored {
    fragments: HashMap<FragmentId, Vec<Arc<FragmentEntry>>>,
    /// By start and end.
    spans: BTreeMap<(WallTime, WallTime), Arc<FragmentEntry>>,
}

impl Stored {
    /// Of these packs.
    pub(super) fn new(tables: &[Arc<PackTable>]) -> Self {
        let mut stored = Self::default();
        for entry in tables.iter().flat_map(|table| &table.fragments) {
            stored.spans.insert((entry.stamp.wall_start, entry.wall_end()), entry.clone());
            let known = stored.fragments.entry(entry.id).or_default();
            if known.iter().all(|other| apart(other, entry) > STORED_TWICE) {
                known.push(entry.clone());
            }
        }
        stored
    }

    /// Whether they have footage of most of the pack's time, and not one of its fragments. A pack of a few says nothing:
    /// each may have been cut short.
    pub(super) fn is_strange_to(&self, table: &PackTable) -> bool {
        if table.fragments.len() < STRANGE_MIN {
            return false;
        }
        let time = table.fragments.first().zip(table.fragments.last());
        let is_same_time = time.is_some_and(|(first, last)| !self.lacks(first.stamp.wall_start, last.wall_end()));
        is_same_time && table.fragments.iter().all(|entry| !self.fragments.contains_key(&entry.id))
    }

    /// The others' own of this fragment, which the pack has `own` times.
    fn find(&self, entry: &FragmentEntry, own: usize) -> Option<&FragmentEntry> {
        let known = self.fragments.get(&entry.id)?;
        let within = if own == 1 && known.len() == 1 { APART_MAX } else { APART_REPEATED_MAX };
        let nearest = known.iter().min_by_key(|other| apart(other, entry))?;
        (apart(nearest, entry) <= within).then_some(nearest)
    }

    /// Whether they have footage that leads up to this fragment of theirs for long enough.
    fn leads_to(&self, theirs: &FragmentEntry) -> bool {
        let mut start = theirs.stamp.wall_start;
        let wanted = start.saturating_sub(Ticks90k(OVERLAP));
        for ((from, until), _) in self.spans.range(..(start, WallTime(i64::MIN))).rev() {
            if start <= wanted || until.0.saturating_add(FOLLOWS) < start.0 {
                break;
            }
            start = start.min(*from);
        }
        start <= wanted
    }

    /// Whether they have footage that goes on from this fragment of theirs for long enough.
    fn goes_on(&self, theirs: &FragmentEntry) -> bool {
        let mut end = theirs.wall_end();
        let wanted = end.saturating_add(Ticks90k(OVERLAP));
        for ((from, until), _) in self.spans.range((theirs.stamp.wall_start, WallTime(i64::MIN))..) {
            if end >= wanted || from.0 > end.0.saturating_add(FOLLOWS) {
                break;
            }
            end = end.max(*until);
        }
        end >= wanted
    }

    /// What follows this fragment of theirs.
    fn after(&self, theirs: &FragmentEntry) -> Option<&FragmentEntry> {
        let later = WallTime(theirs.stamp.wall_start.0.saturating_add(1));
        let ((start, _), next) = self.spans.range((later, WallTime(i64::MIN))..).next()?;
        (start.0 <= theirs.wall_end().0.saturating_add(FOLLOWS)).then_some(next)
    }

    /// Whether they have less than half of this time.
    fn lacks(&self, start: WallTime, end: WallTime) -> bool {
        let (mut covered, mut from) = (0, start);
        for &(span_start, span_end) in self.spans.keys().filter(|span| span.0 < end && span.1 > start) {
            covered += span_end.min(end).since(span_start.max(from)).0.max(0);
            from = from.max(span_end);
        }
        covered < end.since(start).0 / 2
    }
}

/// How far the times of what may be one fragment are apart, in ticks: by the camera's own clock where both know it.
fn apart(a: &FragmentEntry, b: &FragmentEntry) -> i64 {
    let (a, b) = (&a.stamp, &b.stamp);
    match (a.camera_time, b.camera_time) {
        (Some(a), Some(b)) => a.since(b),
        _ => a.wall_start.since(b.wall_start),
    }
    .0
    .saturating_abs()
}

/// Whether one has every picture of the other and more, by their sizes: the other was cut short, or lost some.
fn has_all(whole: &FragmentEntry, part: &FragmentEntry) -> bool {
    let mut sizes = whole.video.iter().map(|sample| sample.size);
    let is_more = part.video.len() < whole.video.len() && part.audio.len() <= whole.audio.len();
    is_more && part.video.iter().all(|sample| sizes.any(|size| size == sample.size))
}

/// Where the others have each fragment, or more of the same.
fn found<'a>(table: &PackTable, stored: &'a Stored) -> Vec<Option<&'a FragmentEntry>> {
    let mut own: HashMap<FragmentId, usize> = HashMap::new();
    table.fragments.iter().for_each(|entry| *own.entry(entry.id).or_default() += 1);
    let mut found: Vec<Option<&FragmentEntry>> = Vec::with_capacity(table.fragments.len());
    for entry in &table.fragments {
        let same = stored.find(entry, own.get(&entry.id).copied().unwrap_or(0));
        let follows = || stored.after((*found.last()?)?).filter(|more| has_all(more, entry));
        let theirs = same.or_else(follows);
        found.push(theirs);
    }
    found
}

/// By how much their clock is ahead, as most fragments show it.
fn offset(table: &PackTable, found: &[Option<&FragmentEntry>]) -> Ticks90k {
    let pairs = table.fragments.iter().zip(found);
    let mut apart: Vec<i64> = pairs
        .filter_map(|(own, theirs)| Some(theirs.as_ref()?.stamp.wall_start.since(own.stamp.wall_start).0))
        .collect();
    apart.sort_unstable();
    Ticks90k(apart.get(apart.len() / 2).copied().unwrap_or(0))
}

/// The groups of pictures that have to be stored, as numbers of fragments; `goes_on`: this gateway has footage that
/// follows the pack without a break.
pub(super) fn missing(table: &PackTable, stored: &Stored, goes_on: bool) -> Vec<Range<usize>> {
    let found = found(table, stored);
    let groups = table.groups();
    let mut lacking: Vec<bool> = groups.iter().map(|group| found[group.clone()].iter().any(Option::is_none)).collect();
    // Footage of this gateway that goes on before or after is elsewhere: theirs has to go on there as well.
    let begins_run = table.fragments.first().is_none_or(|entry| entry.decode_time <= Ticks90k::ZERO);
    if let (Some(first), Some(Some(theirs))) = (lacking.first_mut(), found.first()) {
        *first |= !begins_run && !stored.leads_to(theirs);
    }
    if let (Some(last), Some(Some(theirs))) = (lacking.last_mut(), found.last()) {
        *last |= goes_on && !stored.goes_on(theirs);
    }
    // By their clock.
    let apart = offset(table, &found);
    let is_absent = |group: &Range<usize>| {
        let entries = &table.fragments[group.clone()];
        let on_theirs = |at: WallTime| at.saturating_add(apart);
        let time = entries.first().zip(entries.last());
        time.is_some_and(|(first, last)| stored.lacks(on_theirs(first.stamp.wall_start), on_theirs(last.wall_end())))
    };
    let absent: Vec<bool> = groups.iter().zip(&lacking).map(|(group, lacks)| *lacks && is_absent(group)).collect();
    let beside = |n: usize| (n > 0 && absent[n - 1]) || absent.get(n + 1) == Some(&true);
    let wanted = groups.into_iter().enumerate().filter(|(n, _)| lacking[*n] || beside(*n));
    wanted.map(|(_, group)| group).collect()
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one group is meant")]
mod tests {
    use super::*;
    use footage::media::{Params, Sample, VideoCodec, VideoParams};
    use footage::pack::{PackHeader, Stamp};
    use footage::units::{PackId, RunId};

    /// A pack of groups of two fragments of a second each; each fragment by its number in the scene, and what it shows.
    fn pack(seconds: &[(i64, u8)], late_ms: i64) -> Arc<PackTable> {
        let video = VideoParams {
            codec: VideoCodec::H264,
            width: 704,
            height: 576,
            sample_entry: bytes::Bytes::new(),
            rfc6381: String::new(),
        };
        let header = PackHeader {
            pack: PackId([1; 16]),
            camera: "town/gate".parse().expect("a name"),
            run: RunId([1; 16]),
            params: Arc::new(Params { video, audio: None }),
            hold: None,
        };
        let entry = |&(second, shows): &(i64, u8)| {
            Arc::new(FragmentEntry {
                offset: 0,
                header_bytes: 0,
                data_bytes: 1,
                id: FragmentId([shows; 32]),
                decode_time: Ticks90k(second * TICKS_PER_SECOND),
                random_access: second % 2 == 0,
                video: vec![Sample { size: 1, duration: TICKS_PER_SECOND as u32, composition_offset: 0 }],
                audio: Vec::new(),
                audio_decode_time: 0,
                stamp: Stamp {
                    wall_start: WallTime(millis(second * 1_000 + late_ms)),
                    wall_duration: Ticks90k(TICKS_PER_SECOND),
                    camera_time: None,
                    gaps: Vec::new(),
                },
                place: None,
            })
        };
        Arc::new(PackTable { header, init_bytes: 0, fragments: seconds.iter().map(entry).collect() })
    }

    fn scene(seconds: Range<i64>) -> Vec<(i64, u8)> {
        seconds.map(|n| (n, n as u8)).collect()
    }

    fn check(own: &[(i64, u8)], theirs: &[Arc<PackTable>], goes_on: bool, expect: &[Range<usize>]) {
        assert_eq!(missing(&pack(own, 0), &Stored::new(theirs), goes_on), expect);
    }

    #[test]
    fn what_others_stored_whole_is_not_missing_however_they_cut_it() {
        check(&scene(10..20), &[pack(&scene(0..14), 40), pack(&scene(14..30), 40)], true, &[]);
        check(&scene(10..20), &[], true, &[0..2, 2..4, 4..6, 6..8, 8..10]);
    }

    #[test]
    fn a_stretch_that_nobody_has_comes_with_a_group_on_either_side() {
        check(&scene(10..20), &[pack(&scene(0..14), 0), pack(&scene(16..30), 0)], true, &[2..4, 4..6, 6..8]);
    }

    #[test]
    fn what_lacks_a_fragment_is_missing_alone() {
        let mut lossy = scene(0..30);
        lossy[13].1 = 200;
        check(&scene(10..20), &[pack(&lossy, 30)], true, &[2..4]);
    }

    #[test]
    fn what_others_have_more_of_is_not_missing_and_what_they_have_less_of_is() {
        let with_pictures = |table: Arc<PackTable>, second: usize, sizes: &[u32]| {
            let mut table = PackTable::clone(&table);
            let entry = Arc::make_mut(&mut table.fragments[second]);
            entry.id = FragmentId([sizes.len() as u8 + 100; 32]);
            entry.video = sizes.iter().map(|&size| Sample { size, duration: 30_000, composition_offset: 0 }).collect();
            Arc::new(table)
        };
        let whole = with_pictures(pack(&scene(0..10), 0), 7, &[9, 4, 6]);
        let lossy = with_pictures(pack(&scene(0..10), 20), 7, &[9, 6]);
        let other = with_pictures(pack(&scene(0..10), 20), 7, &[9, 5, 6, 7]);
        let of =
            |own: &PackTable, theirs: &Arc<PackTable>| missing(own, &Stored::new(std::slice::from_ref(theirs)), false);
        assert!(of(&lossy, &whole).is_empty());
        assert_eq!(of(&whole, &lossy), [6..8]);
        assert_eq!(of(&whole, &other), [6..8], "each has a picture that the other has not");
    }

    #[test]
    fn footage_that_ends_with_the_pack_has_to_go_on_where_ones_own_does() {
        check(&scene(10..20), &[pack(&scene(0..20), 0)], false, &[]);
        check(&scene(10..20), &[pack(&scene(0..20), 0)], true, &[8..10]);
        check(&scene(10..20), &[pack(&scene(10..30), 0)], true, &[0..2]);
        check(&scene(0..10), &[pack(&scene(0..30), 0)], true, &[]);
    }

    #[test]
    fn many_fragments_of_which_others_have_none_at_the_same_time_are_strange() {
        let shifted = |seconds: Range<i64>| seconds.map(|n| (n, n as u8 + 100)).collect::<Vec<_>>();
        let is_strange =
            |own: &[(i64, u8)], theirs: &[(i64, u8)]| Stored::new(&[pack(theirs, 20)]).is_strange_to(&pack(own, 0));
        assert!(is_strange(&scene(10..22), &shifted(0..30)));
        assert!(!is_strange(&scene(10..22), &scene(0..30)));
        assert!(!is_strange(&scene(10..14), &shifted(0..30)), "a few may have been cut short");
        assert!(!is_strange(&scene(10..22), &shifted(20..50)), "they had nothing then");
    }

    #[test]
    fn a_picture_that_repeats_is_distinguished_by_its_time() {
        let repeated = |seconds: Range<i64>| seconds.map(|n| (n, (n % 2) as u8)).collect::<Vec<_>>();
        let theirs = [pack(&repeated(0..14), 60), pack(&repeated(16..30), 60)];
        check(&repeated(10..20), &theirs, true, &[2..4, 4..6, 6..8]);
    }
}
