//! The command line: commands, options, exit codes.
//!
//! Results go to standard output, everything else to standard error.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use footage::failure::Kind;
use footage::units::{CameraKey, TimeRange};
use vigie::config::{Config, ConfigError, Loaded};

mod alarms;
mod authorisation;
mod check_config;
mod demo;
mod discover;
mod export;
mod fsck;
mod generate;
mod inspection;
mod journal;
mod keys;
mod login;
mod ls;
mod onvif;
mod operate;
mod people;
mod probe;
mod rebuild_index;
mod requests;
mod retention;
mod run;
mod show;
mod signatures;
mod stats;
mod store;
mod verify;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed; standard error says why
  2   the command line, or what it asks for, is wrong
  65  footage, index or a key file is damaged
  66  what was asked for is not there
  74  no room: a disk or a share is full
  75  does not answer now: the same again, later, may work
  77  credentials, permissions or keys are refused or missing
  78  the configuration is wrong; each mistake is on standard error with its line";

/// Video-surveillance storage gateway: RTSP cameras in, footage out.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to log, as in `info` or `warn,vigie::record=debug`
    #[arg(long, global = true, env = "VIGIE_LOG", default_value = "warn,vigie=info", value_name = "FILTER")]
    pub(crate) log: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command of `vigie`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Record the configured cameras and serve their footage, until SIGTERM or SIGINT; SIGHUP reloads
    Run(ConfigArg),
    /// Show what the running gateway does: cameras, disk, stores
    Status(Status),
    /// Show alarms, acknowledge them, send a test to a target
    Alarms(alarms::Alarms),
    /// Make the running gateway read its configuration again: cameras, tenants, tokens, retention, caps, alarms
    Reload(ConfigArg),
    /// Run a demonstration: a simulated camera, a local store, a page to open
    Demo(Demo),
    /// Check a configuration, and estimate the disk space that it needs
    CheckConfig(CheckConfig),
    /// Test a camera: what it offers and sends, what is odd about it, the lines for the configuration
    Probe(probe::Probe),
    /// List the ONVIF devices of the local network; with a user, their profiles and the lines for the configuration
    Discover(discover::Discover),
    /// Write footage of one camera to an MP4 file
    Export(Export),
    /// Verify an evidence package, offline: every file, signature and proof in it
    Verify(evidence::cli::VerifyArgs),
    /// Verify that footage, of two hours at most, is as its camera signed it (ONVIF Media Signing)
    Signatures(FootageArg),
    /// List cameras, or the footage and gaps of one camera
    Ls(Ls),
    /// Compare the index with the store and report differences
    Fsck(Fsck),
    /// Show the storage that each tenant uses, and what deduplication saves
    Stats(ConfigArg),
    /// Rebuild the index from the packs alone
    RebuildIndex(ConfigArg),
    /// Manage the keys of encrypted stores
    #[command(subcommand)]
    Keys(keys::Keys),
    /// List the known stores, or replace one
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Verify the journals of who saw, took, held and destroyed footage
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Designate the persons who may see footage, give them tokens, revoke them
    #[command(subcommand)]
    People(people::PeopleCommand),
    /// Write what an inspector asks: each camera's footage, retention, interruptions, destructions, holds, accesses
    Inspection(inspection::Inspection),
    /// Take requests for footage in, see what there is of each, close them
    #[command(subcommand)]
    Requests(requests::RequestsCommand),
    /// Write what the gateway knows for a request to the prefect
    #[command(subcommand)]
    Authorisation(authorisation::AuthorisationCommand),
    /// Show what a shorter retention will destroy, and confirm it
    #[command(subcommand)]
    Retention(retention::Retention),
    /// Write man pages and shell completions, for a package
    #[command(hide = true)]
    Generate(generate::Generate),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArg {
    /// The configuration, TOML
    #[arg(long, default_value = "/etc/vigie/vigie.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
}

impl ConfigArg {
    /// Reads it; its warnings go to the log.
    fn load(&self) -> Result<Loaded, Failure> {
        let loaded = Config::load(&self.config)?;
        for warning in loaded.warning_lines() {
            tracing::warn!("{warning}");
        }
        Ok(loaded)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where the page is served
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// Where the demonstration records; a temporary directory, removed at the end, unless it is named
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfig {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Bit rate of one camera that the sizing assumes, in Mb/s
    #[arg(long, default_value_t = 4.0, value_name = "MBPS", value_parser = mbps)]
    pub(crate) camera_mbps: f64,
    /// Ask each store for what Vigie needs of it, with a small object that is removed again
    #[arg(long)]
    pub(crate) probe: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) footage: FootageArg,
    /// The MP4 file to create
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Which of the files that the range is, from 1, where its coding or the size of its picture changes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) part: Option<u32>,
    /// Gaps take no time in the file; else the last picture before each stays over it
    #[arg(long)]
    pub(crate) join_gaps: bool,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Who receives it, for the journal
    #[arg(long, value_name = "TEXT")]
    pub(crate) recipient: Option<String>,
}

/// Footage of a camera.
#[derive(Debug, Args)]
pub(crate) struct FootageArg {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Which camera
    #[arg(long, value_name = "TENANT/CAMERA")]
    pub(crate) camera: CameraKey,
    /// First instant: RFC 3339, or a date and time in the configured zone
    #[arg(long, value_name = "TIME")]
    pub(crate) start: String,
    /// First instant after
    #[arg(long, value_name = "TIME")]
    pub(crate) end: String,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Only this camera, with its footage and gaps
    #[arg(long, value_name = "TENANT/CAMERA")]
    pub(crate) camera: Option<CameraKey>,
    /// First instant: RFC 3339, or a date and time in the configured zone
    #[arg(long, value_name = "TIME", requires_all = ["camera", "end"])]
    pub(crate) start: Option<String>,
    /// First instant after
    #[arg(long, value_name = "TIME", requires_all = ["camera", "start"])]
    pub(crate) end: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Fsck {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// Read every byte of footage and check it against its fragment's id
    #[arg(long)]
    pub(crate) read_data: bool,
    /// Repair damaged footage from copies; what has no copy becomes a gap. Stop the gateway first
    #[arg(long, requires = "read_data")]
    pub(crate) repair: bool,
}

fn mbps(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|r| (0.01..=1_000.0).contains(r));
    rate.ok_or_else(|| "write a number from 0.01 to 1000".to_owned())
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is wrong in a way that its grammar does not show.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// An error of the library.
    #[error("{1}")]
    Of(Kind, String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// What an error says, and what it means.
    fn failed(error: impl footage::failure::Failure) -> Self {
        Self::Of(error.kind(), error.to_string())
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Of(kind, _) => ExitCode::from(exit_code(*kind)),
            Self::Failed(_) => ExitCode::FAILURE,
            Self::Usage(_) => ExitCode::from(USAGE),
            // EX_CONFIG of sysexits.h.
            Self::Config(_) => ExitCode::from(78),
        }
    }
}

/// The command line is wrong, as clap exits too.
const USAGE: u8 = 2;

/// As sysexits.h has them.
fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::Invalid => USAGE,
        Kind::Corrupt => 65,
        Kind::NotFound => 66,
        Kind::Full => 74,
        Kind::Retry => 75,
        Kind::Denied => 77,
        Kind::Conflict | Kind::Internal => 1,
    }
}

/// From the first instant typed to the first after.
fn range(config: &Config, start: &str, end: &str) -> Result<TimeRange, Failure> {
    let instant = |option, text| config.instant(text).map_err(|e| Failure::Usage(format!("{option}: {e}")));
    let (from, until) = (instant("--start", start)?, instant("--end", end)?);
    TimeRange::new(from, until).ok_or_else(|| Failure::Usage(format!("--start {start} must be before --end {end}")))
}

/// Does what was asked.
pub(crate) fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::CheckConfig(args) => block_on(check_config::run(&args)),
        Command::Demo(args) => demo::run(&args),
        Command::Probe(args) => block_on(probe::run(args)),
        Command::Discover(args) => block_on(discover::run(args)),
        Command::Run(args) => block_on(run::run(args)),
        Command::Alarms(args) => block_on(alarms::run(args)),
        Command::Status(args) => block_on(operate::status(args)),
        Command::Reload(args) => block_on(operate::reload(args)),
        Command::Export(args) => block_on(export::run(args)),
        Command::Verify(args) => verify::run(&args),
        Command::Signatures(args) => block_on(signatures::run(args)),
        Command::Ls(args) => block_on(ls::run(args)),
        Command::Generate(args) => generate::run(&args),
        Command::Fsck(args) => block_on(fsck::run(args)),
        Command::Stats(args) => block_on(stats::run(args)),
        Command::Journal(args) => block_on(journal::run(args)),
        Command::People(args) => block_on(people::run(args)),
        Command::Requests(args) => block_on(requests::run(args)),
        Command::Authorisation(args) => block_on(authorisation::run(args)),
        Command::Inspection(args) => block_on(inspection::run(args)),
        Command::Keys(args) => keys::run(args),
        Command::Store(args) => block_on(store::run(args)),
        Command::Retention(args) => block_on(retention::run(args)),
        Command::RebuildIndex(args) => block_on(rebuild_index::run(args)),
    }
}

/// Runs a command on a runtime of its own.
fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Failed(format!("cannot start threads: {e}")))?;
    let outcome = runtime.block_on(work);
    // What was not waited for must not hold up the end: a second signal means at once.
    runtime.shutdown_background();
    outcome
}
