//! Responses as of Box.

use std::time::Duration;

use http::Version;
use serde_json::json;

use super::*;

#[tokio::test]
async fn the_token_endpoint_refuses_as_box_does() {
    let bench = Bench::start().await;
    for (field, value, error) in [
        ("grant_type", "authorization_code", "invalid_request"),
        ("client_id", "other", "invalid_client"),
        ("client_secret", "sandbox-secret ", "invalid_client"),
        ("box_subject_type", "robot", "unauthorized_client"),
        ("box_subject_id", "1", "invalid_grant"),
    ] {
        let mut form = bench.good_form();
        form.iter_mut().find(|(name, _)| *name == field).unwrap().1 = value.to_owned();
        let answer = bench.ask_for_token(&form).await;
        assert_eq!(answer.status(), 400, "{field}");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(json(answer).await["error"], error, "{field}");
    }
    let mut form = bench.good_form();
    form.pop();
    assert_eq!(json(bench.ask_for_token(&form).await).await["error"], "invalid_client");
    let basic =
        bench.client.post(bench.sandbox.token_url()).form(&bench.good_form()).basic_auth("a", Some("b"));
    assert_eq!(json(basic.send().await.unwrap()).await["error"], "invalid_client");
    let no_form = bench.client.post(bench.sandbox.token_url()).body("grant_type=client_credentials");
    assert_eq!(json(no_form.send().await.unwrap()).await["error"], "invalid_request");
    assert_eq!(bench.sandbox.token_requests(), 9);
    assert_eq!(bench.sandbox.calls(), 0);
}

#[tokio::test]
async fn a_token_is_good_until_it_expires_or_is_revoked() {
    let bench = Bench::start().await;
    assert_eq!(bench.token.len(), 32);
    let me = json(bench.get("/2.0/users/me").await).await;
    assert!(me["login"].as_str().unwrap().starts_with("AutomationUser_"), "{me}");

    bench.sandbox.expire_tokens();
    let answer = bench.get("/2.0/users/me").await;
    assert_eq!(answer.status(), 401);
    assert!(answer.headers()["www-authenticate"].to_str().unwrap().contains("error=\"invalid_token\""));
    assert!(answer.bytes().await.unwrap().is_empty());

    bench.sandbox.set_token_lifetime(Duration::ZERO);
    let answer = json(bench.ask_for_token(&bench.good_form()).await).await;
    assert_eq!((&answer["expires_in"], &answer["restricted_to"]), (&json!(0), &json!([])));
    let bench = Bench { token: answer["access_token"].as_str().unwrap().to_owned(), ..bench };
    assert_eq!(bench.get("/2.0/users/me").await.status(), 401);

    let bench = Bench::start().await;
    let revoke =
        bench.client.post(bench.sandbox.api_url() + "/oauth2/revoke").form(&[("token", &bench.token)]);
    assert_eq!(revoke.send().await.unwrap().status(), 200);
    assert_eq!(bench.get("/2.0/users/me").await.status(), 401);
}

#[tokio::test]
async fn a_user_subject_and_as_user_choose_the_user() {
    let bench = Bench::start().await;
    let as_user =
        |id| bench.request("GET", "/2.0/users/me?fields=login,enterprise").header("as-user", id).send();
    let me = json(as_user("11446498").await.unwrap()).await;
    assert_eq!((&me["id"], &me["enterprise"]["id"]), (&json!("11446498"), &json!("123456")));
    assert!(me.get("name").is_none());
    let refused = as_user("42").await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(json(refused).await["code"], "access_denied_insufficient_permissions");

    let mut form = bench.good_form();
    form[3].1 = "user".to_owned();
    form[4].1 = bench.sandbox.user_id().to_owned();
    let token = json(bench.ask_for_token(&form).await).await["access_token"].as_str().unwrap().to_owned();
    let bench = Bench { token, ..bench };
    assert_eq!(json(bench.get("/2.0/users/me").await).await["id"], "789012");
    let other = bench.request("GET", "/2.0/users/me").header("as-user", "11446498").send().await.unwrap();
    assert_eq!(other.status(), 403);
}

#[tokio::test]
async fn errors_have_boxs_shape() {
    let bench = Bench::start().await;
    let origin =
        bench.request("GET", "/2.0/users/me").header("origin", "https://a.example").send().await.unwrap();
    assert_eq!(origin.status(), 403);
    let origin = json(origin).await;
    assert_eq!(origin["code"], "cors_origin_not_whitelisted");
    assert_eq!(origin["context_info"]["origin"], "https://a.example");

    let missing = bench.get("/2.0/folders/d_123").await;
    assert_eq!((missing.status().as_u16(), missing.headers()["via"].to_str().unwrap()), (404, "1.1 google"));
    let missing = json(missing).await;
    assert_eq!(
        (&missing["type"], &missing["status"], &missing["code"]),
        (&json!("error"), &json!(404), &json!("not_found"))
    );

    let broken = bench.request("POST", "/2.0/folders").body("{").send().await.unwrap();
    assert_eq!(broken.status(), 400);
    assert_eq!(bench.get("/3.0/").await.status(), 404);
    assert_eq!(bench.request("PATCH", "/2.0/files/1").send().await.unwrap().status(), 405);
    let upload = format!("{}/2.0/files/content", bench.sandbox.upload_url());
    assert_eq!(bench.request("POST", &upload).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn folders_are_made_listed_moved_and_deleted() {
    let bench = Bench::start().await;
    let new = json!({ "name": "Reports", "parent": { "id": "0" } });
    let made = bench.send("POST", "/2.0/folders", new.clone()).await;
    assert_eq!(made.status(), 201);
    let id = json(made).await["id"].as_str().unwrap().to_owned();
    let again = bench.send("POST", "/2.0/folders", new).await;
    assert_eq!(again.status(), 409);
    let again = json(again).await;
    assert_eq!(again["context_info"]["conflicts"][0]["id"], id.as_str());

    for number in 0..5 {
        bench.sandbox.add_file(&id, &format!("{number}.txt"), Content::Zeros(10));
    }
    let page = json(bench.get(&format!("/2.0/folders/{id}/items?limit=2&offset=1&fields=size")).await).await;
    assert_eq!((&page["total_count"], &page["entries"][0]["size"]), (&json!(5), &json!(10)));
    assert!(page["entries"][0].get("name").is_none());
    let (mut names, mut marker) = (Vec::new(), String::new());
    loop {
        let url = format!("/2.0/folders/{id}/items?usemarker=true&limit=2&marker={marker}");
        let page = json(bench.get(&url).await).await;
        names.extend(page["entries"].as_array().unwrap().iter().map(|entry| entry["name"].to_string()));
        match page["next_marker"].as_str() {
            Some(next) => marker = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(names.len(), 5);

    let url = format!("/2.0/folders/{id}");
    let inner = bench.sandbox.add_folder(&id, "Inner");
    let cycle = bench.send("PUT", &url, json!({ "parent": { "id": inner } })).await;
    assert_eq!(json(cycle).await["code"], "cyclical_folder_structure");
    let renamed = json(bench.send("PUT", &url, json!({ "name": "Old", "description": "x" })).await).await;
    assert_eq!(
        (&renamed["name"], &renamed["etag"], &renamed["size"]),
        (&json!("Old"), &json!("1"), &json!(50))
    );
    let refused = bench.request("DELETE", &url).send().await.unwrap();
    assert_eq!(json(refused).await["code"], "folder_not_empty");
    assert_eq!(bench.request("DELETE", &format!("{url}?recursive=true")).send().await.unwrap().status(), 204);
    assert_eq!(bench.get(&url).await.status(), 404);
}

#[tokio::test]
async fn files_are_read_conditionally_changed_copied_and_found() {
    let bench = Bench::start().await;
    let id = bench.sandbox.add_file("0", "Report.txt", Content::Bytes("hello".into()));
    let folder = bench.sandbox.add_folder("0", "Folder");
    let url = format!("/2.0/files/{id}");
    let file = json(bench.get(&url).await).await;
    assert_eq!(file["sha1"], "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
    assert_eq!(file["path_collection"]["entries"][0]["id"], "0");
    assert!(file["created_at"].as_str().unwrap().ends_with("-08:00"));
    let unchanged = bench.request("GET", &url).header("if-none-match", "\"0\"").send().await.unwrap();
    assert_eq!(unchanged.status(), 304);
    let stale = bench.request("PUT", &url).header("if-match", "7").body("{}").send().await.unwrap();
    assert_eq!((stale.status().as_u16(), &json(stale).await["code"]), (412, &json!("precondition_failed")));

    let copy = bench.send("POST", &format!("{url}/copy"), json!({ "parent": { "id": folder } })).await;
    assert_eq!(copy.status(), 201);
    let found = json(bench.get("/2.0/search?query=report").await).await;
    assert_eq!(found["total_count"], 2);
    let moved = bench.send("PUT", &url, json!({ "parent": { "id": folder } })).await;
    assert_eq!(moved.status(), 409);

    let fields = "expiring_embed_link,representations,download_url,authenticated_download_url";
    let file = json(bench.get(&format!("{url}?fields={fields}")).await).await;
    let template = file["representations"]["entries"][0]["content"]["url_template"].as_str().unwrap();
    assert!(template.starts_with(&bench.sandbox.download_url()) && template.ends_with("/{+asset_path}"));
    assert_eq!(file["expiring_embed_link"]["token"]["access_token"].as_str().unwrap().len(), 32);
    for direct in ["download_url", "authenticated_download_url"] {
        assert_eq!(bench.get(file[direct].as_str().unwrap()).await.text().await.unwrap(), "hello");
    }
    assert_eq!(bench.request("DELETE", &url).send().await.unwrap().status(), 204);
}

#[tokio::test]
async fn uploads_are_checked_taken_and_versioned() {
    let bench = Bench::start().await;
    let check = json!({ "name": "a.txt", "size": 5, "parent": { "id": "0" } });
    // rclone asks with a slash at the end.
    let slashed = bench.send("OPTIONS", "/2.0/files/content/", check.clone()).await;
    assert_eq!(slashed.status(), 200);
    assert!(json(slashed).await["upload_url"].is_string());
    let checked = json(bench.send("OPTIONS", "/2.0/files/content", check.clone()).await).await;
    let url = checked["upload_url"].as_str().unwrap();
    let attributes = r#"{"name":"a.txt","parent":{"id":"0"}}"#;
    let post = |url: &str, parts: &[(&str, &str)]| {
        bench.request("POST", url).header("content-type", FORM_DATA).body(form_data(parts))
    };
    let order = post(url, &[("file", "hello"), ("attributes", attributes)]).send().await.unwrap();
    assert_eq!(json(order).await["code"], "metadata_after_file_contents");
    let good = [("attributes", attributes), ("file", "hello")];
    let digest = post(url, &good).header("content-md5", "0000").send().await.unwrap();
    assert_eq!(json(digest).await["code"], "bad_digest");
    let sha1 = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
    let made = post(url, &good).header("content-md5", sha1).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made = json(made).await;
    assert_eq!(made["entries"][0]["size"], 5);
    assert_eq!(bench.sandbox.last_seen().unwrap().body, form_data(&good));

    let conflict = post(url, &good).send().await.unwrap();
    assert_eq!(conflict.status(), 409);
    assert_eq!(json(conflict).await["context_info"]["conflicts"]["name"], "a.txt");
    let id = made["entries"][0]["id"].as_str().unwrap();
    for slash in ["", "/"] {
        let new = bench.send("OPTIONS", &format!("/2.0/files/content{slash}"), check.clone()).await;
        assert_eq!(json(new).await["context_info"]["conflicts"]["id"], id, "{slash:?}");
        let version = bench.send("OPTIONS", &format!("/2.0/files/{id}/content{slash}"), check.clone()).await;
        assert_eq!(version.status(), 200, "{slash:?}");
    }

    let version = format!("{}/api/2.0/files/{id}/content", bench.sandbox.upload_url());
    let next = [("attributes", "{}"), ("file", "hello again")];
    let stale = post(&version, &next).header("if-match", "9").send().await.unwrap();
    assert_eq!(stale.status(), 412);
    let made = json(post(&version, &next).send().await.unwrap()).await;
    assert_eq!((&made["entries"][0]["etag"], &made["entries"][0]["size"]), (&json!("1"), &json!(11)));
    let bare = json(post(&version, &[("content", "hello")]).send().await.unwrap()).await;
    assert_eq!((&bare["entries"][0]["etag"], &bare["entries"][0]["name"]), (&json!("2"), &json!("a.txt")));
}

/// An upload that is too large to keep is served as zeros; it need not fit into memory.
#[tokio::test]
async fn a_large_upload_keeps_its_size_and_sum() {
    let bench = Bench::start().await;
    let size = 65 << 20;
    let attributes = r#"{"name":"large","parent":{"id":"0"}}"#;
    let body = form_data(&[("attributes", attributes), ("file", &"x".repeat(size))]);
    let url = format!("{}/api/2.0/files/content", bench.sandbox.upload_url());
    let sent = bench.request("POST", &url).header("content-type", FORM_DATA).body(body).send().await.unwrap();
    let made = json(sent).await;
    assert_eq!(made["entries"][0]["size"], size);
    let seen = bench.sandbox.last_seen().unwrap();
    assert!(seen.body_bytes > size as u64 && seen.body.len() == 64 * 1024);
    let id = made["entries"][0]["id"].as_str().unwrap();
    let url = format!("{}/api/2.0/files/{id}/content", bench.sandbox.download_url());
    let end = bench.request("GET", &url).header("range", "bytes=-3").send().await.unwrap();
    assert_eq!(end.bytes().await.unwrap(), &[0; 3][..]);
}

#[tokio::test]
async fn downloads_are_redirected_and_honour_ranges() {
    let bench = Bench::start().await;
    let id = bench.sandbox.add_file("0", "Plan \"ä\".pdf", Content::Bytes("0123456789".into()));
    let redirect = bench.get(&format!("/2.0/files/{id}/content?version=1")).await;
    assert_eq!(redirect.status(), 302);
    let url = redirect.headers()["location"].to_str().unwrap().to_owned();
    let whole = bench.client.get(&url).send().await.unwrap();
    assert_eq!((whole.status().as_u16(), whole.content_length()), (200, Some(10)));
    let disposition = whole.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert_eq!(disposition, "attachment;filename=\"Plan ___.pdf\";filename*=UTF-8''Plan%20%22%C3%A4%22.pdf");
    let etag = whole.headers()["etag"].clone();
    assert_eq!(whole.text().await.unwrap(), "0123456789");

    let ranged = |range: &str| bench.client.get(&url).header("range", range);
    let part = ranged("bytes=2-4").header("if-range", etag).send().await.unwrap();
    assert_eq!(
        (part.status().as_u16(), &part.headers()["content-range"]),
        (206, &"bytes 2-4/10".parse().unwrap())
    );
    assert_eq!(part.text().await.unwrap(), "234");
    let changed = ranged("bytes=2-4").header("if-range", "\"old\"").send().await.unwrap();
    assert_eq!(changed.status(), 200);
    let beyond = ranged("bytes=10-").send().await.unwrap();
    assert_eq!(
        (beyond.status().as_u16(), &beyond.headers()["content-range"]),
        (416, &"bytes */10".parse().unwrap())
    );
    let head = bench.client.head(&url).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"10".parse().unwrap()));

    let direct = format!("{}/api/2.0/files/{id}/content", bench.sandbox.download_url());
    assert_eq!(bench.get(&direct).await.status(), 200);
    assert_eq!(bench.client.get(&direct).send().await.unwrap().status(), 401);
    let forged = format!("{}/d/1/forged/download", bench.sandbox.download_url());
    assert_eq!(bench.get(&forged).await.status(), 404);
}

#[tokio::test]
async fn each_protocol_is_spoken_as_asked() {
    for (protocols, version) in [
        (Protocols::Both, Version::HTTP_2),
        (Protocols::Http1, Version::HTTP_11),
        (Protocols::Http2, Version::HTTP_2),
    ] {
        let bench = Bench::with(Options { protocols, ..Options::default() }).await;
        assert_eq!(bench.get("/2.0/users/me?x=%41+%2f").await.version(), version);
        let seen = bench.sandbox.last_seen().unwrap();
        assert_eq!((seen.version, seen.target.as_str()), (version, "/2.0/users/me?x=%41+%2f"));
        let id = bench.sandbox.add_file("0", "big", Content::Zeros(20 << 20));
        let url = format!("{}/api/2.0/files/{id}/content", bench.sandbox.download_url());
        assert_eq!(bench.get(&url).await.bytes().await.unwrap().len(), 20 << 20);
    }
}

#[tokio::test]
async fn a_sandbox_can_be_used_from_any_thread() {
    fn is_shared<T: Send + Sync + 'static>(_: &T) {}
    is_shared(&Sandbox::start(Options::default()).await.unwrap());
}

#[tokio::test]
async fn users_are_found_by_the_beginning_of_name_or_login() {
    let users =
        vec![("21".to_owned(), "Ann@Corp.com".to_owned()), ("22".to_owned(), "ann@corp.com.evil".to_owned())];
    let bench = Bench::with(Options { users, ..Options::default() }).await;
    for (term, ids) in [
        ("ann%40corp.com", &["21", "22"][..]),
        ("ANN%40corp.com.E", &["22"]),
        ("aaron", &["11446498"]),
        ("Berta%20B", &["11446499"]),
        ("corp", &[]),
        ("AutomationUser", &[]),
    ] {
        let list = json(bench.get(&format!("/2.0/users?filter_term={term}&fields=id,login")).await).await;
        let found: Vec<&str> =
            list["entries"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap()).collect();
        assert_eq!((found.as_slice(), &list["total_count"]), (ids, &json!(ids.len())), "{term}");
    }
}
