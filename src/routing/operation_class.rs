//! Classes of operations, which Box limits separately.
//!
//! Source: `docs/box-api.md#limits-and-429`. Box does not say that the parts of an upload session count as uploads;
//! they are general.

use crate::routing::operation::{Operation, plain_path};

/// The class of an operation; each operation has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// None of the others.
    General,
    /// A new file, a new version, the beginning of an upload session.
    Upload,
    /// `GET /2.0/search`.
    Search,
    /// The content of a file, or of a zip archive.
    Download,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::General, Self::Upload, Self::Search, Self::Download];

    /// The name in configuration and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Upload => "upload",
            Self::Search => "search",
            Self::Download => "download",
        }
    }

    /// The class of an operation, in any spelling that Box could read as the same.
    pub fn of(operation: Operation<'_>) -> Self {
        let path = plain_path(operation.path);
        let mut segments = path.strip_prefix("/2.0/").unwrap_or_default().split('/');
        let mut next = || segments.next().unwrap_or_default();
        let segments = [next(), next(), next(), next()];
        match (operation.method.as_str(), segments) {
            // A part or the commit of a session that has begun.
            ("POST", ["files", "upload_sessions", session, _]) if !session.is_empty() => Self::General,
            ("POST", ["files", "content" | "upload_sessions", "", ""])
            | ("POST", ["files", _, "content" | "upload_sessions", ""]) => Self::Upload,
            ("GET" | "HEAD", ["search", "", ..]) => Self::Search,
            ("GET" | "HEAD", ["files" | "zip_downloads", _, "content", ""]) => Self::Download,
            _ => Self::General,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn every_operation_has_one_class() {
        for (method, path, class) in [
            ("POST", "/2.0/files/content", Class::Upload),
            ("POST", "/2.0/FILES/content/", Class::Upload),
            ("POST", "/2.0/files/1/content", Class::Upload),
            ("POST", "/2.0/files/upload_sessions", Class::Upload),
            ("POST", "/2.0/files/1/upload_sessions", Class::Upload),
            ("PUT", "/2.0/files/upload_sessions/A", Class::General),
            ("POST", "/2.0/files/upload_sessions/A/commit", Class::General),
            ("OPTIONS", "/2.0/files/content", Class::General),
            ("GET", "/2.0/search", Class::Search),
            ("GET", "/2.0/files/1/content", Class::Download),
            ("HEAD", "/2.0/files/*/content", Class::Download),
            ("GET", "/2.0/zip_downloads/1/content", Class::Download),
            ("GET", "/2.0/zip_downloads/1/status", Class::General),
            ("GET", "/2.0/files/1", Class::General),
            ("GET", "/2.0/users/me", Class::General),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Class::of(Operation { method: &method, path }), class, "{method} {path}");
        }
    }
}
