//! Sending a message to a target.
//!
//! A webhook is a POST of JSON, described in `docs/guide`: `version` 1, an `id` that is the same for each attempt at the same
//! notices (also `Idempotency-Key`), and the `alarms`. An e-mail has the same in words.
//! Invariant: what fails is said in one line, without the address's query and without a secret.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;
use lettre::message::{Mailbox, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::notice::{News, Notice, place};
use crate::config::{AlarmTarget, AlarmWay, Mail, MailTls};
use crate::event::words::Language;
use footage::platform;
use footage::units::WallTime;

/// For a whole attempt.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(30);
/// Alarms in one message.
pub(super) const ALARMS_MAX: usize = 1_000;
/// Alarms in words in one e-mail; the rest is counted.
const WORDED_MAX: usize = 50;

/// Sends to one target.
#[derive(Debug, Default)]
pub struct Delivery {
    target: Option<(AlarmTarget, TimeZone)>,
}

impl Delivery {
    /// To this target, with times in this zone.
    pub fn new(target: AlarmTarget, time_zone: TimeZone) -> Self {
        Self { target: Some((target, time_zone)) }
    }

    pub(super) fn target(&self) -> Option<&AlarmTarget> {
        self.target.as_ref().map(|(target, _)| target)
    }

    /// Sends these as one message. An error is one line for the log.
    pub async fn send(&self, notices: &[Notice], at: WallTime) -> Result<(), String> {
        let Some((target, zone)) = &self.target else { return Ok(()) };
        let attempt = async {
            match &target.way {
                AlarmWay::Webhook { url, token, ca_file } => {
                    let body = body(target, notices, at);
                    post(url, token.as_ref(), ca_file.as_deref(), &body).await
                }
                AlarmWay::Mail(mail) => {
                    let (subject, text) = words(target, zone, notices, at);
                    send_mail(mail, &subject, text).await
                }
            }
        };
        let outcome = tokio::time::timeout(ATTEMPT_TIME_MAX, attempt).await;
        outcome.unwrap_or_else(|_| Err(format!("no answer within {} s", ATTEMPT_TIME_MAX.as_secs())))
    }
}

/// The same for the same notices, however often they are tried.
fn id_of(target: &AlarmTarget, notices: &[Notice]) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(target.id.as_str().as_bytes());
    for notice in notices {
        let last = notice.last.map_or(0, |at| at.0);
        hash.update(format!(" {} {} {last}", notice.alarm.id, notice.news.as_str()).as_bytes());
    }
    hash.finalize().to_hex()[..32].to_owned()
}

/// The JSON of a webhook.
fn body(target: &AlarmTarget, notices: &[Notice], at: WallTime) -> Value {
    let alarms: Vec<Value> = notices.iter().map(|notice| entry(notice, target.language)).collect();
    json!({
        "version": 1,
        "id": id_of(target, notices),
        "at": at.to_string(),
        "target": target.id.as_str(),
        "alarms": alarms,
    })
}

fn entry(notice: &Notice, language: Language) -> Value {
    let alarm = &notice.alarm;
    let mut value = json!({
        "id": alarm.id,
        "news": notice.news.as_str(),
        "kind": alarm.kind,
        "severity": alarm.severity.as_str(),
        "began": alarm.began.to_string(),
        "text": alarm.event.fact.words(language),
    });
    if let Some(map) = value.as_object_mut() {
        let scope = &alarm.event.scope;
        let named = [
            ("tenant", scope.tenant().map(ToString::to_string)),
            ("camera", scope.camera().map(|key| key.camera.to_string())),
            ("ended", alarm.ended.map(|at| at.to_string())),
        ];
        map.extend(named.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?)))));
    }
    value
}

async fn post(
    url: &SecretString,
    token: Option<&SecretString>,
    ca_file: Option<&std::path::Path>,
    body: &Value,
) -> Result<(), String> {
    let url = Url::parse(url.expose_secret()).map_err(|e| format!("webhook: {e}"))?;
    let mut client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("vigie/", env!("CARGO_PKG_VERSION")))
        .timeout(ATTEMPT_TIME_MAX);
    if let Some(pem) = read(ca_file).await? {
        let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| format!("ca_file: {}", chain(&e)))?;
        client = found.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
    }
    let client = client.build().map_err(|e| chain(&e.without_url()))?;
    let id = body["id"].as_str().unwrap_or_default();
    let mut request = client.post(url.clone()).header("Idempotency-Key", id).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token.expose_secret());
    }
    let answer = request.send().await.map_err(|e| chain(&e.without_url()))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("{} answered {status}", url.host_str().unwrap_or("the webhook"))),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            let _ = write!(text, ": {inner_text}");
        }
        cause = inner.source();
    }
    text.replace(|c: char| c.is_control(), " ")
}

async fn read(file: Option<&std::path::Path>) -> Result<Option<Vec<u8>>, String> {
    let Some(file) = file.map(std::path::Path::to_owned) else { return Ok(None) };
    let path = file.clone();
    let bytes = platform::spawn_blocking(move || std::fs::read(path)).await;
    let bytes = bytes.unwrap_or_else(|e| Err(std::io::Error::other(e)));
    bytes.map(Some).map_err(|e| format!("ca_file {}: {e}", file.display()))
}

/// Subject and text of an e-mail.
pub(super) fn words(target: &AlarmTarget, zone: &TimeZone, notices: &[Notice], at: WallTime) -> (String, String) {
    let french = target.language == Language::French;
    let say = |fr: &'static str, en: &'static str| if french { fr } else { en };
    let time = |at: WallTime| zone.to_datetime(at.to_timestamp()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let heading = |news| match news {
        News::Began => say("Nouvelles alarmes", "New alarms"),
        News::Lasts => say("Toujours en cours, non acquittées", "Still active, not acknowledged"),
        News::Ended => say("Terminées", "Ended"),
    };
    let mut text = String::new();
    for news in [News::Began, News::Lasts, News::Ended] {
        let of_these: Vec<&Notice> = notices.iter().filter(|notice| notice.news == news).collect();
        if of_these.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{} ({})\n", heading(news), of_these.len());
        for notice in of_these.iter().take(WORDED_MAX) {
            let alarm = &notice.alarm;
            let place = place(&alarm.event.scope).map_or_else(String::new, |place| format!("{place}: "));
            let severity = alarm.severity.as_str();
            let began = time(alarm.began);
            let _ = writeln!(text, "- [{severity}] {place}{}", alarm.event.fact.words(target.language));
            let _ = writeln!(text, "  n° {}, {} {began}", alarm.id, say("depuis", "since"));
            if let Some(ended) = alarm.ended {
                let _ = writeln!(text, "  {} {}", say("jusqu'à", "until"), time(ended));
            }
        }
        if of_these.len() > WORDED_MAX {
            let _ = writeln!(text, "  {} {}", say("et d'autres :", "and more:"), of_these.len() - WORDED_MAX);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "Vigie, {}\nvigie alarms; vigie alarms ack N", time(at));
    (subject(target, notices), text)
}

/// One line: the worst of what is new, and how many there are.
fn subject(target: &AlarmTarget, notices: &[Notice]) -> String {
    let Some(first) = notices.first() else { return "Vigie".to_owned() };
    let place = place(&first.alarm.event.scope).map_or_else(String::new, |place| format!(" {place}"));
    let severity = first.alarm.severity.as_str();
    let what = match (first.news, target.language) {
        (News::Ended, Language::French) => "terminée",
        (News::Ended, Language::English) => "ended",
        _ => severity,
    };
    let more = match notices.len() {
        0 | 1 => String::new(),
        n => format!(" (+{})", n - 1),
    };
    let subject = format!("[Vigie] {what}: {}{place}{more}", first.alarm.kind);
    subject.replace(|c: char| c.is_control(), " ")
}

async fn send_mail(mail: &Mail, subject: &str, text: String) -> Result<(), String> {
    let address = |text: &str| text.parse::<Mailbox>().map_err(|e| format!("{text}: {e}"));
    let mut message = Message::builder().from(address(&mail.from)?).subject(subject);
    for to in &mail.to {
        message = message.to(address(to)?);
    }
    let message = message.header(header::ContentType::TEXT_PLAIN).message_id(None).body(text);
    let message = message.map_err(|e| chain(&e))?;
    let mut parameters = TlsParameters::builder(mail.host.clone());
    if let Some(pem) = read(mail.ca_file.as_deref()).await? {
        parameters = parameters.add_root_certificate(Certificate::from_pem(&pem).map_err(|e| chain(&e))?);
    }
    let parameters = || parameters.build_rustls().map_err(|e| chain(&e));
    let tls = match mail.tls {
        MailTls::Implicit => Tls::Wrapper(parameters()?),
        MailTls::StartTls => Tls::Required(parameters()?),
        MailTls::None => Tls::None,
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host)
        .port(mail.port)
        .tls(tls)
        .timeout(Some(ATTEMPT_TIME_MAX));
    if let Some((user, password)) = &mail.account {
        transport = transport.credentials(Credentials::new(user.clone(), password.expose_secret().to_owned()));
    }
    transport.build().send(message).await.map(|_| ()).map_err(|e| chain(&e))
}
