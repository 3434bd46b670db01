//! Fragments of real footage: a pedestrian scene, encoded by ffmpeg, cut as the recorder would cut it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use footage::clock::Reading;
use footage::media::{AudioParams, Fragment, Params, Payload, Sample, VideoCodec, VideoParams};
use footage::units::{Ticks90k, WallTime};
use mp4_atom::{Decode, Moov, Stbl, StszSamples};

const SCENE: &str = "/usr/share/doc/opencv-doc/examples/data/vtest.avi";
/// Pictures a second, in these tests.
pub(crate) const RATE: i64 = 25;

/// A scene as a camera would have sent it.
pub(crate) struct Real {
    /// As ffmpeg wrote it: what decoding is compared with.
    pub(crate) file: PathBuf,
    pub(crate) fragments: Vec<Fragment>,
}

/// Encodes some seconds of the scene at 25 pictures a second with these ffmpeg options. Encoded once: the film stays in
/// the build folder.
pub(crate) fn encode(options: &str) -> Real {
    let name = &blake3::hash(options.as_bytes()).to_hex()[..16];
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("retrieve-{name}.mp4"));
    if !file.exists() {
        // Other tests may be encoding the same: each renames its own file into place.
        let own = tempfile::Builder::new().suffix(".mp4").tempfile_in(folder).expect("a temporary file");
        let status = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-r", "25", "-i", SCENE])
            .args(["-f", "lavfi", "-i", "aevalsrc=0.5*sin(200*t*t):s=16000"])
            .args(options.split_whitespace())
            .args(["-video_track_timescale", "90000", "-movflags", "+negative_cts_offsets"])
            .arg(own.path())
            .status()
            .expect("ffmpeg is installed");
        assert!(status.success(), "ffmpeg {options}");
        own.persist(&file).expect("the same folder");
    }
    let bytes = Bytes::from(std::fs::read(&file).expect("is there"));
    Real { fragments: fragments(&bytes), file }
}

/// Samples of a track in decode order, with their bytes.
struct Track {
    entry: Bytes,
    timescale: u32,
    samples: Vec<(Sample, bool, Bytes)>,
}

fn fragments(file: &Bytes) -> Vec<Fragment> {
    let (mut video, mut audio) = (None, None);
    let at = file.windows(4).position(|w| w == b"moov").expect("a moov") - 4;
    let moov = Moov::decode(&mut &file[at..]).expect("a good moov");
    let mut entries = file.windows(4).enumerate().filter(|(_, w)| *w == b"stsd").map(|(at, _)| entry_at(file, at + 12));
    for trak in &moov.trak {
        let track = Track {
            entry: entries.next().expect("an entry a track"),
            timescale: trak.mdia.mdhd.timescale,
            samples: samples(&trak.mdia.minf.stbl, file),
        };
        let is_video = trak.mdia.minf.vmhd.is_some();
        *(if is_video { &mut video } else { &mut audio }) =
            Some((track, trak.tkhd.width.integer(), trak.tkhd.height.integer()));
    }
    let (video, width, height) = video.expect("a video track");
    let audio = audio.map(|(track, ..)| track);
    let params = Params {
        video: VideoParams {
            codec: if &video.entry[4..8] == b"avc1" { VideoCodec::H264 } else { VideoCodec::H265 },
            width,
            height,
            sample_entry: video.entry.clone(),
            rfc6381: "avc1.4D001E".to_owned(),
        },
        audio: audio.as_ref().map(|audio| AudioParams {
            clock_rate: audio.timescale,
            sample_entry: audio.entry.clone(),
            rfc6381: Some("mp4a.40.2".to_owned()),
        }),
    };
    cut(&Arc::new(params), &video, audio.as_ref())
}

fn entry_at(file: &Bytes, at: usize) -> Bytes {
    let size = u32::from_be_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize;
    file.slice(at..at + size)
}

fn samples(stbl: &Stbl, file: &Bytes) -> Vec<(Sample, bool, Bytes)> {
    let StszSamples::Different { sizes } = &stbl.stsz.samples else { panic!("sizes differ in real footage") };
    let durations = stbl.stts.entries.iter().flat_map(|e| std::iter::repeat_n(e.sample_delta, e.sample_count as usize));
    let mut offsets: Vec<i32> = Vec::new();
    for entry in stbl.ctts.iter().flat_map(|c| &c.entries) {
        offsets.extend(std::iter::repeat_n(entry.sample_offset as i32, entry.sample_count as usize));
    }
    offsets.resize(sizes.len(), 0);
    let sync = stbl.stss.as_ref().map(|s| &s.entries);
    let mut places = Vec::new();
    let chunks = &stbl.stco.as_ref().expect("a short file").entries;
    for (chunk, &start) in (1u32..).zip(chunks) {
        let run = stbl.stsc.entries.iter().rfind(|e| e.first_chunk <= chunk).expect("every chunk has a shape");
        let mut at = start as usize;
        for _ in 0..run.samples_per_chunk {
            let size = sizes[places.len()] as usize;
            places.push(file.slice(at..at + size));
            at += size;
        }
    }
    let sample = |(((n, bytes), duration), composition_offset): (((usize, Bytes), u32), i32)| {
        let random_access = sync.is_none_or(|s| s.contains(&(n as u32 + 1)));
        (Sample { size: bytes.len() as u32, duration, composition_offset }, random_access, bytes)
    };
    places.into_iter().enumerate().zip(durations).zip(offsets).map(sample).collect()
}

/// At every random access point, and after each second since.
fn cut(params: &Arc<Params>, video: &Track, audio: Option<&Track>) -> Vec<Fragment> {
    let mut fragments: Vec<Fragment> = Vec::new();
    let (mut decode, mut gop_start) = (0i64, 0i64);
    for (sample, random_access, bytes) in &video.samples {
        let seconds = |at: i64| (at - gop_start) / 90_000;
        let due = fragments.last().is_none_or(|f| seconds(decode) > seconds(f.decode_time.0));
        if *random_access || due {
            gop_start = if *random_access { decode } else { gop_start };
            fragments.push(fragment(params, decode, *random_access));
        }
        let fragment = fragments.last_mut().expect("the first sample is a random access point");
        fragment.video.push(*sample);
        fragment.payload.push(bytes.clone());
        fragment.duration.0 += i64::from(sample.duration);
        decode += i64::from(sample.duration);
    }
    let (mut decode, mut samples) = (0i64, audio.iter().flat_map(|a| &a.samples).peekable());
    let rate = audio.map_or(1, |a| i64::from(a.timescale));
    for fragment in &mut fragments {
        fragment.audio_decode_time = decode;
        let end = (fragment.decode_time.0 + fragment.duration.0) * rate / 90_000;
        while let Some((sample, _, bytes)) = samples.next_if(|_| decode < end) {
            fragment.audio.push(*sample);
            fragment.payload.push(bytes.clone());
            decode += i64::from(sample.duration);
        }
    }
    fragments
}

fn fragment(params: &Arc<Params>, decode: i64, random_access: bool) -> Fragment {
    let received = Reading { wall: WallTime(0), mono: std::time::Duration::ZERO };
    Fragment {
        params: Arc::clone(params),
        decode_time: Ticks90k(decode),
        duration: Ticks90k::ZERO,
        random_access,
        video: Vec::new(),
        audio: Vec::new(),
        audio_decode_time: 0,
        payload: Payload::default(),
        first_timestamp: decode,
        first_received: received,
        last_received: received,
        followed: true,
        arrivals: Vec::new(),
        losses: Vec::new(),
    }
}

/// What ffmpeg or ffprobe prints; fails when it warns of anything.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    run_despite(program, args, &[])
}

/// What ffmpeg or ffprobe prints; fails when it warns of anything but what is expected.
pub(crate) fn run_despite(program: &str, args: &[&str], expected: &[&str]) -> String {
    let output = Command::new(program).args(["-v", "warning"]).args(args).output().expect("ffmpeg is installed");
    let complaints = String::from_utf8_lossy(&output.stderr);
    let unexpected: Vec<_> = complaints.lines().filter(|l| !expected.iter().any(|e| l.contains(e))).collect();
    assert!(output.status.success() && unexpected.is_empty(), "{program} {args:?}: {unexpected:#?}");
    String::from_utf8(output.stdout).expect("text")
}

/// A hash of every picture that a player shows, in order.
pub(crate) fn pictures(input: &str) -> Vec<String> {
    pictures_despite(input, &[])
}

/// The same, with warnings that are expected.
pub(crate) fn pictures_despite(input: &str, expected: &[&str]) -> Vec<String> {
    let args = ["-i", input, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-"];
    let hashes = run_despite("ffmpeg", &args, expected);
    let hash = |line: &str| line.rsplit(", ").next().map(|h| h.trim().to_owned());
    hashes.lines().filter(|l| !l.starts_with('#')).filter_map(hash).collect()
}
