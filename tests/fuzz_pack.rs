//! Hostile packs: whatever the bytes, the reader neither panics nor believes what was not written, and what it calls
//! whole can be gone on with.
//!
//! `VIGIE_FUZZ_CASES` sets how many packs are tried, `VIGIE_FUZZ_SEED` which; a failure prints its seed.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use footage::clock::Reading;
use footage::keys::DomainKey;
use footage::keys::vault::Vault;
use footage::media::{AudioParams, Fragment, Gap, GapCause, Params, Sample, VideoCodec, VideoParams};
use footage::pack::reader::{Scan, Tail, read_table, scan, table_from_tail, verify_pack};
use footage::pack::writer::PackWriter;
use footage::pack::{FragmentEntry, PackError, PackHeader, PackTable, Stamp};
use footage::units::{PackId, RunId, TICKS_PER_SECOND, Ticks90k, WallTime};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Where a `uuid` box of ours holds its check, and for how long.
const CHECK: Range<usize> = 24..40;
/// The check, the size and the magic that end a fragment table.
const TRAILING_BYTES: usize = 32;

/// Numbers that a random byte would not make.
const PIECES: [&[u8]; 12] = [
    b"\0\0\0\0",
    b"\0\0\0\x01",
    b"\0\0\0\x08",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xfe\xff\xff\xff\x0f",
    b"uuid",
    b"mdat",
    b"vigiepk1",
    b"\0\0\0\0\0\0\0\x20vigiepk1",
];

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {v}")))
}

fn key() -> DomainKey {
    DomainKey::for_tenant(&[1; 32], &"town".parse().expect("a name"))
}

fn header() -> PackHeader {
    let video = VideoParams {
        codec: VideoCodec::H265,
        width: 1920,
        height: 1080,
        sample_entry: Bytes::from_static(b"\0\0\0\x0chvc1\x01\x02\x03\x04"),
        rfc6381: "hvc1.1.6.L93.B0".to_owned(),
    };
    let audio = AudioParams {
        clock_rate: 8_000,
        sample_entry: Bytes::from_static(b"\0\0\0\x08alaw"),
        rfc6381: Some("a".into()),
    };
    PackHeader {
        pack: PackId([3; 16]),
        camera: "town/hall".parse().expect("a camera key"),
        run: RunId([4; 16]),
        params: Arc::new(Params { video, audio: Some(audio) }),
        hold: None,
    }
}

fn fragment(n: i64) -> (Fragment, Stamp) {
    let received = Reading { wall: WallTime(0), mono: Duration::ZERO };
    let sample = |size, offset| Sample { size, duration: 30_000, composition_offset: offset };
    let video = vec![sample(90, 0), sample(20, n as i32), sample(5, 0)];
    let sound = Sample { size: 16, duration: 4_000, composition_offset: 0 };
    let audio = vec![sound; 2 * (n % 2) as usize];
    let payload = video.iter().chain(&audio).map(|s| vec![n as u8; s.size as usize].into()).collect();
    let start = WallTime((1_772_000_000 + n) * TICKS_PER_SECOND);
    let gap = Gap { start: WallTime(start.0 - 900), end: start, cause: GapCause::PacketLoss, lost_packets: 7 };
    let fragment = Fragment {
        params: header().params,
        decode_time: Ticks90k(n * 90_000),
        duration: Ticks90k(90_000),
        random_access: n % 2 == 0,
        audio_decode_time: if audio.is_empty() { 0 } else { n * 8_000 },
        video,
        audio,
        payload,
        first_timestamp: 0,
        first_received: received,
        last_received: received,
        followed: true,
        arrivals: Vec::new(),
        losses: Vec::new(),
    };
    let stamp = Stamp {
        wall_start: start,
        wall_duration: Ticks90k(90_000),
        camera_time: Some(start),
        gaps: vec![gap; (n % 3) as usize],
    };
    (fragment, stamp)
}

/// A whole pack and what it holds.
fn original(path: &Path) -> (Vec<u8>, PackTable) {
    let mut writer = PackWriter::create(path, header(), key()).expect("a pack");
    for n in 0..5 {
        let (fragment, stamp) = fragment(n);
        writer.append(&fragment, stamp).expect("a fragment");
    }
    let (table, _) = writer.finish().expect("a fragment table");
    let bytes = std::fs::read(path).expect("the pack");
    std::fs::remove_file(path).expect("the pack");
    (bytes, table)
}

/// A range of at most 64 bytes.
fn stretch(rng: &mut StdRng, len: usize) -> Range<usize> {
    let start = rng.random_range(0..=len);
    start..(start + rng.random_range(0..=64)).min(len)
}

fn mutate(rng: &mut StdRng, bytes: &mut Vec<u8>, cuts: &[usize]) {
    let range = stretch(rng, bytes.len());
    match rng.random_range(0..7) {
        0 => drop(bytes.drain(range)),
        1 => {
            let copy = bytes[range].to_vec();
            let at = rng.random_range(0..=bytes.len());
            drop(bytes.splice(at..at, copy));
        }
        2 => rng.fill_bytes(&mut bytes[range.start..range.end.min(range.start + 4)]),
        3 => bytes.truncate(range.start),
        4 => {
            // A number is overwritten: all lengths and places stay but for what it says.
            let piece = PIECES[rng.random_range(0..PIECES.len())];
            let end = (range.start + piece.len()).min(bytes.len());
            bytes[range.start..end].copy_from_slice(&piece[..end - range.start]);
        }
        5 => {
            if let Some(byte) = bytes.get_mut(range.start) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        _ => {
            // Whole parts change places, are doubled, or go.
            let mut cut = || cuts[rng.random_range(0..cuts.len())].min(bytes.len());
            let (a, b, to) = (cut(), cut(), cut());
            let part = bytes[a.min(b)..a.max(b)].to_vec();
            drop(bytes.splice(to..to, part));
        }
    }
}

/// Mutates inside one of our own boxes and sets its check right again, so that what lies beneath the checks is reached.
fn forge(rng: &mut StdRng, bytes: &mut [u8], table: &PackTable) {
    let blake3 = |parts: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        let mut check = [0; 16];
        check.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        check
    };
    let kind = rng.random_range(0..8);
    let mut spoil = |content: &mut [u8]| {
        for _ in 0..rng.random_range(1..=3) {
            let at = rng.random_range(0..content.len());
            match rng.random_range(0..3) {
                0 => content[at] ^= 1 << rng.random_range(0..8),
                1 => content[at] = rng.random(),
                _ => {
                    let piece = PIECES[rng.random_range(0..PIECES.len())];
                    let end = (at + piece.len()).min(content.len());
                    content[at..end].copy_from_slice(&piece[..end - at]);
                }
            }
        }
    };
    let init = table.init_bytes as usize;
    // How many bytes the record before a fragment's other boxes takes.
    let record = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four")) as usize;
    match kind {
        0 => {
            let start = bytes[..init].windows(4).rposition(|w| w == b"uuid").expect("a pack header") - 4;
            spoil(&mut bytes[start + CHECK.end..init]);
            let check = blake3(&[&bytes[..start + CHECK.start], &bytes[start + CHECK.end..init]]);
            bytes[start + CHECK.start..start + CHECK.end].copy_from_slice(&check);
        }
        1..=4 => {
            let entry: &FragmentEntry = &table.fragments[kind - 1];
            let (start, end) = (entry.offset as usize, entry.data_offset() as usize);
            let content = start + CHECK.end + 4..start + record(bytes, start);
            spoil(&mut bytes[content]);
            let index = (kind as u32 - 1).to_be_bytes();
            let own = &bytes[start..end];
            let check = blake3(&[&table.header.pack.0, &index, &own[..CHECK.start], &own[CHECK.end..]]);
            bytes[start + CHECK.start..start + CHECK.end].copy_from_slice(&check);
        }
        _ => {
            let (start, end) = (table.end() as usize, bytes.len() - TRAILING_BYTES);
            spoil(&mut bytes[start + CHECK.start..end]);
            let check = blake3(&[&bytes[start..end]]);
            bytes[end..end + check.len()].copy_from_slice(&check);
        }
    }
}

/// What must hold of any table that the reader gives.
fn sound(table: &PackTable, file_bytes: u64) {
    let mut end = u64::from(table.init_bytes);
    assert!(table.fragments.first().is_none_or(|f| f.random_access));
    for entry in &table.fragments {
        assert_eq!(entry.offset, end);
        let samples: u64 = entry.video.iter().chain(&entry.audio).map(|s| u64::from(s.size)).sum();
        assert_eq!(u64::from(entry.data_bytes), samples);
        assert!(!entry.video.is_empty());
        end = entry.end();
    }
    let ordered = |pair: &[Arc<FragmentEntry>]| pair[0].wall_end() <= pair[1].stamp.wall_start;
    assert!(table.fragments.windows(2).all(ordered));
    assert!(end <= file_bytes);
}

/// What must hold of any file; gives what a scan finds, and what the checks of a whole pack find.
fn judge(rng: &mut StdRng, path: &Path, bytes: &[u8]) -> (Scan, Result<PackTable, Vec<PackError>>) {
    let size = bytes.len() as u64;
    std::fs::write(path, bytes).expect("a file");
    let found = scan(path, &key()).expect("a readable file");
    assert!(found.whole_bytes <= found.file_bytes && found.file_bytes == size);
    if let Some(table) = &found.table {
        sound(table, size);
        assert_eq!(table.end(), found.whole_bytes);
    }
    let reported = read_table(path, &Vault::none());
    if let Ok(table) = &reported {
        sound(table, size);
    }
    let verified = verify_pack(path, &key());
    assert_eq!(verified.is_ok(), found.finished);
    if let Err(places) = &verified {
        assert!(!places.is_empty(), "damaged nowhere");
    }

    // As a store would give it: any last bytes, and a length that need not be true.
    let tail = &bytes[rng.random_range(0..=bytes.len())..];
    let pack_bytes = if rng.random() { size } else { rng.random_range(0..=2 * size) };
    if let Ok(Tail::NeedBytes(need)) = table_from_tail(tail, pack_bytes) {
        assert!(need > tail.len() as u64 && need <= pack_bytes);
    }

    if found.table.is_some() {
        let found = scan(path, &key()).expect("a readable file");
        let fragments = found.table.as_ref().map_or(0, |table| table.fragments.len());
        let (mended, bytes) = PackWriter::resume(path, found, key()).and_then(PackWriter::finish).expect("mended");
        assert_eq!((mended.fragments.len(), std::fs::metadata(path).expect("a file").len()), (fragments, bytes));
        assert_eq!(verify_pack(path, &key()).expect("a whole pack"), mended);
    }
    (found, verified)
}

fn each_seed(cases: u64, mut case: impl FnMut(&mut StdRng)) {
    let first_seed = number("VIGIE_FUZZ_SEED", 1);
    for seed in first_seed..first_seed.saturating_add(number("VIGIE_FUZZ_CASES", cases)) {
        let mut rng = StdRng::seed_from_u64(seed);
        let run = std::panic::AssertUnwindSafe(|| case(&mut rng));
        if std::panic::catch_unwind(run).is_err() {
            panic!("VIGIE_FUZZ_SEED={seed} VIGIE_FUZZ_CASES=1 fails");
        }
    }
}

#[test]
fn of_a_mutated_pack_only_what_was_written_is_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pack.mp4");
    let (whole, table) = original(&path);
    let mut cuts: Vec<usize> = vec![0, table.init_bytes as usize, whole.len()];
    cuts.extend(table.fragments.iter().flat_map(|f| [f.offset, f.data_offset(), f.end()]).map(|at| at as usize));
    let (mut cases, mut with_fragments) = (0, 0);
    each_seed(1_500, |rng| {
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..=4) {
            mutate(rng, &mut bytes, &cuts);
        }
        let (found, verified) = judge(rng, &path, &bytes);
        assert_eq!(verified.is_ok(), bytes == whole);
        if let Some(found) = &found.table {
            assert_eq!(found.header, table.header);
            assert!(table.fragments.starts_with(&found.fragments));
            with_fragments += u64::from(!found.fragments.is_empty());
        }
        // A table that is whole is the one that was written, wherever the file ends.
        if bytes.len() == whole.len()
            && let Ok(Tail::Table(reported)) = table_from_tail(&bytes, bytes.len() as u64)
        {
            assert_eq!(reported, table);
        }
        cases += 1;
    });
    // Mutations that always hit the header would test little.
    assert!(cases < 100 || with_fragments > cases / 5, "{with_fragments} of {cases} had a whole fragment left");
}

#[test]
fn a_forged_pack_is_refused_or_is_sound() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pack.mp4");
    let (whole, table) = original(&path);
    let (mut cases, mut believed, mut refused) = (0, 0, 0);
    each_seed(3_000, |rng| {
        let mut bytes = whole.clone();
        forge(rng, &mut bytes, &table);
        let (found, _) = judge(rng, &path, &bytes);
        let said = found.damage.map_or(String::new(), |damage| damage.to_string());
        // Where a check still fails, the forgery did not reach what it was meant for; but that fragments belong to
        // another pack than the forged header says shall be found.
        let same_pack = found.table.as_ref().is_none_or(|found| found.header.pack == table.header.pack);
        assert!(!(same_pack && said.contains("checksum")), "{said}");
        believed += u64::from(found.table.is_some_and(|found| found.fragments != table.fragments));
        refused += u64::from(said.contains("damaged"));
        cases += 1;
    });
    assert!(cases < 100 || believed > cases / 20, "{believed} of {cases} reached the decoder and passed");
    assert!(cases < 100 || refused > cases / 20, "{refused} of {cases} reached the decoder and were refused");
}
