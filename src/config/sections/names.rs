//! Named tables: `[[app]]`, `[[limit]]`, `[[budget]]`.

use toml::de::{DeTable, DeValue};

use super::super::diagnostics::{Location, Notes, Position, dotted};
use super::super::raw::{Entry, kind};

/// Each `[[header]]` with its location, whose key includes the table's name, so that messages need no index. Two tables
/// with the same name are a problem.
pub(super) fn tables<'d>(
    entry: Option<&Entry<'d>>,
    header: &str,
    notes: &mut Notes<'_>,
) -> Vec<(Location, &'d DeTable<'d>)> {
    let Some(entry) = entry else { return Vec::new() };
    let DeValue::Array(items) = entry.value else {
        notes.problem(
            &entry.location,
            format_args!(
                "expected tables [[{header}]], found {}; write [[{header}]] with two brackets",
                kind(entry.value)
            ),
        );
        return Vec::new();
    };
    let mut names: Vec<&str> = Vec::new();
    let mut tables = Vec::new();
    for (number, item) in items.iter().enumerate() {
        let position = Position::At(item.span().start);
        let unnamed = format!("{header}[{number}]");
        let DeValue::Table(table) = item.get_ref() else {
            let location = Location { position, key: unnamed };
            notes.problem(&location, format_args!("expected a table, found {}", kind(item.get_ref())));
            continue;
        };
        let name = name_of(table).filter(|name| !name.is_empty());
        let location = Location { position, key: name.map_or(unnamed, |name| dotted(header, name)) };
        if let Some(name) = name {
            if names.contains(&name) {
                notes.problem(
                    &location,
                    format_args!(
                        "another {header} has the name {name:?} too; each {header} needs a name of its own"
                    ),
                );
            }
            names.push(name);
        }
        tables.push((location, table));
    }
    tables
}

fn name_of<'d>(table: &'d DeTable<'d>) -> Option<&'d str> {
    table.iter().find(|(key, _)| *key.get_ref() == "name").and_then(|(_, value)| value.get_ref().as_str())
}
