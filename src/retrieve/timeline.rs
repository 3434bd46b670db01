//! Coverage and gaps of one camera.

use super::{Footage, RetrieveError};
use crate::media::GapCause;
use crate::units::{CameraKey, Ticks90k, TimeRange};

/// A stretch with footage. Times are RFC 3339 UTC.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Span {
    /// First instant.
    pub start: String,
    /// First instant after.
    pub end: String,
}

/// A stretch without. `end` is absent while it lasts.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct GapSpan {
    /// First instant.
    pub start: String,
    /// First instant after.
    pub end: Option<String>,
    /// Why.
    pub cause: GapCause,
    /// RTP packets lost, for packet loss; otherwise 0.
    pub lost_packets: u32,
}

/// What there is of a camera in a range.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Timeline {
    /// Footage; stretches closer together than the resolution are joined, shorter ones are kept.
    pub coverage: Vec<Span>,
    /// Gaps, each with its cause, those shorter than the resolution left out unless it is the finest.
    pub gaps: Vec<GapSpan>,
    /// Milliseconds with footage inside the range, exact whatever the resolution.
    pub covered_ms: u64,
}

/// What there is of `camera` in `range`.
pub async fn timeline(
    _footage: &Footage,
    _camera: &CameraKey,
    _range: TimeRange,
    _resolution: Ticks90k,
) -> Result<Timeline, RetrieveError> {
    todo!()
}
