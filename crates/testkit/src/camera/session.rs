//! One RTSP connection of the simulated camera.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::BytesMut;
use md5::{Digest, Md5};
use rtsp_types::headers::{self, HeaderName};
use rtsp_types::{Message, Method, ParseError, Request, Response, StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use super::card::{Card, CardQuirk, Replaying, clock_range};
use super::description::description;
use super::playing::{Playing, Way};
use super::rtp::Channels;
use super::{CameraFaults, Live, RtspStep};

const REALM: &str = "simulated camera";
/// What follows a camera's path in the address of its card.
const REPLAY_PATH: &str = "/replay";
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Attempts to find two ports side by side.
const PORT_ATTEMPTS: u32 = 32;

struct CameraConnection {
    socket: TcpStream,
    cameras: Arc<HashMap<String, Arc<Live>>>,
    nonce: String,
    way: Option<Way>,
    session: u64,
    playing: Option<Playing>,
    replaying: Option<Replaying>,
}

/// Serves one connection until either side ends it.
pub(super) async fn serve(socket: TcpStream, cameras: Arc<HashMap<String, Arc<Live>>>) {
    let mut connection = CameraConnection::new(socket, cameras);
    let mut input = BytesMut::with_capacity(4096);
    loop {
        let due = match &connection.replaying {
            // As fast as it is read.
            Some(replaying) => (!replaying.is_over()).then(Instant::now),
            None => connection.playing.as_ref().map(Playing::due),
        };
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let goes_on = tokio::select! {
            read = connection.socket.read_buf(&mut input) => {
                matches!(read, Ok(n) if n > 0) && connection.requests(&mut input).await
            }
            () = wait => connection.send_due().await,
        };
        if !goes_on {
            return;
        }
    }
}

/// A session that plays over its RTSP connection, for another to send its pictures.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) socket: TcpStream,
    /// The camera's path, which is its number.
    pub(super) camera: usize,
    pub(super) channels: Channels,
    /// Of the first packet.
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
}

/// Answers a connection of a fleet until it plays; `None` when it ended before, or wants anything but TCP.
pub(super) async fn until_playing(socket: TcpStream, cameras: Arc<HashMap<String, Arc<Live>>>) -> Option<Handover> {
    let mut connection = CameraConnection::new(socket, cameras);
    let mut input = BytesMut::with_capacity(4096);
    loop {
        let read = connection.socket.read_buf(&mut input).await.ok()?;
        if read == 0 || !connection.requests(&mut input).await {
            return None;
        }
        let Some(playing) = &connection.playing else { continue };
        let Way::Interleaved(channels) = *playing.way() else { return None };
        let (sequence, timestamp) = playing.start();
        let camera = playing.path().parse().ok()?;
        return Some(Handover { socket: connection.socket, camera, channels, sequence, timestamp });
    }
}

impl CameraConnection {
    fn new(socket: TcpStream, cameras: Arc<HashMap<String, Arc<Live>>>) -> Self {
        // A camera that cannot say so is no worse for it.
        let _ = socket.set_nodelay(true);
        let nonce = format!("{:032x}", rand::random::<u128>());
        Self { socket, cameras, nonce, way: None, session: 0, playing: None, replaying: None }
    }

    /// Answers what has come; false ends the connection.
    async fn requests(&mut self, input: &mut BytesMut) -> bool {
        loop {
            match Message::<Vec<u8>>::parse(&input[..]) {
                Ok((message, used)) => {
                    let _ = input.split_to(used);
                    if let Message::Request(request) = message
                        && !self.answer(&request).await
                    {
                        return false;
                    }
                }
                Err(ParseError::Incomplete(_)) => return input.len() < REQUEST_BYTES_MAX,
                Err(_) => return false,
            }
            if input.is_empty() {
                return true;
            }
        }
    }

    async fn answer(&mut self, request: &Request<Vec<u8>>) -> bool {
        let path = request.request_uri().map(|u| u.path().trim_matches('/').to_owned()).unwrap_or_default();
        let name = path.split("/track").next().unwrap_or_default();
        let (name, is_replay) = match name.strip_suffix(REPLAY_PATH) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let Some(live) = self.cameras.get(name).cloned() else {
            return self.reply(request, StatusCode::NotFound, &[], "").await;
        };
        let faults = live.faults.lock().clone();
        if faults.refuse {
            return false;
        }
        let step = match request.method() {
            Method::Describe => Some(RtspStep::Describe),
            Method::Setup => Some(RtspStep::Setup),
            Method::Play => Some(RtspStep::Play),
            _ => None,
        };
        if step.is_some() && faults.mute_at == step {
            return true;
        }
        if let Some((at, status)) = faults.error_at
            && step == Some(at)
        {
            return self.reply(request, StatusCode::from(status), &[], "").await;
        }
        if step.is_some() && !self.authorised(&live, request) {
            let asked = match live.camera.basic {
                true => format!("Basic realm=\"{REALM}\""),
                false => format!("Digest realm=\"{REALM}\", nonce=\"{}\"", self.nonce),
            };
            return self.reply(request, StatusCode::Unauthorized, &[(headers::WWW_AUTHENTICATE, asked)], "").await;
        }
        let requires = |tag: &str| request.header(&headers::REQUIRE).is_some_and(|value| value.as_str() == tag);
        if is_replay && step.is_some() && !requires("onvif-replay") {
            return self.reply(request, StatusCode::BadRequest, &[], "").await;
        }
        match request.method() {
            Method::Options => {
                let can = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN".to_owned();
                self.reply(request, StatusCode::Ok, &[(headers::PUBLIC, can)], "").await
            }
            Method::Describe => {
                let base = request.request_uri().map(|u| format!("{}/", u.as_str().trim_end_matches('/')));
                let head = [
                    (headers::CONTENT_TYPE, "application/sdp".to_owned()),
                    (headers::CONTENT_BASE, base.unwrap_or_default()),
                ];
                let of_other = |card: &Card| card.quirk == CardQuirk::OtherStream;
                let shows_other = is_replay && live.card.lock().as_ref().is_some_and(of_other);
                let faults = CameraFaults { other_stream: faults.other_stream || shows_other, ..faults };
                self.reply(request, StatusCode::Ok, &head, &description(&live.camera, &faults)).await
            }
            Method::Setup => self.set_up(request).await,
            Method::Play if is_replay => self.replay(request, live).await,
            Method::Play => self.play(request, live).await,
            Method::Teardown => {
                (self.playing, self.replaying) = (None, None);
                let _ = self.reply(request, StatusCode::Ok, &[], "").await;
                false
            }
            _ => self.reply(request, StatusCode::Ok, &[], "").await,
        }
    }

    async fn reply(
        &mut self,
        request: &Request<Vec<u8>>,
        status: StatusCode,
        head: &[(HeaderName, String)],
        body: &str,
    ) -> bool {
        let mut response = Response::builder(Version::V1_0, status);
        if let Some(sequence) = request.header(&headers::CSEQ) {
            response = response.header(headers::CSEQ, sequence.as_str());
        }
        if self.session > 0 {
            response = response.header(headers::SESSION, format!("{:08};timeout=60", self.session));
        }
        for (name, value) in head {
            response = response.header(name.clone(), value.as_str());
        }
        let mut bytes = Vec::new();
        response.build(body.as_bytes()).write(&mut bytes).is_ok() && self.socket.write_all(&bytes).await.is_ok()
    }

    fn authorised(&self, live: &Live, request: &Request<Vec<u8>>) -> bool {
        let Some((user, password)) = &live.camera.credentials else { return true };
        let given = request.header(&headers::AUTHORIZATION).map(|v| v.as_str()).unwrap_or_default();
        if live.camera.basic {
            let want = BASE64_STANDARD.encode(format!("{user}:{password}"));
            return given.strip_prefix("Basic ") == Some(&want);
        }
        let Some(digest) = given.strip_prefix("Digest ") else { return false };
        let field = |name: &str| {
            digest.split(',').find_map(|part| {
                let (key, value) = part.trim().split_once('=')?;
                (key == name).then(|| value.trim_matches('"').to_owned())
            })
        };
        // RFC 2617 §3.2.2, as cameras do it: MD5 without `qop`.
        let own = md5_hex(&format!("{user}:{REALM}:{password}"));
        let asked = md5_hex(&format!("{}:{}", <&str>::from(request.method()), field("uri").unwrap_or_default()));
        field("username").as_ref() == Some(user)
            && field("nonce").as_ref() == Some(&self.nonce)
            && field("response") == Some(md5_hex(&format!("{own}:{}:{asked}", self.nonce)))
    }

    async fn set_up(&mut self, request: &Request<Vec<u8>>) -> bool {
        let asked = request.header(&headers::TRANSPORT).map(|v| v.as_str().to_owned()).unwrap_or_default();
        let pair = |key: &str| {
            let value = asked.split(';').find_map(|part| part.trim().strip_prefix(key))?;
            let (a, b) = value.split_once('-')?;
            Some((a.parse::<u16>().ok()?, b.parse::<u16>().ok()?))
        };
        let transport = if asked.contains("TCP") {
            let (rtp, rtcp) = pair("interleaved=").unwrap_or((0, 1));
            self.way = Some(Way::Interleaved((rtp as u8, rtcp as u8)));
            format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}")
        } else {
            let Some((way, ports)) = self.udp(pair("client_port=")).await else {
                return self.reply(request, StatusCode::UnsupportedTransport, &[], "").await;
            };
            self.way = Some(way);
            format!("RTP/AVP;unicast;{ports}")
        };
        if self.session == 0 {
            self.session = rand::random_range(1..99_999_999);
        }
        self.reply(request, StatusCode::Ok, &[(headers::TRANSPORT, transport)], "").await
    }

    async fn udp(&self, client: Option<(u16, u16)>) -> Option<(Way, String)> {
        let (to_rtp, to_rtcp) = client?;
        let (own, peer): (IpAddr, IpAddr) = (self.socket.local_addr().ok()?.ip(), self.socket.peer_addr().ok()?.ip());
        let (rtp, rtcp) = side_by_side(own).await?;
        rtp.connect(SocketAddr::new(peer, to_rtp)).await.ok()?;
        rtcp.connect(SocketAddr::new(peer, to_rtcp)).await.ok()?;
        let (from_rtp, from_rtcp) = (rtp.local_addr().ok()?.port(), rtcp.local_addr().ok()?.port());
        let ports = format!("client_port={to_rtp}-{to_rtcp};server_port={from_rtp}-{from_rtcp}");
        Some((Way::Udp { rtp, rtcp }, ports))
    }

    async fn play(&mut self, request: &Request<Vec<u8>>, live: Arc<Live>) -> bool {
        let Some(way) = self.way.take() else {
            return self.reply(request, StatusCode::MethodNotValidInThisState, &[], "").await;
        };
        let playing = Playing::new(live, way);
        let url = request.request_uri().map(|u| u.as_str().trim_end_matches('/').to_owned()).unwrap_or_default();
        let (sequence, timestamp) = playing.start();
        let info = format!("url={url}/track1;seq={sequence};rtptime={timestamp}");
        let sent = self.reply(request, StatusCode::Ok, &[(headers::RTP_INFO, info)], "").await;
        self.playing = Some(playing);
        sent
    }

    /// Plays the card (ONVIF Streaming Specification §6.3).
    async fn replay(&mut self, request: &Request<Vec<u8>>, live: Arc<Live>) -> bool {
        let Some(Way::Interleaved(channels)) = self.way.take() else {
            return self.reply(request, StatusCode::MethodNotValidInThisState, &[], "").await;
        };
        let refuses = live.card.lock().as_ref().is_some_and(|card| card.quirk == CardQuirk::RefusesRange);
        let asked = request.header(&headers::RANGE).filter(|_| !refuses).and_then(|range| clock_range(range.as_str()));
        let sequence = request.header(&headers::CSEQ).and_then(|number| number.as_str().parse::<u32>().ok());
        let replaying =
            asked.and_then(|range| Replaying::new(live, channels, range, sequence.unwrap_or_default() as u8));
        let Some(replaying) = replaying else {
            return self.reply(request, StatusCode::InvalidRange, &[], "").await;
        };
        self.replaying = Some(replaying);
        self.reply(request, StatusCode::Ok, &[], "").await
    }

    /// Sends the picture that is due; false ends the connection.
    async fn send_due(&mut self) -> bool {
        match (&mut self.replaying, &mut self.playing) {
            (Some(replaying), _) => replaying.send(&mut self.socket).await,
            (None, Some(playing)) => playing.send(&mut self.socket).await,
            (None, None) => true,
        }
    }
}

/// Sockets of an even port and the next one, for RTP and RTCP (RFC 3550 §11).
async fn side_by_side(own: IpAddr) -> Option<(UdpSocket, UdpSocket)> {
    for _ in 0..PORT_ATTEMPTS {
        let rtp = UdpSocket::bind(SocketAddr::new(own, 0)).await.ok()?;
        let port = rtp.local_addr().ok()?.port();
        if port % 2 == 0
            && let Ok(rtcp) = UdpSocket::bind(SocketAddr::new(own, port + 1)).await
        {
            return Some((rtp, rtcp));
        }
    }
    None
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
