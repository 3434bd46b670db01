//! The OpenAPI document: what is the same at every route is said here, once.

use axum::http::StatusCode;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};

use super::problem::{PROBLEM_JSON, ProblemDetails};
use super::scope::RIGHTS_EXTENSION;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Vigie",
        description = "Footage of a video-surveillance storage gateway: what there is, and its pictures. Times are \
                       RFC 3339 with an offset; answers are in UTC. One of the rights in x-rights opens an operation. Errors are application/problem+json (RFC 9457)."
    ),
    components(schemas(ProblemDetails)),
    modifiers(&Basic),
    security(("basic" = []))
)]
struct Description;

/// The document before any route.
pub(super) fn bare() -> OpenApi {
    Description::openapi()
}

/// The one way to sign in.
struct Basic;

impl Modify for Basic {
    fn modify(&self, api: &mut OpenApi) {
        let mut basic = Http::new(HttpAuthScheme::Basic);
        basic.description = Some(
            "User name: the tenant's id. Password: a person's token, or the tenant's access token. Not needed on a gateway \
             that has a single tenant without token, which listens on loopback only."
                .into(),
        );
        api.components.get_or_insert_default().add_security_scheme("basic", SecurityScheme::Http(basic));
    }
}

/// Says of every answer what its status means, and of every error, those included that any route can give, that it is
/// a problem.
pub(super) fn complete(api: &mut OpenApi) {
    for item in api.paths.paths.values_mut() {
        [&mut item.get, &mut item.put, &mut item.post, &mut item.delete]
            .into_iter()
            .flatten()
            .for_each(complete_operation);
    }
}

fn complete_operation(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        let status = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
        let meaning = status.and_then(|status| status.canonical_reason()).unwrap_or("Answer");
        if status.is_some_and(|status| !status.is_success() && !status.is_redirection()) {
            *response = problem(meaning).into();
        } else if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = meaning.to_owned();
        }
    }
    let is_bound = |rights: &serde_json::Value| rights.as_array().is_some_and(|rights| !rights.is_empty());
    if operation.extensions.as_ref().and_then(|all| all.get(RIGHTS_EXTENSION)).is_some_and(is_bound) {
        responses.insert("403".to_owned(), problem("Not permitted: one of `x-rights` is needed").into());
    }
    responses.insert("default".to_owned(), problem("Any other error").into());
}

fn problem(meaning: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemDetails"))).build();
    ResponseBuilder::new().description(meaning).content(PROBLEM_JSON, content).build()
}
