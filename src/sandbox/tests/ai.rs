//! Box AI: requests are checked as by Box, answers are canned.

use serde_json::json;

use super::*;

impl Bench {
    async fn ai(&self, operation: &str, body: &Value) -> (u16, Value) {
        let answer = self.send("POST", &format!("/2.0/ai/{operation}"), body.clone()).await;
        (answer.status().as_u16(), json(answer).await)
    }

    /// Two files, as `items` names them.
    fn two_files(&self) -> [Value; 2] {
        ["a.txt", "b.txt"].map(|name| {
            let id = self.sandbox.add_file("0", name, Content::Bytes(format!("text of {name}").into()));
            json!({ "type": "file", "id": id })
        })
    }
}

const OPERATIONS: [&str; 4] = ["ask", "text_gen", "extract", "extract_structured"];

/// A good request; all the operations take it, each its own part.
fn good(items: &[Value]) -> Value {
    json!({
        "mode": "single_item_qa",
        "prompt": "What is it about?",
        "items": items,
        "fields": [{ "key": "vendor" }],
    })
}

#[tokio::test]
async fn answers_have_boxs_form_and_say_that_they_are_canned() {
    let bench = Bench::start().await;
    let [one, other] = bench.two_files();
    for operation in OPERATIONS {
        let (status, answer) = bench.ai(operation, &good(std::slice::from_ref(&one))).await;
        assert_eq!((status, &answer["completion_reason"]), (200, &json!("done")), "{operation}: {answer}");
        assert!(answer["created_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{answer}");
        assert_eq!(answer["ai_agent_info"]["models"][0]["name"], "boxgate_sandbox__canned");
        let said = &answer["answer"];
        assert!(said.to_string().contains("Canned by the boxgate sandbox, which has no AI"), "{said}");
        assert_eq!(said.is_object(), operation == "extract_structured", "{said}");
        if operation == "extract" {
            let extracted: Value = serde_json::from_str(said.as_str().unwrap()).unwrap();
            assert_eq!(
                (&extracted["items"], &extracted["prompt"]),
                (&json!("a.txt"), &json!("What is it about?"))
            );
        }
    }
    let mut about_both = good(&[one.clone(), other]);
    about_both["mode"] = json!("multiple_item_qa");
    about_both["include_citations"] = json!(true);
    about_both["items"][1]["content"] = json!("another text");
    about_both["dialogue_history"] =
        json!([{ "prompt": "p", "answer": "a", "created_at": "2024-01-01T00:00:00Z" }]);
    about_both["ai_agent"] = json!({ "type": "ai_agent_id", "id": "14031" });
    let (_, answer) = bench.ai("ask", &about_both).await;
    assert!(answer["answer"].as_str().unwrap().contains("a.txt, b.txt: What is it about?"), "{answer}");
    let citation = json!({ "type": "file", "id": one["id"], "name": "a.txt", "content": "text of a.txt" });
    assert_eq!((&answer["citations"][0], answer["citations"].as_array().unwrap().len()), (&citation, 2));
    assert_eq!(answer["citations"][1]["content"], "another text");
}

#[tokio::test]
async fn structured_answers_have_a_value_of_its_type_for_each_field() {
    let bench = Bench::start().await;
    let [file, _] = bench.two_files();
    let option = |key: &str| json!({ "key": key });
    let ask = json!({
        "items": [file],
        "fields": [
            { "key": "name", "type": "string", "displayName": "Name", "description": "d", "prompt": "p" },
            { "key": "amount", "type": "float" },
            { "key": "day", "type": "date" },
            { "key": "state", "type": "enum", "options": [option("open"), option("closed")] },
            { "key": "tags", "type": "multiSelect", "options": [option("red")] },
            { "key": "party", "type": "struct", "fields": [{ "key": "city", "type": "string" }] },
            { "key": "lines", "type": "table", "fields": [{ "key": "count", "type": "float" }] },
        ],
        "include_confidence_score": true,
        "include_reference": true,
        "ai_agent": { "type": "ai_agent_id", "id": "enhanced_extract_agent" },
    });
    let (status, answer) = bench.ai("extract_structured", &ask).await;
    assert_eq!(status, 200, "{answer}");
    let canned = |key: &str| json!(format!("Canned by the boxgate sandbox, which has no AI: {key}"));
    let want = json!({
        "name": canned("name"),
        "amount": 0,
        "day": "1970-01-01",
        "state": "open",
        "tags": ["red"],
        "party": { "city": canned("city") },
        "lines": [{ "count": 0 }],
    });
    assert_eq!(answer["answer"], want);
    assert_eq!(answer["confidence_score"]["lines"], json!({ "level": "LOW", "score": 0.0 }));
    assert_eq!(
        (answer["confidence_score"].as_object().unwrap().len(), &answer["reference"]),
        (7, &json!({}))
    );
    let template =
        json!({ "type": "metadata_template", "scope": "enterprise_123456", "template_key": "invoice" });
    let (status, answer) =
        bench.ai("extract_structured", &json!({ "items": [file], "metadata_template": template })).await;
    assert_eq!((status, &answer["answer"], answer.get("reference")), (200, &json!({}), None));
}

#[tokio::test]
async fn what_box_would_refuse_is_refused_by_name() {
    let bench = Bench::start().await;
    let [one, other] = bench.two_files();
    let long = "x".repeat(10_001);
    let both = json!([one, other]);
    let missing: Value = Value::Null;
    // Operation, member, its value, the parameter that the error names.
    let cases = [
        ("ask", "mode", missing.clone(), "mode"),
        ("ask", "mode", json!("guess"), "mode"),
        ("ask", "items", both.clone(), "items"),
        ("ask", "include_citations", json!("yes"), "include_citations"),
        ("ask", "ai_agent", json!({ "type": "ai_agent_text_gen" }), "ai_agent.type"),
        ("ask", "ai_agent", json!({ "type": "ai_agent_id" }), "ai_agent.id"),
        ("ask", "dialogue_history", json!({}), "dialogue_history"),
        ("ask", "dialogue_history", json!([{ "prompt": 1 }]), "dialogue_history[0].prompt"),
        ("text_gen", "items", both, "items"),
        ("text_gen", "items", json!([{ "type": "hubs", "id": "1" }]), "items[0].type"),
        ("extract", "items", json!([one, one]), "items"),
        ("extract", "items", json!([{ "type": "file", "id": one["id"], "content": 1 }]), "items[0].content"),
        ("extract_structured", "fields", missing.clone(), "fields"),
        ("extract_structured", "fields", json!([]), "fields"),
        ("extract_structured", "fields", json!([{ "type": "string" }]), "fields[0].key"),
        ("extract_structured", "fields", json!([{ "key": "a" }, { "key": "a" }]), "fields[1].key"),
        ("extract_structured", "fields", json!([{ "key": "a", "type": 1 }]), "fields[0].type"),
        ("extract_structured", "fields", json!([{ "key": "a", "fields": [{}] }]), "fields[0].fields[0].key"),
        ("extract_structured", "metadata_template", json!({ "type": "metadata_template" }), "fields"),
        ("extract_structured", "include_reference", json!(1), "include_reference"),
    ];
    let everywhere = OPERATIONS.into_iter().flat_map(|operation| {
        let mut cases = vec![
            (operation, "items", missing.clone(), "items"),
            (operation, "items", json!({}), "items"),
            (operation, "items", json!([]), "items"),
            (operation, "items", json!(vec![one.clone(); 26]), "items"),
            (operation, "items", json!([{ "type": "file" }]), "items[0].id"),
            (operation, "items", json!([{ "id": "1" }]), "items[0].type"),
            (operation, "items", json!([{ "type": "folder", "id": "0" }]), "items[0].type"),
        ];
        if operation != "extract_structured" {
            cases.extend([
                (operation, "prompt", missing.clone(), "prompt"),
                (operation, "prompt", json!(" "), "prompt"),
                (operation, "prompt", json!(7), "prompt"),
                (operation, "prompt", json!(long), "prompt"),
            ]);
        }
        cases
    });
    for (operation, member, value, name) in cases.into_iter().chain(everywhere.collect::<Vec<_>>()) {
        let mut body = good(std::slice::from_ref(&one));
        body[member] = value;
        let (status, error) = bench.ai(operation, &body).await;
        let named = &error["context_info"]["errors"][0]["name"];
        assert_eq!(
            (status, &error["code"], named),
            (400, &json!("bad_request"), &json!(name)),
            "{operation} {member}: {error}"
        );
    }
    let neither =
        json!({ "items": [one], "metadata_template": { "type": "metadata_template", "scope": "global" } });
    let (_, error) = bench.ai("extract_structured", &neither).await;
    assert_eq!(error["context_info"]["errors"][0]["name"], "metadata_template.template_key");
    let malformed = bench.request("POST", "/2.0/ai/ask").body("{").send().await.unwrap();
    assert_eq!(malformed.status(), 400);
}

#[tokio::test]
async fn unknown_files_and_files_in_the_trash_are_not_found() {
    let bench = Bench::start().await;
    let [one, _] = bench.two_files();
    let unknown = json!({ "type": "file", "id": "17" });
    for operation in OPERATIONS {
        let (status, error) = bench.ai(operation, &good(std::slice::from_ref(&unknown))).await;
        assert_eq!((status, &error["code"]), (404, &json!("not_found")), "{operation}: {error}");
    }
    let hub = json!({ "type": "hubs", "id": "17" });
    assert_eq!(bench.ai("ask", &good(&[hub])).await.0, 404);
    let url = format!("/2.0/files/{}", one["id"].as_str().unwrap());
    assert_eq!(bench.request("DELETE", &url).send().await.unwrap().status(), 204);
    let (status, error) = bench.ai("ask", &good(&[one])).await;
    assert_eq!((status, &error["code"]), (404, &json!("trashed")));
    for (method, url, status) in [("GET", "/2.0/ai/ask", 405), ("POST", "/2.0/ai/guess", 404)] {
        assert_eq!(bench.request(method, url).body("{}").send().await.unwrap().status(), status, "{url}");
    }
}

#[tokio::test]
async fn each_mode_has_a_default_agent() {
    let bench = Bench::start().await;
    let url = "/2.0/ai_agent_default";
    for (mode, tool) in [
        ("ask", "long_text_multi"),
        ("text_gen", "basic_gen"),
        ("extract", "basic_image"),
        ("extract_structured", "basic_text"),
    ] {
        let agent = json(bench.get(&format!("{url}?mode={mode}&language=ja")).await).await;
        assert_eq!(agent["type"], format!("ai_agent_{mode}"));
        assert_eq!(agent[tool]["model"], "boxgate_sandbox__canned", "{agent}");
    }
    let chosen = json(bench.get(&format!("{url}?mode=ask&model=azure__openai__gpt_4o_mini")).await).await;
    assert_eq!(chosen["long_text"]["embeddings"]["model"], "azure__openai__gpt_4o_mini");
    assert_eq!(bench.get(url).await.status(), 400);
    assert_eq!(bench.get(&format!("{url}?mode=guess")).await.status(), 400);
    assert_eq!(bench.request("DELETE", url).send().await.unwrap().status(), 405);
}
