//! Signing in by an identity provider, as a browser does it; and as others would like to.

use journal::entry::{Action, Author, Draft};
use serde_json::json;

use super::people::designation;
use super::*;
use crate::config::OidcTenant;
use crate::oidc::Oidc;
use crate::oidc::tests::idp::{self, Idp};
use crate::oidc::tests::{config, provider, query};
use footage::clock::SimClock;
use footage::units::PersonId;

const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");
const NAME: &str = "/api/people/marie/accounts/directory";

struct Rig {
    gateway: Gateway,
    idp: Idp,
    oidc: Oidc,
}

impl Rig {
    async fn new() -> Self {
        let gateway = Gateway::mutualised().await;
        let clock = Arc::new(SimClock::starting_at(at("2026-03-01T12:00:00Z")));
        let idp = Idp::start(clock.clone()).await;
        let oidc = Oidc::new(&Keys::from_secret([7; 32]), clock);
        gateway.service.sign_in_by(oidc.clone());
        let rig = Self { gateway, idp, oidc };
        rig.follow(&["north"]);
        rig.designate("north", "marie").await;
        rig
    }

    /// The provider vouches for these tenants.
    fn follow(&self, tenants: &[&str]) {
        let of = |id: &&str| OidcTenant { id: id.parse().unwrap(), claim: None };
        let mut provider = provider(&self.idp.issuer);
        provider.tenants = tenants.iter().map(of).collect();
        let config = config(vec![provider]);
        self.oidc.apply(&config);
        let pair = |of: &OidcTenant| ("directory".parse().unwrap(), of.id.clone());
        self.gateway.people.set_providers(config.oidc[0].tenants.iter().map(pair));
    }

    async fn designate(&self, tenant: &str, person: &str) {
        let (tenant, person): (TenantId, PersonId) = (tenant.parse().unwrap(), person.parse().unwrap());
        let draft = Draft::new(Author::Gateway, Action::CameraRetried);
        self.gateway.people.designate((&tenant, &person), designation("operator"), draft).await.unwrap();
    }

    async fn name(&self, tenant: &str, path: &str, body: Value) -> Answer {
        let token = format!("Basic {}", BASE64.encode(format!("{tenant}:{tenant} token")));
        self.gateway.with_json(Method::PUT, path, &body, &[("authorization", token.as_str())]).await
    }

    /// Named by her address.
    async fn named(&self) {
        let named = self.name("north", NAME, json!({"email": "Marie@Town.example"})).await;
        assert_eq!(named.status, StatusCode::OK, "{:?}", named.body);
    }

    async fn begin(&self, body: Value) -> Answer {
        self.gateway.post("/api/sign-in/providers/directory", &body, &[OWN]).await
    }

    /// The answer to the browser that comes back.
    async fn come_back(&self, body: Value) -> Answer {
        let begun = self.begin(body).await;
        assert_eq!(begun.status, StatusCode::OK, "{:?}", begun.body);
        let set = begun.headers[header::SET_COOKIE].to_str().unwrap();
        for part in ["__Host-vigie-sign-in=", "; Path=/;", "; Secure;", "; HttpOnly;", "; SameSite=Lax;", "Max-Age=600"]
        {
            assert!(set.contains(part), "{part}: {set}");
        }
        let address = begun.json()["address"].as_str().unwrap().parse().unwrap();
        let answer = self.idp.authorise(&address);
        let code = secrecy::ExposeSecret::expose_secret(answer.code.as_ref().unwrap()).to_owned();
        let path = format!("/sign-in/directory/callback?code={code}&state={}&other=1", answer.state);
        self.gateway.plain(Method::GET, &path, &[("cookie", set.split(';').next().unwrap())]).await
    }

    async fn sign_in(&self) -> String {
        let answer = self.come_back(json!({})).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.headers);
        assert!(String::from_utf8_lossy(&answer.body).contains("url=/\""));
        let mut set = answer.headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap());
        let (session, flow) = (set.next().unwrap(), set.next().unwrap());
        assert!(session.starts_with("__Host-vigie=") && session.contains("; SameSite=Strict;"), "{session}");
        assert!(flow.starts_with("__Host-vigie-sign-in=;") && flow.contains("Max-Age=0"), "{flow}");
        session.split(';').next().unwrap().to_owned()
    }

    async fn me(&self, cookie: &str) -> StatusCode {
        self.gateway.plain(Method::GET, "/api/me", &[("cookie", cookie)]).await.status
    }

    async fn back_channel(&self, token: &str) -> Answer {
        let mut asked = request(Method::POST, "/sign-in/directory/back-channel", None);
        let form = "application/x-www-form-urlencoded; charset=utf-8".parse().unwrap();
        asked.headers_mut().insert(header::CONTENT_TYPE, form);
        *asked.body_mut() = Body::from(format!("logout_token={token}"));
        self.gateway.send(asked).await
    }

    async fn journal(&self) -> String {
        self.gateway.ask("north", "/api/journal?limit=1000").await.json().to_string()
    }
}

/// Where a sign-in that fails leads to: it says why, and sets no session.
fn why(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{:?}", answer.body);
    let why = answer.headers[header::LOCATION].to_str().unwrap().strip_prefix("/sign-in#").unwrap().to_owned();
    let set = answer.headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap());
    let set: Vec<_> = set.collect();
    match why.as_str() {
        // A sign-in that goes on in this browser goes on.
        "sign-in-over" => assert_eq!(set, [""; 0]),
        _ => assert!(set.len() == 1 && set[0].starts_with("__Host-vigie-sign-in=;"), "{set:?}"),
    }
    why
}

#[tokio::test]
async fn s2_a_person_who_is_designated_signs_in_by_a_provider_and_out_at_both() {
    let rig = Rig::new().await;
    rig.named().await;
    rig.idp.set(|idp| idp.claims = json!({"sid": "s"}));
    let cookie = rig.sign_in().await;
    let own = [("cookie", cookie.as_str()), OWN];
    let me = rig.gateway.plain(Method::GET, "/api/me", &own).await.json();
    assert_eq!((&me["person"]["id"], &me["tenant"]), (&"marie".into(), &"north".into()));
    let account = &me["person"]["accounts"][0];
    assert_eq!((&account["provider"], &account["email"]), (&"directory".into(), &"marie@town.example".into()));
    assert_eq!((&account["subject"], &account["first_used"]), (&"42".into(), &"2026-03-01T12:00:00Z".into()));
    // What her role does not open, the provider does not.
    rig.gateway.plain(Method::GET, "/api/journal", &own).await.problem(403);
    let left = rig.gateway.plain(Method::POST, "/api/sign-out", &own).await;
    let address: url::Url = left.json()["address"].as_str().unwrap().parse().unwrap();
    assert!(query(&address, "id_token_hint").unwrap().starts_with("eyJ"));
    assert!(left.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(rig.me(&cookie).await, StatusCode::UNAUTHORIZED);
    let journal = rig.journal().await;
    for said in [r#""action":"account_named""#, r#""action":"signed_in""#, r#""provider":"directory""#] {
        assert!(journal.contains(said), "{said}: {journal}");
    }
    assert!(!journal.contains("eyJ") && !journal.contains("the-code"), "{journal}");
    let events = rig.gateway.ask("north", "/api/events").await.json().to_string();
    assert!(events.contains("account_named"), "{events}");
}

#[tokio::test]
async fn a1_an_account_without_a_designation_opens_nothing() {
    let rig = Rig::new().await;
    assert_eq!(why(&rig.come_back(json!({})).await), "not-designated");
    rig.named().await;
    let cookie = rig.sign_in().await;
    let (town, marie) = ("north".parse().unwrap(), "marie".parse().unwrap());
    let draft = Draft::new(Author::Gateway, Action::CameraRetried);
    rig.gateway.people.revoke((&town, &marie), draft).await.unwrap();
    assert_eq!(rig.me(&cookie).await, StatusCode::UNAUTHORIZED);
    assert_eq!(why(&rig.come_back(json!({})).await), "not-designated");
    rig.designate("north", "marie").await;
    assert_eq!(why(&rig.come_back(json!({"tenant": "north"})).await), "not-designated");
}

#[tokio::test]
async fn who_is_a_person_of_several_tenants_says_for_which_and_no_other_is_opened() {
    let rig = Rig::new().await;
    rig.follow(&["north", "south"]);
    rig.named().await;
    rig.designate("south", "marie").await;
    let named = rig.name("south", NAME, json!({"subject": "42"})).await;
    assert_eq!(named.status, StatusCode::OK);
    assert_eq!(why(&rig.come_back(json!({})).await), "several-tenants");
    assert_eq!(rig.come_back(json!({"tenant": "south"})).await.status, StatusCode::OK);
    assert_eq!(why(&rig.come_back(json!({"tenant": "east"})).await), "not-designated");
    // What the configuration vouches for no more is over, and opens nothing.
    let cookie =
        rig.come_back(json!({"tenant": "north"})).await.headers[header::SET_COOKIE].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(rig.me(cookie).await, StatusCode::OK);
    rig.follow(&["south"]);
    assert_eq!(rig.me(cookie).await, StatusCode::UNAUTHORIZED);
    assert_eq!(why(&rig.come_back(json!({"tenant": "north"})).await), "not-designated");
    rig.name("north", NAME, json!({"subject": "42"})).await.problem(404);
}

#[tokio::test]
async fn what_goes_wrong_is_said_in_a_word_and_repeats_nothing() {
    let rig = Rig::new().await;
    rig.named().await;
    let callback = async |query: &str, headers: &[(&'static str, &str)]| {
        why(&rig.gateway.plain(Method::GET, &format!("/sign-in/directory/callback{query}"), headers).await)
    };
    assert_eq!(callback("", &[]).await, "sign-in-over");
    assert_eq!(callback("?code=x&state=y", &[("cookie", "__Host-vigie-sign-in=AAAA")]).await, "sign-in-over");
    assert_eq!(callback("?code=a&code=b&state=y&state=z&error=%0d%0a%3Cscript%3E", &[]).await, "sign-in-over");
    let unknown = rig.gateway.plain(Method::GET, "/sign-in/other/callback?code=x&state=y", &[]).await;
    assert_eq!(why(&unknown), "provider-unavailable");
    rig.gateway.post("/api/sign-in/providers/other", &json!({}), &[OWN]).await.problem(404);
    for origin in [&[][..], &[("sec-fetch-site", "cross-site")], &[("origin", "https://evil.example")]] {
        rig.gateway.post("/api/sign-in/providers/directory", &json!({}), origin).await.problem(403);
    }
    rig.idp.set(|idp| idp.claims = json!({"nonce": "another"}));
    assert_eq!(why(&rig.come_back(json!({})).await), "not-believed");
    rig.idp.set(|idp| (idp.claims, idp.odd) = (json!({}), Some(("/token", "500"))));
    assert_eq!(why(&rig.come_back(json!({})).await), "provider-unavailable");
    rig.idp.set(|idp| idp.odd = Some(("/token", "huge")));
    assert_eq!(why(&rig.come_back(json!({})).await), "provider-unavailable");
    // A stranger who makes many of them is slowed.
    let mut said = Vec::new();
    for _ in 0..20 {
        said.push(callback("?code=x&state=y", &[]).await);
    }
    assert!(said.contains(&"too-many".to_owned()), "{said:?}");
}

#[tokio::test]
async fn a_provider_that_says_who_left_ends_their_sessions_once_and_no_other_s() {
    let rig = Rig::new().await;
    rig.named().await;
    rig.idp.set(|idp| idp.claims = json!({"sid": "s"}));
    let cookie = rig.sign_in().await;
    let now = at("2026-03-01T12:00:00Z").to_timestamp().as_second();
    let claims = json!({"iss": rig.idp.issuer, "aud": "vigie", "iat": now, "exp": now + 120, "jti": "1", "sid": "s",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}}});
    let token = |more: Value| rig.idp.signed(&idp::over(claims.clone(), &more), &json!({}));
    let other = rig.back_channel(&token(json!({"sid": "another", "jti": "2"}))).await;
    assert_eq!((other.status, rig.me(&cookie).await), (StatusCode::OK, StatusCode::OK));
    // One of before she signed in ends nothing.
    let before = rig.back_channel(&token(json!({"jti": "3", "iat": now - 100, "exp": now + 10}))).await;
    assert_eq!((before.status, rig.me(&cookie).await), (StatusCode::OK, StatusCode::OK));
    let done = rig.back_channel(&token(json!({}))).await;
    assert_eq!(done.headers[header::CACHE_CONTROL], "private, no-store");
    assert_eq!((done.status, rig.me(&cookie).await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    let again = rig.sign_in().await;
    rig.back_channel(&token(json!({}))).await.problem(400);
    assert_eq!(rig.me(&again).await, StatusCode::OK, "a token that is presented again ends nothing");
    for garbage in ["", "x", &"A".repeat(50_000), &token(json!({"jti": "4", "nonce": "n"}))] {
        rig.back_channel(garbage).await.problem(400);
    }
    assert_eq!(rig.me(&again).await, StatusCode::OK);
    let journal = rig.journal().await;
    assert_eq!(journal.matches(r#""action":"signed_out""#).count(), 1, "{journal}");
    // By subject, all of hers.
    rig.back_channel(&token(json!({"sid": null, "sub": "42", "jti": "5"}))).await;
    assert_eq!(rig.me(&again).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_account_is_named_by_another_than_oneself_for_one_person_and_taken_back_at_once() {
    let rig = Rig::new().await;
    for bad in [
        json!({}),
        json!({"email": "a@b", "subject": "1"}),
        json!({"email": "no address"}),
        json!({"email": format!("{}@b", "x".repeat(300))}),
        json!({"subject": ""}),
        json!({"subject": "a\nb"}),
        json!({"other": 1}),
    ] {
        rig.name("north", NAME, bad).await.problem(400);
    }
    rig.name("north", "/api/people/nobody/accounts/directory", json!({"subject": "1"})).await.problem(404);
    rig.name("north", "/api/people/marie/accounts/other", json!({"subject": "1"})).await.problem(404);
    rig.name("south", NAME, json!({"subject": "1"})).await.problem(404);
    rig.named().await;
    rig.designate("north", "paul").await;
    let taken = rig.name("north", "/api/people/paul/accounts/directory", json!({"email": "marie@town.example"})).await;
    assert!(taken.problem(409)["detail"].as_str().unwrap().contains("marie"));
    let cookie = rig.sign_in().await;
    let removed = rig.gateway.send(request(Method::DELETE, NAME, Some("north:north token"))).await;
    assert_eq!((removed.status, rig.me(&cookie).await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    rig.gateway.send(request(Method::DELETE, NAME, Some("north:north token"))).await.problem(404);
    assert!(rig.journal().await.contains(r#""action":"account_removed""#));
    // An administrator who is a person gives none to themselves.
    let (town, boss) = ("north".parse().unwrap(), "boss".parse().unwrap());
    let draft = Draft::new(Author::Gateway, Action::CameraRetried);
    rig.gateway.people.designate((&town, &boss), designation("tenant_administrator"), draft.clone()).await.unwrap();
    let until = at("2026-03-02T12:00:00Z").to_timestamp();
    let token = rig.gateway.people.make_token((&town, &boss), ("x".to_owned(), until), |_| draft).await.unwrap();
    let credentials = BASE64.encode(format!("north:{}", secrecy::ExposeSecret::expose_secret(token.text())));
    let basic = format!("Basic {credentials}");
    let (own, body) = ("/api/people/boss/accounts/directory", json!({"subject": "1"}));
    rig.gateway.with_json(Method::PUT, own, &body, &[("authorization", basic.as_str())]).await.problem(403);
}
