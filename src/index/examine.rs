//! Whether the file of the index is the one that belongs here: a small file beside it remembers what it was.
//!
//! Invariant: the index hears of a generation, durably, before the file beside it does. So an index of a lower generation is an
//! older copy, or has lost its log.
//! Absent on purpose: mending. What is missing is found again from the packs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::identity::Kind;
use super::{Change, IndexError, database};
use footage::platform;
use footage::units::{Fingerprint, StoreUid};

/// A start does not wait longer for the check of the index's pages.
const CHECK_MAX: Duration = Duration::from_secs(2);

/// What is remembered beside the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Companion {
    /// The index's own id.
    pub index: String,
    /// Its generation.
    pub generation: u64,
    /// The gateway's key.
    pub gateway_key: Option<String>,
    /// Stores by name.
    pub stores: BTreeMap<String, String>,
    /// A gateway has opened the index and not closed it: its log is there, whatever happened.
    #[serde(default)]
    pub running: bool,
}

/// What the index, or the file beside it, says that this gateway belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belongings {
    /// Stores by name.
    pub stores: BTreeMap<String, StoreUid>,
    /// The gateway's key.
    pub gateway_key: Option<Fingerprint>,
}

impl Companion {
    /// Where it lies.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("identity.json")
    }

    /// Reads it; one that is missing or damaged is none. Blocks.
    pub fn load(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Writes it whole. Blocks.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let draft = path.with_extension("draft");
        let file = std::fs::File::create(&draft)?;
        platform::write_all(&file, &serde_json::to_vec_pretty(self)?)?;
        platform::sync_data(&file)?;
        platform::rename(&draft, path)?;
        platform::sync_name(path)
    }

    /// What makes an index, as one that was rebuilt by hand, the one that belongs beside it.
    pub fn adoption(&self) -> Vec<Change> {
        let id: Option<Vec<u8>> = (0..self.index.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(self.index.get(at..at + 2)?, 16).ok())
            .collect();
        let identify = |kind, id| Change::Identify { kind, name: String::new(), id: Some(id) };
        let generation = identify(Kind::Generation, self.generation.to_be_bytes().to_vec());
        id.map(|id| identify(Kind::Index, id)).into_iter().chain([generation]).collect()
    }

    /// What it says that this gateway belongs to.
    pub fn belongings(&self) -> Belongings {
        let stores = self.stores.iter().filter_map(|(name, id)| Some((name.clone(), id.parse().ok()?)));
        Belongings { stores: stores.collect(), gateway_key: self.gateway_key.as_ref().and_then(|key| key.parse().ok()) }
    }
}

/// What the file of the index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There was never one.
    New,
    /// The one that belongs here.
    Sound,
    /// There was one, and it is gone or empty.
    Missing,
    /// Pages of it are damaged, or it is no database.
    Damaged(String),
    /// It is an older copy, or has lost its log.
    Older {
        /// Its generation.
        have: u64,
        /// The generation that was remembered.
        want: u64,
    },
    /// It is the index of another gateway, or one that was rebuilt by hand.
    Other,
}

impl Condition {
    /// Whether there may be packs that it does not know.
    pub fn lacks_packs(&self) -> bool {
        !matches!(self, Self::New | Self::Sound)
    }

    /// For people: what is wrong, and what becomes of it.
    pub fn what(&self) -> String {
        match self {
            Self::New => "the index is new".to_owned(),
            Self::Sound => "the index is sound".to_owned(),
            Self::Missing => "the index is missing or empty".to_owned(),
            Self::Damaged(what) => format!("the index is damaged ({what})"),
            Self::Older { have, want } => {
                format!("the index is an older copy, or has lost its log (generation {have}, the last one was {want})")
            }
            Self::Other => "the index is not the one that was used here last".to_owned(),
        }
    }
}

/// Looks at the file of the index. Blocks for a few seconds at most.
///
/// # Errors
/// When a newer Vigie wrote it, or it cannot be read for another reason than damage.
pub fn examine(path: &Path, companion: Option<&Companion>) -> Result<Condition, IndexError> {
    let is_empty = std::fs::metadata(path).map_or(true, |meta| meta.len() == 0);
    // Its log may hold all of it, where a crash came before the first checkpoint.
    let log = log_of(path);
    let has_log = std::fs::metadata(&log).is_ok_and(|meta| meta.len() > 0);
    if is_empty && !(path.exists() && has_log) {
        return Ok(if companion.is_some() { Condition::Missing } else { Condition::New });
    }
    match look(path) {
        Ok(Looked { tables: 0, .. }) => Ok(if companion.is_some() { Condition::Missing } else { Condition::New }),
        Ok(Looked { index, generation, .. }) => Ok(match companion {
            None => Condition::Sound,
            // Its first changes were in a log that is gone.
            Some(companion) if index.is_none() || (companion.running && !has_log) => {
                Condition::Older { have: generation, want: companion.generation }
            }
            Some(companion) if index.as_deref() != Some(companion.index.as_str()) => Condition::Other,
            Some(companion) if generation < companion.generation => {
                Condition::Older { have: generation, want: companion.generation }
            }
            Some(_) => Condition::Sound,
        }),
        Err(IndexError::Corrupt(what)) => Ok(Condition::Damaged(what)),
        Err(e) => Err(e),
    }
}

/// The file's log.
pub fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

struct Looked {
    tables: i64,
    index: Option<String>,
    generation: u64,
}

fn look(path: &Path) -> Result<Looked, IndexError> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(10))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    check_pages(&db)?;
    let named = "SELECT count(*) FROM sqlite_schema WHERE name = 'identity'";
    if db.query_row(named, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(Looked { tables, index: None, generation: 0 });
    }
    let id = |kind: Kind| -> Result<Option<Vec<u8>>, IndexError> {
        let sql = "SELECT id FROM identity WHERE kind = ?1 AND name = ''";
        Ok(db.query_row(sql, [kind.as_str()], |row| row.get(0)).optional()?)
    };
    let index = id(Kind::Index)?.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect());
    let generation = id(Kind::Generation)?.and_then(|id| id.try_into().ok()).map_or(0, u64::from_be_bytes);
    Ok(Looked { tables, index, generation })
}

/// Every page, for as long as a start may wait: of a large index the rest shows when it is read.
fn check_pages(db: &Connection) -> Result<(), IndexError> {
    let (done, waits) = mpsc::sync_channel::<()>(0);
    let interrupt = db.get_interrupt_handle();
    let timer = std::thread::spawn(move || {
        if waits.recv_timeout(CHECK_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    let found = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    drop(done);
    // It has nothing to fail by.
    let _ = timer.join();
    match found {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(verdict) => Err(IndexError::Corrupt(verdict.lines().next().unwrap_or_default().to_owned())),
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Puts a damaged index and its log aside, under names with this suffix; gives its new name. Blocks.
pub fn put_aside(path: &Path, suffix: &str) -> std::io::Result<PathBuf> {
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name.push(end);
        PathBuf::from(name)
    };
    for end in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(end);
        let beside = PathBuf::from(beside);
        if beside.exists() {
            platform::rename(&beside, &named(end))?;
        }
    }
    platform::rename(path, &named(""))?;
    platform::sync_name(path)?;
    Ok(named(""))
}

/// An older index, and what could be taken over from it.
pub type CarriedFrom = (PathBuf, Result<super::carry::Carried, IndexError>);

/// Makes a new index in which what this older one knows beside packs is kept. Blocks.
///
/// # Errors
/// When the new one cannot be made. What cannot be taken over is the answer's second part.
pub fn begin_from(path: &Path, sources: &[PathBuf]) -> Result<Vec<CarriedFrom>, IndexError> {
    drop(database::open_writer(path)?);
    let carried = sources.iter().map(|from| (from.clone(), super::carry::carry_over(from, path)));
    Ok(carried.collect())
}
