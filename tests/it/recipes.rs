//! The commands in the justfile and the documents exist: their scripts, benchmarks and tests, and
//! the parts of CI.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The commands of the justfile's recipes.
fn commands() -> Vec<String> {
    let text = text("justfile");
    text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

/// The documents for developers, by path.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("docs"), root().to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() && folder != root() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// The benchmarks in Cargo.toml.
fn benches() -> BTreeSet<String> {
    let manifest = text("Cargo.toml");
    let tables = manifest.split("[[bench]]\n").skip(1);
    tables.map(|table| table.split('"').nth(1).unwrap().to_owned()).collect()
}

/// The words after each `before` of a text.
fn words_after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | '.' | '/');
    text.split(before)
        .skip(1)
        .map(|rest| rest.split(|c| !is_of_word(c)).next().unwrap().trim_end_matches(['.', ':']))
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn recipes_use_only_cargo_and_executable_scripts() {
    let commands = commands();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let program = command.trim_start_matches('@').split_whitespace().next().unwrap();
        if !["cargo", "just"].contains(&program) {
            let found = fs::metadata(root().join(program));
            let mode = found.unwrap_or_else(|error| panic!("{command}: {error}")).permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "{command}: not executable");
        }
    }
}

#[test]
fn benchmarks_in_recipes_and_documents_exist() {
    let benches = benches();
    assert!(!benches.is_empty());
    let named: Vec<String> = documents()
        .iter()
        .flat_map(|(_, text)| words_after(text, "--bench "))
        .map(str::to_owned)
        .chain(
            text("justfile")
                .split("bench name=\"")
                .nth(1)
                .map(|rest| rest.split('"').next().unwrap().to_owned()),
        )
        .collect();
    assert!(named.len() > 2, "{named:?}");
    for name in named {
        assert!(benches.contains(&name), "--bench {name}: there are {benches:?}");
    }
}

#[test]
fn every_benchmark_is_described_in_performance() {
    let described = text("docs/performance.md");
    for bench in benches() {
        assert!(described.contains(&format!("cargo bench --bench {bench}")), "{bench}");
    }
}

#[test]
fn parts_of_ci_in_documents_exist_and_contributing_has_all() {
    let listed = Command::new(root().join(".ci/run")).arg("list").output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let parts: BTreeSet<String> =
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
    assert!(parts.contains("tests"), "{parts:?}");
    for command in commands().iter().filter(|command| command.starts_with(".ci/run")) {
        for part in command.split("{{").next().unwrap().split_whitespace().skip(1) {
            assert!(parts.contains(part), "{command}: there are {parts:?}");
        }
    }
    for (path, text) in documents() {
        for part in words_after(&text, ".ci/run ")
            .into_iter()
            .filter(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        {
            assert!(part == "list" || parts.contains(part), "{}: .ci/run {part}", path.display());
        }
    }
    let contributing = text("CONTRIBUTING.md");
    for part in parts {
        assert!(contributing.contains(&format!("| `{part}` |")), "CONTRIBUTING.md lacks {part}");
    }
}

#[test]
fn an_unknown_part_of_ci_is_refused() {
    let refused = Command::new(root().join(".ci/run")).arg("no-such-part").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no part \"no-such-part\""));
}

#[test]
fn tests_named_in_documents_exist() {
    let mut sources = String::new();
    let mut folders = vec![root().join("tests/it"), root().join("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut named = 0;
    for (path, text) in documents() {
        for filter in ["tests/run ", "cargo test --test it ", "cargo test --lib "]
            .into_iter()
            .flat_map(|before| words_after(&text, before))
        {
            if filter.starts_with('-') {
                continue;
            }
            let last = filter.rsplit("::").next().unwrap();
            let is_there = [format!("fn {last}("), format!("mod {last};"), format!("mod {last} {{")]
                .iter()
                .any(|definition| sources.contains(definition));
            assert!(is_there, "{}: no test is called {filter}", path.display());
            named += 1;
        }
    }
    assert!(named > 0);
}
