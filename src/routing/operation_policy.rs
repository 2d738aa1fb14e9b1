//! `allow` and `deny` of an app: may this app do this?
//!
//! `allow` matches the path byte for byte, as it is forwarded; `deny` ignores case, trailing slashes, `;parameters` and
//! percent-encoding, since Box may read all of these as the same resource.

use std::cell::OnceCell;
use std::fmt;

use super::operation::{Operation, plain_path, segments_of};
use super::operation_group::{Found, Group};
use super::operation_pattern::Pattern;
use crate::http::error::Refusal;

/// An entry of `allow` or `deny`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The operations that match a pattern.
    Pattern(Pattern),
    /// The operations of a named group.
    Group(Group),
}

impl Rule {
    /// Whether the rule names exactly the batch operation, without wildcards in its path.
    pub fn is_batch(&self) -> bool {
        matches!(self, Self::Pattern(pattern) if pattern.names(&BATCH))
    }
}

/// As written in the configuration.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => pattern.fmt(f),
            Self::Group(group) => f.write_str(group.as_str()),
        }
    }
}

/// Which operations an app may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationPolicy {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

impl OperationPolicy {
    /// `deny` wins over `allow`; an empty `allow` allows nothing.
    pub fn new(allow: Vec<Rule>, deny: Vec<Rule>) -> Self {
        Self { allow, deny }
    }

    /// Refuses an operation that no rule of `allow` or any of `deny` matches, and batches that no pattern of `allow` names
    /// without a `*` in its path.
    pub fn check(&self, operation: Operation<'_>) -> Result<(), Refusal> {
        match self.judge(operation) {
            Judgement::AllowedBy(_) => Ok(()),
            Judgement::DeniedBy(rule) => {
                Err(Refusal::OperationNotAllowed { denied_by: Some(rule.to_string().into()) })
            }
            Judgement::NotAllowed => Err(Refusal::OperationNotAllowed { denied_by: None }),
            Judgement::UnnamedBatch => Err(Refusal::BatchNotAllowed),
        }
    }

    /// Whether the operation is allowed, and the rule that decides.
    pub(crate) fn judge(&self, operation: Operation<'_>) -> Judgement<'_> {
        // First, so that the log names what no change of `allow` would help against.
        if let Some((rule, _)) = self.deny_rules(operation).find(|(_, matches)| *matches) {
            return Judgement::DeniedBy(rule);
        }
        let mut allowing = self.allow_rules(operation).filter_map(|(rule, matches)| matches.then_some(rule));
        match allowing.next() {
            None => Judgement::NotAllowed,
            Some(first) if !is_batch(operation.path) || first.is_batch() => Judgement::AllowedBy(first),
            Some(_) => {
                allowing.find(|other| other.is_batch()).map_or(Judgement::UnnamedBatch, Judgement::AllowedBy)
            }
        }
    }

    /// The rules of `deny`, and whether each matches the operation.
    pub(crate) fn deny_rules(&self, operation: Operation<'_>) -> impl Iterator<Item = (&Rule, bool)> {
        let (spelled, found) = (operation.in_any_spelling(), OnceCell::new());
        self.deny.iter().map(move |rule| {
            let matches = match rule {
                Rule::Pattern(pattern) => pattern.matches_any_spelling(&spelled),
                Rule::Group(group) => found.get_or_init(|| Found::of(operation)).may_be_in(*group),
            };
            (rule, matches)
        })
    }

    /// The rules of `allow`, and whether each matches the operation.
    pub(crate) fn allow_rules(&self, operation: Operation<'_>) -> impl Iterator<Item = (&Rule, bool)> {
        let (resource, found) = (operation.resource(), OnceCell::new());
        self.allow.iter().map(move |rule| {
            let matches = match rule {
                Rule::Pattern(pattern) => !pattern.excludes_resource(resource) && pattern.matches(operation),
                Rule::Group(group) => found.get_or_init(|| Found::of(operation)).is_in(*group),
            };
            (rule, matches)
        })
    }
}

/// What an app's rules say about an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement<'a> {
    /// The first rule of `allow` that matches; for a batch, the first that names it.
    AllowedBy(&'a Rule),
    /// The first rule of `deny` that matches.
    DeniedBy(&'a Rule),
    /// No rule of `allow` matches.
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

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    /// A pattern has a space, a group has none.
    fn rule(text: &str) -> Rule {
        match Group::parse(text) {
            Some(group) => Rule::Group(group),
            None => Rule::Pattern(Pattern::parse(text).unwrap()),
        }
    }

    fn rules(allow: &[&str], deny: &[&str]) -> OperationPolicy {
        let read = |list: &[&str]| list.iter().map(|text| rule(text)).collect();
        OperationPolicy::new(read(allow), read(deny))
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
        let matching = |(rule, matches): (&Rule, bool)| matches.then(|| rule.to_string());
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
    fn a_group_allows_what_is_in_it_and_nothing_else() {
        let r = rules(&["read", "upload"], &[]);
        for (method, path) in [
            ("GET", "/2.0/files/1"),
            ("HEAD", "/2.0/folders/0/items"),
            ("POST", "/2.0/metadata_queries/execute_read"),
            ("POST", "/2.0/files/content"),
            ("POST", "/2.0/files/1/content"),
            ("OPTIONS", "/2.0/files/content"),
            ("PUT", "/2.0/files/upload_sessions/1"),
        ] {
            assert!(ok(&r, method, path), "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/2.0/files/1/content"),
            ("PUT", "/2.0/files/1"),
            ("DELETE", "/2.0/files/1"),
            // A file could be restored from the trash under the name of a literal segment.
            ("POST", "/2.0/files/1"),
            ("POST", "/2.0/batch"),
            // In no group.
            ("GET", "/2.0/files/1/unheard_of"),
            ("GET", "/2.0/unheard_of"),
            ("GET", "/2.0"),
            ("GET", "/2.0/files/"),
        ] {
            assert!(!ok(&r, method, path), "{method} {path}");
        }
    }

    /// Box may read `/2.0/Files/Content` as an upload, or as a file with that id.
    #[test]
    fn a_group_does_not_allow_a_path_that_box_could_read_as_one_of_another_group() {
        for path in
            ["/2.0/files/Content", "/2.0/files/c%6Fntent", "/2.0/files/content;x", "/2.0/files/CONTENT"]
        {
            assert!(!ok(&rules(&["write"], &[]), "POST", path), "{path}");
            assert!(!ok(&rules(&["upload"], &[]), "POST", path), "{path}");
            assert!(!ok(&rules(&["* /**"], &["upload"]), "POST", path), "{path}");
        }
        assert!(ok(&rules(&["write"], &[]), "POST", "/2.0/files/12"));
        assert!(ok(&rules(&["* /**"], &["upload"]), "POST", "/2.0/files/12"));
    }

    #[test]
    fn no_spelling_evades_a_denied_group() {
        let r = rules(&["* /**"], &["delete", "admin"]);
        for (method, path) in [
            ("DELETE", "/2.0/files/1"),
            ("DELETE", "/2.0/FILES/1/"),
            ("DELETE", "/2.0/f%69les/1;a"),
            ("GET", "/2.0/Webhooks"),
            ("HEAD", "/2.0/users/"),
        ] {
            assert!(!ok(&r, method, path), "{method} {path}");
        }
        assert!(ok(&r, "GET", "/2.0/users/me") && ok(&r, "PUT", "/2.0/files/1"));
    }

    /// A shared link is set by a PUT of its item.
    #[test]
    fn an_operation_in_two_groups_is_allowed_by_either_and_denied_by_either() {
        for group in ["write", "share"] {
            assert!(ok(&rules(&[group], &[]), "PUT", "/2.0/files/1"), "{group}");
            assert!(!ok(&rules(&["* /**"], &[group]), "PUT", "/2.0/files/1"), "{group}");
        }
    }

    /// An answer of `read` names them by URLs.
    #[test]
    fn representations_are_content() {
        let path = "/2.0/internal_files/1/versions/2/representations/png_paged_2048x2048/content/1.png";
        assert!(ok(&rules(&["download"], &[]), "GET", path) && !ok(&rules(&["read"], &[]), "GET", path));
        for path in [path, "/2.0/INTERNAL_FILES/1/versions/2/x/", "/2.0/internal%5Ffiles/1"] {
            assert!(!ok(&rules(&["* /**"], &["download"]), "GET", path), "{path}");
        }
        assert!(!ok(&rules(&["download"], &[]), "POST", path));
    }

    #[test]
    fn a_denied_group_is_named() {
        let r = rules(&["read"], &["share"]);
        let operation = Operation { method: &Method::POST, path: "/2.0/collaborations" };
        assert_eq!(r.check(operation), Err(Refusal::OperationNotAllowed { denied_by: Some("share".into()) }));
    }
}
