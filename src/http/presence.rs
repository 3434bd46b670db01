//! Is there footage of a camera at a time? Yes, and until when; no, and why not.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Service;
use super::params::{CameraPath, Instant, StrictQuery, range};
use super::problem::{Problem, ProblemKind};
use super::scope::TenantScope;
use super::timeline::Span;
use crate::presence::{Found, PresenceError, Stretch, covered};
use crate::retrieve::timeline::TIMELINE_DAYS_MAX;
use footage::units::{TICKS_PER_SECOND, Ticks90k, WallTime};

/// What is said of an instant is said of the second that it begins.
const INSTANT: Ticks90k = Ticks90k(TICKS_PER_SECOND);

impl From<PresenceError> for Problem {
    fn from(error: PresenceError) -> Self {
        match error {
            PresenceError::NoCamera(key) => {
                Self::new(ProblemKind::NoCamera, format!("no camera {}: GET /api/cameras lists them", key.camera))
            }
            PresenceError::TooMany => Self::invalid(PresenceError::TooMany),
            PresenceError::Index(error) => error.into(),
        }
    }
}

/// When.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PresenceQuery {
    /// The instant, RFC 3339 with offset: what is said is said of the second that it begins, or of all until `until`.
    #[param(value_type = String, format = DateTime, example = "2026-03-03T14:32:00+01:00")]
    at: Instant,
    /// First instant after a range that begins there.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
}

/// A stretch, and what there is of it.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Stretch)]
pub(super) struct StretchView {
    #[serde(flatten)]
    span: Span,
    /// `footage`, `destroying`, `destroyed`, `was_absent` (due, and not in its store any more), `gap` (never recorded),
    /// `unknown` (nothing is on record), `before_record`, `not_written` (filmed a moment ago), `future`.
    found: &'static str,
    /// Of footage: the holds in force that keep it; the one that lasts longest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holds: Vec<String>,
    /// Of footage: the first of it is destroyed then.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Of what was destroyed: when the first of that day's footage was, and the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    destroyed: Option<Span>,
    /// Under which rule: `expired`, `disk_full`, `hold_ended`; of a gap: its cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

/// What there is of a camera.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Presence)]
pub(super) struct PresenceView {
    /// `yes`, `partly` or `no`.
    footage: &'static str,
    /// Seconds of footage.
    covered_s: f64,
    /// In order, without overlaps: all that was asked.
    stretches: Vec<StretchView>,
}

impl From<&Stretch> for StretchView {
    fn from(Stretch { range, found }: &Stretch) -> Self {
        let plain =
            |found| Self { span: (*range).into(), found, holds: Vec::new(), until: None, destroyed: None, why: None };
        match found {
            Found::Footage { holds, until } => Self {
                holds: holds.iter().map(ToString::to_string).collect(),
                until: Some(until.to_string()),
                ..plain("footage")
            },
            Found::Destroying => plain("destroying"),
            Found::Destroyed { at: (first, last), reason } => {
                Self { destroyed: Some(Span::between(*first, *last)), why: Some(reason.as_str()), ..plain("destroyed") }
            }
            Found::WasAbsent { at } => Self { destroyed: Some(Span::between(*at, *at)), ..plain("was_absent") },
            Found::Gap(cause) => Self { why: Some(cause.as_str()), ..plain("gap") },
            Found::Unknown => plain("unknown"),
            Found::BeforeRecord => plain("before_record"),
            Found::NotWritten => plain("not_written"),
            Found::Future => plain("future"),
        }
    }
}

/// When the first footage goes that no hold keeps.
pub(super) fn first_unheld(stretches: &[Stretch]) -> Option<WallTime> {
    let unheld = |stretch: &Stretch| match &stretch.found {
        Found::Footage { holds, until } if holds.is_empty() => Some(*until),
        _ => None,
    };
    stretches.iter().filter_map(unheld).min()
}

/// Whether there is footage of a camera at an instant, or in a range: yes, and until when; no, and why not.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/presence", tag = "footage", operation_id = "presence",
    params(("camera" = String, Path, description = "Camera id"), PresenceQuery),
    responses((status = OK, body = PresenceView), (status = BAD_REQUEST), (status = NOT_FOUND))
)]
pub(super) async fn of_camera(
    _: TenantScope,
    CameraPath(camera): CameraPath,
    StrictQuery(query): StrictQuery<PresenceQuery>,
    State(service): State<Service>,
) -> Result<Json<PresenceView>, Problem> {
    let end = query.until.unwrap_or(Instant(query.at.0.saturating_add(INSTANT)));
    let range = range(query.at, end, TIMELINE_DAYS_MAX * 24)?;
    let stretches = service.desk()?.presence(&camera, range).await?;
    let covered = covered(&stretches);
    let footage = match covered.0 {
        0 => "no",
        all if all == range.duration().0 => "yes",
        _ => "partly",
    };
    let stretches = stretches.iter().map(StretchView::from).collect();
    Ok(Json(PresenceView { footage, covered_s: covered.0 as f64 / 90_000.0, stretches }))
}
