//! Hostile configurations: whatever the text, the parser neither panics nor accepts what breaks an invariant, and each
//! of its errors names a line of the text.
//!
//! `VIGIE_FUZZ_CASES` sets how many texts are tried, `VIGIE_FUZZ_SEED` which; a failure prints its seed and its text.

use std::collections::HashSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use vigie::config::{Config, ConfigError, Surroundings};

const EXAMPLE: &str = include_str!("../config/vigie.example.toml");

/// Pieces that a random byte would not make.
const PIECES: [&str; 28] = [
    "[[tenant]]\nid = \"a\"\n",
    "[[tenant.camera]]\n",
    "[tenant]\n",
    "[data]\n",
    "\"\"\"",
    "'''",
    "\"",
    "{ a = ",
    "[[[[[[[[",
    "a.b.c.d.e.f = 1\n",
    "-1",
    "18446744073709551616",
    "9223372036854775807",
    "0x7fff",
    "1e400",
    "nan",
    "2026-03-01T14:30:00Z",
    "true",
    "\\u0000",
    "\\ud800",
    "\u{202e}",
    "rtsp://a:b@c/",
    "s3://bucket/prefix",
    "0.0.0.0:80",
    "\r\n",
    " = ",
    "#",
    "/../",
];

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {v}")))
}

/// A range of at most 64 bytes.
fn stretch(rng: &mut StdRng, len: usize) -> std::ops::Range<usize> {
    let start = rng.random_range(0..=len);
    start..(start + rng.random_range(0..=64)).min(len)
}

fn mutate(rng: &mut StdRng, text: &mut Vec<u8>) {
    let range = stretch(rng, text.len());
    match rng.random_range(0..7) {
        0 => drop(text.drain(range)),
        1 => {
            let copy = text[range].to_vec();
            let at = rng.random_range(0..=text.len());
            drop(text.splice(at..at, copy));
        }
        2 => rng.fill_bytes(&mut text[range.start..range.end.min(range.start + 4)]),
        3 => text.truncate(range.start),
        4 => {
            let piece = PIECES[rng.random_range(0..PIECES.len())];
            drop(text.splice(range.start..range.start, piece.bytes()));
        }
        5 => {
            // A value changes for a piece: the text stays TOML more often.
            let values: Vec<_> = text.windows(3).enumerate().filter(|(_, w)| w == b" = ").map(|(i, _)| i + 3).collect();
            if let Some(start) = values.get(rng.random_range(0..=values.len())) {
                let end = text[*start..].iter().position(|b| *b == b'\n').map_or(text.len(), |n| start + n);
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                drop(text.splice(*start..end, piece.bytes()));
            }
        }
        _ => {
            // A line goes, or comes in from comment.
            let lines: Vec<_> = text.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            let chosen = rng.random_range(0..=lines.len());
            let kept = lines.into_iter().enumerate().filter_map(|(i, line)| match (i == chosen, line.first()) {
                (false, _) => Some(line),
                (true, Some(b'#')) => Some(line[1..].to_vec()),
                (true, _) => None,
            });
            *text = kept.flatten().collect();
        }
    }
}

/// What must hold of any text; says whether it is a configuration.
fn judge(text: &str) -> bool {
    let around = Surroundings { variable: &|_| None, world_readable: true };
    match Config::parse("vigie.toml", text, &around) {
        Ok(loaded) => {
            sound(&loaded.config);
            true
        }
        Err(ConfigError::Invalid { problems, .. }) => {
            assert!(!problems.is_empty(), "refused without a reason");
            let lines = text.matches('\n').count() + 1;
            for problem in problems {
                assert!((1..=lines).contains(&problem.line), "line {} of {lines}: {problem}", problem.line);
                assert!(!problem.key.is_empty() && !problem.message.is_empty(), "{problem}");
            }
            false
        }
        Err(other) => panic!("{other}"),
    }
}

/// What must hold of any configuration.
fn sound(config: &Config) {
    let is_shared = config.stores.iter().any(|store| store.shared.is_some());
    let margin = Config::retention_margin(&config.recording, &config.retention, is_shared);
    assert!(!config.tenants.is_empty());
    assert!(config.recording.shards >= 1);
    assert!(config.data_dir.is_absolute() && config.spool_dir.is_absolute());
    assert!(matches!(config.default_store().url.scheme(), "file" | "s3" | "memory"));
    let open = !config.http_listen.ip().is_loopback() || config.tenants.len() > 1;
    let ids: HashSet<_> = config.tenants.iter().map(|t| &t.id).collect();
    assert_eq!(ids.len(), config.tenants.len(), "two tenants of one id");
    for tenant in &config.tenants {
        assert!(!open || tenant.access_token.is_some(), "tenant {} is open to all", tenant.id);
        let ids: HashSet<_> = tenant.cameras.iter().map(|c| &c.id).collect();
        assert_eq!(ids.len(), tenant.cameras.len(), "two cameras of one id");
        for camera in &tenant.cameras {
            assert_eq!(camera.url.scheme(), "rtsp");
            assert!(camera.url.username().is_empty() && camera.url.password().is_none());
            assert!(camera.retention.max <= Duration::from_secs(31 * 24 * 3_600));
            assert!(camera.retention.min + margin <= camera.retention.max);
        }
    }
}

#[test]
fn mutated_configurations_are_refused_with_a_line_or_are_sound() {
    let cases = number("VIGIE_FUZZ_CASES", 3_000);
    let first_seed = number("VIGIE_FUZZ_SEED", 1);
    let mut accepted = 0;
    for seed in first_seed..first_seed.saturating_add(cases) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut text = EXAMPLE.as_bytes().to_vec();
        for _ in 0..rng.random_range(1..=6) {
            mutate(&mut rng, &mut text);
        }
        let text = String::from_utf8_lossy(&text);
        match std::panic::catch_unwind(|| judge(&text)) {
            Ok(sound) => accepted += u64::from(sound),
            Err(_) => panic!("VIGIE_FUZZ_SEED={seed} VIGIE_FUZZ_CASES=1 fails on this text:\n{text}"),
        }
    }
    // Mutations that only ever broke the syntax would test little.
    assert!(cases < 100 || (accepted > cases / 50 && accepted < cases), "{accepted} of {cases} accepted");
}

#[test]
fn deep_nesting_and_great_length_are_bounded() {
    assert!(!judge(&"[".repeat(100_000)));
    assert!(!judge(&format!("a = {}", "[".repeat(100_000))));
    assert!(!judge(&format!("a = {}", "{a=".repeat(100_000))));
    assert!(!judge(&"a.".repeat(100_000)));
    assert!(!judge(&"a\n".repeat(100_000)));
    assert!(!judge(&format!("time_zone = \"{}\"", "é".repeat(100_000))));
    // A file with a thousand mistakes says a hundred of them.
    let many: String = (0..1_000).map(|i| format!("key{i} = 1\n")).collect();
    let error = Config::parse("x", &many, &Surroundings { variable: &|_| None, world_readable: false });
    let Err(ConfigError::Invalid { problems, .. }) = error else { panic!("accepted") };
    assert_eq!(problems.len(), 100);
}
