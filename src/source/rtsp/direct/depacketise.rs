//! RTP payloads to access units: H.264 (RFC 6184, packetisation modes 0 and 1) and H.265 (RFC 7798 without DONL).
//!
//! Invariant: an access unit that comes out has every byte that was sent of it since its first packet that was
//! received; one that lost a packet in its middle or at its end does not come out, and those packets are counted
//! with the next one that does. Parameter sets are taken out of it: they are in the sample description.
//! Absent on purpose: whatever a regular stream does not hold. It is an error here, and the next session is read by
//! the library that knows what cameras do instead.

use bytes::Bytes;

use crate::media::VideoCodec;

/// A whole coded picture.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) timestamp: i64,
    /// NAL units, each after its length in four bytes.
    pub(super) data: Vec<u8>,
    /// Packets lost between the last picture and this one.
    pub(super) lost_packets: u32,
    /// All parameter sets that it needs, where it came with some that are others than before.
    pub(super) new_sets: Option<ParameterSets>,
}

/// The parameter sets that pictures need now (H.264 §7.4.1.2.1, H.265 §7.4.2.4.2): the last of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ParameterSets {
    /// H.265 alone.
    pub(super) video: Bytes,
    pub(super) sequence: Bytes,
    pub(super) picture: Bytes,
}

/// How many pictures are looked through for start codes, which a regular stream does not hold: who puts them there does
/// so from the beginning.
const PICTURES_LOOKED_THROUGH: u32 = 64;
/// A picture's buffer begins with room for so much more than the last one had.
const ROOM: usize = 1024;

/// One stream's depacketiser.
#[derive(Debug)]
pub(super) struct Depacketiser {
    codec: VideoCodec,
    sets: ParameterSets,
    picture: Growing,
    /// The picture with this timestamp lost packets: what comes of it is passed over.
    discarded: Option<i64>,
    /// Packets lost since the last picture that came out.
    lost: u32,
    pictures: u32,
    last_bytes: usize,
}

/// The picture that grows.
#[derive(Debug, Default)]
struct Growing {
    timestamp: Option<i64>,
    data: Vec<u8>,
    /// Where the NAL unit begins that comes in fragments.
    fragmented: Option<usize>,
    /// Type of the last whole NAL unit.
    last: Option<u8>,
    sets: Vec<(Set, Bytes)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Video,
    Sequence,
    Picture,
}

impl ParameterSets {
    /// Whether none is missing.
    pub(super) fn are_whole(&self, codec: VideoCodec) -> bool {
        let with_video = codec == VideoCodec::H264 || !self.video.is_empty();
        with_video && !self.sequence.is_empty() && !self.picture.is_empty()
    }

    fn slot(&mut self, set: Set) -> &mut Bytes {
        match set {
            Set::Video => &mut self.video,
            Set::Sequence => &mut self.sequence,
            Set::Picture => &mut self.picture,
        }
    }
}

impl Depacketiser {
    pub(super) fn new(codec: VideoCodec, sets: ParameterSets) -> Self {
        let picture = Growing::default();
        Self { codec, sets, picture, discarded: None, lost: 0, pictures: 0, last_bytes: 0 }
    }

    /// Takes the next packet's payload; gives the pictures that it completes to `out`. After an error nothing more may
    /// be put in.
    pub(super) fn push(
        &mut self,
        timestamp: i64,
        marker: bool,
        lost: u32,
        payload: &[u8],
        mut out: impl FnMut(Picture),
    ) -> Result<(), String> {
        if lost > 0 {
            self.lost = self.lost.saturating_add(lost);
            // What is missing was the end of the picture that grew, or its middle.
            if let Some(growing) = std::mem::take(&mut self.picture).timestamp
                && growing == timestamp
            {
                self.discarded = Some(timestamp);
            }
        }
        if self.discarded.is_some_and(|discarded| discarded == timestamp) {
            return Ok(());
        }
        self.discarded = None;
        if self.picture.timestamp.is_some_and(|growing| growing != timestamp) {
            if self.picture.fragmented.is_some() {
                return Err("the timestamp changed in the middle of a fragmented NAL unit".to_owned());
            }
            // Some cameras give what goes before a picture another time than the picture itself.
            if self.picture.last.is_some_and(|last| self.may_end_with(last)) {
                out(self.complete());
            }
        }
        self.picture.timestamp = Some(timestamp);
        match self.codec {
            VideoCodec::H264 => self.h264(payload, marker, lost > 0)?,
            VideoCodec::H265 => self.h265(payload, marker, lost > 0)?,
        }
        if marker && self.picture.last.is_some_and(|last| self.may_end_with(last)) {
            out(self.complete());
        }
        Ok(())
    }

    /// RFC 6184 §5.2.
    fn h264(&mut self, payload: &[u8], marker: bool, after_loss: bool) -> Result<(), String> {
        let [indicator, rest @ ..] = payload else { return Err("Empty NAL unit".to_owned()) };
        if indicator & 0x80 != 0 {
            return Err(format!("NAL unit header {indicator:02x} has its forbidden bit set"));
        }
        match indicator & 0x1f {
            1..=23 => self.whole(payload),
            // STAP-A (§5.7.1).
            24 => self.aggregated(rest),
            // FU-A (§5.8).
            28 => {
                let [header, body @ ..] = rest else { return Err("FU-A packet is too short".to_owned()) };
                let unit = [indicator & 0xe0 | header & 0x1f];
                self.fragment(*header, &unit, body, marker, after_loss)
            }
            _ => Err(format!("NAL unit header {indicator:02x} is of no packetisation mode that is supported")),
        }
    }

    /// RFC 7798 §4.4.
    fn h265(&mut self, payload: &[u8], marker: bool, after_loss: bool) -> Result<(), String> {
        let [first, second, rest @ ..] = payload else { return Err("Short NAL unit".to_owned()) };
        if first & 0x80 != 0 {
            return Err(format!("NAL unit header {first:02x}{second:02x} has its forbidden bit set"));
        }
        match first >> 1 {
            0..=47 => self.whole(payload),
            48 => self.aggregated(rest),
            49 => {
                let [header, body @ ..] = rest else { return Err("FU packet is too short".to_owned()) };
                let unit = [first & 0x81 | (header & 0x3f) << 1, *second];
                self.fragment(*header, &unit, body, marker, after_loss)
            }
            kind => Err(format!("NAL unit type {kind} in an RTP packet is not supported")),
        }
    }

    /// Several NAL units, each after its length in two bytes.
    fn aggregated(&mut self, mut units: &[u8]) -> Result<(), String> {
        if units.is_empty() {
            return Err("aggregation packet is empty".to_owned());
        }
        while !units.is_empty() {
            let cut_off = || "aggregation packet is cut off".to_owned();
            let (length, rest) = units.split_first_chunk::<2>().ok_or_else(cut_off)?;
            let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or_else(cut_off)?;
            self.whole(unit)?;
            units = rest;
        }
        Ok(())
    }

    fn whole(&mut self, unit: &[u8]) -> Result<(), String> {
        if self.picture.fragmented.is_some() {
            return Err("whole NAL unit in the middle of a fragmented one".to_owned());
        }
        let begin = self.begin(&[]);
        self.picture.data.extend_from_slice(unit);
        self.end(begin)
    }

    /// A part of a NAL unit: `S`, `E` and the type in `header`, the unit's own header in `unit`.
    fn fragment(&mut self, header: u8, unit: &[u8], body: &[u8], marker: bool, after_loss: bool) -> Result<(), String> {
        let (start, end) = (header & 0x80 != 0, header & 0x40 != 0);
        if marker && !end {
            return Err("the picture ends before its fragmented NAL unit does".to_owned());
        }
        let begin = match (start, self.picture.fragmented) {
            (true, None) => self.begin(unit),
            (false, Some(begin)) => begin,
            (true, Some(_)) => return Err("fragmented NAL unit begins in the middle of another".to_owned()),
            (false, None) if after_loss || self.pictures == 0 => {
                // Its beginning was lost, or sent before we joined.
                self.discarded = self.picture.timestamp;
                self.picture = Growing::default();
                return Ok(());
            }
            (false, None) => return Err("fragment of a NAL unit that did not begin".to_owned()),
        };
        self.picture.data.extend_from_slice(body);
        self.picture.fragmented = (!end).then_some(begin);
        if end { self.end(begin) } else { Ok(()) }
    }

    /// Where a NAL unit begins, with room for its length; it begins with its header.
    fn begin(&mut self, header: &[u8]) -> usize {
        let data = &mut self.picture.data;
        if data.capacity() == 0 {
            data.reserve_exact(self.last_bytes + ROOM);
        }
        let begin = data.len();
        data.extend_from_slice(&[0; 4]);
        data.extend_from_slice(header);
        begin
    }

    /// The NAL unit that began there is whole.
    fn end(&mut self, begin: usize) -> Result<(), String> {
        let data = &mut self.picture.data;
        let unit = &data[begin + 4..];
        let (kind, set) = match (self.codec, unit) {
            (VideoCodec::H264, [header, ..]) => {
                let kind = header & 0x1f;
                (kind, [(7, Set::Sequence), (8, Set::Picture)].into_iter().find(|(k, _)| *k == kind))
            }
            (VideoCodec::H265, [first, _, ..]) => {
                let kind = first >> 1 & 0x3f;
                let sets = [(32, Set::Video), (33, Set::Sequence), (34, Set::Picture)];
                (kind, sets.into_iter().find(|(k, _)| *k == kind))
            }
            _ => return Err("Empty NAL unit".to_owned()),
        };
        let kinds = match self.codec {
            VideoCodec::H264 => 1..=23,
            VideoCodec::H265 => 0..=47,
        };
        if !kinds.contains(&kind) {
            return Err(format!("NAL unit of type {kind} inside another"));
        }
        let looked_through = self.pictures < PICTURES_LOOKED_THROUGH || !is_slice(self.codec, kind);
        if looked_through && unit.windows(3).any(|window| window == [0, 0, 1]) {
            return Err("start code inside a NAL unit".to_owned());
        }
        let length = u32::try_from(unit.len()).map_err(|_| "NAL unit of four gigabytes".to_owned())?;
        if let Some((_, set)) = set {
            if self.sets.slot(set) != unit {
                self.picture.sets.push((set, Bytes::copy_from_slice(unit)));
            }
            data.truncate(begin);
        } else {
            data[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
        }
        self.picture.last = Some(kind);
        Ok(())
    }

    /// Whether an access unit may end with a NAL unit of this type. Those that go before the first slice
    /// (H.264 §7.4.1.2.3, H.265 §7.4.2.4.4) do not end one, though some cameras set the marker on them.
    fn may_end_with(&self, kind: u8) -> bool {
        match self.codec {
            VideoCodec::H264 => !matches!(kind, 6..=8),
            VideoCodec::H265 => !matches!(kind, 32..=34 | 39 | 41..=44 | 48..=55),
        }
    }

    fn complete(&mut self) -> Picture {
        let Growing { timestamp, data, sets, .. } = std::mem::take(&mut self.picture);
        let is_new = !sets.is_empty();
        for (set, unit) in sets {
            *self.sets.slot(set) = unit;
        }
        let new_sets = is_new.then(|| self.sets.clone());
        self.pictures = self.pictures.saturating_add(1);
        self.last_bytes = data.len();
        let lost_packets = std::mem::take(&mut self.lost);
        Picture { timestamp: timestamp.unwrap_or_default(), data, lost_packets, new_sets }
    }
}

fn is_slice(codec: VideoCodec, kind: u8) -> bool {
    match codec {
        VideoCodec::H264 => (1..=5).contains(&kind),
        VideoCodec::H265 => kind < 32,
    }
}

#[cfg(test)]
mod tests;
