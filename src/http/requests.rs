//! Requests for footage of a tenant: taken in, carried on, closed.
//!
//! Invariant: a request that names a camera outside of the holder's scope is as unknown to them as one that does not exist;
//! so is one that names a place alone, unless they may know of all cameras or took it in.

use std::num::NonZeroU32;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use catalogue::{Denial, Right};
use journal::entry::Author;
use serde::Deserialize;

use super::Service;
use super::params::{ExportPath, Instant, RequestPath, ScanPath, StrictJson, StrictQuery, range};
use super::presence::StretchView;
use super::problem::{Problem, ProblemKind};
use super::scope::TenantScope;
use super::timeline::Span;
use crate::desk::file::{File, Ground, HashedFile, HoldOf, Outcome, Refusal};
use crate::desk::{By, Desk, DeskError, Intake, Part, SCAN_BYTES_MAX, Wanted};
use crate::index::request::Which;
use crate::presence::covered;
use footage::failure::{Failure, Kind};
use footage::units::{RequestId, TenantId};

pub(super) mod receipt;

/// Requests in one answer.
const REQUESTS_MAX: u32 = 200;
/// Periods are bounded by the holds on them.
const HOURS_MAX: i64 = 24 * 366 * 1_000;
/// Scans of a tenant that are in memory at once.
pub(super) const SCANS_PER_TENANT_MAX: usize = 2;

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        let detail = error.to_string();
        match error {
            DeskError::NoRequest(_) | DeskError::NoScan(..) => Self::new(ProblemKind::NoRequest, detail),
            DeskError::SamePerson => Self::new(ProblemKind::NotPermitted, detail),
            DeskError::Hold(error) => error.into(),
            DeskError::Presence(error) => error.into(),
            DeskError::NoEntry(error) => error.into(),
            // Of two at once, the index refused the second.
            DeskError::Index(error) if error.kind() == Kind::Conflict => {
                Self::of(&error, "the request was changed meanwhile: look at it again")
            }
            DeskError::Index(error) => error.into(),
            error @ (DeskError::Io(_) | DeskError::CutOff | DeskError::Damaged(_)) => {
                Self::of(&error, "the gateway failed at a request: see its log")
            }
            error => Self::of(&error, detail),
        }
    }
}

/// A request for footage, and what is known beside it.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = RequestState)]
pub(super) struct RequestView {
    #[serde(flatten)]
    file: File,
    /// Other requests of the same procedure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    same_procedure: Vec<RequestId>,
    /// Its holds in force that keep nothing and await nothing: there is no footage of what they cover.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    holds_over_nothing: Vec<String>,
}

/// What there is of one camera and period of a request.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = RequestPart)]
pub(super) struct PartView {
    /// Which camera.
    camera: String,
    #[serde(flatten)]
    span: Span,
    /// Seconds of footage.
    covered_s: f64,
    /// The first of what no hold keeps is destroyed then; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    destroyed_from: Option<String>,
    /// In so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    destroyed_in_s: Option<i64>,
    /// In order, without overlaps: all of the period.
    stretches: Vec<StretchView>,
}

/// Which of the tenant's requests.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RequestQuery {
    /// `open`, `closed` or `all`.
    #[serde(default)]
    #[param(value_type = Option<String>, default = "open")]
    requests: WhichWord,
    /// Those that follow this one in the list: the last id of the page before.
    #[param(value_type = Option<String>)]
    after_request: Option<String>,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[param(default = 100, minimum = 1, maximum = 200)]
    limit: u32,
}

fn default_limit() -> u32 {
    100
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WhichWord {
    #[default]
    Open,
    Closed,
    All,
}

/// Holds to be placed for a request, by its paper.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestHolds {
    /// One for each camera and period.
    holds: Vec<Wanted>,
    /// Where the paper is kept, where no scan is attached.
    paper: Option<String>,
}

/// What was prepared.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Preparation {
    /// The export, by its reference.
    #[schema(example = "export 2026-117-1")]
    export: String,
    /// Its files and their hashes, for the receipt.
    files: Vec<HashedFile>,
}

/// To whom something was handed over.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HandOverRequest {
    /// To whom.
    #[schema(example = "Brigadier-chef Martin")]
    recipient: String,
    /// Of which unit or service.
    #[serde(default)]
    unit: String,
    /// On what.
    #[schema(example = "DVD-R no. 12")]
    medium: String,
    /// A procedure needs it for longer than a month.
    #[serde(default)]
    procedure_needs_it: bool,
}

/// A refusal, and its explanation for the person.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefusalRequest {
    /// By which ground: there are no others.
    ground: Ground,
    /// As the person is informed of it.
    explanation: String,
}

/// A closing.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Closing {
    /// How it ended.
    outcome: Outcome,
    /// What becomes of its holds.
    holds: HoldsAfter,
}

/// What becomes of the holds of a request that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum HoldsAfter {
    /// They are released: what only they keep is destroyed.
    Release,
    /// They keep their footage until their end.
    Keep,
}

fn by(scope: &TenantScope) -> By {
    By { author: scope.author(), address: scope.address() }
}

/// A step to its end, whether the client waits for the answer or has gone.
async fn to_its_end<F>(
    service: &Service,
    scope: &TenantScope,
    step: impl FnOnce(Desk, TenantId, By) -> F,
) -> Result<Json<RequestView>, Problem>
where
    F: Future<Output = Result<File, DeskError>> + Send + 'static,
{
    let done = tokio::spawn(step(service.desk()?.clone(), scope.tenant().clone(), by(scope)));
    let file = match done.await.unwrap_or(Err(DeskError::CutOff)) {
        // It is as unknown to them as one that does not exist; that its footage is held is what they have to know.
        Err(error @ DeskError::Double(other)) if known(service, scope, other).await.is_err() => {
            return Err(Problem::of(
                &error,
                "what this asks for is held already, by a request that is not for you to carry on",
            ));
        }
        done => done?,
    };
    Ok(Json(view(service, scope, file).await?))
}

async fn view(service: &Service, scope: &TenantScope, file: File) -> Result<RequestView, Problem> {
    let same_procedure = service.desk()?.of_same_procedure(scope.tenant(), &file).await?;
    let now = service.footage().clock.wall();
    let mut holds_over_nothing = Vec::new();
    let in_force = |of: &&HoldOf| !of.released && of.until > now && of.period.end <= now;
    for of in file.holds.iter().filter(in_force) {
        let state = service.holds().get(scope.tenant(), of.hold).await?;
        if state.hold.closed.is_none() && state.protected.is_empty() {
            holds_over_nothing.push(of.hold.to_string());
        }
    }
    let mut visible = Vec::new();
    for id in same_procedure {
        if known(service, scope, id).await.is_ok() {
            visible.push(id);
        }
    }
    Ok(RequestView { file, same_procedure: visible, holds_over_nothing })
}

/// A request of the tenant's on cameras that the holder may know of; any other is as unknown as one that does not exist.
async fn known(service: &Service, scope: &TenantScope, id: RequestId) -> Result<File, Problem> {
    let file = service.desk()?.get(scope.tenant(), id).await?;
    if is_known(scope, &file) { Ok(file) } else { Err(DeskError::NoRequest(id).into()) }
}

/// Where only a place is named, any camera may be meant: it is for those who may know of all, and who took it in.
fn is_known(scope: &TenantScope, file: &File) -> bool {
    let cameras = file.all_cameras();
    if !cameras.is_empty() {
        return cameras.iter().all(|camera| scope.names(camera));
    }
    let is_own = match (file.steps.first().map(|done| &done.by), scope.author()) {
        (Some(Author::Person(by)), Author::Person(holder)) => by.id == holder.id,
        _ => false,
    };
    is_own || scope.cameras().is_none()
}

/// One that they may carry on by this right.
async fn handled(service: &Service, scope: &TenantScope, id: RequestId, right: Right) -> Result<File, Problem> {
    let file = known(service, scope, id).await?;
    for camera in file.all_cameras() {
        service.permit_camera(scope, right, &camera).await?;
    }
    Ok(file)
}

/// Refuses those who lack this right besides the route's own.
async fn also(service: &Service, scope: &TenantScope, right: Right) -> Result<(), Problem> {
    match scope.may(&[right]) {
        Ok(()) => Ok(()),
        Err(denial) => Err(denied(service, scope, right, &denial).await),
    }
}

async fn denied(service: &Service, scope: &TenantScope, right: Right, denial: &Denial) -> Problem {
    service.denied(scope, right, None, denial).await
}

/// Takes a request for footage in. What it asks for is held at once, for as many days as the tenant wants.
#[utoipa::path(
    post, path = "/api/requests", tag = "requests", operation_id = "open_request", request_body = Intake,
    responses((status = CREATED, body = RequestView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT))
)]
pub(super) async fn open(
    scope: TenantScope,
    State(service): State<Service>,
    StrictJson(intake): StrictJson<Intake>,
) -> Result<(StatusCode, Json<RequestView>), Problem> {
    also(&service, &scope, Right::PlaceHolds).await?;
    for period in &intake.periods {
        range(Instant(period.start), Instant(period.end), HOURS_MAX)?;
    }
    for camera in &intake.cameras {
        service.permit_camera(&scope, Right::HandleRequests, camera).await?;
    }
    let step = |desk: Desk, tenant: TenantId, by: By| async move { desk.open(&tenant, &by, intake).await };
    Ok((StatusCode::CREATED, to_its_end(&service, &scope, step).await?))
}

/// The tenant's requests, page by page, the newest first.
#[utoipa::path(get, path = "/api/requests", tag = "requests", operation_id = "list_requests", params(RequestQuery),
    responses((status = OK, body = Vec<File>), (status = BAD_REQUEST)))]
pub(super) async fn list(
    scope: TenantScope,
    StrictQuery(query): StrictQuery<RequestQuery>,
    State(service): State<Service>,
) -> Result<Json<Vec<File>>, Problem> {
    if !(1..=REQUESTS_MAX).contains(&query.limit) {
        return Err(Problem::invalid(format!("limit is from 1 to {REQUESTS_MAX}")));
    }
    let mut after =
        match query.after_request.map(|text| text.parse::<RequestId>()).transpose().map_err(Problem::invalid)? {
            Some(id) => Some(known(&service, &scope, id).await?.id),
            None => None,
        };
    let which = match query.requests {
        WhichWord::Open => Which::Open,
        WhichWord::Closed => Which::Closed,
        WhichWord::All => Which::All,
    };
    // Those that the holder may not know of leave no hole in a page.
    let mut files = Vec::new();
    while files.len() < query.limit as usize {
        let page = service.desk()?.list(scope.tenant(), which, after, query.limit).await?;
        let is_last = page.len() < query.limit as usize;
        after = page.last().map(|file| file.id);
        files.extend(page.into_iter().filter(|file| is_known(&scope, file)));
        if is_last {
            break;
        }
    }
    files.truncate(query.limit as usize);
    Ok(Json(files))
}

/// A request, with all that was done for it.
#[utoipa::path(
    get, path = "/api/requests/{request}", tag = "requests", operation_id = "request",
    params(("request" = String, Path, description = "Request id")),
    responses((status = OK, body = RequestView), (status = BAD_REQUEST), (status = NOT_FOUND))
)]
pub(super) async fn one(
    scope: TenantScope,
    RequestPath(id): RequestPath,
    State(service): State<Service>,
) -> Result<Json<RequestView>, Problem> {
    let file = known(&service, &scope, id).await?;
    Ok(Json(view(&service, &scope, file).await?))
}

/// What there is of all that a request asks for: footage, held or not and until when; what is absent, and why.
#[utoipa::path(
    get, path = "/api/requests/{request}/search", tag = "requests", operation_id = "search_request",
    params(("request" = String, Path, description = "Request id")),
    responses((status = OK, body = Vec<PartView>), (status = BAD_REQUEST), (status = NOT_FOUND))
)]
pub(super) async fn search(
    scope: TenantScope,
    RequestPath(id): RequestPath,
    State(service): State<Service>,
) -> Result<Json<Vec<PartView>>, Problem> {
    let file = known(&service, &scope, id).await?;
    let parts = service.desk()?.search(scope.tenant(), &file).await?;
    let now = service.footage().clock.wall();
    let shown = |Part { camera, range, stretches }: Part| {
        let first = super::presence::first_unheld(&stretches);
        PartView {
            camera: camera.to_string(),
            span: range.into(),
            covered_s: covered(&stretches).0 as f64 / 90_000.0,
            destroyed_from: first.map(|at| at.to_string()),
            destroyed_in_s: first.map(|at| at.since(now).0.max(0) / 90_000),
            stretches: stretches.iter().map(StretchView::from).collect(),
        }
    };
    Ok(Json(parts.into_iter().map(shown).collect()))
}

/// Places holds by the paper of a request, which has to be there: a scan, or where it is kept. Pre-holds that they cover end.
#[utoipa::path(
    post, path = "/api/requests/{request}/holds", tag = "requests", operation_id = "hold_for_request",
    params(("request" = String, Path, description = "Request id")), request_body = RequestHolds,
    responses((status = OK, body = RequestView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT))
)]
pub(super) async fn hold(
    scope: TenantScope,
    RequestPath(id): RequestPath,
    State(service): State<Service>,
    StrictJson(RequestHolds { holds, paper }): StrictJson<RequestHolds>,
) -> Result<Json<RequestView>, Problem> {
    also(&service, &scope, Right::PlaceHolds).await?;
    handled(&service, &scope, id, Right::HandleRequests).await?;
    for wanted in &holds {
        service.permit_camera(&scope, Right::PlaceHolds, &wanted.camera).await?;
    }
    to_its_end(&service, &scope, |desk, tenant, by| async move { desk.hold(&tenant, id, &by, (holds, paper)).await })
        .await
}

/// Notes what was prepared for a request, by the reference of its export. Of an evidence package (`/api/exports`), named by its id,
/// the gateway adds hashes and key itself.
#[utoipa::path(
    post, path = "/api/requests/{request}/preparation", tag = "requests", operation_id = "prepare_request",
    params(("request" = String, Path, description = "Request id")), request_body = Preparation,
    responses((status = OK, body = RequestView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT))
)]
pub(super) async fn prepare(
    scope: TenantScope,
    RequestPath(id): RequestPath,
    State(service): State<Service>,
    StrictJson(Preparation { export, files }): StrictJson<Preparation>,
) -> Result<Json<RequestView>, Problem> {
    handled(&service, &scope, id, Right::HandleRequests).await?;
    let (mut files, mut key) = (files, None);
    if let Ok(package) = export.parse().map(ExportPath) {
        let (id, package) = super::exports::whole(&service, &scope, package).await?;
        let of = |name: String, sha256: &str| HashedFile { name, sha256: sha256.to_owned() };
        let own =
            [of(super::exports::file_name(id), &package.sha256), of("manifest.json".to_owned(), &package.manifest)];
        files.splice(0..0, own);
        key = Some(package.key);
    }
    let step = |desk: Desk, tenant: TenantId, by: By| async move {
        desk.prepare(&tenant, id, &by, (export, files, key)).await
    };
    to_its_end(&service, &scope, step).await
}

/// Releases what was prepared, so that it may be handed over: by another person, where the tenant wants that.
#[utoipa::path(
    post, path = "/api/requests/{request}/release", tag = "requests", operation_id = "release_request",
    params(("request" = String, Path, description = "Request id")),
    responses((status = OK, body = RequestView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT))
)]
pub(super) async fn release(
    scope: TenantScope,
    RequestPath(id): RequestPath,
    State(service): State<Service>,
) -> Result<Json<RequestView>, Problem> {
    handled(&service, &scope, id, Right::ReleaseExports).await?;
    to_its_end(&service, &scope, |desk, tenant, by| async move { desk.release(&tenant, id, &by).await }).await
}

/// Notes that what was released was handed over.
#[utoipa::path(
    post, path = "/api/requests/{request}/hand-over", tag = "requests", operation_id = "hand_over_request",
    params(("request" = String, Path, description = "Request id")), request_body = HandOverRequest,
    responses((status = OK, body = RequestView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT))
)]
pub(super) async fn hand_over(
    scope: TenantScope,
    RequestPath(id): RequestPath,
    State(service): State<Service>,
    StrictJson(to): StrictJson<HandOverRequest>,
) -> Result<Json<RequestView>, Problem> {
    handled(&service, &scope, id, Right::HandleRequests).await?;
    let HandOverRequest { recipient, unit, medium, procedure_needs_it } = to;
    let to = ([recipient, unit, medium], procedure_needs_it);
    to_its_end(&service, &scope, |desk, tenant, by| async move { desk.hand_over(&tenant, id, &by, to).await }).await
}

/// Refuses a request of a person who was filmed, by a ground of the list.
#[utoipa::path(
    post, path = "/api/requests/{request}/refusal", tag = "requests", operation_id = "refuse_request",
    params(("request" = String, Path, description = "Request id")), request_body = RefusalRequest,
    responses((status = OK, body = RequestView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT))
)]
pub(super) async fn refuse(
    scope: TenantScope,
    RequestPath(id): RequestPath,
    State(service): State<Service>,
    StrictJson(RefusalRequest { ground, explanation }): StrictJson<RefusalRequest>,
) -> Result<Json<RequestView>, Problem> {
    handled(&service, &scope, id, Right::HandleRequests).await?;
    let refusal = Refusal { ground, explanation };
    to_its_end(&service, &scope, |desk, tenant, by| async move { desk.refuse(&tenant, id, &by, refusal).await }).await
}

/// Closes a request. Its file is destroyed when the tenant's months are over.
#[utoipa::path(
    post, path = "/api/requests/{request}/closing", tag = "requests", operation_id = "close_request",
    params(("request" = String, Path, description = "Request id")), request_body = Closing,
    responses((status = OK, body = RequestView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT))
)]
pub(super) async fn close(
    scope: TenantScope,
    RequestPath(id): RequestPath,
    State(service): State<Service>,
    StrictJson(Closing { outcome, holds }): StrictJson<Closing>,
) -> Result<Json<RequestView>, Problem> {
    handled(&service, &scope, id, Right::HandleRequests).await?;
    let releases = holds == HoldsAfter::Release;
    if releases {
        also(&service, &scope, Right::ReleaseHolds).await?;
    }
    let how = (outcome, releases);
    to_its_end(&service, &scope, |desk, tenant, by| async move { desk.close(&tenant, id, &by, how).await }).await
}

/// Attaches a scan of a request's paper: PDF, JPEG or PNG, of 10 MiB at most.
#[utoipa::path(
    post, path = "/api/requests/{request}/scans", tag = "requests", operation_id = "attach_scan",
    params(("request" = String, Path, description = "Request id")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = OK, body = RequestView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT))
)]
pub(super) async fn attach(
    scope: TenantScope,
    RequestPath(id): RequestPath,
    State(service): State<Service>,
    body: Body,
) -> Result<Json<RequestView>, Problem> {
    handled(&service, &scope, id, Right::HandleRequests).await?;
    let _place = scan_place(&service, &scope)?;
    let large = |_| Problem::new(ProblemKind::BodyTooLarge, format!("a scan has at most {SCAN_BYTES_MAX} bytes"));
    let bytes = to_bytes(body, SCAN_BYTES_MAX).await.map_err(large)?.to_vec();
    to_its_end(&service, &scope, |desk, tenant, by| async move { desk.attach(&tenant, id, &by, bytes).await }).await
}

/// A scan of a request's paper. That it was read is in the journal.
#[utoipa::path(
    get, path = "/api/requests/{request}/scans/{scan}", tag = "requests", operation_id = "scan",
    params(("request" = String, Path, description = "Request id"), ("scan" = u32, Path, description = "Its number, from 1")),
    responses((status = OK, content_type = "application/octet-stream", body = Vec<u8>), (status = BAD_REQUEST), (status = NOT_FOUND), (status = GONE))
)]
pub(super) async fn scan(
    scope: TenantScope,
    RequestPath(id): RequestPath,
    ScanPath(number): ScanPath,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    known(&service, &scope, id).await?;
    let _place = scan_place(&service, &scope)?;
    let (scan, bytes) = service.desk()?.scan(scope.tenant(), id, &by(&scope), number.get()).await?;
    let ending = scan.media_type.rsplit('/').next().unwrap_or_default();
    // Saved and not shown: it comes from outside.
    let name = format!("attachment; filename=\"request-{id}-scan-{number}.{ending}\"");
    let value = |text: String| HeaderValue::try_from(text).map_err(Problem::invalid);
    let headers =
        [(header::CONTENT_TYPE, value(scan.media_type.clone())?), (header::CONTENT_DISPOSITION, value(name)?)];
    Ok((headers, bytes).into_response())
}

fn scan_place(service: &Service, scope: &TenantScope) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
    let place = service.0.scans.take(scope.tenant(), 1);
    place.ok_or_else(|| Problem::new(ProblemKind::TooMany(5), "other scans of yours are being read or written"))
}

/// The number of a scan.
pub(super) type ScanNumber = NonZeroU32;
