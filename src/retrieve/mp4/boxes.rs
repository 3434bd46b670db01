//! The boxes of a clip around its samples.
//!
//! ```text
//! ftyp                                 ISO/IEC 14496-12 §4.3
//! moov                                 §8.2.1
//! ├ mvhd                               §8.2.2, 1/90000 s; created when the first picture shown was filmed
//! ├ trak                               §8.3.1, id 1, picture
//! │ ├ tkhd                             §8.3.2
//! │ ├ edts ─ elst                      §8.6.6: from the first picture shown to the end of the last
//! │ └ mdia ─ mdhd hdlr minf            §8.4
//! │                    ├ vmhd dinf     §12.1.2, §8.7.1
//! │                    └ stbl          §8.5: stsd stts ctts stss stsc stsz stco|co64
//! ├ trak                               id 2, sound, when there is any
//! └ udta ─ meta ─ ilst                 camera and start, for people
//! mdat                                 §8.1.1: each fragment's samples as stored, one after the other
//! ```

use mp4_atom::{Dinf, Dref, Elst, ElstEntry, Encode, FourCC, Ftyp, Hdlr, Mdhd, Mvhd, Smhd, Tkhd, Url, Vmhd};

use super::layout::{Edit, Layout};
use super::table::Track;
use crate::units::{CameraKey, TICKS_PER_SECOND, WallTime};

/// From the epoch of ISO/IEC 14496-12 (1904-01-01) to that of Unix.
const EPOCH_1904_SECONDS: i64 = 2_082_844_800;

/// `ftyp`, `moov` and the header of `mdat`: every byte of the clip before its samples.
pub(super) fn head(layout: &Layout, camera: &CameraKey) -> Vec<u8> {
    let audio = layout.audio.as_ref();
    let tables = layout.video.encoded_bytes_max() + audio.map_or(0, |a| a.track.encoded_bytes_max());
    let wide = layout.mdat_bytes + tables as u64 + 4096 > u32::MAX.into();
    let mut out = Vec::with_capacity(tables + 4096);
    atom(
        &mut out,
        &Ftyp {
            major_brand: FourCC::new(b"isom"),
            minor_version: 0x200,
            compatible_brands: [b"isom", b"iso4", b"mp41"].map(FourCC::new).to_vec(),
        },
    );
    let mut chunks = ChunkOffsets { wide, places: Vec::new() };
    boxed(&mut out, b"moov", |out| {
        atom(out, &mvhd(layout));
        let (width, height) = layout.size;
        let picture = Media { id: 1, timescale: TICKS_PER_SECOND as u32, width, height, edit: layout.video_edit };
        trak(out, layout, &layout.video, &picture, &mut chunks);
        if let Some(audio) = audio {
            let sound = Media { id: 2, timescale: audio.timescale, width: 0, height: 0, edit: audio.edit };
            trak(out, layout, &audio.track, &sound, &mut chunks);
        }
        udta(out, camera, layout.covers.start());
    });
    match u32::try_from(layout.mdat_bytes + 8) {
        Ok(size) => out.extend_from_slice(&size.to_be_bytes()),
        Err(_) => out.extend_from_slice(&1u32.to_be_bytes()),
    }
    out.extend_from_slice(b"mdat");
    if layout.mdat_bytes + 8 > u32::MAX.into() {
        out.extend_from_slice(&(layout.mdat_bytes + 16).to_be_bytes());
    }
    chunks.add(&mut out);
    out
}

/// What differs between the picture's `trak` and the sound's, beside the samples.
struct Media {
    id: u32,
    timescale: u32,
    width: u16,
    height: u16,
    edit: Edit,
}

impl Media {
    fn is_sound(&self) -> bool {
        self.width == 0
    }
}

fn mvhd(layout: &Layout) -> Mvhd {
    Mvhd {
        creation_time: creation_time(layout),
        modification_time: creation_time(layout),
        timescale: TICKS_PER_SECOND as u32,
        duration: layout.video_edit.duration,
        rate: 1.into(),
        volume: 1.into(),
        next_track_id: 3,
        ..Mvhd::default()
    }
}

fn creation_time(layout: &Layout) -> u64 {
    let seconds = layout.covers.start().0.div_euclid(TICKS_PER_SECOND) + EPOCH_1904_SECONDS;
    u64::try_from(seconds).unwrap_or(0)
}

fn trak(out: &mut Vec<u8>, layout: &Layout, track: &Track, media: &Media, chunks: &mut ChunkOffsets) {
    let created = creation_time(layout);
    boxed(out, b"trak", |out| {
        atom(
            out,
            &Tkhd {
                creation_time: created,
                modification_time: created,
                track_id: media.id,
                duration: media.edit.empty + media.edit.duration,
                enabled: true,
                in_movie: true,
                volume: u8::from(media.is_sound()).into(),
                width: media.width.into(),
                height: media.height.into(),
                ..Tkhd::default()
            },
        );
        boxed(out, b"edts", |out| atom(out, &elst(media.edit)));
        boxed(out, b"mdia", |out| {
            atom(
                out,
                &Mdhd {
                    creation_time: created,
                    modification_time: created,
                    timescale: media.timescale,
                    duration: track.ticks,
                    language: "und".to_owned(),
                },
            );
            let (handler, name) = if media.is_sound() { (b"soun", "sound") } else { (b"vide", "picture") };
            atom(out, &Hdlr { handler: FourCC::new(handler), name: name.to_owned() });
            boxed(out, b"minf", |out| {
                if media.is_sound() {
                    atom(out, &Smhd::default());
                } else {
                    atom(out, &Vmhd::default());
                }
                let here = Url { location: String::new() };
                atom(out, &Dinf { dref: Dref { entries: vec![here.into()] } });
                stbl(out, track, chunks);
            });
        });
    });
}

fn elst(edit: Edit) -> Elst {
    let rate = 1.into();
    let nothing = ElstEntry { segment_duration: edit.empty, media_time: None, media_rate: rate };
    let media = ElstEntry { segment_duration: edit.duration, media_time: Some(edit.media_time), media_rate: rate };
    Elst { entries: if edit.empty > 0 { vec![nothing, media] } else { vec![media] } }
}

fn stbl(out: &mut Vec<u8>, track: &Track, chunks: &mut ChunkOffsets) {
    boxed(out, b"stbl", |out| {
        full(out, b"stsd", 0, |out| {
            count(out, track.descriptions.len());
            track.descriptions.iter().for_each(|entry| out.extend_from_slice(entry));
        });
        full(out, b"stts", 0, |out| {
            count(out, track.durations.0.len());
            for (samples, duration) in &track.durations.0 {
                out.extend_from_slice(&samples.to_be_bytes());
                out.extend_from_slice(&duration.to_be_bytes());
            }
        });
        if track.offsets.0.iter().any(|&(_, offset)| offset != 0) {
            let version = u8::from(track.offsets.0.iter().any(|&(_, offset)| offset < 0));
            full(out, b"ctts", version, |out| {
                count(out, track.offsets.0.len());
                for (samples, offset) in &track.offsets.0 {
                    out.extend_from_slice(&samples.to_be_bytes());
                    out.extend_from_slice(&offset.to_be_bytes());
                }
            });
        }
        if track.sync.len() < track.sizes.len() {
            full(out, b"stss", 0, |out| {
                count(out, track.sync.len() / 4);
                out.extend_from_slice(&track.sync);
            });
        }
        full(out, b"stsc", 0, |out| {
            count(out, track.chunk_runs.len());
            for run in &track.chunk_runs {
                [run.first_chunk, run.samples, run.description]
                    .iter()
                    .for_each(|field| out.extend_from_slice(&field.to_be_bytes()));
            }
        });
        full(out, b"stsz", 0, |out| {
            out.extend_from_slice(&0u32.to_be_bytes());
            count(out, track.sizes.len() / 4);
            out.extend_from_slice(&track.sizes);
        });
        chunks.write(out, &track.chunks);
    });
}

/// Chunk offsets count from the file's first byte, which is known only when all boxes before the samples are written:
/// they are written from the first sample byte, and moved at the end.
struct ChunkOffsets {
    /// `co64` instead of `stco`.
    wide: bool,
    /// Where they were written, and how many.
    places: Vec<(usize, usize)>,
}

impl ChunkOffsets {
    fn write(&mut self, out: &mut Vec<u8>, chunks: &[u64]) {
        full(out, if self.wide { b"co64" } else { b"stco" }, 0, |out| {
            count(out, chunks.len());
            self.places.push((out.len(), chunks.len()));
            for &chunk in chunks {
                if self.wide {
                    out.extend_from_slice(&chunk.to_be_bytes());
                } else {
                    out.extend_from_slice(&(chunk as u32).to_be_bytes());
                }
            }
        });
    }

    /// Adds the length of everything before the samples.
    fn add(&self, out: &mut [u8]) {
        let before = out.len() as u64;
        for &(start, chunks) in &self.places {
            if self.wide {
                let fields = out[start..start + chunks * 8].as_chunks_mut::<8>().0;
                fields.iter_mut().for_each(|field| *field = (u64::from_be_bytes(*field) + before).to_be_bytes());
            } else {
                let fields = out[start..start + chunks * 4].as_chunks_mut::<4>().0;
                fields.iter_mut().for_each(|field| *field = (u32::from_be_bytes(*field) + before as u32).to_be_bytes());
            }
        }
    }
}

/// Camera and start as players show them: iTunes-style metadata, which every player of today reads.
fn udta(out: &mut Vec<u8>, camera: &CameraKey, start: WallTime) {
    boxed(out, b"udta", |out| {
        full(out, b"meta", 0, |out| {
            // Handler `mdir` with the vendor `appl` in its first reserved word.
            full(out, b"hdlr", 0, |out| out.extend_from_slice(b"\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0"));
            boxed(out, b"ilst", |out| {
                text(out, b"\xa9nam", &camera.to_string());
                text(out, b"\xa9day", &start.to_string());
            });
        });
    });
}

fn text(out: &mut Vec<u8>, kind: &[u8; 4], value: &str) {
    boxed(out, kind, |out| {
        boxed(out, b"data", |out| {
            out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]); // UTF-8, no locale
            out.extend_from_slice(value.as_bytes());
        });
    });
}

fn count(out: &mut Vec<u8>, entries: usize) {
    out.extend_from_slice(&(entries as u32).to_be_bytes());
}

fn atom(out: &mut Vec<u8>, atom: &impl Encode) {
    atom.encode(out).expect("writing into memory does not fail, and every field fits its box");
}

/// A box whose body `write` appends.
fn boxed(out: &mut Vec<u8>, kind: &[u8; 4], write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    write(out);
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// A box with a version, and flags 0 (§4.2).
fn full(out: &mut Vec<u8>, kind: &[u8; 4], version: u8, write: impl FnOnce(&mut Vec<u8>)) {
    boxed(out, kind, |out| {
        out.extend_from_slice(&[version, 0, 0, 0]);
        write(out);
    });
}
