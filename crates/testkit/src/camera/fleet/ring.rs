//! The packets of some seconds of video, built once; a session patches into them what is its own, and sends them.

use std::ops::Range;

use bytes::Bytes;

use super::super::rtp::{Outbox, Packetiser};
use super::super::{Codec, splitmix};
use super::IMAGES_PER_SECOND;

/// Sequence parameter set of 1920×1080 at 25 images a second, main profile (as x264 writes it).
pub(super) const SPS: &[u8] = &[
    0x67, 0x4d, 0x40, 0x28, 0xda, 0x01, 0xe0, 0x08, 0x9f, 0x97, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00,
    0x03, 0x03, 0x20, 0xf1, 0x83, 0x2a,
];
/// Its picture parameter set.
pub(super) const PPS: &[u8] = &[0x68, 0xef, 0x0f, 0x2c, 0x80];

/// How the slices of an IDR picture and of the pictures after it begin.
const IDR_SLICE: &[u8] = &[0x65, 0x88, 0x84, 0xff, 0xad];
const P_SLICE: &[u8] = &[0x41, 0x9a, 0x26, 0x3f, 0xda];

/// Pictures from one random access point to the next: two seconds.
const GOP: usize = 2 * IMAGES_PER_SECOND as usize;
/// How much larger a random access point is than the pictures between.
const IDR_WEIGHT: usize = 8;
/// GOPs in the ring.
const GOPS: usize = 4;

/// What frames a packet on the RTSP connection (RFC 2326 §10.12).
const FRAME_BYTES: usize = 4;
const RTP_HEADER_BYTES: usize = 12;
/// A packet's last bytes say whose it is. No start code can be among them: their top bit is set.
const MARK_BYTES: usize = 8;

/// One picture's packets.
struct Picture {
    bytes: Range<usize>,
    /// Where each packet begins, as an index of the ring's bytes.
    packets: Range<usize>,
}

/// The packets of some GOPs, back to back.
pub(super) struct Ring {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    pictures: Vec<Picture>,
}

/// What a session patches into the packets of a picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub(super) channel: u8,
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    /// Unique among all pictures of all cameras.
    pub(super) mark: u64,
}

impl Ring {
    pub(super) fn new(bits_per_second: u64) -> Self {
        // A GOP has the bytes of its two seconds, whatever its pictures vary by.
        let gop_bytes = (bits_per_second / 8) as usize * GOP / IMAGES_PER_SECOND as usize;
        let mean = (gop_bytes / (GOP - 1 + IDR_WEIGHT)).max(64);
        let mut random = 1;
        let mut out = Outbox::new(Some((0, 1)));
        let mut packetiser = Packetiser::new(Codec::H264, 0, 0);
        let (mut starts, mut pictures) = (Vec::new(), Vec::new());
        for i in 0..GOP * GOPS {
            let random_access = i % GOP == 0;
            // Between 70 and 130% of the mean, one above for each below.
            let spread = (i / 2 * 7_919 % 31) * mean / 100;
            let size = match (random_access, i % 2) {
                (true, _) => mean * IDR_WEIGHT,
                (false, 0) => mean - spread,
                (false, _) => mean + spread,
            };
            let slice = slice(if random_access { IDR_SLICE } else { P_SLICE }, size, &mut random);
            let sets = [Bytes::from_static(SPS), Bytes::from_static(PPS)];
            let sets: &[Bytes] = if random_access { &sets } else { &[] };
            let (from, first) = (out.bytes().len(), starts.len());
            packetiser.unit(sets, &[&slice], 0, &mut out, &mut || false);
            starts.extend(packet_starts(out.bytes(), from));
            pictures.push(Picture { bytes: from..out.bytes().len(), packets: first..starts.len() });
        }
        Self { bytes: out.bytes().to_vec(), starts, pictures }
    }

    /// How many pictures it has; the first is a random access point.
    pub(super) fn len(&self) -> usize {
        self.pictures.len()
    }

    /// What a camera sends in a second.
    pub(super) fn bytes_a_second(&self) -> usize {
        self.bytes.len() / (2 * GOPS)
    }

    /// A picture's packets as this session sends them, and how many they are.
    pub(super) fn picture(&mut self, nth: usize, own: Own) -> (&[u8], u16) {
        let Picture { bytes, packets } = &self.pictures[nth];
        let mark = mark(own.mark);
        let mut sequence = own.sequence;
        for (i, &start) in self.starts[packets.clone()].iter().enumerate() {
            let end = self.starts.get(packets.start + i + 1).copied().unwrap_or(self.bytes.len());
            let packet = &mut self.bytes[start..end];
            packet[1] = own.channel;
            let header = &mut packet[FRAME_BYTES..FRAME_BYTES + RTP_HEADER_BYTES];
            header[2..4].copy_from_slice(&sequence.to_be_bytes());
            header[4..8].copy_from_slice(&own.timestamp.to_be_bytes());
            header[8..12].copy_from_slice(&own.ssrc.to_be_bytes());
            // Parameter sets are every camera's alike, and too short to hold it.
            if packet.len() > 128 {
                let at = packet.len() - MARK_BYTES;
                packet[at..].copy_from_slice(&mark);
            }
            sequence = sequence.wrapping_add(1);
        }
        (&self.bytes[bytes.clone()], packets.len() as u16)
    }
}

/// A number of 56 bits in bytes whose top bit is set.
fn mark(value: u64) -> [u8; MARK_BYTES] {
    std::array::from_fn(|i| (value >> (7 * i)) as u8 | 0x80)
}

/// A slice of random bytes among which there is no zero, and so no start code.
fn slice(head: &[u8], size: usize, random: &mut u64) -> Vec<u8> {
    let mut slice = head.to_vec();
    while slice.len() < size.max(head.len() + 64) {
        slice.extend(splitmix(random).to_be_bytes().map(|byte| byte.max(1)));
    }
    slice
}

fn packet_starts(bytes: &[u8], from: usize) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = from;
    while let Some(frame) = bytes.get(at..at + FRAME_BYTES) {
        starts.push(at);
        at += FRAME_BYTES + usize::from(u16::from_be_bytes([frame[2], frame[3]]));
    }
    starts
}
