//! An OpenID provider on this machine, as a test wants it.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use parking_lot::Mutex;
use serde_json::{Value, json};
use url::Url;

use crate::oidc::CallbackAnswer;
use footage::clock::{Clock, SimClock};

pub(crate) const CLIENT: &str = "vigie";
pub(crate) const SECRET: &str = "the-client-s-own-secret";
pub(crate) const ACCESS_TOKEN: &str = "an-access-token";

enum Key {
    Ec(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

pub(crate) struct Behaviour {
    pub(crate) metadata: Value,
    /// Over what an ID token has.
    pub(crate) claims: Value,
    /// Over what its header has.
    pub(crate) header: Value,
    /// What is done to it when it is signed.
    pub(crate) tamper: fn(String) -> Option<String>,
    pub(crate) user_info: Value,
    pub(crate) user_info_is_signed: bool,
    pub(crate) access_token: String,
    /// A path, and how oddly it is answered.
    pub(crate) odd: Option<(&'static str, &'static str)>,
    key: Key,
    kid: String,
    asked: HashMap<String, usize>,
    /// Nonce and challenge by code.
    codes: HashMap<String, (String, String)>,
}

#[derive(Clone)]
pub(crate) struct Idp {
    pub(crate) issuer: String,
    clock: Arc<SimClock>,
    behaviour: Arc<Mutex<Behaviour>>,
}

fn ec() -> Key {
    Key::Ec(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
}

impl Idp {
    pub(crate) async fn start(clock: Arc<SimClock>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let at = |path: &str| format!("{issuer}{path}");
        let metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "userinfo_endpoint": at("/userinfo"),
            "jwks_uri": at("/keys"),
            "end_session_endpoint": at("/end?of=session"),
            "response_types_supported": ["code", "unheard-of"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["ES256", "RS256", "ES256K"],
        });
        let behaviour = Behaviour {
            metadata,
            claims: json!({}),
            header: json!({}),
            tamper: Some,
            user_info: json!({}),
            user_info_is_signed: true,
            access_token: ACCESS_TOKEN.to_owned(),
            odd: None,
            key: ec(),
            kid: "1".to_owned(),
            asked: HashMap::new(),
            codes: HashMap::new(),
        };
        let idp = Self { issuer, clock, behaviour: Arc::new(Mutex::new(behaviour)) };
        let app = axum::Router::new().fallback(answer).with_state(idp.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        idp
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock());
    }

    pub(crate) fn asked(&self, path: &str) -> usize {
        self.behaviour.lock().asked.get(path).copied().unwrap_or(0)
    }

    /// Another key, under another name.
    pub(crate) fn rotate(&self) {
        self.set(|idp| (idp.key, idp.kid) = (ec(), format!("{}1", idp.kid)));
    }

    pub(crate) fn with_rsa(&self) {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        self.set(|idp| (idp.key, idp.kid) = (Key::Rsa(Box::new(key)), "rsa".to_owned()));
    }

    /// What the browser brings back when its person has signed in.
    pub(crate) fn authorise(&self, address: &Url) -> CallbackAnswer {
        let asked = |name: &str| super::query(address, name).unwrap();
        let mut behaviour = self.behaviour.lock();
        let code = format!("the-code-{}", behaviour.codes.len());
        behaviour.codes.insert(code.clone(), (asked("nonce"), asked("code_challenge")));
        CallbackAnswer { code: Some(code.into()), state: asked("state"), issuer: None, error: None }
    }

    /// A token of these claims, with this over its header.
    pub(crate) fn signed(&self, claims: &Value, header: &Value) -> String {
        self.behaviour.lock().signed(claims, header)
    }

    fn now(&self) -> i64 {
        self.clock.wall().to_timestamp().as_second()
    }
}

/// These members over those.
pub(crate) fn over(mut below: Value, above: &Value) -> Value {
    for (name, value) in above.as_object().unwrap() {
        match value {
            // As a claim that is not there.
            Value::Null => drop(below.as_object_mut().unwrap().remove(name)),
            value => below[name] = value.clone(),
        }
    }
    below
}

impl Behaviour {
    fn signed(&self, claims: &Value, header: &Value) -> String {
        let algorithm = if matches!(self.key, Key::Ec(_)) { "ES256" } else { "RS256" };
        let header = over(json!({"alg": algorithm, "kid": self.kid}), header);
        let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match (header["alg"].as_str(), &self.key) {
            (Some("none"), _) => Vec::new(),
            (Some("HS256"), _) => {
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
                aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            (_, Key::Ec(key)) => key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            (_, Key::Rsa(key)) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", BASE64.encode(signature))
    }

    fn keys(&self) -> Value {
        let key = match &self.key {
            Key::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": BASE64.encode(x), "y": BASE64.encode(y)})
            }
            Key::Rsa(key) => {
                // RFC 8017 appendix A.1.1: what precedes the modulus of 2048 bits is nine bytes long, and the exponent is 65537.
                let modulus = &key.public_key().as_ref()[9..265];
                json!({"kty": "RSA", "n": BASE64.encode(modulus), "e": "AQAB"})
            }
        };
        // Beside one that nobody knows.
        json!({"keys": [{"kty": "unheard-of"}, over(key, &json!({"kid": self.kid, "use": "sig"}))]})
    }

    fn tokens(&self, form: &HashMap<String, String>, issuer: &str, now: i64) -> Option<Value> {
        let (nonce, challenge) = self.codes.get(form.get("code")?)?;
        let verifier = BASE64.encode(digest(&SHA256, form.get("code_verifier")?.as_bytes()));
        let is_right = verifier == *challenge
            && form.get("redirect_uri")? == "https://vigie.example/sign-in/directory/callback"
            && form.get("grant_type")? == "authorization_code";
        let claims = json!({
            "iss": issuer, "sub": "42", "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": nonce,
            "email": "Marie@town.example", "email_verified": true,
        });
        let token = (self.tamper)(self.signed(&over(claims, &self.claims), &self.header));
        let answer = json!({"access_token": self.access_token, "token_type": "Bearer", "expires_in": 60});
        is_right.then(|| over(answer, &json!({"id_token": token})))
    }
}

async fn answer(State(idp): State<Idp>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    *idp.behaviour.lock().asked.entry(path.clone()).or_default() += 1;
    let odd = idp.behaviour.lock().odd.filter(|(of, _)| *of == path).map(|(_, odd)| odd);
    let json = |text: String| ([(header::CONTENT_TYPE, "application/json")], text).into_response();
    match odd {
        Some("500") => return (StatusCode::INTERNAL_SERVER_ERROR, SECRET).into_response(),
        Some("garbage") => return json(format!("{{{SECRET}")),
        Some("huge") => return json("[".repeat(1 << 20)),
        Some("nested") => return json("[".repeat(100_000)),
        Some("empty") => return json("{}".to_owned()),
        Some("redirect") => return axum::response::Redirect::temporary("/elsewhere").into_response(),
        Some("silence") => return std::future::pending().await,
        _ => {}
    }
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (behaviour, now) = (idp.behaviour.lock(), idp.now());
    match path.as_str() {
        "/.well-known/openid-configuration" => json(behaviour.metadata.to_string()),
        "/keys" => json(behaviour.keys().to_string()),
        "/token" => {
            let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")));
            let tokens = behaviour.tokens(&form, &idp.issuer, now).filter(|_| authorization == Some(&basic));
            match tokens {
                Some(tokens) => json(tokens.to_string()),
                None => (StatusCode::BAD_REQUEST, json(json!({"error": "invalid_grant"}).to_string())).into_response(),
            }
        }
        "/userinfo" => {
            assert_eq!(authorization, Some(format!("Bearer {ACCESS_TOKEN}").as_str()));
            if !behaviour.user_info_is_signed {
                return json(behaviour.user_info.to_string());
            }
            let token = behaviour.signed(&behaviour.user_info, &json!({}));
            ([(header::CONTENT_TYPE, "application/jwt; charset=utf-8")], token).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
