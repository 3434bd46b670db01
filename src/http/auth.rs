//! Who asks, and for which tenant: decided here and nowhere else.
//!
//! HTTP Basic (RFC 7617): the user name is the tenant's id, the password a person's token, or the tenant's access token.
//! curl, ffmpeg and VLC speak it. Or the cookie of a session ([`sign_in`]), for a person in a browser.
//!
//! Invariants: a request reaches a handler with a [`TenantScope`] or not at all. Without an access token the one tenant is
//! open to this machine alone, and only under a loopback host name: a web page that points its own name at 127.0.0.1 (DNS
//! rebinding) is refused.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use catalogue::{Now, Person, Roles, Secret};
use journal::entry::Author;
use secrecy::{ExposeSecret, SecretString};

use super::Service;
use super::guarded::guarded;
use super::guesses::Guesses;
use super::peer::{Peer, address_of_request};
use super::problem::{Problem, ProblemKind};
use super::scope::{Holder, TenantScope};
use super::sign_in;
use crate::people::{People, PeopleError};
use footage::units::TenantId;

/// Who may ask for what.
#[derive(Clone)]
pub struct Access {
    mode: Mode,
    /// Tenants that ask why footage is looked at.
    asking: HashSet<TenantId>,
}

#[derive(Clone)]
enum Mode {
    /// Every tenant has a token.
    Tokens(HashMap<TenantId, TokenHash>),
    /// One tenant without a token, for requests under a loopback host name.
    Loopback(TenantId),
}

/// What is kept of a tenant's access token, and the role of its holder.
#[derive(Clone)]
struct TokenHash {
    hash: blake3::Hash,
    role: String,
}

/// These tenants cannot be distinguished.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "tenant {0} has no access token: set one (only a gateway with a single tenant on a loopback address may do without)"
)]
pub struct TokenMissing(TenantId);

/// A person who signed in in the page.
enum BySession {
    Good(TenantId, Holder),
    /// None is presented.
    None,
    /// It is over.
    Over,
}

/// Credentials that were looked at.
enum Looked {
    Good(TenantId, Holder),
    /// They were right once.
    Over(TenantId),
    /// Wrong; with the tenant that they name.
    Wrong(Option<TenantId>),
}

impl Access {
    /// From each tenant, its access token and the role of the token's holder.
    pub fn new<'a>(
        tenants: impl IntoIterator<Item = (&'a TenantId, Option<&'a SecretString>, &'a str)>,
    ) -> Result<Self, TokenMissing> {
        let mut tokens = HashMap::new();
        let mut without = None;
        for (tenant, token, role) in tenants {
            match token {
                Some(token) => {
                    let hash = blake3::hash(token.expose_secret().as_bytes());
                    tokens.insert(tenant.clone(), TokenHash { hash, role: role.to_owned() });
                }
                None if without.is_none() && tokens.is_empty() => without = Some(tenant.clone()),
                None => return Err(TokenMissing(tenant.clone())),
            }
        }
        match without {
            None => Ok(Self { mode: Mode::Tokens(tokens), asking: HashSet::new() }),
            Some(tenant) if tokens.is_empty() => Ok(Self { mode: Mode::Loopback(tenant), asking: HashSet::new() }),
            Some(tenant) => Err(TokenMissing(tenant)),
        }
    }

    /// The same; these tenants ask for a reason before footage is shown.
    #[must_use]
    pub fn asking_why(self, tenants: impl IntoIterator<Item = TenantId>) -> Self {
        Self { asking: tenants.into_iter().collect(), ..self }
    }

    /// Whether this tenant asks for a reason.
    pub(super) fn asks_why(&self, tenant: &TenantId) -> bool {
        self.asking.contains(tenant)
    }

    /// Whether there is one tenant, without an access token.
    fn is_loopback(&self) -> bool {
        matches!(self.mode, Mode::Loopback(_))
    }

    /// Whether this tenant is configured.
    pub(super) fn knows(&self, tenant: &TenantId) -> bool {
        match &self.mode {
            Mode::Tokens(tokens) => tokens.contains_key(tenant),
            Mode::Loopback(own) => own == tenant,
        }
    }

    /// For whom a request is made, and who makes it. `guesses` and `peer`: who has tried too many wrong credentials is held
    /// back. `refused` is called with the tenant whose credentials were tried.
    fn authorise(
        &self,
        (uri, headers): (&Uri, &HeaderMap),
        people: &dyn Holders,
        (guesses, peer): (&Guesses, Peer),
        refused: impl Fn(&TenantId),
    ) -> Result<(TenantId, Holder), Problem> {
        if let Mode::Loopback(tenant) = &self.mode {
            if !host_is_loopback(uri, headers) {
                return Err(Problem::new(
                    ProblemKind::ForeignHost,
                    "without an access token the gateway answers to localhost and 127.0.0.1 only: use that name, or set \
                     access_token in the configuration",
                ));
            }
            if !headers.contains_key(header::AUTHORIZATION) {
                let role = Roles::ALL_RIGHTS.to_owned();
                return Ok((tenant.clone(), Holder::Role { author: Author::Loopback, role }));
            }
        }
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Problem::new(
                ProblemKind::Unauthorized,
                "present the tenant's id as user name and your token as password (HTTP Basic)",
            ));
        };
        let credentials = basic_credentials(value.as_bytes());
        let account = credentials.as_ref().map_or("", |(tenant, _)| tenant.as_str()).to_owned();
        if let Some(wait) = guesses.wait(peer, &account) {
            return Err(Problem::too_many(wait, "too many wrong tokens were presented: wait"));
        }
        let refuse = |tenant: Option<&TenantId>| {
            tenant.into_iter().for_each(&refused);
            Problem::new(ProblemKind::Unauthorized, "the tenant's id or the token is wrong, or the token is over")
        };
        match self.look(credentials, people)? {
            Looked::Good(tenant, holder) => {
                guesses.right(peer, &account);
                Ok((tenant, holder))
            }
            // A player goes on with a token that is over: that must not hold back all who share its address.
            Looked::Over(tenant) => Err(refuse(Some(&tenant))),
            Looked::Wrong(tenant) => {
                guesses.wrong(peer, &account);
                Err(refuse(tenant.as_ref()))
            }
        }
    }

    fn look(&self, credentials: Option<(TenantId, Vec<u8>)>, people: &dyn Holders) -> Result<Looked, Problem> {
        let Some((tenant, password)) = credentials else { return Ok(Looked::Wrong(None)) };
        if let Some(secret) = str::from_utf8(&password).ok().and_then(Secret::parse) {
            // A tenant that is configured no more has nobody who acts for it.
            let person = people.holder(&tenant, &secret)?.filter(|_| self.knows(&tenant));
            return Ok(match person {
                Some(person) => Looked::Good(tenant, Holder::Person(person)),
                None if people.is_over(&tenant, &secret)? => Looked::Over(tenant),
                None => Looked::Wrong(Some(tenant)),
            });
        }
        let Mode::Tokens(tokens) = &self.mode else { return Ok(Looked::Wrong(Some(tenant))) };
        Ok(match accepts(tokens, &tenant, &password) {
            Some(role) => Looked::Good(tenant, Holder::Role { author: Author::AccessToken, role }),
            None => Looked::Wrong(Some(tenant)),
        })
    }
}

/// Who presents a person's token.
trait Holders {
    fn holder(&self, tenant: &TenantId, secret: &Secret) -> Result<Option<Arc<Person>>, PeopleError>;
    /// Whether it was a person's, and is no more.
    fn is_over(&self, tenant: &TenantId, secret: &Secret) -> Result<bool, PeopleError>;
}

impl Holders for People {
    fn holder(&self, tenant: &TenantId, secret: &Secret) -> Result<Option<Arc<Person>>, PeopleError> {
        People::holder(self, tenant, secret)
    }

    fn is_over(&self, tenant: &TenantId, secret: &Secret) -> Result<bool, PeopleError> {
        People::is_over(self, tenant, secret)
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.mode {
            Mode::Tokens(tokens) => write!(f, "Access({} tenants with tokens)", tokens.len()),
            Mode::Loopback(tenant) => write!(f, "Access({tenant} on loopback)"),
        }
    }
}

/// The role of the token's holder. Hashes are compared in constant time; an unknown tenant costs what a wrong token costs.
fn accepts(tokens: &HashMap<TenantId, TokenHash>, tenant: &TenantId, token: &[u8]) -> Option<String> {
    let nobody = blake3::Hash::from_bytes([0; 32]);
    let want = tokens.get(tenant);
    let same = blake3::hash(token) == want.map_or(nobody, |want| want.hash);
    want.filter(|_| same).map(|want| want.role.clone())
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

/// The person of the session whose cookie is presented, where no other credentials are. What changes something is taken only
/// from a page of this gateway's own: a browser sends the cookie with whatever a page asks for.
fn by_session(access: &Access, people: &People, request: &Request) -> Result<BySession, Problem> {
    let headers = request.headers();
    if headers.contains_key(header::AUTHORIZATION) {
        return Ok(BySession::None);
    }
    let Some(secret) = sign_in::presented(headers) else { return Ok(BySession::None) };
    let person = match people.session(&secret) {
        Ok(person) => person.filter(|person| access.knows(&person.tenant)),
        Err(_) if access.is_loopback() => None,
        Err(error) => return Err(error.into()),
    };
    let Some(person) = person else {
        // Without access tokens a cookie of before opens nothing, and shuts nothing.
        return Ok(if access.is_loopback() { BySession::None } else { BySession::Over });
    };
    if !request.method().is_safe() && !sign_in::is_of_own_page(headers) {
        let detail = "a page of another site made this request, or a program without Origin: nothing was done";
        return Err(Problem::new(ProblemKind::NotPermitted, detail));
    }
    Ok(BySession::Good(person.tenant.clone(), Holder::Person(person)))
}

/// Who opens a page without credentials is shown where to sign in; a script of a page gets no challenge that would open a
/// window of the browser's.
fn to_sign_in(problem: Problem, request: &Request) -> Response {
    let asks = problem.kind() == ProblemKind::Unauthorized || problem.kind() == ProblemKind::SignedOut;
    let headers = request.headers();
    if !asks || headers.contains_key(header::AUTHORIZATION) || request.uri().path() == super::page::WITH_TOKEN {
        return problem.into_response();
    }
    if sign_in::is_navigation(headers) {
        return Redirect::to(super::page::SIGN_IN).into_response();
    }
    match sign_in::is_of_script(headers) {
        true => Problem::new(ProblemKind::SignedOut, "nobody is signed in here").into_response(),
        false => problem.into_response(),
    }
}

/// Middleware: puts the scope into the request, or answers with the problem.
pub(super) async fn authorise(State(service): State<Service>, mut request: Request, next: Next) -> Response {
    let peer = Peer::of_request(request.extensions(), request.headers());
    let address = address_of_request(request.extensions(), request.headers());
    let refused = |tenant: &TenantId| service.journals().refused(tenant);
    let (people, presented) = (service.people(), (request.uri(), request.headers()));
    let access = service.access();
    let authorised = match by_session(&access, people, &request) {
        Ok(BySession::Good(tenant, holder)) => Ok((tenant, holder)),
        Ok(BySession::None) => access.authorise(presented, people, (&service.0.guesses, peer), refused),
        Ok(BySession::Over) => Err(Problem::new(ProblemKind::SignedOut, "the session is over: sign in again")),
        Err(problem) => Err(problem),
    };
    let (tenant, holder) = match authorised {
        Ok(authorised) => authorised,
        Err(problem) => return to_sign_in(problem, &request),
    };
    let too_many = |detail| Problem::too_many(Duration::from_secs(1), detail).into_response();
    let of_person = match &holder {
        Holder::Role { .. } => None,
        Holder::Person(person) => {
            let Some(permit) = service.0.requests_of_persons.take(&(tenant.clone(), person.id.clone()), 1) else {
                return too_many("all requests that a person may have at once are being answered: wait for one to end");
            };
            Some(permit)
        }
    };
    let Some(permit) = service.0.requests.take(&tenant, 1) else {
        return too_many("all requests that a tenant may have at once are being answered: wait for one to end");
    };
    let now = Now { at: service.footage().clock.wall().to_timestamp(), zone: service.0.time_zone.clone() };
    let scope = TenantScope::new(tenant, holder, address, people.roles(), now);
    let (asks_why, reason) = (access.asks_why(scope.tenant()), service.0.reasons.get(scope.tenant(), &scope.author()));
    request.extensions_mut().insert(scope.stating(asks_why, reason));
    guarded(next.run(request).await, (permit, of_person))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn town(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    fn access(tenants: &[(&str, Option<&str>)]) -> Result<Access, TokenMissing> {
        let tenants: Vec<_> = tenants.iter().map(|(id, token)| (town(id), token.map(SecretString::from))).collect();
        Access::new(tenants.iter().map(|(id, token)| (id, token.as_ref(), Roles::TENANT_ADMINISTRATOR)))
    }

    /// No person.
    struct Nobody;

    impl Holders for Nobody {
        fn holder(&self, _: &TenantId, _: &Secret) -> Result<Option<Arc<Person>>, PeopleError> {
            Ok(None)
        }

        fn is_over(&self, _: &TenantId, _: &Secret) -> Result<bool, PeopleError> {
            Ok(false)
        }
    }

    /// With all of its tries left.
    fn authorise(access: &Access, uri: &Uri, headers: &HeaderMap) -> Result<(TenantId, Holder), Problem> {
        let peer = Peer::new(Ipv4Addr::new(203, 0, 113, 1).into());
        access.authorise((uri, headers), &Nobody, (&Guesses::default(), peer), |_| {})
    }

    fn scope_of(access: &Access, header: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, header.parse().unwrap())]);
        authorise(access, &Uri::from_static("/"), &headers).ok().map(|(tenant, _)| tenant.to_string())
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
