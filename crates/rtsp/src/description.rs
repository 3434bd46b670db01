//! Session descriptions (RFC 8866) as cameras write them.
//!
//! Only what recording needs is read, line by line: the streams, their codings, where they are set up. Every other line may
//! be missing, in another place, cut off or of any bytes; a strict parser would refuse cameras for their `o=` or `t=`.
//!
//! Invariant: no description, whatever its bytes, is an error here; what it lacks is missing in what comes out.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use footage::media::VideoCodec;

use super::direct::text_of;

/// Streams of one description that are looked at.
const MEDIA_MAX: usize = 64;
/// Parameter sets of one description that are looked at.
const SETS_MAX: usize = 64;
/// What video is sampled with where a camera does not say (RFC 6184 §8.2.1, RFC 7798 §7.2.1).
const VIDEO_CLOCK: u32 = 90_000;

/// Padding is often missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a camera says of its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Description {
    /// What the session as a whole is called, where that is not `*`.
    pub(super) control: Option<String>,
    pub(super) media: Vec<Media>,
    /// What is odd about it, for people.
    pub(super) odd: Vec<&'static str>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Media {
    /// `video`, `audio`, `application`, …
    pub(super) kind: String,
    pub(super) payload_type: u8,
    /// In lower case; empty where it is not known.
    pub(super) encoding: String,
    /// Hz, above zero.
    pub(super) clock_rate: u32,
    pub(super) channels: Option<NonZeroU16>,
    /// What `a=fmtp` says, without the payload type.
    pub(super) format: Option<String>,
    /// As it is written.
    pub(super) control: Option<String>,
}

impl Description {
    /// Reads a description.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = text_of(bytes);
        let mut description = Self::default();
        let mut sections: Vec<Vec<&str>> = Vec::new();
        let mut lines = Vec::new();
        for line in text.split(['\n', '\r']).map(|line| line.trim_matches(['\0', ' ', '\t'])).filter(|l| !l.is_empty())
        {
            if line.starts_with("m=") {
                sections.push(std::mem::take(&mut lines));
            }
            lines.push(line);
        }
        sections.push(lines);
        let mut sections = sections.into_iter();
        let session = sections.next().unwrap_or_default();
        description.control = control_of(&session).filter(|control| control != "*");
        description.media = sections.take(MEDIA_MAX).filter_map(|lines| Media::parse(&lines)).collect();
        description.note(bytes, &session);
        description
    }

    fn note(&mut self, bytes: &[u8], session: &[&str]) {
        let mut odd = |is: bool, what| {
            if is {
                self.odd.push(what);
            }
        };
        odd(std::str::from_utf8(bytes).is_err(), "the description is no UTF-8");
        odd(bytes.contains(&0), "the description holds a NUL");
        let origin = session.iter().find_map(|line| line.strip_prefix("o="));
        let whole = origin.is_some_and(|origin| origin.split_ascii_whitespace().count() == 6);
        odd(!whole, "the description has no whole o= line");
        odd(!session.iter().any(|line| line.starts_with("t=")), "the description has no t= line");
        let unnamed = self.media.iter().any(|m| m.kind == "video" && m.payload_type >= 96 && m.encoding.is_empty());
        odd(unnamed, "the description does not name the coding of its video");
        odd(
            self.media.iter().any(|m| m.codec().is_some() && m.clock_rate != VIDEO_CLOCK),
            "video is not sampled at 90 kHz",
        );
    }
}

fn attribute<'a>(lines: &[&'a str], name: &str) -> Vec<&'a str> {
    let value = |line: &&'a str| line.strip_prefix("a=")?.strip_prefix(name)?.trim_start().strip_prefix(':');
    lines.iter().filter_map(value).map(str::trim).collect()
}

fn control_of(lines: &[&str]) -> Option<String> {
    attribute(lines, "control").first().filter(|control| !control.is_empty()).map(|control| (*control).to_owned())
}

impl Media {
    /// Lines that begin with `m=`.
    fn parse(lines: &[&str]) -> Option<Self> {
        let mut words = lines.first()?.strip_prefix("m=")?.split_ascii_whitespace();
        let kind = words.next()?.split('/').next()?.to_ascii_lowercase();
        // Port and protocol, one of which some leave out; then payload types, the first of which may have no name.
        let types: Vec<u8> = words.skip(1).filter_map(|word| word.parse().ok().filter(|pt| *pt < 128)).collect();
        let number = |value: &str| value.split(char::is_whitespace).next().and_then(|n| n.parse::<u8>().ok());
        let named: BTreeSet<u8> = attribute(lines, "rtpmap").into_iter().filter_map(number).collect();
        let payload_type = types.iter().copied().find(|pt| named.contains(pt)).or(types.first().copied());
        let of_type = |name: &str| {
            let split = attribute(lines, name).into_iter().filter_map(|value| value.split_once(char::is_whitespace));
            let (mut first, mut own) = (None, None);
            for (pt, rest) in split {
                own = own.or(Some(rest.trim()).filter(|_| pt.parse().ok() == payload_type));
                first = first.or(Some(rest.trim()));
            }
            own.or(first).map(str::to_owned)
        };
        let map = of_type("rtpmap").unwrap_or_default();
        let mut map = map.split('/').map(str::trim);
        let mut encoding = map.next().unwrap_or_default().to_ascii_lowercase();
        let clock_rate = map.next().and_then(|rate| rate.parse().ok()).filter(|rate| *rate > 0);
        let channels = map.next().and_then(|channels| channels.parse().ok());
        let payload_type = payload_type.unwrap_or(0);
        let known = if encoding.is_empty() { static_type(&kind, payload_type) } else { None };
        if let Some((name, _)) = known {
            name.clone_into(&mut encoding);
        }
        let default_rate = known.map_or(if kind == "audio" { 8_000 } else { VIDEO_CLOCK }, |(_, rate)| rate);
        Some(Self {
            payload_type,
            encoding,
            clock_rate: clock_rate.unwrap_or(default_rate),
            channels,
            format: of_type("fmtp"),
            control: control_of(lines),
            kind,
        })
    }

    /// The coding, for video that is recorded. Where it has no name its parameters tell it.
    pub(super) fn codec(&self) -> Option<VideoCodec> {
        if self.kind != "video" {
            return None;
        }
        match self.encoding.as_str() {
            "h264" | "avc" | "h264-svc" => Some(VideoCodec::H264),
            "h265" | "hevc" => Some(VideoCodec::H265),
            "" if self.payload_type >= 96 => {
                let is_h265 = ["sprop-vps", "sprop-sps", "sprop-pps"].iter().any(|name| self.parameter(name).is_some());
                Some(if is_h265 { VideoCodec::H265 } else { VideoCodec::H264 })
            }
            _ => None,
        }
    }

    /// A parameter of the format (RFC 6184 §8.1, RFC 7798 §7.1).
    fn parameter(&self, name: &str) -> Option<&str> {
        let value = |part: &&str| part.split_once('=').is_some_and(|(n, _)| n.trim().eq_ignore_ascii_case(name));
        self.format.as_deref()?.split(';').find(value)?.split_once('=').map(|(_, value)| value.trim())
    }

    /// The parameter sets that the format holds, without the start codes that some cameras put before them. What cannot
    /// be read is left out: the sets will come with the pictures.
    pub(super) fn parameter_sets(&self) -> Vec<Bytes> {
        let names: &[&str] = match self.codec() {
            Some(VideoCodec::H264) => &["sprop-parameter-sets"],
            Some(VideoCodec::H265) => &["sprop-vps", "sprop-sps", "sprop-pps"],
            None => &[],
        };
        let written = names.iter().filter_map(|name| self.parameter(name)).flat_map(|list| list.split(','));
        let sets = written.filter_map(|set| BASE64.decode(set.trim().trim_matches('"')).ok());
        sets.flat_map(|set| units(&set)).take(SETS_MAX).collect()
    }
}

/// The NAL units of a byte stream (H.264 annex B), or the one that these bytes are.
fn units(bytes: &[u8]) -> Vec<Bytes> {
    if !bytes.starts_with(&[0, 0, 1]) && !bytes.starts_with(&[0, 0, 0, 1]) {
        return if bytes.is_empty() { Vec::new() } else { vec![Bytes::copy_from_slice(bytes)] };
    }
    let starts: Vec<usize> =
        (0..bytes.len().saturating_sub(2)).filter(|i| bytes[*i..].starts_with(&[0, 0, 1])).collect();
    let unit = |(n, start): (usize, &usize)| {
        let end = starts.get(n + 1).copied().unwrap_or(bytes.len());
        let unit = &bytes[start + 3..end];
        let kept = unit.len() - unit.iter().rev().take_while(|b| **b == 0).count();
        Bytes::copy_from_slice(&unit[..kept])
    };
    starts.iter().enumerate().map(unit).filter(|unit| !unit.is_empty()).collect()
}

/// Codings that need no `a=rtpmap` (RFC 3551 §6), with their clock rates.
fn static_type(kind: &str, payload_type: u8) -> Option<(&'static str, u32)> {
    Some(match (kind, payload_type) {
        ("audio", 0) => ("pcmu", 8_000),
        ("audio", 4) => ("g723", 8_000),
        ("audio", 8) => ("pcma", 8_000),
        ("audio", 9) => ("g722", 8_000),
        ("audio", 10 | 11) => ("l16", 44_100),
        ("audio", 14) => ("mpa", 90_000),
        ("audio", 18) => ("g729", 8_000),
        ("video", 26) => ("jpeg", 90_000),
        ("video", 32) => ("mpv", 90_000),
        ("video", 33) => ("mp2t", 90_000),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPROP: &str = "Z0LADdkBQfsBagwMDUoAAAMAAgAAAwBlHihUkA==,aMuMsg==";

    fn video(lines: &str) -> String {
        format!("m=video 0 RTP/AVP 96\r\n{lines}a=control:track1\r\n")
    }

    fn regular() -> String {
        let lines =
            format!("a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={SPROP}\r\n");
        format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=control:*\r\n{}", video(&lines))
    }

    /// The only stream of a description that is one of H.264 at 90 kHz, whatever else is in it.
    fn check(bytes: impl AsRef<[u8]>, odd: &[&str]) {
        let description = Description::parse(bytes.as_ref());
        let seen = text_of(bytes.as_ref());
        assert_eq!(description.odd, odd, "{seen}");
        let wanted: Vec<_> = description.media.iter().filter(|m| m.codec() == Some(VideoCodec::H264)).collect();
        let [media] = wanted[..] else { panic!("no single video in {seen}") };
        assert_eq!(
            (media.clock_rate, media.payload_type, media.control.as_deref()),
            (90_000, 96, Some("track1")),
            "{seen}"
        );
        let kinds: Vec<u8> = media.parameter_sets().iter().map(|set| set[0] & 0x1f).collect();
        assert_eq!(kinds, [7, 8], "{seen}");
    }

    #[test]
    fn lines_that_recording_does_not_need_may_be_anything() {
        let (origin, time) = ("the description has no whole o= line", "the description has no t= line");
        check(regular(), &[]);
        for own in ["o=- 1001 1 IN", "o=- 1 1 IN IP4", "o=-", "o=", ""] {
            check(regular().replace("o=- 1 1 IN IP4 127.0.0.1\r\n", &format!("{own}\r\n")), &[origin]);
        }
        check(regular().replace("t=0 0\r\n", ""), &[time]);
        check(
            regular().replace("t=0 0\r\n", "e=NONE\r\nc=IN IP4 0.0.0.0\r\na=tool:x\r\nt=0 0\r\ni=\r\nk=\r\n?!\r\n"),
            &[],
        );
        check(regular().replace("\r\n", "\n").replace("m=video", "\nm=video"), &[]);
        check(regular().replace("\r\n", "\r"), &[]);
        check(regular() + "\0", &["the description holds a NUL"]);
        check(regular().replace("s=x", "s=").trim_end(), &[]);
        let latin: Vec<u8> = regular().replace("s=x", "s=cam\u{e9}ra").chars().map(|c| c as u8).collect();
        check(latin, &["the description is no UTF-8"]);
        let beside = "m=application/TCP 0 RTP/AVP smart/1/90000\r\nm=application\r\nm=audio 0 RTP/AVP 8\r\nm=\r\n";
        check(regular().replace("m=video", &format!("{beside}m=video")), &[]);
        check(regular().replace("m=video 0 RTP/AVP", "m=video 0 RTP/AVP 97"), &[]);
    }

    #[test]
    fn codings_are_known_by_any_of_their_names() {
        for map in
            ["a=rtpmap:96 h264/90000 ", "a=rtpmap: 96 H264 / 90000", "a=rtpmap:97 H264/90000", "a=rtpmap:96 H264"]
        {
            check(regular().replace("a=rtpmap:96 H264/90000", map), &[]);
        }
        check(
            regular().replace("a=rtpmap:96 H264/90000\r\n", ""),
            &["the description does not name the coding of its video"],
        );
        for (name, lines) in [
            ("H265", "a=rtpmap:96 h265/90000\r\n"),
            ("HEVC", "a=rtpmap:96 HEVC/90000\r\n"),
            ("no name", "a=fmtp:96 sprop-vps=QAE=;sprop-sps=QgE=\r\n"),
        ] {
            let description = Description::parse(video(lines).as_bytes());
            assert_eq!(description.media[0].codec(), Some(VideoCodec::H265), "{name}");
        }
        for other in ["m=video 0 RTP/AVP 26\r\n", "m=audio 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"] {
            assert_eq!(Description::parse(other.as_bytes()).media[0].codec(), None, "{other}");
        }
    }

    #[test]
    fn parameter_sets_are_read_as_far_as_they_can_be() {
        let sets = |sprop: &str| {
            let lines = format!("a=rtpmap:96 H264/90000\r\na=fmtp:96 sprop-parameter-sets={sprop}; x\r\n");
            let description = Description::parse(video(&lines).as_bytes());
            description.media[0].parameter_sets().iter().map(|set| set[0] & 0x1f).collect::<Vec<_>>()
        };
        assert_eq!(sets(SPROP), [7, 8]);
        assert_eq!(sets(&SPROP.replace('=', "")), [7, 8], "without padding");
        assert_eq!(sets(&SPROP.replace(',', " , ")), [7, 8]);
        assert_eq!(sets("Z0LADQ==,"), [7]);
        assert_eq!(sets("???,aMuMsg=="), [8]);
        assert!(sets("").is_empty());
        // Start codes: one unit a value, both in one value.
        assert_eq!(sets("AAAAAWdCwA0=,AAAAAWjLjLI="), [7, 8]);
        assert_eq!(sets("AAAAAWdCwA0AAAABaMuMsgA="), [7, 8]);
    }

    #[test]
    fn a_stream_of_many_types_and_names_takes_no_time_for_each_pair() {
        let types = " 1".repeat(64 * 1024);
        let maps = "a=rtpmap:x\n".repeat(11 * 1024);
        let description = format!("m=video 0 RTP/AVP{types} 97\n{maps}a=rtpmap:97 H265/90000\n");
        let media = Description::parse(description.as_bytes()).media;
        assert_eq!((media[0].payload_type, media[0].codec()), (97, Some(VideoCodec::H265)));
    }

    #[test]
    fn a_thousand_streams_are_not_looked_at() {
        let many = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n".repeat(5_000);
        assert_eq!(Description::parse(many.as_bytes()).media.len(), MEDIA_MAX);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            lines in prop::collection::vec("(m=|a=rtpmap:|a=fmtp:|a=control:|o=)[ -~]{0,30}", 0..8),
        ) {
            for text in [bytes, lines.join("\n").into_bytes()] {
                let description = Description::parse(&text);
                description.media.iter().for_each(|media| drop(media.parameter_sets()));
            }
        }
    }
}
