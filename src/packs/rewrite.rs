//! A pack's file anew, with its bytes at other places.

use std::path::Path;

use super::{Arc, Bytes, PackError, PackRef, Packs, ReadError, StreamExt, blocking};
use crate::keys::DomainKey;
use crate::machine;
use crate::pack::{FragmentEntry, PackTable, reader, writer};

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
        let written = self.write_pieces(pack, table, key, to).await;
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
        let own: Vec<&FragmentEntry> =
            table.fragments.iter().filter(|entry| entry.place.is_none()).map(AsRef::as_ref).collect();
        let mut bytes = self.stream(pack, own.iter().map(|entry| entry.offset..entry.end()).collect());
        let mut rest = bytes::BytesMut::new();
        for entry in own {
            let want = entry.bytes() as usize;
            while rest.len() < want {
                rest.extend_from_slice(&bytes.next().await.ok_or_else(|| super::short(entry.offset))??);
            }
            let fragment = rest.split_to(want).freeze();
            let (samples, entry, key) = (fragment.slice(entry.header_bytes as usize..), entry.clone(), key.clone());
            blocking(id, move || Ok(reader::verify(&entry, &samples, &key)?)).await?;
            file_bytes += want as u64;
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
}
