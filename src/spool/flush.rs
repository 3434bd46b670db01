//! The group flush: what grew is made durable together, then the index hears of it.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{Delays, Growing, Spool};
use crate::index::Change;
use footage::platform;

/// From so many packs on, a flush is one of the whole file system: a flush of each costs a commit of the file system's
/// journal and of the disk's cache each.
const FLUSHED_TOGETHER_FROM: usize = 8;
/// A pack that grew, and what the index shall learn of it once it is flushed.
struct FlushedPack {
    pack: Arc<Growing>,
    changes: Vec<Change>,
    turn: tokio::sync::OwnedMutexGuard<()>,
}

/// One growing pack's part of a group flush.
struct Flush {
    file: Arc<File>,
    /// Its name is not durable yet: this folder is flushed too.
    new_in: Option<PathBuf>,
    waiting: Vec<Duration>,
}

impl Flush {
    fn sync(&self) -> std::io::Result<()> {
        platform::sync_data(&self.file)?;
        self.new_in.as_deref().map_or(Ok(()), platform::sync_folder)
    }
}

impl Spool {
    /// Flushes every pack that grew, then tells the index, both as a group.
    pub async fn flush(&self) {
        let (grown, files): (Vec<_>, Vec<Flush>) = {
            let growing = self.0.growing.lock();
            growing.values().filter_map(flush_of).unzip()
        };
        if grown.is_empty() {
            return;
        }
        let spool = self.clone();
        let synced = platform::spawn_blocking(move || spool.sync(&files));
        // Where the work was cut off, nobody knows which of them were flushed.
        let cut_off = |e: tokio::task::JoinError| {
            let error = e.to_string();
            grown.iter().map(|_| Err(std::io::Error::other(error.clone()))).collect()
        };
        let synced = synced.await.unwrap_or_else(cut_off);
        let mut durable = Vec::with_capacity(synced.len());
        for (grown, outcome) in grown.into_iter().zip(synced) {
            let FlushedPack { pack, changes, turn } = grown;
            match outcome {
                Ok(()) => durable.push(FlushedPack { pack, changes, turn }),
                Err(e) => {
                    error!(pack = %pack.header.pack, camera = %pack.header.camera, error = %e, "flush failed: the pack is closed");
                    pack.state.lock().failed = true;
                    pack.give_back(changes);
                }
            }
        }
        let changes: Vec<Change> = durable.iter().flat_map(|grown| grown.changes.iter().cloned()).collect();
        if let Err(e) = self.0.index.write(changes).await {
            warn!(error = %e, "the index did not take a flush; it is tried again with the next");
            for FlushedPack { pack, changes, .. } in durable {
                pack.give_back(changes);
            }
        }
    }

    /// These fragments are on the disk now.
    pub(super) fn became_durable(&self, received: &[Duration]) {
        let now = self.0.clock.read().mono;
        let mut delays = self.0.delays.lock();
        received.iter().for_each(|&at| delays.add(now.saturating_sub(at)));
    }

    /// How long fragments that a later picture ended waited so far, from reading their last picture to being on the disk.
    pub fn delays(&self) -> Delays {
        self.0.delays.lock().clone()
    }

    /// Flushes files: together where they are many on one file system. Where that fails, each file says for itself
    /// whether it is durable.
    fn sync(&self, files: &[Flush]) -> Vec<std::io::Result<()>> {
        let disk = self.0.disk.get().filter(|_| files.len() >= FLUSHED_TOGETHER_FROM);
        let flushed = disk.filter(|disk| platform::sync_disk(&disk.folder).is_ok()).map(|disk| disk.device);
        let sync = |flush: &Flush| {
            let together = flushed.is_some_and(|device| flush.file.metadata().is_ok_and(|file| file.dev() == device));
            if !together {
                flush.sync()?;
            }
            self.became_durable(&flush.waiting);
            Ok(())
        };
        files.iter().map(sync).collect()
    }

    /// Flushes until stopped, then once more. A flush begins each half of `within`, which leaves the other half for it
    /// to take: what a slower disk takes longer comes on top.
    pub async fn flush_until(&self, within: Duration, stop: CancellationToken) {
        let mut tick = tokio::time::interval(within / 2);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => {}
            }
            self.flush().await;
        }
    }
}

/// What is to be flushed of a pack, unless it is being sealed.
fn flush_of(pack: &Arc<Growing>) -> Option<(FlushedPack, Flush)> {
    let turn = pack.turn.clone().try_lock_owned().ok()?;
    let mut state = pack.state.lock();
    if !state.dirty || state.failed {
        return None;
    }
    let writer = state.writer.as_ref()?;
    let (file, bytes) = (writer.file(), writer.bytes());
    let new_in = pack.path.parent().filter(|_| !state.announced).map(Path::to_owned);
    let changes = pack.take_unflushed(&mut state, bytes);
    let waiting = std::mem::take(&mut state.waiting);
    Some((FlushedPack { pack: pack.clone(), changes, turn }, Flush { file, new_in, waiting }))
}
