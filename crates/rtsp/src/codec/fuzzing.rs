//! See [`crate::fuzzing`]: what concerns parameter sets.

use bytes::Bytes;

use super::{ParameterSets, Put, between_start_codes, is_recovery_point, start_code};
use footage::media::{VideoCodec, VideoParams};

/// What sets may take in a sample description.
const SAMPLE_ENTRY_BYTES_MAX: usize = 64 * 1024;
/// Of a `VisualSampleEntry` (ISO/IEC 14496-12 §12.1.3) before its boxes, and of a box's header.
const VISUAL_BYTES: usize = 86;
const BOX_BYTES: usize = 8;

/// A sample description that is one box, of one size throughout, and small enough.
pub(in super::super) fn is_whole(codec: VideoCodec, params: &VideoParams) {
    assert_eq!(params.codec, codec);
    assert!(params.width > 0 && params.height > 0);
    let entry = &params.sample_entry[..];
    assert!(entry.len() < SAMPLE_ENTRY_BYTES_MAX, "{} bytes of sample description", entry.len());
    assert_eq!(entry[..4], (entry.len() as u32).to_be_bytes());
    assert_eq!(entry[32..36], [params.width.to_be_bytes(), params.height.to_be_bytes()].concat()[..]);
    let mut boxes = &entry[VISUAL_BYTES..];
    while let Some((length, _)) = boxes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        assert!((BOX_BYTES..=boxes.len()).contains(&length));
        boxes = &boxes[length..];
    }
    assert!(boxes.is_empty());
}

/// Sets that a description names.
pub(in super::super) fn described(codec: VideoCodec, sets: &[Bytes]) {
    let sets = ParameterSets::of_units(codec, sets.iter().map(|set| &set[..]));
    if let Some(params) = sets.params(None) {
        is_whole(codec, &params);
    }
}

/// See [`crate::fuzzing::parameter_sets`]. The first byte chooses the coding; NAL units follow, each after its length in
/// one byte.
pub(in super::super) fn parameter_sets(data: &[u8]) -> usize {
    let Some((&choice, mut rest)) = data.split_first() else { return 0 };
    let codec = if choice & 1 == 0 { VideoCodec::H264 } else { VideoCodec::H265 };
    stream(rest);
    let mut sets = ParameterSets::new(codec);
    while let Some((&length, bytes)) = rest.split_first() {
        let (unit, after) = bytes.split_at(usize::from(length).min(bytes.len()));
        rest = after;
        // As they come out of an access unit.
        between_start_codes(unit).for_each(|unit| one(codec, &mut sets, unit));
        if choice & 2 != 0 {
            sets.confirm();
        }
    }
    let Some(params) = sets.params(None) else { return 0 };
    is_whole(codec, &params);
    named_again(codec, &params);
    1
}

fn one(codec: VideoCodec, sets: &mut ParameterSets, unit: &[u8]) {
    let version = sets.version();
    // As an access unit is put together: each unit is looked at as everything that it may be.
    let _ = (sets.picture_of(unit), is_recovery_point(codec, unit));
    match sets.put(unit) {
        Put::Kept => {
            assert_eq!((sets.version(), sets.put(unit)), (version + 1, Put::Known));
            assert!(!sets.contradicts(unit), "a set contradicts itself");
            // Zero bytes behind a unit are not its own (annex B of both).
            assert_eq!(sets.put(&[unit, &[0]].concat()), Put::Known);
        }
        Put::Known | Put::Unreadable => assert_eq!(sets.version(), version),
    }
}

/// The sets that a sample description names make that description.
fn named_again(codec: VideoCodec, params: &VideoParams) {
    let configuration = &params.sample_entry[VISUAL_BYTES + BOX_BYTES..];
    let mut units: Vec<&[u8]> = Vec::new();
    let mut rest = configuration;
    let mut take = |bytes: usize| {
        let (taken, after) = rest.split_at(bytes);
        rest = after;
        taken
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    // ISO/IEC 14496-15 §5.3.3.1, §8.3.3.1: arrays of sets, each with their number, each set after its length.
    let (head, arrays) = if codec == VideoCodec::H264 { (5, 2) } else { (23, 3) };
    take(head);
    for array in 0..arrays {
        let count = match codec {
            VideoCodec::H264 => number(take(1)) & if array == 0 { 0x1f } else { 0xff },
            VideoCodec::H265 => number(&take(3)[1..]),
        };
        for _ in 0..count {
            let length = number(take(2));
            units.push(take(length));
        }
    }
    let again = ParameterSets::of_units(codec, units.iter().copied());
    assert_eq!(again.params(None).as_ref(), Some(params));
}

/// The units of a byte stream, put together and parted again.
fn stream(data: &[u8]) {
    let units: Vec<&[u8]> = between_start_codes(data).collect();
    assert!(units.iter().all(|unit| !unit.is_empty() && start_code(unit).is_none()));
    let joined: Vec<u8> = units.iter().flat_map(|unit| [&[0, 0, 0, 1][..], unit].concat()).collect();
    assert_eq!(between_start_codes(&joined).collect::<Vec<_>>(), units);
}
