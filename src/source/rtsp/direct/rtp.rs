//! RTP and RTCP of one stream over one connection (RFC 3550): packets in their order, timestamps on one line.

/// Payload type of packets that some cameras put after a picture with the sequence number of its last packet: no video.
const FOREIGN_PAYLOAD_TYPE: u8 = 50;
/// RTCP packet types (RFC 3550 §12.1).
const SENDER_REPORT: u8 = 200;
const RTCP_TYPES: std::ops::RangeInclusive<u8> = 200..=207;

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
    /// Reads one; the error says what is wrong with it.
    pub(super) fn parse(packet: &'a [u8]) -> Result<Self, &'static str> {
        let Some((&[first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3], rest)) = packet.split_first_chunk::<12>()
        else {
            return Err("it is too short");
        };
        if first >> 6 != 2 {
            return Err("it is not of version 2");
        }
        let sources = usize::from(first & 0x0f) * 4;
        let mut payload = rest.get(sources..).ok_or("its list of sources is cut off")?;
        if first & 0x10 != 0 {
            let Some((&[_, _, l0, l1], rest)) = payload.split_first_chunk::<4>() else {
                return Err("its header extension is cut off");
            };
            let words = usize::from(u16::from_be_bytes([l0, l1]));
            payload = rest.get(words * 4..).ok_or("its header extension is cut off")?;
        }
        if first & 0x20 != 0 {
            let padding = usize::from(*payload.last().ok_or("it has no payload to be padded")?);
            let kept = payload.len().checked_sub(padding).filter(|_| padding > 0).ok_or("its padding is impossible")?;
            payload = &payload[..kept];
        }
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload,
        })
    }

    /// Whether it belongs to no stream that was set up.
    pub(super) fn is_foreign(&self) -> bool {
        self.payload_type == FOREIGN_PAYLOAD_TYPE
    }
}

/// Where a stream is: whose packets, which comes next, and when it is sampled.
#[derive(Debug, Default)]
pub(super) struct Line {
    ssrc: Option<u32>,
    next: Option<u16>,
    timestamp: Option<i64>,
}

impl Line {
    /// Takes the next packet: its timestamp, extended to 64 bits, and how many packets are missing before it. Over TCP
    /// nothing comes out of order, so that a step back is an error; a step of the timestamp beyond ±2³¹ is a wrap.
    pub(super) fn follow(&mut self, packet: &Packet<'_>) -> Result<(i64, u32), String> {
        let expected = *self.ssrc.get_or_insert(packet.ssrc);
        if packet.ssrc != expected {
            return Err(format!("wrong ssrc {:08x} in the place of {expected:08x}", packet.ssrc));
        }
        let lost = packet.sequence.wrapping_sub(self.next.unwrap_or(packet.sequence));
        if lost > 0x8000 {
            let expected = self.next.unwrap_or_default();
            return Err(format!("RTP packet {} out of order where {expected} was to come", packet.sequence));
        }
        self.next = Some(packet.sequence.wrapping_add(1));
        let timestamp = self.place(packet.timestamp);
        self.timestamp = Some(timestamp);
        Ok((timestamp, u32::from(lost)))
    }

    /// A timestamp on the line, near where it is now.
    fn place(&mut self, timestamp: u32) -> i64 {
        let at = *self.timestamp.get_or_insert(i64::from(timestamp));
        at.wrapping_add(i64::from(timestamp.wrapping_sub(at as u32) as i32))
    }

    /// What a compound RTCP packet says of the camera's clock: an extended RTP timestamp, and the NTP time at it.
    pub(super) fn sender_report(&mut self, packet: &[u8]) -> Result<Option<(i64, u64)>, String> {
        let header = packet
            .split_first_chunk::<4>()
            .filter(|([first, kind, ..], _)| first >> 6 == 2 && RTCP_TYPES.contains(kind));
        let Some((&[_, kind, l0, l1], rest)) = header else {
            return Err("what is no RTCP packet".to_owned());
        };
        let words = usize::from(u16::from_be_bytes([l0, l1]));
        let body = rest.get(..words * 4).ok_or("an RTCP packet that is cut off")?;
        if kind != SENDER_REPORT {
            return Ok(None);
        }
        let Some((ssrc, rest)) = body.split_first_chunk::<4>() else {
            return Err("an RTCP sender report that is too short".to_owned());
        };
        let (Some((ntp, _)), Some((timestamp, _))) =
            (rest.split_first_chunk::<8>(), rest.get(8..).and_then(|rest| rest.split_first_chunk::<4>()))
        else {
            return Err("an RTCP sender report that is too short".to_owned());
        };
        let ssrc = u32::from_be_bytes(*ssrc);
        if *self.ssrc.get_or_insert(ssrc) != ssrc {
            return Ok(None);
        }
        Ok(Some((self.place(u32::from_be_bytes(*timestamp)), u64::from_be_bytes(*ntp))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        [&[first, 0x80 | 96, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1][..], rest].concat()
    }

    fn check(packet: &[u8], expect: Result<&[u8], &'static str>) {
        assert_eq!(Packet::parse(packet).map(|p| p.payload), expect, "{packet:02x?}");
    }

    #[test]
    fn a_packets_payload_is_what_its_header_leaves() {
        check(&packet(0x80, &[1, 2]), Ok(&[1, 2]));
        check(&packet(0x82, &[0, 0, 0, 1, 0, 0, 0, 2, 3]), Ok(&[3]));
        check(&packet(0x90, &[0xbe, 0xde, 0, 1, 9, 9, 9, 9, 5]), Ok(&[5]));
        check(&packet(0xa0, &[1, 2, 0, 2]), Ok(&[1, 2]));
        check(&packet(0xb1, &[0, 0, 0, 1, 0, 0, 0, 0, 7, 8, 1]), Ok(&[7, 8]));
    }

    #[test]
    fn what_is_no_rtp_is_refused() {
        check(&[0x80; 11], Err("it is too short"));
        check(&packet(0x40, &[1]), Err("it is not of version 2"));
        check(&packet(0x82, &[0; 7]), Err("its list of sources is cut off"));
        check(&packet(0x90, &[0, 0, 0]), Err("its header extension is cut off"));
        check(&packet(0x90, &[0, 0, 0, 2, 0, 0, 0, 0]), Err("its header extension is cut off"));
        check(&packet(0xa0, &[]), Err("it has no payload to be padded"));
        check(&packet(0xa0, &[1, 0]), Err("its padding is impossible"));
        check(&packet(0xa0, &[1, 3]), Err("its padding is impossible"));
    }

    fn following(sequence: u16, timestamp: u32) -> Packet<'static> {
        Packet { marker: false, payload_type: 96, sequence, timestamp, ssrc: 1, payload: &[] }
    }

    #[test]
    fn sequence_numbers_and_timestamps_go_on_past_their_ends() {
        let mut line = Line::default();
        assert_eq!(line.follow(&following(65_534, u32::MAX - 1)), Ok((i64::from(u32::MAX) - 1, 0)));
        assert_eq!(line.follow(&following(65_535, 5)), Ok(((1 << 32) + 5, 0)));
        assert_eq!(line.follow(&following(2, u32::MAX)), Ok((i64::from(u32::MAX), 2)), "it may go back a little");
        assert!(line.follow(&following(2, 0)).is_err(), "the same packet again");
        let other = Packet { ssrc: 2, ..following(3, 0) };
        assert!(line.follow(&other).is_err_and(|e| e.contains("wrong ssrc")));
    }

    #[test]
    fn reports_of_other_sources_say_nothing() {
        let report =
            |ssrc: u8| [&[0x80, 200, 0, 6, 0, 0, 0, ssrc][..], &7u64.to_be_bytes(), &[0, 0, 0, 9], &[0; 8]].concat();
        let mut line = Line::default();
        assert_eq!(line.sender_report(&report(1)), Ok(Some((9, 7))));
        assert_eq!(line.sender_report(&report(2)), Ok(None));
        assert_eq!(line.sender_report(&[0x80, 201, 0, 1, 0, 0, 0, 1]), Ok(None), "a receiver report");
        assert!(line.sender_report(&report(1)[..20]).is_err());
        assert!(line.sender_report(&[0x80, 200, 0, 1, 0, 0, 0, 1]).is_err());
        assert!(line.sender_report(&[0x13; 20]).is_err());
        assert!(line.sender_report(&[]).is_err());
    }
}
