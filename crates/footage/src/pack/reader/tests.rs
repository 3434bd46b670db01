use super::*;
use crate::pack::testing::{fragment, header, key, pack, shapes};
use crate::pack::writer::PackWriter;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn written_then_read_is_identity(shape in shapes()) {
        let pack = pack(&shape);
        prop_assert_eq!(&read_table(&pack.path, &Vault::none()).unwrap(), &pack.table);
        let scan = scan(&pack.path, &key()).unwrap();
        prop_assert!(scan.finished && scan.damage.is_none());
        prop_assert_eq!(&scan.table, &Some(pack.table.clone()));
        prop_assert_eq!(verify_pack(&pack.path, &key()).unwrap(), pack.table);
    }

    #[test]
    fn any_prefix_scans_to_its_whole_fragments(shape in shapes(), cut in any::<prop::sample::Index>()) {
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
        prop_assert_eq!(found.whole_bytes, found.table.as_ref().unwrap().end());
        // Recovery goes on with it: what was cut off is appended again, and the pack is as if it had not been torn.
        let mut writer = PackWriter::resume(&pack.path, found, key()).unwrap();
        for (n, sizes) in shape.iter().enumerate().skip(whole) {
            let (fragment, stamp) = fragment(n as i64, sizes);
            writer.append(&fragment, stamp).unwrap();
        }
        writer.finish().unwrap();
        prop_assert_eq!(std::fs::read(&pack.path).unwrap(), pack.bytes);
    }

    #[test]
    fn one_flipped_bit_anywhere_is_found(shape in shapes(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let pack = pack(&shape);
        let at = at.index(pack.bytes.len());
        let mut bytes = pack.bytes.clone();
        bytes[at] ^= 1 << bit;
        std::fs::write(&pack.path, bytes).unwrap();
        let places = verify_pack(&pack.path, &key()).expect_err("the flip was not seen");
        prop_assert_eq!(places.len(), 1, "{:?}", places);
        let hit = pack.table.fragments.iter().find(|f| (f.offset..f.end()).contains(&(at as u64)));
        if let Some(hit) = hit {
            let named = places.iter().any(|e| matches!(e,
                PackError::Corrupt { offset, .. } | PackError::Malformed { offset, .. } if *offset == hit.offset));
            prop_assert!(named, "byte {at} is in the fragment at {}, and {places:?} were named", hit.offset);
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
    let samples: usize = pack.table.fragments.iter().map(|f| f.video.len() + f.audio.len()).sum();
    let per_sample = (pack.bytes.len() as u64 - pack.table.end()) as f64 / samples as f64;
    assert!(per_sample < 5.0, "{per_sample} bytes a sample");
}

#[test]
fn another_tenants_key_does_not_verify() {
    let pack = pack(&[vec![10]]);
    let other = DomainKey::for_tenant(&[3; 32], &"other".parse().unwrap());
    assert!(matches!(verify_pack(&pack.path, &other).unwrap_err()[..], [PackError::Corrupt { .. }]));
}

#[test]
fn every_damaged_place_is_named() {
    let pack = pack(&[vec![10], vec![20, 30], vec![40], vec![50]]);
    let mut bytes = pack.bytes.clone();
    let [_, second, _, fourth] = &pack.table.fragments[..] else { panic!("four fragments") };
    bytes[40] ^= 1;
    bytes[second.offset as usize + 100] ^= 1;
    bytes[fourth.data_offset() as usize] ^= 1;
    std::fs::write(&pack.path, &bytes).unwrap();
    let places = verify_pack(&pack.path, &key()).unwrap_err();
    let offset = |e: &PackError| match e {
        PackError::Malformed { offset, .. } | PackError::Corrupt { offset, .. } => *offset,
        other => panic!("{other}"),
    };
    let init = u64::from(pack.table.init_bytes);
    let [of_init, of_second, of_fourth] = &places[..] else { panic!("{places:?}") };
    assert!(offset(of_init) < init, "{of_init}");
    assert_eq!((offset(of_second), offset(of_fourth)), (second.offset, fourth.offset));
    assert!(matches!(of_fourth, PackError::Corrupt { .. }));
}

#[test]
fn a_fragment_moved_from_another_place_or_pack_is_found() {
    let pack = pack(&[vec![10], vec![10], vec![10]]);
    let [first, second, third] = &pack.table.fragments[..] else { panic!("three fragments") };
    let part = |from: u64, to: u64| &pack.bytes[from as usize..to as usize];
    let swapped = [
        part(0, second.offset),
        part(third.offset, third.end()),
        part(second.offset, second.end()),
        &pack.bytes[third.end() as usize..],
    ];
    std::fs::write(&pack.path, swapped.concat()).unwrap();
    let found = scan(&pack.path, &key()).unwrap();
    assert_eq!(found.whole_bytes, first.end());
    assert!(found.damage.is_some() && !found.finished);
}

#[test]
fn of_fragments_known_to_be_flushed_only_the_boxes_are_checked() {
    let pack = pack(&[vec![10], vec![10], vec![10]]);
    let [first, second, third] = &pack.table.fragments[..] else { panic!("three fragments") };
    let whole_after = |at: u64, flushed: u32| {
        let mut bytes = pack.bytes.clone();
        bytes[at as usize] ^= 1;
        std::fs::write(&pack.path, &bytes).unwrap();
        scan_unflushed(&pack.path, &key(), flushed).unwrap().whole_bytes
    };
    assert_eq!(whole_after(second.data_offset(), 2), third.end(), "its samples are on the disk: they are not read");
    assert_eq!(whole_after(second.data_offset(), 1), first.end());
    assert_eq!(whole_after(third.data_offset(), 2), second.end());
    assert_eq!(whole_after(second.offset + 50, 3), first.end(), "boxes are always checked");
}
