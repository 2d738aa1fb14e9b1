//! The connections of operators: TLS, time limits, and how many there may be.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::HeaderValue;
use http::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::{Overview, answer};
use crate::net::listener::{Accepted, Listener};
use crate::net::peer::Peer;

/// The time limit for a TLS handshake, and for the head of a request; an idle connection is closed after it.
const HEAD: Duration = Duration::from_secs(10);
/// A connection is closed after this time, once its request in progress has ended …
const LIFETIME: Duration = Duration::from_secs(60);
/// … or after this further time, so that an operator that does not read cannot hold a descriptor for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long bytes are discarded after a failed handshake.
const LINGER: Duration = Duration::from_secs(5);

/// The room for connections on one listener.
#[derive(Clone)]
struct Room {
    free: Arc<Semaphore>,
    most: usize,
}

impl Room {
    /// Whether connections should be closed after each request: so that many open pages, each of which asks now and then, do not
    /// hold all of them.
    fn is_scarce(&self) -> bool {
        self.free.available_permits() < self.most / 2
    }
}

/// An operator's connection.
struct Operator {
    peer: Peer,
    /// The client certificates that it has shown, its own first.
    shown: Vec<CertificateDer<'static>>,
    overview: Weak<Overview>,
    room: Room,
    _permit: OwnedSemaphorePermit,
}

/// Serves one listener; never returns. `most`: the most connections at once; further ones are closed at once.
pub(crate) async fn serve(listener: Listener, most: usize, overview: Arc<Overview>) {
    let room = Room { free: Arc::new(Semaphore::new(most)), most };
    loop {
        let (accepted, peer) = listener.accept().await;
        let Ok(permit) = room.free.clone().try_acquire_owned() else { continue };
        // A weak reference: an idle connection must not keep the overview alive after a stop.
        let overview = Arc::downgrade(&overview);
        let operator = Operator { peer, shown: Vec::new(), overview, room: room.clone(), _permit: permit };
        tokio::spawn(begin(accepted, operator));
    }
}

async fn begin(accepted: Accepted, mut operator: Operator) {
    let served = match accepted.into_tcp_or_unix() {
        Ok(Ok(tcp)) if operator.peer.secure => {
            let Some(stream) = handshake(tcp, &operator).await else { return };
            let (_, session) = stream.get_ref();
            let shown = session.peer_certificates().unwrap_or_default();
            operator.shown = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
            converse(TokioIo::new(stream), operator).await
        }
        Ok(Ok(tcp)) => converse(TokioIo::new(tcp), operator).await,
        Ok(Err(unix)) => converse(TokioIo::new(unix), operator).await,
        Err(_) => Ok(()),
    };
    if let Err(error) = served {
        debug!("an operator's connection ended: {error}");
    }
}

/// `None`: it failed, which the log says at level debug.
async fn handshake(tcp: TcpStream, operator: &Operator) -> Option<TlsStream<TcpStream>> {
    let tls = operator.overview.upgrade()?.gateway.load().config.admin_tls.clone()?;
    let peer = operator.peer.address;
    match tokio::time::timeout(HEAD, tls.handshake(tcp)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(failure)) => {
            debug!(%peer, "an operator's TLS handshake failed: {}", failure.cause);
            let _ = tokio::time::timeout(LINGER, failure.read_away()).await;
            None
        }
        Err(_) => {
            debug!(%peer, "an operator's TLS handshake failed: it was not finished in {HEAD:?}");
            None
        }
    }
}

/// Answers the requests of a connection to its end.
async fn converse<S>(socket: S, operator: Operator) -> hyper::Result<()>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let operator = &operator;
    let service = service_fn(move |request| async move {
        let Operator { peer, shown, overview, room, .. } = operator;
        let mut response = answer(overview, peer, shown, request).await;
        if room.is_scarce() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok::<_, Infallible>(response)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(socket, service)
    );
    if let Ok(ended) = tokio::time::timeout(LIFETIME, connection.as_mut()).await {
        return ended;
    }
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(PATIENCE, connection).await.unwrap_or(Ok(()))
}
