use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::storage::Storage;
use super::sweep::Sweeper;
use super::*;
use crate::archive::ReadError;
use crate::event::Fact;
use crate::index::{Change, Index, Reason, SegmentRow};
use footage::clock::{Clock, SimClock};
use footage::media::{Gap, GapCause};
use footage::units::{PackId, RunId, TICKS_PER_SECOND, TimeRange};

mod clock;

const MINUTE: i64 = 60 * TICKS_PER_SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn paris() -> TimeZone {
    TimeZone::get("Europe/Paris").expect("the zone is in the system's table")
}

fn time(text: &str) -> WallTime {
    text.parse().expect("an instant of these tests")
}

fn policy() -> Policy {
    Policy {
        interval: Duration::from_secs(300),
        grace: Duration::from_secs(120),
        disk_reserve_bytes: 0,
        store_on_disk: true,
        stored_elsewhere: std::collections::HashSet::new(),
        time_zone: paris(),
        shared: None,
        stores: None,
    }
}

fn camera(name: &str, max: i64, min: i64) -> CameraRow {
    CameraRow {
        key: name.parse().expect("a camera of these tests"),
        name: name.to_owned(),
        place: String::new(),
        configured: true,
        retention_max: Ticks90k(max),
        retention_min: Ticks90k(min),
    }
}

fn pack(camera: &CameraRow, n: u128, start: WallTime, end: WallTime) -> PackRow {
    PackRow {
        id: PackId(n.to_be_bytes()),
        camera: camera.key.clone(),
        run: RunId([1; 16]),
        state: PackState::Stored,
        bytes: 10,
        start,
        end,
        condemned_at: None,
    }
}

#[test]
fn a_month_is_the_calendars_and_ends_at_the_shorter_months_end() {
    let check = |start: &str, max_days: i64, expect: &str| {
        assert_eq!(deadline(time(start), Ticks90k(max_days * DAY), &paris()), time(expect), "{start}");
    };
    // Thirty days are sooner than a month of 31.
    check("2026-01-05T12:00:00Z", 30, "2026-02-04T12:00:00Z");
    // A month is sooner than 30 days.
    check("2026-02-05T12:00:00Z", 30, "2026-03-05T12:00:00Z");
    check("2026-01-31T12:00:00Z", 31, "2026-02-28T12:00:00Z");
    check("2028-01-31T12:00:00Z", 31, "2028-02-29T12:00:00Z");
    // The day is that of the place, not of UTC: in Paris it is the 31st already.
    check("2026-01-30T23:30:00Z", 31, "2026-02-27T23:30:00Z");
    // Summer time shortens the month by an hour.
    check("2026-03-10T12:00:00+01:00", 31, "2026-04-10T12:00:00+02:00");
    check("2026-03-05T12:00:00Z", 1, "2026-03-06T12:00:00Z");
}

#[test]
fn a_time_zone_or_an_instant_at_the_end_of_time_is_no_panic() {
    for at in [i64::MIN, -1, 0, i64::MAX] {
        let at = WallTime(at);
        assert!(deadline(at, MAX_DEFAULT, &paris()) >= at);
        due_until(at, MAX_DEFAULT, &paris());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_past_its_deadline_is_due(
        (year, month, day) in (2023..2032i16, 1..13i8, 25..32i8),
        second in 0..86_400i64,
        days in 26..33i64,
        later in 0..4 * DAY,
    ) {
        // Near a month's end, where the calendar is hard, and at the deadline or soon after.
        let first = jiff::civil::date(year, month, 1);
        let midnight = jiff::civil::date(year, month, day.min(first.days_in_month())).to_zoned_datetime(TimeZone::UTC).unwrap();
        let start = WallTime::from_timestamp(midnight.timestamp()).saturating_add(Ticks90k(second * TICKS_PER_SECOND));
        let max = Ticks90k(days * DAY);
        let deadline = deadline(start, max, &paris());
        let now = deadline.saturating_add(Ticks90k(later));
        let due = due_until(now, max, &paris());
        prop_assert!(start <= due, "{start} was to be gone at {deadline} and is not due at {now}: {due}");
    }

    #[test]
    fn what_is_due_is_at_most_a_day_and_a_clock_change_before_its_deadline(
        now in 1_700_000_000..1_900_000_000i64,
        days in 1..33i64,
    ) {
        let (now, max) = (WallTime(now * TICKS_PER_SECOND), Ticks90k(days * DAY));
        let due = due_until(now, max, &paris());
        let early = deadline(due, max, &paris()).since(now).0;
        // Where the days decide and not the month, it is exact.
        let allowed = if due == now.saturating_sub(max) { 0 } else { DAY + HOUR };
        prop_assert!(early <= allowed, "{due} is due at {now}, {} s early", early / TICKS_PER_SECOND);
    }
}

#[test]
fn the_nights_when_the_clocks_change_delay_no_deadline() {
    for night in ["2028-02-26T00:00:00Z", "2026-09-24T22:00:00Z"] {
        for (minute, wait) in (0..240).step_by(5).flat_map(|m| [0, 20, 60, 90].map(|wait| (m, wait))) {
            let start = time(night).saturating_add(Ticks90k(minute * MINUTE));
            let deadline = deadline(start, Ticks90k(40 * DAY), &paris());
            let now = deadline.saturating_add(Ticks90k(wait * MINUTE));
            let due = due_until(now, Ticks90k(40 * DAY), &paris());
            assert!(start <= due, "{start} was to be gone at {deadline} and is not due at {now}: {due}");
        }
    }
}

#[test]
fn a_full_disk_takes_the_oldest_beyond_their_guaranteed_time_across_cameras() {
    let now = time("2026-03-10T12:00:00Z");
    let back = |hours: i64| now.saturating_sub(Ticks90k(hours * HOUR));
    let (a, b) = (camera("t/a", 30 * DAY, DAY), camera("t/b", 30 * DAY, 3 * DAY));
    let packs_of = |camera: &CameraRow, hours: &[i64]| {
        let packs = hours.iter().map(|h| pack(camera, *h as u128, back(*h), back(h - 1))).collect();
        CameraPacks { camera: camera.clone(), packs, more: false }
    };
    let cameras = [packs_of(&a, &[90, 70, 50, 30, 10]), packs_of(&b, &[80, 60, 40])];
    let check = |free_bytes: u64, condemned: &[PackRow], expect: &[i64], short_bytes: u64| {
        let policy = Policy { disk_reserve_bytes: 100, ..policy() };
        let plan = plan(&Inputs { now, policy: &policy, cameras: &cameras, condemned, free_bytes });
        let chosen: Vec<_> = plan.early.iter().map(|pack| back(0).since(pack.start).0 / HOUR).collect();
        assert_eq!((chosen.as_slice(), plan.short_bytes), (expect, short_bytes), "with {free_bytes} bytes free");
        assert!(plan.expired.is_empty() && !plan.more);
    };
    check(100, &[], &[], 0);
    check(95, &[], &[90], 0);
    check(71, &[], &[90, 80, 70], 0);
    // Packs of b younger than three days stay, and the last of a, and that is said.
    check(0, &[], &[90, 80, 70, 50, 30], 50);
    // What is condemned already is counted as coming.
    let coming = PackRow { condemned_at: Some(now), state: PackState::Condemned, ..cameras[0].packs[0].clone() };
    check(90, &[coming], &[], 0);
}

#[test]
fn a_full_disk_is_not_helped_by_deleting_what_lies_in_a_store_elsewhere() {
    let now = time("2026-03-10T12:00:00Z");
    let a = camera("t/a", 30 * DAY, 0);
    let mut packs: Vec<_> = (1..4i64)
        .rev()
        .map(|h| {
            pack(&a, h as u128, now.saturating_sub(Ticks90k(h * HOUR)), now.saturating_sub(Ticks90k((h - 1) * HOUR)))
        })
        .collect();
    packs[1].state = PackState::Sealed;
    let waiting = packs[1].id;
    let policy = Policy { disk_reserve_bytes: 100, store_on_disk: false, ..policy() };
    let cameras = [CameraPacks { camera: a, packs, more: false }];
    let plan = plan(&Inputs { now, policy: &policy, cameras: &cameras, condemned: &[], free_bytes: 0 });
    assert_eq!(plan.early.iter().map(|pack| pack.id).collect::<Vec<_>>(), [waiting]);
    assert_eq!(plan.short_bytes, 90);
}

#[test]
fn a_full_disk_does_not_pass_over_packs_that_were_not_read_yet() {
    let now = time("2026-03-10T12:00:00Z");
    let back = |hours: i64| now.saturating_sub(Ticks90k(hours * HOUR));
    let (a, b) = (camera("t/a", 30 * DAY, 0), camera("t/b", 30 * DAY, 0));
    let of_a = CameraPacks { packs: vec![pack(&a, 1, back(90), back(89))], camera: a, more: true };
    let of_b = CameraPacks { packs: vec![pack(&b, 2, back(50), back(49))], camera: b, more: false };
    let policy = Policy { disk_reserve_bytes: 100, ..policy() };
    let cameras = [of_a, of_b];
    let plan = plan(&Inputs { now, policy: &policy, cameras: &cameras, condemned: &[], free_bytes: 0 });
    assert_eq!(plan.early.iter().map(|pack| pack.start).collect::<Vec<_>>(), [back(90)]);
    assert!(plan.more, "a may have packs older than b's");
}

#[test]
fn a_policy_that_cannot_be_kept_is_reported_and_the_maximum_wins() {
    let now = time("2026-03-10T12:00:00Z");
    let a = camera("t/a", DAY, 2 * DAY);
    let old = pack(&a, 1, now.saturating_sub(Ticks90k(DAY)), now.saturating_sub(Ticks90k(DAY - MINUTE)));
    let cameras = [CameraPacks { camera: a.clone(), packs: vec![old.clone()], more: false }];
    let plan = plan(&Inputs { now, policy: &policy(), cameras: &cameras, condemned: &[], free_bytes: 0 });
    assert_eq!((plan.expired, plan.contradicted), (vec![old], vec![a.key]));
}

#[test]
fn a_clock_that_stepped_back_does_not_prolong_the_grace_time() {
    let now = time("2026-03-10T12:00:00Z");
    let a = camera("t/a", DAY, 0);
    let check = |condemned_at: &str, expect: usize| {
        let condemned_at = Some(time(condemned_at));
        let condemned = [PackRow { state: PackState::Condemned, condemned_at, ..pack(&a, 1, now, now) }];
        let plan = plan(&Inputs { now, policy: &policy(), cameras: &[], condemned: &condemned, free_bytes: 0 });
        assert_eq!(plan.delete.len(), expect, "{condemned_at:?}");
    };
    check("2026-03-10T11:58:00Z", 1);
    check("2026-03-10T11:58:01Z", 0);
    check("2026-03-10T12:00:00Z", 0);
    check("2026-03-10T13:00:00Z", 1);
}

/// A camera's recording of 40 days in packs of `length`, swept every interval with the disk as full as `used` says.
fn simulate(camera: CameraRow, start: WallTime, length: i64, disk_bytes: u64, late: &[bool]) {
    let policy = Policy { disk_reserve_bytes: 50, ..policy() };
    let step = Ticks90k::from_duration(policy.interval).0;
    let mut objects: VecDeque<PackRow> = VecDeque::new();
    let mut condemned: Vec<PackRow> = Vec::new();
    let mut recorded = start;
    for n in 0..40 * DAY / step {
        let now = WallTime(start.0 + n * step);
        while recorded.0 + length <= now.0 {
            let end = WallTime(recorded.0 + length);
            objects.push_back(pack(&camera, recorded.0 as u128, recorded, end));
            recorded = end;
        }
        // Some of the oldest: at a month's end, a later start may have a sooner deadline.
        for held in objects.iter().take(200).step_by(16).chain(&condemned) {
            let deadline = deadline(held.start, camera.retention_max, &policy.time_zone);
            assert!(now <= deadline, "footage of {} is still there at {now}, after {deadline}", held.start);
        }
        // A sweep that fails, or that the machine had no time for.
        if late[n as usize % late.len()] && !late[(n as usize + late.len() - 1) % late.len()] {
            continue;
        }
        let used = 10 * (objects.len() + condemned.len()) as u64;
        let free_bytes = disk_bytes.saturating_sub(used);
        let packs = objects.iter().take(64).cloned().collect();
        let cameras = [CameraPacks { camera: camera.clone(), packs, more: objects.len() > 64 }];
        let inputs = Inputs { now, policy: &policy, cameras: &cameras, condemned: &condemned, free_bytes };
        let plan = plan(&inputs);
        assert_eq!(plan, super::plan(&inputs), "the same inputs give the same plan");
        assert!(plan.contradicted.is_empty(), "the policies of this test can be kept");
        let chosen: Vec<PackRow> = plan.expired.iter().chain(&plan.early).cloned().collect();
        for pack in &chosen {
            let guaranteed = pack.end.saturating_add(camera.retention_min);
            assert!(now >= guaranteed, "footage of {} goes at {now}, guaranteed until {guaranteed}", pack.start);
        }
        condemned.retain(|pack| !plan.delete.iter().any(|gone| gone.id == pack.id));
        let kept: Vec<_> = objects.drain(..objects.len().min(64)).filter(|pack| !chosen.contains(pack)).collect();
        kept.into_iter().rev().for_each(|pack| objects.push_front(pack));
        // Planned again at once, with what was chosen condemned, nothing more is chosen.
        let now_condemned = |pack: PackRow| PackRow { state: PackState::Condemned, condemned_at: Some(now), ..pack };
        condemned.extend(chosen.into_iter().map(now_condemned));
        let packs = objects.iter().take(64).cloned().collect();
        let cameras = [CameraPacks { camera: camera.clone(), packs, more: objects.len() > 64 }];
        let freed = 10 * plan.delete.len() as u64;
        let free_bytes = free_bytes.saturating_add(freed);
        let again = super::plan(&Inputs { now, policy: &policy, cameras: &cameras, condemned: &condemned, free_bytes });
        assert!(again.delete.is_empty() && (plan.more || again.expired.len() + again.early.len() == 0), "{again:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn through_40_days_nothing_is_kept_after_the_maximum_nor_destroyed_before_the_minimum(
        start in 1_700_000_000..1_800_000_000i64,
        max_hours in 24..744i64,
        min_share in 0..80i64,
        length in 10..240i64,
        disk_share in 1..130i64,
        late in prop::collection::vec(any::<bool>(), 1..12),
    ) {
        let max = max_hours * HOUR;
        // Of the time that margin, pack and the shortest month leave.
        let min = (max.min(27 * DAY) - policy().margin().0 - length * MINUTE).max(0) / 100 * min_share;
        // Of what the maximum would fill.
        let disk_bytes = 60 + (max / (length * MINUTE) * 10 * disk_share / 100) as u64;
        simulate(camera("t/a", max, min), WallTime(start * TICKS_PER_SECOND), length * MINUTE, disk_bytes, &late);
    }
}

/// Segments of a pack of [`World`].
const SEGMENTS: i64 = 4;

/// An index with a sweeper over a store that is a list of objects.
struct World {
    index: Index,
    clock: Arc<SimClock>,
    objects: Arc<Mutex<BTreeMap<PackId, PackRow>>>,
    free_bytes: Arc<AtomicU64>,
    /// Deletions that fail before the next one succeeds.
    failing: Arc<AtomicU64>,
    storage: Storage,
    sweeper: Sweeper,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(cameras: Vec<CameraRow>, policy: Policy, now: WallTime) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
        let runs = cameras.iter().enumerate().map(|(n, camera)| Change::BeginRun {
            camera: camera.key.clone(),
            run: RunId([n as u8; 16]),
            start: now,
        });
        let runs: Vec<_> = runs.collect();
        index.write(std::iter::once(Change::Configure(cameras)).chain(runs).collect()).await.unwrap();
        let clock = Arc::new(SimClock::starting_at(now));
        let objects: Arc<Mutex<BTreeMap<PackId, PackRow>>> = Arc::default();
        let (free_bytes, failing) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(0)));
        let (store, fails, free) = (Arc::clone(&objects), Arc::clone(&failing), Arc::clone(&free_bytes));
        let kept = Arc::clone(&objects);
        let storage = Storage {
            is_there: Arc::new(move |pack| {
                let is_there = kept.lock().unwrap().contains_key(&pack.id);
                Box::pin(std::future::ready(Ok(is_there)))
            }),
            delete: Arc::new(move |pack| {
                let fail = fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
                if !fail {
                    store.lock().unwrap().remove(&pack.id);
                }
                let result = if fail { Err(ReadError::NotFound(pack.id).into()) } else { Ok(()) };
                Box::pin(std::future::ready(result))
            }),
            free_bytes: Arc::new(move || Ok(free.load(Ordering::SeqCst))),
            vault: footage::keys::vault::Vault::none(),
        };
        let sweeper = Sweeper::new(index.clone(), Arc::clone(&clock) as Arc<dyn Clock>, storage.clone(), policy);
        Self { index, clock, objects, free_bytes, failing, storage, sweeper, _dir: dir }
    }

    /// A stored pack that ends now, of the `n`th camera.
    async fn record(&self, n: usize, camera: &CameraRow, length: i64) -> PackRow {
        let pack = self.record_sealed(n, camera, length).await;
        self.index.write(vec![Change::PackStored { pack: pack.id }]).await.unwrap();
        pack
    }

    /// One that waits for the store.
    async fn record_sealed(&self, n: usize, camera: &CameraRow, length: i64) -> PackRow {
        let now = self.clock.wall();
        let start = now.saturating_sub(Ticks90k(length));
        let row = PackRow { run: RunId([n as u8; 16]), ..pack(camera, (now.0 as u128) << 8 | n as u128, start, now) };
        let segments = (0..SEGMENTS).map(|k| Change::PutSegment {
            camera: camera.key.clone(),
            segment: SegmentRow {
                range: TimeRange::new(
                    start.saturating_add(Ticks90k(length * k / SEGMENTS)),
                    start.saturating_add(Ticks90k(length * (k + 1) / SEGMENTS)),
                )
                .unwrap(),
                run: row.run,
                decode_time: Ticks90k::ZERO,
                pack: row.id,
                state: PackState::Stored,
                first_fragment: k as u32,
                fragments: 1,
            },
            pack_bytes: 10,
        });
        let mut changes = vec![Change::OpenPack(row.clone())];
        changes.extend(segments);
        changes.push(Change::SealPack { pack: row.id, bytes: 10 });
        self.index.write(changes).await.unwrap();
        self.objects.lock().unwrap().insert(row.id, row.clone());
        row
    }

    async fn events(&self, kind: &str) -> usize {
        let tenant = "t".parse().unwrap();
        self.index.events(&tenant, None, 0, 1_000).await.unwrap().iter().filter(|event| event.kind() == kind).count()
    }
}

#[tokio::test(start_paused = true)]
async fn swept_for_40_days_the_store_the_index_and_the_register_agree() {
    let cameras = vec![camera("t/a", 30 * DAY, DAY), camera("t/b", 2 * DAY, 0)];
    let policy = Policy { interval: Duration::from_secs(3_600), ..policy() };
    let mut world = World::new(cameras.clone(), policy, time("2026-02-10T12:00:00Z")).await;
    for hour in 0..40 * 24 {
        tokio::time::advance(Duration::from_secs(3_600)).await;
        let now = world.clock.wall();
        for held in world.objects.lock().unwrap().values() {
            let max = cameras.iter().find(|camera| camera.key == held.camera).unwrap().retention_max;
            assert!(now <= deadline(held.start, max, &paris()), "{held:?} is still there at {now}");
        }
        for (n, camera) in cameras.iter().enumerate() {
            world.record(n, camera, HOUR).await;
            let gap =
                Gap { start: now, end: now.saturating_add(Ticks90k(1)), cause: GapCause::Silent, lost_packets: 0 };
            world.index.write(vec![Change::PutGap { camera: camera.key.clone(), gap }]).await.unwrap();
        }
        // The camera is taken out of the configuration and keeps its policy.
        if hour == 100 {
            world.index.write(vec![Change::Configure(vec![cameras[1].clone()])]).await.unwrap();
        }
        world.sweeper.sweep().await.unwrap();
    }
    let now = world.clock.wall();
    let all = TimeRange::new(WallTime(0), now.saturating_add(Ticks90k(DAY))).unwrap();
    for camera in &cameras {
        let objects: Vec<_> =
            world.objects.lock().unwrap().values().filter(|p| p.camera == camera.key).cloned().collect();
        let oldest = objects.iter().map(|pack| pack.start).min().unwrap();
        let age = now.since(oldest).0;
        let expected = camera.retention_max.0.min(28 * DAY);
        assert!(age > expected - 8 * HOUR, "footage was destroyed {} hours early", (expected - age) / HOUR);
        let spans = world.index.spans(&camera.key, all).await.unwrap();
        let has_object = |span: &TimeRange| objects.iter().any(|p| p.start <= span.start() && span.end() <= p.end);
        assert!(spans.iter().all(has_object), "what is readable is there");
        // What is condemned and waits for its end is there, and not readable.
        let readable = spans.len() / SEGMENTS as usize;
        assert!((readable..=readable + 2).contains(&objects.len()), "{} objects, {readable} readable", objects.len());
        let destroyed: u64 = world.index.deletions(&camera.key, all).await.unwrap().iter().map(|day| day.packs).sum();
        assert_eq!(destroyed as usize + objects.len(), 40 * 24);
        let gaps = world.index.gaps(&camera.key, all).await.unwrap();
        assert!(gaps.len() <= readable + 2 && gaps[0].start >= spans[0].start());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_leaves_condemned_rows_for_the_next_sweep() {
    let a = camera("t/a", 2 * HOUR, 0);
    let mut world = World::new(vec![a.clone()], policy(), time("2026-03-10T12:00:00Z")).await;
    let row = world.record(0, &a, 10 * MINUTE).await;
    tokio::time::advance(Duration::from_secs(2 * 3_600)).await;
    assert_eq!(world.sweeper.sweep().await.unwrap().expired, 1);
    let range = TimeRange::new(row.start, row.end).unwrap();
    assert!(world.index.spans(&a.key, range).await.unwrap().is_empty(), "condemned is invisible at once");
    assert_eq!(world.objects.lock().unwrap().len(), 1, "and there for the grace time");
    tokio::time::advance(Duration::from_secs(121)).await;
    world.failing.store(1, Ordering::SeqCst);
    let report = world.sweeper.sweep().await.unwrap();
    assert_eq!((report.deleted, report.failed), (0, 1));
    assert!(world.index.any_pack(row.id).await.unwrap().is_some(), "no row is forgotten before its object");
    assert!(world.index.deletions(&a.key, range).await.unwrap().is_empty());
    let report = world.sweeper.sweep().await.unwrap();
    assert_eq!((report.deleted, report.failed), (1, 0));
    assert!(world.index.any_pack(row.id).await.unwrap().is_none());
    let register = world.index.deletions(&a.key, range).await.unwrap();
    assert_eq!((register[0].packs, register[0].reason, register[0].range), (1, Reason::Expired, range));
    assert_eq!(world.events("pack_deleted").await, 1);
    assert_eq!(world.sweeper.sweep().await.unwrap(), sweep::SweepReport::default(), "nothing is left to do");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_within_the_guaranteed_time_destroys_nothing_and_raises_one_alarm() {
    let a = camera("t/a", 20 * DAY, DAY);
    let policy = Policy { disk_reserve_bytes: 1_000, ..policy() };
    let mut world = World::new(vec![a.clone()], policy, time("2026-03-10T12:00:00Z")).await;
    for _ in 0..100 {
        tokio::time::advance(Duration::from_secs(600)).await;
        world.record(0, &a, 10 * MINUTE).await;
    }
    world.free_bytes.store(300, Ordering::SeqCst);
    for _ in 0..3 {
        let report = world.sweeper.sweep().await.unwrap();
        assert_eq!((report.early, report.short_bytes), (0, 700));
    }
    assert_eq!(world.events("disk_full").await, 1, "the alarm is raised once while it lasts");
    // A day later the guaranteed time of all is over: more than one page of them goes.
    tokio::time::advance(Duration::from_secs(86_400)).await;
    let report = world.sweeper.sweep().await.unwrap();
    assert_eq!((report.early, report.short_bytes), (70, 0));
    assert_eq!(world.events("condemned_early").await, 2, "one for each page that was read");
    let kept = world.index.extent(&a.key).await.unwrap().unwrap();
    let newest = world.objects.lock().unwrap().values().map(|pack| pack.end).max().unwrap();
    assert_eq!((kept.end(), kept.duration()), (newest, Ticks90k(30 * 10 * MINUTE)), "the oldest went first");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_hold_the_retention_is_an_alarm_before_it_is_full() {
    let a = camera("t/a", 20 * DAY, DAY);
    let policy = Policy { disk_reserve_bytes: 1_000, ..policy() };
    let mut world = World::new(vec![a.clone()], policy, time("2026-03-10T12:00:00Z")).await;
    for _ in 0..30 {
        tokio::time::advance(Duration::from_secs(600)).await;
        world.record(0, &a, 10 * MINUTE).await;
    }
    // 60 bytes an hour: twenty days ask for 28,800, of which 300 are there.
    let too_small = async |world: &World| {
        let events = world.index.all_events(0, 1_000).await.unwrap();
        events.iter().filter(|event| matches!(event.event.fact, Fact::DiskTooSmall { .. })).count()
    };
    world.free_bytes.store(1_000 + 28_500, Ordering::SeqCst);
    assert_eq!(world.sweeper.sweep().await.unwrap().early, 0);
    assert_eq!(too_small(&world).await, 0, "it is just large enough");
    world.free_bytes.store(1_000 + 14_100, Ordering::SeqCst);
    world.sweeper.sweep().await.unwrap();
    assert_eq!(too_small(&world).await, 0, "looked at once an hour");
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(3_600)).await;
        let report = world.sweeper.sweep().await.unwrap();
        assert_eq!((report.early, report.short_bytes), (0, 0), "nothing is destroyed for it");
    }
    assert_eq!(too_small(&world).await, 1, "one alarm while it lasts");
}

#[tokio::test(start_paused = true)]
async fn a_spool_full_of_what_waits_for_a_store_gives_up_the_oldest_of_it() {
    let a = camera("t/a", 20 * DAY, HOUR);
    let policy = Policy { disk_reserve_bytes: 1_000, store_on_disk: false, ..policy() };
    let mut world = World::new(vec![a.clone()], policy, time("2026-03-10T12:00:00Z")).await;
    for _ in 0..100 {
        tokio::time::advance(Duration::from_secs(600)).await;
        world.record(0, &a, 10 * MINUTE).await;
    }
    let mut waiting = Vec::new();
    for _ in 0..12 {
        tokio::time::advance(Duration::from_secs(600)).await;
        waiting.push(world.record_sealed(0, &a, 10 * MINUTE).await.id);
    }
    world.free_bytes.store(970, Ordering::SeqCst);
    let report = world.sweeper.sweep().await.unwrap();
    assert_eq!((report.early, report.short_bytes), (3, 0));
    let condemned = world.index.packs_in_state(PackState::Condemned, 99).await.unwrap();
    assert_eq!(condemned.iter().map(|pack| pack.id).collect::<Vec<_>>(), waiting[..3]);
    world.free_bytes.store(0, Ordering::SeqCst);
    let report = world.sweeper.sweep().await.unwrap();
    assert_eq!((report.early, report.short_bytes), (3, 940), "an hour of them is guaranteed");
}

#[tokio::test(start_paused = true)]
async fn the_sweeper_runs_until_it_is_stopped() {
    let a = camera("t/a", 2 * HOUR, 0);
    let world = World::new(vec![a.clone()], policy(), time("2026-03-10T12:00:00Z")).await;
    for _ in 0..150 {
        world.record(0, &a, 10 * MINUTE).await;
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(world.sweeper.run(stop.clone()));
    tokio::time::sleep(Duration::from_secs(3 * 3_600)).await;
    assert_eq!(world.objects.lock().unwrap().len(), 0);
    assert_eq!(world.index.extent(&a.key).await.unwrap(), None);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn the_disk_says_how_much_is_free() {
    let dir = tempfile::tempdir().unwrap();
    assert!(footage::platform::free_bytes(dir.path()).unwrap() > 0);
    assert!(footage::platform::free_bytes(&dir.path().join("missing")).is_err());
}
