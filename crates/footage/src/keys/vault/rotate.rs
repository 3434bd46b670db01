//! Replacing master and tenant keys: what they wrap is wrapped again, no object is touched.
//!
//! Invariant: at each moment every key file opens with keys that are there; what was cut off is taken up by the next
//! rotation.

use std::path::Path;
use std::sync::Arc;

use super::file::{self, KeyFileKind};
use super::master::{self, MasterId};
use super::{TenantKey, Vault, VaultError, not_authentic};
use crate::units::TenantId;

/// What a rotation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Key files that were wrapped again.
    pub wrapped: usize,
    /// Keys that were destroyed because nothing is wrapped by them any more.
    pub destroyed: usize,
}

impl Vault {
    /// Gives a tenant a new key, wraps its day keys by it, and destroys its former ones. Blocks.
    ///
    /// # Errors
    /// When a key file cannot be opened: nothing is destroyed then.
    pub fn rotate_tenant(&self, tenant: &TenantId) -> Result<Rotated, VaultError> {
        let inner = self.inner()?;
        let mut state = inner.lock();
        let _alone = inner.alone()?;
        let files = inner.files(tenant)?;
        let former: Vec<_> = files.iter().filter(|(_, file)| file.kind == KeyFileKind::Tenant).collect();
        let number = former.iter().map(|(_, file)| file.number).max().unwrap_or(0).saturating_add(1);
        let over: Arc<TenantKey> = inner.make_tenant(&mut state, tenant, number)?;
        let mut rotated = Rotated::default();
        for (path, file) in files.iter().filter(|(_, file)| file.kind == KeyFileKind::Day) {
            let under =
                files.iter().find(|(_, above)| above.kind == KeyFileKind::Tenant && above.id.to_string() == file.under);
            let Some((of_tenant, above)) = under else {
                let folder = inner.folder_of(tenant);
                let id = file.under.parse().map_err(|_| super::damaged(path, "it names no tenant key"))?;
                return Err(VaultError::NoTenantKey { id, tenant: tenant.clone(), folder });
            };
            let before = inner.open_tenant(&mut state, of_tenant, above)?;
            let key = file.unwrap(&before.cipher).map_err(|e| not_authentic(path, e))?;
            let mut rewrapped = file.clone();
            rewrapped.under = over.id.to_string();
            file::write(path, &rewrapped.wrapping(&over.cipher, &key))?;
            rotated.wrapped += 1;
        }
        for (path, file) in former {
            file::destroy(path)?;
            state.tenants.remove(&file.id);
            rotated.destroyed += 1;
        }
        Ok(rotated)
    }

    /// Wraps every tenant key that another master key wraps by the current one. Blocks.
    ///
    /// # Errors
    /// When a tenant key is wrapped by a master key that is not given.
    pub fn wrap_by_current_master(&self) -> Result<Rotated, VaultError> {
        let inner = self.inner()?;
        let mut state = inner.lock();
        let _alone = inner.alone()?;
        let current = inner.master();
        let mut rotated = Rotated::default();
        for tenant in inner.tenants()? {
            for (path, file) in inner.files(&tenant)?.into_iter().filter(|(_, file)| file.kind == KeyFileKind::Tenant) {
                if file.under == current.id().to_string() {
                    continue;
                }
                // Says which master key is missing, where one is.
                inner.open_tenant(&mut state, &path, &file)?;
                let over = inner.masters.iter().find(|master| master.id().to_string() == file.under);
                let Some(over) = over else { continue };
                let key = file.unwrap(over.cipher()).map_err(|e| not_authentic(&path, e))?;
                let mut rewrapped = file.clone();
                rewrapped.under = current.id().to_string();
                file::write(&path, &rewrapped.wrapping(current.cipher(), &key))?;
                rotated.wrapped += 1;
            }
        }
        Ok(rotated)
    }
}

/// Replaces the master key that Vigie made itself: a new one is added to its file, every tenant key is wrapped by it,
/// then the former one leaves the file. Gives the new one's name. Blocks.
pub fn rotate_own_master(folder: &Path, path: &Path) -> Result<(MasterId, Rotated), VaultError> {
    let masters = master::add_to(path)?;
    let id = masters[0].id();
    let rotated = Vault::open(folder, masters).wrap_by_current_master()?;
    master::drop_all_but_first(path)?;
    Ok((id, rotated))
}
