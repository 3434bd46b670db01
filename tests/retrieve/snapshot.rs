use std::path::Path;

use vigie::retrieve::RetrieveError;
use vigie::retrieve::snapshot::snapshot;

use super::real::{encode, run_despite};
use super::rig::{Rig, at};

/// Peak signal-to-noise ratio of a JPEG against a picture of the source, in dB.
fn psnr(jpeg: &Path, source: &Path, picture: i64) -> f64 {
    let text = |p: &Path| p.to_str().expect("temporary folders have plain names").to_owned();
    let stats = jpeg.with_extension("psnr");
    let graph = format!(
        "[1:v]select=eq(n\\,{picture}),setpts=0,format=yuvj420p[s];[0:v]setpts=0,format=yuvj420p[j];[j][s]psnr=f={}",
        text(&stats)
    );
    // Time bases and colour ranges differ between a JPEG and a film, which ffmpeg remarks on.
    let remarks = ["not matching timebases", "deprecated pixel format"];
    run_despite(
        "ffmpeg",
        &["-i", &text(jpeg), "-i", &text(source), "-lavfi", &graph, "-frames:v", "1", "-f", "null", "-"],
        &remarks,
    );
    let line = std::fs::read_to_string(stats).expect("written just now");
    let value = line.split_whitespace().find_map(|f| f.strip_prefix("psnr_avg:")).expect("an average");
    value.parse().unwrap_or(f64::INFINITY)
}

async fn check(options: &str) {
    let mut rig = Rig::new().await;
    let real = encode(options);
    rig.record(at(0), &real.fragments).await;
    rig.settle().await;
    for (ms, picture) in [(0, 0), (39, 0), (3_500, 87), (5_960, 149)] {
        let shot = snapshot(&rig.footage, &rig.camera, at(ms)).await.expect("a picture");
        assert_eq!(shot.at, at(picture * 40));
        let file = rig.dir.path().join(format!("{ms}.jpg"));
        std::fs::write(&file, &shot.jpeg).expect("room on the disk");
        let right = psnr(&file, &real.file, picture);
        assert!(right > 30.0, "{ms}: {right} dB");
        // Pedestrians move: another picture is further away.
        let wrong = psnr(&file, &real.file, picture + 10);
        assert!(right > wrong + 1.0, "{ms}: {right} dB, and {wrong} dB ten pictures on");
    }
    let none = snapshot(&rig.footage, &rig.camera, at(3_600_000)).await.expect_err("nothing then");
    assert!(matches!(none, RetrieveError::NoFootage { .. }), "{none}");
}

#[tokio::test]
async fn a_snapshot_of_h264_is_the_picture_shown_then() {
    check("-map 0:v -t 7 -c:v libx264 -g 50 -bf 2 -preset veryfast").await;
}

#[tokio::test]
async fn a_snapshot_of_h265_is_the_picture_shown_then() {
    check("-map 0:v -t 7 -c:v libx265 -g 50 -preset veryfast -tag:v hvc1 -x265-params log-level=error").await;
}

#[tokio::test]
async fn snapshots_asked_together_all_come() {
    let mut rig = Rig::new().await;
    let real = encode("-map 0:v -t 2 -c:v libx264 -preset veryfast");
    rig.record(at(0), &real.fragments).await;
    rig.settle().await;
    let shots = (0..6).map(|n| snapshot(&rig.footage, &rig.camera, at(n * 200)));
    for shot in futures::future::join_all(shots).await {
        assert!(shot.expect("a picture").jpeg.starts_with(&[0xFF, 0xD8]));
    }
}
