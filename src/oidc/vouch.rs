//! What a provider vouches for, from its claims.
//!
//! Invariant: claims narrow, and never give: they say for which tenants an account may be somebody's, and have to agree with the
//! role and the act that the designation has, where the configuration compares these.

use catalogue::{Account, Person};
use serde_json::Value;

use super::OidcError;
use crate::config::OidcProvider;
use footage::units::TenantId;

/// Claims, by their names.
pub(super) type Claims = serde_json::Map<String, Value>;

/// Longest subject (OpenID Connect Core 1.0 §2), and longest session id that is taken.
pub(super) const TEXT_BYTES_MAX: usize = 255;
/// Longest e-mail address (RFC 5321 §4.5.3.1).
const EMAIL_BYTES_MAX: usize = 254;

/// What claims say of a designation, where that is compared.
#[derive(Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The roles that the provider lists; `None`: it is not asked.
    roles: Option<Vec<String>>,
    /// The number of the act; `None`: it is not asked.
    act: Option<Option<String>>,
}

impl Agreement {
    pub(super) fn of(claims: &Claims, config: &OidcProvider) -> Self {
        let roles = config.role_claim.as_ref().map(|claim| {
            let listed = config.roles.iter().filter(|(value, _)| has(claims, claim, value));
            listed.map(|(_, role)| role.clone()).collect()
        });
        let act = config.act_claim.as_ref().map(|claim| text(claims.get(claim)?));
        let act = config.act_claim.as_ref().map(|_| act.flatten());
        Self { roles, act }
    }

    /// Whether the person's designation agrees.
    pub fn agrees(&self, person: &Person) -> bool {
        let designation = &person.designation;
        self.roles.as_ref().is_none_or(|roles| roles.contains(&designation.role))
            && self.act.as_ref().is_none_or(|act| act.as_ref() == Some(&designation.act.number))
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether the claim is this value, or lists it.
fn has(claims: &Claims, claim: &str, value: &str) -> bool {
    let is = |found: &Value| text(found).is_some_and(|text| text == value);
    match claims.get(claim) {
        Some(Value::Array(listed)) => listed.iter().any(is),
        Some(found) => is(found),
        None => false,
    }
}

/// The tenants that the claims speak for.
pub(super) fn tenants(claims: &Claims, config: &OidcProvider) -> Vec<TenantId> {
    let speaks = |claim: &Option<(String, String)>| claim.as_ref().is_none_or(|(claim, of)| has(claims, claim, of));
    config.tenants.iter().filter(|of| speaks(&of.claim)).map(|of| of.id.clone()).collect()
}

/// Whose account it is.
pub(super) fn account(claims: &Claims, config: &OidcProvider) -> Result<Account, OidcError> {
    let subject = claims.get("sub").and_then(Value::as_str).filter(|text| is_sound(text));
    let subject = subject.ok_or(OidcError::NotBelieved("there is no subject, or an endless one"))?;
    let email = claims.get("email").and_then(Value::as_str).filter(|text| is_sound(text));
    let email = email.filter(|text| text.len() <= EMAIL_BYTES_MAX && text.contains('@'));
    let is_verified = match claims.get("email_verified") {
        Some(Value::Bool(is_verified)) => *is_verified,
        // Some providers write it as a text.
        Some(Value::String(text)) => text == "true",
        Some(_) => false,
        None => config.email_trusted,
    };
    Ok(Account {
        provider: config.id.clone(),
        issuer: config.issuer.clone(),
        subject: subject.to_owned(),
        email: email.filter(|_| is_verified).map(str::to_ascii_lowercase),
    })
}

/// Of a bounded length, and on one line.
pub(super) fn is_sound(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}
