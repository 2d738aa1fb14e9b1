//! Reads a Dockerfile and runs its steps in a folder: the instructions that deploy/Dockerfile uses, and no others.
//!
//! Two things are not as with an engine. `cargo build` puts the program of these tests in its place, since another build
//! takes minutes. And the images that stages begin with cannot be fetched: the first stage runs on this machine, and the
//! second begins with what is known of the base image, of which the program needs only the libraries.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BOXGATE, root, text, well};

/// A stage: the image that it begins with, its name, and its instructions with their arguments.
pub(super) struct Stage {
    pub(super) from: String,
    pub(super) name: Option<String>,
    pub(super) instructions: Vec<(String, String)>,
}

impl Stage {
    /// The arguments of an instruction that stands once.
    pub(super) fn only(&self, name: &str) -> &str {
        let mut found = self.instructions.iter().filter(|(instruction, _)| instruction == name);
        let (_, arguments) = found.next().unwrap_or_else(|| panic!("no {name}"));
        assert!(found.next().is_none(), "{name} stands twice");
        arguments
    }
}

/// What the steps made.
pub(super) struct Image {
    /// The folder that is its root.
    pub(super) root: PathBuf,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) folder: String,
    pub(super) user: String,
    pub(super) volume: String,
    pub(super) health: Vec<String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) arguments: Vec<String>,
}

/// The stages of deploy/Dockerfile.
pub(super) fn stages() -> Vec<Stage> {
    let text = text("deploy/Dockerfile");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut stages: Vec<Stage> = Vec::new();
    for line in lines.join("\n").replace("\\\n", " ").lines().filter(|line| !line.trim().is_empty()) {
        let (instruction, arguments) = line.split_once(' ').unwrap();
        let arguments = arguments.split_whitespace().collect::<Vec<_>>().join(" ");
        if instruction == "FROM" {
            let (from, name) = match arguments.split_once(" AS ") {
                Some((from, name)) => (from.to_owned(), Some(name.to_owned())),
                None => (arguments, None),
            };
            stages.push(Stage { from, name, instructions: Vec::new() });
        } else {
            let stage = stages.last_mut().expect("it begins with FROM");
            stage.instructions.push((instruction.to_owned(), arguments));
        }
    }
    stages
}

/// Runs both stages in this folder, with these values of `ARG`.
pub(super) fn build(folder: &Path, arguments: &BTreeMap<String, String>) -> Image {
    let stages = stages();
    let [first, last] = &stages[..] else { panic!("{} stages", stages.len()) };
    assert_eq!(first.name.as_deref(), Some("build"));
    let built = folder.join("build");
    run_first(first, &built, arguments);
    run_last(last, &built, &folder.join("image"), arguments)
}

/// The paths that .dockerignore lets through: all but a list is ignored.
pub(super) fn context() -> Vec<String> {
    let text = text(".dockerignore");
    let mut patterns = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(patterns.next(), Some("*"), ".dockerignore begins with a line that leaves everything out");
    patterns
        .map(|pattern| {
            pattern.strip_prefix('!').unwrap_or_else(|| panic!("{pattern}: not let through")).to_owned()
        })
        .collect()
}

fn run_first(stage: &Stage, built: &Path, arguments: &BTreeMap<String, String>) {
    // In place of cargo.
    let programs = built.join("programs");
    std::fs::create_dir_all(&programs).unwrap();
    let cargo = programs.join("cargo");
    let lines = format!(
        "#!/bin/sh\n[ \"$*\" = \"build --release --locked --no-default-features\" ] || exit 64\n\
         install -D {BOXGATE} target/release/boxgate\n"
    );
    std::fs::write(&cargo, lines).unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();

    let mut folder = built.to_owned();
    let mut declared: Vec<&str> = Vec::new();
    for (instruction, given) in &stage.instructions {
        match (instruction.as_str(), given.as_str()) {
            ("WORKDIR", path) => {
                folder = built.join(path.trim_start_matches('/'));
                std::fs::create_dir_all(&folder).unwrap();
            }
            ("COPY", ". .") => {
                for path in context() {
                    well(Command::new("cp").args(["-r", "--"]).arg(root().join(path)).arg(&folder));
                }
            }
            ("ARG", name) => declared.push(name),
            ("RUN", words) => {
                // Caches, which change nothing but the time it takes.
                let is_cache = |word: &&str| word.starts_with("--mount=type=cache,");
                let line = words.split(' ').filter(|word| !is_cache(word)).collect::<Vec<_>>().join(" ");
                let mut command = Command::new("sh");
                let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
                let values = arguments.iter().filter(|(name, _)| declared.contains(&name.as_str()));
                well(command.args(["-ec", &line]).current_dir(&folder).env("PATH", path).envs(values));
            }
            other => panic!("the test cannot run {other:?}"),
        }
    }
}

fn run_last(stage: &Stage, built: &Path, image: &Path, arguments: &BTreeMap<String, String>) -> Image {
    base(image);
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut made = Image {
        root: image.to_owned(),
        environment: BTreeMap::from([("PATH".to_owned(), path.to_owned())]),
        labels: BTreeMap::new(),
        folder: "/".to_owned(),
        user: String::new(),
        volume: String::new(),
        health: Vec::new(),
        entrypoint: Vec::new(),
        arguments: Vec::new(),
    };
    let list = |text: &str| serde_json::from_str::<Vec<String>>(text).unwrap();
    for (instruction, given) in &stage.instructions {
        match instruction.as_str() {
            "COPY" => copy(given, built, image),
            "ENV" => {
                let (name, value) = given.split_once('=').unwrap();
                made.environment.insert(name.to_owned(), value.to_owned());
            }
            "WORKDIR" => {
                std::fs::create_dir_all(image.join(given.trim_start_matches('/'))).unwrap();
                made.folder.clone_from(given);
            }
            "USER" => made.user.clone_from(given),
            "VOLUME" => made.volume.clone_from(given),
            "HEALTHCHECK" => made.health = list(given.split_once(" CMD ").unwrap().1),
            "ENTRYPOINT" => made.entrypoint = list(given),
            "CMD" => made.arguments = list(given),
            "LABEL" => {
                let mut rest = given.as_str();
                while let Some((name, after)) = rest.split_once("=\"") {
                    let (value, after) = after.split_once('"').unwrap();
                    let value = match value.strip_prefix('$') {
                        Some(name) => arguments.get(name).cloned().unwrap_or_default(),
                        None => value.to_owned(),
                    };
                    made.labels.insert(name.trim().to_owned(), value);
                    rest = after;
                }
            }
            // The first says what is so already, the second is used by LABEL.
            "EXPOSE" | "ARG" => {}
            other => panic!("the test cannot run {other}"),
        }
    }
    made
}

/// `COPY --from=build [--chown=USER:GROUP] FROM TO`.
fn copy(given: &str, built: &Path, image: &Path) {
    let mut owner = None;
    let mut paths = Vec::new();
    for word in given.split(' ') {
        match word.strip_prefix("--chown=") {
            Some(chosen) => owner = chosen.split_once(':'),
            None if word == "--from=build" => {}
            None => paths.push(word.trim_start_matches('/')),
        }
    }
    let [from, to] = paths[..] else { panic!("COPY {given}") };
    let to = image.join(to);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    well(Command::new("cp").args(["-r", "-T", "--"]).arg(built.join(from)).arg(&to));
    if let Some((user, group)) = owner {
        chown(&to, Some(user.parse().unwrap()), Some(group.parse().unwrap())).unwrap();
    }
}

/// What the program can use of the base image: the libraries, the names of users, how names are resolved. The trusted roots
/// are mounted by each test, since the test's Box has a CA of its own.
fn base(image: &Path) {
    for folder in ["proc", "dev", "tmp", "etc/ssl/certs", "home/nonroot"] {
        std::fs::create_dir_all(image.join(folder)).unwrap();
    }
    let libraries = well(Command::new("ldd").arg(BOXGATE));
    let paths = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for library in paths {
        let to = image.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(library, to).unwrap();
    }
    let write = |name: &str, text: &str| std::fs::write(image.join(name), text).unwrap();
    write(
        "etc/passwd",
        "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
    );
    write("etc/group", "root:x:0:\nnonroot:x:65532:\n");
    write("etc/nsswitch.conf", "hosts: files dns\n");
}
