//! Writes a package: its ZIP, file by file, then the manifest and what is made of it.
//!
//! Invariant: nothing of it is in memory but the list of its files. What is written is read back and compared before it counts
//! ([`ReadBack`]).
//! Absent on purpose: threads, pace, and where the disk has room: the caller's.

use std::fs::File as DiskFile;
use std::io;
use std::os::unix::fs::FileExt;

use crate::canonical::NotCanonical;
use crate::manifest::{File, MANIFEST_BYTES_MAX, Manifest, Media};
use crate::names;
use crate::sign::{Authority, GatewayKey, SignError};
use crate::sums::{self, Sha256};
use crate::zip::{self, Entry};

/// A package that is being written.
#[derive(Debug)]
pub struct Writer {
    zip: DiskFile,
    at: u64,
    open: Option<Open>,
    entries: Vec<(Entry, File)>,
}

/// A file of it that is being written.
#[derive(Debug)]
struct Open {
    entry: Entry,
    crc: crc32fast::Hasher,
    sha256: Sha256,
}

/// A package cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk refuses.
    #[error("the package cannot be written: {0}")]
    Io(#[from] io::Error),
    /// The manifest has no encoding.
    #[error("the manifest cannot be written: {0}")]
    Manifest(#[from] NotCanonical),
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The disk gives back other bytes than it was given.
    #[error("the disk gives back other bytes of {0} than were written: the package is not used")]
    ReadBack(String),
    /// The manifest is longer than a verifier reads.
    #[error("the manifest is longer than {MANIFEST_BYTES_MAX} bytes: export a shorter range, or fewer cameras")]
    TooLong,
    /// A name is none of a package, or there already.
    #[error("no file of a package may be called {0:?} here")]
    Name(String),
}

impl Writer {
    /// Into this file, which is empty.
    pub fn new(zip: DiskFile) -> Self {
        Self { zip, at: 0, open: None, entries: Vec::new() }
    }

    /// How many bytes it has so far.
    pub fn bytes(&self) -> u64 {
        self.at
    }

    /// Begins a file.
    ///
    /// # Errors
    /// When the name is none, or there already.
    pub fn begin(&mut self, name: &str) -> Result<(), WriteError> {
        let is_there = self.entries.iter().any(|(entry, _)| entry.name == name);
        if !names::is_plain(name) || is_there || self.open.is_some() {
            return Err(WriteError::Name(name.to_owned()));
        }
        let entry = Entry { name: name.to_owned(), bytes: 0, crc: 0, at: self.at };
        self.at = entry.data_at();
        self.open = Some(Open { entry, crc: crc32fast::Hasher::new(), sha256: Sha256::default() });
        Ok(())
    }

    /// Writes more of the file that was begun.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let open = self.open.as_mut().ok_or_else(|| WriteError::Name(String::new()))?;
        self.zip.write_all_at(bytes, self.at)?;
        open.crc.update(bytes);
        open.sha256.update(bytes);
        open.entry.bytes += bytes.len() as u64;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Ends the file that was begun.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn end(&mut self, media: Option<Media>) -> Result<(), WriteError> {
        let Some(Open { mut entry, crc, sha256 }) = self.open.take() else {
            return Err(WriteError::Name(String::new()));
        };
        entry.crc = crc.finalize();
        self.zip.write_all_at(&entry.local_header(), entry.at)?;
        let file = File { path: entry.name.clone(), bytes: entry.bytes, sha256: sha256.finish(), media };
        self.entries.push((entry, file));
        Ok(())
    }

    /// Takes back what was written of a file that was not ended.
    pub fn abandon(&mut self) {
        if let Some(open) = self.open.take() {
            self.at = open.entry.at;
        }
    }

    /// A whole file.
    ///
    /// # Errors
    /// As [`Self::begin`] and [`Self::write`].
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        self.begin(name)?;
        self.write(bytes)?;
        self.end(None)
    }

    /// Adds the public keys, and says what the manifest has to list: every file so far, by name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn add_keys(&mut self, key: &GatewayKey, authority: Option<&Authority>) -> Result<Vec<File>, WriteError> {
        self.add(names::GATEWAY_KEY, key.pem().as_bytes())?;
        if let Some(authority) = authority {
            self.add(names::AUTHORITY_CERTIFICATES, authority.pem().as_bytes())?;
        }
        let mut files: Vec<File> = self.entries.iter().map(|(_, file)| file.clone()).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Writes the manifest with its signatures, the time stamp of its encoding where there is one, and the sums, and ends the ZIP; all of
    /// it durable.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(
        mut self,
        manifest: &Manifest,
        (key, authority): (&GatewayKey, Option<&Authority>),
        time_stamp: Option<&[u8]>,
    ) -> Result<Written, WriteError> {
        let encoded = manifest.encode()?;
        if encoded.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(WriteError::TooLong);
        }
        self.add(names::MANIFEST, &encoded)?;
        self.add(names::SIGNATURE, &key.sign(&encoded))?;
        if let Some(authority) = authority {
            self.add(names::AUTHORITY_SIGNATURE, &authority.sign(&encoded)?)?;
        }
        if let Some(reply) = time_stamp {
            self.add(names::TIME_STAMP, reply)?;
        }
        let sums = sums::text(self.entries.iter().map(|(_, file)| (file.path.as_str(), file.sha256.as_str())));
        self.add(names::SUMS, sums.as_bytes())?;
        let entries: Vec<Entry> = self.entries.iter().map(|(entry, _)| entry.clone()).collect();
        let directory = zip::directory(&entries);
        self.zip.write_all_at(&directory, self.at)?;
        self.at += directory.len() as u64;
        self.zip.set_len(self.at)?;
        self.zip.sync_all()?;
        Ok(Written { entries: self.entries, bytes: self.at, manifest: sums::sha256(&encoded) })
    }

    /// Makes durable what was written so far, so that it does not wait in memory for all at once.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<(), WriteError> {
        Ok(self.zip.sync_data()?)
    }
}

/// A package that is on the disk.
#[derive(Debug)]
pub struct Written {
    /// Its files, in their order in the ZIP.
    pub entries: Vec<(Entry, File)>,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its manifest, in hexadecimal.
    pub manifest: String,
}

/// Reads a package back that was just written, at the pace of who asks for the next step.
#[derive(Debug)]
pub struct ReadBack {
    zip: DiskFile,
    entries: std::vec::IntoIter<(Entry, File)>,
    current: Option<(Entry, File, Sha256)>,
    at: u64,
    bytes: u64,
    whole: Sha256,
    buffer: Vec<u8>,
}

/// How many bytes a step reads.
const STEP_BYTES: usize = 1 << 20;

impl ReadBack {
    /// Of this file.
    pub fn new(zip: DiskFile, written: &Written) -> Self {
        let (entries, bytes) = (written.entries.clone().into_iter(), written.bytes);
        let (whole, buffer) = (Sha256::default(), vec![0; STEP_BYTES]);
        Self { zip, entries, current: None, at: 0, bytes, whole, buffer }
    }

    /// Reads on: how many bytes it were, or at the end the SHA-256 of the whole.
    ///
    /// # Errors
    /// When the disk refuses, or a file is not as it was written.
    pub fn step(&mut self) -> Result<Step, WriteError> {
        if self.at == self.bytes {
            return Ok(Step::Whole(std::mem::take(&mut self.whole).finish()));
        }
        if self.current.is_none() {
            self.current = self.entries.next().map(|(entry, file)| (entry, file, Sha256::default()));
        }
        // To the end of a file's header, of its bytes, or of the directory.
        let until = match &self.current {
            Some((entry, ..)) if self.at < entry.data_at() => entry.data_at(),
            Some((entry, ..)) => entry.end(),
            None => self.bytes,
        };
        let len = (until - self.at).min(STEP_BYTES as u64) as usize;
        let bytes = &mut self.buffer[..len];
        self.zip.read_exact_at(bytes, self.at)?;
        self.whole.update(bytes);
        if let Some((entry, file, hash)) = &mut self.current {
            if self.at >= entry.data_at() {
                hash.update(bytes);
            }
            if self.at + len as u64 >= entry.end() {
                if std::mem::take(hash).finish() != file.sha256 {
                    return Err(WriteError::ReadBack(entry.name.clone()));
                }
                self.current = None;
            }
        }
        self.at += len as u64;
        Ok(Step::Read(len as u64))
    }
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes were read.
    Read(u64),
    /// SHA-256 of the whole, in hexadecimal.
    Whole(String),
}
