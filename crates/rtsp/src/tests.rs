//! What operators read when a camera fails.

mod camera;
mod makes;
mod odd;
mod peer;
mod replay;
mod wire;

use std::io;
use std::time::Duration;

use super::direct::SetupError;
use super::failure::SessionEnd;
use super::*;
use footage::media::GapCause;

fn config(url: &str) -> RtspConfig {
    RtspConfig {
        camera: "ville/entree".parse().expect("a camera key"),
        url: url.parse().expect("a url"),
        tls: TlsTrust::System,
        username: Some("operateur".to_owned()),
        password: Some("s3cret/é".to_owned().into()),
        transport: Transport::Tcp,
        audio: false,
        silence_max: Duration::from_secs(10),
        setup_timeout: Duration::from_secs(5),
    }
}

/// A failure, against the cause and words that the operator's line must hold.
fn check(error: &SetupError, cause: GapCause, words: &[&str]) {
    assert_says(&Failures::new(&config("rtsp://camera.lan/stream")).of(error), cause, words);
}

fn assert_says(error: &SourceError, cause: GapCause, words: &[&str]) {
    assert_eq!(error.cause, cause, "{error}");
    for word in words {
        assert!(error.detail.contains(word), "no {word:?} in {:?}", error.detail);
    }
    assert_presentable(&error.detail);
}

fn status(request: &'static str, status: u16, reason: &str) -> SetupError {
    SetupError::Status { request, status, reason: reason.to_owned() }
}

fn assert_presentable(detail: &str) {
    assert!(!detail.contains('\n') && detail.chars().count() <= 300, "{detail:?} is not one short line");
    for secret in ["s3cret", "hunter2"] {
        assert!(!detail.contains(secret), "{detail:?} shows a password");
    }
}

#[test]
fn failures_to_connect_say_what_to_check() {
    let cause = GapCause::ConnectFailed;
    let connect = |text: &str| SetupError::Connect(io::Error::other(text.to_owned()));
    let unknown = "failed to lookup address information: Name or service not known";
    check(&connect(unknown), cause, &["camera.lan:554", "DNS"]);
    check(&connect("Connection refused (os error 111)"), cause, &["camera.lan:554", "port"]);
    check(&connect("No route to host (os error 113)"), cause, &["power and network"]);
    check(&SetupError::Unreachable, cause, &["power and network"]);
}

#[test]
fn refused_credentials_name_the_user_and_not_the_password() {
    let words = ["operateur", "401 to DESCRIBE", "Unauthorized", "check username and password"];
    check(&status("DESCRIBE", 401, "Unauthorized"), GapCause::Unauthorized, &words);
    check(&status("PLAY", 403, "Forbidden"), GapCause::Unauthorized, &["403 to PLAY"]);
    check(&SetupError::Challenge { request: "DESCRIBE" }, GapCause::Unauthorized, &["digest"]);
}

#[test]
fn a_camera_that_wants_a_user_where_none_is_configured_says_so() {
    let config = RtspConfig { username: None, password: None, ..config("rtsp://camera.lan/") };
    let error = Failures::new(&config).of(&status("DESCRIBE", 401, "Unauthorized"));
    assert_says(&error, GapCause::Unauthorized, &["set username and password"]);
}

#[test]
fn answers_that_are_no_success_are_protocol_errors_with_advice() {
    for (code, word) in [(404, "path"), (453, "viewers"), (461, "transport"), (503, "viewers"), (500, "500")] {
        check(&status("SETUP", code, "No"), GapCause::ProtocolError, &[word, "SETUP"]);
    }
    let elsewhere = SetupError::MovedElsewhere { request: "DESCRIBE", to: "rtsp://u:hunter2@10.0.0.9/x".to_owned() };
    check(&elsewhere, GapCause::ProtocolError, &["redirects DESCRIBE to rtsp://10.0.0.9/…"]);
    check(&SetupError::MovedTooOften, GapCause::ProtocolError, &["circles"]);
    check(&SetupError::NoStream, GapCause::UnsupportedMedia, &["path"]);
}

#[test]
fn connections_that_end_are_distinguished_from_those_that_fall_silent() {
    let failures = Failures::new(&config("rtsp://camera.lan/stream"));
    let io = |kind: io::ErrorKind, text: &str| SessionEnd::Io(io::Error::new(kind, text.to_owned()));
    let reset = io(io::ErrorKind::ConnectionReset, "Connection reset by peer (os error 104)");
    assert_says(&failures.end(reset), GapCause::Disconnected, &["reset by peer"]);
    let timed_out = io(io::ErrorKind::TimedOut, "Connection timed out (os error 110)");
    assert_says(&failures.end(timed_out), GapCause::Silent, &[]);
    assert_says(&failures.end(SessionEnd::CutOff), GapCause::Disconnected, &["middle of a message"]);
    check(&SetupError::Closed { request: "SETUP" }, GapCause::Disconnected, &["closed", "answering SETUP"]);
}

#[test]
fn passwords_in_urls_and_texts_are_never_shown() {
    let cause = GapCause::ProtocolError;
    for url in [
        "rtsp://root:hunter2@10.0.0.2:8554/stream",
        "rtsp://root:hun/hunter2@10.0.0.2:8554/stream",
        "rtsp://10.0.0.2:8554/user=root&password=hunter2&channel=1",
        "rtsp://10.0.0.2:8554?password=hunter2",
    ] {
        check(&status("SETUP", 500, &format!("Bad control \"{url}\": no")), cause, &["rtsp://10.0.0.2:8554/…\": no"]);
        check(&status("SETUP", 500, &format!("see {url}")), cause, &["see rtsp://10.0.0.2:8554/…"]);
    }
    check(&status("SETUP", 500, "Bad header s3cret/é, sorry"), cause, &["Bad header ***, sorry"]);
}

#[test]
fn credentials_in_the_url_are_not_sent_and_not_shown() {
    let config = config("rtsp://root:hunter2@camera.lan/ch?channel=1&subtype=0");
    let source = RtspSource::new(config, Arc::new(footage::clock::SystemClock::default()), SessionGroup::default());
    assert_eq!(source.config.url.as_str(), "rtsp://camera.lan/ch?channel=1&subtype=0");
    let shown = format!("{source:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn what_a_camera_writes_is_cut_and_stripped() {
    let long = format!("{}\u{1b}[31m", "é".repeat(4_000));
    check(&status("DESCRIBE", 500, &long), GapCause::ProtocolError, &["é"]);
    assert_eq!(failure::clean("a\u{1b}[31m\tb", 80), "a [31m b");
}
