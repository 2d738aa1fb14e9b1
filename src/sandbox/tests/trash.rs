//! Deleted items: hidden everywhere but in the trash, restored, or deleted permanently.

use serde_json::json;

use super::*;

const ITEMS: &str = "/2.0/folders/trash/items";

impl Bench {
    /// Status, and code or name.
    async fn outcome(&self, method: &str, url: &str, body: Value) -> (u16, String) {
        let answer = self.send(method, url, body).await;
        let status = answer.status().as_u16();
        let value: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
        let said = value.get("code").or_else(|| value.get("name")).and_then(Value::as_str);
        (status, said.unwrap_or_default().to_owned())
    }

    async fn names(&self, url: &str) -> Vec<String> {
        let list = json(self.get(url).await).await;
        let entries = list["entries"].as_array().unwrap_or_else(|| panic!("{url}: {list}"));
        entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    }

    async fn web_link(&self, name: &str) -> String {
        let body = json!({ "url": "https://a.example/", "name": name, "parent": { "id": "0" } });
        json(self.send("POST", "/2.0/web_links", body).await).await["id"].as_str().unwrap().to_owned()
    }
}

fn said(status: u16, text: &str) -> (u16, String) {
    (status, text.to_owned())
}

#[tokio::test]
async fn files_folders_and_web_links_go_to_the_trash_and_come_back() {
    let bench = Bench::start().await;
    let urls = [
        format!("/2.0/files/{}", bench.sandbox.add_file("0", "one", Content::Bytes("hello".into()))),
        format!("/2.0/folders/{}", bench.sandbox.add_folder("0", "two")),
        format!("/2.0/web_links/{}", bench.web_link("three").await),
    ];
    for url in &urls {
        let trash = format!("{url}/trash");
        let before = json(bench.get(url).await).await;
        let name = before["name"].as_str().unwrap();
        for (method, of) in [("GET", &trash), ("DELETE", &trash), ("POST", url)] {
            assert_eq!(bench.outcome(method, of, json!({})).await, said(404, "not_trashed"), "{method} {of}");
        }
        assert_eq!(bench.send("DELETE", url, Value::Null).await.status(), 204);
        for method in ["GET", "PUT", "DELETE"] {
            assert_eq!(bench.outcome(method, url, json!({})).await, said(404, "trashed"), "{method} {url}");
        }

        let trashed = json(bench.get(&trash).await).await;
        for same in ["id", "type", "name", "etag", "created_by", "parent", "size", "sha1"] {
            assert_eq!(trashed.get(same), before.get(same), "{same} of {trashed}");
        }
        assert_eq!((&trashed["item_status"], &before["item_status"]), (&json!("trashed"), &json!("active")));
        let at = |name: &str| trashed[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(at("purged_at").duration_since(at("trashed_at")).as_hours(), 30 * 24);
        let path =
            json!([{ "type": "folder", "id": "1", "sequence_id": null, "etag": null, "name": "Trash" }]);
        assert_eq!((&trashed["path_collection"]["entries"], trashed.get("item_collection")), (&path, None));
        let picked = json(bench.get(&format!("{trash}?fields=name,item_status")).await).await;
        let wanted = ["etag", "id", "item_status", "name", "type"];
        assert_eq!(picked.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(), wanted);

        // SDKs send `{}`; an empty body is accepted too.
        let restored = bench.request("POST", url).send().await.unwrap();
        assert_eq!(restored.status(), 201, "{url}");
        let restored = json(restored).await;
        for same in ["id", "name", "etag", "parent", "item_status", "path_collection", "trashed_at"] {
            assert_eq!(restored[same], before[same], "{same}");
        }
        assert_eq!(bench.outcome("GET", url, Value::Null).await, said(200, name));

        assert_eq!(bench.send("DELETE", url, Value::Null).await.status(), 204);
        assert_eq!(bench.send("DELETE", &trash, Value::Null).await.status(), 204);
        for (method, of) in [("GET", url), ("POST", url), ("GET", &trash), ("DELETE", &trash)] {
            assert_eq!(bench.outcome(method, of, json!({})).await, said(404, "not_found"), "{method} {of}");
        }
        assert_eq!(bench.outcome("PATCH", &trash, json!({})).await, said(405, "method_not_allowed"));
    }
    let events = json(bench.get("/2.0/events").await).await;
    let kinds =
        events["entries"].as_array().unwrap().iter().map(|event| event["event_type"].as_str().unwrap());
    let restored = kinds.filter(|kind| *kind == "ITEM_UNDELETE_VIA_TRASH").count();
    assert_eq!(restored, 3);
}

#[tokio::test]
async fn deleted_items_are_found_only_in_the_trash() {
    let bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "papers");
    let file = bench.sandbox.add_file(&folder, "paper.txt", Content::Bytes("hello".into()));
    let about_file = json!({ "item": { "type": "file", "id": file } });
    let mut comment = about_file.clone();
    comment["message"] = json!("good");
    let comment = json(bench.send("POST", "/2.0/comments", comment).await).await;
    let mut invited = about_file;
    (invited["role"], invited["accessible_by"]) =
        (json!("editor"), json!({ "type": "user", "login": "new@example.com" }));
    let invited = json(bench.send("POST", "/2.0/collaborations", invited).await).await;
    let shared = json!({ "shared_link": {} });
    let shared = json(bench.send("PUT", &format!("/2.0/files/{file}"), shared).await).await;
    let content = format!("{}/api/2.0/files/{file}/content", bench.sandbox.download_url());
    let link = shared["shared_link"]["url"].as_str().unwrap();
    let through_link = async || {
        let request =
            bench.request("GET", "/2.0/shared_items").header("boxapi", format!("shared_link={link}"));
        request.send().await.unwrap().status().as_u16()
    };
    let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
    let comment = format!("/2.0/comments/{}", id(&comment));
    let invited = format!("/2.0/collaborations/{}", id(&invited));
    let reached = async || {
        let urls = [
            &format!("/2.0/files/{file}"),
            &format!("/2.0/files/{file}/content"),
            &format!("/2.0/files/{file}/versions"),
            &format!("/2.0/files/{file}/comments"),
            &format!("/2.0/files/{file}/collaborations"),
            &format!("/2.0/files/{file}/metadata"),
            &format!("/2.0/files/{file}/thumbnail.png"),
            &content,
            &comment,
            &invited,
        ];
        let mut found = vec![through_link().await];
        for url in urls {
            found.push(bench.get(url).await.status().as_u16());
        }
        found
    };
    let before = reached().await;
    assert!(before.iter().all(|status| *status < 400), "{before:?}");

    let url = format!("/2.0/folders/{folder}");
    assert_eq!(bench.outcome("DELETE", &url, Value::Null).await, said(400, "folder_not_empty"));
    assert_eq!(bench.send("DELETE", &format!("{url}?recursive=true"), Value::Null).await.status(), 204);
    let after = reached().await;
    assert!(after.iter().all(|status| *status == 404), "{after:?}");
    assert_eq!(bench.names("/2.0/folders/0/items").await, Vec::<String>::new());
    assert_eq!(bench.names("/2.0/search?query=paper").await, Vec::<String>::new());
    assert_eq!(bench.names("/2.0/search?query=paper&trash_content=trashed_only").await, ["papers"]);
    assert_eq!(json(bench.get("/2.0/collaborations?status=pending").await).await["total_count"], 0);
    for (parent, id) in [("parent", &folder), ("folder_id", &folder)] {
        let (url, body) = match parent {
            "parent" => ("/2.0/folders".to_owned(), json!({ "name": "new", "parent": { "id": id } })),
            _ => (
                bench.sandbox.upload_url() + "/api/2.0/files/upload_sessions",
                json!({ "file_name": "new", "file_size": 30_000_000, "folder_id": id }),
            ),
        };
        assert_eq!(bench.outcome("POST", &url, body).await, said(404, "trashed"));
    }
    // Only the folder was deleted itself (OpenAPI, `GET /files/{file_id}/trash`).
    assert_eq!(bench.names(ITEMS).await, ["papers"]);
    assert_eq!(json(bench.get(&format!("{url}/trash")).await).await["size"], 5);
    let below = format!("/2.0/files/{file}");
    for (method, of) in [("GET", &format!("{below}/trash")), ("POST", &below)] {
        assert_eq!(bench.outcome(method, of, json!({})).await, said(404, "not_found"));
    }
    // Its name is free meanwhile.
    let again = bench.sandbox.add_folder("0", "papers");
    assert_eq!(bench.outcome("POST", &url, json!({})).await, said(409, "item_name_in_use"));
    assert_eq!(bench.send("DELETE", &format!("/2.0/folders/{again}"), Value::Null).await.status(), 204);

    assert_eq!(bench.outcome("POST", &url, json!({})).await, said(201, "papers"));
    // The link is active again, and what belongs to the file is there.
    assert_eq!(reached().await, before);
}

#[tokio::test]
async fn a_restored_item_gets_another_name_or_parent_only_if_necessary() {
    let bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "old");
    let file = bench.sandbox.add_file(&folder, "a.txt", Content::Bytes("hello".into()));
    let other = bench.sandbox.add_folder("0", "other");
    let url = format!("/2.0/files/{file}");
    let delete = async |url: &str| {
        assert_eq!(bench.send("DELETE", url, Value::Null).await.status(), 204, "{url}");
    };
    let to_other = json!({ "parent": { "id": other } });

    // The folder is still there: the parent is for when it is not (OpenAPI, `POST /files/{file_id}`).
    delete(&url).await;
    let restored = json(bench.send("POST", &url, to_other.clone()).await).await;
    assert_eq!((&restored["parent"]["id"], &restored["name"]), (&json!(folder), &json!("a.txt")));

    delete(&url).await;
    let taken = bench.sandbox.add_file(&folder, "A.TXT", Content::Zeros(1));
    let conflict = bench.send("POST", &url, json!({})).await;
    assert_eq!(conflict.status(), 409);
    assert_eq!(json(conflict).await["context_info"]["conflicts"]["id"], json!(taken));
    assert_eq!(bench.outcome("POST", &url, json!({ "name": "a/b" })).await, said(400, "item_name_invalid"));
    assert_eq!(bench.names(ITEMS).await, ["a.txt"], "a restore that is refused leaves it where it is");
    let renamed = json(bench.send("POST", &url, json!({ "name": "b.txt" })).await).await;
    assert_eq!((&renamed["name"], &renamed["etag"]), (&json!("b.txt"), &json!("1")));

    // A file, and then the folder that it was in.
    delete(&url).await;
    delete(&format!("/2.0/folders/{folder}?recursive=true")).await;
    assert_eq!(bench.names(ITEMS).await, ["old", "b.txt"]);
    assert_eq!(bench.outcome("POST", &url, json!({})).await, said(404, "trashed"));
    let gone = json!({ "parent": { "id": "17" } });
    assert_eq!(bench.outcome("POST", &url, gone).await, said(404, "not_found"));
    let moved = json(bench.send("POST", &url, to_other).await).await;
    assert_eq!((&moved["parent"]["id"], &moved["parent"]["name"]), (&json!(other), &json!("other")));

    // Permanent deletion of a folder includes its items, except those that were deleted before it.
    delete(&url).await;
    delete(&format!("/2.0/folders/{other}")).await;
    delete(&format!("/2.0/folders/{other}/trash")).await;
    delete(&format!("/2.0/folders/{folder}/trash")).await;
    assert_eq!(bench.names(ITEMS).await, ["b.txt"]);
    assert_eq!(
        bench.outcome("GET", &format!("/2.0/files/{taken}"), Value::Null).await,
        said(404, "not_found")
    );
    assert_eq!(bench.outcome("POST", &url, json!({})).await, said(404, "not_found"));
    let root = json!({ "parent": { "id": "0" } });
    assert_eq!(bench.outcome("POST", &url, root).await, said(201, "b.txt"));
    assert_eq!(bench.outcome("DELETE", "/2.0/folders/0", Value::Null).await.0, 403);
}

#[tokio::test]
async fn the_trash_is_listed_by_offset_and_by_marker() {
    let bench = Bench::start().await;
    assert_eq!(json(bench.get(ITEMS).await).await["total_count"], 0);
    bench.web_link("Link").await;
    for (name, size) in [("b", 3), ("a", 2), ("C", 1)] {
        bench.sandbox.add_file("0", name, Content::Zeros(size));
    }
    bench.sandbox.add_folder("0", "Z");
    let all = json(bench.get("/2.0/folders/0/items").await).await["entries"].clone();
    for item in all.as_array().unwrap() {
        let (kind, id) = (item["type"].as_str().unwrap(), item["id"].as_str().unwrap());
        assert_eq!(
            bench.request("DELETE", &format!("/2.0/{kind}s/{id}")).send().await.unwrap().status(),
            204
        );
    }
    for (query, names) in [
        ("", &["Z", "a", "b", "C", "Link"][..]),
        ("?sort=name&direction=DESC", &["Z", "C", "b", "a", "Link"]),
        ("?sort=size", &["Z", "C", "a", "b", "Link"]),
        ("?sort=size&direction=DESC", &["Z", "b", "a", "C", "Link"]),
        ("?sort=date", &["Z", "b", "a", "C", "Link"]),
        ("?limit=2&offset=3", &["C", "Link"]),
        ("?offset=5", &[]),
    ] {
        assert_eq!(bench.names(&format!("{ITEMS}{query}")).await, names, "{query}");
    }
    let list = json(bench.get(&format!("{ITEMS}?limit=1&offset=1&fields=size,trashed_at")).await).await;
    assert_eq!((&list["total_count"], &list["limit"], &list["offset"]), (&json!(5), &json!(1), &json!(1)));
    let entry = &list["entries"][0];
    assert!(entry["size"] == 2 && entry["trashed_at"].is_string() && entry.get("name").is_none(), "{entry}");

    let (mut marker, mut names) = (String::new(), Vec::new());
    loop {
        let page = json(bench.get(&format!("{ITEMS}?usemarker=true&limit=2&marker={marker}")).await).await;
        names.extend(page["entries"].as_array().unwrap().iter().map(|entry| entry["name"].clone()));
        assert_eq!(page.get("total_count"), None);
        let Some(next) = page["next_marker"].as_str() else { break };
        marker = next.to_owned();
    }
    assert_eq!(names, ["Z", "a", "b", "C", "Link"]);
    for query in [
        "?usemarker=true&sort=name",
        "?usemarker=true&direction=ASC",
        "?usemarker=true&offset=1",
        "?usemarker=true&marker=x",
        "?marker=x",
        "?offset=10001",
        "?sort=colour",
        "?direction=down",
    ] {
        let answer = bench.get(&format!("{ITEMS}{query}")).await;
        assert_eq!(answer.status(), 400, "{query}");
        let error = json(answer).await;
        assert_eq!(error["context_info"]["errors"][0]["reason"], "invalid_parameter", "{query}: {error}");
    }
    assert_eq!(bench.outcome("POST", ITEMS, json!({})).await, said(405, "method_not_allowed"));
}
