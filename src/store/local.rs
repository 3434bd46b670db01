//! A store that is a local directory, opened when it is first needed and again whenever its path leads elsewhere.
//!
//! Invariant: a directory that is missing is not created here: an unmounted disk stays an error.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// The directory.
pub(super) struct LocalFolder {
    root: PathBuf,
    /// Where the path led when it was opened last.
    opened: Mutex<Option<(PathBuf, Arc<LocalFileSystem>)>>,
}

impl LocalFolder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, opened: Mutex::default() }
    }

    fn inner(&self) -> Result<Arc<LocalFileSystem>> {
        let now = std::fs::canonicalize(&self.root).map_err(|e| missing(&self.root, e))?;
        let mut opened = self.opened.lock();
        if let Some((at, store)) = opened.as_ref()
            && *at == now
        {
            return Ok(store.clone());
        }
        let store = LocalFileSystem::new_with_prefix(&now)?.with_fsync(true).with_automatic_cleanup(true);
        let store = Arc::new(store);
        *opened = Some((now, store.clone()));
        Ok(store)
    }
}

fn missing(root: &FilePath, e: std::io::Error) -> Error {
    let source = format!("folder {}: {e}", root.display()).into();
    Error::NotFound { path: root.display().to_string(), source }
}

impl fmt::Debug for LocalFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalFolder({})", self.root.display())
    }
}

impl fmt::Display for LocalFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for LocalFolder {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner()?.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner()?.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner()?.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.inner() {
            Ok(inner) => inner.delete_stream(locations),
            Err(e) => failed(e),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.inner() {
            Ok(inner) => inner.list(prefix),
            Err(e) => failed(e),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.inner() {
            Ok(inner) => inner.list_with_offset(prefix, offset),
            Err(e) => failed(e),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner()?.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner()?.copy_opts(from, to, options).await
    }
}

fn failed<T: Send + 'static>(e: Error) -> BoxStream<'static, Result<T>> {
    stream::once(async move { Err(e) }.boxed()).into_stream().boxed()
}
