//! An in-process Box over real sockets and TLS.
//!
//! It simulates Box: the token endpoint, the API, the upload and the download host, each on a port of its own with a
//! certificate of a temporary CA; a tree of files in memory with its trash, and what belongs to them (versions, shared
//! links, comments, collaborations, metadata, webhooks). Tests can see what arrived and inject faults. It answers as
//! Box's documents and recorded responses say Box does, errors included: uploads in one piece and in parts, redirected
//! downloads, thumbnails, representations, zips, events and the long poll, which the download host serves. Downscoped
//! tokens are held to their scopes and their resource.
//!
//! URLs in its responses have its own ports, or Box's host names ([`Options::names`]), which the proxy at
//! [`Sandbox::proxy_url`] connects to the sandbox and to nothing else.
//!
//! It stores nothing permanently, and it leaves out what makes no difference to a proxy in front of it: permissions
//! between users (everyone sees one tree, whatever the collaborations and shared links), the pages behind shared links,
//! quotas, limits (inject them with [`Fault::RateLimited`]), metadata templates (all are assumed to exist), calls of
//! webhooks, enterprise events, and models behind Box AI, whose answers are canned and say so. A representation of a
//! file is the file itself. The sandbox does not depend on the gateway.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use boxgate::sandbox::{Content, Options, Sandbox};
//!
//! let sandbox = Sandbox::start(Options::default()).await?;
//! let file = sandbox.add_file("0", "hello.txt", Content::Bytes("hello".into()));
//! println!("{}/2.0/files/{file}", sandbox.api_url());
//! # Ok(())
//! # }
//! ```

mod server; // sockets, TLS, and the path of one request
mod api; // the operations of Box's API
mod model; // the state
mod control; // injected faults
mod http; // requests and responses
mod handle; // the methods of a running sandbox
pub mod page; // a web page that demonstrates it

#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{Arc, Mutex},
};

use tokio_rustls::TlsAcceptor;

pub use self::{
    control::{
        failures::Failure,
        faults::{Fault, Thumbnail, TokenAnswer},
        holds::Hold,
    },
    http::{
        host::Role,
        recorder::{Downscoped, Seen, SeenToken},
    },
    model::{
        content::Content,
        options::{CLIENT_ID, CLIENT_SECRET, ENTERPRISE_ID, MANAGED_USERS, Options, Protocols, USER_ID},
        urls::Names,
    },
};
use self::{
    http::{host::PerRole, lock::lock},
    model::state::State,
    server::{
        ca::Authority,
        connect_proxy,
        listener::{self, Listening},
    },
};

/// A running sandbox. Dropping it closes its sockets and connections.
pub struct Sandbox {
    state: Arc<State>,
    ca_pem: String,
    tls: TlsAcceptor,
    ports: PerRole<u16>,
    /// The listeners; `None` while a host is down.
    listening: PerRole<Mutex<Option<Listening>>>,
    proxy_port: u16,
    _proxy: Listening,
}

impl Sandbox {
    /// Binds four ports of 127.0.0.1, the fourth for the proxy, and serves them from tasks of the current tokio runtime.
    pub async fn start(options: Options) -> io::Result<Self> {
        let authority = Authority::new(options.protocols)?;
        let (api, upload, download) = (listener::bind(0)?, listener::bind(0)?, listener::bind(0)?);
        let ports = PerRole {
            api: api.local_addr()?.port(),
            upload: upload.local_addr()?.port(),
            download: download.local_addr()?.port(),
        };
        let url = |port: u16| format!("https://localhost:{port}");
        let urls = PerRole { api: url(ports.api), upload: url(ports.upload), download: url(ports.download) };
        let state = Arc::new(State::new(options, urls));
        let tls = TlsAcceptor::from(authority.server);
        let start =
            |listener, role| Mutex::new(Some(Listening::start(listener, role, tls.clone(), state.clone())));
        let listening = PerRole {
            api: start(api, Role::Api),
            upload: start(upload, Role::Upload),
            download: start(download, Role::Download),
        };
        let proxy = listener::bind(0)?;
        let proxy_port = proxy.local_addr()?.port();
        let proxy = Listening::serving(proxy, {
            let (ports, state) = (ports.clone(), state.clone());
            move |stream| connect_proxy::serve(stream, ports.clone(), state.clone())
        });
        Ok(Self { state, ca_pem: authority.pem, tls, ports, listening, proxy_port, _proxy: proxy })
    }

    /// Closes a host's listener and all its connections; resolves when they are closed.
    pub async fn go_down(&self, role: Role) {
        let listening = lock(self.listening.of(role)).take();
        if let Some(listening) = listening {
            listening.stop().await;
        }
    }

    /// Opens a host again, at the same port. Must be called inside a tokio runtime, which then serves it.
    pub fn come_up(&self, role: Role) -> io::Result<()> {
        let mut listening = lock(self.listening.of(role));
        if listening.is_none() {
            let listener = listener::bind(*self.ports.of(role))?;
            *listening = Some(Listening::start(listener, role, self.tls.clone(), self.state.clone()));
        }
        Ok(())
    }
}
