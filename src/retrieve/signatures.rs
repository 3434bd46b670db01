//! Whether footage is as its camera signed it (ONVIF Media Signing): the verdict on a range.
//!
//! Invariant: each fragment is read once, in order, and no more than one is in memory.

use std::ops::Range;

use bytes::Bytes;
use futures::TryStreamExt;

use super::holes::{Hole, LeftOut};
use super::walk::{self, FragmentClock};
use super::{Footage, FootageOf, Piece, RetrieveError, compared};
use crate::archive::{PackRef, ReadError};
use footage::media::VideoCodec;
use footage::platform;
use footage::signing::{Report, Verifier, is_signing_sei};
use footage::units::{CameraKey, TICKS_PER_SECOND, TimeRange};

/// Longest range of one verdict, in hours: all of it is read.
pub const SIGNATURES_HOURS_MAX: i64 = 2;

/// Fragments of one verdict: those of the longest range, were each a few pictures long.
const FRAGMENTS_MAX: usize = 40_000;

/// A fragment to be read: where its samples lie, and when each picture was recorded.
struct Part {
    pack: PackRef,
    piece: Piece,
    codec: VideoCodec,
    clock: FragmentClock,
    /// Bytes and duration of each picture, in ticks.
    pictures: Vec<(u32, u32)>,
    /// It goes on where the one before ended.
    joined: bool,
}

impl Part {
    fn of(pack: &PackRef, codec: VideoCodec, step: &walk::WalkStep<'_>) -> Self {
        let entry = step.entry;
        let bytes: Range<u64> = entry.data_offset()..entry.data_offset() + u64::from(entry.data_bytes);
        Self {
            pack: pack.clone(),
            piece: (bytes, Some(entry.id)),
            codec,
            clock: FragmentClock::new(entry),
            pictures: entry.video.iter().map(|sample| (sample.size, sample.duration)).collect(),
            joined: step.joined,
        }
    }

    /// In a thread that may block: a fragment takes about a millisecond, and one with nothing but statements far longer.
    async fn verify(&mut self, samples: Bytes, mut verifier: Verifier) -> Result<Verifier, RetrieveError> {
        let (pictures, clock) = (std::mem::take(&mut self.pictures), self.clock);
        let work = platform::spawn_blocking(move || {
            let (mut at, mut media) = (0, 0);
            for (bytes, duration) in pictures {
                let end = at + bytes as usize;
                if let Some(access_unit) = samples.get(at..end) {
                    verifier.push(access_unit, clock.wall(media));
                }
                (at, media) = (end, media + i64::from(duration));
            }
            verifier
        });
        let pack = self.pack.id;
        work.await.map_err(|e| ReadError::Io { pack, source: std::io::Error::other(e) }.into())
    }
}

/// The verdict on what is recorded of a range, from the random access point at its start on.
///
/// # Errors
/// [`RetrieveError::Invalid`] for a range over [`SIGNATURES_HOURS_MAX`], [`RetrieveError::NoFootage`] where there is
/// none; a fragment that is damaged ends it.
pub async fn verdict(footage: &Footage, camera: &CameraKey, range: TimeRange) -> Result<Report, RetrieveError> {
    if range.duration().0 > SIGNATURES_HOURS_MAX * 3_600 * TICKS_PER_SECOND {
        return Err(RetrieveError::Invalid("signatures are checked of two hours at most: ask for less".into()));
    }
    footage.known(camera).await?;
    let (mut parts, holes) = parts(footage, camera, range).await?;
    let Some(first) = parts.first() else {
        return Err(RetrieveError::nothing_left(camera.clone(), range, holes));
    };
    let remembered = footage.index.certificate_sei(camera, range.start()).await?;
    let mut codec = first.codec;
    let mut verifier = Verifier::new(codec, footage.anchors.as_ref().clone());
    // The camera may have sent it in another coding than it uses now.
    for sent_in in [VideoCodec::H264, VideoCodec::H265] {
        if let Some(sei) = remembered.as_deref().filter(|sei| is_signing_sei(sent_in, sei)) {
            verifier.recoded(sent_in);
            verifier.remember(sei);
            verifier.recoded(codec);
        }
    }
    for of_pack in parts.chunk_by_mut(|a, b| a.pack == b.pack) {
        let pieces = of_pack.iter().map(|part| part.piece.clone()).collect();
        let compares = footage.compares;
        let mut samples = compared(&footage.packs, of_pack[0].pack.clone(), pieces, compares, &footage.looks);
        for part in of_pack {
            let samples = samples.try_next().await?.ok_or_else(|| {
                let source = std::io::ErrorKind::UnexpectedEof.into();
                ReadError::Io { pack: part.pack.id, source }
            })?;
            if part.codec != codec {
                codec = part.codec;
                verifier.recoded(codec);
            } else if !part.joined {
                verifier.interrupted();
            }
            verifier = part.verify(samples, verifier).await?;
        }
    }
    Ok(verifier.finish())
}

async fn parts(
    footage: &Footage,
    camera: &CameraKey,
    range: TimeRange,
) -> Result<(Vec<Part>, Vec<Hole>), RetrieveError> {
    let (mut parts, mut walk) = (Vec::new(), walk::Walk::default());
    let visit = |walk::PackRows { pack, rows, table }: walk::PackRows| {
        let codec = table.header.params.video.codec;
        for step in walk.steps(&rows, &table) {
            if step.entry.stamp.wall_start >= range.end() {
                continue;
            }
            if parts.len() == FRAGMENTS_MAX {
                let why = format!("the range has more than {FRAGMENTS_MAX} fragments: ask for less");
                return Err(RetrieveError::Invalid(why));
            }
            parts.push(Part::of(&pack, codec, &step));
        }
        Ok::<_, RetrieveError>(())
    };
    let holes = walk::for_each_pack(footage, camera, FootageOf::Timeline, range, &LeftOut::default(), visit).await?;
    Ok((parts, holes))
}
