//! Fields of access lines that say who asked, for what kind of operation, which rule refused, and what Box said.

use boxgate::sandbox::Fault;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::client::{Answer, request};
use super::harness::{FakeBox, Program};

const ME: &str = "/2.0/users/me";

/// A gateway that writes JSON lines, with an app under `/a`.
fn program(at: &FakeBox, app: &str) -> Program {
    let more = format!("[log]\nformat = \"json\"\n[[app]]\nname = \"a\"\npath = \"/a\"\n{app}\n");
    Program::start(at, &more).ready()
}

/// Sends a request and returns the answer with its access line.
fn asked(program: &Program, method: &str, target: &str, fields: &str) -> (Answer, Value) {
    let id = format!("it-{}", fastrand::u64(..));
    let answer = request(&program.callers, method, target, &format!("X-Request-Id: {id}\r\n{fields}"));
    let line = program.out.wait_for(&[&id]);
    (answer, serde_json::from_str(&line).unwrap())
}

#[test]
fn a_line_names_the_user_the_program_and_the_kind_of_operation() {
    let at = FakeBox::start();
    let program = program(&at, "as_user = [\"*\"]");
    let fields = "As-User: 11446498\r\nUser-Agent: curl/8 (\"x\")\r\n";
    let (_, line) = asked(&program, "HEAD", "/a/2.0/folders/17/items?limit=3", fields);
    assert_eq!(line["as_user"], "11446498");
    assert_eq!(line["user_agent"], "curl/8 (\"x\")");
    assert_eq!(line["operation"], "HEAD /2.0/folders/*/items");
    let (_, line) = asked(&program, "GET", "/a/api/2.0/FILES/1%37/", "");
    assert_eq!(line["operation"], "GET /2.0/files/*", "in whatever spelling");
    for name in ["as_user", "user_agent", "rule", "box_request_id"] {
        let is_refused = line["status"].as_u64().unwrap() >= 400;
        assert!(line.get(name).is_none() || is_refused && name == "box_request_id", "{line}");
    }
    // What is no operation has none.
    let (_, line) = asked(&program, "GET", "/a/favicon.ico", "");
    assert!(line.get("operation").is_none(), "{line}");
}

#[test]
fn a_user_who_is_named_by_login_is_logged_by_id() {
    let at = FakeBox::start();
    let hold = at.hold_replies("/2.0/users?filter_term");
    let program = program(&at, "as_user = [\"aaron@sandbox.example\"]");
    let asks = || asked(&program, "GET", &format!("/a{ME}"), "As-User: Aaron@sandbox.example\r\n");
    let (answer, line) = asks();
    assert_eq!((answer.status, &line["code"]), (503, &Value::from("token_unavailable")), "{line}");
    assert_eq!(line["as_user"], "Aaron@sandbox.example", "the id is not known yet");
    assert!(
        line["cause"].as_str().unwrap().contains("\"aaron@sandbox.example\" in as_user is not known yet"),
        "{line}"
    );
    drop(hold);
    program.err.wait_for(&["aaron@sandbox.example", "is that of user 11446498", "identity", "service"]);
    let (answer, line) = asks();
    assert_eq!((answer.status, &line["as_user"]), (200, &Value::from("11446498")), "{line}");
}

#[test]
fn a_user_who_is_refused_is_named_and_any_other_text_in_the_header_is_not() {
    let at = FakeBox::start();
    let program = program(&at, "as_user = [\"1\"]");
    let refused = |user: &str| {
        let (answer, line) = asked(&program, "GET", &format!("/a{ME}"), &format!("As-User: {user}\r\n"));
        assert_eq!(answer.status, 403, "{user}");
        line
    };
    assert_eq!(refused("22")["as_user"], "22");
    assert_eq!(refused("bob@corp.com")["as_user"], "bob@corp.com");
    assert!(refused("a canary").get("as_user").is_none());
}

#[test]
fn a_user_agent_is_bounded_and_shows_no_secret() {
    let at = FakeBox::start();
    let program = program(&at, "");
    let secret = at.client_secret().to_owned();
    // The secret would be cut in two.
    let agent = format!("{}{secret}{}", "x".repeat(250), "y".repeat(2000));
    let (_, line) = asked(&program, "GET", &format!("/a{ME}"), &format!("User-Agent: {agent}\r\n"));
    let shown = line["user_agent"].as_str().unwrap();
    assert_eq!(shown, format!("{}[secre", "x".repeat(250)));
    let (_, line) = asked(&program, "GET", &format!("/a{ME}"), "User-Agent: caf\u{e9}\r\n");
    assert_eq!(line["user_agent"], "caf\u{e9}");
}

#[test]
fn the_pattern_that_refused_is_named() {
    let at = FakeBox::start();
    let program = program(&at, "allow = [\"GET /2.0/**\"]\ndeny = [\"* /2.0/users/**\", \"DELETE /**\"]");
    let rule = |method: &str, path: &str| {
        let (answer, line) = asked(&program, method, &format!("/a{path}"), "");
        assert_eq!((answer.status, &line["code"]), (403, &"operation_not_allowed".into()), "{method} {path}");
        assert!(!answer.body.contains("DELETE /"), "callers are not told: {}", answer.body);
        line.get("rule").map(|rule| rule.as_str().unwrap().to_owned())
    };
    assert_eq!(rule("DELETE", "/2.0/files/1").as_deref(), Some("DELETE /**"));
    assert_eq!(rule("GET", "/2.0/USERS/1").as_deref(), Some("* /2.0/users/**"));
    assert_eq!(rule("PUT", "/2.0/files/1"), None, "no pattern of allow permits it");
}

/// In an answer that is passed on, in one that is edited, in one without a body, and in one that callers do not get.
#[test]
fn an_error_of_box_is_logged_with_its_code_and_the_id_that_boxs_support_asks_for() {
    let at = FakeBox::start();
    let program = program(&at, "");
    let empty = |challenge: &'static str| Fault::Status {
        status: StatusCode::FORBIDDEN,
        headers: HeaderMap::from_iter([(
            http::header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        )]),
        body: Bytes::new(),
    };
    let scope = "Bearer realm=\"Service\", error=\"insufficient_scope\", error_description=\"no\"";
    at.script("/2.0/files/409", vec![Fault::status(409)]);
    at.script("/2.0/comments/400", vec![Fault::status(400)]);
    at.script("/2.0/comments/403", vec![empty(scope)]);
    for path in ["/a/2.0/files/409", "/a/2.0/comments/400", "/a/2.0/comments/403"] {
        let (answer, line) = asked(&program, "GET", path, "");
        let of_body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let code = if answer.body.is_empty() { "insufficient_scope".into() } else { of_body["code"].clone() };
        assert!(code.is_string() && line["box_code"] == code, "{path}: {line}");
        assert_eq!(line["box_request_id"], answer.header("box-request-id").unwrap(), "{path}");
        assert_eq!(line["answered_by"], "box");
    }
    at.always_unauthorized(ME);
    let (answer, line) = asked(&program, "GET", &format!("/a{ME}"), "");
    assert_eq!((answer.status, &line["answered_by"]), (502, &"gateway".into()));
    assert_eq!(
        (&line["code"], &line["box_code"]),
        (&"upstream_unauthorized".into(), &"invalid_token".into())
    );
    assert!(line["box_request_id"].is_string(), "{line}");
    at.clear_faults();
    let (answer, line) = asked(&program, "GET", "/a/2.0/folders/0", "");
    assert_eq!(answer.status, 200);
    assert!(line.get("box_request_id").is_none() && line.get("box_code").is_none(), "{line}");
}

#[test]
fn a_text_log_has_its_times_in_the_form_of_access_lines() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "").ready();
    assert_eq!(program.get(ME).status, 200);
    program.terminate();
    assert!(program.exited().success());
    let (out, err) = (program.out.all(), program.err.all());
    assert!(!out.is_empty() && !err.is_empty());
    for line in out.iter().chain(&err) {
        let time = line.split(' ').next().unwrap();
        let is_time = time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z');
        assert!(is_time && time.len() == "2026-11-26T18:31:35.123Z".len(), "{line}");
    }
}

#[test]
fn the_origin_of_a_refused_page_is_logged_once_with_the_key_that_would_allow_it() {
    let at = FakeBox::start();
    let apps = "origins = [\"https://page.example\"]\n[[app]]\nname = \"b\"\npath = \"/b\"";
    let mut program = program(&at, apps);
    let own = format!("http://{}", program.callers);
    let get = |path: &str, origin: &str| {
        let host = if origin == own { &program.callers } else { "localhost" };
        let fields = format!("Origin: {origin}\r\nHost: {host}\r\n");
        let answer = request(&program.callers, "GET", path, &fields);
        assert_eq!(answer.status, 403, "{path} {origin}");
    };
    for _ in 0..5 {
        get(&format!("/a{ME}"), "http://localhost:5173");
    }
    get(&format!("/b{ME}"), "https://page.example");
    // None of these could be listed, and the pages of the gateway itself are nobody's.
    let unlistable =
        ["null", "https://*.example", "https://a.example/", "data://x", "https://a.example canary"];
    for origin in unlistable.into_iter().chain([&*own]) {
        get(&format!("/a{ME}"), origin);
    }
    get("/.well-known/boxgate/errors/overloaded", "http://localhost:5173");
    program.terminate();
    assert!(program.exited().success());
    let told: Vec<String> = program.err.all().into_iter().filter(|line| line.contains("origin")).collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    let message = |line: &String| serde_json::from_str::<Value>(line).unwrap()["message"].clone();
    assert_eq!(
        message(&told[0]),
        "origin http://localhost:5173 is in no app; to allow it: origins = [\"http://localhost:5173\"]"
    );
    assert_eq!(
        message(&told[1]),
        "origin https://page.example is in app \"a\", but not in the app that was called; to allow it there: origins = [\"https://page.example\"]"
    );
}
