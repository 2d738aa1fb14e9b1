//! Checks the documents: links resolve, commands run, every name that users see is documented exactly
//! once, and nothing is documented that does not exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

mod blocks; // blocks of code and their marks
mod command_line; // the output of --help
mod commands; // runs marked blocks, and writes the files that they need
mod links; // links and paths in documents and comments
mod names; // metrics, fields of access lines, exit statuses, codes
mod tables; // reads tables

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder of the repository with this ending, with its text.
fn files(folder: &str, ending: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(root()).unwrap().to_owned(), text);
            }
        }
    }
    found
}

/// Every document, by its path from the root.
fn documents() -> BTreeMap<PathBuf, String> {
    let mut found = files("docs", ".md");
    for entry in fs::read_dir(root()).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            found.insert(entry.file_name().into(), fs::read_to_string(path).unwrap());
        }
    }
    found
}

/// A document without its blocks of code.
fn prose(text: &str) -> String {
    let blocks = text.split("\n```").step_by(2);
    // The rest of a closing fence is only the line's end.
    blocks.collect::<Vec<_>>().join("\n")
}

/// The most lines of README.md.
const README_LINES: usize = 120;

#[test]
fn the_readme_is_short() {
    let lines = documents()[Path::new("README.md")].lines().count();
    assert!(
        lines <= README_LINES,
        "README.md has {lines} lines; move the addition to a page of docs/ and link it"
    );
}

#[test]
fn the_readme_links_to_every_page() {
    let documents = documents();
    let listed = links::links(&documents[Path::new("README.md")]);
    // A folder of pages has a list of its own, which its README.md holds.
    let is_listed_elsewhere = |path: &Path| {
        links::FOLDERS_WITH_LISTS.iter().any(|folder| path.starts_with(folder))
            && !path.ends_with("README.md")
    };
    let is_page = |path: &&PathBuf| !is_listed_elsewhere(path) && *path != Path::new("README.md");
    let missing: Vec<_> = documents
        .keys()
        .filter(is_page)
        .filter(|page| {
            !listed.iter().any(|link| Path::new(link.split('#').next().unwrap()) == page.as_path())
        })
        .filter(|page| *page != Path::new("RELEASING.md"))
        .collect();
    assert!(missing.is_empty(), "README.md has no link to {missing:?}");
}
