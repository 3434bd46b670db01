//! Each byte of a pack against the ids in it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::{Complaint, Fsck, FsckError};
use crate::index::{PackRow, PackState};
use crate::pack::{PackError, reader};
use crate::units::PackId;

impl Fsck {
    /// Checks a whole pack where its row says that it is.
    pub(super) async fn damage(&self, row: &PackRow, scratch: Option<&Scratch>) -> Result<(), Vec<Complaint>> {
        let (pack, camera) = (row.id, &row.camera);
        let unreadable = |what: String| vec![Complaint::Unreadable { pack, camera: camera.clone(), what }];
        let [_, in_spool, _] = self.spool.files(camera, pack);
        let local = match row.state {
            PackState::Stored => self.store.local_file(camera, pack),
            _ => Some(in_spool),
        };
        let fetched = match (&local, scratch) {
            (Some(_), _) => None,
            (None, Some(scratch)) => Some(self.fetch(row, scratch).await.map_err(unreadable)?),
            (None, None) => return Err(unreadable("there is nowhere to read it into".to_owned())),
        };
        let path = local.or_else(|| fetched.as_ref().map(|f| f.0.clone())).unwrap_or_default();
        let key = self.spool.key(camera);
        let checked = crate::machine::spawn_blocking(move || reader::verify_pack(&path, &key)).await;
        match checked {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(places)) => Err(places.iter().map(|e| complaint(row, e)).collect()),
            Err(e) => Err(unreadable(e.to_string())),
        }
    }

    /// Reads an object into a file of the scratch folder.
    async fn fetch(&self, row: &PackRow, scratch: &Scratch) -> Result<Fetched, String> {
        let fetched = Fetched(scratch.path(row.id));
        let mut file = tokio::fs::File::create(&fetched.0).await.map_err(|e| e.to_string())?;
        let bytes = self.store.get_stream(&row.camera, row.id, 0..row.bytes).await;
        let mut bytes = bytes.map_err(|e| e.to_string())?;
        while let Some(some) = bytes.next().await {
            file.write_all(&some.map_err(|e| e.to_string())?).await.map_err(|e| e.to_string())?;
        }
        file.flush().await.map_err(|e| e.to_string())?;
        Ok(fetched)
    }
}

fn complaint(row: &PackRow, error: &PackError) -> Complaint {
    let (pack, camera, what) = (row.id, row.camera.clone(), error.to_string());
    match error {
        PackError::Io { .. } => Complaint::Unreadable { pack, camera, what },
        _ => Complaint::Damaged { pack, camera, what },
    }
}

/// A folder that only this user may read, for footage on its way through; removed in the end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn create() -> Result<Self, FsckError> {
        let path = std::env::temp_dir().join(format!("vigie-fsck-{}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(FsckError::Scratch { path, source }),
        }
    }

    fn path(&self, pack: PackId) -> PathBuf {
        self.0.join(format!("{pack}.mp4"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed from a temporary folder goes with it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A pack in the scratch folder, removed when it has been checked.
struct Fetched(PathBuf);

impl Drop for Fetched {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        // The folder is removed in the end.
        let _ = std::fs::remove_file(path);
    }
}
