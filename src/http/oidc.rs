//! Signing in by an identity provider: the browser goes there and comes back; the provider says who has left. And the account by
//! which a person signs in.
//!
//! Invariants: a sign-in ends in the browser that began it, by a cookie; what went wrong is said on the page of signing in, in one
//! word, and nothing that the provider sent is repeated.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use catalogue::Named;
use journal::entry::Action;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::Service;
use super::page;
use super::params::{PersonPath, ProviderPath, StrictJson};
use super::peer::address_of_request;
use super::people::{PersonView, check_text, designated, not_oneself, shown};
use super::problem::{Problem, ProblemKind};
use super::scope::TenantScope;
use super::sign_in::{GoOn, cookie, cookie_of, counted_under, held_back, is_of_own_page};
use crate::oidc::{CallbackAnswer, OidcError};
use crate::people::accounts::AccountError;
use crate::people::sign_in::SESSION_MAX;
use footage::units::{ProviderId, TenantId};

/// Of the sign-in that is under way. A provider's page leads back here, for which the browser would not send a cookie that is `Strict`.
const FLOW: &str = "__Host-vigie-sign-in";
const FLOW_SECONDS: i64 = 600;
/// On the page: this browser began no such sign-in, or too long ago.
const NO_FLOW: &str = "sign-in-over";
/// Longest e-mail address (RFC 5321 §4.5.3.1), and longest subject (OpenID Connect Core 1.0 §2), in characters.
const ACCOUNT_CHARS_MAX: usize = 254;

impl From<OidcError> for Problem {
    fn from(error: OidcError) -> Self {
        match error {
            OidcError::NoProvider => Self::new(ProblemKind::NotFound, error.to_string()),
            OidcError::Unavailable(_) | OidcError::Busy => {
                Self::new(ProblemKind::Unavailable, "the identity provider cannot be used now: try again later")
            }
            _ => Self::invalid("what the identity provider sent is not believed: the gateway's log says why"),
        }
    }
}

/// An identity provider.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct IdentityProvider {
    /// Its id.
    #[schema(example = "proconnect")]
    id: String,
    /// Its name, for people.
    #[schema(example = "ProConnect")]
    name: String,
}

/// The identity providers by which persons sign in.
#[utoipa::path(
    get, path = "/api/sign-in/providers", tag = "people", operation_id = "identity_providers", security(()),
    responses((status = OK, body = Vec<IdentityProvider>))
)]
pub(super) async fn list(State(service): State<Service>) -> Json<Vec<IdentityProvider>> {
    let listed = service.oidc().map(crate::oidc::Oidc::list).unwrap_or_default();
    Json(listed.into_iter().map(|(id, name)| IdentityProvider { id: id.to_string(), name }).collect())
}

/// For whom somebody signs in.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignInBy {
    /// For which tenant; absent: for the only one whose person has the account.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "mairie")]
    tenant: Option<TenantId>,
}

/// Begins a sign-in by an identity provider, for a page of the gateway's own: says where the browser goes, and sets the cookie by
/// which it ends there.
#[utoipa::path(
    post, path = "/api/sign-in/providers/{provider}", tag = "people", operation_id = "sign_in_by", security(()),
    params(("provider" = String, Path, description = "Provider id")), request_body = SignInBy,
    responses(
        (status = OK, body = GoOn), (status = BAD_REQUEST), (status = FORBIDDEN), (status = NOT_FOUND),
        (status = TOO_MANY_REQUESTS), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn begin(
    ProviderPath(provider): ProviderPath,
    State(service): State<Service>,
    parts: Parts,
    StrictJson(SignInBy { tenant }): StrictJson<SignInBy>,
) -> Result<Response, Problem> {
    held_back(&service, &parts.extensions, &parts.headers)?;
    if !is_of_own_page(&parts.headers) {
        let detail = "a page of another site made this request, or a program without Origin: nothing was begun";
        return Err(Problem::new(ProblemKind::NotPermitted, detail));
    }
    let begun = service.oidc().ok_or(OidcError::NoProvider)?.begin(&provider, tenant).await?;
    let set = flow_cookie(begun.flow.expose_secret(), FLOW_SECONDS);
    Ok(([(header::SET_COOKIE, set)], Json(GoOn { address: begun.address.into() })).into_response())
}

fn flow_cookie(value: &str, seconds: i64) -> HeaderValue {
    let text = format!("{FLOW}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}");
    HeaderValue::try_from(text).expect("base64url and names are a header")
}

/// What a provider has the browser bring back. What it adds beside these is not looked at.
fn answer_of(query: Option<&str>) -> CallbackAnswer {
    let of = |name: &str| {
        let mut pairs =
            url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).filter(|(key, _)| key == name);
        // What is said twice is not said (RFC 6749 §3.1).
        pairs.next().map(|(_, value)| value.into_owned()).filter(|_| pairs.next().is_none())
    };
    let state = of("state").unwrap_or_default();
    CallbackAnswer { code: of("code").map(SecretString::from), state, issuer: of("iss"), error: of("error") }
}

/// Where an identity provider leads the browser back to. Begins the session, or shows why there is none.
#[utoipa::path(
    get, path = "/sign-in/{provider}/callback", tag = "page", operation_id = "sign_in_callback", security(()),
    params(("provider" = String, Path, description = "Provider id")),
    responses((status = OK, content_type = "text/html", body = String), (status = SEE_OTHER), (status = BAD_REQUEST))
)]
pub(super) async fn callback(
    ProviderPath(provider): ProviderPath,
    State(service): State<Service>,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> Response {
    let cleared = flow_cookie("", 0);
    match signed_in(&service, &provider, answer_of(query.as_deref()), &parts).await {
        Ok(secret) => {
            let mut response = page::signed_in();
            let set = cookie(&secret, SESSION_MAX.as_secs());
            response.headers_mut().append(header::SET_COOKIE, set);
            response.headers_mut().append(header::SET_COOKIE, cleared);
            response
        }
        Err(why) => {
            let mut shown = Redirect::to(&format!("{}#{why}", page::SIGN_IN)).into_response();
            // What answers another sign-in leaves the one of this browser as it is.
            if why != NO_FLOW {
                shown.headers_mut().append(header::SET_COOKIE, cleared);
            }
            shown
        }
    }
}

/// The cookie's secret of the session that began, or why there is none, as the page knows it.
async fn signed_in(
    service: &Service,
    provider: &ProviderId,
    answer: CallbackAnswer,
    parts: &Parts,
) -> Result<String, &'static str> {
    let (extensions, headers) = (&parts.extensions, &parts.headers);
    let peer = held_back(service, extensions, headers).map_err(|_| "too-many")?;
    let oidc = service.oidc().ok_or("provider-unavailable")?;
    let flow = cookie_of(headers, FLOW).map(SecretString::from);
    let (vouched, asked, agreement) = match oidc.finish(provider, flow.as_ref(), answer).await {
        Ok(vouched) => vouched,
        Err(error) => {
            // What a stranger may send without having begun anything.
            if error == OidcError::NoFlow {
                service.0.guesses.wrong(peer, &counted_under(peer));
            }
            return Err(match error {
                OidcError::NoProvider | OidcError::Unavailable(_) | OidcError::Busy => "provider-unavailable",
                OidcError::NoFlow => NO_FLOW,
                OidcError::Refused => "provider-refused",
                OidcError::TooWeak => "too-weak",
                OidcError::NotBelieved(_) => "not-believed",
            });
        }
    };
    let address = address_of_request(extensions, headers);
    let agrees = |person: &catalogue::Person| agreement.agrees(person) && service.access().knows(&person.tenant);
    match service.people().sign_in_by_account(vouched, asked.as_ref(), agrees, address).await {
        Ok(secret) => Ok(secret.text().expose_secret().to_owned()),
        Err(AccountError::NotDesignated) => Err("not-designated"),
        Err(AccountError::Differs) => Err("designation-differs"),
        Err(AccountError::Several) => Err("several-tenants"),
        Err(AccountError::People(error)) => {
            // For the log.
            let _ = Problem::from(error).into_response();
            Err("unavailable")
        }
    }
}

/// What an identity provider says of who signed out there.
#[derive(Debug, utoipa::ToSchema)]
#[allow(dead_code, reason = "it describes a form")]
pub(super) struct LogoutForm {
    /// A logout token (OpenID Connect Back-Channel Logout 1.0 §2.4).
    logout_token: String,
}

/// Ends the sessions of a person who signed out at an identity provider, which sends this itself.
#[utoipa::path(
    post, path = "/sign-in/{provider}/back-channel", tag = "people", operation_id = "signed_out_by", security(()),
    params(("provider" = String, Path, description = "Provider id")),
    request_body(content = LogoutForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK), (status = BAD_REQUEST), (status = NOT_FOUND), (status = TOO_MANY_REQUESTS),
        (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn back_channel(
    ProviderPath(provider): ProviderPath,
    State(service): State<Service>,
    parts: Parts,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let peer = held_back(&service, &parts.extensions, &parts.headers)?;
    let token = logout_token(&parts.headers, &body).ok_or_else(|| Problem::invalid("there is no logout_token"))?;
    let oidc = service.oidc().ok_or(OidcError::NoProvider)?;
    let out = oidc.signed_out(&provider, &token).await.inspect_err(|error| {
        if matches!(error, OidcError::NotBelieved(_)) {
            service.0.guesses.wrong(peer, &counted_under(peer));
        }
    })?;
    let whose = (out.subject.as_deref(), out.sid.as_deref());
    let ended = service.people().signed_out_by(&provider, whose, out.before).await?;
    tracing::info!(%provider, ended, "an identity provider said that a person signed out");
    Ok(StatusCode::OK)
}

fn logout_token(headers: &HeaderMap, body: &[u8]) -> Option<SecretString> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_ascii_lowercase();
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        return None;
    }
    let mut pairs = url::form_urlencoded::parse(body);
    pairs.find(|(name, _)| name == "logout_token").map(|(_, value)| value.into_owned().into())
}

/// An account at an identity provider, named by one of the two.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountRequest {
    /// Its e-mail address, which the provider has verified. The first sign-in binds its subject.
    #[serde(default)]
    #[schema(example = "marie.durand@mairie.example")]
    email: Option<String>,
    /// Its subject.
    #[serde(default)]
    subject: Option<String>,
}

/// Names the account by which a person signs in at an identity provider, in place of one that was named before. What the person
/// may see is their designation's.
#[utoipa::path(
    put, path = "/api/people/{person}/accounts/{provider}", tag = "people", operation_id = "name_account",
    params(("person" = String, Path, description = "Person id"), ("provider" = String, Path, description = "Provider id")),
    request_body = AccountRequest,
    responses(
        (status = OK, body = PersonView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT),
        (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn name_account(
    scope: TenantScope,
    PersonPath(person): PersonPath,
    ProviderPath(provider): ProviderPath,
    State(service): State<Service>,
    StrictJson(AccountRequest { email, subject }): StrictJson<AccountRequest>,
) -> Result<Json<PersonView>, Problem> {
    let named = match (email, subject) {
        (Some(email), None) if email.contains('@') => Named::Email(email),
        (None, Some(subject)) => Named::Subject(subject),
        _ => return Err(Problem::invalid("an account is named by \"email\", an address, or by \"subject\"")),
    };
    let (Named::Email(account) | Named::Subject(account)) = named.clone();
    check_text("the account", &account, ACCOUNT_CHARS_MAX)?;
    if !service.oidc().is_some_and(|oidc| oidc.vouches_for(&provider, scope.tenant())) {
        return Err(Problem::new(
            ProblemKind::NotFound,
            format!("no identity provider {provider} vouches for this tenant"),
        ));
    }
    not_oneself(&service, &scope, &person).await?;
    designated(&service, &scope, &person)?;
    let named_now = Action::AccountNamed { person: person.clone(), provider: provider.to_string(), account };
    let who = (scope.tenant(), &person);
    service.people().identify(who, (&provider, named), scope.act(named_now)).await?;
    Ok(Json(shown(&service, &scope, &person)?))
}

/// Takes back the account by which a person signs in at an identity provider, and ends the sessions that it began.
#[utoipa::path(
    delete, path = "/api/people/{person}/accounts/{provider}", tag = "people", operation_id = "remove_account",
    params(("person" = String, Path, description = "Person id"), ("provider" = String, Path, description = "Provider id")),
    responses((status = OK, body = PersonView), (status = NOT_FOUND), (status = SERVICE_UNAVAILABLE))
)]
pub(super) async fn remove_account(
    scope: TenantScope,
    PersonPath(person): PersonPath,
    ProviderPath(provider): ProviderPath,
    State(service): State<Service>,
) -> Result<Json<PersonView>, Problem> {
    let removed = Action::AccountRemoved { person: person.clone(), provider: provider.to_string() };
    service.people().unidentify((scope.tenant(), &person), &provider, scope.act(removed)).await?;
    Ok(Json(shown(&service, &scope, &person)?))
}
