//! Recordings made by hand: fragment tables without files, and the bytes that such files would hold.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::index::{PackState, SegmentRow};
use footage::media::{AudioParams, Params, Sample, VideoCodec, VideoParams};
use footage::pack::{FragmentEntry, PackHeader, PackTable, Stamp};
use footage::units::{CameraKey, FragmentId, PackId, RunId, TICKS_PER_SECOND, Ticks90k, TimeRange, WallTime};

/// When hand-made footage begins: some Tuesday noon, on a whole second.
pub(super) const NOON: WallTime = WallTime(1_772_539_200 * TICKS_PER_SECOND);
/// Hand-made footage has ten pictures a second.
pub(super) const FRAME: u32 = 9_000;
const AUDIO_RATE: u32 = 8_000;
/// In audio ticks: 75 ms.
const AUDIO_PACKET: u32 = 600;

/// Noon and so many milliseconds.
pub(super) fn at(ms: i64) -> WallTime {
    WallTime(NOON.0 + ms * TICKS_PER_SECOND / 1000)
}

pub(super) fn between(start_ms: i64, end_ms: i64) -> TimeRange {
    TimeRange::new(at(start_ms), at(end_ms)).expect("start < end")
}

pub(super) fn camera() -> CameraKey {
    "town/gate".parse().expect("a good name")
}

pub(super) fn params(entry: &'static [u8], sound: bool) -> Arc<Params> {
    let audio = sound.then(|| AudioParams {
        clock_rate: AUDIO_RATE,
        sample_entry: Bytes::from_static(b"\0\0\0\x0calaw...."),
        rfc6381: None,
    });
    let video = VideoParams {
        codec: VideoCodec::H264,
        width: 640,
        height: 480,
        sample_entry: Bytes::from_static(entry),
        rfc6381: "avc1.4D001E".to_owned(),
    };
    Arc::new(Params { video, audio })
}

/// What a pack of this id holds at this offset.
pub(super) fn byte_at(pack: PackId, offset: u64) -> u8 {
    (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8 ^ pack.0[15]
}

pub(super) fn bytes_of(pack: PackId, range: Range<u64>) -> Vec<u8> {
    range.map(|offset| byte_at(pack, offset)).collect()
}

/// One pack that grows in a test.
pub(super) struct Recording {
    pub(super) header: PackHeader,
    pub(super) wall: WallTime,
    pub(super) decode: i64,
    fragments: Vec<Arc<FragmentEntry>>,
}

impl Recording {
    pub(super) fn new() -> Self {
        Self::with(params(b"\0\0\0\x0cavc1one.", false))
    }

    pub(super) fn with(params: Arc<Params>) -> Self {
        let header = PackHeader { pack: PackId([1; 16]), camera: camera(), run: RunId([1; 16]), params, hold: None };
        Self { header, wall: NOON, decode: 0, fragments: Vec::new() }
    }

    /// A pack that goes on where this one ends, in the same run.
    pub(super) fn next_pack(&self) -> Self {
        let mut next = Self::with(self.header.params.clone());
        next.header.pack = PackId(self.header.pack.0.map(|b| b.wrapping_add(1)));
        next.header.run = self.header.run;
        (next.wall, next.decode) = (self.wall, self.decode);
        next
    }

    /// A pack of another run, that starts after `gap_ms`.
    pub(super) fn next_run(&self, gap_ms: i64) -> Self {
        let mut next = self.next_pack();
        next.header.run = RunId(self.header.run.0.map(|b| b + 1));
        next.wall = next.wall.saturating_add(Ticks90k(gap_ms * 90));
        next.decode = 0;
        next
    }

    /// Fragments of one second, the first of which is a random access point.
    pub(super) fn gop(&mut self, seconds: usize) -> &mut Self {
        for second in 0..seconds {
            self.fragment(second == 0, &[0; 10]);
        }
        self
    }

    /// Pictures of a tenth of a second, with their composition offsets in pictures.
    pub(super) fn fragment(&mut self, random_access: bool, offsets: &[i32]) -> &mut Self {
        let number = self.fragments.len() as u32;
        let sample =
            |offset: &i32| Sample { size: 50 + number % 7, duration: FRAME, composition_offset: offset * FRAME as i32 };
        let video: Vec<_> = offsets.iter().map(sample).collect();
        let duration = i64::from(FRAME) * video.len() as i64;
        let heard = Sample { size: 20, duration: AUDIO_PACKET, composition_offset: 0 };
        let audio = match self.header.params.audio {
            Some(_) => {
                vec![heard; (duration * i64::from(AUDIO_RATE) / TICKS_PER_SECOND / i64::from(AUDIO_PACKET)) as usize]
            }
            None => Vec::new(),
        };
        let data_bytes = video.iter().chain(&audio).map(|s| s.size).sum();
        let mut id = [self.header.pack.0[0]; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        self.fragments.push(Arc::new(FragmentEntry {
            offset: self.fragments.last().map_or(1000, |f| f.end()),
            header_bytes: 300,
            data_bytes,
            id: FragmentId(id),
            decode_time: Ticks90k(self.decode),
            random_access,
            video,
            audio,
            audio_decode_time: self.decode * i64::from(AUDIO_RATE) / TICKS_PER_SECOND,
            stamp: Stamp {
                wall_start: self.wall,
                wall_duration: Ticks90k(duration),
                camera_time: None,
                gaps: Vec::new(),
            },
            place: None,
        }));
        self.lose(duration)
    }

    /// Time passes and nothing is received: packets lost inside the run.
    pub(super) fn lose(&mut self, ticks: i64) -> &mut Self {
        self.wall = self.wall.saturating_add(Ticks90k(ticks));
        self.decode += ticks;
        self
    }

    /// The table, and one row for each stretch without a hole.
    pub(super) fn finish(&self) -> (Arc<PackTable>, Vec<SegmentRow>) {
        let mut rows: Vec<SegmentRow> = Vec::new();
        for (index, fragment) in self.fragments.iter().enumerate() {
            let range = TimeRange::new(fragment.stamp.wall_start, fragment.wall_end()).expect("not empty");
            match rows.last_mut() {
                Some(row) if row.range.end() == range.start() => {
                    row.range = TimeRange::new(row.range.start(), range.end()).expect("longer");
                    row.fragments += 1;
                }
                _ => rows.push(SegmentRow {
                    range,
                    run: self.header.run,
                    decode_time: fragment.decode_time,
                    pack: self.header.pack,
                    state: PackState::Stored,
                    first_fragment: index as u32,
                    fragments: 1,
                }),
            }
        }
        let table = PackTable { header: self.header.clone(), init_bytes: 900, fragments: self.fragments.clone() };
        (Arc::new(table), rows)
    }
}
