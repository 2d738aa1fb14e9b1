//! Patterns of operations, as `allow`, `deny` and `on` have them.

use std::fmt;

use http::Method;

use super::operation::{Operation, Spelled, plain, segments_of};

/// `METHOD /path`: `*` for any method; in the path `*` is one segment, `**` any number. `GET` covers `HEAD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    method: Option<Method>,
    segments: Vec<Segment>,
    /// The path is `/**`, which matches every path.
    everything: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Exact(Exact),
    One,
    Any,
}

/// A literal segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exact {
    /// As written in the configuration.
    text: Box<str>,
    /// Without percent-encoding and `;parameters`.
    plain: Box<str>,
}

impl Exact {
    fn new(text: &str) -> Self {
        Self { text: text.into(), plain: plain(text).into() }
    }
}

impl Segment {
    /// Whether it matches the segment `raw` of a request.
    fn takes(&self, raw: &str, is: impl FnOnce(&Exact) -> bool) -> bool {
        match self {
            Self::Exact(exact) => is(exact),
            Self::One => !raw.is_empty(),
            Self::Any => true,
        }
    }
}

impl Pattern {
    /// The pattern `* /**`, which matches every operation.
    pub fn everything() -> Self {
        Self { method: None, segments: vec![Segment::Any], everything: true }
    }

    /// Parses a pattern. The error says what is allowed.
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
                _ => Segment::Exact(Exact::new(segment)),
            });
        }
        match segments.first() {
            Some(Segment::Exact(first)) if &*first.text != "2.0" => {
                return Err(format!("{text:?} can match nothing: operations begin with /2.0/; {allowed}"));
            }
            _ => {}
        }
        let everything = segments == [Segment::Any];
        Ok(Self { method, segments, everything })
    }

    /// Whether the pattern matches the operation byte for byte.
    pub fn matches(&self, operation: Operation<'_>) -> bool {
        self.covers(operation.method)
            && (self.everything
                || fits(&self.segments, segments_of(operation.path), |segment, have| {
                    segment.takes(have, |exact| &*exact.text == have)
                }))
    }

    /// Whether the pattern matches the operation in any spelling that Box could read as the same.
    pub fn matches_any_spelling(&self, operation: &Spelled<'_>) -> bool {
        self.covers(operation.operation().method)
            && (self.everything || !self.is_for_another_resource(operation) && self.fits(operation))
    }

    /// Whether the pattern names another resource than the operation's, as most patterns do. Asked first, since it
    /// takes a few comparisons of bytes, however long the path is.
    fn is_for_another_resource(&self, operation: &Spelled<'_>) -> bool {
        let Some(wanted) = self.resource() else { return false };
        operation.plain_resource().is_some_and(|resource| !wanted.plain.eq_ignore_ascii_case(resource))
    }

    fn fits(&self, operation: &Spelled<'_>) -> bool {
        match operation.decoded() {
            None => {
                let path = operation.operation().path.trim_end_matches('/');
                fits(&self.segments, segments_of(path), |segment, have| {
                    segment.takes(have, |exact| exact.plain.eq_ignore_ascii_case(have))
                })
            }
            Some(decoded) => fits(&self.segments, decoded.iter(), |segment, have| {
                segment.takes(have.raw, |exact| exact.plain.eq_ignore_ascii_case(&have.plain))
            }),
        }
    }

    /// Whether it cannot match, byte for byte, an operation whose segment after the version is this one.
    pub(super) fn excludes_resource(&self, resource: Option<&str>) -> bool {
        self.resource().is_some_and(|wanted| resource != Some(&*wanted.text))
    }

    /// The segment after the version, if every operation that the pattern matches has it.
    fn resource(&self) -> Option<&Exact> {
        match self.segments.as_slice() {
            [Segment::Exact(_), Segment::Exact(group), ..] => Some(group),
            _ => None,
        }
    }

    /// Whether the path of the pattern is exactly this one, without wildcards.
    pub(super) fn names(&self, path: &[&str]) -> bool {
        let is = |(segment, wanted): (&Segment, &&str)| matches!(segment, Segment::Exact(exact) if &*exact.text == *wanted);
        self.segments.len() == path.len() && self.segments.iter().zip(path).all(is)
    }

    fn covers(&self, method: &Method) -> bool {
        match &self.method {
            None => true,
            Some(wanted) => wanted == method || (wanted == Method::GET && method == Method::HEAD),
        }
    }
}

/// As written in the configuration.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method.as_ref().map_or("*", Method::as_str))?;
        f.write_str(" ")?;
        for segment in &self.segments {
            let text = match segment {
                Segment::Exact(exact) => &exact.text,
                Segment::One => "*",
                Segment::Any => "**",
            };
            write!(f, "/{text}")?;
        }
        Ok(())
    }
}

/// Whether the segments of a path match a pattern; `takes` compares one pattern segment with one path segment.
///
/// Each `**` takes as few segments as possible. On a mismatch, only the last `**` takes one more: if an earlier one
/// took more, fewer segments would be left for the same rest of the pattern, which could not help. So each segment of
/// the path is compared at most as often as the pattern has segments, whatever a caller sends.
fn fits<T: Copy>(
    mut pattern: &[Segment],
    mut path: impl Iterator<Item = T> + Clone,
    mut takes: impl FnMut(&Segment, T) -> bool,
) -> bool {
    // The pattern after the last `**`, and the path that was left when it began to match.
    let mut again = None;
    loop {
        match pattern.split_first() {
            Some((Segment::Any, [])) => return true,
            Some((Segment::Any, after)) => {
                pattern = after;
                again = Some((after, path.clone()));
                continue;
            }
            Some((segment, after)) => match path.next() {
                Some(have) if takes(segment, have) => {
                    pattern = after;
                    continue;
                }
                Some(_) => {}
                // If `**` took one more, even less would be left.
                None => return false,
            },
            None if path.next().is_none() => return true,
            None => {}
        }
        let Some((after, left)) = &mut again else { return false };
        if left.next().is_none() {
            return false;
        }
        (pattern, path) = (after, left.clone());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_is_displayed_as_it_was_written() {
        for text in ["* /**", "GET /2.0/**", "DELETE /2.0/files/*/A%20b;c", "* /*/x", "POST /2.0/ai/**"] {
            assert_eq!(Pattern::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Pattern::everything().to_string(), "* /**");
    }

    #[test]
    fn malformed_patterns_are_refused() {
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

    /// The reference implementation: `**` takes any number of segments, and every number is tried.
    fn fits_by_trial(pattern: &[Segment], path: &[&str], is: &impl Fn(&str, &str) -> bool) -> bool {
        let Some((first, rest)) = pattern.split_first() else { return path.is_empty() };
        match (first, path.split_first()) {
            (Segment::Any, _) => (0..=path.len()).any(|taken| fits_by_trial(rest, &path[taken..], is)),
            (_, None) => false,
            (Segment::Exact(want), Some((have, path))) => {
                is(&want.text, have) && fits_by_trial(rest, path, is)
            }
            (Segment::One, Some((have, path))) => !have.is_empty() && fits_by_trial(rest, path, is),
        }
    }

    fn is_spelling_of(want: &str, have: &str) -> bool {
        plain(want).eq_ignore_ascii_case(&plain(have))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn patterns_match_as_the_reference_implementation_does(
            pattern in prop::collection::vec(
                prop::sample::select(vec!["**", "**", "*", "a", "b", "A", "%61", "b;x", "%2F"]), 0..7),
            first in prop::sample::select(vec!["2.0", "*", "**"]),
            path in prop::collection::vec(
                prop::sample::select(vec!["a", "a", "b", "A", "%61", "a;x", "b%3Bx", "", ";", "%2f", "c"]), 0..9),
        ) {
            let pattern = [&[first], &pattern[..]].concat().join("/");
            let pattern = Pattern::parse(&format!("* /{pattern}")).unwrap();
            let path = format!("/2.0/{}", path.join("/"));
            let operation = Operation { method: &Method::GET, path: &path };
            let all: Vec<&str> = segments_of(&path).collect();
            prop_assert_eq!(
                pattern.matches(operation),
                fits_by_trial(&pattern.segments, &all, &|want, have| want == have)
            );
            let trimmed: Vec<&str> = segments_of(path.trim_end_matches('/')).collect();
            prop_assert_eq!(
                pattern.matches_any_spelling(&operation.in_any_spelling()),
                fits_by_trial(&pattern.segments, &trimmed, &is_spelling_of)
            );
        }
    }

    /// Paths whose beginning matches many times and whose end never does.
    #[test]
    fn no_path_makes_a_pattern_compare_a_segment_more_often_than_the_pattern_has_segments() {
        for text in [
            "* /2.0/**/a/**/secret",
            "* /2.0/**/a/**/a/**/a/**/secret",
            "* /**/a/a/a/secret",
            "* /**/a/*/**/*/a/secret",
        ] {
            let pattern = Pattern::parse(text).unwrap();
            for count in [100, 10_000] {
                let path = format!("/2.0{}", "/a".repeat(count));
                let mut compared = 0;
                let found = fits(&pattern.segments, segments_of(&path), |segment, have| {
                    compared += 1;
                    segment.takes(have, |exact| &*exact.text == have)
                });
                assert!(!found, "{text}");
                assert!(compared <= (count + 1) * pattern.segments.len(), "{text}: {compared} of {count}");
            }
        }
    }
}
