//! The key hierarchy of encrypted packs.
//!
//! ```text
//! master key    given by the operator, or made once          never stored beside what it wraps unless made here
//!  └ tenant key one a tenant, one small file                 wrapped by the master key
//!     └ day key one a tenant and UTC day, one small file     wrapped by the tenant key
//!        └ pack key, in the head of each pack                wrapped by the day key
//! ```
//!
//! The day is the one on which the footage's longest keeping ends, so that destroying one file makes unreadable exactly
//! what had to go, wherever copies of it lie. A key above is replaced without touching what lies below the next level.
//!
//! Invariants: a day key is on disk, durably, before anything is encrypted under it. One process at a time changes the
//! folder. A key in use by a pack that grows is not destroyed. A key that cannot be used stops no recording: another is made
//! beside it, and it stays as it is.
//! Absent on purpose: this module does not decide when a key goes; retention does.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;
use parking_lot::{Mutex, MutexGuard};
use tracing::error;

use self::file::{KeyFile, KeyFileKind};
use self::master::{Master, MasterId};
use super::aead::{Cipher, NotAuthentic, WRAPPED_BYTES, new_key};
use crate::failure::{Failure, Kind};
use crate::platform;
use crate::units::{KeyId, TenantId};

mod file;
pub mod master;
pub mod rotate;
#[cfg(test)]
mod tests;

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Encrypted footage is read, or to be written, and no keys were opened.
    #[error("the footage is encrypted and this process has no keys: name the configuration that the gateway runs with")]
    NoKeys,
    /// The file of a day key is not there.
    #[error(
        "day key {id} is not in {folder}: restore the folder from its backup; if the footage was due for destruction, the key was destroyed with it and nothing brings it back"
    )]
    NoDayKey {
        /// Which.
        id: KeyId,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The file of a tenant key is not there.
    #[error("tenant key {id} of {tenant} is not in {folder}: restore the folder from its backup")]
    NoTenantKey {
        /// Which.
        id: KeyId,
        /// Whose.
        tenant: TenantId,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The master key is not the one that wrapped this file.
    #[error(
        "{path} is wrapped by master key {want}, and the configured one is {got}: configure the right one, or give both while you replace it (`previous_master_key`, then `vigie keys rotate master`)"
    )]
    OtherMaster {
        /// Which file.
        path: PathBuf,
        /// The key that it names.
        want: MasterId,
        /// The current one.
        got: MasterId,
    },
    /// The master key that Vigie made is not there, and keys are wrapped by it.
    #[error(
        "master key file {path} is missing, and the keys in {folder} are wrapped by it: restore it from its backup and restart. \
         Until then footage is encrypted under new keys, and earlier encrypted footage cannot be read"
    )]
    NoMaster {
        /// Which file.
        path: PathBuf,
        /// What it wraps.
        folder: PathBuf,
    },
    /// Other users may read it.
    #[error("key file {path} can be read by other users (mode {mode:03o}): run `chmod 600 {path}` and restart")]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file does not hold a key.
    #[error("key file {path} is damaged ({what}): restore it from its backup")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The disk.
    #[error("key file {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Failure for VaultError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } => Failure::kind(source),
            Self::Damaged { .. } => Kind::Corrupt,
            Self::NoKeys
            | Self::NoDayKey { .. }
            | Self::NoTenantKey { .. }
            | Self::OtherMaster { .. }
            | Self::NoMaster { .. }
            | Self::Permissions { .. } => Kind::Denied,
        }
    }
}

/// A tenant's key for footage that has to go by one day.
#[derive(Debug)]
pub struct DayKey {
    /// Its name in packs.
    pub id: KeyId,
    /// Whose footage.
    pub tenant: TenantId,
    /// The UTC day on which the footage's longest keeping ends.
    pub day: Date,
    /// Wraps pack keys.
    pub cipher: Cipher,
}

#[derive(Debug)]
struct TenantKey {
    id: KeyId,
    cipher: Cipher,
}

/// The keys of a gateway; cheap to clone. [`Vault::none`] has none.
#[derive(Clone, Debug, Default)]
pub struct Vault(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// The current one first.
    masters: Vec<Master>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tenants: HashMap<KeyId, Arc<TenantKey>>,
    days: HashMap<KeyId, Arc<DayKey>>,
    /// Those that new packs are encrypted under.
    current: HashMap<(TenantId, Date), Arc<DayKey>>,
    /// Keys that could not be used, once each, by tenant and text.
    troubles: BTreeSet<(Option<TenantId>, String)>,
    /// Those that were not asked for yet.
    untold: Vec<(Option<TenantId>, String)>,
}

/// Keys that could not be used, remembered at most.
const TROUBLES_MAX: usize = 256;

impl State {
    fn note(&mut self, tenant: Option<&TenantId>, trouble: &VaultError) {
        let noted = (tenant.cloned(), trouble.to_string());
        if self.troubles.len() < TROUBLES_MAX && self.troubles.insert(noted.clone()) {
            error!(
                tenant = tenant.map(TenantId::as_str),
                "{trouble}; new footage is encrypted under another key, and this one stays where it is"
            );
            self.untold.push(noted);
        }
    }
}

/// A key as `vigie keys show` tells of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    /// Whose.
    pub tenant: TenantId,
    /// `None` for a tenant key.
    pub day: Option<Date>,
    /// Its name.
    pub id: KeyId,
    /// The name of the key that wraps it.
    pub under: String,
}

impl Vault {
    /// No keys: nothing encrypted can be read or written.
    pub fn none() -> Self {
        Self::default()
    }

    /// The keys in this folder, under these master keys, the current one first. Nothing is read before it is needed.
    pub fn open(folder: &Path, masters: Vec<Master>) -> Self {
        Self(Some(Arc::new(Inner { folder: folder.to_owned(), masters, state: Mutex::default() })))
    }

    fn inner(&self) -> Result<&Inner, VaultError> {
        self.0.as_deref().ok_or(VaultError::NoKeys)
    }

    /// The key for new packs of a tenant whose footage has to go by this day; made, durably, when there is none.
    /// Blocks.
    pub fn for_day(&self, tenant: &TenantId, day: Date) -> Result<Arc<DayKey>, VaultError> {
        let inner = self.inner()?;
        let mut state = inner.lock();
        if let Some(key) = state.current.get(&(tenant.clone(), day)) {
            return Ok(key.clone());
        }
        let _alone = inner.alone()?;
        let mut of_day = inner.paths(tenant)?;
        of_day.retain(|path| file::day_and_id(path).is_some_and(|(of, _)| of == day));
        let mut found = None;
        for path in of_day {
            match file::read(&path).and_then(|file| inner.open_day(&mut state, &path, &file)) {
                Ok(key) => found = found.or(Some(key)),
                // Recording goes on under another key; this one stays where it is, and is reported whichever comes first.
                Err(trouble) => state.note(Some(tenant), &trouble),
            }
        }
        let key = match found {
            Some(key) => key,
            None => inner.make_day(&mut state, tenant, day)?,
        };
        // Only a few days ahead are written for; what is past is no longer current for anybody.
        state.current.retain(|(of, at), _| of != tenant || *at >= day.saturating_sub(jiff::ToSpan::days(31)));
        state.current.insert((tenant.clone(), day), key.clone());
        Ok(key)
    }

    /// The key that a pack names. Blocks.
    pub fn find(&self, id: KeyId) -> Result<Arc<DayKey>, VaultError> {
        let inner = self.inner()?;
        let mut state = inner.lock();
        if let Some(key) = state.days.get(&id) {
            return Ok(key.clone());
        }
        for tenant in inner.tenants()? {
            for path in inner.paths(&tenant)?.into_iter().filter(|path| file::names(path, KeyFileKind::Day, id)) {
                let file = file::read(&path)?;
                if file.id == id {
                    return inner.open_day(&mut state, &path, &file);
                }
            }
        }
        Err(VaultError::NoDayKey { id, folder: inner.folder.clone() })
    }

    /// Destroys a day key: its file is overwritten, removed, and the removal made durable. `false` when a pack that
    /// grows, or a reader, has it now. Absent counts as destroyed. Blocks.
    pub fn destroy(&self, tenant: &TenantId, id: KeyId) -> Result<bool, VaultError> {
        let inner = self.inner()?;
        let mut state = inner.lock();
        state.current.retain(|_, key| key.id != id);
        if state.days.get(&id).is_some_and(|key| Arc::strong_count(key) > 1) {
            return Ok(false);
        }
        let _alone = inner.alone()?;
        for path in inner.paths(tenant)?.into_iter().filter(|path| file::names(path, KeyFileKind::Day, id)) {
            file::destroy(&path)?;
        }
        state.days.remove(&id);
        Ok(true)
    }

    /// Every key in the folder, opened or not. Blocks.
    pub fn list(&self) -> Result<Vec<Shown>, VaultError> {
        let Some(inner) = &self.0 else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for tenant in inner.tenants()? {
            all.extend(inner.files(&tenant)?.into_iter().map(|(_, file)| Shown {
                tenant: file.tenant,
                day: file.day,
                id: file.id,
                under: file.under,
            }));
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Day keys of days before this one, by the names of their files alone. Blocks.
    pub fn days_before(&self, day: Date) -> Result<Vec<Shown>, VaultError> {
        let Some(inner) = &self.0 else { return Ok(Vec::new()) };
        let mut over = Vec::new();
        for tenant in inner.tenants()? {
            let named = inner.paths(&tenant)?.into_iter().filter_map(|path| file::day_and_id(&path));
            let before = named.filter(|(of, _)| *of < day);
            over.extend(before.map(|(of, id)| Shown {
                tenant: tenant.clone(),
                day: Some(of),
                id,
                under: String::new(),
            }));
        }
        Ok(over)
    }

    /// Notes a key above the tenants' that could not be used.
    pub fn note_trouble(&self, trouble: &VaultError) {
        if let Some(inner) = &self.0 {
            inner.lock().note(None, trouble);
        }
    }

    /// Keys that could not be used since this was asked last, each once: whose, and what to do.
    pub fn take_troubles(&self) -> Vec<(Option<TenantId>, String)> {
        self.0.as_ref().map(|inner| std::mem::take(&mut inner.lock().untold)).unwrap_or_default()
    }

    /// Those of these day keys that have no file. Blocks.
    pub fn missing(&self, ids: &[KeyId]) -> Result<Vec<KeyId>, VaultError> {
        let Some(inner) = &self.0 else { return Ok(ids.to_vec()) };
        let mut there = std::collections::HashSet::new();
        for tenant in inner.tenants()? {
            there.extend(inner.paths(&tenant)?.iter().filter_map(|path| Some(file::day_and_id(path)?.1)));
        }
        Ok(ids.iter().filter(|id| !there.contains(id)).copied().collect())
    }

    /// Where day and tenant keys are kept, if anywhere.
    pub fn folder(&self) -> Option<&Path> {
        self.0.as_ref().map(|inner| inner.folder.as_path())
    }

    /// The names of the master keys, the current one first.
    pub fn masters(&self) -> Vec<MasterId> {
        self.0.iter().flat_map(|inner| inner.masters.iter().map(Master::id)).collect()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// While this is held, no other process changes the folder.
    fn alone(&self) -> Result<File, VaultError> {
        let path = self.folder.join("lock");
        let io = |source| VaultError::Io { path: path.clone(), source };
        file::create_folder(&self.folder).map_err(io)?;
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
        lock.lock().map_err(io)?;
        Ok(lock)
    }

    fn folder_of(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join(tenant.as_str())
    }

    /// Tenants that have keys.
    fn tenants(&self) -> Result<Vec<TenantId>, VaultError> {
        let named = |path: PathBuf| path.file_name()?.to_str()?.parse().ok().filter(|_| path.is_dir());
        Ok(file::entries(&self.folder)?.into_iter().filter_map(named).collect())
    }

    fn paths(&self, tenant: &TenantId) -> Result<Vec<PathBuf>, VaultError> {
        let mut paths = file::entries(&self.folder_of(tenant))?;
        paths.retain(|path| path.extension().is_some_and(|e| e == "key"));
        Ok(paths)
    }

    fn files(&self, tenant: &TenantId) -> Result<Vec<(PathBuf, KeyFile)>, VaultError> {
        self.paths(tenant)?.into_iter().map(|path| Ok((path.clone(), file::read(&path)?))).collect()
    }

    fn master(&self) -> &Master {
        &self.masters[0]
    }

    /// A tenant's newest key that can be used; made when there is none.
    fn tenant_key(&self, state: &mut State, tenant: &TenantId) -> Result<Arc<TenantKey>, VaultError> {
        let mut numbered: Vec<(u32, PathBuf)> =
            self.paths(tenant)?.into_iter().filter_map(|path| Some((file::number(&path)?, path))).collect();
        numbered.sort_unstable();
        let newest = numbered.last().map_or(0, |(number, _)| *number);
        for (_, path) in numbered.iter().rev() {
            match file::read(path).and_then(|file| self.open_tenant(state, path, &file)) {
                Ok(key) => return Ok(key),
                Err(trouble) => state.note(Some(tenant), &trouble),
            }
        }
        self.make_tenant(state, tenant, newest.saturating_add(1))
    }

    fn make_tenant(&self, state: &mut State, tenant: &TenantId, number: u32) -> Result<Arc<TenantKey>, VaultError> {
        let master = self.master();
        let id = KeyId::generate();
        let key = new_key();
        let file = KeyFile::new(KeyFileKind::Tenant, id, tenant, None, number, master.id().to_string());
        self.write(&file.wrapping(master.cipher(), &key))?;
        let key = Arc::new(TenantKey { id, cipher: Cipher::new(&key) });
        state.tenants.insert(id, key.clone());
        Ok(key)
    }

    fn make_day(&self, state: &mut State, tenant: &TenantId, day: Date) -> Result<Arc<DayKey>, VaultError> {
        let over = self.tenant_key(state, tenant)?;
        let id = KeyId::generate();
        let key = new_key();
        let file = KeyFile::new(KeyFileKind::Day, id, tenant, Some(day), 0, over.id.to_string());
        self.write(&file.wrapping(&over.cipher, &key))?;
        let key = Arc::new(DayKey { id, tenant: tenant.clone(), day, cipher: Cipher::new(&key) });
        state.days.insert(id, key.clone());
        Ok(key)
    }

    fn write(&self, file: &KeyFile) -> Result<(), VaultError> {
        let folder = self.folder_of(&file.tenant);
        file::create_folder(&folder).map_err(|source| VaultError::Io { path: folder.clone(), source })?;
        file::write(&folder.join(file.name()), file)
    }

    fn open_tenant(&self, state: &mut State, path: &Path, file: &KeyFile) -> Result<Arc<TenantKey>, VaultError> {
        if let Some(key) = state.tenants.get(&file.id) {
            return Ok(key.clone());
        }
        let Some(master) = self.masters.iter().find(|master| master.id().to_string() == file.under) else {
            let want = file.under.parse().map_err(|_| damaged(path, "it names no master key"))?;
            return Err(VaultError::OtherMaster { path: path.to_owned(), want, got: self.master().id() });
        };
        let key = file.unwrap(master.cipher()).map_err(|e| not_authentic(path, e))?;
        let key = Arc::new(TenantKey { id: file.id, cipher: Cipher::new(&key) });
        state.tenants.insert(file.id, key.clone());
        Ok(key)
    }

    fn open_day(&self, state: &mut State, path: &Path, file: &KeyFile) -> Result<Arc<DayKey>, VaultError> {
        let (Some(day), Ok(under)) = (file.day, file.under.parse::<KeyId>()) else {
            return Err(damaged(path, "a day key has a day and the name of a tenant key"));
        };
        let tenants = self.paths(&file.tenant)?.into_iter().find(|path| file::names(path, KeyFileKind::Tenant, under));
        let Some(of_tenant) = tenants else {
            let folder = self.folder_of(&file.tenant);
            return Err(VaultError::NoTenantKey { id: under, tenant: file.tenant.clone(), folder });
        };
        let over = self.open_tenant(state, &of_tenant, &file::read(&of_tenant)?)?;
        let key = file.unwrap(&over.cipher).map_err(|e| not_authentic(path, e))?;
        let key = DayKey { id: file.id, tenant: file.tenant.clone(), day, cipher: Cipher::new(&key) };
        let key = Arc::new(key);
        state.days.insert(file.id, key.clone());
        Ok(key)
    }
}

fn damaged(path: &Path, what: &str) -> VaultError {
    VaultError::Damaged { path: path.to_owned(), what: what.to_owned() }
}

fn not_authentic(path: &Path, _: NotAuthentic) -> VaultError {
    damaged(path, "what it holds was not wrapped by the key that it names, or was changed")
}
