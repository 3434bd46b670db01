//! RTP and RTCP of one stream (RFC 3550): packets in their order, timestamps on one line.
//!
//! Invariant: each packet of the stream is given out once, in the order of its sequence number, with the number of those
//! that are missing before it. A stream may go on under another SSRC or begin its numbers again; packets of others are
//! left out. What is held meanwhile is bounded.

use std::time::Duration;

use footage::clock::Reading;
use footage::media::{Oddity, OddityCounts};

use super::super::stream::ReplayMark;
use super::access_unit::Arrival;

/// RTCP packet types (RFC 3550 §12.1).
const SENDER_REPORT: u8 = 200;
const BYE: u8 = 203;
const RTCP_TYPES: std::ops::RangeInclusive<u8> = 200..=207;
/// Packets of an unexpected payload type in a row after which it is taken for the stream's.
const PAYLOAD_TYPE_PACKETS: u32 = 20;
/// A packet that comes so many numbers late is one of the past, and beyond it another numbering
/// (`MAX_MISORDER` of RFC 3550 §A.1).
const LATE_MAX: u16 = 100;
/// So many numbers ahead, packets were lost, and beyond it, it is another numbering (`MAX_DROPOUT`).
const LOST_MAX: u16 = 3_000;
/// Packets, and how long, that are held for one that is missing.
const REORDERED_MAX: usize = 32;
const REORDERED_FOR: Duration = Duration::from_millis(500);
/// Packets of another source that are held until it is clear which one is the stream.
const STRANGERS_MAX: usize = 64;
const STRANGERS_FOR: Duration = Duration::from_millis(500);
/// What is held is at most so many bytes.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// An RTP packet (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads one; `None` where it is none.
    pub(super) fn parse(packet: &'a [u8]) -> Option<Self> {
        let (&[first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3], rest) = packet.split_first_chunk::<12>()?;
        if first >> 6 != 2 {
            return None;
        }
        let mut payload = rest.get(usize::from(first & 0x0f) * 4..)?;
        if first & 0x10 != 0 {
            let (&[_, _, l0, l1], rest) = payload.split_first_chunk::<4>()?;
            payload = rest.get(usize::from(u16::from_be_bytes([l0, l1])) * 4..)?;
        }
        if first & 0x20 != 0 {
            // Some cameras set the bit and pad nothing.
            let padding = usize::from(*payload.last()?);
            let kept = payload.len().checked_sub(padding).filter(|_| padding > 0).unwrap_or(payload.len());
            payload = &payload[..kept];
        }
        Some(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload,
        })
    }
}

/// What the extension of a replayed packet says, where it has that (ONVIF Streaming Specification §6.2.1): profile 0xABAC,
/// three words.
pub(super) fn replay_mark(packet: &[u8]) -> Option<ReplayMark> {
    let (&[first, ..], rest) = packet.split_first_chunk::<12>()?;
    if first & 0x10 == 0 {
        return None;
    }
    let extension = rest.get(usize::from(first & 0x0f) * 4..)?;
    let (&[0xab, 0xac, l0, l1], words) = extension.split_first_chunk::<4>()? else { return None };
    if u16::from_be_bytes([l0, l1]) < 3 {
        return None;
    }
    let (ntp, rest) = words.split_first_chunk::<8>()?;
    let flags = *rest.first()?;
    let ntp = u64::from_be_bytes(*ntp);
    Some(ReplayMark { ntp, follows_hole: flags & 0x20 != 0, is_last: flags & 0x10 != 0 })
}

/// Whether bytes in the place of an RTP packet are RTCP (RFC 5761 §4).
pub(super) fn is_report(packet: &[u8]) -> bool {
    matches!(packet, [first, kind, ..] if first >> 6 == 2 && RTCP_TYPES.contains(kind))
}

/// A packet that is held.
#[derive(Debug)]
struct Held {
    marker: bool,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    payload: Vec<u8>,
    received: Reading,
}

impl Held {
    fn of(packet: &Packet<'_>, received: Reading) -> Self {
        let Packet { marker, sequence, timestamp, ssrc, payload, .. } = *packet;
        Self { marker, sequence, timestamp, ssrc, payload: payload.to_vec(), received }
    }
}

/// A packet in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed<'a> {
    sequence: u16,
    /// Extended to 64 bits, in ticks of the stream's clock.
    pub(super) timestamp: i64,
    pub(super) marker: bool,
    /// Packets that are missing before it.
    pub(super) lost: u32,
    pub(super) received: Reading,
    pub(super) payload: &'a [u8],
}

impl Placed<'_> {
    /// Whether this is that packet.
    pub(super) fn is(&self, packet: &Packet<'_>) -> bool {
        self.sequence == packet.sequence
    }

    pub(super) fn arrival(&self) -> Arrival {
        Arrival { timestamp: self.timestamp, marker: self.marker, received: self.received }
    }
}

/// Where a stream is: whose packets, which comes next, and when it is sampled.
#[derive(Debug)]
pub(super) struct RtpTimeline {
    clock_rate: u32,
    /// What the description says, and what the stream has.
    described_type: u8,
    payload_type: u8,
    /// A packet of `payload_type` has come.
    typed: bool,
    unexpected_type: (u8, u32),
    ssrc: Option<u32>,
    /// In the answer to SETUP; cameras lie.
    announced: Option<u32>,
    next: Option<u16>,
    /// Which of the 64 packets before `next` have come, the last one lowest.
    seen: u64,
    timestamp: Option<i64>,
    /// Added to timestamps of a source that came later than the first.
    offset: u32,
    received: Option<Reading>,
    early: Vec<Held>,
    strangers: Vec<Held>,
}

impl RtpTimeline {
    pub(super) fn new(payload_type: u8, clock_rate: u32, announced: Option<u32>) -> Self {
        Self {
            clock_rate,
            described_type: payload_type,
            payload_type,
            typed: false,
            unexpected_type: (payload_type, 0),
            ssrc: None,
            announced,
            next: None,
            seen: 0,
            timestamp: None,
            offset: 0,
            received: None,
            early: Vec::new(),
            strangers: Vec::new(),
        }
    }

    /// Takes the next packet; gives those that are in their place now to `out`.
    #[inline]
    pub(super) fn take(
        &mut self,
        packet: &Packet<'_>,
        received: Reading,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(Placed<'_>, &mut OddityCounts),
    ) {
        let is_next = self.ssrc == Some(packet.ssrc) && self.next == Some(packet.sequence);
        if is_next && self.typed && packet.payload_type == self.payload_type && self.early.is_empty() {
            self.forget_strangers(odd);
            return self.give(packet, 0, received, odd, out);
        }
        self.take_odd(packet, received, odd, out);
    }

    #[cold]
    fn take_odd(
        &mut self,
        packet: &Packet<'_>,
        received: Reading,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(Placed<'_>, &mut OddityCounts),
    ) {
        if !self.is_of_stream(packet.payload_type, odd) {
            return;
        }
        let (Some(ssrc), Some(next)) = (self.ssrc, self.next) else {
            if self.announced.is_none_or(|announced| announced == packet.ssrc) {
                self.forget_strangers(odd);
                self.ssrc = Some(packet.ssrc);
                self.give(packet, 0, received, odd, out);
            } else {
                self.stranger(packet, received, odd, out);
            }
            return;
        };
        let ahead = packet.sequence.wrapping_sub(next);
        let is_newer = self
            .timestamp
            .is_some_and(|at| (packet.timestamp.wrapping_add(self.offset).wrapping_sub(at as u32) as i32) > 0);
        match ahead {
            _ if packet.ssrc != ssrc => self.stranger(packet, received, odd, out),
            0..LOST_MAX => {
                self.forget_strangers(odd);
                if ahead == 0 {
                    if !self.early.is_empty() {
                        odd.add(Oddity::ReorderedPacket);
                    }
                    self.give(packet, 0, received, odd, out);
                } else if !self.early.iter().any(|held| held.sequence == packet.sequence) {
                    self.early.push(Held::of(packet, received));
                } else {
                    odd.add(Oddity::DuplicatePacket);
                }
                self.release(received, false, odd, out);
            }
            _ if ahead >= LATE_MAX.wrapping_neg() && !is_newer => {
                let back = ahead.wrapping_neg() - 1;
                let came = back < 64 && self.seen >> back & 1 == 1;
                odd.add(if came { Oddity::DuplicatePacket } else { Oddity::LatePacket });
            }
            _ => self.stranger(packet, received, odd, out),
        }
    }

    fn is_of_stream(&mut self, payload_type: u8, odd: &mut OddityCounts) -> bool {
        if payload_type == self.payload_type || payload_type == self.described_type {
            // The described type is right as soon as it comes, whatever came before it.
            self.payload_type = payload_type;
            self.typed = true;
            return true;
        }
        if self.typed {
            odd.add(Oddity::ForeignPayloadType);
            return false;
        }
        // None of the described type has come: one of the dynamic types (RFC 3551 §3) is the stream's from the start, any
        // other after a while.
        let (unexpected, packets) = &mut self.unexpected_type;
        *packets = if *unexpected == payload_type { *packets + 1 } else { 1 };
        *unexpected = payload_type;
        if payload_type < 96 && *packets < PAYLOAD_TYPE_PACKETS {
            odd.add(Oddity::ForeignPayloadType);
            return false;
        }
        odd.add(Oddity::OtherPayloadType);
        self.payload_type = payload_type;
        self.typed = true;
        true
    }

    /// A packet of another source or another numbering: the stream goes on there if more of the same follow, and none of
    /// the old one.
    fn stranger(
        &mut self,
        packet: &Packet<'_>,
        received: Reading,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(Placed<'_>, &mut OddityCounts),
    ) {
        let follows = self
            .strangers
            .last()
            .is_none_or(|last| last.ssrc == packet.ssrc && last.sequence.wrapping_add(1) == packet.sequence);
        if !follows {
            self.forget_strangers(odd);
        }
        self.strangers.push(Held::of(packet, received));
        let bytes: usize = self.strangers.iter().map(|held| held.payload.len()).sum();
        let since = received.mono.saturating_sub(self.strangers[0].received.mono);
        let restarts = self.ssrc == Some(packet.ssrc) && self.strangers.len() > 1;
        let goes_on = self.strangers.len() >= STRANGERS_MAX || self.strangers.len() > 1 && since >= STRANGERS_FOR;
        if restarts || goes_on || bytes > HELD_BYTES_MAX {
            self.adopt(odd, out);
        }
    }

    fn adopt(&mut self, odd: &mut OddityCounts, out: &mut impl FnMut(Placed<'_>, &mut OddityCounts)) {
        let strangers = std::mem::take(&mut self.strangers);
        let Some(first) = strangers.first() else { return };
        self.release(first.received, true, odd, out);
        if self.ssrc == Some(first.ssrc) {
            odd.add(Oddity::SequenceRestarted);
        } else {
            if self.ssrc.is_some() {
                odd.add(Oddity::SourceChanged);
            }
            // Another source counts its timestamps from elsewhere: it goes on after the time that has passed.
            if let (Some(timestamp), Some(received)) = (self.timestamp, self.received) {
                let passed = first.received.mono.saturating_sub(received.mono).as_micros();
                let ticks = (passed * u128::from(self.clock_rate) / 1_000_000).max(1);
                self.offset = (timestamp as u32).wrapping_add(ticks as u32).wrapping_sub(first.timestamp);
            }
        }
        self.ssrc = Some(first.ssrc);
        self.announced = None;
        self.seen = 0;
        self.next = Some(first.sequence);
        for held in strangers {
            self.give_held(held, 0, odd, out);
        }
    }

    fn forget_strangers(&mut self, odd: &mut OddityCounts) {
        if self.strangers.is_empty() {
            return;
        }
        for _ in self.strangers.drain(..) {
            odd.add(Oddity::ForeignSource);
        }
    }

    /// Gives out what is held and is next, or is not waited for any longer.
    fn release(
        &mut self,
        now: Reading,
        all: bool,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(Placed<'_>, &mut OddityCounts),
    ) {
        while let Some(next) = self.next {
            let ahead = |held: &Held| held.sequence.wrapping_sub(next);
            let Some(place) = (0..self.early.len()).min_by_key(|place| ahead(&self.early[*place])) else { return };
            let bytes: usize = self.early.iter().map(|held| held.payload.len()).sum();
            let oldest = self.early.iter().map(|held| held.received.mono).min().unwrap_or_default();
            let waits = !all
                && self.early.len() <= REORDERED_MAX
                && bytes <= HELD_BYTES_MAX
                && now.mono.saturating_sub(oldest) < REORDERED_FOR;
            let lost = ahead(&self.early[place]);
            if lost > 0 && waits {
                return;
            }
            let held = self.early.swap_remove(place);
            self.give_held(held, lost.into(), odd, out);
        }
    }

    /// Nothing comes any more, or for a while: what is held is given out.
    pub(super) fn flush(
        &mut self,
        now: Reading,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(Placed<'_>, &mut OddityCounts),
    ) {
        self.release(now, true, odd, out);
        if self.strangers.len() > 1 {
            self.adopt(odd, out);
        }
    }

    /// Something is held.
    pub(super) fn holds(&self) -> bool {
        !self.early.is_empty()
    }

    fn give_held(
        &mut self,
        held: Held,
        lost: u32,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(Placed<'_>, &mut OddityCounts),
    ) {
        let Held { marker, sequence, timestamp, ssrc, ref payload, received } = held;
        let packet = Packet { marker, payload_type: self.payload_type, sequence, timestamp, ssrc, payload };
        self.give(&packet, lost, received, odd, out);
    }

    #[inline]
    fn give(
        &mut self,
        packet: &Packet<'_>,
        lost: u32,
        received: Reading,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(Placed<'_>, &mut OddityCounts),
    ) {
        self.next = Some(packet.sequence.wrapping_add(1));
        self.seen = self.seen.checked_shl(lost + 1).unwrap_or(0) | 1;
        let timestamp = self.place(packet.timestamp);
        self.timestamp = Some(timestamp);
        self.received = Some(received);
        let Packet { marker, payload, sequence, .. } = *packet;
        out(Placed { sequence, timestamp, marker, lost, received, payload }, odd);
    }

    /// A timestamp on the line, near where it is now: a step beyond ±2³¹ is a wrap.
    fn place(&mut self, timestamp: u32) -> i64 {
        let at = *self.timestamp.get_or_insert(i64::from(timestamp));
        let timestamp = timestamp.wrapping_add(self.offset);
        at.wrapping_add(i64::from(timestamp.wrapping_sub(at as u32) as i32))
    }

    /// What an RTCP packet, most often a compound one, says of the camera's clock: an extended RTP timestamp, and the NTP
    /// time at it.
    pub(super) fn sender_report(&mut self, packet: &[u8], odd: &mut OddityCounts) -> Option<(i64, u64)> {
        let mut rest = packet;
        let mut report = None;
        while let Some((&[first, kind, l0, l1], after)) = rest.split_first_chunk::<4>() {
            let words = usize::from(u16::from_be_bytes([l0, l1]));
            if first >> 6 != 2 || !RTCP_TYPES.contains(&kind) {
                break;
            }
            let Some((body, next)) = after.split_at_checked(words * 4) else { break };
            match kind {
                SENDER_REPORT => report = report.or(self.report_of(body, odd)),
                BYE => odd.add(Oddity::Bye),
                _ => {}
            }
            rest = next;
        }
        if !rest.is_empty() || packet.is_empty() {
            odd.add(Oddity::CorruptReport);
        }
        report
    }

    fn report_of(&mut self, body: &[u8], odd: &mut OddityCounts) -> Option<(i64, u64)> {
        let Some((&[c0, c1, c2, c3, n0, n1, n2, n3, n4, n5, n6, n7, t0, t1, t2, t3], _)) =
            body.split_first_chunk::<16>()
        else {
            odd.add(Oddity::CorruptReport);
            return None;
        };
        // Before the first packet, nobody knows whose it is.
        let ssrc = self.ssrc?;
        if ssrc != u32::from_be_bytes([c0, c1, c2, c3]) {
            odd.add(Oddity::ForeignReport);
            return None;
        }
        let timestamp = self.place(u32::from_be_bytes([t0, t1, t2, t3]));
        Some((timestamp, u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7])))
    }
}

#[cfg(test)]
mod tests;
