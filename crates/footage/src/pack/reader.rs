//! Reads packs: the trailing table of a whole one, the fragments of a torn one, the samples of any.
//!
//! An encrypted pack is read by its plain bytes: of it, only sizes of the file speak of anything else.
//! Invariant: no length from a file is believed before the bytes it speaks of are there.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::encrypted::{Encrypted, EncryptedEnd};
use super::format::{self, Next, RECORD_PREFIX_BYTES, TRAILER_BYTES};
use super::{FragmentEntry, PackError, PackTable};
use crate::keys::DomainKey;
use crate::keys::vault::Vault;
use crate::media::Params;
use crate::units::PackId;

/// Bytes at the end of a pack that most often hold the whole fragment table; more are read where they do not.
pub const TAIL_BYTES: u64 = 64 * 1024;

/// From the last bytes of a pack: the table, or how many last bytes are needed to hold it.
#[derive(Debug)]
pub enum Tail {
    /// The whole table was there.
    Table(PackTable),
    /// Read again, this many bytes from the end.
    NeedBytes(u64),
}

/// Decodes the table from the last bytes of a pack of `pack_bytes` bytes.
pub fn table_from_tail(tail: &[u8], pack_bytes: u64) -> Result<Tail, PackError> {
    let Some(trailer) = tail.last_chunk::<TRAILER_BYTES>() else {
        let what = "it is shorter than the end of a fragment table".to_owned();
        return Err(PackError::Malformed { offset: 0, what });
    };
    let table_bytes = format::decode_trailer(trailer, pack_bytes)?;
    match tail.len().checked_sub(table_bytes as usize) {
        Some(start) => Ok(Tail::Table(format::decode_table(&tail[start..], pack_bytes)?)),
        None => Ok(Tail::NeedBytes(table_bytes)),
    }
}

/// The same of a pack that may be encrypted: with the table, how.
pub fn end_of(
    tail: &[u8],
    file_bytes: u64,
    pack: PackId,
    vault: &Vault,
) -> Result<(Tail, Option<Encrypted>), PackError> {
    let encrypted = match Encrypted::from_end(vault, pack, tail, file_bytes)? {
        EncryptedEnd::NotEncrypted => return Ok((table_from_tail(tail, file_bytes)?, None)),
        EncryptedEnd::NeedBytes(more) => return Ok((Tail::NeedBytes(more), None)),
        EncryptedEnd::Encrypted(encrypted) => encrypted,
    };
    let ended = match table_from_tail(&encrypted.plain_end(tail, file_bytes)?, encrypted.plain_bytes()) {
        Ok(Tail::NeedBytes(plain)) => Tail::NeedBytes(encrypted.file_need(plain, file_bytes)),
        // Its last record was not among these bytes.
        Err(_) if encrypted.file_need(TRAILER_BYTES as u64, file_bytes) > tail.len() as u64 => {
            Tail::NeedBytes(encrypted.file_need(TRAILER_BYTES as u64, file_bytes))
        }
        ended => ended?,
    };
    Ok((ended, Some(encrypted)))
}

/// Reads a local whole pack's table.
pub fn read_table(path: &Path, vault: &Vault) -> Result<PackTable, PackError> {
    PackFile::open(path, vault)?.table()
}

/// The same from the open file, and how it is encrypted, if it is; `pack` is its name in errors.
pub fn table_of(file: File, pack: PackId, vault: &Vault) -> Result<(PackTable, Option<Encrypted>), PackError> {
    let file = PackFile::new(file, pack, vault)?;
    Ok((file.table()?, file.encrypted))
}

/// What a scan of a pack found.
#[derive(Debug)]
pub struct Scan {
    /// Every whole fragment. `None` when not even the pack header is whole.
    pub table: Option<PackTable>,
    /// Bytes of the file up to the end of the last whole fragment.
    pub whole_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// True when the fragment table is there and whole, and says what the fragments say: the pack was finished.
    pub finished: bool,
    /// Why the scan ended before the end of the file.
    pub damage: Option<PackError>,
    /// How it is encrypted, if it is.
    pub(super) encrypted: Option<Encrypted>,
}

/// Scans a local pack box by box, checks each fragment's samples against its id, and stops at the first that is not
/// whole. Changes nothing: the caller truncates to `whole_bytes`.
pub fn scan(path: &Path, key: &DomainKey) -> Result<Scan, PackError> {
    scan_unflushed(path, key, 0)
}

/// The same, where the samples of the first `flushed` fragments are known to have reached the disk: of those only the
/// boxes are read and checked, so that a pack of any size is scanned in the time of its tail.
pub fn scan_unflushed(path: &Path, key: &DomainKey, flushed: u32) -> Result<Scan, PackError> {
    let pack = PackFile::open(path, key.vault())?;
    if let Some(scan) = scan_reference(&pack, key)? {
        return Ok(scan);
    }
    let first_bytes = pack.bytes.min(format::HEADER_BYTES_MAX as u64) as usize;
    let head = match &pack.encrypted {
        // Its first record is what comes before the first fragment.
        Some(encrypted) if encrypted.records() > 0 => pack.read(0, encrypted.plain_range(0).end as usize),
        _ => pack.read(0, first_bytes),
    };
    let (header, init_bytes) = match head.and_then(|head| format::decode_init(&head)) {
        Ok(init) => init,
        Err(e @ PackError::Io { .. }) => return Err(e),
        Err(damage) => return Ok(pack.scanned(None, 0, false, Some(damage))),
    };
    let mut table = PackTable { header, init_bytes, fragments: Vec::new() };
    let ended = loop {
        match next(&pack, &table, key, flushed) {
            Ok(Found::Fragment(entry)) => table.fragments.push(Arc::new(entry)),
            Ok(Found::Table) => break None,
            Ok(Found::End) => break Some(None),
            Err(e @ PackError::Io { .. }) => return Err(e),
            Err(damage) => break Some(Some(damage)),
        }
    };
    let (whole_bytes, finished) = (table.end(), ended.is_none());
    Ok(pack.scanned(Some(table), whole_bytes, finished, ended.flatten()))
}

/// A reference pack is written whole, so that its table is where to begin: `None` where there is no such table.
fn scan_reference(pack: &PackFile, key: &DomainKey) -> Result<Option<Scan>, PackError> {
    let table = match pack.table() {
        Ok(table) if table.is_reference() => table,
        Err(e @ PackError::Io { .. }) => return Err(e),
        _ => return Ok(None),
    };
    let damage = damages(pack, &table, key).into_iter().next().map(|damage| damage.error);
    if let Some(e @ PackError::Io { .. }) = damage {
        return Err(e);
    }
    let (whole_bytes, finished) = (table.file_end(), damage.is_none());
    let encrypted = pack.encrypted.clone();
    let whole_bytes = pack.position(whole_bytes);
    Ok(Some(Scan { table: Some(table), whole_bytes, file_bytes: pack.file_bytes, finished, damage, encrypted }))
}

enum Found {
    Fragment(FragmentEntry),
    Table,
    End,
}

/// What follows the fragments of `table` in the file, checked.
fn next(pack: &PackFile, table: &PackTable, key: &DomainKey, flushed: u32) -> Result<Found, PackError> {
    let index = table.fragments.len() as u32;
    let offset = table.end();
    let left = pack.bytes.saturating_sub(offset);
    if left == 0 {
        return Ok(Found::End);
    }
    let torn = |what: &str| PackError::Malformed { offset, what: what.to_owned() };
    let prefix = pack.read(offset, (RECORD_PREFIX_BYTES as u64).min(left) as usize)?;
    let prefix = prefix.first_chunk::<RECORD_PREFIX_BYTES>().ok_or_else(|| torn("it ends inside a box"))?;
    match format::decode_prefix(prefix, offset)? {
        Next::Table(size) if size as u64 != left => {
            Err(torn("it ends inside its fragment table, or something follows it"))
        }
        Next::Table(size) => {
            let reported = format::decode_table(&pack.read(offset, size)?, pack.bytes)?;
            match reported == *table {
                true => Ok(Found::Table),
                false => Err(torn("its fragment table is not that of its fragments")),
            }
        }
        Next::Fragment(header_bytes) if header_bytes as u64 > left => Err(torn("it ends inside a fragment's boxes")),
        Next::Fragment(header_bytes) => {
            let header = pack.read(offset, header_bytes)?;
            let entry = format::decode_fragment_header(&header, offset, table.header.pack, index)?;
            if entry.end() > pack.bytes {
                return Err(torn("it ends inside a fragment's samples"));
            }
            table.admits(&entry).map_err(torn)?;
            if index >= flushed {
                verify(&entry, &pack.read(entry.data_offset(), entry.data_bytes as usize)?, key)?;
            }
            Ok(Found::Fragment(entry))
        }
    }
}

/// Checks a fragment's sample bytes against its id.
pub fn verify(entry: &FragmentEntry, data: &[u8], key: &DomainKey) -> Result<(), PackError> {
    let got = key.id_of(data);
    if got == entry.id || key.had_id(data, entry.id) {
        return Ok(());
    }
    Err(PackError::Corrupt { offset: entry.offset, want: entry.id, got })
}

/// A part of a pack's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackPart {
    /// What comes before the first fragment.
    FirstBoxes,
    /// The boxes or samples of this fragment, from 0.
    Fragment(u32),
    /// The fragment table at the end.
    Table,
}

/// A part that is not what was written, or cannot be read.
#[derive(Debug)]
pub struct Damage {
    /// Which part.
    pub part: PackPart,
    /// How it shows.
    pub error: PackError,
}

/// What a check of each byte found.
#[derive(Debug)]
pub struct Checked {
    /// The fragment table. Where that itself is damaged: what the fragments tell, up to the first that is damaged too.
    pub table: Option<PackTable>,
    /// With the fragment table intact, every part that is damaged; without it, the table, and what the first damage is.
    pub damages: Vec<Damage>,
    /// Size of the file.
    pub file_bytes: u64,
    /// How it is encrypted, if it is.
    pub encrypted: Option<Encrypted>,
}

/// Checks every byte of a whole local pack: those of its file, not those that lie in other packs.
///
/// # Errors
/// When there is no such file, or it cannot be opened. What cannot be read of it is damage.
pub fn check_pack(path: &Path, key: &DomainKey) -> Result<Checked, PackError> {
    let pack = PackFile::open(path, key.vault())?;
    let of_table = match pack.table() {
        Ok(table) => {
            let damages = damages(&pack, &table, key);
            return Ok(Checked { table: Some(table), damages, file_bytes: pack.file_bytes, encrypted: pack.encrypted });
        }
        Err(error) => error,
    };
    let (table, error) = match scan(path, key) {
        Ok(Scan { table, damage, .. }) => (table, damage.unwrap_or(of_table)),
        Err(error) => (None, error),
    };
    let damages = vec![Damage { part: PackPart::Table, error }];
    Ok(Checked { table, damages, file_bytes: pack.file_bytes, encrypted: pack.encrypted })
}

/// The same, as one answer: its table, or what is damaged.
pub fn verify_pack(path: &Path, key: &DomainKey) -> Result<PackTable, Vec<PackError>> {
    let Checked { table, damages, .. } = check_pack(path, key).map_err(|e| vec![e])?;
    match table.filter(|_| damages.is_empty()) {
        Some(table) => Ok(table),
        None => Err(damages.into_iter().map(|damage| damage.error).collect()),
    }
}

/// Each part of the file that is not what the table says.
fn damages(pack: &PackFile, table: &PackTable, key: &DomainKey) -> Vec<Damage> {
    let first = check_init(pack, table).err().map(|error| Damage { part: PackPart::FirstBoxes, error });
    let own = table.own_fragments().filter_map(|(number, at, entry)| {
        let error = check_fragment(pack, table, number, at, entry, key).err()?;
        Some(Damage { part: PackPart::Fragment(number), error })
    });
    first.into_iter().chain(own).collect()
}

/// Checks what comes before the first fragment against the fragment table.
fn check_init(pack: &PackFile, table: &PackTable) -> Result<(), PackError> {
    let init = pack.read(0, table.init_bytes as usize)?;
    match format::decode_init(&init)? == (table.header.clone(), table.init_bytes) {
        true => Ok(()),
        false => {
            let what = "its header says something else than the fragment table".to_owned();
            Err(PackError::Malformed { offset: 0, what })
        }
    }
}

/// Checks the boxes and samples of a fragment that begins at `at` in the file against its entry in the fragment table.
fn check_fragment(
    pack: &PackFile,
    table: &PackTable,
    number: u32,
    at: u64,
    entry: &FragmentEntry,
    key: &DomainKey,
) -> Result<(), PackError> {
    let header = pack.read(at, entry.header_bytes as usize)?;
    let reported = format::decode_fragment_header(&header, entry.offset, table.header.pack, number)?;
    if reported != *entry {
        let what = "its boxes say something else than the fragment table".to_owned();
        return Err(PackError::Malformed { offset: entry.offset, what });
    }
    verify(entry, &pack.read(at + u64::from(entry.header_bytes), entry.data_bytes as usize)?, key)
}

/// The initialisation segment (`ftyp`, `moov`) for these sample descriptions: byte for byte what a pack begins with.
pub fn init_segment(params: &Params) -> Bytes {
    let mut out = Vec::with_capacity(2048);
    format::put_init_segment(&mut out, params);
    out.into()
}

/// The boxes that stand before the `index`th fragment's video samples where its sound is left out: `prft`, `moof`, the head
/// of `mdat`. Times and samples are as in the pack.
pub fn video_header(index: u32, entry: &FragmentEntry) -> Bytes {
    let mut out = Vec::with_capacity(entry.header_bytes as usize);
    format::put_video_header(&mut out, index, entry);
    out.into()
}

/// A local file that should be a pack, encrypted or not.
struct PackFile {
    file: File,
    /// In clear; of a torn encrypted one, those that are in whole records.
    bytes: u64,
    /// As it lies on the disk.
    file_bytes: u64,
    /// From its name, for errors.
    pack: PackId,
    encrypted: Option<Encrypted>,
    /// The record that was opened last: a fragment's boxes are read in two steps.
    opened: RefCell<Option<(usize, Vec<u8>)>>,
}

impl PackFile {
    fn open(path: &Path, vault: &Vault) -> Result<Self, PackError> {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let pack = name.split('.').next().and_then(|id| id.parse().ok()).unwrap_or(PackId([0; 16]));
        Self::new(File::open(path).map_err(|source| PackError::Io { pack, source })?, pack, vault)
    }

    fn new(file: File, pack: PackId, vault: &Vault) -> Result<Self, PackError> {
        let file_bytes = file.metadata().map_err(|source| PackError::Io { pack, source })?.len();
        let encrypted = Encrypted::of_file(vault, pack, &file, file_bytes)?;
        let bytes = encrypted.as_ref().map_or(file_bytes, Encrypted::plain_bytes);
        Ok(Self { file, bytes, file_bytes, pack, encrypted, opened: RefCell::default() })
    }

    /// The trailing table of a whole pack: its end says how long it is.
    fn table(&self) -> Result<PackTable, PackError> {
        if self.encrypted.as_ref().is_some_and(|encrypted| !encrypted.is_whole()) {
            let what = "it does not end as an encrypted pack does".to_owned();
            return Err(PackError::Malformed { offset: self.bytes, what });
        }
        let mut want = (TRAILER_BYTES as u64).min(self.bytes);
        loop {
            match table_from_tail(&self.read(self.bytes - want, want as usize)?, self.bytes)? {
                Tail::Table(table) => return Ok(table),
                Tail::NeedBytes(more) => want = more,
            }
        }
    }

    /// Where this byte, which begins a record, lies in the file.
    fn position(&self, plain: u64) -> u64 {
        let encrypted = self.encrypted.as_ref();
        encrypted.map_or(plain, |encrypted| encrypted.file_position(encrypted.records_up_to(plain)))
    }

    fn scanned(self, table: Option<PackTable>, whole: u64, finished: bool, damage: Option<PackError>) -> Scan {
        let whole_bytes = if table.is_some() { self.position(whole) } else { 0 };
        let finished = finished && self.encrypted.as_ref().is_none_or(Encrypted::is_whole);
        Scan { table, whole_bytes, file_bytes: self.file_bytes, finished, damage, encrypted: self.encrypted }
    }

    /// Exactly these bytes, which the pack has.
    fn read(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, PackError> {
        let end = offset.checked_add(bytes as u64).filter(|end| *end <= self.bytes);
        let Some(end) = end else {
            return Err(PackError::Malformed { offset, what: format!("{bytes} bytes should follow and do not") });
        };
        let Some(encrypted) = &self.encrypted else { return self.read_file(offset, bytes) };
        let mut plain = Vec::with_capacity(bytes);
        for record in encrypted.holding(&(offset..end)) {
            let mut opened = self.opened.borrow_mut();
            if opened.as_ref().is_some_and(|(last, _)| *last != record) {
                *opened = None;
            }
            let (_, bytes) = match &mut *opened {
                Some(opened) => opened,
                none => none.insert((record, self.open_record(encrypted, record)?)),
            };
            let range = encrypted.plain_range(record);
            let (from, to) = (offset.max(range.start) - range.start, end.min(range.end) - range.start);
            plain.extend_from_slice(&bytes[from as usize..to as usize]);
        }
        Ok(plain)
    }

    /// The plain bytes of a record.
    fn open_record(&self, encrypted: &Encrypted, record: usize) -> Result<Vec<u8>, PackError> {
        let range = encrypted.file_range(record);
        let mut bytes = self.read_file(range.start, (range.end - range.start) as usize)?;
        let plain = encrypted.open(record, &mut bytes)?;
        bytes.truncate(plain.end);
        bytes.drain(..plain.start);
        Ok(bytes)
    }

    fn read_file(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, PackError> {
        let mut buffer = vec![0; bytes];
        let io = |source| PackError::Io { pack: self.pack, source };
        self.file.read_exact_at(&mut buffer, offset).map_err(io)?;
        Ok(buffer)
    }
}

#[cfg(test)]
mod tests;
