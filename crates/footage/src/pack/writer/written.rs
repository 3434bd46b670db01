//! A pack's file that is written fragment by fragment.

use std::fs::File;
use std::io::{self, IoSlice, Seek, SeekFrom};
use std::sync::Arc;

use super::held::RESERVED_BYTES;
use crate::platform;

#[derive(Debug)]
pub(super) struct Written {
    file: Arc<File>,
    /// Up to here blocks of the disk are set aside; `None`: the file system cannot.
    reserved: Option<u64>,
    /// Something half written may lie behind the last whole fragment.
    torn: bool,
}

impl Written {
    /// The file stands where the next byte goes.
    pub(super) fn new(file: File) -> Self {
        Self { file: Arc::new(file), reserved: Some(0), torn: false }
    }

    pub(super) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Writes these behind `end`, all or nothing.
    pub(super) fn write(&mut self, end: u64, parts: [&[u8]; 2]) -> io::Result<()> {
        if self.torn {
            self.undo(end)?;
        }
        self.reserve(end, parts.iter().map(|part| part.len() as u64).sum());
        write_all_vectored(&self.file, parts).inspect_err(|_| {
            self.torn = true;
            // What made the write fail is the news. Where taking it back fails too, the next write begins with it.
            let _ = self.undo(end);
        })
    }

    /// Sees to it that the next so many bytes find their blocks set aside, which costs less for many at a time than
    /// for each. A disk that refuses tells with the write.
    fn reserve(&mut self, from: u64, bytes: u64) {
        if self.reserved.is_some_and(|reserved| reserved < from + bytes) {
            let bytes = bytes.max(RESERVED_BYTES);
            self.reserved = platform::reserve(&self.file, from, bytes).then_some(from + bytes);
        }
    }

    /// Blocks behind `end` are not needed.
    pub(super) fn give_back_reserved(&mut self, end: u64) -> io::Result<()> {
        match self.reserved.take().is_some_and(|reserved| reserved > end) {
            true => platform::set_len(&self.file, end),
            false => Ok(()),
        }
    }

    /// Takes back what a failed write left behind the last whole fragment.
    fn undo(&mut self, end: u64) -> io::Result<()> {
        platform::set_len(&self.file, end)?;
        (&*self.file).seek(SeekFrom::Start(end))?;
        self.torn = false;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: Arc<File>) -> Arc<File> {
        std::mem::replace(&mut self.file, file)
    }
}

fn write_all_vectored(file: &File, parts: [&[u8]; 2]) -> io::Result<()> {
    let mut slices = parts.map(IoSlice::new);
    let mut left = slices.as_mut_slice();
    // Empty buffers in front would make a write of nothing look like the end of the disk.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match platform::write_vectored(file, left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut left, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
