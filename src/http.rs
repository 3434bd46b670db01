//! HTTP: routes, authorisation, errors to status in one place, OpenAPI.
//!
//! ```text
//! serve: accept, limits ─ frame: headers, problems, time, bodies ─┬─ /livez, /readyz, /sign-in, /api/sign-in …
//!                                                                 ├─ operator ─ /metrics, /operator/…
//!                                                                 └─ authorise: who ─ needs: rights, camera ─ pages, /api/…
//! ```
//!
//! Invariants: every route but the probes and signing in lies behind [`auth`] or [`operator`], and one of a tenant names the rights that open it; every error is a problem of [`problem`]; every route is
//! in the OpenAPI document, because a route is registered with its description or not at all.
//! Absent on purpose: no request changes footage; holds are placed and released, persons are designated, and the
//! configuration is read again, but never written.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use parking_lot::RwLock;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::auth::{Access, TokenMissing};
pub use self::operator::{Operator, ReloadRequest};
use self::problem::{Problem, ProblemKind};
use self::scope::needs;
pub use self::serve::{ServeLimits, serve, serve_over};
pub use self::tls::{ServerTls, TlsFilesError};
use crate::desk::{Desk, SCAN_BYTES_MAX};
use crate::export::Exports;
use crate::hold::Holds;
use crate::journals::Journals;
use crate::metrics::HttpCounts;
use crate::oidc::Oidc;
use crate::people::People;
use crate::permission::Permissions;
use crate::retrieve::Footage;
use crate::status::StatusBoard;
use footage::units::{PersonId, TenantId};

mod alarms;
mod auth;
mod authorisations;
mod cameras;
mod clip;
mod coverage;
mod description;
mod events;
mod exports;
mod file_name;
mod guarded;
mod guesses;
mod hls;
mod holds;
mod inspection;
mod journal;
mod occurrences;
mod oidc;
mod operator;
mod page;
mod params;
mod peer;
mod people;
mod presence;
mod problem;
mod range;
mod reasons;
mod requests;
mod schema;
mod scope;
mod serve;
mod share;
mod sign_in;
mod signatures;
mod stats;
mod timeline;
mod tls;
mod uploads;

/// Longest request body but for scans; a longer one is refused.
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// Longest time to the head of an answer. Bodies take as long as they take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Requests of a tenant at once. A wall of sixteen cameras takes two for each.
const REQUESTS_PER_TENANT_MAX: usize = 96;

/// Of these, one person's: the rest is for the others, and for who revokes this one.
const REQUESTS_PER_PERSON_MAX: usize = 64;

/// Snapshots of a tenant at once: two are made at a time, of all tenants together, and the others wait their turn.
const SNAPSHOTS_PER_TENANT_MAX: usize = 4;

/// What the routes answer from; cheap to clone.
#[derive(Clone, Debug)]
pub struct Service(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    footage: Footage,
    holds: Holds,
    journals: Journals,
    people: People,
    access: RwLock<Arc<Access>>,
    time_zone: jiff::tz::TimeZone,
    status: StatusBoard,
    operator: OnceLock<Operator>,
    permissions: OnceLock<Permissions>,
    exports: OnceLock<Exports>,
    /// Where they lie, whether or not they can be used.
    exports_folder: OnceLock<PathBuf>,
    desk: OnceLock<Desk>,
    oidc: OnceLock<Oidc>,
    counts: Counts,
    clips: clip::Clips,
    guesses: guesses::Guesses,
    reasons: reasons::Reasons,
    /// Requests being answered, bodies included.
    requests: share::Shares,
    /// The same of each person.
    requests_of_persons: share::Shares<(TenantId, PersonId)>,
    /// Snapshots being made, or waiting for a decoder.
    snapshots: share::Shares,
    /// Verdicts on signatures being found.
    verdicts: share::Shares,
    /// Whole clips being hashed.
    digests: share::Shares,
    /// Inspections being made.
    inspections: share::Shares,
    /// Scans being read or written.
    scans: share::Shares,
}

impl Service {
    /// `time_zone` is what people read times in, and in which acts and hours of persons are.
    pub fn new(
        footage: Footage,
        holds: Holds,
        (journals, people): (Journals, People),
        access: Access,
        time_zone: &jiff::tz::TimeZone,
        status: StatusBoard,
    ) -> Self {
        Self(Arc::new(Inner {
            footage,
            holds,
            journals,
            people,
            access: RwLock::new(Arc::new(access)),
            time_zone: time_zone.clone(),
            status,
            operator: OnceLock::new(),
            permissions: OnceLock::new(),
            exports: OnceLock::new(),
            exports_folder: OnceLock::new(),
            desk: OnceLock::new(),
            oidc: OnceLock::new(),
            counts: Counts::default(),
            clips: clip::Clips::default(),
            guesses: guesses::Guesses::default(),
            reasons: reasons::Reasons::default(),
            requests: share::Shares::of(REQUESTS_PER_TENANT_MAX),
            requests_of_persons: share::Shares::of(REQUESTS_PER_PERSON_MAX),
            snapshots: share::Shares::of(SNAPSHOTS_PER_TENANT_MAX),
            verdicts: share::Shares::of(signatures::VERDICTS_PER_TENANT_MAX),
            digests: share::Shares::of(coverage::DIGESTS_PER_TENANT_MAX),
            inspections: share::Shares::of(inspection::INSPECTIONS_PER_TENANT_MAX),
            scans: share::Shares::of(requests::SCANS_PER_TENANT_MAX),
        }))
    }

    fn footage(&self) -> &Footage {
        &self.0.footage
    }

    fn holds(&self) -> &Holds {
        &self.0.holds
    }

    fn journals(&self) -> &Journals {
        &self.0.journals
    }

    fn people(&self) -> &People {
        &self.0.people
    }

    fn access(&self) -> Arc<Access> {
        self.0.access.read().clone()
    }

    /// From the next request on.
    pub fn set_access(&self, access: Access) {
        *self.0.access.write() = Arc::new(access);
    }

    /// Shows what cameras record under. The first call counts.
    pub fn record_under(&self, permissions: Permissions) {
        // As with the operator.
        let _ = self.0.permissions.set(permissions);
    }

    fn permissions(&self) -> Option<&Permissions> {
        self.0.permissions.get()
    }

    /// Handles requests for footage at this desk. The first call counts.
    pub fn handle_requests(&self, desk: Desk) {
        // As with the operator.
        let _ = self.0.desk.set(desk);
    }

    fn desk(&self) -> Result<&Desk, Problem> {
        let away = || Problem::new(ProblemKind::Unavailable, "the gateway is starting: try again");
        self.0.desk.get().ok_or_else(away)
    }

    /// Lets persons sign in by these identity providers. The first call counts.
    pub fn sign_in_by(&self, oidc: Oidc) {
        // As with the operator.
        let _ = self.0.oidc.set(oidc);
    }

    fn oidc(&self) -> Option<&Oidc> {
        self.0.oidc.get()
    }

    /// Opens the operator's routes. The first call counts.
    pub fn operate(&self, operator: Operator) {
        // A second operator would be a second gateway behind one service: there is none.
        let _ = self.0.operator.set(operator);
    }
}

/// Answers by class of their status.
#[derive(Debug, Default)]
struct Counts([AtomicU64; 6]);

impl Counts {
    fn add(&self, status: StatusCode) {
        if let Some(class) = self.0.get(usize::from(status.as_u16() / 100)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn get(&self) -> HttpCounts {
        HttpCounts { answers: std::array::from_fn(|class| self.0[class].load(Ordering::Relaxed)) }
    }
}

/// The routes of a tenant, each with the rights that open it.
fn tenants_routes(service: &Service) -> OpenApiRouter<Service> {
    use catalogue::Right::{
        AcknowledgeAlarms, Export, HandleRequests, ManagePeople, OperateCameras, PlaceHolds, ReadJournal,
        ReleaseExports, ReleaseHolds, SeeCameras, SeeEvents, SeeHolds, SeeRequests, ViewLive, ViewRecorded,
    };
    OpenApiRouter::with_openapi(description::bare())
        .routes(needs(service, &[SeeCameras], routes!(cameras::list)))
        .routes(needs(service, &[SeeCameras], routes!(cameras::one)))
        .routes(needs(service, &[OperateCameras], routes!(cameras::reconnect)))
        .routes(needs(service, &[SeeCameras], routes!(authorisations::list)))
        .routes(needs(service, &[SeeCameras], routes!(timeline::of_camera)))
        .routes(needs(service, &[SeeCameras], routes!(timeline::gaps)))
        .routes(needs(service, &[SeeCameras], routes!(occurrences::of_camera)))
        .routes(needs(service, &[ViewRecorded], routes!(cameras::snapshot)))
        .routes(needs(service, &[SeeCameras], routes!(cameras::status)))
        .routes(needs(service, &[Export], routes!(clip::clip)))
        .routes(needs(service, &[Export], routes!(coverage::of_camera)))
        .routes(needs(service, &[SeeCameras], routes!(signatures::of_camera)))
        .routes(needs(service, &[ViewLive], routes!(hls::live)))
        .routes(needs(service, &[ViewRecorded], routes!(hls::vod)))
        .routes(needs(service, &[ViewLive, ViewRecorded], routes!(hls::init)))
        .routes(needs(service, &[ViewLive, ViewRecorded], routes!(hls::segment)))
        .routes(needs(service, &[OperateCameras], routes!(uploads::first)))
        .routes(needs(service, &[PlaceHolds], routes!(holds::place)))
        .routes(needs(service, &[SeeHolds], routes!(holds::list)))
        .routes(needs(service, &[SeeHolds], routes!(holds::one)))
        .routes(needs(service, &[ReleaseHolds], routes!(holds::release)))
        .routes(needs(service, &[Export], routes!(holds::clip)))
        .routes(needs(service, &[Export], routes!(coverage::of_hold)))
        .routes(needs(service, &[SeeEvents], routes!(events::events)))
        .routes(needs(service, &[SeeEvents], routes!(alarms::list)))
        .routes(needs(service, &[AcknowledgeAlarms], routes!(alarms::acknowledge)))
        .routes(needs(service, &[ReadJournal], routes!(journal::entries)))
        .routes(needs(service, &[ReadJournal], routes!(inspection::summary)))
        .routes(needs(service, &[ReadJournal], routes!(inspection::as_page)))
        .routes(needs(service, &[ReadJournal], routes!(inspection::table)))
        .routes(needs(service, &[ReadJournal], routes!(inspection::destruction)))
        .routes(needs(service, &[ReadJournal], routes!(inspection::destruction_page)))
        .routes(needs(service, &[SeeCameras], routes!(stats::stats)))
        .routes(needs(service, &[ManagePeople], routes!(people::list)))
        .routes(needs(service, &[ManagePeople], routes!(people::designate)))
        .routes(needs(service, &[ManagePeople], routes!(people::revoke)))
        .routes(needs(service, &[ManagePeople], routes!(people::make_token)))
        .routes(needs(service, &[ManagePeople], routes!(people::revoke_token)))
        .routes(needs(service, &[ManagePeople], routes!(people::give)))
        .routes(needs(service, &[ManagePeople], routes!(sign_in::invite)))
        .routes(needs(service, &[], routes!(sign_in::sign_out)))
        .routes(needs(service, &[ManagePeople], routes!(people::revoke_grant)))
        .routes(needs(service, &[], routes!(people::me)))
        .routes(needs(service, &[], routes!(people::state_reason)))
        .routes(needs(service, &[], routes!(page::index)))
        .routes(needs(service, &[], routes!(page::with_token)))
        .routes(needs(service, &[], routes!(page::openapi)))
        .routes(needs(service, &[Export], routes!(exports::list, exports::order)))
        .routes(needs(service, &[Export], routes!(exports::one, exports::remove)))
        .routes(needs(service, &[Export], routes!(exports::package)))
        .routes(needs(service, &[SeeCameras], routes!(presence::of_camera)))
        .routes(needs(service, &[HandleRequests], routes!(requests::open)))
        .routes(needs(service, &[SeeRequests], routes!(requests::list)))
        .routes(needs(service, &[SeeRequests], routes!(requests::one)))
        .routes(needs(service, &[SeeRequests], routes!(requests::search)))
        .routes(needs(service, &[HandleRequests], routes!(requests::attach)))
        .routes(needs(service, &[SeeRequests], routes!(requests::scan)))
        .routes(needs(service, &[HandleRequests], routes!(requests::hold)))
        .routes(needs(service, &[HandleRequests], routes!(requests::prepare)))
        .routes(needs(service, &[ReleaseExports], routes!(requests::release)))
        .routes(needs(service, &[HandleRequests], routes!(requests::hand_over)))
        .routes(needs(service, &[HandleRequests], routes!(requests::refuse)))
        .routes(needs(service, &[HandleRequests], routes!(requests::close)))
        .routes(needs(service, &[SeeRequests], routes!(requests::receipt::of_request)))
        .routes(needs(service, &[ManagePeople], routes!(oidc::name_account, oidc::remove_account)))
}

/// The routes that ask for no credentials: probes, and how to get some.
fn open_routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(operator::livez))
        .routes(routes!(operator::readyz))
        .routes(routes!(page::sign_in))
        .routes(routes!(page::welcome))
        .routes(routes!(page::asset))
        .routes(routes!(sign_in::sign_in))
        .routes(routes!(sign_in::show_enrolment, sign_in::enrol))
        .routes(routes!(oidc::list))
        .routes(routes!(oidc::begin))
        .routes(routes!(oidc::callback))
        .routes(routes!(oidc::back_channel))
}

/// Every route, ready for [`serve`].
pub fn router(service: Service) -> Router {
    let (protected, mut api) = tenants_routes(&service).split_for_parts();
    let (open, probes) = open_routes().split_for_parts();
    let (operators, described) = OpenApiRouter::new()
        .routes(routes!(operator::metrics))
        .routes(routes!(operator::status))
        .routes(routes!(operator::reload))
        .routes(routes!(alarms::all))
        .routes(routes!(alarms::acknowledge_any))
        .split_for_parts();
    api.merge(probes);
    api.merge(described);
    description::complete(&mut api);
    let document = page::Document::new(&api);
    let not_here = || async {
        Problem::new(ProblemKind::NotFound, "no such path: GET /api/openapi.json describes those there are")
    };
    let not_so = || async {
        Problem::new(ProblemKind::MethodNotAllowed, "the path is there, and takes other methods: Allow names them")
    };
    protected
        .fallback(not_here)
        .method_not_allowed_fallback(not_so)
        .layer(axum::Extension(document))
        .layer(middleware::from_fn_with_state(service.clone(), auth::authorise))
        .merge(
            operators
                .method_not_allowed_fallback(not_so)
                .layer(middleware::from_fn_with_state(service.clone(), operator::authorise)),
        )
        .merge(open.method_not_allowed_fallback(not_so))
        .layer(middleware::from_fn_with_state(service.clone(), frame))
        .with_state(service)
}

/// The same for who came over TLS: browsers do not come back over plain HTTP (RFC 6797), for a year.
pub fn strict(router: Router) -> Router {
    const A_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");
    router.layer(middleware::map_response(|mut response: Response| async {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, A_YEAR);
        response
    }))
}

/// What holds for every answer: bounded in time, problems written out, headers that keep browsers honest.
async fn frame(State(service): State<Service>, request: Request, next: Next) -> Response {
    let instance = request.uri().path().to_owned();
    let is_scan = instance.starts_with("/api/requests/") && instance.ends_with("/scans");
    let bytes_max = if is_scan { SCAN_BYTES_MAX as u64 } else { BODY_BYTES_MAX };
    let response = if request.body().size_hint().upper().is_none_or(|bytes| bytes > bytes_max) {
        Problem::new(
            ProblemKind::BodyTooLarge,
            format!("the body is too large, or of a length that nobody announced: this route takes at most {bytes_max} bytes"),
        )
        .into_response()
    } else {
        tokio::time::timeout(ANSWER_TIME_MAX, next.run(request)).await.unwrap_or_else(|_| {
            Problem::new(ProblemKind::TimedOut, "the store or the disk is slow: try again, or ask for less")
                .into_response()
        })
    };
    let mut response = Problem::render(response, &instance);
    service.0.counts.add(response.status());
    for (name, value) in FRAME_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CONTENT_SECURITY_POLICY).or_insert(POLICY);
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(LIVE);
    response
}

/// Nothing but our own scripts, styles and media; nobody frames the page. What is printed has a stricter one.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Nobody guesses types, learns addresses or embeds footage.
const FRAME_HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// For what changes from one second to the next, and for what shall leave no copy.
const LIVE: HeaderValue = HeaderValue::from_static("private, no-store");

/// For what may be kept, and is asked for again each time with its entity tag.
const REVALIDATED: HeaderValue = HeaderValue::from_static("private, no-cache");

/// For bytes that never change under their name. An hour: a browser's copy must not outlive the footage by more.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("private, max-age=3600, immutable");

#[cfg(test)]
mod tests;
