//! Every link resolves, and every path of this repository that a document or a comment names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{documents, files, prose, root};

/// The folders whose paths are checked.
const FOLDERS: [&str; 5] = ["src/", "tests/", "docs/", "deploy/", "benches/"];

/// The folders whose `README.md` lists their pages.
pub(super) const FOLDERS_WITH_LISTS: [&str; 2] = ["docs/decisions", "docs/deployment"];

/// The targets of a document's links, except those to other sites.
pub(super) fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text).lines() {
        // Every second part is in backticks; a link's text may be, its target is not.
        let bare: String =
            line.split('`').enumerate().map(|(nth, part)| if nth % 2 == 0 { part } else { "x" }).collect();
        for rest in bare.split("](").skip(1) {
            let target = rest.split(')').next().unwrap();
            if !target.contains("://") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// The anchors of a document: those that GitHub derives from headings, and explicit ones.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    });
    let written = prose.split("<a id=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    headings.chain(written).collect()
}

/// Normalizes `docs/decisions/../box-api.md` to `docs/box-api.md`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

/// Why a target, a path from the root with an optional `#anchor`, does not exist.
fn missing(target: &str, documents: &BTreeMap<PathBuf, String>) -> Option<&'static str> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    if !root().join(path).exists() {
        return Some("is not there");
    }
    let has_anchor = || documents.get(Path::new(path)).is_some_and(|text| anchors(text).contains(anchor));
    (!anchor.is_empty() && !has_anchor()).then_some("has no such anchor")
}

/// The paths of this repository that a text names, with their anchors.
fn named(text: &str) -> Vec<&str> {
    let is_of_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '#');
    let mut found = Vec::new();
    for folder in FOLDERS {
        for (at, _) in text.match_indices(folder) {
            let (before, rest) = text.split_at(at);
            // Part of another path or word, or a path on another machine.
            if before.ends_with(|c| is_of_path(c) || c == ':') {
                continue;
            }
            let end = rest.find(|c| !is_of_path(c)).unwrap_or(rest.len());
            let path = rest[..end].trim_end_matches(['.', '/', '#']);
            // A pattern or a list names no single path.
            if !rest[end..].starts_with(['*', '{', '<', '…']) {
                found.push(path);
            }
        }
    }
    found
}

/// The comments of a source file.
fn comments(path: &Path, text: &str) -> String {
    let mark = if path.extension().is_some_and(|extension| extension == "rs") { "//" } else { "#" };
    let comment = |line: &str| {
        let at = line.find(mark).filter(|at| !line[..*at].ends_with(':'))?;
        Some(line[at..].trim_start_matches(['/', '#', '!']).trim().to_owned())
    };
    text.lines().filter_map(comment).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_link_resolves() {
    let documents = documents();
    let mut broken = Vec::new();
    for (document, text) in &documents {
        for link in links(text) {
            let target = match link.strip_prefix('#') {
                Some(anchor) => format!("{}#{anchor}", document.display()),
                None => {
                    let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
                    format!("{}#{anchor}", plain(&document.parent().unwrap().join(path)).display())
                }
            };
            if let Some(why) = missing(&target, &documents) {
                broken.push(format!("{}: {link} {why}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_path_that_is_named_exists() {
    let documents = documents();
    let mut texts: Vec<(PathBuf, String)> =
        documents.iter().map(|(path, text)| (path.clone(), text.clone())).collect();
    let mut sources = files("src", ".rs");
    sources.extend(files("tests", ".rs"));
    sources.extend(files("benches", ".rs"));
    for name in ["Cargo.toml", "proxy.toml"] {
        sources.insert(name.into(), fs::read_to_string(root().join(name)).unwrap());
    }
    texts.extend(sources.into_iter().map(|(path, text)| {
        let comments = comments(&path, &text);
        (path, comments)
    }));
    let mut broken = Vec::new();
    for (path, text) in &texts {
        for named in named(text) {
            if let Some(why) = missing(named, &documents) {
                broken.push(format!("{}: {named} {why}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_page_of_a_folder_is_in_its_list() {
    for folder in FOLDERS_WITH_LISTS {
        let list = fs::read_to_string(root().join(folder).join("README.md")).unwrap();
        let listed = links(&list);
        for path in files(folder, ".md").keys() {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name == "README.md" || listed.iter().any(|link| link == name), "{folder}: {name}");
        }
    }
}
