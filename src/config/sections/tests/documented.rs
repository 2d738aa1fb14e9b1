//! The keys in the documents are those that are read, each once. A key is a row below its table's heading.

use super::*;

/// The tables of `docs/configuration.md` whose keys stand elsewhere than below the header's own heading: what their keys
/// begin with, and the heading.
const INNER: [(&str, &str, &str); 3] = [
    ("{ cert = \"PATH\", key = \"PATH\" }", "`[listen]`", "tls."),
    ("{ cert = \"PATH\", key = { file = \"PATH\" } }", "`[forward_proxy]`", "ca."),
    ("{ env = \"NAME\" } or { file = \"PATH\" }", "Secrets", ""),
];

/// Every document's rows of keys, as heading and key. The first column of their tables is called so.
fn documented() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
    let mut rows = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let (mut heading, mut is_of_keys) = (String::new(), false);
        for line in fs::read_to_string(path).unwrap().lines() {
            if line.starts_with('#') {
                heading = line.trim_start_matches(['#', ' ']).to_owned();
            }
            is_of_keys = line.starts_with("| key |") || (is_of_keys && line.starts_with('|'));
            if let Some(rest) = line.strip_prefix("| `").filter(|_| is_of_keys) {
                rows.push((heading.clone(), rest.split('`').next().unwrap().to_owned()));
            }
        }
    }
    rows
}

#[test]
fn every_key_is_documented_once_and_no_other() {
    let mut want = Vec::new();
    for (header, keys) in raw::TABLES.iter().filter(|(header, _)| !header.is_empty()) {
        let inner = INNER.iter().find(|(inner, _, _)| inner == header);
        let (heading, start) =
            inner.map_or((format!("`{header}`"), ""), |(_, heading, start)| ((*heading).to_owned(), *start));
        want.extend(keys.iter().map(|key| (heading.clone(), format!("{start}{key}"))));
    }
    let headings: Vec<String> = want.iter().map(|(heading, _)| heading.clone()).collect();
    let mut have = documented();
    have.retain(|(heading, _)| headings.contains(heading));
    want.sort();
    have.sort();
    assert_eq!(have, want);

    let (_, tables) = raw::TABLES.iter().find(|(header, _)| header.is_empty()).unwrap();
    for table in *tables {
        let table = table.trim_start_matches("r#");
        let is_of = |heading: &String| heading.trim_matches(['`', '[', ']']).split('.').next() == Some(table);
        assert!(headings.iter().any(is_of), "no heading for {table}");
    }
}
