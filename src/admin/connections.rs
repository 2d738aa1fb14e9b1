//! The connections of operators: TLS, time limits, and how many there may be.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::{Overview, answer};
use crate::net::listener::{Accepted, Listener};
use crate::net::peer::Peer;

/// The time limits of a connection.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// For a TLS handshake, and for the head of a request; an idle connection is closed after it.
    head: Duration,
    /// A connection is closed after this time, once its request in progress has been answered …
    lifetime: Duration,
    /// … and the answer been read within this further time, so that an operator that does not read cannot hold a descriptor for
    /// ever. The answers themselves have time limits of their own.
    patience: Duration,
    /// How long bytes are discarded after a failed handshake.
    linger: Duration,
}

const LIMITS: Limits = Limits {
    head: Duration::from_secs(10),
    lifetime: Duration::from_secs(60),
    patience: Duration::from_secs(10),
    linger: Duration::from_secs(5),
};
/// Of a connection from outside of `[admin] sources`: long enough to be told so.
const LIMITS_OUTSIDE: Limits = Limits {
    head: Duration::from_secs(3),
    lifetime: Duration::from_secs(3),
    patience: Duration::from_secs(1),
    linger: Duration::ZERO,
};
/// The most connections from outside of `[admin] sources` on one listener, at most an eighth of all: they have no part in
/// the room of operators.
const OUTSIDE: usize = 4;

/// The room for connections on one listener.
#[derive(Clone)]
struct Room {
    free: Arc<Semaphore>,
    most: usize,
}

impl Room {
    fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), most }
    }

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
    limits: Limits,
    _permit: OwnedSemaphorePermit,
}

/// Serves one listener; never returns. `most`: the most connections at once; further ones are closed at once. Connections from
/// outside of `[admin] sources` get their refusal, a few at once.
pub(crate) async fn serve(listener: Listener, most: usize, overview: Arc<Overview>) {
    let few = (most / 8).clamp(1, OUTSIDE);
    let (inside, outside) = (Room::new(most.saturating_sub(few).max(1)), Room::new(few));
    loop {
        let (accepted, peer) = listener.accept().await;
        let (room, limits) = match peer.is_in(&overview.gateway.load().config.admin.sources) {
            true => (&inside, LIMITS),
            false => (&outside, LIMITS_OUTSIDE),
        };
        let Ok(permit) = room.free.clone().try_acquire_owned() else { continue };
        // A weak reference: an idle connection must not keep the overview alive after a stop.
        let overview = Arc::downgrade(&overview);
        let (shown, room) = (Vec::new(), room.clone());
        let operator = Operator { peer, shown, overview, room, limits, _permit: permit };
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
            operator.serve(TokioIo::new(stream)).await
        }
        Ok(Ok(tcp)) => operator.serve(TokioIo::new(tcp)).await,
        Ok(Err(unix)) => operator.serve(TokioIo::new(unix)).await,
        Err(_) => Ok(()),
    };
    if let Err(error) = served {
        debug!("an operator's connection ended: {error}");
    }
}

/// `None`: it failed, which the log says at level debug.
async fn handshake(tcp: TcpStream, operator: &Operator) -> Option<TlsStream<TcpStream>> {
    let tls = operator.overview.upgrade()?.gateway.load().config.admin_tls.clone()?;
    let (peer, Limits { head, linger, .. }) = (operator.peer.address, operator.limits);
    match tokio::time::timeout(head, tls.handshake(tcp)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(failure)) => {
            debug!(%peer, "an operator's TLS handshake failed: {}", failure.cause);
            let _ = tokio::time::timeout(linger, failure.read_away()).await;
            None
        }
        Err(_) => {
            debug!(%peer, "an operator's TLS handshake failed: it was not finished in {head:?}");
            None
        }
    }
}

impl Operator {
    async fn serve<S>(self, socket: S) -> hyper::Result<()>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin,
    {
        let Self { peer, shown, overview, room, limits, .. } = &self;
        let answer = move |request| async move {
            let mut response = answer(overview, peer, shown, request).await;
            if room.is_scarce() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        };
        converse(socket, *limits, answer).await
    }
}

/// Answers the requests of a connection to its end.
async fn converse<S, A>(
    socket: S,
    limits: Limits,
    answer: impl Fn(Request<Incoming>) -> A,
) -> hyper::Result<()>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin,
    A: Future<Output = Response<Full<Bytes>>>,
{
    // Whether an answer is being prepared.
    let (preparing, mut prepared) = watch::channel(false);
    let service = service_fn(|request| {
        let (preparing, answering) = (&preparing, answer(request));
        async move {
            preparing.send_replace(true);
            let response = answering.await;
            preparing.send_replace(false);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .serve_connection(socket, service)
    );
    if let Ok(ended) = tokio::time::timeout(limits.lifetime, connection.as_mut()).await {
        return ended;
    }
    connection.as_mut().graceful_shutdown();
    loop {
        // A renewal or reload that a page requests on the connection by which it asks all the time is not cut off.
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            _ = prepared.wait_for(|preparing| !preparing) => {}
        }
        match tokio::time::timeout(limits.patience, connection.as_mut()).await {
            Ok(ended) => return ended,
            Err(_) if !*prepared.borrow() => return Ok(()),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    const NONE: Duration = Duration::ZERO;

    #[tokio::test]
    async fn an_answer_that_is_being_prepared_is_sent_although_the_connection_is_old() {
        let (mut operator, gateway) = tokio::io::duplex(4096);
        operator.write_all(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let (begun, mut begins) = watch::channel(false);
        let (outcome, known) = oneshot::channel::<()>();
        let known = std::sync::Mutex::new(Some(known));
        let answer = |_| {
            let known = known.lock().unwrap().take().unwrap();
            begun.send_replace(true);
            async move {
                known.await.unwrap();
                Response::new(Full::new(Bytes::from_static(b"renewed")))
            }
        };
        // Its time is over at once.
        let limits = Limits { head: LIMITS.head, lifetime: NONE, patience: NONE, linger: NONE };
        let telling = async {
            begins.wait_for(|begun| *begun).await.unwrap();
            // So that all limits have passed before the outcome is known.
            tokio::time::sleep(Duration::from_millis(20)).await;
            outcome.send(()).unwrap();
        };
        let (ended, ()) = tokio::join!(converse(TokioIo::new(gateway), limits, answer), telling);
        ended.unwrap();
        let mut text = String::new();
        operator.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("connection: close") && text.ends_with("renewed"), "{text}");
    }

    #[tokio::test]
    async fn an_old_connection_without_a_request_is_closed() {
        let (mut operator, gateway) = tokio::io::duplex(4096);
        operator.write_all(b"POST / HT").await.unwrap();
        let limits = Limits { head: Duration::from_secs(3600), lifetime: NONE, patience: NONE, linger: NONE };
        let answer = |_| async { Response::new(Full::new(Bytes::new())) };
        converse(TokioIo::new(gateway), limits, answer).await.unwrap();
        let mut text = String::new();
        operator.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "");
    }
}
