//! A clip of ten minutes in a real browser: it plays, and seeks by asking for ranges.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::http::header;
use axum::middleware::{Next, from_fn};
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use footage::media::Fragment;
use footage::units::Ticks90k;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;
use vigie::http::{Access, ServeLimits, Service, router, serve};
use vigie::retrieve::mp4::Clip;
use vigie::status::StatusBoard;

use super::real::encode;
use super::rig::{Rig, at, between};

const SECONDS: i64 = 600;
/// What is encoded, and repeated from there on.
const ENCODED_SECONDS: i64 = 12;
const PACKS: i64 = 5;
/// A hang guard, not a bound on speed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Says what it saw: the picture shown after each seek, by its time in the clip, and where playing ended.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><video id="v" muted></video><script>
const v = document.getElementById("v");
const say = (what) => fetch("/said", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(what) });
const once = (name) => new Promise((resolve) => v.addEventListener(name, resolve, { once: true }));
// A picture from before the seek may still be on its way to the screen.
const pictureNear = (to) => new Promise((resolve) => {
  const look = (_, frame) => Math.abs(frame.mediaTime - to) < 1 ? resolve(frame.mediaTime) : v.requestVideoFrameCallback(look);
  v.requestVideoFrameCallback(look);
});
async function seek(to) {
  const shown = pictureNear(to), sought = once("seeked");
  v.currentTime = to;
  await sought;
  return shown;
}
v.addEventListener("error", () => say({ error: v.error.message }));
(async () => {
  v.src = new URLSearchParams(location.search).get("clip");
  await once("loadeddata");
  const seekable = v.seekable.length ? v.seekable.end(0) : 0;
  const middle = await seek(301.23), back = await seek(59.99), late = await seek(v.duration - 1);
  await v.play();
  await once("ended");
  await say({ duration: v.duration, seekable, middle, back, late, ended: v.currentTime, width: v.videoWidth });
})().catch((error) => say({ error: String(error) }));
</script>"#;

async fn ten_minutes() -> Rig {
    let real = encode("-map 0:v -t 12 -c:v libx264 -g 50 -bf 0 -preset veryfast").fragments;
    assert_eq!(real.iter().map(|f| f.duration.0).sum::<i64>(), ENCODED_SECONDS * 90_000);
    let repeats = SECONDS / ENCODED_SECONDS / PACKS;
    let later = |fragment: &Fragment, seconds: i64| Fragment {
        decode_time: Ticks90k(fragment.decode_time.0 + seconds * 90_000),
        ..fragment.clone()
    };
    let mut rig = Rig::new().await;
    for pack in 0..PACKS {
        let begins = (pack * repeats..(pack + 1) * repeats).map(|n| n * ENCODED_SECONDS);
        let fragments: Vec<Fragment> = begins.flat_map(|s| real.iter().map(move |f| later(f, s))).collect();
        rig.record(at(0), &fragments).await;
    }
    rig.settle().await;
    rig
}

/// First bytes of the ranges that were asked for.
type Starts = Arc<Mutex<Vec<u64>>>;

async fn note_range(starts: Starts, request: Request, next: Next) -> axum::response::Response {
    let range = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse::<u64>().ok());
    starts.lock().expect("nothing panics with it").extend(start);
    next.run(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_seeks_to_the_middle_and_the_end_of_ten_minutes_by_ranges() {
    let rig = ten_minutes().await;
    let clip = Clip::new(&rig.footage, &rig.camera, between(0, SECONDS * 1_000)).await.expect("footage");
    let (said, mut saying) = mpsc::channel::<Value>(1);
    let starts = Starts::default();
    let noted = starts.clone();
    let access = Access::new([(&rig.camera.tenant, None)]).expect("one open tenant");
    let service =
        Service::new(rig.footage.clone(), rig.holds(), access, &jiff::tz::TimeZone::UTC, StatusBoard::default());
    let hear = move |Json(what): Json<Value>| async move {
        let _ = said.send(what).await;
    };
    let page: Router = router(service)
        .layer(from_fn(move |request, next| note_range(noted.clone(), request, next)))
        .route("/page", get(|| async { Html(PAGE) }))
        .route("/said", post(hear));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(serve(listener, page, ServeLimits::default(), std::future::pending()));

    let asked = format!("/api/cameras/gate/clip.mp4?start={}&end={}", at(0), at(SECONDS * 1_000));
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("clip", &asked).finish();
    let browser = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    let profile = rig.dir.path().join("browser");
    let _browser = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("http://{address}/page?{query}"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("chromium is installed");
    let saw = tokio::time::timeout(PATIENCE, saying.recv()).await.expect("the browser is done").expect("it says so");

    assert_eq!(saw["error"], Value::Null, "{saw}");
    let within = |name: &str, expect: Range<f64>| {
        let value = saw[name].as_f64().expect("a number");
        assert!(expect.contains(&value), "{name}: {saw}");
    };
    // 25 pictures a second: the one shown at an instant began at most 40 ms before it.
    within("duration", 599.999..600.001);
    within("seekable", 599.999..600.001);
    within("middle", 301.189..301.231);
    within("back", 59.949..59.991);
    within("late", 598.959..599.001);
    within("ended", 599.9..600.001);
    let starts = starts.lock().expect("nothing panics with it");
    let asked_in = |part: Range<f64>| starts.iter().any(|&start| part.contains(&(start as f64 / clip.len() as f64)));
    assert!(asked_in(0.3..0.6) && asked_in(0.9..1.0), "ranges from {starts:?} of {} bytes", clip.len());
}
