//! Encrypted stores: nothing can be read from them but with the keys, and with a day's key gone nothing at all.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use footage::clock::Clock;
use footage::units::{PackId, Ticks90k, TimeRange};
use futures::TryStreamExt;
use vigie::archive::{Archive, PackRef};
use vigie::hold::{Holds, Request};
use vigie::index::{Change, PackState};
use vigie::retrieve::Footage;
use vigie::retrieve::mp4::Clip;
use vigie::scrub::{ScrubVerdict, Scrubber};
use vigie::seal::Sealer;
use vigie::spool::Spool;
use vigie::store::Listed;

mod destroyed;
mod losing;
mod real;
#[allow(dead_code, reason = "the deduplication tests need more of it")]
#[path = "../dedup/rig.rs"]
mod rig;
#[allow(dead_code, reason = "other tests need more of it")]
#[path = "../support/seaweed.rs"]
mod seaweed;

use rig::{DAY, NOON, Options, Rig, at, key, second};

const GATE: &str = "saint-cyr/place-de-la-mairie";

fn options(elsewhere: bool, encrypted: bool) -> Options {
    Options { cameras: vec![(GATE, 2), ("val/gare", 2)], sharing: vec![], dedup: false, elsewhere, encrypted }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

fn all_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { all_files(&path) } else { vec![path] }).collect()
}

/// Words and bytes that tell something: names, places, boxes of MP4, sample descriptions, samples with the length
/// before each access unit.
fn secrets() -> Vec<Vec<u8>> {
    let words =
        ["saint", "cyr", "place", "mairie", "val", "gare", "ftyp", "moov", "moof", "mdat", "avc1", "trun", "vigie"];
    let mut all: Vec<Vec<u8>> =
        words.iter().map(|word| word.as_bytes().to_vec()).filter(|word| word.len() > 3).collect();
    for n in 0..8 {
        let fragment = second(n);
        let (mut from, payload) = (0, fragment.payload.to_vec());
        for sample in &fragment.video {
            all.push(payload[from..from + 12].to_vec());
            from += sample.size as usize;
        }
    }
    all
}

async fn hold(rig: &Rig, seconds: std::ops::Range<i64>) -> footage::units::HoldId {
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let (index, spool, packs) = (rig.index.clone(), rig.spool.clone(), rig.packs.clone());
    let holds = Holds::new(index, spool, packs, rig.keys.clone(), clock, jiff::tz::TimeZone::UTC);
    let request = Request {
        camera: key(GATE),
        range: TimeRange::new(at(seconds.start), at(seconds.end)).unwrap(),
        reference: "PV 1".into(),
        requester: "Major Durand".into(),
        reason: "theft".into(),
        until: NOON.saturating_add(Ticks90k(20 * DAY)),
    };
    let placed = holds.place(request).await.unwrap();
    holds.copy_all().await.unwrap();
    while !rig.index.packs_in_state(PackState::Sealed, 1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    placed.hold.facts.id
}

async fn clip_of_hold(rig: &Rig, hold: footage::units::HoldId, seconds: std::ops::Range<i64>) -> Vec<u8> {
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let packs = Archive::new(rig.spool.clone(), rig.store.clone());
    let footage = Footage::new(rig.index.clone(), packs, clock);
    let range = TimeRange::new(at(seconds.start), at(seconds.end)).unwrap();
    let clip = Clip::of(&footage, &key(GATE), vigie::retrieve::FootageOf::Hold(hold), range).await.unwrap();
    clip.body(0..clip.len()).try_collect::<Vec<_>>().await.unwrap().concat()
}

#[tokio::test(start_paused = true)]
async fn nothing_in_the_store_the_spool_or_their_names_reveals_anything() {
    for elsewhere in [false, true] {
        let mut rig = Rig::new(options(elsewhere, true)).await;
        rig.record(GATE, 0..6).await;
        rig.record("val/gare", 0..8).await;
        hold(&rig, 1..3).await;
        let secrets = secrets();
        let reported = |place: &str, bytes: &[u8]| {
            let what = secrets.iter().find(|what| contains(bytes, what));
            assert!(what.is_none(), "{place} tells {:?}", String::from_utf8_lossy(what.unwrap()));
        };
        let objects: Vec<Listed> = rig.store.list().try_collect().await.unwrap();
        assert_eq!(objects.len(), 3);
        for object in objects {
            reported("a name", object.location.as_bytes());
            let (camera, pack) = object.pack.expect("the gateway itself knows what it is");
            reported("an object", &rig.store.get_range(&camera, pack, 0..object.bytes).await.unwrap());
        }
        let stored = if elsewhere { vec![] } else { all_files(&rig.dir.path().join("store")) };
        for file in all_files(&rig.dir.path().join("spool")).into_iter().chain(stored) {
            reported("a file", &std::fs::read(&file).unwrap());
        }
        rig.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clip_is_byte_for_byte_the_one_from_a_store_in_clear() {
    let (mut plain, mut encrypted) = (Rig::new(options(false, false)).await, Rig::new(options(false, true)).await);
    let (mut far, mut clips) = (Rig::new(options(true, true)).await, Vec::new());
    for rig in [&mut plain, &mut encrypted, &mut far] {
        rig.record(GATE, 0..60).await;
        rig.record(GATE, 60..100).await;
    }
    // The third reads its objects from the store, not from what stayed in the spool.
    for file in all_files(&far.dir.path().join("spool")) {
        std::fs::remove_file(file).unwrap();
    }
    for rig in [&plain, &encrypted, &far] {
        clips.push(rig.clip(GATE).await.unwrap());
        rig.check().await;
    }
    assert!(clips[0] == clips[1] && clips[0] == clips[2]);
}

#[tokio::test(start_paused = true)]
async fn one_flipped_bit_anywhere_is_refused_or_changes_nothing() {
    let mut rig = Rig::new(options(false, true)).await;
    let id = rig.record(GATE, 0..4).await;
    let pack = PackRef { id, camera: key(GATE), state: PackState::Stored };
    let file = rig.store.local_file(&key(GATE), id).unwrap();
    let (before, end) = (std::fs::read(&file).unwrap(), rig.table(id).await.end());
    let as_written = rig.packs.bytes(&pack, 0..end).await.unwrap();
    let mut refused = 0;
    for byte in (0..before.len()).step_by(17) {
        let mut bytes = before.clone();
        bytes[byte] ^= 1 << (byte % 8);
        std::fs::write(&file, bytes).unwrap();
        let packs = Archive::new(rig.spool.clone(), rig.store.clone());
        match packs.bytes(&pack, 0..end).await {
            Ok(read) => assert!(read == as_written, "byte {byte}: other bytes were handed out"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused * 17 > before.len() * 9 / 10, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn one_packs_object_under_another_name_is_refused() {
    let mut rig = Rig::new(options(false, true)).await;
    let (one, other) = (rig.record(GATE, 0..6).await, rig.record(GATE, 6..12).await);
    let [first, second] = [one, other].map(|id| rig.store.local_file(&key(GATE), id).unwrap());
    let bytes = std::fs::read(&first).unwrap();
    std::fs::copy(&second, &first).unwrap();
    std::fs::write(&second, bytes).unwrap();
    let packs = Archive::new(rig.spool.clone(), rig.store.clone());
    let pack = PackRef { id: one, camera: key(GATE), state: PackState::Stored };
    let error = packs.bytes(&pack, 0..100).await.unwrap_err().to_string();
    assert!(error.contains(&other.to_string()), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_pack_that_grew_when_the_plug_was_pulled_is_whole_up_to_its_last_whole_fragment() {
    let mut rig = Rig::new(options(false, true)).await;
    let pack = rig.grow(GATE, 0..9).await;
    rig.spool.flush().await;
    // The power goes before the index hears of it.
    rig.index.write(vec![Change::Forget { pack }]).await.unwrap();
    rig.settle().await;
    let file = rig.spool.files(&key(GATE), pack)[2].clone();
    let bytes = std::fs::read(&file).unwrap();
    // Behind what was written, the last block is filled up.
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    std::fs::write(&file, &bytes[..end - 100]).unwrap();
    let (index, clock) = (rig.index.clone(), rig.clock.clone());
    let spool = Spool::new(&rig.dir.path().join("spool"), rig.store.clone(), index, clock, rig.keys.clone());
    let tasks = Sealer::new(spool.clone()).start().unwrap();
    spool.recover().await.unwrap();
    spool.close();
    tasks.join().await;
    let mut plain = Rig::new(options(false, false)).await;
    plain.record(GATE, 0..8).await;
    rig.packs = Archive::new(spool.clone(), rig.store.clone());
    assert!(rig.clip(GATE).await == plain.clip(GATE).await);
    // It ended when the store had the pack, and its row does not say so.
    let ([_, whole, _], object) = (spool.files(&key(GATE), pack), rig.store.local_file(&key(GATE), pack).unwrap());
    if whole.exists() {
        std::fs::create_dir_all(object.parent().unwrap()).unwrap();
        std::fs::rename(&whole, &object).unwrap();
    }
    rig.spool = spool;
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_index_rebuilt_reads_the_packs_with_their_keys() {
    let mut rig = Rig::new(options(true, true)).await;
    rig.record(GATE, 0..6).await;
    rig.record("val/gare", 0..8).await;
    let clip = rig.clip(GATE).await;
    rig.settle().await;
    let mut rig = rig.rebuilt().await;
    assert!(rig.clip(GATE).await == clip);
    rig.check().await;
    // It knows which keys are needed, too: both go with the footage.
    rig.sweep_at(NOON.saturating_add(Ticks90k(4 * DAY))).await;
    assert_eq!(rig.keys.vault().list().unwrap().iter().filter(|key| key.day.is_some()).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn rotten_bits_are_mended_from_a_copy_under_another_key() {
    let mut rig = Rig::new(options(false, true)).await;
    let pack = rig.record(GATE, 0..6).await;
    hold(&rig, 0..6).await;
    let clip = rig.clip(GATE).await;
    let file = rig.store.local_file(&key(GATE), pack).unwrap();
    let parts = (rig.index.clone(), rig.spool.clone(), rig.store.clone(), rig.packs.clone());
    let scrubber = Scrubber::new(parts, rig.keys.clone(), rig.clock.clone(), rig.dir.path().join("scrub")).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    rig.packs.forget_table(pack).await;
    let verdict = scrubber.examine(pack).await.unwrap();
    assert!(matches!(verdict, ScrubVerdict::Mended(_)), "{verdict:?}");
    assert!(rig.clip(GATE).await == clip);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), bytes.len() as u64);
    rig.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_encrypted_from_a_day_on_keeps_what_it_had() {
    let mut rig = Rig::new(options(false, false)).await;
    let before = rig.record(GATE, 0..6).await;
    let options = options(false, true);
    let Rig { dir, index, .. } = rig;
    let url = url::Url::from_directory_path(dir.path().join("store")).unwrap();
    let config = vigie::config::StoreConfig { encrypt: true, ..vigie::config::StoreConfig::at(url) };
    let names = footage::keys::Keys::from_secret([7; 32]).names();
    let store = vigie::store::Store::open_opaque(&config, names).unwrap();
    let mut rig = Rig::over(dir, index, store, options).await;
    rig.record(GATE, 6..12).await;
    assert!(rig.clip(GATE).await.is_some());
    rig.check().await;
    assert!(rig.store.local_file(&key(GATE), before).unwrap().to_string_lossy().contains("mairie"));
    rig.sweep_at(NOON.saturating_add(Ticks90k(4 * DAY))).await;
    assert!(all_files(&rig.dir.path().join("store")).is_empty());
}
