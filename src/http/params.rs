//! What requests name: cameras, packs, times. Everything is parsed here, and refused with what would have been right.

use std::str::FromStr;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::problem::Problem;
use super::requests::ScanNumber;
use super::scope::TenantScope;
use crate::event::words::Language;
use crate::inspection::tables::Table;
use catalogue::{GrantId, TokenId};
use footage::units::{
    CameraId, CameraKey, ExportId, HoldId, PackId, PersonId, ProviderId, RequestId, Ticks90k, TimeRange, WallTime,
};

/// The camera of the path, inside the tenant's own scope.
pub(super) struct CameraPath(pub(super) CameraKey);

impl<S: Sync> FromRequestParts<S> for CameraPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let scope = TenantScope::from_request_parts(parts, state).await?;
        let camera: CameraId = path_param(parts, "camera").await?;
        Ok(Self(scope.camera(camera)))
    }
}

/// The pack of the path.
pub(super) struct PackPath(pub(super) PackId);

impl<S: Sync> FromRequestParts<S> for PackPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        path_param(parts, "pack").await.map(Self)
    }
}

/// The hold of the path.
pub(super) struct HoldPath(pub(super) HoldId);

impl<S: Sync> FromRequestParts<S> for HoldPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        path_param(parts, "hold").await.map(Self)
    }
}

/// The export of the path.
pub(super) struct ExportPath(pub(super) ExportId);

impl<S: Sync> FromRequestParts<S> for ExportPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        path_param(parts, "export").await.map(Self)
    }
}

/// The person of the path.
pub(super) struct PersonPath(pub(super) PersonId);

impl<S: Sync> FromRequestParts<S> for PersonPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        path_param(parts, "person").await.map(Self)
    }
}

/// The request of the path.
pub(super) struct RequestPath(pub(super) RequestId);

impl<S: Sync> FromRequestParts<S> for RequestPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        path_param(parts, "request").await.map(Self)
    }
}

/// A scan of a request.
pub(super) struct ScanPath(pub(super) ScanNumber);

impl<S: Sync> FromRequestParts<S> for ScanPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        path_param(parts, "scan").await.map(Self)
    }
}

/// The identity provider of the path.
pub(super) struct ProviderPath(pub(super) ProviderId);

impl<S: Sync> FromRequestParts<S> for ProviderPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        path_param(parts, "provider").await.map(Self)
    }
}

/// A person's token.
pub(super) struct TokenPath(pub(super) TokenId);

impl<S: Sync> FromRequestParts<S> for TokenPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        path_param(parts, "token").await.map(Self)
    }
}

/// A person's grant.
pub(super) struct GrantPath(pub(super) GrantId);

impl<S: Sync> FromRequestParts<S> for GrantPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        path_param(parts, "grant").await.map(|id| Self(GrantId(id)))
    }
}

/// A table of an inspection: `{name}.csv`.
pub(super) struct TablePath(pub(super) Table);

impl<S: Sync> FromRequestParts<S> for TablePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let name: String = path_param(parts, "table").await?;
        let table = name.strip_suffix(".csv").ok_or_else(|| Problem::invalid("a table is named {name}.csv"))?;
        table.parse().map(Self).map_err(|error: String| Problem::invalid(error))
    }
}

/// A stretch of a pack's fragments, both ends included: `{first}-{last}.m4s`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SegmentPath {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl FromStr for SegmentPath {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
        name.strip_suffix(".m4s")
            .and_then(|range| range.split_once('-'))
            .and_then(|(first, last)| Some(Self { first: number(first)?, last: number(last)? }))
            .filter(|segment| segment.first <= segment.last)
            .ok_or("a media segment is named {first}-{last}.m4s, as in 12-15.m4s")
    }
}

impl<S: Sync> FromRequestParts<S> for SegmentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        path_param(parts, "segment").await
    }
}

async fn path_param<T: FromStr<Err: std::fmt::Display>>(parts: &mut Parts, name: &str) -> Result<T, Problem> {
    let params = RawPathParams::from_request_parts(parts, &()).await.map_err(Problem::invalid)?;
    let text = params.iter().find_map(|(n, text)| (n == name).then_some(text)).unwrap_or_default();
    text.parse().map_err(Problem::invalid)
}

/// The query, whole and known: a parameter that is missing, repeated, misspelt or malformed is refused.
pub(super) struct StrictQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for StrictQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(query) = Query::try_from_uri(&parts.uri).map_err(|e| Problem::invalid(e.body_text()))?;
        Ok(Self(query))
    }
}

/// The language that the client asks for with `Accept-Language`.
pub(super) struct Spoken(pub(super) Language);

impl<S: Sync> FromRequestParts<S> for Spoken {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let header = parts.headers.get(axum::http::header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Ok(Self(header.map_or_else(Language::default, Language::accepted)))
    }
}

/// An instant, as RFC 3339.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instant(pub(super) WallTime);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map(Self).map_err(|error| {
            // The commonest mistake: '+' means a space in a query.
            let advice = if text.get(10..).is_some_and(|t| t.contains(' ')) { "; write '+' as %2B" } else { "" };
            serde::de::Error::custom(format!("{error}{advice}"))
        })
    }
}

/// A range of time.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RangeQuery {
    /// First instant, RFC 3339 with offset.
    #[param(value_type = String, format = DateTime, example = "2026-03-01T14:30:00Z")]
    start: Instant,
    /// First instant after, RFC 3339 with offset.
    #[param(value_type = String, format = DateTime, example = "2026-03-01T14:40:00Z")]
    end: Instant,
}

impl RangeQuery {
    pub(super) fn range(&self, hours_max: i64) -> Result<TimeRange, Problem> {
        range(self.start, self.end, hours_max)
    }
}

/// Refuses ranges that are empty, backwards or longer than `hours_max`.
pub(super) fn range(start: Instant, end: Instant, hours_max: i64) -> Result<TimeRange, Problem> {
    let (Instant(start), Instant(end)) = (start, end);
    let range = TimeRange::new(start, end)
        .ok_or_else(|| Problem::invalid(format!("start ({start}) must be before end ({end})")))?;
    let within = Ticks90k::from_seconds(hours_max * 3600).is_some_and(|max| range.duration() <= max);
    within.then_some(range).ok_or_else(|| Problem::invalid(format!("ask for at most {hours_max} hours at once")))
}

/// A body of JSON, whole and known: what is missing, misspelt or malformed is refused. A browser sends another site's
/// JSON to nobody without asking first, and nobody answers that here: so no page asks for anything behind an operator's back.
pub(super) struct StrictJson<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for StrictJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(reported) = Json::from_request(request, state).await.map_err(|e| {
            Problem::invalid(format!("{}; the body is JSON, with Content-Type: application/json", e.body_text()))
        })?;
        Ok(Self(reported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_are_two_numbers_in_order() {
        let check = |name: &str, want: Option<(u32, u32)>| {
            assert_eq!(name.parse::<SegmentPath>().ok().map(|s| (s.first, s.last)), want, "{name}");
        };
        check("0-0.m4s", Some((0, 0)));
        check("12-15.m4s", Some((12, 15)));
        for bad in ["", "1.m4s", "2-1.m4s", "+1-2.m4s", "1-2.mp4", "1-2", "-1-2.m4s", "1-4294967296.m4s", "-.m4s"] {
            check(bad, None);
        }
    }
}
