use super::*;
use crate::media::{AudioParams, VideoCodec, VideoParams};
use crate::units::WallTime;
use proptest::prelude::*;

const FRAME: i64 = 3_600;

fn params(width: u16, audio: bool) -> Arc<Params> {
    let video = VideoParams {
        codec: VideoCodec::H264,
        width,
        height: 576,
        sample_entry: Bytes::from_static(b"avc1"),
        rfc6381: "avc1.4D001E".into(),
    };
    let audio =
        audio.then(|| AudioParams { clock_rate: 8_000, sample_entry: Bytes::from_static(b"alaw"), rfc6381: None });
    Arc::new(Params { video, audio })
}

fn at(ticks: i64) -> Reading {
    let mono = Ticks90k(ticks).to_duration();
    Reading { wall: WallTime(ticks), mono }
}

fn video(timestamp: i64, random_access: bool) -> AccessUnit {
    AccessUnit {
        track: Track::Video,
        timestamp,
        data: Bytes::from(timestamp.to_be_bytes().to_vec()),
        random_access,
        lost_packets: 0,
        received: at(timestamp),
        new_params: None,
    }
}

fn run(units: impl IntoIterator<Item = AccessUnit>) -> Vec<Fragment> {
    let mut cutter = Fragmenter::new(params(704, true));
    let mut fragments: Vec<Fragment> = Vec::new();
    for unit in units {
        fragments.extend(cutter.push(unit));
    }
    fragments.extend(cutter.finish());
    fragments
}

/// Each sample's bytes, in file order.
fn samples(fragment: &Fragment) -> Vec<Vec<u8>> {
    let payload = fragment.payload.to_vec();
    let mut left = &payload[..];
    let cut = |s: &Sample| {
        let (sample, rest) = left.split_at(s.size as usize);
        left = rest;
        sample.to_vec()
    };
    let samples = fragment.video.iter().chain(&fragment.audio).map(cut).collect();
    assert!(left.is_empty(), "{} bytes are no sample's", left.len());
    samples
}

fn presentation_times(fragment: &Fragment) -> Vec<i64> {
    let mut decode = fragment.decode_time.0;
    let of_sample = |s: &Sample| {
        let pts = decode + i64::from(s.composition_offset);
        decode += i64::from(s.duration);
        pts
    };
    fragment.video.iter().map(of_sample).collect()
}

/// `frames` at 25 images/s with a random access point every `gop`; expects (decode time in frames, samples, RAP).
fn check_cuts(frames: i64, gop: i64, expect: &[(i64, usize, bool)]) {
    let fragments = run((0..frames).map(|i| video(1_000 + i * FRAME, i % gop == 0)));
    let got: Vec<_> = fragments.iter().map(|f| (f.decode_time.0 / FRAME, f.video.len(), f.random_access)).collect();
    assert_eq!(got, expect);
}

#[test]
fn fragments_are_cut_at_random_access_points_and_each_second_after_them() {
    check_cuts(0, 10, &[]);
    check_cuts(1, 10, &[(0, 1, true)]);
    check_cuts(20, 10, &[(0, 10, true), (10, 10, true)]);
    check_cuts(60, 50, &[(0, 25, true), (25, 25, false), (50, 10, true)]);
    check_cuts(60, 30, &[(0, 25, true), (25, 5, false), (30, 25, true), (55, 5, false)]);
}

#[test]
fn seconds_are_counted_from_the_random_access_point_and_not_from_the_last_cut() {
    let times = [0, 80_000, 100_000, 179_000, 181_000, 500_000, 530_000, 541_000];
    let fragments = run(times.iter().map(|&t| video(t, t == 0)));
    let got: Vec<_> = fragments.iter().map(presentation_times).collect();
    assert_eq!(got, [vec![0, 80_000], vec![100_000, 179_000], vec![181_000], vec![500_000, 530_000], vec![541_000]]);
}

#[test]
fn leading_p_frames_before_first_idr_are_dropped_and_counted() {
    let mut cutter = Fragmenter::new(params(704, false));
    for i in 0..7 {
        assert_eq!(cutter.push(video(i * FRAME, false)), None);
    }
    assert_eq!(cutter.push(video(7 * FRAME, true)), None);
    assert_eq!(cutter.dropped_before_first(), 7);
    let fragment = cutter.finish().expect("one picture");
    assert_eq!((fragment.decode_time, fragment.video.len()), (Ticks90k(0), 1));
    assert_eq!(fragment.duration, Ticks90k(FRAME), "one picture alone lasts 1/25 s");
}

#[test]
fn reordered_pictures_keep_their_presentation_times() {
    let pts = [0, 3, 1, 2, 6, 4, 5].map(|i| i * FRAME);
    let fragments = run(pts.iter().map(|&t| video(t, t == 0)));
    assert_eq!(fragments.len(), 1);
    assert_eq!(presentation_times(&fragments[0]), pts);
    assert!(fragments[0].video.iter().all(|s| s.duration == FRAME as u32));
    assert_eq!(fragments[0].video[1].composition_offset, 2 * FRAME as i32);
    assert_eq!(fragments[0].video[2].composition_offset, -FRAME as i32);
}

/// 3 s at 25 images/s in groups of one reference picture and two that are shown before it, no second random access
/// point: the cuts after each second fall before pictures that are shown after others which follow them.
#[test]
fn reordering_across_a_cut_leaves_decode_times_even() {
    let shown = std::iter::once(0).chain((0..25).flat_map(|group| [3, 1, 2].map(|i| group * 3 + i)));
    let pts: Vec<i64> = shown.map(|i| i * FRAME).collect();
    let fragments = run(pts.iter().map(|&t| video(t, t == 0)));
    let starts: Vec<i64> = fragments.iter().map(|f| f.decode_time.0 / FRAME).collect();
    assert_eq!(starts, [0, 25, 49, 73]);
    assert!(fragments.iter().flat_map(|f| &f.video).all(|s| s.duration == FRAME as u32));
    assert_eq!(fragments.iter().flat_map(presentation_times).collect::<Vec<_>>(), pts);
}

/// After a loss the pictures that are shown first may still follow; decode time waits for them, and not for a frame's
/// time only.
#[test]
fn a_pause_in_a_reordered_stream_belongs_to_the_picture_before_it() {
    let pts = [0, 3, 1, 2, 106, 104, 105].map(|i| i * FRAME);
    let fragments = run(pts.iter().map(|&t| video(t, t == 0)));
    assert_eq!(fragments.len(), 2);
    assert_eq!(fragments[1].decode_time, Ticks90k(104 * FRAME));
}

/// A picture whose timestamp is `step` after that of the one before, and which came `passed` later. Expects by how much
/// the timestamps jumped, and where the picture lies after the one before.
fn check_jump(step: i64, passed: i64, expect: Option<i64>, lies: i64) {
    let mut cutter = Fragmenter::new(params(704, false));
    let first = 1 << 40;
    assert_eq!(cutter.push(video(first, true)), None);
    assert_eq!(
        cutter.push(AccessUnit { received: at(first + passed), ..video(first + step, false) }).is_some(),
        step > 89_999 || expect.is_some()
    );
    assert_eq!(cutter.take_jump(), expect.map(Ticks90k));
    assert_eq!(cutter.latest_pts, lies, "a step of {step} after {passed}");
    assert!(cutter.finish().is_some());
}

#[test]
fn timestamps_that_jump_leave_the_time_line_where_it_was() {
    const SECOND: i64 = TICKS_PER_SECOND;
    check_jump(10 * SECOND, FRAME, None, 10 * SECOND);
    // A camera that sends a picture each ten minutes.
    check_jump(600 * SECOND, 600 * SECOND, None, 600 * SECOND);
    check_jump(10 * SECOND + 1, FRAME, Some(10 * SECOND + 1), FRAME);
    check_jump(3_600 * SECOND, FRAME, Some(3_600 * SECOND), FRAME);
    check_jump(-SECOND - 1, FRAME, Some(-SECOND - 1), FRAME);
    check_jump(-3_600 * SECOND, 4 * SECOND, Some(-3_600 * SECOND), 4 * SECOND);
    check_jump(24 * 3_600 * SECOND, 24 * 3_600 * SECOND, Some(24 * 3_600 * SECOND), PAUSE_TICKS_MAX);
}

#[test]
fn timestamps_that_jump_take_no_picture_and_no_order() {
    let jumps = [0, -45_000_000, 45_000_000, 1 << 40, -(1 << 40), -(1 << 40) - 54_000, -(1 << 40) - 108_000, 7];
    let units = (0..200).map(|i| {
        let by = jumps[i as usize / 25];
        AccessUnit { received: at(i * FRAME), ..video((1 << 41) + i * FRAME + by, i == 0) }
    });
    let units: Vec<AccessUnit> = units.collect();
    let sent: Vec<Vec<u8>> = units.iter().map(|unit| unit.data.to_vec()).collect();
    let fragments = run(units);
    assert_eq!(fragments.iter().flat_map(samples).collect::<Vec<_>>(), sent);
    let times: Vec<i64> = fragments.iter().flat_map(presentation_times).collect();
    assert!(times.windows(2).all(|pair| (1..=2 * FRAME).contains(&(pair[1] - pair[0]))), "{times:?}");
}

#[test]
fn timestamps_that_step_back_past_what_is_reordered_cut_there() {
    let times = (0..30).chain(15..45).map(|i| i * FRAME);
    let fragments = run(times.enumerate().map(|(n, t)| video(t, n == 0)));
    assert_eq!(fragments.iter().map(|f| f.video.len()).collect::<Vec<_>>(), [25, 5, 25, 5]);
}

#[test]
fn time_that_walks_back_step_by_step_is_a_jump_too() {
    let mut cutter = Fragmenter::new(params(704, false));
    for (time, jump) in [(0, None), (-60_000, None), (-120_000, Some(Ticks90k(-120_000)))] {
        cutter.push(video(time, time == 0));
        assert_eq!(cutter.take_jump(), jump);
    }
}

#[test]
fn two_pictures_at_one_timestamp_still_have_growing_decode_times() {
    let fragments = run([video(0, true), video(0, false), video(FRAME, false)]);
    let durations: Vec<u32> = fragments[0].video.iter().map(|s| s.duration).collect();
    assert_eq!(durations[..2], [1, FRAME as u32 - 1]);
    assert_eq!(presentation_times(&fragments[0]), [0, 0, FRAME]);
}

#[test]
fn other_parameters_wait_for_their_random_access_point_and_equal_ones_change_nothing() {
    let unit = |i: i64, rap, width: Option<u16>| AccessUnit {
        new_params: width.map(|w| params(w, true)),
        ..video(i * FRAME, rap)
    };
    let fragments = run([
        unit(0, true, Some(704)),
        unit(1, false, Some(1920)),
        unit(2, false, None),
        unit(3, true, None),
        unit(4, true, Some(1920)),
    ]);
    let widths: Vec<_> = fragments.iter().map(|f| (f.video.len(), f.params.video.width)).collect();
    assert_eq!(widths, [(3, 704), (1, 1920), (1, 1920)]);
    assert!(Arc::ptr_eq(&fragments[1].params, &fragments[2].params));
}

#[test]
fn a_loss_spans_from_the_end_of_the_last_whole_picture_to_the_next() {
    let lossy = |t: i64, rap| AccessUnit { lost_packets: 9, ..video(t * FRAME, rap) };
    let fragments =
        run([lossy(0, false), video(FRAME, true), video(2 * FRAME, false), lossy(5, false), lossy(6, true)]);
    let losses: Vec<_> = fragments
        .iter()
        .map(|f| f.losses.iter().map(|l| (l.start.0 / FRAME, l.end.0 / FRAME)).collect::<Vec<_>>())
        .collect();
    assert_eq!(losses, [vec![(2, 4)], vec![(4, 5)]]);
}

#[test]
fn sound_is_placed_by_arrival_and_then_runs_on_its_own_timestamps() {
    let sound = |i: i64, arrival: i64| AccessUnit {
        track: Track::Audio,
        data: Bytes::from(vec![7; 160]),
        received: at(arrival),
        ..video(555_000 + i * 160, false)
    };
    let fragments = run([
        sound(0, 0),
        video(0, true),
        sound(1, 9_000),
        video(FRAME, false),
        sound(2, 50_000),
        video(2 * FRAME, true),
        sound(3, 51_000),
    ]);
    assert_eq!(fragments[0].audio_decode_time, 800, "0.1 s after the first picture");
    assert_eq!(fragments[0].audio.iter().map(|s| s.duration).collect::<Vec<_>>(), [160, 160]);
    assert_eq!(fragments[1].audio_decode_time, 800 + 2 * 160);
    let sizes: Vec<usize> = samples(&fragments[0]).iter().map(Vec::len).collect();
    assert_eq!(sizes, [8, 8, 160, 160], "pictures first");
}

/// A proxy sends the whole GOP that it has kept at once, then goes on live.
#[test]
fn sound_after_a_burst_is_placed_beside_the_latest_picture() {
    let sound = AccessUnit { track: Track::Audio, received: at(FRAME), ..video(555_000, false) };
    let burst = (0..50).map(|i| AccessUnit { received: at(0), ..video(i * FRAME, i == 0) });
    let fragments = run(burst.chain([sound]));
    assert_eq!(fragments[1].audio_decode_time, 50 * 320, "2 s after the first picture");
}

#[test]
fn sound_of_another_rate_is_placed_again() {
    let sound = |i: i64, arrival: i64| AccessUnit {
        track: Track::Audio,
        received: at(arrival),
        ..video(555_000 + i * 160, false)
    };
    let mut other = (*params(704, true)).clone();
    other.audio.as_mut().expect("has sound").clock_rate = 16_000;
    let change = AccessUnit { new_params: Some(Arc::new(other)), ..video(90_000, true) };
    let fragments = run([video(0, true), sound(0, 0), change, sound(1, 90_000)]);
    assert_eq!((fragments[0].audio_decode_time, fragments[1].audio_decode_time), (0, 16_000));
}

/// `frames` whose timestamps are `step` apart.
fn check_sizes(frames: i64, step: i64, expect: &[usize]) {
    let fragments = run((0..frames).map(|i| video(i * step, i == 0)));
    assert_eq!(fragments.iter().map(|f| f.video.len()).collect::<Vec<_>>(), expect, "{step} ticks apart");
}

#[test]
fn a_fragment_is_bounded_in_pictures_whatever_the_timestamps() {
    // The first counts for one.
    check_sizes(50, 0, &[17, 16, 16, 1]);
    check_sizes(50, 100, &[17, 16, 16, 1]);
    check_sizes(200, CREEP_TICKS, &[64, 64, 64, 8]);
    check_sizes(200, 1_500, &[60, 60, 60, 20]);
}

#[test]
fn a_fragment_is_bounded_in_sound() {
    let sound = |i: i64| AccessUnit { track: Track::Audio, received: at(0), ..video(i * 160, false) };
    let fragments = run([video(0, true)]
        .into_iter()
        .chain((0..10_000).map(sound))
        .chain([video(FRAME, false), video(2 * FRAME, false)]));
    assert_eq!(fragments.iter().map(|f| f.video.len()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_fragment_is_bounded_in_bytes() {
    let huge = |i: i64| AccessUnit { data: Bytes::from(vec![0; 10 << 20]), ..video(i, i == 0) };
    let sizes: Vec<usize> = run((0..7).map(huge)).iter().map(|f| f.video.len()).collect();
    assert_eq!(sizes, [3, 3, 1]);
}

prop_compose! {
    /// A camera: frames with jitter, pauses, random access points anywhere, reordering by one picture.
    fn camera()(steps in prop::collection::vec((1i64..200_000, 0u8..12, any::<bool>()), 1..300)) -> Vec<AccessUnit> {
        let mut time = 5_000_000;
        let mut units = Vec::new();
        for (step, kind, swap) in steps {
            time += if kind == 0 { step } else { 3_600 + step % 40 };
            units.push(video(time, kind <= 1));
            let n = units.len();
            if swap && n >= 2 && !units[n - 1].random_access && !units[n - 2].random_access {
                units.swap(n - 1, n - 2);
            }
        }
        units
    }
}

/// True where no timestamp is taken for a jump.
fn has_no_jump(units: &[AccessUnit]) -> bool {
    let mut cutter = Fragmenter::new(params(704, true));
    units.iter().all(|unit| {
        cutter.push(unit.clone());
        cutter.take_jump().is_none()
    })
}

proptest! {
    #[test]
    fn split_then_concat_is_identity_from_first_idr(units in camera()) {
        prop_assume!(has_no_jump(&units));
        let sent: Vec<Vec<u8>> = units.iter().skip_while(|u| !u.random_access).map(|u| u.data.to_vec()).collect();
        let back: Vec<Vec<u8>> = run(units).iter().flat_map(samples).collect();
        prop_assert_eq!(sent, back);
    }

    #[test]
    fn decode_times_are_contiguous_and_presentation_times_survive(units in camera()) {
        prop_assume!(has_no_jump(&units));
        let from: Vec<i64> = units.iter().skip_while(|u| !u.random_access).map(|u| u.timestamp).collect();
        let fragments = run(units);
        for pair in fragments.windows(2) {
            prop_assert_eq!(pair[0].decode_time.0 + pair[0].duration.0, pair[1].decode_time.0);
        }
        for fragment in &fragments {
            prop_assert!(fragment.video.iter().all(|s| s.duration > 0));
            let sum: i64 = fragment.video.iter().map(|s| i64::from(s.duration)).sum();
            prop_assert_eq!(sum, fragment.duration.0);
        }
        let back: Vec<i64> = fragments.iter().flat_map(presentation_times).map(|t| t + from[0]).collect();
        prop_assert_eq!(from, back);
    }

    #[test]
    fn two_recorders_cut_alike_from_the_first_random_access_point_that_both_saw(units in camera(), late in 0usize..300) {
        prop_assume!(has_no_jump(&units));
        let late = late.min(units.len());
        let early_cut = run(units.clone());
        let late_cut = run(units[late..].to_vec());
        let payloads = |f: &[Fragment]| f.iter().map(|f| f.payload.clone()).collect::<Vec<_>>();
        let (all, tail) = (payloads(&early_cut), payloads(&late_cut));
        prop_assert_eq!(&all[all.len() - tail.len()..], &tail[..]);
    }
}
