use std::collections::HashSet;

use proptest::prelude::*;
use secrecy::SecretString;

use super::*;
use crate::keys::vault::master::Master;

const PACK: PackId = PackId([5; 16]);

struct Rig {
    dir: tempfile::TempDir,
    vault: Vault,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let master = Master::from_hex(&SecretString::from("1".repeat(64))).unwrap();
        let vault = Vault::open(&dir.path().join("keys"), vec![master]);
        Self { dir, vault }
    }

    fn encryptor(&self) -> Encryptor {
        Encryptor::new(self.vault.for_day(&"town".parse().unwrap(), "2026-12-23".parse().unwrap()).unwrap())
    }

    fn open(&self, bytes: &[u8]) -> Result<Option<Encrypted>, PackError> {
        let path = self.dir.path().join("pack");
        std::fs::write(&path, bytes).unwrap();
        Encrypted::of_file(&self.vault, PACK, &File::open(&path).unwrap(), bytes.len() as u64)
    }

    /// Every record that opens, up to the first that does not; whether all did and the file is whole.
    fn read(&self, bytes: &[u8]) -> Result<(Vec<Vec<u8>>, bool), PackError> {
        let Some(encrypted) = self.open(bytes)? else { return Ok((Vec::new(), false)) };
        let mut records = Vec::new();
        for record in 0..encrypted.records() {
            let range = encrypted.file_range(record);
            let mut bytes = bytes[range.start as usize..range.end as usize].to_vec();
            let Ok(plain) = encrypted.open(record, &mut bytes) else { return Ok((records, false)) };
            records.push(bytes[plain].to_vec());
        }
        Ok((records, encrypted.is_whole()))
    }
}

fn written(encryptor: &mut Encryptor, records: &[Vec<u8>]) -> Vec<u8> {
    let mut file = encryptor.head().to_vec();
    for record in records {
        encryptor.encrypt(record, &mut file).unwrap();
        encryptor.keep();
        assert_eq!(encryptor.file_bytes(), file.len() as u64);
    }
    file
}

fn finished(encryptor: &mut Encryptor, records: &[Vec<u8>]) -> Vec<u8> {
    let mut file = written(encryptor, records);
    encryptor.encrypt_end(&mut file);
    file
}

/// The nonces of a file's records.
fn nonces(file: &[u8], encrypted: &Encrypted) -> Vec<Vec<u8>> {
    let nonce = |record| {
        let at = encrypted.file_position(record) as usize + LENGTH_BYTES;
        file[at..at + 12].to_vec()
    };
    (0..encrypted.records()).map(nonce).collect()
}

fn some_records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_sealed_is_read_back_whole(records in some_records()) {
        let rig = Rig::new();
        let file = finished(&mut rig.encryptor(), &records);
        prop_assert_eq!(rig.read(&file).unwrap(), (records, true));
    }

    #[test]
    fn any_prefix_yields_exactly_its_whole_records(records in some_records(), cut: prop::sample::Index) {
        let rig = Rig::new();
        let mut encryptor = rig.encryptor();
        let file = finished(&mut encryptor, &records);
        let cut = cut.index(file.len());
        let mut end = HEAD_BYTES;
        let whole: Vec<_> = records.iter().take_while(|record| {
            end += record.len() + RECORD_EXTRA_BYTES;
            end <= cut
        }).cloned().collect();
        let (read, finished) = rig.read(&file[..cut]).unwrap();
        prop_assert!(!finished);
        prop_assert_eq!(read, whole);
    }

    #[test]
    fn the_end_says_the_same_as_the_records_and_asks_for_no_more_than_it_needs(
        records in some_records(), have: prop::sample::Index, plain: prop::sample::Index,
    ) {
        let rig = Rig::new();
        let file = finished(&mut rig.encryptor(), &records);
        let bytes = file.len() as u64;
        let have = END_BYTES + have.index(file.len() - END_BYTES);
        let encrypted = match Encrypted::from_end(&rig.vault, PACK, &file[file.len() - have..], bytes).unwrap() {
            EncryptedEnd::Encrypted(encrypted) => encrypted,
            EncryptedEnd::NeedBytes(need) => {
                prop_assert!(need > have as u64 && need <= bytes);
                let last = &file[(bytes - need) as usize..];
                let EncryptedEnd::Encrypted(encrypted) = Encrypted::from_end(&rig.vault, PACK, last, bytes).unwrap() else {
                    return Err(TestCaseError::fail("it asked for too few bytes"));
                };
                encrypted
            }
            EncryptedEnd::NotEncrypted => return Err(TestCaseError::fail("not taken for an encrypted pack")),
        };
        let all = records.concat();
        let plain = plain.index(all.len() + 1);
        let need = encrypted.file_need(plain as u64, bytes);
        let end = encrypted.plain_end(&file[(bytes - need) as usize..], bytes).unwrap();
        prop_assert!(end.len() >= plain && all.ends_with(&end), "{} of {plain}", end.len());
    }

    #[test]
    fn records_hold_each_plain_range_and_nothing_that_is_not_asked(
        records in some_records(), a: prop::sample::Index, b: prop::sample::Index,
    ) {
        let rig = Rig::new();
        let file = finished(&mut rig.encryptor(), &records);
        let encrypted = rig.open(&file).unwrap().unwrap();
        let bytes = encrypted.plain_bytes() as usize + 1;
        let (a, b) = (a.index(bytes) as u64, b.index(bytes) as u64);
        let range = a.min(b)..a.max(b);
        let held = encrypted.holding(&range);
        if range.is_empty() {
            prop_assert!(held.is_empty());
        } else {
            prop_assert!(encrypted.plain_range(held.start).contains(&range.start));
            prop_assert!(encrypted.plain_range(held.end - 1).contains(&(range.end - 1)));
        }
    }
}

#[test]
fn one_flipped_bit_anywhere_is_found() {
    let rig = Rig::new();
    let file = finished(&mut rig.encryptor(), &[vec![1; 9], vec![2; 40], vec![3; 1]]);
    for bit in 0..file.len() * 8 {
        let mut changed = file.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let whole = matches!(rig.read(&changed), Ok((_, true)));
        assert!(!whole, "bit {bit} of {} bytes", file.len());
    }
}

#[test]
fn records_that_change_places_or_packs_do_not_open() {
    let rig = Rig::new();
    let records = [vec![1; 20], vec![2; 20], vec![3; 20]];
    let (mut a, mut b) = (rig.encryptor(), rig.encryptor());
    let (file, other) = (finished(&mut a, &records), finished(&mut b, &records));
    let encrypted = rig.open(&file).unwrap().unwrap();
    let range = |record| {
        let range = encrypted.file_range(record);
        range.start as usize..range.end as usize
    };
    let mut swapped = file.clone();
    swapped.copy_within(range(1), range(0).start);
    swapped[range(1)].copy_from_slice(&file[range(0)]);
    assert_eq!(rig.read(&swapped).unwrap(), (Vec::new(), false), "two records changed places");

    let mut foreign = file.clone();
    foreign[range(1)].copy_from_slice(&other[range(1)]);
    assert_eq!(rig.read(&foreign).unwrap(), (vec![records[0].clone()], false), "a record of another pack");

    let short: Vec<u8> = [&file[..range(2).start], &file[range(2).end..]].concat();
    assert!(!matches!(rig.read(&short), Ok((_, true))), "the last record was cut out");
    let spliced: Vec<u8> = [&file[..range(2).end], &other[range(2).end..]].concat();
    assert!(!matches!(rig.read(&spliced), Ok((_, true))), "the end of another pack");
}

#[test]
fn no_two_records_share_a_nonce_after_a_failed_write_or_a_resume() {
    let rig = Rig::new();
    let mut encryptor = rig.encryptor();
    let mut file = written(&mut encryptor, &[vec![1; 10]]);
    let mut seen = HashSet::new();
    let mut lost = Vec::new();
    encryptor.encrypt(&[2; 10], &mut lost).unwrap();
    seen.insert(lost[LENGTH_BYTES..LENGTH_BYTES + 12].to_vec());
    encryptor.drop_offered();
    encryptor.encrypt(&[2; 10], &mut file).unwrap();
    encryptor.keep();

    let torn = rig.open(&file).unwrap().unwrap();
    let resumed_at = torn.file_position(1) as usize;
    seen.extend(nonces(&file, &torn));
    let mut encryptor = Encryptor::resume(torn, 1);
    assert_eq!(encryptor.file_bytes(), resumed_at as u64);
    file.truncate(resumed_at);
    encryptor.encrypt(&[2; 10], &mut file).unwrap();
    encryptor.keep();
    encryptor.encrypt_end(&mut file);
    let again = rig.open(&file).unwrap().unwrap();
    seen.extend(nonces(&file, &again));
    // One lost, two before the cut, of which the first is there still, and one after it.
    assert_eq!(seen.len(), 4);
    assert_eq!(rig.read(&file).unwrap(), (vec![vec![1; 10], vec![2; 10]], true));
}

#[test]
fn without_its_day_key_a_pack_says_which_key_is_missing() {
    let rig = Rig::new();
    let file = finished(&mut rig.encryptor(), &[vec![1; 10]]);
    let key = rig.open(&file).unwrap().unwrap().day().id;
    let destroyed = rig.vault.destroy(&"town".parse().unwrap(), key).unwrap();
    assert!(destroyed);
    for bytes in [&file[..], &file[..file.len() - 1]] {
        let error = rig.open(bytes).unwrap_err();
        assert!(matches!(error, PackError::Key { .. }) && error.to_string().contains(&key.to_string()), "{error}");
    }
}

#[test]
fn hostile_ends_cost_no_memory_and_no_panic() {
    let rig = Rig::new();
    let file = finished(&mut rig.encryptor(), &[vec![1; 10]]);
    for length in [u32::MAX, u32::MAX - 3, 1 << 26, 1, 0] {
        let mut changed = file.clone();
        let at = changed.len() - 12;
        changed[at..at + 4].copy_from_slice(&length.to_be_bytes());
        assert!(!matches!(rig.read(&changed), Ok((_, true))), "an index of {length} bytes");
    }
    let mut long = file[..HEAD_BYTES].to_vec();
    long.extend_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(rig.read(&long).unwrap(), (Vec::new(), false));
}
