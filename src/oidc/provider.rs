//! One provider: what is known of it, and what it is asked.
//!
//! Invariants: metadata and keys are an hour old at most; keys that do not fit are fetched again, each ten seconds at most, so that
//! a provider may change them, and nobody can have it asked without end.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreErrorResponseType,
    CoreGenderClaim, CoreGrantType, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm,
    CoreJwsSigningAlgorithm, CoreResponseMode, CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreSubjectIdentifierType, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessTokenHash, AdditionalClaims, AdditionalProviderMetadata, AuthType, AuthenticationContextClass,
    AuthenticationFlow, AuthorizationCode, ClaimsVerificationError, Client, ClientId, ClientSecret, CsrfToken,
    DiscoveryError, EmptyExtraTokenFields, EndSessionUrl, EndpointMaybeSet, EndpointNotSet, EndpointSet, IdToken,
    IdTokenFields, IssuerUrl, JsonWebKeySet, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier,
    ProviderMetadata, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError, StandardErrorResponse,
    StandardTokenResponse, TokenResponse, UserInfoUrl,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use super::fetch::{Fetch, FetchError};
use super::flow::{CallbackAnswer, FLOW_MAX, Flow};
use super::jws::{self, Unverified};
use super::vouch::{self, Agreement, Claims};
use super::{LEEWAY, OidcError};
use crate::config::{OidcAlgorithm, OidcProvider, UserInfo};
use crate::people::accounts::Vouched;
use footage::clock::Clock;

/// What is known of a provider is fetched again after so long.
const KNOWN_MAX: Duration = Duration::from_secs(3_600);
/// One that did not answer is asked again after so long.
const TRIED_EVERY: Duration = Duration::from_secs(5);
/// Keys are fetched again so often, where none fits.
const KEYS_EVERY: Duration = Duration::from_secs(10);
/// Sign-ins and logouts of one provider at once.
const AT_ONCE: usize = 8;
/// Longest ID token that is kept to sign out by.
const ID_TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest code that is taken, and longest access token.
const CODE_BYTES_MAX: usize = 4 * 1024;

/// Of the metadata, beside what the crate reads (RFC 9207 §3; RP-Initiated Logout 1.0 §2.1).
#[derive(Clone, Debug, Deserialize, Serialize)]
struct More {
    end_session_endpoint: Option<EndSessionUrl>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

/// All claims that the crate has no name for.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct OtherClaims {
    #[serde(flatten)]
    claims: Claims,
}

impl AdditionalClaims for OtherClaims {}

type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type Tokens = StandardTokenResponse<
    IdTokenFields<
        OtherClaims,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;

type Token = IdToken<OtherClaims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

type Asking = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A provider.
pub(super) struct Provider {
    config: OidcProvider,
    clock: Arc<dyn Clock>,
    known: tokio::sync::Mutex<State>,
    at_once: Semaphore,
}

#[derive(Default)]
struct State {
    known: Option<Arc<Known>>,
    /// When it was asked in vain.
    failed: Option<(Instant, String)>,
    /// When keys were fetched again.
    keys: Option<Instant>,
}

/// What is known of a provider.
struct Known {
    fetch: Fetch,
    metadata: Metadata,
    since: Instant,
}

impl Provider {
    pub(super) fn new(config: OidcProvider, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, known: tokio::sync::Mutex::default(), at_once: Semaphore::new(AT_ONCE) }
    }

    pub(super) fn config(&self) -> &OidcProvider {
        &self.config
    }

    /// Whether it is the provider of this configuration.
    pub(super) fn is(&self, config: &OidcProvider) -> bool {
        let is_same_secret = self.config.client_secret.expose_secret() == config.client_secret.expose_secret();
        is_same_secret && format!("{:?}", self.config) == format!("{config:?}")
    }

    fn now(&self) -> Timestamp {
        self.clock.wall().to_timestamp()
    }

    /// Where a browser goes to sign in.
    pub(super) async fn address(&self, flow: &Flow, callback: &Url) -> Result<Url, OidcError> {
        let _place = self.at_once.try_acquire().map_err(|_| OidcError::Busy)?;
        let known = self.known().await?;
        let verifier = PkceCodeVerifier::new(flow.verifier.clone());
        let client = self.client(&known, callback)?;
        let (state, nonce) = (CsrfToken::new(flow.state.clone()), Nonce::new(flow.nonce.clone()));
        let code = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let mut request = client
            .authorize_url(code, || state, || nonce)
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_scopes(self.config.scopes.iter().cloned().map(Scope::new));
        for acr in &self.config.acr_values {
            request = request.add_auth_context_value(AuthenticationContextClass::new(acr.clone()));
        }
        Ok(request.url().0)
    }

    /// Exchanges the code, and verifies all that comes for it.
    pub(super) async fn finish(
        &self,
        flow: &Flow,
        answer: CallbackAnswer,
        callback: &Url,
    ) -> Result<(Vouched, Agreement), OidcError> {
        let _place = self.at_once.try_acquire().map_err(|_| OidcError::Busy)?;
        let known = self.known().await?;
        self.is_from(&known, answer.issuer.as_deref())?;
        if answer.error.is_some() {
            return Err(OidcError::Refused);
        }
        let code = answer.code.filter(|code| code.expose_secret().len() <= CODE_BYTES_MAX);
        let code = code.ok_or(OidcError::NotBelieved("it sent no code, or an endless one"))?;
        let client = self.client(&known, callback)?;
        let tokens = exchanged(&known, &client, &code, &flow.verifier).await?;
        let token = tokens.id_token().ok_or(OidcError::NotBelieved("it sent no ID token"))?;
        let (claims, known) = match self.claims_of(&known, token, &flow.nonce) {
            Err(Rejected::Signature) => {
                let known = self.with_keys_of_now(&known).await?;
                (self.claims_of(&known, token, &flow.nonce)?, known)
            }
            claims => (claims?, known),
        };
        let of_access_token = claims.get("at_hash").and_then(Value::as_str);
        self.is_of_tokens(&known, token, &tokens, of_access_token)?;
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        let sid = claims.get("sid").and_then(Value::as_str).filter(|sid| vouch::is_sound(sid)).map(str::to_owned);
        let claims = match self.config.userinfo {
            UserInfo::No => claims,
            UserInfo::Plain | UserInfo::Signed => {
                let more = self.user_info(&known, tokens.access_token().secret(), &subject).await?;
                // What the ID token says stands.
                more.into_iter().chain(claims).collect()
            }
        };
        let id_token = Some(token.to_string()).filter(|text| text.len() <= ID_TOKEN_BYTES_MAX);
        let vouched = Vouched {
            account: vouch::account(&claims, &self.config)?,
            tenants: vouch::tenants(&claims, &self.config),
            sid,
            id_token: id_token.map(SecretString::from),
        };
        Ok((vouched, Agreement::of(&claims, &self.config)))
    }

    /// Who answered is the provider that was asked: an answer of another, which a browser was led to bring here, goes no further.
    fn is_from(&self, known: &Known, issuer: Option<&str>) -> Result<(), OidcError> {
        let is_told = known.metadata.additional_metadata().authorization_response_iss_parameter_supported;
        match issuer {
            Some(issuer) if issuer == self.config.issuer => Ok(()),
            Some(_) => Err(OidcError::NotBelieved("another provider answered")),
            None if is_told => Err(OidcError::NotBelieved("an answer does not say who answered")),
            None => Ok(()),
        }
    }

    fn client(&self, known: &Known, callback: &Url) -> Result<Asking, OidcError> {
        let id = ClientId::new(self.config.client_id.clone());
        let secret = ClientSecret::new(self.config.client_secret.expose_secret().to_owned());
        let basic = CoreClientAuthMethod::ClientSecretBasic;
        // Basic unless it says otherwise (Discovery 1.0 §3).
        let methods = known.metadata.token_endpoint_auth_methods_supported();
        let auth = match methods.is_none_or(|methods| methods.contains(&basic)) {
            true => AuthType::BasicAuth,
            false => AuthType::RequestBody,
        };
        let redirect = RedirectUrl::from_url(callback.clone());
        let client = Asking::from_provider_metadata(known.metadata.clone(), id, Some(secret));
        Ok(client.set_redirect_uri(redirect).set_auth_type(auth))
    }

    /// The verified claims of an ID token (OpenID Connect Core 1.0 §3.1.3.7).
    fn claims_of(&self, known: &Known, token: &Token, nonce: &str) -> Result<Claims, Rejected> {
        let now = self.now();
        let id = ClientId::new(self.config.client_id.clone());
        let verifier = openidconnect::IdTokenVerifier::new_public_client(
            id.clone(),
            known.metadata.issuer().clone(),
            known.metadata.jwks().clone(),
        );
        let is_of_now = |made: i64| {
            let (earliest, latest) = (now - FLOW_MAX - LEEWAY, now + LEEWAY);
            let is_within = (earliest.as_second()..=latest.as_second()).contains(&made);
            if is_within { Ok(()) } else { Err(String::new()) }
        };
        let since_epoch = Duration::from_secs((now - LEEWAY).as_second().max(0).cast_unsigned());
        let needed = &self.config.acr_values;
        let verifier = verifier
            .set_allowed_algs(self.allowed())
            .set_time_fn(move || (std::time::UNIX_EPOCH + since_epoch).into())
            .set_issue_time_verifier_fn(move |made| is_of_now(made.timestamp()))
            .set_auth_context_verifier_fn(move |acr| {
                let is_enough = needed.is_empty() || acr.is_some_and(|acr| needed.contains(acr));
                if is_enough { Ok(()) } else { Err(String::new()) }
            });
        let claims = token.claims(&verifier, &Nonce::new(nonce.to_owned()))?;
        // The only party, where one is named.
        if claims.authorized_party().is_some_and(|party| *party != id) {
            return Err(Rejected::For(OidcError::NotBelieved("an ID token is for another party")));
        }
        match serde_json::to_value(claims) {
            Ok(Value::Object(claims)) => Ok(claims),
            _ => Err(Rejected::For(OidcError::NotBelieved("the claims of an ID token are none"))),
        }
    }

    /// The access token is the one that the ID token was made with, where that says so (§3.1.3.8).
    fn is_of_tokens(&self, known: &Known, token: &Token, tokens: &Tokens, said: Option<&str>) -> Result<(), OidcError> {
        let Some(said) = said else { return Ok(()) };
        let other = || OidcError::NotBelieved("an access token is another's");
        let verifier = openidconnect::IdTokenVerifier::new_public_client(
            ClientId::new(self.config.client_id.clone()),
            known.metadata.issuer().clone(),
            known.metadata.jwks().clone(),
        );
        let (algorithm, key) = (token.signing_alg(), token.signing_key(&verifier));
        let (algorithm, key) = (algorithm.map_err(|_| other())?, key.map_err(|_| other())?);
        let found = AccessTokenHash::from_token(tokens.access_token(), algorithm, key).map_err(|_| other())?;
        if found.as_str() == said { Ok(()) } else { Err(other()) }
    }

    /// Claims of the user info endpoint (§5.3), of this subject.
    async fn user_info(&self, known: &Arc<Known>, access_token: &str, subject: &str) -> Result<Claims, OidcError> {
        let bad = OidcError::NotBelieved;
        let url: &UserInfoUrl =
            known.metadata.userinfo_endpoint().ok_or(OidcError::Unavailable("it has no user info".to_owned()))?;
        let is_token =
            (1..=CODE_BYTES_MAX).contains(&access_token.len()) && access_token.bytes().all(|b| b.is_ascii_graphic());
        if !is_token {
            return Err(bad("it sent no access token, or an endless one"));
        }
        let is_signed = self.config.userinfo == UserInfo::Signed;
        let accept = if is_signed { "application/jwt" } else { "application/json" };
        let request = openidconnect::http::Request::get(url.as_str())
            .header("accept", accept)
            .header("authorization", format!("Bearer {access_token}"))
            .body(Vec::new())
            .map_err(|_| bad("its user info has no address"))?;
        let answer = known.fetch.send(request).await?;
        if !answer.status().is_success() {
            return Err(OidcError::Unavailable(format!("its user info answered {}", answer.status().as_u16())));
        }
        let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        let is_jwt = content_type.is_some_and(|of| of.to_ascii_lowercase().starts_with("application/jwt"));
        if is_signed && !is_jwt {
            return Err(bad("its user info is not signed"));
        }
        let claims: Claims = match is_jwt {
            true => {
                let token = str::from_utf8(answer.body()).map_err(|_| bad("its user info is no token"))?;
                let claims = self.verified(known, token.trim(), &["jwt"]).await?;
                is_for_us(&claims, &self.config)?;
                claims
            }
            false => serde_json::from_slice(answer.body()).map_err(|_| bad("its user info is no JSON object"))?,
        };
        // Of another subject it is another's (§5.3.2).
        match claims.get("sub").and_then(Value::as_str) == Some(subject) {
            true => Ok(claims),
            false => Err(bad("its user info is another's")),
        }
    }

    /// The claims of a logout token: signed, and not yet looked at.
    pub(super) async fn verified_logout(&self, token: &str) -> Result<Claims, OidcError> {
        let _place = self.at_once.try_acquire().map_err(|_| OidcError::Busy)?;
        let known = self.known().await?;
        self.verified(&known, token, &["jwt", "logout+jwt"]).await
    }

    async fn verified(&self, known: &Arc<Known>, token: &str, types: &[&str]) -> Result<Claims, OidcError> {
        let allowed = self.allowed();
        match jws::verified(token, known.metadata.jwks(), &allowed, types) {
            Err(Unverified::Signature) => {
                let known = self.with_keys_of_now(known).await?;
                Ok(jws::verified(token, known.metadata.jwks(), &allowed, types)?)
            }
            claims => Ok(claims?),
        }
    }

    fn allowed(&self) -> Vec<CoreJwsSigningAlgorithm> {
        let of = |algorithm: &OidcAlgorithm| match algorithm {
            OidcAlgorithm::Rs256 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
            OidcAlgorithm::Ps256 => CoreJwsSigningAlgorithm::RsaSsaPssSha256,
            OidcAlgorithm::Es256 => CoreJwsSigningAlgorithm::EcdsaP256Sha256,
            OidcAlgorithm::Es384 => CoreJwsSigningAlgorithm::EcdsaP384Sha384,
            OidcAlgorithm::EdDsa => CoreJwsSigningAlgorithm::EdDsa,
        };
        self.config.algorithms.iter().map(of).collect()
    }

    /// Where a browser goes to sign out (RP-Initiated Logout 1.0 §2); `None` where it has no such address.
    pub(super) async fn sign_out_address(&self, id_token: Option<&SecretString>, after: &Url) -> Option<Url> {
        let known = self.known().await.ok()?;
        let endpoint = known.metadata.additional_metadata().end_session_endpoint.as_ref()?;
        let mut url = Some(endpoint.url().clone()).filter(|url| known.fetch.may_go_to(url))?;
        let mut query = url.query_pairs_mut();
        if let Some(id_token) = id_token {
            query.append_pair("id_token_hint", id_token.expose_secret());
        }
        query.append_pair("client_id", &self.config.client_id);
        query.append_pair("post_logout_redirect_uri", after.as_str());
        drop(query);
        Some(url)
    }

    /// What is known of it, fetched where that is too long ago.
    async fn known(&self) -> Result<Arc<Known>, OidcError> {
        let mut state = self.known.lock().await;
        if let Some(known) = state.known.as_ref().filter(|known| known.since.elapsed() < KNOWN_MAX) {
            return Ok(known.clone());
        }
        if let Some((_, why)) = state.failed.as_ref().filter(|(at, _)| at.elapsed() < TRIED_EVERY) {
            return Err(OidcError::Unavailable(why.clone()));
        }
        // As failed for those who come while it does not answer, and for who gives up.
        state.failed = Some((Instant::now(), "it did not answer lately".to_owned()));
        match discovered(&self.config).await {
            Ok(known) => {
                let known = Arc::new(known);
                *state = State { known: Some(known.clone()), failed: None, keys: state.keys };
                Ok(known)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.0.clone()));
                Err(OidcError::Unavailable(error.0))
            }
        }
    }

    /// The same, with the keys that it has now.
    async fn with_keys_of_now(&self, known: &Arc<Known>) -> Result<Arc<Known>, OidcError> {
        let wrong = OidcError::NotBelieved("a signature is wrong");
        let mut state = self.known.lock().await;
        let newer = state.known.as_ref().filter(|newer| !Arc::ptr_eq(newer, known));
        if let Some(newer) = newer {
            return Ok(newer.clone());
        }
        if state.keys.is_some_and(|at| at.elapsed() < KEYS_EVERY) {
            return Err(wrong);
        }
        state.keys = Some(Instant::now());
        let keys: JsonWebKeySet<CoreJsonWebKey> =
            JsonWebKeySet::fetch_async(known.metadata.jwks_uri(), &known.fetch).await.map_err(unavailable)?;
        let metadata = known.metadata.clone().set_jwks(keys);
        let newest = Arc::new(Known { fetch: known.fetch.clone(), metadata, since: known.since });
        state.known = Some(newest.clone());
        Ok(newest)
    }
}

/// Metadata and keys (OpenID Connect Discovery 1.0 §4).
async fn discovered(config: &OidcProvider) -> Result<Known, FetchError> {
    let no_address = |_| FetchError("its issuer is no address".to_owned());
    let issuer = IssuerUrl::new(config.issuer.clone()).map_err(no_address)?;
    let fetch = Fetch::new(issuer.url(), config.ca_file.as_deref()).await?;
    let metadata = Metadata::discover_async(issuer, &fetch).await.map_err(|error| match unavailable(error) {
        OidcError::Unavailable(why) => FetchError(why),
        other => FetchError(other.to_string()),
    })?;
    let Some(token_endpoint) = metadata.token_endpoint() else {
        return Err(FetchError("it has no token endpoint".to_owned()));
    };
    // Browsers are sent to no other kind of address either.
    if [metadata.authorization_endpoint().url(), token_endpoint.url()].iter().any(|url| !fetch.may_go_to(url)) {
        return Err(FetchError("an address of it is not https".to_owned()));
    }
    Ok(Known { fetch, metadata, since: Instant::now() })
}

/// Tokens for a code.
async fn exchanged(known: &Known, client: &Asking, code: &SecretString, verifier: &str) -> Result<Tokens, OidcError> {
    let request = client.exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()));
    let request = request.map_err(|_| OidcError::Unavailable("it has no token endpoint".to_owned()))?;
    let verifier = PkceCodeVerifier::new(verifier.to_owned());
    request.set_pkce_verifier(verifier).request_async(&known.fetch).await.map_err(|error| match error {
        RequestTokenError::Request(error) => error.into(),
        RequestTokenError::ServerResponse(_) => OidcError::NotBelieved("it gives no tokens for the code"),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            OidcError::NotBelieved("what it gave for the code is no answer")
        }
    })
}

/// The claims are of this provider, and for this gateway: those of a signed user info, and of a logout token.
pub(super) fn is_for_us(claims: &Claims, config: &OidcProvider) -> Result<(), OidcError> {
    if claims.get("iss").and_then(Value::as_str) != Some(config.issuer.as_str()) {
        return Err(OidcError::NotBelieved("a token is of another issuer"));
    }
    let is_us = |audience: &Value| audience.as_str() == Some(config.client_id.as_str());
    let is_for_us = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.len() == 1 && audiences.iter().all(is_us),
        Some(audience) => is_us(audience),
        None => false,
    };
    if is_for_us { Ok(()) } else { Err(OidcError::NotBelieved("a token is for another party")) }
}

/// Why an ID token is not taken.
enum Rejected {
    /// No key that is known has signed it.
    Signature,
    For(OidcError),
}

impl From<Rejected> for OidcError {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Signature => Self::NotBelieved("a signature is wrong"),
            Rejected::For(error) => error,
        }
    }
}

impl From<ClaimsVerificationError> for Rejected {
    fn from(error: ClaimsVerificationError) -> Self {
        use ClaimsVerificationError as E;
        use SignatureVerificationError as S;
        let bad = |what| Self::For(OidcError::NotBelieved(what));
        match error {
            E::SignatureVerification(S::DisallowedAlg(_) | S::UnsupportedAlg(_) | S::NoSignature) => {
                bad("an ID token is signed by an algorithm that is not allowed")
            }
            E::SignatureVerification(_) => Self::Signature,
            E::Expired(_) => bad("an ID token is over, or not in force yet"),
            E::InvalidAudience(_) => bad("an ID token is for another party"),
            E::InvalidIssuer(_) => bad("an ID token is of another issuer"),
            E::InvalidNonce(_) => bad("an ID token is of another sign-in"),
            E::InvalidAuthContext(_) => Self::For(OidcError::TooWeak),
            _ => bad("an ID token is none"),
        }
    }
}

impl From<FetchError> for OidcError {
    fn from(error: FetchError) -> Self {
        Self::Unavailable(error.0)
    }
}

/// In words of our own: those of the crate may repeat what was sent.
fn unavailable(error: DiscoveryError<FetchError>) -> OidcError {
    OidcError::Unavailable(match error {
        DiscoveryError::Request(error) => error.0,
        DiscoveryError::Response(status, ..) => format!("its metadata or keys answered {}", status.as_u16()),
        DiscoveryError::Validation(_) => "its metadata names another issuer".to_owned(),
        _ => "its metadata or keys are none".to_owned(),
    })
}
