//! See [`crate::fuzzing`]: hostile packs and fragment tables.
//!
//! Checks are truncated BLAKE3, which no fuzzer guesses: an input may ask for them to be set right, so that what lies
//! beneath them is reached.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::format::{self, CHECK_BYTES, HEADER_TYPE, RECORD_LENGTH, RECORD_TYPE, TABLE_MAGIC, TABLE_TYPE, UUID_HEAD};
use super::reader::{Tail, read_table, scan, table_from_tail, verify_pack};
use super::reference::Piece;
use super::writer::{PackWriter, trailing_table};
use super::{FragmentEntry, PackHeader, PackTable};
use crate::keys::DomainKey;
use crate::keys::vault::Vault;
use crate::media::{Params, VideoCodec, VideoParams};
use crate::units::{PackId, RunId};

/// The key that the seeds are written under.
pub fn key() -> DomainKey {
    DomainKey::for_tenant(&[1; 32], &"town".parse().expect("a name"))
}

/// Files: what is believed of them is sound; what is called whole can be gone on with, and is finished then. The first
/// byte says whether checks are set right.
pub fn pack(data: &[u8]) -> usize {
    let Some((&choice, bytes)) = data.split_first() else { return 0 };
    let mut bytes = bytes.to_vec();
    if choice & 1 == 1 {
        set_checks_right(&mut bytes);
    }
    let size = bytes.len() as u64;
    let file = Scratch::of(&bytes);
    let found = scan(&file.path, &key()).expect("a readable file");
    assert!(found.whole_bytes <= found.file_bytes && found.file_bytes == size);
    let finished = found.finished;
    if let Some(table) = &found.table {
        sound(table);
        assert_eq!(table.file_end(), found.whole_bytes);
    }
    if let Ok(table) = read_table(&file.path, &Vault::none()) {
        sound(&table);
        written_again(&table);
    }
    assert_eq!(verify_pack(&file.path, &key()).is_ok(), finished);
    let fragments = found.table.as_ref().map_or(0, |table| table.fragments.len());
    if found.table.is_some() {
        let (mended, bytes) =
            PackWriter::resume(&file.path, found, key()).and_then(PackWriter::finish).expect("mended");
        let size = std::fs::metadata(&file.path).expect("a file").len();
        assert_eq!((mended.fragments.len(), size), (fragments, bytes));
        assert_eq!(verify_pack(&file.path, &key()).expect("a whole pack"), mended);
    }
    fragments
}

/// A file of one case, in memory. Its path is the same in every process: a fuzzer learns from what is compared, and would
/// learn other things from another path.
struct Scratch {
    path: PathBuf,
    _file: File,
}

impl Scratch {
    fn of(bytes: &[u8]) -> Self {
        let memory = rustix::fs::memfd_create(c"pack", rustix::fs::MemfdFlags::CLOEXEC).expect("a file in memory");
        let mut file = File::from(memory);
        file.write_all(bytes).expect("room for a small file");
        Self { path: format!("/proc/self/fd/{}", file.as_raw_fd()).into(), _file: file }
    }
}

/// Fragment tables and fragments' records whose checks are right. The first four bytes say how many bytes of the pack
/// come before the table.
pub fn fragment_table(data: &[u8]) -> usize {
    let Some((before, content)) = data.split_first_chunk::<4>() else { return 0 };
    let mut fragments = 0;
    let before = u64::from(u32::from_be_bytes(*before));
    let sealed = sealed_table(content);
    let pack_bytes = before + sealed.len() as u64;
    for kept in [sealed.len(), sealed.len() / 2] {
        match table_from_tail(&sealed[sealed.len() - kept..], pack_bytes) {
            Ok(Tail::Table(table)) => {
                assert_eq!(table.file_end(), before);
                sound(&table);
                written_again(&table);
                fragments += table.fragments.len();
            }
            Ok(Tail::NeedBytes(need)) => assert!(need > kept as u64 && need <= pack_bytes),
            Err(_) => {}
        }
    }
    records(content);
    fragments
}

/// A table's box around any content.
fn sealed_table(content: &[u8]) -> Vec<u8> {
    let size = UUID_HEAD + content.len() + CHECK_BYTES + format::TRAILER_BYTES;
    let mut out = [&(size as u32).to_be_bytes(), &b"uuid"[..], &TABLE_TYPE, content].concat();
    let check = format::check(&[&out]);
    out.extend_from_slice(&check);
    out.extend_from_slice(&(size as u64).to_be_bytes());
    out.extend_from_slice(&TABLE_MAGIC);
    out
}

/// Records, each after its length in one byte: an entry that is read is written as boxes that say the same.
fn records(mut content: &[u8]) {
    let pack = PackId([3; 16]);
    while let Some((&length, rest)) = content.split_first() {
        let (entry, rest) = rest.split_at(usize::from(length).min(rest.len()));
        content = rest;
        let size = (RECORD_LENGTH + 4 + entry.len()) as u32;
        let mut record = [&size.to_be_bytes(), &b"uuid"[..], &RECORD_TYPE, &[0; CHECK_BYTES]].concat();
        record.extend_from_slice(&size.to_be_bytes());
        record.extend_from_slice(entry);
        let check = format::fragment_check(pack, 0, &record);
        record[UUID_HEAD..RECORD_LENGTH].copy_from_slice(&check);
        let Ok(entry) = format::decode_fragment_header(&record, 0, pack, 0) else { continue };
        let empty = PackTable { init_bytes: 0, fragments: Vec::new(), header: header() };
        if empty.admits(&entry).is_err()
            || entry.video.len() > 64
            || u64::from(entry.data_bytes) > format::DATA_BYTES_MAX
        {
            continue;
        }
        let mut boxes = Vec::new();
        format::fragment_header(&mut boxes, pack, 0, &entry);
        let again = format::decode_fragment_header(&boxes, 0, pack, 0).expect("what was written can be read");
        assert_eq!(again, FragmentEntry { header_bytes: boxes.len() as u32, ..entry });
    }
}

/// What must hold of any table that is believed.
fn sound(table: &PackTable) {
    let mut end = u64::from(table.init_bytes);
    assert!(table.fragments.first().is_none_or(|entry| entry.random_access));
    for entry in &table.fragments {
        assert_eq!(entry.offset, end);
        let samples: u64 = entry.video.iter().chain(&entry.audio).map(|s| u64::from(s.size)).sum();
        assert_eq!(u64::from(entry.data_bytes), samples);
        assert!(!entry.video.is_empty());
        end = entry.end();
    }
    assert_eq!(table.end(), end);
    for pair in table.fragments.windows(2) {
        assert!(pair[0].wall_end() <= pair[1].stamp.wall_start);
    }
    assert!(table.groups().iter().all(|group| group.start < group.end && group.end <= table.fragments.len()));
    // Boxes of fragments that lie elsewhere are written again, and are refused where they would be of another length.
    if let Ok(pieces) = table.pieces(0..end) {
        let bytes = |piece: &Piece| match piece {
            Piece::File(range) | Piece::Samples { range, .. } => range.end - range.start,
            Piece::Boxes(boxes) => boxes.len() as u64,
        };
        assert_eq!(pieces.iter().map(bytes).sum::<u64>(), end);
    }
}

/// A table that is written again is read as the same.
fn written_again(table: &PackTable) {
    let bytes = trailing_table(table);
    match table_from_tail(&bytes, table.file_end() + bytes.len() as u64) {
        Ok(Tail::Table(again)) => assert_eq!(again, *table),
        other => panic!("{other:?}"),
    }
}

/// Sets the checks right of everything that has one and lies where it should, but for samples, whose ids are keyed.
fn set_checks_right(file: &mut [u8]) {
    let mut at = 0;
    let (mut pack, mut index) = (PackId([0; 16]), 0);
    while let Some(size) = file.get(at..at + 4).map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]])) {
        let Some(end) = at.checked_add(size as usize).filter(|end| *end <= file.len() && size >= 8) else { return };
        let own_type = file[at..end].get(8..UUID_HEAD).filter(|_| file[at + 4..at + 8] == *b"uuid");
        let has_check = end - at >= RECORD_LENGTH + 4;
        if own_type == Some(&HEADER_TYPE) && has_check {
            // After its version.
            if let Some(id) = file[at + RECORD_LENGTH + 1..end].first_chunk() {
                pack = PackId(*id);
            }
            let check = format::check(&[&file[..at + UUID_HEAD], &file[at + RECORD_LENGTH..end]]);
            file[at + UUID_HEAD..at + RECORD_LENGTH].copy_from_slice(&check);
        } else if own_type == Some(&RECORD_TYPE) && has_check {
            let length = file[at + RECORD_LENGTH..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            if let Some(boxes) = file.get(at..at.saturating_add(length as usize)).filter(|b| b.len() > RECORD_LENGTH) {
                let check = format::fragment_check(pack, index, boxes);
                file[at + UUID_HEAD..at + RECORD_LENGTH].copy_from_slice(&check);
            }
            index += 1;
        } else if own_type == Some(&TABLE_TYPE) && end - at > UUID_HEAD + CHECK_BYTES + format::TRAILER_BYTES {
            let checked = end - CHECK_BYTES - format::TRAILER_BYTES;
            let check = format::check(&[&file[at..checked]]);
            file[checked..checked + CHECK_BYTES].copy_from_slice(&check);
        }
        at = end;
    }
}

/// A pack of one camera, for entries that come without.
fn header() -> PackHeader {
    let (codec, sample_entry) = (VideoCodec::H264, Bytes::from_static(b"\0\0\0\x08avc3"));
    let video = VideoParams { codec, width: 320, height: 240, sample_entry, rfc6381: "avc3.42C00D".to_owned() };
    PackHeader {
        pack: PackId([3; 16]),
        camera: "town/hall".parse().expect("a camera key"),
        run: RunId([4; 16]),
        params: Arc::new(Params { video, audio: None }),
        hold: None,
    }
}
