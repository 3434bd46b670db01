use crate::keys::vault::Vault;
use std::io::Write;

use super::held::RESERVED_BYTES;
use super::*;
use crate::pack::reader::{read_table, verify_pack};
use crate::pack::testing::{SECOND, fragment, header, key};
use crate::units::Ticks90k;

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
    check_refused(|f, _| f.payload = vec![0; 1].into(), "add up");
    check_refused(|f, _| (f.video, f.audio, f.payload) = (Vec::new(), Vec::new(), Payload::default()), "no picture");
    check_refused(|f, _| f.audio_decode_time = -1, "negative");
    check_refused(|_, s| s.wall_duration = Ticks90k(-1), "negative");
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
fn an_existing_file_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    std::fs::write(&path, b"footage").unwrap();
    assert!(matches!(PackWriter::create(&path, header(), key()), Err(PackError::Io { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"footage");
}

#[test]
fn sample_descriptions_that_are_no_boxes_are_refused_before_a_file_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    let mut header = header();
    let mut params = (*header.params).clone();
    params.video.sample_entry = bytes::Bytes::from_static(b"\0\0\0\x0cavc1");
    header.params = Arc::new(params);
    assert!(matches!(PackWriter::create(&path, header, key()), Err(PackError::Refused { .. })));
    assert!(!path.exists());
}

/// The disk refuses for a while: a file opened for reading only stands in for it. Neither the write nor its undoing
/// succeeds, and half of a fragment lies behind the last whole one.
#[test]
fn after_a_failed_write_whose_undoing_failed_too_the_pack_goes_on_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    let mut writer = PackWriter::create(&path, header(), key()).unwrap();
    let (first, stamp) = fragment(0, &[10, 20]);
    writer.append(&first, stamp).unwrap();

    let swap = |writer: &mut PackWriter, file| match &mut writer.out {
        Out::Written(written) => written.replace_file(file),
        Out::Held(_) => unreachable!("it is written at once"),
    };
    let good = swap(&mut writer, Arc::new(File::open(&path).unwrap()));
    let (second, stamp) = fragment(1, &[500]);
    assert!(matches!(writer.append(&second, stamp.clone()), Err(PackError::Io { .. })));
    (&*good).write_all(b"half of a fragment").unwrap();
    assert!(matches!(writer.append(&second, stamp.clone()), Err(PackError::Io { .. })), "still read-only");
    assert_eq!(writer.table().fragments.len(), 1);

    swap(&mut writer, good);
    writer.append(&second, stamp).unwrap();
    let (table, size) = writer.finish().unwrap();
    assert_eq!(table.fragments.len(), 2);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
    assert_eq!(verify_pack(&path, &key()).unwrap(), table);
}

const LIMITED: &str = "VIGIE_TEST_LIMITED_PACK";

/// A file size limit is a full disk at a known byte: the write that meets it is cut short, the next one fails. It holds
/// for a whole process, so this test runs itself again in one of its own.
#[test]
fn a_write_cut_short_by_a_full_disk_leaves_whole_fragments_and_goes_on_when_there_is_room() {
    const LIMIT: u64 = 64 * 1024;
    let Ok(path) = std::env::var(LIMITED) else {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mp4");
        let name = "pack::writer::tests::a_write_cut_short_by_a_full_disk_leaves_whole_fragments_and_goes_on_when_there_is_room";
        // Without the signal that goes with the limit, a write fails as it does on a full disk.
        let limited = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" --exact {name}", LIMIT / 1024);
        let run = std::process::Command::new("bash")
            .args(["-c", &limited])
            .arg(std::env::current_exe().unwrap())
            .env(LIMITED, &path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
        assert_eq!(read_table(&path.clone(), &Vault::none()).unwrap(), verify_pack(&path, &key()).unwrap());
        return;
    };
    let path = Path::new(&path);
    let length = || std::fs::metadata(path).unwrap().len();
    let mut writer = PackWriter::create(path, header(), key()).unwrap();
    let (first, stamp) = fragment(0, &[1_000, 2_000]);
    let first = writer.append(&first, stamp).unwrap();
    let (large, stamp) = fragment(1, &[40_000, 40_000]);
    for _ in 0..2 {
        assert!(matches!(writer.append(&large, stamp.clone()), Err(PackError::Io { .. })));
        assert_eq!((writer.bytes(), length()), (first.end(), first.end()), "cut back to the last whole fragment");
    }
    let (small, stamp) = fragment(1, &[500]);
    writer.append(&small, stamp).unwrap();
    let (table, size) = writer.finish().unwrap();
    assert_eq!((table.fragments.len(), length()), (2, size));
}

/// Beside what is written, blocks are set aside: they go when the pack is whole, and when a torn one is taken up again.
#[test]
fn blocks_set_aside_for_a_pack_are_no_part_of_it_and_go_when_it_is_whole() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    let mut writer = PackWriter::create(&path, header(), key()).unwrap();
    let (first, stamp) = fragment(0, &[10, 20]);
    writer.append(&first, stamp).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), writer.bytes());
    drop(writer);
    let scan = crate::pack::reader::scan(&path, &key()).unwrap();
    let mut writer = PackWriter::resume(&path, scan, key()).unwrap();
    assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < RESERVED_BYTES);
    let (second, stamp) = fragment(1, &[30]);
    writer.append(&second, stamp).unwrap();
    let (_, bytes) = writer.finish().unwrap();
    let file = std::fs::metadata(&path).unwrap();
    assert_eq!(file.len(), bytes);
    assert!(file.blocks() * 512 < RESERVED_BYTES, "{} blocks", file.blocks());
    assert_eq!(read_table(&path, &Vault::none()).unwrap().fragments.len(), 2);
}
