//! The SQLite file: opening, migrating, and the pool of readers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};
use tokio::sync::Semaphore;

use super::IndexError;

/// Marks the file as an index of Vigie's (`PRAGMA application_id`): "VIGE".
const APPLICATION_ID: i64 = 0x5649_4745;

/// Schema versions, oldest first. One that was released never changes.
const MIGRATIONS: &[M<'static>] = &[M::up(include_str!("schema.sql"))];

/// Connections that read at the same time; more callers wait.
const READERS_MAX: usize = 4;

/// Prepared statements kept by a connection: more than there are in this module.
const STATEMENTS_MAX: usize = 96;

/// How long to wait for another process's lock: `vigie fsck` beside the gateway.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Work on SQLite in a thread that may block. A test's paused clock stands still meanwhile.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IndexError> + Send + 'static,
) -> Result<T, IndexError> {
    footage::platform::spawn_blocking(work).await.unwrap_or_else(|cut_off| {
        tracing::error!(error = %cut_off, "work on the index was cut off");
        Err(IndexError::Stopped)
    })
}

/// The migrations, to be checked by a test.
pub(super) fn migrations() -> Migrations<'static> {
    Migrations::from_slice(MIGRATIONS)
}

/// Opens or creates the file, brings its schema up to date, and sets it up for the one writer.
pub(super) fn open_writer(path: &Path) -> Result<Connection, IndexError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let version = schema_version(&connection)?;
    if version > MIGRATIONS.len() as i64 {
        return Err(IndexError::Newer { found: version, known: MIGRATIONS.len() as i64 });
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    migrations().to_latest(&mut connection)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    // Cut back after a long read kept it from being reused, in bytes.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // A process that was killed inside a commit has left changes that are read and were never flushed: nobody may act
    // on them before they are. A checkpoint flushes the log first.
    connection.pragma(None, "wal_checkpoint", "passive", |_| Ok(()))?;
    Ok(connection)
}

/// Opens the file for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, IndexError> {
    if !path.exists() {
        return Err(IndexError::Missing(path.to_owned()));
    }
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let (found, known) = (schema_version(&connection)?, MIGRATIONS.len() as i64);
    if found != known {
        return Err(if found > known {
            IndexError::Newer { found, known }
        } else {
            IndexError::Older { found, known }
        });
    }
    connection.pragma_update(None, "cache_size", -4_096)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// The schema's version, after checking that the file is an index at all: an empty one has version 0.
fn schema_version(connection: &Connection) -> Result<i64, IndexError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (owner, version) = (number("application_id")?, number("user_version")?);
    // A crash between the first migration and its mark leaves 0 beside a version: ours too.
    let ours = owner == APPLICATION_ID || (owner == 0 && (tables == 0 || version > 0));
    if ours { Ok(version) } else { Err(IndexError::Corrupt("it is a database of another program".to_owned())) }
}

/// A few read-only connections, opened when first needed.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    slots: Arc<Semaphore>,
}

impl Readers {
    /// Opens nothing yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), slots: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// Runs a read on one of the connections. A connection on which it failed is not used again.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| IndexError::Stopped)?;
        let pool = Arc::clone(self);
        blocking(move || {
            // Held here and not by the caller, which may be dropped while the read goes on.
            let _slot = slot;
            let kept = pool.idle.lock().pop();
            let connection = kept.map_or_else(|| open_reader(&pool.path), Ok)?;
            let result = work(&connection)?;
            pool.idle.lock().push(connection);
            Ok(result)
        })
        .await
    }
}
