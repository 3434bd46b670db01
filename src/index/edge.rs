//! Footage that cameras recorded themselves and that was fetched after a cut: its runs bear a mark in their ids
//! ([`footage::units::RunId::is_edge`]).

use rusqlite::params;

use super::query::{decoded, range_params, rows, time_range};
use super::{Index, IndexError};
use crate::event::Fact;
use footage::units::{CameraKey, TimeRange};

/// Runs of a camera by their ids, which only the mark tells apart, then their segments; `?1` to `?4` as elsewhere.
pub(super) const SPANS: &str = "WITH edge AS (
         SELECT r.id FROM run r WHERE r.camera = ?1 AND substr(r.run, 7, 6) = x'656467650001' AND r.start < ?3),
     of AS (SELECT p.id, p.start, p.until FROM pack p WHERE p.camera = ?1 AND p.run IN (SELECT id FROM edge)
            AND p.start < ?3 AND p.until > ?2 AND p.state < 3 AND p.hold IS NULL)
     SELECT s.start, s.start + s.duration FROM of CROSS JOIN segment s
         ON s.camera = ?1 AND s.start >= of.start AND s.start < of.until AND s.pack = of.id
         WHERE s.start > ?2 - ?4 AND s.start < ?3 AND s.start + s.duration > ?2
     UNION ALL SELECT s.start, s.start + s.duration FROM of CROSS JOIN open_segment s ON s.camera = ?1 AND s.pack = of.id
         WHERE s.start > ?2 - ?4 AND s.start < ?3 AND s.start + s.duration > ?2
     ORDER BY 1";

impl Index {
    /// What of a range is covered by footage that the camera recorded itself, by start.
    pub async fn edge_spans(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<TimeRange>, IndexError> {
        self.of_camera(key, move |db, camera| {
            rows(db, SPANS, range_params(camera, range), |row| time_range(row.get(0)?, row.get(1)?))
        })
        .await
    }

    /// Cuts of a camera that are done with, filled or not, as its events say.
    pub async fn settled_cuts(&self, key: &CameraKey) -> Result<Vec<TimeRange>, IndexError> {
        self.of_camera(key, |db, camera| {
            let sql = "SELECT entry, kind FROM event WHERE camera = ?1 AND kind IN ('edge_filled', 'edge_not_filled')";
            let cut = |row: &rusqlite::Row<'_>| {
                let Ok(event) = decoded(row, 0, 1)? else { return Ok(None) };
                Ok(match event.fact {
                    Fact::EdgeFilled { start, end, .. } | Fact::EdgeNotFilled { start, end, .. } => {
                        TimeRange::new(start, end)
                    }
                    _ => None,
                })
            };
            Ok(rows(db, sql, params![camera], cut)?.into_iter().flatten().collect())
        })
        .await
    }
}
