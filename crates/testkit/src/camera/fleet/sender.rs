//! A thread that sends for many sessions.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rtsp_types::{Message, Method, ParseError, Response, StatusCode, Version, headers};

use super::super::rtp::{Channels, sender_report};
use super::super::session::Handover;
use super::ring::{Own, Ring};
use super::{FleetPlan, FleetState, IMAGES_PER_SECOND};
use footage::clock::{Clock, SystemClock};

const FRAME: Duration = Duration::from_millis(1_000 / IMAGES_PER_SECOND as u64);
const FRAME_TICKS: u32 = 90_000 / IMAGES_PER_SECOND;
/// The thread looks for what is due this often.
const TURN: Duration = Duration::from_millis(2);
/// Requests of a session that plays (keep-alive, TEARDOWN) are looked for every so many pictures.
const LISTEN_EVERY: u64 = 25;
/// Sender reports go out every so many pictures.
const REPORT_EVERY: u64 = 5 * IMAGES_PER_SECOND as u64;
/// Bytes of a request at most.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// One session that plays.
struct Session {
    camera: usize,
    socket: TcpStream,
    channels: Channels,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// When the next picture is due.
    due: Instant,
    /// Pictures since the beginning, those left out too.
    count: u64,
    /// Place of the next picture in the ring.
    next: usize,
    /// What the socket did not take yet.
    rest: Vec<u8>,
    /// Bytes of requests.
    input: Vec<u8>,
}

pub(super) struct Sender {
    ring: Ring,
    shared: Arc<FleetState>,
    inbox: mpsc::Receiver<Handover>,
    sessions: Vec<Session>,
    clock: SystemClock,
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, paced by the machine's clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "nothing else runs on this thread")]
fn pause() {
    thread::sleep(TURN);
}

impl Sender {
    pub(super) fn new(plan: FleetPlan, shared: Arc<FleetState>, inbox: mpsc::Receiver<Handover>) -> Self {
        let ring = Ring::new(plan.bits_per_second);
        Self { ring, shared, inbox, sessions: Vec::new(), clock: SystemClock::default() }
    }

    /// Sends until the fleet ends.
    pub(super) fn run(mut self) {
        while !self.shared.end.load(Ordering::Relaxed) {
            while let Ok(handover) = self.inbox.try_recv() {
                self.take_over(handover);
            }
            let quiet = self.shared.quiet.load(Ordering::Relaxed);
            let now = now();
            let (ring, shared, clock) = (&mut self.ring, &self.shared, &self.clock);
            let before = self.sessions.len();
            self.sessions.retain_mut(|session| session.due > now || session.turn(ring, shared, clock, now, quiet));
            let ended = before - self.sessions.len();
            self.shared.playing.fetch_sub(ended as u64, Ordering::Relaxed);
            pause();
        }
    }

    fn take_over(&mut self, handover: Handover) {
        let Handover { socket, camera, channels, sequence, timestamp } = handover;
        let Some(tally) = self.shared.tallies.get(camera) else { return };
        let Ok(socket) = socket.into_std() else { return };
        let session = {
            let mut tally = tally.lock();
            tally.sessions += 1;
            tally.sessions
        };
        self.shared.playing.fetch_add(1, Ordering::Relaxed);
        self.sessions.push(Session {
            camera,
            socket,
            channels,
            ssrc: camera as u32 + 1,
            sequence,
            timestamp,
            due: now(),
            // Unique beyond this session too.
            count: session << 26,
            next: 0,
            rest: Vec::new(),
            input: Vec::new(),
        });
    }
}

impl Session {
    /// Sends the picture that is due; false when the session has ended.
    fn turn(&mut self, ring: &mut Ring, shared: &FleetState, clock: &SystemClock, now: Instant, quiet: bool) -> bool {
        let late = now.saturating_duration_since(self.due);
        self.due += FRAME;
        self.count += 1;
        if !self.finish_rest() || self.count.is_multiple_of(LISTEN_EVERY) && !self.listen() {
            return false;
        }
        if quiet {
            return true;
        }
        shared.late_micros_max.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
        self.timestamp = self.timestamp.wrapping_add(FRAME_TICKS);
        let nth = self.next;
        // The first picture is a random access point; then each camera goes on at a place of its own, so that their
        // large pictures do not all come at once.
        self.next = if nth == 0 { 1 + self.camera * 37 } else { nth + 1 } % ring.len();
        if self.rest.len() > ring.bytes_a_second() {
            shared.tallies[self.camera].lock().left_out += 1;
            return true;
        }
        let own = Own {
            channel: self.channels.0,
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.timestamp,
            mark: (self.camera as u64) << 36 | self.count,
        };
        let (bytes, packets) = ring.picture(nth, own);
        self.sequence = self.sequence.wrapping_add(packets);
        let mut sent = bytes.len();
        if !self.put(bytes) {
            return false;
        }
        if self.count % REPORT_EVERY == 1 {
            sent += self.report(clock, late);
        }
        let mut tally = shared.tallies[self.camera].lock();
        tally.pictures += 1;
        tally.bytes += sent as u64;
        shared.bytes.fetch_add(sent as u64, Ordering::Relaxed);
        true
    }

    /// The camera's clock at the picture that was sent last.
    fn report(&mut self, clock: &SystemClock, late: Duration) -> usize {
        let at = clock.wall().saturating_sub(footage::units::Ticks90k::from_duration(late));
        let report = sender_report(self.ssrc, at.to_ntp(), self.timestamp, 0, 0);
        let mut bytes = vec![b'$', self.channels.1, 0, report.len() as u8];
        bytes.extend_from_slice(&report);
        // A connection that is gone is noticed with the next picture.
        let _ = self.put(&bytes);
        bytes.len()
    }

    /// Sends these bytes behind what is left; false when the connection is gone.
    fn put(&mut self, bytes: &[u8]) -> bool {
        if self.rest.is_empty() {
            return send(&mut self.socket, bytes, &mut self.rest);
        }
        self.rest.extend_from_slice(bytes);
        true
    }

    /// Sends what is left, as far as the socket takes it.
    fn finish_rest(&mut self) -> bool {
        let rest = std::mem::take(&mut self.rest);
        rest.is_empty() || send(&mut self.socket, &rest, &mut self.rest)
    }

    /// Answers what the client asked; false when it ends the session.
    fn listen(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.socket.read(&mut buffer) {
            Ok(0) => return false,
            Ok(n) => self.input.extend_from_slice(&buffer[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return true,
            Err(_) => return false,
        }
        loop {
            match Message::<Vec<u8>>::parse(&self.input[..]) {
                Ok((message, used)) => {
                    self.input.drain(..used);
                    let Message::Request(request) = message else { continue };
                    let mut answer = Response::builder(Version::V1_0, StatusCode::Ok);
                    if let Some(sequence) = request.header(&headers::CSEQ) {
                        answer = answer.header(headers::CSEQ, sequence.as_str());
                    }
                    let mut bytes = Vec::new();
                    if answer.build(b"".as_slice()).write(&mut bytes).is_err() {
                        return false;
                    }
                    if !self.put(&bytes) || matches!(request.method(), Method::Teardown) {
                        return false;
                    }
                }
                Err(ParseError::Incomplete(_)) => return self.input.len() < REQUEST_BYTES_MAX,
                Err(_) => return false,
            }
        }
    }
}

/// Writes what the socket takes; the rest is kept. False when the connection is gone.
fn send(socket: &mut TcpStream, bytes: &[u8], rest: &mut Vec<u8>) -> bool {
    let mut left = bytes;
    while !left.is_empty() {
        match socket.write(left) {
            Ok(0) => return false,
            Ok(n) => left = &left[n..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                rest.extend_from_slice(left);
                break;
            }
            Err(_) => return false,
        }
    }
    true
}
