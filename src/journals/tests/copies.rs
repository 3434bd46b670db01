//! Copies of journals in stores: that they are whole, that they contradict a journal that was set back, and that nothing
//! waits for them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::*;
use crate::event::JournalProof;
use crate::journals::copies::{Compared, compare};
use crate::journals::naming::CopyError;
use crate::store::fault::{FaultyStore, Op, StoreCall, StoreFault};

type Objects = Vec<(String, Vec<u8>)>;

async fn objects(store: &InMemory) -> Objects {
    let mut found = Vec::new();
    for meta in store.list(None).collect::<Vec<_>>().await {
        let location = meta.unwrap().location;
        let bytes = store.get(&location).await.unwrap().bytes().await.unwrap();
        found.push((location.to_string(), bytes.to_vec()));
    }
    found.sort();
    found
}

async fn enter(journals: &Journals, entries: u64) {
    for _ in 0..entries {
        journals.append(&town(), Draft::new(Author::Operator, Action::ConfigurationRead)).await.unwrap();
    }
}

fn naming(rig: &Rig) -> Naming {
    Naming::new(Keys::from_secret([1; 32]), rig.store.clone())
}

async fn compared(rig: &Rig) -> Compared {
    let naming = naming(rig);
    compare(&naming, &naming.current(&town(), &rig.folder()), &town(), &rig.folder()).await
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

impl Rig {
    async fn over(store: Arc<dyn ObjectStore>) -> Self {
        let rig = Self::new().await;
        Self { store: Store::over(store), ..rig }
    }

    /// A machine whose data folder is this one, and whose index knows nothing.
    async fn restored(&self, journal: Option<&Path>) -> Self {
        let rig = Self { store: self.store.clone(), ..Self::new().await };
        journal.iter().for_each(|journal| copy_folder(journal, &rig.folder()));
        rig
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_the_tiles_and_the_checkpoint_names_no_tenant_and_is_nobodys_unknown_object() {
    let store = Arc::new(InMemory::new());
    let rig = Rig::over(store.clone()).await;
    let journals = rig.journals().await;
    for entries in [3, 300, 1] {
        enter(&journals, entries).await;
        run(&journals, 1).await;
        let head = journals.head(&town()).unwrap();
        let objects = objects(&store).await;
        let (folder, _) = objects[0].0.rsplit_once('/').unwrap();
        let names: Vec<&str> = objects.iter().map(|(name, _)| &name[folder.len() + 1..]).collect();
        let mut expect: Vec<String> = journal::copy::tiles(0, head.size).collect();
        expect.push("checkpoint".to_owned());
        expect.sort();
        assert_eq!(names, expect, "the last partial tiles alone");
        for (name, bytes) in &objects {
            assert!(!name.contains("town") && !String::from_utf8_lossy(bytes).contains("configuration"), "{name}");
            assert_eq!(*bytes, fs::read(rig.folder().join(&name[folder.len() + 1..])).unwrap(), "{name}");
        }
        assert_eq!(rig.store.list().count().await, 0, "fsck, scrub and rebuild see none of it");
        let compared = compared(&rig).await;
        assert!(compared.faults.is_empty(), "{:?}", compared.faults);
        assert_eq!(compared.equal, [("default".to_owned(), head)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_of_the_whole_machine_is_found_by_the_store_and_nothing_there_is_replaced() {
    let store = Arc::new(InMemory::new());
    let rig = Rig::over(store.clone()).await;
    let journals = rig.journals().await;
    enter(&journals, 300).await;
    run(&journals, 1).await;
    let older = tempfile::tempdir().unwrap();
    copy_folder(&rig.folder(), older.path());
    enter(&journals, 10).await;
    run(&journals, 1).await;
    let newest = objects(&store).await;
    drop(journals);

    for (lost, found) in [(Some(older.path()), "has 300 entries"), (None, "has 0 entries")] {
        let machine = rig.restored(lost).await;
        let journals = machine.journals().await;
        let refused = journals.ready(&town()).unwrap_err().to_string();
        assert!(refused.contains(found) && refused.contains("set back"), "{refused}");
        assert_eq!(machine.events().await, [Fact::JournalFailed]);
        run(&journals, 100).await;
        assert!(journals.begin(&town(), key(Access::Live)).await.is_err());
        assert_eq!(objects(&store).await, newest);
        let known = compared(&machine).await.heads;
        assert_eq!(known.iter().map(|head| head.size).collect::<Vec<_>>(), [310]);
    }

    let machine = rig.restored(Some(older.path())).await;
    let journals = machine.dir.path().join("journal");
    loss::accept(journals, &naming(&machine), &machine.index, &*machine.clock, &town()).await.unwrap();
    assert_eq!(machine.actions().last(), Some(&Action::LossAccepted { size: 310, root: lost_root(&newest) }));
    let journals = machine.journals().await;
    assert!(journals.ready(&town()).is_ok());
    run(&journals, 1).await;
    let after = objects(&store).await;
    assert!(newest.iter().all(|object| after.contains(object)), "what was lost stays to be seen");
    assert!(after.len() > newest.len(), "the journal that goes on has a place of its own");
    let keys = naming(&machine).current(&town(), &machine.folder()).keys().to_vec();
    let report =
        verify(&machine.folder(), &Known { keys, heads: compared(&machine).await.heads, ..Known::default() }).unwrap();
    assert_eq!(report.faults, []);

    // Who brings the older one back has both against it.
    let again = rig.restored(Some(older.path())).await;
    assert!(again.journals().await.ready(&town()).is_err());
    assert_eq!(compared(&again).await.heads.len(), 2);
}

fn lost_root(objects: &Objects) -> String {
    let checkpoint = objects.iter().find(|(name, _)| name.ends_with("/checkpoint")).unwrap();
    String::from_utf8(checkpoint.1.clone()).unwrap().parse::<Head>().unwrap().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_holds_up_nothing_and_contradicts_when_it_is_back() {
    let (objects_of, is_away) = (Arc::new(InMemory::new()), Arc::new(AtomicBool::new(false)));
    let away = is_away.clone();
    let faulty = FaultyStore::new(objects_of.clone(), move |_: &StoreCall<'_>| match away.load(Ordering::SeqCst) {
        // It does not even say no.
        true => StoreFault::delayed(Duration::from_secs(100_000)),
        false => StoreFault::NONE,
    });
    let rig = Rig::over(Arc::new(faulty)).await;
    let journals = rig.journals().await;
    let older = tempfile::tempdir().unwrap();
    enter(&journals, 5).await;
    run(&journals, 1).await;
    copy_folder(&rig.folder(), older.path());
    is_away.store(true, Ordering::SeqCst);
    enter(&journals, 5).await;
    run(&journals, 4_000).await;
    assert_eq!(objects_of.list(None).count().await, 3);
    assert_eq!(rig.events().await, [], "a store that is away has an alarm of its own");
    is_away.store(false, Ordering::SeqCst);
    run(&journals, 40).await;
    assert_eq!(compared(&rig).await.equal[0].1.size, 10);
    drop(journals);

    is_away.store(true, Ordering::SeqCst);
    let machine = rig.restored(Some(older.path())).await;
    let journals = machine.journals().await;
    let live = journals.begin(&town(), key(Access::Live)).await.unwrap();
    let (stop, before) = (CancellationToken::new(), objects(&objects_of).await);
    let running = tokio::spawn(journals.clone().run(stop.clone()));
    is_away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(journals.begin(&town(), key(Access::Live)).await.is_err(), "an access that goes on is refused too");
    assert_eq!(machine.events().await, [Fact::JournalFailed]);
    assert_eq!(objects(&objects_of).await, before);
    // The newest copy comes back while the gateway runs.
    fs::remove_dir_all(machine.folder()).unwrap();
    copy_folder(&rig.folder(), &machine.folder());
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(journals.ready(&town()).is_ok());
    drop(live);
    stop.cancel();
    running.await.unwrap();
    assert_eq!(verify(&machine.folder(), &Known::default()).unwrap().faults, []);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_cut_off_at_any_request_is_an_earlier_state_and_is_finished_later() {
    for cut in 0.. {
        // So many writes are still let through.
        let (store, left) = (Arc::new(InMemory::new()), Arc::new(AtomicUsize::new(usize::MAX)));
        let left_now = left.clone();
        let faulty = FaultyStore::new(store.clone(), move |call: &StoreCall<'_>| {
            let is_write = matches!(call.op, Op::Put | Op::Delete);
            let take = |left: usize| left.checked_sub(usize::from(is_write));
            match left_now.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
                Ok(_) => StoreFault::NONE,
                Err(_) => StoreFault::refused(),
            }
        });
        let rig = Rig::over(Arc::new(faulty)).await;
        let journals = rig.journals().await;
        enter(&journals, 250).await;
        run(&journals, 1).await;
        left.store(cut, Ordering::SeqCst);
        enter(&journals, 300).await;
        run(&journals, 1).await;
        let is_whole = left.load(Ordering::SeqCst) > 0;
        let now = compared(&rig).await;
        assert!(now.faults.is_empty(), "{cut}: {:?}", now.faults);
        assert!([250, 550].contains(&now.equal[0].1.size), "{cut}");
        drop(journals);
        left.store(usize::MAX, Ordering::SeqCst);
        let journals = rig.journals().await;
        run(&journals, 1).await;
        let whole = compared(&rig).await;
        assert_eq!((whole.faults.len(), whole.equal[0].1.size), (0, 550), "{cut}");
        assert_eq!(objects(&store).await.len(), journal::copy::tiles(0, 550).count() + 1, "{cut}: nothing outgrown");
        if is_whole {
            assert!(cut > 5, "all writes came through");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_journals_is_named_and_not_replaced_and_what_is_missing_is_copied_again() {
    let store = Arc::new(InMemory::new());
    let rig = Rig::over(store.clone()).await;
    let journals = rig.journals().await;
    enter(&journals, 300).await;
    run(&journals, 1).await;
    let path = |objects: &Objects, end: &str| -> ObjectPath {
        objects.iter().find(|(name, _)| name.ends_with(end)).unwrap().0.as_str().into()
    };
    let all = objects(&store).await;
    let (tile, checkpoint) = (path(&all, "tile/0/000"), path(&all, "/checkpoint"));
    let mut other = all.iter().find(|(name, _)| *name == tile.to_string()).unwrap().1.clone();
    other[100] ^= 1;
    store.put(&tile, PutPayload::from(other)).await.unwrap();
    let found = compared(&rig).await.faults;
    assert!(matches!(&found[..], [CopyError::Damaged { object, .. }] if object == "tile/0/000"), "{found:?}");
    store.delete(&tile).await.unwrap();
    assert!(compared(&rig).await.faults[0].to_string().contains("tile/0/000: is missing"));
    drop(journals);
    let journals = rig.journals().await;
    run(&journals, 1).await;
    assert!(compared(&rig).await.faults.is_empty(), "the next start copies what is missing");

    for nonsense in [b"nonsense".to_vec(), vec![b'a'; 1 << 20], Vec::new()] {
        store.put(&checkpoint, PutPayload::from(nonsense.clone())).await.unwrap();
        enter(&journals, 1).await;
        run(&journals, 40).await;
        assert_eq!(store.get(&checkpoint).await.unwrap().bytes().await.unwrap(), nonsense);
        assert!(journals.ready(&town()).is_ok(), "who writes into the store stops no gateway");
    }
    let proof = JournalProof::Copy;
    assert_eq!(rig.events().await, [Fact::JournalUnproven { proof }]);
    store.delete(&checkpoint).await.unwrap();
    run(&journals, 40).await;
    assert_eq!(rig.events().await, [Fact::JournalUnproven { proof }, Fact::JournalProven { proof }]);
    assert!(compared(&rig).await.faults.is_empty());
}
