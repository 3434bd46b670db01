//! `vigie discover` and `vigie probe` against simulated ONVIF devices.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::SystemClock;
use testkit::onvif::{Login, OnvifQuirk, OnvifServer, SimulatedOnvif};
use tokio::net::UdpSocket;
use tokio::process::Command;
use vigie::config::{Config, Surroundings};

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
