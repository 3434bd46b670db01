//! Footage that somebody waits for in the store goes there before the backlog.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use journal::entry::Action;
use serde::Deserialize;

use super::Service;
use super::params::{CameraPath, Instant, StrictJson, range};
use super::problem::{Problem, ProblemKind};
use super::scope::TenantScope;
use crate::retrieve::{Footage, RetrieveError};
use crate::spool::SpoolError;

/// A week: to ask for more is to ask for the backlog.
const HOURS_MAX: i64 = 7 * 24;

/// Which footage to send first.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadRequest {
    /// First instant, RFC 3339 with offset.
    #[schema(value_type = String, format = DateTime, example = "2026-03-01T14:30:00Z")]
    start: Instant,
    /// First instant after it.
    #[schema(value_type = String, format = DateTime, example = "2026-03-01T14:40:00Z")]
    end: Instant,
}

/// What goes first from now on.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Uploads)]
pub(super) struct UploadsView {
    /// Packs that waited for the store and go before all others. None: all of it is there already, or is still growing.
    packs: usize,
}

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Index(error) => error.into(),
            error => {
                tracing::error!(%error, "an upload could not be put first");
                Self::new(ProblemKind::Internal, "the gateway failed to look up what waits for the store: see its log")
            }
        }
    }
}

/// Sends what waits of a camera's footage to its store before everything else, faster than the timetable of a narrow uplink
/// would have it come. Playing footage needs none of this: what is not in the store yet is read from the spool.
#[utoipa::path(
    post, path = "/api/cameras/{camera}/uploads", tag = "footage", operation_id = "send_first",
    params(("camera" = String, Path, description = "Camera id")), request_body = UploadRequest,
    responses((status = ACCEPTED, body = UploadsView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = SERVICE_UNAVAILABLE))
)]
pub(super) async fn first(
    scope: TenantScope,
    CameraPath(camera): CameraPath,
    State(service): State<Service>,
    StrictJson(UploadRequest { start, end }): StrictJson<UploadRequest>,
) -> Result<(StatusCode, Json<UploadsView>), Problem> {
    let asked = range(start, end, HOURS_MAX)?;
    let Footage { index, packs, .. } = service.footage();
    if index.camera(&camera).await?.is_none() {
        return Err(RetrieveError::NoCamera(camera).into());
    }
    let span = journal::Span { from: asked.start().to_timestamp(), to: asked.end().to_timestamp() };
    let entry = scope.act(Action::UploadAsked).on(camera.camera.clone(), Some(span));
    service.journals().append(scope.tenant(), entry).await?;
    let packs = packs.send_first(&camera, asked).await?;
    Ok((StatusCode::ACCEPTED, Json(UploadsView { packs })))
}
