//! Tunnels to hosts that are not Box's.

use boxgate::server::shutdown::Stop;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::program::{Program, tunnel};
use super::with;
use crate::harness::{Bench, in_time, until};

/// A server run by the test.
struct Server(TcpListener);

impl Server {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    async fn accept(&self) -> TcpStream {
        in_time(self.0.accept()).await.unwrap().0
    }
}

/// The gateway goes to other hosts directly.
async fn bench(tunnel: &str, more: &str) -> Bench {
    let bench = Bench::with(&format!("[forward_proxy]\ntunnel = [{tunnel}]\n{more}")).await;
    bench.until_ready().await;
    bench
}

#[tokio::test]
async fn bytes_go_through_and_the_end_of_one_side_leaves_the_other_open() {
    let server = Server::start().await;
    let bench = bench(&format!("{:?}", server.address()), "").await;
    let mut caller = tunnel::open(&bench, &server.address(), "").await;
    let mut served = server.accept().await;
    caller.write_all(b"question").await.unwrap();
    caller.shutdown().await.unwrap();
    let mut asked = String::new();
    in_time(served.read_to_string(&mut asked)).await.unwrap();
    assert_eq!(asked, "question");
    served.write_all(&vec![b'a'; 1 << 20]).await.unwrap();
    drop(served);
    assert_eq!(in_time(tunnel::ended(caller)).await.len(), 1 << 20);
    assert_eq!(bench.metric("boxgate_tunnels_total{to=\"other\"}").await as u64, 1);
    until(|| async { bench.metric("boxgate_connections").await == 0.0 }).await;
}

#[tokio::test]
async fn bytes_that_are_sent_early_are_not_lost() {
    let server = Server::start().await;
    let bench = bench(&format!("{:?}", server.address()), "").await;
    let address = server.address();
    let request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\nearly");
    let (head, _caller) = tunnel::head(tunnel::with(&bench, request.as_bytes()).await).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut early = [0; 5];
    in_time(server.accept().await.read_exact(&mut early)).await.unwrap();
    assert_eq!(&early, b"early");
}

#[tokio::test]
async fn an_app_that_is_switched_off_reaches_no_other_host_either() {
    let server = Server::start().await;
    let apps = "[[app]]\nname = \"on\"\n[[app]]\nname = \"off\"\npath = \"/off\"\nenabled = false";
    let bench = bench(&format!("{:?}", server.address()), apps).await;
    let answer = tunnel::refused(&bench, &server.address(), &tunnel::basic("off")).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("app_disabled"), "{answer}");
    let caller = tunnel::open(&bench, &server.address(), &tunnel::basic("on")).await;
    server.accept().await;
    drop(caller);
}

/// The owner of a DNS name can point it anywhere.
#[tokio::test]
async fn a_listed_name_does_not_lead_to_addresses_that_are_not_public() {
    let server = Server::start().await;
    let port = server.port();
    let bench = bench(&format!("\"localhost:{port}\", \"ip6-localhost:{port}\""), "").await;
    for name in ["localhost", "LOCALHOST", "localhost.", "ip6-localhost"] {
        let answer = tunnel::refused(&bench, &format!("{name}:{port}"), "").await;
        let refused = answer.starts_with("HTTP/1.1 403 ") && answer.contains("not public");
        // A resolver may not know the name.
        assert!(refused || answer.starts_with("HTTP/1.1 502 "), "{name} {answer}");
    }
    for address in
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "127.1", "2130706433", "0x7f000001"]
    {
        let answer = tunnel::refused(&bench, &format!("{address}:{port}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{address} {answer}");
    }
}

#[tokio::test]
async fn the_gateway_s_own_listeners_are_never_reached() {
    for which in ["callers", "operators"] {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let own = format!("address = \"127.0.0.1:{port}\"");
        let (listen, admin) = match which {
            "callers" => (own.as_str(), "address = \"127.0.0.1:0\""),
            _ => ("address = \"127.0.0.1:0\"", own.as_str()),
        };
        let more = format!("[listen]\n{listen}\nworkers = 1\n[admin]\n{admin}");
        let bench = bench(&format!("\"127.0.0.1:{port}\", \"0.0.0.0:{port}\""), &more).await;
        for address in ["127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]"] {
            let answer = tunnel::refused(&bench, &format!("{address}:{port}"), "").await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{which} {address} {answer}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_running_is_reported_as_unreachable() {
    let server = Server::start().await;
    let address = server.address();
    drop(server);
    let bench = bench(&format!("{address:?}"), "").await;
    let answer = tunnel::refused(&bench, &address, "").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_unreachable"), "{answer}");
}

#[tokio::test]
async fn an_idle_tunnel_ends_in_its_time_and_at_once_in_a_drain() {
    let server = Server::start().await;
    let tunnels = format!("{:?}", server.address());
    let short = bench(&tunnels, "[server]\nkeepalive_timeout = \"1s\"").await;
    let caller = tunnel::open(&short, &server.address(), "").await;
    let served = server.accept().await;
    assert_eq!(in_time(tunnel::ended(caller)).await, b"");
    assert_eq!(in_time(tunnel::ended(served)).await, b"");

    let bench = bench(&tunnels, "").await;
    let caller = tunnel::open(&bench, &server.address(), "").await;
    let _served = server.accept().await;
    bench.stop(Stop::Drain);
    assert_eq!(in_time(tunnel::ended(caller)).await, b"");
    bench.stopped().await;
}

#[tokio::test]
async fn a_busy_tunnel_goes_on_in_a_drain() {
    let server = Server::start().await;
    let bench = bench(&format!("{:?}", server.address()), "").await;
    let mut caller = tunnel::open(&bench, &server.address(), "").await;
    let mut served = server.accept().await;
    bench.stop(Stop::Drain);
    let mut got = [0; 1];
    // Far longer than the timeout of an idle tunnel.
    for _ in 0..30 {
        served.write_all(b"x").await.unwrap();
        in_time(caller.read_exact(&mut got)).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    drop(served);
    assert_eq!(in_time(tunnel::ended(caller)).await, b"");
    bench.stopped().await;
}

/// Behind a proxy the gateway sees no addresses, and gives the proxy the name.
#[tokio::test]
async fn a_proxy_on_the_way_out_is_used() {
    let server = Server::start().await;
    let bench = with("tunnel = [\"other.example:443\"]").await;
    // The sandbox's proxy connects only to the sandbox.
    let answer = tunnel::refused(&bench, "other.example:443", "").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_unreachable"), "{answer}");
    assert!(bench.sandbox.tunnelled().iter().any(|target| target == "other.example:443"));
    drop(server);
    let program = Program::new(&bench, "").await;
    assert_eq!(program.get("https://api.box.com/2.0/users/me").await.status(), 200);
}

/// An incomplete message must not look complete.
#[tokio::test]
async fn a_reset_of_one_side_is_a_reset_of_the_other() {
    let server = Server::start().await;
    let bench = bench(&format!("{:?}", server.address()), "").await;
    let mut caller = tunnel::open(&bench, &server.address(), "").await;
    let mut served = server.accept().await;
    served.write_all(b"partial").await.unwrap();
    in_time(caller.read_exact(&mut [0; 7])).await.unwrap();
    served.set_zero_linger().unwrap();
    drop(served);
    let error = in_time(caller.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let mut caller = tunnel::open(&bench, &server.address(), "").await;
    let mut served = server.accept().await;
    caller.write_all(b"partial").await.unwrap();
    in_time(served.read_exact(&mut [0; 7])).await.unwrap();
    caller.set_zero_linger().unwrap();
    drop(caller);
    let error = in_time(served.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn bytes_that_arrive_with_the_proxys_answer_are_not_lost() {
    let proxy = Server::start().await;
    let sandbox = boxgate::sandbox::Sandbox::start(Default::default()).await.unwrap();
    let tables = format!(
        "[upstream]\nproxy = \"http://{}\"\n[forward_proxy]\ntunnel = [\"other.example:22\"]",
        proxy.address()
    );
    let bench = Bench::before(sandbox, &tables).await;
    let serving = tokio::spawn(async move {
        // The gateway asks for tokens by the same proxy.
        loop {
            let mut asked = proxy.accept().await;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(asked.read_u8().await.unwrap());
            }
            if head.starts_with(b"CONNECT other.example:22 ") {
                asked.write_all(b"HTTP/1.1 200 ok\r\n\r\nSSH-2.0-server\r\n").await.unwrap();
                return asked;
            }
        }
    });
    let mut caller = tunnel::open(&bench, "other.example:22", "").await;
    let mut greeting = [0; 16];
    in_time(caller.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"SSH-2.0-server\r\n");
    drop(serving);
}
