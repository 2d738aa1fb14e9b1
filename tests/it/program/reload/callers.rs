//! Which connections stay.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

/// Asks on a connection that stays open, and reads the answer, whose end is its body's.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    while !bytes.ends_with(b"}") {
        let count = stream.read(&mut piece).unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn an_open_connection_goes_on_under_the_new_configuration() {
    let running = Running::start(&[], "");
    let mut kept = TcpStream::connect(&running.program.callers).unwrap();
    assert!(ask(&mut kept).starts_with("HTTP/1.1 200"));
    running.take_over("[[app]]\nname = \"off\"\nenabled = false\n");
    assert!(ask(&mut kept).starts_with("HTTP/1.1 503"));
    running.take_over("");
    assert!(ask(&mut kept).starts_with("HTTP/1.1 200"));
}

#[test]
fn connections_to_box_are_made_anew_only_where_their_settings_change() {
    let running = Running::start(&[], "");
    running.status(ME);
    let connections = || running.at.connections(boxgate::sandbox::Role::Api);
    let before = connections();
    running.take_over(&app("web"));
    running.status("/web/2.0/users/me");
    assert_eq!(connections(), before);
}
