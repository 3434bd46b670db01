//! Keys that are missing, another, damaged, or open to others.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use footage::keys::Keys;
use footage::pack::reader;
use footage::units::TimeRange;
use futures::TryStreamExt;
use vigie::index::PackState;
use vigie::retrieve::mp4::Clip;

use crate::rig::{Running, Site, assert_nothing_gone, files, mairie, words};

/// A clip of all of a pack's time.
async fn plays(running: &Running, range: TimeRange) {
    let clip = Clip::new(running.gateway.footage(), &mairie(), range).await.unwrap();
    let bytes = clip.body(0..clip.len()).try_collect::<Vec<_>>().await.unwrap().concat();
    assert_eq!(bytes.len() as u64, clip.len());
}

async fn without_the_right_key(spoil: impl Fn(&Path), kind: &str, says: &str) {
    let site = Site::new().await;
    let packs = site.record().await;
    let path = site.path("keys/gateway.key");
    let right = std::fs::read(&path).unwrap();
    spoil(&path);
    let spoiled = std::fs::read(&path).ok();

    let running = site.start().await;
    let event = running.until_event(kind).await;
    assert!(words(&event).contains(says), "{}", words(&event));
    running.until_packs(PackState::Sealed, 2).await;
    running.until_alarm("gateway_key", true).await;
    running.until_alarm("store_not_known", true).await;
    plays(&running, TimeRange::new(packs[0].start, packs[0].end).unwrap()).await;
    let index = running.stop().await;
    assert_nothing_gone(&index, &packs).await;
    assert_eq!(std::fs::read(&path).ok(), spoiled, "the key was replaced");

    // The right key is back: what was recorded meanwhile is sent, and all of it can be checked.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, &right).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let running = site.start().await;
    running.until_packs(PackState::Stored, packs.len() + 2).await;
    running.until_alarm("gateway_key", false).await;
    running.until_alarm("store_not_known", false).await;
    let index = running.stop().await;
    assert_nothing_gone(&index, &packs).await;
    let keys = Keys::open(&path, None).unwrap();
    let domain = keys.domain(&mairie().tenant);
    for file in files(&site.store_dir()).into_iter().filter(|file| file.extension().is_some_and(|e| e == "mp4")) {
        let file = site.store_dir().join(file);
        reader::verify_pack(&file, &domain).unwrap_or_else(|e| panic!("{}: {e:?}", file.display()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_gateway_key_damages_nothing() {
    without_the_right_key(
        |path| std::fs::remove_file(path).unwrap(),
        "gateway_key_missing",
        "Restore it from its backup",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_key_damages_nothing() {
    without_the_right_key(|path| std::fs::write(path, [9; 32]).unwrap(), "gateway_key_other", "the index knows").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_key_that_was_cut_short_damages_nothing() {
    without_the_right_key(|path| std::fs::write(path, [9; 16]).unwrap(), "gateway_key_damaged", "does not hold a key")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_key_that_others_may_read_is_refused() {
    let open = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    without_the_right_key(open, "gateway_key_open", "chmod 600").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_encrypted_packs_that_are_gone_stop_no_recording_and_lose_nothing() {
    let mut site = Site::new().await;
    site.config.stores[0].encrypt = true;
    site.config.stores[0].scrub_days = 1;
    let packs = site.record().await;
    let folder = site.path("keys/packs/demo");
    let kept = site.dir.path().join("kept");
    std::fs::rename(&folder, &kept).unwrap();

    let running = site.start().await;
    let event = running.until_event("key_missing").await;
    assert!(words(&event).contains("restore the keys folder from its backup"), "{event:?}");
    running.until_packs(PackState::Stored, packs.len() + 2).await;
    let index = running.stop().await;
    assert_nothing_gone(&index, &packs).await;

    for file in files(&kept) {
        std::fs::rename(kept.join(&file), folder.join(&file)).unwrap();
    }
    let running = site.start().await;
    plays(&running, TimeRange::new(packs[0].start, packs[0].end).unwrap()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_master_key_is_not_made_again() {
    let mut site = Site::new().await;
    site.config.stores[0].encrypt = true;
    let packs = site.record().await;
    let (path, kept) = (site.path("keys/master.key"), site.dir.path().join("kept"));
    std::fs::rename(&path, &kept).unwrap();

    let running = site.start().await;
    running.until_event("key_unusable").await;
    running.until_packs(PackState::Stored, packs.len() + 2).await;
    let index = running.stop().await;
    assert!(!path.exists(), "a master key was made beside keys that another one wraps");
    assert_nothing_gone(&index, &packs).await;

    std::fs::rename(&kept, &path).unwrap();
    let running = site.start().await;
    let stored = running.index.packs_in_state(PackState::Stored, 100).await.unwrap();
    for pack in stored {
        plays(&running, TimeRange::new(pack.start, pack.end).unwrap()).await;
    }
    running.stop().await;
}
