//! TLS beneath RTSP, and beneath what else cameras speak: whom a certificate has to convince.
//!
//! Invariant: a camera whose certificate does not convince gets no request, and so no credential. A certificate that was
//! pinned is never replaced here: the file has to be removed by a person.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use footage::units::{TICKS_PER_SECOND, WallTime};

/// Certificates that are valid for longer than this have no end that matters yet.
const WATCHED_HOURS: u64 = 2 * 365 * 24;

/// Which certificates of a camera are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TlsTrust {
    /// Those that the machine's root certificates vouch for.
    #[default]
    System,
    /// Those that the certificates in this PEM file vouch for, and these themselves.
    CaFile(PathBuf),
    /// The one that came first: its SHA-256 is kept in this file, and no other is accepted from then on.
    FirstUse(PathBuf),
}

/// Why there is no TLS session.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates or fingerprints cannot be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of certificates has none.
    #[error("{path} holds no certificate in PEM")]
    NoCertificate {
        /// Which.
        path: PathBuf,
    },
    /// The machine trusts nobody.
    #[error("the machine has no root certificates: install ca-certificates, or set tls_ca_file")]
    NoRoots,
    /// Another certificate than the one that was pinned.
    #[error(
        "its certificate is another than the one that was first seen: SHA-256 {seen} in the place of {pinned}. If it was \
             changed on purpose, remove {path}"
    )]
    Changed {
        /// SHA-256 of the one that came.
        seen: String,
        /// SHA-256 of the one that was first seen.
        pinned: String,
        /// Where that is kept.
        path: PathBuf,
    },
    /// A certificate that convinces nobody.
    #[error("its certificate is not accepted ({0}): set tls_ca_file, or tls_trust = \"first_use\"")]
    NotTrusted(String),
    /// No TLS at all.
    #[error("no TLS session ({0}): check that the url's port is one for TLS")]
    Handshake(String),
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// A TLS session.
#[derive(Debug)]
pub struct Secured {
    /// What it carries.
    pub stream: TlsStream<TcpStream>,
    /// When the chain that convinced ends to be valid, where that is within two years.
    pub certificate_until: Option<WallTime>,
}

/// Makes a TLS session over a connection with this host; `camera` is its name in the log.
pub async fn connect(stream: TcpStream, host: &str, camera: &str, trust: &TlsTrust) -> Result<Secured, TlsError> {
    let pinned = match trust {
        TlsTrust::FirstUse(path) => pinned(path)?,
        TlsTrust::System | TlsTrust::CaFile(_) => None,
    };
    let verifier = Arc::new(Verifier::new(trust, pinned.clone())?);
    let config = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Handshake(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|e| TlsError::Handshake(e.to_string()))?;
    let session = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let session = session.map_err(|error| refusal(&error, trust, pinned.as_deref()))?;
    if let (TlsTrust::FirstUse(path), None) = (trust, pinned) {
        let certificate = session.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let seen = certificate.map(fingerprint).unwrap_or_default();
        warn!(camera, sha256 = seen, "the camera's certificate is accepted unseen, and pinned from now on");
        pin(path, &seen)?;
    }
    Ok(Secured { stream: session, certificate_until: verifier.certificate_until() })
}

fn refusal(error: &std::io::Error, trust: &TlsTrust, pinned: Option<&str>) -> TlsError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match (tls, trust, pinned) {
        (Some(Error::InvalidCertificate(CertificateError::Other(other))), TlsTrust::FirstUse(path), Some(pinned)) => {
            TlsError::Changed { seen: other.to_string(), pinned: pinned.to_owned(), path: path.clone() }
        }
        (Some(Error::InvalidCertificate(why)), ..) => TlsError::NotTrusted(why.to_string()),
        _ => TlsError::Handshake(error.to_string()),
    }
}

/// SHA-256 of a certificate, in lower-case hexadecimal.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    digest(&SHA256, certificate).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pinned(path: &Path) -> Result<Option<String>, TlsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TlsError::File { path: path.to_owned(), source }),
    }
}

/// Two sessions that begin at once pin one certificate: the second is refused if it saw another.
fn pin(path: &Path, seen: &str) -> Result<(), TlsError> {
    let file = |source| TlsError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(file)?;
    }
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut pin| {
        std::io::Write::write_all(&mut pin, format!("{seen}\n").as_bytes())?;
        pin.sync_all()
    });
    match written {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => match pinned(path)? {
            Some(pinned) if pinned != seen => {
                Err(TlsError::Changed { seen: seen.to_owned(), pinned, path: path.to_owned() })
            }
            _ => Ok(()),
        },
        written => written.map_err(file),
    }
}

/// What decides on a certificate.
#[derive(Debug)]
enum Verifier {
    /// Chain, name and dates, or being one of `own`.
    Roots { webpki: Arc<WebPkiServerVerifier>, own: Vec<CertificateDer<'static>>, until: OnceLock<UnixTime> },
    /// The fingerprint; any where there is none yet. Names and dates do not matter: cameras make their certificates
    /// themselves, and many have no clock when they do.
    Pinned(Option<String>),
}

impl Verifier {
    fn new(trust: &TlsTrust, pinned: Option<String>) -> Result<Self, TlsError> {
        let (roots, own) = match trust {
            TlsTrust::FirstUse(_) => return Ok(Self::Pinned(pinned)),
            TlsTrust::System => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                (roots, Vec::new())
            }
            TlsTrust::CaFile(path) => {
                let pem = std::fs::read(path).map_err(|source| TlsError::File { path: path.clone(), source })?;
                let own: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
                let mut roots = RootCertStore::empty();
                let (added, _) = roots.add_parsable_certificates(own.iter().cloned());
                if added == 0 {
                    return Err(TlsError::NoCertificate { path: path.clone() });
                }
                (roots, own)
            }
        };
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), PROVIDER.clone()).build();
        Ok(Self::Roots { webpki: webpki.map_err(|_| TlsError::NoRoots)?, own, until: OnceLock::new() })
    }

    /// When the chain that it accepted ends to be valid.
    fn certificate_until(&self) -> Option<WallTime> {
        let Self::Roots { until, .. } = self else { return None };
        let seconds = i64::try_from(until.get()?.as_secs()).ok()?;
        seconds.checked_mul(TICKS_PER_SECOND).map(WallTime)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self {
            Self::Roots { own, .. } if own.iter().any(|own| own == certificate) => Ok(ServerCertVerified::assertion()),
            Self::Roots { webpki, until, .. } => {
                let verify = |at| webpki.verify_server_cert(certificate, intermediates, name, ocsp, at);
                let verified = verify(now)?;
                if let Some(end) = end_of_validity(now, |at| verify(at).is_ok()) {
                    let _ = until.set(end);
                }
                Ok(verified)
            }
            Self::Pinned(None) => Ok(ServerCertVerified::assertion()),
            Self::Pinned(Some(pinned)) => {
                let seen = fingerprint(certificate);
                if seen == *pinned {
                    return Ok(ServerCertVerified::assertion());
                }
                let seen = rustls::OtherError(Arc::new(Seen(seen)));
                Err(Error::InvalidCertificate(CertificateError::Other(seen)))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

/// The last full hour after `now` at which a chain that is valid now is still valid: up to the first date that runs out,
/// of the camera's certificate or of one above it. `None`: later than [`WATCHED_HOURS`].
fn end_of_validity(now: UnixTime, is_valid: impl Fn(UnixTime) -> bool) -> Option<UnixTime> {
    let after = |hours: u64| UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + hours * 3_600));
    let (mut valid, mut invalid) = (0, WATCHED_HOURS);
    if is_valid(after(invalid)) {
        return None;
    }
    while invalid - valid > 1 {
        let middle = u64::midpoint(valid, invalid);
        if is_valid(after(middle)) { valid = middle } else { invalid = middle }
    }
    Some(after(valid))
}

/// The fingerprint of a certificate that is not the one that was pinned.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Seen(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(valid_seconds: u64, expect: Option<u64>) {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let end = end_of_validity(at(1_000), |now| now.as_secs() <= 1_000 + valid_seconds);
        assert_eq!(end.map(|end| end.as_secs()), expect.map(|hours| 1_000 + hours * 3_600), "{valid_seconds} s");
    }

    #[test]
    fn the_end_of_validity_is_found_to_the_hour() {
        check(0, Some(0));
        check(3_599, Some(0));
        check(3_600, Some(1));
        check(10 * 86_400 + 60, Some(240));
        check(WATCHED_HOURS * 3_600 - 1, Some(WATCHED_HOURS - 1));
        check(WATCHED_HOURS * 3_600, None);
    }
}
