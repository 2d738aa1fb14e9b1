//! Items that a downscoped token reaches, and others that it does not.

use http::header::WWW_AUTHENTICATE;
use serde_json::json;

use super::*;

/// A folder with all that belongs to items, and the same beside it.
pub(super) struct Tree {
    pub(super) bench: Bench,
    pub(super) inside: Items,
    pub(super) outside: Items,
}

pub(super) struct Items {
    pub(super) folder: String,
    /// The folder, as a resource.
    pub(super) url: String,
    pub(super) subfolder: String,
    pub(super) file: String,
    pub(super) web_link: String,
    pub(super) comment: String,
    pub(super) collaboration: String,
    pub(super) webhook: String,
    pub(super) trashed: String,
}

impl Tree {
    pub(super) async fn start() -> Self {
        let bench = Bench::with(Options { smallest_session: 1, ..Options::default() }).await;
        let inside = Items::make(&bench, "Inside").await;
        let outside = Items::make(&bench, "Outside").await;
        Self { bench, inside, outside }
    }

    /// A client with a token of these scopes for the folder.
    pub(super) async fn client(&self, scopes: &str) -> Client {
        let token = self.bench.downscoped(scopes, Some(&self.inside.url)).await;
        self.client_with(&token)
    }

    pub(super) fn client_with(&self, token: &str) -> Client {
        let headers = [(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())];
        Client::builder()
            .tls_backend_preconfigured(trusting(&self.bench.sandbox, &[b"h2", b"http/1.1"]))
            .redirect(Policy::none())
            .no_proxy()
            .default_headers(headers.into_iter().collect())
            .build()
            .unwrap()
    }

    /// `upload:` and `download:` stand for these hosts.
    pub(super) fn url(&self, url: &str) -> String {
        let sandbox = &self.bench.sandbox;
        match url.split_once(':') {
            Some(("upload", path)) => sandbox.upload_url() + path,
            Some(("download", path)) => sandbox.download_url() + path,
            _ => sandbox.api_url() + url,
        }
    }

    pub(super) async fn ask(&self, client: &Client, method: &str, url: &str, body: &Value) -> Asked {
        let request = client.request(Method::from_bytes(method.as_bytes()).unwrap(), self.url(url));
        let request = match body.as_str() {
            Some(form) => request.header("content-type", FORM_DATA).body(form.to_owned()),
            None if url.contains("/metadata/") && method == "PUT" => {
                request.header("content-type", "application/json-patch+json").body(body.to_string())
            }
            None if body.is_null() => request,
            None => request.body(body.to_string()),
        };
        let answer = request.send().await.unwrap();
        let challenge = answer.headers().get(WWW_AUTHENTICATE);
        let challenge = challenge.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = answer.status().as_u16();
        let text = answer.bytes().await.unwrap();
        Asked { status, challenge, body: serde_json::from_slice(&text).unwrap_or_default() }
    }
}

pub(super) struct Asked {
    pub(super) status: u16,
    pub(super) challenge: String,
    pub(super) body: Value,
}

impl Asked {
    pub(super) fn lacks_scope(&self) -> bool {
        self.status == 403 && self.body.is_null() && self.challenge.contains("error=\"insufficient_scope\"")
    }

    pub(super) fn is_out_of_reach(&self) -> bool {
        self.status == 403 && self.body["code"] == "access_denied_insufficient_permissions"
    }
}

impl Items {
    pub(super) async fn make(bench: &Bench, name: &str) -> Self {
        let id = async |method: &str, url: &str, body: Value| {
            let answer = json(bench.send(method, url, body).await).await;
            answer["id"].as_str().unwrap_or_else(|| panic!("{url}: {answer}")).to_owned()
        };
        let sandbox = &bench.sandbox;
        let folder = sandbox.add_folder("0", name);
        let subfolder = sandbox.add_folder(&folder, &format!("{name} sub"));
        let file = sandbox.add_file(&subfolder, &format!("{name}.txt"), Content::Bytes("hello".into()));
        let trashed = sandbox.add_file(&folder, &format!("{name} gone.txt"), Content::Zeros(1));
        assert_eq!(bench.send("DELETE", &format!("/2.0/files/{trashed}"), Value::Null).await.status(), 204);
        let item = json!({ "type": "file", "id": file });
        let parent = json!({ "id": folder });
        let hook = json!({ "target": item, "address": "https://a.example/", "triggers": ["FILE.LOCKED"] });
        let collaboration = json!({
            "item": { "type": "folder", "id": folder },
            "accessible_by": { "type": "user", "login": format!("{name}@example.com") },
            "role": "editor",
        });
        let web_link =
            json!({ "url": "https://a.example/", "name": format!("{name} link"), "parent": parent });
        let metadata = format!("/2.0/files/{file}/metadata/global/properties");
        assert_eq!(bench.send("POST", &metadata, json!({ "a": "b" })).await.status(), 201);
        Self {
            url: format!("https://api.box.com/2.0/folders/{folder}"),
            web_link: id("POST", "/2.0/web_links", web_link).await,
            comment: id("POST", "/2.0/comments", json!({ "message": name, "item": item })).await,
            collaboration: id("POST", "/2.0/collaborations", collaboration).await,
            webhook: id("POST", "/2.0/webhooks", hook).await,
            folder,
            subfolder,
            file,
            trashed,
        }
    }
}

/// The body of an upload.
pub(super) fn upload(name: &str, parent: &str) -> Value {
    let attributes = json!({ "name": name, "parent": { "id": parent } }).to_string();
    json!(form_data(&[("attributes", &attributes), ("file", "new")]))
}
