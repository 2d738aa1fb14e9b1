//! Sockets that the service manager passes by `sd_listen_fds(3)`: an address of the configuration takes the one that is its
//! own.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};

use super::super::certificates::Authority;
use super::super::client::{receive, request, send};
use super::super::harness::{FakeBox, Folder, Program, boxgate, command};
use super::{copy, listening, passing, tables};

const ME: &str = "/2.0/users/me";

/// A folder with a configuration of these tables in front of this Box.
fn folder(at: &FakeBox, more: &str) -> Folder {
    let folder = Folder::new();
    folder.write("proxy.toml", &format!("{}{more}", at.tables(&folder)));
    folder
}

/// The output of a program that does not start, with this exit status.
fn refused(mut run: Command, status: i32) -> String {
    let output: Output = run.output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn curl(folder: &Path, arguments: &[&str]) -> String {
    let output = command("curl", folder).args(["--silent", "--show-error"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_address_takes_the_socket_that_has_it_and_the_socket_outlives_the_program() {
    let at = FakeBox::start();
    for any_port in ["127.0.0.1:0", "[::1]:0"] {
        let (socket, address) = listening(any_port);
        let address = address.to_string();
        let folder = folder(&at, &tables(&address, "127.0.0.1:0", ""));
        // Before the program runs it waits in the socket's queue.
        let waiting = send(&address, "GET", ME, "");
        let run = passing(&folder, &["boxgate.socket=stdin="], copy(&socket));
        let mut program = Program::spawn(folder, run);
        assert_eq!(program.callers, address);
        assert_eq!(receive(waiting).status, 200);
        program.err.wait_for(&["boxgate listens", &format!("passed=\"{address}\"")]);

        // Without the socket, the same file makes one instance too many.
        let second = refused(command(env!("CARGO_BIN_EXE_boxgate"), &program.folder), 1);
        assert!(second.contains(&format!("cannot listen on {address}: address in use")), "{second}");

        let reload = boxgate(&program.folder, &["reload", "--admin", &program.operators]);
        assert_eq!(reload.status.code(), Some(0), "{reload:?}");
        assert_eq!(program.get(ME).status, 200);
        program.terminate();
        assert_eq!(program.exited().code(), Some(0));
        TcpStream::connect(&address).expect("callers can still connect");
    }
}

#[test]
fn all_workers_serve_a_passed_socket() {
    let at = FakeBox::start();
    let (socket, address) = listening("127.0.0.1:0");
    let tables = tables(&address.to_string(), "127.0.0.1:0", "").replace("[admin]", "workers = 3\n[admin]");
    let folder = folder(&at, &tables);
    let run = passing(&folder, &["boxgate.socket=stdin="], copy(&socket));
    let program = Program::spawn(folder, run).ready();
    let hold = at.hold_replies(ME);
    // Connections go to the worker with the fewest: all are served at once.
    let waiting: Vec<_> = (0..6).map(|_| send(&program.callers, "GET", ME, "")).collect();
    super::super::harness::wait(at.wait_for_calls(6));
    drop(hold);
    assert!(waiting.into_iter().all(|stream| receive(stream).status == 200));
}

#[test]
fn a_unix_socket_stays_where_it_is() {
    let at = FakeBox::start();
    let place = Folder::new();
    let path = place.join("gate.sock");
    let name = format!("unix:{}?mode=0666", path.display());
    let folder = folder(&at, &tables(&name, "127.0.0.1:0", ""));
    let spec = format!("boxgate.socket=unix={}", path.display());
    let run = passing(&folder, &[&spec], None);
    let mut program = Program::spawn(folder, run);
    assert_eq!(program.callers, format!("unix:{}", path.display()));
    let url = format!("http://localhost{ME}");
    let answer = curl(&program.folder, &["--unix-socket", path.to_str().unwrap(), &url]);
    assert!(answer.contains("\"login\""), "{answer}");
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    assert!(path.exists(), "it is the service manager's");
}

#[test]
fn a_unix_socket_with_another_mode_or_group_than_is_configured_is_refused() {
    let at = FakeBox::start();
    for (parameters, words) in [
        ("?mode=0660", ["with mode 0666, and 0660 is configured", "SocketMode=0660"]),
        ("?group=4242", ["and 4242 is configured", "SocketGroup=4242"]),
    ] {
        let place = Folder::new();
        let path = place.join("gate.sock");
        let name = format!("unix:{}{parameters}", path.display());
        let folder = folder(&at, &tables(&name, "127.0.0.1:0", ""));
        let spec = format!("boxgate.socket=unix={}", path.display());
        let why = refused(passing(&folder, &[&spec], None), 2);
        for word in words {
            assert!(why.contains(word), "{why}");
        }
        assert!(path.exists());
    }
}

#[test]
fn operators_sockets_are_passed_too_and_a_flag_names_one_like_the_file() {
    let at = FakeBox::start();
    let place = Folder::new();
    let path = place.join("admin.sock");
    let (socket, address) = listening("127.0.0.1:0");
    let folder = folder(&at, &tables("127.0.0.1:1", "127.0.0.1:2", ""));
    let spec = format!("boxgate-admin.socket=unix={}", path.display());
    let mut run = passing(&folder, &["boxgate.socket=stdin=", &spec], copy(&socket));
    run.args(["run", "--listen", &address.to_string(), "--admin", &format!("unix:{}", path.display())]);
    let program = Program::spawn(folder, run);
    assert_eq!(request(&address.to_string(), "GET", ME, "").status, 200);
    let health = boxgate(&program.folder, &["health", "--admin", &program.operators]);
    assert_eq!(health.status.code(), Some(0), "{health:?}");
}

#[test]
fn tls_and_proxy_protocol_are_spoken_on_a_passed_socket() {
    let at = FakeBox::start();
    let (socket, address) = listening("127.0.0.1:0");
    let authority = Authority::new("Servers");
    let more = "proxy_protocol = [\"127.0.0.1\"]\ntls = { cert = \"tls.crt\", key = \"tls.key\" }\n[admin]";
    let tables = tables(&address.to_string(), "127.0.0.1:0", "").replace("[admin]", more);
    let folder = folder(&at, &tables);
    authority.server().write(&folder);
    folder.write("roots.pem", &authority.pem);
    let run = passing(&folder, &["boxgate.socket=stdin="], copy(&socket));
    let program = Program::spawn(folder, run);
    assert_eq!(program.callers, format!("https://{address}"));
    let url = format!("https://{address}{ME}");
    let answer = curl(&program.folder, &["--cacert", "roots.pem", "--haproxy-protocol", &url]);
    assert!(answer.contains("\"login\""), "{answer}");
}

#[test]
fn a_socket_that_no_address_names_ends_the_start_with_both_sides() {
    let at = FakeBox::start();
    let (socket, address) = listening("127.0.0.1:0");
    let (free, other) = listening("127.0.0.1:0");
    drop(free);
    let folder = folder(&at, &tables(&other.to_string(), "127.0.0.1:0", ""));
    let why = refused(passing(&folder, &["boxgate.socket=stdin="], copy(&socket)), 2);
    assert!(why.contains(&format!("boxgate.socket (descriptor 3), which listens on {address}")), "{why}");
    assert!(why.contains(&format!("[listen] address is {other}")), "{why}");
    assert!(why.contains("ListenStream="), "{why}");
}

#[test]
fn what_does_not_listen_ends_the_start() {
    let at = FakeBox::start();
    let folder = folder(&at, &tables("127.0.0.1:0", "127.0.0.1:0", ""));
    for (kind, words) in [
        ("datagram", "neither a TCP nor a Unix stream socket"),
        ("file", "neither a TCP nor a Unix stream socket"),
        ("idle", "Accept=no"),
    ] {
        let why = refused(passing(&folder, &[&format!("odd.socket={kind}=")], None), 2);
        assert!(why.contains("descriptor 3 (odd.socket)") && why.contains(words), "{why}");
    }
    let mut run = command("sh", &folder);
    let script = "LISTEN_PID=$$ LISTEN_FDS=many exec \"$0\"";
    run.args(["-c", script, env!("CARGO_BIN_EXE_boxgate")]);
    let why = refused(run, 2);
    assert!(why.contains("LISTEN_FDS=\"many\""), "{why}");
}

#[test]
fn sockets_of_another_process_are_left_alone_and_addresses_without_a_socket_are_bound() {
    let at = FakeBox::start();
    let (socket, _) = listening("127.0.0.1:0");
    let folder = folder(&at, &tables("127.0.0.1:0", "127.0.0.1:0", ""));
    let mut run = passing(&folder, &["boxgate.socket=stdin="], copy(&socket));
    run.env("TEST_PID", "1");
    let program = Program::spawn(folder, run);
    assert_eq!(program.get(ME).status, 200);
}
