//! What is believed of what a provider sends.

use super::*;

/// What comes of an ID token with these over its claims and its header.
async fn with(rig: &Rig, claims: Value, header: Value) -> Result<Vouched, OidcError> {
    rig.idp.set(|idp| (idp.claims, idp.header) = (claims, header));
    rig.sign_in().await
}

#[tokio::test]
async fn what_is_not_signed_for_this_gateway_this_sign_in_and_this_time_is_not_believed() {
    let rig = Rig::new().await;
    let now = noon().to_timestamp().as_second();
    let none = || json!({});
    let refused = [
        (json!({"iss": "https://evil.example"}), none()),
        (json!({"iss": format!("{}/", rig.idp.issuer)}), none()),
        (json!({"aud": "another"}), none()),
        (json!({"aud": ["vigie", "another"]}), none()),
        (json!({"aud": null}), none()),
        (json!({"azp": "another"}), none()),
        (json!({"nonce": "of another sign-in"}), none()),
        (json!({"nonce": null}), none()),
        (json!({"exp": now - 61}), none()),
        (json!({"exp": -1}), none()),
        (json!({"exp": i64::MAX, "iat": i64::MIN}), none()),
        (json!({"exp": "soon"}), none()),
        (json!({"exp": null}), none()),
        (json!({"iat": now + 61}), none()),
        (json!({"iat": now - 661}), none()),
        (json!({"sub": null}), none()),
        (json!({"sub": ""}), none()),
        (json!({"sub": "x".repeat(256)}), none()),
        (json!({"sub": "a\nb"}), none()),
        (json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}), none()),
        (none(), json!({"alg": "none"})),
        (none(), json!({"alg": "HS256", "kid": null})),
        (none(), json!({"alg": "RS256"})),
        (none(), json!({"alg": "PS256"})),
        (none(), json!({"alg": "unheard-of"})),
        (none(), json!({"kid": "another"})),
        (none(), json!({"typ": "at+jwt"})),
        (none(), json!({"typ": "logout+jwt"})),
        (none(), json!({"crit": ["x"]})),
    ];
    for (claims, header) in refused {
        let error = with(&rig, claims.clone(), header.clone()).await.unwrap_err();
        assert!(matches!(error, OidcError::NotBelieved(_)), "{claims} {header}: {error}");
        is_clean(&format!("{error} {error:?}"));
    }
    let tampers: [fn(String) -> Option<String>; 5] = [
        |_| None,
        |token| token.rsplit_once('.').map(|(signed, _)| format!("{signed}.")),
        |token| token.rsplit_once('.').map(|(signed, _)| format!("{signed}.{}", "A".repeat(86))),
        |_| Some("no token".to_owned()),
        |token| Some(token.replacen('.', ".e30.", 1)),
    ];
    for tamper in tampers {
        rig.idp.set(|idp| (idp.claims, idp.header, idp.tamper) = (none(), none(), tamper));
        let error = rig.sign_in().await.unwrap_err();
        assert!(matches!(error, OidcError::NotBelieved(_)), "{error}");
    }
    rig.idp.set(|idp| idp.tamper = Some);
    for claims in [none(), json!({"exp": now - 59, "iat": now - 600}), json!({"azp": "vigie", "aud": ["vigie"]})] {
        with(&rig, claims, none()).await.unwrap();
    }
}

#[tokio::test]
async fn rsa_is_taken_where_it_is_allowed_and_a_level_that_is_too_low_is_not() {
    let rig = Rig::with(|of| of.acr_values = vec!["eidas2".to_owned()]).await;
    rig.idp.with_rsa();
    with(&rig, json!({"acr": "eidas2"}), json!({})).await.unwrap();
    for acr in [Value::Null, "eidas1".into(), "eidas22".into(), "".into()] {
        assert_eq!(with(&rig, json!({"acr": acr}), json!({})).await.unwrap_err(), OidcError::TooWeak);
    }
    let rig = Rig::with(|of| of.algorithms = vec![OidcAlgorithm::Es256]).await;
    rig.idp.with_rsa();
    assert!(rig.sign_in().await.is_err());
}

#[tokio::test]
async fn signed_user_info_is_of_the_same_subject_and_for_this_gateway() {
    let rig = Rig::with(|of| {
        (of.userinfo, of.email_trusted) = (UserInfo::Signed, true);
        of.tenants[0].claim = Some(("siret".to_owned(), "215".to_owned()));
    })
    .await;
    rig.idp.with_rsa();
    rig.idp.set(|idp| idp.claims = json!({"email": null, "email_verified": null}));
    let sound = json!({"iss": rig.idp.issuer, "aud": "vigie", "sub": "42", "email": "m@town.example", "siret": 215});
    rig.idp.set(|idp| idp.user_info = sound.clone());
    let vouched = rig.sign_in().await.unwrap();
    assert_eq!((vouched.account.email.as_deref(), vouched.tenants), (Some("m@town.example"), vec![town()]));
    for wrong in [
        json!({"iss": "https://evil.example"}),
        json!({"iss": null}),
        json!({"aud": "another"}),
        json!({"aud": null}),
        json!({"sub": "43"}),
        json!({"sub": null}),
    ] {
        rig.idp.set(|idp| idp.user_info = idp::over(sound.clone(), &wrong));
        let error = rig.sign_in().await.unwrap_err();
        assert!(matches!(error, OidcError::NotBelieved(_)), "{wrong}: {error}");
    }
    rig.idp.set(|idp| (idp.user_info, idp.user_info_is_signed) = (sound.clone(), false));
    assert_eq!(rig.sign_in().await.unwrap_err(), OidcError::NotBelieved("its user info is not signed"));
    for answer in ["500", "garbage", "huge", "redirect", "nested", "empty"] {
        rig.idp.set(|idp| idp.odd = Some(("/userinfo", answer)));
        is_clean(&rig.sign_in().await.unwrap_err().to_string());
    }
    // No word of it changes what the ID token says.
    rig.idp.set(|idp| {
        (idp.odd, idp.user_info_is_signed) = (None, true);
        idp.claims = json!({"siret": "216"});
    });
    assert_eq!(rig.sign_in().await.unwrap().tenants, []);
}

#[tokio::test]
async fn plain_user_info_is_taken_where_the_configuration_says_so_and_no_token_breaks_a_header() {
    let rig = Rig::with(|of| of.userinfo = UserInfo::Plain).await;
    rig.idp.set(|idp| {
        (idp.user_info, idp.user_info_is_signed) = (json!({"sub": "42", "groups": ["a"]}), false);
    });
    rig.sign_in().await.unwrap();
    for hostile in ["a\r\nx-evil: 1", "é", "", &"x".repeat(100_000)] {
        rig.idp.set(|idp| idp.access_token = hostile.to_owned());
        let error = rig.sign_in().await.unwrap_err();
        assert!(matches!(error, OidcError::NotBelieved(_)), "{error}");
    }
}

#[tokio::test]
async fn an_address_counts_only_where_it_is_verified() {
    for (claims, trusted, counts) in [
        (json!({}), false, true),
        (json!({"email_verified": "true"}), false, true),
        (json!({"email_verified": false}), true, false),
        (json!({"email_verified": "false"}), true, false),
        (json!({"email_verified": null}), false, false),
        (json!({"email_verified": null}), true, true),
        (json!({"email": "no address"}), true, false),
        (json!({"email": format!("{}@town.example", "x".repeat(300))}), true, false),
    ] {
        let rig = Rig::with(|of| of.email_trusted = trusted).await;
        let vouched = with(&rig, claims.clone(), json!({})).await.unwrap();
        assert_eq!(vouched.account.email.is_some(), counts, "{claims} {trusted}");
    }
    // The Kelvin sign becomes a "k" in lower case, and is none.
    let rig = Rig::new().await;
    let vouched = with(&rig, json!({"email": "ni\u{212a}@town.example"}), json!({})).await.unwrap();
    assert_ne!(vouched.account.email.unwrap(), "nik@town.example");
}

#[test]
fn claims_narrow_and_never_give() {
    let mut config = provider("https://id.example");
    let claims = |value: Value| match value {
        Value::Object(claims) => claims,
        _ => panic!("claims are an object"),
    };
    let act = Act {
        authority: "le maire".to_owned(),
        number: "2026-117".to_owned(),
        date: date(2026, 1, 1),
        until: date(2026, 12, 31),
    };
    let (name, role, scope) = ("Marie".to_owned(), "operator".to_owned(), Scope::default());
    let designation = Designation { name, role, act, scope };
    let (since, revoked, grants) = (noon().to_timestamp(), None, Vec::new());
    let (tenant, id) = (town(), "marie".parse().unwrap());
    let marie = Person { tenant, id, designation, since, revoked, grants };
    let agrees = |config: &OidcProvider, value: Value| Agreement::of(&claims(value), config).agrees(&marie);
    assert!(agrees(&config, json!({})));
    config.role_claim = Some("groups".to_owned());
    config.roles = vec![("vp".to_owned(), "operator".to_owned()), ("chefs".to_owned(), "supervisor".to_owned())];
    for (groups, want) in [
        (json!(["x", "vp"]), true),
        (json!("vp"), true),
        (json!(["chefs"]), false),
        (json!([["vp"]]), false),
        (json!({"vp": "vp"}), false),
        (json!("vp vp"), false),
        (Value::Null, false),
    ] {
        assert_eq!(agrees(&config, json!({"groups": groups})), want, "{groups}");
    }
    assert!(!agrees(&config, json!({})));
    (config.role_claim, config.act_claim) = (None, Some("act".to_owned()));
    for (act, want) in [(json!("2026-117"), true), (json!("2026-118"), false), (json!(["2026-117"]), false)] {
        assert_eq!(agrees(&config, json!({"act": act})), want, "{act}");
    }
    assert!(!agrees(&config, json!({})));
    config.tenants[0].claim = Some(("siret".to_owned(), "215".to_owned()));
    for (siret, speaks) in [(json!("215"), true), (json!(215), true), (json!(["1", "215"]), true), (json!("21"), false)]
    {
        let found = vouch::tenants(&claims(json!({"siret": siret})), &config);
        assert_eq!(!found.is_empty(), speaks, "{siret}");
    }
    assert_eq!(vouch::tenants(&claims(json!({})), &config), []);
}
