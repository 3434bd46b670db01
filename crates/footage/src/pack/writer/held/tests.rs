use std::path::Path;

use proptest::prelude::*;

use super::super::PackWriter;
use super::*;
use crate::keys::vault::Vault;
use crate::pack::reader::{read_table, scan, verify_pack};
use crate::pack::testing::{fragment, header, key, shapes};
use crate::platform::best_writing;

fn hold(path: &Path, writing: Writing, buffers: &Buffers) -> PackWriter {
    PackWriter::hold(path, header(), key(), None, (writing, buffers.clone())).unwrap()
}

fn write(writer: &mut PackWriter) {
    let part = writer.take_unwritten().expect("something is held");
    assert!(writer.take_unwritten().is_none(), "one part at a time");
    part.write().unwrap();
    writer.written();
}

/// Every byte so far, from the file and from memory, wherever it lies.
fn all(writer: &PackWriter, path: &Path) -> Vec<u8> {
    let held = writer.held(&(0..writer.bytes()));
    let mut bytes = std::fs::read(path).unwrap_or_default();
    bytes.truncate(held.from as usize);
    assert_eq!(bytes.len() as u64, held.from, "the file holds what memory does not");
    bytes.extend_from_slice(&held.bytes);
    bytes
}

fn check_like_written_at_once(fragments: &[Vec<u32>], written_after: &[bool], writing: Writing) {
    let dir = tempfile::tempdir().unwrap();
    let (held, once) = (dir.path().join("held.mp4"), dir.path().join("once.mp4"));
    let buffers = Buffers::default();
    // Memory that other footage was in.
    drop(
        (0..64)
            .map(|_| buffers.chunk(1))
            .map(|mut chunk| {
                chunk.memory.fill(0xaa);
                chunk
            })
            .collect::<Vec<_>>(),
    );
    let mut writer = hold(&held, writing, &buffers);
    let mut other = PackWriter::create(&once, header(), key()).unwrap();
    for (n, sizes) in fragments.iter().enumerate() {
        let (next, stamp) = fragment(n as i64, sizes);
        other.append(&next, stamp.clone()).unwrap();
        writer.append(&next, stamp).unwrap();
        let being_written = written_after[n % written_after.len()].then(|| writer.take_unwritten()).flatten();
        assert_eq!(all(&writer, &held), std::fs::read(&once).unwrap(), "while it is written");
        if let Some(part) = being_written {
            part.write().unwrap();
            writer.written();
            let file = std::fs::read(&held).unwrap();
            assert!(file[writer.bytes() as usize..].iter().all(|byte| *byte == 0), "other footage behind the end");
            assert_eq!(scan(&held, &key()).unwrap().table.unwrap(), *writer.table(), "what a crash would leave");
        }
        assert_eq!(all(&writer, &held), std::fs::read(&once).unwrap());
    }
    let (table, bytes) = writer.finish_flushed().unwrap();
    assert_eq!((&table, bytes), (&other.finish().map(|(table, _)| table).unwrap(), table_bytes(&once)));
    assert_eq!(std::fs::read(&held).unwrap(), std::fs::read(&once).unwrap());
    assert_eq!(verify_pack(&held, &key()).unwrap(), table);
    assert_eq!(buffers.in_use_bytes(), 0);
}

fn table_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

proptest! {
    #[test]
    fn a_held_pack_is_byte_for_byte_one_that_was_written_at_once(
        fragments in shapes(),
        scale in prop::sample::select(vec![1u32, 7, 400]),
        written_after in prop::collection::vec(any::<bool>(), 1..6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let fragments: Vec<Vec<u32>> =
            fragments.iter().map(|sizes| sizes.iter().map(|size| size * scale).collect()).collect();
        for writing in [best_writing(dir.path()).unwrap(), Writing::Buffered] {
            check_like_written_at_once(&fragments, &written_after, writing);
        }
    }
}

#[test]
fn blocks_set_aside_go_when_a_held_pack_is_whole() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    let mut writer = hold(&path, best_writing(dir.path()).unwrap(), &Buffers::default());
    assert!(!path.exists(), "nothing waits for the disk");
    let (first, stamp) = fragment(0, &[10, 20]);
    writer.append(&first, stamp).unwrap();
    write(&mut writer);
    writer.finish_flushed().unwrap();
    assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < RESERVED_BYTES);
    assert_eq!(read_table(&path, &Vault::none()).unwrap().fragments.len(), 1);
}

#[test]
fn a_file_that_is_there_already_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    std::fs::write(&path, b"footage").unwrap();
    let mut writer = hold(&path, Writing::Buffered, &Buffers::default());
    let error = writer.take_unwritten().unwrap().write().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&path).unwrap(), b"footage");
}

#[test]
fn a_file_system_that_refuses_direct_writing_gets_it_through_the_page_cache() {
    // /proc/self/comm and the like would refuse everything: a write that begins within a block stands in for it.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    let held = Held::new(path.clone(), Writing::Direct, Buffers::default());
    let mut run = Run { from: 1, ..Run::default() };
    run.reserve(5_000, &Buffers::default());
    run.push(&[7; 5_000]);
    run.end_block();
    held.output.write(&run).unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[1..5_001], [7; 5_000]);
    assert_eq!(held.output.state.lock().writing, Writing::Buffered);
}

#[test]
fn memory_that_nobody_used_for_a_while_is_given_back() {
    let buffers = Buffers::default();
    drop((0..100).map(|_| buffers.chunk(1)).collect::<Vec<_>>());
    buffers.trim();
    let free = |buffers: &Buffers| buffers.0.lock().free_bytes / (CHUNK_BYTES + BLOCK_BYTES);
    assert!(free(&buffers) > 90, "what comes in bursts keeps its memory");
    (0..500).for_each(|_| buffers.trim());
    assert_eq!(buffers.in_use_bytes(), 0);
    assert_eq!(free(&buffers), 0);
}
