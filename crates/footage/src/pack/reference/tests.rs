use super::super::reader;
use super::super::testing::{self, TestPack};
use super::super::writer::{first_boxes, trailing_table};
use super::*;
use crate::keys::vault::Vault;
use proptest::prelude::*;

/// The file of a pack with these places, written as the format says.
fn file_of(table: &PackTable, whole: &[u8]) -> Vec<u8> {
    let mut file = first_boxes(&table.header).to_vec();
    for (_, at, entry) in table.own_fragments() {
        assert_eq!(at, file.len() as u64);
        file.extend_from_slice(&whole[entry.offset as usize..entry.end() as usize]);
    }
    file.extend_from_slice(&trailing_table(table));
    file
}

fn place(host: u8, fragment: u32) -> Place {
    let host = Host { pack: PackId([host; 16]), camera: "other/camera".parse().unwrap() };
    Place { host: Arc::new(host), fragment }
}

/// For each fragment the host and the number there, where it is not the pack's own.
type Places = Vec<Option<(u8, u32)>>;

/// A pack of some fragments, and for each where its bytes lie.
fn referring() -> impl Strategy<Value = (Vec<Vec<u32>>, Places)> {
    testing::shapes().prop_flat_map(|shapes| {
        let places = prop::collection::vec(prop::option::of((1u8..4, 0u32..1 << 20)), shapes.len());
        (Just(shapes), places)
    })
}

fn moved(pack: &TestPack, places: &[Option<(u8, u32)>]) -> PackTable {
    pack.table.with_places(places.iter().map(|p| p.map(|(host, fragment)| place(host, fragment))).collect())
}

proptest! {
    #[test]
    fn a_reference_pack_written_then_read_is_the_same((shapes, places) in referring()) {
        let pack = testing::pack(&shapes);
        let table = moved(&pack, &places);
        let file = file_of(&table, &pack.bytes);
        let path = pack.path.with_extension("other");
        std::fs::write(&path, &file).unwrap();
        prop_assert_eq!(&reader::read_table(&path, &Vault::none()).unwrap(), &table);
        prop_assert_eq!(&reader::verify_pack(&path, &testing::key()).unwrap(), &table);
        let scan = reader::scan(&path, &testing::key()).unwrap();
        prop_assert!(scan.finished);
        prop_assert_eq!(scan.table.as_ref(), Some(&table));
    }

    #[test]
    fn any_range_of_a_reference_pack_is_that_range_of_the_whole_one(
        (shapes, places) in referring(), from: prop::sample::Index, to: prop::sample::Index,
    ) {
        let pack = testing::pack(&shapes);
        let table = moved(&pack, &places);
        let file = file_of(&table, &pack.bytes);
        let end = table.end();
        let (from, to) = (from.index(end as usize + 1) as u64, to.index(end as usize + 1) as u64);
        let range = from.min(to)..from.max(to);
        let mut read = Vec::new();
        for piece in table.pieces(range.clone()).unwrap() {
            match piece {
                Piece::File(at) => read.extend_from_slice(&file[at.start as usize..at.end as usize]),
                Piece::Boxes(bytes) => read.extend_from_slice(&bytes),
                Piece::Samples { place, id, range } => {
                    // The host here is the whole pack itself, found by its id.
                    let entry = table.fragments.iter().find(|e| e.id == id && e.place.as_ref() == Some(&place)).unwrap();
                    let data = entry.data_offset();
                    read.extend_from_slice(&pack.bytes[(data + range.start) as usize..(data + range.end) as usize]);
                }
            }
        }
        prop_assert_eq!(read, &pack.bytes[range.start as usize..range.end as usize]);
    }

    #[test]
    fn files_of_one_pack_with_other_fragments_of_their_own_differ_in_size((shapes, places) in referring()) {
        let pack = testing::pack(&shapes);
        let table = moved(&pack, &places);
        if table.is_reference() {
            let fewer = file_of(&table, &pack.bytes).len();
            prop_assert!(fewer < pack.bytes.len() + 160 * table.hosts().len());
            let own: Vec<u64> = table.own_fragments().map(|(_, _, e)| e.bytes()).collect();
            prop_assert_eq!(table.file_end(), u64::from(table.init_bytes) + own.iter().sum::<u64>());
        }
    }

    #[test]
    fn one_flipped_bit_of_a_reference_pack_is_found((shapes, places) in referring(), at: prop::sample::Index, bit in 0u8..8) {
        let pack = testing::pack(&shapes);
        let table = moved(&pack, &places);
        let mut file = file_of(&table, &pack.bytes);
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        let path = pack.path.with_extension("other");
        std::fs::write(&path, &file).unwrap();
        prop_assert!(reader::verify_pack(&path, &testing::key()).is_err(), "bit {bit} of byte {at}");
    }
}

#[test]
fn a_pack_cannot_refer_to_itself() {
    let pack = testing::pack(&[vec![10], vec![20]]);
    let itself = Host { pack: pack.table.header.pack, camera: pack.table.header.camera.clone() };
    let table = pack.table.with_places(vec![None, Some(Place { host: Arc::new(itself), fragment: 0 })]);
    let path = pack.path.with_extension("other");
    std::fs::write(&path, file_of(&table, &pack.bytes)).unwrap();
    let said = reader::read_table(&path, &Vault::none()).unwrap_err().to_string();
    assert!(said.contains("refers to itself"), "{said}");
}

#[test]
fn equal_packs_share_a_hook_and_every_pack_has_one() {
    let (one, same) = (testing::pack(&[vec![10], vec![20]]), testing::pack(&[vec![10], vec![20]]));
    assert_eq!(one.table.hooks(), same.table.hooks());
    assert!(!one.table.hooks().is_empty());
    assert!(one.table.hooks().iter().all(|hook| hook >> 48 == 0));
}

#[test]
fn a_set_of_fragments_is_ranges_whatever_the_order_of_its_numbers() {
    let set = |numbers: &[u32]| numbers.iter().copied().collect::<FragmentSet>();
    assert_eq!(set(&[5, 3, 4, 9, 3]).ranges(), [3..6, 9..10]);
    assert_eq!((set(&[3, 4]).end(), set(&[]).end()), (5, 0));
    assert!(set(&[3, 9]).is_within(&set(&[2, 3, 8, 9])) && !set(&[3, 9]).is_within(&set(&[3, 4, 5])));
    assert!(set(&[1, 5]).meets(&set(&[5, 6])) && !set(&[1, 5]).meets(&set(&[2, 3, 4])));
    assert!(set(&[]).is_within(&set(&[])) && !set(&[]).meets(&set(&[1])));
    let set = set(&[0, 1, 7, u32::MAX - 1]);
    assert_eq!(FragmentSet::from_bytes(&set.to_bytes()), set);
    assert_eq!(FragmentSet::from_bytes(&[0, 0, 0]), FragmentSet::EMPTY, "what is no range is none");
}
