//! What one gateway stored the other does not store again.

use footage::media::GapCause;
use footage::units::Ticks90k;
use object_store::{ObjectStoreExt, PutPayload};

use crate::rig::{Side, Town, camera, scene};

/// Both show the whole scene, each picture once, without a hole.
async fn show(sides: [&Side; 2], seconds: u32) {
    for side in sides {
        side.poll().await;
        let end = i64::from(seconds);
        assert!(side.samples(-1..end + 1).await == scene(0..seconds), "rank {}", side.rank);
        let timeline = side.timeline(1..end - 1).await;
        assert_eq!((timeline.coverage.len(), timeline.gaps.len()), (1, 0), "{timeline:?}");
        side.check().await;
    }
}

/// Bytes that one gateway alone stores of so many seconds.
async fn alone(seconds: u32) -> u64 {
    let town = Town::new();
    let mut one = town.gateway(0, 0).await;
    let run = one.connect(0).await;
    for start in (0..seconds).step_by(100) {
        one.record(&run, start..start + 100, None).await;
    }
    town.stored_bytes().await
}

#[tokio::test(start_paused = true)]
async fn two_that_record_all_the_time_store_it_once() {
    let town = Town::new();
    let (mut one, mut two) = (town.gateway(0, 0).await, town.gateway(1, 60).await);
    let (a, b) = (one.connect(0).await, two.connect(0).await);
    // The second cuts its packs elsewhere.
    two.seal(&b, 0..40, None).await;
    for start in (0..600).step_by(100) {
        one.record(&a, start..start + 100, None).await;
        let end = if start == 500 { 600 } else { start + 140 };
        two.seal(&b, start + 40..end, None).await;
        two.look_after(30).await;
    }
    assert_eq!(two.waiting().await.len(), 0);
    assert_eq!(two.spooled(), 0, "and its files are gone");
    assert_eq!(town.stored_bytes().await, alone(600).await);
    show([&one, &two], 600).await;
}

#[tokio::test(start_paused = true)]
async fn a_pack_waits_its_turn_and_goes_when_nobody_stored_it() {
    let town = Town::new();
    let mut two = town.gateway(1, 0).await;
    let b = two.connect(0).await;
    // A little after the scene began.
    let pack = two.seal(&b, 0..100, None).await;
    two.look_after(100).await;
    assert_eq!(two.waiting().await.len(), 1, "the other may still store it");
    two.look_after(600).await;
    assert_eq!(two.waiting().await.len(), 0);
    let objects = town.objects().await;
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0].pack.as_ref().unwrap().1, pack);
}

#[tokio::test(start_paused = true)]
async fn each_is_away_for_a_while_and_nothing_is_missing_or_stored_twice() {
    let town = Town::new();
    let (mut one, mut two) = (town.gateway(0, 0).await, town.gateway(1, -45).await);
    let (a, b) = (one.connect(0).await, two.connect(0).await);
    one.record(&a, 0..100, None).await;
    two.seal(&b, 0..130, None).await;
    // The first is killed in the middle of a second; the other goes on.
    one.record(&a, 100..151, Some(3)).await;
    one.gap(151, 320, GapCause::GatewayCrashed).await;
    two.seal(&b, 130..260, None).await;
    two.seal(&b, 260..390, None).await;
    let a = one.connect(320).await;
    one.record(&a, 320..400, None).await;
    // The other is killed, with a pack in its spool.
    two.seal(&b, 390..451, Some(1)).await;
    two.gap(451, 560, GapCause::GatewayCrashed).await;
    for start in [400, 500, 600] {
        one.record(&a, start..start + 100, None).await;
    }
    let mut two = two.restart(&town).await;
    let b = two.connect(560).await;
    two.seal(&b, 560..690, None).await;
    two.look_after(800).await;
    two.look_after(800).await;
    assert_eq!(two.waiting().await.len(), 0);
    let parts: Vec<_> = town.objects().await.into_iter().filter(|o| o.pack.as_ref().unwrap().1.writer() == 1).collect();
    // Of 150 to 260 and of 260 to 320, with a group of two seconds at each end.
    assert_eq!(parts.len(), 2, "{parts:?}");
    let stored = town.stored_bytes().await;
    assert!(stored * 100 < alone(700).await * 105, "{stored}");
    show([&one, &two], 700).await;
    let timeline = two.timeline(1..699).await;
    assert_eq!(timeline.covered, Ticks90k(698 * 90_000));
}

#[tokio::test(start_paused = true)]
async fn a_backlog_of_the_first_looks_before_it_goes() {
    let town = Town::new();
    let (mut one, mut two) = (town.gateway(0, 0).await, town.gateway(1, 10).await);
    let (a, b) = (one.connect(0).await, two.connect(0).await);
    one.record(&a, 0..100, None).await;
    two.record(&b, 0..100, None).await;
    two.record(&b, 100..200, None).await;
    let before = town.stored_bytes().await;
    // The store was away for the first: its packs are no longer fresh.
    tokio::time::advance(std::time::Duration::from_secs(3_600)).await;
    one.seal(&a, 100..150, None).await;
    one.seal(&a, 150..200, None).await;
    assert_eq!(one.waiting().await.len(), 2, "they wait for a look");
    one.look_after(1).await;
    assert_eq!(one.waiting().await.len(), 0);
    assert_eq!(town.stored_bytes().await, before);
    show([&one, &two], 200).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_in_the_store_does_not_count_as_stored() {
    let town = Town::new();
    let (mut one, mut two) = (town.gateway(0, 0).await, town.gateway(1, 0).await);
    let (a, b) = (one.connect(0).await, two.connect(0).await);
    let bad = one.record(&a, 0..50, None).await;
    one.record(&a, 50..150, None).await;
    let object = one.store.object_path(&camera(), bad);
    let bytes = town.objects.get(&object).await.unwrap().bytes().await.unwrap();
    town.objects.put(&object, PutPayload::from(bytes.slice(..bytes.len() - 7))).await.unwrap();
    two.seal(&b, 0..100, None).await;
    two.look_after(30).await;
    two.look_after(900).await;
    assert!(two.samples(-1..200).await == scene(0..150));
    assert!(two.events().await.contains(&"foreign_pack_unusable".to_owned()));
    let own: Vec<_> = town.objects().await.into_iter().filter(|o| o.pack.as_ref().unwrap().1.writer() == 1).collect();
    assert_eq!(own.len(), 1, "the part that is damaged there: {own:?}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_index_and_the_spool_costs_another_look() {
    let town = Town::new();
    let (mut one, mut two) = (town.gateway(0, 0).await, town.gateway(1, 12).await);
    let (a, b) = (one.connect(0).await, two.connect(0).await);
    one.record(&a, 0..90, None).await;
    let dropped = two.seal(&b, 0..60, None).await;
    let cut = two.seal(&b, 60..140, None).await;
    let files = [dropped, cut].map(|pack| (two.file_of(pack), std::fs::read(two.file_of(pack)).unwrap()));
    two.look_after(30).await;
    two.look_after(900).await;
    assert_eq!(two.waiting().await.len(), 0);
    let stored = town.stored_bytes().await;
    // The index heard, and the files were still there.
    for (path, bytes) in files {
        std::fs::write(path, bytes).unwrap();
    }
    let two = two.restart(&town).await;
    assert_eq!(two.waiting().await.len(), 2, "both are found again");
    two.look_after(30).await;
    two.look_after(900).await;
    assert_eq!(two.waiting().await.len(), 0);
    assert_eq!(town.stored_bytes().await, stored);
    show([&one, &two], 140).await;
}

#[tokio::test(start_paused = true)]
async fn two_gateways_of_one_rank_are_reported() {
    let town = Town::new();
    let (mut one, two) = (town.gateway(0, 0).await, town.gateway(0, 0).await);
    let a = one.connect(0).await;
    one.record(&a, 0..20, None).await;
    two.poll().await;
    two.poll().await;
    assert_eq!(two.events().await, ["same_rank"]);
    one.poll().await;
    assert_eq!(one.events().await, [""; 0]);
}
