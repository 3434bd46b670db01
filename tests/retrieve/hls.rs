use std::path::{Path, PathBuf};

use footage::media::Fragment;
use footage::units::PackId;
use futures::TryStreamExt;
use vigie::archive::ReadError;
use vigie::retrieve::RetrieveError;
use vigie::retrieve::hls::{Tracks, init_segment, live_playlist, media_segment, vod_playlist};

use super::real::{encode, pictures, pictures_despite, run, run_despite};
use super::rig::{Rig, at, between};

const H264: &str = "-map 0:v -t 12 -c:v libx264 -g 50 -bf 0 -preset veryfast";

const VIDEO_ALONE: &str = "?tracks=video";

/// What ffmpeg says of an initialisation segment in the middle of a stream; it goes on with the first.
const SECOND_MOOV: &str = "Found duplicated MOOV Atom";

/// Fetches all that a playlist names, as a player would; gives the playlist's file.
async fn download(rig: &Rig, playlist: &str, name: &str) -> PathBuf {
    let dir = rig.dir.path().join(name);
    std::fs::create_dir_all(&dir).expect("a folder");
    for line in playlist.lines() {
        let map = line.strip_prefix("#EXT-X-MAP:URI=\"").and_then(|l| l.strip_suffix('"'));
        let Some(uri) = map.or((!line.starts_with('#')).then_some(line)) else { continue };
        // ffmpeg takes a query for a part of the file's name.
        let file = dir.join(uri.trim_end_matches(VIDEO_ALONE));
        std::fs::create_dir_all(file.parent().expect("a pack's folder")).expect("a folder");
        std::fs::write(file, fetch(rig, uri).await).expect("room on the disk");
    }
    let file = dir.join("index.m3u8");
    std::fs::write(&file, playlist.replace(VIDEO_ALONE, "")).expect("room on the disk");
    file
}

async fn fetch(rig: &Rig, uri: &str) -> Vec<u8> {
    let (pack, name) = uri.split_once('/').expect("pack and name");
    let pack: PackId = pack.parse().expect("an id");
    let (name, tracks) = match name.strip_suffix(VIDEO_ALONE) {
        Some(name) => (name, Tracks::Video),
        None => (name, Tracks::All),
    };
    if name == "init.mp4" {
        return init_segment(&rig.footage, &rig.camera, pack, tracks).await.expect("a pack").to_vec();
    }
    let (first, last) = name.strip_suffix(".m4s").and_then(|n| n.split_once('-')).expect("fragments");
    let (first, last) = (first.parse().expect("a number"), last.parse().expect("a number"));
    let segment = media_segment(&rig.footage, &rig.camera, pack, first..=last, tracks).await.expect("a segment");
    let bytes = segment.body.try_collect::<Vec<_>>().await.expect("the pack is there").concat();
    assert_eq!(bytes.len() as u64, segment.len);
    bytes
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

async fn check_vod(options: &str) {
    let mut rig = Rig::new().await;
    let real = encode(options);
    let half = real.fragments.iter().position(|f| f.random_access && f.decode_time.0 >= 540_000).expect("12 s");
    let (first, second) = real.fragments.split_at(half);
    rig.record(at(0), first).await;
    rig.record(at(0), second).await;
    rig.settle().await;
    let playlist = vod_playlist(&rig.footage, &rig.camera, between(0, 12_000)).await.expect("footage").text;
    assert!(!playlist.contains("DISCONTINUITY"), "one run, one set of parameters");
    let file = download(&rig, &playlist, "vod").await;
    assert_eq!(pictures(text(&file)), pictures(text(&real.file)));
    let duration = run("ffprobe", &["-show_entries", "format=duration", "-of", "csv=p=0", text(&file)]);
    assert_eq!(duration.trim(), "12.000000");
}

#[tokio::test]
async fn a_vod_of_h264_plays_every_picture() {
    check_vod(H264).await;
}

#[tokio::test]
async fn a_vod_with_b_pictures_plays_every_picture() {
    check_vod("-map 0:v -t 12 -c:v libx264 -g 50 -bf 2 -preset veryfast").await;
}

#[tokio::test]
async fn a_vod_of_h265_plays_every_picture() {
    check_vod("-map 0:v -t 12 -c:v libx265 -g 50 -preset veryfast -tag:v hvc1 -x265-params log-level=error").await;
}

#[tokio::test]
async fn a_vod_with_sound_plays_every_picture() {
    check_vod("-map 0:v -map 1:a -t 12 -c:v libx264 -g 50 -bf 0 -preset veryfast -c:a aac").await;
}

/// Kind, time and length of each packet, in the order of the file.
fn packets(file: &Path) -> String {
    let entries = "packet=codec_type,pts,dts,duration,size";
    run_despite("ffprobe", &["-show_entries", entries, "-of", "csv=p=0", text(file)], &[SECOND_MOOV])
}

#[tokio::test]
async fn a_camera_with_sound_can_be_played_without_it() {
    let mut rig = Rig::new().await;
    let real = encode("-map 0:v -map 1:a -t 12 -c:v libx264 -g 50 -bf 2 -preset veryfast -c:a aac");
    let half = real.fragments.len() / 2;
    rig.record(at(0), &real.fragments[..half]).await;
    let growing = rig.open(at(0), &real.fragments[half..]).await;
    rig.flush().await;
    let vod = vod_playlist(&rig.footage, &rig.camera, between(0, 12_000)).await.expect("footage").text;
    let live = live_playlist(&rig.footage, &rig.camera).await.expect("live");
    for (name, playlist) in [("vod", vod), ("live", format!("{live}#EXT-X-ENDLIST\n"))] {
        assert_eq!(Tracks::All.of_playlist(playlist.clone()), playlist);
        let whole = download(&rig, &playlist, &format!("{name}-all")).await;
        let alone = download(&rig, &Tracks::Video.of_playlist(playlist), &format!("{name}-video")).await;
        assert_eq!(pictures_despite(text(&alone), &[SECOND_MOOV]), pictures(text(&real.file)), "{name}");
        let of_video = |packets: String| -> Vec<String> {
            packets.lines().filter(|line| line.starts_with("video")).map(str::to_owned).collect()
        };
        let (with, without) = (packets(&whole), packets(&alone));
        assert!(with.contains("audio") && !without.contains("audio"), "{name}: {without}");
        assert_eq!(of_video(without), of_video(with), "{name}");
    }
    rig.seal(growing).await;
}

#[tokio::test]
async fn more_video_alone_than_is_put_together_at_a_time_is_refused_and_with_its_sound_it_is_streamed() {
    let mut rig = Rig::new().await;
    let mut real = encode("-map 0:v -map 1:a -t 12 -c:v libx264 -g 50 -bf 0 -preset veryfast -c:a aac").fragments;
    real.truncate(3);
    let large = |fragment: &mut Fragment| {
        let mut payload = fragment.payload.to_vec();
        payload.splice(..fragment.video[0].size as usize, vec![7; 30 << 20]);
        fragment.payload = payload.into();
        fragment.video[0].size = 30 << 20;
    };
    real.iter_mut().for_each(large);
    rig.record(at(0), &real).await;
    rig.settle().await;
    let ask = |tracks| media_segment(&rig.footage, &rig.camera, PackId([1; 16]), 0..=2, tracks);
    assert!(ask(Tracks::All).await.is_ok());
    let refused = ask(Tracks::Video).await.map(|_| ()).expect_err("90 MiB");
    assert!(matches!(&refused, RetrieveError::Invalid(why) if why.contains("ask for fewer")), "{refused}");
}

#[tokio::test]
async fn a_vod_over_a_gap_plays_both_sides() {
    let mut rig = Rig::new().await;
    let real = encode(H264);
    rig.record(at(0), &real.fragments).await;
    rig.record(at(60_000), &real.fragments).await;
    rig.settle().await;
    let playlist = vod_playlist(&rig.footage, &rig.camera, between(8_000, 64_000)).await.expect("footage").text;
    assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 1);
    download(&rig, &playlist, "vod").await;

    // ffmpeg does not play over a discontinuity: each side is played on its own, with the sample descriptions of both.
    let (first, second) = playlist.split_once("#EXT-X-DISCONTINUITY\n").expect("one discontinuity");
    let before_segments = first.find("#EXT-X-PROGRAM-DATE-TIME").expect("a date");
    let sides = [format!("{first}#EXT-X-ENDLIST\n"), format!("{}{second}", &first[..before_segments])];
    let source = pictures(text(&real.file));
    for (side, expect) in sides.iter().zip([&source[200..], &source[..100]]) {
        let file = rig.dir.path().join("vod/side.m3u8");
        std::fs::write(&file, side).expect("room on the disk");
        assert_eq!(pictures(text(&file)), expect);
    }
}

#[tokio::test]
async fn live_plays_what_is_written_and_follows_the_camera_from_pack_to_pack() {
    let mut rig = Rig::new().await;
    let real = encode(H264);
    let source = pictures(text(&real.file));
    let (first, second) = real.fragments.split_at(6);

    let pack = rig.open(at(0), &first[..5]).await;
    rig.flush().await;
    let playlist = live_playlist(&rig.footage, &rig.camera).await.expect("live");
    assert!(!playlist.contains("ENDLIST"));
    assert_eq!(segments(&playlist), 5, "{playlist}");
    check_live(&rig, &playlist, "one", &source[..125]).await;

    // Not flushed: live shows it all the same.
    rig.append(&pack, at(0), &first[5]).await;
    let playlist = live_playlist(&rig.footage, &rig.camera).await.expect("live");
    assert_eq!(segments(&playlist), 6, "{playlist}");
    check_live(&rig, &playlist, "two", &source[..150]).await;

    rig.flush().await;
    rig.seal(pack).await;
    rig.open(at(0), second).await;
    let playlist = live_playlist(&rig.footage, &rig.camera).await.expect("live");
    assert_eq!(segments(&playlist), 12, "{playlist}");
    assert!(!playlist.contains("#EXT-X-DISCONTINUITY\n"), "the run goes on");
    check_live(&rig, &playlist, "three", &source).await;
}

fn segments(playlist: &str) -> usize {
    playlist.matches("#EXTINF").count()
}

/// A live playlist has no end: what is listed is played as if it had.
async fn check_live(rig: &Rig, playlist: &str, name: &str, expect: &[String]) {
    let file = download(rig, &format!("{playlist}#EXT-X-ENDLIST\n"), name).await;
    assert_eq!(pictures_despite(text(&file), &[SECOND_MOOV]), expect);
}

#[tokio::test]
async fn nothing_is_live_when_the_camera_has_been_silent() {
    let mut rig = Rig::new().await;
    let real = encode(H264);
    // The clock shows 60 s after noon.
    rig.record(at(0), &real.fragments).await;
    rig.settle().await;
    let error = live_playlist(&rig.footage, &rig.camera).await.expect_err("48 s old");
    assert!(matches!(error, RetrieveError::NoFootage { .. }), "{error}");
}

#[tokio::test]
async fn segments_of_another_camera_or_beyond_the_pack_are_refused() {
    let mut rig = Rig::new().await;
    let real = encode(H264);
    rig.record(at(0), &real.fragments).await;
    rig.settle().await;
    let pack = PackId([1; 16]);
    let other = "town/other".parse().expect("a good name");
    let refused =
        async |camera, first, last| match media_segment(&rig.footage, camera, pack, first..=last, Tracks::All).await {
            Ok(_) => panic!("a segment of {camera} from {first} to {last}"),
            Err(e) => e,
        };
    assert!(matches!(refused(&other, 0, 0).await, RetrieveError::Read(ReadError::NotFound(_))));
    assert!(matches!(refused(&rig.camera, 0, 12).await, RetrieveError::Invalid(_)));
    assert!(matches!(refused(&rig.camera, 5, 4).await, RetrieveError::Invalid(_)));
    assert!(matches!(refused(&rig.camera, u32::MAX, u32::MAX).await, RetrieveError::Invalid(_)));
    assert!(init_segment(&rig.footage, &other, pack, Tracks::All).await.is_err());
}
