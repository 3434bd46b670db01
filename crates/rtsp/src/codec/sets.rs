//! Parameter sets by their ids, and the sample description that they make.
//!
//! Invariant: every set that came is kept until another with its id takes its place; the sample description holds all of
//! them, so that a pack can be decoded by itself. It is `avc3` or `hev1` (ISO/IEC 14496-15 §5.3.3, §8.3.3), because the
//! copies that the camera sends in band stay in the samples.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Kind, Picture, Set, Size, between_start_codes, h264, h265, header_bytes, kind};
use footage::media::{VideoCodec, VideoParams};

/// A larger set is carried in band and is in no sample description.
const SET_BYTES_MAX: usize = 4 * 1024;
/// All sets together; `avcC` and `hvcC` count them in a byte or two, and their lengths in two bytes each.
const ALL_BYTES_MAX: usize = 48 * 1024;
/// `numOfSequenceParameterSets` of `avcC` has five bits, `numOfPictureParameterSets` eight.
const H264_SEQUENCES_MAX: usize = 31;
const H264_PICTURES_MAX: usize = 255;

/// What came of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Put {
    /// It was known.
    Known,
    /// It is kept, and the sample description is another.
    Kept,
    /// It is none that can be read.
    Unreadable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held<T> {
    unit: Bytes,
    read: T,
    /// From the session description: what comes in band is right where they differ.
    described: bool,
}

type ById<T> = BTreeMap<u8, Held<T>>;

/// One stream's parameter sets.
#[derive(Clone, Debug)]
pub(in super::super) struct ParameterSets {
    codec: VideoCodec,
    video: ById<()>,
    sequence: ById<Sequence>,
    picture: ById<PictureSet>,
    /// Changes so far.
    version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sequence {
    H264(h264::Sps),
    H265(h265::Sps),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PictureSet {
    sequence: u8,
    h264: Option<h264::Pps>,
}

impl ParameterSets {
    pub(in super::super) fn new(codec: VideoCodec) -> Self {
        let (video, sequence, picture) = Default::default();
        Self { codec, video, sequence, picture, version: 0 }
    }

    /// Those that a session description names.
    pub(in super::super) fn of_units<'u>(codec: VideoCodec, units: impl IntoIterator<Item = &'u [u8]>) -> Self {
        let mut sets = Self::new(codec);
        for unit in units {
            for unit in between_start_codes(unit) {
                sets.insert(unit, true);
            }
        }
        sets
    }

    /// A number that changes when a set does.
    pub(in super::super) fn version(&self) -> u64 {
        self.version
    }

    /// Keeps a set that came in band.
    pub(in super::super) fn put(&mut self, unit: &[u8]) -> Put {
        self.insert(unit, false)
    }

    /// A random access point has been decoded with the sets that the description named.
    pub(in super::super) fn confirm(&mut self) {
        self.video.values_mut().for_each(|held| held.described = false);
        self.sequence.values_mut().for_each(|held| held.described = false);
    }

    /// Whether it differs from a set of its id that pictures have been decoded with: no decoder may see it before the
    /// next random access point (H.264 §7.4.1.2.1, H.265 §7.4.2.4.2).
    pub(in super::super) fn contradicts(&self, unit: &[u8]) -> bool {
        fn other<T>(held: Option<&Held<T>>, unit: &[u8]) -> bool {
            held.is_some_and(|held| !held.described && held.unit != unit)
        }
        let unit = without_zeros(unit);
        match (kind(self.codec, unit), self.codec) {
            (Kind::Set(Set::Video), _) => h265::video_set_id(unit).is_some_and(|id| other(self.video.get(&id), unit)),
            (Kind::Set(Set::Sequence), _) => {
                read_sequence(self.codec, unit).is_some_and(|(id, _)| other(self.sequence.get(&id), unit))
            }
            _ => false,
        }
    }

    fn insert(&mut self, unit: &[u8], described: bool) -> Put {
        let unit = without_zeros(unit);
        if unit.len() > SET_BYTES_MAX || unit.len() <= header_bytes(self.codec) {
            return Put::Unreadable;
        }
        let codec = self.codec;
        let put = match kind(codec, unit) {
            Kind::Set(Set::Video) => match h265::video_set_id(unit) {
                Some(id) => keep(&mut self.video, id, unit, described, ()),
                None => Put::Unreadable,
            },
            Kind::Set(Set::Sequence) => match read_sequence(codec, unit) {
                Some((id, read)) => keep(&mut self.sequence, id, unit, described, read),
                None => Put::Unreadable,
            },
            Kind::Set(Set::Picture) => match read_picture(codec, unit) {
                Some((id, read)) => keep(&mut self.picture, id, unit, described, read),
                None => Put::Unreadable,
            },
            _ => Put::Unreadable,
        };
        self.version += u64::from(put == Put::Kept);
        put
    }

    /// What a slice says of its picture.
    pub(in super::super) fn picture_of(&self, slice: &[u8]) -> Option<Picture> {
        match self.codec {
            VideoCodec::H265 => h265::slice(slice),
            VideoCodec::H264 => h264::slice(slice, |pps| {
                let pps = self.picture.get(&pps)?.read.h264.as_ref()?;
                match &self.sequence.get(&pps.sps)?.read {
                    Sequence::H264(sps) => Some((sps, pps)),
                    Sequence::H265(_) => None,
                }
            }),
        }
    }

    /// The sequence parameter set that pictures under this picture parameter set need.
    pub(in super::super) fn sequence_of(&self, pps: u8) -> Option<u8> {
        self.picture.get(&pps).map(|held| held.read.sequence)
    }

    /// The sample description of pictures under this sequence parameter set, or under the first that is whole; `None`
    /// until there are enough sets to decode a picture.
    pub(in super::super) fn params(&self, sequence: Option<u8>) -> Option<VideoParams> {
        if self.picture.is_empty() || self.codec == VideoCodec::H265 && self.video.is_empty() {
            return None;
        }
        let of_pictures = self.picture.values().map(|held| held.read.sequence);
        let active = sequence.into_iter().chain(of_pictures).find_map(|id| self.sequence.get(&id))?;
        let (size, name, configuration, rfc6381) = match &active.read {
            Sequence::H264(sps) => {
                let name = format!("avc3.{:02X}{:02X}{:02X}", sps.profile, sps.compatibility, sps.level);
                (sps.size, *b"avc3", self.avc_configuration(sps), name)
            }
            Sequence::H265(sps) => (sps.size, *b"hev1", self.hevc_configuration(sps), hevc_name(sps)),
        };
        Some(VideoParams {
            codec: self.codec,
            width: size.width,
            height: size.height,
            sample_entry: sample_entry(name, size, &configuration),
            rfc6381,
        })
    }

    /// `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §5.3.3.1).
    fn avc_configuration(&self, active: &h264::Sps) -> Vec<u8> {
        let mut out = vec![1, active.profile, active.compatibility, active.level, 0xff];
        let (sequences, pictures) =
            (units(&self.sequence, H264_SEQUENCES_MAX), units(&self.picture, H264_PICTURES_MAX));
        out.push(0xe0 | sequences.len() as u8);
        sequences.iter().for_each(|unit| put_unit(&mut out, unit));
        out.push(pictures.len() as u8);
        pictures.iter().for_each(|unit| put_unit(&mut out, unit));
        if let Some((chroma, luma_depth, chroma_depth)) =
            active.high.filter(|_| ![66, 77, 88].contains(&active.profile))
        {
            out.extend([0xfc | chroma, 0xf8 | (luma_depth - 8), 0xf8 | (chroma_depth - 8), 0]);
        }
        boxed(*b"avcC", &out)
    }

    /// `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §8.3.3.1). The arrays are not complete: sets come in band too.
    fn hevc_configuration(&self, active: &h265::Sps) -> Vec<u8> {
        let mut out = vec![1];
        out.extend(active.general);
        // Minimum spatial segmentation and parallelism: unknown.
        out.extend([0xf0, 0, 0xfc, 0xfc | active.chroma_format]);
        out.extend([0xf8 | (active.luma_depth - 8), 0xf8 | (active.chroma_depth - 8)]);
        // Average frame rate: unknown. Lengths of four bytes.
        out.extend([0, 0, active.temporal_layers << 3 | u8::from(active.temporal_id_nested) << 2 | 3]);
        let arrays = [
            (32, units(&self.video, usize::MAX)),
            (33, units(&self.sequence, usize::MAX)),
            (34, units(&self.picture, usize::MAX)),
        ];
        out.push(arrays.len() as u8);
        for (unit_type, units) in arrays {
            out.push(unit_type);
            out.extend((units.len() as u16).to_be_bytes());
            units.iter().for_each(|unit| put_unit(&mut out, unit));
        }
        boxed(*b"hvcC", &out)
    }
}

/// Zero bytes behind a set are not its own (Annex B of both).
fn without_zeros(unit: &[u8]) -> &[u8] {
    let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &unit[..end]
}

fn keep<T>(held: &mut ById<T>, id: u8, unit: &[u8], described: bool, read: T) -> Put {
    if let Some(known) = held.get_mut(&id)
        && known.unit == unit
    {
        known.described &= described;
        return Put::Known;
    }
    held.insert(id, Held { unit: Bytes::copy_from_slice(unit), read, described });
    Put::Kept
}

fn read_sequence(codec: VideoCodec, unit: &[u8]) -> Option<(u8, Sequence)> {
    match codec {
        VideoCodec::H264 => h264::Sps::parse(unit).map(|sps| (sps.id, Sequence::H264(sps))),
        VideoCodec::H265 => h265::Sps::parse(unit).map(|sps| (sps.id, Sequence::H265(sps))),
    }
}

fn read_picture(codec: VideoCodec, unit: &[u8]) -> Option<(u8, PictureSet)> {
    match codec {
        VideoCodec::H264 => {
            h264::Pps::parse(unit).map(|pps| (pps.id, PictureSet { sequence: pps.sps, h264: Some(pps) }))
        }
        VideoCodec::H265 => h265::picture_set_ids(unit).map(|(id, sequence)| (id, PictureSet { sequence, h264: None })),
    }
}

/// At most so many, within the bytes that a sample description may have.
fn units<T>(held: &ById<T>, most: usize) -> Vec<&Bytes> {
    let mut left = ALL_BYTES_MAX;
    let fits = |unit: &&Bytes| {
        let fits = unit.len() <= left;
        left -= if fits { unit.len() } else { 0 };
        fits
    };
    held.values().map(|held| &held.unit).filter(fits).take(most).collect()
}

fn put_unit(out: &mut Vec<u8>, unit: &[u8]) {
    out.extend((unit.len() as u16).to_be_bytes());
    out.extend_from_slice(unit);
}

fn boxed(name: [u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes(), &name[..], body].concat()
}

/// `VisualSampleEntry` (ISO/IEC 14496-12 §12.1.3).
fn sample_entry(name: [u8; 4], size: Size, configuration: &[u8]) -> Bytes {
    let mut body = vec![0, 0, 0, 0, 0, 0, 0, 1];
    body.extend([0; 16]);
    body.extend(size.width.to_be_bytes());
    body.extend(size.height.to_be_bytes());
    // 72 dots an inch, across and down.
    body.extend([0, 0x48, 0, 0, 0, 0x48, 0, 0, 0, 0, 0, 0]);
    body.extend(1u16.to_be_bytes());
    body.extend([0; 32]);
    body.extend([0, 0x18, 0xff, 0xff]);
    body.extend_from_slice(configuration);
    if let Some((width, height)) = size.pixel_aspect {
        let ratio = [u32::from(width).to_be_bytes(), u32::from(height).to_be_bytes()].concat();
        body.extend(boxed(*b"pasp", &ratio));
    }
    Bytes::from(boxed(name, &body))
}

/// ISO/IEC 14496-15 annex E.3.
fn hevc_name(sps: &h265::Sps) -> String {
    let general = &sps.general;
    let space = ["", "A", "B", "C"][usize::from(general[0] >> 6)];
    let compatibility = u32::from_be_bytes([general[1], general[2], general[3], general[4]]).reverse_bits();
    let tier = if general[0] & 0x20 == 0 { 'L' } else { 'H' };
    let mut name = format!("hev1.{space}{}.{compatibility:X}.{tier}{}", general[0] & 0x1f, general[11]);
    let constraints = &general[5..11];
    let last = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    constraints[..last].iter().for_each(|byte| name.push_str(&format!(".{byte:X}")));
    name
}

#[cfg(test)]
mod tests;
