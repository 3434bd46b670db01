//! What each change does to the rows. Runs inside the writer's transaction.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::query::camera_id;
use super::{
    CameraRow, Change, IndexError, Outcome, PackRow, PackState, Reason, SEGMENT_DURATION_MAX, SegmentRow, SteadyClock,
};
use crate::event::{Event, Fact};
use footage::media::Gap;
use footage::units::{CameraKey, PackId, RunId, TICKS_PER_DAY, TimeRange, WallTime};

/// Rows that one [`Change::ForgetEventsBefore`] removes at most from each table.
const FORGOTTEN_ROWS_MAX: u32 = 20_000;

/// Certificates that are remembered of one camera: the newest.
const CERTIFICATES_MAX: u32 = 64;

/// Applies one change. On an error the caller undoes what was done of it.
pub(super) fn apply(db: &Connection, change: &Change) -> Result<(), IndexError> {
    match change {
        Change::Configure(cameras) => configure(db, cameras, None),
        Change::ConfigureFrom { cameras, at } => configure(db, cameras, Some(*at)),
        Change::KnowCamera(row) => {
            if camera_id(db, &row.key)?.is_none() {
                configure_one(db, row)?;
            }
            Ok(())
        }
        Change::ApplyPolicies { now } => super::policy::apply_due(db, *now),
        Change::ConfirmPolicy { camera, retention_max, retention_min, now } => {
            super::policy::confirm(db, known_camera(db, camera)?, *retention_max, *retention_min, *now)
        }
        Change::UsesStore { camera, store, at } => {
            let sql = "INSERT INTO camera_store (camera, store, used_at) VALUES (?1, ?2, ?3)
                       ON CONFLICT DO UPDATE SET used_at = max(used_at, ?3)";
            exec(db, sql, params![known_camera(db, camera)?, store, at.0])?;
            Ok(())
        }
        Change::CertificateSei { camera, at, certificates, sei } => {
            certificate_sei(db, known_camera(db, camera)?, *at, certificates, sei)
        }
        Change::ForgetStore { store } => {
            exec(db, "DELETE FROM camera_store WHERE store = ?1", [store])?;
            exec(db, "DELETE FROM identity WHERE kind = 'store' AND name = ?1", [store])?;
            Ok(())
        }
        Change::BeginRun { camera, run, start } => begin_run(db, camera, *run, *start),
        Change::RunBase { run, boot, base } => super::clock::run_base(db, *run, *boot, *base),
        Change::ClockBase { boot, base } => super::clock::clock_base(db, *boot, *base),
        Change::RunClocks { run, camera_clock_offset, timeline_offset } => {
            let sql = "UPDATE run SET camera_clock_offset = ?2, timeline_offset = ?3 WHERE run = ?1";
            let changed = exec(db, sql, params![run.0, camera_clock_offset.map(|t| t.0), timeline_offset.0])?;
            known(changed, || format!("run {run}"))
        }
        Change::EndRun { run, end } => {
            let changed = exec(db, "UPDATE run SET until = ?2 WHERE run = ?1", params![run.0, end.0])?;
            known(changed, || format!("run {run}"))
        }
        Change::OpenPack(pack) => open_pack(db, pack),
        Change::PutSegment { camera, segment, pack_bytes } => put_segment(db, camera, segment, *pack_bytes),
        Change::SealPack { pack, bytes } => {
            let found = Pack::find(db, *pack)?;
            if found.state < PackState::Stored {
                exec(db, "UPDATE pack SET bytes = ?2 WHERE id = ?1", params![found.id, number(*bytes)])?;
            }
            found.advance(db, PackState::Sealed)
        }
        Change::Hook { pack, hooks } => super::dedup::hook(db, Pack::find(db, *pack)?.id, hooks),
        Change::Claim(claim) => super::dedup::claim(db, claim),
        Change::Refers(refers) => super::dedup::refers(db, refers),
        Change::Freed { host, referrers } => super::dedup::freed(db, *host, referrers),
        Change::Damage { pack, end, lost, segments, gaps } => {
            Pack::find(db, *pack)?.damage(db, *end, lost, segments, gaps)
        }
        Change::Scrubbed { store, row } => super::damage::scrubbed(db, store, row),
        Change::EncryptedUnder { pack, key } => super::keys::encrypted_under(db, Pack::find(db, *pack)?.id, *key),
        Change::KeyDestroyed { key } => super::keys::forget(db, *key),
        Change::PackStored { pack } => Pack::find(db, *pack)?.advance(db, PackState::Stored),
        Change::Condemn { packs, at, reason } => {
            packs.iter().try_for_each(|pack| Pack::find(db, *pack)?.condemn(db, *at, *reason))
        }
        Change::BeginDeleting { packs } => super::hold::begin_deleting(db, packs),
        Change::Seen { packs } => super::hold::seen(db, packs),
        Change::Identify { kind, name, id } => super::identity::identify(db, *kind, name, id.as_deref()),
        Change::PlaceHold { camera, hold } => super::hold::place(db, known_camera(db, camera)?, hold),
        Change::EndHold { hold, at } => super::hold::end(db, *hold, *at),
        Change::EndHoldsBefore { at } => super::hold::end_before(db, *at),
        Change::KeepFor { pack, hold } => super::hold::keep_for(db, Pack::find(db, *pack)?.id, *hold),
        Change::Copied { hold, pack } => super::hold::copied(db, Pack::find(db, *pack)?.id, *hold),
        Change::LeaveToOthers { pack } => {
            let found = Pack::find(db, *pack)?;
            let holds_others = "SELECT 1 FROM reference WHERE host = ?1 LIMIT 1";
            if found.state != PackState::Sealed || find(db, holds_others, [found.id], |_| Ok(()))?.is_some() {
                let what = format!("pack {pack} does not wait for the store, or bytes of other packs lie in it");
                return Err(IndexError::Refused(what));
            }
            // Its run most often goes on, and another gateway's runs are no successors of it.
            found.leave(db)
        }
        Change::Forget { pack } => Pack::find(db, *pack)?.forget(db),
        Change::Destroyed { pack, at, outcome } => {
            let found = Pack::find(db, *pack)?;
            found.register(db, *at, *outcome)?;
            found.forget(db)
        }
        Change::OpenGap { camera, start, cause } => {
            let sql = "INSERT OR REPLACE INTO open_gap (camera, start, cause) VALUES (?1, ?2, ?3)";
            exec(db, sql, params![known_camera(db, camera)?, start.0, cause.code()])?;
            Ok(())
        }
        Change::PutGap { camera, gap } => put_gap(db, camera, gap),
        Change::ForgetGapsBefore { camera, before } => {
            let camera = known_camera(db, camera)?;
            exec(db, "DELETE FROM gap WHERE camera = ?1 AND start < ?2 AND until <= ?2", params![camera, before.0])?;
            let sql = "DELETE FROM run WHERE camera = ?1 AND start < ?2 AND until <= ?2 AND packs = 0";
            exec(db, sql, params![camera, before.0])?;
            super::occurrence::forget(db, camera, WallTime(i64::MIN)..*before)
        }
        Change::Occurrence { camera, row } => super::occurrence::put(db, known_camera(db, camera)?, row),
        #[cfg(test)]
        Change::Event(Event { fact: Fact::Connected { codecs, .. }, .. }) if codecs == "panic" => {
            panic!("a test asked for it")
        }
        Change::Event(event) => put_event(db, event),
        Change::ForgetEventsBefore { before } => forget_events(db, *before),
        Change::PutRequest(row) => super::request::put(db, row),
        Change::TakeInRequest(row) => super::request::take_in(db, row),
        Change::ForgetRequest { tenant, request } => super::request::forget(db, tenant, *request),
        Change::Alarm(change) => super::alarm::apply(db, change),
        Change::SteadyClock(SteadyClock { steady, wall, held, lead }) => {
            let sql = "INSERT OR REPLACE INTO steady_clock (id, steady, wall, held, lead) VALUES (1, ?1, ?2, ?3, ?4)";
            exec(db, sql, [steady.0, wall.0, held.0, lead.0])?;
            Ok(())
        }
    }
}

/// Runs a prepared statement; gives the number of rows changed.
pub(super) fn exec(db: &Connection, sql: &str, values: impl Params) -> Result<usize, IndexError> {
    Ok(db.prepare_cached(sql)?.execute(values)?)
}

/// The one row that a prepared statement finds.
fn find<T>(
    db: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, IndexError> {
    Ok(db.prepare_cached(sql)?.query_row(values, read).optional()?)
}

/// SQLite counts with a sign.
pub(super) fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// An update that changed nothing named what the index does not know.
pub(super) fn known(changed: usize, what: impl FnOnce() -> String) -> Result<(), IndexError> {
    if changed == 0 { Err(IndexError::Unknown(what())) } else { Ok(()) }
}

fn known_camera(db: &Connection, camera: &CameraKey) -> Result<i64, IndexError> {
    camera_id(db, camera)?.ok_or_else(|| IndexError::Unknown(format!("camera {camera}")))
}

fn configure(db: &Connection, cameras: &[CameraRow], lower_from: Option<WallTime>) -> Result<(), IndexError> {
    exec(db, "UPDATE camera SET configured = 0", [])?;
    for row in cameras {
        match lower_from {
            Some(at) => configure_one(db, &super::policy::in_force_until(db, row, at)?)?,
            None => {
                configure_one(db, row)?;
                super::policy::forget_pending(db, &row.key)?;
            }
        }
    }
    Ok(())
}

fn configure_one(db: &Connection, row: &CameraRow) -> Result<(), IndexError> {
    exec(db, "INSERT INTO tenant (name) VALUES (?1) ON CONFLICT DO NOTHING", [row.key.tenant.as_str()])?;
    let sql = "INSERT INTO camera (tenant, camera, name, place, configured, retention_max, retention_min)
               VALUES ((SELECT id FROM tenant WHERE name = ?1), ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT DO UPDATE SET name = ?3, place = ?4, configured = ?5, retention_max = ?6, retention_min = ?7";
    let (tenant, camera) = (row.key.tenant.as_str(), row.key.camera.as_str());
    let (max, min) = (row.retention_max.0, row.retention_min.0);
    exec(db, sql, params![tenant, camera, row.name, row.place, row.configured, max, min])?;
    Ok(())
}

fn begin_run(db: &Connection, camera: &CameraKey, run: RunId, start: WallTime) -> Result<(), IndexError> {
    let camera_number = known_camera(db, camera)?;
    let sql = "INSERT INTO run (run, camera, start) VALUES (?1, ?2, ?3)
               ON CONFLICT DO UPDATE SET start = min(start, excluded.start) WHERE camera = excluded.camera";
    if exec(db, sql, params![run.0, camera_number, start.0])? == 0 {
        return Err(IndexError::Refused(format!("run {run} is of another camera than {camera}")));
    }
    Ok(())
}

fn open_pack(db: &Connection, pack: &PackRow) -> Result<(), IndexError> {
    let camera = known_camera(db, &pack.camera)?;
    let run = find(db, "SELECT id, camera FROM run WHERE run = ?1", [pack.run.0], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    })?;
    let (run, _) = run
        .filter(|(_, of)| *of == camera)
        .ok_or_else(|| IndexError::Unknown(format!("run {} of camera {}", pack.run, pack.camera)))?;
    let sql = "INSERT INTO pack (pack, camera, run, state, bytes, start, until) VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6)
               ON CONFLICT DO NOTHING";
    let until = pack.end.max(pack.start);
    if exec(db, sql, params![pack.id.0, camera, run, number(pack.bytes), pack.start.0, until.0])? == 1 {
        exec(db, "UPDATE run SET packs = packs + 1 WHERE id = ?1", [run])?;
        return Ok(());
    }
    let known = Pack::find(db, pack.id)?;
    if (known.camera, known.run_number) == (camera, run) {
        Ok(())
    } else {
        Err(IndexError::Refused(format!("pack {} is of another camera or run than {}", pack.id, pack.camera)))
    }
}

/// The statement that writes the segment of `put_segment` when it is new there.
const INSERT_OPEN: &str =
    "INSERT INTO open_segment (camera, start, duration, decode_time, pack, first_fragment, fragments)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// The same for a whole pack: as `vigie rebuild-index` and recovery write it.
const PUT_WHOLE: &str =
    "INSERT OR REPLACE INTO segment (camera, start, duration, decode_time, pack, first_fragment, fragments)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const UPDATE_OPEN: &str = "UPDATE open_segment
     SET duration = ?3, decode_time = ?4, first_fragment = ?6, fragments = ?7
     WHERE camera = ?1 AND start = ?2 AND pack = ?5";

fn put_segment(db: &Connection, camera: &CameraKey, segment: &SegmentRow, bytes: u64) -> Result<(), IndexError> {
    let number_of_camera = known_camera(db, camera)?;
    let pack = Pack::find(db, segment.pack)?;
    let refuse = |why: &str| Err(IndexError::Refused(format!("segment of pack {} {why}", segment.pack)));
    if pack.camera != number_of_camera || pack.run != segment.run {
        return refuse(&format!("names camera {camera} and run {}, the pack another", segment.run));
    }
    if pack.state == PackState::Condemned {
        return refuse("comes after the pack was condemned");
    }
    if segment.range.duration() > SEGMENT_DURATION_MAX {
        return refuse(&format!("is longer than {} s", SEGMENT_DURATION_MAX.as_seconds_f64()));
    }
    let start = segment.range.start().0;
    let values = params![
        number_of_camera,
        start,
        segment.range.duration().0,
        segment.decode_time.0,
        pack.id,
        segment.first_fragment,
        segment.fragments
    ];
    if pack.hold.is_some() || pack.state != PackState::Open {
        pack.put_whole(db, segment)?;
    } else if exec(db, UPDATE_OPEN, values)? == 0 {
        exec(db, INSERT_OPEN, values)?;
    }
    pack.extend(db, segment.range, bytes)
}

/// What changes need to know of a pack.
struct Pack {
    id: i64,
    camera: i64,
    run_number: i64,
    run: RunId,
    state: PackState,
    start: i64,
    until: i64,
    bytes: i64,
    hold: Option<i64>,
}

impl Pack {
    fn find(db: &Connection, pack: PackId) -> Result<Self, IndexError> {
        let sql = "SELECT p.id, p.camera, p.run, r.run, p.state, p.start, p.until, p.bytes, p.hold
                   FROM pack p JOIN run r ON r.id = p.run WHERE p.pack = ?1";
        let found = find(db, sql, [pack.0], |row| {
            Ok(Self {
                id: row.get(0)?,
                camera: row.get(1)?,
                run_number: row.get(2)?,
                run: RunId(row.get(3)?),
                state: super::query::pack_state(row, 4)?,
                start: row.get(5)?,
                until: row.get(6)?,
                bytes: row.get(7)?,
                hold: row.get(8)?,
            })
        })?;
        found.ok_or_else(|| IndexError::Unknown(format!("pack {pack}")))
    }

    /// Moves its bounds outwards. The start is in an index and nearly always stays.
    fn extend(&self, db: &Connection, range: TimeRange, bytes: u64) -> Result<(), IndexError> {
        let sql = "UPDATE pack SET bytes = max(bytes, ?2), until = max(until, ?3) WHERE id = ?1";
        exec(db, sql, params![self.id, number(bytes), range.end().0])?;
        if range.start().0 < self.start {
            exec(db, "UPDATE pack SET start = ?2 WHERE id = ?1", params![self.id, range.start().0])?;
        }
        Ok(())
    }

    /// Forwards only: nothing happens to a pack that is there already, or further.
    fn advance(&self, db: &Connection, to: PackState) -> Result<(), IndexError> {
        if self.state >= to {
            return Ok(());
        }
        exec(db, "UPDATE pack SET state = ?2 WHERE id = ?1", params![self.id, to as u8])?;
        if self.state == PackState::Open {
            let sql = "INSERT INTO segment SELECT * FROM open_segment WHERE camera = ?1 AND pack = ?2";
            exec(db, sql, params![self.camera, self.id])?;
            self.delete_open_segments(db)?;
        }
        Ok(())
    }

    fn condemn(&self, db: &Connection, at: WallTime, reason: Reason) -> Result<(), IndexError> {
        // What stays for a hold goes when that is over, and for no other reason.
        let others = self.hold.is_some() != (reason == Reason::HoldEnded);
        if self.state == PackState::Condemned || others || super::hold::covers(db, self.id)? {
            return Ok(());
        }
        let sql = "UPDATE pack SET state = 3, condemned_at = ?2, reason = ?3 WHERE id = ?1";
        exec(db, sql, params![self.id, at.0, reason as u8])?;
        self.delete_segments(db)
    }

    fn damage(
        &self,
        db: &Connection,
        end: WallTime,
        lost: &[Range<u32>],
        segments: &[SegmentRow],
        gaps: &[Gap],
    ) -> Result<(), IndexError> {
        if !matches!(self.state, PackState::Sealed | PackState::Stored) {
            return Ok(());
        }
        super::damage::note(db, self.id, lost)?;
        self.delete_segments(db)?;
        exec(db, "UPDATE pack SET until = ?2 WHERE id = ?1", params![self.id, end.0])?;
        for segment in segments {
            self.put_whole(db, segment)?;
        }
        gaps.iter().try_for_each(|gap| insert_gap(db, self.camera, gap))
    }

    /// A segment of a whole pack.
    fn put_whole(&self, db: &Connection, segment: &SegmentRow) -> Result<(), IndexError> {
        let (range, place) = (segment.range, (segment.first_fragment, segment.fragments));
        let values =
            params![self.camera, range.start().0, range.duration().0, segment.decode_time.0, self.id, place.0, place.1];
        match self.hold {
            Some(hold) => super::hold::put_segment(db, hold, values),
            None => exec(db, PUT_WHOLE, values).map(|_| ()),
        }
    }

    fn forget(&self, db: &Connection) -> Result<(), IndexError> {
        self.leave(db)?;
        // A run that goes on may still get packs. One without an end that has a successor was cut off by a crash.
        let sql = "DELETE FROM run WHERE id = ?1 AND packs = 0 AND (until IS NOT NULL
                   OR EXISTS (SELECT 1 FROM run later WHERE later.camera = run.camera AND later.start > run.start))";
        exec(db, sql, [self.run_number])?;
        Ok(())
    }

    /// Forgets the pack, and not its run.
    fn leave(&self, db: &Connection) -> Result<(), IndexError> {
        self.delete_segments(db)?;
        super::damage::forget(db, self.id)?;
        super::dedup::forget(db, self.id)?;
        super::hold::forget(db, self.id)?;
        exec(db, "DELETE FROM pack WHERE id = ?1", [self.id])?;
        exec(db, "UPDATE run SET packs = packs - 1 WHERE id = ?1", [self.run_number])?;
        Ok(())
    }

    /// A pack's segments lie inside its bounds: no index by pack is needed to find them.
    fn delete_segments(&self, db: &Connection) -> Result<(), IndexError> {
        let sql = "DELETE FROM segment WHERE camera = ?1 AND start >= ?2 AND start < ?3 AND pack = ?4";
        let of_pack = params![self.camera, self.start, self.until, self.id];
        if let Some(hold) = self.hold {
            return super::hold::delete_segments(db, hold, &of_pack[1..]);
        }
        exec(db, sql, of_pack)?;
        self.delete_open_segments(db)
    }

    fn delete_open_segments(&self, db: &Connection) -> Result<(), IndexError> {
        exec(db, "DELETE FROM open_segment WHERE camera = ?1 AND pack = ?2", params![self.camera, self.id])?;
        Ok(())
    }

    /// Enters it in the register of destructions.
    fn register(&self, db: &Connection, at: WallTime, outcome: Outcome) -> Result<(), IndexError> {
        // What stayed for a hold went from the camera's own timeline before.
        if self.hold.is_none() {
            super::occurrence::forget(db, self.camera, WallTime(self.start)..WallTime(self.until))?;
        }
        let reason = find(db, "SELECT reason FROM pack WHERE id = ?1", [self.id], |row| row.get::<_, Option<u8>>(0))?;
        let reason = reason.flatten().and_then(Reason::from_code);
        let reason = reason.ok_or_else(|| IndexError::Refused("a pack was destroyed that was not condemned".into()))?;
        let day = self.start.div_euclid(TICKS_PER_DAY);
        let sql = "INSERT INTO deletion (camera, day, reason, outcome, start, until, packs, bytes, first_at, last_at)
                   VALUES (?1, ?2, ?3, ?8, ?4, ?5, 1, ?6, ?7, ?7)
                   ON CONFLICT DO UPDATE SET start = min(start, ?4), until = max(until, ?5), packs = packs + 1,
                   bytes = bytes + ?6, first_at = min(first_at, ?7), last_at = max(last_at, ?7)
                   RETURNING packs";
        // A pack without footage covers its first tick.
        let until = self.until.max(self.start.saturating_add(1));
        let values = params![self.camera, day, reason as u8, self.start, until, self.bytes, at.0, outcome as u8];
        let packs = find(db, sql, values, |row| row.get::<_, i64>(0))?;
        if packs != Some(1) {
            return Ok(());
        }
        let sql = "SELECT t.name, c.camera FROM camera c JOIN tenant t ON t.id = c.tenant WHERE c.id = ?1";
        let camera = find(db, sql, [self.camera], |row| super::query::camera_key(row, 0, 1))?;
        let camera = camera.ok_or_else(|| IndexError::Unknown("the camera of a pack".to_owned()))?;
        let from = WallTime(self.start);
        let fact = match outcome {
            Outcome::Destroyed => Fact::PackDeleted { from, reason },
            Outcome::WasAbsent => Fact::PackAbsent { from, reason },
        };
        put_event(db, &Event::of_camera(at, &camera, fact))
    }
}

fn put_gap(db: &Connection, camera: &CameraKey, gap: &Gap) -> Result<(), IndexError> {
    let number_of_camera = known_camera(db, camera)?;
    if gap.end < gap.start {
        return Err(IndexError::Refused(format!("a gap of camera {camera} ends before it starts, at {}", gap.start)));
    }
    exec(db, "DELETE FROM open_gap WHERE camera = ?1 AND start = ?2", params![number_of_camera, gap.start.0])?;
    insert_gap(db, number_of_camera, gap)
}

fn insert_gap(db: &Connection, camera: i64, gap: &Gap) -> Result<(), IndexError> {
    let sql = "INSERT OR REPLACE INTO gap (camera, start, until, cause, lost_packets) VALUES (?1, ?2, ?3, ?4, ?5)";
    exec(db, sql, params![camera, gap.start.0, gap.end.0, gap.cause.code(), gap.lost_packets])?;
    Ok(())
}

/// Stands in the place of a tenant's number: only the operator reads it.
const OPERATORS: i64 = -1;

/// The row is a projection of the event: what queries look for stands in columns, the event itself is kept as encoded.
pub(super) fn put_event(db: &Connection, event: &Event) -> Result<(), IndexError> {
    let owner = match event.scope.tenant() {
        None if event.fact.is_operators() => OPERATORS,
        None => 0,
        Some(tenant) => {
            super::query::tenant_id(db, tenant)?.ok_or_else(|| IndexError::Unknown(format!("tenant {tenant}")))?
        }
    };
    let camera = event.scope.camera().map(|camera| known_camera(db, camera)).transpose()?;
    let sql = "INSERT INTO event (at, tenant, camera, kind, entry) VALUES (?1, ?2, ?3, ?4, ?5)";
    exec(db, sql, params![event.at.0, owner, camera, event.fact.kind(), event.encode()])?;
    Ok(())
}

fn forget_events(db: &Connection, before: WallTime) -> Result<(), IndexError> {
    let bound = params![before.0, FORGOTTEN_ROWS_MAX];
    exec(db, "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE at < ?1 ORDER BY at LIMIT ?2)", bound)?;
    let sql = "DELETE FROM deletion WHERE (camera, day, reason, outcome) IN
               (SELECT camera, day, reason, outcome FROM deletion WHERE last_at < ?1 LIMIT ?2)";
    exec(db, sql, bound)?;
    exec(
        db,
        "DELETE FROM hold WHERE closed < ?1 AND NOT EXISTS (SELECT 1 FROM pack WHERE pack.hold = hold.id)",
        [before.0],
    )?;
    super::alarm::forget(db, before)?;
    exec(db, "DELETE FROM pending_policy WHERE camera IN (SELECT id FROM camera WHERE configured = 0)", [])?;
    let sql = "DELETE FROM camera WHERE configured = 0
               AND NOT EXISTS (SELECT 1 FROM pack WHERE pack.camera = camera.id)
               AND NOT EXISTS (SELECT 1 FROM run WHERE run.camera = camera.id)
               AND NOT EXISTS (SELECT 1 FROM gap WHERE gap.camera = camera.id)
               AND NOT EXISTS (SELECT 1 FROM event WHERE event.camera = camera.id)
               AND NOT EXISTS (SELECT 1 FROM deletion WHERE deletion.camera = camera.id)
               AND NOT EXISTS (SELECT 1 FROM hold WHERE hold.camera = camera.id)
               AND NOT EXISTS (SELECT 1 FROM open_gap WHERE open_gap.camera = camera.id)";
    exec(db, sql, [])?;
    Ok(())
}

fn certificate_sei(
    db: &Connection,
    camera: i64,
    at: WallTime,
    certificates: &[u8; 32],
    sei: &[u8],
) -> Result<(), IndexError> {
    let newest = "SELECT certificates FROM certificate_sei WHERE camera = ?1 ORDER BY at DESC LIMIT 1";
    let newest: Option<Vec<u8>> = super::query::one(db, newest, [camera], |row| row.get(0))?;
    if newest.is_some_and(|newest| newest == certificates) {
        return Ok(());
    }
    let sql =
        "INSERT INTO certificate_sei (camera, at, certificates, sei) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    exec(db, sql, params![camera, at.0, certificates, sei])?;
    let sql = "DELETE FROM certificate_sei WHERE camera = ?1 AND at <= (SELECT at FROM certificate_sei
                   WHERE camera = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)";
    exec(db, sql, params![camera, CERTIFICATES_MAX])?;
    Ok(())
}
