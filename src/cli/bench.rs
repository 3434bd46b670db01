//! `vigie bench`: what recording costs on this machine.
//!
//! `ingest` starts a fleet of simulated cameras in a process of its own and lets recorders take turns at it, each in
//! processes of its own: the gateway; the floor, which drains the same sockets into files and parses nothing; ffmpeg,
//! one process a camera. Operators may watch meanwhile. The other subcommands are those processes.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Failure, block_on};

mod count;
mod fleet;
mod floor;
mod ingest;
mod process;
mod report;
mod started;
mod viewers;
mod warm;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
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
pub(crate) enum Recorder {
    /// The gateway, everything on, into a local store
    Gateway,
    /// Sockets drained each tick and appended to files, nothing parsed
    Floor,
    /// `ffmpeg -c copy -f segment`, one process a camera
    Ffmpeg,
}

#[derive(Debug, Args)]
pub(crate) struct Ingest {
    /// Simulated cameras: 1920x1080, H.264, 25 images/s
    #[arg(long, default_value_t = 100)]
    pub(crate) cameras: usize,
    /// Bit rate of each, in Mb/s
    #[arg(long, default_value_t = 4.0, value_name = "MBPS", value_parser = super::mbps)]
    pub(crate) mbps: f64,
    /// How long each recorder is measured, in seconds
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Threads of the gateway that record; 0: one a core
    #[arg(long, default_value_t = 0)]
    pub(crate) shards: usize,
    /// Sockets are drained this often, by the gateway and by the floor
    #[arg(long, default_value_t = 100, value_name = "MS")]
    pub(crate) tick_ms: u64,
    /// The gateway flushes this often
    #[arg(long, default_value_t = 1_000, value_name = "MS")]
    pub(crate) durability_ms: u64,
    /// Length of the gateway's packs, in seconds
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub(crate) pack_seconds: u64,
    /// The gateway encrypts what it stores
    #[arg(long)]
    pub(crate) encrypt: bool,
    /// What takes turns
    #[arg(long, value_delimiter = ',', default_value = "gateway,floor")]
    pub(crate) recorders: Vec<Recorder>,
    /// How often they take turns; the ratio is to the median of the floor's turns
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: usize,
    /// Cameras of ffmpeg's turn, which takes some 50 MB of memory for each
    #[arg(long, default_value_t = 50)]
    pub(crate) ffmpeg_cameras: usize,
    /// Operators who watch a camera live, over HLS, while the gateway is measured
    #[arg(long, default_value_t = 0)]
    pub(crate) viewers: usize,
    /// An index that the gateway starts with, of any size: it is copied, and gets the fleet's cameras too
    #[arg(long, value_name = "FILE")]
    pub(crate) index: Option<PathBuf>,
    /// Threads of the fleet
    #[arg(long, default_value_t = 1)]
    pub(crate) fleet_threads: usize,
    /// Where they record; a folder in it is made, and removed at the end. Default: the temporary directory
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The figures as JSON, beside the table
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Keep what was recorded
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Fleet {
    #[arg(long)]
    pub(crate) cameras: usize,
    #[arg(long)]
    pub(crate) bits_per_second: u64,
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Floor {
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long)]
    pub(crate) cameras: usize,
    #[arg(long, default_value_t = 100)]
    pub(crate) tick_ms: u64,
    #[arg(long)]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Viewers {
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long)]
    pub(crate) cameras: usize,
    #[arg(long)]
    pub(crate) viewers: usize,
}

/// Does what was asked.
pub(super) fn run(bench: Bench) -> Result<(), Failure> {
    match bench {
        Bench::Ingest(args) => block_on(ingest::run(args)),
        Bench::Fleet(args) => block_on(fleet::run(args)),
        Bench::Floor(args) => floor::run(&args),
        Bench::Viewers(args) => block_on(viewers::run(args)),
    }
}
