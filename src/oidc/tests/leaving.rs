//! Signing out at a provider, and being signed out by one.

use super::*;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn sound(rig: &Rig) -> Value {
    let now = rig.clock.wall().to_timestamp().as_second();
    json!({"iss": rig.idp.issuer, "aud": "vigie", "iat": now, "exp": now + 120, "jti": "1", "sid": "s", "sub": "42",
        "events": {EVENT: {}}})
}

async fn presented(rig: &Rig, token: String) -> Result<SignedOut, OidcError> {
    rig.oidc.signed_out(&id(), &token.into()).await
}

#[tokio::test]
async fn a_logout_token_says_whose_sessions_are_over_and_is_taken_once() {
    let rig = Rig::new().await;
    let token = rig.idp.signed(&sound(&rig), &json!({"typ": "logout+jwt"}));
    let done = presented(&rig, token.clone()).await.unwrap();
    assert_eq!((done.subject.as_deref(), done.sid.as_deref()), (Some("42"), Some("s")));
    assert_eq!(done.before, noon().to_timestamp() + LEEWAY);
    let again = OidcError::NotBelieved("a logout token was presented before");
    assert_eq!(presented(&rig, token.clone()).await.unwrap_err(), again);
    rig.later(170);
    assert_eq!(presented(&rig, token.clone()).await.unwrap_err(), again, "for as long as it is in force");
    rig.later(20);
    assert!(presented(&rig, token).await.is_err(), "and then it is over");
    for one in ["sid", "sub"] {
        let claims = idp::over(sound(&rig), &json!({one: null, "jti": one}));
        presented(&rig, rig.idp.signed(&claims, &json!({}))).await.unwrap();
    }
    rig.idp.rotate();
    let claims = idp::over(sound(&rig), &json!({"jti": "after rotation", "aud": ["vigie"], "exp": null}));
    presented(&rig, rig.idp.signed(&claims, &json!({}))).await.unwrap();
}

#[tokio::test]
async fn what_is_no_logout_token_of_now_for_this_gateway_ends_nothing() {
    let rig = Rig::new().await;
    let now = noon().to_timestamp().as_second();
    let none = || json!({});
    for (claims, header) in [
        (json!({"iss": "https://evil.example"}), none()),
        (json!({"aud": "another"}), none()),
        (json!({"aud": ["vigie", "another"]}), none()),
        (json!({"events": null}), none()),
        (json!({"events": {}}), none()),
        (json!({"events": {EVENT: true}}), none()),
        (json!({"events": [EVENT]}), none()),
        (json!({"nonce": "of an ID token"}), none()),
        (json!({"sid": null, "sub": null}), none()),
        (json!({"sid": "x".repeat(1_000)}), none()),
        (json!({"sub": 42}), none()),
        (json!({"jti": null}), none()),
        (json!({"jti": "x".repeat(1_000)}), none()),
        (json!({"iat": null}), none()),
        (json!({"iat": now + 61}), none()),
        (json!({"iat": now - 300, "exp": now - 61}), none()),
        (json!({"iat": now - 300, "exp": null}), none()),
        (json!({"iat": i64::MAX}), none()),
        (json!({"iat": 253_402_207_200_i64, "exp": 253_402_207_200_i64}), none()),
        (json!({"exp": now + 7_200}), none()),
        (json!({"exp": "soon"}), none()),
        (none(), json!({"alg": "none"})),
        (none(), json!({"alg": "HS256"})),
        (none(), json!({"alg": "RS256"})),
        (none(), json!({"kid": "another"})),
        (none(), json!({"typ": "at+jwt"})),
        (none(), json!({"crit": []})),
    ] {
        let token = rig.idp.signed(&idp::over(sound(&rig), &claims), &header);
        let error = presented(&rig, token).await.unwrap_err();
        assert!(matches!(error, OidcError::NotBelieved(_)), "{claims} {header}: {error}");
    }
    for garbage in ["", "a", "a.b", "a.b.c", "....", "e30.e30.e30", &"A".repeat(60_000)] {
        assert!(presented(&rig, garbage.to_owned()).await.is_err(), "{garbage}");
    }
    let unknown = rig.oidc.signed_out(&"other".parse().unwrap(), &"x".into()).await;
    assert_eq!(unknown.unwrap_err(), OidcError::NoProvider);
    presented(&rig, rig.idp.signed(&sound(&rig), &none())).await.unwrap();
}

#[tokio::test]
async fn a_browser_is_sent_to_sign_out_at_the_provider_where_that_is_known() {
    let rig = Rig::new().await;
    let address = rig.oidc.sign_out_address(&id(), Some(&"the token".into())).await.unwrap();
    let asked = |name: &str| query(&address, name).unwrap_or_default();
    assert_eq!((asked("of"), asked("id_token_hint")), ("session".to_owned(), "the token".to_owned()));
    assert_eq!(asked("client_id"), CLIENT);
    assert_eq!(asked("post_logout_redirect_uri"), "https://vigie.example/sign-in");
    for end in [Value::Null, "javascript:alert(1)".into(), "http://192.0.2.1/".into()] {
        let rig = Rig::new().await;
        rig.idp.set(|idp| idp.metadata["end_session_endpoint"] = end.clone());
        assert_eq!(rig.oidc.sign_out_address(&id(), None).await, None, "{end}");
    }
    let down = Rig::with(|of| of.issuer = "http://127.0.0.1:1".to_owned()).await;
    assert_eq!(down.oidc.sign_out_address(&id(), None).await, None);
}
