//! What has to be read of H.265 (ITU-T H.265): ids of parameter sets, size and profile, the first fields of a slice
//! segment header.

use super::bits::Bits;
use super::{Picture, Size};

/// Profile, tier and level of a sequence parameter set (§7.3.3), in the bytes that `hvcC` repeats.
pub(super) const GENERAL_PROFILE_BYTES: usize = 12;

/// A sequence parameter set (§7.3.2.2), as far as it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sps {
    pub(super) id: u8,
    /// `general_profile_space` to `general_level_idc`.
    pub(super) general: [u8; GENERAL_PROFILE_BYTES],
    pub(super) temporal_layers: u8,
    pub(super) temporal_id_nested: bool,
    pub(super) chroma_format: u8,
    pub(super) luma_depth: u8,
    pub(super) chroma_depth: u8,
    pub(super) size: Size,
}

impl Sps {
    /// Reads the NAL unit.
    pub(super) fn parse(unit: &[u8]) -> Option<Self> {
        let bits = &mut Bits::new(unit.get(2..)?);
        bits.skip(4)?;
        let sub_layers = bits.u(3).filter(|layers| *layers <= 6)?;
        let temporal_id_nested = bits.flag()?;
        let mut general = [0; GENERAL_PROFILE_BYTES];
        for byte in &mut general {
            *byte = bits.u(8)? as u8;
        }
        skip_sub_layers(bits, sub_layers)?;
        let id = bits.ue_up_to(15)? as u8;
        let chroma_format = bits.ue_up_to(3)?;
        let separate_planes = chroma_format == 3 && bits.flag()?;
        let (width, height) = (bits.ue_up_to(65_535)?, bits.ue_up_to(65_535)?);
        let crop = if bits.flag()? { [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?] } else { [0; 4] };
        let planes = if separate_planes { 0 } else { chroma_format };
        let units = (if matches!(planes, 1 | 2) { 2 } else { 1 }, if planes == 1 { 2 } else { 1 });
        let mut size = Size::cropped((width, height), units, crop)?;
        let (luma_depth, chroma_depth) = (bits.ue_up_to(8)? as u8 + 8, bits.ue_up_to(8)? as u8 + 8);
        // What comes after is needed for the shape of the pixels alone.
        size.pixel_aspect = pixel_aspect(bits, sub_layers).unwrap_or_default();
        Some(Self {
            id,
            general,
            temporal_layers: sub_layers as u8 + 1,
            temporal_id_nested,
            chroma_format: chroma_format as u8,
            luma_depth,
            chroma_depth,
            size,
        })
    }
}

/// The rest of `profile_tier_level` (§7.3.3).
fn skip_sub_layers(bits: &mut Bits<'_>, sub_layers: u32) -> Option<()> {
    let mut present = [(false, false); 8];
    for layer in present.iter_mut().take(sub_layers as usize) {
        *layer = (bits.flag()?, bits.flag()?);
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Some(())
}

/// From `log2_max_pic_order_cnt_lsb_minus4` to the aspect ratio in the VUI (§7.3.2.2, §E.2.1).
fn pixel_aspect(bits: &mut Bits<'_>, sub_layers: u32) -> Option<Option<(u16, u16)>> {
    let order_bits = bits.ue_up_to(12)? + 4;
    let ordered = if bits.flag()? { sub_layers + 1 } else { 1 };
    for _ in 0..ordered * 3 {
        bits.ue()?;
    }
    for _ in 0..6 {
        bits.ue()?;
    }
    if bits.flag()? && bits.flag()? {
        skip_scaling_lists(bits)?;
    }
    bits.skip(2)?;
    if bits.flag()? {
        bits.skip(8)?;
        bits.ue()?;
        bits.ue()?;
        bits.flag()?;
    }
    skip_reference_sets(bits)?;
    if bits.flag()? {
        for _ in 0..bits.ue_up_to(32)? {
            bits.skip(order_bits + 1)?;
        }
    }
    bits.skip(2)?;
    Some(if bits.flag()? { super::pixel_aspect(bits) } else { None })
}

/// `scaling_list_data` (§7.3.4).
fn skip_scaling_lists(bits: &mut Bits<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !bits.flag()? {
                bits.ue()?;
                continue;
            }
            if size > 1 {
                bits.se()?;
            }
            for _ in 0..(1 << (4 + 2 * size)).min(64) {
                bits.se()?;
            }
        }
    }
    Some(())
}

/// The `st_ref_pic_set`s (§7.3.7).
fn skip_reference_sets(bits: &mut Bits<'_>) -> Option<()> {
    let mut pictures = 0;
    for set in 0..bits.ue_up_to(64)? {
        if set > 0 && bits.flag()? {
            bits.flag()?;
            bits.ue()?;
            let mut kept = 0;
            for _ in 0..=pictures {
                if bits.flag()? || bits.flag()? {
                    kept += 1;
                }
            }
            pictures = kept;
        } else {
            pictures = bits.ue_up_to(16)? + bits.ue_up_to(16)?;
            for _ in 0..pictures {
                bits.ue()?;
                bits.flag()?;
            }
        }
    }
    Some(())
}

/// The id of a video parameter set (§7.3.2.1).
pub(super) fn video_set_id(unit: &[u8]) -> Option<u8> {
    unit.get(2).map(|byte| byte >> 4)
}

/// The ids of a picture parameter set (§7.3.2.3): its own, and its sequence parameter set's.
pub(super) fn picture_set_ids(unit: &[u8]) -> Option<(u8, u8)> {
    let bits = &mut Bits::new(unit.get(2..)?);
    Some((bits.ue_up_to(63)? as u8, bits.ue_up_to(15)? as u8))
}

/// What a slice segment says of its picture (§7.3.6.1).
pub(super) fn slice(unit: &[u8]) -> Option<Picture> {
    let kind = unit.first()? >> 1 & 0x3f;
    let bits = &mut Bits::new(unit.get(2..)?);
    let starts = bits.flag()?;
    if (16..=23).contains(&kind) {
        bits.flag()?;
    }
    // A segment that is too short to say more says at least that.
    let pps = bits.ue_up_to(63).unwrap_or(0) as u8;
    Some(Picture { starts, pps, idr: (16..=23).contains(&kind), ..Picture::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x265 at 320×240.
    const SPS: &[u8] = &[
        0x42, 0x01, 0x01, 0x04, 0x08, 0x00, 0x00, 0x03, 0x00, 0x98, 0x08, 0x00, 0x00, 0x03, 0x00, 0x00, 0x3c, 0x90,
        0x01, 0x41, 0x01, 0xe2, 0x29, 0x4b, 0x25, 0x49, 0x26, 0x57, 0xff, 0x80, 0x00, 0x80, 0x00, 0xb5, 0x06, 0x06,
        0x06, 0x04, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0x64, 0x20,
    ];

    #[test]
    fn a_sequence_parameter_set_says_size_and_level() {
        let sps = Sps::parse(SPS).expect("whole");
        assert_eq!((sps.id, sps.general[11], sps.temporal_layers, sps.chroma_format), (0, 60, 1, 3));
        assert_eq!((sps.size.width, sps.size.height, sps.luma_depth), (320, 240, 12));
        for end in 0..20 {
            assert_eq!(Sps::parse(&SPS[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn ids_are_read_behind_the_header() {
        assert_eq!(video_set_id(&[0x40, 1, 0x2c]), Some(2));
        assert_eq!(picture_set_ids(&[0x44, 1, 0xc1]), Some((0, 0)));
        assert_eq!(picture_set_ids(&[0x44, 1]), None);
        let slice = slice(&[0x26, 1, 0xaf]).expect("a header");
        assert!(slice.starts && slice.idr && slice.pps == 0);
    }
}
