//! A pass over a store: everything once in its time, and a store that seems to be lost is not given up.

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// Runs the scrub for a while of simulated time, then pulls the plug.
async fn run_for(rig: &Rig, time: Duration) {
    let (scrubber, store) = (scrubber(rig), rig.store.ids().next().unwrap());
    let running = scrubber.run(store, DAY, CancellationToken::new());
    assert!(tokio::time::timeout(time, running).await.is_err(), "it goes on for ever");
}

async fn at_pack(rig: &Rig) -> Option<PackId> {
    rig.index.scrub("default").await.unwrap().and_then(|row| row.after)
}

#[tokio::test(start_paused = true)]
async fn a_pass_reads_every_pack_goes_on_after_a_restart_and_waits_for_the_next() {
    let mut rig = Rig::new(options(false, false)).await;
    let mut packs = Vec::new();
    for n in 0..30 {
        packs.push(rig.record(GATE, n * 4..n * 4 + 4).await);
    }
    flip(&rig, GATE, packs[2], 10).await;
    flip(&rig, GATE, packs[29], 10).await;
    run_for(&rig, DAY / 4).await;
    let reached = at_pack(&rig).await.unwrap();
    assert!(packs[2] < reached && reached < packs[20], "it is spread over the day");
    assert_eq!(events(&rig, "footage_mended").await.len(), 1);
    // After a restart it goes on from there.
    run_for(&rig, Duration::from_secs(1)).await;
    assert!(at_pack(&rig).await.unwrap() >= reached);
    run_for(&rig, DAY).await;
    assert_eq!(events(&rig, "footage_mended").await.len(), 2);
    assert_eq!(events(&rig, "scrubbed").await.len(), 1, "once a day");
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_not_there_is_looked_at_again_and_nothing_stays_given_up() {
    let mut rig = Rig::new(options(false, false)).await;
    for n in 0..40 {
        rig.record(GATE, n * 4..n * 4 + 4).await;
    }
    let (store, away) = (rig.dir.path().join("store"), rig.dir.path().join("away"));
    std::fs::rename(&store, &away).unwrap();
    run_for(&rig, DAY).await;
    let reported = events(&rig, "store_doubtful").await;
    assert!(!reported.is_empty(), "it is reported");
    let (spans, _) = timeline(&rig, GATE).await;
    assert!(spans.len() >= 20, "most is not given up: {spans:?}");
    std::fs::rename(&away, &store).unwrap();
    run_for(&rig, 2 * DAY).await;
    assert_eq!(timeline(&rig, GATE).await.1, vec![]);
    rig.check().await;
}

/// Names these packs as readers do, and has them looked at until none waits.
async fn look_at(rig: &Rig, packs: &[PackId]) {
    let (named, waiting) = tokio::sync::mpsc::channel(64);
    for pack in packs {
        named.send(*pack).await.unwrap();
    }
    drop(named);
    scrubber(rig).look_at(waiting, CancellationToken::new()).await;
}

#[tokio::test(start_paused = true)]
async fn what_readers_could_not_read_is_mended_or_becomes_a_gap_at_once() {
    let mut rig = Rig::new(options(false, false)).await;
    let mut packs = Vec::new();
    for n in 0..3 {
        packs.push(rig.record(GATE, n * 4..n * 4 + 4).await);
    }
    flip(&rig, GATE, packs[0], 10).await;
    std::fs::remove_file(file(&rig, GATE, packs[1])).unwrap();
    look_at(&rig, &[packs[0], packs[1], packs[1], packs[2]]).await;
    assert_eq!(events(&rig, "footage_mended").await.len(), 1);
    assert_eq!(events(&rig, "footage_lost").await.len(), 1);
    assert_eq!(timeline(&rig, GATE).await, (vec![(0, 4), (8, 12)], vec![(4, 8, GapCause::Corrupt)]));
}

#[tokio::test(start_paused = true)]
async fn readers_do_not_make_a_store_given_up_pack_by_pack() {
    let mut rig = Rig::new(options(false, false)).await;
    let mut packs = Vec::new();
    for n in 0..40 {
        packs.push(rig.record(GATE, n * 4..n * 4 + 4).await);
    }
    packs.iter().for_each(|pack| std::fs::remove_file(file(&rig, GATE, *pack)).unwrap());
    look_at(&rig, &packs).await;
    assert_eq!(events(&rig, "store_doubtful").await.len(), 1);
    let gaps = timeline(&rig, GATE).await.1;
    assert!(gaps.iter().map(|(from, to, _)| to - from).sum::<i64>() <= 64, "sixteen packs at most: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_called_lost_in_a_store_that_is_not_the_known_one() {
    let mut rig = Rig::new(options(false, false)).await;
    let id = rig.store.ids().next().unwrap();
    rig.store.expect(&std::collections::BTreeMap::new(), None);
    let uid = rig.store.identify(id).await.unwrap().uid();
    let pack = rig.record(GATE, 0..4).await;
    let (store, away) = (rig.dir.path().join("store"), rig.dir.path().join("away"));
    std::fs::rename(&store, &away).unwrap();
    std::fs::create_dir(&store).unwrap();
    rig.store.expect(&std::iter::once((rig.store.name(id).to_owned(), uid)).collect(), None);
    look_at(&rig, &[pack]).await;
    assert_eq!(timeline(&rig, GATE).await, (vec![(0, 4)], vec![]));
    assert_eq!(events(&rig, "footage_lost").await.len(), 0);
}
