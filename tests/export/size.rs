//! A long export takes no more memory than a short one.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use footage::clock::Reading;
use footage::media::{Fragment, Params, Sample, VideoCodec, VideoParams};
use footage::units::{Ticks90k, WallTime};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::rig::{Rig, at, between, marie, request, town, verified};

/// Bytes of a second, in ten pictures.
const SECOND_BYTES: usize = 1 << 20;
const SECONDS: i64 = 240;

fn second(number: i64) -> Fragment {
    let mut entry = vec![0, 0, 0, 86];
    entry.extend(b"avc1");
    entry.resize(86, 0);
    let (codec, rfc6381) = (VideoCodec::H264, "avc1.42C01E".to_owned());
    let video = VideoParams { codec, width: 640, height: 360, sample_entry: entry.into(), rfc6381 };
    let mut bytes = vec![0; SECOND_BYTES / 10];
    StdRng::seed_from_u64(number.unsigned_abs()).fill_bytes(&mut bytes);
    let received = Reading { wall: WallTime(0), mono: std::time::Duration::ZERO };
    let picture = Bytes::from(bytes);
    let sample = Sample { size: picture.len() as u32, duration: 9_000, composition_offset: 0 };
    Fragment {
        params: Arc::new(Params { video, audio: None }),
        decode_time: Ticks90k(number * 90_000),
        duration: Ticks90k(90_000),
        random_access: true,
        video: vec![sample; 10],
        audio: Vec::new(),
        audio_decode_time: 0,
        payload: vec![picture; 10].into_iter().collect(),
        first_timestamp: number * 90_000,
        first_received: received,
        last_received: received,
        followed: true,
        arrivals: Vec::new(),
        losses: Vec::new(),
    }
}

/// The most memory that this process has had, in MiB.
fn most_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// From here on, the most that there is counts.
fn forget_most() {
    // Where the kernel does not, what was before counts too.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

#[tokio::test]
async fn e1_a_package_of_a_quarter_of_a_gigabyte_is_made_and_verified_in_a_quarter_of_that_memory() {
    let mut rig = Rig::empty(None).await;
    for pack in 0..SECONDS / 40 {
        // Few at a time, so that the recording itself takes no memory that counts.
        rig.record("town/gate", at(0), (pack * 40..(pack + 1) * 40).map(second)).await;
    }
    rig.settle().await;
    let exports = rig.exports().await;
    let cameras = vec!["gate".parse().unwrap()];
    let request = vigie::export::Request { cameras, range: between(0, SECONDS), ..request(None) };
    let id = exports.order(request, marie).await.unwrap().job.id;
    forget_most();
    let before = most_mib();
    assert_eq!(exports.prepare_all().await, 1);
    let made = most_mib() - before;
    let package = exports.get(&town(), id).await.unwrap();
    assert!(package.job.package().unwrap().bytes > (SECONDS as u64 - 1) << 20, "{:?}", package.job.state);
    let zip = rig.zip(id);
    let report = tokio::task::spawn_blocking(move || verified(&zip)).await.unwrap();
    assert_eq!(report.findings, []);
    let all = most_mib() - before;
    assert!(made < 60 && all < 60, "{made} MiB to make it, {all} MiB with verifying it");
}
