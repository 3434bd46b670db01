//! R6: proof that a camera's footage of a day is destroyed, and what speaks against it.

use jiff::civil::Date;
use journal::entry::{Action, Author, Draft};
use vigie::index::CameraRow;
use vigie::inspection::Inspector;
use vigie::inspection::destroyed::{Destruction, Disagreement, Verdict};
use vigie::inspection::report::{self, Reader};
use vigie::journals::{self, Journals};

use super::*;

/// The day of [`NOON`].
const DAY_OF_SCENE: Date = jiff::civil::date(2026, 3, 3);

async fn rig(encrypted: bool) -> Rig {
    let mut rig = Rig::new(options(false, encrypted)).await;
    let folder = journals::folder(rig.dir.path());
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let journals = Journals::new(folder, rig.keys.clone(), rig.store.clone(), rig.index.clone(), clock);
    journals.follow(["saint-cyr", "val"].map(|tenant| (tenant.parse().unwrap(), 36))).await;
    journals.note(&key(GATE).tenant, Draft::new(Author::Operator, Action::ConfigurationRead)).await;
    rig.journals = Some(journals);
    rig
}

fn inspector(rig: &Rig) -> Inspector {
    let packs = Archive::new(rig.spool.clone(), rig.store.clone());
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let footage = Footage::new(rig.index.clone(), packs, clock);
    Inspector::new(&footage, rig.journals.as_ref().unwrap(), &jiff::tz::TimeZone::UTC)
}

async fn proof(rig: &Rig) -> Destruction {
    inspector(rig).destruction(&key(GATE), DAY_OF_SCENE).await.unwrap()
}

async fn days_later(rig: &mut Rig, days: i64) {
    rig.sweep_at(NOON.saturating_add(Ticks90k(days * DAY))).await;
}

#[tokio::test(start_paused = true)]
async fn r6_a_day_is_there_until_its_time_and_destroyed_after_by_all_that_is_known() {
    for encrypted in [false, true] {
        let mut rig = rig(encrypted).await;
        let error = inspector(&rig).destruction(&key(GATE), DAY_OF_SCENE).await.unwrap_err();
        assert!(error.to_string().contains("is not over"), "{error}");
        rig.record(GATE, 0..6).await;
        days_later(&mut rig, 1).await;
        let before = proof(&rig).await;
        assert_eq!((before.verdict, before.packs.len(), before.in_stores), (Verdict::Present, 1, 1));
        assert!(before.register.is_empty() && before.entries.is_empty() && before.disagreements.is_empty());
        days_later(&mut rig, 2).await;
        days_later(&mut rig, 3).await;
        let after = proof(&rig).await;
        assert_eq!((after.verdict, after.packs.len(), after.in_stores), (Verdict::Destroyed, 0, 0), "{after:?}");
        assert_eq!((after.register.len(), after.entries.len()), (1, 1));
        assert_eq!(after.keys.len(), usize::from(encrypted), "its key is destroyed with it");
        // A day of which nothing was recorded, and a camera that does not exist.
        let none = inspector(&rig).destruction(&key(GATE), jiff::civil::date(2026, 3, 1)).await.unwrap();
        assert_eq!(none.verdict, Verdict::NothingRecorded);
        inspector(&rig).destruction(&key("saint-cyr/nowhere"), DAY_OF_SCENE).await.unwrap_err();
        let other = inspector(&rig).destruction(&key("val/gare"), DAY_OF_SCENE).await.unwrap();
        assert_eq!(
            (other.verdict, other.register.len()),
            (Verdict::NothingRecorded, 0),
            "another camera's is another's"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn r6_a_copy_that_comes_back_is_found_wherever_it_lies() {
    for encrypted in [false, true] {
        let mut rig = rig(encrypted).await;
        let id = rig.record(GATE, 0..6).await;
        let file = rig.store.local_file(&key(GATE), id).unwrap();
        let copy = std::fs::read(&file).unwrap();
        days_later(&mut rig, 3).await;
        let [cached, ..] = rig.spool.files(&key(GATE), id);
        for place in [file, cached] {
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(&place, &copy).unwrap();
            let found = proof(&rig).await;
            assert_eq!(found.verdict, Verdict::Contradicted, "{}: {found:?}", place.display());
            assert_eq!(found.disagreements, [Disagreement::UnknownPacks(vec![id.to_string()])]);
            let complaints = rig.complaints().await;
            assert!(complaints.len() == 1 && complaints[0].contains("Orphan"), "{complaints:?}");
            std::fs::remove_file(&place).unwrap();
        }
        assert_eq!(proof(&rig).await.verdict, Verdict::Destroyed);
    }
}

#[tokio::test(start_paused = true)]
async fn r6_what_holds_keep_is_named_and_nothing_else_is_left() {
    let mut rig = rig(true).await;
    rig.record(GATE, 0..6).await;
    hold(&rig, 2..4).await;
    days_later(&mut rig, 3).await;
    let kept = proof(&rig).await;
    assert_eq!((kept.verdict, kept.packs.len()), (Verdict::KeptForHolds, 1), "{kept:?}");
    assert!(kept.packs[0].hold.is_some());
    days_later(&mut rig, 22).await;
    let after = proof(&rig).await;
    assert_eq!((after.verdict, after.packs.len()), (Verdict::Destroyed, 0), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn r6_what_cannot_be_deleted_or_listed_is_never_called_destroyed() {
    let mut rig = rig(false).await;
    let id = rig.record(GATE, 0..6).await;
    let file = rig.store.local_file(&key(GATE), id).unwrap();
    let aside = rig.dir.path().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap();
    std::fs::write(file.join("in-the-way"), b"").unwrap();
    days_later(&mut rig, 4).await;
    let late = proof(&rig).await;
    assert_eq!(late.verdict, Verdict::Contradicted, "{late:?}");
    assert!(late.disagreements.iter().any(|of| matches!(of, Disagreement::OverAge(_))), "{late:?}");
    let inspected = inspector(&rig);
    let all = TimeRange::new(NOON, rig.clock.wall()).unwrap();
    let found = inspected.inspect(&"saint-cyr".parse().unwrap(), all, |_| true).await.unwrap();
    let [over] = &found.cameras[0].over_age[..] else { panic!("{found:?}") };
    assert_eq!((over.why.as_str(), over.packs), ("not_deleted", 1));
    std::fs::remove_dir_all(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    rig.goes_on(Duration::from_secs(60)).await;
    rig.sweep().await;
    let late = proof(&rig).await;
    assert_eq!(late.verdict, Verdict::Destroyed, "{late:?}");
    let found = inspected.inspect(&"saint-cyr".parse().unwrap(), all, |_| true).await.unwrap();
    assert_eq!((found.cameras[0].achieved.late_days, found.cameras[0].over_age.len()), (1, 0), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn r6_a_destruction_that_the_journal_does_not_have_is_named() {
    let mut rig = rig(false).await;
    rig.record(GATE, 0..6).await;
    let entering = rig.journals.take();
    days_later(&mut rig, 3).await;
    rig.journals = entering;
    let found = proof(&rig).await;
    let [Disagreement::NotInJournal(range)] = &found.disagreements[..] else { panic!("{found:?}") };
    assert_eq!((found.verdict, range.start()), (Verdict::Contradicted, at(0)));
}

#[tokio::test(start_paused = true)]
async fn r4_r6_a_gateway_that_ends_anywhere_in_a_sweep_has_entered_what_it_destroyed() {
    for after in 1..200 {
        let mut rig = rig(false).await;
        rig.record(GATE, 0..6).await;
        rig.goes_on(Duration::from_secs(3 * 86_400)).await;
        rig.sweep().await;
        rig.goes_on(Duration::from_secs(61)).await;
        let is_done = rig.sweep_cut_off(after).await;
        days_later(&mut rig, 4).await;
        let found = proof(&rig).await;
        assert_eq!(found.verdict, Verdict::Destroyed, "cut off after {after}: {found:?}");
        if is_done {
            assert!(after > 3, "there was something to cut off");
            return;
        }
    }
    panic!("a sweep waits less often");
}

#[tokio::test(start_paused = true)]
async fn r7_what_was_kept_as_long_as_was_allowed_then_is_not_late_by_a_shorter_time_of_now() {
    let mut rig = rig(false).await;
    rig.record(GATE, 0..6).await;
    days_later(&mut rig, 3).await;
    let late = async |rig: &Rig| {
        let all = TimeRange::new(NOON, rig.clock.wall()).unwrap();
        let found = inspector(rig).inspect(&key(GATE).tenant, all, |row| row.key == key(GATE)).await.unwrap();
        let [camera] = &found.cameras[..] else { panic!("{found:?}") };
        (camera.row.retention_max, camera.register.len(), camera.achieved.late_days)
    };
    let row = rig.index.camera(&key(GATE)).await.unwrap().unwrap();
    let longer = CameraRow { retention_max: Ticks90k(20 * DAY), ..row.clone() };
    rig.index.write(vec![Change::Configure(vec![longer])]).await.unwrap();
    assert_eq!(late(&rig).await, (Ticks90k(20 * DAY), 1, 0));
    let now = rig.clock.wall();
    let shorter = CameraRow { retention_max: Ticks90k(DAY), ..row };
    let confirm = Change::ConfirmPolicy {
        camera: key(GATE),
        retention_max: shorter.retention_max,
        retention_min: shorter.retention_min,
        now,
    };
    let configure = Change::ConfigureFrom { cameras: vec![shorter], at: now };
    rig.index.write(vec![configure, confirm]).await.unwrap();
    assert_eq!(late(&rig).await, (Ticks90k(DAY), 1, 0), "twenty days were allowed");
}

#[tokio::test(start_paused = true)]
async fn r6_the_proof_is_a_page_in_both_languages() {
    let mut rig = rig(true).await;
    rig.record(GATE, 0..6).await;
    days_later(&mut rig, 3).await;
    let found = proof(&rig).await;
    let page = |language| {
        let authority = "Ville <de Saint-Cyr>".to_owned();
        report::destruction(&found, &Reader { language, zone: jiff::tz::TimeZone::UTC, authority })
    };
    use vigie::event::words::Language;
    let (english, french) = (page(Language::English), page(Language::French));
    assert!(english.contains("None of it is left") && english.contains("Ville &lt;de Saint-Cyr&gt;"), "{english}");
    assert!(french.contains("ni le tampon"), "{french}");
    assert_eq!(english.matches("<td>").count(), french.matches("<td>").count());
}
