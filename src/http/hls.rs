//! HLS (RFC 8216): playlists, and the stored bytes that they name.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use catalogue::Sight;
use jiff::Timestamp;
use journal::entry::Access;
use serde::Deserialize;

use super::clip::{FOOTAGE_HOLES, handed_out, holes_header};
use super::params::{CameraPath, Instant, PackPath, SegmentPath, StrictQuery, range};
use super::problem::Problem;
use super::scope::{TenantScope, filmed_at, recorded};
use super::{IMMUTABLE, LIVE, Service};
use crate::retrieve::hls::{self, Tracks};
use crate::retrieve::mp4::CLIP_HOURS_MAX;
use footage::units::{Ticks90k, TimeRange, WallTime};

/// Footage this recent belongs to the live view that its viewer has open.
const LIVE_WITHIN: Ticks90k = Ticks90k(120 * 90_000);

/// A segment that is no longer may lie partly outside of what is permitted.
const ON_EDGE_MAX: Ticks90k = Ticks90k(15 * 90_000);

/// RFC 8216 §4.
const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// Which tracks are handed out. A playlist names init and media segments with the same choice.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TracksWord {
    /// Video, and sound where it is recorded.
    #[default]
    All,
    /// Video alone, for players that cannot decode the sound: browsers know AAC and no G.711.
    Video,
}

impl From<TracksWord> for Tracks {
    fn from(word: TracksWord) -> Self {
        match word {
            TracksWord::All => Self::All,
            TracksWord::Video => Self::Video,
        }
    }
}

/// Which tracks.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TracksQuery {
    #[serde(default)]
    #[param(inline)]
    tracks: TracksWord,
}

/// Which range, and which tracks.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VodQuery {
    /// First instant, RFC 3339 with offset.
    #[param(value_type = String, format = DateTime)]
    start: Instant,
    /// First instant after, RFC 3339 with offset.
    #[param(value_type = String, format = DateTime)]
    end: Instant,
    #[serde(default)]
    #[param(inline)]
    tracks: TracksWord,
}

fn playlist(text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(PLAYLIST)), (header::CACHE_CONTROL, LIVE)], text).into_response()
}

/// What is being recorded now, as an HLS playlist: ask again each second or two.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/hls/live.m3u8", tag = "footage",
    params(("camera" = String, Path, description = "Camera id"), TracksQuery),
    responses(
        (status = OK, content_type = "application/vnd.apple.mpegurl", body = String),
        (status = BAD_REQUEST), (status = NOT_FOUND)
    )
)]
pub(super) async fn live(
    scope: TenantScope,
    CameraPath(key): CameraPath,
    StrictQuery(TracksQuery { tracks }): StrictQuery<TracksQuery>,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let access = service.permit(&scope, &key.camera, Access::Live, Sight::Live).await?;
    let text = hls::live_playlist(service.footage(), &key).await?;
    // The segments that it names are its: see `segment`.
    drop(service.begin(&scope, access).await?);
    Ok(playlist(Tracks::from(tracks).of_playlist(text)))
}

/// A past time range as an HLS playlist, gaps as discontinuities.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/hls/vod.m3u8", tag = "footage",
    params(("camera" = String, Path, description = "Camera id"), VodQuery),
    responses(
        (status = OK, content_type = "application/vnd.apple.mpegurl", body = String),
        (status = BAD_REQUEST), (status = NOT_FOUND), (status = GONE), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn vod(
    scope: TenantScope,
    CameraPath(key): CameraPath,
    StrictQuery(query): StrictQuery<VodQuery>,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let range = range(query.start, query.end, CLIP_HOURS_MAX)?;
    service.permit(&scope, &key.camera, Access::Playback, recorded(range)).await?;
    let vod = hls::vod_playlist(service.footage(), &key, range).await?;
    let mut response = playlist(Tracks::from(query.tracks).of_playlist(vod.text));
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
        TracksQuery,
    ),
    responses((status = OK, content_type = "video/mp4", body = Vec<u8>), (status = BAD_REQUEST), (status = NOT_FOUND))
)]
pub(super) async fn init(
    CameraPath(key): CameraPath,
    PackPath(pack): PackPath,
    StrictQuery(TracksQuery { tracks }): StrictQuery<TracksQuery>,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let bytes = hls::init_segment(service.footage(), &key, pack, tracks.into()).await?;
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4")), (header::CACHE_CONTROL, IMMUTABLE)];
    Ok((headers, Body::from(bytes)).into_response())
}

/// Fragments of a pack, byte for byte; of video alone, the same samples at the same times.
#[utoipa::path(
    get, path = "/api/cameras/{camera}/hls/{pack}/{segment}", tag = "footage",
    params(
        ("camera" = String, Path, description = "Camera id"),
        ("pack" = String, Path, description = "Pack id, from a playlist"),
        ("segment" = String, Path, description = "First and last fragment", example = "12-15.m4s"),
        TracksQuery,
    ),
    responses(
        (status = OK, content_type = "video/iso.segment", body = Vec<u8>),
        (status = BAD_REQUEST), (status = NOT_FOUND), (status = GONE), (status = SERVICE_UNAVAILABLE)
    )
)]
pub(super) async fn segment(
    scope: TenantScope,
    CameraPath(key): CameraPath,
    PackPath(pack): PackPath,
    SegmentPath { first, last }: SegmentPath,
    StrictQuery(TracksQuery { tracks }): StrictQuery<TracksQuery>,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let media = hls::media_segment(service.footage(), &key, pack, first..=last, tracks.into()).await?;
    let is_live = media.filmed.is_some_and(|filmed| is_live(filmed, service.footage().clock.wall()));
    let live = scope.may_see(&key.camera, Access::Live, Sight::Live).ok();
    let live = live.filter(|live| is_live && service.journals().goes_on(scope.tenant(), live));
    let access = match live {
        Some(live) => live,
        None => {
            let may = |sight: Sight| scope.may_see(&key.camera, Access::Playback, sight).ok();
            match media.filmed.and_then(|filmed| sights(filmed).into_iter().find_map(may)) {
                Some(access) => access,
                // Of what has no time it is not known how old it is.
                None => {
                    let ever = Sight::Recorded { from: Timestamp::MIN, to: Timestamp::MAX };
                    let sight = media.filmed.map_or(ever, recorded);
                    service.permit(&scope, &key.camera, Access::Playback, sight).await?
                }
            }
        }
    };
    let accessing = service.begin(&scope, access).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("video/iso.segment")),
        (header::CONTENT_LENGTH, HeaderValue::from(media.len)),
        (header::CACHE_CONTROL, IMMUTABLE),
    ];
    Ok((headers, handed_out(media.body, accessing, 0, move |_| media.filmed)).into_response())
}

/// What of a segment has to be permitted: all of it, or its begin or its end where it is short. A playlist of exactly the permitted
/// range names segments that lie on its edges.
fn sights(filmed: TimeRange) -> Vec<Sight> {
    let last = filmed.end().saturating_sub(Ticks90k(1));
    match filmed.duration() <= ON_EDGE_MAX {
        true => vec![recorded(filmed), filmed_at(filmed.start()), filmed_at(last)],
        false => vec![recorded(filmed)],
    }
}

/// Whether all of it is recent: a segment may begin as far back as its pack does.
fn is_live(filmed: TimeRange, now: WallTime) -> bool {
    filmed.start() >= now.saturating_sub(LIVE_WITHIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_segment_on_the_edge_of_what_is_permitted_is_judged_by_either_end() {
        let at = |s: &str| s.parse::<WallTime>().unwrap();
        let filmed = |end: &str| TimeRange::new(at("2026-03-01T12:00:00Z"), at(end)).unwrap();
        let short = filmed("2026-03-01T12:00:15Z");
        let last = short.end().saturating_sub(Ticks90k(1));
        assert_eq!(sights(short), [recorded(short), filmed_at(short.start()), filmed_at(last)]);
        let long = filmed("2026-03-01T12:00:15.1Z");
        assert_eq!(sights(long), [recorded(long)]);
    }

    #[test]
    fn a1_a_segment_that_begins_long_ago_is_no_live_view_however_recent_its_end() {
        let at = |s: &str| s.parse::<WallTime>().unwrap();
        let now = at("2026-03-01T12:00:00Z");
        let filmed = |start: &str| TimeRange::new(at(start), at("2026-03-01T11:59:59Z")).unwrap();
        assert!(is_live(filmed("2026-03-01T11:58:00Z"), now));
        assert!(!is_live(filmed("2026-03-01T11:57:59Z"), now));
        assert!(!is_live(filmed("2026-03-01T11:00:00Z"), now), "an hour of the pack that is being written");
    }
}
