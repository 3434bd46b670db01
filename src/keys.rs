//! Secret keys of the gateway and what is derived from them.
//!
//! Invariant: a key never appears in `Debug`, in an error or in a log.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::vault::{DayKey, Vault, VaultError};
use crate::units::{CameraKey, DomainId, TenantId, Ticks90k, WallTime};

/// Until when the footage that a camera films at this instant is kept at most; `None` where its packs are not sealed.
pub type KeptUntil = Arc<dyn Fn(&CameraKey, WallTime) -> Option<WallTime> + Send + Sync>;

pub mod aead;
pub mod names;
pub mod vault;

/// A pack that began so long ago grows no more: its footage begins no later.
const GROWING_MAX: Ticks90k = Ticks90k(3_600 * crate::units::TICKS_PER_SECOND);

/// Why the gateway's secret could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file could not be read or made.
    #[error("key file {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a key.
    #[error(
        "key file {path} has {bytes} bytes, a key has 32: restore it from its backup, for without it no fragment can be verified"
    )]
    WrongLength {
        /// Which file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
}

/// The gateway's secret, from which every other key is derived; cheap to clone.
#[derive(Clone)]
pub struct Keys {
    secret: Arc<[u8; 32]>,
    /// Of tenants that share one.
    domains: Arc<BTreeMap<TenantId, DomainId>>,
    vault: Vault,
    sealing: KeptUntil,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// From a secret in memory.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self { secret: Arc::new(secret), domains: Arc::default(), vault: Vault::none(), sealing: Arc::new(|_, _| None) }
    }

    /// The same, where these tenants share deduplication domains. Any other has its own.
    pub fn with_domains(self, domains: impl IntoIterator<Item = (TenantId, DomainId)>) -> Self {
        Self { domains: Arc::new(domains.into_iter().collect()), ..self }
    }

    /// The same with the keys of sealed packs. New packs are sealed where this says so.
    pub fn with_vault(self, vault: Vault, sealing: KeptUntil) -> Self {
        Self { vault, sealing, ..self }
    }

    /// The keys of sealed packs.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The key that a new pack of this camera is sealed under; `None` where its packs are not. Blocks when it is the first
    /// of its day.
    pub fn sealing(&self, camera: &CameraKey, now: WallTime) -> Result<Option<Arc<DayKey>>, VaultError> {
        let Some(until) = (self.sealing)(camera, now) else { return Ok(None) };
        self.day(camera, until.saturating_add(GROWING_MAX)).map(Some)
    }

    /// The same of a pack that stays until then, whatever its camera's maximum: for a hold. Blocks.
    pub fn sealing_until(&self, camera: &CameraKey, until: WallTime) -> Result<Option<Arc<DayKey>>, VaultError> {
        // Whether its packs are sealed at all does not depend on when.
        match (self.sealing)(camera, until) {
            Some(_) => self.day(camera, until).map(Some),
            None => Ok(None),
        }
    }

    fn day(&self, camera: &CameraKey, until: WallTime) -> Result<Arc<DayKey>, VaultError> {
        let day = jiff::tz::Offset::UTC.to_datetime(until.to_timestamp()).date();
        self.vault.for_day(&camera.tenant, day)
    }

    /// Reads the secret; makes it, readable by its owner only and flushed, when the file is not there.
    pub fn load_or_create(path: &Path) -> Result<Self, KeysError> {
        let io = |source| KeysError::Io { path: path.to_owned(), source };
        match std::fs::read(path) {
            Ok(bytes) => {
                let secret = <[u8; 32]>::try_from(bytes.as_slice())
                    .map_err(|_| KeysError::WrongLength { path: path.to_owned(), bytes: bytes.len() })?;
                Ok(Self::from_secret(secret))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let secret: [u8; 32] = rand::random();
                let folder = path.parent().unwrap_or(path);
                std::fs::create_dir_all(folder).map_err(io)?;
                // Written beside and linked into place: a crash leaves no half key, and of two that start at once
                // the second finds the first's.
                let draft = path.with_extension(format!("new-{}", std::process::id()));
                write_private(&draft, &secret).map_err(io)?;
                let linked = std::fs::hard_link(&draft, path);
                std::fs::remove_file(&draft).map_err(io)?;
                match linked {
                    Ok(()) => {
                        std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(io)?;
                        Ok(Self::from_secret(secret))
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Self::load_or_create(path),
                    Err(e) => Err(io(e)),
                }
            }
            Err(e) => Err(io(e)),
        }
    }

    /// Names of objects in stores where nothing may be told from them.
    pub fn names(&self) -> names::Names {
        names::Names::new(&self.secret)
    }

    /// The key of a tenant's deduplication domain.
    pub fn domain(&self, tenant: &TenantId) -> DomainKey {
        let key = match self.domains.get(tenant) {
            Some(domain) => DomainKey::shared(&self.secret, domain),
            None => DomainKey::for_tenant(&self.secret, tenant),
        };
        DomainKey { vault: self.vault.clone(), ..key }
    }
}

fn write_private(path: &Path, secret: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(secret)?;
    file.sync_all()
}

/// The key of a deduplication domain: fragment ids are BLAKE3 keyed with it, so that ids of one tenant tell nothing
/// about another's footage. With it go the keys of sealed packs, which ids are in.
#[derive(Clone)]
pub struct DomainKey {
    key: [u8; 32],
    vault: Vault,
}

impl std::fmt::Debug for DomainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DomainKey(..)")
    }
}

impl DomainKey {
    /// The tenant's own domain under the gateway's secret.
    pub fn for_tenant(secret: &[u8; 32], tenant: &TenantId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("vigie 2026-11 deduplication domain of a tenant");
        hasher.update(secret);
        hasher.update(tenant.as_str().as_bytes());
        Self { key: *hasher.finalize().as_bytes(), vault: Vault::none() }
    }

    /// A domain that tenants share by its name, under the gateway's secret. No tenant is in it by being called so.
    pub fn shared(secret: &[u8; 32], domain: &DomainId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("vigie 2026-11 deduplication domain that tenants share");
        hasher.update(secret);
        hasher.update(domain.as_str().as_bytes());
        Self { key: *hasher.finalize().as_bytes(), vault: Vault::none() }
    }

    /// The raw key, for hashing.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// The keys of sealed packs.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_secret_is_made_once_private_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys").join("gateway.key");
        let tenant: TenantId = "town".parse().unwrap();
        let made = Keys::load_or_create(&path).unwrap().domain(&tenant);
        let found = Keys::load_or_create(&path).unwrap().domain(&tenant);
        assert_eq!(made.as_bytes(), found.as_bytes());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let other: TenantId = "other".parse().unwrap();
        assert_ne!(made.as_bytes(), Keys::load_or_create(&path).unwrap().domain(&other).as_bytes());
    }

    #[test]
    fn tenants_share_a_key_only_where_both_name_the_same_domain() {
        let [a, b, c]: [TenantId; 3] = ["a", "b", "c"].map(|name| name.parse().unwrap());
        let key = |keys: &Keys, tenant: &TenantId| *keys.domain(tenant).as_bytes();
        let alone = Keys::from_secret([7; 32]);
        let shared = alone.clone().with_domains([(a.clone(), "c".parse().unwrap()), (b.clone(), "c".parse().unwrap())]);
        assert_eq!(key(&shared, &a), key(&shared, &b));
        assert_ne!(key(&shared, &a), key(&shared, &c), "a tenant called as the domain is not in it");
        assert_eq!(key(&shared, &c), key(&alone, &c));
        assert_ne!(key(&alone, &a), key(&alone, &b));
    }

    #[test]
    fn a_file_that_is_no_key_is_not_used_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.key");
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(Keys::load_or_create(&path), Err(KeysError::WrongLength { bytes: 5, .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
    }

    #[test]
    fn no_key_shows_in_debug() {
        let keys = Keys::from_secret([7; 32]);
        let shown = format!("{keys:?} {:?}", keys.domain(&"town".parse().unwrap()));
        assert!(!shown.contains('7'), "{shown}");
    }
}
