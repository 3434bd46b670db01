//! What cameras noticed, as an index beside their footage.
//!
//! Invariant: an occurrence goes with the footage of its time: with the pack when that is destroyed, and at the camera's
//! maximum where there is none.
//! Absent on purpose: the snapshot and packs do not hold it. With the index it is lost, and no copy outlives its time.

use std::ops::Range;

use onvif::NotificationKind;
use rusqlite::{Connection, Row, params};

use super::apply::exec;
use super::query::{foreign, rows};
use super::{Index, IndexError};
use footage::units::{CameraKey, TimeRange, WallTime};

/// Something that a camera noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OccurrenceRow {
    /// When, on the gateway's clock.
    pub at: WallTime,
    /// What.
    pub kind: NotificationKind,
    /// The device's own word for it, as in `VideoSource/GlobalSceneChange/ImagingService`.
    pub topic: String,
    /// By what part of the device.
    pub source: String,
    /// It began, or ended; none where it has no duration.
    pub active: Option<bool>,
}

fn code(kind: NotificationKind) -> u8 {
    match kind {
        NotificationKind::Motion => 1,
        NotificationKind::Tampering => 2,
        NotificationKind::DigitalInput => 3,
    }
}

/// Of a range, oldest first.
pub(super) const IN_RANGE: &str = "SELECT at, kind, topic, source, active FROM occurrence
     WHERE camera = ?1 AND at >= ?2 AND at < ?3 ORDER BY at, id LIMIT ?4";

impl Index {
    /// What a camera noticed in a range, oldest first.
    pub async fn occurrences(
        &self,
        key: &CameraKey,
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<OccurrenceRow>, IndexError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.of_camera(key, move |db, camera| {
            rows(db, IN_RANGE, params![camera, range.start().0, range.end().0, limit], occurrence_row)
        })
        .await
    }
}

fn occurrence_row(row: &Row<'_>) -> rusqlite::Result<OccurrenceRow> {
    let kind: u8 = row.get(1)?;
    let known = NotificationKind::ALL.into_iter().find(|known| code(*known) == kind);
    Ok(OccurrenceRow {
        at: WallTime(row.get(0)?),
        kind: known.ok_or_else(|| foreign(1, format!("occurrences of kind {kind}")))?,
        topic: row.get(2)?,
        source: row.get(3)?,
        active: row.get(4)?,
    })
}

pub(super) fn put(db: &Connection, camera: i64, row: &OccurrenceRow) -> Result<(), IndexError> {
    let sql = "INSERT INTO occurrence (camera, at, kind, topic, source, active) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    exec(db, sql, params![camera, row.at.0, code(row.kind), row.topic, row.source, row.active])?;
    Ok(())
}

pub(super) fn forget(db: &Connection, camera: i64, range: Range<WallTime>) -> Result<(), IndexError> {
    let sql = "DELETE FROM occurrence WHERE camera = ?1 AND at >= ?2 AND at < ?3";
    exec(db, sql, params![camera, range.start.0, range.end.0])?;
    Ok(())
}
