use std::sync::Arc;

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::frames::{self, Frame};
use super::http1;

/// The gateway's, of a stream.
const WINDOW: usize = 256 * 1024;

/// A scripted Box with TLS.
pub struct RawBox {
    pub authority: String,
    pub pem: String,
    pub is_http2: bool,
    listener: TcpListener,
    tls: TlsAcceptor,
}

impl RawBox {
    pub async fn start(is_http2: bool) -> Self {
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![signed.cert.der().clone()],
                PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()).into(),
            )
            .unwrap();
        // Unread, they would turn a close into a reset, which discards what has arrived.
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![if is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = format!("localhost:{}", listener.local_addr().unwrap().port());
        Self {
            authority,
            pem: signed.cert.pem(),
            is_http2,
            listener,
            tls: TlsAcceptor::from(Arc::new(config)),
        }
    }

    /// The `[box]` table that leads here, but for the tokens.
    pub fn table(&self, token_url: &str) -> String {
        let url = format!("https://{}", self.authority);
        format!(
            "[box]\napi = {url:?}\nupload = {url:?}\ndownload = {url:?}\ntoken_url = {token_url:?}\nca_file = \"ca.pem\"\n"
        )
    }

    /// A connection without a TLS handshake.
    pub async fn accept_tcp(&self) -> TcpStream {
        let (socket, _) = self.listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// The next connection with TLS established; skips those that break before.
    pub async fn accept_tls(&self) -> TlsStream<TcpStream> {
        loop {
            if let Ok(socket) = self.tls.accept(self.accept_tcp().await).await {
                return socket;
            }
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> BoxConnection {
        let socket = self.accept_tls().await;
        let mut connection = BoxConnection { socket, is_http2: self.is_http2 };
        if self.is_http2 {
            let mut preface = [0; frames::PREFACE.len()];
            connection.socket.read_exact(&mut preface).await.unwrap();
            // The largest windows, since these tests do not wait for them.
            let hello = [
                frames::settings(&[(4, (1 << 31) - 1)]),
                frames::settings_ack(),
                frames::window_update(0, 1 << 30),
            ];
            connection.say(&hello.concat()).await;
        }
        connection
    }
}

/// One connection of the gateway's.
pub struct BoxConnection {
    pub socket: TlsStream<TcpStream>,
    pub is_http2: bool,
}

/// The beginning of a request.
#[derive(Debug)]
pub struct Begun {
    /// On HTTP/1.1.
    pub head: String,
    /// On HTTP/2.
    pub stream: u32,
    has_ended: bool,
}

impl BoxConnection {
    pub async fn say(&mut self, bytes: &[u8]) {
        // The gateway may have gone.
        let _ = self.socket.write_all(bytes).await;
        let _ = self.socket.flush().await;
    }

    /// Sends frames of one stream as its window allows; the last ones in one segment.
    pub async fn say_frames(&mut self, said: &[u8]) {
        let mut window = WINDOW;
        let (mut ready, mut at) = (Vec::new(), 0);
        while at < said.len() {
            let length = u32::from_be_bytes([0, said[at], said[at + 1], said[at + 2]]) as usize;
            let (frame, stream) = (&said[at..at + 9 + length], &said[at + 5..at + 9]);
            let cost = if said[at + 3] == frames::DATA { length } else { 0 };
            if cost > window {
                self.say(&std::mem::take(&mut ready)).await;
            }
            while cost > window {
                let Some(update) = frames::read(&mut self.socket).await else { return };
                if update.kind == frames::WINDOW_UPDATE && update.stream.to_be_bytes() == stream {
                    window += u32::from_be_bytes(update.payload.try_into().unwrap()) as usize;
                } else if update.kind == frames::RST_STREAM {
                    return;
                }
            }
            window -= cost;
            ready.extend_from_slice(frame);
            at += frame.len();
        }
        self.say(&ready).await;
    }

    /// The next frame of a stream; skips frames of the connection.
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

    /// The next request's head; `None` where the connection ends before.
    pub async fn request(&mut self) -> Option<Begun> {
        if !self.is_http2 {
            let head = http1::head(&mut self.socket).await?;
            return Some(Begun { head, stream: 0, has_ended: false });
        }
        loop {
            let frame = self.frame().await?;
            if frame.kind == frames::HEADERS {
                return Some(Begun {
                    head: String::new(),
                    stream: frame.stream,
                    has_ended: frame.ends_stream(),
                });
            }
        }
    }

    /// The request's body: `Ok` where its end was said.
    pub async fn body(&mut self, request: &Begun) -> Result<Vec<u8>, Vec<u8>> {
        if !self.is_http2 {
            return http1::body(&mut self.socket, &request.head, false).await;
        }
        let mut body = Vec::new();
        if request.has_ended {
            return Ok(body);
        }
        loop {
            let Some(frame) = self.frame().await else { return Err(body) };
            if frame.stream != request.stream || frame.kind == frames::HEADERS && !frame.ends_stream() {
                continue;
            }
            match frame.kind {
                frames::RST_STREAM => return Err(body),
                frames::DATA => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            if frame.ends_stream() {
                return Ok(body);
            }
        }
    }

    /// A whole answer.
    pub async fn answer(&mut self, request: &Begun, status: u16, body: &str) {
        let bytes = if self.is_http2 {
            let (status, length) = (status.to_string(), body.len().to_string());
            let fields = [
                (":status", status.as_str()),
                ("content-type", "application/json"),
                ("content-length", &length),
            ];
            [
                frames::headers(request.stream, false, &fields),
                frames::data(request.stream, true, body.as_bytes()),
            ]
            .concat()
        } else {
            format!(
                "HTTP/1.1 {status} Any\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        };
        self.say(&bytes).await;
    }
}
