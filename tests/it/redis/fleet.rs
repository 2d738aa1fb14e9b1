//! Gateways as processes, one Redis, one Box.

use std::process::Stdio;

use boxgate::sandbox::{Options, Sandbox};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::*;
use crate::harness::no_tls;

/// Removes a test's folder at its end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The environment of the gateways.
pub struct Fleet {
    pub sandbox: Sandbox,
    pub redis: Server,
    pub client: reqwest::Client,
    folder: Folder,
}

/// One replica. Killed when dropped.
pub struct Gateway {
    child: Child,
    folder: PathBuf,
    address: String,
    admin: String,
    lines: watch::Receiver<Vec<String>>,
    client: reqwest::Client,
}

impl Fleet {
    pub async fn new() -> Self {
        Self::on(Server::start().await).await
    }

    pub async fn on(redis: Server) -> Self {
        let folder = std::env::temp_dir().join(format!("boxgate-fleet-{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(&folder).unwrap();
        let sandbox = Sandbox::start(Options { remembered: 8192, ..Options::default() }).await.unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(no_tls())
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Self { sandbox, redis, client, folder: Folder(folder) }
    }

    /// A gateway, told of this Redis; serves and has a token. `more`: tables of its file.
    pub async fn gateway(&self, more: &str) -> Gateway {
        self.gateway_at(&self.redis.url(), more).await
    }

    /// The same, told of that Redis; of none if it is empty. Box's own limits are off, unless `more` has that table.
    pub async fn gateway_at(&self, redis: &str, more: &str) -> Gateway {
        let folder = self.folder.0.join(format!("{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(&folder).unwrap();
        let sandbox = &self.sandbox;
        std::fs::write(folder.join("ca.pem"), sandbox.ca_pem()).unwrap();
        std::fs::write(folder.join("secret"), sandbox.client_secret()).unwrap();
        std::fs::write(folder.join("redis"), redis).unwrap();
        let shared = if redis.is_empty() { "" } else { "redis = { file = \"redis\" }\n" };
        let limits = if more.contains("[limits]") { "" } else { "[limits]\nbox_defaults = false\n" };
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\nworkers = 1\n\n\
             [admin]\naddress = \"127.0.0.1:0\"\n\n\
             [box]\napi = {:?}\nupload = {:?}\ndownload = {:?}\ntoken_url = {:?}\nca_file = \"ca.pem\"\n\n\
             [identity.service]\nclient_id = {:?}\nclient_secret = {{ file = \"secret\" }}\n\
             enterprise_id = {:?}\n\n\
             [upstream]\nproxy = \"none\"\nmax_pause = \"60s\"\n\n\
             [state]\ndir = \"state\"\n{shared}\n\
             {limits}\n\
             [[app]]\nname = \"intranet\"\nsources = [\"any\"]\nas_user = [\"*\"]\n\n{more}\n",
            sandbox.api_url(),
            sandbox.upload_url(),
            sandbox.download_url(),
            sandbox.token_url(),
            sandbox.client_id(),
            sandbox.enterprise_id(),
        );
        std::fs::write(folder.join("proxy.toml"), text).unwrap();
        Gateway::start(folder, self.client.clone()).await
    }

    /// All keys of a kind in Redis.
    pub async fn values(&self, kind: &str) -> Vec<String> {
        let mut values = Vec::new();
        for key in self.redis.keys(&format!("*}}{kind}:*")).await {
            values.push(redis::cmd("GET").arg(key).query_async(&mut self.redis.other().await).await.unwrap());
        }
        values
    }
}

impl Gateway {
    /// In its folder, where its file and its state are.
    async fn start(folder: PathBuf, client: reqwest::Client) -> Self {
        // Measurements may want another build.
        let program = std::env::var("BOXGATE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_boxgate").to_owned());
        let mut command = Command::new(std::path::absolute(program).unwrap());
        command.current_dir(&folder).env_clear().stdin(Stdio::null());
        let mut child =
            command.kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let (noted, lines) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = stderr.next_line().await {
                noted.send_modify(|lines| lines.push(line));
            }
        });
        let mut this = Self { child, folder, address: String::new(), admin: String::new(), lines, client };
        let line = this.line(&["boxgate listens"]).await;
        (this.address, this.admin) = (said(&line, "callers"), said(&line, "operators"));
        until(|| async { this.admin("/readyz").await.0 == 200 }).await;
        this
    }

    /// Starts the same replica again after its end.
    pub async fn again(self) -> Self {
        Self::start(self.folder.clone(), self.client.clone()).await
    }

    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// As by `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Ends it like SIGTERM, which writes its counts.
    pub async fn stop(&mut self) {
        let id = self.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        assert!(ended.is_ok_and(|status| status.unwrap().success()), "{}", self.text());
    }

    /// The first line with all of these words; waits for it.
    pub async fn line(&self, words: &[&str]) -> String {
        let of = |line: &&String| words.iter().all(|word| line.contains(word));
        let mut lines = self.lines.clone();
        let waiting = lines.wait_for(|lines| lines.iter().any(|line| of(&line)));
        let lines = in_time(waiting).await.expect("the program says it");
        lines.iter().find(of).unwrap().clone()
    }

    /// How many lines have these words.
    pub fn lines(&self, words: &str) -> usize {
        self.lines.borrow().iter().filter(|line| line.contains(words)).count()
    }

    pub fn text(&self) -> String {
        self.lines.borrow().join("\n")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path))
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.request(path).send().await.unwrap()
    }

    /// Sends this many requests in turn; returns how many passed. The others must be refused by this limit or budget.
    pub async fn pass(&self, count: usize, refused: &str) -> usize {
        let mut passed = 0;
        for _ in 0..count {
            match self.get(ME).await {
                answer if answer.status() == 200 => passed += 1,
                answer => {
                    let text = answer.text().await.unwrap();
                    assert!(text.contains(refused), "{text}");
                }
            }
        }
        passed
    }

    pub async fn admin(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("http://{}{path}", self.admin)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A field of the head of an answer to operators.
    pub async fn admin_field(&self, path: &str, name: &str) -> Option<String> {
        let answer = self.client.get(format!("http://{}{path}", self.admin)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    /// The value of a metric's line, `0` where there is none.
    pub async fn metric(&self, line: &str) -> f64 {
        let (_, text) = self.admin("/metrics").await;
        let found = text.lines().find_map(|have| have.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0.0)
    }

    /// Waits until Redis is in use and knows this many replicas.
    pub async fn shares_with(&self, replicas: usize) {
        until(|| async {
            self.metric("boxgate_redis_shared").await == 1.0
                && self.metric("boxgate_redis_replicas").await == replicas as f64
        })
        .await;
    }

    pub async fn goes_alone(&self) {
        until(|| async { self.metric("boxgate_redis_shared").await == 0.0 }).await;
    }
}

pub const ME: &str = "/2.0/users/me";

/// `key="…"`.
fn said(line: &str, key: &str) -> String {
    let (_, after) = line.split_once(&format!("{key}=\"")).unwrap_or_else(|| panic!("no {key} in {line}"));
    after.split('"').next().unwrap().to_owned()
}
