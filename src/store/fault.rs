//! An object store with an observer between: it sees every call, may delay it, refuse it, or change what comes of it.
//!
//! ```text
//! let store = Between::new(InMemory::new(), |call: &Call<'_>| match call.op {
//!     Op::Put => Fault::refused(),                                  // the store answers 503, nothing is stored
//!     Op::Get => Fault { cut_body: Some(1_000), ..Fault::NONE },    // the body breaks off
//!     _ => Fault::delayed(Duration::from_secs(2)),
//! });
//! ```
//!
//! Invariant: without a fault a call is the inner store's and nothing else. Absent on purpose: chance. The observer that decides
//! draws its own lots, so that a seed can be printed.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// What is asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// An object with one request.
    Put,
    /// A multipart upload is begun.
    Create,
    /// A part of one.
    Part,
    /// It is ended, and becomes an object.
    Complete,
    /// It is given up.
    Abort,
    /// Bytes of an object.
    Get,
    /// Its size alone.
    Head,
    /// One object is deleted.
    Delete,
    /// Names under a prefix.
    List,
    /// An object is copied inside the store.
    Copy,
}

impl Op {
    /// Each of them.
    pub const ALL: [Op; 10] =
        [Op::Put, Op::Create, Op::Part, Op::Complete, Op::Abort, Op::Get, Op::Head, Op::Delete, Op::List, Op::Copy];
}

/// A call about to be made.
#[derive(Clone, Copy, Debug)]
pub struct StoreCall<'a> {
    /// What is asked.
    pub op: Op,
    /// Of which object, or under which prefix.
    pub location: &'a Path,
    /// Bytes on the way to the store.
    pub bytes: u64,
    /// Which part of a multipart upload, from 0.
    pub part: Option<usize>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreFault {
    /// Waited before anything else.
    pub delay: Duration,
    /// The store refuses and does nothing.
    pub refuse: Option<Refusal>,
    /// The store does what it is asked; its answer is lost.
    pub lose_answer: bool,
    /// What the store sends breaks off, with an error, after so many bytes.
    pub cut_body: Option<u64>,
    /// This byte of what is sent, either way, arrives with its lowest bit flipped, and nobody says so.
    pub flip_at: Option<u64>,
}

/// How a store refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As with status 503, or without a connection.
    Unavailable,
    /// As with status 403: the credentials are wrong, or allow less.
    Forbidden,
}

impl StoreFault {
    /// Nothing happens to the call.
    pub const NONE: StoreFault =
        StoreFault { delay: Duration::ZERO, refuse: None, lose_answer: false, cut_body: None, flip_at: None };

    /// Refused, as by a store that is away.
    pub fn refused() -> Self {
        Self { refuse: Some(Refusal::Unavailable), ..Self::NONE }
    }

    /// Late.
    pub fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::NONE }
    }
}

/// Decides what becomes of each call.
pub trait Decide: Send + Sync + 'static {
    /// This call is about to be made.
    fn decide(&self, call: &StoreCall<'_>) -> StoreFault;
}

impl<F: Fn(&StoreCall<'_>) -> StoreFault + Send + Sync + 'static> Decide for F {
    fn decide(&self, call: &StoreCall<'_>) -> StoreFault {
        self(call)
    }
}

/// A store, and who is between.
pub struct FaultyStore<S> {
    inner: Arc<S>,
    decide: Arc<dyn Decide>,
}

impl<S> FaultyStore<S> {
    /// Puts somebody in front of a store.
    pub fn new(inner: S, decide: impl Decide) -> Self {
        Self { inner: Arc::new(inner), decide: Arc::new(decide) }
    }

    async fn through<T>(
        &self,
        call: StoreCall<'_>,
        answer: impl Future<Output = Result<T>>,
    ) -> Result<(T, StoreFault)> {
        let fault = enter(&*self.decide, &call).await?;
        let answer = answer.await?;
        if fault.lose_answer { Err(lost(call.location)) } else { Ok((answer, fault)) }
    }

    /// What is sent, as it arrives.
    async fn sent(&self, call: StoreCall<'_>, payload: PutPayload) -> Result<(PutPayload, bool)> {
        let fault = enter(&*self.decide, &call).await?;
        Ok((altered(payload, &fault), fault.lose_answer))
    }
}

/// The delay, then the refusal.
async fn enter(decide: &dyn Decide, call: &StoreCall<'_>) -> Result<StoreFault> {
    let fault = decide.decide(call);
    if !fault.delay.is_zero() {
        tokio::time::sleep(fault.delay).await;
    }
    let path = call.location.to_string();
    match fault.refuse {
        None => Ok(fault),
        Some(Refusal::Unavailable) => Err(broken(format!("{:?} {path}: 503 service unavailable", call.op))),
        Some(Refusal::Forbidden) => Err(Error::PermissionDenied { path, source: "403 forbidden".into() }),
    }
}

fn broken(what: String) -> Error {
    Error::Generic { store: "between", source: what.into() }
}

fn lost(location: &Path) -> Error {
    broken(format!("{location}: the answer was lost"))
}

fn flipped(bytes: &Bytes, at: usize) -> Bytes {
    let mut changed = BytesMut::from(bytes.as_ref());
    if let Some(byte) = changed.get_mut(at) {
        *byte ^= 1;
    }
    changed.freeze()
}

fn altered(payload: PutPayload, fault: &StoreFault) -> PutPayload {
    match fault.flip_at {
        Some(at) => PutPayload::from(flipped(&Bytes::from(payload), usize::try_from(at).unwrap_or(usize::MAX))),
        None => payload,
    }
}

/// A body as the fault leaves it.
fn body(got: GetResult, fault: StoreFault) -> GetResult {
    if fault.cut_body.is_none() && fault.flip_at.is_none() {
        return got;
    }
    let GetResult { meta, range, attributes, extensions, .. } = &got;
    let (meta, range, attributes, extensions) = (meta.clone(), range.clone(), attributes.clone(), extensions.clone());
    let location = meta.location.clone();
    let pieces = got.into_stream().scan((0u64, false), move |(at, over), piece| {
        if *over {
            return futures::future::ready(None);
        }
        let Ok(mut bytes) = piece else { return futures::future::ready(Some(piece)) };
        let end = *at + bytes.len() as u64;
        if let Some(flip) = fault.flip_at.filter(|flip| (*at..end).contains(flip)) {
            bytes = flipped(&bytes, (flip - *at) as usize);
        }
        let piece = match fault.cut_body {
            Some(cut) if end > cut => {
                *over = true;
                // What was left of the piece goes with the connection.
                Err(broken(format!("{location}: the body broke off after {cut} bytes")))
            }
            _ => Ok(bytes),
        };
        *at = end;
        futures::future::ready(Some(piece))
    });
    GetResult { payload: GetResultPayload::Stream(pieces.boxed()), meta, range, attributes, extensions }
}

impl<S> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

impl<S: ObjectStore> fmt::Display for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

fn call(op: Op, location: &Path) -> StoreCall<'_> {
    StoreCall { op, location, bytes: 0, part: None }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for FaultyStore<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let asked = StoreCall { bytes: payload.content_length() as u64, ..call(Op::Put, location) };
        let (payload, lose) = self.sent(asked, payload).await?;
        let done = self.inner.put_opts(location, payload, opts).await?;
        if lose { Err(lost(location)) } else { Ok(done) }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let (inner, _) =
            self.through(call(Op::Create, location), self.inner.put_multipart_opts(location, opts)).await?;
        Ok(Box::new(Upload { inner, location: location.clone(), parts: 0, decide: self.decide.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let op = if options.head { Op::Head } else { Op::Get };
        let (got, fault) = self.through(call(op, location), self.inner.get_opts(location, options)).await?;
        Ok(body(got, fault))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (got, _) = self.through(call(Op::Get, location), self.inner.get_ranges(location, ranges)).await?;
        Ok(got)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, decide) = (self.inner.clone(), self.decide.clone());
        let one = move |location: Path| {
            let (inner, decide) = (inner.clone(), decide.clone());
            async move {
                let fault = enter(&*decide, &call(Op::Delete, &location)).await?;
                let only = stream::once(futures::future::ready(Ok(location.clone()))).boxed();
                inner.delete_stream(only).try_collect::<Vec<_>>().await?;
                if fault.lose_answer { Err(lost(&location)) } else { Ok(location) }
            }
        };
        locations.and_then(one).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, decide) = (self.inner.clone(), self.decide.clone());
        let prefix = prefix.cloned();
        let listed = async move {
            let fault = enter(&*decide, &call(Op::List, prefix.as_ref().unwrap_or(&Path::default()))).await;
            match fault {
                Ok(_) => inner.list(prefix.as_ref()),
                Err(e) => stream::once(futures::future::ready(Err(e))).boxed(),
            }
        };
        listed.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let root = Path::default();
        let asked = call(Op::List, prefix.unwrap_or(&root));
        Ok(self.through(asked, self.inner.list_with_delimiter(prefix)).await?.0)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.through(call(Op::Copy, from), self.inner.copy_opts(from, to, options)).await.map(|_| ())
    }
}

#[async_trait]
impl<S: MultipartStore> MultipartStore for FaultyStore<S> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        Ok(self.through(call(Op::Create, path), self.inner.create_multipart(path)).await?.0)
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, part_idx: usize, data: PutPayload) -> Result<PartId> {
        let asked =
            StoreCall { op: Op::Part, location: path, bytes: data.content_length() as u64, part: Some(part_idx) };
        let (data, lose) = self.sent(asked, data).await?;
        let part = self.inner.put_part(path, id, part_idx, data).await?;
        if lose { Err(lost(path)) } else { Ok(part) }
    }

    async fn complete_multipart(&self, path: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        Ok(self.through(call(Op::Complete, path), self.inner.complete_multipart(path, id, parts)).await?.0)
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.through(call(Op::Abort, path), self.inner.abort_multipart(path, id)).await.map(|_| ())
    }
}

/// A multipart upload that the store itself remembers.
struct Upload {
    inner: Box<dyn MultipartUpload>,
    location: Path,
    parts: usize,
    decide: Arc<dyn Decide>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("location", &self.location).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (decide, location, part) = (self.decide.clone(), self.location.clone(), self.parts);
        self.parts += 1;
        let asked =
            StoreCall { op: Op::Part, location: &location, bytes: data.content_length() as u64, part: Some(part) };
        // The inner store numbers its parts as they are handed over, so the decision comes first.
        let fault = decide.decide(&asked);
        let sent = self.inner.put_part(altered(data, &fault));
        async move {
            let asked = StoreCall { op: Op::Part, location: &location, bytes: 0, part: Some(part) };
            enter(&move |_: &StoreCall<'_>| fault, &asked).await?;
            sent.await?;
            if fault.lose_answer { Err(lost(&location)) } else { Ok(()) }
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let fault = enter(&*self.decide, &call(Op::Complete, &self.location)).await?;
        let done = self.inner.complete().await?;
        if fault.lose_answer { Err(lost(&self.location)) } else { Ok(done) }
    }

    async fn abort(&mut self) -> Result<()> {
        enter(&*self.decide, &call(Op::Abort, &self.location)).await?;
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    fn at() -> Path {
        Path::from("a/b")
    }

    #[tokio::test]
    async fn what_is_refused_is_not_done_and_what_lost_its_answer_is() {
        let refusing = FaultyStore::new(InMemory::new(), |call: &StoreCall<'_>| match call.op {
            Op::Put => StoreFault::refused(),
            _ => StoreFault::NONE,
        });
        refusing.put(&at(), "x".into()).await.expect_err("it is refused");
        assert!(matches!(refusing.head(&at()).await, Err(Error::NotFound { .. })));

        let forgetful = FaultyStore::new(InMemory::new(), |call: &StoreCall<'_>| StoreFault {
            lose_answer: call.op == Op::Put,
            ..StoreFault::NONE
        });
        forgetful.put(&at(), "x".into()).await.expect_err("the answer is lost");
        assert_eq!(forgetful.head(&at()).await.unwrap().size, 1);
    }

    #[tokio::test]
    async fn a_body_breaks_off_and_a_bit_flips_where_the_fault_says() {
        let store = FaultyStore::new(InMemory::new(), |call: &StoreCall<'_>| match call.op {
            Op::Put => StoreFault { flip_at: Some(1), ..StoreFault::NONE },
            _ => StoreFault { cut_body: Some(3), ..StoreFault::NONE },
        });
        store.put(&at(), "abc".into()).await.unwrap();
        assert_eq!(store.get(&at()).await.unwrap().bytes().await.unwrap(), "acc");
        store.put(&at(), "abcd".into()).await.unwrap();
        let error = store.get(&at()).await.unwrap().bytes().await.unwrap_err().to_string();
        assert!(error.contains("broke off after 3 bytes"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_is_waited_on_the_clock_that_tests_pause() {
        let store = FaultyStore::new(InMemory::new(), |_: &StoreCall<'_>| StoreFault::delayed(Duration::from_secs(2)));
        let before = tokio::time::Instant::now();
        store.put(&at(), "x".into()).await.unwrap();
        assert_eq!(before.elapsed(), Duration::from_secs(2));
    }
}
