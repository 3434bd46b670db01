//! The certificates of cameras: who signs, whether an authority of the operator's says so, and the signatures themselves.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, RsaParameters, RsaPssSaltLength, UnparsedPublicKey, VerificationAlgorithm};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::hashes::HashAlgorithm;
use crate::units::{TICKS_PER_SECOND, WallTime};

/// Certificates of one chain: the signing one and those above it.
const CHAIN_MAX: usize = 8;

/// Object identifiers of keys.
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";

/// Why a chain cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadCertificate {
    /// It is no PEM, or has no certificate.
    #[error("no certificate in PEM form (RFC 7468)")]
    Pem,
    /// More than a chain has.
    #[error("more than {CHAIN_MAX} certificates in one chain")]
    TooMany,
    /// It is no certificate.
    #[error("no X.509 certificate (RFC 5280)")]
    Malformed,
}

/// Authorities that the operator trusts to say who signs, and certificates of cameras that he names himself.
#[derive(Clone, Debug, Default)]
pub struct Anchors {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

impl Anchors {
    /// From PEM.
    ///
    /// # Errors
    /// [`BadCertificate`] where one of them is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadCertificate> {
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| BadCertificate::Pem)?;
        if certificates.is_empty() {
            return Err(BadCertificate::Pem);
        }
        let anchor = |certificate: &CertificateDer<'static>| {
            anchor_from_trusted_cert(certificate).map(|anchor| anchor.to_owned()).map_err(|_| BadCertificate::Malformed)
        };
        let anchors = certificates.iter().map(anchor).collect::<Result<_, _>>()?;
        Ok(Self { certificates, anchors })
    }

    /// There are none: nobody says who signs.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }
}

/// What is known of who signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// An anchor of the operator's says who, for the time of recording.
    Anchored,
    /// No anchor is configured: the key is all that is known.
    NotAnchored,
    /// There are anchors, and the chain leads to none of them.
    UnknownAuthority,
    /// The certificate was not valid when the pictures were recorded.
    NotValidThen,
}

impl Trust {
    /// Whether a signature under it counts.
    pub fn suffices(self) -> bool {
        matches!(self, Self::Anchored | Self::NotAnchored)
    }
}

/// Who signs: a certificate, and those above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    /// Its subject, as RFC 4514 writes it.
    pub subject: String,
    /// SHA-256 of its public key (`SubjectPublicKeyInfo`), in hexadecimal.
    pub public_key_sha256: String,
    /// First instant at which it is valid.
    pub not_before: WallTime,
    /// Last one.
    pub not_after: WallTime,
    /// Its authority lets it sign (RFC 5280 §4.2.1.3).
    may_sign: bool,
    key: PublicKey,
}

impl Certificate {
    /// From the PEM chain of a SEI message: the signing certificate first.
    ///
    /// # Errors
    /// [`BadCertificate`], saying what is wrong.
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadCertificate> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .take(CHAIN_MAX + 1)
            .collect::<Result<_, _>>()
            .map_err(|_| BadCertificate::Pem)?;
        if chain.len() > CHAIN_MAX {
            return Err(BadCertificate::TooMany);
        }
        let leaf = chain.first().ok_or(BadCertificate::Pem)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| BadCertificate::Malformed)?;
        let spki = parsed.public_key();
        let wall = |seconds: i64| WallTime(seconds.saturating_mul(TICKS_PER_SECOND));
        let hash = digest::digest(&digest::SHA256, spki.raw);
        Ok(Self {
            subject: parsed.subject().to_string(),
            public_key_sha256: hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: wall(parsed.validity().not_before.timestamp()),
            not_after: wall(parsed.validity().not_after.timestamp()),
            may_sign: parsed.key_usage().is_ok_and(|usage| {
                usage.is_none_or(|usage| usage.value.digital_signature() || usage.value.non_repudiation())
            }),
            key: PublicKey::of(spki),
            chain,
        })
    }

    /// Whether the key made this signature over these bytes.
    pub fn signed(&self, algorithm: HashAlgorithm, document: &[u8], signature: &[u8]) -> bool {
        let is_of = |how| UnparsedPublicKey::new(how, &self.key.bytes).verify(document, signature).is_ok();
        self.key.verifications(algorithm).into_iter().any(is_of)
    }

    /// What is known of it for pictures recorded then.
    pub fn trust(&self, anchors: &Anchors, recorded: WallTime) -> Trust {
        if recorded < self.not_before || recorded > self.not_after {
            return Trust::NotValidThen;
        }
        if anchors.is_empty() {
            return Trust::NotAnchored;
        }
        let Some((leaf, above)) = self.chain.split_first() else { return Trust::UnknownAuthority };
        if anchors.certificates.contains(leaf) {
            return Trust::Anchored;
        }
        let seconds = u64::try_from(recorded.0.div_euclid(TICKS_PER_SECOND)).unwrap_or(0);
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let verified = self.may_sign
            && EndEntityCert::try_from(leaf).is_ok_and(|leaf| {
                let algorithms = webpki::ALL_VERIFICATION_ALGS;
                leaf.verify_for_usage(algorithms, &anchors.anchors, above, at, AnyUsage, None, None).is_ok()
            });
        if verified { Trust::Anchored } else { Trust::UnknownAuthority }
    }
}

/// Certificates of cameras name no usage of the web's.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PublicKey {
    kind: KeyKind,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    P256,
    P384,
    P521,
    Rsa,
    Unsupported,
}

impl PublicKey {
    fn of(spki: &x509_parser::x509::SubjectPublicKeyInfo<'_>) -> Self {
        let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        let curve = curve.map(|curve| curve.to_id_string());
        let kind = match (spki.algorithm.algorithm.to_id_string().as_str(), curve.as_deref()) {
            (EC_PUBLIC_KEY, Some(P256)) => KeyKind::P256,
            (EC_PUBLIC_KEY, Some(P384)) => KeyKind::P384,
            (EC_PUBLIC_KEY, Some(P521)) => KeyKind::P521,
            (RSA_ENCRYPTION, _) => KeyKind::Rsa,
            _ => KeyKind::Unsupported,
        };
        Self { kind, bytes: spki.subject_public_key.data.to_vec() }
    }

    /// ECDSA as in X9.62. RSA as RSASSA-PSS, with a salt as long as the hash, or as long as the key has room for: OpenSSL,
    /// which cameras sign with, took the longest one until its version 3.1, unless it was told otherwise.
    fn verifications(&self, algorithm: HashAlgorithm) -> Vec<&'static dyn VerificationAlgorithm> {
        use HashAlgorithm::{Sha256, Sha384, Sha512};
        match (self.kind, algorithm) {
            (KeyKind::P256, Sha256) => vec![&signature::ECDSA_P256_SHA256_ASN1],
            (KeyKind::P256, Sha384) => vec![&signature::ECDSA_P256_SHA384_ASN1],
            (KeyKind::P384, Sha256) => vec![&signature::ECDSA_P384_SHA256_ASN1],
            (KeyKind::P384, Sha384) => vec![&signature::ECDSA_P384_SHA384_ASN1],
            (KeyKind::P521, Sha256) => vec![&signature::ECDSA_P521_SHA256_ASN1],
            (KeyKind::P521, Sha384) => vec![&signature::ECDSA_P521_SHA384_ASN1],
            (KeyKind::P521, Sha512) => vec![&signature::ECDSA_P521_SHA512_ASN1],
            (KeyKind::Rsa, Sha256) => vec![&signature::RSA_PSS_2048_8192_SHA256, &PSS_LONGEST_SALT_SHA256],
            (KeyKind::Rsa, Sha384) => vec![&signature::RSA_PSS_2048_8192_SHA384, &PSS_LONGEST_SALT_SHA384],
            (KeyKind::Rsa, Sha512) => vec![&signature::RSA_PSS_2048_8192_SHA512, &PSS_LONGEST_SALT_SHA512],
            (KeyKind::P256 | KeyKind::P384, Sha512) | (KeyKind::Unsupported, _) => Vec::new(),
        }
    }
}

static PSS_LONGEST_SALT_SHA256: RsaParameters =
    signature::RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);
static PSS_LONGEST_SALT_SHA384: RsaParameters =
    signature::RSA_PSS_2048_8192_SHA384.with_pss_salt_length(RsaPssSaltLength::Max);
static PSS_LONGEST_SALT_SHA512: RsaParameters =
    signature::RSA_PSS_2048_8192_SHA512.with_pss_salt_length(RsaPssSaltLength::Max);
