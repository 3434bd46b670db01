//! Laws of the depacketiser: what was packed comes out, and nothing that lost a byte does.

use proptest::prelude::*;

use super::*;

const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x0d, 0xd9];
const PPS: &[u8] = &[0x68, 0xcb, 0x8c, 0xb2];

fn sets() -> ParameterSets {
    ParameterSets { video: Bytes::new(), sequence: Bytes::from_static(SPS), picture: Bytes::from_static(PPS) }
}

/// One payload with its timestamp and marker.
type Sent = (i64, bool, Vec<u8>);

/// Everything that comes out of packets, where those with these numbers are lost.
fn received(codec: VideoCodec, sent: &[Sent], lost: &[usize]) -> Result<Vec<Picture>, String> {
    let (mut depacketiser, mut pictures, mut missing) = (Depacketiser::new(codec, sets()), Vec::new(), 0);
    for (number, (timestamp, marker, payload)) in sent.iter().enumerate() {
        if lost.contains(&number) {
            missing += 1;
            continue;
        }
        let before = std::mem::take(&mut missing);
        depacketiser.push(*timestamp, *marker, before, payload, |picture| pictures.push(picture))?;
    }
    Ok(pictures)
}

fn sample(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes()[..], unit].concat()).collect()
}

fn check(codec: VideoCodec, sent: &[(i64, bool, &[u8])], expect: &[(i64, Vec<u8>)]) {
    let sent: Vec<Sent> = sent.iter().map(|(t, m, p)| (*t, *m, p.to_vec())).collect();
    let pictures = received(codec, &sent, &[]).expect("a regular stream");
    assert_eq!(pictures.into_iter().map(|p| (p.timestamp, p.data)).collect::<Vec<_>>(), expect);
}

fn check_refused(codec: VideoCodec, payloads: &[&[u8]], words: &str) {
    let sent: Vec<Sent> = payloads.iter().map(|p| (0, false, p.to_vec())).collect();
    let error = received(codec, &sent, &[]).expect_err("an irregular stream");
    assert!(error.contains(words), "{error:?} in the place of {words:?}");
}

#[test]
fn pictures_end_with_their_marker_or_with_the_next_timestamp() {
    let picture = |unit: &[u8]| sample(&[unit]);
    let (a, b, c) = (&[0x41, 1][..], &[0x41, 2][..], &[0x41, 3][..]);
    check(
        VideoCodec::H264,
        &[(0, false, a), (9, true, b), (18, true, c)],
        &[(0, picture(a)), (9, picture(b)), (18, picture(c))],
    );
    // Two slices.
    check(VideoCodec::H264, &[(0, false, a), (0, true, b)], &[(0, sample(&[a, b]))]);
}

#[test]
fn what_goes_before_a_picture_does_not_end_one_whatever_the_marker_says() {
    let (sei, idr) = (&[0x06, 5][..], &[0x65, 0x88][..]);
    check(
        VideoCodec::H264,
        &[(0, true, SPS), (0, true, PPS), (0, true, sei), (7, true, idr)],
        &[(7, sample(&[sei, idr]))],
    );
}

#[test]
fn aggregated_units_are_told_apart() {
    let packet = [&[0x18, 0, 5][..], SPS, &[0, 4], PPS, &[0, 2, 0x65, 0x88]].concat();
    check(VideoCodec::H264, &[(3, true, &packet)], &[(3, sample(&[&[0x65, 0x88]]))]);
    let packet = [48 << 1, 1, 0, 3, 0x46, 1, 0x50, 0, 3, 0x26, 1, 0xaf];
    check(VideoCodec::H265, &[(3, true, &packet)], &[(3, sample(&[&[0x46, 1, 0x50], &[0x26, 1, 0xaf]]))]);
}

#[test]
fn only_parameter_sets_that_differ_are_new() {
    let other = [SPS, &[1]].concat();
    let idr = vec![0x65, 0x88];
    let sent = [
        (0, false, SPS.to_vec()),
        (0, true, idr.clone()),
        (9, false, other.clone()),
        (9, true, idr.clone()),
        (18, false, other),
        (18, true, idr),
    ];
    let pictures = received(VideoCodec::H264, &sent, &[]).expect("a regular stream");
    assert_eq!(pictures.iter().map(|p| p.new_sets.is_some()).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(
        pictures[1].new_sets.as_ref().map(|sets| sets.picture.to_vec()),
        Some(PPS.to_vec()),
        "with those that stay"
    );
}

#[test]
fn parameter_sets_of_a_picture_that_was_lost_are_not_taken() {
    let other = [SPS, &[1]].concat();
    let sent = [
        (0, true, vec![0x65, 0x88]),
        (9, false, other),
        (9, false, vec![0x65, 0x88]),
        (9, true, vec![0x65, 0x08]),
        (18, true, vec![0x41, 1]),
    ];
    let pictures = received(VideoCodec::H264, &sent, &[2]).expect("a regular stream");
    assert_eq!(
        pictures.iter().map(|p| (p.timestamp, p.lost_packets, p.new_sets.is_some())).collect::<Vec<_>>(),
        [(0, 0, false), (18, 1, false)]
    );
}

#[test]
fn irregular_streams_are_refused_with_their_reason() {
    use VideoCodec::{H264, H265};
    check_refused(H264, &[&[]], "Empty NAL");
    check_refused(H264, &[&[0xe5]], "forbidden bit");
    check_refused(H264, &[&[0x1d, 0]], "packetisation mode");
    check_refused(H264, &[&[0x18]], "empty");
    check_refused(H264, &[&[0x18, 0]], "cut off");
    check_refused(H264, &[&[0x18, 0, 3, 0x65]], "cut off");
    check_refused(H264, &[&[0x18, 0, 0]], "Empty NAL");
    check_refused(H264, &[&[0x18, 0, 1, 0x1c]], "type 28 inside another");
    check_refused(H264, &[&[0x7c]], "too short");
    check_refused(H264, &[&[0x7c, 0x85, 1], &[0x41, 1]], "in the middle of a fragmented one");
    check_refused(H264, &[&[0x7c, 0x85, 1], &[0x7c, 0x85, 1]], "begins in the middle");
    check_refused(H264, &[&[0x41, 1, 0, 0, 1, 0x41]], "start code");
    check_refused(H264, &[&[0x7c, 0x87, 1, 0], &[0x7c, 0x47, 0, 1]], "start code");
    check_refused(H265, &[&[0x26]], "Short NAL");
    check_refused(H265, &[&[0x80, 1]], "forbidden bit");
    check_refused(H265, &[&[50 << 1, 1]], "type 50");
    check_refused(H265, &[&[49 << 1, 1]], "too short");
    let ends_early = [(0, true, vec![0x7c, 0x85, 1])];
    assert!(received(H264, &ends_early, &[]).is_err_and(|e| e.contains("ends before")));
    let changes = [(0, false, vec![0x7c, 0x85, 1]), (9, false, vec![0x7c, 0x05, 1])];
    assert!(received(H264, &changes, &[]).is_err_and(|e| e.contains("timestamp changed")));
    let from_nowhere = [(0, true, vec![0x41, 1]), (9, false, vec![0x7c, 0x05, 1])];
    assert!(received(H264, &from_nowhere, &[]).is_err_and(|e| e.contains("did not begin")));
}

/// A picture's NAL units, which hold no start code and are no parameter sets.
fn picture(codec: VideoCodec) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let unit = (prop::collection::vec(1..=255u8, 0..60), 0..3usize).prop_map(move |(body, kind)| match codec {
        VideoCodec::H264 => [&[[0x06, 0x41, 0x65][kind]][..], &body].concat(),
        VideoCodec::H265 => [&[[40 << 1, 1 << 1, 19 << 1][kind], 1][..], &body].concat(),
    });
    // The last may end a picture.
    let last = prop::collection::vec(1..=255u8, 0..60).prop_map(move |body| match codec {
        VideoCodec::H264 => [&[0x41][..], &body].concat(),
        VideoCodec::H265 => [&[1 << 1, 1][..], &body].concat(),
    });
    (prop::collection::vec(unit, 0..4), last).prop_map(|(mut units, last)| {
        units.push(last);
        units
    })
}

/// Packs a picture: fragments of at most `part` bytes where a unit is longer, aggregates where asked to.
fn pack(codec: VideoCodec, timestamp: i64, units: &[Vec<u8>], part: usize, aggregate: bool) -> Vec<Sent> {
    let header_bytes = if codec == VideoCodec::H264 { 1 } else { 2 };
    let mut sent: Vec<Sent> = Vec::new();
    if aggregate && units.len() > 1 {
        let mut payload = if codec == VideoCodec::H264 { vec![0x18] } else { vec![48 << 1, 1] };
        for unit in units {
            payload.extend_from_slice(&(unit.len() as u16).to_be_bytes());
            payload.extend_from_slice(unit);
        }
        return vec![(timestamp, true, payload)];
    }
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
    if let Some((_, marker, _)) = sent.last_mut() {
        *marker = true;
    }
    sent
}

fn codec() -> impl Strategy<Value = VideoCodec> {
    prop_oneof![Just(VideoCodec::H264), Just(VideoCodec::H265)]
}

/// A picture's NAL units, the size of the fragments of what is larger, and whether they are aggregated.
type Packed = (Vec<Vec<u8>>, usize, bool);

/// Pictures, how each is packed, and which packets are lost.
fn stream() -> impl Strategy<Value = (VideoCodec, Vec<Packed>, Vec<prop::sample::Index>)> {
    codec().prop_flat_map(|codec| {
        let pictures = prop::collection::vec((picture(codec), 3..30usize, any::<bool>()), 1..8);
        (Just(codec), pictures, prop::collection::vec(any::<prop::sample::Index>(), 0..4))
    })
}

proptest! {
    #[test]
    fn what_was_packed_comes_out((codec, pictures, _) in stream()) {
        let sent: Vec<Sent> = pictures
            .iter()
            .enumerate()
            .flat_map(|(n, (units, part, aggregate))| pack(codec, n as i64 * 3_600, units, *part, *aggregate))
            .collect();
        let expect: Vec<Picture> = pictures
            .iter()
            .enumerate()
            .map(|(n, (units, ..))| Picture {
                timestamp: n as i64 * 3_600,
                data: sample(&units.iter().map(Vec::as_slice).collect::<Vec<_>>()),
                lost_packets: 0,
                new_sets: None,
            })
            .collect();
        prop_assert_eq!(received(codec, &sent, &[]), Ok(expect));
    }

    #[test]
    fn with_losses_only_pictures_come_out_whose_fragments_are_all_there((codec, pictures, lost) in stream()) {
        let sent: Vec<(usize, Sent)> = pictures
            .iter()
            .enumerate()
            .flat_map(|(n, (units, part, aggregate))| {
                pack(codec, n as i64 * 3_600, units, *part, *aggregate).into_iter().map(move |s| (n, s))
            })
            .collect();
        let lost: std::collections::BTreeSet<usize> = lost.iter().map(|index| index.index(sent.len())).collect();
        let packets: Vec<Sent> = sent.iter().map(|(_, s)| s.clone()).collect();
        let got = received(codec, &packets, &lost.iter().copied().collect::<Vec<_>>());
        let got = got.expect("a loss that is told is no irregularity");
        let mut counted = 0;
        for picture in &got {
            counted += picture.lost_packets as usize;
            let n = (picture.timestamp / 3_600) as usize;
            let whole = sample(&pictures[n].0.iter().map(Vec::as_slice).collect::<Vec<_>>());
            // Whole units may be missing before the first that came; nothing else.
            prop_assert!(whole.ends_with(&picture.data), "picture {} is cut", n);
            let first = sent.iter().position(|(of, _)| *of == n).expect("it was sent");
            let missing = lost.range(first..).take_while(|number| sent[**number].0 == n).count();
            prop_assert!(missing > 0 || picture.data == whole, "picture {} lost nothing", n);
        }
        prop_assert!(counted <= lost.len());
        // Every picture none of whose packets is lost, nor the one before its first, comes out.
        for n in 0..pictures.len() {
            let mut numbers = sent.iter().enumerate().filter(|(_, (of, _))| *of == n).map(|(number, _)| number);
            if numbers.all(|number| !lost.contains(&number)) {
                prop_assert!(got.iter().any(|p| p.timestamp == n as i64 * 3_600), "picture {} is missing", n);
            }
        }
    }

    #[test]
    fn no_packets_make_it_panic(
        codec in codec(),
        packets in prop::collection::vec((0..4i64, any::<bool>(), 0..3u32, prop::collection::vec(any::<u8>(), 0..12)), 0..40),
    ) {
        let mut depacketiser = Depacketiser::new(codec, sets());
        for (timestamp, marker, lost, payload) in packets {
            if depacketiser.push(timestamp, marker, lost, &payload, |_| ()).is_err() {
                break;
            }
        }
    }
}
