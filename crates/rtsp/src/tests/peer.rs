//! A peer for one test: it answers RTSP requests as it was set up to and then sends the bytes it was given. What a well-behaved
//! camera does is the simulator's business; this one is for what a wire can carry.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Parameter sets of x264 at 320×240.
pub(super) const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x6a, 0x0c, 0x0c, 0x0d, 0x4a, 0x00, 0x00, 0x03, 0x00, 0x02,
    0x00, 0x00, 0x03, 0x00, 0x65, 0x1e, 0x28, 0x54, 0x90,
];
pub(super) const PPS: &[u8] = &[0x68, 0xcb, 0x8c, 0xb2];

const SPROP: &str = "Z0LADdkBQfsBagwMDUoAAAMAAgAAAwBlHihUkA==,aMuMsg==";

pub(super) const PCMA: &str = "m=audio 0 RTP/AVP 8\r\na=control:sound\r\n";
pub(super) const ONVIF: &str =
    "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:meta\r\n";
pub(super) const MJPEG: &str = "m=video 0 RTP/AVP 26\r\na=control:pictures\r\n";
pub(super) const H265: &str = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:pictures\r\n\
     a=fmtp:96 sprop-vps=QAEMAf//BAgAAAMAmAgAAAMAADySgJA=;\
     sprop-sps=QgEBBAgAAAMAmAgAAAMAADyQAUEB4ilLJUkmV/+AAIAAtQYGBgQAAAMABAAAAwBkIA==;sprop-pps=RAHBcoYMRiQ=\r\n";

/// An H.264 stream whose parameter sets are in the description.
pub(super) fn h264() -> String {
    format!("{}a=fmtp:96 packetization-mode=1;sprop-parameter-sets={SPROP}\r\n", bare_h264())
}

/// One whose parameter sets must come in band.
pub(super) fn bare_h264() -> String {
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:pictures\r\n".to_owned()
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Status(&'static str),
    Nothing,
    Garbage,
    Close,
}

/// What follows the bytes after PLAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Close,
    Stay,
}

#[derive(Clone)]
pub(super) struct Peer {
    media: String,
    stream: Vec<u8>,
    then: Then,
    odd: Vec<(&'static str, Answer)>,
    requests: Arc<Mutex<Vec<String>>>,
    asked: Arc<Notify>,
}

impl Peer {
    /// A peer with these media lines, which sends these bytes after PLAY.
    pub(super) fn new(media: impl Into<String>, stream: &[Vec<u8>], then: Then) -> Self {
        let (requests, asked) = (Arc::default(), Arc::default());
        Self { media: media.into(), stream: stream.concat(), then, odd: Vec::new(), requests, asked }
    }

    /// Answers requests oddly whose first line holds `part`.
    pub(super) fn answering(mut self, part: &'static str, answer: Answer) -> Self {
        self.odd.push((part, answer));
        self
    }

    /// Listens; the address.
    pub(super) async fn start(&self) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let peer = self.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let peer = peer.clone();
                // Failing to write only means that the client has gone, which is what some tests are about.
                tokio::spawn(async move { peer.serve(connection).await.unwrap_or_default() });
            }
        });
        address
    }

    /// Waits for a request that begins with `request`.
    pub(super) async fn asked(&self, request: &str) {
        loop {
            let asked = self.asked.notified();
            if self.requests().iter().any(|r| r.starts_with(request)) {
                return;
            }
            asked.await;
        }
    }

    /// Request lines so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no test panics with it").clone()
    }

    async fn serve(&self, connection: TcpStream) -> std::io::Result<()> {
        let (reader, mut writer) = connection.into_split();
        let mut reader = BufReader::new(reader);
        loop {
            let Some(asked) = super::camera::request(&mut reader).await? else { return Ok(()) };
            let (request, cseq) = (format!("{} {} RTSP/1.0", asked.method, asked.url), asked.header("cseq"));
            self.requests.lock().expect("no test panics with it").push(request.clone());
            self.asked.notify_waiters();
            let odd = self.odd.iter().find(|(part, _)| request.contains(part)).map(|(_, answer)| *answer);
            match odd {
                Some(Answer::Status(status)) => {
                    writer.write_all(format!("RTSP/1.0 {status}\r\nCSeq: {cseq}\r\n\r\n").as_bytes()).await?;
                }
                Some(Answer::Garbage) => writer.write_all(b"HTTP/2 \x00\xff\xfe what?\r\n\r\n").await?,
                Some(Answer::Nothing) => {}
                Some(Answer::Close) => return Ok(()),
                None => {
                    writer.write_all(self.answer(&request, cseq).as_bytes()).await?;
                    if request.starts_with("PLAY") {
                        writer.write_all(&self.stream).await?;
                        if self.then == Then::Close {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    fn answer(&self, request: &str, cseq: &str) -> String {
        let head = format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n");
        match request.split(' ').next() {
            Some("DESCRIBE") => {
                let sdp = format!("v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\n{}", self.media);
                format!("{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len())
            }
            Some("SETUP") => {
                let channels = if request.contains("sound") { "2-3" } else { "0-1" };
                format!("{head}Session: 1;timeout=4\r\nTransport: RTP/AVP/TCP;unicast;interleaved={channels}\r\n\r\n")
            }
            Some("OPTIONS") => format!("{head}Public: DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n\r\n"),
            _ => format!("{head}Session: 1\r\n\r\n"),
        }
    }
}

/// An interleaved packet (RFC 2326 §10.12).
pub(super) fn interleaved(channel: u8, packet: &[u8]) -> Vec<u8> {
    let length = u16::try_from(packet.len()).expect("a packet of at most 64 KiB").to_be_bytes();
    [&[b'$', channel], &length[..], packet].concat()
}

/// An RTP packet (RFC 3550 §5.1) of SSRC 7 on channel 0.
pub(super) fn rtp(seq: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    rtp_from(7, seq, timestamp, marker, payload)
}

pub(super) fn rtp_from(ssrc: u32, seq: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, if marker { 0x80 | 96 } else { 96 }];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&timestamp.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    interleaved(0, &packet)
}

/// An RTCP sender report (RFC 3550 §6.4.1) of SSRC 7 on channel 1.
pub(super) fn sender_report(ntp: u64, timestamp: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6, 0, 0, 0, 7];
    packet.extend_from_slice(&ntp.to_be_bytes());
    packet.extend_from_slice(&timestamp.to_be_bytes());
    packet.extend_from_slice(&[0; 8]);
    interleaved(1, &packet)
}

/// A NAL unit as MP4 holds it.
pub(super) fn sample(nal: &[u8]) -> Vec<u8> {
    [&u32::try_from(nal.len()).expect("short").to_be_bytes()[..], nal].concat()
}
