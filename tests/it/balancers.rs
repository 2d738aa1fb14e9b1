//! Proxies and load balancers in front of the gateway, and the client address that they give.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Bench, in_time};

const ME: &str = "/2.0/users/me";
const REQUEST: &str = "GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";

/// Apps for two networks, so that the app that answers shows which client address was used.
const NETWORKS: &str = r#"
[[app]]
name = "inside"
path = "/inside"
sources = ["10.0.0.0/8", "127.0.0.0/8"]

[[app]]
name = "outside"
path = "/outside"
sources = ["203.0.113.0/24", "2001:db8::/32"]

[[app]]
name = "any"
path = "/any"
sources = ["any"]

[[app]]
name = "rest"
path = "/rest"

[[limit]]
name = "each"
key = "client"
on = ["GET /2.0/folders/0"]
rate = "1/h"
"#;

async fn behind_proxies() -> Bench {
    Bench::with(&format!("[listen]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\", \"10.9.0.0/16\"]\n{NETWORKS}")).await
}

async fn status(bench: &Bench, path: &str, forwarded_for: &[&str]) -> u16 {
    let fields: String = forwarded_for.iter().map(|value| format!("X-Forwarded-For: {value}\r\n")).collect();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
    status_of(&bench.raw(&head).await)
}

fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn a_forwarded_address_with_a_port_is_the_clients() {
    let bench = behind_proxies().await;
    for said in [
        "203.0.113.9:51234",
        "[2001:db8::1]:443",
        "[2001:db8::1]",
        "203.0.113.9, 10.9.0.1:80",
        "unknown, 203.0.113.9:1",
        "::ffff:203.0.113.9",
    ] {
        assert_eq!(status(&bench, "/outside/2.0/users/me", &[said]).await, 200, "{said}");
        assert_eq!(status(&bench, "/inside/2.0/users/me", &[said]).await, 403, "{said}");
    }
    assert_eq!(status(&bench, "/outside/2.0/users/me", &["203.0.113.9", "10.9.0.1"]).await, 200);
}

/// Regression: it was replaced by the proxy's own address and admitted by `sources` meant for the proxy's network.
#[tokio::test]
async fn a_client_that_cannot_be_read_is_in_no_network() {
    let bench = behind_proxies().await;
    for said in
        ["unknown", "203.0.113.9,", "", "203.0.113.9:port", "for=203.0.113.9", "_secret", "unknown, 10.9.0.1"]
    {
        for app in ["inside", "outside", "any"] {
            let path = format!("/{app}/2.0/users/me");
            assert_eq!(status(&bench, &path, &[said]).await, 403, "{app} {said:?}");
        }
        assert_eq!(
            status(&bench, "/rest/2.0/users/me", &[said]).await,
            200,
            "no sources, nothing to hold: {said:?}"
        );
    }
    // Unknown clients share one count, which is neither the proxy's nor that of a known client.
    let folder = "/rest/2.0/folders/0";
    assert_eq!(status(&bench, folder, &["unknown"]).await, 200);
    assert_eq!(status(&bench, folder, &["_other"]).await, 429);
    assert_eq!(status(&bench, folder, &[]).await, 200);
    assert_eq!(status(&bench, folder, &["203.0.113.9:1"]).await, 200);
    assert_eq!(status(&bench, folder, &["203.0.113.9:2"]).await, 429);
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

async fn balanced(more: &str) -> Bench {
    let listen =
        format!("[listen]\naddress = \"127.0.0.1:0\"\nproxy_protocol = [\"127.0.0.1\"]\n{more}{NETWORKS}");
    Bench::with(&listen).await
}

/// The status of a request to this app behind a header, sent in two halves; 0 where the connection is closed.
async fn through(bench: &Bench, header: &[u8], app: &str, fields: &str) -> u16 {
    let mut socket = bench.connect().await;
    socket.set_nodelay(true).unwrap();
    let (begin, end) = header.split_at(header.len() / 2);
    let _ = socket.write_all(begin).await;
    let request = REQUEST.replace(ME, &format!("{app}{ME}"));
    let rest = [end, request.as_bytes(), fields.as_bytes(), b"\r\n"].concat();
    // It may have closed already.
    let _ = socket.write_all(&rest).await;
    let mut answer = Vec::new();
    let _ = in_time(socket.read_to_end(&mut answer)).await;
    status_of(&String::from_utf8_lossy(&answer))
}

#[tokio::test]
async fn a_balancers_header_names_the_client() {
    let bench = balanced("").await;
    let outside = [203, 0, 113, 9, 10, 0, 0, 1, 1, 2, 3, 4];
    for header in [
        b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 8080\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::1 51234 8080\r\n".to_vec(),
        binary(0x21, 0x11, &outside),
        binary(0x21, 0x11, &[&outside[..], &[0xea, 0, 1, 0]].concat()),
    ] {
        assert_eq!(through(&bench, &header, "/outside", "").await, 200, "{header:?}");
        assert_eq!(through(&bench, &header, "/inside", "").await, 403, "{header:?}");
        let said = "X-Forwarded-For: 10.0.0.1\r\n";
        assert_eq!(
            through(&bench, &header, "/inside", said).await,
            403,
            "nobody trusts the client's own word"
        );
    }
    // A health check of the balancer has the balancer's own address.
    for header in [binary(0x20, 0, &[]), binary(0x20, 0x11, &outside)] {
        assert_eq!(through(&bench, &header, "/inside", "").await, 200, "{header:?}");
    }
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x21, 0, &[]), binary(0x21, 0x31, &[b'a'; 216])] {
        for app in ["/inside", "/outside", "/any"] {
            assert_eq!(through(&bench, &header, app, "").await, 403, "{header:?}");
        }
        assert_eq!(through(&bench, &header, "/rest", "").await, 200, "{header:?}");
    }
}

#[tokio::test]
async fn a_proxy_behind_a_balancer_is_believed_only_if_it_is_trusted() {
    let bench = balanced("trusted_proxies = [\"10.9.0.0/16\"]\n").await;
    let header = b"PROXY TCP4 10.9.0.1 10.0.0.1 51234 8080\r\n";
    assert_eq!(through(&bench, header, "/outside", "X-Forwarded-For: 203.0.113.9\r\n").await, 200);
    assert_eq!(through(&bench, header, "/inside", "").await, 200);
    assert_eq!(through(&bench, header, "/inside", "X-Forwarded-For: unknown\r\n").await, 403);
}

#[tokio::test]
async fn a_balancers_connection_without_the_header_is_closed_unanswered() {
    let bench = balanced("").await;
    for begin in [
        &b""[..],
        b"PROXY TCP4 203.0.113.9\r\n",
        b"PROXY UDP4 203.0.113.9 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 8080\n",
        &binary(0x21, 0x11, &[0; 11]),
        &binary(0x2f, 0x11, &[0; 12]),
    ] {
        assert_eq!(through(&bench, begin, "/rest", "").await, 0, "{begin:?}");
    }
    // A connection that ends within the header is closed too.
    drop(bench.connect().await);
    assert_eq!(bench.sandbox.calls(), 0);
    assert_eq!(through(&bench, b"PROXY UNKNOWN\r\n", "/rest", "").await, 200);
}

/// From any other peer the header is a malformed request.
#[tokio::test]
async fn a_header_from_an_unlisted_peer_is_refused() {
    let bench = Bench::with(&format!(
        "[listen]\naddress = \"127.0.0.1:0\"\nproxy_protocol = [\"10.0.0.0/8\"]\n{NETWORKS}"
    ))
    .await;
    assert_eq!(through(&bench, b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 8080\r\n", "/rest", "").await, 400);
    assert_eq!(through(&bench, b"", "/rest", "").await, 200);
    assert_eq!(bench.sandbox.calls(), 1);
}

#[tokio::test]
async fn a_connection_whose_header_does_not_arrive_is_closed() {
    let more = "[server]\nheader_timeout = \"100ms\"";
    let bench =
        Bench::with(&format!("[listen]\naddress = \"127.0.0.1:0\"\nproxy_protocol = [\"loopback\"]\n{more}"))
            .await;
    let mut socket = bench.connect().await;
    socket.write_all(b"PROXY TCP4").await.unwrap();
    let mut answer = Vec::new();
    in_time(socket.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"");
}
