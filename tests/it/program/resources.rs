//! Sockets, descriptors, memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;

use boxgate::sandbox::{Content, Fault};

use super::client::{receive, send};
use super::harness::{FakeBox, Folder, Program, boxgate, command, write_file};

const ME: &str = "/2.0/users/me";
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

#[test]
fn a_unix_socket_serves_replaces_a_stale_file_and_leaves_none() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let path = folder.join("gate.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a file without a listener, as after a crash");
    write_file(&folder, &at, &format!("address = \"unix:{}\"", path.display()), "");
    let run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    let mut program = Program::spawn(folder, run);
    assert_eq!(program.callers, format!("unix:{}", path.display()));

    let mut curl = command("curl", &program.folder);
    curl.args(["--silent", "--fail", "--unix-socket"]).arg(&path).arg(format!("http://localhost{ME}"));
    let output = curl.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"login\""), "{output:?}");

    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_socket_file_with_a_listener_is_left_alone() {
    let at = FakeBox::start();
    let place = Folder::new();
    let path = place.join("gate.sock");
    let address = format!("address = \"unix:{}\"", path.display());
    let first = Program::listening(&at, &address, "");
    let folder = Folder::new();
    write_file(&folder, &at, &address, "");
    let second = boxgate(&folder, &[]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("address in use"), "{second:?}");
    assert!(path.exists());
    drop(first);
}

#[test]
fn running_out_of_descriptors_passes() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    write_file(&folder, &at, "address = \"127.0.0.1:0\"\nworkers = 1", "");
    let mut limited = command("sh", &folder);
    limited.args(["-c", "ulimit -n 40; exec \"$0\"", env!("CARGO_BIN_EXE_boxgate")]);
    let program = Program::spawn(folder, limited).ready();
    assert_eq!(program.get(ME).status, 200);
    let idle: Vec<_> = (0..60).map(|_| TcpStream::connect(&program.callers).unwrap()).collect();
    program.err.wait_for(&["connections cannot be accepted"]);
    drop(idle);
    assert_eq!(program.get(ME).status, 200);
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
