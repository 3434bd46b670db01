//! The signatures of a package: of the gateway's own key, and of the authority's certificate where there is one.
//!
//! Both are over the bytes of the manifest, and beside them, so that `openssl` verifies them as they are.
//! Invariant: a public key has one text. Nothing is secret in a `Debug` or an error.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, aws_lc_rs as algorithms};

use crate::sums;

/// The SubjectPublicKeyInfo of an Ed25519 key, before its 32 bytes (RFC 8410 §4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The longest public key, or list of certificates, in bytes of PEM.
pub const PEM_BYTES_MAX: u64 = 64 * 1024;
/// The longest signature, in bytes: RSA of 8192 bits.
pub const SIGNATURE_BYTES_MAX: u64 = 1024;
/// Certificates of one list.
const CERTIFICATES_MAX: usize = 16;
/// Purposes that a certificate may be limited to, as the bytes of their encoding: signing documents (RFC 9336), the same before there
/// was a standard, and mail.
const PURPOSES: [&[u8]; 3] =
    [&[0x2b, 6, 1, 5, 5, 7, 3, 36], &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 10, 3, 12], &[0x2b, 6, 1, 5, 5, 7, 3, 4]];

/// Why a package is not signed, or a signature is refused.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The text is no public key.
    #[error("this is no public key of Ed25519 in PEM (RFC 8410), in its one form")]
    Key,
    /// The signature is another's, or of something else.
    #[error("the signature is not of this key over the manifest")]
    Signature,
    /// Certificates do not read.
    #[error("the authority's certificates, in PEM: {0}")]
    Certificates(String),
    /// The private key does not read.
    #[error("the authority's private key is none of RSA or P-256, in PEM and without a password")]
    PrivateKey,
    /// They do not belong together.
    #[error("the authority's private key is not that of the first certificate")]
    OtherKey,
    /// Signing failed.
    #[error("the authority's key did not sign")]
    Failed,
    /// Nobody who is trusted vouches for the certificate.
    #[error("no authority that is trusted vouches for the certificate at the time of the export: {0}")]
    Chain(String),
}

/// The gateway's key (Ed25519, RFC 8032).
pub struct GatewayKey(Ed25519KeyPair);

impl fmt::Debug for GatewayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatewayKey({})", self.fingerprint())
    }
}

impl GatewayKey {
    /// Of this seed (RFC 8032 §5.1.5).
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed"))
    }

    fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(key)
    }

    /// The public key, in PEM.
    pub fn pem(&self) -> String {
        self.public().pem()
    }

    /// SHA-256 of the public key.
    pub fn fingerprint(&self) -> String {
        self.public().fingerprint()
    }

    /// 64 bytes.
    pub fn sign(&self, manifest: &[u8]) -> Vec<u8> {
        self.0.sign(manifest).as_ref().to_vec()
    }
}

/// A gateway's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From its one text.
    ///
    /// # Errors
    /// [`SignError::Key`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, SignError> {
        let text = str::from_utf8(pem).map_err(|_| SignError::Key)?;
        let inside = text.strip_prefix("-----BEGIN PUBLIC KEY-----\n");
        let inside = inside.and_then(|text| text.strip_suffix("\n-----END PUBLIC KEY-----\n"));
        let der = inside.and_then(|text| BASE64.decode(text).ok()).ok_or(SignError::Key)?;
        let key = der.strip_prefix(&SPKI).and_then(|key| key.try_into().ok()).map(Self).ok_or(SignError::Key)?;
        if key.pem() == text { Ok(key) } else { Err(SignError::Key) }
    }

    fn der(&self) -> Vec<u8> {
        [&SPKI[..], &self.0].concat()
    }

    fn pem(&self) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(self.der()))
    }

    /// SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        sums::sha256(&self.der())
    }

    /// # Errors
    /// [`SignError::Signature`].
    pub fn verify(&self, manifest: &[u8], signature: &[u8]) -> Result<(), SignError> {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(manifest, signature).map_err(|_| SignError::Signature)
    }
}

/// The authority's certificate and key.
pub struct Authority {
    pem: String,
    key: Private,
}

enum Private {
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(..)")
    }
}

impl Authority {
    /// From PEM: the certificate, with those between it and its root behind it, and the private key.
    ///
    /// # Errors
    /// When they do not read, or do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, SignError> {
        let pem = Certificates::from_any_pem(certificates)?.pem();
        let der = PrivateKeyDer::from_pem_slice(key).map_err(|_| SignError::PrivateKey)?;
        let p256 = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_der());
        let p256 = p256.or_else(|_| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_der()));
        let rsa = || RsaKeyPair::from_pkcs8(der.secret_der()).or_else(|_| RsaKeyPair::from_der(der.secret_der()));
        let key = match p256 {
            Ok(key) => Private::P256(key),
            Err(_) => Private::Rsa(rsa().map_err(|_| SignError::PrivateKey)?),
        };
        let authority = Self { pem, key };
        let probe = b"a manifest, as far as these know";
        let signature = authority.sign(probe)?;
        let certificates = Certificates::from_pem(authority.pem.as_bytes())?;
        certificates.verify(probe, &signature).map_err(|_| SignError::OtherKey)?;
        Ok(authority)
    }

    /// The certificates.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of the first certificate.
    pub fn fingerprint(&self) -> String {
        Certificates::from_pem(self.pem.as_bytes()).map(|of| of.fingerprint()).unwrap_or_default()
    }

    /// ECDSA (ASN.1) or RSASSA-PKCS1-v1_5, with SHA-256.
    ///
    /// # Errors
    /// [`SignError::Failed`].
    pub fn sign(&self, manifest: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match &self.key {
            Private::P256(key) => {
                key.sign(&random, manifest).map(|of| of.as_ref().to_vec()).map_err(|_| SignError::Failed)
            }
            Private::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, manifest, &mut signature).map_err(|_| SignError::Failed)?;
                Ok(signature)
            }
        }
    }
}

/// An authority's certificate, and those between it and its root.
#[derive(Clone, Debug)]
pub struct Certificates(Vec<CertificateDer<'static>>);

impl Certificates {
    /// From their one text.
    ///
    /// # Errors
    /// [`SignError::Certificates`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, SignError> {
        let certificates = Self::from_any_pem(pem)?;
        match certificates.pem().as_bytes() == pem {
            true => Ok(certificates),
            false => Err(SignError::Certificates("they are not in their one form".to_owned())),
        }
    }

    fn from_any_pem(pem: &[u8]) -> Result<Self, SignError> {
        let all = CertificateDer::pem_slice_iter(pem).take(CERTIFICATES_MAX).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|error| SignError::Certificates(error.to_string()))?;
        let first = all.first().ok_or_else(|| SignError::Certificates("there is none".to_owned()))?;
        EndEntityCert::try_from(first).map_err(|error| SignError::Certificates(error.to_string()))?;
        Ok(Self(all))
    }

    fn pem(&self) -> String {
        let one = |certificate: &CertificateDer<'_>| {
            let text = BASE64.encode(certificate);
            let lines: String = text.as_bytes().chunks(64).map(|l| String::from_utf8_lossy(l) + "\n").collect();
            format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
        };
        self.0.iter().map(one).collect()
    }

    /// SHA-256 of the first.
    pub fn fingerprint(&self) -> String {
        sums::sha256(&self.0[0])
    }

    fn first(&self) -> Result<EndEntityCert<'_>, SignError> {
        EndEntityCert::try_from(&self.0[0]).map_err(|error| SignError::Certificates(error.to_string()))
    }

    /// # Errors
    /// [`SignError::Signature`].
    pub fn verify(&self, manifest: &[u8], signature: &[u8]) -> Result<(), SignError> {
        let usual: [&dyn SignatureVerificationAlgorithm; 2] =
            [algorithms::ECDSA_P256_SHA256, algorithms::RSA_PKCS1_2048_8192_SHA256];
        let first = self.first()?;
        let is_right =
            |of: &&dyn SignatureVerificationAlgorithm| first.verify_signature(*of, manifest, signature).is_ok();
        if usual.iter().any(is_right) { Ok(()) } else { Err(SignError::Signature) }
    }

    /// Whether one of these vouched for the first at that time.
    ///
    /// # Errors
    /// [`SignError::Chain`].
    pub fn ensure_known(&self, roots: &Roots, at: Timestamp) -> Result<(), SignError> {
        let since = Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0));
        let (first, at) = (self.first()?, UnixTime::since_unix_epoch(since));
        let mut why = String::new();
        for purpose in PURPOSES {
            let usage = KeyUsage::required_if_present(purpose);
            let algorithms = webpki::ALL_VERIFICATION_ALGS;
            match first.verify_for_usage(algorithms, &roots.0, &self.0[1..], at, usage, None, None) {
                Ok(_) => return Ok(()),
                Err(error) => why = error.to_string(),
            }
        }
        Err(SignError::Chain(why))
    }
}

/// Those who are trusted to vouch for certificates.
#[derive(Clone, Default)]
pub struct Roots(Vec<TrustAnchor<'static>>);

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

impl Roots {
    /// From certificates in PEM.
    ///
    /// # Errors
    /// When there is none, or one does not read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SignError> {
        let bad = |error: &dyn fmt::Display| SignError::Certificates(error.to_string());
        let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|e| bad(&e))?;
        let anchors = all.iter().map(|of| anchor_from_trusted_cert(of).map(|anchor| anchor.to_owned()));
        match anchors.collect::<Result<Vec<_>, _>>().map_err(|e| bad(&e))? {
            none if none.is_empty() => Err(SignError::Certificates("there is none".to_owned())),
            anchors => Ok(Self(anchors)),
        }
    }
}
