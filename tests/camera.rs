//! The simulated camera in another's player: ffmpeg, over both transports, decodes the very pictures of the film.

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;

use support::{Codec, GstRtspServer, ffprobe_json, footage, framemd5, framemd5_of_camera};
use testkit::camera::{self, ElementaryStream, Server, SimulatedCamera};

/// More than two random access points; and the film begins again.
const PICTURES: usize = 75;
const PLAYED: usize = 90;

fn film(codec: Codec) -> Arc<ElementaryStream> {
    let bytes = std::fs::read(footage(codec, PICTURES)).expect("the film");
    let codec = match codec {
        Codec::H264 => camera::Codec::H264,
        Codec::H265 => camera::Codec::H265,
    };
    Arc::new(ElementaryStream::parse(&bytes, codec, 25).expect("a film that can be looped"))
}

async fn serve(cameras: Vec<SimulatedCamera>) -> Server {
    Server::start((Ipv4Addr::LOCALHOST, 0).into(), cameras).await.expect("a free port")
}

/// ffmpeg's view of a camera, while the camera goes on.
async fn play(url: url::Url, transport: &'static str, pictures: usize) -> Vec<String> {
    tokio::task::spawn_blocking(move || framemd5_of_camera(&url, transport, pictures)).await.expect("ffmpeg plays it")
}

/// The film, over and over.
fn looped(codec: Codec) -> Vec<String> {
    let once = framemd5(&footage(codec, PICTURES));
    assert_eq!(once.len(), PICTURES);
    once.into_iter().cycle().take(PLAYED).collect()
}

async fn check_played(codec: Codec) {
    let expect = looped(codec);
    let server = serve(vec![SimulatedCamera::new("street/1", film(codec))]).await;
    let url = server.url("street/1");
    let (over_tcp, over_udp) = tokio::join!(play(url.clone(), "tcp", PLAYED), play(url, "udp", PLAYED));
    assert_eq!(over_tcp, expect, "{codec:?} over TCP");
    assert_eq!(over_udp, expect, "{codec:?} over UDP");
    assert_eq!(server.camera("street/1").map(|camera| camera.sessions()), Some(2));
}

#[tokio::test]
async fn ffmpeg_decodes_the_pictures_of_an_h264_camera() {
    check_played(Codec::H264).await;
}

#[tokio::test]
async fn ffmpeg_decodes_the_pictures_of_an_h265_camera() {
    check_played(Codec::H265).await;
}

#[tokio::test]
async fn unique_marks_change_no_picture() {
    for codec in [Codec::H264, Codec::H265] {
        let camera = SimulatedCamera { unique: true, log: true, ..SimulatedCamera::new("marked", film(codec)) };
        let server = serve(vec![camera]).await;
        let expect = framemd5(&footage(codec, PICTURES));
        assert_eq!(play(server.url("marked"), "tcp", PICTURES).await, expect, "{codec:?}");
        let sent = server.camera("marked").expect("the camera").sent();
        let hashes: std::collections::HashSet<_> = sent.iter().map(|unit| unit.hash).collect();
        assert!(sent.len() >= PICTURES && hashes.len() == sent.len(), "{codec:?}: a unit was sent twice");
    }
}

#[tokio::test]
async fn only_the_right_password_opens_a_camera() {
    let camera = |path: &str, basic: bool| SimulatedCamera {
        credentials: Some(("viewer".to_owned(), "secret".to_owned())),
        basic,
        ..SimulatedCamera::new(path, film(Codec::H264))
    };
    let server = serve(vec![camera("digest", false), camera("basic", true)]).await;
    let expect = framemd5(&footage(Codec::H264, PICTURES));
    for path in ["digest", "basic"] {
        let with = |password: &str| {
            let mut url = server.url(path);
            url.set_username("viewer").and_then(|()| url.set_password(Some(password))).expect("it has a host");
            url
        };
        assert_eq!(play(with("secret"), "tcp", 10).await, expect[..10], "{path}");
        let url = with("wrong");
        let refused = tokio::task::spawn_blocking(move || framemd5_of_camera(&url, "tcp", 10)).await;
        let said = refused.expect_err("a wrong password").into_panic();
        let said = said.downcast_ref::<String>().expect("a failed assertion says why");
        assert!(said.contains("401 Unauthorized"), "{path}: {said}");
    }
}

#[test]
fn gstreamer_serves_the_same_films() {
    let films = [Codec::H264, Codec::H265].map(|codec| footage(codec, PICTURES));
    let server = GstRtspServer::start(&[("h264", &films[0]), ("h265", &films[1])]);
    for (path, film) in [("h264", &films[0]), ("h265", &films[1])] {
        let video = &ffprobe_json(film)["streams"][0];
        assert_eq!((&video["width"], &video["nb_read_packets"]), (&768.into(), &PICTURES.to_string().into()), "{path}");
        for transport in ["tcp", "udp"] {
            let played = framemd5_of_camera(&server.url(path), transport, PICTURES - 5);
            assert_eq!(played, framemd5(film)[..PICTURES - 5], "{path} over {transport}");
        }
    }
}
