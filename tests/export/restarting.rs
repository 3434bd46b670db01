//! What is cut off anywhere is begun again; what was cancelled, or destroyed, stays away.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use footage::failure::{Failure, Kind};
use tokio::time::timeout;
use vigie::export::{ExportError, State};

use super::real::encode;
use super::rig::{Folder, H264, Rig, at, marie, order, ready, town, verified};

/// How long a condition may take to come true before the test gives up.
const PATIENCE: u32 = 400;

/// Runs it until the draft of the package has bytes in it; it has not ended then.
async fn until_begun(preparing: &mut (impl Future<Output = usize> + Unpin), draft: &std::path::Path) {
    for _ in 0..PATIENCE {
        if fs::metadata(draft).is_ok_and(|of| of.len() > 0) {
            return;
        }
        let ended = timeout(Duration::from_millis(100), &mut *preparing).await;
        assert!(ended.is_err(), "it was to take hours");
    }
    panic!("nothing was written");
}

#[tokio::test]
async fn a_package_that_is_cut_off_is_begun_again_and_never_called_whole() {
    let mut rig = Rig::with_footage().await;
    let fast = rig.settings.bytes_per_second_max;
    rig.settings.bytes_per_second_max = 10_000;
    let exports = rig.exports().await;
    let id = order(&exports).await.unwrap().job.id;
    let draft = rig.folder(id).join("package.zip.part");
    let mut preparing = Box::pin(exports.prepare_all());
    until_begun(&mut preparing, &draft).await;
    let shown = exports.get(&town(), id).await.unwrap();
    assert!(shown.preparing && shown.job.state == State::Ordered && shown.percent < 100);
    assert!(exports.package(&town(), id).await.is_err() || shown.job.package().is_none());
    // The process ends here.
    drop(preparing);
    drop(exports);
    assert!(draft.exists() && !rig.zip(id).exists());
    rig.settings.bytes_per_second_max = fast;
    let exports = rig.exports().await;
    assert!(!draft.exists(), "what was begun is gone");
    assert_eq!(exports.get(&town(), id).await.unwrap().job.state, State::Ordered);
    assert_eq!(exports.prepare_all().await, 1);
    assert_eq!(verified(&rig.zip(id)).findings, []);
    assert_eq!(rig.entries("package_ordered").await.len(), 1, "it was ordered once");
}

/// Says to the child of the next test where it works.
const CHILD: &str = "VIGIE_EXPORT_CHILD";

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the child reports to its parent")]
async fn a_process_that_is_killed_in_the_middle_leaves_an_export_that_is_begun_again() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let mut rig = Rig::start(Folder::at(dir.into()), None).await;
        rig.film().await;
        rig.settings.bytes_per_second_max = 10_000;
        let exports = rig.exports().await;
        let id = order(&exports).await.unwrap().job.id;
        let mut preparing = Box::pin(exports.prepare_all());
        until_begun(&mut preparing, &rig.folder(id).join("package.zip.part")).await;
        println!("begun {id}");
        preparing.await;
        return;
    }
    let dir = Folder::new();
    let name = "restarting::a_process_that_is_killed_in_the_middle_leaves_an_export_that_is_begun_again";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let begun = lines.find_map(|line| Some(line.split_once("begun ")?.1.to_owned()));
    child.kill().unwrap();
    child.wait().unwrap();
    let id = begun.expect("it begins").parse().unwrap();
    let rig = Rig::start(dir, None).await;
    assert!(rig.folder(id).join("package.zip.part").exists() && !rig.zip(id).exists());
    let exports = rig.exports().await;
    assert_eq!(exports.prepare_all().await, 1);
    let report = verified(&rig.zip(id));
    assert_eq!(report.findings, []);
    assert!(report.vouched.journal.is_some());
}

#[tokio::test]
async fn a_package_without_the_word_that_it_is_whole_is_begun_again() {
    let rig = Rig::with_footage().await;
    let exports = rig.exports().await;
    let id = ready(&rig, &exports).await;
    let (job, zip) = (rig.folder(id).join("job.json"), rig.zip(id));
    let called_ready = fs::read(&job).unwrap();
    let whole = fs::read(&zip).unwrap();
    // It has its name, and the process ended before it was called whole.
    let mut ordered: serde_json::Value = serde_json::from_slice(&called_ready).unwrap();
    ordered["state"] = serde_json::json!({"state": "ordered"});
    // It is called whole, and the disk has lost a part of it.
    for (job_json, bytes) in [(ordered.to_string().into_bytes(), whole.len()), (called_ready.clone(), whole.len() - 1)]
    {
        fs::write(&job, job_json).unwrap();
        fs::write(&zip, &whole[..bytes]).unwrap();
        let exports = rig.exports().await;
        assert_eq!(exports.get(&town(), id).await.unwrap().job.state, State::Ordered);
        assert!(!zip.exists());
        assert_eq!(exports.prepare_all().await, 1);
        assert_eq!(verified(&zip).findings, []);
    }
    // And one that is whole stays as it is.
    let before = fs::read(&zip).unwrap();
    let exports = rig.exports().await;
    assert_eq!(exports.prepare_all().await, 0);
    assert_eq!(fs::read(&zip).unwrap(), before);
}

#[tokio::test]
async fn a_job_that_does_not_read_takes_its_package_with_it() {
    let rig = Rig::with_footage().await;
    let id = ready(&rig, &rig.exports().await).await;
    fs::write(rig.folder(id).join("job.json"), b"{").unwrap();
    let exports = rig.exports().await;
    assert!(matches!(exports.get(&town(), id).await, Err(ExportError::NoExport(_))));
    assert!(!rig.folder(id).exists(), "footage whose end nobody knows");
}

#[tokio::test]
async fn what_is_cancelled_in_the_middle_leaves_nothing_and_is_in_the_journal() {
    let mut rig = Rig::with_footage().await;
    rig.settings.bytes_per_second_max = 10_000;
    let exports = rig.exports().await;
    let id = order(&exports).await.unwrap().job.id;
    let draft = rig.folder(id).join("package.zip.part");
    let mut preparing = Box::pin(exports.prepare_all());
    until_begun(&mut preparing, &draft).await;
    exports.remove(&town(), id, marie).await.unwrap();
    timeout(Duration::from_secs(40), preparing).await.expect("it ends at once");
    assert!(!rig.folder(id).exists());
    assert!(matches!(exports.get(&town(), id).await, Err(ExportError::NoExport(_))));
    let removed = rig.entries("package_removed").await;
    assert_eq!((removed.len(), &removed[0]["why"]), (1, &"cancelled".into()));
    assert_eq!(removed[0]["author"]["person"]["id"], "marie");
    assert!(rig.entries("package_prepared").await.is_empty());
    let exports = rig.exports().await;
    assert!(exports.list(&town()).await.unwrap().is_empty(), "nor does a restart bring it back");
}

#[tokio::test]
async fn one_that_was_being_destroyed_is_destroyed_at_the_next_start() {
    let rig = Rig::with_footage().await;
    let id = ready(&rig, &rig.exports().await).await;
    let job = rig.folder(id).join("job.json");
    let mut removed: serde_json::Value = serde_json::from_slice(&fs::read(&job).unwrap()).unwrap();
    removed["state"] = serde_json::json!({"state": "removed"});
    fs::write(&job, removed.to_string()).unwrap();
    let exports = rig.exports().await;
    assert!(exports.list(&town()).await.unwrap().is_empty() && !rig.folder(id).exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_holds_up_no_other_and_is_destroyed_once_it_can_be() {
    let rig = Rig::with_footage().await;
    let exports = rig.exports().await;
    let (damaged, whole) = (ready(&rig, &exports).await, ready(&rig, &exports).await);
    fs::write(rig.folder(damaged).join("job.json"), b"{").unwrap();
    // What the disk does not give back: a folder in the place of a file.
    fs::remove_file(rig.zip(damaged)).unwrap();
    fs::create_dir(rig.zip(damaged)).unwrap();
    fs::write(rig.zip(damaged).join("copy.zip"), b"footage").unwrap();
    let exports = rig.exports().await;
    assert!(exports.package(&town(), whole).await.is_ok());
    exports.keep().await;
    assert!(rig.zip(whole).exists() && rig.folder(damaged).exists());
    fs::remove_dir_all(rig.zip(damaged)).unwrap();
    exports.keep().await;
    assert!(rig.zip(whole).exists() && !rig.folder(damaged).exists());
}

#[tokio::test]
async fn a_copy_that_somebody_left_beside_a_package_goes_with_it() {
    let rig = Rig::with_footage().await;
    let exports = rig.exports().await;
    let id = ready(&rig, &exports).await;
    fs::copy(rig.zip(id), rig.folder(id).join("copy.zip")).unwrap();
    exports.remove(&town(), id, marie).await.unwrap();
    assert!(!rig.folder(id).exists());
}

#[tokio::test]
async fn two_are_prepared_one_after_the_other_and_a_failed_one_holds_up_no_other() {
    let rig = Rig::with_footage().await;
    let exports = rig.exports().await;
    let first = order(&exports).await.unwrap().job.id;
    let second = order(&exports).await.unwrap().job.id;
    // What the first one's folder is made of is not to be had.
    fs::create_dir(rig.folder(first).join("package.zip.part")).unwrap();
    assert_eq!(exports.prepare_all().await, 2);
    let state = async |id| exports.get(&town(), id).await.unwrap().job.state.clone();
    assert!(matches!(state(first).await, State::Failed { .. }), "{:?}", state(first).await);
    assert!(matches!(state(second).await, State::Ready(_)));
}

#[tokio::test]
async fn a_tenant_with_many_orders_holds_up_no_other() {
    let mut rig = Rig::empty(None).await;
    rig.record("village/pond", at(0), encode(H264).fragments.into_iter()).await;
    rig.film().await;
    let exports = rig.exports().await;
    for _ in 0..3 {
        order(&exports).await.unwrap();
    }
    let village: footage::units::TenantId = "village".parse().unwrap();
    let cameras = vec!["pond".parse().unwrap()];
    let pond = vigie::export::Request { tenant: village.clone(), cameras, ..super::rig::request(None) };
    let id = exports.order(pond, marie).await.unwrap().job.id;
    exports.prepare_all().await;
    let at = async |tenant: &footage::units::TenantId| -> Vec<_> {
        let all = exports.list(tenant).await.unwrap();
        all.iter().filter_map(|shown| Some((shown.job.package()?.at, shown.job.id))).collect()
    };
    let mut all = [at(&town()).await, at(&village).await].concat();
    all.sort();
    assert_eq!((all.len(), all[1].1), (4, id), "after one of the town's: {all:?}");
}

#[tokio::test]
async fn a_full_disk_and_another_tenant_s_share_are_left_alone() {
    let mut rig = Rig::with_footage().await;
    rig.settings.reserve_bytes = 1 << 60;
    let exports = rig.exports().await;
    let id = order(&exports).await.unwrap().job.id;
    exports.prepare_all().await;
    let shown = exports.get(&town(), id).await.unwrap();
    let State::Failed { why } = &shown.job.state else { panic!("{:?}", shown.job.state) };
    assert!(why.contains("no room"), "{why}");
    assert!(!rig.folder(id).join("package.zip.part").exists(), "what was begun is given back");
    assert_eq!(ExportError::NoRoom.kind(), Kind::Full);
    rig.settings.reserve_bytes = 0;
    rig.settings.tenants = 1 << 60;
    let exports = rig.exports().await;
    let id = order(&exports).await.unwrap().job.id;
    exports.prepare_all().await;
    assert!(matches!(exports.get(&town(), id).await.unwrap().job.state, State::Failed { .. }));
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_what_to_ask() {
    let rig = Rig::with_footage().await;
    let exports = rig.exports().await;
    let refused = async |change: &dyn Fn(&mut vigie::export::Request)| {
        let mut request = super::rig::request(None);
        change(&mut request);
        exports.order(request, marie).await.unwrap_err()
    };
    let invalid = |error: ExportError| assert!(matches!(error, ExportError::Invalid(_)), "{error}");
    invalid(refused(&|of| of.cameras.clear()).await);
    invalid(refused(&|of| of.cameras.push("gate".parse().unwrap())).await);
    invalid(refused(&|of| of.reason = "  ".to_owned()).await);
    invalid(refused(&|of| of.recipient = "a\nb".to_owned()).await);
    invalid(refused(&|of| of.reference = "x".repeat(201)).await);
    invalid(refused(&|of| of.range = footage::units::TimeRange::new(at(0), at(9_000)).unwrap()).await);
    invalid(refused(&|of| of.range = footage::units::TimeRange::new(at(-40 * 86_400), at(30)).unwrap()).await);
    let none = refused(&|of| of.cameras = vec!["nowhere".parse().unwrap()]).await;
    assert!(matches!(none, ExportError::NoCamera(_)));
    let pond = refused(&|of| of.cameras = vec!["pond".parse().unwrap()]).await;
    assert!(matches!(pond, ExportError::NoCamera(_)), "another tenant's");
    let empty = refused(&|of| of.range = footage::units::TimeRange::new(at(-60), at(-30)).unwrap()).await;
    assert_eq!(empty.kind(), Kind::NotFound, "{empty}");
    assert!(rig.entries("package_ordered").await.is_empty(), "none of these is an order");
    for _ in 0..50 {
        order(&exports).await.unwrap();
    }
    assert!(matches!(order(&exports).await, Err(ExportError::TooMany)));
}
