//! What a gateway asks about packs that others wrote into the same store. The last byte of a pack's id says who did.

use rusqlite::params;

use super::query::{PACKS, one, pack_row, rows};
use super::{Index, IndexError, PackRow};
use footage::units::{CameraKey, PackId, TICKS_PER_DAY, Ticks90k, TimeRange, WallTime};

impl Index {
    /// Those of these packs that the index does not know, in any state.
    pub async fn unknown_packs(&self, mut packs: Vec<PackId>) -> Result<Vec<PackId>, IndexError> {
        self.readers
            .read(move |db| {
                let mut failed = None;
                packs.retain(|pack| {
                    let known = one(db, "SELECT 1 FROM pack WHERE pack = ?1", [pack.0], |_| Ok(()));
                    known.map_err(|e| failed = Some(e)).is_ok_and(|known| known.is_none())
                });
                failed.map_or(Ok(packs), Err)
            })
            .await
    }

    /// Packs of a camera that others than the gateway of this rank wrote, that are stored, and that share an instant with
    /// the range, by start. None is longer than `longest`.
    pub async fn foreign_packs(
        &self,
        key: &CameraKey,
        rank: u8,
        range: TimeRange,
        longest: Ticks90k,
    ) -> Result<Vec<PackRow>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let sql = format!(
                "{PACKS} WHERE p.camera = ?1 AND p.start > ?2 AND p.start < ?3 AND p.until > ?4 AND p.state = 2
                 AND p.hold IS NULL AND substr(p.pack, 16, 1) <> ?5 ORDER BY p.start, p.id"
            );
            let from = range.start().saturating_sub(longest).0;
            rows(db, &sql, params![camera, from, range.end().0, range.start().0, [rank].as_slice()], pack_row)
        })
        .await
    }

    /// Packs of a camera with ids from this one on and of the same day (UTC) that others than the gateway of this rank
    /// wrote and that are stored.
    pub async fn foreign_packs_of_day(
        &self,
        key: &CameraKey,
        rank: u8,
        day: PackId,
    ) -> Result<Vec<PackId>, IndexError> {
        let end = PackId::least_at(WallTime((day.created().0.div_euclid(TICKS_PER_DAY) + 1) * TICKS_PER_DAY));
        self.of_camera(key, move |db, camera| {
            let sql =
                "SELECT pack FROM pack WHERE pack >= ?1 AND pack < ?2 AND camera = ?3 AND state = 2 AND hold IS NULL
                       AND substr(pack, 16, 1) <> ?4";
            rows(db, sql, params![day.0, end.0, camera, [rank].as_slice()], |row| row.get(0).map(PackId))
        })
        .await
    }

    /// Packs of a camera that wait for the store, oldest start first.
    pub async fn sealed_packs(&self, key: &CameraKey, limit: u32) -> Result<Vec<PackRow>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let sql = format!(
                "{PACKS} WHERE p.camera = ?1 AND p.state = 1 AND p.state <> 2 ORDER BY p.start, p.pack LIMIT ?2"
            );
            rows(db, &sql, params![camera, limit], pack_row)
        })
        .await
    }

    /// End of the last footage of a camera that the gateway of this rank recorded.
    pub async fn own_end(&self, key: &CameraKey, rank: u8) -> Result<Option<WallTime>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let sql = "SELECT until FROM pack WHERE camera = ?1 AND state < 3 AND hold IS NULL
                       AND substr(pack, 16, 1) = ?2 ORDER BY start DESC LIMIT 1";
            one(db, sql, params![camera, [rank].as_slice()], |row| row.get(0).map(WallTime))
        })
        .await
    }
}
