//! Signing in by identity providers: OpenID Connect Core 1.0, code flow with PKCE (RFC 7636).
//!
//! ```text
//! begin  ─→ address at the provider, and a sealed flow for the browser's cookie
//! finish ←─ code, state, iss (RFC 9207) ── code for tokens ── ID token, user info verified ─→ what the provider vouches for
//! signed_out ←─ logout token (Back-Channel Logout 1.0) ─→ whose sessions end
//! ```
//!
//! Invariants: what a provider sends is bounded in bytes and in time, and only so many sign-ins of one are under way; nothing of it
//! is believed that is not signed by its own keys for this gateway, this flow and this time; no token, code or secret enters a
//! log line or an error. What a provider vouches for opens nothing by itself: `people` has the designations.
//! Absent on purpose: other flows, refresh tokens, and any use of an access token but for the provider's user info.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};
use tracing::warn;
use url::Url;

pub use self::flow::{Begun, CallbackAnswer};
use self::flow::{FLOW_MAX, Flow, Sealer};
use self::logout::Seen;
pub use self::logout::SignedOut;
use self::provider::Provider;
use self::vouch::Agreement;
use crate::config::{Config, OidcProvider};
use crate::people::accounts::Vouched;
use footage::clock::Clock;
use footage::keys::Keys;
use footage::units::{ProviderId, TenantId};

mod fetch;
mod flow;
mod jws;
mod logout;
mod provider;
#[cfg(test)]
pub(crate) mod tests;
mod vouch;

/// For all that is asked of a provider in one request of a browser.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(20);
/// Clocks may differ by so much.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// Why nobody signs in by a provider.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OidcError {
    /// There is no such provider.
    #[error("there is no such identity provider")]
    NoProvider,
    /// It does not answer, or with what is no answer.
    #[error("the identity provider cannot be used: {0}")]
    Unavailable(String),
    /// As many sign-ins by it as may be are under way.
    #[error("too many sign-ins by the identity provider are under way")]
    Busy,
    /// This browser did not begin it, or too long ago.
    #[error("this browser began no such sign-in, or too long ago")]
    NoFlow,
    /// The provider let the person go without signing in.
    #[error("the identity provider refused to sign the person in")]
    Refused,
    /// The person was authenticated by less than is needed.
    #[error("the level of authentication is too low")]
    TooWeak,
    /// What it sent is not to be believed.
    #[error("what the identity provider sent is not believed: {0}")]
    NotBelieved(&'static str),
}

/// All providers; cheap to clone.
#[derive(Clone)]
pub struct Oidc(Arc<Inner>);

struct Inner {
    providers: RwLock<Providers>,
    sealer: Sealer,
    seen: Seen,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Providers {
    /// Where browsers reach this gateway.
    public_url: Option<Url>,
    by_id: BTreeMap<ProviderId, Arc<Provider>>,
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.providers.read().by_id.keys()).finish()
    }
}

impl Oidc {
    /// Without any provider.
    pub fn new(keys: &Keys, clock: Arc<dyn Clock>) -> Self {
        let (providers, sealer, seen) = (RwLock::default(), Sealer::new(keys), Seen::default());
        Self(Arc::new(Inner { providers, sealer, seen, clock }))
    }

    /// The providers of this configuration, from now on. Those that stay as they were keep what is known of them.
    pub fn apply(&self, config: &Config) {
        let mut providers = self.0.providers.write();
        let kept = |of: &OidcProvider| providers.by_id.get(&of.id).filter(|known| known.is(of)).cloned();
        let provider = |of: &OidcProvider| {
            (of.id.clone(), kept(of).unwrap_or_else(|| Arc::new(Provider::new(of.clone(), self.0.clock.clone()))))
        };
        let by_id = config.oidc.iter().map(provider).collect();
        *providers = Providers { public_url: config.public_url.clone(), by_id };
    }

    /// The providers, with their names.
    pub fn list(&self) -> Vec<(ProviderId, String)> {
        let providers = self.0.providers.read();
        providers.by_id.values().map(|of| (of.config().id.clone(), of.config().name.clone())).collect()
    }

    /// Whether this provider vouches for this tenant.
    pub fn vouches_for(&self, provider: &ProviderId, tenant: &TenantId) -> bool {
        let providers = self.0.providers.read();
        providers.by_id.get(provider).is_some_and(|of| of.config().tenants.iter().any(|of| of.id == *tenant))
    }

    fn provider(&self, id: &ProviderId) -> Result<(Arc<Provider>, Url), OidcError> {
        let providers = self.0.providers.read();
        let provider = providers.by_id.get(id).cloned().ok_or(OidcError::NoProvider)?;
        Ok((provider, providers.public_url.clone().ok_or(OidcError::NoProvider)?))
    }

    fn now(&self) -> Timestamp {
        self.0.clock.wall().to_timestamp()
    }

    /// Begins a sign-in: where the browser goes, and what it brings back in its cookie.
    ///
    /// # Errors
    /// When the provider cannot be used now.
    pub async fn begin(&self, id: &ProviderId, tenant: Option<TenantId>) -> Result<Begun, OidcError> {
        let (provider, public_url) = self.provider(id)?;
        let flow = Flow::random(id.clone(), tenant, self.now() + FLOW_MAX);
        let address = bounded(id, provider.address(&flow, &callback(&public_url, id))).await?;
        Ok(Begun { address, flow: self.0.sealer.seal(&flow) })
    }

    /// Ends a sign-in: what the provider vouches for, for which tenant it was begun, and what its claims say of a designation.
    ///
    /// # Errors
    /// When this browser did not begin it, the provider refused or cannot be used, or what it sent is not to be believed.
    pub async fn finish(
        &self,
        id: &ProviderId,
        flow: Option<&SecretString>,
        answer: CallbackAnswer,
    ) -> Result<(Vouched, Option<TenantId>, Agreement), OidcError> {
        let (provider, public_url) = self.provider(id)?;
        let flow = flow.and_then(|flow| self.0.sealer.open(flow)).filter(|flow| flow.provider == *id);
        let flow = flow.filter(|flow| self.now() < flow.until && answer.is_of(flow)).ok_or(OidcError::NoFlow)?;
        let (vouched, agreement) = bounded(id, provider.finish(&flow, answer, &callback(&public_url, id))).await?;
        Ok((vouched, flow.tenant, agreement))
    }

    /// Whose sessions at this provider are over, as it says by a logout token.
    ///
    /// # Errors
    /// When the token is not to be believed, or was presented before.
    pub async fn signed_out(&self, id: &ProviderId, token: &SecretString) -> Result<SignedOut, OidcError> {
        let (provider, _) = self.provider(id)?;
        let now = self.now();
        let verified = async {
            let claims = provider.verified_logout(token.expose_secret()).await?;
            logout::checked(&claims, provider.config(), now)
        };
        let checked = bounded(id, verified).await?;
        self.0.seen.once(id, &checked, now)?;
        Ok(checked.who)
    }

    /// Where a browser goes to sign out at the provider too; `None` where that has no such address, or cannot be used now.
    pub async fn sign_out_address(&self, id: &ProviderId, id_token: Option<&SecretString>) -> Option<Url> {
        let (provider, public_url) = self.provider(id).ok()?;
        let after = public_url.join("sign-in").ok()?;
        bounded(id, async { Ok(provider.sign_out_address(id_token, &after).await) }).await.ok().flatten()
    }
}

/// What is asked of a provider, in bounded time; why it failed is in the log, in words of our own.
async fn bounded<T>(id: &ProviderId, work: impl Future<Output = Result<T, OidcError>>) -> Result<T, OidcError> {
    let too_slow = || Err(OidcError::Unavailable(format!("no answer within {} s", EXCHANGE_TIME_MAX.as_secs())));
    let done = tokio::time::timeout(EXCHANGE_TIME_MAX, work).await.unwrap_or_else(|_| too_slow());
    if let Err(error) = &done {
        warn!(provider = %id, %error, "a sign-in by an identity provider failed");
    }
    done
}

fn callback(public_url: &Url, id: &ProviderId) -> Url {
    let mut url = public_url.clone();
    url.set_path(&format!("/sign-in/{id}/callback"));
    url
}
