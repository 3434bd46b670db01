//! Laws of the depacketiser: what was packed comes out picture by picture, whatever is odd about its packets.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use footage::clock::Reading;
use footage::units::WallTime;

/// x264 at 320×240, baseline: slices say frame number and nothing of order.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x6a, 0x0c, 0x0c, 0x0d, 0x4a, 0x00, 0x00, 0x03, 0x00, 0x02,
    0x00, 0x00, 0x03, 0x00, 0x65, 0x1e, 0x28, 0x54, 0x90,
];
const PPS: &[u8] = &[0x68, 0xcb, 0x8c, 0xb2];
const SEI: &[u8] = &[0x06, 5, 1, 7, 0x80];
const RECOVERY: &[u8] = &[0x06, 6, 1, 0x84, 0x80];
const AUD: &[u8] = &[0x09, 0xf0];
const FILLER: &[u8] = &[0x0c, 0xff, 0x80];

const NOW: Reading = Reading { wall: WallTime(0), mono: Duration::ZERO };

fn sets(codec: VideoCodec) -> ParameterSets {
    ParameterSets::of_units(codec, if codec == VideoCodec::H264 { vec![SPS, PPS] } else { vec![] })
}

/// One payload with its timestamp and marker.
type Sent = (i64, bool, Vec<u8>);

/// Everything that comes out of packets, where those with these numbers are lost, with what was odd.
fn received(codec: VideoCodec, sent: &[Sent], lost: &[usize]) -> (Result<Vec<AccessUnit>, String>, OddityCounts) {
    let (mut pictures, mut missing, mut odd) = (Vec::new(), 0, OddityCounts::default());
    let mut depacketiser = Depacketiser::new(codec, sets(codec), 1 << 20);
    for (number, (timestamp, marker, payload)) in sent.iter().enumerate() {
        if lost.contains(&number) {
            missing += 1;
            continue;
        }
        let arrival = Arrival { timestamp: *timestamp, marker: *marker, received: NOW };
        let before = std::mem::take(&mut missing);
        if let Err(e) = depacketiser.push(arrival, before, payload, &mut odd, |picture| pictures.push(picture)) {
            return (Err(e.into()), odd);
        }
    }
    depacketiser.finish(&mut odd, |picture| pictures.push(picture));
    (Ok(pictures), odd)
}

fn sample(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes()[..], unit].concat()).collect()
}

/// Payloads with timestamp and marker, against the pictures and what is odd.
fn check(codec: VideoCodec, sent: &[(i64, bool, &[u8])], expect: &[(i64, &[&[u8]])], kinds: &[Oddity]) {
    let sent: Vec<Sent> = sent.iter().map(|(t, m, p)| (*t, *m, p.to_vec())).collect();
    let (pictures, odd) = received(codec, &sent, &[]);
    let pictures: Vec<_> = pictures.expect("it can be carried").into_iter().map(|p| (p.timestamp, p.data)).collect();
    assert_eq!(pictures, expect.iter().map(|(t, units)| (*t, sample(units))).collect::<Vec<_>>(), "{sent:02x?}");
    assert_eq!(odd.iter().map(|(kind, _)| kind).collect::<Vec<_>>(), kinds, "{sent:02x?}");
}

/// A slice of picture `n`: an IDR picture or one that follows.
fn slice(n: u32, first: bool) -> Vec<u8> {
    let (header, kind) = if n == 0 { (0x65, "00111") } else { (0x41, "00110") };
    // first_mb_in_slice, slice_type, pic_parameter_set_id, frame_num in four bits, idr_pic_id.
    let bits = format!("{}{kind}1{:04b}{}", if first { "1" } else { "00111" }, n % 16, if n == 0 { "1" } else { "" });
    let bits = format!("{bits:1<24}");
    let body = bits.as_bytes().chunks(8).map(|c| c.iter().fold(0u8, |byte, bit| byte << 1 | (bit - b'0')));
    [vec![header], body.collect(), vec![n as u8 | 0x80]].concat()
}

/// A slice segment of H.265: IDR or trailing.
fn segment(n: u32, first: bool) -> Vec<u8> {
    vec![if n == 0 { 19 << 1 } else { 1 << 1 }, 1, if first { 0xaf } else { 0x2f }, n as u8 | 0x80]
}

#[test]
fn four_slices_are_one_picture_whichever_of_them_have_the_marker() {
    use VideoCodec::{H264, H265};
    for (codec, unit) in [(H264, slice as fn(u32, bool) -> Vec<u8>), (H265, segment)] {
        for markers in 0..16 {
            let slices: Vec<Vec<u8>> = (0..32).map(|n| unit(n / 4, n % 4 == 0)).collect();
            let sent: Vec<Sent> = slices
                .iter()
                .enumerate()
                .map(|(n, s)| (n as i64 / 4 * 9, markers >> (n % 4) & 1 == 1, s.clone()))
                .collect();
            let pictures = received(codec, &sent, &[]).0.expect("a regular stream");
            let expect: Vec<_> =
                slices.chunks(4).map(|s| sample(&s.iter().map(Vec::as_slice).collect::<Vec<_>>())).collect();
            assert_eq!(pictures.into_iter().map(|p| p.data).collect::<Vec<_>>(), expect, "{codec:?} {markers:04b}");
        }
    }
}

#[test]
fn pictures_are_found_by_their_slices_where_all_have_one_timestamp() {
    let slices: Vec<Vec<u8>> = (0..10).map(|n| slice(n, true)).collect();
    for marker in [false, true] {
        let sent: Vec<_> = slices.iter().map(|s| (7, marker, s.as_slice())).collect();
        let expect: Vec<_> = slices.iter().map(|s| [s.as_slice()]).collect();
        let expect: Vec<(i64, &[&[u8]])> = expect.iter().map(|units| (7, &units[..])).collect();
        check(VideoCodec::H264, &sent, &expect, &[]);
    }
}

#[test]
fn slices_that_say_the_same_are_two_pictures_at_two_times() {
    let p = slice(1, true);
    check(VideoCodec::H264, &[(0, false, &p), (9, false, &p)], &[(0, &[&p]), (9, &[&p])], &[]);
}

#[test]
fn what_goes_before_and_after_a_picture_travels_with_it() {
    use VideoCodec::{H264, H265};
    let (a, b) = (slice(0, true), slice(1, true));
    // Whatever their timestamps and markers.
    let sent = [
        (0, true, AUD),
        (0, true, SPS),
        (0, true, PPS),
        (7, true, &a[..]),
        (7, true, FILLER),
        (7, true, AUD),
        (8, true, SEI),
        (14, true, &b),
        (14, true, FILLER),
    ];
    let expect: [(i64, &[&[u8]]); 2] = [(7, &[AUD, SPS, PPS, &a, FILLER]), (14, &[AUD, SEI, &b, FILLER])];
    check(H264, &sent, &expect, &[Oddity::MarkerInsidePicture]);
    let (a, b, suffix) = (segment(0, true), segment(1, true), &[40 << 1, 1, 5, 1, 7, 0x80][..]);
    let sent = [(0, true, &a[..]), (0, true, suffix), (9, true, &b), (9, true, suffix)];
    check(H265, &sent, &[(0, &[&a, suffix]), (9, &[&b, suffix])], &[Oddity::MarkerInsidePicture]);
}

#[test]
fn units_in_the_middle_of_a_picture_stay_there() {
    let (first, second, next) = (slice(1, true), slice(1, false), slice(2, true));
    let sent = [(0, true, &first[..]), (0, true, SEI), (0, true, &second), (9, true, &next)];
    check(VideoCodec::H264, &sent, &[(0, &[&first, SEI, &second]), (9, &[&next])], &[Oddity::MarkerInsidePicture]);
}

#[test]
fn a_marker_ends_a_picture_at_once_when_it_has_proved_right() {
    let (mut odd, mut pictures) = (OddityCounts::default(), 0);
    let mut depacketiser = Depacketiser::new(VideoCodec::H264, sets(VideoCodec::H264), 1 << 20);
    let mut out = Vec::new();
    for n in 0..8 {
        let arrival = Arrival { timestamp: i64::from(n) * 9, marker: true, received: NOW };
        depacketiser.push(arrival, 0, &slice(n, true), &mut odd, |_| pictures += 1).expect("regular");
        out.push(pictures);
    }
    assert_eq!(out, [0, 1, 2, 4, 5, 6, 7, 8], "three pictures are looked at first");
    assert_eq!(odd.total(), 0);
    // One that waits comes out when nothing follows.
    let mut depacketiser = Depacketiser::new(VideoCodec::H264, sets(VideoCodec::H264), 1 << 20);
    let arrival = Arrival { timestamp: 0, marker: true, received: NOW };
    depacketiser.push(arrival, 0, &slice(0, true), &mut odd, |_| panic!("too early")).expect("regular");
    assert_eq!(depacketiser.awaits_quiet(), Some(QUIET));
    depacketiser.quiet(&mut odd, |_| pictures += 1).expect("regular");
    assert_eq!((pictures, depacketiser.awaits_quiet()), (9, None));
}

#[test]
fn bytes_of_sei_are_carried_whatever_they_are() {
    let idr = slice(0, true);
    for sei in [&[0x06, 5, 9, 0, 0, 1, 0x65, 0x88, 0, 0, 0, 1, 0x67][..], &[0x06, 0, 0, 0, 0, 0, 3, 3, 3], &[0x06]] {
        check(VideoCodec::H264, &[(0, false, sei), (0, true, &idr)], &[(0, &[sei, &idr])], &[]);
    }
    let (sei, idr) = (&[39 << 1, 1, 5, 9, 0, 0, 1, 0x26, 1, 0, 0, 0][..], segment(0, true));
    check(VideoCodec::H265, &[(0, false, sei), (0, true, &idr)], &[(0, &[sei, &idr])], &[]);
}

#[test]
fn aggregated_units_are_distinguished_and_empty_ones_left_out() {
    let idr = slice(0, true);
    let with =
        |units: &[&[u8]]| units.iter().fold(vec![0x18], |p, u| [&p[..], &(u.len() as u16).to_be_bytes(), u].concat());
    let packet = with(&[SPS, PPS, &idr]);
    check(VideoCodec::H264, &[(3, true, &packet)], &[(3, &[SPS, PPS, &idr])], &[]);
    let packet = with(&[SPS, &[], PPS, &idr, &[]]);
    check(VideoCodec::H264, &[(3, true, &packet)], &[(3, &[SPS, PPS, &idr])], &[Oddity::BrokenAggregate]);
    // What is cut off is lost, and nothing else.
    let packet = [with(&[SPS, PPS]), vec![0, 9, 0x41]].concat();
    check(
        VideoCodec::H264,
        &[(3, false, &packet), (3, true, &idr)],
        &[(3, &[SPS, PPS, &idr])],
        &[Oddity::BrokenAggregate],
    );
    let packet = [48 << 1, 1, 0, 3, 0x46, 1, 0x50, 0, 3, 0x26, 1, 0xaf];
    check(VideoCodec::H265, &[(3, true, &packet)], &[(3, &[&[0x46, 1, 0x50], &[0x26, 1, 0xaf]])], &[]);
}

#[test]
fn fragments_without_their_bits_are_put_together() {
    use VideoCodec::{H264, H265};
    let (idr, p) = (slice(0, true), slice(1, true));
    let part = |flags: u8, body: &[u8]| [&[0x7c, flags | 5][..], body].concat();
    let (head, body) = ([idr[1]], &idr[2..]);
    let regular = [(0, false, part(0x80, &head)), (0, true, part(0x40, body)), (9, true, p.clone())];
    let no_end = [(0, false, part(0x80, &head)), (0, true, part(0, body)), (9, true, p.clone())];
    let empty_end =
        [(0, false, part(0x80, &head)), (0, false, part(0, body)), (0, true, part(0x40, &[])), (9, true, p.clone())];
    let other_type = [(0, false, part(0x80, &head)), (0, true, [&[0x7c, 0x41], body].concat()), (9, true, p.clone())];
    let alone = [(0, true, part(0xc0, &idr[1..])), (9, true, p.clone())];
    let no_start = [
        (0, true, part(0xc0, &idr[1..])),
        (9, false, vec![0x5c, 0x01, p[1]]),
        (9, true, [&[0x5c, 0x41], &p[2..]].concat()),
    ];
    for (sent, kinds) in [
        (&regular[..], &[][..]),
        (&no_end, &[Oddity::UnitWithoutEnd]),
        (&empty_end, &[]),
        (&other_type, &[Oddity::FragmentTypeChanged]),
        (&alone, &[]),
        (&no_start, &[Oddity::UnitWithoutStart]),
    ] {
        let sent: Vec<_> = sent.iter().map(|(t, m, p)| (*t, *m, p.as_slice())).collect();
        check(H264, &sent, &[(0, &[&idr]), (9, &[&p])], kinds);
    }
    let sent: [(i64, bool, &[u8]); 3] =
        [(0, false, &[0x62, 1, 0x80 | 19, 0xaf]), (0, false, &[0x62, 1, 1, 7]), (0, true, &[0x62, 1, 0x41, 8])];
    check(H265, &sent, &[(0, &[&[0x26, 1, 0xaf, 7, 8]])], &[Oddity::FragmentTypeChanged]);
}

#[test]
fn start_codes_inside_packets_part_units() {
    let (idr, p) = (slice(0, true), slice(1, true));
    let annex_b = [SPS, &[0, 0, 0, 1], PPS, &[0, 0, 1], &idr].concat();
    check(VideoCodec::H264, &[(0, true, &annex_b)], &[(0, &[SPS, PPS, &idr])], &[Oddity::StartCode]);
    let first = [&[0, 0, 0, 1][..], &idr].concat();
    let second = [&[0, 0, 1][..], &p].concat();
    check(
        VideoCodec::H264,
        &[(0, true, &first), (9, true, &second)],
        &[(0, &[&idr]), (9, &[&p])],
        &[Oddity::StartCode],
    );
    // Zero bytes at the end are kept: they are as they were sent.
    let padded = [&idr[..], &[0, 0]].concat();
    check(VideoCodec::H264, &[(0, true, &padded)], &[(0, &[&padded])], &[]);
}

#[test]
fn what_is_shorter_than_a_header_between_start_codes_is_no_unit() {
    let (idr, p) = (segment(0, true), segment(1, true));
    let annex_b = [&idr[..], &[0, 0, 1, 0x2e, 0, 0, 1], &[40 << 1, 1, 5]].concat();
    let kinds = [Oddity::ReservedUnit, Oddity::StartCode];
    let expect: [(i64, &[&[u8]]); 2] = [(0, &[&idr, &[40 << 1, 1, 5]]), (9, &[&p])];
    check(VideoCodec::H265, &[(0, true, &annex_b), (9, true, &p)], &expect, &kinds);
}

#[test]
fn units_of_reserved_types_are_carried() {
    let idr = slice(0, true);
    let odd: [&[u8]; 3] = [&[0x1e, 1, 2], &[0x00, 9], &[0xe6, 1, 2]];
    for unit in odd {
        check(VideoCodec::H264, &[(0, false, unit), (0, true, &idr)], &[(0, &[unit, &idr])], &[Oddity::ReservedUnit]);
    }
    let mtap: &[u8] = &[0x1a, 1, 2, 3];
    check(VideoCodec::H264, &[(0, false, mtap), (0, true, &idr)], &[(0, &[&idr])], &[Oddity::UnsupportedPacket]);
    check(VideoCodec::H264, &[(0, false, &[]), (0, true, &idr)], &[(0, &[&idr])], &[Oddity::EmptyPayload]);
}

#[test]
fn decoding_may_begin_at_a_recovery_point() {
    let sent: Vec<Sent> = [(0, slice(1, true)), (9, RECOVERY.to_vec()), (9, slice(2, true)), (18, slice(3, true))]
        .into_iter()
        .map(|(t, p)| (t, true, p))
        .collect();
    let pictures = received(VideoCodec::H264, &sent, &[]).0.expect("regular");
    assert_eq!(pictures.iter().map(|p| p.random_access).collect::<Vec<_>>(), [false, true, false]);
    let cra = [21 << 1, 1, 0xaf, 1];
    let sei = [39 << 1, 1, 6, 1, 0xd0, 0x80];
    let sent: Vec<Sent> = [(0, segment(1, true)), (9, cra.to_vec()), (18, sei.to_vec()), (18, segment(2, true))]
        .into_iter()
        .map(|(t, p)| (t, true, p))
        .collect();
    let pictures = received(VideoCodec::H265, &sent, &[]).0.expect("regular");
    assert_eq!(pictures.iter().map(|p| p.random_access).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn a_sequence_parameter_set_that_comes_early_waits_for_the_picture_that_it_is_for() {
    let other = [&SPS[..3], &[0x0e], &SPS[4..]].concat();
    let (idr, p, q) = (slice(0, true), slice(1, true), slice(2, true));
    let sent: Vec<Sent> =
        [(0, &idr), (9, &other), (9, &PPS.to_vec()), (9, &p), (18, &q), (27, &AUD.to_vec()), (27, &idr)]
            .into_iter()
            .map(|(t, p)| (t, true, p.clone()))
            .collect();
    let (pictures, odd) = received(VideoCodec::H264, &sent, &[]);
    let pictures = pictures.expect("it can be carried");
    let names: Vec<_> = pictures.iter().map(|p| p.new_params.as_ref().map(|p| p.rfc6381.clone())).collect();
    assert_eq!(names, [None, None, None, Some("avc3.42C00E".to_owned())]);
    let data: Vec<_> = pictures.into_iter().map(|p| p.data).collect();
    assert_eq!(data, [sample(&[&idr]), sample(&[PPS, &p]), sample(&[&q]), sample(&[AUD, &other, &idr])]);
    assert_eq!(odd.of(Oddity::EarlyParameterSet), 1);
}

#[test]
fn only_parameter_sets_that_differ_make_another_sample_description() {
    let other = [0x68, 0x52, 0xe3, 0x2c, 0x80];
    let sent: Vec<Sent> = (0..4)
        .flat_map(|n| {
            [
                (n * 9, SPS.to_vec()),
                (n * 9, if n == 2 { other.to_vec() } else { PPS.to_vec() }),
                (n * 9, slice(0, true)),
            ]
        })
        .map(|(t, p)| (t, true, p))
        .collect();
    let pictures = received(VideoCodec::H264, &sent, &[]).0.expect("regular");
    assert_eq!(pictures.iter().map(|p| p.new_params.is_some()).collect::<Vec<_>>(), [false, false, true, false]);
}

#[test]
fn parameter_sets_of_a_picture_that_was_lost_are_kept_and_its_sei_are_not() {
    let (a, b) = (slice(0, true), slice(1, true));
    let sent: Vec<Sent> =
        [(0, &a[..]), (9, PPS), (9, SEI), (9, &b), (18, &b)].into_iter().map(|(t, p)| (t, true, p.to_vec())).collect();
    let pictures = received(VideoCodec::H264, &sent, &[3]).0.expect("regular");
    let got: Vec<_> = pictures.into_iter().map(|p| (p.timestamp, p.lost_packets, p.data)).collect();
    assert_eq!(got, [(0, 0, sample(&[&a])), (18, 1, sample(&[PPS, &b]))]);
}

#[test]
fn a_picture_that_is_too_large_costs_itself_alone() {
    let part = [&[0x7c, 0x05][..], &[0xab; 60_000]].concat();
    let mut sent: Vec<Sent> = vec![(0, true, slice(0, true)), (9, false, vec![0x7c, 0x85, 0x88])];
    sent.extend((0..40).map(|_| (9, false, part.clone())));
    sent.extend([(9, true, vec![0x7c, 0x45, 1]), (18, true, slice(2, true))]);
    let (pictures, odd) = received(VideoCodec::H264, &sent, &[]);
    let got: Vec<_> = pictures.expect("it goes on").into_iter().map(|p| (p.timestamp, p.lost_packets)).collect();
    assert_eq!((got, odd.of(Oddity::OversizedPicture)), (vec![(0, 0), (18, 1)], 1));
}

#[test]
fn another_coding_in_the_stream_ends_it() {
    let sent: Vec<Sent> = [&[0x40, 1, 0x0c, 1][..], &[0x42, 1, 1, 1]].map(|p| (0, true, p.to_vec())).to_vec();
    let error = received(VideoCodec::H264, &sent, &[]).0.expect_err("H.265");
    assert!(error.contains("not of the coding"), "{error}");
    let sent: Vec<Sent> = [SPS, PPS].map(|p| (0, true, p.to_vec())).to_vec();
    assert!(received(VideoCodec::H265, &sent, &[]).0.is_err());
}

/// A picture's NAL units: some that may go before its slice, its slice, one that belongs to it.
fn picture(codec: VideoCodec, n: u32) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let body = || prop::collection::vec(1..=255u8, 0..60);
    let before = (body(), 0..2usize).prop_map(move |(body, kind)| match codec {
        VideoCodec::H264 => [&[[0x06, 0x09][kind]][..], &body].concat(),
        VideoCodec::H265 => [&[[39 << 1, 35 << 1][kind], 1][..], &body].concat(),
    });
    let own = body().prop_map(move |body| match codec {
        VideoCodec::H264 => [slice(n, true), body].concat(),
        VideoCodec::H265 => [segment(n, true), body].concat(),
    });
    (prop::collection::vec(before, 0..4), own).prop_map(|(mut units, own)| {
        units.push(own);
        units
    })
}

/// Packs a picture: fragments of at most `part` bytes where a unit is longer, aggregates where asked to. `markers` says
/// which packets have the marker.
fn pack(
    codec: VideoCodec,
    timestamp: i64,
    units: &[Vec<u8>],
    part: usize,
    aggregate: bool,
    markers: Markers,
) -> Vec<Sent> {
    let header_bytes = codec::header_bytes(codec);
    let mut sent: Vec<Sent> = Vec::new();
    if aggregate && units.len() > 1 {
        let mut payload = if codec == VideoCodec::H264 { vec![0x18] } else { vec![48 << 1, 1] };
        for unit in units {
            payload.extend_from_slice(&(unit.len() as u16).to_be_bytes());
            payload.extend_from_slice(unit);
        }
        sent.push((timestamp, false, payload));
    } else {
        for unit in units {
            if unit.len() <= part + header_bytes {
                sent.push((timestamp, false, unit.clone()));
                continue;
            }
            let (header, body) = unit.split_at(header_bytes);
            let parts: Vec<_> = body.chunks(part).collect();
            for (n, chunk) in parts.iter().enumerate() {
                let flags = u8::from(n == 0) << 7 | u8::from(n + 1 == parts.len()) << 6;
                let head = match codec {
                    VideoCodec::H264 => vec![header[0] & 0xe0 | 28, flags | header[0] & 0x1f],
                    VideoCodec::H265 => vec![49 << 1, header[1], flags | header[0] >> 1],
                };
                sent.push((timestamp, false, [&head[..], chunk].concat()));
            }
        }
    }
    let last = sent.len() - 1;
    for (place, (_, marker, _)) in sent.iter_mut().enumerate() {
        *marker = match markers {
            Markers::None => false,
            Markers::Last => place == last,
            Markers::All => true,
        };
    }
    sent
}

#[derive(Clone, Copy, Debug)]
enum Markers {
    None,
    Last,
    All,
}

fn markers() -> impl Strategy<Value = Markers> {
    prop_oneof![Just(Markers::None), Just(Markers::Last), Just(Markers::All)]
}

fn codec() -> impl Strategy<Value = VideoCodec> {
    prop_oneof![Just(VideoCodec::H264), Just(VideoCodec::H265)]
}

/// A picture's NAL units, the size of the fragments of what is larger, and whether they are aggregated.
type Packed = (Vec<Vec<u8>>, usize, bool);

/// Pictures, how each is packed, and which packets are lost.
fn stream() -> impl Strategy<Value = (VideoCodec, Vec<Packed>, Vec<prop::sample::Index>)> {
    (codec(), 1..8u32).prop_flat_map(|(codec, pictures)| {
        let pictures: Vec<_> = (0..pictures).map(|n| (picture(codec, n), 3..30usize, any::<bool>())).collect();
        (Just(codec), pictures, prop::collection::vec(any::<prop::sample::Index>(), 0..4))
    })
}

proptest! {
    #[test]
    fn what_was_packed_comes_out_whatever_the_markers((codec, pictures, _) in stream(), markers in markers()) {
        let sent: Vec<Sent> = pictures
            .iter()
            .enumerate()
            .flat_map(|(n, (units, part, aggregate))| pack(codec, n as i64 * 3_600, units, *part, *aggregate, markers))
            .collect();
        let expect: Vec<_> = pictures
            .iter()
            .enumerate()
            .map(|(n, (units, ..))| (n as i64 * 3_600, sample(&units.iter().map(Vec::as_slice).collect::<Vec<_>>()), 0))
            .collect();
        let got = received(codec, &sent, &[]).0.expect("a regular stream");
        prop_assert_eq!(got.into_iter().map(|p| (p.timestamp, p.data, p.lost_packets)).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn with_losses_only_units_come_out_that_are_all_there((codec, pictures, lost) in stream()) {
        let sent: Vec<(usize, Sent)> = pictures
            .iter()
            .enumerate()
            .flat_map(|(n, (units, part, aggregate))| {
                pack(codec, n as i64 * 3_600, units, *part, *aggregate, Markers::Last).into_iter().map(move |s| (n, s))
            })
            .collect();
        let lost: std::collections::BTreeSet<usize> = lost.iter().map(|index| index.index(sent.len())).collect();
        let packets: Vec<Sent> = sent.iter().map(|(_, s)| s.clone()).collect();
        let got = received(codec, &packets, &lost.iter().copied().collect::<Vec<_>>()).0;
        let got = got.expect("a loss is no oddity");
        let mut counted = 0;
        for picture in &got {
            counted += picture.lost_packets as usize;
            let n = (picture.timestamp / 3_600) as usize;
            // Each unit was sent so, in this order.
            let mut units = pictures[n].0.iter();
            let mut rest = &picture.data[..];
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let (unit, after) = after.split_at(u32::from_be_bytes(*length) as usize);
                prop_assert!(units.any(|sent| sent == unit), "picture {} holds what was not sent", n);
                rest = after;
            }
        }
        prop_assert!(counted <= lost.len());
        // Every picture comes out whose packets are all there, and each of its units.
        for (n, (units, ..)) in pictures.iter().enumerate() {
            let mut numbers = sent.iter().enumerate().filter(|(_, (of, _))| *of == n).map(|(number, _)| number);
            if numbers.all(|number| !lost.contains(&number)) {
                let whole = sample(&units.iter().map(Vec::as_slice).collect::<Vec<_>>());
                prop_assert!(
                    got.iter().any(|p| p.timestamp == n as i64 * 3_600 && p.data == whole),
                    "picture {} is missing", n
                );
            }
        }
    }

    #[test]
    fn no_packets_make_it_panic(
        codec in codec(),
        packets in prop::collection::vec((0..4i64, any::<bool>(), 0..3u32, prop::collection::vec(any::<u8>(), 0..12)), 0..40),
    ) {
        let (mut depacketiser, mut odd) = (Depacketiser::new(codec, sets(codec), 1 << 20), OddityCounts::default());
        for (timestamp, marker, lost, payload) in packets {
            let arrival = Arrival { timestamp, marker, received: NOW };
            if depacketiser.push(arrival, lost, &payload, &mut odd, |_| ()).is_err() {
                break;
            }
        }
        depacketiser.finish(&mut odd, |_| ());
    }
}
