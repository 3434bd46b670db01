//! A wall clock that steps ahead, wrongly or rightly.

use super::super::steady_clock::{CONFIRM, STEP_MAX};
use super::*;

const SWEEP: Duration = Duration::from_secs(300);

/// A camera with two days of footage, swept until now, with a pack an hour.
async fn two_days() -> (World, CameraRow) {
    let a = camera("t/a", 2 * DAY, 0);
    let mut world = World::new(vec![a.clone()], policy(), time("2026-03-10T12:00:00Z")).await;
    for _ in 0..60 {
        tokio::time::advance(Duration::from_secs(3_600)).await;
        world.record(0, &a, HOUR).await;
        world.sweeper.sweep().await.unwrap();
    }
    // What was condemned last is gone too.
    sweep_for(&mut world, 10 * MINUTE).await;
    (world, a)
}

/// Sweeps for so long, without footage.
async fn sweep_for(world: &mut World, length: i64) {
    for _ in 0..length / Ticks90k::from_duration(SWEEP).0 {
        tokio::time::advance(SWEEP).await;
        world.sweeper.sweep().await.unwrap();
    }
}

fn objects(world: &World) -> usize {
    world.objects.lock().unwrap().len()
}

/// As a restart of the gateway does.
fn restart(world: &mut World) {
    world.sweeper = Sweeper::new(world.index.clone(), world.clock.clone(), world.storage.clone(), policy());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_leaps_a_month_destroys_only_what_is_due_without_the_leap() {
    let (mut world, _) = two_days().await;
    let before = objects(&world);
    world.clock.step(Ticks90k(31 * DAY));
    sweep_for(&mut world, 10 * HOUR).await;
    assert_eq!(objects(&world), before - 10, "a pack an hour goes on expiring");
    assert_eq!((world.events("clock_doubted").await, world.events("clock_believed").await), (1, 0));
    world.clock.step(Ticks90k(-31 * DAY));
    sweep_for(&mut world, HOUR).await;
    assert_eq!(objects(&world), before - 11, "back to the wall clock, as if nothing had been");
    assert_eq!((world.events("clock_doubted").await, world.events("clock_believed").await), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_holds_for_a_day_is_believed_so_that_nothing_is_kept_for_longer() {
    let (mut world, a) = two_days().await;
    world.clock.step(Ticks90k(31 * DAY));
    sweep_for(&mut world, CONFIRM.0 - 10 * MINUTE).await;
    assert!(objects(&world) > 0, "not a day yet");
    sweep_for(&mut world, HOUR).await;
    assert_eq!(objects(&world), 0, "all is past its maximum by a clock that has held for a day");
    world.record(0, &a, HOUR).await;
    sweep_for(&mut world, HOUR).await;
    assert_eq!(objects(&world), 1);
    assert_eq!((world.events("clock_doubted").await, world.events("clock_believed").await), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_step_of_an_hour_is_believed_at_once() {
    let (mut world, _) = two_days().await;
    let before = objects(&world);
    world.clock.step(STEP_MAX);
    sweep_for(&mut world, 10 * MINUTE).await;
    assert_eq!(objects(&world), before - 1);
    assert_eq!(world.events("clock_doubted").await, 0);
}

#[tokio::test(start_paused = true)]
async fn small_steps_do_not_add_up_to_a_great_one() {
    let (mut world, _) = two_days().await;
    let before = objects(&world);
    for _ in 0..20 {
        world.clock.step(Ticks90k(50 * MINUTE));
        sweep_for(&mut world, 10 * MINUTE).await;
    }
    // 20 steps are nearly 17 hours; 200 minutes have passed.
    assert!(objects(&world) >= before - 5, "{} of {before} are left", objects(&world));
    assert_eq!(world.events("clock_doubted").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_with_a_clock_far_ahead_destroys_nothing_more_and_restarts_do_not_prolong_the_doubt() {
    let (mut world, _) = two_days().await;
    let before = objects(&world);
    world.clock.step(Ticks90k(31 * DAY));
    for _ in 0..4 {
        restart(&mut world);
        sweep_for(&mut world, 5 * HOUR).await;
    }
    let left = objects(&world);
    assert!((before - 22..=before - 20).contains(&left), "{left} of {before} are left after 20 hours");
    restart(&mut world);
    sweep_for(&mut world, 5 * HOUR).await;
    assert_eq!(objects(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn an_absence_of_two_hours_delays_nothing() {
    let (mut world, _) = two_days().await;
    let before = objects(&world);
    tokio::time::advance(Duration::from_secs(2 * 3_600)).await;
    restart(&mut world);
    sweep_for(&mut world, 10 * MINUTE).await;
    assert_eq!(objects(&world), before - 2);
    assert_eq!(world.events("clock_doubted").await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_index_rebuilt_is_judged_by_its_newest_footage() {
    let a = camera("t/a", 2 * DAY, 0);
    let mut world = World::new(vec![a.clone()], policy(), time("2026-03-10T12:00:00Z")).await;
    world.record(0, &a, HOUR).await;
    world.clock.step(Ticks90k(31 * DAY));
    restart(&mut world);
    sweep_for(&mut world, 20 * HOUR).await;
    assert_eq!((objects(&world), world.events("clock_doubted").await), (1, 1));
    sweep_for(&mut world, 5 * HOUR).await;
    assert_eq!(objects(&world), 0);
}

/// A clock that is off by `off` while a pack is recorded, then is set right. Expects how old the pack is when it goes.
async fn check_misdated(off: i64, sweep_while_wrong: bool) {
    let a = camera("t/a", 2 * DAY, DAY);
    let mut world = World::new(vec![a.clone()], policy(), time("2026-03-10T12:00:00Z")).await;
    // What the time service and the index know before.
    world.sweeper.sweep().await.unwrap();
    world.clock.step(Ticks90k(off));
    let boot = world.clock.boot();
    let base = world.clock.read().base();
    world.index.write(vec![Change::RunBase { run: RunId([0; 16]), boot, base }]).await.unwrap();
    tokio::time::advance(Duration::from_secs(3_600)).await;
    world.record(0, &a, HOUR).await;
    if sweep_while_wrong {
        sweep_for(&mut world, HOUR).await;
    }
    world.clock.step(Ticks90k(-off));
    let begun = world.clock.read().mono;
    while objects(&world) > 0 {
        tokio::time::advance(SWEEP).await;
        world.sweeper.sweep().await.unwrap();
        let age = world.clock.read().mono - begun + Duration::from_secs(3_600);
        assert!(age <= Duration::from_secs(2 * 86_400), "off by {off}: kept for {age:?}");
    }
    let age = world.clock.read().mono - begun + Duration::from_secs(3_600);
    let margin = policy().margin().to_duration() + Duration::from_secs(2 * 3_600) + SWEEP * 3;
    assert!(age + margin >= Duration::from_secs(2 * 86_400), "off by {off}: destroyed after {age:?}");
}

#[tokio::test(start_paused = true)]
async fn footage_of_a_wrong_clock_goes_by_when_it_was_filmed() {
    for off in [HOUR, -HOUR, 20 * DAY, -20 * DAY, 400 * DAY] {
        check_misdated(off, false).await;
    }
    check_misdated(HOUR, true).await;
    check_misdated(20 * DAY, true).await;
}
