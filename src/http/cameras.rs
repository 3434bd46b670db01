//! Cameras: which there are, what they do, what is recorded of them, one picture.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use journal::entry::{Access, Action};
use serde::Deserialize;

use super::authorisations::{BasisView, BelowNormView};
use super::clip::handed_out;
use super::params::{CameraPath, Instant, Spoken, StrictQuery};
use super::problem::{Problem, ProblemKind};
use super::schema::{GapCauseSchema, OdditySchema};
use super::scope::{TenantScope, filmed_at};
use super::timeline::Span;
use super::{LIVE, Service};
use crate::event::words::{self, Language};
use crate::index::CameraRow;
use crate::retrieve::{self, RetrieveError};
use crate::status::{CameraState, CameraStatus, DeviceClock, OddityStatus};
use footage::media::{GapCause, Oddity, VideoCodec};
use footage::units::{Ticks90k, TimeRange, WallTime};

/// A camera.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Camera)]
pub(super) struct CameraView {
    /// Its id.
    id: String,
    /// For people.
    name: String,
    /// Where it is.
    place: String,
    /// In the configuration now; a camera that was removed from it is listed as long as it has footage.
    configured: bool,
}

impl From<CameraRow> for CameraView {
    fn from(row: CameraRow) -> Self {
        Self { id: row.key.camera.to_string(), name: row.name, place: row.place, configured: row.configured }
    }
}

/// The tenant's cameras.
#[utoipa::path(get, path = "/api/cameras", tag = "cameras", responses((status = OK, body = Vec<CameraView>)))]
pub(super) async fn list(scope: TenantScope, State(service): State<Service>) -> Result<Json<Vec<CameraView>>, Problem> {
    let mut rows = service.footage().index.cameras(scope.tenant()).await?;
    rows.retain(|row| scope.names(&row.key.camera));
    Ok(Json(rows.into_iter().map(CameraView::from).collect()))
}

/// A camera, what it does, and from when to when there is footage of it.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct CameraDetails {
    #[serde(flatten)]
    camera: CameraView,
    /// First and last instant with footage; absent without any.
    footage: Option<Span>,
    /// What it records under; absent where it is not in the configuration any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<BasisView>,
    /// What it does now.
    status: StatusView,
}

/// One camera.
#[utoipa::path(
    get, path = "/api/cameras/{camera}", tag = "cameras",
    params(("camera" = String, Path, description = "Camera id")),
    responses((status = OK, body = CameraDetails), (status = NOT_FOUND))
)]
pub(super) async fn one(
    CameraPath(key): CameraPath,
    State(service): State<Service>,
    Spoken(language): Spoken,
) -> Result<Json<CameraDetails>, Problem> {
    let index = &service.footage().index;
    let row = index.camera(&key).await?.ok_or_else(|| RetrieveError::NoCamera(key.clone()))?;
    let extent = index.extent(&key).await?;
    Ok(Json(CameraDetails {
        footage: extent.map(Span::from),
        basis: BasisView::of(&service, &key),
        status: StatusView::of(&service, &row, language),
        camera: row.into(),
    }))
}

/// Has a camera that is not recorded tried again at once, after it was repaired or its password was put right. One that is
/// being recorded is left alone. The answer is what it did until then.
#[utoipa::path(
    post, path = "/api/cameras/{camera}/reconnect", tag = "cameras",
    params(("camera" = String, Path, description = "Camera id")),
    responses((status = ACCEPTED, body = StatusView), (status = NOT_FOUND))
)]
pub(super) async fn reconnect(
    scope: TenantScope,
    CameraPath(key): CameraPath,
    State(service): State<Service>,
    Spoken(language): Spoken,
) -> Result<(StatusCode, Json<StatusView>), Problem> {
    let row = service.footage().index.camera(&key).await?;
    let row = row.ok_or_else(|| RetrieveError::NoCamera(key.clone()))?;
    let status = StatusView::of(&service, &row, language);
    if let Some(slot) = service.0.status.find(&key) {
        service.journals().note(scope.tenant(), scope.act(Action::CameraRetried).on(key.camera, None)).await;
        slot.retry();
    }
    Ok((StatusCode::ACCEPTED, Json(status)))
}

/// Which instant.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SnapshotQuery {
    /// RFC 3339 with offset.
    #[param(value_type = String, format = DateTime)]
    at: Instant,
}

/// When the picture was filmed, RFC 3339 UTC.
const FILMED_AT: HeaderName = HeaderName::from_static("vigie-filmed-at");

/// The picture that was shown at an instant, as JPEG; the header `vigie-filmed-at` says when it was filmed.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/snapshot.jpg", tag = "footage",
    params(("camera" = String, Path, description = "Camera id"), SnapshotQuery),
    responses(
        (status = OK, content_type = "image/jpeg", body = Vec<u8>), (status = BAD_REQUEST),
        (status = NOT_FOUND), (status = GONE), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn snapshot(
    scope: TenantScope,
    CameraPath(key): CameraPath,
    StrictQuery(SnapshotQuery { at: Instant(at) }): StrictQuery<SnapshotQuery>,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let Some(_permit) = service.0.snapshots.take(&key.tenant, 1) else {
        let detail = "all snapshots that a tenant may have at once are being made: wait for one to end";
        return Err(Problem::too_many(Duration::from_secs(1), detail));
    };
    service.permit(&scope, &key.camera, Access::Snapshot, filmed_at(at)).await?;
    service.journals().ready(scope.tenant())?;
    let snapshot = retrieve::snapshot::snapshot(service.footage(), &key, at).await?;
    // Of a picture that there is: a camera that is not the tenant's is none of its journal's. It may be older than asked.
    let access = service.permit(&scope, &key.camera, Access::Snapshot, filmed_at(snapshot.at)).await?;
    let accessing = service.begin(&scope, access).await?;
    let filmed = TimeRange::new(snapshot.at, snapshot.at.saturating_add(Ticks90k(1)));
    let filmed_at = HeaderValue::try_from(snapshot.at.to_string())
        .map_err(|_| Problem::new(ProblemKind::Internal, "a time that no header can hold"))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::CONTENT_LENGTH, HeaderValue::from(snapshot.jpeg.len())),
        (header::CACHE_CONTROL, LIVE),
        (FILMED_AT, filmed_at),
    ];
    let picture = futures::stream::iter([Ok(snapshot.jpeg)]);
    // Counted as it goes out: HEAD has none of it, and a client may be gone.
    Ok((headers, handed_out(picture, accessing, 0, move |_| filmed)).into_response())
}

/// What a camera's recorder is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StateWord {
    /// The camera is not in the configuration any more.
    Removed,
    /// No session has been opened yet.
    Starting,
    /// The session plays, no footage has been written yet.
    Connected,
    /// Footage is being written.
    Recording,
    /// Nothing is recorded: see `cause`.
    Gap,
}

/// What a camera does now. What is not known is absent.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = CameraStatus)]
pub(super) struct StatusView {
    state: StateWord,
    /// Why nothing is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<GapCauseSchema>)]
    cause: Option<GapCause>,
    /// Since when it is in that state.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// The cause in words, with what to do, in the language of `Accept-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    /// First instant after the newest footage.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_fragment_end: Option<String>,
    /// From there to now.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_ms: Option<i64>,
    /// Bits a second, lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    bit_rate: Option<u64>,
    /// Pictures a second, lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    picture_rate: Option<f64>,
    /// `h264` or `h265`.
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<&'static str>,
    /// `codecs` parameter of RFC 6381, for players.
    #[serde(skip_serializing_if = "Option::is_none")]
    codecs: Option<String>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u16>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u16>,
    /// The camera's clock minus the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    camera_clock_offset_ms: Option<i64>,
    /// The same, as the camera's device service (ONVIF) says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_clock: Option<DeviceClockView>,
    /// The last time that the gateway's own clock was set while this camera was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_clock_step: Option<ClockStepView>,
    /// What else the camera offers and is not recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also_offered: Vec<String>,
    /// What is odd about how the camera describes itself and answers; it is recorded all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    odd_setup: Vec<String>,
    /// Whether the camera signs its stream (ONVIF Media Signing); its signatures are checked by `signatures`.
    signed: bool,
    /// When the camera's certificate (RTSPS) ends to be valid, where that is within two years; none is accepted after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_until: Option<String>,
    /// What is recorded under an authorisation and below the norm for what it shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    below_norm: Vec<BelowNormView>,
    /// What has been odd about its stream since the gateway started, and was recorded all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    oddities: Vec<OddityView>,
}

/// One kind of what is odd about a camera's stream.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct OddityView {
    #[schema(value_type = OdditySchema)]
    kind: Oddity,
    /// How often it occurred.
    count: u64,
    /// When it first did.
    first: String,
    /// When it last did.
    last: String,
}

impl StatusView {
    fn of(service: &Service, row: &CameraRow, language: Language) -> Self {
        let status = service.0.status.get(&row.key).unwrap_or_default();
        let below_norm = BelowNormView::of(service, &row.key, &status);
        Self { below_norm, ..Self::new(status, row.configured, service.footage().clock.wall(), language) }
    }

    fn new(status: CameraStatus, configured: bool, now: WallTime, language: Language) -> Self {
        let (state, cause) = match status.state {
            _ if !configured => (StateWord::Removed, None),
            CameraState::Starting => (StateWord::Starting, None),
            CameraState::Connected => (StateWord::Connected, None),
            CameraState::Recording => (StateWord::Recording, None),
            CameraState::Gap(cause) => (StateWord::Gap, Some(cause)),
        };
        let video = status.video.as_ref();
        Self {
            state,
            cause,
            since: status.since.map(|at| at.to_string()),
            detail: cause.map(|cause| words::cause(cause, language)),
            last_fragment_end: status.last_fragment_end.map(|at| at.to_string()),
            lag_ms: status.last_fragment_end.map(|at| milliseconds(now.since(at))),
            bit_rate: status.bit_rate.map(|rate| rate.round() as u64),
            picture_rate: status.picture_rate.map(|rate| (rate * 100.0).round() / 100.0),
            codec: video.map(|video| match video.codec {
                VideoCodec::H264 => "h264",
                VideoCodec::H265 => "h265",
            }),
            codecs: video.map(|video| video.rfc6381.clone()),
            width: video.map(|video| video.width),
            height: video.map(|video| video.height),
            camera_clock_offset_ms: status.camera_clock_offset.map(milliseconds),
            device_clock: DeviceClockView::of(status.device_clock),
            gateway_clock_step: status
                .gateway_clock_step
                .map(|(at, by)| ClockStepView { at: at.to_string(), by_ms: milliseconds(by) }),
            also_offered: status.also_offered,
            odd_setup: status.odd_setup,
            signed: status.signed,
            certificate_until: status.certificate_until.map(|at| at.to_string()),
            below_norm: Vec::new(),
            oddities: status.oddities.into_iter().map(OddityView::of).collect(),
        }
    }
}

/// A camera's clock, compared.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct DeviceClockView {
    /// The camera's clock minus the gateway's.
    offset_ms: i64,
    /// How far the true offset may be from that, either way.
    bound_ms: i64,
    /// When it was compared.
    at: String,
    /// It is further off than the configuration allows.
    is_off: bool,
}

impl DeviceClockView {
    fn of(clock: DeviceClock) -> Option<Self> {
        let DeviceClock::Compared { offset, bound, at, is_off } = clock else { return None };
        Some(Self { offset_ms: milliseconds(offset), bound_ms: milliseconds(bound), at: at.to_string(), is_off })
    }
}

/// The gateway's clock was set.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct ClockStepView {
    /// When, by the new time.
    at: String,
    /// The new time minus the old.
    by_ms: i64,
}

impl OddityView {
    fn of((kind, status): (Oddity, OddityStatus)) -> Self {
        Self { kind, count: status.count, first: status.first.to_string(), last: status.last.to_string() }
    }
}

fn milliseconds(ticks: Ticks90k) -> i64 {
    ticks.0 / 90
}

/// One camera's line.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct StatusLine {
    camera: String,
    /// What it records under: `authorisation`, `outside_title_v`, or `unstated`, which is to be put right.
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<&'static str>,
    #[serde(flatten)]
    status: StatusView,
}

/// The gateway, as the tenant sees it.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Status {
    /// The gateway's time.
    now: String,
    /// IANA name of the zone in which people read times.
    time_zone: String,
    /// Version of Vigie.
    version: &'static str,
    /// Every camera.
    cameras: Vec<StatusLine>,
}

/// What every camera does now.
#[utoipa::path(get, path = "/api/status", tag = "cameras", responses((status = OK, body = Status)))]
pub(super) async fn status(
    scope: TenantScope,
    State(service): State<Service>,
    Spoken(language): Spoken,
) -> Result<Json<Status>, Problem> {
    let mut rows = service.footage().index.cameras(scope.tenant()).await?;
    rows.retain(|row| scope.names(&row.key.camera));
    let line = |row: &CameraRow| StatusLine {
        camera: row.key.camera.to_string(),
        basis: BasisView::of(&service, &row.key).map(|basis| basis.word()),
        status: StatusView::of(&service, row, language),
    };
    let cameras: Vec<_> = rows.iter().map(line).collect();
    Ok(Json(Status {
        now: service.footage().clock.wall().to_string(),
        time_zone: service.0.time_zone.iana_name().unwrap_or("UTC").to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        cameras,
    }))
}
