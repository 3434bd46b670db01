//! Authorisations: what the tenant's cameras record under, and how that stands.

use axum::Json;
use axum::extract::State;

use super::Service;
use super::problem::Problem;
use super::scope::TenantScope;
use crate::authorisation::{Authorisation, Basis, Installation, Validity};
use crate::permission::Standing;
use crate::status::CameraStatus;
use footage::units::CameraKey;

/// An authorisation of the tenant's system.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Authorisation)]
pub(super) struct AuthorisationView {
    /// Its id.
    id: String,
    /// As the prefecture numbers it.
    number: String,
    /// When it was made.
    date: String,
    /// Its first day.
    from: String,
    /// Its last day.
    until: String,
    /// `not_yet_in_force`, `in_force` or `ended`.
    state: &'static str,
    /// How near its end is: `six_months`, `four_months`, `four_weeks`, `two_weeks`, `one_week`; absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_within: Option<&'static str>,
    /// For an event or an urgent need (CSI L252-6, L252-7).
    provisional: bool,
    /// Of the list of CSI L251-2.
    purposes: Vec<&'static str>,
    /// Who may receive images.
    recipients: Vec<String>,
    /// The retention that it allows at most.
    max_hours: u64,
    /// The retention that it asks for at least.
    min_hours: u64,
    /// What becomes of recording when it ends: `stop` or `record_on`.
    at_end: &'static str,
    /// Cameras that record under it.
    cameras: Vec<InstalledView>,
}

/// A camera that records under an authorisation.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct InstalledView {
    /// Its id.
    camera: String,
    #[serde(flatten)]
    installation: InstallationView,
}

/// What a camera shows, and when it was declared.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Installation)]
pub(super) struct InstallationView {
    /// `narrow` (persons can be recognised) or `wide`; absent where nobody has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<&'static str>,
    /// Persons or vehicles that it films move fast.
    fast_movement: bool,
    /// When its putting into service, or its last move, was declared (CSI R252-17).
    #[serde(skip_serializing_if = "Option::is_none")]
    declared: Option<String>,
    /// Since when it films where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_service: Option<String>,
}

impl From<&Installation> for InstallationView {
    fn from(of: &Installation) -> Self {
        Self {
            view: of.view.map(|view| view.as_str()),
            fast_movement: of.fast_movement,
            declared: of.declared.map(|day| day.to_string()),
            in_service: of.in_service.map(|day| day.to_string()),
        }
    }
}

fn ends_within(validity: Validity) -> Option<&'static str> {
    match validity {
        Validity::InForce(notice) => notice.map(|notice| notice.as_str()),
        Validity::NotYet | Validity::Ended => None,
    }
}

impl AuthorisationView {
    fn of(standing: Standing, scope: &TenantScope) -> Self {
        let Standing { authorisation, validity, cameras } = standing;
        let Authorisation { id, number, date, from, until, provisional, purposes, recipients, max, min, at_end } =
            authorisation;
        let cameras = cameras.into_iter().filter(|(camera, _)| scope.names(camera));
        Self {
            id: id.to_string(),
            number,
            date: date.to_string(),
            from: from.to_string(),
            until: until.to_string(),
            state: validity.as_str(),
            ends_within: ends_within(validity),
            provisional,
            purposes: purposes.into_iter().map(|purpose| purpose.as_str()).collect(),
            recipients,
            max_hours: max.as_secs() / 3_600,
            min_hours: min.as_secs() / 3_600,
            at_end: at_end.as_str(),
            cameras: cameras
                .map(|(camera, of)| InstalledView { camera: camera.to_string(), installation: (&of).into() })
                .collect(),
        }
    }
}

/// The tenant's authorisations, in the order of the configuration.
#[utoipa::path(
    get, path = "/api/authorisations", tag = "cameras", operation_id = "authorisations",
    responses((status = OK, body = Vec<AuthorisationView>))
)]
pub(super) async fn list(
    scope: TenantScope,
    State(service): State<Service>,
) -> Result<Json<Vec<AuthorisationView>>, Problem> {
    let all = service.permissions().map(|of| of.of_tenant(scope.tenant())).unwrap_or_default();
    Ok(Json(all.into_iter().map(|standing| AuthorisationView::of(standing, &scope)).collect()))
}

/// What is recorded of a camera and is below the norm for what it shows (arrêté of 3 August 2007, art. 2).
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = BelowNorm)]
pub(super) struct BelowNormView {
    /// `resolution` or `picture_rate`.
    what: &'static str,
    /// As it is recorded now: pixels as in `640x480`, or pictures a second.
    recorded: String,
    /// As it has to be at least.
    norm: String,
}

impl BelowNormView {
    /// Of a camera that records under an authorisation.
    pub(super) fn of(service: &Service, camera: &CameraKey, status: &CameraStatus) -> Vec<Self> {
        let found = service.permissions().and_then(|permissions| permissions.of_camera(camera));
        let Some((installation, Some((under, _)))) = found else { return Vec::new() };
        if !under.has_norm() {
            return Vec::new();
        }
        let norm = installation.norm();
        let size = status.video.as_ref().filter(|video| norm.is_above_size(video.width, video.height));
        let size = size.map(|video| Self {
            what: "resolution",
            recorded: format!("{}x{}", video.width, video.height),
            norm: format!("{}x{}", norm.width, norm.height),
        });
        let rate = status.picture_rate.filter(|rate| norm.is_above_rate(*rate)).map(|rate| Self {
            what: "picture_rate",
            recorded: format!("{rate:.1}"),
            norm: norm.pictures_per_s.to_string(),
        });
        size.into_iter().chain(rate).collect()
    }
}

/// What a camera records under.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Basis)]
pub(super) struct BasisView {
    /// `authorisation`, `outside_title_v`, or `unstated`: the configuration says neither.
    kind: &'static str,
    /// Id of the authorisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorisation: Option<String>,
    /// Its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    /// Its last day.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// How it stands: `not_yet_in_force`, `in_force` or `ended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// How near its end is.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_within: Option<&'static str>,
    /// The basis outside title V.
    #[serde(skip_serializing_if = "Option::is_none")]
    legal_basis: Option<String>,
    #[serde(flatten)]
    installation: InstallationView,
}

impl BasisView {
    /// Of a camera that is configured.
    pub(super) fn of(service: &Service, camera: &CameraKey) -> Option<Self> {
        let (installation, under) = service.permissions()?.of_camera(camera)?;
        let (of, validity) = under.unzip();
        Some(Self {
            kind: installation.basis.as_str(),
            authorisation: of.as_ref().map(|of| of.id.to_string()),
            number: of.as_ref().map(|of| of.number.clone()),
            until: of.as_ref().map(|of| of.until.to_string()),
            state: validity.map(Validity::as_str),
            ends_within: validity.and_then(ends_within),
            legal_basis: match &installation.basis {
                Basis::Outside(text) => Some(text.clone()),
                Basis::Authorisation(_) | Basis::Unstated => None,
            },
            installation: (&installation).into(),
        })
    }

    /// As one word.
    pub(super) fn word(&self) -> &'static str {
        self.kind
    }
}
