//! The command `vigie-verify`: verifies an evidence package offline, without anything of a gateway.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use evidence::cli::{self, VerifyArgs};
use footage::failure::{Failure, Kind};

/// Verifies an evidence package of Vigie: every file, signature and proof in it, offline.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes:
  0   sound: nothing was changed since it was signed
  1   failed; standard error says why
  2   the command line is wrong
  65  not sound; each fault is a line that begins with WRONG
  66  there is nothing at PATH"
)]
struct Command {
    #[command(flatten)]
    args: VerifyArgs,
}

fn main() -> ExitCode {
    // Nothing is left to do when an output is closed; the exit code still says it.
    match cli::run(&Command::parse().args) {
        Ok((said, sound)) => {
            let _ = std::io::stdout().write_all(said.as_bytes());
            if sound { ExitCode::SUCCESS } else { ExitCode::from(65) }
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            match error.kind() {
                Kind::Invalid => ExitCode::from(2),
                Kind::Corrupt => ExitCode::from(65),
                Kind::NotFound => ExitCode::from(66),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
