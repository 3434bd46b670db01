//! Configuration: TOML to validated values, once; every error names its line and key.
//!
//! Invariants: a [`Config`] that exists has been validated whole; every mistake of a file is reported at once, each with
//! what to write instead; a secret's value enters no message and no `Debug`.
//! Absent on purpose: what a running gateway does with a changed file; see `gateway`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::onvif::NotificationKind;
use secrecy::SecretString;
use toml::de::DeTable;
use url::Url;

pub use self::alarm::{AlarmTarget, AlarmWay, Mail, MailTls};
pub use self::export::{AuthorityFiles, ExportConfig};
pub use self::journal::TimeStamps;
pub use self::local_time::BadLocalTime;
pub use self::master::MasterKeys;
pub(crate) use self::oidc::is_protected;
pub use self::oidc::{OidcAlgorithm, OidcProvider, OidcTenant, UserInfo};
pub use self::secret::Surroundings;
use self::section::{Mistakes, Section};
pub use self::store::{Cap, DEFAULT_STORE, SendOrder, SharedStore, StoreChoice, StoreConfig, Verify};
use crate::authorisation::{Authorisation, Installation};
use crate::policy::{Cadence, CameraPolicy, RequestRules};
pub use rtsp::Transport;

use catalogue::Roles;
use footage::failure::{Failure, Kind};
use footage::units::{CameraId, CameraKey, DomainId, TenantId, Ticks90k};

mod alarm;
mod authorisation;
mod build;
mod export;
mod journal;
mod local_time;
mod master;
mod oidc;
mod onvif;
mod secret;
mod section;
mod store;
#[cfg(test)]
mod tests;

/// Longest configuration file, in bytes: ten thousand cameras take less than half of it.
const FILE_BYTES_MAX: u64 = 4 << 20;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The whole configuration, validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[data] dir`: index, spool, keys, and the local store if no other is named.
    pub data_dir: PathBuf,
    /// Where packs grow: `data_dir/spool` unless said.
    pub spool_dir: PathBuf,
    /// The default store, `data_dir/store` unless said, and after it those with a name; never empty.
    pub stores: Vec<StoreConfig>,
    /// `[keys]`.
    pub master_keys: MasterKeys,
    /// Bytes to keep free on the spool's (and a local store's) file system; below it, packs beyond their guaranteed
    /// time go first.
    pub disk_reserve_bytes: u64,
    /// Bytes that whole packs in the spool may have, waiting and cached; none: as many as the disk holds.
    pub spool_bytes_max: Option<u64>,
    /// Bytes of footage that may wait in memory to be written; none: a share of the machine's memory.
    pub unwritten_bytes_max: Option<u64>,
    /// `[http] listen`.
    pub http_listen: SocketAddr,
    /// `[http.tls]`: the gateway's own certificate; none: plain HTTP, to this machine alone.
    pub http_tls: Option<TlsFiles>,
    /// `[http] operator_token`: opens metrics, the status of all cameras and reloads. Without one they are open to this
    /// machine alone.
    pub operator_token: Option<SecretString>,
    /// `[http] public_url`: where browsers reach the gateway.
    pub public_url: Option<Url>,
    /// `[http] check_played`.
    pub check_played: bool,
    /// `[signing] ca_file`: a PEM file with the certificates that say which keys are cameras'; none: each key is taken and
    /// shown.
    pub signing_ca_file: Option<PathBuf>,
    /// The roles that persons have: those of every gateway, and `[[role]]`.
    pub roles: Roles,
    /// `[journal] time_stamp_…`: who stamps checkpoints of journals; none: nobody.
    pub time_stamps: Option<TimeStamps>,
    /// Recording constants.
    pub recording: RecordingConfig,
    /// Retention constants.
    pub retention: Sweep,
    /// For people: screen and register.
    pub time_zone: jiff::tz::TimeZone,
    /// Tenants and their cameras.
    pub tenants: Vec<Tenant>,
    /// Where alarms are sent.
    pub alarms: Vec<AlarmTarget>,
    /// `[export]`.
    pub export: ExportConfig,
    /// Identity providers by which persons sign in.
    pub oidc: Vec<OidcProvider>,
}

/// What `s3://` needs beyond its URL. Where the two keys are absent, the environment (`AWS_ACCESS_KEY_ID`, …) and then the
/// machine's instance profile are asked.
#[derive(Clone, Debug, Default)]
pub struct S3 {
    /// Region, where the provider has any.
    pub region: Option<String>,
    /// `http://` or `https://`; none: Amazon's own.
    pub endpoint: Option<Url>,
    /// The bucket is the first part of the path rather than of the host name.
    pub path_style: bool,
    /// Access key id.
    pub access_key_id: Option<SecretString>,
    /// Its secret.
    pub secret_access_key: Option<SecretString>,
}

/// `[recording]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingConfig {
    /// At most this much of each camera is lost to a power cut.
    pub durability: Duration,
    /// A pack is sealed at this size.
    pub pack_bytes_max: u64,
    /// A pack is sealed at this length.
    pub pack_duration_max: Duration,
    /// Sockets are drained this often: larger is cheaper, smaller is sooner.
    pub tick: Duration,
    /// Threads that record, at least one; 0 in the file means one a core.
    pub shards: usize,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        Self {
            durability: Duration::from_millis(1_000),
            pack_bytes_max: 64 << 20,
            pack_duration_max: Duration::from_secs(120),
            tick: Duration::from_millis(100),
            shards: one_a_core(),
        }
    }
}

fn one_a_core() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// `[retention]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// How often the sweep runs.
    pub interval: Duration,
    /// Between condemning a pack and deleting its object.
    pub grace: Duration,
    /// A change that destroys more than before takes effect so much later, unless it is confirmed.
    pub change: Duration,
}

impl Sweep {
    fn cadence(&self, is_shared: bool) -> Cadence {
        Cadence { interval: self.interval, grace: self.grace, is_shared }
    }
}

impl Default for Sweep {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), grace: Duration::from_secs(60), change: DAY }
    }
}

/// `[http.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those above it, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// `[[tenant]]`.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Unique.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// What its operators present; without it, the gateway listens on loopback only and has one tenant only.
    pub access_token: Option<SecretString>,
    /// What the holder of that token may do.
    pub token_role: String,
    /// Footage is shown only to those who stated why.
    pub reason_required: bool,
    /// Where its packs go.
    pub store: StoreChoice,
    /// The deduplication domain that it shares with the tenants that name the same; without it, none.
    pub dedup_domain: Option<DomainId>,
    /// Entries of its journal are destroyed when they are so many months old.
    pub journal_months: u16,
    /// How its requests for footage are handled.
    pub requests: RequestRules,
    /// The prefect's decisions that its cameras record under.
    pub authorisations: Vec<Authorisation>,
    /// Its cameras.
    pub cameras: Vec<CameraConfig>,
}

/// `[[tenant.camera]]`.
#[derive(Clone, Debug)]
pub struct CameraConfig {
    /// Unique in the tenant.
    pub id: CameraId,
    /// For people.
    pub name: String,
    /// For people and for the law.
    pub place: String,
    /// `rtsp://host[:port]/path` or `rtsps://…`, without credentials.
    pub url: Url,
    /// Which of its certificates are accepted, for `rtsps`.
    pub tls: CameraTls,
    /// RTSP user name.
    pub username: Option<String>,
    /// RTSP password.
    pub password: Option<SecretString>,
    /// How RTP travels.
    pub transport: Transport,
    /// What it records under, what it shows, when it was declared.
    pub installation: Installation,
    /// How long its footage lives.
    pub retention: Retention,
    /// Legal basis for sound; without it audio is not recorded.
    pub audio_legal_basis: Option<String>,
    /// A session that yields nothing for this long is given up.
    pub silence_max: Duration,
    /// Where its packs go, if not where the tenant's go.
    pub store: StoreChoice,
    /// Its device service, where it is to be asked for more than its stream.
    pub onvif: Option<OnvifConfig>,
}

/// `[tenant.camera.onvif]`.
#[derive(Clone, Debug)]
pub struct OnvifConfig {
    /// `http://host[:port]/onvif/device_service` or `https://…`, without credentials.
    pub url: Url,
    /// Which of its certificates are accepted, for `https`.
    pub tls: CameraTls,
    /// Its user: the camera's, unless said.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<SecretString>,
    /// An alarm is raised where its clock is further off than this; none: the clock is not compared.
    pub clock_offset_max: Option<Duration>,
    /// What it notices and is kept beside the footage; empty: nothing, and it is not asked.
    pub events: BTreeSet<NotificationKind>,
    /// On what legal basis that is kept; there is one where anything is.
    pub events_legal_basis: Option<String>,
    /// Cuts are filled from its own storage; none: they are not.
    pub backfill: Option<BackfillConfig>,
}

/// How cuts are filled from a camera's own storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackfillConfig {
    /// Cuts that began longer ago are not filled.
    pub reach: Duration,
    /// Bytes a second that are fetched, at most.
    pub bytes_per_second_max: u64,
}

impl BackfillConfig {
    /// Unless the file says otherwise.
    pub const REACH: Duration = Duration::from_secs(48 * 3_600);
    /// Unless the file says otherwise, in kilobits a second: a few times what a camera sends.
    pub const KBIT_PER_SECOND_MAX: u64 = 16_000;
}

impl OnvifConfig {
    /// Unless the file says otherwise.
    pub const CLOCK_OFFSET_MAX: Duration = Duration::from_secs(5);
}

impl CameraConfig {
    /// Unless the file says otherwise.
    pub const SILENCE_MAX: Duration = Duration::from_secs(10);
}

/// Which certificates of a camera are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CameraTls {
    /// Those that the machine's root certificates vouch for.
    #[default]
    System,
    /// Those that the certificates in this PEM file vouch for, and these themselves.
    CaFile(PathBuf),
    /// The one that came first, and no other from then on.
    FirstUse,
}

impl CameraTls {
    /// With this file for the one that came first.
    pub fn trust(&self, pin: PathBuf) -> rtsp::TlsTrust {
        match self {
            Self::System => rtsp::TlsTrust::System,
            Self::CaFile(file) => rtsp::TlsTrust::CaFile(file.clone()),
            Self::FirstUse => rtsp::TlsTrust::FirstUse(pin),
        }
    }
}

/// How long footage lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Destroyed at the latest this long after it was filmed, and never later than one calendar month after
    /// (Code de la sécurité intérieure, L252-5).
    pub max: Duration,
    /// Not destroyed before, not even when the disk is full.
    pub min: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { max: 30 * DAY, min: Duration::ZERO }
    }
}

impl Config {
    /// What `[[store]]` says.
    pub fn default_store(&self) -> &StoreConfig {
        // A configuration that exists was validated: the default store is always there, and first.
        &self.stores[0]
    }

    /// Room that the maximum needs above the minimum. A pack goes whole: its youngest picture is guaranteed for the
    /// minimum while its oldest must be gone by the maximum, and the sweep condemns so early that a failed round or a
    /// slow store does not make it late.
    pub fn retention_margin(recording: &RecordingConfig, sweep: &Sweep, is_shared: bool) -> Duration {
        recording.pack_duration_max + sweep.cadence(is_shared).margin()
    }

    /// What holds for each camera's footage, in the order of the file.
    pub fn policies(&self) -> Vec<CameraPolicy> {
        let is_shared = self.stores.iter().any(|store| store.shared.is_some());
        let of = |tenant: &Tenant, camera: &CameraConfig| {
            let named = camera.store.store.as_ref().or(tenant.store.store.as_ref());
            let store = named.and_then(|name| self.stores.iter().find(|store| store.name == *name));
            let store = store.unwrap_or_else(|| self.default_store());
            CameraPolicy {
                camera: CameraKey { tenant: tenant.id.clone(), camera: camera.id.clone() },
                maximum: Ticks90k::from_duration(camera.retention.max),
                minimum: Ticks90k::from_duration(camera.retention.min),
                store: store.name.clone(),
                encrypted: store.encrypt,
                dedup_domain: tenant.dedup_domain.clone(),
                cadence: self.retention.cadence(is_shared),
                time_zone: self.time_zone.clone(),
            }
        };
        self.tenants.iter().flat_map(|tenant| tenant.cameras.iter().map(move |camera| of(tenant, camera))).collect()
    }

    /// Reads and validates a file, with secrets from the process's surroundings.
    pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
        let name = path.display().to_string();
        let cannot = |source| ConfigError::Unreadable { file: name.clone(), source };
        let file = File::open(path).map_err(cannot)?;
        let world_readable = file.metadata().map_err(cannot)?.mode() & 0o004 != 0;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(ConfigError::TooLong { file: name, bytes_max: FILE_BYTES_MAX });
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let sound = &e.as_bytes()[..e.utf8_error().valid_up_to()];
                let line = 1 + sound.iter().filter(|b| **b == b'\n').count();
                let message = "is not UTF-8: save the file as UTF-8 text".to_owned();
                let problems = vec![ConfigProblem { line, key: "text".into(), message }];
                return Err(ConfigError::Invalid { file: name, problems });
            }
        };
        Self::parse(&name, &text, &Surroundings::of_process(world_readable))
    }

    /// Validates a text; `file` is its name in messages.
    pub fn parse(file: &str, text: &str, around: &Surroundings<'_>) -> Result<Loaded, ConfigError> {
        let report = Mistakes::new(text);
        let config = match DeTable::parse(text) {
            Ok(document) => build::config(Section::root(&report, document.get_ref()), around),
            // The first mistake of syntax only: what a parser finds after it is most often its consequence. The
            // error's own `Display` would quote the line, which may hold a secret.
            Err(e) => {
                report.refuse(report.line(e.span().map_or(0, |s| s.start)), "syntax".into(), e.message().to_owned());
                None
            }
        };
        let (problems, warnings) = report.into_parts();
        match config {
            Some(config) if problems.is_empty() => Ok(Loaded { file: file.to_owned(), config, warnings }),
            _ => Err(ConfigError::Invalid { file: file.to_owned(), problems }),
        }
    }
}

/// A configuration and what its operator should know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file's name.
    pub file: String,
    /// What it says.
    pub config: Config,
    /// What works and should be mended.
    pub warnings: Vec<ConfigProblem>,
}

impl Loaded {
    /// The warnings as lines for people: `vigie.toml:14: tenant.camera.url: …`.
    pub fn warning_lines(&self) -> impl Iterator<Item = String> {
        self.warnings.iter().map(|w| format!("{}:{w}", self.file))
    }
}

/// Something wrong, or worth mending, at one place of the file. Shown as `14: tenant.camera.url: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// From 1.
    pub line: usize,
    /// With the path of its table; `syntax` where the text is not TOML.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.line, self.key, self.message)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}: {source}")]
    Unreadable {
        /// Its name.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a configuration, by its size.
    #[error("{file} is longer than {bytes_max} bytes: it is not a configuration of Vigie")]
    TooLong {
        /// Its name.
        file: String,
        /// The bound.
        bytes_max: u64,
    },
    /// Mistakes in the file, each with its line; never empty.
    #[error("{}", lines(file, problems))]
    Invalid {
        /// Its name.
        file: String,
        /// By line.
        problems: Vec<ConfigProblem>,
    },
}

impl Failure for ConfigError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unreadable { source, .. } => Failure::kind(source),
            Self::TooLong { .. } | Self::Invalid { .. } => Kind::Invalid,
        }
    }
}

fn lines(file: &str, problems: &[ConfigProblem]) -> String {
    problems.iter().map(|p| format!("{file}:{p}")).collect::<Vec<_>>().join("\n")
}
