//! Secret keys of the gateway and what is derived from them.
//!
//! Invariant: a key never appears in `Debug`, in an error or in a log.

use crate::units::TenantId;

/// The key of a deduplication domain: fragment ids are BLAKE3 keyed with it, so that ids of one tenant tell nothing
/// about another's footage.
#[derive(Clone)]
pub struct DomainKey([u8; 32]);

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
        Self(*hasher.finalize().as_bytes())
    }

    /// The raw key, for hashing.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
