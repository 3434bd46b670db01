//! Who asks a camera: a password is never part of the command line, which other users of the machine can read.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::SecretString;

use super::Failure;

#[derive(Debug, Args)]
pub(super) struct Login {
    /// User name on the camera; the password is asked for, unless one of the next two names it
    #[arg(long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// A file that holds the password
    #[arg(long, value_name = "FILE", requires = "username", conflicts_with = "password_env")]
    password_file: Option<PathBuf>,
    /// An environment variable that holds the password
    #[arg(long, value_name = "VARIABLE", requires = "username")]
    password_env: Option<String>,
}

impl Login {
    /// The user's password; none without a user.
    pub(super) fn password(&self) -> Result<Option<SecretString>, Failure> {
        let Some(username) = &self.username else { return Ok(None) };
        if let Some(file) = &self.password_file {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|e| Failure::Failed(format!("{}: {e}", file.display())))?;
            return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned().into()));
        }
        if let Some(name) = &self.password_env {
            let text = std::env::var(name);
            let text = text.map_err(|_| Failure::Usage(format!("${name} is not set, or no text")))?;
            return Ok(Some(text.into()));
        }
        typed(username).map(Some).map_err(Failure::failed)
    }
}

/// Asks at the terminal, without showing what is typed; takes a line where there is none.
fn typed(username: &str) -> std::io::Result<SecretString> {
    let stdin = std::io::stdin();
    let read = || {
        let mut line = String::new();
        stdin.lock().read_line(&mut line)?;
        Ok(SecretString::from(line.trim_end_matches(['\r', '\n']).to_owned()))
    };
    if !stdin.is_terminal() {
        return read();
    }
    write!(std::io::stderr(), "password of {username}: ")?;
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let line = read();
    tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
    writeln!(std::io::stderr())?;
    line
}
