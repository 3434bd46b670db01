//! Packs of real pictures in other people's players: ffmpeg decodes a pack, as it lies in the store, to the very
//! pictures of its source, and finds nothing to warn of; an MP4 crate reads its boxes as they were meant.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use footage::clock::Reading;
use footage::fragment::Fragmenter;
use footage::keys::DomainKey;
use footage::media::{AccessUnit, AudioParams, Fragment, Params, Track, VideoCodec, VideoParams};
use footage::pack::reader::{init_segment, scan, verify_pack};
use footage::pack::writer::PackWriter;
use footage::pack::{PackHeader, PackTable, Stamp};
use footage::units::{PackId, RunId, TICKS_PER_SECOND, Ticks90k, WallTime};
use mp4_atom::{Any, Decode, Moov, StszSamples, Trak};

/// Real surveillance footage, from Debian's `opencv-doc`: 768×576, 10 images a second.
const FOOTAGE: &str = "/usr/share/doc/opencv-doc/examples/data/vtest.avi";
const PICTURES: usize = 72;
const START: WallTime = WallTime(1_772_000_000 * TICKS_PER_SECOND);

fn key() -> DomainKey {
    DomainKey::for_tenant(&[1; 32], &"town".parse().expect("a name"))
}

/// Runs a tool of ffmpeg's, which must succeed and warn of nothing; gives what it printed.
fn run(tool: &str, args: &[&str]) -> String {
    let output = Command::new(tool).args(["-v", "warning"]).args(args).output().expect("ffmpeg (see .ci/setup)");
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warnings.is_empty(), "{tool} {args:?}: {}: {warnings}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path")
}

/// What ffmpeg encoded: an MP4 file, and its samples as a camera would send them.
struct Source {
    path: PathBuf,
    params: Arc<Params>,
    access_units: Vec<AccessUnit>,
}

struct TrackSamples {
    sample_entry: Bytes,
    /// Data, presentation time, whether it is a random access point; in decode order.
    samples: Vec<(Bytes, i64, bool)>,
}

fn encode(dir: &Path, coder: &str, b_frames: usize, sound: bool) -> Source {
    let path = dir.join("source.mp4");
    let (b_frames, tag) = (b_frames.to_string(), if coder == "libx264" { "avc1" } else { "hvc1" });
    let pictures = PICTURES.to_string();
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i", FOOTAGE]);
    if sound {
        command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=16000:duration=7.2"]);
        command.args(["-map", "0:v", "-map", "1:a", "-c:a", "aac"]);
    }
    command.args(["-frames:v", &pictures, "-c:v", coder, "-preset", "ultrafast", "-g", "25", "-bf", &b_frames]);
    command.args(["-pix_fmt", "yuv420p", "-x265-params", "log-level=none:info=0", "-tag:v", tag]);
    let status = command.args(["-video_track_timescale", "90000"]).arg(&path).status();
    assert!(status.expect("ffmpeg (see .ci/setup)").success(), "{command:?}");

    let file = std::fs::read(&path).expect("the film");
    let moov = moov_of(&file);
    let video = track(&file, &moov.trak[0], 0);
    let codec = if coder == "libx264" { VideoCodec::H264 } else { VideoCodec::H265 };
    let audio = moov.trak.get(1).map(|trak| (trak.mdia.mdhd.timescale, track(&file, trak, 1)));
    let params = Arc::new(Params {
        video: VideoParams {
            codec,
            width: 768,
            height: 576,
            sample_entry: video.sample_entry,
            rfc6381: tag.to_owned(),
        },
        audio: audio.as_ref().map(|(clock_rate, track)| AudioParams {
            clock_rate: *clock_rate,
            sample_entry: track.sample_entry.clone(),
            rfc6381: Some("mp4a.40.2".to_owned()),
        }),
    });
    let rate = TICKS_PER_SECOND as u32;
    let mut access_units = sent(Track::Video, rate, video.samples);
    access_units.extend(audio.map(|(rate, track)| sent(Track::Audio, rate, track.samples)).unwrap_or_default());
    // Stable: each track stays in its own order.
    access_units.sort_by_key(|au| au.received.mono);
    Source { path, params, access_units }
}

/// Access units in decode order, each received when the one that it is in order with would be shown.
fn sent(track: Track, rate: u32, samples: Vec<(Bytes, i64, bool)>) -> Vec<AccessUnit> {
    let mut latest = Duration::ZERO;
    samples
        .into_iter()
        .map(|(data, timestamp, random_access)| {
            let shown = Duration::from_secs_f64(timestamp.max(0) as f64 / f64::from(rate));
            latest = latest.max(shown);
            let received = Reading { wall: START.saturating_add(Ticks90k::from_duration(latest)), mono: latest };
            AccessUnit { track, timestamp, data, random_access, lost_packets: 0, received, new_params: None }
        })
        .collect()
}

fn moov_of(file: &[u8]) -> Moov {
    let moov = boxes(file).into_iter().find(|(kind, _)| kind == b"moov").expect("a moov").1;
    Moov::decode(&mut Cursor::new(moov)).expect("a moov that another reader understands")
}

/// The boxes that lie one after the other here.
fn boxes(mut bytes: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut found = Vec::new();
    while let Some((size, rest)) = bytes.split_first_chunk::<4>() {
        let (one, next) = bytes.split_at(u32::from_be_bytes(*size) as usize);
        found.push((*rest.first_chunk().expect("a kind"), one));
        bytes = next;
    }
    found
}

/// The samples of a plain MP4's track. The sample entry is taken as it lies in the file.
fn track(file: &[u8], trak: &Trak, index: usize) -> TrackSamples {
    let stsd = file.windows(4).enumerate().filter(|(_, w)| w == b"stsd").nth(index).expect("an stsd").0;
    let size = u32::from_be_bytes(file[stsd + 12..stsd + 16].try_into().expect("four bytes")) as usize;
    let sample_entry = Bytes::copy_from_slice(&file[stsd + 12..stsd + 12 + size]);

    let stbl = &trak.mdia.minf.stbl;
    let sizes: Vec<u32> = match &stbl.stsz.samples {
        StszSamples::Identical { count, size } => vec![*size; *count as usize],
        StszSamples::Different { sizes } => sizes.clone(),
    };
    let deltas = stbl.stts.entries.iter().flat_map(|e| std::iter::repeat_n(e.sample_delta, e.sample_count as usize));
    let offsets: Vec<i64> = stbl
        .ctts
        .iter()
        .flat_map(|c| &c.entries)
        .flat_map(|e| std::iter::repeat_n(e.sample_offset, e.sample_count as usize))
        .collect();
    let chunks = &stbl.stco.as_ref().expect("a small file").entries;
    let mut samples = Vec::with_capacity(sizes.len());
    let (mut deltas, mut decode) = (deltas, 0);
    let mut runs = stbl.stsc.entries.iter().peekable();
    let mut per_chunk = 0;
    for (number, chunk) in (1..).zip(chunks) {
        if let Some(run) = runs.next_if(|run| run.first_chunk == number) {
            per_chunk = run.samples_per_chunk;
        }
        let mut at = *chunk as usize;
        for _ in 0..per_chunk {
            let n = samples.len();
            let sync = stbl.stss.as_ref().is_none_or(|stss| stss.entries.contains(&(n as u32 + 1)));
            let end = at + sizes[n] as usize;
            let pts = decode + offsets.get(n).copied().unwrap_or(0);
            samples.push((Bytes::copy_from_slice(&file[at..end]), pts, sync));
            decode += i64::from(deltas.next().expect("a duration a sample"));
            at = end;
        }
    }
    assert_eq!(samples.len(), sizes.len());
    TrackSamples { sample_entry, samples }
}

fn fragments(source: &Source) -> Vec<Fragment> {
    let mut cutter = Fragmenter::new(source.params.clone());
    let mut fragments = Vec::new();
    for au in source.access_units.clone() {
        fragments.extend(cutter.push(au));
    }
    fragments.extend(cutter.finish());
    fragments
}

fn write_pack(path: &Path, source: &Source) -> PackTable {
    let header = PackHeader {
        pack: PackId([3; 16]),
        camera: "town/hall".parse().expect("a camera key"),
        run: RunId([4; 16]),
        params: source.params.clone(),
        hold: None,
    };
    let mut writer = PackWriter::create(path, header, key()).expect("a pack");
    for fragment in fragments(source) {
        let stamp = Stamp {
            wall_start: START.saturating_add(fragment.decode_time),
            wall_duration: fragment.duration,
            camera_time: None,
            gaps: Vec::new(),
        };
        writer.append(&fragment, stamp).expect("a fragment");
    }
    writer.finish().expect("a fragment table").0
}

/// Presentation time from the first picture on, in 1/90000 s, and hash of each decoded picture.
fn pictures(path: &Path) -> Vec<(i64, String)> {
    let args =
        ["-i", text(path), "-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "-1", "-f", "framemd5", "-"];
    let lines = hashes(&run("ffmpeg", &args));
    let first = lines.first().map_or(0, |(pts, _)| *pts);
    lines.into_iter().map(|(pts, hash)| (pts - first, hash)).collect()
}

/// Hash of each sample of a track as it was coded, in file order.
fn packets(path: &Path, track: &str) -> Vec<String> {
    let args = ["-i", text(path), "-map", track, "-c", "copy", "-f", "framemd5", "-"];
    hashes(&run("ffmpeg", &args)).into_iter().map(|(_, hash)| hash).collect()
}

fn hashes(framemd5: &str) -> Vec<(i64, String)> {
    let lines = framemd5.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            (fields[2].parse().expect("a time"), fields[5].to_owned())
        })
        .collect()
}

/// Which packets ffprobe takes for random access points.
fn keys(path: &Path) -> Vec<bool> {
    let shown = ["-select_streams", "v", "-show_entries", "packet=flags", "-of", "csv=p=0", text(path)];
    run("ffprobe", &shown).lines().map(|flags| flags.starts_with('K')).collect()
}

/// Whatever a strict reader may find wrong with the boxes.
fn check_boxes(pack: &[u8], table: &PackTable) {
    let kinds: Vec<[u8; 4]> = boxes(pack).into_iter().map(|(kind, _)| kind).collect();
    let mut expect = vec![*b"ftyp", *b"moov", *b"uuid"];
    table.fragments.iter().for_each(|_| expect.extend([*b"uuid", *b"prft", *b"moof", *b"mdat"]));
    expect.push(*b"uuid");
    assert_eq!(kinds, expect);
    assert!(pack.starts_with(&init_segment(&table.header.params)));

    let mut input = Cursor::new(pack);
    let mut entries = table.fragments.iter();
    let mut entry = None;
    while (input.position() as usize) < pack.len() {
        let start = input.position();
        match Any::decode(&mut input).expect("a box that another reader understands") {
            Any::Prft(prft) => {
                entry = entries.next();
                let stamp = &entry.expect("a fragment").stamp;
                assert_eq!(WallTime::from_ntp(prft.ntp_timestamp), stamp.wall_start);
            }
            Any::Moof(moof) => {
                let entry = entry.expect("a prft before");
                let [video, audio @ ..] = &moof.traf[..] else { panic!("no video track") };
                let tfdt = video.tfdt.as_ref().expect("a decode time");
                assert_eq!(tfdt.base_media_decode_time as i64, entry.decode_time.0);
                let offset = video.trun[0].data_offset.expect("an offset") as u64;
                assert_eq!(start + offset, entry.data_offset());
                let heard = audio.iter().map(|traf| traf.tfdt.as_ref().expect("a time").base_media_decode_time as i64);
                let expect = (!entry.audio.is_empty()).then_some(entry.audio_decode_time);
                assert_eq!(heard.collect::<Vec<_>>(), Vec::from_iter(expect));
            }
            _ => {}
        }
    }
    assert!(entries.next().is_none());
}

fn check_plays(coder: &str, b_frames: usize, sound: bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let source = encode(dir.path(), coder, b_frames, sound);
    let path = dir.path().join("pack.mp4");
    let table = write_pack(&path, &source);
    assert!(table.fragments.len() >= 7, "{} fragments", table.fragments.len());
    let whole = std::fs::read(&path).expect("the pack");
    check_boxes(&whole, &table);
    assert_eq!(verify_pack(&path, &key()).expect("a whole pack"), table);

    let shown = pictures(&source.path);
    assert_eq!(shown.len(), PICTURES);
    assert_eq!(pictures(&path), shown);
    let coded = packets(&source.path, "0:v");
    assert_eq!(packets(&path, "0:v"), coded);
    let video: Vec<&AccessUnit> = source.access_units.iter().filter(|au| au.track == Track::Video).collect();
    assert_eq!(keys(&path), video.iter().map(|au| au.random_access).collect::<Vec<_>>());
    if sound {
        let heard = packets(&source.path, "0:a");
        assert!(heard.len() > 100, "{} frames of sound", heard.len());
        assert_eq!(packets(&path, "0:a"), heard);
    }

    // Torn at the end of any fragment, it plays up to there.
    let by_time: BTreeMap<i64, String> = shown.into_iter().collect();
    let mut samples = 0;
    for entry in &table.fragments {
        samples += entry.video.len();
        std::fs::write(&path, &whole[..entry.end() as usize]).expect("a torn pack");
        assert_eq!(packets(&path, "0:v"), coded[..samples]);
        let torn = pictures(&path);
        assert_eq!(torn.len(), samples);
        for (time, hash) in torn {
            assert_eq!(by_time.get(&time), Some(&hash), "at {time}");
        }
    }

    // Torn anywhere, it is cut back, finished, and plays.
    let cut = (table.fragments[4].data_offset() + 1) as usize;
    std::fs::write(&path, &whole[..cut]).expect("a torn pack");
    let found = scan(&path, &key()).expect("a readable file");
    let (mended, _) = PackWriter::resume(&path, found, key()).and_then(PackWriter::finish).expect("a mended pack");
    assert_eq!(mended.fragments, table.fragments[..4]);
    let samples = mended.fragments.iter().map(|f| f.video.len()).sum();
    assert_eq!(packets(&path, "0:v"), coded[..samples]);
}

#[test]
fn h264_plays_as_it_lies() {
    check_plays("libx264", 0, false);
}

#[test]
fn h264_with_reordered_pictures_plays_as_it_lies() {
    check_plays("libx264", 2, false);
}

#[test]
fn h265_plays_as_it_lies() {
    check_plays("libx265", 0, false);
}

#[test]
fn h265_with_reordered_pictures_plays_as_it_lies() {
    check_plays("libx265", 2, false);
}

#[test]
fn h264_with_sound_plays_as_it_lies() {
    check_plays("libx264", 0, true);
}

/// VLC plays the file and hands on what it reads, without decoding, as a transport stream.
fn through_vlc(dir: &Path, pack: &Path) -> PathBuf {
    let out = dir.join("vlc.ts");
    // VLC refuses to run as root, and what it runs as must reach the files.
    let root = run_quietly(Command::new("id").arg("-u")).trim() == "0";
    run_quietly(Command::new("chmod").args(["-R", "a+rwX"]).arg(dir));
    let mut command = if root { Command::new("setpriv") } else { Command::new("cvlc") };
    if root {
        command.args(["--reuid=65534", "--clear-groups", "cvlc"]);
    }
    let sout = format!("#std{{access=file,mux=ts,dst={}}}", text(&out));
    command.args(["-I", "dummy", "--play-and-exit", "--no-sout-audio", "--sout", &sout]).arg(pack);
    run_quietly(command.env("HOME", dir));
    out
}

fn run_quietly(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e} (see .ci/setup)"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn vlc_reads_the_pictures_of_a_pack_as_it_lies() {
    for coder in ["libx264", "libx265"] {
        let dir = tempfile::tempdir().expect("a directory");
        let source = encode(dir.path(), coder, 0, false);
        let path = dir.path().join("pack.mp4");
        write_pack(&path, &source);
        let shown: Vec<String> = pictures(&source.path).into_iter().map(|(_, hash)| hash).collect();
        let seen: Vec<String> = pictures(&through_vlc(dir.path(), &path)).into_iter().map(|(_, hash)| hash).collect();
        // Its muxer holds the last pictures back, and leaves without them.
        assert!(seen.len() + 4 >= shown.len(), "{coder}: {} pictures of {}", seen.len(), shown.len());
        assert_eq!(seen, shown[..seen.len()], "{coder}");
    }
}
