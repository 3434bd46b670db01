//! A whole requisition on a real gateway: footage with a gap, images to come, two procedures on the same minutes of which one ends, and
//! a gateway that is killed while holds are placed.
//!
//! `VIGIE_REQUESTS_SEED` (default 1) chooses the moments of the kills.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::path::Path;
use std::time::Duration;

use footage::clock::{Clock, SystemClock};
use footage::units::{Ticks90k, WallTime};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

#[allow(dead_code, reason = "other tests need more of it")]
#[path = "support/demo.rs"]
mod demo;

use demo::{Demo, pass};

/// How long a condition may take to come true before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: i64 = 90_000;

struct Gateway {
    demo: Demo,
    client: Client,
}

impl Gateway {
    fn start(data_dir: &Path) -> Self {
        Self { demo: Demo::start(data_dir), client: Client::new() }
    }

    fn address(&self) -> &str {
        &self.demo.address
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(format!("http://{}{path}", self.address())).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let answer = self.client.post(format!("http://{}{path}", self.address())).json(body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn step(&self, path: &str, step: &str, body: Value) -> Value {
        let (status, answer) = self.post(&format!("{path}/{step}"), &body).await;
        assert_eq!(status, StatusCode::OK, "{step}: {answer}");
        answer
    }

    async fn taken_in(&self, procedure: &str, start: WallTime, end: WallTime) -> (String, Value) {
        let intake = json!({
            "asker": {"kind": "requisition", "authority": "TJ Lyon", "officer": "Brigadier Martin", "unit": "BSU",
                "procedure": procedure, "legal_basis": "CPP 77-1-1"},
            "cameras": ["parvis"], "periods": [{"start": start.to_string(), "end": end.to_string()}], "paper": "folder 12",
        });
        let (status, file) = self.post("/api/requests", &intake).await;
        assert_eq!(status, StatusCode::CREATED, "{file}");
        (format!("/api/requests/{}", file["id"].as_str().unwrap()), file)
    }

    /// What there is of the camera between these instants, when this is so.
    async fn presence_when(&self, start: WallTime, end: WallTime, is_so: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/cameras/parvis/presence?at={start}&until={end}");
        let waiting = async {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            loop {
                tick.tick().await;
                let answer = self.get(&path).await;
                if is_so(&answer) {
                    break answer;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the gateway records")
    }
}

fn now() -> WallTime {
    SystemClock::default().wall()
}

fn after(at: WallTime, seconds: i64) -> WallTime {
    at.saturating_add(Ticks90k(seconds * SECOND))
}

fn holds(start: WallTime, end: WallTime) -> Value {
    let period = json!({"start": start.to_string(), "end": end.to_string()});
    json!({"holds": [{"camera": "parvis", "period": period, "until": after(end, 86_400 * 60).to_string()}]})
}

fn found(answer: &Value, what: &str) -> Vec<Value> {
    answer["stretches"].as_array().unwrap().iter().filter(|of| of["found"] == what).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_a4_e6_a_requisition_over_a_gap_and_images_to_come_beside_another_on_the_same_minutes() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path());
    let start = now();
    let covers = |seconds: f64| move |answer: &Value| answer["covered_s"].as_f64().unwrap() > seconds;
    gateway.presence_when(start, after(start, 600), covers(3.0)).await;
    gateway.demo.kill(|| ());
    let gateway = Gateway::start(dir.path());
    let restarted = now();
    gateway.presence_when(restarted, after(restarted, 600), covers(2.0)).await;

    // One is for images to come too; the other for the same minutes.
    let end = after(now(), 8);
    let (theft, file) = gateway.taken_in("PV 2026/117", start, end).await;
    assert_eq!(file["holds"].as_array().unwrap().len(), 1);
    let (assault, _) = gateway.taken_in("PV 2026/118", start, end).await;
    let parts = gateway.get(&format!("{theft}/search")).await;
    let part = &parts[0];
    assert!(!found(part, "gap").is_empty() && !found(part, "future").is_empty(), "{part}");
    assert!(found(part, "gap").iter().all(|of| of["why"].is_string()), "{part}");
    assert!(found(part, "footage").iter().all(|of| of["holds"].as_array().unwrap().len() == 2), "{part}");
    assert!(part["destroyed_from"].is_null(), "all of it is held: {part}");

    for path in [&theft, &assault] {
        assert_eq!(gateway.step(path, "holds", holds(start, end)).await["state"], "held");
    }
    // All that was to come is held when it has come.
    gateway
        .presence_when(start, end, |answer| {
            found(answer, "future").is_empty() && found(answer, "not_written").is_empty()
        })
        .await;
    let files = json!([{"name": "parvis.mp4", "sha256": "0f".repeat(32)}]);
    gateway.step(&theft, "preparation", json!({"export": "clip 1", "files": files})).await;
    gateway.step(&theft, "release", Value::Null).await;
    gateway.step(&theft, "hand-over", json!({"recipient": "Brigadier Martin", "unit": "BSU", "medium": "DVD-R"})).await;
    gateway.step(&theft, "closing", json!({"outcome": "handed_over", "holds": "release"})).await;
    // The other keeps the same minutes.
    let kept = gateway.presence_when(start, end, |_| true).await;
    let footage = found(&kept, "footage");
    assert!(!footage.is_empty() && footage.iter().all(|of| of["holds"].as_array().unwrap().len() == 1), "{kept}");
    let file = gateway.get(&assault).await;
    let hold = file["holds"][1]["hold"].as_str().unwrap();
    let state = gateway.get(&format!("/api/holds/{hold}")).await;
    assert_eq!((&state["keeps"], &state["closed"]), (&"footage".into(), &Value::Null));
    // Both sides of the gap, and the gap with its cause.
    assert_eq!(state["protected"].as_array().unwrap().len(), 2, "{state}");
    assert!(found(&kept, "gap").iter().any(|of| of["why"].is_string()), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "a failing seed must show")]
async fn a_gateway_that_is_killed_while_it_holds_has_placed_all_of_a_step_or_nothing() {
    let seed = std::env::var("VIGIE_REQUESTS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("VIGIE_REQUESTS_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path());
    let start = now();
    for round in 0..6 {
        let (path, _) = gateway.taken_in(&format!("PV {round}"), start, after(start, 600)).await;
        let url = format!("http://{}{path}/holds", gateway.address());
        let holding = tokio::spawn(Client::new().post(url).json(&holds(start, after(start, 600))).send());
        let moment = Duration::from_micros(random.random_range(0..20_000));
        tokio::task::spawn_blocking(move || pass(moment)).await.unwrap();
        gateway.demo.kill(|| ());
        // Answered, or cut off.
        let answered = holding.await.unwrap().is_ok_and(|answer| answer.status() == StatusCode::OK);
        gateway = Gateway::start(dir.path());
        let file = gateway.get(&path).await;
        assert!(!answered || file["state"] == "held", "what was answered was done: {file}");
        let all = gateway.get("/api/holds?limit=1000").await;
        let of_this = |of: &&Value| of["reference"] == format!("PV {round}");
        let (placed, listed) = (all.as_array().unwrap().iter().filter(of_this), file["holds"].as_array().unwrap());
        assert_eq!(placed.count(), listed.len(), "{file}");
        for of in listed {
            let hold = gateway.get(&format!("/api/holds/{}", of["hold"].as_str().unwrap())).await;
            assert_eq!(hold["closed"].is_string(), of["released"] == true, "{file} {hold}");
        }
        if file["state"] == "received" {
            gateway.step(&path, "holds", holds(start, after(start, 600))).await;
        }
    }
    gateway.demo.kill(|| ());
    let report = journal::verify::verify(&dir.path().join("journal/demo"), &journal::verify::Known::default()).unwrap();
    assert_eq!(report.faults, []);
}
