//! The end of a growing pack that is not written yet, in memory that can be written directly.
//!
//! Whole blocks are written, the last one filled up with zeros; it is written again with what follows. What it held
//! before is in both, so that a write that is cut off loses nothing of it.
//! Invariant: nobody waits for the disk to append; what is being written is not changed any more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::platform::{self, BLOCK_BYTES, Writing};

/// Memory is taken in multiples of this.
const CHUNK_BYTES: usize = 64 * 1024;
/// Blocks of the disk are set aside for so much of a pack at a time.
pub(super) const RESERVED_BYTES: u64 = 4 * 1024 * 1024;

/// Memory in which packs grow, used again and again; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Mutex<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    /// By size, each size not empty.
    free: BTreeMap<usize, Vec<Vec<u8>>>,
    free_bytes: usize,
    in_use_bytes: usize,
    /// The most that was in use lately, which is kept.
    lately_bytes: usize,
}

impl Buffers {
    /// Memory for at least so many bytes.
    fn chunk(&self, bytes: usize) -> Chunk {
        let capacity = bytes.next_multiple_of(CHUNK_BYTES);
        let mut pool = self.0.lock();
        // What is much larger is left for what needs it.
        let size = pool.free.range(capacity..=capacity + capacity / 2).next().map(|(size, _)| *size);
        let memory = size.and_then(|size| pool.take(size));
        let memory = memory.unwrap_or_else(|| vec![0; capacity + BLOCK_BYTES]);
        pool.in_use_bytes += memory.len();
        pool.lately_bytes = pool.lately_bytes.max(pool.in_use_bytes);
        drop(pool);
        Chunk { from: memory.as_ptr().align_offset(BLOCK_BYTES), len: 0, memory, pool: self.0.clone() }
    }

    /// Bytes in use.
    pub fn in_use_bytes(&self) -> usize {
        self.0.lock().in_use_bytes
    }

    /// Gives back memory that was not used for a while: to be called now and then.
    pub fn trim(&self) {
        let mut pool = self.0.lock();
        // A little less each time: what comes in bursts keeps its memory from one to the next.
        pool.lately_bytes = pool.in_use_bytes.max(pool.lately_bytes - pool.lately_bytes.div_ceil(64));
        while pool.in_use_bytes + pool.free_bytes > pool.lately_bytes
            && let Some(size) = pool.free.keys().next_back().copied()
        {
            drop(pool.take(size));
        }
    }
}

impl Pool {
    fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        let of_size = self.free.get_mut(&size)?;
        let memory = of_size.pop()?;
        if of_size.is_empty() {
            self.free.remove(&size);
        }
        self.free_bytes -= memory.len();
        Some(memory)
    }
}

/// Memory that begins at a multiple of [`BLOCK_BYTES`], and what it holds.
#[derive(Debug)]
struct Chunk {
    /// One block longer than what is used of it.
    memory: Vec<u8>,
    from: usize,
    len: usize,
    pool: Arc<Mutex<Pool>>,
}

impl Chunk {
    fn room(&self) -> usize {
        self.memory.len() - BLOCK_BYTES - self.len
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.from + self.len;
        self.memory[end..end + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.from + self.len]
    }

    /// What it holds, and zeros up to a whole number of blocks.
    fn blocks(&self) -> &[u8] {
        &self.memory[self.from..self.from + self.len.next_multiple_of(BLOCK_BYTES)]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let mut pool = self.pool.lock();
        pool.in_use_bytes -= memory.len();
        pool.free_bytes += memory.len();
        pool.free.entry(memory.len() - BLOCK_BYTES).or_default().push(memory);
    }
}

/// Bytes of a file one after the other, in chunks of which all but the last that holds any are full.
#[derive(Debug, Default)]
struct Run {
    /// Where they begin in the file: a whole number of blocks.
    from: u64,
    /// What comes before the chunks while there are none: less than a block.
    head: Vec<u8>,
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl Run {
    fn end(&self) -> u64 {
        self.from + self.bytes as u64
    }

    /// Sees to it that so many bytes have room, in one piece where they begin a chunk.
    fn reserve(&mut self, bytes: usize, buffers: &Buffers) {
        let room: usize = self.chunks.iter().map(Chunk::room).sum();
        if room < bytes {
            let head = std::mem::take(&mut self.head);
            let mut chunk = buffers.chunk(head.len() + bytes - room);
            chunk.push(&head);
            self.chunks.push(chunk);
        }
    }

    /// Appends what was reserved for.
    fn push(&mut self, mut bytes: &[u8]) {
        for chunk in &mut self.chunks {
            let taken = bytes.len().min(chunk.room());
            chunk.push(&bytes[..taken]);
            self.bytes += taken;
            bytes = &bytes[taken..];
        }
        debug_assert!(bytes.is_empty(), "it was reserved");
    }

    /// The bytes of this part of the file that its chunks have, in order.
    fn parts(&self, range: Range<u64>) -> impl Iterator<Item = &[u8]> {
        let mut at = self.from;
        self.chunks.iter().filter_map(move |chunk| {
            let (start, end) = (at, at + chunk.len as u64);
            at = end;
            let (from, to) = (range.start.max(start), range.end.min(end));
            (from < to).then(|| &chunk.bytes()[(from - start) as usize..(to - start) as usize])
        })
    }

    /// Writes over what was pushed from this byte of the file on.
    fn overwrite(&mut self, at: u64, mut bytes: &[u8]) {
        let mut start = self.from;
        for chunk in &mut self.chunks {
            let end = start + chunk.len as u64;
            if at < end && !bytes.is_empty() {
                let from = at.max(start) - start;
                let taken = bytes.len().min((end - start - from) as usize);
                let to = chunk.from + from as usize;
                chunk.memory[to..to + taken].copy_from_slice(&bytes[..taken]);
                bytes = &bytes[taken..];
            }
            start = end;
        }
    }

    /// What its last block holds, where that is less than a block; the rest of it is set to zeros, which do not count: the
    /// memory held other footage before.
    fn end_block(&mut self) -> Vec<u8> {
        let partial = self.bytes % BLOCK_BYTES;
        match self.chunks.iter_mut().rfind(|chunk| chunk.len > 0) {
            Some(chunk) if partial > 0 => {
                let end = chunk.from + chunk.len;
                chunk.memory[end..end + BLOCK_BYTES - partial].fill(0);
                chunk.memory[end - partial..end].to_vec()
            }
            _ => Vec::new(),
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
                let way = state.writing.as_str();
                tracing::warn!(path = %self.path.display(), way, error = %e, "a write failed: the pack goes through the page cache");
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
        Writing::Direct => Chunk::blocks,
        Writing::Uncached | Writing::Buffered => Chunk::bytes,
    };
    let mut slices: Vec<IoSlice<'_>> = run.chunks.iter().map(|chunk| IoSlice::new(bytes(chunk))).collect();
    let (mut left, mut at) = (slices.as_mut_slice(), run.from);
    // A chunk that was reserved and not used would make a write of nothing look like the end of the disk.
    IoSlice::advance_slices(&mut left, 0);
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

    /// Appends these one after the other. Gives where they begin in the file.
    pub(super) fn push<'a>(&mut self, bytes: usize, parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let at = self.run.end();
        self.run.reserve(bytes, &self.buffers);
        parts.into_iter().for_each(|part| self.run.push(part));
        at
    }

    /// What was pushed from this byte of the file on.
    pub(super) fn pushed(&self, at: u64) -> impl Iterator<Item = &[u8]> {
        self.run.parts(at..self.run.end())
    }

    /// Writes over what was pushed since the last [`Held::take`].
    pub(super) fn overwrite(&mut self, at: u64, bytes: &[u8]) {
        self.run.overwrite(at, bytes);
    }

    /// Takes what is to be written. It is held until [`Held::written`] says that it was.
    pub(super) fn take(&mut self) -> Option<HeldPart> {
        if self.being_written.is_some() || self.run.end() <= self.written {
            return None;
        }
        let head = self.run.end_block();
        let from = self.run.end() - head.len() as u64;
        let next = Run { from, bytes: head.len(), head, chunks: Vec::new() };
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
