//! Alarms: a tenant's own, and the operator's view of all.

use axum::Json;
use axum::extract::{Path, State};
use catalogue::Right;
use journal::entry::Action;
use serde::Deserialize;

use super::Service;
use super::params::{Spoken, StrictJson, StrictQuery};
use super::problem::{Problem, ProblemKind};
use super::scope::TenantScope;
use crate::event::words::Language;
use crate::event::{Actor, Event, Scope};
use crate::index::Change;
use crate::index::alarm::{AlarmChange, AlarmRow};

/// Alarms in one answer.
const ALARMS_MAX: u32 = 1_000;

/// How many.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AlarmQuery {
    /// At most so many.
    #[serde(default = "default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: u32,
}

fn default_limit() -> u32 {
    100
}

impl AlarmQuery {
    fn limit(&self) -> Result<u32, Problem> {
        let within = (1..=ALARMS_MAX).contains(&self.limit);
        within.then_some(self.limit).ok_or_else(|| Problem::invalid(format!("limit is from 1 to {ALARMS_MAX}")))
    }
}

/// Something that is wrong, or was.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Alarm)]
pub(super) struct AlarmView {
    /// Grows with each alarm.
    id: i64,
    /// `active`, `acknowledged` or `ended`.
    state: &'static str,
    /// What is wrong, as one word.
    kind: String,
    /// `warning` or `critical`.
    severity: &'static str,
    /// Whose; absent: the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// Of which camera; absent: of the tenant or the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    camera: Option<String>,
    /// Since when.
    began: String,
    /// Until when, if it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    /// When it was acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged: Option<String>,
    /// By whom: `operator` or `tenant`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<super::schema::ActorSchema>)]
    acknowledged_by: Option<Actor>,
    /// In words, in the language of `Accept-Language`: French or English.
    text: String,
}

impl AlarmView {
    fn new(row: AlarmRow, language: Language) -> Self {
        let AlarmRow { id, kind, event: Event { scope, fact, .. }, severity, began, ended, acknowledged } = row;
        let state = match (ended, acknowledged) {
            (Some(_), _) => "ended",
            (None, Some(_)) => "acknowledged",
            (None, None) => "active",
        };
        Self {
            id,
            state,
            kind,
            severity: severity.as_str(),
            tenant: scope.tenant().map(ToString::to_string),
            camera: scope.camera().map(|key| key.camera.to_string()),
            began: began.to_string(),
            ended: ended.map(|at| at.to_string()),
            acknowledged: acknowledged.map(|(at, _)| at.to_string()),
            acknowledged_by: acknowledged.map(|(_, by)| by),
            text: fact.words(language),
        }
    }
}

/// The worst of what lasts, for the operator's status.
pub(super) async fn lasting(service: &Service, language: Language) -> Result<Vec<AlarmView>, Problem> {
    let rows = service.footage().index.all_alarms(default_limit()).await?;
    let lasting = rows.into_iter().filter(|row| row.ended.is_none());
    Ok(lasting.map(|row| AlarmView::new(row, language)).collect())
}

fn not_found(id: i64) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("there is no alarm {id}"))
}

async fn acknowledged(service: &Service, id: i64, by: Actor, language: Language) -> Result<Json<AlarmView>, Problem> {
    let index = &service.footage().index;
    let at = service.footage().clock.wall();
    index.write(vec![Change::Alarm(AlarmChange::Acknowledge { id, by, at })]).await?;
    let row = index.alarm(id).await?.ok_or_else(|| not_found(id))?;
    Ok(Json(AlarmView::new(row, language)))
}

/// The tenant's alarms and those of the gateway that concern it: those that last first, the worst first.
#[utoipa::path(
    get, path = "/api/alarms", tag = "cameras", operation_id = "alarms", params(AlarmQuery),
    responses((status = OK, body = Vec<AlarmView>), (status = BAD_REQUEST))
)]
pub(super) async fn list(
    scope: TenantScope,
    StrictQuery(query): StrictQuery<AlarmQuery>,
    State(service): State<Service>,
    Spoken(language): Spoken,
) -> Result<Json<Vec<AlarmView>>, Problem> {
    let rows = service.footage().index.alarms(scope.tenant(), scope.cameras(), query.limit()?).await?;
    Ok(Json(rows.into_iter().map(|row| AlarmView::new(row, language)).collect()))
}

/// No fields: a page of another site cannot send a body of JSON.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledge {}

/// Says that the tenant has seen an alarm of its own: it is not sent to the tenant's targets again. Alarms of the gateway are
/// the operator's to acknowledge.
#[utoipa::path(
    post, path = "/api/alarms/{alarm}/acknowledge", tag = "cameras", operation_id = "acknowledge_alarm",
    request_body = Acknowledge,
    params(("alarm" = i64, Path, description = "Alarm id")),
    responses((status = OK, body = AlarmView), (status = NOT_FOUND))
)]
pub(super) async fn acknowledge(
    scope: TenantScope,
    Path(id): Path<i64>,
    State(service): State<Service>,
    Spoken(language): Spoken,
    StrictJson(Acknowledge {}): StrictJson<Acknowledge>,
) -> Result<Json<AlarmView>, Problem> {
    let row = service.footage().index.alarm(id).await?.and_then(AlarmRow::for_tenant);
    match row.map(|row| row.event.scope) {
        Some(Scope::Tenant(tenant)) if tenant == *scope.tenant() => {}
        Some(Scope::Camera(key)) if key.tenant == *scope.tenant() && scope.names(&key.camera) => {
            service.permit_camera(&scope, Right::AcknowledgeAlarms, &key.camera).await?;
        }
        _ => return Err(not_found(id)),
    }
    service.journals().note(scope.tenant(), scope.act(Action::AlarmAcknowledged { alarm: id })).await;
    acknowledged(&service, id, Actor::Tenant, language).await
}

/// Alarms of all tenants and of the gateway: those that last first, the worst first.
#[utoipa::path(
    get, path = "/operator/alarms", tag = "operator", operation_id = "operator_alarms", params(AlarmQuery),
    responses((status = OK, body = Vec<AlarmView>), (status = BAD_REQUEST))
)]
pub(super) async fn all(
    StrictQuery(query): StrictQuery<AlarmQuery>,
    State(service): State<Service>,
    Spoken(language): Spoken,
) -> Result<Json<Vec<AlarmView>>, Problem> {
    let rows = service.footage().index.all_alarms(query.limit()?).await?;
    Ok(Json(rows.into_iter().map(|row| AlarmView::new(row, language)).collect()))
}

/// Says that the operator has seen an alarm: it is not sent again.
#[utoipa::path(
    post, path = "/operator/alarms/{alarm}/acknowledge", tag = "operator", operation_id = "operator_acknowledge",
    request_body = Acknowledge,
    params(("alarm" = i64, Path, description = "Alarm id")),
    responses((status = OK, body = AlarmView), (status = NOT_FOUND))
)]
pub(super) async fn acknowledge_any(
    Path(id): Path<i64>,
    State(service): State<Service>,
    Spoken(language): Spoken,
    StrictJson(Acknowledge {}): StrictJson<Acknowledge>,
) -> Result<Json<AlarmView>, Problem> {
    service.footage().index.alarm(id).await?.ok_or_else(|| not_found(id))?;
    acknowledged(&service, id, Actor::Operator, language).await
}
