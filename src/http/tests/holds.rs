//! Holds over HTTP, where there is no footage.

use super::*;

fn place(body: &str, kind: Option<&str>) -> Request<Body> {
    let mut asked = request(Method::POST, "/api/cameras/gate/holds", Some("north:north token"));
    if let Some(kind) = kind {
        asked.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
    }
    *asked.body_mut() = Body::from(body.to_owned());
    asked
}

const JSON: Option<&str> = Some("application/json");

fn asked(more: &str) -> String {
    format!(
        r#"{{"start": "2026-03-01T09:00:00Z", "end": "2026-03-01T11:00:00Z", "requester": "Lieutenant Petit",
            "reason": "theft"{more}}}"#
    )
}

#[tokio::test]
async fn a_hold_is_placed_shown_and_released() {
    let gateway = Gateway::mutualised().await;
    let asked = asked(r#", "until": "2026-06-01T00:00:00+02:00", "reference": " PV 118 ""#);
    let answer = gateway.send(place(&asked, JSON)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let placed = answer.json();
    assert_eq!((&placed["reference"], &placed["until"]), (&"PV 118".into(), &"2026-05-31T22:00:00.000000Z".into()));
    assert_eq!(placed["protected"], serde_json::json!([]));
    let why: Vec<_> = placed["absent"].as_array().unwrap().iter().map(|a| a["why"].as_str().unwrap()).collect();
    assert_eq!(why, ["not_recorded", "silent", "not_recorded"]);

    let path = format!("/api/holds/{}", placed["id"].as_str().unwrap());
    assert_eq!(gateway.ask("north", &path).await.json(), placed);
    gateway.ask("north", &format!("{path}/clip.mp4")).await.problem(404);
    let listed = gateway.ask("north", "/api/holds").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["id"], placed["id"], "the newest first");
    assert_eq!(placed["keeps"], "nothing", "one that is placed over nothing says so");
    let page = gateway.ask("north", &format!("/api/holds?limit=1&after_hold={}", placed["id"].as_str().unwrap())).await;
    assert_eq!(page.json()[0], listed[1]);
    assert_eq!(page.json().as_array().unwrap().len(), 1);
    for bad in ["limit=0", "limit=1001", "after_hold=x"] {
        gateway.ask("north", &format!("/api/holds?{bad}")).await.problem(400);
    }
    for _ in 0..2 {
        let released = gateway.send(request(Method::DELETE, &path, Some("north:north token"))).await;
        assert_eq!(released.json()["closed"], "2026-03-01T12:00:00.000000Z");
    }
    let listed = gateway.ask("north", "/api/holds").await.json();
    assert_eq!(listed[1]["id"], placed["id"], "those in force come first");
    let events = gateway.ask("north", "/api/events").await.json().to_string();
    assert!(
        events.contains("hold_placed") && events.contains("hold_released") && events.contains("PV 118"),
        "{events}"
    );
    // In the journal of this tenant and of no other, with the author and the reason.
    let acts = |answer: Answer| {
        let entries = answer.json()["entries"].as_array().unwrap().clone();
        entries.iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let journal = gateway.ask("north", "/api/journal").await;
    let entry = journal.json()["entries"][0].clone();
    assert_eq!(
        (&entry["hold"], &entry["author"], &entry["reason"], &entry["recipient"], &entry["cameras"][0]),
        (&placed["id"], &"access_token".into(), &"theft".into(), &"Lieutenant Petit".into(), &"gate".into())
    );
    assert_eq!(acts(journal), ["hold_placed", "hold_released"], "released twice, it ended once");
    assert_eq!(acts(gateway.ask("north", "/api/journal?from=1&limit=1").await), ["hold_released"]);
    assert_eq!(acts(gateway.ask("north", "/api/journal?from=2").await), ["journal_read", "journal_read"]);
    assert_eq!(acts(gateway.ask("south", "/api/journal").await), [] as [&str; 0]);
    for bad in ["limit=0", "limit=1001", "from=-1", "from=x", "to=1"] {
        gateway.ask("north", &format!("/api/journal?{bad}")).await.problem(400);
    }
}

#[tokio::test]
async fn a_hold_that_cannot_be_is_refused_with_advice() {
    let gateway = Gateway::mutualised().await;
    let check = async |body: &str, kind: Option<&str>, advice: &str| {
        let problem = gateway.send(place(body, kind)).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(advice), "{body}: {problem}");
    };
    let good = asked(r#", "until": "2026-03-20T00:00:00Z""#);
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("multipart/form-data")] {
        check(&good, kind, "application/json").await;
    }
    check("", JSON, "JSON").await;
    check("[", JSON, "JSON").await;
    check(&asked(""), JSON, "until").await;
    check(&asked(r#", "until": "2026-03-20T00:00:00Z", "camera": "square""#), JSON, "camera").await;
    check(&asked(r#", "until": "tomorrow""#), JSON, "RFC 3339").await;
    check(&asked(r#", "until": "2026-04-20T00:00:00Z""#), JSON, "reference").await;
    check(&good.replace("T11:00", "T09:00"), JSON, "before").await;
    check(&good.replace("Lieutenant Petit", ""), JSON, "requester").await;
    gateway.send(place(&good.replace("theft", &"x".repeat(70_000)), JSON)).await.problem(413);
    gateway.ask("north", "/api/holds/1234").await.problem(400);
    let clip = "/api/holds/06060606060606060606060606060606/clip.mp4";
    gateway.ask("north", &format!("{clip}?start=2026-03-02T09:00:00Z&end=2026-03-02T10:00:00Z")).await.problem(400);
    gateway.ask("north", &format!("{clip}?begin=2026-03-02T09:00:00Z")).await.problem(400);
    assert_eq!(gateway.ask("north", "/api/holds").await.json().as_array().unwrap().len(), 1);
}
