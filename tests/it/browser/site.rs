//! Pages of other origins: a server of static pages and redirects.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::chromium::Browser;
use crate::clients::clients;

/// An empty page.
pub(super) const PAGE: &str =
    "<!doctype html><meta charset=utf-8><title>a page</title><link rel=icon href=data:,>";

/// A web site on loopback, of another origin than the gateway. Dropping it stops it.
pub(super) struct Site {
    pub(super) port: u16,
    scheme: &'static str,
    serving: JoinHandle<()>,
}

impl Site {
    pub(super) async fn start() -> Self {
        Self::serve(None).await
    }

    /// With TLS, as `localhost` or 127.0.0.1.
    pub(super) async fn secure() -> Self {
        let browser = Browser::shared();
        let chain = CertificateDer::pem_file_iter(browser.folder().join("tls.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(browser.folder().join("tls.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => answer(socket).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                answer(socket).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, scheme, serving }
    }

    /// Its origin under a name or address that leads here.
    pub(super) fn origin(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.scheme, self.port)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// `/STATUS?URL` is a redirect; `/report?URL` a page whose violations are reported there; `/elements/NAME` a file of
/// Box's UI Elements; all else the page.
async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match socket.read_buf(&mut head).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    if let Some(name) = target.strip_prefix("/elements/") {
        let file = clients().join("node/node_modules/box-ui-elements/dist").join(name);
        let kind = if name.ends_with(".css") { "text/css" } else { "text/javascript" };
        let file = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            file.len()
        );
        let _ = socket.write_all(head.as_bytes()).await;
        let _ = socket.write_all(&file).await;
        let _ = socket.shutdown().await;
        return;
    }
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
