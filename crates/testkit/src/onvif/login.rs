//! Who asks: HTTP digest (RFC 7616) and user name tokens (WS-Security UsernameToken Profile 1.0), checked.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use footage::units::WallTime;
use md5::{Digest as _, Md5};

use super::answers::{Reply, fault};
use super::request::{Asked, Token};
use super::{Live, OnvifQuirk};

/// A token whose time is further than this from the device's clock is refused.
const TOKEN_SECONDS_MAX: f64 = 5.0;

/// How a device wants to know who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Not at all.
    Nobody,
    /// HTTP digest with MD5.
    Md5,
    /// HTTP digest with SHA-256.
    Sha256,
    /// HTTP basic alone, which no client should answer.
    Basic,
    /// A user name token.
    Token,
}

/// What was given out, and what was used.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    given: u64,
    /// The highest count of each nonce.
    counts: HashMap<String, u32>,
    /// Of tokens.
    used: HashSet<String>,
}

/// The operations of access class PRE_AUTH (ONVIF Core Specification §5.8.2.1).
const PRE_AUTH: [&str; 3] = ["GetSystemDateAndTime", "GetServices", "GetCapabilities"];

/// A refusal, unless who asks may.
pub(super) fn check(live: &Live, asked: &Asked, authorization: &str, uri: &str) -> Option<Reply> {
    if PRE_AUTH.contains(&asked.operation.as_str()) {
        return None;
    }
    let is_known = match live.device.login {
        Login::Nobody => true,
        Login::Basic => false,
        Login::Token => asked.token.as_ref().is_some_and(|token| token_is_right(live, token)),
        Login::Md5 | Login::Sha256 => digest_is_right(live, authorization, uri),
    };
    (!is_known).then(|| refusal(live, authorization))
}

fn refusal(live: &Live, authorization: &str) -> Reply {
    let challenge = |algorithm: &str| {
        let mut nonces = live.nonces.lock();
        nonces.given += 1;
        let nonce = format!("nonce-{}", nonces.given);
        nonces.counts.insert(nonce.clone(), 0);
        // The last one was good, and is no more.
        let stale = live.device.quirk == OnvifQuirk::NoncesOnce && authorization.contains("nonce-");
        format!(r#"Digest realm="device", qop="auth", nonce="{nonce}", algorithm={algorithm}, stale={stale}"#)
    };
    let mut reply = match live.device.quirk {
        OnvifQuirk::OldFaults => Reply::old_fault("ter:NotAuthorized", "Sender not Authorized"),
        _ => fault(400, "Sender", "ter:NotAuthorized", "Sender not authorized"),
    };
    let challenges = match live.device.login {
        Login::Md5 => vec![challenge("MD5")],
        // The stronger first, as RFC 7616 §3.7 has it.
        Login::Sha256 => vec![challenge("SHA-256")],
        Login::Basic => vec!["Basic realm=\"device\"".to_owned()],
        Login::Nobody | Login::Token => return reply,
    };
    reply.status = 401;
    reply.challenges = challenges;
    reply
}

fn token_is_right(live: &Live, token: &Token) -> bool {
    let (username, password) = &live.device.credentials;
    let (Ok(nonce), Ok(created)) = (STANDARD.decode(&token.nonce), token.created.parse::<WallTime>()) else {
        return false;
    };
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(&nonce);
    context.update(token.created.as_bytes());
    context.update(password.as_bytes());
    let is_fresh = live.now().since(created).as_seconds_f64().abs() <= TOKEN_SECONDS_MAX;
    let is_new = live.nonces.lock().used.insert(token.nonce.clone());
    token.username == *username && STANDARD.encode(context.finish()) == token.digest && is_fresh && is_new
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest_is_right(live: &Live, authorization: &str, uri: &str) -> bool {
    let Some(fields) = authorization.strip_prefix("Digest ") else { return false };
    let fields: HashMap<&str, &str> = fields
        .split(", ")
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim_matches('"')))
        .collect();
    let field = |name| fields.get(name).copied().unwrap_or_default();
    let (username, password) = &live.device.credentials;
    let hash = |text: String| match live.device.login {
        Login::Sha256 => hex(digest(&SHA256, text.as_bytes()).as_ref()),
        _ => hex(&Md5::digest(text.as_bytes())),
    };
    let (a1, a2) = (hash(format!("{username}:device:{password}")), hash(format!("POST:{uri}")));
    let (nonce, count, cnonce) = (field("nonce"), field("nc"), field("cnonce"));
    let expected = hash(format!("{a1}:{nonce}:{count}:{cnonce}:auth:{a2}"));
    let Ok(count) = u32::from_str_radix(count, 16) else { return false };
    let mut nonces = live.nonces.lock();
    // A nonce that was never given out, and a count that was used, are refused (RFC 7616 §3.4.5).
    let Some(last) = nonces.counts.get_mut(nonce) else { return false };
    let once = live.device.quirk == OnvifQuirk::NoncesOnce;
    let is_new = if once { *last == 0 } else { count > *last };
    *last = (*last).max(count);
    is_new && field("uri") == uri && field("username") == username && field("response") == expected
}
