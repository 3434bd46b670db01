//! `vigie-bench`: what recording costs on this machine.
//!
//! `ingest` starts a fleet of simulated cameras in a process of its own and lets recorders take turns at it, each in
//! processes of its own: the gateway; the floors, which drain the same sockets into files and parse nothing; ffmpeg,
//! one process a camera. Operators may watch meanwhile. The other subcommands are those processes.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

mod count;
mod fleet;
mod floor;
mod ingest;
mod process;
mod report;
mod started;
mod viewers;
mod warm;

/// The benchmark of Vigie
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

/// What to measure.
#[derive(Debug, Subcommand)]
enum Bench {
    /// Record a fleet of simulated cameras: processor time a gigabyte, memory, loss, latency, against a floor and ffmpeg
    Ingest(Ingest),
    /// A fleet of simulated cameras, until its standard input ends
    #[command(hide = true)]
    Fleet(Fleet),
    /// Drain a fleet into files, parsing nothing
    #[command(hide = true)]
    Floor(Floor),
    /// Operators who watch cameras live, until standard input ends
    #[command(hide = true)]
    Viewers(Viewers),
}

/// What records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Recorder {
    /// The gateway, everything on, into a local store
    Gateway,
    /// The floor through the page cache: sockets drained each tick and appended to files, nothing parsed
    Buffered,
    /// The same with RWF_DONTCACHE, where the kernel and the file system have it
    Uncached,
    /// The same with O_DIRECT
    Direct,
    /// `ffmpeg -c copy -f segment`, one process a camera
    Ffmpeg,
}

#[derive(Debug, Args)]
struct Ingest {
    /// Simulated cameras: 1920x1080, H.264, 25 images/s
    #[arg(long, default_value_t = 100)]
    cameras: usize,
    /// Bit rate of each, in Mb/s
    #[arg(long, default_value_t = 4.0, value_name = "MBPS", value_parser = mbps)]
    mbps: f64,
    /// How long each recorder is measured, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Threads of the gateway that record; 0: one a core
    #[arg(long, default_value_t = 0)]
    shards: usize,
    /// Sockets are drained this often, by the gateway and by the floors
    #[arg(long, default_value_t = 100, value_name = "MS")]
    tick_ms: u64,
    /// What is recorded is durable within this time, by the gateway and by the floors: all flush twice as often
    #[arg(long, default_value_t = 1_000, value_name = "MS")]
    durability_ms: u64,
    /// Length of the gateway's packs, in seconds
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pack_seconds: u64,
    /// The gateway encrypts what it stores
    #[arg(long)]
    encrypt: bool,
    /// What takes turns
    #[arg(long, value_delimiter = ',', default_value = "gateway,buffered,direct")]
    recorders: Vec<Recorder>,
    /// How often they take turns; ratios are to the median of a floor's turns
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Cameras of ffmpeg's turn, which takes some 50 MB of memory for each
    #[arg(long, default_value_t = 50)]
    ffmpeg_cameras: usize,
    /// Operators who watch a camera live, over HLS, while the gateway is measured
    #[arg(long, default_value_t = 0)]
    viewers: usize,
    /// An index that the gateway starts with, of any size: it is copied, and gets the fleet's cameras too
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Threads of the fleet
    #[arg(long, default_value_t = 1)]
    fleet_threads: usize,
    /// Where they record; a folder in it is made, and removed at the end. Default: the temporary directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The figures as JSON, beside the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep what was recorded
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Args)]
struct Fleet {
    #[arg(long)]
    cameras: usize,
    #[arg(long)]
    bits_per_second: u64,
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(Debug, Args)]
struct Floor {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    cameras: usize,
    #[arg(long, default_value_t = 100)]
    tick_ms: u64,
    #[arg(long, default_value_t = 1_000)]
    durability_ms: u64,
    #[arg(long, value_enum)]
    writing: FloorWriting,
    #[arg(long)]
    dir: PathBuf,
}

/// How a floor writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FloorWriting {
    Buffered,
    Uncached,
    Direct,
}

impl From<FloorWriting> for footage::platform::Writing {
    fn from(writing: FloorWriting) -> Self {
        match writing {
            FloorWriting::Buffered => Self::Buffered,
            FloorWriting::Uncached => Self::Uncached,
            FloorWriting::Direct => Self::Direct,
        }
    }
}

#[derive(Debug, Args)]
struct Viewers {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    cameras: usize,
    #[arg(long)]
    viewers: usize,
}

fn mbps(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|r| (0.01..=1_000.0).contains(r));
    rate.ok_or_else(|| "write a number from 0.01 to 1000".to_owned())
}

/// Why a measurement failed.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new("warn,vigie=info"));
    log.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    let outcome = match cli.bench {
        Bench::Ingest(args) => block_on(ingest::run(args)),
        Bench::Fleet(args) => block_on(fleet::run(args)),
        Bench::Floor(args) => floor::run(&args),
        Bench::Viewers(args) => block_on(viewers::run(args)),
    };
    let Err(Failure(why)) = outcome else { return ExitCode::SUCCESS };
    tracing::error!("{why}");
    ExitCode::FAILURE
}

/// Runs a measurement on a runtime of its own.
fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::failed(format!("cannot start threads: {e}")))?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

/// Rows in columns as wide as their widest cell, indented by two.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out += &format!("  {}\n", cells.join("  ").trim_end());
    }
    out
}

/// Writes to standard output.
fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure(format!("standard output: {e}")))
}
