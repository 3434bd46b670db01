//! A real gateway records simulated cameras over real RTSP: what was sent whole is handed back, what was lost is a gap.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::{Clock, SystemClock};
use footage::keys::Keys;
use footage::keys::vault::Vault;
use footage::media::{GapCause, Oddity};
use footage::pack::reader;
use footage::units::{AuthorisationId, CameraKey, TimeRange, WallTime};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use testkit::camera::{self, CameraFaults, Quirk, RtspStep, Server};
use vigie::authorisation::{AtEnd, Authorisation, Basis, Purpose};
use vigie::config::{Config, Transport};
use vigie::demo;
use vigie::event::Fact;
use vigie::gateway::Gateway;
use vigie::index::{GapRow, Index};
use vigie::retrieve::RetrieveError;
use vigie::retrieve::mp4::{Clip, ClipRequest};

#[path = "support/handed_back.rs"]
mod handed_back;

use handed_back::check_handed_back;

/// How long a condition may take to come true before the test gives up.
const PATIENCE: Duration = Duration::from_secs(40);

struct Town {
    server: Server,
    config: Config,
    gateway: Option<Gateway>,
    dir: tempfile::TempDir,
}

fn key(id: &str) -> CameraKey {
    format!("demo/{id}").parse().expect("a plain word is a name")
}

fn everything() -> TimeRange {
    TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).expect("not empty")
}

impl Town {
    /// A gateway that records these cameras, each over its transport.
    async fn start(cameras: &[(&str, Transport)], change: impl Fn(&mut camera::SimulatedCamera)) -> Self {
        let film = |(id, _): &(&str, Transport)| {
            let mut camera = camera::demo_camera().unwrap();
            (camera.path, camera.log) = ((*id).to_owned(), true);
            change(&mut camera);
            camera
        };
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), cameras.iter().map(film).collect()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let configured = |(id, transport): &(&str, Transport)| {
            let mut camera = demo::camera(id.parse().unwrap(), id, server.url(id));
            (camera.transport, camera.silence_max) = (*transport, Duration::from_secs(1));
            camera
        };
        let cameras = cameras.iter().map(configured).collect();
        let mut config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), dir.path(), cameras).unwrap();
        config.recording.tick = Duration::from_millis(20);
        config.recording.durability = Duration::from_millis(200);
        let gateway = Some(Gateway::start(&config).await.unwrap());
        Self { server, config, gateway, dir }
    }

    fn index(&self) -> &Index {
        &self.gateway.as_ref().expect("running").footage().index
    }

    fn fault(&self, id: &str, change: impl FnOnce(&mut CameraFaults)) {
        self.server.camera(id).expect("a camera").set(change);
    }

    async fn covered_ticks(&self, id: &str) -> i64 {
        let spans = self.index().spans(&key(id), everything()).await.unwrap();
        spans.iter().map(|span| span.duration().0).sum()
    }

    async fn gaps(&self, id: &str) -> Vec<GapRow> {
        self.index().gaps(&key(id), everything()).await.unwrap()
    }

    /// Waits until so many further seconds of this camera are in the index.
    async fn records(&self, id: &str, seconds: i64) {
        let before = self.covered_ticks(id).await;
        until(&format!("{seconds} s more of {id}"), async || self.covered_ticks(id).await >= before + seconds * 90_000)
            .await;
    }

    /// Waits for a gap of this cause, open or closed.
    async fn has_gap(&self, id: &str, cause: GapCause) {
        until(&format!("a gap {cause} of {id}"), async || self.gaps(id).await.iter().any(|gap| gap.cause == cause))
            .await;
    }

    async fn stop(&mut self) {
        self.gateway.take().expect("running").stop().await;
    }
}

/// Whether it holds before patience ends.
async fn comes(mut holds: impl AsyncFnMut() -> bool) -> bool {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let waits = async {
        while !holds().await {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.is_ok()
}

async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    assert!(comes(holds).await, "waited in vain for {what}");
}

/// Every pack of the store, in order.
fn stored_packs(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    files(&dir.join("store"), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|e| e == "mp4"));
    // A pack's id begins with its time.
    paths.sort_by_key(|path| path.file_name().map(std::ffi::OsStr::to_owned));
    paths
}

/// Every access unit that was recorded of each camera, as the hash of its bytes, in order of the packs.
fn recorded(dir: &Path) -> HashMap<CameraKey, Vec<blake3::Hash>> {
    let keys = Keys::load_or_create(&dir.join("keys").join("gateway.key")).unwrap();
    let mut units: HashMap<CameraKey, Vec<blake3::Hash>> = HashMap::new();
    for path in stored_packs(dir) {
        let bytes = std::fs::read(&path).unwrap();
        let table = reader::read_table(&path, &Vault::none()).unwrap();
        reader::verify_pack(&path, &keys.domain(&table.header.camera.tenant)).expect("a whole pack");
        let of_camera = units.entry(table.header.camera.clone()).or_default();
        for entry in &table.fragments {
            let mut at = entry.data_offset() as usize;
            for sample in &entry.video {
                let end = at + sample.size as usize;
                of_camera.push(blake3::hash(&bytes[at..end]));
                at = end;
            }
        }
    }
    units
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_access_unit_sent_whole_is_handed_back_once_and_in_order() {
    let cameras = [("a", Transport::Tcp), ("b", Transport::Udp), ("c", Transport::Tcp), ("d", Transport::Udp)];
    let films = tempfile::tempdir().unwrap();
    let h265 = film(films.path(), camera::Codec::H265, 320);
    let mut town = Town::start(&cameras, |camera| {
        if camera.path == "d" {
            camera.stream = h265.clone();
        }
    })
    .await;
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..3 {
        for (id, _) in cameras {
            town.records(id, random.random_range(1..3)).await;
            town.fault(id, |faults| faults.close = true);
            town.has_gap(id, GapCause::Disconnected).await;
        }
    }
    for (id, _) in cameras {
        town.records(id, 3).await;
    }
    town.stop().await;
    let recorded = recorded(town.dir.path());
    for (id, _) in cameras {
        let sent = town.server.camera(id).unwrap().sent();
        assert!(sent.iter().any(|unit| unit.session >= 3), "{id} was cut and came back");
        // What was sent since the sockets were last looked at.
        check_handed_back(&key(id), &sent, &recorded[&key(id)], 10);
    }
}

/// Whatever is odd about how pictures are sent: they are recorded byte for byte, in one session.
#[tokio::test(flavor = "multi_thread")]
async fn odd_streams_of_both_codings_are_recorded_whole() {
    let films = tempfile::tempdir().unwrap();
    let h265 = film(films.path(), camera::Codec::H265, 320);
    let names: Vec<(String, Quirk)> = Quirk::ALL
        .iter()
        .flat_map(|quirk| ["h264", "h265"].map(|codec| (format!("{codec}-{}", *quirk as u8), *quirk)))
        .collect();
    let cameras: Vec<(&str, Transport)> = names.iter().map(|(name, _)| (name.as_str(), Transport::Tcp)).collect();
    let mut town = Town::start(&cameras, |camera| {
        camera.quirk = names.iter().find(|(name, _)| *name == camera.path).expect("named").1;
        if camera.path.starts_with("h265") {
            camera.stream = h265.clone();
        }
    })
    .await;
    // Ten pictures a second: every quirk has occurred by then.
    for (name, _) in &names {
        until(&format!("six seconds of {name}"), async || town.server.camera(name).unwrap().sent().len() >= 60).await;
    }
    town.stop().await;
    let recorded = recorded(town.dir.path());
    for (name, quirk) in &names {
        let sent = town.server.camera(name).unwrap().sent();
        assert_eq!(sent.last().map(|unit| unit.session), Some(1), "{name}, {quirk:?}: one session");
        check_handed_back(&key(name), &sent, &recorded[&key(name)], 10);
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Eight seconds of real footage as a byte stream, so many pixels wide.
fn film(dir: &Path, codec: camera::Codec, width: u32) -> Arc<camera::ElementaryStream> {
    let (coder, muxer) = match codec {
        camera::Codec::H264 => ("libx264", "h264"),
        camera::Codec::H265 => ("libx265", "hevc"),
    };
    let file = dir.join(format!("film-{width}.{muxer}"));
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-i", "/usr/share/doc/opencv-doc/examples/data/vtest.avi", "-t", "8", "-an"])
        .args(["-vf", &format!("scale={width}:-2"), "-pix_fmt", "yuv420p"])
        .args(["-c:v", coder, "-preset", "ultrafast", "-g", "20", "-bf", "0", "-x265-params", "log-level=error"])
        .args(["-f", muxer])
        .arg(&file)
        .status()
        .expect("ffmpeg (see .ci/setup)");
    assert!(made.success());
    Arc::new(camera::ElementaryStream::parse(&std::fs::read(file).unwrap(), codec, 10).unwrap())
}

/// `VIGIE_SOAK_CAMERAS` (default 4, every second one H.265) are recorded for `VIGIE_SOAK_SECONDS` (default 15), each cut
/// at random moments.
#[tokio::test(flavor = "multi_thread")]
async fn streams_of_both_codings_cut_at_random_lose_nothing_that_was_sent_whole() {
    let (count, seconds) = (setting("VIGIE_SOAK_CAMERAS", 4), setting("VIGIE_SOAK_SECONDS", 15));
    let names: Vec<String> = (0..count).map(|n| format!("camera-{n}")).collect();
    let cameras: Vec<(&str, Transport)> = names.iter().map(|name| (name.as_str(), Transport::Tcp)).collect();
    let films = tempfile::tempdir().unwrap();
    let h265 = film(films.path(), camera::Codec::H265, 768);
    let odd = |path: &str| path.bytes().last().is_some_and(|digit| digit % 2 == 1);
    let mut town = Town::start(&cameras, |camera| {
        if odd(&camera.path) {
            camera.stream = h265.clone();
        }
    })
    .await;
    for name in &names {
        town.records(name, 1).await;
    }
    let clock = SystemClock::default();
    let mut random = StdRng::seed_from_u64(11);
    let (soonest, latest) = if seconds >= 120 { (20.0, 60.0) } else { (4.0, 8.0) };
    let mut cuts: Vec<f64> = names.iter().map(|_| random.random_range(soonest..latest)).collect();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let began = clock.read().mono;
    loop {
        tick.tick().await;
        let passed = (clock.read().mono - began).as_secs_f64();
        if passed > seconds as f64 {
            break;
        }
        for (name, cut) in names.iter().zip(&mut cuts).filter(|(_, cut)| **cut <= passed) {
            town.fault(name, |faults| faults.close = true);
            *cut += random.random_range(soonest..latest);
        }
    }
    town.stop().await;
    let recorded = recorded(town.dir.path());
    for name in &names {
        let sent = town.server.camera(name).unwrap().sent();
        check_handed_back(&key(name), &sent, &recorded[&key(name)], 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_packets_are_gaps_and_everything_else_is_handed_back() {
    let mut town = Town::start(&[("lossy", Transport::Tcp)], |_| {}).await;
    town.records("lossy", 2).await;
    town.fault("lossy", |faults| (faults.loss, faults.seed) = (0.03, 5));
    town.has_gap("lossy", GapCause::PacketLoss).await;
    town.records("lossy", 6).await;
    town.fault("lossy", |faults| faults.loss = 0.0);
    town.records("lossy", 3).await;
    let gaps: Vec<GapRow> =
        town.gaps("lossy").await.into_iter().filter(|gap| gap.cause == GapCause::PacketLoss).collect();
    town.stop().await;
    let sent = town.server.camera("lossy").unwrap().sent();
    check_handed_back(&key("lossy"), &sent, &recorded(town.dir.path())[&key("lossy")], 10);
    let broken = sent.iter().filter(|unit| !unit.whole).count();
    assert!(broken > 0 && !gaps.is_empty() && gaps.len() <= broken, "{} gaps for {broken} broken units", gaps.len());
    for gap in gaps {
        let ticks = gap.end.expect("it is over").since(gap.start).0;
        // A GOP of the film is two seconds.
        assert!(gap.lost_packets > 0 && (1..=2 * 90_000).contains(&ticks), "{gap:?}");
    }
}

/// The fault sets in on one camera and ends; it makes a gap of this cause, the camera comes back, its neighbour does not
/// notice.
async fn check_fault(cause: GapCause, set: impl Fn(&mut CameraFaults), clear: impl Fn(&mut CameraFaults)) {
    let mut town = Town::start(&[("bad", Transport::Tcp), ("good", Transport::Tcp)], |_| {}).await;
    town.records("bad", 1).await;
    town.fault("bad", |faults| {
        set(faults);
        faults.close |= !matches!(cause, GapCause::Silent | GapCause::ProtocolError);
    });
    town.has_gap("bad", cause).await;
    town.fault("bad", &clear);
    town.records("bad", 2).await;
    town.records("good", 1).await;
    assert!(town.gaps("good").await.is_empty(), "the neighbour has gaps");
    let spans = town.index().spans(&key("bad"), everything()).await.unwrap();
    assert!(spans.windows(2).all(|w| w[0].end() <= w[1].start()), "footage is out of order");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_goes_silent_is_a_gap_and_comes_back() {
    check_fault(GapCause::Silent, |f| f.silent = true, |f| f.silent = false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_offers_no_video_is_a_gap_and_comes_back() {
    check_fault(GapCause::UnsupportedMedia, |f| f.no_video = true, |f| f.no_video = false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_offers_motion_jpeg_only_is_a_gap_and_comes_back() {
    check_fault(GapCause::UnsupportedMedia, |f| f.mjpeg_only = true, |f| f.mjpeg_only = false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_refuses_to_play_is_a_gap_and_comes_back() {
    let refuses = |f: &mut CameraFaults| f.error_at = Some((RtspStep::Play, 500));
    check_fault(
        GapCause::ProtocolError,
        |f| {
            refuses(f);
            f.close = true;
        },
        |f| f.error_at = None,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_that_jump_by_an_hour_either_way_end_nothing() {
    let mut town = Town::start(&[("bad", Transport::Tcp)], |_| {}).await;
    town.records("bad", 2).await;
    for jump in [3_600 * 90_000, -3_600 * 90_000] {
        town.fault("bad", |f| f.timestamp_jump = jump);
        town.records("bad", 3).await;
    }
    let spans = town.index().spans(&key("bad"), everything()).await.unwrap();
    assert_eq!(spans.len(), 1, "one run without a break");
    assert!(town.gaps("bad").await.is_empty());
    town.stop().await;
    let sent = town.server.camera("bad").unwrap().sent();
    check_handed_back(&key("bad"), &sent, &recorded(town.dir.path())[&key("bad")], 10);
}

/// Timestamps at this many thousandths of their speed: footage ends now, nothing is missing, every picture is there.
async fn check_speed(thousandths: i32) {
    let mut town = Town::start(&[("bad", Transport::Tcp)], |_| {}).await;
    town.records("bad", 1).await;
    town.fault("bad", |f| f.timestamp_speed = thousandths);
    let began = SystemClock::default().wall();
    // 120 pictures: twelve seconds.
    let camera: Arc<_> = town.server.camera("bad").unwrap().clone();
    let count = camera.sent().len() + 120;
    until("twelve seconds of pictures", async || camera.sent().len() >= count).await;
    let (now, lasted) = (SystemClock::default().wall(), SystemClock::default().wall().since(began));
    let spans = town.index().spans(&key("bad"), everything()).await.unwrap();
    assert!(town.gaps("bad").await.is_empty() && spans.len() == 1, "at {thousandths}: {spans:?}");
    let late = now.since(spans[0].end()).as_seconds_f64();
    // What is in memory, and what waits to be flushed: a fragment is 64 pictures at most.
    assert!((-0.5..9.0).contains(&late), "at {thousandths}: footage ends {late} s ago");
    let covers = spans[0].duration().as_seconds_f64();
    assert!(covers > lasted.as_seconds_f64() - 9.0, "at {thousandths}: {covers} s are covered");
    town.stop().await;
    check_handed_back(&key("bad"), &camera.sent(), &recorded(town.dir.path())[&key("bad")], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_at_another_speed_leave_footage_where_it_was_filmed() {
    futures::future::join_all([-1, 10, 500, 1_500, 20_000].map(check_speed)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_of_ten_megabytes_is_handed_back_as_any_other() {
    const HUGE: usize = 10 << 20;
    let mut town = Town::start(&[("bad", Transport::Tcp), ("good", Transport::Tcp)], |_| {}).await;
    town.records("bad", 1).await;
    town.fault("bad", |f| f.huge_bytes = HUGE);
    town.records("bad", 4).await;
    assert!(town.gaps("bad").await.is_empty() && town.gaps("good").await.is_empty());
    town.stop().await;
    let tables =
        stored_packs(town.dir.path()).into_iter().map(|path| reader::read_table(&path, &Vault::none()).unwrap());
    let of_bad: Vec<_> = tables.filter(|table| table.header.camera == key("bad")).collect();
    let sizes = of_bad.iter().flat_map(|table| &table.fragments).flat_map(|f| &f.video).map(|sample| sample.size);
    assert_eq!(sizes.filter(|size| *size as usize > HUGE).count(), 1);
    let sent = town.server.camera("bad").unwrap().sent();
    check_handed_back(&key("bad"), &sent, &recorded(town.dir.path())[&key("bad")], 10);
}

/// What the camera sends is odd: it is recorded on in the same session, without a gap, an event says what is odd, and its
/// neighbour does not notice.
async fn check_odd(oddity: Oddity, set: impl Fn(&mut CameraFaults), clear: impl Fn(&mut CameraFaults)) {
    let mut town = Town::start(&[("bad", Transport::Tcp), ("good", Transport::Tcp)], |_| {}).await;
    town.records("bad", 1).await;
    town.fault("bad", set);
    let is_reported = async || {
        let events = town.index().events(&key("bad").tenant, Some(&key("bad")), 0, 100).await.unwrap();
        events.iter().any(|event| event.event.fact == Fact::StreamOdd { oddity })
    };
    until(&format!("an event that says {oddity}"), is_reported).await;
    town.fault("bad", clear);
    town.records("bad", 3).await;
    town.records("good", 1).await;
    for id in ["bad", "good"] {
        assert!(town.gaps(id).await.is_empty(), "{oddity}: {id} has gaps");
    }
    town.stop().await;
    let recorded = recorded(town.dir.path());
    for id in ["bad", "good"] {
        let sent = town.server.camera(id).unwrap().sent();
        assert_eq!(sent.last().map(|unit| unit.session), Some(1), "{oddity}: one session of {id}");
        check_handed_back(&key(id), &sent, &recorded[&key(id)], 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_between_messages_cost_nothing() {
    check_odd(Oddity::StrayBytes, |f| f.garbage = true, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_without_a_nal_unit_costs_nothing() {
    check_odd(Oddity::EmptyPayload, |f| f.empty_nal = true, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_goes_on_as_another_source_and_comes_back_loses_nothing() {
    check_odd(Oddity::SourceChanged, |f| f.wrong_ssrc = true, |f| f.wrong_ssrc = false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_hangs_up_after_a_restart_continues_the_gap_without_a_hole() {
    let mut town = Town::start(&[("bad", Transport::Tcp), ("good", Transport::Tcp)], |_| {}).await;
    town.records("bad", 1).await;
    town.stop().await;
    town.fault("bad", |f| f.refuse = true);
    let sessions = town.server.camera("bad").unwrap().sessions();
    town.gateway = Some(Gateway::start(&town.config).await.unwrap());
    town.has_gap("bad", GapCause::Disconnected).await;
    town.records("good", 2).await;
    assert_eq!(town.server.camera("bad").unwrap().sessions(), sessions, "no session was played meanwhile");
    let events = town.index().events(&key("bad").tenant, Some(&key("bad")), 0, 100).await.unwrap();
    assert!(events.iter().any(|event| event.kind() == "connection_lost"), "{events:?}");
    town.fault("bad", |f| f.refuse = false);
    town.records("bad", 1).await;
    let spans = town.index().spans(&key("bad"), everything()).await.unwrap();
    let gaps = town.gaps("bad").await;
    let causes: Vec<GapCause> = gaps.iter().map(|gap| gap.cause).collect();
    assert_eq!(causes, [GapCause::GatewayStopped, GapCause::Disconnected]);
    assert_eq!((gaps[0].start, gaps[0].end), (spans[0].end(), Some(gaps[1].start)));
    assert_eq!(gaps[1].end, Some(spans[1].start()));
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_resolution_starts_a_new_pack_and_another_file_of_a_clip() {
    let films = tempfile::tempdir().unwrap();
    let small = film(films.path(), camera::Codec::H264, 320);
    let mut town = Town::start(&[("a", Transport::Tcp)], |camera| camera.other_stream = Some(small.clone())).await;
    town.records("a", 3).await;
    town.fault("a", |f| f.other_stream = true);
    town.records("a", 8).await;
    let spans = town.index().spans(&key("a"), everything()).await.unwrap();
    let range = TimeRange::new(spans[0].start(), spans[spans.len() - 1].end()).unwrap();
    let footage = town.gateway.as_ref().unwrap().footage();
    let error = Clip::new(footage, &key("a"), range).await.unwrap_err();
    assert!(matches!(&error, RetrieveError::SeveralParts { parts, .. } if parts.len() == 2), "{error}");
    let (mut clips, mut files) = (Vec::new(), Vec::new());
    for part in [1, 2] {
        let clip = ClipRequest { part: Some(part), ..ClipRequest::of(range) };
        let clip = Clip::asked(footage, &key("a"), &clip).await.unwrap();
        let bytes: Vec<bytes::Bytes> = clip.body(0..clip.len()).try_collect().await.unwrap();
        let file = films.path().join(format!("clip-{part}.mp4"));
        std::fs::write(&file, bytes.concat()).unwrap();
        clips.push(clip);
        files.push(file);
    }
    town.stop().await;

    let mut widths: Vec<u16> = Vec::new();
    for path in stored_packs(town.dir.path()) {
        widths.push(reader::read_table(&path, &Vault::none()).unwrap().header.params.video.width);
    }
    assert_eq!(widths, [768, 320], "one pack of each");
    let sent = town.server.camera("a").unwrap().sent();
    check_handed_back(&key("a"), &sent, &recorded(town.dir.path())[&key("a")], 10);

    let large = pictures(Path::new("crates/testkit/src/camera/pedestrians.h264"));
    let small = pictures(&films.path().join("film-320.h264"));
    for ((clip, file), film) in clips.iter().zip(&files).zip([&large, &small]) {
        let shown = pictures(file);
        // Ten pictures a second.
        assert!(shown.len() as i64 >= clip.covers().duration().0 / 9_000 - 2, "{} pictures", shown.len());
        assert!(shown.len() >= 20, "{} pictures", shown.len());
        assert_eq!(shown, film.iter().cycle().take(shown.len()).cloned().collect::<Vec<_>>());
    }
}

/// MD5 of each decoded picture of a film, in order, at its own size.
fn pictures(film: &Path) -> Vec<String> {
    let out = Command::new("ffmpeg")
        .args(["-v", "quiet", "-i"])
        .arg(film)
        .args(["-map", "0:v", "-autoscale", "0", "-fps_mode", "passthrough", "-f", "framemd5", "-"])
        .output()
        .expect("ffmpeg (see .ci/setup)");
    assert!(out.status.success(), "{}", film.display());
    let text = String::from_utf8(out.stdout).expect("ffmpeg writes text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(',')?.1.trim().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_said_and_never_shown() {
    let secret = "correct horse";
    let mut town = Town::start(&[("locked", Transport::Tcp)], |camera| {
        camera.credentials = Some(("operator".to_owned(), secret.to_owned()));
    })
    .await;
    until("the refusal to be reported", async || {
        let events = town.index().events(&key("locked").tenant, None, 0, 100).await.unwrap();
        events.iter().any(|event| event.event.fact == Fact::ConnectionLost { cause: GapCause::Unauthorized })
    })
    .await;
    town.stop().await;

    let camera = &mut town.config.tenants[0].cameras[0];
    (camera.username, camera.password) = (Some("operator".to_owned()), Some(secret.into()));
    town.gateway = Some(Gateway::start(&town.config).await.unwrap());
    town.records("locked", 1).await;
    town.stop().await;
    let mut kept = Vec::new();
    files(town.dir.path(), &mut kept);
    for path in kept {
        let bytes = std::fs::read(&path).unwrap();
        let shows = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!shows, "{} holds the password", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_clock_that_steps_is_shown_and_reorders_nothing() {
    let mut town = Town::start(&[("clock", Transport::Tcp)], |_| {}).await;
    town.records("clock", 3).await;
    let camera: Arc<_> = town.server.camera("clock").unwrap().clone();
    for hour_ms in [3_600_000, -3_600_000] {
        camera.set_clock_offset(hour_ms);
        until("the clock's offset", async || {
            let runs = town.index().runs(&key("clock"), 1).await.unwrap();
            let offset = runs.first().and_then(|run| run.camera_clock_offset);
            offset.is_some_and(|offset| (offset.0 - hour_ms * 90).abs() < 90_000)
        })
        .await;
    }
    let events = town.index().events(&key("clock").tenant, Some(&key("clock")), 0, 100).await.unwrap();
    assert!(events.iter().filter(|event| event.kind() == "camera_clock_step").count() >= 2);
    let spans = town.index().spans(&key("clock"), everything()).await.unwrap();
    assert_eq!(spans.len(), 1, "one run without a break");
    assert!((spans[0].end().since(SystemClock::default().wall()).0).abs() < 10 * 90_000);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_cameras_without_touching_the_others() {
    let both = [("kept", Transport::Tcp), ("changed", Transport::Tcp)];
    let mut town = Town::start(&both, |_| {}).await;
    for id in ["kept", "changed"] {
        town.records(id, 1).await;
    }
    let mut config = town.config.clone();
    let mut changed = config.tenants[0].cameras.pop().unwrap();
    // A new camera over UDP beside the changed one, which is silent for longer before it counts as such.
    changed.silence_max = Duration::from_secs(5);
    let mut added = changed.clone();
    (added.id, added.transport) = ("added".parse().unwrap(), Transport::Udp);
    config.tenants[0].cameras.extend([changed, added]);
    let gateway = town.gateway.as_mut().unwrap();
    let changes = gateway.reload(&config).await.unwrap();
    assert_eq!((changes.kept, changes.restarted, changes.added, changes.removed), (1, 1, 1, 0));
    for id in ["kept", "changed", "added"] {
        town.records(id, 1).await;
    }
    let runs = async |id: &str| town.index().runs(&key(id), 9).await.unwrap().len();
    assert_eq!((runs("kept").await, runs("changed").await), (1, 2));
    assert!(town.gaps("kept").await.is_empty());
    let causes: Vec<_> = town.gaps("changed").await.iter().map(|gap| gap.cause).collect();
    assert_eq!(causes, [GapCause::Reconfigured], "neither it nor the gateway failed");

    // What a running gateway cannot take over changes nothing and says what it is.
    let mut other = config.clone();
    other.recording.durability += Duration::from_secs(1);
    other.tenants[0].cameras.clear();
    let refused = town.gateway.as_mut().unwrap().reload(&other).await.unwrap_err();
    assert!(refused.to_string().contains("[recording]"), "{refused}");
    town.records("kept", 1).await;

    // A camera that is removed is recorded no more, and its footage stays.
    config.tenants[0].cameras.retain(|camera| camera.id.as_str() == "kept");
    let changes = town.gateway.as_mut().unwrap().reload(&config).await.unwrap();
    assert_eq!((changes.kept, changes.removed), (1, 2));
    town.records("kept", 1).await;
    let last = town.gaps("changed").await.last().cloned().unwrap();
    assert_eq!((last.end, last.cause), (None, GapCause::Reconfigured));
    assert!(town.covered_ticks("changed").await > 0);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_recording_stops_with_its_authorisation_and_starts_again_when_it_is_renewed_by_a_reload() {
    let both = [("street", Transport::Tcp), ("depot", Transport::Tcp)];
    let mut town = Town::start(&both, |_| {}).await;
    for id in ["street", "depot"] {
        town.records(id, 1).await;
    }
    let today = town.config.time_zone.to_datetime(SystemClock::default().wall().to_timestamp()).date();
    let streets: AuthorisationId = "streets".parse().unwrap();
    let until_day = |days: i64| Authorisation {
        id: streets.clone(),
        number: "2021-117".to_owned(),
        date: today.saturating_sub(jiff::Span::new().days(1_000)),
        from: today.saturating_sub(jiff::Span::new().days(1_000)),
        until: today.saturating_add(jiff::Span::new().days(days)),
        provisional: false,
        purposes: vec![Purpose::PersonsAndProperty],
        recipients: Vec::new(),
        max: Duration::from_secs(30 * 86_400),
        min: Duration::ZERO,
        at_end: AtEnd::Stop,
    };
    let mut config = town.config.clone();
    config.tenants[0].cameras[0].installation.basis = Basis::Authorisation(streets.clone());
    config.tenants[0].authorisations = vec![until_day(-2)];
    let changes = town.gateway.as_mut().unwrap().reload(&config).await.unwrap();
    assert_eq!(changes.kept, 2, "no session is lost by a change of authorisations alone");
    until("the gap of the camera whose authorisation is over", async || {
        town.gaps("street").await.last().is_some_and(|gap| (gap.cause, gap.end) == (GapCause::NotAuthorised, None))
    })
    .await;
    until("its alarm", async || {
        let open = town.index().open_alarms().await.unwrap();
        open.iter().any(|alarm| alarm.kind == "not_authorised" && alarm.ended.is_none())
    })
    .await;
    assert!(town.gaps("depot").await.is_empty(), "the other camera is recorded on");

    config.tenants[0].authorisations = vec![until_day(400)];
    town.gateway.as_mut().unwrap().reload(&config).await.unwrap();
    until("footage after the renewal", async || {
        town.gaps("street").await.last().is_some_and(|gap| gap.cause == GapCause::NotAuthorised && gap.end.is_some())
    })
    .await;
    until("the end of the alarm", async || {
        let open = town.index().open_alarms().await.unwrap();
        open.iter().all(|alarm| alarm.kind != "not_authorised" || alarm.ended.is_some())
    })
    .await;
    town.stop().await;
}
