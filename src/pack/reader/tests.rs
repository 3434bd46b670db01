use super::*;
use crate::clock::Reading;
use crate::media::{Fragment, Gap, GapCause, Sample, VideoCodec, VideoParams};
use crate::pack::writer::PackWriter;
use crate::pack::{PackHeader, Stamp};
use crate::units::{RunId, Ticks90k, WallTime};
use proptest::prelude::*;
use std::path::PathBuf;

const SECOND: i64 = 90_000;

fn key() -> DomainKey {
    DomainKey::for_tenant(&[3; 32], &"town".parse().unwrap())
}

fn header() -> PackHeader {
    let video = VideoParams {
        codec: VideoCodec::H264,
        width: 704,
        height: 576,
        sample_entry: Bytes::from_static(b"\0\0\0\x10avc1\x01\x02\x03\x04\x05\x06\x07\x08"),
        rfc6381: "avc1.4D001E".into(),
    };
    PackHeader {
        pack: PackId([7; 16]),
        camera: "town/hall".parse().unwrap(),
        run: RunId([8; 16]),
        params: Arc::new(Params { video, audio: None }),
    }
}

/// The `n`th fragment: a second long, its samples of these sizes.
fn fragment(n: i64, sizes: &[u32]) -> (Fragment, Stamp) {
    let received = Reading { wall: WallTime(0), mono: std::time::Duration::ZERO };
    let each = (SECOND / sizes.len() as i64) as u32;
    let last = SECOND as u32 - each * (sizes.len() as u32 - 1);
    let video: Vec<Sample> = sizes
        .iter()
        .enumerate()
        .map(|(i, &size)| {
            let duration = if i + 1 == sizes.len() { last } else { each };
            Sample { size, duration, composition_offset: (i as i32 % 3) - 1 }
        })
        .collect();
    let bytes = |i: usize, size: u32| (0..size).map(|j| (i as u32 * 31 + j * 7 + n as u32) as u8).collect::<Vec<u8>>();
    let fragment = Fragment {
        params: header().params,
        decode_time: Ticks90k(n * SECOND),
        duration: Ticks90k(SECOND),
        random_access: n % 2 == 0,
        video,
        audio: Vec::new(),
        audio_decode_time: 0,
        payload: sizes.iter().enumerate().map(|(i, &size)| bytes(i, size).into()).collect(),
        first_timestamp: 0,
        first_received: received,
        last_received: received,
        losses: Vec::new(),
    };
    let start = WallTime((1_700_000_000 + n) * SECOND);
    let gap = Gap { start: start.saturating_sub(Ticks90k(9)), end: start, cause: GapCause::Silent, lost_packets: 0 };
    let stamp = Stamp {
        wall_start: start,
        wall_duration: Ticks90k(SECOND),
        camera_time: (n % 3 > 0).then(|| start.saturating_add(Ticks90k(n))),
        gaps: if n == 0 { vec![gap] } else { Vec::new() },
    };
    (fragment, stamp)
}

struct Pack {
    _dir: tempfile::TempDir,
    path: PathBuf,
    table: PackTable,
    bytes: Vec<u8>,
}

fn pack(fragments: &[Vec<u32>]) -> Pack {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("07070707070707070707070707070707.mp4");
    let mut writer = PackWriter::create(&path, header(), key()).unwrap();
    for (n, sizes) in fragments.iter().enumerate() {
        let (fragment, stamp) = fragment(n as i64, sizes);
        writer.append(&fragment, stamp).unwrap();
    }
    let (table, size) = writer.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, size);
    Pack { _dir: dir, path, table, bytes }
}

fn shapes() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0u32..400, 1..30), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn written_then_read_is_identity(shape in shapes()) {
        let pack = pack(&shape);
        prop_assert_eq!(&read_table(&pack.path).unwrap(), &pack.table);
        let scan = scan(&pack.path, &key()).unwrap();
        prop_assert!(scan.finished && scan.damage.is_none());
        prop_assert_eq!(&scan.table, &Some(pack.table.clone()));
        prop_assert_eq!(verify_pack(&pack.path, &key()).unwrap(), pack.table);
    }

    #[test]
    fn any_prefix_scans_to_its_whole_fragments_and_can_be_gone_on_with(shape in shapes(), cut in any::<prop::sample::Index>()) {
        let pack = pack(&shape);
        let cut = cut.index(pack.bytes.len());
        std::fs::write(&pack.path, &pack.bytes[..cut]).unwrap();
        let found = scan(&pack.path, &key()).unwrap();
        prop_assert!(!found.finished);
        let whole = pack.table.fragments.iter().filter(|f| f.end() <= cut as u64).count();
        if cut < pack.table.init_bytes as usize {
            prop_assert!(found.table.is_none());
            return Ok(());
        }
        prop_assert_eq!(&found.table.as_ref().unwrap().fragments[..], &pack.table.fragments[..whole]);
        let (table, _) = PackWriter::resume(&pack.path, found, key()).unwrap().finish().unwrap();
        prop_assert_eq!(verify_pack(&pack.path, &key()).unwrap(), table);
    }

    #[test]
    fn one_flipped_bit_anywhere_is_found(shape in shapes(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let pack = pack(&shape);
        let at = at.index(pack.bytes.len());
        let mut bytes = pack.bytes.clone();
        bytes[at] ^= 1 << bit;
        std::fs::write(&pack.path, bytes).unwrap();
        let places = verify_pack(&pack.path, &key()).expect_err("the flip was not seen");
        let hit = pack.table.fragments.iter().find(|f| (f.offset..f.end()).contains(&(at as u64)));
        if let Some(hit) = hit {
            let named = places.iter().any(|e| matches!(e,
                PackError::Corrupt { offset, .. } | PackError::Malformed { offset, .. } if *offset == hit.offset));
            prop_assert!(named, "byte {at} is in the fragment at {}, and {places:?} were named", hit.offset);
            prop_assert_eq!(places.len(), 1);
        }
    }

    #[test]
    fn a_tail_that_is_too_short_says_how_much_is_needed(shape in shapes()) {
        let pack = pack(&shape);
        let size = pack.bytes.len();
        let table_bytes = size as u64 - pack.table.end();
        let tail = |n: usize| table_from_tail(&pack.bytes[size - n..], size as u64).unwrap();
        prop_assert!(matches!(tail(20), Tail::NeedBytes(n) if n == table_bytes));
        prop_assert!(matches!(tail(table_bytes as usize), Tail::Table(t) if t == pack.table));
    }
}

#[test]
fn a_pack_begins_with_its_initialisation_segment() {
    let pack = pack(&[vec![10]]);
    assert!(pack.bytes.starts_with(&init_segment(&header().params)));
}

#[test]
fn a_table_costs_less_than_five_bytes_a_sample() {
    let shape: Vec<Vec<u32>> =
        (0..120).map(|n| (0..25).map(|i| 15_000 + (n * 7919 + i * 104_729) % 9_000).collect()).collect();
    let pack = pack(&shape);
    let per_sample = (pack.bytes.len() as u64 - pack.table.end()) as f64 / (120.0 * 25.0);
    assert!(per_sample < 5.0, "{per_sample} bytes a sample");
}

fn check_refused(change: impl FnOnce(&mut Fragment, &mut Stamp), expect: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    let mut writer = PackWriter::create(&path, header(), key()).unwrap();
    let (first, stamp) = fragment(0, &[10, 20]);
    writer.append(&first, stamp).unwrap();
    let before = (writer.bytes(), std::fs::metadata(&path).unwrap().len());
    let (mut next, mut stamp) = fragment(1, &[10, 20]);
    change(&mut next, &mut stamp);
    let error = writer.append(&next, stamp).unwrap_err().to_string();
    assert!(error.contains(expect), "{error}");
    assert_eq!((writer.bytes(), std::fs::metadata(&path).unwrap().len()), before, "nothing was written");
}

#[test]
fn what_would_break_a_pack_is_refused_and_leaves_it_whole() {
    check_refused(|f, _| f.decode_time = Ticks90k(SECOND - 1), "decode time");
    check_refused(|_, s| s.wall_start = s.wall_start.saturating_sub(Ticks90k(1)), "wall-clock time");
    check_refused(|f, _| f.video[0].size += 1, "add up");
    check_refused(|f, _| (f.video, f.payload) = (Vec::new(), Vec::new()), "no picture");
    check_refused(
        |f, _| {
            let mut params = (*f.params).clone();
            params.video.width += 1;
            f.params = Arc::new(params);
        },
        "sample descriptions",
    );
}

#[test]
fn a_pack_that_does_not_begin_with_a_random_access_point_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = PackWriter::create(&dir.path().join("a.mp4"), header(), key()).unwrap();
    let (p, stamp) = fragment(1, &[10]);
    assert!(matches!(writer.append(&p, stamp), Err(PackError::Refused { .. })));
}

#[test]
fn another_tenants_key_does_not_verify() {
    let pack = pack(&[vec![10]]);
    let other = DomainKey::for_tenant(&[3; 32], &"other".parse().unwrap());
    assert!(matches!(verify_pack(&pack.path, &other).unwrap_err()[..], [PackError::Corrupt { .. }]));
}
