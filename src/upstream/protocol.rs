//! The HTTP version in which a request goes to Box.

/// The HTTP version for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The one that Box chooses: HTTP/2 if it supports it.
    Any,
    /// HTTP/1.1, unless Box does not support it.
    Http1,
    /// HTTP/1.1 for a body that is too large to be sent again, on a connection that is new or was in use a moment ago. As
    /// [`Self::Any`] where there is none and none can be opened at once.
    LargeUpload,
    /// The same for an answer that is expected to be large.
    LargeAnswer,
}
