//! A camera in a model: when it filmed each picture is known, what its timestamps and the network make of it is arbitrary.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use footage::fragment::Fragmenter;
use footage::media::{AccessUnit, Params, Track, VideoCodec, VideoParams};

const SECOND: i64 = TICKS_PER_SECOND;
const DAY0: i64 = 1_700_000_000 * SECOND;
/// Monotonic time at which filming begins.
const BOOT: i64 = 5_000 * SECOND;

/// A picture: when it was filmed and when it arrived, since filming began, and its timestamp.
#[derive(Clone, Copy, Debug)]
struct Shot {
    filmed: i64,
    arrived: i64,
    timestamp: i64,
}

/// A fragment as it was placed, with the pictures in it.
#[derive(Clone, Debug)]
struct Piece {
    placed: Placed,
    fragment: Fragment,
    shots: Vec<Shot>,
}

fn params() -> Arc<Params> {
    let video = VideoParams {
        codec: VideoCodec::H264,
        width: 704,
        height: 576,
        sample_entry: Bytes::new(),
        rfc6381: String::new(),
    };
    Arc::new(Params { video, audio: None })
}

fn reading(mono: i64, wall: i64) -> Reading {
    Reading { wall: WallTime(DAY0 + wall), mono: Ticks90k(BOOT + mono).to_duration() }
}

/// `pictures` at `step` ticks from one another, whose timestamps run as fast as the clock and which arrive at once.
fn steady(pictures: i64, step: i64) -> Vec<Shot> {
    (0..pictures).map(|i| Shot { filmed: i * step, arrived: i * step, timestamp: i * step }).collect()
}

/// What the recorder makes of these pictures, with a random access point every `gop`. `wall` is the gateway's clock at
/// a monotonic time.
fn record(shots: &[Shot], gop: usize, wall: impl Fn(i64) -> i64) -> Vec<Piece> {
    let mut line = WallTimeline::new(reading(0, wall(0)), WallTime(DAY0 - 3_600 * SECOND));
    let mut cutter = Fragmenter::new(params());
    let mut placed = Vec::new();
    let mut place = |line: &mut WallTimeline, cutter: Option<&mut Fragmenter>, fragments: Vec<Fragment>| {
        let mut moved = 0;
        for mut fragment in fragments {
            let place = line.place(&mut fragment);
            moved += place.fitted.moved.0;
            placed.push((place, fragment));
        }
        if let Some(cutter) = cutter {
            cutter.moved(Ticks90k(moved));
        }
    };
    for (n, shot) in shots.iter().enumerate() {
        let unit = AccessUnit {
            track: Track::Video,
            timestamp: shot.timestamp,
            data: Bytes::from(n.to_be_bytes().to_vec()),
            random_access: n % gop == 0,
            lost_packets: 0,
            received: reading(shot.arrived, wall(shot.arrived)),
            new_params: None,
        };
        if let Some(fragment) = cutter.push(unit) {
            let ready = line.take(fragment);
            place(&mut line, Some(&mut cutter), ready);
        }
    }
    let last = cutter.finish().into_iter().flat_map(|fragment| line.take(fragment)).collect();
    place(&mut line, None, last);
    let rest = line.rest();
    place(&mut line, None, rest);
    let mut left = shots;
    let pieces = placed.into_iter().map(|(placed, fragment)| {
        let (shots, rest) = left.split_at(fragment.video.len());
        left = rest;
        Piece { placed, fragment, shots: shots.to_vec() }
    });
    let pieces: Vec<Piece> = pieces.collect();
    assert!(left.is_empty(), "{} pictures are missing", left.len());
    check_line(&pieces);
    pieces
}

/// Fragments follow one another, on the wall clock and on the time line of the samples, and the two agree.
fn check_line(pieces: &[Piece]) {
    for pair in pieces.windows(2) {
        let [a, b] = pair else { continue };
        assert_eq!(a.placed.wall_start.saturating_add(a.placed.wall_duration), b.placed.wall_start);
        assert_eq!(a.fragment.decode_time.0 + a.fragment.duration.0, b.fragment.decode_time.0);
    }
    for Piece { placed, fragment, .. } in pieces {
        assert!(fragment.video.iter().all(|sample| sample.duration > 0));
        let sum: i64 = fragment.video.iter().map(|sample| i64::from(sample.duration)).sum();
        assert_eq!(sum, fragment.duration.0);
        let apart = (placed.wall_duration.0 - fragment.duration.0).abs();
        assert!(apart <= fragment.duration.0 / 10 + 1, "{apart} of {:?}", fragment.duration);
    }
}

/// How far each picture lies from when it was filmed, with that, by the gateway's right clock.
fn displaced(pieces: &[Piece]) -> Vec<(i64, i64)> {
    let of_piece = |piece: &Piece| {
        let (wall, media) = (piece.placed.wall_duration.0, piece.fragment.duration.0);
        let mut decode = 0;
        let shown = piece.fragment.video.iter().zip(&piece.shots).map(|(sample, shot)| {
            let at = piece.placed.wall_start.0 - DAY0 + decode * wall / media;
            decode += i64::from(sample.duration);
            (shot.filmed, at - shot.filmed)
        });
        shown.collect::<Vec<_>>()
    };
    pieces.iter().flat_map(of_piece).collect()
}

/// The furthest that a picture which was filmed in this time is displaced, in milliseconds.
fn worst_ms(pieces: &[Piece], from_s: i64, until_s: i64) -> i64 {
    let seen = displaced(pieces).into_iter().filter(|(filmed, _)| (from_s * SECOND..until_s * SECOND).contains(filmed));
    seen.map(|(_, by)| by.abs()).max().unwrap_or(0) * 1_000 / SECOND
}

fn right(mono: i64) -> i64 {
    mono
}

#[test]
fn a_steady_camera_covers_what_it_filmed_to_the_tick() {
    let pieces = record(&steady(1_000, 3_600), 50, right);
    assert!(displaced(&pieces).iter().all(|&(_, by)| by == 0));
    assert!(pieces.iter().all(|piece| piece.placed.fitted == Fitted::default()));
}

#[test]
fn late_pictures_do_not_move_the_line() {
    let mut shots = steady(3_000, 3_600);
    for (n, shot) in shots.iter_mut().enumerate() {
        shot.arrived += if n % 25 < 3 { 13_000 } else { (n as i64 * 7_919) % 4_000 };
    }
    shots.sort_by_key(|shot| shot.filmed);
    let mut latest = 0;
    for shot in &mut shots {
        latest = shot.arrived.max(latest);
        shot.arrived = latest;
    }
    let pieces = record(&shots, 50, right);
    assert!(worst_ms(&pieces, 0, i64::MAX / SECOND) <= 60, "{} ms", worst_ms(&pieces, 0, 120));
    assert!(pieces.iter().all(|piece| piece.placed.fitted.moved == Ticks90k::ZERO), "jitter is no rate");
}

#[test]
fn a_camera_whose_crystal_drifts_stays_on_the_wall_clock() {
    // 100 parts in a million fast.
    let mut shots = steady(200_000, 3_600);
    shots.iter_mut().for_each(|shot| shot.timestamp += shot.filmed / 10_000);
    let pieces = record(&shots, 50, right);
    assert!(worst_ms(&pieces, 0, 8_000) < 50);
    assert!(pieces.iter().all(|piece| piece.placed.fitted.moved == Ticks90k::ZERO));
}

/// Timestamps that run `numerator / denominator` as fast as the clock.
fn check_rate(numerator: i64, denominator: i64, step: i64) {
    let seconds = 60.max(40 * step / SECOND);
    let mut shots = steady(seconds * SECOND / step, step);
    shots.iter_mut().for_each(|shot| shot.timestamp = shot.filmed * numerator / denominator);
    let pieces = record(&shots, 50, right);
    let worst = worst_ms(&pieces, 10.max(4 * step / SECOND), seconds);
    assert!(worst <= 500, "at {numerator}/{denominator} of the speed, a picture each {step} ticks: {worst} ms");
}

#[test]
fn timestamps_at_any_speed_leave_footage_where_it_was_filmed() {
    for step in [1_500, 3_600, 7_200, 90_000] {
        // By 1 kHz, by a nominal frame rate, constant.
        for (numerator, denominator) in
            [(1, 90), (1, 2), (2, 1), (11, 10), (9, 10), (1, 100), (100, 1), (0, 1), (15, 10), (101, 100), (99, 100)]
        {
            check_rate(numerator, denominator, step);
        }
    }
}

#[test]
fn a_rate_that_changes_is_followed_within_ten_seconds() {
    let mut shots = steady(25 * 240, 3_600);
    let mut timestamp = 0;
    for shot in &mut shots {
        shot.timestamp = timestamp;
        timestamp += match shot.filmed / (30 * SECOND) % 4 {
            0 => 3_600,
            1 => 1_800,
            2 => 36_000,
            _ => 36,
        };
    }
    let pieces = record(&shots, 50, right);
    for change in 0..8 {
        let worst = worst_ms(&pieces, change * 30 + 10, change * 30 + 30);
        assert!(worst <= 500, "{worst} ms after change {change}");
    }
}

#[test]
fn timestamps_that_step_and_wobble_leave_footage_where_it_was_filmed() {
    let back = |filmed: i64| filmed - filmed / (8 * SECOND) * 500 * SECOND;
    let ahead = |filmed: i64| filmed + filmed / (8 * SECOND) * 500 * SECOND;
    let wobble = |filmed: i64| filmed - filmed / (3 * SECOND) * 54_000;
    let pairs = |filmed: i64| filmed / 7_200 * 7_200;
    for timestamps in [&back as &dyn Fn(i64) -> i64, &ahead, &wobble, &pairs] {
        let mut shots = steady(25 * 60, 3_600);
        shots.iter_mut().for_each(|shot| shot.timestamp = timestamps(shot.filmed));
        let pieces = record(&shots, 50, right);
        let worst = worst_ms(&pieces, 0, 60);
        assert!(worst <= 500, "{worst} ms");
    }
}

/// Nothing arrives for a while, then all that was filmed meanwhile at `speed` times the speed.
fn stalled(shots: &mut [Shot], at_s: i64, seconds: i64, speed: i64) {
    let (from, until) = (at_s * SECOND, (at_s + seconds) * SECOND);
    for shot in shots.iter_mut().filter(|shot| shot.filmed >= from) {
        let drained = until + (shot.filmed - from) / speed;
        shot.arrived = shot.arrived.max(drained);
    }
}

#[test]
fn a_network_that_stalls_moves_nothing() {
    for seconds in [1, 2, 5, 9] {
        for speed in [2, 10, 1_000] {
            let mut shots = steady(25 * 120, 3_600);
            (1..5).for_each(|n| stalled(&mut shots, n * 25, seconds, speed));
            let pieces = record(&shots, 50, right);
            let worst = worst_ms(&pieces, 0, 120);
            assert!(worst <= 500, "{seconds} s at {speed} times the speed: {worst} ms");
        }
    }
}

#[test]
fn the_pictures_that_were_kept_and_come_first_lie_where_they_were_filmed() {
    for kept in [1, 2, 4, 9] {
        let mut shots = steady(25 * 40, 3_600);
        shots.iter_mut().for_each(|shot| shot.arrived = shot.arrived.max(kept * SECOND + shot.filmed / 200));
        let pieces = record(&shots, 250, right);
        let worst = worst_ms(&pieces, 0, 40);
        assert!(worst <= 500, "{kept} s were kept: {worst} ms");
    }
}

#[test]
fn a_camera_that_changes_its_frame_rate_is_no_fault() {
    let mut shots = Vec::new();
    let mut filmed = 0;
    for n in 0..400 {
        shots.push(Shot { filmed, arrived: filmed, timestamp: filmed });
        filmed += if n % 200 < 150 { 3_600 } else { 4 * SECOND };
    }
    let pieces = record(&shots, 500, right);
    assert!(displaced(&pieces).iter().all(|&(_, by)| by == 0));
}

#[test]
fn nominal_timestamps_of_a_changing_frame_rate_are_followed() {
    let mut shots = Vec::new();
    let mut filmed = 0;
    for n in 0..400 {
        shots.push(Shot { filmed, arrived: filmed, timestamp: n * 3_600 });
        filmed += if n % 200 < 150 { 3_600 } else { 2 * SECOND };
    }
    let pieces = record(&shots, 50, right);
    let worst = worst_ms(&pieces, 20, 100);
    assert!(worst <= 500, "{worst} ms");
}

#[test]
fn a_wall_clock_that_is_slewed_is_followed_and_one_that_steps_is_not() {
    let slewed = |mono: i64| mono + mono / 2_000;
    let mut line = WallTimeline::new(reading(0, 0), WallTime(DAY0));
    assert!(!line.has_stepped(reading(SECOND, SECOND + STEP_TICKS - 1)));
    assert!(line.has_stepped(reading(SECOND, SECOND + STEP_TICKS)));
    assert!(line.has_stepped(reading(SECOND, SECOND - 3_600 * SECOND)));
    line.base = Ticks90k(line.base.0);
    let pieces = record(&steady(25 * 600, 3_600), 50, slewed);
    let last = pieces.last().expect("ten minutes");
    let end = last.placed.wall_start.saturating_add(last.placed.wall_duration).0 - DAY0;
    assert!((end - slewed(600 * SECOND)).abs() < SECOND / 20, "{end}");
    let stepped = |mono: i64| mono + if mono > 100 * SECOND { 3_600 * SECOND } else { 0 };
    assert_eq!(worst_ms(&record(&steady(25 * 200, 3_600), 50, stepped), 0, 200), 0);
}

#[test]
fn a_run_begins_after_what_was_recorded_before() {
    let mut line = WallTimeline::new(reading(0, 0), WallTime(DAY0 + 5 * SECOND));
    let mut cutter = Fragmenter::new(params());
    let unit = |i: i64| AccessUnit {
        track: Track::Video,
        timestamp: i * 9_000,
        data: Bytes::from_static(b"picture"),
        random_access: i % 10 == 0,
        lost_packets: 0,
        received: reading(i * 9_000, i * 9_000),
        new_params: None,
    };
    let first = (0..20).find_map(|i| cutter.push(unit(i))).expect("a second");
    let mut ready = line.take(first);
    assert_eq!(line.place(&mut ready[0]).wall_start, WallTime(DAY0 + 5 * SECOND));
}

#[test]
fn the_cameras_clock_is_reported_and_places_nothing() {
    let hour = WallTime(DAY0 + 3_600 * SECOND);
    for (speed, at) in [(1, 1_000), (100, 900_000)] {
        let mut line = WallTimeline::new(reading(0, 0), WallTime(DAY0));
        let mut shots = steady(50, 3_600);
        shots.iter_mut().for_each(|shot| shot.timestamp = at + shot.filmed * speed);
        line.sender_report(at, hour, reading(0, 0));
        let fragment = Fragment { ..record(&shots, 25, right)[1].fragment.clone() };
        let mut ready = line.take(fragment);
        let camera_time = ready.first_mut().map(|fragment| line.place(fragment)).and_then(|placed| placed.camera_time);
        if let Some(camera_time) = camera_time {
            let off = camera_time.since(hour).0;
            assert!((0..=2 * SECOND).contains(&off), "{off} ticks at {speed} times the speed");
        }
    }
}

/// 40 seconds of a camera: the speed of its timestamps, its pictures a second, and a stall of the network 25 s in.
type Stretch = (f64, i64, Option<i64>);

/// Stretches one after the other, with jitter of up to a tenth of a second.
fn filmed(stretches: &[Stretch], seed: i64) -> Vec<Shot> {
    let (mut shots, mut filmed, mut timestamp) = (Vec::new(), 0, 0.0);
    for (n, &(speed, rate, stall)) in (0..).zip(stretches) {
        let begins = filmed;
        while filmed < (n + 1) * 40 * SECOND {
            let late = (shots.len() as i64 * 7_919 + seed) * 31 % 9_000;
            shots.push(Shot { filmed, arrived: filmed + late, timestamp: timestamp as i64 });
            filmed += SECOND / rate;
            timestamp += (SECOND / rate) as f64 * speed;
        }
        if let Some(seconds) = stall {
            stalled(&mut shots, begins / SECOND + 25, seconds, 50);
        }
    }
    let mut latest = 0;
    for shot in &mut shots {
        latest = shot.arrived.max(latest);
        shot.arrived = latest;
    }
    shots
}

fn stretch() -> impl Strategy<Value = Stretch> {
    let speed = prop_oneof![Just(1.0), (-2.0f64..2.0).prop_map(|exponent| 10f64.powf(exponent))];
    (speed, prop_oneof![Just(4), Just(12), Just(25), Just(30)], prop::option::of(1i64..6)).prop_map(
        // Timestamps that keep time tell a stall from a change of speed.
        |(speed, rate, stall)| (speed, rate, stall.filter(|_| speed == 1.0)),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_fragment_lies_more_than_half_a_second_from_its_capture_after_ten_seconds(
        stretches in prop::collection::vec(stretch(), 1..4), gop in 10usize..200, seed in 0i64..9_000,
    ) {
        let pieces = record(&filmed(&stretches, seed), gop, right);
        for n in 0..stretches.len() as i64 {
            let worst = worst_ms(&pieces, n * 40 + 10, n * 40 + 39);
            prop_assert!(worst <= 500, "{} ms in stretch {}", worst, n);
        }
    }
}
