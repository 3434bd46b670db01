//! Signing in with a password and a code, as a browser does it; and as others would like to.

use journal::entry::{Action, Author, Draft};
use secrecy::ExposeSecret;

use super::people::designation;
use super::*;
use crate::people::sign_in::Presented;

const PASSWORD: &str = "tuile brouette 7 nuage";

/// Who chose a password and an authenticator.
struct Marie {
    authenticator: catalogue::Authenticator,
    recovery: Vec<String>,
}

impl Gateway {
    async fn marie(&self, role: &str) -> Marie {
        let who = (&"north".parse().unwrap(), &"marie".parse().unwrap());
        let draft = || Draft::new(Author::Gateway, Action::CameraRetried);
        self.people.designate(who, designation(role), draft()).await.unwrap();
        let (secret, _) = self.people.invite(who, draft()).await.unwrap();
        let (_, authenticator) = self.people.invited(who, &secret).await.unwrap();
        let presented = Presented {
            tenant: who.0.clone(),
            person: who.1.clone(),
            password: PASSWORD.into(),
            // Half a minute before: the code of now is left for the test.
            code: authenticator.code("2026-03-01T11:59:30Z".parse().unwrap()),
        };
        let codes = self.people.enrol(secret, presented, None).await.unwrap();
        Marie { authenticator, recovery: codes.iter().map(|code| code.expose_secret().to_owned()).collect() }
    }

    pub(super) async fn post(&self, path: &str, body: &Value, headers: &[(&'static str, &str)]) -> Answer {
        self.with_json(Method::POST, path, body, headers).await
    }

    pub(super) async fn with_json(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        let mut asked = request(method, path, None);
        asked.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        for (name, value) in headers {
            asked.headers_mut().insert(*name, value.parse().unwrap());
        }
        *asked.body_mut() = Body::from(body.to_string());
        self.send(asked).await
    }

    async fn sign_in(&self, password: &str, code: &str) -> Answer {
        let body = serde_json::json!({"tenant": "north", "person": "marie", "password": password, "code": code});
        self.post("/api/sign-in", &body, &[]).await
    }

    /// Without a body, with these headers.
    pub(super) async fn plain(&self, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        let mut asked = request(method, path, None);
        for (name, value) in headers {
            asked.headers_mut().insert(*name, value.parse().unwrap());
        }
        self.send(asked).await
    }
}

impl Marie {
    /// The code of noon, which is when it always is here.
    fn code(&self) -> String {
        self.authenticator.code("2026-03-01T12:00:00Z".parse().unwrap())
    }
}

/// The cookie that an answer sets, as a browser sends it back.
fn cookie_of(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{:?}", answer.body);
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    for part in ["__Host-vigie=", "; Path=/;", "; Secure;", "; HttpOnly;", "; SameSite=Strict;", "; Max-Age=43200"] {
        assert!(set.contains(part), "{part}: {set}");
    }
    set.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_person_signs_in_with_password_and_code_and_out_again() {
    let gateway = Gateway::mutualised().await;
    let marie = gateway.marie("operator").await;
    let cookie = cookie_of(&gateway.sign_in(PASSWORD, &marie.code()).await);
    let own = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
    let me = gateway.plain(Method::GET, "/api/me", &own).await.json();
    assert_eq!((&me["person"]["id"], &me["tenant"]), (&"marie".into(), &"north".into()));
    let retried = gateway.plain(Method::POST, "/api/cameras/gate/reconnect", &own).await;
    assert_eq!(retried.status, StatusCode::ACCEPTED);
    // What her role does not open, the cookie does not.
    gateway.plain(Method::GET, "/api/journal", &own).await.problem(403);
    let signed_out = gateway.plain(Method::POST, "/api/sign-out", &own).await;
    assert_eq!(signed_out.status, StatusCode::NO_CONTENT);
    assert!(signed_out.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    let over = gateway.plain(Method::GET, "/api/me", &own).await;
    assert_eq!(over.problem(401)["type"], "urn:vigie:problem:signed-out");
    assert_eq!(over.headers[header::WWW_AUTHENTICATE], "Session", "no window of the browser's");
    let journal = gateway.ask("north", "/api/journal?limit=1000").await.json();
    let actions: Vec<&str> =
        journal["entries"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    for action in ["enrolled", "signed_in", "signed_out", "denied"] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    assert!(!journal.to_string().contains(cookie.split_once('=').unwrap().1));
}

#[tokio::test]
async fn what_is_wrong_does_not_say_what_and_is_slowed() {
    let gateway = Gateway::mutualised().await;
    let marie = gateway.marie("operator").await;
    let mut said = Vec::new();
    for (password, code) in [(PASSWORD, "000000".to_owned()), ("another password 9", marie.code())] {
        said.push(gateway.sign_in(password, &code).await.problem(401)["detail"].clone());
    }
    let nobody = serde_json::json!({"tenant": "north", "person": "nobody", "password": PASSWORD, "code": marie.code()});
    said.push(gateway.post("/api/sign-in", &nobody, &[]).await.problem(401)["detail"].clone());
    let nowhere = serde_json::json!({"tenant": "east", "person": "marie", "password": PASSWORD, "code": marie.code()});
    said.push(gateway.post("/api/sign-in", &nowhere, &[]).await.problem(401)["detail"].clone());
    assert!(said.iter().all(|detail| *detail == said[0]), "{said:?}");
    gateway.sign_in("a third password 3", &marie.code()).await.problem(401);
    let slowed = gateway.sign_in(PASSWORD, &marie.code()).await;
    slowed.problem(429);
    assert!(slowed.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn a_code_and_a_recovery_code_open_once_and_a_second_session_ends_the_first() {
    let gateway = Gateway::mutualised().await;
    let marie = gateway.marie("operator").await;
    let first = cookie_of(&gateway.sign_in(PASSWORD, &marie.code()).await);
    gateway.sign_in(PASSWORD, &marie.code()).await.problem(401);
    let second = cookie_of(&gateway.sign_in(PASSWORD, &marie.recovery[0]).await);
    let me = async |cookie: &str| gateway.plain(Method::GET, "/api/me", &[("cookie", cookie)]).await.status;
    assert_eq!((me(&first).await, me(&second).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));
    gateway.sign_in(PASSWORD, &marie.recovery[0]).await.problem(401);
}

#[tokio::test]
async fn what_another_site_s_page_asks_for_with_the_cookie_is_not_done() {
    let gateway = Gateway::mutualised().await;
    let marie = gateway.marie("all_rights").await;
    let cookie = cookie_of(&gateway.sign_in(PASSWORD, &marie.code()).await);
    let routes = super::tenants::routes(&gateway).await;
    let mut tried = 0;
    for route in routes.iter().filter(|route| route.rights.is_some() && !route.method.is_safe()) {
        let origins: [&[(&'static str, &str)]; 4] = [
            &[],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site"), ("origin", "https://localhost")],
            &[("origin", "https://evil.example")],
        ];
        for origin in origins {
            let headers = [&[("cookie", cookie.as_str())], origin].concat();
            let answer = gateway.plain(route.method.clone(), &route.path, &headers).await;
            assert_eq!(answer.problem(403)["type"], "urn:vigie:problem:not-permitted", "{route:?} {origin:?}");
            tried += 1;
        }
    }
    assert!(tried >= 40, "{tried}");
}

#[tokio::test]
async fn a_browser_is_shown_where_to_sign_in_and_a_program_how() {
    let gateway = Gateway::mutualised().await;
    let navigate = [("sec-fetch-mode", "navigate"), ("sec-fetch-site", "none")];
    let shown = gateway.plain(Method::GET, "/", &navigate).await;
    assert_eq!((shown.status, &shown.headers[header::LOCATION]), (StatusCode::SEE_OTHER, &"/sign-in".parse().unwrap()));
    let script = gateway.plain(Method::GET, "/api/status", &[("sec-fetch-site", "same-origin")]).await;
    script.problem(401);
    assert_eq!(script.headers[header::WWW_AUTHENTICATE], "Session");
    for (path, headers) in [("/api/status", &[][..]), ("/with-token", &navigate[..])] {
        let challenged = gateway.plain(Method::GET, path, headers).await;
        challenged.problem(401);
        assert!(challenged.headers[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "), "{path}");
    }
    for path in ["/sign-in", "/welcome"] {
        assert_eq!(gateway.plain(Method::GET, path, &[]).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn an_invitation_leads_to_a_credential_over_http_and_ends_the_one_before() {
    let gateway = Gateway::mutualised().await;
    let marie = gateway.marie("operator").await;
    let cookie = cookie_of(&gateway.sign_in(PASSWORD, &marie.code()).await);
    let invited = gateway.send(request(Method::POST, "/api/people/marie/invitations", Some("north:north token"))).await;
    assert_eq!(invited.status, StatusCode::CREATED);
    let path = invited.json()["path"].as_str().unwrap().to_owned();
    assert_eq!(invited.json()["until"], "2026-03-04T12:00:00Z");
    let over = gateway.plain(Method::GET, "/api/me", &[("cookie", &cookie)]).await;
    over.problem(401);
    gateway.sign_in(PASSWORD, &marie.recovery[1]).await.problem(401);
    let [tenant, person, secret] = path.strip_prefix("/welcome#").unwrap().split('/').collect::<Vec<_>>()[..] else {
        panic!("{path}")
    };
    let link = serde_json::json!({"tenant": tenant, "person": person, "invitation": secret});
    let shown = gateway.post("/api/enrolment", &link, &[]).await.json();
    assert_eq!((&shown["name"], &shown["password_chars_min"]), (&"Marie Durand".into(), &12.into()));
    assert!(shown["address"].as_str().unwrap().contains(shown["secret"].as_str().unwrap()));
    let (town, marie) = ("north".parse().unwrap(), "marie".parse().unwrap());
    let invitation = catalogue::SessionSecret::parse(secret).unwrap();
    let (_, authenticator) = gateway.people.invited((&town, &marie), &invitation).await.unwrap();
    let code = authenticator.code("2026-03-01T12:00:00Z".parse().unwrap());
    let with = |password: &str, code: &str| {
        let mut body = link.clone();
        (body["password"], body["code"]) = (password.into(), code.into());
        body
    };
    let put = async |body: Value| gateway.with_json(Method::PUT, "/api/enrolment", &body, &[]).await;
    let weak = put(with("password1234", &code)).await.problem(400);
    assert!(weak["detail"].as_str().unwrap().contains("guessed"), "{weak}");
    let wrong = put(with(PASSWORD, "000000")).await.problem(400);
    assert!(wrong["detail"].as_str().unwrap().starts_with("the code"), "{wrong}");
    let mut forged = with(PASSWORD, &code);
    forged["invitation"] = "0".repeat(64).into();
    put(forged).await.problem(404);
    let enrolled = put(with(PASSWORD, &code)).await.json();
    assert_eq!(enrolled["recovery_codes"].as_array().unwrap().len(), 10);
    put(with(PASSWORD, &code)).await.problem(404);
    let recovery = enrolled["recovery_codes"][0].as_str().unwrap();
    cookie_of(&gateway.sign_in(PASSWORD, recovery).await);
}

#[tokio::test]
async fn a_tenant_s_administrator_alone_invites() {
    let gateway = Gateway::mutualised().await;
    gateway.marie("operator").await;
    let invite = |credentials| request(Method::POST, "/api/people/marie/invitations", Some(credentials));
    gateway.send(invite("south:south token")).await.problem(404);
    gateway.plain(Method::POST, "/api/people/marie/invitations", &[]).await.problem(401);
}
