//! A pack's file anew, with its bytes at other places.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Arc, BoxStream, Bytes, PackError, PackRef, Packs, Range, ReadError, StreamExt, blocking};
use crate::keys::DomainKey;
use crate::machine;
use crate::pack::{FragmentEntry, PackTable, reader, writer};

/// What a pack is mended with.
#[derive(Clone, Debug, Default)]
pub struct Mending {
    /// Fragments, by number, whose samples are read from another pack, and where in that.
    pub donors: BTreeMap<u32, (PackRef, Range<u64>)>,
    /// Fragments whose samples are copied as they are: nobody has those that were written.
    pub as_they_are: BTreeSet<u32>,
}

impl Packs {
    /// Writes, flushed, the file of this pack as `table` says it: what the table has as the pack's own is read from
    /// wherever it lies now, and checked against its id. Gives the size of the file, which did not exist.
    ///
    /// # Errors
    /// When bytes cannot be read, are not those of their ids, or cannot be written; what is written of the file then is
    /// removed.
    pub async fn write_anew(
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
            let _ = machine::remove_file(to);
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
        let file = blocking(id, move || machine::create_new(&path).map_err(io)).await?;
        let file = Arc::new(file);
        let write = |bytes: Bytes| {
            let file = file.clone();
            blocking(id, move || machine::write_all(&file, &bytes).map_err(io))
        };
        let init = writer::first_boxes(&table.header);
        let mut file_bytes = init.len() as u64;
        write(init).await?;
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
            let fragment: Bytes = [table.boxes(number, entry)?, data].concat().into();
            file_bytes += fragment.len() as u64;
            write(fragment).await?;
        }
        if file_bytes != table.file_end() {
            let what = "its own fragments do not add up to where its table begins".to_owned();
            return Err(PackError::Malformed { offset: file_bytes, what }.into());
        }
        let trailing = writer::trailing_table(table);
        file_bytes += trailing.len() as u64;
        write(trailing).await?;
        let file = file.clone();
        blocking(id, move || machine::sync_data(&file).map_err(io)).await?;
        Ok(file_bytes)
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
