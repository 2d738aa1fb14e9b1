//! `boxgate health`: one line, and exit status 0 or 1.

use std::net::TcpListener;
use std::process::Output;

use boxgate::sandbox::{Options, TokenAnswer};

use super::fake_admin::{FakeAdmin, Reply};
use super::harness::{FakeBox, Folder, Program, boxgate, command, until};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");

/// What it printed and its exit status. It is one line on the right stream.
fn said(output: &Output) -> (String, i32) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let status = output.status.code().unwrap();
    let (line, other) = if status == 0 { (out, err) } else { (err, out) };
    assert_eq!(other, "", "{status}: {line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    (line.trim_end().to_owned(), status)
}

fn health_at(address: &str, more: &[&str]) -> (String, i32) {
    let arguments = [&["health", "--admin", address], more].concat();
    said(&boxgate(&Folder::new(), &arguments))
}

/// It ends with 1 and all of these words.
fn unhealthy(answer: (String, i32), words: &[&str]) {
    assert_eq!(answer.1, 1, "{}", answer.0);
    for word in words {
        assert!(answer.0.contains(word), "{word} in {}", answer.0);
    }
}

/// Answers each request with this and closes.
fn server(status: &str, body: &str) -> String {
    FakeAdmin::start(Reply::answer(status, body)).address
}

#[test]
fn a_gateway_is_alive_and_ready_once_it_has_a_token() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "").ready();
    assert_eq!(health_at(&program.operators, &[]), ("alive".to_owned(), 0));
    assert_eq!(health_at(&format!("http://{}/", program.operators), &["--ready"]), ("ready".to_owned(), 0));
    program.terminate();
    assert!(program.exited().success());
    unhealthy(health_at(&program.operators, &[]), &["cannot reach", "is the gateway running?"]);
}

#[test]
fn a_gateway_whose_secret_is_refused_is_alive_and_says_why_it_is_not_ready() {
    let refused = TokenAnswer::Body {
        status: 400,
        body: r#"{"error":"invalid_client","error_description":"The client credentials are invalid"}"#
            .to_owned(),
        content_type: "application/json".to_owned(),
    };
    let at = FakeBox::with(Options::default());
    at.token_always(Some(refused));
    let program = Program::start(&at, "");
    until("the refusal", || program.admin("/readyz").body.contains("invalid_client"));
    assert_eq!(health_at(&program.operators, &[]), ("alive".to_owned(), 0));
    let answer = health_at(&program.operators, &["--ready"]);
    unhealthy(answer, &["boxgate: not ready: ", "identity service", "invalid_client"]);
}

#[test]
fn the_listener_is_found_in_the_file_or_in_the_environment_and_may_be_a_unix_socket() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let address = format!("unix:{}", folder.join("admin.sock").display());
    let tables = at.tables(&folder);
    folder.write(
        "proxy.toml",
        &format!("{tables}\n[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = {address:?}\n"),
    );
    let run = command(BOXGATE, &folder);
    let program = Program::spawn(folder, run);
    let elsewhere = Folder::new();
    let file = program.folder.join("proxy.toml");
    let mut by_variable = command(BOXGATE, &elsewhere);
    by_variable.arg("health").env("BOXGATE_ADMIN", &address);
    for output in [
        boxgate(&program.folder, &["health"]),
        boxgate(&elsewhere, &["health", "--config", file.to_str().unwrap()]),
        boxgate(&elsewhere, &["health", "--admin", &address]),
        by_variable.output().unwrap(),
    ] {
        assert_eq!(said(&output), ("alive".to_owned(), 0));
    }
}

#[test]
fn what_is_not_well_is_one_line_and_exit_status_1() {
    // The options cannot be used.
    unhealthy(health_at("8081", &[]), &["--admin \"8081\"", "unix:PATH"]);
    let folder = Folder::new();
    folder.write("proxy.toml", "[admin]\naddress = [\"8081\", \"x\"]\n");
    unhealthy(said(&boxgate(&folder, &["health"])), &["admin.address", "; --admin names the listener"]);
    // Something else listens there, or does not know the question.
    for (status, body) in
        [("200 OK", "<html>"), ("200 OK", ""), ("404 Not Found", "ok\n"), ("503 Down", "<html>\n<p>\n")]
    {
        for more in [&[][..], &["--ready"]] {
            let words = ["is not an admin listener of boxgate", &status[..3]];
            unhealthy(health_at(&server(status, body), more), &words);
        }
    }
    unhealthy(health_at(&server("200 OK", "ready\n"), &[]), &["it answers GET /healthz with 200"]);
    unhealthy(health_at(&server("200 OK", "ok\n"), &["--ready"]), &["it answers GET /readyz with 200"]);
    // What it says cannot direct a terminal.
    let hostile = server("503 Service Unavailable", "draining\na\u{1b}[2J\nb\n");
    unhealthy(health_at(&hostile, &["--ready"]), &["not ready: draining; a\\u{1b}[2J; b"]);
    let refusal = server("403 Forbidden", r#"{"code":"source_not_allowed","message":"Not you."}"#);
    unhealthy(health_at(&refusal, &[]), &["403 (source_not_allowed): Not you."]);
}

#[test]
fn a_gateway_that_does_not_answer_is_given_up_on() {
    // Its connections are accepted by the system, and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    unhealthy(health_at(&address, &[]), &["does not answer GET /healthz within 5s"]);
}
