//! What a logout token says (OpenID Connect Back-Channel Logout 1.0 §2.4 to §2.6), and that it is said once.
//!
//! Invariants: a token is taken once. It ends sessions that were begun before it was made, so that one which is presented again after
//! a start of the gateway ends nothing that was begun since.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::Value;

use super::vouch::{Claims, is_sound};
use super::{LEEWAY, OidcError};
use crate::config::OidcProvider;
use footage::units::ProviderId;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// A logout token is in force for so long at most.
const FORCE_MAX: SignedDuration = SignedDuration::from_hours(1);
/// One that does not say how long is in force for as long as the standard advises.
const FORCE_WITHOUT_END: SignedDuration = SignedDuration::from_mins(2);
/// Tokens that are remembered. Only a provider can make more of them.
const SEEN_MAX: usize = 4_096;

/// Whose sessions are over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOut {
    /// Of this subject.
    pub subject: Option<String>,
    /// Of this session of the provider's.
    pub sid: Option<String>,
    /// Those that were begun before.
    pub before: Timestamp,
}

/// What a token says, and what it is remembered by.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) who: SignedOut,
    id: String,
    until: Timestamp,
}

/// What the claims of a logout token say.
pub(super) fn checked(claims: &Claims, config: &OidcProvider, now: Timestamp) -> Result<Checked, OidcError> {
    let bad = |what| OidcError::NotBelieved(what);
    super::provider::is_for_us(claims, config)?;
    let is_event = claims.get("events").and_then(|events| events.get(EVENT)).is_some_and(Value::is_object);
    if !is_event || claims.contains_key("nonce") {
        return Err(bad("a logout token is none"));
    }
    let time = |name: &str| claims.get(name).and_then(Value::as_i64).and_then(|s| Timestamp::from_second(s).ok());
    let made = time("iat").ok_or(bad("a logout token does not say when it was made"))?;
    let over = bad("a logout token is over, or not in force yet");
    // Before anything is added to a time that anybody may have chosen.
    if made.duration_since(now).abs() > FORCE_MAX + LEEWAY || made.duration_since(now) > LEEWAY {
        return Err(over);
    }
    let until = match claims.contains_key("exp") {
        true => time("exp").ok_or(bad("a logout token does not say until when it is in force"))?,
        false => made + FORCE_WITHOUT_END,
    };
    if until.duration_since(made) > FORCE_MAX || now.duration_since(until) >= LEEWAY {
        return Err(over);
    }
    let of = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if is_sound(text) => Ok(Some(text.clone())),
        Some(_) => Err(OidcError::NotBelieved("a logout token has an endless name")),
    };
    let id = of("jti")?.ok_or(bad("a logout token has no id"))?;
    let (subject, sid) = (of("sub")?, of("sid")?);
    if subject.is_none() && sid.is_none() {
        return Err(bad("a logout token names nobody"));
    }
    Ok(Checked { who: SignedOut { subject, sid, before: made + LEEWAY }, id, until: until + LEEWAY })
}

/// Tokens that were taken, until they are over.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashMap<blake3::Hash, Timestamp>>);

impl Seen {
    /// Takes this token, which nobody has taken before.
    pub(super) fn once(&self, provider: &ProviderId, token: &Checked, now: Timestamp) -> Result<(), OidcError> {
        let mut seen = self.0.lock();
        seen.retain(|_, until| now < *until);
        let id = blake3::hash(format!("{provider} {}", token.id).as_bytes());
        if seen.contains_key(&id) {
            return Err(OidcError::NotBelieved("a logout token was presented before"));
        }
        if seen.len() >= SEEN_MAX {
            return Err(OidcError::Busy);
        }
        seen.insert(id, token.until);
        Ok(())
    }
}
