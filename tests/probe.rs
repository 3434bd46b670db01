//! `vigie probe` against simulated cameras.

use std::net::Ipv4Addr;
use std::process::Stdio;

use testkit::camera::{self, Server};
use tokio::process::Command;

const PASSWORD: &str = "pass word/é";

/// Runs it for a second; gives its exit code and all that it prints.
async fn probe(arguments: &[&str], password: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigie"));
    command.args(["probe", "--seconds", "1"]).args(arguments).env("CAMERA_PASSWORD", password).stdin(Stdio::null());
    let output = command.output().await.expect("it runs");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8(printed).expect("text");
    assert!(!printed.contains(PASSWORD), "{printed}");
    (output.status.code(), printed)
}

#[tokio::test]
async fn a_camera_is_looked_at_with_a_password_that_is_never_on_the_command_line() {
    let mut camera = camera::demo_camera().expect("the film of the demonstration");
    camera.credentials = Some(("viewer".to_owned(), PASSWORD.to_owned()));
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![camera]).await.expect("a server");
    let url = server.url("pedestrians").to_string();
    let with_password = [url.as_str(), "--username", "viewer", "--password-env", "CAMERA_PASSWORD"];
    let (code, printed) = probe(&with_password, PASSWORD).await;
    assert_eq!(code, Some(0), "{printed}");
    let lines =
        ["H.264 (avc3.", "key frames", "[[tenant.camera]]", &format!("url = \"{url}\""), "username = \"viewer\""];
    assert!(lines.iter().all(|line| printed.contains(line)), "{printed}");

    let (code, printed) = probe(&with_password, "another").await;
    assert_eq!(code, Some(77), "{printed}");
    assert!(printed.contains("check username and password"), "{printed}");

    let inside = url.replace("rtsp://", "rtsp://viewer:secret@");
    let (code, printed) = probe(&[&inside], "").await;
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("--username") && !printed.contains("secret"), "{printed}");
    assert_eq!(probe(&["ftp://127.0.0.1/"], "").await.0, Some(2));
}
