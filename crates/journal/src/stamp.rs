//! Time stamps of checkpoints, by an authority that is nobody's of the gateway (RFC 3161).
//!
//! ```text
//! checkpoint ─ SHA-256 ─→ request (imprint, nonce) ──→ authority ──→ reply ─ signed (CMS) ─→ imprint, nonce, time
//! ```
//!
//! A reply is kept as it came, beside the checkpoint that it is of: `openssl ts -verify` reads both.
//! Invariants: a reply says nothing before its signature, the purpose of its certificate and its imprint were checked. It is
//! hostile until then: it has at most [`REPLY_BYTES_MAX`] bytes.
//! Absent on purpose: how it is fetched; revocation, which the authority's own service would have to tell of.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedAttributes, SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{Int, ObjectIdentifier, OctetString, OctetStringRef};
use der::oid::AssociatedOid;
use der::{Any, Decode, Encode, Sequence, Tag, Tagged};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, aws_lc_rs as algorithms};
use x509_cert::Certificate;
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectKeyIdentifier};
use x509_cert::spki::AlgorithmIdentifier;
use x509_tsp::{Accuracy, MessageImprint, TimeStampReq, TimeStampResp, TspVersion};

/// The longest reply that is read, in bytes: one with its chain of certificates takes half of it.
pub const REPLY_BYTES_MAX: u64 = 16 * 1024;
/// An authority's clock and the gateway's may differ by so much.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(300);
/// Certificates of authorities that are read from one file.
const AUTHORITIES_MAX: usize = 1024;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
/// The same, as the bytes of its encoding.
const TIME_STAMPING_BYTES: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8];
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// Why a reply is no time stamp of a checkpoint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StampError {
    /// It does not read as one.
    #[error("the reply does not read as a time stamp (RFC 3161): {0}")]
    Malformed(String),
    /// The authority says no.
    #[error("the authority refuses, with status {0}")]
    Refused(u32),
    /// It is of something else.
    #[error("the time stamp is of something else: its imprint is not that of the checkpoint")]
    Imprint,
    /// It is an answer to something else.
    #[error("the time stamp answers another request: its nonce is not the request's")]
    Nonce,
    /// It says an impossible time.
    #[error("the time stamp says {0}, which is far from this machine's clock: one of the two is wrong")]
    Time(Timestamp),
    /// Its signature is wrong.
    #[error("the signature of the time stamp is wrong: {0}")]
    Signature(&'static str),
    /// Its certificate is not one for it.
    #[error("the certificate of the time stamp: {0}")]
    Certificate(String),
}

impl From<der::Error> for StampError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A file has no certificates of authorities.
#[derive(Debug, thiserror::Error)]
#[error("certificates of authorities, in PEM: {0}")]
pub struct BadAuthorities(String);

/// Those whose time stamps are believed.
#[derive(Clone, Default)]
pub struct Authorities(Vec<TrustAnchor<'static>>);

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}

impl Authorities {
    /// From certificates in PEM.
    ///
    /// # Errors
    /// When there is none, or one does not read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadAuthorities> {
        let certificates = CertificateDer::pem_slice_iter(pem).take(AUTHORITIES_MAX).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| BadAuthorities(error.to_string()))?;
        let anchor = |certificate| anchor_from_trusted_cert(certificate).map(|anchor| anchor.to_owned());
        let anchors = certificates.iter().map(anchor).collect::<Result<Vec<_>, _>>();
        match anchors.map_err(|error| BadAuthorities(error.to_string()))? {
            none if none.is_empty() => Err(BadAuthorities("there is none".to_owned())),
            anchors => Ok(Self(anchors)),
        }
    }

    /// From those that a machine trusts; what does not read is left out.
    pub fn from_trusted<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> Self {
        let anchor =
            |certificate: &CertificateDer<'_>| anchor_from_trusted_cert(certificate).ok().map(|of| of.to_owned());
        Self(certificates.into_iter().filter_map(anchor).collect())
    }
}

/// A request for a time stamp of a checkpoint.
#[derive(Clone, Debug)]
pub struct Request {
    imprint: Vec<u8>,
    nonce: Int,
}

impl Request {
    /// Of this checkpoint, with a nonce of its own.
    pub fn new(checkpoint: &[u8]) -> Self {
        let mut nonce: [u8; 16] = footage::platform::random();
        // One encoding only: positive, and no byte that could be left out.
        nonce[0] = nonce[0] & 0x3f | 0x40;
        let nonce = Int::new(&nonce).expect("sixteen bytes are an integer");
        Self { imprint: digest(&SHA256, checkpoint).as_ref().to_vec(), nonce }
    }

    /// Its encoding, to be sent as `application/timestamp-query`.
    pub fn encode(&self) -> Vec<u8> {
        let hash_algorithm = AlgorithmIdentifier { oid: SHA_256, parameters: Some(Any::null()) };
        let hashed_message = OctetString::new(&self.imprint[..]).expect("a hash is short");
        let request = TimeStampReq {
            version: TspVersion::V1,
            message_imprint: MessageImprint { hash_algorithm, hashed_message },
            req_policy: None,
            nonce: Some(self.nonce.clone()),
            cert_req: true,
            extensions: None,
        };
        request.to_der().expect("a request of fixed size has an encoding")
    }

    /// The time that a reply to it says, which came at `now`.
    ///
    /// # Errors
    /// When the reply is anything but a time stamp of the checkpoint, asked for by this request, of this time, by one of
    /// these authorities.
    pub fn accept(&self, reply: &[u8], authorities: &Authorities, now: Timestamp) -> Result<Timestamp, StampError> {
        let token = Token::read(reply)?;
        token.verify(&self.imprint, Some(authorities))?;
        if token.info.nonce.as_ref() != Some(&self.nonce) {
            return Err(StampError::Nonce);
        }
        let at = token.at()?;
        match at.duration_since(now).unsigned_abs() > CLOCKS_APART_MAX {
            true => Err(StampError::Time(at)),
            false => Ok(at),
        }
    }
}

/// The time that a kept reply says of this checkpoint. Without authorities, its certificate is believed: what it says is sound
/// in itself then, and anybody may have said it.
///
/// # Errors
/// When it is not a time stamp of this checkpoint.
pub fn verify(reply: &[u8], checkpoint: &[u8], authorities: Option<&Authorities>) -> Result<Timestamp, StampError> {
    let token = Token::read(reply)?;
    token.verify(digest(&SHA256, checkpoint).as_ref(), authorities)?;
    token.at()
}

/// RFC 3161 §2.4.2. Its time may have a fraction, which the encoding of certificates does not allow.
#[derive(Sequence)]
struct TstInfo {
    version: TspVersion,
    policy: ObjectIdentifier,
    message_imprint: MessageImprint,
    serial_number: Int,
    gen_time: Any,
    #[asn1(optional = "true")]
    accuracy: Option<Accuracy>,
    #[asn1(default = "Default::default")]
    ordering: bool,
    #[asn1(optional = "true")]
    nonce: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    tsa: Option<Any>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

impl TstInfo {
    /// `YYYYMMDDhhmmss[.fraction]Z`.
    fn at(&self) -> Option<Timestamp> {
        let text = str::from_utf8(self.gen_time.value()).ok()?.strip_suffix('Z')?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if self.gen_time.tag() != Tag::GeneralizedTime || whole.len() != 14 || !is_digits(whole) || !is_digits(fraction)
        {
            return None;
        }
        // Seconds are enough: clocks are trusted no further.
        Offset::UTC.to_timestamp(DateTime::strptime("%Y%m%d%H%M%S", whole).ok()?).ok()
    }
}

/// What is in a reply, not checked yet.
struct Token {
    info: TstInfo,
    /// The encoding of that.
    signed: Vec<u8>,
    signer: SignerInfo,
    certificates: Vec<Certificate>,
}

impl Token {
    fn read(reply: &[u8]) -> Result<Self, StampError> {
        let malformed = |what: &str| StampError::Malformed(what.to_owned());
        if reply.len() as u64 > REPLY_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let reply = TimeStampResp::from_der(reply)?;
        let status = reply.status.status as u32;
        if status > 1 {
            return Err(StampError::Refused(status));
        }
        let token: ContentInfo = reply.time_stamp_token.ok_or_else(|| malformed("it has no token"))?;
        if token.content_type != SIGNED_DATA {
            return Err(malformed("its token is not signed"));
        }
        let data: SignedData = token.content.decode_as()?;
        let content = data.encap_content_info.econtent.ok_or_else(|| malformed("its token is empty"))?;
        if data.encap_content_info.econtent_type != TST_INFO {
            return Err(malformed("its token is no time stamp"));
        }
        let signed = content.decode_as::<OctetStringRef<'_>>()?.as_bytes().to_vec();
        let info = TstInfo::from_der(&signed)?;
        let Ok([signer]) = <[SignerInfo; 1]>::try_from(data.signer_infos.0.into_vec()) else {
            return Err(malformed("it has not one signer"));
        };
        let certificates = data.certificates.map(|set| set.0.into_vec()).unwrap_or_default();
        let certificates = certificates.into_iter().filter_map(|certificate| match certificate {
            CertificateChoices::Certificate(certificate) => Some(certificate),
            CertificateChoices::Other(_) => None,
        });
        Ok(Self { info, signed, signer, certificates: certificates.collect() })
    }

    fn at(&self) -> Result<Timestamp, StampError> {
        self.info.at().ok_or_else(|| StampError::Malformed("its time does not read as one".to_owned()))
    }

    fn verify(&self, imprint: &[u8], authorities: Option<&Authorities>) -> Result<(), StampError> {
        let signer = self.certificates.iter().find(|of| is_of(&self.signer.sid, of));
        let signer = signer.ok_or(StampError::Certificate("it is not in the reply".to_owned()))?;
        let certificate = CertificateDer::from(signer.to_der()?);
        self.verify_signature(&certificate)?;
        ensure_for_time_stamps(signer)?;
        if let Some(authorities) = authorities {
            self.verify_chain(&certificate, authorities)?;
        }
        let of = &self.info.message_imprint;
        match of.hash_algorithm.oid == SHA_256 && of.hashed_message.as_bytes() == imprint {
            true => Ok(()),
            false => Err(StampError::Imprint),
        }
    }

    /// The signature over the attributes, and the attributes against the content and the certificate (RFC 5652 §5.4, 5.6).
    fn verify_signature(&self, certificate: &CertificateDer<'_>) -> Result<(), StampError> {
        let Some(attributes) = &self.signer.signed_attrs else {
            return Err(StampError::Signature("it signs no attributes"));
        };
        if attribute(attributes, CONTENT_TYPE)?.decode_as::<ObjectIdentifier>()? != TST_INFO {
            return Err(StampError::Signature("it is of another content"));
        }
        let (hash, algorithms) = algorithms_of(self.signer.digest_alg.oid)?;
        let said = attribute(attributes, MESSAGE_DIGEST)?.decode_as::<OctetString>()?;
        if said.as_bytes() != digest(hash, &self.signed).as_ref() {
            return Err(StampError::Signature("the content is not what was signed"));
        }
        ensure_named(attributes, certificate)?;
        let signed = attributes.to_der()?;
        let certificate = EndEntityCert::try_from(certificate).map_err(bad_certificate)?;
        let signature = self.signer.signature.as_bytes();
        let is_right = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            certificate.verify_signature(*algorithm, &signed, signature).is_ok()
        };
        match algorithms.iter().any(is_right) {
            true => Ok(()),
            false => Err(StampError::Signature("the key of its certificate did not make it")),
        }
    }

    /// The certificate was good at the time that the stamp says, and an authority vouches for it.
    fn verify_chain(&self, certificate: &CertificateDer<'_>, authorities: &Authorities) -> Result<(), StampError> {
        let between = self.certificates.iter().map(|of| of.to_der().map(CertificateDer::from));
        let between = between.collect::<Result<Vec<_>, _>>()?;
        let since = Duration::from_secs(u64::try_from(self.at()?.as_second()).unwrap_or(0));
        let at = UnixTime::since_unix_epoch(since);
        let certificate = EndEntityCert::try_from(certificate).map_err(bad_certificate)?;
        // It has the purpose itself, which was looked at; those above it may name none.
        let usage = KeyUsage::required_if_present(TIME_STAMPING_BYTES);
        let path = certificate.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &authorities.0,
            &between,
            at,
            usage,
            None,
            None,
        );
        path.map(drop).map_err(bad_certificate)
    }
}

fn bad_certificate(error: webpki::Error) -> StampError {
    StampError::Certificate(error.to_string())
}

fn is_of(id: &SignerIdentifier, certificate: &Certificate) -> bool {
    let of = &certificate.tbs_certificate;
    match id {
        SignerIdentifier::IssuerAndSerialNumber(id) => id.issuer == of.issuer && id.serial_number == of.serial_number,
        SignerIdentifier::SubjectKeyIdentifier(id) => {
            let extensions = of.extensions.iter().flatten();
            let mut ids = extensions.filter(|extension| extension.extn_id == SubjectKeyIdentifier::OID);
            ids.any(|own| SubjectKeyIdentifier::from_der(own.extn_value.as_bytes()).is_ok_and(|own| own == *id))
        }
    }
}

/// Its one purpose is time stamps, and says so critically (RFC 3161 §2.3).
fn ensure_for_time_stamps(certificate: &Certificate) -> Result<(), StampError> {
    let extensions = certificate.tbs_certificate.extensions.iter().flatten();
    let purposes = extensions.filter(|extension| extension.critical && extension.extn_id == ExtendedKeyUsage::OID);
    let mut purposes = purposes.map(|purpose| ExtendedKeyUsage::from_der(purpose.extn_value.as_bytes()));
    match purposes.next() {
        Some(Ok(purposes)) if purposes.0 == [TIME_STAMPING] => Ok(()),
        _ => Err(StampError::Certificate("it is not one for time stamps alone".to_owned())),
    }
}

/// The one value of an attribute that is there once.
fn attribute(attributes: &SignedAttributes, of: ObjectIdentifier) -> Result<&Any, StampError> {
    let mut found = attributes.iter().filter(|attribute| attribute.oid == of);
    match (found.next(), found.next()) {
        (Some(one), None) if one.values.len() == 1 => Ok(&one.values.as_slice()[0]),
        _ => Err(StampError::Signature("an attribute that it has to sign is not there once")),
    }
}

fn algorithms_of(
    hash: ObjectIdentifier,
) -> Result<(&'static digest::Algorithm, [&'static dyn SignatureVerificationAlgorithm; 6]), StampError> {
    use algorithms as a;
    match hash {
        SHA_256 => Ok((
            &SHA256,
            [
                a::RSA_PKCS1_2048_8192_SHA256,
                a::ECDSA_P256_SHA256,
                a::ECDSA_P384_SHA256,
                a::ECDSA_P521_SHA256,
                a::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
                a::ED25519,
            ],
        )),
        SHA_384 => Ok((
            &SHA384,
            [
                a::RSA_PKCS1_2048_8192_SHA384,
                a::ECDSA_P256_SHA384,
                a::ECDSA_P384_SHA384,
                a::ECDSA_P521_SHA384,
                a::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
                a::ED25519,
            ],
        )),
        SHA_512 => Ok((
            &SHA512,
            [
                a::RSA_PKCS1_2048_8192_SHA512,
                a::ECDSA_P256_SHA512,
                a::ECDSA_P384_SHA512,
                a::ECDSA_P521_SHA512,
                a::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
                a::ED25519,
            ],
        )),
        _ => Err(StampError::Signature("its hash is not SHA-256, SHA-384 or SHA-512")),
    }
}

/// RFC 2634 §5.4.
#[derive(Sequence)]
struct SigningCertificate {
    certs: Vec<CertificateHash>,
    #[asn1(optional = "true")]
    policies: Option<Any>,
}

#[derive(Sequence)]
struct CertificateHash {
    hash: OctetString,
    #[asn1(optional = "true")]
    issuer_serial: Option<Any>,
}

/// RFC 5035 §3.
#[derive(Sequence)]
struct SigningCertificateV2 {
    certs: Vec<CertificateHashV2>,
    #[asn1(optional = "true")]
    policies: Option<Any>,
}

#[derive(Sequence)]
struct CertificateHashV2 {
    #[asn1(optional = "true")]
    algorithm: Option<AlgorithmIdentifier<Any>>,
    hash: OctetString,
    #[asn1(optional = "true")]
    issuer_serial: Option<Any>,
}

/// The signature names the certificate that it is to be checked with (RFC 3161 §2.4.1, RFC 5816).
fn ensure_named(attributes: &SignedAttributes, certificate: &CertificateDer<'_>) -> Result<(), StampError> {
    let other = StampError::Signature("it names another certificate");
    if attributes.iter().any(|attribute| attribute.oid == SIGNING_CERTIFICATE_V2) {
        let named: SigningCertificateV2 = attribute(attributes, SIGNING_CERTIFICATE_V2)?.decode_as()?;
        let first = named.certs.first().ok_or(other)?;
        let (hash, _) = algorithms_of(first.algorithm.as_ref().map_or(SHA_256, |of| of.oid))?;
        return match first.hash.as_bytes() == digest(hash, certificate).as_ref() {
            true => Ok(()),
            false => Err(StampError::Signature("it names another certificate")),
        };
    }
    let named: SigningCertificate = attribute(attributes, SIGNING_CERTIFICATE)?.decode_as()?;
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate);
    match named.certs.first().is_some_and(|first| first.hash.as_bytes() == hash.as_ref()) {
        true => Ok(()),
        false => Err(other),
    }
}
