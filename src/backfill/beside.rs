//! The footage beside a cut, and what it proves: pictures that the camera recorded itself too say, byte for byte, which times
//! of its recording are which of the gateway's.
//!
//! Invariant: what is proven rests on pictures that are there once on either side; one that repeats proves nothing.

use std::collections::HashMap;

use super::Refused;
use crate::archive::{Archive, PackRef};
use crate::index::{Index, SegmentRow};
use footage::pack::FragmentEntry;
use footage::units::{CameraKey, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// Bytes of pictures that are read at one end of a cut: a group of pictures has less.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Footage that ends or begins so near is beside the cut.
const NEAR: Ticks90k = Ticks90k(TICKS_PER_SECOND);
/// Where pictures of one end disagree by more, they prove nothing.
const SPREAD_MAX: Ticks90k = Ticks90k(TICKS_PER_SECOND / 2);

/// A picture that was recorded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) hash: blake3::Hash,
    /// When it is shown.
    pub(super) at: WallTime,
}

/// The footage at one end of a cut.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    /// The last group of pictures before it, or the first pictures after it.
    pub(super) known: Vec<Known>,
    /// The camera's clock minus the gateway's, as the camera's sender reports said it.
    pub(super) camera_offset: Option<Ticks90k>,
}

/// What the pictures that both have say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// The camera's times minus the gateway's, by the first of them.
    pub(super) offset: Ticks90k,
    /// By how much others differ.
    pub(super) spread: Ticks90k,
}

/// The camera's pictures against ours; `None` where none is there once on both sides, or they disagree.
pub(super) fn proven(known: &[Known], seen: &[Known]) -> Option<Proof> {
    let count = |pictures: &[Known]| {
        let mut counts: HashMap<blake3::Hash, (u32, WallTime)> = HashMap::new();
        pictures.iter().for_each(|picture| counts.entry(picture.hash).or_insert((0, picture.at)).0 += 1);
        counts
    };
    let (ours, theirs) = (count(known), count(seen));
    let once = known.iter().filter(|picture| ours.get(&picture.hash).is_some_and(|(times, _)| *times == 1));
    let offsets: Vec<i64> = once
        .filter_map(|picture| match theirs.get(&picture.hash)? {
            (1, at) => Some(at.since(picture.at).0),
            _ => None,
        })
        .collect();
    let (least, most) = (offsets.iter().min()?, offsets.iter().max()?);
    let spread = Ticks90k(most - least);
    (spread <= SPREAD_MAX).then_some(Proof { offset: Ticks90k(*offsets.first()?), spread })
}

/// The footage before and after a cut.
pub(super) async fn beside(
    index: &Index,
    packs: &Archive,
    camera: &CameraKey,
    cut: TimeRange,
) -> Result<[Beside; 2], Refused> {
    let around = TimeRange::new(cut.start().saturating_sub(NEAR), cut.end().saturating_add(NEAR)).unwrap_or(cut);
    let segments = index.segments(camera, around).await?;
    let before = segments.iter().filter(|of| of.range.end() <= cut.start() && of.range.start() < cut.start());
    let after = segments.iter().find(|of| of.range.start() >= cut.end());
    let (Some(before), Some(after)) = (before.max_by_key(|of| of.range.end()), after) else {
        return Err(Refused::Later("there is no footage beside the cut yet".to_owned()));
    };
    let misdated = index.misdated(camera).await?;
    if misdated.iter().any(|wrong| wrong.run == before.run || wrong.run == after.run) {
        return Err(Refused::Settled(crate::event::EdgeRefusal::TimesUnknown));
    }
    let table = packs.table(&pack_of(camera, before)).await?;
    let end = (before.first_fragment + before.fragments) as usize;
    let start = table.fragments[..end.min(table.fragments.len())].iter().rposition(|entry| entry.random_access);
    let last = &table.fragments[start.unwrap_or(0)..end.min(table.fragments.len())];
    let camera_offset = last.iter().rev().find_map(|entry| offset_of(entry));
    let entries: Vec<&FragmentEntry> = last.iter().map(|entry| &**entry).collect();
    let before = Beside { known: pictures(packs, &pack_of(camera, before), &entries).await?, camera_offset };
    let table = packs.table(&pack_of(camera, after)).await?;
    let from = table.fragments.get(after.first_fragment as usize..).unwrap_or_default();
    let camera_offset = from.iter().find_map(|entry| offset_of(entry));
    let first: Vec<&FragmentEntry> = from.iter().take(1).map(|entry| &**entry).collect();
    let after = Beside { known: pictures(packs, &pack_of(camera, after), &first).await?, camera_offset };
    Ok([before, after])
}

fn pack_of(camera: &CameraKey, segment: &SegmentRow) -> PackRef {
    PackRef { id: segment.pack, camera: camera.clone(), state: segment.state }
}

fn offset_of(entry: &FragmentEntry) -> Option<Ticks90k> {
    entry.stamp.camera_time.map(|time| time.since(entry.stamp.wall_start))
}

/// The video samples of these fragments.
async fn pictures(packs: &Archive, pack: &PackRef, entries: &[&FragmentEntry]) -> Result<Vec<Known>, Refused> {
    let bytes: u64 = entries.iter().map(|entry| u64::from(entry.video_bytes())).sum();
    if bytes > BYTES_MAX {
        return Err(Refused::Settled(crate::event::EdgeRefusal::NothingInCommon));
    }
    let mut known = Vec::new();
    for entry in entries {
        let start = entry.data_offset();
        let samples = packs.bytes(pack, start..start + u64::from(entry.video_bytes())).await?;
        let (mut from, mut decode) = (0, 0);
        for sample in &entry.video {
            let picture = samples.get(from..from + sample.size as usize).unwrap_or_default();
            let shown = Ticks90k(decode + i64::from(sample.composition_offset));
            known.push(Known { hash: blake3::hash(picture), at: entry.stamp.wall_start.saturating_add(shown) });
            from += sample.size as usize;
            decode += i64::from(sample.duration);
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(of: &[(u8, i64)]) -> Vec<Known> {
        of.iter().map(|(name, at)| Known { hash: blake3::hash(&[*name]), at: WallTime(*at) }).collect()
    }

    fn check(known: &[(u8, i64)], seen: &[(u8, i64)], expect: Option<(i64, i64)>) {
        let proof = proven(&pictures(known), &pictures(seen));
        assert_eq!(proof.map(|proof| (proof.offset.0, proof.spread.0)), expect, "{known:?} {seen:?}");
    }

    #[test]
    fn pictures_that_both_have_say_how_far_the_times_are_apart() {
        check(&[(1, 100), (2, 200), (3, 300)], &[(0, 7_000), (1, 7_100), (2, 7_205), (4, 7_400)], Some((7_000, 5)));
        check(&[(1, 100)], &[(1, -900)], Some((-1_000, 0)));
    }

    #[test]
    fn pictures_that_repeat_or_disagree_prove_nothing() {
        check(&[], &[(1, 1)], None);
        check(&[(1, 100)], &[(2, 100)], None);
        check(&[(1, 100)], &[(1, 100), (1, 9_000)], None);
        check(&[(1, 100), (1, 200)], &[(1, 100)], None);
        check(&[(1, 100), (2, 200), (2, 300)], &[(1, 1_100), (2, 1_200)], Some((1_000, 0)));
        check(&[(1, 100), (2, 200)], &[(1, 100), (2, 200 + SPREAD_MAX.0 + 1)], None);
    }
}
