//! The object store of a simulation: slow, away, cut off, or done without an answer, as the plan says. Its objects outlive
//! each crash of the gateway. As a local folder it lies on the simulated disk, and loses what that loses.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use footage::platform;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::time::{Duration, sleep};

use crate::platform::SimPlatform;

/// A slow store answers within this time.
const SLOW: Duration = Duration::from_secs(4);

/// Where the bytes are.
#[derive(Debug)]
enum Bodies {
    Remote(Mutex<BTreeMap<Path, Bytes>>),
    Folder(PathBuf),
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SimObjects {
    platform: SimPlatform,
    bodies: Arc<Bodies>,
}

impl fmt::Display for SimObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated store")
    }
}

fn failed(what: &str) -> Error {
    Error::Generic { store: "simulated", source: format!("the store {what}, as the plan says").into() }
}

fn failed_file(source: io::Error) -> Error {
    Error::Generic { store: "simulated", source: source.into() }
}

fn absent(location: &Path) -> Error {
    Error::NotFound { path: location.to_string(), source: "no such object".into() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bodies {
    fn get(&self, location: &Path) -> Result<Option<Bytes>> {
        match self {
            Self::Remote(objects) => Ok(lock(objects).get(location).cloned()),
            Self::Folder(root) => match std::fs::read(root.join(location.as_ref())) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(failed_file(e)),
            },
        }
    }

    fn put(&self, location: &Path, body: Bytes) -> Result<()> {
        match self {
            Self::Remote(objects) => drop(lock(objects).insert(location.clone(), body)),
            Self::Folder(root) => put_file(&root.join(location.as_ref()), &body).map_err(failed_file)?,
        }
        Ok(())
    }

    /// Without a flush of the folder, as `LocalFileSystem` does it.
    fn remove(&self, location: &Path) -> Result<()> {
        match self {
            Self::Remote(objects) => lock(objects).remove(location).map(drop).ok_or_else(|| absent(location)),
            Self::Folder(root) => match platform::remove_file(&root.join(location.as_ref())) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(absent(location)),
                removed => removed.map_err(failed_file),
            },
        }
    }

    fn list(&self) -> Vec<(Path, u64)> {
        match self {
            Self::Remote(objects) => {
                lock(objects).iter().map(|(path, body)| (path.clone(), body.len() as u64)).collect()
            }
            Self::Folder(root) => {
                let mut found = Vec::new();
                crate::files(root, &mut found);
                let shown = |path: PathBuf| {
                    let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
                    let location =
                        path.strip_prefix(root).expect("it was found there").to_str().expect("a name of ours");
                    (Path::from(location), bytes)
                };
                found.into_iter().map(shown).collect()
            }
        }
    }
}

/// As `LocalFileSystem` with its flushes: under another name first.
fn put_file(path: &std::path::Path, body: &[u8]) -> io::Result<()> {
    platform::create_folders(path.parent().expect("an object lies in a folder"))?;
    let draft = path.with_extension("mp4#1");
    if draft.exists() {
        platform::remove_file(&draft)?;
    }
    let file: File = platform::create_new(&draft)?;
    platform::write_all(&file, body)?;
    platform::sync_data(&file)?;
    platform::rename(&draft, path)?;
    platform::sync_name(path)
}

impl SimObjects {
    pub(crate) fn remote(platform: SimPlatform) -> Self {
        Self { platform, bodies: Arc::new(Bodies::Remote(Mutex::default())) }
    }

    pub(crate) fn folder(platform: SimPlatform, root: PathBuf) -> Self {
        Self { platform, bodies: Arc::new(Bodies::Folder(root)) }
    }

    /// What is in it, whatever it would say.
    pub(crate) fn contents(&self) -> Vec<(Path, u64)> {
        self.bodies.list()
    }

    /// The same, with the bytes.
    pub(crate) fn bodies(&self) -> Vec<(Path, Bytes)> {
        let body = |(path, _): (Path, u64)| Some((path.clone(), self.bodies.get(&path).ok()??));
        self.bodies.list().into_iter().filter_map(body).collect()
    }

    /// A request on its way to the store, which may not get there.
    async fn reaches(&self, what: &'static str, location: &Path) -> Result<()> {
        self.platform.on_the_way().await;
        if self.platform.draw_fault(|f| f.store_slow) {
            sleep(self.platform.draw_store_delay(SLOW)).await;
        }
        if !self.platform.call(what, name(location), 0) {
            pending::<()>().await;
        }
        if self.platform.draw_fault(|f| f.store_error) {
            self.platform.call("store fails", b"", 0);
            return Err(failed("failed"));
        }
        Ok(())
    }

    /// The answer on its way back, which may be lost.
    async fn answers(&self) -> Result<()> {
        self.platform.on_the_way().await;
        if !self.platform.call("store answers", b"", 0) {
            pending::<()>().await;
        }
        if self.platform.draw_fault(|f| f.store_error_after) {
            self.platform.call("answer lost", b"", 0);
            return Err(failed("failed after it had done so"));
        }
        Ok(())
    }

    async fn store(&self, location: &Path, mut body: Bytes, mode: &PutMode) -> Result<PutResult> {
        self.reaches("put", location).await?;
        if matches!(mode, PutMode::Create) && self.bodies.get(location)?.is_some() {
            return Err(Error::AlreadyExists { path: location.to_string(), source: "it exists".into() });
        }
        if self.platform.draw_fault(|f| f.store_cut) {
            body.truncate(body.len() / 2);
        }
        self.bodies.put(location, body)?;
        self.answers().await?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn remove(&self, location: Path) -> Result<Path> {
        self.reaches("delete", &location).await?;
        let removed = self.bodies.remove(&location);
        self.answers().await?;
        removed.map(|()| location)
    }

    fn meta(&self, location: Path, size: u64) -> ObjectMeta {
        let last_modified = std::time::UNIX_EPOCH.into();
        ObjectMeta { location, last_modified, size, e_tag: None, version: None }
    }
}

fn name(location: &Path) -> &[u8] {
    location.filename().unwrap_or_default().as_bytes()
}

#[async_trait]
impl ObjectStore for SimObjects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.store(location, payload.into(), &options.mode).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.reaches("begin parts", location).await?;
        Ok(Box::new(Parts { objects: self.clone(), location: location.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reaches(if options.head { "head" } else { "get" }, location).await?;
        let body = self.bodies.get(location)?.ok_or_else(|| absent(location))?;
        self.answers().await?;
        let meta = self.meta(location.clone(), body.len() as u64);
        let size = body.len() as u64;
        let range = match options.range {
            None => 0..size,
            Some(GetRange::Bounded(range)) if range.start < size && range.start < range.end => {
                range.start..range.end.min(size)
            }
            Some(GetRange::Offset(from)) if from < size => from..size,
            Some(GetRange::Suffix(last)) => size.saturating_sub(last)..size,
            Some(range) => return Err(failed(&format!("has no such range: {range}"))),
        };
        let mut parts = vec![Ok(body.slice(range.start as usize..range.end as usize))];
        if !options.head && self.platform.draw_fault(|f| f.store_cut) {
            let part = body.slice(range.start as usize..(range.start + range.end) as usize / 2);
            parts = vec![Ok(part), Err(failed("closed the connection"))];
        }
        let payload = GetResultPayload::Stream(stream::iter(parts).boxed());
        Ok(GetResult { payload, meta, range, attributes: Default::default(), extensions: Default::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let remove = move |location: Result<Path>| {
            let this = this.clone();
            async move { this.remove(location?).await }
        };
        locations.then(remove).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let listing = async move {
            if let Err(e) = this.reaches("list", &prefix).await {
                return stream::iter(vec![Err(e)]);
            }
            let mut found = this.bodies.list();
            found.retain(|(location, _)| location.prefix_matches(&prefix));
            if !found.is_empty() && this.platform.draw_fault(|f| f.store_lags) {
                // The newest is not listed yet.
                found.pop();
            }
            stream::iter(found.into_iter().map(|(location, size)| Ok(this.meta(location, size))).collect::<Vec<_>>())
        };
        listing.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        self.reaches("list", &prefix).await?;
        let (mut objects, mut common_prefixes) = (Vec::new(), std::collections::BTreeSet::new());
        for (location, size) in self.bodies.list() {
            let Some(mut below) = location.prefix_match(&prefix) else { continue };
            let Some(first) = below.next() else { continue };
            if below.next().is_some() {
                common_prefixes.insert(prefix.clone().join(first));
            } else {
                objects.push(self.meta(location.clone(), size));
            }
        }
        let common_prefixes = common_prefixes.into_iter().collect();
        Ok(ListResult { objects, common_prefixes, extensions: Default::default() })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _options: CopyOptions) -> Result<()> {
        self.reaches("copy", from).await?;
        let body = self.bodies.get(from)?.ok_or_else(|| absent(from))?;
        self.bodies.put(to, body)?;
        self.answers().await
    }
}

/// A multipart upload: nothing is there before it is complete.
#[derive(Debug)]
struct Parts {
    objects: SimObjects,
    location: Path,
    parts: Vec<Arc<Mutex<Option<Bytes>>>>,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let slot = Arc::new(Mutex::new(None));
        self.parts.push(slot.clone());
        let (objects, location) = (self.objects.clone(), self.location.clone());
        let send = async move {
            objects.reaches("put part", &location).await?;
            *lock(&slot) = Some(data.into());
            objects.answers().await
        };
        send.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let parts: Option<Vec<Bytes>> = self.parts.iter().map(|part| lock(part).clone()).collect();
        let parts = parts.ok_or_else(|| failed("misses a part"))?;
        self.objects.store(&self.location, parts.concat().into(), &PutMode::Overwrite).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.objects.reaches("abort parts", &self.location).await
    }
}
