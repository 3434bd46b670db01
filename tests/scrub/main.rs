//! Bits that rot are found, named, and mended from a copy; what nobody has any more is a gap.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::Clock;
use footage::media::GapCause;
use footage::units::{PackId, TICKS_PER_SECOND, TimeRange};
use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;
use vigie::event::Fact;
use vigie::hold::{Holds, Request};
use vigie::index::PackState;
use vigie::scrub::{ScrubVerdict, Scrubber};

mod adrift;
mod passing;
#[allow(dead_code, reason = "the deduplication tests need more of it")]
#[path = "../dedup/rig.rs"]
mod rig;

use rig::{Options, Rig, at, key};

const GATE: &str = "town/gate";

fn options(elsewhere: bool, dedup: bool) -> Options {
    Options { cameras: vec![(GATE, 9), ("town/copy", 9)], sharing: vec![], dedup, elsewhere, encrypted: false }
}

fn scrubber(rig: &Rig) -> Scrubber {
    let parts = (rig.index.clone(), rig.spool.clone(), rig.store.clone(), rig.packs.clone());
    Scrubber::new(parts, rig.keys.clone(), rig.clock.clone(), rig.dir.path().join("scrub")).unwrap()
}

fn file(rig: &Rig, camera: &str, pack: PackId) -> PathBuf {
    rig.store.local_file(&key(camera), pack).expect("the store is a folder")
}

/// Flips a bit of the file; what is known of it is forgotten, as after a start.
async fn flip(rig: &Rig, camera: &str, pack: PackId, byte: usize) {
    let path = file(rig, camera, pack);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[byte] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    rig.packs.forget_table(pack).await;
}

/// The seconds of a camera's timeline that have footage, and those that are gaps.
async fn timeline(rig: &Rig, camera: &str) -> (Vec<(i64, i64)>, Vec<(i64, i64, GapCause)>) {
    let seconds = |t: footage::units::WallTime| t.since(at(0)).0 / TICKS_PER_SECOND;
    let range = TimeRange::new(at(-60), at(3_600)).unwrap();
    let spans = rig.index.spans(&key(camera), range).await.unwrap();
    let gaps = rig.index.gaps(&key(camera), range).await.unwrap();
    let closed = gaps.iter().map(|gap| (seconds(gap.start), seconds(gap.end.unwrap()), gap.cause));
    (spans.iter().map(|span| (seconds(span.start()), seconds(span.end()))).collect(), closed.collect())
}

async fn events(rig: &Rig, kind: &str) -> Vec<Fact> {
    let events = rig.index.all_events(0, 99).await.unwrap();
    events.into_iter().filter(|event| event.kind() == kind).map(|event| event.event.fact).collect()
}

/// Holds all of the camera's first minutes, in packs of the hold's own.
async fn hold_all(rig: &Rig) {
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let (index, spool, packs) = (rig.index.clone(), rig.spool.clone(), rig.packs.clone());
    let holds = Holds::new(index, spool, packs, rig.keys.clone(), clock, jiff::tz::TimeZone::UTC);
    let request = Request {
        camera: key(GATE),
        range: TimeRange::new(at(0), at(60)).unwrap(),
        reference: "PV 1".into(),
        requester: "Major Durand".into(),
        reason: "theft".into(),
        until: at(20 * 86_400),
    };
    holds.place(request).await.unwrap();
    holds.copy_all().await.unwrap();
    while !rig.index.packs_in_state(PackState::Sealed, 1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_flipped_bit_anywhere_is_mended_from_a_copy_to_the_same_bytes() {
    let mut rig = Rig::new(options(false, false)).await;
    let pack = rig.record(GATE, 0..6).await;
    hold_all(&rig).await;
    let (path, scrubber) = (file(&rig, GATE, pack), scrubber(&rig));
    let before = std::fs::read(&path).unwrap();
    // Each byte of boxes and tables would take minutes: a stride that falls on every part.
    for byte in (0..before.len()).step_by(31).chain(before.len() - 40..before.len()) {
        flip(&rig, GATE, pack, byte).await;
        let verdict = scrubber.examine(pack).await.unwrap();
        assert!(matches!(verdict, ScrubVerdict::Mended(_)), "byte {byte}: {verdict:?}");
        assert!(std::fs::read(&path).unwrap() == before, "byte {byte} is not what it was");
    }
    assert_eq!(scrubber.examine(pack).await.unwrap(), ScrubVerdict::Sound);
    assert_eq!(timeline(&rig, GATE).await, (vec![(0, 6)], vec![]));
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_any_more_is_named_and_becomes_a_gap_up_to_the_next_random_access_point() {
    let mut rig = Rig::new(options(false, false)).await;
    let pack = rig.record(GATE, 0..10).await;
    let next = rig.record(GATE, 10..20).await;
    let table = rig.table(pack).await;
    let hit = table.fragments[4].clone();
    flip(&rig, GATE, pack, hit.end() as usize - 1).await;
    let scrubber = scrubber(&rig);
    let ScrubVerdict::Lost(what) = scrubber.examine(pack).await.unwrap() else { panic!("it cannot be mended") };
    assert!(what.contains(&hit.id.to_string()), "{what}");
    let lost = (vec![(0, 4), (6, 10), (10, 20)], vec![(4, 6, GapCause::Corrupt)]);
    assert_eq!(timeline(&rig, GATE).await, lost);
    assert!(matches!(scrubber.examine(pack).await.unwrap(), ScrubVerdict::Lost(_)), "it stays lost");
    assert_eq!(scrubber.examine(next).await.unwrap(), ScrubVerdict::Sound);
    assert_eq!(events(&rig, "footage_lost").await.len(), 1, "and is reported once");
    let said = rig.complaints().await;
    assert!(said.len() == 1 && said[0].contains("Damaged"), "{said:#?}");

    // A clip has the rest, and a rebuilt index knows it too.
    assert!(rig.clip(GATE).await.is_some());
    let rig = rig.rebuilt().await;
    assert_eq!(timeline(&rig, GATE).await, lost);

    // Somebody restores the file.
    flip(&rig, GATE, pack, hit.end() as usize - 1).await;
    drop(scrubber);
    assert_eq!(self::scrubber(&rig).examine(pack).await.unwrap(), ScrubVerdict::Sound);
    assert_eq!(timeline(&rig, GATE).await, (vec![(0, 10), (10, 20)], vec![]));
    assert_eq!(events(&rig, "footage_mended").await.len(), 1);
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_pack_that_is_cut_short_keeps_what_comes_before() {
    let mut rig = Rig::new(options(false, false)).await;
    let pack = rig.record(GATE, 0..10).await;
    let cut = rig.table(pack).await.fragments[7].end() - 10;
    let on_disk = std::fs::File::options().write(true).open(file(&rig, GATE, pack)).unwrap();
    on_disk.set_len(cut).unwrap();
    rig.packs.forget_table(pack).await;
    let scrubber = scrubber(&rig);
    assert!(matches!(scrubber.examine(pack).await.unwrap(), ScrubVerdict::Lost(_)));
    let left = (vec![(0, 7)], vec![(7, 10, GapCause::Corrupt)]);
    assert_eq!(timeline(&rig, GATE).await, left);
    assert_eq!(scrubber.examine(pack).await.unwrap(), ScrubVerdict::Sound, "what is left is a pack");
    assert_eq!(timeline(&rig, GATE).await, left);
    rig.check().await;
    let rig = rig.rebuilt().await;
    assert_eq!(timeline(&rig, GATE).await, left);
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_object_is_mended_from_the_copy_in_the_spool() {
    let mut rig = Rig::new(options(true, false)).await;
    let pack = rig.record(GATE, 0..6).await;
    let [cached, ..] = rig.spool.files(&key(GATE), pack);
    let whole = std::fs::read(&cached).unwrap();
    // Somebody else wrote over the object.
    let damaged = rig.dir.path().join("damaged.mp4");
    std::fs::write(&damaged, whole.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>()).unwrap();
    rig.store.put_pack(&key(GATE), pack, &damaged).await.unwrap();
    let scrubber = scrubber(&rig);
    assert!(matches!(scrubber.examine(pack).await.unwrap(), ScrubVerdict::Mended(_)));
    assert_eq!(scrubber.examine(pack).await.unwrap(), ScrubVerdict::Sound);
    let object = rig.store.get_range(&key(GATE), pack, 0..whole.len() as u64).await.unwrap();
    assert!(object == whole);
    rig.check().await;

    // Without that copy, an object that is gone is lost, and is shown again when it is back.
    rig.store.delete(&key(GATE), pack).await.unwrap();
    rig.packs.forget_table(pack).await;
    assert!(matches!(scrubber.examine(pack).await.unwrap(), ScrubVerdict::Lost(_)));
    assert_eq!(timeline(&rig, GATE).await, (vec![], vec![(0, 6, GapCause::Corrupt)]));
    std::fs::write(&damaged, &whole).unwrap();
    rig.store.put_pack(&key(GATE), pack, &damaged).await.unwrap();
    assert_eq!(scrubber.examine(pack).await.unwrap(), ScrubVerdict::Sound);
    assert_eq!(timeline(&rig, GATE).await, (vec![(0, 6)], vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_a_host_has_lost_its_referrers_have_lost_until_it_is_back() {
    let mut rig = Rig::new(options(false, true)).await;
    let host = rig.record(GATE, 0..10).await;
    let referrer = rig.record("town/copy", 0..12).await;
    let table = rig.table(referrer).await;
    assert!(table.is_reference());
    let hit = rig.table(host).await.fragments[3].end() as usize - 1;
    flip(&rig, GATE, host, hit).await;
    let scrubber = scrubber(&rig);
    assert!(matches!(scrubber.examine(host).await.unwrap(), ScrubVerdict::Lost(_)));
    let gap = vec![(3, 4, GapCause::Corrupt)];
    assert_eq!(timeline(&rig, GATE).await, (vec![(0, 3), (4, 10)], gap.clone()));
    assert_eq!(timeline(&rig, "town/copy").await, (vec![(0, 3), (4, 12)], gap));
    assert_eq!(scrubber.examine(referrer).await.unwrap(), ScrubVerdict::Sound, "its own bytes are");
    assert_eq!(timeline(&rig, "town/copy").await.1.len(), 1, "and those that it shares are lost still");

    // Nothing new shall lie in a damaged pack.
    let other = rig.record("town/copy", 20..21).await;
    assert!(!rig.table(other).await.is_reference());
    let again = rig.record("town/copy", 0..8).await;
    assert!(rig.table(again).await.fragments.iter().all(|entry| entry.place.is_none()));

    flip(&rig, GATE, host, hit).await;
    assert_eq!(scrubber.examine(host).await.unwrap(), ScrubVerdict::Sound);
    assert_eq!(timeline(&rig, GATE).await.1, vec![]);
    assert_eq!(timeline(&rig, "town/copy").await.1, vec![]);
}

#[tokio::test(start_paused = true)]
async fn a_pack_that_is_condemned_is_not_rewritten() {
    let mut rig = Rig::new(options(false, false)).await;
    let pack = rig.record(GATE, 0..6).await;
    flip(&rig, GATE, pack, 100).await;
    let scrubber = scrubber(&rig);
    rig.sweep_at(at(20 * 86_400)).await;
    assert_eq!(scrubber.examine(pack).await.unwrap(), ScrubVerdict::NotLookedAt);
    let left: Vec<_> = rig.store.list().try_collect().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
