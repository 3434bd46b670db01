//! What any store must do, on a local directory, in memory, and on a real S3 server.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

#[path = "support/seaweed.rs"]
mod seaweed;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use footage::clock::{Clock, SystemClock};
use footage::units::{CameraKey, PackId, WallTime};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use seaweed::Seaweed;
use url::Url;
use vigie::config::{S3, StoreConfig, Verify};
use vigie::store::count::Counts;
use vigie::store::fault::{Decide, FaultyStore, Op, StoreCall, StoreFault};
use vigie::store::probe::ProbeVerdict;
use vigie::store::{Kept, PART_BYTES, Store, upload};

fn camera() -> CameraKey {
    "saint-cyr/mairie".parse().expect("a key")
}

fn pack() -> PackId {
    PackId::generate(WallTime(1_700_000_000 * 90_000))
}

/// Bytes of which no stretch is like another.
fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

async fn conforms(store: &Store, dir: &Path) {
    let file = dir.join("pack.mp4");
    for length in [1, 1_000, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 17] {
        let (content, pack) = (bytes(length), pack());
        assert_eq!(store.pack_bytes(&camera(), pack).await.unwrap(), None);
        let missing = store.get_range(&camera(), pack, 0..1).await.unwrap_err();
        assert!(matches!(missing, object_store::Error::NotFound { .. }), "{missing}");
        for _ in 0..2 {
            // The second time as after a crash between the store's answer and the index.
            std::fs::write(&file, &content).unwrap();
            let kept = store.put_pack(&camera(), pack, &file).await.unwrap();
            assert_eq!(kept == Kept::Moved, !file.exists());
        }
        assert!(!upload::note_path(&file).exists(), "the note of an upload was left");
        assert_eq!(store.pack_bytes(&camera(), pack).await.unwrap(), Some(length as u64));
        let n = length as u64;
        for range in [0..n, n / 3..n / 2 + 1, n - 1..n] {
            let got = store.get_range(&camera(), pack, range.clone()).await.unwrap();
            assert!(got == content[range.start as usize..range.end as usize], "{range:?} of {length} differs");
        }
        let listed: Vec<_> = store.list().try_collect().await.unwrap();
        let found: Vec<_> = listed.iter().filter(|object| object.pack == Some((camera(), pack))).collect();
        assert_eq!(found.iter().map(|object| object.bytes).collect::<Vec<_>>(), [length as u64]);
        store.delete(&camera(), pack).await.unwrap();
        store.delete(&camera(), pack).await.expect("absent counts as deleted");
        assert_eq!(store.pack_bytes(&camera(), pack).await.unwrap(), None);
    }
    assert!(store.list().next().await.is_none(), "something is left");
    keeps_journals(store).await;
    for id in store.ids() {
        let report = store.probe(id, &SystemClock::default()).await;
        assert_eq!(report.verdict(), ProbeVerdict::Good, "{report:?}");
    }
    assert!(store.list().next().await.is_none(), "the trial left something");
}

/// Copies of journals: read, written, listed and removed by their names, and no object of anybody else's.
async fn keeps_journals(store: &Store) {
    let name = "0123456789abcdef0123456789abcdef";
    let shelf = store.shelves(&camera().tenant, name).swap_remove(0);
    assert_eq!(shelf.get("checkpoint", 100).await.unwrap(), None);
    let all = ["checkpoint", "tile/0/000", "tile/0/001.p/7", "tile/entries/x001/000"];
    for object in all {
        shelf.put(object, bytes(99)).await.unwrap();
        shelf.put(object, bytes(100)).await.unwrap();
        assert_eq!(shelf.get(object, 100).await.unwrap().unwrap(), bytes(100));
        assert!(shelf.get(object, 99).await.is_err(), "it is longer");
    }
    let mut listed = shelf.list().await.unwrap();
    listed.sort();
    assert_eq!(listed, all.map(|object| (object.to_owned(), 100)));
    assert!(store.list().next().await.is_none(), "an object of a journal is taken for another");
    for object in all {
        shelf.remove(object).await.unwrap();
        shelf.remove(object).await.expect("absent counts as removed");
    }
    assert!(shelf.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_local_directory_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let url = Url::from_directory_path(dir.path().join("store")).unwrap();
    conforms(&Store::open(&url, &S3::default()).unwrap(), dir.path()).await;
}

#[tokio::test]
async fn memory_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conforms(&Store::open(&"memory:///".parse().unwrap(), &S3::default()).unwrap(), dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_conforms_and_refuses_wrong_keys_without_showing_them() {
    let server = Seaweed::start().await;
    for prefix in ["", "with/a/prefix"] {
        let store = Store::open(&server.url(prefix), &server.access(server.port())).unwrap();
        conforms(&store, server.dir()).await;
    }

    let wrong = "a-secret-that-is-wrong";
    let s3 = S3 { secret_access_key: Some(wrong.to_owned().into()), ..server.access(server.port()) };
    let store = Store::open(&server.url(""), &s3).unwrap();
    let file = server.dir().join("refused.mp4");
    std::fs::write(&file, bytes(PART_BYTES + 1)).unwrap();
    let refused = store.put_pack(&camera(), pack(), &file).await.unwrap_err();
    assert!(refused.refuses_credentials(), "{refused}");
    let read = store.get_range(&camera(), pack(), 0..1).await.unwrap_err();
    let report = store.probe(store.ids().next().unwrap(), &SystemClock::default()).await;
    assert_eq!(report.verdict(), ProbeVerdict::Refused, "{report:?}");
    let shown = format!("{refused} {refused:?} {read} {read:?} {report:?} {store:?} {s3:?}");
    for secret in [wrong, seaweed::ACCESS_KEY, seaweed::SECRET_KEY] {
        assert!(!shown.contains(secret), "a key is shown: {shown}");
    }
}

#[tokio::test]
async fn a_pack_costs_one_put_or_one_multipart_and_one_read_of_its_end() {
    let (dir, counts) = (tempfile::tempdir().unwrap(), Counts::default());
    let store = Store::over_parts(Arc::new(counts.of(InMemory::new())));
    let file = dir.path().join("pack.mp4");
    std::fs::write(&file, bytes(PART_BYTES)).unwrap();
    store.put_pack(&camera(), pack(), &file).await.unwrap();
    assert_eq!(counts.all(), [(Op::Put, 1), (Op::Get, 1)]);

    counts.reset();
    std::fs::write(&file, bytes(4 * PART_BYTES)).unwrap();
    store.put_pack(&camera(), pack(), &file).await.unwrap();
    assert_eq!(counts.all(), [(Op::Create, 1), (Op::Part, 4), (Op::Complete, 1), (Op::Get, 1)]);
}

/// Counts, and refuses some parts while `broken`.
struct Unsteady {
    counts: Counts,
    broken: Arc<AtomicBool>,
}

impl Decide for Unsteady {
    fn decide(&self, call: &StoreCall<'_>) -> StoreFault {
        self.counts.add(call);
        let refuse = call.part.is_some_and(|part| part >= 3) && self.broken.load(Ordering::SeqCst);
        if refuse { StoreFault::refused() } else { StoreFault::NONE }
    }
}

#[tokio::test]
async fn an_upload_goes_on_after_an_interruption_and_sends_no_finished_part_again() {
    let (dir, counts, broken) = (tempfile::tempdir().unwrap(), Counts::default(), Arc::new(AtomicBool::new(true)));
    let objects =
        Arc::new(FaultyStore::new(InMemory::new(), Unsteady { counts: counts.clone(), broken: broken.clone() }));
    let (file, content, pack) = (dir.path().join("pack.mp4"), bytes(6 * PART_BYTES + 5), pack());
    std::fs::write(&file, &content).unwrap();
    Store::over_parts(objects.clone()).put_pack(&camera(), pack, &file).await.unwrap_err();
    let note = upload::note_path(&file);
    let noted = std::fs::read_to_string(&note).unwrap().lines().count() - 1;
    assert!(noted > 0, "no part was finished before the interruption");
    // A crash tore the last line that was being written.
    let torn = std::fs::read_to_string(&note).unwrap() + "{\"part\":5,\"id";
    std::fs::write(&note, torn).unwrap();

    broken.store(false, Ordering::SeqCst);
    counts.reset();
    // Another process: only the note and the file are left.
    let store = Store::over_parts(objects);
    store.put_pack(&camera(), pack, &file).await.unwrap();
    assert_eq!(counts.all(), [(Op::Part, 7 - noted as u64), (Op::Complete, 1), (Op::Get, 1)]);
    assert!(store.get_range(&camera(), pack, 0..content.len() as u64).await.unwrap() == content);
    assert!(!note.exists());
}

#[tokio::test]
async fn an_upload_that_nobody_needs_any_more_is_given_up() {
    let (dir, counts, broken) = (tempfile::tempdir().unwrap(), Counts::default(), Arc::new(AtomicBool::new(true)));
    let objects = Arc::new(FaultyStore::new(InMemory::new(), Unsteady { counts: counts.clone(), broken }));
    let store = Store::over_parts(objects);
    let file = dir.path().join("pack.mp4");
    std::fs::write(&file, bytes(6 * PART_BYTES)).unwrap();
    store.put_pack(&camera(), pack(), &file).await.unwrap_err();
    store.abort_upload(&upload::note_path(&file)).await.unwrap();
    assert_eq!(counts.calls(Op::Abort), 1);
    assert!(!upload::note_path(&file).exists());
    assert!(store.list().next().await.is_none());
}

#[tokio::test]
async fn a_store_that_keeps_other_bytes_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pack.mp4");
    std::fs::write(&file, bytes(200_000)).unwrap();
    let lying = |at: u64| {
        Arc::new(FaultyStore::new(InMemory::new(), move |call: &StoreCall<'_>| StoreFault {
            flip_at: (call.op == Op::Put).then_some(at),
            ..StoreFault::NONE
        }))
    };
    let end = Store::over_parts(lying(199_990)).put_pack(&camera(), pack(), &file).await.unwrap_err();
    assert!(end.lies(), "{end}");
    // In a folder of its own process, what is trusted less is read back whole.
    let whole = StoreConfig { verify: Verify::Whole, ..StoreConfig::at("memory:///".parse().unwrap()) };
    let store = Store::over_config(lying(5), &whole, &clock());
    let start = store.put_pack(&camera(), pack(), &file).await.unwrap_err();
    assert!(start.lies(), "{start}");
    assert!(file.exists(), "what the store lied about is still in the spool");
}

#[tokio::test]
async fn each_camera_uses_its_store_and_earlier_packs_are_found_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display();
    let text = |store: &str| {
        format!(
            "[data]\ndir = \"{data}/data\"\n[[store]]\nurl = \"file://{data}/one\"\n\
             [[store]]\nname = \"two\"\nurl = \"file://{data}/two\"\n\
             [[tenant]]\nid = \"saint-cyr\"\n[[tenant.camera]]\nid = \"mairie\"\nplace = \"here\"\n\
             url = \"rtsp://192.0.2.1/a\"\n{store}\n[[tenant.camera]]\nid = \"gare\"\nplace = \"there\"\n\
             url = \"rtsp://192.0.2.1/b\"\n"
        )
    };
    let open = |store: &str| {
        let around = vigie::config::Surroundings { variable: &|_| None, world_readable: false };
        let loaded = vigie::config::Config::parse("vigie.toml", &text(store), &around).unwrap();
        Store::of_config(&loaded.config, &clock(), None).unwrap()
    };
    let (file, pack) = (dir.path().join("pack.mp4"), pack());
    let put = async |store: &Store, camera: &str| {
        std::fs::write(&file, b"footage").unwrap();
        store.put_pack(&camera.parse().unwrap(), pack, &file).await.unwrap();
    };
    put(&open(""), "saint-cyr/mairie").await;
    let moved = open("store = \"two\"\nformer_stores = [\"default\"]");
    assert_eq!(moved.get_range(&camera(), pack, 0..7).await.unwrap().as_ref(), b"footage");
    let later = PackId::generate(WallTime(1_700_000_060 * 90_000));
    std::fs::write(&file, b"later").unwrap();
    moved.put_pack(&camera(), later, &file).await.unwrap();
    put(&moved, "saint-cyr/gare").await;
    let under = |folder: &str, camera: &str| dir.path().join(folder).join("saint-cyr").join(camera).exists();
    assert!(under("two", "mairie") && under("one", "gare") && !under("two", "gare"));
    moved.delete(&camera(), pack).await.unwrap();
    assert_eq!(moved.pack_bytes(&camera(), pack).await.unwrap(), None);
    assert_eq!(moved.list().count().await, 2);
}
