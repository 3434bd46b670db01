//! Each mistake that a configuration can hold gives one clear error at its line; secrets come from where they are said
//! to be and stay out of every message.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use secrecy::ExposeSecret;
use tempfile::TempDir;
use vigie::config::{Config, ConfigError, ConfigProblem, Loaded, Surroundings};

/// A sound file; mistakes are put into it line by line.
const SOUND: &str = r#"time_zone = "Europe/Paris"
[data]
dir = "/var/lib/vigie"
[[store]]
url = "file:///srv/vigie"
[http]
listen = "127.0.0.1:8080"
[recording]
durability_ms = 1000
[retention]
max_days = 30
[[tenant]]
id = "mairie"
access_token = "0123456789abcdef"
retention = { min_days = 7 }
[[tenant.camera]]
id = "one"
place = "Rue Haute"
url = "rtsp://192.0.2.1/a"
[[tenant.camera]]
id = "two"
place = "Rue Basse"
url = "rtsp://192.0.2.2/a"
[[tenant]]
id = "port"
access_token = "fedcba9876543210"
"#;

fn parse(text: &str) -> Result<Loaded, ConfigError> {
    Config::parse("vigie.toml", text, &Surroundings { variable: &|_| None, world_readable: false })
}

fn problems(text: &str) -> Vec<ConfigProblem> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Invalid { problems, .. }) => problems,
        Err(other) => panic!("{other}"),
    }
}

/// The sound file with line `line` (from 1) replaced.
fn with_line(line: usize, text: &str) -> String {
    let mut lines: Vec<_> = SOUND.lines().collect();
    lines[line - 1] = text;
    lines.join("\n") + "\n"
}

#[test]
fn sound_file_is_read() {
    let loaded = parse(SOUND).expect("sound");
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.tenants.len(), 2);
    assert_eq!(config.tenants[0].cameras.len(), 2);
    assert_eq!(config.default_store().url.as_str(), "file:///srv/vigie");
    assert_eq!(config.spool_dir, Path::new("/var/lib/vigie/spool"));
}

#[test]
fn each_mistake_makes_one_error_at_its_line() {
    let month = "L252-5";
    let mistakes: &[(usize, &str, &str, &str)] = &[
        // What is at a line, instead of what should be; the key named; a part of the message.
        (1, r#"time_zone = "Europe/Lutetia""#, "time_zone", "Europe/Paris"),
        (1, r#"time_zone = 1"#, "time_zone", "text in quotes"),
        (1, r#"time_zone = ["#, "syntax", ""),
        (1, r#"time_zone = "Europe/Paris"#, "syntax", ""),
        (1, "time_zone Europe/Paris", "syntax", ""),
        (1, r#"timezone = "Europe/Paris""#, "timezone", "the keys are alarm, data"),
        (2, "[datum]", "datum", "the keys are alarm, data"),
        (3, r#"dir = "vigie""#, "data.dir", "begin it with /"),
        (3, r#"dir = "/var/../etc""#, "data.dir", "`..`"),
        (3, r#"dir = "/""#, "data.dir", "root directory"),
        (3, r#"dir = """#, "data.dir", "empty"),
        (3, "dir = true", "data.dir", "text in quotes, not true or false"),
        (3, r#"spool_dir = "spool""#, "data.spool_dir", "begin it with /"),
        (3, r#"spool_dir = "/var/lib""#, "data.spool_dir", "holds the data directory"),
        (3, r#"spool_dir = "/srv/vigie/spool""#, "store.url", "lie in one another"),
        (3, "disk_reserve_mib = 0", "data.disk_reserve_mib", "from 64 to"),
        (3, "disk_reserve = 5", "data.disk_reserve", "disk_reserve_mib"),
        (5, r#"url = "/srv/vigie""#, "store.url", "file:///srv/vigie"),
        (5, r#"url = "file://srv/vigie""#, "store.url", "three slashes"),
        (5, r#"url = "file:///""#, "store.url", "root directory"),
        (5, r#"url = "ftp://host/vigie""#, "store.url", "s3://bucket"),
        (5, r#"url = "s3://Town_Footage/x""#, "store.url", "names no bucket"),
        (5, r#"url = "s3://ab""#, "store.url", "names no bucket"),
        (5, r#"url = "s3:///x""#, "store.url", "names no bucket"),
        (5, r#"url = "s3://bucket:9000/x""#, "store.url", "endpoint"),
        (5, r#"url = "s3://key:secret@bucket/x""#, "store.url", "secret_access_key"),
        (5, r#"url = "s3://bucket/x?region=a""#, "store.url", "`?`"),
        (5, r#"endpoint = "s3.example.org""#, "store.endpoint", "https://"),
        (5, r#"endpoint = "https://a:b@s3.example.org""#, "store.endpoint", "credentials"),
        (5, r#"endpoint = "https://s3.example.org""#, "store.endpoint", "s3:// only"),
        (5, r#"path_style = "yes""#, "store.path_style", "true or false, without quotes"),
        (4, "[store]", "store", "needs double brackets, [[store]]"),
        (5, "shared = { }", "store.shared.rank", "is missing"),
        (5, "shared = { rank = 1, wait_seconds = 1 }", "store.shared.wait_seconds", "wait_seconds must be"),
        (5, "encrypt = true\nshared = { rank = 0 }", "store.encrypt", "cannot be shared"),
        (5, "rank = 0", "store.rank", "no such key"),
        (5, "name = \"\"\nurl = \"file:///srv/vigie\"", "store.name", "is empty"),
        (5, "name = \"Cloud\"\nurl = \"file:///srv/vigie\"", "store.name", "is not a store's name"),
        (5, r#"access_key_id = "GK1""#, "store.access_key_id", "secret_access_key"),
        (7, r#"listen = "8080""#, "http.listen", "127.0.0.1:8080"),
        (7, r#"listen = "localhost:8080""#, "http.listen", "127.0.0.1:8080"),
        (7, r#"listen = "127.0.0.1:70000""#, "http.listen", "127.0.0.1:8080"),
        (7, "listen = 8080", "http.listen", "text in quotes, not a whole number"),
        (9, "durability_ms = 0", "recording.durability_ms", "from 50 to 60000"),
        (9, "durability_ms = -1000", "recording.durability_ms", "from 50 to 60000"),
        (9, "durability_ms = 1e3", "recording.durability_ms", "not a number with a fraction"),
        (9, "durability_ms = 99999999999999999999", "recording.durability_ms", "from 50 to 60000"),
        (9, r#"durability_ms = "1s""#, "recording.durability_ms", "whole number from 50 to 60000"),
        (9, "durability = 1000", "recording.durability", "durability_ms"),
        (9, "pack_mib_max = 4096", "recording.pack_mib_max", "from 1 to 1024"),
        (9, "pack_seconds_max = 3600", "recording.pack_seconds_max", "from 5 to 900"),
        (9, "tick_ms = 5000", "recording.tick_ms", "from 10 to 1000"),
        (9, "tick_ms = 100\ndurability_ms = 50", "recording.tick_ms", "longer than durability_ms"),
        (9, "shards = 1000", "recording.shards", "from 0 to 256"),
        (11, "max_days = 32", "retention.max_days", month),
        (11, "max_hours = 745", "retention.max_hours", month),
        (11, "max_days = 0", "retention.max_days", "from 1 to"),
        (11, "max_days = 30.5", "retention.max_days", "whole number"),
        (11, "min_days = 32", "retention.min_days", month),
        (11, "max_days = 30\nmin_days = 30", "retention.min_days", "28 days in February"),
        (11, "max_days = 31\nmin_days = 28", "retention.min_days", "28 days in February"),
        (11, "max_days = 20\nmin_days = 20", "retention.min_days", "below the maximum"),
        (1, "sweep = { every_seconds = 0 }\ntime_zone = \"Europe/Paris\"", "sweep.every_seconds", "from 1 to 3600"),
        (
            1,
            "sweep = { grace_seconds = 100000 }\ntime_zone = \"Europe/Paris\"",
            "sweep.grace_seconds",
            "from 0 to 86400",
        ),
        (1, "journal = { months = 37 }\ntime_zone = \"Europe/Paris\"", "journal.months", "from 1 to 36"),
        (1, "journal = { time_stamp_url = \"a\" }\ntime_zone = \"Europe/Paris\"", "journal.time_stamp_url", "RFC 3161"),
        (
            1,
            "journal = { time_stamp_url = \"http://a:b@c/\" }\ntime_zone = \"Europe/Paris\"",
            "journal.time_stamp_url",
            "RFC 3161",
        ),
        (
            1,
            "journal = { time_stamp_ca_file = \"/a.pem\" }\ntime_zone = \"Europe/Paris\"",
            "journal.time_stamp_ca_file",
            "add time_stamp_url",
        ),
        (1, "journal = { time_stamp_minutes = 1 }\ntime_zone = \"Europe/Paris\"", "journal.time_stamp_minutes", "10"),
        (12, "[tenant]", "syntax", ""),
        (13, r#"id = "Mairie""#, "tenant.id", "a-z"),
        (13, r#"id = "../mairie""#, "tenant.id", "a-z"),
        (13, r#"id = "port""#, "tenant.id", "line 13 too"),
        (13, r#"name = "Mairie""#, "tenant.id", "is missing"),
        (14, r#"access_token = "short""#, "tenant.access_token", "openssl rand"),
        (14, r#"access_token = "0123456789 abcdef""#, "tenant.access_token", "openssl rand"),
        (14, r#"access_token = "fedcba9876543210""#, "tenant.access_token", "line 14 too"),
        (14, r#"access_token = { file = "token" }"#, "tenant.access_token", "absolute path"),
        (14, r#"access_token = { file = "/nowhere/token" }"#, "tenant.access_token", "cannot read /nowhere/token"),
        (14, r#"access_token = { file = "/dev/zero" }"#, "tenant.access_token", "not a file"),
        (14, r#"access_token = { env = "NOT_SET" }"#, "tenant.access_token", "NOT_SET is not set"),
        (14, r#"access_token = { env = "A B" }"#, "tenant.access_token", "not the name of an environment variable"),
        (14, r#"access_token = { credential = "mairie" }"#, "tenant.access_token", "LoadCredential="),
        (14, r#"access_token = { credential = "../x" }"#, "tenant.access_token", "not the name of a systemd"),
        (14, r#"name = "Mairie""#, "tenant.access_token", "several tenants"),
        (15, "retention = { max_days = 7, min_days = 7 }", "tenant.retention.min_days", "below the maximum"),
        (15, "retention = { max_days = 3, max_hours = 72 }", "tenant.retention.max_hours", "one too many"),
        (15, "retention = { days = 3 }", "tenant.retention.days", "max_days"),
        (15, "retention = 30", "tenant.retention", "needs a table"),
        (16, "[[tenant.cameras]]", "tenant.cameras", "the keys are access_token"),
        (17, r#"id = "place_1""#, "tenant.camera.id", "a-z"),
        (17, r#"id = """#, "tenant.camera.id", "empty"),
        (17, r#"id = "two""#, "tenant.camera.id", "line 17 too"),
        (18, r#"place = "   ""#, "tenant.camera.place", "empty"),
        (18, r#"place = "a\nb""#, "tenant.camera.place", "line break"),
        (18, r#"transport = "tcp""#, "tenant.camera.place", "is missing"),
        (19, r#"url = "192.0.2.1""#, "tenant.camera.url", "rtsp://host"),
        (19, r#"url = "http://192.0.2.1/a""#, "tenant.camera.url", "rtsp://host"),
        (19, r#"url = "rtspu://192.0.2.1/a""#, "tenant.camera.url", "rtsps://"),
        (19, r#"url = "rtsp:///a""#, "tenant.camera.url", "names no host"),
        (19, r#"url = "rtsp:a""#, "tenant.camera.url", "names no host"),
        (19, r#"url = "rtsp://192.0.2.1:0/a""#, "tenant.camera.url", "port 0"),
        (19, r#"url = "rtsp://192.0.2.1:99999/a""#, "tenant.camera.url", "not a URL"),
        (19, r#"url = "rtsp://192.0.2.1/a#b""#, "tenant.camera.url", "%23"),
        (19, r#"url = "rtsp://admin:12345@192.0.2.1/a""#, "tenant.camera.url", "username and password"),
        (19, r#"url = "rtsp://admin@192.0.2.1/a""#, "tenant.camera.url", "username and password"),
        (22, "transport = \"tls\"\nplace = \"x\"", "tenant.camera.transport", "udp"),
        (22, "tls_trust = \"first_use\"\nplace = \"x\"", "tenant.camera.tls_trust", "rtsps://"),
        (22, "tls_ca_file = \"/a.pem\"\nplace = \"x\"", "tenant.camera.tls_ca_file", "rtsps://"),
        (22, "password = \"x\"\nplace = \"x\"", "tenant.camera.username", "is missing"),
        (22, "audio_legal_basis = \"\"\nplace = \"x\"", "tenant.camera.audio_legal_basis", "empty"),
        (22, "audio_legal_basis = true\nplace = \"x\"", "tenant.camera.audio_legal_basis", "text in quotes"),
        (22, "silence_seconds = 0\nplace = \"x\"", "tenant.camera.silence_seconds", "from 2 to 600"),
        (22, "retention.min_hours = 744\nplace = \"x\"", "tenant.camera.retention.min_hours", "28 days in February"),
        (22, "onvif = \"http://192.0.2.2/\"\nplace = \"x\"", "tenant.camera.onvif", "needs a table"),
        (22, "onvif = { clock = false }\nplace = \"x\"", "tenant.camera.onvif.url", "is missing"),
        (22, "onvif = { url = \"rtsp://192.0.2.2/\" }\nplace = \"x\"", "tenant.camera.onvif.url", "http://host/onvif"),
        (22, "onvif = { url = \"http://a:b@192.0.2.2/\" }\nplace = \"x\"", "tenant.camera.onvif.url", "username and"),
        (22, "onvif = { url = \"http://192.0.2.2:0/\" }\nplace = \"x\"", "tenant.camera.onvif.url", "port 0"),
        (
            22,
            "onvif = { url = \"http://192.0.2.2/\", tls_trust = \"first_use\" }\nplace = \"x\"",
            "tenant.camera.onvif.tls_trust",
            "https://",
        ),
        (
            22,
            "onvif = { url = \"http://192.0.2.2/\", username = \"x\" }\nplace = \"x\"",
            "tenant.camera.onvif.password",
            "is missing",
        ),
        (
            22,
            "onvif = { url = \"http://192.0.2.2/\", clock_seconds_max = 0 }\nplace = \"x\"",
            "tenant.camera.onvif.clock_seconds_max",
            "from 1 to 3600",
        ),
        (
            22,
            "onvif = { url = \"http://192.0.2.2/\", events = [\"faces\"] }\nplace = \"x\"",
            "tenant.camera.onvif.events",
            "\"tampering\"",
        ),
        (
            22,
            "onvif = { url = \"http://192.0.2.2/\", events = [\"motion\"] }\nplace = \"x\"",
            "tenant.camera.onvif.events_legal_basis",
            "R253-1",
        ),
        (
            22,
            "onvif = { url = \"http://192.0.2.2/\", backfill = true, backfill_hours_max = 745 }\nplace = \"x\"",
            "tenant.camera.onvif.backfill_hours_max",
            "from 1 to 744",
        ),
        (
            22,
            "onvif = { url = \"http://192.0.2.2/\", backfill_kbit_per_second_max = 8 }\nplace = \"x\"",
            "tenant.camera.onvif.backfill_kbit_per_second_max",
            "from 64 to 1000000",
        ),
        (22, "place = \"x\"\nplace = \"y\"", "syntax", "duplicate"),
    ];
    for (line, text, key, part) in mistakes {
        let found = problems(&with_line(*line, text));
        let [problem] = &found[..] else { panic!("{text}\ngives {} problems: {found:#?}", found.len()) };
        assert_eq!(problem.key, *key, "{text}\n{problem}");
        assert!(problem.message.contains(part), "{text}\n{problem}\ndoes not say {part:?}");
        assert!(!problem.message.is_empty() && problem.message.len() < 400, "{problem}");
        assert_eq!(problem.line, expected_line(*line, text, problem), "{text}\n{problem}");
    }
}

/// A mistake is reported where it is: on the line that was changed, but for those that only show elsewhere.
fn expected_line(changed: usize, text: &str, problem: &ConfigProblem) -> usize {
    match (changed, problem.message.as_str()) {
        // An open bracket swallows the next header: the parser stumbles after it.
        (1, _) if text.ends_with('[') => 3,
        // A table is known by its header's line, or by that of the key that cannot be what it says.
        (3, m) if m.contains("lie in one another") => 5,
        (11, m)
            if m.contains("below the maximum") || m.contains("28 days in February") && text.contains("max_days") =>
        {
            12
        }
        (12, _) => 24,
        // The second of two equal ids or tokens.
        (13, m) if m.contains("line 13 too") => 25,
        (14, m) if m.contains("line 14 too") => 26,
        (17, m) if m.contains("line 17 too") => 21,
        // What is missing is missing from its table.
        (13 | 14, m) if m.starts_with("is missing") => 12,
        (18, m) if m.starts_with("is missing") => 16,
        (22, m) if m.starts_with("is missing") && !text.starts_with("onvif") => 20,
        (22, m) if text.starts_with("place") && m.contains("duplicate") => 23,
        _ => changed,
    }
}

#[test]
fn every_mistake_of_a_file_is_reported_at_once_and_in_order() {
    let text = "[data]\ndir = \"x\"\n[http]\nlisten = 1\n[[tenant]]\nid = \"a\"\n[[tenant.camera]]\nurl = \"x\"\n";
    let found: Vec<_> = problems(text).into_iter().map(|p| (p.line, p.key)).collect();
    let expect = [
        (2, "data.dir"),
        (4, "http.listen"),
        (7, "tenant.camera.id"),
        (7, "tenant.camera.place"),
        (8, "tenant.camera.url"),
    ];
    assert_eq!(found, expect.map(|(line, key)| (line, key.to_owned())));
}

#[test]
fn errors_name_the_file_the_line_and_the_key() {
    let error = parse(&with_line(19, "url = \"http://192.0.2.1/a\"")).expect_err("http");
    assert!(error.to_string().starts_with("vigie.toml:19: tenant.camera.url: "), "{error}");
}

#[test]
fn empty_file_asks_for_a_tenant() {
    let found = problems("");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].line, found[0].key.as_str()), (1, "tenant"));
}

#[test]
fn listening_beyond_loopback_needs_a_token_and_tls() {
    let one = |listen: &str, token: &str| format!("[http]\nlisten = \"{listen}\"\n[[tenant]]\nid = \"a\"\n{token}\n");
    let tls = "\n[http.tls]\ncertificate = \"/tls/chain.pem\"\nkey = \"/tls/key.pem\"\n";
    for loopback in ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80"] {
        assert_eq!(parse(&one(loopback, "")).expect("loopback").warnings, []);
    }
    for open in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "[::ffff:127.0.0.1]:80"] {
        let keys = |text: &str| problems(text).into_iter().map(|p| (p.line, p.key)).collect::<Vec<_>>();
        let no_token = (3, "tenant.access_token".to_owned());
        assert_eq!(keys(&one(open, "")), [(2, "http.listen".to_owned()), no_token.clone()]);
        let with_token = one(open, "access_token = \"0123456789abcdef\"");
        assert_eq!(keys(&with_token), [(2, "http.listen".to_owned())]);
        assert_eq!(keys(&format!("{}{tls}", one(open, ""))), [no_token]);
        let loaded = parse(&format!("{with_token}{tls}")).expect("with a token and a certificate");
        assert_eq!(loaded.warnings, []);
        let files = loaded.config.http_tls.expect("both files");
        assert_eq!((files.certificate.to_str(), files.key.to_str()), (Some("/tls/chain.pem"), Some("/tls/key.pem")));
    }
    let half = problems("[http.tls]\ncertificate = \"/tls/chain.pem\"\n[[tenant]]\nid = \"a\"\n");
    assert_eq!(half.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), ["http.tls.key"]);
}

#[test]
fn retention_is_inherited_key_by_key() {
    let text = SOUND
        .replace("max_days = 30", "max_days = 20\nmin_hours = 5")
        .replace("id = \"two\"", "id = \"two\"\nretention.max_days = 10");
    let config = parse(&text).expect("sound").config;
    let hours = |camera: &vigie::config::CameraConfig| {
        (camera.retention.min.as_secs() / 3_600, camera.retention.max.as_secs() / 3_600)
    };
    let cameras = &config.tenants[0].cameras;
    assert_eq!(hours(&cameras[0]), (7 * 24, 20 * 24));
    assert_eq!(hours(&cameras[1]), (7 * 24, 10 * 24));
}

#[test]
fn minimum_is_below_the_maximum_by_the_margin_exactly() {
    // 120 s of a pack, the grace time, four times the interval of the sweep and 120 s more make one hour.
    let with_grace = |grace: u64| {
        let text = "[retention]\nmax_hours = 2\nmin_hours = 1\n[sweep]\nevery_seconds = 60\ngrace_seconds = ";
        problems(&format!("{text}{grace}\n[[tenant]]\nid = \"a\"\n"))
    };
    assert_eq!(with_grace(3_600 - 120 - 240 - 120), []);
    assert_eq!(with_grace(3_600 - 120 - 240 - 120 + 1).len(), 1);
}

#[test]
fn same_stream_twice_in_a_tenant_is_a_warning() {
    let loaded = parse(&with_line(23, "url = \"rtsp://192.0.2.1/a\"")).expect("sound");
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!((loaded.warnings[0].line, loaded.warnings[0].key.as_str()), (23, "tenant.camera.url"));
}

/// A directory with one secret in each way that a secret can be given.
struct Secrets {
    dir: TempDir,
}

const SECRET: &str = "correct-horse-battery";

impl Secrets {
    fn new(content: &[u8], mode: u32) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let file = dir.path().join("secret");
        std::fs::write(&file, content).expect("written");
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).expect("permitted");
        Self { dir }
    }

    fn parse(&self, line: &str, world_readable: bool) -> Result<Loaded, ConfigError> {
        let dir = self.dir.path().display().to_string();
        let text = with_line(14, &line.replace("DIR", &dir));
        let variable = |name: &str| match name {
            "CREDENTIALS_DIRECTORY" => Some(dir.clone()),
            "TOKEN" => Some(SECRET.to_owned()),
            _ => None,
        };
        Config::parse("vigie.toml", &text, &Surroundings { variable: &variable, world_readable })
    }
}

const WAYS: [&str; 4] = [
    "access_token = \"correct-horse-battery\"",
    "access_token = { file = \"DIR/secret\" }",
    "access_token = { env = \"TOKEN\" }",
    "access_token = { credential = \"secret\" }",
];

#[test]
fn secret_is_the_same_in_each_of_four_ways() {
    for ending in ["", "\n", "\r\n"] {
        let secrets = Secrets::new(format!("{SECRET}{ending}").as_bytes(), 0o640);
        for way in WAYS {
            let loaded = secrets.parse(way, false).unwrap_or_else(|e| panic!("{way}: {e}"));
            assert_eq!(loaded.warnings, [], "{way}");
            let token = loaded.config.tenants[0].access_token.as_ref().expect("a token");
            assert_eq!(token.expose_secret(), SECRET, "{way}");
        }
    }
}

#[test]
fn a_place_that_is_none_or_that_are_two_is_refused() {
    let secrets = Secrets::new(SECRET.as_bytes(), 0o640);
    for (value, part) in [
        (r#"{ file = "DIR/secret", env = "TOKEN" }"#, "one place too many"),
        (r#"{ env = "TOKEN", credential = "secret" }"#, "one place too many"),
        ("{ }", "one of { file = "),
        (r#"{ path = "DIR/secret" }"#, "one of { file = "),
        (r#"{ file = "DIR/secret", mode = "0640" }"#, "no such key"),
        ("{ file = 7 }", "needs a text in quotes"),
        (r#"{ file = "" }"#, "is empty"),
        (r#"["DIR/secret"]"#, "needs a text in quotes"),
        ("7", "needs a text in quotes"),
    ] {
        let error = secrets.parse(&format!("access_token = {value}"), false).expect_err(value);
        let ConfigError::Invalid { problems, .. } = error else { panic!("{error}") };
        assert_eq!(problems.len(), 1, "{value}: {problems:?}");
        assert!(problems[0].key.starts_with("tenant.access_token") && problems[0].line == 14, "{problems:?}");
        assert!(problems[0].message.contains(part), "{value}: {problems:?}");
    }
}

#[test]
fn secrets_that_everybody_can_read_are_pointed_out() {
    let secrets = Secrets::new(SECRET.as_bytes(), 0o644);
    for (way, warned) in WAYS.into_iter().zip([true, true, false, true]) {
        let warnings = secrets.parse(way, true).expect("sound").warnings;
        // The other tenant's token is written in the file.
        let here = warnings.iter().filter(|w| w.line == 14).count();
        assert_eq!(here, usize::from(warned), "{way}: {warnings:?}");
        assert!(warnings.iter().all(|w| w.message.contains("chmod 640")), "{warnings:?}");
    }
}

#[test]
fn files_that_hold_no_secret_are_refused() {
    let long = vec![b'a'; 5_000];
    let cases: [(&[u8], &str); 5] = [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"0123456789abcdef\nfedcba9876543210\n", "line break"),
        (b"\xff\xfe0123456789abcdef", "UTF-8"),
        (&long, "longer than 4096 bytes"),
    ];
    for (content, part) in cases {
        let error = Secrets::new(content, 0o640).parse(WAYS[1], false).expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains(":14: tenant.access_token: "), "{error}");
    }
}

#[test]
fn secrets_enter_no_debug_and_no_message() {
    let secrets = Secrets::new(SECRET.as_bytes(), 0o640);
    for way in WAYS {
        let debug = format!("{:?}", secrets.parse(way, true).expect("sound"));
        assert!(!debug.contains(SECRET), "{way}");
    }
    let mistakes = [
        "access_token = \"correct-horse-battery\n",
        "access_token = [\"correct-horse-battery\"]",
        "access_token = { a = \"correct-horse-battery\" }",
        "access_token = \"correct-horse-battery \"",
        "access_token = \"correct-horse-battery\\n\"",
        "access_token = correct-horse-battery",
        "access_token = 'correct-horse-battery",
        "access_token = \"correct-horse-battery\"\naccess_token_env = \"TOKEN\"",
        "access_token = \"correct-horse-battery\"\naccess_token = \"correct-horse-battery\"",
        "access_token = \"\"\"correct-horse-battery",
        "access_token = \"correct-horse-battery\\q\"",
    ];
    for mistake in mistakes {
        let error = secrets.parse(mistake, true).expect_err(mistake);
        assert!(!format!("{error} {error:?}").contains("horse"), "{mistake}: {error}");
    }
    for url in ["rtsp://a:horse@192.0.2.1/", "rtsp://a:horse@:x", "http://a:horse@h/", "rtsp://horse@[::1/"] {
        let error = parse(&with_line(19, &format!("url = \"{url}\""))).expect_err(url);
        assert!(!format!("{error} {error:?}").contains("horse"), "{url}: {error}");
    }
}

fn vigie(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vigie")).args(arguments).output().expect("the command runs")
}

fn check_config(text: &[u8]) -> (Option<i32>, String, String) {
    let dir = TempDir::new().expect("a temporary directory");
    let file = dir.path().join("vigie.toml");
    std::fs::write(&file, text).expect("written");
    let out = vigie(&["check-config", "--config", file.to_str().expect("UTF-8")]);
    let text =
        |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8").replace(dir.path().to_str().expect("UTF-8"), "");
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[test]
fn check_config_accepts_the_example_and_sizes_the_disks() {
    let (code, out, err) = check_config(include_bytes!("../config/vigie.example.toml"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("/vigie.toml: sound"), "{out}");
    assert!(out.contains("place-mairie-1  rtsp://192.0.2.10:554/stream1 (tcp), kept at most 30 days"), "{out}");
    // 4 Mb/s for a day, and for thirty.
    assert!(out.contains("a day       43.2 GB") && out.contains("maximum     1.3 TB"), "{out}");
}

#[test]
fn check_config_warns_where_snapshots_have_no_decoder() {
    let dir = TempDir::new().expect("a temporary directory");
    let (file, decoder) = (dir.path().join("vigie.toml"), dir.path().join("ffmpeg"));
    std::fs::write(&file, include_bytes!("../config/vigie.example.toml")).expect("written");
    std::fs::write(&decoder, "").expect("written");
    let warned = |mode| {
        std::fs::set_permissions(&decoder, Permissions::from_mode(mode)).expect("its mode can be set");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigie"));
        let command = command.args(["check-config", "--config"]).arg(&file).env("PATH", dir.path());
        let out = command.output().expect("the command runs");
        assert_eq!(out.status.code(), Some(0));
        String::from_utf8_lossy(&out.stdout).contains("warning: ffmpeg is not installed: snapshots need it")
    };
    assert!(warned(0o644), "a file that cannot be executed is no decoder");
    assert!(!warned(0o755));
}

#[test]
fn check_config_sizes_the_spool_of_a_remote_store_and_warns_of_a_small_disk() {
    let (_, out, _) = check_config(with_line(5, "url = \"s3://bucket/prefix\"").as_bytes());
    assert!(out.contains("days while the store is away"), "{out}");
    assert!(out.contains("kept at least 7 days, at most 30 days"), "{out}");
    // Two cameras at 1 Gb/s, guaranteed for twenty days less an hour: 431 TB.
    let dir = TempDir::new().expect("a temporary directory");
    let file = dir.path().join("vigie.toml");
    std::fs::write(&file, with_line(11, "max_days = 20\nmin_hours = 479").replace("min_days = 7", "min_hours = 479"))
        .expect("written");
    let file = file.to_str().expect("UTF-8");
    let out = vigie(&["check-config", "--config", file, "--camera-mbps", "1000"]);
    let out = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.contains("minimum     431.1 TB"), "{out}");
    assert!(out.contains("the disk cannot hold the guaranteed minimum"), "{out}");
}

#[test]
fn check_config_does_not_call_sound_what_cannot_be() {
    let base = "[data]\ndir = \"/nowhere/vigie\"\n";
    let camera = "[[tenant.camera]]\nid = \"gate\"\nplace = \"here\"\nurl = \"rtsp://127.0.0.1:1/a\"\n";
    let tenant = "[[tenant]]\nid = \"town\"\n";
    let none = check_config(format!("{base}{tenant}").as_bytes());
    let large = check_config(format!("{base}disk_reserve_mib = 104857600\n{tenant}{camera}").as_bytes());
    for ((code, out, err), says) in [(none, "there is no camera"), (large, "disk_reserve_mib")] {
        assert_eq!(code, Some(1), "{out}{err}");
        assert!(out.contains("/vigie.toml: not sound") && out.contains(says), "{out}");
    }
    for (url, says) in [
        ("file:///nowhere", "holds the data directory"),
        ("file:///nowhere/vigie/keys/store", "lies in a directory that Vigie uses"),
    ] {
        let (code, _, err) = check_config(format!("{base}[[store]]\nurl = \"{url}\"\n{tenant}{camera}").as_bytes());
        assert!(code == Some(78) && err.contains(says), "{url}: {err}");
    }
    let two = "[[store]]\nurl = \"s3://bucket/a\"\n[[store]]\nname = \"cloud\"\nurl = \"s3://bucket/a/b\"\n";
    let (code, _, err) = check_config(format!("{base}{two}{tenant}{camera}").as_bytes());
    assert!(code == Some(78) && err.contains("lie in one another"), "{err}");
}

#[test]
fn the_store_without_a_name_is_the_default_wherever_it_stands() {
    let text = |stores: &str| format!("{stores}[[tenant]]\nid = \"a\"\n");
    let names = |stores: &str| {
        let config = parse(&text(stores)).unwrap_or_else(|e| panic!("{e}")).config;
        config.stores.iter().map(|store| (store.name.clone(), store.url.to_string())).collect::<Vec<_>>()
    };
    let named = |name: &str| format!("[[store]]\nname = \"{name}\"\nurl = \"file:///srv/{name}\"\n");
    let expect = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, u)| ((*n).into(), (*u).into())).collect::<Vec<_>>();
    let own = "file:///var/lib/vigie/store";
    assert_eq!(names(""), expect(&[("default", own)]));
    assert_eq!(names("[[store]]\n"), expect(&[("default", own)]));
    assert_eq!(names(&named("a")), expect(&[("default", own), ("a", "file:///srv/a")]));
    let three = format!("{}{}[[store]]\nurl = \"file:///srv/main\"\n", named("a"), named("b"));
    let sorted = [("default", "file:///srv/main"), ("a", "file:///srv/a"), ("b", "file:///srv/b")];
    assert_eq!(names(&three), expect(&sorted));
    assert_eq!(names(&named("default")), expect(&[("default", "file:///srv/default")]));
    for (stores, part) in [
        ("[[store]]\n[[store]]\n".to_owned(), "is the name of line"),
        (named("a") + &named("a"), "is the name of line"),
        ("[[store]]\nname = \"x\"\n".to_owned(), "is missing: write file:///"),
    ] {
        let error = parse(&text(&stores)).expect_err(&stores);
        assert!(error.to_string().contains(part), "{stores}: {error}");
    }
}

#[test]
fn check_config_reports_each_mistake_and_exits_with_78() {
    let (code, out, err) = check_config(b"[http]\nlisten = 1\n[[tenant]]\n");
    assert_eq!((code, out.as_str()), (Some(78), ""));
    let starts: Vec<_> = err.lines().map(|l| l.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect();
    assert_eq!(starts, ["/vigie.toml:2: http.listen", "/vigie.toml:3: tenant.id"], "{err}");
}

#[test]
fn files_that_are_no_text_are_refused() {
    let (code, _, err) = check_config(b"[http]\n\xff\n");
    assert_eq!(code, Some(78));
    assert!(err.starts_with("/vigie.toml:2: text: is not UTF-8"), "{err}");
    let (code, _, err) = check_config(&vec![b'#'; (4 << 20) + 1]);
    assert_eq!(code, Some(78));
    assert!(err.contains("longer than"), "{err}");
}

#[test]
fn command_line_mistakes_exit_with_2_and_absent_files_with_78() {
    assert_eq!(vigie(&["record"]).status.code(), Some(2));
    assert_eq!(vigie(&["export", "--camera", "no-slash"]).status.code(), Some(2));
    assert_eq!(vigie(&["--log", "vigie=loud", "check-config"]).status.code(), Some(2));
    let out = vigie(&["check-config", "--config", "/nowhere/vigie.toml"]);
    assert_eq!(out.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&out.stderr).contains("cannot read the configuration /nowhere/vigie.toml"));
}

#[test]
fn a_target_of_alarms_that_cannot_be_used_is_refused_with_what_to_write() {
    let webhook = "webhook = \"https://x.example/a\"";
    let mail = "smtp_host = \"x.example\"\nmail_from = \"a@x.example\"\nmail_to = [\"b@x.example\"]";
    let cases = [
        (String::new(), "alarm.webhook", "is missing"),
        (format!("{webhook}\n{mail}"), "alarm.smtp_host", "one too many"),
        ("webhook = \"ftp://x.example/\"".to_owned(), "alarm.webhook", "http:// or https://"),
        ("webhook = \"https://user:secret-word@x.example/\"".to_owned(), "alarm.webhook", "webhook_token"),
        (format!("{webhook}\nquiet = \"22-6\""), "alarm.quiet", "22:00-06:30"),
        (format!("{webhook}\nquiet = \"22:00-22:00\""), "alarm.quiet", "22:00-06:30"),
        (format!("{webhook}\ntenant = \"nobody\""), "alarm.tenant", "nobody"),
        (format!("{webhook}\nmin_severity = \"info\""), "alarm.min_severity", "critical"),
        (format!("{webhook}\nlanguage = \"de\""), "alarm.language", "\"fr\""),
        (format!("{webhook}\nrepeat_minutes = 0"), "alarm.repeat_minutes", "from 1"),
        (mail.replace("mail_from = \"a@x.example\"\n", ""), "alarm.mail_from", "is missing"),
        (mail.replace("[\"b@x.example\"]", "[\"nobody\"]"), "alarm.mail_to", "no e-mail address"),
        (mail.replace("[\"b@x.example\"]", "[]"), "alarm.mail_to", "is missing"),
        (format!("{mail}\nsmtp_user = \"vigie\""), "alarm.smtp_user", "smtp_password"),
        (format!("{mail}\nsmtp_tls = \"ssl\""), "alarm.smtp_tls", "starttls"),
    ];
    for (keys, key, part) in cases {
        let text = format!("{SOUND}\n[[alarm]]\nid = \"a\"\n{keys}\n");
        let found = problems(&text);
        let [problem] = &found[..] else { panic!("{keys}\ngives {} problems: {found:#?}", found.len()) };
        assert!(problem.key == key && problem.message.contains(part), "{keys}\n{problem}");
        assert!(!problem.message.contains("secret-word"), "{problem}");
    }
}
