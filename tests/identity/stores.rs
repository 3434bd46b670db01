//! A store that is not there, or is another.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use footage::units::{Fingerprint, PackId, StoreUid, WallTime};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use vigie::index::{PackState, identity::Kind};
use vigie::store::Store;
use vigie::store::identity::{Identified, MARKER, NotKnown};

use crate::rig::{Site, assert_nothing_gone, events, files, mairie, words};

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_mount_point_stays_empty_and_recording_goes_on_until_the_disk_is_back() {
    let site = Site::new().await;
    let packs = site.record().await;
    let (store, disk) = (site.store_dir(), site.dir.path().join("disk"));
    std::fs::rename(&store, &disk).unwrap();
    std::fs::create_dir(&store).unwrap();

    let running = site.start().await;
    let event = running.until_event("store_missing").await;
    let says = words(&event);
    assert!(says.contains("is the disk mounted") && says.contains("vigie store adopt"), "{says}");
    running.until_packs(PackState::Sealed, 2).await;
    assert!(files(&store).is_empty(), "something was written into the mount point: {:?}", files(&store));
    assert_nothing_gone(&running.index, &packs).await;

    std::fs::remove_dir(&store).unwrap();
    std::fs::rename(&disk, &store).unwrap();
    running.until_event("store_known").await;
    running.until_packs(PackState::Stored, packs.len() + 2).await;
    assert_nothing_gone(&running.stop().await, &packs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_vanishes_while_the_gateway_runs_is_not_made_again() {
    let site = Site::new().await;
    let running = site.start().await;
    running.until_packs(PackState::Stored, 2).await;
    let packs = running.index.packs_in_state(PackState::Stored, 100).await.unwrap();
    let (store, disk) = (site.store_dir(), site.dir.path().join("disk"));
    std::fs::rename(&store, &disk).unwrap();
    running.until_packs(PackState::Sealed, 2).await;
    assert!(files(&store).is_empty(), "{:?}", files(&store));
    assert_nothing_gone(&running.index, &packs).await;
    // What came between the last look and the loss may have made folders.
    let _ = std::fs::remove_dir_all(&store);
    std::fs::rename(&disk, &store).unwrap();
    running.until_packs(PackState::Stored, packs.len() + 2).await;
    assert_nothing_gone(&running.stop().await, &packs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateways_store_is_left_alone() {
    let (site, other) = (Site::new().await, Site::new().await);
    let packs = site.record().await;
    other.record().await;
    let (store, disk) = (site.store_dir(), site.dir.path().join("disk"));
    std::fs::rename(&store, &disk).unwrap();
    std::fs::rename(other.store_dir(), &store).unwrap();
    let before = files(&store);

    let running = site.start().await;
    let event = running.until_event("store_other").await;
    assert!(words(&event).contains("it is another folder, bucket or prefix"), "{event:?}");
    running.until_packs(PackState::Sealed, 2).await;
    assert_nothing_gone(&running.stop().await, &packs).await;
    assert_eq!(files(&store), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_moves_with_its_marker_is_the_same_store() {
    let mut site = Site::new().await;
    let packs = site.record().await;
    let moved: PathBuf = site.dir.path().join("elsewhere");
    std::fs::rename(site.store_dir(), &moved).unwrap();
    site.config.stores[0].url = url::Url::from_directory_path(&moved).unwrap();
    let running = site.start().await;
    running.until_packs(PackState::Stored, packs.len() + 1).await;
    let index = running.stop().await;
    assert_nothing_gone(&index, &packs).await;
    let kinds: Vec<_> = events(&index).await.into_iter().map(|event| event.kind()).collect();
    assert!(!kinds.iter().any(|kind| ["store_missing", "store_other"].contains(kind)), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "store_new").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_something_else_removed_is_entered_as_absent_and_not_as_destroyed() {
    use vigie::index::{Change, Outcome, Reason};
    let site = Site::new().await;
    let packs = site.record().await;
    let index = vigie::index::Index::open(&vigie::gateway::index_path(&site.config)).await.unwrap();
    let ids = packs.iter().map(|pack| pack.id).collect();
    index.write(vec![Change::Condemn { packs: ids, at: WallTime(0), reason: Reason::Expired }]).await.unwrap();
    index.close().await;
    let object =
        files(&site.store_dir()).into_iter().find(|file| file.to_string_lossy().contains(&packs[0].id.to_string()));
    std::fs::remove_file(site.store_dir().join(object.unwrap())).unwrap();

    let running = site.start().await;
    running.until_event("pack_absent").await;
    running.until_event("pack_deleted").await;
    let index = running.stop().await;
    let register = index.deletions(&mairie(), crate::rig::all_time()).await.unwrap();
    let of = |outcome: Outcome| -> u64 {
        register.iter().filter(|entry| entry.outcome == outcome).map(|entry| entry.packs).sum()
    };
    assert_eq!((of(Outcome::WasAbsent), of(Outcome::Destroyed)), (1, packs.len() as u64 - 1));
}

/// A bucket with a pack, and the store over it that expects this identity.
struct Bucket {
    objects: Arc<InMemory>,
    store: Store,
}

impl Bucket {
    fn expecting(known: Option<StoreUid>) -> Self {
        Self::over(Arc::new(InMemory::new()), known)
    }

    fn over(objects: Arc<InMemory>, known: Option<StoreUid>) -> Self {
        let store = Store::over(objects.clone());
        let known = known.map(|uid| ("default".to_owned(), uid));
        store.expect(&BTreeMap::from_iter(known), Some(Fingerprint([1; 8])));
        Self { objects, store }
    }

    async fn identify(&self) -> Result<Identified, NotKnown> {
        self.store.identify(self.store.ids().next().unwrap()).await
    }

    async fn put(&self, name: &str, bytes: &'static [u8]) {
        self.objects.put(&Path::from(name), bytes.into()).await.unwrap();
    }
}

#[tokio::test]
async fn a_bucket_without_its_marker_says_nothing_about_packs_and_takes_none() {
    let bucket = Bucket::expecting(Some(StoreUid([7; 16])));
    let (camera, pack) = (mairie(), PackId([9; 16]));
    assert!(matches!(bucket.identify().await, Err(NotKnown::NoMarker { .. })));
    assert!(bucket.store.pack_bytes(&camera, pack).await.is_err(), "absence was concluded");
    assert!(bucket.store.get_range(&camera, pack, 0..1).await.is_err_and(|e| e.to_string().contains(MARKER)));
    assert!(bucket.store.delete(&camera, pack).await.is_err(), "a deletion was called done");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"pack").unwrap();
    assert!(bucket.store.put_pack(&camera, pack, file.path()).await.is_err());
    assert!(bucket.objects.get(&bucket.store.object_path(&camera, pack)).await.is_err());
}

#[tokio::test]
async fn an_answer_of_something_between_is_no_marker() {
    let bucket = Bucket::expecting(Some(StoreUid([7; 16])));
    bucket.put(MARKER, b"<html>sign in to the network</html>").await;
    assert!(matches!(bucket.identify().await, Err(NotKnown::Unreadable { .. })));
    bucket.put(MARKER, b"").await;
    assert!(matches!(bucket.identify().await, Err(NotKnown::Unreadable { .. })));
    bucket.put(MARKER, br#"{"vigie_store":99,"id":"07070707070707070707070707070707"}"#).await;
    assert!(matches!(bucket.identify().await, Err(NotKnown::Unreadable { .. })));
}

#[tokio::test]
async fn first_use_writes_one_marker_and_names_nobody_in_it() {
    let bucket = Bucket::expecting(None);
    let Ok(Identified::New(uid)) = bucket.identify().await else { panic!("a new store is not new") };
    let marker = bucket.objects.get(&Path::from(MARKER)).await.unwrap().bytes().await.unwrap();
    let text = String::from_utf8(marker.to_vec()).unwrap();
    assert!(text.contains(&uid.to_string()) && !text.contains("demo"), "{text}");
    let again = Bucket::over(bucket.objects.clone(), None);
    assert_eq!(again.identify().await, Ok(Identified::Found(uid)));
    let known = Bucket::over(bucket.objects.clone(), Some(uid));
    assert_eq!(known.identify().await, Ok(Identified::Same(uid)));
    assert_eq!(known.store.pack_bytes(&mairie(), PackId([9; 16])).await.unwrap(), None, "the known store may say so");
}

#[tokio::test]
async fn a_store_of_another_gateway_key_is_not_used() {
    let bucket = Bucket::expecting(None);
    let uid = bucket.identify().await.unwrap().uid();
    let store = Store::over(bucket.objects.clone());
    store.expect(&BTreeMap::from([("default".to_owned(), uid)]), Some(Fingerprint([2; 8])));
    let id = store.ids().next().unwrap();
    assert!(matches!(store.identify(id).await, Err(NotKnown::OtherKey { .. })));
    store.rekey(id, Fingerprint([2; 8])).await.unwrap();
    assert_eq!(store.identify(id).await, Ok(Identified::Same(uid)));
}

#[tokio::test]
async fn an_operator_puts_an_empty_bucket_or_a_named_one_in_the_place_of_another() {
    let before = StoreUid([7; 16]);
    let bucket = Bucket::expecting(Some(before));
    let id = bucket.store.ids().next().unwrap();
    let Ok(Identified::Replaced { now, before: old }) = bucket.store.adopt(id, None).await else {
        panic!("not adopted")
    };
    assert_eq!(old, before);
    // The gateway that knows the former one finds it by itself.
    let gateway = Bucket::over(bucket.objects.clone(), Some(before));
    assert_eq!(gateway.identify().await, Ok(Identified::Replaced { now, before }));
    assert!(gateway.store.ensure_known(id).await.is_err(), "before the index knows it, it is not used");
    gateway.store.know(id, now);
    assert!(gateway.store.ensure_known(id).await.is_ok());

    let third = Bucket::over(bucket.objects.clone(), Some(StoreUid([8; 16])));
    assert!(matches!(third.store.adopt(id, None).await, Err(NotKnown::Other { .. })), "its id was not given");
    assert!(matches!(third.store.adopt(id, Some(now)).await, Ok(Identified::Replaced { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_taken_out_of_the_configuration_does_not_make_its_packs_absent() {
    let mut site = Site::new().await;
    let packs = site.record().await;
    site.config.stores[0].name = "archive".to_owned();
    site.config.stores[0].url = url::Url::from_directory_path(site.dir.path().join("other")).unwrap();
    let running = site.start().await;
    running.until_packs(PackState::Stored, packs.len() + 1).await;
    for pack in &packs {
        let pack = vigie::archive::PackRef { id: pack.id, camera: mairie(), state: PackState::Stored };
        let asked = running.gateway.footage().packs.table(&pack);
        let error = asked.await.unwrap_err().to_string();
        assert!(error.contains("is not in the configuration"), "{error}");
    }
    let index = running.stop().await;
    assert_nothing_gone(&index, &packs).await;
    assert_eq!(index.identities(Kind::Store).await.unwrap().len(), 2);
}

/// A bucket that keeps versions, or whose versions are suspended.
#[derive(Debug)]
struct Versioned(InMemory, &'static str);

impl std::fmt::Display for Versioned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Versioned")
    }
}

#[async_trait::async_trait]
impl object_store::ObjectStore for Versioned {
    async fn put_opts(
        &self,
        location: &Path,
        payload: object_store::PutPayload,
        options: object_store::PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        let put = self.0.put_opts(location, payload, options).await?;
        Ok(object_store::PutResult { version: Some(self.1.to_owned()), ..put })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: object_store::GetOptions,
    ) -> object_store::Result<object_store::GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: futures::stream::BoxStream<'static, object_store::Result<Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(
        &self,
        prefix: Option<&Path>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<object_store::ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: object_store::CopyOptions) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_bucket_that_keeps_versions_is_a_finding_of_its_own_kind() {
    let clock = footage::clock::SystemClock::default();
    for (version, is_versioned) in [("3HL4kqtJvjVBH40Nrjfkd", true), ("null", false)] {
        let store = Store::over(Arc::new(Versioned(InMemory::new(), version)));
        let report = store.probe(store.ids().next().unwrap(), &clock).await;
        assert_eq!(report.complaints().any(|finding| finding.is_versioned), is_versioned, "{report:?}");
    }
}
