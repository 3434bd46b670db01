//! Authorisations in the configuration: each mistake is one error at its line, and cameras get their retention from them.

use std::time::Duration;

use vigie::authorisation::{AtEnd, Basis, Purpose, View};
use vigie::config::{Config, ConfigError, ConfigProblem, Loaded, Surroundings};

/// A sound file; mistakes are put into it line by line.
const SOUND: &str = r#"[retention]
max_days = 30
[[tenant]]
id = "mairie"
retention = { }
[[tenant.authorisation]]
id = "streets"
number = "2026-117"
date = "2026-01-05"
until = "2031-01-05"
purposes = ["persons_and_property", "traffic_offences"]
recipients = ["police municipale"]
max_days = 15
min_days = 5
[[tenant.camera]]
id = "one"
place = "Rue Haute"
url = "rtsp://192.0.2.1/a"
[[tenant.camera]]
id = "two"
place = "Rue Basse"
url = "rtsp://192.0.2.2/a"
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

fn sound(text: &str) -> Config {
    parse(text).unwrap_or_else(|e| panic!("{e}")).config
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// A second authorisation, after the first one's last line.
const SECOND: &str = r#"min_days = 5
[[tenant.authorisation]]
id = "fair"
number = "2026-200"
date = "2026-06-01"
from = "2026-06-10"
until = "2026-06-20"
provisional = true
purposes = ["persons_and_property"]
max_hours = 48
at_end = "record_on""#;

#[test]
fn h1_a_camera_belongs_to_the_only_authorisation_and_its_retention_comes_from_it() {
    let loaded = parse(SOUND).expect("sound");
    assert_eq!(loaded.warnings, []);
    let tenant = &loaded.config.tenants[0];
    let [of] = &tenant.authorisations[..] else { panic!("{:?}", tenant.authorisations) };
    assert_eq!((of.number.as_str(), of.from, of.at_end), ("2026-117", of.date, AtEnd::Stop));
    assert_eq!(of.purposes, [Purpose::TrafficOffences, Purpose::PersonsAndProperty]);
    for camera in &tenant.cameras {
        assert_eq!(camera.installation.basis, Basis::Authorisation(of.id.clone()));
        assert_eq!((camera.retention.max, camera.retention.min), (days(15), days(5)));
    }
    let policies = loaded.config.policies();
    assert!(policies.iter().all(|policy| policy.maximum.to_duration() == days(15)), "{policies:?}");
}

#[test]
fn h1_what_the_file_sets_within_the_authorisation_narrows_it() {
    let text = with_line(22, "url = \"rtsp://192.0.2.2/a\"\nretention = { max_days = 10, min_days = 6 }");
    let config = sound(&text.replace("retention = { }", "retention = { max_days = 12 }"));
    let bounds = |n: usize| {
        let retention = config.tenants[0].cameras[n].retention;
        (retention.max, retention.min)
    };
    assert_eq!([bounds(0), bounds(1)], [(days(12), days(5)), (days(10), days(6))]);
}

#[test]
fn h1_of_several_authorisations_each_camera_names_its_own() {
    let text =
        with_line(14, SECOND).replace("place = \"Rue Haute\"", "place = \"Rue Haute\"\nauthorisation = \"fair\"");
    let [problem] = &problems(&text)[..] else { panic!("{:?}", problems(&text)) };
    assert_eq!(problem.key, "tenant.camera.authorisation");
    assert!(problem.message.contains("streets, fair"), "{problem}");
    let outside = "place = \"Rue Basse\"\nlegal_basis = \"Règlement intérieur\"\naudio_legal_basis = \"the same\"";
    let config = sound(&text.replace("place = \"Rue Basse\"", outside));
    let cameras = &config.tenants[0].cameras;
    assert_eq!(cameras[0].retention.max, days(2));
    assert_eq!(config.tenants[0].authorisations[1].at_end, AtEnd::RecordOn);
    assert_eq!(cameras[1].installation.basis, Basis::Outside("Règlement intérieur".to_owned()));
    assert_eq!(cameras[1].retention.max, days(30), "outside an authorisation the file's own bounds hold");
}

#[test]
fn h2_dates_of_declaration_are_in_the_record_and_one_after_the_putting_into_service_is_pointed_out() {
    let with = |declared: &str| {
        let lines =
            format!("place = \"Rue Basse\"\nview = \"narrow\"\nfast_movement = true\ndeclared = \"{declared}\"");
        parse(&with_line(21, &format!("{lines}\nin_service = \"2026-02-01\""))).expect("sound")
    };
    let loaded = with("2026-01-20");
    assert_eq!(loaded.warnings, []);
    let installation = &loaded.config.tenants[0].cameras[1].installation;
    assert_eq!((installation.view, installation.fast_movement), (Some(View::Narrow), true));
    assert_eq!(installation.declared.map(|day| day.to_string()).as_deref(), Some("2026-01-20"));
    let late = with("2026-02-02").warnings;
    assert!(late.len() == 1 && late[0].message.contains("R252-17") && late[0].line == 24, "{late:?}");
}

#[test]
fn h1_each_mistake_about_an_authorisation_makes_one_error_at_its_line() {
    let (of, camera) = ("tenant.authorisation", "tenant.camera");
    let mistakes: &[(usize, &str, String, &str)] = &[
        // What is at a line, instead of what should be; the key named; a part of the message.
        (5, "retention = { max_days = 16 }", "tenant.retention.max_days".to_owned(), "360 h at most"),
        (5, "retention = { min_days = 4 }", "tenant.retention.min_days".to_owned(), "120 h at least"),
        (5, "retention = { min_days = 15 }", "tenant.retention.min_days".to_owned(), "below the maximum"),
        (5, "retention = { max_days = 5 }", "tenant.retention.max_days".to_owned(), "below the maximum"),
        (7, "id = \"Streets\"", format!("{of}.id"), "a-z"),
        (8, "number = \" \"", format!("{of}.number"), "empty"),
        (9, "date = \"5 January\"", format!("{of}.date"), "2026-01-05"),
        (9, "date = 2026-01-05", format!("{of}.date"), "text in quotes"),
        (9, "date = \"2026-01-05\"\nfrom = \"2026-01-04\"", format!("{of}.from"), "before date"),
        (10, "until = \"2026-01-04\"", format!("{of}.until"), "before the first day"),
        (10, "until = \"2031-01-06\"", format!("{of}.until"), "L252-4"),
        (10, "until = \"2026-05-06\"\nprovisional = true", format!("{of}.until"), "L252-7"),
        (11, "purposes = []", format!("{of}.purposes"), "L251-2"),
        (11, "purposes = [\"curiosity\"]", format!("{of}.purposes"), "none of public_buildings"),
        (11, "purposes = \"terrorism\"", format!("{of}.purposes"), "list"),
        (12, "recipients = [\"\"]", format!("{of}.recipients"), "empty"),
        (13, "max_days = 32", format!("{of}.max_days"), "L252-5"),
        (14, "min_days = 15", format!("{of}.min_days"), "below the maximum"),
        (14, "at_end = \"hope\"", format!("{of}.at_end"), "record_on"),
        (14, "end = \"stop\"", format!("{of}.end"), "at_end"),
        (21, "place = \"x\"\nauthorisation = \"parks\"", format!("{camera}.authorisation"), "streets"),
        (21, "place = \"x\"\nauthorisation = 7", format!("{camera}.authorisation"), "text in quotes"),
        (
            21,
            "place = \"x\"\nauthorisation = \"streets\"\nlegal_basis = \"y\"",
            format!("{camera}.legal_basis"),
            "one too many",
        ),
        (21, "place = \"x\"\nview = \"fisheye\"", format!("{camera}.view"), "narrow"),
        (21, "place = \"x\"\ndeclared = \"2026-13-01\"", format!("{camera}.declared"), "no date"),
        (21, "place = \"x\"\nretention.max_days = 16", format!("{camera}.retention.max_days"), "360 h at most"),
        (21, "place = \"x\"\nretention.min_days = 4", format!("{camera}.retention.min_days"), "120 h at least"),
    ];
    for (line, text, key, part) in mistakes {
        let found = problems(&with_line(*line, text));
        let [problem] = &found[..] else { panic!("{text}\ngives {} problems: {found:#?}", found.len()) };
        assert_eq!(problem.key, *key, "{text}\n{problem}");
        assert!(problem.message.contains(part), "{text}\n{problem}\ndoes not say {part:?}");
        let last = line + text.lines().count() - 1;
        assert!((*line..=last).contains(&problem.line), "{text}\n{problem}");
    }
    let missing = problems(&with_line(13, ""));
    assert!(missing.len() == 1 && missing[0].key == "tenant.authorisation.max_days", "{missing:?}");
}

#[test]
fn r5_a_camera_under_an_authorisation_records_no_sound() {
    let text = with_line(21, "place = \"Rue Basse\"\naudio_legal_basis = \"Délibération 2026-14\"");
    let [problem] = &problems(&text)[..] else { panic!("{:?}", problems(&text)) };
    assert!(problem.message.contains("R253-1") && problem.key == "tenant.camera.audio_legal_basis", "{problem}");
}
