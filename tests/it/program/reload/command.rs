//! `boxgate reload`.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use super::super::certificates::Authority;
use super::super::fake_gateway::{Behaviour, FakeServer, tls};
use super::super::harness::{PATIENCE, boxgate};
use super::*;

fn reload(program: &Program) -> Output {
    boxgate(&program.folder, &["reload", "--admin", &program.operators])
}

/// Runs `boxgate reload` against this listener, which is not a gateway.
fn reload_at(address: SocketAddr) -> Output {
    boxgate(&Folder::new(), &["reload", "--admin", &address.to_string()])
}

/// Expects exit status 2, an empty standard output and all of these texts on standard error.
fn unreachable(output: &Output, words: &[&str]) {
    assert_eq!((out(output).as_str(), output.status.code()), ("", Some(2)), "{}", err(output));
    for word in words {
        assert!(err(output).contains(word), "{word} in {}", err(output));
    }
}

/// Answers the next connection's request with this text once `until` is notified, then closes.
fn answering(text: &str, until: mpsc::Receiver<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let text = text.to_owned();
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("POST /reload HTTP/1.1\r\n"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("origin:"), "{head}");
        let _ = until.recv();
        let _ = stream.write_all(text.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    address
}

/// Answers at once.
fn server(text: &str) -> SocketAddr {
    answering(text, mpsc::channel().1)
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_changed_file_is_taken_over() {
    let at = FakeBox::start();
    let program = start(&at, &app("a"));
    let since = || {
        let text = program.admin("/metrics").body;
        let name = "boxgate_config_last_reload_success_timestamp_seconds ";
        text.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok()).unwrap()
    };
    let started = since();
    assert_eq!(program.get(&format!("/b{ME}")).status, 404);
    rewrite(&program, &at, &(app("a") + &app("b")));
    let output = reload(&program);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(out(&output).lines().next(), Some("the configuration was taken over"));
    assert_eq!(err(&output), "");
    for app in ["a", "b"] {
        assert_eq!(program.get(&format!("/{app}{ME}")).status, 200, "{app}");
    }
    assert_eq!(counts(&program), (1, 0));
    assert_eq!(program.metric("boxgate_config_last_reload_successful"), 1);
    assert!(since() > started);
}

#[test]
fn a_bad_file_changes_nothing_and_every_problem_is_printed() {
    let at = FakeBox::start();
    let program = start(&at, &app("a"));
    rewrite(&program, &at, &(app("b") + "[server]\ndrain_delay = \"soon\"\ndrain = 1\n"));
    let output = reload(&program);
    assert_eq!((out(&output).as_str(), output.status.code()), ("", Some(1)), "{}", err(&output));
    // In the same words as at a start.
    let start = boxgate(&program.folder, &["run"]);
    assert_eq!(start.status.code(), Some(2));
    let problems: Vec<String> = err(&start).lines().map(ToOwned::to_owned).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    let said = err(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], problems[..]);
    assert!(lines[2].starts_with("boxgate: 2 problems; nothing has changed"), "{said}");
    assert_eq!(lines.len(), 3, "{said}");

    assert_eq!(program.get(&format!("/a{ME}")).status, 200);
    assert_eq!(program.get(&format!("/b{ME}")).status, 404);
    assert_eq!(counts(&program), (0, 1));
    // Still so when the count no longer grows.
    assert_eq!(program.metric("boxgate_config_last_reload_successful"), 0);
    let readiness = program.admin("/readyz");
    assert_eq!(readiness.status, 200);
    let note = format!(" (POST /reload): 2 problems, the first: {}", problems[0]);
    let line = readiness
        .body
        .lines()
        .find(|line| line.contains(&note))
        .unwrap_or_else(|| panic!("{}", readiness.body));
    let at_time =
        line.strip_prefix("the configuration was not taken over at ").unwrap().split(' ').next().unwrap();
    at_time.parse::<jiff::Timestamp>().unwrap();

    rewrite(&program, &at, &app("b"));
    assert_eq!(reload(&program).status.code(), Some(0));
    assert_eq!(program.admin("/readyz").body, "ready\n");
    assert_eq!(counts(&program), (1, 1));
}

#[test]
fn the_listener_is_read_from_the_file_or_the_environment_and_may_be_a_unix_socket() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let socket = folder.join("admin.sock");
    let address = format!("unix:{}?mode=0600", socket.display());
    let tables = at.tables(&folder);
    folder.write("proxy.toml", &format!("{tables}\n[listen]\n{LISTEN}\n\n[admin]\naddress = {address:?}\n"));
    let mut run = command(BOXGATE, &folder);
    run.args(["run", "--no-watch"]);
    let program = Program::spawn(folder, run);
    let elsewhere = Folder::new();
    let file = program.folder.join("proxy.toml");
    let mut by_variable = command(BOXGATE, &elsewhere);
    by_variable.arg("reload").env("BOXGATE_ADMIN", &address);
    for output in [
        boxgate(&program.folder, &["reload"]),
        boxgate(&elsewhere, &["reload", "--config", file.to_str().unwrap()]),
        boxgate(&elsewhere, &["reload", "--admin", &format!("unix:{}", socket.display())]),
        by_variable.output().unwrap(),
    ] {
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    }
    // Even a file that the gateway refuses still names its listener.
    program
        .folder
        .write("proxy.toml", &format!("{tables}\n[listen]\nadress = 1\n\n[admin]\naddress = {address:?}\n"));
    let refused = boxgate(&program.folder, &["reload"]);
    assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
    assert!(err(&refused).contains("listen.adress: unknown key"), "{}", err(&refused));
}

#[test]
fn two_at_once_are_both_answered() {
    let at = FakeBox::start();
    let program = start(&at, "");
    let start = || {
        let mut command = command(BOXGATE, &program.folder);
        command.args(["reload", "--admin", &program.operators]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let (one, two) = (start(), start());
    for child in [one, two] {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    }
    assert!(matches!(counts(&program), (1 | 2, 0)), "{:?}", counts(&program));
}

#[test]
fn an_unreachable_listener_is_reported_with_its_source() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tried = format!("cannot reach the gateway's admin listener at http://{gone}");
    unreachable(
        &reload_at(gone),
        &[&tried, "--admin or BOXGATE_ADMIN", "connection refused", "is the gateway running?"],
    );

    let folder = Folder::new();
    folder.write("proxy.toml", &format!("[admin]\naddress = \"{gone}\"\n"));
    unreachable(&boxgate(&folder, &["reload"]), &[&tried, "([admin] address of proxy.toml)"]);

    let socket = folder.join("none.sock");
    let socket = format!("unix:{}", socket.display());
    unreachable(&boxgate(&folder, &["reload", "--admin", &socket]), &[&socket, "entity not found"]);
    unreachable(&boxgate(&folder, &["reload", "--admin", "8081"]), &["--admin \"8081\"", "unix:PATH"]);
    unreachable(
        &boxgate(&folder, &["reload", "--config", "none.toml"]),
        &["none.toml", "cannot be read", "--admin"],
    );
}

#[test]
fn notes_and_problems_of_the_answer_are_printed_line_by_line() {
    let taken_over = server(&http("200 OK", r#"{"result":"ok","notes":["one","two \u001b[2J"]}"#));
    let output = reload_at(taken_over);
    assert_eq!(out(&output), "the configuration was taken over\none\ntwo \\u{1b}[2J\n");
    assert_eq!((err(&output).as_str(), output.status.code()), ("", Some(0)));

    let refused =
        server(&http("422 Unprocessable Content", r#"{"result":"refused","problems":["a:1:1: b"]}"#));
    let output = reload_at(refused);
    let end = format!(
        "boxgate: 1 problem; nothing has changed: the gateway at http://{refused} keeps its configuration\n"
    );
    assert_eq!(err(&output), format!("a:1:1: b\n{end}"));
    assert_eq!((out(&output).as_str(), output.status.code()), ("", Some(1)));
}

#[test]
fn a_redirect_is_not_followed_and_no_proxy_is_used() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let elsewhere = format!("http://{}", other.local_addr().unwrap());
    let folder = Folder::new();
    for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let text = format!("HTTP/1.1 {status}\r\nLocation: {elsewhere}/reload\r\nContent-Length: 0\r\n\r\n");
        let mut command = command(BOXGATE, &folder);
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"] {
            command.env(name, &elsewhere);
        }
        command.args(["reload", "--admin", &format!("http://{}", server(&text))]);
        unreachable(
            &command.output().unwrap(),
            &["is not an admin listener of boxgate", &status[..3], "redirects are not followed"],
        );
    }
    assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn responses_of_other_servers_are_distinguished_from_refusals() {
    for text in [
        http("200 OK", "<html>"),
        http("200 OK", ""),
        http("204 No Content", ""),
        http("200 OK", r#"{"result":"refused","problems":[]}"#),
        http("422 Unprocessable Content", r#"{"result":"ok","notes":[]}"#),
        http("200 OK", r#"{"result":"ok"}"#),
        http("404 Not Found", "here are /healthz, /readyz and /metrics\n"),
    ] {
        unreachable(
            &reload_at(server(&text)),
            &["is not an admin listener of boxgate", &text[9..12], "--admin names another"],
        );
    }
    unreachable(
        &reload_at(server("SSH-2.0-OpenSSH_9.6\r\n")),
        &["is not an admin listener of boxgate: the response is not HTTP"],
    );
    for text in ["", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"] {
        unreachable(&reload_at(server(text)), &["broke off its answer to POST /reload", "its log has"]);
    }
    let refusal =
        r#"{"type":"error","status":403,"code":"source_not_allowed","message":"Your address \u001b[2J."}"#;
    let words = ["answers POST /reload with 403 (source_not_allowed): Your address \\u{1b}[2J."];
    unreachable(&reload_at(server(&http("403 Forbidden", refusal))), &words);
}

#[test]
fn a_slow_reload_prints_what_it_waits_for() {
    let (go, until) = mpsc::channel();
    let slow = answering(&http("200 OK", r#"{"result":"ok","notes":[]}"#), until);
    let mut command = command(BOXGATE, Path::new("/"));
    command.args(["reload", "--admin", &slow.to_string()]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let waits = format!(
        "boxgate: waiting for the gateway at http://{slow} to answer POST /reload, for 60s at most\n"
    );
    assert_eq!(line, waits);
    go.send(()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (out(&output).as_str(), output.status.code()),
        ("the configuration was taken over\n", Some(0))
    );
}

/// The listener behind a TLS proxy.
#[test]
fn a_listener_may_be_behind_tls_that_the_platform_trusts() {
    let (folder, authority) = (Folder::new(), Authority::new("Operators"));
    let server = FakeServer::start(Behaviour {
        outer: Some(tls(&authority.server())),
        text: r#"{"result":"ok","notes":[]}"#,
        ..Behaviour::default()
    });
    folder.write("ca.pem", &authority.pem);
    folder.write("other.pem", &Authority::new("Other").pem);
    let at = |ca: &str| {
        let mut command = command(BOXGATE, &folder);
        command.args(["reload", "--admin", &format!("https://localhost:{}", server.address.port())]);
        command.env("SSL_CERT_FILE", folder.join(ca)).output().unwrap()
    };
    let output = at("ca.pem");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    unreachable(
        &at("other.pem"),
        &["cannot reach", "no authority that this machine trusts", "--ca-file", "SSL_CERT_FILE"],
    );
}
