//! The boxes of a clip around its samples.
//!
//! ```text
//! ftyp                                 ISO/IEC 14496-12 §4.3
//! meta uuid                            what the clip says beside its pictures ([`super::meta`])
//! moov                                 §8.2.1
//! ├ mvhd                               §8.2.2, 1/90000 s; created when the first picture shown was filmed
//! ├ trak                               §8.3.1, id 1, picture
//! │ ├ tkhd                             §8.3.2
//! │ ├ edts ─ elst                      §8.6.6: from the first picture shown to the end of the last; one entry, as
//! │ │                                  no player of today takes more for what they are (ADR 32)
//! │ └ mdia ─ mdhd hdlr minf            §8.4
//! │                    ├ vmhd dinf     §12.1.2, §8.7.1
//! │                    └ stbl          §8.5: stsd stts ctts stss stsc stsz stco|co64
//! ├ trak                               id 2, sound, when there is any
//! └ udta ─ meta ─ ilst                 camera, authority, times and their clock, for people
//! mdat                                 §8.1.1: each fragment's samples as stored, one after the other
//! ```

use bytes::Bytes;
use mp4_atom::{Dinf, Dref, Elst, ElstEntry, Encode, FourCC, Ftyp, Hdlr, Mdhd, Mvhd, Smhd, Tkhd, Url, Vmhd};

use super::facts::Facts;
use super::layout::{Edit, Layout};
use super::meta;
use super::table::TrackTable;
use footage::units::TICKS_PER_SECOND;

/// From the epoch of ISO/IEC 14496-12 (1904-01-01) to that of Unix.
const EPOCH_1904_SECONDS: i64 = 2_082_844_800;

/// `ftyp`, `moov` and the header of `mdat`: every byte of the clip before its samples. A day's lists of samples are long:
/// they stay in the memory that they were gathered in, and the boxes are written around them.
#[derive(Debug)]
pub(super) struct Head {
    /// The bytes, one piece after the other.
    pub(super) pieces: Vec<Bytes>,
    /// Those that are no list of durations, offsets or sizes.
    pub(super) small: Bytes,
    /// How many in all.
    pub(super) bytes: u64,
}

/// Writes the head of a clip, and takes its lists out of the layout.
pub(super) fn head(layout: &mut Layout, told: &Facts) -> Head {
    let (mut video, mut audio) = (std::mem::take(&mut layout.video), layout.audio.take());
    let tables = video.encoded_bytes_max() + audio.as_ref().map_or(0, |a| a.track.encoded_bytes_max());
    let small = video.small_bytes_max() + audio.as_ref().map_or(0, |a| a.track.small_bytes_max());
    let times = layout.times.stretches().len() * 24 + told.json().len();
    let wide = layout.mdat_bytes + (tables + times) as u64 + 65_536 > u32::MAX.into();
    let mut out = Out { small: Vec::with_capacity(small + 4096), lists: Vec::new(), listed: 0 };
    out.atom(&Ftyp {
        major_brand: FourCC::new(b"isom"),
        minor_version: 0x200,
        compatible_brands: [b"isom", b"iso4", b"mp41"].map(FourCC::new).to_vec(),
    });
    meta::write(&mut out, layout, told);
    let mut chunks = ChunkOffsets { wide, places: Vec::new() };
    out.boxed(b"moov", |out| {
        out.atom(&mvhd(layout));
        let (width, height) = layout.size;
        let picture = Media { id: 1, timescale: TICKS_PER_SECOND as u32, width, height, edit: layout.video_edit };
        trak(out, layout, &mut video, &picture, &mut chunks);
        if let Some(audio) = &mut audio {
            let sound = Media { id: 2, timescale: audio.timescale, width: 0, height: 0, edit: audio.edit };
            trak(out, layout, &mut audio.track, &sound, &mut chunks);
        }
        udta(out, told);
    });
    match u32::try_from(layout.mdat_bytes + 8) {
        Ok(size) => out.put(&size.to_be_bytes()),
        Err(_) => out.put(&1u32.to_be_bytes()),
    }
    out.put(b"mdat");
    if layout.mdat_bytes + 8 > u32::MAX.into() {
        out.put(&(layout.mdat_bytes + 16).to_be_bytes());
    }
    chunks.add(&mut out);
    out.finish()
}

/// Boxes while they are written.
pub(super) struct Out {
    small: Vec<u8>,
    /// Lists, and before which byte of `small` each belongs.
    lists: Vec<(usize, Bytes)>,
    /// Bytes of all lists.
    listed: usize,
}

impl Out {
    fn len(&self) -> usize {
        self.small.len() + self.listed
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.small.extend_from_slice(bytes);
    }

    pub(super) fn list(&mut self, bytes: Vec<u8>) {
        self.listed += bytes.len();
        self.lists.push((self.small.len(), bytes.into()));
    }

    pub(super) fn count(&mut self, entries: usize) {
        self.put(&(entries as u32).to_be_bytes());
    }

    fn atom(&mut self, atom: &impl Encode) {
        atom.encode(&mut self.small).expect("writing into memory does not fail, and every field fits its box");
    }

    /// A box whose body `write` appends.
    pub(super) fn boxed(&mut self, kind: &[u8; 4], write: impl FnOnce(&mut Self)) {
        let (start, place) = (self.len(), self.small.len());
        self.put(&[0; 4]);
        self.put(kind);
        write(self);
        let size = (self.len() - start) as u32;
        self.small[place..place + 4].copy_from_slice(&size.to_be_bytes());
    }

    /// A box with a version, and flags 0 (§4.2).
    pub(super) fn full(&mut self, kind: &[u8; 4], version: u8, write: impl FnOnce(&mut Self)) {
        self.boxed(kind, |out| {
            out.put(&[version, 0, 0, 0]);
            write(out);
        });
    }

    fn finish(self) -> Head {
        let bytes = self.len() as u64;
        let (small, mut pieces, mut at) = (Bytes::from(self.small), Vec::new(), 0);
        for (place, list) in self.lists {
            pieces.extend([small.slice(at..place), list]);
            at = place;
        }
        pieces.push(small.slice(at..));
        Head { pieces, small, bytes }
    }
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

fn trak(out: &mut Out, layout: &Layout, track: &mut TrackTable, media: &Media, chunks: &mut ChunkOffsets) {
    let created = creation_time(layout);
    out.boxed(b"trak", |out| {
        out.atom(&Tkhd {
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
        });
        out.boxed(b"edts", |out| out.atom(&elst(media.edit)));
        out.boxed(b"mdia", |out| {
            out.atom(&Mdhd {
                creation_time: created,
                modification_time: created,
                timescale: media.timescale,
                duration: track.ticks,
                language: "und".to_owned(),
            });
            let (handler, name) = if media.is_sound() { (b"soun", "sound") } else { (b"vide", "picture") };
            out.atom(&Hdlr { handler: FourCC::new(handler), name: name.to_owned() });
            out.boxed(b"minf", |out| {
                if media.is_sound() {
                    out.atom(&Smhd::default());
                } else {
                    out.atom(&Vmhd::default());
                }
                let here = Url { location: String::new() };
                out.atom(&Dinf { dref: Dref { entries: vec![here.into()] } });
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

fn stbl(out: &mut Out, track: &mut TrackTable, chunks: &mut ChunkOffsets) {
    out.boxed(b"stbl", |out| {
        out.full(b"stsd", 0, |out| {
            out.count(track.descriptions.len());
            track.descriptions.iter().for_each(|entry| out.put(entry));
        });
        let durations = std::mem::take(&mut track.durations).into_entries();
        out.full(b"stts", 0, |out| {
            out.count(durations.len() / 8);
            out.list(durations);
        });
        if track.offsets.iter().any(|(_, offset)| offset != 0) {
            let version = u8::from(track.offsets.iter().any(|(_, offset)| offset.cast_signed() < 0));
            let offsets = std::mem::take(&mut track.offsets).into_entries();
            out.full(b"ctts", version, |out| {
                out.count(offsets.len() / 8);
                out.list(offsets);
            });
        }
        if track.sync.len() < track.sizes.len() {
            out.full(b"stss", 0, |out| {
                out.count(track.sync.len() / 4);
                out.put(&track.sync);
            });
        }
        out.full(b"stsc", 0, |out| {
            out.count(track.chunk_runs.len());
            for run in &track.chunk_runs {
                [run.first_chunk, run.samples, run.description].iter().for_each(|field| out.put(&field.to_be_bytes()));
            }
        });
        out.full(b"stsz", 0, |out| {
            out.put(&0u32.to_be_bytes());
            out.count(track.sizes.len() / 4);
            out.list(std::mem::take(&mut track.sizes));
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
    fn write(&mut self, out: &mut Out, chunks: &[u64]) {
        out.full(if self.wide { b"co64" } else { b"stco" }, 0, |out| {
            out.count(chunks.len());
            self.places.push((out.small.len(), chunks.len()));
            for &chunk in chunks {
                if self.wide {
                    out.put(&chunk.to_be_bytes());
                } else {
                    out.put(&(chunk as u32).to_be_bytes());
                }
            }
        });
    }

    /// Adds the length of everything before the samples.
    fn add(&self, out: &mut Out) {
        let before = out.len() as u64;
        let out = &mut out.small;
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

/// What it is, as players show it: iTunes-style metadata, which every player of today reads.
fn udta(out: &mut Out, told: &Facts) {
    out.boxed(b"udta", |out| {
        out.full(b"meta", 0, |out| {
            // Handler `mdir` with the vendor `appl` in its first reserved word.
            out.full(b"hdlr", 0, |out| out.put(b"\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0"));
            out.boxed(b"ilst", |out| {
                text(out, b"\xa9nam", &told.title());
                text(out, b"\xa9ART", told.authority());
                text(out, b"\xa9day", told.start());
                text(out, b"\xa9cmt", &told.comment());
            });
        });
    });
}

fn text(out: &mut Out, kind: &[u8; 4], value: &str) {
    out.boxed(kind, |out| {
        out.boxed(b"data", |out| {
            out.put(&[0, 0, 0, 1, 0, 0, 0, 0]); // UTF-8, no locale
            out.put(value.as_bytes());
        });
    });
}
