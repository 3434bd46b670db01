//! Writes one pack, fragment by fragment.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::{FragmentEntry, PackError, PackHeader, PackTable, Stamp};
use crate::keys::DomainKey;
use crate::media::Fragment;

/// A pack that grows. Dropping it leaves the file as it is: recovery finds every whole fragment.
#[derive(Debug)]
pub struct PackWriter {}

impl PackWriter {
    /// Creates the file (it must not exist) and writes everything before the first fragment.
    pub fn create(_path: &Path, _header: PackHeader, _key: DomainKey) -> Result<Self, PackError> {
        todo!()
    }

    /// Appends a fragment with one vectored write; a short or failed write is undone by truncation.
    pub fn append(&mut self, _fragment: &Fragment, _stamp: Stamp) -> Result<Arc<FragmentEntry>, PackError> {
        todo!()
    }

    /// The table so far.
    pub fn table(&self) -> &PackTable {
        todo!()
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        todo!()
    }

    /// The open file, to be flushed from another thread.
    pub fn file(&self) -> Arc<File> {
        todo!()
    }

    /// Writes the fragment table: the pack is whole, and not yet flushed. Gives its size in bytes.
    pub fn finish(self) -> Result<(PackTable, u64), PackError> {
        todo!()
    }
}
