//! Fragments whose sample bytes lie in another pack.
//!
//! A pack that says so of some of its fragments is a *reference pack*. Its file holds the first boxes, the boxes and
//! samples of its own fragments, and the fragment table; of the others it holds their entries alone, each with the place
//! of its bytes. Offsets in entries, and every range that readers speak of, are those of the pack as it would be if
//! it held everything: so a reader of it need not know, and the pack may be rewritten with other places (its host
//! goes) without a change to what refers to it.
//!
//! Invariants: a place names a pack and a fragment of it whose bytes lie in that pack; a reader finds the same
//! id there, or gives nothing. Two files of one pack that keep its own fragments at other offsets differ in size.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{FragmentEntry, PackError, PackTable, format};
use crate::units::{CameraKey, FragmentId, PackId};

/// Ids of which these low bits are zero are sampled: one of 64.
const SAMPLED_BITS: u8 = 0b11_1111;

/// A pack that holds bytes of others' fragments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// Which pack.
    pub pack: PackId,
    /// Whose footage it is.
    pub camera: CameraKey,
}

/// Where the sample bytes of a fragment lie, when not in its own pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// In which pack.
    pub host: Arc<Host>,
    /// As which of its fragments, from 0.
    pub fragment: u32,
}

/// A part of a range of a pack, and where it is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes of the pack's file.
    File(Range<u64>),
    /// These bytes, which follow from the table.
    Boxes(Bytes),
    /// These of the sample bytes of another pack's fragment.
    Samples {
        /// Where they lie.
        place: Place,
        /// What that fragment must be.
        id: FragmentId,
        /// Counted from its first sample byte.
        range: Range<u64>,
    },
}

/// Numbers of fragments of one pack, as ranges that are ascending and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FragmentSet(Vec<Range<u32>>);

impl FragmentSet {
    /// No fragment.
    pub const EMPTY: Self = Self(Vec::new());

    /// The ranges, ascending and apart.
    pub fn ranges(&self) -> &[Range<u32>] {
        &self.0
    }

    /// True when it has no fragment.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first number after its last fragment; 0 when it is empty.
    pub fn end(&self) -> u32 {
        self.0.last().map_or(0, |range| range.end)
    }

    /// True when both have a fragment in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().any(|range| other.0.iter().any(|of| range.start < of.end && of.start < range.end))
    }

    /// True when each of its fragments is in the other.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.iter().all(|range| other.0.iter().any(|of| of.start <= range.start && range.end <= of.end))
    }

    /// For a row of the index: first number and count of each range, as 32-bit big-endian numbers.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|range| [range.start, range.end - range.start]);
        numbers.flat_map(u32::to_be_bytes).collect()
    }

    /// From what [`FragmentSet::to_bytes`] gives; what is no such thing ends it.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (pairs, _) = bytes.as_chunks::<8>();
        let range = |&[a, b, c, d, e, f, g, h]: &[u8; 8]| {
            let start = u32::from_be_bytes([a, b, c, d]);
            start..start.saturating_add(u32::from_be_bytes([e, f, g, h]))
        };
        Self(pairs.iter().map(range).collect())
    }
}

impl FromIterator<u32> for FragmentSet {
    fn from_iter<T: IntoIterator<Item = u32>>(numbers: T) -> Self {
        let mut numbers: Vec<u32> = numbers.into_iter().collect();
        numbers.sort_unstable();
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some(last) if number < last.end => {}
                Some(last) if number == last.end => last.end += 1,
                _ => ranges.push(number..number + 1),
            }
        }
        Self(ranges)
    }
}

impl PackTable {
    /// The fragments whose bytes lie in other packs.
    pub fn lent(&self) -> FragmentSet {
        let numbered = (0..).zip(&self.fragments);
        numbered.filter(|(_, entry)| entry.place.is_some()).map(|(number, _)| number).collect()
    }

    /// Packs that hold bytes of this one's fragments, each once, in order of their ids.
    pub fn hosts(&self) -> Vec<Arc<Host>> {
        let mut hosts: Vec<Arc<Host>> = self.places().map(|place| place.host.clone()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// True when bytes of it lie elsewhere.
    pub fn is_reference(&self) -> bool {
        self.places().next().is_some()
    }

    /// Bytes of samples that lie elsewhere.
    pub fn lent_bytes(&self) -> u64 {
        let elsewhere = self.fragments.iter().filter(|entry| entry.place.is_some());
        elsewhere.map(|entry| u64::from(entry.data_bytes)).sum()
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        self.fragments.iter().filter_map(|entry| entry.place.as_ref())
    }

    /// Where the fragment table begins in its file.
    pub fn file_end(&self) -> u64 {
        let own = self.fragments.iter().filter(|entry| entry.place.is_none());
        u64::from(self.init_bytes) + own.map(|entry| entry.bytes()).sum::<u64>()
    }

    /// Its own fragments, each with its number and its first byte in the file.
    pub(super) fn own_fragments(&self) -> impl Iterator<Item = (u32, u64, &FragmentEntry)> {
        let own = self.fragments.iter().enumerate().filter(|(_, entry)| entry.place.is_none());
        own.scan(u64::from(self.init_bytes), |end, (number, entry)| {
            let at = *end;
            *end += entry.bytes();
            Some((number as u32, at, entry.as_ref()))
        })
    }

    /// Where the bytes of this range are to be had, in order.
    ///
    /// # Errors
    /// When the range reaches beyond the last fragment, or the table contradicts itself.
    pub fn pieces(&self, range: Range<u64>) -> Result<Vec<Piece>, PackError> {
        if range.end > self.end() {
            let what = format!("bytes up to {} are wanted, its fragments end before", range.end);
            return Err(PackError::Malformed { offset: self.end(), what });
        }
        let init = u64::from(self.init_bytes);
        let mut pieces = Vec::new();
        if range.start < init.min(range.end) {
            push_file(&mut pieces, range.start..range.end.min(init));
        }
        let first = self.fragments.partition_point(|entry| entry.end() <= range.start);
        let mut at =
            init + self.fragments[..first].iter().filter(|e| e.place.is_none()).map(|e| e.bytes()).sum::<u64>();
        for (number, entry) in self.fragments.iter().enumerate().skip(first) {
            let (from, to) = (range.start.max(entry.offset), range.end.min(entry.end()));
            if from >= to {
                break;
            }
            let wanted = from - entry.offset..to - entry.offset;
            match &entry.place {
                None => {
                    push_file(&mut pieces, at + wanted.start..at + wanted.end);
                    at += entry.bytes();
                }
                Some(place) => self.push_elsewhere(&mut pieces, number as u32, entry, place, wanted)?,
            }
        }
        Ok(pieces)
    }

    /// `wanted` counts from the fragment's first byte.
    fn push_elsewhere(
        &self,
        pieces: &mut Vec<Piece>,
        number: u32,
        entry: &FragmentEntry,
        place: &Place,
        wanted: Range<u64>,
    ) -> Result<(), PackError> {
        let boxes_end = u64::from(entry.header_bytes);
        if wanted.start < boxes_end {
            let boxes = self.boxes(number, entry)?;
            pieces.push(Piece::Boxes(boxes.slice(wanted.start as usize..wanted.end.min(boxes_end) as usize)));
        }
        let range = wanted.start.max(boxes_end) - boxes_end..wanted.end.max(boxes_end) - boxes_end;
        if !range.is_empty() {
            pieces.push(Piece::Samples { place: place.clone(), id: entry.id, range });
        }
        Ok(())
    }

    /// A fragment's boxes, as a pack has them that holds all of its bytes.
    pub fn boxes(&self, number: u32, entry: &FragmentEntry) -> Result<Bytes, PackError> {
        let mut boxes = Vec::with_capacity(entry.header_bytes as usize);
        format::fragment_header(&mut boxes, self.header.pack, number, entry);
        if boxes.len() != entry.header_bytes as usize {
            let what = "the table gives a fragment's boxes another length than they have".to_owned();
            return Err(PackError::Malformed { offset: entry.offset, what });
        }
        Ok(boxes.into())
    }

    /// The same pack with its fragments' bytes at other places, one for each fragment.
    pub fn with_places(&self, places: Vec<Option<Place>>) -> Self {
        let moved = |(entry, place): (&Arc<FragmentEntry>, Option<Place>)| match entry.place == place {
            true => entry.clone(),
            false => Arc::new(FragmentEntry { place, ..FragmentEntry::clone(entry) }),
        };
        let fragments = self.fragments.iter().zip(places).map(moved).collect();
        Self { header: self.header.clone(), init_bytes: self.init_bytes, fragments }
    }

    /// By these the index finds the pack again from a fragment of it: the first 48 bits of the ids that are sampled, and
    /// of the least id, so that equal packs share one whatever they hold. Each once.
    pub fn hooks(&self) -> Vec<u64> {
        let sampled = self.fragments.iter().map(|entry| entry.id).filter(is_sampled);
        let least = self.fragments.iter().map(|entry| entry.id).min();
        let mut hooks: Vec<u64> = sampled.chain(least).map(hook).collect();
        hooks.sort_unstable();
        hooks.dedup();
        hooks
    }
}

/// Whether an id is one of those that the index holds.
fn is_sampled(id: &FragmentId) -> bool {
    let [.., last] = id.0;
    last & SAMPLED_BITS == 0
}

/// The first 48 bits of an id: a number that SQLite stores in six bytes.
fn hook(id: FragmentId) -> u64 {
    let [a, b, c, d, e, f, ..] = id.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Appends bytes of the file, to the piece before where they follow it.
fn push_file(pieces: &mut Vec<Piece>, range: Range<u64>) {
    match pieces.last_mut() {
        Some(Piece::File(last)) if last.end == range.start => last.end = range.end,
        _ => pieces.push(Piece::File(range)),
    }
}

#[cfg(test)]
mod tests;
