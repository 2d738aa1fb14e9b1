//! Which connections stay open.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use boxgate::sandbox::{Options, Protocols};

use super::*;
use crate::program::harness::PATIENCE;

/// Sends a request on a kept-alive connection, and reads the response to the end of its body.
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
fn an_open_connection_continues_under_the_new_configuration() {
    let running = Running::start(&[], "");
    let mut kept = TcpStream::connect(&running.program.callers).unwrap();
    assert!(ask(&mut kept).starts_with("HTTP/1.1 200"));
    running.take_over("[[app]]\nname = \"off\"\nenabled = false\n");
    assert!(ask(&mut kept).starts_with("HTTP/1.1 503"));
    running.take_over("");
    assert!(ask(&mut kept).starts_with("HTTP/1.1 200"));
}

#[test]
fn without_the_forward_proxy_its_tunnels_end_after_what_they_have_under_way() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = target.local_addr().unwrap();
    let on = format!("[state]\ndir = \"state\"\n[forward_proxy]\ntunnel = [\"{to}\"]\n");
    let running = Running::start(&[], &on);
    let open = |to: &str| {
        let mut stream = TcpStream::connect(&running.program.callers).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        stream
    };
    let mut kept = TcpStream::connect(&running.program.callers).unwrap();
    ask(&mut kept);
    let (blind, before_handshake) = (open(&to.to_string()), open("api.box.com:443"));
    let (mut far, _) = target.accept().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    // What leaves them alone leaves them open.
    running.take_over(&format!("{on}{}", app("web")));
    far.write_all(b"x").unwrap();
    running.take_over("[state]\ndir = \"state\"\n");
    for mut stream in [blind, before_handshake] {
        // The rest of the head, what was sent, and the end.
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
    ask(&mut kept);
    let mut refused = TcpStream::connect(&running.program.callers).unwrap();
    write!(refused, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").unwrap();
    assert_eq!(receive(refused).status, 405);
    // On again.
    running.take_over(&on);
    drop(open(&to.to_string()));
}

/// Connections at this port that are established, as the kernel lists them.
fn established(url: &str) -> usize {
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let list = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&format!(":{port:04X}")))
            && fields.nth(1) == Some("01")
    };
    list.lines().filter(|line| is(line)).count()
}

/// A long poll may last for hours.
#[test]
fn idle_connections_of_before_close_though_a_request_of_then_goes_on() {
    let (at, folder) =
        (FakeBox::with(Options { protocols: Protocols::Http1, ..Options::default() }), Folder::new());
    let file = write_file(&folder, &at, &format!("{LISTEN}\nworkers = 1"), "");
    let program = Program::spawn(folder, command(BOXGATE, file.parent().unwrap())).ready();
    let running = Running { at, program };
    let text = std::fs::read_to_string(&file).unwrap();
    let idle_timeout = |reload, time| {
        let table = format!("[upstream]\npool_idle_timeout = {time:?}");
        std::fs::write(&file, text.replace("[upstream]", &table)).unwrap();
        running.program.hang_up();
        running.until_taken_over(reload);
    };
    idle_timeout(1, "2s");
    // That of tokens is not pooled here.
    let others = established(&running.at.api_url());
    let hold = running.at.hold_replies(ME);
    let under_way = send(&running.program.callers, "GET", ME, "");
    wait(running.at.wait_for_calls(1));
    assert_eq!(running.status("/2.0/folders/0"), 200);
    assert_eq!(established(&running.at.api_url()), others + 2);
    idle_timeout(2, "3s");
    until("the idle one closes", || established(&running.at.api_url()) == others + 1);
    drop(hold);
    assert_eq!(receive(under_way).status, 200);
    until("so does the other, with its gateway", || established(&running.at.api_url()) == others);
}

#[test]
fn connections_to_box_are_replaced_only_if_their_settings_change() {
    let running = Running::start(&[], "");
    running.status(ME);
    let connections = || running.at.connections(boxgate::sandbox::Role::Api);
    let before = connections();
    running.take_over(&app("web"));
    running.status("/web/2.0/users/me");
    assert_eq!(connections(), before);
}
