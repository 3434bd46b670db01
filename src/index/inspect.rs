//! What lies of a camera, whatever its state: for inspections, which believe no other query.

use rusqlite::params;

use super::query::{decoded, pack_state, rows, tenant_id};
use super::{Index, IndexError, PackState};
use crate::event::Event;
use crate::index::hold::{COVERED, HoldRow};
use footage::units::{CameraKey, HoldId, PackId, TenantId, TimeRange, WallTime};

/// A pack that the index has, readers see it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LyingPack {
    /// Which one.
    pub pack: PackId,
    /// Where it is in its life.
    pub state: PackState,
    /// First instant of its footage.
    pub start: WallTime,
    /// First instant after its footage.
    pub end: WallTime,
    /// Its size.
    pub bytes: u64,
    /// The hold that it stays for.
    pub hold: Option<HoldId>,
    /// A hold in force covers footage of it, and has not copied all of that.
    pub awaits_copy: bool,
}

/// Packs of a camera that should be gone, and are in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverAge {
    /// Why they are still there.
    pub why: OverAgeCause,
    /// How many.
    pub packs: u64,
    /// Their size.
    pub bytes: u64,
    /// First instant of their footage.
    pub start: WallTime,
    /// First instant after it.
    pub end: WallTime,
}

/// Why footage is there whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverAgeCause {
    /// A hold covers it, and is not done with its copy.
    AwaitsCopy,
    /// It is condemned, and its store has not acknowledged that it is deleted.
    NotDeleted,
    /// Retention has not taken it yet.
    NotCondemned,
}

impl OverAgeCause {
    /// As one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwaitsCopy => "awaits_copy",
            Self::NotDeleted => "not_deleted",
            Self::NotCondemned => "not_condemned",
        }
    }
}

impl Index {
    /// Every pack of the camera with footage of this range, by start.
    pub async fn packs_of_range(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<LyingPack>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let sql = format!(
                "SELECT p.pack, p.state, p.start, p.until, p.bytes, h.hold, {COVERED} FROM pack p
                 LEFT JOIN hold h ON h.id = p.hold
                 WHERE p.camera = ?1 AND p.start < ?3 AND p.until > ?2 ORDER BY p.start, p.id"
            );
            rows(db, &sql, params![camera, range.start().0, range.end().0], |row| {
                Ok(LyingPack {
                    pack: PackId(row.get(0)?),
                    state: pack_state(row, 1)?,
                    start: WallTime(row.get(2)?),
                    end: WallTime(row.get(3)?),
                    bytes: row.get::<_, i64>(4)?.unsigned_abs(),
                    hold: row.get::<_, Option<[u8; 16]>>(5)?.map(HoldId),
                    awaits_copy: row.get(6)?,
                })
            })
        })
        .await
    }

    /// Packs of the camera's own footage that begin at this instant or before, by why they are there.
    pub async fn over_age(&self, key: &CameraKey, last_start: WallTime) -> Result<Vec<OverAge>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let sql = format!(
                "SELECT CASE WHEN {COVERED} THEN 0 WHEN p.state = 3 THEN 1 ELSE 2 END AS why, count(*), sum(p.bytes),
                     min(p.start), max(p.until) FROM pack p
                 WHERE p.camera = ?1 AND p.start <= ?2 AND p.hold IS NULL GROUP BY why ORDER BY why"
            );
            rows(db, &sql, params![camera, last_start.0], |row| {
                Ok(OverAge {
                    why: match row.get::<_, u8>(0)? {
                        0 => OverAgeCause::AwaitsCopy,
                        1 => OverAgeCause::NotDeleted,
                        _ => OverAgeCause::NotCondemned,
                    },
                    packs: row.get::<_, i64>(1)?.unsigned_abs(),
                    bytes: row.get::<_, i64>(2)?.unsigned_abs(),
                    start: WallTime(row.get(3)?),
                    end: WallTime(row.get(4)?),
                })
            })
        })
        .await
    }

    /// When bounds of the camera's retention were lowered last, as far as its events go back.
    pub async fn retention_changed(&self, key: &CameraKey) -> Result<Option<WallTime>, IndexError> {
        self.of_camera(key, |db, camera| {
            let sql = "SELECT at FROM event WHERE camera = ?1 AND kind = 'retention_changed' ORDER BY at DESC LIMIT 1";
            Ok(rows(db, sql, [camera], |row| Ok(WallTime(row.get(0)?)))?.pop())
        })
        .await
    }

    /// Every hold on the camera, those that are over included, the newest first.
    pub async fn holds_of(&self, key: &CameraKey) -> Result<Vec<HoldRow>, IndexError> {
        self.of_camera(key, |db, camera| {
            let sql = format!("{} WHERE h.camera = ?1 ORDER BY h.id DESC", super::hold::HOLDS);
            rows(db, &sql, [camera], super::hold::hold_row)
        })
        .await
    }

    /// Events of keys of the tenant that were destroyed, the oldest first.
    pub async fn key_events(&self, tenant: &TenantId) -> Result<Vec<Event>, IndexError> {
        let tenant = tenant.clone();
        self.readers
            .read(move |db| {
                let Some(number) = tenant_id(db, &tenant)? else { return Ok(Vec::new()) };
                let sql =
                    "SELECT id, entry, at, kind FROM event WHERE tenant = ?1 AND kind = 'key_destroyed' ORDER BY id";
                let found = rows(db, sql, [number], |row| decoded(row, 1, 3))?;
                Ok(found.into_iter().filter_map(Result::ok).collect())
            })
            .await
    }
}
