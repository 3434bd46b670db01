//! A journal against a disk that refuses, an end at every change to the disk, time that passes, and hands that change it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use footage::platform::{self, FileOp, Platform};
use jiff::{Span as Duration, Timestamp};
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::checkpoint::Signer;
use crate::entry::{Access, Action, Author, Draft, Entry, Span};
use crate::log::{Head, Journal, JournalError};
use crate::verify::{Known, Report, Step, verify, verify_beside};

mod hostile;

const ORIGIN: &str = "vigie.invalid/journal/0123456789abcdef";

fn signer() -> Signer {
    Signer::new(ORIGIN, &[7; 32])
}

fn at(day: &str) -> Timestamp {
    format!("{day}T12:00:00Z").parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-27")
}

fn open(folder: &Path) -> Journal {
    Journal::open(folder, signer(), &[], now()).unwrap()
}

fn draft(n: u64) -> Draft {
    let camera = format!("place-{}", n % 7).parse().unwrap();
    Draft::new(Author::AccessToken, Action::AccessBegun { access: Access::Playback }).on(camera, None)
}

fn fill(journal: &Journal, entries: u64, at: Timestamp) {
    for n in 0..entries {
        journal.append(at, draft(n)).unwrap();
    }
}

fn check(folder: &Path) -> Report {
    verify(folder, &Known::default()).unwrap()
}

fn sound(folder: &Path) -> Report {
    let report = check(folder);
    assert_eq!(report.faults, []);
    report
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_in(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for path in files_in(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

#[test]
fn entries_are_read_back_as_they_were_written_and_verify() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 700, now());
    let head = journal.checkpoint().unwrap();
    assert_eq!(head.size, 700);
    fill(&journal, 3, now());
    let report = sound(dir.path());
    assert_eq!((report.sound, report.uncovered, report.forgotten, report.head), (700, 3, 0, Some(head)));
    let text = fs::read_to_string(dir.path().join("content/000000000000-2026-11-27.jsonl")).unwrap();
    let entries: Vec<Entry> = text.lines().map(|line| Entry::decode(line.as_bytes()).unwrap()).collect();
    assert_eq!(entries.len(), 703);
    assert!(entries.iter().zip(0..).all(|(entry, n)| entry.n == n && entry.at == now()));
    assert_eq!(entries[9].draft, draft(9));
    let salts: BTreeSet<_> =
        text.lines().map(|line| line.split("\"salt\":\"").nth(1).unwrap()[..32].to_owned()).collect();
    assert_eq!(salts.len(), 703, "each entry has a salt of its own");
}

/// The facts of an action lie beside those of every entry: a name that both had would be lost.
#[test]
fn every_action_is_read_back_with_all_of_its_facts_beside_all_that_an_entry_has() {
    let text = || "x".to_owned();
    let span = Span { from: now(), to: now() };
    let actions = [
        Action::AccessBegun { access: Access::Live },
        Action::AccessEnded { begun: 1, access: Access::Clip, sent: vec![span], sent_bytes: 2 },
        Action::Exported { bytes: 1 },
        Action::JournalRead { from: 1 },
        Action::Inspected,
        Action::CameraRetried,
        Action::AlarmAcknowledged { alarm: 1 },
        Action::Refused { count: 1 },
        Action::HoldPlaced { hold: text() },
        Action::HoldReleased { hold: text() },
        Action::RequestStep { request: text(), step: text(), detail: Some(text()) },
        Action::FootageDestroyed { cause: text(), packs: 1, bytes: 2 },
        Action::KeyDestroyed { key: text() },
        Action::ConfigurationRead,
        Action::OccurrencesGathered { legal_basis: text() },
        Action::EntriesForgotten { from: 0, to: 1, months: 36 },
        Action::KeyChanged { verifier: text() },
        Action::LossAccepted { size: 1, root: text() },
        Action::TailLost { bytes: 1 },
        Action::Interrupted { since: now() },
    ];
    for action in actions {
        let draft = Draft {
            author: Author::Operator,
            address: Some(std::net::Ipv4Addr::LOCALHOST.into()),
            action,
            cameras: vec!["gate".parse().unwrap()],
            range: Some(span),
            reason: Some(text()),
            recipient: Some(text()),
        };
        let entry = Entry::new(7, now(), draft);
        assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
    }
}

#[test]
fn what_was_appended_is_there_after_the_process_ends_and_the_tree_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = 0;
    for round in 0..6 {
        let journal = open(dir.path());
        assert_eq!(journal.size(), written);
        fill(&journal, 190, now());
        written += 190;
        if round % 2 == 0 {
            journal.checkpoint().unwrap();
        }
    }
    let journal = open(dir.path());
    journal.checkpoint().unwrap();
    assert_eq!(sound(dir.path()).sound, written);
    assert_eq!(files_in(&dir.path().join("tile")).len(), 5 + 5 + 1, "no tile of an earlier checkpoint is left");
}

#[test]
fn entries_are_shown_from_any_number_on_and_a_line_that_is_being_written_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let read = |from, limit| {
        let lines = crate::read::entries(dir.path(), from, limit).unwrap();
        lines.iter().map(|line| Entry::decode(line.as_bytes()).unwrap().n).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 10), [] as [u64; 0], "no journal is there yet");
    let journal = open(dir.path());
    fill(&journal, 5, at("2026-11-26"));
    fill(&journal, 5, now());
    assert_eq!(read(0, 3), [0, 1, 2]);
    assert_eq!(read(3, 4), [3, 4, 5, 6]);
    assert_eq!(read(8, 100), [8, 9]);
    assert_eq!(read(10, 100), [] as [u64; 0]);
    let path = dir.path().join("content/000000000005-2026-11-27.jsonl");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, [&bytes[..], &bytes[..40]].concat()).unwrap();
    assert_eq!(read(8, 100), [8, 9]);
}

#[test]
fn every_changed_byte_is_found_and_its_file_named() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 4, now());
    journal.checkpoint().unwrap();
    fill(&journal, 1, at("2026-11-28"));
    journal.checkpoint().unwrap();
    drop(journal);
    sound(dir.path());
    let mut rng = SmallRng::seed_from_u64(1);
    for path in files_in(dir.path()) {
        let name = path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << rng.random_range(0..8);
            fs::write(&path, &changed).unwrap();
            let faults = check(dir.path()).faults;
            assert!(faults.iter().any(|fault| fault.to_string().contains(&name)), "{name} byte {at}: {faults:?}");
        }
        for cut in [0, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..cut]).unwrap();
            assert_ne!(check(dir.path()).faults, [], "{name} cut to {cut}");
        }
        fs::remove_file(&path).unwrap();
        assert_ne!(check(dir.path()).faults, [], "{name} is missing");
        fs::write(&path, &bytes).unwrap();
    }
    sound(dir.path());
}

#[test]
fn a_changed_byte_of_a_journal_of_many_tiles_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 70_000, now());
    journal.checkpoint().unwrap();
    let tiles = files_in(&dir.path().join("tile"));
    let mut rng = SmallRng::seed_from_u64(2);
    for _ in 0..12 {
        let path = &tiles[rng.random_range(0..tiles.len())];
        let bytes = fs::read(path).unwrap();
        let mut changed = bytes.clone();
        changed[rng.random_range(0..bytes.len())] ^= 1 << rng.random_range(0..8);
        fs::write(path, changed).unwrap();
        let faults = check(dir.path()).faults;
        let name = path.strip_prefix(dir.path()).unwrap().to_str().unwrap();
        assert!((1..=3).contains(&faults.len()) && faults.iter().all(|f| f.to_string().contains(name)), "{faults:?}");
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(sound(dir.path()).sound, 70_000);
}

/// One who writes the whole journal again, under its own key, is found out by a checkpoint that left it before.
#[test]
fn a_journal_that_was_set_back_or_written_again_contradicts_an_earlier_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let older = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 10, now());
    let first = journal.checkpoint().unwrap();
    copy(dir.path(), older.path());
    fill(&journal, 300, now());
    let second: Head = journal.checkpoint().unwrap().to_string().parse().unwrap();
    drop(journal);
    let known = |heads: &[Head]| Known { heads: heads.to_vec(), ..Known::default() };
    assert_eq!(verify(dir.path(), &known(&[first, second])).unwrap().faults, []);
    let faults = verify(older.path(), &known(&[first, second])).unwrap().faults;
    assert!(faults.len() == 1 && faults[0].to_string().contains("set back"), "{faults:?}");
    let opened = Journal::open(older.path(), signer(), &[second], now());
    assert!(matches!(opened, Err(JournalError::SetBack { found: 10, .. })), "{opened:?}");

    let again = tempfile::tempdir().unwrap();
    let journal = open(again.path());
    fill(&journal, 400, now());
    journal.checkpoint().unwrap();
    drop(journal);
    sound(again.path());
    let faults = verify(again.path(), &known(&[second])).unwrap().faults;
    assert!(faults.len() == 1 && faults[0].to_string().contains("another root"), "{faults:?}");
    assert!(matches!(Journal::open(again.path(), signer(), &[second], now()), Err(JournalError::SetBack { .. })));
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(Journal::open(nothing.path(), signer(), &[second], now()), Err(JournalError::SetBack { .. })));
    assert_eq!(files_in(nothing.path()), [] as [PathBuf; 0], "what is missing is not made");
    Journal::open(dir.path(), signer(), &[second], now()).unwrap();
}

#[test]
fn another_key_is_no_forgery_when_the_journal_says_so_and_one_when_the_reader_knows_better() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 3, now());
    journal.checkpoint().unwrap();
    drop(journal);
    let other = Signer::new(ORIGIN, &[8; 32]);
    let verifier = other.verifier().to_owned();
    let journal = Journal::open(dir.path(), other, &[], now()).unwrap();
    assert_eq!(journal.size(), 4);
    journal.checkpoint().unwrap();
    sound(dir.path());
    let with =
        |key: &str| verify(dir.path(), &Known { keys: vec![key.to_owned()], ..Known::default() }).unwrap().faults;
    assert_eq!(with(&verifier), []);
    let faults = with(signer().verifier());
    assert!(faults.len() == 1 && faults[0].to_string().contains("no key that is known"), "{faults:?}");
}

#[test]
fn a_journal_that_forgets_while_it_is_verified_has_no_fault_and_one_that_was_changed_keeps_its_own() {
    for step in [Step::Checkpoint, Step::Contents] {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        fill(&journal, 300, at("2023-11-26"));
        fill(&journal, 7, at("2026-11-26"));
        journal.checkpoint().unwrap();
        let mut forgotten = Vec::new();
        let mut forget = |now_at: Step| {
            if now_at == step {
                forgotten.push(journal.forget(now(), 36).unwrap());
            }
        };
        let report = verify_beside(dir.path(), &Known::default(), &mut forget).unwrap();
        assert_eq!(report.faults, [], "{step:?}");
        assert_eq!((report.sound, report.forgotten), (8, 300));
        assert_eq!(forgotten, [300, 0], "{step:?}: it was looked at again");

        fs::remove_file(&files_in(&dir.path().join("content"))[0]).unwrap();
        let mut entry = |now_at: Step| {
            if now_at == step {
                fill(&journal, 1, now());
                journal.checkpoint().unwrap();
            }
        };
        let report = verify_beside(dir.path(), &Known::default(), &mut entry).unwrap();
        assert!(!report.faults.is_empty(), "{step:?}: a journal that goes on hides nothing");
    }
}

#[test]
fn r4_contents_are_destroyed_at_the_end_of_their_time_and_the_journal_still_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for (day, entries) in [("2023-11-26", 300), ("2023-11-27", 5), ("2023-11-28", 7), ("2026-11-26", 2)] {
        fill(&journal, entries, at(day));
    }
    journal.checkpoint().unwrap();
    assert_eq!(journal.forget(at("2026-11-25"), 36).unwrap(), 0, "none is destroyed before its time");
    assert_eq!(journal.forget(at("2026-11-27"), 36).unwrap(), 305);
    let report = sound(dir.path());
    assert_eq!((report.sound, report.forgotten), (7 + 2 + 1, 305));
    assert_eq!(files_in(&dir.path().join("content")).len(), 3);
    assert_eq!(journal.forget(at("2026-11-27"), 36).unwrap(), 0);
    // What said that they were destroyed is itself destroyed: the next one says it again.
    fill(&journal, 1, at("2026-12-01"));
    assert_eq!(journal.forget(at("2029-11-27"), 36).unwrap(), 7 + 2 + 1);
    let report = sound(dir.path());
    assert_eq!((report.sound, report.forgotten), (2, 315));
    drop(journal);
    assert_eq!(open(dir.path()).size(), 317);
}

#[test]
fn contents_that_are_missing_before_their_time_are_a_fault_whatever_an_entry_says() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 3, at("2026-11-25"));
    fill(&journal, 3, at("2026-11-26"));
    let said = Action::EntriesForgotten { from: 0, to: 3, months: 36 };
    journal.append(now(), Draft::new(Author::Gateway, said)).unwrap();
    journal.checkpoint().unwrap();
    let faults = check(dir.path()).faults;
    assert!(faults.len() == 1 && faults[0].to_string().contains("and it is there"), "{faults:?}");
    fs::remove_file(dir.path().join("content/000000000000-2026-11-25.jsonl")).unwrap();
    let faults = check(dir.path()).faults;
    assert!(faults.len() == 1 && faults[0].to_string().contains("entries 0 to 2 are missing"), "{faults:?}");
}

#[test]
fn a_torn_end_is_cut_off_and_said_and_a_hole_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 3, now());
    journal.checkpoint().unwrap();
    fill(&journal, 2, now());
    drop(journal);
    let path = dir.path().join("content/000000000000-2026-11-27.jsonl");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.size(), 5, "of five the last was torn, and one says so");
    journal.checkpoint().unwrap();
    drop(journal);
    assert_eq!(sound(dir.path()).sound, 5);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().last().unwrap().contains("tail_lost"), "{text}");

    let damaged = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let opened = Journal::open(dir.path(), signer(), &[], now());
        assert!(matches!(opened, Err(JournalError::Damaged { .. })), "{opened:?}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "what is damaged stays as it is");
    };
    let text = fs::read(&path).unwrap();
    damaged(&text[..text.len() / 3]);
    damaged(&[]);
    let mut hole = text.clone();
    hole[2] = 0;
    damaged(&hole);
}

#[test]
fn an_entry_that_is_too_long_is_refused_and_the_next_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let long = Draft { reason: Some("x".repeat(70_000)), ..draft(0) };
    assert!(matches!(journal.append(now(), long), Err(JournalError::Entry { .. })));
    assert_eq!(journal.append(now(), draft(0)).unwrap(), 0);
}

/// A machine whose disk refuses from one change on, for ever or until it is set free.
#[derive(Default)]
struct Refusing {
    changes: AtomicU64,
    refuse_from: AtomicU64,
}

impl Platform for Refusing {
    fn before(&self, _: &FileOp<'_>) -> io::Result<()> {
        let n = self.changes.fetch_add(1, Ordering::Relaxed);
        match n >= self.refuse_from.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    /// Half of what is given, before the disk is full.
    fn takes(&self, _: &fs::File, bytes: usize) -> io::Result<usize> {
        Ok(bytes.div_ceil(2))
    }

    fn draw(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
}

/// The life of a journal, with its numbers, as far as the disk lets it come: how many entries were answered for.
fn live(folder: &Path) -> (u64, Option<Head>) {
    let Ok(journal) = Journal::open(folder, signer(), &[], now()) else { return (0, None) };
    let (mut answered, mut head) = (journal.size(), None);
    for (day, entries) in [("2023-01-01", 2), ("2026-11-26", 254), ("2026-11-27", 3)] {
        for n in 0..entries {
            match journal.append(at(day), draft(n)) {
                Ok(n) => answered = n + 1,
                Err(_) => return (answered, head),
            }
        }
        match journal.checkpoint() {
            Ok(made) => head = Some(made),
            Err(_) => return (answered, head),
        }
    }
    let _ = journal.forget(now(), 36);
    (answered, head)
}

#[test]
fn an_end_at_any_change_to_the_disk_loses_no_entry_that_was_answered_for() {
    let mut ends = 0;
    for refuse_from in (0..40).chain((40..).step_by(7)) {
        let dir = tempfile::tempdir().unwrap();
        let machine = Arc::new(Refusing::default());
        machine.refuse_from.store(refuse_from, Ordering::Relaxed);
        platform::simulate(Some(Arc::clone(&machine) as Arc<dyn Platform>));
        let (answered, head) = live(dir.path());
        platform::simulate(None);
        let came_through = machine.changes.load(Ordering::Relaxed) < refuse_from;
        let journal = Journal::open(dir.path(), signer(), head.as_slice(), now())
            .unwrap_or_else(|e| panic!("{refuse_from}: {e}"));
        assert!(journal.size() >= answered, "{refuse_from}: {answered} of {}", journal.size());
        journal.forget(now(), 36).unwrap();
        journal.checkpoint().unwrap();
        let report = verify(dir.path(), &Known { heads: head.into_iter().collect(), ..Known::default() }).unwrap();
        assert_eq!(report.faults, [], "{refuse_from}");
        ends += 1;
        if came_through {
            break;
        }
    }
    assert!(ends > 60, "{ends}");
}

#[test]
fn a_full_disk_refuses_entries_until_there_is_room_and_none_is_lost_or_twice() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let machine = Arc::new(Refusing::default());
    let mut rng = SmallRng::seed_from_u64(3);
    let mut answered = Vec::new();
    for round in 0..60 {
        let free = if round == 59 { u64::MAX } else { rng.random_range(0..200) };
        machine.changes.store(0, Ordering::Relaxed);
        machine.refuse_from.store(free, Ordering::Relaxed);
        platform::simulate(Some(Arc::clone(&machine) as Arc<dyn Platform>));
        for _ in 0..rng.random_range(1..12) {
            answered.extend(journal.append(now(), draft(round)));
        }
        let _ = if round % 2 == 0 { journal.sync() } else { journal.checkpoint().map(drop) };
        platform::simulate(None);
    }
    journal.checkpoint().unwrap();
    assert_eq!(answered, (0..answered.len() as u64).collect::<Vec<_>>());
    assert_eq!(sound(dir.path()).sound, answered.len() as u64);
    assert!(answered.len() > 50);
}

#[test]
fn a_failed_flush_refuses_entries_until_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.append(now(), draft(0)).unwrap();
    let machine = Arc::new(Refusing::default());
    platform::simulate(Some(Arc::clone(&machine) as Arc<dyn Platform>));
    assert!(matches!(journal.sync(), Err(JournalError::Io { .. })));
    assert!(matches!(journal.append(now(), draft(1)), Err(JournalError::Failed { .. })));
    platform::simulate(None);
    // The kernel dropped what it could not write.
    let path = dir.path().join("content/000000000000-2026-11-27.jsonl");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, vec![0; bytes.len()]).unwrap();
    journal.sync().unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(journal.append(now(), draft(1)).unwrap(), 1);
}

#[test]
fn many_write_at_once_while_checkpoints_are_made_and_each_entry_has_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let journal = &journal;
            scope.spawn(move || (0..200).for_each(|_| assert!(journal.append(now(), draft(writer)).is_ok())));
        }
        scope.spawn(|| (0..20).for_each(|_| assert!(journal.checkpoint().is_ok())));
        scope.spawn(|| (0..20).for_each(|_| assert!(journal.forget(now(), 36).is_ok())));
    });
    assert_eq!(journal.checkpoint().unwrap().size, 1600);
    assert_eq!(sound(dir.path()).sound, 1600);
}

proptest! {
    /// Days in any order, as of a clock that jumps; ends and checkpoints anywhere.
    #[test]
    fn any_life_of_a_journal_verifies(steps in proptest::collection::vec((0u8..6, 0i32..2000, 1u64..40), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = open(dir.path());
        let mut heads = Vec::new();
        for (step, days, entries) in steps {
            let then = now().checked_sub(Duration::new().hours(24 * days)).unwrap();
            match step {
                0..=2 => fill(&journal, entries, then),
                3 => heads.push(journal.checkpoint().unwrap()),
                4 => prop_assert!(journal.forget(now(), 24).is_ok()),
                _ => {
                    drop(journal);
                    journal = Journal::open(dir.path(), signer(), &heads, now()).unwrap();
                }
            }
        }
        heads.push(journal.checkpoint().unwrap());
        journal.forget(now(), 24).unwrap();
        let report = verify(dir.path(), &Known { heads, keys: vec![signer().verifier().to_owned()], ..Known::default() }).unwrap();
        prop_assert_eq!(report.faults, []);
        prop_assert_eq!(report.sound + report.forgotten, journal.size());
    }
}
