//! The files of requests beside the index, and scans: encrypted, one folder for each tenant.
//!
//! ```text
//! requests/<tenant>/<request>-<version>.request    what the index has in its row, so that it is not lost with the index
//! requests/<tenant>/<request>-<number>.scan        a scan, which is here alone
//! ```
//!
//! Invariant: a file is whole, or not there; it is encrypted under a key that follows from the gateway's and its tenant, and
//! opens under its own name alone.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::SecretBox;
use tracing::error;

use footage::keys::Keys;
use footage::keys::aead::Cipher;
use footage::platform;
use footage::units::{RequestId, TenantId};

const REQUEST: &str = "request";
const SCAN: &str = "scan";

/// Where they lie.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    folder: PathBuf,
    keys: Keys,
}

impl Keep {
    pub(super) fn new(folder: PathBuf, keys: Keys) -> Self {
        Self { folder, keys }
    }

    /// Whether the gateway's key is the right one: what is encrypted under a substitute is lost when that goes.
    pub(super) fn is_right_key(&self) -> bool {
        self.keys.trouble().is_none()
    }

    fn cipher(&self, tenant: &TenantId) -> Cipher {
        let key = self.keys.derive("vigie 2026 requests for footage", tenant.as_str().as_bytes());
        Cipher::new(&SecretBox::new(Box::new(key)))
    }

    /// Keeps this version of a request, and none before it. Blocks.
    pub(super) fn put(&self, tenant: &TenantId, id: RequestId, version: u64, file: &str) -> io::Result<()> {
        self.write(tenant, &format!("{id}-{version}.{REQUEST}"), file.as_bytes())?;
        for (path, of, number) in self.listed(tenant, REQUEST)? {
            if of == id && number < version {
                platform::remove_durably(&path)?;
            }
        }
        Ok(())
    }

    /// The text of this version of a request. Blocks.
    pub(super) fn get(&self, tenant: &TenantId, id: RequestId, version: u64) -> io::Result<String> {
        let plain = self.read(tenant, &format!("{id}-{version}.{REQUEST}"))?;
        String::from_utf8(plain).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }

    /// Keeps a scan. Blocks.
    pub(super) fn put_scan(&self, tenant: &TenantId, id: RequestId, number: u32, scan: &[u8]) -> io::Result<()> {
        self.write(tenant, &format!("{id}-{number}.{SCAN}"), scan)
    }

    /// A scan. Blocks.
    pub(super) fn get_scan(&self, tenant: &TenantId, id: RequestId, number: u32) -> io::Result<Vec<u8>> {
        self.read(tenant, &format!("{id}-{number}.{SCAN}"))
    }

    /// Destroys all that there is of a request. Blocks.
    pub(super) fn destroy(&self, tenant: &TenantId, id: RequestId) -> io::Result<()> {
        // Drafts that a crash left are of it too.
        let start = format!("{id}-");
        for path in entries(&self.folder.join(tenant.as_str()))? {
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&start)) {
                platform::remove_durably(&path)?;
            }
        }
        Ok(())
    }

    /// The newest version that is kept of each request of each tenant. Blocks.
    pub(super) fn versions(&self) -> io::Result<HashMap<(TenantId, RequestId), u64>> {
        let mut newest = HashMap::new();
        for name in entries(&self.folder)? {
            let Some(tenant) = name.file_name().and_then(|name| name.to_str()?.parse::<TenantId>().ok()) else {
                continue;
            };
            let listed = self.listed(&tenant, REQUEST).unwrap_or_else(|error| {
                // That of one tenant keeps those of the others from nothing.
                error!(%error, %tenant, "the files of a tenant's requests cannot be listed");
                Vec::new()
            });
            for (_, id, version) in listed {
                let of = newest.entry((tenant.clone(), id)).or_insert(version);
                *of = version.max(*of);
            }
        }
        Ok(newest)
    }

    fn listed(&self, tenant: &TenantId, kind: &str) -> io::Result<Vec<(PathBuf, RequestId, u64)>> {
        let named = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.strip_suffix(kind)?.strip_suffix('.')?;
            let (id, number) = name.split_once('-')?;
            let (id, number) = (id.parse().ok()?, number.parse().ok()?);
            Some((path, id, number))
        };
        Ok(entries(&self.folder.join(tenant.as_str()))?.into_iter().filter_map(named).collect())
    }

    fn write(&self, tenant: &TenantId, name: &str, plain: &[u8]) -> io::Result<()> {
        let folder = self.folder.join(tenant.as_str());
        platform::create_folders(&folder)?;
        let mut encrypted = Vec::new();
        self.cipher(tenant).encrypt(name.as_bytes(), plain, &mut encrypted);
        let draft = folder.join(format!("{name}.new"));
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let path = folder.join(name);
        let written = (|| {
            let file = platform::create_new(&draft)?;
            platform::write_all(&file, &encrypted)?;
            platform::sync_data(&file)?;
            platform::rename(&draft, &path)
        })();
        if written.is_err() {
            // Half of it takes room on a full disk, and is of no use. Where even that fails, it goes with the request.
            let _ = std::fs::remove_file(&draft);
        }
        written?;
        platform::sync_name(&path)
    }

    fn read(&self, tenant: &TenantId, name: &str) -> io::Result<Vec<u8>> {
        let mut encrypted = std::fs::read(self.folder.join(tenant.as_str()).join(name))?;
        let opened = self.cipher(tenant).open(name.as_bytes(), &mut encrypted);
        Ok(opened.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?.to_vec())
    }
}

/// What lies in a folder; nothing where there is none.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(names) => names.map(|name| Ok(name?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
