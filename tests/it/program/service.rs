//! Under a service manager: what it is told, and the sockets that it passes.

mod back_up; // the state, copied and restored
mod draining; // requests that arrive while the process stops
mod machine; // a machine with a real systemd
mod notices; // what the service manager is told
mod passed_sockets; // sockets that it passes
mod units; // the units of deploy/systemd
mod upgrade; // another process takes the socket over

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use super::harness::command;

/// Starts the program after its arguments with the sockets before it, as a service manager does: the socket that is its
/// standard input, and more that it binds.
const PASSING: &str = r#"
import os, socket, sys
specs, program = sys.argv[1].split(), sys.argv[2:]
passed, names = [], []
for spec in specs:
    name, kind, place = spec.split("=", 2)
    if kind == "stdin":
        passed.append(os.dup(0))
    elif kind == "unix":
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(place)
        os.chmod(place, 0o666)
        made.listen(64)
        passed.append(made.detach())
    elif kind == "datagram":
        passed.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach())
    elif kind == "idle":
        passed.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach())
    elif kind == "file":
        passed.append(os.open("/dev/null", os.O_RDONLY))
    names.append(name)
os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
# Out of the way first, so that none is overwritten.
high = [os.dup2(fd, 100 + n) for n, fd in enumerate(passed)]
for n, fd in enumerate(high):
    os.dup2(fd, 3 + n)
    os.close(fd)
os.environ.update(LISTEN_PID=os.environ.get("TEST_PID", str(os.getpid())), LISTEN_FDS=str(len(passed)), LISTEN_FDNAMES=":".join(names))
os.execv(program[0], program)
"#;

/// boxgate with these sockets, each `NAME=KIND=PLACE`. The kind `stdin` is `inherited`.
fn passing(folder: &Path, sockets: &[&str], inherited: Option<OwnedFd>) -> Command {
    let mut run = command("python3", folder);
    run.args(["-c", PASSING, &sockets.join(" "), env!("CARGO_BIN_EXE_boxgate")]);
    if let Some(socket) = inherited {
        run.stdin(Stdio::from(socket));
    }
    run
}

/// `[listen]` and `[admin]` with these addresses, and more tables.
fn tables(callers: &str, operators: &str, more: &str) -> String {
    let mut text = String::new();
    write!(text, "\n[listen]\naddress = {callers:?}\n[admin]\naddress = {operators:?}\n{more}\n").unwrap();
    text
}

/// A listening socket of the test's, which lives as long as the test wants, and its address.
fn listening(at: &str) -> (std::net::TcpListener, SocketAddr) {
    let socket = std::net::TcpListener::bind(at).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn copy(socket: &std::net::TcpListener) -> Option<OwnedFd> {
    Some(socket.try_clone().unwrap().into())
}
