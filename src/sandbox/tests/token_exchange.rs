//! Which tokens are exchanged for which, and how long a downscoped token lives.

use std::time::Duration;

use serde_json::json;

use super::*;

impl Bench {
    /// The answer's status and its OAuth error; no error where there is a token.
    async fn exchange(&self, form: &[(&'static str, String)]) -> (u16, String) {
        let answer = self.ask_for_token(form).await;
        let status = answer.status().as_u16();
        let answer = json(answer).await;
        assert_eq!(answer["access_token"].is_string(), status == 200, "{answer}");
        (status, answer["error"].as_str().unwrap_or_default().to_owned())
    }

    async fn status_with(&self, token: &str, url: &str) -> u16 {
        self.client
            .get(self.sandbox.api_url() + url)
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }
}

#[tokio::test]
async fn fields_scopes_and_resources_of_an_exchange_are_judged() {
    let bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "Folder");
    let file = bench.sandbox.add_file(&folder, "a.txt", Content::Zeros(1));
    let url = format!("https://api.box.com/2.0/folders/{folder}");
    let form = || bench.exchange_form("base_explorer", Some(&url));
    assert_eq!(bench.exchange(&form()).await.0, 200);
    // None of them is refused for its client, since none is asked for.
    for (field, value, status, error) in [
        ("subject_token", "", 400, "invalid_grant"),
        ("subject_token", "invented", 400, "invalid_grant"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt", 400, "invalid_request"),
        ("scope", "", 400, "invalid_scope"),
        ("scope", " ", 400, "invalid_scope"),
        ("scope", "base_explore", 400, "invalid_scope"),
        ("scope", "base_explorer,item_download", 400, "invalid_scope"),
        ("scope", "base_explorer item_downloads", 400, "invalid_scope"),
        ("resource", "", 400, "invalid_resource"),
        ("resource", "https://api.box.com/2.0/folders/1", 400, "invalid_resource"),
    ] {
        let mut form = form();
        form.iter_mut().find(|(name, _)| *name == field).unwrap().1 = value.to_owned();
        assert_eq!(bench.exchange(&form).await, (status, error.to_owned()), "{field}={value}");
    }
    for field in ["subject_token", "subject_token_type", "scope"] {
        let mut form = form();
        form.retain(|(name, _)| *name != field);
        assert_eq!(bench.exchange(&form).await, (400, "invalid_request".to_owned()), "no {field}");
    }
    for more in [
        ("scope", "item_download".to_owned()),
        ("resource", url.clone()),
        ("actor_token", "a".to_owned()),
        ("actor_token_type", "urn:ietf:params:oauth:token-type:id_token".to_owned()),
        ("box_shared_link", "https://app.box.com/s/a".to_owned()),
    ] {
        let form = [form(), vec![more.clone()]].concat();
        assert_eq!(bench.exchange(&form).await, (400, "invalid_request".to_owned()), "{}", more.0);
    }

    let own = bench.sandbox.api_url();
    for (resource, is_one) in [
        (format!("https://api.box.com/2.0/files/{file}"), true),
        (format!("{own}/2.0/files/{file}"), true),
        (format!("{own}/2.0/folders/{folder}"), true),
        ("https://api.box.com/2.0/folders/0".to_owned(), true),
        (format!("https://api.box.com/2.0/folders/{file}"), false),
        (format!("https://api.box.com/2.0/files/{folder}"), false),
        (format!("http://api.box.com/2.0/files/{file}"), false),
        (format!("https://api.box.com.example/2.0/files/{file}"), false),
        (format!("https://app.box.com/file/{file}"), false),
        (format!("https://upload.box.com/2.0/files/{file}"), false),
        (format!("http://127.0.0.1:8080/2.0/files/{file}"), false),
        (format!("https://api.box.com/2.0/files/{file}/content"), false),
        (format!("https://api.box.com/2.0/files/{file}?fields=name"), false),
        (format!("https://api.box.com/2.0/files/+{file}"), false),
        (format!("https://api.box.com/2.0/web_links/{file}"), false),
        (format!("/2.0/files/{file}"), false),
    ] {
        let want = if is_one { (200, String::new()) } else { (400, "invalid_resource".to_owned()) };
        let form = bench.exchange_form("base_explorer", Some(&resource));
        assert_eq!(bench.exchange(&form).await, want, "{resource}");
    }
    // What is in the trash is seen by nobody.
    assert_eq!(bench.send("DELETE", &format!("/2.0/files/{file}"), Value::Null).await.status(), 204);
    let form = bench.exchange_form("base_explorer", Some(&format!("{own}/2.0/files/{file}")));
    assert_eq!(bench.exchange(&form).await, (400, "invalid_resource".to_owned()));
}

#[tokio::test]
async fn the_answer_names_each_scope_once_with_its_object() {
    let bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "Narrow");
    let url = format!("https://api.box.com/2.0/folders/{folder}");
    let form = bench.exchange_form(" item_download  base_explorer item_download", Some(&url));
    let answer = json(bench.ask_for_token(&form).await).await;
    let object = json!({ "type": "folder", "id": folder, "sequence_id": "0", "etag": "0", "name": "Narrow" });
    let scopes = json!([
        { "scope": "item_download", "object": object },
        { "scope": "base_explorer", "object": object },
    ]);
    assert_eq!(answer["restricted_to"], scopes);
    assert_eq!(answer["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!((&answer["token_type"], answer.get("refresh_token")), (&json!("bearer"), None));
    let answer = json(bench.ask_for_token(&bench.exchange_form("root_readonly", None)).await).await;
    assert_eq!(answer["restricted_to"], json!([{ "scope": "root_readonly" }]));
}

#[tokio::test]
async fn a_shared_link_stands_for_its_item() {
    let bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "Shared");
    let file = bench.sandbox.add_file("0", "other", Content::Zeros(1));
    let share = async |url: &str, link: Value| {
        let answer = json(bench.send("PUT", url, json!({ "shared_link": link })).await).await;
        answer["shared_link"]["url"].as_str().unwrap().to_owned()
    };
    let exchange = async |link: String| {
        let form = [bench.exchange_form("base_explorer", None), vec![("box_shared_link", link)]].concat();
        json(bench.ask_for_token(&form).await).await
    };
    let link = share(&format!("/2.0/folders/{folder}"), json!({})).await;
    let answer = exchange(link.clone()).await;
    assert_eq!(answer["restricted_to"][0]["object"]["id"], json!(folder));
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(bench.status_with(token, &format!("/2.0/folders/{folder}")).await, 200);
    assert_eq!(bench.status_with(token, &format!("/2.0/files/{file}")).await, 403);

    assert_eq!(exchange(link + "x").await["error"], "invalid_resource");
    let guarded = share(&format!("/2.0/files/{file}"), json!({ "password": "p" })).await;
    assert_eq!(exchange(guarded).await["error"], "invalid_resource");
    let body = json!({ "url": "https://a.example/", "parent": { "id": folder } });
    let made = json(bench.send("POST", "/2.0/web_links", body).await).await;
    let web_link = share(&format!("/2.0/web_links/{}", made["id"].as_str().unwrap()), json!({})).await;
    assert_eq!(exchange(web_link).await["error"], "invalid_resource");
}

#[tokio::test]
async fn a_downscoped_token_can_only_be_narrowed() {
    let mut bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "Folder");
    let below = bench.sandbox.add_folder(&folder, "Below");
    let file = bench.sandbox.add_file(&below, "a.txt", Content::Zeros(1));
    let beside = bench.sandbox.add_folder("0", "Beside");
    let folder_at = |id: &str| format!("https://api.box.com/2.0/folders/{id}");
    bench.token = bench.downscoped("base_explorer item_download", Some(&folder_at(&folder))).await;
    let exchange = async |scopes: &str, resource: &str| {
        bench.exchange(&bench.exchange_form(scopes, Some(resource))).await
    };
    assert_eq!(exchange("item_download", &folder_at(&below)).await.0, 200);
    assert_eq!(exchange("base_explorer", &folder_at(&folder)).await.0, 200);
    assert_eq!(exchange("base_explorer", &format!("https://api.box.com/2.0/files/{file}")).await.0, 200);
    let refused = (401, "insufficient_scope".to_owned());
    for wider in ["item_upload", "base_explorer item_upload", "root_readonly", "root_readwrite"] {
        assert_eq!(exchange(wider, &folder_at(&folder)).await, refused, "{wider}");
    }
    for elsewhere in [&beside, "0"] {
        let invalid = (400, "invalid_resource".to_owned());
        assert_eq!(exchange("base_explorer", &folder_at(elsewhere)).await, invalid, "{elsewhere}");
    }
    // Without a resource it keeps that of the token that it is made from.
    let answer = json(bench.ask_for_token(&bench.exchange_form("base_explorer", None)).await).await;
    assert_eq!(answer["restricted_to"][0]["object"]["id"], json!(folder));
    let child = answer["access_token"].as_str().unwrap();
    assert_eq!(bench.status_with(child, &format!("/2.0/folders/{below}")).await, 200);
    assert_eq!(bench.status_with(child, &format!("/2.0/folders/{beside}")).await, 403);
    assert_eq!(bench.status_with(child, &format!("/2.0/files/{file}/content")).await, 403);
}

#[tokio::test]
async fn a_downscoped_token_ends_with_the_token_that_it_was_made_from() {
    let mut bench = Bench::start().await;
    let full = bench.token.clone();
    bench.sandbox.set_token_lifetime(Duration::from_secs(86_400));
    let answer = json(bench.ask_for_token(&bench.exchange_form("base_explorer", None)).await).await;
    let expires_in = answer["expires_in"].as_u64().unwrap();
    // The full token has lived for a moment of its hour.
    assert!((1..3600).contains(&expires_in), "{expires_in}");
    let child = answer["access_token"].as_str().unwrap().to_owned();
    bench.sandbox.set_token_lifetime(Duration::from_secs(60));
    let answer = json(bench.ask_for_token(&bench.exchange_form("base_explorer", None)).await).await;
    assert_eq!(answer["expires_in"], 60);
    bench.token = child.clone();
    let grandchild = bench.downscoped("item_read", None).await;
    let other = bench.downscoped("base_explorer", None).await;

    let me = "/2.0/users/me";
    let revoke = async |token: &str| {
        let form = [("token", token)];
        let asked = bench.client.post(bench.sandbox.api_url() + "/oauth2/revoke").form(&form);
        assert_eq!(asked.send().await.unwrap().status(), 200);
    };
    // A downscoped token can be revoked too, without harm to the one that it was made from.
    revoke(&other).await;
    assert_eq!(bench.status_with(&other, me).await, 401);
    assert_eq!(bench.status_with(&child, me).await, 200);
    assert_eq!(bench.status_with(&grandchild, me).await, 200);
    revoke(&full).await;
    for ended in [&full, &child, &grandchild] {
        assert_eq!(bench.status_with(ended, me).await, 401);
    }
    let form = bench.exchange_form("base_explorer", None);
    assert_eq!(bench.exchange(&form).await, (400, "invalid_grant".to_owned()));

    // A token that has expired is as one that was revoked.
    bench.sandbox.set_token_lifetime(Duration::ZERO);
    let answer = json(bench.ask_for_token(&bench.good_form()).await).await;
    bench.token = answer["access_token"].as_str().unwrap().to_owned();
    let form = bench.exchange_form("base_explorer", None);
    assert_eq!(bench.exchange(&form).await, (400, "invalid_grant".to_owned()));
}
