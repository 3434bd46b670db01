//! Keys that are gone: by the end of footage's time, for good; by accident, with advice.

use super::*;

fn day_keys(rig: &Rig) -> usize {
    rig.keys.vault().list().unwrap().iter().filter(|key| key.day.is_some()).count()
}

async fn days_later(rig: &mut Rig, days: i64) {
    rig.sweep_at(NOON.saturating_add(Ticks90k(days * DAY))).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_footage_whose_time_is_over_cannot_be_read_by_anybody() {
    let mut rig = Rig::new(options(false, true)).await;
    let id = rig.record(GATE, 0..6).await;
    let file = rig.store.local_file(&key(GATE), id).unwrap();
    let backup = std::fs::read(&file).unwrap();
    assert_eq!(day_keys(&rig), 1);
    days_later(&mut rig, 2).await;
    assert!(!file.exists(), "the object is gone at its time");
    assert_eq!(day_keys(&rig), 1, "its key stays to the end of that day: others may be under it");
    days_later(&mut rig, 3).await;
    assert_eq!(day_keys(&rig), 0);
    let events = rig.index.events(&key(GATE).tenant, None, 0, 99).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.kind() == "key_destroyed").count(), 1);

    // The provider finds a backup.
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, backup).unwrap();
    let packs = Archive::new(rig.spool.clone(), rig.store.clone());
    let pack = PackRef { id, camera: key(GATE), state: PackState::Stored };
    let error = packs.table(&pack).await.unwrap_err().to_string();
    assert!(error.contains("the key was destroyed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_under_a_key_of_its_own_day() {
    let mut rig = Rig::new(options(false, true)).await;
    rig.record(GATE, 0..6).await;
    let held = hold(&rig, 2..4).await;
    let before = clip_of_hold(&rig, held, 2..4).await;
    assert_eq!(day_keys(&rig), 2);
    days_later(&mut rig, 4).await;
    assert_eq!(day_keys(&rig), 1);
    assert!(clip_of_hold(&rig, held, 2..4).await == before);
    rig.check().await;
    days_later(&mut rig, 22).await;
    assert_eq!(day_keys(&rig), 0);
    assert_eq!(rig.held_bytes().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_condemned_pack_still_needs_stays() {
    let mut rig = Rig::new(options(false, true)).await;
    let id = rig.record(GATE, 0..6).await;
    // The object cannot be deleted: a folder is in its way.
    let file = rig.store.local_file(&key(GATE), id).unwrap();
    let aside = rig.dir.path().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap();
    std::fs::write(file.join("in-the-way"), b"").unwrap();
    days_later(&mut rig, 4).await;
    assert_eq!(day_keys(&rig), 1);
    std::fs::remove_dir_all(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    rig.goes_on(Duration::from_secs(60)).await;
    rig.sweep().await;
    assert_eq!(day_keys(&rig), 0);
}

#[tokio::test(start_paused = true)]
async fn without_its_key_a_pack_is_refused_with_advice_and_never_taken_for_damaged() {
    let mut rig = Rig::new(options(false, true)).await;
    let id: PackId = rig.record(GATE, 0..6).await;
    rig.settle().await;
    let vault = rig.keys.vault().list().unwrap();
    let lost = vault.iter().find(|key| key.day.is_some()).unwrap();
    let folder = rig.dir.path().join("keys").join("saint-cyr");
    let aside = rig.dir.path().join("aside");
    std::fs::rename(&folder, &aside).unwrap();

    // A gateway that starts now, without the folder.
    let masters = footage::keys::vault::master::load_or_create(&rig.dir.path().join("master.key")).unwrap();
    let empty = footage::keys::vault::Vault::open(&rig.dir.path().join("keys"), masters);
    let keys = footage::keys::Keys::from_secret([7; 32]).with_vault(empty, Arc::new(|_, _| None));
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let spool = Spool::new(&rig.dir.path().join("spool"), rig.store.clone(), rig.index.clone(), clock, keys.clone());
    let packs = Archive::new(spool.clone(), rig.store.clone());
    let pack = PackRef { id, camera: key(GATE), state: PackState::Stored };
    let error = packs.table(&pack).await.unwrap_err().to_string();
    assert!(error.contains(&lost.id.to_string()) && error.contains("restore the folder"), "{error}");
    let parts = (rig.index.clone(), spool, rig.store.clone(), packs);
    let scrubber = Scrubber::new(parts, keys, rig.clock.clone(), rig.dir.path().join("scrub")).unwrap();
    assert!(scrubber.examine(id).await.is_err(), "the scrub waits for the key, and gives nothing up");
    std::fs::rename(&aside, &folder).unwrap();
    assert_eq!(scrubber.examine(id).await.unwrap(), ScrubVerdict::Sound);
}
