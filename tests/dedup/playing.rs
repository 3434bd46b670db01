//! A pack that is missing or damaged is a hole in what is handed out, and nothing more.

use std::collections::BTreeMap;
use std::sync::Arc;

use footage::clock::Clock;
use footage::units::{PackId, StoreUid, TICKS_PER_SECOND, TimeRange};
use futures::TryStreamExt;
use tokio::sync::mpsc;
use vigie::archive::readable::Unreadable;
use vigie::archive::{Archive, ReadError};
use vigie::retrieve::hls::{Tracks, media_segment, vod_playlist};
use vigie::retrieve::holes::Looks;
use vigie::retrieve::mp4::Clip;
use vigie::retrieve::{Footage, RetrieveError, snapshot};

use crate::rig::{Options, Rig, at, bytes_of, key};

const GATE: &str = "town/gate";

fn options(elsewhere: bool, encrypted: bool) -> Options {
    Options { cameras: vec![(GATE, 9), ("town/copy", 9)], sharing: vec![], dedup: true, elsewhere, encrypted }
}

/// What a reader of the rig sees, with nothing known before, and which packs it names to the scrub.
fn reader(rig: &Rig) -> (Footage, mpsc::Receiver<PackId>) {
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let packs = Archive::new(rig.spool.clone(), rig.store.clone());
    let (looks, named) = mpsc::channel(64);
    (Footage::new(rig.index.clone(), packs, clock).naming(Looks::new(looks)), named)
}

fn all() -> TimeRange {
    TimeRange::new(at(0), at(60)).unwrap()
}

/// The sample bytes of a clip of these seconds, and its holes as first and last second.
async fn play(footage: &Footage, camera: &str) -> (u64, Vec<(i64, i64, Unreadable)>) {
    let clip = Clip::new(footage, &key(camera), all()).await.unwrap();
    let body: Vec<bytes::Bytes> = clip.body(0..clip.len()).try_collect().await.unwrap();
    assert_eq!(body.iter().map(|part| part.len() as u64).sum::<u64>(), clip.len());
    let samples = body.concat();
    let samples = samples.len() - samples.windows(4).position(|kind| kind == b"mdat").unwrap();
    let second = |t: footage::units::WallTime| t.since(at(0)).0 / TICKS_PER_SECOND;
    let holes = clip.holes().iter().map(|hole| (second(hole.range.start()), second(hole.range.end()), hole.why));
    (samples as u64, holes.collect())
}

/// Six packs of ten seconds, some of which are done something to.
async fn check(encrypted: bool, harm: impl AsyncFn(&Rig, &[PackId]), holes: &[(i64, i64, Unreadable)]) {
    let mut rig = Rig::new(options(false, encrypted)).await;
    let mut packs = Vec::new();
    for n in 0..6 {
        packs.push(rig.record(GATE, n * 10..n * 10 + 10).await);
    }
    let (whole, none) = play(&reader(&rig).0, GATE).await;
    assert_eq!(none, []);
    harm(&rig, &packs).await;
    let (footage, mut named) = reader(&rig);
    let (left, found) = play(&footage, GATE).await;
    assert_eq!(found, holes);
    let lost = holes.iter().map(|(from, to, _)| bytes_of(*from as u32..*to as u32)).sum::<u64>();
    assert!(whole - left >= lost && whole - left < lost + 5_000, "{whole} bytes, {left} left, {lost} of them lost");
    let mut looks = Vec::new();
    while let Ok(pack) = named.try_recv() {
        looks.push(pack);
    }
    for (from, ..) in holes {
        assert!(looks.contains(&packs[*from as usize / 10]), "the scrub has to look at it: {looks:?}");
    }
    let playlist = vod_playlist(&footage, &key(GATE), all()).await.unwrap();
    for (from, to, why) in holes.iter().filter(|(.., why)| *why == Unreadable::Missing) {
        let hole = playlist.holes.iter().find(|hole| hole.range.start() == at(*from)).expect("the playlist has it too");
        assert_eq!((hole.range.end(), hole.why), (at(*to), *why));
    }
}

fn path(rig: &Rig, pack: PackId) -> std::path::PathBuf {
    rig.store.local_file(&key(GATE), pack).unwrap()
}

async fn damage(rig: &Rig, pack: PackId, fragment: usize) {
    let table = rig.table(pack).await;
    let (mut bytes, file) = (std::fs::read(path(rig, pack)).unwrap(), path(rig, pack));
    // Encrypted, it lies a little later in the file.
    bytes[table.fragments[fragment].end() as usize - 50] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn missing_packs_are_holes_wherever_they_are() {
    for lost in [vec![0], vec![5], vec![2], vec![1, 3, 4], vec![0, 1, 5]] {
        let holes: Vec<_> = lost.iter().map(|n| (n * 10, n * 10 + 10, Unreadable::Missing)).collect();
        let harm = async |rig: &Rig, packs: &[PackId]| {
            lost.iter().for_each(|n| std::fs::remove_file(path(rig, packs[*n as usize])).unwrap());
        };
        check(false, harm, &holes).await;
    }
}

#[tokio::test]
async fn a_damaged_fragment_is_a_hole_up_to_the_next_random_access_point() {
    let harm = async |rig: &Rig, packs: &[PackId]| {
        damage(rig, packs[2], 4).await;
        damage(rig, packs[4], 7).await;
    };
    check(false, harm, &[(24, 26, Unreadable::Damaged), (47, 48, Unreadable::Damaged)]).await;
}

#[tokio::test]
async fn a_pack_without_a_fragment_table_is_a_hole() {
    let harm = async |rig: &Rig, packs: &[PackId]| std::fs::write(path(rig, packs[3]), b"no pack").unwrap();
    check(false, harm, &[(30, 40, Unreadable::Damaged)]).await;
    let harm = async |rig: &Rig, packs: &[PackId]| std::fs::write(path(rig, packs[3]), b"").unwrap();
    check(true, harm, &[(30, 40, Unreadable::Damaged)]).await;
}

#[tokio::test]
async fn when_all_is_missing_the_answer_says_so() {
    let mut rig = Rig::new(options(false, false)).await;
    let pack = rig.record(GATE, 0..10).await;
    std::fs::remove_file(path(&rig, pack)).unwrap();
    let (footage, _named) = reader(&rig);
    let answer = Clip::new(&footage, &key(GATE), all()).await.unwrap_err();
    assert!(matches!(&answer, RetrieveError::Lost { holes, .. } if holes.len() == 1), "{answer}");
    let answer = vod_playlist(&footage, &key(GATE), all()).await.unwrap_err();
    assert!(matches!(answer, RetrieveError::Lost { .. }), "{answer}");
    let answer = snapshot::snapshot(&footage, &key(GATE), at(5)).await.unwrap_err();
    assert!(matches!(answer, RetrieveError::Lost { .. }), "{answer}");
}

/// The store has its marker, and the index knows it by this id.
async fn identify(rig: &Rig) -> BTreeMap<String, StoreUid> {
    let id = rig.store.ids().next().unwrap();
    rig.store.expect(&BTreeMap::new(), None);
    let uid = rig.store.identify(id).await.unwrap().uid();
    BTreeMap::from([(rig.store.name(id).to_owned(), uid)])
}

#[tokio::test]
async fn what_is_not_the_known_store_says_nothing_of_a_pack() {
    let mut rig = Rig::new(options(false, false)).await;
    let known = identify(&rig).await;
    let pack = rig.record(GATE, 0..10).await;
    let file = path(&rig, pack);
    let (store, away) = (rig.dir.path().join("store"), rig.dir.path().join("away"));
    let bytes = std::fs::read(&file).unwrap();
    std::fs::rename(&store, &away).unwrap();
    for case in ["not there", "not mounted", "answers something else"] {
        match case {
            "not there" => {}
            "not mounted" => std::fs::create_dir(&store).unwrap(),
            _ => {
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(&file, vec![b'x'; bytes.len()]).unwrap();
            }
        }
        // Nothing that was found out before counts.
        rig.store.expect(&known, None);
        let (footage, mut named) = reader(&rig);
        let answer = Clip::new(&footage, &key(GATE), all()).await.unwrap_err();
        assert!(matches!(answer, RetrieveError::Read(ReadError::Store { .. })), "{case}: {answer}");
        let answer = vod_playlist(&footage, &key(GATE), all()).await.unwrap_err();
        assert!(matches!(answer, RetrieveError::Read(ReadError::Store { .. })), "{case}: {answer}");
        assert!(named.try_recv().is_err(), "{case}: the scrub has nothing to check");
    }
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&away, &store).unwrap();
    rig.store.expect(&known, None);
    assert_eq!(play(&reader(&rig).0, GATE).await.1, []);
}

#[tokio::test]
async fn a_snapshot_and_a_segment_of_a_damaged_fragment_say_what_it_is() {
    let mut rig = Rig::new(options(false, false)).await;
    let pack = rig.record(GATE, 0..10).await;
    damage(&rig, pack, 4).await;
    let (footage, mut named) = reader(&rig);
    let answer = snapshot::snapshot(&footage, &key(GATE), at(4)).await.unwrap_err();
    assert!(matches!(answer, RetrieveError::Lost { .. }), "{answer}");
    assert_eq!(named.try_recv(), Ok(pack));
    let answer = media_segment(&footage, &key(GATE), pack, 4..=5, Tracks::All).await.map(|_| ()).unwrap_err();
    assert!(matches!(answer, RetrieveError::Lost { .. }), "{answer}");
    assert!(media_segment(&footage, &key(GATE), pack, 2..=3, Tracks::All).await.is_ok());
}

#[tokio::test]
async fn a_host_that_is_missing_is_a_hole_in_what_refers_to_it() {
    let mut rig = Rig::new(options(false, false)).await;
    let host = rig.record(GATE, 0..10).await;
    let referrer = rig.record("town/copy", 0..20).await;
    std::fs::remove_file(path(&rig, host)).unwrap();
    let (footage, mut named) = reader(&rig);
    let (_, holes) = play(&footage, "town/copy").await;
    assert_eq!(holes.iter().map(|(from, to, _)| (*from, *to)).collect::<Vec<_>>(), [(0, 10)]);
    assert_eq!(named.try_recv(), Ok(referrer));
}
