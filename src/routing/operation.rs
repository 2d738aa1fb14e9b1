//! Operations, and the spellings of a path that Box could read as one resource.
//!
//! An operation is a method and a `/2.0/…` path, without the app's path and `/api`. Rules, limits and budgets match
//! operations, so that no other spelling of a URL evades them.

use std::borrow::Cow;
use std::cell::OnceCell;

use http::Method;
use percent_encoding::percent_decode_str;

/// A call of Box's API: a method and a path that begins with `/2.0/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation<'a> {
    /// As the caller sent it.
    pub method: &'a Method,
    /// `/2.0/…` without query.
    pub path: &'a str,
}

impl<'a> Operation<'a> {
    /// The operation for comparison in any spelling. Create it once for all patterns that are tried.
    pub fn in_any_spelling(self) -> Spelled<'a> {
        Spelled { operation: self, decoded: OnceCell::new(), resource: OnceCell::new() }
    }

    /// The segment after the version, such as `files`; `None` if the path ends before it.
    pub(super) fn resource(self) -> Option<&'a str> {
        segments_of(self.path).nth(1)
    }
}

/// An operation for comparison in any spelling that Box could read as the same.
#[derive(Debug)]
pub struct Spelled<'a> {
    operation: Operation<'a>,
    /// Decoded when the first pattern compares the path; `None`: the path has nothing to decode.
    decoded: OnceCell<Option<Vec<Decoded<'a>>>>,
    /// The segment after the version, looked for when the first pattern compares the path; `None`: the path has something
    /// to decode, so that its segments may not be compared as they are.
    resource: OnceCell<Option<&'a str>>,
}

/// A segment of the path of a request.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    /// As the caller sent it.
    pub raw: &'a str,
    /// Without percent-encoding and `;parameters`.
    pub plain: Cow<'a, str>,
}

impl<'a> Spelled<'a> {
    /// As the caller sent it.
    pub(super) fn operation(&self) -> Operation<'a> {
        self.operation
    }

    /// The segment after the version, if the path has nothing to decode.
    pub(super) fn plain_resource(&self) -> Option<&'a str> {
        let path = self.operation.path;
        *self.resource.get_or_init(|| is_plain(path).then(|| self.operation.resource()).flatten())
    }

    /// The segments without trailing slashes; `None` if there is nothing to decode.
    pub(super) fn decoded(&self) -> Option<&[Decoded<'a>]> {
        let decode = |raw| Decoded { raw, plain: plain(raw) };
        let path = self.operation.path;
        let decoded = self.decoded.get_or_init(|| {
            (!is_plain(path)).then(|| segments_of(path.trim_end_matches('/')).map(decode).collect())
        });
        decoded.as_deref()
    }
}

pub(super) fn segments_of(path: &str) -> std::str::Split<'_, char> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// The path in lower case, without percent-encoding, `;parameters` and trailing slashes: the same for all spellings
/// that Box could read as one resource.
pub fn plain_path(path: &str) -> Cow<'_, str> {
    let path = path.trim_end_matches('/');
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-');
    if path.bytes().all(is_plain) {
        return Cow::Borrowed(path);
    }
    let mut text = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            text.push('/');
        }
        text.push_str(&plain(segment));
    }
    text.make_ascii_lowercase();
    Cow::Owned(text)
}

/// Whether the path has neither percent-encoding nor `;parameters`.
fn is_plain(path: &str) -> bool {
    !path.contains(['%', ';'])
}

/// A segment without percent-encoding and `;parameters`.
pub(super) fn plain(segment: &str) -> Cow<'_, str> {
    match percent_decode_str(segment).decode_utf8_lossy() {
        Cow::Borrowed(text) => Cow::Borrowed(bare(text)),
        Cow::Owned(text) => Cow::Owned(bare(&text).to_owned()),
    }
}

fn bare(segment: &str) -> &str {
    segment.split(';').next().unwrap_or(segment)
}
