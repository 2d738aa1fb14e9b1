//! Calls that the gateway refuses, at each stage, have a line with what was known by then.

use boxgate::sandbox::TokenAnswer;

use super::*;

/// Sends a DELETE of this file with these fields, and returns its line.
async fn refused(more: &str, fields: &[(&str, &str)]) -> Value {
    let bench = bench(more).await;
    refused_at(&bench, fields).await
}

async fn refused_at(bench: &Bench, fields: &[(&str, &str)]) -> Value {
    let mut request = bench.client.delete(bench.url("/2.0/files/17"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let line = lines(bench, 1).await.remove(0);
    assert_eq!(line["status"], answer.status().as_u16());
    assert_eq!(line["code"], json(answer).await["code"]);
    assert_eq!(json!([line["attempts"], line["box_status"], line["box_request_id"]]), json!([0, null, null]));
    assert_eq!(line["end"], "complete");
    line
}

/// What is known of the operation, and what of the caller.
fn known(line: &Value) -> (Value, Value) {
    let of_operation = json!([line["operation"], line["group"], line["targets"]]);
    (of_operation, json!([line["code"], line["app"], line["identity"], line["as_user"]]))
}

fn operation() -> Value {
    json!(["DELETE /2.0/files/*", "delete", ["17"]])
}

#[tokio::test]
async fn of_the_caller() {
    for (more, fields, wanted) in [
        (
            "[listen]\naddress = \"127.0.0.1:0\"\nsources = [\"10.0.0.0/8\"]\n",
            &[][..],
            json!(["source_not_allowed", null, null, null]),
        ),
        ("", &[("Host", "evil.example")], json!(["host_not_allowed", null, null, null])),
        (
            "[[app]]\nname = \"a\"\nkey = \"a-key-of-some-length\"\n",
            &[("X-Boxgate-Key", "another-key-of-length")],
            json!(["caller_not_allowed", null, null, null]),
        ),
        ("[[app]]\nname = \"a\"\npath = \"/a\"\n", &[], json!(["no_such_app", null, null, null])),
        ("[[app]]\nname = \"a\"\nenabled = false\n", &[], json!(["app_disabled", "a", "service", null])),
        (
            "[[app]]\nname = \"a\"\nrequire_header = \"X-Mine\"\n",
            &[],
            json!(["caller_not_allowed", "a", "service", null]),
        ),
    ] {
        let line = refused(more, fields).await;
        assert_eq!(known(&line), (operation(), wanted), "{more}");
        assert_eq!(line["client"], "127.0.0.1");
    }
}

#[tokio::test]
async fn of_rules_limits_and_budgets() {
    for (more, fields, wanted) in [
        (
            "[[app]]\nname = \"a\"\ndeny = [\"delete\"]\n",
            &[][..],
            json!(["operation_not_allowed", "a", "service", null]),
        ),
        (
            "[[app]]\nname = \"a\"\n",
            &[("As-User", "11446498")],
            json!(["as_user_not_allowed", "a", "service", "11446498"]),
        ),
        (
            "[[budget]]\nname = \"none\"\nkey = \"global\"\ncalls = 1\n",
            &[],
            json!(["budget_spent", "default", "service", null]),
        ),
        (
            "[[limit]]\nname = \"few\"\nkey = \"global\"\nrate = \"1/h\"\n",
            &[],
            json!(["rate_limit_exceeded", "default", "service", null]),
        ),
    ] {
        let bench = bench(more).await;
        // Uses up limit and budget.
        assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
        let line = refused_at(&bench, fields).await;
        assert_eq!(known(&line), (operation(), wanted), "{more}");
    }
}

#[tokio::test]
async fn of_a_token_that_box_does_not_give() {
    let bench = Bench::with(ON).await;
    bench.until_ready().await;
    bench.sandbox.token_always(Some(TokenAnswer::refuse("invalid_client", "no")));
    bench.sandbox.expire_tokens();
    // The 401 retires the token; the next one is refused.
    bench.get("/2.0/users/me").await;
    let line = refused_at(&bench, &[]).await;
    assert_eq!(known(&line), (operation(), json!(["credentials_refused", "default", "service", null])));
}

/// Any web page could otherwise write into the log by way of a person's browser.
#[tokio::test]
async fn the_path_of_a_page_that_may_not_call_stays_out() {
    let line = refused("", &[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")]).await;
    assert_eq!(known(&line).0, json!([null, null, []]));
    assert_eq!(json!([line["code"], line["method"]]), json!(["origin_not_allowed", "DELETE"]));
}

#[tokio::test]
async fn a_url_that_is_its_own_credential_stays_out() {
    let bench = bench("").await;
    let url = bench.url("/_box/dl.boxcloud.com/canary-of-a-pre-signed-url/content");
    let answer = bench.client.post(url).send().await.unwrap();
    assert!(answer.status().is_client_error());
    let line = lines(&bench, 1).await.remove(0);
    assert_eq!(json!([line["operation"], line["method"]]), json!([null, "POST"]));
    assert!(!text(&bench.state).contains("canary"));
}

/// Its method alone tells what it may have been meant to do.
#[tokio::test]
async fn a_request_for_nothing_of_boxs_has_a_line_only_where_it_is_refused() {
    let key = "a-key-of-some-length";
    let bench = bench(&format!("[[app]]\nname = \"a\"\nkey = \"{key}\"\n")).await;
    for (path, with_key, wanted) in [
        ("/oauth2/token", true, None),
        ("/oauth2/revoke", true, None),
        ("/oauth2/token", false, Some("caller_not_allowed")),
        ("/oauth2/revoke", false, Some("caller_not_allowed")),
        ("/nowhere", true, Some("not_found")),
    ] {
        let mut request = bench.client.post(bench.url(path));
        if with_key {
            request = request.header("X-Boxgate-Key", key);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().is_success(), wanted.is_none(), "{path}");
        if let Some(code) = wanted {
            assert_eq!(json(answer).await["code"], code, "{path}");
        }
    }
    for line in lines(&bench, 3).await {
        assert_eq!(json!([line["operation"], line["attempts"]]), json!([null, 0]), "{line}");
    }
}
