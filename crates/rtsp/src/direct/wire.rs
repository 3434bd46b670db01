//! What comes over an RTSP connection, taken apart: interleaved packets (RFC 2326 §10.12), answers, requests.
//!
//! Cameras write messages in many ways: bare line feeds, folded headers, names in lower case, bytes that are no UTF-8, a
//! `Content-Length` that is too low. All of these are read. What is no message and no packet is passed over up to the next
//! thing that looks like one.
//!
//! Invariant: a message is never larger than [`HEAD_BYTES_MAX`] and [`BODY_BYTES_MAX`], and an announced length is checked
//! before anything waits for it. No I/O, no state.

/// Of an interleaved packet: `$`, channel and length.
pub(super) const FRAMING_BYTES: usize = 4;
/// First line and headers of a message are never longer.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// A body, which is a session description, is never longer.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;
/// Further headers of a message are not looked at.
const HEADERS_MAX: usize = 256;
/// Longest name of a method: `GET_PARAMETER`.
const METHOD_BYTES_MAX: usize = 16;
/// Cameras use the first few channels.
const CHANNELS_LIKELY: u8 = 16;
/// An RTP header (RFC 3550 §5.1), an RTCP header with its SSRC (§6.1).
const PACKET_BYTES_MIN: usize = 8;

/// A message that is too large to be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum WireError {
    #[error("more than {HEAD_BYTES_MAX} bytes of headers")]
    Head,
    #[error("a message of more than {BODY_BYTES_MAX} bytes")]
    Body,
}

/// What a camera sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'a> {
    /// An interleaved packet.
    Packet { channel: u8, packet: &'a [u8] },
    /// An answer to a request of ours.
    Answer(Answer),
    /// A request of the camera's.
    Request(Asked),
    /// Line breaks between messages.
    Blank,
    /// What is none of these.
    Stray,
}

/// An answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// For people; the camera chooses it.
    pub(super) reason: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// A request of the camera's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) cseq: String,
}

impl Answer {
    /// The first header of this name, which is given in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Every header of this name.
    pub(super) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Each header, in its order.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn all_headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether an answer to `OPTIONS`, or any other that lists them, names this method.
    pub(super) fn offers(&self, method: &str) -> bool {
        self.header("public").is_some_and(|public| public.split(',').any(|m| m.trim().eq_ignore_ascii_case(method)))
    }
}

/// The first thing in `received`, with its length; `None` when more has to come.
#[inline]
pub(super) fn next_message(received: &[u8]) -> Result<Option<(usize, Incoming<'_>)>, WireError> {
    match received {
        [b'$', channel, l0, l1, after @ ..] => {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            if !may_be_packet(*channel, length, after) {
                return Ok(Some((stray(received), Incoming::Stray)));
            }
            let packet = after.get(..length);
            Ok(packet.map(|packet| (FRAMING_BYTES + packet.len(), Incoming::Packet { channel: *channel, packet })))
        }
        [] | [b'$', ..] => Ok(None),
        [b'\r' | b'\n', ..] => {
            let blank = received.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            Ok(Some((blank, Incoming::Blank)))
        }
        _ => match Start::of(received) {
            Start::Message => message(received),
            Start::Undecided => Ok(None),
            Start::Neither => Ok(Some((stray(received), Incoming::Stray))),
        },
    }
}

/// Whether what follows `$`, channel and length speaks for a packet.
#[inline]
fn may_be_packet(channel: u8, length: usize, after: &[u8]) -> bool {
    let is_rtp = after.first().is_none_or(|first| first >> 6 == 2);
    if length >= PACKET_BYTES_MIN {
        return is_rtp || channel < CHANNELS_LIKELY;
    }
    // Too short for RTP and RTCP: then at least something that we know has to come next.
    after.get(length).is_none_or(|next| matches!(next, b'$' | b'\r' | b'\n' | b'A'..=b'Z'))
}

/// What bytes that are no packet begin with.
enum Start {
    Message,
    Undecided,
    Neither,
}

impl Start {
    fn of(received: &[u8]) -> Self {
        let version = b"RTSP/";
        let known = received.len().min(version.len());
        if received[..known].eq_ignore_ascii_case(&version[..known]) {
            return if known == version.len() { Self::Message } else { Self::Undecided };
        }
        let method = received.iter().take_while(|b| b.is_ascii_uppercase() || **b == b'_').count();
        match received.get(method) {
            None if method <= METHOD_BYTES_MAX => Self::Undecided,
            Some(b' ') if (3..=METHOD_BYTES_MAX).contains(&method) => Self::of_request(received),
            _ => Self::Neither,
        }
    }

    /// A first line that ends as a request's does.
    fn of_request(received: &[u8]) -> Self {
        let line = received.iter().take(HEAD_BYTES_MAX).position(|b| *b == b'\n');
        // The same whether the line is all there or not: what a read holds decides nothing.
        let seen = &received[..line.unwrap_or(received.len())];
        let is_text = seen.iter().all(|b| (b' '..0x7f).contains(b) || *b == b'\r');
        match line {
            _ if !is_text => Self::Neither,
            Some(_) if seen.trim_ascii_end().windows(6).rev().take(8).any(|w| w == b" RTSP/") => Self::Message,
            None if received.len() < HEAD_BYTES_MAX => Self::Undecided,
            _ => Self::Neither,
        }
    }
}

/// How many bytes to pass over: up to what may be the next packet or answer.
fn stray(received: &[u8]) -> usize {
    let may_begin = |i: &usize| match &received[*i..] {
        // A packet that nothing speaks against: of some length, and of version 2 as far as it is there.
        [b'$', rest @ ..] => match rest {
            [_, l0, l1, first, ..] => speaks_for_packet([*l0, *l1], *first),
            _ => true,
        },
        rest => {
            let version = b"RTSP/";
            let known = rest.len().min(version.len());
            rest[..known] == version[..known]
        }
    };
    (1..received.len()).find(may_begin).unwrap_or(received.len())
}

/// How many bytes to pass over of a message beyond its bounds: what was looked at for it is not looked at again, so that
/// the work is a small multiple of the bytes, whatever they are. In a head is no packet.
pub(super) fn oversized(received: &[u8]) -> usize {
    match Head::of(received) {
        Ok(Head::Whole(bytes) | Head::Broken(bytes)) => bytes,
        Ok(Head::Incomplete) | Err(_) => received.len().min(HEAD_BYTES_MAX),
    }
}

fn message(received: &[u8]) -> Result<Option<(usize, Incoming<'static>)>, WireError> {
    let head = match Head::of(received)? {
        Head::Whole(head) => head,
        Head::Broken(at) => return Ok(Some((at, Incoming::Stray))),
        Head::Incomplete => return Ok(None),
    };
    let text = text_of(&received[..head]);
    let (first, headers) = parse_head(&text);
    let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let after = &received[head..];
    let Some(length) = body_length(find("content-length"), find("content-type"), after)? else { return Ok(None) };
    let body = &after[..length];
    let used = head + length;
    let first = printable(first);
    let mut words = first.split_ascii_whitespace();
    let begins = words.next().unwrap_or_default();
    if begins.len() >= 5 && begins.as_bytes()[..5].eq_ignore_ascii_case(b"RTSP/") {
        let Some(status) = words.next().and_then(|status| status.parse().ok()) else {
            return Ok(Some((used, Incoming::Stray)));
        };
        let reason = words.collect::<Vec<_>>().join(" ");
        return Ok(Some((used, Incoming::Answer(Answer { status, reason, headers, body: body.to_vec() }))));
    }
    let cseq = find("cseq").unwrap_or_default().to_owned();
    Ok(Some((used, Incoming::Request(Asked { method: begins.to_owned(), cseq }))))
}

/// What first line and headers are.
enum Head {
    /// So long, with the blank line after them.
    Whole(usize),
    /// None: a packet begins there.
    Broken(usize),
    /// Not all there.
    Incomplete,
}

impl Head {
    /// A dollar at the end of a line, or before a tab, is a header's own: channels of these numbers are not among those
    /// that are asked for.
    fn of(received: &[u8]) -> Result<Self, WireError> {
        let seen = &received[..received.len().min(HEAD_BYTES_MAX)];
        for (at, _) in seen.iter().enumerate().filter(|(_, byte)| matches!(byte, b'\n' | b'$')) {
            match &seen[at..] {
                [b'\n', b'\n', ..] => return Ok(Self::Whole(at + 2)),
                [b'\n', b'\r', b'\n', ..] => return Ok(Self::Whole(at + 3)),
                [b'$', channel, l0, l1, first, ..]
                    if *channel < CHANNELS_LIKELY
                        && !channel.is_ascii_whitespace()
                        && speaks_for_packet([*l0, *l1], *first) =>
                {
                    return Ok(Self::Broken(at));
                }
                _ => {}
            }
        }
        if received.len() >= HEAD_BYTES_MAX { Err(WireError::Head) } else { Ok(Self::Incomplete) }
    }
}

/// Of some length, and of version 2 (RFC 3550 §5.1).
fn speaks_for_packet(length: [u8; 2], first: u8) -> bool {
    usize::from(u16::from_be_bytes(length)) >= PACKET_BYTES_MIN && first >> 6 == 2
}

/// How long the body is; `None` when more of it has to come.
fn body_length(length: Option<&str>, kind: Option<&str>, after: &[u8]) -> Result<Option<usize>, WireError> {
    let is_description = || kind.is_some_and(|kind| kind.to_ascii_lowercase().contains("sdp"));
    match length.map(|length| length.parse::<u64>()) {
        Some(Ok(length)) => {
            let length = usize::try_from(length).ok().filter(|l| *l <= BODY_BYTES_MAX).ok_or(WireError::Body)?;
            Ok((after.len() >= length).then_some(length))
        }
        // A description without its length: what came, once it is whole lines and describes a stream.
        _ if is_description() => {
            if after.len() > BODY_BYTES_MAX {
                return Err(WireError::Body);
            }
            let whole = after.ends_with(b"\n") && after.windows(3).any(|w| w == b"\nm=");
            Ok(whole.then_some(after.len()))
        }
        _ => Ok(Some(0)),
    }
}

/// The first line, and the headers with their names in lower case. A line that begins with a space goes on with the header
/// before it (RFC 2326 §15.1, RFC 2616 §2.2).
fn parse_head(text: &str) -> (&str, Vec<(String, String)>) {
    let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
    let first = lines.next().unwrap_or_default();
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut() {
                let more = printable(line);
                if !value.is_empty() && !more.is_empty() {
                    value.push(' ');
                }
                value.push_str(&more);
            }
        } else if let Some((name, value)) = line.split_once(':')
            && headers.len() < HEADERS_MAX
        {
            headers.push((printable(name).to_ascii_lowercase(), printable(value)));
        }
    }
    (first, headers)
}

/// Parts of messages go into requests of ours and into texts for people: without control characters, and without space
/// around them.
fn printable(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

/// Bytes as text: UTF-8 where they are, else Latin-1, which has a letter for every byte.
pub(in super::super) fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything in these bytes, as far as it is whole: packets by channel, answers by status, requests by method.
    fn all(mut rest: &[u8]) -> Result<Vec<String>, WireError> {
        let mut seen = Vec::new();
        while let Some((used, message)) = next_message(rest)? {
            match message {
                Incoming::Packet { channel, packet } => seen.push(format!("${channel}:{}", packet.len())),
                Incoming::Answer(answer) => seen.push(format!("{} {:?}", answer.status, answer.header("session"))),
                Incoming::Request(asked) => seen.push(format!("{} {}", asked.method, asked.cseq)),
                Incoming::Blank => {}
                Incoming::Stray => seen.push("stray".to_owned()),
            }
            rest = &rest[used..];
        }
        Ok(seen)
    }

    fn check(bytes: &[u8], expect: &[&str]) {
        assert_eq!(all(bytes).expect("within bounds"), expect, "{:?}", text_of(bytes));
    }

    #[test]
    fn messages_are_read_however_they_are_written() {
        let answer = [r#"200 Some("7;timeout=9")"#];
        check(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: 7;timeout=9\r\n\r\n", &answer);
        check(b"RTSP/1.0 200 OK\nCSeq: 1\nSession: 7;timeout=9\n\n", &answer);
        check(b"RTSP/1.0 200 OK\r\nCSeq:1\r\nsession:7;timeout=9 \r\n\r\n", &answer);
        check(b"RTSP/1.0 200\r\nSESSION : 7;timeout=9\r\n\r\n", &answer);
        check(b"rtsp/1.0 200 OK\r\nno colon\r\nSession: 7;timeout=9\r\n\r\n", &answer);
        check(b"\r\n\r\nRTSP/1.0 200 OK\r\nServer: cam\xe9ra\r\nSession: 7;timeout=9\r\n\r\n\r\n", &answer);
        check(b"RTSP/1.0 200 OK\r\nSession: 7;\r\n\ttimeout=9\r\n\r\n", &[r#"200 Some("7; timeout=9")"#]);
        check(b"RTSP/1.0 OK\r\n\r\n", &["stray"]);
        // What would be channel, length and first byte of a packet.
        check("RTSP/1.0 200 OK\r\nX: $\r\n÷: $\t\u{7e7}\r\nSession: 7;timeout=9\r\n\r\n".as_bytes(), &answer);
    }

    #[test]
    fn texts_of_a_message_are_without_control_characters_and_without_space_around_them() {
        let bytes = b"RTSP/1.0 401 a\x1b[2Jb \xa0\r\nA: \x01 x \x7f\r\nB:\r\n c\r\n \r\n\x0bd: \r\n\te\x00\r\n\r\n";
        let Ok(Some((_, Incoming::Answer(answer)))) = next_message(bytes) else { panic!("an answer") };
        assert_eq!((answer.status, answer.reason.as_str()), (401, "a [2Jb"));
        assert_eq!(["a", "b", "d"].map(|name| answer.header(name)), [Some("x"), Some("c"), Some("e")]);
    }

    #[test]
    fn a_request_line_is_judged_alike_whole_and_in_pieces() {
        // Not of the characters that an address may have (RFC 3986).
        for line in ["OPTIONS rtsp://h/\u{e9} RTSP/1.0", "OPTIONS rtsp://h/\0 RTSP/1.0", "ABC \t RTSP/1.0"] {
            let whole = format!("{line}\r\nCSeq: 5\r\n\r\n");
            let cut = line.find(" RTSP/").expect("a version");
            for seen in [&whole.as_bytes()[..cut], whole.as_bytes()] {
                assert!(matches!(next_message(seen), Ok(Some((_, Incoming::Stray)))), "{:?}", text_of(seen));
            }
        }
        let whole = "OPTIONS rtsp://h/s RTSP/1.0\r\nCSeq: 5\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(next_message(&whole.as_bytes()[..cut]), Ok(None), "cut at {cut}");
        }
        check(whole.as_bytes(), &["OPTIONS 5"]);
    }

    #[test]
    fn what_only_looks_like_heads_is_passed_over_without_looking_at_it_again_and_again() {
        let announced = [b"RTSP/".repeat(HEAD_BYTES_MAX / 6), b"\nContent-Length: 999999\n\n".to_vec()].concat();
        let packet = b"RTSP/$\0\0\x08\x80aaaaaaa";
        for (unit, steps_max) in [(&b"RTSP/"[..], 32), (b"RTSP/\n", 32), (&announced, 32), (packet, 2 * 40_400)] {
            let bytes = unit.repeat(8 * HEAD_BYTES_MAX / unit.len());
            let (mut rest, mut steps) = (&bytes[..], 0);
            loop {
                rest = match next_message(rest) {
                    Ok(Some((used, _))) => &rest[used..],
                    Ok(None) => break,
                    Err(_) => &rest[oversized(rest)..],
                };
                steps += 1;
            }
            assert!(steps <= steps_max, "{steps} steps for {}", unit.len());
            assert!(rest.len() < HEAD_BYTES_MAX);
        }
        // A packet that follows what looked like a head is found, and so is one behind a head that is too long.
        check(&[b"RTSP/1.0 2", &packet[5..], b"RTSP/1.0 200 OK\r\n\r\n"].concat(), &["stray", "$0:8", "200 None"]);
        let long = [&b"RTSP/".repeat(HEAD_BYTES_MAX / 5)[..], b" ", &packet[5..]].concat();
        let used = oversized(&long);
        assert_eq!(next_message(&long[used..]), Ok(Some((12, Incoming::Packet { channel: 0, packet: &packet[9..] }))));
    }

    #[test]
    fn several_challenges_are_all_there() {
        let bytes = b"RTSP/1.0 401 No\r\nWWW-Authenticate: Digest a\r\nwww-authenticate: Basic b\r\n\r\n";
        let Ok(Some((_, Incoming::Answer(answer)))) = next_message(bytes) else { panic!("an answer") };
        assert_eq!(answer.headers("www-authenticate").collect::<Vec<_>>(), ["Digest a", "Basic b"]);
    }

    #[test]
    fn requests_of_the_camera_are_distinguished_from_answers() {
        check(b"OPTIONS * RTSP/1.0\r\nCSeq: 5\r\n\r\n$\0\0\x01a", &["OPTIONS 5", "$0:1"]);
        let announced = b"ANNOUNCE rtsp://h/s RTSP/1.0\r\nCSeq: 9\r\nContent-Length: 3\r\n\r\n$$$$\x01\0\x00";
        check(announced, &["ANNOUNCE 9", "$1:0"]);
    }

    #[test]
    fn what_is_neither_message_nor_packet_is_passed_over() {
        let packet = [&[b'$', 0, 0, 9, 0x80][..], &[1; 8]].concat();
        for stray in [
            &b"\0\0\0\0"[..],
            b"garbage\r\n\r\n",
            b"ab$cd",
            b"$\0\0\x01",
            b"GET / HTTP/1.1\r\n\r\n",
            b"R",
            b"$$$",
            b"$",
        ] {
            let seen = all(&[stray, &packet, b"RTSP/1.0 200 OK\r\n\r\n"].concat()).expect("within bounds");
            assert_eq!(seen[seen.len() - 2..], ["$0:9", "200 None"], "after {stray:?}: {seen:?}");
        }
    }

    #[test]
    fn a_description_whose_length_is_wrong_or_missing_ends_where_the_next_message_begins() {
        let head = "RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\n";
        let next = "RTSP/1.0 201 x\r\n\r\n";
        let bytes = format!("{head}Content-Length: 3\r\n\r\nv=0\r\nm=video 0 RTP/AVP 96\r\n{next}");
        check(bytes.as_bytes(), &["200 None", "stray", "201 None"]);
        for length in ["", "Content-Length: -1\r\n"] {
            let bytes = format!("{head}{length}\r\nv=0\r\n");
            check(bytes.as_bytes(), &[]);
            check(format!("{bytes}m=video 0 RTP/AVP 96\r\n").as_bytes(), &["200 None"]);
        }
    }

    #[test]
    fn messages_beyond_the_bounds_are_refused_as_soon_as_they_are_seen() {
        let head = |bytes: &[u8]| [b"RTSP/1.0 200 OK\r\nX: ", bytes].concat();
        assert_eq!(all(&head(&[b'a'; HEAD_BYTES_MAX])), Err(WireError::Head));
        assert_eq!(all(&head(&b"a\r\nX: ".repeat(HEAD_BYTES_MAX / 6))), Err(WireError::Head));
        for length in ["262145", "18446744073709551615"] {
            let bytes = format!("RTSP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(all(bytes.as_bytes()), Err(WireError::Body));
        }
        let endless = [&b"RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\n\r\n"[..], &[b'a'; BODY_BYTES_MAX + 1]];
        assert_eq!(all(&endless.concat()), Err(WireError::Body));
        // Even where it ends as a description may.
        let whole = [&endless.concat()[..], b"\nm=video 0 RTP/AVP 96\n"].concat();
        assert_eq!(all(&whole), Err(WireError::Body));
    }

    #[test]
    fn answers_may_be_cut_anywhere() {
        let bytes = b"$\x00\x00\x02ab\r\nRTSP/1.0 200 OK\r\nCSeq: 7\r\nPublic: OPTIONS, GET_PARAMETER\r\n\r\n$";
        for cut in 0..=bytes.len() {
            let (mut rest, mut answers) = (&bytes[..cut], Vec::new());
            while let Some((used, message)) = next_message(rest).expect("well formed") {
                assert_ne!(message, Incoming::Stray, "cut at {cut}");
                if let Incoming::Answer(answer) = message {
                    answers.push((
                        answer.header("cseq") == Some("7"),
                        answer.offers("GET_PARAMETER"),
                        answer.offers("SETUP"),
                    ));
                }
                rest = &rest[used..];
            }
            let whole = cut >= bytes.len() - 1;
            assert_eq!(answers, [(true, true, false)][..usize::from(whole)].to_vec(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_with_progress(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = &bytes[..];
            while let Ok(Some((used, _))) = next_message(rest) {
                prop_assert!(used > 0 && used <= rest.len());
                rest = &rest[used..];
            }
        }
    }
}
