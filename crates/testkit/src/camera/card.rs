//! A camera's card: what its one scene showed, kept whether anybody watched or not, and given out by replay over RTSP (ONVIF
//! Streaming Specification §6).
//!
//! Nothing is stored: each picture of a scene follows from its number.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Live;
use super::rtp::{Channels, Outbox, Packetiser, unique_sei};
use super::stream::ElementaryStream;
use footage::units::{TICKS_PER_SECOND, Ticks90k, WallTime};

/// Bits of the header extension.
const CLEAN: u8 = 0x80;
const END: u8 = 0x40;
const DISCONTINUITY: u8 = 0x20;
const LAST: u8 = 0x10;

/// What a camera's card holds.
#[derive(Clone, Debug, Default)]
pub struct Card {
    /// Numbers of pictures that it lacks: the camera was off, or its card was full.
    pub holes: Vec<Range<u64>>,
    /// What is odd about its replay.
    pub quirk: CardQuirk,
}

/// One oddity of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CardQuirk {
    /// None.
    #[default]
    None,
    /// Packets say nothing of times.
    NoExtension,
    /// A request with a range of times is refused with 457.
    RefusesRange,
    /// The end of the range is passed over, and the card is sent again and again.
    Endless,
    /// After so many pictures, times are an hour later.
    TimesLeap(u64),
    /// Every time is later by so many milliseconds than that of the camera's clock.
    TimesOff(i64),
    /// The card holds the second stream.
    OtherStream,
    /// Nothing more comes after so many pictures.
    Stalls(u64),
    /// The connection ends after so many pictures.
    HangsUp(u64),
}

/// A picture of the scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filmed {
    /// Its number in the scene, from 0.
    pub number: u64,
    /// When, by the machine's clock.
    pub at: WallTime,
    /// Random access point.
    pub random_access: bool,
    /// As [`super::Sent::hash`].
    pub hash: blake3::Hash,
}

impl Live {
    /// Changes what its card holds and how it is replayed, for replays that come.
    pub fn set_card(&self, card: Card) {
        *self.card.lock() = Some(card);
    }

    /// The pictures of its one scene that it filmed so far.
    pub fn filmed(&self) -> Vec<Filmed> {
        let stream = self.camera.stream.clone();
        let picture = |number: u64| {
            let unit = &stream.units[number as usize % stream.units.len()];
            let mark = self.mark(&stream, number);
            let nals = unit.parameter_sets.iter().chain(&mark).chain(&unit.nals);
            let whole: Vec<u8> = nals.flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect();
            let (at, hash) = (self.filmed_at(&stream, number), blake3::hash(&whole));
            Filmed { number, at, random_access: unit.random_access, hash }
        };
        (0..self.filmed_count(&stream)).map(picture).collect()
    }

    fn mark(&self, stream: &ElementaryStream, number: u64) -> Option<bytes::Bytes> {
        self.camera.unique.then(|| unique_sei(stream.codec, self.seed(0), number))
    }

    fn filmed_at(&self, stream: &ElementaryStream, number: u64) -> WallTime {
        let ticks = i64::from(stream.frame_ticks).saturating_mul(number as i64);
        self.scene.2.saturating_add(Ticks90k(ticks))
    }

    fn filmed_count(&self, stream: &ElementaryStream) -> u64 {
        (Ticks90k::from_duration(self.scene.0.elapsed()).0 / i64::from(stream.frame_ticks)).unsigned_abs() + 1
    }
}

/// A replay that is being sent.
#[derive(Debug)]
pub(super) struct Replaying {
    live: Arc<Live>,
    card: Card,
    stream: Arc<ElementaryStream>,
    out: Outbox,
    packets: Packetiser,
    /// Number of the request, as the extension repeats it.
    sequence: u8,
    first: u64,
    next: u64,
    end: u64,
    sent: u64,
    is_over: bool,
}

impl Replaying {
    /// Replays this range of the camera's own clock; `None` where there is no card.
    pub(super) fn new(live: Arc<Live>, channels: Channels, range: (WallTime, WallTime), sequence: u8) -> Option<Self> {
        let card = live.card.lock().clone()?;
        let other = live.camera.other_stream.as_ref().filter(|_| card.quirk == CardQuirk::OtherStream);
        let stream = other.unwrap_or(&live.camera.stream).clone();
        let offset = own_clock(&live, card.quirk);
        let number = |at: WallTime| {
            let since = at.saturating_sub(offset).since(live.scene.2).0;
            since.max(0).div_euclid(i64::from(stream.frame_ticks)).unsigned_abs()
        };
        let end = number(range.1).saturating_add(1).min(live.filmed_count(&stream));
        // From the random access point before the beginning on.
        let units = stream.units.len() as u64;
        let mut first = number(range.0).min(end);
        while first > 0 && !stream.units[(first % units) as usize].random_access {
            first -= 1;
        }
        let packets = Packetiser::new(stream.codec, rand::random(), rand::random());
        let out = Outbox::new(Some(channels));
        let mut replaying =
            Self { live, card, stream, out, packets, sequence, first, next: first, end, sent: 0, is_over: false };
        replaying.pass_holes();
        Some(replaying)
    }

    /// Whether there is anything to send.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    fn pass_holes(&mut self) -> bool {
        let before = self.next;
        while let Some(hole) = self.card.holes.iter().find(|hole| hole.contains(&self.next)) {
            self.next = hole.end;
        }
        if self.next >= self.end {
            match self.card.quirk {
                CardQuirk::Endless => self.next = self.first,
                _ => self.is_over = true,
            }
        }
        self.next != before
    }

    /// Sends the next picture; false ends the connection.
    pub(super) async fn send(&mut self, socket: &mut TcpStream) -> bool {
        match self.card.quirk {
            CardQuirk::Stalls(pictures) if self.sent >= pictures => {
                self.is_over = true;
                return true;
            }
            CardQuirk::HangsUp(pictures) if self.sent >= pictures => return false,
            _ => {}
        }
        let (number, stream) = (self.next, self.stream.clone());
        let unit = &stream.units[number as usize % stream.units.len()];
        self.next += 1;
        let jumps = self.pass_holes();
        let leap = match self.card.quirk {
            CardQuirk::TimesLeap(pictures) if self.sent >= pictures => 3_600,
            _ => 0,
        };
        let at = self.live.filmed_at(&stream, number).saturating_add(own_clock(&self.live, self.card.quirk));
        let at = at.saturating_add(Ticks90k(leap * TICKS_PER_SECOND));
        let mut flags = if unit.random_access { CLEAN } else { 0 };
        if jumps {
            flags |= END;
        }
        if self.is_over {
            flags |= END | LAST;
        }
        if number > 0 && self.card.holes.iter().any(|hole| hole.end == number) {
            flags |= DISCONTINUITY;
        }
        if self.card.quirk != CardQuirk::NoExtension {
            let [n0, n1, n2, n3, n4, n5, n6, n7] = at.to_ntp().to_be_bytes();
            self.packets.extension =
                Some([0xab, 0xac, 0, 3, n0, n1, n2, n3, n4, n5, n6, n7, flags, self.sequence, 0, 0]);
        }
        let mark = self.live.mark(&stream, number).filter(|_| self.card.quirk != CardQuirk::OtherStream);
        let nals: Vec<&[u8]> = mark.iter().chain(&unit.nals).map(|nal| &nal[..]).collect();
        let timestamp = (number as i64).saturating_mul(i64::from(stream.frame_ticks)) as u32;
        self.out.clear();
        self.packets.unit(&unit.parameter_sets, &nals, timestamp, &mut self.out, &mut || false);
        self.sent += 1;
        self.live.replayed.fetch_add(1, Ordering::Relaxed);
        socket.write_all(self.out.bytes()).await.is_ok()
    }
}

/// The camera's clock minus the machine's.
fn own_clock(live: &Live, quirk: CardQuirk) -> Ticks90k {
    let off = if let CardQuirk::TimesOff(milliseconds) = quirk { milliseconds } else { 0 };
    Ticks90k((live.clock_offset_ms.load(Ordering::Relaxed) + off) * (TICKS_PER_SECOND / 1_000))
}

/// A range of absolute times (RFC 2326 §3.7): `clock=20261128T010000.5Z-20261128T010500Z`.
pub(super) fn clock_range(header: &str) -> Option<(WallTime, WallTime)> {
    let (from, to) = header.trim().strip_prefix("clock=")?.split_once('-')?;
    Some((clock_time(from)?, clock_time(to)?))
}

fn clock_time(text: &str) -> Option<WallTime> {
    let (date, time) = text.split_once('T')?;
    let part = |text: &str, range: Range<usize>| text.get(range).map(str::to_owned);
    let date = [part(date, 0..4)?, part(date, 4..6)?, part(date, 6..8)?].join("-");
    let (hour, minute, second) = (part(time, 0..2)?, part(time, 2..4)?, time.get(4..)?);
    format!("{date}T{hour}:{minute}:{second}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_absolute_times_are_read() {
        let found = clock_range("clock=20261128T010000.5Z-20261128T010500Z").expect("a range");
        assert_eq!(found.0.to_string(), "2026-11-28T01:00:00.500000Z");
        assert_eq!(found.1.to_string(), "2026-11-28T01:05:00.000000Z");
        for none in ["npt=0.000-", "clock=now-", "clock=20261128T010000Z", "clock=2026-11-28T01:00:00Z-x"] {
            assert_eq!(clock_range(none), None, "{none}");
        }
    }
}
