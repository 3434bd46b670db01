//! RTP packets (RFC 3550) of H.264 (RFC 6184) and H.265 (RFC 7798), and RTCP sender reports.

use bytes::Bytes;

use super::stream::Codec;

/// Payload bytes of one packet.
const PAYLOAD_MAX: usize = 1_400;
/// Dynamic payload type that the description names.
pub(super) const PAYLOAD_TYPE: u8 = 96;

/// One session's packetiser.
#[derive(Debug)]
pub(super) struct Packetiser {
    pub(super) codec: Codec,
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    packets: u32,
    octets: u32,
}

impl Packetiser {
    pub(super) fn new(codec: Codec, ssrc: u32, sequence: u16) -> Self {
        Self { codec, ssrc, sequence, packets: 0, octets: 0 }
    }

    /// Gives every packet of an access unit to `out`, the marker on the last.
    pub(super) fn unit(&mut self, nals: &[&[u8]], timestamp: u32, mut out: impl FnMut(&[u8])) {
        for (i, nal) in nals.iter().enumerate() {
            self.nal(nal, timestamp, i + 1 == nals.len(), &mut out);
        }
    }

    fn nal(&mut self, nal: &[u8], timestamp: u32, last: bool, out: &mut impl FnMut(&[u8])) {
        if nal.len() <= PAYLOAD_MAX {
            return self.packet(&[], nal, timestamp, last, out);
        }
        // Fragmentation units: RFC 6184 §5.8, RFC 7798 §4.4.3.
        let (head, body) = match self.codec {
            Codec::H264 => (vec![nal[0] & 0xe0 | 28], &nal[1..]),
            Codec::H265 => (vec![nal[0] & 0x81 | 49 << 1, nal[1]], &nal[2..]),
        };
        let kind = match self.codec {
            Codec::H264 => nal[0] & 0x1f,
            Codec::H265 => nal[0] >> 1 & 0x3f,
        };
        let pieces = body.chunks(PAYLOAD_MAX - 3);
        let count = pieces.len();
        for (i, piece) in pieces.enumerate() {
            let start = if i == 0 { 0x80 } else { 0 };
            let end = if i + 1 == count { 0x40 } else { 0 };
            let mut prefix = head.clone();
            prefix.push(start | end | kind);
            self.packet(&prefix, piece, timestamp, last && i + 1 == count, out);
        }
    }

    fn packet(&mut self, prefix: &[u8], payload: &[u8], timestamp: u32, marker: bool, out: &mut impl FnMut(&[u8])) {
        let mut packet = Vec::with_capacity(12 + prefix.len() + payload.len());
        packet.extend_from_slice(&[0x80, PAYLOAD_TYPE | if marker { 0x80 } else { 0 }]);
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        packet.extend_from_slice(prefix);
        packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add((prefix.len() + payload.len()) as u32);
        out(&packet);
    }

    /// A sender report (RFC 3550 §6.4.1) without reception blocks.
    pub(super) fn sender_report(&self, ntp: u64, timestamp: u32) -> Vec<u8> {
        let mut report = vec![0x80, 200, 0, 6];
        report.extend_from_slice(&self.ssrc.to_be_bytes());
        report.extend_from_slice(&ntp.to_be_bytes());
        report.extend_from_slice(&timestamp.to_be_bytes());
        report.extend_from_slice(&self.packets.to_be_bytes());
        report.extend_from_slice(&self.octets.to_be_bytes());
        report
    }
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
