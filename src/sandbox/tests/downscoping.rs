//! What a downscoped token may do by its scopes.

use http::header::WWW_AUTHENTICATE;
use serde_json::json;

use super::{
    tree::{Items, Tree, upload},
    *,
};

/// Method, URL and body.
type Operation<'a> = (&'a str, &'a str, &'a Value);

#[tokio::test]
async fn each_scope_permits_some_operation_and_refuses_another() {
    let tree = Tree::start().await;
    let Items { folder, file, web_link, .. } = &tree.inside;
    let file_at = format!("/2.0/files/{file}");
    let content = format!("{file_at}/content");
    let thumbnail = format!("{file_at}/thumbnail.png");
    let folder_at = format!("/2.0/folders/{folder}");
    let items = format!("{folder_at}/items");
    let link_at = format!("/2.0/web_links/{web_link}");
    let outside = format!("/2.0/files/{}", tree.outside.file);
    let none = Value::Null;
    let (name, share) = (json!({ "name": "b.txt" }), json!({ "shared_link": {} }));
    let both = json!({ "name": "c.txt", "description": "d" });
    let new = upload("new.txt", folder);
    let created = json!({ "name": "Made", "parent": { "id": folder } });
    let (files, me) = ("upload:/api/2.0/files/content", "/2.0/users/me");
    let ask = json!({ "mode": "single_item_qa", "prompt": "?", "items": [{ "type": "file", "id": file }] });
    let zip = json!({ "items": [{ "type": "file", "id": file }] });
    // The scope, what it permits with which answer, and what it refuses.
    let rows: [(&str, Operation<'_>, u16, Operation<'_>); 29] = [
        ("annotation_edit", ("GET", me, &none), 200, ("GET", &file_at, &none)),
        ("annotation_view_all", ("GET", me, &none), 200, ("GET", &file_at, &none)),
        ("annotation_view_self", ("GET", me, &none), 200, ("GET", &file_at, &none)),
        ("base_explorer", ("GET", &items, &none), 200, ("GET", &content, &none)),
        ("base_picker", ("GET", "/2.0/search?query=txt", &none), 200, ("PUT", &file_at, &name)),
        ("base_preview", ("GET", &thumbnail, &none), 200, ("GET", &items, &none)),
        ("base_sidebar", ("GET", &file_at, &none), 200, ("GET", &thumbnail, &none)),
        ("base_upload", ("POST", "/2.0/folders", &created), 201, ("GET", &folder_at, &none)),
        ("item_delete", ("DELETE", &link_at, &none), 204, ("GET", &link_at, &none)),
        ("item_download", ("GET", &content, &none), 302, ("GET", &file_at, &none)),
        ("item_preview", ("GET", &thumbnail, &none), 200, ("GET", &content, &none)),
        ("item_read", ("GET", &folder_at, &none), 200, ("GET", &thumbnail, &none)),
        ("item_rename", ("PUT", &file_at, &name), 200, ("PUT", &file_at, &both)),
        ("item_share", ("PUT", &folder_at, &share), 200, ("PUT", &folder_at, &name)),
        ("item_upload", ("POST", files, &new), 201, ("DELETE", &file_at, &none)),
        ("root_readonly", ("GET", "/2.0/events", &none), 200, ("GET", &content, &none)),
        ("root_readwrite", ("POST", "/2.0/zip_downloads", &zip), 202, ("GET", "/2.0/webhooks", &none)),
        ("ai.readwrite", ("POST", "/2.0/ai/ask", &ask), 200, ("GET", &file_at, &none)),
        ("enterprise_content", ("GET", &items, &none), 200, ("POST", "/2.0/folders", &created)),
        ("manage_app_users", ("GET", me, &none), 200, ("GET", "/2.0/users", &none)),
        ("manage_managed_users", ("GET", me, &none), 200, ("GET", "/2.0/users", &none)),
        ("manage_webhook", ("GET", "/2.0/webhooks", &none), 200, ("GET", &file_at, &none)),
        ("manage_data_retention", ("GET", me, &none), 200, ("GET", &file_at, &none)),
        ("manage_enterprise_properties", ("GET", me, &none), 200, ("GET", "/2.0/events", &none)),
        ("manage_groups", ("GET", me, &none), 200, ("GET", "/2.0/users", &none)),
        ("manage_legal_hold", ("GET", me, &none), 200, ("GET", &file_at, &none)),
        ("manage_legal_holds", ("GET", me, &none), 200, ("GET", &file_at, &none)),
        ("manage_triggers", ("GET", me, &none), 200, ("GET", &file_at, &none)),
        ("sign_requests.readwrite", ("GET", me, &none), 200, ("GET", &file_at, &none)),
    ];
    for (scope, (method, url, body), status, refused) in rows {
        let client = tree.client(scope).await;
        let asked = tree.ask(&client, method, url, body).await;
        assert_eq!(asked.status, status, "{scope}: {method} {url}: {}", asked.body);
        let (method, url, body) = refused;
        assert!(tree.ask(&client, method, url, body).await.lacks_scope(), "{scope}: {method} {url}");
        // Outside, it lacks the scope or does not reach the item.
        let asked = tree.ask(&client, "GET", &outside, &none).await;
        assert!(asked.lacks_scope() || asked.is_out_of_reach(), "{scope}: {}", asked.status);
    }
    // Users are below no folder.
    for scope in ["manage_managed_users", "manage_app_users"] {
        let client = tree.client_with(&tree.bench.downscoped(scope, None).await);
        assert_eq!(tree.ask(&client, "GET", "/2.0/users", &none).await.status, 200);
        assert!(tree.ask(&client, "GET", &folder_at, &none).await.lacks_scope());
    }
    // The full token may do everything still.
    let full = tree.client_with(&tree.bench.token);
    for url in ["/2.0/users", "/2.0/webhooks", &outside, &content] {
        assert!(tree.ask(&full, "GET", url, &none).await.status < 400, "{url}");
    }
}

#[tokio::test]
async fn a_new_version_renames_and_moves_only_with_the_scopes_for_it() {
    let tree = Tree::start().await;
    let Items { folder, subfolder, file, .. } = &tree.inside;
    let url = format!("upload:/api/2.0/files/{file}/content");
    let client = tree.client("item_upload").await;
    assert_eq!(tree.ask(&client, "POST", &url, &upload("Inside.txt", subfolder)).await.status, 201);
    assert!(tree.ask(&client, "POST", &url, &upload("other.txt", subfolder)).await.lacks_scope());
    assert!(tree.ask(&client, "POST", &url, &upload("Inside.txt", folder)).await.lacks_scope());
    let renaming = tree.client("item_upload item_rename").await;
    assert_eq!(tree.ask(&renaming, "POST", &url, &upload("other.txt", subfolder)).await.status, 201);
}

#[tokio::test]
async fn fields_and_permissions_follow_the_scopes() {
    let tree = Tree::start().await;
    let names = "permissions,download_url,authenticated_download_url,representations,expiring_embed_link";
    let url = format!("/2.0/files/{}?fields={names}", tree.inside.file);
    let of = async |scopes: &str| tree.ask(&tree.client(scopes).await, "GET", &url, &Value::Null).await.body;
    let has = |body: &Value, name: &str| body.get(name).is_some();
    let may = |body: &Value| -> Vec<String> {
        let permissions = body["permissions"].as_object().unwrap().iter();
        permissions.filter(|(_, may)| **may == json!(true)).map(|(name, _)| name.clone()).collect()
    };
    let explorer = of("base_explorer").await;
    assert!(names.split(',').skip(1).all(|name| !has(&explorer, name)), "{explorer}");
    assert_eq!(may(&explorer), Vec::<String>::new());
    let download = of("base_explorer item_download annotation_edit").await;
    assert!(has(&download, "download_url") && has(&download, "authenticated_download_url"));
    assert!(!has(&download, "representations"));
    assert_eq!(may(&download), ["can_annotate", "can_download"]);
    let preview = of("base_preview").await;
    assert!(has(&preview, "representations") && !has(&preview, "download_url"));
    // The token in the answer may do no more than the one that asked for it.
    let token = preview["expiring_embed_link"]["token"]["access_token"].as_str().unwrap();
    let embedded = tree.client_with(token);
    let thumbnail = |file: &str| format!("/2.0/files/{file}/thumbnail.png");
    assert_eq!(tree.ask(&embedded, "GET", &thumbnail(&tree.inside.file), &Value::Null).await.status, 200);
    assert!(tree.ask(&embedded, "GET", &thumbnail(&tree.outside.file), &Value::Null).await.is_out_of_reach());
    assert!(tree.ask(&embedded, "GET", "/2.0/folders/0", &Value::Null).await.lacks_scope());
    let check = json!({ "name": "n", "parent": { "id": tree.inside.folder } });
    let checked =
        tree.ask(&tree.client("base_upload").await, "OPTIONS", "/2.0/files/content", &check).await.body;
    let uploading = tree.client_with(checked["upload_token"].as_str().unwrap());
    let files = "upload:/api/2.0/files/content";
    assert_eq!(tree.ask(&uploading, "POST", files, &upload("n", &tree.inside.folder)).await.status, 201);
    assert!(tree.ask(&uploading, "POST", files, &upload("n", &tree.outside.folder)).await.is_out_of_reach());
}

#[tokio::test]
async fn a_downscoped_token_acts_for_its_own_user_alone() {
    let tree = Tree::start().await;
    let client = tree.client("base_explorer").await;
    let me = tree.ask(&client, "GET", "/2.0/users/me", &Value::Null).await;
    assert!(me.body["login"].as_str().unwrap().starts_with("AutomationUser_"), "{}", me.body);
    for user in [MANAGED_USERS[0], me.body["id"].as_str().unwrap()] {
        let asked = client.get(tree.url("/2.0/users/me")).header("as-user", user).send().await.unwrap();
        assert_eq!(asked.status(), 403, "{user}");
        assert!(asked.headers()[WWW_AUTHENTICATE].to_str().unwrap().contains("insufficient_scope"));
    }
}

#[tokio::test]
async fn a_pre_signed_url_is_good_whatever_becomes_of_the_token() {
    let tree = Tree::start().await;
    let client = tree.client("item_download").await;
    let content = tree.url(&format!("/2.0/files/{}/content", tree.inside.file));
    let redirect = client.get(content).send().await.unwrap();
    let location = redirect.headers()["location"].to_str().unwrap().to_owned();
    tree.bench.sandbox.expire_tokens();
    // It says for itself who was permitted; a token that goes along makes no difference.
    for client in [&client, &tree.client_with("invented")] {
        assert_eq!(client.get(&location).send().await.unwrap().text().await.unwrap(), "hello");
    }
}
