//! The packets of a session, taken apart: RTP and RTCP of each stream to pictures, sound frames and reports.
//!
//! Invariant: what comes out depends on the packets and their order alone. No I/O.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::media::{VideoCodec, VideoParams};

use super::super::items::{Coded, Heard};
use super::super::params;
use super::depacketise::{Depacketiser, ParameterSets};
use super::rtp::{Line, Packet};
use super::sound::{SoundCoding, SoundDepacketiser};
use super::tracks::Role;

/// One session's.
#[derive(Debug)]
pub(super) struct Intake {
    codec: VideoCodec,
    line: Line,
    depacketiser: Depacketiser,
    sound: Option<(Line, SoundDepacketiser)>,
    /// Taken, oldest first.
    pub(super) heard: VecDeque<Heard>,
}

impl Intake {
    pub(super) fn new(codec: VideoCodec, sets: ParameterSets, sound: Option<SoundCoding>) -> Self {
        let depacketiser = Depacketiser::new(codec, sets);
        let sound = sound.map(|coding| (Line::default(), SoundDepacketiser::new(coding)));
        Self { codec, line: Line::default(), depacketiser, sound, heard: VecDeque::new() }
    }

    /// Takes the next packet of one stream. After an error nothing more may be put in.
    #[inline]
    pub(super) fn packet(&mut self, role: Role, packet: &[u8]) -> Result<(), String> {
        match role {
            Role::Video => self.rtp(packet),
            Role::VideoControl => self.rtcp(packet),
            Role::Sound => {
                self.sound(packet);
                Ok(())
            }
            Role::SoundControl => Ok(()),
        }
    }

    /// What cannot be read of the sound is left out: pictures matter more.
    fn sound(&mut self, packet: &[u8]) {
        let (Some((line, depacketiser)), Ok(packet)) = (&mut self.sound, Packet::parse(packet)) else { return };
        let Ok((timestamp, lost)) = line.follow(&packet) else { return };
        let heard = &mut self.heard;
        depacketiser.push(timestamp, lost, packet.payload, |frame| {
            let (timestamp, lost_packets) = (frame.timestamp, frame.lost_packets);
            let data = Bytes::from(frame.data);
            heard.push_back(Heard::Sound(Coded { timestamp, data, lost_packets, new_params: None }));
        });
    }

    #[inline]
    fn rtp(&mut self, packet: &[u8]) -> Result<(), String> {
        let packet = Packet::parse(packet).map_err(|what| format!("corrupt RTP header: {what}"))?;
        if packet.is_foreign() {
            return Ok(());
        }
        let (timestamp, lost) = self.line.follow(&packet)?;
        let Self { codec, depacketiser, heard, .. } = self;
        let mut unusable = false;
        depacketiser.push(timestamp, packet.marker, lost, packet.payload, |picture| {
            let new_params = match &picture.new_sets {
                Some(sets) if sets.are_whole(*codec) => {
                    let params = params_of(*codec, sets);
                    unusable |= params.is_none();
                    params
                }
                _ => None,
            };
            // A picture under a sample description that is not its own would be shown wrong.
            if !unusable {
                let (timestamp, lost_packets) = (picture.timestamp, picture.lost_packets);
                let data = Bytes::from(picture.data);
                heard.push_back(Heard::Picture(Coded { timestamp, data, lost_packets, new_params }));
            }
        })?;
        if unusable { Err("parameter sets that make no sample description".to_owned()) } else { Ok(()) }
    }

    fn rtcp(&mut self, packet: &[u8]) -> Result<(), String> {
        if let Some((timestamp, ntp)) = self.line.sender_report(packet)? {
            self.heard.push_back(Heard::Report { timestamp, ntp });
        }
        Ok(())
    }
}

/// The sample description that these sets make.
pub(super) fn params_of(codec: VideoCodec, sets: &ParameterSets) -> Option<VideoParams> {
    let ParameterSets { video, sequence, picture } = sets;
    params::of_sets(codec, video, sequence, picture)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        let mut intake = Intake::new(VideoCodec::H264, ParameterSets::default(), Some(SoundCoding::G711));
        for (role, packet) in session() {
            intake.packet(role, &packet).expect("a regular session");
        }
        let heard: Vec<_> = intake.heard.into();
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
            (7_200, 0, Some("avc1.42C00D")),
            (10_800, 0, Some("avc1.42C00E")),
            (14_400, 0, None),
        ];
        assert_eq!(pictures, expect);
        assert!(matches!(heard[3], Heard::Report { timestamp: 5, ntp: 9 }), "{:?}", heard[3]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), packets in any::<bool>()) {
            let mut intake = Intake::new(VideoCodec::H265, ParameterSets::default(), Some(SoundCoding::G711));
            let bytes = if packets { [&[0x80, 96, 0, 1][..], &[0; 8], &bytes].concat() } else { bytes };
            for role in [Role::Video, Role::VideoControl, Role::Sound, Role::SoundControl] {
                let _ = intake.packet(role, &bytes);
            }
        }
    }
}
