//! How a person signs in: a password (Argon2id, RFC 9106), codes of an authenticator (TOTP, RFC 6238), recovery codes.
//!
//! Invariants: passwords and recovery codes are kept as hashes; the TOTP secret, which has to be kept, is encrypted under a key
//! that is not in the catalogue. A code and a recovery code are taken once.

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Argon2, PasswordHash};
use secrecy::{ExposeSecret, SecretString};
use totp_rs::{Algorithm, Builder, Totp};

use footage::keys::aead::Cipher;
use footage::units::{PersonId, TenantId};

use crate::person::Person;

/// Characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// More would only be work for the hash.
const PASSWORD_CHARS_MAX: usize = 256;
/// Recovery codes of a person.
pub const RECOVERY_CODES: usize = 10;
/// Bytes of a TOTP secret (RFC 4226 §4 recommends 160 bits).
const TOTP_BYTES: usize = 20;
/// Seconds of a code, as every authenticator has it.
const STEP_SECONDS: u64 = 30;

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Too short or too long.
    #[error("the password has from {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")]
    Length,
    /// One of those that are tried first.
    #[error(
        "the password can be guessed: it is a common one, a keyboard row, a date, or made of a name; take several words that \
         have nothing to do with one another"
    )]
    Guessable,
}

/// A password, hashed.
#[derive(Clone, Debug)]
pub struct Hashed(String);

impl Hashed {
    pub(crate) fn from_row(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_row(&self) -> &str {
        &self.0
    }

    /// Hashes a password of this person. Takes 19 MiB of memory and some ten milliseconds.
    ///
    /// # Errors
    /// When it can be guessed.
    pub fn of(password: &SecretString, person: &Person) -> Result<Self, WeakPassword> {
        let text = password.expose_secret();
        if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&text.chars().count()) {
            return Err(WeakPassword::Length);
        }
        let name = person.designation.name.as_str();
        let names: Vec<&str> = name.split_whitespace().collect();
        let known = [&names[..], &[name, person.id.as_str(), person.tenant.as_str(), "vigie"]].concat();
        if zxcvbn::zxcvbn(text, &known).score() < zxcvbn::Score::Three {
            return Err(WeakPassword::Guessable);
        }
        Ok(Self::of_any(text))
    }

    fn of_any(text: &str) -> Self {
        let salt = SaltString::encode_b64(&footage::platform::random::<[u8; 16]>()).expect("16 bytes are a salt");
        let hash = Argon2::default().hash_password(text.as_bytes(), &salt);
        Self(hash.expect("the default parameters are valid").to_string())
    }

    /// Of a password that nobody knows: so that an unknown person costs what a known one costs.
    pub fn of_nobody() -> Self {
        Self::of_any(&format!("{:032x}", footage::platform::random::<u128>()))
    }

    /// Whether this is the password.
    pub fn is(&self, password: &SecretString) -> bool {
        let Ok(hash) = PasswordHash::new(&self.0) else { return false };
        let text = password.expose_secret();
        text.chars().count() <= PASSWORD_CHARS_MAX && Argon2::default().verify_password(text.as_bytes(), &hash).is_ok()
    }
}

/// What an authenticator makes codes of.
pub struct Authenticator(Totp);

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator(..)")
    }
}

impl Authenticator {
    /// A random one for a person.
    pub fn random(tenant: &TenantId, person: &PersonId) -> Self {
        Self::of(footage::platform::random::<[u8; TOTP_BYTES]>(), tenant, person)
    }

    fn of(secret: [u8; TOTP_BYTES], tenant: &TenantId, person: &PersonId) -> Self {
        let account = format!("{person}@{tenant}");
        let builder = Builder::new().with_algorithm(Algorithm::SHA1).with_digits(6).with_step_duration(STEP_SECONDS);
        let builder = builder.with_skew(1).with_secret(secret.to_vec()).with_account_name(account);
        Self(builder.with_issuer(Some("Vigie")).build().expect("20 bytes and two ids are valid"))
    }

    /// Its bytes, encrypted for this person.
    pub(crate) fn encrypted(&self, cipher: &Cipher, tenant: &TenantId, person: &PersonId) -> Vec<u8> {
        let mut out = Vec::new();
        cipher.encrypt(&context(tenant, person), self.0.secret().as_ref(), &mut out);
        out
    }

    /// From its encrypted bytes; `None` where they were encrypted under another key, or for somebody else.
    pub(crate) fn open(cipher: &Cipher, tenant: &TenantId, person: &PersonId, mut bytes: Vec<u8>) -> Option<Self> {
        let secret: [u8; TOTP_BYTES] = (&*cipher.open(&context(tenant, person), &mut bytes).ok()?).try_into().ok()?;
        Some(Self::of(secret, tenant, person))
    }

    /// The time step of a code that is right at this time, half a minute before or after it.
    pub fn step_of(&self, code: &str, at: jiff::Timestamp) -> Option<u64> {
        self.0.check(code, u64::try_from(at.as_second()).ok()?)
    }

    /// For an authenticator: its secret in base 32.
    pub fn base32(&self) -> SecretString {
        self.0.secret().to_base32().into()
    }

    /// For an authenticator's camera: the `otpauth` address.
    pub fn address(&self) -> SecretString {
        self.0.to_url().expect("an account name without a colon").into()
    }

    /// The code of this time: for tests.
    pub fn code(&self, at: jiff::Timestamp) -> String {
        self.0.generate(u64::try_from(at.as_second()).unwrap_or_default()).to_string()
    }
}

fn context(tenant: &TenantId, person: &PersonId) -> Vec<u8> {
    format!("totp of {tenant}/{person}").into_bytes()
}

/// Codes that take the place of an authenticator's once each: what is shown, and the hashes that are kept.
pub(crate) fn recovery_codes() -> (Vec<SecretString>, Vec<String>) {
    let code = || {
        let digits = format!("{:020x}", footage::platform::random::<u128>() >> 48);
        [&digits[..5], &digits[5..10], &digits[10..15], &digits[15..]].join("-")
    };
    let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| code()).collect();
    let hashes = codes.iter().map(|code| recovery_hash(code)).collect();
    (codes.into_iter().map(SecretString::from).collect(), hashes)
}

/// What is kept of a recovery code, however it was typed.
pub(crate) fn recovery_hash(code: &str) -> String {
    let digits: String = code.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase()).collect();
    blake3::hash(digits.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::{Act, Designation, Scope};
    use footage::keys::aead::new_key;
    use jiff::civil::date;

    fn marie() -> Person {
        let act = Act {
            authority: "le maire".to_owned(),
            number: "7".to_owned(),
            date: date(2026, 1, 1),
            until: date(2026, 12, 31),
        };
        let designation =
            Designation { name: "Marie Durand".to_owned(), role: "operator".to_owned(), act, scope: Scope::default() };
        let (since, revoked, grants) = ("2026-01-01T00:00:00Z".parse().unwrap(), None, Vec::new());
        let (tenant, id) = ("town".parse().unwrap(), "marie-durand".parse().unwrap());
        Person { tenant, id, designation, since, revoked, grants }
    }

    #[test]
    fn a_password_is_kept_as_a_hash_that_only_it_matches() {
        let password = SecretString::from("correct-cheval-agrafe-42");
        let hashed = Hashed::of(&password, &marie()).unwrap();
        assert!(hashed.as_row().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed:?}");
        assert!(hashed.is(&password) && !hashed.is(&"correct-cheval-agrafe-43".into()));
        assert_ne!(Hashed::of(&password, &marie()).unwrap().as_row(), hashed.as_row());
        assert!(!Hashed::of_nobody().is(&password));
        assert!(!Hashed::from_row("no hash".to_owned()).is(&password));
    }

    #[test]
    fn passwords_that_are_tried_first_are_refused() {
        let refused = |text: &str| Hashed::of(&text.into(), &marie()).err();
        assert_eq!(refused("x7!Qp2#vLw"), Some(WeakPassword::Length));
        assert_eq!(refused(&"a-long word ".repeat(30)), Some(WeakPassword::Length));
        for guessable in
            ["password1234", "azertyuiop12", "aaaaaaaaaaaa", "Marie Durand", "marie-durand1", "123456789012"]
        {
            assert_eq!(refused(guessable), Some(WeakPassword::Guessable), "{guessable}");
        }
        assert_eq!(refused("tuile brouette 7 nuage"), None);
    }

    #[test]
    fn codes_are_those_of_rfc_6238_and_half_a_minute_off_is_taken() {
        // RFC 6238, appendix B: the secret of 20 bytes, and its last six digits.
        let (tenant, person) = ("town".parse().unwrap(), "marie".parse().unwrap());
        let authenticator = Authenticator::of(*b"12345678901234567890", &tenant, &person);
        let at = |seconds| jiff::Timestamp::from_second(seconds).unwrap();
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            assert_eq!(authenticator.code(at(seconds)), code);
            assert_eq!(authenticator.step_of(code, at(seconds)), Some(seconds as u64 / 30));
            assert_eq!(authenticator.step_of(code, at(seconds + 30)), Some(seconds as u64 / 30));
            assert_eq!(authenticator.step_of(code, at(seconds + 60)), None);
        }
        for bad in ["", "28708", "2870822", "abcdef", "28708é"] {
            assert_eq!(authenticator.step_of(bad, at(59)), None, "{bad}");
        }
        let address = authenticator.address();
        assert!(address.expose_secret().starts_with("otpauth://totp/"), "{}", address.expose_secret());
        assert!(!format!("{authenticator:?}").contains("1234"));
    }

    #[test]
    fn a_secret_opens_under_its_key_and_for_its_person_alone() {
        let (tenant, person): (TenantId, PersonId) = ("town".parse().unwrap(), "marie".parse().unwrap());
        let (cipher, other) = (Cipher::new(&new_key()), Cipher::new(&new_key()));
        let authenticator = Authenticator::random(&tenant, &person);
        let bytes = authenticator.encrypted(&cipher, &tenant, &person);
        let open = |cipher: &Cipher, person: &PersonId| Authenticator::open(cipher, &tenant, person, bytes.clone());
        let at = jiff::Timestamp::from_second(1_000).unwrap();
        assert_eq!(open(&cipher, &person).unwrap().code(at), authenticator.code(at));
        assert!(open(&other, &person).is_none());
        assert!(open(&cipher, &"paul".parse().unwrap()).is_none());
    }

    #[test]
    fn recovery_codes_are_read_however_they_are_typed() {
        let (codes, hashes) = recovery_codes();
        assert_eq!((codes.len(), hashes.len()), (RECOVERY_CODES, RECOVERY_CODES));
        let code = codes[3].expose_secret();
        assert_eq!(code.len(), 23);
        for typed in
            [code.to_owned(), code.to_uppercase(), code.replace('-', ""), format!(" {} ", code.replace('-', " "))]
        {
            assert_eq!(recovery_hash(&typed), hashes[3], "{typed}");
        }
        assert!(hashes.iter().all(|hash| !hash.contains(&code[..5])));
    }
}
