//! Every route of the OpenAPI document, asked by those who may not: a route that is added is tried here, or this fails.

use super::*;
use crate::event::Scope;

/// The routes without credentials.
pub(super) const OPEN: [&str; 11] = [
    "/livez",
    "/readyz",
    "/sign-in",
    "/welcome",
    "/assets/{asset}",
    "/api/sign-in",
    "/api/enrolment",
    "/api/sign-in/providers",
    "/api/sign-in/providers/{provider}",
    "/sign-in/{provider}/callback",
    "/sign-in/{provider}/back-channel",
];
/// The operator's, which no tenant's token opens.
pub(super) const OPERATORS: [&str; 5] =
    ["/metrics", "/operator/status", "/operator/reload", "/operator/alarms", "/operator/alarms/{alarm}/acknowledge"];

/// One of `north`, and one that does not exist.
pub(super) const HOLD: &str = "06060606060606060606060606060606";
const NO_HOLD: &str = "07070707070707070707070707070707";
/// One of `north`, and one that does not exist.
pub(super) const REQUEST: &str = "05050505050505050505050505050505";
const NO_REQUEST: &str = "04040404040404040404040404040404";

/// One of `north`, and one that does not exist.
const ALARM: &str = "1";
const NO_ALARM: &str = "777";

/// One that does not exist.
const EXPORT: &str = "08080808080808080808080808080808";

/// What stands for each parameter of a path, for a camera of `north`.
pub(super) fn filled(path: &str) -> String {
    let values = [
        ("{camera}", "gate"),
        ("{pack}", "000102030405060708090a0b0c0d0e0f"),
        ("{segment}", "0-1.m4s"),
        ("{hold}", HOLD),
        ("{alarm}", ALARM),
        ("{person}", "someone"),
        ("{token}", "0123456789abcdef"),
        ("{grant}", "1"),
        ("{table}", "cameras.csv"),
        ("{export}", EXPORT),
        ("{request}", REQUEST),
        ("{scan}", "1"),
        ("{provider}", "directory"),
        ("{asset}", "none.js"),
    ];
    let filled = values.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
    assert!(!filled.contains('{'), "say here what stands for the parameter of {path}");
    filled
}

/// A query that each route takes, so that it is not refused for its question.
fn query(operation: &Value) -> String {
    let values = [
        ("start", "2026-03-01T09:00:00Z"),
        ("end", "2026-03-01T11:00:00Z"),
        ("at", "2026-03-01T10:00:00Z"),
        ("resolution_ms", "0"),
        ("camera", "gate"),
        ("after", "0"),
        ("after_hold", HOLD),
        ("limit", "10"),
        ("from", "0"),
        ("tracks", "video"),
        ("gaps", "held"),
        ("sha256", "true"),
        ("part", "1"),
        ("run", "000102030405060708090a0b0c0d0e0f"),
        ("day", "2026-02-01"),
        ("language", "fr"),
        ("until", "2026-03-01T11:00:00Z"),
        ("requests", "open"),
        ("after_request", REQUEST),
    ];
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let asked = parameters.iter().filter(|p| p["in"] == "query").map(|p| {
        let name = p["name"].as_str().unwrap();
        let value = values.iter().find(|(n, _)| *n == name);
        format!("{name}={}", value.unwrap_or_else(|| panic!("say here what stands for the parameter {name}")).1)
    });
    asked.collect::<Vec<_>>().join("&")
}

/// What each route that reads a body takes, so that it is not refused for that.
fn body(method: &Method, described: &str) -> Body {
    match (method.as_str(), described) {
        ("POST", "/api/cameras/{camera}/holds") => Body::from(
            r#"{"start": "2026-03-01T09:00:00Z", "end": "2026-03-01T11:00:00Z", "requester": "Lieutenant Petit",
                "reason": "theft", "until": "2026-03-20T00:00:00Z"}"#,
        ),
        ("POST", "/api/exports") => Body::from(
            r#"{"cameras": ["gate"], "start": "2026-03-01T09:00:00Z", "end": "2026-03-01T11:00:00Z", "reason": "theft",
                "recipient": "Lieutenant Petit"}"#,
        ),
        ("POST", "/api/cameras/{camera}/uploads") => {
            Body::from(r#"{"start": "2026-03-01T09:00:00Z", "end": "2026-03-01T11:00:00Z"}"#)
        }
        ("PUT", "/api/people/{person}") => Body::from(
            r#"{"name": "Some One", "role": "operator",
                "act": {"authority": "le maire", "number": "7", "date": "2026-01-01", "until": "2026-12-31"}}"#,
        ),
        ("POST", "/api/people/{person}/tokens") => Body::from(r#"{"label": "desk", "days": 9}"#),
        ("POST", "/api/people/{person}/grants") => Body::from(
            r#"{"cameras": ["gate"], "start": "2026-03-01T09:00:00Z", "end": "2026-03-01T11:00:00Z",
                "reference": "PV 1", "reason": "theft", "days": 9}"#,
        ),
        ("POST", "/api/sign-in") => Body::from(
            r#"{"tenant": "north", "person": "someone", "password": "tuile brouette 7 nuage", "code": "123456"}"#,
        ),
        ("POST", "/api/enrolment") => {
            Body::from(format!(r#"{{"tenant": "north", "person": "someone", "invitation": "{:064}"}}"#, 0))
        }
        ("PUT", "/api/enrolment") => Body::from(format!(
            r#"{{"tenant": "north", "person": "someone", "invitation": "{:064}", "password": "tuile brouette 7 nuage",
                "code": "123456"}}"#,
            0
        )),
        ("POST", "/api/sign-out" | "/api/people/{person}/invitations") => Body::empty(),
        ("PUT", "/api/me/reason") => Body::from(r#"{"reason": "a test of all routes"}"#),
        ("POST", "/api/requests") => Body::from(
            r#"{"asker": {"kind": "requisition", "authority": "tribunal", "officer": "Lieutenant Petit", "unit": "BSU",
                "procedure": "PV 9", "legal_basis": "CPP 77-1-1"}, "cameras": ["gate"],
                "periods": [{"start": "2026-03-01T09:00:00Z", "end": "2026-03-01T11:00:00Z"}]}"#,
        ),
        ("POST", "/api/requests/{request}/scans") => Body::from(&b"\x89PNG\r\n\x1a\n"[..]),
        ("POST", "/api/requests/{request}/holds") => Body::from(
            r#"{"holds": [{"camera": "gate", "until": "2026-04-01T00:00:00Z",
                "period": {"start": "2026-03-01T09:00:00Z", "end": "2026-03-01T11:00:00Z"}}]}"#,
        ),
        ("POST", "/api/requests/{request}/preparation") => Body::from(r#"{"export": "clip 1", "files": []}"#),
        ("POST", "/api/requests/{request}/release") => Body::empty(),
        ("POST", "/api/requests/{request}/hand-over") => {
            Body::from(r#"{"recipient": "Lieutenant Petit", "unit": "BSU", "medium": "DVD-R no. 12"}"#)
        }
        ("POST", "/api/requests/{request}/refusal") => {
            Body::from(r#"{"ground": "public_security", "explanation": "an event is being secured"}"#)
        }
        ("POST", "/api/requests/{request}/closing") => Body::from(r#"{"outcome": "withdrawn", "holds": "keep"}"#),
        ("POST", "/operator/reload" | "/api/sign-in/providers/{provider}") => Body::from("{}"),
        ("POST", "/sign-in/{provider}/back-channel") => Body::from("logout_token=x"),
        ("PUT", "/api/people/{person}/accounts/{provider}") => Body::from(r#"{"email": "someone@town.example"}"#),
        ("POST", path) if path.ends_with("/acknowledge") => Body::from("{}"),
        ("GET" | "DELETE", _) | ("POST", "/api/cameras/{camera}/reconnect") => Body::empty(),
        _ => panic!("say here what {method} {described} takes"),
    }
}

/// As this tenant, with its token.
async fn ask(gateway: &Gateway, tenant: &str, route: &Route, path: &str) -> Answer {
    ask_as(gateway, &format!("{tenant}:{tenant} token"), route, path).await
}

/// With these credentials.
pub(super) async fn ask_as(gateway: &Gateway, credentials: &str, route: &Route, path: &str) -> Answer {
    let mut asked = request(route.method.clone(), path, Some(credentials));
    asked.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    *asked.body_mut() = body(&route.method, &route.described);
    gateway.send(asked).await
}

#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// With its query.
    pub(super) path: String,
    pub(super) described: String,
    /// The rights that open it; `None` where the description names none.
    pub(super) rights: Option<Vec<String>>,
}

/// Every method of every path.
pub(super) async fn routes(gateway: &Gateway) -> Vec<Route> {
    let api = gateway.ask("north", "/api/openapi.json").await.json();
    let mut routes = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            let (path, described) = (format!("{}?{}", filled(path), query(operation)), path.clone());
            let rights = serde_json::from_value(operation["x-rights"].clone()).unwrap();
            routes.push(Route { method, path, described, rights });
        }
    }
    assert!(routes.len() >= 23, "{routes:?}");
    routes
}

#[tokio::test]
async fn no_route_answers_without_the_right_credentials() {
    let gateway = Gateway::mutualised().await;
    let wrong = [
        None,
        Some("north:south token"),
        Some("south:north token"),
        Some("north:"),
        Some("north"),
        Some(":north token"),
        Some("east:north token"),
        Some("north/gate:north token"),
        Some("\u{0}:\u{0}"),
    ];
    for Route { path, described, .. } in routes(&gateway).await {
        for credentials in wrong {
            for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE] {
                let answer = gateway.send(request(method.clone(), &path, credentials)).await;
                if OPEN.contains(&described.as_str()) {
                    assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
                    continue;
                }
                // Who has guessed too often is refused without being looked at.
                let held_back = credentials.is_some() && answer.status == StatusCode::TOO_MANY_REQUESTS;
                if !held_back {
                    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} as {credentials:?}");
                    let challenge = answer.headers[header::WWW_AUTHENTICATE].to_str().unwrap();
                    assert!(challenge.starts_with("Basic "), "{path}");
                }
                assert!(!String::from_utf8_lossy(&answer.body).contains("square"), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn no_route_shows_a_tenant_what_is_another_s() {
    let gateway = Gateway::mutualised().await;
    for route in routes(&gateway).await {
        let path = &route.path;
        let answer = ask(&gateway, "south", &route, path).await;
        let of_north = ["/api/cameras/{camera}", "/api/holds/{hold}", "/api/alarms/{alarm}", "/api/requests/{request}"];
        if of_north.iter().any(|start| route.described.starts_with(start)) {
            // As for a camera or a hold that does not exist at all: the answer does not reveal that it exists.
            let other = |text: &str| {
                let alarms = [format!("alarms/{ALARM}"), format!("alarms/{NO_ALARM}")];
                let said = [format!("alarm {ALARM}"), format!("alarm {NO_ALARM}")];
                let text = text.replace(&alarms[0], &alarms[1]).replace(&said[0], &said[1]);
                text.replace("gate", "nope").replace(HOLD, NO_HOLD).replace(REQUEST, NO_REQUEST)
            };
            let nobody = ask(&gateway, "south", &route, &other(path)).await;
            let (problem, expected) = (answer.problem(404), nobody.problem(404));
            let shown = other(&problem.to_string());
            assert_eq!(shown, expected.to_string(), "{path}");
        }
        for secret in ["north", "square", "place of north", "theft by night", HOLD, REQUEST] {
            // What was asked may be repeated.
            if path.contains(secret) {
                continue;
            }
            let body = String::from_utf8_lossy(&answer.body);
            assert!(!body.contains(secret), "{path} tells south {secret:?}: {body}");
        }
    }
    let journal = gateway.ask("south", "/api/journal?limit=1000").await.json().to_string();
    assert!(!journal.contains("gate"), "a camera of another tenant has no place in south's journal: {journal}");
    // What south asked to change is as it was.
    let alarms = gateway.ask("north", "/api/alarms").await.json();
    assert_eq!((&alarms[0]["id"], &alarms[0]["state"]), (&1.into(), &"active".into()));
    let holds = gateway.ask("north", "/api/holds").await.json();
    assert_eq!(holds.as_array().unwrap().len(), 1);
    assert_eq!((&holds[0]["id"], &holds[0]["closed"]), (&HOLD.into(), &Value::Null));
}

/// Names that the operator alone may read, wherever they come from.
const MARKS: [&str; 4] = ["MARKED-ENDPOINT", "MARKED-BUCKET", "/MARKED/keys/gateway.key", "MARKED-PASSWORD"];

#[tokio::test]
async fn marked_names_of_the_operator_and_of_other_tenants_reach_no_answer() {
    let gateway = Gateway::mutualised().await;
    let (camera, now) = (key("north/square"), at("2026-03-01T10:00:00Z"));
    // Every kind of event in every scope, its texts marked.
    let mut events = Vec::new();
    for fact in crate::event::tests::all() {
        for scope in [Scope::Gateway, Scope::Tenant(camera.tenant.clone()), Scope::Camera(camera.clone())] {
            let event = Event::new(now, scope, fact.clone());
            events.extend(crate::alarm::changes_of(event.clone()).into_iter().map(Change::Alarm));
            events.push(Change::Event(event));
        }
    }
    gateway.index.write(events).await.unwrap();
    gateway.status.slot(&camera).update(|status| {
        status.enter(CameraState::Gap(GapCause::WriteFailed), now);
        status.operator_detail = MARKS.join(" ");
        status.device_trouble.clock = MARKS.join(" ");
        status.also_offered = vec!["north's metadata".to_owned()];
    });
    let marks = MARKS.iter().copied().chain([crate::event::tests::MARK]);
    for route in routes(&gateway).await {
        let path = route.path.replace("limit=10", "limit=1000");
        for tenant in ["north", "south"] {
            let answer = ask(&gateway, tenant, &route, &path.replace("/gate", "/square")).await;
            let shown = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
            for mark in marks.clone() {
                assert!(!shown.contains(mark), "{path} shows {tenant} {mark}: {shown}");
            }
            for theirs in ["texte", "north", "square", "hvc1.1.6.L93.90"] {
                let allowed = tenant == "north" || path.contains(theirs) || route.described.contains("{camera}");
                assert!(allowed || !shown.contains(theirs), "{path} shows south {theirs}: {shown}");
            }
        }
    }
    // There was something to hide: the operator reads it.
    let all = gateway.index.all_events(0, 1_000).await.unwrap();
    assert!(all.iter().any(|row| row.event.encode().contains(crate::event::tests::MARK)));
}

#[tokio::test]
async fn events_and_causes_are_worded_in_the_language_asked_for() {
    let gateway = Gateway::mutualised().await;
    gateway.status.slot(&key("north/gate")).update(|status| {
        status.enter(CameraState::Gap(GapCause::Unauthorized), at("2026-03-01T11:59:00Z"));
    });
    let in_language = async |path: &str, language: &str| {
        let mut asked = request(Method::GET, path, Some("north:north token"));
        asked.headers_mut().insert(header::ACCEPT_LANGUAGE, language.parse().unwrap());
        gateway.send(asked).await.json()
    };
    let french = in_language("/api/events?camera=gate", "fr-FR,fr;q=0.9").await;
    assert_eq!(french[0]["text"], "connectée : about north/gate, 640x480");
    assert_eq!(french[0]["facts"], serde_json::json!({"codecs": "about north/gate", "width": 640, "height": 480}));
    assert_eq!((&french[0]["severity"], &french[0]["actor"]), (&"info".into(), &"gateway".into()));
    let english = in_language("/api/cameras/gate", "en").await;
    assert!(english["status"]["detail"].as_str().unwrap().contains("check username and password"));
    let french = in_language("/api/cameras/gate", "fr").await;
    assert!(french["status"]["detail"].as_str().unwrap().contains("vérifiez l'utilisateur"));
}

#[tokio::test]
async fn a_tenant_that_guesses_is_held_back_and_its_right_token_opens_again_in_time() {
    tokio::time::pause();
    let gateway = Gateway::mutualised().await;
    let as_north =
        async |token: &str| gateway.send(request(Method::GET, "/api/cameras", Some(&format!("north:{token}")))).await;
    let mut compared = 0;
    for n in 0..1_000 {
        compared += usize::from(as_north(&format!("guess {n}")).await.status == StatusCode::UNAUTHORIZED);
    }
    assert_eq!(compared, 10);
    let refused = as_north("north token").await;
    refused.problem(429);
    let wait: u64 = refused.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    tokio::time::advance(Duration::from_secs(wait)).await;
    assert_eq!(as_north("north token").await.status, StatusCode::OK);
}

#[tokio::test]
async fn each_route_answers_the_tenant_whose_it_is() {
    let gateway = Gateway::mutualised().await;
    for route in routes(&gateway).await {
        let answer = ask(&gateway, "north", &route, &route.path).await;
        if OPERATORS.contains(&route.described.as_str()) {
            answer.problem(401);
            continue;
        }
        // Without the operator's sources nothing is known, and that is no reason to be called ready.
        if route.described == "/readyz" {
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            continue;
        }
        if OPEN.contains(&route.described.as_str()) {
            assert!(!answer.status.is_server_error(), "{route:?}: {}", answer.status);
            continue;
        }
        // The walk goes by path: a step may come before the one that allows it.
        if route.described.starts_with("/api/requests/{request}/") && answer.status == StatusCode::CONFLICT {
            continue;
        }
        let allowed = [
            StatusCode::OK,
            StatusCode::CREATED,
            StatusCode::ACCEPTED,
            StatusCode::NO_CONTENT,
            StatusCode::SEE_OTHER,
            StatusCode::NOT_FOUND,
        ];
        assert!(allowed.contains(&answer.status), "{route:?}: {} {:?}", answer.status, answer.body);
    }
}

#[tokio::test]
async fn a_gateway_without_tokens_answers_under_loopback_names_only() {
    let gateway = Gateway::open().await;
    assert_eq!(gateway.send(request(Method::GET, "/api/cameras", None)).await.status, StatusCode::OK);
    let described = gateway.send(request(Method::GET, "/api/openapi.json", None)).await.json();
    for path in described["paths"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|p| !OPEN.contains(&p.as_str()) && !OPERATORS.contains(&p.as_str()))
    {
        let mut foreign = request(Method::GET, &filled(path), None);
        foreign.headers_mut().insert(header::HOST, "rebound.example".parse().unwrap());
        gateway.send(foreign).await.problem(421);
    }
}

#[test]
fn a_route_is_registered_with_its_description_or_not_at_all() {
    let registers = include_str!("../../http.rs");
    for bare in [".route(", ".nest(", ".route_service(", ".nest_service(", ".fallback_service("] {
        assert!(
            !registers.contains(bare),
            "{bare} leaves a route out of the OpenAPI document, and so out of these tests"
        );
    }
}
