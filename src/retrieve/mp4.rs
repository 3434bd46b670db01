//! A time range as one progressive MP4: `moov` first, exact length, any byte range on demand.
//!
//! The clip begins with the picture shown at the start of the range and ends with the last that begins before its
//! end; the edit list hides what must be decoded before. Gaps take no time in it.
//!
//! Invariant: the bytes depend only on the fragments and the range, so that ranges asked one by one fit together; a
//! pack that is deleted meanwhile ends a body with an error, never with other bytes.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::{Footage, FootageOf, RetrieveError, exactly, walk, within_hours_max};
use crate::archive::{Archive, PackRef, ReadError};
use crate::units::{CameraKey, TimeRange};

mod boxes;
mod layout;
mod table;
#[cfg(test)]
mod tests;

use layout::{Layout, LayoutBuilder, LayoutPart, Next};

pub use super::CLIP_HOURS_MAX;

/// A clip ready to be sent: its boxes in memory, its samples still in their packs.
#[derive(Debug)]
pub struct Clip {
    head: Vec<Bytes>,
    head_bytes: u64,
    samples: Samples,
    etag: String,
    covers: TimeRange,
    picture_size: (u16, u16),
    packs: Archive,
}

impl Clip {
    /// Lays out a clip: reads fragment tables, no samples.
    ///
    /// # Errors
    /// [`RetrieveError::Invalid`] for a range over [`CLIP_HOURS_MAX`], [`RetrieveError::NoFootage`] when no picture of
    /// it is recorded.
    pub async fn new(footage: &Footage, camera: &CameraKey, range: TimeRange) -> Result<Arc<Self>, RetrieveError> {
        Self::of(footage, camera, FootageOf::Timeline, range).await
    }

    /// The same of what is kept for a hold on this camera, or of one run.
    pub async fn of(
        footage: &Footage,
        camera: &CameraKey,
        from: FootageOf,
        range: TimeRange,
    ) -> Result<Arc<Self>, RetrieveError> {
        within_hours_max(range)?;
        footage.known(camera).await?;
        let (mut builder, mut walk, mut next) = (LayoutBuilder::new(range), walk::Walk::default(), Next::More);
        walk::for_each_pack(footage, camera, from, range, |walk::PackRows { pack, rows, table }| {
            for step in walk.steps(&rows, &table) {
                if next == Next::More {
                    next = builder.push(&pack, &table, &step).map_err(ReadError::Pack)?;
                }
            }
            Ok(())
        })
        .await?;
        let layout = builder.finish().ok_or_else(|| RetrieveError::NoFootage { camera: camera.clone(), range })?;
        Ok(Arc::new(Self::from_layout(layout, camera, footage.packs.clone())))
    }

    fn from_layout(mut layout: Layout, camera: &CameraKey, packs: Archive) -> Self {
        let boxes::Head { pieces: head, small, bytes: head_bytes } = boxes::head(&mut layout, camera);
        // What the long lists say of the samples follows from which fragments they are of.
        let mut hash = blake3::Hasher::new();
        hash.update(&layout.content).update(&small);
        let etag = format!("\"{}\"", &hash.finalize().to_hex()[..32]);
        let samples = Samples { packs: layout.packs, parts: layout.parts, bytes: layout.mdat_bytes };
        Self { head, head_bytes, samples, etag, covers: layout.covers, picture_size: layout.size, packs }
    }

    /// Exact length in bytes.
    pub fn len(&self) -> u64 {
        self.head_bytes + self.samples.bytes
    }

    /// A clip has at least its boxes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Strong entity tag, quotes included: equal for equal bytes, different for different ones (RFC 9110 §8.8.3).
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// What it covers, to the frame: the asked range less what is missing at its ends.
    pub fn covers(&self) -> TimeRange {
        self.covers
    }

    /// Width and height of its first picture, in pixels.
    pub fn picture_size(&self) -> (u16, u16) {
        self.picture_size
    }

    /// These bytes of it. Past the end there are none.
    pub fn body(self: &Arc<Self>, range: Range<u64>) -> BoxStream<'static, Result<Bytes, RetrieveError>> {
        let head_bytes = self.head_bytes;
        let (start, end) = (range.start.min(self.len()), range.end.min(self.len()));
        let head = self.head(start..end);
        let samples = start.max(head_bytes) - head_bytes..end.max(head_bytes) - head_bytes;
        let clip = Arc::clone(self);
        let from_packs = stream::unfold(clip.samples.cursor(samples), move |mut cursor| {
            let clip = Arc::clone(&clip);
            async move {
                let (pack, ranges) = clip.samples.next_pack(&mut cursor)?;
                Some((exactly(&clip.packs, pack, ranges), cursor))
            }
        });
        stream::iter(head.into_iter().map(Ok)).chain(from_packs.flatten()).boxed()
    }

    /// What of these bytes lies before the samples.
    fn head(&self, range: Range<u64>) -> Vec<Bytes> {
        let mut at = 0;
        let part = |piece: &Bytes| {
            let (start, end) = (at, at + piece.len() as u64);
            at = end;
            let (from, to) = (range.start.clamp(start, end), range.end.clamp(start, end));
            (from < to).then(|| piece.slice((from - start) as usize..(to - start) as usize))
        };
        self.head.iter().filter_map(part).collect()
    }
}

/// Where the sample bytes lie.
#[derive(Debug)]
struct Samples {
    packs: Vec<PackRef>,
    parts: Vec<LayoutPart>,
    bytes: u64,
}

/// What is still to be read.
#[derive(Clone, Debug)]
struct Cursor {
    part: usize,
    range: Range<u64>,
}

impl Samples {
    /// For a range of the `mdat` payload.
    fn cursor(&self, range: Range<u64>) -> Cursor {
        let part = self.parts.partition_point(|p| p.at + u64::from(p.bytes) <= range.start);
        Cursor { part, range }
    }

    /// The next pack, and which of its bytes come next; `None` at the end.
    fn next_pack(&self, cursor: &mut Cursor) -> Option<(PackRef, Vec<Range<u64>>)> {
        let first = self.parts.get(cursor.part).filter(|_| !cursor.range.is_empty())?;
        let mut ranges = Vec::new();
        while let Some(part) = self.parts.get(cursor.part).filter(|p| p.pack == first.pack && p.at < cursor.range.end) {
            let from = cursor.range.start.max(part.at) - part.at;
            let to = cursor.range.end.min(part.at + u64::from(part.bytes)) - part.at;
            if from < to {
                ranges.push(part.offset + from..part.offset + to);
            }
            cursor.range.start = part.at + to;
            cursor.part += 1;
        }
        Some((self.packs[first.pack as usize].clone(), ranges))
    }
}
