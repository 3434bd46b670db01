//! HLS (RFC 8216): playlists, and the stored bytes that they name.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::clip::{FOOTAGE_HOLES, holes_header, streamed};
use super::params::{CameraPath, PackPath, RangeQuery, SegmentPath, StrictQuery};
use super::problem::Problem;
use super::{IMMUTABLE, LIVE, Service};
use crate::retrieve::hls;
use crate::retrieve::mp4::CLIP_HOURS_MAX;

/// RFC 8216 §4.
const PLAYLIST: &str = "application/vnd.apple.mpegurl";

fn playlist(text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(PLAYLIST)), (header::CACHE_CONTROL, LIVE)], text).into_response()
}

/// What is being recorded now, as an HLS playlist: ask again each second or two.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/hls/live.m3u8", tag = "footage",
    params(("camera" = String, Path, description = "Camera id")),
    responses((status = OK, content_type = "application/vnd.apple.mpegurl", body = String), (status = NOT_FOUND))
)]
pub(super) async fn live(CameraPath(key): CameraPath, State(service): State<Service>) -> Result<Response, Problem> {
    Ok(playlist(hls::live_playlist(service.footage(), &key).await?))
}

/// A past time range as an HLS playlist, gaps as discontinuities.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/hls/vod.m3u8", tag = "footage",
    params(("camera" = String, Path, description = "Camera id"), RangeQuery),
    responses(
        (status = OK, content_type = "application/vnd.apple.mpegurl", body = String),
        (status = BAD_REQUEST), (status = NOT_FOUND), (status = GONE), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn vod(
    CameraPath(key): CameraPath,
    StrictQuery(between): StrictQuery<RangeQuery>,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let range = between.range(CLIP_HOURS_MAX)?;
    let vod = hls::vod_playlist(service.footage(), &key, range).await?;
    let mut response = playlist(vod.text);
    if let Some(holes) = holes_header(&vod.holes) {
        response.headers_mut().insert(FOOTAGE_HOLES, holes);
    }
    Ok(response)
}

/// A pack's initialisation segment.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/hls/{pack}/init.mp4", tag = "footage",
    params(
        ("camera" = String, Path, description = "Camera id"),
        ("pack" = String, Path, description = "Pack id, from a playlist"),
    ),
    responses((status = OK, content_type = "video/mp4", body = Vec<u8>), (status = NOT_FOUND))
)]
pub(super) async fn init(
    CameraPath(key): CameraPath,
    PackPath(pack): PackPath,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let bytes = hls::init_segment(service.footage(), &key, pack).await?;
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4")), (header::CACHE_CONTROL, IMMUTABLE)];
    Ok((headers, Body::from(bytes)).into_response())
}

/// Fragments of a pack, byte for byte.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/hls/{pack}/{segment}", tag = "footage",
    params(
        ("camera" = String, Path, description = "Camera id"),
        ("pack" = String, Path, description = "Pack id, from a playlist"),
        ("segment" = String, Path, description = "First and last fragment", example = "12-15.m4s"),
    ),
    responses(
        (status = OK, content_type = "video/iso.segment", body = Vec<u8>),
        (status = BAD_REQUEST), (status = NOT_FOUND), (status = GONE), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn segment(
    CameraPath(key): CameraPath,
    PackPath(pack): PackPath,
    segment: SegmentPath,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let media = hls::media_segment(service.footage(), &key, pack, segment.first, segment.last).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("video/iso.segment")),
        (header::CONTENT_LENGTH, HeaderValue::from(media.len)),
        (header::CACHE_CONTROL, IMMUTABLE),
    ];
    Ok((headers, streamed(media.body)).into_response())
}
