//! The packets of a session, taken apart: RTP and RTCP of each stream to pictures, sound frames and reports.
//!
//! Invariant: what comes out depends on the packets and their order alone. An odd packet costs at most itself, and is
//! counted. No I/O.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use footage::clock::Reading;
use footage::media::{Oddity, OddityCounts, VideoCodec, VideoParams};

use super::super::codec::ParameterSets;
use super::super::stream::{CodedFrame, MediaEvent};
use super::access_unit::{AccessUnit, QUIET};
use super::depacketise::Depacketiser;
use super::rtp::{self, Packet, RtpTimeline};
use super::sound::{SoundCoding, SoundDepacketiser};
use super::tracks::Role;

/// Ticks a second that video timestamps come out in.
const CLOCK_RATE: u32 = 90_000;
/// A larger picture is not put together.
pub(super) const PICTURE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How the packets of a stream look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// As the description says.
    pub(super) payload_type: u8,
    pub(super) clock_rate: u32,
    /// As the answer to SETUP says.
    pub(super) ssrc: Option<u32>,
}

impl Format {
    fn line(self) -> RtpTimeline {
        RtpTimeline::new(self.payload_type, self.clock_rate, self.ssrc)
    }
}

/// One session's.
#[derive(Debug)]
pub(super) struct InterleavedParser {
    clock_rate: u32,
    line: RtpTimeline,
    depacketiser: Depacketiser,
    sound: Option<(RtpTimeline, SoundDepacketiser)>,
    /// Packets say when their pictures were filmed.
    pub(super) is_replay: bool,
    /// Taken, oldest first.
    pub(super) events: VecDeque<MediaEvent>,
    pub(super) odd: OddityCounts,
}

impl InterleavedParser {
    pub(super) fn new(
        codec: VideoCodec,
        sets: ParameterSets,
        video: Format,
        sound: Option<(SoundCoding, Format)>,
    ) -> Self {
        Self {
            clock_rate: video.clock_rate,
            line: video.line(),
            depacketiser: Depacketiser::new(codec, sets, PICTURE_BYTES_MAX),
            sound: sound.map(|(coding, format)| (format.line(), SoundDepacketiser::new(coding))),
            is_replay: false,
            events: VecDeque::new(),
            odd: OddityCounts::default(),
        }
    }

    /// The sample description, once there are enough parameter sets.
    pub(super) fn params(&self) -> Option<&VideoParams> {
        self.depacketiser.params()
    }

    /// Takes the next packet of one stream. An error means that nothing more can come of the session.
    #[inline]
    pub(super) fn packet(&mut self, role: Role, packet: &[u8], received: Reading) -> Result<(), Box<str>> {
        match role {
            Role::Video => return self.rtp(packet, received),
            Role::VideoControl => self.rtcp(packet),
            Role::Sound => self.sound(packet, received),
            Role::SoundControl => {}
        }
        Ok(())
    }

    fn sound(&mut self, packet: &[u8], received: Reading) {
        let Some((line, depacketiser)) = &mut self.sound else { return };
        let Some(packet) = Packet::parse(packet) else { return self.odd.add(Oddity::CorruptPacket) };
        let events = &mut self.events;
        line.take(&packet, received, &mut self.odd, &mut |placed, _| {
            let received = placed.received;
            depacketiser.push(placed.timestamp, placed.lost, placed.payload, |frame| {
                events.push_back(MediaEvent::Sound(CodedFrame {
                    timestamp: frame.timestamp,
                    data: Bytes::from(frame.data),
                    lost_packets: frame.lost_packets,
                    random_access: false,
                    received,
                    new_params: None,
                }));
            });
        });
    }

    /// An RTP packet. An error means that nothing more can come of the stream.
    #[inline]
    fn rtp(&mut self, packet: &[u8], received: Reading) -> Result<(), Box<str>> {
        if rtp::is_report(packet) {
            self.odd.add(Oddity::ReportAmongPackets);
            self.rtcp(packet);
            return Ok(());
        }
        let mark = self.is_replay.then(|| rtp::replay_mark(packet)).flatten();
        let Some(packet) = Packet::parse(packet) else {
            self.odd.add(Oddity::CorruptPacket);
            return Ok(());
        };
        let Self { line, depacketiser, events, odd, clock_rate, .. } = self;
        let mut done = Ok(());
        line.take(&packet, received, odd, &mut |placed, odd| {
            if let Some(mark) = mark.filter(|_| placed.is(&packet)) {
                events.push_back(MediaEvent::Mark { timestamp: in_ticks(placed.timestamp, *clock_rate), mark });
            }
            if done.is_ok() {
                let out = |unit| events.push_back(picture(unit, *clock_rate));
                done = depacketiser.push(placed.arrival(), placed.lost, placed.payload, odd, out);
            }
        });
        done
    }

    /// An RTCP packet.
    fn rtcp(&mut self, packet: &[u8]) {
        if let Some((timestamp, ntp)) = self.line.sender_report(packet, &mut self.odd) {
            let timestamp = in_ticks(timestamp, self.clock_rate);
            self.events.push_back(MediaEvent::SenderReport { timestamp, ntp });
        }
    }

    /// What is held comes out when nothing has come for so long.
    pub(super) fn awaits_quiet(&self) -> Option<Duration> {
        if self.line.holds() { Some(QUIET) } else { self.depacketiser.awaits_quiet() }
    }

    /// Nothing has come for as long as [`Self::awaits_quiet`] said.
    pub(super) fn quiet(&mut self, received: Reading) -> Result<(), Box<str>> {
        self.flush_line(received)?;
        let Self { depacketiser, events, odd, clock_rate, .. } = self;
        depacketiser.quiet(odd, |unit| events.push_back(picture(unit, *clock_rate)))
    }

    /// Nothing comes any more: what is left comes out.
    pub(super) fn finish(&mut self, received: Reading) {
        // The session is over: that nothing more could come of it is no news.
        let _ = self.flush_line(received);
        let Self { depacketiser, events, odd, clock_rate, .. } = self;
        depacketiser.finish(odd, |unit| events.push_back(picture(unit, *clock_rate)));
    }

    fn flush_line(&mut self, received: Reading) -> Result<(), Box<str>> {
        let Self { line, depacketiser, events, odd, clock_rate, .. } = self;
        let mut done = Ok(());
        line.flush(received, odd, &mut |placed, odd| {
            if done.is_ok() {
                let out = |unit| events.push_back(picture(unit, *clock_rate));
                done = depacketiser.push(placed.arrival(), placed.lost, placed.payload, odd, out);
            }
        });
        done
    }
}

fn picture(unit: AccessUnit, clock_rate: u32) -> MediaEvent {
    let AccessUnit { timestamp, data, lost_packets, new_params, random_access, received } = unit;
    let (timestamp, data) = (in_ticks(timestamp, clock_rate), Bytes::from(data));
    MediaEvent::Picture(CodedFrame { timestamp, data, lost_packets, new_params, random_access, received })
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
    use proptest::prelude::*;

    use super::*;
    use footage::units::WallTime;

    const NOW: Reading = Reading { wall: WallTime(0), mono: Duration::ZERO };

    fn parser(codec: VideoCodec) -> InterleavedParser {
        let (video, sound) = (
            Format { payload_type: 96, clock_rate: 90_000, ssrc: None },
            Format { payload_type: 8, clock_rate: 8_000, ssrc: None },
        );
        InterleavedParser::new(codec, ParameterSets::new(codec), video, Some((SoundCoding::G711, sound)))
    }

    /// Sets of x264 at 320×240.
    const SPS: &[u8] = &[
        0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x6a, 0x0c, 0x0c, 0x0d, 0x4a, 0x00, 0x00, 0x03, 0x00,
        0x02, 0x00, 0x00, 0x03, 0x00, 0x65, 0x1e, 0x28, 0x54, 0x90,
    ];
    const PPS: &[u8] = &[0x68, 0xcb, 0x8c, 0xb2];

    fn rtp(seq: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
        let head = [0x80, u8::from(marker) << 7 | 96];
        [&head[..], &seq.to_be_bytes(), &timestamp.to_be_bytes(), &[0, 0, 0, 7], payload].concat()
    }

    /// Two pictures before the first parameter sets, two with sets of their own, a report.
    fn session() -> Vec<(Role, Vec<u8>)> {
        let other = [&SPS[..3], &[0x0e], &SPS[4..]].concat();
        let report = [&[0x80, 200, 0, 6, 0, 0, 0, 7][..], &9u64.to_be_bytes(), &[0, 0, 0, 5], &[0; 8]].concat();
        let video = |packet| (Role::Video, packet);
        vec![
            video(rtp(1, 0, true, &[0x41, 0x9a])),
            video(rtp(3, 3_600, true, &[0x41, 0x9a, 1])),
            video(rtp(4, 7_200, false, SPS)),
            video(rtp(5, 7_200, false, PPS)),
            video(rtp(6, 7_200, true, &[0x65, 0x88, 1])),
            (Role::VideoControl, report),
            (Role::SoundControl, vec![1, 2, 3]),
            (Role::Sound, vec![1, 2, 3]),
            video(rtp(7, 10_800, false, &other)),
            video(rtp(8, 10_800, true, &[0x65, 0x88, 2])),
            video(rtp(9, 14_400, false, &[0x7c, 0x81, 0x9a])),
            video(rtp(10, 14_400, true, &[0x7c, 0x41, 1])),
        ]
    }

    #[test]
    fn each_picture_has_its_own_sample_description() {
        let mut parser = parser(VideoCodec::H264);
        for (role, packet) in session() {
            parser.packet(role, &packet, NOW).expect("a regular session");
        }
        parser.finish(NOW);
        let events: Vec<_> = parser.events.into();
        let pictures: Vec<_> = events
            .iter()
            .filter_map(|events| match events {
                MediaEvent::Picture(p) => {
                    Some((p.timestamp, p.lost_packets, p.new_params.as_ref().map(|p| &*p.rfc6381)))
                }
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
        assert!(events.contains(&MediaEvent::SenderReport { timestamp: 5, ntp: 9 }), "{events:?}");
    }

    #[test]
    fn other_clock_rates_are_brought_to_ninety_thousand() {
        assert_eq!([90_000, 1_000, 48_000].map(|rate| in_ticks(1_040, rate)), [1_040, 93_600, 1_950]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), packets in any::<bool>()) {
            let mut parser = parser(VideoCodec::H265);
            let bytes = if packets { [&[0x80, 96, 0, 1][..], &[0; 8], &bytes].concat() } else { bytes };
            for role in [Role::Video, Role::VideoControl, Role::Sound, Role::SoundControl] {
                let _ = parser.packet(role, &bytes, NOW);
            }
        }
    }
}
