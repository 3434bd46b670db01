//! What an inspector asks, as JSON, as pages to print and as tables; proof that a camera's day is destroyed.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use catalogue::Right;
use jiff::civil::Date;
use journal::Span as JournalSpan;
use journal::entry::Action;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::Service;
use super::page;
use super::params::{CameraPath, Instant, Spoken, StrictQuery, TablePath, range};
use super::problem::{Problem, ProblemKind};
use super::scope::TenantScope;
use super::timeline::Span;
use crate::event::words::Language;
use crate::inspection::activity::Way;
use crate::inspection::destroyed::{Destruction, Disagreement};
use crate::inspection::report::{self, Reader};
use crate::inspection::tables::{Table, author};
use crate::inspection::{DAYS_MAX, InspectedCamera, Inspection, InspectionError, Inspector};
use footage::units::{Ticks90k, TimeRange};

/// Inspections of one tenant that are made at once: each reads its whole register and journal.
pub(super) const INSPECTIONS_PER_TENANT_MAX: usize = 1;

const TICKS_PER_MILLISECOND: i64 = 90;
const TICKS_PER_HOUR: i64 = 3_600 * footage::units::TICKS_PER_SECOND;

/// Which time, and in which language.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct InspectionQuery {
    /// First instant, RFC 3339 with offset.
    #[param(value_type = String, format = DateTime)]
    start: Instant,
    /// First instant after, RFC 3339 with offset; at most 400 days later.
    #[param(value_type = String, format = DateTime)]
    end: Instant,
    /// `fr` or `en`; that of `Accept-Language` where nothing is said.
    #[param(value_type = Option<String>)]
    language: Option<LanguageWord>,
}

/// Which day, and in which language.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DayQuery {
    /// By the calendar of the gateway's time zone: `2026-03-01`.
    #[param(value_type = String, format = Date)]
    day: Date,
    /// `fr` or `en`; that of `Accept-Language` where nothing is said.
    #[param(value_type = Option<String>)]
    language: Option<LanguageWord>,
}

/// A language of pages.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LanguageWord {
    Fr,
    En,
}

impl LanguageWord {
    fn or(word: Option<Self>, spoken: Language) -> Language {
        match word {
            Some(Self::Fr) => Language::French,
            Some(Self::En) => Language::English,
            None => spoken,
        }
    }
}

/// Footage whose time is over and that is there.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = OverAge)]
struct OverAgeView {
    /// `awaits_copy` (a hold covers it), `not_deleted` (its store has not acknowledged it), `not_condemned`.
    why: &'static str,
    /// How many packs.
    packs: u64,
    /// Their size.
    bytes: u64,
    /// First instant of their footage.
    start: String,
    /// First instant after.
    end: String,
}

/// Retention as the register shows it, against the policy in force.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = AchievedRetention)]
struct AchievedView {
    /// The longest that a day's footage was kept, from its first instant to the first destruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    longest_hours: Option<i64>,
    /// The shortest.
    #[serde(skip_serializing_if = "Option::is_none")]
    shortest_hours: Option<i64>,
    /// Days of footage that were destroyed after their time.
    late_days: u64,
    /// Days of footage that were destroyed before their guaranteed time.
    early_days: u64,
    /// Packs that were not there when they were to be destroyed.
    absent_packs: u64,
}

/// A camera, what is kept of it, and what was promised.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = InspectedCamera)]
struct InspectedCameraView {
    /// Its id.
    camera: String,
    /// Its name.
    name: String,
    /// Where it is.
    place: String,
    /// In the configuration now.
    configured: bool,
    /// The retention in force, at most.
    max_hours: i64,
    /// The same, at least.
    min_hours: i64,
    /// The oldest and newest footage that is there, without what stays for holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    footage: Option<Span>,
    /// What should be gone.
    over_age: Vec<OverAgeView>,
    /// What was destroyed of the time that is asked for.
    achieved: AchievedView,
    /// Holds on it, those that are over included.
    holds: usize,
    /// Days of the time that is asked for with interruptions.
    incomplete_days: usize,
    /// The camera's clock minus the gateway's, at the end of its last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_offset_ms: Option<i64>,
    /// Runs with wrong times.
    misdated_runs: usize,
}

/// What one author did in one way.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = AccessSummary)]
struct AccessView {
    /// Who.
    author: String,
    /// By which act.
    #[serde(skip_serializing_if = "String::is_empty")]
    act: String,
    /// `live`, `playback`, `snapshot`, `export` or `denied`.
    way: &'static str,
    /// How often.
    times: u64,
    /// How often without a stated reason.
    without_reason: u64,
    /// Seconds of footage that were sent.
    sent_seconds: u64,
    /// On which cameras.
    cameras: Vec<String>,
}

/// A tenant's cameras and what its journal says of a time.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Inspection)]
pub(super) struct InspectionView {
    /// Which time it is about.
    period: Span,
    /// When it was made.
    at: String,
    /// By id.
    cameras: Vec<InspectedCameraView>,
    /// Who acted on footage.
    accesses: Vec<AccessView>,
    /// Files of footage that were handed out.
    exports: u64,
    /// Changes of settings, persons and holds.
    changes: u64,
    /// The last checkpoint of the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_checkpoint: Option<String>,
}

impl From<&InspectedCamera> for InspectedCameraView {
    fn from(of: &InspectedCamera) -> Self {
        let hours = |length: Ticks90k| length.0 / TICKS_PER_HOUR;
        let over_age = of.over_age.iter().map(|over| OverAgeView {
            why: over.why.as_str(),
            packs: over.packs,
            bytes: over.bytes,
            start: over.start.to_string(),
            end: over.end.to_string(),
        });
        Self {
            camera: of.row.key.camera.to_string(),
            name: of.row.name.clone(),
            place: of.row.place.clone(),
            configured: of.row.configured,
            max_hours: hours(of.row.retention_max),
            min_hours: hours(of.row.retention_min),
            footage: of.footage.map(Span::from),
            over_age: over_age.collect(),
            achieved: AchievedView {
                longest_hours: of.achieved.longest.map(hours),
                shortest_hours: of.achieved.shortest.map(hours),
                late_days: of.achieved.late_days,
                early_days: of.achieved.early_days,
                absent_packs: of.achieved.absent_packs,
            },
            holds: of.holds.len(),
            incomplete_days: of.days.iter().filter(|day| day.is_incomplete()).count(),
            clock_offset_ms: of.clock_offset.map(|of| of.0 / TICKS_PER_MILLISECOND),
            misdated_runs: of.misdated,
        }
    }
}

impl From<Inspection> for InspectionView {
    fn from(of: Inspection) -> Self {
        let access = |((who, way), of): (&(_, Way), &crate::inspection::activity::Activity)| {
            let (author, act) = author(who, Language::English);
            AccessView {
                author,
                act,
                way: way.as_str(),
                times: of.times,
                without_reason: of.without_reason,
                sent_seconds: of.sent_ms / 1_000,
                cameras: of.cameras.iter().map(ToString::to_string).collect(),
            }
        };
        Self {
            period: of.range.into(),
            at: of.at.to_string(),
            cameras: of.cameras.iter().map(InspectedCameraView::from).collect(),
            accesses: of.activities.by_author.iter().map(access).collect(),
            exports: of.activities.exports.count(),
            changes: of.activities.changes.count(),
            journal_checkpoint: of.checkpoint,
        }
    }
}

impl From<InspectionError> for Problem {
    fn from(error: InspectionError) -> Self {
        match error {
            InspectionError::NoCamera(key) => {
                Self::new(ProblemKind::NoCamera, format!("no camera {}: GET /api/cameras lists them", key.camera))
            }
            InspectionError::DayNotOver(_) => Self::invalid(error.to_string()),
            InspectionError::Index(error) => error.into(),
            InspectionError::Retrieve(error) => error.into(),
            InspectionError::Journal(_) => Self::of(&error, "the journal could not be read: see the gateway's log"),
        }
    }
}

/// A place for one inspection, and the entry in the journal that it was made.
async fn begin(
    service: &Service,
    scope: &TenantScope,
    action: Action,
    range: TimeRange,
) -> Result<(Inspector, OwnedSemaphorePermit), Problem> {
    let busy = || Problem::too_many(Duration::from_secs(5), "another inspection is being made: wait for it to end");
    let permit = service.0.inspections.take(scope.tenant(), 1).ok_or_else(busy)?;
    let span = JournalSpan { from: range.start().to_timestamp(), to: range.end().to_timestamp() };
    let draft = journal::entry::Draft { range: Some(span), ..scope.act(action) };
    // It shows no footage: it may be read while no entry can be made, when it is needed most.
    service.journals().note(scope.tenant(), draft).await;
    let inspector = Inspector::new(service.footage(), service.journals(), &service.0.time_zone);
    let inspector = match service.0.exports_folder.get() {
        Some(folder) => inspector.beside_exports(folder.clone()),
        None => inspector,
    };
    Ok((inspector, permit))
}

async fn inspect(service: &Service, scope: &TenantScope, range: TimeRange) -> Result<Inspection, Problem> {
    let (inspector, _permit) = begin(service, scope, Action::Inspected, range).await?;
    let mut found = inspector.inspect(scope.tenant(), range, |row| scope.names(&row.key.camera)).await?;
    if scope.may(&[Right::SeeHolds]).is_err() {
        found.cameras.iter_mut().for_each(|camera| camera.holds.clear());
    }
    Ok(found)
}

fn period(query: &InspectionQuery) -> Result<TimeRange, Problem> {
    range(query.start, query.end, DAYS_MAX * 24)
}

fn reader(service: &Service, scope: &TenantScope, language: Language) -> Reader {
    let labels = service.footage().labels();
    let authority = labels.authorities.get(scope.tenant()).cloned().unwrap_or_else(|| scope.tenant().to_string());
    Reader { language, zone: service.0.time_zone.clone(), authority }
}

/// What is kept of each camera against what was promised, what is over age, who saw and received what.
#[utoipa::path(
    get, path = "/api/inspection", tag = "inspection", operation_id = "inspection", params(InspectionQuery),
    responses((status = OK, body = InspectionView), (status = BAD_REQUEST), (status = SERVICE_UNAVAILABLE))
)]
pub(super) async fn summary(
    scope: TenantScope,
    StrictQuery(query): StrictQuery<InspectionQuery>,
    State(service): State<Service>,
) -> Result<Json<InspectionView>, Problem> {
    Ok(Json(inspect(&service, &scope, period(&query)?).await?.into()))
}

/// The same as a page to print.
#[utoipa::path(
    get, path = "/api/inspection.html", tag = "inspection", operation_id = "inspection_page", params(InspectionQuery),
    responses(
        (status = OK, content_type = "text/html", body = String), (status = BAD_REQUEST), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn as_page(
    scope: TenantScope,
    StrictQuery(query): StrictQuery<InspectionQuery>,
    Spoken(spoken): Spoken,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let found = inspect(&service, &scope, period(&query)?).await?;
    let reader = reader(&service, &scope, LanguageWord::or(query.language, spoken));
    Ok(page::printed(report::inspection(&found, &reader)))
}

/// The same as tables for spreadsheets, one at a time: `cameras`, `days`, `destructions`, `holds`, `accesses`, `journal`.
#[utoipa::path(
    get, path = "/api/inspection/{table}", tag = "inspection", operation_id = "inspection_table",
    params(("table" = String, Path, description = "`cameras.csv`, `days.csv`, `destructions.csv`, `holds.csv`, `accesses.csv`, `journal.csv`"), InspectionQuery),
    responses(
        (status = OK, content_type = "text/csv", body = String), (status = BAD_REQUEST), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn table(
    scope: TenantScope,
    TablePath(table): TablePath,
    StrictQuery(query): StrictQuery<InspectionQuery>,
    Spoken(spoken): Spoken,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let (range, language) = (period(&query)?, LanguageWord::or(query.language, spoken));
    let text = match table {
        Table::Journal => {
            let (inspector, _permit) = begin(&service, &scope, Action::Inspected, range).await?;
            inspector.journal_table(scope.tenant(), range, language).await?
        }
        table => inspect(&service, &scope, range).await?.table(table, language, &service.0.time_zone),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let name = format!("attachment; filename=\"{} {}.csv\"", scope.tenant(), table.as_str());
    if let Ok(name) = HeaderValue::try_from(name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok((headers, text).into_response())
}

/// What became of a camera's footage of a day.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Destruction)]
pub(super) struct DestructionView {
    /// Its id.
    camera: String,
    /// By the calendar of the gateway's time zone.
    day: String,
    #[serde(flatten)]
    span: Span,
    /// When it was looked at.
    at: String,
    /// `destroyed`, `nothing_recorded`, `kept_for_holds`, `present`, `open` (a place could not be looked at, or what was to
    /// be destroyed was not there) or `contradicted`.
    verdict: &'static str,
    /// When the last of it has to be gone, by the policy in force.
    deadline: String,
    /// Packs of the index with footage of that day, whatever their state.
    packs: usize,
    /// Of these, packs that stay for holds.
    held_packs: usize,
    /// Packs of the camera, of any day, that its stores list.
    in_stores: u64,
    /// Packs of the camera, of any day, in the spool.
    in_spool: u64,
    /// Evidence packages on the gateway, whole or not, that may have footage of that day in them.
    in_exports: usize,
    /// Packs of other gateways of a shared store.
    foreign_packs: u64,
    /// Places that could not be listed: the gateway's log says why.
    not_listed: usize,
    /// The register of destructions.
    register: Vec<RegisterView>,
    /// Numbers of the entries of the journal that say what was destroyed of that day.
    entries: Vec<u64>,
    /// The first day (UTC) of which entries are kept: of destructions before, the journal says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_since: Option<String>,
    /// Keys of such a day that were destroyed.
    keys: Vec<DestroyedKeyView>,
    /// Packs that lie somewhere and that the index does not know.
    unknown_packs: Vec<String>,
    /// What the register says to be destroyed and the journal does not.
    not_in_journal: Vec<Span>,
    /// Some of it is there though its time is over.
    over_age: bool,
}

/// An entry of the register: footage of one UTC day, one reason, one outcome.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = RegisterEntry)]
struct RegisterView {
    #[serde(flatten)]
    span: Span,
    /// `expired`, `disk_full` or `hold_ended`.
    reason: &'static str,
    /// `destroyed` or `was_absent`.
    outcome: &'static str,
    /// How many packs.
    packs: u64,
    /// Their size.
    bytes: u64,
    /// When the first was gone.
    first_at: String,
    /// When the last was gone.
    last_at: String,
}

/// A key that is no more.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = DestroyedKey)]
struct DestroyedKeyView {
    /// Which one.
    key: String,
    /// The day by whose end what it encrypted had to be gone.
    day: String,
    /// When.
    at: String,
}

impl From<Destruction> for DestructionView {
    fn from(of: Destruction) -> Self {
        let (mut unknown_packs, mut not_in_journal, mut over_age) = (Vec::new(), Vec::new(), false);
        for disagreement in of.disagreements {
            match disagreement {
                Disagreement::UnknownPacks(names) => unknown_packs = names,
                Disagreement::NotInJournal(range) => not_in_journal.push(range.into()),
                Disagreement::OverAge(_) => over_age = true,
            }
        }
        let register = of.register.iter().map(|row| RegisterView {
            span: row.range.into(),
            reason: row.reason.as_str(),
            outcome: row.outcome.as_str(),
            packs: row.packs,
            bytes: row.bytes,
            first_at: row.first_at.to_string(),
            last_at: row.last_at.to_string(),
        });
        let keys = of.keys.iter().map(|key| DestroyedKeyView {
            key: key.key.to_string(),
            day: key.day.to_string(),
            at: key.at.to_string(),
        });
        Self {
            camera: of.camera.key.camera.to_string(),
            day: of.day.to_string(),
            span: of.range.into(),
            at: of.at.to_string(),
            verdict: of.verdict.as_str(),
            deadline: of.deadline.to_string(),
            packs: of.packs.len(),
            held_packs: of.packs.iter().filter(|pack| pack.hold.is_some()).count(),
            in_stores: of.in_stores,
            in_spool: of.in_spool,
            in_exports: of.in_exports.len(),
            foreign_packs: of.foreign,
            not_listed: of.not_listed.len(),
            register: register.collect(),
            entries: of.entries.iter().map(|entry| entry.n).collect(),
            journal_since: of.journal_since.map(|day| day.to_string()),
            keys: keys.collect(),
            unknown_packs,
            not_in_journal,
            over_age,
        }
    }
}

async fn find(service: &Service, scope: &TenantScope, camera: CameraPath, day: Date) -> Result<Destruction, Problem> {
    let CameraPath(key) = camera;
    let bounds = crate::inspection::days::bounds(day, &service.0.time_zone);
    let bounds = bounds.ok_or_else(|| Problem::invalid(format!("{day} is outside of the calendar")))?;
    let (inspector, _permit) = begin(service, scope, Action::Inspected, bounds).await?;
    Ok(inspector.destruction(&key, day).await?)
}

/// Whether a camera's footage of a day is destroyed: what index, register, stores, spool, keys and journal each say. The day
/// has to be over.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/destruction", tag = "inspection", operation_id = "destruction",
    params(("camera" = String, Path, description = "Camera id"), DayQuery),
    responses(
        (status = OK, body = DestructionView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn destruction(
    scope: TenantScope,
    camera: CameraPath,
    StrictQuery(query): StrictQuery<DayQuery>,
    State(service): State<Service>,
) -> Result<Json<DestructionView>, Problem> {
    Ok(Json(find(&service, &scope, camera, query.day).await?.into()))
}

/// The same as a page to print.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/destruction.html", tag = "inspection", operation_id = "destruction_page",
    params(("camera" = String, Path, description = "Camera id"), DayQuery),
    responses(
        (status = OK, content_type = "text/html", body = String),
        (status = BAD_REQUEST), (status = NOT_FOUND), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn destruction_page(
    scope: TenantScope,
    camera: CameraPath,
    StrictQuery(query): StrictQuery<DayQuery>,
    Spoken(spoken): Spoken,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let found = find(&service, &scope, camera, query.day).await?;
    Ok(page::printed(report::destruction(&found, &reader(&service, &scope, LanguageWord::or(query.language, spoken)))))
}
