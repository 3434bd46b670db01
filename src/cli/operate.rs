//! `vigie status` and `vigie reload`: the operator's routes of a running gateway, asked over HTTP.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vigie::config::Config;

use super::{ConfigArg, Failure, Status, show};

/// For the whole exchange: a reload waits until the packs of cameras that change are closed.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Alarms in words on one screen.
const ALARMS_MAX: usize = 4;
/// Cameras named on one screen.
const NAMED_MAX: usize = 12;

/// Shows what the gateway does, in one screen or as JSON.
pub(super) async fn status(args: Status) -> Result<(), Failure> {
    let config = args.config.load()?.config;
    let status = ask(&config, "GET", "/operator/status", "").await?;
    if args.json {
        return show::print(&format!("{status:#}\n"));
    }
    show::print(&screen(&status))
}

/// Checks the configuration here, so that its mistakes are shown with their lines, then has the gateway take it over.
pub(super) async fn reload(args: ConfigArg) -> Result<(), Failure> {
    let config = args.load()?.config;
    let reloaded = ask(&config, "POST", "/operator/reload", "{}").await?;
    show::print(&format!("{}\n", reloaded["changed"].as_str().unwrap_or_default()))
}

/// Where the gateway is reached from its own machine.
fn address(config: &Config) -> SocketAddr {
    let listen = config.http_listen;
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// As the operator.
pub(super) async fn ask(config: &Config, method: &str, path: &str, body: &str) -> Result<Value, Failure> {
    let token = config.operator_token.as_ref();
    let authorization = token.map(|token| SecretString::from(format!("Bearer {}", token.expose_secret())));
    ask_as(config, authorization, method, path, body).await
}

/// With these credentials.
pub(super) async fn ask_as(
    config: &Config,
    authorization: Option<SecretString>,
    method: &str,
    path: &str,
    body: &str,
) -> Result<Value, Failure> {
    let address = address(config);
    let authorization = authorization
        .map_or_else(String::new, |authorization| format!("authorization: {}\r\n", authorization.expose_secret()));
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n{authorization}\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, exchange).await.map_err(|_| {
        Failure::Failed(format!("the gateway at {address} does not answer within {} s", ANSWER_TIME_MAX.as_secs()))
    })?;
    let answer = answer
        .map_err(|e| Failure::Failed(format!("no gateway answers at {address} ({e}): is `vigie run` running?")))?;
    parse(&answer)
}

/// The JSON of an answer with a length, as this gateway sends it; a problem's detail as the failure.
fn parse(answer: &[u8]) -> Result<Value, Failure> {
    let unexpected = || Failure::Failed("the answer is not a Vigie gateway's: check [http] listen".to_owned());
    let text = std::str::from_utf8(answer).map_err(|_| unexpected())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(unexpected)?;
    let status: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(unexpected)?;
    let value: Value = serde_json::from_str(body).map_err(|_| unexpected())?;
    match status {
        200 | 201 => Ok(value),
        _ => Err(Failure::Failed(value["detail"].as_str().unwrap_or("the gateway refused").to_owned())),
    }
}

/// One screen of text.
fn screen(status: &Value) -> String {
    let number = |name: &str| status[name].as_u64().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let not_ready: Vec<String> = status["not_ready"].as_array().into_iter().flatten().map(word).collect();
    let ready = if not_ready.is_empty() { "ready".to_owned() } else { format!("NOT READY: {}", not_ready.join(", ")) };
    let _ = writeln!(text, "vigie {}  {}  {ready}", word(&status["version"]), word(&status["now"]));
    let cameras = &status["cameras"];
    let states: Vec<String> = ["recording", "connected", "starting", "gap"]
        .iter()
        .map(|state| format!("{} {state}", cameras[*state].as_u64().unwrap_or_default()))
        .collect();
    let _ = writeln!(text, "cameras   {}  ({:.1} Mb/s)", states.join(", "), number("bit_rate") as f64 / 1e6);
    let hours = status["disk_free_hours"].as_f64().map_or_else(String::new, |hours| format!(", {hours:.1} h left"));
    let free = status["disk_free_bytes"].as_u64().map_or_else(|| "?".to_owned(), gibibytes);
    let _ = writeln!(text, "disk      {free} GiB free, reserve {} GiB{hours}", gibibytes(number("disk_reserve_bytes")));
    let _ = writeln!(
        text,
        "store     {} packs wait ({} GiB), the oldest for {} s",
        number("waiting_packs"),
        gibibytes(number("waiting_bytes")),
        number("oldest_waiting_s")
    );
    let _ = writeln!(
        text,
        "retention {} packs over age, {} holds in force",
        number("over_age_packs"),
        number("holds_in_force")
    );
    if number("alarms_active") > 0 {
        let (active, critical) = (number("alarms_active"), number("alarms_critical"));
        let _ = writeln!(text, "alarms    {active} active, {critical} critical: vigie alarms");
    }
    text.push_str(&alarms(&status["alarms"]));
    let troubled = status["not_recorded"].as_array().cloned().unwrap_or_default();
    for camera in troubled.iter().take(NAMED_MAX) {
        let why = [&camera["cause"], &camera["since"], &camera["detail"]].map(word);
        let why: Vec<String> = why.into_iter().filter(|part| !part.is_empty()).collect();
        let _ = writeln!(text, "  {}: {} {}", word(&camera["camera"]), word(&camera["state"]), why.join(", "));
    }
    let devices = status["devices"].as_array().cloned().unwrap_or_default();
    for device in devices.iter().take(NAMED_MAX.saturating_sub(troubled.len())) {
        let _ = writeln!(text, "  {}: onvif: {}", word(&device["camera"]), word(&device["detail"]));
    }
    if troubled.len() > NAMED_MAX {
        let _ = writeln!(text, "  and {} more: vigie status --json", troubled.len() - NAMED_MAX);
    }
    text
}

/// What is wrong, in the order that the gateway gives; of cameras the lines below say it.
fn alarms(alarms: &Value) -> String {
    let mut text = String::new();
    let of_cameras = |alarm: &&Value| alarm["kind"] == "camera_not_recorded";
    let others = alarms.as_array().into_iter().flatten().filter(|alarm| !of_cameras(alarm));
    for alarm in others.take(ALARMS_MAX) {
        let word = |name: &str| alarm[name].as_str().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}: {}", word("severity"), word("text"));
    }
    text
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_screen_says_what_is_wrong_first() {
        let troubled: Vec<Value> = (0..40)
            .map(|n| serde_json::json!({"camera": format!("town/c{n}"), "state": "gap", "cause": "silent", "detail": "x"}))
            .collect();
        let status = serde_json::json!({
            "now": "2026-03-01T12:00:00Z", "version": "1", "not_ready": ["no_camera_is_recorded"],
            "cameras": {"gap": 40, "recording": 0}, "not_recorded": troubled, "bit_rate": 8_000_000,
            "alarms_active": 41, "alarms_critical": 1,
            "alarms": [{"kind": "disk_full", "severity": "critical", "text": "the disk is full"}],
            "disk_free_bytes": 10u64 << 30, "disk_reserve_bytes": 1u64 << 30, "disk_free_hours": 2.5,
        });
        let mut few = status.clone();
        few["not_recorded"] = Value::Array(Vec::new());
        few["devices"] = serde_json::json!([{"camera": "town/c1", "detail": "no connection"}]);
        assert!(screen(&few).contains("town/c1: onvif: no connection"), "{few}");
        let text = screen(&status);
        assert!(text.lines().next().unwrap().contains("NOT READY: no_camera_is_recorded"), "{text}");
        assert!(text.contains("40 gap") && text.contains("10.0 GiB free") && text.contains("2.5 h left"), "{text}");
        assert!(text.contains("town/c0: gap silent, x") && text.contains("and 28 more"), "{text}");
        assert!(text.contains("41 active, 1 critical") && text.contains("critical: the disk is full"), "{text}");
        assert!(text.lines().count() <= 24, "one screen: {text}");
    }

    #[test]
    fn a_problem_is_shown_by_its_detail_and_what_is_no_answer_of_ours_is_said() {
        let refused = b"HTTP/1.1 400 Bad Request\r\nx: y\r\n\r\n{\"detail\": \"line 3 is wrong\"}";
        assert_eq!(parse(refused).unwrap_err().to_string(), "line 3 is wrong");
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n{\"changed\": \"x\"}").unwrap()["changed"], "x");
        for other in [&b""[..], b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html>", &[0xff; 9]] {
            assert!(parse(other).unwrap_err().to_string().contains("[http] listen"));
        }
    }
}
