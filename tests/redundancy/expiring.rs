//! What two gateways stored goes when its time is over, whichever gateway runs, and nothing goes before.

use std::time::Duration;

use footage::clock::Clock;
use footage::units::{TICKS_PER_SECOND, WallTime};

use crate::rig::{DAY, Side, Town, at, scene};

const MINUTE: i64 = 60;

/// Time goes on to this second; every gateway sweeps once a minute of the last half hour.
async fn goes_on(sides: &mut [&mut Side], second: i64) {
    let clock = sides[0].clock.clone();
    let until = at(second);
    let left = |now: WallTime| until.since(now).0 / TICKS_PER_SECOND;
    for side in sides.iter_mut() {
        side.sweep().await;
    }
    let slow = (left(clock.wall()) - 30 * MINUTE).max(0);
    tokio::time::advance(Duration::from_secs(slow as u64)).await;
    loop {
        for side in sides.iter_mut() {
            side.poll_all().await;
            side.sweep().await;
        }
        let left = left(clock.wall());
        if left <= 0 {
            return;
        }
        tokio::time::advance(Duration::from_secs(left.min(MINUTE) as u64)).await;
    }
}

/// Seconds before its deadline that a pack is withdrawn, and a minute of sweeping.
fn early(side: &Side) -> i64 {
    side.policy().margin().0 / TICKS_PER_SECOND + MINUTE
}

#[tokio::test(start_paused = true)]
async fn all_of_both_goes_in_time_and_none_before() {
    let town = Town::new();
    let (mut one, mut two) = (town.gateway(0, 0).await, town.gateway(1, 20).await);
    let (a, b) = (one.connect(0).await, two.connect(0).await);
    one.record(&a, 0..100, None).await;
    two.seal(&b, 0..300, None).await;
    two.look_after(60).await;
    two.look_after(900).await;
    let objects = town.objects().await.len();
    assert_eq!(objects, 2, "a part of the second's");
    one.poll().await;

    let margin = early(&one);
    goes_on(&mut [&mut one, &mut two], 30 * DAY - margin).await;
    assert_eq!(town.objects().await.len(), objects, "none goes before");
    for side in [&one, &two] {
        assert!(side.samples(-1..300).await == scene(0..300));
        side.check().await;
    }
    goes_on(&mut [&mut one, &mut two], 30 * DAY).await;
    assert_eq!(town.objects().await.len(), 0);
    for side in [&one, &two] {
        assert!(side.index.packs_after(None, 10).await.unwrap().is_empty());
        side.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_gateway_left_goes_in_time_when_it_never_comes_back() {
    let town = Town::new();
    let (mut one, mut two) = (town.gateway(0, 0).await, town.gateway(1, -30).await);
    let a = one.connect(0).await;
    one.record(&a, 0..100, None).await;
    two.poll().await;
    drop(one);
    let margin = early(&two);
    goes_on(&mut [&mut two], 30 * DAY - margin).await;
    assert_eq!(town.objects().await.len(), 1);
    goes_on(&mut [&mut two], 30 * DAY).await;
    assert_eq!(town.objects().await.len(), 0);
    assert!(two.index.packs_after(None, 10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_another_gateway_destroyed_early_is_forgotten_and_reported() {
    let town = Town::new();
    let (mut one, two) = (town.gateway(0, 0).await, town.gateway(1, 0).await);
    let a = one.connect(0).await;
    let gone = one.record(&a, 0..20, None).await;
    one.record(&a, 20..40, None).await;
    two.poll().await;
    one.store.delete(&crate::rig::camera(), gone).await.unwrap();
    assert!(two.samples(-1..50).await == scene(20..40), "what is left is shown, before it is known");
    two.poll().await;
    assert!(two.index.any_pack(gone).await.unwrap().is_none());
    let camera = crate::rig::camera();
    let events = two.index.events(&camera.tenant, Some(&camera), 0, 10).await.unwrap();
    assert!(events.iter().any(|event| event.kind() == "foreign_pack_gone"), "{events:?}");
    two.check().await;
}

const TENANTS: [(&str, i64); 3] = [("a/gate", 1), ("b/gate", 3), ("c/gate", 7)];

/// Both record one scene for three tenants. Each tenant's footage is exact on both after each expiry.
async fn three_policies(first_dies: bool) {
    let town = Town::with_cameras(TENANTS.to_vec());
    let (mut one, mut two) = (town.gateway(0, 0).await, town.gateway(1, 25).await);
    for (camera, _) in TENANTS {
        let run = one.connect_to(camera, 0).await;
        one.record(&run, 0..50, None).await;
        one.record(&run, 50..100, None).await;
    }
    for (camera, _) in TENANTS {
        let run = two.connect_to(camera, 0).await;
        two.seal(&run, 0..70, None).await;
        two.seal(&run, 70..100, None).await;
    }
    // The packs that hold the bytes of the others go when these went.
    two.poll_all().await;
    two.poll_all().await;
    for (camera, _) in TENANTS {
        assert_eq!(two.index.sealed_packs(&camera.parse().unwrap(), 10).await.unwrap(), [], "{camera}");
    }
    assert_eq!(town.objects().await.len(), 6);
    let once = scene(0..100).len() as u64;
    let stored = town.stored_bytes().await;
    assert!(stored > once && stored * 100 < once * 120, "{stored} bytes for {once}, with three tables and boxes");

    let mut one = Some(one).filter(|_| !first_dies);
    for (days, kept) in [(0, 3), (1, 2), (3, 1), (7, 0)] {
        let mut sides: Vec<&mut Side> = one.iter_mut().chain([&mut two]).collect();
        // The younger packs of a camera begin 50 s after the older.
        goes_on(&mut sides, (days * DAY + 60).max(700)).await;
        assert_eq!(town.objects().await.len(), kept * 2, "after {days} days");
        for side in one.iter().chain([&two]) {
            for (n, (camera, _)) in TENANTS.iter().enumerate() {
                let expect = (n + kept >= 3).then(|| scene(0..100));
                assert!(side.samples_of(camera, -1..110).await == expect, "{camera}, rank {}, {days} days", side.rank);
            }
            side.check().await;
        }
        if kept > 0 {
            assert!(town.stored_bytes().await >= once);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn three_tenants_of_one_camera_recorded_by_two_gateways_each_have_what_is_theirs() {
    three_policies(false).await;
}

#[tokio::test(start_paused = true)]
async fn and_when_the_first_gateway_dies_the_second_sees_to_all_of_it() {
    three_policies(true).await;
}
