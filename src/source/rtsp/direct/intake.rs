//! What was read of a session, taken apart: interleaved packets (RFC 2326 §10.12) with RTP and RTCP in them, and answers
//! between them.
//!
//! Invariant: what comes out does not depend on how the bytes were cut into reads. An odd packet costs at most itself, and
//! is counted. No I/O.

use std::collections::VecDeque;

use bytes::Bytes;
use rtsp_types::Response;

use crate::clock::Reading;
use crate::media::{Oddity, OddityCounts, VideoCodec, VideoParams};

use super::super::codec::ParameterSets;
use super::super::items::{Coded, Heard};
use super::access_unit::AccessUnit;
use super::connection::{self, Incoming};
use super::depacketise::Depacketiser;
use super::rtp::{self, Line, Packet};

/// Ticks a second that video timestamps come out in.
const CLOCK_RATE: u32 = 90_000;
/// A larger picture is not put together.
const PICTURE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How the packets of the video stream look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// As the description says.
    pub(super) payload_type: u8,
    pub(super) clock_rate: u32,
    /// As the answer to SETUP says.
    pub(super) ssrc: Option<u32>,
}

/// One session's.
#[derive(Debug)]
pub(super) struct Intake {
    /// Of RTP packets; RTCP's is the next.
    channel: u8,
    clock_rate: u32,
    line: Line,
    depacketiser: Depacketiser,
    /// Taken, oldest first.
    pub(super) heard: VecDeque<Heard>,
    pub(super) odd: OddityCounts,
}

impl Intake {
    pub(super) fn new(channel: u8, codec: VideoCodec, sets: ParameterSets, format: Format) -> Self {
        let Format { payload_type, clock_rate, ssrc } = format;
        Self {
            channel,
            clock_rate,
            line: Line::new(payload_type, clock_rate, ssrc),
            depacketiser: Depacketiser::new(codec, sets, PICTURE_BYTES_MAX),
            heard: VecDeque::new(),
            odd: OddityCounts::default(),
        }
    }

    /// The sample description, once there are enough parameter sets.
    pub(super) fn params(&self) -> Option<&VideoParams> {
        self.depacketiser.params()
    }

    /// Takes every whole packet and message; gives how many bytes they are. After an error nothing more may be put in.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        received: Reading,
        mut answered: impl FnMut(&Response<Vec<u8>>),
    ) -> Result<usize, String> {
        let mut rest = bytes;
        while let Some((used, message)) = connection::next_message(rest).map_err(|e| e.to_string())? {
            match message {
                Incoming::Packet { channel, packet } if channel == self.channel => self.rtp(packet, received)?,
                Incoming::Packet { channel, packet } if self.channel.checked_add(1) == Some(channel) => {
                    self.rtcp(packet);
                }
                Incoming::Packet { .. } => self.odd.add(Oddity::UnknownChannel),
                Incoming::Answer(answer) => answered(&answer),
                Incoming::Other => {}
            }
            rest = &rest[used..];
        }
        Ok(bytes.len() - rest.len())
    }

    /// An RTP packet. An error means that nothing more can come of the stream.
    #[inline]
    pub(super) fn rtp(&mut self, packet: &[u8], received: Reading) -> Result<(), String> {
        if rtp::is_report(packet) {
            self.odd.add(Oddity::ReportAmongPackets);
            self.rtcp(packet);
            return Ok(());
        }
        let Some(packet) = Packet::parse(packet) else {
            self.odd.add(Oddity::CorruptPacket);
            return Ok(());
        };
        let Self { line, depacketiser, heard, odd, clock_rate, .. } = self;
        let mut done = Ok(());
        line.take(&packet, received, odd, &mut |placed, odd| {
            if done.is_ok() {
                let out = |unit| heard.push_back(picture(unit, *clock_rate));
                done = depacketiser.push(placed.arrival(), placed.lost, placed.payload, odd, out);
            }
        });
        done
    }

    /// An RTCP packet.
    pub(super) fn rtcp(&mut self, packet: &[u8]) {
        if let Some((timestamp, ntp)) = self.line.sender_report(packet, &mut self.odd) {
            let timestamp = in_ticks(timestamp, self.clock_rate);
            self.heard.push_back(Heard::Report { timestamp, ntp });
        }
    }

    /// Whether something is held that comes out after a while, whatever comes.
    pub(super) fn awaits_quiet(&self) -> bool {
        self.depacketiser.awaits_quiet() || self.line.holds()
    }

    /// Nothing has come for [`QUIET`](super::access_unit::QUIET).
    pub(super) fn quiet(&mut self, received: Reading) -> Result<(), String> {
        self.flush_line(received)?;
        let Self { depacketiser, heard, odd, clock_rate, .. } = self;
        depacketiser.quiet(odd, |unit| heard.push_back(picture(unit, *clock_rate)))
    }

    /// Nothing comes any more: what is left comes out.
    pub(super) fn finish(&mut self, received: Reading) {
        // The session is over: that nothing more could come of it is no news.
        let _ = self.flush_line(received);
        let Self { depacketiser, heard, odd, clock_rate, .. } = self;
        depacketiser.finish(odd, |unit| heard.push_back(picture(unit, *clock_rate)));
    }

    fn flush_line(&mut self, received: Reading) -> Result<(), String> {
        let Self { line, depacketiser, heard, odd, clock_rate, .. } = self;
        let mut done = Ok(());
        line.flush(received, odd, &mut |placed, odd| {
            if done.is_ok() {
                let out = |unit| heard.push_back(picture(unit, *clock_rate));
                done = depacketiser.push(placed.arrival(), placed.lost, placed.payload, odd, out);
            }
        });
        done
    }
}

fn picture(unit: AccessUnit, clock_rate: u32) -> Heard {
    let AccessUnit { timestamp, data, lost_packets, new_params, random_access, received } = unit;
    let (timestamp, data) = (in_ticks(timestamp, clock_rate), Bytes::from(data));
    Heard::Picture(Coded { timestamp, data, lost_packets, new_params, random_access, received })
}

fn in_ticks(timestamp: i64, clock_rate: u32) -> i64 {
    if clock_rate == CLOCK_RATE {
        return timestamp;
    }
    let ticks = i128::from(timestamp) * i128::from(CLOCK_RATE) / i128::from(clock_rate.max(1));
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::units::WallTime;

    const NOW: Reading = Reading { wall: WallTime(0), mono: Duration::ZERO };
    const FORMAT: Format = Format { payload_type: 96, clock_rate: 90_000, ssrc: None };

    /// Sets of x264 at 320×240.
    const SPS: &[u8] = &[
        0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x6a, 0x0c, 0x0c, 0x0d, 0x4a, 0x00, 0x00, 0x03, 0x00,
        0x02, 0x00, 0x00, 0x03, 0x00, 0x65, 0x1e, 0x28, 0x54, 0x90,
    ];
    const PPS: &[u8] = &[0x68, 0xcb, 0x8c, 0xb2];

    fn packet(channel: u8, packet: &[u8]) -> Vec<u8> {
        [&[b'$', channel], &(packet.len() as u16).to_be_bytes()[..], packet].concat()
    }

    fn rtp(seq: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
        let head = [0x80, u8::from(marker) << 7 | 96];
        let bytes = [&head[..], &seq.to_be_bytes(), &timestamp.to_be_bytes(), &[0, 0, 0, 7], payload].concat();
        packet(0, &bytes)
    }

    /// Two pictures before the first parameter sets, two with sets of their own, a report, an answer, foreign packets.
    fn session() -> Vec<u8> {
        let other = [&SPS[..3], &[0x0e], &SPS[4..]].concat();
        let report = [&[0x80, 200, 0, 6, 0, 0, 0, 7][..], &9u64.to_be_bytes(), &[0, 0, 0, 5], &[0; 8]].concat();
        [
            rtp(1, 0, true, &[0x41, 0x9a]),
            rtp(3, 3_600, true, &[0x41, 0x9a, 1]),
            rtp(4, 7_200, false, SPS),
            rtp(5, 7_200, false, PPS),
            rtp(6, 7_200, true, &[0x65, 0x88, 1]),
            packet(1, &report),
            packet(6, &[1, 2, 3]),
            b"RTSP/1.0 200 OK\r\nCSeq: 7\r\nContent-Length: 3\r\n\r\n$$$".to_vec(),
            rtp(7, 10_800, false, &other),
            rtp(8, 10_800, true, &[0x65, 0x88, 2]),
            rtp(9, 14_400, false, &[0x7c, 0x81, 0x9a]),
            rtp(10, 14_400, true, &[0x7c, 0x41, 1]),
        ]
        .concat()
    }

    /// What comes out of reads of these lengths, and of the rest; how many answers.
    fn taken(reads: &[usize]) -> (Vec<Heard>, usize) {
        let mut intake = Intake::new(0, VideoCodec::H264, ParameterSets::new(VideoCodec::H264), FORMAT);
        let (bytes, mut held, mut answers) = (session(), Vec::new(), 0);
        let mut rest = &bytes[..];
        for read in reads.iter().copied().chain([usize::MAX]) {
            let (now, later) = rest.split_at(read.min(rest.len()));
            held.extend_from_slice(now);
            let used = intake.take(&held, NOW, |_| answers += 1).expect("a regular session");
            held.drain(..used);
            rest = later;
        }
        assert!(held.is_empty());
        intake.finish(NOW);
        (intake.heard.into(), answers)
    }

    #[test]
    fn each_picture_has_its_own_sample_description_though_all_came_in_one_read() {
        let (heard, answers) = taken(&[]);
        let pictures: Vec<_> = heard
            .iter()
            .filter_map(|heard| match heard {
                Heard::Picture(p) => Some((p.timestamp, p.lost_packets, p.new_params.as_ref().map(|p| &*p.rfc6381))),
                _ => None,
            })
            .collect();
        let expect = [
            (0, 0, None),
            (3_600, 1, None),
            (7_200, 0, Some("avc3.42C00D")),
            (10_800, 0, Some("avc3.42C00E")),
            (14_400, 0, None),
        ];
        assert_eq!(pictures, expect);
        assert!(heard.contains(&Heard::Report { timestamp: 5, ntp: 9 }), "{heard:?}");
        assert_eq!(answers, 1);
    }

    #[test]
    fn other_clock_rates_are_brought_to_ninety_thousand() {
        assert_eq!([90_000, 1_000, 48_000].map(|rate| in_ticks(1_040, rate)), [1_040, 93_600, 1_950]);
    }

    proptest! {
        #[test]
        fn however_it_is_cut_into_reads_the_same_comes_out(reads in prop::collection::vec(0..40usize, 0..60)) {
            prop_assert_eq!(taken(&reads), taken(&[]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), packets in any::<bool>()) {
            let mut intake = Intake::new(0, VideoCodec::H265, ParameterSets::new(VideoCodec::H265), FORMAT);
            let bytes = if packets { packet(0, &[&[0x80, 96, 0, 1][..], &[0; 8], &bytes].concat()) } else { bytes };
            if let Ok(used) = intake.take(&bytes, NOW, |_| ()) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
