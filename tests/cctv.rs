//! Real surveillance footage, served by GStreamer over RTSP, recorded by a gateway and handed back: each picture is the
//! one that was sent.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::TryStreamExt;
use vigie::config::Transport;
use vigie::demo;
use vigie::gateway::Gateway;
use vigie::retrieve::mp4::Clip;
use vigie::units::{CameraKey, TimeRange, WallTime};

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

fn film(coder: &str, to: &Path) {
    run(Command::new("ffmpeg")
        .args(["-v", "error", "-r", "25", "-i", FOOTAGE, "-t", &SECONDS.to_string(), "-an", "-c:v", coder])
        .args([
            "-preset",
            "ultrafast",
            "-g",
            "50",
            "-bf",
            "0",
            "-pix_fmt",
            "yuv420p",
            "-x265-params",
            "log-level=error",
        ])
        .arg(to));
}

/// The digest of each decoded picture.
fn pictures(file: &Path) -> Vec<String> {
    let lines = run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(file).args(["-f", "framemd5", "-"]));
    lines.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

async fn first_span(gateway: &Gateway, key: &CameraKey) -> TimeRange {
    let all = TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let ended = async {
        loop {
            tick.tick().await;
            let gaps = gateway.footage().index.gaps(key, all).await.unwrap();
            if !gaps.is_empty() {
                return gateway.footage().index.spans(key, all).await.unwrap()[0];
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the film ends and makes a gap")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_picture_of_real_footage_is_handed_back_as_it_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let films = [("h264", "libx264", Transport::Tcp), ("h265", "libx265", Transport::Tcp)];
    let path = |id: &str| dir.path().join(format!("{id}.mp4"));
    films.iter().for_each(|(id, coder, _)| film(coder, &path(id)));
    let mut server = Command::new("/usr/bin/python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/source/gst_files.py"))
        .args([path("h264"), path("h265")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 with gi and gst-rtsp-server (see .ci/setup)");
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let _server = Server(server);

    let cameras = films.iter().map(|(id, _, transport)| {
        let url = format!("rtsp://127.0.0.1:{}/{id}", port.trim()).parse().unwrap();
        let mut camera = demo::camera(id.parse().unwrap(), id, url);
        (camera.username, camera.password) = (Some("viewer".to_owned()), Some("a pass: word".into()));
        (camera.transport, camera.silence_max) = (*transport, Duration::from_secs(2));
        camera
    });
    let data = dir.path().join("data");
    let config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), &data, cameras.collect()).unwrap();
    let gateway = Gateway::start(&config).await.unwrap();
    for (id, ..) in films {
        let key: CameraKey = format!("demo/{id}").parse().unwrap();
        let span = first_span(&gateway, &key).await;
        let clip = Clip::new(gateway.footage(), &key, span).await.unwrap();
        let handed_back = dir.path().join(format!("{id}-back.mp4"));
        let mut file = std::fs::File::create(&handed_back).unwrap();
        let mut body = clip.body(0..clip.len());
        while let Some(bytes) = body.try_next().await.unwrap() {
            file.write_all(&bytes).unwrap();
        }
        assert_eq!(std::fs::metadata(&handed_back).unwrap().len(), clip.len());
        let sent = pictures(&path(id));
        assert_eq!(sent.len(), PICTURES);
        assert_eq!(pictures(&handed_back), sent, "{id}: the pictures differ");
    }
    gateway.stop().await;
}
