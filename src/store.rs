//! The object store behind its seam: where whole packs live.
//!
//! Invariant: a pack is one object, written once, with one PUT or one multipart upload; its name follows from its
//! camera and id alone. `put_pack` returns only after the store acknowledged the size.
//! Absent on purpose: retries over minutes. The drain decides when to try again; the client retries for seconds only.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig, WriteMultipart,
};
use secrecy::ExposeSecret;
use tokio::io::AsyncReadExt;
use url::Url;

use crate::config::S3;
use crate::machine::{self, Folders};
use crate::units::{CameraId, CameraKey, PackId, TenantId, WallTime};

/// Packs up to this size go up as one PUT; larger ones in parts of this size.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts in flight of one pack.
const PARTS_IN_FLIGHT: usize = 4;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no store that Vigie can open.
    #[error("store {url}: {what}")]
    Unusable {
        /// As configured; it has no credentials in it.
        url: String,
        /// What is wrong, and what to write instead.
        what: String,
    },
    /// A request failed: try again later.
    #[error("store: {0}")]
    Request(#[from] object_store::Error),
    /// A local file could not be read or moved.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store took the object and shows another size: it is not counted as stored.
    #[error("object {object} has {got} bytes in the store, {want} were sent")]
    SizeDiffers {
        /// Which object.
        object: String,
        /// Bytes sent.
        want: u64,
        /// Bytes that the store shows.
        got: u64,
    },
}

/// Where a pack's bytes are after it was handed to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The spool file was renamed into the store: there is one copy.
    Moved,
    /// The spool file is still there, as a cache.
    Cached,
}

/// A store of packs; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Root folder of a store that is a local directory.
    local_root: Option<PathBuf>,
    /// Those of a local directory.
    folders: Arc<Folders>,
}

impl Store {
    /// Opens `file:///folder` (created if absent) or `s3://bucket/prefix`; what `s3` leaves open is taken from the usual
    /// `AWS_*` environment variables and then from the machine's instance profile.
    pub fn open(url: &Url, s3: &S3) -> Result<Self, StoreError> {
        let unusable = |what: String| StoreError::Unusable { url: url.to_string(), what };
        match url.scheme() {
            "file" => {
                let root = url.to_file_path().map_err(|()| unusable("write file:///absolute/folder".into()))?;
                std::fs::create_dir_all(&root).map_err(|source| StoreError::Io { path: root.clone(), source })?;
                let objects = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true).with_automatic_cleanup(true);
                Ok(Self {
                    objects: Arc::new(objects),
                    prefix: Path::default(),
                    local_root: Some(root),
                    folders: Arc::default(),
                })
            }
            "s3" => {
                let bucket = url.host_str().ok_or_else(|| unusable("write s3://bucket/prefix".into()))?;
                let objects = bucket_client(bucket, s3)?;
                let prefix = Path::from_url_path(url.path()).map_err(|e| unusable(e.to_string()))?;
                Ok(Self { objects: Arc::new(objects), prefix, local_root: None, folders: Arc::default() })
            }
            other => Err(unusable(format!("{other}: is not a store; write file:///folder or s3://bucket/prefix"))),
        }
    }

    /// Any other object store: in memory, or wrapped for tests.
    pub fn over(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, prefix: Path::default(), local_root: None, folders: Arc::default() }
    }

    /// The same for a local directory: whole packs are renamed into it.
    pub fn over_folder(objects: Arc<dyn ObjectStore>, root: PathBuf) -> Self {
        Self { objects, prefix: Path::default(), local_root: Some(root), folders: Arc::default() }
    }

    /// The folder of a store that is a local directory.
    pub fn local_root(&self) -> Option<&FilePath> {
        self.local_root.as_deref()
    }

    /// Where a pack lies: `tenant/camera/YYYY-MM-DD/id.mp4`, the day (UTC) being that of its id.
    pub fn object_path(&self, camera: &CameraKey, pack: PackId) -> Path {
        let mut millis = [0u8; 8];
        millis[2..].copy_from_slice(&pack.0[..6]);
        let day = jiff::Timestamp::from_millisecond(i64::from_be_bytes(millis))
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .strftime("%Y-%m-%d")
            .to_string();
        self.prefix
            .clone()
            .join(camera.tenant.as_str())
            .join(camera.camera.as_str())
            .join(day)
            .join(format!("{pack}.mp4"))
    }

    /// Which pack an object is, if its name is a pack's.
    fn parse_path(&self, location: &Path) -> Option<(CameraKey, PackId)> {
        let mut parts = location.prefix_match(&self.prefix)?;
        let tenant: TenantId = parts.next()?.as_ref().parse().ok()?;
        let camera: CameraId = parts.next()?.as_ref().parse().ok()?;
        let _day = parts.next()?;
        let pack = parts.next()?.as_ref().strip_suffix(".mp4")?.parse().ok()?;
        parts.next().is_none().then_some((CameraKey { tenant, camera }, pack))
    }

    /// The file of a pack in a local store.
    pub fn local_file(&self, camera: &CameraKey, pack: PackId) -> Option<PathBuf> {
        let root = self.local_root.as_ref()?;
        Some(root.join(self.object_path(camera, pack).as_ref()))
    }

    /// Hands over a whole pack that lies, flushed, at `file`. Into a local store on the same file system by renaming it
    /// (no second write); otherwise its bytes are sent and the size that the store then shows is compared.
    pub async fn put_pack(&self, camera: &CameraKey, pack: PackId, file: &FilePath) -> Result<Kept, StoreError> {
        if let Some(target) = self.local_file(camera, pack) {
            let from = file.to_owned();
            let (root, folders) = (self.local_root.clone().unwrap_or_default(), self.folders.clone());
            let moved = machine::spawn_blocking(move || move_durably(&from, &target, &root, &folders))
                .await
                .map_err(|e| StoreError::Io { path: file.to_owned(), source: std::io::Error::other(e) })??;
            if moved {
                return Ok(Kept::Moved);
            }
        }
        self.send(&self.object_path(camera, pack), file).await?;
        Ok(Kept::Cached)
    }

    async fn send(&self, location: &Path, file: &FilePath) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { path: file.to_owned(), source };
        let want = std::fs::metadata(file).map_err(io)?.len();
        if want <= PART_BYTES as u64 {
            let from = file.to_owned();
            let all = machine::spawn_blocking(move || std::fs::read(from)).await;
            let all = all.unwrap_or_else(|e| Err(std::io::Error::other(e))).map_err(io)?;
            self.objects.put(location, PutPayload::from(all)).await?;
        } else {
            let mut source = tokio::fs::File::open(file).await.map_err(io)?;
            let upload = self.objects.put_multipart(location).await?;
            let mut parts = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            let outcome = copy_parts(&mut source, &mut parts).await;
            if let Err(e) = outcome {
                // The parts already there would be billed for ever: drop them, then say what failed.
                parts.abort().await?;
                return Err(match e {
                    PartError::Read(source) => io(source),
                    PartError::Send(e) => StoreError::Request(e),
                });
            }
            parts.finish().await?;
        }
        let got = self.objects.head(location).await?.size;
        if got != want {
            return Err(StoreError::SizeDiffers { object: location.to_string(), want, got });
        }
        Ok(())
    }

    /// Size of a pack's object; `None` when there is none.
    pub async fn pack_bytes(&self, camera: &CameraKey, pack: PackId) -> Result<Option<u64>, object_store::Error> {
        match self.objects.head(&self.object_path(camera, pack)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Some of a pack's bytes, as they come.
    pub async fn get_stream(
        &self,
        camera: &CameraKey,
        pack: PackId,
        range: std::ops::Range<u64>,
    ) -> Result<BoxStream<'static, Result<bytes::Bytes, object_store::Error>>, object_store::Error> {
        let options = object_store::GetOptions { range: Some(range.into()), ..Default::default() };
        Ok(self.objects.get_opts(&self.object_path(camera, pack), options).await?.into_stream())
    }

    /// Some of a pack's bytes, whole.
    pub async fn get_range(
        &self,
        camera: &CameraKey,
        pack: PackId,
        range: std::ops::Range<u64>,
    ) -> Result<bytes::Bytes, object_store::Error> {
        self.objects.get_range(&self.object_path(camera, pack), range).await
    }

    /// Deletes a pack's object for good; an absent one counts as deleted.
    pub async fn delete(&self, camera: &CameraKey, pack: PackId) -> Result<(), object_store::Error> {
        match self.objects.delete(&self.object_path(camera, pack)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(e),
        }
        let Some(file) = self.local_file(camera, pack) else { return Ok(()) };
        // The file system may still bring back a name that was removed: nobody would look for it then.
        let synced = machine::spawn_blocking(move || machine::sync_absence(&file)).await;
        let synced = synced.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        synced.map_err(|e| object_store::Error::Generic { store: "local folder", source: e.into() })
    }

    /// Every object under the prefix, with the pack that its name says.
    pub fn list(&self) -> BoxStream<'static, Result<Listed, object_store::Error>> {
        let this = self.clone();
        let prefix = (!self.prefix.as_ref().is_empty()).then(|| self.prefix.clone());
        self.objects
            .list(prefix.as_ref())
            .map(move |item| {
                let meta: ObjectMeta = item?;
                Ok(Listed {
                    pack: this.parse_path(&meta.location),
                    location: meta.location.to_string(),
                    bytes: meta.size,
                    modified: WallTime(meta.last_modified.timestamp() * crate::units::TICKS_PER_SECOND),
                })
            })
            .boxed()
    }
}

fn bucket_client(bucket: &str, s3: &S3) -> Result<impl ObjectStore, object_store::Error> {
    let retry =
        RetryConfig { backoff: BackoffConfig::default(), max_retries: 3, retry_timeout: Duration::from_secs(30) };
    let options = ClientOptions::new().with_timeout(Duration::from_secs(120)).with_allow_http(true);
    // The server checks each part against its SHA-256 before it acknowledges it.
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_client_options(options)
        .with_retry(retry)
        .with_virtual_hosted_style_request(!s3.path_style);
    if let Some(region) = &s3.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    if let (Some(id), Some(secret)) = (&s3.access_key_id, &s3.secret_access_key) {
        builder = builder.with_access_key_id(id.expose_secret()).with_secret_access_key(secret.expose_secret());
    }
    builder.build()
}

/// One object of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The pack that the name says; `None` for an object that is not ours.
    pub pack: Option<(CameraKey, PackId)>,
    /// Full name.
    pub location: String,
    /// Size.
    pub bytes: u64,
    /// When the store says it was written.
    pub modified: WallTime,
}

enum PartError {
    Read(std::io::Error),
    Send(object_store::Error),
}

async fn copy_parts(source: &mut tokio::fs::File, parts: &mut WriteMultipart) -> Result<(), PartError> {
    loop {
        parts.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(PartError::Send)?;
        let mut part = bytes::BytesMut::with_capacity(PART_BYTES);
        while part.len() < PART_BYTES {
            if source.read_buf(&mut part).await.map_err(PartError::Read)? == 0 {
                parts.put(part.freeze());
                return Ok(());
            }
        }
        parts.put(part.freeze());
    }
}

/// Renames and flushes both folders; `false` when the target is on another file system.
fn move_durably(from: &FilePath, to: &FilePath, root: &FilePath, folders: &Folders) -> Result<bool, StoreError> {
    let at = |path: &FilePath| {
        let path = path.to_owned();
        move |source| StoreError::Io { path, source }
    };
    let folder = to.parent().unwrap_or(to);
    folders.ensure(root, folder).map_err(at(folder))?;
    match machine::rename(from, to) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::CrossesDevices => return Ok(false),
        Err(e) => return Err(at(from)(e)),
    }
    machine::sync_folder(folder).map_err(at(folder))?;
    if let Some(left) = from.parent() {
        machine::sync_folder(left).map_err(at(left))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn key() -> CameraKey {
        "saint-cyr/mairie".parse().expect("a key")
    }

    #[tokio::test]
    async fn a_pack_moves_into_a_local_store_and_is_found_by_camera_and_id() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Url::from_directory_path(dir.path().join("store")).unwrap(), &S3::default()).unwrap();
        let file = dir.path().join("a.mp4");
        std::fs::write(&file, b"bytes of a pack").unwrap();
        let pack = PackId::generate(WallTime(1_700_000_000 * 90_000));

        assert_eq!(store.put_pack(&key(), pack, &file).await.unwrap(), Kept::Moved);
        assert!(!file.exists());
        assert_eq!(store.pack_bytes(&key(), pack).await.unwrap(), Some(15));
        assert_eq!(store.get_range(&key(), pack, 6..8).await.unwrap().as_ref(), b"of");
        let listed: Vec<_> = store.list().collect().await;
        assert_eq!(listed[0].as_ref().unwrap().pack, Some((key(), pack)));

        store.delete(&key(), pack).await.unwrap();
        store.delete(&key(), pack).await.expect("absent counts as deleted");
        assert_eq!(store.pack_bytes(&key(), pack).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_pack_larger_than_a_part_is_sent_whole_and_kept_in_the_spool() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::over(Arc::new(InMemory::new()));
        let file = dir.path().join("a.mp4");
        let bytes: Vec<u8> = (0..PART_BYTES * 2 + 17).map(|i| (i % 251) as u8).collect();
        std::fs::write(&file, &bytes).unwrap();
        let pack = PackId::generate(WallTime(0));

        assert_eq!(store.put_pack(&key(), pack, &file).await.unwrap(), Kept::Cached);
        let back = store.get_range(&key(), pack, 0..bytes.len() as u64).await.unwrap();
        assert!(back == bytes, "the object differs from the file");
        assert!(file.exists());
    }

    #[test]
    fn a_url_that_is_no_store_says_what_to_write() {
        let error = Store::open(&Url::parse("http://example.org/x").unwrap(), &S3::default()).unwrap_err().to_string();
        assert!(error.contains("s3://bucket/prefix"), "{error}");
    }
}
