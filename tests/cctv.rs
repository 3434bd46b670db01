//! Real surveillance footage, served by GStreamer over RTSP, recorded by a gateway and handed back: each picture is the
//! one that was sent.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use footage::media::GapCause;
use footage::units::{CameraKey, TimeRange, WallTime};
use futures::TryStreamExt;
use vigie::archive::PackRef;
use vigie::config::{CameraConfig, Transport};
use vigie::demo;
use vigie::gateway::Gateway;
use vigie::retrieve::mp4::Clip;

/// Pedestrians, 795 pictures: Debian's package `opencv-doc`.
const FOOTAGE: &str = "/usr/share/doc/opencv-doc/examples/data/vtest.avi";
const SECONDS: u32 = 8;
const PICTURES: usize = SECONDS as usize * 25;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // One that is gone already is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e} (see .ci/setup)"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn film(coder: &str, size: &str, to: &Path) {
    let coding = ["-preset", "ultrafast", "-g", "50", "-bf", "0", "-pix_fmt", "yuv420p", "-s", size];
    run(Command::new("ffmpeg")
        .args(["-v", "error", "-r", "25", "-i", FOOTAGE, "-t", &SECONDS.to_string(), "-an", "-c:v", coder])
        .args(coding)
        .args(["-x265-params", "log-level=error"])
        .arg(to));
}

/// The digest of each decoded picture.
fn pictures(file: &Path) -> Vec<String> {
    let lines =
        run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(file).args(["-map", "0:v", "-f", "framemd5", "-"]));
    lines.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

async fn first_span(gateway: &Gateway, key: &CameraKey) -> TimeRange {
    let all = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let ended = async {
        loop {
            tick.tick().await;
            let gaps = gateway.footage().index.gaps(key, all).await.unwrap();
            let spans = gateway.footage().index.spans(key, all).await.unwrap();
            // The gap is written at once, the last fragment before it with the next flush.
            if let (Some(gap), Some(&span)) = (gaps.first(), spans.first())
                && span.end() == gap.start
            {
                return span;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the film ends and makes a gap")
}

/// GStreamer's server with these films, each a path, its codings and its file.
fn serve(films: &[(&str, &str, &Path)]) -> (Server, String) {
    let mut process = Command::new("/usr/bin/python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/source/gst_files.py"))
        .args(films.iter().map(|(path, codings, file)| format!("{path}={codings}={}", file.display())))
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 with gi and gst-rtsp-server (see .ci/setup)");
    let mut port = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
    (Server(process), port.trim().to_owned())
}

fn key(id: &str) -> CameraKey {
    format!("demo/{id}").parse().unwrap()
}

fn camera(port: &str, id: &str, path: &str) -> CameraConfig {
    let url = format!("rtsp://127.0.0.1:{port}/{path}").parse().unwrap();
    let mut camera = demo::camera(id.parse().unwrap(), id, url);
    (camera.username, camera.password) = (Some("viewer".to_owned()), Some("a pass: word".into()));
    camera.silence_max = Duration::from_secs(2);
    camera
}

/// The whole of a camera's first stretch of footage, as a file.
async fn handed_back(gateway: &Gateway, id: &str, to: &Path) {
    let span = first_span(gateway, &key(id)).await;
    let clip = Clip::new(gateway.footage(), &key(id), span).await.unwrap();
    let mut file = std::fs::File::create(to).unwrap();
    let mut body = clip.body(0..clip.len());
    while let Some(bytes) = body.try_next().await.unwrap() {
        file.write_all(&bytes).unwrap();
    }
    assert_eq!(std::fs::metadata(to).unwrap().len(), clip.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_picture_of_real_footage_is_handed_back_as_it_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let films = [("h264", "libx264"), ("h265", "libx265")];
    let path = |id: &str| dir.path().join(format!("{id}.mp4"));
    films.iter().for_each(|(id, coder)| film(coder, "768x576", &path(id)));
    let (_server, port) = serve(&[("h264", "h264", &path("h264")), ("h265", "h265", &path("h265"))]);

    let cameras = films.iter().map(|(id, _)| camera(&port, id, id)).collect();
    let config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), &dir.path().join("data"), cameras).unwrap();
    let gateway = Gateway::start(&config).await.unwrap();
    for (id, _) in films {
        let back = dir.path().join(format!("{id}-back.mp4"));
        handed_back(&gateway, id, &back).await;
        let sent = pictures(&path(id));
        assert_eq!(sent.len(), PICTURES);
        assert_eq!(pictures(&back), sent, "{id}: the pictures differ");
    }
    gateway.stop().await;
}

/// The film of `video`, copied, with a rising tone.
fn with_sound(video: &Path, coder: &[&str], to: &Path) {
    let tone = format!("aevalsrc=0.5*sin(200*t*t):s=16000:d={SECONDS}");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i"]).arg(video).args(["-f", "lavfi", "-i", &tone]);
    run(command.args(["-map", "0:v", "-map", "1:a", "-c:v", "copy"]).args(coder).arg(to));
}

/// How many tracks of sound a file has.
fn tracks_of_sound(file: &Path) -> usize {
    let args = ["-v", "error", "-select_streams", "a", "-show_entries", "stream=index", "-of", "csv"];
    run(Command::new("ffprobe").args(args).arg(file)).lines().count()
}

/// The digest of each packet of sound, as coded.
fn packets_of_sound(file: &Path) -> Vec<String> {
    let args = ["-map", "0:a", "-c", "copy", "-f", "framemd5", "-"];
    let lines = run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(file).args(args));
    lines.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// All sound of a file as coded, without its packets' bounds.
fn bytes_of_sound(file: &Path, muxer: &str) -> Vec<u8> {
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-map", "0:a", "-c", "copy", "-f", muxer, "-"])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// `part` lies in `whole` in one piece, and little of it is missing.
fn check_nearly_all<T: PartialEq>(case: &str, part: &[T], whole: &[T]) {
    assert!(whole.windows(part.len()).any(|w| w == part), "{case}: other sound than was sent");
    assert!(part.len() * 10 >= whole.len() * 9, "{case}: {} of {}", part.len(), whole.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_is_recorded_as_sent_where_its_legal_basis_is_stated_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // Small: over UDP, nothing holds back a server that sends a large picture at once.
    film("libx264", "384x288", &path("silent.mp4"));
    with_sound(&path("silent.mp4"), &["-c:a", "aac", "-b:a", "64k"], &path("aac.mp4"));
    with_sound(&path("silent.mp4"), &["-c:a", "pcm_alaw", "-ar", "8000"], &path("alaw.mov"));
    let (_server, port) = serve(&[("aac", "h264+aac", &path("aac.mp4")), ("alaw", "h264+alaw", &path("alaw.mov"))]);

    let with_basis = |id: &str, path: &str, transport: Transport| {
        let mut camera = camera(&port, id, path);
        (camera.transport, camera.audio_legal_basis) = (transport, Some("arrêté préfectoral 2026-123".to_owned()));
        camera
    };
    let cameras = vec![
        with_basis("aac", "aac", Transport::Tcp),
        with_basis("aac-udp", "aac", Transport::Udp),
        with_basis("alaw", "alaw", Transport::Tcp),
        camera(&port, "without", "aac"),
    ];
    let config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), &path("data"), cameras).unwrap();
    let gateway = Gateway::start(&config).await.unwrap();
    let sent = pictures(&path("silent.mp4"));
    for id in ["aac", "aac-udp", "alaw", "without"] {
        let back = path(&format!("{id}-back.mp4"));
        handed_back(&gateway, id, &back).await;
        assert_eq!(pictures(&back), sent, "{id}: the pictures differ");
        match id {
            "without" => assert_eq!(tracks_of_sound(&back), 0),
            "alaw" => {
                let original = bytes_of_sound(&path("alaw.mov"), "alaw");
                check_nearly_all(id, &bytes_of_sound(&back, "alaw"), &original);
            }
            _ => check_nearly_all(id, &packets_of_sound(&back), &packets_of_sound(&path("aac.mp4"))),
        }
    }
    let all = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap();
    for row in gateway.footage().index.segments(&key("without"), all).await.unwrap() {
        let pack = PackRef { id: row.pack, camera: key("without"), state: row.state };
        let table = gateway.footage().packs.table(&pack).await.unwrap();
        assert!(table.header.params.audio.is_none());
        assert!(table.fragments.iter().all(|fragment| fragment.audio.is_empty()));
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_a_gap_that_says_so_and_costs_the_other_cameras_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("film.mp4");
    film("libx264", "384x288", &file);
    let (_server, port) = serve(&[("h264", "h264", &file)]);
    let mut locked = camera(&port, "locked", "h264");
    locked.password = Some("not the password".into());
    let cameras = vec![locked, camera(&port, "open", "h264")];
    let config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), &dir.path().join("data"), cameras).unwrap();
    let gateway = Gateway::start(&config).await.unwrap();

    let back = dir.path().join("back.mp4");
    handed_back(&gateway, "open", &back).await;
    assert_eq!(pictures(&back), pictures(&file));
    let all = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap();
    let index = &gateway.footage().index;
    let gaps = index.gaps(&key("locked"), all).await.unwrap();
    assert_eq!(gaps.iter().map(|gap| (gap.cause, gap.end)).collect::<Vec<_>>(), [(GapCause::Unauthorized, None)]);
    let events = index.events(&key("locked").tenant, None, 0, 100).await.unwrap();
    let reported: Vec<_> = events.iter().filter(|e| e.event.scope.camera() == Some(&key("locked"))).collect();
    assert_eq!(reported.iter().map(|e| e.kind()).collect::<Vec<_>>(), ["connection_lost"], "once, not at each try");
    assert!(reported.iter().all(|e| !e.event.encode().contains("not the password")));
    gateway.stop().await;
}
