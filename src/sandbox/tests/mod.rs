//! The sandbox as its clients see it: over real sockets.

mod ai;
mod around;
mod behaviour;
mod downloads;
mod downscoping;
mod events;
mod faults;
mod names;
mod reach;
mod sessions;
mod token_exchange;
mod trash;
mod tree;
mod zip;

use std::{io, sync::Arc};

use reqwest::{Client, Method, Response, header::AUTHORIZATION, redirect::Policy};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Content, Downscoped, Failure, Fault, MANAGED_USERS, Names, Options, Protocols, Role, Sandbox, SeenToken,
    Thumbnail, TokenAnswer,
};

/// A sandbox and a client that trusts it and has a token.
struct Bench {
    sandbox: Sandbox,
    client: Client,
    token: String,
}

impl Bench {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let sandbox = Sandbox::start(options).await.unwrap();
        let client = Client::builder()
            .tls_backend_preconfigured(trusting(&sandbox, &[b"h2", b"http/1.1"]))
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let mut bench = Self { sandbox, client, token: String::new() };
        let answer = json(bench.ask_for_token(&bench.good_form()).await).await;
        bench.token = answer["access_token"].as_str().unwrap().to_owned();
        bench
    }

    fn good_form(&self) -> Vec<(&'static str, String)> {
        vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", self.sandbox.client_id().to_owned()),
            ("client_secret", self.sandbox.client_secret().to_owned()),
            ("box_subject_type", "enterprise".to_owned()),
            ("box_subject_id", self.sandbox.enterprise_id().to_owned()),
        ]
    }

    async fn ask_for_token(&self, form: &[(&'static str, String)]) -> Response {
        self.client.post(self.sandbox.token_url()).form(form).send().await.unwrap()
    }

    fn exchange_form(&self, scopes: &str, resource: Option<&str>) -> Vec<(&'static str, String)> {
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange".to_owned()),
            ("subject_token", self.token.clone()),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token".to_owned()),
            ("scope", scopes.to_owned()),
        ];
        form.extend(resource.map(|resource| ("resource", resource.to_owned())));
        form
    }

    /// A token with these scopes alone.
    async fn downscoped(&self, scopes: &str, resource: Option<&str>) -> String {
        let answer = json(self.ask_for_token(&self.exchange_form(scopes, resource)).await).await;
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    fn request(&self, method: &str, url: &str) -> reqwest::RequestBuilder {
        let url = if url.starts_with("https:") { url.to_owned() } else { self.sandbox.api_url() + url };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, url).header(AUTHORIZATION, format!("Bearer {}", self.token))
    }

    async fn get(&self, url: &str) -> Response {
        self.request("GET", url).send().await.unwrap()
    }

    async fn send(&self, method: &str, url: &str, body: Value) -> Response {
        self.request(method, url).body(body.to_string()).send().await.unwrap()
    }

    /// A bare TLS connection over which a test writes HTTP/1.1 by hand.
    async fn raw(&self, role: Role) -> TlsStream<TcpStream> {
        let connector = TlsConnector::from(Arc::new(trusting(&self.sandbox, &[b"http/1.1"])));
        let stream = TcpStream::connect(("127.0.0.1", *self.sandbox.ports.of(role))).await.unwrap();
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    fn head(&self, request_line: &str, more: &str) -> String {
        format!(
            "{request_line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            self.token
        )
    }
}

fn trusting(sandbox: &Sandbox, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// What arrives until the other side closes or breaks the connection.
async fn rest(stream: &mut TlsStream<TcpStream>) -> (String, io::Result<()>) {
    let mut all = Vec::new();
    let end = stream.read_to_end(&mut all).await.map(drop);
    (String::from_utf8_lossy(&all).into_owned(), end)
}

/// One answer's head.
async fn head(stream: &mut TlsStream<TcpStream>) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn form_data(parts: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, value) in parts {
        let file = if *name == "file" { "; filename=\"f\"" } else { "" };
        body += &format!(
            "--frontier\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n"
        );
    }
    body + "--frontier--\r\n"
}

const FORM_DATA: &str = "multipart/form-data; boundary=frontier";
