//! NAL units to access units: which slices are one picture, and what travels with it.
//!
//! Invariant: every byte of a NAL unit that came whole is in exactly one access unit, in the order in which it came, with
//! two exceptions: a sequence parameter set that contradicts the one in use waits for the random access point at which it
//! takes effect (H.264 §7.4.1.2.1, H.265 §7.4.2.4.2), because no decoder may see it before; and what came of a picture
//! whose slices were lost goes with them, except its parameter sets, which hold for the pictures that follow.
//! A picture begins with its first slice, as the slice header says (H.264 §7.4.1.2.4, H.265 §7.4.2.4.4); timestamps and
//! markers are hints. A picture whose end the marker names is given out at once where markers have proved right,
//! otherwise when the next one begins, or after [`QUIET`].
//! Absent on purpose: RTP, I/O.

use std::time::Duration;

use footage::clock::Reading;
use footage::media::{Oddity, OddityCounts, VideoCodec, VideoParams};

use super::super::codec::{self, Kind, ParameterSets, Picture, Put};

/// A picture that ends with a marker, and that nothing follows for so long, is whole.
pub(super) const QUIET: Duration = Duration::from_millis(500);
/// And one without a marker, after so long.
const UNMARKED_QUIET: Duration = Duration::from_secs(2);
/// How many pictures are looked through for start codes: a camera that puts them inside NAL units does so from the
/// beginning.
const PICTURES_LOOKED_THROUGH: u32 = 64;
/// Pictures after which markers are relied on, a random access point among them, which has the most slices.
const MARKED_PICTURES: u32 = 3;
/// A slice header's fields that say which picture it belongs to are within so many bytes.
const HEADER_BYTES: usize = 32;
/// A picture's buffer begins with room for so much more than the last one had.
const ROOM: usize = 1024;
/// Parameter sets that wait for their random access point.
const EARLY_SETS_MAX: usize = 16;

/// A whole coded picture.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct AccessUnit {
    /// Of its first slice.
    pub(in super::super) timestamp: i64,
    /// NAL units, each after its length in four bytes.
    pub(in super::super) data: Vec<u8>,
    /// Packets lost between the last picture and this one, or in it.
    pub(in super::super) lost_packets: u32,
    /// The sample description that it needs, where it is another than the last picture's.
    pub(in super::super) new_params: Option<VideoParams>,
    /// A decoder may begin here.
    pub(in super::super) random_access: bool,
    /// When its last packet came.
    pub(in super::super) received: Reading,
}

/// When and where a packet of a NAL unit came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) timestamp: i64,
    pub(super) marker: bool,
    pub(super) received: Reading,
}

/// NAL units that have come of one access unit.
#[derive(Debug, Default)]
struct Growing {
    data: Vec<u8>,
    /// The first and the last slice, once there is one.
    slices: Option<(Picture, Picture)>,
    timestamp: i64,
    received: Option<Reading>,
    random_access: bool,
    new_params: Option<VideoParams>,
    lost: u32,
    /// Its last packet had the marker.
    marked: bool,
    marker_inside: bool,
    /// Before its first slice: a recovery point, a sequence parameter set that contradicts the one in use.
    recovery_point: bool,
    contradicts: bool,
    /// When the units before its first slice came, and how many bytes of them before a loss.
    timestamp_before: Option<i64>,
    lost_at: Option<usize>,
}

impl Growing {
    /// What came before a picture that was then lost is of no use to the next one, except parameter sets.
    fn forget_lost(&mut self, codec: VideoCodec, timestamp: i64) {
        let Some(at) = self.lost_at.take() else { return };
        if self.timestamp_before != Some(timestamp) {
            let kept: Vec<u8> = sets_of(codec, &self.data[..at]).flat_map(prefixed).collect();
            self.data.splice(..at, kept);
            self.recovery_point = false;
        }
    }
}

/// Whether markers say where pictures end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Markers {
    Observed { right: u32, random_access: bool },
    Relied,
    Wrong,
}

/// One stream's.
#[derive(Debug)]
pub(super) struct Assembler {
    codec: VideoCodec,
    sets: ParameterSets,
    bytes_max: usize,
    picture: Growing,
    /// Units after the picture's slices that belong to the next picture, unless another slice of this one comes.
    next: Growing,
    /// Where the NAL unit begins that grows, and whether in `next`.
    open: Option<(usize, bool)>,
    /// The last slice of the picture that a marker ended.
    given_out: Option<Picture>,
    markers: Markers,
    early: Vec<Vec<u8>>,
    /// What the last sample description was made of.
    described: Option<(u64, Option<u8>)>,
    params: Option<VideoParams>,
    lost: u32,
    after_loss: bool,
    pictures: u32,
    start_codes: bool,
    last_bytes: usize,
    /// The last unit, as far as it may be a parameter set of another coding.
    suspect: Vec<u8>,
}

impl Assembler {
    pub(super) fn new(codec: VideoCodec, sets: ParameterSets, bytes_max: usize) -> Self {
        let params = sets.params(None);
        Self {
            codec,
            bytes_max,
            picture: Growing::default(),
            next: Growing::default(),
            open: None,
            given_out: None,
            markers: Markers::Observed { right: 0, random_access: false },
            early: Vec::new(),
            described: None,
            params,
            lost: 0,
            after_loss: false,
            pictures: 0,
            start_codes: false,
            last_bytes: 0,
            suspect: Vec::new(),
            sets,
        }
    }

    /// The sample description, once there are enough parameter sets.
    pub(super) fn params(&self) -> Option<&VideoParams> {
        self.params.as_ref()
    }

    /// Packets are missing before what comes next: the unit that grew is not whole.
    pub(super) fn lose(&mut self, packets: u32) {
        self.drop_open();
        self.lost = self.lost.saturating_add(packets);
        self.after_loss = true;
        for growing in [&mut self.picture, &mut self.next] {
            growing.lost_at = (growing.slices.is_none() && !growing.data.is_empty()).then_some(growing.data.len());
        }
    }

    fn drop_open(&mut self) {
        if let Some((begin, in_next)) = self.open.take() {
            self.growing(in_next).data.truncate(begin);
        }
    }

    fn growing(&mut self, in_next: bool) -> &mut Growing {
        if in_next { &mut self.next } else { &mut self.picture }
    }

    /// A NAL unit begins, with these bytes of its header.
    pub(super) fn begin(&mut self, header: &[u8], timestamp: i64) {
        for growing in [&mut self.picture, &mut self.next] {
            growing.forget_lost(self.codec, timestamp);
        }
        let kind = match header.first() {
            Some(_) => codec::kind(self.codec, header),
            None => Kind::Unknown,
        };
        let has_slices = self.picture.slices.is_some();
        let in_next = match kind {
            Kind::Slice => false,
            Kind::Before | Kind::Set(_) => has_slices,
            Kind::After | Kind::Unknown => !self.next.data.is_empty(),
        };
        let room = self.last_bytes + ROOM;
        let data = &mut self.growing(in_next).data;
        if data.capacity() == 0 && !in_next {
            data.reserve_exact(room);
        }
        let begin = data.len();
        data.extend_from_slice(&[0; 4]);
        data.extend_from_slice(header);
        self.open = Some((begin, in_next));
    }

    /// The unit goes on; false where the picture would be too large, which drops the unit.
    pub(super) fn append(&mut self, body: &[u8], odd: &mut OddityCounts) -> bool {
        let Some((_, in_next)) = self.open else { return true };
        let bytes = self.picture.data.len() + self.next.data.len();
        if bytes.saturating_add(body.len()) > self.bytes_max {
            odd.add(Oddity::OversizedPicture);
            self.lose(1);
            return false;
        }
        self.growing(in_next).data.extend_from_slice(body);
        true
    }

    /// The unit's first bytes are there: a slice of the next picture ends the one before it.
    pub(super) fn begun(&mut self, arrival: Arrival, odd: &mut OddityCounts, out: &mut impl FnMut(AccessUnit)) {
        let Some((begin, false)) = self.open else { return };
        let unit = &self.picture.data[begin + 4..];
        if self.picture.slices.is_none() || unit.len() < HEADER_BYTES || codec::kind(self.codec, unit) != Kind::Slice {
            return;
        }
        if self.begins_picture(self.sets.picture_of(unit), arrival) {
            let begin = self.next_picture(begin, odd, out);
            self.open = Some((begin, false));
        }
    }

    /// The unit is whole. An error means that the stream is not what it was described as.
    pub(super) fn end(
        &mut self,
        arrival: Arrival,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(AccessUnit),
    ) -> Result<(), Box<str>> {
        let Some((begin, in_next)) = self.open.take() else { return Ok(()) };
        let codec = self.codec;
        let looks_through_slices = self.start_codes || self.pictures < PICTURES_LOOKED_THROUGH;
        let unit = &self.growing(in_next).data[begin + 4..];
        let kind = codec::kind(codec, unit);
        if unit.len() < codec::header_bytes(codec) {
            odd.add(Oddity::ReservedUnit);
            self.growing(in_next).data.truncate(begin);
            return Ok(());
        }
        let looks_through = match kind {
            Kind::Slice => looks_through_slices,
            Kind::Set(_) => true,
            Kind::Before | Kind::After | Kind::Unknown => false,
        };
        if looks_through && codec::start_code(unit).is_some() {
            return self.take_apart(begin, in_next, arrival, odd, out);
        }
        self.whole(kind, begin, in_next, arrival, odd, out)
    }

    /// A unit with start codes in it is several.
    fn take_apart(
        &mut self,
        begin: usize,
        in_next: bool,
        arrival: Arrival,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(AccessUnit),
    ) -> Result<(), Box<str>> {
        odd.add(Oddity::StartCode);
        self.start_codes = true;
        let bytes = self.growing(in_next).data.split_off(begin);
        for unit in codec::between_start_codes(&bytes[4..]) {
            let Some((header, body)) = unit.split_at_checked(codec::header_bytes(self.codec)) else {
                odd.add(Oddity::ReservedUnit);
                continue;
            };
            self.begin(header, arrival.timestamp);
            if !self.append(body, odd) {
                break;
            }
            let Some((begin, in_next)) = self.open.take() else { break };
            self.whole(codec::kind(self.codec, unit), begin, in_next, arrival, odd, out)?;
        }
        Ok(())
    }

    fn whole(
        &mut self,
        kind: Kind,
        begin: usize,
        in_next: bool,
        arrival: Arrival,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(AccessUnit),
    ) -> Result<(), Box<str>> {
        let codec = self.codec;
        let growing = if in_next { &mut self.next } else { &mut self.picture };
        let length = u32::try_from(growing.data.len() - begin - 4).map_err(|_| "a NAL unit of four gigabytes")?;
        growing.data[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
        if !in_next {
            growing.received = Some(arrival.received);
        }
        let unit = &growing.data[begin + 4..];
        if kind != Kind::Slice || codec == VideoCodec::H264 && unit.starts_with(&[0x42, 1]) {
            if codec::is_other_coding(codec, &self.suspect, unit) {
                return Err("the stream is not of the coding that its description names".into());
            }
            self.suspect.clear();
            self.suspect.extend_from_slice(&unit[..unit.len().min(64)]);
        }
        match kind {
            Kind::Slice => {
                let slice = self.sets.picture_of(unit);
                self.slice(slice, begin, arrival, odd, out);
            }
            Kind::Set(_) if self.sets.contradicts(unit) => {
                growing.contradicts = true;
                growing.timestamp_before = Some(arrival.timestamp);
            }
            Kind::Set(_) => {
                if self.sets.put(unit) == Put::Unreadable {
                    odd.add(Oddity::UnreadableParameterSet);
                }
                growing.timestamp_before = Some(arrival.timestamp);
            }
            Kind::Before => {
                growing.recovery_point |= codec::is_recovery_point(codec, unit);
                growing.timestamp_before = Some(arrival.timestamp);
            }
            Kind::After if self.picture.slices.is_none() && !self.after_loss => {
                // It belongs to a picture that the marker seemed to end.
                if self.given_out.take().is_some() {
                    odd.add(Oddity::MarkerInsidePicture);
                    self.markers = Markers::Wrong;
                }
            }
            Kind::After | Kind::Unknown => self.picture.marker_inside |= self.picture.marked && !in_next,
        }
        Ok(())
    }

    /// A slice is whole, at the end of the picture's data.
    fn slice(
        &mut self,
        slice: Option<Picture>,
        begin: usize,
        arrival: Arrival,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(AccessUnit),
    ) {
        if self.picture.slices.is_some() {
            if self.begins_picture(slice, arrival) {
                self.next_picture(begin, odd, out);
            } else if !self.next.data.is_empty() {
                // What came before this slice was in the middle of its picture.
                let unit = self.picture.data.split_off(begin);
                let next = std::mem::take(&mut self.next);
                self.picture.data.extend_from_slice(&next.data);
                self.picture.data.extend_from_slice(&unit);
                self.picture.marker_inside |= self.picture.marked;
            } else {
                self.picture.marker_inside |= self.picture.marked;
            }
        } else if let (Some(before), Some(slice), false) = (self.given_out, slice, self.after_loss)
            && !slice.starts
            && !slice.follows(self.codec, &before)
        {
            odd.add(Oddity::SplitPicture);
            self.markers = Markers::Wrong;
        }
        self.given_out = None;
        self.after_loss = false;
        self.picture.lost = self.picture.lost.saturating_add(std::mem::take(&mut self.lost));
        self.picture.received = Some(arrival.received);
        let slice = slice.unwrap_or_default();
        match &mut self.picture.slices {
            Some((_, last)) => *last = slice,
            None => self.first_slice(slice, arrival, odd),
        }
    }

    /// The unit that begins there is the next picture's: the picture before it is whole. Gives where the unit begins now.
    fn next_picture(&mut self, begin: usize, odd: &mut OddityCounts, out: &mut impl FnMut(AccessUnit)) -> usize {
        let unit = self.picture.data.split_off(begin);
        let mut next = std::mem::take(&mut self.next);
        self.judge_markers(odd);
        self.give_out(out);
        let begin = next.data.len();
        if next.data.is_empty() {
            next.data = unit;
        } else {
            next.data.extend_from_slice(&unit);
        }
        self.picture = next;
        begin
    }

    fn begins_picture(&self, slice: Option<Picture>, arrival: Arrival) -> bool {
        let Some((_, before)) = &self.picture.slices else { return false };
        let other_time = arrival.timestamp != self.picture.timestamp;
        if self.after_loss && other_time {
            return true;
        }
        let Some(slice) = slice else { return false };
        // Some encoders give every picture the same frame number.
        let again = self.codec == VideoCodec::H264 && slice.starts && (other_time || self.picture.marked);
        slice.follows(self.codec, before) || again
    }

    fn first_slice(&mut self, slice: Picture, arrival: Arrival, odd: &mut OddityCounts) {
        let picture = &mut self.picture;
        picture.slices = Some((slice, slice));
        picture.timestamp = arrival.timestamp;
        picture.random_access = slice.idr && slice.starts || picture.recovery_point;
        if picture.random_access {
            for set in std::mem::take(&mut self.early).into_iter().rev() {
                insert_first(self.codec, &mut picture.data, &set);
                self.sets.put(&set);
            }
            if picture.contradicts {
                for set in sets_of(self.codec, &picture.data) {
                    self.sets.put(set);
                }
            }
            self.sets.confirm();
        } else if picture.contradicts {
            let sets = &self.sets;
            let (early, kept): (Vec<&[u8]>, Vec<&[u8]>) =
                units_of(&picture.data).partition(|unit| sets.contradicts(unit));
            early.iter().for_each(|_| odd.add(Oddity::EarlyParameterSet));
            self.early.extend(early.iter().map(|set| set.to_vec()));
            // Cameras repeat them: the last ones count.
            let surplus = self.early.len().saturating_sub(EARLY_SETS_MAX);
            self.early.drain(..surplus);
            picture.data = kept.into_iter().flat_map(prefixed).collect();
        }
        // Sets that come before the next picture are not this one's.
        self.picture.new_params = self.new_params(slice);
    }

    /// The picture ended, as its slices say: whether a marker said so too.
    fn judge_markers(&mut self, odd: &mut OddityCounts) {
        let picture = &self.picture;
        if picture.marker_inside {
            odd.add(Oddity::MarkerInsidePicture);
            self.markers = Markers::Wrong;
        }
        if let Markers::Observed { right, random_access } = &mut self.markers
            && picture.marked
        {
            *right += 1;
            *random_access |= picture.random_access;
            if *right >= MARKED_PICTURES && *random_access {
                self.markers = Markers::Relied;
            }
        }
    }

    /// A packet has been taken apart: what its marker says.
    pub(super) fn packet_ends(&mut self, marker: bool, out: &mut impl FnMut(AccessUnit)) {
        if self.picture.slices.is_none() || self.open.is_some() || !self.next.data.is_empty() {
            return;
        }
        self.picture.marked = marker;
        if marker && self.markers == Markers::Relied && !self.picture.marker_inside {
            self.given_out = self.picture.slices.map(|(_, last)| last);
            self.give_out(out);
        }
    }

    /// How long nothing may come before the picture that grows is taken for whole, if it may be.
    pub(super) fn awaits_quiet(&self) -> Option<Duration> {
        let may_be_whole = self.picture.slices.is_some() && self.open.is_none();
        may_be_whole.then_some(if self.picture.marked { QUIET } else { UNMARKED_QUIET })
    }

    /// Nothing has come for that long.
    pub(super) fn quiet(&mut self, out: &mut impl FnMut(AccessUnit)) {
        if self.awaits_quiet().is_some() {
            self.given_out = self.picture.slices.map(|(_, last)| last);
            self.give_out(out);
        }
    }

    /// Nothing comes any more.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(AccessUnit)) {
        self.drop_open();
        if self.picture.slices.is_some() {
            // What came with it is its own, if only because there is no other.
            let next = std::mem::take(&mut self.next);
            if next.timestamp_before == Some(self.picture.timestamp) {
                self.picture.data.extend_from_slice(&next.data);
            }
            self.give_out(out);
        }
    }

    fn give_out(&mut self, out: &mut impl FnMut(AccessUnit)) {
        let next = std::mem::take(&mut self.next);
        let picture = std::mem::replace(&mut self.picture, next);
        let (Some(_), Some(received)) = (picture.slices, picture.received) else { return };
        self.pictures = self.pictures.saturating_add(1);
        self.last_bytes = picture.data.len();
        out(AccessUnit {
            timestamp: picture.timestamp,
            data: picture.data,
            lost_packets: picture.lost,
            new_params: picture.new_params,
            random_access: picture.random_access,
            received,
        });
    }

    /// The sample description, where it is another than that of the picture before.
    fn new_params(&mut self, first: Picture) -> Option<VideoParams> {
        let needs = (self.sets.version(), self.sets.sequence_of(first.pps));
        if self.described == Some(needs) {
            return None;
        }
        self.described = Some(needs);
        let params = self.sets.params(needs.1)?;
        let is_new = self.params.as_ref() != Some(&params);
        self.params = Some(params.clone());
        is_new.then_some(params)
    }
}

/// The parameter sets among length-prefixed NAL units.
fn sets_of(codec: VideoCodec, data: &[u8]) -> impl Iterator<Item = &[u8]> {
    units_of(data).filter(move |unit| matches!(codec::kind(codec, unit), Kind::Set(_)))
}

fn units_of(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_first_chunk::<4>()?;
        let (unit, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        data = rest;
        Some(unit)
    })
}

/// Puts a parameter set before all but an access unit delimiter.
fn insert_first(codec: VideoCodec, data: &mut Vec<u8>, set: &[u8]) {
    let delimiter = match codec {
        VideoCodec::H264 => 9,
        VideoCodec::H265 => 35,
    };
    let first = units_of(data)
        .next()
        .filter(|unit| unit.first().is_some_and(|header| codec::unit_type(codec, *header) == delimiter));
    let at = first.map_or(0, |unit| 4 + unit.len());
    data.splice(at..at, prefixed(set));
}

fn prefixed(unit: &[u8]) -> Vec<u8> {
    [&(unit.len() as u32).to_be_bytes()[..], unit].concat()
}
