use std::collections::BTreeSet;

use super::*;

const EXAMPLE: &str = include_str!("../../config/vigie.example.toml");

fn nowhere() -> Surroundings<'static> {
    Surroundings { variable: &|_| None, world_readable: false }
}

fn parse(text: &str) -> Result<Loaded, ConfigError> {
    Config::parse("vigie.toml", text, &nowhere())
}

/// Every key of a document, as `tenant.camera.url`, in any table of an array.
fn keys_of(table: &DeTable<'_>, path: &str, keys: &mut BTreeSet<String>) {
    for (key, value) in table.iter() {
        let full = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        keys.insert(full.clone());
        let items = value.get_ref().as_array().map(|a| a.iter().map(|i| i.get_ref()).collect());
        for value in items.unwrap_or_else(|| vec![value.get_ref()]) {
            if let Some(table) = value.as_table() {
                keys_of(table, &full, keys);
            }
        }
    }
}

#[test]
fn example_names_every_key_that_the_code_asks_for_and_no_other() {
    let every_line: String = EXAMPLE
        .lines()
        .map(|l| l.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(l).to_owned() + "\n")
        .collect();
    let document = DeTable::parse(&every_line).expect("the example with its optional lines is TOML");
    let mut shown = BTreeSet::new();
    keys_of(document.get_ref(), "", &mut shown);

    let report = Mistakes::new(&every_line);
    build::config(Section::root(&report, document.get_ref()), &nowhere());
    assert_eq!(shown, report.known_keys());
}

#[test]
fn example_shows_the_defaults() {
    let shown = parse(EXAMPLE).expect("the example is sound");
    assert_eq!(shown.warnings, []);
    // What is left when every line goes that has a default.
    let said = ["id", "name", "place", "url = \"rtsp:", "username", "[[tenant"];
    let bare: String =
        EXAMPLE.lines().filter(|l| said.iter().any(|s| l.starts_with(s))).flat_map(|l| [l, "\n"]).collect();
    let bare = parse(&bare).unwrap_or_else(|e| panic!("{bare}\n{e}"));
    assert_eq!(format!("{:#?}", shown.config), format!("{:#?}", bare.config));
}

#[test]
fn each_line_of_the_example_can_be_taken_out_and_put_back() {
    // A key that is asked for in one place only, or twice, would show as a changed or refused document.
    for (number, line) in EXAMPLE.lines().enumerate().filter(|(_, l)| l.contains(" = ") && !l.starts_with('#')) {
        let without: String =
            EXAMPLE.lines().enumerate().filter(|(n, _)| *n != number).flat_map(|(_, l)| [l, "\n"]).collect();
        let needed = ["id = ", "place = ", "url = \"rtsp:"].iter().any(|k| line.starts_with(k));
        assert_eq!(parse(&without).is_err(), needed, "without line {}: {line}", number + 1);
    }
}

#[test]
fn lines_are_counted_from_one_at_every_byte() {
    let text = "a\n\nbc\n";
    let report = Mistakes::new(text);
    let lines: Vec<_> = (0..=text.len()).map(|i| report.line(i)).collect();
    assert_eq!(lines, [1, 1, 2, 3, 3, 3, 4]);
}

fn paris() -> Config {
    parse(EXAMPLE).expect("the example is sound").config
}

#[test]
fn typed_times_are_read_in_the_configured_zone() {
    let config = paris();
    let check = |typed: &str, utc: &str| {
        assert_eq!(config.instant(typed), Ok(utc.parse().expect("a time")), "{typed}");
    };
    check("2026-03-01T14:30:00", "2026-03-01T13:30:00Z");
    check("2026-07-01 14:30", "2026-07-01T12:30:00Z");
    check("2026-07-01", "2026-06-30T22:00:00Z");
    check("2026-03-01T14:30:00Z", "2026-03-01T14:30:00Z");
    check("2026-03-01T14:30:00.5+04:00", "2026-03-01T10:30:00.5Z");
}

#[test]
fn typed_times_that_name_no_instant_or_two_are_refused() {
    let config = paris();
    assert!(matches!(config.instant("2026-03-29T02:30:00"), Err(BadLocalTime::Skipped(_))));
    assert!(matches!(config.instant("2026-10-25T02:30:00"), Err(BadLocalTime::Repeated(_))));
    for bad in ["", "yesterday", "2026-02-30", "14:30", "2026-03-01T25:00:00", &"9".repeat(10_000)] {
        let error = config.instant(bad).expect_err(bad);
        assert!(matches!(error, BadLocalTime::Malformed(_)), "{bad}");
        assert!(error.to_string().len() < 300, "{error}");
    }
}

/// The example with these lines before its tenant, and in it.
fn with_access(before: &str, within: &str) -> Result<Loaded, ConfigError> {
    let role = "token_role = \"tenant_administrator\"\n";
    parse(&EXAMPLE.replace("[[tenant]]\n", &format!("{before}\n[[tenant]]\n")).replace(role, &format!("{within}\n")))
}

#[test]
fn roles_are_named_with_rights_that_exist_and_the_access_token_has_one() {
    let night = "[[role]]\nname = \"night_desk\"\nrights = [\"see_cameras\", \"view_live\"]";
    let loaded = with_access(night, "token_role = \"night_desk\"").expect("sound");
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(warning.key == "tenant.token_role" && warning.message.contains("R253-3"), "{warning}");
    let rights = loaded.config.roles.get("night_desk").expect("a role");
    assert!(rights.len() == 2 && rights.contains(&catalogue::Right::ViewLive));
    assert_eq!(with_access("", "").expect("sound").config.tenants[0].token_role, "tenant_administrator");
    assert_eq!(with_access("", "token_role = \"technician\"").expect("sound").warnings, []);
    for (before, within, key, part) in [
        ("", "token_role = \"king\"", "tenant.token_role", "choose one of"),
        ("[[role]]\nname = \"inspector\"\nrights = [\"export\"]", "", "role.name", "there already"),
        ("[[role]]\nname = \"Night desk\"\nrights = [\"export\"]", "", "role.name", "a-z"),
        ("[[role]]\nrights = [\"export\"]", "", "role.name", "missing"),
        ("[[role]]\nname = \"x\"", "", "role.rights", "see_cameras"),
        ("[[role]]\nname = \"x\"\nrights = []", "", "role.rights", "see_cameras"),
        ("[[role]]\nname = \"x\"\nrights = [\"fly\"]", "", "role.rights", "none of see_cameras"),
        ("[[role]]\nname = \"x\"\nrights = \"export\"", "", "role.rights", "list"),
    ] {
        let Err(ConfigError::Invalid { problems, .. }) = with_access(before, within) else {
            panic!("{before} {within} is refused")
        };
        let [problem] = &problems[..] else { panic!("{before} {within}: {problems:?}") };
        assert!(problem.key == key && problem.message.contains(part), "{before} {within}: {problem}");
    }
}

/// The example with an identity provider of these lines, and a `public_url`.
fn with_provider(lines: &str) -> Result<Loaded, ConfigError> {
    let public = "[http]\npublic_url = \"https://vigie.example.org\"\n";
    parse(&(EXAMPLE.replace("[http]\n", public) + "\n[[oidc]]\n" + lines))
}

const PROVIDER: &str = r#"id = "state"
issuer = "https://id.example.org/v2"
client_id = "vigie"
client_secret = "a-secret-that-nobody-reads"
acr_values = ["eidas2"]
[[oidc.tenant]]
id = "mairie"
"#;

#[test]
fn an_identity_provider_is_read_whole_and_one_without_levels_is_pointed_out() {
    let loaded = with_provider(PROVIDER).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.warnings, []);
    let [provider] = &loaded.config.oidc[..] else { panic!("one provider") };
    assert_eq!((provider.name.as_str(), provider.issuer.as_str()), ("state", "https://id.example.org/v2"));
    assert_eq!(provider.algorithms, [OidcAlgorithm::Rs256, OidcAlgorithm::Es256]);
    assert_eq!((provider.userinfo, provider.email_trusted), (UserInfo::No, false));
    assert!(!format!("{:?}", loaded.config).contains("nobody-reads"));
    let lax = with_provider(&PROVIDER.replace("acr_values = [\"eidas2\"]\n", "")).expect("sound");
    assert!(lax.warnings.iter().any(|warning| warning.message.contains("acr_values")), "{:?}", lax.warnings);
}

#[test]
fn each_mistake_of_an_identity_provider_is_named() {
    let replaced = |from: &str, to: &str| {
        let changed = PROVIDER.replace(from, to);
        assert_ne!(changed, PROVIDER, "{from}");
        changed
    };
    let issuer = "https://id.example.org/v2";
    for (lines, key, part) in [
        (replaced(issuer, "http://id.example.org"), "oidc.issuer", "https"),
        (replaced(issuer, "https://id.example.org/?x"), "oidc.issuer", "query"),
        (replaced(issuer, "https://u:p@id.example.org/"), "oidc.issuer", "https"),
        (replaced("id = \"state\"", "id = \"State!\""), "oidc.id", ""),
        (replaced("client_id = \"vigie\"\n", ""), "oidc.client_id", "missing"),
        (replaced("client_secret = \"a-secret-that-nobody-reads\"\n", ""), "oidc.client_secret", "missing"),
        (replaced("\"eidas2\"", "\"eidas2 eidas3\""), "oidc.acr_values", "one word"),
        (replaced("acr_values", "algorithms = [\"HS256\"]\nacr_values"), "oidc.algorithms", "RS256"),
        (replaced("acr_values", "userinfo = \"both\"\nacr_values"), "oidc.userinfo", "signed"),
        (replaced("acr_values", "role_claim = \"groups\"\nacr_values"), "oidc.role_claim", "oidc.role"),
        (replaced("id = \"mairie\"", "id = \"nowhere\""), "oidc.tenant.id", "no [[tenant]]"),
        (replaced("id = \"mairie\"", "id = \"mairie\"\nclaim = \"siret\""), "oidc.tenant.claim", "together"),
        (replaced("[[oidc.tenant]]\nid = \"mairie\"\n", ""), "oidc.tenant", "missing"),
        (format!("{PROVIDER}[[oidc.role]]\nvalue = \"x\"\nrole = \"king\"\n"), "oidc.role.role", "choose one of"),
        (
            format!("{PROVIDER}[[oidc]]\n{}", PROVIDER.replace("\"state\"", "\"other\"")),
            "oidc.issuer",
            "is the issuer of line",
        ),
    ] {
        let Err(ConfigError::Invalid { problems, .. }) = with_provider(&lines) else { panic!("{lines} is refused") };
        let found = problems.iter().any(|problem| problem.key == key && problem.message.contains(part));
        assert!(found, "{lines}: {problems:?}");
        assert!(!format!("{problems:?}").contains("nobody-reads"));
    }
    let Err(ConfigError::Invalid { problems, .. }) = parse(&(EXAMPLE.to_owned() + "\n[[oidc]]\n" + PROVIDER)) else {
        panic!("without public_url it is refused")
    };
    assert!(problems.iter().any(|problem| problem.message.contains("public_url")), "{problems:?}");
}
