//! The layers: a module imports only modules below it, and there are no import cycles between files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the top down, in the order of `lib.rs`. The sandbox imports none of the others.
const LAYERS: [&str; 13] = [
    "cli",
    "server",
    "admin",
    "proxy",
    "config",
    "access",
    "limits",
    "upstream",
    "routing",
    "oauth",
    "telemetry",
    "http",
    "net",
];

/// A module's path, such as `["limits", "rate", "gcra"]`.
type Module = Vec<String>;

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every module of the library with the text of its file, without its tests.
fn modules() -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![src()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && !["tests.rs", "main.rs", "lib.rs"].contains(&name) {
                let relative = path.strip_prefix(src()).unwrap().with_extension("");
                let mut module: Module =
                    relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
                module.pop_if(|last| last == "mod");
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\n").next().unwrap().to_owned();
                found.insert(module, text);
            }
        }
    }
    found
}

/// The paths that a `use` names: `a::{b, c::{self, d}}` is `a::b`, `a::c` and `a::c::d`.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, inside)) = tree.split_once('{') else { return vec![tree.to_owned()] };
    let inside = inside.strip_suffix('}').unwrap_or(inside);
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&inside[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[begin..]);
    let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(expanded).map(|part| format!("{before}{part}")).collect()
}

/// Which modules each module imports by `crate::` or `super::`.
fn imports() -> BTreeMap<Module, BTreeSet<Module>> {
    let modules = modules();
    let mut imports = BTreeMap::new();
    for (module, text) in &modules {
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let mut named = Vec::new();
        for statement in code.split("use ").skip(1) {
            let tree = statement.split(';').next().unwrap_or_default();
            named.extend(expanded(tree));
        }
        // Paths that are written out where they are used.
        named.extend(code.split("crate::").skip(1).map(|rest| {
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            format!("crate::{}", rest[..end].trim_end_matches(':'))
        }));
        let own: &mut BTreeSet<Module> = imports.entry(module.clone()).or_default();
        for path in named {
            let mut parts = path.split("::").map(|part| part.split(" as ").next().unwrap().trim());
            let mut target: Module = match parts.clone().next() {
                Some("crate") => Vec::new(),
                Some("super") => module.clone(),
                _ => continue,
            };
            for part in parts.by_ref() {
                match part {
                    "crate" | "self" => {}
                    "super" => {
                        target.pop();
                    }
                    part => target.push(part.to_owned()),
                }
            }
            while !target.is_empty() && !modules.contains_key(&target) {
                target.pop();
            }
            if !target.is_empty() && target != *module {
                own.insert(target);
            }
        }
    }
    imports
}

fn shown(module: &Module) -> String {
    module.join("::")
}

#[test]
fn modules_import_only_downwards() {
    let level = |module: &Module| LAYERS.iter().position(|layer| *layer == module[0]);
    let mut upwards = Vec::new();
    for (module, targets) in imports() {
        for target in targets {
            let is_sandbox = |module: &Module| level(module).is_none();
            let fits = match (level(&module), level(&target)) {
                (Some(from), Some(to)) => from <= to,
                // The command line runs the sandbox; the sandbox runs nothing of the gateway.
                (from, None) => is_sandbox(&module) || from == Some(0),
                (None, Some(_)) => false,
            };
            if !fits {
                upwards.push(format!("{} imports {}", shown(&module), shown(&target)));
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut imports = imports();
    // A module that imports none of the remaining ones is in no cycle.
    loop {
        let done: Vec<Module> = imports
            .iter()
            .filter(|(_, targets)| targets.iter().all(|target| !imports.contains_key(target)))
            .map(|(module, _)| module.clone())
            .collect();
        if done.is_empty() {
            break;
        }
        done.iter().for_each(|module| drop(imports.remove(module)));
    }
    let left: Vec<String> = imports
        .iter()
        .map(|(module, targets)| {
            let targets: Vec<String> =
                targets.iter().filter(|to| imports.contains_key(*to)).map(shown).collect();
            format!("{} imports {}", shown(module), targets.join(", "))
        })
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn the_map_has_the_order_of_the_layers() {
    let map = fs::read_to_string(src().join("lib.rs")).unwrap();
    let modules: Vec<&str> = map
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.split(';').next())
        .filter(|module| LAYERS.contains(module))
        .collect();
    assert_eq!(modules, LAYERS);
}
