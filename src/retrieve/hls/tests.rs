use std::sync::Arc;

use super::super::testing::{Recording, at, between, params};
use super::super::walk::Walk;
use super::Vod;
use super::live::{self, Window};
use footage::pack::PackTable;
use footage::units::TimeRange;

fn vod(packs: &[&Recording], range: TimeRange) -> Option<String> {
    let (mut vod, mut walk) = (Vod::new(range), Walk::default());
    for recording in packs {
        let (table, rows) = recording.finish();
        let rows: Vec<_> = rows.into_iter().filter(|r| r.range.intersection(&range).is_some()).collect();
        walk.steps(&rows, &table).iter().for_each(|step| vod.push(&table, step));
    }
    vod.playlist()
}

/// The lines that matter, ids shortened.
fn lines(playlist: &str) -> Vec<String> {
    let short =
        |line: &str| (1..=9).fold(line.to_owned(), |l, n| l.replace(&format!("{n:02x}").repeat(16), &n.to_string()));
    playlist.lines().map(short).collect()
}

fn check(packs: &[&Recording], range: TimeRange, expect: &[&str]) {
    assert_eq!(lines(&vod(packs, range).expect("footage")), expect);
}

#[test]
fn segments_go_from_random_access_point_to_random_access_point() {
    let mut recording = Recording::new();
    recording.gop(2).gop(2).gop(2).gop(2);
    check(
        &[&recording],
        between(0, 60_000),
        &[
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            "#EXT-X-TARGETDURATION:4",
            "#EXT-X-INDEPENDENT-SEGMENTS",
            "#EXT-X-PLAYLIST-TYPE:VOD",
            "#EXT-X-MEDIA-SEQUENCE:0",
            "#EXT-X-MAP:URI=\"1/init.mp4\"",
            "#EXT-X-PROGRAM-DATE-TIME:2026-03-03T12:00:00.000Z",
            "#EXTINF:4.000000,",
            "1/0-3.m4s",
            "#EXT-X-PROGRAM-DATE-TIME:2026-03-03T12:00:04.000Z",
            "#EXTINF:4.000000,",
            "1/4-7.m4s",
            "#EXT-X-ENDLIST",
        ],
    );
}

#[test]
fn a_range_begins_with_the_random_access_point_before_it_and_says_where_it_starts() {
    let mut recording = Recording::new();
    recording.gop(2).gop(2).gop(2).gop(2);
    check(
        &[&recording],
        between(3_500, 4_500),
        &[
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            "#EXT-X-TARGETDURATION:3",
            "#EXT-X-INDEPENDENT-SEGMENTS",
            "#EXT-X-PLAYLIST-TYPE:VOD",
            "#EXT-X-MEDIA-SEQUENCE:0",
            "#EXT-X-START:TIME-OFFSET=1.500000,PRECISE=YES",
            "#EXT-X-MAP:URI=\"1/init.mp4\"",
            "#EXT-X-PROGRAM-DATE-TIME:2026-03-03T12:00:02.000Z",
            "#EXTINF:3.000000,",
            "1/2-4.m4s",
            "#EXT-X-ENDLIST",
        ],
    );
}

#[test]
fn a_pack_of_the_same_run_goes_on_and_one_of_another_run_is_a_discontinuity() {
    let mut first = Recording::new();
    first.gop(4);
    let mut second = first.next_pack();
    second.gop(4);
    let mut third = second.next_run(10_000);
    third.gop(1);
    let playlist = lines(&vod(&[&first, &second, &third], between(0, 60_000)).expect("footage"));
    assert_eq!(
        playlist[6..],
        [
            "#EXT-X-MAP:URI=\"1/init.mp4\"",
            "#EXT-X-PROGRAM-DATE-TIME:2026-03-03T12:00:00.000Z",
            "#EXTINF:4.000000,",
            "1/0-3.m4s",
            "#EXT-X-PROGRAM-DATE-TIME:2026-03-03T12:00:04.000Z",
            "#EXTINF:4.000000,",
            "2/0-3.m4s",
            "#EXT-X-DISCONTINUITY",
            "#EXT-X-PROGRAM-DATE-TIME:2026-03-03T12:00:18.000Z",
            "#EXTINF:1.000000,",
            "3/0-0.m4s",
            "#EXT-X-ENDLIST",
        ]
    );
}

#[test]
fn losses_and_new_sample_descriptions_are_discontinuities() {
    let mut first = Recording::new();
    first.gop(1).lose(45_000).fragment(false, &[0; 10]);
    let mut second = first.next_pack();
    second.header.params = params(b"\0\0\0\x0cavc1two.", false);
    second.gop(1);
    let playlist = vod(&[&first, &second], between(0, 60_000)).expect("footage");
    assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 2);
    assert_eq!(playlist.matches("#EXT-X-MAP").count(), 2, "one for each set of sample descriptions");
    assert!(!playlist.contains("INDEPENDENT-SEGMENTS"), "the fragment after the loss is not independent");
}

#[test]
fn a_long_gop_is_cut_inside() {
    let mut recording = Recording::new();
    recording.gop(20);
    let playlist = vod(&[&recording], between(0, 60_000)).expect("footage");
    assert_eq!(playlist.matches("#EXTINF:8.000000").count(), 2);
    assert_eq!(playlist.matches("#EXTINF:4.000000").count(), 1);
}

#[test]
fn a_start_in_a_gap_lists_nothing_before_it() {
    let mut first = Recording::new();
    first.gop(4);
    let mut second = first.next_run(10_000);
    second.gop(1);
    let playlist = lines(&vod(&[&first, &second], between(5_000, 60_000)).expect("footage"));
    assert_eq!(playlist[6], "#EXT-X-MAP:URI=\"2/init.mp4\"");
    assert!(vod(&[&first, &second], between(5_000, 6_000)).is_none());
}

/// A client's view: every segment with its number and its count of discontinuities.
fn numbered(playlist: &str) -> Vec<(String, u64, u64)> {
    let tag = |name: &str| -> u64 {
        let value = playlist.lines().find_map(|l| l.strip_prefix(name)).expect("is there");
        value.parse().expect("a number")
    };
    let (mut number, mut discontinuities) = (tag("#EXT-X-MEDIA-SEQUENCE:"), tag("#EXT-X-DISCONTINUITY-SEQUENCE:"));
    let mut segments = Vec::new();
    for line in lines(playlist) {
        if line == "#EXT-X-DISCONTINUITY" {
            discontinuities += 1;
        } else if !line.starts_with('#') {
            segments.push((line, number, discontinuities));
            number += 1;
        }
    }
    segments
}

fn advance(window: &mut Window, whole: &[&Recording], live: &Recording) -> Vec<(String, u64, u64)> {
    let whole: Vec<Arc<PackTable>> = whole.iter().map(|r| r.finish().0).collect();
    window.advance(live::cut(&whole, Some(&live.finish().0)), live.wall);
    numbered(&window.playlist().expect("something live"))
}

#[test]
fn live_lists_only_segments_that_do_not_change_any_more() {
    let (mut window, mut recording) = (Window::default(), Recording::new());
    recording.gop(2).fragment(true, &[0; 5]);
    // 2-2 may still be joined by the next fragment.
    let names = |listed: Vec<(String, u64, u64)>| listed.into_iter().map(|s| s.0).collect::<Vec<_>>();
    assert_eq!(names(advance(&mut window, &[], &recording)), ["1/0-0.m4s", "1/1-1.m4s"]);
    recording.fragment(true, &[0; 5]);
    assert_eq!(names(advance(&mut window, &[], &recording)), ["1/0-0.m4s", "1/1-1.m4s", "1/2-3.m4s"]);
    recording.fragment(true, &[0; 5]);
    let next = recording.next_pack();
    let names = names(advance(&mut window, &[&recording], &next));
    assert_eq!(names, ["1/0-0.m4s", "1/1-1.m4s", "1/2-3.m4s", "1/4-4.m4s"]);
}

#[test]
fn each_second_is_listed_as_soon_as_it_is_recorded_whatever_the_gop() {
    for gop in [1, 2, 4, 10] {
        let (mut window, mut recording) = (Window::default(), Recording::new());
        for second in 0..40 {
            recording.fragment(second % gop == 0, &[0; 10]);
            let listed = advance(&mut window, &[], &recording);
            assert_eq!(listed[listed.len() - 1].0, format!("1/{second}-{second}.m4s"), "every {gop} s");
        }
        let playlist = window.playlist().expect("live");
        assert!(playlist.contains("#EXT-X-TARGETDURATION:1\n"), "players keep three of these behind: {playlist}");
    }
}

#[test]
fn live_segments_begin_with_each_random_access_point_that_no_full_second_follows() {
    let (mut window, mut recording) = (Window::default(), Recording::new());
    // Random access points every 1.2 s: a fragment of a second, and the rest.
    (0..4).for_each(|_| {
        recording.fragment(true, &[0; 10]).fragment(false, &[0; 2]);
    });
    let listed = advance(&mut window, &[], &recording);
    let names: Vec<_> = listed.iter().map(|s| s.0.as_str()).collect();
    let expect = ["1/0-0.m4s", "1/1-1.m4s", "1/2-2.m4s", "1/3-3.m4s", "1/4-4.m4s", "1/5-5.m4s", "1/6-6.m4s"];
    assert_eq!(names, expect);
}

#[test]
fn live_names_an_initialisation_segment_of_each_pack() {
    let mut first = Recording::new();
    first.gop(4);
    let mut second = first.next_pack();
    second.gop(4);
    let mut window = Window::default();
    advance(&mut window, &[&first], &second);
    let playlist = lines(&window.playlist().expect("live"));
    let maps: Vec<_> = playlist.iter().filter(|l| l.starts_with("#EXT-X-MAP")).collect();
    assert_eq!(maps, ["#EXT-X-MAP:URI=\"1/init.mp4\"", "#EXT-X-MAP:URI=\"2/init.mp4\""]);
}

#[test]
fn a_segment_keeps_its_number_while_it_is_listed_across_packs_and_runs() {
    let mut window = Window::default();
    let mut packs = vec![Recording::new()];
    let mut known: Vec<(String, u64, u64)> = Vec::new();
    for second in 0..200 {
        match second % 70 {
            50 => packs.push(packs[packs.len() - 1].next_pack()),
            69 => packs.push(packs[packs.len() - 1].next_run(3_000)),
            _ => {}
        }
        let random_access = packs[packs.len() - 1].finish().0.fragments.is_empty() || second % 2 == 0;
        let (live, whole) = packs.split_last_mut().expect("one at least");
        live.fragment(random_access, &[0; 10]);
        if second < 3 {
            continue;
        }
        let whole: Vec<&Recording> = whole.iter().collect();
        let listed = advance(&mut window, &whole[whole.len().saturating_sub(2)..], live);
        for segment in &listed {
            match known.iter().find(|k| k.0 == segment.0) {
                Some(before) => assert_eq!(segment, before),
                None => known.push(segment.clone()),
            }
        }
        assert!(listed.len() <= 25, "the window slides");
    }
    assert!(known.windows(2).all(|w| w[0].1 + 1 == w[1].1), "no segment was skipped");
    assert_eq!(known[known.len() - 1].2 - known[0].2, 2, "one discontinuity a run");
}

#[test]
fn a_window_that_restarts_numbers_above_all_before() {
    let mut recording = Recording::new();
    (0..60).for_each(|_| {
        recording.gop(1);
    });
    let mut window = Window::default();
    let before = advance(&mut window, &[], &recording);
    let restarted = advance(&mut Window::default(), &[], &recording);
    let last = |listed: &[(String, u64, u64)]| listed[listed.len() - 1].clone();
    assert!(last(&restarted).1 >= last(&before).1);

    let mut later = recording.next_run(3_600_000);
    later.gop(4);
    let renewed = advance(&mut window, &[], &later);
    assert!(renewed[0].1 > last(&before).1 && renewed[0].2 > last(&before).2);
    assert!(renewed.iter().all(|s| s.0.starts_with("2/")));
}

#[test]
fn a_slower_request_changes_nothing() {
    let mut recording = Recording::new();
    recording.gop(2).gop(2);
    let (earlier, newest) = (live::cut(&[], Some(&recording.finish().0)), recording.wall);
    recording.gop(2).gop(2);
    let mut window = Window::default();
    let listed = advance(&mut window, &[], &recording);
    window.advance(earlier, newest);
    assert_eq!(numbered(&window.playlist().expect("live")), listed);
}

#[test]
fn the_window_begins_with_a_random_access_point() {
    let mut recording = Recording::new();
    (0..10).for_each(|_| {
        recording.gop(7);
    });
    let mut window = Window::default();
    let listed = advance(&mut window, &[], &recording);
    let first: u32 = listed[0].0[2..].split('-').next().expect("first").parse().expect("a number");
    assert_eq!(first % 7, 0);
    assert!(recording.wall.since(at(i64::from(first) * 1_000)).0 >= 20 * 90_000);
}
