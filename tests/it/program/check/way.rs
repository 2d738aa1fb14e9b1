//! The way to Box: name service, TCP, proxies, certificates, loops.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use boxgate::sandbox::{Fault, Names, Options, Role, TokenAnswer};

use super::super::certificates::Authority;
use super::super::harness::{FakeBox, Folder, wait};
use super::{Said, authority, edit, folder_for};

#[test]
fn the_host_that_failed_is_named() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    let (token, api) = (authority(&at.token_url()), authority(&at.api_url()));
    let failed = || {
        let said = Said::of(&folder, &[]);
        assert_eq!(said.status, Some(1), "{}{}", said.out, said.err);
        said
    };
    at.script("/2.0/users/me", vec![Fault::status(500)]);
    failed().has("service", &[&format!("{api} answers 500")]);
    at.script("/2.0/users/me", vec![Fault::status(429)]);
    failed().has("service", &[&format!("{api} answers 429"), "check again later"]);
    at.token_script(vec![TokenAnswer::Body {
        status: 200,
        body: "[]".to_owned(),
        content_type: "application/json".to_owned(),
    }]);
    failed().has(
        "service",
        &[&format!("the token endpoint {token} answers 200, but without the JSON of a token")],
    );
    wait(at.go_down(Role::Api));
    let said = failed();
    let refused = format!("the token endpoint {token} cannot be reached: connection refused;");
    said.has("service", &[&refused]);
    said.has(&api, &["  failed  no connection: connection refused;", "firewall", "[box] api"]);
    assert!(!said.out.contains("os error"), "{}", said.out);
}

#[test]
fn a_dead_upload_or_download_host_is_a_failure_though_identities_are_well() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    for (role, url, key) in [
        (Role::Upload, at.upload_url(), "[box] upload"),
        (Role::Download, at.download_url(), "[box] download"),
    ] {
        wait(at.go_down(role));
        let said = Said::of(&folder, &[]);
        assert_eq!(said.status, Some(1), "{}", said.out);
        said.has(&authority(&url), &["  failed  no connection: connection refused", key]);
        said.has("service", &["  ok  "]);
        assert!(said.out.ends_with("\n1 failed\n"), "{}", said.out);
        at.comes_up(role);
    }
    at.script("/2.0/", Vec::new());
    assert_eq!(Said::of(&folder, &[]).status, Some(0));
}

/// A proxy of the network that ends TLS is the commonest cause; its authority's name is what to ask for.
#[test]
fn an_untrusted_certificate_is_shown_with_its_issuer() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    edit(&folder, "ca_file = \"ca.pem\"\n", "");
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(1));
    for url in [at.api_url(), at.upload_url(), at.download_url()] {
        let issuer = "certificate not trusted: issued by \"Boxgate sandbox CA\"";
        said.has(&authority(&url), &["  failed  ", issuer, "[box] ca_file"]);
    }
    said.has("service", &["  failed  not checked", "[box] ca_file"]);
}

/// Each fault on the way to a host has its own words, and says what to do.
#[test]
fn faults_on_the_way_are_told_apart() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    let upload = at.upload_url();
    let with = |from: &str, to: &str, name: &str, parts: &[&str]| {
        let before = std::fs::read_to_string(folder.join("proxy.toml")).unwrap();
        edit(&folder, from, to);
        let said = Said::of(&folder, &[]);
        assert_eq!(said.status, Some(1), "{}{}", said.out, said.err);
        said.has(name, parts);
        folder.write("proxy.toml", &before);
    };
    // A label of 64 characters has no address, and no server is asked for it.
    let nameless = format!("{}.example", "n".repeat(64));
    with(&upload, &format!("https://{nameless}"), &nameless, &["the name has no address", "(DNS)"]);

    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    thread::spawn(move || {
        for stream in plain.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    with(
        &upload,
        &format!("https://{address}"),
        &address.to_string(),
        &["  failed  TLS: ", "may not be Box"],
    );

    // The port is closed again.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = format!("proxy = \"http://{closed}\"");
    with(
        "proxy = \"none\"",
        &proxy,
        &authority(&upload),
        &[&format!("no connection through the proxy {closed}: "), "[upstream] proxy"],
    );
}

#[test]
fn certificates_of_another_host_or_another_time_are_told_apart() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    let upload = at.upload_url();
    let authority_of = Authority::new("Elsewhere");
    let mut pem = std::fs::read_to_string(folder.join("ca.pem")).unwrap();
    pem.push_str(&authority_of.pem);
    folder.write("ca.pem", &pem);
    for (made, words, advice) in [
        (authority_of.server_of(2001, 2002), "expired", "clock"),
        (authority_of.box_hosts(), "not valid for name", "something else answers"),
    ] {
        let address = serving(&made.cert, &made.key);
        let before = std::fs::read_to_string(folder.join("proxy.toml")).unwrap();
        edit(&folder, &upload, &format!("https://{address}"));
        let said = Said::of(&folder, &[]);
        assert_eq!(said.status, Some(1), "{}", said.out);
        said.has(&address, &["  failed  ", words, advice]);
        folder.write("proxy.toml", &before);
    }
}

/// A server of TLS handshakes with this certificate, at `localhost:PORT`.
fn serving(cert: &str, key: &str) -> String {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let settings = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let settings = std::sync::Arc::new(settings);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut connection = rustls::ServerConnection::new(settings.clone()).unwrap();
            let _ = connection.complete_io(&mut stream);
        }
    });
    format!("localhost:{port}")
}

#[test]
fn a_proxy_on_the_way_is_shown() {
    let at = FakeBox::with(Options { names: Names::Box, ..Options::default() });
    let folder = folder_for(&at, "");
    let text = std::fs::read_to_string(folder.join("proxy.toml")).unwrap();
    let kept = text.lines().filter(|line| {
        !["api =", "upload =", "download =", "token_url ="].iter().any(|key| line.starts_with(key))
    });
    folder.write("proxy.toml", &kept.collect::<Vec<_>>().join("\n"));
    edit(&folder, "\"none\"", &format!("{:?}", at.proxy_url()));
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    let through = format!("through the proxy {}", at.proxy_url().trim_start_matches("http://"));
    for host in ["api.box.com", "upload.box.com", "dl.boxcloud.com"] {
        said.has(host, &["  ok  ", &through]);
    }
    said.has("service", &["  ok  "]);
}

#[test]
fn a_gateway_that_would_call_itself_is_found() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let identity = |address: &str| {
        format!(
            "[listen]\naddress = \"{address}\"\n[identity.service]\nclient_id = \"a\"\nclient_secret = {{ file = \"secret\" }}\nenterprise_id = \"1\"\n"
        )
    };
    folder.write("secret", "s");
    folder.write("ca.pem", at.ca_pem());
    let proxied = identity("127.0.0.1:18080") + "[upstream]\nproxy = \"http://localhost:18080\"\n";
    let named = identity("0.0.0.0:18443")
        + "[upstream]\nproxy = \"none\"\n[box]\nca_file = \"ca.pem\"\napi = \"https://localhost:18443\"\nupload = \"https://localhost:18443\"\ndownload = \"https://localhost:18443\"\ntoken_url = \"https://localhost:18443/oauth2/token\"\n";
    let boxs = ["api.box.com", "upload.box.com", "dl.boxcloud.com", "service"];
    for (text, words, names) in [
        (proxied, "the proxy on the way there", &boxs[..]),
        (named, "it is at", &["localhost:18443", "service"]),
    ] {
        folder.write("proxy.toml", &text);
        let said = Said::of(&folder, &[]);
        assert_eq!(said.status, Some(1), "{}", said.err);
        for name in names {
            said.has(
                name,
                &["would call itself", words, "where this gateway itself listens", "[upstream] proxy"],
            );
        }
    }
}
