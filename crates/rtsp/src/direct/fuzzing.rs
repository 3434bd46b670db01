//! See [`crate::fuzzing`]: what concerns messages and packets.

mod messages;
mod packets;
mod units;

pub(in super::super) use messages::messages;
pub(in super::super) use packets::packets;
pub(in super::super) use units::units;

use std::time::Duration;

use footage::clock::Reading;
use footage::media::VideoCodec;
use footage::units::WallTime;

/// The first byte of an input chooses the coding.
fn codec_of(choice: u8) -> VideoCodec {
    if choice & 1 == 0 { VideoCodec::H264 } else { VideoCodec::H265 }
}

fn at(milliseconds: u64) -> Reading {
    Reading { wall: WallTime(0), mono: Duration::from_millis(milliseconds) }
}

/// Length-prefixed NAL units; the data must be nothing else.
fn units_of(mut data: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    while !data.is_empty() {
        let (length, rest) = data.split_first_chunk::<4>().expect("a length");
        let (unit, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).expect("a whole unit");
        units.push(unit);
        data = rest;
    }
    units
}
