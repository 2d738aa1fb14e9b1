//! curl as a caller of the balancer, from an address of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::program::harness::{Folder, command};

/// The name by which callers know the gateway, as in the shipped files.
pub(super) const NAME: &str = "boxgate.example.com";

/// What the shipped app asks for.
pub(super) const KEY: &str = "the-key-of-the-callers-of-the-test";

/// A caller whose source address is `from`, with the key.
pub(super) struct Caller {
    pub(super) folder: PathBuf,
    pub(super) from: &'static str,
    pub(super) port: u16,
    pub(super) ca: PathBuf,
}

/// What curl got.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) version: String,
    /// Heads of interim answers and of the last one.
    pub(super) heads: Vec<String>,
    pub(super) body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (mut heads, mut rest) = (Vec::new(), text);
        while let Some((head, behind)) = rest.split_once("\r\n\r\n").filter(|_| rest.starts_with("HTTP/")) {
            heads.push(head.to_owned());
            rest = behind;
        }
        let first = heads.last().and_then(|head| head.lines().next()).unwrap_or_default().to_owned();
        let mut words = first.split(' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|word| word.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
            version,
            heads,
            body: rest.to_owned(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.heads.last()?.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

impl Caller {
    pub(super) fn url(&self, target: &str) -> String {
        format!("https://{NAME}:{}{target}", self.port)
    }

    /// curl with the options that lead to the balancer, and the key.
    pub(super) fn curl(&self) -> Command {
        let mut command = self.curl_without_key();
        command.arg("-H").arg(format!("X-Boxgate-Key: {KEY}"));
        command
    }

    pub(super) fn curl_without_key(&self) -> Command {
        let mut command = command("curl", &self.folder);
        command
            .args(["-sS", "--path-as-is", "--max-time", "120", "--interface", self.from, "--cacert"])
            .arg(&self.ca)
            .arg("--resolve")
            .arg(format!("{NAME}:{}:127.0.0.1", self.port));
        command
    }

    /// The answer to a request with these further arguments.
    pub(super) fn ask(&self, target: &str, more: &[&str]) -> Answer {
        let output = self.curl().arg("-i").args(more).arg(self.url(target)).output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!answer.is_empty(), "{target}: {}", String::from_utf8_lossy(&output.stderr));
        Answer::read(&answer)
    }

    pub(super) fn get(&self, target: &str) -> Answer {
        self.ask(target, &[])
    }

    /// curl with pipes on both sides, for a request whose body is written, and answer read, piece by piece.
    pub(super) fn piped(&self, target: &str, more: &[&str]) -> std::process::Child {
        let mut command = self.curl();
        command.arg("-N").args(more).arg(self.url(target));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }
}

/// A caller of this port that trusts the CA in `callers-ca.pem` of the folder.
pub(super) fn caller(folder: &Folder, port: u16, from: &'static str) -> Caller {
    Caller { folder: folder.to_path_buf(), from, port, ca: folder.join("callers-ca.pem") }
}
