//! A sign-in that is under way: sealed into the cookie of the browser that began it, so that nobody can fill the gateway with flows.
//!
//! Invariant: what is sealed opens under this gateway's key alone; state and nonce are of one flow, and its verifier (RFC 7636)
//! leaves the gateway only towards the provider's token endpoint.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use footage::keys::Keys;
use footage::keys::aead::{Cipher, SecretKey};
use footage::platform;
use footage::units::{ProviderId, TenantId};

/// A person may take so long at the provider.
pub(crate) const FLOW_MAX: SignedDuration = SignedDuration::from_mins(10);
/// What a flow is at most, sealed.
const SEALED_CHARS_MAX: usize = 2_048;
const CONTEXT: &[u8] = b"a sign-in by an identity provider";

/// A sign-in that was begun.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub address: Url,
    /// What its cookie holds.
    pub flow: SecretString,
}

/// What a provider has the browser bring back (OpenID Connect Core 1.0 §3.1.2.5).
#[derive(Debug)]
pub struct CallbackAnswer {
    /// The code.
    pub code: Option<SecretString>,
    /// As it was sent.
    pub state: String,
    /// Who answers (RFC 9207).
    pub issuer: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

impl CallbackAnswer {
    /// Whether it answers this flow.
    pub(super) fn is_of(&self, flow: &Flow) -> bool {
        // Compared in constant time.
        blake3::hash(self.state.as_bytes()) == blake3::hash(flow.state.as_bytes())
    }
}

/// A sign-in that is under way.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow {
    pub(super) provider: ProviderId,
    pub(super) tenant: Option<TenantId>,
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    pub(super) until: Timestamp,
}

impl Flow {
    pub(super) fn random(provider: ProviderId, tenant: Option<TenantId>, until: Timestamp) -> Self {
        let random = || BASE64.encode(platform::random::<[u8; 32]>());
        Self { provider, tenant, state: random(), nonce: random(), verifier: random(), until }
    }
}

/// Seals flows.
pub(super) struct Sealer(Cipher);

impl Sealer {
    pub(super) fn new(keys: &Keys) -> Self {
        let key = keys.derive("vigie 2026-11 sign-ins by identity providers", b"");
        Self(Cipher::new(&SecretKey::new(Box::new(key))))
    }

    pub(super) fn seal(&self, flow: &Flow) -> SecretString {
        let plain = serde_json::to_vec(flow).expect("texts and a time are JSON");
        let mut sealed = Vec::new();
        self.0.encrypt(CONTEXT, &plain, &mut sealed);
        BASE64.encode(sealed).into()
    }

    /// `None` where it was sealed by nobody, or under another key.
    pub(super) fn open(&self, sealed: &SecretString) -> Option<Flow> {
        let text = Some(sealed.expose_secret()).filter(|text| text.len() <= SEALED_CHARS_MAX)?;
        let mut bytes = BASE64.decode(text).ok()?;
        serde_json::from_slice(self.0.open(CONTEXT, &mut bytes).ok()?).ok()
    }
}
