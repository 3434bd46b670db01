//! Packs made up for tests.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::writer::PackWriter;
use super::{PackHeader, PackTable, Stamp};
use crate::clock::Reading;
use crate::keys::DomainKey;
use crate::media::{AudioParams, Fragment, Gap, GapCause, Params, Sample, VideoCodec, VideoParams};
use crate::units::{PackId, RunId, Ticks90k, WallTime};

pub(crate) const SECOND: i64 = 90_000;

pub(crate) fn key() -> DomainKey {
    DomainKey::for_tenant(&[3; 32], &"town".parse().unwrap())
}

pub(crate) fn header() -> PackHeader {
    let video = VideoParams {
        codec: VideoCodec::H264,
        width: 704,
        height: 576,
        sample_entry: Bytes::from_static(b"\0\0\0\x10avc1\x01\x02\x03\x04\x05\x06\x07\x08"),
        rfc6381: "avc1.4D001E".into(),
    };
    let audio = AudioParams {
        clock_rate: 8_000,
        sample_entry: Bytes::from_static(b"\0\0\0\x0calaw\x01\x02\x03\x04"),
        rfc6381: None,
    };
    PackHeader {
        pack: PackId([7; 16]),
        camera: "town/hall".parse().unwrap(),
        run: RunId([8; 16]),
        params: Arc::new(Params { video, audio: Some(audio) }),
        hold: None,
    }
}

/// The `n`th fragment: a second long, its pictures of these sizes; sound with some of them.
pub(crate) fn fragment(n: i64, sizes: &[u32]) -> (Fragment, Stamp) {
    let received = Reading { wall: WallTime(0), mono: std::time::Duration::ZERO };
    let each = (SECOND / sizes.len() as i64) as u32;
    let last = SECOND as u32 - each * (sizes.len() as u32 - 1);
    let video: Vec<Sample> = sizes
        .iter()
        .enumerate()
        .map(|(i, &size)| {
            let duration = if i + 1 == sizes.len() { last } else { each };
            Sample { size, duration, composition_offset: (i as i32 % 3) - 1 }
        })
        .collect();
    let audio = Sample { size: 160, duration: 4_000, composition_offset: 0 };
    let audio = if n % 3 == 1 { Vec::new() } else { vec![audio; 2] };
    let bytes = |i: usize, size: u32| (0..size).map(|j| (i as u32 * 31 + j * 7 + n as u32) as u8).collect::<Vec<u8>>();
    let fragment = Fragment {
        params: header().params,
        decode_time: Ticks90k(n * SECOND),
        duration: Ticks90k(SECOND),
        random_access: n % 2 == 0,
        audio_decode_time: if audio.is_empty() { 0 } else { n * 8_000 },
        payload: video
            .iter()
            .chain(&audio)
            .enumerate()
            .map(|(i, s)| bytes(i, s.size).into_iter().collect::<Vec<u8>>().into())
            .collect(),
        video,
        audio,
        first_timestamp: 0,
        first_received: received,
        last_received: received,
        followed: true,
        arrivals: Vec::new(),
        losses: Vec::new(),
    };
    let start = WallTime((1_700_000_000 + n) * SECOND);
    let gap = Gap { start: start.saturating_sub(Ticks90k(9)), end: start, cause: GapCause::Silent, lost_packets: 0 };
    let stamp = Stamp {
        wall_start: start,
        wall_duration: Ticks90k(SECOND),
        camera_time: (n % 3 > 0).then(|| start.saturating_add(Ticks90k(n))),
        gaps: if n == 0 { vec![gap] } else { Vec::new() },
    };
    (fragment, stamp)
}

pub(crate) struct TestPack {
    _dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) table: PackTable,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn pack(fragments: &[Vec<u32>]) -> TestPack {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("07070707070707070707070707070707.mp4");
    let mut writer = PackWriter::create(&path, header(), key()).unwrap();
    for (n, sizes) in fragments.iter().enumerate() {
        let (fragment, stamp) = fragment(n as i64, sizes);
        writer.append(&fragment, stamp).unwrap();
    }
    let (table, size) = writer.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, size);
    TestPack { _dir: dir, path, table, bytes }
}

pub(crate) fn shapes() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0u32..400, 1..30), 1..6)
}
