//! RTP payloads to NAL units: H.264 (RFC 6184, packetisation modes 0 and 1) and H.265 (RFC 7798 without DONL).
//!
//! Invariant: a NAL unit is handed on with every byte that was sent of it, or not at all. What is odd about its packets
//! is counted and costs nothing where the unit can still be put together.
//! Absent on purpose: interleaved packetisation (STAP-B, MTAP, FU-B), which no camera is known to send.

use std::time::Duration;

use footage::media::{Oddity, OddityCounts, VideoCodec, VideoParams};

use super::super::codec::{self, ParameterSets};
use super::access_unit::{AccessUnit, Arrival, Assembler, QUIET};

/// One stream's depacketiser.
#[derive(Debug)]
pub(in super::super) struct Depacketiser {
    codec: VideoCodec,
    assembler: Assembler,
    fragmented: Option<Fragmented>,
    /// The beginning of a fragmented unit was lost, or sent before we joined.
    skips: bool,
}

/// A NAL unit that comes in fragments.
#[derive(Clone, Copy, Debug)]
struct Fragmented {
    unit_type: u8,
    /// Of its first packet: some cameras change it in the middle.
    timestamp: i64,
    last: Arrival,
}

impl Depacketiser {
    pub(in super::super) fn new(codec: VideoCodec, sets: ParameterSets, picture_bytes_max: usize) -> Self {
        let assembler = Assembler::new(codec, sets, picture_bytes_max);
        Self { codec, assembler, fragmented: None, skips: true }
    }

    /// The sample description, once there are enough parameter sets.
    pub(in super::super) fn params(&self) -> Option<&VideoParams> {
        self.assembler.params()
    }

    /// Takes the next packet's payload, `lost` packets after the one before it; gives the pictures that it completes to
    /// `out`. An error means that nothing more can come of the stream.
    pub(in super::super) fn push(
        &mut self,
        arrival: Arrival,
        lost: u32,
        payload: &[u8],
        odd: &mut OddityCounts,
        mut out: impl FnMut(AccessUnit),
    ) -> Result<(), Box<str>> {
        if lost > 0 {
            self.lose(lost);
        }
        let out = &mut out;
        match (self.codec, payload) {
            (_, []) => {
                odd.add(Oddity::EmptyPayload);
                return Ok(());
            }
            (_, [0, 0, 1, unit @ ..] | [0, 0, 0, 1, unit @ ..]) => {
                odd.add(Oddity::StartCode);
                self.whole(unit, arrival, odd, out)?;
            }
            (VideoCodec::H264, _) => self.h264(payload, arrival, odd, out)?,
            (VideoCodec::H265, _) => self.h265(payload, arrival, odd, out)?,
        }
        self.assembler.packet_ends(arrival.marker, out);
        Ok(())
    }

    fn lose(&mut self, packets: u32) {
        self.fragmented = None;
        self.skips = true;
        self.assembler.lose(packets);
    }

    /// How long nothing may come before the picture that grows is taken for whole, if it may be.
    pub(in super::super) fn awaits_quiet(&self) -> Option<Duration> {
        match self.fragmented {
            Some(fragmented) => fragmented.last.marker.then_some(QUIET),
            None => self.assembler.awaits_quiet(),
        }
    }

    /// Nothing has come for that long.
    pub(in super::super) fn quiet(
        &mut self,
        odd: &mut OddityCounts,
        mut out: impl FnMut(AccessUnit),
    ) -> Result<(), Box<str>> {
        if self.awaits_quiet().is_some() {
            self.close_without_end(odd, &mut out)?;
            self.assembler.quiet(&mut out);
        }
        Ok(())
    }

    /// Nothing comes any more: gives the picture that is left, if it is whole.
    pub(in super::super) fn finish(&mut self, odd: &mut OddityCounts, mut out: impl FnMut(AccessUnit)) {
        // What the last unit turns out to be does not matter any more.
        let _ = self.quiet(odd, &mut out);
        self.assembler.finish(&mut out);
    }

    /// The fragmented unit is over, though no end bit said so.
    fn close_without_end(&mut self, odd: &mut OddityCounts, out: &mut impl FnMut(AccessUnit)) -> Result<(), Box<str>> {
        let Some(Fragmented { timestamp, last, .. }) = self.fragmented.take() else { return Ok(()) };
        odd.add(Oddity::UnitWithoutEnd);
        self.assembler.end(Arrival { timestamp, ..last }, odd, out)?;
        self.assembler.packet_ends(last.marker, out);
        Ok(())
    }

    /// RFC 6184 §5.2.
    fn h264(
        &mut self,
        payload: &[u8],
        arrival: Arrival,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(AccessUnit),
    ) -> Result<(), Box<str>> {
        let (&indicator, rest) = payload.split_first().unwrap_or((&0, &[]));
        match indicator & 0x1f {
            24 => self.aggregated(rest, arrival, odd, out),
            28 => match rest {
                [header, body @ ..] => {
                    self.fragment(*header, &[indicator & 0xe0 | header & 0x1f], body, arrival, odd, out)
                }
                [] => self.unsupported(odd),
            },
            25..=27 | 29 => self.unsupported(odd),
            kind => {
                if indicator & 0x80 != 0 || matches!(kind, 0 | 30 | 31) {
                    odd.add(Oddity::ReservedUnit);
                }
                self.whole(payload, arrival, odd, out)
            }
        }
    }

    /// RFC 7798 §4.4.
    fn h265(
        &mut self,
        payload: &[u8],
        arrival: Arrival,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(AccessUnit),
    ) -> Result<(), Box<str>> {
        let [first, second, rest @ ..] = payload else { return self.unsupported(odd) };
        match first >> 1 & 0x3f {
            48 => self.aggregated(rest, arrival, odd, out),
            49 => match rest {
                [header, body @ ..] => {
                    let unit = [first & 0x81 | (header & 0x3f) << 1, *second];
                    self.fragment(*header, &unit, body, arrival, odd, out)
                }
                [] => self.unsupported(odd),
            },
            50 => self.unsupported(odd),
            kind => {
                if first & 0x80 != 0 || kind > 50 {
                    odd.add(Oddity::ReservedUnit);
                }
                self.whole(payload, arrival, odd, out)
            }
        }
    }

    fn unsupported(&mut self, odd: &mut OddityCounts) -> Result<(), Box<str>> {
        odd.add(Oddity::UnsupportedPacket);
        self.lose(1);
        Ok(())
    }

    /// Several NAL units, each after its length in two bytes.
    fn aggregated(
        &mut self,
        mut units: &[u8],
        arrival: Arrival,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(AccessUnit),
    ) -> Result<(), Box<str>> {
        while !units.is_empty() {
            let unit = units
                .split_first_chunk::<2>()
                .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*length))));
            match unit {
                Some(([], rest)) => {
                    odd.add(Oddity::BrokenAggregate);
                    units = rest;
                }
                Some((unit, rest)) => {
                    self.whole(unit, arrival, odd, out)?;
                    units = rest;
                }
                None => {
                    odd.add(Oddity::BrokenAggregate);
                    self.lose(1);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn whole(
        &mut self,
        unit: &[u8],
        arrival: Arrival,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(AccessUnit),
    ) -> Result<(), Box<str>> {
        self.close_without_end(odd, out)?;
        self.skips = false;
        let (header, body) = unit.split_at(codec::header_bytes(self.codec).min(unit.len()));
        self.assembler.begin(header, arrival.timestamp);
        if self.assembler.append(body, odd) { self.assembler.end(arrival, odd, out) } else { Ok(()) }
    }

    /// A part of a NAL unit: `S`, `E` and the type in `header`, the unit's own header in `unit`.
    fn fragment(
        &mut self,
        header: u8,
        unit: &[u8],
        body: &[u8],
        arrival: Arrival,
        odd: &mut OddityCounts,
        out: &mut impl FnMut(AccessUnit),
    ) -> Result<(), Box<str>> {
        let (start, end) = (header & 0x80 != 0, header & 0x40 != 0);
        let unit_type = codec::unit_type(self.codec, unit[0]);
        let goes_on = |f: &Fragmented| !start && (!f.last.marker || f.last.timestamp == arrival.timestamp);
        match self.fragmented.filter(goes_on) {
            Some(fragmented) => {
                if fragmented.unit_type != unit_type {
                    odd.add(Oddity::FragmentTypeChanged);
                }
                self.fragmented = Some(Fragmented { last: arrival, ..fragmented });
            }
            None if !start && self.skips => {
                self.skips = !end;
                return Ok(());
            }
            None => {
                self.close_without_end(odd, out)?;
                if !start {
                    odd.add(Oddity::UnitWithoutStart);
                }
                self.skips = false;
                self.assembler.begin(unit, arrival.timestamp);
                self.fragmented = Some(Fragmented { unit_type, timestamp: arrival.timestamp, last: arrival });
            }
        }
        if !self.assembler.append(body, odd) {
            self.fragmented = None;
            self.skips = !end;
        } else if end && let Some(Fragmented { timestamp, .. }) = self.fragmented.take() {
            self.assembler.end(Arrival { timestamp, ..arrival }, odd, out)?;
        } else if start {
            self.assembler.begun(arrival, odd, out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
