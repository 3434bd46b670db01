//! NAL units into RTP packets (RFC 6184, RFC 7798) and back.

use std::collections::BTreeSet;

use super::super::interleaved::{Format, InterleavedParser};
use super::super::tracks::Role;
use super::{at, codec_of, units_of};
use crate::codec::{self, Kind, ParameterSets};
use crate::stream::MediaEvent;
use footage::media::VideoCodec;

/// Ticks from picture to picture.
const PICTURE_TICKS: u32 = 3_600;
/// Where sequence numbers and timestamps begin: both wrap soon.
const FIRST_SEQUENCE: u16 = 0xfff0;
const FIRST_TIMESTAMP: u32 = 0xffff_f000;

/// How one unit is sent.
struct Sent {
    unit: Vec<u8>,
    /// Bytes of a fragment, where it is sent in fragments.
    part: Option<usize>,
    /// It begins at the next picture's time.
    later: bool,
    /// In one packet with the unit before it, where that is no fragment either.
    aggregate: bool,
    marker: bool,
    /// What becomes of its first packet.
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    Twice,
    /// After the next one.
    Swapped,
    Lost,
}

/// A unit that a payload may hold by itself, without start codes; `None` where the bytes are none.
fn unit_of(codec: VideoCodec, bytes: &[u8]) -> Option<Vec<u8>> {
    let (header, body) = bytes.split_at_checked(codec::header_bytes(codec))?;
    let is_unit = match codec {
        VideoCodec::H264 => (1..24).contains(&(header[0] & 0x1f)),
        VideoCodec::H265 => header[0] >> 1 & 0x3f < 48,
    };
    // A zero byte at the end, or three in a row, are what a start code is recognised by.
    let body = body.iter().map(|byte| if *byte == 0 { 0x80 } else { *byte });
    let mut unit = header.to_vec();
    unit[0] &= 0x7f;
    unit.extend(body);
    let begins = unit.starts_with(&[0, 0, 1]) || unit.starts_with(&[0, 0, 0, 1]);
    (is_unit && !begins && unit.len() > header.len()).then_some(unit)
}

/// Each unit after a byte of options and one of its length.
fn read(codec: VideoCodec, mut data: &[u8]) -> Vec<Sent> {
    let mut sent = Vec::new();
    while let [options, length, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        let Some(unit) = unit_of(codec, bytes) else { continue };
        sent.push(Sent {
            unit,
            part: (options & 0x10 != 0).then_some(1 + usize::from(options >> 6) * 20),
            later: options & 1 != 0,
            aggregate: options & 0x20 != 0,
            marker: options & 2 != 0,
            fate: [Fate::Arrives, Fate::Twice, Fate::Swapped, Fate::Lost][usize::from(options >> 2 & 3)],
        });
    }
    sent
}

/// A packet's payload, with its timestamp and marker.
struct Payload {
    bytes: Vec<u8>,
    timestamp: u32,
    marker: bool,
    fate: Fate,
    aggregated: bool,
}

fn pack(codec: VideoCodec, sent: &[Sent]) -> Vec<Payload> {
    let mut payloads: Vec<Payload> = Vec::new();
    let mut timestamp = FIRST_TIMESTAMP;
    for Sent { unit, part, later, aggregate, marker, fate } in sent {
        if *later {
            timestamp = timestamp.wrapping_add(PICTURE_TICKS);
        }
        let with = |bytes, fate, marker| Payload { bytes, timestamp, marker, fate, aggregated: *aggregate };
        let (header, body) = unit.split_at(codec::header_bytes(codec));
        if let Some(part) = part.filter(|part| body.len() > *part) {
            let last = body.chunks(part).count() - 1;
            for (n, chunk) in body.chunks(part).enumerate() {
                let flags = u8::from(n == 0) << 7 | u8::from(n == last) << 6;
                let head = match codec {
                    VideoCodec::H264 => vec![header[0] & 0xe0 | 28, flags | header[0] & 0x1f],
                    VideoCodec::H265 => vec![header[0] & 0x81 | 49 << 1, header[1], flags | header[0] >> 1 & 0x3f],
                };
                let fate = if n == 0 { *fate } else { Fate::Arrives };
                let mut payload = with([&head[..], chunk].concat(), fate, *marker && n == last);
                payload.aggregated = false;
                payloads.push(payload);
            }
            continue;
        }
        if !aggregate {
            payloads.push(with(unit.clone(), *fate, *marker));
            continue;
        }
        let sized = [&(unit.len() as u16).to_be_bytes()[..], unit].concat();
        match payloads.last_mut().filter(|last| last.aggregated && last.timestamp == timestamp && !last.marker) {
            Some(last) => {
                last.bytes.extend_from_slice(&sized);
                last.marker = *marker;
            }
            None => {
                let head: &[u8] = if codec == VideoCodec::H264 { &[24] } else { &[48 << 1, 1] };
                payloads.push(with([head, &sized].concat(), *fate, *marker));
            }
        }
    }
    payloads
}

/// The packets in the order in which they arrive, and how many never do.
fn packets(payloads: &[Payload]) -> (Vec<Vec<u8>>, u32) {
    let (mut packets, mut held, mut lost) = (Vec::new(), None, 0);
    for (n, Payload { bytes, timestamp, marker, fate, .. }) in payloads.iter().enumerate() {
        let sequence = FIRST_SEQUENCE.wrapping_add(n as u16);
        let head = [0x80, u8::from(*marker) << 7 | 96];
        let packet = [&head[..], &sequence.to_be_bytes(), &timestamp.to_be_bytes(), &[0, 0, 0, 7], &bytes[..]].concat();
        // The first one says where the stream begins.
        match fate {
            Fate::Lost if n > 0 => lost += 1,
            Fate::Swapped if n > 0 && held.is_none() => {
                held = Some(packet);
                continue;
            }
            Fate::Twice => packets.extend([packet.clone(), packet]),
            _ => packets.push(packet),
        }
        packets.extend(held.take());
    }
    packets.extend(held);
    (packets, lost)
}

/// See [`crate::fuzzing::units`]. The first byte chooses the coding.
pub(in super::super::super) fn units(data: &[u8]) -> usize {
    let Some((&choice, rest)) = data.split_first() else { return 0 };
    let codec = codec_of(choice);
    let sent = read(codec, rest);
    let (packets, lost) = packets(&pack(codec, &sent));
    let format = Format { payload_type: 96, clock_rate: 90_000, ssrc: None };
    let mut parser = InterleavedParser::new(codec, ParameterSets::new(codec), format, None);
    for (n, packet) in packets.iter().enumerate() {
        // Sets of the other coding end a stream.
        if parser.packet(Role::Video, packet, at(n as u64)).is_err() {
            return 0;
        }
    }
    parser.finish(at(packets.len() as u64));
    let (mut out, mut counted) = (Vec::new(), 0);
    for event in parser.events {
        let MediaEvent::Picture(picture) = event else { continue };
        counted += picture.lost_packets;
        out.extend(units_of(&picture.data).into_iter().map(<[u8]>::to_vec));
    }
    assert!(counted <= lost, "{counted} of {lost} packets are said to be lost");
    came_as_sent(codec, &sent, &out, lost);
    out.len()
}

/// Parameter sets may wait for their picture, so that they are in another place; what follows the last slice may wait for
/// a picture that never comes; what was lost may take with it what belonged to its picture. All else is as it was sent.
fn came_as_sent(codec: VideoCodec, sent: &[Sent], out: &[Vec<u8>], lost: u32) {
    let is_set = |unit: &[u8]| matches!(codec::kind(codec, unit), Kind::Set(_));
    let (sets, others): (Vec<_>, Vec<_>) = out.iter().map(Vec::as_slice).partition(|unit| is_set(unit));
    let sent_sets: BTreeSet<&[u8]> = sent.iter().map(|sent| &sent.unit[..]).filter(|unit| is_set(unit)).collect();
    sets.iter().for_each(|set| assert!(sent_sets.contains(set), "a parameter set that was not sent: {set:02x?}"));
    let sent: Vec<&[u8]> = sent.iter().map(|sent| &sent.unit[..]).filter(|unit| !is_set(unit)).collect();
    if lost == 0 {
        assert!(others.len() <= sent.len() && sent[..others.len()] == others[..], "{others:02x?} of {sent:02x?}");
        let left = &sent[others.len()..];
        assert!(!left.iter().any(|unit| codec::kind(codec, unit) == Kind::Slice), "slices are missing: {left:02x?}");
        return;
    }
    let mut rest = sent.iter();
    others.iter().for_each(|unit| assert!(rest.any(|sent| sent == unit), "not sent, or not there: {unit:02x?}"));
}
