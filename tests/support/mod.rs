//! What several tests use: real footage, ffmpeg's opinion of a film, GStreamer's RTSP server.

#![allow(dead_code, reason = "each test uses its part of it")]

use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use url::Url;

/// Real surveillance footage, a pedestrian scene, from Debian's package `opencv-doc`: 768×576.
const FOOTAGE: &str = "/usr/share/doc/opencv-doc/examples/data/vtest.avi";

/// Video coding of a film.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    H265,
}

impl Codec {
    fn extension(self) -> &'static str {
        match self {
            Codec::H264 => "h264",
            Codec::H265 => "h265",
        }
    }
}

/// Runs a command to its end. Fails with the name of the Debian package if it is not there.
pub(crate) fn run(command: &mut Command, package: &str) -> Output {
    let output = match command.stdin(Stdio::null()).output() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            panic!("{:?} is missing: apt-get install {package}", command.get_program())
        }
        output => output.unwrap_or_else(|e| panic!("{command:?}: {e}")),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    output
}

/// A film of so many pictures of real footage as a byte stream (Annex B): 25 pictures a second, a random access point
/// every 2 s, no reordering. Made once; the next call finds it.
pub(crate) fn footage(codec: Codec, pictures: usize) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let film = folder.join(format!("footage-{pictures}.{}", codec.extension()));
    if film.exists() {
        return film;
    }
    assert!(Path::new(FOOTAGE).exists(), "{FOOTAGE} is missing: apt-get install opencv-doc");
    // Tests that make the same film at the same time each make their own; the last name given stays.
    let draft = tempfile::Builder::new().prefix("footage").tempdir_in(folder).expect("a folder for drafts");
    let made = draft.path().join("film");
    let (coder, muxer) = match codec {
        Codec::H264 => ("libx264", "h264"),
        Codec::H265 => ("libx265", "hevc"),
    };
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-r", "25", "-i", FOOTAGE, "-an", "-frames:v", &pictures.to_string()]);
    command.args(["-c:v", coder, "-preset", "ultrafast", "-g", "50", "-bf", "0", "-pix_fmt", "yuv420p"]);
    command.args(["-b:v", "2M", "-x265-params", "log-level=error:info=0", "-f", muxer]);
    run(command.arg(&made), "ffmpeg");
    std::fs::rename(&made, &film).expect("a film can be given its name");
    film
}

/// MD5 of each decoded picture of a film, in order.
pub(crate) fn framemd5(film: &Path) -> Vec<String> {
    let mut command = Command::new("ffmpeg");
    decoded_md5(command.args(["-v", "error", "-i"]).arg(film))
}

/// MD5 of the first decoded pictures that a camera sends.
pub(crate) fn framemd5_of_camera(url: &Url, transport: &str, pictures: usize) -> Vec<String> {
    let mut command = Command::new("ffmpeg");
    // Microseconds.
    command.args(["-v", "error", "-timeout", "20000000", "-rtsp_transport", transport, "-i", url.as_str()]);
    decoded_md5(command.args(["-frames:v", &pictures.to_string()]))
}

fn decoded_md5(command: &mut Command) -> Vec<String> {
    // Each picture as it comes, none doubled or left out to keep a rate.
    let output = run(command.args(["-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-"]), "ffmpeg");
    let text = String::from_utf8(output.stdout).expect("ffmpeg writes text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(',')?.1.trim().to_owned())).collect()
}

/// What ffprobe says of a film: its format and its streams.
pub(crate) fn ffprobe_json(film: &Path) -> serde_json::Value {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_format", "-show_streams", "-count_packets", "-of", "json"]);
    serde_json::from_slice(&run(command.arg(film), "ffmpeg").stdout).expect("ffprobe writes JSON")
}

/// GStreamer's RTSP server with some films; killed when dropped.
#[derive(Debug)]
pub(crate) struct GstRtspServer {
    process: Child,
    port: u16,
}

impl GstRtspServer {
    /// Serves each film under its path.
    pub(crate) fn start(films: &[(&str, &Path)]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/gst_rtsp_server.py");
        let arguments = films.iter().map(|(path, film)| format!("{path}={}", film.display()));
        // Debian's own interpreter: its packages do not install into others.
        let mut command = Command::new("/usr/bin/python3");
        let command = command.arg(script).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let process = command.spawn().expect("apt-get install python3-gi");
        let mut server = Self { process, port: 0 };
        let mut line = String::new();
        let output = server.process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("its output can be read");
        let needs = "apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base \
                     gstreamer1.0-plugins-good gstreamer1.0-plugins-bad";
        server.port = line.trim().parse().unwrap_or_else(|_| panic!("it did not say its port: {needs}"));
        server
    }

    /// A film's address.
    pub(crate) fn url(&self, path: &str) -> Url {
        format!("rtsp://127.0.0.1:{}/{path}", self.port).parse().expect("an address and a plain name make a URL")
    }
}

impl Drop for GstRtspServer {
    fn drop(&mut self) {
        // One that ended by itself needs no killing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
