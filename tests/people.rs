//! A real gateway lets in persons by their acts: designated by command, shown footage within their scope, refused beyond
//! it, gone when revoked; with a catalogue that is taken away.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use catalogue::Roles;
use footage::units::{CameraKey, TimeRange, WallTime};
use reqwest::{Client, Response, StatusCode};
use testkit::camera::{self, Server};
use vigie::config::Config;
use vigie::demo;
use vigie::gateway::Gateway;

/// How long a condition may take to come true before the test gives up.
const PATIENCE: Duration = Duration::from_secs(40);
const TOWNS_TOKEN: &str = "the-town-s-own-token";

struct Rig {
    dir: tempfile::TempDir,
    config: Config,
    _server: Server,
}

impl Rig {
    async fn new() -> Self {
        let mut cameras = Vec::new();
        let mut simulated = Vec::new();
        for name in ["gate", "square"] {
            let mut camera = camera::demo_camera().unwrap();
            camera.path = name.to_owned();
            simulated.push(camera);
        }
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulated).await.unwrap();
        for name in ["gate", "square"] {
            cameras.push(demo::camera(name.parse().unwrap(), name, server.url(name)));
        }
        let dir = tempfile::tempdir().unwrap();
        let mut config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), dir.path(), cameras).unwrap();
        config.recording.tick = Duration::from_millis(20);
        config.recording.durability = Duration::from_millis(200);
        config.tenants[0].access_token = Some(TOWNS_TOKEN.into());
        Self { dir, config, _server: server }
    }

    /// A gateway that has recorded both cameras for five seconds, what of both, and the configuration for commands.
    async fn gateway(&self) -> (Gateway, TimeRange) {
        let gateway = Gateway::start(&self.config).await.unwrap();
        let [gate, square] = ["gate", "square"].map(|name| format!("demo/{name}").parse::<CameraKey>().unwrap());
        let index = &gateway.footage().index;
        let everything = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap();
        let recorded = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            loop {
                let of_gate = index.spans(&gate, everything).await.unwrap();
                let of_square = index.spans(&square, everything).await.unwrap();
                let both = of_gate.last().zip(of_square.last()).and_then(|(a, b)| a.intersection(b));
                if let Some(span) = both.filter(|span| span.duration().0 > 5 * 90_000) {
                    break span;
                }
                tick.tick().await;
            }
        };
        let span = tokio::time::timeout(PATIENCE, recorded).await.expect("five seconds are recorded");
        let tables: String = self.config.tenants[0]
            .cameras
            .iter()
            .map(|of| {
                format!(
                    "[[tenant.camera]]\nid = \"{0}\"\nname = \"{0}\"\nplace = \"{0}\"\nurl = \"{1}\"\n",
                    of.id, of.url
                )
            })
            .collect();
        let text = format!(
            "[http]\nlisten = \"{}\"\n[data]\ndir = {:?}\n[[tenant]]\nid = \"demo\"\naccess_token = \"{}\"\n{tables}",
            gateway.address(),
            self.dir.path(),
            TOWNS_TOKEN
        );
        std::fs::write(self.dir.path().join("vigie.toml"), text).unwrap();
        (gateway, span)
    }

    /// Its exit code and standard output, or standard error where it failed.
    async fn vigie(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigie"));
        command.args(arguments).arg("--config").arg(self.dir.path().join("vigie.toml")).env_remove("NOTIFY_SOCKET");
        // The gateway that it asks runs in this process.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let code = output.status.code().unwrap();
        let text = if code == 0 { output.stdout } else { output.stderr };
        (code, String::from_utf8(text).unwrap())
    }

    async fn done(&self, arguments: &[&str]) -> String {
        let (code, text) = self.vigie(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text
    }

    /// Designates somebody from yesterday on, with what is said beside, and gives what they present.
    async fn person(&self, id: &str, role: &str, more: &[&str]) -> String {
        let designate = ["people", "designate", id, "--name", "Marie Durand", "--role", role];
        let act = ["--act-authority", "le maire", "--act-number", "2026-117"];
        let dates = ["--act-date", "2026-01-05", "--act-until", "2999-12-31"];
        self.done(&[&designate[..], &act[..], &dates[..], more].concat()).await;
        self.done(&["people", "token", id, "--label", "desk"]).await.trim().to_owned()
    }
}

async fn get(gateway: &Gateway, token: &str, path: &str) -> Response {
    let url = format!("http://{}/api/{path}", gateway.address());
    Client::new().get(url).basic_auth("demo", Some(token)).send().await.unwrap()
}

fn clip_of(camera: &str, span: TimeRange) -> String {
    format!("cameras/{camera}/clip.mp4?start={}&end={}", span.start(), span.end())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_h1_persons_see_what_their_act_covers_until_it_is_revoked_and_the_journal_names_them() {
    let rig = Rig::new().await;
    let (gateway, span) = rig.gateway().await;
    assert_eq!(get(&gateway, TOWNS_TOKEN, "cameras").await.status(), StatusCode::OK);
    assert_eq!(get(&gateway, TOWNS_TOKEN, &clip_of("gate", span)).await.status(), StatusCode::FORBIDDEN);

    let marie = rig.person("marie", "supervisor", &["--camera", "gate"]).await;
    let url = format!("http://{}/api/me/reason", gateway.address());
    let reason = serde_json::json!({"reason": "PV 2026/117"});
    let stated = Client::new().put(url).basic_auth("demo", Some(&marie)).json(&reason).send().await.unwrap();
    assert_eq!(stated.status(), StatusCode::NO_CONTENT);
    let clip = get(&gateway, &marie, &clip_of("gate", span)).await;
    assert_eq!(clip.status(), StatusCode::OK);
    let bytes = clip.bytes().await.unwrap().len();
    assert!(bytes > 10_000);
    assert_eq!(get(&gateway, &marie, &clip_of("square", span)).await.status(), StatusCode::FORBIDDEN);

    // A live view shows what is filmed now, and its segments; with them alone nothing older.
    let live = rig.person("live", "operator", &["--no-recorded"]).await;
    let playlist = get(&gateway, &live, "cameras/gate/hls/live.m3u8").await;
    assert_eq!(playlist.status(), StatusCode::OK);
    let playlist = playlist.text().await.unwrap();
    let segment = playlist.lines().rfind(|line| !line.starts_with('#')).unwrap().to_owned();
    let of_gate = |name: &str| format!("cameras/gate/hls/{name}");
    assert_eq!(get(&gateway, &live, &of_gate(&segment)).await.status(), StatusCode::OK);
    let vod = of_gate(&format!("vod.m3u8?start={}&end={}", span.start(), span.end()));
    assert_eq!(get(&gateway, &live, &vod).await.status(), StatusCode::FORBIDDEN);
    // Without a live view that goes on, a segment is playback.
    let other = rig.person("other", "operator", &["--no-recorded"]).await;
    assert_eq!(get(&gateway, &other, &of_gate(&segment)).await.status(), StatusCode::FORBIDDEN);
    let recent = rig.person("recent", "operator", &["--no-live", "--back-hours", "1"]).await;
    assert_eq!(get(&gateway, &recent, &of_gate(&segment)).await.status(), StatusCode::OK);
    assert_eq!(get(&gateway, &recent, &of_gate("live.m3u8")).await.status(), StatusCode::FORBIDDEN);

    let list = rig.done(&["people", "list"]).await;
    assert!(list.contains("marie: Marie Durand, supervisor, in_force") && list.contains("used 20"), "{list}");
    assert!(!list.contains(&marie), "{list}");
    rig.done(&["people", "revoke", "marie"]).await;
    assert_eq!(get(&gateway, &marie, &clip_of("gate", span)).await.status(), StatusCode::UNAUTHORIZED);
    let (code, text) = rig.vigie(&["people", "token", "marie", "--label", "x"]).await;
    assert!(code == 1 && text.contains("no person marie"), "{code} {text}");
    let (code, text) = rig.vigie(&["people", "designate", "x", "--name", "X", "--role", "king"]).await;
    assert!(code == 2 && text.contains("--act-authority"), "{code} {text}");
    let act =
        ["--act-authority", "le maire", "--act-number", "7", "--act-date", "05/01/2026", "--act-until", "2026-12-31"];
    let designate = ["people", "designate", "x", "--name", "X", "--role", "operator"];
    let (code, text) = rig.vigie(&[&designate[..], &act[..]].concat()).await;
    assert!(code == 2 && text.contains("--act-date <YYYY-MM-DD>"), "{code} {text}");
    gateway.stop().await;

    let journal = rig.done(&["journal", "show", "demo"]).await;
    let of_marie: Vec<&str> = journal.lines().filter(|line| line.contains(r#""person":{"id":"marie""#)).collect();
    let act = r#""act":"2026-117 of 2026-01-05, le maire""#;
    assert!(of_marie.iter().all(|line| line.contains(act)), "{of_marie:#?}");
    for action in [r#""action":"access_begun""#, r#""action":"access_ended""#, r#""action":"denied""#] {
        assert!(of_marie.iter().any(|line| line.contains(action)), "{action}: {of_marie:#?}");
    }
    let ended = of_marie.iter().find(|line| line.contains("access_ended")).unwrap();
    assert!(ended.contains(&format!(r#""sent_bytes":{bytes}"#)), "{ended}");
    assert!(ended.contains(r#""reason":"PV 2026/117""#), "{ended}");
    assert_eq!(journal.lines().filter(|line| line.contains(r#""action":"person_revoked""#)).count(), 1);
    let (code, text) = rig.vigie(&["journal", "verify"]).await;
    assert_eq!(code, 0, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalogue_that_is_taken_away_lets_nobody_in_until_it_is_back_or_its_loss_is_accepted() {
    let rig = Rig::new().await;
    let (gateway, span) = rig.gateway().await;
    let marie = rig.person("marie", Roles::ALL_RIGHTS, &[]).await;
    gateway.stop().await;
    let catalogue = rig.dir.path().join("catalogue.sqlite");
    let kept = rig.dir.path().join("kept");
    std::fs::rename(&catalogue, &kept).unwrap();

    let (gateway, _) = rig.gateway().await;
    let refused = get(&gateway, &marie, &clip_of("gate", span)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem = refused.text().await.unwrap();
    assert!(problem.contains("catalogue") && !problem.contains(rig.dir.path().to_str().unwrap()), "{problem}");
    // Recording goes on, and the town's own token shows why.
    let alarmed = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while !get(&gateway, TOWNS_TOKEN, "alarms").await.text().await.unwrap().contains("catalogue_failed") {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, alarmed).await.expect("an alarm");
    let (code, text) = rig.vigie(&["people", "list"]).await;
    assert!(code == 1 && text.contains("catalogue"), "{code} {text}");
    let (code, text) = rig.vigie(&["people", "accept"]).await;
    assert!(code != 0 && text.contains("in use"), "{code} {text}");
    assert!(!catalogue.exists(), "none is made in its place");
    gateway.stop().await;

    std::fs::rename(&kept, &catalogue).unwrap();
    let (gateway, _) = rig.gateway().await;
    assert_eq!(get(&gateway, &marie, &clip_of("gate", span)).await.status(), StatusCode::OK);
    gateway.stop().await;

    std::fs::remove_file(&catalogue).unwrap();
    let said = rig.done(&["people", "accept"]).await;
    assert!(said.contains("no person is designated"), "{said}");
    let (gateway, _) = rig.gateway().await;
    assert_eq!(get(&gateway, &marie, "cameras").await.status(), StatusCode::UNAUTHORIZED);
    let again = rig.person("marie", Roles::ALL_RIGHTS, &[]).await;
    assert_eq!(get(&gateway, &again, &clip_of("gate", span)).await.status(), StatusCode::OK);
    let events = gateway.footage().index.all_events(0, 1_000).await.unwrap();
    let of_index = events.iter().find(|row| row.event.fact.kind() == "index_older");
    assert!(of_index.is_none(), "a command leaves the index as it was: {of_index:?}");
    gateway.stop().await;
    let journal = rig.done(&["journal", "show", "demo"]).await;
    assert!(journal.contains(r#""action":"catalogue_accepted""#), "{journal}");
}
