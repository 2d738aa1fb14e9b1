//! The manifests of deploy/kubernetes: rendered by kubectl, checked against schemas and rules, and run as pods by the real
//! program. No cluster has any part in it.

mod cluster; // a stand-in for kubectl and a cluster, for what the guides say
mod guides; // the guides, from a clean folder
mod kubelet; // volumes as the kubelet mounts them, containers as processes
mod network; // who reaches whom under the policies
mod objects; // rendered objects, and where things are in them
mod pods; // what the program makes of its manifests
mod restricted; // the Pod Security Standard
mod rules; // what must hold for every object
mod sidecar; // what the component for sidecars does to apps

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use super::harness::Folder;
use objects::Objects;

/// The oldest version of Kubernetes with native sidecars, and the newest that the schemas have.
const VERSIONS: [&str; 2] = ["1.29", "1.37"];

/// The Kustomizations that are tried: the overlays as they are, and with components that no overlay uses.
static RENDERED: LazyLock<Vec<(&str, Objects)>> = LazyLock::new(|| {
    let folder = Folder::new();
    copy(&root().join("deploy/kubernetes"), &folder.join("boxgate"));
    [
        ("plain", "plain", &[][..]),
        ("replicas", "replicas", &[]),
        ("sidecar", "sidecar", &[]),
        ("plain with a volume", "plain", &["state-volume", "service-monitor"]),
        ("replicas with annotations", "replicas", &["scrape-annotations", "service-monitor"]),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (name, overlay, components))| {
        if components.is_empty() {
            return (name, render(&folder.join("boxgate/overlays").join(overlay)));
        }
        let own = folder.join(format!("own-{number}"));
        fs::create_dir(&own).unwrap();
        let mut text =
            format!("namespace: boxgate\nresources:\n  - ../boxgate/overlays/{overlay}\ncomponents:\n");
        for component in components {
            text.push_str(&format!("  - ../boxgate/components/{component}\n"));
        }
        fs::write(own.join("kustomization.yaml"), text).unwrap();
        (name, render(&own))
    })
    .collect()
});

fn rendered(name: &str) -> &'static Objects {
    let found = RENDERED.iter().find(|(own, _)| *own == name);
    &found.unwrap_or_else(|| panic!("no rendered {name}")).1
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tests/run` has put kubectl and the schemas.
fn tools() -> PathBuf {
    let tools = root().join("target/clients/kubernetes");
    assert!(tools.join("stamp").exists(), "no kubectl in target/clients/kubernetes; run tests/run first");
    tools
}

/// Copies a folder with everything below it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// What `kubectl apply -k` would send, checked against the schemas.
fn render(folder: &Path) -> Objects {
    let output = Command::new(tools().join("kubectl")).arg("kustomize").arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Warnings about fields that are deprecated, for example.
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    read(&output.stdout)
}

/// Objects in YAML; each must be valid, with no field that its schema does not have.
fn read(yaml: &[u8]) -> Objects {
    let script = root().join("tests/clients/kubernetes/documents.py");
    let read = piped(Command::new(tools().join("python/bin/python")).arg(script).args(VERSIONS), yaml);
    let mut read: Value = serde_json::from_slice(&read).unwrap();
    assert_eq!(read["problems"], serde_json::json!([]));
    let documents: Vec<Value> = serde_json::from_value(read["documents"].take()).unwrap();
    let foreign: Vec<usize> = serde_json::from_value(read["foreign"].take()).unwrap();
    let monitors: Vec<&Value> = foreign.iter().map(|at| &documents[*at]).collect();
    if !monitors.is_empty() {
        check_monitors(&monitors).unwrap();
    }
    Objects(documents)
}

/// Whether objects of the Prometheus operator fit its schemas.
fn check_monitors(objects: &[&Value]) -> Result<(), String> {
    let script = root().join("tests/clients/kubernetes/monitors.mjs");
    let mut command = Command::new("node");
    command.arg(script).arg(tools().join("node_modules"));
    let output = fed(&mut command, &serde_json::to_vec(objects).unwrap());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// The output of a program that reads this; it must end well.
fn piped(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let output = fed(command, input);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn fed(command: &mut Command, input: &[u8]) -> std::process::Output {
    use std::io::Write as _;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Both programs read all of it before they write.
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}
