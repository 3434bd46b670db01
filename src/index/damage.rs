//! Footage that was found damaged beyond repair, and how far the search for it has got.
//!
//! A pack's segments leave such footage out, and a gap stands in its place: no reader is led to it. The bytes stay where
//! they are until the pack's time is over. All of it reads across tenants: it is for the scrub, `fsck` and rebuilding.

use std::ops::Range;
use std::path::Path;

use rusqlite::{Connection, Row, params};

use super::apply::{exec, number};
use super::query::{PACKS, camera_key, one, pack_row, range_params, rows};
use super::{Index, IndexError, PackRow, database};
use footage::media::GapCause;
use footage::units::{CameraKey, PackId, TimeRange, WallTime};

/// Fragments of a pack, by number.
pub type Lost = Vec<Range<u32>>;

/// How far the scrub of one store has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubRow {
    /// When this pass began.
    pub began: WallTime,
    /// Every pack up to this one was checked.
    pub after: Option<PackId>,
    /// Bytes checked in this pass.
    pub bytes: u64,
}

impl Index {
    /// What of a pack is lost.
    pub async fn lost(&self, pack: PackId) -> Result<Lost, IndexError> {
        self.readers.read(move |db| lost_of(db, pack)).await
    }

    /// What a camera's whole packs take, for each camera.
    pub async fn bytes_by_camera(&self) -> Result<Vec<(CameraKey, u64)>, IndexError> {
        let sql = "SELECT t.name, c.camera, u.bytes FROM usage u JOIN camera c ON c.id = u.camera
                   JOIN tenant t ON t.id = c.tenant";
        let row = |row: &Row<'_>| Ok((camera_key(row, 0, 1)?, row.get::<_, i64>(2)?.unsigned_abs()));
        self.readers.read(move |db| rows(db, sql, [], row)).await
    }

    /// Whole packs of a camera that share an instant with the range, those of holds too.
    pub async fn packs_around(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<PackRow>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let [_, start, end, longest] = range_params(camera, range);
            let sql = format!(
                "{PACKS} WHERE p.camera = ?1 AND p.start > ?2 - 4 * ?4 AND p.start < ?3 AND p.until > ?2
                 AND p.state IN (1, 2) LIMIT 64"
            );
            rows(db, &sql, params![camera, start, end, longest], pack_row)
        })
        .await
    }

    /// Where the scrub of a store goes on.
    pub async fn scrub(&self, store: &str) -> Result<Option<ScrubRow>, IndexError> {
        let store = store.to_owned();
        self.readers
            .read(move |db| {
                let sql = "SELECT began, after, bytes FROM scrub WHERE store = ?1";
                one(db, sql, [store], |row| {
                    let after: Vec<u8> = row.get(1)?;
                    Ok(ScrubRow {
                        began: WallTime(row.get(0)?),
                        after: after.try_into().ok().map(PackId),
                        bytes: row.get::<_, i64>(2)?.unsigned_abs(),
                    })
                })
            })
            .await
    }
}

fn lost_of(db: &Connection, pack: PackId) -> Result<Lost, IndexError> {
    let sql =
        "SELECT d.first, d.fragments FROM damage d JOIN pack p ON p.id = d.pack WHERE p.pack = ?1 ORDER BY d.first";
    rows(db, sql, [pack.0], |row| {
        let (first, fragments): (u32, u32) = (row.get(0)?, row.get(1)?);
        Ok(first..first.saturating_add(fragments))
    })
}

/// Every pack of which something is lost, according to the index in this file. May block.
pub fn all_lost(index: &Path) -> Result<Vec<(PackId, Lost)>, IndexError> {
    let db = database::open_reader(index)?;
    let sql = "SELECT DISTINCT p.pack FROM damage d JOIN pack p ON p.id = d.pack";
    let packs: Vec<PackId> = rows(&db, sql, [], |row| row.get(0).map(PackId))?;
    packs.into_iter().map(|pack| Ok((pack, lost_of(&db, pack)?))).collect()
}

/// Notes what of a pack is lost, in place of what was noted; the gaps of it go, the caller writes new ones.
pub(super) fn note(db: &Connection, pack: i64, lost: &[Range<u32>]) -> Result<(), IndexError> {
    exec(db, "DELETE FROM damage WHERE pack = ?1", [pack])?;
    for range in lost {
        let sql = "INSERT INTO damage (pack, first, fragments) VALUES (?1, ?2, ?3)";
        exec(db, sql, params![pack, range.start, range.end - range.start])?;
    }
    let sql = "DELETE FROM gap WHERE cause = ?2 AND (camera, start, until) IN
               (SELECT g.camera, g.start, g.until FROM pack p JOIN gap g
                ON g.camera = p.camera AND g.start >= p.start AND g.start < p.until WHERE p.id = ?1)";
    exec(db, sql, params![pack, GapCause::Corrupt.code()])?;
    Ok(())
}

/// The pack is forgotten.
pub(super) fn forget(db: &Connection, pack: i64) -> Result<(), IndexError> {
    exec(db, "DELETE FROM damage WHERE pack = ?1", [pack])?;
    Ok(())
}

pub(super) fn scrubbed(db: &Connection, store: &str, row: &ScrubRow) -> Result<(), IndexError> {
    let after = row.after.map_or_else(Vec::new, |pack| pack.0.to_vec());
    let sql = "INSERT OR REPLACE INTO scrub (store, began, after, bytes) VALUES (?1, ?2, ?3, ?4)";
    exec(db, sql, params![store, row.began.0, after, number(row.bytes)])?;
    Ok(())
}
