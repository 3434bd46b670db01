//! Chains of certificates that an authority of the operator's did not mean, under its name.

use rcgen::{Certificate, CustomExtension};

use super::*;

/// A camera's identity from this issuer, after `change`, with the certificates above it.
fn identity(issuer: &Issuer<'_, KeyPair>, above: &str, change: impl Fn(&mut CertificateParams)) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    change(&mut params);
    let certificate = params.signed_by(&key, issuer).unwrap();
    Identity::new(&key.serialize_der(), &[certificate.pem().as_str(), above].concat()).unwrap()
}

fn intermediate(authority: &Authority, is_ca: IsCa) -> (Issuer<'static, KeyPair>, Certificate) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = is_ca;
    params.distinguished_name.push(rcgen::DnType::CommonName, "intermediate");
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    (Issuer::new(params, key), certificate)
}

fn check_chain(identity: Identity, authority: &Authority, expect: Result<(), Reason>) {
    let film = signed(&Signing::of(identity), VideoCodec::H264, 32);
    let report = verify(VideoCodec::H264, &film, &authority.anchors);
    let verdict = if expect.is_ok() { Verdict::Authentic } else { Verdict::NotAuthentic };
    assert_eq!(report.verdict, verdict, "{report:#?}");
    let reason = report.stretches.iter().find_map(|stretch| stretch.reason);
    assert_eq!(reason, expect.err(), "{report:#?}");
}

#[test]
fn an_intermediate_authority_vouches_and_a_certificate_that_is_none_does_not() {
    let authority = Authority::new();
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cases = [
        (ca, Ok(())),
        (IsCa::ExplicitNoCa, Err(Reason::UnknownAuthority)),
        (IsCa::NoCa, Err(Reason::UnknownAuthority)),
    ];
    for (is_ca, expect) in cases {
        let (issuer, certificate) = intermediate(&authority, is_ca);
        check_chain(identity(&issuer, &certificate.pem(), |_| ()), &authority, expect);
    }
}

#[test]
fn a_certificate_that_is_not_valid_yet_or_says_what_is_not_understood_does_not_count() {
    let authority = Authority::new();
    let later = identity(&authority.issuer, "", |params| params.not_before = date_time_ymd(2026, 3, 2));
    check_chain(later, &authority, Err(Reason::CertificateNotValidThen));
    let critical = identity(&authority.issuer, "", |params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    });
    check_chain(critical, &authority, Err(Reason::UnknownAuthority));
}

#[test]
fn a_certificate_whose_key_may_not_sign_does_not_count() {
    let authority = Authority::new();
    for (usage, expect) in [
        (rcgen::KeyUsagePurpose::DigitalSignature, Ok(())),
        (rcgen::KeyUsagePurpose::KeyEncipherment, Err(Reason::UnknownAuthority)),
    ] {
        let change = |params: &mut CertificateParams| params.key_usages.push(usage);
        check_chain(identity(&authority.issuer, "", change), &authority, expect);
    }
}

#[test]
fn a_chain_that_loops_ends_and_a_long_one_is_not_read() {
    let authority = Authority::new();
    let (issuer, certificate) = intermediate(&authority, IsCa::Ca(BasicConstraints::Unconstrained));
    let seven = certificate.pem().repeat(7);
    check_chain(identity(&issuer, &seven, |_| ()), &authority, Ok(()));
    let eight = certificate.pem().repeat(8);
    check_chain(identity(&issuer, &eight, |_| ()), &authority, Err(Reason::NoCertificate));
    let foreign = Authority::new();
    let (issuer, certificate) = intermediate(&foreign, IsCa::Ca(BasicConstraints::Unconstrained));
    let looped = certificate.pem().repeat(7);
    check_chain(identity(&issuer, &looped, |_| ()), &authority, Err(Reason::UnknownAuthority));
}
