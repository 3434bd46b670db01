//! `clip.mp4`: a time range as one progressive MP4, with ranges and conditions (RFC 9110).
//!
//! A player asks for one clip in many ranges: its layout is kept for a while, so that it is made once. Only boxes are
//! kept, never samples; what retention deletes is gone for a cached clip too.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt};
use journal::entry::Access;
use moka::future::Cache;
use serde::Deserialize;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::coverage::{self, Digest};
use super::file_name::Named;
use super::params::{CameraPath, Instant, RangeQuery, StrictQuery, range};
use super::problem::{Problem, ProblemKind};
use super::range::{RangeAnswer, continues, evaluate};
use super::scope::{Handing, Recipient, TenantScope, recorded};
use super::share::Shares;
use super::{REVALIDATED, Service};
use crate::journals::AccessKey;
use crate::retrieve::holes::Hole;
use crate::retrieve::mp4::{CLIP_HOURS_MAX, Clip, ClipRequest, Gaps};
use crate::retrieve::timeline::{Missing, filled, missing};
use crate::retrieve::{Footage, FootageOf, RetrieveError};
use footage::units::{CameraKey, RunId, TenantId, Ticks90k, TimeRange};

/// Memory for layouts, all clips together.
const CACHE_BYTES_MAX: u64 = 128 << 20;

/// What a second of footage costs in a layout, about: 25 pictures and as many sound frames.
const LAYOUT_BYTES_PER_SECOND: u64 = 1024;

/// Memory for layouts, those that are being sent from as well as those that are kept, in MiB: of all tenants, and of one.
const LAYOUTS_MIB_MAX: u32 = 384;
const LAYOUTS_MIB_PER_TENANT_MAX: u32 = 192;

/// How long a clip waits for the memory of others.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(10);

/// A layout that nobody asks for is dropped after this time, and any after the longer one.
const IDLE_MAX: Duration = Duration::from_secs(60);
const AGE_MAX: Duration = Duration::from_secs(600);

/// Footage this recent may still be growing at its end.
const SETTLED_AFTER: Ticks90k = Ticks90k(60 * 90_000);

type Key = (CameraKey, ClipRequest);

/// Clips laid out lately.
#[derive(Debug)]
pub(super) struct Clips {
    kept: Cache<Key, Arc<LaidOut>>,
    memory: Arc<Semaphore>,
    shares: Shares,
}

/// A layout, and the memory that it takes, for as long as anybody has it.
#[derive(Debug)]
pub(super) struct LaidOut {
    pub(super) clip: Arc<Clip>,
    /// What of the range has no footage; only known of the camera's timeline.
    pub(super) missing: Vec<Missing>,
    /// SHA-256 of the whole clip, once somebody wanted it.
    pub(super) digest: OnceCell<Digest>,
    /// What of it the camera recorded itself.
    pub(super) filled: Vec<TimeRange>,
    _memory: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// Why there is no layout.
#[derive(Clone, Debug)]
enum NoLayout {
    Failed(Arc<RetrieveError>),
    /// The tenant's own clips take its whole share.
    ShareUsed,
    /// Other clips take all there is.
    NoMemory,
}

impl From<NoLayout> for Problem {
    fn from(why: NoLayout) -> Self {
        match why {
            NoLayout::Failed(error) => error.as_ref().into(),
            NoLayout::ShareUsed => {
                Self::too_many(MEMORY_WAIT_MAX, "too many long clips at once: wait for one to end, or ask for less")
            }
            NoLayout::NoMemory => {
                Self::new(ProblemKind::Unavailable, "long clips take all memory for them: try again later")
            }
        }
    }
}

fn layout_bytes(range: &TimeRange) -> u64 {
    (range.duration().to_duration().as_secs() + 1).saturating_mul(LAYOUT_BYTES_PER_SECOND)
}

impl Default for Clips {
    fn default() -> Self {
        let weigh = |_: &_, laid: &Arc<LaidOut>| u32::try_from(layout_bytes(&laid.clip.covers())).unwrap_or(u32::MAX);
        let kept = Cache::builder()
            .max_capacity(CACHE_BYTES_MAX)
            .weigher(weigh)
            .time_to_idle(IDLE_MAX)
            .time_to_live(AGE_MAX)
            .build();
        Self {
            kept,
            memory: Arc::new(Semaphore::new(LAYOUTS_MIB_MAX as usize)),
            shares: Shares::of(LAYOUTS_MIB_PER_TENANT_MAX as usize),
        }
    }
}

impl Clips {
    /// The clip, laid out once however many ask. Who begins to read a clip whose end is still being recorded gets a new
    /// layout with all there is; who continues gets the one that was begun.
    pub(super) async fn get(
        &self,
        footage: &Footage,
        camera: &CameraKey,
        asked: ClipRequest,
        continues: bool,
    ) -> Result<Arc<LaidOut>, Problem> {
        let ClipRequest { from: of, range, .. } = asked;
        let key = (camera.clone(), asked);
        // What a hold keeps is copied whenever its turn comes.
        let is_held = matches!(of, FootageOf::Hold(_));
        let settled = !is_held && range.end() < footage.clock.wall().saturating_sub(SETTLED_AFTER);
        let kept = self.kept.get(&key).await;
        // What was left out may have been found meanwhile.
        let is_whole = kept.as_ref().is_none_or(|laid| laid.clip.holes().is_empty());
        let broke_off = kept.is_some_and(|laid| laid.clip.broke_off());
        let holds_on = continues || settled && is_whole;
        if broke_off || !holds_on {
            self.kept.invalidate(&key).await;
        }
        let layout = async {
            let memory = self.memory_for(&camera.tenant, &range).await?;
            let clip = Clip::asked(footage, camera, &asked).await;
            let clip = clip.map_err(|error| NoLayout::Failed(Arc::new(error)))?;
            let failed = |error| NoLayout::Failed(Arc::new(error));
            let missing = missing_of(footage, camera, of, range).await.map_err(failed)?;
            let filled = filled(footage, camera, of, range).await.map_err(failed)?;
            Ok(Arc::new(LaidOut { clip, missing, filled, digest: OnceCell::new(), _memory: memory }))
        };
        self.kept.try_get_with(key, layout).await.map_err(|why: Arc<NoLayout>| why.as_ref().clone().into())
    }

    /// Before anything is laid out. Where there is none, what is kept without being sent goes first.
    async fn memory_for(
        &self,
        tenant: &TenantId,
        range: &TimeRange,
    ) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), NoLayout> {
        let mib = u32::try_from(layout_bytes(range).div_ceil(1 << 20)).unwrap_or(u32::MAX);
        let own = match self.shares.take(tenant, mib) {
            Some(own) => own,
            None => {
                self.drop_kept().await;
                self.shares.take(tenant, mib).ok_or(NoLayout::ShareUsed)?
            }
        };
        if let Ok(of_all) = self.memory.clone().try_acquire_many_owned(mib) {
            return Ok((own, of_all));
        }
        self.drop_kept().await;
        let of_all = tokio::time::timeout(MEMORY_WAIT_MAX, self.memory.clone().acquire_many_owned(mib)).await;
        of_all.ok().and_then(Result::ok).map(|of_all| (own, of_all)).ok_or(NoLayout::NoMemory)
    }

    async fn drop_kept(&self) {
        self.kept.invalidate_all();
        self.kept.run_pending_tasks().await;
    }
}

/// What of a range has no footage, where that is known: of the camera's own timeline.
pub(super) async fn missing_of(
    footage: &Footage,
    camera: &CameraKey,
    of: FootageOf,
    range: TimeRange,
) -> Result<Vec<Missing>, RetrieveError> {
    match of {
        FootageOf::Timeline => missing(footage, camera, range).await,
        FootageOf::Run(_) | FootageOf::Hold(_) => Ok(Vec::new()),
    }
}

/// A time range as one MP4 file: `moov` first, exact length, byte ranges.
///
/// The clip begins and ends at the frames asked for: no picture of before is visible. Sample bytes are those the camera
/// sent. Over what of the range has no footage, the last picture before it stays, so that the clip is as long as the time it
/// covers (`gaps=joined`: it takes no time): the header `footage-gaps` names it with its causes, and `footage-holes` what is
/// on record and cannot be read. A range in which the coding or the size of the picture changes is several files: 409 says
/// so, and `part` asks for one of them. `footage-filled`
/// names what the camera recorded itself, fetched after a cut.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/clip.mp4", tag = "footage",
    params(
        ("camera" = String, Path, description = "Camera id"), RangeQuery, OfRun, ClipForm,
        ("range" = Option<String>, Header, description = "One range of bytes (RFC 9110 §14.2); several are answered with the whole")
    ),
    responses(
        (status = OK, content_type = "video/mp4", body = Vec<u8>),
        (status = PARTIAL_CONTENT, content_type = "video/mp4", body = Vec<u8>),
        (status = NOT_MODIFIED), (status = BAD_REQUEST), (status = NOT_FOUND),
        (status = CONFLICT), (status = GONE), (status = PRECONDITION_FAILED), (status = RANGE_NOT_SATISFIABLE),
        (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn clip(
    scope: TenantScope,
    CameraPath(key): CameraPath,
    StrictQuery(query): StrictQuery<ClipQuery>,
    State(service): State<Service>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&service, &scope, (&key, query.request()?, None), &method, &headers).await
}

/// How the clip is made.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes the part of the queries that their ranges do not")]
pub(super) struct ClipForm {
    /// `held`: the last picture before a gap stays over it, so that a position in the clip is a time of the day; `joined`:
    /// gaps take no time.
    #[param(value_type = Option<String>, default = "held")]
    gaps: Option<GapsWord>,
    /// One of the files that the range is, counted from 1; needed where it is more than one.
    #[param(value_type = Option<u32>, minimum = 1)]
    part: Option<NonZeroU32>,
}

/// Of [`Gaps`].
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum GapsWord {
    #[default]
    Held,
    Joined,
}

impl From<GapsWord> for Gaps {
    fn from(word: GapsWord) -> Self {
        match word {
            GapsWord::Held => Self::Held,
            GapsWord::Joined => Self::Joined,
        }
    }
}

/// Of which run.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes the part of `ClipQuery` that `Between` does not")]
pub(super) struct OfRun {
    /// Only what was recorded in this run, by that run's own times. Where the gateway's clock was wrong, the timeline
    /// names the run in `misdated`, and other footage may bear the same times.
    run: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClipQuery {
    start: Instant,
    end: Instant,
    run: Option<RunOf>,
    #[serde(default)]
    gaps: GapsWord,
    part: Option<NonZeroU32>,
}

impl ClipQuery {
    pub(super) fn request(&self) -> Result<ClipRequest, Problem> {
        let range = range(self.start, self.end, CLIP_HOURS_MAX)?;
        let from = self.run.as_ref().map_or(FootageOf::Timeline, |RunOf(run)| FootageOf::Run(*run));
        Ok(ClipRequest { from, range, gaps: self.gaps.into(), part: self.part.map(NonZeroU32::get) })
    }
}

#[derive(Debug)]
pub(super) struct RunOf(pub(super) RunId);

impl<'de> Deserialize<'de> for RunOf {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// A clip, of the camera's timeline or of a hold on it, as the request's conditions and ranges want it.
pub(super) async fn answer(
    service: &Service,
    scope: &TenantScope,
    (key, asked, reference): (&CameraKey, ClipRequest, Option<&str>),
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let access = permit(service, scope, key, &asked).await?;
    let laid = service.0.clips.get(service.footage(), key, asked, continues(headers)).await?;
    let clip = &laid.clip;
    let len = clip.len();
    let digest = coverage::digest_for(service, scope.tenant(), &laid, headers).await;
    let mut response = match evaluate(method, headers, clip.etag(), len) {
        RangeAnswer::Whole => body(StatusCode::OK, &laid, 0..len, accessing(service, scope, access, method).await?),
        RangeAnswer::Part(part) => {
            let content_range = content_range(&format!("{}-{}", part.start, part.end - 1), len);
            let accessing = accessing(service, scope, access, method).await?;
            let mut response = body(StatusCode::PARTIAL_CONTENT, &laid, part, accessing);
            response.headers_mut().insert(header::CONTENT_RANGE, content_range);
            response
        }
        RangeAnswer::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        RangeAnswer::PreconditionFailed => {
            Problem::new(ProblemKind::PreconditionFailed, "the clip is another than If-Match names: ask again without")
                .into_response()
        }
        RangeAnswer::NotSatisfiable => {
            let detail = format!("the clip has {len} bytes: ask for a range inside");
            let mut response = Problem::new(ProblemKind::RangeNotSatisfiable, detail).into_response();
            response.headers_mut().insert(header::CONTENT_RANGE, content_range("*", len));
            return Ok(response);
        }
    };
    let is_bytes = response.status().is_success();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, REVALIDATED);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(etag) = HeaderValue::try_from(clip.etag()) {
        headers.insert(header::ETAG, etag);
    }
    if let Some(holes) = holes_header(clip.holes()) {
        headers.insert(FOOTAGE_HOLES, holes);
    }
    if let Some(head) = service.journals().head(scope.tenant()).and_then(|head| head.to_string().try_into().ok()) {
        headers.insert(JOURNAL_CHECKPOINT, head);
    }
    if let Some(gaps) = gaps_header(&laid.missing) {
        headers.insert(FOOTAGE_GAPS, gaps);
    }
    let span = |span: &TimeRange| format!("\"{}/{}\"", span.start(), span.end());
    if let Some(filled) = list(laid.filled.iter().map(span)) {
        headers.insert(FOOTAGE_FILLED, filled);
    }
    let row = service.footage().index.camera(key).await?;
    let name = row.as_ref().map_or("", |row| &row.name);
    let named = Named { camera: &key.camera, name, reference, part: asked.part };
    if let Some(disposition) = named.disposition(&service.footage().labels(), clip.covers()) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    if let Some(digest) = digest.filter(|_| is_bytes) {
        headers.insert(coverage::REPR_DIGEST, digest.header());
    }
    Ok(response)
}

/// The key to a clip, for those who may have it.
pub(super) async fn permit(
    service: &Service,
    scope: &TenantScope,
    key: &CameraKey,
    asked: &ClipRequest,
) -> Result<AccessKey, Problem> {
    let access = match asked.from {
        FootageOf::Timeline | FootageOf::Run(_) => Access::Clip,
        FootageOf::Hold(_) => Access::HoldClip,
    };
    service.permit(scope, &key.camera, access, recorded(asked.range)).await
}

/// The entry in the journal before the first byte; none for HEAD, which has no bytes.
async fn accessing(
    service: &Service,
    scope: &TenantScope,
    access: AccessKey,
    method: &Method,
) -> Result<Option<Handing>, Problem> {
    if *method == Method::HEAD {
        return Ok(None);
    }
    Ok(Some(service.begin(scope, access).await?))
}

/// The bytes with their length; without the bytes where nothing is accessed, so that nothing is read for it.
fn body(status: StatusCode, laid: &Arc<LaidOut>, bytes: std::ops::Range<u64>, handing: Option<Handing>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("video/mp4")),
        (header::CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start)),
    ];
    let body = match handing {
        None => Body::empty(),
        Some(handing) => {
            let (held, at) = (laid.clone(), bytes.start);
            handed_out(laid.clip.body(bytes), handing, at, move |bytes| held.clip.filmed(bytes))
        }
    };
    (status, headers, body).into_response()
}

/// Footage as a body. Its bytes belong to this access: they count when they are handed to the connection, the first of them
/// as number `at` of what `filmed` knows the times of. A body that fails on the way can only break off, which its length
/// shows to the client: the log says why.
pub(super) fn handed_out(
    bytes: impl futures::Stream<Item = Result<bytes::Bytes, RetrieveError>> + Send + 'static,
    Handing { accessing, to }: Handing,
    mut at: u64,
    filmed: impl Fn(std::ops::Range<u64>) -> Option<TimeRange> + Send + 'static,
) -> Body {
    let counted = until_revoked(bytes, to).inspect_ok(move |bytes| {
        let end = at + bytes.len() as u64;
        accessing.sent(bytes.len() as u64, filmed(at..end));
        at = end;
    });
    Body::from_stream(counted.inspect_err(|error| match error {
        BrokeOff::Failed(error) => tracing::error!(%error, "footage broke off while it was sent"),
        BrokeOff::Revoked => tracing::info!("footage broke off: the designation of who got it was revoked"),
    }))
}

/// Why a body ends before its length.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokeOff {
    #[error(transparent)]
    Failed(#[from] RetrieveError),
    #[error("the designation was revoked")]
    Revoked,
}

/// The same bytes, until the one who gets them is designated no more.
pub(super) fn until_revoked(
    bytes: impl futures::Stream<Item = Result<bytes::Bytes, RetrieveError>> + Send + 'static,
    to: Recipient,
) -> impl futures::Stream<Item = Result<bytes::Bytes, BrokeOff>> + Send + 'static {
    bytes.map(move |next| if to.is_revoked() { Err(BrokeOff::Revoked) } else { Ok(next?) })
}

/// What of the range is on record and left out: a list (RFC 9651) of time ranges with their causes.
pub(super) const FOOTAGE_HOLES: HeaderName = HeaderName::from_static("footage-holes");

/// What of the range has no footage: a list (RFC 9651) of time ranges, with their causes where they are known.
const FOOTAGE_GAPS: HeaderName = HeaderName::from_static("footage-gaps");

/// What of the range the camera recorded itself, fetched after a cut: a list (RFC 9651) of time ranges.
const FOOTAGE_FILLED: HeaderName = HeaderName::from_static("footage-filled");

/// The last checkpoint of the tenant's journal: its entries, and the root of its tree in base64. Kept with a clip, it is a
/// proof against a journal that is changed later.
const JOURNAL_CHECKPOINT: HeaderName = HeaderName::from_static("journal-checkpoint");

/// Stretches named in a header; of more, how many.
const NAMED_MAX: usize = 16;

/// `"2026-03-01T12:00:00Z/2026-03-01T12:02:00Z";cause=missing, …`; `None` where nothing is left out.
pub(super) fn holes_header(holes: &[Hole]) -> Option<HeaderValue> {
    let one = |hole: &Hole| format!("\"{}/{}\";cause={}", hole.range.start(), hole.range.end(), hole.why.as_str());
    list(holes.iter().map(one))
}

/// The same for what has no footage.
fn gaps_header(missing: &[Missing]) -> Option<HeaderValue> {
    let one = |missing: &Missing| {
        let cause = missing.cause.map_or(String::new(), |cause| format!(";cause={}", cause.as_str()));
        format!("\"{}/{}\"{cause}", missing.range.start(), missing.range.end())
    };
    list(missing.iter().map(one))
}

/// The first members of a list (RFC 9651), and how many more there are; `None` where there is none.
fn list(members: impl ExactSizeIterator<Item = String>) -> Option<HeaderValue> {
    let more = members.len().saturating_sub(NAMED_MAX);
    let mut named: Vec<String> = members.take(NAMED_MAX).collect();
    named.extend((more > 0).then(|| format!("more;count={more}")));
    (!named.is_empty()).then(|| HeaderValue::try_from(named.join(", ")).ok()).flatten()
}

pub(super) fn content_range(part: &str, len: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes {part}/{len}")).expect("digits and punctuation are legal in a header")
}

#[cfg(test)]
mod tests {
    use super::*;
    use footage::units::WallTime;

    #[tokio::test(start_paused = true)]
    async fn long_clips_of_one_tenant_leave_memory_for_another_and_give_it_back() {
        let (greedy, other) = ("greedy".parse().unwrap(), "other".parse().unwrap());
        let day = TimeRange::new(WallTime(0), WallTime(86_400 * 90_000)).unwrap();
        let clips = Clips::default();
        let mut held = Vec::new();
        while let Ok(memory) = clips.memory_for(&greedy, &day).await {
            held.push(memory);
        }
        assert_eq!(held.len() as u64, u64::from(LAYOUTS_MIB_PER_TENANT_MAX) / 85, "a day takes 85 MiB");
        assert!(matches!(clips.memory_for(&greedy, &day).await, Err(NoLayout::ShareUsed)));
        let theirs = (clips.memory_for(&other, &day).await.unwrap(), clips.memory_for(&other, &day).await.unwrap());
        let third = "third".parse().unwrap();
        assert!(matches!(clips.memory_for(&third, &day).await, Err(NoLayout::NoMemory)));
        drop((held, theirs));
        assert!(clips.memory_for(&third, &day).await.is_ok());
    }
}
