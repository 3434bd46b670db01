//! The object stores behind their seam: where whole packs live.
//!
//! A router: each camera has a home, the store that its packs go to, and perhaps former homes where earlier ones still
//! lie. Reading asks the home first; deleting asks each.
//! Invariants: that an object is absent is concluded only from a store that is the known one ([`identity`]), and nothing is
//! sent to or deleted in another. A pack is one object, written with one PUT or one multipart upload; its name follows from its camera and
//! id alone. `put_pack` returns only after the store handed back the pack's end as it was sent.
//! Absent on purpose: retries over minutes. The drain decides when to try again; the client retries for seconds only.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::config::{Config, S3, SendOrder, SharedStore, StoreChoice, StoreConfig};
use footage::clock::{Clock, SystemClock};
use footage::keys::names::Names;
use footage::platform::{self, Folders};
use footage::units::{CameraKey, Fingerprint, PackId, StoreUid, TenantId};

mod bucket;
pub mod count;
mod error;
pub mod fault;
pub mod identity;
mod listing;
mod local;
pub mod probe;
mod s3;
pub mod shelf;
pub mod uplink;
pub mod upload;

use bucket::Bucket;
pub use error::{StoreError, request_kind};
use identity::{Identified, NotKnown};
pub use listing::Listed;
use uplink::{Lane, SendOptions};

/// Packs up to this size go up as one PUT; larger ones in parts of this size.
pub const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts in flight of one pack.
const PARTS_IN_FLIGHT: usize = 4;

/// Where a pack's bytes are after it was handed to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The spool file was renamed into the store: there is one copy.
    Moved,
    /// The spool file is still there, as a cache.
    Cached,
}

/// Every store of the gateway, and who uses which; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Arc<Router>);

#[derive(Debug)]
struct Router {
    /// The default first.
    buckets: Vec<Bucket>,
    cameras: HashMap<CameraKey, Homes>,
    /// Where what is of a tenant and of none of its cameras goes.
    tenants: HashMap<TenantId, Homes>,
    /// Stores that a camera used and that the configuration does not name.
    gone: Mutex<HashMap<CameraKey, Vec<String>>>,
}

/// By their place among the buckets.
#[derive(Clone, Debug)]
struct Homes {
    now: usize,
    former: Vec<usize>,
}

/// One of the stores, by its place in the configuration; 0 is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(usize);

impl Store {
    /// Opens every store of the configuration. No request is made. The names are for packs that are or were encrypted.
    pub fn of_config(config: &Config, clock: &Arc<dyn Clock>, names: Option<&Names>) -> Result<Self, StoreError> {
        let open = |store: &StoreConfig| {
            Ok::<_, StoreError>(Bucket::open(store, &config.time_zone, clock)?.with_names(names.cloned()))
        };
        let buckets: Vec<Bucket> = config.stores.iter().map(open).collect::<Result<_, _>>()?;
        let place = |name: &String| buckets.iter().position(|bucket| bucket.name() == name);
        let homes = |choices: &[&StoreChoice]| {
            let now = choices.iter().find_map(|choice| choice.store.as_ref().and_then(place)).unwrap_or(0);
            let former = choices.iter().flat_map(|choice| &choice.former).filter_map(place);
            let mut former: Vec<usize> = former.filter(|at| *at != now).collect();
            former.sort_unstable();
            former.dedup();
            Homes { now, former }
        };
        let (mut cameras, mut tenants) = (HashMap::new(), HashMap::new());
        for tenant in &config.tenants {
            tenants.insert(tenant.id.clone(), homes(&[&tenant.store]));
            for camera in &tenant.cameras {
                let key = CameraKey { tenant: tenant.id.clone(), camera: camera.id.clone() };
                cameras.insert(key, homes(&[&camera.store, &tenant.store]));
            }
        }
        Ok(Self(Arc::new(Router { buckets, cameras, tenants, gone: Mutex::default() })))
    }

    /// One store for all: `file:///folder` (created if absent), `s3://bucket/prefix` or `memory:///`; what `s3` leaves
    /// open is taken from the usual `AWS_*` environment variables and then from the machine's instance profile.
    pub fn open(url: &Url, s3: &S3) -> Result<Self, StoreError> {
        let config = StoreConfig { s3: s3.clone(), ..StoreConfig::at(url.clone()) };
        if let Ok(root) = url.to_file_path() {
            std::fs::create_dir_all(&root).map_err(|source| StoreError::Io { path: root.clone(), source })?;
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        Ok(Self::only(Bucket::open(&config, &jiff::tz::TimeZone::UTC, &clock)?))
    }

    /// The same, with names that tell nothing.
    pub fn open_opaque(config: &StoreConfig, names: Names) -> Result<Self, StoreError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let bucket = Bucket::open(config, &jiff::tz::TimeZone::UTC, &clock)?;
        Ok(Self::only(bucket.with_names(Some(names))))
    }

    /// Any other object store: wrapped for tests. Its uploads cannot be resumed.
    pub fn over(objects: Arc<dyn ObjectStore>) -> Self {
        Self::only(Bucket::over(objects, None))
    }

    /// Any other object store whose uploads can be resumed.
    pub fn over_parts<S: ObjectStore + MultipartStore>(objects: Arc<S>) -> Self {
        Self::only(Bucket::over(objects.clone(), Some(objects)))
    }

    /// The same with what else a configuration says of it.
    pub fn over_config<S: ObjectStore + MultipartStore>(
        objects: Arc<S>,
        config: &StoreConfig,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let bucket = Bucket::over(objects.clone(), Some(objects));
        Self::only(bucket.configured(config, &jiff::tz::TimeZone::UTC, clock))
    }

    /// The same for a local directory: whole packs are renamed into it.
    pub fn over_folder(objects: Arc<dyn ObjectStore>, root: PathBuf) -> Self {
        Self::only(Bucket::over(objects, None).in_folder(root))
    }

    fn only(bucket: Bucket) -> Self {
        let (cameras, tenants) = (HashMap::new(), HashMap::new());
        Self(Arc::new(Router { buckets: vec![bucket], cameras, tenants, gone: Mutex::default() }))
    }

    /// From now on each store has to be the one that the index knows by its name, if it knows one; the key is that under
    /// which this gateway identifies fragments.
    pub fn expect(&self, known: &BTreeMap<String, StoreUid>, key: Option<Fingerprint>) {
        for bucket in &self.0.buckets {
            bucket.expect(known.get(bucket.name()).copied(), key);
        }
    }

    /// Packs of these cameras may lie in stores of these names too, which the configuration does not name.
    pub fn expect_elsewhere(&self, gone: HashMap<CameraKey, Vec<String>>) {
        *self.0.gone.lock() = gone;
    }

    /// Looks whether a store is the known one, and gives it a marker where it is used for the first time. The caller
    /// tells the index, and then [`Store::know`].
    pub async fn identify(&self, store: StoreId) -> Result<Identified, NotKnown> {
        self.0.buckets[store.0].identify().await
    }

    /// The index knows the store by this id now.
    pub fn know(&self, store: StoreId, uid: StoreUid) {
        self.0.buckets[store.0].know(uid);
    }

    /// What the last look found; see [`identity`].
    pub fn standing(&self, store: StoreId) -> Result<(), NotKnown> {
        self.0.buckets[store.0].standing()
    }

    /// Whether a store is the known one, by an answer that is at most half a minute old. What is destroyed, sent or
    /// called lost depends on it.
    pub async fn ensure_known(&self, store: StoreId) -> Result<(), NotKnown> {
        self.0.buckets[store.0].ensure_known_recently().await
    }

    /// An operator says that what lies there takes the place of the store that the index knows; see
    /// [`identity::NotKnown::Other`].
    pub async fn adopt(&self, store: StoreId, id: Option<StoreUid>) -> Result<Identified, NotKnown> {
        self.0.buckets[store.0].adopt(id).await
    }

    /// An operator gave up the gateway's former key: the store belongs to this one.
    pub async fn rekey(&self, store: StoreId, key: Fingerprint) -> Result<(), NotKnown> {
        self.0.buckets[store.0].rekey(key).await
    }

    /// What the stores that may have packs of this camera lack, or have with other bytes, is missing or damaged: concluded
    /// only where each is the known one, by an answer of this moment.
    pub(crate) async fn ensure_believed(&self, camera: &CameraKey) -> Result<(), NotKnown> {
        for bucket in self.buckets_of(camera) {
            bucket.ensure_known(identity::RECENT_LOCAL).await?;
        }
        self.ensure_configured(camera)
    }

    fn ensure_configured(&self, camera: &CameraKey) -> Result<(), NotKnown> {
        let gone = self.0.gone.lock();
        match gone.get(camera).and_then(|names| names.first()) {
            Some(store) => Err(NotKnown::NotConfigured { store: store.clone(), camera: camera.to_string() }),
            None => Ok(()),
        }
    }

    fn buckets_of(&self, camera: &CameraKey) -> Vec<&Bucket> {
        let all = &self.0.buckets;
        match self.0.cameras.get(camera) {
            Some(homes) => std::iter::once(&homes.now).chain(&homes.former).map(|at| &all[*at]).collect(),
            None => all.iter().collect(),
        }
    }

    /// Every store, the default first.
    pub fn ids(&self) -> impl Iterator<Item = StoreId> + use<> {
        (0..self.0.buckets.len()).map(StoreId)
    }

    /// The store that this camera's packs go to.
    pub fn home(&self, camera: &CameraKey) -> StoreId {
        StoreId(self.0.cameras.get(camera).map_or(0, |homes| homes.now))
    }

    /// Its name in the configuration.
    pub fn name(&self, store: StoreId) -> &str {
        self.0.buckets[store.0].name()
    }

    /// Takes over the timetables of the uplinks, by the names of their stores.
    pub fn set_caps(&self, configured: &[StoreConfig]) {
        for bucket in &self.0.buckets {
            if let Some(config) = configured.iter().find(|config| config.name == bucket.name()) {
                bucket.set_caps(config.caps.clone());
            }
        }
    }

    /// Which of the packs that wait for it goes first.
    pub fn order(&self, store: StoreId) -> SendOrder {
        self.0.buckets[store.0].order()
    }

    /// Whether it is a directory of this machine.
    pub fn is_local(&self, store: StoreId) -> bool {
        self.0.buckets[store.0].local_root().is_some()
    }

    /// Asks it for everything that Vigie needs of a store; see [`probe`].
    pub async fn probe(&self, store: StoreId, clock: &dyn Clock) -> probe::ProbeReport {
        probe::run(&self.0.buckets[store.0], clock).await
    }

    /// How the store of this camera's packs is shared with other gateways; `None`: it is not.
    pub fn shared(&self, camera: &CameraKey) -> Option<&SharedStore> {
        self.bucket(camera).shared()
    }

    /// Whether other gateways write into any of them.
    pub fn is_shared(&self) -> bool {
        self.0.buckets.iter().any(|bucket| bucket.shared().is_some())
    }

    /// Whether another gateway wrote this pack.
    pub fn is_foreign(&self, camera: &CameraKey, pack: PackId) -> bool {
        self.shared(camera).is_some_and(|shared| shared.rank != pack.writer())
    }

    /// The id of a pack that this gateway writes: in a shared store it says so.
    pub fn as_written_here(&self, camera: &CameraKey, id: PackId) -> PackId {
        self.shared(camera).map_or(id, |shared| id.written_by(shared.rank))
    }

    fn bucket(&self, camera: &CameraKey) -> &Bucket {
        &self.0.buckets[self.home(camera).0]
    }

    /// Where a pack may lie: its camera's home first, then where earlier ones may. A camera that is no longer configured
    /// may have been anywhere.
    fn places(&self, camera: &CameraKey, pack: PackId) -> Vec<(&Bucket, Path)> {
        let buckets = self.buckets_of(camera);
        let paths = |bucket: &'_ Bucket| bucket.object_paths(camera, pack).collect::<Vec<_>>();
        buckets.into_iter().flat_map(|bucket| paths(bucket).into_iter().map(move |path| (bucket, path))).collect()
    }

    /// Whether an object of this name is this pack, by where packs of its camera may lie.
    pub fn may_lie_at(&self, camera: &CameraKey, pack: PackId, location: &str) -> bool {
        self.places(camera, pack).iter().any(|(_, path)| path.as_ref() == location)
    }

    /// The folder of this camera's store, if that is a local directory.
    pub fn local_root(&self, camera: &CameraKey) -> Option<&FilePath> {
        self.bucket(camera).local_root()
    }

    /// Where a pack of this camera will lie: `tenant/camera/YYYY-MM-DD/id.mp4`, the day (UTC) being that of its id; in an
    /// encrypted store under a name that tells nothing.
    pub fn object_path(&self, camera: &CameraKey, pack: PackId) -> Path {
        let mut paths = self.bucket(camera).object_paths(camera, pack);
        paths.next().unwrap_or_default()
    }

    /// The file of a pack in a local store.
    pub fn local_file(&self, camera: &CameraKey, pack: PackId) -> Option<PathBuf> {
        let places = self.places(camera, pack);
        let mut files = places.iter().filter_map(|(bucket, path)| bucket.local_file(path));
        let first = files.next()?;
        if first.exists() {
            return Some(first);
        }
        Some(files.find(|file| file.exists()).unwrap_or(first))
    }

    /// Hands over a whole pack that lies, flushed, at `file`. Into a local store on the same file system by renaming it
    /// (no second write); otherwise its bytes are sent, and the end that the store then hands back is compared.
    pub async fn put_pack(&self, camera: &CameraKey, pack: PackId, file: &FilePath) -> Result<Kept, StoreError> {
        let way = SendOptions { lane: Lane::Backlog, given_up: &CancellationToken::new() };
        self.put_pack_in(&way, camera, pack, file).await
    }

    /// As [`Store::put_pack`], on this way.
    pub async fn put_pack_in(
        &self,
        way: &SendOptions<'_>,
        camera: &CameraKey,
        pack: PackId,
        file: &FilePath,
    ) -> Result<Kept, StoreError> {
        let bucket = self.bucket(camera);
        bucket.ensure_known_recently().await?;
        let object = self.object_path(camera, pack);
        if let Some(target) = bucket.local_file(&object) {
            let from = file.to_owned();
            let (root, folders) = (bucket.local_root().unwrap_or(file).to_owned(), bucket.folders());
            let moved = platform::spawn_blocking(move || move_durably(&from, &target, &root, &folders))
                .await
                .map_err(|e| StoreError::Io { path: file.to_owned(), source: std::io::Error::other(e) })??;
            if moved {
                return Ok(Kept::Moved);
            }
        }
        bucket.send(&object, file, way).await?;
        Ok(Kept::Cached)
    }

    /// Gives up the upload that a note in the spool tells of, and removes the note.
    pub async fn abort_upload(&self, note: &FilePath) -> Result<(), StoreError> {
        for bucket in &self.0.buckets {
            if bucket.abort_upload(note).await? {
                break;
            }
        }
        Ok(())
    }

    /// Size of a pack's object; `None` when there is none.
    pub async fn pack_bytes(&self, camera: &CameraKey, pack: PackId) -> Result<Option<u64>, ObjectError> {
        for (bucket, path) in self.places(camera, pack) {
            if let Some(bytes) = bucket.object_bytes(&path).await? {
                return Ok(Some(bytes));
            }
        }
        self.ensure_believed(camera).await?;
        Ok(None)
    }

    /// Some of a pack's bytes, as they come.
    pub async fn get_stream(
        &self,
        camera: &CameraKey,
        pack: PackId,
        range: std::ops::Range<u64>,
    ) -> Result<BoxStream<'static, Result<bytes::Bytes, ObjectError>>, ObjectError> {
        Ok(self.get_stream_sized(camera, pack, range).await?.1)
    }

    /// The same, with the size of the whole object that they are of.
    pub async fn get_stream_sized(
        &self,
        camera: &CameraKey,
        pack: PackId,
        range: std::ops::Range<u64>,
    ) -> Result<(u64, BoxStream<'static, Result<bytes::Bytes, ObjectError>>), ObjectError> {
        let mut missing = None;
        for (bucket, path) in self.places(camera, pack) {
            match bucket.get_stream(&path, range.clone()).await {
                Err(e @ ObjectError::NotFound { .. }) => missing = missing.or(Some(e)),
                other => return other,
            }
        }
        self.ensure_believed(camera).await?;
        Err(missing.unwrap_or(ObjectError::NotImplemented { operation: "get".into(), implementer: "no store".into() }))
    }

    /// Some of a pack's bytes, whole.
    pub async fn get_range(
        &self,
        camera: &CameraKey,
        pack: PackId,
        range: std::ops::Range<u64>,
    ) -> Result<bytes::Bytes, ObjectError> {
        let mut stream = self.get_stream(camera, pack, range).await?;
        let mut bytes = bytes::BytesMut::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes.freeze())
    }

    /// Deletes a pack's object for good, wherever it may lie; an absent one counts as deleted.
    pub async fn delete(&self, camera: &CameraKey, pack: PackId) -> Result<(), ObjectError> {
        for bucket in self.buckets_of(camera) {
            match bucket.ensure_known_recently().await {
                // Its names are the same under every key.
                Err(NotKnown::OtherKey { .. }) if !bucket.is_opaque() => {}
                known => known?,
            }
        }
        self.ensure_configured(camera)?;
        for (bucket, path) in self.places(camera, pack) {
            bucket.delete(&path).await?;
            if let Some(file) = bucket.local_file(&path) {
                // The file system may still bring back a name that was removed: nobody would look for it then.
                let synced = platform::spawn_blocking(move || platform::sync_absence(&file)).await;
                let synced = synced.unwrap_or_else(|e| Err(std::io::Error::other(e)));
                synced.map_err(|e| ObjectError::Generic { store: "local folder", source: e.into() })?;
            }
        }
        Ok(())
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
    match platform::rename(from, to) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::CrossesDevices => return Ok(false),
        Err(e) => return Err(at(from)(e)),
    }
    platform::sync_folder(folder).map_err(at(folder))?;
    if let Some(left) = from.parent() {
        platform::sync_folder(left).map_err(at(left))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use footage::units::WallTime;
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
