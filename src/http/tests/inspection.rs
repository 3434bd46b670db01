//! A5: what the inspector is shown, and by whom it may be asked.

use super::people::designation;
use super::*;

const PERIOD: &str = "start=2026-02-01T00:00:00Z&end=2026-03-02T00:00:00Z";

fn ask(what: &str) -> String {
    format!("/api/inspection{what}{}{PERIOD}", if what.contains('?') { "&" } else { "?" })
}

#[tokio::test]
async fn a5_an_inspector_sees_policies_interruptions_holds_and_accesses_of_their_own_town() {
    let gateway = Gateway::mutualised().await;
    let inspector = gateway.person("inspector", designation("inspector")).await;
    let player = gateway.person("player", designation("supervisor")).await;
    let person = r#"{"name": "Some One", "role": "operator",
        "act": {"authority": "le maire", "number": "7", "date": "2026-01-01", "until": "2026-12-31"}}"#;
    let made = gateway.send_json(Method::PUT, "/api/people/someone", "north:north token", person).await;
    assert!(made.status.is_success(), "{:?}", made.body);
    gateway
        .get_as(&inspector, "/api/cameras/gate/clip.mp4?start=2026-03-01T09:00:00Z&end=2026-03-01T09:10:00Z")
        .await
        .problem(403);
    let found = gateway.get_as(&inspector, &ask("")).await.json();
    let cameras: Vec<_> =
        found["cameras"].as_array().unwrap().iter().map(|of| of["camera"].as_str().unwrap()).collect();
    assert_eq!(cameras, ["gate", "square"]);
    let gate = &found["cameras"][0];
    assert_eq!((&gate["max_hours"], &gate["holds"], &gate["incomplete_days"]), (&720.into(), &1.into(), &1.into()));
    assert_eq!(gate["over_age"], serde_json::json!([]));
    let denied = found["accesses"].as_array().unwrap().iter().find(|of| of["way"] == "denied").unwrap();
    assert_eq!(denied["times"], 1);
    assert!(denied["act"].as_str().is_some_and(|act| !act.is_empty()), "{denied}");
    assert_eq!(found["changes"], 1, "a person was designated: {found}");

    let page = gateway.get_as(&inspector, &ask(".html?language=fr")).await;
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(html.contains("Images conservées au-delà du délai") && html.contains("north PV 117"), "{html}");
    assert!(!html.contains("south") && !html.contains("harbour"), "{html}");
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers[header::CACHE_CONTROL], "private, no-store");

    let days = gateway.get_as(&player, &ask("/days.csv?language=en")).await;
    assert_eq!(days.headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    let text = String::from_utf8(days.body.to_vec()).unwrap();
    let day = text.lines().find(|line| line.starts_with("gate,2026-03-01")).unwrap_or_else(|| panic!("{text}"));
    assert!(day.contains(",5,silent=5,"), "{day}");
    let journal = gateway.get_as(&inspector, &ask("/journal.csv?language=en")).await;
    let text = String::from_utf8(journal.body.to_vec()).unwrap();
    assert!(text.lines().any(|line| line.contains(",denied,")), "{text}");
    assert!(text.lines().any(|line| line.contains(",inspected,")), "that it was inspected is an entry: {text}");
    for table in ["cameras", "destructions", "holds", "accesses"] {
        let answer = gateway.get_as(&inspector, &ask(&format!("/{table}.csv"))).await;
        assert_eq!(answer.status, StatusCode::OK, "{table}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("south"), "{table}");
    }
    gateway.get_as(&inspector, &ask("/cameras")).await.problem(400);
    gateway.get_as(&inspector, &ask("/secrets.csv")).await.problem(400);
    gateway
        .get_as(&inspector, "/api/inspection?start=2024-01-01T00:00:00Z&end=2026-01-01T00:00:00Z")
        .await
        .problem(400);
}

#[tokio::test]
async fn a5_holds_and_cameras_beyond_a_persons_rights_are_left_out() {
    let gateway = Gateway::mutualised().await;
    let mut narrow = designation("inspector");
    narrow.scope.cameras = Some(["square".parse().unwrap()].into());
    let inspector = gateway.person("inspector", narrow).await;
    let administrator = gateway.person("admin", designation("tenant_administrator")).await;
    let operator = gateway.person("operator", designation("operator")).await;
    let found = gateway.get_as(&inspector, &ask("")).await.json();
    let cameras: Vec<_> = found["cameras"].as_array().unwrap().iter().map(|of| &of["camera"]).collect();
    assert_eq!(cameras, ["square"]);
    gateway.get_as(&inspector, "/api/cameras/gate/destruction?day=2026-02-01").await.problem(403);
    assert_eq!(gateway.get_as(&administrator, &ask("")).await.json()["cameras"][0]["holds"], 0);
    let holds = gateway.get_as(&administrator, &ask("/holds.csv")).await;
    assert!(!String::from_utf8_lossy(&holds.body).contains("PV 117"), "who may not see holds");
    gateway.get_as(&operator, &ask("")).await.problem(403);
    gateway.get_as(&operator, "/api/cameras/gate/destruction?day=2026-02-01").await.problem(403);
}

#[tokio::test]
async fn r6_the_proof_of_a_day_is_given_for_days_that_are_over() {
    let gateway = Gateway::mutualised().await;
    let inspector = gateway.person("inspector", designation("inspector")).await;
    let proof = gateway.get_as(&inspector, "/api/cameras/gate/destruction?day=2026-02-01").await.json();
    assert_eq!((&proof["verdict"], &proof["packs"]), (&"nothing_recorded".into(), &0.into()));
    // Of the day of the place, not of UTC.
    assert_eq!(proof["start"], "2026-01-31T23:00:00.000000Z");
    let today = gateway.get_as(&inspector, "/api/cameras/gate/destruction?day=2026-03-01").await.problem(400);
    assert!(today["detail"].as_str().unwrap().contains("not over"), "{today}");
    gateway.get_as(&inspector, "/api/cameras/gate/destruction?day=yesterday").await.problem(400);
    let page = gateway.get_as(&inspector, "/api/cameras/gate/destruction.html?day=2026-02-01&language=fr").await;
    assert!(String::from_utf8_lossy(&page.body).contains("Destruction des enregistrements"), "{:?}", page.body);
}
