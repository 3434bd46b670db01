//! R1: what was extracted is gone when the footage inside has to be, or with its hold; and at the end of its own time.

use std::sync::Arc;

use footage::pack::HoldFacts;
use footage::units::{CameraKey, HoldId, TICKS_PER_DAY, TenantId, Ticks90k};
use vigie::export::ExportError;
use vigie::hold::Request as HoldRequest;
use vigie::index::{CameraRow, Change};

use super::rig::{DAYS_MAX, Rig, at, between, marie, order, ready, request, town, verified};

const DAY: i64 = 86_400;

/// The clock shows noon and so many seconds.
fn set(rig: &Rig, seconds: i64) {
    rig.clock.step(at(seconds).since(footage::clock::Clock::wall(&*rig.clock)));
}

#[tokio::test]
async fn r1_a_package_is_gone_before_the_footage_inside_has_to_be() {
    let mut rig = Rig::with_footage().await;
    rig.settings.days_max = 31;
    let exports = rig.exports().await;
    let id = ready(&rig, &exports).await;
    let expires = exports.get(&town(), id).await.unwrap().expires;
    assert!(expires < at(30 * DAY) && expires > at(30 * DAY - 3_600), "{expires}: the retention of thirty days");
    set(&rig, 30 * DAY - 700);
    exports.keep().await;
    assert!(rig.zip(id).exists());
    set(&rig, 30 * DAY - 590);
    // Who asks just then gets nothing, before anybody has looked.
    assert!(matches!(exports.package(&town(), id).await, Err(ExportError::NoExport(_))));
    exports.keep().await;
    assert!(!rig.folder(id).exists());
    assert!(matches!(exports.get(&town(), id).await, Err(ExportError::NoExport(_))));
    let removed = rig.entries("package_removed").await;
    assert_eq!((removed.len(), &removed[0]["why"], &removed[0]["author"]), (1, &"over".into(), &"gateway".into()));
}

#[tokio::test]
async fn r1_a_retention_that_becomes_shorter_counts_for_packages_that_are_there() {
    let mut rig = Rig::with_footage().await;
    rig.settings.days_max = 31;
    let exports = rig.exports().await;
    let id = ready(&rig, &exports).await;
    let row = |key: &str| CameraRow {
        key: key.parse().unwrap(),
        name: "Gate".into(),
        place: "Town".into(),
        configured: true,
        retention_max: Ticks90k(2 * TICKS_PER_DAY),
        retention_min: Ticks90k::ZERO,
    };
    set(&rig, 3 * DAY);
    exports.keep().await;
    assert!(rig.zip(id).exists(), "thirty days");
    rig.footage.index.write(vec![Change::Configure(vec![row("town/gate"), row("town/square")])]).await.unwrap();
    exports.keep().await;
    assert!(!rig.folder(id).exists(), "two days");
}

#[tokio::test]
async fn a_package_is_kept_for_so_many_days_at_most_in_any_state() {
    let mut rig = Rig::with_footage().await;
    let exports = rig.exports().await;
    let whole = ready(&rig, &exports).await;
    rig.settings.reserve_bytes = 1 << 60;
    let exports = rig.exports().await;
    let failed = order(&exports).await.unwrap().job.id;
    exports.prepare_all().await;
    let waiting = order(&exports).await.unwrap().job.id;
    assert!([whole, failed, waiting].iter().all(|id| rig.folder(*id).exists()));
    set(&rig, DAYS_MAX * DAY + 1_200);
    exports.keep().await;
    assert!([whole, failed, waiting].iter().all(|id| !rig.folder(*id).exists()));
}

#[tokio::test]
async fn a_running_preparation_is_cut_off_when_its_time_is_over() {
    let mut rig = Rig::with_footage().await;
    rig.settings.bytes_per_second_max = 1_000;
    let exports = rig.exports().await;
    let id = order(&exports).await.unwrap().job.id;
    let keeping = async {
        while !rig.folder(id).join("package.zip.part").exists() {
            tokio::task::yield_now().await;
        }
        set(&rig, DAYS_MAX * DAY + 1_200);
        exports.keep().await;
    };
    let both = async { futures::join!(exports.prepare_all(), keeping) };
    tokio::time::timeout(std::time::Duration::from_secs(40), both).await.expect("it ends at once");
    assert!(!rig.folder(id).exists());
}

pub(crate) async fn held(rig: &Rig, until: i64) -> HoldId {
    let request = HoldRequest {
        camera: "town/gate".parse().unwrap(),
        range: between(2, 8),
        reference: "PV 2026/117".to_owned(),
        requester: "Major Durand".to_owned(),
        reason: "theft".to_owned(),
        until: at(until),
    };
    rig.holds.place(request).await.unwrap().hold.facts.id
}

#[tokio::test]
async fn r1_r3_a_package_of_a_hold_follows_the_hold_and_not_the_footage() {
    let mut rig = Rig::with_footage().await;
    rig.settings.days_max = 31;
    let hold = held(&rig, 90 * DAY).await;
    let exports = rig.exports().await;
    let id = exports.order(super::rig::request(Some(hold)), marie).await.unwrap().job.id;
    assert_eq!(exports.prepare_all().await, 0, "it waits for the hold's own copies");
    rig.holds.copy_all().await.unwrap();
    assert_eq!(exports.prepare_all().await, 1);
    let report = verified(&rig.zip(id));
    assert_eq!(report.findings, []);
    let manifest = report.manifest.unwrap();
    assert_eq!(manifest.asked.hold.unwrap().requester, "Major Durand");
    let shown = exports.get(&town(), id).await.unwrap();
    assert!(shown.expires > at(30 * DAY), "its own time of 31 days: {}", shown.expires);
    set(&rig, 30 * DAY);
    exports.keep().await;
    assert!(rig.zip(id).exists(), "the footage outside of the hold is gone, and this is not");
    rig.holds.release(&town(), hold).await.unwrap();
    exports.keep().await;
    assert!(!rig.folder(id).exists(), "and goes with the hold");
}

#[tokio::test]
async fn r1_a_package_of_a_hold_is_gone_at_its_end_though_nobody_released_it() {
    let mut rig = Rig::with_footage().await;
    rig.settings.days_max = 31;
    let facts = HoldFacts {
        id: HoldId([6; 16]),
        range: between(2, 8),
        reference: String::new(),
        requester: "Major Durand".to_owned(),
        reason: "theft".to_owned(),
        until: at(2 * DAY),
        placed: at(0),
    };
    let (camera, id): (CameraKey, _) = ("town/gate".parse().unwrap(), facts.id);
    rig.footage.index.write(vec![Change::PlaceHold { camera, hold: Arc::new(facts) }]).await.unwrap();
    rig.holds.copy_all().await.unwrap();
    let exports = rig.exports().await;
    let id = exports.order(request(Some(id)), marie).await.unwrap().job.id;
    exports.prepare_all().await;
    set(&rig, 2 * DAY - 1);
    exports.keep().await;
    assert!(rig.zip(id).exists());
    set(&rig, 2 * DAY);
    exports.keep().await;
    assert!(!rig.folder(id).exists());
}

#[tokio::test]
async fn tenants_have_nothing_of_one_another() {
    let rig = Rig::with_footage().await;
    let exports = rig.exports().await;
    let id = ready(&rig, &exports).await;
    let village: TenantId = "village".parse().unwrap();
    assert!(matches!(exports.get(&village, id).await, Err(ExportError::NoExport(_))));
    assert!(matches!(exports.package(&village, id).await, Err(ExportError::NoExport(_))));
    assert!(matches!(exports.remove(&village, id, marie).await, Err(ExportError::NoExport(_))));
    assert!(exports.list(&village).await.unwrap().is_empty());
    assert_ne!(exports.fingerprint(&village), exports.fingerprint(&town()), "nor the key");
    // A job under another tenant's name is none of theirs.
    let theirs = vigie::export::folder(rig.dir.path()).join("village").join(id.to_string());
    std::fs::create_dir_all(&theirs).unwrap();
    for name in ["job.json", "package.zip"] {
        std::fs::copy(rig.folder(id).join(name), theirs.join(name)).unwrap();
    }
    let exports = rig.exports().await;
    assert!(exports.list(&village).await.unwrap().is_empty() && !theirs.join("package.zip").exists());
    assert!(exports.get(&town(), id).await.is_ok());
}
