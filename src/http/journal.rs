//! The tenant's own journal, to be read by the tenant.

use axum::Json;
use axum::extract::State;
use journal::entry::Action;
use serde::Deserialize;

use super::Service;
use super::params::StrictQuery;
use super::problem::Problem;
use super::scope::TenantScope;

/// Entries in one answer.
const ENTRIES_MAX: usize = 1_000;

/// Which entries.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct JournalQuery {
    /// From this number on.
    #[serde(default)]
    #[param(default = 0)]
    from: u64,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    limit: usize,
}

fn default_limit() -> usize {
    100
}

/// Entries of the journal.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Journal)]
pub(super) struct JournalView {
    /// By number, as `docs/JOURNAL.md` describes them. Those whose time was over are not there any more.
    #[schema(value_type = Vec<Object>)]
    entries: Vec<serde_json::Value>,
    /// The last checkpoint: how many entries it covers, and the root of their tree in base64. Keep it: a journal that is
    /// changed later contradicts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
}

/// Who saw, took, held and destroyed which footage of the tenant's, the oldest first. That it was read is an entry, too.
#[utoipa::path(
    get, path = "/api/journal", tag = "journal", operation_id = "journal", params(JournalQuery),
    responses((status = OK, body = JournalView), (status = BAD_REQUEST), (status = SERVICE_UNAVAILABLE))
)]
pub(super) async fn entries(
    scope: TenantScope,
    StrictQuery(query): StrictQuery<JournalQuery>,
    State(service): State<Service>,
) -> Result<Json<JournalView>, Problem> {
    if !(1..=ENTRIES_MAX).contains(&query.limit) {
        return Err(Problem::invalid(format!("limit is from 1 to {ENTRIES_MAX}")));
    }
    let journals = service.journals();
    let checkpoint = journals.head(scope.tenant()).map(|head| head.to_string());
    let lines = journals.entries(scope.tenant(), query.from, query.limit).await?;
    // It shows no footage: it may be read while no entry can be made, when it is needed most.
    journals.note(scope.tenant(), scope.act(Action::JournalRead { from: query.from })).await;
    let entries = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(Json(JournalView { entries, checkpoint }))
}
