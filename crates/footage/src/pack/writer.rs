//! Writes one pack, fragment by fragment.

use std::cell::RefCell;
use std::fs::File;
use std::io::{IoSlice, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::encrypted::Encryptor;
use super::reader::Scan;
use super::{FragmentEntry, PackError, PackHeader, PackTable, Stamp, format};
use crate::keys::DomainKey;
use crate::keys::vault::DayKey;
use crate::media::Fragment;
use crate::platform;

/// Blocks of the disk are set aside for so much of a pack at a time.
const RESERVED_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of memory that a thread keeps for encryption.
const SEALING_BYTES_KEPT: usize = 4 << 20;

thread_local! {
    /// What is encrypted goes through here on its way to the file: one for each thread, where one for each pack would double
    /// what a camera costs.
    static SEALING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A pack that grows. Dropping it leaves the file as it is: recovery finds every whole fragment.
#[derive(Debug)]
pub struct PackWriter {
    file: Arc<File>,
    key: DomainKey,
    table: PackTable,
    encryptor: Option<Encryptor>,
    /// Reused from fragment to fragment.
    boxes: Vec<u8>,
    /// Up to here blocks of the disk are set aside; `None`: the file system cannot.
    reserved: Option<u64>,
    /// Something half written may lie behind the last whole fragment.
    torn: bool,
}

impl PackWriter {
    /// Creates the file (it must not exist) and writes everything before the first fragment.
    pub fn create(path: &Path, header: PackHeader, key: DomainKey) -> Result<Self, PackError> {
        Self::create_in(path, header, key, None)
    }

    /// The same, encrypted ([`super::encrypted`]) under this key.
    pub fn create_encrypted(
        path: &Path,
        header: PackHeader,
        key: DomainKey,
        day: Arc<DayKey>,
    ) -> Result<Self, PackError> {
        Self::create_in(path, header, key, Some(Encryptor::new(day)))
    }

    fn create_in(
        path: &Path,
        header: PackHeader,
        key: DomainKey,
        mut encryptor: Option<Encryptor>,
    ) -> Result<Self, PackError> {
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
        let first = match &mut encryptor {
            None => init,
            Some(encryptor) => {
                let mut first = encryptor.head().to_vec();
                encryptor.encrypt(&init, &mut first).map_err(refused)?;
                encryptor.keep();
                first
            }
        };
        let io = |source| PackError::Io { pack, source };
        let file = platform::create_new(path).map_err(io)?;
        platform::write_all(&file, &first).map_err(io)?;
        Ok(Self { file: Arc::new(file), key, table, encryptor, boxes: Vec::new(), reserved: Some(0), torn: false })
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
        Ok(Self { file: Arc::new(file), key, table, encryptor, boxes: Vec::new(), reserved: Some(0), torn: false })
    }

    /// Appends a fragment with one vectored write; a failed write is undone by truncation, at the latest before the
    /// next one.
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
            id: self.key.id_of(&fragment.payload),
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
        format::fragment_header(&mut self.boxes, pack, index, &entry);
        if self.boxes.len() > format::HEADER_BYTES_MAX {
            return Err(refused("its boxes are larger than a fragment's may be"));
        }
        entry.header_bytes = self.boxes.len() as u32;
        let boxes = std::mem::take(&mut self.boxes);
        let written = self.write(&boxes, &fragment.payload, false);
        self.boxes = boxes;
        written?;
        let entry = Arc::new(entry);
        self.table.fragments.push(entry.clone());
        Ok(entry)
    }

    /// Writes behind the last whole fragment, all or nothing; `last` says that the pack is whole then.
    fn write(&mut self, boxes: &[u8], payload: &[u8], last: bool) -> Result<(), PackError> {
        let pack = self.table.header.pack;
        if self.torn {
            self.undo()?;
        }
        self.reserve((boxes.len() + payload.len()) as u64);
        let written = match &mut self.encryptor {
            None => write_all_vectored(&self.file, boxes, payload),
            Some(encryptor) => {
                let refused = |what| PackError::Refused { pack, what };
                write_encrypted(&self.file, encryptor, [boxes, payload], last).map_err(refused)?
            }
        };
        match written {
            Ok(()) => {
                self.encryptor.iter_mut().for_each(Encryptor::keep);
                Ok(())
            }
            Err(source) => {
                self.torn = true;
                self.encryptor.iter_mut().for_each(Encryptor::drop_offered);
                // What made the write fail is the news. Where taking it back fails too, the next write begins with it.
                let _ = self.undo();
                Err(PackError::Io { pack, source })
            }
        }
    }

    /// Sees to it that the next so many bytes find their blocks set aside, which costs less for many at a time than
    /// for each. A disk that refuses tells with the write.
    fn reserve(&mut self, bytes: u64) {
        let (from, end) = (self.bytes(), self.bytes() + bytes);
        if self.reserved.is_some_and(|reserved| reserved < end) {
            let bytes = bytes.max(RESERVED_BYTES);
            self.reserved = platform::reserve(&self.file, from, bytes).then_some(from + bytes);
        }
    }

    /// Takes back what a failed write left behind the last whole fragment.
    fn undo(&mut self) -> Result<(), PackError> {
        let io = |source| PackError::Io { pack: self.table.header.pack, source };
        let end = self.bytes();
        platform::set_len(&self.file, end).map_err(io)?;
        (&*self.file).seek(SeekFrom::Start(end)).map_err(io)?;
        self.torn = false;
        Ok(())
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

    /// The open file, to be flushed from another thread.
    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Writes the fragment table: the pack is whole, and not yet flushed. Gives its size in bytes.
    pub fn finish(mut self) -> Result<(PackTable, u64), PackError> {
        let pack = self.table.header.pack;
        let trailing = format::table(&self.table);
        let io = |source| PackError::Io { pack, source };
        let end = self.bytes();
        if self.reserved.take().is_some_and(|reserved| reserved > end) {
            platform::set_len(&self.file, end).map_err(io)?;
        }
        self.write(&trailing, &[], true)?;
        let bytes = self.file.metadata().map_err(io)?.len();
        Ok((self.table, bytes))
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

/// Encrypts these parts and writes them, and the end of the pack where they are the `last`, with one write. The outer error
/// is that they cannot be encrypted: nothing is written then.
fn write_encrypted(
    file: &File,
    encryptor: &mut Encryptor,
    parts: [&[u8]; 2],
    last: bool,
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
        let written = platform::write_all(file, out);
        if out.capacity() > SEALING_BYTES_KEPT {
            *out = Vec::new();
        }
        Ok(written)
    })
}

fn write_all_vectored(file: &File, boxes: &[u8], payload: &[u8]) -> std::io::Result<()> {
    let mut slices = [IoSlice::new(boxes), IoSlice::new(payload)];
    let mut left = slices.as_mut_slice();
    // Empty buffers in front would make a write of nothing look like the end of the disk.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match platform::write_vectored(file, left) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut left, n),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
