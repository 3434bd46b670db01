//! Persons of a tenant: designated by an act, given tokens and grants, revoked. And who makes the request.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use catalogue::{Act, Denial, Designation, Grant, GrantId, Hours, Identity, Person, Right, Scope, Tables, Token};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use journal::entry::Action;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::Service;
use super::params::{GrantPath, Instant, PersonPath, StrictJson, TokenPath, range};
use super::problem::{Problem, ProblemKind};
use super::scope::{Holder, TenantScope};
use super::timeline::Span;
use crate::people::{self, PeopleError};
use footage::failure::{Failure, Kind};
use footage::units::{CameraId, PersonId, TenantId, TimeRange, WallTime};

/// Longest name, number or label, in characters.
const NAME_CHARS_MAX: usize = 200;
/// Longest reason or reference, in characters.
const REASON_CHARS_MAX: usize = 2_000;
/// A token is in force for so many days at most.
const TOKEN_DAYS_MAX: i32 = 366;
/// So is a grant.
const GRANT_DAYS_MAX: i32 = 366;
/// Footage of a grant, in hours: no bound of this module's own.
const HOURS_MAX: i64 = 24 * 366 * 1_000;

impl From<PeopleError> for Problem {
    fn from(error: PeopleError) -> Self {
        let detail = match error.kind() {
            Kind::NotFound | Kind::Conflict => error.to_string(),
            _ => "the catalogue of persons, or the journal, cannot be used now: the gateway's log says why".to_owned(),
        };
        Self::of(&error, detail)
    }
}

/// An act that designates a person (Code de la sécurité intérieure, R253-3).
#[derive(Clone, Debug, Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Act)]
pub(super) struct ActView {
    /// Who made it.
    #[schema(example = "le maire")]
    authority: String,
    /// Its number.
    #[schema(example = "2026-117")]
    number: String,
    /// Its date: in force from the begin of that day, in the gateway's time zone.
    #[schema(value_type = String, format = Date)]
    date: Date,
    /// The last day on which it is in force.
    #[schema(value_type = String, format = Date)]
    until: Date,
}

impl From<Act> for ActView {
    fn from(Act { authority, number, date, until }: Act) -> Self {
        Self { authority, number, date, until }
    }
}

/// Who is designated, and what they see.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Designation)]
pub(super) struct DesignationRequest {
    /// Their name.
    #[schema(example = "Marie Durand")]
    name: String,
    /// `operator`, `supervisor`, `investigator`, `inspector`, `technician`, `tenant_administrator`, `all_rights`, or a
    /// role of the configuration.
    #[schema(example = "operator")]
    role: String,
    /// By which act.
    act: ActView,
    /// These cameras alone; absent: all of the tenant's.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    cameras: Option<BTreeSet<CameraId>>,
    /// Footage as it is filmed.
    #[serde(default = "yes")]
    #[schema(default = true)]
    live: bool,
    /// Recorded footage.
    #[serde(default = "yes")]
    #[schema(default = true)]
    recorded: bool,
    /// In these hours of the day alone, in the gateway's time zone; past midnight where they end before they begin.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "20:00-06:00")]
    hours: Option<Hours>,
    /// Recorded footage of so many last hours alone.
    #[serde(default)]
    #[schema(minimum = 1)]
    back_hours: Option<u32>,
}

fn yes() -> bool {
    true
}

/// A token, without its secret.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenView {
    /// Its id.
    id: String,
    /// Which program or machine has it.
    label: String,
    /// When it was made.
    made: String,
    /// In force until then.
    until: String,
    /// When it was last used, to the hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<String>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

/// Footage that a person may see and export until a time, whatever their role and scope.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Grant)]
pub(super) struct GrantView {
    /// Its id.
    id: i64,
    /// Of these cameras.
    #[schema(value_type = Vec<String>)]
    cameras: BTreeSet<CameraId>,
    /// Filmed in this range.
    #[serde(flatten)]
    span: Span,
    /// The requisition's reference.
    reference: String,
    /// Why.
    reason: String,
    /// When it was given.
    given: String,
    /// In force until then.
    until: String,
    /// When it was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

impl GrantView {
    /// `None` where its range is none, which no grant has.
    fn of(grant: Grant) -> Option<Self> {
        let Grant { id: GrantId(id), cameras, from, to, reference, reason, until, given, revoked } = grant;
        let span = TimeRange::new(WallTime::from_timestamp(from), WallTime::from_timestamp(to))?.into();
        let (given, until, revoked) = (given.to_string(), until.to_string(), revoked.map(|at| at.to_string()));
        Some(Self { id, cameras, span, reference, reason, given, until, revoked })
    }
}

/// A person of the tenant.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Person)]
pub(super) struct PersonView {
    /// Their id.
    id: String,
    /// Their name.
    name: String,
    /// Their role.
    role: String,
    /// By which act.
    act: ActView,
    /// These cameras alone; absent: all of the tenant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    cameras: Option<BTreeSet<CameraId>>,
    /// Footage as it is filmed.
    live: bool,
    /// Recorded footage.
    recorded: bool,
    /// In these hours of the day alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    hours: Option<String>,
    /// Recorded footage of so many last hours alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    back_hours: Option<u32>,
    /// When they were first designated.
    since: String,
    /// `in_force`, or why they are let into nothing now: `revoked`, `act_not_yet_in_force`, `act_over`, `out_of_hours`.
    state: &'static str,
    /// When the designation was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
    /// Their tokens, those that are over included.
    tokens: Vec<TokenView>,
    /// Their grants, those that are over included.
    grants: Vec<GrantView>,
    /// Their accounts at identity providers, by which they sign in.
    accounts: Vec<AccountView>,
}

/// An account at an identity provider.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Account)]
pub(super) struct AccountView {
    /// The provider's id.
    provider: String,
    /// Its e-mail address there, where it was named by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// Its subject there: from the first sign-in on, no other has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// When it was named.
    made: String,
    /// When the person first signed in by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_used: Option<String>,
}

impl AccountView {
    fn of(identity: &Identity) -> Self {
        let Identity { provider, email, subject, made, bound, .. } = identity;
        let (email, subject) = (email.clone(), subject.clone());
        let first_used = bound.map(|at| at.to_string());
        Self { provider: provider.to_string(), email, subject, made: made.to_string(), first_used }
    }
}

impl PersonView {
    fn of(service: &Service, scope: &TenantScope, tables: &Tables, person: &Person) -> Self {
        let Designation { name, role, act, scope: sees } = person.designation.clone();
        let token = |token: &Token| TokenView {
            id: token.id.to_string(),
            label: token.label.clone(),
            made: token.made.to_string(),
            until: token.until.to_string(),
            used: service.people().last_used(token).map(|at| at.to_string()),
            revoked: token.revoked.map(|at| at.to_string()),
        };
        Self {
            id: person.id.to_string(),
            name,
            role,
            act: act.into(),
            cameras: sees.cameras,
            live: sees.live,
            recorded: sees.recorded,
            hours: sees.hours.map(|hours| hours.to_string()),
            back_hours: sees.back_hours,
            since: person.since.to_string(),
            state: person.is_present(scope.now()).map_or_else(|denial| denial.as_str(), |()| "in_force"),
            revoked: person.revoked.map(|at| at.to_string()),
            tokens: tables.tokens(person).into_iter().map(token).collect(),
            grants: person.grants.iter().cloned().filter_map(GrantView::of).collect(),
            accounts: tables.identities(person).map(AccountView::of).collect(),
        }
    }
}

/// The tenant's persons, those whose designation was revoked included, for as long as the journal names them.
#[utoipa::path(get, path = "/api/people", tag = "people", operation_id = "people",
    responses((status = OK, body = Vec<PersonView>)))]
pub(super) async fn list(scope: TenantScope, State(service): State<Service>) -> Result<Json<Vec<PersonView>>, Problem> {
    let tables = service.people().tables()?;
    let persons = tables.persons(scope.tenant());
    Ok(Json(persons.map(|person| PersonView::of(&service, &scope, &tables, person)).collect()))
}

/// Designates a person, or renews or changes the designation of one. Whose was revoked has none of the tokens and grants of before.
#[utoipa::path(
    put, path = "/api/people/{person}", tag = "people", operation_id = "designate",
    params(("person" = String, Path, description = "Person id, 1 to 64 characters of a-z, 0-9 and '-'")),
    request_body = DesignationRequest,
    responses(
        (status = OK, body = PersonView), (status = CREATED, body = PersonView), (status = BAD_REQUEST),
        (status = CONFLICT), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn designate(
    scope: TenantScope,
    PersonPath(person): PersonPath,
    State(service): State<Service>,
    StrictJson(asked): StrictJson<DesignationRequest>,
) -> Result<(StatusCode, Json<PersonView>), Problem> {
    not_oneself(&service, &scope, &person).await?;
    let designation = checked(&service, scope.tenant(), asked).await?;
    let is_new = service.people().tables()?.person(scope.tenant(), &person).is_none();
    let Designation { name, role, act, .. } = designation.clone();
    let until = act.until;
    let draft = scope.act(Action::PersonDesignated { person: person.clone(), name, role, act: act.to_string(), until });
    let cameras = designation.scope.cameras.iter().flatten().cloned().collect();
    let draft = journal::Draft { cameras, ..draft };
    service.people().designate((scope.tenant(), &person), designation, draft).await?;
    let shown = shown(&service, &scope, &person)?;
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(shown)))
}

/// Nobody gives rights to themselves: it takes another administrator, or the holder of the tenant's access token.
pub(super) async fn not_oneself(service: &Service, scope: &TenantScope, person: &PersonId) -> Result<(), Problem> {
    match scope.holder() {
        Holder::Person(own) if own.id == *person => {
            Err(service.denied(scope, Right::ManagePeople, None, &Denial::Oneself).await)
        }
        _ => Ok(()),
    }
}

pub(super) fn shown(service: &Service, scope: &TenantScope, person: &PersonId) -> Result<PersonView, Problem> {
    let tables = service.people().tables()?;
    let person = tables.person(scope.tenant(), person).ok_or_else(|| no_person(person))?;
    Ok(PersonView::of(service, scope, &tables, person))
}

fn no_person(person: &PersonId) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("there is no person {person}"))
}

async fn checked(service: &Service, tenant: &TenantId, asked: DesignationRequest) -> Result<Designation, Problem> {
    let DesignationRequest { name, role, act, cameras, live, recorded, hours, back_hours } = asked;
    let ActView { authority, number, date, until } = act;
    for (field, text) in [("name", &name), ("act.authority", &authority), ("act.number", &number)] {
        check_text(field, text, NAME_CHARS_MAX)?;
    }
    if until < date {
        return Err(Problem::invalid("act.until is before act.date"));
    }
    let roles = service.people().roles();
    if roles.get(&role).is_none() {
        let known = roles.names().collect::<Vec<_>>().join(", ");
        return Err(Problem::invalid(format!("there is no role {role:?}: choose one of {known}")));
    }
    if back_hours == Some(0) {
        return Err(Problem::invalid("back_hours is at least 1: for no recorded footage, write \"recorded\": false"));
    }
    if let Some(cameras) = &cameras {
        check_cameras(service, tenant, cameras).await?;
    }
    let scope = Scope { cameras, live, recorded, hours, back_hours };
    Ok(Designation { name, role, act: Act { authority, number, date, until }, scope })
}

pub(super) fn check_text(field: &str, text: &str, chars_max: usize) -> Result<(), Problem> {
    let is_good = text.chars().any(char::is_alphanumeric)
        && !text.chars().any(|c| c.is_control() || misleads(c))
        && text.chars().count() <= chars_max;
    let wrong =
        || Problem::invalid(format!("{field} is one line of 1 to {chars_max} characters, with a letter or a digit"));
    is_good.then_some(()).ok_or_else(wrong)
}

/// What makes a line look like another, or like two, in a journal or a list: separators of lines, changes of direction, and what
/// has no width.
fn misleads(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

async fn check_cameras(service: &Service, tenant: &TenantId, cameras: &BTreeSet<CameraId>) -> Result<(), Problem> {
    if cameras.is_empty() {
        return Err(Problem::invalid("cameras is empty: name those that are meant"));
    }
    let known = service.footage().index.cameras(tenant).await?;
    match cameras.iter().find(|camera| !known.iter().any(|row| row.key.camera == **camera)) {
        None => Ok(()),
        Some(camera) => Err(Problem::invalid(format!("there is no camera {camera}"))),
    }
}

/// Revokes a designation, and with it the person's tokens and grants, at once.
#[utoipa::path(
    delete, path = "/api/people/{person}", tag = "people", operation_id = "revoke_person",
    params(("person" = String, Path, description = "Person id")),
    responses((status = OK, body = PersonView), (status = NOT_FOUND), (status = SERVICE_UNAVAILABLE))
)]
pub(super) async fn revoke(
    scope: TenantScope,
    PersonPath(person): PersonPath,
    State(service): State<Service>,
) -> Result<Json<PersonView>, Problem> {
    let draft = scope.act(Action::PersonRevoked { person: person.clone() });
    service.people().revoke((scope.tenant(), &person), draft).await?;
    Ok(Json(shown(&service, &scope, &person)?))
}

/// A token to be made.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    /// Which program or machine will have it.
    #[schema(example = "VLC at the night desk")]
    label: String,
    /// In force for so many days.
    #[schema(minimum = 1, maximum = 366, example = 90)]
    days: i32,
}

/// A token that was made.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(super) struct NewToken {
    /// Its id.
    id: String,
    /// The token itself: the password of HTTP Basic. It is shown this once, and kept nowhere.
    token: String,
    /// In force until then, and no longer than the person's act.
    until: String,
}

/// Makes a token for a person. It opens what they may at the time of each request.
#[utoipa::path(
    post, path = "/api/people/{person}/tokens", tag = "people", operation_id = "make_token",
    params(("person" = String, Path, description = "Person id")), request_body = TokenRequest,
    responses(
        (status = CREATED, body = NewToken), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT),
        (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn make_token(
    scope: TenantScope,
    PersonPath(person): PersonPath,
    State(service): State<Service>,
    StrictJson(TokenRequest { label, days }): StrictJson<TokenRequest>,
) -> Result<(StatusCode, Json<NewToken>), Problem> {
    check_text("label", &label, NAME_CHARS_MAX)?;
    let until = days_from(scope.now().at, days, TOKEN_DAYS_MAX)
        .ok_or_else(|| Problem::invalid(format!("days is from 1 to {TOKEN_DAYS_MAX}")))?;
    designated(&service, &scope, &person)?;
    let draft = |token: catalogue::TokenId| {
        scope.act(Action::TokenMade { person: person.clone(), token: token.to_string(), until })
    };
    let secret = service.people().make_token((scope.tenant(), &person), (label, until), draft).await?;
    let (id, token) = (secret.id().to_string(), secret.text().expose_secret().to_owned());
    Ok((StatusCode::CREATED, Json(NewToken { id, token, until: until.to_string() })))
}

fn days_from(at: Timestamp, days: i32, days_max: i32) -> Option<Timestamp> {
    let hours = (1..=days_max).contains(&days).then(|| i64::from(days) * 24)?;
    at.checked_add(hours.hours()).ok()
}

/// Whether there is such a person, designated: before an entry says what was done for them.
pub(super) fn designated(service: &Service, scope: &TenantScope, person: &PersonId) -> Result<(), Problem> {
    let tables = service.people().tables()?;
    let known = tables.person(scope.tenant(), person).filter(|person| person.revoked.is_none());
    known.map(drop).ok_or_else(|| no_person(person))
}

/// Revokes a token, at once.
#[utoipa::path(
    delete, path = "/api/people/{person}/tokens/{token}", tag = "people", operation_id = "revoke_token",
    params(("person" = String, Path, description = "Person id"), ("token" = String, Path, description = "Token id")),
    responses((status = OK, body = PersonView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = SERVICE_UNAVAILABLE))
)]
pub(super) async fn revoke_token(
    scope: TenantScope,
    PersonPath(person): PersonPath,
    TokenPath(token): TokenPath,
    State(service): State<Service>,
) -> Result<Json<PersonView>, Problem> {
    let draft = scope.act(Action::TokenRevoked { person: person.clone(), token: token.to_string() });
    service.people().revoke_token((scope.tenant(), &person), token, draft).await?;
    Ok(Json(shown(&service, &scope, &person)?))
}

/// Footage to be granted.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantRequest {
    /// Of these cameras.
    #[schema(value_type = Vec<String>)]
    cameras: BTreeSet<CameraId>,
    /// First instant of the footage, RFC 3339 with offset.
    #[schema(value_type = String, format = DateTime, example = "2026-03-01T14:30:00Z")]
    start: Instant,
    /// First instant after it.
    #[schema(value_type = String, format = DateTime, example = "2026-03-01T14:40:00Z")]
    end: Instant,
    /// The requisition's reference.
    #[schema(example = "PV 2026/117")]
    reference: String,
    /// Why.
    reason: String,
    /// In force for so many days.
    #[schema(minimum = 1, maximum = 366, example = 8)]
    days: i32,
}

/// Grants footage to a person for a time: they may see and export it whatever their role, cameras and permitted age, in the
/// hours and under the act that designates them.
#[utoipa::path(
    post, path = "/api/people/{person}/grants", tag = "people", operation_id = "give_grant",
    params(("person" = String, Path, description = "Person id")), request_body = GrantRequest,
    responses(
        (status = CREATED, body = PersonView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = CONFLICT),
        (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn give(
    scope: TenantScope,
    PersonPath(person): PersonPath,
    State(service): State<Service>,
    StrictJson(asked): StrictJson<GrantRequest>,
) -> Result<(StatusCode, Json<PersonView>), Problem> {
    let GrantRequest { cameras, start, end, reference, reason, days } = asked;
    check_text("reference", &reference, REASON_CHARS_MAX)?;
    check_text("reason", &reason, REASON_CHARS_MAX)?;
    let range = range(start, end, HOURS_MAX)?;
    let given = scope.now().at;
    let until = days_from(given, days, GRANT_DAYS_MAX)
        .ok_or_else(|| Problem::invalid(format!("days is from 1 to {GRANT_DAYS_MAX}")))?;
    not_oneself(&service, &scope, &person).await?;
    check_cameras(&service, scope.tenant(), &cameras).await?;
    designated(&service, &scope, &person)?;
    let (from, to) = (range.start().to_timestamp(), range.end().to_timestamp());
    if from.as_millisecond() == to.as_millisecond() {
        return Err(Problem::invalid(
            "a grant is of a millisecond at least: start and end are kept to the millisecond",
        ));
    }
    let id = GrantId(0);
    let grant = Grant { id, cameras, from, to, reference, reason, until, given, revoked: None };
    let granted = Action::Granted { person: person.clone(), reference: grant.reference.clone(), until };
    let draft = people::granted(scope.act(granted), grant.cameras.iter().cloned(), &grant);
    service.people().give((scope.tenant(), &person), grant, draft).await?;
    Ok((StatusCode::CREATED, Json(shown(&service, &scope, &person)?)))
}

/// Takes a grant back, at once.
#[utoipa::path(
    delete, path = "/api/people/{person}/grants/{grant}", tag = "people", operation_id = "revoke_grant",
    params(("person" = String, Path, description = "Person id"), ("grant" = i64, Path, description = "Grant id")),
    responses((status = OK, body = PersonView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = SERVICE_UNAVAILABLE))
)]
pub(super) async fn revoke_grant(
    scope: TenantScope,
    PersonPath(person): PersonPath,
    GrantPath(grant): GrantPath,
    State(service): State<Service>,
) -> Result<Json<PersonView>, Problem> {
    let draft = scope.act(Action::GrantRevoked { person: person.clone(), grant: grant.0 });
    service.people().revoke_grant((scope.tenant(), &person), grant, draft).await?;
    Ok(Json(shown(&service, &scope, &person)?))
}

/// Who makes the request, and what they may now.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Me {
    /// For which tenant.
    tenant: String,
    /// The person; absent for the holder of the tenant's access token, and on a gateway without tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<PersonView>,
    /// Their role.
    role: String,
    /// Their rights now, as `x-rights` of the routes names them.
    #[schema(value_type = Vec<String>)]
    rights: Vec<Right>,
    /// Why there are none, where the designation is not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<String>,
    /// Whether footage is shown only once a reason was stated.
    reason_required: bool,
    /// The reason that was stated last, while it holds: twelve hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Who makes this request, and what they may.
#[utoipa::path(get, path = "/api/me", tag = "people", responses((status = OK, body = Me)))]
pub(super) async fn me(scope: TenantScope, State(service): State<Service>) -> Result<Json<Me>, Problem> {
    let (person, role, denied) = match scope.holder() {
        Holder::Role { role, .. } => (None, role.clone(), None),
        Holder::Person(person) => {
            let tables = service.people().tables()?;
            let denied = person.is_present(scope.now()).err().map(|denial: Denial| denial.to_string());
            let view = PersonView::of(&service, &scope, &tables, person);
            (Some(view), person.designation.role.clone(), denied)
        }
    };
    let (reason_required, reason) = scope.reason();
    let (tenant, rights, reason) = (scope.tenant().to_string(), scope.rights(), reason.map(str::to_owned));
    Ok(Json(Me { tenant, person, role, rights, denied, reason_required, reason }))
}

/// Why footage is looked at.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonRequest {
    /// One line.
    #[schema(example = "PV 2026/117, theft in the market hall")]
    reason: String,
}

/// States why footage is looked at: it is in the entries of the journal of all that is begun from now on, by whatever player, until
/// another is stated, or for twelve hours.
#[utoipa::path(
    put, path = "/api/me/reason", tag = "people", request_body = ReasonRequest,
    responses((status = NO_CONTENT), (status = BAD_REQUEST))
)]
pub(super) async fn state_reason(
    scope: TenantScope,
    State(service): State<Service>,
    StrictJson(ReasonRequest { reason }): StrictJson<ReasonRequest>,
) -> Result<StatusCode, Problem> {
    check_text("reason", &reason, REASON_CHARS_MAX)?;
    service.0.reasons.state(scope.tenant(), scope.author(), reason);
    Ok(StatusCode::NO_CONTENT)
}
