//! An elementary stream in memory, cut into access units.

use std::sync::Arc;

use bytes::Bytes;
use footage::failure::{self, Failure};
use footage::media::VideoCodec;

/// Video coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    H265,
}

impl From<Codec> for VideoCodec {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::H264 => Self::H264,
            Codec::H265 => Self::H265,
        }
    }
}

/// Why bytes are no stream that can be looped.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StreamError {
    /// No slice of a picture.
    #[error("the byte stream has no picture")]
    NoPicture,
    /// It cannot be decoded from its first picture on.
    #[error("the byte stream does not begin with parameter sets and a random access point")]
    NoRandomAccess,
}

impl Failure for StreamError {
    fn kind(&self) -> failure::Kind {
        failure::Kind::Invalid
    }
}

/// One coded picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its NAL units, without parameter sets and delimiters.
    pub nals: Vec<Bytes>,
    /// VPS, SPS and PPS, as far as the coding has them, if it is a random access point: those that came last.
    pub parameter_sets: Arc<[Bytes]>,
    /// IDR or IRAP.
    pub random_access: bool,
}

/// A film to be looped.
#[derive(Debug)]
pub struct ElementaryStream {
    /// Coding.
    pub codec: Codec,
    /// Those of the first picture, which the description names.
    pub parameter_sets: Arc<[Bytes]>,
    /// The pictures: one at least, the first a random access point.
    pub units: Vec<Unit>,
    /// 90 kHz ticks from picture to picture.
    pub frame_ticks: u32,
}

/// What a NAL unit is, as far as cutting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ParameterSet,
    Delimiter,
    Slice {
        first: bool,
        random_access: bool,
    },
    /// Precedes the slices of its picture.
    Before,
    Other,
}

impl ElementaryStream {
    /// Parses an Annex B byte stream (ITU-T H.264 or H.265, Annex B).
    pub fn parse(bytes: &[u8], codec: Codec, images_per_second: u32) -> Result<Self, StreamError> {
        let mut units: Vec<Unit> = Vec::new();
        let mut building = Unit::default();
        let mut sets: Vec<Bytes> = Vec::new();
        // The picture that they precede.
        let mut sets_of = 0;
        let mut has_slice = false;
        for nal in nal_units(bytes) {
            let kind = kind(codec, &nal);
            let begins = match kind {
                Kind::ParameterSet | Kind::Delimiter | Kind::Before => has_slice,
                Kind::Slice { first, .. } => first && has_slice,
                Kind::Other => false,
            };
            if begins {
                units.push(std::mem::take(&mut building));
                has_slice = false;
            }
            match kind {
                Kind::ParameterSet => {
                    // Encoders repeat all sets together: those of a later picture replace the earlier ones.
                    if units.len() > sets_of {
                        (sets, sets_of) = (Vec::new(), units.len());
                    }
                    if !sets.contains(&nal) {
                        sets.push(nal);
                    }
                    continue;
                }
                Kind::Delimiter => continue,
                Kind::Slice { random_access, .. } => {
                    has_slice = true;
                    building.random_access |= random_access;
                    if random_access && building.parameter_sets.is_empty() {
                        building.parameter_sets = sets.clone().into();
                    }
                }
                Kind::Before | Kind::Other => {}
            }
            building.nals.push(nal);
        }
        if has_slice {
            units.push(building);
        }
        let first = units.first().ok_or(StreamError::NoPicture)?;
        if !first.random_access || first.parameter_sets.is_empty() {
            return Err(StreamError::NoRandomAccess);
        }
        let parameter_sets = first.parameter_sets.clone();
        Ok(Self { codec, parameter_sets, units, frame_ticks: 90_000 / images_per_second.max(1) })
    }
}

pub(super) fn kind(codec: Codec, nal: &[u8]) -> Kind {
    let byte = |i: usize| nal.get(i).copied().unwrap_or(0);
    match codec {
        Codec::H264 => match byte(0) & 0x1f {
            t @ 1..=5 => Kind::Slice { first: byte(1) & 0x80 != 0, random_access: t == 5 },
            6 => Kind::Before,
            7 | 8 => Kind::ParameterSet,
            9 => Kind::Delimiter,
            _ => Kind::Other,
        },
        Codec::H265 => match byte(0) >> 1 & 0x3f {
            t @ 0..=31 => Kind::Slice { first: byte(2) & 0x80 != 0, random_access: (16..=23).contains(&t) },
            32..=34 => Kind::ParameterSet,
            35 => Kind::Delimiter,
            39 => Kind::Before,
            _ => Kind::Other,
        },
    }
}

/// The NAL units between start codes; zero bytes behind them are not theirs.
fn nal_units(bytes: &[u8]) -> Vec<Bytes> {
    let starts: Vec<usize> =
        bytes.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(i, _)| i + 3).collect();
    let ends = starts.iter().skip(1).map(|next| next - 3).chain([bytes.len()]);
    let cut = |(&start, end): (&usize, usize)| {
        let nal = &bytes[start..end.max(start)];
        let len = nal.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        Bytes::copy_from_slice(&nal[..len])
    };
    starts.iter().zip(ends).map(cut).filter(|nal| !nal.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_cut_at_their_first_slice_and_parameter_sets_are_taken_out() {
        let stream = [
            &[0, 0, 0, 1, 0x67, 0x4d][..],
            &[0, 0, 1, 0x68, 0xee],
            &[0, 0, 1, 0x06, 0x05, 0x80],
            &[0, 0, 1, 0x65, 0x88, 1, 0],
            &[0, 0, 1, 0x65, 0x08, 2],
            &[0, 0, 1, 0x41, 0x9a, 3],
            &[0, 0, 1, 0x06, 0x05, 0x80],
            &[0, 0, 1, 0x41, 0x9a, 4],
        ]
        .concat();
        let film = ElementaryStream::parse(&stream, Codec::H264, 25).unwrap();
        let shape: Vec<_> = film.units.iter().map(|u| (u.nals.len(), u.random_access)).collect();
        assert_eq!(shape, [(3, true), (1, false), (2, false)]);
        assert_eq!(film.parameter_sets[..], [&[0x67, 0x4d][..], &[0x68, 0xee]]);
        assert_eq!(film.frame_ticks, 3_600);
    }

    #[test]
    fn parameter_sets_are_those_that_came_last_and_all_of_one_kind_are_kept() {
        let stream = [
            &[0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 1, 0, 0, 1, 0x68, 2][..],
            &[0, 0, 1, 0x65, 0x88, 1, 0, 0, 1, 0x65, 0x88, 2],
            &[0, 0, 1, 0x67, 9, 0, 0, 1, 0x68, 9, 0, 0, 1, 0x68, 9, 0, 0, 1, 0x65, 0x88, 3],
        ]
        .concat();
        let film = ElementaryStream::parse(&stream, Codec::H264, 25).unwrap();
        let sets: Vec<usize> = film.units.iter().map(|u| u.parameter_sets.len()).collect();
        assert_eq!(sets, [3, 3, 2]);
        assert_eq!(film.units[2].parameter_sets[..], [&[0x67, 9][..], &[0x68, 9]]);
        assert_eq!(film.parameter_sets, film.units[0].parameter_sets);
    }

    #[test]
    fn what_cannot_be_looped_is_refused() {
        let parse = |bytes: &[u8]| ElementaryStream::parse(bytes, Codec::H264, 25).map(|_| ());
        assert_eq!(parse(b""), Err(StreamError::NoPicture));
        assert_eq!(parse(&[0, 0, 1, 0x67, 1]), Err(StreamError::NoPicture));
        assert_eq!(parse(&[0, 0, 1, 0x41, 0x9a]), Err(StreamError::NoRandomAccess));
    }

    #[test]
    fn the_demonstrations_film_is_twelve_seconds_with_a_random_access_point_every_two() {
        let camera = super::super::demo_camera().unwrap();
        let points: Vec<usize> =
            camera.stream.units.iter().enumerate().filter(|(_, u)| u.random_access).map(|(i, _)| i).collect();
        assert_eq!(camera.stream.units.len(), 120);
        assert_eq!(points, [0, 20, 40, 60, 80, 100]);
    }
}
