//! TLS (RFC 8446): the gateway's own certificate, read again when its files change.
//!
//! Invariants: a pair of files that do not belong together, or that do not read, never replaces one that served; a key that
//! every user of the machine may read is refused. Plain HTTP is answered to this machine alone: a connection from it that
//! does not begin with a TLS record (RFC 8446 §5.1) is HTTP.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::TlsFiles;
use crate::event::{Event, Fact};
use crate::index::{Change, Index};
use footage::clock::Clock;
use footage::failure::{Failure, Kind};
use footage::units::{TICKS_PER_DAY, Ticks90k, WallTime};

/// The files are looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A certificate that ends within this time is an alarm.
const ENDS_WITHIN: Ticks90k = Ticks90k(14 * TICKS_PER_DAY);
/// The content type of a handshake record.
const HANDSHAKE: u8 = 22;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFilesError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} holds no {what} in PEM")]
    NotPem {
        /// Which.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
    },
    /// Everybody may read the key.
    #[error(
        "{path} may be read by every user of this machine (mode {mode:o}): chmod 640, and the group of the service"
    )]
    Permissions {
        /// The key's file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// They do not belong together, or cannot serve.
    #[error("the certificate in {certificate} and the key in {key} do not serve together: {why}")]
    Refused {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        why: String,
    },
}

impl Failure for TlsFilesError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } => Failure::kind(source),
            Self::Permissions { .. } => Kind::Denied,
            Self::NotPem { .. } | Self::Refused { .. } => Kind::Invalid,
        }
    }
}

/// The certificate that is served; cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: TlsFiles,
    served: RwLock<Served>,
}

#[derive(Debug)]
struct Served {
    config: Arc<ServerConfig>,
    until: WallTime,
    /// What the files were when they were read.
    stamps: [Option<Stamp>; 2],
}

/// A file as it was: another write, or another file in its place, gives another.
type Stamp = (u64, u64, i64, i64);

impl ServerTls {
    /// Reads certificate and key. Blocks.
    ///
    /// # Errors
    /// When they cannot serve.
    pub fn open(files: TlsFiles) -> Result<Self, TlsFilesError> {
        let served = RwLock::new(load(&files)?);
        Ok(Self(Arc::new(Inner { files, served })))
    }

    /// Reads the files again where they changed. Blocks.
    ///
    /// # Errors
    /// When they cannot serve: what served goes on.
    pub fn renew(&self) -> Result<bool, TlsFilesError> {
        let files = &self.0.files;
        if stamps(files) == self.0.served.read().stamps {
            return Ok(false);
        }
        let served = load(files)?;
        *self.0.served.write() = served;
        Ok(true)
    }

    /// Whether this connection speaks TLS. One from this machine may speak HTTP. Waits for its first byte.
    pub(super) async fn is_spoken(&self, stream: &TcpStream, peer: SocketAddr) -> io::Result<bool> {
        let own = peer.ip().is_loopback() || stream.local_addr()?.ip() == peer.ip();
        let mut first = [0];
        Ok(!own || stream.peek(&mut first).await? == 0 || first[0] == HANDSHAKE)
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.served.read().config.clone())
    }

    /// Looks at the files until `stop`. A pair that cannot serve is said once, and an alarm begins two weeks before a
    /// certificate ends.
    pub async fn keep(self, index: Index, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let mut turns = interval(LOOK_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut said, mut ends) = (String::new(), None);
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            let tls = self.clone();
            match footage::platform::spawn_blocking(move || tls.renew()).await {
                Ok(Ok(renewed)) => {
                    if renewed {
                        info!(until = %self.0.served.read().until, "the certificate was read again");
                    }
                    said.clear();
                }
                Ok(Err(why)) if said != why.to_string() => {
                    said = why.to_string();
                    error!(error = %why, "another certificate cannot be used: the one before is served");
                }
                Ok(Err(_)) | Err(_) => {}
            }
            let now = clock.wall();
            let left = self.0.served.read().until.since(now);
            let does_end = left < ENDS_WITHIN;
            // The first look says either: an alarm of an earlier run may last.
            if ends != Some(does_end) {
                let fact = match does_end {
                    true => Fact::ServerCertificateEnds { days: (left.0 / TICKS_PER_DAY).max(0) as u64 },
                    false => Fact::ServerCertificateRenewed,
                };
                if ends.is_some() || does_end {
                    let written = index.write(vec![Change::Event(Event::of_gateway(now, fact))]).await;
                    let _ = written.inspect_err(|error| error!(%error, "the index did not take an event"));
                }
                ends = Some(does_end);
            }
        }
    }
}

fn load(files: &TlsFiles) -> Result<Served, TlsFilesError> {
    // Taken before the files are read: what changes meanwhile is read again.
    let stamps = stamps(files);
    let read = |path: &Path| std::fs::read(path).map_err(|source| TlsFilesError::Io { path: path.to_owned(), source });
    let not_pem = |path: &Path, what| TlsFilesError::NotPem { path: path.to_owned(), what };
    let pem = read(&files.certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| not_pem(&files.certificate, "certificate"))?;
    let pem = read(&files.key)?;
    let metadata = std::fs::metadata(&files.key);
    let mode = metadata.map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o007 != 0 {
        return Err(TlsFilesError::Permissions { path: files.key.clone(), mode });
    }
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| not_pem(&files.key, "private key"))?;
    let refused =
        |why: String| TlsFilesError::Refused { certificate: files.certificate.clone(), key: files.key.clone(), why };
    let until = valid_until(&chain[0]).ok_or_else(|| not_pem(&files.certificate, "certificate"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(|e| refused(e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Served { config: Arc::new(config), until, stamps })
}

fn valid_until(certificate: &CertificateDer<'_>) -> Option<WallTime> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let until = jiff::Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
    Some(WallTime::from_timestamp(until))
}

fn stamps(files: &TlsFiles) -> [Option<Stamp>; 2] {
    [&files.certificate, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    })
}
