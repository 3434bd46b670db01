//! Why a step of the desk was not done, and what kind of failure that is.

use std::io;

use crate::hold::HoldError;
use crate::index::IndexError;
use crate::journals::NoEntry;
use crate::presence::PresenceError;
use footage::failure::{Failure, Kind};
use footage::units::{RequestId, TenantId};

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// It cannot be done as asked; says what to ask.
    #[error("{0}")]
    Invalid(String),
    /// The state of the request does not allow it; says what does.
    #[error("{0}")]
    NotNow(String),
    /// Who prepared it may not release it.
    #[error("what one person prepared is released by another, both designated by name")]
    SamePerson,
    /// An open request asks for the same.
    #[error("request {0} asks for the same footage by the same procedure: carry that one on")]
    Double(RequestId),
    /// The tenant has no such request.
    #[error("no request {0}")]
    NoRequest(RequestId),
    /// The request has no such scan.
    #[error("no scan {1} of request {0}")]
    NoScan(RequestId, u32),
    /// The gateway's key is missing: nothing is encrypted under its substitute.
    #[error("the gateway's key is missing: put it back first")]
    NoKey,
    /// The tenant is not configured.
    #[error("tenant {0} is not configured")]
    NoTenant(TenantId),
    /// A hold cannot be placed.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// What there is cannot be said.
    #[error(transparent)]
    Presence(#[from] PresenceError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The journal takes no entry.
    #[error(transparent)]
    NoEntry(#[from] NoEntry),
    /// The disk failed.
    #[error("the files of requests: {0}")]
    Io(#[from] io::Error),
    /// A file is not what was written.
    #[error("the file of request {0} is damaged")]
    Damaged(RequestId),
    /// The work ended badly.
    #[error("the work on a request ended badly")]
    CutOff,
}

impl Failure for DeskError {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::NotNow(_) | Self::Double(_) => Kind::Conflict,
            Self::SamePerson | Self::NoKey => Kind::Denied,
            Self::NoRequest(_) | Self::NoScan(..) | Self::NoTenant(_) => Kind::NotFound,
            Self::Hold(error) => error.kind(),
            Self::Presence(PresenceError::NoCamera(_)) => Kind::NotFound,
            Self::Presence(PresenceError::TooMany) => Kind::Invalid,
            Self::Presence(PresenceError::Index(error)) | Self::Index(error) => error.kind(),
            Self::NoEntry(error) => error.kind(),
            Self::Io(error) if error.kind() == io::ErrorKind::StorageFull => Kind::Full,
            Self::Io(_) | Self::CutOff => Kind::Internal,
            Self::Damaged(_) => Kind::Corrupt,
        }
    }
}
