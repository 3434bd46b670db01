//! What commands did beside a gateway that may be running: they leave it as a file each, and the gateway enters it.
//!
//! Invariant: a command does what it is about only after its act is left, durable; the gateway removes it only after it is
//! in the journal. An end between the two enters it twice, and never not at all.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use journal::entry::Draft;
use serde::{Deserialize, Serialize};

use footage::platform;
use footage::units::TenantId;

/// Below the journals; no tenant has such a name.
const FOLDER: &str = ".left";

/// An act.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Left {
    /// In whose journal it belongs.
    pub tenant: TenantId,
    /// When it was done.
    pub at: Timestamp,
    /// What it was.
    pub draft: Draft,
}

/// Makes the folder, so that it belongs to the gateway, whatever user runs commands.
pub(super) fn prepare(journals: &Path) -> io::Result<()> {
    platform::create_folders(&journals.join(FOLDER))
}

/// Leaves an act for the gateway. Blocks.
///
/// # Errors
/// When it is not durable: what it is about must not be done.
pub fn leave(journals: &Path, left: &Left) -> io::Result<()> {
    let folder = journals.join(FOLDER);
    platform::create_folders(&folder)?;
    let name = format!("{}-{:016x}", left.at.as_millisecond(), platform::random::<u64>());
    let draft = folder.join(format!("{name}.new"));
    let file = platform::create_new(&draft)?;
    platform::write_all(&file, &serde_json::to_vec(left)?)?;
    platform::sync_data(&file)?;
    let path = folder.join(format!("{name}.json"));
    platform::rename(&draft, &path)?;
    platform::sync_name(&path)
}

/// All that was left, the oldest first. What cannot be read stays where it is.
pub(super) fn all(journals: &Path) -> Vec<(PathBuf, Left)> {
    let Ok(names) = std::fs::read_dir(journals.join(FOLDER)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = names.filter_map(|name| Some(name.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: PathBuf| {
        let left = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if left.is_none() {
            tracing::debug!(path = %path.display(), "what a command left for the journal cannot be read");
        }
        Some((path, left?))
    };
    paths.into_iter().filter_map(read).collect()
}
