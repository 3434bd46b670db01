//! `vigie people`: the persons of a tenant, asked of a running gateway with the tenant's own access token.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use footage::units::{CameraId, PersonId, ProviderId, TenantId};
use jiff::civil::Date;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use vigie::config::{Config, Tenant};
use vigie::{gateway, people};

use super::{ConfigArg, Failure, operate, show};

/// What to do with persons.
#[derive(Debug, Subcommand)]
pub(crate) enum PeopleCommand {
    /// List a tenant's persons, with their acts, tokens and grants
    List {
        #[command(flatten)]
        of: OfTenant,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Designate a person by an act, or renew or change a designation
    Designate(Box<Designate>),
    /// Revoke a designation, with the person's tokens and grants
    Revoke {
        /// Whose
        person: PersonId,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Invite a person to choose a password and an authenticator; what they signed in with before is over. Shows the link's
    /// path, once
    Invite {
        /// Whom
        person: PersonId,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Say by which account at an identity provider a person signs in, in place of one that was named before
    Account(Box<Account>),
    /// Make a token for a person, and show it once
    Token {
        /// For whom
        person: PersonId,
        /// Which program or machine will have it
        #[arg(long, value_name = "TEXT")]
        label: String,
        /// In force for so many days
        #[arg(long, default_value_t = 90, value_name = "DAYS")]
        days: u32,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Revoke a token
    RevokeToken {
        /// Whose
        person: PersonId,
        /// The token's id, as `list` shows it
        token: String,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Grant footage to a person for a time, whatever their role: for a requisition
    Grant(Box<Grant>),
    /// Take a grant back
    RevokeGrant {
        /// Whose
        person: PersonId,
        /// The grant's id, as `list` shows it
        grant: i64,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Accept the catalogue that is there, or none, in place of the one that was known. Stop the gateway first
    Accept {
        #[command(flatten)]
        config: ConfigArg,
    },
}

/// Whose persons.
#[derive(Debug, Args)]
pub(crate) struct OfTenant {
    /// Of this tenant; not needed where there is one
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
pub(crate) struct Account {
    /// Whose
    person: PersonId,
    /// The provider's id in the configuration
    #[arg(long, value_name = "ID")]
    provider: ProviderId,
    /// The account's e-mail address, which the provider has verified
    #[arg(long, value_name = "ADDRESS", required_unless_present_any = ["subject", "remove"])]
    email: Option<String>,
    /// The account's subject at the provider
    #[arg(long, value_name = "TEXT", conflicts_with = "email")]
    subject: Option<String>,
    /// By none any more
    #[arg(long, conflicts_with_all = ["email", "subject"])]
    remove: bool,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Args)]
pub(crate) struct Designate {
    /// Who: an id of their own, as in marie-durand
    person: PersonId,
    /// Their name
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// operator, supervisor, investigator, inspector, technician, tenant_administrator, all_rights, or a role of the
    /// configuration
    #[arg(long, value_name = "ROLE")]
    role: String,
    /// Who made the act
    #[arg(long, value_name = "TEXT")]
    act_authority: String,
    /// The act's number
    #[arg(long, value_name = "TEXT")]
    act_number: String,
    /// The act's date
    #[arg(long, value_name = "YYYY-MM-DD")]
    act_date: Date,
    /// The last day on which it is in force
    #[arg(long, value_name = "YYYY-MM-DD")]
    act_until: Date,
    /// This camera alone; may be repeated
    #[arg(long, value_name = "CAMERA")]
    camera: Vec<CameraId>,
    /// No footage as it is filmed
    #[arg(long)]
    no_live: bool,
    /// No recorded footage
    #[arg(long)]
    no_recorded: bool,
    /// In these hours of the day alone, as in 20:00-06:00
    #[arg(long, value_name = "HOURS")]
    hours: Option<String>,
    /// Recorded footage of so many last hours alone
    #[arg(long, value_name = "HOURS")]
    back_hours: Option<u32>,
    #[command(flatten)]
    of: OfTenant,
}

#[derive(Debug, Args)]
pub(crate) struct Grant {
    /// To whom
    person: PersonId,
    /// Of this camera; may be repeated
    #[arg(long, value_name = "CAMERA", required = true)]
    camera: Vec<CameraId>,
    /// First instant: RFC 3339, or a date and time in the configured zone
    #[arg(long, value_name = "TIME")]
    start: String,
    /// First instant after
    #[arg(long, value_name = "TIME")]
    end: String,
    /// The requisition's reference
    #[arg(long, value_name = "TEXT")]
    reference: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// In force for so many days
    #[arg(long, default_value_t = 8, value_name = "DAYS")]
    days: u32,
    #[command(flatten)]
    of: OfTenant,
}

pub(super) async fn run(command: PeopleCommand) -> Result<(), Failure> {
    match command {
        PeopleCommand::List { of, json } => {
            let list = of.ask("GET", "/api/people", None).await?;
            let text = if json { format!("{list:#}\n") } else { table(&list) };
            show::print(&text)
        }
        PeopleCommand::Designate(args) => designate(*args).await,
        PeopleCommand::Revoke { person, of } => {
            of.ask("DELETE", &format!("/api/people/{person}"), None).await?;
            show::print(&format!("{person} is revoked, with all tokens and grants\n"))
        }
        PeopleCommand::Invite { person, of } => {
            let invited = of.ask("POST", &format!("/api/people/{person}/invitations"), None).await?;
            let word = |name: &str| invited[name].as_str().unwrap_or_default();
            show::print(&format!("{}\n", word("path")))?;
            tracing::info!(until = word("until"), "behind the gateway's own address; used once");
            Ok(())
        }
        PeopleCommand::Account(args) => account(*args).await,
        PeopleCommand::Token { person, label, days, of } => {
            let path = format!("/api/people/{person}/tokens");
            let made = of.ask("POST", &path, Some(json!({"label": label, "days": days}))).await?;
            let word = |name: &str| made[name].as_str().unwrap_or_default();
            show::print(&format!("{}\n", word("token")))?;
            tracing::info!(id = word("id"), until = word("until"), "shown this once, and kept nowhere");
            Ok(())
        }
        PeopleCommand::RevokeToken { person, token, of } => {
            of.ask("DELETE", &format!("/api/people/{person}/tokens/{token}"), None).await?;
            show::print(&format!("token {token} of {person} is revoked\n"))
        }
        PeopleCommand::Grant(args) => grant(*args).await,
        PeopleCommand::RevokeGrant { person, grant, of } => {
            of.ask("DELETE", &format!("/api/people/{person}/grants/{grant}"), None).await?;
            show::print(&format!("grant {grant} of {person} is taken back\n"))
        }
        PeopleCommand::Accept { config } => accept(&config).await,
    }
}

async fn account(args: Account) -> Result<(), Failure> {
    let Account { person, provider, email, subject, remove, of } = args;
    let path = format!("/api/people/{person}/accounts/{provider}");
    if remove {
        of.ask("DELETE", &path, None).await?;
        return show::print(&format!("{person} signs in by no account at {provider} any more\n"));
    }
    let named = email.map_or_else(|| json!({"subject": subject}), |email| json!({"email": email}));
    of.ask("PUT", &path, Some(named)).await?;
    show::print(&format!("{person} signs in by this account at {provider} from now on\n"))
}

async fn designate(args: Designate) -> Result<(), Failure> {
    let Designate { person, name, role, act_authority, act_number, act_date, act_until, .. } = args;
    let mut body = json!({
        "name": name, "role": role, "live": !args.no_live, "recorded": !args.no_recorded,
        "act": {"authority": act_authority, "number": act_number, "date": act_date, "until": act_until},
    });
    if !args.camera.is_empty() {
        body["cameras"] = json!(args.camera);
    }
    if let Some(hours) = args.hours {
        body["hours"] = hours.into();
    }
    if let Some(hours) = args.back_hours {
        body["back_hours"] = hours.into();
    }
    let made = args.of.ask("PUT", &format!("/api/people/{person}"), Some(body)).await?;
    show::print(&table(&Value::Array(vec![made])))
}

async fn grant(args: Grant) -> Result<(), Failure> {
    let range = super::range(&args.of.config.load()?.config, &args.start, &args.end)?;
    let body = json!({
        "cameras": args.camera, "start": range.start().to_string(), "end": range.end().to_string(),
        "reference": args.reference, "reason": args.reason, "days": args.days,
    });
    let made = args.of.ask("POST", &format!("/api/people/{}/grants", args.person), Some(body)).await?;
    show::print(&table(&Value::Array(vec![made])))
}

async fn accept(config: &ConfigArg) -> Result<(), Failure> {
    let config = config.load()?.config;
    let _held = gateway::lock(&config).map_err(Failure::failed)?;
    let opened = gateway::open(&config, false).await.map_err(Failure::failed)?;
    let tenants = config.tenants.iter().map(|tenant| tenant.id.clone());
    let at = opened.clock.wall().to_timestamp();
    let accepted = people::accept(&config.data_dir, &opened.index, at, tenants).await;
    opened.index.close().await;
    show::print(&format!("{}\n", accepted.map_err(Failure::failed)?))
}

impl OfTenant {
    /// The configuration.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        Ok(self.config.load()?.config)
    }

    /// Whose.
    pub(super) fn tenant<'a>(&self, config: &'a Config) -> Result<&'a Tenant, Failure> {
        match (&self.tenant, config.tenants.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(Failure::Usage("several tenants are configured: name one with --tenant".to_owned())),
            (Some(id), all) => {
                let found = all.iter().find(|tenant| tenant.id == *id);
                found.ok_or_else(|| Failure::Usage(format!("no tenant {id} is configured")))
            }
        }
    }

    /// As the holder of the tenant's access token.
    pub(super) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let config = self.config.load()?.config;
        let tenant = self.tenant(&config)?;
        let authorization = tenant.access_token.as_ref().map(|token| {
            let credentials = BASE64.encode(format!("{}:{}", tenant.id, token.expose_secret()));
            SecretString::from(format!("Basic {credentials}"))
        });
        let body = body.map_or_else(String::new, |body| body.to_string());
        operate::ask_as(&config, authorization, method, path, &body).await
    }
}

/// A line for each person, and below it tokens and grants in force or not.
fn table(people: &Value) -> String {
    let mut text = String::new();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let names = |value: &Value| list(value).iter().map(word).collect::<Vec<_>>().join(", ");
    for person in list(people) {
        let act = &person["act"];
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}: {}, {}, {}; act {} of {} ({}), until {}",
            word(&person["id"]),
            word(&person["name"]),
            word(&person["role"]),
            word(&person["state"]),
            word(&act["number"]),
            word(&act["date"]),
            word(&act["authority"]),
            word(&act["until"])
        );
        let _ = writeln!(text, "  sees: {}", sees(&person));
        for account in list(&person["accounts"]) {
            let known = account["email"].as_str().or(account["subject"].as_str()).unwrap_or_default();
            let used =
                account["first_used"].as_str().map_or_else(|| "never used".to_owned(), |at| format!("since {at}"));
            let _ = writeln!(text, "  account at {}: {known}, {used}", word(&account["provider"]));
        }
        for token in list(&person["tokens"]) {
            let ended = token["revoked"].as_str().map_or_else(String::new, |at| format!(", revoked {at}"));
            let used = token["used"].as_str().map_or_else(|| "never used".to_owned(), |at| format!("used {at}"));
            let (id, label, until) = (word(&token["id"]), word(&token["label"]), word(&token["until"]));
            let _ = writeln!(text, "  token {id}: {label}, until {until}, {used}{ended}");
        }
        for grant in list(&person["grants"]) {
            let ended = grant["revoked"].as_str().map_or_else(String::new, |at| format!(", taken back {at}"));
            let (id, cameras, until) = (&grant["id"], names(&grant["cameras"]), word(&grant["until"]));
            let (start, end, reference) = (word(&grant["start"]), word(&grant["end"]), word(&grant["reference"]));
            let _ = writeln!(text, "  grant {id}: {cameras}, {start} to {end}, {reference}, until {until}{ended}");
        }
    }
    if text.is_empty() { "no person is designated\n".to_owned() } else { text }
}

fn sees(person: &Value) -> String {
    let cameras = person["cameras"].as_array().map_or_else(
        || "all cameras".to_owned(),
        |cameras| cameras.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
    );
    let ways = match (person["live"] == true, person["recorded"] == true) {
        (true, true) => "live and recorded",
        (true, false) => "live",
        (false, true) => "recorded",
        (false, false) => "no footage",
    };
    let hours = person["hours"].as_str().map_or_else(String::new, |hours| format!(", in the hours {hours}"));
    let back = person["back_hours"].as_u64().map_or_else(String::new, |hours| format!(", of the last {hours} h"));
    format!("{cameras}, {ways}{hours}{back}, within the role")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_who_may_what_by_which_act() {
        let person = json!({
            "id": "marie-durand", "name": "Marie Durand", "role": "operator", "state": "act_over",
            "act": {"authority": "le maire", "number": "2026-117", "date": "2026-03-01", "until": "2026-12-31"},
            "cameras": ["gate"], "live": true, "recorded": true, "hours": "20:00-06:00", "back_hours": 48,
            "tokens": [{"id": "00", "label": "night desk", "until": "2026-06-01T00:00:00Z"}],
            "grants": [{
                "id": 7, "cameras": ["square"], "start": "a", "end": "b", "reference": "PV 117", "until": "c",
                "revoked": "d",
            }],
        });
        let text = table(&json!([person]));
        for part in [
            "marie-durand: Marie Durand, operator, act_over; act 2026-117 of 2026-03-01 (le maire), until 2026-12-31",
            "sees: gate, live and recorded, in the hours 20:00-06:00, of the last 48 h",
            "token 00: night desk, until 2026-06-01T00:00:00Z, never used",
            "grant 7: square, a to b, PV 117, until c, taken back d",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(table(&json!([])), "no person is designated\n");
    }
}
