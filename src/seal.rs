//! The sealing stage: a complete pack is finished, compared with what is stored, entered in the index, and left for its
//! store.
//!
//! ```text
//! queue → finish the file (spool) → compare, refer (dedup) → tell the index → hand over (upload)
//! ```
//!
//! Invariants: each step can be cut off and taken up again, by another attempt or by recovery: a pack is first whole on
//! disk, then sealed in the index, then in the store, then stored in the index. What a pack's file says of where its bytes
//! lie is final before the index calls it sealed, and before the next pack of its domain is compared.
//! Absent on purpose: files, SQL. The stage only calls what is below it.
//! Queue: the spool's; [`SEALS_AT_ONCE`] of it are sealed at a time.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::dedup::{Compared, Dedup, DedupError};
use crate::index::of_pack::place_changes;
use crate::index::{Change, Index, IndexError, PackState};
use crate::spool::{Finished, Growing, Spool, SpoolError};
use crate::store::Store;
use crate::store::uplink::Lane;
use crate::upload::Uploader;
use footage::pack::{PackError, PackHeader, reader};
use footage::platform;

/// Packs sealed at a time: most of it is waiting for the disk, whose journal commits what comes together together.
const SEALS_AT_ONCE: usize = 32;
/// The least and the longest wait before a pack is tried again.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Why a pack is not sealed yet. It is tried again.
#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The comparison failed with the smaller file in the whole one's place already: sealing goes on from there.
    #[error("a pack that refers to others could not be sealed: {0}")]
    Dedup(DedupError),
}

/// Seals packs; cheap to clone.
#[derive(Clone, Debug)]
pub struct Sealer {
    index: Index,
    spool: Spool,
    store: Store,
    uploader: Uploader,
    dedup: Option<Arc<Dedup>>,
}

impl Sealer {
    /// For this spool, its index and the stores behind it. Every pack is stored whole unless [`Sealer::comparing`].
    pub fn new(spool: Spool) -> Self {
        let (index, store) = (spool.index().clone(), spool.store().clone());
        Self { index, store, uploader: Uploader::new(spool.clone()), spool, dedup: None }
    }

    /// Packs are compared with what is stored, and refer to it.
    pub fn comparing(self, dedup: Dedup) -> Self {
        Self { dedup: Some(Arc::new(dedup)), ..self }
    }

    /// Starts sealing, and handing packs to their stores.
    ///
    /// # Errors
    /// When the spool's folder cannot be made or opened.
    pub fn start(self) -> Result<Tasks, SpoolError> {
        let queue = self.spool.open_queue()?;
        let stop = CancellationToken::new();
        let uploads = self.uploader.start(&stop);
        Ok(Tasks { sealer: tokio::spawn(self.run(queue)), uploads, stop })
    }

    /// Seals what the recorders hand over, until the spool is closed and the queue is empty.
    async fn run(self, queue: mpsc::Receiver<Arc<Growing>>) {
        let packs = futures::stream::unfold(queue, |mut queue| async { Some((queue.recv().await?, queue)) });
        packs.for_each_concurrent(SEALS_AT_ONCE, |pack| self.seal(pack)).await;
    }

    /// Seals one pack, trying until it succeeds: a full disk gets room again, an index comes back.
    async fn seal(&self, pack: Arc<Growing>) {
        let header = pack.header();
        let mut wait = RETRY_MIN;
        let mut again = false;
        loop {
            match self.try_seal(&pack, again).await {
                Ok(true) => break self.hand_over(header).await,
                Ok(false) => break self.spool.no_longer_grows(header.pack),
                Err(e) if self.spool.closing().is_cancelled() => {
                    warn!(pack = %header.pack, error = %e, "a pack is left unsealed: the next start recovers it");
                    break self.spool.no_longer_grows(header.pack);
                }
                Err(e) => {
                    error!(pack = %header.pack, camera = %header.camera, error = %e, "sealing failed and will be tried again");
                    self.spool.closing().run_until_cancelled(tokio::time::sleep(wait)).await;
                    wait = (wait * 2).min(RETRY_MAX);
                    again = true;
                }
            }
        }
    }

    /// False when nothing of the pack is worth keeping.
    async fn try_seal(&self, pack: &Arc<Growing>, again: bool) -> Result<bool, SealError> {
        let header = pack.header();
        let _turn = pack.turn().await;
        // The answer to an earlier attempt may have been lost: what is sealed is not sealed twice, others may refer to it.
        if again && self.index.any_pack(header.pack).await?.is_some_and(|row| row.state >= PackState::Sealed) {
            self.spool.no_longer_grows(header.pack);
            return Ok(true);
        }
        let Finished { bytes, mut changes } = self.spool.finish_pack(pack).await?;
        let Some(whole_bytes) = bytes else {
            return self.report(pack, changes, None).await.map(|()| false);
        };
        let compared = match self.compare(header, whole_bytes, &mut changes).await {
            Ok(compared) => compared,
            Err(e) => {
                pack.give_back(changes);
                return Err(SealError::Dedup(e));
            }
        };
        let bytes = compared.as_ref().map_or(whole_bytes, |compared| compared.bytes);
        changes.extend(compared.iter().flat_map(|compared| compared.changes.iter().cloned()));
        // Before the pack leaves the spool: an object that no row knows would be found by nobody.
        self.report(pack, changes, Some(bytes)).await?;
        // Before the next pack of the domain is compared: from here on this one is what its file says.
        self.spool.no_longer_grows(header.pack);
        if let (Some(dedup), Some(compared)) = (&self.dedup, compared) {
            dedup.remember(compared);
        }
        Ok(true)
    }

    /// `None` where the pack is whole and is not compared.
    async fn compare(
        &self,
        header: &PackHeader,
        bytes: u64,
        changes: &mut Vec<Change>,
    ) -> Result<Option<Compared>, DedupError> {
        let whole = self.spool.whole_path(&header.camera, header.pack);
        let Some(dedup) = self.dedup.as_ref().filter(|_| whole.exists()) else { return Ok(None) };
        let error = match dedup.compare(&header.camera, &whole, changes).await {
            Ok(compared) => return Ok(Some(compared)),
            Err(error) => error,
        };
        let (path, vault) = (whole.clone(), self.spool.vault());
        let table = platform::spawn_blocking(move || reader::read_table(&path, &vault)).await;
        match table.unwrap_or_else(|_| Err(PackError::Malformed { offset: 0, what: "it was not read".to_owned() })) {
            Ok(table) if table.is_reference() => return Err(error),
            // It needs nothing of what it may have claimed.
            Ok(table) => changes.extend(place_changes(&table, bytes)),
            Err(_) => {}
        }
        warn!(path = %whole.display(), %error, "a pack is stored whole: it could not be compared with others");
        Ok(None)
    }

    /// Tells the index what it has to learn of a pack, together with that it is sealed, if it is.
    async fn report(&self, pack: &Growing, changes: Vec<Change>, sealed: Option<u64>) -> Result<(), SealError> {
        let sealed = sealed.map(|bytes| Change::SealPack { pack: pack.header().pack, bytes });
        let reported = self.index.write(changes.iter().cloned().chain(sealed).collect()).await;
        Ok(reported.inspect_err(|_| pack.give_back(changes))?)
    }

    /// Renaming a pack into a local store costs nothing and is done at once; sending is the upload's, which has time.
    async fn hand_over(&self, header: &PackHeader) {
        let (pack, camera) = (header.pack, &header.camera);
        let waits = self.must_wait(header).await.unwrap_or_else(|error| {
            warn!(%pack, %error, "the index does not say whether a pack may be stored: it waits in the spool");
            true
        });
        if self.store.local_root(camera).is_some() && !waits {
            match self.uploader.send(Lane::Backlog, camera, pack).await {
                Ok(_) => return,
                Err(error) => warn!(%pack, %error, "the store did not take a pack: it waits in the spool"),
            }
        }
        self.spool.wake(camera);
    }

    /// Whether this pack, which the index knows as sealed, must not be stored yet.
    async fn must_wait(&self, header: &PackHeader) -> Result<bool, IndexError> {
        if self.store.shared(&header.camera).is_none() {
            return Ok(false);
        }
        let row = self.index.any_pack(header.pack).await?;
        Ok(row.is_some_and(|row| self.spool.waits_its_turn(&header.camera, header.pack, row.end)))
    }
}

/// The tasks of sealing and uploading.
#[derive(Debug)]
pub struct Tasks {
    sealer: tokio::task::JoinHandle<()>,
    uploads: Vec<tokio::task::JoinHandle<()>>,
    stop: CancellationToken,
}

impl Tasks {
    /// Waits until every queued pack is sealed, then stops handing packs to the store: those left wait for the next
    /// start. Call [`Spool::close`] first.
    pub async fn join(self) {
        if let Err(e) = self.sealer.await {
            error!(error = %e, "the sealer ended badly; the next start seals what it left");
        }
        self.stop.cancel();
        for upload in self.uploads {
            if let Err(e) = upload.await {
                error!(error = %e, "an upload ended badly; the next start goes on");
            }
        }
    }
}
