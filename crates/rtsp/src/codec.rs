//! H.264 and H.265 as far as recording needs them: kinds of NAL units, parameter sets by id, which picture a slice
//! belongs to, where decoding may begin.
//!
//! Invariant: slices and parameter sets are looked at, at their first bytes; every other NAL unit is carried whatever is
//! in it. Nothing here changes a byte.
//! Absent on purpose: RTP, I/O.

mod bits;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod h264;
mod h265;
mod sets;

pub(super) use sets::{ParameterSets, Put};

use bits::Bits;

use footage::media::VideoCodec;

/// SEI messages that are looked through for a recovery point.
const SEI_MESSAGES_MAX: usize = 16;
/// `payloadType` of a recovery point (H.264 §D.1.8, H.265 §D.2.8).
const RECOVERY_POINT: u32 = 6;

/// What a NAL unit is, as far as the order in an access unit goes (H.264 §7.4.1.2.3, H.265 §7.4.2.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A slice, or a partition of one.
    Slice,
    /// One that an access unit may begin with: delimiter, SEI before the picture, what is reserved for that place.
    Before,
    /// A parameter set, with which an access unit may begin too.
    Set(Set),
    /// One that belongs to the picture before it.
    After,
    /// Of no access unit that this standard knows.
    Unknown,
}

/// Which parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Video,
    Sequence,
    Picture,
}

/// Bytes of a NAL unit header.
pub(super) fn header_bytes(codec: VideoCodec) -> usize {
    match codec {
        VideoCodec::H264 => 1,
        VideoCodec::H265 => 2,
    }
}

/// `nal_unit_type`.
pub(super) fn unit_type(codec: VideoCodec, header: u8) -> u8 {
    match codec {
        VideoCodec::H264 => header & 0x1f,
        VideoCodec::H265 => header >> 1 & 0x3f,
    }
}

pub(super) fn kind(codec: VideoCodec, unit: &[u8]) -> Kind {
    let Some(&header) = unit.first().filter(|_| unit.len() >= header_bytes(codec)) else { return Kind::Unknown };
    match (codec, unit_type(codec, header)) {
        (VideoCodec::H264, 1..=5) | (VideoCodec::H265, 0..=31) => Kind::Slice,
        (VideoCodec::H264, 7) | (VideoCodec::H265, 33) => Kind::Set(Set::Sequence),
        (VideoCodec::H264, 8) | (VideoCodec::H265, 34) => Kind::Set(Set::Picture),
        (VideoCodec::H265, 32) => Kind::Set(Set::Video),
        (VideoCodec::H264, 6 | 9 | 14..=18) | (VideoCodec::H265, 35 | 39 | 41..=44 | 48..=55) => Kind::Before,
        (VideoCodec::H264, 10..=13 | 19..=21) | (VideoCodec::H265, 36..=38 | 40 | 45..=47 | 56..) => Kind::After,
        (VideoCodec::H264, _) => Kind::Unknown,
    }
}

/// The NAL units of a byte stream (Annex B of both standards), or the bytes as they are where no start code is in them.
/// Zero bytes before a start code are not a unit's own.
pub(super) fn between_start_codes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        loop {
            let bytes = rest.take()?;
            let unit = match start_code(bytes) {
                Some(at) => {
                    rest = Some(&bytes[at + 3..]);
                    let end = bytes[..at].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                    &bytes[..end]
                }
                None => bytes,
            };
            if !unit.is_empty() {
                return Some(unit);
            }
        }
    })
}

/// Where the first start code is.
pub(super) fn start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|window| window == [0, 0, 1])
}

/// Whether two units in a row are parameter sets of the other coding: the camera changed it without a new description.
pub(super) fn is_other_coding(codec: VideoCodec, before: &[u8], unit: &[u8]) -> bool {
    match codec {
        VideoCodec::H264 => before.starts_with(&[0x40, 1]) && unit.starts_with(&[0x42, 1]),
        VideoCodec::H265 => {
            let [first, ..] = before else { return false };
            first & 0x1f == 7
                && h264::Sps::parse(before).is_some_and(|sps| [66, 77, 88, 100, 110, 122, 244].contains(&sps.profile))
                && unit.first().is_some_and(|header| header & 0x9f == 8)
        }
    }
}

/// What a slice says of its picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Picture {
    /// The slice is where a picture begins.
    pub(super) starts: bool,
    pub(super) pps: u8,
    /// IDR, or any IRAP of H.265.
    pub(super) idr: bool,
    /// The parameter sets were known, so that the fields below are read.
    described: bool,
    reference: bool,
    frame_num: u32,
    /// Of one field: whether it is the bottom one.
    field: Option<bool>,
    idr_id: u32,
    order: [i32; 2],
}

impl Picture {
    /// Whether this slice is the first of another picture than the slice before it, by what the standard says alone.
    pub(super) fn follows(&self, codec: VideoCodec, before: &Self) -> bool {
        match codec {
            VideoCodec::H265 => self.starts,
            VideoCodec::H264 if self.described && before.described => self.differs(before),
            VideoCodec::H264 => self.starts,
        }
    }

    /// H.264 §7.4.1.2.4. The two fields of a frame are one sample.
    fn differs(&self, before: &Self) -> bool {
        if let (Some(one), Some(other)) = (self.field, before.field)
            && one != other
        {
            return self.frame_num != before.frame_num;
        }
        self.frame_num != before.frame_num
            || self.pps != before.pps && self.starts
            || self.field.is_some() != before.field.is_some()
            || self.reference != before.reference
            || self.idr != before.idr
            || self.idr && self.idr_id != before.idr_id
            || self.order != before.order
    }
}

/// Whether a SEI unit before the picture holds a recovery point: a decoder may begin here.
pub(super) fn is_recovery_point(codec: VideoCodec, unit: &[u8]) -> bool {
    let wanted = match codec {
        VideoCodec::H264 => 6,
        VideoCodec::H265 => 39,
    };
    let header = header_bytes(codec);
    if unit.len() <= header || unit_type(codec, unit[0]) != wanted {
        return false;
    }
    let mut bits = Bits::new(&unit[header..]);
    for _ in 0..SEI_MESSAGES_MAX {
        let (Some(payload_type), Some(bytes)) = (sei_number(&mut bits), sei_number(&mut bits)) else { return false };
        if payload_type == RECOVERY_POINT {
            return match codec {
                VideoCodec::H264 => bits.ue().is_some(),
                VideoCodec::H265 => bits.se().is_some_and(|pictures| pictures >= 0),
            };
        }
        if (0..bytes).any(|_| bits.byte().is_none()) {
            return false;
        }
    }
    false
}

/// `payloadType` or `payloadSize` (H.264 §7.3.2.3.1, H.265 §7.3.5).
fn sei_number(bits: &mut Bits<'_>) -> Option<u32> {
    let mut value = 0u32;
    loop {
        let byte = bits.byte()?;
        value = value.checked_add(byte.into())?;
        if byte != 0xff {
            return Some(value);
        }
    }
}

/// Displayed size, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u16,
    pub(super) height: u16,
    /// Width and height of a pixel, where they differ.
    pub(super) pixel_aspect: Option<(u16, u16)>,
}

impl Size {
    /// What is left of the coded size: left, right, top and bottom of `crop`, each in its unit.
    fn cropped(coded: (u32, u32), unit: (u32, u32), crop: [u32; 4]) -> Option<Self> {
        let [left, right, top, bottom] = crop;
        let cut = |coded: u32, one: u32, other: u32, unit: u32| {
            let left = coded.checked_sub(one.checked_add(other)?.checked_mul(unit)?)?;
            u16::try_from(left).ok().filter(|left| *left > 0)
        };
        let (width, height) = (cut(coded.0, left, right, unit.0)?, cut(coded.1, top, bottom, unit.1)?);
        Some(Self { width, height, pixel_aspect: None })
    }
}

/// The aspect ratio at the front of the VUI (H.264 table E-1, H.265 table E.1), where it is not square.
fn pixel_aspect(bits: &mut Bits<'_>) -> Option<(u16, u16)> {
    const KNOWN: [(u16, u16); 17] = [
        (0, 0),
        (1, 1),
        (12, 11),
        (10, 11),
        (16, 11),
        (40, 33),
        (24, 11),
        (20, 11),
        (32, 11),
        (80, 33),
        (18, 11),
        (15, 11),
        (64, 33),
        (160, 99),
        (4, 3),
        (3, 2),
        (2, 1),
    ];
    if !bits.flag()? {
        return None;
    }
    let (width, height) = match bits.u(8)? {
        255 => (bits.u(16)? as u16, bits.u(16)? as u16),
        known => *KNOWN.get(known as usize)?,
    };
    (width != height && width > 0 && height > 0).then_some((width, height))
}
