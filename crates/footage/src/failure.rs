//! What an error means for its caller, whatever module it comes from: one of few kinds.
//!
//! HTTP status, exit code of the command and level in the log follow from the kind, each in one place.

use std::io;

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing is wrong with the request: the same again, later, may work.
    Retry,
    /// The request, or the configuration, is wrong: another one has to be made.
    Invalid,
    /// What is asked for is not there.
    NotFound,
    /// Bytes are damaged, or missing where they must be.
    Corrupt,
    /// No room: a disk, a share or a limit is used up.
    Full,
    /// Credentials, permissions or keys are refused, or missing.
    Denied,
    /// The state does not allow it: something else is in the way.
    Conflict,
    /// A fault of the gateway or of its machine: the log says more.
    Internal,
}

/// An error that knows its kind. Every public error does.
pub trait Failure: std::error::Error {
    /// What it means for the caller.
    fn kind(&self) -> Kind;
}

/// Logs a failure, at the level of its kind: what heals by itself warns, what the caller asked wrongly is for debugging.
pub fn log(kind: Kind, error: &str, what: &str) {
    match kind {
        Kind::Invalid | Kind::NotFound => tracing::debug!(%error, "{what}"),
        Kind::Retry | Kind::Conflict => tracing::warn!(%error, "{what}"),
        Kind::Corrupt | Kind::Full | Kind::Denied | Kind::Internal => tracing::error!(%error, "{what}"),
    }
}

impl<E: Failure> Failure for &E {
    fn kind(&self) -> Kind {
        (**self).kind()
    }
}

impl Failure for io::Error {
    fn kind(&self) -> Kind {
        match io::Error::kind(self) {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Denied,
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::AlreadyExists | io::ErrorKind::AddrInUse => Kind::Conflict,
            io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Kind::Retry,
            io::ErrorKind::InvalidInput => Kind::Invalid,
            _ => Kind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_has_a_kind() {
        let check = |kind: io::ErrorKind, expect| assert_eq!(Failure::kind(&io::Error::from(kind)), expect, "{kind:?}");
        check(io::ErrorKind::StorageFull, Kind::Full);
        check(io::ErrorKind::PermissionDenied, Kind::Denied);
        check(io::ErrorKind::NotFound, Kind::NotFound);
        check(io::ErrorKind::AddrInUse, Kind::Conflict);
        check(io::ErrorKind::TimedOut, Kind::Retry);
        check(io::ErrorKind::Other, Kind::Internal);
    }
}
