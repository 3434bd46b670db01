//! Paths, queries and headers as nobody would send them by accident: no panic, no 5xx. `VIGIE_FUZZ_CASES` says how many,
//! `VIGIE_FUZZ_SEED` repeats a run.

use axum::http::{HeaderName, HeaderValue};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a whole number"))
}

const SEEDS: [&str; 8] = [
    "/api/cameras/gate/timeline?start=2026-03-01T00:00:00Z&end=2026-03-01T01:00:00%2B01:00&resolution_ms=1000",
    "/api/cameras/gate/gaps?start=2026-03-01T00:00:00Z&end=2026-03-01T01:00:00Z",
    "/api/cameras/nowhere/clip.mp4?start=2026-03-01T00:00:00Z&end=2026-03-01T01:00:00Z",
    "/api/cameras/nowhere/hls/000102030405060708090a0b0c0d0e0f/0-4294967295.m4s",
    "/api/cameras/nowhere/hls/000102030405060708090a0b0c0d0e0f/init.mp4",
    "/api/events?camera=gate&after=-9223372036854775808&limit=1000",
    "/api/cameras/nowhere/snapshot.jpg?at=9999-12-31T23:59:59.999999999-23:59",
    "/api/cameras/nowhere/hls/vod.m3u8?start=-009999-01-02T01:59:59Z&end=-009999-01-02T02:00:00Z",
];

const BITS: [&str; 26] = [
    "%",
    "%00",
    "%ff",
    "%2f",
    "..",
    "/",
    "?",
    "&",
    "=",
    "+",
    "-",
    "9999999999999999999999",
    "NaN",
    "inf",
    "Z",
    "T",
    ":",
    "[Europe/Paris]",
    "24:00:00",
    "2026-02-30",
    "é",
    "\u{202e}",
    "start=",
    "end=",
    ".m4s",
    "{camera}",
];

/// Cuts, doubles, swaps and inserts, at random.
fn mutated(seed: &str, rng: &mut StdRng) -> String {
    let mut text: Vec<char> = seed.chars().collect();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=text.len());
        match rng.random_range(0..4) {
            0 => text.truncate(at.max(1)),
            1 => drop(text.splice(at..at, BITS.choose(rng).expect("some bits").chars())),
            2 if at < text.len() => text[at] = char::from(rng.random_range(0x21..0x7f)),
            _ => text.extend_from_within(at..text.len().min(at + 20)),
        }
    }
    text.into_iter().collect()
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a failing seed must show")]
async fn mutated_requests_are_answered_or_refused_and_never_break_the_gateway() {
    let cases = setting("VIGIE_FUZZ_CASES", 1_000);
    let seed = setting("VIGIE_FUZZ_SEED", 1);
    println!("VIGIE_FUZZ_SEED={seed} VIGIE_FUZZ_CASES={cases}");
    let gateway = Gateway::open().await;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut understood = 0;
    for case in 0..cases {
        let path = mutated(SEEDS.choose(&mut rng).expect("some seeds"), &mut rng);
        let Ok(uri) = path.parse::<axum::http::Uri>() else { continue };
        let mut request = request(Method::GET, "/", None);
        *request.uri_mut() = uri;
        for name in ["range", "if-range", "if-none-match", "if-match", "authorization"] {
            let value = mutated("bytes=0-499,W/\"tag\", Basic bm9ydGg6eA==", &mut rng);
            if let (true, Ok(value)) = (rng.random_bool(0.3), HeaderValue::from_bytes(value.as_bytes())) {
                request.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
        let answer = gateway.send(request).await;
        assert!(!answer.status.is_server_error(), "case {case} of seed {seed}: {path:?} gave {}", answer.status);
        if answer.status.is_client_error() {
            answer.problem(answer.status.as_u16());
        }
        understood += u64::from(answer.status == StatusCode::OK);
    }
    assert!(understood > cases / 100, "only {understood} of {cases} reached an answer: the mutations are too wild");
}
