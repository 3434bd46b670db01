//! One RTSP connection of the simulated camera.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::BytesMut;
use md5::{Digest, Md5};
use rtsp_types::headers::{self, HeaderName};
use rtsp_types::{Message, Method, ParseError, Request, Response, StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use super::rtp::{PAYLOAD_TYPE, Packetiser, unique_sei};
use super::stream::{Codec, ElementaryStream};
use super::{Faults, Live, Sent, Step, lock};
use crate::clock::{Clock, SystemClock};
use crate::units::{Ticks90k, WallTime};

const REALM: &str = "simulated camera";
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// From sender report to sender report, in ticks.
const REPORT_EVERY: i64 = 2 * 90_000;

/// Where packets go.
enum Way {
    Interleaved { rtp: u8, rtcp: u8 },
    Udp { rtp: UdpSocket, rtcp: UdpSocket },
}

struct Playing {
    live: Arc<Live>,
    session: u64,
    way: Way,
    packets: Packetiser,
    stream: Arc<ElementaryStream>,
    other: bool,
    /// Next picture of the film, and since the session began.
    next: usize,
    count: u64,
    began: Instant,
    timestamp: i64,
    elapsed: i64,
    reported: Option<i64>,
    random: u64,
    clock: SystemClock,
}

struct Connection {
    socket: TcpStream,
    cameras: Arc<HashMap<String, Arc<Live>>>,
    nonce: String,
    way: Option<Way>,
    session: u64,
    playing: Option<Playing>,
}

/// Serves one connection until either side ends it.
pub(super) async fn serve(socket: TcpStream, cameras: Arc<HashMap<String, Arc<Live>>>) {
    // A camera that cannot say so is no worse for it.
    let _ = socket.set_nodelay(true);
    let nonce = format!("{:032x}", rand::random::<u128>());
    let mut connection = Connection { socket, cameras, nonce, way: None, session: 0, playing: None };
    let mut input = BytesMut::with_capacity(4096);
    loop {
        let due = connection.playing.as_ref().map(Playing::due);
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

impl Connection {
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
        let Some(live) = self.cameras.get(name).cloned() else {
            return self.reply(request, StatusCode::NotFound, &[], "").await;
        };
        let faults = lock(&live.faults).clone();
        if faults.refuse {
            return false;
        }
        let step = match request.method() {
            Method::Describe => Some(Step::Describe),
            Method::Setup => Some(Step::Setup),
            Method::Play => Some(Step::Play),
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
                self.reply(request, StatusCode::Ok, &head, &description(&live, &faults)).await
            }
            Method::Setup => self.set_up(request).await,
            Method::Play => self.play(request, live).await,
            Method::Teardown => {
                self.playing = None;
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
            self.way = Some(Way::Interleaved { rtp: rtp as u8, rtcp: rtcp as u8 });
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
        let rtp = UdpSocket::bind(SocketAddr::new(own, 0)).await.ok()?;
        let rtcp = UdpSocket::bind(SocketAddr::new(own, 0)).await.ok()?;
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
        let info = format!("url={url}/track1;seq={};rtptime={}", playing.packets.sequence, playing.timestamp as u32);
        let sent = self.reply(request, StatusCode::Ok, &[(headers::RTP_INFO, info)], "").await;
        self.playing = Some(playing);
        sent
    }

    /// Sends the picture that is due; false ends the connection.
    async fn send_due(&mut self) -> bool {
        match &mut self.playing {
            Some(playing) => playing.send(&mut self.socket).await,
            None => true,
        }
    }
}

impl Playing {
    fn new(live: Arc<Live>, way: Way) -> Self {
        let session = live.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let stream = live.camera.stream.clone();
        let random = lock(&live.faults).seed ^ session;
        Self {
            packets: Packetiser::new(stream.codec, rand::random(), rand::random()),
            session,
            way,
            stream,
            other: false,
            next: 0,
            count: 0,
            began: Instant::now(),
            timestamp: i64::from(rand::random::<u32>()),
            elapsed: 0,
            reported: None,
            random,
            clock: SystemClock::default(),
            live,
        }
    }

    /// When the next picture is due.
    fn due(&self) -> Instant {
        self.began + Ticks90k(self.elapsed).to_duration()
    }

    /// Sends one picture with all that is wrong with it.
    async fn send(&mut self, socket: &mut TcpStream) -> bool {
        let faults = {
            let mut faults = lock(&self.live.faults);
            let now = faults.clone();
            (faults.garbage, faults.timestamp_jump, faults.empty_nal, faults.huge_bytes) = (false, 0, false, 0);
            now
        };
        if faults.refuse || faults.close {
            return false;
        }
        if faults.garbage && socket.write_all(b"\x00\xff this is neither RTSP nor RTP\r\n\r\n").await.is_err() {
            return false;
        }
        self.timestamp += i64::from(faults.timestamp_jump);
        self.change_stream(&faults);
        let ticks = i64::from(self.stream.frame_ticks);
        let mut out = Vec::new();
        let mut datagrams = Vec::new();
        if !faults.silent {
            self.report(&mut out, &mut datagrams);
            self.unit(&faults, &mut out, &mut datagrams);
        }
        self.next = (self.next + 1) % self.stream.units.len();
        self.count += 1;
        self.timestamp += ticks;
        self.elapsed += ticks;
        match &self.way {
            Way::Interleaved { .. } => socket.write_all(&out).await.is_ok(),
            Way::Udp { rtp, rtcp } => {
                for (is_rtp, datagram) in datagrams {
                    // A datagram that cannot be sent is lost, as on any network.
                    let _ = if is_rtp { rtp.send(&datagram).await } else { rtcp.send(&datagram).await };
                }
                true
            }
        }
    }

    fn change_stream(&mut self, faults: &Faults) {
        if faults.other_stream == self.other {
            return;
        }
        let other =
            if faults.other_stream { &self.live.camera.other_stream } else { &Some(self.live.camera.stream.clone()) };
        if let Some(stream) = other {
            self.stream = stream.clone();
            self.packets.codec = stream.codec;
            self.next = 0;
        }
        self.other = faults.other_stream;
    }

    fn report(&mut self, out: &mut Vec<u8>, datagrams: &mut Vec<(bool, Vec<u8>)>) {
        if self.reported.is_some_and(|at| self.elapsed - at < REPORT_EVERY) {
            return;
        }
        self.reported = Some(self.elapsed);
        let offset = self.live.clock_offset_ms.load(Ordering::Relaxed) * 90;
        let own: WallTime = self.clock.wall().saturating_add(Ticks90k(offset));
        let report = self.packets.sender_report(own.to_ntp(), self.timestamp as u32);
        put(&self.way, false, &report, out, datagrams);
    }

    fn unit(&mut self, faults: &Faults, out: &mut Vec<u8>, datagrams: &mut Vec<(bool, Vec<u8>)>) {
        let stream = self.stream.clone();
        let unit = &stream.units[self.next];
        let marks = self.live.camera.unique.then(|| {
            let who =
                self.live.camera.path.bytes().fold(self.session, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
            unique_sei(stream.codec, who, self.count)
        });
        let padding = (faults.huge_bytes > 0).then(|| filler(stream.codec, faults.huge_bytes));
        let own: Vec<&[u8]> = marks.iter().chain(&unit.nals).chain(&padding).map(|nal| nal.as_ref()).collect();
        let mut all: Vec<&[u8]> = Vec::new();
        if faults.empty_nal {
            all.push(&[]);
        }
        if unit.random_access {
            all.extend(stream.parameter_sets.iter().map(|nal| nal.as_ref()));
        }
        all.extend(&own);

        let announced = self.packets.ssrc;
        if faults.wrong_ssrc {
            self.packets.ssrc ^= 0x5555_5555;
        }
        let (mut whole, way, random) = (true, &self.way, &mut self.random);
        self.packets.unit(&all, self.timestamp as u32, |packet| {
            if faults.loss > 0.0 && draw(random) < faults.loss {
                whole = false;
            } else {
                put(way, true, packet, out, datagrams);
            }
        });
        self.packets.ssrc = announced;
        if self.live.camera.log {
            let mut hasher = blake3::Hasher::new();
            for nal in &own {
                hasher.update(&(nal.len() as u32).to_be_bytes());
                hasher.update(nal);
            }
            let (session, timestamp) = (self.session, self.timestamp);
            let sent = Sent { session, timestamp, random_access: unit.random_access, hash: hasher.finalize(), whole };
            lock(&self.live.log).push(sent);
        }
    }
}

/// One packet on its way: framed on the connection (RFC 2326 §10.12), or a datagram.
fn put(way: &Way, is_rtp: bool, packet: &[u8], out: &mut Vec<u8>, datagrams: &mut Vec<(bool, Vec<u8>)>) {
    match way {
        Way::Interleaved { rtp, rtcp } => {
            out.extend_from_slice(&[b'$', if is_rtp { *rtp } else { *rtcp }]);
            out.extend_from_slice(&(packet.len() as u16).to_be_bytes());
            out.extend_from_slice(packet);
        }
        Way::Udp { .. } => datagrams.push((is_rtp, packet.to_vec())),
    }
}

/// Uniform in 0..1, the same for the same seed (SplitMix64).
fn draw(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Filler data (ITU-T H.264 §7.3.2.7, H.265 §7.3.2.8).
fn filler(codec: Codec, bytes: usize) -> bytes::Bytes {
    let mut nal = match codec {
        Codec::H264 => vec![12],
        Codec::H265 => vec![38 << 1, 1],
    };
    nal.resize(nal.len() + bytes, 0xff);
    nal.push(0x80);
    nal.into()
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The session description (RFC 4566).
fn description(live: &Live, faults: &Faults) -> String {
    let mut sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=Simulated camera\r\nt=0 0\r\na=control:*\r\n".to_owned();
    if faults.no_video {
        sdp.push_str("m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=control:track2\r\n");
        return sdp;
    }
    if faults.mjpeg_only {
        sdp.push_str("m=video 0 RTP/AVP 26\r\na=rtpmap:26 JPEG/90000\r\na=control:track1\r\n");
        return sdp;
    }
    let stream = &live.camera.stream;
    let sets: Vec<String> = stream.parameter_sets.iter().map(|nal| BASE64_STANDARD.encode(nal)).collect();
    let (name, parameters) = match (stream.codec, &sets[..]) {
        (Codec::H264, sets) => ("H264", format!("packetization-mode=1;sprop-parameter-sets={}", sets.join(","))),
        (Codec::H265, [vps, sps, pps]) => ("H265", format!("sprop-vps={vps};sprop-sps={sps};sprop-pps={pps}")),
        (Codec::H265, _) => ("H265", String::new()),
    };
    let pt = PAYLOAD_TYPE;
    let _ = write!(
        sdp,
        "m=video 0 RTP/AVP {pt}\r\na=rtpmap:{pt} {name}/90000\r\na=fmtp:{pt} {parameters}\r\na=control:track1\r\n"
    );
    sdp
}
