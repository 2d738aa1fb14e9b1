//! Access lines: one for each request, which callers cannot forge and which shows no credential.

use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;

use super::client::{receive, request, send};
use super::harness::{FakeBox, Folder, Program, boxgate, wait, write_file};

const ME: &str = "/2.0/users/me";

/// Every line of both streams in the form of JSON, from the start to a failure to end.
#[test]
fn json_lines_have_one_name_for_time_and_kind_and_numbers_for_durations() {
    let at = FakeBox::start();
    let more = "[log]\nformat = \"json\"\n[[budget]]\nname = \"few\"\nkey = \"global\"\ncalls = 1\nwhen_spent = \"warn\"\n";
    let mut program = Program::start(&at, more).ready();
    assert_eq!(program.get(ME).status, 200);
    let spent = program.err.wait_for(&["the budget is spent"]);
    assert!(!spent.contains("\"value\""), "{spent}");
    let folder = Folder::new();
    let listen = format!("address = \"{}\"", program.callers);
    write_file(&folder, &at, &listen, more);
    let second = boxgate(&folder, &[]);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));

    let last = String::from_utf8(second.stderr).unwrap();
    assert!(last.contains("address in use"), "{last}");
    let of_second = last.lines().map(str::to_owned);
    let logged: Vec<String> = program.err.all().into_iter().chain(of_second).collect();
    for (kind, lines) in [("access", program.out.all()), ("log", logged)] {
        assert!(!lines.is_empty());
        for line in lines {
            let read: Value = serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}"));
            assert_eq!(read["kind"], kind, "{line}");
            let time = read["time"].as_str().unwrap();
            assert!(time.ends_with('Z') && time.len() == "2026-11-26T18:31:35.123Z".len(), "{line}");
            if kind == "log" {
                assert!(read["level"].is_string() && read["message"].is_string(), "{line}");
            }
            for (name, value) in read.as_object().unwrap() {
                let text = value.as_str().unwrap_or_default();
                let is_length = text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with('s');
                assert!(!is_length, "{name} in {line}");
            }
        }
    }
    let token = program.err.wait_for(&["a token was obtained"]);
    assert!(token.contains("\"valid_for_s\":"), "{token}");
}

/// Six requests of the kinds that end differently, `it-1` to `it-6`; the lines on stdout after the end.
fn lines_of_six_requests(format: &str) -> Vec<String> {
    let at = FakeBox::start();
    let mut program = Program::start(&at, &format!("[log]\nformat = \"{format}\"")).ready();
    let id = |number: u32| format!("X-Request-Id: it-{number}\r\n");
    let get = |number, target: &str, more: &str| {
        let answer = request(&program.callers, "GET", target, &(id(number) + more));
        assert_eq!(answer.header("x-request-id"), Some(format!("it-{number}").as_str()));
        answer.status
    };
    assert_eq!(get(1, &format!("{ME}?fields=hidden-query"), ""), 200);
    assert_eq!(get(2, "/favicon.ico?hidden-query", ""), 404);
    assert_eq!(get(3, ME, "Host: elsewhere.example\r\n"), 421);
    assert_eq!(get(4, "/2.0/files/1%22%20status=200?hidden-query", ""), 404);
    let body = format!("{}Content-Length: 5\r\n", id(5));
    let mut stream = send(&program.callers, "POST", "/2.0/folders", &body);
    stream.write_all(b"{\"a\"}").unwrap();
    assert_eq!(receive(stream).status, 400);

    let calls = at.calls();
    let hold = at.hold_replies(ME);
    let leaving = send(&program.callers, "GET", ME, &id(6));
    wait(at.wait_for_calls(calls + 1));
    drop(leaving);
    program.out.wait_for(&["it-6"]);
    wait(at.wait_for_cancelled(1));
    drop(hold);

    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    let lines = program.out.all();
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert!(!program.out.text().contains("hidden-query"), "{lines:#?}");
    for line in &lines {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    lines
}

#[test]
fn every_request_has_one_text_line() {
    let lines = lines_of_six_requests("text");
    let of = |number: u32| {
        let mark = format!(" request_id=it-{number} ");
        let found: Vec<_> = lines.iter().filter(|line| line.contains(&mark)).collect();
        assert_eq!(found.len(), 1, "{mark}: {lines:#?}");
        found[0]
    };
    let has = |number, parts: &[&str]| {
        for part in parts {
            assert!(of(number).contains(part), "{part} in {}", of(number));
        }
    };
    has(1, &[" access ", " app=default ", " identity=service ", " method=GET ", " path=/2.0/users/me "]);
    has(1, &[" status=200 ", " answered_by=box ", " end=complete ", " attempts=1"]);
    has(2, &[" path=/favicon.ico ", " status=404 ", " answered_by=gateway ", " code=not_found "]);
    has(3, &[" status=421 ", " code=host_not_allowed "]);
    has(4, &[" status=404 ", " answered_by=box "]);
    has(5, &[" method=POST ", " status=400 ", " bytes_in=5 "]);
    has(6, &[" status=499 ", " end=caller_left "]);
}

#[test]
fn every_request_has_one_json_line() {
    let lines: Vec<Value> =
        lines_of_six_requests("json").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (number, status) in [(1, 200), (2, 404), (3, 421), (4, 404), (5, 400), (6, 499)] {
        let found: Vec<_> =
            lines.iter().filter(|line| line["request_id"] == format!("it-{number}")).collect();
        assert_eq!(found.len(), 1, "it-{number}: {lines:#?}");
        assert_eq!(found[0]["kind"], "access");
        assert_eq!(found[0]["status"], status);
        assert!(found[0]["duration_ms"].is_number());
        assert!(!found[0]["path"].as_str().unwrap().contains('?'));
        assert_eq!(found[0]["end"], if status == 499 { "caller_left" } else { "complete" });
    }
}

#[test]
fn a_target_cannot_forge_a_line() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "").ready();
    let forged = "x\x0b status=200\rfake access status=200";
    let targets: [&[u8]; 5] = [
        b"/2.0/a\x1b[31m",
        b"/2.0/a\rfake access status=200",
        b"/2.0/a\nfake access status=200",
        b"/2.0/a\"\xc3\xa9{}|\\",
        b"/2.0/a\xff\x00",
    ];
    for target in targets {
        let mut stream = TcpStream::connect(&program.callers).unwrap();
        let head = [b"GET ", target, b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"].concat();
        stream.write_all(&head).unwrap();
        let status = receive(stream).status;
        assert!(status >= 400, "{status} to {target:?}");
    }
    let mut stream = TcpStream::connect(&program.callers).unwrap();
    let head = format!(
        "GET {ME} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Request-Id: {forged}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert!(receive(stream).status >= 200);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    for line in program.out.all() {
        assert!(!line.contains(char::is_control) && !line.starts_with("fake"), "{line:?}");
        assert_eq!(line.matches(" status=").count(), 1, "{line:?}");
    }
    for line in program.err.all() {
        assert!(!line.contains(char::is_control) && !line.starts_with("fake"), "{line:?}");
    }
}

#[test]
fn without_access_lines_stdout_is_empty() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "[log]\naccess = false").ready();
    assert_eq!(program.get(ME).status, 200);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    assert_eq!(program.out.all(), Vec::<String>::new());
}

#[test]
fn a_line_names_the_limits_that_refused_or_would_have_and_the_time_waited() {
    let at = FakeBox::start();
    let more = "[[limit]]\nname = \"real\"\nkey = \"global\"\non = [\"search\"]\nrate = \"1/h\"\n\
                [[limit]]\nname = \"watching\"\nkey = \"app\"\nrate = \"1/h\"\nenforce = false\n\
                [[limit]]\nname = \"watching-too\"\nkey = \"user\"\nrate = \"1/h\"\nenforce = false\n\
                [[limit]]\nname = \"paced\"\nkey = \"global\"\non = [\"GET /2.0/folders/*\"]\n\
                rate = \"30/min\"\nburst = 1\nwait = \"30s\"\n\
                [[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 5\n";
    let mut program = Program::start(&at, more).ready();
    let search = "/2.0/search?query=a";
    let folder = "/2.0/folders/0";
    for (nth, (target, status)) in
        [(search, 200), (ME, 200), (search, 429), (folder, 200), (folder, 200), (ME, 200), (ME, 403)]
            .into_iter()
            .enumerate()
    {
        let id = format!("X-Request-Id: it-{nth}\r\n");
        assert_eq!(request(&program.callers, "GET", target, &id).status, status, "{nth}");
    }
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    let line = |nth: usize| program.out.wait_for(&[&format!(" request_id=it-{nth} ")]);
    assert!(!line(0).contains(" limit=") && !line(0).contains("would_refuse"), "{}", line(0));
    assert!(line(1).contains(" would_refuse=watching,watching-too "), "{}", line(1));
    assert!(line(2).contains(" code=rate_limit_exceeded limit=real "), "{}", line(2));
    assert!(line(2).contains(" attempts=0"), "{}", line(2));
    assert!(line(6).contains(" code=budget_spent limit=plan "), "{}", line(6));
    // One of the two had to wait for its turn, up to 2 s.
    let waited = |nth: usize| -> f64 {
        let line = line(nth);
        let (_, after) = line.split_once(" wait_ms=").unwrap();
        after.split(' ').next().unwrap().parse().unwrap()
    };
    assert!(waited(4) > 1.0, "{}", line(4));
    assert!(waited(1) < waited(4), "{}", line(1));
}

/// A pre-signed URL is a credential: neither the access line nor a warning shows more of it than its host.
#[test]
fn paths_that_are_credentials_are_not_logged() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "").ready();
    let host = at.download_url();
    let host = host.strip_prefix("https://").unwrap();
    for (path, more) in [
        (format!("/_box/{host}/d/1/SECRET/download"), ""),
        (format!("/_box/{host}/d/1/SECRET//download"), ""),
        (format!("/_box/{host}/subscribe?channel=SECRET"), ""),
        (format!("/_box/{host}/2.0/zip_downloads/SECRET/content"), ""),
        ("/2.0/zip_downloads/SECRET/content".to_owned(), ""),
        ("/2.0/zip_downloads/SECRET/content".to_owned(), "Host: elsewhere.example\r\n"),
        ("/_box/evil.example/d/1/SECRET".to_owned(), ""),
    ] {
        request(&program.callers, "GET", &path, more);
    }
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    let lines = program.out.all();
    assert_eq!(lines.len(), 7, "{lines:#?}");
    assert!(lines[0].contains(&format!(" path=/_box/{host}/* ")), "{lines:#?}");
    assert!(lines[3].contains(&format!(" path=/_box/{host}/2.0/zip_downloads/*/content ")), "{lines:#?}");
    assert!(!program.out.text().contains("SECRET") && !program.err.text().contains("SECRET"), "{lines:#?}");
}

/// A page whose origin is not listed cannot write to the log, whatever refuses it.
#[test]
fn the_path_of_a_page_that_is_refused_is_not_logged() {
    let at = FakeBox::start();
    let app = "[[app]]\nname = \"a\"\npath = \"/a\"\norigins = [\"https://page.example\"]";
    let mut program = Program::start(&at, app).ready();
    for (path, more, status) in [
        ("/a/2.0/TEXT", "Origin: https://evil.example\r\n", 403),
        ("/a/2.0/TEXT", "Origin: null\r\n", 403),
        ("/a/2.0/TEXT", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("/TEXT", "Sec-Fetch-Site: cross-site\r\n", 404),
        ("/a/2.0/..%2fTEXT", "Origin: https://evil.example\r\n", 400),
        ("/a/2.0/TEXT", "Origin: https://evil.example\r\nHost: elsewhere.example\r\n", 421),
        ("/a/2.0/known", "Origin: https://page.example\r\n", 404),
    ] {
        let agent = if path == "/a/2.0/known" { "" } else { "User-Agent: TEXT\r\n" };
        let fields = format!("{more}{agent}");
        assert_eq!(request(&program.callers, "GET", path, &fields).status, status, "{path} {more}");
    }
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    let lines = program.out.all();
    assert_eq!(lines.len(), 7, "{lines:#?}");
    assert!(lines[..6].iter().all(|line| line.contains(" path=- ")), "{lines:#?}");
    assert!(lines[6].contains(" path=/a/2.0/known "), "{lines:#?}");
    assert!(!program.out.text().contains("TEXT") && !program.err.text().contains("TEXT"), "{lines:#?}");
}
