//! `POST /reload`.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;

use super::super::client::{Answer, receive, request, send};
use super::super::harness::{until, wait};
use super::*;

fn post(program: &Program, fields: &str) -> Answer {
    request(&program.operators, "POST", "/reload", fields)
}

#[test]
fn a_page_of_another_origin_cannot_reload() {
    let at = FakeBox::start();
    let program = start(&at, "");
    let own = format!("Host: {0}\r\nOrigin: http://{0}\r\n", program.operators);
    let port = program.operators.rsplit(':').next().unwrap();
    for fields in [
        "Origin: https://evil.example\r\n".to_owned(),
        "Origin: null\r\n".to_owned(),
        // The callers' listener: another port is another origin.
        format!("Origin: http://{}\r\n", program.callers),
        format!("Host: {0}\r\nOrigin: https://{0}\r\n", program.operators),
        format!("Host: {}\r\nOrigin: http://localhost:{port}\r\n", program.operators),
        format!("{own}Origin: https://evil.example\r\n"),
        format!("Origin: https://evil.example\r\n{own}"),
        format!("Host: {0}\r\nOrigin: http://{0}, https://evil.example\r\n", program.operators),
        format!("{own}Sec-Fetch-Site: cross-site\r\n"),
        format!("{own}Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n"),
        format!("{own}Sec-Fetch-Site: same-origin, cross-site\r\n"),
        format!("{own}Sec-Fetch-Site: none\r\n"),
        "Sec-Fetch-Site: same-origin\r\n".to_owned(),
        "Sec-Fetch-Site: none\r\n".to_owned(),
        "Sec-Fetch-Mode: no-cors\r\n".to_owned(),
    ] {
        let answer = post(&program, &fields);
        assert_eq!(answer.status, 403, "{fields}{}", answer.body);
        assert!(answer.body.contains("\"code\":\"origin_not_allowed\""), "{}", answer.body);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    // A foreign name that resolves to this machine (DNS rebinding), and two `Host` fields.
    let rebound = post(&program, "Host: evil.example\r\nOrigin: http://evil.example\r\n");
    assert_eq!(rebound.status, 421, "{}", rebound.body);
    let two = post(&program, "Host: localhost\r\nHost: evil.example\r\nOrigin: http://localhost\r\n");
    assert_eq!(two.status, 400, "{}", two.body);
    assert_eq!(counts(&program), (0, 0));
}

#[test]
fn only_the_method_post_reloads() {
    let at = FakeBox::start();
    let program = start(&at, "");
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post"] {
        let answer = request(&program.operators, method, "/reload", "");
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(request(&program.operators, "POST", "/metrics", "").header("allow"), Some("GET, HEAD"));
    assert_eq!(request(&program.operators, "POST", "/reload/", "").status, 405);
    assert_eq!(counts(&program), (0, 0));
}

#[test]
fn sources_of_admin_apply_to_reloads() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let text = at.tables(&folder);
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\nsources = [\"192.0.2.0/24\"]";
    folder.write("proxy.toml", &format!("{text}\n[listen]\n{LISTEN}\n\n{admin}\n"));
    let run = command(BOXGATE, &folder);
    let program = Program::spawn(folder, run);
    let answer = post(&program, "");
    assert_eq!(answer.status, 403, "{}", answer.body);
    assert!(answer.body.contains("\"code\":\"source_not_allowed\""), "{}", answer.body);
}

#[test]
fn programs_and_own_pages_may_reload() {
    let at = FakeBox::start();
    let program = start(&at, "");
    let own = format!("Host: {0}\r\nOrigin: http://{0}\r\n", program.operators);
    for fields in
        ["".to_owned(), own.clone(), format!("{own}Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n")]
    {
        let answer = post(&program, &fields);
        assert_eq!(answer.status, 200, "{fields}{}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.body.starts_with("{\"result\":\"ok\",\"notes\":["), "{}", answer.body);
    }
    assert_eq!(counts(&program), (3, 0));
}

#[test]
fn a_body_is_read_and_ignored() {
    let at = FakeBox::start();
    let program = start(&at, "");
    let mut stream = send(&program.operators, "POST", "/reload", "Content-Length: 12\r\n");
    stream.write_all(b"{\"a\": [1, 2}").unwrap();
    assert_eq!(receive(stream).status, 200);
    assert_eq!(counts(&program), (1, 0));
}

#[test]
fn problems_are_answered_as_json_without_secrets() {
    let at = FakeBox::start();
    let program = start(&at, &app("a"));
    // The problem shows the path without its slash.
    let path = format!("{:?}", at.client_secret());
    rewrite(&program, &at, &app("a").replace("\"/a\"", &path));
    let answer = post(&program, "");
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert!(
        answer.body.starts_with("{\"result\":\"refused\",\"problems\":[\"proxy.toml:"),
        "{}",
        answer.body
    );
    let readiness = program.admin("/readyz");
    assert_eq!(readiness.status, 200);
    for text in [answer.body, readiness.body] {
        assert!(!text.contains(at.client_secret()) && text.contains("[secret]"), "{text}");
    }
}

#[test]
fn every_request_of_a_burst_is_answered() {
    let at = FakeBox::start();
    let program = start(&at, "");
    let streams: Vec<TcpStream> = (0..20).map(|_| send(&program.operators, "POST", "/reload", "")).collect();
    for stream in streams {
        assert_eq!(receive(stream).status, 200);
    }
    // How many of them share a reload depends on timing.
    let (taken_over, refused) = counts(&program);
    assert!((1..=20).contains(&taken_over) && refused == 0, "{taken_over} {refused}");
}

/// The flag's value on Linux, for all architectures on which the tests run.
const O_NONBLOCK: i32 = 0o4000;

#[test]
fn a_waiting_request_does_not_delay_the_stop() {
    let at = FakeBox::start();
    let mut program = start(&at, "");
    let hold = at.hold_replies(ME);
    let in_flight = send(&program.callers, "GET", ME, "");
    wait(at.wait_for_calls(1));
    // A secret on a file system that hangs: a named pipe into which nothing is written.
    let secret = program.folder.join("secret");
    std::fs::remove_file(&secret).unwrap();
    assert!(Command::new("mkfifo").arg(&secret).status().unwrap().success());
    let under_way = send(&program.operators, "POST", "/reload", "");
    let mut pipe = None;
    until("the secret is being read", || {
        pipe = File::options().write(true).custom_flags(O_NONBLOCK).open(&secret).ok();
        pipe.is_some()
    });
    let waiting = send(&program.operators, "POST", "/reload", "");
    program.terminate();
    program.err.wait_for(&["draining"]);
    let refused = post(&program, "");
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.body.contains("\"code\":\"reload_unavailable\""), "{}", refused.body);
    drop(hold);
    assert_eq!(receive(in_flight).status, 200);
    assert_eq!(program.exited().code(), Some(0));
    drop((under_way, waiting, pipe));
}
