//! How cameras of common makes describe themselves and answer, written by us after their public documentation and what
//! they were seen to do. Addresses, names and parameter sets are ours.

use std::sync::Arc;

use futures::StreamExt;

use super::camera::{Asked, Camera, IDR, Reaction};
use super::peer::{PPS, SPS, interleaved, rtp, sample};
use super::*;
use footage::clock::SystemClock;
use footage::source::Item;

/// Base64 of the parameter sets of [`SPS`] and [`PPS`].
const SPROP: &str = "Z0LADdkBQfsBagwMDUoAAAMAAgAAAwBlHihUkA==,aMuMsg==";
const SPROP_H265: &str = "sprop-vps=QAEMAf//BAgAAAMAmAgAAAMAADySgJA=; \
                          sprop-sps=QgEBBAgAAAMAmAgAAAMAADyQAUEB4ilLJUkmV/+AAIAAtQYGBgQAAAMABAAAAwBkIA==; \
                          sprop-pps=RAHBcoYMRiQ=";

/// One make's camera.
struct Make {
    name: &'static str,
    /// Path and query of its URL.
    path: &'static str,
    /// Headers of its answer to DESCRIBE; `{url}` is the one that was asked for.
    described: &'static str,
    /// Its description; `{url}` and `{sprop}` are replaced.
    sdp: &'static str,
    /// What it says of the transport; `{asked}` is what was asked for.
    transport: &'static str,
    session: &'static str,
    /// Packets after PLAY: of H.264 with the sets in band unless the description has H.265.
    packets: fn() -> Vec<u8>,
    /// Where the video is set up, and what is played: after the URL, or whole.
    setup: &'static str,
    play: &'static str,
    sound: Option<u32>,
    also_offered: &'static [&'static str],
}

/// Each parameter set in a packet of its own, then the picture.
fn sets_alone() -> Vec<u8> {
    [rtp(9, 0, false, SPS), rtp(10, 0, false, PPS), rtp(11, 0, true, IDR)].concat()
}

/// Sets together (RFC 6184 §5.7.1), the picture in fragments (§5.8).
fn aggregated() -> Vec<u8> {
    let mut sets = vec![0x78];
    for set in [SPS, PPS] {
        sets.extend_from_slice(&u16::try_from(set.len()).expect("short").to_be_bytes());
        sets.extend_from_slice(set);
    }
    let fragments = [&[0x7c, 0x85, 0x88][..], &[0x7c, 0x05, 1, 2], &[0x7c, 0x45, 3]];
    let fragments = fragments.iter().zip(2u16..).map(|(part, seq)| rtp(seq, 0, seq == 4, part));
    [rtp(1, 0, false, &sets)].into_iter().chain(fragments).collect::<Vec<_>>().concat()
}

/// A header extension with the camera's time before each payload (ONVIF Streaming §6.3).
fn with_onvif_extension() -> Vec<u8> {
    let extended = |seq: u8, marker: u8, payload: &[u8]| {
        let head = [0x90, marker | 35, 0, seq, 0, 0, 0, 0, 0, 0, 0, 7, 0xab, 0xac, 0, 3];
        interleaved(0, &[&head[..], &[1; 12], payload].concat())
    };
    [extended(1, 0, SPS), extended(2, 0, PPS), extended(3, 0x80, IDR)].concat()
}

fn h265_picture() -> Vec<u8> {
    let head = [0x80, 0x80 | 98, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
    interleaved(0, &[&head[..], &[0x26, 0x01, 0xaf, 1]].concat())
}

const MAKES: &[Make] = &[
    Make {
        name: "Hikvision",
        path: "/Streaming/Channels/101?transportmode=unicast&profile=Profile_1",
        described: "Content-Type: application/sdp\r\nContent-Base: {url}/\r\n",
        sdp: "v=0\r\no=- 1109162014219182 1109162014219192 IN IP4 192.0.2.10\r\ns=Media Presentation\r\n\
              e=NONE\r\nb=AS:5100\r\nt=0 0\r\na=control:{url}/\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\n\
              b=AS:5000\r\na=recvonly\r\na=x-dimensions:320,240\r\na=control:{url}/trackID=1\r\n\
              a=rtpmap:96 H264/90000\r\na=fmtp:96 profile-level-id=420029; packetization-mode=1; \
              sprop-parameter-sets={sprop}\r\nm=audio 0 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\nb=AS:50\r\na=recvonly\r\n\
              a=control:{url}/trackID=2\r\na=rtpmap:8 PCMA/8000\r\na=Media_header:MEDIAINFO=494D4B48;\r\n\
              a=appversion:1.0\r\n",
        transport: "{asked};ssrc=3da2a3b1;mode=\"play\"",
        session: "1426834568;timeout=60",
        packets: sets_alone,
        setup: "/trackID=1",
        play: "/",
        sound: Some(8_000),
        also_offered: &[],
    },
    Make {
        name: "Dahua",
        path: "/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif",
        described: "Content-Base: {url}/\r\nCache-Control: must-revalidate\r\nContent-Type: application/sdp\r\n\
                    x-Accept-Dynamic-Rate: 1\r\n",
        sdp: "v=0\r\no=- 2251938203 2251938203 IN IP4 0.0.0.0\r\ns=Media Server\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
              a=control:*\r\na=packetization-supported:DH\r\na=rtppayload-supported:DH\r\na=range:npt=now-\r\n\
              m=video 0 RTP/AVP 96\r\na=control:trackID=0\r\na=framerate:25.000000\r\na=rtpmap:96 H264/90000\r\n\
              a=fmtp:96 packetization-mode=1;profile-level-id=4D002A;sprop-parameter-sets={sprop}\r\na=recvonly\r\n\
              m=audio 0 RTP/AVP 97\r\na=control:trackID=1\r\na=rtpmap:97 MPEG4-GENERIC/16000\r\na=fmtp:97 \
              streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408\r\n\
              a=recvonly\r\nm=application 0 RTP/AVP 107\r\na=control:trackID=4\r\n\
              a=rtpmap:107 vnd.onvif.metadata/90000\r\na=recvonly\r\n",
        transport: "{asked};ssrc=4DA1B2C3",
        session: "764563425;timeout=60",
        packets: aggregated,
        setup: "/trackID=0",
        play: "",
        sound: Some(16_000),
        also_offered: &["onvif metadata"],
    },
    Make {
        name: "Axis",
        path: "/axis-media/media.amp?videocodec=h264&resolution=320x240",
        described: "Content-Type: application/sdp\r\nContent-Base: {base}/axis-media/media.amp/\r\n\
                    Server: GStreamer RTSP server\r\n",
        sdp: "v=0\r\no=- 18315797286303868614 1 IN IP4 127.0.0.1\r\ns=Session streamed with GStreamer\r\n\
              i=rtsp-server\r\nt=0 0\r\na=tool:GStreamer\r\na=type:broadcast\r\na=range:npt=now-\r\n\
              a=control:{url}\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\nb=AS:50000\r\na=rtpmap:96 H264/90000\r\n\
              a=fmtp:96 packetization-mode=1;profile-level-id=4d0029;sprop-parameter-sets={sprop}\r\n\
              a=ts-refclk:local\r\na=mediaclk:sender\r\na=recvonly\r\n\
              a=control:{base}/axis-media/media.amp/stream=0?videocodec=h264&resolution=320x240\r\na=framerate:30.000000\r\n\
              a=transform:1.000000,0.000000,0.000000;0.000000,1.000000,0.000000;0.000000,0.000000,1.000000\r\n",
        transport: "{asked};ssrc=B4D9A6F1;mode=\"PLAY\"",
        session: "oKQyWUnKlJVQ1M0z;timeout=60",
        packets: aggregated,
        setup: "{base}/axis-media/media.amp/stream=0?videocodec=h264&resolution=320x240",
        play: "",
        sound: None,
        also_offered: &[],
    },
    Make {
        name: "Bosch",
        path: "/rtsp_tunnel?h26x=4&line=1&inst=1",
        described: "Content-Base: {base}/\r\nContent-Type: application/sdp\r\nx-Accept-Dynamic-Rate: 1\r\n",
        sdp: "v=0\r\no=- 0 0 IN IP4 192.0.2.13\r\ns=LIVE VIEW\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:{url}\r\n\
              m=video 0 RTP/AVP 35\r\na=rtpmap:35 H264/90000\r\na=control:{base}/rtsp_tunnel?h26x=4&line=1&inst=1&stream=video\r\n\
              a=recvonly\r\na=fmtp:35 packetization-mode=1;profile-level-id=4d4028;sprop-parameter-sets={sprop}\r\n\
              m=application 0 RTP/AVP 98\r\na=rtpmap:98 vnd.onvif.metadata/90000\r\n\
              a=control:{base}/rtsp_tunnel?h26x=4&line=1&inst=1&stream=meta\r\na=recvonly\r\n",
        transport: "{asked};mode=\"PLAY\"",
        session: "4c0a21f3;timeout=60",
        packets: with_onvif_extension,
        setup: "{base}/rtsp_tunnel?h26x=4&line=1&inst=1&stream=video",
        play: "",
        sound: None,
        also_offered: &["onvif metadata"],
    },
    Make {
        name: "Hanwha",
        path: "/profile2/media.smp",
        described: "Content-Type: application/sdp\r\nContent-Base: {url}/\r\n",
        sdp: "v=0\r\no=- 0 0 IN IP4 192.0.2.14\r\ns=Media Presentation\r\ni=samsung\r\nc=IN IP4 0.0.0.0\r\n\
              b=AS:2632\r\nt=0 0\r\na=control:{url}\r\na=range:npt=now-\r\nm=video 42538 RTP/AVP 98\r\nb=AS:2560\r\n\
              a=rtpmap:98 H265/90000\r\na=control:trackID=v\r\na=cliprect:0,0,320,240\r\na=framesize:98 320-240\r\n\
              a=framerate:30.0\r\na=fmtp:98 {sprop}\r\nm=audio 42538 RTP/AVP 0\r\nb=AS:64\r\na=rtpmap:0 PCMU/8000\r\n\
              a=control:trackID=a\r\na=recvonly\r\nm=application 42538 RTP/AVP 107\r\nb=AS:8\r\n\
              a=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:trackID=m\r\na=recvonly\r\n",
        transport: "{asked};mode=\"PLAY\"",
        session: "B5DB3DA1;timeout=60",
        packets: h265_picture,
        setup: "/trackID=v",
        play: "",
        sound: Some(8_000),
        also_offered: &["onvif metadata"],
    },
    Make {
        name: "Vivotek",
        path: "/live.sdp",
        described: "Content-Base: {url}/\r\nContent-Type: application/sdp\r\n",
        sdp: "v=0\no=RTSP 1479386413 460 IN IP4 0.0.0.0\ns=RTSP server\nc=IN IP4 0.0.0.0\nt=0 0\na=charset:Shift_JIS\n\
              a=range:npt=0-\na=control:*\na=etag:1234567890\nm=video 0 RTP/AVP 96\nb=AS:0\na=rtpmap:96 H264/90000\n\
              a=control:trackID=2\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\n\
              m=audio 0 RTP/AVP 97\na=control:trackID=4\na=rtpmap:97 mpeg4-generic/8000/2\na=fmtp:97 streamtype=5; \
              profile-level-id=15; mode=AAC-hbr; config=1590;SizeLength=13; IndexLength=3; IndexDeltaLength=3\n",
        transport: "{asked};mode=play",
        session: "1223425672",
        packets: sets_alone,
        setup: "/trackID=2",
        play: "",
        sound: Some(8_000),
        also_offered: &[],
    },
    Make {
        name: "Reolink",
        path: "/h264Preview_01_main",
        described: "Date: Sat, Apr 17 2026 12:31:51 GMT\r\nContent-Base: {url}/\r\nContent-Type: application/sdp\r\n",
        sdp: "v=0\r\no=- 1586878510 1 IN IP4 192.0.2.16\r\ns=Session streamed by \"preview\"\r\n\
              i=h264Preview_01_main\r\nt=0 0\r\na=tool:LIVE555 Streaming Media v2013.04.08\r\na=type:broadcast\r\n\
              a=control:*\r\na=range:npt=0-\r\na=x-qt-text-nam:Session streamed by \"preview\"\r\n\
              m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\nb=AS:500\r\na=rtpmap:96 H264/90000\r\n\
              a=range:npt=0-\r\na=fmtp:96 packetization-mode=1;profile-level-id=640033;sprop-parameter-sets={sprop}\r\n\
              a=control:trackID=1\r\nm=audio 0 RTP/AVP 97\r\nc=IN IP4 0.0.0.0\r\nb=AS:256\r\n\
              a=rtpmap:97 MPEG4-GENERIC/16000\r\na=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;\
              sizelength=13;indexlength=3;indexdeltalength=3;config=1408;\r\na=control:trackID=2\r\n",
        transport: "{asked}",
        session: "4E0F2C3A;timeout=65",
        packets: sets_alone,
        setup: "/trackID=1",
        play: "",
        sound: Some(16_000),
        also_offered: &[],
    },
];

impl Make {
    fn filled(&self, text: &str, asked: &Asked) -> String {
        let url = asked.url.as_str();
        let host = url.split('/').take(3).collect::<Vec<_>>().join("/");
        let sprop = if self.sdp.contains("H265") { SPROP_H265 } else { SPROP };
        text.replace("{url}", url).replace("{base}", &host).replace("{sprop}", sprop)
    }

    fn react(&self, asked: &Asked) -> Reaction {
        let head = asked.head("200 OK");
        match asked.method.as_str() {
            "DESCRIBE" => {
                let sdp = self.filled(self.sdp, asked);
                let headers = self.filled(self.described, asked);
                format!("{head}{headers}Content-Length: {}\r\n\r\n{sdp}", sdp.len()).into()
            }
            "SETUP" => {
                let transport = self.transport.replace("{asked}", asked.header("transport"));
                format!("{head}Session: {}\r\nTransport: {transport}\r\n\r\n", self.session).into()
            }
            "PLAY" => {
                let id = self.session.split(';').next().unwrap_or_default();
                let info = format!("RTP-Info: url={};seq=1;rtptime=0", asked.url);
                let answer = format!("{head}Session: {id}\r\n{info}\r\nRange: npt=0.000-\r\n\r\n");
                [answer.into_bytes(), (self.packets)()].concat().into()
            }
            _ => format!("{head}\r\n").into(),
        }
    }
}

#[tokio::test]
async fn cameras_of_common_makes_are_set_up_where_they_say_and_recorded() {
    for make in MAKES {
        let camera = Camera::start(|asked| make.react(asked)).await;
        let url = camera.url.join(make.path).expect("a url");
        let mut config = config(url.as_str());
        config.audio = true;
        let source = RtspSource::new(config, Arc::new(SystemClock::default()), SessionGroup::default());
        let opened = source.open().await;
        let mut session = opened.unwrap_or_else(|error| panic!("{}: {error}", make.name));
        let unit = loop {
            match session.items.next().await {
                Some(Ok(Item::AccessUnit(unit))) => break unit,
                Some(Ok(_)) => {}
                end => panic!("{}: {end:?} in the place of a picture", make.name),
            }
        };
        let h265 = make.sdp.contains("H265");
        let picture = if h265 { sample(&[0x26, 0x01, 0xaf, 1]) } else { sample(IDR) };
        // Parameter sets that come with it may stay before it.
        assert!(unit.data.ends_with(&picture) && unit.random_access, "{}: {:02x?}", make.name, unit.data);
        assert_eq!(session.also_offered, make.also_offered, "{}", make.name);
        assert!(session.odd.is_empty(), "{}: {:?}", make.name, session.odd);
        assert_eq!(session.params.audio.as_ref().map(|audio| audio.clock_rate), make.sound, "{}", make.name);
        let asked = camera.asked();
        let first = |method: &str| asked.iter().find(|a| a.method == method).map(|a| a.url.clone()).unwrap_or_default();
        let expected = |text: &str| match text.strip_prefix("{base}") {
            Some(rest) => format!("{}{rest}", url.as_str().strip_suffix(make.path).expect("its path")),
            None => format!("{url}{text}"),
        };
        assert_eq!((first("SETUP"), first("PLAY")), (expected(make.setup), expected(make.play)), "{}", make.name);
        assert_eq!(camera.connections(), 1, "{}", make.name);
    }
}
