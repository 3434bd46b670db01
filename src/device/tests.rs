//! Clocks of simulated devices.

use std::net::Ipv4Addr;
use std::path::Path;

use testkit::onvif::{Login, OnvifQuirk, OnvifServer, SimulatedOnvif};

use super::*;
use crate::config::CameraTls;
use footage::clock::SystemClock;

const SECOND: i64 = 90_000;

#[test]
fn a_clock_is_off_where_the_least_of_its_offset_is() {
    let check = |offset: f64, bound: f64, expect: bool| {
        let ticks = |seconds: f64| Ticks90k((seconds * SECOND as f64) as i64);
        let found = ClockOffset { offset: ticks(offset), bound: ticks(bound), by_ntp: false };
        let compared = compared_clock(&found, Duration::from_secs(5), WallTime(7));
        assert!(matches!(compared, DeviceClock::Compared { is_off, .. } if is_off == expect), "{offset} {bound}");
    };
    check(0.0, 0.5, false);
    check(5.4, 0.5, false);
    check(5.6, 0.5, true);
    check(-5.6, 0.5, true);
    check(30.0, 40.0, false);
}

#[test]
fn a_device_that_refuses_is_asked_less_often_than_one_that_is_away() {
    let check = |kind, failures, seconds| assert_eq!(wait_after(kind, failures).as_secs(), seconds, "{kind:?}");
    check(Kind::Retry, 1, 60);
    check(Kind::Retry, 3, 240);
    check(Kind::Retry, u32::MAX, 3_600);
    check(Kind::Denied, 1, 3_600);
    check(Kind::Invalid, 1, 3_600);
}

async fn server(quirk: OnvifQuirk) -> OnvifServer {
    let device = SimulatedOnvif { login: Login::Token, quirk, ..SimulatedOnvif::new() };
    let clock = Arc::new(SystemClock::default());
    OnvifServer::start((Ipv4Addr::LOCALHOST, 0).into(), device, clock).await.expect("a server")
}

fn config_of(url: Option<&str>) -> Config {
    let mut camera =
        crate::demo::camera("gate".parse().expect("a name"), "gate", "rtsp://192.0.2.1/".parse().expect("a url"));
    camera.onvif = url.map(|url| OnvifConfig {
        url: url.parse().expect("a url"),
        tls: CameraTls::System,
        username: None,
        password: None,
        clock_offset_max: Some(OnvifConfig::CLOCK_OFFSET_MAX),
    });
    crate::demo::config((Ipv4Addr::LOCALHOST, 0).into(), Path::new("/nonexistent"), vec![camera])
        .expect("a configuration")
}

/// Waits until what is known of the camera is as wanted.
async fn wait_for(status: &StatusBoard, camera: &CameraKey, is: impl Fn(DeviceClock, &str) -> bool) {
    let awaited = async {
        loop {
            let now = status.get(camera).expect("a camera");
            if is(now.device_clock, &now.device_detail) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let last = || status.get(camera).map(|now| (now.device_clock, now.device_detail));
    tokio::time::timeout(Duration::from_secs(30), awaited).await.unwrap_or_else(|_| panic!("{:?}", last()));
}

#[tokio::test]
async fn a_clock_is_compared_at_the_start_when_asked_and_no_more_once_it_is_not_configured() {
    let (server, hostile) = (server(OnvifQuirk::None).await, server(OnvifQuirk::EntityBomb).await);
    let (status, stop, tasks) = (StatusBoard::default(), CancellationToken::new(), TaskTracker::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let mut devices = Devices::new(clock, status.clone(), PathBuf::new(), tasks.clone(), stop.clone());
    let config = config_of(Some(&server.url()));
    let camera = CameraKey { tenant: config.tenants[0].id.clone(), camera: config.tenants[0].cameras[0].id.clone() };
    devices.apply(&config);
    assert_ne!(status.get(&camera).map(|now| now.device_clock), Some(DeviceClock::NotCompared));
    wait_for(&status, &camera, |clock, _| matches!(clock, DeviceClock::Compared { is_off: false, .. })).await;

    server.set_clock_offset(Duration::from_secs(90), true);
    let off = |clock: DeviceClock| match clock {
        DeviceClock::Compared { offset, is_off: true, .. } => (offset.0 - 90 * SECOND).abs() < 5 * SECOND,
        _ => false,
    };
    let asked = server.requests().len();
    // The task may not be waiting yet when it is asked.
    wait_for(&status, &camera, |clock, _| {
        status.slot(&camera).retry();
        off(clock)
    })
    .await;
    assert!(server.requests().len() > asked);

    // The same again changes nothing; another device is another task, whose trouble is told.
    devices.apply(&config);
    devices.apply(&config_of(Some(&hostile.url())));
    wait_for(&status, &camera, |clock, detail| {
        clock == DeviceClock::Awaited && detail.contains("declares a document type")
    })
    .await;
    devices.apply(&config_of(None));
    let now = status.get(&camera).expect("a camera");
    assert_eq!((now.device_clock, now.device_detail.as_str()), (DeviceClock::NotCompared, ""));
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}
