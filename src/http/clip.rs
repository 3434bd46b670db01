//! `clip.mp4`: a time range as one progressive MP4, with ranges and conditions (RFC 9110).
//!
//! A player asks for one clip in many ranges: its layout is kept for a while, so that it is made once. Only boxes are
//! kept, never samples; what retention deletes is gone for a cached clip too.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use jiff::fmt::strtime;
use moka::future::Cache;
use serde::Deserialize;

use super::params::{Asked, Between, Camera, Instant, range};
use super::problem::{Kind, Problem};
use super::range::{Answer, continues, evaluate};
use super::{REVALIDATED, Service};
use crate::retrieve::mp4::{CLIP_HOURS_MAX, Clip};
use crate::retrieve::{Footage, FootageOf, RetrieveError};
use crate::units::{CameraKey, RunId, Ticks90k, TimeRange, WallTime};

/// Memory for layouts, all clips together.
const CACHE_BYTES_MAX: u64 = 128 << 20;

/// What a second of footage costs in a layout, about: 25 pictures and as many sound frames.
const LAYOUT_BYTES_PER_SECOND: u64 = 1024;

/// A layout that nobody asks for is dropped after this time, and any after the longer one.
const IDLE_MAX: Duration = Duration::from_secs(60);
const AGE_MAX: Duration = Duration::from_secs(600);

/// Footage this recent may still be growing at its end.
const SETTLED_AFTER: Ticks90k = Ticks90k(60 * 90_000);

/// Clips laid out lately.
#[derive(Debug)]
pub(super) struct Clips(Cache<(CameraKey, FootageOf, TimeRange), Arc<Clip>>);

impl Default for Clips {
    fn default() -> Self {
        let weigh = |_: &_, clip: &Arc<Clip>| {
            let seconds = clip.covers().duration().to_duration().as_secs() + 1;
            u32::try_from(seconds.saturating_mul(LAYOUT_BYTES_PER_SECOND)).unwrap_or(u32::MAX)
        };
        Self(
            Cache::builder()
                .max_capacity(CACHE_BYTES_MAX)
                .weigher(weigh)
                .time_to_idle(IDLE_MAX)
                .time_to_live(AGE_MAX)
                .build(),
        )
    }
}

impl Clips {
    /// The clip, laid out once however many ask. Who begins to read a clip whose end is still being recorded gets a new
    /// layout with all there is; who continues gets the one that was begun.
    async fn get(
        &self,
        footage: &Footage,
        camera: &CameraKey,
        of: FootageOf,
        range: TimeRange,
        continues: bool,
    ) -> Result<Arc<Clip>, Problem> {
        let key = (camera.clone(), of, range);
        // What a hold keeps is copied whenever its turn comes.
        let is_held = matches!(of, FootageOf::Hold(_));
        let settled = !is_held && range.end() < footage.clock.wall().saturating_sub(SETTLED_AFTER);
        if !settled && !continues {
            self.0.invalidate(&key).await;
        }
        let layout = Clip::of(footage, camera, of, range);
        self.0.try_get_with(key, layout).await.map_err(|error: Arc<RetrieveError>| error.as_ref().into())
    }
}

/// A time range as one MP4 file: `moov` first, exact length, byte ranges.
///
/// The clip begins and ends at the frames asked for. Sample bytes are those the camera sent.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/clip.mp4", tag = "footage",
    params(
        ("camera" = String, Path, description = "Camera id"), Between, OfRun,
        ("range" = Option<String>, Header, description = "One range of bytes (RFC 9110 §14.2); several are answered with the whole")
    ),
    responses(
        (status = OK, content_type = "video/mp4", body = Vec<u8>),
        (status = PARTIAL_CONTENT, content_type = "video/mp4", body = Vec<u8>),
        (status = NOT_MODIFIED), (status = BAD_REQUEST), (status = NOT_FOUND),
        (status = PRECONDITION_FAILED), (status = RANGE_NOT_SATISFIABLE),
        (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn clip(
    Camera(key): Camera,
    Asked(query): Asked<ClipQuery>,
    State(service): State<Service>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let range = range(query.start, query.end, CLIP_HOURS_MAX)?;
    let of = query.run.map_or(FootageOf::Timeline, |RunOf(run)| FootageOf::Run(run));
    answer(&service, &key, of, range, &method, &headers).await
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
}

#[derive(Debug)]
struct RunOf(RunId);

impl<'de> Deserialize<'de> for RunOf {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// A clip, of the camera's timeline or of a hold on it, as the request's conditions and ranges want it.
pub(super) async fn answer(
    service: &Service,
    key: &CameraKey,
    of: FootageOf,
    range: TimeRange,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let clip = service.0.clips.get(service.footage(), key, of, range, continues(headers)).await?;
    let len = clip.len();
    let mut response = match evaluate(method, headers, clip.etag(), len) {
        Answer::Whole => body(StatusCode::OK, &clip, 0..len, method),
        Answer::Part(part) => {
            let content_range = content_range(&format!("{}-{}", part.start, part.end - 1), len);
            let mut response = body(StatusCode::PARTIAL_CONTENT, &clip, part, method);
            response.headers_mut().insert(header::CONTENT_RANGE, content_range);
            response
        }
        Answer::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        Answer::PreconditionFailed => {
            Problem::new(Kind::PreconditionFailed, "the clip is another than If-Match names: ask again without")
                .into_response()
        }
        Answer::NotSatisfiable => {
            let detail = format!("the clip has {len} bytes: ask for a range inside");
            let mut response = Problem::new(Kind::RangeNotSatisfiable, detail).into_response();
            response.headers_mut().insert(header::CONTENT_RANGE, content_range("*", len));
            return Ok(response);
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, REVALIDATED);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(etag) = HeaderValue::try_from(clip.etag()) {
        headers.insert(header::ETAG, etag);
    }
    if let Ok(disposition) = HeaderValue::try_from(format!("inline; filename=\"{}\"", file_name(key, clip.covers()))) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// The bytes with their length; without the bytes for HEAD, so that nothing is read for it.
fn body(status: StatusCode, clip: &Arc<Clip>, bytes: std::ops::Range<u64>, method: &Method) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("video/mp4")),
        (header::CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start)),
    ];
    let body = if *method == Method::HEAD { Body::empty() } else { streamed(clip.body(bytes)) };
    (status, headers, body).into_response()
}

/// A body that fails on the way can only break off, which its length shows to the client: the log says why.
pub(super) fn streamed(
    bytes: impl futures::Stream<Item = Result<bytes::Bytes, RetrieveError>> + Send + 'static,
) -> Body {
    Body::from_stream(bytes.inspect_err(|error| tracing::error!(%error, "footage broke off while it was sent")))
}

fn content_range(part: &str, len: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes {part}/{len}")).expect("digits and punctuation are legal in a header")
}

/// `camera_start_end.mp4`, in UTC, of characters that every file system takes.
fn file_name(key: &CameraKey, covers: TimeRange) -> String {
    format!("{}_{}_{}.mp4", key.camera, compact(covers.start()), compact(covers.end()))
}

/// ISO 8601 basic format, to the second.
fn compact(at: WallTime) -> String {
    strtime::format("%Y%m%dT%H%M%SZ", at.to_timestamp()).unwrap_or_else(|_| at.0.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_is_named_after_its_camera_and_times() {
        let at = |s: &str| s.parse::<WallTime>().unwrap();
        let covers = TimeRange::new(at("2026-03-01T14:30:00Z"), at("2026-03-01T15:40:01.5+01:00")).unwrap();
        let name = file_name(&"town/place-2".parse().unwrap(), covers);
        assert_eq!(name, "place-2_20260301T143000Z_20260301T144001Z.mp4");
    }
}
