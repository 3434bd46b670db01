//! Who asks, and for which tenant: decided here and nowhere else.
//!
//! HTTP Basic (RFC 7617): the user name is the tenant's id, the password its access token. Browsers, curl, ffmpeg and VLC
//! all speak it, and a `<video>` element sends it along, which a header set by a script could not do.
//!
//! Invariants: a handler gets a camera's key only through its [`TenantScope`]; a request that reaches a handler without
//! one is refused. Without any token the one tenant is open to this machine alone, and only under a loopback host name:
//! a web page that points its own name at 127.0.0.1 (DNS rebinding) is refused.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use journal::entry::{Action, Author, Draft};
use secrecy::{ExposeSecret, SecretString};

use super::Service;
use super::guarded::guarded;
use super::guesses::Guesses;
use super::peer::{Peer, address_of_request};
use super::problem::{Problem, ProblemKind};
use crate::journals::AccessKey;
use footage::units::{CameraId, CameraKey, TenantId};

/// Who may ask for what.
#[derive(Clone)]
pub struct Access(Mode);

#[derive(Clone)]
enum Mode {
    /// Every tenant has a token; only hashes are kept.
    Tokens(HashMap<TenantId, blake3::Hash>),
    /// One tenant without a token, for requests under a loopback host name.
    Loopback(TenantId),
}

/// These tenants cannot be distinguished.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "tenant {0} has no access token: set one (only a gateway with a single tenant on a loopback address may do without)"
)]
pub struct TokenMissing(TenantId);

impl Access {
    /// From each tenant and its access token.
    pub fn new<'a>(
        tenants: impl IntoIterator<Item = (&'a TenantId, Option<&'a SecretString>)>,
    ) -> Result<Self, TokenMissing> {
        let mut tokens = HashMap::new();
        let mut without = None;
        for (tenant, token) in tenants {
            match token {
                Some(token) => drop(tokens.insert(tenant.clone(), blake3::hash(token.expose_secret().as_bytes()))),
                None if without.is_none() && tokens.is_empty() => without = Some(tenant.clone()),
                None => return Err(TokenMissing(tenant.clone())),
            }
        }
        match without {
            None => Ok(Self(Mode::Tokens(tokens))),
            Some(tenant) if tokens.is_empty() => Ok(Self(Mode::Loopback(tenant))),
            Some(tenant) => Err(TokenMissing(tenant)),
        }
    }

    /// `guesses` and `peer`: who has tried too many wrong credentials is held back. `refused` is called with the tenant whose
    /// credentials were tried.
    fn authorise(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        guesses: &Guesses,
        (peer, address): (Peer, Option<IpAddr>),
        refused: impl Fn(&TenantId),
    ) -> Result<TenantScope, Problem> {
        let scope = |tenant: &TenantId, author| TenantScope { tenant: tenant.clone(), author, address };
        match &self.0 {
            Mode::Loopback(tenant) if host_is_loopback(uri, headers) => Ok(scope(tenant, Author::Loopback)),
            Mode::Loopback(_) => Err(Problem::new(
                ProblemKind::ForeignHost,
                "without an access token the gateway answers to localhost and 127.0.0.1 only: use that name, or set \
                 access_token in the configuration",
            )),
            Mode::Tokens(tokens) => {
                let mut values = headers.get_all(header::AUTHORIZATION).iter();
                let (Some(value), None) = (values.next(), values.next()) else {
                    return Err(Problem::new(
                        ProblemKind::Unauthorized,
                        "present the tenant's id as user name and its access token as password (HTTP Basic)",
                    ));
                };
                let credentials = basic_credentials(value.as_bytes());
                let account = credentials.as_ref().map_or("", |(tenant, _)| tenant.as_str());
                if let Some(wait) = guesses.wait(peer, account) {
                    return Err(Problem::too_many(wait, "too many wrong access tokens were presented: wait"));
                }
                match &credentials {
                    Some((tenant, token)) if accepts(tokens, tenant, token) => {
                        guesses.right(peer, account);
                        Ok(scope(tenant, Author::AccessToken))
                    }
                    _ => {
                        guesses.wrong(peer, account);
                        credentials.iter().for_each(|(tenant, _)| refused(tenant));
                        Err(Problem::new(ProblemKind::Unauthorized, "the tenant's id or its access token is wrong"))
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Mode::Tokens(tokens) => write!(f, "Access({} tenants with tokens)", tokens.len()),
            Mode::Loopback(tenant) => write!(f, "Access({tenant} on loopback)"),
        }
    }
}

/// Hashes are compared in constant time; an unknown tenant costs what a wrong token costs.
fn accepts(tokens: &HashMap<TenantId, blake3::Hash>, tenant: &TenantId, token: &[u8]) -> bool {
    let nobody = blake3::Hash::from_bytes([0; 32]);
    let want = tokens.get(tenant);
    let same = blake3::hash(token) == *want.unwrap_or(&nobody);
    same && want.is_some()
}

/// `Basic base64(user:password)`, RFC 7617 §2. The scheme's case does not matter (RFC 9110 §11.1).
fn basic_credentials(value: &[u8]) -> Option<(TenantId, Vec<u8>)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut user = BASE64.decode(encoded.trim_ascii()).ok()?;
    let colon = user.iter().position(|&b| b == b':')?;
    let password = user.split_off(colon + 1);
    user.pop();
    Some((str::from_utf8(&user).ok()?.parse().ok()?, password))
}

/// True when every host that the request names is this machine, and it names one.
pub(super) fn host_is_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter().map(|value| value.to_str().ok()).peekable();
    let named = uri.authority().is_some() || hosts.peek().is_some();
    let in_uri = uri.authority().is_none_or(|authority| is_loopback_name(authority.as_str()));
    named && in_uri && hosts.all(|host| host.is_some_and(is_loopback_name))
}

fn is_loopback_name(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    host.eq_ignore_ascii_case("localhost")
        || host == "[::1]"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Middleware: puts the scope into the request, or answers with the problem.
pub(super) async fn authorise(State(service): State<Service>, mut request: Request, next: Next) -> Response {
    let from = (
        Peer::of_request(request.extensions(), request.headers()),
        address_of_request(request.extensions(), request.headers()),
    );
    let refused = |tenant: &TenantId| service.journals().refused(tenant);
    let guesses = &service.0.guesses;
    let scope = match service.access().authorise(request.uri(), request.headers(), guesses, from, refused) {
        Ok(scope) => scope,
        Err(problem) => return problem.into_response(),
    };
    let Some(permit) = service.0.requests.take(scope.tenant(), 1) else {
        let detail = "all requests that a tenant may have at once are being answered: wait for one to end";
        return Problem::too_many(Duration::from_secs(1), detail).into_response();
    };
    request.extensions_mut().insert(scope);
    guarded(next.run(request).await, permit)
}

/// The tenant in whose name a request is answered, and who makes it.
#[derive(Clone, Debug)]
pub(super) struct TenantScope {
    tenant: TenantId,
    author: Author,
    address: Option<IpAddr>,
}

impl TenantScope {
    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// An act of the one who makes the request, for the journal.
    pub(super) fn act(&self, action: Action) -> Draft {
        Draft::new(self.author.clone(), action).from_address(self.address)
    }

    /// Access to a camera of the one who makes the request, for the journal.
    pub(super) fn access(&self, camera: &CameraId, access: journal::entry::Access) -> AccessKey {
        AccessKey { author: self.author.clone(), address: self.address, camera: camera.clone(), access }
    }

    /// The only way for a handler to name a camera.
    pub(super) fn camera(&self, camera: CameraId) -> CameraKey {
        CameraKey { tenant: self.tenant.clone(), camera }
    }
}

impl<S: Sync> FromRequestParts<S> for TenantScope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| {
            tracing::error!(path = parts.uri.path(), "a route lies outside the authorisation");
            Problem::new(
                ProblemKind::Internal,
                "the gateway refuses to answer without authorisation: report this as a bug",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn town(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    fn access(tenants: &[(&str, Option<&str>)]) -> Result<Access, TokenMissing> {
        let tenants: Vec<_> = tenants.iter().map(|(id, token)| (town(id), token.map(SecretString::from))).collect();
        Access::new(tenants.iter().map(|(id, token)| (id, token.as_ref())))
    }

    /// With all of its tries left.
    fn authorise(access: &Access, uri: &Uri, headers: &HeaderMap) -> Result<TenantScope, Problem> {
        let peer = Peer::new(Ipv4Addr::new(203, 0, 113, 1).into());
        access.authorise(uri, headers, &Guesses::default(), (peer, None), |_| {})
    }

    fn scope_of(access: &Access, header: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, header.parse().unwrap())]);
        authorise(access, &Uri::from_static("/"), &headers).ok().map(|scope| scope.tenant().to_string())
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", BASE64.encode(credentials))
    }

    #[test]
    fn only_a_single_tenant_may_do_without_a_token() {
        assert!(access(&[("a", None)]).is_ok());
        assert!(access(&[("a", Some("x")), ("b", Some("y"))]).is_ok());
        for bad in [[("a", None), ("b", None)], [("a", Some("x")), ("b", None)], [("a", None), ("b", Some("y"))]] {
            assert!(access(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_token_opens_its_own_tenant_and_no_other() {
        let access = access(&[("a", Some("one")), ("b", Some("two:2"))]).unwrap();
        let check = |header: &str, want: Option<&str>| {
            assert_eq!(scope_of(&access, header).as_deref(), want, "{header}");
        };
        check(&basic("a:one"), Some("a"));
        check(&basic("b:two:2"), Some("b"));
        check(&basic("a:one").replace("Basic", "bAsIc"), Some("a"));
        for wrong in ["a:two:2", "b:one", "a:", "a", ":one", "c:one", "a:one ", "A:one", "", "a/x:one"] {
            check(&basic(wrong), None);
        }
        for garbage in ["", "Basic", "Basic ", "Basic !!!", "Bearer one", "Basic \u{7f}", &"Basic ".repeat(1000)] {
            let Ok(value) = garbage.parse::<header::HeaderValue>() else { continue };
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
            assert!(authorise(&access, &Uri::from_static("/"), &headers).is_err(), "{garbage}");
        }
    }

    #[test]
    fn a_token_that_hashes_to_the_stand_in_does_not_exist_and_two_headers_are_refused() {
        let access = access(&[("a", Some("one"))]).unwrap();
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, basic("a:one").parse().unwrap());
        headers.append(header::AUTHORIZATION, basic("a:one").parse().unwrap());
        assert!(authorise(&access, &Uri::from_static("/"), &headers).is_err());
    }

    #[test]
    fn without_a_token_only_loopback_host_names_are_answered() {
        let access = access(&[("a", None)]).unwrap();
        let check = |uri: &str, host: Option<&str>, want: bool| {
            let host = host.map(|h| (header::HOST, h.parse().unwrap()));
            let got = authorise(&access, &uri.parse().unwrap(), &HeaderMap::from_iter(host)).is_ok();
            assert_eq!(got, want, "{uri} {got}");
        };
        for good in ["localhost", "localhost:8080", "LocalHost:1", "127.0.0.1", "127.3.2.1:80", "[::1]", "[::1]:8080"] {
            check("/", Some(good), true);
            check(&format!("http://{good}/"), None, true);
        }
        for bad in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "[::2]:1",
            "::1",
            "localhost:80:80",
            "127.0.0.1:x",
            "0.0.0.0",
            "127.1",
        ] {
            check("/", Some(bad), false);
        }
        check("/", None, false);
        check("http://localhost/", Some("evil.example"), false);
        check("http://evil.example/", Some("localhost"), false);
        check("http://user@localhost/", Some("localhost"), false);
    }

    #[test]
    fn debug_shows_no_token_and_no_hash() {
        let shown = format!("{:?}", access(&[("a", Some("hush"))]).unwrap());
        assert!(!shown.contains("hush") && !shown.contains(&blake3::hash(b"hush").to_string()), "{shown}");
    }
}
