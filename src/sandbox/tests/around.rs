//! What belongs to items: shared links, comments, collaborations, metadata, webhooks, versions; and web links.

use serde_json::json;

use super::*;

impl Bench {
    async fn made(&self, method: &str, url: &str, body: Value, status: u16) -> Value {
        let answer = self.send(method, url, body).await;
        let got = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(got, status, "{method} {url}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn file(&self) -> String {
        self.sandbox.add_file("0", "a.txt", Content::Bytes("hello".into()))
    }
}

#[tokio::test]
async fn shared_links_are_created_resolved_and_removed() {
    let bench = Bench::start().await;
    let file = format!("/2.0/files/{}", bench.file());
    let folder = format!("/2.0/folders/{}", bench.sandbox.add_folder("0", "Folder"));
    assert_eq!(json(bench.get(&file).await).await["shared_link"], Value::Null);
    let body = json!({ "shared_link": { "access": "company", "password": "secret" } });
    let link = bench.made("PUT", &file, body, 200).await["shared_link"].clone();
    let url = link["url"].as_str().unwrap();
    assert!(url.starts_with("https://app.box.com/s/"), "{link}");
    let download = link["download_url"].as_str().unwrap();
    assert!(download.starts_with("https://app.box.com/shared/static/") && download.ends_with(".txt"));
    assert_eq!((&link["effective_access"], &link["is_password_enabled"]), (&json!("company"), &json!(true)));
    assert_eq!(json(bench.get(&format!("{file}?fields=shared_link")).await).await["shared_link"], link);

    let through = async |header: String| {
        bench.request("GET", "/2.0/shared_items").header("boxapi", header).send().await.unwrap()
    };
    let refused = through(format!("shared_link={url}")).await;
    assert_eq!(json(refused).await["code"], "incorrect_shared_item_password");
    let found = json(through(format!("shared_link={url}&shared_link_password=secret")).await).await;
    assert_eq!((&found["name"], &found["shared_link"]["url"]), (&json!("a.txt"), &json!(url)));

    let open = bench.made("PUT", &folder, json!({ "shared_link": {} }), 200).await["shared_link"].clone();
    assert_eq!((&open["access"], &open["download_url"]), (&json!("open"), &Value::Null));
    let found = json(through(format!("shared_link={}", open["url"].as_str().unwrap())).await).await;
    assert_eq!((&found["type"], found["item_collection"].is_object()), (&json!("folder"), true));
    let body = json!({ "shared_link": { "permissions": { "can_download": false } } });
    let changed = bench.made("PUT", &file, body, 200).await["shared_link"].clone();
    assert_eq!((&changed["url"], &changed["access"]), (&link["url"], &json!("company")));
    assert_eq!(changed["effective_permission"], "can_preview");
    let gone = bench.made("PUT", &file, json!({ "shared_link": null }), 200).await;
    assert_eq!(gone["shared_link"], Value::Null);
    assert_eq!(through(format!("shared_link={url}")).await.status(), 404);
    assert_eq!(bench.get("/2.0/shared_items").await.status(), 400);
}

#[tokio::test]
async fn comments_are_made_answered_changed_and_deleted() {
    let bench = Bench::start().await;
    let id = bench.file();
    let on = |kind: &str, id: &str| json!({ "message": "good", "item": { "type": kind, "id": id } });
    let comment = bench.made("POST", "/2.0/comments", on("file", &id), 201).await;
    assert_eq!((&comment["item"]["id"], &comment["is_reply_comment"]), (&json!(id), &json!(false)));
    let url = format!("/2.0/comments/{}", comment["id"].as_str().unwrap());
    let reply =
        bench.made("POST", "/2.0/comments", on("comment", comment["id"].as_str().unwrap()), 201).await;
    assert_eq!(reply["is_reply_comment"], true);
    assert_eq!(bench.made("PUT", &url, json!({ "message": "better" }), 200).await["message"], "better");
    let page = json(bench.get(&format!("/2.0/files/{id}/comments?limit=1")).await).await;
    assert_eq!((&page["total_count"], &page["entries"][0]["message"]), (&json!(2), &json!("better")));
    let picked = json(bench.get(&format!("{url}?fields=tagged_message")).await).await;
    assert_eq!(picked, json!({ "type": "comment", "id": comment["id"], "tagged_message": "better" }));
    bench.made("DELETE", &url, Value::Null, 204).await;
    assert_eq!(bench.get(&url).await.status(), 404);
    bench.made("POST", "/2.0/comments", on("file", "1"), 404).await;
    bench.made("POST", "/2.0/comments", on("tiger", &id), 400).await;
    bench.made("PATCH", &url, Value::Null, 405).await;
    let events = json(bench.get("/2.0/events").await).await;
    let kinds: Vec<_> =
        events["entries"].as_array().unwrap().iter().map(|event| event["event_type"].clone()).collect();
    assert_eq!(kinds, ["ITEM_UPLOAD", "COMMENT_CREATE", "COMMENT_CREATE", "COMMENT_DELETE"]);
}

#[tokio::test]
async fn collaborations_are_stored() {
    let bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "Folder");
    let with = |who: Value| json!({ "item": { "type": "folder", "id": folder }, "accessible_by": who, "role": "editor" });
    let url = "/2.0/collaborations";
    let known = json!({ "type": "user", "id": MANAGED_USERS[0] });
    let made = bench.made("POST", url, with(known.clone()), 201).await;
    assert_eq!((&made["status"], &made["accessible_by"]["id"]), (&json!("accepted"), &known["id"]));
    assert_eq!(bench.made("POST", url, with(known.clone()), 400).await["code"], "user_already_collaborator");
    let stranger = json!({ "type": "user", "login": "new@example.com" });
    let invited = bench.made("POST", url, with(stranger), 201).await;
    assert_eq!(
        (&invited["status"], &invited["invite_email"]),
        (&json!("pending"), &json!("new@example.com"))
    );
    let pending = json(bench.get("/2.0/collaborations?status=pending").await).await;
    assert_eq!((&pending["total_count"], &pending["entries"][0]), (&json!(1), &invited));
    let list = json(bench.get(&format!("/2.0/folders/{folder}/collaborations")).await).await;
    assert_eq!(list["entries"], json!([made, invited]));
    let one = format!("{url}/{}", made["id"].as_str().unwrap());
    assert_eq!(bench.made("PUT", &one, json!({ "role": "viewer" }), 200).await["role"], "viewer");
    bench.made("PUT", &one, json!({ "role": "king" }), 400).await;
    bench.made("DELETE", &one, Value::Null, 204).await;
    assert_eq!(bench.get(&one).await.status(), 404);
    let root = json!({ "item": { "type": "folder", "id": "0" }, "accessible_by": known, "role": "editor" });
    let refused = bench.made("POST", url, root, 400).await;
    assert_eq!(refused["code"], "collaborations_not_available_on_root_folder");
    assert_eq!(bench.get(&format!("/2.0/files/{}/collaborations", bench.file())).await.status(), 200);
}

#[tokio::test]
async fn metadata_is_set_patched_and_deleted() {
    let bench = Bench::start().await;
    for item in [
        format!("/2.0/files/{}", bench.file()),
        format!("/2.0/folders/{}", bench.sandbox.add_folder("0", "Folder")),
    ] {
        let url = format!("{item}/metadata/enterprise/contract");
        assert_eq!(json(bench.get(&url).await).await["code"], "instance_not_found");
        let made = bench.made("POST", &url, json!({ "state": "draft", "pages": 3 }), 201).await;
        assert_eq!((&made["$scope"], &made["$version"]), (&json!("enterprise_123456"), &json!(0)));
        assert_eq!(bench.made("POST", &url, json!({}), 409).await["code"], "tuple_already_exists");
        let patch = |steps: Value, kind: &str| {
            bench.request("PUT", &url).header("content-type", kind).body(steps.to_string()).send()
        };
        let steps = json!([
            { "op": "test", "path": "/state", "value": "draft" },
            { "op": "replace", "path": "/state", "value": "final" },
            { "op": "remove", "path": "/pages" },
            { "op": "add", "path": "/signed", "value": "yes" },
        ]);
        assert_eq!(patch(steps.clone(), "application/json").await.unwrap().status(), 415);
        let kind = "application/json-patch+json";
        let patched = json(patch(steps.clone(), kind).await.unwrap()).await;
        assert_eq!((&patched["state"], &patched["signed"]), (&json!("final"), &json!("yes")));
        assert_eq!((&patched["$version"], patched.get("pages")), (&json!(1), None));
        assert_eq!(patch(steps, kind).await.unwrap().status(), 400);
        // By its full name it is the same.
        assert_eq!(
            json(bench.get(&format!("{item}/metadata/enterprise_123456/contract")).await).await,
            patched
        );
        bench.made("POST", &format!("{item}/metadata/global/properties"), json!({}), 201).await;
        bench.made("POST", &format!("{item}/metadata/elsewhere/x"), json!({}), 400).await;
        let list = json(bench.get(&format!("{item}/metadata")).await).await;
        assert_eq!((list["entries"].as_array().unwrap().len(), &list["limit"]), (2, &json!(100)));
        bench.made("DELETE", &url, Value::Null, 204).await;
        bench.made("DELETE", &url, Value::Null, 404).await;
    }
    bench.made("POST", "/2.0/files/1/metadata/global/properties", json!({}), 404).await;
}

#[tokio::test]
async fn webhooks_are_kept() {
    let bench = Bench::start().await;
    let target = json!({ "type": "file", "id": bench.file() });
    let body = json!({ "target": target, "address": "https://a.example/", "triggers": ["FILE.LOCKED"] });
    let made = bench.made("POST", "/2.0/webhooks", body.clone(), 201).await;
    assert_eq!((&made["target"], &made["address"]), (&target, &json!("https://a.example/")));
    bench.made("POST", "/2.0/webhooks", body, 409).await;
    let list = json(bench.get("/2.0/webhooks").await).await;
    assert_eq!(list["entries"][0], json!({ "type": "webhook", "id": made["id"], "target": target }));
    let url = format!("/2.0/webhooks/{}", made["id"].as_str().unwrap());
    let changed = bench.made("PUT", &url, json!({ "address": "https://b.example/" }), 200).await;
    assert_eq!(json(bench.get(&url).await).await, changed);
    bench.made("PUT", &url, json!({ "address": "http://b.example/" }), 400).await;
    bench.made("DELETE", &url, Value::Null, 204).await;
    assert_eq!(bench.get(&url).await.status(), 404);
}

#[tokio::test]
async fn old_versions_can_be_listed_and_fetched() {
    let bench = Bench::start().await;
    let id = bench.file();
    let old = json(bench.get(&format!("/2.0/files/{id}")).await).await["file_version"]["id"].clone();
    let form = form_data(&[("attributes", "{}"), ("file", "changed")]);
    let url = format!("{}/api/2.0/files/{id}/content", bench.sandbox.upload_url());
    let sent = bench.request("POST", &url).header("content-type", FORM_DATA).body(form).send().await.unwrap();
    assert_eq!(sent.status(), 201);
    let list = json(bench.get(&format!("/2.0/files/{id}/versions")).await).await;
    let versions = list["entries"].as_array().unwrap();
    assert_eq!((versions.len(), &versions[0]["id"], &versions[0]["size"]), (1, &old, &json!(5)));
    for (query, content) in
        [(String::new(), "changed"), (format!("?version={}", old.as_str().unwrap()), "hello")]
    {
        let redirect = bench.get(&format!("/2.0/files/{id}/content{query}")).await;
        let location = redirect.headers()["location"].to_str().unwrap();
        assert_eq!(bench.client.get(location).send().await.unwrap().text().await.unwrap(), content);
    }
}

#[tokio::test]
async fn web_links_keep_their_urls() {
    let bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "Folder");
    // Box's own address, but as data.
    let address = "https://api.box.com/2.0/files/1";
    let body = json!({ "url": address, "parent": { "id": folder }, "description": "d" });
    let made = bench.made("POST", "/2.0/web_links", body, 200).await;
    assert_eq!((&made["url"], &made["name"]), (&json!(address), &json!("api.box.com")));
    assert_eq!((&made["description"], made.get("size")), (&json!("d"), None));
    let list = json(bench.get(&format!("/2.0/folders/{folder}/items")).await).await;
    assert_eq!(
        (&list["entries"][0]["type"], &list["entries"][0]["url"]),
        (&json!("web_link"), &json!(address))
    );
    let url = format!("/2.0/web_links/{}", made["id"].as_str().unwrap());
    let changed = bench.made("PUT", &url, json!({ "url": "x:y", "name": "n", "shared_link": {} }), 200).await;
    assert_eq!((&changed["url"], &changed["name"]), (&json!("x:y"), &json!("n")));
    assert_eq!(changed["shared_link"]["download_url"], Value::Null);
    assert_eq!(json(bench.get(&url).await).await, changed);
    assert_eq!(bench.get(&url.replace("web_links", "files")).await.status(), 404);
    assert_eq!(bench.get(&url.replace("web_links", "folders")).await.status(), 404);
    bench.made("DELETE", &url, Value::Null, 204).await;
    assert_eq!(bench.get(&url).await.status(), 404);
}
