//! Attacks through tunnels.

use http::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::program::{Program, asked, inside, tunnel};
use super::{bench, with};
use crate::harness::{Bench, in_time};

/// Checks that Box received no request except the gateway's own.
fn box_saw_nothing(bench: &Bench) {
    let seen = bench.sandbox.seen();
    assert!(seen.iter().all(|seen| seen.target.starts_with("/oauth2/")), "{seen:?}");
}

#[tokio::test]
async fn a_request_for_another_host_than_the_tunnel_s_is_misdirected() {
    let bench = bench().await;
    for host in [
        "upload.box.com",
        "evil.example",
        "127.0.0.1",
        "api.box.com:80",
        "api.box.com.",
        "localhost",
        "api.box.com:443:443",
    ] {
        let tls = tunnel::to(&bench, "api.box.com").await;
        let request = format!("GET /2.0/users/me HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (head, body) = asked(tls, &request).await;
        let misdirected = head.starts_with("HTTP/1.1 421 ") && body.contains("host_not_allowed");
        assert!(misdirected || head.starts_with("HTTP/1.1 400 "), "{host} {head}");
    }
    for target in ["http://evil.example/2.0/users/me", "https://upload.box.com/2.0/users/me"] {
        let tls = tunnel::to(&bench, "api.box.com").await;
        let (head, _) =
            asked(tls, &format!("GET {target} HTTP/1.1\r\nHost: api.box.com\r\nConnection: close\r\n\r\n"))
                .await;
        assert!(head.starts_with("HTTP/1.1 4"), "{target} {head}");
    }
    box_saw_nothing(&bench);
    let tls = tunnel::to(&bench, "api.box.com").await;
    let (head, _) = asked(tls, "GET /2.0/users/me HTTP/1.1\r\nHost: API.box.com:443\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn a_handshake_for_another_name_gets_the_tunnel_s_certificate_and_nothing_else() {
    let bench = bench().await;
    let socket = tunnel::open(&bench, "upload.box.com:443", "").await;
    let error = inside(&bench, socket, "api.box.com", b"http/1.1").await.unwrap_err();
    assert!(
        error.to_string().contains("NotValidForName") || error.to_string().contains("not valid for"),
        "{error}"
    );
    // A caller that continues all the same.
    for (asks, says) in [
        ("api.box.com", "api.box.com"),
        ("api.box.com", "upload.box.com"),
        ("evil.example", "upload.box.com"),
    ] {
        let socket = tunnel::open(&bench, "upload.box.com:443", "").await;
        let tls = crate::raw::caller::over(socket, asks).await;
        let (head, _) =
            asked(tls, &format!("GET /2.0/users/me HTTP/1.1\r\nHost: {says}\r\nConnection: close\r\n\r\n"))
                .await;
        assert!(head.starts_with("HTTP/1.1 421 "), "{asks} {says} {head}");
    }
    box_saw_nothing(&bench);
}

#[tokio::test]
async fn a_tunnel_in_a_tunnel_is_refused() {
    let bench = with("tunnel = [\"example.com:443\"]").await;
    for target in ["api.box.com:443", "upload.box.com:443", "example.com:443", "127.0.0.1:22"] {
        let tls = tunnel::to(&bench, "api.box.com").await;
        let (head, _) = asked(tls, &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 405 "), "{target} {head}");
    }
    let program = Program::speaking(&bench, "", Version::HTTP_2).await;
    assert_eq!(program.get("https://api.box.com/2.0/users/me").await.status(), 200);
}

/// The caller on the other side of a CONNECT that was refused may be a page's: its bytes are no request (RFC 9931).
#[tokio::test]
async fn bytes_after_a_refused_connect_are_never_a_request() {
    let bench = bench().await;
    let smuggled = "GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for head in [
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.0\r\n\r\n",
        "CONNECT api.box.com:443 HTTP/1.1\r\nHost: api.box.com\r\nContent-Length: 4\r\n\r\nabcd",
        "CONNECT api.box.com:443 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "CONNECT api.box.com:443 HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic x\r\n\r\n",
        "CONNECT http://api.box.com:443/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let answer = bench.raw(&format!("{head}{smuggled}")).await;
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{head} {answer}");
        assert!(answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4"), "{head} {answer}");
    }
    box_saw_nothing(&bench);
}

/// Plain HTTP in a tunnel is not TLS, and is not read as a request to the gateway.
#[tokio::test]
async fn plain_http_in_a_tunnel_is_not_served() {
    let bench = bench().await;
    let mut socket = tunnel::open(&bench, "api.box.com:443", "").await;
    socket.write_all(b"GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let answer = in_time(tunnel::ended(socket)).await;
    assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
    box_saw_nothing(&bench);
}

#[tokio::test]
async fn sources_apply_to_the_tunnel_and_forwarded_addresses_inside_are_ignored() {
    let bench = with(
        r#"
[listen]
address = "127.0.0.1:0"
workers = 1
trusted_proxies = ["127.0.0.0/8"]
[[app]]
name = "ten"
sources = ["10.0.0.0/8"]
"#,
    )
    .await;
    let me = "GET /2.0/users/me HTTP/1.1\r\nHost: api.box.com\r\n";
    let socket = tunnel::open(&bench, "api.box.com:443", "X-Forwarded-For: 10.1.1.1\r\n").await;
    let tls = inside(&bench, socket, "api.box.com", b"http/1.1").await.unwrap();
    let (head, _) = asked(tls, &format!("{me}X-Forwarded-For: 192.0.2.1\r\n\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let tls = tunnel::to(&bench, "api.box.com").await;
    let (head, body) = asked(tls, &format!("{me}X-Forwarded-For: 10.1.1.1\r\n\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 403 ") && body.contains("source_not_allowed"), "{head} {body}");
    let outside = with("[listen]\naddress = \"127.0.0.1:0\"\nworkers = 1\nsources = [\"10.0.0.0/8\"]").await;
    let head = tunnel::refused(&outside, "api.box.com:443", "").await;
    assert!(head.starts_with("HTTP/1.1 403 ") && head.contains("source_not_allowed"), "{head}");
}

#[tokio::test]
async fn ten_thousand_names_leave_no_memory_behind() {
    let bench = with("[listen]\naddress = \"127.0.0.1:0\"\nworkers = 2\nmax_connections = 64").await;
    let mut batches = Vec::new();
    for batch in 0..8 {
        let address = bench.address.clone();
        batches.push(tokio::spawn(async move {
            for number in 0..1250 {
                let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
                let request =
                    format!("CONNECT n{batch}-{number}.boxcloud.com:443 HTTP/1.1\r\nHost: x\r\n\r\n");
                socket.write_all(request.as_bytes()).await.unwrap();
                let mut status = [0; 12];
                in_time(socket.read_exact(&mut status)).await.unwrap();
                assert_eq!(&status, b"HTTP/1.1 200");
                socket.set_zero_linger().unwrap();
            }
        }));
    }
    for batch in batches {
        in_time(batch).await.unwrap();
    }
    crate::harness::until(|| async { bench.metric("boxgate_connections").await == 0.0 }).await;
    let program = Program::new(&bench, "").await;
    assert_eq!(program.get("https://api.box.com/2.0/users/me").await.status(), 200);
}

/// Over a whole TLS session: RFC 5280 §4.1.2.2, which Firefox insists on.
#[tokio::test]
async fn no_two_certificates_have_the_same_serial_number() {
    let bench = bench().await;
    let mut numbers = std::collections::BTreeSet::new();
    for host in ["api.box.com", "upload.box.com", "dl.boxcloud.com"] {
        let leaf = super::program::leaf(&bench, host).await;
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        assert!(leaf.raw_serial().len() <= 20 && leaf.raw_serial()[0] < 0x80);
        numbers.insert(leaf.raw_serial().to_vec());
    }
    assert_eq!(numbers.len(), 3);
}

#[tokio::test]
async fn a_wrong_key_in_a_tunnel_is_refused_though_none_is_needed() {
    let bench =
        with("[[app]]\nname = \"open\"\n[[app]]\nname = \"keyed\"\npath = \"/k\"\nkey = \"right\"").await;
    for (user, key, status) in
        [("open", "wrong", 403), ("keyed:right", "wrong", 403), ("keyed:right", "right", 200)]
    {
        let program = Program::new(&bench, user).await;
        let request = program.request(http::Method::GET, "https://api.box.com/2.0/users/me");
        assert_eq!(
            request.header("x-boxgate-key", key).send().await.unwrap().status(),
            status,
            "{user} {key}"
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_hello_has_not_seen_a_certificate() {
    let bench = bench().await;
    let mut socket = tunnel::open(&bench, "api.box.com:443", "").await;
    socket.write_all(&[22, 3, 1]).await.unwrap();
    drop(socket);
    crate::harness::until(|| async { bench.metric("boxgate_tunnel_handshakes_failed_total").await == 1.0 })
        .await;
}
