//! Footage in a real browser: a clip of ten minutes plays, and seeks by asking for ranges; the page shows a camera live, with
//! its sound or without.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::http::header;
use axum::middleware::{Next, from_fn};
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use catalogue::Roles;
use footage::media::{AudioParams, Fragment};
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

/// What a page said, and the ranges that it asked for.
struct Browsed {
    said: Value,
    starts: Vec<u64>,
}

/// Opens `page` of a gateway with this footage, and waits for what it says.
async fn browse(rig: &Rig, page: String, query: &str) -> Browsed {
    let (said, mut saying) = mpsc::channel::<Value>(1);
    let starts = Starts::default();
    let noted = starts.clone();
    let access = Access::new([(&rig.camera.tenant, None, Roles::ALL_RIGHTS)]).expect("one open tenant");
    let (utc, status) = (jiff::tz::TimeZone::UTC, StatusBoard::default());
    let service = Service::new(rig.footage.clone(), rig.holds(), rig.journals_and_people().await, access, &utc, status);
    let hear = move |Json(what): Json<Value>| async move {
        let _ = said.send(what).await;
    };
    let pages: Router = router(service)
        .layer(from_fn(move |request, next| note_range(noted.clone(), request, next)))
        .route("/page", get(|| async { Html(page) }))
        .route("/said", post(hear));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(serve(listener, pages, ServeLimits::default(), std::future::pending()));

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
    let said = tokio::time::timeout(PATIENCE, saying.recv()).await.expect("the browser is done").expect("it says so");
    let starts = std::mem::take(&mut *starts.lock().expect("nothing panics with it"));
    Browsed { said, starts }
}

/// The gateway's own page, opened from one that may watch it; says what its player shows once that plays, or what it complains of.
const OWN_PAGE: &str = r#"<!doctype html><script>
const say = (what) => fetch("/said", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(what) });
const look = setInterval(() => {
  const video = document.getElementById("video"), alert = document.getElementById("alert"), mode = document.getElementById("mode");
  const playing = video && mode && video.currentTime > 0 && video.webkitVideoDecodedByteCount > 0 && video.videoWidth > 0;
  const sound = playing && (video.webkitAudioDecodedByteCount > 0 || mode.dataset.sound === "left-out");
  if (!(playing && sound) && !alert) return;
  clearInterval(look);
  say({ alert: alert?.textContent, width: video?.videoWidth, mode: mode?.dataset.sound, sound: video?.webkitAudioDecodedByteCount });
}, 100);
fetch("/").then((answer) => answer.text()).then((page) => {
  document.open();
  document.write(page);
  document.close();
});
</script>"#;

async fn live_with_sound(entry: Option<Bytes>) -> Value {
    let mut rig = Rig::new().await;
    let mut fragments = encode("-map 0:v -map 1:a -t 12 -c:v libx264 -g 50 -bf 0 -preset veryfast -c:a aac").fragments;
    if let Some(sample_entry) = entry {
        let mut params = (*fragments[0].params).clone();
        params.audio = Some(AudioParams { clock_rate: 8_000, sample_entry, rfc6381: None });
        let params = Arc::new(params);
        fragments.iter_mut().for_each(|fragment| fragment.params = params.clone());
    }
    let _growing = rig.open(at(50_000), &fragments).await;
    rig.flush().await;
    browse(&rig, OWN_PAGE.to_owned(), "").await.said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_a_camera_live_with_its_sound_where_the_browser_decodes_it() {
    let said = live_with_sound(None).await;
    assert_eq!(said["alert"], Value::Null, "{said}");
    assert_eq!(said["mode"], "played", "{said}");
    assert!(said["sound"].as_u64().is_some_and(|bytes| bytes > 0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_a_camera_live_whose_sound_no_browser_decodes() {
    // AudioSampleEntry (ISO/IEC 14496-12 §12.2.3): G.711 A-law, one channel, 8 kHz.
    let mut entry = vec![0, 0, 0, 36];
    entry.extend_from_slice(b"alaw\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\x01\0\x10\0\0\0\0\x1f\x40\0\0");
    let said = live_with_sound(Some(entry.into())).await;
    assert_eq!((&said["alert"], &said["sound"]), (&Value::Null, &Value::from(0)), "{said}");
    assert_eq!(said["mode"], "left-out", "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_seeks_to_the_middle_and_the_end_of_ten_minutes_by_ranges() {
    let rig = ten_minutes().await;
    let clip = Clip::new(&rig.footage, &rig.camera, between(0, SECONDS * 1_000)).await.expect("footage");
    let asked = format!("/api/cameras/gate/clip.mp4?start={}&end={}", at(0), at(SECONDS * 1_000));
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("clip", &asked).finish();
    let Browsed { said: saw, starts } = browse(&rig, PAGE.to_owned(), &query).await;

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
    let asked_in = |part: Range<f64>| starts.iter().any(|&start| part.contains(&(start as f64 / clip.len() as f64)));
    assert!(asked_in(0.3..0.6) && asked_in(0.9..1.0), "ranges from {starts:?} of {} bytes", clip.len());
}
