//! Encrypted packs: a pack's file, encrypted, with nothing in clear but the name of a key.
//!
//! ```text
//! head    magic(8) key id(16) wrapped pack key(60)
//! record  bytes(4) nonce(12) ciphertext tag(16)          the pack's first boxes
//! record  …  record  …                                   for each fragment: its boxes, its samples (cut at 1 MiB)
//! record  …                                              the fragment table
//! index   bytes(4) nonce(12) ciphertext tag(16)          the length of each record, 4 bytes each
//! tail    head bytes of the index(4) magic(8)            finds the rest from the end alone
//! ```
//!
//! All that reads packs speaks of *plain* bytes, those of the pack as if it were not encrypted; [`Encrypted`] says in which
//! records they lie and where those are in the file. Lengths stay visible.
//!
//! Each record is AES-256-GCM under the pack's own random key, with a random nonce; its number, its length and whether
//! it is the index are encrypted along with it. So a record that was changed, moved or taken from another pack does not
//! open, and a whole pack that was cut short has no tail. Which pack it is, the pack header inside says.
//! Invariants: a record holds 1 byte to 1 MiB; each fragment begins a record, so that a torn file is cut between records.
//! Absent on purpose: this module does not know what the plain bytes are.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use secrecy::SecretBox;

use super::PackError;
use crate::keys::aead::{AEAD_BYTES, Cipher, WRAPPED_BYTES, new_key};
use crate::keys::vault::{DayKey, Vault};
use crate::units::{KeyId, PackId};

const MAGIC: [u8; 8] = *b"vigencr1";
const END_MAGIC: [u8; 8] = *b"vigencrE";
const KEY_ID_BYTES: usize = 16;
/// Bytes before the first record.
pub const HEAD_BYTES: usize = MAGIC.len() + KEY_ID_BYTES + WRAPPED_BYTES;
/// Bytes after the index.
pub const END_BYTES: usize = HEAD_BYTES + 4 + END_MAGIC.len();
const LENGTH_BYTES: usize = 4;
/// Bytes that a record is longer in the file than in clear.
pub const RECORD_EXTRA_BYTES: usize = LENGTH_BYTES + AEAD_BYTES;
/// Plain bytes of a record at most: what is longer is cut, so that reading needs little memory whatever a camera sends.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// More records are neither written nor read: far beyond any pack, and the index stays small.
const RECORDS_MAX: usize = 1 << 20;

const DATA: u8 = 0;
const INDEX: u8 = 1;

/// What is encrypted along with a record.
fn context(kind: u8, number: usize, plain_bytes: u32) -> [u8; 9] {
    let mut context = [kind; 9];
    context[1..5].copy_from_slice(&(number as u32).to_be_bytes());
    context[5..].copy_from_slice(&plain_bytes.to_be_bytes());
    context
}

/// What a pack's wrapped key is wrapped for.
fn head_context(key: KeyId) -> Vec<u8> {
    [&b"vigie pack key|"[..], &MAGIC, &key.0].concat()
}

/// The name of the key that a file is encrypted under, if it is.
pub fn key_of(path: &Path) -> std::io::Result<Option<KeyId>> {
    let mut first = [0; MAGIC.len() + KEY_ID_BYTES];
    match File::open(path)?.read_exact_at(&mut first, 0) {
        Ok(()) => Ok(first.strip_prefix(&MAGIC).and_then(|id| id.first_chunk()).map(|id| KeyId(*id))),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

fn malformed(offset: u64, what: &str) -> PackError {
    PackError::Malformed { offset, what: what.to_owned() }
}

/// Encrypts what a pack's file is made of, record by record. Knows no file.
#[derive(Debug)]
pub struct Encryptor {
    cipher: Arc<Cipher>,
    /// Held, so that it is not destroyed while the pack grows.
    day: Arc<DayKey>,
    head: [u8; HEAD_BYTES],
    /// Of the records that were kept.
    lengths: Vec<u32>,
    /// Bytes of the file up to the end of the last record kept.
    file_bytes: u64,
    /// Of the records encrypted and not kept yet.
    offered: Vec<u32>,
}

impl Encryptor {
    /// For a new pack, with a key of its own.
    pub fn new(day: Arc<DayKey>) -> Self {
        let key = new_key();
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&MAGIC);
        head[8..8 + KEY_ID_BYTES].copy_from_slice(&day.id.0);
        head[8 + KEY_ID_BYTES..].copy_from_slice(&day.cipher.wrap(&head_context(day.id), &key));
        let file_bytes = HEAD_BYTES as u64;
        Self { cipher: Arc::new(Cipher::new(&key)), day, head, lengths: Vec::new(), file_bytes, offered: Vec::new() }
    }

    /// Goes on with a pack that was torn, after its record `records - 1`.
    pub fn resume(encrypted: Encrypted, records: usize) -> Self {
        let lengths = encrypted.lengths().take(records).collect();
        let file_bytes = encrypted.file_position(records);
        let Encrypted { cipher, day, head, .. } = encrypted;
        Self { cipher, day, head, lengths, file_bytes, offered: Vec::new() }
    }

    /// What the file begins with.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The day key that the pack is encrypted under.
    pub fn day(&self) -> &Arc<DayKey> {
        &self.day
    }

    /// Bytes of the file up to the end of the last record kept.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// How the pack is encrypted up to the last record kept.
    pub fn so_far(&self) -> Encrypted {
        let (cipher, day) = (self.cipher.clone(), self.day.clone());
        let mut encrypted = Encrypted { cipher, day, head: self.head, starts: vec![0], whole: false };
        self.lengths.iter().for_each(|&length| encrypted.push(length));
        encrypted
    }

    /// Appends records that hold these bytes to `out`. They count once [`Encryptor::keep`] says that they were written; until
    /// then the next records follow them, and [`Encryptor::drop_offered`] takes all of them back.
    ///
    /// # Errors
    /// When there are too many records.
    pub fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        for plain in plain.chunks(RECORD_BYTES_MAX) {
            let number = self.lengths.len() + self.offered.len();
            if number >= RECORDS_MAX {
                return Err("it has as many records as an encrypted pack can");
            }
            let bytes = plain.len() as u32;
            out.extend_from_slice(&bytes.to_be_bytes());
            self.cipher.encrypt(&context(DATA, number, bytes), plain, out);
            self.offered.push(bytes);
        }
        Ok(())
    }

    /// What was encrypted lies whole in the file.
    pub fn keep(&mut self) {
        self.file_bytes += self.offered.iter().map(|bytes| file_bytes_of(*bytes)).sum::<u64>();
        self.lengths.append(&mut self.offered);
    }

    /// What was encrypted does not lie in the file.
    pub fn drop_offered(&mut self) {
        self.offered.clear();
    }

    /// Appends what a whole pack ends with, after all records, kept or offered.
    pub fn encrypt_end(&self, out: &mut Vec<u8>) {
        let index: Vec<u8> = self.lengths.iter().chain(&self.offered).flat_map(|bytes| bytes.to_be_bytes()).collect();
        let (number, bytes) = (index.len() / 4, index.len() as u32);
        out.extend_from_slice(&bytes.to_be_bytes());
        self.cipher.encrypt(&context(INDEX, number, bytes), &index, out);
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&bytes.to_be_bytes());
        out.extend_from_slice(&END_MAGIC);
    }
}

fn may_be(length: u32) -> bool {
    (1..=RECORD_BYTES_MAX as u32).contains(&length)
}

fn file_bytes_of(plain_bytes: u32) -> u64 {
    u64::from(plain_bytes) + RECORD_EXTRA_BYTES as u64
}

/// How an encrypted pack's plain bytes lie in its file, and the key to them.
#[derive(Clone, Debug)]
pub struct Encrypted {
    cipher: Arc<Cipher>,
    day: Arc<DayKey>,
    head: [u8; HEAD_BYTES],
    /// Where each record begins in clear; at last, where they end.
    starts: Vec<u64>,
    /// The end is there and is this pack's: it is whole.
    whole: bool,
}

/// What the last bytes of a file say.
#[derive(Debug)]
pub enum EncryptedEnd {
    /// It does not end as an encrypted pack does.
    NotEncrypted,
    /// Read again, this many bytes from the end.
    NeedBytes(u64),
    /// A whole encrypted pack.
    Encrypted(Encrypted),
}

impl Encrypted {
    /// Whether a file that begins so is encrypted.
    pub fn begins(first: &[u8]) -> bool {
        first.starts_with(&MAGIC)
    }

    /// From the last bytes of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// When its key cannot be had, or the end is damaged.
    pub fn from_end(vault: &Vault, pack: PackId, last: &[u8], file_bytes: u64) -> Result<EncryptedEnd, PackError> {
        let Some(at) = last.len().checked_sub(END_BYTES).filter(|_| last.ends_with(&END_MAGIC)) else {
            return Ok(EncryptedEnd::NotEncrypted);
        };
        let (head, rest) = last[at..].split_first_chunk::<HEAD_BYTES>().expect("END_BYTES are more than HEAD_BYTES");
        let index_bytes = u32::from_be_bytes(*rest.first_chunk().expect("END_BYTES are this many more"));
        let offset = file_bytes.saturating_sub(END_BYTES as u64);
        let records = index_bytes as usize / 4;
        if !index_bytes.is_multiple_of(4) || records > RECORDS_MAX || file_bytes_of(index_bytes) > offset {
            return Err(malformed(offset, "its end tells of an index that cannot be"));
        }
        let need = file_bytes_of(index_bytes) + END_BYTES as u64;
        let Some(start) = last.len().checked_sub(need as usize) else { return Ok(EncryptedEnd::NeedBytes(need)) };
        let mut encrypted = Self::from_head(vault, pack, head)?;
        let mut index = last[start..at].to_vec();
        let index = encrypted.open_record(INDEX, records, index_bytes, &mut index, file_bytes - need)?;
        for length in index.chunks_exact(4) {
            let length = u32::from_be_bytes(*length.first_chunk().expect("chunks of four"));
            if !may_be(length) {
                return Err(malformed(offset, "its index tells of a record that cannot be"));
            }
            encrypted.push(length);
        }
        encrypted.whole = true;
        if encrypted.file_position(records) + need != file_bytes {
            return Err(malformed(offset, "its records do not add up to its bytes"));
        }
        Ok(EncryptedEnd::Encrypted(encrypted))
    }

    /// An open file, where it is an encrypted pack: a whole one by its end, a torn one by its records, of which only the
    /// lengths are read.
    pub fn of_file(vault: &Vault, pack: PackId, file: &File, file_bytes: u64) -> Result<Option<Self>, PackError> {
        let io = |source| PackError::Io { pack, source };
        let mut head = [0; HEAD_BYTES];
        if file_bytes < HEAD_BYTES as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut head, 0).map_err(io)?;
        if !Self::begins(&head) {
            return Ok(None);
        }
        let mut want = (END_BYTES as u64 + 4096).min(file_bytes);
        loop {
            let mut last = vec![0; want as usize];
            file.read_exact_at(&mut last, file_bytes - want).map_err(io)?;
            match Self::from_end(vault, pack, &last, file_bytes) {
                Ok(EncryptedEnd::NeedBytes(more)) if more > want => want = more,
                Ok(EncryptedEnd::Encrypted(encrypted)) if encrypted.head == head => return Ok(Some(encrypted)),
                // A key that is missing is missing for the head too; else the end is torn or damaged.
                Err(e @ PackError::Key { .. }) => return Err(e),
                _ => break,
            }
        }
        let mut encrypted = Self::from_head(vault, pack, &head)?;
        let mut at = HEAD_BYTES as u64;
        let mut length = [0; LENGTH_BYTES];
        while at + LENGTH_BYTES as u64 <= file_bytes && encrypted.records() < RECORDS_MAX {
            file.read_exact_at(&mut length, at).map_err(io)?;
            let length = u32::from_be_bytes(length);
            at += file_bytes_of(length);
            if !may_be(length) || at > file_bytes {
                break;
            }
            encrypted.push(length);
        }
        Ok(Some(encrypted))
    }

    fn from_head(vault: &Vault, pack: PackId, head: &[u8; HEAD_BYTES]) -> Result<Self, PackError> {
        let (key, wrapped) = head[MAGIC.len()..].split_first_chunk::<KEY_ID_BYTES>().expect("a head has a key's id");
        let wrapped: &[u8; WRAPPED_BYTES] = wrapped.first_chunk().expect("a head has a wrapped key");
        if !Self::begins(head) {
            return Err(malformed(0, "its head is not that of an encrypted pack"));
        }
        let id = KeyId(*key);
        let day = vault.find(id).map_err(|source| PackError::Key { pack, source: Box::new(source) })?;
        let key: SecretBox<[u8; 32]> = day
            .cipher
            .unwrap(&head_context(id), wrapped)
            .map_err(|_| malformed(0, "its key does not open: the head is damaged"))?;
        Ok(Self { cipher: Arc::new(Cipher::new(&key)), day, head: *head, starts: vec![0], whole: false })
    }

    fn push(&mut self, length: u32) {
        self.starts.push(self.plain_bytes() + u64::from(length));
    }

    /// The day key that it is encrypted under.
    pub fn day(&self) -> &Arc<DayKey> {
        &self.day
    }

    /// True when its end is there: it was finished.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Bytes in clear.
    pub fn plain_bytes(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// How many records there are.
    pub fn records(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many records end at or before this plain byte.
    pub fn records_up_to(&self, plain: u64) -> usize {
        self.starts[1..].partition_point(|end| *end <= plain)
    }

    fn lengths(&self) -> impl Iterator<Item = u32> + '_ {
        self.starts.windows(2).map(|pair| (pair[1] - pair[0]) as u32)
    }

    /// Where a record begins in the file; where they end, for their number.
    pub fn file_position(&self, record: usize) -> u64 {
        (HEAD_BYTES + record * RECORD_EXTRA_BYTES) as u64 + self.starts[record]
    }

    /// The records that hold these plain bytes, which must be within [`Encrypted::plain_bytes`].
    pub fn holding(&self, plain: &Range<u64>) -> Range<usize> {
        if plain.start >= plain.end {
            return 0..0;
        }
        self.records_up_to(plain.start)..self.starts.partition_point(|start| *start < plain.end).min(self.records())
    }

    /// The plain bytes of a record.
    pub fn plain_range(&self, record: usize) -> Range<u64> {
        self.starts[record]..self.starts[record + 1]
    }

    /// The bytes of a record in the file.
    pub fn file_range(&self, record: usize) -> Range<u64> {
        self.file_position(record)..self.file_position(record + 1)
    }

    /// Opens a record in place, from its bytes in the file: gives where its plain bytes are among them.
    ///
    /// # Errors
    /// When they are not this record of this pack as it was written.
    pub fn open(&self, record: usize, bytes: &mut [u8]) -> Result<Range<usize>, PackError> {
        let plain = self.plain_range(record);
        let length = (plain.end - plain.start) as u32;
        let opened = self.open_record(DATA, record, length, bytes, plain.start)?.len();
        let before = RECORD_EXTRA_BYTES - crate::keys::aead::TAG_BYTES;
        Ok(before..before + opened)
    }

    fn open_record<'a>(
        &self,
        kind: u8,
        number: usize,
        length: u32,
        bytes: &'a mut [u8],
        offset: u64,
    ) -> Result<&'a mut [u8], PackError> {
        let damaged = || malformed(offset, "it does not open with its key: it was changed, or is another's");
        let (reported, encrypted) = bytes.split_first_chunk_mut::<LENGTH_BYTES>().ok_or_else(damaged)?;
        if *reported != length.to_be_bytes() || encrypted.len() != length as usize + AEAD_BYTES {
            return Err(malformed(offset, "a record is not as long as it should be"));
        }
        self.cipher.open(&context(kind, number, length), encrypted).map_err(|_| damaged())
    }

    /// The plain bytes that the last bytes of the file hold whole, from their end; see [`Encrypted::file_need`].
    pub fn plain_end(&self, last: &[u8], file_bytes: u64) -> Result<Vec<u8>, PackError> {
        let from = file_bytes.saturating_sub(last.len() as u64);
        let first = (0..self.records()).find(|record| self.file_position(*record) >= from).unwrap_or(self.records());
        let mut plain = Vec::new();
        for record in first..self.records() {
            let range = self.file_range(record);
            let bytes = last.get((range.start - from) as usize..(range.end - from) as usize);
            let mut bytes = bytes.ok_or_else(|| malformed(range.start, "it ends inside a record"))?.to_vec();
            let opened = self.open(record, &mut bytes)?;
            plain.extend_from_slice(&bytes[opened]);
        }
        Ok(plain)
    }

    /// How many last bytes of the file hold this many last plain bytes.
    pub fn file_need(&self, plain: u64, file_bytes: u64) -> u64 {
        let record = self.records_up_to(self.plain_bytes().saturating_sub(plain));
        file_bytes - self.file_position(record)
    }
}

#[cfg(test)]
mod tests;
