//! Compares the tables of the command line with `--help`: every command, option, value and variable, and no other.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::{Table, tables_of_names};
use crate::program::harness::{Folder, command};

/// The value that an option takes, and its environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Takes {
    value: Option<String>,
    variable: Option<String>,
}

fn help(arguments: &[&str]) -> String {
    let folder = Folder::new();
    let output =
        command(env!("CARGO_BIN_EXE_boxgate"), &folder).args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands that `--help` lists after these, each with all words of its name.
fn commands(above: &[&str]) -> Vec<String> {
    let text = help(above);
    let Some((_, list)) = text.split_once("\nCommands:\n") else { return vec![above.join(" ")] };
    let names =
        list.lines().take_while(|line| !line.is_empty()).map(|line| line.split_whitespace().next().unwrap());
    names.filter(|name| *name != "help").flat_map(|name| commands(&[above, &[name]].concat())).collect()
}

fn words(name: &str) -> Vec<&str> {
    name.split(' ').collect()
}

/// The options of a command, but for `--help` and `--version`.
fn options(arguments: &[&str]) -> BTreeMap<String, Takes> {
    let mut options: BTreeMap<String, Takes> = BTreeMap::new();
    let mut current = String::new();
    for line in help(arguments).lines() {
        let words = line.trim_start();
        // `--config <FILE>` or `-h, --help`; a possible value is `- sh: …`.
        let long = words.split_once("--").filter(|(short, _)| short.is_empty() || short.ends_with(", "));
        if let Some((_, option)) = long.filter(|_| words.starts_with('-')) {
            let mut words = option.split_whitespace();
            current = format!("--{}", words.next().unwrap());
            let value = words.next().and_then(|word| word.strip_prefix('<')?.strip_suffix('>'));
            options.insert(current.clone(), Takes { value: value.map(str::to_owned), variable: None });
        }
        if let Some((_, rest)) = line.split_once("[env: ") {
            let name = rest.split('=').next().unwrap();
            options.get_mut(&current).unwrap().variable = Some(name.to_owned());
        }
    }
    options.remove("--help");
    options.remove("--version");
    options
}

/// The options of a line such as `boxgate run [--config FILE] [--no-watch]`.
fn shown(line: &str) -> BTreeMap<String, Option<String>> {
    let (line, _) = line.split_once(" -- ").unwrap_or((line, ""));
    let parts = line.split('[').skip(1).map(|part| part.split(']').next().unwrap());
    parts
        .map(|part| match part.split_once(' ') {
            Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
            None => (part.to_owned(), None),
        })
        .collect()
}

/// The only table with this first column in the page of the configuration.
fn table(heading: &str) -> Table {
    let mut tables = tables_of_names(heading);
    tables.retain(|table| table.document == "docs/configuration.md");
    assert_eq!(tables.len(), 1, "{heading}");
    tables.remove(0)
}

#[test]
fn every_command_and_its_options_are_documented_and_no_other() {
    let mut documented = BTreeSet::new();
    for row in table("command").rows {
        let line = row[0].trim_matches('`');
        let behind = line.strip_prefix("boxgate ").unwrap().split_whitespace();
        let is_of_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
        let name = behind.take_while(is_of_name).collect::<Vec<_>>().join(" ");
        assert!(documented.insert(name.clone()), "{name} is documented twice");
        let want = options(&words(&name)).into_iter().map(|(option, takes)| (option, takes.value));
        assert_eq!(shown(line), want.collect(), "boxgate {name} --help");
    }
    assert_eq!(documented, commands(&[]).into_iter().collect());
    assert_eq!(options(&[]), options(&["run"]), "without a subcommand it is `run`");
}

#[test]
fn every_option_is_documented_once_with_its_variable() {
    let mut want = BTreeMap::new();
    for name in commands(&[]) {
        for (option, takes) in options(&words(&name)) {
            // `explain --host` is the Host of a request, which has no variable.
            let earlier: &mut Option<String> = want.entry(option.clone()).or_default();
            let variable = takes.variable.or_else(|| earlier.clone());
            assert!(earlier.is_none() || *earlier == variable, "{option} has two variables");
            *earlier = variable;
        }
    }
    let mut documented = BTreeMap::new();
    for row in table("option").rows {
        let text = |cell: &str| Some(cell.trim_matches('`').to_owned()).filter(|text| !text.is_empty());
        let option = text(&row[0]).unwrap();
        assert!(documented.insert(option.clone(), text(&row[1])).is_none(), "{option} is documented twice");
    }
    assert_eq!(documented, want);
}
