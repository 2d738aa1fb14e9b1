//! Requests that arrive while the process stops: whoever has just connected is served.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::super::certificates::Authority;
use super::super::harness::{FakeBox, Folder, PATIENCE, Program, command, until, write_file};

const ME: &str = "/2.0/users/me";

fn connect(program: &Program) -> TcpStream {
    let stream = TcpStream::connect(&program.callers).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask(mut stream: &TcpStream) {
    stream.write_all(format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
}

/// All that comes until the connection ends, or is cut off.
fn rest(mut stream: &TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A program of one worker that has told its connections to end: one between requests has ended, one that has just
/// connected has not.
fn draining(at: &FakeBox) -> (Program, TcpStream) {
    let listen = "address = \"127.0.0.1:0\"\nworkers = 1";
    let program = Program::listening(at, listen, "[server]\ndrain_timeout = \"10m\"").ready();
    let kept = connect(&program);
    ask(&kept);
    program.out.wait_for(&["status=200", "end=complete"]);
    let new = connect(&program);
    program.terminate();
    let answer = rest(&kept);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    (program, new)
}

/// It has two seconds from its beginning, which a busy machine may take for something else: then it is tried again.
#[test]
fn a_caller_that_has_just_connected_is_still_served() {
    let at = FakeBox::start();
    let mut answers = Vec::new();
    for _ in 0..5 {
        let (mut program, new) = draining(&at);
        ask(&new);
        answers.push(rest(&new));
        assert_eq!(program.exited().code(), Some(0));
        let answer = answers.last().unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
            return;
        }
    }
    panic!("{answers:?}");
}

#[test]
fn a_caller_that_has_just_connected_and_asks_nothing_does_not_delay_the_end_for_long() {
    let at = FakeBox::start();
    let (mut program, new) = draining(&at);
    assert_eq!(program.exited().code(), Some(0));
    assert_eq!(rest(&new), "");
}

/// With TLS it has more to do before its request.
#[test]
fn a_handshake_that_has_begun_is_finished() {
    let at = FakeBox::start();
    let mut said = Vec::new();
    for _ in 0..5 {
        let (folder, authority) = (Folder::new(), Authority::new("Servers"));
        authority.server().write(&folder);
        folder.write("roots.pem", &authority.pem);
        let listen =
            "address = \"127.0.0.1:0\"\nworkers = 1\ntls = { cert = \"tls.crt\", key = \"tls.key\" }";
        write_file(&folder, &at, listen, "[server]\ndrain_timeout = \"10m\"");
        let run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
        let mut program = Program::spawn(folder, run).ready();
        // A relay tells when the gateway has the connection, and holds back what the caller sends until it drains.
        let port = program.callers.rsplit(':').next().unwrap().to_owned();
        let relay = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut curl = command("curl", &program.folder);
        curl.args(["--silent", "--show-error", "--cacert", "roots.pem", "--resolve"]);
        curl.arg(format!("localhost:{}:127.0.0.1", relay.local_addr().unwrap().port()));
        curl.arg(format!("https://localhost:{}{ME}", relay.local_addr().unwrap().port()));
        curl.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let curl = curl.spawn().unwrap();
        let (caller, _) = relay.accept().unwrap();
        let gateway = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        program.terminate();
        // Nearly at once after this, the worker tells its connections to end.
        until("no connection is accepted any more", || {
            TcpStream::connect(format!("127.0.0.1:{port}")).is_err()
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        let both = [(caller.try_clone().unwrap(), gateway.try_clone().unwrap()), (gateway, caller)];
        let copies = both.map(|(mut from, mut to)| {
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            })
        });
        let output = curl.wait_with_output().unwrap();
        copies.into_iter().for_each(|copy| copy.join().unwrap());
        assert_eq!(program.exited().code(), Some(0));
        said.push(output);
        if said.last().is_some_and(|output| String::from_utf8_lossy(&output.stdout).contains("\"login\"")) {
            return;
        }
    }
    panic!("{said:?}");
}
