//! The RTSP source against GStreamer's RTSP server: another's packetiser, transport and authentication.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::{Clock, SystemClock};
use footage::media::{GapCause, VideoCodec};
use footage::source::{Item, Source};
use footage::units::{TICKS_PER_DAY, Ticks90k};
use futures::StreamExt;
use rtsp::{RtspConfig, RtspSource, SessionGroup, TlsTrust};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use vigie::config::Transport;

#[path = "support/certificate.rs"]
mod certificate;

const PICTURES: usize = 50;
/// For so long the server's certificate is valid.
const CERTIFICATE_DAYS: i64 = 10;

/// A server with one file of each coding, killed when dropped.
struct Server {
    _process: Child,
    port: u16,
    files: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        Self::start_over(false).await
    }

    /// With `tls`, its certificate, for ten days, and key are in `tls.pem`, the authority's in `ca.pem`, and another
    /// certificate in `other.pem`.
    async fn start_over(tls: bool) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        if tls {
            let file = |name: &str| files.path().join(name);
            certificate::make_signed(&file("ca.pem"), &file("tls.pem"), "IP:127.0.0.1", CERTIFICATE_DAYS);
            certificate::make(&file("other.pem"), "IP:127.0.0.1");
        }
        for (coder, muxer, name) in [("libx264", "h264", "h264"), ("libx265", "hevc", "h265")] {
            film(coder, muxer, &files.path().join(name)).await;
        }
        let mut process = Command::new("/usr/bin/python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/source/gst_files.py"))
            .args(tls.then(|| format!("--tls={}", files.path().join("tls.pem").display())))
            .args(
                ["h264", "h265"]
                    .map(|id| format!("{id}={id}={}", files.path().join(id).with_extension("mp4").display())),
            )
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 with gi and gst-rtsp-server (see .ci/setup)");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).await.expect("its port");
        Self { _process: process, port: line.trim().parse().expect("a port number"), files }
    }

    fn source(&self, path: &str, transport: Transport, password: &str) -> RtspSource {
        let config = self.config(path, transport, password);
        RtspSource::new(config, Arc::new(SystemClock::default()), SessionGroup::default())
    }

    fn config(&self, path: &str, transport: Transport, password: &str) -> RtspConfig {
        RtspConfig {
            camera: "ville/essai".parse().expect("a camera key"),
            url: format!("rtsp://127.0.0.1:{}/{path}", self.port).parse().expect("a url"),
            tls: TlsTrust::System,
            username: Some("viewer".to_owned()),
            password: Some(password.to_owned().into()),
            transport,
            audio: false,
            silence_max: Duration::from_secs(3),
            setup_timeout: Duration::from_secs(10),
        }
    }

    /// A source of the film in H.264 over TLS.
    fn secure(&self, tls: TlsTrust) -> RtspSource {
        let mut config = self.config("h264", Transport::Tcp, "a pass: word");
        config.url = format!("rtsps://127.0.0.1:{}/h264", self.port).parse().expect("a url");
        config.tls = tls;
        RtspSource::new(config, Arc::new(SystemClock::default()), SessionGroup::default())
    }
}

/// Two seconds of moving pictures: `film.mp4` to be served, and as a byte stream, `film`, to compare with.
async fn film(coder: &str, muxer: &str, film: &Path) {
    let mp4 = film.with_extension("mp4");
    let picture = "testsrc2=size=640x360:rate=25:duration=2";
    ffmpeg(
        Command::new("ffmpeg")
            .args(["-f", "lavfi", "-i", picture, "-c:v", coder, "-preset", "ultrafast", "-g", "25", "-bf", "0"])
            // Without its greeting, which would go to the MP4's header and not into the stream.
            .args(["-b:v", "4M", "-pix_fmt", "yuv420p", "-x265-params", "info=0"])
            .arg(&mp4),
    )
    .await;
    ffmpeg(Command::new("ffmpeg").arg("-i").arg(&mp4).args(["-c", "copy", "-f", muxer]).arg(film)).await;
}

async fn ffmpeg(command: &mut Command) {
    let status = command.stderr(Stdio::null()).status().await.expect("ffmpeg (see .ci/setup)");
    assert!(status.success(), "{command:?}: {status}");
}

/// NAL units of a byte stream (H.264 and H.265 Annex B).
fn nal_units(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut starts: Vec<usize> =
        stream.windows(3).enumerate().filter(|(_, w)| w == b"\0\0\x01").map(|(i, _)| i).collect();
    starts.push(stream.len());
    let mut units = Vec::new();
    for pair in starts.windows(2) {
        let end = pair[0] + 3 + stream[pair[0] + 3..pair[1]].iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        units.push(stream[pair[0] + 3..end].to_vec());
    }
    units
}

fn is_parameter_set(codec: VideoCodec, unit: &[u8]) -> bool {
    match codec {
        VideoCodec::H264 => matches!(unit[0] & 0x1f, 7 | 8),
        VideoCodec::H265 => matches!(unit[0] >> 1, 32..=34),
    }
}

/// NAL units of a sample as MP4 holds it.
fn sample_units(mut sample: &[u8]) -> Vec<Vec<u8>> {
    let mut units = Vec::new();
    while let Some((length, rest)) = sample.split_first_chunk::<4>() {
        let (unit, next) = rest.split_at(usize::try_from(u32::from_be_bytes(*length)).expect("64 bits"));
        units.push(unit.to_vec());
        sample = next;
    }
    units
}

async fn check_film(server: &Server, path: &str, codec: VideoCodec, transport: Transport) {
    let case = format!("{path} over {transport:?}");
    let source = server.source(path, transport, "a pass: word");
    let mut session = source.open().await.unwrap_or_else(|e| panic!("{case}: {e}"));
    let video = &session.params.video;
    assert_eq!((video.codec, video.width, video.height), (codec, 640, 360), "{case}");

    let (mut units, mut keys, mut timestamps) = (Vec::new(), 0, Vec::new());
    // The last picture of a file has no next one to show its end, unless the marker bit does; GStreamer sets it.
    while timestamps.len() < PICTURES {
        match session.items.next().await {
            Some(Ok(Item::AccessUnit(unit))) => {
                assert_eq!(unit.lost_packets, 0, "{case}: before picture {}", timestamps.len());
                units.extend(sample_units(&unit.data));
                keys += usize::from(unit.random_access);
                timestamps.push(unit.timestamp);
            }
            Some(Ok(Item::SenderReport { .. } | Item::Oddities(_))) => {}
            end => panic!("{case} ended after {} pictures: {end:?}", timestamps.len()),
        }
    }
    assert_eq!(keys, 2, "{case}");
    let steps: Vec<i64> = timestamps.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(steps.iter().all(|step| (3_599..=3_601).contains(step)), "{case}: {steps:?}");
    let sent = std::fs::read(server.files.path().join(path)).expect("the film");
    // The server repeats parameter sets or leaves them to the description: those that come are the film's.
    let split = |units: Vec<Vec<u8>>| units.into_iter().partition(|unit| is_parameter_set(codec, unit));
    let (sent_sets, sent): (Vec<_>, Vec<_>) = split(nal_units(&sent));
    let (sets, units): (Vec<_>, Vec<_>) = split(units);
    assert!(sets.iter().all(|set| sent_sets.contains(set)), "{case}: {sets:02x?} and not {sent_sets:02x?}");
    assert!(units == sent, "{case}: other bytes than were sent");

    let end = session.items.filter_map(|item| std::future::ready(item.err())).next().await;
    let error = end.expect("a film that is over is a silent camera");
    assert_eq!(error.cause, GapCause::Silent, "{case}: {error}");
}

#[tokio::test]
async fn films_come_bit_for_bit_over_both_transports() {
    let server = Server::start().await;
    futures::join!(
        check_film(&server, "h264", VideoCodec::H264, Transport::Tcp),
        check_film(&server, "h264", VideoCodec::H264, Transport::Udp),
        check_film(&server, "h265", VideoCodec::H265, Transport::Tcp),
        check_film(&server, "h265", VideoCodec::H265, Transport::Udp),
    );
}

#[tokio::test]
async fn wrong_credentials_and_wrong_paths_are_distinguished() {
    let server = Server::start().await;
    for (path, password, cause) in
        [("h264", "wrong", GapCause::Unauthorized), ("nothing", "a pass: word", GapCause::ProtocolError)]
    {
        let error = server.source(path, Transport::Tcp, password).open().await.err().expect("no such access");
        assert_eq!(error.cause, cause, "{error}");
        assert!(!error.detail.contains(password), "{error}");
    }
}

#[tokio::test]
async fn a_session_opens_again_at_once_after_another_was_dropped() {
    let server = Server::start().await;
    for transport in [Transport::Tcp, Transport::Udp] {
        let source = server.source("h264", transport, "a pass: word");
        for _ in 0..3 {
            let mut session = source.open().await.expect("an open session");
            let first = session.items.next().await.and_then(Result::ok);
            assert!(first.is_some(), "nothing over {transport:?}");
        }
    }
}

#[tokio::test]
async fn cameras_over_tls_are_recorded_when_their_certificate_convinces() {
    let server = Server::start_over(true).await;
    let file = |name: &str| server.files.path().join(name);
    let pinned = file("pins/camera.sha256");
    // What its authority vouches for; its own certificate; the one that comes first, and that again.
    let accepted = [
        (TlsTrust::CaFile(file("ca.pem")), Some(CERTIFICATE_DAYS)),
        (TlsTrust::CaFile(file("tls.pem")), None),
        (TlsTrust::FirstUse(pinned.clone()), None),
        (TlsTrust::FirstUse(pinned.clone()), None),
    ];
    for (trust, days) in accepted {
        let mut session = server.secure(trust.clone()).open().await.unwrap_or_else(|e| panic!("{trust:?}: {e}"));
        let left = session.certificate_until.map(|until| until.since(SystemClock::default().wall()));
        // Its end is known to the hour, and the films took their time to be made.
        let expect = days.map(|days| Ticks90k(days * TICKS_PER_DAY));
        let close =
            left.zip(expect).is_some_and(|(left, expect)| left <= expect && left.0 > expect.0 - TICKS_PER_DAY / 2);
        assert!(close || (left, expect) == (None, None), "{trust:?}: {left:?} in the place of {expect:?}");
        for _ in 0..10 {
            let item = session.items.next().await;
            assert!(matches!(item, Some(Ok(_))), "{trust:?}: {item:?}");
        }
    }
    let seen = std::fs::read_to_string(&pinned).expect("a pin");
    assert_eq!(seen.trim().len(), 64, "{seen}");

    let refused = |trust: TlsTrust, words: Vec<String>| {
        let source = server.secure(trust);
        async move {
            let error = source.open().await.err().expect("no trust");
            assert_eq!(error.cause, GapCause::ConnectFailed, "{error}");
            assert!(words.iter().all(|word| error.detail.contains(word)), "{words:?} in {error}");
        }
    };
    refused(TlsTrust::System, vec!["certificate is not accepted".to_owned()]).await;
    refused(TlsTrust::CaFile(file("other.pem")), vec!["certificate is not accepted".to_owned()]).await;
    refused(TlsTrust::CaFile(file("absent.pem")), vec!["absent.pem".to_owned()]).await;
    refused(TlsTrust::CaFile(file("h264")), vec!["no certificate".to_owned()]).await;
    let other = "ab".repeat(32);
    std::fs::write(&pinned, &other).expect("written");
    refused(TlsTrust::FirstUse(pinned.clone()), vec![seen.trim().to_owned(), other.clone()]).await;
    assert_eq!(std::fs::read_to_string(&pinned).expect("a pin"), other, "a pin is never replaced");
}
