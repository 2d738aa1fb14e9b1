//! The bench: a sandbox Box with the real gateway in front, built through the real configuration step.

use std::path::Path;
use std::time::Duration;

use boxgate::config::{self, Overrides};
use boxgate::net::clock::Clock;
use boxgate::sandbox::{Names, Options, Sandbox};
use boxgate::server;
use boxgate::server::shutdown::Stop;
use boxgate::telemetry::access_log::AccessLog;
use boxgate::telemetry::log::LogFormat;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::raw::raw_box::RawBox;

/// A generous timeout for busy machines; only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Bench {
    pub sandbox: Sandbox,
    pub clock: Clock,
    pub address: String,
    pub admin: String,
    pub client: reqwest::Client,
    /// The bench's own folder, which a gateway started later may use again.
    pub state: std::path::PathBuf,
    stop: watch::Sender<Stop>,
    running: JoinHandle<std::io::Result<()>>,
}

impl Bench {
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// A bench with more lines in `proxy.toml`.
    pub async fn with(more: &str) -> Self {
        Self::of(Options::default(), more).await
    }

    pub async fn of(options: Options, more: &str) -> Self {
        let sandbox = Sandbox::start(options).await.unwrap();
        Self::before(sandbox, more).await
    }

    /// With a sandbox that answers with Box's own names, and a gateway that finds them as it would find the real ones:
    /// nothing but the forward proxy leads to the sandbox. `upstream`: more lines of that table.
    pub async fn with_boxs_names(options: Options, upstream: &str, more: &str) -> Self {
        let sandbox = Sandbox::start(Options { names: Names::Box, ..options }).await.unwrap();
        let proxy = sandbox.proxy_url();
        let tables =
            format!("[box]\nca_file = \"ca.pem\"\n[upstream]\nproxy = \"{proxy}\"\n{upstream}\n{more}");
        Self::before(sandbox, &tables).await
    }

    /// A bench in front of a scripted Box; tokens come from a sandbox.
    pub async fn before_raw(at: &RawBox, more: &str) -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let table = at.table(&sandbox.token_url());
        let bench = Self::built(sandbox, &at.pem, &format!("{table}{more}")).await;
        bench.until_ready().await;
        bench
    }

    /// In front of this sandbox. A table that `more` writes replaces the bench's own.
    pub async fn before(sandbox: Sandbox, more: &str) -> Self {
        Self::built(sandbox, "", more).await
    }

    /// The same, with further roots in `ca.pem`.
    pub async fn before_trusting(sandbox: Sandbox, more_roots: &str, more: &str) -> Self {
        Self::built(sandbox, more_roots, more).await
    }

    async fn built(sandbox: Sandbox, more_roots: &str, more: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("boxgate-it-{}-{}", std::process::id(), fastrand::u64(..)));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.pem"), format!("{}\n{more_roots}", sandbox.ca_pem())).unwrap();
        let table = |header: &str, lines: &str| match more.lines().any(|line| line.trim() == header) {
            true => String::new(),
            false => format!("{header}\n{lines}\n"),
        };
        let text = format!(
            r#"{listen}{admin}{upstream}{hosts}{state}
[identity.service]
client_id     = "{id}"
client_secret = {{ env = "SECRET" }}
enterprise_id = "{enterprise}"

{more}
"#,
            listen = table("[listen]", "address = \"127.0.0.1:0\"\nworkers = 2"),
            admin = table("[admin]", "address = \"127.0.0.1:0\""),
            upstream = table("[upstream]", "proxy = \"none\""),
            state = table("[state]", &format!("dir = {:?}", folder.join("state"))),
            hosts = table(
                "[box]",
                &format!(
                    "api = \"{}\"\nupload = \"{}\"\ndownload = \"{}\"\ntoken_url = \"{}\"\nca_file = \"ca.pem\"",
                    sandbox.api_url(),
                    sandbox.upload_url(),
                    sandbox.download_url(),
                    sandbox.token_url(),
                )
            ),
            id = sandbox.client_id(),
            enterprise = sandbox.enterprise_id(),
        );
        let secret = sandbox.client_secret().to_owned();
        let env = move |name: &str| (name == "SECRET").then(|| secret.clone());
        let name = folder.join("proxy.toml");
        let config = config::from_text(&text, Path::new(&name), &Overrides::default(), &env)
            .unwrap_or_else(|problems| panic!("{problems}"));
        std::fs::remove_file(folder.join("ca.pem")).unwrap();
        let clock = Clock::adjustable();
        let access = AccessLog::new(None, LogFormat::Text).unwrap();
        let bound = server::bind(config).await.unwrap();
        let (address, admin) = (bound.addresses()[0].clone(), bound.admin_addresses()[0].clone());
        let (stop, stopping) = watch::channel(Stop::No);
        let running = tokio::spawn(bound.run(clock.clone(), access, stopping));
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(no_tls())
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Self { sandbox, clock, address, admin, client, state: folder, stop, running }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    /// Sends this many requests at once; returns the responses in the order of arrival.
    pub async fn gets(&self, path: &str, count: usize) -> Vec<reqwest::Response> {
        let mut answers = JoinSet::new();
        for _ in 0..count {
            let request = self.client.get(self.url(path));
            answers.spawn(async move { request.send().await.unwrap() });
        }
        answers.join_all().await
    }

    pub async fn admin(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("http://{}{path}", self.admin)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The value of a metric's line, `0` where there is none.
    pub async fn metric(&self, line: &str) -> f64 {
        let (_, text) = self.admin("/metrics").await;
        let found = text.lines().find_map(|have| have.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or(0.0)
    }

    /// Polls `/readyz` until the gateway is ready.
    pub async fn until_ready(&self) {
        until(|| async { self.admin("/readyz").await.0 == 200 }).await;
    }

    /// Sends raw bytes and reads to the end of the connection.
    pub async fn raw(&self, request: &str) -> String {
        let mut socket = self.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer));
        // A reset after the response does not matter.
        let _ = read.await.expect("the gateway closes the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    pub fn stop(&self, stop: Stop) {
        self.stop.send_replace(stop);
    }

    pub async fn stopped(mut self) {
        tokio::time::timeout(PATIENCE, &mut self.running).await.expect("the gateway stops").unwrap().unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

/// Callers speak plain HTTP; reqwest wants to be told about TLS all the same.
pub fn no_tls() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

/// A port on which nobody listens. Below those that systems give to connections, which other tests open meanwhile.
pub fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..32_000);
        if std::net::TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// The body as JSON.
pub async fn json(answer: reqwest::Response) -> serde_json::Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// Polls until the condition holds, for conditions without an event.
pub async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let asking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it comes to hold");
}

pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}

/// `code` of an error in Box's shape, with its status.
pub async fn refusal(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(body["type"], "error");
    assert_eq!(body["status"], status);
    assert!(body["request_id"].as_str().is_some_and(|id| !id.is_empty()));
    (status, body["code"].as_str().unwrap().to_owned())
}
