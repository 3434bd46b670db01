//! An operator's confirmations of retention that waits: a file that the command leaves and the sweep takes.
//!
//! The command may run beside the gateway, which alone writes the index. A confirmation names the bounds that it is for, so that
//! it never confirms others.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::index::Change;
use crate::index::policy::Pending;
use footage::platform;
use footage::units::{CameraKey, Ticks90k, WallTime};

/// A longer file is none of ours.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Bounds that an operator confirms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    camera: String,
    retention_max_ticks: i64,
    retention_min_ticks: i64,
}

impl From<&Pending> for Confirmed {
    fn from(pending: &Pending) -> Self {
        Self {
            camera: pending.camera.to_string(),
            retention_max_ticks: pending.retention_max.0,
            retention_min_ticks: pending.retention_min.0,
        }
    }
}

impl Confirmed {
    /// What the index is to hear; `None` when the file named no camera.
    pub(super) fn change(&self, now: WallTime) -> Option<Change> {
        let camera = self.camera.parse::<CameraKey>().ok()?;
        let (retention_max, retention_min) = (Ticks90k(self.retention_max_ticks), Ticks90k(self.retention_min_ticks));
        Some(Change::ConfirmPolicy { camera, retention_max, retention_min, now })
    }
}

/// Where confirmations are left.
pub fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("retention-confirmed.json")
}

/// Leaves confirmations for the gateway, in place of earlier ones that it has not taken. Blocks.
pub fn leave(file: &Path, confirmed: &[Confirmed]) -> io::Result<()> {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, serde_json::to_vec(confirmed)?)?;
    std::fs::rename(&draft, file)
}

/// Takes what was left; nothing when there is no file. Blocks.
pub(super) fn take(file: &Path) -> io::Result<Vec<Confirmed>> {
    let meta = match std::fs::metadata(file) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let confirmed = if meta.len() > FILE_BYTES_MAX {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} has {} bytes", file.display(), meta.len())))
    } else {
        Ok(serde_json::from_slice::<Vec<Confirmed>>(&std::fs::read(file)?)?)
    };
    platform::remove_file(file)?;
    confirmed
}
