//! Failed requests are attributed to the caller, to Box, or to the stop of the gateway.

use boxgate::sandbox::{Content, Fault, Options, Protocols};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Bench, in_time, json, refusal, until};
use crate::raw::caller::RawCaller;
use crate::raw::frames;
use crate::raw::raw_box::RawBox;
use crate::raw::reading_box::ReadingBox;

fn chunked(method: &str, body: &str) -> String {
    format!(
        "{method} /2.0/folders HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
    )
}

fn of(protocols: Protocols) -> Options {
    Options { protocols, ..Options::default() }
}

#[tokio::test]
async fn a_malformed_chunk_is_attributed_to_the_caller() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let bench = Bench::of(of(protocols), "").await;
        bench.until_ready().await;
        for method in ["POST", "GET", "PUT", "OPTIONS"] {
            for body in [
                "0x5\r\nhello\r\n0\r\n\r\n",
                "5\r\nhellooo\r\n0\r\n\r\n",
                "zz\r\n",
                "5\r\nhello\r\nzz\r\n",
                "-1\r\n\r\n",
                "5\nhello\r\n0\r\n\r\n",
                "ffffffffffffffffff\r\nhello",
            ] {
                let answer = bench.raw(&chunked(method, body)).await;
                assert!(answer.starts_with("HTTP/1.1 400 "), "{method} {body:?}: {answer}");
                assert!(answer.contains("\"code\":\"bad_request\""), "{method} {body:?}: {answer}");
            }
        }
        assert_eq!(bench.metric("boxgate_retries_total").await, 0.0, "{protocols:?}");
    }
}

#[tokio::test]
async fn a_malformed_body_is_refused_while_it_waits_for_its_turn() {
    let more = "[[limit]]\nname = \"slow\"\nkey = \"global\"\nrate = \"6/min\"\nburst = 1\nwait = \"30s\"";
    let bench = Bench::with(more).await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
    let answer = bench.raw(&chunked("POST", "zz\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn the_body_of_a_get_is_forwarded_unless_it_is_empty() {
    for is_http2 in [false, true] {
        let at = ReadingBox::start(is_http2).await;
        let bench = Bench::before_raw(&at.raw, "").await;
        let get = |path: &str, body: &str| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
            )
        };
        let answer = bench.raw(&get("/2.0/users/1", "5\r\nhello\r\n0\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(at.received("/2.0/users/1").await, [Ok(b"hello".to_vec())]);
        let answer = bench.raw(&get("/2.0/users/2", "0\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(at.received("/2.0/users/2").await, [Ok(Vec::new())]);
        let answer = bench.raw(&get("/2.0/users/3", "5\r\nhello\r\nzz\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(at.received("/2.0/users/3").await.iter().all(Result::is_err));
    }
}

#[tokio::test]
async fn a_get_that_ends_with_an_empty_frame_has_no_body() {
    let bench = Bench::of(of(Protocols::Http1), "").await;
    bench.until_ready().await;
    let mut caller = RawCaller::connect(&bench.address, true).await;
    let head = frames::headers(1, false, &crate::raw::caller::fields("GET", "/2.0/users/me"));
    caller.say(&[head, frames::data(1, true, b"")].concat()).await;
    assert_eq!(in_time(caller.answer()).await.unwrap().0, 200);
    let seen = bench.sandbox.last_seen().unwrap();
    assert!(seen.headers.get("transfer-encoding").is_none(), "{:?}", seen.headers);
}

/// Box takes the body and does not answer: response_timeout counts from the end of the body.
#[tokio::test]
async fn response_timeout_counts_from_the_end_of_the_body() {
    let more = "[upstream]\nproxy = \"none\"\nresponse_timeout = \"300ms\"\nbody_timeout = \"10m\"";
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let bench = Bench::of(of(protocols), more).await;
        bench.until_ready().await;
        bench.sandbox.script("/2.0/folders", vec![Fault::Hang; 2]);
        let post = bench.client.post(bench.url("/2.0/folders")).body("{}");
        let answer = in_time(post.send()).await.unwrap();
        assert_eq!(refusal(answer).await, (504, "upstream_timeout".into()), "{protocols:?}");
        let answer = in_time(bench.raw(&chunked("POST", "2\r\n{}\r\n0\r\n\r\n"))).await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{protocols:?}: {answer}");
    }
}

/// Edited responses are read before their head is passed on; body_timeout applies to that.
#[tokio::test]
async fn response_timeout_does_not_apply_to_the_body_of_an_edited_response() {
    let at = RawBox::start(false).await;
    let more = "[upstream]\nproxy = \"none\"\nresponse_timeout = \"200ms\"\nbody_timeout = \"10m\"\n";
    let bench = Bench::before_raw(&at, more).await;
    let mut caller = RawCaller::connect(&bench.address, false).await;
    caller.get("/2.0/folders/0", "1.1").await;
    let mut connection = in_time(at.accept()).await;
    connection.request().await.unwrap();
    connection
        .say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"a\":")
        .await;
    // Time is what this is about, so time must pass.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    connection.say(b"\"bc\"}").await;
    let (status, body) = in_time(caller.answer()).await.unwrap();
    assert_eq!((status, body), (200, Ok(b"{\"a\":\"bc\"}".to_vec())));
}

#[tokio::test]
async fn an_edited_response_whose_body_stalls_is_given_up() {
    let at = RawBox::start(true).await;
    let more = "[upstream]\nproxy = \"none\"\nbody_timeout = \"200ms\"\n";
    let bench = Bench::before_raw(&at, more).await;
    let answering = bench.get("/2.0/folders/0");
    let stalling = async {
        let mut connection = in_time(at.accept()).await;
        let begun = connection.request().await.unwrap();
        let fields = [(":status", "200"), ("content-type", "application/json")];
        connection.say(&frames::headers(begun.stream, false, &fields)).await;
        connection.say(&frames::data(begun.stream, false, b"{")).await;
        connection
    };
    let (answer, _connection) = in_time(async { tokio::join!(answering, stalling) }).await;
    assert_eq!(refusal(answer).await, (504, "upstream_timeout".into()));
}

#[tokio::test]
async fn an_unrequested_101_is_attributed_to_box() {
    for to_http2 in [false, true] {
        let at = RawBox::start(false).await;
        let bench = Bench::before_raw(&at, "").await;
        let mut caller = RawCaller::connect(&bench.address, to_http2).await;
        caller.get("/2.0/users/me", "1.1").await;
        let mut connection = in_time(at.accept()).await;
        connection.request().await.unwrap();
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        connection.say(switch).await;
        let (_, body) = in_time(caller.answer()).await.expect("an answer, on a connection that stays");
        let body: serde_json::Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!(body["code"], "upstream_protocol_error", "{body}");
        assert!(connection.request().await.is_none(), "nothing more is said on that connection");
    }
}

/// HTTP/2 has no such answer (RFC 9113 §8.6): it is an interim one like others, and not passed on.
#[tokio::test]
async fn over_http_2_a_switch_of_protocols_is_not_passed_on() {
    let at = RawBox::start(true).await;
    let bench = Bench::before_raw(&at, "").await;
    let mut caller = RawCaller::connect(&bench.address, true).await;
    caller.get("/2.0/users/me", "1.1").await;
    let mut connection = in_time(at.accept()).await;
    let begun = connection.request().await.unwrap();
    connection.say(&frames::headers(begun.stream, false, &[(":status", "101")])).await;
    connection.answer(&begun, 200, "{}").await;
    assert_eq!(in_time(caller.answer()).await.unwrap(), (200, Ok(b"{}".to_vec())));
}

/// 204, 304 and the answers to HEAD end with their head, whatever length they say and whatever Box sends after it.
#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    for is_http2 in [false, true] {
        for (status, method) in [(204, "GET"), (304, "GET"), (200, "HEAD"), (304, "HEAD")] {
            for trailing in [false, true] {
                for to_http2 in [false, true] {
                    let case = format!("{is_http2} {status} {method} {trailing} {to_http2}");
                    let at = RawBox::start(is_http2).await;
                    let bench = Bench::before_raw(&at, "").await;
                    let protocol = reqwest::Client::builder()
                        .no_proxy()
                        .tls_backend_preconfigured(crate::harness::no_tls());
                    let client = match to_http2 {
                        true => protocol.http2_prior_knowledge(),
                        false => protocol.http1_only(),
                    };
                    let method = method.parse().unwrap();
                    let asking = client.build().unwrap().request(method, bench.url("/2.0/files/1")).send();
                    let answering = async {
                        let mut connection = in_time(at.accept()).await;
                        let begun = connection.request().await.unwrap();
                        let code = status.to_string();
                        let said = match is_http2 {
                            true => {
                                let mut fields = vec![(":status", code.as_str()), ("etag", "\"1\"")];
                                if status != 204 {
                                    fields.push(("content-length", "100"));
                                }
                                let head = frames::headers(begun.stream, !trailing, &fields);
                                let end =
                                    if trailing { frames::data(begun.stream, true, b"") } else { vec![] };
                                [head, end].concat()
                            }
                            false => {
                                let length = if status == 204 { "" } else { "Content-Length: 100\r\n" };
                                format!("HTTP/1.1 {status} Any\r\nETag: \"1\"\r\n{length}\r\n").into_bytes()
                            }
                        };
                        connection.say(&said).await;
                        connection
                    };
                    let (answer, _connection) = in_time(async { tokio::join!(asking, answering) }).await;
                    let answer = answer.unwrap_or_else(|error| panic!("{case}: {error:?}"));
                    assert_eq!(answer.status(), status, "{case}");
                    assert_eq!(
                        answer.bytes().await.unwrap_or_else(|error| panic!("{case}: {error:?}")).len(),
                        0
                    );
                    let whole = "boxgate_requests_total{app=\"default\",method=";
                    until(|| async {
                        let (_, text) = bench.admin("/metrics").await;
                        text.lines()
                            .any(|line| line.starts_with(whole) && line.contains("answered_by=\"box\""))
                    })
                    .await;
                }
            }
        }
    }
}

/// A caller that has said its request may end its side of the connection and still gets its answer; one that is gone
/// does not keep the request alive.
#[tokio::test]
async fn a_caller_that_ends_its_side_after_a_whole_request_gets_its_answer() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let file = bench.sandbox.add_file("0", "z", Content::Zeros(3 << 20));
    let content = format!("GET /api/2.0/files/{file}/content HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let length = "{\"name\":\"f\",\"parent\":{\"id\":\"0\"}}";
    let post = format!(
        "POST /2.0/folders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{length}",
        length.len()
    );
    let get = "GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned();
    let old = "GET /2.0/users/me HTTP/1.0\r\nHost: localhost\r\n\r\n".to_owned();
    // The answer is begun before Box's is there in the second round, and perhaps in the first.
    for wait in [0, 500] {
        for (request, status, length) in [
            (&content, 200, 3 << 20),
            (&post, if wait == 0 { 201 } else { 409 }, 0),
            (&get, 200, 0),
            (&old, 200, 0),
        ] {
            let held = bench.sandbox.hold_replies("/");
            let calls = bench.sandbox.calls();
            let mut socket = bench.connect().await;
            socket.write_all(request.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
            in_time(bench.sandbox.wait_for_calls(calls + 1)).await;
            // Time is what this is about, so time must pass.
            tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
            drop(held);
            let mut answer = Vec::new();
            in_time(socket.read_to_end(&mut answer)).await.unwrap();
            let text = String::from_utf8_lossy(&answer);
            let version = if request == &old { "1.0" } else { "1.1" };
            assert!(text.starts_with(&format!("HTTP/{version} {status} ")), "{request}: {}", &text[..100]);
            assert!(answer.len() > length, "{request}");
        }
    }
}

#[tokio::test]
async fn a_caller_that_ends_its_side_within_the_body_has_left() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    for request in [
        "POST /2.0/folders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello".to_owned(),
        chunked("POST", "5\r\nhello\r\n"),
        chunked("GET", "5\r\nhello\r\n"),
    ] {
        let mut socket = bench.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        in_time(socket.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("broke off"), "{answer}");
    }
    let (_, text) = bench.admin("/metrics").await;
    let of =
        |status: &str| text.lines().filter(|line| line.contains(&format!("status=\"{status}\""))).count();
    assert_eq!((of("499"), of("502"), of("400")), (2, 0, 0), "{text}");
}

/// `100 Continue` is not a response: a caller that leaves after it is noticed all the same.
#[tokio::test]
async fn a_caller_that_leaves_after_100_continue_is_noticed() {
    let bench = Bench::of(of(Protocols::Http1), "").await;
    bench.until_ready().await;
    // Box is silent, so the gateway sends 100 Continue after a second.
    let _held = bench.sandbox.hold_replies("/2.0/folders");
    let body = r#"{"name":"invited","parent":{"id":"0"}}"#;
    let mut socket = bench.connect().await;
    let head = format!(
        "POST /2.0/folders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    in_time(socket.read_exact(&mut interim)).await.unwrap();
    socket.write_all(body.as_bytes()).await.unwrap();
    drop(socket);
    let left =
        "boxgate_requests_total{app=\"default\",method=\"POST\",status=\"499\",answered_by=\"gateway\"}";
    until(|| async { bench.metric(left).await == 1.0 }).await;
}

/// Nothing of an edited response is sent to the caller before its head.
#[tokio::test]
async fn a_caller_that_leaves_while_its_response_is_edited_left_before_the_response() {
    let at = RawBox::start(true).await;
    let bench = Bench::before_raw(&at, "").await;
    let mut caller = RawCaller::connect(&bench.address, false).await;
    caller.get("/2.0/folders/0", "1.1").await;
    let mut connection = in_time(at.accept()).await;
    let begun = connection.request().await.unwrap();
    let fields = [(":status", "200"), ("content-type", "application/json")];
    let head = frames::headers(begun.stream, false, &fields);
    connection.say(&[head, frames::data(begun.stream, false, b"{")].concat()).await;
    drop(caller);
    let left =
        "boxgate_requests_total{app=\"default\",method=\"GET\",status=\"499\",answered_by=\"gateway\"}";
    until(|| async { bench.metric(left).await == 1.0 }).await;
}

#[tokio::test]
async fn a_refusal_of_head_ends_with_its_head() {
    let bench = Bench::start().await;
    for to_http2 in [false, true] {
        let mut caller = RawCaller::connect(&bench.address, to_http2).await;
        if !to_http2 {
            let answer =
                bench.raw("HEAD /favicon.ico HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("\r\n\r\n"), "{answer}");
            assert!(answer.to_lowercase().contains("content-length: "), "{answer}");
            continue;
        }
        let head = frames::headers(1, true, &crate::raw::caller::fields("HEAD", "/favicon.ico"));
        caller.say(&head).await;
        let answer = in_time(caller.frame()).await.unwrap();
        assert_eq!((answer.kind, answer.status(), answer.ends_stream()), (frames::HEADERS, 404, true));
    }
    let whole =
        "boxgate_requests_total{app=\"default\",method=\"HEAD\",status=\"404\",answered_by=\"gateway\"}";
    until(|| async { bench.metric(whole).await == 2.0 }).await;
}

/// The redirect that the gateway followed was not sent to the caller.
#[tokio::test]
async fn a_caller_that_leaves_while_its_redirect_is_followed_left_before_the_response() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let file = bench.sandbox.add_file("0", "z", Content::Zeros(1 << 20));
    let _held = bench.sandbox.hold_replies("/d/");
    let mut socket = bench.connect().await;
    let get = format!("GET /2.0/files/{file}/content HTTP/1.1\r\nHost: localhost\r\n\r\n");
    socket.write_all(get.as_bytes()).await.unwrap();
    in_time(bench.sandbox.wait_for_calls(2)).await;
    drop(socket);
    in_time(bench.sandbox.wait_for_cancelled(1)).await;
    let left =
        "boxgate_requests_total{app=\"default\",method=\"GET\",status=\"499\",answered_by=\"gateway\"}";
    until(|| async { bench.metric(left).await == 1.0 }).await;
}

/// The rest of a body comes with the end of the caller's side, after the gateway has stopped waiting for it.
#[tokio::test]
async fn a_body_whose_end_arrives_while_it_is_not_read_is_complete() {
    let more = "[[limit]]\nname = \"paced\"\nkey = \"global\"\non = [\"POST /2.0/folders\"]\nrate = \"60/min\"\nburst = 1\nwait = \"30s\"";
    let bench = Bench::with(more).await;
    bench.until_ready().await;
    let post = |name: &str| {
        let body = format!(r#"{{"name":"{name}","parent":{{"id":"0"}}}}"#);
        let head = format!(
            "POST /2.0/folders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        (head, body)
    };
    let held = bench.sandbox.hold_token_replies();
    let asked = bench.sandbox.token_requests();
    bench.clock.advance(std::time::Duration::from_secs(3700));
    in_time(bench.sandbox.wait_for_token_requests(asked + 1)).await;
    // The first has its turn and waits for a token.
    let (head, body) = post("first");
    let mut first = bench.connect().await;
    first.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    // The second waits for its turn, and its body is waited for meanwhile; then it waits for a token too.
    let (head, body) = post("second");
    let (begin, rest) = body.split_at(5);
    let mut socket = bench.connect().await;
    socket.write_all(format!("{head}{begin}").as_bytes()).await.unwrap();
    let queued = "boxgate_limit_queued{limit=\"paced\"}";
    until(|| async { bench.metric(queued).await == 1.0 }).await;
    until(|| async { bench.metric(queued).await == 0.0 }).await;
    socket.write_all(rest.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    // Time in which the end could be misread.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    drop(held);
    let mut answer = Vec::new();
    in_time(socket.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 201 "), "{}", String::from_utf8_lossy(&answer));
}

/// A caller that ends its side and takes its time to read gets the whole of its answer, however much of it waits in the
/// gateway when Box is done.
#[tokio::test]
async fn a_slow_caller_that_ended_its_side_gets_the_end_of_its_answer() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    for version in ["1.0", "1.1"] {
        for length in (0..24).map(|nth| 60_000 + nth * 47_111) {
            let file = bench.sandbox.add_file("0", &format!("{version}-{length}"), Content::Zeros(length));
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut socket = socket.connect(bench.address.parse().unwrap()).await.unwrap();
            let get = format!(
                "GET /api/2.0/files/{file}/content HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            );
            socket.write_all(get.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
            // Time is what this is about, so time must pass.
            tokio::time::sleep(std::time::Duration::from_millis(60)).await;
            let mut answer = Vec::new();
            in_time(socket.read_to_end(&mut answer)).await.unwrap();
            let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            assert_eq!((answer.len() - head) as u64, length, "HTTP/{version}");
        }
    }
}

/// hyper gives the last chunk and the end of a body before the reader has asked for them.
#[tokio::test]
async fn a_body_that_is_unread_when_its_caller_ends_its_side_is_complete() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    bench.sandbox.expire_tokens();
    let held = bench.sandbox.hold_token_replies();
    let before = bench.sandbox.token_requests();
    let body = r#"{"name":"half-closed","parent":{"id":"0"}}"#;
    let mut socket = bench.connect().await;
    let request = format!(
        "POST /2.0/folders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    in_time(bench.sandbox.wait_for_token_requests(before + 1)).await;
    drop(held);
    let mut answer = Vec::new();
    in_time(socket.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 201 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_token_that_box_revokes_is_replaced_at_once_every_time() {
    let bench = Bench::start().await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
    let before = bench.sandbox.token_requests();
    for nth in 1..=10 {
        bench.sandbox.expire_tokens();
        assert_eq!(bench.get("/2.0/users/me").await.status(), 200, "{nth}");
        assert_eq!(bench.sandbox.token_requests(), before + nth);
    }
}

#[tokio::test]
async fn after_a_storm_of_401s_a_token_that_was_accepted_and_revoked_is_replaced() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    bench.sandbox.always_unauthorized("/2.0/users/");
    let before = bench.sandbox.token_requests();
    for _ in 0..10 {
        assert_eq!(refusal(bench.get("/2.0/users/me").await).await.0, 502);
        assert_eq!(bench.get("/2.0/folders/0").await.status(), 200, "others go on");
    }
    let after = bench.sandbox.token_requests();
    assert_eq!(after, before + 3, "though tokens were accepted elsewhere in between");
    bench.sandbox.expire_tokens();
    let folder = json(bench.get("/2.0/folders/0").await).await;
    assert_eq!(folder["type"], "folder");
    assert_eq!(bench.sandbox.token_requests(), after + 1);
}

/// If Box's stream ends because of the caller, the log says so.
#[tokio::test]
async fn an_http_2_caller_that_resets_its_upload_left() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    for reason in [frames::NO_ERROR, frames::CANCEL] {
        let before = bench.sandbox.calls();
        let mut caller = RawCaller::connect(&bench.address, true).await;
        let head = frames::headers(1, false, &crate::raw::caller::fields("POST", "/2.0/folders"));
        caller.say(&[head, frames::data(1, false, b"{")].concat()).await;
        in_time(bench.sandbox.wait_for_calls(before + 1)).await;
        caller.say(&[frames::data(1, false, b"\"a\""), frames::reset(1, reason)].concat()).await;
        in_time(bench.sandbox.wait_for_in_flight(0)).await;
    }
    let left =
        "boxgate_requests_total{app=\"default\",method=\"POST\",status=\"499\",answered_by=\"gateway\"}";
    until(|| async { bench.metric(left).await == 2.0 }).await;
}
