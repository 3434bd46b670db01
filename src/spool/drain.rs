//! From growing to stored: packs are finished, flushed, told to the index, and handed to the store.
//!
//! Invariant: each step can be cut off and taken up again by recovery: a pack is first whole on disk, then in the
//! store, then stored in the index.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::recover::changes_of;
use super::segments::{Segments, rows_of};
use super::{Growing, Spool, SpoolError, lock};
use crate::index::{Change, PackState};
use crate::machine;
use crate::media::{Gap, GapCause};
use crate::pack::{PackError, PackTable, reader, writer::PackWriter};
use crate::store::Kept;
use crate::units::{CameraKey, PackId};

/// Packs sealed at a time.
const SEALS_AT_ONCE: usize = 4;
/// Packs sent to the store at a time.
const SENDS_AT_ONCE: usize = 4;
/// Packs that wait for the store, read at a time.
const WAITING_PAGE: u32 = 256;
/// Without news, the store is tried this often.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// A store that keeps failing is tried this often.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Seals what the recorders hand over, until the spool is closed and the queue is empty.
pub(super) async fn seal_queue(spool: Spool, queue: mpsc::Receiver<Arc<Growing>>) {
    let packs = futures::stream::unfold(queue, |mut queue| async { Some((queue.recv().await?, queue)) });
    packs
        .for_each_concurrent(SEALS_AT_ONCE, |pack| {
            let spool = spool.clone();
            async move { spool.seal_now(pack).await }
        })
        .await;
}

/// Hands to the store what waits for it, until stopped.
pub(super) async fn drain(spool: Spool, stop: CancellationToken) {
    let mut wait = RETRY_MIN;
    while !stop.is_cancelled() {
        let waiting = match spool.0.index.packs_in_state(PackState::Sealed, WAITING_PAGE).await {
            Ok(waiting) => waiting,
            Err(e) => {
                error!(error = %e, "the index does not say which packs wait for the store");
                Vec::new()
            }
        };
        let more = waiting.len() == WAITING_PAGE as usize;
        let sent = futures::stream::iter(waiting)
            .map(|pack| {
                let spool = spool.clone();
                async move { spool.store_whole(&pack.camera, pack.id).await }
            })
            .buffer_unordered(SENDS_AT_ONCE)
            .take_until(stop.cancelled());
        let outcomes: Vec<Result<(), SpoolError>> = sent.collect().await;
        let failed = outcomes.iter().filter_map(|o| o.as_ref().err()).collect::<Vec<_>>();
        if let Some(first) = failed.first() {
            warn!(failed = failed.len(), error = %first, "packs wait in the spool: the store did not take them");
            wait = (wait * 2).min(RETRY_MAX);
        } else {
            wait = RETRY_MIN;
            if more {
                continue;
            }
        }
        // With nothing to do, only a sealed pack wakes it; with failures, time does.
        tokio::select! {
            () = stop.cancelled() => {}
            () = spool.0.sealed.notified(), if failed.is_empty() => {}
            () = tokio::time::sleep(wait), if !failed.is_empty() => {}
        }
    }
}

impl Spool {
    /// Seals one pack, trying until it succeeds: a full disk gets room again, an index comes back.
    pub(super) async fn seal_now(&self, pack: Arc<Growing>) {
        let id = pack.header.pack;
        let mut wait = RETRY_MIN;
        loop {
            match self.try_seal(&pack).await {
                Ok(()) => break,
                Err(e) if self.0.closing.is_cancelled() => {
                    warn!(pack = %id, error = %e, "a pack is left unsealed: the next start recovers it");
                    break;
                }
                Err(e) => {
                    error!(pack = %id, camera = %pack.header.camera, error = %e, "sealing failed and will be tried again");
                    self.0.closing.run_until_cancelled(tokio::time::sleep(wait)).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
        lock(&self.0.growing).remove(&id);
    }

    async fn try_seal(&self, pack: &Arc<Growing>) -> Result<(), SpoolError> {
        let header = pack.header.clone();
        let (spool, growing) = (self.clone(), pack.clone());
        let finished = blocking(move || spool.finish(&growing)).await?;
        let Some((bytes, mut changes)) = finished else {
            return Ok(());
        };
        changes.push(Change::SealPack { pack: header.pack, bytes });
        let whole = self.whole_path(&header.camera, header.pack);
        // Renaming costs nothing and is done at once; sending is the drain's, which has time.
        if self.0.store.local_root().is_some() {
            match self.0.store.put_pack(&header.camera, header.pack, &whole).await {
                Ok(Kept::Moved) => changes.push(Change::PackStored { pack: header.pack }),
                Ok(Kept::Cached) => {}
                Err(e) => {
                    warn!(pack = %header.pack, error = %e, "the store did not take a pack: it waits in the spool")
                }
            }
        }
        if let Err(e) = self.0.index.write(changes.clone()).await {
            pack.give_back(changes);
            return Err(e.into());
        }
        self.0.sealed.notify_one();
        Ok(())
    }

    /// Writes the fragment table, flushes, and gives the pack its whole name. Gives what the index must learn; `None`
    /// when nothing of the pack is worth keeping.
    fn finish(&self, pack: &Growing) -> Result<Option<(u64, Vec<Change>)>, SpoolError> {
        let mut state = lock(&pack.state);
        let (id, camera) = (pack.header.pack, &pack.header.camera);
        let io = |source| SpoolError::Io { path: pack.path.clone(), source };
        if let Some(writer) = state.writer.take() {
            state.table = Some(Arc::new(writer.table().clone()));
            if writer.table().fragments.is_empty() {
                drop(writer);
                machine::remove_file(&pack.path).map_err(io)?;
                return Ok(None);
            }
            // A pack whose flush failed may not be what was written to it: it is scanned below like one after a crash.
            if !state.failed {
                let file = writer.file();
                match writer.finish() {
                    Ok(_) => {
                        machine::sync_data(&file).map_err(io)?;
                        self.became_durable(&std::mem::take(&mut state.waiting));
                    }
                    Err(e) => {
                        state.failed = true;
                        return Err(e.into());
                    }
                }
            }
        }
        let whole = self.whole_path(camera, id);
        let path = [&pack.path, &whole].into_iter().find(|p| p.exists());
        let Some(path) = path else {
            // An earlier attempt got as far as the store: only the index has not heard.
            let bytes = pack.stored_bytes(self, camera, id)?;
            return Ok(Some((bytes, pack.take_unflushed(&mut state, bytes))));
        };
        if state.failed {
            let Some(table) = self.mend(path, camera, 0)? else {
                return Ok(None);
            };
            let before = state.table.take().map_or(0, |t| t.fragments.len());
            let bytes = std::fs::metadata(path).map_err(io)?.len();
            if table.fragments.len() < before {
                error!(pack = %id, %camera, fragments = before - table.fragments.len(), "a disk that failed to flush lost fragments");
                let told = retell(&table, bytes, &state.segments);
                state.segments.take_changed();
                state.pending.clear();
                state.pending.extend(told);
                state.announced = true;
            }
            state.table = Some(Arc::new(table));
            state.failed = false;
        }
        let bytes = std::fs::metadata(path).map_err(io)?.len();
        if path != &whole {
            machine::rename(path, &whole).map_err(io)?;
            machine::sync_folder(&self.folder(camera)).map_err(io)?;
        }
        Ok(Some((bytes, pack.take_unflushed(&mut state, bytes))))
    }

    /// Cuts a torn pack at its last whole fragment and writes its table; `None` (and no file) when it has no fragment.
    /// The samples of the first `flushed` fragments are known to be on the disk.
    pub(super) fn mend(&self, path: &Path, camera: &CameraKey, flushed: u32) -> Result<Option<PackTable>, SpoolError> {
        let io = |source| SpoolError::Io { path: path.to_owned(), source };
        let key = self.key(camera);
        let scan = reader::scan_unflushed(path, &key, flushed)?;
        let Some(table) = scan.table.clone().filter(|table| !table.fragments.is_empty()) else {
            machine::remove_file(path).map_err(io)?;
            return Ok(None);
        };
        if &table.header.camera != camera {
            return Err(PackError::Malformed {
                offset: 0,
                what: format!("the pack is of camera {}, its folder is of {camera}", table.header.camera),
            }
            .into());
        }
        if scan.finished {
            return Ok(Some(table));
        }
        let torn_bytes = scan.file_bytes - scan.whole_bytes;
        if torn_bytes > 0 {
            info!(pack = %table.header.pack, %camera, torn_bytes, "cut a torn pack at its last whole fragment");
        }
        let writer = PackWriter::resume(path, scan, key)?;
        let file = writer.file();
        writer.finish()?;
        machine::sync_data(&file).map_err(io)?;
        Ok(Some(table))
    }

    /// Hands a whole pack of the spool to the store and tells the index.
    async fn store_whole(&self, camera: &CameraKey, pack: PackId) -> Result<(), SpoolError> {
        let whole = self.whole_path(camera, pack);
        match self.0.store.put_pack(camera, pack, &whole).await {
            Ok(Kept::Moved | Kept::Cached) => {}
            Err(e) => {
                // A crash or a cut-off write may have left the index behind the store.
                let there = self.0.store.pack_bytes(camera, pack).await.ok().flatten();
                if whole.exists() || there.is_none() {
                    return Err(SpoolError::Io { path: whole, source: std::io::Error::other(e) });
                }
            }
        }
        self.0.index.write(vec![Change::PackStored { pack }]).await?;
        self.keep_as_cache(camera, pack).map_err(|source| SpoolError::Io { path: whole, source })
    }
}

impl Growing {
    /// Size of a pack that is in a local store already.
    fn stored_bytes(&self, spool: &Spool, camera: &CameraKey, pack: PackId) -> Result<u64, SpoolError> {
        let path = spool.0.store.local_file(camera, pack).unwrap_or_else(|| self.path.clone());
        Ok(std::fs::metadata(&path).map_err(|source| SpoolError::Io { path, source })?.len())
    }
}

/// What the index must learn of a pack that is shorter than it was told: its rows afresh, and a gap for the rest.
fn retell(table: &PackTable, bytes: u64, told: &Segments) -> Vec<Change> {
    let mut changes = vec![Change::Forget { pack: table.header.pack }];
    let (Some(rows), Some((_, end))) = (rows_of(table, bytes), told.extent()) else {
        return changes;
    };
    changes.insert(0, Change::OpenPack(rows.pack.clone()));
    changes.extend(changes_of(&rows));
    let gap = Gap { start: rows.pack.end, end, cause: GapCause::WriteFailed, lost_packets: 0 };
    changes.push(Change::PutGap { camera: table.header.camera.clone(), gap });
    changes
}

/// Runs file work off the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    machine::spawn_blocking(work).await.unwrap_or(Err(SpoolError::Stopped))
}
