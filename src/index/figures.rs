//! What the index counts for metrics: across tenants, for the operator alone.

use rusqlite::params;

use super::alarm::AlarmCounts;
use super::query::{camera_key, rows};
use super::{Index, IndexError, Reason};
use footage::units::{CameraKey, Ticks90k, WallTime};

/// Counts and sums at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whole packs that wait for their store.
    pub waiting_packs: u64,
    /// Their size.
    pub waiting_bytes: u64,
    /// When the oldest of them begins.
    pub oldest_waiting: Option<WallTime>,
    /// Packs that are condemned and whose bytes are not gone yet.
    pub condemned_packs: u64,
    /// Packs with footage older than its maximum and `grace`, holds apart.
    pub over_age_packs: u64,
    /// Packs destroyed, by reason, as far as the register goes back.
    pub destroyed_packs: Vec<(Reason, u64)>,
    /// Of each store: when the scrub's pass began, and how many bytes it has read.
    pub scrubs: Vec<(String, WallTime, u64)>,
    /// Holds in force.
    pub holds_in_force: u64,
    /// Alarms that last.
    pub alarms: AlarmCounts,
}

/// What a camera has written lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Which camera.
    pub camera: CameraKey,
    /// How long its footage may be kept.
    pub retention_max: Ticks90k,
    /// Bytes of its whole packs of that time.
    pub bytes: u64,
    /// From the begin of the first of them to the end of the last.
    pub covers: Ticks90k,
}

impl Index {
    /// What each configured camera has written in whole packs that begin from `since` on, holds apart.
    pub async fn growth(&self, since: WallTime) -> Result<Vec<Growth>, IndexError> {
        let sql = "SELECT t.name, c.camera, c.retention_max, sum(p.bytes), max(p.until) - min(p.start)
                   FROM camera c JOIN tenant t ON t.id = c.tenant JOIN pack p ON p.camera = c.id
                   WHERE c.configured AND p.start >= ?1 AND p.hold IS NULL AND p.state IN (1, 2) GROUP BY c.id";
        let growth = |row: &rusqlite::Row<'_>| {
            Ok(Growth {
                camera: camera_key(row, 0, 1)?,
                retention_max: Ticks90k(row.get(2)?),
                bytes: row.get::<_, i64>(3)?.unsigned_abs(),
                covers: Ticks90k(row.get(4)?),
            })
        };
        self.readers.read(move |db| rows(db, sql, [since.0], growth)).await
    }

    /// What there is at `now`.
    pub async fn figures(&self, now: WallTime, grace: Ticks90k) -> Result<Figures, IndexError> {
        self.readers
            .read(move |db| {
                let count =
                    |sql: &str| Ok::<_, IndexError>(db.query_row(sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs());
                let sql =
                    "SELECT count(*), coalesce(sum(bytes), 0), min(start) FROM pack WHERE state = 1 AND state <> 2";
                let (packs, bytes, oldest) = db.query_row(sql, [], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?))
                })?;
                // Of each camera a walk from its oldest pack to the first that is young enough.
                let over_age = "SELECT coalesce(sum((SELECT count(*) FROM pack p WHERE p.camera = c.id
                    AND p.start < ?1 - c.retention_max AND p.hold IS NULL)), 0) FROM camera c";
                let bound = now.saturating_sub(grace);
                let over_age = db.query_row(over_age, [bound.0], |row| row.get::<_, i64>(0))?;
                let reason = |code: u8| Reason::from_code(code);
                let destroyed =
                    rows(db, "SELECT reason, sum(packs) FROM deletion GROUP BY reason", params![], |row| {
                        Ok((row.get::<_, u8>(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
                    })?;
                Ok(Figures {
                    waiting_packs: packs.unsigned_abs(),
                    waiting_bytes: bytes.unsigned_abs(),
                    oldest_waiting: oldest.map(WallTime),
                    condemned_packs: count("SELECT count(*) FROM pack WHERE state = 3 AND state <> 2")?,
                    over_age_packs: over_age.unsigned_abs(),
                    destroyed_packs: destroyed.into_iter().filter_map(|(code, n)| Some((reason(code)?, n))).collect(),
                    scrubs: rows(db, "SELECT store, began, bytes FROM scrub", params![], |row| {
                        Ok((row.get(0)?, WallTime(row.get(1)?), row.get::<_, i64>(2)?.unsigned_abs()))
                    })?,
                    alarms: super::alarm::counts(db)?,
                    holds_in_force: count("SELECT count(*) FROM hold WHERE closed IS NULL")?,
                })
            })
            .await
    }
}
