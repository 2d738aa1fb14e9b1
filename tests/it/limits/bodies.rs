use boxgate::sandbox::{Options, Protocols};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ME, TURN, slow_line, targets, until_queued};
use crate::harness::{Bench, in_time, json, no_tls};

const UPLOAD: &str = "/2.0/files/content";

async fn bench(protocols: Protocols) -> Bench {
    let bench = Bench::of(Options { protocols, ..Options::default() }, &slow_line()).await;
    assert_eq!(bench.get(ME).await.status(), 200);
    bench
}

fn head(path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n")
}

#[tokio::test]
async fn the_turn_of_a_caller_that_leaves_while_waiting_goes_to_the_next() {
    let bench = bench(Protocols::Both).await;
    let mut first = bench.connect().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    first.write_all(get(&format!("{ME}?first")).as_bytes()).await.unwrap();
    until_queued(&bench, "line", 1).await;
    let second = tokio::spawn(bench.client.get(bench.url(&format!("{ME}?second"))).send());
    until_queued(&bench, "line", 2).await;
    drop(first);
    until_queued(&bench, "line", 1).await;
    bench.clock.advance(TURN);
    assert_eq!(in_time(second).await.unwrap().unwrap().status(), 200);
    assert_eq!(targets(&bench), [ME.to_owned(), format!("{ME}?second")]);
}

#[tokio::test]
async fn a_caller_that_leaves_with_a_body_under_way_leaves_the_queue_too() {
    let bench = bench(Protocols::Both).await;
    for (fields, part) in [
        ("Content-Length: 5\r\n", &b"whole"[..]),
        ("Content-Length: 100000\r\n", b"not all"),
        ("Content-Length: 100000\r\n", b""),
        ("Transfer-Encoding: chunked\r\n", b"5\r\nwhole\r\n"),
        ("Content-Length: 5\r\nExpect: 100-continue\r\n", b""),
        ("Content-Length: 5\r\nExpect: 100-continue\r\n", b"wh"),
    ] {
        let mut socket = bench.connect().await;
        socket.write_all(head(UPLOAD, fields).as_bytes()).await.unwrap();
        socket.write_all(part).await.unwrap();
        until_queued(&bench, "line", 1).await;
        drop(socket);
        until_queued(&bench, "line", 0).await;
    }
    // HTTP/2, a body that goes on.
    let (_sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let upload = h2c().post(bench.url(UPLOAD)).body(reqwest::Body::wrap(Endless(receiver)));
    let uploading = tokio::spawn(upload.send());
    until_queued(&bench, "line", 1).await;
    uploading.abort();
    until_queued(&bench, "line", 0).await;
    bench.clock.advance(TURN);
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(targets(&bench), [ME, ME]);
}

/// A body of which nothing more comes while the sender lives.
struct Endless(tokio::sync::mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }
}

fn h2c() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
    client.tls_backend_preconfigured(no_tls()).build().unwrap()
}

fn multipart(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--b\r\nContent-Disposition: form-data; name=\"attributes\"\r\n\r\n\
         {{\"name\":{name:?},\"parent\":{{\"id\":\"0\"}}}}\r\n--b\r\n\
         Content-Disposition: form-data; name=\"file\"; filename={name:?}\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n--b--\r\n"].concat()
}

const TYPE: &str = "multipart/form-data; boundary=b";

/// Sends an upload on a connection of its own; the whole answer.
async fn raw(bench: &Bench, fields: &str, body: Vec<u8>) -> tokio::task::JoinHandle<String> {
    let mut socket = bench.connect().await;
    let head = head(UPLOAD, &format!("Content-Type: {TYPE}\r\n{fields}"));
    tokio::spawn(async move {
        socket.write_all(&[head.into_bytes(), body].concat()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    })
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    for piece in body.chunks(10_000) {
        framed.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        framed.extend(piece);
        framed.extend(b"\r\n");
    }
    framed.extend(b"0\r\nX-Checksum: mine\r\n\r\n");
    framed
}

#[tokio::test]
async fn the_body_of_an_upload_is_complete_after_waiting() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let bench = bench(protocols).await;
        for (way, length) in [("length", 100), ("chunked", 100), ("h2c", 100)].into_iter().chain([
            ("length", 300_000),
            ("chunked", 300_000),
            ("h2c", 300_000),
        ]) {
            let content: Vec<u8> = (0..length as u32).map(|n| (n % 251) as u8).collect();
            let body = multipart(&format!("{way}-{length}"), &content);
            let total = body.len() as u64;
            let answer = match way {
                "length" => raw(&bench, &format!("Content-Length: {total}\r\n"), body).await,
                "chunked" => {
                    let fields = "Transfer-Encoding: chunked\r\nTrailer: X-Checksum\r\nTE: trailers\r\n";
                    raw(&bench, fields, chunked(&body)).await
                }
                _ => {
                    let upload = h2c().post(bench.url(UPLOAD)).header("content-type", TYPE).body(body);
                    tokio::spawn(async move { format!("{:?}", upload.send().await.unwrap()) })
                }
            };
            until_queued(&bench, "line", 1).await;
            bench.clock.advance(TURN);
            let answer = in_time(answer).await.unwrap();
            assert!(answer.contains("201"), "{protocols:?} {way} {length}: {answer}");
            let seen = bench.sandbox.last_seen().unwrap();
            assert_eq!(seen.body_bytes, total, "{protocols:?} {way} {length}");
            // What Box keeps is what was sent.
            bench.clock.advance(TURN);
            let found = json(bench.get("/2.0/folders/0/items?fields=name&limit=1000").await).await;
            let entries = found["entries"].as_array().unwrap();
            let of_name = |entry: &&serde_json::Value| entry["name"] == format!("{way}-{length}");
            let id = entries.iter().find(of_name).unwrap()["id"].as_str().unwrap().to_owned();
            bench.clock.advance(TURN);
            let back = bench.get(&format!("/2.0/files/{id}/content")).await.bytes().await.unwrap();
            assert!(back == content, "{protocols:?} {way} {length}");
            bench.clock.advance(TURN);
            assert_eq!(bench.get(ME).await.status(), 200);
        }
    }
}

#[tokio::test]
async fn a_caller_that_expects_100_continue_gets_it_after_waiting() {
    let bench = bench(Protocols::Both).await;
    let body = multipart("invited", b"content");
    let fields =
        format!("Content-Type: {TYPE}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n", body.len());
    let mut socket = bench.connect().await;
    socket.write_all(head(UPLOAD, &fields).as_bytes()).await.unwrap();
    until_queued(&bench, "line", 1).await;
    bench.clock.advance(TURN);
    let mut interim = [0_u8; 25];
    in_time(socket.read_exact(&mut interim)).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(&body).await.unwrap();
    let mut answer = Vec::new();
    in_time(socket.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 201 "), "{}", String::from_utf8_lossy(&answer));
    let seen = bench.sandbox.last_seen().unwrap();
    assert_eq!(
        (seen.version, &seen.headers["expect"]),
        (http::Version::HTTP_11, &"100-continue".parse().unwrap())
    );
    assert_eq!(seen.body_bytes, body.len() as u64);
}

/// The caller's wait for 100 Continue ends before its turn: it sends the body anyway, or when the gateway sends 100
/// Continue.
#[tokio::test]
async fn a_body_that_is_sent_during_the_wait_is_complete() {
    let bench = bench(Protocols::Both).await;
    let body = multipart("early", &[b'x'; 200_000]);
    let fields =
        format!("Content-Type: {TYPE}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n", body.len());
    let mut socket = bench.connect().await;
    socket.write_all(head(UPLOAD, &fields).as_bytes()).await.unwrap();
    until_queued(&bench, "line", 1).await;
    let mut interim = [0_u8; 25];
    in_time(socket.read_exact(&mut interim)).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    let length = body.len() as u64;
    let (mut reader, mut writer) = socket.into_split();
    let writing = tokio::spawn(async move {
        writer.write_all(&body).await.unwrap();
        writer
    });
    bench.clock.advance(TURN);
    let mut answer = Vec::new();
    in_time(reader.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 201 "), "{}", String::from_utf8_lossy(&answer));
    drop(in_time(writing).await.unwrap());
    assert_eq!(bench.sandbox.last_seen().unwrap().body_bytes, length);
}
