//! What packs do not hold, copied from an index into the one that takes its place.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::{IndexError, database};

/// How much was copied.
#[derive(Debug, Default)]
pub struct Carried {
    /// Entries of the register of destructions.
    pub deletions: usize,
    /// Events.
    pub events: usize,
    /// Gaps that no pack tells of: those after the last footage, and those where footage was lost.
    pub gaps: usize,
    /// Why it is not all: the old index is damaged there.
    pub cut_off: Option<IndexError>,
}

/// Copies what only the index at `from` knows into the one at `to`, which is written by nobody else meanwhile and has
/// its cameras already. May block.
///
/// # Errors
/// When there is nothing to copy from, or it is of another schema.
pub fn carry_over(from: &Path, to: &Path) -> Result<Carried, IndexError> {
    drop(database::open_reader(from)?);
    let db = database::open_writer(to)?;
    // Not read-only: what is in its log is folded into it, so that the one file is all of it.
    let path = from.to_str().ok_or_else(|| IndexError::Refused(format!("the path {} is not UTF-8", from.display())))?;
    db.execute("ATTACH ?1 AS old", [path])?;
    let mut carried = Carried::default();
    carried.cut_off = copy(&db, &mut carried).err();
    db.execute_batch("DROP TABLE IF EXISTS temp.same_camera; DROP TABLE IF EXISTS temp.same_tenant; DETACH old")?;
    Ok(carried)
}

fn copy(db: &Connection, carried: &mut Carried) -> Result<(), IndexError> {
    db.execute_batch(CAMERAS)?;
    db.execute_batch(SAME_CAMERAS)?;
    db.execute_batch(BELONGINGS)?;
    carried.deletions = db.execute(DELETIONS, [])?;
    db.execute(HOLDS, [])?;
    carried.gaps = db.execute(GAPS, [])? + db.execute(OPEN_GAPS, [])?;
    carried.events = db.execute(EVENTS, [])?;
    db.execute(OCCURRENCES, [])?;
    db.execute_batch(ALARMS)?;
    follow(db)?;
    db.execute_batch(CLOCK_AND_SCRUB)?;
    Ok(())
}

/// What lasts and was acknowledged, and what each target was sent of it.
const ALARMS: &str = "INSERT INTO main.alarm SELECT * FROM old.alarm WHERE true ON CONFLICT DO NOTHING;
     INSERT INTO main.alarm_notice SELECT * FROM old.alarm_notice WHERE true ON CONFLICT DO NOTHING;";

/// Alarms go on after the event that they were raised from last, or after the last one that was copied.
fn follow(db: &Connection) -> Result<(), IndexError> {
    let kind = super::identity::Kind::AlarmsFollowed;
    let sql = "SELECT id FROM old.identity WHERE kind = ?1 AND name = ''";
    let followed: Option<[u8; 8]> = db.query_row(sql, [kind.as_str()], |row| row.get(0)).optional()?;
    let newest: i64 = db.query_row("SELECT coalesce(max(id), 0) FROM main.event", [], |row| row.get(0))?;
    match followed.map(i64::from_be_bytes) {
        Some(followed) => super::identity::identify(db, kind, "", Some(&followed.min(newest).to_be_bytes())),
        None => Ok(()),
    }
}

/// The numbers of one index in the other.
const SAME_CAMERAS: &str = "INSERT INTO tenant (name) SELECT name FROM old.tenant WHERE true ON CONFLICT DO NOTHING;
     CREATE TEMP TABLE same_tenant AS
         SELECT o.id AS then_id, n.id AS now_id FROM old.tenant o JOIN main.tenant n ON n.name = o.name;
     CREATE TEMP TABLE same_camera AS
         SELECT o.id AS then_id, n.id AS now_id FROM old.camera o JOIN same_tenant t ON t.then_id = o.tenant
         JOIN main.camera n ON n.tenant = t.now_id AND n.camera = o.camera;
     CREATE UNIQUE INDEX temp.same_camera_by_then ON same_camera (then_id);";

/// Cameras that only the old index knows: their names, places and the policy that they had.
const CAMERAS: &str = "INSERT INTO tenant (name) SELECT name FROM old.tenant WHERE true ON CONFLICT DO NOTHING;
     INSERT INTO main.camera (tenant, camera, name, place, configured, retention_max, retention_min)
         SELECT n.id, o.camera, o.name, o.place, 0, o.retention_max, o.retention_min FROM old.camera o
         JOIN old.tenant t ON t.id = o.tenant JOIN main.tenant n ON n.name = t.name WHERE true ON CONFLICT DO NOTHING;";

/// What waits, where packs may lie, and which stores and keys the index belongs to.
const BELONGINGS: &str = "INSERT INTO main.pending_policy
         SELECT c.now_id, p.retention_max, p.retention_min, p.at FROM old.pending_policy p
         JOIN same_camera c ON c.then_id = p.camera WHERE true ON CONFLICT DO NOTHING;
     INSERT INTO main.camera_store SELECT c.now_id, s.store, s.used_at FROM old.camera_store s
         JOIN same_camera c ON c.then_id = s.camera WHERE true ON CONFLICT DO NOTHING;
     INSERT INTO main.certificate_sei SELECT c.now_id, s.at, s.certificates, s.sei FROM old.certificate_sei s
         JOIN same_camera c ON c.then_id = s.camera WHERE true ON CONFLICT DO NOTHING;
     INSERT INTO main.identity SELECT kind, name, id FROM old.identity WHERE kind IN ('store', 'gateway_key', 'catalogue',
         'journal') ON CONFLICT DO NOTHING;";

/// Holds are in their packs, but for those that have none yet, and that some are over.
const HOLDS: &str = "INSERT INTO main.hold
         (hold, camera, start, until, reference, requester, reason, ends, placed, closed)
     SELECT h.hold, c.now_id, h.start, h.until, h.reference, h.requester, h.reason, h.ends, h.placed, h.closed
     FROM old.hold h JOIN same_camera c ON c.then_id = h.camera WHERE true
     ON CONFLICT (hold) DO UPDATE SET closed = excluded.closed";

const DELETIONS: &str = "INSERT INTO main.deletion
     SELECT c.now_id, d.day, d.reason, d.outcome, d.start, d.until, d.packs, d.bytes, d.first_at, d.last_at
     FROM old.deletion d JOIN same_camera c ON c.then_id = d.camera WHERE true ON CONFLICT DO NOTHING";

/// Lost packets (cause 10) travel in their packs, and so do gaps that footage follows.
const GAPS: &str = "INSERT INTO main.gap SELECT c.now_id, g.start, g.until, g.cause, g.lost_packets
     FROM old.gap g JOIN same_camera c ON c.then_id = g.camera
     WHERE g.cause <> 10
     AND NOT EXISTS (SELECT 1 FROM main.segment s WHERE s.camera = c.now_id
         AND s.start > g.start - 81000000 AND s.start < g.until AND s.start + s.duration > g.start)
     AND NOT EXISTS (SELECT 1 FROM main.open_segment s WHERE s.camera = c.now_id
         AND s.start < g.until AND s.start + s.duration > g.start)
     ON CONFLICT DO NOTHING";

const OPEN_GAPS: &str = "INSERT INTO main.open_gap SELECT c.now_id, g.start, g.cause
     FROM old.open_gap g JOIN same_camera c ON c.then_id = g.camera
     WHERE NOT EXISTS (SELECT 1 FROM main.segment s WHERE s.camera = c.now_id AND s.start >= g.start)
     AND NOT EXISTS (SELECT 1 FROM main.open_segment s WHERE s.camera = c.now_id AND s.start >= g.start)
     ON CONFLICT DO NOTHING";

const OCCURRENCES: &str = "INSERT INTO main.occurrence (camera, at, kind, topic, source, active)
     SELECT c.now_id, o.at, o.kind, o.topic, o.source, o.active
     FROM old.occurrence o JOIN same_camera c ON c.then_id = o.camera";

/// What retention goes by, and how far the search for damage has got.
const CLOCK_AND_SCRUB: &str = "INSERT OR REPLACE INTO main.steady_clock SELECT * FROM old.steady_clock;
     INSERT OR REPLACE INTO main.scrub SELECT * FROM old.scrub;";

const EVENTS: &str = "INSERT INTO main.event (id, at, tenant, camera, kind, entry)
     SELECT e.id, e.at, coalesce(t.now_id, e.tenant), c.now_id, e.kind, e.entry FROM old.event e
     LEFT JOIN same_tenant t ON t.then_id = e.tenant LEFT JOIN same_camera c ON c.then_id = e.camera
     WHERE e.tenant <= 0 OR t.now_id IS NOT NULL ON CONFLICT DO NOTHING";
