//! The one writer of the index: what waits is committed together.
//!
//! Invariant: each call is answered once, after the commit that holds it or after that commit failed. A connection on
//! which a transaction failed is closed, and the next batch opens another: after a full disk has room again, or after a
//! panic, writing goes on.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ffi};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, warn};

use super::apply::apply;
use super::{Change, IndexError, database};
use footage::platform;

/// Calls that wait for the writer; past it, callers wait to be queued.
pub(super) const QUEUED_CALLS_MAX: usize = 1_024;

/// Calls committed in one transaction.
const BATCH_CALLS_MAX: usize = 512;

/// One caller's changes.
pub(super) struct WriteCall {
    /// In order.
    pub(super) changes: Vec<Change>,
    /// Where the answer goes.
    pub(super) done: oneshot::Sender<Result<(), IndexError>>,
}

/// The writer task: ends when every handle is gone or when asked to, with the queue empty.
pub(super) async fn run(
    path: PathBuf,
    connection: Connection,
    mut queue: mpsc::Receiver<WriteCall>,
    closing: CancellationToken,
    _done: DropGuard,
) {
    let mut connection = Some(connection);
    let mut calls = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled(), if !queue.is_closed() => queue.close(),
            received = queue.recv_many(&mut calls, BATCH_CALLS_MAX) => {
                if received == 0 {
                    break;
                }
                let (path, kept, calls) = (path.clone(), connection.take(), std::mem::take(&mut calls));
                let batch = move || commit_calls(&path, kept, calls);
                connection = platform::spawn_blocking(batch).await.unwrap_or_else(|cut_off| {
                    error!(error = %cut_off, "the index writer was cut off: opening the index again");
                    None
                });
            }
        }
    }
    if let Some(connection) = connection {
        let fold = move || Ok(connection.pragma(None, "wal_checkpoint", "truncate", |_| Ok(()))?);
        if let Err(error) = database::blocking(fold).await {
            warn!(%error, "the index keeps its log: it could not be folded into the file");
        }
    }
}

/// Commits a batch and answers its calls; gives the connection back if it can be used again.
fn commit_calls(path: &Path, connection: Option<Connection>, calls: Vec<WriteCall>) -> Option<Connection> {
    let (changes, answers): (Vec<_>, Vec<_>) = calls.into_iter().map(|call| (call.changes, call.done)).unzip();
    let committed = match connection.map_or_else(|| database::open_writer(path), Ok) {
        Ok(connection) => commit(&connection, &changes).map(|results| (connection, results)),
        Err(error) => Err(error),
    };
    match committed {
        Ok((connection, results)) => {
            // A caller that is gone does not want the answer.
            answers.into_iter().zip(results).for_each(|(answer, result)| drop(answer.send(result)));
            Some(connection)
        }
        Err(error) => {
            error!(%error, calls = answers.len(), "a batch of changes to the index failed");
            answers.into_iter().for_each(|answer| drop(answer.send(Err(copy(&error)))));
            None
        }
    }
}

/// Commits these calls in one transaction. `Err` when none of them was committed; otherwise each call's own result.
pub(super) fn commit(
    connection: &Connection,
    calls: &[Vec<Change>],
) -> Result<Vec<Result<(), IndexError>>, IndexError> {
    let must_sync = calls.iter().flatten().any(outlives_power_cut);
    if must_sync {
        connection.pragma_update(None, "synchronous", "full")?;
    }
    let committed = transaction(connection, calls);
    if must_sync {
        connection.pragma_update(None, "synchronous", "normal")?;
    }
    if must_sync && committed.is_ok() {
        connection.path().map(Path::new).into_iter().for_each(platform::synced_index);
    }
    committed
}

/// What is done on the strength of an acknowledgement and cannot be found again: an object is deleted after the acknowledgement of its
/// condemnation; a pack leaves the spool, where recovery looks, once its row says that it is sealed; who placed a hold
/// relies on it.
fn outlives_power_cut(change: &Change) -> bool {
    use Change::{BeginDeleting, Claim, Condemn, Identify, PlaceHold, PutRequest, SealPack, Seen};
    matches!(
        change,
        Condemn { .. }
            | BeginDeleting { .. }
            | Seen { .. }
            | SealPack { .. }
            | PlaceHold { .. }
            | PutRequest(_)
            | Claim(_)
            | Identify { .. }
    )
}

/// `BEGIN` to `COMMIT`. Nearly every batch is good throughout and goes without savepoints, under which SQLite keeps
/// copies of what changes; a batch with a bad call is undone and done again with one around each call.
fn transaction(connection: &Connection, calls: &[Vec<Change>]) -> Result<Vec<Result<(), IndexError>>, IndexError> {
    let all_or_none = || {
        execute(connection, "BEGIN IMMEDIATE")?;
        calls.iter().flatten().try_for_each(|change| apply(connection, change))?;
        execute(connection, "COMMIT")
    };
    let Err(error) = undone_on_error(connection, all_or_none()) else {
        return Ok(calls.iter().map(|_| Ok(())).collect());
    };
    if let [_] = calls {
        let bad_change = matches!(error, IndexError::Unknown(_) | IndexError::Refused(_));
        return if bad_change { Ok(vec![Err(error)]) } else { Err(error) };
    }
    let each_apart = || {
        execute(connection, "BEGIN IMMEDIATE")?;
        let results = calls.iter().map(|changes| apart(connection, changes)).collect::<Result<_, _>>()?;
        execute(connection, "COMMIT")?;
        Ok(results)
    };
    undone_on_error(connection, each_apart())
}

/// One call inside a savepoint. The outer error is the transaction's.
fn apart(connection: &Connection, changes: &[Change]) -> Result<Result<(), IndexError>, IndexError> {
    execute(connection, "SAVEPOINT call")?;
    let result = changes.iter().try_for_each(|change| apply(connection, change));
    if result.is_err() {
        // A full disk or a failed read has undone the whole transaction, not only this call.
        if connection.is_autocommit() {
            return result.map(Ok);
        }
        execute(connection, "ROLLBACK TO call")?;
    }
    execute(connection, "RELEASE call")?;
    Ok(result)
}

/// Ends a transaction that failed, where SQLite has not done so itself.
fn undone_on_error<T>(connection: &Connection, outcome: Result<T, IndexError>) -> Result<T, IndexError> {
    if outcome.is_err() && !connection.is_autocommit() {
        execute(connection, "ROLLBACK")?;
    }
    outcome
}

fn execute(connection: &Connection, sql: &str) -> Result<(), IndexError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// The same error for another caller: SQLite's own cannot be cloned.
fn copy(error: &IndexError) -> IndexError {
    match error {
        IndexError::Corrupt(what) => IndexError::Corrupt(what.clone()),
        IndexError::Newer { found, known } => IndexError::Newer { found: *found, known: *known },
        IndexError::Sqlite(rusqlite::Error::SqliteFailure(code, what)) => {
            IndexError::Sqlite(rusqlite::Error::SqliteFailure(*code, what.clone()))
        }
        other => {
            let code = ffi::Error::new(ffi::SQLITE_ERROR);
            IndexError::Sqlite(rusqlite::Error::SqliteFailure(code, Some(other.to_string())))
        }
    }
}
