//! What the kubelet does with a pod of these manifests: volumes with the files of ConfigMaps and Secrets, and the container's
//! command as a process. A folder is the container's root, so paths that begin with / are put below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use super::super::client::{Answer, request};
use super::super::harness::{FakeBox, Folder, Program, command};
use super::super::volume::{Files, Volume};
use super::objects::{Objects, list, text};
use crate::harness::free_port;

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");

/// Secrets of a cluster, by name.
pub(super) type Secrets = BTreeMap<String, Files>;

/// A pod's files: what a process of its container sees.
pub(super) struct Mounted {
    pub(super) root: PathBuf,
    volumes: BTreeMap<String, Volume>,
    /// The ports of the callers' and the operators' listener.
    ports: [u16; 2],
    /// Tables that lead to the sandbox in place of Box, and what a test adds.
    more: String,
}

impl Mounted {
    fn new(folder: &Folder, at: &FakeBox, more: &str) -> Self {
        let root = folder.to_path_buf();
        let tables = at.tables(folder).replace("\"ca.pem\"", &format!("{:?}", root.join("ca.pem")));
        let (hosts, rest) = tables.split_once("[identity.service]").unwrap();
        let (_, upstream) = rest.split_once("[upstream]").unwrap();
        let more = format!("\n{more}\n{hosts}\n[upstream]{upstream}");
        Self { root, volumes: BTreeMap::new(), ports: [free_port(), free_port()], more }
    }

    /// A path of the container.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The configuration with its paths below the root, on ports of its own. A listener on every address becomes one on
    /// 127.0.0.1; one on 127.0.0.1 stays there.
    fn mapped(&self, proxy_toml: &str) -> String {
        let table: toml::Table = proxy_toml.parse().unwrap_or_default();
        let mut text = proxy_toml.to_owned();
        for (listener, port) in ["listen", "admin"].iter().zip(self.ports) {
            let address = table.get(*listener).and_then(|table| table["address"].as_str());
            if let Some((host, _)) = address.and_then(|address| address.rsplit_once(':')) {
                let host = if host == "0.0.0.0" { "127.0.0.1" } else { host };
                text = text.replace(&format!("{:?}", address.unwrap()), &format!("\"{host}:{port}\""));
            }
        }
        for folder in ["/run/", "/var/"] {
            text = text.replace(&format!("\"{folder}"), &format!("\"{}{folder}", self.root.display()));
        }
        text + &self.more
    }

    /// Brings every volume of the container to what the objects and secrets say.
    fn sync(&mut self, objects: &Objects, secrets: &Secrets) {
        let (template, container) = objects.gateway();
        for mount in list(container, "/volumeMounts") {
            let name = text(mount, "/name");
            let volume = list(template, "/spec/volumes").iter().find(|one| one["name"] == *name).unwrap();
            let folder = self.path(text(mount, "/mountPath"));
            let (files, source) = if let Some(source) = volume.get("configMap") {
                let map = objects.get("ConfigMap", text(source, "/name"));
                let data = map["data"].as_object().unwrap();
                let files =
                    data.iter().map(|(name, value)| (name.clone(), self.mapped(value.as_str().unwrap())));
                (files.collect::<Files>(), source)
            } else if let Some(source) = volume.get("secret") {
                let name = text(source, "/secretName");
                let found =
                    secrets.get(name).unwrap_or_else(|| panic!("no Secret {name}: the pod does not start"));
                (found.clone(), source)
            } else {
                fs::create_dir_all(folder).unwrap();
                continue;
            };
            let mode = source.get("defaultMode").and_then(Value::as_u64).unwrap_or(0o644);
            let mode = u32::try_from(mode).unwrap();
            self.volumes.entry(name.to_owned()).or_insert_with(|| Volume::new(folder, mode)).write(files);
        }
    }

    /// A command in the container, as `kubectl exec` and probes run it.
    pub(super) fn command(&self, container: &Value, words: &[&str]) -> Command {
        assert_eq!(words[0], "boxgate", "the image has no other program");
        let mut command = command(BOXGATE, &self.root);
        command.current_dir(self.path(text(container, "/workingDir")));
        command.args(words[1..].iter().map(|word| {
            if word.starts_with('/') { self.path(word).display().to_string() } else { (*word).to_owned() }
        }));
        command
    }
}

/// A running pod.
pub(super) struct Pod {
    pub(super) program: Program,
    pub(super) mounted: Mounted,
    container: Value,
}

impl Pod {
    /// A pod whose container has not been started.
    pub(super) fn mounted(
        objects: &Objects,
        secrets: &Secrets,
        at: &FakeBox,
        more: &str,
    ) -> (Folder, Mounted) {
        let folder = Folder::new();
        let mut mounted = Mounted::new(&folder, at, more);
        mounted.sync(objects, secrets);
        (folder, mounted)
    }

    /// In front of this Box; ready. `more`: tables of the configuration that the ConfigMap does not have.
    pub(super) fn start(objects: &Objects, secrets: &Secrets, at: &FakeBox, more: &str) -> Self {
        let (folder, mounted) = Self::mounted(objects, secrets, at, more);
        let container = objects.gateway().1.clone();
        let words: Vec<&str> = list(&container, "/command")
            .iter()
            .chain(list(&container, "/args"))
            .map(|word| word.as_str().unwrap())
            .collect();
        let program = Program::spawn(folder, mounted.command(&container, &words)).ready();
        Self { program, mounted, container }
    }

    /// What the kubelet does within about a minute of a change.
    pub(super) fn sync(&mut self, objects: &Objects, secrets: &Secrets) {
        self.mounted.sync(objects, secrets);
    }

    /// Runs a command in the container.
    pub(super) fn exec(&self, words: &[&str]) -> Output {
        self.mounted.command(&self.container, words).output().unwrap()
    }

    /// A request of a caller with these lines of a head.
    pub(super) fn call(&self, target: &str, fields: &str) -> Answer {
        request(&self.program.callers, "GET", target, fields)
    }

    /// A probe by HTTP as the kubelet sends it: to the pod's address, from the node's.
    pub(super) fn probe(&self, probe: &Value) -> u16 {
        let target = text(probe, "/httpGet/path");
        assert!(!target.is_empty(), "{probe}");
        let fields = "Host: 10.244.3.17:8081\r\nUser-Agent: kube-probe/1.33\r\nAccept: */*\r\n";
        request(&self.program.operators, "GET", target, fields).status
    }

    pub(super) fn container(&self) -> &Value {
        &self.container
    }
}
