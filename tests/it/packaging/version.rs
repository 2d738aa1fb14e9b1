//! The version stands in Cargo.toml, and everything else asks for it.

use std::process::Command;

use super::{BOXGATE, root, well};

#[test]
fn the_script_and_the_program_say_what_the_manifest_says() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(well(&mut Command::new(root().join("deploy/version"))), format!("{version}\n"));
    assert_eq!(well(Command::new(BOXGATE).arg("--version")), format!("boxgate {version}\n"));
    assert!(well(Command::new(BOXGATE).arg("man")).contains(&format!("boxgate {version}")));
}

/// A second copy would be forgotten. Cargo writes the lock file's, the changelog tells of the past, tests and one page have
/// samples of what a program of some version says, and the tests of the manifests for Kubernetes hold the tags of the image.
#[test]
fn it_has_no_second_copy() {
    let version = env!("CARGO_PKG_VERSION");
    let files = well(Command::new("git").args(["ls-files", "-z"]).current_dir(root()));
    let files: Vec<_> = files.split_terminator('\0').collect();
    assert!(files.contains(&"Cargo.toml"));
    let mut copies = Vec::new();
    for file in files {
        let is_past = file == "CHANGELOG.md" || file == "Cargo.lock";
        if is_past || file.starts_with("tests/") || file.contains("/tests/") || file.ends_with("/tests.rs") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let is_version = |at: usize| {
                let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
                !line[..at].ends_with(is_of_number) && !line[at + version.len()..].starts_with(is_of_number)
            };
            let is_sample = file == "docs/observability.md" && line.contains("   READY   ");
            let is_tag = [format!("boxgate:{version}"), format!("newTag: {version}")]
                .iter()
                .any(|tag| line.contains(tag))
                && (file.starts_with("deploy/kubernetes/") || file.starts_with("docs/deployment/"));
            if !is_sample && !is_tag && line.match_indices(version).any(|(at, _)| is_version(at)) {
                copies.push(format!("{file}:{}: {line}", number + 1));
            }
        }
    }
    let [only] = &copies[..] else {
        panic!("the version stands at {} places:\n{}", copies.len(), copies.join("\n"))
    };
    assert!(only.starts_with("Cargo.toml:") && only.ends_with(&format!("version = \"{version}\"")), "{only}");
}
