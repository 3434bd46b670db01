//! The plain page, and the API's description: what the gateway itself is made of.

use axum::Extension;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;

use super::REVALIDATED;

fn text(content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let headers =
        [(header::CONTENT_TYPE, HeaderValue::from_static(content_type)), (header::CACHE_CONTROL, REVALIDATED)];
    (headers, body.into()).into_response()
}

/// The page: cameras, live view, timeline, playback.
#[utoipa::path(get, path = "/", tag = "page", responses((status = OK, content_type = "text/html", body = String)))]
pub(super) async fn index() -> Response {
    text("text/html; charset=utf-8", include_str!("../../ui/index.html"))
}

/// Where a person signs in.
pub(super) const SIGN_IN: &str = "/sign-in";
/// Where a browser asks for a token.
pub(super) const WITH_TOKEN: &str = "/with-token";

/// The page to sign in.
#[utoipa::path(get, path = "/sign-in", tag = "page", operation_id = "sign_in_page", security(()), responses((status = OK, content_type = "text/html", body = String)))]
pub(super) async fn sign_in() -> Response {
    text("text/html; charset=utf-8", include_str!("../../ui/sign-in.html"))
}

/// A page that goes on to the gateway's own, after a sign-in by an identity provider. A redirect would belong to the navigation that
/// the provider's page began, for which browsers send no cookie that is `SameSite=Strict` (RFC 6265bis §5.2).
pub(super) fn signed_in() -> Response {
    let page = "<!doctype html><html lang=\"fr\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0;url=/\">\
                <title>Vigie</title><p><a href=\"/\">Vigie</a></p></html>";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "private, no-store")], page)
        .into_response()
}

/// Its script.
#[utoipa::path(get, path = "/sign-in.js", tag = "page", security(()), responses((status = OK, content_type = "text/javascript", body = String)))]
pub(super) async fn sign_in_script() -> Response {
    text("text/javascript; charset=utf-8", include_str!("../../ui/sign-in.js"))
}

/// What the pages of signing in have in two languages.
#[utoipa::path(get, path = "/language.js", tag = "page", security(()), responses((status = OK, content_type = "text/javascript", body = String)))]
pub(super) async fn language_script() -> Response {
    text("text/javascript; charset=utf-8", include_str!("../../ui/language.js"))
}

/// The page that an invitation opens.
#[utoipa::path(get, path = "/welcome", tag = "page", security(()), responses((status = OK, content_type = "text/html", body = String)))]
pub(super) async fn welcome() -> Response {
    text("text/html; charset=utf-8", include_str!("../../ui/welcome.html"))
}

/// Its script.
#[utoipa::path(get, path = "/welcome.js", tag = "page", security(()), responses((status = OK, content_type = "text/javascript", body = String)))]
pub(super) async fn welcome_script() -> Response {
    text("text/javascript; charset=utf-8", include_str!("../../ui/welcome.js"))
}

/// Has a browser ask for credentials (HTTP Basic), a tenant's id and a token, and shows the page with them.
#[utoipa::path(get, path = "/with-token", tag = "page", responses((status = SEE_OTHER)))]
pub(super) async fn with_token() -> Redirect {
    Redirect::to("/")
}

/// The page's script.
#[utoipa::path(get, path = "/app.js", tag = "page", responses((status = OK, content_type = "text/javascript", body = String)))]
pub(super) async fn script() -> Response {
    text("text/javascript; charset=utf-8", include_str!("../../ui/app.js"))
}

/// The page's style.
#[utoipa::path(get, path = "/style.css", tag = "page", security(()), responses((status = OK, content_type = "text/css", body = String)))]
pub(super) async fn style() -> Response {
    text("text/css; charset=utf-8", include_str!("../../ui/style.css"))
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
    text("application/json", document)
}
