//! Writes one pack, fragment by fragment.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use self::held::Held;
use self::written::Written;
use super::encrypted::{Encrypted, Encryptor};
use super::reader::Scan;
use super::{FragmentEntry, PackError, PackHeader, PackTable, Stamp, format};
use crate::keys::DomainKey;
use crate::keys::vault::DayKey;
use crate::media::{Fragment, Payload};
use crate::platform::{self, Writing};
use crate::units::FragmentId;

mod held;
mod written;

pub use held::{Buffers, HeldPart};

/// Bytes of memory that a thread keeps for encryption.
const SEALING_BYTES_KEPT: usize = 4 << 20;

thread_local! {
    /// Sample bytes in pieces are put together here where they must lie in one.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// What is encrypted goes through here: one for each thread, where one for each pack would double what a camera costs.
    static SEALING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A pack that grows. Dropping it leaves the file as it is: recovery finds every whole fragment.
#[derive(Debug)]
pub struct PackWriter {
    out: Out,
    key: DomainKey,
    table: PackTable,
    encryptor: Option<Encryptor>,
    /// Reused from fragment to fragment.
    boxes: Vec<u8>,
}

/// Where fragments go.
#[derive(Debug)]
enum Out {
    /// Into the file, one by one.
    Written(Written),
    /// Into memory, until they are taken to be written together.
    Held(Held),
}

impl PackWriter {
    /// Creates the file (it must not exist) and writes everything before the first fragment. Each fragment is written as
    /// it is appended.
    pub fn create(path: &Path, header: PackHeader, key: DomainKey) -> Result<Self, PackError> {
        Self::create_written(path, header, key, None)
    }

    /// The same, encrypted ([`super::encrypted`]) under this key.
    pub fn create_encrypted(
        path: &Path,
        header: PackHeader,
        key: DomainKey,
        day: Arc<DayKey>,
    ) -> Result<Self, PackError> {
        Self::create_written(path, header, key, Some(day))
    }

    fn create_written(
        path: &Path,
        header: PackHeader,
        key: DomainKey,
        day: Option<Arc<DayKey>>,
    ) -> Result<Self, PackError> {
        let pack = header.pack;
        let (first, begun) = Begun::new(header, day)?;
        let io = |source| PackError::Io { pack, source };
        let file = platform::create_new(path).map_err(io)?;
        platform::write_all(&file, &first).map_err(io)?;
        Ok(begun.writer(Out::Written(Written::new(file)), key))
    }

    /// Begins a pack that is held in memory: [`PackWriter::take_unwritten`] gives what is to be written of it, from the
    /// creation of the file (it must not exist) on. Encrypted under `day`, if there is one. Nothing here waits for the disk.
    pub fn hold(
        path: &Path,
        header: PackHeader,
        key: DomainKey,
        day: Option<Arc<DayKey>>,
        (writing, buffers): (Writing, Buffers),
    ) -> Result<Self, PackError> {
        let (first, begun) = Begun::new(header, day)?;
        let mut held = Held::new(path.to_owned(), writing, buffers);
        held.push(first.len(), [&first[..]]);
        Ok(begun.writer(Out::Held(held), key))
    }

    /// Goes on with a torn pack: what follows its last whole fragment is cut off.
    pub fn resume(path: &Path, scan: Scan, key: DomainKey) -> Result<Self, PackError> {
        let Some(table) = scan.table else {
            return Err(PackError::Malformed { offset: 0, what: "no whole pack header to go on from".to_owned() });
        };
        let encryptor = scan.encrypted.map(|encrypted| {
            let records = encrypted.records_up_to(table.end());
            Encryptor::resume(encrypted, records)
        });
        let pack = table.header.pack;
        let io = |source| PackError::Io { pack, source };
        let mut file = File::options().read(true).write(true).open(path).map_err(io)?;
        platform::set_len(&file, scan.whole_bytes).map_err(io)?;
        file.seek(SeekFrom::Start(scan.whole_bytes)).map_err(io)?;
        let out = Out::Written(Written::new(file));
        Ok(Self { out, key, table, encryptor, boxes: Vec::new() })
    }

    /// Appends a fragment. Where it is written at once, that is one vectored write, and a failed one is undone by
    /// truncation, at the latest before the next one.
    pub fn append(&mut self, fragment: &Fragment, stamp: Stamp) -> Result<Arc<FragmentEntry>, PackError> {
        let pack = self.table.header.pack;
        let refused = |what| PackError::Refused { pack, what };
        if *fragment.params != *self.table.header.params {
            return Err(refused("its sample descriptions are others than the pack's"));
        }
        let data_bytes = fragment.payload.len() as u64;
        if data_bytes > format::DATA_BYTES_MAX {
            return Err(refused("it has more sample bytes than a fragment can"));
        }
        let mut entry = FragmentEntry {
            offset: self.table.end(),
            header_bytes: 0,
            data_bytes: data_bytes as u32,
            id: FragmentId([0; 32]),
            decode_time: fragment.decode_time,
            random_access: fragment.random_access,
            video: fragment.video.clone(),
            audio: fragment.audio.clone(),
            audio_decode_time: fragment.audio_decode_time,
            stamp,
            place: None,
        };
        self.table.admits(&entry).map_err(refused)?;
        let index = self.table.fragments.len() as u32;
        let mut boxes = std::mem::take(&mut self.boxes);
        // Its size does not depend on the id.
        format::fragment_header(&mut boxes, pack, index, &entry);
        if boxes.len() > format::HEADER_BYTES_MAX {
            return Err(refused("its boxes are larger than a fragment's may be"));
        }
        entry.header_bytes = boxes.len() as u32;
        let appended = match &mut self.out {
            Out::Held(held) if self.encryptor.is_none() => {
                // Copied once, hashed where it then lies.
                let bytes = boxes.len() + fragment.payload.len();
                let at = held.push(bytes, std::iter::once(&boxes[..]).chain(fragment.payload.pieces()));
                entry.id = self.key.id_of_parts(held.pushed(at + boxes.len() as u64));
                format::fragment_header(&mut boxes, pack, index, &entry);
                held.overwrite(at, &boxes);
                Ok(())
            }
            _ => with_one_slice(&fragment.payload, |payload| {
                entry.id = self.key.id_of(payload);
                format::fragment_header(&mut boxes, pack, index, &entry);
                self.write(&boxes, payload, false)
            }),
        };
        self.boxes = boxes;
        appended?;
        let entry = Arc::new(entry);
        self.table.fragments.push(entry.clone());
        Ok(entry)
    }

    /// Appends to what follows the last whole fragment, all or nothing; `last` says that the pack is whole then.
    fn write(&mut self, boxes: &[u8], payload: &[u8], last: bool) -> Result<(), PackError> {
        let (pack, end) = (self.table.header.pack, self.bytes());
        let refused = |what| PackError::Refused { pack, what };
        let Some(encryptor) = &mut self.encryptor else {
            return self.out.write(end, [boxes, payload]).map_err(|source| PackError::Io { pack, source });
        };
        let out = &mut self.out;
        let write = |encrypted: &[u8]| out.write(end, [encrypted, &[]]);
        match encrypt(encryptor, [boxes, payload], last, write).map_err(refused)? {
            Ok(()) => {
                encryptor.keep();
                Ok(())
            }
            Err(source) => {
                encryptor.drop_offered();
                Err(PackError::Io { pack, source })
            }
        }
    }

    /// The table so far.
    pub fn table(&self) -> &PackTable {
        &self.table
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.encryptor.as_ref().map_or(self.table.end(), Encryptor::file_bytes)
    }

    /// The key that it is encrypted under, if it is.
    pub fn day(&self) -> Option<&Arc<DayKey>> {
        self.encryptor.as_ref().map(Encryptor::day)
    }

    /// Takes what is held and not written yet; [`PackWriter::written`] says that it was. `None`: there is nothing, or what
    /// was taken before is still being written.
    pub fn take_unwritten(&mut self) -> Option<HeldPart> {
        match &mut self.out {
            Out::Written(_) => None,
            Out::Held(held) => held.take(),
        }
    }

    /// What was taken last is in the file.
    pub fn written(&mut self) {
        if let Out::Held(held) = &mut self.out {
            held.written();
        }
    }

    /// What of these plain bytes only memory holds.
    pub fn held(&self, plain: &Range<u64>) -> HeldBytes {
        let encrypted = self.encryptor.as_ref().map(Encryptor::so_far);
        let range = match &encrypted {
            None => plain.clone(),
            Some(encrypted) => {
                let records = encrypted.holding(plain);
                encrypted.file_position(records.start)..encrypted.file_position(records.end)
            }
        };
        let (in_file, bytes) = match &self.out {
            Out::Written(_) => (self.bytes(), Bytes::new()),
            Out::Held(held) => (held.in_file(), held.bytes(&range).into()),
        };
        HeldBytes { from: range.start.max(in_file), bytes, all: range.start >= in_file, encrypted }
    }

    /// Writes the fragment table: the pack is whole, and not yet flushed. Gives its size in bytes.
    pub fn finish(self) -> Result<(PackTable, u64), PackError> {
        let (table, bytes, _) = self.finish_file()?;
        Ok((table, bytes))
    }

    /// The same, and flushed.
    pub fn finish_flushed(self) -> Result<(PackTable, u64), PackError> {
        let pack = self.table.header.pack;
        let (table, bytes, file) = self.finish_file()?;
        platform::sync_data(&file).map_err(|source| PackError::Io { pack, source })?;
        Ok((table, bytes))
    }

    fn finish_file(mut self) -> Result<(PackTable, u64, Arc<File>), PackError> {
        let pack = self.table.header.pack;
        let io = |source| PackError::Io { pack, source };
        let trailing = format::table(&self.table);
        let end = self.bytes();
        if let Out::Written(written) = &mut self.out {
            written.give_back_reserved(end).map_err(io)?;
        }
        self.write(&trailing, &[], true)?;
        let file = match &mut self.out {
            Out::Written(written) => written.file(),
            Out::Held(held) => held.finish().map_err(io)?,
        };
        let bytes = file.metadata().map_err(io)?.len();
        Ok((self.table, bytes, file))
    }
}

/// What of a growing pack's bytes only memory holds, as it will be in the file.
#[derive(Debug)]
pub struct HeldBytes {
    /// Where these begin in the file.
    pub from: u64,
    /// They.
    pub bytes: Bytes,
    /// These are all that were asked for: the file is not needed.
    pub all: bool,
    /// How the pack is encrypted so far, if it is.
    pub encrypted: Option<Encrypted>,
}

/// A pack before its first fragment.
struct Begun {
    table: PackTable,
    encryptor: Option<Encryptor>,
}

impl Begun {
    /// The first bytes of the file come with it.
    fn new(header: PackHeader, day: Option<Arc<DayKey>>) -> Result<(Vec<u8>, Self), PackError> {
        let pack = header.pack;
        let refused = |what| PackError::Refused { pack, what };
        let entries = [Some(&header.params.video.sample_entry), header.params.audio.as_ref().map(|a| &a.sample_entry)];
        if !entries.into_iter().flatten().all(|entry| format::is_one_box(entry)) {
            return Err(refused("a sample entry must be one box"));
        }
        let init = format::init(&header);
        if init.len() > format::HEADER_BYTES_MAX {
            return Err(refused("its sample descriptions are larger than a pack's header may be"));
        }
        let table = PackTable { header, init_bytes: init.len() as u32, fragments: Vec::new() };
        let Some(mut encryptor) = day.map(Encryptor::new) else { return Ok((init, Self { table, encryptor: None })) };
        let mut first = encryptor.head().to_vec();
        encryptor.encrypt(&init, &mut first).map_err(refused)?;
        encryptor.keep();
        Ok((first, Self { table, encryptor: Some(encryptor) }))
    }

    fn writer(self, out: Out, key: DomainKey) -> PackWriter {
        PackWriter { out, key, table: self.table, encryptor: self.encryptor, boxes: Vec::new() }
    }
}

impl Out {
    /// Appends these behind `end`, where the last whole fragment ends.
    fn write(&mut self, end: u64, parts: [&[u8]; 2]) -> std::io::Result<()> {
        match self {
            Self::Written(written) => written.write(end, parts),
            Self::Held(held) => {
                held.push(parts.iter().map(|part| part.len()).sum(), parts);
                Ok(())
            }
        }
    }
}

/// Everything before the first fragment of a pack.
pub fn first_boxes(header: &PackHeader) -> Bytes {
    format::init(header).into()
}

/// The end of a pack's file, after its own fragments.
pub fn trailing_table(table: &PackTable) -> Bytes {
    format::table(table).into()
}

fn with_one_slice<T>(payload: &Payload, work: impl FnOnce(&[u8]) -> T) -> T {
    let mut pieces = payload.pieces();
    match (pieces.next(), pieces.next()) {
        (None, _) => work(&[]),
        (Some(one), None) => work(one),
        _ => GATHERED.with_borrow_mut(|all| {
            all.clear();
            payload.pieces().for_each(|piece| all.extend_from_slice(piece));
            let done = work(all);
            all.shrink_to(SEALING_BYTES_KEPT);
            done
        }),
    }
}

/// Encrypts these parts, and the end of the pack where they are the `last`, and writes them. The outer error is that they
/// cannot be encrypted: nothing is written then.
fn encrypt(
    encryptor: &mut Encryptor,
    parts: [&[u8]; 2],
    last: bool,
    write: impl FnOnce(&[u8]) -> std::io::Result<()>,
) -> Result<std::io::Result<()>, &'static str> {
    SEALING.with_borrow_mut(|out| {
        out.clear();
        let encrypted = parts.into_iter().try_for_each(|part| encryptor.encrypt(part, out));
        if let Err(what) = encrypted {
            encryptor.drop_offered();
            return Err(what);
        }
        if last {
            encryptor.encrypt_end(out);
        }
        let written = write(out);
        if out.capacity() > SEALING_BYTES_KEPT {
            *out = Vec::new();
        }
        Ok(written)
    })
}

#[cfg(test)]
mod tests;
