use proptest::prelude::*;

use super::*;
use crate::media::VideoCodec;
use crate::units::WallTime;

fn sei(codec: VideoCodec, flags: u8, tlvs: &[u8]) -> Vec<u8> {
    let mut nal = sei_header(codec, UUID.len() + 1 + tlvs.len(), flags);
    nal.extend_from_slice(tlvs);
    nal.push(0x80);
    nal
}

/// Emulation prevention bytes where the bytes need them (H.264 §7.4.1.1).
fn escaped(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut zeros) = (Vec::with_capacity(bytes.len() + bytes.len() / 64), 0);
    for &byte in bytes {
        if zeros >= 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

fn flags(is_certificate: bool, hashed_escaped: bool) -> u8 {
    u8::from(is_certificate) << 7 | u8::from(hashed_escaped) << 6
}

/// The payload up to its flags, then TLVs: the beginning of a SEI NAL unit, for one of `size` bytes.
fn sei_header(codec: VideoCodec, size: usize, flags: u8) -> Vec<u8> {
    let mut nal = match codec {
        VideoCodec::H264 => vec![6],
        VideoCodec::H265 => vec![39 << 1, 1],
    };
    nal.push(5);
    nal.extend(std::iter::repeat_n(0xff, size / 255));
    nal.push((size % 255) as u8);
    nal.extend_from_slice(&UUID);
    nal.push(flags);
    nal
}

/// One TLV.
fn tlv(tag: Tag, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("a TLV's value has at most 65,535 bytes");
    let mut out = vec![tag as u8];
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    out
}

/// The value of its TLV.
fn encoded(general: &General) -> Vec<u8> {
    let mut out = vec![2, 25, 12, 2, u8::from(general.is_partial)];
    out.extend_from_slice(&general.start.to_be_bytes());
    out.extend_from_slice(&general.end.to_be_bytes());
    out.extend_from_slice(&general.counter.to_be_bytes());
    out.extend_from_slice(&general.nal_units.to_be_bytes());
    out.extend_from_slice(&general.gop_hash);
    out.extend_from_slice(&general.linked_hash);
    out
}

fn general() -> General {
    General {
        is_partial: false,
        start: 1,
        end: 2,
        counter: 7,
        nal_units: 3,
        gop_hash: vec![0; 32],
        linked_hash: vec![0; 32],
    }
}

#[test]
fn a_statement_is_read_with_and_without_emulation_prevention() {
    let (plain_flags, escaped_flags) = (flags(false, false), flags(false, true));
    let signature = tlv(Tag::Signature, &[1, 0, 2, 9, 9, 1, 1]);
    for codec in [VideoCodec::H264, VideoCodec::H265] {
        let statement = [tlv(Tag::General, &encoded(&general())), signature.clone()].concat();
        let bare = sei(codec, plain_flags, &statement);
        let read = SigningSei::parse(codec, &bare).unwrap();
        assert_eq!(read.tlvs.general, Some(general()));
        assert_eq!(read.tlvs.signature, Some(vec![9, 9]));
        let hashed = bare.len() - signature.len() - 1;
        assert_eq!(read.document, bare[..hashed], "its zeros stand for themselves");

        let read = SigningSei::parse(codec, &escaped(&bare)).unwrap();
        assert_eq!(read.document, bare[..hashed], "emulation prevention came after the signature");

        let hashed_escaped = escaped(&sei(codec, escaped_flags, &statement));
        let read = SigningSei::parse(codec, &hashed_escaped).unwrap();
        assert_eq!(read.tlvs.general, Some(general()));
        let until = read.document.len();
        assert_eq!(read.document, hashed_escaped[..until], "it is hashed as it was sent");
        assert!(until > hashed, "with its emulation prevention");
    }
}

#[test]
fn what_stands_after_the_signature_or_twice_is_refused() {
    let (one, signature) = (tlv(Tag::General, &encoded(&general())), tlv(Tag::Signature, &[1, 0, 0]));
    for tlvs in [[signature, one.clone()].concat(), [one.clone(), one].concat()] {
        assert_eq!(Tlvs::parse(&tlvs), Err(BadTlv::Place(Tag::General as u8)));
    }
}

#[test]
fn a_length_past_the_end_is_named() {
    let bad = Tlvs::parse(&[9, 0, 0, 2, 0xff, 0xff, 1]).unwrap_err();
    assert_eq!(bad, BadTlv::Length { tag: 2, at: 3, length: 0xffff, left: 1 });
    let short = sei(VideoCodec::H264, 0, &[])[..10].to_vec();
    assert_eq!(SigningSei::parse(VideoCodec::H264, &short), Err(BadSei::Other));
}

fn access_unit(nals: &[Vec<u8>]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect()
}

#[test]
fn a_message_longer_than_any_camera_sends_is_not_read() {
    let long = sei(VideoCodec::H264, 0, &tlv(Tag::ArbitraryData, &[1; 60_000]).repeat(5));
    assert_eq!(SigningSei::parse(VideoCodec::H264, &long), Err(BadSei::Long(long.len())));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_and_end_in_a_report(
        tlvs in prop::collection::vec((0u8..9, any::<Option<u16>>(), prop::collection::vec(any::<u8>(), 0..200)), 0..6),
        flags in any::<u8>(),
        size in 0usize..2_000,
        cut in 0usize..400,
        noise in prop::collection::vec(any::<u8>(), 0..300),
        is_h265 in any::<bool>(),
    ) {
        let codec = if is_h265 { VideoCodec::H265 } else { VideoCodec::H264 };
        let mut body = Vec::new();
        for (tag, length, value) in tlvs {
            body.push(tag);
            body.extend_from_slice(&length.unwrap_or(value.len() as u16).to_be_bytes());
            body.extend_from_slice(&value);
        }
        let honest = sei(codec, flags, &body);
        let mut lying = sei_header(codec, size, flags);
        lying.extend_from_slice(&body);
        lying.truncate(lying.len().saturating_sub(cut));
        let mut verifier = Verifier::new(codec, Anchors::default());
        let mut stream = access_unit(&[honest.clone(), escaped(&honest), lying, noise.clone()]);
        stream.extend_from_slice(&noise);
        verifier.remember(&honest);
        verifier.push(&stream, WallTime(0));
        let report = verifier.finish();
        prop_assert!(!matches!(report.verdict, Verdict::Authentic | Verdict::AuthenticWithMissing));
    }

    #[test]
    fn escaping_hides_no_byte(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(3), any::<u8>()], 0..200)) {
        let body = tlv(Tag::ArbitraryData, &[&[1][..], &bytes].concat());
        let nal = sei(VideoCodec::H264, 0, &body);
        let read = SigningSei::parse(VideoCodec::H264, &escaped(&nal)).unwrap();
        prop_assert_eq!(read.tlvs.arbitrary_data.unwrap_or_default(), bytes);
    }
}
