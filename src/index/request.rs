//! Requests for footage: the rows that `desk` keeps, each with the whole of its file as JSON.
//!
//! Invariants: a change is made of the version before it, or refused, so that of two at once one is; an open request is not
//! taken in twice; what is destroyed is overwritten in the file of the index.
//! Absent on purpose: what a file says.

use rusqlite::{Connection, Row, params};

use super::apply::exec;
use super::query::{foreign, name, one, rows};
use super::{Index, IndexError};
use footage::units::{CameraId, RequestId, TenantId, TimeRange, WallTime};

/// A request as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// Its id.
    pub id: RequestId,
    /// Whose.
    pub tenant: TenantId,
    /// Counts its changes, from 1.
    pub version: u64,
    /// The procedure's number in one spelling; empty where there is none.
    pub procedure: String,
    /// When it was taken in.
    pub opened: WallTime,
    /// When it was closed.
    pub closed: Option<WallTime>,
    /// When it has to be destroyed.
    pub destroy_at: Option<WallTime>,
    /// What it asks for.
    pub parts: Vec<(CameraId, TimeRange)>,
    /// All of it, JSON.
    pub file: String,
}

/// Which of a tenant's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that are not closed.
    Open,
    /// Those that are.
    Closed,
    /// All.
    All,
}

impl Index {
    /// One of the tenant's requests.
    pub async fn request(&self, tenant: &TenantId, id: RequestId) -> Result<Option<RequestRow>, IndexError> {
        let tenant = tenant.clone();
        self.readers
            .read(move |db| {
                let sql = format!("{REQUESTS} WHERE request = ?1 AND tenant = ?2");
                one(db, &sql, params![id.0, tenant.as_str()], request_row)?.map(|row| with_parts(db, row)).transpose()
            })
            .await
    }

    /// The tenant's requests, the newest first. `after`: those that follow this one.
    pub async fn requests(
        &self,
        tenant: &TenantId,
        which: Which,
        after: Option<RequestId>,
        limit: u32,
    ) -> Result<Vec<RequestRow>, IndexError> {
        let tenant = tenant.clone();
        let closed = match which {
            Which::Open => Some(false),
            Which::Closed => Some(true),
            Which::All => None,
        };
        self.readers
            .read(move |db| {
                let sql = format!(
                    "{REQUESTS} WHERE tenant = ?1 AND (?2 IS NULL OR (closed IS NOT NULL) = ?2)
                     AND (?3 IS NULL OR id < (SELECT a.id FROM request a WHERE a.request = ?3)) ORDER BY id DESC LIMIT ?4"
                );
                let values = params![tenant.as_str(), closed, after.map(|id| id.0), limit];
                rows(db, &sql, values, request_row)?.into_iter().map(|row| with_parts(db, row)).collect()
            })
            .await
    }

    /// The tenant's other requests of this procedure, the newest first.
    pub async fn requests_of_procedure(
        &self,
        tenant: &TenantId,
        procedure: &str,
        but: RequestId,
    ) -> Result<Vec<RequestId>, IndexError> {
        let (tenant, procedure) = (tenant.clone(), procedure.to_owned());
        self.readers
            .read(move |db| {
                let sql = "SELECT request FROM request WHERE tenant = ?1 AND procedure = ?2 AND procedure <> ''
                           AND request <> ?3 ORDER BY id DESC LIMIT 100";
                rows(db, sql, params![tenant.as_str(), procedure, but.0], |row| row.get(0).map(RequestId))
            })
            .await
    }

    /// The open request of the tenant's that asks for all of this already, by the same procedure.
    pub async fn request_double(&self, of: &RequestRow) -> Result<Option<RequestId>, IndexError> {
        let of = of.clone();
        self.readers.read(move |db| double(db, &of)).await
    }

    /// Across tenants, for their destruction: closed requests whose time is over at this instant.
    pub async fn requests_over(&self, at: WallTime, limit: u32) -> Result<Vec<(TenantId, RequestId)>, IndexError> {
        self.readers
            .read(move |db| {
                let sql = "SELECT tenant, request FROM request WHERE closed IS NOT NULL AND destroy_at <= ?1 LIMIT ?2";
                rows(db, sql, params![at.0, limit], |row| Ok((name(row, 0)?, RequestId(row.get(1)?))))
            })
            .await
    }

    /// Across tenants, to compare with the files beside: every request and its version.
    pub async fn request_versions(&self) -> Result<Vec<(TenantId, RequestId, u64)>, IndexError> {
        let read = |row: &Row<'_>| Ok((name(row, 0)?, RequestId(row.get(1)?), row.get::<_, i64>(2)?.unsigned_abs()));
        self.readers.read(move |db| rows(db, "SELECT tenant, request, version FROM request", [], read)).await
    }
}

const REQUESTS: &str = "SELECT request, tenant, version, procedure, opened, closed, destroy_at, file FROM request";

fn request_row(row: &Row<'_>) -> rusqlite::Result<RequestRow> {
    let instant = |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(WallTime));
    Ok(RequestRow {
        id: RequestId(row.get(0)?),
        tenant: name(row, 1)?,
        version: row.get::<_, i64>(2)?.unsigned_abs(),
        procedure: row.get(3)?,
        opened: WallTime(row.get(4)?),
        closed: instant(5)?,
        destroy_at: instant(6)?,
        parts: Vec::new(),
        file: row.get(7)?,
    })
}

fn with_parts(db: &Connection, row: RequestRow) -> Result<RequestRow, IndexError> {
    let sql = "SELECT p.camera, p.start, p.until FROM request_part p JOIN request r ON r.id = p.request
               WHERE r.request = ?1 AND r.tenant = ?2 ORDER BY p.camera, p.start, p.until";
    let parts = rows(db, sql, params![row.id.0, row.tenant.as_str()], |part| {
        let range = TimeRange::new(WallTime(part.get(1)?), WallTime(part.get(2)?));
        Ok((name(part, 0)?, range.ok_or_else(|| foreign(1, "an empty part of a request".to_owned()))?))
    })?;
    Ok(RequestRow { parts, ..row })
}

/// An open request of the same procedure that asks for every part of this one. One without parts says nothing here of what
/// it asks for.
fn double(db: &Connection, of: &RequestRow) -> Result<Option<RequestId>, IndexError> {
    if of.procedure.is_empty() || of.parts.is_empty() {
        return Ok(None);
    }
    let sql =
        format!("{REQUESTS} WHERE tenant = ?1 AND procedure = ?2 AND closed IS NULL AND request <> ?3 ORDER BY id");
    let open = rows(db, &sql, params![of.tenant.as_str(), of.procedure, of.id.0], request_row)?;
    for row in open {
        let other = with_parts(db, row)?;
        let asks_for = |(camera, range): &(CameraId, TimeRange)| {
            let within = |(of, all): &(CameraId, TimeRange)| of == camera && all.intersection(range) == Some(*range);
            other.parts.iter().any(within)
        };
        if of.parts.iter().all(asks_for) {
            return Ok(Some(other.id));
        }
    }
    Ok(None)
}

pub(super) fn put(db: &Connection, row: &RequestRow) -> Result<(), IndexError> {
    let RequestRow { id, tenant, version, .. } = row;
    let known = one(db, &format!("{REQUESTS} WHERE request = ?1"), [id.0], request_row)?;
    match &known {
        // Written twice.
        Some(known) if known.version == *version && known.file == row.file => return Ok(()),
        Some(known) if known.tenant == *tenant && known.version + 1 == *version => {}
        None if *version == 1 => {
            if let Some(other) = double(db, row)? {
                return Err(IndexError::Refused(format!("request {other} asks for the same")));
            }
        }
        _ => return Err(IndexError::Refused(format!("request {id} was changed meanwhile"))),
    }
    write(db, row)
}

/// From the file beside the index: where it is newer than what the index knows.
pub(super) fn take_in(db: &Connection, row: &RequestRow) -> Result<(), IndexError> {
    match one(db, &format!("{REQUESTS} WHERE request = ?1"), [row.id.0], request_row)? {
        Some(known) if known.tenant != row.tenant || known.version >= row.version => Ok(()),
        _ => write(db, row),
    }
}

/// What is no longer said is overwritten: an earlier version may name more than the last one.
fn write(db: &Connection, row: &RequestRow) -> Result<(), IndexError> {
    overwriting(db, |db| write_over(db, row))
}

/// With what goes away overwritten in the file of the index.
fn overwriting(db: &Connection, change: impl FnOnce(&Connection) -> Result<(), IndexError>) -> Result<(), IndexError> {
    db.pragma_update(None, "secure_delete", true)?;
    let changed = change(db);
    db.pragma_update(None, "secure_delete", false)?;
    changed
}

fn write_over(db: &Connection, row: &RequestRow) -> Result<(), IndexError> {
    let RequestRow { id, tenant, version, procedure, opened, closed, destroy_at, parts, file } = row;
    let sql = "INSERT INTO request (request, tenant, version, procedure, opened, closed, destroy_at, file)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (request) DO UPDATE SET version = ?3, procedure = ?4, closed = ?6, destroy_at = ?7, file = ?8";
    let [closed, destroy_at] = [closed, destroy_at].map(|at| at.map(|at| at.0));
    let version = i64::try_from(*version).unwrap_or(i64::MAX);
    exec(db, sql, params![id.0, tenant.as_str(), version, procedure, opened.0, closed, destroy_at, file])?;
    let number = one(db, "SELECT id FROM request WHERE request = ?1", [id.0], |row| row.get::<_, i64>(0))?;
    exec(db, "DELETE FROM request_part WHERE request = ?1", [number])?;
    for (camera, range) in parts {
        let sql = "INSERT OR IGNORE INTO request_part (request, camera, start, until) VALUES (?1, ?2, ?3, ?4)";
        exec(db, sql, params![number, camera.as_str(), range.start().0, range.end().0])?;
    }
    Ok(())
}

pub(super) fn forget(db: &Connection, tenant: &TenantId, id: RequestId) -> Result<(), IndexError> {
    overwriting(db, |db| {
        exec(db, "DELETE FROM request WHERE request = ?1 AND tenant = ?2", params![id.0, tenant.as_str()]).map(drop)
    })
}
