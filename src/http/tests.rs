//! The router, asked without a socket.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use catalogue::Roles;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use secrecy::SecretString;
use serde_json::Value;

use super::{Access, Service, router};
use crate::archive::Archive;
use crate::authorisation::tests::authorisation;
use crate::authorisation::{Basis, Installation, View};
use crate::config::Config;
use crate::demo;
use crate::desk::Desk;
use crate::event::{Event, Fact};
use crate::export::{self, Exports};
use crate::hold::Holds;
use crate::index::request::RequestRow;
use crate::index::{CameraRow, Change, Index, OccurrenceRow};
use crate::journals::Journals;
use crate::people::People;
use crate::permission::Permissions;
use crate::policy::RequestRules;
use crate::retrieve::Footage;
use crate::spool::Spool;
use crate::status::{CameraState, DeviceClock, StatusBoard};
use crate::store::Store;
use footage::clock::{Clock, Reading};
use footage::keys::Keys;
use footage::media::{Gap, GapCause, Oddity, OddityCounts};
use footage::pack::HoldFacts;
use footage::units::{BootId, CameraKey, HoldId, RequestId, TenantId, Ticks90k, TimeRange, WallTime};

mod fuzz;
mod holds;
mod inspection;
mod oidc;
mod people;
mod requests;
mod sign_in;
mod tenants;

/// A gateway without footage, two towns and three cameras.
struct Gateway {
    router: TowerToHyperService<Router>,
    status: StatusBoard,
    index: Index,
    people: People,
    desk: Desk,
    service: Service,
    access: Access,
    dir: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    /// Checks that it is a whole problem (RFC 9457) with this status.
    fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:?}", self.body);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|s| !s.is_empty()), "{member} in {problem}");
        }
        assert!(problem["instance"].is_string(), "{problem}");
        problem
    }
}

/// A clock that shows one instant.
#[derive(Debug)]
struct Stopped(WallTime);

impl Clock for Stopped {
    fn read(&self) -> Reading {
        Reading { wall: self.0, mono: Duration::ZERO }
    }

    fn boot(&self) -> BootId {
        BootId([0; 16])
    }
}

fn at(text: &str) -> WallTime {
    text.parse().unwrap()
}

fn key(text: &str) -> CameraKey {
    text.parse().unwrap()
}

/// On the gate of `north`.
fn hold() -> HoldFacts {
    HoldFacts {
        id: HoldId([6; 16]),
        range: TimeRange::new(at("2026-03-01T09:00:00Z"), at("2026-03-01T11:00:00Z")).unwrap(),
        reference: "north PV 117".to_owned(),
        requester: "Major Durand".to_owned(),
        reason: "theft by night".to_owned(),
        until: at("2026-05-01T00:00:00Z"),
        placed: at("2026-03-01T11:30:00Z"),
    }
}

/// The two towns as they are authorised: north's gate until a day that is over, its square and all of south on other bases.
fn authorised(dir: &std::path::Path) -> Config {
    let mut config = demo::config("127.0.0.1:0".parse().unwrap(), dir, Vec::new()).unwrap();
    let camera = |id: &str, basis| {
        let mut camera = demo::camera(id.parse().unwrap(), id, "rtsp://127.0.0.1:1/".parse().unwrap());
        camera.installation = Installation { basis, view: Some(View::Narrow), ..Installation::default() };
        camera
    };
    let (mut north, day) = (config.tenants.remove(0), jiff::civil::date);
    let (mut of, mut south) = (authorisation(day(2025, 9, 1), day(2026, 2, 28)), north.clone());
    (of.number, north.id) = ("north 2025-9".to_owned(), "north".parse().unwrap());
    north.cameras = vec![
        camera("gate", Basis::Authorisation(of.id.clone())),
        camera("square", Basis::Outside("rule of north".to_owned())),
    ];
    north.authorisations = vec![of];
    (south.id, south.cameras) = ("south".parse().unwrap(), vec![camera("harbour", Basis::Unstated)]);
    config.tenants = vec![north, south];
    config
}

impl Gateway {
    async fn start(tokens: &[(&str, Option<&str>)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
        let camera = |name: &str| CameraRow {
            key: key(name),
            name: format!("Caméra {name}"),
            place: format!("place of {name}"),
            configured: true,
            retention_max: Ticks90k(30 * 86_400 * 90_000),
            retention_min: Ticks90k::ZERO,
        };
        let cameras = vec![camera("north/gate"), camera("north/square"), camera("south/harbour")];
        let gap = Gap {
            start: at("2026-03-01T10:00:00Z"),
            end: at("2026-03-01T10:00:05Z"),
            cause: GapCause::Silent,
            lost_packets: 0,
        };
        let event = |name: &str| {
            let fact = Fact::Connected { codecs: format!("about {name}"), width: 640, height: 480 };
            Change::Event(Event::of_camera(at("2026-03-01T10:00:00Z"), &key(name), fact))
        };
        let silent = Fact::ConnectionLost { cause: GapCause::Silent };
        let silent = Event::of_camera(at("2026-03-01T10:00:00Z"), &key("north/gate"), silent);
        let kind = "camera_not_recorded";
        let alarm =
            crate::index::alarm::AlarmChange::Raise { kind, subject: String::new(), lasts: true, event: silent };
        let changes = vec![
            Change::Configure(cameras),
            Change::Alarm(alarm),
            Change::PutGap { camera: key("north/gate"), gap },
            event("north/gate"),
            event("north/square"),
            event("south/harbour"),
            Change::PlaceHold { camera: key("north/gate"), hold: Arc::new(hold()) },
        ];
        index.write(changes).await.unwrap();
        let tenants: Vec<(TenantId, Option<SecretString>)> =
            tokens.iter().map(|(id, token)| (id.parse().unwrap(), token.map(SecretString::from))).collect();
        let access = tenants.iter().map(|(id, token)| (id, token.as_ref(), Roles::ALL_RIGHTS));
        let access = Access::new(access).unwrap();
        let opened = access.clone();
        let now = at("2026-03-01T12:00:00Z");
        let clock = Arc::new(Stopped(now));
        let store = Store::over(Arc::new(object_store::memory::InMemory::new()));
        let keys = Keys::from_secret([7; 32]);
        let spool = Spool::new(&dir.path().join("spool"), store.clone(), index.clone(), clock.clone(), keys.clone());
        let packs = Archive::new(spool.clone(), store.clone());
        let zone = jiff::tz::TimeZone::get("Europe/Paris").unwrap();
        let holds = Holds::new(index.clone(), spool, packs.clone(), keys, clock.clone(), zone.clone());
        let footage = Footage::new(index.clone(), packs, clock);
        let status = StatusBoard::default();
        let (folder, keys) = (dir.path().join("journal"), Keys::from_secret([7; 32]));
        let journals = Journals::new(folder, keys, store, index.clone(), footage.clock.clone());
        journals.follow(tenants.iter().map(|(tenant, _)| (tenant.clone(), 36))).await;
        let (path, clock) = (dir.path().join("catalogue.sqlite"), footage.clock.clone());
        let people = People::open(
            path,
            Roles::built_in(),
            (index.clone(), &Keys::from_secret([7; 32])),
            journals.clone(),
            clock,
        )
        .await;
        let settings = export::Settings {
            days_max: 7,
            bytes_per_second_max: 1 << 30,
            authority: None,
            reserve_bytes: 0,
            tenants: tenants.len() as u64,
        };
        let (folder, of) = (dir.path().join("exports"), (journals.clone(), Keys::from_secret([7; 32])));
        let exports = Exports::open(folder, footage.clone(), holds.clone(), of, settings).await.unwrap();
        let files = (dir.path().join("requests"), Keys::from_secret([7; 32]));
        let parts = (index.clone(), holds.clone(), journals.clone());
        let desk = Desk::new(parts, files, footage.clock.clone(), zone.clone());
        desk.set_rules(tenants.iter().map(|(tenant, _)| (tenant.clone(), RequestRules::default())));
        let row = RequestRow {
            id: RequestId([5; 16]),
            tenant: "north".parse().unwrap(),
            version: 1,
            procedure: "pv1".to_owned(),
            opened: now,
            closed: None,
            destroy_at: None,
            parts: Vec::new(),
            file: include_str!("tests/request.json").replace('\n', ""),
        };
        index.write(vec![Change::PutRequest(Arc::new(row))]).await.unwrap();
        let service = Service::new(footage, holds, (journals, people.clone()), access, &zone, status.clone());
        service.export(exports);
        let permissions =
            Permissions::open(index.clone(), Arc::new(Stopped(now)), &authorised(dir.path())).await.unwrap();
        service.record_under(permissions);
        service.handle_requests(desk.clone());
        let router = TowerToHyperService::new(router(service.clone()));
        Self { router, status, index, people, desk, service, access: opened, dir }
    }

    /// `north` asks why footage is looked at, from now on.
    fn ask_why(&self) {
        self.service.set_access(self.access.clone().asking_why(["north".parse().unwrap()]));
    }

    /// Two towns with tokens.
    async fn mutualised() -> Self {
        Self::start(&[("north", Some("north token")), ("south", Some("south token"))]).await
    }

    /// One town on loopback.
    async fn open() -> Self {
        Self::start(&[("north", None)]).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.router.call(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// As this tenant, with its token.
    async fn ask(&self, tenant: &str, path: &str) -> Answer {
        self.send(request(Method::GET, path, Some(&format!("{tenant}:{tenant} token")))).await
    }
}

fn request(method: Method, path: &str, credentials: Option<&str>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let request = match credentials {
        Some(text) => request.header(header::AUTHORIZATION, format!("Basic {}", BASE64.encode(text))),
        None => request,
    };
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn cameras_are_listed_with_their_places() {
    let gateway = Gateway::mutualised().await;
    let cameras = gateway.ask("north", "/api/cameras").await.json();
    let ids: Vec<_> = cameras.as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["gate", "square"]);
    assert_eq!(cameras[0]["place"], "place of north/gate");
}

#[tokio::test]
async fn h1_authorisations_and_what_each_camera_records_under_are_shown() {
    let gateway = Gateway::mutualised().await;
    let all = gateway.ask("north", "/api/authorisations").await.json();
    let [of] = &all.as_array().unwrap()[..] else { panic!("{all}") };
    let expect = serde_json::json!({
        "id": "streets", "number": "north 2025-9", "date": "2025-09-01", "from": "2025-09-01", "until": "2026-02-28",
        "state": "ended", "provisional": false, "purposes": ["persons_and_property"],
        "recipients": ["municipal police"], "max_hours": 360, "min_hours": 0, "at_end": "stop",
        "cameras": [{"camera": "gate", "view": "narrow", "fast_movement": false}],
    });
    assert_eq!(*of, expect);
    assert_eq!(gateway.ask("south", "/api/authorisations").await.json(), serde_json::json!([]));
    let gate = gateway.ask("north", "/api/cameras/gate").await.json();
    let expect = serde_json::json!({
        "kind": "authorisation", "authorisation": "streets", "number": "north 2025-9", "until": "2026-02-28",
        "state": "ended", "view": "narrow", "fast_movement": false,
    });
    assert_eq!(gate["basis"], expect);
    let square = gateway.ask("north", "/api/cameras/square").await.json();
    assert_eq!(square["basis"]["legal_basis"], "rule of north");
    let basis = async |tenant| gateway.ask(tenant, "/api/status").await.json()["cameras"][0]["basis"].clone();
    assert_eq!((basis("north").await, basis("south").await), ("authorisation".into(), "unstated".into()));
}

#[tokio::test]
async fn q2_what_is_recorded_below_the_norm_is_said_of_cameras_under_an_authorisation() {
    let gateway = Gateway::mutualised().await;
    for name in ["north/gate", "north/square"] {
        gateway.status.slot(&key(name)).update(|status| {
            status.enter(CameraState::Recording, at("2026-03-01T11:59:00Z"));
            status.picture_rate = Some(4.04);
            let (codec, rfc6381) = (footage::media::VideoCodec::H264, "avc1".to_owned());
            status.video = Some(crate::status::VideoStatus { codec, width: 640, height: 480, rfc6381 });
        });
    }
    let below = async |camera: &str| {
        gateway.ask("north", &format!("/api/cameras/{camera}")).await.json()["status"]["below_norm"].clone()
    };
    let expect = serde_json::json!([
        {"what": "resolution", "recorded": "640x480", "norm": "704x576"},
        {"what": "picture_rate", "recorded": "4.0", "norm": "6"},
    ]);
    assert_eq!((below("gate").await, below("square").await), (expect, Value::Null));
}

#[tokio::test]
async fn a_reconnect_wakes_the_recorder_of_that_camera_alone() {
    let gateway = Gateway::mutualised().await;
    let [gate, square] = ["north/gate", "north/square"].map(|name| gateway.status.slot(&key(name)));
    let (mut gate, mut square) = (std::pin::pin!(gate.retry_asked()), std::pin::pin!(square.retry_asked()));
    assert!(futures::poll!(gate.as_mut()).is_pending() && futures::poll!(square.as_mut()).is_pending());
    let ask = |credentials| request(Method::POST, "/api/cameras/gate/reconnect", Some(credentials));
    gateway.send(ask("south:south token")).await.problem(404);
    assert!(futures::poll!(gate.as_mut()).is_pending(), "another tenant's camera");
    let answer = gateway.send(ask("north:north token")).await;
    assert_eq!((answer.status, &answer.json()["state"]), (StatusCode::ACCEPTED, &"starting".into()));
    assert!(futures::poll!(gate.as_mut()).is_ready() && futures::poll!(square.as_mut()).is_pending());
}

#[tokio::test]
async fn what_a_camera_noticed_is_read_by_its_tenant_oldest_first() {
    let gateway = Gateway::mutualised().await;
    let row = |second: i64, active| OccurrenceRow {
        at: at("2026-03-01T10:00:00Z").saturating_add(Ticks90k(second * 90_000)),
        kind: onvif::NotificationKind::DigitalInput,
        topic: "Device/Trigger/DigitalInput".to_owned(),
        source: "in-1".to_owned(),
        active,
    };
    let change = |row| Change::Occurrence { camera: key("north/gate"), row };
    gateway.index.write(vec![change(row(9, None)), change(row(5, Some(true)))]).await.unwrap();
    let path = "/api/cameras/gate/occurrences?start=2026-03-01T10:00:00Z&end=2026-03-01T10:00:10Z";
    let answer = gateway.ask("north", path).await.json();
    let found = answer["occurrences"].as_array().unwrap();
    assert_eq!(found.len(), 2, "{answer}");
    assert_eq!((&found[0]["kind"], &found[0]["active"]), (&"digital_input".into(), &true.into()));
    assert_eq!((&found[0]["at"], &found[0]["source"]), (&"2026-03-01T10:00:05.000000Z".into(), &"in-1".into()));
    assert!(found[1].get("active").is_none() && answer["next_start"].is_null(), "{answer}");
    assert_eq!(gateway.ask("south", path).await.status, StatusCode::NOT_FOUND);
    let many = (0..5_001).map(|_| change(row(7, Some(true)))).collect();
    gateway.index.write(many).await.unwrap();
    let answer = gateway.ask("north", path).await.json();
    assert_eq!(answer["occurrences"].as_array().unwrap().len(), 5_000);
    assert_eq!(answer["next_start"], "2026-03-01T10:00:07.000000Z");
}

#[tokio::test]
async fn a_camera_shows_what_its_recorder_put_on_the_board() {
    let gateway = Gateway::mutualised().await;
    gateway.status.slot(&key("north/gate")).update(|status| {
        status.enter(CameraState::Gap(GapCause::Unauthorized), at("2026-03-01T11:59:00Z"));
        status.fragment(at("2026-03-01T11:58:00Z"), Ticks90k(90_000), 500_000, 25);
        status.camera_clock_offset = Some(Ticks90k(-180_000));
        let (offset, bound, compared) = (Ticks90k(-540_000), Ticks90k(45_000), at("2026-03-01T11:30:00Z"));
        status.device_clock = DeviceClock::Compared { offset, bound, at: compared, is_off: true };
        let mut counts = OddityCounts::default();
        counts.add(Oddity::DuplicatePacket);
        status.occurred(&counts, at("2026-03-01T11:57:00Z"));
    });
    let camera = gateway.ask("north", "/api/cameras/gate").await.json();
    assert_eq!(camera["footage"], Value::Null);
    let status = &camera["status"];
    assert_eq!((&status["state"], &status["cause"]), (&"gap".into(), &"unauthorized".into()));
    assert_eq!(status["lag_ms"], 120_000);
    assert_eq!(status["bit_rate"], 4_000_000);
    assert_eq!(status["camera_clock_offset_ms"], -2_000);
    let clock = &status["device_clock"];
    assert_eq!((&clock["offset_ms"], &clock["bound_ms"]), (&(-6_000).into(), &500.into()));
    assert_eq!((&clock["is_off"], &clock["at"]), (&true.into(), &"2026-03-01T11:30:00.000000Z".into()));
    assert_eq!(status["oddities"][0]["kind"], "duplicate_packet");
    assert_eq!(status["oddities"][0]["count"], 1);
    let all = gateway.ask("north", "/api/status").await.json();
    assert_eq!(all["time_zone"], "Europe/Paris");
    assert_eq!(all["now"].as_str().unwrap().parse(), Ok(at("2026-03-01T12:00:00Z")));
    assert_eq!(all["cameras"][0]["state"], "gap");
    assert_eq!(all["cameras"][1]["state"], "starting");
}

#[tokio::test]
async fn gaps_have_their_causes_and_exact_bounds() {
    let gateway = Gateway::mutualised().await;
    let path = "/api/cameras/gate/gaps?start=2026-03-01T00:00:00Z&end=2026-03-02T00:00:00%2B01:00";
    let gaps = gateway.ask("north", path).await.json();
    assert_eq!(gaps["gaps"].as_array().unwrap().len(), 1);
    assert_eq!(gaps["gaps"][0]["cause"], "silent");
    assert_eq!(gaps["next_start"], Value::Null);
    let path = path.replace("gate", "nowhere");
    gateway.ask("north", &path).await.problem(404);
}

#[tokio::test]
async fn events_are_those_of_the_camera_asked_for() {
    let gateway = Gateway::mutualised().await;
    let ids =
        |answer: Answer| answer.json().as_array().unwrap().iter().map(|e| e["camera"].to_string()).collect::<Vec<_>>();
    assert_eq!(ids(gateway.ask("north", "/api/events?camera=gate").await), ["\"gate\""]);
    assert_eq!(ids(gateway.ask("north", "/api/events?limit=1").await), ["\"square\""]);
    for bad in ["limit=0", "limit=1001", "limit=x", "after=NaN", "camera=../gate", "camera=gate&camera=gate"] {
        gateway.ask("north", &format!("/api/events?{bad}")).await.problem(400);
    }
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused_with_advice() {
    let gateway = Gateway::mutualised().await;
    let check = async |query: &str, advice: &str| {
        for path in ["timeline", "gaps", "clip.mp4", "hls/vod.m3u8"] {
            let answer = gateway.ask("north", &format!("/api/cameras/gate/{path}?{query}")).await;
            let problem = answer.problem(400);
            assert!(problem["detail"].as_str().unwrap().contains(advice), "{path}?{query}: {problem}");
        }
    };
    let day = "start=2026-03-01T00:00:00Z&end=2026-03-02T00:00:00Z";
    check("", "start").await;
    check("start=2026-03-01T00:00:00Z", "end").await;
    check("end=2026-03-01T00:00:00Z&start=2026-03-02T00:00:00Z", "before").await;
    check("start=2026-03-01T00:00:00Z&end=2026-03-01T00:00:00Z", "before").await;
    check("start=0001-01-01T00:00:00Z&end=9999-01-01T00:00:00Z", "at most").await;
    check("start=2026-03-01T00:00:00&end=2026-03-02T00:00:00Z", "RFC 3339").await;
    check("start=2026-03-01T00:00:00+01:00&end=2026-03-02T00:00:00Z", "%2B").await;
    check("start=1772323200&end=1772323300", "RFC 3339").await;
    check("start=%ff%fe&end=%zz", "RFC 3339").await;
    check("start=NaN&end=inf", "RFC 3339").await;
    check(&format!("{day}&{day}"), "duplicate").await;
    check(&format!("{day}&from=yesterday"), "from").await;
    let answer = gateway.ask("north", &format!("/api/cameras/gate/timeline?{day}&resolution_ms=NaN")).await;
    answer.problem(400);
    let answer = gateway.ask("north", &format!("/api/cameras/gate/timeline?{day}&resolution_ms=86400001")).await;
    answer.problem(400);
    gateway.ask("north", "/api/cameras/gate/snapshot.jpg?at=now").await.problem(400);
    gateway.ask("north", "/api/cameras/%ff/timeline").await.problem(400);
    gateway.ask("north", "/api/cameras/%2e%2e%2fsouth/timeline").await.problem(400);
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_allowed_are_problems() {
    let gateway = Gateway::mutualised().await;
    for path in ["/nothing", "/api", "/api/", "/api/cameras/", "/api/cameras/gate/clip.avi", "/index.html", "//", "/*"]
    {
        let problem = gateway.ask("north", path).await.problem(404);
        assert_eq!(problem["instance"], path);
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::TRACE] {
        for path in ["/", "/api/cameras", "/livez"] {
            let answer = gateway.send(request(method.clone(), path, Some("north:north token"))).await;
            answer.problem(405);
            assert_eq!(answer.headers[header::ALLOW], "GET,HEAD", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_body_is_refused_by_its_announced_size_and_unread_without_one() {
    let gateway = Gateway::mutualised().await;
    let send = async |body: Body| {
        let mut request = request(Method::GET, "/api/cameras", Some("north:north token"));
        *request.body_mut() = body;
        gateway.send(request).await
    };
    assert_eq!(send(Body::from("small")).await.status, StatusCode::OK);
    send(Body::from(vec![0; 70_000])).await.problem(413);
    send(Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())).await.problem(413);
}

#[tokio::test]
async fn every_answer_keeps_browsers_honest() {
    let gateway = Gateway::mutualised().await;
    for path in ["/", "/assets/none.js", "/livez", "/nothing", "/api/cameras", "/api/cameras/nowhere"] {
        let answer = gateway.ask("north", path).await;
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert_eq!(answer.headers["cross-origin-resource-policy"], "same-origin", "{path}");
        assert!(answer.headers[header::CACHE_CONTROL].to_str().unwrap().starts_with("private"), "{path}");
    }
}

/// The paths of the page's own scripts and styles, as it names them.
fn assets_of(page: &str) -> Vec<String> {
    let named = page.split(['"', '\'']).filter_map(|part| part.strip_prefix("./assets/"));
    named.map(|name| format!("/assets/{name}")).collect()
}

#[tokio::test]
async fn the_pages_need_nothing_from_elsewhere() {
    let gateway = Gateway::open().await;
    for path in ["/", "/sign-in", "/welcome"] {
        let get = async |path: &str| {
            let answer = gateway.send(request(Method::GET, path, None)).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            String::from_utf8(answer.body.to_vec()).unwrap()
        };
        let page = get(path).await;
        assert!(!page.contains("style=\"") && !page.contains("onclick="), "{path} breaks its own policy");
        assert!(!page.contains("<style") && !page.contains("<script>"), "{path} breaks its own policy");
        let assets = assets_of(&page);
        assert!(
            assets.iter().any(|asset| asset.ends_with(".js")) && assets.iter().any(|asset| asset.ends_with(".css"))
        );
        for asset in assets {
            let text = get(&asset).await;
            let names: Vec<_> = text.split(['"', '\'', '`', '(']).filter(|part| part.starts_with("http")).collect();
            // Namespaces, which are compared and never fetched.
            let outside = names.iter().filter(|name| name.contains("://") && !name.starts_with("http://www.w3.org/"));
            assert_eq!(outside.collect::<Vec<_>>(), Vec::<&&str>::new(), "{asset} names another site");
        }
    }
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let gateway = Gateway::mutualised().await;
    for path in
        ["/", "/api/cameras", "/api/cameras/nowhere", "/nothing", "/livez", "/api/openapi.json", "/api/events?limit=0"]
    {
        let get = gateway.ask("north", path).await;
        let head = gateway.send(request(Method::HEAD, path, Some("north:north token"))).await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        assert_eq!(head.headers[header::CONTENT_LENGTH], get.body.len().to_string(), "{path}");
        assert_eq!(head.headers.get(header::CONTENT_TYPE), get.headers.get(header::CONTENT_TYPE), "{path}");
    }
}

#[tokio::test]
async fn the_description_names_the_api_and_its_errors() {
    let gateway = Gateway::mutualised().await;
    let api = gateway.ask("north", "/api/openapi.json").await.json();
    assert!(api["openapi"].as_str().unwrap().starts_with("3."));
    assert_eq!(api["components"]["securitySchemes"]["basic"]["scheme"], "basic");
    let schemas = api["components"]["schemas"].as_object().unwrap();
    for schema in ["Camera", "CameraStatus", "Timeline", "GapSpan", "GapCause", "Event", "Hold", "ProblemDetails"] {
        assert!(schemas.contains_key(schema), "{schema} is not in {:?}", schemas.keys());
    }
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].to_string()), "{method} {path} has another's name");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(response["description"].as_str().is_some_and(|d| !d.is_empty()), "{path} {status}");
                if status.starts_with(['4', '5', 'd']) {
                    assert!(response["content"]["application/problem+json"].is_object(), "{path} {status}");
                }
            }
        }
    }
    // Every reference leads somewhere.
    let text = api.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is named and not described");
    }
}
