//! A reload with another `client_ca`: callers that it does not admit are gone after what they have under way, and all others
//! stay.

use std::net::TcpListener;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::*;
use crate::raw::caller::fields;
use crate::raw::frames::{self, GOAWAY, PING};

/// A gateway that admits callers of two authorities, until one of them is revoked.
struct Revoking {
    gate: Gate,
    others: Authority,
}

impl Revoking {
    fn start(more: &str) -> Self {
        let revoking = Self { gate: Gate::start(TLS_WITH_CLIENT_CA, more), others: Authority::new("Others") };
        revoking.admit(&format!("{}{}", revoking.gate.callers.pem, revoking.others.pem), 1);
        revoking
    }

    fn admit(&self, authorities: &str, reloads: u64) {
        let program = &self.gate.program;
        program.folder.write("callers-ca.crt", authorities);
        program.hang_up();
        until("it is taken over", || {
            program.metric("boxgate_config_reloads_total{result=\"ok\"}") == reloads
        });
    }

    fn revoke(&self) {
        self.admit(&self.others.pem, 2);
    }

    /// A connection of a caller that is revoked later.
    fn revoked(&self, alpn: &'static [&'static [u8]]) -> Tls {
        let caller = Caller { alpn, ..self.gate.trusting().of(&self.gate.callers) };
        connect(self.gate.address(), caller.config())
    }

    /// A connection of a caller that stays.
    fn staying(&self) -> Tls {
        connect(self.gate.address(), self.gate.trusting().of(&self.others).config())
    }
}

/// Asks on a connection that stays open.
fn begin(stream: &mut impl Write, host: &str) {
    stream.write_all(format!("GET {ME} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    stream.flush().unwrap();
}

/// Reads an answer whose body is an object.
fn finish(stream: &mut impl Read) -> String {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    while !bytes.ends_with(b"}") {
        let count = stream.read(&mut piece).unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(bytes).unwrap()
}

fn ask(stream: &mut (impl Read + Write)) {
    begin(stream, "localhost");
    let answer = finish(stream);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Where the addresses wait for a restart, those that are bound do not lose what keeps strangers out.
#[test]
fn client_ca_is_not_taken_from_an_address_that_stays() {
    let gate = Gate::start(TLS_WITH_CLIENT_CA, "");
    let socket = gate.program.folder.join("gate.sock");
    let listen = TLS.replace("\"127.0.0.1:0\"", &format!("\"unix:{}\"", socket.display()));
    write_file(&gate.program.folder, &gate.at, &listen, "");
    gate.program.hang_up();
    gate.program.err.wait_for(&["only at a restart", "[listen] address", "no client_ca any more"]);
    gate.program.err.wait_for(&["SIGHUP: the configuration was taken over"]);
    assert_eq!(gate.get(&gate.trusting()).status, 403);
    assert_eq!(gate.get(&gate.trusting().of(&gate.callers)).status, 200);
    // At the same address it may be taken out.
    write_file(&gate.program.folder, &gate.at, TLS, "");
    gate.program.hang_up();
    until("it is taken out", || gate.get(&gate.trusting()).status == 200);
}

#[test]
fn over_http_1_idle_connections_close_and_a_request_under_way_is_answered_first() {
    let revoking = Revoking::start("");
    let (mut idle, mut stays) = (revoking.revoked(&[]), revoking.staying());
    ask(&mut idle);
    ask(&mut stays);
    let hold = revoking.gate.at.hold_replies(ME);
    let mut under_way = revoking.revoked(&[]);
    begin(&mut under_way, "localhost");
    wait(revoking.gate.at.wait_for_calls(3));
    revoking.revoke();
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "it closes in order");
    drop(hold);
    let answer = Answer::read(under_way);
    assert!(answer.status == 200 && answer.body.contains("\"login\""), "{answer:?}");
    ask(&mut stays);
    let mut again = revoking.revoked(&[]);
    assert!(again.write_all(b"GET").and_then(|()| again.flush()).is_err() || again.read(&mut [0]).is_err());
}

/// A caller of HTTP/2 that says nothing but what it is told to.
struct Frames(Tls);

impl Frames {
    fn begin(mut stream: Tls) -> Self {
        let hello = [frames::PREFACE.to_vec(), frames::settings(&[]), frames::settings_ack()];
        stream.write_all(&hello.concat()).unwrap();
        Self(stream)
    }

    fn send(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) {
        self.0.write_all(&frames::headers(stream, ends, fields)).unwrap();
    }

    /// The streams that ended and whether a GOAWAY came, up to the end of the connection. Answers PINGs.
    fn read_on(mut self) -> (Vec<u32>, bool) {
        let (mut ended, mut goes) = (Vec::new(), false);
        loop {
            let mut header = [0; 9];
            if self.0.read_exact(&mut header).is_err() {
                return (ended, goes);
            }
            let [a, b, c, kind, flags, stream @ ..] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).unwrap();
            goes |= kind == GOAWAY;
            let frame = frames::Frame { kind, flags, stream: u32::from_be_bytes(stream), payload };
            if frame.ends_stream() {
                ended.push(frame.stream);
            }
            if kind == PING && flags == 0 {
                let _ = self.0.write_all(&frames::frame(PING, 1, 0, &frame.payload));
            }
        }
    }
}

#[test]
fn over_http_2_a_request_under_way_is_answered_and_later_ones_are_refused() {
    let revoking = Revoking::start("");
    let hold = revoking.gate.at.hold_replies(ME);
    let mut caller = Frames::begin(revoking.revoked(&[b"h2"]));
    caller.send(1, &fields("GET", ME), true);
    wait(revoking.gate.at.wait_for_calls(1));
    revoking.revoke();
    // Sent before the caller has read that the connection goes away.
    caller.send(3, &fields("GET", ME), true);
    let out = &revoking.gate.program.out;
    out.wait_for(&[" status=403 ", " code=caller_not_allowed "]);
    drop(hold);
    out.wait_for(&[" status=200 ", " end=complete "]);
    let (mut ended, goes) = caller.read_on();
    ended.sort_unstable();
    assert_eq!((ended, goes), (vec![1, 3], true));
    assert_eq!(revoking.gate.at.calls(), 1);
}

/// Reads the head of the answer to a CONNECT.
fn opened(stream: &mut impl Read) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
}

fn open(stream: &mut (impl Read + Write), to: &str) {
    write!(stream, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").unwrap();
    stream.flush().unwrap();
    opened(stream);
}

const FORWARD: &str = "[state]\ndir = \"state\"\n[forward_proxy]\n";

#[test]
fn in_tunnels_a_request_under_way_is_answered_and_idle_ones_close() {
    let revoking = Revoking::start(FORWARD);
    let ca = revoking.gate.trusting().of(&revoking.others);
    let ca = Answer::read(ca.send(revoking.gate.address(), "GET", "/.well-known/boxgate/ca.pem", "")).body;
    let inside = |mut outside: Tls| {
        open(&mut outside, "api.box.com:443");
        let name = ServerName::try_from("api.box.com").unwrap();
        StreamOwned::new(ClientConnection::new(Caller::trusting(&ca).config(), name).unwrap(), outside)
    };
    let mut idle = inside(revoking.revoked(&[]));
    let mut stays = inside(revoking.staying());
    for tunnel in [&mut idle, &mut stays] {
        begin(tunnel, "api.box.com");
        assert!(finish(tunnel).starts_with("HTTP/1.1 200"));
    }
    let hold = revoking.gate.at.hold_replies(ME);
    let mut under_way = inside(revoking.revoked(&[]));
    begin(&mut under_way, "api.box.com");
    wait(revoking.gate.at.wait_for_calls(3));
    revoking.revoke();
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "it closes in order");
    drop(hold);
    let answer = Answer::read(under_way);
    assert!(answer.status == 200 && answer.body.contains("\"login\""), "{answer:?}");
    begin(&mut stays, "api.box.com");
    assert!(finish(&mut stays).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_blind_tunnel_ends_however_busy_it_is() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = target.local_addr().unwrap().to_string();
    let more = format!("[server]\ndrain_timeout = \"2s\"\n{FORWARD}tunnel = [{to:?}]\n");
    let revoking = Revoking::start(&more);
    let tunnel = |mut stream: Tls| {
        open(&mut stream, &to);
        (stream, target.accept().unwrap().0)
    };
    let ((mut quiet, _), (mut stays, mut of_stays)) =
        (tunnel(revoking.revoked(&[])), tunnel(revoking.staying()));
    let (_busy, mut of_busy) = tunnel(revoking.revoked(&[]));
    of_busy.set_write_timeout(Some(PATIENCE)).unwrap();
    revoking.revoke();
    assert_eq!(quiet.read(&mut [0]).unwrap_or(0), 0);
    until("the busy one ends too", || {
        let written = of_busy.write_all(b"busy");
        std::thread::sleep(Duration::from_millis(100));
        written.is_err()
    });
    stays.write_all(b"there").unwrap();
    stays.flush().unwrap();
    of_stays.read_exact(&mut [0; 5]).unwrap();
}

#[test]
fn a_tunnel_that_is_being_opened_meanwhile_ends_too() {
    // Its queue of connections is full, so that the next one is not established until one is taken out.
    let target = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    target.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    target.listen(0).unwrap();
    let target = TcpListener::from(target);
    let to = target.local_addr().unwrap();
    let _first = TcpStream::connect(to).unwrap();
    let more = format!("{FORWARD}tunnel = [\"{to}\"]\n");
    let revoking = Revoking::start(&more);
    let mut caller = Frames::begin(revoking.revoked(&[b"h2"]));
    caller.send(1, &[(":method", "CONNECT"), (":authority", &to.to_string())], false);
    // Requests begin in their order.
    caller.send(3, &fields("GET", ME), true);
    revoking.gate.program.out.wait_for(&[" method=GET ", " status=200 "]);
    revoking.revoke();
    target.accept().unwrap();
    let (mut tunnel, _) = target.accept().unwrap();
    tunnel.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = tunnel.read(&mut [0]);
    assert!(matches!(ended, Ok(0)) || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    let (ended, goes) = caller.read_on();
    assert!(ended.contains(&3) && goes, "{ended:?}");
}
