//! The API's listener, plain or TLS: how many connections there are, and how long each may keep silent.
//!
//! Owns the connections. A peer that sends nothing, or a byte at a time, costs one place for a bounded time; nobody waits
//! for another one's handshake.

use api::Connections;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// How long one handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after `accept` failed, as it does when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds, or says in one line why not.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("{address} is in use by another program: choose another with --listen"),
        io::ErrorKind::PermissionDenied => format!("{address} may not be used: ports below 1024 need a privilege"),
        _ => format!("{address} cannot be listened on: {error}"),
    })
}

/// What is served, and to how many.
pub struct Server {
    /// What answers.
    pub router: Router,
    /// Where connections are counted.
    pub connections: Arc<Connections>,
    /// Connections at a time; further ones wait in the kernel.
    pub connection_count_max: usize,
    /// How long the head of a request may take to come, also the first byte of it.
    pub head_timeout: Duration,
}

impl Server {
    /// Serves until `stopped` says so, then until every request that has begun is answered.
    pub async fn run(self, listener: TcpListener, tls: Option<Arc<ServerConfig>>, mut stopped: watch::Receiver<bool>) {
        let acceptor = tls.map(TlsAcceptor::from);
        let places = Arc::new(Semaphore::new(self.connection_count_max));
        let all = GracefulShutdown::new();
        let stop = async {
            // The sender outlives the server.
            let _ = stopped.wait_for(|is_over| *is_over).await;
        };
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&listener, &places) => accepted,
                () = &mut stop => break,
            };
            let Some((socket, place)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let connection = Connection {
                router: self.router.clone(),
                head_timeout: self.head_timeout,
                watcher: all.watcher(),
                open: Open::new(Arc::clone(&self.connections), place),
            };
            match acceptor.clone() {
                Some(acceptor) => drop(tokio::spawn(connection.shake_hands(socket, acceptor))),
                None => drop(tokio::spawn(connection.speak(socket))),
            }
        }
        drop(listener);
        all.shutdown().await;
    }

    /// The next connection, once there is a place for it.
    async fn accept(
        &self,
        listener: &TcpListener,
        places: &Arc<Semaphore>,
    ) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let is_full = places.available_permits() == 0;
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        let (socket, _) = listener.accept().await.ok()?;
        self.connections.accepted.fetch_add(1, Ordering::Relaxed);
        if is_full {
            self.connections.waited.fetch_add(1, Ordering::Relaxed);
        }
        // An answer is written whole: there is nothing to gather.
        let _ = socket.set_nodelay(true);
        Some((socket, place))
    }
}

/// A connection that counts as open.
struct Open {
    connections: Arc<Connections>,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(connections: Arc<Connections>, place: OwnedSemaphorePermit) -> Self {
        connections.open.fetch_add(1, Ordering::Relaxed);
        Self { connections, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Connection {
    router: Router,
    head_timeout: Duration,
    watcher: Watcher,
    open: Open,
}

impl Connection {
    async fn shake_hands(self, socket: TcpStream, acceptor: TlsAcceptor) {
        if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
            self.speak(stream).await;
        }
    }

    async fn speak(self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { router, head_timeout, watcher, open } = self;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(head_timeout);
        let connection = http.serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
        // How a peer breaks off is its own business.
        let _ = watcher.watch(connection).await;
        drop(open);
    }
}
