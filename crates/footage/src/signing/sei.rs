//! NAL units as signing sees them, and the SEI messages of the standard.

use super::UUID;
use super::certificate::Certificate;
use super::tlv::{BadTlv, Tlvs};
use crate::media::VideoCodec;

/// SEI payload type: user data unregistered (H.264 §D.1.7, H.265 §D.2.7).
const USER_DATA_UNREGISTERED: u8 = 5;

/// `rbsp_trailing_bits` in a byte of its own (H.264 §7.3.2.11, H.265 §7.3.2.11).
const STOP_BYTE: u8 = 0x80;

/// Longest SEI message that is read: each TLV with a statement's hashes or a chain has 64 KiB at most.
const SEI_BYTES_MAX: usize = 256 * 1_024;

/// Longest one that is worth remembering for its certificates: [`super::Certificate`] has eight at most, of 2 KB or so.
pub const CERTIFICATE_SEI_BYTES_MAX: usize = 64 * 1_024;

const CERTIFICATE_FLAG: u8 = 0x80;
const HASHED_ESCAPED_FLAG: u8 = 0x40;

/// A NAL unit, as far as signing asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalKind {
    /// The first slice of a random access picture: a GOP begins.
    GopStart,
    /// Another slice that is hashed.
    Slice,
    /// A SEI message of the standard.
    Signing,
    /// A slice of a kind that the standard leaves out of its hashes, and that players show.
    NeverSigned,
    /// What is not signed: parameter sets, delimiters, other SEI messages.
    Other,
}

/// Of one NAL unit, without its length.
pub fn nal_kind(codec: VideoCodec, nal: &[u8]) -> NalKind {
    let Some(&first) = nal.first() else { return NalKind::Other };
    // Never signed are data partitions, auxiliary pictures and extensions (H.264 table 7-1), pictures of temporal sub-layers
    // and leading ones (H.265 table 7-1).
    let (intra, inter, never, header) = match (codec, first & 0x1f, first >> 1 & 0x3f) {
        (VideoCodec::H264, kind, _) => (kind == 5, kind == 1, matches!(kind, 2..=4 | 19..=21), 1),
        (VideoCodec::H265, _, kind) => ((16..=21).contains(&kind), kind <= 1, (2..=9).contains(&kind), 2),
    };
    // `first_mb_in_slice` 0 as ue(v), or `first_slice_segment_in_pic_flag`: one bit, set.
    let is_first = nal.get(header).is_some_and(|byte| byte & 0x80 != 0);
    match (intra, inter) {
        (true, _) if is_first => NalKind::GopStart,
        (true, _) | (_, true) => NalKind::Slice,
        _ if never => NalKind::NeverSigned,
        _ if is_signing_sei(codec, nal) => NalKind::Signing,
        _ => NalKind::Other,
    }
}

/// Whether it is a SEI message of the standard. It looks at the first bytes alone.
pub fn is_signing_sei(codec: VideoCodec, nal: &[u8]) -> bool {
    payload_of(codec, nal).is_some_and(|(at, _)| nal.get(at..at + UUID.len()) == Some(&UUID))
}

/// Where the payload of a first SEI message of user data begins, and its size.
fn payload_of(codec: VideoCodec, nal: &[u8]) -> Option<(usize, usize)> {
    let (is_sei, mut at) = match codec {
        VideoCodec::H264 => (nal.first()? & 0x1f == 6, 1),
        VideoCodec::H265 => (matches!(nal.first()? >> 1 & 0x3f, 39 | 40), 2),
    };
    if !is_sei || *nal.get(at)? != USER_DATA_UNREGISTERED {
        return None;
    }
    at += 1;
    let mut size = 0;
    loop {
        let byte = *nal.get(at)?;
        at += 1;
        size += usize::from(byte);
        if byte != 0xff {
            return Some((at, size));
        }
    }
}

/// The NAL units of an access unit as it is stored: each after its length in four bytes. It ends where a length does not fit.
pub fn nal_units(access_unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = access_unit;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (nal, next) = after.split_at_checked(length)?;
        rest = next;
        Some(nal)
    })
}

/// The SEI messages of the standard in an access unit.
pub fn signing_seis(codec: VideoCodec, access_unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    nal_units(access_unit).filter(move |nal| is_signing_sei(codec, nal))
}

/// The first one in an access unit that brings certificates.
pub fn certificate_sei(codec: VideoCodec, access_unit: &[u8]) -> Option<&[u8]> {
    let brings = |nal: &&[u8]| SigningSei::parse(codec, nal).is_ok_and(|sei| sei.tlvs.certificates.is_some());
    signing_seis(codec, access_unit).find(brings)
}

/// Why a SEI message cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadSei {
    /// Its UUID or its form is another.
    #[error("no SEI message of media signing")]
    Other,
    /// It is longer than any that a camera has reason to send.
    #[error("the SEI message has {0} bytes: no more than {SEI_BYTES_MAX} are read")]
    Long(usize),
    /// It has fewer bytes than it says.
    #[error("the SEI message says that it has {size} bytes, and {left} are left")]
    Short {
        /// What it says.
        size: usize,
        /// What there is.
        left: usize,
    },
    /// A TLV is malformed.
    #[error(transparent)]
    Tlv(#[from] BadTlv),
}

/// A SEI message of the standard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningSei {
    /// It stands for itself: certificates, and no statement on pictures.
    pub is_certificate: bool,
    /// What is hashed of it: up to its signature, or all of it where it has none.
    pub document: Vec<u8>,
    /// What it says.
    pub tlvs: Tlvs,
}

impl SigningSei {
    /// Reads one NAL unit.
    ///
    /// # Errors
    /// [`BadSei`] where it is none, or malformed.
    pub fn parse(codec: VideoCodec, nal: &[u8]) -> Result<Self, BadSei> {
        if !is_signing_sei(codec, nal) {
            return Err(BadSei::Other);
        }
        if nal.len() > SEI_BYTES_MAX {
            return Err(BadSei::Long(nal.len()));
        }
        let nal = without_trailing_zeros(nal);
        let (at, size) = payload_of(codec, nal).ok_or(BadSei::Other)?;
        let stop = usize::from(nal.last() == Some(&STOP_BYTE));
        let short = || BadSei::Short { size, left: nal.len().saturating_sub(at + stop) };
        // A camera may leave emulation prevention out: then its bytes stand for themselves, whatever they look like.
        let added = nal.len().checked_sub(at + size + stop).ok_or_else(short)?;
        let plain = if added > 0 { Plain::unescaped(nal) } else { Plain::of(nal) };
        let payload = plain.bytes.get(at..at + size).ok_or_else(short)?;
        let flags = *payload.get(UUID.len()).ok_or_else(short)?;
        let tlvs_at = at + UUID.len() + 1;
        let tlvs = Tlvs::parse(&payload[UUID.len() + 1..])?;
        let end = tlvs.signature_at.map_or(plain.bytes.len(), |signature| tlvs_at + signature);
        let document = if flags & HASHED_ESCAPED_FLAG == 0 {
            plain.bytes[..end].to_vec()
        } else if tlvs.signature_at.is_none() {
            nal.to_vec()
        } else {
            nal[..plain.raw_end(end)].to_vec()
        };
        Ok(Self { is_certificate: flags & CERTIFICATE_FLAG != 0, document, tlvs })
    }

    /// Its certificates, where the key of the first one signed it.
    pub fn proven_certificate(&self) -> Option<Certificate> {
        let certificate = Certificate::from_pem(self.tlvs.certificates.as_deref()?).ok()?;
        let algorithm = self.tlvs.hash_algorithm.unwrap_or_default();
        certificate.signed(algorithm, &self.document, self.tlvs.signature.as_deref()?).then_some(certificate)
    }

    /// Whether it has a signature of its own.
    pub fn is_signed(&self) -> bool {
        self.tlvs.signature.is_some()
    }
}

/// Writers of files add zero bytes after a NAL unit (`trailing_zero_8bits`, H.264 §B.1.1): they are not hashed.
pub(super) fn without_trailing_zeros(nal: &[u8]) -> &[u8] {
    let end = nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &nal[..end]
}

/// A NAL unit without its emulation prevention bytes (H.264 §7.4.1.1), and where they were.
struct Plain {
    bytes: Vec<u8>,
    /// Positions in `bytes` before which one was removed.
    removed: Vec<usize>,
}

impl Plain {
    fn of(nal: &[u8]) -> Self {
        Self { bytes: nal.to_vec(), removed: Vec::new() }
    }

    fn unescaped(nal: &[u8]) -> Self {
        let (mut bytes, mut removed, mut zeros) = (Vec::with_capacity(nal.len()), Vec::new(), 0);
        for &byte in nal {
            if zeros >= 2 && byte == 3 {
                removed.push(bytes.len());
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            bytes.push(byte);
        }
        Self { bytes, removed }
    }

    /// Where the first `end` bytes end in the NAL unit: an emulation prevention byte that follows them is not theirs.
    fn raw_end(&self, end: usize) -> usize {
        end + self.removed.iter().filter(|&&at| at < end).count()
    }
}
