//! Signing in with a password and a code, out again, and the invitation before it. What proves a session is a cookie that no
//! script reads and no other site sends.

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use catalogue::SessionSecret;
use journal::entry::Action;
use qrcodegen::{QrCode, QrCodeEcc};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::Service;
use super::params::{PersonPath, StrictJson};
use super::peer::{Peer, address_of_request};
use super::people::designated;
use super::problem::{Problem, ProblemKind};
use super::scope::{Holder, TenantScope};
use crate::people::sign_in::{Presented, SESSION_MAX, SignInError};
use footage::units::{PersonId, TenantId};

/// Sent over TLS alone, or to this machine; by no other site's doing; for the whole of this host (RFC 6265bis §4.1.3).
const COOKIE: &str = "__Host-vigie";
/// Says of each request of a browser where the page is that makes it (Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        let detail = error.to_string();
        match error {
            SignInError::Wrong => Self::new(ProblemKind::SignedOut, detail),
            SignInError::Wait(wait) => Self::too_many(wait, "too many wrong tries: wait"),
            SignInError::NoInvitation => Self::new(ProblemKind::NotFound, detail),
            SignInError::WrongCode | SignInError::Weak(_) => Self::invalid(detail),
            SignInError::People(error) => error.into(),
        }
    }
}

/// The session that a request presents.
pub(super) fn presented(headers: &HeaderMap) -> Option<SessionSecret> {
    SessionSecret::parse(cookie_of(headers, COOKIE)?)
}

/// The value of a cookie.
pub(super) fn cookie_of<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == wanted).then_some(value))
}

/// Whether a page of this gateway's own makes the request, and not another site's: for what a cookie opens.
pub(super) fn is_of_own_page(headers: &HeaderMap) -> bool {
    match (headers.get(FETCH_SITE), headers.get(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
            let of_origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
            of_origin.is_some() && of_origin == host
        }
        (None, None) => false,
    }
}

/// Whether a person opens a page by this request, who can be shown another page instead.
pub(super) fn is_navigation(headers: &HeaderMap) -> bool {
    headers.get(FETCH_MODE).is_some_and(|mode| mode == "navigate")
}

/// Whether a script of a page makes it: a challenge of HTTP Basic would open a window of the browser's.
pub(super) fn is_of_script(headers: &HeaderMap) -> bool {
    headers.contains_key(FETCH_SITE) && !is_navigation(headers)
}

pub(super) fn cookie(value: &str, seconds: i64) -> HeaderValue {
    let text = format!("{COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    HeaderValue::try_from(text).expect("hexadecimal digits and names are a header")
}

/// What somebody signs in with.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    /// For which tenant.
    #[schema(value_type = String, example = "mairie")]
    tenant: TenantId,
    /// Who.
    #[schema(value_type = String, example = "marie-durand")]
    person: PersonId,
    /// Their password.
    #[schema(value_type = String)]
    password: SecretString,
    /// The code that their authenticator shows, or a recovery code.
    #[schema(example = "287082")]
    code: String,
}

/// What tries from one address are counted under, whatever the account: those from elsewhere do not count against it.
pub(super) fn counted_under(peer: Peer) -> String {
    format!("sign-in from {peer}")
}

/// The peer, unless it has tried too often.
pub(super) fn held_back(service: &Service, extensions: &Extensions, headers: &HeaderMap) -> Result<Peer, Problem> {
    let peer = Peer::of_request(extensions, headers);
    match service.0.guesses.wait(peer, &counted_under(peer)) {
        Some(wait) => Err(Problem::too_many(wait, "too many wrong tries from this address: wait")),
        None => Ok(peer),
    }
}

/// Begins a session, which ends the person's others. Its cookie opens what the person may at the time of each request.
#[utoipa::path(
    post, path = "/api/sign-in", tag = "people", operation_id = "sign_in", security(()), request_body = SignIn,
    responses(
        (status = NO_CONTENT), (status = BAD_REQUEST), (status = UNAUTHORIZED), (status = TOO_MANY_REQUESTS),
        (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn sign_in(
    State(service): State<Service>,
    parts: Parts,
    StrictJson(asked): StrictJson<SignIn>,
) -> Result<Response, Problem> {
    let (extensions, headers) = (&parts.extensions, &parts.headers);
    let (peer, address) = (held_back(&service, extensions, headers)?, address_of_request(extensions, headers));
    let SignIn { tenant, person, password, code } = asked;
    if !service.access().knows(&tenant) {
        service.0.guesses.wrong(peer, &counted_under(peer));
        return Err(SignInError::Wrong.into());
    }
    let begun = service.people().sign_in(Presented { tenant, person, password, code }, address).await;
    if matches!(begun, Err(SignInError::Wrong)) {
        service.0.guesses.wrong(peer, &counted_under(peer));
    }
    let secret = begun?;
    let set = [(header::SET_COOKIE, cookie(secret.text().expose_secret(), SESSION_MAX.as_secs()))];
    Ok((StatusCode::NO_CONTENT, set).into_response())
}

/// Where a browser goes on.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct GoOn {
    /// An address of the identity provider.
    pub(super) address: String,
}

/// Ends the session whose cookie is presented. Where an identity provider vouched for the person, the answer says where the browser
/// goes to sign out there too.
#[utoipa::path(
    post, path = "/api/sign-out", tag = "people", operation_id = "sign_out",
    responses((status = OK, body = GoOn), (status = NO_CONTENT), (status = SERVICE_UNAVAILABLE))
)]
pub(super) async fn sign_out(
    scope: TenantScope,
    State(service): State<Service>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let (Some(secret), Holder::Person(_)) = (presented(&headers), scope.holder()) {
        let by = service.people().vouched_by(&secret).await?;
        service.people().sign_out(&secret, scope.tenant(), scope.act(Action::SignedOut { provider: None })).await?;
        let address = match (by, service.oidc()) {
            (Some((provider, id_token)), Some(oidc)) => oidc.sign_out_address(&provider, id_token.as_ref()).await,
            _ => None,
        };
        if let Some(address) = address {
            let cleared = [(header::SET_COOKIE, cookie("", 0))];
            return Ok((cleared, Json(GoOn { address: address.into() })).into_response());
        }
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", 0))]).into_response())
}

/// An invitation, as its link holds it.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Invitation {
    /// For which tenant.
    #[schema(value_type = String)]
    tenant: TenantId,
    /// Who is invited.
    #[schema(value_type = String)]
    person: PersonId,
    /// The invitation itself.
    #[schema(value_type = String)]
    invitation: SecretString,
}

/// A person to be invited.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Invited {
    /// Where the person chooses how to sign in, behind the gateway's own address. It holds the invitation, and is shown this once.
    #[schema(example = "/welcome#mairie/marie-durand/…")]
    path: String,
    /// In force until then, once.
    until: String,
}

/// Invites a person to choose a password and an authenticator. What they signed in with before is over, and so are their
/// sessions: for a first sign-in, and for a device that is lost.
#[utoipa::path(
    post, path = "/api/people/{person}/invitations", tag = "people", operation_id = "invite",
    params(("person" = String, Path, description = "Person id")),
    responses((status = CREATED, body = Invited), (status = NOT_FOUND), (status = SERVICE_UNAVAILABLE))
)]
pub(super) async fn invite(
    scope: TenantScope,
    PersonPath(person): PersonPath,
    State(service): State<Service>,
) -> Result<(StatusCode, Json<Invited>), Problem> {
    designated(&service, &scope, &person)?;
    let draft = scope.act(Action::PersonInvited { person: person.clone() });
    let (secret, until) = service.people().invite((scope.tenant(), &person), draft).await?;
    let path = format!("/welcome#{}/{person}/{}", scope.tenant(), secret.text().expose_secret());
    Ok((StatusCode::CREATED, Json(Invited { path, until: until.to_string() })))
}

/// What an invited person sets up an authenticator with.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct AuthenticatorView {
    /// Their name.
    name: String,
    /// The secret in base 32, to be typed.
    secret: String,
    /// The same as an `otpauth` address.
    address: String,
    /// The address as a QR code: its dark modules as an SVG path, each one unit wide and high.
    qr: String,
    /// Width and height of the QR code, its margin included.
    qr_size: i32,
    /// The fewest characters of a password.
    password_chars_min: usize,
}

/// Shows an invited person their authenticator's secret. An invitation that is wrong counts as a wrong try.
#[utoipa::path(
    post, path = "/api/enrolment", tag = "people", operation_id = "show_enrolment", security(()),
    request_body = Invitation,
    responses(
        (status = OK, body = AuthenticatorView), (status = BAD_REQUEST), (status = NOT_FOUND),
        (status = TOO_MANY_REQUESTS), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn show_enrolment(
    State(service): State<Service>,
    parts: Parts,
    StrictJson(Invitation { tenant, person, invitation }): StrictJson<Invitation>,
) -> Result<Json<AuthenticatorView>, Problem> {
    let peer = held_back(&service, &parts.extensions, &parts.headers)?;
    let secret = invitation_of(&service, peer, &tenant, &invitation)?;
    let shown = service.people().invited((&tenant, &person), &secret).await;
    let (person, authenticator) = counted(&service, peer, shown)?;
    let address = authenticator.address().expose_secret().to_owned();
    let (qr, qr_size) = drawn(&address);
    Ok(Json(AuthenticatorView {
        name: person.designation.name.clone(),
        secret: authenticator.base32().expose_secret().to_owned(),
        address,
        qr,
        qr_size,
        password_chars_min: catalogue::PASSWORD_CHARS_MIN,
    }))
}

fn invitation_of(
    service: &Service,
    peer: Peer,
    tenant: &TenantId,
    invitation: &SecretString,
) -> Result<SessionSecret, Problem> {
    let secret = SessionSecret::parse(invitation.expose_secret()).filter(|_| service.access().knows(tenant));
    counted(service, peer, secret.ok_or(SignInError::NoInvitation))
}

fn counted<T>(service: &Service, peer: Peer, outcome: Result<T, SignInError>) -> Result<T, Problem> {
    if matches!(outcome, Err(SignInError::NoInvitation)) {
        service.0.guesses.wrong(peer, &counted_under(peer));
    }
    Ok(outcome?)
}

/// The path of the dark modules of a QR code, four modules in from the edge, and the size of all.
fn drawn(text: &str) -> (String, i32) {
    const MARGIN: i32 = 4;
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).expect("an address of a few hundred bytes fits");
    let modules = (0..code.size()).flat_map(|y| (0..code.size()).map(move |x| (x, y)));
    let dark = modules.filter(|(x, y)| code.get_module(*x, *y));
    let path = dark.map(|(x, y)| format!("M{} {}h1v1h-1z", x + MARGIN, y + MARGIN)).collect();
    (path, code.size() + 2 * MARGIN)
}

/// How an invited person will sign in.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Enrol {
    /// For which tenant.
    #[schema(value_type = String)]
    tenant: TenantId,
    /// Who is invited.
    #[schema(value_type = String)]
    person: PersonId,
    /// The invitation.
    #[schema(value_type = String)]
    invitation: SecretString,
    /// The password.
    #[schema(value_type = String)]
    password: SecretString,
    /// The code that the authenticator shows now.
    #[schema(example = "287082")]
    code: String,
}

/// A person who has chosen.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Enrolled {
    /// Each takes the place of the authenticator's code once. They are shown this once, and kept nowhere.
    recovery_codes: Vec<String>,
}

/// Uses an invitation: the person signs in with this password and authenticator from now on.
#[utoipa::path(
    put, path = "/api/enrolment", tag = "people", operation_id = "enrol", security(()), request_body = Enrol,
    responses(
        (status = OK, body = Enrolled), (status = BAD_REQUEST), (status = NOT_FOUND), (status = TOO_MANY_REQUESTS),
        (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn enrol(
    State(service): State<Service>,
    parts: Parts,
    StrictJson(Enrol { tenant, person, invitation, password, code }): StrictJson<Enrol>,
) -> Result<Json<Enrolled>, Problem> {
    let (extensions, headers) = (&parts.extensions, &parts.headers);
    let (peer, address) = (held_back(&service, extensions, headers)?, address_of_request(extensions, headers));
    let secret = invitation_of(&service, peer, &tenant, &invitation)?;
    let presented = Presented { tenant, person, password, code };
    let codes = counted(&service, peer, service.people().enrol(secret, presented, address).await)?;
    let recovery_codes = codes.iter().map(|code| code.expose_secret().to_owned()).collect();
    Ok(Json(Enrolled { recovery_codes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_cookie_is_found_among_others_and_under_its_whole_name() {
        let secret = SessionSecret::random();
        let text = secret.text().expose_secret();
        let found = |value: &str| presented(&headers(&[("cookie", value)])).map(|secret| secret.hash());
        for good in [format!("__Host-vigie={text}"), format!("a=b; __Host-vigie={text}; c=d")] {
            assert_eq!(found(&good), Some(secret.hash()), "{good}");
        }
        for bad in ["", "__Host-vigie", "__Host-vigie=", &format!("vigie={text}"), &format!("x__Host-vigie={text}")] {
            assert_eq!(found(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_another_site_s_page_sends_is_recognised() {
        let own = |pairs: &[(&'static str, &str)]| is_of_own_page(&headers(pairs));
        assert!(own(&[("sec-fetch-site", "same-origin")]));
        assert!(own(&[("origin", "https://vigie.example"), ("host", "vigie.example")]));
        for site in ["cross-site", "same-site", "none"] {
            assert!(!own(&[("sec-fetch-site", site), ("origin", "https://vigie.example"), ("host", "vigie.example")]));
        }
        assert!(!own(&[("origin", "https://evil.example"), ("host", "vigie.example")]));
        assert!(!own(&[("origin", "null"), ("host", "null")]));
        assert!(!own(&[]));
    }

    #[test]
    fn a_qr_code_is_a_path_of_squares_with_a_margin() {
        let (path, size) = drawn("otpauth://totp/Vigie:marie%40town?secret=ABC&issuer=Vigie");
        assert!(size >= 21 + 8 && path.starts_with("M4 4h1v1h-1z"), "{size} {path}");
        assert!(path.matches('M').count() > 200);
    }
}
