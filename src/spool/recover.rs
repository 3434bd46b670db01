//! After a stop of any kind: what the spool holds and what the index says are brought together again.
//!
//! Invariant: no whole fragment is lost, and no row is left that points at nothing. Everything here can be cut off and
//! run again.

use std::path::{Path, PathBuf};

use futures::StreamExt;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::finish::blocking;
use super::replace::remove_drafts;
use super::{Spool, SpoolError};
use crate::event::{Event, Fact};
use crate::index::of_pack::whole_pack;
use crate::index::{Change, IndexError, PackRow, PackState};
use footage::media::{Gap, GapCause};
use footage::pack::{encrypted, reader};
use footage::platform;
use footage::units::{CameraId, CameraKey, PackId, TenantId};

/// Packs recovered at a time: most of the work is waiting for the disk to flush, which it does for many at once.
const RECOVERIES_AT_ONCE: usize = 32;
/// Rows read at a time.
const PAGE: u32 = 1_024;

/// What recovery found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Packs of the spool that were sealed, whether torn or only unknown to the index.
    pub sealed: usize,
    /// Packs without one whole fragment, dropped.
    pub empty: usize,
    /// Rows whose bytes are nowhere: their time is a gap now.
    pub lost: usize,
    /// Files that could not be read as packs; they stay where they are.
    pub unreadable: usize,
}

/// A file of the spool.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) camera: CameraKey,
    pub(crate) pack: PackId,
}

impl Spool {
    /// Seals every pack that the last process left open or untold, and settles rows that have lost their bytes. To be
    /// called before anything records.
    pub async fn recover(&self) -> Result<Recovered, SpoolError> {
        let dir = self.dir().to_owned();
        blocking(move || remove_drafts(&dir)).await?;
        let files = self.pack_files().await?;
        let outcomes: Vec<Result<Outcome, SpoolError>> = futures::stream::iter(files)
            .map(|found| {
                let spool = self.clone();
                async move { spool.recover_file(found).await }
            })
            .buffer_unordered(RECOVERIES_AT_ONCE)
            .collect()
            .await;
        let mut report = Recovered::default();
        for outcome in outcomes {
            match outcome? {
                Outcome::Sealed => report.sealed += 1,
                Outcome::Known => {}
                Outcome::Empty => report.empty += 1,
                Outcome::Unreadable => report.unreadable += 1,
            }
        }
        report.lost = self.settle_rows().await?;
        if report.sealed > 0 {
            self.0.waiting.values().for_each(Notify::notify_one);
        }
        if report != Recovered::default() {
            info!(
                sealed = report.sealed,
                empty = report.empty,
                lost = report.lost,
                unreadable = report.unreadable,
                "recovered the spool"
            );
        }
        Ok(report)
    }

    /// Every pack file of the spool but those that are a cache.
    pub(crate) async fn pack_files(&self) -> Result<Vec<Found>, SpoolError> {
        let dir = self.0.dir.clone();
        blocking(move || list(&dir)).await
    }

    async fn recover_file(&self, found: Found) -> Result<Outcome, SpoolError> {
        let row = self.0.index.any_pack(found.pack).await?;
        let whole = self.whole_path(&found.camera, found.pack);
        if found.path == whole
            && let Some(row) = row.as_ref().filter(|row| row.state >= PackState::Sealed)
        {
            if row.state >= PackState::Stored {
                let io = |source| SpoolError::Io { path: found.path.clone(), source };
                self.keep_as_cache(&found.camera, found.pack).map_err(io)?;
            }
            return Ok(Outcome::Known);
        }
        let flushed = self.flushed_fragments(row.as_ref()).await?;
        let (spool, file) = (self.clone(), found.clone());
        let mended = blocking(move || {
            let Some(table) = spool.mend(&file.path, &file.camera, flushed)? else {
                return Ok(None);
            };
            let whole = spool.whole_path(&file.camera, file.pack);
            let io = |source| SpoolError::Io { path: whole.clone(), source };
            if file.path != whole {
                platform::rename(&file.path, &whole).map_err(io)?;
                platform::sync_folder(&spool.folder(&file.camera)).map_err(io)?;
            }
            let bytes = std::fs::metadata(&whole).map_err(io)?.len();
            let key = encrypted::key_of(&whole).map_err(io)?;
            Ok(Some((table, bytes, key)))
        })
        .await;
        match mended {
            Ok(Some((table, bytes, key))) => match self.0.index.write(whole_pack(&table, bytes, key)).await {
                Ok(()) => Ok(Outcome::Sealed),
                // One pack that contradicts the index must not keep every camera from being recorded.
                Err(e @ (IndexError::Refused(_) | IndexError::Unknown(_))) => {
                    error!(path = %found.path.display(), error = %e, "the index refuses a pack of the spool: it is left as it is");
                    Ok(Outcome::Unreadable)
                }
                Err(e) => Err(e.into()),
            },
            Ok(None) => {
                if let Some(row) = row {
                    self.lose(&row).await?;
                }
                Ok(Outcome::Empty)
            }
            Err(SpoolError::Pack(e)) => {
                error!(path = %found.path.display(), error = %e, "a file of the spool is not a pack: it is left as it is");
                Ok(Outcome::Unreadable)
            }
            Err(e) => Err(e),
        }
    }

    /// How many of a pack's first fragments the index knows: it heard of them after they were flushed.
    async fn flushed_fragments(&self, row: Option<&PackRow>) -> Result<u32, SpoolError> {
        let Some(row) = row else {
            return Ok(0);
        };
        let segments = self.0.index.segments_of_pack(row.id).await?;
        Ok(segments.iter().map(|s| s.first_fragment.saturating_add(s.fragments)).max().unwrap_or(0))
    }

    /// Rows of packs that the spool should hold: found in the store, or lost.
    async fn settle_rows(&self) -> Result<usize, SpoolError> {
        let mut lost = 0;
        for state in [PackState::Open, PackState::Sealed] {
            let rows = self.0.index.packs_in_state(state, PAGE).await?;
            for row in rows {
                if self.files(&row.camera, row.id).iter().any(|path| path.exists()) {
                    continue;
                }
                match self.0.store.pack_bytes(&row.camera, row.id).await {
                    Ok(Some(bytes)) => self.report_stored(&row, bytes).await?,
                    Ok(None) => {
                        self.lose(&row).await?;
                        lost += 1;
                    }
                    Err(e) => warn!(pack = %row.id, error = %e, "the store does not say whether it has a pack"),
                }
            }
        }
        Ok(lost)
    }

    /// The crash came between the store's answer and the index.
    async fn report_stored(&self, row: &PackRow, bytes: u64) -> Result<(), SpoolError> {
        let mut changes = Vec::new();
        if row.state == PackState::Open
            && let Some(path) = self.0.store.local_file(&row.camera, row.id)
        {
            let vault = self.0.keys.vault().clone();
            let read = move || {
                let io = |source| SpoolError::Io { path: path.clone(), source };
                Ok((reader::read_table(&path, &vault)?, encrypted::key_of(&path).map_err(io)?))
            };
            let (table, key) = blocking(read).await?;
            changes = whole_pack(&table, bytes, key);
        }
        changes.push(Change::SealPack { pack: row.id, bytes });
        changes.push(Change::PackStored { pack: row.id });
        self.0.index.write(changes).await?;
        Ok(())
    }

    /// The bytes are nowhere: the row is forgotten and its time becomes a gap that says so.
    async fn lose(&self, row: &PackRow) -> Result<(), SpoolError> {
        error!(pack = %row.id, camera = %row.camera, start = %row.start, end = %row.end, "a pack's bytes are gone");
        let gap = Gap { start: row.start, end: row.end, cause: GapCause::Corrupt, lost_packets: 0 };
        let camera = row.camera.clone();
        let fact = Fact::PackLost { pack: row.id, start: row.start, end: row.end };
        let event = Change::Event(Event::of_camera(self.0.clock.wall(), &camera, fact));
        let mut changes = vec![Change::Forget { pack: row.id }, event];
        // The footage that a hold's pack was copied from has a timeline of its own.
        if self.0.index.hold_of(row.id).await?.is_none() {
            changes.push(Change::PutGap { camera, gap });
        }
        self.0.index.write(changes).await?;
        Ok(())
    }
}

enum Outcome {
    Sealed,
    Known,
    Empty,
    Unreadable,
}

/// Every pack file of the spool, `{spool}/{tenant}/{camera}/{pack}[.open].mp4`; anything else is left alone.
fn list(dir: &Path) -> Result<Vec<Found>, SpoolError> {
    let pack = |name: &str| name.strip_suffix(".mp4").map(|n| n.strip_suffix(".open").unwrap_or(n))?.parse().ok();
    named(dir, pack)
}

/// Files of the spool by camera, and the packs that `pack` reads in their names.
pub(super) fn named(dir: &Path, pack: impl Fn(&str) -> Option<PackId>) -> Result<Vec<Found>, SpoolError> {
    let mut found = Vec::new();
    for tenant in entries(dir)? {
        let Some(tenant_id) = name(&tenant).and_then(|n| n.parse::<TenantId>().ok()) else { continue };
        for camera in entries(&tenant)? {
            let Some(camera_id) = name(&camera).and_then(|n| n.parse::<CameraId>().ok()) else { continue };
            let key = CameraKey { tenant: tenant_id.clone(), camera: camera_id };
            for path in entries(&camera)? {
                if let Some(pack) = name(&path).and_then(&pack) {
                    found.push(Found { path, camera: key.clone(), pack });
                }
            }
        }
    }
    Ok(found)
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// What a folder holds, by name: packs from the oldest on; nothing when it is not a folder.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let io = |source| SpoolError::Io { path: dir.to_owned(), source };
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let paths = std::fs::read_dir(dir).map_err(io)?.map(|entry| entry.map(|e| e.path()).map_err(io));
    let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
    paths.sort_unstable();
    Ok(paths)
}
