//! The named groups of operations, and what is in them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::routing::operation_group::{Group, operations};

/// All groups with their operations.
pub(super) fn list(as_json: bool) -> String {
    if as_json {
        let groups: Vec<Value> = Group::ALL.into_iter().map(document).collect();
        return format!("{}\n", json!({ "groups": groups }));
    }
    let mut text =
        "Groups of operations for allow and deny of an app, such as allow = [\"read\", \"download\"].\n\
        An operation in no group is refused where allow has groups alone. GET covers HEAD.\n"
            .to_owned();
    for group in Group::ALL {
        let _ = writeln!(text, "\n{}: {}", group.as_str(), group.meaning());
        for (method, path) in operations(group) {
            let others = others(group, &method, path);
            let also =
                if others.is_empty() { String::new() } else { format!("  also {}", others.join(", ")) };
            let _ = writeln!(text, "  {:<7} {path}{also}", method.as_str());
        }
    }
    text
}

/// The other groups that this operation is in.
fn others(group: Group, method: &http::Method, path: &str) -> Vec<&'static str> {
    let is_in = |other: &Group| *other != group && operations(*other).any(|(m, p)| m == *method && p == path);
    Group::ALL.into_iter().filter(is_in).map(Group::as_str).collect()
}

fn document(group: Group) -> Value {
    let operations: Vec<String> =
        operations(group).map(|(method, path)| format!("{method} {path}")).collect();
    json!({ "group": group.as_str(), "meaning": group.meaning(), "operations": operations })
}
