//! The compact coding of what a pack holds: its header, its fragments' entries. No I/O, no boxes.
//!
//! Numbers are LEB128 varints, signed ones in zigzag order; an entry is written against the end of the one before it, so
//! that what follows on evenly costs a byte. All lengths are checked against the bytes that are there before anything
//! is allocated: a decoded value takes at most a small multiple of its coding's bytes.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use super::reference::{Host, Place};
use super::{FragmentEntry, HoldFacts, PackHeader, Stamp};
use crate::media::{AudioParams, Gap, GapCause, Params, Sample, VideoCodec, VideoParams};
use crate::units::{CameraKey, FragmentId, HoldId, PackId, RunId, Ticks90k, TimeRange, WallTime};

/// Version of the coding and of the boxes around it. A reader refuses others.
const VERSION: u8 = 1;

/// What is wrong with a coding.
pub(super) type Decoded<T> = Result<T, &'static str>;

const RANDOM_ACCESS: u8 = 1;
const CAMERA_TIME: u8 = 2;
const AUDIO: u8 = 4;
const GAPS: u8 = 8;

const SAME_DURATION: u8 = 1;
const NO_OFFSETS: u8 = 2;

/// Where the entry before ended: what the next one is written against. The first, and an entry that stands alone, is
/// written against zero.
#[derive(Default)]
pub(super) struct Before {
    decode_end: i64,
    wall_end: i64,
    camera_offset: i64,
    audio_end: i64,
}

impl Before {
    fn after(&self, entry: &FragmentEntry) -> Self {
        let audio: i64 = entry.audio.iter().map(|s| i64::from(s.duration)).sum();
        let wall_start = entry.stamp.wall_start.0;
        Self {
            decode_end: entry.decode_time.0.wrapping_add(entry.duration().0),
            wall_end: entry.wall_end().0,
            camera_offset: entry.stamp.camera_time.map_or(self.camera_offset, |c| c.0.wrapping_sub(wall_start)),
            audio_end: if entry.audio.is_empty() {
                self.audio_end
            } else {
                entry.audio_decode_time.wrapping_add(audio)
            },
        }
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value << 1 ^ value >> 63) as u64);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a header's coding.
pub(super) fn put_header(out: &mut Vec<u8>, header: &PackHeader) {
    let Params { video, audio } = &*header.params;
    out.push(VERSION);
    out.extend_from_slice(&header.pack.0);
    out.extend_from_slice(&header.run.0);
    put_bytes(out, header.camera.tenant.as_str().as_bytes());
    put_bytes(out, header.camera.camera.as_str().as_bytes());
    out.push(match video.codec {
        VideoCodec::H264 => 1,
        VideoCodec::H265 => 2,
    });
    put_varint(out, video.width.into());
    put_varint(out, video.height.into());
    put_bytes(out, &video.sample_entry);
    put_bytes(out, video.rfc6381.as_bytes());
    out.push(audio.is_some().into());
    if let Some(audio) = audio {
        put_varint(out, audio.clock_rate.into());
        put_bytes(out, &audio.sample_entry);
        out.push(audio.rfc6381.is_some().into());
        if let Some(text) = &audio.rfc6381 {
            put_bytes(out, text.as_bytes());
        }
    }
    out.push(header.hold.is_some().into());
    if let Some(hold) = &header.hold {
        put_hold(out, hold);
    }
}

fn put_hold(out: &mut Vec<u8>, hold: &HoldFacts) {
    let HoldFacts { id, range, reference, requester, reason, until, placed } = hold;
    out.extend_from_slice(&id.0);
    [range.start(), range.end(), *until, *placed].iter().for_each(|at| put_signed(out, at.0));
    [reference, requester, reason].iter().for_each(|text| put_bytes(out, text.as_bytes()));
}

/// Appends an entry's coding, all but where the fragment lies in the file; gives what the next is written against.
pub(super) fn put_entry(out: &mut Vec<u8>, before: &Before, entry: &FragmentEntry) -> Before {
    let FragmentEntry { stamp, .. } = entry;
    let has_audio = !entry.audio.is_empty() || entry.audio_decode_time != 0;
    let wall_start = stamp.wall_start.0;
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(
        flag(entry.random_access, RANDOM_ACCESS)
            | flag(stamp.camera_time.is_some(), CAMERA_TIME)
            | flag(has_audio, AUDIO)
            | flag(!stamp.gaps.is_empty(), GAPS),
    );
    out.extend_from_slice(&entry.id.0);
    put_signed(out, entry.decode_time.0.wrapping_sub(before.decode_end));
    put_samples(out, &entry.video);
    put_signed(out, wall_start.wrapping_sub(before.wall_end));
    put_signed(out, stamp.wall_duration.0.wrapping_sub(entry.duration().0));
    if let Some(camera) = stamp.camera_time {
        put_signed(out, camera.0.wrapping_sub(wall_start).wrapping_sub(before.camera_offset));
    }
    if has_audio {
        put_signed(out, entry.audio_decode_time.wrapping_sub(before.audio_end));
        put_samples(out, &entry.audio);
    }
    if !stamp.gaps.is_empty() {
        put_varint(out, stamp.gaps.len() as u64);
        for gap in &stamp.gaps {
            put_signed(out, gap.start.0.wrapping_sub(wall_start));
            put_signed(out, gap.end.0.wrapping_sub(gap.start.0));
            out.push(gap.cause.code());
            put_varint(out, gap.lost_packets.into());
        }
    }
    before.after(entry)
}

fn put_samples(out: &mut Vec<u8>, samples: &[Sample]) {
    put_varint(out, samples.len() as u64);
    let Some(first) = samples.first() else { return };
    let same_duration = samples.iter().all(|s| s.duration == first.duration);
    let no_offsets = samples.iter().all(|s| s.composition_offset == 0);
    out.push(if same_duration { SAME_DURATION } else { 0 } | if no_offsets { NO_OFFSETS } else { 0 });
    if same_duration {
        put_varint(out, first.duration.into());
    }
    let (mut size, mut duration) = (0, 0);
    for s in samples {
        put_signed(out, i64::from(s.size) - size);
        size = s.size.into();
        if !same_duration {
            put_signed(out, i64::from(s.duration) - duration);
            duration = s.duration.into();
        }
        if !no_offsets {
            put_signed(out, s.composition_offset.into());
        }
    }
}

/// Appends the packs that places name.
pub(super) fn put_hosts(out: &mut Vec<u8>, hosts: &[Arc<Host>]) {
    put_varint(out, hosts.len() as u64);
    for host in hosts {
        out.extend_from_slice(&host.pack.0);
        put_bytes(out, host.camera.tenant.as_str().as_bytes());
        put_bytes(out, host.camera.camera.as_str().as_bytes());
    }
}

/// Where the place before led: what the next one is written against.
pub(super) type NextFragment = u32;

/// Appends a place; a run of fragments that lie one after the other in one host takes two bytes each.
pub(super) fn put_place(
    out: &mut Vec<u8>,
    hosts: &[Arc<Host>],
    expected: NextFragment,
    place: Option<&Place>,
) -> NextFragment {
    let Some(Place { host, fragment }) = place else {
        put_varint(out, 0);
        return expected;
    };
    let number = hosts.binary_search(host).unwrap_or_else(|missing| missing);
    put_varint(out, number as u64 + 1);
    put_signed(out, i64::from(*fragment) - i64::from(expected));
    fragment.saturating_add(1)
}

/// Bytes that are left to decode.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, n: usize) -> Decoded<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or("it ends too soon")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("it ends too soon")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Decoded<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn flag(&mut self) -> Decoded<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("a flag is neither 0 nor 1"),
        }
    }

    pub(super) fn varint(&mut self) -> Decoded<u64> {
        // Nearly all are differences of sizes and durations: one or two bytes.
        match *self.0 {
            [a @ 0..0x80, ref rest @ ..] => {
                self.0 = rest;
                return Ok(a.into());
            }
            [a, b @ 0..0x80, ref rest @ ..] => {
                self.0 = rest;
                return Ok(u64::from(a & 0x7f) | u64::from(b) << 7);
            }
            _ => {}
        }
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number is longer than 64 bits")
    }

    fn signed(&mut self) -> Decoded<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A varint of a narrower type.
    pub(super) fn number<T: TryFrom<u64>>(&mut self) -> Decoded<T> {
        T::try_from(self.varint()?).map_err(|_| "a number is out of range")
    }

    fn bytes(&mut self) -> Decoded<&'a [u8]> {
        let n = self.number()?;
        self.take(n)
    }

    fn text(&mut self) -> Decoded<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a text is not UTF-8")
    }

    fn name<T: FromStr>(&mut self) -> Decoded<T> {
        self.text()?.parse().map_err(|_| "a tenant's or camera's name is not usable")
    }

    /// The next number of a column that is written as differences.
    fn next_of(&mut self, column: &mut u32) -> Decoded<u32> {
        let next = i64::from(*column).checked_add(self.signed()?);
        *column = next.and_then(|n| u32::try_from(n).ok()).ok_or("a sample's number is out of range")?;
        Ok(*column)
    }

    pub(super) fn header(&mut self) -> Decoded<PackHeader> {
        if self.byte()? != VERSION {
            return Err("it is of another version of the format");
        }
        let pack = PackId(self.array()?);
        let run = RunId(self.array()?);
        let camera = CameraKey { tenant: self.name()?, camera: self.name()? };
        let params = Params { video: self.video_params()?, audio: self.audio_params()? };
        let hold = if self.flag()? { Some(Arc::new(self.hold()?)) } else { None };
        Ok(PackHeader { pack, camera, run, params: Arc::new(params), hold })
    }

    fn hold(&mut self) -> Decoded<HoldFacts> {
        let id = HoldId(self.array()?);
        let mut instant = || self.signed().map(WallTime);
        let (start, end, until, placed) = (instant()?, instant()?, instant()?, instant()?);
        let range = TimeRange::new(start, end).ok_or("a hold covers no time")?;
        let mut text = || self.text().map(str::to_owned);
        Ok(HoldFacts { id, range, reference: text()?, requester: text()?, reason: text()?, until, placed })
    }

    fn video_params(&mut self) -> Decoded<VideoParams> {
        Ok(VideoParams {
            codec: match self.byte()? {
                1 => VideoCodec::H264,
                2 => VideoCodec::H265,
                _ => return Err("it names an unknown video coding"),
            },
            width: self.number()?,
            height: self.number()?,
            sample_entry: Bytes::copy_from_slice(self.bytes()?),
            rfc6381: self.text()?.to_owned(),
        })
    }

    fn audio_params(&mut self) -> Decoded<Option<AudioParams>> {
        if !self.flag()? {
            return Ok(None);
        }
        Ok(Some(AudioParams {
            clock_rate: self.number()?,
            sample_entry: Bytes::copy_from_slice(self.bytes()?),
            rfc6381: if self.flag()? { Some(self.text()?.to_owned()) } else { None },
        }))
    }

    /// The packs that places name, as [`put_hosts`] wrote them: in order, each once.
    pub(super) fn hosts(&mut self) -> Decoded<Vec<Arc<Host>>> {
        const HOST_BYTES_MIN: usize = 20;
        let count = self.count(HOST_BYTES_MIN)?;
        let mut hosts: Vec<Arc<Host>> = Vec::with_capacity(count);
        for _ in 0..count {
            let pack = PackId(self.array()?);
            let host = Arc::new(Host { pack, camera: CameraKey { tenant: self.name()?, camera: self.name()? } });
            if hosts.last().is_some_and(|last| *last >= host) {
                return Err("the packs that it refers to are not in order");
            }
            hosts.push(host);
        }
        Ok(hosts)
    }

    /// A place, as [`put_place`] wrote it.
    pub(super) fn place(
        &mut self,
        hosts: &[Arc<Host>],
        expected: NextFragment,
    ) -> Decoded<(Option<Place>, NextFragment)> {
        let Some(number) = self.number::<usize>()?.checked_sub(1) else {
            return Ok((None, expected));
        };
        let host = hosts.get(number).ok_or("a fragment lies in a pack that it does not name")?.clone();
        let fragment = i64::from(expected).checked_add(self.signed()?).and_then(|n| u32::try_from(n).ok());
        let fragment = fragment.ok_or("the number of a fragment of another pack is out of range")?;
        Ok((Some(Place { host, fragment }), fragment.saturating_add(1)))
    }

    /// An entry; where it lies in the file is left at zero but for `data_bytes`. Gives what the next is written
    /// against too.
    pub(super) fn entry(&mut self, before: &Before) -> Decoded<(FragmentEntry, Before)> {
        let flags = self.byte()?;
        if flags & !(RANDOM_ACCESS | CAMERA_TIME | AUDIO | GAPS) != 0 {
            return Err("a fragment has unknown flags");
        }
        let has = |bit: u8| flags & bit != 0;
        let id = FragmentId(self.array()?);
        let decode_time = Ticks90k(self.signed()?.wrapping_add(before.decode_end));
        let video = self.samples()?;
        let duration: i64 = video.iter().map(|s| i64::from(s.duration)).sum();
        let wall_start = self.signed()?.wrapping_add(before.wall_end);
        let wall_duration = Ticks90k(self.signed()?.wrapping_add(duration));
        let camera_time = match has(CAMERA_TIME) {
            true => Some(WallTime(self.signed()?.wrapping_add(before.camera_offset).wrapping_add(wall_start))),
            false => None,
        };
        let (audio_decode_time, audio) = match has(AUDIO) {
            true => (self.signed()?.wrapping_add(before.audio_end), self.samples()?),
            false => (0, Vec::new()),
        };
        let gaps = if has(GAPS) { self.gaps(wall_start)? } else { Vec::new() };
        let size: u64 = video.iter().chain(&audio).map(|s| u64::from(s.size)).sum();
        let entry = FragmentEntry {
            offset: 0,
            header_bytes: 0,
            data_bytes: u32::try_from(size).map_err(|_| "a fragment's samples exceed 4 GiB")?,
            id,
            decode_time,
            random_access: has(RANDOM_ACCESS),
            video,
            audio,
            audio_decode_time,
            stamp: Stamp { wall_start: WallTime(wall_start), wall_duration, camera_time, gaps },
            place: None,
        };
        let next = before.after(&entry);
        Ok((entry, next))
    }

    /// A count of things that take at least `bytes_min` bytes each, so that no more can be asked for than are there.
    pub(super) fn count(&mut self, bytes_min: usize) -> Decoded<usize> {
        let count = self.number()?;
        if count > self.0.len() / bytes_min { Err("it ends too soon") } else { Ok(count) }
    }

    fn samples(&mut self) -> Decoded<Vec<Sample>> {
        let count = self.count(1)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let shape = self.byte()?;
        if shape & !(SAME_DURATION | NO_OFFSETS) != 0 {
            return Err("a sample list has unknown flags");
        }
        let (mut size, mut duration) = (0, 0);
        if shape & SAME_DURATION != 0 {
            duration = self.number()?;
        }
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            samples.push(Sample {
                size: self.next_of(&mut size)?,
                duration: if shape & SAME_DURATION != 0 { duration } else { self.next_of(&mut duration)? },
                composition_offset: match shape & NO_OFFSETS {
                    0 => i32::try_from(self.signed()?).map_err(|_| "a composition offset is out of range")?,
                    _ => 0,
                },
            });
        }
        Ok(samples)
    }

    fn gaps(&mut self, wall_start: i64) -> Decoded<Vec<Gap>> {
        let count = self.count(4)?;
        let mut gaps = Vec::with_capacity(count);
        for _ in 0..count {
            let start = self.signed()?.wrapping_add(wall_start);
            let end = self.signed()?.wrapping_add(start);
            gaps.push(Gap {
                start: WallTime(start),
                end: WallTime(end),
                cause: GapCause::from_code(self.byte()?).ok_or("it names an unknown cause of a gap")?,
                lost_packets: self.number()?,
            });
        }
        Ok(gaps)
    }
}

#[cfg(test)]
mod tests;
