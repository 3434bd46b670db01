//! The boxes of a pack: encoding and decoding, no I/O.
//!
//! Every byte of a pack is under a check: what comes before the first fragment under the pack header's, a fragment's
//! boxes under its record's, its samples under their id, the fragment table under its own. A check is truncated BLAKE3
//! and finds damage, not forgery: that is for the ids, which are keyed. The standard boxes are for players; reading a
//! pack goes by our own and never interprets the others.
//!
//! ```text
//! uuid  pack header      size 'uuid' usertype(16) check(16) header
//! uuid  fragment record  size 'uuid' usertype(16) check(16) header_bytes(4) entry
//! uuid  fragment table   size 'uuid' usertype(16) header init_bytes hosts count {[place] header_bytes entry}… check(16)
//!                        size(8) magic(8); places only where there are hosts
//! ```

use std::sync::Arc;

use mp4_atom::{
    Dinf, Dref, Encode, FourCC, Ftyp, Hdlr, Mdhd, Mvex, Mvhd, Smhd, Stco, Stsc, Stsz, Stts, Tkhd, Trex, Url, Vmhd,
};

use super::table::{Before, Input, put_entry, put_header, put_hosts, put_place, put_varint};
use super::{FragmentEntry, PackError, PackHeader, PackTable};
use crate::media::{Params, Sample};
use crate::units::{PackId, TICKS_PER_SECOND};

/// Bytes of anything before the first fragment, and of one fragment's boxes: more is neither written nor read.
pub(super) const HEADER_BYTES_MAX: usize = 1 << 20;

/// Sample bytes of one fragment: `trun` counts them with 31 bits, from the start of `moof` (ISO/IEC 14496-12 §8.8.8).
pub(super) const DATA_BYTES_MAX: u64 = i32::MAX as u64 - HEADER_BYTES_MAX as u64;

/// What a fragment table ends with: its size, then the magic.
pub(super) const TRAILER_BYTES: usize = 16;

/// Bytes of a fragment record that say how long the fragment's boxes are.
pub(super) const RECORD_PREFIX_BYTES: usize = RECORD_LENGTH + 4;

pub(super) const HEADER_TYPE: [u8; 16] = *b"\x1e\x9d\x5c\x0a\x7b\x43\x4f\x51\x8a-vgpack";
pub(super) const RECORD_TYPE: [u8; 16] = *b"\x1e\x9d\x5c\x0a\x7b\x43\x4f\x51\x8a-vgfrag";
pub(super) const TABLE_TYPE: [u8; 16] = *b"\x1e\x9d\x5c\x0a\x7b\x43\x4f\x51\x8a-vgtabl";
pub(super) const TABLE_MAGIC: [u8; 8] = *b"vigiepk1";

/// Where a `uuid` box's own content begins.
pub(super) const UUID_HEAD: usize = 24;
pub(super) const CHECK_BYTES: usize = 16;
pub(super) const RECORD_LENGTH: usize = UUID_HEAD + CHECK_BYTES;

const VIDEO_TRACK: u32 = 1;
const AUDIO_TRACK: u32 = 2;

/// `sample_depends_on` = 2, a sync sample (ISO/IEC 14496-12 §8.8.3.1).
const SYNC: u32 = 0x0200_0000;
/// `sample_depends_on` = 1, `sample_is_non_sync_sample` = 1.
const NON_SYNC: u32 = 0x0101_0000;

fn malformed(offset: u64, what: &str) -> PackError {
    PackError::Malformed { offset, what: what.to_owned() }
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a box; its size is set when its content is there. Contents stay far below 4 GiB.
fn put_box(out: &mut Vec<u8>, kind: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_u32(out, 0);
    out.extend_from_slice(kind);
    body(out);
    patch_size(out, start);
}

fn patch_size(out: &mut [u8], start: usize) {
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

fn put_full_box(out: &mut Vec<u8>, kind: &[u8; 4], version_and_flags: u32, body: impl FnOnce(&mut Vec<u8>)) {
    put_box(out, kind, |out| {
        put_u32(out, version_and_flags);
        body(out);
    });
}

fn put_atom(out: &mut Vec<u8>, atom: &impl Encode) {
    atom.encode(out).expect("plain boxes, written to memory, always have an encoding");
}

pub(super) fn check(parts: &[&[u8]]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
    check
}

/// A box's kind and size at the start of these bytes; `None` where there is no box header or its size cannot be.
fn box_head(bytes: &[u8]) -> Option<([u8; 4], usize)> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let kind = rest.first_chunk::<4>()?;
    let size = u32::from_be_bytes(*size) as usize;
    (size >= 8).then_some((*kind, size))
}

/// Appends `ftyp` and `moov`.
pub(super) fn put_init_segment(out: &mut Vec<u8>, params: &Params) {
    let brand = |b| FourCC::new(b);
    let mut compatible_brands = vec![brand(b"iso6"), brand(b"mp41")];
    if params.audio.is_none() {
        // A CMAF track file holds one track (ISO/IEC 23000-19 §7.3.3.1).
        compatible_brands.push(brand(b"cmfc"));
    }
    put_atom(out, &Ftyp { major_brand: brand(b"iso6"), minor_version: 0, compatible_brands });
    put_box(out, b"moov", |out| {
        let timescale = TICKS_PER_SECOND as u32;
        put_atom(
            out,
            &Mvhd { timescale, rate: 1.into(), volume: 1.into(), next_track_id: AUDIO_TRACK + 1, ..Mvhd::default() },
        );
        let video = Tkhd {
            track_id: VIDEO_TRACK,
            width: params.video.width.into(),
            height: params.video.height.into(),
            ..Tkhd::default()
        };
        put_trak(out, video, timescale, b"vide", &params.video.sample_entry);
        let mut trex = vec![track_defaults(VIDEO_TRACK, NON_SYNC)];
        if let Some(audio) = &params.audio {
            let tkhd = Tkhd { track_id: AUDIO_TRACK, volume: 1.into(), alternate_group: 1, ..Tkhd::default() };
            put_trak(out, tkhd, audio.clock_rate, b"soun", &audio.sample_entry);
            trex.push(track_defaults(AUDIO_TRACK, SYNC));
        }
        put_atom(out, &Mvex { mehd: None, trex });
    });
}

fn track_defaults(track_id: u32, default_sample_flags: u32) -> Trex {
    Trex {
        track_id,
        default_sample_description_index: 1,
        default_sample_duration: 0,
        default_sample_size: 0,
        default_sample_flags,
    }
}

/// One track. Its sample entry goes in as it is: the typed `stsd` of the MP4 crate would decode and write it again.
fn put_trak(out: &mut Vec<u8>, tkhd: Tkhd, timescale: u32, handler: &[u8; 4], sample_entry: &[u8]) {
    put_box(out, b"trak", |out| {
        put_atom(out, &Tkhd { enabled: true, in_movie: true, ..tkhd });
        put_box(out, b"mdia", |out| {
            put_atom(out, &Mdhd { timescale, language: "und".to_owned(), ..Mdhd::default() });
            let name = if handler == b"vide" { "Vigie video" } else { "Vigie sound" };
            put_atom(out, &Hdlr { handler: FourCC::new(handler), name: name.to_owned() });
            put_box(out, b"minf", |out| {
                if handler == b"vide" {
                    put_atom(out, &Vmhd::default());
                } else {
                    put_atom(out, &Smhd::default());
                }
                put_atom(out, &Dinf { dref: Dref { entries: vec![Url::default().into()] } });
                put_box(out, b"stbl", |out| {
                    put_full_box(out, b"stsd", 0, |out| {
                        put_u32(out, 1);
                        out.extend_from_slice(sample_entry);
                    });
                    put_atom(out, &Stts::default());
                    put_atom(out, &Stsc::default());
                    put_atom(out, &Stsz::default());
                    put_atom(out, &Stco::default());
                });
            });
        });
    });
}

/// True where a sample entry is one whole box.
pub(super) fn is_one_box(sample_entry: &[u8]) -> bool {
    box_head(sample_entry).is_some_and(|(_, size)| size == sample_entry.len())
}

/// Everything before the first fragment.
pub(super) fn init(header: &PackHeader) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    put_init_segment(&mut out, &header.params);
    let start = out.len();
    put_box(&mut out, b"uuid", |out| {
        out.extend_from_slice(&HEADER_TYPE);
        out.extend_from_slice(&[0; CHECK_BYTES]);
        put_header(out, header);
    });
    let (segment, own) = out.split_at(start);
    let check = check(&[segment, &own[..UUID_HEAD], &own[UUID_HEAD + CHECK_BYTES..]]);
    out[start + UUID_HEAD..start + UUID_HEAD + CHECK_BYTES].copy_from_slice(&check);
    out
}

/// From a pack's first bytes (at least [`HEADER_BYTES_MAX`], or all there are): its header, and how many bytes come
/// before the first fragment.
pub(super) fn decode_init(bytes: &[u8]) -> Result<(PackHeader, u32), PackError> {
    let mut end = 0;
    let mut next = |want: &[u8; 4]| {
        let start = end;
        let rest = &bytes[start..];
        let (_, size) = box_head(rest)
            .filter(|(kind, size)| kind == want && *size <= rest.len())
            .ok_or_else(|| malformed(start as u64, &format!("no whole {} box", want.escape_ascii())))?;
        end += size;
        Ok::<_, PackError>((start, &rest[..size]))
    };
    next(b"ftyp")?;
    next(b"moov")?;
    let (start, own) = next(b"uuid")?;
    let damaged = |what| malformed(start as u64, &format!("the pack header is damaged: {what}"));
    let mut input = Input(own);
    let head = input.take(UUID_HEAD).map_err(damaged)?;
    if head[8..] != HEADER_TYPE {
        return Err(damaged("it is another box"));
    }
    let want = input.take(CHECK_BYTES).map_err(damaged)?;
    if check(&[&bytes[..start], head, input.0]) != want {
        return Err(damaged("its checksum does not match"));
    }
    let header = input.header().map_err(damaged)?;
    if !input.0.is_empty() {
        return Err(damaged("something follows it"));
    }
    let init_bytes = (start + own.len()) as u32;
    Ok((header, init_bytes))
}

/// Replaces `out` by a fragment's boxes up to its first sample byte. `index` is its place in the pack, from 0.
/// Its `header_bytes` is not looked at: the length of `out` is what it shall be.
pub(super) fn fragment_header(out: &mut Vec<u8>, pack: PackId, index: u32, entry: &FragmentEntry) {
    out.clear();
    put_box(out, b"uuid", |out| {
        out.extend_from_slice(&RECORD_TYPE);
        out.extend_from_slice(&[0; CHECK_BYTES]);
        put_u32(out, 0);
        put_entry(out, &Before::default(), entry);
    });
    put_media_boxes(out, index, entry, &entry.audio, entry.data_bytes);

    let header_bytes = out.len() as u32;
    out[RECORD_LENGTH..RECORD_PREFIX_BYTES].copy_from_slice(&header_bytes.to_be_bytes());
    let check = fragment_check(pack, index, out);
    out[UUID_HEAD..RECORD_LENGTH].copy_from_slice(&check);
}

/// Appends the boxes before a fragment's video samples where they go without its sound: they are the first in the file.
pub(super) fn put_video_header(out: &mut Vec<u8>, index: u32, entry: &FragmentEntry) {
    put_media_boxes(out, index, entry, &[], entry.video_bytes());
}

/// Appends `prft`, `moof` and the head of `mdat`.
fn put_media_boxes(out: &mut Vec<u8>, index: u32, entry: &FragmentEntry, audio: &[Sample], data_bytes: u32) {
    // Flags 24: a consistent, small offset from the real time of what is shown (§8.16.5).
    put_full_box(out, b"prft", 1 << 24 | 24, |out| {
        put_u32(out, VIDEO_TRACK);
        out.extend_from_slice(&entry.stamp.wall_start.to_ntp().to_be_bytes());
        out.extend_from_slice(&entry.decode_time.0.to_be_bytes());
    });
    put_moof(out, index, entry, audio);
    put_u32(out, data_bytes + 8);
    out.extend_from_slice(b"mdat");
}

/// Binds a fragment's boxes to its pack and to its place in it.
pub(super) fn fragment_check(pack: PackId, index: u32, header: &[u8]) -> [u8; CHECK_BYTES] {
    check(&[&pack.0, &index.to_be_bytes(), &header[..UUID_HEAD], &header[RECORD_LENGTH..]])
}

fn put_moof(out: &mut Vec<u8>, index: u32, entry: &FragmentEntry, audio: &[Sample]) {
    let start = out.len();
    let mut data_offsets = [0; 2];
    put_box(out, b"moof", |out| {
        put_full_box(out, b"mfhd", 0, |out| put_u32(out, index + 1));
        let first = entry.random_access.then_some(SYNC);
        data_offsets[0] = put_traf(out, VIDEO_TRACK, entry.decode_time.0, NON_SYNC, first, &entry.video);
        if !audio.is_empty() {
            data_offsets[1] = put_traf(out, AUDIO_TRACK, entry.audio_decode_time, SYNC, None, audio);
        }
    });
    let video_data = (out.len() - start) as u32 + 8;
    for (at, offset) in data_offsets.into_iter().zip([video_data, video_data + entry.video_bytes()]) {
        if at > 0 {
            out[at..at + 4].copy_from_slice(&offset.to_be_bytes());
        }
    }
}

/// Appends one `traf` (§8.8.6): what all samples share is said once. Gives where its data offset is to be set.
fn put_traf(
    out: &mut Vec<u8>,
    track: u32,
    decode_time: i64,
    default_flags: u32,
    first_flags: Option<u32>,
    samples: &[Sample],
) -> usize {
    let same = |field: fn(&Sample) -> u32| {
        let first = samples.first().map(field)?;
        samples.iter().all(|s| field(s) == first).then_some(first)
    };
    let duration = same(|s| s.duration);
    let size = same(|s| s.size);
    let has_offsets = samples.iter().any(|s| s.composition_offset != 0);
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    let mut data_offset = 0;
    put_box(out, b"traf", |out| {
        // default-base-is-moof, default flags, and what is shared.
        let shared = 0x02_0020 | flag(duration.is_some(), 0x08) | flag(size.is_some(), 0x10);
        put_full_box(out, b"tfhd", shared, |out| {
            put_u32(out, track);
            duration.into_iter().chain(size).chain([default_flags]).for_each(|v| put_u32(out, v));
        });
        put_full_box(out, b"tfdt", 1 << 24, |out| out.extend_from_slice(&decode_time.to_be_bytes()));
        let each = flag(duration.is_none(), 0x100) | flag(size.is_none(), 0x200) | flag(has_offsets, 0x800);
        put_full_box(out, b"trun", 1 << 24 | 1 | flag(first_flags.is_some(), 0x04) | each, |out| {
            put_u32(out, samples.len() as u32);
            data_offset = out.len();
            put_u32(out, 0);
            first_flags.into_iter().for_each(|v| put_u32(out, v));
            for s in samples {
                if duration.is_none() {
                    put_u32(out, s.duration);
                }
                if size.is_none() {
                    put_u32(out, s.size);
                }
                if has_offsets {
                    put_u32(out, s.composition_offset as u32);
                }
            }
        });
    });
    data_offset
}

/// What lies at a place where a fragment may begin.
pub(super) enum Next {
    /// A fragment whose boxes up to the first sample take this many bytes.
    Fragment(usize),
    /// The fragment table, of this many bytes.
    Table(usize),
}

/// From the first [`RECORD_PREFIX_BYTES`] at `offset`: what begins there. The length is only bounded, not yet believed.
pub(super) fn decode_prefix(prefix: &[u8; RECORD_PREFIX_BYTES], offset: u64) -> Result<Next, PackError> {
    let head = box_head(prefix).filter(|(kind, _)| kind == b"uuid");
    let own_type = &prefix[8..UUID_HEAD];
    let [.., a, b, c, d] = *prefix;
    let header_bytes = u32::from_be_bytes([a, b, c, d]) as usize;
    match head {
        Some((_, size)) if own_type == TABLE_TYPE => Ok(Next::Table(size)),
        Some((_, size)) if own_type == RECORD_TYPE && size <= header_bytes && header_bytes <= HEADER_BYTES_MAX => {
            Ok(Next::Fragment(header_bytes))
        }
        _ => Err(malformed(offset, "neither a fragment nor a fragment table begins here")),
    }
}

/// Decodes a fragment's boxes, all `header` bytes of them, as [`fragment_header`] wrote them.
pub(super) fn decode_fragment_header(
    header: &[u8],
    offset: u64,
    pack: PackId,
    index: u32,
) -> Result<FragmentEntry, PackError> {
    let damaged = |what| malformed(offset, &format!("the fragment's boxes are damaged: {what}"));
    let record =
        box_head(header).and_then(|(_, size)| header.get(..size)).ok_or_else(|| damaged("it ends too soon"))?;
    let mut input = Input(record);
    let prefix = input.take(RECORD_PREFIX_BYTES).map_err(damaged)?;
    if fragment_check(pack, index, header) != prefix[UUID_HEAD..RECORD_LENGTH] {
        return Err(damaged("the checksum does not match"));
    }
    let (entry, _) = input.entry(&Before::default()).map_err(damaged)?;
    if !input.0.is_empty() {
        return Err(damaged("something follows the record"));
    }
    Ok(FragmentEntry { offset, header_bytes: header.len() as u32, ..entry })
}

/// The fragment table box.
pub(super) fn table(table: &PackTable) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024 + 256 * table.fragments.len());
    put_u32(&mut out, 0);
    out.extend_from_slice(b"uuid");
    out.extend_from_slice(&TABLE_TYPE);
    put_header(&mut out, &table.header);
    put_varint(&mut out, table.init_bytes.into());
    let hosts = table.hosts();
    put_hosts(&mut out, &hosts);
    put_varint(&mut out, table.fragments.len() as u64);
    let (mut before, mut expected) = (Before::default(), 0);
    for entry in &table.fragments {
        if !hosts.is_empty() {
            expected = put_place(&mut out, &hosts, expected, entry.place.as_ref());
        }
        put_varint(&mut out, entry.header_bytes.into());
        before = put_entry(&mut out, &before, entry);
    }
    let size = (out.len() + CHECK_BYTES + TRAILER_BYTES) as u32;
    out[..4].copy_from_slice(&size.to_be_bytes());
    let check = check(&[&out]);
    out.extend_from_slice(&check);
    out.extend_from_slice(&u64::from(size).to_be_bytes());
    out.extend_from_slice(&TABLE_MAGIC);
    out
}

/// From the last bytes of a pack of `pack_bytes`: how many bytes its fragment table takes.
pub(super) fn decode_trailer(trailer: &[u8; TRAILER_BYTES], pack_bytes: u64) -> Result<u64, PackError> {
    let [s0, s1, s2, s3, s4, s5, s6, s7, magic @ ..] = *trailer;
    if magic != TABLE_MAGIC {
        return Err(malformed(
            pack_bytes,
            "it does not end with a fragment table: it was not finished, or was cut off",
        ));
    }
    let size = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    if size > pack_bytes {
        return Err(malformed(pack_bytes, "its fragment table would begin before it"));
    }
    Ok(size)
}

/// Decodes a fragment table: `bytes` is the whole box, which ends at `pack_bytes`.
pub(super) fn decode_table(bytes: &[u8], pack_bytes: u64) -> Result<PackTable, PackError> {
    let offset = pack_bytes.saturating_sub(bytes.len() as u64);
    let damaged = |what| malformed(offset, &format!("the fragment table is damaged: {what}"));
    let (checked, rest) = bytes
        .len()
        .checked_sub(CHECK_BYTES + TRAILER_BYTES)
        .and_then(|n| bytes.split_at_checked(n))
        .ok_or_else(|| damaged("it ends too soon"))?;
    let (want, trailer) = rest.split_at(CHECK_BYTES);
    let size = bytes.len() as u64;
    let ends_well = trailer[..8] == size.to_be_bytes() && trailer[8..] == TABLE_MAGIC;
    let is_table = box_head(checked).is_some_and(|(kind, head)| &kind == b"uuid" && head as u64 == size)
        && checked.get(8..UUID_HEAD) == Some(&TABLE_TYPE[..]);
    if !is_table || !ends_well {
        return Err(damaged("it is not what its last bytes say"));
    }
    if check(&[checked]) != want {
        return Err(damaged("its checksum does not match"));
    }
    let mut input = Input(&checked[UUID_HEAD..]);
    decode_entries(&mut input, offset).map_err(damaged)
}

/// The content of a fragment table that begins at `table_offset`.
fn decode_entries(input: &mut Input<'_>, table_offset: u64) -> Result<PackTable, &'static str> {
    const ENTRY_BYTES_MIN: usize = 38;
    let header = input.header()?;
    let init_bytes = input.number()?;
    let hosts = input.hosts()?;
    if hosts.iter().any(|host| host.pack == header.pack) {
        return Err("it refers to itself");
    }
    let count = input.count(ENTRY_BYTES_MIN)?;
    let mut table = PackTable { header, init_bytes, fragments: Vec::with_capacity(count) };
    let mut offset = u64::from(init_bytes);
    let (mut before, mut expected) = (Before::default(), 0);
    for _ in 0..count {
        let mut place = None;
        if !hosts.is_empty() {
            (place, expected) = input.place(&hosts, expected)?;
        }
        let header_bytes = input.number()?;
        let (entry, next) = input.entry(&before)?;
        let entry = FragmentEntry { offset, header_bytes, place, ..entry };
        table.admits(&entry)?;
        offset = entry.end();
        before = next;
        table.fragments.push(Arc::new(entry));
    }
    // A second coding of one table would make its bytes depend on more than what it says.
    if table.hosts() != hosts {
        return Err("it names a pack in which none of its fragments lies");
    }
    match input.0.is_empty() && table.file_end() == table_offset {
        true => Ok(table),
        false => Err("its fragments do not end where it begins"),
    }
}
