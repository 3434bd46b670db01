//! What people call the places and the times of footage: for what is written into files.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use parking_lot::RwLock;

use crate::config::Config;
use footage::units::{TenantId, WallTime};

/// Names that are no part of the index: from the configuration, as it is now.
#[derive(Clone, Debug)]
pub struct Labels {
    /// What people read times in.
    pub time_zone: TimeZone,
    /// What each tenant is called: the authority whose footage it is.
    pub authorities: HashMap<TenantId, String>,
}

impl Labels {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let authorities = config.tenants.iter().map(|tenant| (tenant.id.clone(), tenant.name.clone())).collect();
        Self { time_zone: config.time_zone.clone(), authorities }
    }

    /// Local time with its offset, to the microsecond: `2026-03-01T15:30:00.040000+01:00`.
    pub fn local(&self, at: WallTime) -> String {
        self.format(at, "%Y-%m-%dT%H:%M:%S%.6f%:z")
    }

    /// The same to the second, of characters that every file system takes: `20260301T153000+0100`.
    pub fn compact(&self, at: WallTime) -> String {
        self.format(at, "%Y%m%dT%H%M%S%z")
    }

    fn format(&self, at: WallTime, format: &str) -> String {
        let zoned = at.to_timestamp().to_zoned_datetime(self.time_zone.clone());
        strtime::format(format, &zoned).unwrap_or_else(|_| at.to_string())
    }

    /// IANA name of the time zone; UTC where it has none.
    pub fn zone_name(&self) -> &str {
        self.time_zone.iana_name().unwrap_or("UTC")
    }
}

/// The labels of now, for all who read footage.
#[derive(Clone, Debug)]
pub(super) struct CurrentLabels(Arc<RwLock<Arc<Labels>>>);

impl Default for CurrentLabels {
    fn default() -> Self {
        let labels = Labels { time_zone: TimeZone::UTC, authorities: HashMap::new() };
        Self(Arc::new(RwLock::new(Arc::new(labels))))
    }
}

impl CurrentLabels {
    pub(super) fn get(&self) -> Arc<Labels> {
        self.0.read().clone()
    }

    pub(super) fn set(&self, labels: Labels) {
        *self.0.write() = Arc::new(labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times_tell_which_of_two_equal_hours_they_are_of() {
        let time_zone = TimeZone::get("Europe/Paris").unwrap();
        let labels = Labels { time_zone, authorities: HashMap::new() };
        let check = |at: &str, local: &str, compact: &str| {
            let at = at.parse().unwrap();
            assert_eq!((labels.local(at), labels.compact(at)), (local.to_owned(), compact.to_owned()));
        };
        check("2026-10-25T00:30:00.04Z", "2026-10-25T02:30:00.040000+02:00", "20261025T023000+0200");
        check("2026-10-25T01:30:00Z", "2026-10-25T02:30:00.000000+01:00", "20261025T023000+0100");
    }
}
