use futures::StreamExt;

use super::*;
use footage::clock::SimClock;
use footage::media::{VideoCodec, VideoParams};
use footage::units::{TICKS_PER_SECOND, Ticks90k};

const START: WallTime = WallTime(1_800_000_000 * TICKS_PER_SECOND);

fn params(name: &str) -> Arc<Params> {
    let video = VideoParams {
        codec: VideoCodec::H264,
        width: 320,
        height: 240,
        sample_entry: Bytes::from_static(b"\0\0\0\x08avc1"),
        rfc6381: name.to_owned(),
    };
    Arc::new(Params { video, audio: None })
}

fn second(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn offline() -> SourceError {
    SourceError { cause: GapCause::ConnectFailed, detail: "scripted".to_owned() }
}

fn source(camera: ReplayCamera) -> (ReplaySource, Arc<SimClock>) {
    let clock = Arc::new(SimClock::starting_at(START));
    (ReplaySource::new(params("first"), camera, clock.clone()), clock)
}

/// Opens one session and takes all that it yields.
async fn session(source: &ReplaySource) -> Vec<Result<Item, SourceError>> {
    source.open().await.expect("the script lets it open").items.collect().await
}

fn units(items: &[Result<Item, SourceError>]) -> Vec<&AccessUnit> {
    let unit = |item| match item {
        &Ok(Item::AccessUnit(ref unit)) => Some(unit),
        _ => None,
    };
    items.iter().filter_map(unit).collect()
}

#[tokio::test(start_paused = true)]
async fn pictures_come_at_their_rate_and_are_stamped_when_they_are_due() {
    let (source, _) = source(ReplayCamera { duration: Some(second(4)), ..ReplayCamera::default() });
    let items = session(&source).await;
    let units = units(&items);
    assert_eq!(units.len(), 100);
    for (i, unit) in units.iter().enumerate() {
        let i = i64::try_from(i).expect("few");
        assert_eq!(unit.timestamp, i * 3_600);
        assert_eq!(unit.random_access, i % 50 == 0);
        let late = unit.received.wall.since(START).0 - i * 3_600;
        assert!((0..=90).contains(&late), "picture {i} is {late} ticks late; tokio's timers count milliseconds");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_makes_the_same_bytes_and_another_makes_others() {
    let film = |seed| async move {
        let (source, _) = source(ReplayCamera { seed, duration: Some(second(1)), ..ReplayCamera::default() });
        session(&source).await
    };
    let (a, b, c) = (film(7).await, film(7).await, film(8).await);
    let data = |items: &[Result<Item, SourceError>]| units(items).iter().map(|u| u.data.clone()).collect::<Vec<_>>();
    assert_eq!(data(&a), data(&b));
    assert_ne!(data(&a), data(&c));
    let mut unlike = data(&a);
    unlike.sort();
    unlike.dedup();
    assert_eq!(unlike.len(), 25, "two pictures are the same");
}

#[tokio::test(start_paused = true)]
async fn waking_in_ticks_yields_everything_once_and_late_by_less_than_a_tick() {
    let tick = Duration::from_millis(500);
    let (source, _) = source(ReplayCamera { duration: Some(second(10)), ..ReplayCamera::default() });
    let source = source.waking_every(tick);
    let items = session(&source).await;
    let units = units(&items);
    assert_eq!(units.len(), 250);
    for (i, unit) in units.iter().enumerate() {
        let late = unit.received.wall.since(START).0 - i64::try_from(i).expect("few") * 3_600;
        assert!((0..=45_090).contains(&late), "picture {i} is {late} ticks late");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_the_session_and_the_next_one_begins_after_it() {
    let faults = vec![(second(2), ReplayFault::Fail { until: second(5), error: offline() })];
    let (source, _) = source(ReplayCamera { duration: Some(second(8)), faults, ..ReplayCamera::default() });
    let before = session(&source).await;
    assert_eq!(units(&before).len(), 50);
    assert_eq!(before.last(), Some(&Err(offline())));
    assert_eq!(source.open().await.err(), Some(offline()));
    tokio::time::sleep(second(3)).await;
    let after = session(&source).await;
    // Filmed from 5 s (and what the timer's millisecond may cost) to 8 s.
    assert!((74..=75).contains(&units(&after).len()), "{} pictures", units(&after).len());
    assert!(after.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_the_session_where_it_is_watched_for() {
    let faults = vec![(second(2), ReplayFault::Silence { until: second(60) })];
    let (source, clock) = source(ReplayCamera { duration: Some(second(61)), faults, ..ReplayCamera::default() });
    let source = source.silent_after(second(10));
    let items = session(&source).await;
    assert_eq!(units(&items).len(), 50);
    let error = items.last().and_then(|i| i.as_ref().err()).expect("an end");
    assert_eq!(error.cause, GapCause::Silent);
    let ended = clock.read().mono.as_secs_f64();
    assert!((11.9..12.1).contains(&ended), "ended after {ended} s");
}

#[tokio::test(start_paused = true)]
async fn lost_packets_surface_on_the_next_picture() {
    let faults = vec![(Duration::from_millis(500), ReplayFault::Loss { packets: 3 })];
    let (source, _) = source(ReplayCamera { duration: Some(second(1)), faults, ..ReplayCamera::default() });
    let items = session(&source).await;
    let units = units(&items);
    assert_eq!(units.len(), 24);
    let lossy: Vec<_> = units.iter().filter(|u| u.lost_packets > 0).map(|u| (u.timestamp, u.lost_packets)).collect();
    assert_eq!(lossy, [(14 * 3_600, 3)]);
}

#[tokio::test(start_paused = true)]
async fn jumps_move_the_timestamps_and_leave_the_pace() {
    let faults = vec![(second(1), ReplayFault::Jump { by: Ticks90k(-900_000) })];
    let (source, clock) = source(ReplayCamera { duration: Some(second(2)), faults, ..ReplayCamera::default() });
    let items = session(&source).await;
    let timestamps: Vec<_> = units(&items).iter().map(|u| u.timestamp).collect();
    assert_eq!(timestamps[24..26], [24 * 3_600, 25 * 3_600 - 900_000]);
    assert!(clock.read().mono < second(3));
}

#[tokio::test(start_paused = true)]
async fn new_parameters_come_with_a_random_access_point_and_outlive_the_session() {
    let faults = vec![
        (second(1), ReplayFault::NewParams(params("second"))),
        (second(3), ReplayFault::Fail { until: second(3), error: offline() }),
    ];
    let (source, _) = source(ReplayCamera { duration: Some(second(5)), faults, ..ReplayCamera::default() });
    let items = session(&source).await;
    let changes: Vec<_> = units(&items).into_iter().filter(|u| u.new_params.is_some()).collect();
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].timestamp, changes[0].random_access), (2 * TICKS_PER_SECOND, true));
    assert_eq!(source.open().await.expect("up again").params, params("second"));
}

#[tokio::test(start_paused = true)]
async fn sender_reports_show_the_cameras_own_clock_and_its_steps() {
    let hour = Ticks90k(3_600 * TICKS_PER_SECOND);
    let faults = vec![(second(7), ReplayFault::ClockStep { by: hour })];
    let camera_time = Some(START.saturating_add(Ticks90k(90)));
    let (source, _) = source(ReplayCamera {
        duration: Some(second(12)),
        camera_time,
        first_timestamp: 1_000,
        faults,
        ..ReplayCamera::default()
    });
    let items = session(&source).await;
    let reports: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Ok(Item::SenderReport { timestamp, camera_time, .. }) => Some((*timestamp, camera_time.since(START).0)),
            _ => None,
        })
        .collect();
    assert_eq!(reports, [(1_000, 90), (451_000, 450_090), (901_000, 900_090 + hour.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_day_of_pictures_is_yielded_whole() {
    let day = second(24 * 3_600);
    let (source, _) = source(ReplayCamera { duration: Some(day), ..ReplayCamera::default() });
    let mut items = source.waking_every(second(1)).open().await.expect("the script lets it open").items;
    let mut pictures = 0u32;
    while let Some(item) = items.next().await {
        assert!(item.is_ok());
        pictures += 1;
    }
    assert_eq!(pictures, 24 * 3_600 * 25);
}
