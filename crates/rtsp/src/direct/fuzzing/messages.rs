//! What comes over a connection, in any reads.

use super::super::wire::{
    Answer, Asked, BODY_BYTES_MAX, FRAMING_BYTES, HEAD_BYTES_MAX, Incoming, next_message, oversized,
};

/// What is read byte by byte, or repeated, is not longer.
const SHORT_BYTES: usize = 600;

/// What is repeated is longer than what may wait.
const REPEATED_BYTES: usize = HEAD_BYTES_MAX + BODY_BYTES_MAX + 2 * SHORT_BYTES;

/// A message or packet, by itself.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Packet { channel: u8, packet: Vec<u8> },
    Answer(Answer),
    Request(Asked),
}

/// What was taken of a connection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Session {
    taken: Vec<Taken>,
    /// Bytes that were none of it.
    stray_bytes: usize,
    /// Bytes that wait for more.
    held: Vec<u8>,
    /// Where a message ended that does not say how long it is: there, reads matter.
    guessed: bool,
}

impl Session {
    /// Takes a read, as a session does.
    fn read(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        let received = std::mem::take(&mut self.held);
        let mut rest = &received[..];
        loop {
            let (used, message) = match next_message(rest) {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(_) => (oversized(rest), Incoming::Stray),
            };
            assert!(used > 0 && used <= rest.len(), "{used} of {}", rest.len());
            match message {
                Incoming::Packet { channel, packet } => {
                    assert_eq!(used, FRAMING_BYTES + packet.len());
                    self.taken.push(Taken::Packet { channel, packet: packet.to_vec() });
                }
                Incoming::Answer(answer) => {
                    assert!(answer.body.len() <= BODY_BYTES_MAX && used <= HEAD_BYTES_MAX + BODY_BYTES_MAX);
                    self.guessed |= !says_its_length(&answer);
                    self.taken.push(Taken::Answer(answer));
                }
                Incoming::Request(asked) => {
                    // Both go into what is sent to the camera, and into the log.
                    assert!(!asked.cseq.chars().any(char::is_control));
                    assert!(!asked.method.chars().any(char::is_whitespace));
                    self.guessed |= may_describe(&rest[..used]);
                    self.taken.push(Taken::Request(asked));
                }
                Incoming::Blank => {}
                Incoming::Stray => {
                    self.guessed |= may_describe(&rest[..used]);
                    self.stray_bytes += used;
                }
            }
            rest = &rest[used..];
        }
        assert!(rest.len() < HEAD_BYTES_MAX + BODY_BYTES_MAX + FRAMING_BYTES, "{} bytes wait", rest.len());
        self.held = rest.to_vec();
    }

    /// What was read holds nothing that a shorter read could be mistaken in.
    fn is_regular(&self) -> bool {
        let is_short = |taken: &Taken| matches!(taken, Taken::Packet { packet, .. } if packet.len() < 8);
        self.stray_bytes == 0 && !self.guessed && !self.taken.iter().any(is_short)
    }
}

/// A message that is no answer, with a description.
fn may_describe(message: &[u8]) -> bool {
    message.windows(3).any(|window| window.eq_ignore_ascii_case(b"sdp"))
}

fn says_its_length(answer: &Answer) -> bool {
    let length = answer.header("content-length").and_then(|length| length.parse::<u64>().ok());
    length.is_some() || !answer.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("sdp"))
}

/// An answer as a camera that keeps to the standard would write it.
fn written(answer: &Answer) -> Vec<u8> {
    let mut out = format!("RTSP/1.0 {} {}\r\n", answer.status, answer.reason);
    for (name, value) in answer.all_headers() {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    [out.as_bytes(), &answer.body].concat()
}

/// See [`crate::fuzzing::messages`]. The first byte chooses how the others are read.
pub(in super::super::super) fn messages(data: &[u8]) -> usize {
    let Some((&choice, bytes)) = data.split_first() else { return 0 };
    if choice == u8::MAX && bytes.len() <= SHORT_BYTES {
        // More than any message may have: nothing waits for more.
        Session::default().read(&bytes.repeat(REPEATED_BYTES.div_ceil(bytes.len().max(1))));
    }
    let mut whole = Session::default();
    whole.read(bytes);
    // One byte each, of what is short, or up to so many that a message is looked at a few dozen times.
    let most = if choice & 0x80 == 0 && bytes.len() <= SHORT_BYTES { 1 } else { 64 + bytes.len() / 16 };
    let mut state = u32::from(choice) | 1;
    let mut parts = Session::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let wanted = 1 + (state >> 16) as usize % most;
        let (read, more) = rest.split_at(wanted.min(rest.len()));
        parts.read(read);
        rest = more;
    }
    if whole.is_regular() && !parts.guessed {
        assert_eq!(parts, whole);
    }
    for taken in &whole.taken {
        if let Taken::Answer(answer) = taken {
            read_again(answer);
        }
    }
    whole.taken.len()
}

fn read_again(answer: &Answer) {
    let texts = answer.all_headers().iter().map(|(_, value)| value).chain([&answer.reason]);
    texts.for_each(|text| assert!(!text.chars().any(char::is_control), "{text:?}"));
    let again = written(answer);
    // Latin-1 that becomes UTF-8 takes more room.
    if !says_its_length(answer) || again.len() - answer.body.len() >= HEAD_BYTES_MAX {
        return;
    }
    let (used, message) = next_message(&again).expect("within bounds").expect("whole");
    assert_eq!((used, message), (again.len(), Incoming::Answer(answer.clone())));
}
