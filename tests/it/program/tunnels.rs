//! Tunnels in access lines and the log, and at the end of the process.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Output;

use boxgate::sandbox::{Content, Names, Options};

use super::certificates::Authority;
use super::harness::{FakeBox, Folder, PATIENCE, Program, command, until};

/// A gateway that finds Box by its own names, and the CA that it serves.
struct Gate {
    at: FakeBox,
    program: Program,
    ca: PathBuf,
}

impl Gate {
    fn start(forward_proxy: &str, more: &str) -> Self {
        Self::start_in(Folder::new(), forward_proxy, more)
    }

    fn start_in(folder: Folder, forward_proxy: &str, more: &str) -> Self {
        let at = FakeBox::with(Options { names: Names::Box, ..Options::default() });
        folder.write("ca.pem", at.ca_pem());
        folder.write("secret", at.client_secret());
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[box]\nca_file = \"ca.pem\"\n\
             [upstream]\nproxy = {:?}\n[identity.service]\nclient_id = {:?}\nclient_secret = {{ file = \"secret\" }}\n\
             enterprise_id = {:?}\n[state]\ndir = \"state\"\n[forward_proxy]\n{forward_proxy}\n{more}\n",
            at.proxy_url(),
            at.client_id(),
            at.enterprise_id(),
        );
        folder.write("proxy.toml", &text);
        let command = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
        let program = Program::spawn(folder, command).ready();
        let pem = program.get("/.well-known/boxgate/ca.pem").body;
        let ca = program.folder.write("proxy-ca.pem", &pem);
        Self { at, program, ca }
    }

    /// curl with the gateway as its proxy.
    fn curl(&self, arguments: &[&str]) -> Output {
        let mut curl = command("curl", &self.program.folder);
        curl.args(["--silent", "--show-error", "--proxy"]).arg(format!("http://{}", self.program.callers));
        curl.args(arguments).output().unwrap()
    }

    fn trusting(&self, arguments: &[&str]) -> String {
        let output = self.curl(&[&["--fail", "--cacert", self.ca.to_str().unwrap()], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The lines of standard output once it has ended.
    fn lines(&mut self) -> Vec<String> {
        self.program.terminate();
        assert_eq!(self.program.exited().code(), Some(0));
        self.program.out.all()
    }
}

fn of<'a>(lines: &'a [String], parts: &[&str]) -> Vec<&'a String> {
    lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).collect()
}

#[test]
fn a_tunnel_has_a_line_and_each_request_in_it_another_without_its_credentials() {
    let mut gate = Gate::start("", "");
    let id = gate.at.add_file("0", "a.txt", Content::Bytes("abc".into()));
    let url = format!("https://api.box.com/2.0/files/{id}/content?query=hidden");
    assert_eq!(gate.trusting(&["--location", &url, "--proxy-user", "default:hidden-key"]), "abc");
    let seen = gate.at.seen();
    let signed = seen.iter().find(|seen| seen.target.contains("/d/")).unwrap().target.clone();
    let lines = gate.lines();
    for host in ["api.box.com:443", "public.boxcloud.com:443"] {
        let path = format!(" path={host} ");
        let line = of(&lines, &[" method=CONNECT ", &path]);
        assert_eq!(line.len(), 1, "{host} {lines:#?}");
        assert!(line[0].contains(" app=default ") && line[0].contains(" status=200 "), "{line:?}");
    }
    assert_eq!(
        of(&lines, &[&format!(" path=/2.0/files/{id}/content "), " status=302 "]).len(),
        1,
        "{lines:#?}"
    );
    assert_eq!(of(&lines, &[" path=/_box/public.boxcloud.com/* ", " status=200 "]).len(), 1, "{lines:#?}");
    let all = lines.join("\n") + &gate.program.err.text();
    let signed = signed.split('?').next().unwrap();
    for hidden in ["hidden", signed, "aGlkZGVu"] {
        assert!(!all.contains(hidden), "{hidden} in {all}");
    }
}

#[test]
fn a_configured_certificate_is_reloaded_when_it_changes() {
    let folder = Folder::new();
    let (old, new) = (Authority::new("Old"), Authority::new("New"));
    let made = old.box_hosts();
    let (cert, key) = (folder.write("tls.crt", &made.cert), folder.write("tls.key", &made.key));
    let (old, renewed) = (folder.write("old.pem", &old.pem), folder.write("new.pem", &new.pem));
    let mut gate = Gate::start_in(folder, &format!("cert = {cert:?}\nkey = {key:?}"), "");
    gate.ca = old;
    let me = "https://api.box.com/2.0/users/me";
    assert!(gate.trusting(&[me]).contains("\"login\""));
    new.box_hosts().write(&gate.program.folder);
    gate.program.err.wait_for(&["a file has changed: the configuration was taken over"]);
    assert_eq!(gate.curl(&["--cacert", gate.ca.to_str().unwrap(), me]).status.code(), Some(60));
    gate.ca = renewed;
    assert!(gate.trusting(&[me]).contains("\"login\""));
}

#[test]
fn a_program_that_does_not_trust_the_ca_is_logged_once() {
    let gate = Gate::start("", "");
    for _ in 0..3 {
        let output = gate.curl(&["https://api.box.com/2.0/users/me"]);
        assert_eq!(output.status.code(), Some(60), "{output:?}");
    }
    until("the handshakes are counted", || {
        gate.program.metric("boxgate_tunnel_handshakes_failed_total") == 3
    });
    let said = gate.program.err.text();
    assert_eq!(
        said.matches("does not trust the CA of the forward proxy: see boxgate env").count(),
        1,
        "{said}"
    );
    assert!(said.contains("client=127.0.0.1"), "{said}");
    // A check whether the port is open says nothing about trust.
    let mut probe = TcpStream::connect(&gate.program.callers).unwrap();
    probe.write_all(b"CONNECT api.box.com:443 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut head = [0; 12];
    probe.read_exact(&mut head).unwrap();
    drop(probe);
    until("it is counted", || gate.program.metric("boxgate_tunnel_handshakes_failed_total") == 4);
    let again = gate.program.err.text();
    assert_eq!(again.matches("does not trust").count(), 1, "{again}");
}

#[test]
fn a_blind_tunnel_has_its_bytes_in_one_line_at_its_end() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    // Loopback is not behind the proxy.
    let at = FakeBox::start();
    let program =
        Program::start(&at, &format!("[forward_proxy]\ntunnel = [{address:?}]\n[state]\ndir = \"state\""))
            .ready();
    let mut caller = TcpStream::connect(&program.callers).unwrap();
    caller.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(caller, "CONNECT {address} HTTP/1.1\r\nHost: x\r\nX-Request-Id: it-1\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        caller.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let (mut served, _) = server.accept().unwrap();
    caller.write_all(b"12345").unwrap();
    served.read_exact(&mut [0; 5]).unwrap();
    served.write_all(b"1234567").unwrap();
    caller.read_exact(&mut [0; 7]).unwrap();
    assert!(!program.out.text().contains("it-1"));
    drop((caller, served));
    let line = program.out.wait_for(&["request_id=it-1"]);
    for part in [
        " method=CONNECT ",
        " status=200 ",
        " end=complete ",
        " bytes_in=5 ",
        " bytes_out=7 ",
        &format!(" path={address} "),
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

/// Callers have fetched the CA, so replacing it would break them.
#[test]
fn a_damaged_ca_is_not_replaced() {
    let mut gate = Gate::start("", "");
    gate.lines();
    let folder = &gate.program.folder;
    let kept = folder.join("state/forward-proxy-ca.pem");
    std::fs::write(&kept, "-----BEGIN CERTIFICATE-----\nAA\n").unwrap();
    let output = command(env!("CARGO_BIN_EXE_boxgate"), folder).arg("run").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("forward-proxy-ca.pem") && said.contains("restore the file"), "{said}");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "-----BEGIN CERTIFICATE-----\nAA\n");
}

/// A pre-signed URL does not appear in the log, in whatever form it is requested and whatever is wrong with it.
#[test]
fn a_refused_request_for_a_presigned_url_hides_it() {
    let mut gate = Gate::start("", "[[app]]\nname = \"keyed\"\nkey = \"k\"");
    let path = "/d/1/b1!HIDDEN/download";
    for (target, host, more) in [
        (format!("http://dl.boxcloud.com{path}"), "dl.boxcloud.com", "Proxy-Authorization: Basic x\r\n"),
        (format!("http://dl.boxcloud.com{path}"), "dl.boxcloud.com", "X-Boxgate-Key: wrong\r\n"),
        (format!("http://dl.boxcloud.com{path}"), "other.example", ""),
        (format!("http://dl.boxcloud.com/{path}"), "dl.boxcloud.com", ""),
        (format!("http://dl.boxcloud.com{path}"), "dl.boxcloud.com", "Via: 1.1 boxgate\r\n"),
        (path.to_owned(), "dl.boxcloud.com", ""),
        (path.to_owned(), "2.realtime.services.box.net:8080", ""),
    ] {
        let mut stream = TcpStream::connect(&gate.program.callers).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 508"), "{target} {answer}");
    }
    let lines = gate.lines().join("\n");
    assert!(!lines.contains("HIDDEN"), "{lines}");
    assert!(lines.contains(" path=/_box/dl.boxcloud.com/* "), "{lines}");
}

#[test]
fn a_listed_host_that_is_down_is_not_logged_for_each_caller() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    drop(server);
    let at = FakeBox::start();
    let program =
        Program::start(&at, &format!("[forward_proxy]\ntunnel = [{address:?}]\n[state]\ndir = \"state\""))
            .ready();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(&program.callers).unwrap();
        write!(stream, "CONNECT {address} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 502 {address} cannot be reached.")), "{answer}");
    }
    assert!(!program.err.text().contains(&address), "{}", program.err.text());
}
