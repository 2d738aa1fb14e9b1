//! What the audit log says of a request: its JSON object, without the chain that `telemetry::audit` adds.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::SystemTime;

use http::{Method, StatusCode};

use crate::net::client_address::ClientAddress;
use crate::net::secret_filter;
use crate::proxy::access_line::push_quoted;
use crate::proxy::answer_ids::AnswerBeginning;
use crate::routing::operation::Operation;
use crate::routing::operation_group::{Found, Group};
use crate::routing::operation_template;
use crate::telemetry::words::rfc_3339_millis;

/// The most ids of a line.
const MOST_TARGETS: usize = 20;
/// A longer one is no id, and left out.
const LONGEST_TARGET: usize = 64;
/// The most characters of an operation: callers decide how long a path is.
const LONGEST_OPERATION: usize = 256;
/// Most lines are shorter, so that they do not grow.
const USUAL: usize = 640;

/// What is known of a request that has ended.
pub(crate) struct AuditFacts<'a> {
    /// When it ended.
    pub time: SystemTime,
    pub app: Option<&'a str>,
    pub client: ClientAddress,
    pub identity: Option<&'a str>,
    pub as_user: Option<&'a str>,
    pub method: &'a Method,
    /// The operation's path; `None`: it is not known, or must not be logged.
    pub path: Option<&'a str>,
    /// The beginning of Box's answer, if it may name what was made or changed.
    pub answer: Option<&'a AnswerBeginning>,
    /// What the caller was answered with.
    pub status: Option<StatusCode>,
    pub code: Option<&'static str>,
    /// What Box answered to the last attempt.
    pub box_status: Option<StatusCode>,
    pub box_code: Option<&'a str>,
    pub end: &'static str,
    pub attempts: u32,
    pub request_id: &'a str,
    pub box_request_id: Option<&'a str>,
}

/// Whether a request changes something at Box, if Box does what it asks for. `path`: the operation's; `None`: it is not
/// known.
///
/// Safe methods (RFC 9110 §9.2.1) change nothing, whatever group Box's documents put them in. Of the others, those that
/// only read are known by their groups.
pub(crate) fn is_change(method: &Method, path: Option<&str>) -> bool {
    if method.is_safe() || method == Method::CONNECT {
        return false;
    }
    let Some(path) = path else { return true };
    let found = Found::of(Operation { method, path });
    let reads = |group: Group| matches!(group, Group::Read | Group::Download);
    let may_change = Group::ALL.into_iter().any(|group| !reads(group) && found.may_be_in(group));
    may_change || !Group::ALL.into_iter().any(|group| reads(group) && found.is_in(group))
}

/// The line's JSON object, without its last brace.
pub(crate) fn object(facts: &AuditFacts<'_>) -> Vec<u8> {
    let found = facts.path.map(|path| Found::of(Operation { method: facts.method, path }));
    let groups = found.as_ref().map(Found::names).filter(|names| !names.is_empty());
    let mut line = String::with_capacity(USUAL);
    let _ = write!(line, "{{\"time\":\"{}\"", rfc_3339_millis(facts.time));
    text(&mut line, "app", facts.app);
    text(&mut line, "client", Some(&facts.client.as_source()));
    text(&mut line, "identity", facts.identity);
    text(&mut line, "as_user", facts.as_user);
    text(&mut line, "method", Some(facts.method.as_str()));
    text(&mut line, "operation", facts.path.map(|path| operation(facts.method, path)).as_deref());
    text(&mut line, "group", groups.map(|names| names.join(",")).as_deref());
    push_targets(&mut line, found.as_ref(), facts);
    number(&mut line, "status", facts.status);
    text(&mut line, "code", facts.code);
    number(&mut line, "box_status", facts.box_status);
    text(&mut line, "box_code", facts.box_code);
    text(&mut line, "end", Some(facts.end));
    let _ = write!(line, ",\"attempts\":{}", facts.attempts);
    text(&mut line, "request_id", Some(facts.request_id));
    text(&mut line, "box_request_id", facts.box_request_id);
    line.into_bytes()
}

fn text(line: &mut String, name: &str, value: Option<&str>) {
    let _ = write!(line, ",\"{name}\":");
    match value {
        Some(value) => push_quoted(line, value),
        None => line.push_str("null"),
    }
}

fn number(line: &mut String, name: &str, status: Option<StatusCode>) {
    let _ = match status {
        Some(status) => write!(line, ",\"{name}\":{}", status.as_u16()),
        None => write!(line, ",\"{name}\":null"),
    };
}

/// Method and template, as in access lines.
fn operation(method: &Method, path: &str) -> String {
    let mut text = format!("{method} ");
    operation_template::push(path, &mut text);
    secret_filter::shortened(text, LONGEST_OPERATION)
}

/// What the path names, then what the answer names, each once.
fn push_targets(line: &mut String, found: Option<&Found>, facts: &AuditFacts<'_>) {
    let of_path = match (found, facts.path) {
        (Some(found), Some(path)) => {
            found.placeholders(path).unwrap_or_else(|| operation_template::named(path).collect())
        }
        _ => Vec::new(),
    };
    let of_answer = facts.answer.map(|answer| answer.ids(MOST_TARGETS + 1)).unwrap_or_default();
    let mut targets: Vec<Cow<'_, str>> = Vec::new();
    for id in of_path.into_iter().chain(of_answer.into_iter().map(Cow::from)) {
        if id.len() <= LONGEST_TARGET && !targets.contains(&id) {
            targets.push(id);
        }
    }
    line.push_str(",\"targets\":[");
    for (index, id) in targets.iter().take(MOST_TARGETS).enumerate() {
        if index > 0 {
            line.push(',');
        }
        push_quoted(line, id);
    }
    line.push(']');
    if targets.len() > MOST_TARGETS {
        line.push_str(",\"more_targets\":true");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_changes_something_at_box_is_told_by_method_and_group() {
        for (method, path, is) in [
            ("PUT", Some("/2.0/files/1"), true),
            ("DELETE", Some("/2.0/FILES/1/"), true),
            ("POST", Some("/2.0/files/content"), true),
            ("POST", Some("/2.0/ai/ask"), true),
            ("POST", Some("/2.0/nobody/knows"), true),
            ("POST", None, true),
            ("POST", Some("/2.0/metadata_queries/execute_read"), false),
            ("POST", Some("/2.0/zip_downloads"), false),
            ("POST", Some("/2.0/Zip_Downloads"), true),
            ("GET", Some("/2.0/users"), false),
            ("GET", None, false),
            ("HEAD", Some("/2.0/files/1"), false),
            ("OPTIONS", Some("/2.0/files/content"), false),
            ("CONNECT", None, false),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(is_change(&method, path), is, "{method} {path:?}");
        }
    }

    fn facts<'a>(path: Option<&'a str>, answer: Option<&'a AnswerBeginning>) -> AuditFacts<'a> {
        AuditFacts {
            time: SystemTime::UNIX_EPOCH,
            app: None,
            client: ClientAddress::Unknown,
            identity: None,
            as_user: None,
            method: &Method::PUT,
            path,
            answer,
            status: None,
            code: None,
            box_status: None,
            box_code: None,
            end: "complete",
            attempts: 0,
            request_id: "r",
            box_request_id: None,
        }
    }

    fn value(facts: &AuditFacts<'_>) -> Value {
        let mut line = object(facts);
        line.push(b'}');
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn every_field_is_there_also_where_nothing_is_known() {
        let wanted = json!({
            "time": "1970-01-01T00:00:00.000Z", "app": null, "client": "unknown", "identity": null, "as_user": null,
            "method": "PUT", "operation": null, "group": null, "targets": [], "status": null, "code": null,
            "box_status": null, "box_code": null, "end": "complete", "attempts": 0, "request_id": "r",
            "box_request_id": null
        });
        assert_eq!(value(&facts(None, None)), wanted);
    }

    #[test]
    fn a_client_over_a_unix_socket_is_told_by_its_user() {
        let of = |client| value(&AuditFacts { client, ..facts(None, None) })["client"].clone();
        assert_eq!(of(ClientAddress::Process { uid: 1000 }), "uid:1000");
        assert_eq!(of(ClientAddress::Known([10, 1, 2, 3].into())), "10.1.2.3");
    }

    #[test]
    fn targets_are_those_of_the_path_and_of_the_answer_each_once_and_bounded() {
        let mut answer = AnswerBeginning::new(None);
        answer.feed(br#"{"id":"17","entries":[{"id":"18"},{"id":"17"}]}"#);
        let known = value(&facts(Some("/2.0/files/17"), Some(&answer)));
        assert_eq!(known["operation"], "PUT /2.0/files/*");
        assert_eq!(known["group"], "write,share");
        assert_eq!(known["targets"], json!(["17", "18"]));
        assert_eq!(known.get("more_targets"), None);
        let unknown = value(&facts(Some("/2.0/nobody/a1/knows"), None));
        assert_eq!((&unknown["group"], &unknown["targets"]), (&Value::Null, &json!(["a1"])));
        let mut many = AnswerBeginning::new(None);
        let entries: Vec<Value> = (0..30).map(|id| json!({ "id": id })).collect();
        many.feed(json!({ "entries": entries }).to_string().as_bytes());
        let bounded = value(&facts(Some("/2.0/files/content"), Some(&many)));
        assert_eq!(bounded["targets"].as_array().unwrap().len(), MOST_TARGETS);
        assert_eq!(bounded["more_targets"], true);
    }

    /// Box would find the id, so whoever searches the log for it must, too.
    #[test]
    fn a_target_is_told_as_box_reads_it_in_any_spelling_of_the_path() {
        for path in
            ["/2.0/files/%31%37", "/2.0/files/1%37;v=1", "/2.0/FILES/%31%37/", "/2.0/nobody/%31%37/knows"]
        {
            assert_eq!(value(&facts(Some(path), None))["targets"], json!(["17"]), "{path}");
        }
        // Still one id: neither a field nor a line of its own.
        let forged = value(&facts(Some("/2.0/files/%22%2C%0A1"), None));
        assert_eq!(forged["targets"], json!(["\",\n1"]));
    }

    #[test]
    fn a_path_can_neither_forge_a_field_nor_make_a_line_of_any_length() {
        let path = format!("/2.0/%22%7D%0A{}", "/a".repeat(10_000));
        let line = object(&facts(Some(&path), None));
        assert!(line.len() < 2000 && !line.contains(&b'\n'), "{}", String::from_utf8_lossy(&line));
        assert!(
            value(&facts(Some(&path), None))["operation"].as_str().unwrap().starts_with("PUT /2.0/\"}\n/a")
        );
    }
}
