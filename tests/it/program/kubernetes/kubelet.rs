//! What the kubelet does with a pod of these manifests: volumes with the files of ConfigMaps and Secrets, and the container's
//! command as a process. A folder is the container's root, so paths that begin with / are put below it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use super::super::client::{Answer, request};
use super::super::harness::{FakeBox, Folder, Program, command};
use super::objects::{Objects, list, text};
use crate::harness::free_port;

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");

/// Files by name.
pub(super) type Files = BTreeMap<String, String>;
/// Secrets of a cluster, by name.
pub(super) type Secrets = BTreeMap<String, Files>;

/// A volume with the files of a ConfigMap or Secret. The kubelet's atomic writer writes each generation into a folder of its own
/// and swaps one link, `..data`; what a container opens are links through it.
struct Volume {
    folder: PathBuf,
    mode: u32,
    generation: u32,
    files: Files,
}

impl Volume {
    fn new(folder: PathBuf, mode: u32) -> Self {
        fs::create_dir_all(&folder).unwrap();
        Self { folder, mode, generation: 0, files: Files::new() }
    }

    /// Takes the files over; those that have not changed leave everything as it is.
    fn write(&mut self, files: Files) {
        if files == self.files {
            return;
        }
        self.generation += 1;
        let generation = format!("..2026_11_26_18_31_35.{:09}", self.generation);
        let folder = self.folder.join(&generation);
        fs::create_dir(&folder).unwrap();
        for (name, text) in &files {
            let file = folder.join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(self.mode)).unwrap();
        }
        let data = self.folder.join("..data");
        let old = fs::read_link(&data).ok();
        symlink(&generation, self.folder.join("..data_tmp")).unwrap();
        fs::rename(self.folder.join("..data_tmp"), &data).unwrap();
        for name in files.keys().filter(|name| !self.files.contains_key(*name)) {
            symlink(format!("..data/{name}"), self.folder.join(name)).unwrap();
        }
        for name in self.files.keys().filter(|name| !files.contains_key(*name)) {
            fs::remove_file(self.folder.join(name)).unwrap();
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.join(old)).unwrap();
        }
        self.files = files;
    }
}

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
