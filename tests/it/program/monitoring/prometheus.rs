//! A real Prometheus on a free port with a folder of its own, and promtool. `tests/run` installs both.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::super::harness::{Folder, PATIENCE, until};
use crate::harness::free_port;

const MISSING: &str = "prometheus is missing: tests/run installs it";

/// A server that scrapes these gateways; killed when dropped.
pub(super) struct Prometheus {
    server: Server,
    /// Its configuration and its data; removed after it has ended.
    _folder: Folder,
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Status and body; `None` while nobody answers. By HTTP/1.0, so that the body has no chunks.
    fn get(&self, target: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }
}

impl Prometheus {
    /// Scrapes the admin listeners at these addresses as instances of the job `boxgate`, and judges by these rules. Both twice in
    /// a second, so that tests need not wait for a minute.
    pub(super) fn start(targets: &[&str], rules: &str) -> Self {
        let mut folder = Folder::new();
        folder.write("rules.yml", rules);
        let mut file = "global: { scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms }\n\
                        rule_files: [rules.yml]\nscrape_configs:\n  - job_name: boxgate\n    static_configs:\n"
            .to_owned();
        writeln!(file, "      - targets: {targets:?}").unwrap();
        folder.write("prometheus.yml", &file);
        loop {
            match Self::launch(folder) {
                Ok(started) => return started,
                Err(back) => folder = back,
            }
        }
    }

    /// Starts it in this folder, which is given back if another test was given the same port in between.
    fn launch(folder: Folder) -> Result<Self, Folder> {
        let address = format!("127.0.0.1:{}", free_port());
        let log = File::create(folder.join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            // Many tests have one at the same time.
            .env("GOMAXPROCS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect(MISSING);
        let mut server = Server { child, address };
        let said = || std::fs::read_to_string(folder.join("log")).unwrap();
        let mut has_ended = None;
        // Not whether something answers on the port: that may be another test's server, and this one about to end.
        until("Prometheus is ready", || {
            has_ended = server.child.try_wait().unwrap();
            has_ended.is_some() || said().contains("ready to receive web requests")
        });
        let Some(status) = has_ended else { return Ok(Self { server, _folder: folder }) };
        let log = said();
        assert!(log.contains("address already in use"), "prometheus ended, {status}: {log}");
        Err(folder)
    }

    fn api(&self, target: &str) -> Value {
        let (status, body) = self.server.get(target).expect("Prometheus answers");
        assert_eq!(status, 200, "{target}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer["data"].clone()
    }

    /// The series that a query gives now. A query that cannot be parsed fails the test.
    pub(super) fn query(&self, query: &str) -> Vec<Value> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let data = self.api(&format!("/api/v1/query?query={query}"));
        match data["resultType"].as_str() {
            Some("scalar") => vec![data["result"].clone()],
            _ => data["result"].as_array().unwrap().clone(),
        }
    }

    /// The values of a label in the last hour, for series that this selects.
    pub(super) fn label_values(&self, label: &str, series: &str) -> Vec<Value> {
        let series = utf8_percent_encode(series, NON_ALPHANUMERIC);
        self.api(&format!("/api/v1/label/{label}/values?match[]={series}")).as_array().unwrap().clone()
    }

    /// Waits until this alert fires, and returns what it says.
    pub(super) fn fires(&self, alert: &str) -> Value {
        let mut found = None;
        until(&format!("{alert} fires"), || {
            let data = self.api("/api/v1/alerts");
            let alerts = data["alerts"].as_array().unwrap();
            let is_it = |one: &&Value| one["labels"]["alertname"] == alert && one["state"] == "firing";
            found = alerts.iter().find(is_it).cloned();
            found.is_some()
        });
        found.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Rules that fire at once: a test cannot wait for the minutes that an alert has to last.
pub(super) fn at_once(rules: &str) -> String {
    let lasts =
        |line: &&str| ["for:", "keep_firing_for:"].iter().any(|key| line.trim_start().starts_with(key));
    rules.lines().filter(|line| !lasts(line)).map(|line| format!("{line}\n")).collect()
}

/// Runs promtool in this folder, with this standard input.
pub(super) fn promtool(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(MISSING);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}
