//! Requests and tunnels that last over many reloads.

use std::net::TcpListener;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::generations::Ask;
use super::load::{Moment, Shared, connect, read};
use crate::program::ways::{Caller, Pieces, Sender, Way, open_tunnel};

/// Over so many reloads each of them goes.
const RELOADS: usize = 6;
/// Of an upload, with each reload.
const PIECE: usize = 64 * 1024;

/// Waits for the next reload; false where nothing more is to begin, and what has begun ends.
async fn next(moments: &mut watch::Receiver<Moment>) -> bool {
    moments.changed().await.unwrap();
    !moments.borrow().is_over
}

/// Uploads one file after the other, a piece of each with each reload.
pub(super) async fn uploads(shared: Arc<Shared>, way: Way) {
    let mut moments = shared.moment.subscribe();
    let mut sender = connect(&shared, way).await;
    while !shared.moment().is_over {
        let sent = shared.sends(Ask::Upload);
        let attributes = json!({ "name": sent.id, "parent": { "id": "0" } });
        let head = format!(
            "--b\r\nContent-Disposition: form-data; name=\"attributes\"\r\n\r\n{attributes}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"
        );
        let tail = "\r\n--b--\r\n";
        let length = head.len() + RELOADS * PIECE + tail.len();
        let (pieces, body) = Pieces::of(length as u64);
        let id = sent.id.clone();
        let feeding = async {
            pieces.send(head.into()).await.unwrap();
            for _ in 0..RELOADS {
                if !moments.borrow().is_over {
                    next(&mut moments).await;
                }
                pieces.send(Bytes::from_static(&[b'x'; PIECE])).await.unwrap();
            }
            pieces.send(tail.into()).await.unwrap();
        };
        let sending = sender.send(Method::POST, Ask::Upload.path(), &id, body);
        let (answer, ()) = tokio::join!(sending, feeding);
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let made: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(made["entries"][0]["size"], RELOADS * PIECE, "{id} {status} {made}");
        shared.answers(sent, status, made["entries"][0]["created_by"]["login"].as_str().unwrap());
    }
}

/// Downloads a file, a part of it with each reload.
pub(super) async fn download(shared: Arc<Shared>, way: Way, (file, length): (String, u64)) {
    let mut moments = shared.moment.subscribe();
    let mut sender = connect(&shared, way).await;
    let path = format!("/web/2.0/files/{file}/content");
    while !shared.moment().is_over {
        let sent = shared.sends(Ask::Download);
        let answer = sender.send(Method::GET, &path, &sent.id, Pieces::none()).await;
        let status = answer.status().as_u16();
        let (mut body, mut read) = (answer.into_body(), 0);
        for part in 1..=RELOADS as u64 {
            if !moments.borrow().is_over {
                next(&mut moments).await;
            }
            while read < length * part / RELOADS as u64 {
                let frame =
                    body.frame().await.unwrap().unwrap_or_else(|error| panic!("{}: {error:?}", sent.id));
                read += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
        }
        assert!(body.frame().await.is_none() && read == length, "{read} of {length}");
        shared.answers(sent, status, "");
    }
}

/// Waits for news, again and again, and makes some after a few reloads.
pub(super) async fn long_polls(shared: Arc<Shared>, way: Way) {
    let mut moments = shared.moment.subscribe();
    let (mut polling, mut making) = (connect(&shared, way).await, connect(&shared, way).await);
    while !shared.moment().is_over {
        let sent = shared.sends(Ask::Poll);
        let answer = polling.send(Method::OPTIONS, "/web/2.0/events", &sent.id, Pieces::none()).await;
        let status = answer.status().as_u16();
        let server: Value =
            serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
        shared.answers(sent, status, "");
        let url = server["entries"][0]["url"].as_str().unwrap_or_else(|| panic!("{server}"));
        let path = url.strip_prefix("https://localhost").unwrap_or_else(|| panic!("{url}"));

        let sent = shared.sends(Ask::Poll);
        let waiting = polling.send(Method::GET, path, &sent.id, Pieces::none());
        let news = async {
            for _ in 0..RELOADS {
                if moments.borrow().is_over || !next(&mut moments).await {
                    break;
                }
            }
            // A new file is news.
            let form = "--b\r\nContent-Disposition: form-data; name=\"attributes\"\r\n\r\n{\"name\":\"NAME\",\"parent\":{\"id\":\"0\"}}\r\n\
                        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--b--\r\n";
            let sent = shared.sends(Ask::Upload);
            let form = form.replace("NAME", &sent.id);
            let (pieces, body) = Pieces::of(form.len() as u64);
            pieces.send(form.into()).await.unwrap();
            let answer = making.send(Method::POST, Ask::Upload.path(), &sent.id, body).await;
            let (status, said) = read(answer, &sent.id).await;
            shared.answers(sent, status, &said);
        };
        let (answer, ()) = tokio::join!(waiting, news);
        let status = answer.status().as_u16();
        let told: Value =
            serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(told["message"], "new_change", "{told}");
        shared.answers(sent, status, "");
    }
}

/// Whenever the limit is small, asks twice: the second request waits until a reload lets it go.
pub(super) async fn waiting(shared: Arc<Shared>, way: Way) {
    let mut moments = shared.moment.subscribe();
    let (mut one, mut other) = (connect(&shared, way).await, connect(&shared, way).await);
    let mut was_slow = false;
    while next(&mut moments).await {
        let is_slow = moments.borrow().is_slow;
        if is_slow && !was_slow {
            let path = Ask::Slow.path();
            let (ask, path) = (Ask::Slow, path);
            tokio::join!(slow(&shared, &mut one, ask, path), slow(&shared, &mut other, ask, path));
        }
        was_slow = shared.moment().is_slow;
    }
}

/// The list of users: each of them has a login, which says nothing of who asks.
async fn slow(shared: &Shared, sender: &mut Sender, ask: Ask, path: &str) {
    let sent = shared.sends(ask);
    let answer = sender.send(Method::GET, path, &sent.id, Pieces::none()).await;
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    shared.answers(sent, status, "");
}

/// Bytes to and fro with each reload, all in one tunnel.
pub(super) async fn blind_tunnel(shared: Arc<Shared>, way: Way, echo: TcpListener) {
    let mut moments = shared.moment.subscribe();
    let to = echo.local_addr().unwrap().to_string();
    echo.set_nonblocking(true).unwrap();
    let echo = tokio::net::TcpListener::from_std(echo).unwrap();
    let sent = shared.sends(Ask::Connect);
    let caller = Caller::default();
    let stream = way.stream(&shared.place, &caller).await;
    let (near, accepted) = tokio::join!(open_tunnel(stream, &to, &caller, &sent.id), echo.accept());
    let mut near = near.unwrap();
    shared.answers(sent, 200, "");
    let (mut far, _) = accepted.unwrap();
    let mut said = [0; 5];
    loop {
        near.write_all(b"there").await.unwrap();
        near.flush().await.unwrap();
        far.read_exact(&mut said).await.unwrap();
        far.write_all(&said).await.unwrap();
        near.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"there");
        if !next(&mut moments).await {
            break;
        }
    }
    // In order: the caller closes, then whom it spoke to.
    near.shutdown().await.unwrap();
    assert_eq!(far.read(&mut said).await.unwrap(), 0);
}
