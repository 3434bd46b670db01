//! What a tenant's footage takes.

use axum::Json;
use axum::extract::State;

use super::Service;
use super::problem::Problem;
use super::scope::TenantScope;
use crate::index::dedup::Savings;

/// What is kept of the tenant's footage now, whole packs only: those that still grow are not in it, nor what is destroyed.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Stats)]
pub(super) struct StatsView {
    /// Packs.
    packs: u64,
    /// What they would take if each held all of its bytes.
    received_bytes: u64,
    /// What the tenant's packs take themselves.
    stored_bytes: u64,
    /// What they refer to instead: bytes that lie in another pack, the tenant's own or one of a tenant that shares its
    /// deduplication domain.
    saved_bytes: u64,
    /// Received to stored. It is 1 for cameras that are recorded once: footage of different scenes does not repeat.
    ratio: f64,
}

impl From<Savings> for StatsView {
    fn from(savings: Savings) -> Self {
        let Savings { packs, stored_bytes, saved_bytes } = savings;
        Self { packs, received_bytes: savings.received_bytes(), stored_bytes, saved_bytes, ratio: savings.ratio() }
    }
}

/// What the tenant's footage takes, and what references save.
#[utoipa::path(get, path = "/api/stats", tag = "cameras", responses((status = OK, body = StatsView)))]
pub(super) async fn stats(scope: TenantScope, State(service): State<Service>) -> Result<Json<StatsView>, Problem> {
    Ok(Json(service.footage().index.savings(scope.tenant()).await?.into()))
}
