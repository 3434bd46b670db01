//! One hold, several holds, and what is left of the footage around them.

use bytes::Bytes;
use footage::clock::Clock;
use footage::media::{Gap, GapCause};
use footage::units::{HoldId, TimeRange};
use futures::TryStreamExt;
use vigie::event::Fact;
use vigie::hold::{HoldError, HoldState, Holds, Request, Why};
use vigie::index::{Change, PackState, Reason};
use vigie::retrieve::Footage;
use vigie::retrieve::mp4::Clip;

use crate::rig::{Options, Rig, at, bytes_of, key};

pub(crate) fn two_days() -> Options {
    Options {
        cameras: vec![("town/gate", 2), ("next/gate", 2)],
        sharing: vec![],
        dedup: false,
        elsewhere: false,
        encrypted: false,
    }
}

pub(crate) fn holds(rig: &Rig) -> Holds {
    let clock: std::sync::Arc<dyn Clock> = rig.clock.clone();
    let (index, spool, packs) = (rig.index.clone(), rig.spool.clone(), rig.packs.clone());
    Holds::new(index, spool, packs, rig.keys.clone(), clock, jiff::tz::TimeZone::UTC)
}

pub(crate) fn between(start: i64, end: i64) -> TimeRange {
    TimeRange::new(at(start), at(end)).unwrap()
}

pub(crate) fn on_gate(start: i64, end: i64, days: i64) -> Request {
    Request {
        camera: key("town/gate"),
        range: between(start, end),
        reference: "PV 2026/117".to_owned(),
        requester: "Major Durand".to_owned(),
        reason: "theft at the market".to_owned(),
        until: at(days * 86_400),
    }
}

/// The copies are in the store when this returns.
pub(crate) async fn copied(rig: &Rig, holds: &Holds) {
    holds.copy_all().await.unwrap();
    while !rig.index.packs_in_state(PackState::Sealed, 1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

async fn objects(rig: &Rig) -> usize {
    rig.store.list().try_collect::<Vec<_>>().await.unwrap().len()
}

/// The pictures of a hold's clip, byte for byte; nothing when it has none.
async fn clip_of(rig: &Rig, hold: HoldId, range: TimeRange) -> Option<Vec<u8>> {
    let clock: std::sync::Arc<dyn Clock> = rig.clock.clone();
    let footage = Footage::new(rig.index.clone(), rig.packs.clone(), clock);
    let clip = Clip::of(&footage, &key("town/gate"), vigie::retrieve::FootageOf::Hold(hold), range).await.ok()?;
    let parts: Vec<Bytes> = clip.body(0..clip.len()).try_collect().await.unwrap();
    let file = parts.concat();
    // The file says before them whose clip it is.
    let samples = file.windows(4).position(|kind| kind == b"mdat").unwrap();
    Some(file[samples..].to_vec())
}

pub(crate) async fn seconds_held(rig: &Rig, hold: HoldId) -> Vec<(i64, i64)> {
    let seconds = |t: footage::units::WallTime| t.since(at(0)).0 / footage::units::TICKS_PER_SECOND;
    let segments = rig.index.held_segments(&key("town/gate"), hold, between(-3_600, 36_000)).await.unwrap();
    segments.iter().map(|s| (seconds(s.range.start()), seconds(s.range.end()))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_hold_covers_stays_until_its_end_and_its_neighbours_go_on_time() {
    let mut rig = Rig::new(two_days()).await;
    rig.record("town/gate", 0..120).await;
    rig.record("town/gate", 120..240).await;
    rig.record("town/gate", 240..360).await;
    rig.record("next/gate", 0..360).await;
    let holds = holds(&rig);
    let HoldState { hold, protected, absent, .. } = holds.place(on_gate(101, 175, 10)).await.unwrap();
    assert_eq!((protected, absent), (vec![between(101, 175)], vec![]));
    copied(&rig, &holds).await;
    // From the first picture of the group in which it begins to the last of the one in which it ends.
    assert_eq!(seconds_held(&rig, hold.facts.id).await, [(100, 120), (120, 176)]);
    rig.check().await;

    rig.sweep_at(at(3 * 86_400)).await;
    assert_eq!(rig.clip("town/gate").await, None, "what is held shows in no timeline but the hold's");
    assert_eq!(rig.clip("next/gate").await, None, "no hold reaches another tenant");
    assert_eq!(rig.held_bytes().await, bytes_of(100..176), "and nothing else is kept");
    let clip = clip_of(&rig, hold.facts.id, between(101, 175)).await.unwrap();
    assert!(clip.len() as u64 > bytes_of(101..175));
    rig.check().await;

    rig.sweep_at(at(10 * 86_400 + 1)).await;
    assert_eq!(rig.held_bytes().await, 0);
    let register = rig.index.deletions(&key("town/gate"), between(0, 86_400)).await.unwrap();
    let ended: Vec<_> = register.iter().filter(|entry| entry.reason == Reason::HoldEnded).collect();
    assert_eq!((ended.len(), ended[0].packs, ended[0].range), (1, 2, between(100, 176)));
    let events = rig.index.events(&key("town/gate").tenant, None, 0, 99).await.unwrap();
    for kind in ["hold_placed", "hold_ended"] {
        assert_eq!(events.iter().filter(|event| event.kind() == kind).count(), 1, "{kind}");
    }
    assert!(
        rig.index
            .events(&key("next/gate").tenant, None, 0, 99)
            .await
            .unwrap()
            .iter()
            .all(|e| !e.kind().starts_with("hold"))
    );
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn two_hundred_holds_on_one_minute_copy_it_once_and_the_last_one_keeps_it() {
    let mut rig = Rig::new(two_days()).await;
    rig.record("town/gate", 0..120).await;
    let holds = holds(&rig);
    let mut placed = Vec::new();
    for n in 0..200 {
        placed.push(holds.place(on_gate(20, 80, 10 + n % 7)).await.unwrap().hold);
    }
    copied(&rig, &holds).await;
    let once = bytes_of(20..80);
    assert_eq!(rig.held_bytes().await, bytes_of(0..120) + once);
    assert_eq!(holds.copy_all().await.unwrap(), 0, "there is nothing left to do");
    let clip = clip_of(&rig, placed[0].facts.id, between(20, 80)).await.unwrap();
    for hold in &placed[1..] {
        assert!(clip_of(&rig, hold.facts.id, between(20, 80)).await.unwrap() == clip);
    }
    // The originals go, and the holds one after the other; whichever made the copy.
    rig.sweep_at(at(3 * 86_400)).await;
    assert_eq!(rig.held_bytes().await, once);
    let last = placed.swap_remove(117);
    for hold in &placed {
        holds.release(&hold.camera.tenant, hold.facts.id).await.unwrap();
    }
    rig.sweep_at(at(3 * 86_400 + 600)).await;
    copied(&rig, &holds).await;
    rig.sweep_at(at(3 * 86_400 + 7_200)).await;
    rig.sweep_at(at(3 * 86_400 + 14_400)).await;
    assert_eq!(rig.held_bytes().await, once, "what the last one needs was copied from the packs of those that ended");
    assert!(clip_of(&rig, last.facts.id, between(20, 80)).await.unwrap() == clip);
    holds.release(&last.camera.tenant, last.facts.id).await.unwrap();
    rig.sweep_at(at(4 * 86_400)).await;
    rig.sweep_at(at(4 * 86_400 + 7_200)).await;
    assert_eq!(rig.held_bytes().await, 0);
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_ends_shows_nothing_that_another_keeps() {
    let mut rig = Rig::new(two_days()).await;
    rig.record("town/gate", 0..120).await;
    let holds = holds(&rig);
    let long = holds.place(on_gate(0, 100, 20)).await.unwrap().hold;
    let short = holds.place(on_gate(20, 40, 10)).await.unwrap().hold;
    copied(&rig, &holds).await;
    assert!(clip_of(&rig, short.facts.id, between(20, 40)).await.is_some());
    holds.release(&short.camera.tenant, short.facts.id).await.unwrap();
    assert_eq!(clip_of(&rig, short.facts.id, between(20, 40)).await, None);
    assert!(clip_of(&rig, long.facts.id, between(0, 100)).await.is_some());
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_released_hold_keeps_nothing_from_that_moment_on() {
    let mut rig = Rig::new(two_days()).await;
    rig.record("town/gate", 0..120).await;
    let holds = holds(&rig);
    let hold = holds.place(on_gate(10, 20, 10)).await.unwrap().hold;
    copied(&rig, &holds).await;
    let released = holds.release(&hold.camera.tenant, hold.facts.id).await.unwrap();
    assert!(released.closed.is_some());
    assert_eq!(holds.release(&hold.camera.tenant, hold.facts.id).await.unwrap(), released, "twice is once");
    rig.sweep_at(at(4_000)).await;
    assert_eq!(rig.held_bytes().await, bytes_of(0..120), "the copy is gone, the original stays its time");
    assert_eq!(clip_of(&rig, hold.facts.id, between(0, 120)).await, None);
    rig.sweep_at(at(3 * 86_400)).await;
    assert_eq!(rig.held_bytes().await, 0);
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn footage_that_is_condemned_is_rescued_and_what_is_gone_is_said() {
    let mut rig = Rig::new(two_days()).await;
    rig.record("town/gate", 0..120).await;
    rig.record("town/gate", 7_200..7_320).await;
    // The first is gone, the second condemned and not yet deleted.
    rig.sweep_at(at(2 * 86_400)).await;
    let just_due = at(2 * 86_400 + 7_000);
    rig.goes_on(just_due.since(rig.clock.wall()).to_duration()).await;
    rig.sweep().await;
    assert_eq!(rig.clip("town/gate").await, None);
    let holds = holds(&rig);
    let HoldState { hold, protected, absent, .. } = holds.place(on_gate(0, 7_260, 10)).await.unwrap();
    assert_eq!(protected, [between(7_200, 7_260)]);
    let absent: Vec<_> = absent.into_iter().map(|absent| (absent.range, absent.why)).collect();
    assert_eq!(absent, [(between(0, 120), Why::Destroyed), (between(120, 7_200), Why::NotRecorded)]);
    // However late the copying comes, what is held waits for it.
    rig.goes_on(std::time::Duration::from_secs(3_600)).await;
    rig.sweep().await;
    assert_eq!(objects(&rig).await, 1);
    copied(&rig, &holds).await;
    rig.sweep_at(at(3 * 86_400)).await;
    assert_eq!(rig.held_bytes().await, bytes_of(7_200..7_260));
    assert_eq!(seconds_held(&rig, hold.facts.id).await, [(7_200, 7_260)]);
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn footage_yet_to_come_is_held_as_it_is_recorded_and_gaps_are_named() {
    let mut rig = Rig::new(two_days()).await;
    rig.record("town/gate", 540..600).await;
    let gap = Gap { start: at(300), end: at(540), cause: GapCause::Silent, lost_packets: 0 };
    rig.index.write(vec![Change::PutGap { camera: key("town/gate"), gap }]).await.unwrap();
    let holds = holds(&rig);
    let HoldState { hold, protected, absent, .. } = holds.place(on_gate(200, 900, 10)).await.unwrap();
    assert_eq!(protected, [between(540, 600)]);
    let absent: Vec<_> = absent.into_iter().map(|absent| (absent.range, absent.why)).collect();
    assert_eq!(absent, [(between(200, 300), Why::NotRecorded), (between(300, 540), Why::Gap(GapCause::Silent))]);
    copied(&rig, &holds).await;
    rig.record("town/gate", 600..720).await;
    rig.record("town/gate", 840..960).await;
    copied(&rig, &holds).await;
    assert_eq!(seconds_held(&rig, hold.facts.id).await, [(540, 600), (600, 720), (840, 900)]);
    rig.sweep_at(at(3 * 86_400)).await;
    assert_eq!(rig.held_bytes().await, bytes_of((540..720).chain(840..900)));
    let held = holds.get(&hold.camera.tenant, hold.facts.id).await.unwrap();
    assert_eq!(held.copied, [between(540, 720), between(840, 900)]);
    assert_eq!(held.copied, held.protected);
}

#[tokio::test(start_paused = true)]
async fn holds_that_overlap_each_keep_their_own_and_a_later_one_takes_what_only_another_keeps() {
    let mut rig = Rig::new(two_days()).await;
    rig.record("town/gate", 0..120).await;
    let holds = holds(&rig);
    let first = holds.place(on_gate(20, 60, 10)).await.unwrap().hold;
    let second = holds.place(on_gate(40, 80, 20)).await.unwrap().hold;
    copied(&rig, &holds).await;
    // The second lasts longer and copies first. The first copies the rest and shares the overlap.
    assert_eq!(seconds_held(&rig, first.facts.id).await, [(20, 40), (40, 80)]);
    assert_eq!(seconds_held(&rig, second.facts.id).await, [(40, 80)], "the first hold's part is outside its range");
    rig.sweep_at(at(3 * 86_400)).await;
    assert_eq!(rig.held_bytes().await, bytes_of(20..80), "each second is copied once");
    let of_first = clip_of(&rig, first.facts.id, between(20, 60)).await.unwrap().len() as u64;
    assert!((bytes_of(20..60)..bytes_of(20..64)).contains(&of_first), "{of_first}");
    let of_second = clip_of(&rig, second.facts.id, between(40, 80)).await.unwrap();

    // The original is gone. A third hold is placed just before the first is released.
    let third = holds.place(on_gate(30, 50, 30)).await.unwrap();
    assert_eq!(third.protected, [between(30, 50)]);
    let third = third.hold.facts.id;
    let of_third = clip_of(&rig, third, between(30, 50)).await.unwrap();
    holds.release(&first.camera.tenant, first.facts.id).await.unwrap();
    rig.sweep_at(at(3 * 86_400 + 3_600)).await;
    assert_eq!(seconds_held(&rig, first.facts.id).await, [(20, 40)], "its pack waits for the third to copy");
    copied(&rig, &holds).await;
    rig.sweep_at(at(3 * 86_400 + 7_200)).await;
    assert_eq!(seconds_held(&rig, first.facts.id).await, []);
    assert_eq!(seconds_held(&rig, second.facts.id).await, [(40, 80)]);
    assert_eq!(seconds_held(&rig, third).await, [(30, 40), (40, 80)]);
    assert_eq!(rig.held_bytes().await, bytes_of(30..80), "nothing is kept that only the first covered");
    assert!(clip_of(&rig, second.facts.id, between(40, 80)).await.unwrap() == of_second);
    assert!(clip_of(&rig, third, between(30, 50)).await.unwrap() == of_third);
    rig.check().await;

    // The second ends. The third copies what it shared, and nothing beyond its own range.
    rig.sweep_at(at(20 * 86_400 + 1)).await;
    copied(&rig, &holds).await;
    rig.sweep_at(at(20 * 86_400 + 7_200)).await;
    assert_eq!(seconds_held(&rig, third).await, [(30, 40), (40, 50)]);
    assert_eq!(rig.held_bytes().await, bytes_of(30..50));
    assert!(clip_of(&rig, third, between(30, 50)).await.unwrap() == of_third);
    rig.check().await;
    rig.sweep_at(at(31 * 86_400)).await;
    assert_eq!(rig.held_bytes().await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_index_rebuilt_from_the_packs_has_the_holds_and_ends_them_on_time() {
    let mut rig = Rig::new(two_days()).await;
    rig.record("town/gate", 0..120).await;
    rig.record("town/gate", 120..240).await;
    let holds_before = holds(&rig);
    let hold = holds_before.place(on_gate(60, 180, 10)).await.unwrap().hold;
    copied(&rig, &holds_before).await;
    rig.settle().await;
    drop(holds_before);
    let cameras = rig.index.all_cameras().await.unwrap();
    // Without the old index: what it does not have is not carried over.
    rig.index.close().await;
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = std::fs::remove_file(rig.dir.path().join(file));
    }
    let mut rig = rig.rebuilt_with(cameras).await;
    let known = rig.index.holds(&hold.camera.tenant, None, None, 9).await.unwrap();
    assert_eq!(known, std::slice::from_ref(&hold));
    assert_eq!(seconds_held(&rig, hold.facts.id).await, [(60, 120), (120, 180)]);
    rig.check().await;
    rig.sweep_at(at(3 * 86_400)).await;
    assert!(rig.index.spans(&key("town/gate"), between(0, 240)).await.unwrap().len() == 2, "it has not looked yet");
    let holds = holds(&rig);
    copied(&rig, &holds).await;
    rig.sweep_at(at(3 * 86_400 + 3_600)).await;
    assert_eq!(rig.held_bytes().await, bytes_of(60..180));
    rig.sweep_at(at(11 * 86_400)).await;
    assert_eq!(rig.held_bytes().await, 0);
}

#[tokio::test(start_paused = true)]
async fn copying_that_was_cut_off_makes_the_same_packs_again() {
    let mut rig = Rig::new(two_days()).await;
    rig.record("town/gate", 0..120).await;
    let holds = holds(&rig);
    let hold = holds.place(on_gate(10, 20, 10)).await.unwrap().hold;
    copied(&rig, &holds).await;
    let first: Vec<_> = rig.index.held_segments(&hold.camera, hold.facts.id, between(0, 120)).await.unwrap();
    // As if it had never been mentioned.
    rig.index.write(vec![Change::Forget { pack: first[0].pack }]).await.unwrap();
    assert_eq!(seconds_held(&rig, hold.facts.id).await, []);
    copied(&rig, &holds).await;
    assert_eq!(rig.index.held_segments(&hold.camera, hold.facts.id, between(0, 120)).await.unwrap(), first);
    assert_eq!(objects(&rig).await, 2);
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn references_are_held_with_their_bytes() {
    let mut rig = Rig::new(Options { dedup: true, sharing: vec!["town", "next"], ..two_days() }).await;
    rig.record("next/gate", 0..120).await;
    let pack = rig.record("town/gate", 0..120).await;
    assert!(rig.table(pack).await.is_reference());
    let holds = holds(&rig);
    let hold = holds.place(on_gate(10, 20, 10)).await.unwrap().hold;
    copied(&rig, &holds).await;
    rig.sweep_at(at(3 * 86_400)).await;
    assert_eq!(rig.held_bytes().await, bytes_of(10..20));
    assert!(clip_of(&rig, hold.facts.id, between(10, 20)).await.is_some());
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn damaged_footage_is_left_out_named_and_keeps_nothing_else_from_going() {
    let mut rig = Rig::new(two_days()).await;
    let pack = rig.record("town/gate", 0..120).await;
    let table = rig.table(pack).await;
    let file = rig.store.local_file(&key("town/gate"), pack).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[table.fragments[14].data_offset() as usize + 5] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    let holds = holds(&rig);
    let hold = holds.place(on_gate(10, 20, 10)).await.unwrap().hold;
    copied(&rig, &holds).await;
    assert_eq!(seconds_held(&rig, hold.facts.id).await, [(10, 14), (16, 20)]);
    let events = rig.index.events(&hold.camera.tenant, None, 0, 99).await.unwrap();
    let reported = events.iter().find(|event| event.kind() == "hold_damaged").unwrap();
    let from = table.fragments[14].stamp.wall_start;
    assert!(matches!(reported.event.fact, Fact::HoldDamaged { start, .. } if start == from), "{reported:?}");
    rig.sweep_at(at(3 * 86_400)).await;
    assert_eq!(rig.held_bytes().await, bytes_of((10..14).chain(16..20)));
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_makes_no_sense_is_refused_with_what_to_ask() {
    let rig = Rig::new(two_days()).await;
    let holds = holds(&rig);
    let refused = async |request: Request, advice: &str| match holds.place(request).await {
        Err(HoldError::Invalid(what)) => assert!(what.contains(advice), "{what}"),
        other => panic!("{other:?}"),
    };
    refused(Request { requester: "  ".into(), ..on_gate(0, 10, 1) }, "who asks").await;
    refused(Request { reason: String::new(), ..on_gate(0, 10, 1) }, "why").await;
    refused(Request { reason: "a\nb".into(), ..on_gate(0, 10, 1) }, "one line").await;
    refused(Request { reference: "x".repeat(201), ..on_gate(0, 10, 1) }, "200").await;
    refused(Request { until: at(599), ..on_gate(0, 10, 1) }, "over already").await;
    refused(Request { until: at(700), ..on_gate(0, 800, 1) }, "before the footage").await;
    refused(on_gate(0, 32 * 86_400, 40), "31 days").await;
    refused(on_gate(0, 10, 4_000), "10 years").await;
    refused(Request { reference: " ".into(), ..on_gate(0, 10, 40) }, "reference").await;
    assert!(holds.place(Request { reference: String::new(), ..on_gate(0, 10, 25) }).await.is_ok());
    let nobody = holds.place(Request { camera: key("town/nope"), ..on_gate(0, 10, 1) }).await;
    assert!(matches!(nobody, Err(HoldError::NoCamera(_))), "{nobody:?}");
    let tenant = key("next/gate").tenant;
    let hold = rig.index.holds(&key("town/gate").tenant, None, None, 9).await.unwrap()[0].facts.id;
    assert!(matches!(holds.get(&tenant, hold).await, Err(HoldError::NoHold(_))));
    assert!(matches!(holds.release(&tenant, hold).await, Err(HoldError::NoHold(_))));
    assert_eq!(rig.index.holds(&tenant, None, None, 9).await.unwrap(), []);
}
