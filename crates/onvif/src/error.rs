//! What goes wrong, as one line without credentials.

use footage::failure::{Failure, Kind};
use rtsp::TlsError;

/// Longest text of a device in an error, in characters.
const SAID_CHARS_MAX: usize = 160;

/// Why a device gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No TCP connection.
    #[error("no connection to {endpoint}: check that the device has power and network, and its ONVIF port ({reason})")]
    Connect {
        /// `host:port`.
        endpoint: String,
        /// What the system said.
        reason: String,
    },
    /// No TLS session.
    #[error("no trust in {endpoint}: {source}")]
    Tls {
        /// `host:port`.
        endpoint: String,
        /// Why.
        source: TlsError,
    },
    /// The time ran out.
    #[error("{endpoint} did not answer {request} within {seconds} s")]
    NoAnswer {
        /// `host:port`.
        endpoint: String,
        /// The operation.
        request: &'static str,
        /// Its time.
        seconds: f32,
    },
    /// The connection broke, or carried no HTTP.
    #[error("{endpoint} gave no answer to {request}: {reason}")]
    Ended {
        /// `host:port`.
        endpoint: String,
        /// The operation.
        request: &'static str,
        /// What the connection said.
        reason: String,
    },
    /// More bytes than any answer needs.
    #[error("{endpoint} answered {request} with more than {bytes_max} bytes")]
    TooLarge {
        /// `host:port`.
        endpoint: String,
        /// The operation.
        request: &'static str,
        /// The bound.
        bytes_max: usize,
    },
    /// No SOAP, or without what the operation has to answer.
    #[error("the answer of {endpoint} to {request} cannot be used: {why}")]
    Unusable {
        /// `host:port`.
        endpoint: String,
        /// The operation.
        request: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A status of HTTP without a fault of SOAP.
    #[error("{endpoint} answered {request} with the HTTP status {status}: check the path of its url")]
    Status {
        /// `host:port`.
        endpoint: String,
        /// The operation.
        request: &'static str,
        /// The status.
        status: u16,
    },
    /// Redirects are not followed: credentials would go with them.
    #[error("{endpoint} redirects {request} to {location}, which is not followed: set that url if it is right")]
    Moved {
        /// `host:port`.
        endpoint: String,
        /// The operation.
        request: &'static str,
        /// Scheme, host and port.
        location: String,
    },
    /// The device wants to know who asks, and there is nobody to name.
    #[error("the device asks for a user ({request}): set username and password")]
    NoUser {
        /// The operation.
        request: &'static str,
    },
    /// The device does not accept the user, or not for this.
    #[error(
        "the device refused user {user} ({request}): check username and password, and that ONVIF is on for this user{said}"
    )]
    Denied {
        /// Who.
        user: String,
        /// The operation.
        request: &'static str,
        /// What the device said, with a separator before it.
        said: String,
    },
    /// A fault of SOAP (SOAP 1.2 part 1 §5.4).
    #[error("the device answered {request} with the fault {code}: {reason}")]
    Fault {
        /// The operation.
        request: &'static str,
        /// Code and subcodes without their prefixes, as in `Sender/InvalidArgVal/NoProfile`.
        code: String,
        /// What it says.
        reason: String,
    },
    /// A service that the device does not name.
    #[error("the device offers no {service} service")]
    NoService {
        /// Which.
        service: &'static str,
    },
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Connect { .. } | Self::NoAnswer { .. } | Self::Ended { .. } => Kind::Retry,
            Self::Tls { .. } | Self::NoUser { .. } | Self::Denied { .. } => Kind::Denied,
            Self::TooLarge { .. } | Self::Unusable { .. } | Self::Moved { .. } => Kind::Invalid,
            Self::Status { status: 404, .. } | Self::NoService { .. } => Kind::NotFound,
            Self::Status { status: 500.., .. } => Kind::Retry,
            Self::Status { .. } => Kind::Invalid,
            Self::Fault { code, .. } if code.starts_with("Receiver") => Kind::Retry,
            Self::Fault { .. } => Kind::Invalid,
        }
    }
}

impl Error {
    /// The device does not know this operation: another one may do.
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::NoService { .. } | Self::Status { status: 404 | 405 | 501, .. } => true,
            Self::Fault { code, .. } => {
                let known = ["ActionNotSupported", "OptionalActionNotImplemented", "UnknownAction", "NoSuchService"];
                known.iter().any(|known| code.contains(known))
            }
            _ => false,
        }
    }
}

/// One line of at most so many characters, without control characters and without the secret: devices choose these texts.
pub(crate) fn presentable(text: &str, secret: Option<&str>) -> String {
    let text = match secret.filter(|secret| !secret.is_empty()) {
        Some(secret) => text.replace(secret, "***"),
        None => text.to_owned(),
    };
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID_CHARS_MAX).collect();
    line.trim().to_owned()
}
