//! Times as operators type them: RFC 3339, or a local date and time in the configured zone.

use jiff::civil::DateTime;
use jiff::tz::AmbiguousOffset;

use super::Config;
use footage::failure::{Failure, Kind};
use footage::units::WallTime;

/// A text names no instant, or two.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadLocalTime {
    /// Neither form.
    #[error("{0:?} is not a time: write 2026-03-01T14:30:00 for local time, or 2026-03-01T13:30:00Z (RFC 3339)")]
    Malformed(String),
    /// The clocks went forward over it.
    #[error("{0} did not happen, the clocks went forward over it: write the offset, as in 2026-03-01T14:30:00+01:00")]
    Skipped(DateTime),
    /// The clocks went back over it.
    #[error("{0} happened twice, the clocks went back over it: write the offset, as in 2026-03-01T14:30:00+01:00")]
    Repeated(DateTime),
}

impl Failure for BadLocalTime {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl Config {
    /// The instant that an operator typed: RFC 3339 with any offset, or a date and time, or a date, in
    /// [`Config::time_zone`].
    pub fn instant(&self, text: &str) -> Result<WallTime, BadLocalTime> {
        if let Ok(instant) = text.parse() {
            return Ok(instant);
        }
        let malformed = || BadLocalTime::Malformed(text.chars().take(64).collect());
        let local: DateTime = text.parse().map_err(|_| malformed())?;
        let ambiguous = self.time_zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => {
                ambiguous.unambiguous().map(WallTime::from_timestamp).map_err(|_| malformed())
            }
            AmbiguousOffset::Gap { .. } => Err(BadLocalTime::Skipped(local)),
            AmbiguousOffset::Fold { .. } => Err(BadLocalTime::Repeated(local)),
        }
    }
}
