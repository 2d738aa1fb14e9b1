use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frames::{self, Frame};
use super::http1;

/// A caller that says what it is told to, in plain HTTP.
pub struct RawCaller {
    pub socket: TcpStream,
    pub is_http2: bool,
}

impl RawCaller {
    pub async fn connect(address: &str, is_http2: bool) -> Self {
        // Windows as wide as they go.
        Self::with_window(address, is_http2, (1 << 31) - 1).await
    }

    pub async fn with_window(address: &str, is_http2: bool, window: u32) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut caller = Self { socket, is_http2 };
        if is_http2 {
            let hello = [
                frames::PREFACE.to_vec(),
                frames::settings(&[(4, window)]),
                frames::window_update(0, 1 << 30),
            ];
            caller.say(&hello.concat()).await;
            // The gateway's windows hold for what is sent after these two.
            for kind in [frames::SETTINGS, frames::WINDOW_UPDATE] {
                while frames::read(&mut caller.socket).await.is_some_and(|frame| frame.kind != kind) {}
            }
            caller.say(&frames::settings_ack()).await;
        }
        caller
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        // The gateway may have closed.
        let _ = self.socket.write_all(bytes).await;
    }

    /// A frame of a stream; those of the connection are answered and passed over.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            let frame = frames::read(&mut self.socket).await?;
            if frame.kind == frames::PING && frame.flags & 1 == 0 {
                self.say(&frames::frame(frames::PING, 1, 0, &frame.payload)).await;
            }
            if frame.stream != 0 && frame.kind != frames::WINDOW_UPDATE {
                return Some(frame);
            }
        }
    }

    /// A request without a body, on stream 1 of HTTP/2.
    pub async fn get(&mut self, path: &str, version: &str) {
        let request = if self.is_http2 {
            frames::headers(1, true, &fields("GET", path))
        } else {
            format!("GET {path} HTTP/{version}\r\nHost: localhost\r\n\r\n").into_bytes()
        };
        self.say(&request).await;
    }

    /// The answer: its status, and its body, `Ok` where its end was said. On HTTP/2 of stream 1.
    pub async fn answer(&mut self) -> Option<(u16, Result<Vec<u8>, Vec<u8>>)> {
        if !self.is_http2 {
            loop {
                let head = http1::head(&mut self.socket).await?;
                let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
                if status >= 200 {
                    return Some((status, http1::body(&mut self.socket, &head, true).await));
                }
            }
        }
        let head = loop {
            let frame = self.frame().await?;
            match frame.kind {
                frames::HEADERS => break frame,
                frames::RST_STREAM => return None,
                _ => {}
            }
        };
        let status = head.status();
        let mut body = Vec::new();
        if head.ends_stream() {
            return Some((status, Ok(body)));
        }
        loop {
            let Some(frame) = self.frame().await else { return Some((status, Err(body))) };
            match frame.kind {
                frames::RST_STREAM => return Some((status, Err(body))),
                frames::DATA => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            if frame.ends_stream() {
                return Some((status, Ok(body)));
            }
        }
    }

    /// Resolves when the gateway ends the connection; what came till then is thrown away.
    pub async fn closed(&mut self) {
        let mut scrap = [0; 4096];
        while self.socket.read(&mut scrap).await.is_ok_and(|count| count > 0) {}
    }
}

pub fn fields<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
}
