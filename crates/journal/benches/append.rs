//! What an entry costs who waits for it: alone, and beside 200 writers, flushes and checkpoints. And what verifying costs.
//!
//! `cargo bench -p vigie-journal --bench append`. A line for each workload: percentiles, because who waits feels the slow
//! ones. The journal lies in the temporary folder: what is measured is its file system, with the page cache warm.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark reads the clock, waits and prints")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use journal::checkpoint::Signer;
use journal::entry::{Access, Action, Author, Draft};
use journal::verify::{Known, verify};
use journal::{Journal, Span};

const WRITERS: usize = 200;
const ENTRIES_A_SECOND: usize = 2_000;
const MEASURED: Duration = Duration::from_secs(10);
const FLUSH_EVERY: Duration = Duration::from_millis(500);
const CHECKPOINT_EVERY: Duration = Duration::from_secs(3);

fn draft() -> Draft {
    let action = Action::AccessBegun { access: Access::Playback };
    let range = Span { from: Timestamp::UNIX_EPOCH, to: Timestamp::UNIX_EPOCH };
    let camera = "place-mairie".parse().expect("a camera's id");
    Draft::new(Author::AccessToken, action).on(camera, Some(range))
}

fn append(journal: &Journal) -> Duration {
    let (draft, began) = (draft(), Instant::now());
    journal.append(Timestamp::UNIX_EPOCH, draft).expect("an entry");
    began.elapsed()
}

fn show(workload: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    let (p50, p99, p999, worst) = (at(0.5), at(0.99), at(0.999), at(1.0));
    println!("{workload}: p50 {p50:.1} us, p99 {p99:.1} us, p99.9 {p999:.1} us, worst {worst:.1} us");
}

/// Writers that each make an entry every so often, while the journal is kept as a gateway keeps it, and more often.
///
/// `spread`: no two at the same instant, as people are; otherwise all 200 at once, each time.
fn among_writers(journal: &Journal, spread: bool) -> Vec<Duration> {
    let ended = AtomicBool::new(false);
    let every = Duration::from_secs_f64(WRITERS as f64 / ENTRIES_A_SECOND as f64);
    std::thread::scope(|scope| {
        let keep = |every, keep: fn(&Journal)| {
            let ended = &ended;
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(every);
                    keep(journal);
                }
            });
        };
        keep(FLUSH_EVERY, |journal| journal.sync().expect("a flush"));
        keep(CHECKPOINT_EVERY, |journal| drop(journal.checkpoint().map(|head| assert!(head.size > 0))));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let phase = if spread { every.mul_f64(writer as f64 / WRITERS as f64) } else { Duration::ZERO };
                scope.spawn(move || {
                    std::thread::sleep(phase);
                    let (mut took, began) = (Vec::new(), Instant::now());
                    while began.elapsed() < MEASURED {
                        took.push(append(journal));
                        std::thread::sleep(every);
                    }
                    took
                })
            })
            .collect();
        let took = writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect();
        ended.store(true, Ordering::Relaxed);
        took
    })
}

fn measure(folder: &Path, entries: usize) {
    let signer = Signer::new("vigie.invalid/journal/bench", &[7; 32]);
    let journal = Journal::open(folder, signer, &[], Timestamp::UNIX_EPOCH).expect("a journal");
    (0..entries).for_each(|_| assert!(append(&journal) < Duration::MAX));
    journal.checkpoint().expect("a checkpoint");
    show(&format!("append/alone/{entries}_entries"), (0..20_000).map(|_| append(&journal)).collect());
    for (spread, name) in [(true, "spread"), (false, "all_at_once")] {
        let workload = format!(
            "append/{WRITERS}_writers_{name}_{ENTRIES_A_SECOND}_a_second_flush_500ms_checkpoint_3s/{entries}_entries"
        );
        show(&workload, among_writers(&journal, spread));
    }
    journal.checkpoint().expect("a checkpoint");
    let (size, began) = (journal.size(), Instant::now());
    let report = verify(folder, &Known::default()).expect("a report");
    assert_eq!((report.faults.len(), report.sound), (0, size));
    println!("verify/{size}_entries: {:.2} s", began.elapsed().as_secs_f64());
}

fn main() {
    // `cargo test --benches` runs it as well: there is nothing to test in it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for entries in [100_000, 1_000_000] {
        let dir = tempfile::tempdir().expect("a folder");
        measure(dir.path(), entries);
    }
}
