//! A session's packets, as they are, to access units.

use super::super::interleaved::{Format, InterleavedParser, PICTURE_BYTES_MAX};
use super::super::sound::SoundCoding;
use super::super::tracks::Role;
use super::super::wire::{Incoming, next_message, oversized};
use super::{at, codec_of, units_of};
use crate::codec::{self, ParameterSets, fuzzing::is_whole};
use crate::stream::{CodedFrame, MediaEvent};
use footage::media::VideoCodec;

/// From packet to packet.
const PACKET_MS: u64 = 7;
/// Parameter sets that wait for their picture are at most so many, and may be the last ones of any size.
const SAMPLE_ENTRY_BYTES_MAX: usize = 64 * 1024;

/// See [`crate::fuzzing::packets`]. The first byte chooses the coding, and whether it is a replay; then come interleaved packets: RTP and RTCP of the
/// video on channels 0 and 1, of the sound on 2 and 3, and on any other nothing, for as many milliseconds as it is long.
pub(in super::super::super) fn packets(data: &[u8]) -> usize {
    let Some((&choice, mut rest)) = data.split_first() else { return 0 };
    let codec = codec_of(choice);
    let ssrc = (choice & 2 != 0).then_some(7);
    let format = |payload_type, clock_rate, ssrc| Format { payload_type, clock_rate, ssrc };
    let sound = (SoundCoding::G711, format(8, 8_000, None));
    let sets = ParameterSets::new(codec);
    let mut parser = InterleavedParser::new(codec, sets, format(96, 90_000, ssrc), Some(sound));
    parser.is_replay = choice & 4 != 0;
    let (mut now, mut sent, mut checked) = (0, 0, Checked::default());
    loop {
        let (used, message) = match next_message(rest) {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(_) => (oversized(rest), Incoming::Stray),
        };
        rest = &rest[used..];
        now += PACKET_MS;
        let Incoming::Packet { channel, packet } = message else { continue };
        sent += packet.len();
        let role = [Role::Video, Role::VideoControl, Role::Sound, Role::SoundControl].into_iter().nth(channel.into());
        let taken = match role {
            Some(role) => parser.packet(role, packet, at(now)),
            None => {
                let waited = packet.len() as u64;
                now += waited;
                let quiet = parser.awaits_quiet().is_some_and(|quiet| quiet.as_millis() as u64 <= waited);
                if quiet { parser.quiet(at(now)) } else { Ok(()) }
            }
        };
        if taken.is_err() {
            return checked.pictures;
        }
        parser.events.drain(..).for_each(|event| checked.event(codec, event));
    }
    parser.finish(at(now));
    parser.events.drain(..).for_each(|event| checked.event(codec, event));
    assert!(checked.unit_bytes <= sent, "{} bytes of NAL units came out of {sent}", checked.unit_bytes);
    checked.pictures
}

/// What came out.
#[derive(Default)]
struct Checked {
    pictures: usize,
    unit_bytes: usize,
}

impl Checked {
    fn event(&mut self, codec: VideoCodec, event: MediaEvent) {
        let MediaEvent::Picture(CodedFrame { data, new_params, .. }) = event else { return };
        let units = units_of(&data);
        assert!(units.iter().any(|unit| codec::kind(codec, unit) == codec::Kind::Slice), "a picture without a slice");
        assert!(units.iter().all(|unit| unit.len() >= codec::header_bytes(codec)));
        let bytes: usize = units.iter().map(|unit| unit.len()).sum();
        assert!(bytes <= PICTURE_BYTES_MAX + SAMPLE_ENTRY_BYTES_MAX);
        self.pictures += 1;
        self.unit_bytes += bytes;
        if let Some(params) = new_params {
            is_whole(codec, &params);
        }
    }
}
