//! `vigie discover`, `vigie probe` and a gateway against simulated ONVIF devices.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::{Clock, SystemClock};
use footage::units::Ticks90k;
use onvif::NotificationKind;
use serde_json::Value;
use testkit::camera::{self, Server};
use testkit::onvif::{Login, Notice, NoticeKind, OnvifQuirk, OnvifServer, SimulatedOnvif};
use tokio::net::UdpSocket;
use tokio::process::Command;
use vigie::config::{CameraTls, Config, OnvifConfig, Surroundings};
use vigie::demo;
use vigie::gateway::Gateway;

const PASSWORD: &str = "pass word/é";

async fn server(quirk: OnvifQuirk) -> OnvifServer {
    let device = SimulatedOnvif { login: Login::Sha256, quirk, ..SimulatedOnvif::new() };
    let clock = Arc::new(SystemClock::default());
    OnvifServer::start((Ipv4Addr::LOCALHOST, 0).into(), device, clock).await.expect("a server")
}

/// Runs it; gives its exit code and all that it prints, which never holds the password.
async fn vigie(arguments: &[&str], password: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigie"));
    command.args(arguments).env("CAMERA_PASSWORD", password).stdin(Stdio::null());
    let output = command.output().await.expect("it runs");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8(printed).expect("text");
    assert!(!printed.contains(PASSWORD), "{printed}");
    (output.status.code(), printed)
}

fn assert_holds(printed: &str, words: &[&str]) {
    for word in words {
        assert!(printed.contains(word), "no {word:?} in\n{printed}");
    }
}

/// The lines for the configuration are ones that it takes.
fn assert_is_configuration(printed: &str) {
    let (_, lines) = printed.split_once("for the configuration\n").expect("lines for the configuration");
    let lines: String =
        lines.lines().take_while(|line| !line.is_empty()).flat_map(|l| [l.trim_start(), "\n"]).collect();
    // The file of the password is the operator's to write.
    let lines = lines.replace("{ file = \"/etc/vigie/camera-1.password\" }", "{ env = \"CAMERA_PASSWORD\" }");
    let text = format!("[data]\ndir = \"/var/lib/vigie\"\n[[tenant]]\nid = \"town\"\n{lines}");
    let variable = |name: &str| (name == "CAMERA_PASSWORD").then(|| PASSWORD.to_owned());
    let around = Surroundings { variable: &variable, world_readable: false };
    let loaded = Config::parse("vigie.toml", &text, &around).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let camera = &loaded.config.tenants[0].cameras[0];
    let onvif = camera.onvif.as_ref().expect("a device service");
    assert_eq!(onvif.username.as_deref(), Some("operator"), "the camera's own user");
    assert_eq!(onvif.clock_offset_max, Some(Duration::from_secs(5)));
    assert_eq!(onvif.backfill, None, "nothing is fetched unless it is asked for");
}

#[tokio::test]
async fn a_device_service_is_looked_at_with_its_clock_its_profiles_and_the_lines_to_configure_it() {
    let server = server(OnvifQuirk::PrivateAddress).await;
    server.set_clock_offset(Duration::from_secs(90), false);
    // The usual path goes without saying.
    let url = format!("http://{}", server.address());
    let with_password = ["probe", url.as_str(), "--username", "operator", "--password-env", "CAMERA_PASSWORD"];
    let (code, printed) = vigie(&with_password, PASSWORD).await;
    assert_eq!(code, Some(0), "{printed}");
    let words = [
        "Vigie Simulated, firmware 1.2.3 & more, serial number 0001",
        "s from this machine's, within",
        "set an NTP server",
        "profiles (Media2)",
        "main: H265, 1920x1080, 25 pictures a second, 4.1 Mb/s, a key frame every 50 pictures",
        "rtsp://127.0.0.1:554/stream1?profile=1&unicast=true (the device names the host 10.77.0.5)",
        "sound: no video",
        &format!("picture http://{}/onvif/snapshot (the", server.address().ip()),
    ];
    assert_holds(&printed, &words);
    assert_is_configuration(&printed);

    let asked = server.requests().len();
    let (code, printed) = vigie(&with_password, "another").await;
    assert_eq!(code, Some(77), "{printed}");
    let wrong = server.requests()[asked..].iter().filter(|request| request.with_login).count();
    assert_eq!(wrong, 1, "devices lock accounts");
    assert_holds(&printed, &["check username and password"]);
    // Without a user a device says what anybody may know.
    let (code, printed) = vigie(&["probe", &url], "").await;
    assert_eq!(code, Some(0), "{printed}");
    assert_holds(&printed, &["the device asks for a user", "s from this machine's"]);
}

#[tokio::test]
async fn a_device_that_is_none_is_an_error() {
    let bomb = server(OnvifQuirk::EntityBomb).await;
    let (code, printed) = vigie(&["probe", &bomb.url()], "").await;
    assert_eq!(code, Some(2), "{printed}");
    assert_holds(&printed, &["declares a document type"]);
    let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    let url = format!("http://{}/onvif/device_service", closed.expect("an address"));
    let (code, printed) = vigie(&["probe", &url], "").await;
    assert_eq!(code, Some(75), "{printed}");
    let (code, printed) = vigie(&["probe", "http://operator:secret@127.0.0.1/"], "").await;
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("--username") && !printed.contains("secret"), "{printed}");
}

#[tokio::test]
async fn devices_are_listed_and_with_a_user_asked_what_they_can_send() {
    let server = server(OnvifQuirk::None).await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let to = socket.local_addr().expect("an address").to_string();
    server.answer_on(socket);
    let ask = ["discover", "--seconds", "1", "--to", &to];
    let (code, printed) = vigie(&ask, "").await;
    assert_eq!(code, Some(0), "{printed}");
    let port = server.address().port();
    assert_eq!(printed, format!("127.0.0.1  {}  Simulated {port}, Place de la Mairie\n", server.url()));
    assert_eq!(server.requests(), [], "nobody is asked anything without a user");

    let user = ["--username", "operator", "--password-env", "CAMERA_PASSWORD"];
    let (code, printed) = vigie(&[&ask[..], &user].concat(), PASSWORD).await;
    assert_eq!(code, Some(0), "{printed}");
    assert_holds(&printed, &["Vigie Simulated", "main: H265", "place = \"Place de la Mairie\""]);
    assert_is_configuration(&printed);

    let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let to = nobody.local_addr().expect("an address").to_string();
    let (code, printed) = vigie(&["discover", "--seconds", "1", "--to", &to], "").await;
    assert_eq!(code, Some(66), "{printed}");
    assert_holds(&printed, &["no device answered", "--from"]);
}

/// Asks the gateway until the answer is as wanted, and gives it.
async fn until(gateway: &Gateway, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    let url = format!("http://{}{path}", gateway.address());
    let asking = async {
        loop {
            let answer = reqwest::get(&url).await.expect("an answer");
            let value: Value = answer.json().await.expect("JSON");
            if is(&value) {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.unwrap_or_else(|_| panic!("{path} is never so"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_records_compares_and_gathers_and_a_hostile_device_hurts_no_other() {
    let film = camera::demo_camera().expect("the film of the demonstration");
    let cameras = Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![film]).await.expect("a server");
    let (device, hostile) = (server(OnvifQuirk::None).await, server(OnvifQuirk::Deep).await);
    device.set_clock_offset(Duration::from_secs(90), true);
    let of = |id: &str, url: String| {
        let mut camera = demo::camera(id.parse().expect("a name"), id, cameras.url("pedestrians"));
        camera.onvif = Some(OnvifConfig {
            url: url.parse().expect("a url"),
            tls: CameraTls::System,
            username: Some("operator".to_owned()),
            password: Some(PASSWORD.to_owned().into()),
            clock_offset_max: Some(OnvifConfig::CLOCK_OFFSET_MAX),
            events: [NotificationKind::Tampering].into(),
            events_legal_basis: Some("a text".to_owned()),
            backfill: None,
        });
        camera
    };
    let dir = tempfile::tempdir().expect("a folder");
    let both = vec![of("gate", device.url()), of("yard", hostile.url())];
    let mut config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), dir.path(), both).expect("a configuration");
    let mut gateway = Gateway::start(&config).await.expect("a gateway");

    let gate = until(&gateway, "/api/cameras/gate", |camera| camera["status"]["device_clock"].is_object()).await;
    let clock = &gate["status"]["device_clock"];
    let off = clock["offset_ms"].as_i64().expect("a number") - 90_000;
    assert!(off.abs() <= clock["bound_ms"].as_i64().expect("a number") && clock["is_off"] == true, "{clock}");

    while device.subscriber_count() == 0 {
        tokio::task::yield_now().await;
    }
    for kind in [NoticeKind::Motion, NoticeKind::SceneChange] {
        device.notice(&Notice::changed(kind, true));
    }
    let now = SystemClock::default().wall();
    let day = Ticks90k::from_duration(Duration::from_secs(43_200));
    let range = format!("start={}&end={}", now.saturating_sub(day), now.saturating_add(day));
    let path = format!("/api/cameras/gate/occurrences?{range}");
    let told =
        until(&gateway, &path, |answer| answer["occurrences"].as_array().is_some_and(|all| !all.is_empty())).await;
    assert_eq!(told["occurrences"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(
        (&told["occurrences"][0]["kind"], &told["occurrences"][0]["active"]),
        (&"tampering".into(), &true.into())
    );

    // What the hostile one answers is said to the operator; both are recorded.
    let status = until(&gateway, "/operator/status", |status| {
        status["cameras"]["recording"] == 2 && status["devices"].as_array().is_some_and(|all| all.len() == 2)
    })
    .await;
    assert!(status["devices"].to_string().contains("too many elements inside one another"), "{status}");
    assert!(!status.to_string().contains(PASSWORD) && !status["devices"].to_string().contains("demo/gate"), "{status}");

    // Not configured any more: the device is let go, and recording goes on.
    for camera in &mut config.tenants[0].cameras {
        camera.onvif = None;
    }
    let changes = gateway.reload(&config).await.expect("taken over");
    assert_eq!((changes.kept, changes.restarted), (2, 0));
    until(&gateway, "/api/cameras/gate", |camera| camera["status"]["device_clock"].is_null()).await;
    while device.subscriber_count() > 0 {
        tokio::task::yield_now().await;
    }
    let last = until(&gateway, &path, |answer| answer["occurrences"].is_array()).await;
    assert_eq!(last, told, "what was kept stays for its time");
    gateway.stop().await;
    let journal =
        std::fs::read_dir(dir.path().join("journal/demo/content")).expect("a journal").next().expect("a file");
    let journal = std::fs::read_to_string(journal.expect("a name").path()).expect("its entries");
    let gathered = journal.lines().filter(|line| line.contains("\"legal_basis\":\"a text\"")).count();
    assert_eq!(gathered, 1, "at the start, and not after the reload: {journal}");
}
