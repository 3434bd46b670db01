//! `clip.json`: what a clip is, beside it. What was asked, the files that it is, what of it has pictures, what is missing and
//! why, and the digest of a file.
//!
//! A digest is of the whole representation (`Repr-Digest`, RFC 9530 §3): the same for each range of its bytes. It costs a
//! reading of all of them, so it is given of clips up to [`DIGEST_BYTES_MAX`], to who wants it, and kept with the layout.

use aws_lc_rs::digest;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::TryStreamExt;
use serde::Deserialize;

use super::clip::{self, ClipForm, GapsWord, LaidOut, OfRun, RunOf, missing_of};
use super::file_name::Named;
use super::holds::{HeldPart, asked_of};
use super::params::{CameraPath, HoldPath, Instant, RangeQuery, StrictQuery, range};
use super::problem::Problem;
use super::schema::GapCauseSchema;
use super::scope::TenantScope;
use super::timeline::Span;
use super::{LIVE, Service};
use crate::retrieve::holes::Hole;
use crate::retrieve::mp4::{self, CLIP_HOURS_MAX, ClipRequest, Gaps, Part};
use crate::retrieve::timeline::Missing;
use crate::retrieve::{FootageOf, RetrieveError};
use footage::media::{GapCause, VideoCodec};
use footage::units::{CameraKey, TenantId};

/// A larger clip is not read to its end before the answer begins: about ten seconds from a disk.
const DIGEST_BYTES_MAX: u64 = 1 << 30;

/// Clips of one tenant that are hashed at once.
pub(super) const DIGESTS_PER_TENANT_MAX: usize = 1;

/// Stretches of one kind in an answer.
const STRETCHES_MAX: usize = 20_000;

/// Digest of the whole, whichever bytes of it are sent (RFC 9530 §3).
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// Which digest of the whole a client wants (RFC 9530 §4).
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");
/// Digest of what is sent (RFC 9530 §2).
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    fn of(digest: digest::Digest) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// As a member of a dictionary (RFC 9651): `sha-256=:…:`.
    pub(super) fn header(&self) -> HeaderValue {
        let text = format!("sha-256=:{}:", BASE64.encode(self.0));
        HeaderValue::try_from(text).expect("base64 and punctuation are legal in a header")
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The digest of a clip for an answer with its bytes: where it is known, or wanted and granted. RFC 9530 §4: a preference,
/// which may be left aside.
pub(super) async fn digest_for(
    service: &Service,
    tenant: &TenantId,
    laid: &LaidOut,
    headers: &HeaderMap,
) -> Option<Digest> {
    match laid.digest.get() {
        None if wants_sha256(headers) => digest_of(service, tenant, laid).await.ok(),
        known => known.copied(),
    }
}

fn wants_sha256(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(WANT_REPR_DIGEST).iter().filter_map(|value| value.to_str().ok());
    let weight = |member: &str| member.trim().strip_prefix("sha-256=").and_then(|weight| weight.parse::<u8>().ok());
    lines.flat_map(|line| line.split(',')).filter_map(weight).any(|weight| weight > 0)
}

/// Reads the whole clip, once.
async fn digest_of(service: &Service, tenant: &TenantId, laid: &LaidOut) -> Result<Digest, Problem> {
    let clip = &laid.clip;
    if clip.len() > DIGEST_BYTES_MAX {
        return Err(Problem::invalid(format!(
            "the clip has {} bytes, and is hashed up to {DIGEST_BYTES_MAX}: hash it as you receive it, or ask for less",
            clip.len()
        )));
    }
    let hashed = laid.digest.get_or_try_init(|| async {
        let too_many = || Problem::too_many(Duration::from_secs(5), "another clip is being hashed: wait for it to end");
        let _permit = service.0.digests.take(tenant, 1).ok_or_else(too_many)?;
        let mut context = digest::Context::new(&digest::SHA256);
        let mut bytes = clip.body(0..clip.len());
        while let Some(bytes) = bytes.try_next().await? {
            context.update(&bytes);
        }
        Ok::<_, Problem>(Digest::of(context.finish()))
    });
    hashed.await.copied()
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CoverageQuery {
    start: Instant,
    end: Instant,
    run: Option<RunOf>,
    #[serde(default)]
    gaps: GapsWord,
    part: Option<NonZeroU32>,
    #[serde(default)]
    sha256: bool,
}

/// What a hold's clip is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeldCoverageQuery {
    start: Option<Instant>,
    end: Option<Instant>,
    #[serde(default)]
    gaps: GapsWord,
    part: Option<NonZeroU32>,
    #[serde(default)]
    sha256: bool,
}

/// Whether the file is hashed.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes the part of the queries that others do not")]
pub(super) struct Hashed {
    /// With the SHA-256 of the file, for which all of it is read: of clips up to 1 GiB.
    #[param(default = false)]
    sha256: Option<bool>,
}

/// A stretch without pictures.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct MissingSpan {
    #[serde(flatten)]
    span: Span,
    /// Why, where that is on record: it is not of what was destroyed, never recorded, or is not written yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<GapCauseSchema>)]
    cause: Option<GapCause>,
}

/// A stretch that is on record and cannot be read.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct UnreadableSpan {
    #[serde(flatten)]
    span: Span,
    /// `missing`, `damaged`, `destroyed` or `no_key`.
    cause: &'static str,
}

/// A file that the range is, or one of several.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct PartView {
    /// Its number, for `part`.
    part: usize,
    /// From its first picture to the end of its last.
    #[serde(flatten)]
    span: Span,
    /// `h264` or `h265`.
    codec: &'static str,
    /// The `codecs` parameter of RFC 6381, of its beginning.
    codecs: String,
    /// In pixels.
    width: u16,
    /// In pixels.
    height: u16,
    /// What of it has pictures.
    pictures: Vec<Span>,
}

/// The file that was asked for, or the only one.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct FileView {
    /// Its number.
    part: usize,
    /// What it is called where it is saved.
    name: String,
    /// Its length.
    bytes: u64,
    /// Its entity tag: with `If-Match`, no other file comes.
    etag: String,
    /// In hexadecimal; only where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// What a clip is, and what it is not.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Coverage)]
pub(super) struct CoverageView {
    camera: String,
    /// The camera's name.
    name: String,
    /// Where it is.
    place: String,
    /// Whose footage it is.
    authority: String,
    /// What people read its times in.
    time_zone: String,
    /// The hold whose clip it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    /// What was asked.
    asked: Span,
    /// `held` or `joined`: what a gap is in the file.
    gaps_are: &'static str,
    /// The files that the range is, by time.
    parts: Vec<PartView>,
    /// What of the range has no footage; only known of the camera's own timeline.
    gaps: Vec<MissingSpan>,
    /// What of the range is on record and cannot be read: it is in no file.
    unreadable: Vec<UnreadableSpan>,
    /// Absent where there are several and none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileView>,
    /// The last checkpoint of the tenant's journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_checkpoint: Option<String>,
}

impl PartView {
    fn new(number: usize, part: Part) -> Self {
        Self {
            part: number,
            span: part.covers.into(),
            codec: match part.codec {
                VideoCodec::H264 => "h264",
                VideoCodec::H265 => "h265",
            },
            codecs: part.rfc6381,
            width: part.size.0,
            height: part.size.1,
            pictures: part.stretches.into_iter().map(Span::from).collect(),
        }
    }
}

/// What the clip of a range is, without its pictures: the files, what of them has pictures, what is missing and why.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/clip.json", tag = "footage", operation_id = "clip_coverage",
    params(("camera" = String, Path, description = "Camera id"), RangeQuery, OfRun, ClipForm, Hashed),
    responses((status = OK, body = CoverageView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = GONE))
)]
pub(super) async fn of_camera(
    scope: TenantScope,
    CameraPath(key): CameraPath,
    StrictQuery(query): StrictQuery<CoverageQuery>,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let CoverageQuery { start, end, run, gaps, part, sha256 } = query;
    let from = run.map_or(FootageOf::Timeline, |RunOf(run)| FootageOf::Run(run));
    let range = range(start, end, CLIP_HOURS_MAX)?;
    let asked = ClipRequest { from, range, gaps: gaps.into(), part: part.map(NonZeroU32::get) };
    coverage(&service, &scope, (&key, asked, None), sha256).await
}

/// The same for what a hold keeps.
#[utoipa::path(
    get, path = "/api/holds/{hold}/clip.json", tag = "holds", operation_id = "hold_clip_coverage",
    params(("hold" = String, Path, description = "Hold id"), HeldPart, Hashed),
    responses((status = OK, body = CoverageView), (status = BAD_REQUEST), (status = NOT_FOUND), (status = GONE))
)]
pub(super) async fn of_hold(
    scope: TenantScope,
    HoldPath(id): HoldPath,
    StrictQuery(query): StrictQuery<HeldCoverageQuery>,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let HeldCoverageQuery { start, end, gaps, part, sha256 } = query;
    let (hold, asked) = asked_of(&service, &scope, id, HeldPart { start, end, gaps, part }).await?;
    coverage(&service, &scope, (&hold.camera, asked, Some(&hold.facts.reference)), sha256).await
}

async fn coverage(
    service: &Service,
    scope: &TenantScope,
    (key, asked, reference): (&CameraKey, ClipRequest, Option<&str>),
    sha256: bool,
) -> Result<Response, Problem> {
    clip::permit(service, scope, key, &asked).await?;
    let footage = service.footage();
    let row = footage.index.camera(key).await?.ok_or_else(|| RetrieveError::NoCamera(key.clone()))?;
    let labels = footage.labels();
    let (parts, mut holes) = mp4::parts(footage, key, &asked).await?;
    let mut file = None;
    if asked.part.is_some() || parts.len() == 1 {
        let laid = service.0.clips.get(footage, key, asked, false).await?;
        let clip = &laid.clip;
        let digest = if sha256 { Some(digest_of(service, scope.tenant(), &laid).await?) } else { None };
        let named = Named { camera: &key.camera, name: &row.name, reference, part: asked.part };
        file = Some(FileView {
            part: asked.part.unwrap_or(1) as usize,
            name: named.file(&labels, clip.covers()),
            bytes: clip.len(),
            etag: clip.etag().to_owned(),
            sha256: digest.map(|digest| digest.hex()),
        });
        // It was read closer.
        holes = clip.holes().to_vec();
    } else if sha256 {
        return Err(Problem::invalid("the range is several files: say with `part` which one is to be hashed"));
    }
    let gaps = missing_of(footage, key, asked.from, asked.range).await?;
    let pictures: usize = parts.iter().map(|part| part.stretches.len()).sum();
    if pictures.max(gaps.len()).max(holes.len()) > STRETCHES_MAX {
        return Err(Problem::invalid(format!("more than {STRETCHES_MAX} stretches: ask for a shorter range")));
    }
    let missing = |Missing { range, cause }| MissingSpan { span: range.into(), cause };
    let unreadable = |Hole { range, why, .. }: Hole| UnreadableSpan { span: range.into(), cause: why.as_str() };
    let view = CoverageView {
        camera: key.camera.to_string(),
        name: row.name.clone(),
        place: row.place,
        authority: labels.authorities.get(&key.tenant).cloned().unwrap_or_else(|| key.tenant.to_string()),
        time_zone: labels.zone_name().to_owned(),
        hold: match asked.from {
            FootageOf::Hold(id) => Some(id.to_string()),
            FootageOf::Timeline | FootageOf::Run(_) => None,
        },
        asked: asked.range.into(),
        gaps_are: match asked.gaps {
            Gaps::Held => "held",
            Gaps::Joined => "joined",
        },
        parts: (1..).zip(parts).map(|(number, part)| PartView::new(number, part)).collect(),
        gaps: gaps.into_iter().map(missing).collect(),
        unreadable: holes.into_iter().map(unreadable).collect(),
        file,
        journal_checkpoint: service.journals().head(scope.tenant()).map(|head| head.to_string()),
    };
    Ok(with_digest(&view))
}

/// As JSON with the digest of what is sent.
fn with_digest(view: &CoverageView) -> Response {
    let json = serde_json::to_vec(view).unwrap_or_default();
    let digest = Digest::of(digest::digest(&digest::SHA256, &json));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, LIVE),
        (CONTENT_DIGEST, digest.header()),
    ];
    (headers, json).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_wanted_where_its_weight_is_not_zero() {
        let check = |value: &str, expect: bool| {
            let headers = HeaderMap::from_iter([(WANT_REPR_DIGEST, HeaderValue::from_str(value).unwrap())]);
            assert_eq!(wants_sha256(&headers), expect, "{value}");
        };
        check("sha-256=10", true);
        check("sha-512=3, sha-256=1", true);
        check("sha-256=0", false);
        check("sha-512=3", false);
        check("sha-256", false);
        check("sha-2567=1", false);
        check("", false);
    }
}
