//! Descriptors and memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use boxgate::sandbox::{Content, Fault, Options, Protocols};

use super::client::{receive, send};
use super::harness::{FakeBox, Folder, PATIENCE, Program, command, until, wait, write_file};
use crate::raw::caller::fields;
use crate::raw::frames;

const ME: &str = "/2.0/users/me";
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Callers take neither the descriptors of operators nor all of those for connections to Box.
#[test]
fn callers_cannot_take_the_last_descriptors() {
    let at = FakeBox::with(Options { protocols: Protocols::Http1, ..Options::default() });
    let folder = Folder::new();
    write_file(&folder, &at, "address = \"127.0.0.1:0\"\nworkers = 1", "");
    let mut limited = command("sh", &folder);
    limited.args(["-c", "ulimit -n 64; exec \"$0\"", env!("CARGO_BIN_EXE_boxgate")]);
    let program = Program::spawn(folder, limited).ready();
    let most = figure(&program, "boxgate_connections_max ");
    assert!((1..=64).contains(&most), "{most}");
    let idle: Vec<_> = (0..200).map(|_| TcpStream::connect(&program.callers).unwrap()).collect();
    until("more are closed", || figure(&program, "boxgate_connections_refused_total ") == 200 - most);
    // The worker counts them once it has taken them over.
    until("the others are open", || figure(&program, "boxgate_connections ") == most);
    program.err.wait_for(&["max_connections"]);
    drop(idle);
    until("there is room", || figure(&program, "boxgate_connections ") == 0);
    assert_eq!(program.get(ME).status, 200);
}

/// Operators that do not read cannot take descriptors from callers.
#[test]
fn operators_connections_are_bounded() {
    let at = FakeBox::start();
    let program = Program::start(&at, "").ready();
    let idle: Vec<_> = (0..40).map(|_| TcpStream::connect(&program.operators).unwrap()).collect();
    let closed = |socket: &TcpStream| {
        socket.set_nonblocking(true).unwrap();
        !matches!((&*socket).read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    until("more are closed", || idle.iter().filter(|socket| closed(socket)).count() >= 8);
    assert_eq!(program.get(ME).status, 200);
    drop(idle);
    until("there is room", || {
        let socket = TcpStream::connect(&program.operators);
        socket.is_ok_and(|mut socket| {
            let _ =
                socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let mut answer = String::new();
            socket.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
        })
    });
}

/// Requests on one connection may need more connections to Box than there are descriptors.
#[test]
fn requests_cannot_take_the_last_descriptors() {
    let at = FakeBox::with(Options { protocols: Protocols::Http1, ..Options::default() });
    let folder = Folder::new();
    let listen = "address = \"127.0.0.1:0\"\nworkers = 1\nmax_connections = 2";
    write_file(&folder, &at, listen, "[server]\nkeepalive_timeout = \"10m\"");
    let mut limited = command("sh", &folder);
    limited.args(["-c", "ulimit -n 64; exec \"$0\"", env!("CARGO_BIN_EXE_boxgate")]);
    let program = Program::spawn(folder, limited).ready();
    let hold = at.hold_replies(ME);
    let mut caller = Http2::connect(&program.callers, 1 << 20);
    (0..100).for_each(|_| caller.get(ME));
    // Requests without room wait and are finally refused.
    until("some wait at Box", || at.requests_in_flight() > 0);
    assert_eq!(program.admin("/healthz").status, 200);
    until("the others are refused", || {
        let text = program.admin("/metrics").body;
        text.lines()
            .any(|line| line.starts_with("boxgate_requests_total{") && line.contains("status=\"503\""))
    });
    assert_eq!(program.admin("/healthz").status, 200);
    drop(hold);
    drop(caller);
    until("all are done", || at.requests_in_flight() == 0);
    assert_eq!(program.get(ME).status, 200);
}

fn figure(program: &Program, line: &str) -> u64 {
    let text = program.admin("/metrics").body;
    let found = text.lines().find_map(|have| have.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {line} in {text}"))
}

/// An idle HTTP/1.1 connection is its socket and next to nothing else, of whatever was sent over it.
#[test]
fn two_thousand_idle_callers_take_a_few_kibibytes_each() {
    const CALLERS: u64 = 2_000;
    let at = FakeBox::start();
    let program = Program::start(&at, "[limits]\nbox_defaults = false").ready();
    let request = format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(6_000));
    let asks = |socket: &mut TcpStream| {
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // The sandbox's answer to this request ends with its JSON object.
        while !answer.ends_with(b"}") {
            let mut piece = [0; 4096];
            let count = socket.read(&mut piece).unwrap();
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    };
    let connect = || {
        let mut socket = TcpStream::connect(&program.callers).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        asks(&mut socket);
        socket
    };
    let _first: Vec<_> = (0..100).map(|_| connect()).collect();
    until("the first are parked", || figure(&program, "boxgate_connections_parked ") == 100);
    let before = memory(&program, "VmRSS");
    let _others: Vec<_> = (0..CALLERS).map(|_| connect()).collect();
    until("all are parked", || figure(&program, "boxgate_connections_parked ") == 100 + CALLERS);
    until("what they no longer need is given back", || {
        memory(&program, "VmRSS").saturating_sub(before) / CALLERS < 4 * 1024
    });
}

/// Also where nothing comes after the burst.
#[test]
fn the_memory_of_a_burst_is_given_back() {
    const CALLERS: usize = 500;
    let at = FakeBox::start();
    let folder = Folder::new();
    let more = "[limits]\nbox_defaults = false\n[server]\nheader_timeout = \"10m\"";
    write_file(&folder, &at, "address = \"127.0.0.1:0\"", more);
    // Memory that is locked is not given back.
    let mut run = command("sh", &folder);
    run.args(["-c", "ulimit -l 64; exec \"$0\"", env!("CARGO_BIN_EXE_boxgate")]);
    let program = Program::spawn(folder, run).ready();
    assert_eq!(program.get(ME).status, 200);
    let before = memory(&program, "RssAnon");
    let begun = format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\nX-Long: {}", "x".repeat(24_000));
    let connect = |_| {
        let mut socket = TcpStream::connect(&program.callers).unwrap();
        socket.write_all(begun.as_bytes()).unwrap();
        socket
    };
    let callers: Vec<_> = (0..CALLERS).map(connect).collect();
    let held = CALLERS as u64 * 24_000;
    until("all heads are held", || memory(&program, "RssAnon") > before + held);
    drop(callers);
    until("it is given back", || memory(&program, "RssAnon") < before + held / 4);
}

/// Pages of 2 MiB would be kept by one small allocation each.
#[test]
#[cfg(target_os = "linux")]
fn huge_pages_are_declined() {
    let at = FakeBox::start();
    let program = Program::start(&at, "").ready();
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    // Kernels before 5.0 do not say.
    if let Some(line) = status.lines().find(|line| line.starts_with("THP_enabled:")) {
        assert_eq!(line, "THP_enabled:\t0");
    }
}

/// What docs/deployment/sizing.md says of streams that their callers do not read: content, and other answers.
#[test]
fn a_thousand_stalled_streams_stay_within_their_bound() {
    const STREAMS: u64 = 1_000;
    let at = FakeBox::start();
    let file = at.add_file("0", "big.bin", Content::Zeros(64 * MIB));
    let large =
        Fault::RawBody { headers: Default::default(), pieces: vec![vec![0; 8 * MIB as usize].into()] };
    at.script(ME, vec![large; STREAMS as usize]);
    for (path, bound) in [(format!("/api/2.0/files/{file}/content"), 250 * MIB), (ME.to_owned(), 400 * MIB)] {
        let program = Program::start(&at, "[limits]\nbox_defaults = false").ready();
        let before = memory(&program, "VmRSS");
        let callers: Vec<_> = (0..10)
            .map(|_| {
                let mut caller = Http2::connect(&program.callers, 0);
                (0..STREAMS / 10).for_each(|_| caller.get(&path));
                caller
            })
            .collect();
        all_in_flight(&at, STREAMS as usize);
        // Box sends until every window is full, for which there is no event.
        let mut last = 0;
        until("it grows no more", || {
            thread::sleep(Duration::from_millis(300));
            let now = memory(&program, "VmRSS");
            std::mem::replace(&mut last, now) == now
        });
        let grown = memory(&program, "VmHWM").saturating_sub(before);
        assert!(grown < bound, "{path}: {} MiB", grown / MIB);
        drop((callers, program));
        wait(at.wait_for_in_flight(0));
    }
}

/// Waits as long as more calls arrive: a thousand connections with TLS take a busy machine a while.
fn all_in_flight(at: &FakeBox, count: usize) {
    let mut seen = 0;
    loop {
        let arrived = wait(async { tokio::time::timeout(PATIENCE / 2, at.wait_for_in_flight(count)).await });
        if arrived.is_ok() {
            return;
        }
        let now = at.requests_in_flight();
        assert!(now > seen, "of {count} calls {now} are in flight, and no more arrive");
        seen = now;
    }
}

/// An HTTP/2 caller that reads nothing.
struct Http2 {
    socket: TcpStream,
    stream: u32,
}

impl Http2 {
    fn connect(address: &str, window: u32) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        let hello = [frames::PREFACE.to_vec(), frames::settings(&[(4, window)]), frames::settings_ack()];
        socket.write_all(&hello.concat()).unwrap();
        Self { socket, stream: 1 }
    }

    fn get(&mut self, path: &str) {
        let head = frames::headers(self.stream, true, &fields("GET", path));
        self.socket.write_all(&head).unwrap();
        self.stream += 2;
    }
}

#[test]
fn a_gibibyte_in_either_direction_takes_no_memory() {
    let at = FakeBox::start();
    let file = at.add_file("0", "big.bin", Content::Zeros(GIB));
    let small = at.add_file("0", "small.bin", Content::Zeros(MIB));
    let program = Program::start(&at, "").ready();
    // What is allocated once is not growth.
    assert_eq!(program.get(&format!("/api/2.0/files/{small}/content")).status, 200);
    let before = memory(&program, "VmRSS");

    assert_eq!(download(&program, &file), GIB);
    // Box reads the whole body, then refuses it: nobody has to sum it up.
    at.script("/api/2.0/files/content", vec![Fault::status(403)]);
    let fields = format!("Content-Type: application/octet-stream\r\nContent-Length: {GIB}\r\n");
    let mut upload = send(&program.callers, "POST", "/2.0/files/content", &fields);
    let piece = vec![0; 256 * 1024];
    for _ in 0..GIB / piece.len() as u64 {
        upload.write_all(&piece).unwrap();
    }
    assert_eq!(receive(upload).status, 403);
    assert_eq!(at.last_seen().unwrap().body_bytes, GIB);

    let grown = memory(&program, "VmHWM").saturating_sub(before);
    assert!(grown < 32 * MIB, "{} KiB", grown / 1024);
}

/// The bytes of a file's content.
fn download(program: &Program, file: &str) -> u64 {
    let mut stream = send(&program.callers, "GET", &format!("/api/2.0/files/{file}/content"), "");
    let mut piece = vec![0; 256 * 1024];
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains(&format!("content-length: {GIB}")), "{head}");
    let mut length = 0;
    loop {
        match stream.read(&mut piece).unwrap() {
            0 => return length,
            count => length += count as u64,
        }
    }
}

/// A line of the process's status, in bytes.
fn memory(program: &Program, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
