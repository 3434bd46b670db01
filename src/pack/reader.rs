//! Reads packs: the trailing table of a whole one, the fragments of a torn one, the samples of any.

use std::path::Path;

use bytes::Bytes;

use super::{FragmentEntry, PackError, PackTable};
use crate::keys::DomainKey;

/// Bytes at the end of a pack that most often hold the whole fragment table; more are read where they do not.
pub const TAIL_BYTES: u64 = 64 * 1024;

/// From the last bytes of a pack: the table, or how many last bytes are needed to hold it.
pub enum Tail {
    /// The whole table was there.
    Table(PackTable),
    /// Read again, this many bytes from the end.
    NeedBytes(u64),
}

/// Decodes the table from the last bytes of a pack of `pack_bytes` bytes.
pub fn table_from_tail(_tail: &[u8], _pack_bytes: u64) -> Result<Tail, PackError> {
    todo!()
}

/// Reads a local whole pack's table.
pub fn read_table(_path: &Path) -> Result<PackTable, PackError> {
    todo!()
}

/// What a scan of a pack without a trailing table found.
#[derive(Debug)]
pub struct Scan {
    /// Every whole fragment. `None` when not even the pack header is whole.
    pub table: Option<PackTable>,
    /// Bytes up to the end of the last whole fragment.
    pub whole_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// True when the fragment table is there and whole: the pack was finished.
    pub finished: bool,
}

/// Scans a local pack box by box, checks each fragment's samples against its id, and stops at the first that is not
/// whole. Changes nothing: the caller truncates to `whole_bytes`.
pub fn scan(_path: &Path, _key: &DomainKey) -> Result<Scan, PackError> {
    todo!()
}

/// Checks a fragment's sample bytes against its id.
pub fn verify(_entry: &FragmentEntry, _data: &[u8], _key: &DomainKey) -> Result<(), PackError> {
    todo!()
}

/// The initialisation segment (`ftyp`, `moov`) for these sample descriptions: byte for byte what a pack begins with.
pub fn init_segment(_params: &crate::media::Params) -> Bytes {
    todo!()
}
