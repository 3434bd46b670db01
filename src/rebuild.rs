//! Makes the index anew from the packs alone.
//!
//! Invariant: the old index is replaced only when the new one is whole, and is kept beside it. Events and the register
//! of destructions are not in packs: they are in the old index only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures::StreamExt;

use crate::config::Config;
use crate::gateway::{self, GatewayError};
use crate::index::{CameraRow, Change, Index, IndexError, PackState};
use crate::pack::PackTable;
use crate::packs::{PackRef, Packs};
use crate::spool::Spool;
use crate::spool::recover::changes_of;
use crate::spool::segments::rows_of;
use crate::store::Store;
use crate::units::{CameraKey, PackId, Ticks90k};

/// Fragment tables read at a time, and packs told to the index together.
const READS_AT_ONCE: usize = 16;
const PACKS_PER_WRITE: usize = 256;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packs in the new index.
    pub packs: u64,
    /// Objects whose tables could not be read, and why: they stay where they are.
    pub unreadable: Vec<String>,
    /// Where the old index is kept, if there was one.
    pub old: Option<PathBuf>,
}

/// Why there is no new index.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A gateway runs, or nothing can be opened.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The new index cannot be written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store cannot be listed.
    #[error("the store cannot be listed: {0}")]
    List(#[from] object_store::Error),
    /// A file of the index cannot be moved.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Reads every pack of the store and writes a new index. What the spool holds is taken up by the next start.
pub async fn rebuild(config: &Config) -> Result<Report, RebuildError> {
    let _held = gateway::lock(config)?;
    let path = gateway::index_path(config);
    let draft = path.with_extension("sqlite.new");
    remove_index(&draft)?;
    let index = Index::open(&draft).await?;
    let (keys, store, clock) = gateway::parts(config)?;
    let spool = Spool::new(&config.spool_dir, store.clone(), index.clone(), clock, keys);
    let packs = Packs::new(spool, store.clone());

    let mut report = Report::default();
    let listed = list(&store).await?;
    index.write(vec![Change::Configure(cameras(config, &listed))]).await?;
    let read = futures::stream::iter(listed)
        .map(|(pack, bytes)| {
            let packs = packs.clone();
            async move { (packs.read_table(&pack).await, pack, bytes) }
        })
        .buffered(READS_AT_ONCE)
        .chunks(PACKS_PER_WRITE);
    let mut read = std::pin::pin!(read);
    while let Some(batch) = read.next().await {
        let mut changes = Vec::new();
        for (table, pack, bytes) in batch {
            match table.map(|table| told(&table, &pack, bytes)) {
                Ok(Ok(of_pack)) => {
                    report.packs += 1;
                    changes.extend(of_pack);
                }
                Ok(Err(what)) => report.unreadable.push(format!("pack {} of {}: {what}", pack.id, pack.camera)),
                Err(e) => report.unreadable.push(format!("pack {} of {}: {e}", pack.id, pack.camera)),
            }
        }
        index.write(changes).await?;
    }
    index.close().await;
    report.old = replace(&path, &draft)?;
    Ok(report)
}

/// Every pack of the store, oldest first.
async fn list(store: &Store) -> Result<Vec<(PackRef, u64)>, object_store::Error> {
    let mut listed = Vec::new();
    let mut objects = store.list();
    while let Some(object) = objects.next().await {
        let object = object?;
        if let Some((camera, id)) = object.pack {
            listed.push((PackRef { id, camera, state: PackState::Stored }, object.bytes));
        }
    }
    listed.sort_by_key(|(pack, _)| pack.id);
    Ok(listed)
}

/// The configuration's cameras, and those that only packs remember.
fn cameras(config: &Config, listed: &[(PackRef, u64)]) -> Vec<CameraRow> {
    let mut cameras: BTreeMap<CameraKey, CameraRow> =
        gateway::camera_rows(config).into_iter().map(|row| (row.key.clone(), row)).collect();
    for (pack, _) in listed {
        let key = &pack.camera;
        cameras.entry(key.clone()).or_insert_with(|| CameraRow {
            key: key.clone(),
            name: key.camera.to_string(),
            place: String::new(),
            configured: false,
            retention_max: Ticks90k::ZERO,
            retention_min: Ticks90k::ZERO,
        });
    }
    cameras.into_values().collect()
}

/// What a pack says to the index, if it is the pack that its name says.
fn told(table: &PackTable, pack: &PackRef, bytes: u64) -> Result<Vec<Change>, &'static str> {
    let is_it = |id: PackId, camera: &CameraKey| id == table.header.pack && *camera == table.header.camera;
    if !is_it(pack.id, &pack.camera) {
        return Err("its name says another pack than it does");
    }
    let rows = rows_of(table, bytes).ok_or("it holds no fragment")?;
    let mut changes = changes_of(&rows);
    changes.push(Change::SealPack { pack: pack.id, bytes });
    changes.push(Change::PackStored { pack: pack.id });
    Ok(changes)
}

/// The new index takes the old one's name; the old one is kept.
fn replace(path: &Path, draft: &Path) -> Result<Option<PathBuf>, RebuildError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| RebuildError::Io { path, source }
    };
    let mut old = None;
    if path.exists() {
        let free = (1..).map(|n| path.with_extension(format!("sqlite.old-{n}"))).find(|p| !p.exists());
        if let Some(kept) = free {
            for suffix in ["", "-wal", "-shm"] {
                let (from, to) = (with_suffix(path, suffix), with_suffix(&kept, suffix));
                if from.exists() {
                    std::fs::rename(&from, &to).map_err(io(&from))?;
                }
            }
            old = Some(kept);
        }
    }
    std::fs::rename(draft, path).map_err(io(draft))?;
    let folder = path.parent().unwrap_or(path);
    crate::store::sync_folder(folder).map_err(io(folder))?;
    Ok(old)
}

fn remove_index(path: &Path) -> Result<(), RebuildError> {
    for suffix in ["", "-wal", "-shm"] {
        let path = with_suffix(path, suffix);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(RebuildError::Io { path, source }),
        }
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
