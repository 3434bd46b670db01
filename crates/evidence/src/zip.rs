//! The ZIP of a package: one form of it, which every program unpacks (APPNOTE 6.3, ZIP64).
//!
//! ```text
//! [local header, bytes of the file] … [central header] …  ZIP64 end, its locator, end
//! ```
//!
//! Files are stored, never compressed: nothing unpacks to more than it is, and each byte of footage lies in the ZIP as it is. Every
//! size and offset is in a ZIP64 field, whatever it is; every other field has one value.
//! Invariant: the names, lengths and CRCs of the files give every other byte, so that none can change unseen.

use std::collections::HashSet;
use std::io;

use crate::names;

/// Files of a ZIP that is read.
pub const FILES_MAX: u64 = 100_100;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;
/// ZIP64.
const VERSION_NEEDED: u16 = 45;
/// Unix, for the permissions.
const MADE_BY: u16 = (3 << 8) | VERSION_NEEDED;
/// Names are UTF-8.
const FLAGS: u16 = 0x0800;
/// 1980-01-01, the first day that ZIP knows: a package says its time in its manifest.
const DATE: u16 = (1 << 5) | 1;
/// A regular file that its owner writes and all read.
const PERMISSIONS: u32 = 0o100_644 << 16;

const LOCAL_BYTES: u64 = 30 + 20;
const CENTRAL_BYTES: u64 = 46 + 28;
const END_BYTES: u64 = 56 + 20 + 22;

/// A file in the ZIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Of its bytes (ISO 3309).
    pub crc: u32,
    /// Where its local header begins.
    pub at: u64,
}

impl Entry {
    /// Where its bytes begin.
    pub fn data_at(&self) -> u64 {
        self.at + LOCAL_BYTES + self.name.len() as u64
    }

    /// Where the next one begins.
    pub fn end(&self) -> u64 {
        self.data_at() + self.bytes
    }

    /// Its local header.
    pub fn local_header(&self) -> Vec<u8> {
        let mut out = Fields::default();
        out.u32(LOCAL).u16(VERSION_NEEDED).u16(FLAGS).u16(0).u16(0).u16(DATE).u32(self.crc);
        out.u32(u32::MAX).u32(u32::MAX).u16(self.name.len() as u16).u16(20);
        out.0.extend(self.name.as_bytes());
        out.u16(1).u16(16).u64(self.bytes).u64(self.bytes);
        out.0
    }

    fn central_header(&self) -> Vec<u8> {
        let mut out = Fields::default();
        out.u32(CENTRAL).u16(MADE_BY).u16(VERSION_NEEDED).u16(FLAGS).u16(0).u16(0).u16(DATE).u32(self.crc);
        out.u32(u32::MAX).u32(u32::MAX).u16(self.name.len() as u16).u16(28).u16(0).u16(0).u16(0);
        out.u32(PERMISSIONS).u32(u32::MAX);
        out.0.extend(self.name.as_bytes());
        out.u16(1).u16(24).u64(self.bytes).u64(self.bytes).u64(self.at);
        out.0
    }
}

/// Little-endian fields.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }
}

/// What follows the files: the directory, and the end.
pub fn directory(entries: &[Entry]) -> Vec<u8> {
    let at = entries.last().map_or(0, Entry::end);
    let mut out = Fields(entries.iter().flat_map(Entry::central_header).collect());
    let (count, bytes) = (entries.len() as u64, out.0.len() as u64);
    out.u32(END_64).u64(44).u16(MADE_BY).u16(VERSION_NEEDED).u32(0).u32(0);
    out.u64(count).u64(count).u64(bytes).u64(at);
    out.u32(LOCATOR_64).u32(0).u64(at + bytes).u32(1);
    out.u32(END).u16(0).u16(0).u16(u16::MAX).u16(u16::MAX).u32(u32::MAX).u32(u32::MAX).u16(0);
    out.0
}

/// Bytes that are read where one wants.
pub trait ReadAt: Send + Sync {
    /// As many as there are, and the buffer takes.
    ///
    /// # Errors
    /// When the disk refuses.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// All that the buffer takes.
    ///
    /// # Errors
    /// When there are fewer, too.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => (buffer, at) = (&mut buffer[n..], at + n as u64),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl ReadAt for std::fs::File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, at)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let n = from.len().min(buffer.len());
        buffer[..n].copy_from_slice(&from[..n]);
        Ok(n)
    }
}

/// A ZIP is no package's.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// It has another form.
    #[error(
        "the ZIP is damaged, or not as Vigie wrote it, at byte {at}: {what}; if another program packed it, unpack it and verify the \
         folder"
    )]
    Form {
        /// Where.
        at: u64,
        /// What is there.
        what: String,
    },
    /// The disk refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn form<T>(at: u64, what: impl Into<String>) -> Result<T, ZipError> {
    Err(ZipError::Form { at, what: what.into() })
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

/// The files of a ZIP of this length, whose directory is in its one form. Of the files themselves nothing is read.
///
/// # Errors
/// See [`ZipError`].
pub fn read_directory(zip: &dyn ReadAt, len: u64) -> Result<Vec<Entry>, ZipError> {
    let Some(end_at) = len.checked_sub(END_BYTES) else { return form(0, "it is too short to be one") };
    let mut end = [0; END_BYTES as usize];
    zip.read_exact_at(&mut end, end_at)?;
    if field(&end, 0) != END_64.to_le_bytes() {
        return form(end_at, "its end is not there: it is cut off, or is no ZIP64");
    }
    let [count, bytes, at] = [24, 40, 48].map(|offset| u64::from_le_bytes(field(&end, offset)));
    if count > FILES_MAX {
        return form(end_at, format!("it has {count} files: a package has at most {FILES_MAX}"));
    }
    let bytes_max = count * (CENTRAL_BYTES + names::NAME_BYTES_MAX as u64);
    if bytes > bytes_max || at.checked_add(bytes) != Some(end_at) {
        return form(end_at, "its directory is not where its end says");
    }
    let mut central = vec![0; bytes as usize];
    zip.read_exact_at(&mut central, at)?;
    let mut entries: Vec<Entry> = Vec::new();
    let (mut names, mut from) = (HashSet::new(), 0);
    for _ in 0..count {
        let here = at + from as u64;
        let next_at = entries.last().map_or(0, Entry::end);
        let entry = central_entry(&central[from..], next_at).or_else(|what| form(here, what))?;
        if entry.bytes > at || entry.end() > at {
            return form(here, format!("{} reaches beyond the files", entry.name));
        }
        if !names.insert(entry.name.clone()) {
            return form(here, format!("{} is there twice", entry.name));
        }
        from += CENTRAL_BYTES as usize + entry.name.len();
        entries.push(entry);
    }
    let given = [&central[..], &end[..]].concat();
    let right = directory(&entries);
    if given != right {
        let place = given.iter().zip(&right).take_while(|(a, b)| a == b).count();
        return form(at + place as u64, "its directory is not that of its files");
    }
    Ok(entries)
}

/// The entry that these bytes begin with, whose file begins there.
fn central_entry(bytes: &[u8], at: u64) -> Result<Entry, String> {
    let name_bytes = usize::from(u16::from_le_bytes(field(bytes, 28)));
    let name = bytes.get(46..46 + name_bytes).and_then(|name| str::from_utf8(name).ok());
    let name = name.filter(|name| names::is_plain(name)).ok_or("a file has a name that none of a package has")?;
    let extra = bytes.get(46 + name_bytes..46 + name_bytes + 28).ok_or("the directory is cut off")?;
    let size = u64::from_le_bytes(field(extra, 4));
    // Together with what follows them no two lengths overflow.
    if size > u64::MAX / 4 || at > u64::MAX / 4 {
        return Err(format!("{name} is longer than any disk"));
    }
    Ok(Entry { name: name.to_owned(), bytes: size, crc: u32::from_le_bytes(field(bytes, 16)), at })
}
