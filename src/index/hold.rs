//! Legal holds: what stays for them, and what they have not copied yet.
//!
//! Invariants: a pack with footage that a hold in force covers is neither condemned nor deleting before the hold has
//! copied it, or shares what another hold has copied; a pack that stays for a hold is in no timeline but the holds'.
//!
//! Holds that overlap share copies: what one hold in force has copied, no other copies again. When that hold ends, the
//! others copy what they need of its packs, which wait for it.

use rusqlite::{Connection, Row, ToSql, params};

use super::apply::exec;
use super::query::{PACKS, camera_key, name, one, pack_row, range_params, rows, segment_row, tenant_id, time_range};
use super::{Cameras, Index, IndexError, PackRow, Reason, SegmentRow};
use crate::event::{Event, Fact};
use footage::pack::HoldFacts;
use footage::units::{CameraKey, HoldId, PackId, TenantId, TimeRange, WallTime};

/// A hold as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRow {
    /// Whose footage.
    pub camera: CameraKey,
    /// What and why.
    pub facts: HoldFacts,
    /// When it was released, or found over; `None` while it is in force.
    pub closed: Option<WallTime>,
}

/// What there is of the footage that a hold covers; each sorted and without overlaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Footage that stays for the hold: copied, or kept from being destroyed until it is.
    pub present: Vec<TimeRange>,
    /// The part of it that is copied into packs of this hold, or of others that share them.
    pub copied: Vec<TimeRange>,
    /// Footage whose destruction has begun and is not in the register yet.
    pub deleting: Vec<TimeRange>,
}

/// A pack that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleting {
    /// Its bytes were found before.
    pub seen: bool,
    /// Why it goes.
    pub reason: Reason,
    /// First instant of its footage.
    pub start: WallTime,
    /// First instant after its footage.
    pub end: WallTime,
    /// Its size.
    pub bytes: u64,
}

impl Index {
    /// The tenant's holds: those in force first, of each the newest first. `after`: those that follow this one.
    pub async fn holds(
        &self,
        tenant: &TenantId,
        cameras: Option<Cameras>,
        after: Option<HoldId>,
        limit: u32,
    ) -> Result<Vec<HoldRow>, IndexError> {
        let (tenant, cameras) = (tenant.clone(), cameras.map(|cameras| cameras.json()));
        self.readers
            .read(move |db| {
                let Some(tenant) = tenant_id(db, &tenant)? else { return Ok(Vec::new()) };
                let sql = format!(
                    "{HOLDS} WHERE c.tenant = ?1 AND (?3 IS NULL OR (h.closed IS NOT NULL, -h.id) >
                         (SELECT a.closed IS NOT NULL, -a.id FROM hold a WHERE a.hold = ?3))
                         AND (?4 IS NULL OR c.camera IN (SELECT value FROM json_each(?4)))
                     ORDER BY h.closed IS NOT NULL, h.id DESC LIMIT ?2"
                );
                rows(db, &sql, params![tenant, limit, after.map(|hold| hold.0), cameras], hold_row)
            })
            .await
    }

    /// Across tenants, for their shares of the disk: what packs of holds take, by tenant.
    pub async fn held_bytes(&self) -> Result<Vec<(TenantId, u64)>, IndexError> {
        self.readers
            .read(|db| {
                let sql = "SELECT t.name, sum(p.bytes) FROM pack p JOIN camera c ON c.id = p.camera
                           JOIN tenant t ON t.id = c.tenant
                           WHERE p.hold IS NOT NULL AND p.state IN (1, 2) GROUP BY t.id";
                rows(db, sql, [], |row| Ok((name(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs())))
            })
            .await
    }

    /// How many of the tenant's holds are in force.
    pub async fn holds_in_force(&self, tenant: &TenantId) -> Result<u32, IndexError> {
        let tenant = tenant.clone();
        self.readers
            .read(move |db| {
                let Some(tenant) = tenant_id(db, &tenant)? else { return Ok(0) };
                let sql = "SELECT count(*) FROM camera c JOIN hold h ON h.camera = c.id
                           WHERE c.tenant = ?1 AND h.closed IS NULL";
                Ok(one(db, sql, [tenant], |row| row.get(0))?.unwrap_or(0))
            })
            .await
    }

    /// One hold of the tenant.
    pub async fn hold(&self, tenant: &TenantId, hold: HoldId) -> Result<Option<HoldRow>, IndexError> {
        let tenant = tenant.clone();
        self.readers
            .read(move |db| {
                let sql = format!("{HOLDS} WHERE h.hold = ?1 AND t.name = ?2");
                one(db, &sql, params![hold.0, tenant.as_str()], hold_row)
            })
            .await
    }

    /// Segments that a hold shows and that share an instant with the range, by start: of its own packs, and while it is in
    /// force of those within its range that other holds on the camera keep.
    pub async fn held_segments(
        &self,
        key: &CameraKey,
        hold: HoldId,
        range: TimeRange,
    ) -> Result<Vec<SegmentRow>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let [_, start, end, longest] = range_params(camera, range);
            rows(db, HELD_IN_RANGE, params![camera, start, end, longest, hold.0], segment_row)
        })
        .await
    }

    /// What holds in force keep of a camera in this range, in packs of theirs.
    pub async fn kept_spans(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<TimeRange>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let [_, start, end, longest] = range_params(camera, range);
            let read = |row: &Row<'_>| time_range(row.get(0)?, row.get(1)?);
            Ok(united(rows(db, KEPT_SPANS, params![camera, start, end, longest], read)?))
        })
        .await
    }

    /// Holds in force on a camera that cover some of this range, the one that lasts longest first.
    pub async fn holds_over(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<HoldRow>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let sql = format!(
                "{HOLDS} WHERE h.camera = ?1 AND h.closed IS NULL AND h.start < ?3 AND h.until > ?2 ORDER BY h.ends DESC, h.id"
            );
            rows(db, &sql, params![camera, range.start().0, range.end().0], hold_row)
        })
        .await
    }

    /// Footage of a camera in this range whose destruction has begun and is not in the register yet.
    pub async fn deleting_spans(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<TimeRange>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let read = |row: &Row<'_>| time_range(row.get(0)?, row.get(1)?);
            rows(db, DELETING_SPANS, params![camera, range.start().0, range.end().0], read)
        })
        .await
    }

    /// Footage of a camera in this range that is due: its destruction has not begun, and a hold would save it.
    pub async fn condemned_spans(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<TimeRange>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let read = |row: &Row<'_>| time_range(row.get(0)?, row.get(1)?);
            rows(db, CONDEMNED_SPANS, params![camera, range.start().0, range.end().0], read)
        })
        .await
    }

    /// The first instant of which anything is on record of a camera: footage, a gap, a destruction.
    pub async fn first_trace(&self, key: &CameraKey) -> Result<Option<WallTime>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let sql = "SELECT min(start) FROM (
                 SELECT min(start) AS start FROM segment WHERE camera = ?1
                 UNION ALL SELECT min(start) FROM open_segment WHERE camera = ?1
                 UNION ALL SELECT min(start) FROM pack WHERE camera = ?1 AND until > start
                 UNION ALL SELECT min(start) FROM gap WHERE camera = ?1
                 UNION ALL SELECT min(start) FROM open_gap WHERE camera = ?1
                 UNION ALL SELECT min(start) FROM deletion WHERE camera = ?1)";
            Ok(one(db, sql, [camera], |row| row.get::<_, Option<i64>>(0))?.flatten().map(WallTime))
        })
        .await
    }

    /// What there is of a hold's footage at one instant.
    pub async fn hold_coverage(&self, hold: &HoldRow) -> Result<Coverage, IndexError> {
        let (range, id) = (hold.facts.range, hold.facts.id);
        self.of_camera(&hold.camera, move |db, camera| {
            // One state of the index for all of it.
            let db = db.unchecked_transaction()?;
            let [_, start, end, longest] = range_params(camera, range);
            let values = params![camera, start, end, longest];
            let of_range = |sql: &str, values: &[&dyn ToSql]| {
                let spans = rows(&db, sql, values, |row| time_range(row.get(0)?, row.get(1)?))?;
                Ok::<_, IndexError>(spans.into_iter().filter_map(|span| span.intersection(&range)).collect::<Vec<_>>())
            };
            let copied = united(of_range(HELD_SPANS, params![camera, start, end, longest, id.0])?);
            let mut present = of_range(PRESENT_SPANS, values)?;
            present.extend(&copied);
            let deleting = united(of_range(DELETING_SPANS, &values[..3])?);
            Ok(Coverage { present: united(present), copied, deleting })
        })
        .await
    }

    /// Across tenants, for the copying of what holds cover: holds in force. The one that lasts longest comes first, so
    /// that what it copies serves the others to their ends.
    pub async fn all_holds_in_force(&self) -> Result<Vec<HoldRow>, IndexError> {
        self.readers
            .read(|db| rows(db, &format!("{HOLDS} WHERE h.closed IS NULL ORDER BY h.ends DESC, h.id"), [], hold_row))
            .await
    }

    /// For the copying of what holds cover: whole packs with footage that the hold covers and has not copied. Footage as
    /// recorded comes first, what stays for other holds last.
    pub async fn to_copy(&self, hold: &HoldRow, limit: u32) -> Result<Vec<PackRow>, IndexError> {
        let (range, id) = (hold.facts.range, hold.facts.id);
        self.of_camera(&hold.camera, move |db, camera| {
            let [_, start, end, longest] = range_params(camera, range);
            rows(db, &to_copy(), params![camera, start, end, longest, id.0, limit], pack_row)
        })
        .await
    }

    /// For retention: whether a hold keeps this pack from being destroyed.
    pub async fn is_held(&self, pack: PackId) -> Result<bool, IndexError> {
        let sql = format!("SELECT 1 FROM pack p WHERE p.pack = ?1 AND {COVERED}");
        self.readers.read(move |db| Ok(one(db, &sql, [pack.0], |_| Ok(()))?.is_some())).await
    }

    /// For retention: those of these packs that are deleting.
    pub async fn deleting(&self, packs: Vec<PackId>) -> Result<Vec<(PackId, Deleting)>, IndexError> {
        self.readers
            .read(move |db| {
                let sql = "SELECT d.seen, p.reason, p.start, p.until, p.bytes
                           FROM deleting d JOIN pack p ON p.id = d.pack WHERE p.pack = ?1";
                let row = |row: &Row<'_>| {
                    let reason = Reason::from_code(row.get(1)?).unwrap_or(Reason::Expired);
                    let (start, end) = (WallTime(row.get(2)?), WallTime(row.get(3)?));
                    Ok(Deleting { seen: row.get(0)?, reason, start, end, bytes: row.get::<_, i64>(4)? as u64 })
                };
                let mut deleting = Vec::new();
                for pack in packs {
                    deleting.extend(one(db, sql, [pack.0], row)?.map(|found| (pack, found)));
                }
                Ok(deleting)
            })
            .await
    }

    /// Across tenants, for retention: whole packs whose hold is over.
    pub async fn packs_of_ended_holds(&self, limit: u32) -> Result<Vec<PackId>, IndexError> {
        self.readers
            .read(move |db| {
                let sql = format!(
                    "SELECT p.pack FROM pack p JOIN hold h ON h.id = p.hold
                     WHERE p.hold IS NOT NULL AND h.closed IS NOT NULL AND p.state IN (1, 2) AND NOT {COVERED} LIMIT ?1"
                );
                rows(db, &sql, [limit], |row| row.get(0).map(PackId))
            })
            .await
    }

    /// Across tenants, for recovery and repair: the hold that a pack stays for.
    pub async fn hold_of(&self, pack: PackId) -> Result<Option<HoldRow>, IndexError> {
        self.readers
            .read(move |db| {
                let sql = format!("{HOLDS} WHERE h.id = (SELECT hold FROM pack WHERE pack = ?1)");
                one(db, &sql, [pack.0], hold_row)
            })
            .await
    }
}

pub(super) const HOLDS: &str =
    "SELECT t.name, c.camera, h.hold, h.start, h.until, h.reference, h.requester, h.reason, h.ends,
     h.placed, h.closed FROM hold h JOIN camera c ON c.id = h.camera JOIN tenant t ON t.id = c.tenant";

/// Whether a hold in force covers footage of the pack `p` and has not copied it. A condemned pack has no segments any
/// more, and those of other holds' packs are elsewhere: of these the bounds count.
pub(super) const COVERED: &str = "EXISTS (SELECT 1 FROM hold h WHERE h.camera = p.camera AND h.closed IS NULL
     AND h.start < p.until AND h.until > p.start AND h.id IS NOT p.hold
     AND NOT EXISTS (SELECT 1 FROM copied c WHERE c.pack = p.id AND c.hold = h.id)
     AND (p.state = 3 OR p.hold IS NOT NULL OR EXISTS (SELECT 1 FROM segment s
          WHERE s.camera = p.camera AND s.start >= p.start AND s.start < min(p.until, h.until)
          AND s.start + s.duration > h.start AND s.pack = p.id)))";

/// `?1` to `?4` as for the camera's own segments, `?5` the hold.
const HELD_IN_RANGE: &str = "SELECT s.start, s.start + s.duration, r.run, s.decode_time, p.pack, p.state,
     s.first_fragment, s.fragments FROM hold mine
     CROSS JOIN hold h ON h.camera = mine.camera AND (h.id = mine.id OR mine.closed IS NULL)
         AND h.start < mine.until AND h.until > mine.start
     CROSS JOIN held_segment s ON s.hold = h.id AND s.start > ?2 - ?4 AND s.start < ?3 AND s.start + s.duration > ?2
     CROSS JOIN pack p ON p.id = s.pack CROSS JOIN run r ON r.id = p.run
     WHERE mine.hold = ?5 AND mine.camera = ?1
         AND (h.id = mine.id OR (s.start < mine.until AND s.start + s.duration > mine.start)) ORDER BY s.start";

const HELD_SPANS: &str = "SELECT s.start, s.start + s.duration FROM hold mine
     CROSS JOIN hold h ON h.camera = mine.camera AND (h.id = mine.id OR mine.closed IS NULL)
         AND h.start < mine.until AND h.until > mine.start
     CROSS JOIN held_segment s ON s.hold = h.id AND s.start > ?2 - ?4 AND s.start < ?3 AND s.start + s.duration > ?2
     WHERE mine.hold = ?5 AND mine.camera = ?1
         AND (h.id = mine.id OR (s.start < mine.until AND s.start + s.duration > mine.start)) ORDER BY s.start";

const KEPT_SPANS: &str = "SELECT s.start, s.start + s.duration FROM hold h CROSS JOIN held_segment s
     ON s.hold = h.id AND s.start > ?2 - ?4 AND s.start < ?3 AND s.start + s.duration > ?2
     WHERE h.camera = ?1 AND h.closed IS NULL ORDER BY s.start";

/// What readers may see, what is condemned and can be saved, and what other holds keep.
const PRESENT_SPANS: &str = "SELECT start, start + duration FROM segment
         WHERE camera = ?1 AND start > ?2 - ?4 AND start < ?3 AND start + duration > ?2
     UNION ALL SELECT start, start + duration FROM open_segment
         WHERE camera = ?1 AND start > ?2 - ?4 AND start < ?3 AND start + duration > ?2
     UNION ALL SELECT start, until FROM pack
         WHERE state = 3 AND state <> 2 AND camera = ?1 AND start < ?3 AND until > ?2 AND until > start
         AND NOT EXISTS (SELECT 1 FROM deleting WHERE deleting.pack = pack.id)
     UNION ALL SELECT s.start, s.start + s.duration FROM hold h CROSS JOIN held_segment s
         ON s.hold = h.id AND s.start > ?2 - ?4 AND s.start < ?3 AND s.start + s.duration > ?2 WHERE h.camera = ?1";

const DELETING_SPANS: &str = "SELECT p.start, p.until FROM deleting d CROSS JOIN pack p ON p.id = d.pack
     WHERE p.camera = ?1 AND p.start < ?3 AND p.until > ?2 AND p.until > p.start AND p.hold IS NULL";

const CONDEMNED_SPANS: &str = "SELECT start, until FROM pack
     WHERE state = 3 AND state <> 2 AND camera = ?1 AND start < ?3 AND until > ?2 AND until > start
     AND NOT EXISTS (SELECT 1 FROM deleting WHERE deleting.pack = pack.id) ORDER BY start";

fn to_copy() -> String {
    format!(
        "{PACKS} WHERE p.id IN (
             SELECT pack FROM segment WHERE camera = ?1 AND start > ?2 - ?4 AND start < ?3 AND start + duration > ?2
             UNION SELECT id FROM pack WHERE state = 3 AND state <> 2 AND camera = ?1 AND start < ?3 AND until > ?2
             UNION SELECT id FROM pack WHERE hold IS NOT NULL AND camera = ?1 AND start < ?3 AND until > ?2)
         AND p.hold IS NOT (SELECT id FROM hold WHERE hold = ?5) AND p.state > 0
         AND NOT EXISTS (SELECT 1 FROM hold o WHERE o.id = p.hold AND o.closed IS NULL)
         AND NOT EXISTS (SELECT 1 FROM deleting d WHERE d.pack = p.id)
         AND NOT EXISTS (SELECT 1 FROM copied c JOIN hold h ON h.id = c.hold WHERE c.pack = p.id AND h.hold = ?5)
         ORDER BY p.hold IS NOT NULL, p.start, p.id LIMIT ?6"
    )
}

pub(super) fn hold_row(row: &Row<'_>) -> rusqlite::Result<HoldRow> {
    let instant = |column: usize| row.get(column).map(WallTime);
    Ok(HoldRow {
        camera: camera_key(row, 0, 1)?,
        facts: HoldFacts {
            id: HoldId(row.get(2)?),
            range: time_range(row.get(3)?, row.get(4)?)?,
            reference: row.get(5)?,
            requester: row.get(6)?,
            reason: row.get(7)?,
            until: instant(8)?,
            placed: instant(9)?,
        },
        closed: row.get::<_, Option<i64>>(10)?.map(WallTime),
    })
}

/// Sorted, and what touches joined.
pub(crate) fn united(mut ranges: Vec<TimeRange>) -> Vec<TimeRange> {
    ranges.sort_unstable_by_key(|range| (range.start(), range.end()));
    let mut out: Vec<TimeRange> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start() <= last.end() => {
                *last = TimeRange::new(last.start(), last.end().max(range.end())).unwrap_or(*last);
            }
            _ => out.push(range),
        }
    }
    out
}

/// Whether a hold keeps this pack from being condemned.
pub(super) fn covers(db: &Connection, pack: i64) -> Result<bool, IndexError> {
    let sql = format!("SELECT 1 FROM pack p WHERE p.id = ?1 AND {COVERED}");
    Ok(one(db, &sql, [pack], |_| Ok(()))?.is_some())
}

pub(super) fn begin_deleting(db: &Connection, packs: &[PackId]) -> Result<(), IndexError> {
    let sql = format!(
        "INSERT OR IGNORE INTO deleting (pack) SELECT p.id FROM pack p WHERE p.pack = ?1 AND p.state = 3 AND NOT {COVERED}"
    );
    packs.iter().try_for_each(|pack| exec(db, &sql, [pack.0]).map(drop))
}

/// The bytes of these packs were found.
pub(super) fn seen(db: &Connection, packs: &[PackId]) -> Result<(), IndexError> {
    for pack in packs {
        let sql = "UPDATE deleting SET seen = 1 WHERE pack = (SELECT id FROM pack WHERE pack = ?1)";
        exec(db, sql, [pack.0])?;
    }
    Ok(())
}

pub(super) fn place(db: &Connection, camera: i64, hold: &HoldFacts) -> Result<(), IndexError> {
    let HoldFacts { id, range, reference, requester, reason, until, placed } = hold;
    let sql = "INSERT INTO hold (hold, camera, start, until, reference, requester, reason, ends, placed)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";
    let (start, end) = (range.start().0, range.end().0);
    if exec(db, sql, params![id.0, camera, start, end, reference, requester, reason, until.0, placed.0])? == 1 {
        return Ok(());
    }
    match one(db, "SELECT camera FROM hold WHERE hold = ?1", [id.0], |row| row.get::<_, i64>(0))? {
        Some(known) if known == camera => Ok(()),
        _ => Err(IndexError::Refused(format!("hold {id} is on another camera"))),
    }
}

pub(super) fn end(db: &Connection, hold: HoldId, at: WallTime) -> Result<(), IndexError> {
    let id = known_hold(db, hold)?;
    exec(db, "UPDATE hold SET closed = ?2 WHERE id = ?1 AND closed IS NULL", params![id, at.0])?;
    exec(db, "DELETE FROM copied WHERE hold = ?1", [id])?;
    Ok(())
}

pub(super) fn end_before(db: &Connection, at: WallTime) -> Result<(), IndexError> {
    let over = rows(db, &format!("{HOLDS} WHERE h.closed IS NULL AND h.ends <= ?1"), [at.0], hold_row)?;
    for HoldRow { camera, facts, .. } in over {
        end(db, facts.id, at)?;
        let HoldFacts { id: hold, range, requester, .. } = facts;
        let fact = Fact::HoldEnded { hold, requester, start: range.start(), end: range.end() };
        super::apply::put_event(db, &Event::of_camera(at, &camera, fact))?;
    }
    Ok(())
}

pub(super) fn keep_for(db: &Connection, pack: i64, hold: HoldId) -> Result<(), IndexError> {
    let id = known_hold(db, hold)?;
    let sql = "UPDATE pack SET hold = ?2 WHERE id = ?1 AND camera = (SELECT camera FROM hold WHERE id = ?2)";
    if exec(db, sql, params![pack, id])? == 0 {
        return Err(IndexError::Refused(format!("hold {hold} is on another camera than the pack that is kept for it")));
    }
    Ok(())
}

pub(super) fn copied(db: &Connection, pack: i64, hold: HoldId) -> Result<(), IndexError> {
    let sql = "INSERT OR IGNORE INTO copied (pack, hold) SELECT ?1, id FROM hold WHERE hold = ?2 AND closed IS NULL";
    exec(db, sql, params![pack, hold.0])?;
    Ok(())
}

/// `values`: start, duration, … as of the camera's own segments, the camera before them.
pub(super) fn put_segment(db: &Connection, hold: i64, values: &[&dyn ToSql]) -> Result<(), IndexError> {
    let sql = "INSERT OR REPLACE INTO held_segment
               (hold, start, duration, decode_time, pack, first_fragment, fragments) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let mut values = values.to_vec();
    values[0] = &hold;
    exec(db, sql, &*values)?;
    Ok(())
}

/// `bounds`: start and end of the pack, and its number.
pub(super) fn delete_segments(db: &Connection, hold: i64, bounds: &[&dyn ToSql]) -> Result<(), IndexError> {
    let sql = "DELETE FROM held_segment WHERE hold = ?4 AND start >= ?1 AND start < ?2 AND pack = ?3";
    let mut values = bounds.to_vec();
    values.push(&hold);
    exec(db, sql, &*values)?;
    Ok(())
}

/// The pack is forgotten. When it stayed for a hold, holds that shared it look again at what is left of the footage
/// elsewhere.
pub(super) fn forget(db: &Connection, pack: i64) -> Result<(), IndexError> {
    let sql = "DELETE FROM copied WHERE pack IN (SELECT p.id FROM pack lost JOIN pack p
               ON p.camera = lost.camera AND p.start < lost.until AND p.until > lost.start
               WHERE lost.id = ?1 AND lost.hold IS NOT NULL)";
    exec(db, sql, [pack])?;
    exec(db, "DELETE FROM copied WHERE pack = ?1", [pack])?;
    exec(db, "DELETE FROM deleting WHERE pack = ?1", [pack])?;
    Ok(())
}

fn known_hold(db: &Connection, hold: HoldId) -> Result<i64, IndexError> {
    let id = one(db, "SELECT id FROM hold WHERE hold = ?1", [hold.0], |row| row.get(0))?;
    id.ok_or_else(|| IndexError::Unknown(format!("hold {hold}")))
}
