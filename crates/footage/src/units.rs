//! Newtypes with their units: media ticks, wall-clock instants, identities.
//!
//! Invariant: arithmetic on time is checked; an overflow is `None`, never a wrapped value.
//! Absent on purpose: no clock is read here, no I/O is done.

use crate::failure::{Failure, Kind};
use std::fmt;
use std::str::FromStr;

mod ids;

pub use self::ids::{
    BadId, BootId, ExportId, Fingerprint, FragmentId, HoldId, KeyId, PackId, RequestId, RunId, StoreUid,
};

/// Ticks of the 90 kHz clock in one second (RFC 3551 §5, the clock rate of every RTP video payload).
pub const TICKS_PER_SECOND: i64 = 90_000;

/// Ticks of 24 hours.
pub const TICKS_PER_DAY: i64 = 24 * 3_600 * TICKS_PER_SECOND;

/// A duration or a media time, in 1/90000 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks90k(pub i64);

impl Ticks90k {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A whole number of seconds; `None` on overflow.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        seconds.checked_mul(TICKS_PER_SECOND).map(Self)
    }

    /// A standard duration rounded down to the tick; saturates after three million years.
    pub fn from_duration(d: std::time::Duration) -> Self {
        let ticks = d.as_nanos().saturating_mul(9) / 100_000;
        Self(i64::try_from(ticks).unwrap_or(i64::MAX))
    }

    /// As a standard duration, rounded down to the nanosecond; a negative value gives zero.
    pub fn to_duration(self) -> std::time::Duration {
        let ticks = u64::try_from(self.0).unwrap_or(0);
        let per_second = TICKS_PER_SECOND as u64;
        let nanos = (ticks % per_second) * 100_000 / 9;
        std::time::Duration::new(ticks / per_second, nanos as u32)
    }

    /// As seconds, for people and playlists.
    pub fn as_seconds_f64(self) -> f64 {
        self.0 as f64 / TICKS_PER_SECOND as f64
    }

    /// Sum; `None` on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Difference; `None` on overflow.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

/// An instant on the gateway's disciplined clock: 1/90000 s since the Unix epoch.
///
/// Shown as RFC 3339 UTC, parsed from RFC 3339 with any offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub i64);

impl WallTime {
    /// `self + by`; `None` on overflow.
    pub fn checked_add(self, by: Ticks90k) -> Option<Self> {
        self.0.checked_add(by.0).map(Self)
    }

    /// `self - by`; `None` on overflow.
    pub fn checked_sub(self, by: Ticks90k) -> Option<Self> {
        self.0.checked_sub(by.0).map(Self)
    }

    /// `self + by`, clamped to the representable range.
    pub fn saturating_add(self, by: Ticks90k) -> Self {
        Self(self.0.saturating_add(by.0))
    }

    /// `self - by`, clamped to the representable range.
    pub fn saturating_sub(self, by: Ticks90k) -> Self {
        Self(self.0.saturating_sub(by.0))
    }

    /// Time from `earlier` to `self`, negative when `earlier` is later; saturating.
    pub fn since(self, earlier: Self) -> Ticks90k {
        Ticks90k(self.0.saturating_sub(earlier.0))
    }

    /// From a calendar timestamp, rounded down to the tick.
    pub fn from_timestamp(t: jiff::Timestamp) -> Self {
        let ticks = t.as_nanosecond() * 9 / 100_000;
        // jiff's range is years -9999..=9999: at most 3.2e11 s, 2.8e16 ticks.
        Self(i64::try_from(ticks).unwrap_or(i64::MAX))
    }

    /// As a calendar timestamp, clamped to the years that RFC 3339 can write.
    pub fn to_timestamp(self) -> jiff::Timestamp {
        let nanos = i128::from(self.0) * 100_000 / 9;
        jiff::Timestamp::from_nanosecond(nanos).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }

    /// NTP timestamp format: seconds since 1900 in the high half, fraction in the low (RFC 5905 §6).
    /// Era 0 and 1 are distinguished by the reader, as the format does not carry the era.
    pub fn to_ntp(self) -> u64 {
        const UNIX_TO_NTP_SECONDS: i128 = 2_208_988_800;
        let ticks = i128::from(self.0) + UNIX_TO_NTP_SECONDS * i128::from(TICKS_PER_SECOND);
        // Rounded up, so that `from_ntp` (which rounds down) gives back the same tick.
        let rate = i128::from(TICKS_PER_SECOND);
        (((ticks << 32) + rate - 1) / rate) as u64
    }

    /// From an NTP timestamp (RFC 5905 §6), rounded down to the tick. Values with the top bit clear are
    /// taken as era 1 (2036 to 2104), as RFC 4330 §3 advises.
    pub fn from_ntp(ntp: u64) -> Self {
        const UNIX_TO_NTP_SECONDS: i128 = 2_208_988_800;
        let era = if ntp >> 63 == 0 { 1i128 << 64 } else { 0 };
        let fixed = i128::from(ntp) + era;
        let ticks = ((fixed * i128::from(TICKS_PER_SECOND)) >> 32) - UNIX_TO_NTP_SECONDS * i128::from(TICKS_PER_SECOND);
        Self(ticks as i64)
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.to_timestamp().round(jiff::Unit::Microsecond).unwrap_or_else(|_| self.to_timestamp());
        write!(f, "{shown:.6}")
    }
}

impl fmt::Debug for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not an RFC 3339 date and time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a date and time with its offset, as in 2026-03-01T14:30:00Z (RFC 3339)")]
pub struct BadWallTime(String);

impl Failure for BadWallTime {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl FromStr for WallTime {
    type Err = BadWallTime;

    fn from_str(s: &str) -> Result<Self, BadWallTime> {
        let t: jiff::Timestamp = s.parse().map_err(|_| BadWallTime(s.chars().take(64).collect()))?;
        // Rounded to the nearest tick, so that a displayed time parses back to itself.
        let ticks = (t.as_nanosecond() * 9 + 50_000).div_euclid(100_000);
        Ok(Self(i64::try_from(ticks).unwrap_or(i64::MAX)))
    }
}

/// A half-open range of wall-clock time, `[start, end)`, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    start: WallTime,
    end: WallTime,
}

impl TimeRange {
    /// `None` unless `start < end`.
    pub fn new(start: WallTime, end: WallTime) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// First instant inside.
    pub fn start(&self) -> WallTime {
        self.start
    }

    /// First instant after.
    pub fn end(&self) -> WallTime {
        self.end
    }

    /// Length of the range.
    pub fn duration(&self) -> Ticks90k {
        self.end.since(self.start)
    }

    /// What both ranges share, if anything.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

/// A name in a path, a file name or a URL is not usable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{kind} {text:?} must be 1 to 64 characters of a-z, 0-9 and '-', and begin with a letter or digit")]
pub struct BadName {
    kind: &'static str,
    text: String,
}

impl Failure for BadName {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(s: &str) -> Result<Self, BadName> {
                let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
                let good = (1..=64).contains(&s.len())
                    && s.bytes().all(|b| legal(b) || b == b'-')
                    && s.bytes().next().is_some_and(legal);
                if good {
                    Ok(Self(s.into()))
                } else {
                    Err(BadName { kind: $kind, text: s.chars().take(80).collect() })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type!(
    /// A tenant: one town, or one service of it.
    TenantId,
    "tenant id"
);
name_type!(
    /// A camera, unique inside its tenant.
    CameraId,
    "camera id"
);

name_type!(
    /// A deduplication domain that several tenants share.
    DomainId,
    "deduplication domain"
);

name_type!(
    /// A person who acts for a tenant, unique inside it.
    PersonId,
    "person id"
);

name_type!(
    /// An identity provider by which persons sign in.
    ProviderId,
    "provider id"
);

name_type!(
    /// A target of alarms.
    AlarmTargetId,
    "alarm id"
);

name_type!(
    /// An authorisation of a tenant's system.
    AuthorisationId,
    "authorisation id"
);

/// A camera and whose it is: the only way a camera is named outside its tenant's own scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CameraKey {
    /// Owner.
    pub tenant: TenantId,
    /// The camera inside the tenant.
    pub camera: CameraId,
}

impl fmt::Display for CameraKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.camera)
    }
}

impl FromStr for CameraKey {
    type Err = BadName;

    fn from_str(s: &str) -> Result<Self, BadName> {
        let (tenant, camera) = s
            .split_once('/')
            .ok_or_else(|| BadName { kind: "camera (written tenant/camera)", text: s.chars().take(80).collect() })?;
        Ok(Self { tenant: tenant.parse()?, camera: camera.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn wall_time_displayed_then_parsed_is_identity_within_a_microsecond(ticks in 0i64..400_000_000_000_000) {
            let t = WallTime(ticks);
            let back: WallTime = t.to_string().parse().expect("its own display");
            prop_assert!((back.0 - t.0).abs() <= 1, "{} against {}", back.0, t.0);
        }

        #[test]
        fn ntp_and_back_is_identity(ticks in 0i64..380_000_000_000_000) {
            prop_assert_eq!(WallTime::from_ntp(WallTime(ticks).to_ntp()), WallTime(ticks));
        }

        #[test]
        fn id_displayed_then_parsed_is_identity(bytes: [u8; 16]) {
            prop_assert_eq!(PackId(bytes).to_string().parse(), Ok(PackId(bytes)));
        }
    }

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for bad in ["", ".", "..", "a/b", "A", "é", "-a", "a_b", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<CameraId>().is_err(), "{bad:?} was accepted");
        }
        assert!("place-mairie-2".parse::<CameraId>().is_ok());
    }

    #[test]
    fn a_run_s_id_says_whether_the_camera_recorded_it_itself() {
        let at = WallTime(90_000 * 1_795_000_000);
        assert!(RunId::generate_edge(at).is_edge() && !RunId::generate(at).is_edge());
        assert_ne!(RunId::generate_edge(at), RunId::generate_edge(at));
        assert_eq!(RunId::generate_edge(at).0[..6], RunId::generate(at).0[..6]);
    }

    #[test]
    fn ids_sort_by_time_of_creation() {
        let early = PackId::generate(WallTime(1_000 * TICKS_PER_SECOND));
        let late = PackId::generate(WallTime(1_001 * TICKS_PER_SECOND));
        assert!(early < late);
        let least = PackId::least_at(WallTime(1_001 * TICKS_PER_SECOND));
        assert!(early < least && least <= late);
        assert_eq!(least.created(), WallTime(1_001 * TICKS_PER_SECOND));
        assert_eq!((late.written_by(3).writer(), late.written_by(3).created()), (3, late.created()));
    }
}
