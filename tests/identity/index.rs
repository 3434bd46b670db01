//! An index that is missing, empty, damaged, or an older copy.

use std::path::Path;

use vigie::gateway;
use vigie::index::PackState;

use crate::rig::{GONE, Site, all_time, events, files, mairie};

/// Spoils the index of a recording, and looks at what the next start makes of it.
async fn with_a_spoiled_index(spoil: impl Fn(&Path), kind: &str) {
    let mut site = Site::new().await;
    site.config.tenants[0].cameras[0].name = "Mairie, entrée".to_owned();
    let packs = site.record().await;
    let path = gateway::index_path(&site.config);
    spoil(&path);

    // The camera that recorded is in no configuration any more: only the snapshot has its name.
    site.config.tenants[0].cameras[0].id = "other".parse().unwrap();
    let running = site.start().await;
    running.until_event(kind).await;
    running.until_event("index_rebuilt").await;
    let index = running.stop().await;
    for pack in &packs {
        let row = index.any_pack(pack.id).await.unwrap();
        assert_eq!(row.as_ref().map(|row| (row.state, row.bytes)), Some((PackState::Stored, pack.bytes)));
        assert!(!index.segments_of_pack(pack.id).await.unwrap().is_empty());
    }
    let known = index.all_cameras().await.unwrap();
    let row = known.iter().find(|row| row.key == mairie()).unwrap();
    assert_eq!((row.name.as_str(), row.configured), ("Mairie, entrée", false));
    assert!(!index.spans(&mairie(), all_time()).await.unwrap().is_empty());
    let events = events(&index).await;
    assert!(events.iter().any(|event| event.kind() == "store_new"), "the events of before are gone");
    assert!(!events.iter().any(|event| GONE.contains(&event.kind())), "{events:?}");
}

fn remove_with_log(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_index_is_filled_again_from_store_and_snapshot() {
    with_a_spoiled_index(remove_with_log, "index_missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_index_is_filled_again_from_store_and_snapshot() {
    let empty = |path: &Path| {
        remove_with_log(path);
        std::fs::write(path, b"").unwrap();
    };
    with_a_spoiled_index(empty, "index_missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_is_kept_and_filled_again() {
    let damage = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        // The head stays: pages behind it do not.
        bytes[4_096..].iter_mut().for_each(|byte| *byte = 0xA5);
        std::fs::write(path, bytes).unwrap();
    };
    with_a_spoiled_index(damage, "index_damaged").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn something_that_is_no_index_is_kept_and_another_is_filled() {
    with_a_spoiled_index(|path| std::fs::write(path, b"no database at all".repeat(500)).unwrap(), "index_damaged")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_index_is_found_out_and_filled() {
    let site = Site::new().await;
    let first = site.record().await;
    let (path, copy) = (gateway::index_path(&site.config), site.dir.path().join("copy"));
    std::fs::copy(&path, &copy).unwrap();
    let running = site.start().await;
    running.until_packs(PackState::Stored, first.len() + 2).await;
    let index = running.stop().await;
    let all = index.packs_in_state(PackState::Stored, 100).await.unwrap();
    drop(index);
    remove_with_log(&path);
    std::fs::copy(&copy, &path).unwrap();

    let running = site.start().await;
    running.until_event("index_older").await;
    running.until_event("index_rebuilt").await;
    let index = running.stop().await;
    for pack in &all {
        assert!(index.any_pack(pack.id).await.unwrap().is_some(), "{pack:?} is not known again");
    }
}

/// A copy of the file alone, beside which there was a log: what names the index was in that.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_without_its_own_id_is_an_older_copy() {
    let forget = |path: &Path| {
        let db = rusqlite::Connection::open(path).unwrap();
        db.execute_batch("DELETE FROM identity").unwrap();
    };
    with_a_spoiled_index(forget, "index_older").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_no_index_knows_is_entered_and_one_that_cannot_be_read_goes_on_time() {
    let site = Site::new().await;
    let packs = site.record().await;
    // Of our naming, from 2020, and nothing that can be read.
    let old = site.store_dir().join("demo/mairie/2020-01-01/016f5e66e8000102030405060708090a.mp4");
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::write(&old, b"no pack").unwrap();
    remove_with_log(&gateway::index_path(&site.config));

    let running = site.start().await;
    running.until_event("index_rebuilt").await;
    running.until_event("pack_deleted").await;
    crate::rig::until("the old object to go", async || !old.exists()).await;
    let index = running.stop().await;
    let register = index.deletions(&mairie(), all_time()).await.unwrap();
    assert_eq!(register.iter().map(|entry| entry.packs).sum::<u64>(), 1);
    let kept = files(&site.store_dir());
    for pack in &packs {
        assert!(kept.iter().any(|file| file.to_string_lossy().contains(&pack.id.to_string())), "{pack:?}");
    }
}
