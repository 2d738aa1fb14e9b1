//! A stand-in for kubectl and a cluster, for the commands of a guide: objects are kept in files, boxgate's pod is a process, and
//! what only a cluster can answer is checked by the real kubectl for its form alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::super::harness::{FakeBox, Folder, command};
use super::super::volume::Files;
use super::kubelet::{Pod, Secrets};
use super::objects::{Objects, text};
use super::{read, root, tools};

/// The time limit for one block of a page, in seconds.
const LIMIT: &str = "120";

/// Stands for kubectl. `$CLUSTER` is where objects are kept, `$KUBECTL` the real one.
const SHIM: &str = r#"#!/bin/sh
set -eu
# Each object file has a number, so that later ones come later.
keep() { cat > "$CLUSTER/$(printf %04d $(ls "$CLUSTER" | wc -l)).yaml"; }
# The real kubectl, without a cluster: it fails, and must fail because no server answers.
only_form() {
    if said=$("$KUBECTL" "$@" 2>&1 </dev/null); then return; fi
    case "$said" in
        *"127.0.0.1:1"*refused*) ;;
        *) echo "kubectl $*: $said" >&2; exit 1 ;;
    esac
}
words="$*"
case " $words " in
    *" --dry-run=client "*) exec "$KUBECTL" "$@" ;;
    *" apply "*" -f - "*) keep ;;
    *" apply -k "*) "$KUBECTL" kustomize "${words##*apply -k }" | keep ;;
    *" -- boxgate "*)
        only_form "$@"
        while [ "$1" != -- ]; do shift; done
        shift 2
        cd "$POD" && exec "$BOXGATE" "$@" ;;
    *" -- curl "*)
        only_form "$@"
        while [ "$1" != -- ]; do shift; done
        shift 2
        # Whatever name it asks for is the Service.
        exec curl --connect-to "::$CALLERS" "$@" ;;
    *" logs "*) only_form "$@"; cat "$LOG" ;;
    *) only_form "$@" ;;
esac
"#;

/// A kubeconfig whose server nobody listens at.
const NOWHERE: &str = "apiVersion: v1\nkind: Config\ncurrent-context: none\n\
    clusters:\n- name: none\n  cluster:\n    server: http://127.0.0.1:1\n\
    contexts:\n- name: none\n  context:\n    cluster: none\n    user: none\n";

pub(super) struct Cluster<'a> {
    folder: Folder,
    at: &'a FakeBox,
    pub(super) pod: Option<Pod>,
}

impl<'a> Cluster<'a> {
    pub(super) fn new(at: &'a FakeBox) -> Self {
        let folder = Folder::new();
        for name in ["bin", "cluster", "work"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        folder.write("log", "");
        folder.write("kubeconfig", NOWHERE);
        let shim = folder.write("bin/kubectl", SHIM);
        fs::set_permissions(shim, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, at, pod: None }
    }

    /// The folder in which the commands of a page run; clean at first.
    pub(super) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Runs shell lines with this on standard input, then brings the pod to what the objects say. The lines must end well.
    pub(super) fn run(&mut self, lines: &str, typed: &str) -> String {
        let log = match &self.pod {
            Some(pod) => format!("{}\n{}\n", pod.program.err.text(), pod.program.out.text()),
            None => String::new(),
        };
        let log = self.folder.write("log", &log);
        let path = std::env::var("PATH").unwrap_or_default();
        let nowhere = |of: fn(&Pod) -> String| self.pod.as_ref().map_or_else(|| "none".to_owned(), of);
        let mut child = command("timeout", &self.folder)
            .current_dir(self.work())
            .env("PATH", format!("{}:{path}", self.folder.join("bin").display()))
            .env("HOME", &*self.folder)
            .env("KUBECONFIG", self.folder.join("kubeconfig"))
            .env("KUBECTL", tools().join("kubectl"))
            .env("BOXGATE", env!("CARGO_BIN_EXE_boxgate"))
            .env("CLUSTER", self.folder.join("cluster"))
            .env("LOG", log)
            .env("CALLERS", nowhere(|pod| pod.program.callers.clone()))
            .env("POD", nowhere(|pod| pod.mounted.path("/etc/boxgate").display().to_string()))
            .args([LIMIT, "sh", "-euc", lines])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A block that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        let output = child.wait_with_output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}\n{lines}\n{out}{err}", output.status);
        self.reconcile();
        format!("{out}{err}")
    }

    /// All objects that were applied; later ones replace earlier ones of the same name. Each is checked against the schemas.
    pub(super) fn objects(&self) -> Objects {
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.folder.join("cluster")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut yaml = String::new();
        for file in files {
            yaml.push_str("---\n");
            yaml.push_str(&fs::read_to_string(file).unwrap());
        }
        let mut last = BTreeMap::new();
        for object in read(yaml.as_bytes()).0 {
            let key =
                ["/kind", "/metadata/namespace", "/metadata/name"].map(|part| text(&object, part).to_owned());
            last.insert(key, object);
        }
        Objects(last.into_values().collect())
    }

    /// The Secrets among the objects.
    pub(super) fn secrets(objects: &Objects) -> Secrets {
        let files =
            |object: &Value| -> Files { serde_json::from_value(object["stringData"].clone()).unwrap() };
        objects
            .of_kind("Secret")
            .map(|object| (text(object, "/metadata/name").to_owned(), files(object)))
            .collect()
    }

    fn reconcile(&mut self) {
        let objects = self.objects();
        if objects.templates().next().is_none() {
            return;
        }
        let secrets = Self::secrets(&objects);
        check_namespaces(&objects);
        match &mut self.pod {
            Some(pod) => pod.sync(&objects, &secrets),
            None => self.pod = Some(Pod::start(&objects, &secrets, self.at, "")),
        }
    }
}

/// Pods find their Secrets and ConfigMaps in their own namespace alone.
fn check_namespaces(objects: &Objects) {
    for (owner, template) in objects.templates() {
        for volume in template["spec"]["volumes"].as_array().unwrap() {
            let named = [("/secret/secretName", "Secret"), ("/configMap/name", "ConfigMap")];
            for (pointer, kind) in named {
                if let Some(name) = volume.pointer(pointer).and_then(Value::as_str) {
                    let found = objects.get(kind, name);
                    assert_eq!(
                        found["metadata"]["namespace"], owner["metadata"]["namespace"],
                        "{kind} {name}"
                    );
                }
            }
        }
    }
}

/// A page of docs/deployment.
pub(super) fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs/deployment").join(name)).unwrap()
}

/// The shell blocks of a section of a page, `""` for all of it, with the repository where the page has a clone's path.
pub(super) fn blocks(page: &str, section: &str) -> Vec<String> {
    let part = match section {
        "" => page,
        _ => {
            let (_, rest) =
                page.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("{section}"));
            rest.split("\n## ").next().unwrap()
        }
    };
    let clone: &Path = root();
    let found: Vec<String> = part
        .split("```sh\n")
        .skip(1)
        .map(|block| {
            block.split("```").next().unwrap().replace("/path/to/the/clone", clone.to_str().unwrap())
        })
        .collect();
    assert!(!found.is_empty(), "no shell block under {section:?}");
    found
}
