//! Sockets and TLS: one listener for each role, which can be closed and opened again.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use super::handler;
use crate::sandbox::{
    http::host::Role,
    model::{options::Protocols, state::State},
};

const BACKLOG: u32 = 1024;

/// The pause after a failed accept, for example when out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Larger than hyper's default, so that one HTTP/2 connection can fill a fast link.
const WINDOW: u32 = 1024 * 1024;

/// Box's front end takes large headers; hyper's default for HTTP/2 is 16 KiB.
const HEADERS: u32 = 64 * 1024;

/// A bound socket; port 0 chooses one. A port whose connections have just been closed can be bound again.
pub(crate) fn bind(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

/// A running listener. Dropping it closes it and its connections shortly afterwards.
pub(crate) struct Listening {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listening {
    /// A host of Box's.
    pub(crate) fn start(listener: TcpListener, role: Role, tls: TlsAcceptor, state: Arc<State>) -> Self {
        Self::serving(listener, move |stream| {
            state.recorder.connections.of(role).add();
            connection(stream, role, tls.clone(), state.clone())
        })
    }

    /// A listener whose connections `serve` handles.
    pub(crate) fn serving<F>(
        listener: TcpListener,
        serve: impl FnMut(TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tokio::spawn(accept(listener, serve, stopped)) }
    }

    /// Resolves when the socket and every connection are closed.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        // The task neither panics nor is aborted; either would mean that it is over.
        let _ = self.task.await;
    }
}

async fn accept<F>(
    listener: TcpListener,
    mut serve: impl FnMut(TcpStream) -> F,
    mut stopped: watch::Receiver<bool>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Also when the sender is gone.
            _ = stopped.changed() => break,
            _ = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Serves one connection. Errors are left to its caller, since the sandbox has no log.
async fn connection(stream: TcpStream, role: Role, tls: TlsAcceptor, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = tls.accept(stream).await else { return };
    let is_http2 = match (stream.get_ref().1.alpn_protocol(), state.options.protocols) {
        (Some(protocol), _) => protocol == b"h2",
        // A client without ALPN speaks HTTP/1.1, if it may.
        (None, Protocols::Http2) => return,
        (None, _) => false,
    };
    let service = service_fn(move |request| handler::serve(state.clone(), role, request));
    let stream = TokioIo::new(stream);
    let _ = if is_http2 {
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .max_header_list_size(HEADERS)
            .serve_connection(stream, service)
            .await
    } else {
        // Connections may stay idle for as long as a test likes.
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .serve_connection(stream, service)
            .await
    };
}
