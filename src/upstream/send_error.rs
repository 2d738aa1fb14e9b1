//! Why a request to Box got no response head.

use std::error::Error;

use http::uri::Authority;

use crate::net::error_chain::chain;
use crate::upstream::connector::ConnectError;

/// Why a request got no response head.
#[derive(Debug, Clone)]
pub(crate) struct SendError {
    /// Nothing of the request can have been processed: a retry is always safe.
    pub unsent: bool,
    pub fault: SendFault,
    /// The cause, for the log.
    pub cause: String,
}

/// What failed between the gateway and Box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendFault {
    /// No connection could be established.
    Unreachable,
    /// The limit of open files has no room for another connection.
    NoRoom,
    /// The connection would have led to this process itself.
    Loop,
    /// A connection broke, or Box sent something other than HTTP.
    Broken,
}

impl From<ConnectError> for SendError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable(cause) | ConnectError::NotSpoken(cause) => Self::unreachable(cause),
            ConnectError::Loop(cause) => Self { unsent: true, fault: SendFault::Loop, cause },
            ConnectError::NoRoom => Self {
                unsent: true,
                fault: SendFault::NoRoom,
                cause: "the limit of open files has no room for another connection to Box".to_owned(),
            },
        }
    }
}

impl SendError {
    /// No connection could be established.
    pub(super) fn unreachable(cause: String) -> Self {
        Self { unsent: true, fault: SendFault::Unreachable, cause }
    }

    /// `unsent`: nothing of the request can have been processed.
    pub(super) fn from_hyper(unsent: bool, error: &hyper::Error, authority: &Authority) -> Self {
        Self { unsent, fault: SendFault::Broken, cause: format!("{authority}: {}", chain(error)) }
    }
}

/// RFC 9113 §8.7: a stream above GOAWAY's last one, or refused, was not processed.
pub(super) fn never_processed(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            return error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
        }
        source = cause.source();
    }
    false
}
