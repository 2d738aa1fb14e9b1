//! The cost of a request in a tunnel of the forward proxy, compared with the plain listener: CPU time of the gateway's
//! process, over HTTP/1.1, with one worker. Run `cargo bench --bench tunnel`; only on Linux, about a minute.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark that fails stops, and speaks to its user"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use boxgate::sandbox::{Content, Names, Options, Sandbox};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

const CONNECTIONS: usize = 16;
const REQUESTS: usize = 20_000;
/// Content that the sandbox keeps, requested until it adds up to one GiB.
const FILE: usize = 32 << 20;
const FILES: usize = 32;
const ROUNDS: usize = 5;

type Sender = SendRequest<Empty<Bytes>>;

/// The gateway, and where it listens.
struct Gate(Child, String);

impl Gate {
    fn start(sandbox: &Sandbox, folder: &std::path::Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("ca.pem"), sandbox.ca_pem()).unwrap();
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\nworkers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[box]\nca_file = \"ca.pem\"\n\
             [upstream]\nproxy = {:?}\n[identity.service]\nclient_id = {:?}\nclient_secret = {:?}\nenterprise_id = {:?}\n\
             [state]\ndir = \"state\"\n[limits]\nbox_defaults = false\n[log]\naccess = false\n[forward_proxy]\n",
            sandbox.proxy_url(),
            sandbox.client_id(),
            sandbox.client_secret(),
            sandbox.enterprise_id(),
        );
        std::fs::write(folder.join("proxy.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_boxgate"));
        let mut child = command.current_dir(folder).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("boxgate listens")).unwrap();
        let address = line.split("callers=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, address)
    }

    /// CPU time so far, in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        // Ticks of a hundredth of a second on Linux.
        ticks / 100.0
    }

    async fn plain(&self) -> Sender {
        let (sender, driver) = handshake(TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(driver);
        sender
    }

    async fn tunnel(&self, tls: &TlsConnector, host: &str) -> Sender {
        let mut socket = self.connect().await;
        socket
            .write_all(format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"));
        let socket = tls.connect(ServerName::try_from(host.to_owned()).unwrap(), socket).await.unwrap();
        let (sender, driver) = handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(driver);
        sender
    }

    async fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.1).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends this many requests on one connection; returns the bytes received.
async fn ask(mut sender: Sender, host: String, path: String, count: usize) -> usize {
    let mut bytes = 0;
    for _ in 0..count {
        sender.ready().await.unwrap();
        let request = Request::get(&path).header("host", &host).body(Empty::new()).unwrap();
        let mut answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        while let Some(frame) = answer.frame().await {
            bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
    }
    bytes
}

/// Sends all requests on this many connections; returns the gateway's CPU seconds.
async fn spent(gate: &Gate, senders: Vec<Sender>, host: &str, path: &str, count: usize) -> f64 {
    let each = count / senders.len();
    let mut asking = JoinSet::new();
    let before = gate.cpu();
    for sender in senders {
        asking.spawn(ask(sender, host.to_owned(), path.to_owned(), each));
    }
    asking.join_all().await;
    gate.cpu() - before
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn tls(pem: &str) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn measure() {
    let options = Options { names: Names::Box, remembered: 1, ..Options::default() };
    let sandbox = Sandbox::start(options).await.unwrap();
    let file = sandbox.add_file("0", "large", Content::Bytes(vec![b'x'; FILE].into()));
    let folder = std::env::temp_dir().join(format!("boxgate-bench-{}", std::process::id()));
    let gate = Gate::start(&sandbox, &folder);
    let one = |mut sender: Sender, host: &'static str, path: String| async move {
        let request = Request::get(path).header("host", host).body(Empty::new()).unwrap();
        sender.send_request(request).await.unwrap()
    };
    let ca = one(gate.plain().await, "localhost", "/.well-known/boxgate/ca.pem".to_owned()).await;
    let pem = String::from_utf8(ca.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let tls = tls(&pem);
    let path = format!("/2.0/files/{file}/content");
    let redirect = one(gate.tunnel(&tls, "api.box.com").await, "api.box.com", path).await;
    let location = redirect.headers()["location"].to_str().unwrap().to_owned();
    let (host, signed) = location.strip_prefix("https://").unwrap().split_at("public.boxcloud.com".len());

    let (mut requests, mut bulk) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..=ROUNDS {
        for in_tunnel in [false, true] {
            let mut senders = Vec::new();
            for _ in 0..CONNECTIONS {
                senders.push(if in_tunnel {
                    gate.tunnel(&tls, "api.box.com").await
                } else {
                    gate.plain().await
                });
            }
            let named = if in_tunnel { "api.box.com" } else { "localhost" };
            let seconds = spent(&gate, senders, named, "/2.0/users/me", REQUESTS).await;
            let content = if in_tunnel { signed.to_owned() } else { format!("/_box/{host}{signed}") };
            let mut senders = Vec::new();
            for _ in 0..2 {
                senders.push(if in_tunnel { gate.tunnel(&tls, host).await } else { gate.plain().await });
            }
            let named = if in_tunnel { host } else { "localhost" };
            let seconds_a_gib = spent(&gate, senders, named, &content, FILES).await;
            // The first round warms up.
            if round > 0 {
                requests[usize::from(in_tunnel)].push(seconds / REQUESTS as f64 * 1e6);
                bulk[usize::from(in_tunnel)].push(seconds_a_gib);
            }
        }
    }
    let ([plain, tunnel], [plain_bulk, tunnel_bulk]) = (requests.map(median), bulk.map(median));
    println!("CPU µs a request     plain {plain:.1}  in a tunnel {tunnel:.1}  ({:.2} times)", tunnel / plain);
    println!(
        "CPU s a GiB down     plain {plain_bulk:.2}  in a tunnel {tunnel_bulk:.2}  ({:.2} times)",
        tunnel_bulk / plain_bulk
    );
    drop(gate);
    let _ = std::fs::remove_dir_all(folder);
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}
