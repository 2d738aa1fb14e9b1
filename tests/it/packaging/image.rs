//! The image of deploy/Dockerfile: what is in it, and how its program runs in a root of its own.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::container::{Container, Network, NetworkBox, Settings};
use super::dockerfile::{self, Image};
use super::{ran, root, text, well};
use crate::program::harness::{Folder, until};

fn image(folder: &Folder) -> Image {
    let values = [
        ("VERSION", env!("CARGO_PKG_VERSION")),
        ("REVISION", "0a1b2c"),
        ("SOURCE", "https://git.example.com/boxgate"),
    ];
    dockerfile::build(folder, &values.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

/// What engines mount for name resolution.
fn hosts(folder: &Folder) -> std::path::PathBuf {
    folder.write("hosts", "127.0.0.1 localhost egress.internal\n")
}

/// A container in front of this Box: with its roots of trust and its egress proxy.
fn in_front(folder: &Folder, at: &NetworkBox) -> Settings {
    Settings::default()
        .variable("HTTPS_PROXY", &at.egress_proxy())
        .mount(at.roots(), "/etc/ssl/certs/ca-certificates.crt", false)
        .mount(&hosts(folder), "/etc/hosts", false)
}

/// The account in variables.
fn account(settings: Settings, at: &NetworkBox) -> Settings {
    settings
        .variable("BOX_CLIENT_ID", at.client_id())
        .variable("BOX_CLIENT_SECRET", &at.client_secret())
        .variable("BOX_ENTERPRISE_ID", at.enterprise_id())
}

fn is_ready(network: &Network) -> bool {
    network.get("http://127.0.0.1:8081/readyz").0 == 200
}

/// The file, the volume and the read-only root are as `docker run` has them in the page.
#[test]
fn it_serves_from_a_read_only_root_as_a_user_without_rights() {
    let (folder, network) = (Folder::new(), Network::new());
    let (at, image) = (NetworkBox::start(&network), image(&folder));
    std::fs::create_dir(folder.join("config")).unwrap();
    folder.write("config/box_client_secret", &at.client_secret());
    let file = format!(
        "[listen]\naddress = \"0.0.0.0:8080\"\n\n[identity.service]\nclient_id = {:?}\nclient_secret = {{ file = \
         \"box_client_secret\" }}\nenterprise_id = {:?}\n",
        at.client_id(),
        at.enterprise_id()
    );
    folder.write("config/proxy.toml", &file);
    // A new volume of an engine begins with the folder of the image, and its owner.
    let volume = folder.join("volume");
    well(
        Command::new("cp")
            .args(["-r", "-p"])
            .arg(image.root.join(image.volume.trim_start_matches('/')))
            .arg(&volume),
    );
    let settings = in_front(&folder, &at).mount(&folder.join("config"), "/etc/boxgate", false).mount(
        &volume,
        &image.volume,
        true,
    );
    let container = Container::start(&network, &image, &settings);

    until("ready", || is_ready(&network));
    let (status, body) = network.get("http://127.0.0.1:8080/2.0/users/me");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("AutomationUser_"), "{body}");
    assert_eq!(container.status("Uid"), "65532 65532 65532 65532");
    assert_eq!(container.status("Gid"), "65532 65532 65532 65532");
    assert_eq!(
        (container.status("CapEff"), container.status("NoNewPrivs")),
        ("0".repeat(16), "1".to_owned())
    );
    assert!(container.status("NSpid").ends_with(" 1"), "it is process 1: {}", container.status("NSpid"));
    // The counts of calls are in the volume.
    assert!(volume.join("budgets.redb").exists());
    let healthy = container.exec(&image.health);
    assert!(healthy.status.success(), "{healthy:?}");
    // Commands for operators find the file, and the gateway by it.
    for command in [&["boxgate", "health", "--ready"][..], &["boxgate", "status"], &["boxgate", "reload"]] {
        let said = container.exec(&command.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(said.status.success(), "{command:?}: {said:?}");
    }
}

/// An upload whose end the test holds back.
const UPLOAD: [&str; 2] = [
    "--x\r\nContent-Disposition: form-data; name=\"attributes\"\r\n\r\n{\"name\":\"a.txt\",\"parent\":{\"id\":\"0\"}}\r\n\
     --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhel",
    "lo\r\n--x--\r\n",
];

/// Process 1 gets no signal that it does not ask for, and no other process ends it.
#[test]
fn a_stop_of_the_container_drains() {
    let (folder, network) = (Folder::new(), Network::new());
    let (at, image) = (NetworkBox::start(&network), image(&folder));
    let settings = account(in_front(&folder, &at), &at);
    let mut container = Container::start(&network, &image, &settings);
    until("ready", || is_ready(&network));

    let mut request = network.get_later("http://127.0.0.1:8080/2.0/files/content");
    request.args(["--request", "POST", "--header", "Content-Type: multipart/form-data; boundary=x"]);
    request.args(["--header", "Expect:", "--upload-file", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut request = request.spawn().unwrap();
    let mut body = request.stdin.take().unwrap();
    body.write_all(UPLOAD[0].as_bytes()).unwrap();
    until("the upload is under way", || {
        let (_, status) = network.get("http://127.0.0.1:8081/status.json");
        serde_json::from_str::<serde_json::Value>(&status).unwrap()["apps"][0]["in_flight"] == 1
    });
    container.terminate();
    container.said(&["draining"]);
    body.write_all(UPLOAD[1].as_bytes()).unwrap();
    drop(body);
    let answer = request.wait_with_output().unwrap();
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(answer.contains("\"name\":\"a.txt\"") && answer.ends_with("\n201"), "{answer}");
    let status = container.exited();
    assert!(status.success(), "{status}");
    container.said(&["drained"]);
}

/// Nobody who publishes a port by mistake lets others act as the Box account: that takes an address in the file, or in
/// BOXGATE_LISTEN.
#[test]
fn it_listens_on_the_containers_loopback_until_told_otherwise() {
    let (folder, network) = (Folder::new(), Network::new());
    let (at, image) = (NetworkBox::start(&network), image(&folder));
    let settings = account(in_front(&folder, &at), &at);
    let container = Container::start(&network, &image, &settings);
    let line = container.said(&["boxgate listens"]);
    assert!(
        line.contains("callers=\"127.0.0.1:8080\"") && line.contains("operators=\"127.0.0.1:8081\""),
        "{line}"
    );
    drop(container);

    let settings = settings.variable("BOXGATE_LISTEN", "0.0.0.0:8080");
    let container = Container::start(&network, &image, &settings);
    let line = container.said(&["boxgate listens"]);
    assert!(
        line.contains("callers=\"0.0.0.0:8080\"") && line.contains("operators=\"127.0.0.1:8081\""),
        "{line}"
    );
}

#[test]
fn its_program_finds_the_c_library_that_it_was_linked_with() {
    let stages = dockerfile::stages();
    let releases = ["bookworm", "trixie", "forky"].iter().zip(["debian12", "debian13", "debian14"]);
    let mut pairs = releases.filter(|(name, _)| stages[0].from.ends_with(*name));
    let (_, release) = pairs.next().unwrap_or_else(|| panic!("{} is of no known Debian", stages[0].from));
    assert_eq!(stages[1].from, format!("gcr.io/distroless/cc-{release}:nonroot"));
    // The compiler is one that Cargo.toml allows.
    let (_, tag) = stages[0].from.rsplit_once(':').unwrap();
    let minor = |version: &str| version.split(['.', '-']).nth(1).unwrap().parse::<u32>().unwrap();
    assert!(minor(tag) >= minor(env!("CARGO_PKG_RUST_VERSION")), "{tag}");
}

/// Kubernetes' `runAsNonRoot` takes no name, and a shell form would need a shell.
#[test]
fn its_settings_are_as_orchestrators_need_them() {
    let stages = dockerfile::stages();
    let last = &stages[1];
    assert_eq!(last.only("USER"), "65532:65532");
    assert_eq!(last.only("ENTRYPOINT"), "[\"boxgate\"]");
    assert_eq!(last.only("CMD"), "[\"run\"]");
    assert!(
        last.only("HEALTHCHECK").ends_with(" CMD [\"boxgate\", \"health\"]"),
        "{}",
        last.only("HEALTHCHECK")
    );
    assert!(last.instructions.iter().all(|(name, _)| name != "RUN"), "there is no shell in it");
}

#[test]
fn its_labels_are_those_of_the_build() {
    let folder = Folder::new();
    let labels = image(&folder).labels;
    let label = |name: &str| labels.get(&format!("org.opencontainers.image.{name}")).map(String::as_str);
    assert_eq!(label("title"), Some("boxgate"));
    assert_eq!(label("description"), Some(env!("CARGO_PKG_DESCRIPTION")));
    assert_eq!(label("version"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(label("revision"), Some("0a1b2c"));
    assert_eq!(label("source"), Some("https://git.example.com/boxgate"));
    // As Cargo.toml has it.
    let licence = Some(env!("CARGO_PKG_LICENSE")).filter(|licence| !licence.is_empty());
    assert_eq!(label("licenses"), licence);
}

/// With the version and the revision, which nobody has to type.
#[test]
fn the_script_that_builds_it_names_version_and_revision() {
    let folder = Folder::new();
    let engine = folder.write("engine", "#!/bin/sh\nprintf '%s\\n' \"$@\"\n");
    well(Command::new("chmod").arg("+x").arg(&engine));
    let mut script = Command::new(root().join("deploy/image"));
    let said = well(
        script.arg("--no-cache").env("DOCKER", &engine).env("SOURCE", "https://git.example.com/boxgate"),
    );
    let revision = well(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root()));
    let words: Vec<_> = said.lines().collect();
    for word in [
        "build".to_owned(),
        "--no-cache".to_owned(),
        "SOURCE=https://git.example.com/boxgate".to_owned(),
        format!("boxgate:{}", env!("CARGO_PKG_VERSION")),
        format!("VERSION={}", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(words.contains(&&*word), "{word} in {said}");
    }
    assert!(said.contains(&format!("REVISION={}", revision.trim())), "{said}");
    // What is not given is not declared: each is an ARG of the stage that uses it.
    let file = text("deploy/Dockerfile");
    for argument in ["ARG VERSION\n", "ARG REVISION\n", "ARG SOURCE\n"] {
        assert!(file.contains(argument), "{argument}");
    }
}

#[test]
fn a_version_that_is_not_the_programs_ends_the_build() {
    let stages = dockerfile::stages();
    let (_, line) = stages[0].instructions.last().unwrap();
    let folder = Folder::new();
    std::fs::create_dir(folder.join("out")).unwrap();
    well(Command::new("ln").args(["-s", super::BOXGATE]).arg(folder.join("out/boxgate")));
    for (version, is_right) in [(env!("CARGO_PKG_VERSION"), true), ("9.9.9", false), ("", true)] {
        let output =
            ran(Command::new("sh").args(["-ec", line]).current_dir(&*folder).env("VERSION", version));
        assert_eq!(output.status.success(), is_right, "{version}: {output:?}");
    }
}

/// What the program is compiled from is in the build's context, and nothing that may be secret.
#[test]
fn its_context_has_the_sources_and_no_more() {
    let context = dockerfile::context();
    assert_eq!(context, ["Cargo.toml", "Cargo.lock", "src", "benches"]);
    // Cargo refuses a manifest whose targets have no file.
    let folder = Folder::new();
    for path in &context {
        well(Command::new("cp").args(["-r", "--"]).arg(root().join(path)).arg(&*folder));
    }
    let cargo = ["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"];
    well(Command::new(env!("CARGO")).args(cargo).current_dir(&*folder));
    // Files that the sources include, besides those that only tests include.
    for (path, text) in sources(&root().join("src")) {
        let is_test =
            path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
        let program = text.split("#[cfg(test)]").next().unwrap();
        for mark in ["include_str!(\"", "include_bytes!(\""] {
            for rest in program.split(mark).skip(1).filter(|_| !is_test) {
                let file =
                    path.parent().unwrap().join(rest.split('"').next().unwrap()).canonicalize().unwrap();
                assert!(
                    file.starts_with(root().join("src")),
                    "{} includes {}",
                    path.display(),
                    file.display()
                );
            }
        }
    }
}

fn sources(folder: &Path) -> BTreeMap<std::path::PathBuf, String> {
    let mut found = BTreeMap::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.insert(path, text);
        }
    }
    found
}
