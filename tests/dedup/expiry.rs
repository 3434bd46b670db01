//! The same camera under several policies: what stays after each expiry, and for whom.

use std::task::Poll;
use std::time::Duration;

use footage::units::Ticks90k;
use proptest::prelude::*;
use tokio::time::{Instant, sleep_until};
use vigie::archive::PackRef;
use vigie::index::PackState;

use crate::rig::{DAY, NOON, Options, Rig, at, bytes_of, key};

const TENANTS: [(&str, i64); 3] = [("a/gate", 1), ("b/gate", 3), ("c/gate", 7)];

fn three_tenants(dedup: bool, elsewhere: bool) -> Options {
    Options { cameras: TENANTS.to_vec(), sharing: vec!["a", "b", "c"], dedup, elsewhere, encrypted: false }
}

#[tokio::test(start_paused = true)]
async fn one_camera_under_three_policies_is_stored_once_until_its_last_policy_ends() {
    three_policies(false, false).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_holds_in_a_store_elsewhere() {
    three_policies(true, false).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_holds_in_encrypted_stores() {
    three_policies(false, true).await;
    three_policies(true, true).await;
}

async fn three_policies(elsewhere: bool, encrypted: bool) {
    let mut rig = Rig::new(Options { encrypted, ..three_tenants(true, elsewhere) }).await;
    let mut plain = Rig::new(three_tenants(false, elsewhere)).await;
    // Packs of the three are cut at other times, and each was away for a while.
    for rig in [&mut rig, &mut plain] {
        for (camera, packs) in
            [("a/gate", vec![0..20, 20..40, 40..60]), ("b/gate", vec![0..30, 30..60]), ("c/gate", vec![10..30, 36..70])]
        {
            for seconds in packs {
                rig.record(camera, seconds).await;
            }
        }
    }
    assert_eq!(plain.held_bytes().await, 2 * bytes_of(0..60) + bytes_of(10..30) + bytes_of(36..70));
    assert_eq!(rig.held_bytes().await, bytes_of(0..70));
    for (days, kept, held) in [
        (0, vec!["a/gate", "b/gate", "c/gate"], bytes_of(0..70)),
        (1, vec!["b/gate", "c/gate"], bytes_of(0..70)),
        (3, vec!["c/gate"], bytes_of(10..30) + bytes_of(36..70)),
        (7, vec![], 0),
    ] {
        let now = NOON.saturating_add(Ticks90k(days * DAY)).max(at(600));
        rig.sweep_at(now).await;
        plain.sweep_at(now).await;
        assert_eq!(rig.held_bytes().await, held, "after {days} days");
        for (camera, _) in TENANTS {
            let (clip, as_recorded) = (rig.clip(camera).await, plain.clip(camera).await);
            assert_eq!(clip.is_some(), kept.contains(&camera), "{camera} after {days} days");
            assert!(clip == as_recorded, "{camera} after {days} days: other bytes than without references");
        }
        rig.check().await;
    }
    assert!(rig.index.packs_after(None, 10).await.unwrap().is_empty());
}

#[derive(Clone, Debug)]
struct Recorded {
    camera: usize,
    from: u32,
    seconds: u32,
}

fn recordings() -> impl Strategy<Value = Vec<Recorded>> {
    let one = (0usize..3, 0u32..20, 1u32..8).prop_map(|(camera, from, seconds)| Recorded {
        camera,
        from: from * 2,
        seconds: seconds * 2,
    });
    prop::collection::vec(one, 1..12)
}

/// A camera films a second once.
fn without_overlaps(recordings: Vec<Recorded>) -> Vec<Recorded> {
    let mut taken = std::collections::BTreeSet::new();
    let free = |r: &Recorded| (r.from..r.from + r.seconds).all(|n| taken.insert((r.camera, n)));
    recordings.into_iter().filter(free).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_recorded_and_expired_nothing_dangles_and_nothing_stays_without_a_reader(
        recordings in recordings(), lives in prop::array::uniform3(1i64..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(check(without_overlaps(recordings), lives));
    }
}

async fn check(recordings: Vec<Recorded>, lives: [i64; 3]) {
    let cameras: Vec<_> = TENANTS.iter().zip(lives).map(|((camera, _), days)| (*camera, days)).collect();
    let options = |dedup| Options {
        cameras: cameras.clone(),
        sharing: vec!["a", "b", "c"],
        dedup,
        elsewhere: false,
        encrypted: false,
    };
    let (mut rig, mut plain) = (Rig::new(options(true)).await, Rig::new(options(false)).await);
    for Recorded { camera, from, seconds } in &recordings {
        for rig in [&mut rig, &mut plain] {
            rig.record(cameras[*camera].0, *from..from + seconds).await;
        }
    }
    for day in 0..=5 {
        let now = NOON.saturating_add(Ticks90k(day * DAY)).max(at(600));
        rig.sweep_at(now).await;
        plain.sweep_at(now).await;
        let live = recordings.iter().filter(|r| cameras[r.camera].1 > day);
        let seconds: std::collections::BTreeSet<u32> = live.flat_map(|r| r.from..r.from + r.seconds).collect();
        assert_eq!(rig.held_bytes().await, bytes_of(seconds), "on day {day}, of {recordings:?} with {lives:?}");
        let (rows, same) = (rig.index.packs_after(None, 100).await, plain.index.packs_after(None, 100).await);
        let (rows, same) = (rows.unwrap(), same.unwrap());
        assert_eq!(rows.len(), same.len(), "on day {day}: {rows:#?} and without references {same:#?}");
        for (row, as_recorded) in rows.iter().zip(&same) {
            assert_eq!(row.state, PackState::Stored);
            assert!(rig.whole(row).await == plain.whole(as_recorded).await, "{} of {}", row.id, row.camera);
        }
        for rig in [&rig, &plain] {
            let events = rig.index.all_events(0, 100).await.unwrap();
            assert!(events.iter().all(|row| row.kind() != "deletion_failed"), "on day {day}: {events:#?}");
        }
        rig.check().await;
    }
}

/// Lets a future go so far, then drops it: as a crash between two of its steps.
async fn cut_off_after(polls: usize, work: impl Future<Output = ()>) -> bool {
    let mut work = Box::pin(work);
    let mut left = polls;
    let ended = std::future::poll_fn(move |context| match (left, work.as_mut().poll(context)) {
        (_, Poll::Ready(())) => Poll::Ready(true),
        (0, Poll::Pending) => Poll::Ready(false),
        (_, Poll::Pending) => {
            left -= 1;
            Poll::Pending
        }
    })
    .await;
    // A crash also ends work in threads, which is not dropped here. The paused clock stands still until that is over.
    sleep_until(Instant::now() + Duration::from_millis(1)).await;
    ended
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_is_cut_off_anywhere_leaves_every_pack_whole_and_the_next_one_ends_it() {
    for polls in 0.. {
        let mut rig = Rig::new(three_tenants(true, polls % 2 == 1)).await;
        for (camera, seconds) in [("a/gate", 0..20), ("a/gate", 20..40), ("b/gate", 0..30), ("c/gate", 10..40)] {
            rig.record(camera, seconds).await;
        }
        let (b, c) = (rig.clip("b/gate").await, rig.clip("c/gate").await);
        rig.goes_on(Ticks90k(DAY).to_duration()).await;
        rig.sweep().await;
        rig.goes_on(Duration::from_secs(60)).await;
        let ended = cut_off_after(polls, rig.sweep()).await;
        assert!(rig.clip("b/gate").await == b && rig.clip("c/gate").await == c, "cut off after {polls} polls");
        rig.sweep().await;
        assert!(rig.clip("b/gate").await == b && rig.clip("c/gate").await == c, "after the sweep that ends it");
        assert_eq!(rig.held_bytes().await, bytes_of(0..40), "cut off after {polls} polls");
        rig.check().await;
        if ended {
            assert!(polls > 10, "nothing was cut off");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_rehosting_was_cut_off_may_be_taken_up_after_another_host_of_the_same_packs() {
    for polls in 0.. {
        let mut rig = Rig::new(three_tenants(true, polls % 2 == 1)).await;
        let first = rig.record("a/gate", 0..20).await;
        let second = rig.record("a/gate", 20..40).await;
        rig.record("b/gate", 0..30).await;
        rig.record("c/gate", 10..40).await;
        let (b, c) = (rig.clip("b/gate").await, rig.clip("c/gate").await);
        rig.goes_on(Ticks90k(DAY).to_duration()).await;
        rig.sweep().await;
        let host = |id| PackRef { id, camera: key("a/gate"), state: PackState::Condemned };
        let rehoster = rig.rehoster();
        let ended = cut_off_after(polls, async { rehoster.rehost(&host(second)).await.unwrap() }).await;
        for pack in [first, second] {
            rehoster.rehost(&host(pack)).await.unwrap();
            assert!(rig.index.referrers(pack).await.unwrap().is_empty(), "cut off after {polls} polls");
        }
        rig.goes_on(Duration::from_secs(60)).await;
        rig.sweep().await;
        assert!(rig.clip("b/gate").await == b && rig.clip("c/gate").await == c, "cut off after {polls} polls");
        assert_eq!(rig.held_bytes().await, bytes_of(0..40), "cut off after {polls} polls");
        rig.check().await;
        if ended {
            assert!(polls > 10, "nothing was cut off");
            break;
        }
    }
}
