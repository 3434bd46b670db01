//! The index: what is recorded, where it lies, what is missing and why, in SQLite.
//!
//! Invariants: one writer, which commits a batch of changes in one transaction and acknowledges after the commit;
//! readers apart, on read-only connections, which never wait for it (WAL). Every query names its tenant: there is no
//! function that reads across tenants except those that retention, `fsck` and the drain use, which are marked so.
//! A row says `stored` only after the store acknowledged; a pack row is forgotten only after its object is gone.
//! A pack that a hold covers is neither condemned nor deleting before it is copied: both are asked of the one writer, so
//! that a hold that was acknowledged is respected by whatever comes after it.
//! Every change but an event may be written twice: the second time changes nothing.
//!
//! After a power cut the last changes may be missing: the packs in the spool hold what is needed to find them again. Some
//! are synced before they are acknowledged: that a pack is sealed, so that none leaves the spool before its row is sure
//! to stay; and a condemnation, so that no object is deleted under a row that comes back. So are
//! a hold, and that a pack is deleting.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use footage::failure::{Failure, Kind};
use footage::platform;
use footage::units::Ticks90k;

pub mod alarm;
mod apply;
pub mod carry;
mod change;
pub mod clock;
pub mod damage;
mod database;
pub mod dedup;
mod edge;
pub mod examine;
pub mod figures;
pub mod hold;
pub mod identity;
pub mod inspect;
pub mod keys;
pub mod occurrence;
pub mod of_pack;
pub mod policy;
pub mod query;
mod redundancy;
pub mod request;
mod row;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod write;

pub use self::change::Change;
pub use self::occurrence::OccurrenceRow;
pub use self::row::{
    CameraRow, Cameras, DeletionRow, EventRow, GapRow, Outcome, PackRow, PackState, Reason, RunRow, SegmentRow,
    SteadyClock,
};

/// Longest wall-clock span of one segment row, so that a range query knows how far before its start to look.
pub const SEGMENT_DURATION_MAX: Ticks90k = Ticks90k(15 * 60 * 90_000);

/// What can go wrong with the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite refused, or the disk did.
    #[error("index: {0}")]
    Sqlite(rusqlite::Error),
    /// The file is damaged, or is not an index.
    #[error("the index is damaged ({0}): stop the gateway and run `vigie rebuild-index`")]
    Corrupt(String),
    /// A newer Vigie wrote it.
    #[error("the index has schema {found}, this Vigie knows {known}: run the newer Vigie, or `vigie rebuild-index`")]
    Newer {
        /// Version of the file.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// Opened for reading only, it cannot be brought up to date.
    #[error("the index has schema {found}, this Vigie reads {known}: start the gateway once to migrate it")]
    Older {
        /// Version of the file.
        found: i64,
        /// Version needed.
        known: i64,
    },
    /// There is none.
    #[error("there is no index at {0}: the gateway makes it when it first runs, or `vigie rebuild-index` does")]
    Missing(PathBuf),
    /// A migration failed; nothing was changed.
    #[error("index migration: {0}")]
    Migration(#[from] rusqlite_migration::Error),
    /// A change names a camera, run or pack that the index does not know.
    #[error("index knows no {0}")]
    Unknown(String),
    /// A change contradicts what the index knows.
    #[error("index refused a change: {0}")]
    Refused(String),
    /// This handle was opened for reading only.
    #[error("the index is open for reading only")]
    ReadOnly,
    /// The gateway is shutting down, or a batch was cut off by a failure that the log tells.
    #[error("the index writer has stopped")]
    Stopped,
}

impl Failure for IndexError {
    fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(error) => sqlite_kind(error),
            Self::Corrupt(_) => Kind::Corrupt,
            Self::Newer { .. } | Self::Older { .. } | Self::Refused(_) => Kind::Conflict,
            Self::Missing(_) | Self::Unknown(_) => Kind::NotFound,
            Self::Migration(_) | Self::ReadOnly => Kind::Internal,
            Self::Stopped => Kind::Retry,
        }
    }
}

fn sqlite_kind(error: &rusqlite::Error) -> Kind {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull, PermissionDenied, ReadOnly};
    match error.sqlite_error_code() {
        Some(DiskFull) => Kind::Full,
        Some(PermissionDenied | ReadOnly) => Kind::Denied,
        Some(DatabaseBusy | DatabaseLocked) => Kind::Retry,
        _ => Kind::Internal,
    }
}

impl From<rusqlite::Error> for IndexError {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match e.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Corrupt(e.to_string()),
            _ => Self::Sqlite(e),
        }
    }
}

/// A handle on the index; cheap to clone, usable from any tokio runtime. The writer ends when the last handle of an
/// [`Index::open`] is dropped, after it committed what waits.
#[derive(Clone, Debug)]
pub struct Index {
    readers: Arc<database::Readers>,
    writer: Option<Writer>,
}

/// The way to the writer task.
#[derive(Clone, Debug)]
struct Writer {
    calls: mpsc::Sender<write::WriteCall>,
    /// Asks the writer to end.
    closing: CancellationToken,
    /// Says that it has.
    closed: CancellationToken,
}

impl Index {
    /// Opens or creates the index, migrates it, and starts its writer on the current runtime.
    pub async fn open(path: &Path) -> Result<Self, IndexError> {
        let path = path.to_owned();
        let (path, connection) = database::blocking(move || {
            let connection = database::open_writer(&path)?;
            Ok((path, connection))
        })
        .await?;
        let (calls, queue) = mpsc::channel(write::QUEUED_CALLS_MAX);
        let writer = Writer { calls, closing: CancellationToken::new(), closed: CancellationToken::new() };
        let done = writer.closed.clone().drop_guard();
        tokio::spawn(write::run(path.clone(), connection, queue, writer.closing.clone(), done));
        Ok(Self { readers: Arc::new(database::Readers::new(path)), writer: Some(writer) })
    }

    /// Opens an index for reading only, beside a gateway that may be running on it.
    pub async fn open_read_only(path: &Path) -> Result<Self, IndexError> {
        let readers = Arc::new(database::Readers::new(path.to_owned()));
        // The first connection checks the file.
        readers.read(|_| Ok(())).await?;
        Ok(Self { readers, writer: None })
    }

    /// Commits these changes in order, in one transaction (with whatever else waits), and returns after the commit.
    /// The queue is bounded: past the bound the caller waits, which is what slows a recorder whose index cannot follow.
    /// One bad change fails its own call only, and the whole of it.
    pub async fn write(&self, changes: Vec<Change>) -> Result<(), IndexError> {
        let writer = self.writer.as_ref().ok_or(IndexError::ReadOnly)?;
        let (done, result) = oneshot::channel();
        platform::turn().await;
        writer.calls.send(write::WriteCall { changes, done }).await.map_err(|_| IndexError::Stopped)?;
        let written = result.await.map_err(|_| IndexError::Stopped)?;
        platform::turn().await;
        written
    }

    /// Ends the writer: what waits is committed, the log is folded into the file. Later writes fail; reads go on.
    pub async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.closing.cancel();
            writer.closed.cancelled().await;
        }
    }
}
