//! Where copies of journals lie in a store: `{prefix}/vigie.journal/<name>/…`, the name being the journal's own.
//!
//! Invariants: an object is read, written or called absent only in a store that is the known one. No id has a dot in it, so
//! no tenant's folder is this one; a listing of packs leaves it out.
//! Absent on purpose: what the objects are.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStoreExt, PutPayload};

use super::bucket::Bucket;
use super::s3::without_secrets;
use super::uplink::Lane;
use super::{Store, StoreError};
use footage::units::TenantId;

/// The folder of all journals under a store's prefix.
const FOLDER: &str = "vigie.journal";
/// Objects of one journal that are listed at most: tiles of sixteen million entries.
const LISTED_MAX: usize = 1 << 17;

/// The copy of one journal in one store.
#[derive(Clone, Debug)]
pub struct Shelf {
    store: Store,
    bucket: usize,
    folder: Path,
}

/// Whether this is an object of a journal.
pub(super) fn is_of_journal(prefix: &Path, location: &Path) -> bool {
    let Some(mut parts) = location.prefix_match(prefix) else { return false };
    let is_name = |name: &str| name.len() == 32 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_ours = parts.next().is_some_and(|part| part.as_ref() == FOLDER)
        && parts.next().is_some_and(|part| is_name(part.as_ref()));
    let rest: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
    is_ours && journal::copy::is_name(&rest.join("/"))
}

impl Store {
    /// Where copies of this journal of the tenant's may lie: in the store of its footage first, then in those that had it
    /// before. A tenant that is configured no more may have been anywhere, and its copy goes to the default.
    pub fn shelves(&self, tenant: &TenantId, name: &str) -> Vec<Shelf> {
        let all = (0..self.0.buckets.len()).collect();
        let at = self.0.tenants.get(tenant).map_or(all, |homes| {
            std::iter::once(homes.now).chain(homes.former.iter().copied()).collect::<Vec<usize>>()
        });
        let shelf = |bucket: usize| {
            let folder = self.0.buckets[bucket].prefix().clone().join(FOLDER).join(name);
            Shelf { store: self.clone(), bucket, folder }
        };
        at.into_iter().map(shelf).collect()
    }

    /// This gateway's rank among those that keep their journals of this tenant in one store; `None` where it is alone.
    pub fn rank(&self, tenant: &TenantId) -> Option<u8> {
        let home = self.0.tenants.get(tenant).map_or(0, |homes| homes.now);
        self.0.buckets[home].shared().map(|shared| shared.rank)
    }
}

impl Shelf {
    fn bucket(&self) -> &Bucket {
        &self.store.0.buckets[self.bucket]
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.folder.clone(), |path, part| path.join(part))
    }

    /// The store's name in the configuration.
    pub fn store(&self) -> &str {
        self.bucket().name()
    }

    /// An object of at most so many bytes; `None` where there is none.
    ///
    /// # Errors
    /// When the store is away or not the known one, or the object is longer.
    pub async fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Bytes>, StoreError> {
        let bucket = self.bucket();
        bucket.ensure_known_recently().await?;
        let got = match bucket.objects().get_opts(&self.path(name), GetOptions::default()).await {
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(without_secrets(e).into()),
        };
        let too_long = |got| StoreError::SizeDiffers { object: self.path(name).to_string(), want: bytes_max, got };
        if got.meta.size > bytes_max {
            return Err(too_long(got.meta.size));
        }
        let (mut bytes, mut pieces) = (BytesMut::new(), got.into_stream());
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece.map_err(without_secrets)?);
            if bytes.len() as u64 > bytes_max {
                return Err(too_long(bytes.len() as u64));
            }
        }
        Ok(Some(bytes.freeze()))
    }

    /// Writes an object whole, in the place of one that may be there. It is small, and goes before the backlog of packs.
    ///
    /// # Errors
    /// When the store is away, refuses, or is not the known one.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let bucket = self.bucket();
        bucket.ensure_known_recently().await?;
        bucket.uplink().pay(bytes.len() as u64, Lane::Requested).await;
        bucket.objects().put(&self.path(name), PutPayload::from(bytes)).await.map_err(without_secrets)?;
        Ok(())
    }

    /// Removes an object; an absent one counts as removed.
    ///
    /// # Errors
    /// When the store is away, refuses, or is not the known one.
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.bucket().ensure_known_recently().await?;
        Ok(self.bucket().delete(&self.path(name)).await?)
    }

    /// All objects of the copy, by name and length.
    ///
    /// # Errors
    /// When the store is away or not the known one.
    pub async fn list(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.bucket().ensure_known_recently().await?;
        let mut objects = self.bucket().objects().list(Some(&self.folder));
        let mut found = Vec::new();
        while let Some(meta) = objects.try_next().await.map_err(without_secrets)? {
            if found.len() == LISTED_MAX {
                break;
            }
            if let Some(parts) = meta.location.prefix_match(&self.folder) {
                let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
                found.push((parts.join("/"), meta.size));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_journals_are_told_from_packs_and_from_what_nobody_knows() {
        let check = |location: &str, expect: bool| {
            let (prefix, location) = (Path::from("a/b"), Path::from(location));
            assert_eq!(is_of_journal(&prefix, &location), expect, "{location}");
        };
        let name = "0123456789abcdef0123456789abcdef";
        check(&format!("a/b/vigie.journal/{name}/checkpoint"), true);
        check(&format!("a/b/vigie.journal/{name}/tile/entries/x001/002.p/3"), true);
        check(&format!("a/b/vigie.journal/{name}/tile/entries/1"), false);
        check(&format!("a/b/vigie.journal/{name}/note.txt"), false);
        check(&format!("vigie.journal/{name}/checkpoint"), false);
        check("a/b/vigie.journal/town/checkpoint", false);
        check(&format!("a/b/town/{name}/checkpoint"), false);
    }
}
