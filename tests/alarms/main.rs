//! Alarms from an event to a real mail server and a real webhook.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use footage::clock::{Clock, SystemClock};
use footage::keys::Keys;
use footage::media::GapCause;
use footage::units::{CameraKey, TICKS_PER_DAY, TICKS_PER_SECOND, Ticks90k, WallTime};
use jiff::tz::TimeZone;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use vigie::alarm::Alarms;
use vigie::config::{AlarmTarget, Config, S3, Surroundings};
use vigie::event::{Event, Fact, Scope};
use vigie::index::{CameraRow, Change, Index};
use vigie::metrics::Sources;
use vigie::spool::Spool;
use vigie::status::{CameraState, DeviceClock, StatusBoard};
use vigie::store::Store;

#[path = "../support/certificate.rs"]
#[expect(dead_code, reason = "the tests of cameras need more of it")]
mod certificate;

/// How long a message may take to come before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The targets of a configuration with these tables.
fn targets(tables: &str) -> Vec<AlarmTarget> {
    let camera = |id: &str| format!("[[tenant.camera]]\nid = \"{id}\"\nplace = \"x\"\nurl = \"rtsp://192.0.2.1/\"\n");
    let tenant = |id: &str| {
        let token = format!("{id}-{id}-{id}-{id}-token");
        format!("[[tenant]]\nid = \"{id}\"\naccess_token = \"{token}\"\n{}", camera("c"))
    };
    let text = format!("{}{}{tables}", tenant("town"), tenant("other"));
    let around = Surroundings { variable: &|_| None, world_readable: false };
    Config::parse("vigie.toml", &text, &around).unwrap().config.alarms
}

/// An index, and what raises alarms from it and sends them.
struct Site {
    dir: tempfile::TempDir,
    index: Index,
    /// What each camera does, of which the alarms look at some.
    status: StatusBoard,
    stop: CancellationToken,
    running: Option<AbortOnDropHandle<()>>,
}

impl Site {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
        let town = (0..60).map(|n| format!("town/c{n}"));
        let named = ["town/place-mairie", "town/hall", "other/marked-camera"].map(str::to_owned);
        let camera = |name: String| CameraRow {
            key: name.parse().unwrap(),
            name,
            place: String::new(),
            configured: true,
            retention_max: Ticks90k(86_400 * TICKS_PER_SECOND),
            retention_min: Ticks90k::ZERO,
        };
        index.write(vec![Change::Configure(town.chain(named).map(camera).collect())]).await.unwrap();
        Self { dir, index, status: StatusBoard::default(), stop: CancellationToken::new(), running: None }
    }

    /// Starts what sends alarms to these targets; what was there of it ends.
    async fn send_to(&mut self, targets: Vec<AlarmTarget>) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
        self.stop = CancellationToken::new();
        let (sender, receiver) = watch::channel(targets);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let alarms =
            Alarms::new(self.index.clone(), clock.clone(), TimeZone::UTC, receiver).watching(self.sources(clock));
        let stop = self.stop.clone();
        self.running = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let _sender = sender;
            alarms.run(stop).await;
        })));
    }

    fn sources(&self, clock: Arc<dyn Clock>) -> Sources {
        let (spool, objects) = (self.dir.path().join("spool"), self.dir.path().join("store"));
        [&spool, &objects].into_iter().for_each(|folder| std::fs::create_dir_all(folder).unwrap());
        let store = Store::open(&url::Url::from_directory_path(&objects).unwrap(), &S3::default()).unwrap();
        let spool = Spool::new(&spool, store, self.index.clone(), clock.clone(), Keys::from_secret([7; 32]));
        Sources::new(self.index.clone(), spool, self.status.clone(), clock, 0)
    }

    /// A session of the camera plays, with a certificate that ends to be valid then.
    fn plays(&self, camera: &str, certificate_until: Option<WallTime>) {
        self.status.slot(&camera.parse().unwrap()).update(|status| {
            status.enter(CameraState::Recording, SystemClock::default().wall());
            status.certificate_until = certificate_until;
        });
    }

    async fn happens(&self, scope: Scope, fact: Fact) {
        let event = Event::new(SystemClock::default().wall(), scope, fact);
        self.index.write(vec![Change::Event(event)]).await.unwrap();
    }

    /// Before there is anything to raise: events are followed from here on.
    async fn follows(&self) {
        self.happens(Scope::Gateway, Fact::ClockBelieved).await;
        until("events to be followed", async || {
            let known = self.index.identities(vigie::index::identity::Kind::AlarmsFollowed).await.unwrap();
            !known.is_empty()
        })
        .await;
    }
}

fn camera(name: &str) -> Scope {
    Scope::Camera(name.parse::<CameraKey>().unwrap())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let waits = async {
        while !holds().await {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waits).await.is_ok(), "waited in vain for {what}");
}

/// What a webhook was sent: bearer token, idempotency key, body.
type Posted = (Option<String>, String, Value);

/// A webhook that gives these answers, then always 204.
struct Webhook {
    url: String,
    posted: mpsc::Receiver<Posted>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct WebhookState {
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
    posted: mpsc::Sender<Posted>,
}

impl Webhook {
    async fn answering(answers: &[u16]) -> Self {
        let answers = answers.iter().map(|code| StatusCode::from_u16(*code).unwrap()).collect();
        let (sender, posted) = mpsc::channel(64);
        let state = WebhookState { answers: Arc::new(Mutex::new(answers)), posted: sender };
        let take =
            async |State(state): State<WebhookState>, headers: HeaderMap, axum::Json(body): axum::Json<Value>| {
                let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
                let posted = (header("authorization"), header("idempotency-key").unwrap_or_default(), body);
                state.posted.send(posted).await.unwrap();
                state.answers.lock().await.pop_front().unwrap_or(StatusCode::NO_CONTENT)
            };
        let router = axum::Router::new().route("/alarms", axum::routing::post(take)).with_state(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/alarms", listener.local_addr().unwrap());
        let serving = AbortOnDropHandle::new(tokio::spawn(async move {
            vigie::http::serve(listener, router, vigie::http::ServeLimits::default(), std::future::pending()).await;
        }));
        Self { url, posted, _serving: serving }
    }

    async fn next(&mut self) -> Posted {
        tokio::time::timeout(PATIENCE, self.posted.recv()).await.expect("a message comes").unwrap()
    }
}

fn kinds(body: &Value) -> Vec<(String, String)> {
    let word = |alarm: &Value, name: &str| alarm[name].as_str().unwrap_or_default().to_owned();
    body["alarms"].as_array().unwrap().iter().map(|alarm| (word(alarm, "kind"), word(alarm, "news"))).collect()
}

#[tokio::test]
async fn a_webhook_that_fails_first_gets_each_alarm_once_and_its_end() {
    let mut webhook = Webhook::answering(&[500]).await;
    let mut site = Site::new().await;
    let table = format!(
        "[[alarm]]\nid = \"watch\"\nwebhook = \"{}\"\nwebhook_token = \"a-token-of-the-tests\"\nwait_seconds = 0\n\
         language = \"en\"\n",
        webhook.url
    );
    site.send_to(targets(&table)).await;
    site.follows().await;
    // Many cameras at once are one message.
    for n in 0..60 {
        site.happens(camera(&format!("town/c{n}")), Fact::ConnectionLost { cause: GapCause::Silent }).await;
    }
    let (token, id, body) = webhook.next().await;
    assert_eq!(token.as_deref(), Some("Bearer a-token-of-the-tests"));
    assert_eq!((body["version"].as_i64(), body["target"].as_str()), (Some(1), Some("watch")));
    assert_eq!(kinds(&body).len(), 60);
    assert_eq!(kinds(&body)[0], ("camera_not_recorded".to_owned(), "began".to_owned()));

    // The answer was an error: the same is sent again, under the same id, and that it was not is an alarm of its own.
    let (_, again, body) = webhook.next().await;
    assert_eq!((again, kinds(&body).len()), (id, 60));
    let all = site.index.all_alarms(100).await.unwrap();
    assert!(all.iter().any(|alarm| alarm.kind == "alarm_not_delivered"), "{all:?}");

    // A start repeats nothing and goes on where the last run stopped.
    until("what was sent to be known", async || site.index.notices().await.unwrap().len() >= 60).await;
    site.send_to(targets(&table)).await;
    site.happens(camera("town/c7"), Fact::Recording).await;
    let mut ended = Vec::new();
    while !ended.contains(&("camera_not_recorded".to_owned(), "ended".to_owned())) {
        ended = kinds(&webhook.next().await.2);
        assert!(!ended.contains(&("camera_not_recorded".to_owned(), "began".to_owned())), "{ended:?}");
    }
}

#[tokio::test]
async fn a_tenants_webhook_gets_nothing_of_another_tenant_and_nothing_of_the_operators() {
    let mut webhook = Webhook::answering(&[]).await;
    let mut site = Site::new().await;
    let table = format!(
        "[[alarm]]\nid = \"town\"\ntenant = \"town\"\nwebhook = \"{}\"\nwait_seconds = 0\nmin_severity = \"warning\"\n",
        webhook.url
    );
    site.send_to(targets(&table)).await;
    site.follows().await;
    site.happens(camera("other/marked-camera"), Fact::ConnectionLost { cause: GapCause::Silent }).await;
    site.happens(Scope::Gateway, Fact::StoreMissing { store: Some("marked-store".to_owned()) }).await;
    site.happens(Scope::Gateway, Fact::StoreAway { store: Some("marked-store".to_owned()) }).await;
    site.happens(camera("town/hall"), Fact::ConnectionLost { cause: GapCause::Silent }).await;
    let (_, _, body) = webhook.next().await;
    assert!(!body.to_string().contains("marked"), "{body}");
    let cameras: Vec<_> = body["alarms"].as_array().unwrap().iter().map(|alarm| alarm["camera"].clone()).collect();
    assert!(cameras.contains(&Value::from("hall")), "{body}");
}

/// aiosmtpd with STARTTLS and an account.
struct MailServer {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).unwrap_or_default();
    cache.join("vigie/aiosmtpd/bin/python3")
}

impl MailServer {
    /// Its certificate and key go to this file.
    async fn start(pem: &Path) -> Self {
        certificate::make(pem, "DNS:localhost");
        let mut process = Command::new(python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/alarms/smtp_server.py"))
            .arg(pem)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("aiosmtpd (see .ci/setup)");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it starts").unwrap().unwrap();
        Self { _process: process, lines, port: port.parse().unwrap() }
    }

    async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("a message comes");
        serde_json::from_str(&line.unwrap().unwrap()).unwrap()
    }

    fn table(&self, pem: &Path, password: &str) -> String {
        format!(
            "[[alarm]]\nid = \"mail\"\nsmtp_host = \"localhost\"\nsmtp_port = {}\nsmtp_user = \"vigie\"\n\
             smtp_password = \"{password}\"\nca_file = \"{}\"\nmail_from = \"Vigie <vigie@example.org>\"\n\
             mail_to = [\"night@example.org\", \"Chef de poste <chef@example.org>\"]\nwait_seconds = 0\n",
            self.port,
            pem.display()
        )
    }
}

#[tokio::test]
async fn a_mail_comes_over_starttls_in_french_with_what_is_wrong_in_its_subject() {
    let mut site = Site::new().await;
    let pem = site.dir.path().join("mail.pem");
    let mut server = MailServer::start(&pem).await;
    site.send_to(targets(&server.table(&pem, "a pass word"))).await;
    site.follows().await;
    site.happens(camera("town/place-mairie"), Fact::ConnectionLost { cause: GapCause::Silent }).await;
    let mail = server.next().await;
    assert_eq!(mail["tls"], true);
    assert_eq!(mail["from"], "vigie@example.org");
    assert_eq!(mail["to"], serde_json::json!(["night@example.org", "chef@example.org"]));
    assert_eq!(mail["subject"], "[Vigie] warning: camera_not_recorded town/place-mairie");
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("Nouvelles alarmes (1)") && text.contains("town/place-mairie"), "{text}");

    site.happens(camera("town/place-mairie"), Fact::Recording).await;
    let mail = server.next().await;
    assert!(mail["subject"].as_str().unwrap().contains("terminée"), "{mail}");
}

#[tokio::test]
async fn a_mail_server_that_refuses_the_account_is_an_alarm_and_its_password_is_said_nowhere() {
    let mut site = Site::new().await;
    let pem = site.dir.path().join("mail.pem");
    let server = MailServer::start(&pem).await;
    let wrong = targets(&server.table(&pem, "a-wrong-pass-word"));
    let delivery = vigie::alarm::deliver::Delivery::new(wrong[0].clone(), TimeZone::UTC);
    let at = SystemClock::default().wall();
    let why = delivery.send(&[], at).await.unwrap_err();
    assert!(why.contains("535") && !why.contains("a-wrong-pass-word"), "{why}");

    site.send_to(wrong).await;
    site.follows().await;
    site.happens(camera("town/hall"), Fact::ConnectionLost { cause: GapCause::Silent }).await;
    until("an alarm that mail is not delivered", async || {
        site.index.open_alarms().await.unwrap().iter().any(|alarm| alarm.kind == "alarm_not_delivered")
    })
    .await;
    assert!(site.index.notices().await.unwrap().is_empty(), "nothing counts as sent");
}

#[tokio::test]
async fn a_target_that_is_reached_again_after_a_restart_or_is_removed_is_no_alarm_any_more() {
    let mut webhook = Webhook::answering(&[503]).await;
    let mut site = Site::new().await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let of = |id: &str, url: &str| format!("[[alarm]]\nid = \"{id}\"\nwebhook = \"{url}\"\nwait_seconds = 0\n");
    let (alive, mute) = (of("alive", &webhook.url), of("mute", &format!("http://{}/", dead.local_addr().unwrap())));
    drop(dead);
    site.send_to(targets(&format!("{alive}{mute}"))).await;
    site.follows().await;
    site.happens(camera("town/hall"), Fact::ConnectionLost { cause: GapCause::Silent }).await;
    let not_delivered = async |site: &Site| {
        let open = site.index.open_alarms().await.unwrap().into_iter().filter(|alarm| alarm.ended.is_none());
        open.filter(|alarm| alarm.kind == "alarm_not_delivered").count()
    };
    until("both not to be reached", async || not_delivered(&site).await == 2).await;
    // Started again, without the one that nobody answers for.
    site.send_to(targets(&alive)).await;
    webhook.next().await;
    until("none to be said not to be reached", async || not_delivered(&site).await == 0).await;
}

#[tokio::test]
async fn a_certificate_that_runs_out_is_sent_to_its_tenant_and_its_renewal_too() {
    let mut webhook = Webhook::answering(&[]).await;
    let mut site = Site::new().await;
    let target = format!("[[alarm]]\nid = \"town\"\ntenant = \"town\"\nwebhook = \"{}\"\n", webhook.url);
    let in_days = |days| Some(SystemClock::default().wall().saturating_add(Ticks90k(days * TICKS_PER_DAY)));
    site.plays("town/hall", in_days(10));
    site.plays("town/c0", in_days(300));
    site.plays("town/c1", None);
    site.plays("other/marked-camera", in_days(1));
    site.send_to(targets(&target)).await;
    let body = webhook.next().await.2;
    assert_eq!(kinds(&body), [("certificate_ends".to_owned(), "began".to_owned())]);
    let text = body.to_string();
    assert!(text.contains("\"hall\"") && text.contains("dans 9 jours") && !text.contains("marked"), "{text}");
    until("what was sent to be kept", async || !site.index.notices().await.unwrap().is_empty()).await;
    site.plays("town/hall", in_days(300));
    // It is looked at when alarms start.
    site.send_to(targets(&target)).await;
    assert_eq!(kinds(&webhook.next().await.2), [("certificate_ends".to_owned(), "ended".to_owned())]);
}

#[tokio::test]
async fn a_clock_that_is_off_is_sent_to_its_tenant_and_that_it_is_right_too() {
    let mut webhook = Webhook::answering(&[]).await;
    let mut site = Site::new().await;
    let target = format!("[[alarm]]\nid = \"town\"\ntenant = \"town\"\nwebhook = \"{}\"\n", webhook.url);
    let compared = |site: &Site, of: &str, offset_s: i64| {
        let (offset, bound) = (Ticks90k(offset_s * 90_000), Ticks90k(45_000));
        let clock = DeviceClock::Compared { offset, bound, at: WallTime(0), is_off: offset_s != 0 };
        site.status.slot(&of.parse().unwrap()).update(|status| status.device_clock = clock);
    };
    compared(&site, "town/hall", -90);
    compared(&site, "town/c0", 0);
    compared(&site, "other/marked-camera", 7);
    site.send_to(targets(&target)).await;
    let body = webhook.next().await.2;
    assert_eq!(kinds(&body), [("camera_clock_off".to_owned(), "began".to_owned())]);
    let text = body.to_string();
    assert!(text.contains("\"hall\"") && text.contains("décalée de -90.000 s") && !text.contains("marked"), "{text}");
    until("what was sent to be kept", async || !site.index.notices().await.unwrap().is_empty()).await;
    compared(&site, "town/hall", 0);
    // It is looked at when alarms start.
    site.send_to(targets(&target)).await;
    assert_eq!(kinds(&webhook.next().await.2), [("camera_clock_off".to_owned(), "ended".to_owned())]);
}

#[tokio::test]
async fn a_camera_whose_cuts_are_each_too_short_to_be_sent_is_sent_as_unsteady() {
    let mut webhook = Webhook::answering(&[]).await;
    let mut site = Site::new().await;
    let target = format!("[[alarm]]\nid = \"duty\"\nwait_seconds = 600\nwebhook = \"{}\"\n", webhook.url);
    site.plays("town/hall", None);
    site.plays("town/c0", None);
    site.send_to(targets(&target)).await;
    site.follows().await;
    for (name, cuts) in [("town/hall", 6), ("town/c0", 5)] {
        for _ in 0..cuts {
            site.happens(camera(name), Fact::ConnectionLost { cause: GapCause::Disconnected }).await;
            site.happens(camera(name), Fact::Recording).await;
        }
    }
    until("the cuts to be over", async || {
        let known = site.index.all_alarms(100).await.unwrap();
        known.iter().filter(|alarm| alarm.ended.is_some()).count() == 11
    })
    .await;
    // They are counted when alarms start.
    site.send_to(targets(&target)).await;
    let body = webhook.next().await.2;
    assert_eq!(kinds(&body), [("camera_unsteady".to_owned(), "began".to_owned())]);
    assert!(body.to_string().contains("\"hall\""), "{body}");
}

#[tokio::test]
async fn a_trial_by_the_command_reaches_the_target_and_a_target_that_does_not_answer_is_an_error() {
    let mut webhook = Webhook::answering(&[]).await;
    let site = Site::new().await;
    let config = site.dir.path().join("vigie.toml");
    let url = site.dir.path().join("url");
    // The address is a secret of its own.
    std::fs::write(&url, format!("{}\n", webhook.url)).unwrap();
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let text = format!(
        "[[tenant]]\nid = \"town\"\n[[tenant.camera]]\nid = \"c\"\nplace = \"x\"\nurl = \"rtsp://192.0.2.1/\"\n\
         [[alarm]]\nid = \"good\"\nwebhook = {{ file = \"{}\" }}\n[[alarm]]\nid = \"bad\"\nwebhook = \"http://{refused}/word-of-mouth\"\n",
        url.display()
    );
    std::fs::write(&config, text).unwrap();
    let test = async |target: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigie"));
        let command = command.args(["--log", "error", "alarms", "--config"]).arg(&config).args(["test", target]);
        let output = command.output().await.unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (done, text) = test("good").await;
    assert!(done && text.contains("the trial message was accepted"), "{text}");
    assert_eq!(kinds(&webhook.next().await.2), [("trial".to_owned(), "began".to_owned())]);
    let (done, text) = test("bad").await;
    assert!(!done && text.contains("Connection refused") && !text.contains("word-of-mouth"), "{text}");
}
