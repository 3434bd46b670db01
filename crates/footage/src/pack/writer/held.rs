//! The end of a growing pack that is not written yet, in memory that can be written directly.
//!
//! Whole blocks are written, the last one filled up with zeros; it is written again with what follows. What it held
//! before is in both, so that a write that is cut off loses nothing of it.
//! Invariant: nobody waits for the disk to append; what is being written is not changed any more.

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::{Deref, DerefMut, Range};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::platform::{self, BLOCK_BYTES, Writing};

/// Memory is taken in pieces of this size.
const CHUNK_BYTES: usize = 64 * 1024;
/// Blocks of the disk are set aside for so much of a pack at a time.
pub(super) const RESERVED_BYTES: u64 = 4 * 1024 * 1024;

/// Memory in which packs grow, used again and again; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Mutex<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    free: Vec<Vec<u8>>,
    in_use: usize,
    /// The most that was in use lately, which is kept.
    lately: usize,
}

impl Buffers {
    fn chunk(&self) -> Chunk {
        let mut pool = self.0.lock();
        pool.in_use += 1;
        pool.lately = pool.lately.max(pool.in_use);
        let memory = pool.free.pop();
        drop(pool);
        let memory = memory.unwrap_or_else(|| vec![0; CHUNK_BYTES + BLOCK_BYTES]);
        Chunk { from: memory.as_ptr().align_offset(BLOCK_BYTES), memory, pool: self.0.clone() }
    }

    /// Bytes in use.
    pub fn in_use_bytes(&self) -> usize {
        self.0.lock().in_use * CHUNK_BYTES
    }

    /// Gives back memory that was not used for a while: to be called now and then.
    pub fn trim(&self) {
        let mut pool = self.0.lock();
        // A little less each time: what comes in bursts keeps its memory from one to the next.
        pool.lately = pool.in_use.max(pool.lately - pool.lately.div_ceil(64).min(pool.lately));
        let keep = pool.lately - pool.in_use;
        pool.free.truncate(keep);
    }
}

/// Memory of [`CHUNK_BYTES`] that begins at a multiple of [`BLOCK_BYTES`].
#[derive(Debug)]
struct Chunk {
    memory: Vec<u8>,
    from: usize,
    pool: Arc<Mutex<Pool>>,
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.from..self.from + CHUNK_BYTES]
    }
}

impl DerefMut for Chunk {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.from..self.from + CHUNK_BYTES]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut pool = self.pool.lock();
        pool.in_use -= 1;
        pool.free.push(std::mem::take(&mut self.memory));
    }
}

/// Bytes of a file one after the other, in chunks of which all but the last are full.
#[derive(Debug, Default)]
struct Run {
    /// Where they begin in the file: a whole number of blocks.
    from: u64,
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl Run {
    fn end(&self) -> u64 {
        self.from + self.bytes as u64
    }

    fn push(&mut self, mut bytes: &[u8], buffers: &Buffers) {
        while !bytes.is_empty() {
            let at = self.bytes % CHUNK_BYTES;
            if at == 0 {
                self.chunks.push(buffers.chunk());
            }
            let chunk = self.chunks.last_mut().expect("one was just pushed, or is not full");
            let taken = bytes.len().min(CHUNK_BYTES - at);
            chunk[at..at + taken].copy_from_slice(&bytes[..taken]);
            self.bytes += taken;
            bytes = &bytes[taken..];
        }
    }

    /// The bytes of this part of the file that it has, in order.
    fn parts(&self, range: Range<u64>) -> impl Iterator<Item = &[u8]> {
        let from = range.start.clamp(self.from, self.end()) - self.from;
        let to = range.end.clamp(self.from, self.end()) - self.from;
        let (mut from, to) = (from as usize, to as usize);
        std::iter::from_fn(move || {
            if from >= to {
                return None;
            }
            let at = from % CHUNK_BYTES;
            let part = &self.chunks[from / CHUNK_BYTES][at..CHUNK_BYTES.min(at + to - from)];
            from += part.len();
            Some(part)
        })
    }

    /// What its last block holds: less than a block.
    fn last_block(&self) -> &[u8] {
        let partial = self.bytes % BLOCK_BYTES;
        match self.chunks.last() {
            Some(chunk) if partial > 0 => {
                let end = (self.bytes - 1) % CHUNK_BYTES + 1;
                &chunk[end - partial..end]
            }
            _ => &[],
        }
    }

    /// Fills the last block up with zeros, which do not count: the memory held other footage before.
    fn fill_block(&mut self) {
        let partial = self.bytes % BLOCK_BYTES;
        if let Some(chunk) = self.chunks.last_mut().filter(|_| partial > 0) {
            let end = (self.bytes - 1) % CHUNK_BYTES + 1;
            chunk[end..end + BLOCK_BYTES - partial].fill(0);
        }
    }
}

/// The file of a growing pack, which is made with the first write.
#[derive(Debug)]
struct Output {
    path: PathBuf,
    state: Mutex<OutputState>,
}

#[derive(Debug)]
struct OutputState {
    file: Option<Arc<File>>,
    writing: Writing,
    /// Up to here blocks of the disk are set aside; `None`: the file system cannot.
    reserved: Option<u64>,
}

impl Output {
    fn write(&self, run: &Run) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = match &state.file {
            Some(file) => file.clone(),
            None => {
                let file = Arc::new(platform::create_new(&self.path)?);
                if state.writing == Writing::Direct && platform::set_direct(&file, true).is_err() {
                    state.writing = Writing::Buffered;
                }
                state.file.insert(file).clone()
            }
        };
        if state.reserved.is_some_and(|reserved| reserved < run.end()) {
            let bytes = (run.end() - run.from).next_multiple_of(BLOCK_BYTES as u64).max(RESERVED_BYTES);
            state.reserved = platform::reserve(&file, run.from, bytes).then_some(run.from + bytes);
        }
        let written = write_run(&file, run, state.writing);
        match written {
            // A full disk is full for every way of writing.
            Err(e) if state.writing != Writing::Buffered && e.kind() != io::ErrorKind::StorageFull => {
                tracing::warn!(path = %self.path.display(), error = %e, "direct writing failed: the pack goes through the page cache");
                platform::set_direct(&file, false)?;
                state.writing = Writing::Buffered;
                write_run(&file, run, Writing::Buffered)
            }
            written => written,
        }
    }
}

fn write_run(file: &File, run: &Run, writing: Writing) -> io::Result<()> {
    let bytes = match writing {
        Writing::Direct => run.bytes.next_multiple_of(BLOCK_BYTES),
        Writing::Uncached | Writing::Buffered => run.bytes,
    };
    let all = run.chunks.iter().enumerate().map(|(n, chunk)| &chunk[..CHUNK_BYTES.min(bytes - n * CHUNK_BYTES)]);
    let mut slices: Vec<IoSlice<'_>> = all.map(IoSlice::new).collect();
    let (mut left, mut at) = (slices.as_mut_slice(), run.from);
    while !left.is_empty() {
        match platform::write_at(file, left, at, writing) {
            // A block that was taken in part is written again.
            Ok(n) => match if writing == Writing::Direct { n / BLOCK_BYTES * BLOCK_BYTES } else { n } {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => {
                    at += n as u64;
                    IoSlice::advance_slices(&mut left, n);
                }
            },
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// What a pack holds back, and its file.
#[derive(Debug)]
pub(super) struct Held {
    buffers: Buffers,
    output: Arc<Output>,
    /// What follows [`Held::being_written`], or the file where nothing is being written. It begins with what the last block
    /// before it holds.
    run: Run,
    /// The file holds all before this.
    written: u64,
    being_written: Option<Arc<Run>>,
}

/// A part of a growing pack that is to be written, by another thread.
#[derive(Debug)]
pub struct HeldPart {
    output: Arc<Output>,
    run: Arc<Run>,
}

impl HeldPart {
    /// Writes it; nothing is flushed yet. Blocks.
    pub fn write(&self) -> io::Result<()> {
        self.output.write(&self.run)
    }

    /// Flushes the file. Blocks.
    pub fn sync(&self) -> io::Result<()> {
        let file = self.output.state.lock().file.clone();
        file.map_or(Ok(()), |file| platform::sync_data(&file))
    }

    /// The number of its file system, once it is written.
    pub fn device(&self) -> Option<u64> {
        let file = self.output.state.lock().file.clone();
        file.and_then(|file| Some(file.metadata().ok()?.dev()))
    }
}

impl Held {
    pub(super) fn new(path: PathBuf, writing: Writing, buffers: Buffers) -> Self {
        let state = Mutex::new(OutputState { file: None, writing, reserved: Some(0) });
        let output = Arc::new(Output { path, state });
        Self { buffers, output, run: Run::default(), written: 0, being_written: None }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.run.push(bytes, &self.buffers);
    }

    /// Takes what is to be written. It is held until [`Held::written`] says that it was.
    pub(super) fn take(&mut self) -> Option<HeldPart> {
        if self.being_written.is_some() || self.run.end() <= self.written {
            return None;
        }
        self.run.fill_block();
        let mut next = Run { from: self.run.end() / BLOCK_BYTES as u64 * BLOCK_BYTES as u64, ..Run::default() };
        next.push(self.run.last_block(), &self.buffers);
        let run = Arc::new(std::mem::replace(&mut self.run, next));
        self.being_written = Some(run.clone());
        Some(HeldPart { output: self.output.clone(), run })
    }

    /// What was taken is in the file.
    pub(super) fn written(&mut self) {
        if let Some(run) = self.being_written.take() {
            self.written = run.end();
        }
    }

    /// Writes what is left, and cuts the file where the pack ends. Blocks.
    pub(super) fn finish(&mut self) -> io::Result<Arc<File>> {
        if let Some(run) = &self.being_written {
            self.output.write(run)?;
            self.written();
        }
        if let Some(part) = self.take() {
            part.write()?;
            self.written();
        }
        let file = self.output.state.lock().file.clone().ok_or(io::ErrorKind::NotFound)?;
        platform::set_len(&file, self.written)?;
        Ok(file)
    }

    /// The file holds all bytes before this one.
    pub(super) fn in_file(&self) -> u64 {
        self.written
    }

    /// These bytes of the file, as far as only memory holds them.
    pub(super) fn bytes(&self, range: &Range<u64>) -> Vec<u8> {
        let (from, to) = (range.start.max(self.written), range.end.min(self.run.end()));
        let mut bytes = Vec::with_capacity(to.saturating_sub(from) as usize);
        if let Some(run) = &self.being_written {
            run.parts(from..to).for_each(|part| bytes.extend_from_slice(part));
        }
        let from = from + bytes.len() as u64;
        self.run.parts(from..to).for_each(|part| bytes.extend_from_slice(part));
        bytes
    }
}

#[cfg(test)]
mod tests;
