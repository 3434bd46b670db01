use std::path::Path;

use footage::media::Fragment;
use footage::pack::PackError;
use futures::StreamExt;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use vigie::archive::{PackRef, ReadError};
use vigie::retrieve::RetrieveError;
use vigie::retrieve::mp4::{self, Clip, ClipRequest, Gaps};

use super::real::{RATE, Real, encode, pictures, pictures_despite, run};
use super::rig::{Rig, at, between, body};

const H264: &str = "-map 0:v -t 12 -c:v libx264 -g 50 -bf 0 -preset veryfast";
const WITH_B: &str = "-map 0:v -t 12 -c:v libx264 -g 50 -bf 2 -preset veryfast";
const H265: &str = "-map 0:v -t 12 -c:v libx265 -g 50 -preset veryfast -tag:v hvc1 -x265-params log-level=error";
const SOUND: &str = "-map 0:v -map 1:a -t 12 -c:v libx264 -g 50 -bf 0 -preset veryfast -c:a aac";

/// Two packs of one run, cut at the random access point after six seconds.
async fn two_packs(options: &str) -> (Rig, Real) {
    let mut rig = Rig::new().await;
    let real = encode(options);
    let (first, second) = real.fragments.split_at(after_six_seconds(&real.fragments));
    rig.record(at(0), first).await;
    rig.record(at(0), second).await;
    rig.settle().await;
    (rig, real)
}

fn after_six_seconds(fragments: &[Fragment]) -> usize {
    let late = |f: &Fragment| f.random_access && f.decode_time.0 >= 6 * 90_000;
    fragments.iter().position(late).expect("twelve seconds")
}

fn duration(file: &Path) -> String {
    run("ffprobe", &["-show_entries", "format=duration", "-of", "csv=p=0", text(file)]).trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// The clip of these milliseconds shows the source's pictures of that time, no more and no fewer.
async fn check(rig: &Rig, source: &[String], start: i64, end: i64) {
    let file = rig.dir.path().join(format!("{start}-{end}.mp4"));
    let clip = rig.clip(between(start, end), &file).await;
    let frame = 1_000 / RATE;
    let (first, last) = ((start + frame - 1) / frame, ((end + frame - 1) / frame).min(source.len() as i64));
    assert_eq!(pictures(text(&file)), source[first as usize..last as usize], "{start} to {end}");
    assert_eq!(clip.covers(), between(first * frame, last * frame));
    assert_eq!(duration(&file), format!("{:.6}", ((last - first) * frame) as f64 / 1_000.0));
}

async fn check_ranges(options: &str) {
    let (rig, real) = two_packs(options).await;
    let source = pictures(text(&real.file));
    for (start, end) in [(0, 12_000), (2_000, 4_000), (3_480, 3_500), (5_510, 7_690), (5_990, 6_100), (11_950, 20_000)]
    {
        check(&rig, &source, start, end).await;
    }
}

#[tokio::test]
async fn clips_of_h264_show_the_pictures_of_their_range() {
    check_ranges(H264).await;
}

#[tokio::test]
async fn clips_with_b_pictures_show_the_pictures_of_their_range() {
    check_ranges(WITH_B).await;
}

#[tokio::test]
async fn clips_of_h265_with_open_gops_show_the_pictures_of_their_range() {
    check_ranges(H265).await;
}

#[tokio::test]
async fn a_clip_over_a_gap_shows_both_sides_and_lasts_as_long_as_it_took() {
    let mut rig = Rig::new().await;
    let real = encode(H264);
    let source = pictures(text(&real.file));
    rig.record(at(0), &real.fragments).await;
    rig.record(at(60_000), &real.fragments).await;
    rig.settle().await;
    let file = rig.dir.path().join("clip.mp4");
    rig.clip(between(10_000, 61_000), &file).await;
    let both = [&source[250..], &source[..25]].concat();
    assert_eq!(pictures(text(&file)), both);
    assert_eq!(duration(&file), "51.000000");
    // By a player, and by the file's own table: when each was filmed, to the picture.
    let before = (0..50).map(|n| 10_000 + n * 40);
    let expect: Vec<i64> = before.chain((0..25).map(|n| 60_000 + n * 40)).collect();
    assert_eq!(shown_at(&file).iter().map(|ms| ms + 10_000).collect::<Vec<_>>(), expect);
    assert_eq!(filmed_at(&file), expect);

    let joined = ClipRequest { gaps: Gaps::Joined, ..ClipRequest::of(between(10_000, 61_000)) };
    rig.clip_as(&joined, &file).await;
    assert_eq!(pictures(text(&file)), both);
    assert_eq!(duration(&file), "3.000000");
    assert_eq!(shown_at(&file), (0..75).map(|n| n * 40).collect::<Vec<_>>());
    assert_eq!(filmed_at(&file), expect);
}

/// When a player shows each picture, in milliseconds from the beginning: what it decodes and does not show is left out.
fn shown_at(file: &Path) -> Vec<i64> {
    let frames =
        ["-select_streams", "v", "-show_frames", "-show_entries", "frame=pts_time", "-of", "csv=p=0", text(file)];
    let seconds = run("ffprobe", &frames);
    let seconds = seconds.lines().filter_map(|line| line.split(',').next()?.parse::<f64>().ok());
    seconds.map(|seconds| (seconds * 1_000.0).round() as i64).collect()
}

/// The same by the file's own table, in milliseconds after noon.
fn filmed_at(file: &Path) -> Vec<i64> {
    let bytes = std::fs::read(file).expect("a clip");
    footage::clip::pictures(&bytes).expect("a clip").iter().map(|picture| picture.at.since(at(0)).0 / 90).collect()
}

#[tokio::test]
async fn no_picture_of_before_the_range_is_shown_by_ffmpeg_nor_for_long_by_who_knows_no_edit_list() {
    let (rig, real) = two_packs(H264).await;
    let source = pictures(text(&real.file));
    let file = rig.dir.path().join("clip.mp4");
    // 3.5 s are no multiple of a picture's 40 ms: the first that begins in the range is that of 3.52 s.
    let clip = rig.clip(between(3_500, 5_000), &file).await;
    assert_eq!(pictures(text(&file)), source[88..125]);
    assert_eq!(clip.covers(), between(3_520, 5_000));
    assert_eq!(filmed_at(&file)[0], 3_520);
    let ignoring = run(
        "ffprobe",
        &[
            "-ignore_editlist",
            "1",
            "-select_streams",
            "v",
            "-show_entries",
            "packet=pts_time",
            "-of",
            "csv=p=0",
            text(&file),
        ],
    );
    let early =
        ignoring.lines().filter(|line| line.trim_end_matches(',').parse::<f64>().is_ok_and(|at| at < 0.0104)).count();
    // From the random access point at 2 s.
    assert_eq!(early, 38, "{ignoring}");
}

#[tokio::test]
async fn a_change_of_coding_or_of_size_is_a_file_each_that_is_decoded_whole() {
    let mut rig = Rig::new().await;
    let (first, second) = (encode(H264), encode(H265));
    let third = encode(&format!("{H264} -vf scale=384:288"));
    for (n, real) in [&first, &second, &third].into_iter().enumerate() {
        rig.record(at(n as i64 * 12_000), &real.fragments).await;
    }
    rig.settle().await;
    let range = between(1_000, 30_000);
    let error = Clip::new(&rig.footage, &rig.camera, range).await.expect_err("no one file");
    let RetrieveError::SeveralParts { parts, .. } = error else { panic!("{error}") };
    let (listed, _) = mp4::parts(&rig.footage, &rig.camera, &ClipRequest::of(range)).await.expect("parts");
    assert_eq!(listed, parts);
    let covers = [between(1_000, 12_000), between(12_000, 24_000), between(24_000, 30_000)];
    assert_eq!(parts.iter().map(|part| part.covers).collect::<Vec<_>>(), covers);
    let file = rig.dir.path().join("part.mp4");
    for (number, (real, shown)) in (1..).zip([(&first, 25..300), (&second, 0..300), (&third, 0..150)]) {
        rig.clip_as(&ClipRequest { part: Some(number), ..ClipRequest::of(range) }, &file).await;
        assert_eq!(pictures(text(&file)), pictures(text(&real.file))[shown], "part {number}");
    }
    let beyond = ClipRequest { part: Some(4), ..ClipRequest::of(range) };
    let error = Clip::asked(&rig.footage, &rig.camera, &beyond).await.expect_err("no such part");
    assert!(matches!(&error, RetrieveError::Invalid(why) if why.contains("3 parts")), "{error}");
}

#[tokio::test]
async fn a_clip_of_a_pack_that_still_grows_shows_what_is_flushed() {
    let mut rig = Rig::new().await;
    let real = encode(H264);
    let pack = rig.open(at(0), &real.fragments[..4]).await;
    rig.flush().await;
    let file = rig.dir.path().join("clip.mp4");
    let clip = rig.clip(between(1_000, 60_000), &file).await;
    rig.append(&pack, at(0), &real.fragments[4]).await;
    rig.flush().await;
    assert_eq!(pictures(text(&file)), pictures(text(&real.file))[25..100]);
    let longer = rig.clip(between(1_000, 60_000), &file).await;
    assert_ne!(clip.etag(), longer.etag());
    assert_eq!(longer.covers(), between(1_000, 5_000));
}

#[tokio::test]
async fn a_change_of_parameter_sets_inside_a_clip_is_decoded() {
    let mut rig = Rig::new().await;
    let first = encode(&format!("{H264} -profile:v high"));
    let second = encode(&format!("{H264} -profile:v baseline"));
    assert_ne!(first.fragments[0].params, second.fragments[0].params);
    rig.record(at(0), &first.fragments).await;
    rig.record(at(12_000), &second.fragments).await;
    rig.settle().await;
    let file = rig.dir.path().join("clip.mp4");
    rig.clip(between(11_000, 13_000), &file).await;
    let (before, after) = (pictures(text(&first.file)), pictures(text(&second.file)));
    // ffmpeg's parser, unlike its decoder, knows the first parameter sets only, and complains.
    let shown = pictures_despite(text(&file), &["[NULL @", "Last message repeated"]);
    assert_eq!(shown, [&before[275..], &after[..25]].concat());
}

/// When each packet of sound is heard in a file, in seconds, by the hash of its bytes.
fn packets(file: &Path) -> Vec<(f64, String)> {
    let entries = ["-show_entries", "packet=pts_time,data_hash", "-show_data_hash", "md5"];
    let text = run("ffprobe", &[&entries[..], &["-select_streams", "a", "-of", "default", text(file)]].concat());
    let values = |key: &'static str| text.lines().filter_map(move |line| line.strip_prefix(key));
    let times = values("pts_time=").map(|seconds| seconds.parse().expect("seconds"));
    times.zip(values("data_hash=").map(str::to_owned)).collect()
}

#[tokio::test]
async fn sound_keeps_step_with_the_picture_from_the_first_picture_on_and_after_a_gap() {
    let mut rig = Rig::new().await;
    let real = encode(SOUND);
    rig.record(at(0), &real.fragments).await;
    rig.record(at(60_000), &real.fragments).await;
    rig.settle().await;
    let whole = rig.dir.path().join("whole.mp4");
    rig.clip(between(0, 12_000), &whole).await;
    let whole = packets(&whole);
    let file = rig.dir.path().join("clip.mp4");
    rig.clip(between(9_480, 64_000), &file).await;
    let clip = packets(&file);

    // The clip has the last 2.52 s of the first run, and the first 4 s of the second.
    let mut heard = [0, 0];
    for (at, hash) in clip.iter().filter(|(at, _)| *at >= 0.0) {
        let (in_whole, _) = whole.iter().find(|(_, h)| h == hash).expect("a packet of the source");
        let second = *in_whole < 9.0;
        heard[usize::from(second)] += 1;
        let wanted = if second { in_whole + 50.52 } else { in_whole - 9.48 };
        assert!((at - wanted).abs() < 0.001, "sound of {in_whole} s is at {at} s");
    }
    // Packets of 64 ms.
    assert!((38..=41).contains(&heard[0]) && (61..=64).contains(&heard[1]), "{heard:?}");
}

#[tokio::test]
async fn any_range_of_the_body_equals_the_same_bytes_of_the_whole() {
    let (rig, _) = two_packs(SOUND).await;
    let clip = Clip::new(&rig.footage, &rig.camera, between(1_000, 11_000)).await.expect("footage");
    let whole = body(&clip, 0..clip.len()).await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..500 {
        let (a, b) = (0..=clip.len(), 0..=clip.len()).new_tree(&mut runner).expect("ranges").current();
        let range = a.min(b)..a.max(b);
        assert_eq!(body(&clip, range.clone()).await, whole[range.start as usize..range.end as usize], "{range:?}");
    }
    assert!(body(&clip, clip.len()..clip.len() + 100).await.is_empty());
}

#[tokio::test]
async fn equal_clips_have_equal_tags_and_other_ranges_others() {
    let (rig, _) = two_packs(H264).await;
    let tag = async |range| Clip::new(&rig.footage, &rig.camera, range).await.expect("footage").etag().to_owned();
    assert_eq!(tag(between(1_000, 3_000)).await, tag(between(1_000, 3_000)).await);
    assert_ne!(tag(between(1_000, 3_000)).await, tag(between(1_000, 3_040)).await);
}

#[tokio::test]
async fn a_pack_that_goes_meanwhile_ends_the_body_with_an_error() {
    let (rig, _) = two_packs(H264).await;
    let clip = Clip::new(&rig.footage, &rig.camera, between(0, 12_000)).await.expect("footage");
    let whole = body(&clip, 0..clip.len()).await;
    let rows = rig.footage.index.segments(&rig.camera, between(11_000, 12_000)).await.expect("rows");
    let pack = PackRef { id: rows[0].pack, camera: rig.camera.clone(), state: rows[0].state };
    rig.footage.packs.delete(&pack).await.expect("deleted");

    let mut chunks = clip.body(0..clip.len());
    let mut got = Vec::new();
    let error = loop {
        match chunks.next().await.expect("an error before the end") {
            Ok(bytes) => got.extend_from_slice(&bytes),
            Err(e) => break e,
        }
    };
    assert!(matches!(error, RetrieveError::Read(ReadError::NotFound(id)) if id == pack.id), "{error}");
    assert!(got.len() < whole.len());
    assert_eq!(got, whole[..got.len()]);
}

#[tokio::test]
async fn a_pack_cut_short_ends_the_body_with_an_error() {
    let (rig, _) = two_packs(H264).await;
    let clip = Clip::new(&rig.footage, &rig.camera, between(0, 5_000)).await.expect("footage");
    let whole = body(&clip, 0..clip.len()).await;
    for pack in walk_files(rig.dir.path()) {
        let file = std::fs::File::options().write(true).open(&pack).expect("a pack");
        file.set_len(20_000).expect("shorter");
    }
    let chunks: Vec<_> = clip.body(0..clip.len()).collect().await;
    let (last, before) = chunks.split_last().expect("an error at least");
    let got: Vec<u8> = before.iter().flat_map(|c| c.as_ref().expect("only the last is an error").to_vec()).collect();
    assert!(matches!(last, Err(RetrieveError::Read(ReadError::Pack(PackError::Malformed { .. }) | _))), "{last:?}");
    assert_eq!(got, whole[..got.len()]);
}

/// Every pack file under a folder.
fn walk_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(walk_files(&path));
        } else if path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.len() > 32 && n.ends_with(".mp4")) {
            files.push(path);
        }
    }
    files
}

#[tokio::test]
async fn questions_that_cannot_be_answered_say_why() {
    let (rig, _) = two_packs(H264).await;
    let ask = async |camera: &str, range| {
        let camera = camera.parse().expect("a good name");
        Clip::new(&rig.footage, &camera, range).await.expect_err("no clip")
    };
    let error = ask("town/gate", between(0, 26 * 3_600_000)).await;
    assert!(matches!(&error, RetrieveError::Invalid(why) if why.contains("25 hours")), "{error}");
    assert!(matches!(ask("town/gate", between(13_000, 14_000)).await, RetrieveError::NoFootage { .. }));
    assert!(matches!(ask("town/other", between(0, 1_000)).await, RetrieveError::NoFootage { .. }));
    assert!(matches!(ask("village/gate", between(0, 1_000)).await, RetrieveError::NoCamera(_)));
}
