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
    assert!(!reported.is_empty(), "somebody is told");
    let (spans, _) = timeline(&rig, GATE).await;
    assert!(spans.len() >= 20, "most is not given up: {spans:?}");
    std::fs::rename(&away, &store).unwrap();
    run_for(&rig, 2 * DAY).await;
    assert_eq!(timeline(&rig, GATE).await.1, vec![]);
    rig.check().await;
}
