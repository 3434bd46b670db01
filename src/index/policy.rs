//! The bounds of retention in force, those that wait to be, and what these would destroy.
//!
//! Invariant: bounds that destroy more than those in force take effect only when their time has come or an operator
//! confirms them. Until then whichever of both keeps more holds.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::apply::{exec, put_event};
use super::query::{camera_id, camera_key, one, rows};
use super::{CameraRow, Index, IndexError};
use crate::event::{Event, Fact};
use footage::units::{CameraKey, Ticks90k, WallTime};

/// Bounds that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Whose.
    pub camera: CameraKey,
    /// The maximum that comes.
    pub retention_max: Ticks90k,
    /// The minimum that comes.
    pub retention_min: Ticks90k,
    /// When.
    pub at: WallTime,
}

/// Whole packs that begin before some instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many.
    pub packs: u64,
    /// Their size.
    pub bytes: u64,
    /// Start of the first.
    pub start: Option<WallTime>,
    /// End of the last.
    pub end: Option<WallTime>,
}

impl Index {
    /// Across tenants, for retention: every bound that waits.
    pub async fn pending_policies(&self) -> Result<Vec<Pending>, IndexError> {
        self.readers
            .read(|db| {
                let sql = "SELECT t.name, c.camera, p.retention_max, p.retention_min, p.at FROM pending_policy p
                           JOIN camera c ON c.id = p.camera JOIN tenant t ON t.id = c.tenant
                           ORDER BY t.name, c.camera";
                rows(db, sql, [], |row| {
                    Ok(Pending {
                        camera: camera_key(row, 0, 1)?,
                        retention_max: Ticks90k(row.get(2)?),
                        retention_min: Ticks90k(row.get(3)?),
                        at: WallTime(row.get(4)?),
                    })
                })
            })
            .await
    }

    /// Whole packs of a camera that begin at this instant or before: what a deadline there destroys, but for holds.
    pub async fn extent_until(&self, camera: &CameraKey, last_start: WallTime) -> Result<Extent, IndexError> {
        self.of_camera(camera, move |db, camera| {
            let sql = "SELECT count(*), coalesce(sum(bytes), 0), min(start), max(until) FROM pack
                       WHERE camera = ?1 AND start <= ?2 AND state IN (1, 2) AND hold IS NULL";
            let found = one(db, sql, params![camera, last_start.0], |row| {
                Ok(Extent {
                    packs: row.get::<_, i64>(0)?.unsigned_abs(),
                    bytes: row.get::<_, i64>(1)?.unsigned_abs(),
                    start: row.get::<_, Option<i64>>(2)?.map(WallTime),
                    end: row.get::<_, Option<i64>>(3)?.map(WallTime),
                })
            })?;
            Ok(found.unwrap_or_default())
        })
        .await
    }

    /// Across tenants: the stores that each camera used since this instant, by name.
    pub async fn stores_used(&self, since: WallTime) -> Result<HashMap<CameraKey, Vec<String>>, IndexError> {
        self.readers
            .read(move |db| {
                let sql = "SELECT t.name, c.camera, s.store FROM camera_store s JOIN camera c ON c.id = s.camera
                           JOIN tenant t ON t.id = c.tenant WHERE s.used_at >= ?1 ORDER BY s.store";
                let mut used: HashMap<CameraKey, Vec<String>> = HashMap::new();
                for (camera, store) in rows(db, sql, [since.0], |row| Ok((camera_key(row, 0, 1)?, row.get(2)?)))? {
                    used.entry(camera).or_default().push(store);
                }
                Ok(used)
            })
            .await
    }
}

/// What of the configured bounds holds at once; the rest waits.
pub(super) fn in_force_until(db: &Connection, row: &CameraRow, at: WallTime) -> Result<CameraRow, IndexError> {
    let Some(camera) = camera_id(db, &row.key)? else { return Ok(row.clone()) };
    let (max, min): (i64, i64) = db
        .prepare_cached("SELECT retention_max, retention_min FROM camera WHERE id = ?1")?
        .query_row([camera], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let lower = row.retention_max.0 < max || row.retention_min.0 < min;
    if !lower {
        exec(db, "DELETE FROM pending_policy WHERE camera = ?1", [camera])?;
        return Ok(row.clone());
    }
    // What waits already keeps its time: a restart does not delay it.
    let sql = "INSERT INTO pending_policy (camera, retention_max, retention_min, at) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET retention_max = ?2, retention_min = ?3, at = ?4
               WHERE (retention_max, retention_min) IS NOT (?2, ?3)";
    exec(db, sql, params![camera, row.retention_max.0, row.retention_min.0, at.0])?;
    let (retention_max, retention_min) =
        (Ticks90k(row.retention_max.0.max(max)), Ticks90k(row.retention_min.0.max(min)));
    Ok(CameraRow { retention_max, retention_min, ..row.clone() })
}

pub(super) fn forget_pending(db: &Connection, camera: &CameraKey) -> Result<(), IndexError> {
    if let Some(camera) = camera_id(db, camera)? {
        exec(db, "DELETE FROM pending_policy WHERE camera = ?1", [camera])?;
    }
    Ok(())
}

/// Bounds whose time has come take effect.
pub(super) fn apply_due(db: &Connection, now: WallTime) -> Result<(), IndexError> {
    let due: Vec<i64> = rows(db, "SELECT camera FROM pending_policy WHERE at <= ?1", [now.0], |row| row.get(0))?;
    due.into_iter().try_for_each(|camera| apply_one(db, camera, now, false))
}

/// An operator confirms bounds that wait; others stay as they are.
pub(super) fn confirm(
    db: &Connection,
    camera: i64,
    max: Ticks90k,
    min: Ticks90k,
    now: WallTime,
) -> Result<(), IndexError> {
    let sql = "SELECT 1 FROM pending_policy WHERE camera = ?1 AND retention_max = ?2 AND retention_min = ?3";
    match one(db, sql, params![camera, max.0, min.0], |_| Ok(()))? {
        Some(()) => apply_one(db, camera, now, true),
        None => Ok(()),
    }
}

fn apply_one(db: &Connection, camera: i64, now: WallTime, confirmed: bool) -> Result<(), IndexError> {
    let sql = "SELECT retention_max, retention_min FROM pending_policy WHERE camera = ?1";
    let pending: Option<(i64, i64)> =
        db.prepare_cached(sql)?.query_row([camera], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((max, min)) = pending else { return Ok(()) };
    let sql = "UPDATE camera SET retention_max = ?2, retention_min = ?3 WHERE id = ?1";
    exec(db, sql, params![camera, max, min])?;
    exec(db, "DELETE FROM pending_policy WHERE camera = ?1", [camera])?;
    let hours = |ticks: i64| Ticks90k(ticks).to_duration().as_secs() / 3_600;
    let fact = Fact::RetentionChanged { max_hours: hours(max), min_hours: hours(min), confirmed };
    let sql = "SELECT t.name, c.camera FROM camera c JOIN tenant t ON t.id = c.tenant WHERE c.id = ?1";
    match one(db, sql, [camera], |row| camera_key(row, 0, 1))? {
        Some(camera) => put_event(db, &Event::of_camera(now, &camera, fact)),
        None => Ok(()),
    }
}
