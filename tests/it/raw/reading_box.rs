//! A Box that records what it received, complete or not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::http1;
use super::raw_box::RawBox;

type Received = Result<Vec<u8>, Vec<u8>>;

/// Answers 200 to whole requests, and 401 at once to the first with a path that has `replay` in it.
pub struct ReadingBox {
    pub raw: Arc<RawBox>,
    noted: Arc<Noted>,
}

#[derive(Default)]
struct Noted {
    requests: Mutex<HashMap<String, Vec<Option<Received>>>>,
    changed: watch::Sender<()>,
}

impl Noted {
    /// The index of the request among those of its path.
    fn begun(&self, path: &str) -> usize {
        let mut requests = self.requests.lock().unwrap();
        let of_path = requests.entry(path.to_owned()).or_default();
        of_path.push(None);
        self.changed.send_replace(());
        of_path.len() - 1
    }

    fn ended(&self, path: &str, nth: usize, received: Received) {
        self.requests.lock().unwrap().get_mut(path).unwrap()[nth] = Some(received);
        self.changed.send_replace(());
    }

    fn get(&self, path: &str) -> Vec<Option<Received>> {
        self.requests.lock().unwrap().get(path).cloned().unwrap_or_default()
    }
}

impl ReadingBox {
    pub async fn start(is_http2: bool) -> Self {
        Self::serve(Arc::new(RawBox::start(is_http2).await))
    }

    /// From now on.
    pub fn serve(raw: Arc<RawBox>) -> Self {
        let is_http2 = raw.is_http2;
        let noted = Arc::<Noted>::default();
        tokio::spawn({
            let (raw, noted) = (raw.clone(), noted.clone());
            async move {
                loop {
                    let socket = raw.accept_tls().await;
                    let noted = noted.clone();
                    if is_http2 {
                        tokio::spawn(serve_http2(socket, noted));
                    } else {
                        tokio::spawn(serve_http1(socket, noted));
                    }
                }
            }
        });
        Self { raw, noted }
    }

    /// Resolves once so many requests with this path have begun.
    pub async fn wait_for_heads(&self, path: &str, count: usize) {
        let mut changes = self.noted.changed.subscribe();
        while self.noted.get(path).len() < count {
            changes.changed().await.unwrap();
        }
    }

    /// The results of the requests with this path, once all of them have ended.
    pub async fn received(&self, path: &str) -> Vec<Received> {
        let mut changes = self.noted.changed.subscribe();
        loop {
            if let Some(all) = self.noted.get(path).into_iter().collect() {
                return all;
            }
            changes.changed().await.unwrap();
        }
    }
}

async fn serve_http1(mut socket: impl AsyncRead + AsyncWrite + Unpin, noted: Arc<Noted>) {
    while let Some(head) = http1::head(&mut socket).await {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let nth = noted.begun(&path);
        if path.contains("replay") && nth == 0 {
            let _ = socket.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
        }
        let received = http1::body(&mut socket, &head, false).await;
        let is_whole = received.is_ok();
        noted.ended(&path, nth, received);
        if !is_whole {
            return;
        }
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
    }
}

async fn serve_http2(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, noted: Arc<Noted>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let noted = noted.clone();
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            let nth = noted.begun(&path);
            let answer = |status: u16| http::Response::builder().status(status).body(()).unwrap();
            let is_refused = path.contains("replay") && nth == 0;
            if is_refused {
                let _ = respond.send_response(answer(401), true);
            }
            let mut incoming = request.into_body();
            let mut body = Vec::new();
            let received = loop {
                match incoming.data().await {
                    Some(Ok(bytes)) => {
                        let _ = incoming.flow_control().release_capacity(bytes.len());
                        body.extend_from_slice(&bytes);
                    }
                    Some(Err(_)) => break Err(body),
                    None if !incoming.is_end_stream() => break Err(body),
                    None => break Ok(body),
                }
            };
            let is_whole = received.is_ok();
            noted.ended(&path, nth, received);
            if is_whole
                && !is_refused
                && let Ok(mut stream) = respond.send_response(answer(200), false)
            {
                let _ = stream.send_data(Bytes::from_static(b"{}"), true);
            }
        });
    }
}
