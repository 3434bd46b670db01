//! Alarms as rows: which last, who acknowledged them, and what each target was sent.
//!
//! Invariant: of a kind, a scope and a subject one alarm at most is active. Names stand in the rows as text: an alarm
//! outlives its camera's configuration.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::apply::exec;
use super::query::{decoded, rows};
use super::{Cameras, Index, IndexError};
use crate::event::{Actor, Event, Fact, Scope, Severity};
use footage::units::{CameraKey, TenantId, WallTime};

/// Alarms read at a time.
const ALARMS_MAX: u32 = 20_000;

/// An alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmRow {
    /// Grows with each alarm.
    pub id: i64,
    /// What is wrong, as one word.
    pub kind: String,
    /// The event that raised it last: its scope and facts.
    pub event: Event,
    /// The highest of all events that raised it.
    pub severity: Severity,
    /// When it was raised.
    pub began: WallTime,
    /// When it was over, if it is.
    pub ended: Option<WallTime>,
    /// When it was acknowledged, and by whom: the operator, or its tenant.
    pub acknowledged: Option<(WallTime, Actor)>,
}

/// How many alarms last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlarmCounts {
    /// Of any severity.
    pub active: u64,
    /// Critical ones.
    pub critical: u64,
    /// Targets that are not reached.
    pub not_delivered: u64,
}

/// What a target was sent of an alarm last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeRow {
    /// When.
    pub at: WallTime,
    /// That it is over.
    pub is_end: bool,
}

/// A change of alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlarmChange {
    /// It lasts from now on, or lasts still. One that gets worse is a new one to targets, acknowledged or not.
    Raise {
        /// What is wrong.
        kind: &'static str,
        /// Which of several things of that kind; empty where there is one.
        subject: String,
        /// An event will end it; otherwise the operator's acknowledgement does.
        lasts: bool,
        /// What raised it.
        event: Event,
    },
    /// It is over, if it lasted.
    End {
        /// What was wrong.
        kind: &'static str,
        /// Which of several things of that kind.
        subject: String,
        /// Whose it is.
        scope: Scope,
        /// When.
        at: WallTime,
    },
    /// The operator or its tenant has seen it. One that is over stays as it is, and so does one that the operator
    /// acknowledged.
    Acknowledge {
        /// Which.
        id: i64,
        /// Who: the operator, or its tenant.
        by: Actor,
        /// When.
        at: WallTime,
    },
    /// There are these targets and no others: what others were sent is forgotten.
    Targets(Vec<String>),
    /// A target was sent this.
    Notified {
        /// Which alarm.
        id: i64,
        /// Which target.
        target: String,
        /// What.
        notice: NoticeRow,
    },
}

/// Alarms that are over and are kept.
const ENDED_KEPT: u32 = 10_000;

const ALARMS: &str =
    "SELECT a.id, a.kind, a.entry, a.severity, a.began, a.ended, a.acknowledged, a.by_operator, a.tenant, a.camera
     FROM alarm a";

impl Index {
    /// Alarms that last, and those whose end has not been announced to every target that knows of them.
    pub async fn open_alarms(&self) -> Result<Vec<AlarmRow>, IndexError> {
        let sql = format!(
            "{ALARMS} WHERE a.ended IS NULL
             OR a.id IN (SELECT alarm FROM alarm_notice WHERE is_end = 0) ORDER BY a.id LIMIT {ALARMS_MAX}"
        );
        self.readers.read(move |db| rows(db, &sql, [], alarm_row)).await
    }

    /// What each target was sent of alarms whose end it does not know.
    pub async fn notices(&self) -> Result<HashMap<(i64, String), NoticeRow>, IndexError> {
        let sql = "SELECT n.alarm, n.target, n.at, n.is_end FROM alarm_notice n JOIN alarm a ON a.id = n.alarm
                   WHERE a.ended IS NULL OR n.is_end = 0";
        let notice = |row: &Row<'_>| {
            let notice = NoticeRow { at: WallTime(row.get(2)?), is_end: row.get(3)? };
            Ok(((row.get(0)?, row.get(1)?), notice))
        };
        Ok(self.readers.read(move |db| rows(db, sql, [], notice)).await?.into_iter().collect())
    }

    /// How many alarms last.
    pub async fn alarm_counts(&self) -> Result<AlarmCounts, IndexError> {
        self.readers.read(counts).await
    }

    /// Alarms of all tenants and of the gateway: those that last first, the worst first. For the operator alone.
    pub async fn all_alarms(&self, limit: u32) -> Result<Vec<AlarmRow>, IndexError> {
        self.readers.read(move |db| lasting_first(db, "TRUE", &(String::new(), None), limit)).await
    }

    /// A tenant's alarms and what of the gateway's a tenant may read: those that last first, the worst first.
    /// Of cameras those of these alone, where some are named.
    pub async fn alarms(
        &self,
        tenant: &TenantId,
        cameras: Option<Cameras>,
        limit: u32,
    ) -> Result<Vec<AlarmRow>, IndexError> {
        let (tenant, cameras) = (tenant.to_string(), cameras.map(|cameras| cameras.json()));
        let of = (tenant, cameras);
        let found = self.readers.read(move |db| lasting_first(db, OF_TENANT, &of, limit)).await?;
        Ok(found.into_iter().filter_map(AlarmRow::for_tenant).collect())
    }

    /// Of which cameras alarms of this kind have ended since an instant, and how often.
    pub async fn alarms_ended(
        &self,
        kind: &'static str,
        since: WallTime,
    ) -> Result<HashMap<CameraKey, u64>, IndexError> {
        let sql = "SELECT tenant, camera, count(*) FROM alarm WHERE kind = ?1 AND ended >= ?2 GROUP BY tenant, camera";
        let count = |row: &Row<'_>| {
            let key = format!("{}/{}", row.get::<_, String>(0)?, row.get::<_, String>(1)?);
            Ok((key.parse::<CameraKey>().ok(), row.get::<_, i64>(2)?.unsigned_abs()))
        };
        let found = self.readers.read(move |db| rows(db, sql, params![kind, since.0], count)).await?;
        Ok(found.into_iter().filter_map(|(camera, count)| Some((camera?, count))).collect())
    }

    /// One alarm. For the operator; a tenant's reader compares its scope.
    pub async fn alarm(&self, id: i64) -> Result<Option<AlarmRow>, IndexError> {
        let sql = format!("{ALARMS} WHERE a.id = ?1");
        self.readers.read(move |db| Ok(db.query_row(&sql, [id], alarm_row).optional()?)).await
    }
}

impl AlarmRow {
    /// What a tenant may read of it.
    pub fn for_tenant(self) -> Option<Self> {
        let Event { at, actor, scope, fact } = self.event;
        let event = Event { at, actor, scope, fact: fact.for_tenant()? };
        Some(Self { event, ..self })
    }
}

const OF_TENANT: &str = "a.tenant IN (?1, '') AND NOT a.operators";

/// Alarms for which a condition on the tenant holds: those that last, which are few, then the newest of the others.
fn lasting_first(
    db: &Connection,
    of: &str,
    (tenant, cameras): &(String, Option<String>),
    limit: u32,
) -> Result<Vec<AlarmRow>, IndexError> {
    let mut found: Vec<AlarmRow> = Vec::new();
    for (state, order) in [("a.ended IS NULL", "a.severity DESC, a.id DESC"), ("a.ended IS NOT NULL", "a.id DESC")] {
        let sql = format!("{ALARMS} WHERE {of} AND {state} AND ?1 IS NOT NULL
             AND (?3 IS NULL OR a.camera = '' OR a.camera IN (SELECT value FROM json_each(?3))) ORDER BY {order} LIMIT ?2");
        let left = i64::from(limit) - found.len() as i64;
        found.extend(rows(db, &sql, params![tenant, left, cameras], alarm_row)?);
    }
    Ok(found)
}

pub(super) fn counts(db: &Connection) -> Result<AlarmCounts, IndexError> {
    let sql = "SELECT count(*), count(*) FILTER (WHERE severity = ?1),
               count(*) FILTER (WHERE kind = 'alarm_not_delivered') FROM alarm WHERE ended IS NULL";
    let count = |row: &Row<'_>, at| row.get::<_, i64>(at).map(i64::unsigned_abs);
    Ok(db.query_row(sql, [Severity::Critical as i64], |row| {
        Ok(AlarmCounts { active: count(row, 0)?, critical: count(row, 1)?, not_delivered: count(row, 2)? })
    })?)
}

/// One whose entry cannot be read stands for what is known of it, for the operator alone.
fn alarm_row(row: &Row<'_>) -> rusqlite::Result<AlarmRow> {
    let (began, code): (i64, i64) = (row.get(4)?, row.get(3)?);
    let severities = [Severity::Info, Severity::Warning, Severity::Critical];
    let severity = severities.into_iter().find(|known| *known as i64 == code).unwrap_or(Severity::Critical);
    let by = if row.get(7)? { Actor::Operator } else { Actor::Tenant };
    let event = match decoded(row, 2, 1)? {
        Ok(event) => event,
        Err(of_kind) => Event::new(WallTime(began), scope(row, 8, 9)?, Fact::EntryUnreadable { of_kind }),
    };
    Ok(AlarmRow {
        id: row.get(0)?,
        kind: row.get(1)?,
        event,
        severity,
        began: WallTime(began),
        ended: row.get::<_, Option<i64>>(5)?.map(WallTime),
        acknowledged: row.get::<_, Option<i64>>(6)?.map(|at| (WallTime(at), by)),
    })
}

/// The scope that [`names`] wrote; the gateway where they are no names.
fn scope(row: &Row<'_>, tenant: usize, camera: usize) -> rusqlite::Result<Scope> {
    let (tenant, camera): (String, String) = (row.get(tenant)?, row.get(camera)?);
    let key = format!("{tenant}/{camera}").parse().ok().map(Scope::Camera);
    Ok(key.or_else(|| tenant.parse().ok().map(Scope::Tenant)).unwrap_or(Scope::Gateway))
}

/// Tenant and camera as rows hold them: empty where there is none.
fn names(scope: &Scope) -> [String; 2] {
    let tenant = scope.tenant().map(ToString::to_string);
    let camera = scope.camera().map(|key| key.camera.to_string());
    [tenant.unwrap_or_default(), camera.unwrap_or_default()]
}

pub(super) fn apply(db: &Connection, change: &AlarmChange) -> Result<(), IndexError> {
    match change {
        AlarmChange::Raise { kind, subject, lasts, event } => raise(db, kind, subject, *lasts, event)?,
        AlarmChange::End { kind, subject, scope, at } => {
            let [tenant, camera] = names(scope);
            let sql = "UPDATE alarm SET ended = ?5
                       WHERE kind = ?1 AND tenant = ?2 AND camera = ?3 AND subject = ?4 AND ended IS NULL";
            exec(db, sql, params![kind, tenant, camera, subject, at.0])?;
        }
        AlarmChange::Acknowledge { id, by, at } => {
            let by_operator = *by == Actor::Operator;
            let sql = "UPDATE alarm SET acknowledged = ?2, by_operator = ?3
                       WHERE id = ?1 AND ended IS NULL AND (acknowledged IS NULL OR ?3 > by_operator)";
            exec(db, sql, params![id, at.0, by_operator])?;
            if by_operator {
                // What has happened is over when the operator has seen it.
                let sql = "UPDATE alarm SET ended = ?2 WHERE id = ?1 AND ended IS NULL AND NOT lasts";
                if exec(db, sql, params![id, at.0])? > 0 {
                    exec(db, "UPDATE alarm_notice SET is_end = 1 WHERE alarm = ?1", [id])?;
                }
            }
        }
        AlarmChange::Targets(targets) => {
            let sql = "DELETE FROM alarm_notice WHERE target NOT IN (SELECT value FROM json_each(?1))";
            exec(db, sql, [serde_json::Value::from(targets.clone()).to_string()])?;
        }
        AlarmChange::Notified { id, target, notice } => {
            let sql = "INSERT OR REPLACE INTO alarm_notice (alarm, target, at, is_end) VALUES (?1, ?2, ?3, ?4)";
            exec(db, sql, params![id, target, notice.at.0, notice.is_end])?;
        }
    }
    Ok(())
}

fn raise(db: &Connection, kind: &str, subject: &str, lasts: bool, event: &Event) -> Result<(), IndexError> {
    let [tenant, camera] = names(&event.scope);
    let (entry, severity, operators) = (event.encode(), event.fact.severity() as i64, event.fact.is_operators());
    let sql = "SELECT id, severity FROM alarm
               WHERE kind = ?1 AND tenant = ?2 AND camera = ?3 AND subject = ?4 AND ended IS NULL";
    let found = db.query_row(sql, params![kind, tenant, camera, subject], |row| Ok((row.get(0)?, row.get(1)?)));
    let Some((id, before)) = found.optional()?.map(|found: (i64, i64)| found) else {
        let sql = "INSERT INTO alarm (kind, tenant, camera, subject, entry, severity, operators, lasts, began)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        exec(db, sql, params![kind, tenant, camera, subject, entry, severity, operators, lasts, event.at.0])?;
        return Ok(());
    };
    exec(db, "UPDATE alarm SET entry = ?2, severity = max(severity, ?3) WHERE id = ?1", params![id, entry, severity])?;
    if severity > before {
        exec(db, "UPDATE alarm SET acknowledged = NULL, by_operator = 0 WHERE id = ?1", [id])?;
        exec(db, "DELETE FROM alarm_notice WHERE alarm = ?1", [id])?;
    }
    Ok(())
}

/// Forgets alarms that ended before this instant, or before the last ten thousand: a camera that comes and goes makes many,
/// and the events have them all.
pub(super) fn forget(db: &Connection, before: WallTime) -> Result<(), IndexError> {
    let sql = "DELETE FROM alarm WHERE ended < ?1 OR (ended IS NOT NULL
               AND id <= coalesce((SELECT id FROM alarm ORDER BY id DESC LIMIT 1 OFFSET ?2), 0))";
    exec(db, sql, params![before.0, ENDED_KEPT])?;
    exec(db, "DELETE FROM alarm_notice WHERE alarm NOT IN (SELECT id FROM alarm)", [])?;
    Ok(())
}
