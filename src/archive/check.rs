//! Each byte of a whole pack, where the index says that it lies.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use futures::StreamExt;

use super::{Archive, PackError, PackRef, PackState, ReadError, blocking};
use footage::pack::reader::{self, Checked};
use footage::units::PackId;

impl Archive {
    /// Checks every byte of the pack's own file against its ids and checksums: in the spool while it waits, in the store
    /// afterwards. An object of a store elsewhere, of `bytes` bytes, is read into the scratch folder first.
    ///
    /// # Errors
    /// When it is not there or cannot be got. What is there and is not what was written is no error.
    pub async fn check(&self, pack: &PackRef, bytes: u64, scratch: &Scratch) -> Result<Checked, ReadError> {
        let id = pack.id;
        let in_store = self.store.local_file(&pack.camera, id);
        let local = match pack.state {
            PackState::Stored => in_store,
            // A gateway may have ended when the store had it and its row did not say so yet.
            _ => {
                let [_, whole, _] = self.spool.files(&pack.camera, id);
                let path = whole.clone();
                if blocking(id, move || Ok(path.exists())).await? { Some(whole) } else { in_store }
            }
        };
        let fetched = match local {
            Some(_) => None,
            None => Some(self.fetch(pack, bytes, scratch).await?),
        };
        let path = local.or_else(|| fetched.as_ref().map(|fetched| fetched.0.clone())).unwrap_or_default();
        let key = self.spool.key(&pack.camera);
        let checked = blocking(id, move || {
            reader::check_pack(&path, &key).map_err(|e| match e {
                PackError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                    ReadError::NotFound(id)
                }
                e => e.into(),
            })
        })
        .await;
        if matches!(checked, Err(ReadError::NotFound(_))) && pack.state == PackState::Stored {
            // Only the known store may say so.
            let there = self.store.pack_bytes(&pack.camera, id).await;
            there.map_err(|source| ReadError::Store { pack: id, source })?;
        }
        checked
    }

    /// The same of the copy that stays in the spool after the store has the pack, if there is one.
    pub(crate) async fn check_cached(&self, pack: &PackRef) -> Option<(PathBuf, Checked)> {
        let [cached, ..] = self.spool.files(&pack.camera, pack.id);
        let (path, key) = (cached.clone(), self.spool.key(&pack.camera));
        let checked = blocking(pack.id, move || Ok(reader::check_pack(&path, &key)?)).await.ok()?;
        Some((cached, checked))
    }

    /// Reads an object into a file of the scratch folder.
    async fn fetch(&self, pack: &PackRef, bytes: u64, scratch: &Scratch) -> Result<Fetched, ReadError> {
        let id = pack.id;
        let io = move |source| ReadError::Io { pack: id, source };
        let failed = |source| match source {
            object_store::Error::NotFound { .. } => ReadError::NotFound(id),
            source => ReadError::Store { pack: id, source },
        };
        let fetched = Fetched(scratch.path(id));
        let mut object = self.store.get_stream(&pack.camera, id, 0..bytes).await.map_err(failed)?;
        let path = fetched.0.clone();
        let mut file = blocking(id, move || File::create(&path).map_err(io)).await?;
        while let Some(some) = object.next().await {
            let some = some.map_err(failed)?;
            file = blocking(id, move || file.write_all(&some).map(|()| file).map_err(io)).await?;
        }
        Ok(fetched)
    }
}

/// A folder that only this user may read, for footage on its way through; removed in the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it, with room for a few packs beneath; what an earlier one left there is removed.
    pub fn create(path: PathBuf) -> std::io::Result<Self> {
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => DirBuilder::new().mode(0o700).create(&path)?,
        }
        Ok(Self(path))
    }

    fn path(&self, pack: PackId) -> PathBuf {
        self.0.join(format!("{pack}.mp4"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is removed when it is made again.
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
