//! Ranges of a file or an object: what is read at once, and what is let through of it.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::{ReadError, blocking, short};
use footage::units::PackId;

/// Bytes read from a local file at a time.
pub(super) const READ_BYTES: u64 = 1024 * 1024;
/// Ranges of a local file that lie closer together than this are read together: a fragment's boxes between samples.
pub(super) const SKIP_BYTES: u64 = 16 * 1024;
/// Ranges of a stored pack that lie closer together than this are fetched in one request: what is skipped costs less
/// than another round trip.
pub(super) const JOIN_BYTES: u64 = 256 * 1024;
/// A pack's bytes on this machine: in its file, and those of a growing one that only memory holds.
#[derive(Debug)]
pub(super) struct LocalBytes {
    /// `None` where no file was needed.
    file: Option<File>,
    /// Where in the file these will be, and they.
    held: Option<(u64, Bytes)>,
}

impl LocalBytes {
    /// All of them are in the file.
    pub(super) fn in_file(file: File) -> Self {
        Self { file: Some(file), held: None }
    }

    /// Those from `from` on are not in the file.
    pub(super) fn growing(file: Option<File>, from: u64, held: Bytes) -> Self {
        Self { file, held: Some((from, held)) }
    }

    /// Exactly these bytes.
    pub(super) fn read_at(&self, range: &Range<u64>) -> std::io::Result<Bytes> {
        let missing = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let in_file = |range: &Range<u64>| self.file.as_ref().ok_or_else(missing).and_then(|file| read_at(file, range));
        let Some((from, held)) = self.held.as_ref().filter(|(from, _)| range.end > *from) else {
            return in_file(range);
        };
        let part = range.start.saturating_sub(*from) as usize..(range.end - from) as usize;
        let part = Some(part).filter(|part| part.end <= held.len()).map(|part| held.slice(part)).ok_or_else(missing)?;
        if range.start >= *from {
            return Ok(part);
        }
        let older = in_file(&(range.start..*from))?;
        Ok([older, part].concat().into())
    }
}

/// Reads ranges of a pack's own bytes, a bounded piece at a time, off the runtime's threads; the next piece is read while
/// one is being sent.
pub(super) fn stream_file(
    pack: PackId,
    local: Arc<LocalBytes>,
    ranges: Vec<Range<u64>>,
) -> BoxStream<'static, Result<Bytes, ReadError>> {
    futures::stream::iter(pieces(ranges))
        .map(move |(whole, wanted)| {
            let local = local.clone();
            blocking(pack, move || {
                let read = local.read_at(&whole).map_err(|source| match source.kind() {
                    std::io::ErrorKind::UnexpectedEof => short(whole.start),
                    _ => ReadError::Io { pack, source },
                })?;
                let part = |r: Range<u64>| read.slice((r.start - whole.start) as usize..(r.end - whole.start) as usize);
                Ok(futures::stream::iter(wanted.into_iter().map(part).map(Ok).collect::<Vec<_>>()))
            })
        })
        .buffered(2)
        .try_flatten()
        .boxed()
}

/// Exactly these bytes, into memory that is not cleared first.
fn read_at(file: &File, range: &Range<u64>) -> std::io::Result<Bytes> {
    let want = (range.end - range.start) as usize;
    let mut buffer = Vec::with_capacity(want);
    while buffer.len() < want {
        let at = range.start + buffer.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), at) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    buffer.truncate(want);
    Ok(buffer.into())
}

/// Cuts ranges into reads of at most [`READ_BYTES`]: a long range into several, short neighbours together with what lies
/// between them.
fn pieces(ranges: Vec<Range<u64>>) -> impl Iterator<Item = (Range<u64>, Vec<Range<u64>>)> {
    let mut short = ranges
        .into_iter()
        .flat_map(|range| {
            let starts = (range.start..range.end).step_by(READ_BYTES as usize);
            starts.map(move |start| start..range.end.min(start + READ_BYTES))
        })
        .peekable();
    std::iter::from_fn(move || {
        let first = short.next()?;
        let (mut whole, mut wanted) = (first.clone(), vec![first]);
        while let Some(next) = short.next_if(|next| {
            let near = next.start >= whole.end && next.start - whole.end <= SKIP_BYTES;
            near && next.end - whole.start <= READ_BYTES
        }) {
            whole.end = next.end;
            wanted.push(next);
        }
        Some((whole, wanted))
    })
}

/// Groups ranges that one request shall fetch: the request's range, and what is wanted of it.
pub(super) fn join(ranges: Vec<Range<u64>>) -> Vec<(Range<u64>, Vec<Range<u64>>)> {
    let mut groups: Vec<(Range<u64>, Vec<Range<u64>>)> = Vec::new();
    for range in ranges.into_iter().filter(|r| r.start < r.end) {
        match groups.last_mut() {
            Some((whole, wanted)) if range.start >= whole.end && range.start - whole.end <= JOIN_BYTES => {
                whole.end = range.end;
                wanted.push(range);
            }
            _ => groups.push((range.clone(), vec![range])),
        }
    }
    groups
}

/// Lets through the wanted ranges of a stream of bytes that begins at `at`.
pub(super) fn pick(
    bytes: BoxStream<'static, Result<Bytes, ReadError>>,
    mut at: u64,
    wanted: Vec<Range<u64>>,
) -> BoxStream<'static, Result<Bytes, ReadError>> {
    let mut wanted = std::collections::VecDeque::from(wanted);
    bytes
        .map_ok(move |chunk| {
            let (start, end) = (at, at + chunk.len() as u64);
            at = end;
            let mut out = Vec::new();
            while let Some(range) = wanted.front() {
                let (from, to) = (range.start.max(start), range.end.min(end));
                if from < to {
                    out.push(Ok(chunk.slice((from - start) as usize..(to - start) as usize)));
                }
                if range.end > end {
                    break;
                }
                wanted.pop_front();
            }
            futures::stream::iter(out)
        })
        .try_flatten()
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn picked_bytes_are_the_wanted_ranges_however_they_arrive(
            gaps in prop::collection::vec((0u64..40, 1u64..40), 1..12),
            chunk in 1usize..50,
        ) {
            let mut at = 7;
            let ranges: Vec<Range<u64>> = gaps.iter().map(|&(skip, len)| {
                let start = at + skip;
                at = start + len;
                start..at
            }).collect();
            let object: Vec<u8> = (0..at).map(|i| (i % 251) as u8).collect();
            let expect: Vec<u8> = ranges.iter().flat_map(|r| object[r.start as usize..r.end as usize].to_vec()).collect();
            let whole = ranges[0].start..at;
            let chunks: Vec<Result<Bytes, ReadError>> = object[whole.start as usize..]
                .chunks(chunk).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
            let picked = pick(futures::stream::iter(chunks).boxed(), whole.start, ranges);
            let got: Vec<Bytes> = futures::executor::block_on(picked.try_collect()).expect("no error was put in");
            prop_assert_eq!(got.concat(), expect);
        }
    }

    proptest! {
        #[test]
        fn pieces_give_back_every_wanted_byte_once_in_bounded_reads(
            gaps in prop::collection::vec((0u64..3 * SKIP_BYTES, 1u64..3 * READ_BYTES), 1..12),
        ) {
            let mut at = 0;
            let ranges: Vec<Range<u64>> = gaps.iter().map(|&(skip, len)| {
                let start = at + skip;
                at = start + len;
                start..at
            }).collect();
            let mut got: Vec<Range<u64>> = Vec::new();
            for (whole, wanted) in pieces(ranges.clone()) {
                prop_assert!(whole.end - whole.start <= READ_BYTES);
                prop_assert_eq!((whole.start, whole.end), (wanted[0].start, wanted[wanted.len() - 1].end));
                for part in wanted {
                    match got.last_mut() {
                        Some(last) if last.end == part.start => last.end = part.end,
                        _ => got.push(part),
                    }
                }
            }
            let mut expect: Vec<Range<u64>> = Vec::new();
            for range in ranges {
                match expect.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => expect.push(range),
                }
            }
            prop_assert_eq!(got, expect);
        }
    }

    #[test]
    fn fragments_of_one_pack_are_one_request_and_far_apart_ones_are_not() {
        let groups = join(vec![100..200, 300..400, 10_000_000..10_000_010]);
        assert_eq!(groups.iter().map(|g| g.0.clone()).collect::<Vec<_>>(), [100..400, 10_000_000..10_000_010]);
        assert_eq!(groups[0].1, [100..200, 300..400]);
    }
}
