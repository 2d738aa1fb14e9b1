//! Operations: may this app do this?
//!
//! An operation is the method and the `/2.0/…` path that are left when the app's path and `/api` are taken off.
//! Rules speak of operations, so that no other spelling of a URL escapes them: `allow` matches the path byte for
//! byte, as it is forwarded; `deny` also holds in other case, with trailing slashes, with `;parameters` and with
//! percent-encoding, since Box may read all of these as the same resource.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::refusal::Refusal;

/// What is asked of Box: a method and a path that begins with `/2.0/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation<'a> {
    /// As the caller sent it.
    pub method: &'a Method,
    /// `/2.0/…` without query.
    pub path: &'a str,
}

/// What an app may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
}

impl Rules {
    /// `deny` wins over `allow`; an empty `allow` allows nothing.
    pub fn new(allow: Vec<Pattern>, deny: Vec<Pattern>) -> Self {
        Self { allow, deny }
    }

    /// Refuses an operation that no `allow` pattern or any `deny` pattern matches.
    pub fn check(&self, operation: Operation<'_>) -> Result<(), Refusal> {
        let allowed = self.allow.iter().any(|pattern| pattern.matches(operation));
        if allowed && !self.deny.iter().any(|pattern| pattern.matches_any_spelling(operation)) {
            Ok(())
        } else {
            Err(Refusal::OperationNotAllowed)
        }
    }
}

/// `METHOD /path`: `*` for any method; in the path `*` is one segment, `**` any number. `GET` covers `HEAD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    method: Option<Method>,
    segments: Vec<Segment>,
    /// `/**`: nothing to compare.
    everything: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Exact(Box<str>),
    One,
    Any,
}

impl Pattern {
    /// Everything: `* /**`.
    pub fn everything() -> Self {
        Self { method: None, segments: vec![Segment::Any], everything: true }
    }

    /// Reads a pattern. The error says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let allowed = "allowed: a method or *, one space, and a path such as \"GET /2.0/files/*/content\" or \"* /2.0/**\"";
        let (method, path) =
            text.split_once(' ').ok_or_else(|| format!("{text:?} has no method; {allowed}"))?;
        let method = match method {
            "*" => None,
            _ if method.bytes().all(|b| b.is_ascii_uppercase()) && !method.is_empty() => Some(
                Method::from_bytes(method.as_bytes())
                    .map_err(|_| format!("{text:?}: bad method; {allowed}"))?,
            ),
            _ => return Err(format!("{text:?}: {method:?} is not a method in capitals; {allowed}")),
        };
        let rest = path
            .strip_prefix('/')
            .filter(|rest| !rest.is_empty())
            .ok_or_else(|| format!("{text:?}: {path:?} is not a path; {allowed}"))?;
        let mut segments = Vec::new();
        for segment in rest.split('/') {
            segments.push(match segment {
                "**" => Segment::Any,
                "*" => Segment::One,
                _ if segment.contains('*') => {
                    return Err(format!("{text:?}: a * stands for a whole segment; {allowed}"));
                }
                "" | "." | ".." => return Err(format!("{text:?}: empty or dot segment; {allowed}")),
                _ if segment.bytes().any(|b| b <= b' ' || b >= 0x7f || matches!(b, b'?' | b'#' | b'\\')) => {
                    return Err(format!("{text:?}: {segment:?} cannot stand in a path; {allowed}"));
                }
                _ => Segment::Exact(segment.into()),
            });
        }
        match segments.first() {
            Some(Segment::Exact(first)) if &**first != "2.0" => {
                return Err(format!("{text:?} can match nothing: operations begin with /2.0/; {allowed}"));
            }
            _ => {}
        }
        let everything = segments == [Segment::Any];
        Ok(Self { method, segments, everything })
    }

    /// Whether the operation, byte for byte as it is forwarded, is meant.
    pub fn matches(&self, operation: Operation<'_>) -> bool {
        self.covers(operation.method)
            && (self.everything
                || matches(&self.segments, segments_of(operation.path), &|want, have| want == have))
    }

    /// Whether the operation is meant in any spelling that Box could take for it.
    pub fn matches_any_spelling(&self, operation: Operation<'_>) -> bool {
        self.covers(operation.method)
            && (self.everything
                || matches(
                    &self.segments,
                    segments_of(operation.path.trim_end_matches('/')),
                    &is_spelling_of,
                ))
    }

    fn covers(&self, method: &Method) -> bool {
        match &self.method {
            None => true,
            Some(wanted) => wanted == method || (wanted == Method::GET && method == Method::HEAD),
        }
    }
}

fn segments_of(path: &str) -> std::str::Split<'_, char> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// The path in lower case, without percent-encoding, `;parameters` and slashes at the end: what Box could take any
/// spelling of it for.
pub fn plain_path(path: &str) -> Cow<'_, str> {
    let path = path.trim_end_matches('/');
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/._-".contains(&byte);
    if path.bytes().all(is_plain) {
        return Cow::Borrowed(path);
    }
    let segments: Vec<String> = path.split('/').map(|segment| plain(segment).to_ascii_lowercase()).collect();
    Cow::Owned(segments.join("/"))
}

fn is_spelling_of(want: &str, have: &str) -> bool {
    let is_plain = |segment: &str| !segment.contains(['%', ';']);
    if is_plain(want) && is_plain(have) {
        want.eq_ignore_ascii_case(have)
    } else {
        plain(want).eq_ignore_ascii_case(&plain(have))
    }
}

/// A segment without percent-encoding and `;parameters`.
fn plain(segment: &str) -> Cow<'_, str> {
    match percent_decode_str(segment).decode_utf8_lossy() {
        Cow::Borrowed(text) => Cow::Borrowed(bare(text)),
        Cow::Owned(text) => Cow::Owned(bare(&text).to_owned()),
    }
}

fn bare(segment: &str) -> &str {
    segment.split(';').next().unwrap_or(segment)
}

fn matches<'a>(
    pattern: &[Segment],
    mut path: impl Iterator<Item = &'a str> + Clone,
    same: &impl Fn(&str, &str) -> bool,
) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return path.next().is_none();
    };
    match first {
        Segment::Exact(want) => path.next().is_some_and(|have| same(want, have)) && matches(rest, path, same),
        // An empty one is a slash at the end, which says the same as the path without.
        Segment::One => path.next().is_some_and(|have| !have.is_empty()) && matches(rest, path, same),
        Segment::Any => {
            rest.is_empty()
                || loop {
                    if matches(rest, path.clone(), same) {
                        break true;
                    }
                    if path.next().is_none() {
                        break false;
                    }
                }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let read = |list: &[&str]| list.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        Rules::new(read(allow), read(deny))
    }

    fn ok(rules: &Rules, method: &str, path: &str) -> bool {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        rules.check(Operation { method: &method, path }).is_ok()
    }

    #[test]
    fn a_star_is_one_segment_and_two_are_any_number() {
        let r = rules(&["GET /2.0/files/*", "POST /2.0/folders/**", "GET /2.0/**/content"], &[]);
        assert!(ok(&r, "GET", "/2.0/files/1") && ok(&r, "HEAD", "/2.0/files/1"));
        assert!(!ok(&r, "GET", "/2.0/files") && !ok(&r, "GET", "/2.0/files/1/comments"));
        assert!(ok(&r, "POST", "/2.0/folders") && ok(&r, "POST", "/2.0/folders/1/a/b"));
        assert!(!ok(&r, "DELETE", "/2.0/folders/1"));
        assert!(ok(&r, "GET", "/2.0/files/1/content") && ok(&r, "GET", "/2.0/content"));
    }

    #[test]
    fn no_spelling_escapes_a_deny() {
        let r = rules(&["* /**"], &["DELETE /2.0/users/*", "GET /2.0/events"]);
        for path in [
            "/2.0/users/1",
            "/2.0/USERS/1",
            "/2.0/users/1/",
            "/2.0/users/1//",
            "/2.0/users;x=1/1",
            "/2.0/users/1;v",
            "/2.0/u%73ers/1",
            "/2.0/%55SERS/1",
            "/2.0/users%3Ba/1",
        ] {
            assert!(!ok(&r, "DELETE", path), "{path}");
        }
        assert!(!ok(&r, "HEAD", "/2.0/events") && !ok(&r, "GET", "/2.0/Events/"));
        assert!(ok(&r, "DELETE", "/2.0/users") && ok(&r, "GET", "/2.0/users/1"));
    }

    #[test]
    fn allow_is_byte_for_byte() {
        let r = rules(&["GET /2.0/files/*"], &[]);
        for path in ["/2.0/Files/1", "/2.0/files/1/", "/2.0/f%69les/1", "/2.0/files;a/1"] {
            assert!(!ok(&r, "GET", path), "{path}");
        }
    }

    #[test]
    fn an_empty_allow_list_allows_nothing() {
        assert!(!ok(&rules(&[], &[]), "GET", "/2.0/files/1"));
    }

    #[test]
    fn slips_in_patterns_are_refused() {
        for bad in [
            "",
            "GET",
            "/2.0/files",
            "get /2.0/files",
            "GET files",
            "GET /",
            "GET /files/*",
            "GET /2.0/f*",
            "GET /2.0//a",
            "GET /2.0/../a",
            "GET  /2.0/a",
            "GET /2.0/a?x",
            "GET,POST /2.0/a",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
