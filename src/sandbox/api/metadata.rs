//! Metadata of files and folders. Every template is assumed to exist.

use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::request::ApiRequest;
use crate::sandbox::{
    http::{
        random::random_text,
        request_body::RequestBody,
        response::{self, Answer, Refusal},
    },
    model::metadata::InstanceKey,
};

const PATCH: &str = "application/json-patch+json";

/// Everything under `/files/ID/metadata` and `/folders/ID/metadata`; `item` is `file_ID` or `folder_ID`.
pub(crate) async fn answer(
    request: &ApiRequest<'_>,
    item: String,
    segments: &[&str],
    body: &mut RequestBody,
) -> Result<Answer, Refusal> {
    let all = &request.state.metadata;
    let (scope, template) = match segments {
        [] if request.head.method == "GET" => return Ok(list(request, &item)),
        [] => return Err(Refusal::method_not_allowed()),
        [scope, template] => (full_scope(request, scope)?, (*template).to_owned()),
        _ => return Err(Refusal::not_found()),
    };
    let key = InstanceKey { item, scope, template };
    match request.head.method.as_str() {
        "GET" => {
            let instance = all.get(&key).ok_or_else(missing)?;
            Ok(response::json(StatusCode::OK, &instance))
        }
        "POST" => {
            let Value::Object(values) = body.json().await? else {
                return Err(Refusal::bad_request("The metadata must be an object"));
            };
            let instance = instance(values, &key);
            if !all.add(key, instance.clone()) {
                let message = "Metadata with this scope and template exists on the item already";
                return Err(Refusal::error(409, "tuple_already_exists", message));
            }
            Ok(response::json(StatusCode::CREATED, &instance))
        }
        "PUT" => {
            let content_type = request.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            if !content_type.is_some_and(|value| value.starts_with(PATCH)) {
                return Err(Refusal::error(415, "unsupported_media_type", "Unsupported Media Type"));
            }
            let patch = body.json().await?;
            let changed = all.change(&key, |instance| patched(instance, &patch)).ok_or_else(missing)??;
            Ok(response::json(StatusCode::OK, &changed))
        }
        "DELETE" => {
            if !all.remove(&key) {
                return Err(missing());
            }
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Refusal::method_not_allowed()),
    }
}

fn list(request: &ApiRequest<'_>, item: &str) -> Answer {
    response::json(StatusCode::OK, &json!({ "entries": request.state.metadata.of(item), "limit": 100 }))
}

/// `enterprise` is the caller's own.
fn full_scope(request: &ApiRequest<'_>, scope: &str) -> Result<String, Refusal> {
    let own = format!("enterprise_{}", request.state.options.enterprise_id);
    match scope {
        "global" => Ok(scope.to_owned()),
        "enterprise" => Ok(own),
        other if other == own => Ok(own),
        other => Err(Refusal::parameter("scope", &format!("Invalid value '{other}'."))),
    }
}

fn instance(mut values: Map<String, Value>, key: &InstanceKey) -> Value {
    let id = random_text(36).to_ascii_lowercase();
    for (name, value) in [
        ("$id", json!(id)),
        ("$type", json!(format!("{}-{}", key.template, random_text(36).to_ascii_lowercase()))),
        ("$parent", json!(key.item)),
        ("$scope", json!(key.scope)),
        ("$template", json!(key.template)),
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

/// The instance after all steps of a patch; on an error it is not changed.
fn patched(instance: &mut Value, patch: &Value) -> Result<Value, Refusal> {
    let mut changed = instance.clone();
    for step in patch.as_array().ok_or_else(|| Refusal::bad_request("A patch must be an array"))? {
        apply(&mut changed, step)?;
    }
    let version = changed.get("$version").and_then(Value::as_u64).unwrap_or_default();
    if let Some(object) = changed.as_object_mut() {
        object.insert("$version".to_owned(), json!(version + 1));
    }
    instance.clone_from(&changed);
    Ok(changed)
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
            let index = if name == "-" { Some(array.len()) } else { name.parse().ok() };
            let index =
                index.filter(|index| *index <= array.len()).ok_or_else(|| bad("there is no such place"))?;
            array.insert(index, needed()?);
            Ok(())
        }
        ("replace" | "remove", Value::Array(array)) => {
            let index = name.parse().ok().filter(|index| *index < array.len());
            let index: usize = index.ok_or_else(|| bad("there is no such place"))?;
            array.remove(index);
            if op == "replace" {
                array.insert(index, needed()?);
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
