//! The source seam: where access units come from.
//!
//! Invariant: a session yields each received access unit once, in order, per track; it ends with an error that names
//! a [`GapCause`], or with `None` when there is nothing more (a replay's end). Errors never carry credentials.
//! Absent on purpose: retries. The recorder decides when to open the next session.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::future::BoxFuture;

use crate::clock::Reading;
use crate::failure::{Failure, Kind};
use crate::media::{AccessUnit, GapCause, OddityCounts, Params};
use crate::units::WallTime;

/// Why a session could not be opened, or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}: {detail}")]
pub struct SourceError {
    /// What the gap row will say.
    pub cause: GapCause,
    /// One line for people: what happened, and what to do where that is known. Never a credential.
    pub detail: String,
}

impl Failure for SourceError {
    fn kind(&self) -> Kind {
        match self.cause {
            GapCause::Unauthorized | GapCause::NotAuthorised => Kind::Denied,
            GapCause::UnsupportedMedia | GapCause::ProtocolError => Kind::Invalid,
            GapCause::DiskFull => Kind::Full,
            GapCause::WriteFailed | GapCause::Corrupt => Kind::Internal,
            GapCause::GatewayStopped
            | GapCause::GatewayCrashed
            | GapCause::ConnectFailed
            | GapCause::SetupTimeout
            | GapCause::Silent
            | GapCause::Disconnected
            | GapCause::PacketLoss
            | GapCause::ClockStep
            | GapCause::Reconfigured
            | GapCause::DiskSlow => Kind::Retry,
        }
    }
}

/// What a session yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A coded picture or an audio frame.
    AccessUnit(AccessUnit),
    /// The camera's own clock, from an RTCP sender report of the video stream (RFC 3550 §6.4.1).
    SenderReport {
        /// Extended RTP timestamp of the video stream, on the scale of [`AccessUnit::timestamp`].
        timestamp: i64,
        /// The camera's wall clock at that timestamp.
        camera_time: WallTime,
        /// When the report arrived.
        received: Reading,
    },
    /// What was odd about the stream since it was last said; once a second at most.
    Oddities(OddityCounts),
}

/// An open session: RTSP is playing.
pub struct Session {
    /// Sample descriptions of the first access units.
    pub params: Arc<Params>,
    /// What else the camera offers and is not recorded, for its page: `"audio pcma/8000"`, `"onvif metadata"`, …
    pub also_offered: Vec<String>,
    /// What is odd about how the camera describes itself and answers, for its page.
    pub odd: Vec<String>,
    /// When the camera's certificate, or one above it, ends to be valid and the next session will be refused; `None`
    /// without TLS, with a certificate whose dates do not matter, and where it is years from now.
    pub certificate_until: Option<WallTime>,
    /// Its items.
    pub items: Pin<Box<dyn Stream<Item = Result<Item, SourceError>> + Send>>,
}

/// Opens sessions with one camera.
pub trait Source: Send + Sync {
    /// Connects, describes, sets up and plays. Bounded in time by the source itself.
    fn open(&self) -> BoxFuture<'_, Result<Session, SourceError>>;
}
