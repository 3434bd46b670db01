//! `[[alarm]]`: where alarms are sent.

use std::collections::HashMap;

use jiff::civil::Time;
use secrecy::{ExposeSecret, SecretString};

use super::build::{identity, path, seconds};
use super::secret::secret;
use super::*;
use crate::event::Severity;
use crate::event::words::Language;
use footage::units::AlarmTargetId;

/// Where alarms are sent, and which.
#[derive(Clone, Debug)]
pub struct AlarmTarget {
    /// Its name.
    pub id: AlarmTargetId,
    /// Only this tenant's alarms, as the tenant may read them; none: all, as the operator reads them.
    pub tenant: Option<TenantId>,
    /// Alarms below it are not sent.
    pub min_severity: Severity,
    /// Of its messages.
    pub language: Language,
    /// From when to when, in local time, only critical alarms are sent.
    pub quiet: Option<(Time, Time)>,
    /// A camera that is not recorded for less than this is no alarm.
    pub wait: Duration,
    /// An alarm that nobody has acknowledged is sent again after this.
    pub repeat: Duration,
    /// How it is sent.
    pub way: AlarmWay,
}

/// How alarms are sent.
#[derive(Clone, Debug)]
pub enum AlarmWay {
    /// A POST of JSON.
    Webhook {
        /// Where. For many services, to know the address is the right to send.
        url: SecretString,
        /// Presented as `Authorization: Bearer`.
        token: Option<SecretString>,
        /// Certificates of authorities besides the system's.
        ca_file: Option<PathBuf>,
    },
    /// A message by SMTP.
    Mail(Mail),
}

/// An e-mail target.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// Certificates of authorities besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Account, and its password.
    pub account: Option<(String, SecretString)>,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the first byte (RFC 8314 §3.3).
    Implicit,
    /// STARTTLS, and nothing is sent without it (RFC 3207).
    StartTls,
    /// None: for a server on this machine.
    None,
}

/// All targets; those with a mistake are left out, with a problem noted.
pub(super) fn targets(root: &Section<'_>, tenants: &[Tenant], around: &Surroundings<'_>) -> Vec<AlarmTarget> {
    let mut ids = HashMap::new();
    let mut targets = Vec::new();
    for section in root.tables("alarm") {
        targets.extend(target(&section, tenants, &mut ids, around));
        section.close();
    }
    targets
}

fn target(
    section: &Section<'_>,
    tenants: &[Tenant],
    ids: &mut HashMap<String, usize>,
    around: &Surroundings<'_>,
) -> Option<AlarmTarget> {
    let id = identity::<AlarmTargetId>(section, "id", "night-shift", ids);
    let tenant = section.text("tenant").and_then(|text| {
        let known = tenants.iter().find(|tenant| tenant.id.as_str() == text);
        if known.is_none() {
            section.refuse("tenant", format!("no [[tenant]] has the id {text:?}"));
        }
        known.map(|tenant| tenant.id.clone())
    });
    let severities = [("warning", Severity::Warning), ("critical", Severity::Critical)];
    let min_severity = section.choice("min_severity", &severities);
    let language = section.choice("language", &[("fr", Language::French), ("en", Language::English)]);
    let quiet = section.text("quiet").and_then(|text| {
        let parsed = text.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
        let parsed = parsed.filter(|(from, to)| from != to);
        if parsed.is_none() {
            section.refuse("quiet", "is not a time span: write \"22:00-06:30\"");
        }
        parsed
    });
    let wait = seconds(section, "wait_seconds", 0..=86_400).unwrap_or(Duration::from_secs(60));
    let repeat = section.count("repeat_minutes", 1..=10_080).unwrap_or(60);
    let way = way(section, around);
    Some(AlarmTarget {
        id: id?,
        tenant,
        min_severity,
        language,
        quiet,
        wait,
        repeat: Duration::from_secs(repeat * 60),
        way: way?,
    })
}

fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

fn way(section: &Section<'_>, around: &Surroundings<'_>) -> Option<AlarmWay> {
    let (webhook, host) = (secret(section, "webhook", around), section.text("smtp_host"));
    let ca_file = path(section, "ca_file");
    let token = secret(section, "webhook_token", around);
    let mail = mail(section, ca_file.clone(), host.clone(), around);
    match (webhook, host) {
        (Some(url), None) => is_webhook(section, &url).then_some(AlarmWay::Webhook { url, token, ca_file }),
        (None, Some(_)) => mail.map(AlarmWay::Mail),
        (Some(_), Some(_)) => {
            section.refuse("smtp_host", "is one too many: keep it or webhook, and add another [[alarm]] for the other");
            None
        }
        (None, None) => {
            if !section.has("webhook") && !section.has("smtp_host") {
                section
                    .refuse("webhook", "is missing: add webhook = \"https://…\", or smtp_host, mail_from and mail_to");
            }
            None
        }
    }
}

/// The message does not repeat the address.
fn is_webhook(section: &Section<'_>, url: &SecretString) -> bool {
    let url = Url::parse(url.expose_secret()).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url.filter(|url| url.username().is_empty() && url.password().is_none()) else {
        section.refuse("webhook", "is no http:// or https:// address, or holds a password: use webhook_token");
        return false;
    };
    if url.scheme() == "http" && !is_loopback(&url) {
        section.warn("webhook", "sends alarms in clear: use https://");
    }
    true
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The keys of e-mail, read whether or not the target is one; `None` where it is not, or after a problem was noted.
fn mail(
    section: &Section<'_>,
    ca_file: Option<PathBuf>,
    host: Option<String>,
    around: &Surroundings<'_>,
) -> Option<Mail> {
    let ways = [("starttls", MailTls::StartTls), ("tls", MailTls::Implicit), ("none", MailTls::None)];
    let tls = section.choice("smtp_tls", &ways);
    let default_port = match tls {
        MailTls::Implicit => 465,
        MailTls::StartTls => 587,
        MailTls::None => 25,
    };
    let port = section.count("smtp_port", 1..=65_535).and_then(|port| u16::try_from(port).ok()).unwrap_or(default_port);
    let user = section.text("smtp_user");
    let password = secret(section, "smtp_password", around);
    let problems_before = section.report().problem_count();
    let (from, to) = (section.text("mail_from"), section.texts("mail_to"));
    let host = host?;
    let address = |key: &str, text: &str| {
        let is_one = text.parse::<lettre::message::Mailbox>().is_ok();
        if !is_one {
            section.refuse(key, format!("{text:?} is no e-mail address"));
        }
        is_one
    };
    let Some(from) = from else {
        if !section.has("mail_from") {
            section.refuse("mail_from", "is missing: add a line such as mail_from = \"vigie@example.org\"");
        }
        return None;
    };
    if to.is_empty() && section.report().problem_count() == problems_before {
        section.refuse("mail_to", "is missing: add a line such as mail_to = [\"night-shift@example.org\"]");
    }
    let sound = address("mail_from", &from) & to.iter().all(|to| address("mail_to", to));
    let account = match (user, password) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        _ => {
            section.refuse("smtp_user", "an account needs smtp_user and smtp_password");
            return None;
        }
    };
    if tls == MailTls::None && account.is_some() {
        section.warn("smtp_tls", "sends the password in clear: use \"starttls\" or \"tls\"");
    }
    (sound && !to.is_empty()).then_some(Mail { host, port, tls, ca_file, account, from, to })
}
