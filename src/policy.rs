//! How long a camera's footage is kept, where, and how: one value, made once from the configuration.
//!
//! Retention, day keys, rows of the index and `check-config` go by it and compute nothing of it themselves.
//! Invariant: the legal maximum is one calendar month (Code de la sécurité intérieure, L252-5), whatever else is set.
//! Absent on purpose: clocks and the index.

use std::time::Duration;

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use footage::units::{CameraKey, DomainId, TICKS_PER_SECOND, Ticks90k, WallTime};

/// In a shared store, what another gateway wrote is deleted so much later than one's own: only when that gateway does not.
pub const TAKEOVER: Duration = Duration::from_secs(300);

/// A store that answers slowly, a sweep that starts late.
const SLACK: Duration = Duration::from_secs(120);

/// A pack that began so long ago grows no more: its footage begins no later.
pub const GROWING_MAX: Ticks90k = Ticks90k(3_600 * TICKS_PER_SECOND);

/// The shortest calendar month: what is guaranteed longer cannot be kept in February.
pub const SHORTEST_MONTH: Duration = Duration::from_secs(28 * 24 * 3_600);

/// How the sweep works, which says how early it has to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// How often it runs.
    pub interval: Duration,
    /// Between condemning a pack and deleting its object.
    pub grace: Duration,
    /// Other gateways write into a store of this one.
    pub is_shared: bool,
}

impl Cadence {
    /// How long before its deadline a pack is condemned, so that it is gone in time. The sweep may have just missed it,
    /// then waits the grace time, and may just miss its end; each time one sweep more may fail. Where others' packs may
    /// have to be deleted in their place, there is time for that too.
    pub fn margin(&self) -> Duration {
        let waits = self.interval.saturating_mul(4).saturating_add(self.grace).saturating_add(SLACK);
        waits.saturating_add(if self.is_shared { TAKEOVER } else { Duration::ZERO })
    }
}

/// What holds for one camera's footage.
#[derive(Clone, Debug)]
pub struct CameraPolicy {
    /// Whose footage.
    pub camera: CameraKey,
    /// Destroyed at the latest this long after it was filmed, and never later than a calendar month after.
    pub maximum: Ticks90k,
    /// Not destroyed before, not even when the disk is full.
    pub minimum: Ticks90k,
    /// Name of the store that its packs go to.
    pub store: String,
    /// Packs are encrypted before they leave the gateway's process.
    pub encrypted: bool,
    /// The deduplication domain that its tenant shares with others, if it does.
    pub dedup_domain: Option<DomainId>,
    /// How the sweep works.
    pub cadence: Cadence,
    /// Whose calendar says how long a month is.
    pub time_zone: TimeZone,
}

impl CameraPolicy {
    /// When footage that begins at `start` must be gone.
    pub fn deadline(&self, start: WallTime) -> WallTime {
        deadline(start, self.maximum, &self.time_zone)
    }

    /// How long before its deadline a pack is condemned.
    pub fn margin(&self) -> Ticks90k {
        Ticks90k::from_duration(self.cadence.margin())
    }

    /// The UTC day of the key for a pack that begins at `start`: what is filmed into it has to be gone by then. `None` where
    /// packs are not encrypted.
    pub fn key_day(&self, start: WallTime) -> Option<Date> {
        self.encrypted.then(|| utc_day(self.deadline(start).saturating_add(GROWING_MAX)))
    }
}

/// How a tenant's requests for footage are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRules {
    /// What a request asks for is held for so many days from its intake.
    pub pre_hold_days: u16,
    /// What one person prepared is released by another.
    pub two_person_release: bool,
    /// The file of a request is destroyed so many months after its closing.
    pub request_months: u16,
}

impl Default for RequestRules {
    /// Three years for the file, as for the journal (Code de la sécurité intérieure, R253-5).
    fn default() -> Self {
        Self { pre_hold_days: 8, two_person_release: false, request_months: 36 }
    }
}

/// The UTC day of an instant.
pub fn utc_day(at: WallTime) -> Date {
    jiff::tz::Offset::UTC.to_datetime(at.to_timestamp()).date()
}

/// When footage that begins at `start` must be gone: after `max`, or one calendar month later where that is sooner. A
/// day that the next month does not have is its last day.
pub fn deadline(start: WallTime, max: Ticks90k, zone: &TimeZone) -> WallTime {
    let month_later = zone.to_datetime(start.to_timestamp()).checked_add(1.month());
    // An hour that the clock change repeats or leaves out counts as its earlier reading.
    let month_later = month_later.and_then(|local| zone.to_ambiguous_timestamp(local).earlier());
    let by_policy = start.saturating_add(max);
    // Only the end of the year 9999 has no month after it.
    month_later.map_or(by_policy, |month| WallTime::from_timestamp(month).min(by_policy))
}

/// The inverse of [`deadline`]: footage that starts at this instant or before is due at `now`, and none after it is.
/// The last days of a month share the deadlines of the next month's last day, where a later start may be due sooner:
/// what starts before a start that is due is taken as due too. Where the month decides and not `max`, that is up to a day
/// (and a clock change) early.
pub fn due_until(now: WallTime, max: Ticks90k, zone: &TimeZone) -> WallTime {
    let by_policy = now.saturating_sub(max);
    // Only the beginning of the year -9999 has no month before it.
    month_before(now, zone).map_or(by_policy, |by_month| by_month.max(by_policy))
}

/// The last instant of which a month later is at or before `now`.
fn month_before(now: WallTime, zone: &TimeZone) -> Result<WallTime, jiff::Error> {
    let local = zone.to_datetime(now.to_timestamp());
    let before = local.checked_sub(1.month())?;
    let instant = |local| zone.to_ambiguous_timestamp(local).later().map(WallTime::from_timestamp);
    if before.day() < local.day() {
        // That month has no such day: all of it is a month ago.
        return instant(before.end_of_day());
    }
    let last_day = local.date() == local.date().last_of_month();
    let before = if last_day { before.date().last_of_month().to_datetime(local.time()) } else { before };
    // In the hour before the clocks go forward and after they went back, later readings have sooner deadlines.
    const HOUR: Ticks90k = Ticks90k(3_600 * TICKS_PER_SECOND);
    let offset = |at: WallTime| i64::from(zone.to_offset(at.to_timestamp()).seconds());
    let change_seconds = (offset(now.saturating_add(HOUR)) - offset(now.saturating_sub(HOUR))).abs();
    Ok(instant(before)?.saturating_add(Ticks90k(change_seconds * TICKS_PER_SECOND)))
}
