//! What no pack tells, in a small file of its own: names and places of cameras, the policies in force, events, the register of
//! destructions, holds, gaps. It has the schema of an index, so that [`super::carry`] reads it as one.
//!
//! Invariant: the file is whole at each moment; it is replaced by rename.

use std::path::{Path, PathBuf};

use super::{IndexError, database};
use footage::platform;

/// Copied table by table, in the order of their references.
const TABLES: [&str; 15] = [
    "tenant",
    "camera",
    "pending_policy",
    "camera_store",
    "certificate_sei",
    "hold",
    "gap",
    "open_gap",
    "event",
    "steady_clock",
    "scrub",
    "deletion",
    "identity",
    "alarm",
    "alarm_notice",
];

/// Where it lies.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("index-snapshot.sqlite")
}

/// Writes the snapshot of the index at `index`, beside its writer. Blocks.
pub fn write(index: &Path, to: &Path) -> Result<(), IndexError> {
    let io = |e: std::io::Error| IndexError::Refused(format!("{}: {e}", to.display()));
    let draft = to.with_extension("draft");
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut name = draft.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(&name) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
            _ => {}
        }
    }
    let path = index.to_str().ok_or_else(|| IndexError::Refused(format!("{} is not UTF-8", index.display())))?;
    let db = database::open_writer(&draft)?;
    db.execute("ATTACH ?1 AS live", [path])?;
    db.execute_batch("BEGIN")?;
    for table in TABLES {
        db.execute(&format!("INSERT INTO main.{table} SELECT * FROM live.{table}"), [])?;
    }
    // One file, without a log beside it.
    db.execute_batch("COMMIT; DETACH live; PRAGMA journal_mode = delete;")?;
    drop(db);
    std::fs::File::open(&draft).and_then(|file| platform::sync_data(&file)).map_err(io)?;
    platform::rename(&draft, to).map_err(io)?;
    platform::sync_name(to).map_err(io)
}
