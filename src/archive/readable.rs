//! What of packs can be read: tables that are there, and fragments whose bytes are those of their ids.
//!
//! A pack that is missing or damaged is one that readers leave out and report; a store that does not answer is an error, and
//! says nothing of what it holds.

use std::collections::BTreeMap;

use bytes::BytesMut;

use super::{Arc, Archive, Bytes, PackError, PackRef, PackState, Range, ReadError, StreamExt, blocking, short};
use footage::pack::{FragmentEntry, PackTable, reader};

/// The system's code for a disk that cannot read a block (`EIO`).
const DISK_CANNOT_READ: i32 = 5;

/// Why a pack, or a fragment of one, cannot be read while its store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreadable {
    /// It was destroyed since it was looked up, by this gateway or by the one that wrote it.
    Destroyed,
    /// The store answers, and does not have it.
    Missing,
    /// Its bytes are not those that were written.
    Damaged,
    /// It is encrypted, and its key cannot be had.
    NoKey,
}

impl Unreadable {
    /// The word in headers and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroyed => "destroyed",
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::NoKey => "no_key",
        }
    }
}

impl Archive {
    /// The tables of several packs, in their order, or why one cannot be read.
    ///
    /// # Errors
    /// When a store or the disk does not answer: then nothing is known of what it holds.
    pub async fn tables_or_why(&self, packs: &[PackRef]) -> Result<Vec<Result<Arc<PackTable>, Unreadable>>, ReadError> {
        match self.tables(packs).await {
            Ok(tables) => return Ok(tables.into_iter().map(Ok).collect()),
            Err(error @ (ReadError::Store { .. } | ReadError::WrittenAnew(_))) => return Err(error),
            Err(_) => {}
        }
        let mut tables = Vec::with_capacity(packs.len());
        for pack in packs {
            tables.push(match self.table(pack).await {
                Ok(table) => Ok(table),
                Err(error) => Err(self.why(pack, error).await?),
            });
        }
        Ok(tables)
    }

    /// Which of these fragments of a pack cannot be read, each being compared with its id. Of a pack that another gateway
    /// wrote, whose keys may differ, only that they are there.
    ///
    /// # Errors
    /// As [`Archive::tables_or_why`].
    pub async fn unreadable(
        &self,
        pack: &PackRef,
        table: &PackTable,
        numbers: &[u32],
    ) -> Result<BTreeMap<u32, Unreadable>, ReadError> {
        let compared = self.key_to_compare(pack);
        let mut bad = BTreeMap::new();
        let mut left: Vec<_> =
            numbers.iter().filter_map(|n| Some((*n, table.fragments.get(*n as usize)?.clone()))).collect();
        while !left.is_empty() {
            let ranges = left.iter().map(|(_, entry)| entry.data_offset()..entry.end()).collect();
            let (mut bytes, mut rest, mut done, mut failed) = (self.stream(pack, ranges), BytesMut::new(), 0, None);
            'fragments: for (number, entry) in &left {
                let want = entry.data_bytes as usize;
                while rest.len() < want {
                    match bytes.next().await {
                        Some(Ok(some)) => rest.extend_from_slice(&some),
                        Some(Err(error)) => {
                            failed = Some(error);
                            break 'fragments;
                        }
                        None => {
                            failed = Some(short(entry.offset));
                            break 'fragments;
                        }
                    }
                }
                let data = rest.split_to(want).freeze();
                if let Some(key) = compared.clone() {
                    let entry = entry.clone();
                    let is_it = blocking(pack.id, move || Ok(reader::verify(&entry, &data, &key).is_ok())).await?;
                    if !is_it {
                        self.ensure_believed(pack).await?;
                        bad.insert(*number, Unreadable::Damaged);
                    }
                }
                done += 1;
            }
            let Some(error) = failed else { break };
            // What follows may be readable: it is asked for again without this one.
            let (number, _) = left[done];
            bad.insert(number, self.why(pack, error).await?);
            left.drain(..=done);
        }
        Ok(bad)
    }

    /// These bytes, of which the samples of these fragments are compared with their ids.
    ///
    /// # Errors
    /// When they cannot be read, or are not those that were written.
    pub async fn checked_bytes(
        &self,
        pack: &PackRef,
        entries: Vec<Arc<FragmentEntry>>,
        range: Range<u64>,
    ) -> Result<Bytes, ReadError> {
        let bytes = self.bytes(pack, range.clone()).await?;
        let Some(key) = self.key_to_compare(pack) else { return Ok(bytes) };
        blocking(pack.id, move || {
            for entry in &entries {
                let (from, to) = (entry.data_offset().checked_sub(range.start), entry.end().checked_sub(range.start));
                let data = from.zip(to).and_then(|(from, to)| bytes.get(from as usize..to as usize));
                reader::verify(entry, data.ok_or_else(|| short(entry.offset))?, &key)?;
            }
            Ok(bytes)
        })
        .await
    }

    /// What a failure to read a pack says of it.
    ///
    /// # Errors
    /// When it says nothing of the pack: the store, the disk or the index did not answer.
    pub async fn why(&self, pack: &PackRef, error: ReadError) -> Result<Unreadable, ReadError> {
        let cannot_read = |source: &std::io::Error| source.raw_os_error() == Some(DISK_CANNOT_READ);
        match error {
            ReadError::NotFound(_) if self.is_foreign(&pack.camera, pack.id) => Ok(Unreadable::Destroyed),
            ReadError::NotFound(id) => {
                let row = self.spool.index().any_pack(id).await?;
                if row.is_none_or(|row| row.state == PackState::Condemned) {
                    return Ok(Unreadable::Destroyed);
                }
                // The store concludes absence only where it is the known one.
                Ok(Unreadable::Missing)
            }
            ReadError::Pack(PackError::Malformed { .. } | PackError::Corrupt { .. } | PackError::Refused { .. }) => {
                self.ensure_believed(pack).await?;
                Ok(Unreadable::Damaged)
            }
            ReadError::Pack(PackError::Key { .. }) => Ok(Unreadable::NoKey),
            ReadError::Pack(PackError::Io { ref source, .. }) | ReadError::Io { ref source, .. }
                if cannot_read(source) =>
            {
                Ok(Unreadable::Damaged)
            }
            error => Err(error),
        }
    }

    /// Bytes that a store hands out say something of a pack only where the store is the known one: something else may
    /// answer in its place. What lies in the spool may refer to a pack that lies there.
    async fn ensure_believed(&self, pack: &PackRef) -> Result<(), ReadError> {
        let known = self.store.ensure_believed(&pack.camera).await;
        known.map_err(|source| ReadError::Store { pack: pack.id, source: source.into() })
    }
}
