//! What can go wrong with a store, and what that means for its caller.

use std::path::PathBuf;

use object_store::Error as ObjectError;

use super::identity::NotKnown;
use footage::failure::{Failure, Kind};

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no store that Vigie can open.
    #[error("store {url}: {what}")]
    Unusable {
        /// As configured; it has no credentials in it.
        url: String,
        /// What is wrong, and what to write instead.
        what: String,
    },
    /// A request failed: try again later.
    #[error("store: {0}")]
    Request(#[from] object_store::Error),
    /// A local file could not be read or moved.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not the store that the index knows: nothing is sent there.
    #[error(transparent)]
    NotKnown(#[from] NotKnown),
    /// Somebody waits to delete the pack: it is not sent.
    #[error("the pack is to be deleted: it is not sent")]
    GivenUp,
    /// The store took the object and hands back other bytes: it is not counted as stored.
    #[error(
        "object {object}: the store hands back other bytes than were sent, between {from} and {until}; see to the store before anything else"
    )]
    BytesDiffer {
        /// Which object.
        object: String,
        /// First byte of the stretch that differs.
        from: u64,
        /// Its end.
        until: u64,
    },
    /// The store took the object and shows another size: it is not counted as stored.
    #[error("object {object} has {got} bytes in the store, {want} were sent")]
    SizeDiffers {
        /// Which object.
        object: String,
        /// Bytes sent.
        want: u64,
        /// Bytes that the store shows.
        got: u64,
    },
}

impl Failure for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unusable { .. } => Kind::Invalid,
            Self::Request(error) => request_kind(error),
            Self::Io { source, .. } => Failure::kind(source),
            Self::NotKnown(error) => error.kind(),
            Self::GivenUp => Kind::Conflict,
            Self::BytesDiffer { .. } | Self::SizeDiffers { .. } => Kind::Corrupt,
        }
    }
}

/// What a failed request to an object store means.
pub fn request_kind(error: &ObjectError) -> Kind {
    match error {
        ObjectError::NotFound { .. } => Kind::NotFound,
        ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. } => Kind::Denied,
        ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. } => Kind::Conflict,
        ObjectError::InvalidPath { .. } | ObjectError::NotSupported { .. } | ObjectError::NotImplemented { .. } => {
            Kind::Invalid
        }
        ObjectError::Generic { source, .. } => source.downcast_ref::<NotKnown>().map_or(Kind::Retry, Failure::kind),
        // The network, or the server.
        _ => Kind::Retry,
    }
}

impl StoreError {
    /// The store is there and does not let us in: nothing gets better by waiting.
    pub fn refuses_credentials(&self) -> bool {
        matches!(
            self,
            Self::Request(ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. })
                | Self::NotKnown(NotKnown::Refused { .. })
        )
    }

    /// The store does not keep what it is sent.
    pub fn lies(&self) -> bool {
        matches!(self, Self::BytesDiffer { .. } | Self::SizeDiffers { .. })
    }
}
