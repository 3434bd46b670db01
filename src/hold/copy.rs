//! One pack's share of a hold: which groups of pictures, and a pack of them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt;

use super::{HoldError, Holds, copy_id};
use crate::clock::Reading;
use crate::index::hold::HoldRow;
use crate::keys::DomainKey;
use crate::machine;
use crate::media::Fragment;
use crate::pack::writer::PackWriter;
use crate::pack::{FragmentEntry, PackError, PackHeader, PackTable, reader};
use crate::packs::{PackRef, ReadError};
use crate::spool::SpoolError;
use crate::units::TimeRange;

/// A pack of a hold, written and flushed.
pub(super) struct Copied {
    /// What is in it; `None`: all of it was damaged, and nothing is written.
    pub(super) table: Option<PackTable>,
    pub(super) draft: PathBuf,
    /// What is not in it because it is damaged, for people.
    pub(super) lost: Vec<String>,
}

/// Groups of pictures, as numbers of fragments, that share an instant with the range and are not kept already.
pub(super) fn wanted(table: &PackTable, range: TimeRange, own: &[TimeRange]) -> Vec<Range<usize>> {
    let starts = table.fragments.iter().enumerate().filter(|(_, entry)| entry.random_access).map(|(n, _)| n);
    let mut starts: Vec<usize> = starts.collect();
    starts.push(table.fragments.len());
    let groups = starts.windows(2).filter_map(|pair| pair.first().zip(pair.last())).map(|(&from, &to)| from..to);
    let is_wanted = |group: &Range<usize>| {
        table.fragments[group.clone()].iter().filter_map(|entry| covered(entry)).any(|span| {
            span.intersection(&range).is_some_and(|part| !own.iter().any(|o| o.intersection(&part) == Some(part)))
        })
    };
    groups.filter(is_wanted).collect()
}

fn covered(entry: &FragmentEntry) -> Option<TimeRange> {
    TimeRange::new(entry.stamp.wall_start, entry.wall_end())
}

impl Holds {
    /// Writes the groups; one that is damaged is left out from the damage on.
    pub(super) async fn write_copy(
        &self,
        hold: &HoldRow,
        pack: &PackRef,
        table: &PackTable,
        mut groups: Vec<Range<usize>>,
    ) -> Result<Copied, HoldError> {
        let header = PackHeader {
            pack: copy_id(hold.facts.id, pack.id),
            hold: Some(Arc::new(hold.facts.clone())),
            ..table.header.clone()
        };
        let mut lost = Vec::new();
        loop {
            groups.retain(|group| !group.is_empty());
            let draft = self.0.spool.draft_path(&pack.camera, header.pack)?;
            if groups.is_empty() {
                return Ok(Copied { table: None, draft, lost });
            }
            match self.write_groups(header.clone(), pack, table, &groups, &draft).await {
                Ok(written) => return Ok(Copied { table: Some(written), draft, lost }),
                Err((error, damaged)) => {
                    // What failed is the news; a left-over is removed by the next attempt.
                    let _ = machine::remove_file(&draft);
                    let Some(n) = damaged else { return Err(error) };
                    let entry = &table.fragments[n];
                    lost.push(format!(
                        "fragment {} of pack {}, at {}, is damaged ({error}): it and what is decoded from it are not kept",
                        entry.id, pack.id, entry.stamp.wall_start
                    ));
                    for group in groups.iter_mut().filter(|group| group.contains(&n)) {
                        group.end = n;
                    }
                }
            }
        }
    }

    /// On an error that is the footage's own, says which fragment has it.
    async fn write_groups(
        &self,
        header: PackHeader,
        pack: &PackRef,
        table: &PackTable,
        groups: &[Range<usize>],
        draft: &Path,
    ) -> Result<PackTable, (HoldError, Option<usize>)> {
        let key = self.0.keys.domain(&pack.camera.tenant);
        let (path, writer_key) = (draft.to_owned(), key.clone());
        let until = header.hold.as_ref().map_or(table.header.pack.created(), |hold| hold.until);
        let (keys, camera, until) = (self.0.keys.clone(), pack.camera.clone(), until);
        let sealing = machine::spawn_blocking(move || keys.sealing_until(&camera, until)).await;
        let day =
            sealing.map_err(|e| own(SpoolError::Io { path: draft.to_owned(), source: std::io::Error::other(e) }))?;
        let day = day.map_err(|e| own(SpoolError::Key(e)))?;
        let create = move || match day {
            Some(day) => PackWriter::create_sealed(&path, header, writer_key, day),
            None => PackWriter::create(&path, header, writer_key),
        };
        let mut writer = blocking(pack, create).await.map_err(own)?;
        let numbers: Vec<usize> = groups.iter().cloned().flatten().collect();
        let ranges = numbers.iter().map(|&n| &table.fragments[n]).map(|entry| entry.data_offset()..entry.end());
        let mut bytes = self.0.packs.stream(pack, ranges.collect());
        let mut rest = BytesMut::new();
        for n in numbers {
            let entry = table.fragments[n].clone();
            let want = entry.data_bytes as usize;
            while rest.len() < want {
                match bytes.next().await {
                    Some(Ok(some)) => rest.extend_from_slice(&some),
                    Some(Err(error @ ReadError::Pack(_))) => return Err((error.into(), Some(n))),
                    Some(Err(error)) => return Err(own(error)),
                    None => {
                        let what = "it ends before its table says".to_owned();
                        let short = PackError::Malformed { offset: entry.offset, what };
                        return Err((short.into(), Some(n)));
                    }
                }
            }
            let payload = rest.split_to(want).to_vec();
            let key = key.clone();
            writer = append(pack, writer, entry, payload, key).await.map_err(|error| {
                let damaged = matches!(error, HoldError::Pack(PackError::Corrupt { .. })).then_some(n);
                (error, damaged)
            })?;
        }
        let finished = blocking(pack, move || {
            let (id, file) = (writer.table().header.pack, writer.file());
            let (table, _) = writer.finish()?;
            machine::sync_data(&file).map_err(|source| PackError::Io { pack: id, source })?;
            Ok(table)
        });
        finished.await.map_err(own)
    }
}

fn own(error: impl Into<HoldError>) -> (HoldError, Option<usize>) {
    (error.into(), None)
}

/// Checks a fragment and writes it: its id is that of its bytes, and stays.
async fn append(
    pack: &PackRef,
    mut writer: PackWriter,
    entry: Arc<FragmentEntry>,
    payload: Vec<u8>,
    key: DomainKey,
) -> Result<PackWriter, HoldError> {
    let appended = blocking(pack, move || {
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
            payload,
            first_timestamp: 0,
            first_received: unknown,
            last_received: unknown,
            losses: Vec::new(),
        };
        writer.append(&fragment, entry.stamp.clone())?;
        Ok(writer)
    });
    Ok(appended.await?)
}

async fn blocking<T: Send + 'static>(
    pack: &PackRef,
    work: impl FnOnce() -> Result<T, PackError> + Send + 'static,
) -> Result<T, PackError> {
    let id = pack.id;
    let done = machine::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(PackError::Io { pack: id, source: std::io::Error::other(e) }))
}
