//! Rewrites a pack's file, with its bytes at other places.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Arc, Archive, BoxStream, Bytes, DayKey, PackError, PackRef, Range, ReadError, StreamExt, blocking};
use footage::keys::DomainKey;
use footage::pack::encrypted::Encryptor;
use footage::pack::{FragmentEntry, PackTable, reader, writer};
use footage::platform;

/// What a pack is mended with.
#[derive(Clone, Debug, Default)]
pub struct Mending {
    /// Fragments, by number, whose samples are read from another pack, and where in that.
    pub donors: BTreeMap<u32, (PackRef, Range<u64>)>,
    /// Fragments whose samples are copied as they are: nobody has those that were written.
    pub as_they_are: BTreeSet<u32>,
}

impl Archive {
    /// Writes, flushed, the file of this pack as `table` says it: what the table has as the pack's own is read from
    /// wherever it lies now, and checked against its id. Gives the size of the file, which did not exist.
    ///
    /// # Errors
    /// When bytes cannot be read, are not those of their ids, or cannot be written; what is written of the file then is
    /// removed.
    pub async fn rewrite(
        &self,
        pack: &PackRef,
        table: &PackTable,
        key: &DomainKey,
        to: &Path,
    ) -> Result<u64, ReadError> {
        self.write_mended(pack, table, &Mending::default(), key, to).await
    }

    /// The same, with what it is mended with. Boxes follow from the table: those that are damaged are whole again.
    pub async fn write_mended(
        &self,
        pack: &PackRef,
        table: &PackTable,
        mending: &Mending,
        key: &DomainKey,
        to: &Path,
    ) -> Result<u64, ReadError> {
        let written = self.write_pieces(pack, table, mending, key, to).await;
        if written.is_err() {
            // What failed is the news; a left-over is removed at the next start.
            let _ = platform::remove_file(to);
        }
        written
    }

    async fn write_pieces(
        &self,
        pack: &PackRef,
        table: &PackTable,
        mending: &Mending,
        key: &DomainKey,
        to: &Path,
    ) -> Result<u64, ReadError> {
        let id = pack.id;
        let io = move |source| ReadError::Io { pack: id, source };
        let path = to.to_owned();
        let file = blocking(id, move || platform::create_new(&path).map_err(io)).await?;
        let file = Arc::new(file);
        let write = |bytes: Bytes| {
            let file = file.clone();
            blocking(id, move || platform::write_all(&file, &bytes).map_err(io))
        };
        // Under the same key as before: it goes on the same day.
        let mut out = Out::new(self.encrypted_under(pack).await?);
        let init = writer::first_boxes(&table.header);
        let mut plain_bytes = init.len() as u64;
        write(out.first(init)?).await?;
        let own: Vec<(u32, &FragmentEntry)> =
            (0..).zip(table.fragments.iter().map(AsRef::as_ref)).filter(|(_, entry)| entry.place.is_none()).collect();
        let mut samples = self.samples(pack, &own, mending);
        let mut rest = bytes::BytesMut::new();
        for (number, entry) in own {
            let want = entry.data_bytes as usize;
            while rest.len() < want {
                rest.extend_from_slice(&samples.next().await.ok_or_else(|| super::short(entry.offset))??);
            }
            let data = rest.split_to(want).freeze();
            if !mending.as_they_are.contains(&number) {
                let (data, entry, key) = (data.clone(), entry.clone(), key.clone());
                blocking(id, move || Ok(reader::verify(&entry, &data, &key)?)).await?;
            }
            plain_bytes += entry.bytes();
            write(out.fragment(&table.boxes(number, entry)?, &data)?).await?;
        }
        if plain_bytes != table.file_end() {
            let what = "its own fragments do not add up to where its table begins".to_owned();
            return Err(PackError::Malformed { offset: plain_bytes, what }.into());
        }
        write(out.last(writer::trailing_table(table))?).await?;
        let file = file.clone();
        blocking(id, move || {
            platform::sync_data(&file).map_err(io)?;
            Ok(file.metadata().map_err(io)?.len())
        })
        .await
    }

    /// Sample bytes of these fragments one after the other, those of neighbours fetched together.
    fn samples(
        &self,
        pack: &PackRef,
        own: &[(u32, &FragmentEntry)],
        mending: &Mending,
    ) -> BoxStream<'static, Result<Bytes, ReadError>> {
        let mut runs: Vec<(PackRef, Vec<Range<u64>>)> = Vec::new();
        for (number, entry) in own {
            let here = || (pack.clone(), entry.data_offset()..entry.end());
            let (from, range) = mending.donors.get(number).cloned().unwrap_or_else(here);
            match runs.last_mut() {
                Some((last, ranges)) if *last == from && ranges.last().is_some_and(|r| r.end <= range.start) => {
                    ranges.push(range);
                }
                _ => runs.push((from, vec![range])),
            }
        }
        let this = self.clone();
        futures::stream::iter(runs).flat_map(move |(pack, ranges)| this.stream(&pack, ranges)).boxed()
    }
}

/// What goes into the file: the bytes themselves, or encrypted.
struct Out(Option<Encryptor>);

impl Out {
    fn new(day: Option<Arc<DayKey>>) -> Self {
        Self(day.map(Encryptor::new))
    }

    fn first(&mut self, plain: Bytes) -> Result<Bytes, ReadError> {
        let head = self.0.as_ref().map_or_else(Vec::new, |encryptor| encryptor.head().to_vec());
        self.records(head, &[&plain])
    }

    /// Boxes and samples are records of their own, as where they were recorded.
    fn fragment(&mut self, boxes: &[u8], samples: &[u8]) -> Result<Bytes, ReadError> {
        self.records(Vec::new(), &[boxes, samples])
    }

    fn last(&mut self, plain: Bytes) -> Result<Bytes, ReadError> {
        let last = self.records(Vec::new(), &[&plain])?;
        let Some(encryptor) = &self.0 else { return Ok(last) };
        let mut out = Vec::from(last);
        encryptor.encrypt_end(&mut out);
        Ok(out.into())
    }

    fn records(&mut self, mut out: Vec<u8>, parts: &[&[u8]]) -> Result<Bytes, ReadError> {
        let Some(encryptor) = &mut self.0 else { return Ok(parts.concat().into()) };
        for part in parts {
            let too_many = |what: &str| PackError::Malformed { offset: 0, what: what.to_owned() };
            encryptor.encrypt(part, &mut out).map_err(too_many)?;
        }
        encryptor.keep();
        Ok(out.into())
    }
}
