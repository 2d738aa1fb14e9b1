//! `docs/observability.md` lists every field of `/status.json` and of a slot of `/history.json`.

use std::collections::BTreeSet;

use super::*;

const TEXT: &str = include_str!("../../../docs/observability.md");

/// The names in backticks in the first column of the table with this heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let table = TEXT.split(&format!("| {heading} |")).nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| {
        let cell = row.split('|').nth(1).unwrap();
        let (before, names) = match cell.split_once("`: ") {
            // `apps[]`: `name`, `identity`
            Some((list, names)) => (format!("{}.", list.trim().trim_start_matches('`')), names),
            None => (String::new(), cell),
        };
        let names: Vec<String> =
            names.split('`').skip(1).step_by(2).map(|name| format!("{before}{name}")).collect();
        names
    })
    .collect()
}

/// The paths of all fields, those of a list's entries below `name[]`.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields_of_it) => {
            for (name, value) in fields_of_it {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match value {
                    Value::Object(_) => fields(value, &path, found),
                    Value::Array(entries) if entries.iter().any(Value::is_object) => {
                        entries.iter().for_each(|entry| fields(entry, &format!("{path}[]"), found));
                    }
                    _ => {
                        found.insert(path);
                    }
                }
            }
        }
        _ => panic!("{path} is no object: {value}"),
    }
}

/// A document with as much in it as one gateway can have.
#[tokio::test]
async fn every_field_is_documented_and_every_documented_field_exists() {
    let more = "[forward_proxy]\n[log]\naudit = \"audit.jsonl\"\n[[limit]]\nname = \"line\"\nkey = \"client\"\nrate = \"1/h\"\nburst = 2\nwait = \"30s\"\n\
                [[limit]]\nname = \"short\"\nkey = \"global\"\nrate = \"5/min\"\nburst = 1\nwait = \"30s\"\n\
                [[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 10\n\
                [[app]]\nname = \"c\"\npath = \"/c\"\nas_user = [\"ann@corp.com\"]\n";
    let bench = Bench::with(&format!("{more}{APPS}")).await;
    bench.until_ready().await;
    bench.sandbox.script("/2.0/search", vec![Fault::RateLimited { retry_after: 200 }]);
    assert_eq!(bench.get(&format!("/a{SEARCH}")).await.status(), 429);
    let waiting = tokio::spawn(bench.client.get(bench.url(&format!("/b{ME}"))).send());
    let now = becomes(&bench, |now| !now["waiting"].as_array().unwrap().is_empty()).await;
    waiting.abort();
    let mut found = BTreeSet::new();
    fields(&now, "", &mut found);
    // Lists that are empty in one entry and not in another.
    let lists: Vec<String> =
        found.iter().filter_map(|path| path.rsplit_once("[].").map(|(list, _)| list.to_owned())).collect();
    found.retain(|path| !lists.contains(path));
    let mut documented_fields = documented("status field");
    // Those of a reload and of Redis are in other tests' documents; here they are null.
    for of in ["config.reload", "redis"] {
        let below: Vec<String> =
            documented_fields.iter().filter(|name| name.starts_with(&format!("{of}."))).cloned().collect();
        assert!(below.len() >= 4, "{of}: {below:?}");
        below.iter().for_each(|name| assert!(documented_fields.remove(name)));
        assert!(found.remove(of), "{of} is null here");
    }
    assert_eq!(found, documented_fields);

    let mut of_slot = BTreeSet::new();
    fields(&slots(&bench, "").await[0], "", &mut of_slot);
    assert_eq!(of_slot, documented("slot field"));
}
