//! Against a provider that does what a test wants: a sound one, and hostile ones.

use catalogue::{Act, Designation, Person, Scope};
use jiff::civil::date;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use self::idp::{CLIENT, Idp, SECRET};
use super::*;
use crate::config::{OidcAlgorithm, OidcTenant, UserInfo};
use crate::demo;
use footage::clock::SimClock;
use footage::units::{Ticks90k, WallTime};

mod believing;
pub(crate) mod idp;
mod leaving;

fn id() -> ProviderId {
    "directory".parse().unwrap()
}

fn noon() -> WallTime {
    "2026-11-28T12:00:00Z".parse().unwrap()
}

fn town() -> TenantId {
    "town".parse().unwrap()
}

struct Rig {
    idp: Idp,
    clock: Arc<SimClock>,
    oidc: Oidc,
}

impl Rig {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With this changed of the provider's configuration.
    async fn with(change: impl FnOnce(&mut OidcProvider)) -> Self {
        let clock = Arc::new(SimClock::starting_at(noon()));
        let idp = Idp::start(clock.clone()).await;
        let oidc = Oidc::new(&Keys::from_secret([1; 32]), clock.clone());
        let mut provider = provider(&idp.issuer);
        change(&mut provider);
        oidc.apply(&config(vec![provider]));
        Self { idp, clock, oidc }
    }

    async fn begin(&self) -> Result<Begun, OidcError> {
        self.oidc.begin(&id(), None).await
    }

    /// As a browser does it whose person signs in at the provider.
    async fn sign_in(&self) -> Result<Vouched, OidcError> {
        let begun = self.begin().await?;
        let answer = self.idp.authorise(&begun.address);
        self.finish(&begun, answer).await
    }

    async fn finish(&self, begun: &Begun, answer: CallbackAnswer) -> Result<Vouched, OidcError> {
        self.oidc.finish(&id(), Some(&begun.flow), answer).await.map(|(vouched, ..)| vouched)
    }

    fn later(&self, seconds: i64) {
        self.clock.step(Ticks90k(seconds * 90_000));
    }
}

pub(crate) fn provider(issuer: &str) -> OidcProvider {
    OidcProvider {
        id: id(),
        name: "Directory".to_owned(),
        issuer: issuer.to_owned(),
        client_id: CLIENT.to_owned(),
        client_secret: SECRET.into(),
        ca_file: None,
        scopes: vec!["email".to_owned()],
        acr_values: Vec::new(),
        algorithms: vec![OidcAlgorithm::Rs256, OidcAlgorithm::Es256],
        userinfo: UserInfo::No,
        email_trusted: false,
        tenants: vec![OidcTenant { id: town(), claim: None }],
        role_claim: None,
        roles: Vec::new(),
        act_claim: None,
    }
}

pub(crate) fn config(oidc: Vec<OidcProvider>) -> Config {
    let mut config = demo::config("127.0.0.1:0".parse().unwrap(), "/data".as_ref(), Vec::new()).unwrap();
    config.public_url = Some("https://vigie.example".parse().unwrap());
    config.oidc = oidc;
    config
}

pub(crate) fn query(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Nothing of what is secret is in what is said.
fn is_clean(said: &str) {
    for secret in [SECRET, idp::ACCESS_TOKEN, "eyJ", "the-code"] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}

#[tokio::test]
async fn a_person_signs_in_and_the_provider_is_asked_as_the_standard_has_it() {
    let rig = Rig::with(|of| of.acr_values = vec!["eidas2".to_owned(), "eidas3".to_owned()]).await;
    rig.idp.set(|idp| idp.claims = json!({"acr": "eidas2", "sid": "session 1"}));
    let begun = rig.begin().await.unwrap();
    let asked = |name: &str| query(&begun.address, name).unwrap_or_default();
    assert_eq!(begun.address.path(), "/authorize");
    assert_eq!((asked("response_type"), asked("client_id")), ("code".to_owned(), CLIENT.to_owned()));
    assert_eq!(asked("redirect_uri"), "https://vigie.example/sign-in/directory/callback");
    assert_eq!((asked("scope"), asked("acr_values")), ("openid email".to_owned(), "eidas2 eidas3".to_owned()));
    assert_eq!((asked("code_challenge_method"), asked("code_challenge").len()), ("S256".to_owned(), 43));
    assert!(asked("state").len() >= 43 && asked("nonce").len() >= 43 && asked("state") != asked("nonce"));
    assert!(!begun.flow.expose_secret().contains(&asked("state")), "the cookie is sealed");
    let answer = rig.idp.authorise(&begun.address);
    let vouched = rig.finish(&begun, answer).await.unwrap();
    assert_eq!(
        (vouched.account.subject.as_str(), vouched.account.email.as_deref()),
        ("42", Some("marie@town.example"))
    );
    assert_eq!((vouched.account.issuer, vouched.sid.as_deref()), (rig.idp.issuer.clone(), Some("session 1")));
    assert_eq!(vouched.tenants, [town()]);
    assert!(vouched.id_token.unwrap().expose_secret().starts_with("eyJ"));
    // A second one: what is known of the provider is not fetched again.
    rig.sign_in().await.unwrap();
    assert_eq!(rig.idp.asked("/.well-known/openid-configuration"), 1);
    assert_eq!((rig.idp.asked("/keys"), rig.idp.asked("/token")), (1, 2));
}

#[tokio::test]
async fn a_sign_in_is_ended_by_the_browser_that_began_it_in_its_time_and_at_its_provider() {
    let rig = Rig::new().await;
    let (own, other) = (rig.begin().await.unwrap(), rig.begin().await.unwrap());
    let answer = || rig.idp.authorise(&own.address);
    let no_cookie = rig.oidc.finish(&id(), None, answer()).await;
    assert_eq!(no_cookie.unwrap_err(), OidcError::NoFlow);
    assert_eq!(rig.finish(&other, answer()).await.unwrap_err(), OidcError::NoFlow, "of another browser");
    for forged in ["", "AAAA", &"A".repeat(100_000), &own.flow.expose_secret()[1..]] {
        let done = rig.oidc.finish(&id(), Some(&forged.into()), answer()).await;
        assert_eq!(done.unwrap_err(), OidcError::NoFlow);
    }
    // Of another gateway's key.
    let elsewhere = Oidc::new(&Keys::from_secret([2; 32]), rig.clock.clone());
    elsewhere.apply(&config(vec![provider(&rig.idp.issuer)]));
    let done = elsewhere.finish(&id(), Some(&own.flow), answer()).await;
    assert_eq!(done.unwrap_err(), OidcError::NoFlow);
    // At another provider, whose page the browser was led to.
    let second: ProviderId = "second".parse().unwrap();
    let both = vec![provider(&rig.idp.issuer), OidcProvider { id: second.clone(), ..provider(&rig.idp.issuer) }];
    rig.oidc.apply(&config(both));
    let done = rig.oidc.finish(&second, Some(&own.flow), answer()).await;
    assert_eq!(done.unwrap_err(), OidcError::NoFlow);
    assert_eq!(rig.idp.asked("/token"), 0, "no code went anywhere");
    // The gateway was started again meanwhile.
    let started = Oidc::new(&Keys::from_secret([1; 32]), rig.clock.clone());
    started.apply(&config(vec![provider(&rig.idp.issuer)]));
    started.finish(&id(), Some(&own.flow), answer()).await.unwrap();
    rig.later(601);
    assert_eq!(rig.finish(&own, answer()).await.unwrap_err(), OidcError::NoFlow, "too late");
    assert_eq!(rig.oidc.begin(&"third".parse().unwrap(), None).await.unwrap_err(), OidcError::NoProvider);
}

#[tokio::test]
async fn an_answer_of_another_provider_is_not_taken_for_this_one_s() {
    // RFC 9207: mix-up.
    let rig = Rig::new().await;
    let with_issuer = async |issuer: Option<&str>| {
        let begun = rig.begin().await.unwrap();
        let answer = CallbackAnswer { issuer: issuer.map(str::to_owned), ..rig.idp.authorise(&begun.address) };
        rig.finish(&begun, answer).await
    };
    assert_eq!(
        with_issuer(Some("https://evil.example")).await.unwrap_err(),
        OidcError::NotBelieved("another provider answered")
    );
    with_issuer(None).await.unwrap();
    rig.idp.set(|idp| idp.metadata["authorization_response_iss_parameter_supported"] = true.into());
    rig.oidc.apply(&config(Vec::new()));
    rig.oidc.apply(&config(vec![provider(&rig.idp.issuer)]));
    assert!(with_issuer(None).await.is_err());
    with_issuer(Some(&rig.idp.issuer)).await.unwrap();
    let begun = rig.begin().await.unwrap();
    let refused = CallbackAnswer {
        code: None,
        error: Some("access_denied".to_owned()),
        issuer: Some(rig.idp.issuer.clone()),
        ..rig.idp.authorise(&begun.address)
    };
    assert_eq!(rig.finish(&begun, refused).await.unwrap_err(), OidcError::Refused);
}

#[tokio::test]
async fn keys_that_a_provider_changes_are_found_and_nobody_can_have_it_asked_without_end() {
    let rig = Rig::new().await;
    rig.sign_in().await.unwrap();
    rig.idp.rotate();
    rig.sign_in().await.unwrap();
    assert_eq!(rig.idp.asked("/keys"), 2);
    // Signed by a key that it does not show.
    rig.idp.set(|idp| idp.header = json!({"kid": "unknown"}));
    for _ in 0..20 {
        assert_eq!(rig.sign_in().await.unwrap_err(), OidcError::NotBelieved("a signature is wrong"));
    }
    assert_eq!(rig.idp.asked("/keys"), 2, "within ten seconds it is not asked again");
}

#[tokio::test]
async fn a_provider_that_is_down_slow_or_hostile_costs_bounded_time_and_says_nothing() {
    let down = Rig::with(|of| of.issuer = "http://127.0.0.1:1".to_owned()).await;
    let error = down.begin().await.unwrap_err();
    assert!(matches!(error, OidcError::Unavailable(_)), "{error}");
    for path in ["/.well-known/openid-configuration", "/keys"] {
        for answer in ["500", "garbage", "huge", "redirect", "nested", "empty"] {
            let rig = Rig::new().await;
            rig.idp.set(|idp| idp.odd = Some((path, answer)));
            let error = rig.begin().await.unwrap_err();
            assert!(matches!(error, OidcError::Unavailable(_)), "{path} {answer}: {error}");
            assert!(error.to_string().len() < 400, "{error}");
            assert_eq!(rig.idp.asked("/elsewhere"), 0, "no redirect is followed");
            // Others do not wait for it again.
            let asked = rig.idp.asked(path);
            assert!(rig.begin().await.is_err());
            assert_eq!(rig.idp.asked(path), asked);
        }
    }
    for answer in ["500", "garbage", "huge", "redirect", "nested", "empty"] {
        let rig = Rig::new().await;
        rig.idp.set(|idp| idp.odd = Some(("/token", answer)));
        let error = rig.sign_in().await.unwrap_err();
        assert!(matches!(error, OidcError::Unavailable(_) | OidcError::NotBelieved(_)), "{answer}: {error}");
        is_clean(&format!("{error} {error:?}"));
        assert_eq!(rig.idp.asked("/elsewhere"), 0, "no redirect is followed");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_given_up_and_eight_wait_for_it_at_most() {
    let rig = Rig::new().await;
    rig.begin().await.unwrap();
    rig.idp.set(|idp| idp.odd = Some(("/token", "silence")));
    let mut begun = Vec::new();
    for _ in 0..20 {
        begun.push(rig.begin().await.unwrap());
    }
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let ended = begun.iter().map(|begun| rig.finish(begun, rig.idp.authorise(&begun.address)));
    let ended = futures::future::join_all(ended).await;
    assert!(before.elapsed() <= EXCHANGE_TIME_MAX + Duration::from_secs(1), "{:?}", before.elapsed());
    let busy = ended.iter().filter(|ended| matches!(ended, Err(OidcError::Busy))).count();
    let given_up = ended.iter().filter(|ended| matches!(ended, Err(OidcError::Unavailable(_)))).count();
    assert_eq!((busy, given_up), (12, 8));
}

#[tokio::test]
async fn metadata_that_lead_elsewhere_or_name_another_are_refused() {
    for (member, value) in [
        ("issuer", "https://evil.example"),
        ("authorization_endpoint", "http://192.0.2.1/authorize"),
        ("authorization_endpoint", "javascript:alert(1)"),
        ("token_endpoint", "http://192.0.2.1/token"),
        ("token_endpoint", "file:///etc/passwd"),
        ("jwks_uri", "http://192.0.2.1/keys"),
    ] {
        let rig = Rig::new().await;
        rig.idp.set(|idp| idp.metadata[member] = value.into());
        let error = rig.begin().await.unwrap_err();
        assert!(matches!(error, OidcError::Unavailable(_)), "{member} {value}: {error}");
    }
    // A provider elsewhere names no address of this machine.
    let far = fetch::Fetch::new(&"https://id.example".parse().unwrap(), None).await.unwrap();
    for (url, may) in [
        ("https://other.example/", true),
        ("http://127.0.0.1/", false),
        ("http://id.example/", false),
        ("data:,x", false),
    ] {
        assert_eq!(far.may_go_to(&url.parse().unwrap()), may, "{url}");
    }
}
