use footage::signing::{Anchors, Reason, Remark, Report, Trust, Verdict, Verifier, certificate_sei, signing_seis};
use footage::units::TICKS_PER_SECOND;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

use super::*;

mod attacks;
mod chains;
mod edits;

const CODECS: [VideoCodec; 2] = [VideoCodec::H264, VideoCodec::H265];

/// Access units, each as its NAL units.
type Film = Vec<Vec<Vec<u8>>>;

/// An authority, and cameras' identities from it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    anchors: Anchors,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let anchors = Anchors::from_pem(certificate.pem().as_bytes()).unwrap();
        Self { issuer: Issuer::new(params, key), anchors }
    }

    fn identity(&self, until_year: i32) -> Identity {
        self.identity_of("camera", until_year)
    }

    fn identity_of(&self, name: &str, until_year: i32) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::new(&key.serialize_der(), &certificate.pem()).unwrap()
    }
}

/// Picture `n` of a film: GOPs of five pictures, two slices each.
fn slices(codec: VideoCodec, n: u8) -> Vec<Vec<u8>> {
    let intra = n.is_multiple_of(5);
    let header = match (codec, intra) {
        (VideoCodec::H264, true) => vec![0x65],
        (VideoCodec::H264, false) => vec![0x41],
        (VideoCodec::H265, true) => vec![19 << 1, 1],
        (VideoCodec::H265, false) => vec![1 << 1, 1],
    };
    [0x88, 0x08].map(|first| [&header[..], &[first, n, n ^ 0x5a, 7, 0x80]].concat()).to_vec()
}

/// Slices here are short, SEI messages are not.
fn is_slice(nal: &[u8]) -> bool {
    nal.len() < 16
}

fn time(n: usize) -> WallTime {
    let start: WallTime = "2026-03-01T12:00:00Z".parse().unwrap();
    WallTime(start.0 + n as i64 * TICKS_PER_SECOND / 5)
}

fn unit(nals: &[Vec<u8>]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect()
}

/// So many pictures, each with its SEI messages, as they are stored.
fn film(signer: &mut Signer, codec: VideoCodec, pictures: std::ops::Range<u8>) -> Film {
    pictures
        .map(|n| {
            let own = slices(codec, n);
            let nals: Vec<&[u8]> = own.iter().map(|nal| &nal[..]).collect();
            [signer.picture(&nals, time(n.into())), own].concat()
        })
        .collect()
}

fn signed(how: &Signing, codec: VideoCodec, pictures: u8) -> Film {
    film(&mut Signer::new(how.clone(), codec), codec, 0..pictures)
}

fn verify(codec: VideoCodec, film: &[Vec<Vec<u8>>], anchors: &Anchors) -> Report {
    let mut verifier = Verifier::new(codec, anchors.clone());
    film.iter().enumerate().for_each(|(n, nals)| verifier.push(&unit(nals), time(n)));
    verifier.finish()
}

/// Signs a film, changes it, and expects that verdict, and where there is one, that reason.
fn check(change: impl Fn(&mut Film), verdict: Verdict, reason: Option<Reason>) {
    let authority = Authority::new();
    let how = Signing::of(authority.identity(2030));
    for codec in CODECS {
        let mut film = signed(&how, codec, 32);
        change(&mut film);
        let report = verify(codec, &film, &authority.anchors);
        assert_eq!(report.verdict, verdict, "{codec:?}: {report:#?}");
        let found = report.stretches.iter().find_map(|stretch| stretch.reason);
        assert_eq!(found, reason, "{codec:?}: {report:#?}");
    }
}

#[test]
fn what_a_camera_signed_is_authentic_however_it_signs() {
    let authority = Authority::new();
    let how = Signing::of(authority.identity(2030));
    for codec in CODECS {
        for how in [
            how.clone(),
            Signing { escaped: false, ..how.clone() },
            Signing { hash_list: false, ..how.clone() },
            Signing { gops_per_signature: 3, ..how.clone() },
            Signing { pictures_per_part: 2, ..how.clone() },
            Signing { certificate_every_gops: 1, ..how.clone() },
        ] {
            let report = verify(codec, &signed(&how, codec, 32), &authority.anchors);
            assert_eq!(report.verdict, Verdict::Authentic, "{how:?}: {report:#?}");
            let [stretch] = &report.stretches[..] else { panic!("one stretch: {report:#?}") };
            assert_eq!((stretch.start, stretch.missing, stretch.altered), (time(0), 0, 0));
            assert!(stretch.authentic >= 50, "five GOPs of ten slices: {report:#?}");
            let [certificate] = &report.certificates[..] else { panic!("one certificate: {report:#?}") };
            assert_eq!(certificate.trust, Some(Trust::Anchored));
            assert_eq!(report.vendor.unwrap().manufacturer, "Vigie");
        }
    }
}

#[test]
fn an_rsa_key_signs_too_and_without_an_anchor_its_fingerprint_is_shown() {
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let identity = Identity::new(&key.serialize_der(), &certificate.pem()).unwrap();
    for identity in [identity.clone(), identity.with_longest_salt()] {
        let film = signed(&Signing::of(identity), VideoCodec::H264, 32);
        let report = verify(VideoCodec::H264, &film, &Anchors::default());
        assert_eq!(report.verdict, Verdict::Authentic, "{report:#?}");
        assert_eq!(report.certificates[0].trust, Some(Trust::NotAnchored));
        assert_eq!(report.certificates[0].public_key_sha256.len(), 64);
    }
}

#[test]
fn a_stream_without_signatures_is_not_signed() {
    check(|film| film.iter_mut().for_each(|nals| nals.retain(|nal| is_slice(nal))), Verdict::NotSigned, None);
}

#[test]
fn a_camera_that_signed_once_and_does_not_now_is_not_signed() {
    let authority = Authority::new();
    let how = Signing { certificate_every_gops: 1, ..Signing::of(authority.identity(2030)) };
    for codec in CODECS {
        let signed = signed(&how, codec, 32);
        let certificate = signed.iter().find_map(|nals| certificate_sei(codec, &unit(nals)).map(<[u8]>::to_vec));
        let certificate = certificate.unwrap();
        let mut plain = signed.clone();
        plain.iter_mut().for_each(|nals| nals.retain(|nal| is_slice(nal)));
        let mut verifier = Verifier::new(codec, authority.anchors.clone());
        verifier.remember(&certificate);
        plain.iter().enumerate().for_each(|(n, nals)| verifier.push(&unit(nals), time(n)));
        let report = verifier.finish();
        assert_eq!(report.verdict, Verdict::NotSigned, "{codec:?}: {report:#?}");
        assert_eq!(report.stretches.iter().find_map(|stretch| stretch.reason), None);

        // A clip of it begins with the certificate.
        plain[0].insert(0, certificate);
        assert_eq!(verify(codec, &plain, &authority.anchors).verdict, Verdict::NotSigned, "{codec:?}");
    }
}

#[test]
fn one_flipped_bit_in_a_slice_is_not_authentic() {
    for picture in [0, 7, 12, 20] {
        let flip = |film: &mut Film| {
            let nal = film[picture].last_mut().unwrap();
            let at = nal.len() - 2;
            nal[at] ^= 1;
        };
        check(flip, Verdict::NotAuthentic, Some(Reason::Altered));
    }
}

#[test]
fn a_missing_slice_and_a_missing_gop_are_counted_and_the_rest_is_authentic() {
    check(|film| drop(film[7].pop()), Verdict::AuthenticWithMissing, None);
    check(|film| film[8].clear(), Verdict::AuthenticWithMissing, None);
    // Pictures 10 to 14 with the statement on them, which comes in picture 16.
    let gop = |film: &mut Film| {
        film[10..15].iter_mut().for_each(|nals| nals.retain(|nal| !is_slice(nal)));
        film[16].retain(|nal| is_slice(nal));
    };
    check(gop, Verdict::AuthenticWithMissing, None);
}

#[test]
fn slices_that_changed_places_and_added_ones_are_not_authentic() {
    check(|film| film.swap(7, 8), Verdict::NotAuthentic, Some(Reason::Altered));
    let insert = |film: &mut Film| {
        let copy = film[7].last().unwrap().clone();
        film[8].push(copy);
    };
    check(insert, Verdict::NotAuthentic, Some(Reason::Altered));
}

#[test]
fn a_gop_without_its_statement_and_one_that_is_shown_twice_are_not_authentic() {
    check(|film| film[11].retain(|nal| is_slice(nal)), Verdict::NotAuthentic, Some(Reason::NotCovered));
    let again = |film: &mut Film| {
        let gop = film[5..12].to_vec();
        film.splice(12..12, gop);
    };
    let authority = Authority::new();
    let how = Signing::of(authority.identity(2030));
    for codec in CODECS {
        let mut film = signed(&how, codec, 32);
        again(&mut film);
        assert_eq!(verify(codec, &film, &authority.anchors).verdict, Verdict::NotAuthentic);
    }
}

#[test]
fn a_certificate_that_had_run_out_when_it_was_recorded_does_not_count() {
    let authority = Authority::new();
    let cases = [(2025, Verdict::NotAuthentic, Trust::NotValidThen), (2027, Verdict::Authentic, Trust::Anchored)];
    for (until, verdict, trust) in cases {
        let how = Signing::of(authority.identity(until));
        let report = verify(VideoCodec::H264, &signed(&how, VideoCodec::H264, 32), &authority.anchors);
        assert_eq!((report.verdict, report.certificates[0].trust), (verdict, Some(trust)), "{report:#?}");
    }
}

#[test]
fn another_authority_does_not_vouch() {
    let how = Signing::of(Authority::new().identity(2030));
    let report = verify(VideoCodec::H264, &signed(&how, VideoCodec::H264, 32), &Authority::new().anchors);
    assert_eq!(report.verdict, Verdict::NotAuthentic);
    assert_eq!(report.stretches[0].reason, Some(Reason::UnknownAuthority));
}

#[test]
fn a_rotated_certificate_goes_on_where_an_anchor_vouches_and_is_refused_where_none_does() {
    let authority = Authority::new();
    for codec in CODECS {
        let mut signer = Signer::new(Signing::of(authority.identity(2030)), codec);
        let mut whole = film(&mut signer, codec, 0..15);
        whole[14].extend(signer.finish(time(15)));
        let mut other = Signer::new(Signing::of(authority.identity(2030)), codec);
        whole.extend(film(&mut other, codec, 15..32));
        let report = verify(codec, &whole, &authority.anchors);
        assert_eq!(report.verdict, Verdict::Authentic, "{report:#?}");
        assert_eq!(report.certificates.len(), 2);
        let report = verify(codec, &whole, &Anchors::default());
        assert_eq!(report.verdict, Verdict::NotAuthentic, "{report:#?}");
        assert!(report.stretches.iter().any(|stretch| stretch.reason == Some(Reason::KeyChanged)), "{report:#?}");
    }
}

#[test]
fn a_stretch_from_the_middle_verifies_with_the_certificate_sei_that_was_remembered() {
    let authority = Authority::new();
    let how = Signing::of(authority.identity(2030));
    for codec in CODECS {
        let film = signed(&how, codec, 32);
        let first = unit(&film[0]);
        let sei = signing_seis(codec, &first).next().unwrap();
        for from in [5, 10] {
            let stretch = &film[from..];
            let report = verify(codec, stretch, &authority.anchors);
            assert_eq!(report.verdict, Verdict::NotAuthentic, "its key is not known: {report:#?}");
            let mut verifier = Verifier::new(codec, authority.anchors.clone());
            verifier.remember(sei);
            stretch.iter().enumerate().for_each(|(n, nals)| verifier.push(&unit(nals), time(n)));
            let report = verifier.finish();
            assert_eq!(report.verdict, Verdict::Authentic, "{report:#?}");
        }
    }
}

#[test]
fn pictures_appended_to_a_signed_stream_are_not_taken_for_its_tail() {
    let append = |film: &mut Film| {
        let mut forged = film[10..30].to_vec();
        forged.iter_mut().for_each(|nals| nals.retain(|nal| is_slice(nal)));
        film.extend(forged);
    };
    check(append, Verdict::NotAuthentic, Some(Reason::NotCovered));
}

#[test]
fn zeros_that_a_writer_of_files_added_after_a_slice_change_nothing() {
    check(|film| film[7].last_mut().unwrap().extend([0, 0]), Verdict::Authentic, None);
}
