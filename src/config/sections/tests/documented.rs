//! The keys in the documents are those that are read, each once. A key is a row below its table's heading.

use super::*;

/// The tables of `docs/configuration.md` whose keys stand elsewhere than below the header's own heading: what their keys
/// begin with, and the heading.
const INNER: [(&str, &str, &str); 4] = [
    ("{ cert = \"PATH\", key = \"PATH\" }", "`[listen]`", "tls."),
    ("{ cert = \"PATH\", key = { file = \"PATH\" } }", "`[forward_proxy]`", "ca."),
    ("{ scopes = [\"SCOPE\"], resource = \"URL\" }", "`[identity.NAME]`", "downscope."),
    ("{ env = \"NAME\" } or { file = \"PATH\" }", "Secrets", ""),
];

/// A row of a table whose first column is called "key".
struct Row {
    heading: String,
    key: String,
    /// All of it, as it is written.
    line: String,
}

/// Every document's rows of keys.
fn documented() -> Vec<Row> {
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
                let key = rest.split('`').next().unwrap().to_owned();
                rows.push(Row { heading: heading.clone(), key, line: line.to_owned() });
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
    let rows = documented().into_iter().map(|row| (row.heading, row.key));
    let mut have: Vec<_> = rows.filter(|(heading, _)| headings.contains(heading)).collect();
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

/// `proxy.toml` and the documents have the same defaults.
#[test]
fn every_default_is_documented() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/proxy.toml")).unwrap();
    let (mut heading, mut compared) = (String::new(), 0);
    let rows = documented();
    for line in text.lines() {
        if line.starts_with('[') {
            heading = format!("`{}`", line.split_whitespace().next().unwrap());
        }
        let Some((key, rest)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
        // What the example's own identity and app are called, and who they are, is no default; an app follows [upstream].
        let is_own = heading.starts_with("`[identity")
            || (heading == "`[[app]]`" && ["name", "identity"].contains(&key));
        if is_own || (heading == "`[[app]]`" && key == "follow_downloads") {
            continue;
        }
        let default = format!("`{}`", rest.split("  #").next().unwrap().trim());
        let row = rows.iter().find(|row| row.heading == heading && row.key == key).unwrap();
        let cell = row.line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(cell.contains(&default), "{heading} {key}: {default} in proxy.toml, {cell} in the documents");
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}

/// The tables of one line have their keys in `proxy.toml`, too; `tests.rs` looks for those of all others.
#[test]
fn proxy_toml_shows_the_keys_of_inner_tables() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/proxy.toml")).unwrap();
    for (header, keys) in raw::TABLES.iter().filter(|(header, _)| header.starts_with('{')) {
        let is_there =
            |key: &&str| text.lines().any(|line| line.contains('{') && line.contains(&format!(" {key} = ")));
        for key in *keys {
            assert!(is_there(key), "{header} {key}");
        }
    }
}
