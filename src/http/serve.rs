//! The accept loop: HTTP/1.1 with bounds on everything that a client could hold on to.
//!
//! | what | bound | at the bound |
//! |---|---|---|
//! | connections | `connections_max` | the longest idle one is cut, of the peer that has the most; with none idle, the new one is refused |
//! | connections of a peer | `connections_per_peer_max` | its own longest idle one is cut; with none idle, its new one is refused |
//! | a TLS handshake | `header_time_max` | the connection is closed |
//! | a request's head, and the wait for the next one | `header_time_max`, 64 KiB, 100 fields | the connection is closed |
//! | a client that does not read | `stall_time_max` without one byte taken | the connection is closed |
//! | shutdown | `drain_time_max` | connections are cut; players resume with a range |

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::either::Either;

use self::connections::{Connection, Connections};
use self::stall::StallGuard;
use super::guarded::guarded;
use super::peer::Peer;
use super::tls::ServerTls;

mod connections;
mod stall;

/// Largest head of a request, in bytes.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// How long to wait after a failed accept, which most often means that file descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// One line about refused connections in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Connections at once, where there are files for so many.
const CONNECTIONS_MAX: usize = 1024;
/// Connections that are always granted: the page and one player.
const CONNECTIONS_MIN: usize = 16;
/// Files that a connection may take: its socket, and a pack or a decoder's pipes.
const FILES_PER_CONNECTION: u64 = 4;

/// What one gateway grants its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address. Not counted for this machine, where a proxy brings everybody's.
    pub connections_per_peer_max: usize,
    /// For a request's head, and for the wait until the next one on a kept connection.
    pub header_time_max: Duration,
    /// For a client to take a byte of an answer. A paused player is cut too, and resumes with a range.
    pub stall_time_max: Duration,
    /// For answers under way when the gateway stops.
    pub drain_time_max: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            connections_per_peer_max: 128,
            header_time_max: Duration::from_secs(20),
            stall_time_max: Duration::from_secs(60),
            drain_time_max: Duration::from_secs(10),
        }
    }
}

impl ServeLimits {
    /// For a process that may open `files` more files.
    pub fn within(files: u64) -> Self {
        let default = Self::default();
        let connections_max = usize::try_from(files / FILES_PER_CONNECTION).unwrap_or(usize::MAX);
        let connections_max = connections_max.clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
        let connections_per_peer_max = default.connections_per_peer_max.min(connections_max / 2);
        Self { connections_max, connections_per_peer_max, ..default }
    }
}

/// Serves until `shutdown`, then lets answers under way end, and returns when no connection is left.
pub async fn serve(listener: TcpListener, router: Router, limits: ServeLimits, shutdown: impl Future<Output = ()>) {
    serve_over(None, listener, router, limits, shutdown).await;
}

/// The same, over TLS where there is a certificate.
pub async fn serve_over(
    tls: Option<ServerTls>,
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    shutdown: impl Future<Output = ()>,
) {
    let open = Connections::new(limits.connections_max, limits.connections_per_peer_max);
    let graceful = GracefulShutdown::new();
    let mut serving = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut refusals = Refusals { open: open.clone(), logged: None };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = serving.join_next() => continue,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(admitted) = open.admit(Peer::new(peer.ip())) else {
                    refusals.log();
                    continue;
                };
                let cut = admitted.cut();
                let one = converse(tls.clone(), stream, (peer, admitted), (router.clone(), limits), graceful.watcher());
                serving.spawn(async move {
                    match cut.run_until_cancelled(one).await {
                        None => tracing::debug!(%peer, "cut an idle connection: another takes its place"),
                        Some(Err(error)) => tracing::debug!(%peer, error, "connection ended"),
                        Some(Ok(())) => {}
                    }
                });
            }
            Err(error) => {
                let made_room = open.cut_one();
                tracing::warn!(%error, made_room, "could not accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_time_max, graceful.shutdown()).await.is_err() {
        tracing::info!(connections = serving.len(), "cut the connections that did not end in time");
    }
    serving.shutdown().await;
}

/// Refused connections, in the log once a minute.
struct Refusals {
    open: Arc<Connections>,
    logged: Option<Instant>,
}

impl Refusals {
    fn log(&mut self) {
        let now = Instant::now();
        if self.logged.is_none_or(|at| now.duration_since(at) >= LOG_EVERY) {
            self.logged = Some(now);
            let connections = self.open.take_refused();
            tracing::warn!(connections, "refused connections: all that are granted are being answered");
        }
    }
}

/// One client's connection, with its handshake where it speaks TLS.
async fn converse(
    tls: Option<ServerTls>,
    stream: TcpStream,
    (peer, admitted): (SocketAddr, Connection),
    (router, limits): (Router, ServeLimits),
    watcher: Watcher,
) -> Result<(), String> {
    // Without it a playlist could wait 40 ms for an acknowledgement; where it fails, it does.
    let _ = stream.set_nodelay(true);
    let guarded = |stream| StallGuard::new(stream, limits.stall_time_max);
    let Some(tls) = tls else {
        let plain = connection(guarded(stream), peer, router, limits, admitted);
        return watcher.watch(plain).await.map_err(|e| e.to_string());
    };
    let handshake = async {
        Ok::<_, std::io::Error>(match tls.is_spoken(&stream, peer).await? {
            true => Either::Left(tls.acceptor().accept(guarded(stream)).await?),
            false => Either::Right(guarded(stream)),
        })
    };
    let stream = tokio::time::timeout(limits.header_time_max, handshake).await;
    let stream = stream.map_err(|_| "no TLS handshake in time")?.map_err(|e| format!("no TLS session: {e}"))?;
    let ended = match stream {
        Either::Left(stream) => watcher.watch(connection(stream, peer, router, limits, admitted)).await,
        Either::Right(stream) => watcher.watch(connection(stream, peer, router, limits, admitted)).await,
    };
    ended.map_err(|e| e.to_string())
}

/// The requests of a connection; they carry its address.
fn connection<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    limits: ServeLimits,
    admitted: Connection,
) -> impl GracefulConnection<Error = hyper::Error> {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let answering = admitted.answering();
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.call(request);
        async move { Ok::<_, std::convert::Infallible>(guarded(answer.await?.map(Body::new), answering)) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time_max)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_from_the_files_that_are_left() {
        let check = |files: u64, total: usize, per_peer: usize| {
            let limits = ServeLimits::within(files);
            assert_eq!((limits.connections_max, limits.connections_per_peer_max), (total, per_peer), "{files}");
        };
        check(u64::MAX, 1024, 128);
        check(4096, 1024, 128);
        check(400, 100, 50);
        check(0, 16, 8);
    }
}
