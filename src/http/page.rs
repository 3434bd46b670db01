//! The pages, as `ui/` was built when the gateway was, and the API's description: what the gateway itself is made of.

use axum::Extension;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;

use super::problem::{Problem, ProblemKind};
use super::{IMMUTABLE, LIVE, REVALIDATED};
use crate::printed::content_security_policy;

/// What `build.rs` found.
mod built {
    include!(concat!(env!("OUT_DIR"), "/page.rs"));
}

fn answer(content_type: &'static str, cache: HeaderValue, body: impl Into<Bytes>) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(content_type)), (header::CACHE_CONTROL, cache)];
    (headers, body.into()).into_response()
}

fn file(name: &str) -> Option<&'static [u8]> {
    built::FILES.iter().find(|(file, _)| *file == name).map(|(_, bytes)| *bytes)
}

/// One of the pages; without them, what is missing and what to do.
fn page(name: &str) -> Response {
    match file(name) {
        Some(bytes) => answer("text/html; charset=utf-8", REVALIDATED, bytes),
        None => {
            let why = built::MISSING.unwrap_or("it was left out");
            let text = format!(
                "This gateway was built without its page: {why}.\nInstall node (18 or newer) and npm, as by `apt-get install \
                 nodejs npm`, and build it again. The API is there: GET /api/openapi.json describes it.\n"
            );
            let response = answer("text/plain; charset=utf-8", REVALIDATED, text);
            (StatusCode::NOT_IMPLEMENTED, response).into_response()
        }
    }
}

/// The page: cameras, live view, timeline, playback.
#[utoipa::path(get, path = "/", tag = "page", responses((status = OK, content_type = "text/html", body = String)))]
pub(super) async fn index() -> Response {
    page("index.html")
}

/// A page that was made to be printed: of its own style and nothing else, and of which nothing is kept.
pub(super) fn printed(html: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, LIVE);
    let policy = HeaderValue::try_from(content_security_policy());
    headers.extend(policy.ok().map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    (headers, html).into_response()
}

/// Where a person signs in.
pub(super) const SIGN_IN: &str = "/sign-in";
/// Where a browser asks for a token.
pub(super) const WITH_TOKEN: &str = "/with-token";

/// The page to sign in.
#[utoipa::path(get, path = "/sign-in", tag = "page", operation_id = "sign_in_page", security(()), responses((status = OK, content_type = "text/html", body = String)))]
pub(super) async fn sign_in() -> Response {
    page("sign-in.html")
}

/// A page that goes on to the gateway's own, after a sign-in by an identity provider. A redirect would belong to the navigation that
/// the provider's page began, for which browsers send no cookie that is `SameSite=Strict` (RFC 6265bis §5.2).
pub(super) fn signed_in() -> Response {
    let page = "<!doctype html><html lang=\"fr\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0;url=/\">\
                <title>Vigie</title><p><a href=\"/\">Vigie</a></p></html>";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "private, no-store")], page)
        .into_response()
}

/// The page that an invitation opens.
#[utoipa::path(get, path = "/welcome", tag = "page", security(()), responses((status = OK, content_type = "text/html", body = String)))]
pub(super) async fn welcome() -> Response {
    page("welcome.html")
}

/// Has a browser ask for credentials (HTTP Basic), a tenant's id and a token, and shows the page with them.
#[utoipa::path(get, path = "/with-token", tag = "page", responses((status = SEE_OTHER)))]
pub(super) async fn with_token() -> Redirect {
    Redirect::to("/")
}

/// A script or style of the pages; its name changes with its content.
#[utoipa::path(
    get, path = "/assets/{asset}", tag = "page", security(()),
    params(("asset" = String, Path, description = "File name, from a page")),
    responses((status = OK, content_type = "text/javascript", body = String), (status = NOT_FOUND))
)]
pub(super) async fn asset(Path(asset): Path<String>) -> Result<Response, Problem> {
    let content_type = match asset.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    };
    match file(&format!("assets/{asset}")) {
        Some(bytes) => Ok(answer(content_type, IMMUTABLE, bytes)),
        None => Err(Problem::new(ProblemKind::NotFound, "the page has no such file: load it again")),
    }
}

/// The OpenAPI document, written once.
#[derive(Clone)]
pub(super) struct Document(Bytes);

impl Document {
    pub(super) fn new(api: &utoipa::openapi::OpenApi) -> Self {
        Self(api.to_json().expect("a description made of strings and maps is JSON").into())
    }
}

/// This description.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "page",
    responses((status = OK, content_type = "application/json", body = serde_json::Value))
)]
pub(super) async fn openapi(Extension(Document(document)): Extension<Document>) -> Response {
    answer("application/json", REVALIDATED, document)
}
