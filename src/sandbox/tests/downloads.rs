//! Downloads that are not ready, redirect repeatedly or lead to another host; thumbnails; representations.

use serde_json::json;

use super::*;

impl Bench {
    fn hello(&self) -> String {
        self.sandbox.add_file("0", "a.txt", Content::Bytes("hello".into()))
    }

    async fn location(&self, id: &str) -> String {
        let redirect = self.get(&format!("/2.0/files/{id}/content")).await;
        assert_eq!(redirect.status(), 302);
        redirect.headers()["location"].to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn downloads_can_be_not_ready_and_redirected_anywhere() {
    let bench = Bench::start().await;
    let id = bench.hello();
    bench.sandbox.downloads_pending(2);
    for _ in 0..2 {
        let later = bench.get(&format!("/2.0/files/{id}/content")).await;
        assert_eq!((later.status().as_u16(), later.headers()["retry-after"].as_bytes()), (202, &b"1"[..]));
        assert!(later.bytes().await.unwrap().is_empty());
    }
    assert!(bench.location(&id).await.starts_with(&bench.sandbox.download_url()));
    let hostile = "http://169.254.169.254/latest";
    bench.sandbox.redirect_downloads_to(Some(hostile.to_owned()));
    assert_eq!(bench.location(&id).await, hostile);
    bench.sandbox.clear_faults();
    assert_ne!(bench.location(&id).await, hostile);
}

#[tokio::test]
async fn pre_signed_urls_lead_through_hops() {
    let bench = Bench::start().await;
    let id = bench.hello();
    bench.sandbox.download_hops(2);
    let first = bench.location(&id).await;
    let host = bench.sandbox.download_url();
    let hop = |answer: &Response| answer.headers()["location"].to_str().unwrap().to_owned();
    let relative = hop(&bench.client.get(&first).send().await.unwrap());
    assert!(relative.starts_with("/d/1/") && relative.ends_with("/hop/1"), "{relative}");
    let absolute = hop(&bench.client.get(host.clone() + &relative).send().await.unwrap());
    assert!(absolute.starts_with(&host) && absolute.ends_with("/hop/2"), "{absolute}");
    let end = bench.client.get(&absolute).send().await.unwrap();
    assert_eq!((end.status().as_u16(), end.text().await.unwrap()), (200, "hello".to_owned()));
    bench.sandbox.download_hops(0);
    assert_eq!(bench.client.get(&first).send().await.unwrap().status(), 200);
    assert_eq!(bench.client.get(format!("{host}/d/1/x/hop/1")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn pre_signed_urls_answer_conditions() {
    let bench = Bench::start().await;
    let url = bench.location(&bench.hello()).await;
    let etag = bench.client.head(&url).send().await.unwrap().headers()["etag"].clone();
    let with =
        async |name: &str, value: &str| bench.client.get(&url).header(name, value).send().await.unwrap();
    let unchanged = with("if-none-match", &format!("\"x\", {}", etag.to_str().unwrap())).await;
    assert_eq!((unchanged.status().as_u16(), &unchanged.headers()["etag"]), (304, &etag));
    assert_eq!(with("if-none-match", "\"x\"").await.status(), 200);
    assert_eq!(with("if-match", "\"x\"").await.status(), 412);
    assert_eq!(with("if-match", etag.to_str().unwrap()).await.status(), 200);
    assert_eq!(bench.client.post(&url).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn thumbnails_are_ready_pending_or_impossible() {
    let bench = Bench::start().await;
    let url = format!("/2.0/files/{}/thumbnail.png?min_height=32", bench.hello());
    let ready = bench.get(&url).await;
    assert_eq!(ready.headers()["content-type"], "image/png");
    let picture = ready.bytes().await.unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    for (state, status) in [(Thumbnail::Pending, 202), (Thumbnail::Impossible, 302)] {
        bench.sandbox.thumbnails(state);
        let answer = bench.get(&url).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().contains_key("retry-after"), state == Thumbnail::Pending);
        let placeholder = answer.headers()["location"].to_str().unwrap();
        assert_eq!(bench.client.get(placeholder).send().await.unwrap().bytes().await.unwrap(), picture);
    }
    assert_eq!(bench.get("/2.0/files/1/thumbnail.jpg").await.status(), 404);
}

/// As Box's UI Elements ask, in one request.
#[tokio::test]
async fn fields_of_a_folder_apply_to_its_items() {
    let bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "Folder");
    for name in ["a.txt", "b.txt"] {
        bench.sandbox.add_file(&folder, name, Content::Bytes("x".into()));
    }
    let fields = "name,permissions,has_collaborations,is_download_available,item_collection";
    let url = format!("/2.0/folders/{folder}?fields={fields}&limit=1&offset=1");
    let found = json(bench.get(&url).await).await;
    assert_eq!(
        (&found["has_collaborations"], &found["permissions"]["can_upload"]),
        (&json!(false), &json!(true))
    );
    let inside = &found["item_collection"];
    assert_eq!(
        (&inside["total_count"], &inside["limit"], &inside["offset"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let file = &inside["entries"][0];
    assert_eq!((&file["name"], &file["is_download_available"]), (&json!("b.txt"), &json!(true)));
    assert_eq!((&file["permissions"]["can_preview"], &file["sha1"]), (&json!(true), &Value::Null));
}

#[tokio::test]
async fn representations_are_in_every_response_with_a_file() {
    let bench = Bench::start().await;
    let id = bench.hello();
    let folder = bench.sandbox.add_folder("0", "Folder");
    let file = format!("/2.0/files/{id}");
    let q = "?fields=representations";
    let hinted = async |method: &str, url: &str, body: Value| {
        let request = bench.request(method, url).header("x-rep-hints", "[jpg?dimensions=32x32][pdf,mp4]");
        json(request.body(body.to_string()).send().await.unwrap()).await
    };
    let copy = json!({ "parent": { "id": folder } });
    for (method, url, body, pointer) in [
        ("GET", format!("{file}{q}"), Value::Null, ""),
        ("PUT", format!("{file}{q}"), json!({ "description": "d" }), ""),
        ("POST", format!("{file}/copy{q}"), copy, ""),
        ("GET", format!("/2.0/folders/{folder}/items{q}"), Value::Null, "/entries/0"),
        ("GET", format!("/2.0/search{q}&query=a.txt"), Value::Null, "/entries/0"),
    ] {
        let answer = hinted(method, &url, body).await;
        let entries = answer.pointer(pointer).unwrap()["representations"]["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 2, "{url}: {answer}");
        assert_eq!(entries[0]["properties"]["thumb"], "true");
        for entry in entries {
            let info = json(bench.get(entry["info"]["url"].as_str().unwrap()).await).await;
            assert_eq!(&info, entry);
            let template = entry["content"]["url_template"].as_str().unwrap();
            let content = template.replace("{+asset_path}", "1.jpg");
            let got = bench.get(&content).await.bytes().await.unwrap();
            match entry["representation"].as_str() {
                Some("jpg") => assert!(got.starts_with(b"\x89PNG"), "a text is no picture"),
                _ => assert_eq!(got, "hello"),
            }
            assert_eq!(bench.client.get(&content).send().await.unwrap().status(), 401);
            let in_query = format!("{content}?access_token={}", bench.token);
            assert_eq!(bench.client.get(&in_query).send().await.unwrap().status(), 401);
        }
    }
    for (name, path) in [("b.txt", "files/content".to_owned()), ("c.txt", format!("files/{id}/content"))] {
        let attributes = json!({ "name": name, "parent": { "id": "0" } }).to_string();
        let form = form_data(&[("attributes", &attributes), ("file", "hello")]);
        let url = format!("{}/api/2.0/{path}{q}", bench.sandbox.upload_url());
        let made = bench.request("POST", &url).header("content-type", FORM_DATA).body(form);
        let made = json(made.send().await.unwrap()).await;
        // Without hints there is more.
        let entries = &made["entries"][0]["representations"]["entries"];
        assert_eq!(entries.as_array().unwrap().len(), 4);
    }
}
