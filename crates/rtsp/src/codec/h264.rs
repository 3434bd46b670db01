//! What has to be read of H.264 (ITU-T H.264): sequence and picture parameter sets, the first fields of a slice header.

use super::bits::Bits;
use super::{Picture, Size};

/// Profiles whose sequence parameter set has chroma format and scaling lists (§7.3.2.1.1).
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// A sequence parameter set (§7.3.2.1.1), as far as it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sps {
    pub(super) id: u8,
    pub(super) profile: u8,
    pub(super) compatibility: u8,
    pub(super) level: u8,
    /// `chroma_format_idc` and the bit depths of luma and chroma, for profiles that have them.
    pub(super) high: Option<(u8, u8, u8)>,
    pub(super) size: Size,
    separate_planes: bool,
    frame_num_bits: u32,
    poc: Poc,
    frame_mbs_only: bool,
}

/// Picture order count (§8.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poc {
    Lsb { bits: u32 },
    Delta { always_zero: bool },
    Output,
}

impl Sps {
    /// Reads the NAL unit.
    pub(super) fn parse(unit: &[u8]) -> Option<Self> {
        let (&[_, profile, compatibility, level], rest) = unit.split_first_chunk::<4>()?;
        let bits = &mut Bits::new(rest);
        let id = bits.ue_up_to(31)? as u8;
        let mut chroma = 1;
        let (mut high, mut separate_planes) = (None, false);
        if HIGH_PROFILES.contains(&profile) {
            chroma = bits.ue_up_to(3)?;
            separate_planes = chroma == 3 && bits.flag()?;
            let (luma_depth, chroma_depth) = (bits.ue_up_to(6)? as u8 + 8, bits.ue_up_to(6)? as u8 + 8);
            high = Some((chroma as u8, luma_depth, chroma_depth));
            bits.flag()?;
            if bits.flag()? {
                let lists = if chroma == 3 { 12 } else { 8 };
                for list in 0..lists {
                    if bits.flag()? {
                        skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        let frame_num_bits = bits.ue_up_to(12)? + 4;
        let poc = match bits.ue_up_to(2)? {
            0 => Poc::Lsb { bits: bits.ue_up_to(12)? + 4 },
            1 => {
                let always_zero = bits.flag()?;
                bits.se()?;
                bits.se()?;
                let cycle = bits.ue_up_to(255)?;
                (0..cycle).try_for_each(|_| bits.se().map(drop))?;
                Poc::Delta { always_zero }
            }
            _ => Poc::Output,
        };
        bits.ue()?;
        bits.flag()?;
        let (width_mbs, height_units) = (bits.ue_up_to(4_095)? + 1, bits.ue_up_to(4_095)? + 1);
        let frame_mbs_only = bits.flag()?;
        if !frame_mbs_only {
            bits.flag()?;
        }
        bits.flag()?;
        let height_mbs = height_units * if frame_mbs_only { 1 } else { 2 };
        let crop = if bits.flag()? { [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?] } else { [0; 4] };
        // §7.4.2.1.1, table 6-1: cropping is in units of chroma samples, and of field lines.
        let planes = if separate_planes { 0 } else { chroma };
        let (unit_x, unit_y) = (if matches!(planes, 1 | 2) { 2 } else { 1 }, if planes == 1 { 2 } else { 1 });
        let unit_y = unit_y * if frame_mbs_only { 1 } else { 2 };
        let mut size = Size::cropped((width_mbs * 16, height_mbs * 16), (unit_x, unit_y), crop)?;
        if bits.flag().unwrap_or(false) {
            size.pixel_aspect = super::pixel_aspect(bits);
        }
        Some(Self {
            id,
            profile,
            compatibility,
            level,
            high,
            size,
            separate_planes,
            frame_num_bits,
            poc,
            frame_mbs_only,
        })
    }
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            // Modulo 256 (§7.3.2.1.1.1): what wraps at 2³² is the same.
            next = last.wrapping_add(bits.se()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// A picture parameter set (§7.3.2.2): its own id, its sequence parameter set, and whether slices carry the bottom
/// field's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pps {
    pub(super) id: u8,
    pub(super) sps: u8,
    bottom_order: bool,
}

impl Pps {
    /// Reads the NAL unit.
    pub(super) fn parse(unit: &[u8]) -> Option<Self> {
        let bits = &mut Bits::new(unit.get(1..)?);
        let (id, sps) = (bits.ue_up_to(255)? as u8, bits.ue_up_to(31)? as u8);
        bits.flag()?;
        Some(Self { id, sps, bottom_order: bits.flag()? })
    }
}

/// What a slice says of the picture that it belongs to. `None` where it has no header of its own (data partitions B
/// and C).
pub(super) fn slice<'s>(unit: &[u8], sets: impl Fn(u8) -> Option<(&'s Sps, &'s Pps)>) -> Option<Picture> {
    let &header = unit.first()?;
    let kind = header & 0x1f;
    if matches!(kind, 3 | 4) {
        return None;
    }
    let bits = &mut Bits::new(&unit[1..]);
    let starts = bits.ue()? == 0;
    let mut picture = Picture { starts, idr: kind == 5, reference: header & 0x60 != 0, ..Picture::default() };
    // A slice that is too short to say more says at least that.
    picture.described = read_fields(bits, sets, &mut picture).is_some();
    Some(picture)
}

/// The fields that H.264 §7.4.1.2.4 compares; `None` where the parameter sets are not known or the slice ends.
fn read_fields<'s>(
    bits: &mut Bits<'_>,
    sets: impl Fn(u8) -> Option<(&'s Sps, &'s Pps)>,
    picture: &mut Picture,
) -> Option<()> {
    bits.ue()?;
    picture.pps = bits.ue_up_to(255)? as u8;
    let (sps, pps) = sets(picture.pps)?;
    if sps.separate_planes {
        bits.skip(2)?;
    }
    picture.frame_num = bits.u(sps.frame_num_bits)?;
    if !sps.frame_mbs_only && bits.flag()? {
        picture.field = Some(bits.flag()?);
    }
    if picture.idr {
        picture.idr_id = bits.ue()?;
    }
    match sps.poc {
        Poc::Lsb { bits: length } => {
            picture.order[0] = bits.u(length)? as i32;
            if pps.bottom_order && picture.field.is_none() {
                picture.order[1] = bits.se()?;
            }
        }
        Poc::Delta { always_zero: false } => {
            picture.order[0] = bits.se()?;
            if pps.bottom_order && picture.field.is_none() {
                picture.order[1] = bits.se()?;
            }
        }
        Poc::Delta { always_zero: true } | Poc::Output => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x264 at 320×240, baseline.
    const SPS: &[u8] = &[
        0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x6a, 0x0c, 0x0c, 0x0d, 0x4a, 0x00, 0x00, 0x03, 0x00,
        0x02, 0x00, 0x00, 0x03, 0x00, 0x65, 0x1e, 0x28, 0x54, 0x90,
    ];

    #[test]
    fn a_sequence_parameter_set_says_size_and_profile() {
        let sps = Sps::parse(SPS).expect("whole");
        assert_eq!((sps.id, sps.profile, sps.compatibility, sps.level), (0, 0x42, 0xc0, 0x0d));
        assert_eq!((sps.size.width, sps.size.height, sps.high), (320, 240, None));
        for end in 0..8 {
            assert_eq!(Sps::parse(&SPS[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn a_scaling_list_may_hold_any_number() {
        // Profile 100, a scaling matrix, its first list with the largest number there is, then flat lists, 320×240.
        let largest = format!("{}1{}0", "0".repeat(31), "1".repeat(30));
        let list = format!("1{largest}{}", "1".repeat(15));
        let head = format!("1 010 1 1 0 1 {list} 0000000 1 011 1 0 000010100 0001111 1 0 0");
        let bits: Vec<u8> = head.bytes().filter(|b| *b != b' ').chain(*b"1000000").map(|b| b - b'0').collect();
        let body = bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | bit));
        let unit: Vec<u8> = [0x67, 100, 0, 30].into_iter().chain(body).collect();
        let size = Sps::parse(&unit).map(|sps| (sps.size.width, sps.size.height));
        assert_eq!(size, Some((320, 240)));
    }

    #[test]
    fn bytes_behind_a_parameter_set_change_nothing_of_it() {
        assert_eq!(Sps::parse(&[SPS, &[4]].concat()), Sps::parse(SPS));
    }

    #[test]
    fn a_picture_parameter_set_names_its_sequence() {
        assert_eq!(Pps::parse(&[0x68, 0xcb, 0x8c, 0xb2]).map(|pps| (pps.id, pps.sps)), Some((0, 0)));
        // 010 1...: the second.
        assert_eq!(Pps::parse(&[0x68, 0b0101_0000]).map(|pps| (pps.id, pps.sps)), Some((1, 0)));
        assert_eq!(Pps::parse(&[0x68]), None);
    }
}
