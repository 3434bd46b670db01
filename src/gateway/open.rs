//! What footage is read through, opened in order: keys, store, index, spool.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{GatewayError, camera_rows};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::index::Index;
use crate::keys::Keys;
use crate::keys::vault::Vault;
use crate::keys::vault::master::{self, Master};
use crate::packs::Packs;
use crate::retention;
use crate::spool::Spool;
use crate::store::Store;
use crate::units::{CameraKey, Ticks90k};

/// What reads footage: the gateway itself, and the commands beside it.
#[derive(Debug)]
pub struct Opened {
    /// The index.
    pub index: Index,
    /// The spool; not started.
    pub spool: Spool,
    /// The store.
    pub store: Store,
    /// All packs.
    pub packs: Packs,
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// The gateway's secret.
    pub keys: Keys,
    /// How long each camera's footage is kept, where it is encrypted.
    pub(super) maxima: Maxima,
}

/// The retention maxima of cameras whose store is encrypted: a reload replaces them.
#[derive(Clone, Debug, Default)]
pub(super) struct Maxima(Arc<RwLock<HashMap<CameraKey, Ticks90k>>>);

impl Maxima {
    pub(super) fn replace(&self, config: &Config, store: &Store) {
        let encrypted =
            |key: &CameraKey| config.stores.iter().any(|of| of.encrypt && of.name == store.name(store.home(key)));
        let rows = camera_rows(config).into_iter().filter(|row| encrypted(&row.key));
        *self.0.write() = rows.map(|row| (row.key, row.retention_max)).collect();
    }

    fn of(&self, camera: &CameraKey) -> Option<Ticks90k> {
        self.0.read().get(camera).copied()
    }
}

/// Where the index lies.
pub fn index_path(config: &Config) -> PathBuf {
    config.data_dir.join("index.sqlite")
}

/// Opens what footage is read through. Read-only beside a gateway that may be running; otherwise the folders and the
/// secret are made where they are missing.
pub async fn open(config: &Config, read_only: bool) -> Result<Opened, GatewayError> {
    let index_path = index_path(config);
    let index = if read_only { Index::open_read_only(&index_path).await? } else { Index::open(&index_path).await? };
    let maxima = Maxima::default();
    let (keys, store, clock) = parts_with(config, &maxima)?;
    let spool = Spool::new(&config.spool_dir, store.clone(), index.clone(), clock.clone(), keys.clone());
    let packs = Packs::new(spool.clone(), store.clone());
    Ok(Opened { index, spool, store, packs, clock, keys, maxima })
}

/// What does not need the index.
pub fn parts(config: &Config) -> Result<(Keys, Store, Arc<dyn Clock>), GatewayError> {
    parts_with(config, &Maxima::default())
}

fn parts_with(config: &Config, maxima: &Maxima) -> Result<(Keys, Store, Arc<dyn Clock>), GatewayError> {
    let shared = config.tenants.iter().filter_map(|tenant| Some((tenant.id.clone(), tenant.dedup_domain.clone()?)));
    let keys = Keys::load_or_create(&config.data_dir.join("keys").join("gateway.key"))?.with_domains(shared);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let Some(vault) = vault(config)? else {
        let store = Store::of_config(config, &clock, None)?;
        return Ok((keys, store, clock));
    };
    let store = Store::of_config(config, &clock, Some(&keys.names()))?;
    let zone = config.time_zone.clone();
    maxima.replace(config, &store);
    let maxima = maxima.clone();
    let kept_until = move |camera: &CameraKey, now| Some(retention::deadline(now, maxima.of(camera)?, &zone));
    Ok((keys.with_vault(vault, Arc::new(kept_until)), store, clock))
}

/// The folder of tenant and day keys, and the file of the master key that Vigie makes where none is given.
pub fn key_places(config: &Config) -> (PathBuf, PathBuf) {
    let keys = config.data_dir.join("keys");
    (keys.join("packs"), keys.join("master.key"))
}

/// The keys of sealed packs, where a store is encrypted, or one was.
pub fn vault(config: &Config) -> Result<Option<Vault>, GatewayError> {
    let (folder, own) = key_places(config);
    if !folder.is_dir() && !config.stores.iter().any(|store| store.encrypt) {
        return Ok(None);
    }
    let given = [&config.master_keys.current, &config.master_keys.previous].into_iter().flatten();
    let mut masters = given.map(Master::from_hex).collect::<Result<Vec<_>, _>>()?;
    if masters.is_empty() {
        masters = master::load_or_create(&own)?;
    } else {
        // What Vigie's own wrapped before one was given.
        masters.extend(master::load(&own)?.into_iter().flatten());
    }
    Ok(Some(Vault::open(&folder, masters)))
}

/// Keeps a second gateway out of the data folder for as long as the file is held.
pub fn lock(config: &Config) -> Result<File, GatewayError> {
    let io = |path: &PathBuf| {
        let path = path.clone();
        move |source| GatewayError::Io { path, source }
    };
    std::fs::create_dir_all(&config.data_dir).map_err(io(&config.data_dir))?;
    let path = config.data_dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(GatewayError::InUse(config.data_dir.clone())),
        Err(std::fs::TryLockError::Error(source)) => Err(GatewayError::Io { path, source }),
    }
}
