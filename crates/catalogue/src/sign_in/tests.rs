use super::*;
use crate::person::{Act, Designation, Scope};
use footage::keys::aead::new_key;
use jiff::civil::date;

struct Rig {
    _dir: tempfile::TempDir,
    catalogue: Catalogue,
    cipher: Cipher,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_775_000_000 + seconds).unwrap()
}

fn who() -> (TenantId, PersonId) {
    ("town".parse().unwrap(), "marie".parse().unwrap())
}

const PASSWORD: &str = "tuile brouette 7 nuage";

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&dir.path().join("catalogue.sqlite")).unwrap();
        let act = Act {
            authority: "le maire".to_owned(),
            number: "7".to_owned(),
            date: date(2026, 1, 1),
            until: date(2026, 12, 31),
        };
        let (name, role, scope) = ("Marie Durand".to_owned(), "operator".to_owned(), Scope::default());
        let designation = Designation { name, role, act, scope };
        let (tenant, person) = who();
        catalogue.designate(&tenant, &person, &designation, at(0)).unwrap();
        Self { _dir: dir, catalogue, cipher: Cipher::new(&new_key()) }
    }

    fn person(&self) -> Arc<Person> {
        let (tenant, person) = who();
        self.catalogue.tables().unwrap().person(&tenant, &person).unwrap().clone()
    }

    fn invite(&self) -> SessionSecret {
        let ((tenant, person), secret) = (who(), SessionSecret::random());
        self.catalogue.invite((&tenant, &person), &secret, &self.cipher, at(3_600)).unwrap();
        secret
    }

    fn enrol(&self, secret: &SessionSecret, seconds: i64) -> Option<Vec<SecretString>> {
        let (tenant, person) = who();
        let hashed = Hashed::of(&PASSWORD.into(), &self.person()).unwrap();
        self.catalogue.enrol((&tenant, &person), secret, (&hashed, 100), at(seconds)).unwrap()
    }

    fn credential(&self) -> Option<Credential> {
        let (tenant, person) = who();
        self.catalogue.credential((&tenant, &person), &self.cipher).unwrap()
    }

    /// The secret of a session that began, and how many it ended.
    fn begin(&self, proof: &Proof) -> Option<(SessionSecret, usize)> {
        let ((tenant, person), secret) = (who(), SessionSecret::random());
        let (hash, address) = (secret.hash(), Some("192.0.2.7".parse().unwrap()));
        let session = Session { hash, tenant, person, address, made: at(0), seen: at(0), until: at(100), by: None };
        let ended = self.catalogue.begin_session(&session, proof).unwrap()?;
        Some((secret, ended.len()))
    }

    fn is_signed_in(&self, secret: &SessionSecret, seconds: i64) -> bool {
        self.catalogue.tables().unwrap().session(secret, at(seconds)).is_some()
    }
}

#[test]
fn an_invitation_is_used_once_in_its_time_and_by_who_has_it() {
    let rig = Rig::new();
    let (tenant, person) = who();
    let secret = rig.invite();
    assert!(rig.credential().is_none());
    let shown = |secret: &SessionSecret, seconds| {
        rig.catalogue.invited((&tenant, &person), secret, &rig.cipher, at(seconds)).unwrap()
    };
    let authenticator = shown(&secret, 0).unwrap();
    assert!(shown(&SessionSecret::random(), 0).is_none() && shown(&secret, 3_600).is_none());
    assert!(rig.enrol(&SessionSecret::random(), 0).is_none() && rig.enrol(&secret, 3_600).is_none());
    assert_eq!(rig.enrol(&secret, 3_599).unwrap().len(), crate::RECOVERY_CODES);
    assert!(rig.enrol(&secret, 3_599).is_none() && shown(&secret, 0).is_none());
    let credential = rig.credential().unwrap();
    assert!(credential.password.is(&PASSWORD.into()));
    assert_eq!(credential.authenticator.unwrap().code(at(0)), authenticator.code(at(0)));
    let other = Cipher::new(&new_key());
    let under_another = rig.catalogue.credential((&tenant, &person), &other).unwrap().unwrap();
    assert!(under_another.authenticator.is_none());
}

#[test]
fn a_second_invitation_takes_the_place_of_the_first_and_of_the_credential() {
    let rig = Rig::new();
    let (first, second) = (rig.invite(), rig.invite());
    assert!(rig.enrol(&first, 0).is_none());
    rig.enrol(&second, 0).unwrap();
    let (session, _) = rig.begin(&Proof::Step(101)).unwrap();
    assert!(rig.is_signed_in(&session, 0));
    rig.invite();
    assert!(rig.credential().is_none() && !rig.is_signed_in(&session, 0));
}

#[test]
fn a_code_and_a_recovery_code_are_taken_once_and_no_older_code_is() {
    let rig = Rig::new();
    let codes = rig.enrol(&rig.invite(), 0).unwrap();
    assert!(rig.begin(&Proof::Step(100)).is_none(), "the code of the enrolment was used there");
    assert!(rig.begin(&Proof::Step(101)).is_some());
    assert!(rig.begin(&Proof::Step(101)).is_none() && rig.begin(&Proof::Step(99)).is_none());
    let recovery = Proof::Recovery(codes[0].expose_secret().to_uppercase());
    assert!(rig.begin(&recovery).is_some());
    assert!(rig.begin(&recovery).is_none());
    assert!(rig.begin(&Proof::Recovery("00000-00000-00000-00000".to_owned())).is_none());
    assert!(rig.begin(&Proof::Recovery(codes[1].expose_secret().to_owned())).is_some());
}

#[test]
fn a_person_has_one_session_which_ends_by_itself_by_sign_out_and_by_revocation() {
    let rig = Rig::new();
    rig.enrol(&rig.invite(), 0).unwrap();
    let (first, ended) = rig.begin(&Proof::Step(101)).unwrap();
    assert_eq!(ended, 0);
    let (second, ended) = rig.begin(&Proof::Step(102)).unwrap();
    assert_eq!(ended, 1);
    assert!(!rig.is_signed_in(&first, 0) && rig.is_signed_in(&second, 99));
    assert!(!rig.is_signed_in(&second, 100), "its end at the latest");
    assert!(!rig.is_signed_in(&SessionSecret::random(), 0));
    rig.catalogue.end_session(&second.hash()).unwrap();
    assert!(!rig.is_signed_in(&second, 0));
    let (third, _) = rig.begin(&Proof::Step(103)).unwrap();
    let (tenant, person) = who();
    rig.catalogue.revoke(&tenant, &person, at(1)).unwrap();
    assert!(!rig.is_signed_in(&third, 2) && rig.credential().is_none());
    assert!(rig.begin(&Proof::Step(104)).is_none());
}

#[test]
fn a_cookie_s_text_reads_back_and_nothing_else_does() {
    let secret = SessionSecret::random();
    let text = secret.text().expose_secret().to_owned();
    assert_eq!(SessionSecret::parse(&text).unwrap().hash(), secret.hash());
    for bad in ["", &text[1..], &text.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A"), &format!("{text}0")] {
        assert!(SessionSecret::parse(bad).is_none(), "{bad}");
    }
    assert_eq!(format!("{secret:?}"), "SessionSecret(..)");
}
