//! What there is of a camera, and what is missing and why. Times are RFC 3339 UTC.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Service;
use super::params::{CameraPath, Instant, RangeQuery, StrictQuery, range};
use super::problem::Problem;
use super::schema::GapCauseSchema;
use crate::index::GapRow;
use crate::index::clock::MisdatedRun;
use crate::retrieve::RetrieveError;
use crate::retrieve::timeline::{self, TIMELINE_DAYS_MAX, Timeline};
use footage::media::GapCause;
use footage::units::{Ticks90k, TimeRange, WallTime};

/// Longest timeline, in hours.
const TIMELINE_HOURS_MAX: i64 = TIMELINE_DAYS_MAX * 24;

/// Gaps in one answer.
const GAPS_MAX: usize = 5_000;

const TICKS_PER_MILLISECOND: i64 = 90;

/// A stretch with footage.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Span {
    /// First instant.
    start: String,
    /// First instant after.
    end: String,
}

impl Span {
    /// From one instant to another, which may be the same.
    pub(super) fn between(start: WallTime, end: WallTime) -> Self {
        Self { start: start.to_string(), end: end.to_string() }
    }
}

impl From<TimeRange> for Span {
    fn from(range: TimeRange) -> Self {
        Self { start: range.start().to_string(), end: range.end().to_string() }
    }
}

/// A stretch without. `end` is absent while it lasts.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct GapSpan {
    /// First instant.
    start: String,
    /// First instant after.
    end: Option<String>,
    /// Why.
    #[schema(value_type = GapCauseSchema)]
    cause: GapCause,
    /// RTP packets lost, for packet loss; otherwise 0.
    lost_packets: u32,
    /// Milliseconds of it that were filled later, from what the camera recorded itself.
    filled_ms: u64,
}

impl GapSpan {
    /// With what fills it, by start.
    fn new(gap: GapRow, edge: &[TimeRange]) -> Self {
        let range = gap.end.and_then(|end| TimeRange::new(gap.start, end));
        let (mut filled, mut from) = (0, gap.start);
        for part in edge.iter().filter_map(|span| span.intersection(&range?)) {
            filled += part.end().since(part.start().max(from)).0.max(0);
            from = from.max(part.end());
        }
        let (start, end) = (gap.start.to_string(), gap.end.map(|end| end.to_string()));
        let filled_ms = (filled / TICKS_PER_MILLISECOND).unsigned_abs();
        Self { start, end, cause: gap.cause, lost_packets: gap.lost_packets, filled_ms }
    }
}

/// Footage whose times are known to be wrong, because the gateway's clock was set later. It is listed by its own times;
/// where other footage bears them too, clips show that, and this one is asked for by its run.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct MisdatedSpan {
    /// First instant, by its own times.
    start: String,
    /// First instant after, by its own times.
    end: String,
    /// The run, for `clip.mp4?run=`.
    run: String,
    /// Its times minus the right ones, in milliseconds.
    error_ms: i64,
    /// When it was filmed: its start, corrected.
    filmed: String,
}

impl From<MisdatedRun> for MisdatedSpan {
    fn from(run: MisdatedRun) -> Self {
        Self {
            start: run.range.start().to_string(),
            end: run.range.end().to_string(),
            run: run.run.to_string(),
            error_ms: run.error.0 / TICKS_PER_MILLISECOND,
            filmed: run.range.start().saturating_sub(run.error).to_string(),
        }
    }
}

/// What there is of a camera in a range.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Timeline)]
pub(super) struct TimelineView {
    /// Footage, cut to the range; stretches no further apart than the resolution are joined, short ones are kept.
    coverage: Vec<Span>,
    /// Gaps that share an instant with the range, with their own bounds and cause; those shorter than the resolution
    /// are left out unless it is zero.
    gaps: Vec<GapSpan>,
    /// What of the coverage the camera recorded itself, fetched after a cut, joined likewise. The gaps that it fills stay
    /// listed, with their cause.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filled: Vec<Span>,
    /// Milliseconds with footage inside the range, exact whatever the resolution.
    covered_ms: u64,
    /// Runs with wrong times that share an instant with the range, by their own times or by the right ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    misdated: Vec<MisdatedSpan>,
}

impl From<Timeline> for TimelineView {
    fn from(timeline: Timeline) -> Self {
        Self {
            coverage: timeline.coverage.into_iter().map(Span::from).collect(),
            gaps: timeline.gaps.into_iter().map(|gap| GapSpan::new(gap, &timeline.filled)).collect(),
            filled: timeline.filled.into_iter().map(Span::from).collect(),
            covered_ms: (timeline.covered.0 / TICKS_PER_MILLISECOND).unsigned_abs(),
            misdated: timeline.misdated.into_iter().map(MisdatedSpan::from).collect(),
        }
    }
}

/// Which stretch of the timeline, and how finely.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TimelineQuery {
    /// First instant, RFC 3339 with offset.
    #[param(value_type = String, format = DateTime)]
    start: Instant,
    /// First instant after, RFC 3339 with offset; at most 32 days later.
    #[param(value_type = String, format = DateTime)]
    end: Instant,
    /// Stretches closer together than this are joined, in milliseconds; 0, the default, is the finest.
    #[serde(default)]
    #[param(default = 0, minimum = 0, maximum = 86_400_000)]
    resolution_ms: u32,
}

/// Footage and gaps of a camera.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/timeline", tag = "cameras", operation_id = "timeline",
    params(("camera" = String, Path, description = "Camera id"), TimelineQuery),
    responses(
        (status = OK, body = TimelineView), (status = BAD_REQUEST), (status = NOT_FOUND)
    )
)]
pub(super) async fn of_camera(
    CameraPath(key): CameraPath,
    StrictQuery(query): StrictQuery<TimelineQuery>,
    State(service): State<Service>,
) -> Result<Json<TimelineView>, Problem> {
    let range = range(query.start, query.end, TIMELINE_HOURS_MAX)?;
    if query.resolution_ms > 86_400_000 {
        return Err(Problem::invalid("resolution_ms is at most 86400000, a day"));
    }
    let resolution = Ticks90k(i64::from(query.resolution_ms) * 90);
    Ok(Json(timeline::timeline(service.footage(), &key, range, resolution).await?.into()))
}

/// Gaps, oldest first.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Gaps {
    gaps: Vec<GapSpan>,
    /// Present when there are more: ask again from this start.
    next_start: Option<String>,
}

/// Every gap of a camera, with its cause and its exact bounds.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/gaps", tag = "cameras",
    params(("camera" = String, Path, description = "Camera id"), RangeQuery),
    responses(
        (status = OK, body = Gaps), (status = BAD_REQUEST), (status = NOT_FOUND)
    )
)]
pub(super) async fn gaps(
    CameraPath(key): CameraPath,
    StrictQuery(between): StrictQuery<RangeQuery>,
    State(service): State<Service>,
) -> Result<Json<Gaps>, Problem> {
    let range = between.range(TIMELINE_HOURS_MAX)?;
    let index = &service.footage().index;
    if index.camera(&key).await?.is_none() {
        return Err(RetrieveError::NoCamera(key).into());
    }
    let mut rows = index.gaps(&key, range).await?;
    let edge = index.edge_spans(&key, range).await?;
    let next_start = rows.get(GAPS_MAX).map(|gap| gap.start.to_string());
    rows.truncate(GAPS_MAX);
    Ok(Json(Gaps { gaps: rows.into_iter().map(|gap| GapSpan::new(gap, &edge)).collect(), next_start }))
}
