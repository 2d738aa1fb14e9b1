//! Operations: may this app do this?
//!
//! An operation is a method and a `/2.0/…` path, without the app's path and `/api`. `allow` and `deny` match
//! operations, so that no other spelling of a URL evades them: `allow` matches the path byte for byte, as it is
//! forwarded; `deny` ignores case, trailing slashes, `;parameters` and percent-encoding, since Box may read all of
//! these as the same resource.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::http::error::Refusal;

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
        Spelled { operation: self, decoded: OnceCell::new(), group: OnceCell::new() }
    }

    /// The segment after the version, such as `files`; `None` if the path ends before it.
    fn group(self) -> Option<&'a str> {
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
    group: OnceCell<Option<&'a str>>,
}

/// A segment of the path of a request.
#[derive(Debug)]
struct Decoded<'a> {
    /// As the caller sent it.
    raw: &'a str,
    /// Without percent-encoding and `;parameters`.
    plain: Cow<'a, str>,
}

impl Spelled<'_> {
    /// Whether the pattern names another group of operations, as most patterns do. Asked first, since it takes a few
    /// comparisons of bytes, however long the path is.
    fn is_of_another_group(&self, pattern: &Pattern) -> bool {
        let Some(wanted) = pattern.group() else { return false };
        let path = self.operation.path;
        let group = self.group.get_or_init(|| is_plain(path).then(|| self.operation.group()).flatten());
        group.is_some_and(|group| !wanted.plain.eq_ignore_ascii_case(group))
    }

    fn fits(&self, pattern: &[Segment]) -> bool {
        let path = self.operation.path.trim_end_matches('/');
        let decoded = self.decoded.get_or_init(|| {
            let decode = |raw| Decoded { raw, plain: plain(raw) };
            (!is_plain(path)).then(|| segments_of(path).map(decode).collect())
        });
        match decoded {
            None => fits(pattern, segments_of(path), |segment, have| {
                segment.takes(have, |exact| exact.plain.eq_ignore_ascii_case(have))
            }),
            Some(decoded) => fits(pattern, decoded.iter(), |segment, have| {
                segment.takes(have.raw, |exact| exact.plain.eq_ignore_ascii_case(&have.plain))
            }),
        }
    }
}

/// Which operations an app may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationPolicy {
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
}

impl OperationPolicy {
    /// `deny` wins over `allow`; an empty `allow` allows nothing.
    pub fn new(allow: Vec<Pattern>, deny: Vec<Pattern>) -> Self {
        Self { allow, deny }
    }

    /// Refuses an operation that no `allow` pattern or any `deny` pattern matches, and batches that no `allow` pattern
    /// names without a `*` in its path.
    pub fn check(&self, operation: Operation<'_>) -> Result<(), Refusal> {
        match self.judge(operation) {
            Judgement::AllowedBy(_) => Ok(()),
            Judgement::DeniedBy(pattern) => {
                Err(Refusal::OperationNotAllowed { denied_by: Some(pattern.to_string().into()) })
            }
            Judgement::NotAllowed => Err(Refusal::OperationNotAllowed { denied_by: None }),
            Judgement::UnnamedBatch => Err(Refusal::BatchNotAllowed),
        }
    }

    /// Whether the operation is allowed, and the pattern that decides.
    pub(crate) fn judge(&self, operation: Operation<'_>) -> Judgement<'_> {
        // First, so that the log names what no change of `allow` would help against.
        if let Some((pattern, _)) = self.deny_rules(operation).find(|(_, matches)| *matches) {
            return Judgement::DeniedBy(pattern);
        }
        let mut allowing =
            self.allow_rules(operation).filter_map(|(pattern, matches)| matches.then_some(pattern));
        match allowing.next() {
            None => Judgement::NotAllowed,
            Some(first) if !is_batch(operation.path) || first.is_batch() => Judgement::AllowedBy(first),
            Some(_) => {
                allowing.find(|other| other.is_batch()).map_or(Judgement::UnnamedBatch, Judgement::AllowedBy)
            }
        }
    }

    /// The patterns of `deny`, and whether each matches the operation.
    pub(crate) fn deny_rules(&self, operation: Operation<'_>) -> impl Iterator<Item = (&Pattern, bool)> {
        let spelled = operation.in_any_spelling();
        self.deny.iter().map(move |pattern| (pattern, pattern.matches_any_spelling(&spelled)))
    }

    /// The patterns of `allow`, and whether each matches the operation.
    pub(crate) fn allow_rules(&self, operation: Operation<'_>) -> impl Iterator<Item = (&Pattern, bool)> {
        let group = operation.group();
        self.allow.iter().map(move |pattern| {
            let is_of_another = pattern.group().is_some_and(|wanted| group != Some(&*wanted.text));
            (pattern, !is_of_another && pattern.matches(operation))
        })
    }
}

/// What an app's rules say about an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement<'a> {
    /// The first pattern of `allow` that matches; for a batch, the first that names it.
    AllowedBy(&'a Pattern),
    /// The first pattern of `deny` that matches.
    DeniedBy(&'a Pattern),
    /// No pattern of `allow` matches.
    NotAllowed,
    /// A batch, which no pattern of `allow` names.
    UnnamedBatch,
}

/// The path of batches, which Box no longer documents. The body of a batch carries operations, each with an `As-User`,
/// which rules, limits and budgets cannot check.
const BATCH: [&str; 2] = ["2.0", "batch"];

/// Whether Box could read the path as that of a batch.
fn is_batch(path: &str) -> bool {
    // Most paths end here.
    let mut segments = segments_of(path);
    let (Some(_), Some(second)) = (segments.next(), segments.next()) else { return false };
    let may_be =
        second.starts_with(|first: char| matches!(first, 'b' | 'B') || !first.is_ascii_alphanumeric());
    // Some servers ignore white space and dots around a name, or a format after a dot. No other name in Box's API
    // begins with "batch".
    let is_around = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let name =
        |segment: &str| segment.trim_start_matches(is_around).split(is_around).next() == Some(BATCH[1]);
    may_be && {
        let plain = plain_path(path);
        let mut segments = segments_of(&plain);
        segments.next() == Some(BATCH[0]) && segments.next().is_some_and(name)
    }
}

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
        self.covers(operation.operation.method)
            && (self.everything || !operation.is_of_another_group(self) && operation.fits(&self.segments))
    }

    /// The segment after the version, if every operation that the pattern matches has it.
    fn group(&self) -> Option<&Exact> {
        match self.segments.as_slice() {
            [Segment::Exact(_), Segment::Exact(group), ..] => Some(group),
            _ => None,
        }
    }

    /// Whether the pattern names exactly the batch operation, without wildcards in its path.
    pub fn is_batch(&self) -> bool {
        let is = |(segment, batch): (&Segment, &&str)| matches!(segment, Segment::Exact(exact) if &*exact.text == *batch);
        self.segments.len() == BATCH.len() && self.segments.iter().zip(&BATCH).all(is)
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

fn segments_of(path: &str) -> std::str::Split<'_, char> {
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
fn plain(segment: &str) -> Cow<'_, str> {
    match percent_decode_str(segment).decode_utf8_lossy() {
        Cow::Borrowed(text) => Cow::Borrowed(bare(text)),
        Cow::Owned(text) => Cow::Owned(bare(&text).to_owned()),
    }
}

fn bare(segment: &str) -> &str {
    segment.split(';').next().unwrap_or(segment)
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

    fn rules(allow: &[&str], deny: &[&str]) -> OperationPolicy {
        let read = |list: &[&str]| list.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        OperationPolicy::new(read(allow), read(deny))
    }

    #[test]
    fn a_pattern_is_displayed_as_it_was_written() {
        for text in ["* /**", "GET /2.0/**", "DELETE /2.0/files/*/A%20b;c", "* /*/x", "POST /2.0/ai/**"] {
            assert_eq!(Pattern::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Pattern::everything().to_string(), "* /**");
    }

    fn ok(rules: &OperationPolicy, method: &str, path: &str) -> bool {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        rules.check(Operation { method: &method, path }).is_ok()
    }

    #[test]
    fn a_refusal_names_the_deny_pattern_that_matches() {
        let r = rules(&["GET /2.0/**"], &["* /2.0/users/**", "DELETE /**"]);
        let denied_by = |method: Method, path| match r.check(Operation { method: &method, path }) {
            Err(Refusal::OperationNotAllowed { denied_by }) => denied_by.map(String::from),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            denied_by(Method::DELETE, "/2.0/files/1").as_deref(),
            Some("DELETE /**"),
            "not allowed either"
        );
        assert_eq!(denied_by(Method::GET, "/2.0/USERS/1").as_deref(), Some("* /2.0/users/**"));
        assert_eq!(denied_by(Method::PUT, "/2.0/files/1"), None);
    }

    #[test]
    fn a_judgement_names_the_pattern_that_decides() {
        let r = rules(&["GET /2.0/**", "* /2.0/files/*", "POST /2.0/*", "POST /2.0/batch"], &["DELETE /**"]);
        let judged = |method: Method, path| match r.judge(Operation { method: &method, path }) {
            Judgement::AllowedBy(pattern) => format!("allow {pattern}"),
            Judgement::DeniedBy(pattern) => format!("deny {pattern}"),
            other => format!("{other:?}"),
        };
        assert_eq!(judged(Method::HEAD, "/2.0/files/1"), "allow GET /2.0/**");
        assert_eq!(judged(Method::PUT, "/2.0/files/1"), "allow * /2.0/files/*");
        assert_eq!(judged(Method::DELETE, "/2.0/FILES/1/"), "deny DELETE /**");
        assert_eq!(judged(Method::PUT, "/2.0/users"), "NotAllowed");
        assert_eq!(judged(Method::POST, "/2.0/batch"), "allow POST /2.0/batch", "the one that names it");
        assert_eq!(judged(Method::POST, "/2.0/BATCH"), "UnnamedBatch");
        let operation = Operation { method: &Method::PUT, path: "/2.0/Files/1" };
        let matching = |(pattern, matches): (&Pattern, bool)| matches.then(|| pattern.to_string());
        assert_eq!(r.allow_rules(operation).filter_map(matching).count(), 0, "allow is byte for byte");
        assert_eq!(r.deny_rules(operation).filter_map(matching).count(), 0);
    }

    #[test]
    fn batches_are_refused_unless_a_pattern_names_them() {
        const SPELLINGS: [&str; 7] = [
            "/2.0/batch",
            "/2.0/batch/",
            "/2.0/BATCH",
            "/2.0/%62atch",
            "/2.0/batch;x=1",
            "/2.0/b%61tch/",
            "/2.0/batch/x",
        ];
        for allow in ["* /**", "POST /2.0/**", "POST /2.0/*", "* /2.0/**"] {
            for path in SPELLINGS {
                assert!(!ok(&rules(&[allow], &[]), "POST", path), "{allow} {path}");
            }
            assert!(ok(&rules(&[allow], &[]), "POST", "/2.0/batches"), "{allow}");
        }
        let named = rules(&["* /**", "POST /2.0/batch"], &[]);
        assert!(ok(&named, "POST", "/2.0/batch"));
        assert!(!ok(&named, "PUT", "/2.0/batch"));
        for path in &SPELLINGS[1..] {
            assert!(!ok(&named, "POST", path), "{path}");
        }
        assert!(!ok(&rules(&["POST /2.0/batch"], &["POST /2.0/**"]), "POST", "/2.0/batch"));
        assert!(!ok(&rules(&["GET /2.0/batch"], &[]), "POST", "/2.0/batch"));
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
    fn no_spelling_evades_a_deny() {
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
