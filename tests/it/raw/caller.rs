use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::frames::{self, Frame};
use super::http1;

/// A scripted caller.
pub struct RawCaller<S = TcpStream> {
    pub socket: S,
    pub is_http2: bool,
}

/// Plain or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl RawCaller<Box<dyn Stream>> {
    /// `https://` in front of the address: over TLS, whatever the certificate.
    pub async fn connect_to(address: &str, is_http2: bool) -> Self {
        let Some(address) = address.strip_prefix("https://") else {
            let RawCaller { socket, .. } = RawCaller::connect(address, is_http2).await;
            return Self { socket: Box::new(socket), is_http2 };
        };
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut config = crate::harness::no_tls();
        config.dangerous().set_certificate_verifier(Arc::new(AnyCertificate));
        config.alpn_protocols = vec![if is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let mut caller = Self { socket: Box::new(tls), is_http2 };
        if is_http2 {
            caller.hello((1 << 31) - 1).await;
        }
        caller
    }
}

/// TLS over this socket for a host of this name, whatever the certificate.
pub async fn over<S: Stream>(socket: S, host: &str) -> tokio_rustls::client::TlsStream<S> {
    let mut config = crate::harness::no_tls();
    config.dangerous().set_certificate_verifier(Arc::new(AnyCertificate));
    let name = ServerName::try_from(host.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

impl RawCaller {
    pub async fn connect(address: &str, is_http2: bool) -> Self {
        // The largest windows.
        Self::with_window(address, is_http2, (1 << 31) - 1).await
    }

    pub async fn with_window(address: &str, is_http2: bool, window: u32) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut caller = Self { socket, is_http2 };
        if is_http2 {
            caller.hello(window).await;
        }
        caller
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawCaller<S> {
    /// Returns when the gateway's windows hold for what is sent next.
    async fn hello(&mut self, window: u32) {
        let hello =
            [frames::PREFACE.to_vec(), frames::settings(&[(4, window)]), frames::window_update(0, 1 << 30)];
        self.say(&hello.concat()).await;
        for kind in [frames::SETTINGS, frames::WINDOW_UPDATE] {
            while frames::read(&mut self.socket).await.is_some_and(|frame| frame.kind != kind) {}
        }
        self.say(&frames::settings_ack()).await;
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        // The gateway may have closed.
        let _ = self.socket.write_all(bytes).await;
        let _ = self.socket.flush().await;
    }

    /// The next frame of a stream; frames of the connection are answered and skipped.
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

    /// Resolves when the gateway ends the connection; discards everything received until then.
    pub async fn closed(&mut self) {
        let mut scrap = [0; 4096];
        while self.socket.read(&mut scrap).await.is_ok_and(|count| count > 0) {}
    }
}

pub fn fields<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
}
