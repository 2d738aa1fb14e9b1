//! Which items a downscoped token reaches by its resource.

use serde_json::json;

use super::{
    tree::{Asked, Items, Tree, upload},
    *,
};

#[tokio::test]
async fn no_operation_reaches_an_item_outside_the_resource() {
    let tree = Tree::start().await;
    let client = tree.client("root_readwrite manage_webhook ai.readwrite").await;
    let Items { folder, subfolder, file, web_link, comment, collaboration, webhook, trashed, .. } =
        &tree.outside;
    let (mine, my_file) = (&tree.inside.folder, &tree.inside.file);
    let none = Value::Null;
    let into = json!({ "parent": { "id": folder } });
    let renamed = json!({ "name": "renamed" });
    let new = |name: &str| json!({ "name": name, "parent": { "id": folder } });
    let web = json!({ "url": "https://a.example/", "parent": { "id": folder } });
    let session = json!({ "folder_id": folder, "file_size": 10, "file_name": "s" });
    let version = json!({ "file_size": 10 });
    let said = json!({ "message": "m", "item": { "type": "file", "id": file } });
    let reply = json!({ "message": "m", "item": { "type": "comment", "id": comment } });
    let who = json!({ "type": "user", "id": MANAGED_USERS[0] });
    let invited =
        json!({ "item": { "type": "folder", "id": folder }, "accessible_by": who, "role": "viewer" });
    let hook = json!({ "target": { "type": "file", "id": file }, "address": "https://a.example/", "triggers": ["T"] });
    let retarget = json!({ "target": { "type": "file", "id": file } });
    let my_hook = format!("/2.0/webhooks/{}", tree.inside.webhook);
    let ask = json!({ "mode": "single_item_qa", "prompt": "?", "items": [{ "type": "file", "id": file }] });
    let both = json!({
        "mode": "multiple_item_qa",
        "prompt": "?",
        "items": [{ "type": "file", "id": my_file }, { "type": "file", "id": file }],
    });
    let patch = json!([{ "op": "add", "path": "/x", "value": "y" }]);
    let metadata = "metadata/global/properties";
    let check = json!({ "name": "n", "size": 1, "parent": { "id": folder } });
    let check_root = json!({ "name": "n", "size": 1 });
    for (method, url, body) in [
        ("GET", format!("/2.0/folders/{folder}"), &none),
        ("GET", "/2.0/folders/0".to_owned(), &none),
        ("GET", "/2.0/folders/0/items".to_owned(), &none),
        ("GET", format!("/2.0/folders/{folder}/items"), &none),
        ("GET", format!("/2.0/folders/{subfolder}/collaborations"), &none),
        ("PUT", format!("/2.0/folders/{folder}"), &renamed),
        ("DELETE", format!("/2.0/folders/{folder}?recursive=true"), &none),
        ("POST", "/2.0/folders".to_owned(), &new("made")),
        ("GET", format!("/2.0/files/{file}"), &none),
        ("GET", format!("/2.0/files/{file}/content"), &none),
        ("GET", format!("/2.0/files/{file}/thumbnail.png"), &none),
        ("GET", format!("/2.0/files/{file}/versions"), &none),
        ("GET", format!("/2.0/files/{file}/comments"), &none),
        ("GET", format!("/2.0/files/{file}/collaborations"), &none),
        ("GET", format!("/2.0/internal_files/{file}/versions/1/representations/pdf"), &none),
        (
            "GET",
            format!("download:/api/2.0/internal_files/{file}/versions/1/representations/pdf/content/"),
            &none,
        ),
        ("GET", format!("download:/api/2.0/files/{file}/content"), &none),
        ("PUT", format!("/2.0/files/{file}"), &renamed),
        ("DELETE", format!("/2.0/files/{file}"), &none),
        ("GET", format!("/2.0/files/{file}/metadata"), &none),
        ("GET", format!("/2.0/files/{file}/{metadata}"), &none),
        ("POST", format!("/2.0/folders/{folder}/{metadata}"), &renamed),
        ("PUT", format!("/2.0/files/{file}/{metadata}"), &patch),
        ("DELETE", format!("/2.0/files/{file}/{metadata}"), &none),
        ("GET", format!("/2.0/web_links/{web_link}"), &none),
        ("PUT", format!("/2.0/web_links/{web_link}"), &renamed),
        ("DELETE", format!("/2.0/web_links/{web_link}"), &none),
        ("POST", "/2.0/web_links".to_owned(), &web),
        ("GET", format!("/2.0/comments/{comment}"), &none),
        ("PUT", format!("/2.0/comments/{comment}"), &json!({ "message": "x" })),
        ("DELETE", format!("/2.0/comments/{comment}"), &none),
        ("POST", "/2.0/comments".to_owned(), &said),
        ("POST", "/2.0/comments".to_owned(), &reply),
        ("GET", format!("/2.0/collaborations/{collaboration}"), &none),
        ("PUT", format!("/2.0/collaborations/{collaboration}"), &json!({ "role": "viewer" })),
        ("DELETE", format!("/2.0/collaborations/{collaboration}"), &none),
        ("POST", "/2.0/collaborations".to_owned(), &invited),
        ("GET", format!("/2.0/webhooks/{webhook}"), &none),
        ("PUT", format!("/2.0/webhooks/{webhook}"), &json!({ "address": "https://b.example/" })),
        ("PUT", my_hook, &retarget),
        ("DELETE", format!("/2.0/webhooks/{webhook}"), &none),
        ("POST", "/2.0/webhooks".to_owned(), &hook),
        ("GET", format!("/2.0/files/{trashed}/trash"), &none),
        ("POST", format!("/2.0/files/{trashed}"), &none),
        ("DELETE", format!("/2.0/files/{trashed}/trash"), &none),
        ("GET", format!("/2.0/files/{trashed}"), &none),
        ("POST", "/2.0/ai/ask".to_owned(), &ask),
        ("POST", "/2.0/ai/ask".to_owned(), &both),
        ("OPTIONS", "/2.0/files/content".to_owned(), &check),
        ("OPTIONS", "/2.0/files/content".to_owned(), &check_root),
        ("OPTIONS", format!("/2.0/files/{file}/content"), &check),
        ("POST", "upload:/api/2.0/files/content".to_owned(), &upload("u", folder)),
        ("POST", format!("upload:/api/2.0/files/{file}/content"), &upload("u", folder)),
        ("POST", "upload:/api/2.0/files/upload_sessions".to_owned(), &session),
        ("POST", format!("upload:/api/2.0/files/{file}/upload_sessions"), &version),
        // From inside to the outside, and the other way round.
        ("POST", format!("/2.0/files/{my_file}/copy"), &into),
        ("POST", format!("/2.0/files/{file}/copy"), &json!({ "parent": { "id": mine } })),
        ("PUT", format!("/2.0/files/{my_file}"), &into),
        ("PUT", format!("/2.0/files/{file}"), &json!({ "parent": { "id": mine } })),
        ("PUT", format!("/2.0/folders/{}", tree.inside.subfolder), &into),
        ("PUT", format!("/2.0/web_links/{}", tree.inside.web_link), &into),
        ("POST", format!("upload:/api/2.0/files/{my_file}/content"), &upload("Inside.txt", folder)),
        ("POST", format!("/2.0/files/{}", tree.inside.trashed), &into),
    ] {
        let asked = tree.ask(&client, method, &url, body).await;
        assert!(asked.is_out_of_reach(), "{method} {url} {body}: {} {}", asked.status, asked.body);
    }
    // What does not exist is not found, as with any token.
    assert_eq!(tree.ask(&client, "GET", "/2.0/files/1", &none).await.status, 404);

    let full = tree.client_with(&tree.bench.token);
    let all = tree.ask(&full, "GET", &format!("/2.0/folders/{folder}/items"), &none).await;
    let names: Vec<_> = all.body["entries"].as_array().unwrap().iter().map(|item| &item["name"]).collect();
    assert_eq!(names, ["Outside sub", "Outside link"], "nothing was changed");
    let versions = tree.ask(&full, "GET", &format!("/2.0/files/{file}/versions"), &none).await;
    assert_eq!(versions.body["total_count"], 0);
}

#[tokio::test]
async fn lists_have_only_what_is_below_the_resource() {
    let tree = Tree::start().await;
    let client = tree.client("root_readwrite manage_webhook").await;
    let none = Value::Null;
    let list = async |client: &Client, url: &str, pointer: &str| {
        let asked = tree.ask(client, "GET", url, &none).await;
        let entries = asked.body["entries"].as_array().unwrap_or_else(|| panic!("{url}: {}", asked.body));
        let name =
            |entry: &Value| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut names: Vec<String> = entries.iter().map(name).collect();
        names.sort();
        names.dedup();
        names
    };
    let all = tree.client_with(&tree.bench.token);
    for (url, pointer, inside) in [
        ("/2.0/search?query=txt", "/name", &["Inside.txt"][..]),
        (
            "/2.0/search?query=side&trash_content=all_items",
            "/name",
            &["Inside", "Inside gone.txt", "Inside link", "Inside sub", "Inside.txt"],
        ),
        ("/2.0/folders/trash/items", "/name", &["Inside gone.txt"]),
        (
            "/2.0/events",
            "/source/name",
            &["Inside", "Inside gone.txt", "Inside link", "Inside sub", "Inside.txt"],
        ),
        ("/2.0/webhooks", "/target/id", &[tree.inside.file.as_str()]),
        ("/2.0/collaborations?status=pending", "/invite_email", &["Inside@example.com"]),
    ] {
        assert_eq!(list(&client, url, pointer).await, inside, "{url}");
        assert_eq!(list(&all, url, pointer).await.len(), 2 * inside.len(), "{url}");
    }

    // A zip leaves out and counts what the token does not reach.
    let entry = |kind: &str, id: &str| json!({ "type": kind, "id": id });
    let items = json!({ "items": [
        entry("file", &tree.inside.file),
        entry("file", &tree.outside.file),
        entry("folder", &tree.outside.folder),
    ] });
    let zip = tree.ask(&client, "POST", "/2.0/zip_downloads", &items).await;
    let status = zip.body["status_url"].as_str().unwrap().replace(&tree.bench.sandbox.api_url(), "");
    let status = tree.ask(&client, "GET", &status, &none).await.body;
    let counted =
        ["total_file_count", "skipped_file_count", "skipped_folder_count"].map(|name| &status[name]);
    assert_eq!(counted, [1, 1, 1]);

    // Shared links of others' items lead nowhere.
    for (items, want) in [(&tree.inside, 200), (&tree.outside, 404)] {
        let at = format!("/2.0/files/{}", items.file);
        let link = tree.ask(&all, "PUT", &at, &json!({ "shared_link": {} })).await.body;
        let link = format!("shared_link={}", link["shared_link"]["url"].as_str().unwrap());
        let through = client.get(tree.url("/2.0/shared_items")).header("boxapi", link).send().await.unwrap();
        assert_eq!(through.status(), want);
    }
}

#[tokio::test]
async fn the_folders_above_the_resource_are_not_told() {
    let tree = Tree::start().await;
    let none = Value::Null;
    let client = tree.client("root_readwrite").await;
    let Items { folder, subfolder, file, trashed, .. } = &tree.inside;
    let path = |body: &Value| -> Vec<String> {
        let entries = body["path_collection"]["entries"].as_array().unwrap();
        entries.iter().map(|folder| folder["name"].as_str().unwrap().to_owned()).collect()
    };
    let of = async |url: String| tree.ask(&client, "GET", &url, &none).await.body;
    let body = of(format!("/2.0/files/{file}")).await;
    assert_eq!(
        (path(&body), &body["parent"]["id"]),
        (vec!["Inside".to_owned(), "Inside sub".to_owned()], &json!(subfolder))
    );
    assert_eq!(body["path_collection"]["total_count"], 2);
    let body = of(format!("/2.0/folders/{folder}")).await;
    assert_eq!((path(&body), &body["parent"]), (vec![], &Value::Null));
    let body = of("/2.0/search?query=txt".to_owned()).await;
    assert_eq!(path(&body["entries"][0])[0], "Inside");
    let body = of("/2.0/events".to_owned()).await;
    for event in body["entries"].as_array().unwrap() {
        assert!(!path(&event["source"]).contains(&"All Files".to_owned()), "{event}");
    }
    let restored = tree.ask(&client, "POST", &format!("/2.0/files/{trashed}"), &none).await.body;
    assert_eq!((path(&restored), &restored["parent"]["id"]), (vec!["Inside".to_owned()], &json!(folder)));

    // A token for one file reaches that file alone, wherever it goes, also into the trash.
    let resource = format!("https://api.box.com/2.0/files/{file}");
    let client = tree.client_with(&tree.bench.downscoped("root_readwrite", Some(&resource)).await);
    let body = tree.ask(&client, "GET", &format!("/2.0/files/{file}"), &none).await.body;
    assert_eq!((path(&body), &body["parent"]), (vec![], &Value::Null));
    for url in [format!("/2.0/folders/{subfolder}"), format!("/2.0/files/{}", tree.outside.file)] {
        assert!(tree.ask(&client, "GET", &url, &none).await.is_out_of_reach(), "{url}");
    }
    assert_eq!(tree.ask(&client, "DELETE", &format!("/2.0/files/{file}"), &none).await.status, 204);
    let body = tree.ask(&client, "GET", &format!("/2.0/files/{file}/trash"), &none).await.body;
    assert_eq!((&body["id"], &body["parent"]), (&json!(file), &Value::Null));
}

#[tokio::test]
async fn an_upload_session_is_used_only_by_tokens_that_reach_its_folder() {
    let tree = Tree::start().await;
    let full = tree.client_with(&tree.bench.token);
    let client = tree.client("base_upload").await;
    let begin = async |client: &Client, folder: &str| {
        let body = json!({ "folder_id": folder, "file_size": 3, "file_name": "parts" });
        let asked = tree.ask(client, "POST", "upload:/api/2.0/files/upload_sessions", &body).await;
        asked.body["id"].as_str().unwrap_or_else(|| panic!("{}", asked.body)).to_owned()
    };
    let use_it = async |client: &Client, id: &str| {
        let at = format!("upload:/api/2.0/files/upload_sessions/{id}");
        let commit = json!({ "parts": [] });
        let none = Value::Null;
        let mut all = Vec::new();
        for (method, url, body) in [
            ("GET", at.clone(), &none),
            ("GET", format!("{at}/parts"), &none),
            ("POST", format!("{at}/commit"), &commit),
            ("POST", format!("{at}/log"), &none),
            ("DELETE", at.clone(), &none),
        ] {
            all.push(tree.ask(client, method, &url, body).await);
        }
        let put = client.put(tree.url(&at)).header("content-range", "bytes 0-2/3").body("abc");
        let put = put.header("digest", "sha=qZk+NkcGgWq6PiVxeFDCbJzQ2J0=").send().await.unwrap();
        (all, put.status().as_u16())
    };
    let (asked, part) = use_it(&client, &begin(&full, &tree.outside.folder).await).await;
    assert!(asked.iter().all(Asked::is_out_of_reach));
    assert_eq!(part, 403);
    // Its own session, and one that the full token has begun inside.
    for session in [begin(&client, &tree.inside.subfolder).await, begin(&full, &tree.inside.folder).await] {
        let (asked, part) = use_it(&client, &session).await;
        let statuses: Vec<_> = asked.iter().map(|asked| asked.status).collect();
        assert_eq!((statuses, part), (vec![200, 200, 400, 200, 204], 410));
    }
}
