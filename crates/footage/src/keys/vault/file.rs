//! Key files: one small JSON object each, the key in it wrapped, everything else in it under the same seal.

use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{Cipher, KeyId, NotAuthentic, TenantId, VaultError, WRAPPED_BYTES, damaged, platform};
use crate::keys::aead::SecretKey;

/// Longest key file, in bytes.
const FILE_BYTES_MAX: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeyFileKind {
    Tenant,
    Day,
}

impl KeyFileKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Day => "day",
        }
    }
}

/// What a key file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    pub(super) kind: KeyFileKind,
    #[serde(with = "text")]
    pub(super) id: KeyId,
    pub(super) tenant: TenantId,
    /// Of a day key.
    pub(super) day: Option<Date>,
    /// Counts a tenant's keys.
    pub(super) number: u32,
    /// The name of the key that wraps it.
    pub(super) under: String,
    wrapped: String,
}

impl KeyFile {
    pub(super) fn new(
        kind: KeyFileKind,
        id: KeyId,
        tenant: &TenantId,
        day: Option<Date>,
        number: u32,
        under: String,
    ) -> Self {
        Self { kind, id, tenant: tenant.clone(), day, number, under, wrapped: String::new() }
    }

    /// What is encrypted along with the key. The key above is not named in it: opening with another fails anyway.
    fn context(&self) -> Vec<u8> {
        let day = self.day.map(|day| day.to_string()).unwrap_or_default();
        format!("vigie key|{}|{}|{}|{day}|{}", self.kind.as_str(), self.id, self.tenant, self.number).into_bytes()
    }

    pub(super) fn wrapping(mut self, over: &Cipher, key: &SecretKey) -> Self {
        self.wrapped = STANDARD.encode(over.wrap(&self.context(), key));
        self
    }

    pub(super) fn unwrap(&self, over: &Cipher) -> Result<SecretKey, NotAuthentic> {
        let wrapped = STANDARD.decode(&self.wrapped).map_err(|_| NotAuthentic)?;
        let wrapped = <[u8; WRAPPED_BYTES]>::try_from(wrapped).map_err(|_| NotAuthentic)?;
        over.unwrap(&self.context(), &wrapped)
    }

    /// `day-2026-12-23-<id>.key`, `tenant-000001-<id>.key`.
    pub(super) fn name(&self) -> String {
        match self.day {
            Some(day) => format!("{}-{day}-{}.key", self.kind.as_str(), self.id),
            None => format!("{}-{:06}-{}.key", self.kind.as_str(), self.number, self.id),
        }
    }
}

mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::KeyId;

    pub(super) fn serialize<S: Serializer>(id: &KeyId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a file's name is that of this key.
pub(super) fn names(path: &Path, kind: KeyFileKind, id: KeyId) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(kind.as_str()) && name.ends_with(&format!("-{id}.key"))
}

/// What the name of a day key's file says.
pub(super) fn day_and_id(path: &Path) -> Option<(Date, KeyId)> {
    let name = path.file_stem()?.to_str()?.strip_prefix("day-")?;
    let (day, id) = name.rsplit_once('-')?;
    Some((day.parse().ok()?, id.parse().ok()?))
}

/// What the name of a tenant key's file says.
pub(super) fn number(path: &Path) -> Option<u32> {
    let name = path.file_stem()?.to_str()?.strip_prefix("tenant-")?;
    name.split_once('-')?.0.parse().ok()
}

/// Refuses a key file that other users may read.
pub(super) fn check_permissions(path: &Path) -> Result<(), VaultError> {
    match crate::keys::open_to_others(path) {
        Ok(None) => Ok(()),
        Ok(Some(mode)) => Err(VaultError::Permissions { path: path.to_owned(), mode }),
        Err(source) => Err(VaultError::Io { path: path.to_owned(), source }),
    }
}

pub(super) fn read(path: &Path) -> Result<KeyFile, VaultError> {
    let io = |source| VaultError::Io { path: path.to_owned(), source };
    check_permissions(path)?;
    let mut text = Vec::new();
    File::open(path).map_err(io)?.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(io)?;
    let file: KeyFile = serde_json::from_slice(&text).map_err(|e| damaged(path, &e.to_string()))?;
    let named = path.file_name().and_then(|name| name.to_str()) == Some(&file.name());
    if named { Ok(file) } else { Err(damaged(path, "it holds another key than its name says")) }
}

/// Writes a key file, or rewrites it: after a crash there is the old one or the new one, whole.
pub(super) fn write(path: &Path, file: &KeyFile) -> Result<(), VaultError> {
    let io = |source| VaultError::Io { path: path.to_owned(), source };
    let mut text = serde_json::to_vec_pretty(file).map_err(|e| io(e.into()))?;
    text.push(b'\n');
    write_whole(path, &text).map_err(io)
}

/// Replaces a file's content: beside, flushed, renamed, its name flushed. Only its owner reads it.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    if draft.exists() {
        platform::remove_file(&draft)?;
    }
    let file = platform::create_new(&draft)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    platform::write_all(&file, content)?;
    platform::sync_data(&file)?;
    platform::rename(&draft, path)?;
    platform::sync_name(path)
}

/// Overwrites, removes, and makes the removal durable.
pub(super) fn destroy(path: &Path) -> Result<(), VaultError> {
    let io = |source| VaultError::Io { path: path.to_owned(), source };
    let mut file = match File::options().write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io(e)),
    };
    let bytes = file.metadata().map_err(io)?.len().min(FILE_BYTES_MAX);
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    platform::write_all(&file, &vec![0; bytes as usize]).map_err(io)?;
    platform::sync_data(&file).map_err(io)?;
    platform::remove_durably(path).map_err(io)
}

/// Makes a folder that only its owner enters.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    platform::create_folders(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// What a folder holds, by name; nothing where there is none.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, VaultError> {
    let io = |source| VaultError::Io { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(e)),
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(io)?;
    paths.sort_unstable();
    Ok(paths)
}
