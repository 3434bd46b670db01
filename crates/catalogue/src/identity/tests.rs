use super::*;
use crate::person::{Act, Designation, Scope};
use crate::sign_in::{By, Proof, Session, SessionSecret};
use jiff::civil::date;

struct Rig {
    dir: tempfile::TempDir,
    catalogue: Catalogue,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_775_000_000 + seconds).unwrap()
}

fn town() -> TenantId {
    "town".parse().unwrap()
}

fn id(text: &str) -> PersonId {
    text.parse().unwrap()
}

fn provider() -> ProviderId {
    "directory".parse().unwrap()
}

fn account(subject: &str, email: Option<&str>) -> Account {
    let (issuer, subject) = ("https://id.example".to_owned(), subject.to_owned());
    Account { provider: provider(), issuer, subject, email: email.map(str::to_owned) }
}

fn email(text: &str) -> Named {
    Named::Email(text.to_owned())
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&dir.path().join("catalogue.sqlite")).unwrap();
        let rig = Self { dir, catalogue };
        rig.designate("marie");
        rig.designate("paul");
        rig
    }

    fn designate(&self, person: &str) {
        let act = Act {
            authority: "le maire".to_owned(),
            number: "7".to_owned(),
            date: date(2026, 1, 1),
            until: date(2026, 12, 31),
        };
        let (name, role, scope) = (person.to_owned(), "operator".to_owned(), Scope::default());
        self.catalogue.designate(&town(), &id(person), &Designation { name, role, act, scope }, at(0)).unwrap();
    }

    fn identify(&self, person: &str, named: &Named) -> Result<(), CatalogueError> {
        self.catalogue.identify((&town(), &id(person)), &provider(), named, at(1))
    }

    fn identified(&self, account: &Account) -> Vec<String> {
        let tables = self.catalogue.tables().unwrap();
        tables.identified(account).map(|person| person.id.to_string()).collect()
    }

    /// The secret of a session that begins.
    fn begin(&self, person: &str, account: &Account) -> Option<SessionSecret> {
        let secret = SessionSecret::random();
        let by =
            By { provider: provider(), subject: account.subject.clone(), sid: Some(format!("of {}", account.subject)) };
        let session = Session {
            hash: secret.hash(),
            tenant: town(),
            person: id(person),
            address: None,
            made: at(2),
            seen: at(2),
            until: at(100),
            by: Some(by),
        };
        let proof = Proof::Account(account.clone(), Some(b"encrypted".to_vec()));
        self.catalogue.begin_session(&session, &proof).unwrap().map(|_| secret)
    }

    fn is_signed_in(&self, secret: &SessionSecret) -> bool {
        self.catalogue.tables().unwrap().session(secret, at(3)).is_some()
    }
}

#[test]
fn an_address_names_an_account_until_its_subject_is_bound_and_no_other_subject_gets_in_by_it() {
    let rig = Rig::new();
    rig.identify("marie", &email("Marie@Town.example")).unwrap();
    let (first, later) = (account("1", Some("marie@town.example")), account("2", Some("marie@town.example")));
    assert_eq!(rig.identified(&account("1", None)), [""; 0], "an address that is not vouched for");
    assert_eq!(rig.identified(&first), ["marie"]);
    assert!(rig.begin("paul", &first).is_none(), "it is not his");
    let session = rig.begin("marie", &first).unwrap();
    assert!(rig.is_signed_in(&session));
    assert_eq!(rig.identified(&later), [""; 0]);
    assert!(rig.begin("marie", &later).is_none());
    assert_eq!(rig.identified(&account("1", None)), ["marie"], "whatever the address is now");
    let elsewhere = Account { issuer: "https://other.example".to_owned(), ..account("1", None) };
    assert_eq!(rig.identified(&elsewhere), [""; 0]);
    assert!(rig.begin("marie", &elsewhere).is_none());
    let tables = rig.catalogue.tables().unwrap();
    let person = tables.person(&town(), &id("marie")).unwrap();
    let identity = tables.identities(person).next().unwrap();
    assert_eq!((identity.subject.as_deref(), identity.bound), (Some("1"), Some(at(2))));
}

#[test]
fn an_account_is_one_persons_of_a_tenant() {
    let rig = Rig::new();
    rig.identify("marie", &email("a@town.example")).unwrap();
    assert!(
        matches!(rig.identify("paul", &email("A@town.example")), Err(CatalogueError::Taken(who)) if who == id("marie"))
    );
    rig.identify("paul", &email("b@town.example")).unwrap();
    rig.begin("marie", &account("1", Some("a@town.example"))).unwrap();
    let taken = rig.identify("paul", &Named::Subject("1".to_owned()));
    assert!(matches!(taken, Err(CatalogueError::Taken(_))));
    // Her account has his address now: it is hers still, and his by nobody's word but the provider's, which is not enough.
    let both = account("1", Some("b@town.example"));
    assert!(rig.begin("paul", &both).is_none());
    assert!(rig.begin("marie", &both).is_some());
    assert!(matches!(rig.identify("nobody", &email("c@town.example")), Err(CatalogueError::NoPerson(_))));
}

#[test]
fn another_account_its_removal_and_a_revocation_end_the_sessions_it_began() {
    let rig = Rig::new();
    let (marie, one) = ((&town(), &id("marie")), account("1", None));
    rig.identify("marie", &Named::Subject("1".to_owned())).unwrap();
    let session = rig.begin("marie", &one).unwrap();
    assert_eq!(rig.catalogue.id_token(&session.hash()).unwrap().unwrap(), b"encrypted");
    rig.identify("marie", &Named::Subject("2".to_owned())).unwrap();
    assert!(!rig.is_signed_in(&session) && rig.begin("marie", &one).is_none());
    let session = rig.begin("marie", &account("2", None)).unwrap();
    rig.catalogue.unidentify(marie, &provider()).unwrap();
    assert!(!rig.is_signed_in(&session));
    assert!(matches!(rig.catalogue.unidentify(marie, &provider()), Err(CatalogueError::NotInForce(_))));
    rig.identify("marie", &Named::Subject("3".to_owned())).unwrap();
    let session = rig.begin("marie", &account("3", None)).unwrap();
    rig.catalogue.revoke(marie.0, marie.1, at(3)).unwrap();
    assert!(!rig.is_signed_in(&session));
    rig.designate("marie");
    assert_eq!(rig.identified(&account("3", None)), [""; 0], "designated again, she has none of before");
}

#[test]
fn sessions_are_found_by_what_a_provider_says_of_them() {
    let rig = Rig::new();
    for (person, subject) in [("marie", "1"), ("paul", "2")] {
        rig.identify(person, &Named::Subject(subject.to_owned())).unwrap();
        rig.begin(person, &account(subject, None)).unwrap();
    }
    let tables = rig.catalogue.tables().unwrap();
    let found = |provider: &str, subject, sid| {
        let found = tables.sessions_by(&provider.parse().unwrap(), subject, sid);
        found.iter().map(|session| session.person.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found("directory", Some("1"), None), ["marie"]);
    assert_eq!(found("directory", None, Some("of 2")), ["paul"]);
    assert_eq!(found("directory", Some("1"), Some("of 1")), ["marie"]);
    for (provider, subject, sid) in
        [("directory", Some("1"), Some("of 2")), ("directory", None, None), ("other", Some("1"), None)]
    {
        assert_eq!(found(provider, subject, sid), [""; 0], "{provider} {subject:?} {sid:?}");
    }
}

#[test]
fn a_catalogue_of_before_is_taken_over_with_its_sessions() {
    let rig = Rig::new();
    let path = rig.dir.path().join("before.sqlite");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(include_str!("../schema.sql")).unwrap();
    let secret = SessionSecret::random();
    db.execute_batch(
        r#"PRAGMA user_version = 1;
        INSERT INTO person VALUES ('town', 'marie', 'Marie', 'operator', 'le maire', '7', '2026-01-01', '2026-12-31',
            '{"live": true, "recorded": true}', 0, NULL);"#,
    )
    .unwrap();
    let hash = secret.hash();
    let row = params![hash.as_bytes(), at(1).as_millisecond(), at(50).as_millisecond()];
    db.execute("INSERT INTO session VALUES (?1, 'town', 'marie', NULL, ?2, ?2, ?3)", row).unwrap();
    drop(db);
    let catalogue = Catalogue::open(&path).unwrap();
    let tables = catalogue.tables().unwrap();
    let (person, session) = tables.session(&secret, at(2)).unwrap();
    assert_eq!((person.id.as_str(), &session.by), ("marie", &None));
    catalogue.identify((&town(), &id("marie")), &provider(), &email("m@town.example"), at(2)).unwrap();
}
