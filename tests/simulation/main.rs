//! Seeded histories of a gateway on a machine that fails: each seed is checked for what Vigie promises.
//!
//! Real are the recorder, the spool, SQLite, recovery, deduplication, holds, the sweep and `fsck`; simulated are time, the cameras, the store,
//! and what of the disk survives a power cut (`docs/adr/0002`). A seed is a history: it happens the same way each time.
//!
//! ```sh
//! VIGIE_SIM_SEEDS=1000000 cargo test --release --test simulation        # seeds 0 to 999,999
//! VIGIE_SIM_FIRST=4711 VIGIE_SIM_SEEDS=1 VIGIE_SIM_TRACE=1 cargo test --test simulation -- --nocapture
//! ```
//!
//! Two kinds of histories: with faults and few cameras; and with several cameras of one scene, where the seed decides the
//! order of what happens at the same time, and everything that the index shows is read between two steps, one in
//! `VIGIE_SIM_LOOKS` of them.

#![allow(clippy::print_stdout, reason = "a failing seed must show")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

mod check;
mod disk;
mod gateway;
mod history;
mod holds;
mod model;
mod objects;
mod plan;
mod platform;
mod sqlite;
mod trace;

use history::{History, Outcome};
use plan::HistoryPlan;

/// Seeds run when nobody asks for more.
const SEEDS: u64 = 500;

/// Seeds that found a fault once: they run first.
///
/// 9: a reference pack had taken the whole one's place when what came after failed.
/// 864, 896: a cached reference pack came back with a power cut after its host was gone.
/// 57: a pack was condemned and then held, and its host went between.
const REGRESSIONS: &[u64] =
    &[9, 57, 533, 676, 712, 765, 831, 864, 896, 974, 1003, 1346, 1503, 2750, 2930, 10_146, 10_538, 11_916];

/// Seeds of orders run when nobody asks for more.
const ORDER_SEEDS: u64 = 72;

/// Seeds of orders that found a fault once.
///
/// 1045: a start at once after a stop began its footage before the last picture's end.
const ORDER_REGRESSIONS: &[u64] = &[1045];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Every file below a folder, by name.
pub(crate) fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort_unstable();
    for path in paths {
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn failed(seed: u64, what: &str) -> String {
    format!("VIGIE_SIM_FIRST={seed} VIGIE_SIM_SEEDS=1: {what}")
}

/// Runs these seeds on every core, those of `regressions` first.
fn run_all(kind: &str, regressions: &[u64], seeds: u64, plan: fn(u64) -> HistoryPlan) {
    let (first, seeds) = (setting("VIGIE_SIM_FIRST", 0), setting("VIGIE_SIM_SEEDS", seeds));
    let in_words = std::env::var_os("VIGIE_SIM_TRACE").is_some();
    if in_words {
        // Another test of this process may have set it.
        let _ = tracing_subscriber::fmt().with_test_writer().with_env_filter("vigie=debug").without_time().try_init();
    }
    let regressions = if first == 0 { regressions } else { &[] };
    let all: Arc<Vec<u64>> = Arc::new(regressions.iter().copied().chain(first..first + seeds).collect());
    let count = || Arc::new(AtomicU64::new(0));
    let (next, calls, references, held, stop) = (count(), count(), count(), count(), Arc::new(AtomicBool::new(false)));
    let threads = setting("VIGIE_SIM_THREADS", std::thread::available_parallelism().map_or(1, |n| n.get() as u64));
    let keep_going = std::env::var_os("VIGIE_SIM_KEEP_GOING").is_some();
    let work = || {
        let (all, next, stop) = (all.clone(), next.clone(), stop.clone());
        let (calls, references, held) = (calls.clone(), references.clone(), held.clone());
        std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let Some(&seed) = all.get(next.fetch_add(1, Ordering::Relaxed) as usize) else { break };
                let outcome = History::new(plan(seed), in_words).run();
                calls.fetch_add(outcome.calls, Ordering::Relaxed);
                references.fetch_add(outcome.shown.references, Ordering::Relaxed);
                held.fetch_add(outcome.shown.held, Ordering::Relaxed);
                if let Err(what) = outcome.result {
                    println!("{}{}", outcome.lines, failed(seed, &what));
                    failures.push(failed(seed, &what));
                    stop.store(!keep_going, Ordering::Relaxed);
                }
            }
            failures
        })
    };
    let threads: Vec<_> = (0..threads.clamp(1, all.len() as u64)).map(|_| work()).collect();
    let failures: Vec<String> = threads.into_iter().flat_map(|t| t.join().expect("a panic shows its seed")).collect();
    let [calls, references, held] = [&calls, &references, &held].map(|count| count.load(Ordering::Relaxed));
    let seeds = all.len();
    println!(
        "{kind}: {seeds} seeds, {calls} calls; {references} segments refer to other packs, {held} stretches under a hold"
    );
    assert!((references > 0 && held > 0) || all.len() < 20, "no history has what it is to try");
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_promise_is_kept_whatever_fails_and_whenever() {
    run_all("faults", REGRESSIONS, SEEDS, HistoryPlan::of);
}

#[test]
fn everything_that_is_shown_can_be_read_in_whatever_order_things_happen() {
    run_all("orders", ORDER_REGRESSIONS, ORDER_SEEDS, HistoryPlan::crowd);
}

#[test]
fn a_seed_is_one_history() {
    let plans = (0..8).map(HistoryPlan::of).chain((0..3).map(HistoryPlan::crowd));
    for plan in plans {
        let seed = plan.seed;
        let run = || {
            let Outcome { hash, calls, lines, .. } = History::new(plan.clone(), true).run();
            (hash, calls, lines)
        };
        let (one, other) = (run(), run());
        let differs = one.2.lines().zip(other.2.lines()).find(|(one, other)| one != other);
        assert_eq!((one.0, one.1, differs), (other.0, other.1, None), "seed {seed} happened in two ways");
    }
}
