//! Log lines about outages, refusals and pauses of Box: a few lines that say what, since when and why, however many
//! requests fail.

use boxgate::sandbox::{Failure, Fault, Options, Role, TokenAnswer};
use http::HeaderValue;
use http::header::RETRY_AFTER;

use super::client::{Answer, request};
use super::harness::{FakeBox, Program, until, wait};

const ME: &str = "/2.0/users/me";
const MANY: usize = 20;

/// The program's lines on standard error but for those of its start.
fn said(program: &Program) -> Vec<String> {
    let all = program.err.all();
    let starts = all.iter().position(|line| line.contains("boxgate listens")).unwrap();
    let of_start = |line: &&String| {
        line.contains("a token was obtained") || line.contains("counts of calls begin at zero")
    };
    all[starts + 1..].iter().filter(|line| !of_start(line)).cloned().collect()
}

/// Sends this many requests, which give one line each on standard output; returns the last response.
fn many(program: &Program) -> Answer {
    let before = program.out.all().len();
    let answers: Vec<Answer> = (0..MANY).map(|_| program.get(ME)).collect();
    until("a line for each request", || program.out.all().len() == before + MANY);
    answers.into_iter().next_back().unwrap()
}

#[test]
fn an_outage_of_box_is_one_line_and_its_end_another() {
    let at = FakeBox::start();
    let program = Program::start(&at, "").ready();
    assert_eq!(program.get(ME).status, 200);
    // Its line, too, must be there before `many` counts lines.
    program.out.wait_for(&["status=200"]);
    wait(at.go_down(Role::Api));
    let answer = many(&program);
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert!(answer.body.contains("the request was not sent"), "{}", answer.body);
    let authority = at.api_url().trim_start_matches("https://").to_owned();
    let lines = said(&program);
    assert!((1..=3).contains(&lines.len()), "{lines:#?}");
    let begins = format!("WARN {authority} unreachable since ");
    assert!(lines[0].contains(&begins) && lines[0].contains(" (connection refused)"), "{lines:#?}");
    let access = program.out.all();
    let last = access.last().unwrap();
    let cause = format!("cause=\"cannot connect to {authority}: connection refused\"");
    assert!(last.contains("code=upstream_unreachable ") && last.contains(&cause), "{last}");

    at.comes_up(Role::Api);
    until("Box is back", || program.get(ME).status == 200);
    let end = program.err.wait_for(&["reachable again after"]);
    assert!(end.contains(&format!("INFO {authority} reachable again after ")), "{end}");
    let failed: usize = end.rsplit_once("; ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(failed >= MANY && end.ends_with(" requests failed"), "{end}");
}

#[test]
fn a_box_that_cuts_every_connection_causes_few_lines() {
    let at = FakeBox::start();
    let program = Program::start(&at, "").ready();
    at.script(ME, vec![Fault::CloseBeforeHead; MANY * 3]);
    let answer = many(&program);
    assert!(answer.status == 502 && answer.body.contains("upstream_protocol_error"), "{}", answer.body);
    let lines = said(&program);
    assert!((1..=4).contains(&lines.len()), "{lines:#?}");
    let host = at.api_url().trim_start_matches("https://").to_owned();
    assert!(lines[0].contains(&host) && lines[0].contains("request_id="), "{lines:#?}");
}

#[test]
fn a_box_that_refuses_every_token_causes_few_lines() {
    let at = FakeBox::start();
    let program = Program::start(&at, "").ready();
    at.always_unauthorized(ME);
    let answer = many(&program);
    assert!(answer.status == 502 && answer.body.contains("upstream_unauthorized"), "{}", answer.body);
    let lines = program.err.all();
    let of_it: Vec<_> = lines.iter().filter(|line| line.contains("401")).collect();
    let warning = of_it.iter().find(|line| line.contains(" WARN ")).unwrap();
    assert!(warning.contains("access tokens that it has just given"), "{warning}");
    assert!(warning.contains(" identity=\"service\"") && !warning.contains("pre-signed"), "{warning}");
    assert!((2..=6).contains(&of_it.len()), "{lines:#?}");
    assert!(said(&program).len() <= 8 && lines.len() <= 14, "{lines:#?}");
}

#[test]
fn refused_credentials_name_the_identity_and_the_cause_once() {
    let at = FakeBox::start();
    at.token_always(Some(TokenAnswer::refuse("invalid_client", "The client credentials are invalid")));
    let program = Program::start(&at, "");
    program.err.wait_for(&["Box refuses its credentials since"]);
    let answer = many(&program);
    assert!(answer.status == 502 && answer.body.contains("\"credentials_refused\""), "{}", answer.body);
    for told in ["Box refuses the credentials", "boxgate check", "Nothing is wrong with this request"] {
        assert!(answer.body.contains(told), "{}", answer.body);
    }
    assert!(!answer.body.contains("service") && !answer.body.contains("invalid_client"), "{}", answer.body);
    let lines = said(&program);
    assert!((1..=3).contains(&lines.len()), "{lines:#?}");
    for part in [
        "ERROR identity \"service\": Box refuses its credentials since ",
        "(invalid_client: The client credentials are invalid)",
        "client_id or client_secret is wrong",
        "Box is asked again every 10 minutes at the latest, and at once after a reload",
    ] {
        assert!(lines[0].contains(part), "{part} in {lines:#?}");
    }
    assert!(lines.iter().all(|line| !line.contains("log says")), "{lines:#?}");
    let access = program.out.all();
    assert!(access.last().unwrap().contains("identity=service "), "{access:#?}");
    assert!(access.last().unwrap().contains("invalid_client"), "{access:#?}");
}

#[test]
fn a_missing_scope_is_told_once_with_what_to_do() {
    let at = FakeBox::with(Options { failures: vec![Failure::Scope], ..Options::default() });
    let program = Program::start(&at, "").ready();
    for _ in 0..MANY {
        assert_eq!(request(&program.callers, "DELETE", "/2.0/files/17", "").status, 403);
    }
    until("a line for each request", || program.out.all().len() == MANY);
    let lines = said(&program);
    assert!((1..=3).contains(&lines.len()), "{lines:#?}");
    for part in [
        "WARN Box refused DELETE /2.0/files/* with 403 insufficient_scope",
        "Developer Console",
        "reauthorize",
        "app=\"default\"",
    ] {
        assert!(lines[0].contains(part), "{part} in {lines:#?}");
    }
}

#[test]
fn a_token_endpoint_that_is_down_is_an_outage_too() {
    let at = FakeBox::start();
    wait(at.go_down(Role::Api));
    let program = Program::start(&at, "");
    let authority = at.token_url().trim_start_matches("https://").split('/').next().unwrap().to_owned();
    let begin = program.err.wait_for(&["unreachable since"]);
    let begins = format!("WARN token endpoint {authority} unreachable since ");
    assert!(begin.contains(&begins) && begin.contains("(connection refused)"), "{begin}");
    assert!(begin.contains("identity \"service\" has no valid token"), "{begin}");
    let answer = many(&program);
    assert!(answer.status == 503 && answer.body.contains("token endpoint"), "{}", answer.body);
    assert!(said(&program).len() <= 3, "{:#?}", said(&program));
    at.comes_up(Role::Api);
    until("Box is back", || program.get(ME).status == 200);
    let end = program.err.wait_for(&["reachable again after"]);
    assert!(end.contains(&format!("INFO token endpoint {authority} reachable again after ")), "{end}");
    assert!(end.ends_with(" requests failed"), "{end}");
}

#[test]
fn a_pause_that_box_asks_for_is_logged_with_its_user_and_class() {
    let at = FakeBox::start();
    let more = "[[app]]\nname = \"a\"\nas_user = [\"*\"]\n[limits]\nbox_defaults = false\n";
    let program = Program::start(&at, more).ready();
    let user = boxgate::sandbox::MANAGED_USERS[0];
    let as_user = |path: &str| {
        let fields = format!("As-User: {user}\r\nX-Request-Id: it-pause\r\n");
        request(&program.callers, "GET", path, &fields)
    };
    at.script("/2.0/folders/0", vec![Fault::RateLimited { retry_after: 200 }]);
    assert_eq!(as_user("/2.0/folders/0").status, 429);
    let line = program.err.wait_for(&["Box asked for"]);
    let want = format!(
        "WARN Box asked for 3m20s: user {user}, class general (429 on GET /2.0/folders/*, request it-pause)"
    );
    assert!(line.ends_with(&want), "{line}");
    let answer = as_user(ME);
    assert_eq!(answer.status, 429);
    assert!(answer.body.contains("Box asked this user to pause"), "{}", answer.body);
    assert!(answer.body.contains(" again in ") && !answer.body.contains("box-pause"), "{}", answer.body);
    assert!(answer.header("ratelimit").unwrap().starts_with("\"box-pause\";r=0;t="));
    let access = program.out.wait_for(&["limit=box-pause"]);
    assert!(access.contains("code=rate_limit_exceeded"), "{access}");

    // A pause longer than max_pause is logged as max_pause.
    let long = Fault::status(503).with_header(RETRY_AFTER, HeaderValue::from_static("99999999999999999999"));
    at.script("/2.0/collections", vec![long]);
    assert_eq!(program.get("/2.0/collections").status, 503);
    let line = program.err.wait_for(&["/2.0/collections"]);
    assert!(
        line.contains("Box asked for longer than [upstream] max_pause, so it is 5m00s: service"),
        "{line}"
    );

    // A 503 pauses the operation alone; what is asked for again at once adds no line.
    let unavailable = || Fault::status(503).with_header(RETRY_AFTER, HeaderValue::from_static("0"));
    at.script("/2.0/search", (0..20).map(|_| unavailable()).collect());
    for _ in 0..20 {
        assert_eq!(program.get("/2.0/search?query=a").status, 503);
    }
    let lines = said(&program);
    let of_search: Vec<_> = lines.iter().filter(|line| line.contains("/2.0/search")).collect();
    assert!((1..=3).contains(&of_search.len()), "{lines:#?}");
    assert!(of_search[0].contains("service account of identity \"service\", GET /2.0/search"), "{lines:#?}");
}
