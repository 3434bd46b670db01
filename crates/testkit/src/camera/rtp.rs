//! RTP packets (RFC 3550) of H.264 (RFC 6184) and H.265 (RFC 7798), and RTCP sender reports.

use std::cell::Cell;
use std::ops::Range;

use bytes::Bytes;

use super::quirk::Quirk;
use super::stream::Codec;

/// Payload bytes of one packet.
const PAYLOAD_MAX: usize = 1_400;
/// Dynamic payload type that the description names.
pub(super) const PAYLOAD_TYPE: u8 = 96;

/// A quirk that concerns some packets concerns one of so many, and one that concerns some pictures one of so many.
const ODD_PACKETS: u32 = 20;
const ODD_UNITS: u32 = 25;

/// Channels of the RTSP connection (RFC 2326 §10.12): of RTP, then of RTCP.
pub(super) type Channels = (u8, u8);

/// The packets of one picture, back to back in a buffer that the next picture uses again: one write sends them all.
#[derive(Debug)]
pub(super) struct Outbox {
    /// What the packets are framed for; `None` for datagrams.
    channels: Option<Channels>,
    bytes: Vec<u8>,
    /// Where each datagram lies, and whether it is RTP.
    datagrams: Vec<(bool, Range<usize>)>,
}

impl Outbox {
    pub(super) fn new(channels: Option<Channels>) -> Self {
        Self { channels, bytes: Vec::new(), datagrams: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
    }

    /// Adds a packet: its header, then the parts of its payload.
    pub(super) fn put(&mut self, is_rtp: bool, header: &[u8], payload: &[&[u8]]) {
        let length = header.len() + payload.iter().map(|part| part.len()).sum::<usize>();
        if let Some((rtp, rtcp)) = self.channels {
            self.bytes.extend_from_slice(&[b'$', if is_rtp { rtp } else { rtcp }]);
            self.bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(header);
        payload.iter().for_each(|part| self.bytes.extend_from_slice(part));
        if self.channels.is_none() {
            self.datagrams.push((is_rtp, start..self.bytes.len()));
        }
    }

    /// Everything, framed for the connection.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Each datagram, and whether it is RTP.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (bool, &[u8])> {
        self.datagrams.iter().map(|(is_rtp, range)| (*is_rtp, &self.bytes[range.clone()]))
    }
}

/// What was lost of an access unit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// A packet of its parameter sets.
    pub(super) parameter_sets: bool,
    /// Places of the NAL units that did not go out whole.
    pub(super) nals: Vec<usize>,
}

impl Lost {
    pub(super) fn nothing(&self) -> bool {
        !self.parameter_sets && self.nals.is_empty()
    }
}

/// One session's packetiser.
#[derive(Debug)]
pub(super) struct Packetiser {
    pub(super) codec: Codec,
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    pub(super) quirk: Quirk,
    packets: u32,
    octets: u32,
    units: u32,
    /// Added to timestamps.
    offset: u32,
    /// A packet that goes out after the next one.
    held: Option<Vec<u8>>,
    /// The header extension of the next packet (RFC 3550 §5.3.1).
    pub(super) extension: Option<[u8; 16]>,
}

impl Packetiser {
    pub(super) fn new(codec: Codec, ssrc: u32, sequence: u16) -> Self {
        let quirk = Quirk::None;
        Self { codec, ssrc, sequence, quirk, packets: 0, octets: 0, units: 0, offset: 0, held: None, extension: None }
    }

    /// Puts an access unit into `out`, the marker on its last packet, without the packets that `lost` takes. Parameter
    /// sets share one packet where they fit.
    pub(super) fn unit(
        &mut self,
        parameter_sets: &[Bytes],
        nals: &[&[u8]],
        timestamp: u32,
        out: &mut Outbox,
        lost: &mut dyn FnMut() -> bool,
    ) -> Lost {
        let hit = Cell::new(false);
        self.units += 1;
        if self.units.is_multiple_of(ODD_UNITS) {
            self.begin_again();
        }
        let timestamp = self.timestamp(timestamp);
        let mut packet = |this: &mut Self, payload: &[&[u8]], marker: bool| {
            let header = this.header(timestamp, marker, payload);
            if lost() {
                hit.set(true);
            } else {
                this.put(header, payload, marker, out);
            }
        };
        match self.aggregation(parameter_sets) {
            Some(payload) => packet(self, &[&payload], false),
            None => parameter_sets.iter().for_each(|set| self.nal(set, false, &mut packet)),
        }
        let mut missing = Lost { parameter_sets: hit.take(), nals: Vec::new() };
        for (i, nal) in nals.iter().enumerate() {
            self.nal(nal, i + 1 == nals.len(), &mut packet);
            if hit.take() {
                missing.nals.push(i);
            }
        }
        missing
    }

    fn begin_again(&mut self) {
        match self.quirk {
            Quirk::SequenceRestarts => self.sequence = 0,
            Quirk::SourceChanges => {
                (self.ssrc, self.sequence) = (self.ssrc.wrapping_add(0x0101_0101), self.sequence.wrapping_add(0x4321));
                self.offset = self.offset.wrapping_add(0x3456_789a);
            }
            _ => {}
        }
    }

    fn timestamp(&self, timestamp: u32) -> u32 {
        if self.quirk == Quirk::ConstantTimestamp { 1 } else { timestamp.wrapping_add(self.offset) }
    }

    /// Sends a packet, with what is odd about it.
    fn put(&mut self, mut header: [u8; 12], payload: &[&[u8]], marker: bool, out: &mut Outbox) {
        let now_and_then = self.packets.is_multiple_of(ODD_PACKETS);
        if let Some(extension) = self.extension.take() {
            header[0] |= 0x10;
            return out.put(true, &[&header[..], &extension].concat(), payload);
        }
        match self.quirk {
            Quirk::MarkEveryPacket => header[1] |= 0x80,
            Quirk::NoMarker => header[1] &= 0x7f,
            Quirk::OtherPayloadType => header[1] = header[1] & 0x80 | (PAYLOAD_TYPE + 2),
            Quirk::LongHeaders => {
                header[0] = 0xb2;
                let head = [&header[..], &[0; 8], &[0xab, 0xac, 0, 1, 0, 0, 0, 0]].concat();
                return out.put(true, &head, &[payload, &[&[0, 0, 0, 4]]].concat());
            }
            Quirk::SwappedPackets if now_and_then && !marker && self.held.is_none() => {
                self.held = Some([&[&header[..]], payload].concat().concat());
                return;
            }
            Quirk::DuplicatePackets if now_and_then => out.put(true, &header, payload),
            _ => {}
        }
        out.put(true, &header, payload);
        if let Some(held) = self.held.take() {
            out.put(true, &held, &[]);
        }
        match self.quirk {
            Quirk::EmptyPackets if marker => {
                let timestamp = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                let empty = self.header(timestamp, false, &[]);
                out.put(true, &empty, &[]);
            }
            Quirk::ForeignPackets if marker => {
                header[1] = 50;
                header[2..4].copy_from_slice(&self.sequence.to_be_bytes());
                out.put(true, &header, &[&[1; 15]]);
            }
            _ => {}
        }
    }

    /// A single NAL unit packet, or fragmentation units (RFC 6184 §5.8, RFC 7798 §4.4.3).
    fn nal(&mut self, nal: &[u8], last: bool, packet: &mut impl FnMut(&mut Self, &[&[u8]], bool)) {
        if nal.len() <= PAYLOAD_MAX {
            return packet(self, &[nal], last);
        }
        let h264 = [nal[0] & 0xe0 | 28];
        let h265 = [nal[0] & 0x81 | 49 << 1, nal[1]];
        let (head, kind): (&[u8], u8) = match self.codec {
            Codec::H264 => (&h264, nal[0] & 0x1f),
            Codec::H265 => (&h265, nal[0] >> 1 & 0x3f),
        };
        let body = &nal[head.len()..];
        let count = body.len().div_ceil(PAYLOAD_MAX - 3);
        for (i, piece) in body.chunks(PAYLOAD_MAX - 3).enumerate() {
            let start = if i == 0 { 0x80 } else { 0 };
            let end = if i + 1 == count && self.quirk != Quirk::NoEndBit { 0x40 } else { 0 };
            let kind = if i > 0 && self.quirk == Quirk::FragmentTypeChanges { 1 } else { kind };
            packet(self, &[head, &[start | end | kind], piece], last && i + 1 == count);
        }
    }

    /// Several NAL units in one packet (STAP-A of RFC 6184 §5.7.1, AP of RFC 7798 §4.4.2), if they are, and fit.
    fn aggregation(&self, nals: &[Bytes]) -> Option<Vec<u8>> {
        let length: usize = nals.iter().map(|nal| 2 + nal.len()).sum();
        if nals.len() < 2 || 2 + length > PAYLOAD_MAX {
            return None;
        }
        let mut payload = match self.codec {
            Codec::H264 => vec![nals.iter().map(|nal| nal[0] & 0x60).max().unwrap_or(0) | 24],
            Codec::H265 => vec![48 << 1, 1],
        };
        for nal in nals {
            payload.extend_from_slice(&(nal.len() as u16).to_be_bytes());
            payload.extend_from_slice(nal);
        }
        Some(payload)
    }

    fn header(&mut self, timestamp: u32, marker: bool, payload: &[&[u8]]) -> [u8; 12] {
        let mut header = [0x80, PAYLOAD_TYPE | if marker { 0x80 } else { 0 }, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        header[4..8].copy_from_slice(&timestamp.to_be_bytes());
        header[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        let octets: usize = payload.iter().map(|part| part.len()).sum();
        self.octets = self.octets.wrapping_add(octets as u32);
        header
    }

    /// A sender report of what was sent so far.
    pub(super) fn sender_report(&self, ntp: u64, timestamp: u32) -> [u8; 28] {
        let timestamp = self.timestamp(timestamp);
        sender_report(self.ssrc, ntp, timestamp, self.packets, self.octets)
    }
}

/// A sender report (RFC 3550 §6.4.1) without reception blocks.
pub(super) fn sender_report(ssrc: u32, ntp: u64, timestamp: u32, packets: u32, octets: u32) -> [u8; 28] {
    let mut report = [0; 28];
    report[..4].copy_from_slice(&[0x80, 200, 0, 6]);
    report[4..8].copy_from_slice(&ssrc.to_be_bytes());
    report[8..16].copy_from_slice(&ntp.to_be_bytes());
    report[16..20].copy_from_slice(&timestamp.to_be_bytes());
    report[20..24].copy_from_slice(&packets.to_be_bytes());
    report[24..].copy_from_slice(&octets.to_be_bytes());
    report
}

/// A user-data SEI message (ITU-T H.264 §D.1.7, H.265 §D.2.7) that no other access unit has. Its content is hexadecimal
/// digits, among which no start code can be.
pub(super) fn unique_sei(codec: Codec, who: u64, count: u64) -> Bytes {
    let mut nal = match codec {
        Codec::H264 => vec![0x06],
        Codec::H265 => vec![39 << 1, 1],
    };
    nal.extend_from_slice(&[5, 48]);
    nal.extend_from_slice(b"vigie-simulation");
    nal.extend_from_slice(format!("{who:016x}{count:016x}").as_bytes());
    nal.push(0x80);
    nal.into()
}

/// A user-data SEI message with start codes in it, and without the emulation prevention bytes that it would need.
pub(super) fn sei_with_start_codes(codec: Codec) -> Bytes {
    let head: &[u8] = match codec {
        Codec::H264 => &[0x06],
        Codec::H265 => &[39 << 1, 1],
    };
    [head, &[5, 28], b"vigie-simulation", &[0, 0, 1, 0x65, 0, 0, 0, 1, 0x26, 1, 0, 0, 0x80]].concat().into()
}

/// An access unit delimiter (ITU-T H.264 §7.3.2.4, H.265 §7.3.2.5).
pub(super) fn delimiter(codec: Codec) -> Bytes {
    match codec {
        Codec::H264 => Bytes::from_static(&[0x09, 0xf0]),
        Codec::H265 => Bytes::from_static(&[35 << 1, 1, 0x50]),
    }
}

/// Filler data (ITU-T H.264 §7.3.2.7, H.265 §7.3.2.8).
pub(super) fn filler(codec: Codec, bytes: usize) -> Bytes {
    let mut nal = match codec {
        Codec::H264 => vec![12],
        Codec::H265 => vec![38 << 1, 1],
    };
    nal.resize(nal.len() + bytes, 0xff);
    nal.push(0x80);
    nal.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(codec: Codec, sets: &[Bytes], nals: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut out = Outbox::new(None);
        let mut packetiser = Packetiser::new(codec, 7, u16::MAX);
        assert!(packetiser.unit(sets, nals, 90_000, &mut out, &mut || false).nothing());
        out.datagrams().map(|(_, datagram)| datagram.to_vec()).collect()
    }

    #[test]
    fn sequence_numbers_wrap_and_only_the_last_packet_of_a_picture_has_the_marker() {
        let slice = vec![0x65; 3 * PAYLOAD_MAX];
        let packets = packets(Codec::H264, &[], &[&[0x06, 5], &slice]);
        let sequence: Vec<u16> = packets.iter().map(|p| u16::from_be_bytes([p[2], p[3]])).collect();
        assert_eq!(sequence, [65_535, 0, 1, 2, 3]);
        let marked: Vec<bool> = packets.iter().map(|p| p[1] & 0x80 != 0).collect();
        assert_eq!(marked, [false, false, false, false, true]);
    }

    #[test]
    fn fragments_of_a_nal_unit_put_together_are_the_nal_unit() {
        for (codec, head, fu_type) in [(Codec::H264, vec![0x65], 28), (Codec::H265, vec![19 << 1, 1], 49)] {
            let nal: Vec<u8> = head.iter().copied().chain((0..5_000).map(|i| i as u8)).collect();
            let packets = packets(codec, &[], &[&nal]);
            let (mut whole, last) = (head.clone(), packets.len() - 1);
            for (i, packet) in packets.iter().enumerate() {
                let fu = &packet[12..];
                let kind = if codec == Codec::H264 { fu[0] & 0x1f } else { fu[0] >> 1 };
                assert_eq!((kind, packet.len() <= 12 + PAYLOAD_MAX), (fu_type, true));
                let flags = fu[head.len()] & 0xc0;
                assert_eq!(flags, if i == 0 { 0x80 } else { 0 } | if i == last { 0x40 } else { 0 });
                whole.extend_from_slice(&fu[head.len() + 1..]);
            }
            assert!(whole == nal, "{codec:?}");
        }
    }

    #[test]
    fn parameter_sets_share_a_packet_where_they_fit() {
        let sets = |length: usize| [Bytes::from(vec![0x67; length]), Bytes::from_static(&[0x68, 1])];
        let short = packets(Codec::H264, &sets(3), &[&[0x65, 1]]);
        assert_eq!(short.len(), 2);
        assert_eq!(short[0][12..], [0x60 | 24, 0, 3, 0x67, 0x67, 0x67, 0, 2, 0x68, 1]);
        assert_eq!(packets(Codec::H264, &sets(PAYLOAD_MAX), &[&[0x65, 1]]).len(), 3);
    }

    #[test]
    fn a_lost_packet_leaves_a_hole_in_the_sequence_and_is_said() {
        let mut out = Outbox::new(Some((2, 3)));
        let mut packetiser = Packetiser::new(Codec::H264, 7, 10);
        let mut turn = 0;
        let mut second = || {
            turn += 1;
            turn == 2
        };
        let lost = packetiser.unit(&[], &[&[0x06], &[0x06], &[0x65]], 0, &mut out, &mut second);
        assert_eq!(lost, Lost { parameter_sets: false, nals: vec![1] });
        let sequence: Vec<u8> = out.bytes().chunks(4 + 13).map(|p| p[4 + 3]).collect();
        assert_eq!(sequence, [10, 12]);
        assert!(out.bytes().starts_with(&[b'$', 2, 0, 13, 0x80, 96]));
    }
}
