//! The archive of deploy/release: what is in it, and that each part of it does what it is for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{BOXGATE, ran, root, text, well};
use crate::program::harness::Folder;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the script with the program of these tests, into this folder. Without its debugging information, which a release
/// does not have.
pub(super) fn release(folder: &Path) {
    let program = folder.join("stripped");
    well(Command::new("strip").arg("-o").arg(&program).arg(BOXGATE));
    let mut command = Command::new(root().join("deploy/release"));
    well(with_tools(command.arg("--fast").arg("--program").arg(&program).arg(folder.join("dist"))));
}

/// With the tools that `tests/run` has put into a folder of their own.
pub(super) fn with_tools(command: &mut Command) -> &mut Command {
    let path = format!("{}:{}", root().join("target/tools/bin").display(), std::env::var("PATH").unwrap());
    command.env("PATH", path)
}

fn target() -> String {
    let said = well(Command::new("rustc").arg("-vV"));
    said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// The unpacked archive.
fn unpacked(folder: &Folder) -> PathBuf {
    release(folder);
    let dist = folder.join("dist");
    well(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&dist));
    let name = format!("boxgate-{VERSION}-{}", target());
    well(Command::new("tar").arg("xzf").arg(dist.join(format!("{name}.tar.gz"))).current_dir(&**folder));
    folder.join(name)
}

fn names(folder: &Path) -> Vec<String> {
    let found =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

/// One test for all of it, since making it takes its time.
#[test]
fn the_archive_has_all_that_a_user_needs_and_each_part_works() {
    let folder = Folder::new();
    let at = unpacked(&folder);
    // The sums name everything that is published.
    let dist = folder.join("dist");
    let sums = std::fs::read_to_string(dist.join("SHA256SUMS")).unwrap();
    let named: Vec<_> = sums.lines().map(|line| line.split_once("  ").unwrap().1.to_owned()).collect();
    let published: Vec<_> = names(&dist).into_iter().filter(|name| name != "SHA256SUMS").collect();
    assert_eq!(published.len(), 3, "{published:?}");
    assert_eq!(named.iter().collect::<BTreeSet<_>>(), published.iter().collect());

    let expected = [
        "CHANGELOG.md",
        "LICENCES.txt",
        "boxgate",
        "boxgate.cdx.json",
        "completions",
        "man",
        "proxy.toml",
        "systemd",
    ];
    assert_eq!(names(&at), expected);
    let program = at.join("boxgate");
    assert_eq!(well(Command::new(&program).arg("--version")), format!("boxgate {VERSION}\n"));
    for file in ["proxy.toml", "CHANGELOG.md"] {
        assert_eq!(std::fs::read_to_string(at.join(file)).unwrap(), text(file), "{file}");
    }
    let unit = std::fs::read_to_string(at.join("systemd/boxgate.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/boxgate "), "{unit}");

    let manual = well(
        Command::new("man").args(["--warnings", "-l"]).arg(at.join("man/boxgate.1")).env("MANWIDTH", "100"),
    );
    assert!(manual.contains("boxgate") && manual.lines().count() > 100, "{manual}");

    assert_eq!(
        names(&at.join("completions")),
        ["bash", "elvish", "fish", "powershell", "zsh"].map(|shell| format!("boxgate.{shell}"))
    );
    let bash = "source completions/boxgate.bash && complete -p boxgate";
    assert!(well(Command::new("bash").args(["--norc", "-ec", bash]).current_dir(&at)).contains("_boxgate"));
    for (shell, check) in [("zsh", "-n"), ("fish", "--no-execute")] {
        let file = at.join("completions").join(format!("boxgate.{shell}"));
        assert!(std::fs::read_to_string(&file).unwrap().contains("boxgate"));
        // Where they are installed, and where they are not the text is what can be looked at.
        if Command::new(shell).arg("--version").output().is_ok() {
            well(Command::new(shell).arg(check).arg(&file));
        }
    }

    let crates = crates();
    bill_of_materials(&at.join("boxgate.cdx.json"), &crates);
    let licences = std::fs::read_to_string(at.join("LICENCES.txt")).unwrap();
    for (name, version) in &crates {
        assert!(licences.contains(&format!("\n  {name} {version}: ")), "{name} {version}");
    }
    // Those of most crates, and of C sources within a crate.
    for words in ["Permission is hereby granted, free of charge", "Apache License", "Daan Leijen"] {
        assert!(licences.contains(words), "{words}");
    }

    // The same commit gives the same bytes.
    let again = Folder::new();
    release(&again);
    assert_eq!(std::fs::read_to_string(again.join("dist/SHA256SUMS")).unwrap(), sums);
}

/// Each crate that a build without the sandbox compiles, as `cargo tree` has them: another source than the script's.
fn crates() -> BTreeSet<(String, String)> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--offline", "--no-default-features", "--edges", "normal,build"]);
    let said =
        well(cargo.args(["--prefix", "none", "--format", "{p}", "--target", &target()]).current_dir(root()));
    let crates = said.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        (name != "boxgate").then(|| (name.to_owned(), version.to_owned()))
    });
    let crates: BTreeSet<_> = crates.collect();
    assert!(crates.len() > 100, "{said}");
    crates
}

fn bill_of_materials(file: &Path, crates: &BTreeSet<(String, String)>) {
    let bill: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(bill["metadata"]["component"]["purl"], format!("pkg:cargo/boxgate@{VERSION}"));
    let components = bill["components"].as_array().unwrap();
    let listed: BTreeSet<_> = components
        .iter()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one["version"].as_str().unwrap().to_owned()))
        .collect();
    let difference: Vec<_> = listed.symmetric_difference(crates).collect();
    assert!(difference.is_empty(), "in one of the bill and `cargo tree` alone: {difference:?}");
    // As CycloneDX's own schema has it.
    let check = root().join("tests/packaging/valid-sbom");
    well(Command::new("/usr/bin/python3").arg(check).arg(root().join("target/clients/py3")).arg(file));
}

#[test]
fn a_program_of_another_version_is_refused() {
    let folder = Folder::new();
    let program = folder.write("other", "#!/bin/sh\necho boxgate 9.9.9\n");
    well(Command::new("chmod").arg("+x").arg(&program));
    let mut script = Command::new(root().join("deploy/release"));
    let output = ran(with_tools(script.arg("--program").arg(&program).arg(folder.join("dist"))));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("9.9.9") && said.contains(VERSION), "{output:?}");
    assert!(names(&folder.join("dist")).is_empty());
}
