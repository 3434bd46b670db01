//! RTP payloads to sound frames: G.711 (RFC 3551 §4.5.14) and AAC (RFC 3640 §3.3.6, mode AAC-hbr).
//!
//! Invariant: a frame comes out whole or not at all. Absent on purpose: other codings, which MP4 has no entry for.

/// How sound is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum SoundCoding {
    /// A packet is a frame.
    G711,
    /// Frames of so many samples, each with its size in the packet's header.
    Aac { frame_samples: i64 },
}

/// A frame of sound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SoundFrame {
    pub(super) timestamp: i64,
    pub(super) lost_packets: u32,
    pub(super) data: Vec<u8>,
}

/// One audio stream's.
#[derive(Debug)]
pub(super) struct SoundDepacketiser {
    coding: SoundCoding,
    /// A frame that comes in several packets: its size, when it is sampled, what has come of it.
    fragmented: Option<(usize, i64, Vec<u8>)>,
    lost: u32,
}

impl SoundDepacketiser {
    pub(super) fn new(coding: SoundCoding) -> Self {
        Self { coding, fragmented: None, lost: 0 }
    }

    /// Takes the next packet's payload, before which `lost` are missing; gives the frames that it completes to `out`. What
    /// cannot be read counts as lost.
    pub(super) fn push(&mut self, timestamp: i64, lost: u32, payload: &[u8], mut out: impl FnMut(SoundFrame)) {
        if lost > 0 {
            self.fragmented = None;
            self.lost = self.lost.saturating_add(lost);
        }
        if payload.is_empty() {
            return;
        }
        match self.coding {
            SoundCoding::G711 => out(self.frame(timestamp, payload.to_vec())),
            SoundCoding::Aac { frame_samples } => {
                if self.aac(timestamp, payload, frame_samples, &mut out).is_none() {
                    self.fragmented = None;
                    self.lost = self.lost.saturating_add(1);
                }
            }
        }
    }

    fn frame(&mut self, timestamp: i64, data: Vec<u8>) -> SoundFrame {
        SoundFrame { timestamp, lost_packets: std::mem::take(&mut self.lost), data }
    }

    /// RFC 3640 §3.2: the length of the headers in bits, headers of 13 bits of size and 3 of index, frames.
    fn aac(
        &mut self,
        timestamp: i64,
        payload: &[u8],
        frame_samples: i64,
        out: &mut impl FnMut(SoundFrame),
    ) -> Option<()> {
        let (bits, rest) = payload.split_first_chunk::<2>()?;
        let headers = usize::from(u16::from_be_bytes(*bits)) / 16;
        let (headers, mut data) = rest.split_at_checked(headers * 2)?;
        let mut sizes =
            headers.chunks_exact(2).map(|header| usize::from(u16::from_be_bytes([header[0], header[1]]) >> 3));
        if headers.len() == 2 {
            return self.aac_alone(timestamp, sizes.next()?, data, out);
        }
        for (place, size) in sizes.enumerate() {
            let (frame, rest) = data.split_at_checked(size)?;
            out(self.frame(timestamp + place as i64 * frame_samples, frame.to_vec()));
            data = rest;
        }
        Some(())
    }

    /// One frame, or a part of one.
    fn aac_alone(&mut self, timestamp: i64, size: usize, data: &[u8], out: &mut impl FnMut(SoundFrame)) -> Option<()> {
        let (whole, timestamp, mut frame) = self.fragmented.take().unwrap_or((size, timestamp, Vec::new()));
        if frame.is_empty() && data.len() >= size {
            out(self.frame(timestamp, data[..size].to_vec()));
            return Some(());
        }
        if whole != size || frame.len() + data.len() > size {
            return None;
        }
        frame.extend_from_slice(data);
        if frame.len() == size {
            out(self.frame(timestamp, frame));
        } else {
            self.fragmented = Some((size, timestamp, frame));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(coding: SoundCoding, packets: &[(i64, u32, &[u8])], expect: &[(i64, u32, &[u8])]) {
        let (mut depacketiser, mut frames) = (SoundDepacketiser::new(coding), Vec::new());
        for &(timestamp, lost, payload) in packets {
            depacketiser.push(timestamp, lost, payload, |f| frames.push((f.timestamp, f.lost_packets, f.data)));
        }
        let expect: Vec<_> = expect.iter().map(|(t, l, d)| (*t, *l, d.to_vec())).collect();
        assert_eq!(frames, expect);
    }

    #[test]
    fn a_packet_of_g711_is_a_frame() {
        check(SoundCoding::G711, &[(0, 0, &[1, 2]), (2, 0, &[]), (4, 2, &[5])], &[(0, 0, &[1, 2]), (4, 2, &[5])]);
    }

    #[test]
    fn frames_of_aac_come_alone_together_and_in_parts() {
        let coding = SoundCoding::Aac { frame_samples: 1_024 };
        check(coding, &[(0, 0, &[0, 16, 0, 16, 7, 8])], &[(0, 0, &[7, 8])]);
        check(coding, &[(0, 0, &[0, 32, 0, 8, 0, 16, 7, 8, 9])], &[(0, 0, &[7]), (1_024, 0, &[8, 9])]);
        check(coding, &[(5, 0, &[0, 16, 0, 24, 7, 8]), (5, 0, &[0, 16, 0, 24, 9])], &[(5, 0, &[7, 8, 9])]);
        // The second part is lost, and with it the frame.
        let parts: [(i64, u32, &[u8]); 2] = [(5, 0, &[0, 16, 0, 24, 7, 8]), (9, 1, &[0, 16, 0, 8, 1])];
        check(coding, &parts, &[(9, 1, &[1])]);
        check(coding, &[(0, 0, &[0, 32, 0, 8]), (3, 0, &[0, 16, 0, 8, 1])], &[(3, 1, &[1])]);
    }
}
