//! The session description (RFC 4566).

use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::rtp::PAYLOAD_TYPE;
use super::stream::{Codec, ElementaryStream};
use super::{CameraFaults, SimulatedCamera};

/// What the camera says it offers.
pub(super) fn description(camera: &SimulatedCamera, faults: &CameraFaults) -> String {
    let mut sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=Simulated camera\r\nt=0 0\r\na=control:*\r\n".to_owned();
    if faults.no_video {
        sdp.push_str("m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=control:track2\r\n");
    } else if faults.mjpeg_only {
        sdp.push_str("m=video 0 RTP/AVP 26\r\na=rtpmap:26 JPEG/90000\r\na=control:track1\r\n");
    } else {
        sdp.push_str(&video(camera.film(faults)));
    }
    sdp
}

/// Parameter sets as RFC 6184 §8.1 and RFC 7798 §7.1 write them.
fn video(stream: &ElementaryStream) -> String {
    let listed = |is_kind: &dyn Fn(u8) -> bool| {
        let sets = stream.parameter_sets.iter().filter(|nal| is_kind(nal[0]));
        sets.map(|nal| BASE64_STANDARD.encode(nal)).collect::<Vec<_>>().join(",")
    };
    let (name, parameters) = match stream.codec {
        Codec::H264 => {
            // Profile, constraints and level of the first sequence parameter set (ITU-T H.264 §7.3.2.1.1).
            let sps = stream.parameter_sets.iter().find(|nal| nal[0] & 0x1f == 7 && nal.len() >= 4);
            let profile = sps.map(|nal| format!("profile-level-id={:02x}{:02x}{:02x};", nal[1], nal[2], nal[3]));
            let (profile, sets) = (profile.unwrap_or_default(), listed(&|_| true));
            ("H264", format!("packetization-mode=1;{profile}sprop-parameter-sets={sets}"))
        }
        Codec::H265 => {
            let of_type = |wanted: u8| listed(&|head| head >> 1 & 0x3f == wanted);
            ("H265", format!("sprop-vps={};sprop-sps={};sprop-pps={}", of_type(32), of_type(33), of_type(34)))
        }
    };
    let mut media = String::new();
    let pt = PAYLOAD_TYPE;
    // Writing to a string does not fail.
    let _ = write!(
        media,
        "m=video 0 RTP/AVP {pt}\r\na=rtpmap:{pt} {name}/90000\r\na=fmtp:{pt} {parameters}\r\na=control:track1\r\n"
    );
    media
}
