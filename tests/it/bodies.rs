use std::time::Duration;

use boxgate::sandbox::{Content, Fault, Options, Protocols, Role};
use boxgate::server::shutdown::Stop;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Bench, in_time, refusal, until};

async fn http1() -> Bench {
    Bench::of(Options { protocols: Protocols::Http1, ..Options::default() }, "").await
}

#[tokio::test]
async fn an_upload_goes_to_the_upload_host_byte_for_byte() {
    let bench = Bench::start().await;
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let head = "--b\r\nContent-Disposition: form-data; name=\"attributes\"\r\n\r\n{\"name\":\"f.bin\",\"parent\":{\"id\":\"0\"}}\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.bin\"\r\n\r\n";
    let body = [head.as_bytes(), &content, b"\r\n--b--\r\n"].concat();
    let length = body.len() as u64;
    let upload = bench.client.post(bench.url("/2.0/files/content")).body(body);
    let answer = upload.header("content-type", "multipart/form-data; boundary=b").send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let seen = bench.sandbox.last_seen().unwrap();
    assert_eq!((seen.target.as_str(), seen.body_bytes), ("/api/2.0/files/content", length));
    let stored: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let id = stored["entries"][0]["id"].as_str().unwrap();
    let back = bench.get(&format!("/api/2.0/files/{id}/content")).await.bytes().await.unwrap();
    assert!(back == content);
}

/// Sends this many bytes to this path, and returns the version of HTTP in which they arrived.
async fn version_of(bench: &Bench, path: &str, length: usize) -> http::Version {
    let answer = bench.client.post(bench.url(path)).body(vec![b'x'; length]).send().await.unwrap();
    answer.bytes().await.unwrap();
    let seen = bench.sandbox.last_seen().unwrap();
    assert_eq!(seen.body_bytes, length as u64, "{path}");
    seen.version
}

#[tokio::test]
async fn large_uploads_go_over_http_1_and_small_ones_over_http_2() {
    const MIB: usize = 1 << 20;
    let bench = Bench::start().await;
    for path in ["/2.0/files/content", "/2.0/folders"] {
        assert_eq!(version_of(&bench, path, MIB).await, http::Version::HTTP_11, "{path}");
        assert_eq!(version_of(&bench, path, MIB - 1).await, http::Version::HTTP_2, "{path}");
    }
    // Nobody knows how much follows.
    for (path, version) in
        [("/2.0/files/content", http::Version::HTTP_11), ("/2.0/folders", http::Version::HTTP_2)]
    {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n");
        bench.raw(&format!("{head}Connection: close\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n")).await;
        let seen = bench.sandbox.last_seen().unwrap();
        assert_eq!((seen.version, seen.body_bytes), (version, 2), "{path}");
    }
}

#[tokio::test]
async fn a_large_upload_goes_over_http_2_where_box_speaks_nothing_else() {
    let bench = Bench::of(Options { protocols: Protocols::Http2, ..Options::default() }, "").await;
    assert_eq!(version_of(&bench, "/2.0/files/content", 1 << 20).await, http::Version::HTTP_2);
}

/// A body of known length has no trailers over HTTP/1.1.
#[tokio::test]
async fn a_large_upload_that_announces_trailers_goes_over_http_2() {
    let bench = Bench::start().await;
    for (trailer, version) in [("digest", http::Version::HTTP_2), ("x-checksum", http::Version::HTTP_11)] {
        let upload = bench.client.post(bench.url("/2.0/files/content")).header("trailer", trailer);
        upload.body(vec![b'x'; 1 << 20]).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(bench.sandbox.last_seen().unwrap().version, version, "{trailer}");
    }
}

/// Over HTTP/2 Box would wait for the window of the stream again and again.
#[tokio::test]
async fn what_had_a_large_answer_goes_over_http_1_until_it_has_a_small_one() {
    let one_worker = "[listen]\naddress = \"127.0.0.1:0\"\nworkers = 1";
    for (protocols, version) in
        [(Protocols::Both, http::Version::HTTP_11), (Protocols::Http2, http::Version::HTTP_2)]
    {
        let bench = Bench::of(Options { protocols, ..Options::default() }, one_worker).await;
        let get = async |path: &str| {
            let answer = bench.get(path).await.bytes().await.unwrap();
            (bench.sandbox.last_seen().unwrap().version, answer.len())
        };
        let large = || Fault::RawBody {
            headers: Default::default(),
            pieces: vec![vec![b'1'; 200_000].into(), vec![b'1'; 100_000].into()],
        };
        bench.sandbox.script("/2.0/folders/", vec![large(), large()]);
        assert_eq!(get("/2.0/folders/1/items").await, (http::Version::HTTP_2, 300_000));
        assert_eq!(get("/2.0/folders/2/items").await, (version, 300_000));
        assert_eq!(get("/2.0/users/me").await.0, http::Version::HTTP_2);
        assert_eq!(get("/2.0/folders/0/items").await.0, version);
        // The end of an answer is noted after the caller has it.
        until(|| async { get("/2.0/folders/0/items").await.0 == http::Version::HTTP_2 }).await;
    }
}

/// Box may close an unused connection just when a body is sent on it that cannot be sent again.
#[tokio::test]
async fn large_uploads_share_a_connection_only_while_it_is_in_use() {
    let bench = Bench::of(Options::default(), "[listen]\naddress = \"127.0.0.1:0\"\nworkers = 1").await;
    let uploads = async |count: usize| {
        for _ in 0..count {
            version_of(&bench, "/2.0/files/content", 1 << 20).await;
        }
        bench.sandbox.connections(Role::Upload)
    };
    let first = uploads(1).await;
    assert_eq!(uploads(3).await, first);
    // Longer than a connection may be unused.
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    assert_eq!(uploads(1).await, first + 1);
}

#[tokio::test]
async fn a_broken_answer_of_box_never_ends_cleanly() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let bench = Bench::of(Options { protocols, ..Options::default() }, "").await;
        let file = bench.sandbox.add_file("0", "z", Content::Zeros(1 << 20));
        bench.sandbox.script("/api/2.0/files/", vec![Fault::BreakBodyAfter(100_000)]);
        let answer = bench.get(&format!("/api/2.0/files/{file}/content")).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.is_err(), "{protocols:?}");
    }
}

#[tokio::test]
async fn when_the_caller_leaves_the_request_to_box_is_cancelled() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let bench = Bench::of(Options { protocols, ..Options::default() }, "").await;
        bench.until_ready().await;
        let _held = bench.sandbox.hold_replies("/2.0/users/me");
        let mut socket = bench.connect().await;
        socket.write_all(b"GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        in_time(bench.sandbox.wait_for_calls(1)).await;
        drop(socket);
        in_time(bench.sandbox.wait_for_cancelled(1)).await;
        let left =
            "boxgate_requests_total{app=\"default\",method=\"GET\",status=\"499\",answered_by=\"gateway\"}";
        until(|| async { bench.metric(left).await == 1.0 }).await;
    }
}

#[tokio::test]
async fn an_early_answer_reaches_a_caller_that_is_still_uploading() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let bench = Bench::of(Options { protocols, ..Options::default() }, "").await;
        bench
            .sandbox
            .script("/api/2.0/files/content", vec![Fault::EarlyAnswer { status: StatusCode::FORBIDDEN }]);
        let mut socket = bench.connect().await;
        let head = format!(
            "POST /2.0/files/content HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            1_u64 << 32
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0_u8; 12];
        in_time(socket.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 403", "{protocols:?}");
    }
}

#[tokio::test]
async fn a_caller_gets_no_100_continue_for_a_request_that_box_refuses() {
    let bench = http1().await;
    bench.until_ready().await;
    bench.sandbox.script("/api/2.0/files/content", vec![Fault::RefuseExpectation]);
    let mut socket = bench.connect().await;
    let head = "POST /2.0/files/content HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0_u8; 12];
    in_time(socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
    assert_eq!(bench.sandbox.last_seen().unwrap().body_bytes, 0);
}

#[tokio::test]
async fn boxs_100_continue_is_passed_on() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let mut socket = bench.connect().await;
    let body = r#"{"name":"invited","parent":{"id":"0"}}"#;
    let head = format!(
        "POST /2.0/folders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0_u8; 25];
    in_time(socket.read_exact(&mut interim)).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(body.as_bytes()).await.unwrap();
    let mut answer = [0_u8; 12];
    in_time(socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201");
    let seen = bench.sandbox.last_seen().unwrap();
    assert_eq!(
        (seen.version, &seen.headers["expect"]),
        (http::Version::HTTP_11, &http::HeaderValue::from_static("100-continue"))
    );
}

#[tokio::test]
async fn trailers_pass_where_both_sides_announced_them() {
    let bench = http1().await;
    bench.until_ready().await;
    bench.sandbox.script("/2.0/users/me", vec![Fault::Trailers]);
    let answer = bench
        .raw("GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n")
        .await;
    assert!(answer.to_lowercase().contains("trailer: x-checksum"), "{answer}");
    assert!(answer.trim_end().to_lowercase().ends_with("x-checksum: sandbox"), "{answer}");
}

#[tokio::test]
async fn a_slow_head_is_answered_with_a_timeout() {
    let bench = Bench::with("[upstream]\nproxy = \"none\"\nresponse_timeout = \"200ms\"").await;
    bench.until_ready().await;
    let _held = bench.sandbox.hold_replies("/2.0/users/me");
    assert_eq!(refusal(bench.get("/2.0/users/me").await).await, (504, "upstream_timeout".into()));
    in_time(bench.sandbox.wait_for_cancelled(1)).await;
}

#[tokio::test]
async fn slow_heads_and_idle_connections_of_callers_end() {
    let bench = Bench::with("[server]\nheader_timeout = \"100ms\"\nkeepalive_timeout = \"100ms\"").await;
    assert_eq!(bench.raw("GET /2.0/users").await, "", "a head that does not come");
    assert_eq!(bench.raw("").await, "", "a connection that says nothing");
    let answer = bench.raw("GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "then it idles and is closed: {answer}");
}

#[tokio::test]
async fn a_drain_waits_for_requests_in_flight() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let held = bench.sandbox.hold_replies("/2.0/users/me");
    let request = bench.client.get(bench.url("/2.0/users/me"));
    let answering = tokio::spawn(request.send());
    in_time(bench.sandbox.wait_for_calls(1)).await;
    bench.stop(Stop::Drain);
    until(|| async { bench.admin("/readyz").await.1.contains("draining") }).await;
    drop(held);
    assert_eq!(in_time(answering).await.unwrap().unwrap().status(), 200);
    bench.stopped().await;
}

#[tokio::test]
async fn a_stop_at_once_waits_for_nothing() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let _held = bench.sandbox.hold_replies("/2.0/users/me");
    let answering = tokio::spawn(bench.client.get(bench.url("/2.0/users/me")).send());
    in_time(bench.sandbox.wait_for_calls(1)).await;
    bench.stop(Stop::Now);
    assert!(in_time(answering).await.unwrap().is_err());
    tokio::time::timeout(Duration::from_secs(10), bench.stopped()).await.unwrap();
}

/// This tests a timeout, so real time must pass.
#[tokio::test]
async fn a_download_outlasts_the_keepalive_timeout() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let more = "[server]\nkeepalive_timeout = \"100ms\"\nheader_timeout = \"100ms\"";
        let bench = Bench::of(Options { protocols, ..Options::default() }, more).await;
        let file = bench.sandbox.add_file("0", "z", Content::Zeros(32 << 20));
        let mut answer = bench.get(&format!("/api/2.0/files/{file}/content")).await;
        let mut length = answer.chunk().await.unwrap().unwrap().len();
        tokio::time::sleep(Duration::from_millis(500)).await;
        while let Some(chunk) = answer.chunk().await.unwrap() {
            length += chunk.len();
        }
        assert_eq!(length, 32 << 20, "{protocols:?}");
    }
}

#[tokio::test]
async fn fields_that_are_dropped_as_headers_are_dropped_as_trailers_too() {
    for bench in [Bench::start().await, http1().await] {
        bench.until_ready().await;
        let names = [
            "Authorization",
            "Cookie",
            "As-User",
            "BoxApi",
            "Origin",
            "Referer",
            "Sec-Fetch-Site",
            "X-HTTP-Method-Override",
            "X-Checksum",
            "Content-Type",
            "Digest",
        ];
        let announced = names.join(", ");
        let said = names.map(|name| format!("{name}: canary\r\n")).concat();
        let body = r#"{"name":"t","parent":{"id":"0"}}"#;
        let answer = bench
            .raw(&format!(
                "POST /2.0/folders HTTP/1.1\r\nHost: localhost\r\nTrailer: {announced}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{:x}\r\n{body}\r\n0\r\n{said}\r\n",
                body.len()
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        let seen = bench.sandbox.last_seen().unwrap();
        assert_eq!(seen.trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["digest"]);
        assert_eq!(seen.headers["trailer"], "digest");
    }
}
