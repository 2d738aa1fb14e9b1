//! Metadata of files and folders. Every template is taken for one that exists.

use std::{collections::BTreeMap, sync::Mutex};

use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::{
    answer::{self, Answer, Refusal},
    body::Received,
    call::Call,
    http::{lock::lock, random::random_text},
};

const PATCH: &str = "application/json-patch+json";

/// Instances by item, scope and template.
#[derive(Default)]
pub(super) struct Metadata(Mutex<BTreeMap<(String, String, String), Value>>);

/// Everything under `/files/ID/metadata` and `/folders/ID/metadata`; `item` is `file_ID` or `folder_ID`.
pub(super) async fn answer(
    call: &Call<'_>,
    item: String,
    segments: &[&str],
    body: &mut Received,
) -> Result<Answer, Refusal> {
    let all = &call.world.metadata.0;
    let (scope, template) = match segments {
        [] if call.head.method == "GET" => return Ok(list(call, &item)),
        [] => return Err(Refusal::method_not_allowed()),
        [scope, template] => (full_scope(call, scope)?, (*template).to_owned()),
        _ => return Err(Refusal::not_found()),
    };
    let key = (item, scope, template);
    match call.head.method.as_str() {
        "GET" => {
            let instance = lock(all).get(&key).cloned().ok_or_else(missing)?;
            Ok(answer::json(StatusCode::OK, &instance))
        }
        "POST" => {
            let Value::Object(values) = body.json().await? else {
                return Err(Refusal::bad_request("The metadata must be an object"));
            };
            let mut all = lock(all);
            if all.contains_key(&key) {
                let message = "Metadata with this scope and template exists on the item already";
                return Err(Refusal::error(409, "tuple_already_exists", message));
            }
            let instance = instance(values, &key);
            all.insert(key, instance.clone());
            Ok(answer::json(StatusCode::CREATED, &instance))
        }
        "PUT" => {
            let content_type = call.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            if !content_type.is_some_and(|value| value.starts_with(PATCH)) {
                return Err(Refusal::error(415, "unsupported_media_type", "Unsupported Media Type"));
            }
            let patch = body.json().await?;
            let mut all = lock(all);
            let instance = all.get_mut(&key).ok_or_else(missing)?;
            // All of it or nothing.
            let mut changed = instance.clone();
            for step in patch.as_array().ok_or_else(|| Refusal::bad_request("A patch must be an array"))? {
                apply(&mut changed, step)?;
            }
            let version = changed.get("$version").and_then(Value::as_u64).unwrap_or_default();
            if let Some(object) = changed.as_object_mut() {
                object.insert("$version".to_owned(), json!(version + 1));
            }
            instance.clone_from(&changed);
            Ok(answer::json(StatusCode::OK, &changed))
        }
        "DELETE" => {
            lock(all).remove(&key).ok_or_else(missing)?;
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Refusal::method_not_allowed()),
    }
}

fn list(call: &Call<'_>, item: &str) -> Answer {
    let all = lock(&call.world.metadata.0);
    let entries: Vec<&Value> =
        all.iter().filter(|((on, ..), _)| on == item).map(|(_, value)| value).collect();
    answer::json(StatusCode::OK, &json!({ "entries": entries, "limit": 100 }))
}

/// `enterprise` is the caller's own.
fn full_scope(call: &Call<'_>, scope: &str) -> Result<String, Refusal> {
    let own = format!("enterprise_{}", call.world.options.enterprise_id);
    match scope {
        "global" => Ok(scope.to_owned()),
        "enterprise" => Ok(own),
        other if other == own => Ok(own),
        other => Err(Refusal::parameter("scope", &format!("Invalid value '{other}'."))),
    }
}

fn instance(mut values: Map<String, Value>, (item, scope, template): &(String, String, String)) -> Value {
    let id = random_text(36).to_ascii_lowercase();
    for (name, value) in [
        ("$id", json!(id)),
        ("$type", json!(format!("{template}-{}", random_text(36).to_ascii_lowercase()))),
        ("$parent", json!(item)),
        ("$scope", json!(scope)),
        ("$template", json!(template)),
        ("$version", json!(0)),
        ("$typeVersion", json!(0)),
        ("$canEdit", json!(true)),
    ] {
        values.insert(name.to_owned(), value);
    }
    Value::Object(values)
}

fn missing() -> Refusal {
    Refusal::error(404, "instance_not_found", "There is no such metadata on this item")
}

/// One operation of RFC 6902. Moving and copying are left out.
fn apply(instance: &mut Value, step: &Value) -> Result<(), Refusal> {
    let bad = |what: &str| Refusal::bad_request(format!("Could not apply the patch: {what}"));
    let text = |name: &str| step.get(name).and_then(Value::as_str).ok_or_else(|| bad(name));
    let (op, path) = (text("op")?, text("path")?);
    if path.starts_with("/$") {
        return Err(bad("members that begin with $ cannot be changed"));
    }
    let value = step.get("value").cloned();
    let needed = || value.clone().ok_or_else(|| bad("value"));
    let (parent, name) = path.rsplit_once('/').ok_or_else(|| bad("path"))?;
    let name = name.replace("~1", "/").replace("~0", "~");
    match (op, instance.pointer_mut(parent).ok_or_else(|| bad("there is no such path"))?) {
        ("test", _) => match instance.pointer(path) {
            there if there == value.as_ref() => Ok(()),
            _ => Err(bad("the tested value differs")),
        },
        ("add", Value::Object(object)) => {
            object.insert(name, needed()?);
            Ok(())
        }
        ("replace", Value::Object(object)) => {
            *object.get_mut(&name).ok_or_else(|| bad("there is no such path"))? = needed()?;
            Ok(())
        }
        ("remove", Value::Object(object)) => {
            object.remove(&name).map(drop).ok_or_else(|| bad("there is no such path"))
        }
        ("add", Value::Array(array)) => {
            let at = if name == "-" { Some(array.len()) } else { name.parse().ok() };
            let at = at.filter(|at| *at <= array.len()).ok_or_else(|| bad("there is no such place"))?;
            array.insert(at, needed()?);
            Ok(())
        }
        ("replace" | "remove", Value::Array(array)) => {
            let at = name.parse().ok().filter(|at| *at < array.len());
            let at: usize = at.ok_or_else(|| bad("there is no such place"))?;
            array.remove(at);
            if op == "replace" {
                array.insert(at, needed()?);
            }
            Ok(())
        }
        _ => Err(bad("there is no such operation here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_applied_step_by_step() {
        let mut instance = json!({ "a": 1, "list": [1, 2], "x/y": 0 });
        for step in [
            json!({ "op": "test", "path": "/a", "value": 1 }),
            json!({ "op": "add", "path": "/b", "value": "new" }),
            json!({ "op": "replace", "path": "/a", "value": 2 }),
            json!({ "op": "add", "path": "/list/-", "value": 3 }),
            json!({ "op": "remove", "path": "/list/0" }),
            json!({ "op": "remove", "path": "/x~1y" }),
        ] {
            apply(&mut instance, &step).unwrap();
        }
        assert_eq!(instance, json!({ "a": 2, "b": "new", "list": [2, 3] }));
        for step in [
            json!({ "op": "test", "path": "/a", "value": 1 }),
            json!({ "op": "replace", "path": "/c", "value": 2 }),
            json!({ "op": "remove", "path": "/list/7" }),
            json!({ "op": "add", "path": "/$version", "value": 7 }),
            json!({ "op": "add", "path": "/c" }),
            json!({ "op": "shuffle", "path": "/list/0" }),
        ] {
            assert!(apply(&mut instance, &step).is_err(), "{step}");
        }
    }
}
