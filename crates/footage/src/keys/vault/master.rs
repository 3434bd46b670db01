//! Master keys: given by the operator as 64 hexadecimal digits, or made once and kept beside the other keys.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretString};

use super::file::{check_permissions, create_folder, entries, write_whole};
use super::{Cipher, VaultError, damaged};
use crate::failure::{Failure, Kind};
use crate::keys::aead::{SecretKey, new_key};

/// What a master key is called in key files and messages: 64 bits that follow from it and tell nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterId([u8; 8]);

impl fmt::Display for MasterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl FromStr for MasterId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(u64::from_str_radix(text, 16)?.to_be_bytes()))
    }
}

/// The text is no master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a master key: it has 64 hexadecimal digits, as `openssl rand -hex 32` prints them")]
pub struct BadMasterKey;

impl Failure for BadMasterKey {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// A master key.
#[derive(Debug)]
pub struct Master {
    id: MasterId,
    cipher: Cipher,
}

impl Master {
    /// From 64 hexadecimal digits.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn from_hex(text: &SecretString) -> Result<Self, BadMasterKey> {
        let digits = text.expose_secret().trim().as_bytes();
        let mut key: SecretKey = SecretBox::new(Box::new([0; 32]));
        if digits.len() != 64 {
            return Err(BadMasterKey);
        }
        for (byte, pair) in key.expose_secret_mut().iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(BadMasterKey);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Ok(Self::new(&key))
    }

    fn new(key: &SecretKey) -> Self {
        let hash = blake3::derive_key("vigie 2026-11 name of a master key", key.expose_secret());
        let id = MasterId(*hash.first_chunk().expect("a hash has 32 bytes"));
        Self { id, cipher: Cipher::new(key) }
    }

    /// Its name.
    pub fn id(&self) -> MasterId {
        self.id
    }

    pub(super) fn cipher(&self) -> &Cipher {
        &self.cipher
    }
}

/// The master keys in the file that Vigie makes where none is configured: the current one first, after it one that is
/// being replaced. Blocks.
pub fn load_or_create(path: &Path) -> Result<Vec<Master>, VaultError> {
    let io = |source| VaultError::Io { path: path.to_owned(), source };
    if let Some(masters) = load(path)? {
        return Ok(masters);
    }
    let folder = path.parent().unwrap_or(path);
    create_folder(folder).map_err(io)?;
    // Of two that start at once, the second finds what the first linked into place.
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    write_whole(&draft, hex_line(&new_key()).expose_secret().as_bytes()).map_err(io)?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft).map_err(io)?;
    match linked {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(e)),
        _ => crate::platform::sync_name(path).map_err(io)?,
    }
    load(path)?.ok_or_else(|| damaged(path, "it vanished"))
}

/// Master keys, and why the file's own are not among them, if they are not.
pub type Opened = (Vec<Master>, Option<VaultError>);

/// The master keys in the file, which is made only where the folder has no key that needs it; where they cannot be used, a
/// substitute beside the file is. Blocks.
///
/// # Errors
/// When no substitute can be had either.
pub fn open(path: &Path, folder: &Path) -> Result<Opened, VaultError> {
    let beside = path.with_extension("substitute.key");
    let trouble = match load(path) {
        Ok(Some(mut masters)) => {
            masters.extend(load(&beside)?.into_iter().flatten());
            return Ok((masters, None));
        }
        Ok(None) if !holds_keys(folder)? => return Ok((load_or_create(path)?, None)),
        Ok(None) => VaultError::NoMaster { path: path.to_owned(), folder: folder.to_owned() },
        Err(trouble) => trouble,
    };
    Ok((load_or_create(&beside)?, Some(trouble)))
}

fn holds_keys(folder: &Path) -> Result<bool, VaultError> {
    for tenant in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        if entries(&tenant)?.iter().any(|path| path.extension().is_some_and(|e| e == "key")) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The same, where nothing is to be made.
pub fn load(path: &Path) -> Result<Option<Vec<Master>>, VaultError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => SecretString::from(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(VaultError::Io { path: path.to_owned(), source }),
    };
    check_permissions(path)?;
    let lines = text.expose_secret().lines().map(|line| Master::from_hex(&SecretString::from(line)));
    let masters = lines.collect::<Result<Vec<_>, _>>().map_err(|e| damaged(path, &e.to_string()))?;
    if masters.is_empty() { Err(damaged(path, "it is empty")) } else { Ok(Some(masters)) }
}

/// Puts a new master key before those in the file.
pub(super) fn add_to(path: &Path) -> Result<Vec<Master>, VaultError> {
    let io = |source| VaultError::Io { path: path.to_owned(), source };
    let before = SecretString::from(std::fs::read_to_string(path).map_err(io)?);
    let text = SecretString::from(hex_line(&new_key()).expose_secret().to_owned() + before.expose_secret());
    write_whole(path, text.expose_secret().as_bytes()).map_err(io)?;
    load(path)?.ok_or_else(|| damaged(path, "it vanished"))
}

/// Leaves the first master key in the file.
pub(super) fn drop_all_but_first(path: &Path) -> Result<(), VaultError> {
    let io = |source| VaultError::Io { path: path.to_owned(), source };
    let text = SecretString::from(std::fs::read_to_string(path).map_err(io)?);
    let first = text.expose_secret().lines().next().unwrap_or_default();
    write_whole(path, format!("{first}\n").as_bytes()).map_err(io)
}

fn hex_line(key: &SecretKey) -> SecretString {
    let mut line: String = key.expose_secret().iter().map(|byte| format!("{byte:02x}")).collect();
    line.push('\n');
    SecretString::from(line)
}
