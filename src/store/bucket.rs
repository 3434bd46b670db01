//! One store: a local directory, a bucket, or memory.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use jiff::tz::TimeZone;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};

use super::identity::{Identity, MARKER};
use super::local::LocalFolder;
use super::shelf::is_of_journal;
use super::uplink::{SendOptions, Uplink};
use super::upload::{self, Upload, read_range};
use super::{Listed, PART_BYTES, PARTS_IN_FLIGHT, StoreError, s3};
use crate::config::{Cap, DEFAULT_STORE, SendOrder, SharedStore, StoreConfig, Verify};
use footage::clock::{Clock, SystemClock};
use footage::keys::names::Names;
use footage::platform::Folders;
use footage::units::{CameraId, CameraKey, Fingerprint, PackId, StoreUid, TenantId, WallTime};

/// Read back of each pack: its fragment table is there, and most often nothing else.
const END_BYTES: u64 = 64 * 1024;

pub(super) struct Bucket {
    name: String,
    objects: Arc<dyn ObjectStore>,
    /// The same, where uploads can be resumed.
    parts: Option<Arc<dyn MultipartStore>>,
    prefix: Path,
    /// Whether the names of new packs reveal nothing.
    opaque: bool,
    /// For such names. Where a gateway has no keys of encrypted packs there are none.
    names: Option<Names>,
    /// Root folder of a store that is a local directory.
    local_root: Option<PathBuf>,
    /// Those of a local directory.
    folders: Arc<Folders>,
    uplink: Uplink,
    order: SendOrder,
    verify: Verify,
    shared: Option<SharedStore>,
    identity: Identity,
    /// Whether what is in it outlives the process.
    is_kept: bool,
}

/// The client's own `Debug` shows its access key.
impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Bucket {
    pub(super) fn open(config: &StoreConfig, zone: &TimeZone, clock: &Arc<dyn Clock>) -> Result<Self, StoreError> {
        let url = &config.url;
        let unusable = |what: String| StoreError::Unusable { url: url.to_string(), what };
        let bucket = match url.scheme() {
            "file" => {
                let root = url.to_file_path().map_err(|()| unusable("write file:///absolute/folder".into()))?;
                Self::over(Arc::new(LocalFolder::new(root.clone())), None).in_folder(root)
            }
            "s3" => {
                let name = url.host_str().ok_or_else(|| unusable("write s3://bucket/prefix".into()))?;
                let objects = Arc::new(s3::client(name, &config.s3)?);
                let mut bucket = Self::over(objects.clone(), Some(objects));
                bucket.prefix = Path::from_url_path(url.path()).map_err(|e| unusable(e.to_string()))?;
                bucket
            }
            "memory" => {
                let objects = Arc::new(InMemory::new());
                Self { is_kept: false, ..Self::over(objects.clone(), Some(objects)) }
            }
            other => {
                return Err(unusable(format!("{other}: is not a store; write file:///folder or s3://bucket/prefix")));
            }
        };
        Ok(bucket.configured(config, zone, clock))
    }

    pub(super) fn configured(mut self, config: &StoreConfig, zone: &TimeZone, clock: &Arc<dyn Clock>) -> Self {
        self.name.clone_from(&config.name);
        self.uplink = Uplink::new(config.caps.clone(), zone.clone(), clock.clone());
        (self.order, self.verify, self.opaque) = (config.order, config.verify, config.encrypt);
        self.shared = config.shared;
        self
    }

    /// Another timetable of the uplink.
    pub(super) fn set_caps(&self, caps: Vec<Cap>) {
        self.uplink.set_caps(caps);
    }

    pub(super) fn with_names(mut self, names: Option<Names>) -> Self {
        self.names = names;
        self
    }

    pub(super) fn over(objects: Arc<dyn ObjectStore>, parts: Option<Arc<dyn MultipartStore>>) -> Self {
        Self {
            name: DEFAULT_STORE.to_owned(),
            objects,
            parts,
            prefix: Path::default(),
            opaque: false,
            names: None,
            local_root: None,
            folders: Arc::default(),
            uplink: Uplink::new(Vec::new(), TimeZone::UTC, Arc::new(SystemClock::default())),
            order: SendOrder::default(),
            verify: Verify::default(),
            shared: None,
            identity: Identity::default(),
            is_kept: true,
        }
    }

    pub(super) fn in_folder(mut self, root: PathBuf) -> Self {
        self.local_root = Some(root);
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn uplink(&self) -> &Uplink {
        &self.uplink
    }

    pub(super) fn order(&self) -> SendOrder {
        self.order
    }

    pub(super) fn shared(&self) -> Option<&SharedStore> {
        self.shared.as_ref()
    }

    pub(super) fn objects(&self) -> &dyn ObjectStore {
        &*self.objects
    }

    pub(super) fn parts(&self) -> Option<&dyn MultipartStore> {
        self.parts.as_deref()
    }

    pub(super) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// From now on it has to be this store. One in memory is another with each start.
    pub(super) fn expect(&self, want: Option<StoreUid>, key: Option<Fingerprint>) {
        self.identity.expect(want.filter(|_| self.is_kept), key);
    }

    pub(super) fn is_opaque(&self) -> bool {
        self.opaque
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn folders(&self) -> Arc<Folders> {
        self.folders.clone()
    }

    pub(super) fn local_root(&self) -> Option<&FilePath> {
        self.local_root.as_deref()
    }

    /// Where a new pack goes, and where one may lie from before the store was encrypted, or was no longer.
    pub(super) fn object_paths(&self, camera: &CameraKey, pack: PackId) -> impl Iterator<Item = Path> + use<> {
        let plain = self.plain_path(camera, pack);
        let named =
            |names: &Names| self.prefix.clone().join(names.folder(&camera.tenant)).join(names.file(camera, pack));
        let (now, before) = match (self.names.as_ref().map(named), self.opaque) {
            (None, _) => (plain, None),
            (Some(opaque), true) => (opaque, Some(plain)),
            (Some(opaque), false) => (plain, Some(opaque)),
        };
        std::iter::once(now).chain(before)
    }

    fn plain_path(&self, camera: &CameraKey, pack: PackId) -> Path {
        let day = pack.created().to_timestamp().strftime("%Y-%m-%d").to_string();
        self.folder_of(camera).join(day).join(format!("{pack}.mp4"))
    }

    fn folder_of(&self, camera: &CameraKey) -> Path {
        self.prefix.clone().join(camera.tenant.as_str()).join(camera.camera.as_str())
    }

    /// The camera's packs whose ids are `after` this one and of the same day (UTC), in order. One request, or one for
    /// each thousand of them.
    pub(super) async fn list_day(&self, camera: &CameraKey, after: PackId) -> Result<Vec<Listed>, Error> {
        let offset = self.plain_path(camera, after);
        let mut day = offset.clone();
        day = day.parts().take(day.parts().count().saturating_sub(1)).collect();
        let listed = self.objects.list_with_offset(Some(&day), &offset).map(|item| listed(&self.prefix, None, item));
        let mut packs: Vec<Listed> = listed.try_collect().await?;
        packs.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(packs)
    }

    /// The days (UTC) of which the camera has packs, as the least id of each, in order.
    pub(super) async fn days(&self, camera: &CameraKey) -> Result<Vec<PackId>, Error> {
        let folder = self.folder_of(camera);
        let found = self.objects.list_with_delimiter(Some(&folder)).await.map_err(s3::without_secrets)?;
        let day = |path: Path| {
            let day: jiff::civil::Date = path.filename()?.parse().ok()?;
            let midnight = jiff::tz::Offset::UTC.to_timestamp(day.into()).ok()?;
            Some(PackId::least_at(WallTime::from_timestamp(midnight)))
        };
        let mut days: Vec<PackId> = found.common_prefixes.into_iter().filter_map(day).collect();
        days.sort();
        Ok(days)
    }

    /// An object's file in a local directory.
    pub(super) fn local_file(&self, object: &Path) -> Option<PathBuf> {
        Some(self.local_root.as_ref()?.join(object.as_ref()))
    }

    /// Sends a file, whole, and looks at what the store makes of it.
    pub(super) async fn send(&self, object: &Path, file: &FilePath, way: &SendOptions<'_>) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { path: file.to_owned(), source };
        let bytes = std::fs::metadata(file).map_err(io)?.len();
        self.send_bytes(object, file, way, bytes).await.map_err(|e| match e {
            StoreError::Request(e) => StoreError::Request(s3::without_secrets(e)),
            other => other,
        })?;
        self.compare(object, file, bytes).await
    }

    async fn send_bytes(
        &self,
        object: &Path,
        file: &FilePath,
        way: &SendOptions<'_>,
        bytes: u64,
    ) -> Result<(), StoreError> {
        if bytes <= PART_BYTES as u64 {
            self.uplink.pay_on(bytes, way).await?;
            let all = read_range(file.to_owned(), 0, bytes).await?;
            self.objects.put(object, PutPayload::from(all)).await?;
            return Ok(());
        }
        let Some(parts) = &self.parts else {
            return self.send_at_once(object, file, way, bytes).await;
        };
        let (store, parts, uplink) = (self.name.as_str(), &**parts, &self.uplink);
        Upload { store, parts, uplink, way, object, file, bytes }.run().await
    }

    /// Where uploads cannot be resumed: what fails is given up, and sent again from its beginning.
    async fn send_at_once(
        &self,
        object: &Path,
        file: &FilePath,
        way: &SendOptions<'_>,
        bytes: u64,
    ) -> Result<(), StoreError> {
        let mut parts = WriteMultipart::new_with_chunk_size(self.objects.put_multipart(object).await?, PART_BYTES);
        for start in (0..bytes).step_by(PART_BYTES) {
            let part = (bytes - start).min(PART_BYTES as u64);
            let ready = match self.uplink.pay_on(part, way).await {
                Ok(()) => parts.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(StoreError::Request),
                Err(e) => Err(e),
            };
            let read = match ready {
                Ok(()) => read_range(file.to_owned(), start, part).await,
                Err(e) => Err(e),
            };
            match read {
                Ok(read) => parts.put(read),
                Err(e) => {
                    // The parts already there would be billed for ever: drop them, then say what failed.
                    parts.abort().await?;
                    return Err(e);
                }
            }
        }
        parts.finish().await?;
        Ok(())
    }

    /// What the store hands back against what was sent: the size, and the end or the whole.
    async fn compare(&self, object: &Path, file: &FilePath, bytes: u64) -> Result<(), StoreError> {
        let from = match self.verify {
            Verify::End => bytes.saturating_sub(END_BYTES),
            Verify::Whole => 0,
        };
        let options = GetOptions { range: Some((from..bytes).into()), ..Default::default() };
        let got = self.objects.get_opts(object, options).await.map_err(s3::without_secrets)?;
        if got.meta.size != bytes {
            return Err(StoreError::SizeDiffers { object: object.to_string(), want: bytes, got: got.meta.size });
        }
        let mut pieces = got.into_stream();
        let mut at = from;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(s3::without_secrets)?;
            let until = at + piece.len() as u64;
            let same = until <= bytes && read_range(file.to_owned(), at, piece.len() as u64).await? == piece;
            if !same {
                return Err(StoreError::BytesDiffer { object: object.to_string(), from: at, until });
            }
            at = until;
        }
        if at < bytes {
            return Err(StoreError::BytesDiffer { object: object.to_string(), from: at, until: bytes });
        }
        Ok(())
    }

    /// True when the note was of this store's, or of nobody's.
    pub(super) async fn abort_upload(&self, note: &FilePath) -> Result<bool, StoreError> {
        match self.parts() {
            Some(parts) => upload::abort(parts, note, &self.name).await,
            None => Ok(false),
        }
    }

    pub(super) async fn object_bytes(&self, object: &Path) -> Result<Option<u64>, Error> {
        match self.objects.head(object).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(s3::without_secrets(e)),
        }
    }

    pub(super) async fn get_stream(
        &self,
        object: &Path,
        range: std::ops::Range<u64>,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, Error>>), Error> {
        let options = GetOptions { range: Some(range.into()), ..Default::default() };
        let got = self.objects.get_opts(object, options).await.map_err(s3::without_secrets)?;
        Ok((got.meta.size, got.into_stream()))
    }

    pub(super) async fn delete(&self, object: &Path) -> Result<(), Error> {
        match self.objects.delete(object).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(s3::without_secrets(e)),
        }
    }

    /// Every object that is, or may be, a pack of this camera: those in its folder, and those of names that only a key reads.
    pub(super) fn list_of(&self, camera: &CameraKey) -> BoxStream<'static, Result<Listed, Error>> {
        let opaque = self.names.as_ref().map(|names| self.prefix.clone().join(names.folder(&camera.tenant)));
        let folders = std::iter::once((self.folder_of(camera), true)).chain(opaque.map(|folder| (folder, false)));
        let listings = folders.map(|(folder, is_own)| {
            let (under, names, camera) = (self.prefix.clone(), self.names.clone(), camera.clone());
            let objects = self.objects.list(Some(&folder)).map(move |item| listed(&under, names.as_ref(), item));
            objects.try_filter(move |object| {
                let of_camera = object.pack.as_ref().is_some_and(|(of, _)| *of == camera);
                std::future::ready(of_camera || (is_own && object.pack.is_none()))
            })
        });
        futures::stream::iter(listings.collect::<Vec<_>>()).flatten().boxed()
    }

    /// Every object but the marker and those of journals.
    pub(super) fn list(&self) -> BoxStream<'static, Result<Listed, Error>> {
        let prefix = (!self.prefix.as_ref().is_empty()).then(|| self.prefix.clone());
        let (under, names) = (self.prefix.clone(), self.names.clone());
        let root = under.clone();
        let is_other = move |item: &Result<ObjectMeta, Error>| {
            let location = item.as_ref().ok().map(|meta| &meta.location);
            let is_marker = |location: &Path| location.filename() == Some(MARKER);
            std::future::ready(location.is_none_or(|at| !is_marker(at) && !is_of_journal(&root, at)))
        };
        let objects = self.objects.list(prefix.as_ref()).filter(is_other);
        objects.map(move |item| listed(&under, names.as_ref(), item)).boxed()
    }
}

fn listed(prefix: &Path, names: Option<&Names>, item: Result<ObjectMeta, Error>) -> Result<Listed, Error> {
    let meta = item.map_err(s3::without_secrets)?;
    Ok(Listed {
        pack: pack_named(prefix, names, &meta.location),
        location: meta.location.to_string(),
        bytes: meta.size,
        modified: WallTime(meta.last_modified.timestamp() * footage::units::TICKS_PER_SECOND),
    })
}

/// Which pack an object is, if its name is a pack's.
fn pack_named(prefix: &Path, names: Option<&Names>, location: &Path) -> Option<(CameraKey, PackId)> {
    let mut parts = location.prefix_match(prefix)?;
    let all: Vec<_> = location.prefix_match(prefix)?.collect();
    if let ([folder, file], Some(names)) = (&all[..], names) {
        return names.read(folder.as_ref(), file.as_ref());
    }
    let tenant: TenantId = parts.next()?.as_ref().parse().ok()?;
    let camera: CameraId = parts.next()?.as_ref().parse().ok()?;
    let _day = parts.next()?;
    let pack = parts.next()?.as_ref().strip_suffix(".mp4")?.parse().ok()?;
    parts.next().is_none().then_some((CameraKey { tenant, camera }, pack))
}
