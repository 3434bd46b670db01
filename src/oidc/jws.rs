//! Signed tokens that are no ID tokens: user info and logout tokens (JWS compact serialization, RFC 7515 §7.1).
//!
//! Invariant: claims come out only of a token that a key of the provider has signed, by an algorithm that was agreed on: never
//! `none`, never one with a shared secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use openidconnect::core::{CoreJsonWebKey, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKey, JsonWebKeyAlgorithm, JsonWebKeyId, JsonWebKeySet, JwsSigningAlgorithm};
use serde::Deserialize;

use super::OidcError;
use super::vouch::Claims;

/// Why there are no claims.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unverified {
    /// No key of the provider has signed it, as far as they are known.
    Signature,
    /// It is no such token.
    Malformed(&'static str),
}

impl From<Unverified> for OidcError {
    fn from(error: Unverified) -> Self {
        match error {
            Unverified::Signature => Self::NotBelieved("a signature is wrong"),
            Unverified::Malformed(what) => Self::NotBelieved(what),
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: CoreJwsSigningAlgorithm,
    kid: Option<JsonWebKeyId>,
    typ: Option<String>,
    crit: Option<serde_json::Value>,
}

/// The claims of a token. `types`: what its header may say that it is, if it says so (RFC 8725 §3.11).
pub(super) fn verified(
    token: &str,
    keys: &JsonWebKeySet<CoreJsonWebKey>,
    allowed: &[CoreJwsSigningAlgorithm],
    types: &[&str],
) -> Result<Claims, Unverified> {
    let malformed = |what| Unverified::Malformed(what);
    let (signed, signature) = token.rsplit_once('.').ok_or(malformed("a token has no signature"))?;
    let (header, payload) = signed.split_once('.').ok_or(malformed("a token has no header"))?;
    let decoded = |part: &str| BASE64.decode(part).map_err(|_| malformed("a token is no base64url"));
    let header: Header = serde_json::from_slice(&decoded(header)?)
        .map_err(|_| malformed("the header of a token is none, or its algorithm unknown"))?;
    if !allowed.contains(&header.alg) || header.alg.uses_shared_secret() || header.crit.is_some() {
        return Err(malformed("a token is signed by an algorithm that is not allowed"));
    }
    let is_type = |typ: &String| {
        let typ = typ.to_ascii_lowercase();
        types.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
    };
    if !header.typ.as_ref().is_none_or(is_type) {
        return Err(malformed("a token is of another type"));
    }
    let signature = decoded(signature)?;
    let is_meant = |key: &&CoreJsonWebKey| {
        let is_named = header.kid.is_none() || header.kid.as_ref() == key.key_id();
        is_named && header.alg.key_type().as_ref() == Some(key.key_type()) && fits(key, &header.alg)
    };
    let signs = |key: &CoreJsonWebKey| key.verify_signature(&header.alg, signed.as_bytes(), &signature).is_ok();
    // A provider has a handful of keys: more than that are none of a provider's.
    if !keys.keys().iter().filter(is_meant).take(8).any(signs) {
        return Err(Unverified::Signature);
    }
    serde_json::from_slice(&decoded(payload)?).map_err(|_| malformed("the claims of a token are none"))
}

fn fits(key: &CoreJsonWebKey, algorithm: &CoreJwsSigningAlgorithm) -> bool {
    use openidconnect::JsonWebKeyUse;
    let is_for_it = match key.signing_alg() {
        JsonWebKeyAlgorithm::Unspecified => true,
        JsonWebKeyAlgorithm::Algorithm(of) => of == algorithm,
        JsonWebKeyAlgorithm::Unsupported => false,
    };
    is_for_it && key.key_use().is_none_or(JsonWebKeyUse::allows_signature)
}
