//! Secrets: from the file itself, a file of their own, the environment, or systemd's credentials directory.
//!
//! Invariant: a secret's value enters no message.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use secrecy::SecretString;

use super::section::Section;

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// The environment of a configuration; a seam, so that tests need no environment of their own.
pub struct Surroundings<'a> {
    /// Looks up an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Everybody on the machine may read the configuration file: secrets written in it are pointed out.
    pub world_readable: bool,
}

impl Surroundings<'static> {
    /// The process's own environment.
    pub fn of_process(world_readable: bool) -> Self {
        Self { variable: &|name| std::env::var(name).ok(), world_readable }
    }
}

/// Reads a secret: `name = "…"`, or where it lies: `{ file = "…" }`, `{ env = "…" }`, `{ credential = "…" }`. `None` when it
/// is not set, or refused.
pub(super) fn secret(section: &Section<'_>, name: &str, around: &Surroundings<'_>) -> Option<SecretString> {
    let problems_before = section.report().problem_count();
    let (place, text) = section.text_or_place(name, &["file", "env", "credential"])?;
    if section.report().problem_count() > problems_before {
        return None;
    }
    let found = match place {
        Some("file") => from_file(section, name, Path::new(&text)),
        Some("env") => from_variable(&text, around),
        Some(_) => from_credential(section, name, &text, around),
        None => {
            if around.world_readable {
                let advice =
                    "every user of this machine can read it here: chmod 640 this file, or write { file = \"…\" }";
                section.warn(name, advice);
            }
            Ok(text)
        }
    };
    match found.and_then(one_line) {
        Ok(secret) => Some(SecretString::from(secret)),
        Err(message) => {
            section.refuse(name, message);
            None
        }
    }
}

fn one_line(text: String) -> Result<String, String> {
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        Err("the secret is empty".into())
    } else if line.chars().any(char::is_control) {
        Err("the secret holds a line break or another control character: keep one line".into())
    } else {
        Ok(line.to_owned())
    }
}

fn from_file(section: &Section<'_>, key: &str, path: &Path) -> Result<String, String> {
    if !path.is_absolute() {
        return Err(format!("{} is not an absolute path: begin it with /", path.display()));
    }
    let cannot = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    if metadata.mode() & 0o004 != 0 {
        section.warn(key, format!("every user of this machine can read {0}: chmod 640 {0}", path.display()));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|f| f.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("{} is longer than {SECRET_BYTES_MAX} bytes: it should hold one line", path.display()));
    }
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))
}

fn from_variable(name: &str, around: &Surroundings<'_>) -> Result<String, String> {
    let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !good {
        return Err("is not the name of an environment variable: use letters, digits and _".into());
    }
    (around.variable)(name).ok_or_else(|| format!("the environment variable {name} is not set"))
}

fn from_credential(section: &Section<'_>, key: &str, name: &str, around: &Surroundings<'_>) -> Result<String, String> {
    if name.contains('/') || name.starts_with('.') {
        return Err(
            "is not the name of a systemd credential: write the part before the colon of LoadCredential=".into()
        );
    }
    let folder = (around.variable)("CREDENTIALS_DIRECTORY")
        .ok_or("there is no $CREDENTIALS_DIRECTORY: add LoadCredential= to the unit, or write { file = \"…\" }")?;
    from_file(section, key, &Path::new(&folder).join(name))
}
