//! When a recorder opens its next session, with time that passes by itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::index::CameraRow;
use crate::status::StatusBoard;
use crate::store::Store;
use footage::clock::SimClock;
use footage::keys::Keys;
use footage::media::{AccessUnit, Params, Track, VideoCodec, VideoParams};
use footage::platform::{self, FileOp, Platform};
use footage::source::{Item, Session};
use footage::units::WallTime;

/// A camera whose sessions end in the same way each time.
struct Ending {
    cause: GapCause,
    /// Pictures of each session, 25 a second.
    pictures: i64,
    /// Packets are lost before this one.
    loses_before: Option<i64>,
    clock: Arc<dyn Clock>,
    opened: Arc<Opened>,
}

#[derive(Default)]
struct Opened {
    sessions: AtomicUsize,
    news: Notify,
}

impl Opened {
    async fn until(&self, sessions: usize) {
        loop {
            let news = self.news.notified();
            if self.sessions.load(Ordering::SeqCst) >= sessions {
                return;
            }
            news.await;
        }
    }
}

impl Source for Ending {
    fn open(&self) -> BoxFuture<'_, Result<Session, SourceError>> {
        self.opened.sessions.fetch_add(1, Ordering::SeqCst);
        self.opened.news.notify_waiters();
        let error = SourceError { cause: self.cause, detail: "as ever".to_owned() };
        let (clock, loses_before) = (self.clock.clone(), self.loses_before);
        let pictures = futures::stream::iter(0..self.pictures).then(move |n| {
            let clock = clock.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(40)).await;
                Ok(Item::AccessUnit(AccessUnit {
                    track: Track::Video,
                    timestamp: n * 3_600,
                    data: Bytes::from_static(&[0, 0, 0, 2, 0x65, 0x88]),
                    random_access: n % 5 == 0,
                    lost_packets: u32::from(loses_before == Some(n)) * 3,
                    received: clock.read(),
                    new_params: None,
                }))
            }
        });
        let opened = if self.pictures == 0 {
            Err(error)
        } else {
            let items = Box::pin(pictures.chain(futures::stream::iter([Err(error)])));
            Ok(Session { params: params(), also_offered: Vec::new(), odd: Vec::new(), certificate_until: None, items })
        };
        Box::pin(std::future::ready(opened))
    }
}

/// A recorder of this camera, running; gives when its sessions open.
async fn recording(cause: GapCause, pictures: i64) -> (Arc<Opened>, StatusSlot, CancellationToken, tempfile::TempDir) {
    let Rig { opened, slot, stop, dir, .. } = rig(cause, pictures, None, None).await;
    (opened, slot, stop, dir)
}

struct Rig {
    opened: Arc<Opened>,
    slot: StatusSlot,
    stop: CancellationToken,
    dir: tempfile::TempDir,
    spool: Spool,
    index: Index,
}

async fn rig(cause: GapCause, pictures: i64, loses_before: Option<i64>, unwritten_bytes_max: Option<u64>) -> Rig {
    rig_permitted_by(Permission::always(), cause, pictures, loses_before, unwritten_bytes_max).await
}

async fn rig_permitted_by(
    permission: Permission,
    cause: GapCause,
    pictures: i64,
    loses_before: Option<i64>,
    unwritten_bytes_max: Option<u64>,
) -> Rig {
    let dir = tempfile::tempdir().expect("a directory");
    let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(WallTime(1_700_000_000 * 90_000)));
    let index = Index::open(&dir.path().join("index.sqlite")).await.expect("an index");
    let row = CameraRow {
        key: "town/hall".parse().expect("a key"),
        name: String::new(),
        place: String::new(),
        configured: true,
        retention_max: footage::units::Ticks90k(i64::MAX / 2),
        retention_min: footage::units::Ticks90k::ZERO,
    };
    index.write(vec![Change::Configure(vec![row])]).await.expect("an index");
    let url = url::Url::from_directory_path(dir.path().join("store")).expect("a path");
    let store = Store::open(&url, &crate::config::S3::default()).expect("a store");
    let keys = Keys::from_secret([5; 32]);
    let spool = Spool::new(&dir.path().join("spool"), store, index.clone(), clock.clone(), keys);
    let spool = spool.holding_at_most(unwritten_bytes_max);
    let shared = RecordingContext {
        spool: spool.clone(),
        index: index.clone(),
        clock: clock.clone(),
        limits: PackLimits { pack_bytes_max: 64 << 20, pack_duration_max: Duration::from_secs(120) },
        opening: Arc::new(Semaphore::new(1)),
    };
    let camera: CameraKey = "town/hall".parse().expect("a key");
    let (slot, opened) = (StatusBoard::default().slot(&camera), Arc::new(Opened::default()));
    let source = Ending { cause, pictures, loses_before, clock, opened: opened.clone() };
    let continuity = Continuity::new(camera.clone(), None, None);
    let recorder = Recorder::new(shared, Box::new(source), slot.clone(), camera, continuity);
    let stop = CancellationToken::new();
    tokio::spawn(recorder.permitted_by(permission).run(stop.clone()));
    Rig { opened, slot, stop, dir, spool, index }
}

#[tokio::test(start_paused = true)]
async fn a_camera_whose_password_was_put_right_is_tried_within_half_a_minute() {
    let (opened, _slot, stop, _dir) = recording(GapCause::Unauthorized, 0).await;
    for attempts in 1..20 {
        opened.until(attempts).await;
        let before = Instant::now();
        opened.until(attempts + 1).await;
        assert!(before.elapsed() <= Duration::from_secs(26), "{:?}", before.elapsed());
        assert!(before.elapsed() >= Duration::from_secs(20), "{:?}", before.elapsed());
    }
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_asked_for_is_made_at_once() {
    let (opened, slot, stop, _dir) = recording(GapCause::Unauthorized, 0).await;
    opened.until(3).await;
    let before = Instant::now();
    // Asked for until the recorder waits: the time does not pass while something runs.
    while opened.sessions.load(Ordering::SeqCst) < 4 {
        slot.retry();
        tokio::task::yield_now().await;
    }
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn short_sessions_that_recorded_do_not_lengthen_the_wait() {
    let (opened, _slot, stop, _dir) = recording(GapCause::Disconnected, 25).await;
    for sessions in 2..12 {
        opened.until(sessions).await;
        let before = Instant::now();
        opened.until(sessions + 1).await;
        assert!(before.elapsed() <= Duration::from_secs(3), "session {sessions}: {:?}", before.elapsed());
    }
    stop.cancel();
}

/// Memory for one fragment, which is free again with a flush each five seconds.
async fn check_slow_disk(ends: GapCause, loses_before: Option<i64>, expect: &[GapCause]) {
    let Rig { opened, stop, spool, index, dir: _dir, .. } = rig(ends, 25, loses_before, Some(1)).await;
    let camera: CameraKey = "town/hall".parse().expect("a key");
    let everything = footage::units::TimeRange::new(WallTime(0), WallTime(i64::MAX)).expect("a range");
    while opened.sessions.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(spool.unwritten_bytes().0 <= spool.unwritten_bytes().1);
        spool.flush().await;
    }
    stop.cancel();
    let gaps = index.gaps(&camera, everything).await.expect("an index");
    assert_eq!(gaps.iter().map(|gap| gap.cause).collect::<Vec<_>>(), expect);
}

#[tokio::test(start_paused = true)]
async fn what_a_camera_drops_while_the_disk_is_slow_is_a_gap_that_says_so() {
    check_slow_disk(GapCause::ConnectFailed, Some(12), &[GapCause::DiskSlow, GapCause::ConnectFailed]).await;
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_hangs_up_while_the_disk_is_slow_is_a_gap_that_says_so() {
    check_slow_disk(GapCause::Disconnected, None, &[GapCause::DiskSlow]).await;
}

fn params() -> Arc<Params> {
    let video = VideoParams {
        codec: VideoCodec::H264,
        width: 704,
        height: 576,
        sample_entry: Bytes::from_static(b"\0\0\0\x10avc1\x01\x02\x03\x04\x05\x06\x07\x08"),
        rfc6381: "avc1.4D001E".into(),
    };
    Arc::new(Params { video, audio: None })
}

/// A machine whose disk takes no footage while it is full.
struct FullDisk {
    is_full: std::sync::atomic::AtomicBool,
    drawn: AtomicUsize,
}

impl Platform for FullDisk {
    fn before(&self, op: &FileOp<'_>) -> std::io::Result<()> {
        match op {
            FileOp::WriteAt { .. } if self.is_full.load(Ordering::SeqCst) => {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn after(&self, _op: &FileOp<'_>) -> std::io::Result<()> {
        Ok(())
    }

    fn takes(&self, _file: &std::fs::File, bytes: usize) -> std::io::Result<usize> {
        Ok(bytes)
    }

    fn before_work(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn after_work(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn free_bytes(&self) -> std::io::Result<u64> {
        Ok(1 << 40)
    }

    fn draw(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::SeqCst) as u64
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_stays_full_is_one_gap_and_said_once() {
    let disk = Arc::new(FullDisk { is_full: true.into(), drawn: AtomicUsize::new(0) });
    platform::simulate(Some(disk.clone()));
    let Rig { slot, stop, spool, index, dir: _dir, .. } = rig(GapCause::Disconnected, 1_000, None, None).await;
    let _tasks = crate::seal::Sealer::new(spool.clone()).start().expect("a spool");
    let flushes = async |seconds: u32| {
        for _ in 0..seconds * 2 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            spool.flush().await;
        }
    };
    let state = || {
        let mut state = CameraState::Starting;
        slot.update(|status| state = status.state);
        state
    };
    flushes(10).await;
    assert_eq!(state(), CameraState::Gap(GapCause::DiskFull), "it does not seem to record meanwhile");
    disk.is_full.store(false, Ordering::SeqCst);
    flushes(5).await;
    assert_eq!(state(), CameraState::Recording);
    stop.cancel();
    let camera: CameraKey = "town/hall".parse().expect("a key");
    let everything = footage::units::TimeRange::new(WallTime(0), WallTime(i64::MAX)).expect("a range");
    let gaps = index.gaps(&camera, everything).await.expect("an index");
    assert!(gaps.iter().all(|gap| gap.cause == GapCause::DiskFull && gap.end.is_some()), "{gaps:?}");
    // What the first pack held, and then all the time until the disk took the next.
    assert!(gaps.len() <= 2 && gaps.windows(2).all(|pair| pair[0].end == Some(pair[1].start)), "{gaps:?}");
    let events = index.all_events(0, 100).await.expect("an index");
    let count = |kind: &str| events.iter().filter(|event| event.kind() == kind).count();
    assert_eq!((count("not_written"), count("recording")), (1, 1), "{events:?}");
    platform::simulate(None);
}

#[tokio::test(start_paused = true)]
async fn h1_a_camera_whose_permission_is_withdrawn_has_a_gap_that_says_so_and_goes_on_when_it_is_given_again() {
    let (permit, permission) = tokio::sync::watch::channel(false);
    let permission = Permission::following(permission);
    let Rig { opened, slot, stop, spool, index, dir: _dir } =
        rig_permitted_by(permission, GapCause::Disconnected, 25, None, None).await;
    let not_authorised = async || {
        let mut state = CameraState::Starting;
        while state != CameraState::Gap(GapCause::NotAuthorised) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            slot.update(|status| state = status.state);
        }
    };
    not_authorised().await;
    assert_eq!(opened.sessions.load(Ordering::SeqCst), 0);
    permit.send_replace(true);
    opened.until(2).await;
    permit.send_replace(false);
    not_authorised().await;
    let sessions = opened.sessions.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(opened.sessions.load(Ordering::SeqCst), sessions, "no session is opened meanwhile");
    permit.send_replace(true);
    opened.until(sessions + 2).await;
    spool.flush().await;
    stop.cancel();
    let camera: CameraKey = "town/hall".parse().expect("a key");
    let everything = footage::units::TimeRange::new(WallTime(0), WallTime(i64::MAX)).expect("a range");
    let gaps = index.gaps(&camera, everything).await.expect("an index");
    let hours = gaps.iter().filter(|gap| gap.cause == GapCause::NotAuthorised);
    let longest = hours.filter_map(|gap| gap.end.map(|end| end.since(gap.start).0)).max();
    assert!(longest >= Some(3_590 * 90_000), "{gaps:?}");
}
