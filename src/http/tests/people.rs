//! Every route of the OpenAPI document, as each role, as an act that is over, out of hours, beyond the permitted age: a route
//! that is added is tried here. And persons, managed over HTTP.

use catalogue::{Act, Designation, Right, Scope};
use futures::StreamExt;
use jiff::civil::date;
use journal::entry::{Action, Author, Draft};
use secrecy::ExposeSecret;

use super::super::clip::{BrokeOff, until_revoked};
use super::super::scope::{Holder, Recipient, TenantScope};
use super::tenants::{HOLD, OPEN, OPERATORS, Route, ask_as, routes};
use super::*;
use footage::units::PersonId;

pub(super) fn designation(role: &str) -> Designation {
    let act = Act {
        authority: "le maire".to_owned(),
        number: "2026-117".to_owned(),
        date: date(2026, 1, 1),
        until: date(2026, 12, 31),
    };
    Designation { name: "Marie Durand".to_owned(), role: role.to_owned(), act, scope: Scope::default() }
}

fn draft() -> Draft {
    Draft::new(Author::Gateway, Action::CameraRetried)
}

impl Gateway {
    /// What this person of `north` presents.
    pub(super) async fn person(&self, id: &str, designation: Designation) -> String {
        let (tenant, person): (TenantId, PersonId) = ("north".parse().unwrap(), id.parse().unwrap());
        let who = (&tenant, &person);
        self.people.designate(who, designation, draft()).await.unwrap();
        let token = ("desk".to_owned(), "2027-01-01T00:00:00Z".parse().unwrap());
        let secret = self.people.make_token(who, token, |_| draft()).await.unwrap();
        format!("north:{}", secret.text().expose_secret())
    }

    pub(super) async fn get_as(&self, credentials: &str, path: &str) -> Answer {
        self.send(request(Method::GET, path, Some(credentials))).await
    }

    pub(super) async fn send_json(&self, method: Method, path: &str, credentials: &str, body: &str) -> Answer {
        let mut asked = request(method, path, Some(credentials));
        asked.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        *asked.body_mut() = Body::from(body.to_owned());
        self.send(asked).await
    }

    pub(super) async fn journal(&self) -> Vec<Value> {
        let journal = self.ask("north", "/api/journal?limit=1000").await.json();
        journal["entries"].as_array().unwrap().clone()
    }
}

/// The routes of a tenant, with the rights that open each.
async fn tenants_routes(gateway: &Gateway) -> Vec<(Route, Vec<Right>)> {
    let all = routes(gateway).await.into_iter();
    let of_tenant = |route: &Route| {
        let path = route.described.as_str();
        !OPEN.contains(&path) && !OPERATORS.contains(&path)
    };
    let with_rights = |route: Route| {
        let names = route.rights.clone().unwrap_or_else(|| panic!("say which rights open {route:?}"));
        let right = |name: &String| Right::ALL.into_iter().find(|right| right.as_str() == name).unwrap();
        let rights = names.iter().map(right).collect();
        (route, rights)
    };
    all.filter(of_tenant).map(with_rights).collect()
}

#[tokio::test]
async fn a1_each_role_opens_the_routes_of_its_rights_and_no_other() {
    let gateway = Gateway::mutualised().await;
    let (roles, routes) = (Roles::built_in(), tenants_routes(&gateway).await);
    let mut refused = 0;
    for name in roles.names() {
        let credentials = gateway.person(&name.replace('_', "-"), designation(name)).await;
        for (route, rights) in &routes {
            let answer = ask_as(&gateway, &credentials, route, &route.path).await;
            let opens = rights.is_empty() || rights.iter().any(|right| roles.get(name).unwrap().contains(right));
            assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{name} {route:?}");
            assert_eq!(answer.status != StatusCode::FORBIDDEN, opens, "{name} {route:?} {:?}", answer.body);
            if !opens {
                refused += 1;
                assert_eq!(answer.problem(403)["type"], "urn:vigie:problem:not-permitted");
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

#[tokio::test]
async fn a1_whose_act_is_not_in_force_or_out_of_hours_gets_nothing_at_all() {
    let gateway = Gateway::mutualised().await;
    let with = |change: &dyn Fn(&mut Designation)| {
        let mut changed = designation(Roles::ALL_RIGHTS);
        change(&mut changed);
        changed
    };
    // It is 13:00 in Paris, on the first of March.
    let cases = [
        ("over", with(&|of| of.act.until = date(2026, 2, 28)), "act was in force until 2026-02-28"),
        ("not-yet", with(&|of| of.act.date = date(2026, 3, 2)), "in force from 2026-03-02"),
        ("at-night", with(&|of| of.scope.hours = Some("20:00-13:00".parse().unwrap())), "in the hours 20:00-13:00"),
        ("no-role", with(&|of| of.role = "gone".to_owned()), "no role"),
    ];
    for (id, designation, why) in cases {
        let credentials = gateway.person(id, designation).await;
        for (route, rights) in tenants_routes(&gateway).await {
            let answer = ask_as(&gateway, &credentials, &route, &route.path).await;
            if rights.is_empty() {
                assert!(answer.status.as_u16() < 400, "{id} {route:?}");
                continue;
            }
            let problem = answer.problem(403);
            assert!(problem["detail"].as_str().unwrap().contains(why), "{id} {route:?}: {problem}");
        }
        let me = gateway.get_as(&credentials, "/api/me").await.json();
        assert_eq!(me["rights"], serde_json::json!([]), "{me}");
    }
    // On the last day, and from the first minute of the hours on, they do.
    let today = with(&|of| {
        (of.act.date, of.act.until) = (date(2026, 3, 1), date(2026, 3, 1));
        of.scope.hours = Some("13:00-13:01".parse().unwrap());
    });
    let credentials = gateway.person("today", today).await;
    assert_eq!(gateway.get_as(&credentials, "/api/cameras").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a1_a_person_of_one_tenant_is_nobody_to_another() {
    let gateway = Gateway::mutualised().await;
    let credentials = gateway.person("marie", designation(Roles::ALL_RIGHTS)).await;
    let elsewhere = credentials.replace("north:", "south:");
    assert_eq!(gateway.ask("south", "/api/people").await.json(), serde_json::json!([]));
    for (route, _) in tenants_routes(&gateway).await {
        let answer = ask_as(&gateway, &elsewhere, &route, &route.path).await;
        let held_back = answer.status == StatusCode::TOO_MANY_REQUESTS;
        assert!(held_back || answer.status == StatusCode::UNAUTHORIZED, "{route:?}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_camera_that_a_designation_does_not_name_is_shown_nowhere() {
    let gateway = Gateway::mutualised().await;
    let mut narrow = designation(Roles::ALL_RIGHTS);
    narrow.scope.cameras = Some(["square".parse().unwrap()].into());
    let credentials = gateway.person("marie", narrow).await;
    for (route, _) in tenants_routes(&gateway).await {
        let path = route.path.replace("camera=gate", "camera=square");
        let answer = ask_as(&gateway, &credentials, &route, &path).await;
        if route.described.contains("{camera}") {
            answer.problem(403);
            // As for one that does not exist: the answer does not reveal that it does.
            ask_as(&gateway, &credentials, &route, &path.replace("gate", "nope")).await.problem(403);
            let own = ask_as(&gateway, &credentials, &route, &path.replace("gate", "square")).await;
            assert_ne!(own.status, StatusCode::FORBIDDEN, "{route:?} {:?}", own.body);
        } else if ["{hold}", "{alarm}", "{request}"].iter().any(|of| route.described.contains(of)) {
            // All are the gate's.
            answer.problem(404);
        } else if !["/api/journal", "/api/openapi.json"].contains(&route.described.as_str())
            && !route.described.starts_with("/api/people")
        {
            let shown = String::from_utf8_lossy(&answer.body);
            assert!(!shown.contains("gate\"") && !shown.contains("north/gate"), "{route:?}: {shown}");
        }
    }
    gateway.get_as(&credentials, "/api/events?camera=gate").await.problem(403);
    let cameras = gateway.get_as(&credentials, "/api/cameras").await.json();
    assert_eq!(cameras.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_others_see_takes_no_place_in_the_lists_of_who_sees_one_camera() {
    let gateway = Gateway::mutualised().await;
    let mut narrow = designation("supervisor");
    narrow.scope.cameras = Some(["gate".parse().unwrap()].into());
    let credentials = gateway.person("marie", narrow).await;
    // Of the square there is all that comes first: worse, later, newer.
    let later = |n: u8| HoldFacts { id: HoldId([n; 16]), placed: at("2026-03-01T11:45:00Z"), ..hold() };
    let silent = Event::of_camera(
        at("2026-03-01T11:00:00Z"),
        &key("north/square"),
        Fact::ConnectionLost { cause: GapCause::Silent },
    );
    let raise = |subject: &str| {
        let (kind, subject) = ("camera_not_recorded", subject.to_owned());
        Change::Alarm(crate::index::alarm::AlarmChange::Raise { kind, subject, lasts: true, event: silent.clone() })
    };
    let place = |n| Change::PlaceHold { camera: key("north/square"), hold: Arc::new(later(n)) };
    gateway.index.write(vec![place(8), place(9), raise("a"), raise("b"), Change::Event(silent.clone())]).await.unwrap();
    // The newest event is of no camera: that her token was made.
    for (path, last) in [("/api/events?limit=2", 1), ("/api/alarms?limit=1", 0), ("/api/holds?limit=1", 0)] {
        let list = gateway.get_as(&credentials, path).await.json();
        assert_eq!(list.as_array().map(Vec::len), Some(last + 1), "{path}: {list}");
        assert_eq!(list[last]["camera"], "gate", "{path}");
    }
    let rest = gateway.get_as(&credentials, &format!("/api/holds?after_hold={HOLD}")).await.json();
    assert_eq!(rest, serde_json::json!([]));
}

#[tokio::test]
async fn footage_is_refused_beyond_the_permitted_age_and_in_ways_that_are_not_covered() {
    let gateway = Gateway::mutualised().await;
    let with = |change: &dyn Fn(&mut Scope)| {
        let mut changed = designation(Roles::ALL_RIGHTS);
        change(&mut changed.scope);
        changed
    };
    let two_hours = gateway.person("recent", with(&|scope| scope.back_hours = Some(2))).await;
    let live = gateway.person("live", with(&|scope| scope.recorded = false)).await;
    let recorded = gateway.person("recorded", with(&|scope| scope.live = false)).await;
    // At noon.
    let range = |start: &str| format!("start=2026-03-01T{start}Z&end=2026-03-01T11:00:00Z");
    let paths = |start: &str| {
        [
            format!("/api/cameras/gate/clip.mp4?{}", range(start)),
            format!("/api/cameras/gate/hls/vod.m3u8?{}", range(start)),
            format!("/api/cameras/gate/snapshot.jpg?at=2026-03-01T{start}Z"),
            format!("/api/holds/{HOLD}/clip.mp4?{}", range(start)),
        ]
    };
    for (early, late) in paths("09:59:59").iter().zip(paths("10:00:00")) {
        let answer = gateway.get_as(&two_hours, early).await;
        assert!(answer.problem(403)["detail"].as_str().unwrap().contains("last 2 hours"), "{early}");
        let head = gateway.send(request(Method::HEAD, early, Some(&two_hours))).await;
        assert_eq!(head.status, StatusCode::FORBIDDEN, "{early}");
        let allowed = gateway.get_as(&two_hours, &late).await;
        assert_ne!(allowed.status, StatusCode::FORBIDDEN, "{late}");
        gateway.get_as(&live, &late).await.problem(403);
        assert_ne!(gateway.get_as(&recorded, early).await.status, StatusCode::FORBIDDEN, "{early}");
    }
    let playlist = "/api/cameras/gate/hls/live.m3u8";
    gateway.get_as(&recorded, playlist).await.problem(403);
    assert_ne!(gateway.get_as(&live, playlist).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn footage_that_is_being_sent_ends_when_the_designation_is_revoked() {
    let gateway = Gateway::mutualised().await;
    let (tenant, id): (TenantId, PersonId) = ("north".parse().unwrap(), "marie".parse().unwrap());
    gateway.person("marie", designation("supervisor")).await;
    let person = gateway.people.tables().unwrap().person(&tenant, &id).unwrap().clone();
    let now = catalogue::Now { at: at("2026-03-01T12:00:00Z").to_timestamp(), zone: jiff::tz::TimeZone::UTC };
    let scope = TenantScope::new(tenant.clone(), Holder::Person(person), None, gateway.people.roles(), now);
    let bytes = futures::stream::iter((0..4).map(|_| Ok(Bytes::from_static(b"footage"))));
    let mut sent = std::pin::pin!(until_revoked(bytes, Recipient::of(&gateway.people, &scope)));
    assert!(sent.next().await.unwrap().is_ok());
    // A designation that is changed meanwhile goes on.
    gateway.people.designate((&tenant, &id), designation("operator"), draft()).await.unwrap();
    assert!(sent.next().await.unwrap().is_ok());
    gateway.people.revoke((&tenant, &id), draft()).await.unwrap();
    assert!(matches!(sent.next().await, Some(Err(BrokeOff::Revoked))));
}

#[tokio::test]
async fn a_person_who_takes_all_requests_leaves_some_for_those_who_revoke_them() {
    let gateway = Gateway::mutualised().await;
    let greedy = gateway.person("greedy", designation("operator")).await;
    let mut going_on = Vec::new();
    loop {
        let answer = gateway.router.call(request(Method::GET, "/api/me", Some(&greedy))).await.unwrap();
        if answer.status() != StatusCode::OK {
            assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            break;
        }
        // Its body is not read to its end.
        going_on.push(answer);
    }
    assert!(going_on.len() >= 32, "a wall of sixteen cameras: {}", going_on.len());
    let revoked = gateway.send(request(Method::DELETE, "/api/people/greedy", Some("north:north token"))).await;
    assert_eq!(revoked.status, StatusCode::OK);
}

#[tokio::test]
async fn a_grant_opens_its_footage_alone_and_ends() {
    let gateway = Gateway::mutualised().await;
    let inspector = gateway.person("inspector", designation("inspector")).await;
    let clip = |camera: &str, end: &str| {
        format!("/api/cameras/{camera}/clip.mp4?start=2026-03-01T09:00:00Z&end=2026-03-01T{end}Z")
    };
    gateway.get_as(&inspector, &clip("gate", "10:00:00")).await.problem(403);
    let grant = r#"{"cameras": ["gate"], "start": "2026-03-01T08:00:00Z", "end": "2026-03-01T10:00:00Z",
        "reference": "PV 12", "reason": "control", "days": 2}"#;
    let given = gateway.send_json(Method::POST, "/api/people/inspector/grants", "north:north token", grant).await;
    assert_eq!(given.status, StatusCode::CREATED, "{:?}", given.body);
    let id = given.json()["grants"][0]["id"].as_i64().unwrap();
    assert_ne!(gateway.get_as(&inspector, &clip("gate", "10:00:00")).await.status, StatusCode::FORBIDDEN);
    gateway.get_as(&inspector, &clip("gate", "10:00:01")).await.problem(403);
    gateway.get_as(&inspector, &clip("square", "10:00:00")).await.problem(403);
    gateway.get_as(&inspector, "/api/cameras/gate/hls/live.m3u8").await.problem(403);
    let taken = format!("/api/people/inspector/grants/{id}");
    let taken_back = gateway.send(request(Method::DELETE, &taken, Some("north:north token"))).await;
    assert_eq!(taken_back.status, StatusCode::OK);
    gateway.get_as(&inspector, &clip("gate", "10:00:00")).await.problem(403);
    gateway.send(request(Method::DELETE, &taken, Some("north:north token"))).await.problem(404);
    // One that no list would show.
    let none = grant.replace("08:00:00Z", "08:00:00.0001Z").replace("10:00:00Z", "08:00:00.0002Z");
    gateway.send_json(Method::POST, "/api/people/inspector/grants", "north:north token", &none).await.problem(400);
    let journal = gateway.journal().await;
    let actions: Vec<&str> = journal.iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert!(actions.contains(&"granted") && actions.contains(&"grant_revoked"), "{actions:?}");
    let granted = journal.iter().find(|entry| entry["action"] == "granted").unwrap();
    assert_eq!((&granted["reason"], &granted["cameras"][0]), (&"control".into(), &"gate".into()));
    assert_eq!(granted["range"]["from"], "2026-03-01T08:00:00Z");
}

#[tokio::test]
async fn a_player_with_a_token_that_is_over_holds_nobody_back_and_guesses_do() {
    let gateway = Gateway::mutualised().await;
    let (revoked, marie) =
        (gateway.person("gone", designation("operator")).await, gateway.person("marie", designation("operator")).await);
    gateway.people.revoke((&"north".parse().unwrap(), &"gone".parse().unwrap()), draft()).await.unwrap();
    for _ in 0..50 {
        gateway.get_as(&revoked, "/api/me").await.problem(401);
    }
    // For another tenant, or with another secret, it is a guess.
    assert_eq!(gateway.get_as(&marie, "/api/me").await.status, StatusCode::OK);
    let (start, last) = revoked.split_at(revoked.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    let guesses = [revoked.replace("north:", "south:"), format!("{start}{other}")];
    let mut held_back = 0;
    for n in 0..24 {
        let answer = gateway.get_as(&guesses[n % 2], "/api/me").await;
        held_back += usize::from(answer.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(held_back >= 12, "{held_back}");
}

#[tokio::test]
async fn a_grant_shows_footage_and_lets_nobody_act_on_its_camera() {
    let gateway = Gateway::mutualised().await;
    let mut narrow = designation("supervisor");
    narrow.scope.cameras = Some(["square".parse().unwrap()].into());
    let supervisor = gateway.person("sup", narrow).await;
    let grant = r#"{"cameras": ["gate"], "start": "2026-03-01T09:00:00Z", "end": "2026-03-01T09:10:00Z",
        "reference": "PV 12", "reason": "theft", "days": 2}"#;
    let given = gateway.send_json(Method::POST, "/api/people/sup/grants", "north:north token", grant).await;
    assert_eq!(given.status, StatusCode::CREATED, "{:?}", given.body);
    for route in routes(&gateway).await {
        let path = route.described.as_str();
        if matches!(route.method, Method::GET) || !["{camera}", "{hold}", "{alarm}"].iter().any(|of| path.contains(of))
        {
            continue;
        }
        if !OPERATORS.contains(&path) {
            // Both hold and alarm are the gate's.
            ask_as(&gateway, &supervisor, &route, &route.path).await.problem(403);
        }
    }
    let held = gateway.ask("north", &format!("/api/holds/{HOLD}")).await.json();
    assert!(held.get("closed").is_none(), "{held}");
    // What is granted can be found.
    assert_eq!(gateway.get_as(&supervisor, "/api/cameras/gate").await.status, StatusCode::OK);
}

#[tokio::test]
async fn r4_what_a_person_does_and_is_denied_is_in_the_journal_with_their_act() {
    let gateway = Gateway::mutualised().await;
    let technician = gateway.person("tech", designation("technician")).await;
    let asked = "/api/cameras/gate/snapshot.jpg?at=2026-03-01T10:00:00Z";
    for _ in 0..5 {
        gateway.get_as(&technician, asked).await.problem(403);
    }
    let retried = gateway.send(request(Method::POST, "/api/cameras/gate/reconnect", Some(&technician))).await;
    assert_eq!(retried.status, StatusCode::ACCEPTED);
    let journal = gateway.journal().await;
    let denied: Vec<&Value> = journal.iter().filter(|entry| entry["action"] == "denied").collect();
    assert_eq!(denied.len(), 1, "the same once a minute: {journal:?}");
    let person = &denied[0]["author"]["person"];
    assert_eq!((&person["id"], &person["name"]), (&"tech".into(), &"Marie Durand".into()));
    assert_eq!(person["act"], "2026-117 of 2026-01-01, le maire");
    assert_eq!((&denied[0]["right"], &denied[0]["why"]), (&"view_recorded".into(), &"not_in_role".into()));
}

#[tokio::test]
async fn persons_are_designated_given_tokens_and_revoked_over_http() {
    let gateway = Gateway::mutualised().await;
    let administrator = gateway.person("admin", designation(Roles::TENANT_ADMINISTRATOR)).await;
    let body = r#"{"name": "Paul Petit", "role": "operator", "cameras": ["gate"], "hours": "06:00-22:00", "back_hours": 48,
        "act": {"authority": "le préfet", "number": "A-9", "date": "2026-01-05", "until": "2029-01-04"}}"#;
    let made = gateway.send_json(Method::PUT, "/api/people/paul", &administrator, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let person = made.json();
    assert_eq!((&person["state"], &person["hours"]), (&"in_force".into(), &"06:00-22:00".into()));
    let again = gateway.send_json(Method::PUT, "/api/people/paul", &administrator, body).await;
    assert_eq!(again.status, StatusCode::OK);
    let token = r#"{"label": "night desk", "days": 30}"#;
    let made = gateway.send_json(Method::POST, "/api/people/paul/tokens", &administrator, token).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let (id, secret) = (made.json()["id"].clone(), made.json()["token"].as_str().unwrap().to_owned());
    assert_eq!(made.json()["until"], "2026-03-31T12:00:00Z");
    let paul = format!("north:{secret}");
    let me = gateway.get_as(&paul, "/api/me").await.json();
    assert_eq!(
        (&me["tenant"], &me["person"]["id"], &me["role"]),
        (&"north".into(), &"paul".into(), &"operator".into())
    );
    let rights = serde_json::json!([
        "see_cameras",
        "view_live",
        "view_recorded",
        "operate_cameras",
        "see_events",
        "acknowledge_alarms"
    ]);
    assert_eq!(me["rights"], rights);
    let list = gateway.get_as(&administrator, "/api/people").await;
    assert!(!String::from_utf8_lossy(&list.body).contains(&secret), "a token is shown once");
    let listed = list.json();
    let of_paul = listed.as_array().unwrap().iter().find(|person| person["id"] == "paul").unwrap();
    assert_eq!((&of_paul["tokens"][0]["id"], &of_paul["tokens"][0]["label"]), (&id, &"night desk".into()));
    assert_eq!(of_paul["tokens"][0]["used"], "2026-03-01T12:00:00Z");
    let token_path = format!("/api/people/paul/tokens/{}", id.as_str().unwrap());
    let revoked = gateway.send(request(Method::DELETE, &token_path, Some(&administrator))).await;
    assert_eq!(revoked.status, StatusCode::OK);
    gateway.get_as(&paul, "/api/me").await.problem(401);
    gateway.send(request(Method::DELETE, &token_path, Some(&administrator))).await.problem(404);
    let made = gateway.send_json(Method::POST, "/api/people/paul/tokens", &administrator, token).await.json();
    let paul = format!("north:{}", made["token"].as_str().unwrap());
    assert_eq!(gateway.get_as(&paul, "/api/me").await.status, StatusCode::OK);
    let revoked = gateway.send(request(Method::DELETE, "/api/people/paul", Some(&administrator))).await;
    assert_eq!(revoked.json()["state"], "revoked");
    gateway.get_as(&paul, "/api/me").await.problem(401);
    gateway.send_json(Method::POST, "/api/people/paul/tokens", &administrator, token).await.problem(404);
    let journal = gateway.journal().await;
    let of_admin = |entry: &&Value| entry["author"]["person"]["id"] == "admin";
    let actions: Vec<&str> = journal.iter().filter(of_admin).filter_map(|entry| entry["action"].as_str()).collect();
    let expected =
        ["person_designated", "person_designated", "token_made", "token_revoked", "token_made", "person_revoked"];
    assert_eq!(actions, expected);
    assert!(!serde_json::to_string(&journal).unwrap().contains(&secret));
}

#[tokio::test]
async fn r4_footage_is_shown_once_a_reason_is_stated_and_the_journal_has_it() {
    let gateway = Gateway::mutualised().await;
    let marie = gateway.person("marie", designation("supervisor")).await;
    gateway.ask_why();
    let clip = "/api/cameras/gate/clip.mp4?start=2026-03-01T09:00:00Z&end=2026-03-01T10:00:00Z";
    let shown = [clip, "/api/cameras/gate/hls/live.m3u8", "/api/cameras/gate/snapshot.jpg?at=2026-03-01T10:00:00Z"];
    for path in shown {
        assert_eq!(
            gateway.get_as(&marie, path).await.problem(403)["type"],
            "urn:vigie:problem:reason-missing",
            "{path}"
        );
    }
    // What shows no footage asks for none.
    assert_eq!(gateway.get_as(&marie, "/api/cameras").await.status, StatusCode::OK);
    assert_eq!(gateway.get_as(&marie, "/api/me").await.json()["reason_required"], true);
    for bad in ["", " ", "two\\nlines"] {
        let body = format!(r#"{{"reason": "{bad}"}}"#);
        gateway.send_json(Method::PUT, "/api/me/reason", &marie, &body).await.problem(400);
    }
    let body = r#"{"reason": "PV 2026/117"}"#;
    let stated = gateway.send_json(Method::PUT, "/api/me/reason", &marie, body).await;
    assert_eq!(stated.status, StatusCode::NO_CONTENT);
    assert_eq!(gateway.get_as(&marie, "/api/me").await.json()["reason"], "PV 2026/117");
    for path in shown {
        assert_ne!(gateway.get_as(&marie, path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    // Hers alone.
    let paul = gateway.person("paul", designation("supervisor")).await;
    gateway.get_as(&paul, clip).await.problem(403);
}

#[tokio::test]
async fn nobody_gives_rights_to_themselves() {
    let gateway = Gateway::mutualised().await;
    let administrator = gateway.person("admin", designation(Roles::TENANT_ADMINISTRATOR)).await;
    let body = r#"{"name": "Admin", "role": "all_rights",
        "act": {"authority": "myself", "number": "1", "date": "2026-01-05", "until": "2029-01-04"}}"#;
    gateway.send_json(Method::PUT, "/api/people/admin", &administrator, body).await.problem(403);
    let grant = r#"{"cameras": ["gate"], "start": "2026-03-01T08:00:00Z", "end": "2026-03-01T10:00:00Z",
        "reference": "PV 12", "reason": "control", "days": 2}"#;
    gateway.send_json(Method::POST, "/api/people/admin/grants", &administrator, grant).await.problem(403);
    assert_eq!(gateway.get_as(&administrator, "/api/me").await.json()["role"], "tenant_administrator");
    let denied = gateway.journal().await.into_iter().filter(|entry| entry["why"] == "oneself").count();
    assert_eq!(denied, 1);
}

#[tokio::test]
async fn a_designation_that_makes_no_sense_is_refused_with_advice() {
    let gateway = Gateway::mutualised().await;
    let good = serde_json::json!({
        "name": "Paul", "role": "operator",
        "act": {"authority": "le maire", "number": "9", "date": "2026-01-05", "until": "2029-01-04"},
    });
    let check = async |path: &[&str], value: Value, advice: &str| {
        let mut body = good.clone();
        let mut at = &mut body;
        for part in path {
            at = &mut at[*part];
        }
        *at = value;
        let answer = gateway.send_json(Method::PUT, "/api/people/paul", "north:north token", &body.to_string()).await;
        let problem = answer.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(advice), "{body}: {problem}");
    };
    check(&["name"], " ".into(), "name").await;
    check(&["name"], "Paul\nPetit".into(), "one line").await;
    for misleading in ["\u{200b}", "--", "Paul\u{2028}Petit", "Paul \u{202e}titeP", "Paul\u{200b}", "\u{feff}Paul"] {
        check(&["name"], misleading.into(), "one line").await;
    }
    check(&["name"], "x".repeat(201).into(), "200").await;
    check(&["role"], "king".into(), "choose one of").await;
    check(&["act", "until"], "2026-01-04".into(), "before act.date").await;
    check(&["act", "until"], "tomorrow".into(), "until").await;
    check(&["act", "number"], "".into(), "act.number").await;
    check(&["cameras"], serde_json::json!([]), "empty").await;
    check(&["cameras"], serde_json::json!(["harbour"]), "no camera harbour").await;
    check(&["hours"], "08:00".into(), "20:00-06:00").await;
    check(&["back_hours"], 0.into(), "recorded").await;
    check(&["surname"], "Petit".into(), "surname").await;
    let answer = gateway.send_json(Method::PUT, "/api/people/Paul%20P", "north:north token", &good.to_string()).await;
    answer.problem(400);
    for (days, label) in [(0, "x"), (367, "x"), (-1, "x"), (9, " ")] {
        let body = serde_json::json!({"label": label, "days": days}).to_string();
        let answer = gateway.send_json(Method::POST, "/api/people/paul/tokens", "north:north token", &body).await;
        answer.problem(400);
    }
    assert_eq!(gateway.ask("north", "/api/people").await.json(), serde_json::json!([]));
}

#[tokio::test]
async fn a_token_that_another_makes_is_an_event_and_shown_to_its_person() {
    let gateway = Gateway::mutualised().await;
    let marie = gateway.person("marie", designation("operator")).await;
    let made = gateway.send_json(
        Method::POST,
        "/api/people/marie/tokens",
        "north:north token",
        r#"{"label": "x", "days": 1}"#,
    );
    let made = made.await.json();
    let me = gateway.get_as(&marie, "/api/me").await.json();
    let shown: Vec<&Value> = me["person"]["tokens"].as_array().unwrap().iter().map(|token| &token["id"]).collect();
    assert!(shown.len() == 2 && shown.contains(&&made["id"]), "{me}");
    let events = gateway.ask("north", "/api/events").await.json();
    let told = |id: &Value| events.as_array().unwrap().iter().any(|event| event["facts"]["token"] == *id);
    assert!(told(&made["id"]), "{events}");
    assert!(!events.to_string().contains(made["token"].as_str().unwrap()));
    let elsewhere = gateway.ask("south", "/api/events").await.json().to_string();
    assert!(!elsewhere.contains("token_made"), "{elsewhere}");
}

#[tokio::test]
async fn what_is_sent_to_the_store_first_is_in_the_journal() {
    let gateway = Gateway::mutualised().await;
    let marie = gateway.person("marie", designation("all_rights")).await;
    let range = r#"{"start": "2026-03-01T09:00:00Z", "end": "2026-03-01T11:00:00Z"}"#;
    let asked = gateway.send_json(Method::POST, "/api/cameras/gate/uploads", &marie, range).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let journal = gateway.journal().await;
    let entry = journal.iter().find(|entry| entry["action"] == "upload_asked").unwrap();
    assert_eq!((&entry["cameras"][0], &entry["author"]["person"]["id"]), (&"gate".into(), &"marie".into()));
    assert_eq!(entry["range"]["from"], "2026-03-01T09:00:00Z");
}
