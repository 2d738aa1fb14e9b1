//! Parsing and checking of requests to Box AI (OpenAPI, schemas `AiAsk`, `AiTextGen`, `AiExtract`,
//! `AiExtractStructured`).

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{fields::text, request::ApiRequest};
use crate::sandbox::{http::response::Refusal, model::content::Content, model::item::ItemKind};

/// In characters.
const LONGEST_PROMPT: usize = 10_000;
/// In characters.
const EXCERPT: usize = 200;

/// A file that is asked about.
pub(crate) struct Source {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The beginning of its text: of what the request brings, else of what is stored; empty where that is no text.
    pub(crate) excerpt: String,
}

/// What the caller wants to know or to have written.
pub(crate) fn prompt(body: &Value) -> Result<&str, Refusal> {
    let prompt = text(body, "/prompt")?;
    if prompt.trim().is_empty() {
        return Err(Refusal::parameter("prompt", "'prompt' must not be empty"));
    }
    if prompt.chars().count() > LONGEST_PROMPT {
        let message = format!("'prompt' must have at most {LONGEST_PROMPT} characters");
        return Err(Refusal::parameter("prompt", &message));
    }
    Ok(prompt)
}

/// The files of `items`, from one to `most`, all of which must exist.
pub(crate) fn sources(
    request: &ApiRequest<'_>,
    body: &Value,
    most: usize,
    types: &[&str],
) -> Result<Vec<Source>, Refusal> {
    let items = array(body, "items")?.ok_or_else(|| Refusal::parameter("items", "'items' is required"))?;
    if items.is_empty() || items.len() > most {
        let message = format!("'items' must have from 1 to {most} elements; it has {}", items.len());
        return Err(Refusal::parameter("items", &message));
    }
    let store = request.store();
    let mut seen = HashSet::new();
    let mut sources = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let name = |member: &str| format!("items[{index}].{member}");
        let member = |member: &str| {
            let value = item.get(member).and_then(Value::as_str);
            value.ok_or_else(|| Refusal::parameter(&name(member), &format!("'{}' is required", name(member))))
        };
        let (id, kind) = (member("id")?, member("type")?);
        if !types.contains(&kind) {
            let message = format!("Invalid value '{kind}'. It must be one of: {}", types.join(", "));
            return Err(Refusal::parameter(&name("type"), &message));
        }
        let content = optional_text(item, "content", &name("content"))?;
        if !seen.insert((id, kind)) {
            return Err(Refusal::parameter("items", &format!("The {kind} {id} is listed twice")));
        }
        // The sandbox has no hubs.
        if kind != "file" {
            return Err(Refusal::no_such_item(id));
        }
        let file = store.file(id)?;
        let stored = match &file.kind {
            ItemKind::File(version) => match &version.content {
                Content::Bytes(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
                Content::Zeros(_) => "",
            },
            ItemKind::Folder | ItemKind::WebLink(_) => "",
        };
        let excerpt = content.unwrap_or(stored).chars().take(EXCERPT).collect();
        sources.push(Source { id: id.to_owned(), name: file.name.clone(), excerpt });
    }
    Ok(sources)
}

/// The answers so far: each with a prompt, an answer and a time, where it has them.
pub(crate) fn dialogue_history(body: &Value) -> Result<(), Refusal> {
    for (index, turn) in array(body, "dialogue_history")?.into_iter().flatten().enumerate() {
        for member in ["prompt", "answer", "created_at"] {
            optional_text(turn, member, &format!("dialogue_history[{index}].{member}"))?;
        }
    }
    Ok(())
}

/// The agent that the caller wants: one by its id, or a configuration of this type.
pub(crate) fn agent(body: &Value, configuration: &str) -> Result<(), Refusal> {
    if body.get("ai_agent").is_none_or(Value::is_null) {
        return Ok(());
    }
    match text(body, "/ai_agent/type")? {
        "ai_agent_id" => text(body, "/ai_agent/id").map(drop),
        kind if kind == configuration => Ok(()),
        other => {
            let message = format!("Invalid value '{other}'. It must be one of: ai_agent_id, {configuration}");
            Err(Refusal::parameter("ai_agent.type", &message))
        }
    }
}

/// The keys and descriptions of what is to be extracted; none where a template names them.
pub(crate) fn wanted_fields(body: &Value) -> Result<Vec<&Map<String, Value>>, Refusal> {
    let template = body.get("metadata_template").filter(|template| !template.is_null());
    let fields = array(body, "fields")?;
    let sources = array(body, "taxonomy_sources")?;
    match (template, fields) {
        (Some(_), None) if sources.is_some() => {
            Err(Refusal::parameter("taxonomy_sources", "'taxonomy_sources' goes with 'fields' only"))
        }
        (Some(_), None) => {
            let name = "metadata_template.type";
            let kind = template.and_then(|template| template.get("type")).and_then(Value::as_str);
            if kind.is_some_and(|kind| kind != "metadata_template") {
                return Err(Refusal::parameter(name, "It must be 'metadata_template'"));
            }
            text(body, "/metadata_template/scope")?;
            text(body, "/metadata_template/template_key")?;
            Ok(Vec::new())
        }
        (None, Some(fields)) => described(fields, "fields"),
        _ => {
            let message = "Either 'metadata_template' or 'fields' is required, and not both";
            Err(Refusal::parameter("fields", message))
        }
    }
}

/// The fields of a list, which must not be empty, each with a key of its own.
pub(crate) fn described<'b>(fields: &'b [Value], name: &str) -> Result<Vec<&'b Map<String, Value>>, Refusal> {
    if fields.is_empty() {
        return Err(Refusal::parameter(name, &format!("'{name}' must not be empty")));
    }
    let mut seen = HashSet::new();
    let mut described = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let key = format!("{name}[{index}].key");
        let object = field.as_object().filter(|field| field.get("key").is_some_and(Value::is_string));
        let object = object.ok_or_else(|| Refusal::parameter(&key, &format!("'{key}' is required")))?;
        for member in ["type", "description", "displayName", "prompt"] {
            optional_text(field, member, &format!("{name}[{index}].{member}"))?;
        }
        if !seen.insert(object.get("key").and_then(Value::as_str)) {
            return Err(Refusal::parameter(&key, &format!("'{key}' is the key of another field, too")));
        }
        // Below a structure or a table.
        if let Some(nested) = array(field, "fields")? {
            self::described(nested, &format!("{name}[{index}].fields"))?;
        }
        described.push(object);
    }
    Ok(described)
}

/// A yes or no that may be left out.
pub(crate) fn flag(body: &Value, name: &str) -> Result<bool, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Refusal::parameter(name, &format!("'{name}' must be true or false"))),
    }
}

/// A list that may be left out.
fn array<'b>(body: &'b Value, name: &str) -> Result<Option<&'b [Value]>, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(array)) => Ok(Some(array)),
        Some(_) => Err(Refusal::parameter(name, &format!("'{name}' must be a list"))),
    }
}

/// A text that may be left out.
fn optional_text<'b>(value: &'b Value, member: &str, name: &str) -> Result<Option<&'b str>, Refusal> {
    match value.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::parameter(name, &format!("'{name}' must be a text"))),
    }
}
