//! Clocks of simulated devices, and what they notice.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use onvif::{ClockOffset, Error, Notification, NotificationKind, Operation};
use testkit::onvif::{Login, Notice, NoticeKind, OnvifQuirk, OnvifServer, SimulatedOnvif};

use super::clock::compared;
use super::occurrence::Seen;
use super::*;
use crate::config::CameraTls;
use crate::index::{CameraRow, Change, OccurrenceRow};
use footage::clock::SystemClock;
use footage::units::{Ticks90k, TimeRange, WallTime};

const SECOND: i64 = 90_000;

#[test]
fn a_clock_is_off_where_the_least_of_its_offset_is() {
    let check = |offset: f64, bound: f64, expect: bool| {
        let ticks = |seconds: f64| Ticks90k((seconds * SECOND as f64) as i64);
        let found = ClockOffset { offset: ticks(offset), bound: ticks(bound), by_ntp: false };
        let clock = compared(&found, Duration::from_secs(5), WallTime(7));
        assert!(matches!(clock, DeviceClock::Compared { is_off, .. } if is_off == expect), "{offset} {bound}");
    };
    check(0.0, 0.5, false);
    check(5.4, 0.5, false);
    check(5.6, 0.5, true);
    check(-5.6, 0.5, true);
    check(30.0, 40.0, false);
}

#[test]
fn a_device_that_refuses_is_asked_less_often_than_one_that_is_away() {
    let check = |error: Error, failures, seconds| {
        assert_eq!(wait_after(&error, failures).as_secs(), seconds, "{error}");
    };
    let away = || Error::NoAnswer { endpoint: "h:80".to_owned(), request: "Renew", seconds: 1.0 };
    check(away(), 1, 60);
    check(away(), 3, 240);
    check(away(), u32::MAX, 3_600);
    check(Error::NoUser { request: "Renew" }, 1, 3_600);
    check(Error::NoService { service: "event" }, 1, 3_600);
}

fn kinds(kinds: &[NotificationKind]) -> BTreeSet<NotificationKind> {
    kinds.iter().copied().collect()
}

fn told(kind: NotificationKind, source: &str, active: Option<bool>) -> Notification {
    let (topic, source, operation) = ("Some/Topic".to_owned(), source.to_owned(), Operation::Changed);
    Notification { kind, topic, source, active, operation, device_time: None }
}

#[test]
fn only_changes_of_the_named_kinds_are_kept() {
    use NotificationKind::{DigitalInput, Motion, Tampering};
    let mut seen = Seen::new(kinds(&[Motion, DigitalInput]));
    let mut check = |told: Notification, expect: Option<Option<bool>>| {
        let news = seen.news(&told, WallTime(7 * SECOND), None);
        assert_eq!(
            news.map(|row| (row.at, row.active)),
            expect.map(|active| (WallTime(7 * SECOND), active)),
            "{told:?}"
        );
    };
    check(told(Motion, "a", Some(false)), None);
    check(told(Motion, "a", Some(true)), Some(Some(true)));
    check(told(Motion, "a", Some(true)), None);
    check(told(Motion, "b", Some(true)), Some(Some(true)));
    check(told(Motion, "a", Some(false)), Some(Some(false)));
    check(told(DigitalInput, "a", None), Some(None));
    check(told(DigitalInput, "a", None), Some(None));
    check(told(Tampering, "c", Some(true)), None);
    check(Notification { operation: Operation::Deleted, ..told(Motion, "b", None) }, Some(Some(false)));
    // A device that invents sources does not fill the memory.
    let news = (0..1_000).filter_map(|n| seen.news(&told(Motion, &n.to_string(), Some(true)), WallTime(0), None));
    assert_eq!(news.count(), 62);
}

#[test]
fn a_row_has_the_device_s_time_only_where_that_can_be() {
    let (now, ahead) = (WallTime(100_000 * SECOND), Ticks90k(3_600 * SECOND));
    let check = |device_s: i64, offset: Option<Ticks90k>, expect_s: i64| {
        let device_time = Some(WallTime(device_s * SECOND));
        let notification = Notification { device_time, ..told(NotificationKind::Motion, "a", Some(true)) };
        let mut seen = Seen::new(kinds(&[NotificationKind::Motion]));
        let row = seen.news(&notification, now, offset).expect("news");
        assert_eq!(row.at, WallTime(expect_s * SECOND), "{device_s} {offset:?}");
    };
    check(103_598, Some(ahead), 99_998);
    check(103_598, None, 100_000);
    check(103_700, Some(ahead), 100_000);
    check(103_301, Some(ahead), 99_701);
    check(103_299, Some(ahead), 100_000);
    check(i64::MAX / SECOND, Some(ahead), 100_000);
    check(i64::MIN / SECOND, Some(Ticks90k(i64::MAX)), 100_000);
}

#[test]
fn a_device_that_notices_without_end_fills_no_index() {
    let mut seen = Seen::new(kinds(&[NotificationKind::Motion]));
    let row = OccurrenceRow {
        at: WallTime(0),
        kind: NotificationKind::Motion,
        topic: String::new(),
        source: String::new(),
        active: None,
    };
    let mut check = |rows: usize, second: u64, kept: usize| {
        let (taken, left_out) = seen.within_budget(vec![row.clone(); rows], Duration::from_secs(second));
        assert_eq!((taken.len(), left_out), (kept, rows - kept), "{rows} at {second} s");
    };
    check(60, 1_000, 60);
    check(60, 1_000, 40);
    check(60, 1_060, 20);
    check(5, 1_060, 0);
    check(1_000, 100_000, 100);
}

async fn server(quirk: OnvifQuirk) -> OnvifServer {
    let device = SimulatedOnvif { login: Login::Nobody, quirk, ..SimulatedOnvif::new() };
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
        events: BTreeSet::new(),
        events_legal_basis: None,
        backfill: None,
    });
    crate::demo::config((Ipv4Addr::LOCALHOST, 0).into(), Path::new("/nonexistent"), vec![camera])
        .expect("a configuration")
}

/// Waits until this is true.
async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let awaited = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !is().await {
            tick.tick().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), awaited).await;
    waited.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// Waits until what is known of the camera is as wanted.
async fn wait_for(status: &StatusBoard, camera: &CameraKey, is: impl Fn(DeviceClock, &str) -> bool) {
    let known = || status.get(camera).expect("a camera");
    until("a clock", async || is(known().device_clock, &known().device_trouble.clock)).await;
}

/// A town with one camera, whose devices can be changed.
struct Town {
    devices: Devices,
    index: Index,
    status: StatusBoard,
    stop: CancellationToken,
    tasks: TaskTracker,
    _dir: tempfile::TempDir,
}

impl Town {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let index = Index::open(&dir.path().join("index.sqlite")).await.expect("an index");
        let row = CameraRow {
            key: camera(),
            name: "gate".to_owned(),
            place: "gate".to_owned(),
            configured: true,
            retention_max: Ticks90k(30 * 86_400 * SECOND),
            retention_min: Ticks90k::ZERO,
        };
        index.write(vec![Change::Configure(vec![row])]).await.expect("written");
        let (status, stop, tasks) = (StatusBoard::default(), CancellationToken::new(), TaskTracker::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let (of_devices, of_tasks) = (index.clone(), tasks.clone());
        let devices = Devices::new(of_devices, clock, status.clone(), PathBuf::new(), of_tasks, stop.clone());
        Self { devices, index, status, stop, tasks, _dir: dir }
    }

    /// What the camera noticed, once it is so much.
    async fn noticed(&self, count: usize) -> Vec<(NotificationKind, Option<bool>)> {
        let everything = TimeRange::new(WallTime(0), WallTime(i64::MAX)).expect("not empty");
        let rows = async || self.index.occurrences(&camera(), everything, 1_000).await.expect("an answer");
        until("occurrences", async || rows().await.len() >= count).await;
        rows().await.into_iter().map(|row| (row.kind, row.active)).collect()
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn camera() -> CameraKey {
    "demo/gate".parse().expect("a camera")
}

/// The same with these events.
fn telling(url: &str, events: &[NotificationKind]) -> Config {
    let mut config = config_of(Some(url));
    let onvif = config.tenants[0].cameras[0].onvif.as_mut().expect("a device");
    onvif.events = kinds(events);
    onvif.events_legal_basis = Some("a text".to_owned());
    config
}

#[tokio::test]
async fn nothing_that_a_camera_notices_is_asked_for_unless_it_is_configured() {
    let server = server(OnvifQuirk::None).await;
    let mut town = Town::new().await;
    town.devices.apply(&config_of(Some(&server.url())));
    wait_for(&town.status, &camera(), |clock, _| matches!(clock, DeviceClock::Compared { .. })).await;
    town.end().await;
    assert_eq!(server.granted(), ["GetSystemDateAndTime"]);
}

#[tokio::test]
async fn what_a_camera_notices_of_the_named_kinds_is_in_the_index_and_nothing_else() {
    use NotificationKind::{DigitalInput, Motion};
    for quirk in [OnvifQuirk::None, OnvifQuirk::OtherPrefixes, OnvifQuirk::PrivateAddress] {
        let server = server(quirk).await;
        let mut town = Town::new().await;
        let config = telling(&server.url(), &[Motion, DigitalInput]);
        town.devices.apply(&config);
        until("a subscription", async || server.subscriber_count() == 1).await;
        for (kind, active) in [
            (NoticeKind::Face, true),
            (NoticeKind::SceneChange, true),
            (NoticeKind::Motion, true),
            (NoticeKind::Motion, true),
            (NoticeKind::Motion, false),
            (NoticeKind::DigitalInput, true),
        ] {
            server.notice(&Notice::changed(kind, active));
        }
        let expect = [(Motion, Some(true)), (Motion, Some(false)), (DigitalInput, Some(true))];
        assert_eq!(town.noticed(3).await, expect, "{quirk:?}");
        // A device that restarts has forgotten us: that is told, and it is asked again.
        server.forget_subscriptions();
        let trouble = || town.status.get(&camera()).expect("a camera").device_trouble.occurrences;
        until("the trouble", async || trouble().contains("ResourceUnknown")).await;
        until("another subscription", async || {
            town.status.slot(&camera()).retry();
            server.subscriber_count() == 1
        })
        .await;
        until("the end of the trouble", async || trouble().is_empty()).await;
        server.notice(&Notice::changed(NoticeKind::Motion, true));
        assert_eq!(town.noticed(4).await[3], (Motion, Some(true)), "{quirk:?}");
        town.end().await;
        assert_eq!(server.subscriber_count(), 0, "{quirk:?}: the device is let go");
    }
}

#[tokio::test]
async fn a_flood_costs_a_bounded_number_of_rows() {
    let server = server(OnvifQuirk::Flood).await;
    let mut town = Town::new().await;
    town.devices.apply(&telling(&server.url(), &[NotificationKind::Motion]));
    let pulls = || server.granted().iter().filter(|operation| *operation == "PullMessages").count();
    until("a second pull", async || pulls() >= 2).await;
    assert_eq!(town.noticed(1).await, [(NotificationKind::Motion, Some(true))], "it says the same each time");
    town.end().await;
}

#[tokio::test]
async fn a_clock_is_compared_at_the_start_when_asked_and_no_more_once_it_is_not_configured() {
    let (server, hostile) = (server(OnvifQuirk::None).await, server(OnvifQuirk::EntityBomb).await);
    let (mut town, camera) = (Town::new().await, camera());
    let (status, devices) = (town.status.clone(), &mut town.devices);
    let config = config_of(Some(&server.url()));
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
    assert_eq!((now.device_clock, now.device_trouble), (DeviceClock::NotCompared, DeviceTrouble::default()));
    town.end().await;
}
