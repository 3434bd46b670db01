use super::*;
use crate::pack::testing::header;
use crate::pack::{PackTable, format};
use proptest::collection::vec;
use proptest::prelude::*;

fn samples(count: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<Sample>> {
    let sample = (0u32..1 << 24, any::<u32>(), any::<i32>());
    (vec(sample, count), any::<bool>()).prop_map(|(mut list, same)| {
        let first = list.first().copied().filter(|_| same);
        list.iter_mut().zip(first.into_iter().cycle()).for_each(|(s, first)| (s.1, s.2) = (first.1, 0));
        list.into_iter()
            .map(|(size, duration, composition_offset)| Sample { size, duration, composition_offset })
            .collect()
    })
}

fn gaps() -> impl Strategy<Value = Vec<Gap>> {
    let gap = (any::<i64>(), any::<i64>(), 0..GapCause::ALL.len(), any::<u32>());
    vec(gap, 0..3).prop_map(|gaps| {
        gaps.into_iter()
            .map(|(start, end, cause, lost_packets)| Gap {
                start: WallTime(start),
                end: WallTime(end),
                cause: GapCause::ALL[cause],
                lost_packets,
            })
            .collect()
    })
}

/// An entry whose times and place are yet relative to the end of the one before.
fn entry() -> impl Strategy<Value = FragmentEntry> {
    let times = (0i64..1 << 40, 0i64..1 << 40, 0i64..1 << 40, any::<Option<i64>>(), 0..=i64::MAX);
    let rest = (any::<[u8; 32]>(), any::<bool>(), 0u32..1 << 20);
    (samples(1..20), samples(0..5), times, rest, gaps()).prop_map(
        |(video, audio, (decode, wall, length, camera, audio_time), (id, random_access, header_bytes), gaps)| {
            FragmentEntry {
                offset: 0,
                header_bytes,
                data_bytes: video.iter().chain(&audio).map(|s| s.size).sum(),
                id: FragmentId(id),
                decode_time: Ticks90k(decode),
                random_access,
                video,
                audio,
                audio_decode_time: audio_time,
                stamp: Stamp {
                    wall_start: WallTime(wall),
                    wall_duration: Ticks90k(length),
                    camera_time: camera.map(WallTime),
                    gaps,
                },
                place: None,
            }
        },
    )
}

/// Puts them one after the other.
fn table_of(entries: Vec<FragmentEntry>, wall_start: i64) -> PackTable {
    let mut table = PackTable { header: header(), init_bytes: 777, fragments: Vec::new() };
    let (mut decode, mut wall) = (0, wall_start);
    for mut entry in entries {
        entry.offset = table.end();
        entry.random_access |= table.fragments.is_empty();
        entry.decode_time.0 += decode;
        entry.stamp.wall_start.0 += wall;
        decode = entry.decode_time.0 + entry.duration().0;
        wall = entry.wall_end().0;
        table.fragments.push(Arc::new(entry));
    }
    table
}

proptest! {
    #[test]
    fn table_encode_then_decode_is_identity(entries in vec(entry(), 0..8), wall in -1i64 << 50..1 << 60) {
        let table = table_of(entries, wall);
        let coded = format::table(&table);
        let pack_bytes = table.end() + coded.len() as u64;
        prop_assert_eq!(format::decode_table(&coded, pack_bytes).unwrap(), table);
    }

    #[test]
    fn a_hold_travels_in_the_header_whole(
        id: [u8; 16], start in -1i64 << 60..1 << 60, length in 1i64..1 << 60, until: i64, placed: i64,
        reference in ".{0,40}", requester in ".{0,40}", reason in ".{0,40}",
    ) {
        let range = TimeRange::new(WallTime(start), WallTime(start + length)).unwrap();
        let (until, placed) = (WallTime(until), WallTime(placed));
        let hold = HoldFacts { id: HoldId(id), range, reference, requester, reason, until, placed };
        let held = PackHeader { hold: Some(Arc::new(hold)), ..header() };
        let mut out = Vec::new();
        put_header(&mut out, &held);
        prop_assert_eq!(Input(&out).header(), Ok(held));
    }

    #[test]
    fn fragment_header_encode_then_decode_is_identity(entry in entry(), index: u32) {
        let mut boxes = Vec::new();
        let pack = header().pack;
        format::fragment_header(&mut boxes, pack, index, &entry);
        let reported = format::decode_fragment_header(&boxes, 0, pack, index).unwrap();
        prop_assert_eq!(reported, FragmentEntry { header_bytes: boxes.len() as u32, ..entry });
    }

    #[test]
    fn numbers_encode_then_decode_to_themselves(unsigned: u64, signed: i64) {
        let mut out = Vec::new();
        put_varint(&mut out, unsigned);
        put_signed(&mut out, signed);
        let mut input = Input(&out);
        prop_assert_eq!((input.varint(), input.signed()), (Ok(unsigned), Ok(signed)));
        prop_assert!(input.0.is_empty());
    }
}

#[test]
fn a_count_larger_than_the_bytes_that_follow_is_refused_before_anything_is_allocated() {
    for count in [3, 1 << 20, u64::MAX] {
        let mut out = Vec::new();
        put_varint(&mut out, count);
        out.extend([0, 0]);
        assert_eq!(Input(&out).samples(), Err("it ends too soon"), "{count}");
        assert_eq!(Input(&out).gaps(0), Err("it ends too soon"), "{count}");
    }
}
