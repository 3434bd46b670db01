//! Bytes that no row speaks of.

use futures::TryStreamExt;

use super::{Complaint, Fsck, FsckError, Tally};
use crate::spool::recover::Found;
use crate::store::Listed;
use footage::units::{CameraKey, PackId};

/// Suspects that wait together for a gateway that runs to tell its index of them.
const SUSPECTS_MAX: usize = 1_024;

impl Fsck {
    pub(super) async fn check_store(&self, tally: &mut Tally<'_>) -> Result<(), FsckError> {
        let mut suspects = Vec::new();
        let mut objects = self.store.list();
        while let Some(object) = objects.try_next().await? {
            tally.report.objects += 1;
            let Some((camera, pack)) = object.pack.clone() else {
                tally.foreign(object.location);
                continue;
            };
            if !self.is_known(&camera, pack, &object.location).await? {
                suspects.push((object, camera, pack));
            }
            if suspects.len() >= SUSPECTS_MAX {
                self.settle_objects(std::mem::take(&mut suspects), tally).await?;
            }
        }
        self.settle_objects(suspects, tally).await
    }

    /// Whether the index knows this pack, of this camera, under this name.
    async fn is_known(&self, camera: &CameraKey, pack: PackId, location: &str) -> Result<bool, FsckError> {
        let row = self.index.any_pack(pack).await?;
        let at_its_place = self.store.may_lie_at(camera, pack, location);
        Ok(at_its_place && row.is_some_and(|row| row.camera == *camera))
    }

    /// A pack may be in the store a moment before its row is, and its row may be gone a moment after the object.
    async fn settle_objects(
        &self,
        suspects: Vec<(Listed, CameraKey, PackId)>,
        tally: &mut Tally<'_>,
    ) -> Result<(), FsckError> {
        if !suspects.is_empty() {
            tokio::time::sleep(self.settle).await;
        }
        for (Listed { location, bytes, .. }, camera, pack) in suspects {
            let at_its_place = self.store.may_lie_at(&camera, pack, &location);
            let gone = at_its_place && self.store.pack_bytes(&camera, pack).await?.is_none();
            if self.store.is_foreign(&camera, pack) {
                // Another gateway's, which this one has not taken in, or keeps for a hold.
                tally.foreign(location);
            } else if !gone && !self.is_known(&camera, pack, &location).await? {
                tally.complain(Complaint::OrphanObject { location, bytes });
            }
        }
        Ok(())
    }

    pub(super) async fn check_spool(&self, tally: &mut Tally<'_>) -> Result<(), FsckError> {
        let mut suspects: Vec<(Found, bool)> = Vec::new();
        let (packs, copies) = (self.spool.pack_files().await?, self.spool.cache_files().await?);
        let files = packs.into_iter().map(|file| (file, false)).chain(copies.into_iter().map(|file| (file, true)));
        for (file, is_copy) in files {
            tally.report.spool_files += u64::from(!is_copy);
            if !self.owns(&file).await? {
                suspects.push((file, is_copy));
            }
        }
        if !suspects.is_empty() {
            tokio::time::sleep(self.settle).await;
        }
        for (file, is_copy) in suspects {
            if file.path.exists() && !self.owns(&file).await? {
                let path = file.path;
                tally.complain(if is_copy { Complaint::OrphanCopy { path } } else { Complaint::OrphanFile { path } });
            }
        }
        Ok(())
    }

    async fn owns(&self, file: &Found) -> Result<bool, FsckError> {
        Ok(self.index.any_pack(file.pack).await?.is_some_and(|row| row.camera == file.camera))
    }
}
