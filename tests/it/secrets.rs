//! Box, a token endpoint or a proxy may repeat what was sent to it: secrets and tokens are blanked in everything that
//! leaves the program.

use std::io::Write;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use boxgate::sandbox::{Fault, Options, Sandbox, TokenAnswer};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Bench, in_time, refusal, until};
use crate::raw::frames;
use crate::raw::raw_box::{Begun, BoxConnection, RawBox};

const ME: &str = "/2.0/users/me";
const SECRET: &str = "canary/client+secret \"7c1f\"";

/// The token that Box got with the last call.
fn last_token(bench: &Bench) -> String {
    let seen = bench.sandbox.last_seen().unwrap();
    let value = seen.headers["authorization"].to_str().unwrap().to_owned();
    value.strip_prefix("Bearer ").unwrap().to_owned()
}

fn error(status: u16, fields: &[(&'static str, &str)], body: impl Into<Bytes>) -> Fault {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    for (name, value) in fields {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    Fault::Status { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() }
}

/// A bench whose token is at hand.
async fn bench() -> Bench {
    let bench = Bench::of(Options { client_secret: SECRET.to_owned(), ..Options::default() }, "").await;
    bench.until_ready().await;
    assert_eq!(bench.get(ME).await.status(), 200);
    bench
}

#[tokio::test]
async fn an_error_of_box_that_repeats_the_token_comes_back_without_it() {
    let bench = bench().await;
    let token = last_token(&bench);
    let basic = BASE64_STANDARD.encode(format!("app:{token}"));
    let percent: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let unicode: String = token.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    for status in [400, 403, 404, 409, 412, 500] {
        let body = format!(
            r#"{{"type":"error","status":{status},"code":"x","message":"Bearer {token}, Basic {basic}, {percent}, {unicode}","request_id":"abc"}}"#
        );
        let challenge = format!("Bearer realm=\"Service\", error_description=\"{token}\"");
        // Of an operation that is looked into for URLs (a 409 alone), and of one that is not.
        for path in ["/2.0/files/1", ME] {
            bench
                .sandbox
                .script(path, vec![error(status, &[("www-authenticate", &challenge)], body.clone())]);
            let answer = bench.get(path).await;
            assert_eq!(answer.status(), status);
            let fields = format!("{:?}", answer.headers());
            assert!(!fields.contains(&token) && fields.contains("[secret]"), "{fields}");
            assert_eq!(
                answer.headers()["www-authenticate"],
                "Bearer realm=\"Service\", error_description=\"[secret]\""
            );
            let length =
                answer.headers().get("content-length").map(|length| length.to_str().unwrap().parse());
            let text = answer.text().await.unwrap();
            assert_eq!(length.unwrap_or(Ok(body.len())), Ok(text.len()));
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            let stars = |spelling: &str| "*".repeat(spelling.len());
            let want = format!(
                "Bearer {}, Basic {}, {}, {}",
                stars(&token),
                stars(&basic),
                stars(&percent),
                stars(&unicode)
            );
            assert_eq!(
                (read["message"].as_str(), read["request_id"].as_str()),
                (Some(want.as_str()), Some("abc"))
            );
        }
    }
}

#[tokio::test]
async fn a_replaced_token_is_blanked_too_and_other_texts_pass_unchanged() {
    let bench = bench().await;
    let old = last_token(&bench);
    bench.sandbox.expire_tokens();
    assert_eq!(bench.get(ME).await.status(), 200);
    let new = last_token(&bench);
    assert_ne!(old, new);
    let body = format!("{{\"old\":\"{old}\",\"new\":\"{new}\",\"other\":\"{}\"}}", "ab".repeat(16));
    bench.sandbox.script(ME, vec![error(404, &[], body.clone())]);
    let text = bench.get(ME).await.text().await.unwrap();
    let stars = "*".repeat(old.len());
    assert_eq!(text, body.replace(&old, &stars).replace(&new, &stars));

    // A response that is not an error streams unchanged, whatever it contains.
    bench.sandbox.script(ME, vec![error(200, &[], body.clone())]);
    assert_eq!(bench.get(ME).await.text().await.unwrap(), body);
}

#[tokio::test]
async fn a_compressed_error_is_passed_on_decoded_and_without_the_token() {
    let bench = bench().await;
    let token = last_token(&bench);
    let text = format!("{{\"message\":\"{token}\"}}");
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(text.as_bytes()).unwrap();
    for (encoding, body) in [("gzip", gzip_of(&text)), ("deflate", zlib.finish().unwrap())] {
        bench.sandbox.script(ME, vec![error(403, &[("content-encoding", encoding)], body)]);
        let get = bench.client.get(bench.url(ME)).header("accept-encoding", "gzip, deflate, br, zstd");
        let answer = get.send().await.unwrap();
        assert_eq!(bench.sandbox.last_seen().unwrap().headers["accept-encoding"], "gzip, deflate");
        assert_eq!((answer.status().as_u16(), answer.headers().get("content-encoding")), (403, None));
        assert_eq!(answer.headers()["content-length"], text.len().to_string());
        assert_eq!(answer.text().await.unwrap(), text.replace(&token, &"*".repeat(token.len())));
    }
    // Both of two fields are evaluated.
    let mut doubled = error(403, &[("content-encoding", "identity")], gzip_of(&text));
    if let Fault::Status { headers, .. } = &mut doubled {
        headers.append("content-encoding", HeaderValue::from_static("gzip"));
    }
    bench.sandbox.script(ME, vec![doubled]);
    let answer = bench.get(ME).await;
    assert_eq!(answer.headers().get("content-encoding"), None);
    assert_eq!(answer.text().await.unwrap(), text.replace(&token, &"*".repeat(token.len())));
    for encoding in ["br", "gzip"] {
        bench.sandbox.script(ME, vec![error(403, &[("content-encoding", encoding)], "no such thing")]);
        assert_eq!(refusal(bench.get(ME).await).await, (502, "upstream_protocol_error".to_owned()));
    }
}

fn gzip_of(text: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

/// Some servers declare a coding for every response, with or without a body.
#[tokio::test]
async fn an_error_with_a_coding_and_no_body_is_passed_on() {
    let bench = bench().await;
    let begun = |body: Vec<u8>| error(404, &[("content-encoding", "gzip"), ("x-of-box", "1")], body);
    for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
        bench.sandbox.script(ME, vec![begun(Vec::new())]);
        let answer = bench.client.request(method, bench.url(ME)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["x-of-box"].as_bytes()), (404, &b"1"[..]));
        assert_eq!(answer.headers().get("content-encoding"), None);
        assert_eq!(answer.text().await.unwrap(), "");
    }
    // HEAD tells what a GET would get, which is not compressed.
    bench.sandbox.script(ME, vec![begun(gzip_of("no such file"))]);
    let answer = bench.client.head(bench.url(ME)).send().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers().get("content-encoding"),
            answer.headers().get("content-length")
        ),
        (404, None, None)
    );
}

/// Cut anywhere, over both versions of HTTP, with and without a length.
#[tokio::test]
async fn a_token_that_comes_in_pieces_is_blanked() {
    let token = "canary-access-token-0123456789abcdef";
    let body = format!("<{token}>{}<{token}", "z".repeat(10_000));
    for (is_http2, with_length) in [(false, false), (false, true), (true, false), (true, true)] {
        let (raw, sandbox) =
            (RawBox::start(is_http2).await, Sandbox::start(Options::default()).await.unwrap());
        let granted = format!("{{\"access_token\":\"{token}\",\"expires_in\":3600}}");
        let content_type = "application/json".to_owned();
        sandbox.token_always(Some(TokenAnswer::Body { status: 200, body: granted, content_type }));
        let table = raw.table(&sandbox.token_url());
        let bench = Bench::before_trusting(sandbox, &raw.pem, &table).await;
        let getting = tokio::spawn(bench.client.get(bench.url(ME)).send());
        let mut connection = in_time(raw.accept()).await;
        let begun = in_time(connection.request()).await.unwrap();
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(7).collect();
        say_in_pieces(&mut connection, &begun, with_length.then_some(body.len()), &pieces).await;
        let answer = in_time(getting).await.unwrap().unwrap();
        assert_eq!(answer.status(), 403);
        let text = in_time(answer.text()).await.unwrap();
        assert!(text == body.replace(token, &"*".repeat(token.len())), "HTTP/2: {is_http2}: {text}");
    }
}

/// hyper would pass it on.
#[tokio::test]
async fn a_reason_phrase_that_repeats_the_token_is_left_out() {
    let raw = RawBox::start(false).await;
    let bench = Bench::before_raw(&raw, "").await;
    for reason in ["no such thing", "no TOKEN here"] {
        let mut caller = bench.connect().await;
        let request = format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        caller.write_all(request.as_bytes()).await.unwrap();
        let mut connection = in_time(raw.accept()).await;
        let begun = in_time(connection.request()).await.unwrap();
        let (_, token) = begun.head.split_once("Bearer ").unwrap();
        let token = token.split_whitespace().next().unwrap();
        let said = reason.replace("TOKEN", token);
        let head = format!("HTTP/1.1 403 {said}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        connection.say(head.as_bytes()).await;
        let mut answer = String::new();
        in_time(caller.read_to_string(&mut answer)).await.unwrap();
        let status = answer.lines().next().unwrap();
        let want = if said == reason {
            format!("HTTP/1.1 403 {reason}")
        } else {
            "HTTP/1.1 403 Forbidden".to_owned()
        };
        assert_eq!(status, want);
    }
}

/// A 403 whose body comes in these pieces, each in a chunk, segment or frame of its own.
async fn say_in_pieces(to: &mut BoxConnection, begun: &Begun, length: Option<usize>, pieces: &[&[u8]]) {
    if to.is_http2 {
        let length = length.map(|length| length.to_string());
        let mut fields = vec![(":status", "403"), ("content-type", "text/plain")];
        fields.extend(length.as_deref().map(|length| ("content-length", length)));
        to.say(&frames::headers(begun.stream, false, &fields)).await;
        for piece in pieces {
            to.say(&frames::data(begun.stream, false, piece)).await;
        }
        to.say(&frames::data(begun.stream, true, b"")).await;
        return;
    }
    let framing = match length {
        Some(length) => format!("Content-Length: {length}"),
        None => "Transfer-Encoding: chunked".to_owned(),
    };
    to.say(format!("HTTP/1.1 403 Any\r\nContent-Type: text/plain\r\n{framing}\r\n\r\n").as_bytes()).await;
    for piece in pieces {
        match length {
            Some(_) => to.say(piece).await,
            None => to.say(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await,
        }
    }
    if length.is_none() {
        to.say(b"0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn secrets_that_the_token_endpoint_repeats_are_not_on_readyz() {
    let bench = bench().await;
    let token = last_token(&bench);
    let form: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let words = format!("no client with {SECRET}, {form}, {token}");
    bench.sandbox.token_always(Some(TokenAnswer::refuse("invalid_client", &words)));
    bench.sandbox.expire_tokens();
    assert_eq!(refusal(bench.get(ME).await).await.0, 502);
    until(|| async { bench.admin("/readyz").await.1.contains("invalid_client") }).await;
    let (status, text) = bench.admin("/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(
        text,
        "identity service: Box refuses the credentials: invalid_client (no client with [secret], [secret], [secret])\n"
    );
}

/// Messages of the endpoint are truncated, and a truncated secret would not be recognized.
#[tokio::test]
async fn messages_of_the_token_endpoint_are_searched_before_they_are_truncated() {
    let bench = bench().await;
    let words = format!("{}{SECRET}", "x".repeat(285));
    bench.sandbox.token_always(Some(TokenAnswer::refuse("invalid_client", &words)));
    bench.sandbox.expire_tokens();
    assert_eq!(refusal(bench.get(ME).await).await.0, 502);
    until(|| async { bench.admin("/readyz").await.1.contains("invalid_client") }).await;
    let (_, text) = bench.admin("/readyz").await;
    assert!(text.contains("x[secret]") && !text.contains("can"), "{text}");
}

/// No refusal repeats a secret that a caller has sent.
#[tokio::test]
async fn the_gateways_own_errors_repeat_no_secret() {
    let secret = "canary-client-secret-51d0";
    let bench = Bench::of(Options { client_secret: secret.to_owned(), ..Options::default() }, "").await;
    bench.until_ready().await;
    let answer =
        bench.client.get(bench.url(ME)).header("host", format!("{secret}.example")).send().await.unwrap();
    assert_eq!(answer.status(), 421);
    let text = answer.text().await.unwrap();
    assert!(!text.contains(secret) && text.contains("[secret].example"), "{text}");
}
