//! The sandbox's page: a web page with an origin of its own that uses Box through the gateway.
//!
//! It serves only static files, which are in this file's folder and in the binary. The page's data comes from the
//! gateway, which is configured to allow the page's origin as for any other page.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// The default address of the page, if its port is free.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8082);

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The page's listener, bound and not serving yet.
pub struct PageListener {
    listener: TcpListener,
    address: SocketAddr,
    /// Of other pages that may call.
    origins: Vec<String>,
}

impl PageListener {
    /// Binds. If the port is taken, another one is chosen.
    ///
    /// # Errors
    /// The address is not this machine's, or may not be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                TcpListener::bind(SocketAddr::new(address.ip(), 0)).await?
            }
            bound => bound?,
        };
        let address = listener.local_addr()?;
        Ok(Self { listener, address, origins: Vec::new() })
    }

    /// With these entries of `origins` besides the page's own.
    #[must_use]
    pub fn with_origins(self, origins: Vec<String>) -> Self {
        Self { origins, ..self }
    }

    /// The entries of `origins` besides the page's own.
    pub fn origins(&self) -> &[String] {
        &self.origins
    }

    /// The page's URL, without a slash at the end: its origin.
    pub fn url(&self) -> String {
        base_url(self.address)
    }

    /// The lines of `proxy.toml` that let the page, and those of the other origins, in.
    pub fn app(&self) -> String {
        let own = [self.url(), format!("http://localhost:{}", self.address.port())];
        let mut lines = "[[app]]\nname = \"page\"\norigins = [\n".to_owned();
        for origin in own.iter().chain(&self.origins) {
            // An entry may hold a quotation mark, which both languages escape alike.
            lines.push_str(&format!("  {origin:?},\n"));
        }
        lines.push_str("]\n");
        lines
    }

    /// Serves the page, which calls the gateway at this address, from a task of the current runtime.
    pub fn serve(self, gateway: SocketAddr) {
        let files = Arc::new(Files::new(&self, &base_url(gateway)));
        tokio::spawn(async move {
            loop {
                match self.listener.accept().await {
                    Ok((socket, _)) => {
                        let files = files.clone();
                        let service = service_fn(move |request| {
                            let answer = files.answer(&request);
                            async move { Ok::<_, Infallible>(answer) }
                        });
                        let serving = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(Duration::from_secs(10))
                            .serve_connection(TokioIo::new(socket), service);
                        // Errors are left to the browser.
                        tokio::spawn(async move { drop(serving.await) });
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        });
    }
}

/// The page's modules, and what runs in the stranger's frame.
const SCRIPTS: [(&str, &str); 10] = [
    ("/page.js", include_str!("page.js")), // the whole; imports the others
    ("/listing.js", include_str!("listing.js")),
    ("/transfers.js", include_str!("transfers.js")),
    ("/dialog.js", include_str!("dialog.js")),
    ("/messages.js", include_str!("messages.js")),
    ("/gateway.js", include_str!("gateway.js")),
    ("/dom.js", include_str!("dom.js")),
    ("/examples.js", include_str!("examples.js")),
    ("/comparison.js", include_str!("comparison.js")),
    ("/stranger.js", include_str!("stranger.js")),
];

/// The files (path, type, content) and the fields of every response.
struct Files {
    files: Vec<(&'static str, &'static str, Bytes)>,
    fields: HeaderMap,
}

impl Files {
    fn new(listener: &PageListener, gateway: &str) -> Self {
        let page = include_str!("page.html")
            .replace("{gateway}", &escaped(gateway))
            .replace("{toml}", &escaped(&listener.app()));
        // A frame without an origin has no 'self', so it names the page.
        let stranger = include_str!("stranger.html").replace("{page}", &listener.url());
        let html = "text/html; charset=utf-8";
        let script = "text/javascript; charset=utf-8";
        let policy = format!(
            "default-src 'none'; script-src 'self' {page}; style-src 'self'; connect-src {gateway}; \
             img-src data: {gateway}; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; \
             form-action 'none'",
            page = listener.url()
        );
        let policy = HeaderValue::try_from(policy);
        let fields: [(HeaderName, HeaderValue); 4] = [
            (CONTENT_SECURITY_POLICY, policy.unwrap_or(HeaderValue::from_static("default-src 'none'"))),
            // The gateway knows a picture's page by its `Referer`, which needs no more than the origin.
            (REFERRER_POLICY, HeaderValue::from_static("origin")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            // Another sandbox may use this port later.
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        let scripts = SCRIPTS.into_iter().map(|(path, text)| (path, script, text.into()));
        let pages = [
            ("/", html, page.into()),
            ("/stranger", html, stranger.into()),
            ("/page.css", "text/css; charset=utf-8", include_str!("page.css").into()),
        ];
        Self { files: pages.into_iter().chain(scripts).collect(), fields: HeaderMap::from_iter(fields) }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let file = self.files.iter().find(|(path, ..)| *path == request.uri().path());
        let (status, kind, content) = match file {
            _ if !matches!(*request.method(), Method::GET | Method::HEAD) => {
                (StatusCode::METHOD_NOT_ALLOWED, "text/plain", Bytes::new())
            }
            Some((_, kind, content)) => (StatusCode::OK, *kind, content.clone()),
            None => (StatusCode::NOT_FOUND, "text/plain", Bytes::from_static(b"the page is at /\n")),
        };
        let mut answer = Response::new(Full::new(content));
        *answer.status_mut() = status;
        answer.headers_mut().extend(self.fields.clone());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        answer
    }
}

/// The URL by which this machine reaches a listener; no URL can name the address of all interfaces.
pub fn base_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    format!("http://{address}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
