//! What a camera noticed. Times are RFC 3339 UTC.

use axum::Json;
use axum::extract::State;

use super::Service;
use super::params::{CameraPath, RangeQuery, StrictQuery};
use super::problem::Problem;
use super::schema::OccurrenceKindSchema;
use crate::index::OccurrenceRow;
use crate::retrieve::RetrieveError;
use crate::retrieve::timeline::TIMELINE_DAYS_MAX;

/// Occurrences in one answer.
const OCCURRENCES_MAX: usize = 5_000;

/// Something that a camera noticed.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Occurrence)]
pub(super) struct OccurrenceView {
    /// When, on the gateway's clock.
    at: String,
    /// What.
    #[schema(value_type = OccurrenceKindSchema)]
    kind: &'static str,
    /// The camera's own word for it, a topic of ONVIF without its prefixes.
    topic: String,
    /// By what part of the camera, in its own words.
    source: String,
    /// `true`: it began; `false`: it ended; absent: it has no duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<bool>,
}

impl From<OccurrenceRow> for OccurrenceView {
    fn from(row: OccurrenceRow) -> Self {
        let OccurrenceRow { at, kind, topic, source, active } = row;
        Self { at: at.to_string(), kind: kind.as_str(), topic, source, active }
    }
}

/// Occurrences, oldest first.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Occurrences {
    occurrences: Vec<OccurrenceView>,
    /// Present when there are more: ask again from this start, which the last ones of this answer may have too.
    next_start: Option<String>,
}

/// What a camera noticed (ONVIF): motion, tampering, digital inputs, where the configuration names them.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/occurrences", tag = "cameras", operation_id = "occurrences",
    params(("camera" = String, Path, description = "Camera id"), RangeQuery),
    responses(
        (status = OK, body = Occurrences), (status = BAD_REQUEST), (status = NOT_FOUND)
    )
)]
pub(super) async fn of_camera(
    CameraPath(key): CameraPath,
    StrictQuery(between): StrictQuery<RangeQuery>,
    State(service): State<Service>,
) -> Result<Json<Occurrences>, Problem> {
    let range = between.range(TIMELINE_DAYS_MAX * 24)?;
    let index = &service.footage().index;
    if index.camera(&key).await?.is_none() {
        return Err(RetrieveError::NoCamera(key).into());
    }
    let mut rows = index.occurrences(&key, range, OCCURRENCES_MAX + 1).await?;
    let next_start = rows.get(OCCURRENCES_MAX).map(|row| row.at.to_string());
    rows.truncate(OCCURRENCES_MAX);
    Ok(Json(Occurrences { occurrences: rows.into_iter().map(OccurrenceView::from).collect(), next_start }))
}
