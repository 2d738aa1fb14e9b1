//! What callers get through a balancer is what they get without it, and who they are is what the balancer saw.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, RootCertStore, StreamOwned};

use super::balancer::{CADDY, ENVOY, HAPROXY, NGINX, Shipped};
use super::caller::{KEY, NAME};
use super::site::Site;
use crate::program::harness::PATIENCE;

const ME: &str = "/any/2.0/users/me";

#[test]
fn nginx_passes_requests_as_they_are() {
    requests_pass_as_they_are(NGINX);
}

#[test]
fn caddy_passes_requests_as_they_are() {
    requests_pass_as_they_are(CADDY);
}

#[test]
fn haproxy_passes_requests_as_they_are() {
    requests_pass_as_they_are(HAPROXY);
}

#[test]
fn envoy_passes_requests_as_they_are() {
    requests_pass_as_they_are(ENVOY);
}

fn requests_pass_as_they_are(file: Shipped) {
    let site = Site::behind(file);
    let answer = site.caller.get(ME);
    assert_eq!((answer.status, answer.version.as_str()), (200, "HTTP/2"), "{answer:?}");
    site.gateway().out.wait_for(&["client=127.0.0.2", "status=200", "operation=\"GET /2.0/users/me\""]);

    nobody_calls_without_the_key(&site);
    the_client_is_who_the_balancer_saw(&site);
    urls_lead_back_to_the_balancer(&site);
    targets_are_not_touched(&site);
    a_page_may_call(&site);
    a_large_head_arrives_and_a_larger_one_does_not(&site);
    nothing_is_smuggled(&site);
}

/// Whoever reaches the balancer would act as the account, else.
fn nobody_calls_without_the_key(site: &Site) {
    let calls = site.at.calls();
    let output = site.caller.curl_without_key().arg("-i").arg(site.caller.url(ME)).output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.contains("caller_not_allowed"), "{answer}");
    assert_eq!(site.at.calls(), calls);
}

fn the_client_is_who_the_balancer_saw(site: &Site) {
    let (known, unknown) = (&site.caller, site.caller_from("127.0.0.3"));
    assert_eq!(known.get("/known/2.0/users/me").status, 200);
    let refused = unknown.get("/known/2.0/users/me");
    assert!(refused.status == 403 && refused.body.contains("source_not_allowed"), "{refused:?}");
    for version in ["--http2", "--http1.1"] {
        for forged in [
            "X-Forwarded-For: 127.0.0.2",
            "X-Forwarded-For: 127.0.0.2, 127.0.0.1",
            "Forwarded: for=127.0.0.2",
        ] {
            let refused = unknown.ask("/known/2.0/users/me", &[version, "-H", forged]);
            assert_eq!(refused.status, 403, "{forged}: {refused:?}");
            let answer = known.ask("/known/2.0/users/me", &[version, "-H", &forged.replace("0.2", "0.3")]);
            assert_eq!(answer.status, 200, "{forged}: {answer:?}");
        }
    }
    // Two fields, of which a program may read the first or the last.
    let twice = ["-H", "X-Forwarded-For: 127.0.0.2", "-H", "X-Forwarded-For: 127.0.0.2"];
    assert_eq!(unknown.ask("/known/2.0/users/me", &twice).status, 403);
}

fn urls_lead_back_to_the_balancer(site: &Site) {
    let events = site.caller.ask("/any/2.0/events", &["-X", "OPTIONS"]);
    let back = format!("https://{NAME}:{}/any/_box/", site.ports.balancer);
    assert!(events.body.contains(&back), "{back} in {events:?}");
}

fn targets_are_not_touched(site: &Site) {
    let target = "/any/2.0/search?query=a%2Fb%20c+d&x=//..&y=%C3%A9%7e";
    site.caller.get(target);
    assert_eq!(site.at.last_seen().unwrap().target, target.trim_start_matches("/any"));
    let calls = site.at.calls();
    // What could be read in two ways is not repaired on the way to the one who judges it.
    for target in [
        "/any/2.0/folders/%2e%2e/users/me",
        "/any/2.0/folders/0%2f..%2f1",
        "/any/2.0//users/me",
        "/any/2.0/folders/../users/me",
    ] {
        let refused = site.caller.get(target);
        assert_eq!(refused.status, 400, "{target}: {refused:?}");
    }
    assert_eq!(site.at.calls(), calls);
}

fn a_page_may_call(site: &Site) {
    let preflight = [
        "-X",
        "OPTIONS",
        "-H",
        "Origin: https://app.example.com",
        "-H",
        "Access-Control-Request-Method: PUT",
        "-H",
        "Access-Control-Request-Headers: content-type",
    ];
    let answer = site.caller.ask(ME, &preflight);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"), "{answer:?}");
    assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains("PUT")));
    let answer = site.caller.ask(ME, &["-H", "Origin: https://app.example.com"]);
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("https://app.example.com"))
    );
    let other = site.caller.ask(ME, &["-H", "Origin: https://other.example.com"]);
    assert!(other.status == 403 && other.body.contains("origin_not_allowed"), "{other:?}");
}

fn a_large_head_arrives_and_a_larger_one_does_not(site: &Site) {
    // Several fields, since nobody takes one of 32 KiB.
    let with = |fields: usize| {
        let long = "a".repeat(15_000);
        let more: Vec<_> = (0..fields).map(|at| format!("X-Long-{at}: {long}")).collect();
        let more = more.iter().flat_map(|field| ["-H", field]).collect::<Vec<_>>();
        site.caller.ask(ME, &[&["--http1.1"], &more[..]].concat()).status
    };
    assert_eq!(with(2), 200);
    let refused = with(4);
    assert!([400, 413, 431].contains(&refused), "{refused}");
}

/// A request with two lengths is refused, or is one request: never two.
fn nothing_is_smuggled(site: &Site) {
    let inner =
        "GET /any/2.0/folders/4711 HTTP/1.1\r\nHost: boxgate.example.com\r\nX-Boxgate-Key: KEY\r\n\r\n"
            .replace("KEY", KEY);
    for fields in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked", inner.len() + 5),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}", inner.len() + 5),
        format!("Content-Length: {}\r\nTransfer-Encoding : chunked", inner.len() + 5),
        format!("Content-Length: {}\r\nTransfer-Encoding: xchunked", inner.len() + 5),
        "Content-Length: 0\r\nContent-Length: 5".to_owned(),
    ] {
        let host = format!("{NAME}:{}", site.ports.balancer);
        let head = format!(
            "POST /any/2.0/folders HTTP/1.1\r\nHost: {host}\r\nX-Boxgate-Key: {KEY}\r\n{fields}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(site, &format!("{head}0\r\n\r\n{inner}"));
        let answers = answer.matches("HTTP/1.1 ").count();
        assert!(answers <= 1, "{fields:?} is two requests: {answer}");
        let arrived = site.at.seen().iter().any(|seen| seen.target.contains("4711"));
        assert!(!arrived, "{fields:?} hides a request");
    }
}

/// Sends bytes over TLS and HTTP/1.1, and reads to the end of the connection.
fn raw(site: &Site, bytes: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(site.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(config), ServerName::try_from(NAME).unwrap()).unwrap();
    let tcp = TcpStream::connect(("127.0.0.1", site.ports.balancer)).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(tls, tcp);
    stream.write_all(bytes.as_bytes()).unwrap();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    // It may end with a reset, since not all that was sent is read.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
