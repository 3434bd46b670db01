//! What comes out of packets in any order, of any source and numbering.

use proptest::prelude::*;

use super::*;
use footage::units::WallTime;

fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | 96, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1][..], rest].concat()
}

fn check(packet: &[u8], expect: Option<&[u8]>) {
    assert_eq!(Packet::parse(packet).map(|p| p.payload), expect, "{packet:02x?}");
}

#[test]
fn a_packets_payload_is_what_its_header_leaves() {
    check(&packet(0x80, &[1, 2]), Some(&[1, 2]));
    check(&packet(0x82, &[0, 0, 0, 1, 0, 0, 0, 2, 3]), Some(&[3]));
    check(&packet(0x90, &[0xbe, 0xde, 0, 1, 9, 9, 9, 9, 5]), Some(&[5]));
    check(&packet(0xa0, &[1, 2, 0, 2]), Some(&[1, 2]));
    check(&packet(0xb1, &[0, 0, 0, 1, 0, 0, 0, 0, 7, 8, 1]), Some(&[7, 8]));
    // The padding bit without padding.
    check(&packet(0xa0, &[1, 0]), Some(&[1, 0]));
    check(&packet(0xa0, &[1, 3]), Some(&[1, 3]));
}

#[test]
fn what_is_no_rtp_is_none() {
    check(&[0x80; 11], None);
    check(&packet(0x40, &[1]), None);
    check(&packet(0x82, &[0; 7]), None);
    check(&packet(0x90, &[0, 0, 0]), None);
    check(&packet(0x90, &[0, 0, 0, 2, 0, 0, 0, 0]), None);
    check(&packet(0xa0, &[]), None);
}

/// SSRC, sequence number, timestamp, payload type, and when it came in milliseconds.
type Sent = (u32, u16, u32, u8, u64);

/// The payload type that the description names.
const OWN: u8 = 96;

fn at(milliseconds: u64) -> Reading {
    Reading { wall: WallTime(0), mono: Duration::from_millis(milliseconds) }
}

/// Timestamp, packets lost and sequence number of what comes out.
fn placed(announced: Option<u32>, sent: &[Sent]) -> (Vec<(i64, u32, u16)>, OddityCounts) {
    let (mut line, mut odd, mut out) = (RtpTimeline::new(96, 90_000, announced), OddityCounts::default(), Vec::new());
    let mut took = |placed: Placed<'_>, _: &mut OddityCounts| {
        out.push((placed.timestamp, placed.lost, u16::from_be_bytes([placed.payload[0], placed.payload[1]])));
    };
    let mut last = 0;
    for &(ssrc, sequence, timestamp, payload_type, came) in sent {
        let payload = sequence.to_be_bytes();
        let packet = Packet { marker: false, payload_type, sequence, timestamp, ssrc, payload: &payload };
        line.take(&packet, at(came), &mut odd, &mut took);
        last = came;
    }
    line.flush(at(last + 1_000), &mut odd, &mut took);
    (out, odd)
}

fn check_placed(announced: Option<u32>, sent: &[Sent], expect: &[(i64, u32, u16)], kinds: &[(Oddity, u64)]) {
    let (out, odd) = placed(announced, sent);
    assert_eq!(out, expect, "{sent:?}");
    assert_eq!(odd.iter().collect::<Vec<_>>(), kinds, "{sent:?}");
}

#[test]
fn sequence_numbers_and_timestamps_go_on_past_their_ends() {
    let sent = [(1, 65_534, u32::MAX - 1, OWN, 0), (1, 65_535, 5, OWN, 1), (1, 0, u32::MAX, OWN, 2), (1, 3, 7, OWN, 3)];
    let end = i64::from(u32::MAX);
    let expect = [(end - 1, 0, 65_534), (end + 6, 0, 65_535), (end, 0, 0), (end + 8, 2, 3)];
    check_placed(None, &sent, &expect, &[]);
}

#[test]
fn packets_that_come_twice_or_in_another_order_are_put_in_their_place() {
    let sent = [
        (1, 1, 10, OWN, 0),
        (1, 1, 10, OWN, 0),
        (1, 3, 30, OWN, 0),
        (1, 2, 20, OWN, 0),
        (1, 3, 30, OWN, 0),
        (1, 4, 40, OWN, 0),
    ];
    let expect = [(10, 0, 1), (20, 0, 2), (30, 0, 3), (40, 0, 4)];
    check_placed(None, &sent, &expect, &[(Oddity::DuplicatePacket, 2), (Oddity::ReorderedPacket, 1)]);
}

#[test]
fn a_packet_that_is_missing_for_long_is_lost_and_late_when_it_comes() {
    let sent = [(1, 1, 10, OWN, 0), (1, 3, 30, OWN, 0), (1, 4, 40, OWN, 600), (1, 2, 20, OWN, 601)];
    check_placed(None, &sent, &[(10, 0, 1), (30, 1, 3), (40, 0, 4)], &[(Oddity::LatePacket, 1)]);
}

#[test]
fn packets_of_other_types_take_no_part_in_the_order() {
    let sent = [(1, 1, 10, OWN, 0), (1, 2, 10, 50, 0), (1, 2, 20, OWN, 0)];
    check_placed(None, &sent, &[(10, 0, 1), (20, 0, 2)], &[(Oddity::ForeignPayloadType, 1)]);
    // The description names another type than the stream has.
    let sent = [(1, 1, 10, 98, 0), (1, 2, 20, 98, 0)];
    check_placed(None, &sent, &[(10, 0, 1), (20, 0, 2)], &[(Oddity::OtherPayloadType, 1)]);
    // One of another type comes first.
    let sent = [(1, 1, 10, 97, 0), (1, 2, 20, OWN, 0), (1, 3, 20, 97, 0), (1, 3, 30, OWN, 0)];
    let kinds = [(Oddity::ForeignPayloadType, 1), (Oddity::OtherPayloadType, 1)];
    check_placed(None, &sent, &[(10, 0, 1), (20, 0, 2), (30, 0, 3)], &kinds);
}

#[test]
fn numbers_that_begin_again_lose_nothing() {
    let sent = [(1, 40_000, 10, OWN, 0), (1, 0, 20, OWN, 40), (1, 1, 30, OWN, 80), (1, 2, 40, OWN, 120)];
    let expect = [(10, 0, 40_000), (20, 0, 0), (30, 0, 1), (40, 0, 2)];
    check_placed(None, &sent, &expect, &[(Oddity::SequenceRestarted, 1)]);
    // Even where they go back a little only.
    let sent = [(1, 40, 10, OWN, 0), (1, 0, 20, OWN, 40), (1, 1, 30, OWN, 80)];
    check_placed(None, &sent, &[(10, 0, 40), (20, 0, 0), (30, 0, 1)], &[(Oddity::SequenceRestarted, 1)]);
}

#[test]
fn a_stream_goes_on_under_another_source_after_the_time_that_passed() {
    let sent: Vec<Sent> = (0..20u16)
        .map(|n| match n {
            0..5 => (1, 100 + n, 9_000 + u32::from(n) * 3_600, OWN, u64::from(n) * 40),
            _ => (2, n, u32::from(n) * 3_600, OWN, u64::from(n) * 40),
        })
        .collect();
    let (out, odd) = placed(None, &sent);
    let timestamps: Vec<i64> = out.iter().map(|(timestamp, ..)| *timestamp).collect();
    assert_eq!(timestamps, (0..20).map(|n| 9_000 + n * 3_600).collect::<Vec<i64>>());
    assert_eq!(odd.iter().collect::<Vec<_>>(), [(Oddity::SourceChanged, 1)]);
}

#[test]
fn packets_of_others_between_those_of_the_stream_are_left_out() {
    let sent = [(1, 1, 10, OWN, 0), (9, 70, 5, OWN, 1), (9, 71, 5, OWN, 2), (1, 2, 20, OWN, 3), (1, 3, 30, OWN, 4)];
    check_placed(None, &sent, &[(10, 0, 1), (20, 0, 2), (30, 0, 3)], &[(Oddity::ForeignSource, 2)]);
    // One with a number out of the way.
    let sent = [(1, 1, 10, OWN, 0), (1, 30_000, 99, OWN, 1), (1, 2, 20, OWN, 3), (1, 3, 30, OWN, 4)];
    check_placed(None, &sent, &[(10, 0, 1), (20, 0, 2), (30, 0, 3)], &[(Oddity::ForeignSource, 1)]);
}

#[test]
fn the_rest_of_an_old_session_is_left_out_where_the_new_source_is_announced() {
    let sent = [(9, 70, 5, OWN, 0), (9, 71, 6, OWN, 0), (1, 1, 10, OWN, 1), (1, 2, 20, OWN, 2)];
    check_placed(Some(1), &sent, &[(10, 0, 1), (20, 0, 2)], &[(Oddity::ForeignSource, 2)]);
    // The announcement was a lie: what was held comes out.
    let sent = [(9, 70, 5, OWN, 0), (9, 71, 6, OWN, 300), (9, 72, 7, OWN, 600)];
    check_placed(Some(1), &sent, &[(5, 0, 70), (6, 0, 71), (7, 0, 72)], &[]);
}

#[test]
fn only_reports_of_the_stream_say_something() {
    let report =
        |ssrc: u8| [&[0x80, 200, 0, 6, 0, 0, 0, ssrc][..], &7u64.to_be_bytes(), &[0, 0, 0, 9], &[0; 8]].concat();
    let check = |packet: &[u8], expect: Option<(i64, u64)>, kinds: &[Oddity]| {
        let (mut line, mut odd) = (RtpTimeline::new(96, 90_000, None), OddityCounts::default());
        assert_eq!(line.sender_report(&report(1), &mut odd), None, "before the first packet");
        let packet_of_one =
            Packet { marker: false, payload_type: 96, sequence: 0, timestamp: 5, ssrc: 1, payload: &[] };
        line.take(&packet_of_one, at(0), &mut odd, &mut |_, _| ());
        assert_eq!(line.sender_report(packet, &mut odd), expect, "{packet:02x?}");
        assert_eq!(odd.iter().map(|(kind, _)| kind).collect::<Vec<_>>(), kinds, "{packet:02x?}");
    };
    check(&report(1), Some((9, 7)), &[]);
    check(&report(2), None, &[Oddity::ForeignReport]);
    let receiver = [0x80, 201, 0, 1, 0, 0, 0, 1];
    check(&receiver, None, &[]);
    check(&[&receiver[..], &report(1)].concat(), Some((9, 7)), &[]);
    check(&[&report(1)[..], &[0x81, 203, 0, 1, 0, 0, 0, 1]].concat(), Some((9, 7)), &[Oddity::Bye]);
    check(&[&report(1)[..], &[0x81, 202, 0, 9, 0]].concat(), Some((9, 7)), &[Oddity::CorruptReport]);
    check(&report(1)[..20], None, &[Oddity::CorruptReport]);
    check(&[0x80, 200, 0, 1, 0, 0, 0, 1], None, &[Oddity::CorruptReport]);
    check(&[0x13; 20], None, &[Oddity::CorruptReport]);
    check(&[], None, &[Oddity::CorruptReport]);
}

proptest! {
    #[test]
    fn whatever_the_order_within_the_window_each_packet_comes_out_once(
        swaps in prop::collection::vec((0..60usize, 0..8usize), 0..30),
        twice in prop::collection::vec(0..60usize, 0..10),
    ) {
        let mut order: Vec<u16> = (1..61).collect();
        for (place, by) in swaps {
            let other = (place + by).min(order.len() - 1);
            order.swap(place, other);
        }
        for place in twice {
            order.insert(place, order[place]);
        }
        // The first that comes is where the stream begins.
        let sent: Vec<Sent> = [0].into_iter().chain(order).map(|n| (1, n, u32::from(n), OWN, 0)).collect();
        let (out, _) = placed(None, &sent);
        prop_assert_eq!(out, (0..61).map(|n| (i64::from(n), 0, n)).collect::<Vec<_>>());
    }

    #[test]
    fn no_packets_make_it_panic_or_hold_much(
        sent in prop::collection::vec((0..3u32, any::<u16>(), any::<u32>(), 94..98u8, 0..9u64), 0..200),
    ) {
        let mut came = 0;
        let sent: Vec<Sent> = sent.into_iter().map(|(s, q, t, p, d)| { came += d * 50; (s, q, t, p, came) }).collect();
        let (out, _) = placed(None, &sent);
        prop_assert!(out.len() <= sent.len());
    }
}

#[test]
fn the_extension_of_a_replay_is_read_and_no_other() {
    let ntp = 0xee82_11f0_8000_0000_u64;
    let packet = |first: u8, profile: u16, words: u16, flags: u8, sources: usize| {
        let head = [&[first | sources as u8, 96], &[0; 10][..], &vec![0; 4 * sources]].concat();
        let extension =
            [&profile.to_be_bytes()[..], &words.to_be_bytes(), &ntp.to_be_bytes(), &[flags, 7, 0, 0]].concat();
        [head, extension, vec![0x65, 0x88]].concat()
    };
    let mark = |follows_hole, is_last| Some(ReplayMark { ntp, follows_hole, is_last });
    assert_eq!(replay_mark(&packet(0x90, 0xabac, 3, 0x80, 0)), mark(false, false));
    assert_eq!(replay_mark(&packet(0x90, 0xabac, 3, 0x20, 2)), mark(true, false));
    assert_eq!(replay_mark(&packet(0x90, 0xabac, 4, 0x50, 0)), mark(false, true));
    assert_eq!(replay_mark(&packet(0x80, 0xabac, 3, 0, 0)), None, "no extension");
    assert_eq!(replay_mark(&packet(0x90, 0xbede, 3, 0, 0)), None, "another extension");
    assert_eq!(replay_mark(&packet(0x90, 0xabac, 2, 0, 0)), None, "too short to be it");
    let whole = packet(0x90, 0xabac, 3, 0x80, 1);
    assert!((0..12 + 4 + 4 + 9).all(|length| replay_mark(&whole[..length]).is_none()), "cut off");
}
