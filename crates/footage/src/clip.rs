//! The facts that a clip holds about itself: when each of its pictures was filmed, and what is known beside.
//!
//! ```text
//! ftyp meta uuid(times) uuid(facts) moov mdat
//! ```
//!
//! ISO/IEC 14496-12 knows one start and durations; the recorder knows more: gaps, a clock that was slewed, a run that
//! began again. The table of times is exact, to the tick of 1/90,000 s, whatever the time line of the clip does.
//!
//! Invariant: a file is hostile until it is read: every length is checked against the bytes that are there.
//! Absent on purpose: no player needs any of it, and nothing here reads a sample.

use crate::units::{Ticks90k, WallTime};

/// User type of the box with the table of times (ISO/IEC 14496-12 §11.1).
pub const TIMES: [u8; 16] = *b"vigie.clip.times";

/// User type of the box with the facts, as JSON.
pub const FACTS: [u8; 16] = *b"vigie.clip.facts";

/// Bytes of a stretch in the table.
const STRETCH_BYTES: usize = 24;

/// Most pictures whose times are held: those of a day and its margins at 60 a second.
const PICTURES_MAX: usize = 6_000_000;

/// Pictures whose times go on evenly, from one sample up to where the next stretch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Decode time of its first sample, in 1/90,000 s.
    pub media_start: i64,
    /// When that sample was filmed.
    pub wall_start: WallTime,
    /// So much media time …
    pub media: u32,
    /// … took so much time on the wall. Never zero, as `media` is not.
    pub wall: u32,
}

impl Stretch {
    /// When a picture was filmed whose presentation time this is. It is of the stretch that its decode time lies in.
    pub fn filmed(&self, presented: i64) -> WallTime {
        let since = i128::from(presented) - i128::from(self.media_start);
        let ticks = (since * i128::from(self.wall)).div_euclid(self.media.max(1).into());
        self.wall_start.saturating_add(Ticks90k(i64::try_from(ticks).unwrap_or(i64::MAX)))
    }

    /// Whether the other, which follows, says nothing that this one does not.
    fn tells(&self, next: &Self) -> bool {
        let even = |stretch: &Self| stretch.media == stretch.wall;
        even(self) && even(next) && self.filmed(next.media_start) == next.wall_start
    }
}

/// The table of times while it grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(Vec<Stretch>);

impl Times {
    /// The next stretch, by media time.
    pub fn push(&mut self, stretch: Stretch) {
        if self.0.last().is_none_or(|last| !last.tells(&stretch)) {
            self.0.push(stretch);
        }
    }

    /// Everything at and after `media` moves by `by`, and what is before is forgotten.
    pub fn begin_at(&mut self, media: i64, by: i64) {
        let first = self.0.partition_point(|stretch| stretch.media_start <= media).saturating_sub(1);
        self.0.drain(..first);
        self.0.iter_mut().for_each(|stretch| stretch.media_start = stretch.media_start.saturating_add(by));
    }

    /// By media time.
    pub fn stretches(&self) -> &[Stretch] {
        &self.0
    }

    /// The content of its box: how many, then each.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.0.len() * STRETCH_BYTES);
        out.extend_from_slice(&(self.0.len() as u64).to_be_bytes());
        for stretch in &self.0 {
            out.extend_from_slice(&stretch.media_start.to_be_bytes());
            out.extend_from_slice(&stretch.wall_start.0.to_be_bytes());
            out.extend_from_slice(&stretch.media.to_be_bytes());
            out.extend_from_slice(&stretch.wall.to_be_bytes());
        }
        out
    }

    fn decode(content: &[u8]) -> Result<Self, ClipError> {
        let mut fields = Fields(content);
        let count = fields.u64("its table of times")?;
        if count != fields.0.len() as u64 / STRETCH_BYTES as u64 || fields.0.len() % STRETCH_BYTES != 0 {
            return Err(ClipError::Malformed("its table of times has another length than it says"));
        }
        let mut stretches = Vec::with_capacity(count as usize);
        while !fields.0.is_empty() {
            stretches.push(Stretch {
                media_start: fields.u64("its table of times")?.cast_signed(),
                wall_start: WallTime(fields.u64("its table of times")?.cast_signed()),
                media: fields.u32("its table of times")?,
                wall: fields.u32("its table of times")?,
            });
        }
        Ok(Self(stretches))
    }

    /// When a sample was filmed.
    fn filmed(&self, decoded: i64, presented: i64) -> Option<WallTime> {
        let after = self.0.partition_point(|stretch| stretch.media_start <= decoded);
        Some(self.0.get(after.checked_sub(1)?)?.filmed(presented))
    }
}

/// Why a file does not tell when its pictures were filmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// It is none of ours, or was rewritten by a program that dropped the table.
    #[error("the file has no {0}: it is no clip of Vigie, or another program rewrote it")]
    Absent(&'static str),
    /// It contradicts itself.
    #[error("the clip is damaged: {0}")]
    Malformed(&'static str),
}

/// A picture that a player shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filmed {
    /// When it is shown, from the beginning of the clip.
    pub shown: Ticks90k,
    /// When it was filmed.
    pub at: WallTime,
}

/// The pictures of a clip in the order in which they are shown, from the file alone. Its first bytes, up to the samples,
/// are enough.
///
/// # Errors
/// [`ClipError`] where the file is none of ours or is damaged.
pub fn pictures(file: &[u8]) -> Result<Vec<Filmed>, ClipError> {
    let times = Times::decode(user_box(file, &TIMES)?.ok_or(ClipError::Absent("table of times"))?)?;
    let moov = child(file, b"moov")?.ok_or(ClipError::Absent("movie box"))?;
    let trak = picture_track(moov)?.ok_or(ClipError::Absent("track of pictures"))?;
    let find = |path: &[&[u8; 4]]| {
        path.iter().try_fold(trak, |within, kind| child(within, kind)?.ok_or(ClipError::Absent("table of samples")))
    };
    let shown = edit(find(&[b"edts", b"elst"])?)?;
    let stbl = find(&[b"mdia", b"minf", b"stbl"])?;
    let mut offsets = Runs::of(child(stbl, b"ctts")?)?;
    let mut durations = Runs::of(child(stbl, b"stts")?)?;
    let (mut pictures, mut decoded, mut samples) = (Vec::new(), 0i64, 0usize);
    while let Some(duration) = durations.next() {
        samples += 1;
        if samples > PICTURES_MAX {
            return Err(ClipError::Malformed("it has more pictures than a day has"));
        }
        let presented = decoded.saturating_add(offsets.next().unwrap_or(0).cast_signed().into());
        if shown.contains(&presented) {
            let at = times.filmed(decoded, presented).ok_or(ClipError::Malformed("a picture is before its times"))?;
            pictures.push(Filmed { shown: Ticks90k(presented - shown.start), at });
        }
        decoded = decoded.saturating_add(duration.into());
    }
    pictures.sort_by_key(|picture| picture.shown);
    Ok(pictures)
}

/// The facts of a clip, as JSON; nothing where there are none.
///
/// # Errors
/// [`ClipError`] where the file is damaged.
pub fn facts(file: &[u8]) -> Result<Option<&[u8]>, ClipError> {
    user_box(file, &FACTS)
}

/// What of the media time is shown: one stretch.
fn edit(elst: &[u8]) -> Result<std::ops::Range<i64>, ClipError> {
    let mut fields = Fields(elst);
    let version = fields.u32("its edit list")? >> 24;
    if fields.u32("its edit list")? != 1 {
        return Err(ClipError::Malformed("its edit list has not one entry"));
    }
    let [duration, start] = match version {
        1 => [fields.u64("its edit list")?.cast_signed(), fields.u64("its edit list")?.cast_signed()],
        _ => [fields.u32("its edit list")?.into(), fields.u32("its edit list")?.cast_signed().into()],
    };
    Ok(start..start.saturating_add(duration))
}

fn picture_track(moov: &[u8]) -> Result<Option<&[u8]>, ClipError> {
    for trak in Boxes(moov) {
        let (kind, trak) = trak?;
        if kind == *b"trak"
            && let Some(mdia) = child(trak, b"mdia")?
            && child(mdia, b"hdlr")?.is_some_and(|hdlr| hdlr.get(8..12) == Some(b"vide"))
        {
            return Ok(Some(trak));
        }
    }
    Ok(None)
}

/// The first of this kind.
fn child<'a>(within: &'a [u8], kind: &[u8; 4]) -> Result<Option<&'a [u8]>, ClipError> {
    for found in Boxes(within) {
        let (found, content) = found?;
        if found == *kind {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

/// The content of the box of this user type.
fn user_box<'a>(file: &'a [u8], user_type: &[u8; 16]) -> Result<Option<&'a [u8]>, ClipError> {
    for found in Boxes(file) {
        let (kind, content) = found?;
        if kind == *b"uuid"
            && let Some(content) = content.strip_prefix(user_type)
        {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

/// Boxes one after the other (ISO/IEC 14496-12 §4.2). The samples may be missing: they are the last.
struct Boxes<'a>(&'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<([u8; 4], &'a [u8]), ClipError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.0.split_first_chunk::<8>()?;
        let [a, b, c, d, kind @ ..] = *head;
        let (head_bytes, size) = match (u32::from_be_bytes([a, b, c, d]), rest.first_chunk::<8>()) {
            (0, _) => (8, self.0.len() as u64),
            (1, Some(size)) => (16, u64::from_be_bytes(*size)),
            (size, _) => (8, size.into()),
        };
        let content = usize::try_from(size).ok().and_then(|size| self.0.get(head_bytes..size).map(|c| (c, size)));
        match content {
            Some((content, size)) => {
                self.0 = &self.0[size..];
                Some(Ok((kind, content)))
            }
            None => {
                self.0 = &[];
                (kind != *b"mdat").then_some(Err(ClipError::Malformed("a box is longer than what it is in")))
            }
        }
    }
}

/// The entries of `stts` and `ctts` (§8.6.1), sample by sample.
struct Runs<'a> {
    entries: Fields<'a>,
    left: u32,
    value: u32,
}

impl<'a> Runs<'a> {
    fn of(content: Option<&'a [u8]>) -> Result<Self, ClipError> {
        let entries = match content {
            Some(content) => content.get(8..).ok_or(ClipError::Malformed("a list of samples is cut short"))?,
            None => &[],
        };
        Ok(Self { entries: Fields(entries), left: 0, value: 0 })
    }

    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            self.left = self.entries.u32("").ok()?;
            self.value = self.entries.u32("").ok()?;
        }
        self.left -= 1;
        Some(self.value)
    }
}

/// Big-endian fields one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&mut self, of: &'static str) -> Result<u32, ClipError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(ClipError::Absent(of))?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*field))
    }

    fn u64(&mut self, of: &'static str) -> Result<u64, ClipError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(ClipError::Absent(of))?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes(), &kind[..], content].concat()
    }

    fn numbers(fields: &[u32]) -> Vec<u8> {
        fields.iter().flat_map(|field| field.to_be_bytes()).collect()
    }

    /// Four pictures of a tenth of a second: the first is hidden, a gap of an hour lies before the last.
    fn clip(times: &Times) -> Vec<u8> {
        let stbl = boxed(b"stts", &numbers(&[0, 2, 3, 9_000, 1, 9_000]));
        let minf = boxed(b"minf", &boxed(b"stbl", &stbl));
        let mdia = boxed(b"mdia", &[boxed(b"hdlr", b"\0\0\0\0\0\0\0\0vide"), minf].concat());
        let edts = boxed(b"edts", &boxed(b"elst", &numbers(&[0, 1, 27_000, 9_000, 0x1_0000])));
        let moov = boxed(b"moov", &boxed(b"trak", &[edts, mdia].concat()));
        let table = boxed(b"uuid", &[&TIMES[..], &times.encode()].concat());
        // The samples are not read.
        [table, moov, b"\0\x01\0\0mdat".to_vec()].concat()
    }

    fn even(media_start: i64, wall_start: i64) -> Stretch {
        Stretch { media_start, wall_start: WallTime(wall_start), media: 1, wall: 1 }
    }

    fn table(stretches: &[Stretch]) -> Times {
        let mut times = Times::default();
        stretches.iter().for_each(|stretch| times.push(*stretch));
        times
    }

    #[test]
    fn each_picture_that_is_shown_tells_when_it_was_filmed() {
        let hour = 3_600 * 90_000;
        let slow = Stretch { media: 9_000, wall: 9_009, ..even(9_000, 1_000_000) };
        let file = clip(&table(&[even(0, 500), slow, even(27_000, 1_000_000 + hour)]));
        let got: Vec<_> = pictures(&file).unwrap().iter().map(|p| (p.shown.0, p.at.0)).collect();
        assert_eq!(got, [(0, 1_000_000), (9_000, 1_009_009), (18_000, 1_000_000 + hour)]);
    }

    #[test]
    fn stretches_that_go_on_evenly_are_one() {
        let times = table(&[even(0, 500), even(9_000, 9_500), even(18_000, 18_501)]);
        assert_eq!(times.stretches(), [even(0, 500), even(18_000, 18_501)]);
    }

    #[test]
    fn what_is_hidden_is_forgotten_and_the_rest_moves() {
        let mut times = table(&[even(0, 0), even(9_000, 20_000), even(30_000, 90_000)]);
        times.begin_at(18_000, -17_000);
        assert_eq!(times.stretches(), [even(-8_000, 20_000), even(13_000, 90_000)]);
    }

    #[test]
    fn a_file_that_is_no_clip_says_so() {
        assert_eq!(pictures(b""), Err(ClipError::Absent("table of times")));
        let mut file = clip(&table(&[even(0, 0)]));
        file[3] += 1;
        assert!(matches!(pictures(&file), Err(ClipError::Malformed(_))));
        assert_eq!(pictures(&clip(&Times::default())), Err(ClipError::Malformed("a picture is before its times")));
    }

    proptest! {
        #[test]
        fn a_clip_with_any_bytes_changed_never_panics(
            changes in prop::collection::vec((0usize..300, any::<u8>()), 1..6), cut in 0usize..400,
        ) {
            let mut file = clip(&table(&[even(0, 0), even(27_000, 90_000_000)]));
            for (at, byte) in changes {
                let at = at % file.len();
                file[at] = byte;
            }
            file.truncate(cut);
            let _ = pictures(&file);
            let _ = facts(&file);
        }
    }
}
