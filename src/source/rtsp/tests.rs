//! What operators read when a camera fails. The left-hand texts are retina's own, as it printed them.

mod peer;
mod wire;

use std::time::Duration;

use super::*;
use crate::media::GapCause;

fn config(url: &str) -> RtspConfig {
    RtspConfig {
        camera: "ville/entree".parse().expect("a camera key"),
        url: url.parse().expect("a url"),
        username: Some("operateur".to_owned()),
        password: Some("s3cret/é".to_owned().into()),
        transport: Transport::Tcp,
        audio: false,
        silence_max: Duration::from_secs(10),
        setup_timeout: Duration::from_secs(5),
    }
}

/// retina's text and status, against the cause and words that the operator's line must hold.
fn check(text: &str, status: Option<u16>, cause: GapCause, words: &[&str]) {
    let error = Failures::new(&config("rtsp://camera.lan/stream")).of_text(text, status, "SETUP");
    assert_eq!(error.cause, cause, "{text:?} became {error}");
    for word in words {
        assert!(error.detail.contains(word), "no {word:?} in {:?}", error.detail);
    }
    assert_presentable(&error.detail);
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
    let unknown = "Unable to connect to RTSP server: failed to lookup address information: Name or service not known";
    check(unknown, None, cause, &["camera.lan:554", "DNS"]);
    let refused = "Unable to connect to RTSP server: Connection refused (os error 111)";
    check(refused, None, cause, &["camera.lan:554", "port"]);
    check("Unable to connect to RTSP server: No route to host (os error 113)", None, cause, &["power and network"]);
}

#[test]
fn refused_credentials_name_the_user_and_not_the_password() {
    let text = "401 response to DESCRIBE CSeq=2: Received Unauthorized after trying digest auth\n\n\
                conn: 10.0.0.1:4242(me)->10.0.0.2:554@2026-11-20T10:00:00+00:00\nmsg: 120@2026-11-20T10:00:00+00:00";
    let words = ["operateur", "401 to SETUP", "after trying digest auth", "check username and password"];
    check(text, Some(401), GapCause::Unauthorized, &words);
    check("403 response to PLAY CSeq=3: Unexpected RTSP response status", Some(403), GapCause::Unauthorized, &["403"]);
}

#[test]
fn a_camera_that_wants_a_user_where_none_is_configured_says_so() {
    let config = RtspConfig { username: None, password: None, ..config("rtsp://camera.lan/") };
    let text = "401 response to DESCRIBE CSeq=1: Authentication requested and no credentials supplied";
    let error = Failures::new(&config).of_text(text, Some(401), "DESCRIBE");
    assert_eq!(error.cause, GapCause::Unauthorized);
    assert!(error.detail.contains("set username and password"), "{}", error.detail);
}

#[test]
fn answers_that_are_no_success_are_protocol_errors_with_advice() {
    let refused = "404 response to DESCRIBE CSeq=2: Unexpected RTSP response status";
    for (status, word) in [(404, "path"), (453, "viewers"), (461, "transport"), (503, "viewers"), (500, "500")] {
        check(refused, Some(status), GapCause::ProtocolError, &[word]);
    }
    let bad_sdp = "200 response to DESCRIBE CSeq=2: Unable to parse SDP: Unexpected end\n\n\"v=0\"";
    check(bad_sdp, Some(200), GapCause::ProtocolError, &["Unable to parse SDP"]);
}

#[test]
fn broken_streams_are_protocol_errors_on_one_line() {
    let cause = GapCause::ProtocolError;
    let garbage =
        "RTSP framing error: Invalid RTSP message: byte 4: request-line; buffered:\n0000: 48 54 54 50\n\nconn: x";
    check(garbage, None, cause, &["Invalid RTSP message: byte 4"]);
    check("Empty NAL\n\nconn: a\nstream: b\nssrc: 1\nseq: 2\npkt: 3", None, cause, &["Empty NAL"]);
    check("wrong ssrc after 3 RTP pkts + 0 RTCP pkts; expecting ssrc=1\n\nconn: a", None, cause, &["wrong ssrc"]);
}

#[test]
fn connections_that_end_are_told_from_those_that_fall_silent() {
    let reset = "Error reading from RTSP peer: Connection reset by peer (os error 104)\n\nconn: a\nmsg: b";
    check(reset, None, GapCause::Disconnected, &["reset by peer"]);
    let early = "Error reading from RTSP peer: EOF while expecting response to DESCRIBE CSeq 1\n\nconn: a";
    check(early, None, GapCause::Disconnected, &["closed the connection instead of answering SETUP"]);
    let torn = "RTSP framing error: Incomplete RTSP message at EOF (body); buffered:\n00 01";
    check(torn, None, GapCause::Disconnected, &["amid a message"]);
    let unanswered = "Error reading from RTSP peer: Server failed to respond to keepalive 7 within 30s\n\nconn: a";
    check(unanswered, None, GapCause::Silent, &["keepalive"]);
    check("Error writing to RTSP peer: Connection timed out (os error 110)\n\nconn: a", None, GapCause::Silent, &[]);
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
        check(&format!("Bad control \"{url}\": no"), None, cause, &["rtsp://10.0.0.2:8554/…\": no"]);
        check(&format!("see {url}"), None, cause, &["see rtsp://10.0.0.2:8554/…"]);
    }
    check("Bad header s3cret/é, sorry", None, cause, &["Bad header ***, sorry"]);
}

#[test]
fn credentials_in_the_url_are_not_sent_and_not_shown() {
    let config = config("rtsp://root:hunter2@camera.lan/ch?channel=1&subtype=0");
    let source = RtspSource::new(config, Arc::new(crate::clock::SystemClock::default()), SessionGroup::default());
    assert_eq!(source.config.url.as_str(), "rtsp://camera.lan/ch?channel=1&subtype=0");
    let shown = format!("{source:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn what_a_camera_writes_is_cut_and_stripped() {
    let long = format!("500 response to DESCRIBE CSeq=2: {}\u{1b}[31m", "é".repeat(4_000));
    check(&long, Some(200), GapCause::ProtocolError, &["é"]);
    assert_eq!(failure::clean("a\u{1b}[31m\tb", 80), "a [31m b");
}
