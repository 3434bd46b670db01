//! The command `vigie`: tracing, command line, exit code.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

mod cli;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if let Err(e) = start_log(&cli.log) {
        return report(&cli::Failure::Usage(e));
    }
    match cli::dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// Says on standard error why the command failed.
fn report(failure: &cli::Failure) -> ExitCode {
    // Nothing is left to do when standard error is closed; the exit code still tells.
    let _ = writeln!(std::io::stderr(), "{failure}");
    failure.exit_code()
}

/// Logs to standard error: coloured on a terminal, and without times under systemd, whose journal keeps its own.
/// Records of libraries that use the `log` crate land there too.
fn start_log(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|e| format!("--log {filter:?}: {e}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let started = if under_systemd { log.without_time().finish().try_init() } else { log.finish().try_init() };
    started.map_err(|e| format!("cannot start the log: {e}"))
}
