//! How the gateway's clock stood when runs were recorded, and how wrong their times are by what is known since.
//!
//! A run's times are the monotonic clock's plus one number, its *base*. While the machine runs, the base changes where
//! the wall clock is set, and nowhere else. The last base of a boot counts as the right one, so a run with another has
//! times that are wrong by the difference: exactly, and for as long as the machine ran. Times that went wrong and came
//! right again before the boot ended are right.
//!
//! Absent on purpose: stored times are not changed by it. Packs hold them too, and are immutable.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::apply::{exec, known};
use super::hold::COVERED;
use super::query::{one, pack_row, rows};
use super::{Index, IndexError, PackRow};
use footage::units::{BootId, CameraKey, RunId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// A base that moves by less is slewing, not a step: a quarter of a second.
pub const CLOCK_STEP_MIN: Ticks90k = Ticks90k(TICKS_PER_SECOND / 4);

/// A run whose times are known to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MisdatedRun {
    /// Which run.
    pub run: RunId,
    /// When it was recorded, by its own times; its end is the newest pack's while it lasts.
    pub range: TimeRange,
    /// Its times minus the right ones.
    pub error: Ticks90k,
}

/// Retention may go by another time than the wall clock's: by `lead` less, in this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockFrame {
    /// The boot that the wall clock's lead was seen in.
    pub boot: BootId,
    /// How far the wall clock is ahead of the time that retention goes by.
    pub lead: Ticks90k,
}

/// A run's times minus the right ones, in the frame `(?4, ?5)` of retention.
const ERROR: &str = "(r.clock_error + iif(r.boot = (SELECT id FROM boot WHERE boot = ?4), ?5, 0))";

impl Index {
    /// Runs of a camera whose times are known to be wrong, by their start.
    pub async fn misdated(&self, key: &CameraKey) -> Result<Vec<MisdatedRun>, IndexError> {
        self.of_camera(key, |db, camera| {
            let sql = "SELECT r.run, r.start, max(coalesce(r.until, r.start),
                              coalesce((SELECT max(p.until) FROM pack p WHERE p.camera = r.camera AND p.run = r.id
                                        AND p.start >= r.start), r.start), r.start + 1), r.clock_error
                       FROM run r WHERE r.camera = ?1 AND r.clock_error <> 0 ORDER BY r.start, r.id";
            rows(db, sql, [camera], |row| {
                Ok(MisdatedRun {
                    run: RunId(row.get(0)?),
                    range: super::query::time_range(row.get(1)?, row.get(2)?)?,
                    error: Ticks90k(row.get(3)?),
                })
            })
        })
        .await
    }

    /// For retention: as [`Index::packs_starting_before`], but by when the footage was filmed as far as that is known,
    /// in this frame. Starts and ends of the rows are corrected, those of `others` too.
    pub async fn packs_filmed_before(
        &self,
        key: &CameraKey,
        before: WallTime,
        limit: u32,
        frame: ClockFrame,
        others: &mut [PackRow],
    ) -> Result<Vec<PackRow>, IndexError> {
        let errors = self
            .of_camera(key, move |db, camera| {
                let wrong = match frame.lead {
                    // The index of wrong runs, which are few.
                    Ticks90k::ZERO => "r.clock_error <> 0",
                    _ => "TRUE",
                };
                let sql = format!(
                    "SELECT r.run, {ERROR} FROM run r
                     WHERE r.camera = ?1 AND {wrong} AND ?2 IS NULL AND ?3 IS NULL"
                );
                let values = params![camera, None::<i64>, None::<i64>, frame.boot.0, frame.lead.0];
                let of_run = |row: &rusqlite::Row<'_>| Ok((RunId(row.get(0)?), Ticks90k(row.get(1)?)));
                Ok(rows(db, &sql, values, of_run)?.into_iter().filter(|(_, error)| error.0 != 0).collect())
            })
            .await?;
        let errors: HashMap<RunId, Ticks90k> = errors;
        if errors.is_empty() {
            return self.packs_starting_before(key, before, limit).await;
        }
        let correct = |pack: &mut PackRow| {
            let error = errors.get(&pack.run).copied().unwrap_or_default();
            pack.start = pack.start.saturating_sub(error);
            pack.end = pack.end.saturating_sub(error);
        };
        others.iter_mut().for_each(correct);
        let mut packs = self
            .of_camera(key, move |db, camera| {
                let sql = format!(
                    "{} WHERE p.camera = ?1 AND p.start - {ERROR} < ?2 AND p.state IN (1, 2) AND p.hold IS NULL
                     AND NOT {COVERED} ORDER BY p.start - {ERROR}, p.id LIMIT ?3",
                    super::query::PACKS
                );
                rows(db, &sql, params![camera, before.0, limit, frame.boot.0, frame.lead.0], pack_row)
            })
            .await?;
        packs.iter_mut().for_each(correct);
        Ok(packs)
    }

    /// Until when the camera's footage was filmed, by the right times. Reads all of its packs: for where some have wrong
    /// ones.
    pub async fn filmed_until(&self, key: &CameraKey) -> Result<Option<WallTime>, IndexError> {
        self.of_camera(key, |db, camera| {
            let sql = "SELECT max(p.until - r.clock_error) FROM pack p JOIN run r ON r.id = p.run
                       WHERE p.camera = ?1 AND p.state < 3 AND p.hold IS NULL";
            Ok(one(db, sql, [camera], |row| row.get::<_, Option<i64>>(0))?.flatten().map(WallTime))
        })
        .await
    }

    /// The boot that the camera's newest run was recorded in, where that is known.
    pub async fn last_boot(&self, key: &CameraKey) -> Result<Option<BootId>, IndexError> {
        self.of_camera(key, |db, camera| {
            let sql = "SELECT b.boot FROM run r JOIN boot b ON b.id = r.boot WHERE r.camera = ?1
                       ORDER BY r.start DESC LIMIT 1";
            one(db, sql, [camera], |row| row.get(0).map(BootId))
        })
        .await
    }

    /// How the clock stood last in this boot, as far as that is known.
    pub async fn clock_base(&self, boot: BootId) -> Result<Option<Ticks90k>, IndexError> {
        self.readers
            .read(move |db| one(db, "SELECT base FROM boot WHERE boot = ?1", [boot.0], |row| row.get(0).map(Ticks90k)))
            .await
    }
}

/// The row of a boot, made where it is new.
fn boot_row(db: &Connection, boot: BootId, base: Ticks90k) -> Result<(i64, i64), IndexError> {
    exec(db, "INSERT INTO boot (boot, base) VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![boot.0, base.0])?;
    let mut found = db.prepare_cached("SELECT id, base FROM boot WHERE boot = ?1")?;
    let row = found.query_row([boot.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    row.ok_or_else(|| IndexError::Unknown(format!("boot {boot}")))
}

/// A run's times minus the right ones; slewing is no error.
fn error_of(base: i64, right: i64) -> i64 {
    let error = base.saturating_sub(right);
    if error.abs() < CLOCK_STEP_MIN.0 { 0 } else { error }
}

pub(super) fn run_base(db: &Connection, run: RunId, boot: BootId, base: Ticks90k) -> Result<(), IndexError> {
    let (number, right) = boot_row(db, boot, base)?;
    let sql = "UPDATE run SET boot = ?2, base = ?3, clock_error = ?4 WHERE run = ?1";
    let changed = exec(db, sql, params![run.0, number, base.0, error_of(base.0, right)])?;
    known(changed, || format!("run {run}"))
}

/// The clock stands so now: every run of this boot with another base has wrong times.
pub(super) fn clock_base(db: &Connection, boot: BootId, base: Ticks90k) -> Result<(), IndexError> {
    let (number, before) = boot_row(db, boot, base)?;
    exec(db, "DELETE FROM boot WHERE id <> ?1 AND NOT EXISTS (SELECT 1 FROM run WHERE run.boot = boot.id)", [number])?;
    if error_of(before, base.0) == 0 {
        return Ok(());
    }
    exec(db, "UPDATE boot SET base = ?2 WHERE id = ?1", params![number, base.0])?;
    let sql = "UPDATE run SET clock_error = iif(abs(base - ?2) < ?3, 0, base - ?2) WHERE boot = ?1";
    exec(db, sql, params![number, base.0, CLOCK_STEP_MIN.0])?;
    Ok(())
}
