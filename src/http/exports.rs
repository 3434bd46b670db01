//! Evidence packages of a tenant: ordered, listed, handed out, removed.
//!
//! A package is handed out as a clip is: to who may export each camera in it, with an entry in the journal for each before the first
//! byte. It is asked for in ranges, so that a download can be resumed.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use catalogue::{Denial, Right};
use futures::{StreamExt, TryStreamExt, stream};
use journal::entry::{Access, Author};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::clip::content_range;
use super::coverage::REPR_DIGEST;
use super::params::{ExportPath, Instant, StrictJson, range};
use super::problem::{Problem, ProblemKind};
use super::range::{RangeAnswer, evaluate};
use super::scope::{Handing, TenantScope, recorded};
use super::{REVALIDATED, Service};
use crate::export::{ExportError, Exports, Job, Package, Request, Shown, State as ExportState};
use crate::hold::HoldError;
use footage::platform;
use footage::units::{CameraId, ExportId, HoldId, TimeRange};

/// A range is as long as the export's own bound says.
const HOURS_MAX: i64 = 24 * 366;
/// Bytes of a package that are read at a time.
const STEP_BYTES: u64 = 256 << 10;

/// What to export, and for whom: cameras and a range, or what a hold keeps.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportRequest {
    /// Of which cameras; left out for a hold, which has one.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["gate"]))]
    cameras: Vec<CameraId>,
    /// First instant of the footage, RFC 3339 with offset; left out for all that a hold keeps.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-03-01T14:30:00Z")]
    start: Option<Instant>,
    /// First instant after it, in the past.
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-03-01T14:40:00Z")]
    end: Option<Instant>,
    /// What this hold keeps, and not the camera's own timeline.
    #[schema(value_type = Option<String>)]
    hold: Option<HoldId>,
    /// The requisition's reference.
    #[serde(default)]
    #[schema(example = "PV 2026/117")]
    reference: String,
    /// Why.
    reason: String,
    /// Who receives it.
    #[schema(example = "Major Durand, judicial police")]
    recipient: String,
}

/// A package that is whole.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct PackageView {
    /// Its length.
    bytes: u64,
    /// SHA-256 of the ZIP, in hexadecimal.
    sha256: String,
    /// SHA-256 of its manifest: what the signatures are over.
    manifest_sha256: String,
    /// SHA-256 of the gateway's key that signed it: belongs on the receipt, so that it is known from elsewhere.
    key_sha256: String,
    /// When it became whole.
    at: String,
}

/// An export.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Export)]
pub(super) struct ExportView {
    /// Its id.
    id: String,
    /// Of which cameras.
    cameras: Vec<String>,
    /// First instant of the footage.
    start: String,
    /// First instant after it.
    end: String,
    /// The hold that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    /// The requisition's reference; empty where none was given.
    reference: String,
    /// Why.
    reason: String,
    /// Who receives it.
    recipient: String,
    /// Who ordered it: a person's name, or what else acts.
    ordered_by: String,
    /// When.
    ordered: String,
    /// The number of the order's entry in the journal.
    journal_entry: u64,
    /// `waiting`, `preparing`, `ready` or `failed`.
    state: &'static str,
    /// How much of it is prepared, in percent.
    percent: u8,
    /// Bytes that the package has so far.
    bytes: u64,
    /// When it is destroyed: with the footage inside, with its hold, or at the end of its own time.
    expires: String,
    /// The package, once it is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<PackageView>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

fn name_of(author: &Author) -> String {
    match author {
        Author::Gateway => "gateway".to_owned(),
        Author::Operator => "operator".to_owned(),
        Author::AccessToken => "access_token".to_owned(),
        Author::Loopback => "loopback".to_owned(),
        Author::Person(person) => person.name.clone(),
    }
}

impl From<Shown> for ExportView {
    fn from(Shown { job, preparing, percent, bytes, expires }: Shown) -> Self {
        let (state, why) = match &job.state {
            ExportState::Ordered if preparing => ("preparing", None),
            ExportState::Ordered => ("waiting", None),
            ExportState::Ready(_) => ("ready", None),
            ExportState::Failed { why } => ("failed", Some(why.clone())),
            ExportState::Removed => ("removed", None),
        };
        let package = job.package().map(|of| PackageView {
            bytes: of.bytes,
            sha256: of.sha256.clone(),
            manifest_sha256: of.manifest.clone(),
            key_sha256: of.key.clone(),
            at: of.at.to_string(),
        });
        Self {
            id: job.id.to_string(),
            cameras: job.cameras.iter().map(|of| of.camera.to_string()).collect(),
            start: job.start.to_string(),
            end: job.end.to_string(),
            hold: job.hold.map(|hold| hold.to_string()),
            reference: job.reference.clone(),
            reason: job.reason.clone(),
            recipient: job.recipient.clone(),
            ordered_by: name_of(&job.author),
            ordered: job.ordered.to_string(),
            journal_entry: job.entry,
            state,
            percent,
            bytes,
            expires: expires.to_string(),
            package,
            why,
        }
    }
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Invalid(what) => Self::invalid(what),
            ExportError::NoExport(id) => {
                Self::new(ProblemKind::NoExport, format!("no export {id}: GET /api/exports lists them"))
            }
            ExportError::NoCamera(key) => {
                Self::new(ProblemKind::NoCamera, format!("no camera {}: GET /api/cameras lists them", key.camera))
            }
            ExportError::TooMany => Self::new(ProblemKind::Conflict, error.to_string()),
            ExportError::Index(error) => error.into(),
            ExportError::Retrieve(error) => (&error).into(),
            ExportError::Hold(error) => error.into(),
            ExportError::Journal(error) => error.into(),
            ExportError::NoRoom => Self::of(&error, error.to_string()),
            ExportError::Gone | ExportError::Write(_) | ExportError::Io(_) | ExportError::Internal(_) => {
                Self::of(&error, "the gateway failed at an export: see its log")
            }
        }
    }
}

/// Orders an evidence package: films of each camera, what is missing and why, hashes, signatures, and the proof of this order in the
/// journal, as one ZIP. The gateway prepares one after the other; `GET /api/exports/{export}` says how far it is.
#[utoipa::path(
    post, path = "/api/exports", tag = "exports", operation_id = "order_export", request_body = ExportRequest,
    responses(
        (status = CREATED, body = ExportView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT),
        (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn order(
    scope: TenantScope,
    State(service): State<Service>,
    StrictJson(asked): StrictJson<ExportRequest>,
) -> Result<(StatusCode, Json<ExportView>), Problem> {
    let exports = service.exports()?.clone();
    let request = request(&service, &scope, asked).await?;
    let access = if request.hold.is_some() { Access::HoldClip } else { Access::Clip };
    for camera in &request.cameras {
        service.permit(&scope, camera, access, recorded(request.range)).await?;
    }
    let ordered = to_its_end(async move { Ok(exports.order(request, |action| scope.act(action)).await?) }).await?;
    Ok((StatusCode::CREATED, Json(ordered.into())))
}

/// What is asked of cameras, or of the hold that it names.
async fn request(service: &Service, scope: &TenantScope, asked: ExportRequest) -> Result<Request, Problem> {
    let ExportRequest { mut cameras, start, end, hold, reference, reason, recipient } = asked;
    let range = match hold {
        None => {
            let (Some(start), Some(end)) = (start, end) else {
                return Err(Problem::invalid("say of which time, with start and end, or of which hold"));
            };
            range(start, end, HOURS_MAX)?
        }
        Some(id) => {
            let row = service.footage().index.hold(scope.tenant(), id).await?;
            let row = row.filter(|row| scope.names(&row.camera.camera) && row.closed.is_none());
            let row = row.ok_or(HoldError::NoHold(id))?;
            if cameras.iter().any(|camera| *camera != row.camera.camera) {
                return Err(Problem::invalid(format!("the hold is on camera {}", row.camera.camera)));
            }
            cameras = vec![row.camera.camera];
            let whole = row.facts.range;
            let now = service.footage().clock.wall();
            let outside = || Problem::invalid("the hold has nothing of that time yet");
            let end = end.map_or(whole.end().min(now), |Instant(end)| end);
            let of = TimeRange::new(start.map_or(whole.start(), |Instant(start)| start), end).ok_or_else(outside)?;
            of.intersection(&whole).ok_or_else(outside)?
        }
    };
    Ok(Request { tenant: scope.tenant().clone(), cameras, range, hold, reference, reason, recipient })
}

/// Does what is an act and its entry, or neither, whether the client waits for the answer or has gone.
async fn to_its_end<T: Send + 'static>(
    act: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let failed = || Problem::new(ProblemKind::Internal, "the gateway failed at an export: see its log");
    tokio::spawn(act).await.unwrap_or_else(|_| Err(failed()))
}

/// The tenant's exports of cameras that one may know of, the newest first.
#[utoipa::path(get, path = "/api/exports", tag = "exports", operation_id = "list_exports",
    responses((status = OK, body = Vec<ExportView>), (status = SERVICE_UNAVAILABLE)))]
pub(super) async fn list(scope: TenantScope, State(service): State<Service>) -> Result<Json<Vec<ExportView>>, Problem> {
    let mut all = service.exports()?.list(scope.tenant()).await?;
    all.retain(|shown| names(&scope, shown));
    Ok(Json(all.into_iter().map(ExportView::from).collect()))
}

fn names(scope: &TenantScope, shown: &Shown) -> bool {
    shown.job.cameras.iter().all(|of| scope.names(&of.camera))
}

/// An export of the tenant's, of cameras that the holder may know of; any other is as unknown as one that does not exist.
async fn known(exports: &Exports, scope: &TenantScope, ExportPath(id): ExportPath) -> Result<Shown, Problem> {
    let shown = exports.get(scope.tenant(), id).await?;
    if names(scope, &shown) { Ok(shown) } else { Err(ExportError::NoExport(id).into()) }
}

/// The package of an export that is whole, of cameras that the holder may know of.
pub(super) async fn whole(
    service: &Service,
    scope: &TenantScope,
    id: ExportPath,
) -> Result<(ExportId, Package), Problem> {
    let job = known(service.exports()?, scope, id).await?.job;
    Ok((job.id, package_of(&job)?))
}

fn package_of(job: &Job) -> Result<Package, Problem> {
    let what = "the package is not whole yet: GET /api/exports/{export} says how far it is";
    job.package().cloned().ok_or_else(|| Problem::new(ProblemKind::Conflict, what))
}

/// What a package is called where it is saved.
pub(super) fn file_name(id: ExportId) -> String {
    format!("evidence-{id}.zip")
}

/// An export, and how far it is.
#[utoipa::path(
    get, path = "/api/exports/{export}", tag = "exports", operation_id = "export",
    params(("export" = String, Path, description = "Export id")),
    responses((status = OK, body = ExportView), (status = BAD_REQUEST), (status = NOT_FOUND))
)]
pub(super) async fn one(
    scope: TenantScope,
    id: ExportPath,
    State(service): State<Service>,
) -> Result<Json<ExportView>, Problem> {
    Ok(Json(known(service.exports()?, &scope, id).await?.into()))
}

/// Cancels an export, or destroys its package before its time.
#[utoipa::path(
    delete, path = "/api/exports/{export}", tag = "exports", operation_id = "remove_export",
    params(("export" = String, Path, description = "Export id")),
    responses((status = NO_CONTENT), (status = BAD_REQUEST), (status = NOT_FOUND), (status = SERVICE_UNAVAILABLE))
)]
pub(super) async fn remove(
    scope: TenantScope,
    id: ExportPath,
    State(service): State<Service>,
) -> Result<StatusCode, Problem> {
    let exports = service.exports()?.clone();
    let job = known(&exports, &scope, id).await?.job;
    // Another person's package goes by those alone whose designation has its cameras: a grant lets nobody act.
    if job.author != scope.author()
        && let Some(of) = job.cameras.iter().find(|of| !scope.acts_on(&of.camera))
    {
        return Err(service.denied(&scope, Right::Export, Some(&of.camera), &Denial::OtherCamera).await);
    }
    to_its_end(async move {
        exports.remove(scope.tenant(), job.id, |action| scope.act(action)).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// The package as one ZIP, stored and not compressed, with its exact length and its digest (`Repr-Digest`); in ranges, so that a
/// download can be resumed (`If-Range` with its entity tag).
#[utoipa::path(
    get, path = "/api/exports/{export}/package.zip", tag = "exports", operation_id = "export_package",
    params(
        ("export" = String, Path, description = "Export id"),
        ("range" = Option<String>, Header, description = "One range of bytes (RFC 9110 §14.2); several are answered with the whole")
    ),
    responses(
        (status = OK, content_type = "application/zip", body = Vec<u8>),
        (status = PARTIAL_CONTENT, content_type = "application/zip", body = Vec<u8>),
        (status = NOT_MODIFIED), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT),
        (status = PRECONDITION_FAILED), (status = RANGE_NOT_SATISFIABLE), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn package(
    scope: TenantScope,
    id: ExportPath,
    State(service): State<Service>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let exports = service.exports()?;
    let job = known(exports, &scope, id).await?.job;
    let (range, access) = match (job.range(), job.hold) {
        (Some(range), None) => (range, Access::Clip),
        (Some(range), Some(_)) => (range, Access::HoldClip),
        (None, _) => return Err(ExportError::NoExport(job.id).into()),
    };
    let mut keys = Vec::new();
    for of in &job.cameras {
        keys.push(service.permit(&scope, &of.camera, access, recorded(range)).await?);
    }
    let package = package_of(&job)?;
    let (file, removed) = exports.package(scope.tenant(), job.id).await?;
    let etag = format!("\"{}\"", package.sha256);
    let (status, part) = match evaluate(&method, &headers, &etag, package.bytes) {
        RangeAnswer::Whole => (StatusCode::OK, 0..package.bytes),
        RangeAnswer::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        RangeAnswer::NotModified => return Ok(described(StatusCode::NOT_MODIFIED.into_response(), &package, &etag)),
        RangeAnswer::PreconditionFailed => {
            let what = "the package is another than If-Match names: ask again without";
            return Err(Problem::new(ProblemKind::PreconditionFailed, what));
        }
        RangeAnswer::NotSatisfiable => {
            let detail = format!("the package has {} bytes: ask for a range inside", package.bytes);
            let mut response = Problem::new(ProblemKind::RangeNotSatisfiable, detail).into_response();
            response.headers_mut().insert(header::CONTENT_RANGE, content_range("*", package.bytes));
            return Ok(response);
        }
    };
    let mut handings = Vec::new();
    if method != Method::HEAD {
        for key in keys {
            let camera = key.camera.clone();
            handings.push((camera, service.begin(&scope, key).await?));
        }
    }
    let name = format!("attachment; filename=\"{}\"", file_name(job.id));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/zip")),
        (header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start)),
        (header::CONTENT_DISPOSITION, HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("attachment"))),
    ];
    let span = (status == StatusCode::PARTIAL_CONTENT)
        .then(|| content_range(&format!("{}-{}", part.start, part.end - 1), package.bytes));
    let body = match handings.is_empty() {
        true => Body::empty(),
        false => body(file, part, (package.clone(), handings), removed),
    };
    let mut response = (status, headers, body).into_response();
    if let Some(span) = span {
        response.headers_mut().insert(header::CONTENT_RANGE, span);
    }
    Ok(described(response, &package, &etag))
}

/// With what holds of the package, whichever bytes of it are sent.
fn described(mut response: Response, package: &Package, etag: &str) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, REVALIDATED);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.extend(HeaderValue::try_from(etag).ok().map(|etag| (header::ETAG, etag)));
    let digits = package.sha256.as_bytes().chunks(2).filter_map(|pair| str::from_utf8(pair).ok());
    let hash: Vec<u8> = digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    let digest = HeaderValue::try_from(format!("sha-256=:{}:", BASE64.encode(hash)));
    headers.extend(digest.ok().map(|digest| (REPR_DIGEST, digest)));
    response
}

/// These bytes of the package; they count for the cameras whose films they are of. They break off when the package is destroyed, or
/// the designation of who gets them revoked.
fn body(
    file: std::fs::File,
    part: Range<u64>,
    (package, handings): (Package, Vec<(CameraId, Handing)>),
    removed: CancellationToken,
) -> Body {
    let file = Arc::new(file);
    let read = stream::try_unfold(part, move |part| {
        let (file, removed) = (file.clone(), removed.clone());
        async move {
            if part.is_empty() {
                return Ok(None);
            }
            if removed.is_cancelled() {
                return Err(io::Error::other("the package was destroyed while it was sent"));
            }
            let (at, len) = (part.start, (part.end - part.start).min(STEP_BYTES));
            let read = platform::spawn_blocking(move || {
                let mut bytes = vec![0; len as usize];
                file.read_exact_at(&mut bytes, at).map(|()| Bytes::from(bytes))
            });
            let bytes = read.await.map_err(|_| io::Error::other("reading the package ended badly"))??;
            Ok(Some(((at, bytes), at + len..part.end)))
        }
    });
    let handed = read.map(move |next| {
        let (at, bytes): (u64, Bytes) = next?;
        if handings.iter().any(|(_, handing)| handing.to.is_revoked()) {
            return Err(io::Error::other("the designation was revoked"));
        }
        count(&package, &handings, at..at + bytes.len() as u64);
        Ok(bytes)
    });
    Body::from_stream(
        handed.inspect_err(|error| tracing::info!(%error, "an evidence package broke off while it was sent")),
    )
}

/// Bytes of films count for their cameras, all others for the first.
fn count(package: &Package, handings: &[(CameraId, Handing)], bytes: Range<u64>) {
    let mut rest = bytes.end - bytes.start;
    let first = package.places.partition_point(|place| place.to <= bytes.start);
    for place in package.places[first..].iter().take_while(|place| place.from < bytes.end) {
        let own = place.to.min(bytes.end) - place.from.max(bytes.start);
        if let Some((_, handing)) = handings.iter().find(|(camera, _)| *camera == place.camera) {
            handing.accessing.sent(own, TimeRange::new(place.start, place.end));
            rest -= own;
        }
    }
    if let Some((_, handing)) = handings.first().filter(|_| rest > 0) {
        handing.accessing.sent(rest, None);
    }
}

impl Service {
    /// Answers for exports. The first call counts.
    pub fn export(&self, exports: Exports) {
        // As with the operator.
        let _ = self.0.exports.set(exports);
    }

    /// Says where exports lie, for those who look whether footage is left. The first call counts.
    pub fn look_for_exports_in(&self, folder: PathBuf) {
        // As with the operator.
        let _ = self.0.exports_folder.set(folder);
    }

    fn exports(&self) -> Result<&Exports, Problem> {
        let none = || Problem::new(ProblemKind::Unavailable, "this gateway prepares no exports now: see its log");
        self.0.exports.get().ok_or_else(none)
    }
}
