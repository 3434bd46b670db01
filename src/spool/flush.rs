//! The group flush: what grew is written and made durable together, then the index hears of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::{Delays, Disk, Growing, Room, Spool, gap_cause};
use crate::index::Change;
use footage::pack::writer::{HeldPart, PackWriter};
use footage::platform;

/// From so many packs on, a flush is one of the whole file system: a flush of each costs a commit of the file system's
/// journal and of the disk's cache each.
const FLUSHED_TOGETHER_FROM: usize = 8;
/// Threads that write at a time: a disk is kept busy by a few.
const WRITERS: usize = 4;

/// A pack that grew, and what the index shall learn of it once it is flushed.
struct FlushedPack {
    pack: Arc<Growing>,
    changes: Vec<Change>,
    turn: tokio::sync::OwnedMutexGuard<()>,
}

/// One growing pack's part of a group flush.
struct Flush {
    /// `None`: only the index has something to learn.
    part: Option<HeldPart>,
    /// Its name is not durable yet: this folder is flushed too.
    new_in: Option<PathBuf>,
    waiting: Vec<Duration>,
    /// Free again once it is written.
    _room: Option<Room>,
}

impl Flush {
    fn write(&self) -> std::io::Result<()> {
        self.part.as_ref().map_or(Ok(()), HeldPart::write)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.part.as_ref().map_or(Ok(()), HeldPart::sync)?;
        self.new_in.as_deref().map_or(Ok(()), platform::sync_folder)
    }
}

impl Spool {
    /// Writes and flushes every pack that grew, then tells the index, both as a group.
    pub async fn flush(&self) {
        let (grown, flushes): (Vec<_>, Vec<Flush>) = {
            let growing = self.0.growing.lock();
            growing.values().filter_map(flush_of).unzip()
        };
        self.0.buffers.trim();
        if grown.is_empty() {
            return;
        }
        let flushed = self.write_and_sync(flushes).await;
        let mut durable = Vec::with_capacity(flushed.len());
        for (grown, outcome) in grown.into_iter().zip(flushed) {
            let FlushedPack { pack, changes, turn } = grown;
            let mut state = pack.state.lock();
            match outcome {
                Ok(()) => {
                    state.writer.iter_mut().for_each(PackWriter::written);
                    state.on_disk = true;
                    drop(state);
                    durable.push(FlushedPack { pack, changes, turn });
                }
                Err(e) => {
                    let (id, camera) = (pack.header.pack, &pack.header.camera);
                    if state.on_disk {
                        error!(pack = %id, %camera, error = %e, "a pack could not be written: it is closed");
                    } else {
                        // A full disk is tried again and again: that it refuses is said by the recorder, once.
                        debug!(pack = %id, %camera, error = %e, "the disk took nothing of a pack");
                    }
                    state.failed = Some(gap_cause(&e));
                    drop(state);
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

    /// Writes by several threads, then flushes.
    async fn write_and_sync(&self, flushes: Vec<Flush>) -> Vec<std::io::Result<()>> {
        let flushes = Arc::new(flushes);
        let share = flushes.len().div_ceil(WRITERS);
        let writers = (0..flushes.len()).step_by(share).map(|from| {
            let (all, range) = (flushes.clone(), from..flushes.len().min(from + share));
            let len = range.len();
            (len, platform::spawn_blocking(move || all[range].iter().map(Flush::write).collect::<Vec<_>>()))
        });
        let mut written = Vec::with_capacity(flushes.len());
        for (len, writer) in writers.collect::<Vec<_>>() {
            written.extend(writer.await.unwrap_or_else(|e| cut_off(&e, len)));
        }
        let (spool, len) = (self.clone(), flushes.len());
        let synced = platform::spawn_blocking(move || spool.sync(&flushes, written));
        synced.await.unwrap_or_else(|e| cut_off(&e, len))
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

    /// Flushes what was written: together where that is much on one file system. Where that fails, each file says for
    /// itself whether it is durable.
    fn sync(&self, flushes: &[Flush], written: Vec<std::io::Result<()>>) -> Vec<std::io::Result<()>> {
        let disk = self.0.disk.get().filter(|_| flushes.len() >= FLUSHED_TOGETHER_FROM);
        let flushed = disk.filter(|disk| Self::sync_disk(disk, flushes).is_ok()).map(|disk| disk.device);
        let sync = |(flush, written): (&Flush, std::io::Result<()>)| {
            written?;
            let together =
                flush.part.as_ref().is_some_and(|part| flushed.is_some_and(|device| part.device() == Some(device)));
            if !together {
                flush.sync()?;
            }
            self.became_durable(&flush.waiting);
            Ok(())
        };
        flushes.iter().zip(written).map(sync).collect()
    }

    /// Flushes the file system, and one of the files: where nothing but blocks was written again, XFS's syncfs has nothing
    /// to write and does not flush the device's own cache, which fdatasync does in any case.
    fn sync_disk(disk: &Disk, flushes: &[Flush]) -> std::io::Result<()> {
        platform::sync_disk(&disk.folder)?;
        flushes.iter().find_map(|flush| flush.part.as_ref()).map_or(Ok(()), HeldPart::sync)
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

/// The work was cut off: nobody knows which of them were written or flushed.
fn cut_off(error: &tokio::task::JoinError, len: usize) -> Vec<std::io::Result<()>> {
    (0..len).map(|_| Err(std::io::Error::other(error.to_string()))).collect()
}

/// What is to be flushed of a pack, unless it is being sealed.
fn flush_of(pack: &Arc<Growing>) -> Option<(FlushedPack, Flush)> {
    let turn = pack.turn.clone().try_lock_owned().ok()?;
    let mut state = pack.state.lock();
    if !state.dirty || state.failed.is_some() {
        return None;
    }
    let writer = state.writer.as_mut()?;
    let (part, bytes) = (writer.take_unwritten(), writer.bytes());
    let new_in = pack.path.parent().filter(|_| !state.announced).map(Path::to_owned);
    let changes = pack.take_unflushed(&mut state, bytes);
    let (waiting, room) = (std::mem::take(&mut state.waiting), state.room.take());
    Some((FlushedPack { pack: pack.clone(), changes, turn }, Flush { part, new_in, waiting, _room: room }))
}
