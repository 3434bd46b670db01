//! Tokens: what a person's program or browser presents.
//!
//! Invariant: the text exists once, in the answer to who had it made; what is kept is its hash. It holds 160 random
//! bits, so that a plain hash is enough: there is nothing to guess.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use footage::units::{PersonId, TenantId};

/// Begins each token, so that one that leaked is found by those who look for such.
const PREFIX: &str = "vigie_";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 40;

/// The id of a token: no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(u64);

impl TokenId {
    pub(crate) fn from_row(number: i64) -> Self {
        Self(number.cast_unsigned())
    }

    pub(crate) fn to_row(self) -> i64 {
        self.0.cast_signed()
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// This is no id of a token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the id of a token is 16 hexadecimal digits")]
pub struct BadTokenId;

impl FromStr for TokenId {
    type Err = BadTokenId;

    fn from_str(text: &str) -> Result<Self, BadTokenId> {
        hex(text, ID_DIGITS).then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(BadTokenId)
    }
}

fn hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A token's text, `vigie_<id>_<secret>`.
#[derive(Debug)]
pub struct Secret {
    id: TokenId,
    text: SecretString,
}

impl Secret {
    /// A random one.
    pub fn random() -> Self {
        let (id, secret): (u64, [u8; SECRET_DIGITS / 2]) = (footage::platform::random(), footage::platform::random());
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = TokenId(id);
        Self { id, text: format!("{PREFIX}{id}_{secret}").into() }
    }

    /// From what was presented; `None` where it is no token at all.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let id = id.parse().ok()?;
        hex(secret, SECRET_DIGITS).then(|| Self { id, text: text.into() })
    }

    /// Which it is.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// What is kept of it. Compared in constant time.
    pub fn hash(&self) -> blake3::Hash {
        blake3::hash(self.text.expose_secret().as_bytes())
    }

    /// To be shown, once.
    pub fn text(&self) -> &SecretString {
        &self.text
    }
}

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Whose person's.
    pub tenant: TenantId,
    /// Whose.
    pub person: PersonId,
    /// For people: which program or machine has it.
    pub label: String,
    pub(crate) hash: blake3::Hash,
    /// When it was made.
    pub made: Timestamp,
    /// In force until then.
    pub until: Timestamp,
    /// When it was last used, to the hour.
    pub used: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

impl Token {
    /// Whether it is in force.
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        self.revoked.is_none() && at < self.until
    }

    /// Whether this is it.
    pub fn is(&self, secret: &Secret) -> bool {
        self.hash == secret.hash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_its_debug_shows_nothing_of_it() {
        let secret = Secret::random();
        let text = secret.text().expose_secret().to_owned();
        let read = Secret::parse(&text).unwrap();
        assert_eq!((read.id(), read.hash()), (secret.id(), secret.hash()));
        assert!(!format!("{secret:?}").contains(&text[PREFIX.len() + ID_DIGITS + 1..]));
        assert_eq!(secret.id().to_string().parse(), Ok(secret.id()));
        assert_eq!(TokenId::from_row(secret.id().to_row()), secret.id());
        assert_ne!(Secret::random().hash(), secret.hash());
    }

    #[test]
    fn what_is_no_token_is_none() {
        let good = Secret::random().text().expose_secret().to_owned();
        let one_less = &good[..good.len() - 1];
        for bad in
            ["", "vigie_", "vigie__", one_less, &good.to_uppercase(), &format!("{good}0"), &good.replace('_', "-"), " "]
        {
            assert!(Secret::parse(bad).is_none(), "{bad}");
        }
        assert_eq!("+123456789012345".parse::<TokenId>(), Err(BadTokenId));
    }
}
