//! Secret keys of the gateway and what is derived from them.
//!
//! Invariants: a key never appears in `Debug`, in an error or in a log. A key that is missing, unusable or another than the
//! known one is never made again under its name: what is recorded meanwhile goes under a substitute, in a file of its own,
//! which stays readable after the right key is back ([`Keys::open`]).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;

use self::vault::{DayKey, Vault, VaultError};
use crate::failure::{Failure, Kind};
use crate::units::{CameraKey, DomainId, Fingerprint, FragmentId, TenantId, WallTime};

/// The day of the key for a pack that this camera begins at this instant; `None` where its packs are not encrypted. See
/// `CameraPolicy::key_day`.
pub type KeyDay = Arc<dyn Fn(&CameraKey, WallTime) -> Option<Date> + Send + Sync>;

pub mod aead;
pub mod names;
pub mod vault;

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
    /// There is no key, and footage needs it.
    #[error(
        "key file {path} is missing; the index knows it as {want}. Restore it from its backup and restart. Until then footage \
         is recorded under a substitute key and stays in the spool, recordings of unencrypted stores play, and nothing is \
         checked or called damaged; objects of encrypted stores cannot be found"
    )]
    Missing {
        /// Which file.
        path: PathBuf,
        /// The key that it held.
        want: Fingerprint,
    },
    /// It is another key than the known one.
    #[error(
        "key file {path} holds key {found}; the index knows {want}. Restore the right file from its backup and restart. Until \
         then footage is recorded under a substitute key and stays in the spool, recordings of unencrypted stores play, and \
         nothing is checked or called damaged; objects of encrypted stores cannot be found"
    )]
    Other {
        /// Which file.
        path: PathBuf,
        /// The key that the index knows.
        want: Fingerprint,
        /// The key in the file.
        found: Fingerprint,
    },
    /// Other users may read it.
    #[error("key file {path} can be read by other users (mode {mode:03o}): run `chmod 600 {path}` and restart")]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
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

impl Failure for KeysError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } => Failure::kind(source),
            Self::Missing { .. } | Self::Other { .. } | Self::Permissions { .. } => Kind::Denied,
            Self::WrongLength { .. } => Kind::Corrupt,
        }
    }
}

impl KeysError {
    /// The kind of event.
    pub fn event_kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "key_unreadable",
            Self::Missing { .. } => "key_missing",
            Self::Other { .. } => "key_other",
            Self::Permissions { .. } => "key_permissions",
            Self::WrongLength { .. } => "key_damaged",
        }
    }
}

/// The gateway's secret, from which every other key is derived; cheap to clone.
#[derive(Clone)]
pub struct Keys {
    secret: Arc<[u8; 32]>,
    /// Secrets under which footage was recorded while this one was missing.
    substitutes: Arc<[[u8; 32]]>,
    /// Why this is a substitute, if it is.
    trouble: Option<Arc<KeysError>>,
    /// Of tenants that share one.
    domains: Arc<BTreeMap<TenantId, DomainId>>,
    vault: Vault,
    kept_until: KeyDay,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// From a secret in memory.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self {
            secret: Arc::new(secret),
            substitutes: Arc::default(),
            trouble: None,
            domains: Arc::default(),
            vault: Vault::none(),
            kept_until: Arc::new(|_, _| None),
        }
    }

    /// The secret in this file, which has to be the known one; made where none is known and none is there. Where it cannot be
    /// used, a substitute beside it is: [`Keys::trouble`] says why. Blocks.
    ///
    /// # Errors
    /// When no substitute can be had either.
    pub fn open(path: &Path, known: Option<Fingerprint>) -> Result<Self, KeysError> {
        let beside = path.with_extension("substitute.key");
        let substitute = load(&beside)?;
        let trouble = match load(path) {
            Ok(Some(secret)) => {
                let (keys, found) = (Self::from_secret(secret), fingerprint(&secret));
                match known {
                    Some(want) if want != found => KeysError::Other { path: path.to_owned(), want, found },
                    _ => return Ok(Self { substitutes: substitute.into_iter().collect(), ..keys }),
                }
            }
            Ok(None) => match known {
                Some(want) => KeysError::Missing { path: path.to_owned(), want },
                None => return Self::load_or_create(path),
            },
            Err(e) => e,
        };
        Ok(Self { trouble: Some(Arc::new(trouble)), ..Self::load_or_create(&beside)? })
    }

    /// The file of the substitute becomes the gateway's key, for good: the former key is given up. Blocks.
    pub fn promote_substitute(path: &Path) -> Result<Self, KeysError> {
        let io = |source| KeysError::Io { path: path.to_owned(), source };
        let beside = path.with_extension("substitute.key");
        if load(&beside)?.is_none() {
            return Err(io(std::io::Error::new(
                std::io::ErrorKind::NotFound,
                format!("there is no substitute {}", beside.display()),
            )));
        }
        if path.exists() {
            std::fs::rename(path, path.with_extension("former.key")).map_err(io)?;
        }
        std::fs::rename(&beside, path).map_err(io)?;
        crate::platform::sync_name(path).map_err(io)?;
        Self::open(path, None)
    }

    /// Why these keys are a substitute; `None` where they are the right ones. Footage cannot be checked by a substitute.
    pub fn trouble(&self) -> Option<&KeysError> {
        self.trouble.as_deref()
    }

    /// By this the index and the stores know the secret: a hash that tells nothing of it.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.secret)
    }

    /// The same, where these tenants share deduplication domains. Any other has its own.
    pub fn with_domains(self, domains: impl IntoIterator<Item = (TenantId, DomainId)>) -> Self {
        Self { domains: Arc::new(domains.into_iter().collect()), ..self }
    }

    /// The same with the keys of encrypted packs. New packs are encrypted where this says so.
    pub fn with_vault(self, vault: Vault, kept_until: KeyDay) -> Self {
        Self { vault, kept_until, ..self }
    }

    /// The keys of encrypted packs.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The key that a new pack of this camera is encrypted under; `None` where its packs are not. Blocks when it is the first
    /// of its day.
    pub fn day_key_now(&self, camera: &CameraKey, now: WallTime) -> Result<Option<Arc<DayKey>>, VaultError> {
        let Some(day) = (self.kept_until)(camera, now) else { return Ok(None) };
        self.vault.for_day(&camera.tenant, day).map(Some)
    }

    /// The same of a pack that stays until then, whatever its camera's maximum: for a hold. Blocks.
    pub fn day_key_until(&self, camera: &CameraKey, until: WallTime) -> Result<Option<Arc<DayKey>>, VaultError> {
        // Whether its packs are encrypted at all does not depend on when.
        match (self.kept_until)(camera, until) {
            Some(_) => {
                let day = jiff::tz::Offset::UTC.to_datetime(until.to_timestamp()).date();
                self.vault.for_day(&camera.tenant, day).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Reads the secret; makes it, readable by its owner only and flushed, when the file is not there. Whether it is the
    /// right one is not asked.
    pub fn load_or_create(path: &Path) -> Result<Self, KeysError> {
        let io = |source| KeysError::Io { path: path.to_owned(), source };
        if let Some(secret) = load(path)? {
            return Ok(Self::from_secret(secret));
        }
        let secret: [u8; 32] = rand::random();
        let folder = path.parent().unwrap_or(path);
        std::fs::create_dir_all(folder).map_err(io)?;
        // Written beside and linked into place: a crash leaves no half key, and of two that start at once the second
        // finds the first's.
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

    /// Names of objects in stores where they must reveal nothing.
    pub fn names(&self) -> names::Names {
        names::Names::new(&self.secret)
    }

    /// 32 bytes that follow from the secret, and reveal nothing of it: for `context`, a text of its own for each purpose,
    /// and these bytes.
    pub fn derive(&self, context: &str, of: &[u8]) -> [u8; 32] {
        blake3::derive_key(context, &[&self.secret[..], of].concat())
    }

    /// The key of a tenant's deduplication domain.
    pub fn domain(&self, tenant: &TenantId) -> DomainKey {
        let of = |secret: &[u8; 32]| match self.domains.get(tenant) {
            Some(domain) => DomainKey::shared(secret, domain),
            None => DomainKey::for_tenant(secret, tenant),
        };
        let substitutes = self.substitutes.iter().map(|secret| of(secret).key).collect();
        DomainKey { vault: self.vault.clone(), substitutes, ..of(&self.secret) }
    }
}

/// The secret in a file that only its owner may read; `None` where there is no file.
fn load(path: &Path) -> Result<Option<[u8; 32]>, KeysError> {
    let io = |source| KeysError::Io { path: path.to_owned(), source };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    if let Some(mode) = open_to_others(path).map_err(io)? {
        return Err(KeysError::Permissions { path: path.to_owned(), mode });
    }
    let secret = <[u8; 32]>::try_from(bytes.as_slice())
        .map_err(|_| KeysError::WrongLength { path: path.to_owned(), bytes: bytes.len() })?;
    Ok(Some(secret))
}

/// The permission bits of a key file that its group or others have a right to.
fn open_to_others(path: &Path) -> std::io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

fn fingerprint(secret: &[u8; 32]) -> Fingerprint {
    let hash = blake3::derive_key("vigie 2026-11 fingerprint of a gateway key", secret);
    Fingerprint(*hash.first_chunk().expect("a hash has 32 bytes"))
}

fn write_private(path: &Path, secret: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(secret)?;
    file.sync_all()
}

/// The key of a deduplication domain: fragment ids are BLAKE3 keyed with it, so that ids of one tenant tell nothing
/// about another's footage. With it go the keys of encrypted packs, which ids are in.
#[derive(Clone)]
pub struct DomainKey {
    key: [u8; 32],
    /// Of the same domain, under the gateway's substitutes.
    substitutes: Arc<[[u8; 32]]>,
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
        Self { key: *hasher.finalize().as_bytes(), substitutes: Arc::default(), vault: Vault::none() }
    }

    /// A domain that tenants share by its name, under the gateway's secret. No tenant is in it by being called so.
    pub fn shared(secret: &[u8; 32], domain: &DomainId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("vigie 2026-11 deduplication domain that tenants share");
        hasher.update(secret);
        hasher.update(domain.as_str().as_bytes());
        Self { key: *hasher.finalize().as_bytes(), substitutes: Arc::default(), vault: Vault::none() }
    }

    /// The id of these sample bytes.
    pub fn id_of(&self, data: &[u8]) -> FragmentId {
        FragmentId(*blake3::keyed_hash(&self.key, data).as_bytes())
    }

    /// The id of sample bytes in parts, one after the other.
    pub fn id_of_parts<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> FragmentId {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in parts {
            hasher.update(part);
        }
        FragmentId(*hasher.finalize().as_bytes())
    }

    /// Whether these sample bytes had this id under a substitute of the key.
    pub fn had_id(&self, data: &[u8], id: FragmentId) -> bool {
        self.substitutes.iter().any(|key| blake3::keyed_hash(key, data).as_bytes() == &id.0)
    }

    /// The raw key, for hashing.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// The keys of encrypted packs.
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
    fn a_key_that_is_missing_another_or_readable_by_others_gives_way_to_a_substitute_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.key");
        let tenant: TenantId = "town".parse().unwrap();
        let right = Keys::open(&path, None).unwrap();
        let known = Some(right.fingerprint());
        assert!(Keys::open(&path, known).unwrap().trouble().is_none());
        let secret = std::fs::read(&path).unwrap();

        let put = |bytes: &[u8]| {
            if path.exists() {
                std::fs::remove_file(&path).unwrap();
            }
            write_private(&path, bytes).unwrap();
        };
        std::fs::remove_file(&path).unwrap();
        let substitute = Keys::open(&path, known).unwrap();
        assert!(matches!(substitute.trouble(), Some(KeysError::Missing { .. })));
        assert!(!path.exists(), "a key was made beside footage that needs another");
        put(&[9; 32]);
        assert!(matches!(Keys::open(&path, known).unwrap().trouble(), Some(KeysError::Other { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), [9; 32]);
        put(&secret[..31]);
        assert!(matches!(Keys::open(&path, known).unwrap().trouble(), Some(KeysError::WrongLength { bytes: 31, .. })));
        put(&secret);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Keys::open(&path, known).unwrap();
        assert!(refused.trouble().unwrap().to_string().contains("chmod 600"));
        assert_eq!(refused.fingerprint(), substitute.fingerprint(), "one substitute for all of the time");

        put(&secret);
        let back = Keys::open(&path, known).unwrap();
        assert!(back.trouble().is_none());
        let meanwhile = substitute.domain(&tenant).id_of(b"samples");
        assert_ne!(back.domain(&tenant).id_of(b"samples"), meanwhile);
        assert!(back.domain(&tenant).had_id(b"samples", meanwhile), "what was recorded meanwhile can be checked");
        assert!(!back.domain(&tenant).had_id(b"other samples", meanwhile));
    }

    #[test]
    fn a_file_that_is_no_key_is_not_used_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.key");
        write_private(&path, b"short").unwrap();
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
