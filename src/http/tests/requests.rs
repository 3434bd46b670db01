//! Requests for footage over HTTP: steps in and out of order, doubles, two at once, scans, answers to persons.

use super::people::designation;
use super::*;
use catalogue::Designation;

const NORTH: &str = "north:north token";

fn requisition(procedure: &str) -> Value {
    serde_json::json!({
        "asker": {"kind": "requisition", "authority": "TJ Lyon", "officer": "Brigadier <Martin>", "unit": "BSU",
            "procedure": procedure, "legal_basis": "CPP 77-1-1"},
        "cameras": ["gate"],
        "periods": [{"start": "2026-03-01T09:30:00Z", "end": "2026-03-01T10:30:00Z"}],
    })
}

fn person_filmed(wants: &str, purpose: &str) -> Value {
    serde_json::json!({
        "asker": {"kind": "person_filmed", "name": "Zoé Filmée", "contact": "zoe@example.org", "wants": wants,
            "purpose": purpose},
        "cameras": ["gate"],
        "periods": [{"start": "2026-03-01T09:30:00Z", "end": "2026-03-01T10:30:00Z"}],
    })
}

impl Gateway {
    async fn post_to(&self, credentials: &str, path: &str, body: &Value) -> Answer {
        let mut asked = request(Method::POST, path, Some(credentials));
        asked.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        *asked.body_mut() = Body::from(body.to_string());
        self.send(asked).await
    }

    /// Takes in, and gives the path of the request.
    async fn taken_in(&self, body: &Value) -> (String, Value) {
        let answer = self.post_to(NORTH, "/api/requests", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        let file = answer.json();
        (format!("/api/requests/{}", file["id"].as_str().unwrap()), file)
    }

    async fn step(&self, credentials: &str, path: &str, step: &str, body: Value) -> Value {
        let answer = self.post_to(credentials, &format!("{path}/{step}"), &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{step} {:?}", answer.body);
        answer.json()
    }
}

fn hold_until(until: &str) -> Value {
    serde_json::json!({"paper": "folder 12", "holds": [{"camera": "gate", "until": until,
        "period": {"start": "2026-03-01T09:30:00Z", "end": "2026-03-01T10:30:00Z"}}]})
}

#[tokio::test]
async fn r3_r4_a_requisition_goes_from_intake_to_closing_and_each_step_has_its_entry() {
    let gateway = Gateway::mutualised().await;
    let (path, file) = gateway.taken_in(&requisition("PV 2026/00117")).await;
    assert_eq!(file["state"], "received");
    assert_eq!(
        (&file["holds"][0]["hold_kind"], &file["holds"][0]["until"]),
        (&"pre_hold".into(), &"2026-03-09T12:00:00.000000Z".into())
    );
    // There is no footage in this gateway: a hold over nothing says so.
    assert_eq!(file["holds_over_nothing"].as_array().unwrap().len(), 1);
    // Without the paper there is no hold, nothing to prepare, and nothing to hand over.
    let mut no_paper = hold_until("2026-09-01T00:00:00Z");
    no_paper.as_object_mut().unwrap().remove("paper");
    for (step, body) in [
        ("holds", no_paper),
        ("preparation", serde_json::json!({"export": "e", "files": []})),
        ("release", Value::Null),
        ("hand-over", serde_json::json!({"recipient": "x", "medium": "y"})),
        ("closing", serde_json::json!({"outcome": "handed_over", "holds": "keep"})),
        ("refusal", serde_json::json!({"ground": "public_security", "explanation": "no"})),
    ] {
        let problem = gateway.post_to(NORTH, &format!("{path}/{step}"), &body).await.problem(409);
        assert_eq!(problem["type"], "urn:vigie:problem:conflict", "{step}");
    }
    gateway.send(request(Method::GET, &format!("{path}/receipt"), Some(NORTH))).await.problem(409);
    let held = gateway.step(NORTH, &path, "holds", hold_until("2026-09-01T00:00:00Z")).await;
    assert_eq!(held["state"], "held");
    assert_eq!((&held["holds"][0]["released"], &held["holds"][1]["hold_kind"]), (&true.into(), &"hold".into()));
    let hash = "ab".repeat(32);
    let files = serde_json::json!([{"name": "<b>gate.mp4", "sha256": hash}]);
    gateway.step(NORTH, &path, "preparation", serde_json::json!({"export": "clip 1", "files": files})).await;
    gateway.step(NORTH, &path, "release", Value::Null).await;
    let to = serde_json::json!({"recipient": "Brigadier <Martin>", "unit": "BSU", "medium": "DVD-R no. 12"});
    let done = gateway.step(NORTH, &path, "hand-over", to).await;
    assert_eq!(
        done["hand_over"]["keep_until"], "2026-04-01T11:00:00.000000Z",
        "a calendar month in Paris, into summer time"
    );
    for (language, words) in [("fr", "Récépissé"), ("en", "Receipt")] {
        let mut asked = request(Method::GET, &format!("{path}/receipt"), Some(NORTH));
        asked.headers_mut().insert(header::ACCEPT_LANGUAGE, language.parse().unwrap());
        let receipt = gateway.send(asked).await;
        let page = String::from_utf8(receipt.body.to_vec()).unwrap();
        assert!(page.contains(words) && page.contains(&hash) && page.contains("Brigadier &lt;Martin&gt;"), "{page}");
        assert!(
            page.contains("&lt;b&gt;gate.mp4") && !page.contains("<script") && page.contains("2026-04-01T11:00"),
            "{page}"
        );
    }
    let closed =
        gateway.step(NORTH, &path, "closing", serde_json::json!({"outcome": "handed_over", "holds": "release"})).await;
    assert_eq!((&closed["state"], &closed["destroy_at"]), (&"closed".into(), &"2029-03-01T12:00:00.000000Z".into()));
    let steps: Vec<String> = gateway
        .journal()
        .await
        .iter()
        .filter(|entry| entry["action"] == "request_step")
        .map(|entry| entry["step"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(steps, ["opened", "held", "prepared", "released", "handed_over", "closed"]);
    let holds: Vec<String> = gateway
        .journal()
        .await
        .iter()
        .filter_map(|entry| entry["action"].as_str())
        .filter(|action| action.starts_with("hold_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(holds, ["hold_placed", "hold_released", "hold_placed", "hold_released"]);
    let in_force = gateway.index.holds_in_force(&"north".parse().unwrap()).await.unwrap();
    assert_eq!(in_force, 1, "the one that was there before");
    // Nothing more can be done with it.
    gateway.post_to(NORTH, &format!("{path}/release"), &Value::Null).await.problem(409);
}

#[tokio::test]
async fn a_double_is_named_and_the_same_procedure_may_ask_for_more() {
    let gateway = Gateway::mutualised().await;
    let (path, file) = gateway.taken_in(&requisition("PV 2026/00117")).await;
    let again = gateway.post_to(NORTH, "/api/requests", &requisition("pv-2026 00117")).await.problem(409);
    assert!(again["detail"].as_str().unwrap().contains(file["id"].as_str().unwrap()), "{again}");
    let mut more = requisition("PV 2026/00117");
    more["periods"][0]["end"] = "2026-03-01T11:30:00Z".into();
    let (_, other) = gateway.taken_in(&more).await;
    assert_eq!(other["same_procedure"], serde_json::json!([file["id"]]));
    gateway.step(NORTH, &path, "closing", serde_json::json!({"outcome": "withdrawn", "holds": "release"})).await;
    // The wider one still asks for it.
    gateway.post_to(NORTH, "/api/requests", &requisition("PV 2026/00117")).await.problem(409);
}

#[tokio::test]
async fn of_two_steps_at_once_one_is_done_and_of_two_intakes_one_is_taken_in() {
    let gateway = Gateway::mutualised().await;
    let body = requisition("PV 7");
    let (one, other) =
        futures::join!(gateway.post_to(NORTH, "/api/requests", &body), gateway.post_to(NORTH, "/api/requests", &body));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    let made = if one.status == StatusCode::CREATED { one } else { other }.json();
    let path = format!("/api/requests/{}", made["id"].as_str().unwrap());
    let (holding, body) = (format!("{path}/holds"), hold_until("2026-09-01T00:00:00Z"));
    let (one, other) = futures::join!(gateway.post_to(NORTH, &holding, &body), gateway.post_to(NORTH, &holding, &body));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let file = gateway.ask("north", &path).await.json();
    assert_eq!(file["holds"].as_array().unwrap().iter().filter(|of| of["hold_kind"] == "hold").count(), 1);
}

#[tokio::test]
async fn what_one_person_prepared_another_releases_where_the_tenant_wants_that() {
    let gateway = Gateway::mutualised().await;
    let rules = RequestRules { two_person_release: true, ..RequestRules::default() };
    gateway.desk.set_rules([("north".parse().unwrap(), rules)]);
    let marie = gateway.person("marie", designation("supervisor")).await;
    let paul = gateway.person("paul", Designation { name: "Paul Petit".to_owned(), ..designation("supervisor") }).await;
    let (path, _) = gateway.taken_in(&requisition("PV 8")).await;
    gateway.step(&marie, &path, "holds", hold_until("2026-09-01T00:00:00Z")).await;
    let prepared = serde_json::json!({"export": "clip 1", "files": []});
    gateway.step(&marie, &path, "preparation", prepared.clone()).await;
    let release = format!("{path}/release");
    gateway.post_to(&marie, &release, &Value::Null).await.problem(403);
    // A token that several hold is nobody in particular.
    gateway.post_to(NORTH, &release, &Value::Null).await.problem(403);
    assert_eq!(gateway.step(&paul, &path, "release", Value::Null).await["state"], "released");
    // What was released is not changed any more.
    gateway.post_to(&paul, &format!("{path}/preparation"), &prepared).await.problem(409);
}

#[tokio::test]
async fn a4_a_limitation_keeps_footage_and_a_refusal_has_a_listed_ground() {
    let gateway = Gateway::mutualised().await;
    let (path, file) = gateway.taken_in(&person_filmed("limitation", "persons_and_property")).await;
    assert_eq!((&file["regime"], &file["due"]), (&"title_iii".into(), &"2026-05-01T11:00:00.000000Z".into()));
    let held = gateway.step(NORTH, &path, "holds", hold_until("2026-03-20T00:00:00Z")).await;
    assert_eq!(held["holds"][1]["hold_kind"], "limitation");
    let close = |holds: &str| serde_json::json!({"outcome": "limited", "holds": holds});
    gateway.post_to(NORTH, &format!("{path}/closing"), &close("release")).await.problem(409);
    gateway.step(NORTH, &path, "closing", close("keep")).await;

    let (path, file) = gateway.taken_in(&person_filmed("copy", "traffic_regulation")).await;
    assert_eq!((&file["regime"], &file["due"]), (&"title_ii".into(), &"2026-04-01T11:00:00.000000Z".into()));
    let refusal = |ground: &str| serde_json::json!({"ground": ground, "explanation": "others are seen"});
    gateway.post_to(NORTH, &format!("{path}/refusal"), &refusal("too_much_work")).await.problem(400);
    let refused = gateway.step(NORTH, &path, "refusal", refusal("rights_of_others")).await;
    assert_eq!(refused["refusal"]["ground"], "rights_of_others");
    gateway
        .post_to(NORTH, &format!("{path}/closing"), &serde_json::json!({"outcome": "withdrawn", "holds": "keep"}))
        .await
        .problem(409);
    gateway.step(NORTH, &path, "closing", serde_json::json!({"outcome": "refused", "holds": "release"})).await;
    gateway.post_to(NORTH, "/api/requests", &person_filmed("objection", "terrorism")).await.problem(400);
    gateway.post_to(NORTH, "/api/requests", &person_filmed("copy", "curiosity")).await.problem(400);
    // Who was filmed is in the file alone.
    for entry in gateway.journal().await {
        assert!(!entry.to_string().contains("Filmée"), "{entry}");
    }
    let events = gateway.ask("north", "/api/events?limit=1000").await.json().to_string();
    let holds = gateway.ask("north", "/api/holds").await.json().to_string();
    assert!(!events.contains("Filmée") && !holds.contains("Filmée"));
}

#[tokio::test]
async fn a_scan_is_kept_encrypted_its_hash_is_in_the_journal_and_nothing_else_is_taken() {
    let gateway = Gateway::mutualised().await;
    let (path, _) = gateway.taken_in(&requisition("PV 9")).await;
    let attach = async |bytes: Vec<u8>| {
        let mut asked = request(Method::POST, &format!("{path}/scans"), Some(NORTH));
        *asked.body_mut() = Body::from(bytes);
        gateway.send(asked).await
    };
    attach(b"<html><script>".to_vec()).await.problem(400);
    attach(Vec::new()).await.problem(400);
    attach(vec![b'%'; crate::desk::SCAN_BYTES_MAX + 1]).await.problem(413);
    let scan = [b"%PDF-1.7 ".as_slice(), &b"requisition ".repeat(10_000)].concat();
    let file = attach(scan.clone()).await.json();
    assert_eq!(
        (&file["scans"][0]["media_type"], &file["scans"][0]["bytes"]),
        (&"application/pdf".into(), &scan.len().into())
    );
    let read = gateway.send(request(Method::GET, &format!("{path}/scans/1"), Some(NORTH))).await;
    assert_eq!((read.status, &read.body[..]), (StatusCode::OK, &scan[..]));
    assert!(read.headers[header::CONTENT_DISPOSITION].to_str().unwrap().starts_with("attachment;"));
    gateway.send(request(Method::GET, &format!("{path}/scans/2"), Some(NORTH))).await.problem(404);
    let entries = gateway.journal().await;
    let hash = format!("sha256 {}", file["scans"][0]["sha256"].as_str().unwrap());
    let with_hash: Vec<_> =
        entries.iter().filter(|entry| entry["detail"] == hash.as_str()).map(|entry| entry["step"].clone()).collect();
    assert_eq!(with_hash, ["scan_attached", "scan_read"]);
    for folder in [gateway.dir.path().join("requests/north")] {
        for name in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(name.unwrap().path()).unwrap();
            assert!(!bytes.windows(11).any(|part| part == b"requisition"), "a file is readable");
        }
    }
    // A damaged one is not handed out.
    let id = path.rsplit('/').next().unwrap();
    let on_disk = gateway.dir.path().join(format!("requests/north/{id}-1.scan"));
    let mut bytes = std::fs::read(&on_disk).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&on_disk, bytes).unwrap();
    gateway.send(request(Method::GET, &format!("{path}/scans/1"), Some(NORTH))).await.problem(410);
}

#[tokio::test]
async fn hostile_intakes_are_refused() {
    let gateway = Gateway::mutualised().await;
    let check = async |change: &dyn Fn(&mut Value), status: u16| {
        let mut body = requisition("PV 10");
        change(&mut body);
        gateway.post_to(NORTH, "/api/requests", &body).await.problem(status);
    };
    check(&|body| body["cameras"] = serde_json::json!(["nope"]), 404).await;
    check(&|body| body["cameras"] = serde_json::json!([]), 400).await;
    check(&|body| body["periods"] = serde_json::json!([]), 400).await;
    check(&|body| body["periods"][0]["end"] = body["periods"][0]["start"].clone(), 400).await;
    check(&|body| body["periods"] = vec![body["periods"][0].clone(); 65].into(), 400).await;
    check(&|body| body["asker"]["legal_basis"] = "an article".into(), 400).await;
    check(&|body| body["asker"]["procedure"] = "—/—".into(), 400).await;
    check(&|body| body["asker"]["officer"] = "x\ny".into(), 400).await;
    check(&|body| body["asker"]["officer"] = "x".repeat(201).into(), 400).await;
    check(&|body| body["asker"]["unknown"] = "x".into(), 400).await;
    check(&|body| body["note"] = "x".repeat(70_000).into(), 413).await;
    assert_eq!(gateway.ask("north", "/api/requests").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_index_that_lost_its_requests_has_them_again_from_their_files_and_what_is_over_is_destroyed() {
    let gateway = Gateway::mutualised().await;
    let (path, file) = gateway.taken_in(&requisition("PV 11")).await;
    let (tenant, id): (TenantId, RequestId) = ("north".parse().unwrap(), file["id"].as_str().unwrap().parse().unwrap());
    gateway.step(NORTH, &path, "closing", serde_json::json!({"outcome": "withdrawn", "holds": "release"})).await;
    gateway.index.write(vec![Change::ForgetRequest { tenant: tenant.clone(), request: id }]).await.unwrap();
    gateway.ask("north", &path).await.problem(404);
    assert_eq!(gateway.desk.compare().await.unwrap(), 1);
    assert_eq!(gateway.ask("north", &path).await.json()["outcome"], "withdrawn");
    // Its time is not over on this clock.
    let steady = |at: WallTime| {
        let (held, lead) = (Ticks90k::ZERO, Ticks90k::ZERO);
        Change::SteadyClock(crate::index::SteadyClock { steady: at, wall: at, held, lead })
    };
    gateway.index.write(vec![steady(at("2026-03-01T12:00:00Z"))]).await.unwrap();
    assert_eq!(gateway.desk.destroy_over().await.unwrap(), 0);
    let mut row = gateway.index.request(&tenant, id).await.unwrap().unwrap();
    let over = row.file.replace("2029-03-01T12:00:00.000000Z", "2026-03-01T12:00:00.000000Z");
    assert_ne!(over, row.file);
    (row.version, row.destroy_at, row.file) = (row.version + 1, Some(at("2026-03-01T12:00:00Z")), over);
    gateway.index.write(vec![Change::PutRequest(Arc::new(row))]).await.unwrap();
    assert_eq!(gateway.desk.destroy_over().await.unwrap(), 1);
    gateway.ask("north", &path).await.problem(404);
    let left = std::fs::read_dir(gateway.dir.path().join("requests/north")).unwrap();
    let of_it = left.filter(|name| name.as_ref().unwrap().file_name().to_str().unwrap().starts_with(&id.to_string()));
    assert_eq!(of_it.count(), 0);
    assert_eq!(gateway.desk.compare().await.unwrap(), 0);
}

#[tokio::test]
async fn whether_there_is_footage_at_a_time_is_answered_with_its_reason() {
    let gateway = Gateway::mutualised().await;
    let ask = async |at: &str| {
        let answer = gateway.ask("north", &format!("/api/cameras/gate/presence?at={at}")).await.json();
        assert_eq!(answer["footage"], "no", "{answer}");
        answer["stretches"][0].clone()
    };
    assert_eq!(ask("2026-03-01T10:00:01Z").await["why"], "silent");
    assert_eq!(ask("2026-03-02T10:00:00Z").await["found"], "future");
    assert_eq!(ask("2026-02-01T10:00:00Z").await["found"], "before_record");
    assert_eq!(ask("2026-03-01T11:00:00Z").await["found"], "unknown");
    assert_eq!(ask("2026-03-01T11:59:50Z").await["found"], "not_written");
    gateway.ask("north", "/api/cameras/nope/presence?at=2026-03-01T10:00:00Z").await.problem(404);
    gateway.ask("north", "/api/cameras/gate/presence").await.problem(400);
}

#[tokio::test]
async fn r3_a_hold_is_prolonged_and_placed_again_where_it_was_released_beside_its_request() {
    let gateway = Gateway::mutualised().await;
    let (path, _) = gateway.taken_in(&requisition("PV 20")).await;
    let held = gateway.step(NORTH, &path, "holds", hold_until("2026-06-01T00:00:00Z")).await;
    // The judge prolongs: the same footage, for longer.
    let held_longer = gateway.step(NORTH, &path, "holds", hold_until("2026-09-01T00:00:00Z")).await;
    assert_eq!(held_longer["holds"].as_array().unwrap().len(), held["holds"].as_array().unwrap().len() + 1);
    gateway.post_to(NORTH, &format!("{path}/holds"), &hold_until("2026-09-01T00:00:00Z")).await.problem(409);
    // Somebody releases it by the list of holds, by mistake.
    let hold: HoldId = held_longer["holds"][2]["hold"].as_str().unwrap().parse().unwrap();
    gateway.index.write(vec![Change::EndHold { hold, at: at("2026-03-01T12:00:00Z") }]).await.unwrap();
    let again = gateway.step(NORTH, &path, "holds", hold_until("2026-09-01T00:00:00Z")).await;
    assert_eq!(again["holds"].as_array().unwrap().len(), 4);
    // A step does not ask for the same twice.
    let mut twice = hold_until("2026-10-01T00:00:00Z");
    twice["holds"] = serde_json::json!([twice["holds"][0], twice["holds"][0]]);
    gateway.post_to(NORTH, &format!("{path}/holds"), &twice).await.problem(409);
}

#[tokio::test]
async fn r3_a_pre_hold_does_not_end_for_a_hold_that_ends_before_it() {
    let gateway = Gateway::mutualised().await;
    let (path, _) = gateway.taken_in(&requisition("PV 21")).await;
    let held = gateway.step(NORTH, &path, "holds", hold_until("2026-03-01T12:00:01Z")).await;
    assert!(held["holds"][0]["released"].is_null(), "{held}");
    let held = gateway.step(NORTH, &path, "holds", hold_until("2026-09-01T00:00:00Z")).await;
    assert_eq!(held["holds"][0]["released"], true);
}

#[tokio::test]
async fn a4_a_limitation_whose_hold_was_released_beside_its_request_limits_nothing() {
    let gateway = Gateway::mutualised().await;
    let (path, _) = gateway.taken_in(&person_filmed("limitation", "persons_and_property")).await;
    let held = gateway.step(NORTH, &path, "holds", hold_until("2026-03-20T00:00:00Z")).await;
    let hold: HoldId = held["holds"][1]["hold"].as_str().unwrap().parse().unwrap();
    gateway.index.write(vec![Change::EndHold { hold, at: at("2026-03-01T12:00:00Z") }]).await.unwrap();
    let close = serde_json::json!({"outcome": "limited", "holds": "keep"});
    gateway.post_to(NORTH, &format!("{path}/closing"), &close).await.problem(409);
}

#[tokio::test]
async fn other_numbers_and_other_places_are_no_doubles() {
    let gateway = Gateway::mutualised().await;
    gateway.taken_in(&requisition("PV 2026/1-17")).await;
    // Other numbers of the same digits.
    gateway.taken_in(&requisition("PV 2026/11-7")).await;
    gateway.post_to(NORTH, "/api/requests", &requisition("pv2026 1 17")).await.problem(409);
    let at_place = |place: &str, start: &str| {
        let mut body = requisition("PV 30");
        body["cameras"] = serde_json::json!([]);
        body["place"] = place.into();
        body["periods"][0]["start"] = start.into();
        body
    };
    gateway.taken_in(&at_place("Gare", "2026-03-01T09:30:00Z")).await;
    gateway.taken_in(&at_place("Mairie", "2026-03-01T09:30:00Z")).await;
    gateway.taken_in(&at_place("Gare", "2026-03-01T08:30:00Z")).await;
    gateway.post_to(NORTH, "/api/requests", &at_place(" gare", "2026-03-01T09:30:00Z")).await.problem(409);
}

#[tokio::test]
async fn a1_who_is_for_some_cameras_sees_no_request_that_names_a_place_alone() {
    let gateway = Gateway::mutualised().await;
    let mut body = person_filmed("copy", "persons_and_property");
    body["cameras"] = serde_json::json!([]);
    body["place"] = "Gare".into();
    let (path, file) = gateway.taken_in(&body).await;
    let scope = catalogue::Scope { cameras: Some(["gate".parse().unwrap()].into()), ..catalogue::Scope::default() };
    let marie = gateway.person("marie", Designation { scope, ..designation("supervisor") }).await;
    gateway.get_as(&marie, &path).await.problem(404);
    let listed = gateway.get_as(&marie, "/api/requests").await.json().to_string();
    assert!(!listed.contains(file["id"].as_str().unwrap()) && !listed.contains("Filmée"), "{listed}");
    // What they took in themselves they carry on.
    let taken_in = gateway.post_to(&marie, "/api/requests", &body).await.json();
    let own = format!("/api/requests/{}", taken_in["id"].as_str().unwrap());
    assert_eq!(gateway.get_as(&marie, &own).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_person_designated_under_two_ids_does_not_release_what_they_prepared() {
    let gateway = Gateway::mutualised().await;
    let rules = RequestRules { two_person_release: true, ..RequestRules::default() };
    gateway.desk.set_rules([("north".parse().unwrap(), rules)]);
    let marie = gateway.person("marie", designation("supervisor")).await;
    let again = Designation { name: " marie  DURAND".to_owned(), ..designation("supervisor") };
    let again = gateway.person("m-durand", again).await;
    let (path, _) = gateway.taken_in(&requisition("PV 22")).await;
    gateway.step(&marie, &path, "holds", hold_until("2026-09-01T00:00:00Z")).await;
    gateway.step(&marie, &path, "preparation", serde_json::json!({"export": "clip 1", "files": []})).await;
    gateway.post_to(&again, &format!("{path}/release"), &Value::Null).await.problem(403);
}

/// An index that knows neither the request nor its holds: it was lost.
fn lose(gateway: &Gateway, id: RequestId, sql: &str) {
    let db = rusqlite::Connection::open(gateway.dir.path().join("index.sqlite")).unwrap();
    db.execute(sql, []).unwrap();
    db.execute("DELETE FROM request WHERE request = ?1", [id.0]).unwrap();
}

#[tokio::test]
async fn r3_an_index_that_was_lost_holds_again_what_its_requests_hold_and_nothing_that_they_released() {
    let gateway = Gateway::mutualised().await;
    let tenant: TenantId = "north".parse().unwrap();
    let (path, file) = gateway.taken_in(&requisition("PV 23")).await;
    let id: RequestId = file["id"].as_str().unwrap().parse().unwrap();
    let held = gateway.step(NORTH, &path, "holds", hold_until("2026-09-01T00:00:00Z")).await;
    let hold = |at: usize| held["holds"][at]["hold"].as_str().unwrap().parse::<HoldId>().unwrap();
    lose(&gateway, id, "DELETE FROM hold WHERE reference = 'PV 23'");
    assert!(gateway.index.hold(&tenant, hold(1)).await.unwrap().is_none());
    assert_eq!(gateway.desk.compare().await.unwrap(), 1);
    let row = gateway.index.hold(&tenant, hold(1)).await.unwrap().expect("it keeps its footage again");
    assert_eq!(
        (row.closed, row.facts.until, row.facts.reference.as_str()),
        (None, at("2026-09-01T00:00:00Z"), "PV 23")
    );
    assert!(gateway.index.hold(&tenant, hold(0)).await.unwrap().is_none(), "the pre-hold was released");
    // An older copy has holds in force that were released since.
    gateway.step(NORTH, &path, "closing", serde_json::json!({"outcome": "withdrawn", "holds": "release"})).await;
    lose(&gateway, id, "UPDATE hold SET closed = NULL WHERE reference = 'PV 23'");
    assert!(gateway.index.hold(&tenant, hold(1)).await.unwrap().unwrap().closed.is_none());
    assert_eq!(gateway.desk.compare().await.unwrap(), 1);
    assert!(gateway.index.hold(&tenant, hold(1)).await.unwrap().unwrap().closed.is_some());
}

#[tokio::test]
async fn r7_what_is_over_is_destroyed_with_its_drafts_though_a_folder_beside_cannot_be_read() {
    let gateway = Gateway::mutualised().await;
    let (path, file) = gateway.taken_in(&requisition("PV 24")).await;
    let (tenant, id): (TenantId, RequestId) = ("north".parse().unwrap(), file["id"].as_str().unwrap().parse().unwrap());
    gateway.step(NORTH, &path, "closing", serde_json::json!({"outcome": "withdrawn", "holds": "release"})).await;
    let steady = at("2026-03-01T12:00:00Z");
    let (held, lead) = (Ticks90k::ZERO, Ticks90k::ZERO);
    let clock = crate::index::SteadyClock { steady, wall: steady, held, lead };
    gateway.index.write(vec![Change::SteadyClock(clock)]).await.unwrap();
    // What a crash leaves of a scan that was not attached.
    let folder = gateway.dir.path().join("requests/north");
    std::fs::write(folder.join(format!("{id}-1.scan.new")), b"half of it").unwrap();
    // Another tenant's request is over too, and its folder is none.
    let mut row = gateway.index.request(&tenant, id).await.unwrap().unwrap();
    let other = crate::index::request::RequestRow {
        id: "0f".repeat(16).parse().unwrap(),
        tenant: "aside".parse().unwrap(),
        destroy_at: Some(steady),
        ..row.clone()
    };
    let over = row.file.replace("2029-03-01T12:00:00.000000Z", "2026-03-01T12:00:00.000000Z");
    (row.version, row.destroy_at, row.file) = (row.version + 1, Some(steady), over);
    let aside = gateway.dir.path().join("requests/aside");
    std::fs::write(&aside, b"").unwrap();
    lose(&gateway, id, "DELETE FROM hold WHERE 0");
    gateway.index.write(vec![Change::TakeInRequest(Arc::new(other))]).await.unwrap();
    gateway.index.write(vec![Change::TakeInRequest(Arc::new(row))]).await.unwrap();
    gateway.desk.compare().await.unwrap();
    // It says that one was not destroyed, and destroyed the other.
    assert!(gateway.desk.destroy_over().await.is_err());
    gateway.ask("north", &path).await.problem(404);
    let left = std::fs::read_dir(folder).unwrap().map(|name| name.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.starts_with(&id.to_string())).collect::<Vec<_>>(), Vec::<String>::new());
    std::fs::remove_file(aside).unwrap();
    assert_eq!(gateway.desk.destroy_over().await.unwrap(), 1);
}

#[tokio::test]
async fn r7_what_an_earlier_version_of_a_destroyed_request_said_is_not_in_the_file_of_the_index() {
    let gateway = Gateway::mutualised().await;
    let (_, file) = gateway.taken_in(&requisition("PV 25")).await;
    let (tenant, id): (TenantId, RequestId) = ("north".parse().unwrap(), file["id"].as_str().unwrap().parse().unwrap());
    let row = gateway.index.request(&tenant, id).await.unwrap().unwrap();
    for (more, said) in [(1, "Filmee-Zoe ".repeat(3_000)), (2, "{}".to_owned())] {
        let next = RequestRow { version: row.version + more, file: said, ..row.clone() };
        gateway.index.write(vec![Change::PutRequest(Arc::new(next))]).await.unwrap();
    }
    gateway.index.write(vec![Change::ForgetRequest { tenant, request: id }]).await.unwrap();
    let path = gateway.dir.path().join("index.sqlite");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.query_row("PRAGMA wal_checkpoint(full)", [], |_| Ok(())).unwrap();
    let bytes = std::fs::read(path).unwrap();
    assert!(!bytes.windows(10).any(|part| part == b"Filmee-Zoe"));
}

#[tokio::test]
async fn a1_a_double_that_is_not_for_its_finder_is_not_named() {
    let gateway = Gateway::mutualised().await;
    let mut wider = requisition("PV 26");
    wider["cameras"] = serde_json::json!(["gate", "square"]);
    let (_, file) = gateway.taken_in(&wider).await;
    let scope = catalogue::Scope { cameras: Some(["gate".parse().unwrap()].into()), ..catalogue::Scope::default() };
    let marie = gateway.person("marie", Designation { scope, ..designation("supervisor") }).await;
    let answer = gateway.post_to(&marie, "/api/requests", &requisition("PV 26")).await.problem(409);
    assert!(!answer.to_string().contains(file["id"].as_str().unwrap()), "{answer}");
}
