//! Parameter sets by id, and the sample descriptions that they make.

use super::*;

/// x264 at 320×240, baseline.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x6a, 0x0c, 0x0c, 0x0d, 0x4a, 0x00, 0x00, 0x03, 0x00, 0x02,
    0x00, 0x00, 0x03, 0x00, 0x65, 0x1e, 0x28, 0x54, 0x90,
];
const PPS: &[u8] = &[0x68, 0xcb, 0x8c, 0xb2];
/// The same under id 1: `010` in the place of `1`.
const OTHER_PPS: &[u8] = &[0x68, 0x52, 0xe3, 0x2c, 0x80];
const VPS_265: &[u8] = &[0x40, 1, 0x0c, 1, 0xff, 0xff];
const SPS_265: &[u8] = &[
    0x42, 0x01, 0x01, 0x04, 0x08, 0x00, 0x00, 0x03, 0x00, 0x98, 0x08, 0x00, 0x00, 0x03, 0x00, 0x00, 0x3c, 0x90, 0x01,
    0x41, 0x01, 0xe2, 0x29, 0x4b, 0x25, 0x49, 0x26, 0x57, 0xff, 0x80, 0x00, 0x80, 0x00, 0xb5, 0x06, 0x06, 0x06, 0x04,
    0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0x64, 0x20,
];
const PPS_265: &[u8] = &[0x44, 1, 0xc1, 0x72, 0x86, 0x0c, 0x46, 0x24];

fn holds(params: &VideoParams, unit: &[u8]) -> usize {
    params.sample_entry.windows(unit.len()).filter(|window| *window == unit).count()
}

#[test]
fn sets_with_other_ids_stand_beside_one_another() {
    let mut sets = ParameterSets::of_units(VideoCodec::H264, [SPS, PPS]);
    let before = sets.version();
    assert_eq!((sets.put(SPS), sets.put(PPS)), (Put::Known, Put::Known));
    assert_eq!(sets.version(), before, "a set that is repeated is no change");
    assert_eq!(sets.put(OTHER_PPS), Put::Kept);
    let params = sets.params(sets.sequence_of(1)).expect("whole");
    assert_eq!((params.width, params.height, params.rfc6381.as_str()), (320, 240, "avc3.42C00D"));
    assert_eq!([SPS, PPS, OTHER_PPS].map(|unit| holds(&params, unit)), [1; 3]);
    assert_eq!(&params.sample_entry[4..8], b"avc3");
    assert_eq!(params.sample_entry.len(), u32::from_be_bytes(params.sample_entry[..4].try_into().unwrap()) as usize);
}

#[test]
fn sets_of_h265_are_distinguished_likewise() {
    let sets = ParameterSets::of_units(VideoCodec::H265, [VPS_265, SPS_265, PPS_265]);
    let params = sets.params(None).expect("whole");
    assert_eq!((params.width, params.height), (320, 240));
    assert_eq!(&params.sample_entry[4..8], b"hev1");
    assert!(params.rfc6381.starts_with("hev1.4."), "{}", params.rfc6381);
    assert_eq!([VPS_265, SPS_265, PPS_265].map(|unit| holds(&params, unit)), [1; 3]);
    let without = ParameterSets::of_units(VideoCodec::H265, [SPS_265, PPS_265]);
    assert_eq!(without.params(None), None, "no picture can be decoded");
}

#[test]
fn a_set_of_the_description_gives_way_and_one_in_use_does_not() {
    // Another level.
    let other = [&SPS[..3], &[0x0e], &SPS[4..]].concat();
    let mut sets = ParameterSets::of_units(VideoCodec::H264, [SPS, PPS]);
    assert!(!sets.contradicts(&other), "nothing has been decoded with what the description says");
    sets.confirm();
    assert!(sets.contradicts(&other));
    assert!(!sets.contradicts(SPS) && !sets.contradicts(&[SPS, &[0, 0]].concat()), "the same is no contradiction");
    assert_eq!(sets.put(&other), Put::Kept);
    assert_eq!(sets.params(Some(0)).expect("whole").rfc6381, "avc3.42C00E");
}

#[test]
fn start_codes_in_a_description_are_no_part_of_a_set() {
    let annex_b = [&[0, 0, 0, 1][..], SPS, &[0, 0, 1], PPS].concat();
    let sets = ParameterSets::of_units(VideoCodec::H264, [&annex_b[..]]);
    assert_eq!(sets.params(None), ParameterSets::of_units(VideoCodec::H264, [SPS, PPS]).params(None));
}

#[test]
fn what_cannot_be_read_is_kept_out() {
    let mut sets = ParameterSets::new(VideoCodec::H264);
    for unit in [&[0x67, 0xff][..], &[0x68], &[], &[0x41, 0x9a], &[&[0x68][..], &[0xcb; 5_000]].concat()] {
        assert_eq!(sets.put(unit), Put::Unreadable);
    }
    assert_eq!((sets.params(None), sets.version()), (None, 0));
}

#[test]
fn a_camera_cannot_fill_the_sample_description_without_bound() {
    let mut sets = ParameterSets::of_units(VideoCodec::H264, [SPS]);
    for id in 0..300u32 {
        let (code, zeros) = (id + 1, (id + 1).ilog2());
        // ue(id), ue(0), and a body.
        let bits = format!("{}{code:b}1{}", "0".repeat(zeros as usize), "1".repeat(40));
        let bytes =
            bits.as_bytes().chunks(8).map(|c| c.iter().fold(0u8, |b, bit| b << 1 | (bit - b'0')) << (8 - c.len()));
        sets.put(&[vec![0x68], bytes.collect(), vec![0xab; 1_000]].concat());
    }
    assert!(sets.params(None).expect("whole").sample_entry.len() < 64 * 1024);
}
