//! Routes of the operator: metrics, the status of all cameras, reload. And the two probes that ask for no credentials.
//!
//! The operator's token opens them. Without one they are open to this machine: to a connection from loopback, under a
//! loopback host name, that no proxy forwards. They name cameras of every tenant, so no tenant's token opens them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::auth::host_is_loopback;
use super::params::{Spoken, StrictJson};
use super::peer::Peer;
use super::problem::{Problem, ProblemKind};
use super::{LIVE, Service};
use crate::metrics::{self, Snapshot, Sources};
use crate::status::CameraState;

/// As OpenMetrics 1.0 wants it.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// A forwarded request is not from this machine, whatever its connection says.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Cameras named in one status, of those that are not recorded.
const NAMED_MAX: usize = 1_000;

/// A reload that was asked for, and where its outcome goes: what changed, or why nothing did.
pub type ReloadRequest = oneshot::Sender<Result<String, String>>;

/// What the operator's routes answer from.
#[derive(Debug)]
pub struct Operator {
    token: Option<blake3::Hash>,
    sources: Sources,
    reloads: mpsc::Sender<ReloadRequest>,
}

impl Operator {
    /// Opened by this token; without one to this machine.
    pub fn new(token: Option<&SecretString>, sources: Sources, reloads: mpsc::Sender<ReloadRequest>) -> Self {
        Self { token: token.map(|token| blake3::hash(token.expose_secret().as_bytes())), sources, reloads }
    }
}

/// The token of `Bearer token` or `Basic base64(anybody:token)`.
fn presented(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?.as_bytes(), values.next()) else { return None };
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = (&value[..space], value[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.to_vec());
    }
    let mut user = scheme.eq_ignore_ascii_case(b"basic").then(|| BASE64.decode(rest).ok())??;
    let colon = user.iter().position(|byte| *byte == b':')?;
    Some(user.split_off(colon + 1))
}

/// Middleware: the operator, or nobody.
pub(super) async fn authorise(State(service): State<Service>, request: Request, next: Next) -> Response {
    let refuse = |detail| Problem::new(ProblemKind::Unauthorized, detail).into_response();
    let Some(operator) = service.0.operator.get() else {
        return refuse("this gateway has no routes for an operator");
    };
    let (headers, peer) = (request.headers(), Peer::of_request(request.extensions(), request.headers()));
    let Some(token) = &operator.token else {
        let forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
        let local = peer.is_loopback() && !forwarded && host_is_loopback(request.uri(), headers);
        let detail = "set operator_token in [http] and present it, or ask from the gateway's own machine";
        return if local { next.run(request).await } else { refuse(detail) };
    };
    let Some(presented) = presented(headers) else {
        return refuse("present the operator's token (Bearer, or the password of HTTP Basic)");
    };
    // No tenant's id holds a space.
    const ACCOUNT: &str = "the operator";
    if let Some(wait) = service.0.guesses.wait(peer, ACCOUNT) {
        return Problem::too_many(wait, "too many wrong tokens were presented: wait").into_response();
    }
    if blake3::hash(&presented) != *token {
        service.0.guesses.wrong(peer, ACCOUNT);
        return refuse("the operator's token is wrong");
    }
    service.0.guesses.right(peer, ACCOUNT);
    next.run(request).await
}

async fn snapshot(service: &Service) -> Result<Snapshot, Problem> {
    let operator = service.0.operator.get();
    let operator =
        operator.ok_or_else(|| Problem::new(ProblemKind::Unavailable, "the gateway is starting: try again"))?;
    Ok(operator.sources.snapshot().await?)
}

/// What the gateway does, as OpenMetrics. Names no tenant and no camera.
#[utoipa::path(
    get, path = "/metrics", tag = "operator",
    responses((status = OK, content_type = "application/openmetrics-text", body = String))
)]
pub(super) async fn metrics(State(service): State<Service>) -> Result<Response, Problem> {
    let text = metrics::open_metrics(&snapshot(&service).await?, &service.0.counts.get());
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

/// A camera that is not recorded.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct NotRecorded {
    /// `tenant/camera`.
    camera: String,
    /// `starting` or `gap`.
    state: &'static str,
    /// Why; absent while it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// What the gateway saw, in one line.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

/// A camera whose device service (ONVIF) gives no answer.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct DeviceTrouble {
    /// `tenant/camera`.
    camera: String,
    /// What the gateway saw, in one line.
    detail: String,
}

/// The whole gateway at one instant.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct OperatorStatus {
    /// The gateway's time.
    now: String,
    /// Version of Vigie.
    version: &'static str,
    /// What keeps it from doing its work; empty when it does it.
    not_ready: Vec<&'static str>,
    /// Cameras by state.
    cameras: BTreeMap<&'static str, u64>,
    /// Those that are not recorded, at most a thousand.
    not_recorded: Vec<NotRecorded>,
    /// Those whose device service gives no answer, at most a thousand.
    devices: Vec<DeviceTrouble>,
    /// Bits a second, all together.
    bit_rate: u64,
    /// Packs that wait for their store, their bytes, and the age of the oldest in seconds.
    waiting_packs: u64,
    waiting_bytes: u64,
    oldest_waiting_s: u64,
    /// Bytes free on the spool's disk, the reserve, and hours of recording until it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_free_bytes: Option<u64>,
    disk_reserve_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_free_hours: Option<f64>,
    /// Packs past their maximum that are still there: there should be none.
    over_age_packs: u64,
    /// Legal holds in force.
    holds_in_force: u64,
    /// Alarms that last, and how many of them are critical.
    alarms_active: u64,
    alarms_critical: u64,
    /// The worst of them, at most a hundred. `/operator/alarms` has more.
    alarms: Vec<super::alarms::AlarmView>,
}

/// Every camera of every tenant, stores and disk.
#[utoipa::path(
    get, path = "/operator/status", tag = "operator", operation_id = "operator_status",
    responses((status = OK, body = OperatorStatus))
)]
pub(super) async fn status(
    State(service): State<Service>,
    Spoken(language): Spoken,
) -> Result<Json<OperatorStatus>, Problem> {
    let lasting = super::alarms::lasting(&service, language).await?;
    let snapshot = snapshot(&service).await?;
    let not_recorded = snapshot.cameras.iter().filter_map(|(key, status)| {
        let (state, cause) = match status.state {
            CameraState::Starting => ("starting", None),
            CameraState::Gap(cause) => ("gap", Some(cause.as_str())),
            CameraState::Connected | CameraState::Recording => return None,
        };
        let (camera, since) = (key.to_string(), status.since.map(|at| at.to_string()));
        Some(NotRecorded { camera, state, cause, since, detail: status.operator_detail.clone() })
    });
    let devices = snapshot.cameras.iter().flat_map(|(key, status)| {
        let trouble = move |line: &str| DeviceTrouble { camera: key.to_string(), detail: line.to_owned() };
        status.device_trouble.lines().map(trouble)
    });
    let figures = &snapshot.figures;
    Ok(Json(OperatorStatus {
        now: snapshot.at.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        not_ready: snapshot.not_ready(),
        cameras: snapshot.states(),
        not_recorded: not_recorded.take(NAMED_MAX).collect(),
        devices: devices.take(NAMED_MAX).collect(),
        bit_rate: snapshot.bit_rate().round() as u64,
        waiting_packs: figures.waiting_packs,
        waiting_bytes: figures.waiting_bytes,
        oldest_waiting_s: snapshot.oldest_waiting_s() as u64,
        disk_free_bytes: snapshot.free_bytes,
        disk_reserve_bytes: snapshot.reserve_bytes,
        disk_free_hours: snapshot.free_hours().map(|hours| (hours * 10.0).round() / 10.0),
        over_age_packs: figures.over_age_packs,
        holds_in_force: figures.holds_in_force,
        alarms_active: figures.alarms.active,
        alarms_critical: figures.alarms.critical,
        alarms: lasting,
    }))
}

/// No fields: a page of another site cannot send a body of JSON.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reload {}

/// What a reload did.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Reloaded {
    /// In one line.
    changed: String,
}

/// Reads the configuration again and takes it over. One that is wrong changes nothing, and the answer says why.
#[utoipa::path(
    post, path = "/operator/reload", tag = "operator", request_body = Reload,
    responses((status = OK, body = Reloaded), (status = BAD_REQUEST))
)]
pub(super) async fn reload(
    State(service): State<Service>,
    StrictJson(Reload {}): StrictJson<Reload>,
) -> Result<Json<Reloaded>, Problem> {
    let away =
        || Problem::new(ProblemKind::Unavailable, "the gateway takes no reload now: it starts, stops, or does another");
    let operator = service.0.operator.get().ok_or_else(away)?;
    let (outcome, done) = oneshot::channel();
    operator.reloads.try_send(outcome).map_err(|_| away())?;
    match done.await.map_err(|_| away())? {
        Ok(changed) => Ok(Json(Reloaded { changed })),
        Err(why) => Err(Problem::invalid(why)),
    }
}

/// Answers as long as the gateway serves; says nothing more, and asks for no credentials.
#[utoipa::path(get, path = "/livez", tag = "page", security(()), responses((status = OK, content_type = "text/plain", body = String)))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the gateway does its work: the index answers, a camera is recorded, the disk has its reserve. Names what
/// fails, no camera and no tenant; asks for no credentials.
#[utoipa::path(
    get, path = "/readyz", tag = "page", security(()),
    responses((status = OK, content_type = "text/plain", body = String), (status = SERVICE_UNAVAILABLE))
)]
pub(super) async fn readyz(State(service): State<Service>) -> Response {
    let failing = match snapshot(&service).await {
        Ok(snapshot) => snapshot.not_ready(),
        Err(_) => vec!["index_does_not_answer"],
    };
    let (status, text) = match failing.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, failing.join("\n") + "\n"),
    };
    (status, [(header::CACHE_CONTROL, LIVE)], text).into_response()
}
