//! Events of a tenant.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Service;
use super::auth::TenantScope;
use super::params::Asked;
use super::problem::Problem;
use crate::index::EventRow;
use crate::units::CameraId;

/// Events in one answer.
const EVENTS_MAX: u32 = 1_000;

/// Which events.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// About this camera only.
    #[param(value_type = Option<String>)]
    camera: Option<CameraId>,
    /// With a greater id than this.
    #[serde(default)]
    #[param(default = 0)]
    after: i64,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: u32,
}

fn default_limit() -> u32 {
    100
}

/// Something that happened.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Event)]
pub(super) struct EventView {
    /// Grows with each event.
    id: i64,
    /// When.
    at: String,
    /// About which camera; absent: about the gateway or the tenant.
    camera: Option<String>,
    /// What, as one word.
    kind: String,
    /// For people.
    detail: String,
}

impl From<EventRow> for EventView {
    fn from(row: EventRow) -> Self {
        Self {
            id: row.id,
            at: row.at.to_string(),
            camera: row.camera.map(|key| key.camera.to_string()),
            kind: row.kind,
            detail: row.detail,
        }
    }
}

/// What happened to the tenant's cameras, newest first.
#[utoipa::path(
    get, path = "/api/events", tag = "cameras", params(EventQuery),
    responses((status = OK, body = Vec<EventView>), (status = BAD_REQUEST))
)]
pub(super) async fn events(
    scope: TenantScope,
    Asked(query): Asked<EventQuery>,
    State(service): State<Service>,
) -> Result<Json<Vec<EventView>>, Problem> {
    if !(1..=EVENTS_MAX).contains(&query.limit) {
        return Err(Problem::invalid(format!("limit is from 1 to {EVENTS_MAX}")));
    }
    let camera = query.camera.map(|camera| scope.camera(camera));
    let index = &service.footage().index;
    let rows = index.events(scope.tenant(), camera.as_ref(), query.after, query.limit).await?;
    Ok(Json(rows.into_iter().map(EventView::from).collect()))
}
