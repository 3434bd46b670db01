//! Multipart uploads that outlive an interruption.
//!
//! Beside the spool file of a pack lies a note: the upload's id, then a line for each part that the store has
//! acknowledged. An upload that was cut off, by a store that went away or by a crash, goes on with the parts that are
//! missing. Invariant: a note that can be read names an upload that this gateway began; a line that is torn or absent
//! costs its part being sent again, never a wrong object, because parts are replaced by number.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, PutPayload};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::uplink::{SendOptions, Uplink};
use super::{PART_BYTES, PARTS_IN_FLIGHT, StoreError};
use footage::platform;

/// Longest note that is read: an id and 128 parts of 8 MiB with their checksums take a hundredth of it.
const NOTE_BYTES_MAX: u64 = 4 << 20;

/// First line of a note.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    /// Where the object will lie, and so in which upload's name the id is good.
    object: String,
    store: String,
    upload: String,
    bytes: u64,
    part_bytes: u64,
    /// When the file was last written, in nanoseconds since the epoch: parts of two versions never make one object.
    written_ns: i128,
}

/// A further line.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    part: usize,
    id: String,
}

/// The note's path beside a pack's file.
pub fn note_path(file: &FilePath) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".upload");
    PathBuf::from(name)
}

/// What one upload needs.
pub(super) struct Upload<'a> {
    pub(super) store: &'a str,
    pub(super) parts: &'a dyn MultipartStore,
    pub(super) uplink: &'a Uplink,
    pub(super) way: &'a SendOptions<'a>,
    pub(super) object: &'a Path,
    pub(super) file: &'a FilePath,
    pub(super) bytes: u64,
}

/// An upload on its way.
struct Running {
    id: MultipartId,
    done: Vec<Option<PartId>>,
    note: Mutex<File>,
}

impl Upload<'_> {
    fn io(&self) -> impl Fn(std::io::Error) -> StoreError + use<> {
        let path = self.file.to_owned();
        move |source| StoreError::Io { path: path.clone(), source }
    }

    /// Sends what the store does not have yet, and makes an object of it. On failure the note stays, for the next try.
    pub(super) async fn run(&self) -> Result<(), StoreError> {
        let note = note_path(self.file);
        let running = match self.resume(&note).await? {
            Some(running) => running,
            None => self.begin(&note).await?,
        };
        let missing: Vec<usize> = (0..running.done.len()).filter(|part| running.done[*part].is_none()).collect();
        if missing.len() < running.done.len() {
            info!(object = %self.object, parts = running.done.len(), missing = missing.len(), "an upload goes on");
        }
        let sent = self.send_all(&running, missing).await;
        let outcome = match sent {
            Ok(sent) => {
                let mut parts = running.done;
                for (part, id) in sent {
                    parts[part] = Some(id);
                }
                let parts = parts.into_iter().flatten().collect();
                self.parts.complete_multipart(self.object, &running.id, parts).await.map(drop).map_err(StoreError::from)
            }
            Err(e) => Err(e),
        };
        match outcome {
            Ok(()) => remove(&note).map_err(self.io()),
            // The store knows nothing of this upload any more: the next try begins a new one.
            Err(StoreError::Request(e)) if forgotten(&e) => {
                remove(&note).map_err(self.io())?;
                Err(StoreError::Request(e))
            }
            Err(e) => Err(e),
        }
    }

    /// An upload of this very file to this very place, if a note tells of one.
    async fn resume(&self, note: &FilePath) -> Result<Option<Running>, StoreError> {
        let Some((begun, done, whole)) = read(note).map_err(self.io())? else {
            return Ok(None);
        };
        let same = begun.object == self.object.as_ref() && begun.store == self.store;
        let version = begun.bytes == self.bytes && begun.written_ns == written_ns(self.file).map_err(self.io())?;
        if !same || !version || begun.part_bytes != PART_BYTES as u64 {
            // One of another store is the bucket's own to expire.
            abort(self.parts, note, self.store).await?;
            remove(note).map_err(self.io())?;
            return Ok(None);
        }
        let file = File::options().write(true).open(note).map_err(self.io())?;
        // A torn last line would spoil the next.
        platform::set_len(&file, whole).map_err(self.io())?;
        (&file).seek(SeekFrom::End(0)).map_err(self.io())?;
        let mut parts = vec![None; self.part_count()];
        for line in done {
            if let Some(part) = parts.get_mut(line.part) {
                *part = Some(PartId { content_id: line.id });
            }
        }
        Ok(Some(Running { id: begun.upload, done: parts, note: Mutex::new(file) }))
    }

    /// The id is on the disk before the first part is sent: an upload is forgotten only if power fails in between.
    async fn begin(&self, note: &FilePath) -> Result<Running, StoreError> {
        let written_ns = written_ns(self.file).map_err(self.io())?;
        let id = self.parts.create_multipart(self.object).await?;
        let begun = Begun {
            object: self.object.to_string(),
            store: self.store.to_owned(),
            upload: id.clone(),
            bytes: self.bytes,
            part_bytes: PART_BYTES as u64,
            written_ns,
        };
        let written = || {
            remove(note)?;
            let file = platform::create_new(note)?;
            platform::write_all(&file, &line(&begun))?;
            platform::sync_data(&file)?;
            platform::sync_name(note)?;
            Ok(file)
        };
        match written() {
            Ok(file) => Ok(Running { id, done: vec![None; self.part_count()], note: Mutex::new(file) }),
            Err(e) => {
                // Without a note nobody would ever give it up.
                if let Err(error) = self.parts.abort_multipart(self.object, &id).await {
                    warn!(%error, object = %self.object, "an upload is left behind in the store");
                }
                Err(self.io()(e))
            }
        }
    }

    fn part_count(&self) -> usize {
        self.bytes.div_ceil(PART_BYTES as u64) as usize
    }

    /// Sends these parts. Once one is refused no other is begun, but those in flight end: what they sent over a thin line
    /// is noted, and not sent again.
    async fn send_all(&self, running: &Running, parts: Vec<usize>) -> Result<Vec<(usize, PartId)>, StoreError> {
        let mut to_send = parts.into_iter();
        let mut in_flight = FuturesUnordered::new();
        let mut sent = Vec::with_capacity(to_send.len());
        let mut refused = None;
        loop {
            while refused.is_none() && in_flight.len() < PARTS_IN_FLIGHT {
                let Some(part) = to_send.next() else { break };
                in_flight.push(async move { (part, self.send(running, part).await) });
            }
            match in_flight.next().await {
                Some((part, Ok(id))) => sent.push((part, id)),
                Some((_, Err(e))) => refused = refused.or(Some(e)),
                None => return refused.map_or(Ok(sent), Err),
            }
        }
    }

    async fn send(&self, running: &Running, part: usize) -> Result<PartId, StoreError> {
        let start = part as u64 * PART_BYTES as u64;
        let bytes = (self.bytes - start).min(PART_BYTES as u64);
        self.uplink.pay_on(bytes, self.way).await?;
        let data = read_range(self.file.to_owned(), start, bytes).await?;
        let id = self.parts.put_part(self.object, &running.id, part, PutPayload::from(data)).await?;
        let done = line(&Done { part, id: id.content_id.clone() });
        let noted = {
            let note = running.note.lock();
            platform::write_all(&note, &done)
        };
        // Only a later interruption would miss it.
        if let Err(error) = noted {
            warn!(%error, object = %self.object, part, "a part is sent and could not be noted");
        }
        Ok(id)
    }
}

/// Gives up the upload that a note tells of, where its store is this one; the note goes.
pub(super) async fn abort(parts: &dyn MultipartStore, note: &FilePath, store: &str) -> Result<bool, StoreError> {
    let io = |source| StoreError::Io { path: note.to_owned(), source };
    let Some((begun, ..)) = read(note).map_err(io)? else {
        remove(note).map_err(io)?;
        return Ok(true);
    };
    if begun.store != store {
        return Ok(false);
    }
    match parts.abort_multipart(&Path::from(begun.object), &begun.upload).await {
        Err(e) if !forgotten(&e) => Err(e.into()),
        _ => remove(note).map(|()| true).map_err(io),
    }
}

fn written_ns(file: &FilePath) -> std::io::Result<i128> {
    let meta = std::fs::metadata(file)?;
    Ok(i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()))
}

/// The store says that there is no such upload.
fn forgotten(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) || error.to_string().contains("NoSuchUpload")
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // Texts and numbers in a struct always have a JSON form.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// What a note says, and how long its whole lines are; `None` when there is none that can be read.
fn read(note: &FilePath) -> std::io::Result<Option<(Begun, Vec<Done>, u64)>> {
    let mut bytes = Vec::new();
    match File::open(note) {
        Ok(file) => file.take(NOTE_BYTES_MAX).read_to_end(&mut bytes)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let Some((first, begun)) = lines.next().and_then(|l| Some((l.len(), serde_json::from_slice(l).ok()?))) else {
        return Ok(None);
    };
    let (mut whole, mut done) = (first as u64, Vec::new());
    for line in lines {
        let Ok(part) = serde_json::from_slice(line) else { break };
        done.push(part);
        whole += line.len() as u64;
    }
    Ok(Some((begun, done, whole)))
}

fn remove(path: &FilePath) -> std::io::Result<()> {
    match platform::remove_file(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Some bytes of a file.
pub(super) async fn read_range(path: PathBuf, start: u64, bytes: u64) -> Result<Bytes, StoreError> {
    let at = path.clone();
    let read = platform::spawn_blocking(move || {
        let mut file = File::open(&path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut buffer = vec![0; bytes as usize];
        file.read_exact(&mut buffer)?;
        Ok(Bytes::from(buffer))
    });
    read.await.unwrap_or_else(|e| Err(std::io::Error::other(e))).map_err(|source| StoreError::Io { path: at, source })
}
