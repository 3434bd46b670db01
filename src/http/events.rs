//! Events of a tenant.

use axum::Json;
use axum::extract::State;
use catalogue::Right;
use serde::Deserialize;

use super::Service;
use super::params::{Spoken, StrictQuery};
use super::problem::Problem;
use super::scope::TenantScope;
use crate::event::words::Language;
use crate::event::{Actor, Event, Fact};
use crate::index::EventRow;
use footage::units::CameraId;

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
    /// Who caused it: `gateway`, `operator` or `tenant`.
    #[schema(value_type = super::schema::ActorSchema)]
    actor: Actor,
    /// `info`, `warning` or `critical`.
    severity: &'static str,
    /// About which camera; absent: about the gateway or the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    camera: Option<String>,
    /// What, as one word.
    kind: &'static str,
    /// The facts of that kind.
    #[schema(value_type = Object)]
    facts: serde_json::Value,
    /// The facts in words, in the language of `Accept-Language`: French or English.
    text: String,
}

impl EventView {
    fn new(EventRow { id, event }: EventRow, language: Language) -> Self {
        let Event { at, actor, scope, fact } = event;
        Self {
            id,
            at: at.to_string(),
            actor,
            severity: fact.severity().as_str(),
            camera: scope.camera().map(|key| key.camera.to_string()),
            kind: fact.kind(),
            facts: facts_of(&fact),
            text: fact.words(language),
        }
    }
}

/// Without the kind, which stands beside them, and without what was taken out for this reader.
fn facts_of(fact: &Fact) -> serde_json::Value {
    let mut value = serde_json::to_value(fact).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.retain(|name, value| name != "kind" && !value.is_null());
    }
    value
}

/// What happened to the tenant's cameras, newest first.
#[utoipa::path(
    get, path = "/api/events", tag = "cameras", params(EventQuery),
    responses((status = OK, body = Vec<EventView>), (status = BAD_REQUEST))
)]
pub(super) async fn events(
    scope: TenantScope,
    StrictQuery(query): StrictQuery<EventQuery>,
    State(service): State<Service>,
    Spoken(language): Spoken,
) -> Result<Json<Vec<EventView>>, Problem> {
    if !(1..=EVENTS_MAX).contains(&query.limit) {
        return Err(Problem::invalid(format!("limit is from 1 to {EVENTS_MAX}")));
    }
    if let Some(camera) = &query.camera {
        service.permit_camera(&scope, Right::SeeEvents, camera).await?;
    }
    let camera = query.camera.map(|camera| scope.camera(camera));
    let index = &service.footage().index;
    let (after, limit) = (query.after, query.limit);
    let rows = match (&camera, scope.cameras()) {
        (None, Some(cameras)) => index.events_of(scope.tenant(), cameras, after, limit).await?,
        _ => index.events(scope.tenant(), camera.as_ref(), after, limit).await?,
    };
    Ok(Json(rows.into_iter().map(|row| EventView::new(row, language)).collect()))
}
