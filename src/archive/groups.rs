//! Some groups of pictures of a pack as a pack of their own.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;

use super::{Arc, Archive, PackError, PackRef, ReadError, StreamExt, blocking, short};
use footage::clock::Reading;
use footage::keys::DomainKey;
use footage::media::Fragment;
use footage::pack::writer::PackWriter;
use footage::pack::{FragmentEntry, PackTable, reader};
use footage::platform;

impl Archive {
    /// Writes, flushed, a pack of these groups of another pack, as numbers of fragments, into the file that `create` begins
    /// at `to`. Each fragment is checked against its id, which stays.
    ///
    /// # Errors
    /// On an error that is the footage's own, says which fragment has it. What is written of the file is removed.
    pub async fn write_groups(
        &self,
        pack: &PackRef,
        table: &PackTable,
        groups: &[Range<usize>],
        key: &DomainKey,
        to: &Path,
        create: impl FnOnce() -> Result<PackWriter, PackError> + Send + 'static,
    ) -> Result<PackTable, (ReadError, Option<usize>)> {
        let written = self.copy_groups(pack, table, groups, key, create).await;
        if written.is_err() {
            // What failed is the news; a left-over is removed by the next attempt.
            let _ = platform::remove_file(to);
        }
        written
    }

    async fn copy_groups(
        &self,
        pack: &PackRef,
        table: &PackTable,
        groups: &[Range<usize>],
        key: &DomainKey,
        create: impl FnOnce() -> Result<PackWriter, PackError> + Send + 'static,
    ) -> Result<PackTable, (ReadError, Option<usize>)> {
        let own = |error: ReadError| (error, None);
        let mut writer = blocking(pack.id, move || Ok(create()?)).await.map_err(own)?;
        let numbers: Vec<usize> = groups.iter().cloned().flatten().collect();
        let ranges = numbers.iter().map(|&n| &table.fragments[n]).map(|entry| entry.data_offset()..entry.end());
        let mut bytes = self.stream(pack, ranges.collect());
        let mut rest = BytesMut::new();
        for n in numbers {
            let entry = table.fragments[n].clone();
            let want = entry.data_bytes as usize;
            while rest.len() < want {
                match bytes.next().await {
                    Some(Ok(some)) => rest.extend_from_slice(&some),
                    Some(Err(error @ ReadError::Pack(_))) => return Err((error, Some(n))),
                    Some(Err(error)) => return Err(own(error)),
                    None => return Err((short(entry.offset), Some(n))),
                }
            }
            let payload = rest.split_to(want).to_vec();
            let key = key.clone();
            writer = append(pack, writer, entry, payload, key).await.map_err(|error| {
                let damaged = matches!(error, ReadError::Pack(PackError::Corrupt { .. })).then_some(n);
                (error, damaged)
            })?;
        }
        let finish = move || {
            let (table, _) = writer.finish_flushed()?;
            Ok(table)
        };
        blocking(pack.id, finish).await.map_err(own)
    }
}

/// Checks a fragment and writes it: its id is that of its bytes, and stays.
async fn append(
    pack: &PackRef,
    mut writer: PackWriter,
    entry: Arc<FragmentEntry>,
    payload: Vec<u8>,
    key: DomainKey,
) -> Result<PackWriter, ReadError> {
    let append = move || {
        reader::verify(&entry, &payload, &key)?;
        let unknown = Reading { wall: entry.stamp.wall_start, mono: Duration::ZERO };
        let fragment = Fragment {
            params: writer.table().header.params.clone(),
            decode_time: entry.decode_time,
            duration: entry.duration(),
            random_access: entry.random_access,
            video: entry.video.clone(),
            audio: entry.audio.clone(),
            audio_decode_time: entry.audio_decode_time,
            payload: payload.into(),
            first_timestamp: 0,
            first_received: unknown,
            last_received: unknown,
            followed: false,
            arrivals: Vec::new(),
            losses: Vec::new(),
        };
        writer.append(&fragment, entry.stamp.clone())?;
        Ok(writer)
    };
    blocking(pack.id, append).await
}
