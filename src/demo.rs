//! The demonstration: a simulated camera, recorded and served as any other.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use url::Url;

use crate::authorisation::Installation;
use crate::config::{
    CameraConfig, CameraTls, Config, MasterKeys, RecordingConfig, Retention, StoreChoice, StoreConfig, Sweep, Tenant,
    Transport,
};
use crate::gateway::{Gateway, GatewayError};
use crate::policy::RequestRules;
use catalogue::Roles;
use footage::failure::{Failure, Kind};
use footage::units::{CameraId, TenantId};
use testkit::camera::{self, Server};

/// Free space that the demonstration leaves alone.
const RESERVE_BYTES: u64 = 1 << 30;

/// Why the demonstration did not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The simulated camera.
    #[error("the simulated camera did not start: {0}")]
    Camera(#[from] std::io::Error),
    /// Its film.
    #[error(transparent)]
    Film(#[from] camera::StreamError),
    /// The data folder.
    #[error("{0} is not an absolute path")]
    DataDir(String),
}

impl Failure for DemoError {
    fn kind(&self) -> Kind {
        match self {
            Self::Gateway(error) => error.kind(),
            Self::Camera(error) => Failure::kind(error),
            Self::Film(error) => error.kind(),
            Self::DataDir(_) => Kind::Invalid,
        }
    }
}

/// A running demonstration.
#[derive(Debug)]
pub struct Demo {
    /// The gateway.
    pub gateway: Gateway,
    camera: Server,
}

impl Demo {
    /// Starts the camera and the gateway that records it below `data_dir`.
    pub async fn start(listen: SocketAddr, data_dir: &Path) -> Result<Self, DemoError> {
        let film = camera::demo_camera()?;
        let path = film.path.clone();
        let camera = Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![film]).await?;
        let config = config(listen, data_dir, vec![demo_camera(camera.url(&path))])?;
        let gateway = Gateway::start(&config).await?;
        Ok(Self { gateway, camera })
    }

    /// Stops the gateway, then the camera.
    pub async fn stop(self) {
        self.gateway.stop().await;
        drop(self.camera);
    }
}

fn demo_camera(url: Url) -> CameraConfig {
    let id = "parvis".parse().expect("a plain word is a name");
    camera(id, "Parvis de la mairie", url)
}

/// A camera as the configuration's defaults have it.
pub fn camera(id: CameraId, name: &str, url: Url) -> CameraConfig {
    CameraConfig {
        id,
        name: name.to_owned(),
        place: "Place de la République".to_owned(),
        url,
        username: None,
        password: None,
        tls: CameraTls::System,
        transport: Transport::Tcp,
        installation: Installation::default(),
        retention: Retention::default(),
        audio_legal_basis: None,
        silence_max: CameraConfig::SILENCE_MAX,
        store: StoreChoice::default(),
        onvif: None,
    }
}

/// One town with these cameras, everything else as the defaults have it, below one folder.
pub fn config(listen: SocketAddr, data_dir: &Path, cameras: Vec<CameraConfig>) -> Result<Config, DemoError> {
    let bad = || DemoError::DataDir(data_dir.display().to_string());
    Ok(Config {
        operator_token: None,
        public_url: None,
        spool_dir: data_dir.join("spool"),
        stores: vec![StoreConfig::at(Url::from_directory_path(data_dir.join("store")).map_err(|()| bad())?)],
        master_keys: MasterKeys::default(),
        data_dir: data_dir.to_owned(),
        disk_reserve_bytes: RESERVE_BYTES,
        spool_bytes_max: None,
        unwritten_bytes_max: None,
        http_listen: listen,
        http_tls: None,
        check_played: true,
        signing_ca_file: None,
        roles: Roles::built_in(),
        time_stamps: None,
        recording: RecordingConfig::default(),
        retention: Sweep::default(),
        time_zone: jiff::tz::TimeZone::get("Europe/Paris").unwrap_or(jiff::tz::TimeZone::UTC),
        tenants: vec![Tenant {
            id: "demo".parse::<TenantId>().expect("a plain word is a name"),
            name: "Ville de démonstration".to_owned(),
            access_token: None,
            token_role: Roles::TENANT_ADMINISTRATOR.to_owned(),
            reason_required: false,
            store: StoreChoice::default(),
            dedup_domain: None,
            journal_months: 36,
            requests: RequestRules::default(),
            authorisations: Vec::new(),
            cameras,
        }],
        alarms: Vec::new(),
        export: Default::default(),
        oidc: Vec::new(),
    })
}
