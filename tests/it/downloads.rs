//! Downloads: the gateway follows Box's redirect for the caller, without any credential of the caller or the gateway.

use boxgate::sandbox::{Content, Fault, Options, Protocols, Role, Thumbnail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use crate::harness::{Bench, PATIENCE, refusal};

const TEXT: &str = "0123456789";

async fn bench() -> (Bench, String) {
    let bench = Bench::start().await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes(TEXT.into()));
    (bench, format!("/2.0/files/{file}/content"))
}

#[tokio::test]
async fn a_download_is_fetched_from_the_download_host_without_credentials() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let bench = Bench::of(
            Options { protocols, ..Options::default() },
            "[[app]]\nname = \"a\"\nas_user = [\"*\"]\nforward_headers = [\"X-Mine\"]",
        )
        .await;
        let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes(TEXT.into()));
        let get = bench.client.get(bench.url(&format!("/2.0/files/{file}/content?access_token=caller")));
        let get = get.header("as-user", bench.sandbox.user_id()).header("boxapi", "shared_link=https://a");
        let get = get.header("x-mine", "1").header("authorization", "Bearer caller").header("cookie", "a=b");
        let answer = get.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(!answer.headers().contains_key("location"));
        assert_eq!(answer.headers()["content-length"], "10");
        assert_eq!(answer.text().await.unwrap(), TEXT);
        let seen = bench.sandbox.seen();
        let [asked, fetched] = seen.as_slice() else { panic!("{seen:?}") };
        assert!(asked.headers.contains_key("as-user") && asked.headers.contains_key("x-mine"));
        assert_eq!((asked.role, fetched.role), (Role::Api, Role::Download));
        assert!(fetched.target.starts_with("/d/1/"), "{}", fetched.target);
        for name in ["authorization", "as-user", "boxapi", "x-mine", "cookie"] {
            assert!(!fetched.headers.contains_key(name), "{name}");
        }
    }
}

#[tokio::test]
async fn ranges_conditions_and_head_are_applied_at_the_target_of_the_redirect() {
    let (bench, path) = bench().await;
    let send = async |method: Method, name: &'static str, value: &str| {
        bench.client.request(method, bench.url(&path)).header(name, value).send().await.unwrap()
    };
    let part = send(Method::GET, "range", "bytes=2-4").await;
    let etag = part.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(
        (part.status().as_u16(), part.headers()["content-range"].clone()),
        (206, HeaderValue::from_static("bytes 2-4/10"))
    );
    assert_eq!(part.text().await.unwrap(), "234");
    assert_eq!(send(Method::GET, "range", "bytes=90-").await.status(), 416);
    assert_eq!(send(Method::GET, "if-none-match", &etag).await.status(), 304);
    assert_eq!(send(Method::GET, "if-match", "\"other\"").await.status(), 412);
    let head = send(Method::HEAD, "accept", "*/*").await;
    assert_eq!(
        (head.status().as_u16(), head.headers()["content-length"].clone()),
        (200, HeaderValue::from_static("10"))
    );
    let get = bench.client.get(bench.url(&path)).header("range", "bytes=0-1").header("if-range", "\"old\"");
    assert_eq!(get.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_download_that_is_not_ready_is_passed_on_for_the_caller_to_retry() {
    let (bench, path) = bench().await;
    bench.sandbox.downloads_pending(1);
    let answer = bench.get(&path).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["retry-after"].clone()),
        (202, HeaderValue::from_static("1"))
    );
    assert_eq!(bench.get(&path).await.text().await.unwrap(), TEXT);

    let thumbnail = path.replace("content", "thumbnail.png");
    bench.sandbox.thumbnails(Thumbnail::Pending);
    let answer = bench.get(&thumbnail).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["retry-after"].clone()),
        (202, HeaderValue::from_static("1"))
    );
    bench.sandbox.thumbnails(Thumbnail::Impossible);
    let answer = bench.get(&thumbnail).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].clone()),
        (200, HeaderValue::from_static("image/png"))
    );
    bench.sandbox.thumbnails(Thumbnail::Ready);
    assert_eq!(bench.get(&thumbnail).await.status(), 200);
}

#[tokio::test]
async fn a_caller_that_asks_for_boxs_own_redirect_gets_it() {
    let (bench, path) = bench().await;
    let answer =
        bench.client.get(bench.url(&path)).header("x-boxgate-redirect", "pass").send().await.unwrap();
    assert_eq!(answer.status(), 302);
    assert!(answer.headers()["location"].to_str().unwrap().starts_with(&bench.sandbox.download_url()));
    assert_eq!(bench.sandbox.calls(), 1);
    assert!(!bench.sandbox.last_seen().unwrap().headers.contains_key("x-boxgate-redirect"));

    let apps = "[[app]]\nname = \"a\"\n[[app]]\nname = \"b\"\npath = \"/b\"\nfollow_downloads = true";
    let upstream = "[upstream]\nproxy = \"none\"\nfollow_downloads = false";
    let bench = Bench::with(&format!("{upstream}\n{apps}")).await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes(TEXT.into()));
    assert_eq!(bench.get(&format!("/2.0/files/{file}/content")).await.status(), 302);
    assert_eq!(bench.get(&format!("/b/2.0/files/{file}/content")).await.status(), 200);
}

#[tokio::test]
async fn a_redirect_to_anywhere_else_is_not_followed() {
    let bench = Bench::with_boxs_names(Options::default(), "", "").await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes(TEXT.into()));
    let path = format!("/2.0/files/{file}/content");
    assert_eq!(bench.get(&path).await.text().await.unwrap(), TEXT);
    for target in [
        "https://evil.example/x",
        "http://dl.boxcloud.com/x",
        "https://dl.boxcloud.com.evil.example/x",
        "https://dl.boxcloud.com@evil.example/x",
        "https://user@dl.boxcloud.com/x",
        "https://evil.example\\@dl.boxcloud.com/x",
        "https://dl.boxcloud.com:8443/x",
        "https://api.box.com/2.0/users/me",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "//evil.example/x",
        "/2.0/users/me",
        "javascript:alert(1)",
    ] {
        bench.sandbox.redirect_downloads_to(Some(target.to_owned()));
        let (calls, tunnels) = (bench.sandbox.calls(), bench.sandbox.tunnelled().len());
        let answer = bench.get(&path).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (302, target));
        assert_eq!(
            (bench.sandbox.calls(), bench.sandbox.tunnelled().len()),
            (calls + 1, tunnels),
            "{target}"
        );
    }
}

#[tokio::test]
async fn the_number_of_followed_redirects_is_bounded() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let bench = Bench::of(Options { protocols, ..Options::default() }, "").await;
        let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes(TEXT.into()));
        let path = format!("/2.0/files/{file}/content");
        bench.sandbox.download_hops(4);
        assert_eq!(bench.get(&path).await.text().await.unwrap(), TEXT);
        bench.sandbox.download_hops(5);
        assert_eq!(refusal(bench.get(&path).await).await, (502, "upstream_protocol_error".to_owned()));
        assert_eq!(bench.sandbox.calls(), 6 + 6, "the last hop is not taken");
    }
}

#[tokio::test]
async fn a_presigned_url_works_through_the_gateway_without_a_token() {
    let bench = Bench::with_boxs_names(Options::default(), "follow_downloads = false", "").await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes(TEXT.into()));
    let answer = bench.get(&format!("/2.0/files/{file}/content")).await;
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let rest = location.strip_prefix("https://").unwrap();
    let get = bench
        .client
        .get(bench.url(&format!("/_box/{rest}")))
        .header("as-user", "")
        .header("range", "bytes=1-2");
    // As-User is refused for this app even if it would not be forwarded.
    assert_eq!(refusal(get.send().await.unwrap()).await, (403, "as_user_not_allowed".to_owned()));
    let get = bench.client.get(bench.url(&format!("/_box/{rest}"))).header("authorization", "Bearer caller");
    let answer = get.header("range", "bytes=1-2").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (206, "12"));
    let seen = bench.sandbox.last_seen().unwrap();
    assert_eq!(
        (seen.authority.as_str(), format!("https://{}{}", seen.authority, seen.target)),
        ("public.boxcloud.com", location)
    );
    assert!(!seen.headers.contains_key("authorization"));
    // With a token: what the download host serves under /api/2.0.
    let direct = bench.get(&format!("/_box/dl5.boxcloud.com/api/2.0/files/{file}/content")).await;
    assert_eq!(direct.text().await.unwrap(), TEXT);
    let seen = bench.sandbox.last_seen().unwrap();
    assert_eq!(seen.authority, "dl5.boxcloud.com");
    assert!(seen.headers["authorization"].to_str().unwrap().starts_with("Bearer "));
}

#[tokio::test]
async fn hosts_that_are_not_boxs_are_never_looked_up() {
    let bench = Bench::with_boxs_names(Options::default(), "", "").await;
    bench.until_ready().await;
    let tunnels = bench.sandbox.tunnelled();
    for host in [
        "evil.example",
        "127.0.0.1",
        "localhost",
        "[::1]",
        "169.254.169.254",
        "api.box.com.",
        "api.box.com:8443",
        "api.box.com.evil.example",
        "app.box.com",
        "account.box.com",
        "www.box.com",
        "x.y.boxcloud.com",
        "boxcloud.com",
        "user@dl.boxcloud.com",
        "dl%2eboxcloud.com",
        "upload-.app.box.com",
    ] {
        let answer = bench.get(&format!("/_box/{host}/2.0/users/me")).await;
        assert_eq!(refusal(answer).await, (404, "not_found".to_owned()), "{host}");
    }
    assert_eq!(refusal(bench.get("/_box/api.box.com/oauth2/token").await).await.0, 404);
    let posted = bench.client.post(bench.url("/_box/dl.boxcloud.com/d/1/x/download")).send().await.unwrap();
    assert_eq!(refusal(posted).await, (403, "operation_not_allowed".to_owned()));
    assert_eq!((bench.sandbox.calls(), bench.sandbox.tunnelled()), (0, tunnels));
}

#[tokio::test]
async fn rules_hold_under_box_urls_too() {
    let bench = Bench::with_boxs_names(
        Options::default(),
        "",
        "[[app]]\nname = \"a\"\ndeny = [\"GET /2.0/files/*/content\", \"GET /2.0/users/*\", \"GET /2.0/events\"]",
    )
    .await;
    for path in [
        "/_box/api.box.com/2.0/users/me",
        "/_box/api.box.com/2.0/USERS/me",
        "/_box/dl.boxcloud.com/api/2.0/files/1/content",
        "/_box/public.boxcloud.com/d/1/x/download",
        "/_box/2.realtime.services.box.net/subscribe",
    ] {
        assert_eq!(refusal(bench.get(path).await).await, (403, "operation_not_allowed".to_owned()), "{path}");
    }
    assert_eq!(bench.sandbox.calls(), 0);
}

#[tokio::test]
async fn a_401_of_a_download_host_is_not_taken_for_the_tokens() {
    let (bench, path) = bench().await;
    bench.sandbox.script(
        "/d/1/",
        vec![Fault::Status {
            status: http::StatusCode::UNAUTHORIZED,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }],
    );
    let before = bench.sandbox.token_requests();
    let answer = bench.get(&path).await;
    assert_eq!(answer.status(), 502);
    let error = crate::harness::json(answer).await;
    assert_eq!(error["code"], "upstream_unauthorized");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("this pre-signed URL") && message.contains("ask for a new one"), "{message}");
    assert_eq!(bench.sandbox.token_requests(), before.max(1));
}

/// Unmodified `curl`: a download that broke off is resumed.
#[tokio::test]
async fn curl_resumes_a_large_download_with_the_same_sum() {
    const SIZE: usize = 300_000_000;
    let bench = Bench::start().await;
    // No two blocks are equal, so that a misplaced block is noticed.
    let mut block: Vec<u8> = (0..100_000_u32).map(|n| n.wrapping_mul(2_654_435_761) as u8).collect();
    let mut content = Vec::with_capacity(SIZE);
    for number in 0..SIZE / block.len() {
        block[..8].copy_from_slice(&number.to_le_bytes());
        content.extend_from_slice(&block);
    }
    let want = sha256(&content);
    let file = bench.sandbox.add_file("0", "large.bin", Content::Bytes(content.into()));
    bench.sandbox.script("/d/1/", vec![Fault::BreakBodyAfter(123_456_789)]);
    let folder = std::env::temp_dir().join(format!("boxgate-it-{}-resume", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let out = folder.join("large.bin");
    let url = bench.url(&format!("/2.0/files/{file}/content"));
    let curl = async || {
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--continue-at", "-", "--output"]);
        curl.arg(&out).arg(&url).kill_on_drop(true);
        tokio::time::timeout(PATIENCE * 2, curl.status()).await.expect("curl ends").unwrap()
    };
    assert!(!curl().await.success(), "a broken download is an error for curl");
    let first = std::fs::metadata(&out).unwrap().len();
    assert!(first > 0 && first < SIZE as u64, "{first}");
    assert!(curl().await.success());
    let have = sha256(&std::fs::read(&out).unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(have, want);
    let last = bench.sandbox.last_seen().unwrap();
    assert_eq!(last.headers["range"].to_str().unwrap(), format!("bytes={first}-"));
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().to_vec()
}

#[tokio::test]
async fn a_presigned_url_is_requested_without_as_user_and_boxapi() {
    let bench = Bench::with("[[app]]\nname = \"a\"\nas_user = [\"*\"]\n").await;
    let host = bench.sandbox.download_url().replace("https://", "");
    for path in [
        format!("/_box/{host}/d/1/x/download"),
        format!("/_box/{host}/subscribe"),
        "/2.0/zip_downloads/x/content".into(),
    ] {
        let get = bench
            .client
            .get(bench.url(&path))
            .header("as-user", "1")
            .header("boxapi", "shared_link=x&shared_link_password=y");
        get.send().await.unwrap();
        let seen = bench.sandbox.last_seen().unwrap();
        for name in ["authorization", "as-user", "boxapi"] {
            assert_eq!(seen.headers.get(name), None, "{path}");
        }
    }
}

/// For clients that require a redirect, and for URLs that are passed on.
#[tokio::test]
async fn a_redirect_can_be_rewritten_to_the_gateway() {
    let more =
        "[[app]]\nname = \"all\"\n[[app]]\nname = \"a\"\npath = \"/a\"\nfollow_downloads = \"rewrite\"";
    let bench = Bench::with(more).await;
    let file = bench.sandbox.add_file("0", "a.txt", Content::Bytes(TEXT.into()));
    let path = format!("/2.0/files/{file}/content");
    let host = bench.sandbox.download_url().replace("https://", "");
    for method in [Method::GET, Method::HEAD] {
        let answer = bench.client.request(method, bench.url(&format!("/a{path}"))).send().await.unwrap();
        assert_eq!(answer.status(), 302);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        assert!(location.starts_with(&bench.url(&format!("/a/_box/{host}/d/1/"))), "{location}");
        let got = bench.client.get(location).send().await.unwrap();
        assert_eq!((got.status().as_u16(), got.text().await.unwrap().as_str()), (200, TEXT));
    }
    let pass = bench.client.get(bench.url(&format!("/a{path}"))).header("x-boxgate-redirect", "pass");
    let answer = pass.send().await.unwrap();
    assert!(answer.headers()["location"].to_str().unwrap().starts_with("https://"), "{:?}", answer.headers());
    assert_eq!(bench.get(&path).await.status(), 200, "the other app follows");
    // A URL of another host stays unchanged.
    bench.sandbox.redirect_downloads_to(Some("https://elsewhere.example/x".to_owned()));
    let answer = bench.get(&format!("/a{path}")).await;
    assert_eq!(answer.headers()["location"], "https://elsewhere.example/x");
}
