//! Box AI: requests are checked as Box checks them, and answers have Box's form. No model is used, and every answer
//! says so.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    ai_request::{self as asked, Source},
    json,
    request::ApiRequest,
};
use crate::sandbox::http::{
    request_body::RequestBody,
    response::{self, Answer, Refusal},
};

/// The beginning of every text that replaces a model's answer.
const CANNED: &str = "Canned by the boxgate sandbox, which has no AI";

/// The model's name in `ai_agent_info` and in the configuration of agents.
const MODEL: &str = "boxgate_sandbox__canned";

/// The largest number of files in one request.
const MOST_ITEMS: usize = 25;

/// Everything under `/ai`.
pub(crate) async fn answer(
    request: &ApiRequest<'_>,
    segments: &[&str],
    body: &mut RequestBody,
) -> Result<Answer, Refusal> {
    match (request.head.method.as_str(), segments) {
        ("POST", ["ask"]) => ask(request, &body.json().await?),
        ("POST", ["text_gen"]) => text_gen(request, &body.json().await?),
        ("POST", ["extract"]) => extract(request, &body.json().await?),
        ("POST", ["extract_structured"]) => extract_structured(request, &body.json().await?),
        (_, ["ask" | "text_gen" | "extract" | "extract_structured"]) => Err(Refusal::method_not_allowed()),
        _ => Err(Refusal::not_found()),
    }
}

fn ask(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    let most = match super::fields::text(body, "/mode")? {
        "single_item_qa" => 1,
        "multiple_item_qa" => MOST_ITEMS,
        other => {
            let message =
                format!("Invalid value '{other}'. It must be one of: multiple_item_qa, single_item_qa");
            return Err(Refusal::parameter("mode", &message));
        }
    };
    let prompt = asked::prompt(body)?;
    asked::dialogue_history(body)?;
    asked::agent(body, "ai_agent_ask")?;
    let with_citations = asked::flag(body, "include_citations")?;
    let sources = asked::sources(request, body, most, &["file", "hubs"])?;
    let text = format!("{CANNED}. It was asked about {}: {prompt}", names(&sources));
    let mut answer = answered(json!(text));
    if with_citations {
        let citation = |source: &Source| {
            let Source { id, name, excerpt } = source;
            json!({ "type": "file", "id": id, "name": name, "content": excerpt })
        };
        set(&mut answer, "citations", sources.iter().map(citation).collect());
    }
    Ok(response::json(StatusCode::OK, &answer))
}

fn text_gen(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    let prompt = asked::prompt(body)?;
    asked::dialogue_history(body)?;
    asked::agent(body, "ai_agent_text_gen")?;
    let sources = asked::sources(request, body, 1, &["file"])?;
    let text = format!("{CANNED}. It was to write with the help of {}: {prompt}", names(&sources));
    Ok(response::json(StatusCode::OK, &answered(json!(text))))
}

/// The answer is JSON as a string.
fn extract(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    let prompt = asked::prompt(body)?;
    asked::agent(body, "ai_agent_extract")?;
    let sources = asked::sources(request, body, MOST_ITEMS, &["file"])?;
    let extracted = json!({ "note": CANNED, "items": names(&sources), "prompt": prompt });
    Ok(response::json(StatusCode::OK, &answered(json!(extracted.to_string()))))
}

/// A value for each field. The sandbox does not know templates' fields, so nothing is extracted for a template.
fn extract_structured(request: &ApiRequest<'_>, body: &Value) -> Result<Answer, Refusal> {
    asked::agent(body, "ai_agent_extract_structured")?;
    let fields = asked::wanted_fields(body)?;
    let with_scores = asked::flag(body, "include_confidence_score")?;
    let with_references = asked::flag(body, "include_reference")?;
    asked::sources(request, body, MOST_ITEMS, &["file"])?;
    let mut answer = answered(values(&fields));
    if with_scores {
        // A number from 0 to 1, and LOW, MEDIUM or HIGH (Box, Metadata confidence level).
        let score = |field: &&Map<String, Value>| (key(field), json!({ "level": "LOW", "score": 0.0 }));
        set(&mut answer, "confidence_score", Value::Object(fields.iter().map(score).collect()));
    }
    if with_references {
        // Nothing was found anywhere.
        set(&mut answer, "reference", json!({}));
    }
    Ok(response::json(StatusCode::OK, &answer))
}

/// The configuration of the agent that answers if a request names none.
pub(crate) fn default_agent(request: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let mode = request.query.get("mode").filter(|mode| !mode.is_empty());
    let mode = mode.ok_or_else(|| Refusal::parameter("mode", "'mode' is required"))?;
    let model = request.query.get("model").filter(|model| !model.is_empty()).unwrap_or(MODEL);
    let tools: &[&str] = match mode {
        "ask" => &[
            "long_text",
            "basic_text",
            "spreadsheet",
            "long_text_multi",
            "basic_text_multi",
            "basic_image",
            "basic_image_multi",
        ],
        "text_gen" => &["basic_gen"],
        "extract" | "extract_structured" => &["long_text", "basic_text", "basic_image"],
        other => {
            let message = format!(
                "Invalid value '{other}'. It must be one of: ask, text_gen, extract, extract_structured"
            );
            return Err(Refusal::parameter("mode", &message));
        }
    };
    let mut agent = json!({ "type": format!("ai_agent_{mode}") });
    for name in tools {
        set(&mut agent, name, tool(name, model));
    }
    Ok(response::json(StatusCode::OK, &agent))
}

/// One way in which an agent works (OpenAPI, schemas `AiAgentBasicTextTool`, `AiAgentLongTextTool`,
/// `AiAgentBasicGenTool`, `AiAgentSpreadsheetTool`).
fn tool(name: &str, model: &str) -> Value {
    let mut tool = json!({
        "model": model,
        "num_tokens_for_completion": 8400,
        "llm_endpoint_params": { "type": "openai_params", "temperature": 0.0, "top_p": 1.0 },
    });
    if name != "spreadsheet" {
        set(&mut tool, "system_message", json!(format!("{CANNED}.")));
        set(&mut tool, "prompt_template", json!("{user_question}: {content}"));
    }
    if name.starts_with("long_text") || name == "basic_gen" {
        let strategy = json!({ "id": "basic", "num_tokens_per_chunk": 64 });
        set(&mut tool, "embeddings", json!({ "model": model, "strategy": strategy }));
    }
    if name == "basic_gen" {
        set(&mut tool, "content_template", json!("---{content}---"));
    }
    tool
}

fn answered(answer: Value) -> Value {
    json!({
        "answer": answer,
        "created_at": json::stamp(Timestamp::now()),
        "completion_reason": "done",
        "ai_agent_info": {
            "processor": "basic_text",
            "models": [{ "name": MODEL, "provider": "boxgate_sandbox", "supported_purpose": "canned" }],
        },
    })
}

/// A value for each of these fields, of its type.
fn values(fields: &[&Map<String, Value>]) -> Value {
    Value::Object(fields.iter().map(|field| (key(field), value(field))).collect())
}

fn value(field: &Map<String, Value>) -> Value {
    let members =
        |name: &str| field.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let option = || members("options").first().and_then(|option| option.get("key")).cloned();
    let text = || json!(format!("{CANNED}: {}", key(field)));
    let nested = || {
        let nested: Vec<&Map<String, Value>> =
            members("fields").iter().filter_map(Value::as_object).collect();
        values(&nested)
    };
    match field.get("type").and_then(Value::as_str).unwrap_or_default() {
        "float" | "number" | "integer" => json!(0),
        "date" => json!("1970-01-01"),
        "enum" => option().unwrap_or_else(text),
        "multiSelect" => json!([option().unwrap_or_else(text)]),
        "struct" => nested(),
        "table" => json!([nested()]),
        _ => text(),
    }
}

fn key(field: &Map<String, Value>) -> String {
    field.get("key").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn names(sources: &[Source]) -> String {
    sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn set(value: &mut Value, name: &str, member: Value) {
    if let Some(object) = value.as_object_mut() {
        object.insert(name.to_owned(), member);
    }
}
