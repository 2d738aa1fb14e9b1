//! State that replicas share, in a real redis-server: one for each test, with its own port and folder.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use boxgate::limits::budget::definition::{self, Budget, Period, WhenSpent};
use boxgate::limits::budget::spending;
use boxgate::limits::rate::limit::{Key, Limit, Quota};
use boxgate::limits::redis::replicas::{
    Answer, BOUND, Cell, Health, PauseKey, Replicas, Settings, Spend, Unavailable, Verdict,
};
use boxgate::net::secret::Secret;
use boxgate::net::tls_client::Trust;
use redis::aio::MultiplexedConnection;
use rustls::pki_types::CertificateDer;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::harness::{PATIENCE, free_port, in_time, until};

mod away; // Redis slow, gone and back
mod budgets; // budgets are exact
mod calls; // who spent the calls of all replicas
mod cost; // measurements, ignored by default
mod fleet; // gateways as processes
mod joint_budgets; // budgets of two gateways
mod joint_limits; // limits of two gateways
mod joint_rate; // a limit of three gateways
mod limits; // all or nothing, on the server's clock
mod lost; // gateways whose Redis is slow or gone
mod pauses; // shared pauses
mod status; // what /status.json says of Redis
mod ways; // passwords, TLS, sockets
mod windows; // Box's own limits

const HOUR: Duration = Duration::from_secs(3600);
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// The timeout in tests of exact counts, so that a busy machine does not look like a slow Redis.
const PATIENT: Duration = Duration::from_secs(20);

/// Read once: it takes its time.
static PLATFORM: LazyLock<Trust> = LazyLock::new(|| Trust::new(&[]).unwrap());

/// A redis-server, killed by its process id.
pub struct Server {
    process: Option<Child>,
    folder: PathBuf,
    port: u16,
    args: Vec<String>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With more arguments; `DIR` in them is the server's folder, `PORT` a second free port.
    pub async fn with(args: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("boxgate-redis-{:016x}", fastrand::u64(..)));
        Self::within(folder, args).await
    }

    pub async fn within(folder: PathBuf, args: &[&str]) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let args = args.iter().map(|arg| arg.replace("DIR", folder.to_str().unwrap())).collect();
        let mut server = Self { process: None, folder, port: free_port(), args };
        // Another test may have been given the same port in between.
        while !server.launch().await {
            server.port = free_port();
        }
        server
    }

    /// Starts it, on the port that it had, with nothing in it; whether it got the port.
    #[must_use]
    pub async fn launch(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &self.port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.args(["--dir", self.folder.to_str().unwrap(), "--logfile", "server.log"]).args(&self.args);
        let begun = self.readied();
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(process.expect("redis-server is missing: run tests/run first"));
        let answering = async {
            loop {
                if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                    let log = self.log();
                    assert!(log.contains("Address already in use"), "redis-server ended, {status}: {log}");
                    return false;
                }
                // Not whether something answers on the port: that may be another test's server, and this one about to end.
                if self.readied() > begun {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time(answering).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// How often it has said that it has its port.
    fn readied(&self) -> usize {
        self.log().matches("Ready to accept connections").count()
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// STOP suspends it, CONT resumes it.
    pub fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of another program.
    pub async fn other(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// The only key of this kind.
    pub async fn key(&self, kind: &str) -> String {
        let keys = self.keys(&format!("*}}{kind}:*")).await;
        assert_eq!(keys.len(), 1, "{keys:?}");
        keys[0].clone()
    }

    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        redis::cmd("KEYS").arg(pattern).query_async(&mut self.other().await).await.unwrap()
    }

    pub async fn run(&self, line: &[&str]) {
        let mut command = redis::cmd(line[0]);
        command.arg(&line[1..]);
        command.query_async::<redis::Value>(&mut self.other().await).await.unwrap();
    }

    /// The server's clock.
    pub async fn micros(&self) -> u64 {
        let time: (u64, u64) = redis::cmd("TIME").query_async(&mut self.other().await).await.unwrap();
        time.0 * 1_000_000 + time.1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One replica.
pub struct Side {
    pub replicas: Arc<Replicas>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Side {
    pub fn new(url: &str, bound: Duration, max_pause: Duration, roots: &[CertificateDer<'static>]) -> Self {
        let settings =
            Settings { url: Secret::new(url.to_owned()), prefix: "boxgate:".to_owned(), max_pause, bound };
        let trust = if roots.is_empty() { PLATFORM.clone() } else { Trust::new(roots).unwrap() };
        let replicas = Arc::new(Replicas::new(settings, &trust).unwrap());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn({
            let replicas = replicas.clone();
            async move { replicas.run(async { drop(stopped.await) }).await }
        });
        Self { replicas, stop, running }
    }

    /// A replica with a long timeout.
    pub async fn join(url: &str) -> Self {
        Self::new(url, PATIENT, MAX_PAUSE, &[]).shared().await
    }

    pub async fn shared(self) -> Self {
        in_time(self.replicas.watch().wait_for(Health::is_shared)).await.unwrap();
        self
    }

    /// What it says of Redis, once it has tried.
    pub async fn why(&self) -> String {
        in_time(self.replicas.tried()).await;
        if let Health::Local { why, .. } = self.replicas.health() { why.to_string() } else { String::new() }
    }

    pub async fn local(&self) {
        in_time(self.replicas.watch().wait_for(|health| !health.is_shared())).await.unwrap();
    }

    pub async fn leave(self) {
        drop(self.stop);
        in_time(self.running).await.unwrap();
    }

    /// Ends like a killed process.
    pub fn vanish(self) {
        self.running.abort();
    }

    pub async fn ask(&self, limits: &[&Limit]) -> Answer {
        let cells: Vec<Cell<'_>> = limits.iter().map(|limit| Cell { limit, key: "10.0.0.7" }).collect();
        self.replicas.ask(&cells, &[]).await.unwrap()
    }

    pub async fn passes(&self, limits: &[&Limit]) -> bool {
        matches!(self.ask(limits).await.verdict, Verdict::Pass { .. })
    }

    pub async fn paused(&self, keys: &[PauseKey]) -> Option<(usize, Duration)> {
        match self.replicas.ask(&[], keys).await.unwrap().verdict {
            Verdict::Paused { pause, left } => Some((pause, left)),
            _ => None,
        }
    }
}

pub fn limit(name: &str, interval: Duration, burst: u32) -> Limit {
    Limit {
        name: name.into(),
        key: Key::Client,
        on: Vec::new(),
        quota: Quota::Bucket { interval, burst: NonZeroU32::new(burst).unwrap() },
        wait: Duration::ZERO,
        enforce: true,
    }
}

pub fn close(have: Duration, wanted: Duration) -> bool {
    have <= wanted && have + PATIENCE >= wanted
}
