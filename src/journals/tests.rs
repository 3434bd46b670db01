use std::fs;

use journal::Span;
use journal::entry::{Access, Entry};
use journal::verify::{Known, verify};
use tempfile::TempDir;

use super::access::Accesses;
use super::*;
use crate::index::{CameraRow, SteadyClock};
use footage::clock::SimClock;
use footage::units::{Ticks90k, TimeRange};

mod copies;

struct Rig {
    dir: TempDir,
    index: Index,
    store: Store,
    clock: Arc<SimClock>,
}

const DAY: Ticks90k = Ticks90k(86_400 * 90_000);

fn town() -> TenantId {
    "town".parse().unwrap()
}

fn key(access: Access) -> AccessKey {
    AccessKey { author: Author::AccessToken, address: None, camera: "gate".parse().unwrap(), access, reason: None }
}

fn noon() -> WallTime {
    "2026-11-27T12:00:00Z".parse().unwrap()
}

fn filmed(from_s: i64, to_s: i64) -> Option<TimeRange> {
    let at = |s| noon().saturating_add(Ticks90k(s * 90_000));
    TimeRange::new(at(from_s), at(to_s))
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
        let gate = CameraRow {
            key: "town/gate".parse().unwrap(),
            name: "gate".to_owned(),
            place: String::new(),
            configured: true,
            retention_max: Ticks90k(30 * 86_400 * 90_000),
            retention_min: Ticks90k::ZERO,
        };
        index.write(vec![Change::Configure(vec![gate])]).await.unwrap();
        let store = Store::over(Arc::new(object_store::memory::InMemory::new()));
        Self { dir, index, store, clock: Arc::new(SimClock::starting_at(noon())) }
    }

    async fn journals(&self) -> Journals {
        let (folder, clock) = (self.dir.path().join("journal"), self.clock.clone());
        let journals = Journals::new(folder, Keys::from_secret([1; 32]), self.store.clone(), self.index.clone(), clock);
        journals.follow([(town(), 36)]).await;
        journals
    }

    /// As a sweep does: footage is destroyed by the wall clock of now.
    async fn sweep(&self) {
        let wall = self.clock.wall();
        let judged = SteadyClock { steady: wall, wall, held: Ticks90k::ZERO, lead: Ticks90k::ZERO };
        self.index.write(vec![Change::SteadyClock(judged)]).await.unwrap();
    }

    /// A folder in the place of tomorrow's file, and the day turns: no entry can be made.
    fn obstruct(&self, entries: u64) -> PathBuf {
        let tomorrow = self.folder().join(format!("content/{entries:012}-2026-11-28.jsonl"));
        fs::create_dir(&tomorrow).unwrap();
        self.clock.step(DAY);
        tomorrow
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("journal/town")
    }

    fn entries(&self) -> Vec<Entry> {
        let mut files: Vec<_> =
            fs::read_dir(self.folder().join("content")).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        text.lines().map(|line| Entry::decode(line.as_bytes()).unwrap()).collect()
    }

    fn actions(&self) -> Vec<Action> {
        self.entries().into_iter().map(|entry| entry.draft.action).collect()
    }

    async fn events(&self) -> Vec<Fact> {
        let rows = self.index.events_after(0, 100).await.unwrap();
        rows.into_iter().map(|row| row.event.fact).collect()
    }
}

/// Runs the journals for so long.
async fn run(journals: &Journals, seconds: u64) {
    let stop = CancellationToken::new();
    let running = tokio::spawn(journals.clone().run(stop.clone()));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_access_of_many_answers_is_two_entries_with_what_was_really_sent() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    let first = journals.begin(&town(), key(Access::Playback)).await.unwrap();
    assert_eq!(rig.actions(), [Action::AccessBegun { access: Access::Playback }], "before the first byte");
    first.sent(1000, filmed(10, 12));
    let second = journals.begin(&town(), key(Access::Playback)).await.unwrap();
    second.sent(500, filmed(12, 14));
    second.sent(1, filmed(100, 101));
    drop(first);
    // One is being sent for an hour: the access lasts as long.
    let stop = CancellationToken::new();
    let running = tokio::spawn(journals.clone().run(stop.clone()));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(rig.actions().len(), 1);
    drop(second);
    tokio::time::sleep(Duration::from_secs(62)).await;
    let span = |range: Option<TimeRange>| {
        let range = range.unwrap();
        Span { from: range.start().to_timestamp(), to: range.end().to_timestamp() }
    };
    let sent = vec![span(filmed(10, 14)), span(filmed(100, 101))];
    let entries = rig.entries();
    assert_eq!(entries.len(), 2);
    let ended = Action::AccessEnded { begun: 0, access: Access::Playback, sent, sent_bytes: 1501 };
    assert_eq!(entries[1].draft.action, ended);
    assert_eq!(entries[1].draft.range, Some(span(filmed(10, 101))));
    stop.cancel();
    running.await.unwrap();
    assert_eq!(verify(&rig.folder(), &Known::default()).unwrap().faults, []);
}

#[tokio::test]
async fn of_many_that_begin_at_once_one_makes_the_entry() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    let (town, live) = (town(), key(Access::Live));
    let all = (0..50).map(|_| journals.begin(&town, live.clone()));
    let answers = futures::future::try_join_all(all).await.unwrap();
    assert_eq!((answers.len(), rig.actions().len()), (50, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_in_many_stretches_is_more_accesses_than_one_and_none_is_lost() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    for n in 0..150 {
        journals.begin(&town(), key(Access::Playback)).await.unwrap().sent(1, filmed(n * 10, n * 10 + 1));
    }
    run(&journals, 1).await;
    let actions = rig.actions();
    let begun = actions.iter().filter(|action| matches!(action, Action::AccessBegun { .. })).count();
    let spans = actions.iter().map(|action| match action {
        Action::AccessEnded { sent, .. } => sent.len(),
        _ => 0,
    });
    assert_eq!((begun, actions.len(), spans.sum()), (3, 6, 150usize));
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_fails_refuses_and_is_an_alarm_until_it_is_written_again() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    drop(journals.begin(&town(), key(Access::Clip)).await.unwrap());
    let tomorrow = rig.obstruct(1);
    let refused = journals.begin(&town(), key(Access::Live)).await;
    assert!(refused.is_err());
    assert!(journals.ready(&town()).is_err());
    assert_eq!(rig.events().await, [Fact::JournalFailed]);
    assert!(journals.begin(&town(), key(Access::Snapshot)).await.is_err());
    fs::remove_dir(&tomorrow).unwrap();
    journals.begin(&town(), key(Access::Live)).await.unwrap();
    assert_eq!(rig.events().await, [Fact::JournalFailed, Fact::JournalWorks], "one event each");
    assert!(journals.ready(&town()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_older_copy_of_the_journal_is_found_out_by_the_index_and_its_return_heals() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    drop(journals.begin(&town(), key(Access::Clip)).await.unwrap());
    run(&journals, 1).await;
    drop(journals);
    let aside = rig.dir.path().join("aside");
    fs::rename(rig.folder(), &aside).unwrap();
    let journals = rig.journals().await;
    assert!(journals.begin(&town(), key(Access::Clip)).await.is_err());
    assert!(!rig.folder().join("checkpoint").exists(), "what is missing is not made");
    assert_eq!(rig.events().await, [Fact::JournalFailed]);
    let _ = fs::remove_dir_all(rig.folder());
    fs::rename(&aside, rig.folder()).unwrap();
    run(&journals, 12).await;
    journals.begin(&town(), key(Access::Clip)).await.unwrap();
    assert_eq!(rig.events().await, [Fact::JournalFailed, Fact::JournalWorks]);
}

#[tokio::test(start_paused = true)]
async fn r4_entries_go_at_the_end_of_the_tenants_own_time() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    drop(journals.begin(&town(), key(Access::Clip)).await.unwrap());
    run(&journals, 1).await;
    journals.follow([(town(), 2)]).await;
    rig.clock.step(Ticks90k(61 * DAY.0));
    rig.sweep().await;
    run(&journals, 1).await;
    let report = verify(&rig.folder(), &Known::default()).unwrap();
    assert_eq!((report.faults.len(), report.forgotten), (0, 2));
    assert_eq!(rig.actions(), [Action::EntriesForgotten { from: 0, to: 2, months: 2 }]);
    // The checkpoint that the index knows goes along.
    drop(journals);
    let again = rig.journals().await;
    assert!(again.ready(&town()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn r4_the_journal_of_a_removed_tenant_takes_what_becomes_of_its_footage_and_ends_at_its_time() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    drop(journals.begin(&town(), key(Access::Clip)).await.unwrap());
    run(&journals, 1).await;
    drop(journals);
    let (folder, clock) = (rig.dir.path().join("journal"), rig.clock.clone());
    let journals = Journals::new(folder, Keys::from_secret([1; 32]), rig.store.clone(), rig.index.clone(), clock);
    journals.follow([]).await;
    let destroyed = Action::FootageDestroyed { cause: "expired".to_owned(), packs: 1, bytes: 1 };
    journals.note(&town(), Draft::new(Author::Gateway, destroyed.clone())).await;
    assert_eq!(rig.actions().last(), Some(&destroyed));
    rig.clock.step(Ticks90k(37 * 31 * DAY.0));
    rig.sweep().await;
    run(&journals, 1).await;
    assert_eq!(rig.actions(), [Action::EntriesForgotten { from: 0, to: 3, months: 36 }]);
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_are_counted_and_another_tenants_journal_does_not_hear_of_them() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    (0..5).for_each(|_| journals.refused(&town()));
    journals.refused(&"nobody".parse().unwrap());
    run(&journals, 1).await;
    assert_eq!(rig.actions(), [Action::Refused { count: 5 }]);
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_the_operator_accepts_is_said_in_the_journal_and_what_was_there_is_kept() {
    let rig = Rig::new().await;
    let naming = Naming::new(Keys::from_secret([1; 32]), rig.store.clone());
    let journals = rig.journals().await;
    drop(journals.begin(&town(), key(Access::Clip)).await.unwrap());
    run(&journals, 1).await;
    drop(journals);
    let of = town();
    let accept = || loss::accept(rig.dir.path().join("journal"), &naming, &rig.index, &*rig.clock, &of);
    let nothing_wrong = accept().await.unwrap_err();
    assert_eq!(nothing_wrong.kind(), Kind::Conflict);
    fs::write(rig.folder().join("checkpoint"), "nonsense").unwrap();
    assert!(accept().await.unwrap().contains("is kept in"));
    assert!(matches!(&rig.actions()[..], [Action::LossAccepted { size: 2, .. }]));
    let kept: Vec<_> = fs::read_dir(rig.dir.path().join("journal")).unwrap().collect();
    assert_eq!(kept.len(), 3, "the journal, the one before, and the folder for commands");
    let journals = rig.journals().await;
    assert!(journals.ready(&town()).is_ok());
    assert_eq!(verify(&rig.folder(), &Known::default()).unwrap().faults, []);

    let kept: Vec<_> = kept.into_iter().map(|kept| kept.unwrap().path()).filter(|kept| *kept != rig.folder()).collect();
    let contents = || fs::read_dir(kept[0].join("content")).unwrap().count();
    rig.clock.step(Ticks90k(1000 * DAY.0));
    rig.sweep().await;
    run(&journals, 1).await;
    assert_eq!(contents(), 1, "r4: what is set aside stays for its time");
    rig.clock.step(Ticks90k(100 * DAY.0));
    rig.sweep().await;
    run(&journals, 1).await;
    assert_eq!(contents(), 0, "r4: and no longer");
}

#[tokio::test(start_paused = true)]
async fn r4_a_clock_that_leaps_ahead_destroys_no_entry_and_one_that_goes_back_neither() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    drop(journals.begin(&town(), key(Access::Clip)).await.unwrap());
    run(&journals, 1).await;
    let years = Ticks90k(34 * 366 * DAY.0);
    rig.clock.step(years);
    run(&journals, 1).await;
    assert_eq!(rig.actions().len(), 2, "no sweep has judged the clock");
    rig.clock.step(Ticks90k(-years.0));
    rig.sweep().await;
    rig.clock.step(years);
    drop(journals.begin(&town(), key(Access::Live)).await.unwrap());
    run(&journals, 2).await;
    assert_eq!(rig.actions().len(), 4, "the sweep's clock is in 2026");
    rig.clock.step(Ticks90k(-57 * 366 * DAY.0 - years.0));
    drop(journals.begin(&town(), key(Access::Live)).await.unwrap());
    run(&journals, 1).await;
    rig.clock.step(Ticks90k(57 * 366 * DAY.0));
    rig.sweep().await;
    run(&journals, 1).await;
    assert_eq!(rig.actions().len(), 6);
    assert_eq!(verify(&rig.folder(), &Known::default()).unwrap().faults, []);
}

#[tokio::test(start_paused = true)]
async fn an_access_that_goes_on_is_refused_while_the_journal_fails_and_both_of_its_parts_end() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    let live = journals.begin(&town(), key(Access::Live)).await.unwrap();
    live.sent(7, filmed(0, 1));
    let tomorrow = rig.obstruct(1);
    assert!(journals.append(&town(), Draft::new(Author::Gateway, Action::ConfigurationRead)).await.is_err());
    assert!(journals.begin(&town(), key(Access::Live)).await.is_err());
    fs::remove_dir(&tomorrow).unwrap();
    journals.begin(&town(), key(Access::Live)).await.unwrap().sent(5, filmed(2, 3));
    drop(live);
    run(&journals, 1).await;
    let of = rig.actions().into_iter().filter_map(|action| match action {
        Action::AccessBegun { .. } => Some((None, 0)),
        Action::AccessEnded { begun, sent_bytes, .. } => Some((Some(begun), sent_bytes)),
        _ => None,
    });
    let mut of: Vec<_> = of.collect();
    of.sort();
    assert_eq!(of, [(None, 0), (None, 0), (Some(0), 7), (Some(2), 5)]);
}

#[tokio::test(start_paused = true)]
async fn the_alarm_of_a_journal_that_fails_lasts_until_an_entry_is_made_which_says_how_long_there_was_none() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    drop(journals.begin(&town(), key(Access::Clip)).await.unwrap());
    let stop = CancellationToken::new();
    let running = tokio::spawn(journals.clone().run(stop.clone()));
    let tomorrow = rig.obstruct(1);
    let since = rig.clock.wall().to_timestamp();
    assert!(journals.begin(&town(), key(Access::Live)).await.is_err());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(rig.events().await, [Fact::JournalFailed]);
    assert!(journals.ready(&town()).is_err());
    fs::remove_dir(&tomorrow).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.events().await, [Fact::JournalFailed, Fact::JournalWorks]);
    assert!(journals.ready(&town()).is_ok());
    stop.cancel();
    running.await.unwrap();
    assert_eq!(rig.actions()[1], Action::Interrupted { since });
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_while_its_access_begins_leaves_no_beginning_without_an_end() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    let town = town();
    {
        let mut begin = std::pin::pin!(journals.begin(&town, key(Access::Live)));
        assert!(futures::poll!(&mut begin).is_pending());
    }
    run(&journals, 62).await;
    let begun = Action::AccessBegun { access: Access::Live };
    let ended = Action::AccessEnded { begun: 0, access: Access::Live, sent: Vec::new(), sent_bytes: 0 };
    assert_eq!(rig.actions(), [begun, ended]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_configuration_that_is_read_while_a_journal_is_opened_opens_it_once() {
    let rig = Rig::new().await;
    let mut numbers = Vec::new();
    for _ in 0..20 {
        let (folder, clock) = (rig.dir.path().join("journal"), rig.clock.clone());
        let journals = Journals::new(folder, Keys::from_secret([1; 32]), rig.store.clone(), rig.index.clone(), clock);
        let follow = || {
            let journals = journals.clone();
            tokio::spawn(async move {
                journals.follow([(town(), 36)]).await;
                let read = || Draft::new(Author::Operator, Action::ConfigurationRead);
                (journals.append(&town(), read()).await.unwrap(), journals.append(&town(), read()).await.unwrap())
            })
        };
        for entered in [follow(), follow(), follow()] {
            let (first, second) = entered.await.unwrap();
            numbers.extend([first, second]);
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..120).collect::<Vec<_>>());
    assert_eq!(rig.entries().len(), 120);
}

/// Requests that replace accesses of many stretches, while the keeping of the journals looks for those that are over.
#[test]
fn accesses_are_replaced_and_taken_over_at_once_without_a_deadlock() {
    let accesses = Accesses::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let ended = std::thread::scope(|scope| {
        let keeping = scope.spawn(|| (0..200_000).map(|_| accesses.take_over(false).len()).sum::<usize>());
        for begun in 0..3_000 {
            let accessing = accesses.begin(key(Access::Playback), begun);
            (0..64).for_each(|n| accessing.sent(1, filmed(n * 10, n * 10 + 1)));
            assert!(accesses.going_on(&key(Access::Playback)).is_none(), "of 64 stretches");
        }
        keeping.join().unwrap()
    });
    assert_eq!(ended + accesses.take_over(true).len(), 3_000);
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_to_a_tenant_that_is_removed_is_entered_when_it_has_gone() {
    let rig = Rig::new().await;
    let journals = rig.journals().await;
    let clip = journals.begin(&town(), key(Access::Clip)).await.unwrap();
    journals.follow([]).await;
    clip.sent(9, filmed(0, 1));
    drop(clip);
    run(&journals, 62).await;
    assert!(matches!(rig.actions()[..], [_, Action::AccessEnded { sent_bytes: 9, .. }]));
}
