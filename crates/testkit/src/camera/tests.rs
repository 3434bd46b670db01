//! What a client sees of each fault, over TCP.

use std::net::Ipv4Addr;
use std::time::Duration;

use rtsp_types::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

const SETS: [&[u8]; 2] = [&[0x67, 0x4d, 0x40, 0x1e], &[0x68, 0xee]];

/// Four pictures, the first a random access point, whose last byte says which film they are of.
fn film(mark: u8) -> Arc<ElementaryStream> {
    let mut bytes = Vec::new();
    for nal in SETS.iter().copied().chain([&[0x65, 0x88, mark][..]]).chain([[0x41, 0x9a, mark].as_slice(); 3]) {
        bytes.extend_from_slice(&[0, 0, 1]);
        bytes.extend_from_slice(nal);
    }
    Arc::new(ElementaryStream::parse(&bytes, Codec::H264, 100).unwrap())
}

async fn serve() -> Server {
    let camera = SimulatedCamera { other_stream: Some(film(2)), log: true, ..SimulatedCamera::new("c", film(1)) };
    Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![camera]).await.unwrap()
}

/// The least client that can tell what a camera does.
struct Client {
    url: Url,
    socket: TcpStream,
    input: Vec<u8>,
}

impl Client {
    async fn connect(server: &Server) -> Self {
        let url = server.url("c");
        Self { url, socket: TcpStream::connect(server.address).await.unwrap(), input: Vec::new() }
    }

    /// The next message; `None` when the camera has closed, or sends what is none.
    async fn next(&mut self) -> Option<Message<Vec<u8>>> {
        loop {
            match Message::parse(&self.input) {
                Ok((message, used)) => {
                    self.input.drain(..used);
                    return Some(message);
                }
                Err(rtsp_types::ParseError::Error) => return None,
                Err(rtsp_types::ParseError::Incomplete(_)) => {}
            }
            if self.socket.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Status and body of the answer.
    async fn ask(&mut self, method: &str, header: &str) -> Option<(u16, String)> {
        let request = format!("{method} {} RTSP/1.0\r\nCSeq: 1\r\n{header}\r\n", self.url);
        self.socket.write_all(request.as_bytes()).await.ok()?;
        loop {
            if let Message::Response(response) = self.next().await? {
                return Some((response.status().into(), String::from_utf8(response.into_body()).unwrap()));
            }
        }
    }

    async fn play(server: &Server) -> Self {
        let mut client = Self::connect(server).await;
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        for (method, header) in [("OPTIONS", ""), ("DESCRIBE", ""), ("SETUP", transport), ("PLAY", "")] {
            assert_eq!(client.ask(method, header).await.unwrap().0, 200, "{method}");
        }
        client
    }

    /// The next packet of this channel: 0 is RTP, 1 is RTCP.
    async fn packet(&mut self, channel: u8) -> Option<Vec<u8>> {
        loop {
            match self.next().await? {
                Message::Data(data) if data.channel_id() == channel => return Some(data.into_body()),
                _ => {}
            }
        }
    }
}

async fn check_description(faults: CameraFaults, expect: &str, absent: &str) {
    let server = serve().await;
    server.camera("c").unwrap().set(|f| *f = faults);
    let (status, sdp) = Client::connect(&server).await.ask("DESCRIBE", "").await.unwrap();
    assert_eq!(status, 200);
    assert!(sdp.contains(expect) && !sdp.contains(absent), "{sdp}");
}

#[tokio::test]
async fn a_description_has_what_the_camera_offers() {
    let sets = "profile-level-id=4d401e;sprop-parameter-sets=Z01AHg==,aO4=";
    check_description(CameraFaults::default(), sets, "JPEG").await;
    check_description(CameraFaults { mjpeg_only: true, ..CameraFaults::default() }, "JPEG/90000", "H264").await;
    check_description(CameraFaults { no_video: true, ..CameraFaults::default() }, "m=audio", "m=video").await;
}

#[tokio::test]
async fn errors_come_at_the_request_they_are_set_for() {
    let server = serve().await;
    server.camera("c").unwrap().set(|f| f.error_at = Some((RtspStep::Describe, 503)));
    let mut client = Client::connect(&server).await;
    assert_eq!(client.ask("OPTIONS", "").await.unwrap().0, 200);
    assert_eq!(client.ask("DESCRIBE", "").await.unwrap().0, 503);
    server.camera("c").unwrap().set(|f| f.error_at = None);
    assert_eq!(client.ask("DESCRIBE", "").await.unwrap().0, 200);
    client.url = server.url("nobody");
    assert_eq!(client.ask("DESCRIBE", "").await.unwrap().0, 404);
}

#[tokio::test]
async fn a_mute_camera_keeps_the_connection_and_says_nothing() {
    let server = serve().await;
    server.camera("c").unwrap().set(|f| f.mute_at = Some(RtspStep::Describe));
    let mut client = Client::connect(&server).await;
    // The answer to what was asked later is the first that comes.
    let describe = format!("DESCRIBE {} RTSP/1.0\r\nCSeq: 7\r\n\r\n", client.url);
    client.socket.write_all(describe.as_bytes()).await.unwrap();
    assert_eq!(client.ask("OPTIONS", "").await.unwrap(), (200, String::new()));
}

#[tokio::test]
async fn a_host_whose_cameras_all_refuse_hangs_up_at_once() {
    let server = serve().await;
    server.camera("c").unwrap().set(|f| f.refuse = true);
    assert!(Client::connect(&server).await.next().await.is_none());
}

#[tokio::test]
async fn closing_ends_every_session_and_none_that_comes_later() {
    let server = serve().await;
    let mut before = [Client::play(&server).await, Client::play(&server).await];
    server.camera("c").unwrap().set(|f| f.close = true);
    for client in &mut before {
        while client.packet(0).await.is_some() {}
    }
    let mut after = Client::play(&server).await;
    for _ in 0..10 {
        after.packet(0).await.expect("it goes on");
    }
    assert_eq!(server.camera("c").unwrap().sessions(), 3);
}

#[tokio::test]
async fn garbage_is_no_message_of_rtsp() {
    let server = serve().await;
    let mut client = Client::play(&server).await;
    server.camera("c").unwrap().set(|f| f.garbage = true);
    while client.packet(0).await.is_some() {}
    assert!(client.input.starts_with(b"\x00\xff this is neither"), "closed instead");
}

#[tokio::test]
async fn a_silent_camera_answers_and_speaks_again() {
    let server = serve().await;
    server.camera("c").unwrap().set(|f| f.silent = true);
    let mut client = Client::play(&server).await;
    assert_eq!(client.ask("GET_PARAMETER", "").await.unwrap().0, 200);
    assert!(server.camera("c").unwrap().sent().is_empty());
    server.camera("c").unwrap().set(|f| f.silent = false);
    assert!(client.packet(0).await.is_some());
}

#[tokio::test]
async fn another_film_begins_with_a_random_access_point_in_the_same_sequence() {
    let server = serve().await;
    let mut client = Client::play(&server).await;
    let first = client.packet(0).await.unwrap();
    assert_eq!(first[12..], [0x60 | 24, 0, 4, 0x67, 0x4d, 0x40, 0x1e, 0, 2, 0x68, 0xee], "parameter sets come in band");
    server.camera("c").unwrap().set(|f| f.other_stream = true);
    let mut sequence = u16::from_be_bytes([first[2], first[3]]);
    loop {
        let packet = client.packet(0).await.unwrap();
        sequence = sequence.wrapping_add(1);
        assert_eq!(u16::from_be_bytes([packet[2], packet[3]]), sequence);
        if packet[12..] == [0x65, 0x88, 2] {
            break;
        }
        assert_ne!(packet[packet.len() - 1], 2, "a picture came that cannot be decoded");
    }
}

#[tokio::test]
async fn timestamps_jump_once_and_a_wrong_source_is_another_source() {
    let server = serve().await;
    let mut client = Client::play(&server).await;
    let ssrc = client.packet(0).await.unwrap()[8..12].to_vec();
    server.camera("c").unwrap().set(|f| (f.timestamp_jump, f.wrong_ssrc) = (-1_000_000, true));
    while client.packet(0).await.unwrap()[8..12] == ssrc {}
    client.packet(0).await.unwrap();
    client.packet(0).await.unwrap();
    let sent = server.camera("c").unwrap().sent();
    let steps: Vec<i64> = sent.windows(2).map(|w| w[1].timestamp - w[0].timestamp).collect();
    assert_eq!(steps.iter().filter(|step| **step == 900 - 1_000_000).count(), 1, "{steps:?}");
    assert!(steps.iter().all(|step| [900, 900 - 1_000_000].contains(step)), "{steps:?}");
}

#[tokio::test]
async fn the_cameras_clock_is_the_machines_with_its_offset() {
    let server = serve().await;
    server.camera("c").unwrap().set_clock_offset(3_600_000);
    let report = Client::play(&server).await.packet(1).await.unwrap();
    assert_eq!((report[1], report.len()), (200, 28));
    let ntp = u64::from_be_bytes(report[8..16].try_into().unwrap());
    let own = footage::clock::Clock::wall(&footage::clock::SystemClock::default());
    let ahead = footage::units::WallTime::from_ntp(ntp).since(own).as_seconds_f64();
    // A minute for a machine that is busy.
    assert!((3_540.0..=3_600.1).contains(&ahead), "{ahead} s");
}

#[tokio::test]
async fn dropping_the_server_ends_its_sessions() {
    let server = serve().await;
    let mut client = Client::play(&server).await;
    drop(server);
    let ended = async { while client.packet(0).await.is_some() {} };
    timeout(Duration::from_secs(20), ended).await.expect("the connection closes");
}
