//! The file: what is kept, what a crash or a copy leaves.

use super::*;
use crate::person::{Act, Scope};
use jiff::civil::date;
use secrecy::ExposeSecret;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn town() -> TenantId {
    "town".parse().unwrap()
}

fn marie() -> PersonId {
    "marie-durand".parse().unwrap()
}

fn designation(role: &str) -> Designation {
    let act = Act {
        authority: "le maire".to_owned(),
        number: "2026-117".to_owned(),
        date: date(2026, 3, 1),
        until: date(2029, 2, 28),
    };
    let cameras = Some(["gate".parse().unwrap()].into());
    let scope =
        Scope { cameras, hours: Some("20:00-06:00".parse().unwrap()), back_hours: Some(48), ..Scope::default() };
    Designation { name: "Marie Durand".to_owned(), role: role.to_owned(), act, scope }
}

fn grant() -> Grant {
    Grant {
        id: GrantId(0),
        cameras: ["gate".parse().unwrap(), "square".parse().unwrap()].into(),
        from: at("2026-03-01T09:00:00Z"),
        to: at("2026-03-01T10:00:00Z"),
        reference: "PV 117".to_owned(),
        reason: "theft".to_owned(),
        until: at("2026-04-01T00:00:00Z"),
        given: at("2026-03-02T00:00:00Z"),
        revoked: None,
    }
}

fn make(catalogue: &Catalogue, made: &str, until: &str) -> Result<Secret, CatalogueError> {
    let secret = Secret::random();
    catalogue.put_token((&town(), &marie()), "night desk", &secret, at(made), at(until)).map(|()| secret)
}

const NOW: &str = "2026-03-02T00:00:00Z";

fn open() -> (tempfile::TempDir, Catalogue) {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(&dir.path().join("catalogue.sqlite")).unwrap();
    (dir, catalogue)
}

#[test]
fn what_was_written_is_read_back_after_opening_again() {
    let (dir, catalogue) = open();
    catalogue.designate(&town(), &marie(), &designation("operator"), at(NOW)).unwrap();
    let id = catalogue.give(&town(), &marie(), &grant()).unwrap();
    let secret = make(&catalogue, NOW, "2027-01-01T00:00:00Z").unwrap();
    catalogue.used(secret.id(), at("2026-03-03T00:00:00Z")).unwrap();
    let mark = catalogue.mark().unwrap();
    drop(catalogue);
    let catalogue = Catalogue::open(&dir.path().join("catalogue.sqlite")).unwrap();
    assert_eq!(catalogue.mark().unwrap(), mark);
    let tables = catalogue.tables().unwrap();
    let person = tables.person(&town(), &marie()).unwrap();
    assert_eq!(person.designation, designation("operator"));
    assert_eq!(person.grants, [Grant { id, ..grant() }]);
    let (holder, token) = tables.holder(&town(), &secret, at(NOW)).unwrap();
    assert_eq!(
        (&holder.id, token.label.as_str(), token.used),
        (&marie(), "night desk", Some(at("2026-03-03T00:00:00Z")))
    );
}

#[test]
fn a_token_opens_its_own_tenant_while_it_is_in_force() {
    let (_dir, catalogue) = open();
    let other: TenantId = "other".parse().unwrap();
    for tenant in [&town(), &other] {
        catalogue.designate(tenant, &marie(), &designation("operator"), at(NOW)).unwrap();
    }
    let secret = make(&catalogue, NOW, "2027-01-01T00:00:00Z").unwrap();
    let opens = |tenant: &TenantId, secret: &Secret, when: &str| {
        catalogue.tables().unwrap().holder(tenant, secret, at(when)).is_some()
    };
    assert!(opens(&town(), &secret, NOW));
    assert!(!opens(&other, &secret, NOW), "the same person in another tenant has tokens of their own");
    assert!(!opens(&town(), &secret, "2027-01-01T00:00:00Z"));
    let text = secret.text().expose_secret();
    let last = if text.ends_with('0') { '1' } else { '0' };
    let forged = Secret::parse(&format!("{}{last}", &text[..text.len() - 1])).unwrap();
    assert!(!opens(&town(), &forged, NOW));
    assert!(!opens(&town(), &Secret::random(), NOW));
    let pair = (&other, &marie());
    assert!(catalogue.revoke_token(pair, secret.id(), at(NOW)).is_err(), "another tenant cannot revoke it");
    assert!(opens(&town(), &secret, NOW));
    catalogue.revoke_token((&town(), &marie()), secret.id(), at(NOW)).unwrap();
    assert!(!opens(&town(), &secret, NOW));
    assert!(catalogue.revoke_token((&town(), &marie()), secret.id(), at(NOW)).is_err());
}

#[test]
fn who_is_designated_again_has_none_of_the_tokens_and_grants_of_before() {
    let (_dir, catalogue) = open();
    catalogue.designate(&town(), &marie(), &designation("operator"), at(NOW)).unwrap();
    let secret = make(&catalogue, NOW, "2027-01-01T00:00:00Z").unwrap();
    catalogue.give(&town(), &marie(), &grant()).unwrap();
    catalogue.revoke(&town(), &marie(), at("2026-03-03T00:00:00Z")).unwrap();
    assert!(matches!(catalogue.revoke(&town(), &marie(), at(NOW)), Err(CatalogueError::NoPerson(_))));
    assert!(make(&catalogue, NOW, "2027-01-01T00:00:00Z").is_err());
    assert!(catalogue.give(&town(), &marie(), &grant()).is_err());
    catalogue.designate(&town(), &marie(), &designation("supervisor"), at("2026-03-04T00:00:00Z")).unwrap();
    let tables = catalogue.tables().unwrap();
    let person = tables.person(&town(), &marie()).unwrap();
    assert_eq!((person.revoked, person.designation.role.as_str()), (None, "supervisor"));
    assert_eq!(person.since, at(NOW), "since the first time");
    assert!(!person.grants[0].is_in_force(at("2026-03-05T00:00:00Z")));
    assert!(tables.holder(&town(), &secret, at("2026-03-05T00:00:00Z")).is_none());
}

#[test]
fn each_change_raises_the_generation_and_a_refusal_or_a_use_does_not() {
    let (_dir, catalogue) = open();
    let generation = || catalogue.mark().unwrap().generation;
    assert_eq!(generation(), 0);
    assert!(catalogue.revoke(&town(), &marie(), at(NOW)).is_err());
    assert_eq!(generation(), 0);
    catalogue.designate(&town(), &marie(), &designation("operator"), at(NOW)).unwrap();
    let secret = make(&catalogue, NOW, "2027-01-01T00:00:00Z").unwrap();
    assert_eq!(generation(), 2);
    catalogue.used(secret.id(), at(NOW)).unwrap();
    assert_eq!(generation(), 2);
}

#[test]
fn a_mark_shows_an_older_copy_and_another_catalogue() {
    let (_dir, catalogue) = open();
    let before = catalogue.mark().unwrap();
    catalogue.designate(&town(), &marie(), &designation("operator"), at(NOW)).unwrap();
    let after = catalogue.mark().unwrap();
    assert!(after.follows(&before) && after.follows(&after) && !before.follows(&after));
    assert!(!open().1.mark().unwrap().follows(&before));
    assert_eq!(Mark::decode(&after.encode()), Some(after));
    assert_eq!(Mark::decode(b"short"), None);
}

#[test]
fn tokens_and_grants_are_bounded_and_those_that_are_over_do_not_count() {
    let (_dir, catalogue) = open();
    catalogue.designate(&town(), &marie(), &designation("operator"), at(NOW)).unwrap();
    for _ in 0..TOKENS_MAX {
        make(&catalogue, NOW, "2026-06-01T00:00:00Z").unwrap();
    }
    assert!(matches!(
        make(&catalogue, NOW, "2026-06-01T00:00:00Z"),
        Err(CatalogueError::TooMany { max: TOKENS_MAX, .. })
    ));
    make(&catalogue, "2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z").unwrap();
    for _ in 0..GRANTS_MAX {
        catalogue.give(&town(), &marie(), &grant()).unwrap();
    }
    assert!(catalogue.give(&town(), &marie(), &grant()).is_err());
}

#[test]
fn what_is_over_is_forgotten_and_what_is_in_force_stays() {
    let (_dir, catalogue) = open();
    let paul: PersonId = "paul".parse().unwrap();
    for person in [&marie(), &paul] {
        catalogue.designate(&town(), person, &designation("operator"), at(NOW)).unwrap();
        let until = at("2027-01-01T00:00:00Z");
        catalogue.put_token((&town(), person), "x", &Secret::random(), at(NOW), until).unwrap();
        catalogue.give(&town(), person, &grant()).unwrap();
    }
    catalogue.revoke(&town(), &paul, at("2026-03-10T00:00:00Z")).unwrap();
    assert!(!catalogue.tables().unwrap().has_over(at("2026-03-10T00:00:00Z")));
    assert_eq!(catalogue.forget(at("2026-03-10T00:00:00Z")).unwrap(), 0);
    assert!(catalogue.tables().unwrap().has_over(at("2026-03-10T00:00:01Z")));
    assert_eq!(catalogue.forget(at("2026-03-10T00:00:01Z")).unwrap(), 3);
    let tables = catalogue.tables().unwrap();
    assert!(tables.person(&town(), &paul).is_none());
    assert_eq!(tables.tokens(tables.person(&town(), &marie()).unwrap()).len(), 1);
    // The grant is over in April, the token at the new year.
    assert_eq!(catalogue.forget(at("2026-05-01T00:00:00Z")).unwrap(), 1);
}

#[test]
fn a_file_that_is_none_of_ours_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalogue.sqlite");
    std::fs::write(&path, b"not a database, and longer than a header of a hundred bytes".repeat(40)).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Catalogue::open(&path), Err(CatalogueError::Corrupt { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x); PRAGMA application_id = 7").unwrap();
    drop(other);
    assert!(matches!(Catalogue::open(&path), Err(CatalogueError::Corrupt { .. })));
}

#[test]
fn a_row_that_cannot_be_read_is_damage_and_lets_nobody_in() {
    for damage in [
        "UPDATE person SET scope = '{}'",
        "UPDATE person SET act_until = 'for ever'",
        "UPDATE person SET person = 'Marie Durand'",
        "UPDATE token SET hash = x'00'",
        "UPDATE token SET until = 9223372036854775807",
        "DELETE FROM mark",
    ] {
        let (dir, catalogue) = open();
        catalogue.designate(&town(), &marie(), &designation("operator"), at(NOW)).unwrap();
        make(&catalogue, NOW, "2027-01-01T00:00:00Z").unwrap();
        let path = dir.path().join("catalogue.sqlite");
        let db = Connection::open(&path).unwrap();
        db.pragma_update(None, "foreign_keys", false).unwrap();
        db.execute_batch(damage).unwrap();
        let found = catalogue.tables().map(drop).and(catalogue.mark().map(drop));
        assert!(matches!(found, Err(CatalogueError::Corrupt { .. })), "{damage}: {found:?}");
    }
}

#[test]
fn a_file_of_a_newer_vigie_is_refused() {
    let (dir, catalogue) = open();
    drop(catalogue);
    let path = dir.path().join("catalogue.sqlite");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Catalogue::open(&path), Err(CatalogueError::Newer { found: 99, .. })));
}
