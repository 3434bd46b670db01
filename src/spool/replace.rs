//! Whole packs whose files are replaced: by smaller ones before the store has them, by others when their host goes.
//!
//! Invariant: at each step, whatever is cut off, one of both files is there, whole and flushed.

use std::path::{Path, PathBuf};

use super::finish::blocking;
use super::recover::entries;
use super::{Spool, SpoolError};
use crate::index::of_pack::whole_pack;
use crate::index::{Change, PackState};
use footage::pack::{PackHeader, PackTable, encrypted};
use footage::platform;
use footage::units::{CameraKey, PackId};

impl Spool {
    /// Puts a file, flushed, in the place of a whole pack's, wherever that lies: the spool or the store. The file is gone
    /// then. It can be done again after it was cut off.
    ///
    /// # Errors
    /// [`SpoolError::Busy`] while packs are sent to the store and this may be one of them, among others.
    pub async fn replace(&self, camera: &CameraKey, pack: PackId, file: &Path) -> Result<(), SpoolError> {
        let (whole, cached) = (self.whole_path(camera, pack), self.cache_path(camera, pack));
        let (from, folder) = (file.to_owned(), self.folder(camera));
        let mut sending = None;
        if whole.exists() {
            sending = Some(self.0.sending.try_write().map_err(|_| SpoolError::Busy)?);
        }
        let row = self.0.index.any_pack(pack).await?;
        if sending.is_some() && whole.exists() && row.is_some_and(|row| row.state < PackState::Stored) {
            return blocking(move || {
                platform::rename(&from, &whole).map_err(|source| SpoolError::Io { path: from.clone(), source })?;
                platform::sync_folder(&folder).map_err(|source| SpoolError::Io { path: folder, source })
            })
            .await;
        }
        self.0.store.put_pack(camera, pack, file).await?;
        // A copy of the former file would be read before the store's: after a power cut, too.
        blocking(move || {
            [from, whole, cached].iter().try_for_each(|path| remove_if_there(path))?;
            if folder.is_dir() {
                platform::sync_folder(&folder).map_err(|source| SpoolError::Io { path: folder, source })?;
            }
            Ok(())
        })
        .await
    }

    /// Takes in a whole pack that was written, flushed, as a draft: the index hears these changes together with it, then
    /// the store gets it. Cut off before the index heard, the next start finds the pack.
    pub async fn take_in(&self, table: &PackTable, draft: PathBuf, changes: Vec<Change>) -> Result<(), SpoolError> {
        let PackHeader { pack, camera, .. } = &table.header;
        let (whole, folder) = (self.whole_path(camera, *pack), self.folder(camera));
        let (bytes, key) = blocking(move || {
            let io = |source| SpoolError::Io { path: draft.clone(), source };
            let bytes = std::fs::metadata(&draft).map_err(io)?.len();
            let key = encrypted::key_of(&draft).map_err(io)?;
            platform::rename(&draft, &whole).map_err(io)?;
            platform::sync_folder(&folder).map_err(io)?;
            Ok((bytes, key))
        })
        .await?;
        let mut reported = whole_pack(table, bytes, key);
        reported.extend(changes);
        self.0.index.write(reported).await?;
        self.wake(camera);
        Ok(())
    }

    /// Where a pack that is rewritten is drafted: on the spool's file system, under a name that is no pack's. What an
    /// earlier attempt left there is removed.
    pub fn draft_path(&self, camera: &CameraKey, pack: PackId) -> Result<PathBuf, SpoolError> {
        let folder = self.folder(camera);
        platform::create_folders(&folder).map_err(|source| SpoolError::Io { path: folder.clone(), source })?;
        let draft = folder.join(format!("{pack}.draft"));
        remove_if_there(&draft)?;
        Ok(draft)
    }
}

/// Removes what packs that were being rewritten have left: footage that no row speaks of. Blocks.
pub(super) fn remove_drafts(dir: &Path) -> Result<(), SpoolError> {
    for tenant in entries(dir)? {
        for camera in entries(&tenant)? {
            let files = entries(&camera)?;
            let mut drafts = files.iter().filter(|path| path.extension().is_some_and(|name| name == "draft"));
            drafts.try_for_each(|path| remove_if_there(path))?;
        }
    }
    Ok(())
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), SpoolError> {
    match platform::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(SpoolError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
