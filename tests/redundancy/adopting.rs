//! What one gateway stored is the other's footage too.

use footage::media::GapCause;
use object_store::{ObjectStoreExt, PutPayload};
use vigie::event::Fact;

use crate::rig::{Town, camera, scene};

#[tokio::test]
async fn what_both_recorded_is_shown_once_by_each() {
    // By clocks that differ, and by clocks that agree to the tick.
    both_record(35).await;
    both_record(0).await;
}

async fn both_record(ahead_ms: i64) {
    let town = Town::new();
    let (mut one, mut two) = (town.gateway(0, 0).await, town.gateway(1, ahead_ms).await);
    let (a, b) = (one.connect(0).await, two.connect(4).await);
    one.record(&a, 0..20, None).await;
    one.record(&a, 20..40, None).await;
    // Cut elsewhere, by another clock.
    two.record(&b, 4..30, None).await;
    two.record(&b, 30..50, None).await;
    for side in [&one, &two] {
        side.poll().await;
        assert!(side.samples(-5..60).await == scene(0..50));
        side.check().await;
    }
    assert_eq!(one.poll().await + two.poll().await, 0, "nothing is adopted twice");
}

#[tokio::test]
async fn either_fills_the_others_gaps_to_the_picture() {
    let town = Town::new();
    let (mut one, mut two) = (town.gateway(0, 0).await, town.gateway(1, -40).await);
    let (a, b) = (one.connect(0).await, two.connect(0).await);
    // Killed within a group of pictures, and within a second.
    one.record(&a, 0..23, Some(2)).await;
    for start in [0, 20, 40] {
        two.record(&b, start..start + 20, None).await;
    }
    one.gap(23, 32, GapCause::GatewayCrashed).await;
    let a = one.connect(32).await;
    one.record(&a, 32..58, None).await;
    let gaps = one.timeline(0..60).await.gaps;
    assert_eq!(gaps.len(), 1);
    one.poll().await;
    two.poll().await;
    for side in [&one, &two] {
        assert!(side.samples(0..60).await == scene(0..60), "rank {}", side.rank);
        let timeline = side.timeline(1..59).await;
        assert_eq!((timeline.coverage.len(), timeline.gaps.len()), (1, 0), "{timeline:?}");
        side.check().await;
    }
    // The part that one has alone of a clip that begins and ends within it.
    assert!(one.samples(26..29).await == two.samples(26..29).await);
}

#[tokio::test]
async fn a_pack_that_is_damaged_in_the_store_is_reported_and_not_adopted() {
    let town = Town::new();
    let (mut one, two) = (town.gateway(0, 0).await, town.gateway(1, 0).await);
    let a = one.connect(0).await;
    let [bad, good] = [one.record(&a, 0..20, None).await, one.record(&a, 20..40, None).await];
    let object = one.store.object_path(&camera(), bad);
    let bytes = town.objects.get(&object).await.unwrap().bytes().await.unwrap();
    let mut damaged = bytes.to_vec();
    let at = damaged.len() - 200;
    damaged[at] ^= 4;
    town.objects.put(&object, PutPayload::from(damaged)).await.unwrap();

    assert_eq!(two.poll().await, 1);
    assert_eq!(two.poll().await, 0);
    assert!(two.index.any_pack(bad).await.unwrap().is_none());
    assert!(two.index.any_pack(good).await.unwrap().is_some());
    let camera = camera();
    let events = two.index.events(&camera.tenant, Some(&camera), 0, 10).await.unwrap();
    let reported: Vec<_> = events.iter().filter(|event| event.kind() == "foreign_pack_unusable").collect();
    assert_eq!(reported.len(), 1, "once, however often it is looked at: {events:?}");
    assert!(matches!(reported[0].event.fact, Fact::ForeignPackUnusable { pack } if pack == bad));
    // Repaired, it is taken in.
    town.objects.put(&object, PutPayload::from(bytes)).await.unwrap();
    assert_eq!(two.poll().await, 0, "of the same size it is taken for the same until the next start");
    let two = two.restart(&town).await;
    assert_eq!(two.poll().await, 1);
}
