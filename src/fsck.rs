//! Sets the index against the store and the spool, and says every difference.
//!
//! Invariant: it changes nothing, and can run beside a gateway: what looks wrong is looked at once more before it is
//! said, since packs move while they are checked.

use futures::StreamExt;

use crate::gateway::Opened;
use crate::index::{IndexError, PackRow, PackState};
use crate::pack::{PackTable, reader};
use crate::packs::{PackRef, ReadError};
use crate::spool::recover;
use crate::spool::segments::rows_of;
use crate::units::{CameraKey, PackId, TimeRange, WallTime};

/// Rows read at a time.
const PAGE: u32 = 1_024;

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packs checked.
    pub packs: u64,
    /// Their fragments.
    pub fragments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Each names its pack, file or camera.
    pub complaints: Vec<String>,
    /// Objects and files that are not Vigie's.
    pub foreign: u64,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store cannot be listed.
    #[error("the store cannot be listed: {0}")]
    Store(#[from] object_store::Error),
    /// The spool cannot be listed.
    #[error(transparent)]
    Spool(#[from] crate::spool::SpoolError),
}

/// Checks everything; with `read_data`, every byte of footage too. `running` says that a gateway records meanwhile.
pub async fn check(opened: &Opened, read_data: bool, running: bool) -> Result<Report, FsckError> {
    let mut report = Report::default();
    let mut after = None;
    loop {
        let rows = opened.index.packs_after(after, PAGE).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.id);
        for row in rows {
            check_row(opened, &row, read_data, running, &mut report).await?;
        }
    }
    check_orphans(opened, running, &mut report).await?;
    for camera in opened.index.all_cameras().await? {
        check_overlaps(opened, &camera.key, &mut report).await?;
    }
    Ok(report)
}

async fn check_row(
    opened: &Opened,
    row: &PackRow,
    read_data: bool,
    running: bool,
    report: &mut Report,
) -> Result<(), FsckError> {
    match row.state {
        PackState::Condemned => return Ok(()),
        PackState::Open if running => return Ok(()),
        PackState::Open => {
            report
                .complaints
                .push(format!("pack {} of {} was left open: the next start recovers it", row.id, row.camera));
            return Ok(());
        }
        PackState::Sealed | PackState::Stored => {}
    }
    report.packs += 1;
    report.bytes += row.bytes;
    let mut wrong = differences(opened, row, read_data, report).await?;
    if !wrong.is_empty() {
        // It may have been deleted or moved since its row was read.
        match opened.index.any_pack(row.id).await? {
            Some(now) if now.state != PackState::Condemned => {
                wrong =
                    differences(opened, &now, false, &mut Report::default()).await?.into_iter().chain(wrong).collect();
                wrong.dedup();
            }
            _ => wrong.clear(),
        }
    }
    let name = |what: String| format!("pack {} of {}: {what}", row.id, row.camera);
    report.complaints.extend(wrong.into_iter().map(name));
    Ok(())
}

/// What is wrong with one pack.
async fn differences(
    opened: &Opened,
    row: &PackRow,
    read_data: bool,
    report: &mut Report,
) -> Result<Vec<String>, FsckError> {
    let pack = PackRef { id: row.id, camera: row.camera.clone(), state: row.state };
    let bytes = match opened.packs.size(&pack).await {
        Ok(bytes) => bytes,
        Err(e) => return Ok(vec![e.to_string()]),
    };
    if bytes != row.bytes {
        return Ok(vec![format!("it has {bytes} bytes, the index says {}", row.bytes)]);
    }
    let table = match opened.packs.read_table(&pack).await {
        Ok(table) => table,
        Err(e) => return Ok(vec![e.to_string()]),
    };
    report.fragments += table.fragments.len() as u64;
    let mut wrong = rows_differ(opened, row, &table).await?;
    if read_data {
        wrong.extend(read_all(opened, &pack, &table).await);
    }
    Ok(wrong)
}

async fn rows_differ(opened: &Opened, row: &PackRow, table: &PackTable) -> Result<Vec<String>, FsckError> {
    let mut wrong = Vec::new();
    if (&table.header.camera, table.header.pack, table.header.run) != (&row.camera, row.id, row.run) {
        wrong.push(format!("it says that it is pack {} of {}", table.header.pack, table.header.camera));
        return Ok(wrong);
    }
    let Some(told) = rows_of(table, row.bytes) else {
        return Ok(vec!["it holds no fragment".to_owned()]);
    };
    let found = opened.index.segments_of_pack(row.id).await?;
    let key = |s: &crate::index::SegmentRow| (s.range, s.decode_time, s.first_fragment, s.fragments);
    if found.iter().map(key).ne(told.segments.iter().map(key)) {
        wrong.push(format!("the index has {} segments that are not its {}", found.len(), told.segments.len()));
    }
    Ok(wrong)
}

/// Reads every byte. A local pack is checked box by box; of a stored one the samples are, fragment by fragment.
async fn read_all(opened: &Opened, pack: &PackRef, table: &PackTable) -> Vec<String> {
    let key = opened.keys.domain(&pack.camera.tenant);
    let files =
        opened.spool.files(&pack.camera, pack.id).into_iter().chain(opened.store.local_file(&pack.camera, pack.id));
    if let Some(path) = files.into_iter().find(|path| path.exists()) {
        let checked = tokio::task::spawn_blocking(move || reader::verify_pack(&path, &key)).await;
        return match checked {
            Ok(Ok(_)) => Vec::new(),
            Ok(Err(places)) => places.iter().map(ToString::to_string).collect(),
            Err(e) => vec![e.to_string()],
        };
    }
    let mut wrong = Vec::new();
    for entry in &table.fragments {
        let read = opened.packs.bytes(pack, entry.data_offset()..entry.end()).await;
        let checked = read.and_then(|data| reader::verify(entry, &data, &key).map_err(ReadError::from));
        wrong.extend(checked.err().map(|e| e.to_string()));
    }
    wrong
}

/// Objects and files that no row speaks of.
async fn check_orphans(opened: &Opened, running: bool, report: &mut Report) -> Result<(), FsckError> {
    let mut objects = opened.store.list();
    while let Some(object) = objects.next().await {
        let object = object?;
        let Some((camera, pack)) = object.pack else {
            report.foreign += 1;
            continue;
        };
        if !known(opened, &camera, pack).await? {
            report.complaints.push(format!("object {} is in no row of the index", object.location));
        }
    }
    let dir = opened.spool.dir().to_owned();
    let files = tokio::task::spawn_blocking(move || recover::list(&dir)).await.unwrap_or(Ok(Vec::new()))?;
    for file in files {
        // A pack that has just begun is told to the index with its first flush.
        let begins = running && is_open(&file.path);
        if !begins && !known(opened, &file.camera, file.pack).await? {
            report.complaints.push(format!("file {} is in no row of the index", file.path.display()));
        }
    }
    Ok(())
}

fn is_open(path: &std::path::Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.ends_with(".open.mp4"))
}

async fn known(opened: &Opened, camera: &CameraKey, pack: PackId) -> Result<bool, IndexError> {
    Ok(opened.index.any_pack(pack).await?.is_some_and(|row| row.camera == *camera))
}

async fn check_overlaps(opened: &Opened, camera: &CameraKey, report: &mut Report) -> Result<(), FsckError> {
    let Some(all) = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)) else { return Ok(()) };
    let spans = opened.index.spans(camera, all).await?;
    for pair in spans.windows(2).filter(|pair| pair[1].start() < pair[0].end()) {
        report.complaints.push(format!("segments of {camera} overlap at {}", pair[1].start()));
    }
    Ok(())
}
