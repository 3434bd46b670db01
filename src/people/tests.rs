use std::sync::Arc;

use catalogue::{Act, Scope};
use jiff::civil::date;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;
use crate::index::{CameraRow, SteadyClock};
use crate::store::Store;
use footage::clock::SimClock;
use footage::keys::Keys;
use footage::units::{Ticks90k, WallTime};

struct Rig {
    dir: TempDir,
    store: Store,
    index: Index,
    clock: Arc<SimClock>,
}

fn town() -> TenantId {
    "town".parse().unwrap()
}

fn marie() -> PersonId {
    "marie".parse().unwrap()
}

fn noon() -> WallTime {
    "2026-11-28T12:00:00Z".parse().unwrap()
}

fn designation() -> Designation {
    let act = Act {
        authority: "le maire".to_owned(),
        number: "7".to_owned(),
        date: date(2026, 1, 1),
        until: date(2028, 12, 31),
    };
    Designation { name: "Marie".to_owned(), role: "operator".to_owned(), act, scope: Scope::default() }
}

fn draft() -> Draft {
    Draft::new(Author::Operator, Action::PersonRevoked { person: marie() })
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
        let store = Store::over(Arc::new(object_store::memory::InMemory::new()));
        Self { dir, store, index, clock: Arc::new(SimClock::starting_at(noon())) }
    }

    async fn journals(&self) -> Journals {
        let (folder, clock) = (self.dir.path().join("journal"), self.clock.clone());
        let journals = Journals::new(folder, Keys::from_secret([1; 32]), self.store.clone(), self.index.clone(), clock);
        journals.follow([(town(), 36)]).await;
        journals
    }

    fn path(&self) -> PathBuf {
        path(self.dir.path())
    }

    async fn people(&self) -> People {
        let (journals, clock) = (self.journals().await, self.clock.clone());
        People::open(self.path(), Roles::built_in(), (self.index.clone(), &Keys::from_secret([1; 32])), journals, clock)
            .await
    }

    /// With one person, and what they present.
    async fn with_marie(&self) -> (People, Secret) {
        let people = self.people().await;
        people.designate((&town(), &marie()), designation(), draft()).await.unwrap();
        let until = noon().saturating_add(Ticks90k(365 * 86_400 * 90_000)).to_timestamp();
        let token = ("desk".to_owned(), until);
        let secret = people.make_token((&town(), &marie()), token, |_| draft()).await.unwrap();
        (people, secret)
    }

    /// Retention has looked at the clock, and believes it.
    async fn swept(&self) {
        let wall = self.clock.wall();
        let time = SteadyClock { steady: wall, wall, held: Ticks90k::ZERO, lead: Ticks90k::ZERO };
        self.index.write(vec![Change::SteadyClock(time)]).await.unwrap();
    }

    async fn facts(&self) -> Vec<Fact> {
        let rows = self.index.all_events(0, 100).await.unwrap();
        let of_catalogue = |fact: &Fact| matches!(fact, Fact::CatalogueFailed | Fact::CatalogueWorks);
        // The newest comes first.
        rows.into_iter().rev().map(|row| row.event.fact).filter(of_catalogue).collect()
    }

    /// All that the catalogue is made of.
    fn files(&self) -> Vec<PathBuf> {
        ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", self.path().display()))).to_vec()
    }

    fn copy(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        self.files().into_iter().map(|path| (path.clone(), std::fs::read(path).ok())).collect()
    }

    fn put_back(copy: &[(PathBuf, Option<Vec<u8>>)]) {
        for (path, bytes) in copy {
            match bytes {
                Some(bytes) => std::fs::write(path, bytes).unwrap(),
                None => drop(std::fs::remove_file(path)),
            }
        }
    }
}

#[tokio::test]
async fn persons_are_there_after_a_start_and_the_secret_is_nowhere_on_the_disk() {
    let rig = Rig::new().await;
    let (people, secret) = rig.with_marie().await;
    assert_eq!(people.holder(&town(), &secret).unwrap().unwrap().id, marie());
    drop(people);
    let people = rig.people().await;
    assert_eq!(people.holder(&town(), &secret).unwrap().unwrap().id, marie());
    assert_eq!(rig.facts().await, []);
    let text = secret.text().expose_secret().as_bytes();
    let tail = &text[text.len() - 40..];
    for entry in walk(rig.dir.path()) {
        let bytes = std::fs::read(&entry).unwrap();
        assert!(!bytes.windows(tail.len()).any(|window| window == tail), "{}", entry.display());
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_catalogue_that_is_missing_older_another_or_damaged_lets_nobody_in_and_is_left_as_it_is() {
    for case in ["missing", "older", "another", "damaged"] {
        let rig = Rig::new().await;
        let (people, _) = rig.with_marie().await;
        drop(people);
        let before = rig.copy();
        let (people, _) = (rig.people().await, ());
        let until = noon().saturating_add(Ticks90k(90_000)).to_timestamp();
        let secret = people.make_token((&town(), &marie()), ("x".to_owned(), until), |_| draft()).await.unwrap();
        drop(people);
        let sound = rig.copy();
        match case {
            "missing" => rig.files().iter().for_each(|file| drop(std::fs::remove_file(file))),
            "older" => Rig::put_back(&before),
            "another" => {
                rig.files().iter().for_each(|file| drop(std::fs::remove_file(file)));
                drop(Catalogue::open(&rig.path()).unwrap());
            }
            _ => {
                rig.files().iter().for_each(|file| drop(std::fs::remove_file(file)));
                std::fs::write(rig.path(), vec![7; 10_000]).unwrap();
            }
        }
        let there = std::fs::read(rig.path()).ok();
        let people = rig.people().await;
        assert!(matches!(people.holder(&town(), &secret), Err(PeopleError::Closed(_))), "{case}");
        let refused = people.designate((&town(), &marie()), designation(), draft()).await;
        assert!(matches!(refused, Err(PeopleError::Closed(_))), "{case}");
        people.reopen(false).await;
        assert_eq!(rig.facts().await, [Fact::CatalogueFailed], "{case}: one event");
        if case != "older" {
            assert_eq!(std::fs::read(rig.path()).ok(), there, "{case}");
        }
        // Put back, it is read again without a start.
        Rig::put_back(&sound);
        people.reopen(false).await;
        assert_eq!(people.holder(&town(), &secret).unwrap().unwrap().id, marie(), "{case}");
        assert_eq!(rig.facts().await, [Fact::CatalogueFailed, Fact::CatalogueWorks], "{case}");
    }
}

#[tokio::test]
async fn an_alarm_of_before_the_start_ends_when_the_catalogue_is_back() {
    let rig = Rig::new().await;
    let (people, secret) = rig.with_marie().await;
    drop(people);
    let sound = rig.copy();
    rig.files().iter().for_each(|file| drop(std::fs::remove_file(file)));
    drop(rig.people().await);
    // As the gateway's alarms do it from events.
    let failed =
        rig.index.all_events(0, 100).await.unwrap().into_iter().find(|row| row.event.fact == Fact::CatalogueFailed);
    let changes = crate::alarm::changes_of(failed.unwrap().event).into_iter().map(Change::Alarm).collect();
    rig.index.write(changes).await.unwrap();
    Rig::put_back(&sound);
    let people = rig.people().await;
    assert!(people.holder(&town(), &secret).unwrap().is_some());
    assert_eq!(rig.facts().await, [Fact::CatalogueFailed, Fact::CatalogueWorks]);
}

#[tokio::test]
async fn what_the_operator_accepts_is_taken_over_and_said_in_the_journals() {
    let rig = Rig::new().await;
    let (people, secret) = rig.with_marie().await;
    drop(people);
    let at = noon().to_timestamp();
    let nothing_wrong = accept(rig.dir.path(), &rig.index, at, [town()]).await;
    assert!(nothing_wrong.is_err_and(|error| error.to_string().contains("nothing is wrong")));
    rig.files().iter().for_each(|file| drop(std::fs::remove_file(file)));
    let said = accept(rig.dir.path(), &rig.index, at, [town()]).await.unwrap();
    assert!(said.contains("no person is designated"), "{said}");
    let journals = rig.journals().await;
    let people = rig.people().await;
    assert!(people.holder(&town(), &secret).unwrap().is_none());
    let stop = CancellationToken::new();
    stop.cancel();
    journals.clone().run(stop).await;
    let entries = journals.entries(&town(), 0, 100).await.unwrap().join("");
    assert!(entries.contains(r#""action":"catalogue_accepted","persons":0"#), "{entries}");
}

#[tokio::test]
async fn nothing_is_given_without_an_entry_and_a_revocation_waits_for_none() {
    let rig = Rig::new().await;
    let (people, secret) = rig.with_marie().await;
    let nobody: TenantId = "elsewhere".parse().unwrap();
    // Of a tenant without a journal.
    let refused = people.designate((&nobody, &marie()), designation(), draft()).await;
    assert!(matches!(refused, Err(PeopleError::NoEntry(_))));
    assert!(people.tables().unwrap().person(&nobody, &marie()).is_none());
    people.revoke((&town(), &marie()), draft()).await.unwrap();
    assert!(people.holder(&town(), &secret).unwrap().is_none(), "at once");
}

#[tokio::test]
async fn a_revocation_whose_client_has_gone_is_made_and_entered() {
    let rig = Rig::new().await;
    let (people, secret) = rig.with_marie().await;
    let (town, marie) = (town(), marie());
    let who = (&town, &marie);
    {
        let mut revoking = Box::pin(people.revoke(who, draft()));
        assert!(futures::poll!(revoking.as_mut()).is_pending());
    }
    // Changes take turns: when this one is made, that one has been.
    let entry = Draft::new(Author::Operator, Action::CameraRetried);
    people.designate((&town, &"paul".parse().unwrap()), designation(), entry).await.unwrap();
    assert!(people.holder(&town, &secret).unwrap().is_none());
    let entries = people.0.journals.entries(&town, 0, 100).await.unwrap();
    let actions = entries.iter().filter(|line| line.contains(r#""action":"person_revoked""#)).count();
    // The rig's own entries are of that kind, too.
    assert_eq!(actions, 3, "{entries:?}");
}

#[tokio::test]
async fn a_change_that_fails_after_its_entry_is_said_not_to_be_done() {
    let rig = Rig::new().await;
    let (people, _) = rig.with_marie().await;
    let paul: PersonId = "paul".parse().unwrap();
    let until = noon().saturating_add(Ticks90k(90_000)).to_timestamp();
    let refused = people.make_token((&town(), &paul), ("x".to_owned(), until), |_| draft()).await;
    assert!(matches!(refused, Err(PeopleError::Catalogue(CatalogueError::NoPerson(_)))));
    let entries = people.0.journals.entries(&town(), 0, 100).await.unwrap();
    let last = entries.last().unwrap();
    assert!(last.contains(r#""action":"not_done","of":2"#), "{last}");
}

#[tokio::test]
async fn who_was_revoked_three_years_ago_is_forgotten() {
    let rig = Rig::new().await;
    let (people, _) = rig.with_marie().await;
    people.revoke((&town(), &marie()), draft()).await.unwrap();
    rig.clock.step(Ticks90k(3 * 365 * 86_400 * 90_000));
    rig.swept().await;
    people.keep_up().await;
    assert!(people.tables().unwrap().person(&town(), &marie()).is_some());
    rig.clock.step(Ticks90k(2 * 86_400 * 90_000));
    rig.swept().await;
    people.keep_up().await;
    assert!(people.tables().unwrap().person(&town(), &marie()).is_none());
}

#[tokio::test]
async fn a_clock_that_is_ahead_for_a_while_destroys_no_token_that_is_in_force() {
    let rig = Rig::new().await;
    let (people, secret) = rig.with_marie().await;
    rig.swept().await;
    let years = Ticks90k(50 * 365 * 86_400 * 90_000);
    rig.clock.step(years);
    people.keep_up().await;
    rig.clock.step(Ticks90k(-years.0));
    assert!(people.holder(&town(), &secret).unwrap().is_some());
}

#[tokio::test]
async fn an_account_opens_one_session_a_person_and_from_another_place_it_is_an_event() {
    use super::accounts::Vouched;
    use catalogue::{Account, Named};
    let rig = Rig::new().await;
    // An event of a tenant is of one that has a camera.
    let camera = CameraRow {
        key: "town/gate".parse().unwrap(),
        name: "gate".to_owned(),
        place: "gate".to_owned(),
        configured: true,
        retention_max: Ticks90k(86_400 * 90_000),
        retention_min: Ticks90k::ZERO,
    };
    rig.index.write(vec![Change::Configure(vec![camera])]).await.unwrap();
    let (people, _) = rig.with_marie().await;
    let (provider, who) = ("directory".parse().unwrap(), (town(), marie()));
    people.identify((&who.0, &who.1), (&provider, Named::Subject("42".to_owned())), draft()).await.unwrap();
    let vouched = || Vouched {
        account: Account {
            provider: provider.clone(),
            issuer: "https://id.example".to_owned(),
            subject: "42".to_owned(),
            email: None,
        },
        tenants: vec![town()],
        sid: None,
        id_token: Some("the ID token".into()),
    };
    let from = async |address: &str| {
        let address = Some(address.parse().unwrap());
        people.sign_in_by_account(vouched(), None, |_| true, address).await.unwrap()
    };
    let first = from("192.0.2.1").await;
    // Until the configuration says that the provider vouches for the tenant.
    assert!(people.session(&first).unwrap().is_none());
    people.set_providers([(provider.clone(), town())]);
    assert_eq!(people.session(&first).unwrap().unwrap().id, marie());
    let (by, id_token) = people.vouched_by(&first).await.unwrap().unwrap();
    assert_eq!((by, id_token.unwrap().expose_secret()), (provider.clone(), "the ID token"));
    let elsewhere = async || {
        let rows = rig.index.all_events(0, 100).await.unwrap();
        rows.iter().filter(|row| matches!(row.event.fact, Fact::SignedInElsewhere { .. })).count()
    };
    let second = from("192.0.2.1").await;
    assert!(people.session(&first).unwrap().is_none() && people.session(&second).unwrap().is_some());
    assert_eq!(elsewhere().await, 0);
    let third = from("198.51.100.1").await;
    assert!(people.session(&second).unwrap().is_none() && people.session(&third).unwrap().is_some());
    assert_eq!(elsewhere().await, 1);
    // What is kept of the ID token is of no use without the gateway's key.
    for file in walk(rig.dir.path()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(12).any(|window| window == b"the ID token"), "{}", file.display());
    }
}
