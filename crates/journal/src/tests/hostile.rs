//! Hands that change more than bytes, clocks that are wrong, and disks that fail in the middle of a step.

use std::os::unix::fs::symlink;

use super::*;

/// A journal of two days, checkpointed, whose process has ended.
fn of_two_days() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 3, now());
    fill(&journal, 300, at("2026-11-28"));
    journal.checkpoint().unwrap();
    dir
}

const FIRST: &str = "content/000000000000-2026-11-27.jsonl";
const SECOND: &str = "content/000000000003-2026-11-28.jsonl";

/// After this change a fault says all of these words.
#[track_caller]
fn check_named(change: impl FnOnce(&Path), words: &[&str]) {
    let dir = of_two_days();
    sound(dir.path());
    change(dir.path());
    let faults = check(dir.path()).faults;
    let named = faults.iter().map(ToString::to_string).any(|fault| words.iter().all(|word| fault.contains(word)));
    assert!(named, "{words:?}: {faults:?}");
}

#[test]
fn files_that_are_renamed_added_or_no_files_are_named() {
    let renamed = |to: &'static str| move |dir: &Path| fs::rename(dir.join(SECOND), dir.join(to)).unwrap();
    check_named(renamed("content/3-2026-11-28.jsonl"), &["content/3-2026-11-28.jsonl", "no file of this journal"]);
    check_named(renamed("content/+00000000003-2026-11-28.jsonl"), &["content/+0", "no file of this journal"]);
    check_named(renamed("content/000000000003-20261128.jsonl"), &["20261128", "no file of this journal"]);
    check_named(renamed("content/000000000003-2026-11-29.jsonl"), &["2026-11-29.jsonl line 1", "not of the day"]);
    check_named(renamed("content/000000000004-2026-11-28.jsonl"), &["entries 3 to 3 are missing"]);
    let added = |name: &'static str| {
        move |dir: &Path| {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), "more").unwrap();
        }
    };
    check_named(added("notes"), &["notes", "no file of this journal"]);
    check_named(added("more/notes"), &["more", "no file of this journal"]);
    check_named(added("content/notes.new"), &["notes.new", "no file of this journal"]);
    check_named(added("tile/notes.new"), &["notes.new", "no tile of this journal"]);
    check_named(added("tile/0/more/notes"), &["tile/0/more", "no tile of this journal"]);
    check_named(added("tile/0/x999/000"), &["tile/0/x999/000", "no tile of this journal"]);
    check_named(added("tile/0/000.p/+7"), &["tile/0/000.p/+7", "no tile of this journal"]);
}

#[test]
fn what_is_no_regular_file_or_cannot_be_read_is_a_fault_that_hides_no_other() {
    for name in [FIRST, SECOND, "checkpoint", "keys", "tile/entries/000", "tile/0/001.p/47", "tile/1/000.p/1"] {
        let other = if name == FIRST { SECOND } else { FIRST };
        let replaced = |by: &dyn Fn(&Path)| {
            let dir = of_two_days();
            let kept = dir.path().with_extension("kept");
            fs::rename(dir.path().join(name), &kept).unwrap();
            by(&dir.path().join(name));
            let text = fs::read_to_string(dir.path().join(other)).unwrap();
            fs::write(dir.path().join(other), text.replacen('{', "[", 1)).unwrap();
            let faults = check(dir.path()).faults;
            let names = |name: &str| faults.iter().any(|fault| fault.place.starts_with(name));
            assert!(names(name), "{name}: {faults:?}");
            assert!(names(other) || name == "checkpoint", "{other} beside {name}: {faults:?}");
            let opened = Journal::open(dir.path(), signer(), &[], now());
            assert!(opened.is_err() || name.starts_with("tile") || name == FIRST, "{name}");
            fs::remove_file(kept).unwrap();
        };
        replaced(&|path| fs::create_dir(path).unwrap());
        replaced(&|path| symlink("/dev/zero", path).unwrap());
        replaced(&|path| symlink(path, path).unwrap());
        replaced(&|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()));
    }
    check_named(
        |dir| {
            fs::rename(dir.join("content"), dir.join("elsewhere")).unwrap();
            symlink(dir.join("elsewhere"), dir.join("content")).unwrap();
        },
        &["content", "is no folder"],
    );
}

#[test]
fn lines_and_files_of_any_length_are_named_once_and_read_no_further_than_they_may_be() {
    let long = |dir: &Path| {
        let text = fs::read_to_string(dir.join(FIRST)).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        fs::write(dir.join(FIRST), format!("{first}{}\n{rest}", " ".repeat(1 << 20))).unwrap();
    };
    let dir = of_two_days();
    long(dir.path());
    let faults = check(dir.path()).faults;
    assert!(faults.len() == 1 && faults[0].place == format!("{FIRST} line 1"), "{faults:?}");
    check_named(|dir| fs::File::create(dir.join(FIRST)).unwrap().set_len(1 << 42).unwrap(), &[FIRST, "longer than"]);
    check_named(|dir| fs::File::create(dir.join("keys")).unwrap().set_len(1 << 42).unwrap(), &["keys", "longer than"]);
    check_named(
        |dir| fs::File::create(dir.join("checkpoint")).unwrap().set_len(1 << 42).unwrap(),
        &["checkpoint", "longer than"],
    );
    check_named(
        |dir| fs::File::create(dir.join("tile/0/000")).unwrap().set_len(1 << 42).unwrap(),
        &["tile/0/000", "longer than"],
    );
}

#[test]
fn a_checkpoint_of_a_size_that_cannot_be_ends_in_faults() {
    for size in [1 << 40, 1 << 63, u64::MAX] {
        let dir = of_two_days();
        fs::write(dir.path().join("checkpoint"), signer().sign(Head { size, root: [1; 32] })).unwrap();
        let report = check(dir.path());
        assert!(report.faults.len() > 10 && report.faults.len() <= 1001, "{}", report.faults.len());
    }
}

#[test]
fn a_key_that_is_added_taken_away_or_doubled_is_named() {
    let other = Signer::new(ORIGIN, &[9; 32]);
    let keys = |dir: &Path| fs::read_to_string(dir.join("keys")).unwrap();
    let line = format!("{}\n", other.verifier());
    check_named(|dir| fs::write(dir.join("keys"), keys(dir) + &line).unwrap(), &["keys", "line 2", "no entry"]);
    check_named(|dir| fs::write(dir.join("keys"), keys(dir).repeat(2)).unwrap(), &["keys", "line 2"]);
    let changed = || {
        let dir = of_two_days();
        let journal = Journal::open(dir.path(), Signer::new(ORIGIN, &[9; 32]), &[], now()).unwrap();
        journal.checkpoint().unwrap();
        sound(dir.path());
        dir
    };
    let dir = changed();
    fs::write(dir.path().join("keys"), &line).unwrap();
    assert!(check(dir.path()).faults.iter().any(|fault| fault.place == "keys"));
    let dir = changed();
    fs::write(dir.path().join("keys"), format!("{}\n", signer().verifier())).unwrap();
    assert!(check(dir.path()).faults.iter().any(|fault| fault.place == "keys"));
}

/// The clock goes to 1970 and to 2060 and comes back: an entry is never older than the ones before it.
#[test]
fn r4_contents_of_a_wrong_clock_go_with_those_around_them_and_never_before() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for (day, entries) in
        [("2026-11-27", 2), ("1970-01-01", 3), ("2026-11-28", 4), ("2060-01-01", 5), ("2026-11-29", 6)]
    {
        fill(&journal, entries, at(day));
    }
    journal.checkpoint().unwrap();
    let forget = |day: &str| journal.forget(at(day), 36).unwrap();
    assert_eq!(forget("1970-01-01"), 0);
    assert_eq!(forget("2026-11-30"), 0, "nothing of 1970 that was written in 2026");
    assert_eq!(sound(dir.path()).forgotten, 0);
    assert_eq!(forget("2029-11-27"), 5);
    assert_eq!(sound(dir.path()).forgotten, 5);
    assert_eq!(forget("2029-11-28"), 4, "what is of 2060 stays until what was written after it goes");
    assert_eq!(sound(dir.path()).forgotten, 9);
    assert_eq!(forget("2029-11-29"), 11);
    assert_eq!(sound(dir.path()).forgotten, 20);
    assert_eq!(files_in(&dir.path().join("content")).len(), 3);
}

#[test]
fn an_entry_of_a_clock_that_was_set_back_excuses_no_missing_contents() {
    let dir = of_two_days();
    let journal = open(dir.path());
    let said = Action::EntriesForgotten { from: 0, to: 3, months: 36 };
    journal.append(at("1970-01-01"), Draft::new(Author::Gateway, said)).unwrap();
    journal.checkpoint().unwrap();
    fs::remove_file(dir.path().join(FIRST)).unwrap();
    let faults = check(dir.path()).faults;
    assert!(faults.iter().any(|fault| fault.what.contains("entries 0 to 2 are missing")), "{faults:?}");
}

/// Writes half of what it is given, then refuses for once.
#[derive(Default)]
struct Once {
    refuse: AtomicU64,
}

const WRITE: u64 = 1;
const SYNC: u64 = 2;

impl Platform for Once {
    fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
        let refused = match op {
            FileOp::Sync(_) => self.refuse.load(Ordering::Relaxed) == SYNC,
            _ => false,
        };
        match refused {
            true => {
                self.refuse.store(0, Ordering::Relaxed);
                Err(io::Error::from_raw_os_error(5))
            }
            false => Ok(()),
        }
    }

    fn takes(&self, _: &fs::File, bytes: usize) -> io::Result<usize> {
        match self.refuse.load(Ordering::Relaxed) {
            WRITE if bytes > 60 => Ok(50),
            WRITE => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(bytes),
        }
    }
}

fn disk() -> Arc<Once> {
    let disk = Arc::new(Once::default());
    platform::simulate(Some(Arc::clone(&disk) as Arc<dyn Platform>));
    disk
}

/// fsync(2) reports a failed write once: where that is when a torn end is cut, what was not flushed is written again.
#[test]
fn a_flush_that_fails_while_a_torn_end_is_cut_drops_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.append(now(), draft(0)).unwrap();
    let path = dir.path().join(FIRST);
    let bytes = fs::read(&path).unwrap();
    let disk = disk();
    disk.refuse.store(WRITE, Ordering::Relaxed);
    journal.append(now(), draft(1)).unwrap_err();
    disk.refuse.store(SYNC, Ordering::Relaxed);
    journal.append(now(), draft(1)).unwrap_err();
    platform::simulate(None);
    fs::write(&path, vec![0; bytes.len()]).unwrap();
    journal.sync().unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

/// The first write of a new day fails, and the clock goes back over midnight.
#[test]
fn a_file_that_no_entry_came_into_is_not_left_for_damage() {
    for ends in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = open(dir.path());
        fill(&journal, 2, now());
        let disk = disk();
        disk.refuse.store(WRITE, Ordering::Relaxed);
        journal.append(at("2026-11-28"), draft(2)).unwrap_err();
        platform::simulate(None);
        if ends {
            drop(journal);
            journal = open(dir.path());
        }
        fill(&journal, 2, now());
        fill(&journal, 2, at("2026-11-28"));
        journal.checkpoint().unwrap();
        let size = journal.size();
        assert_eq!(sound(dir.path()).sound, size);
        drop(journal);
        assert_eq!(open(dir.path()).size(), size);
    }
}

#[test]
fn a_checkpoint_that_fails_refuses_entries_until_one_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 3, now());
    let tile = dir.path().join("tile");
    fs::write(&tile, "in the way").unwrap();
    assert!(journal.checkpoint().is_err());
    assert!(journal.sync().is_err(), "what is flushed has no checkpoint still");
    assert!(journal.append(now(), draft(3)).is_err());
    fs::remove_file(&tile).unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.append(now(), draft(3)).unwrap(), 3);
    assert_eq!(journal.head().size, 3);
}

#[test]
fn what_cannot_be_looked_into_is_no_empty_journal() {
    let dir = of_two_days();
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    fs::remove_dir_all(dir.path().join("tile")).unwrap();
    fs::rename(dir.path().join("content"), dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("content"), dir.path().join("content")).unwrap();
    let keys = fs::read(dir.path().join("keys")).unwrap();
    assert!(Journal::open(dir.path(), Signer::new(ORIGIN, &[9; 32]), &[], now()).is_err());
    assert!(!dir.path().join("checkpoint").exists(), "what is missing is not made");
    assert_eq!(fs::read(dir.path().join("keys")).unwrap(), keys);
}

/// What was written last and not flushed has a block of zeros in it after a power cut, and sound lines behind.
#[test]
fn a_hole_of_zeros_behind_the_checkpoint_is_a_torn_end_and_any_other_is_damage() {
    let dir = of_two_days();
    let journal = open(dir.path());
    fill(&journal, 9, at("2026-11-28"));
    drop(journal);
    let path = dir.path().join(SECOND);
    let bytes = fs::read(&path).unwrap();
    let line = bytes.len() / 309;
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at..at + line].fill(byte);
        fs::write(&path, bytes).unwrap();
        Journal::open(dir.path(), signer(), &[], at_noon())
    };
    assert!(matches!(with(bytes.len() - 5 * line, b'x'), Err(JournalError::Damaged { .. })));
    assert!(matches!(with(100 * line, 0), Err(JournalError::Damaged { .. })));
    let journal = with(bytes.len() - 5 * line, 0).unwrap();
    journal.checkpoint().unwrap();
    let size = journal.size();
    assert!((303 + 4..303 + 6).contains(&size), "{size}");
    assert_eq!(sound(dir.path()).sound, size);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().last().unwrap().contains("tail_lost"), "{text}");
}

fn at_noon() -> Timestamp {
    at("2026-11-28")
}

/// Sees in which order files are flushed and begun.
#[derive(Default)]
struct Watching {
    seen: parking_lot::Mutex<Vec<&'static str>>,
    /// Whose flush goes on while a file takes its place.
    flushes: Option<Arc<Journal>>,
}

impl Platform for Watching {
    fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
        if let (FileOp::Rename { .. }, Some(journal)) = (op, &self.flushes) {
            std::thread::scope(|scope| scope.spawn(|| journal.sync()).join().unwrap()).unwrap();
        }
        self.seen.lock().extend(match op {
            FileOp::Create(_) => Some("create"),
            FileOp::Sync(_) => Some("sync"),
            FileOp::WriteAt { .. } => Some("write"),
            _ => None,
        });
        Ok(())
    }
}

#[test]
fn a_day_is_durable_before_the_next_one_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 1, now());
    let disk = Arc::new(Watching::default());
    platform::simulate(Some(Arc::clone(&disk) as Arc<dyn Platform>));
    fill(&journal, 1, at("2026-11-28"));
    platform::simulate(None);
    assert_eq!(*disk.seen.lock(), ["sync", "create", "write"]);
    journal.sync().unwrap();
}

#[test]
fn entries_are_flushed_while_a_checkpoint_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(dir.path()));
    fill(&journal, 3, now());
    let disk = Watching { flushes: Some(Arc::clone(&journal)), ..Watching::default() };
    platform::simulate(Some(Arc::new(disk)));
    let made = journal.checkpoint();
    platform::simulate(None);
    assert_eq!(made.unwrap().size, 3);
}
