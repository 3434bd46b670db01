//! When the camera says that it took what it signed, beside when it was recorded.
//!
//! Invariant: a clock that is wrong makes nothing less authentic. The difference is stated: it is all that tells yesterday's
//! pictures from today's.

use super::report::Remark;
use super::tlv::General;
use crate::units::{TICKS_PER_SECOND, Ticks90k, WallTime};

/// A camera that keeps its clock is within this of the time of recording: transport, and a GOP whose start is missing.
pub const CLOCK_TOLERANCE: Ticks90k = Ticks90k(30 * TICKS_PER_SECOND);

/// From 1601-01-01 to 1970-01-01, in seconds.
const EPOCH_1601_SECONDS: i64 = 11_644_473_600;

/// The time that statements sign, by the camera's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedTime {
    pub(super) start: WallTime,
    pub(super) last: WallTime,
    differs: bool,
}

impl SignedTime {
    /// Of a statement on what was recorded from then on.
    pub(super) fn of(general: &General, recorded: WallTime) -> Self {
        let (start, last) = (Self::wall(general.start), Self::wall(general.end));
        let differs = start.0.abs_diff(recorded.0) > CLOCK_TOLERANCE.0.unsigned_abs();
        Self { start, last: last.max(start), differs }
    }

    /// From 100 ns since 1601-01-01 UTC.
    pub(super) fn wall(since_1601: i64) -> WallTime {
        let ticks = i128::from(since_1601) * i128::from(TICKS_PER_SECOND) / 10_000_000;
        let ticks = ticks - i128::from(EPOCH_1601_SECONDS * TICKS_PER_SECOND);
        WallTime(i64::try_from(ticks).unwrap_or(i64::MIN))
    }

    pub(super) fn joined(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (Some(a), Some(b)) = (one, other) else { return one.or(other) };
        Some(Self { start: a.start.min(b.start), last: a.last.max(b.last), differs: a.differs || b.differs })
    }

    pub(super) fn remark(self) -> Option<Remark> {
        self.differs.then_some(Remark::SignedTimeDiffers)
    }
}
