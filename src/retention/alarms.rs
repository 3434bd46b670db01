//! Alarms of a sweep: a disk that is full or too small, footage that goes before its time.
//!
//! An alarm is an event when it begins, and a line of the log at each sweep.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tracing::{error, warn};

use super::{Policy, RetentionPlan};
use crate::event::words::Language;
use crate::event::{Event, Fact, Scope};
use crate::index::{Change, Index, IndexError, PackRow};
use footage::clock::Reading;
use footage::units::{CameraKey, TICKS_PER_SECOND, TenantId, Ticks90k, WallTime};

/// How often the disk is compared with what the retention asks for.
const FORECAST_EVERY: Duration = Duration::from_secs(3_600);
/// The footage whose bytes say how fast the disk fills.
const RATE_OF: Ticks90k = Ticks90k(24 * 3_600 * TICKS_PER_SECOND);
/// A camera's rate is known from so much footage on.
const RATE_FROM: Ticks90k = Ticks90k(3_600 * TICKS_PER_SECOND);

/// Which alarms have been raised.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    resumed: bool,
    disk_full: bool,
    too_small: bool,
    contradicted: HashSet<CameraKey>,
    forecast: Option<Duration>,
}

impl Alarms {
    /// After a plan was made at `now`, with so many bytes free.
    pub(super) async fn raise(
        &mut self,
        index: &Index,
        policy: &Policy,
        plan: &RetentionPlan,
        reading: Reading,
        (now, free_bytes): (WallTime, u64),
    ) -> Result<(), IndexError> {
        self.resume(index).await?;
        let mut changes = Vec::new();
        let full = plan.short_bytes > 0;
        if full {
            let reserve_bytes = policy.disk_reserve_bytes;
            let fact = Fact::DiskFull { free_bytes: Some(free_bytes), reserve_bytes: Some(reserve_bytes) };
            error!(free_bytes, reserve_bytes, short_bytes = plan.short_bytes, "{}", fact.words(Language::English));
            if !self.disk_full {
                changes.push(Change::Event(Event::of_gateway(now, fact)));
            }
        }
        for camera in &plan.contradicted {
            warn!(%camera, "footage is destroyed before its guaranteed time, which the maximum does not leave");
            if !self.contradicted.contains(camera) {
                changes.push(Change::Event(Event::of_camera(now, camera, Fact::RetentionConflict)));
            }
        }
        let too_small = match plan.early.iter().map(|pack| pack.end).max() {
            Some(newest) => Some(now.since(newest).to_duration().as_secs() / 3_600),
            None => self.forecast(index, policy, reading, (now, free_bytes)).await?,
        };
        if let Some(hours) = too_small.filter(|_| !self.too_small) {
            let fact = Fact::DiskTooSmall { hours };
            warn!(hours, "{}", fact.words(Language::English));
            changes.push(Change::Event(Event::of_gateway(now, fact)));
        }
        // A disk that is full stays so: one alarm until there is room again is enough.
        let stays = self.too_small && free_bytes < policy.disk_reserve_bytes.saturating_mul(2);
        let is_too_small = too_small.is_some() || stays;
        let ended = [
            (self.disk_full && !full, Fact::DiskFullEnded),
            (self.too_small && !is_too_small, Fact::DiskTooSmallEnded),
        ];
        let ended = ended.into_iter().filter(|(is_over, _)| *is_over);
        changes.extend(ended.map(|(_, fact)| Change::Event(Event::of_gateway(now, fact))));
        if !changes.is_empty() {
            index.write(changes).await?;
        }
        (self.disk_full, self.too_small) = (full, is_too_small);
        self.contradicted.extend(plan.contradicted.iter().cloned());
        Ok(())
    }

    /// What lasted when the gateway stopped is not raised again, and its end is an event.
    async fn resume(&mut self, index: &Index) -> Result<(), IndexError> {
        if !std::mem::replace(&mut self.resumed, true) {
            let open = index.open_alarms().await?;
            let lasts = |kind| open.iter().any(|alarm| alarm.kind == kind && alarm.ended.is_none());
            (self.disk_full, self.too_small) = (lasts("disk_full"), lasts("disk_too_small"));
        }
        Ok(())
    }

    /// Hours of footage that the disk holds at the rate of the last day, where the maxima ask for more.
    async fn forecast(
        &mut self,
        index: &Index,
        policy: &Policy,
        reading: Reading,
        (now, free_bytes): (WallTime, u64),
    ) -> Result<Option<u64>, IndexError> {
        let is_due = self.forecast.is_none_or(|last| reading.mono.saturating_sub(last) >= FORECAST_EVERY);
        if !policy.store_on_disk || (!is_due && !self.too_small) {
            return Ok(None);
        }
        self.forecast = Some(reading.mono);
        let taken: BTreeMap<CameraKey, u64> = index.bytes_by_camera().await?.into_iter().collect();
        let (mut has, mut asks, mut rate) = (free_bytes.saturating_sub(policy.disk_reserve_bytes) as f64, 0.0, 0.0);
        for growth in index.growth(now.saturating_sub(RATE_OF)).await? {
            if growth.covers < RATE_FROM || !policy.on_disk(&growth.camera) {
                continue;
            }
            let per_tick = growth.bytes as f64 / growth.covers.0 as f64;
            rate += per_tick;
            asks += per_tick * growth.retention_max.0 as f64;
            has += taken.get(&growth.camera).copied().unwrap_or_default() as f64;
        }
        let hours = has / rate.max(f64::MIN_POSITIVE) / (3_600 * TICKS_PER_SECOND) as f64;
        Ok((asks > has).then_some(hours as u64))
    }
}

/// What was condemned early, for each tenant.
pub(super) fn early_events(at: WallTime, early: &[PackRow]) -> Vec<Change> {
    let mut tenants: BTreeMap<&TenantId, (u64, u64, WallTime)> = BTreeMap::new();
    for pack in early {
        let (packs, bytes, newest) = tenants.entry(&pack.camera.tenant).or_insert((0, 0, pack.end));
        *packs += 1;
        *bytes = bytes.saturating_add(pack.bytes);
        *newest = (*newest).max(pack.end);
    }
    let events = tenants.into_iter().map(|(tenant, (packs, bytes, newest))| {
        let fact = Fact::CondemnedEarly { packs, bytes, newest };
        Change::Event(Event::new(at, Scope::Tenant(tenant.clone()), fact))
    });
    events.collect()
}
