//! What the last requests never hold: credentials, queries, bodies, pre-signed URLs.

use boxgate::sandbox::{Content, Options};
use http::{Method, Version};

use super::{request, requests};
use crate::harness::Bench;
use crate::tunnels::program::Program;

const KEY: &str = "canary-key-of-the-app";

/// Checks that nothing of this is in the answers for operators.
async fn is_clean(bench: &Bench, never: &[&str]) {
    for path in
        ["/requests.json", "/requests.json?status=4xx", "/?view=requests", "/?view=requests&q=2.0", "/"]
    {
        let (status, text) = bench.admin(path).await;
        assert!(status == 200 && text.len() > 10, "{text}");
        for canary in never {
            assert!(!text.contains(canary), "{canary} in {text}");
        }
    }
}

/// The token that Box got last.
fn token(bench: &Bench) -> String {
    let seen = bench.sandbox.seen();
    let field = seen.iter().rev().find_map(|seen| seen.headers.get("authorization")).unwrap();
    field.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

#[tokio::test]
async fn nothing_that_a_request_carries_is_in_them() {
    let app = format!("[[app]]\nname = \"web\"\nkey = \"{KEY}\"\nas_user = [\"*\"]\n");
    let bench = Bench::with(&app).await;
    bench.until_ready().await;
    let file = bench.sandbox.add_file("0", "canary-name.txt", Content::Bytes("canary-content".into()));
    let secret = bench.sandbox.client_secret().to_owned();
    let download = bench.sandbox.download_url().trim_start_matches("https://").to_owned();
    let paths = [
        format!("/2.0/files/{file}?fields=canary-query"),
        // Its redirect to a pre-signed URL is followed.
        format!("/2.0/files/{file}/content?version=canary-query"),
        format!("/2.0/{KEY}/x"),
        format!("/2.0/{secret}"),
        format!("/2.0/x{}{secret}", "y".repeat(500)),
        "/2.0/zip_downloads/canary-zip-0/content".to_owned(),
        format!("/_box/{download}/canary-1/path?sig=canary"),
    ];
    for (nth, path) in paths.iter().enumerate() {
        let asked = bench
            .client
            .get(bench.url(path))
            .header("x-request-id", format!("mine-{nth}"))
            .header("x-boxgate-key", KEY)
            .header("authorization", "Bearer canary-of-the-caller")
            .header("cookie", "a=canary-cookie")
            .header("boxapi", "shared_link=https://app.box.com/s/canary&shared_link_password=canary-password")
            .header("user-agent", format!("job {secret}"))
            .body(r#"{"name":"canary-body"}"#);
        asked.send().await.unwrap().bytes().await.unwrap();
        request(&bench, &format!("mine-{nth}")).await;
    }
    let token = token(&bench);
    bench.get(&format!("/2.0/{token}")).await.bytes().await.unwrap();
    let entries = requests(&bench, "").await;
    assert!(bench.admin("/?view=requests").await.1.contains("mine-4"), "the view has them too");
    let path = |id: &str| entries.iter().find(|entry| entry["request_id"] == id).unwrap()["path"].clone();
    assert_eq!(
        path("mine-5"),
        format!(
            "/_box/{}/2.0/zip_downloads/*/content",
            bench.sandbox.download_url().trim_start_matches("https://")
        )
    );
    assert_eq!(path("mine-6"), format!("/_box/{download}/*"));
    assert!(entries.iter().any(|entry| entry["user_agent"] == "job [secret]"), "{entries:#?}");
    is_clean(&bench, &["canary", &secret, &secret[..12], &token, "sig="]).await;
}

#[tokio::test]
async fn nothing_that_a_request_in_a_tunnel_carries_is_in_them() {
    let more = format!("[forward_proxy]\n[[app]]\nname = \"web\"\nkey = \"{KEY}\"\n");
    let bench = Bench::with_boxs_names(Options::default(), "", &more).await;
    bench.until_ready().await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes("abc".into()));
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let program = Program::speaking(&bench, &format!("web:{KEY}"), version).await;
        let content = format!("https://api.box.com/2.0/files/{file}/content?canary=1");
        let answer =
            program.request(Method::GET, &content).header("authorization", "Bearer canary").send().await;
        let location = answer.unwrap().headers()["location"].to_str().unwrap().to_owned();
        let (path, _) = location.split_once('?').unwrap_or((&location, ""));
        let presigned = path.split_once("public.boxcloud.com").unwrap().1.to_owned();
        assert!(presigned.len() > 10, "{location}");
        let fetched = program.request(Method::GET, &location).header("x-request-id", "fetched").send().await;
        assert_eq!(fetched.unwrap().bytes().await.unwrap(), "abc");
        let entry = request(&bench, "fetched").await;
        assert_eq!(entry["path"], "/_box/public.boxcloud.com/*", "{entry:#}");
        let credential = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("web:{KEY}"));
        is_clean(&bench, &["canary", &presigned, &credential, &token(&bench)]).await;
    }
}
