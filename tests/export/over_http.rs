//! Packages over real sockets: ordered, asked for in ranges, refused to who may not.

use std::time::Duration;

use catalogue::{Act, Designation, Roles, Scope};
use jiff::civil::date;
use reqwest::header;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vigie::desk::{self, Desk};
use vigie::export::Exports;
use vigie::http::{Access, ServeLimits, Service, router, serve};
use vigie::policy::RequestRules;
use vigie::status::StatusBoard;

use super::rig::{Rig, at, marie, town, verified};

struct Served {
    rig: Rig,
    exports: Exports,
    base: String,
    client: Client,
}

impl Served {
    async fn start() -> Self {
        let rig = Rig::with_footage().await;
        let exports = rig.exports().await;
        let (tokens, village) = (["town's own token", "village's own token"], "village".parse().unwrap());
        let tokens = tokens.map(|token| secrecy::SecretString::from(token.to_owned()));
        let access = [(&town(), Some(&tokens[0]), Roles::ALL_RIGHTS), (&village, Some(&tokens[1]), Roles::ALL_RIGHTS)];
        let access = Access::new(access).unwrap();
        let of_persons = (rig.journals.clone(), rig.people.clone());
        let zone = jiff::tz::TimeZone::UTC;
        let status = StatusBoard::default();
        let service = Service::new(rig.footage.clone(), rig.holds.clone(), of_persons, access, &zone, status);
        service.export(exports.clone());
        let parts = (rig.footage.index.clone(), rig.holds.clone(), rig.journals.clone());
        let files = (desk::folder(rig.dir.path()), rig.keys.clone());
        let desk = Desk::new(parts, files, rig.clock.clone(), zone.clone());
        desk.set_rules([(town(), RequestRules::default())]);
        service.handle_requests(desk);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, router(service), ServeLimits::default(), std::future::pending()));
        Self { rig, exports, base, client: Client::new() }
    }

    fn ask(&self, tenant: &str, method: Method, path: &str) -> RequestBuilder {
        let token = format!("{tenant}'s own token");
        self.client.request(method, format!("{}{path}", self.base)).basic_auth(tenant, Some(token))
    }

    async fn order(&self, body: &Value) -> reqwest::Response {
        self.ask("town", Method::POST, "/api/exports").json(body).send().await.unwrap()
    }

    /// The id of one that is whole.
    async fn ready(&self) -> String {
        let ordered = self.order(&asked()).await;
        assert_eq!(ordered.status(), StatusCode::CREATED);
        let ordered: Value = ordered.json().await.unwrap();
        assert_eq!(self.exports.prepare_all().await, 1);
        ordered["id"].as_str().unwrap().to_owned()
    }
}

fn asked() -> Value {
    json!({
        "cameras": ["gate", "square"], "start": at(0).to_string(), "end": at(30).to_string(), "reference": "PV 2026/117",
        "reason": "theft", "recipient": "Major Durand"
    })
}

#[tokio::test]
async fn a_package_is_ordered_waited_for_and_taken_in_ranges_that_fit_together() {
    let served = Served::start().await;
    let ordered: Value = served.order(&asked()).await.json().await.unwrap();
    let id = ordered["id"].as_str().unwrap();
    assert_eq!((&ordered["state"], &ordered["ordered_by"]), (&"waiting".into(), &"access_token".into()));
    let path = format!("/api/exports/{id}/package.zip");
    let early = served.ask("town", Method::GET, &path).send().await.unwrap();
    assert_eq!(early.status(), StatusCode::CONFLICT, "it is not whole");
    assert!(served.rig.entries("access_begun").await.is_empty(), "nothing was given");
    served.exports.prepare_all().await;
    let one = served.ask("town", Method::GET, &format!("/api/exports/{id}")).send().await.unwrap();
    let one: Value = one.json().await.unwrap();
    assert_eq!((&one["state"], &one["percent"]), (&"ready".into(), &100.into()));
    let all: Value = served.ask("town", Method::GET, "/api/exports").send().await.unwrap().json().await.unwrap();
    assert_eq!(all, json!([one]));

    let head = served.ask("town", Method::HEAD, &path).send().await.unwrap();
    let headers = head.headers().clone();
    assert!(served.rig.entries("access_begun").await.is_empty(), "a head has no footage");
    let whole = served.ask("town", Method::GET, &path).send().await.unwrap();
    for name in [header::CONTENT_LENGTH, header::ETAG, header::CONTENT_DISPOSITION, header::ACCEPT_RANGES] {
        assert_eq!(headers[&name], whole.headers()[&name], "{name}");
    }
    let digest = headers["repr-digest"].to_str().unwrap().to_owned();
    let bytes = whole.bytes().await.unwrap();
    assert_eq!(headers[header::CONTENT_LENGTH], bytes.len().to_string());
    assert_eq!(one["package"]["bytes"], bytes.len());
    assert_eq!(one["package"]["sha256"], evidence::sums::sha256(&bytes));
    use base64::Engine;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let expect = format!("sha-256=:{}:", base64::engine::general_purpose::STANDARD.encode(hash));
    assert_eq!(digest, expect);

    // A download that broke off goes on where it was.
    let (middle, etag) = (bytes.len() / 2, headers[header::ETAG].to_str().unwrap());
    let range = |range: String| served.ask("town", Method::GET, &path).header(header::RANGE, range);
    let rest = range(format!("bytes={middle}-")).header(header::IF_RANGE, etag).send().await.unwrap();
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(rest.headers()["repr-digest"], digest.as_str(), "of the whole, whichever bytes are sent");
    assert_eq!(rest.bytes().await.unwrap(), bytes[middle..]);
    let other = range(format!("bytes={middle}-")).header(header::IF_RANGE, "\"other\"").send().await.unwrap();
    assert_eq!(other.bytes().await.unwrap(), bytes, "another package: from its beginning");
    let beyond = range(format!("bytes={}-", bytes.len())).send().await.unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let file = served.rig.dir.path().join("taken.zip");
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(verified(&file).findings, []);

    let begun = served.rig.entries("access_begun").await;
    let cameras: Vec<_> = begun.iter().map(|entry| (entry["cameras"].clone(), entry["access"].clone())).collect();
    assert_eq!(cameras, [(json!(["gate"]), "clip".into()), (json!(["square"]), "clip".into())]);
}

#[tokio::test]
async fn e1_another_tenant_and_a_person_of_another_camera_get_nothing() {
    let served = Served::start().await;
    let id = served.ready().await;
    let paths = [format!("/api/exports/{id}"), format!("/api/exports/{id}/package.zip")];
    for path in &paths {
        let theirs = served.ask("village", Method::GET, path).send().await.unwrap();
        assert_eq!(theirs.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(served.ask("village", Method::DELETE, &paths[0]).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let list: Value = served.ask("village", Method::GET, "/api/exports").send().await.unwrap().json().await.unwrap();
    assert_eq!(list, json!([]));
    let order = served.ask("village", Method::POST, "/api/exports").json(&asked()).send().await.unwrap();
    assert_eq!(order.status(), StatusCode::NOT_FOUND, "the village has no gate");

    // Of a person who is designated for one of the two cameras.
    let act = Act {
        authority: "le maire".to_owned(),
        number: "7".to_owned(),
        date: date(2026, 1, 5),
        until: date(2031, 1, 4),
    };
    let scope = Scope { cameras: Some(["gate".parse().unwrap()].into()), ..Scope::default() };
    let designation = Designation { name: "Jean Petit".to_owned(), role: "investigator".to_owned(), act, scope };
    let person = "jean".parse().unwrap();
    let (people, entry) = (&served.rig.people, || marie(journal::Action::ConfigurationRead));
    people.designate((&town(), &person), designation, entry()).await.unwrap();
    let token = served.token("jean").await;
    let jean = |method: Method, path: &str| {
        served.client.request(method, format!("{}{path}", served.base)).basic_auth("town", Some(&token))
    };
    let both = jean(Method::POST, "/api/exports").json(&asked()).send().await.unwrap();
    assert_eq!(both.status(), StatusCode::FORBIDDEN, "the square is not theirs");
    for path in &paths {
        assert_eq!(jean(Method::GET, path).send().await.unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(jean(Method::DELETE, &paths[0]).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let mut gate = asked();
    gate["cameras"] = json!(["gate"]);
    let own = jean(Method::POST, "/api/exports").json(&gate).send().await.unwrap();
    assert_eq!(own.status(), StatusCode::CREATED, "{}", own.text().await.unwrap());
    let ordered = served.rig.entries("package_ordered").await;
    assert_eq!(ordered.last().unwrap()["author"]["person"]["name"], "Jean Petit");
    let list: Value = jean(Method::GET, "/api/exports").send().await.unwrap().json().await.unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "their own, and not that of both cameras: {list}");

    // A grant shows the square, and lets nobody destroy what another person has ordered of it.
    let asked = asked();
    let grant = json!({
        "cameras": ["square"], "start": asked["start"], "end": asked["end"], "reference": "PV 12", "reason": "theft", "days": 2,
    });
    let given = served.ask("town", Method::POST, "/api/people/jean/grants").json(&grant).send().await.unwrap();
    assert_eq!(given.status(), StatusCode::CREATED, "{}", given.text().await.unwrap());
    assert_eq!(jean(Method::GET, &paths[0]).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(jean(Method::DELETE, &paths[0]).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let own = format!("/api/exports/{}", list[0]["id"].as_str().unwrap());
    assert_eq!(jean(Method::DELETE, &own).send().await.unwrap().status(), StatusCode::NO_CONTENT);
}

impl Served {
    /// A token of this person.
    async fn token(&self, person: &str) -> String {
        let path = format!("/api/people/{person}/tokens");
        let made =
            self.ask("town", Method::POST, &path).json(&json!({"label": "desk", "days": 9})).send().await.unwrap();
        let made: Value = made.json().await.unwrap();
        made["secret"].as_str().or(made["token"].as_str()).unwrap_or_else(|| panic!("{made}")).to_owned()
    }
}

#[tokio::test]
async fn a_package_that_is_removed_is_sent_to_nobody_any_more() {
    let served = Served::start().await;
    let id = served.ready().await;
    let path = format!("/api/exports/{id}");
    let removed = served.ask("town", Method::DELETE, &path).send().await.unwrap();
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    for path in [path.clone(), format!("{path}/package.zip")] {
        assert_eq!(served.ask("town", Method::GET, &path).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(served.ask("town", Method::DELETE, &path).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(served.rig.entries("package_removed").await.len(), 1);
}

#[tokio::test]
async fn hostile_orders_are_problems_and_no_orders() {
    let served = Served::start().await;
    let with = |name: &str, value: Value| {
        let mut asked = asked();
        asked[name] = value;
        asked
    };
    for bad in [
        with("cameras", json!([])),
        with("cameras", json!(["../gate"])),
        with("cameras", json!(vec!["gate"; 1_000])),
        with("hold", json!("nothing")),
        with("start", Value::Null),
        with("end", json!("2999-01-01T00:00:00Z")),
        with("reason", json!("")),
        with("recipient", json!("x".repeat(10_000))),
        with("more", json!(1)),
        json!([]),
    ] {
        let answer = served.order(&bad).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
    let none = served.order(&with("hold", json!("0".repeat(32)))).await;
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
    for id in ["x", "..", &"0".repeat(31), &"0".repeat(33)] {
        let path = format!("/api/exports/{id}");
        let answer = served.ask("town", Method::GET, &path).timeout(Duration::from_secs(40)).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{path}");
    }
    assert!(served.rig.entries("package_ordered").await.is_empty());
}

#[tokio::test]
async fn e6_a_request_that_names_its_package_has_the_hashes_and_the_key_on_its_receipt() {
    let served = Served::start().await;
    let post = async |path: &str, body: Value| {
        let answer = served.ask("town", Method::POST, path).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        (status, serde_json::from_str::<Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
    };
    let period = json!({"start": asked()["start"], "end": asked()["end"]});
    let asker = json!({"kind": "requisition", "authority": "tribunal", "officer": "Major Durand", "unit": "BSU",
        "procedure": "PV 117", "legal_basis": "CPP 60-1"});
    let intake = json!({"asker": asker, "cameras": ["gate"], "periods": [period]});
    let (status, file) = post("/api/requests", intake).await;
    assert_eq!(status, StatusCode::CREATED, "{file}");
    let path = format!("/api/requests/{}", file["id"].as_str().unwrap());
    let until = at(20 * 86_400).to_string();
    let holds = json!({"paper": "folder 12", "holds": [{"camera": "gate", "until": until, "period": period}]});
    assert_eq!(post(&format!("{path}/holds"), holds).await.0, StatusCode::OK);

    let preparation = format!("{path}/preparation");
    let named = |id: &str| json!({"export": id, "files": [{"name": "note.txt", "sha256": "ab".repeat(32)}]});
    let (status, problem) = post(&preparation, named(&"0".repeat(32))).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    let ordered: Value = served.order(&asked()).await.json().await.unwrap();
    let id = ordered["id"].as_str().unwrap();
    let (status, problem) = post(&preparation, named(id)).await;
    assert!(status == StatusCode::CONFLICT && problem["detail"].as_str().unwrap().contains("not whole"), "{problem}");
    assert_eq!(served.exports.prepare_all().await, 1);
    let (status, file) = post(&preparation, named(id)).await;
    assert_eq!(status, StatusCode::OK, "{file}");

    let export: Value =
        served.ask("town", Method::GET, &format!("/api/exports/{id}")).send().await.unwrap().json().await.unwrap();
    let (package, prepared) = (&export["package"], &file["prepared"]);
    assert_eq!(prepared["key"], package["key_sha256"]);
    let hashes: Vec<_> = prepared["files"].as_array().unwrap().iter().map(|of| &of["sha256"]).collect();
    assert_eq!(hashes, [&package["sha256"], &package["manifest_sha256"], &json!("ab".repeat(32))]);
    let released = served.ask("town", Method::POST, &format!("{path}/release")).send().await.unwrap();
    assert_eq!(released.status(), StatusCode::OK);
    let to = json!({"recipient": "Major Durand", "unit": "BSU", "medium": "DVD-R no. 12"});
    assert_eq!(post(&format!("{path}/hand-over"), to).await.0, StatusCode::OK);
    let receipt = served.ask("town", Method::GET, &format!("{path}/receipt")).send().await.unwrap();
    assert!(
        receipt.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'; style")
    );
    let receipt = receipt.text().await.unwrap();
    for hash in [&package["sha256"], &package["manifest_sha256"], &package["key_sha256"]] {
        assert!(receipt.contains(hash.as_str().unwrap()), "{receipt}");
    }
}
