//! `signatures`: whether footage is as its camera signed it (ONVIF Media Signing).

use std::time::Duration;

use axum::Json;
use axum::extract::State;

use super::Service;
use super::params::{CameraPath, RangeQuery, StrictQuery};
use super::problem::Problem;
use crate::retrieve::signatures::{SIGNATURES_HOURS_MAX, verdict};
use footage::signing::{CertificateUse, Reason, Remark, Report, Stretch, Trust, Verdict};

/// Verdicts being found for one tenant: each reads and hashes all of its range.
pub(super) const VERDICTS_PER_TENANT_MAX: usize = 1;

const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The verdict on a range, the best first; that of the whole is the worst of its stretches.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SignatureVerdict)]
enum VerdictWord {
    /// Every picture is as the camera signed it, in its order.
    Authentic,
    /// Every picture that is there is; some that the camera signed are not there.
    AuthenticWithMissing,
    /// No signature covers it.
    NotSigned,
    /// Pictures are not as the camera signed them, or nobody vouches for the signature.
    NotAuthentic,
}

impl From<Verdict> for VerdictWord {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Authentic => Self::Authentic,
            Verdict::AuthenticWithMissing => Self::AuthenticWithMissing,
            Verdict::NotSigned => Self::NotSigned,
            Verdict::NotAuthentic => Self::NotAuthentic,
        }
    }
}

/// A stretch of one verdict.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct SignedStretch {
    /// Time of its first picture.
    start: String,
    /// Time of its last picture.
    last: String,
    verdict: VerdictWord,
    /// NAL units that are as they were signed.
    authentic: u64,
    /// NAL units that were signed and are not there; a GOP of which nothing is known counts as one.
    missing: u64,
    /// NAL units that are not as they were signed.
    altered: u64,
    /// Why it is not authentic.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<Reason>,
    /// When the camera says that it began to take it, where a signature covers that: to be compared with `start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_start: Option<String>,
    /// When it ended, by the camera's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_last: Option<String>,
    /// `signed_time_differs`: the signed time is further than 30 seconds from the time of recording. The camera's clock was
    /// wrong, or these pictures were taken at another time. The verdict is on their bytes alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    remark: Option<Remark>,
}

impl From<Stretch> for SignedStretch {
    fn from(stretch: Stretch) -> Self {
        Self {
            start: stretch.start.to_string(),
            last: stretch.last.to_string(),
            verdict: stretch.verdict.into(),
            authentic: stretch.authentic,
            missing: stretch.missing,
            altered: stretch.altered,
            reason: stretch.reason,
            signed_start: stretch.signed_start.map(|at| at.to_string()),
            signed_last: stretch.signed_last.map(|at| at.to_string()),
            remark: stretch.remark,
        }
    }
}

/// A certificate that signed.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct SigningCertificate {
    subject: String,
    /// SHA-256 of its public key, in hexadecimal: to be compared with what the camera's maker or its page says.
    public_key_sha256: String,
    not_before: String,
    not_after: String,
    /// What is known of it for the time of recording: `anchored`, `not_anchored` (no anchor is configured),
    /// `unknown_authority` or `not_valid_then`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    trust: Option<Trust>,
}

impl From<CertificateUse> for SigningCertificate {
    fn from(used: CertificateUse) -> Self {
        Self {
            subject: used.subject,
            public_key_sha256: used.public_key_sha256,
            not_before: used.not_before.to_string(),
            not_after: used.not_after.to_string(),
            trust: used.trust,
        }
    }
}

/// Whether footage is as its camera signed it.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Signatures)]
pub(super) struct SignaturesView {
    verdict: VerdictWord,
    stretches: Vec<SignedStretch>,
    certificates: Vec<SigningCertificate>,
    /// NAL units before the first GOP that begins in the range: the verdict says nothing of them.
    unverified_at_start: u64,
    /// NAL units at the end, and before interruptions, whose signature comes after: the verdict says nothing of them.
    unverified_at_end: u64,
}

impl From<Report> for SignaturesView {
    fn from(report: Report) -> Self {
        Self {
            verdict: report.verdict.into(),
            stretches: report.stretches.into_iter().map(SignedStretch::from).collect(),
            certificates: report.certificates.into_iter().map(SigningCertificate::from).collect(),
            unverified_at_start: report.unverified_at_start,
            unverified_at_end: report.unverified_at_end,
        }
    }
}

/// Whether footage is as its camera signed it (ONVIF Media Signing Specification), of two hours at most.
///
/// Certificates are checked as of the time of recording. The signature on the last GOP of a range comes with the next one:
/// ask for some seconds more than is wanted.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/signatures", tag = "footage",
    params(("camera" = String, Path, description = "Camera id"), RangeQuery),
    responses(
        (status = OK, body = SignaturesView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = GONE),
        (status = TOO_MANY_REQUESTS), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn of_camera(
    CameraPath(key): CameraPath,
    StrictQuery(between): StrictQuery<RangeQuery>,
    State(service): State<Service>,
) -> Result<Json<SignaturesView>, Problem> {
    let range = between.range(SIGNATURES_HOURS_MAX)?;
    let _turn =
        service.0.verdicts.take(&key.tenant, 1).ok_or_else(|| {
            Problem::too_many(RETRY_AFTER, "signatures are being checked already: wait for that verdict")
        })?;
    Ok(Json(verdict(service.footage(), &key, range).await?.into()))
}
