//! Errors to `application/problem+json` (RFC 9457), in this one place.
//!
//! Invariant: what a problem says is about the request and the footage. Paths, store addresses and error chains go to
//! the log and never into an answer.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::archive::ReadError;
use crate::index::IndexError;
use crate::journals::NoEntry;
use crate::retrieve::RetrieveError;
use footage::failure::{Failure, Kind};

/// RFC 9457 §6.1.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Longest `detail` and `instance`, in characters: both can repeat what a client sent.
const TEXT_CHARS_MAX: usize = 400;

/// What kind of problem: fixes the status, the type and the title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProblemKind {
    InvalidRequest,
    Unauthorized,
    SignedOut,
    NotPermitted,
    ReasonMissing,
    NotFound,
    NoCamera,
    NoFootage,
    NoHold,
    NoExport,
    NoRequest,
    MethodNotAllowed,
    PreconditionFailed,
    BodyTooLarge,
    RangeNotSatisfiable,
    ForeignHost,
    Lost,
    SeveralParts,
    NoRoom,
    Conflict,
    Internal,
    NoPicture,
    Unavailable,
    TimedOut,
    /// Try again after so many seconds.
    TooMany(u32),
}

/// The status of a failure below HTTP. What the operator has to see to is no fault of the client's: 503, try again.
fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Corrupt => StatusCode::GONE,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Retry | Kind::Denied => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl ProblemKind {
    fn facts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidRequest => (status_of(Kind::Invalid), "invalid-request", "The request is not valid"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "Credentials are needed"),
            Self::SignedOut => (StatusCode::UNAUTHORIZED, "signed-out", "Nobody is signed in"),
            Self::NotPermitted => (StatusCode::FORBIDDEN, "not-permitted", "You may not do this"),
            Self::ReasonMissing => (StatusCode::FORBIDDEN, "reason-missing", "A reason is asked for"),
            Self::NotFound => (status_of(Kind::NotFound), "not-found", "There is nothing here"),
            Self::NoCamera => (status_of(Kind::NotFound), "no-camera", "There is no such camera"),
            Self::NoFootage => (status_of(Kind::NotFound), "no-footage", "There is no footage at that time"),
            Self::NoHold => (status_of(Kind::NotFound), "no-hold", "There is no such hold"),
            Self::NoExport => (status_of(Kind::NotFound), "no-export", "There is no such export"),
            Self::NoRequest => (status_of(Kind::NotFound), "no-request", "There is no such request"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed here")
            }
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "precondition-failed", "The footage is not the one expected")
            }
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The request has too large a body"),
            Self::RangeNotSatisfiable => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "The range lies beyond the end")
            }
            Self::ForeignHost => (StatusCode::MISDIRECTED_REQUEST, "foreign-host", "The host name is not accepted"),
            Self::Lost => (status_of(Kind::Corrupt), "footage-lost", "The footage is missing or damaged"),
            Self::SeveralParts => (status_of(Kind::Conflict), "several-parts", "The footage is more than one file"),
            Self::Internal => (status_of(Kind::Internal), "internal", "The gateway failed"),
            Self::NoRoom => (status_of(Kind::Full), "no-room", "The gateway has no room"),
            Self::Conflict => (status_of(Kind::Conflict), "conflict", "Something else is in the way"),
            Self::NoPicture => (status_of(Kind::Internal), "no-picture", "No picture could be decoded"),
            Self::Unavailable => (status_of(Kind::Retry), "unavailable", "The footage cannot be read now"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many requests"),
            Self::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "timed-out", "The answer took too long"),
        }
    }

    /// Whether trying again later may help, and after how many seconds.
    fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::Unavailable | Self::TimedOut => Some(10),
            Self::TooMany(seconds) => Some(seconds),
            _ => None,
        }
    }
}

/// A problem on its way to the client: an empty response that carries it, which [`Problem::render`] fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    kind: ProblemKind,
    detail: String,
    /// What the log says of it.
    cause: Option<Cause>,
}

/// What lies behind a problem: for the log alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cause {
    kind: Kind,
    error: String,
}

/// A problem as RFC 9457 §3.1 has it.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(title = "Problem")]
pub(super) struct ProblemDetails {
    /// What kind of problem: a stable name, not an address.
    #[serde(rename = "type")]
    #[schema(example = "urn:vigie:problem:no-footage")]
    kind: String,
    /// The kind, for people.
    title: &'static str,
    /// HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What happened here and what to do.
    detail: String,
    /// Path of the request.
    instance: String,
}

impl Problem {
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: shortened(&detail.into()), cause: None }
    }

    pub(super) fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Of a failure below HTTP: its kind chooses the problem, and the log gets its text, not the client.
    pub(super) fn of(error: &impl Failure, detail: impl Into<String>) -> Self {
        let problem = match error.kind() {
            Kind::Invalid => ProblemKind::InvalidRequest,
            Kind::NotFound => ProblemKind::NotFound,
            Kind::Corrupt => ProblemKind::Lost,
            Kind::Conflict => ProblemKind::Conflict,
            Kind::Retry | Kind::Denied => ProblemKind::Unavailable,
            Kind::Full => ProblemKind::NoRoom,
            Kind::Internal => ProblemKind::Internal,
        };
        Self::new(problem, detail).because(error)
    }

    /// The same, with what the log says of it.
    fn because(self, error: &impl Failure) -> Self {
        Self { cause: Some(Cause { kind: error.kind(), error: error.to_string() }), ..self }
    }

    /// More than is granted; more is after this time.
    pub(super) fn too_many(wait: std::time::Duration, detail: &'static str) -> Self {
        let seconds = u32::try_from(wait.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX);
        Self::new(ProblemKind::TooMany(seconds.max(1)), detail)
    }

    /// The request cannot be answered as put.
    pub(super) fn invalid(detail: impl std::fmt::Display) -> Self {
        Self::new(ProblemKind::InvalidRequest, detail.to_string())
    }

    /// Gives a response that carries a problem its body; leaves any other as it is.
    pub(super) fn render(mut response: Response, instance: &str) -> Response {
        let Some(Self { kind, detail, .. }) = response.extensions_mut().remove::<Self>() else {
            return response;
        };
        let (status, slug, title) = kind.facts();
        let details = ProblemDetails {
            kind: format!("urn:vigie:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail,
            instance: shortened(instance),
        };
        let (mut parts, body) = Json(details).into_response().into_parts();
        parts.status = status;
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        parts.headers.extend(response.into_parts().0.headers.into_iter().filter_map(|(k, v)| k.map(|k| (k, v))));
        Response::from_parts(parts, body)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Some(Cause { kind, error }) = &self.cause {
            footage::failure::log(*kind, error, "a request failed");
        }
        let mut response = self.kind.facts().0.into_response();
        if let Some(seconds) = self.kind.retry_after_s() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.kind == ProblemKind::Unauthorized {
            let challenge = HeaderValue::from_static("Basic realm=\"Vigie\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        // A scheme of our own (RFC 9110 §11.6.1 wants one): that of a page, for which no browser opens a window.
        if self.kind == ProblemKind::SignedOut {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Session"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<&RetrieveError> for Problem {
    fn from(error: &RetrieveError) -> Self {
        match error {
            RetrieveError::NoCamera(key) => {
                Self::new(ProblemKind::NoCamera, format!("no camera {}: GET /api/cameras lists them", key.camera))
            }
            RetrieveError::NoFootage { camera, range } => Self::new(
                ProblemKind::NoFootage,
                format!(
                    "camera {} has no footage from {} to {}: its timeline shows what there is and why",
                    camera.camera,
                    range.start(),
                    range.end()
                ),
            ),
            RetrieveError::SeveralParts { camera, parts } => {
                let (last, sizes) = (parts.len(), parts.iter().take(4).map(|part| part.in_words()));
                let sizes = sizes.collect::<Vec<_>>().join(", then ");
                Self::new(
                    ProblemKind::SeveralParts,
                    format!(
                        "no one decoder plays what camera {} recorded there ({sizes}): add part=1 to part={last} to the query                          for one file each; clip.json with the same query lists them",
                        camera.camera
                    ),
                )
            }
            RetrieveError::Lost { camera, range, holes } => {
                let why: std::collections::BTreeSet<_> = holes.iter().map(|hole| hole.why.as_str()).collect();
                let why = why.into_iter().collect::<Vec<_>>().join(", ");
                let detail = format!(
                    "what camera {} recorded from {} to {} cannot be handed out ({why}): the packs are checked now, and the \
                     timeline shows what is left",
                    camera.camera,
                    range.start(),
                    range.end()
                );
                Self::of(error, detail)
            }
            RetrieveError::Invalid(what) => Self::invalid(what),
            RetrieveError::Index(error) => error.into(),
            RetrieveError::Read(error) => error.into(),
            RetrieveError::PictureTooLarge { .. } => Self::new(ProblemKind::NoPicture, error.to_string()),
            RetrieveError::Decoder(_) => {
                let detail = "the footage is there, its picture could not be decoded: see the gateway's log";
                Self::new(ProblemKind::NoPicture, detail).because(error)
            }
        }
    }
}

impl From<&IndexError> for Problem {
    fn from(error: &IndexError) -> Self {
        match error {
            IndexError::Stopped => Self::of(error, "the gateway is stopping: try again in a moment"),
            _ => Self::new(ProblemKind::Internal, "the index could not be read: see the gateway's log").because(error),
        }
    }
}

impl From<&ReadError> for Problem {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::NotFound(pack) => {
                let detail = format!("pack {pack} is not there: it was destroyed since it was named, or is missing");
                Self::new(ProblemKind::NoFootage, detail).because(error)
            }
            ReadError::Pack(_) => Self::of(error, "the footage on record cannot be read: `vigie fsck` tells how far"),
            ReadError::Store { .. } => {
                let detail = "the object store does not answer: recording goes on, try again later";
                Self::new(ProblemKind::Unavailable, detail).because(error)
            }
            ReadError::WrittenAnew(_) => Self::of(error, "the footage was moved while it was read: ask again"),
            ReadError::Index(error) => error.into(),
            ReadError::Io { .. } => {
                Self::new(ProblemKind::Internal, "the gateway's disk failed to read: see its log").because(error)
            }
        }
    }
}

/// Whatever is wrong with the journal, it is the operator's to put right: no path and no number goes out.
impl From<NoEntry> for Problem {
    fn from(error: NoEntry) -> Self {
        let detail = "the journal of accesses takes no entry, and without one no footage is handed out: the gateway's log \
                      says why";
        Self::new(ProblemKind::Unavailable, detail).because(&error)
    }
}

impl From<RetrieveError> for Problem {
    fn from(error: RetrieveError) -> Self {
        (&error).into()
    }
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Self {
        (&error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use footage::pack::PackError;
    use footage::units::PackId;

    async fn rendered(problem: Problem) -> (StatusCode, String) {
        let response = Problem::render(problem.into_response(), "/api/x");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn no_problem_repeats_a_path_or_an_address_of_the_gateway() {
        let secret = "/var/lib/vigie/secret-place";
        let io = || std::io::Error::other(secret);
        let pack = PackId([7; 16]);
        let store = || object_store::Error::Generic { store: "S3", source: secret.into() };
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let cases: [(RetrieveError, u16); 7] = [
            (ReadError::Pack(PackError::Io { pack, source: full() }).into(), 507),
            (ReadError::Io { pack, source: io() }.into(), 500),
            (ReadError::Store { pack, source: store() }.into(), 503),
            (ReadError::Pack(PackError::Malformed { offset: 3, what: secret.into() }).into(), 410),
            (ReadError::Pack(PackError::Io { pack, source: io() }).into(), 500),
            (IndexError::Corrupt(secret.into()).into(), 500),
            (RetrieveError::Decoder(secret.into()), 500),
        ];
        for (error, want) in cases {
            let shown = format!("{error:?}");
            let (status, body) = rendered(Problem::from(error)).await;
            assert_eq!(status.as_u16(), want, "{shown}");
            assert!(!body.contains("secret-place"), "{body}");
        }
    }

    #[tokio::test]
    async fn what_can_be_tried_again_says_when() {
        for kind in [ProblemKind::Unavailable, ProblemKind::TimedOut] {
            let response = Problem::render(Problem::new(kind, "x").into_response(), "/");
            assert!(response.headers().contains_key(header::RETRY_AFTER), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn an_endless_text_is_cut() {
        let (_, body) = rendered(Problem::invalid("é".repeat(100_000))).await;
        assert!(body.len() < 2_000);
    }
}
