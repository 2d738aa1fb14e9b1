//! Pages of other origins: a server that knows nothing but to hand them out, and to send browsers elsewhere.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An empty page.
pub(super) const PAGE: &str =
    "<!doctype html><meta charset=utf-8><title>a page</title><link rel=icon href=data:,>";

/// A web site on loopback, of another origin than the gateway. Gone when dropped.
pub(super) struct Site {
    pub(super) port: u16,
    serving: JoinHandle<()>,
}

impl Site {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket));
            }
        });
        Self { port, serving }
    }

    /// Its origin under a name or address that leads here.
    pub(super) fn origin(&self, host: &str) -> String {
        format!("http://{host}:{}", self.port)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// `/STATUS?URL` is a redirect; `/report?URL` a page whose violations are reported there; all else the page.
async fn answer(mut socket: TcpStream) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match socket.read_buf(&mut head).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let answer = match target.split_once('?') {
        Some(("/report", url)) => {
            page(&format!("Content-Security-Policy: img-src 'none'; report-uri {url}\r\n"), "<img src=/x>")
        }
        Some((status, url)) => format!(
            "HTTP/1.1 {} Moved\r\nLocation: {url}\r\nAccess-Control-Allow-Origin: *\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n",
            status.trim_start_matches('/')
        ),
        None => page("", ""),
    };
    let _ = socket.write_all(answer.as_bytes()).await;
    let _ = socket.shutdown().await;
    // What is left of a body, so that the end is no reset.
    let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
}

fn page(fields: &str, more: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n{fields}Content-Length: {}\r\n\
         Connection: close\r\n\r\n{PAGE}{more}",
        PAGE.len() + more.len()
    )
}
