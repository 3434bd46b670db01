//! The end of a pack that grew: its fragment table is written, it is flushed and gets the name of a whole pack.
//!
//! Invariant: each step can be cut off and taken up again, by another attempt or by recovery.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use tracing::{error, info};

use super::replace::remove_if_there;
use super::{Growing, Spool, SpoolError, State};
use crate::index::Change;
use crate::index::of_pack::{Segments, changes_of, rows_of};
use footage::media::{Gap, GapCause};
use footage::pack::{PackError, PackHeader, PackTable, reader, writer::PackWriter};
use footage::platform;
use footage::units::{CameraKey, WallTime};

/// Bytes of a file written again at a time.
const REWRITE_BYTES: usize = 256 * 1024;

/// A pack that was finished.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Size of its file; `None` when nothing of the pack is worth keeping.
    pub(crate) bytes: Option<u64>,
    /// What the index has to learn with it.
    pub(crate) changes: Vec<Change>,
}

impl Spool {
    /// Finishes a pack: from here on its file is whole, durable, and waits in the spool. May be done again.
    pub(crate) async fn finish_pack(&self, pack: &Arc<Growing>) -> Result<Finished, SpoolError> {
        let (spool, pack) = (self.clone(), pack.clone());
        let (bytes, changes) = blocking(move || spool.finish(&pack)).await?;
        Ok(Finished { bytes, changes })
    }

    fn finish(&self, pack: &Growing) -> Result<(Option<u64>, Vec<Change>), SpoolError> {
        let mut state = pack.state.lock();
        let (id, camera) = (pack.header.pack, &pack.header.camera);
        let io = |source| SpoolError::Io { path: pack.path.clone(), source };
        if state.given_up {
            (state.writer, state.room) = (None, None);
            remove_if_there(&pack.path)?;
            return Ok((None, Vec::new()));
        }
        if let Some(writer) = state.writer.take() {
            state.table = Some(Arc::new(writer.table().clone()));
            if writer.table().fragments.is_empty() {
                drop(writer);
                remove_if_there(&pack.path)?;
                return Ok((None, Vec::new()));
            }
            // A pack whose flush failed may not be what was written to it: it is scanned below like one after a crash.
            if state.failed.is_none() {
                if let Err(e) = writer.finish_flushed() {
                    let e = SpoolError::from(e);
                    state.failed = Some(e.gap_cause());
                    return Err(e);
                }
                self.became_durable(&std::mem::take(&mut state.waiting));
            }
            state.room = None;
        }
        let whole = self.whole_path(camera, id);
        let path = [&pack.path, &whole].into_iter().find(|p| p.exists());
        let Some(path) = path else {
            if let Some(cause) = state.failed {
                // Its file could not be made.
                return Ok((None, lost(pack, &mut state, cause)));
            }
            // An earlier attempt got further than it heard: the pack is in the store.
            let gone_to = self.0.store.local_file(camera, id).unwrap_or_else(|| self.cache_path(camera, id));
            let bytes = std::fs::metadata(gone_to).map_err(io)?.len();
            return Ok((Some(bytes), pack.take_unflushed(&mut state, bytes)));
        };
        if let Some(cause) = state.failed {
            let Some(table) = self.mend(path, camera, 0)? else {
                return Ok((None, lost(pack, &mut state, cause)));
            };
            let before = state.table.take().map_or(0, |t| t.fragments.len());
            let bytes = std::fs::metadata(path).map_err(io)?.len();
            if table.fragments.len() < before {
                error!(pack = %id, %camera, fragments = before - table.fragments.len(), "a disk that failed to write lost fragments");
                let still_true = still_true(&mut state);
                state.pending = corrections(&table, bytes, &state.segments, cause);
                state.pending.extend(still_true);
                state.segments.take_changed();
                state.announced = true;
            }
            state.table = Some(Arc::new(table));
            state.failed = None;
        }
        let bytes = std::fs::metadata(path).map_err(io)?.len();
        if path != &whole {
            platform::rename(path, &whole).map_err(io)?;
            platform::sync_folder(&self.folder(camera)).map_err(io)?;
        }
        Ok((Some(bytes), pack.take_unflushed(&mut state, bytes)))
    }

    /// Cuts a torn pack at its last whole fragment, writes its table and flushes it; `None` (and no file) when it has no
    /// fragment. The samples of the first `flushed` fragments are known to be on the disk.
    pub(super) fn mend(&self, path: &Path, camera: &CameraKey, flushed: u32) -> Result<Option<PackTable>, SpoolError> {
        let io = |source| SpoolError::Io { path: path.to_owned(), source };
        let key = self.key(camera);
        let scan = reader::scan_unflushed(path, &key, flushed)?;
        // By a substitute of the gateway's key a sound fragment looks like a torn one: nothing is cut off.
        if self.0.keys.trouble().is_some()
            && let Some(damage @ PackError::Corrupt { .. }) = scan.damage
        {
            return Err(damage.into());
        }
        let Some(table) = scan.table.clone().filter(|table| !table.fragments.is_empty()) else {
            platform::remove_file(path).map_err(io)?;
            return Ok(None);
        };
        if &table.header.camera != camera {
            return Err(PackError::Malformed {
                offset: 0,
                what: format!("the pack is of camera {}, its folder is of {camera}", table.header.camera),
            }
            .into());
        }
        let unsure_from = match table.is_reference() {
            // Its own fragments lie elsewhere in the file than in the pack.
            true => 0,
            false => table.fragments.get(flushed as usize).map_or(scan.whole_bytes, |entry| entry.offset),
        };
        let file = rewrite(path, unsure_from).map_err(io)?;
        if scan.finished {
            // The writer of the table may have ended before it was flushed.
            platform::sync_data(&file).map_err(io)?;
            return Ok(Some(table));
        }
        let torn_bytes = scan.file_bytes - scan.whole_bytes;
        if torn_bytes > 0 {
            info!(pack = %table.header.pack, %camera, torn_bytes, "cut a torn pack at its last whole fragment");
        }
        let (table, _) = PackWriter::resume(path, scan, key)?.finish_flushed()?;
        Ok(Some(table))
    }
}

/// Writes a file's own bytes over it again from there on. After a flush that failed for anybody, the kernel
/// may count pages as written that are not: a later flush would succeed without them.
fn rewrite(path: &Path, from: u64) -> std::io::Result<File> {
    let mut file = File::options().read(true).write(true).open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut part = vec![0; REWRITE_BYTES];
    loop {
        let taken = file.read(&mut part)?;
        if taken == 0 {
            return Ok(file);
        }
        file.seek(SeekFrom::Current(-(taken as i64)))?;
        platform::write_all(&file, &part[..taken])?;
    }
}

/// What the index must learn of a pack that is shorter than its rows: its rows afresh, and a gap for the rest.
fn corrections(table: &PackTable, bytes: u64, reported: &Segments, cause: GapCause) -> Vec<Change> {
    let Some(rows) = rows_of(table, bytes) else { return Vec::new() };
    let afresh = changes_of(&rows);
    // It may not have heard of the pack at all: what is forgotten must be known.
    let known = afresh.iter().filter(|c| matches!(c, Change::BeginRun { .. } | Change::OpenPack(_))).cloned();
    let mut changes: Vec<Change> = known.collect();
    changes.push(Change::Forget { pack: table.header.pack });
    changes.extend(afresh);
    let end = reported.extent().map_or(rows.pack.end, |(_, end)| end);
    changes.push(gap(&table.header.camera, rows.pack.end, end, cause));
    changes
}

/// What the index must learn of a pack of which nothing is left.
fn lost(pack: &Growing, state: &mut State, cause: GapCause) -> Vec<Change> {
    let Some((start, end)) = state.segments.extent() else { return Vec::new() };
    let PackHeader { pack: id, camera, run, .. } = &pack.header;
    let mut changes = vec![
        Change::BeginRun { camera: camera.clone(), run: *run, start },
        Change::OpenPack(pack.row(0, start, end)),
        Change::Forget { pack: *id },
        gap(camera, start, end, cause),
    ];
    changes.extend(still_true(state).into_iter().filter(|change| matches!(change, Change::PutGap { .. })));
    changes
}

/// Of what was to be learned with fragments that are lost: gaps that they ended, the run's clocks, and its end.
fn still_true(state: &mut State) -> Vec<Change> {
    let pending = std::mem::take(&mut state.pending);
    let is_true = |c: &Change| {
        matches!(c, Change::EndRun { .. } | Change::PutGap { .. } | Change::RunBase { .. } | Change::RunClocks { .. })
    };
    pending.into_iter().filter(is_true).collect()
}

fn gap(camera: &CameraKey, start: WallTime, end: WallTime, cause: GapCause) -> Change {
    Change::PutGap { camera: camera.clone(), gap: Gap { start, end, cause, lost_packets: 0 } }
}

/// Runs file work off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    platform::spawn_blocking(work).await.unwrap_or(Err(SpoolError::Stopped))
}
