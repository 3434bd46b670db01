//! `vigie authorisation file`: what the gateway knows for the request to the prefect; and how authorisations stand, for
//! `vigie check-config`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use footage::clock::{Clock, SystemClock};
use footage::units::WallTime;
use vigie::authorisation::{Authorisation, Basis, Instants, Notice, Validity};
use vigie::config::{Config, Tenant};

use super::inspection::PageLanguage;
use super::people::OfTenant;
use super::{Failure, show};

mod page;

/// What to do with authorisations.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthorisationCommand {
    /// Write what the gateway knows for the file of the request (CSI R252-3), as a page of HTML to print
    File(RequestFile),
}

#[derive(Debug, Args)]
pub(crate) struct RequestFile {
    #[command(flatten)]
    of: OfTenant,
    /// In which language
    #[arg(long, value_enum, default_value_t = PageLanguage::Fr)]
    language: PageLanguage,
    /// Where to; standard output unless it is named
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) async fn run(command: AuthorisationCommand) -> Result<(), Failure> {
    let AuthorisationCommand::File(args) = command;
    let loaded = args.of.config()?;
    let tenant = args.of.tenant(&loaded)?;
    let persons = match args.of.ask("GET", "/api/people", None).await {
        Ok(list) => Some(by_role(&list)),
        Err(why) => {
            tracing::warn!("the page does not say how many persons are designated: {why}");
            None
        }
    };
    let language = args.language.into();
    let now = SystemClock::default().wall();
    let text = page::html(&page::Known { config: &loaded, tenant, persons, now, language });
    match args.out {
        None => show::print(&text),
        Some(path) => {
            std::fs::write(&path, text).map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?;
            show::print(&format!("{}\n", path.display()))
        }
    }
}

/// How many persons of each role are designated and in force.
fn by_role(people: &serde_json::Value) -> BTreeMap<String, usize> {
    let mut roles = BTreeMap::new();
    for person in people.as_array().into_iter().flatten().filter(|person| person["state"] == "in_force") {
        *roles.entry(person["role"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    roles
}

/// A line for each authorisation, and a warning for each that is not in force or ends soon, and for cameras without a basis.
pub(super) fn standing(config: &Config, now: WallTime) -> Vec<String> {
    let mut lines = Vec::new();
    for tenant in &config.tenants {
        lines.extend(tenant.authorisations.iter().flat_map(|of| lines_of(tenant, of, config, now)));
        let unstated: Vec<_> =
            tenant.cameras.iter().filter(|of| of.installation.basis == Basis::Unstated).map(|of| &of.id).collect();
        if let [first, ..] = unstated[..] {
            let (count, id) = (unstated.len(), &tenant.id);
            lines.push(format!(
                "warning: {id}: what {count} of its cameras record under is not said (the first: {first}): add \
                 [[tenant.authorisation]], or legal_basis where title V does not apply (CSI L252-1)"
            ));
        }
    }
    lines
}

fn lines_of(tenant: &Tenant, of: &Authorisation, config: &Config, now: WallTime) -> Vec<String> {
    let basis = Basis::Authorisation(of.id.clone());
    let cameras = tenant.cameras.iter().filter(|camera| camera.installation.basis == basis).count();
    let name = format!("authorisation {}/{} ({})", tenant.id, of.id, of.number);
    let plural = if cameras == 1 { "" } else { "s" };
    let mut lines = vec![format!("{name}: {} to {}, {cameras} camera{plural}", of.from, of.until)];
    let lacking = if of.permits(Validity::Ended) { "are recorded all the same" } else { "are not recorded" };
    let wrong = match of.validity(Instants::at(now), &config.time_zone) {
        Validity::InForce(None) => return lines,
        Validity::InForce(Some(notice)) => format!("ends within {}: {}", length(notice), advice(notice)),
        Validity::Ended => format!("ended on {}: its cameras {lacking}", of.until),
        Validity::NotYet => format!("begins on {}: its cameras {lacking} before", of.from),
    };
    if cameras > 0 {
        lines.push(format!("warning: {name} {wrong}"));
    }
    lines
}

fn length(notice: Notice) -> &'static str {
    match notice {
        Notice::SixMonths => "six months",
        Notice::FourMonths => "four months",
        Notice::FourWeeks => "four weeks",
        Notice::TwoWeeks => "two weeks",
        Notice::OneWeek => "a week",
    }
}

fn advice(notice: Notice) -> &'static str {
    match notice {
        Notice::SixMonths => "prepare its renewal; `vigie authorisation file` writes what the gateway knows for it",
        _ => "ask for its renewal, and enter it here",
    }
}

#[cfg(test)]
mod tests {
    use vigie::config::Surroundings;

    use super::*;

    pub(super) const TOWN: &str = r#"
[[store]]
url = "s3://footage-of-towns/vigie"
region = "fr-par"
endpoint = "https://s3.example.org"
access_key_id = "KEY-ID-OF-THE-TOWN"
secret_access_key = "SECRET-OF-THE-TOWN"
[[tenant]]
id = "mairie"
name = "Ville de <Saint-Exemple>"
access_token = "a-token-of-sixteen-or-more"
[[tenant.authorisation]]
id = "streets"
number = "2026-117"
date = "2026-01-05"
until = "2031-01-04"
purposes = ["persons_and_property", "rescue_and_fire"]
recipients = ["gendarmerie & police"]
max_days = 15
[[tenant.camera]]
id = "square"
name = "Place"
place = "Place de la Mairie"
url = "rtsps://192.0.2.1/a"
view = "narrow"
fast_movement = true
declared = "2026-01-12"
in_service = "2026-01-19"
username = "viewer"
password = "PASSWORD-OF-A-CAMERA"
[[tenant.camera]]
id = "depot"
place = "Dépôt"
url = "rtsp://192.0.2.2/a"
legal_basis = "Règlement intérieur"
audio_legal_basis = "Règlement intérieur"
"#;

    pub(super) fn config(text: &str) -> Config {
        let around = Surroundings { variable: &|_| None, world_readable: false };
        Config::parse("vigie.toml", text, &around).unwrap_or_else(|e| panic!("{e}")).config
    }

    #[test]
    fn h1_check_config_says_how_each_authorisation_stands_and_which_cameras_have_no_basis() {
        let check = |text: &str, now: &str| standing(&config(text), now.parse().unwrap());
        let line = "authorisation mairie/streets (2026-117): 2026-01-05 to 2031-01-04, 1 camera";
        assert_eq!(check(TOWN, "2026-06-01T00:00:00Z"), [line]);
        let soon = check(TOWN, "2030-12-23T00:00:00Z");
        assert!(
            soon.len() == 2 && soon[1].starts_with("warning: ") && soon[1].contains("within two weeks"),
            "{soon:?}"
        );
        let over = check(TOWN, "2031-01-05T12:00:00Z");
        assert!(over[1].contains("ended on 2031-01-04: its cameras are not recorded"), "{over:?}");
        let early = check(&TOWN.replace("max_days", "at_end = \"record_on\"\nmax_days"), "2025-06-01T00:00:00Z");
        assert!(early[1].contains("begins on 2026-01-05: its cameras are recorded all the same"), "{early:?}");
        let begin = TOWN.find("[[tenant.authorisation]]").unwrap();
        let end = TOWN.find("[[tenant.camera]]").unwrap();
        let without = format!("{}{}", &TOWN[..begin], &TOWN[end..]);
        let lacking = check(&without, "2026-06-01T00:00:00Z");
        assert!(lacking.len() == 1 && lacking[0].contains("mairie: what 1 of its cameras record under"), "{lacking:?}");
    }

    #[test]
    fn persons_are_counted_by_role_where_their_designation_is_in_force() {
        let person = |role: &str, state: &str| serde_json::json!({"role": role, "state": state});
        let list = serde_json::json!([
            person("operator", "in_force"),
            person("operator", "in_force"),
            person("operator", "act_over"),
            person("inspector", "in_force"),
        ]);
        assert_eq!(by_role(&list), [("inspector".to_owned(), 1), ("operator".to_owned(), 2)].into());
    }
}
