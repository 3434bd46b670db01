//! R6: footage that lies in an export is not called destroyed.

use std::sync::Arc;
use std::time::Duration;

use vigie::inspection::Inspector;
use vigie::inspection::destroyed::{Destruction, Verdict};
use vigie::retention::{Policy, storage::Storage, sweep::Sweeper};

use super::rig::{DAYS_MAX, Rig, at, marie, ready, request, town};

const DAY: i64 = 86_400;

/// The disk is full: all footage that may go goes.
async fn fill_the_disk(rig: &Rig) {
    let storage = Storage::new(rig.footage.packs.clone(), Arc::new(|| Ok(0)));
    let policy = Policy {
        interval: Duration::from_secs(60),
        grace: Duration::ZERO,
        disk_reserve_bytes: 1 << 40,
        store_on_disk: true,
        stored_elsewhere: std::collections::HashSet::new(),
        time_zone: jiff::tz::TimeZone::UTC,
        shared: None,
        stores: None,
    };
    let index = rig.footage.index.clone();
    let mut sweeper = Sweeper::new(index, rig.clock.clone(), storage, policy).entering(rig.journals.clone());
    for _ in 0..3 {
        sweeper.sweep().await.unwrap();
        rig.clock.step(footage::units::Ticks90k(90_000));
    }
}

async fn proof(rig: &Rig) -> Destruction {
    let inspector = Inspector::new(&rig.footage, &rig.journals, &jiff::tz::TimeZone::UTC);
    let inspector = inspector.beside_exports(vigie::export::folder(rig.dir.path()));
    inspector.destruction(&"town/gate".parse().unwrap(), jiff::civil::date(2026, 3, 3)).await.unwrap()
}

fn set(rig: &Rig, seconds: i64) {
    rig.clock.step(at(seconds).since(footage::clock::Clock::wall(&*rig.clock)));
}

#[tokio::test]
async fn r6_a_day_whose_footage_went_early_and_lies_in_a_package_is_not_destroyed() {
    let rig = Rig::with_footage().await;
    let exports = rig.exports().await;
    let id = ready(&rig, &exports).await;
    set(&rig, DAY);
    fill_the_disk(&rig).await;
    let found = proof(&rig).await;
    assert_eq!((found.packs.len(), found.register.len()), (0, 1), "{found:?}");
    assert_eq!((found.verdict, found.in_exports.len()), (Verdict::Present, 1), "{found:?}");
    // Nobody knows any more what is inside.
    let job = std::fs::read(rig.folder(id).join("job.json")).unwrap();
    std::fs::write(rig.folder(id).join("job.json"), b"{").unwrap();
    assert_eq!(proof(&rig).await.verdict, Verdict::Open);
    std::fs::write(rig.folder(id).join("job.json"), job).unwrap();
    set(&rig, DAYS_MAX * DAY + 1_200);
    exports.keep().await;
    assert_eq!(proof(&rig).await.verdict, Verdict::Destroyed);
}

#[tokio::test]
async fn r6_a_package_that_could_not_be_destroyed_on_time_is_over_age() {
    let rig = Rig::with_footage().await;
    let exports = rig.exports().await;
    let id = ready(&rig, &exports).await;
    set(&rig, DAY);
    fill_the_disk(&rig).await;
    set(&rig, 40 * DAY);
    assert_eq!(proof(&rig).await.verdict, Verdict::Contradicted);
    exports.keep().await;
    assert!(!rig.folder(id).exists());
    assert_eq!(proof(&rig).await.verdict, Verdict::Destroyed);
}

#[tokio::test]
async fn r6_a_package_of_a_hold_is_kept_for_it_and_for_nothing_after_it() {
    let rig = Rig::with_footage().await;
    let hold = super::keeping::held(&rig, 3 * DAY).await;
    rig.holds.copy_all().await.unwrap();
    let exports = rig.exports().await;
    exports.order(request(Some(hold)), marie).await.unwrap();
    assert_eq!(exports.prepare_all().await, 1);
    set(&rig, DAY);
    fill_the_disk(&rig).await;
    let kept = proof(&rig).await;
    assert_eq!((kept.verdict, kept.in_exports.len()), (Verdict::KeptForHolds, 1), "{kept:?}");
    assert!(kept.packs.iter().all(|pack| pack.hold == Some(hold)), "{kept:?}");
    rig.holds.release(&town(), hold).await.unwrap();
    let late = proof(&rig).await;
    assert_eq!(late.verdict, Verdict::Present, "nobody has destroyed it yet: {late:?}");
    exports.keep().await;
    assert!(proof(&rig).await.in_exports.is_empty());
}
