//! Legal holds of a tenant: placed, listed, released, and their footage.

use std::num::NonZeroU32;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use catalogue::Right;
use journal::entry::{Action, Draft};
use serde::Deserialize;

use super::Service;
use super::clip::{GapsWord, answer};
use super::params::{CameraPath, HoldPath, Instant, StrictJson, StrictQuery, range};
use super::problem::{Problem, ProblemKind};
use super::scope::TenantScope;
use super::timeline::Span;
use crate::hold::{self, HoldError, HoldState};
use crate::index::hold::HoldRow;
use crate::retrieve::FootageOf;
use crate::retrieve::mp4::{CLIP_HOURS_MAX, ClipRequest};
use footage::pack::HoldFacts;
use footage::units::{HoldId, TimeRange, WallTime};

/// Holds in one answer.
const HOLDS_MAX: u32 = 1_000;

/// Which of the tenant's holds.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HoldQuery {
    /// Those that follow this one in the list: the last id of the page before.
    #[param(value_type = Option<String>)]
    after_hold: Option<String>,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: u32,
}

fn default_limit() -> u32 {
    100
}
/// No bound of this module's own: a hold's is said where it is placed.
const HOURS_MAX: i64 = 24 * 366 * 1_000;

/// What to hold, and why.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldRequest {
    /// First instant of the footage, RFC 3339 with offset.
    #[schema(value_type = String, format = DateTime, example = "2026-03-01T14:30:00Z")]
    start: Instant,
    /// First instant after it. It may lie ahead: footage is then held as it is recorded.
    #[schema(value_type = String, format = DateTime, example = "2026-03-01T14:40:00Z")]
    end: Instant,
    /// The requisition's reference: needed for what is kept beyond a month.
    #[serde(default)]
    #[schema(example = "PV 2026/117")]
    reference: String,
    /// Who asks for it.
    #[schema(example = "Major Durand, judicial police")]
    requester: String,
    /// Why.
    reason: String,
    /// Kept until then, and destroyed after.
    #[schema(value_type = String, format = DateTime, example = "2026-09-01T00:00:00Z")]
    until: Instant,
}

/// A stretch of a hold's time without footage.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct AbsentSpan {
    #[serde(flatten)]
    span: Span,
    /// `destroyed`, `not_recorded`, or the cause of a gap.
    why: &'static str,
}

/// A legal hold.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Hold)]
pub(super) struct HoldView {
    /// Its id.
    id: String,
    /// On which camera.
    camera: String,
    /// First instant of the footage that it covers.
    start: String,
    /// First instant after it.
    end: String,
    /// The requisition's reference; empty where none was given.
    reference: String,
    /// Who asked for it.
    requester: String,
    /// Why.
    reason: String,
    /// When it was placed.
    placed: String,
    /// What it keeps is destroyed after this.
    until: String,
    /// When it was released, or was over; absent while it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<String>,
}

/// A legal hold, and what there is of its footage now.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = HoldState)]
pub(super) struct HoldStateView {
    #[serde(flatten)]
    hold: HoldView,
    /// Footage that stays until the hold ends. What is yet to come is not in it, and is held as it is recorded.
    protected: Vec<Span>,
    /// The part of it that is copied: what its clips show.
    copied: Vec<Span>,
    /// What is absent of the past, and why.
    absent: Vec<AbsentSpan>,
    /// Whether it keeps anything: `footage`, `awaited` (none yet, its time is not over), or `nothing`.
    keeps: &'static str,
}

impl From<HoldRow> for HoldView {
    fn from(HoldRow { camera, facts, closed }: HoldRow) -> Self {
        let HoldFacts { id, range, reference, requester, reason, until, placed } = facts;
        Self {
            id: id.to_string(),
            camera: camera.camera.to_string(),
            start: range.start().to_string(),
            end: range.end().to_string(),
            reference,
            requester,
            reason,
            placed: placed.to_string(),
            until: until.to_string(),
            closed: closed.map(|at| at.to_string()),
        }
    }
}

impl HoldStateView {
    fn new(HoldState { hold, protected, copied, absent }: HoldState, now: WallTime) -> Self {
        let spans = |ranges: &[TimeRange]| ranges.iter().copied().map(Span::from).collect();
        let keeps = match () {
            () if !protected.is_empty() => "footage",
            () if hold.closed.is_none() && hold.facts.range.end() > now => "awaited",
            () => "nothing",
        };
        Self {
            keeps,
            hold: hold.into(),
            protected: spans(&protected),
            copied: spans(&copied),
            absent: absent.iter().map(|a| AbsentSpan { span: a.range.into(), why: a.why.as_str() }).collect(),
        }
    }
}

impl From<HoldError> for Problem {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::Invalid(what) => Self::invalid(what),
            HoldError::NoCamera(key) => {
                Self::new(ProblemKind::NoCamera, format!("no camera {}: GET /api/cameras lists them", key.camera))
            }
            HoldError::NoHold(id) => Self::new(ProblemKind::NoHold, format!("no hold {id}: GET /api/holds lists them")),
            HoldError::Index(error) => error.into(),
            HoldError::NoRoom(_) => Self::of(&error, error.to_string()),
            HoldError::Disk(_) | HoldError::Spool(_) | HoldError::Read(_) | HoldError::Pack(_) => {
                Self::of(&error, "the gateway failed at a hold: see its log")
            }
        }
    }
}

/// Places a hold on a camera's footage. What the answer says to be protected stays until the hold ends.
#[utoipa::path(
    post, path = "/api/cameras/{camera}/holds", tag = "holds", operation_id = "place_hold",
    params(("camera" = String, Path, description = "Camera id")), request_body = HoldRequest,
    responses((status = CREATED, body = HoldStateView), (status = BAD_REQUEST), (status = NOT_FOUND))
)]
pub(super) async fn place(
    scope: TenantScope,
    CameraPath(camera): CameraPath,
    State(service): State<Service>,
    StrictJson(asked): StrictJson<HoldRequest>,
) -> Result<(StatusCode, Json<HoldStateView>), Problem> {
    let HoldRequest { start, end, reference, requester, reason, until: Instant(until) } = asked;
    let range = range(start, end, HOURS_MAX)?;
    service.journals().ready(scope.tenant())?;
    let of = camera.camera.clone();
    let request = hold::Request { camera, range, reference, requester, reason, until };
    to_its_end(async move {
        let state = service.holds().place(request).await?;
        // It protects footage: were the journal to fail just now, the hold stays.
        let facts = &state.hold.facts;
        let span = journal::Span { from: range.start().to_timestamp(), to: range.end().to_timestamp() };
        let placed = scope.act(Action::HoldPlaced { hold: facts.id.to_string() }).on(of, Some(span));
        let (reason, recipient) = (Some(facts.reason.clone()), Some(facts.requester.clone()));
        service.journals().append(scope.tenant(), Draft { reason, recipient, ..placed }).await?;
        Ok((StatusCode::CREATED, Json(HoldStateView::new(state, service.footage().clock.wall()))))
    })
    .await
}

/// Does what is an act and its entry, or neither, whether the client waits for the answer or has gone.
async fn to_its_end<T: Send + 'static>(
    act: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let ended = tokio::spawn(act).await;
    ended.unwrap_or_else(|_| Err(Problem::new(ProblemKind::Internal, "the gateway failed at a hold: see its log")))
}

/// The tenant's holds, page by page: those in force first, of each the newest first. Those that are over are listed for
/// as long as events are kept.
#[utoipa::path(get, path = "/api/holds", tag = "holds", operation_id = "list_holds", params(HoldQuery),
    responses((status = OK, body = Vec<HoldView>), (status = BAD_REQUEST)))]
pub(super) async fn list(
    scope: TenantScope,
    StrictQuery(query): StrictQuery<HoldQuery>,
    State(service): State<Service>,
) -> Result<Json<Vec<HoldView>>, Problem> {
    if !(1..=HOLDS_MAX).contains(&query.limit) {
        return Err(Problem::invalid(format!("limit is from 1 to {HOLDS_MAX}")));
    }
    let index = &service.footage().index;
    let after = match query.after_hold.map(|text| text.parse::<HoldId>()).transpose().map_err(Problem::invalid)? {
        // One of another tenant's is as unknown as one that does not exist.
        Some(id) => Some(known(&service, &scope, id).await?.facts.id),
        None => None,
    };
    let rows = index.holds(scope.tenant(), scope.cameras(), after, query.limit).await?;
    Ok(Json(rows.into_iter().map(HoldView::from).collect()))
}

/// A hold, and what there is of its footage now.
#[utoipa::path(
    get, path = "/api/holds/{hold}", tag = "holds", operation_id = "hold",
    params(("hold" = String, Path, description = "Hold id")),
    responses((status = OK, body = HoldStateView), (status = BAD_REQUEST), (status = NOT_FOUND))
)]
pub(super) async fn one(
    scope: TenantScope,
    HoldPath(id): HoldPath,
    State(service): State<Service>,
) -> Result<Json<HoldStateView>, Problem> {
    known(&service, &scope, id).await?;
    let state = service.holds().get(scope.tenant(), id).await?;
    Ok(Json(HoldStateView::new(state, service.footage().clock.wall())))
}

/// Ends a hold before its time: what only it keeps is destroyed. Twice is once.
#[utoipa::path(
    delete, path = "/api/holds/{hold}", tag = "holds", operation_id = "release_hold",
    params(("hold" = String, Path, description = "Hold id")),
    responses((status = OK, body = HoldView), (status = BAD_REQUEST), (status = NOT_FOUND))
)]
pub(super) async fn release(
    scope: TenantScope,
    HoldPath(id): HoldPath,
    State(service): State<Service>,
) -> Result<Json<HoldView>, Problem> {
    to_its_end(async move {
        // What only the hold keeps is destroyed: the entry comes first.
        let hold = known(&service, &scope, id).await?;
        service.permit_camera(&scope, Right::ReleaseHolds, &hold.camera.camera).await?;
        if hold.closed.is_none() {
            let released = scope.act(Action::HoldReleased { hold: id.to_string() }).on(hold.camera.camera, None);
            service.journals().append(scope.tenant(), released).await?;
        }
        Ok(Json(service.holds().release(scope.tenant(), id).await?.into()))
    })
    .await
}

/// A hold of the tenant's on a camera that the holder may know of; any other is as unknown as one that does not exist.
async fn known(service: &Service, scope: &TenantScope, id: HoldId) -> Result<HoldRow, Problem> {
    let hold = service.footage().index.hold(scope.tenant(), id).await?;
    let hold = hold.filter(|hold| scope.names(&hold.camera.camera));
    hold.ok_or_else(|| HoldError::NoHold(id).into())
}

/// Which part of a hold's footage: all of it where nothing is said.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HeldPart {
    /// First instant, RFC 3339 with offset.
    #[param(value_type = Option<String>, format = DateTime)]
    pub(super) start: Option<Instant>,
    /// First instant after, RFC 3339 with offset.
    #[param(value_type = Option<String>, format = DateTime)]
    pub(super) end: Option<Instant>,
    /// `held`: the last picture before a gap stays over it; `joined`: gaps take no time.
    #[serde(default)]
    #[param(value_type = Option<String>, default = "held")]
    pub(super) gaps: GapsWord,
    /// One of the files that it is, counted from 1; needed where it is more than one.
    #[param(value_type = Option<u32>, minimum = 1)]
    pub(super) part: Option<NonZeroU32>,
}

/// What a hold keeps, as one MP4 file: `moov` first, exact length, byte ranges. As the clip of a camera.
#[utoipa::path(
    get, path = "/api/holds/{hold}/clip.mp4", tag = "holds", operation_id = "hold_clip",
    params(
        ("hold" = String, Path, description = "Hold id"), HeldPart,
        ("range" = Option<String>, Header, description = "One range of bytes (RFC 9110 §14.2); several are answered with the whole")
    ),
    responses(
        (status = OK, content_type = "video/mp4", body = Vec<u8>),
        (status = PARTIAL_CONTENT, content_type = "video/mp4", body = Vec<u8>),
        (status = NOT_MODIFIED), (status = BAD_REQUEST), (status = NOT_FOUND),
        (status = CONFLICT), (status = GONE), (status = PRECONDITION_FAILED), (status = RANGE_NOT_SATISFIABLE),
        (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn clip(
    scope: TenantScope,
    HoldPath(id): HoldPath,
    StrictQuery(part): StrictQuery<HeldPart>,
    State(service): State<Service>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (hold, asked) = asked_of(&service, &scope, id, part).await?;
    let reference = Some(hold.facts.reference.as_str());
    answer(&service, &scope, (&hold.camera, asked, reference), &method, &headers).await
}

/// The hold, and what of its footage is asked for.
pub(super) async fn asked_of(
    service: &Service,
    scope: &TenantScope,
    id: HoldId,
    part: HeldPart,
) -> Result<(HoldRow, ClipRequest), Problem> {
    let hold = known(service, scope, id).await?;
    let whole = hold.facts.range;
    let start = part.start.unwrap_or(Instant(whole.start()));
    let end = part.end.unwrap_or(Instant(whole.end()));
    let asked = range(start, end, CLIP_HOURS_MAX)?;
    let outside =
        || Problem::invalid(format!("the hold covers {} to {}: ask for a part of that", whole.start(), whole.end()));
    let asked = asked.intersection(&whole).ok_or_else(outside)?;
    let (gaps, part) = (part.gaps.into(), part.part.map(NonZeroU32::get));
    Ok((hold, ClipRequest { from: FootageOf::Hold(id), range: asked, gaps, part }))
}
