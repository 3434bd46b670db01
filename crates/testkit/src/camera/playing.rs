//! A session that plays: pictures in real time, with all that is wrong with the camera.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use super::quirk::Quirk;
use super::rtp::{Channels, Lost, Outbox, Packetiser, delimiter, filler, sei_with_start_codes, unique_sei};
use super::stream::{ElementaryStream, Kind, Unit, kind};
use super::{CameraFaults, Live, Sent, splitmix};
use crate::signing::Signer;
use footage::clock::{Clock, SystemClock};
use footage::units::{TICKS_PER_SECOND, Ticks90k, WallTime};

/// From sender report to sender report, in ticks.
const REPORT_EVERY: i64 = 2 * TICKS_PER_SECOND;

/// Where packets go.
#[derive(Debug)]
pub(super) enum Way {
    /// Over the RTSP connection.
    Interleaved(Channels),
    /// As datagrams.
    Udp {
        /// To the client's port of RTP.
        rtp: UdpSocket,
        /// To its port of RTCP.
        rtcp: UdpSocket,
    },
}

/// One session's state.
#[derive(Debug)]
pub(super) struct Playing {
    live: Arc<Live>,
    session: u64,
    way: Way,
    out: Outbox,
    packets: Packetiser,
    stream: Arc<ElementaryStream>,
    other: bool,
    /// Closings of the camera before it began.
    closings: u64,
    /// Next picture of the film, and since the session began.
    next: usize,
    count: u64,
    began: Instant,
    timestamp: i64,
    elapsed: i64,
    reported: Option<i64>,
    random: u64,
    /// Parameter sets that arrived with pictures no slice of which did.
    sets_left: Vec<u8>,
    signer: Option<Signer>,
    clock: SystemClock,
}

impl Playing {
    pub(super) fn new(live: Arc<Live>, way: Way) -> Self {
        let session = live.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let faults = live.faults.lock().clone();
        let stream = live.camera.film(&faults).clone();
        // The next picture of the scene that is due.
        let (began, first_timestamp, count) = match live.camera.one_scene {
            true => {
                let (began, timestamp, _) = live.scene;
                let due = Ticks90k::from_duration(began.elapsed()).0 / i64::from(stream.frame_ticks) + 1;
                (began, timestamp, due)
            }
            false => (Instant::now(), i64::from(rand::random::<u32>()), 0),
        };
        let ticks = i64::from(stream.frame_ticks);
        let channels = if let Way::Interleaved(channels) = way { Some(channels) } else { None };
        let mut packets = Packetiser::new(stream.codec, rand::random(), rand::random());
        packets.quirk = live.camera.quirk;
        let signer = live.camera.signing.clone().map(|signing| Signer::new(signing, stream.codec.into()));
        Self {
            packets,
            session,
            way,
            out: Outbox::new(channels),
            next: (count as usize).checked_rem(stream.units.len()).unwrap_or(0),
            stream,
            other: faults.other_stream,
            closings: live.closings.load(Ordering::Relaxed),
            count: count as u64,
            began,
            timestamp: first_timestamp + count * ticks,
            elapsed: count * ticks,
            reported: None,
            random: faults.seed ^ session,
            sets_left: Vec::new(),
            signer,
            clock: SystemClock::default(),
            live,
        }
    }

    /// Sequence number and timestamp of the first packet.
    pub(super) fn start(&self) -> (u16, u32) {
        (self.packets.sequence, self.timestamp as u32)
    }

    /// The camera's path.
    pub(super) fn path(&self) -> &str {
        &self.live.camera.path
    }

    /// How it sends.
    pub(super) fn way(&self) -> &Way {
        &self.way
    }

    /// When the next picture is due.
    pub(super) fn due(&self) -> Instant {
        self.began + Ticks90k(self.elapsed).to_duration()
    }

    /// Sends one picture with all that is wrong with it; false ends the connection.
    pub(super) async fn send(&mut self, socket: &mut TcpStream) -> bool {
        let faults = self.live.faults.lock().take_once();
        if faults.refuse || self.closings != self.live.closings.load(Ordering::Relaxed) {
            return false;
        }
        if faults.garbage && socket.write_all(b"\x00\xff this is neither RTSP nor RTP\r\n\r\n").await.is_err() {
            return false;
        }
        self.timestamp += i64::from(faults.timestamp_jump);
        if faults.other_stream != self.other {
            self.other = faults.other_stream;
            self.stream = self.live.camera.film(&faults).clone();
            self.packets.codec = self.stream.codec;
            self.next = 0;
        }
        self.out.clear();
        if !faults.silent {
            self.report();
            self.picture(&faults);
        }
        let ticks = i64::from(self.stream.frame_ticks);
        self.next = (self.next + 1) % self.stream.units.len();
        self.count += 1;
        self.timestamp += match faults.timestamp_speed {
            0 => ticks,
            thousandths => ticks * i64::from(thousandths.max(0)) / 1_000,
        };
        self.elapsed += ticks;
        match &self.way {
            Way::Interleaved(_) => socket.write_all(self.out.bytes()).await.is_ok(),
            Way::Udp { rtp, rtcp } => {
                for (is_rtp, datagram) in self.out.datagrams() {
                    // A datagram that cannot be sent is lost, as on any network.
                    let _ = if is_rtp { rtp.send(datagram).await } else { rtcp.send(datagram).await };
                }
                true
            }
        }
    }

    /// The camera's clock at the instant of the next picture, when that is due.
    fn report(&mut self) {
        if self.reported.is_some_and(|at| self.elapsed - at < REPORT_EVERY) {
            return;
        }
        self.reported = Some(self.elapsed);
        let late = Ticks90k::from_duration(self.due().elapsed());
        let offset = self.live.clock_offset_ms.load(Ordering::Relaxed) * (TICKS_PER_SECOND / 1_000);
        let own: WallTime = self.clock.wall().saturating_sub(late).saturating_add(Ticks90k(offset));
        let report = self.packets.sender_report(own.to_ntp(), self.timestamp as u32);
        self.out.put(false, &report, &[]);
    }

    fn picture(&mut self, faults: &CameraFaults) {
        let stream = self.stream.clone();
        let unit = &stream.units[self.next];
        let mark = self.live.camera.unique.then(|| unique_sei(stream.codec, self.live.seed(self.session), self.count));
        let padding = (faults.huge_bytes > 0).then(|| filler(stream.codec, faults.huge_bytes));
        let (before, after) = match self.live.camera.quirk {
            Quirk::DelimiterAndFiller => (Some(delimiter(stream.codec)), Some(filler(stream.codec, 40))),
            Quirk::StartCodesInSei => (Some(sei_with_start_codes(stream.codec)), None),
            _ => (None, None),
        };
        let own: Vec<&[u8]> = unit.nals.iter().map(|nal| &nal[..]).collect();
        let at = self.clock.wall();
        let signatures = self.signer.as_mut().map_or_else(Vec::new, |signer| signer.picture(&own, at));
        let signatures: Vec<Bytes> = signatures.into_iter().map(Bytes::from).collect();
        let own = before.iter().chain(&mark).chain(&signatures).chain(&unit.nals).chain(&padding).chain(&after);
        let mut nals: Vec<&[u8]> = own.map(|nal| nal.as_ref()).collect();
        if faults.empty_nal {
            nals.insert(0, &[]);
        }
        let foreign = if faults.wrong_ssrc { 0x5555_5555 } else { 0 };
        self.packets.ssrc ^= foreign;
        let random = &mut self.random;
        let mut loses = || faults.loss > 0.0 && draw(random) < faults.loss;
        let lost = self.packets.unit(&unit.parameter_sets, &nals, self.timestamp as u32, &mut self.out, &mut loses);
        self.packets.ssrc ^= foreign;
        if self.live.camera.log {
            let sent = self.sent(unit, &nals, &lost);
            self.live.log.lock().push(sent);
        }
    }

    fn sent(&mut self, unit: &Unit, nals: &[&[u8]], lost: &Lost) -> Sent {
        let codec = self.stream.codec;
        let (mut whole, mut arrived, mut arrived_sets) = (Vec::new(), Vec::new(), Vec::new());
        let mut slice_arrived = false;
        let sets = unit.parameter_sets.iter().map(|set| (&set[..], !lost.parameter_sets));
        let others = nals.iter().enumerate().map(|(i, nal)| (*nal, !lost.nals.contains(&i)));
        for (nal, has_arrived) in sets.chain(others).filter(|(nal, _)| !nal.is_empty()) {
            let prefixed = [&(nal.len() as u32).to_be_bytes()[..], nal].concat();
            whole.extend_from_slice(&prefixed);
            if !has_arrived {
                continue;
            }
            arrived.extend_from_slice(&prefixed);
            match kind(codec, nal) {
                Kind::ParameterSet => arrived_sets.extend_from_slice(&prefixed),
                Kind::Slice { .. } => slice_arrived = true,
                Kind::Delimiter | Kind::Before | Kind::Other => {}
            }
        }
        let after_sets = blake3::hash(&[&self.sets_left[..], &whole].concat());
        match slice_arrived {
            true => self.sets_left.clear(),
            false => self.sets_left.extend_from_slice(&arrived_sets),
        }
        Sent {
            session: self.session,
            timestamp: self.timestamp,
            random_access: unit.random_access,
            hash: blake3::hash(&whole),
            after_sets,
            arrived: blake3::hash(&arrived),
            whole: lost.nothing(),
        }
    }
}

/// Uniform in 0..1, the same for the same seed.
fn draw(state: &mut u64) -> f64 {
    (splitmix(state) >> 11) as f64 / (1u64 << 53) as f64
}
