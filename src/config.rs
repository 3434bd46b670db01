//! Configuration: TOML to validated values, once; every error names its line and key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::units::{CameraId, TenantId};

/// The whole configuration, validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[data] dir`: index, spool, keys, and the local store if no other is named.
    pub data_dir: PathBuf,
    /// Where packs grow: `data_dir/spool` unless said.
    pub spool_dir: PathBuf,
    /// `file:///…` or `s3://bucket/prefix`: `data_dir/store` unless said.
    pub store_url: Url,
    /// Bytes to keep free on the spool's (and a local store's) file system; below it, packs beyond their guaranteed
    /// time go first.
    pub disk_reserve_bytes: u64,
    /// `[http] listen`.
    pub http_listen: SocketAddr,
    /// Recording constants.
    pub recording: Recording,
    /// Retention constants.
    pub retention: Sweep,
    /// For people: screen and register.
    pub time_zone: jiff::tz::TimeZone,
    /// Tenants and their cameras.
    pub tenants: Vec<Tenant>,
}

/// `[recording]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// At most this much of each camera is lost to a power cut.
    pub durability: Duration,
    /// A pack is sealed at this size.
    pub pack_bytes_max: u64,
    /// A pack is sealed at this length.
    pub pack_duration_max: Duration,
    /// Sockets are drained this often: larger is cheaper, smaller is sooner.
    pub tick: Duration,
    /// Threads that record; 0 in the file means one a core.
    pub shards: usize,
}

/// `[retention]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// How often the sweep runs.
    pub interval: Duration,
    /// Between condemning a pack and deleting its object.
    pub grace: Duration,
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
    /// Its cameras.
    pub cameras: Vec<Camera>,
}

/// `[[tenant.camera]]`.
#[derive(Clone, Debug)]
pub struct Camera {
    /// Unique in the tenant.
    pub id: CameraId,
    /// For people.
    pub name: String,
    /// For people and for the law.
    pub place: String,
    /// `rtsp://host[:port]/path`, without credentials.
    pub url: Url,
    /// RTSP user name.
    pub username: Option<String>,
    /// RTSP password.
    pub password: Option<SecretString>,
    /// How RTP travels.
    pub transport: Transport,
    /// How long its footage lives.
    pub retention: Retention,
    /// Legal basis for sound; without it audio is not recorded.
    pub audio_legal_basis: Option<String>,
    /// A session that yields nothing for this long is given up.
    pub silence_max: Duration,
}

/// How RTP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Interleaved on the RTSP connection (RFC 2326 §10.12).
    #[default]
    Tcp,
    /// UDP ports of its own.
    Udp,
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
