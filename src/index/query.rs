//! Reads of the index.
//!
//! Invariant: a tenant's question goes through `camera_id` or `tenant_id`, the only places where a name becomes a
//! number of the index; the numbers never leave this module and its siblings.

use std::collections::HashSet;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Params, Row, params, types};

use super::hold::COVERED;
use super::{
    CameraRow, Cameras, DeletionRow, EventRow, GapRow, Index, IndexError, Outcome, PackRow, PackState, Reason, RunRow,
    SEGMENT_DURATION_MAX, SegmentRow, SteadyClock,
};
use crate::event::{Event, Fact};
use footage::media::GapCause;
use footage::units::{CameraKey, PackId, RunId, TenantId, Ticks90k, TimeRange, WallTime};

impl Index {
    /// The tenant's cameras, by id.
    pub async fn cameras(&self, tenant: &TenantId) -> Result<Vec<CameraRow>, IndexError> {
        let tenant = tenant.clone();
        self.readers
            .read(move |db| {
                let Some(number) = tenant_id(db, &tenant)? else { return Ok(Vec::new()) };
                rows(db, &format!("{CAMERAS} WHERE c.tenant = ?1 ORDER BY c.camera"), [number], camera_row)
            })
            .await
    }

    /// One camera of a tenant.
    pub async fn camera(&self, key: &CameraKey) -> Result<Option<CameraRow>, IndexError> {
        self.of_camera(key, |db, camera| one(db, &format!("{CAMERAS} WHERE c.id = ?1"), [camera], camera_row)).await
    }

    /// Segments of a camera that share an instant with the range, by start and pack; condemned packs' left out. In a store
    /// that several gateways share, segments of different packs may cover the same time.
    pub async fn segments(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<SegmentRow>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let mut found = rows(db, SEGMENTS_IN_RANGE, range_params(camera, range), segment_row)?;
            found.sort_by_key(|segment| (segment.range.start(), segment.pack));
            Ok(found)
        })
        .await
    }

    /// What those segments cover and nothing more, by start: what a timeline needs.
    pub async fn spans(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<TimeRange>, IndexError> {
        self.of_camera(key, move |db, camera| {
            rows(db, SPANS_IN_RANGE, range_params(camera, range), |row| time_range(row.get(0)?, row.get(1)?))
        })
        .await
    }

    /// First and last instant of a camera's footage.
    pub async fn extent(&self, key: &CameraKey) -> Result<Option<TimeRange>, IndexError> {
        self.of_camera(key, |db, camera| {
            let found = one(db, EXTENT, params![camera, SEGMENT_DURATION_MAX.0], |row| {
                Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
            })?;
            Ok(match found {
                Some((Some(start), Some(end))) => TimeRange::new(WallTime(start), WallTime(end)),
                _ => None,
            })
        })
        .await
    }

    /// Gaps of a camera that share an instant with the range, by start. A gap without length shares its instant.
    pub async fn gaps(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<GapRow>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let mut gaps = rows(db, GAPS_IN_RANGE, range_params(camera, range), gap_row)?;
            gaps.sort_by_key(|gap| (gap.start, gap.end.is_none(), gap.end));
            Ok(gaps)
        })
        .await
    }

    /// The SEI message that brought the certificates which a camera signed with then; `None` where none is known.
    pub async fn certificate_sei(&self, key: &CameraKey, at: WallTime) -> Result<Option<Bytes>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let sql = "SELECT sei FROM certificate_sei WHERE camera = ?1 AND at <= ?2 ORDER BY at DESC LIMIT 1";
            let sei: Option<Vec<u8>> = one(db, sql, params![camera, at.0], |row| row.get(0))?;
            Ok(sei.map(Bytes::from))
        })
        .await
    }

    /// A camera's runs, newest first.
    pub async fn runs(&self, key: &CameraKey, limit: u32) -> Result<Vec<RunRow>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let sql = "SELECT run, start, until, camera_clock_offset, timeline_offset FROM run
                       WHERE camera = ?1 ORDER BY start DESC, id DESC LIMIT ?2";
            rows(db, sql, params![camera, limit], run_row)
        })
        .await
    }

    /// Events of a tenant (and of one camera, if named) with an id above `after`, newest first, as the tenant may read
    /// them ([`crate::event::Fact::for_tenant`]). Without a camera, those of the gateway itself are among them.
    pub async fn events(
        &self,
        tenant: &TenantId,
        camera: Option<&CameraKey>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<EventRow>, IndexError> {
        let (tenant, camera) = (tenant.clone(), camera.cloned());
        self.readers
            .read(move |db| match camera {
                Some(camera) if camera.tenant != tenant => Ok(Vec::new()),
                Some(camera) => {
                    let Some(number) = camera_id(db, &camera)? else { return Ok(Vec::new()) };
                    let sql = format!("{EVENTS} WHERE e.camera = ?1 AND e.id > ?2 ORDER BY e.id DESC LIMIT ?3");
                    rows(db, &sql, params![number, after, limit], event_row).map(for_tenant)
                }
                None => {
                    let Some(number) = tenant_id(db, &tenant)? else { return Ok(Vec::new()) };
                    rows(db, EVENTS_OF_TENANT, params![number, after, limit], event_row).map(for_tenant)
                }
            })
            .await
    }

    /// The same of these cameras of the tenant's alone, and of no camera.
    pub async fn events_of(
        &self,
        tenant: &TenantId,
        cameras: Cameras,
        after: i64,
        limit: u32,
    ) -> Result<Vec<EventRow>, IndexError> {
        let tenant = tenant.clone();
        self.readers
            .read(move |db| {
                let Some(number) = tenant_id(db, &tenant)? else { return Ok(Vec::new()) };
                rows(db, EVENTS_OF_CAMERAS, params![number, after, limit, cameras.json()], event_row).map(for_tenant)
            })
            .await
    }

    /// Events of all tenants and of the gateway, with an id above `after`, newest first. For the operator alone.
    pub async fn all_events(&self, after: i64, limit: u32) -> Result<Vec<EventRow>, IndexError> {
        let sql = format!("{EVENTS} WHERE e.id > ?1 ORDER BY e.id DESC LIMIT ?2");
        self.readers.read(move |db| rows(db, &sql, params![after, limit], event_row)).await
    }

    /// The same with an id above `after`, oldest first.
    pub async fn events_after(&self, after: i64, limit: u32) -> Result<Vec<EventRow>, IndexError> {
        let sql = format!("{EVENTS} WHERE e.id > ?1 ORDER BY e.id LIMIT ?2");
        self.readers.read(move |db| rows(db, &sql, params![after, limit], event_row)).await
    }

    /// What was destroyed of a camera's footage of this range, by start: the register of destructions.
    pub async fn deletions(&self, key: &CameraKey, range: TimeRange) -> Result<Vec<DeletionRow>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let sql = "SELECT start, until, reason, packs, bytes, first_at, last_at, outcome FROM deletion
                       WHERE camera = ?1 AND until > ?2 AND start < ?3 ORDER BY start, outcome";
            rows(db, sql, params![camera, range.start().0, range.end().0], deletion_row)
        })
        .await
    }

    /// A pack of this camera's timeline that readers may see; `None` for another camera's, or what stays for a hold.
    pub async fn pack(&self, key: &CameraKey, pack: PackId) -> Result<Option<PackRow>, IndexError> {
        self.of_camera(key, move |db, camera| {
            let sql = format!("{PACKS} WHERE p.pack = ?1 AND p.camera = ?2 AND p.state < 3 AND p.hold IS NULL");
            one(db, &sql, params![pack.0, camera], pack_row)
        })
        .await
    }

    /// Across tenants, for the walk over a store: those of these packs that have a row.
    pub async fn known_packs(&self, packs: Vec<PackId>) -> Result<HashSet<PackId>, IndexError> {
        self.readers
            .read(move |db| {
                let mut known = HashSet::new();
                for pack in packs {
                    let found = one(db, "SELECT 1 FROM pack WHERE pack = ?1", [pack.0], |_| Ok(()))?;
                    known.extend(found.map(|()| pack));
                }
                Ok(known)
            })
            .await
    }

    /// Across tenants, for retention and the drain: packs in this state, oldest start first.
    pub async fn packs_in_state(&self, state: PackState, limit: u32) -> Result<Vec<PackRow>, IndexError> {
        self.readers
            .read(move |db| match state {
                PackState::Stored => stored_packs(db, limit),
                _ => packs_not_stored(db, state, None, limit),
            })
            .await
    }

    /// Across tenants, for the drain: packs that wait for a store, oldest start first, from after the start and id of
    /// `after` on.
    pub async fn sealed_after(
        &self,
        after: Option<(WallTime, PackId)>,
        limit: u32,
    ) -> Result<Vec<PackRow>, IndexError> {
        self.readers.read(move |db| packs_not_stored(db, PackState::Sealed, after, limit)).await
    }

    /// Across tenants, for retention: packs that wait for the store and that no hold has a say in, oldest start first.
    pub async fn waiting_packs(&self, limit: u32) -> Result<Vec<PackRow>, IndexError> {
        self.readers
            .read(move |db| {
                let sql = format!(
                    "{PACKS} WHERE p.state = 1 AND p.state <> 2 AND p.hold IS NULL AND NOT {COVERED}
                     ORDER BY p.start, p.pack LIMIT ?1"
                );
                rows(db, &sql, [limit], pack_row)
            })
            .await
    }

    /// Across tenants, for retention: condemned packs, oldest start first, from after the start and id of `after` on.
    pub async fn condemned_after(
        &self,
        after: Option<(WallTime, PackId)>,
        limit: u32,
    ) -> Result<Vec<PackRow>, IndexError> {
        self.readers.read(move |db| packs_not_stored(db, PackState::Condemned, after, limit)).await
    }

    /// For retention: whole packs (sealed or stored) of a camera that start before `before`, oldest first, but for those
    /// that holds have a say in.
    pub async fn packs_starting_before(
        &self,
        key: &CameraKey,
        before: WallTime,
        limit: u32,
    ) -> Result<Vec<PackRow>, IndexError> {
        self.of_camera(key, move |db, camera| rows(db, &whole_before(), params![camera, before.0, limit], pack_row))
            .await
    }

    /// Across tenants, for retention, start-up and `fsck`: every camera that the index knows.
    pub async fn all_cameras(&self) -> Result<Vec<CameraRow>, IndexError> {
        self.readers.read(|db| rows(db, &format!("{CAMERAS} ORDER BY t.name, c.camera"), [], camera_row)).await
    }

    /// For retention: the steady clock as it was kept last.
    pub async fn steady_clock(&self) -> Result<Option<SteadyClock>, IndexError> {
        let read = |row: &Row<'_>| {
            let (steady, wall) = (WallTime(row.get(0)?), WallTime(row.get(1)?));
            Ok(SteadyClock { steady, wall, held: Ticks90k(row.get(2)?), lead: Ticks90k(row.get(3)?) })
        };
        self.readers.read(move |db| one(db, "SELECT steady, wall, held, lead FROM steady_clock", [], read)).await
    }

    /// Across tenants, for `fsck`: a pack in any state.
    pub async fn any_pack(&self, pack: PackId) -> Result<Option<PackRow>, IndexError> {
        self.readers.read(move |db| one(db, &format!("{PACKS} WHERE p.pack = ?1"), [pack.0], pack_row)).await
    }

    /// Across tenants, for `fsck`: packs in any state with an id above `after`, in order of id.
    pub async fn packs_after(&self, after: Option<PackId>, limit: u32) -> Result<Vec<PackRow>, IndexError> {
        self.readers
            .read(move |db| {
                let sql = format!("{PACKS} WHERE p.pack > ?1 ORDER BY p.pack LIMIT ?2");
                // Every id is greater than the empty blob.
                let after = after.map_or_else(Vec::new, |pack| pack.0.to_vec());
                rows(db, &sql, params![after, limit], pack_row)
            })
            .await
    }

    /// For `fsck`: a pack's segments by first fragment. A condemned pack has none.
    pub async fn segments_of_pack(&self, pack: PackId) -> Result<Vec<SegmentRow>, IndexError> {
        self.readers.read(move |db| rows(db, SEGMENTS_OF_PACK, [pack.0], segment_row)).await
    }

    /// Asks about one camera; what the index does not know has the answer of nothing.
    pub(super) async fn of_camera<T: Default + Send + 'static>(
        &self,
        key: &CameraKey,
        ask: impl FnOnce(&Connection, i64) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let key = key.clone();
        self.readers
            .read(move |db| match camera_id(db, &key)? {
                Some(camera) => ask(db, camera),
                None => Ok(T::default()),
            })
            .await
    }
}

/// The number of a tenant.
pub(super) fn tenant_id(db: &Connection, tenant: &TenantId) -> Result<Option<i64>, IndexError> {
    one(db, "SELECT id FROM tenant WHERE name = ?1", [tenant.as_str()], |row| row.get(0))
}

/// The number of a camera of a tenant.
pub(super) fn camera_id(db: &Connection, key: &CameraKey) -> Result<Option<i64>, IndexError> {
    let sql = "SELECT c.id FROM tenant t JOIN camera c ON c.tenant = t.id WHERE t.name = ?1 AND c.camera = ?2";
    one(db, sql, [key.tenant.as_str(), key.camera.as_str()], |row| row.get(0))
}

const CAMERAS: &str = "SELECT t.name, c.camera, c.name, c.place, c.configured, c.retention_max, c.retention_min
     FROM camera c JOIN tenant t ON t.id = c.tenant";

pub(super) const PACKS: &str =
    "SELECT p.pack, t.name, c.camera, r.run, p.state, p.bytes, p.start, p.until, p.condemned_at
     FROM pack p CROSS JOIN run r ON r.id = p.run
     CROSS JOIN camera c ON c.id = p.camera CROSS JOIN tenant t ON t.id = c.tenant";

/// The second condition is what lets SQLite use the index of packs that are not stored.
const IN_STATE: &str = "WHERE p.state = ?1 AND p.state <> 2 AND (p.start, p.pack) > (?2, ?3)
     ORDER BY p.start, p.pack LIMIT ?4";

/// Of what stays for a hold the hold decides, and what a hold has yet to copy waits for that.
fn whole_before() -> String {
    format!(
        "{PACKS} WHERE p.camera = ?1 AND p.start < ?2 AND p.state IN (1, 2) AND p.hold IS NULL AND NOT {COVERED}
         ORDER BY p.start, p.id LIMIT ?3"
    )
}

const EVENTS: &str = "SELECT e.id, e.entry, e.at, e.kind FROM event e";

/// Two walks down an index, merged by id: neither reads past the limit.
const EVENTS_OF_TENANT: &str = "WITH mine AS (
         SELECT id FROM event WHERE tenant = ?1 AND id > ?2 UNION ALL
         SELECT id FROM event WHERE tenant = 0 AND id > ?2 ORDER BY id DESC LIMIT ?3)
     SELECT e.id, e.entry, e.at, e.kind FROM mine CROSS JOIN event e ON e.id = mine.id ORDER BY e.id DESC";

/// The same without those of other cameras than `?4` names.
const EVENTS_OF_CAMERAS: &str = "WITH mine AS (
         SELECT id FROM event WHERE tenant = ?1 AND id > ?2 AND (camera IS NULL OR camera IN (
             SELECT c.id FROM camera c WHERE c.tenant = ?1 AND c.camera IN (SELECT value FROM json_each(?4)))) UNION ALL
         SELECT id FROM event WHERE tenant = 0 AND id > ?2 ORDER BY id DESC LIMIT ?3)
     SELECT e.id, e.entry, e.at, e.kind FROM mine CROSS JOIN event e ON e.id = mine.id ORDER BY e.id DESC";

/// `?1` camera, `?2` and `?3` the range, `?4` how far before it a row may begin that reaches into it.
const SPANS_IN_RANGE: &str = "SELECT start, start + duration FROM segment
         WHERE camera = ?1 AND start > ?2 - ?4 AND start < ?3 AND start + duration > ?2
     UNION ALL SELECT start, start + duration FROM open_segment
         WHERE camera = ?1 AND start > ?2 - ?4 AND start < ?3 AND start + duration > ?2
     ORDER BY start";

const SEGMENTS_IN_RANGE: &str = "WITH found AS (
         SELECT * FROM segment WHERE camera = ?1 AND start > ?2 - ?4 AND start < ?3 AND start + duration > ?2
         UNION ALL
         SELECT * FROM open_segment WHERE camera = ?1 AND start > ?2 - ?4 AND start < ?3 AND start + duration > ?2)
     SELECT s.start, s.start + s.duration, r.run, s.decode_time, p.pack, p.state, s.first_fragment, s.fragments
     FROM found s CROSS JOIN pack p ON p.id = s.pack CROSS JOIN run r ON r.id = p.run ORDER BY s.start";

const SEGMENTS_OF_PACK: &str = "WITH of AS (SELECT * FROM pack WHERE pack = ?1), found AS (
         SELECT s.* FROM of CROSS JOIN segment s
             ON s.camera = of.camera AND s.start >= of.start AND s.start < of.until AND s.pack = of.id
         UNION ALL SELECT s.* FROM of CROSS JOIN open_segment s ON s.camera = of.camera AND s.pack = of.id
         UNION ALL SELECT s.* FROM of CROSS JOIN held_segment s
             ON s.hold = of.hold AND s.start >= of.start AND s.start < of.until AND s.pack = of.id)
     SELECT s.start, s.start + s.duration, r.run, s.decode_time, p.pack, p.state, s.first_fragment, s.fragments
     FROM found s CROSS JOIN pack p ON p.id = s.pack CROSS JOIN run r ON r.id = p.run ORDER BY s.first_fragment, s.start";

/// The last to begin need not be the last to end, but begins less than the longest segment before that one ends.
const EXTENT: &str = "WITH bounds AS (
         SELECT min(coalesce(a.first, b.first), coalesce(b.first, a.first)) AS first,
                max(coalesce(a.last, b.last), coalesce(b.last, a.last)) AS last
         FROM (SELECT (SELECT min(start) FROM segment WHERE camera = ?1) AS first,
                      (SELECT max(start) FROM segment WHERE camera = ?1) AS last) a,
              (SELECT min(start) AS first, max(start) AS last FROM open_segment WHERE camera = ?1) b)
     SELECT first, (SELECT max(until) FROM (
         SELECT max(start + duration) AS until FROM segment WHERE camera = ?1 AND start >= bounds.last - ?2 UNION ALL
         SELECT max(start + duration) FROM open_segment WHERE camera = ?1)) FROM bounds";

/// Short gaps are found as segments are, long ones through an index of their own; the one that lasts has no end.
const GAPS_IN_RANGE: &str = "SELECT start, until, cause, lost_packets FROM gap
         WHERE camera = ?1 AND start >= ?2 - ?4 AND start < ?3 AND until - start <= 81000000
         AND (until > ?2 OR start >= ?2)
     UNION ALL SELECT start, until, cause, lost_packets FROM gap INDEXED BY gap_long
         WHERE camera = ?1 AND start < ?3 AND until - start > 81000000 AND until > ?2
     UNION ALL SELECT start, NULL, cause, 0 FROM open_gap WHERE camera = ?1 AND start < ?3";

pub(super) fn range_params(camera: i64, range: TimeRange) -> [i64; 4] {
    // Clamped, so that the arithmetic in SQL stays exact.
    let clamp = |at: WallTime| at.0.clamp(i64::MIN / 4, i64::MAX / 4);
    [camera, clamp(range.start()), clamp(range.end()), SEGMENT_DURATION_MAX.0]
}

/// Packs in one of the other states, oldest first.
fn packs_not_stored(
    db: &Connection,
    state: PackState,
    after: Option<(WallTime, PackId)>,
    limit: u32,
) -> Result<Vec<PackRow>, IndexError> {
    // Every id is greater than the empty blob.
    let (start, pack) = after.map_or((i64::MIN, Vec::new()), |(start, pack)| (start.0, pack.0.to_vec()));
    rows(db, &format!("{PACKS} {IN_STATE}"), params![state as u8, start, pack, limit], pack_row)
}

/// Stored packs of all cameras, oldest first. No index holds them in that order: each camera's oldest are merged.
fn stored_packs(db: &Connection, limit: u32) -> Result<Vec<PackRow>, IndexError> {
    let cameras = rows(db, "SELECT id FROM camera", [], |row| row.get::<_, i64>(0))?;
    let sql = format!("{PACKS} WHERE p.camera = ?1 AND p.state = 2 ORDER BY p.start, p.id LIMIT ?2");
    let mut oldest = Vec::new();
    for camera in cameras {
        oldest.extend(rows(db, &sql, params![camera, limit], pack_row)?);
        oldest.sort_by_key(|pack: &PackRow| (pack.start, pack.id));
        oldest.truncate(limit as usize);
    }
    Ok(oldest)
}

/// Every row of a prepared query.
pub(super) fn rows<T>(
    db: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, IndexError> {
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_map(values, read)?.collect::<Result<_, _>>()?)
}

/// The first row of a prepared query.
pub(super) fn one<T>(
    db: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, IndexError> {
    Ok(db.prepare_cached(sql)?.query_row(values, read).optional()?)
}

/// A value that this module would not have written: the file was damaged or edited.
pub(super) fn foreign(column: usize, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, types::Type::Null, what.into())
}

pub(super) fn time_range(start: i64, end: i64) -> rusqlite::Result<TimeRange> {
    TimeRange::new(WallTime(start), WallTime(end)).ok_or_else(|| foreign(0, format!("an empty range at {start}")))
}

/// The state in this column.
pub(super) fn pack_state(row: &Row<'_>, column: usize) -> rusqlite::Result<PackState> {
    let code = row.get(column)?;
    PackState::from_code(code).ok_or_else(|| foreign(column, format!("pack state {code}")))
}

pub(super) fn name<T: std::str::FromStr<Err: std::fmt::Display>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    row.get_ref(column)?.as_str()?.parse().map_err(|e| foreign(column, format!("{e}")))
}

pub(super) fn camera_key(row: &Row<'_>, tenant: usize, camera: usize) -> rusqlite::Result<CameraKey> {
    Ok(CameraKey { tenant: name(row, tenant)?, camera: name(row, camera)? })
}

fn camera_row(row: &Row<'_>) -> rusqlite::Result<CameraRow> {
    Ok(CameraRow {
        key: camera_key(row, 0, 1)?,
        name: row.get(2)?,
        place: row.get(3)?,
        configured: row.get(4)?,
        retention_max: Ticks90k(row.get(5)?),
        retention_min: Ticks90k(row.get(6)?),
    })
}

pub(super) fn segment_row(row: &Row<'_>) -> rusqlite::Result<SegmentRow> {
    Ok(SegmentRow {
        range: time_range(row.get(0)?, row.get(1)?)?,
        run: RunId(row.get(2)?),
        decode_time: Ticks90k(row.get(3)?),
        pack: PackId(row.get(4)?),
        state: pack_state(row, 5)?,
        first_fragment: row.get(6)?,
        fragments: row.get(7)?,
    })
}

pub(super) fn pack_row(row: &Row<'_>) -> rusqlite::Result<PackRow> {
    Ok(PackRow {
        id: PackId(row.get(0)?),
        camera: camera_key(row, 1, 2)?,
        run: RunId(row.get(3)?),
        state: pack_state(row, 4)?,
        bytes: row.get::<_, i64>(5)?.unsigned_abs(),
        start: WallTime(row.get(6)?),
        end: WallTime(row.get(7)?),
        condemned_at: row.get::<_, Option<i64>>(8)?.map(WallTime),
    })
}

fn gap_row(row: &Row<'_>) -> rusqlite::Result<GapRow> {
    let code = row.get(2)?;
    Ok(GapRow {
        start: WallTime(row.get(0)?),
        end: row.get::<_, Option<i64>>(1)?.map(WallTime),
        cause: GapCause::from_code(code).ok_or_else(|| foreign(2, format!("gap cause {code}")))?,
        lost_packets: row.get(3)?,
    })
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        id: RunId(row.get(0)?),
        start: WallTime(row.get(1)?),
        end: row.get::<_, Option<i64>>(2)?.map(WallTime),
        camera_clock_offset: row.get::<_, Option<i64>>(3)?.map(Ticks90k),
        timeline_offset: Ticks90k(row.get(4)?),
    })
}

fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let at = WallTime(row.get(2)?);
    let unreadable = |of_kind| Event::of_gateway(at, Fact::EntryUnreadable { of_kind });
    Ok(EventRow { id: row.get(0)?, event: decoded(row, 1, 3)?.unwrap_or_else(unreadable) })
}

/// The event in this column; where it cannot be read, its kind, so that one such entry hides no other.
pub(super) fn decoded(row: &Row<'_>, entry: usize, kind: usize) -> rusqlite::Result<Result<Event, String>> {
    let text = String::from_utf8_lossy(row.get_ref(entry)?.as_bytes()?);
    Event::decode(&text).map_or_else(|_| Ok(Err(row.get(kind)?)), |event| Ok(Ok(event)))
}

fn for_tenant(rows: Vec<EventRow>) -> Vec<EventRow> {
    let shown = |EventRow { id, event }| {
        let Event { at, actor, scope, fact } = event;
        Some(EventRow { id, event: Event { at, actor, scope, fact: fact.for_tenant()? } })
    };
    rows.into_iter().filter_map(shown).collect()
}

fn deletion_row(row: &Row<'_>) -> rusqlite::Result<DeletionRow> {
    let code = row.get(2)?;
    Ok(DeletionRow {
        range: time_range(row.get(0)?, row.get(1)?)?,
        reason: Reason::from_code(code).ok_or_else(|| foreign(2, format!("deletion reason {code}")))?,
        outcome: Outcome::from_code(row.get(7)?).ok_or_else(|| foreign(7, "outcome of a deletion".to_owned()))?,
        packs: row.get::<_, i64>(3)?.unsigned_abs(),
        bytes: row.get::<_, i64>(4)?.unsigned_abs(),
        first_at: WallTime(row.get(5)?),
        last_at: WallTime(row.get(6)?),
    })
}

/// Queries whose cost must not grow with the index, and how many parameters each has.
#[cfg(test)]
pub(super) fn plans() -> Vec<(String, usize)> {
    vec![
        (SPANS_IN_RANGE.to_owned(), 4),
        (SEGMENTS_IN_RANGE.to_owned(), 4),
        (SEGMENTS_OF_PACK.to_owned(), 1),
        (GAPS_IN_RANGE.to_owned(), 4),
        (EXTENT.to_owned(), 2),
        (EVENTS_OF_TENANT.to_owned(), 3),
        (super::edge::SPANS.to_owned(), 4),
        (super::occurrence::IN_RANGE.to_owned(), 4),
        (format!("{PACKS} WHERE p.pack = ?1"), 1),
        (format!("{PACKS} {IN_STATE}"), 4),
        (whole_before(), 3),
    ]
}
