//! A time range as one progressive MP4: `moov` first, exact length, any byte range on demand.
//!
//! The clip begins with the first picture that was filmed in the range and ends with the last that begins before its
//! end; the edit list hides what must be decoded before. Its time line is the wall's: the last picture before a gap lasts
//! over it, unless gaps are to take no time ([`Gaps`]). A clip has one coding and one size of picture: a range with several
//! is several clips ([`Part`]).
//!
//! Invariant: the bytes depend only on the fragments, on what is asked and on what is on record of the camera, so that
//! ranges asked one by one fit together; a pack that is deleted meanwhile ends a body with an error, never with other bytes.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::holes::{Hole, LeftOut, Looks};
use super::{Footage, FootageOf, Piece, RetrieveError, compared, walk, within_hours_max};
use crate::archive::{Archive, PackRef, ReadError};
use footage::signing::is_signing_sei;
use footage::units::{CameraKey, PackId, Ticks90k, TimeRange};

mod boxes;
mod facts;
mod layout;
mod meta;
mod parts;
mod seen;
mod table;
#[cfg(test)]
mod tests;

use facts::{Facts, OnRecord};
use layout::{Layout, LayoutPart};
use parts::{Form, LayoutBuilder, Next};
use seen::Begins;

pub use super::CLIP_HOURS_MAX;
pub use parts::{PARTS_MAX, Part};

/// What a gap is on the clip's time line ([ADR 32](../../docs/adr/0032-a-clip-keeps-the-time-of-its-gaps.md)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Gaps {
    /// As long as it was: the last picture before it lasts over it.
    #[default]
    Held,
    /// Nothing: pictures follow one another.
    Joined,
}

/// What is asked of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClipRequest {
    /// From where.
    pub from: FootageOf,
    /// Of which time.
    pub range: TimeRange,
    /// What its gaps are.
    pub gaps: Gaps,
    /// Which of its parts, counted from 1; none: the range has to be one.
    pub part: Option<u32>,
}

impl ClipRequest {
    /// This range of the camera's own timeline.
    pub fn of(range: TimeRange) -> Self {
        Self { from: FootageOf::Timeline, range, gaps: Gaps::Held, part: None }
    }
}

/// A clip ready to be sent: its boxes in memory, its samples still in their packs.
#[derive(Debug)]
pub struct Clip {
    head: Vec<Bytes>,
    head_bytes: u64,
    samples: Samples,
    etag: String,
    facts: Part,
    camera_clock: Option<(Ticks90k, Ticks90k)>,
    holes: Vec<Hole>,
    packs: Archive,
    looks: Looks,
    compares: bool,
    broken_off: AtomicBool,
}

/// What is read and compared with its ids before a clip is laid out, so that damage becomes a hole in it. The rest is
/// compared while it is sent, and ends the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Everything: for an export, a hold, a single picture.
    Everything,
    /// What lies here, of clips of at most [`CHECKED_BEFORE_BYTES_MAX`]: it is read twice, the second time from memory.
    WhatIsNear,
    /// Nothing, nor while it is sent.
    Nothing,
}

/// A clip that is larger is not read before it is sent: its first byte would come too late.
pub const CHECKED_BEFORE_BYTES_MAX: u64 = 256 << 20;

impl Clip {
    /// Lays out a clip to be played, of the camera's own timeline.
    ///
    /// # Errors
    /// As [`Self::asked`].
    pub async fn new(footage: &Footage, camera: &CameraKey, range: TimeRange) -> Result<Arc<Self>, RetrieveError> {
        Self::asked(footage, camera, &ClipRequest::of(range)).await
    }

    /// The same, each fragment being compared with its id before.
    ///
    /// # Errors
    /// As [`Self::asked`].
    pub async fn checked(
        footage: &Footage,
        camera: &CameraKey,
        asked: &ClipRequest,
    ) -> Result<Arc<Self>, RetrieveError> {
        Self::laid_out(footage, camera, asked, Begins::InTheRange, Check::Everything).await
    }

    /// The same to be kept: each fragment is compared with its id, what lies here before, and the rest while it is read. A body that
    /// breaks off at damage is asked for by [`Self::checked`].
    ///
    /// # Errors
    /// As [`Self::asked`].
    pub async fn to_keep(
        footage: &Footage,
        camera: &CameraKey,
        asked: &ClipRequest,
    ) -> Result<Arc<Self>, RetrieveError> {
        Self::laid_out(footage, camera, asked, Begins::InTheRange, Check::WhatIsNear).await
    }

    /// The same of what is kept for a hold on this camera, or of one run.
    ///
    /// # Errors
    /// As [`Self::asked`].
    pub async fn of(
        footage: &Footage,
        camera: &CameraKey,
        from: FootageOf,
        range: TimeRange,
    ) -> Result<Arc<Self>, RetrieveError> {
        Self::asked(footage, camera, &ClipRequest { from, ..ClipRequest::of(range) }).await
    }

    /// Lays out what is asked for.
    ///
    /// # Errors
    /// [`RetrieveError::Invalid`] for a range over [`CLIP_HOURS_MAX`] or a part that it does not have,
    /// [`RetrieveError::SeveralParts`] when it has several and none is asked for, [`RetrieveError::NoFootage`] when no
    /// picture of it is recorded, [`RetrieveError::Lost`] when none of those that are can be read.
    pub async fn asked(footage: &Footage, camera: &CameraKey, asked: &ClipRequest) -> Result<Arc<Self>, RetrieveError> {
        let check = match asked.from {
            FootageOf::Hold(_) => Check::Everything,
            FootageOf::Timeline | FootageOf::Run(_) if footage.compares => Check::WhatIsNear,
            FootageOf::Timeline | FootageOf::Run(_) => Check::Nothing,
        };
        Self::laid_out(footage, camera, asked, Begins::InTheRange, check).await
    }

    /// The one picture that was on screen at an instant, compared with its id.
    pub(super) async fn still(
        footage: &Footage,
        camera: &CameraKey,
        instant: TimeRange,
    ) -> Result<Arc<Self>, RetrieveError> {
        let asked = ClipRequest::of(instant);
        Self::laid_out(footage, camera, &asked, Begins::WithWhatIsShown, Check::Everything).await
    }

    async fn laid_out(
        footage: &Footage,
        camera: &CameraKey,
        asked: &ClipRequest,
        begins: Begins,
        check: Check,
    ) -> Result<Arc<Self>, RetrieveError> {
        let wanted = asked.part.map_or(0, |part| part.saturating_sub(1) as usize);
        let form = Form { gaps: asked.gaps, begins, part: wanted };
        let (mut left_out, mut read) = (LeftOut::default(), HashSet::new());
        let (mut layout, facts, holes) = loop {
            let (mut parts, layout, holes) = walked(footage, camera, asked, form, &left_out).await?;
            if asked.part.is_none() && parts.len() > 1 {
                return Err(RetrieveError::SeveralParts { camera: camera.clone(), parts });
            }
            let there = parts.len();
            let Some(layout) = layout else {
                let why = format!("the range has {there} parts, counted from 1: there is no part {}", wanted + 1);
                return Err(RetrieveError::Invalid(why));
            };
            // Each turn reads what was not read yet, and leaves out at least one fragment more.
            if !find_unreadable(footage, &layout, check, &mut read, &mut left_out).await? {
                break (layout, parts.swap_remove(wanted), holes);
            }
        };
        let row = footage.index.camera(camera).await?.ok_or_else(|| RetrieveError::NoCamera(camera.clone()))?;
        let (labels, misdated) = (footage.labels(), footage.index.misdated(camera).await?);
        let on_record = OnRecord { row: &row, labels: &labels, misdated: &misdated };
        let told = Facts::new(&layout, asked, &on_record);
        // A camera that signs sends its certificates seldom: verification begins with them.
        if let Some(sei) = footage.index.certificate_sei(camera, layout.covers.start()).await?
            && is_signing_sei(layout.codec, &sei)
        {
            layout.begin_with(&sei);
        }
        Ok(Arc::new(Self::from_layout(layout, (facts, told), asked, footage, (holes, check))))
    }

    fn from_layout(
        mut layout: Layout,
        (facts, told): (Part, Facts),
        asked: &ClipRequest,
        footage: &Footage,
        (holes, check): (Vec<Hole>, Check),
    ) -> Self {
        let boxes::Head { pieces: mut head, small, bytes } = boxes::head(&mut layout, &told);
        let head_bytes = bytes + layout.prefix.len() as u64;
        if !layout.prefix.is_empty() {
            head.push(layout.prefix.clone());
        }
        // What the long lists say of the samples follows from which fragments they are of.
        let mut hash = blake3::Hasher::new();
        hash.update(&layout.content).update(&small).update(&layout.prefix).update(&[asked.gaps as u8]);
        let etag = format!("\"{}\"", &hash.finalize().to_hex()[..32]);
        let samples =
            Samples { packs: layout.packs, parts: layout.parts, bytes: layout.mdat_bytes - layout.prefix.len() as u64 };
        let (packs, looks) = (footage.packs.clone(), footage.looks.clone());
        let (compares, broken_off) = (check != Check::Nothing, AtomicBool::new(false));
        let camera_clock = layout.camera_clock;
        Self { head, head_bytes, samples, etag, facts, camera_clock, holes, packs, looks, compares, broken_off }
    }

    /// What of the range is on record and left out, because it is missing or damaged.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Whether a body of it could not be sent to its end: what cannot be read now is a hole in a new layout.
    pub fn broke_off(&self) -> bool {
        self.broken_off.load(Ordering::Relaxed)
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
        self.facts.covers
    }

    /// What it is: its coding, and what of the time that it covers has pictures.
    pub fn facts(&self) -> &Part {
        &self.facts
    }

    /// The camera's clock minus the gateway's, as it came with the pictures: the least and the most.
    pub fn camera_clock(&self) -> Option<(Ticks90k, Ticks90k)> {
        self.camera_clock
    }

    /// Its pieces from the first byte to the last, each with its length and when it was filmed: its boxes, then fragment by
    /// fragment.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, Option<TimeRange>)> + use<> {
        let part = |part: &LayoutPart| (u64::from(part.bytes), TimeRange::new(part.wall.0, part.wall.1));
        let parts: Vec<_> = self.samples.parts.iter().map(part).collect();
        std::iter::once((self.head_bytes, None)).chain(parts)
    }

    /// Width and height of its first picture, in pixels.
    pub fn picture_size(&self) -> (u16, u16) {
        self.facts.size
    }

    /// When the pictures and the sound in these bytes of it were filmed; `None` where there are none.
    pub fn filmed(&self, bytes: Range<u64>) -> Option<TimeRange> {
        let [from, to] = [bytes.start, bytes.end].map(|at| at.max(self.head_bytes) - self.head_bytes);
        let parts = &self.samples.parts;
        let first = parts.partition_point(|part| part.at + u64::from(part.bytes) <= from);
        let sent = &parts[first..parts.partition_point(|part| part.at < to).max(first)];
        let ends = sent.iter().map(|part| part.wall.1).max()?;
        TimeRange::new(sent.first()?.wall.0, ends)?.intersection(&self.facts.covers)
    }

    /// These bytes of it. Past the end there are none.
    pub fn body(self: &Arc<Self>, range: Range<u64>) -> BoxStream<'static, Result<Bytes, RetrieveError>> {
        let head_bytes = self.head_bytes;
        let (start, end) = (range.start.min(self.len()), range.end.min(self.len()));
        let head = self.head(start..end);
        let samples = start.max(head_bytes) - head_bytes..end.max(head_bytes) - head_bytes;
        let clip = Arc::clone(self);
        let sent = Arc::clone(self);
        let from_packs = stream::unfold(clip.samples.cursor(samples), move |mut cursor| {
            let clip = Arc::clone(&clip);
            async move {
                let (pack, pieces) = clip.samples.next_pack(&mut cursor)?;
                Some((compared(&clip.packs, pack, pieces, clip.compares, &clip.looks), cursor))
            }
        });
        let body = stream::iter(head.into_iter().map(Ok)).chain(from_packs.flatten());
        body.inspect_err(move |_| sent.broken_off.store(true, Ordering::Relaxed)).boxed()
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

/// The parts of what is asked for, none of which is empty, and why some of it is in none.
///
/// # Errors
/// As [`Clip::asked`], but that there may be several parts.
pub async fn parts(
    footage: &Footage,
    camera: &CameraKey,
    asked: &ClipRequest,
) -> Result<(Vec<Part>, Vec<Hole>), RetrieveError> {
    let form = Form { gaps: asked.gaps, begins: Begins::InTheRange, part: usize::MAX - 1 };
    let (parts, _, holes) = walked(footage, camera, asked, form, &LeftOut::default()).await?;
    Ok((parts, holes))
}

/// All parts of what is asked for, and the layout of the one that is wanted.
async fn walked(
    footage: &Footage,
    camera: &CameraKey,
    asked: &ClipRequest,
    form: Form,
    left_out: &LeftOut,
) -> Result<(Vec<Part>, Option<Layout>, Vec<Hole>), RetrieveError> {
    within_hours_max(asked.range)?;
    footage.known(camera).await?;
    let (mut builder, mut walk, mut next) = (LayoutBuilder::new(asked.range, form), walk::Walk::default(), Next::More);
    let visit = |walk::PackRows { pack, rows, table }: walk::PackRows| {
        for step in walk.steps(&rows, &table) {
            if next == Next::More {
                next = builder.push(&pack, &table, &step).map_err(ReadError::Pack)?;
            }
        }
        Ok(())
    };
    let holes = walk::for_each_pack(footage, camera, asked.from, asked.range, left_out, visit).await?;
    footage.look_at(&holes);
    let (parts, layout) = builder.finish();
    if parts.is_empty() {
        return Err(RetrieveError::nothing_left(camera.clone(), asked.range, holes));
    }
    if parts.len() > PARTS_MAX {
        let why = format!("the range has more than {PARTS_MAX} parts of different codings: ask for a shorter one");
        return Err(RetrieveError::Invalid(why));
    }
    Ok((parts, layout, holes))
}

/// Reads what is to be read before. True when something of it cannot be read, and is to be left out.
async fn find_unreadable(
    footage: &Footage,
    layout: &Layout,
    check: Check,
    read: &mut HashSet<(PackId, u32)>,
    left_out: &mut LeftOut,
) -> Result<bool, RetrieveError> {
    match check {
        Check::Nothing => return Ok(false),
        Check::WhatIsNear if layout.mdat_bytes > CHECKED_BEFORE_BYTES_MAX => return Ok(false),
        Check::WhatIsNear | Check::Everything => {}
    }
    let mut wanted: Vec<(PackRef, Vec<u32>)> = Vec::new();
    for (part, number) in layout.parts.iter().zip(layout.fragment_numbers()) {
        let pack = &layout.packs[part.pack as usize];
        if !read.insert((pack.id, number)) {
            continue;
        }
        match wanted.last_mut() {
            Some((last, numbers)) if last == pack => numbers.push(number),
            _ => wanted.push((pack.clone(), vec![number])),
        }
    }
    let mut found = false;
    for (pack, numbers) in wanted {
        if check == Check::WhatIsNear && !footage.packs.lies_here(&pack) {
            continue;
        }
        let table = footage.packs.table(&pack).await?;
        let unreadable = footage.packs.unreadable(&pack, &table, &numbers).await?;
        found |= left_out.add(pack.id, unreadable);
    }
    Ok(found)
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
    fn next_pack(&self, cursor: &mut Cursor) -> Option<(PackRef, Vec<Piece>)> {
        let first = self.parts.get(cursor.part).filter(|_| !cursor.range.is_empty())?;
        let mut pieces = Vec::new();
        while let Some(part) = self.parts.get(cursor.part).filter(|p| p.pack == first.pack && p.at < cursor.range.end) {
            let from = cursor.range.start.max(part.at) - part.at;
            let to = cursor.range.end.min(part.at + u64::from(part.bytes)) - part.at;
            if from < to {
                let whole = to - from == u64::from(part.bytes);
                pieces.push((part.offset + from..part.offset + to, whole.then_some(part.id)));
            }
            cursor.range.start = part.at + to;
            cursor.part += 1;
        }
        Some((self.packs[first.pack as usize].clone(), pieces))
    }
}
