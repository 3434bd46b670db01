//! The index at full size: what a row costs, and whether recording, the timeline, retention and the start stay fast as
//! the days go by.
//!
//! ```text
//! cargo bench --bench index                                    a quarter of a day of 1,000 cameras
//! VIGIE_BENCH_DAYS=1,3,10,30 cargo bench --bench index         one index that grows, measured at each of these days
//! VIGIE_BENCH_DIR=/data …                                      elsewhere than in the temporary directory
//! VIGIE_BENCH_KEEP=/data/index.sqlite …                        keep the index, for `vigie-bench ingest --index`
//! VIGIE_BENCH_JSON=days.json …                                 the figures, for benches/scale/plot.py
//! ```
//!
//! A month writes some 6 GB. *Cold* asks when nothing of the file is in the page cache.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::{Clock, SimClock, SystemClock};
use footage::keys::vault::Vault;
use footage::units::{TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};
use futures::future::{self, BoxFuture};
use jiff::tz::TimeZone;
use rand::RngExt;
use serde_json::{Value, json};
use tokio::time::Instant;
use vigie::archive::{PackRef, ReadError};
use vigie::index::{Change, Index};
use vigie::retention::Policy;
use vigie::retention::storage::{DeleteError, Storage};
use vigie::retention::sweep::Sweeper;

use recording::{PACK, Recording};

mod recording;

const CAMERAS: usize = 1_000;
const DAY: i64 = 86_400 * TICKS_PER_SECOND;
const MONTH: Ticks90k = Ticks90k(30 * DAY);
/// The month's last hours are not recorded, so that a gateway that starts with a kept index finds nothing to destroy.
const LEFT: i64 = 2 * 3_600 * TICKS_PER_SECOND;

type Failure = Box<dyn std::error::Error>;

/// What was measured, by name.
type Figures = serde_json::Map<String, Value>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // `cargo test --benches` only asks whether it runs.
    let days = match std::env::var("VIGIE_BENCH_DAYS") {
        Ok(days) => days.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>()?,
        Err(_) => vec![if std::env::args().any(|arg| arg == "--bench") { 0.25 } else { 0.003 }],
    };
    let dir = match std::env::var_os("VIGIE_BENCH_DIR") {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let path = dir.path().join("index.sqlite");
    let beginning = WallTime(SystemClock::default().wall().0 - MONTH.0 + LEFT);
    let mut index = Index::open(&path).await?;
    let mut recording = Recording::begin(&index, CAMERAS, beginning).await?;
    let mut points = Vec::new();
    for day in days {
        let packs = ((day * DAY as f64).min((MONTH.0 - LEFT) as f64) / PACK as f64) as usize;
        let mut figures = fill(&index, &path, &mut recording, packs).await?;
        for count in [400, CAMERAS] {
            flush(&index, &mut recording, count, &mut figures).await?;
        }
        index.close().await;
        sizes(&path, &recording, &mut figures)?;
        index = start(&path, &recording, &mut figures).await?;
        questions(&index, &path, &recording, &mut figures).await?;
        hooks(&index, &mut figures).await?;
        sweep(&index, &path, &recording, points.len(), &mut figures).await?;
        report(day, &figures);
        points.push(Value::Object(figures));
    }
    recording.stop(&index).await?;
    index.close().await;
    if let Some(file) = std::env::var_os("VIGIE_BENCH_JSON") {
        std::fs::write(file, serde_json::to_vec_pretty(&points)?)?;
    }
    if let Some(kept) = std::env::var_os("VIGIE_BENCH_KEEP") {
        // On another disk it has to be copied.
        std::fs::rename(&path, &kept).or_else(|_| std::fs::copy(&path, &kept).map(drop))?;
    }
    Ok(())
}

fn report(day: f64, figures: &Figures) {
    println!("after {day} days");
    for (name, value) in figures {
        println!("    {name:<28} {value}");
    }
}

/// Milliseconds, of which three digits count.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// The median, and the time that one in a hundred exceeds.
fn note(figures: &mut Figures, name: &str, mut took: Vec<Duration>) {
    took.sort();
    figures.insert(format!("{name}_ms"), json!(millis(took[took.len() / 2])));
    figures.insert(format!("{name}_p99_ms"), json!(millis(took[took.len() * 99 / 100])));
}

async fn fill(index: &Index, path: &Path, recording: &mut Recording, packs: usize) -> Result<Figures, Failure> {
    let (begin, before) = (Instant::now(), recording.packs);
    recording.record(index, path, packs).await?;
    let written = (recording.packs - before) * CAMERAS;
    // A day's hooks at once are never written in life: they are out of the way before anything is timed.
    rusqlite::Connection::open(path)?.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    std::fs::File::open(path)?.sync_all()?;
    let mut figures = Figures::new();
    figures.insert("days".to_owned(), json!(recording.packs as f64 * PACK as f64 / DAY as f64));
    figures.insert("fill_packs_per_s".to_owned(), json!((written as f64 / begin.elapsed().as_secs_f64()).round()));
    Ok(figures)
}

/// Each second, the last segment of every camera is rewritten.
async fn flush(index: &Index, recording: &mut Recording, cameras: usize, figures: &mut Figures) -> Result<(), Failure> {
    const FLUSHES: i64 = 100;
    let mut took = Vec::new();
    let mut cpu = cpu_seconds();
    for second in 1..=FLUSHES {
        let calls = recording.flush(cameras, second);
        let begin = Instant::now();
        future::try_join_all(calls.into_iter().map(|changes| index.write(changes))).await?;
        if second == 1 {
            // The packs were opened too.
            cpu = cpu_seconds();
        } else {
            took.push(begin.elapsed());
        }
    }
    let cpu_ms = (cpu_seconds() - cpu) / (FLUSHES - 1) as f64 * 1e3;
    figures.insert(format!("flush_{cameras}_cpu_ms"), json!((cpu_ms * 10.0).round() / 10.0));
    note(figures, &format!("flush_{cameras}"), took);
    Ok(())
}

/// From the file to what a gateway must know before it records: the index open, its cameras configured, and where the
/// footage of each ended.
async fn start(path: &Path, recording: &Recording, figures: &mut Figures) -> Result<Index, Failure> {
    let mut open = None;
    for cold in [true, false] {
        if let Some(index) = open.take() {
            Index::close(&index).await;
        }
        if cold {
            forget_pages(path)?;
        }
        let begin = Instant::now();
        let index = Index::open(path).await?;
        index.write(vec![Change::Configure(recording::rows(&recording.cameras, MONTH))]).await?;
        for camera in &recording.cameras {
            let end = index.extent(&camera.key).await?.map_or(recording.beginning, |extent| extent.end());
            let since = TimeRange::new(end, WallTime(i64::MAX)).expect("the end of time is far");
            index.gaps(&camera.key, since).await?;
        }
        figures.insert(if cold { "start_cold_ms" } else { "start_ms" }.to_owned(), json!(millis(begin.elapsed())));
        open = Some(index);
    }
    Ok(open.expect("the second round opens it"))
}

/// Random cameras and instants, asked cold and then, others, warm.
async fn questions(index: &Index, path: &Path, recording: &Recording, figures: &mut Figures) -> Result<(), Failure> {
    let ask = async |names: [&str; 5], questions: usize, cold: bool, figures: &mut Figures| -> Result<(), Failure> {
        let mut took: [Vec<Duration>; 5] = Default::default();
        let empty = || if cold { forget_pages(path) } else { Ok(()) };
        for _ in 0..questions {
            let key = &recording.cameras[rand::rng().random_range(0..CAMERAS)].key;
            // Whole where there is more than a day.
            let within = |length: i64| {
                let latest = (recording.end().0 - recording.beginning.0 - length).max(1);
                let start = WallTime(recording.beginning.0 + rand::rng().random_range(0..latest));
                TimeRange::new(start, WallTime(start.0 + length)).expect("a question has a length")
            };
            let (day, minutes) = (within(DAY), within(10 * 60 * TICKS_PER_SECOND));
            empty()?;
            let begin = Instant::now();
            index.spans(key, day).await?;
            took[0].push(begin.elapsed());
            empty()?;
            let begin = Instant::now();
            index.segments(key, minutes).await?;
            took[1].push(begin.elapsed());
            empty()?;
            let begin = Instant::now();
            index.gaps(key, day).await?;
            took[2].push(begin.elapsed());
            empty()?;
            let begin = Instant::now();
            index.extent(key).await?;
            took[3].push(begin.elapsed());
            empty()?;
            let begin = Instant::now();
            index.events(&key.tenant, Some(key), 0, 100).await?;
            took[4].push(begin.elapsed());
        }
        names.into_iter().zip(took).for_each(|(name, took)| note(figures, name, took));
        Ok(())
    };
    let names = ["timeline_day_cold", "clip_10min_cold", "gaps_day_cold", "extent_cold", "events_100_cold"];
    ask(names, 100, true, figures).await?;
    ask(["timeline_day", "clip_10min", "gaps_day", "extent", "events_100"], 1_000, false, figures).await
}

/// What a pack of ordinary footage asks for when it is sealed: hooks that nobody has.
async fn hooks(index: &Index, figures: &mut Figures) -> Result<(), Failure> {
    let mut took = Vec::new();
    for n in 0..1_000u32 {
        let mut absent = [255; 16];
        absent[..4].copy_from_slice(&n.to_be_bytes());
        let begin = Instant::now();
        index.packs_hooked(recording::hooks(footage::units::PackId(absent))).await?;
        took.push(begin.elapsed());
    }
    note(figures, "hooks_of_pack", took);
    Ok(())
}

/// Sweeps that find nothing due, and two that let the oldest pack of each camera go. (`gone` are gone already.)
async fn sweep(
    index: &Index,
    path: &Path,
    recording: &Recording,
    gone: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    // Time has leapt since the last point, which retention would not believe.
    rusqlite::Connection::open(path)?.execute("DELETE FROM steady_clock", [])?;
    let policy = Policy {
        interval: Duration::from_secs(60),
        grace: Duration::ZERO,
        disk_reserve_bytes: 0,
        store_on_disk: true,
        stored_elsewhere: Default::default(),
        time_zone: TimeZone::UTC,
        shared: None,
        stores: None,
    };
    let now = recording.end();
    let margin = policy.margin();
    let delete = |_: PackRef| -> BoxFuture<'static, Result<(), DeleteError>> { Box::pin(future::ready(Ok(()))) };
    let is_there = |_: PackRef| -> BoxFuture<'static, Result<bool, ReadError>> { Box::pin(future::ready(Ok(true))) };
    let storage = Storage {
        is_there: Arc::new(is_there),
        delete: Arc::new(delete),
        free_bytes: Arc::new(|| Ok(u64::MAX)),
        vault: Vault::none(),
    };
    let clock = Arc::new(SimClock::starting_at(now));
    let mut sweeper = Sweeper::new(index.clone(), clock, storage, policy);
    // The first reads how far the footage goes.
    sweeper.sweep().await?;
    let mut took = Vec::new();
    for _ in 0..10 {
        let begin = Instant::now();
        sweeper.sweep().await?;
        took.push(begin.elapsed());
    }
    note(figures, "sweep_nothing_due", took);
    let oldest = WallTime(recording.beginning.0 + (gone as i64 + 1) * PACK);
    let max = Ticks90k(now.0 + margin.0 - oldest.0);
    index.write(vec![Change::Configure(recording::rows(&recording.cameras, max))]).await?;
    // One condemns, the next deletes.
    for (name, done) in [("sweep_condemns", "sweep_condemned"), ("sweep_deletes", "sweep_deleted")] {
        let begin = Instant::now();
        let report = sweeper.sweep().await?;
        figures.insert(format!("{name}_ms"), json!(millis(begin.elapsed())));
        figures.insert(done.to_owned(), json!(report.expired + report.deleted));
    }
    index.write(vec![Change::Configure(recording::rows(&recording.cameras, MONTH))]).await?;
    Ok(())
}

/// What lies on disk, and of it by table a pack.
fn sizes(path: &Path, recording: &Recording, figures: &mut Figures) -> Result<(), Failure> {
    let db = rusqlite::Connection::open(path)?;
    let count = |table: &str| db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
    for table in ["pack", "segment", "hook", "reference", "gap", "run", "event"] {
        figures.insert(format!("rows_{table}"), json!(count(table)?));
    }
    figures.insert("file_bytes".to_owned(), json!(std::fs::metadata(path)?.len()));
    let packs = (recording.packs * CAMERAS) as f64;
    let mut tables = db.prepare("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC")?;
    let mut rows = tables.query([])?;
    let mut by_table = Figures::new();
    while let Some(row) = rows.next()? {
        let (name, bytes): (String, f64) = (row.get(0)?, row.get(1)?);
        if bytes / packs >= 0.1 {
            by_table.insert(name, json!((bytes / packs * 10.0).round() / 10.0));
        }
    }
    figures.insert("bytes_a_pack".to_owned(), Value::Object(by_table));
    Ok(())
}

/// Leaves nothing of the file in the page cache.
fn forget_pages(path: &Path) -> Result<(), Failure> {
    let file = std::fs::File::open(path)?;
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// User and system time of this process (`man 5 proc`: fields 14 and 15 of `stat`, in 1/100 s).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
