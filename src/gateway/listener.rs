//! The listening socket of HTTP: bound here, or kept by the service manager while no gateway ran.
//!
//! A socket that is kept over an upgrade refuses nobody: who connects meanwhile waits in its backlog.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use tokio::net::TcpListener;
use tracing::warn;

/// The socket to accept from, and the same socket for the service manager to keep.
///
/// A socket that was handed over is used if it is the configured address's; port 0 takes any.
pub(super) async fn listen(
    address: SocketAddr,
    handed_over: Option<StdListener>,
) -> io::Result<(TcpListener, StdListener)> {
    let usable = handed_over.filter(|kept| match kept.local_addr() {
        Ok(at) if at.ip() == address.ip() && (at.port() == address.port() || address.port() == 0) => true,
        Ok(at) => {
            warn!("the service manager kept the socket of {at}, the configuration says {address}: it is bound again");
            false
        }
        Err(e) => {
            warn!(error = %e, "the socket that the service manager kept cannot be used: {address} is bound again");
            false
        }
    });
    let kept = match usable {
        Some(kept) => kept,
        None => TcpListener::bind(address).await?.into_std()?,
    };
    kept.set_nonblocking(true)?;
    Ok((TcpListener::from_std(kept.try_clone()?)?, kept))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_handed_over_is_used_where_it_is_the_configured_one() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let bound = StdListener::bind(any).unwrap();
        let at = bound.local_addr().unwrap();
        // Nobody accepts yet: the connection waits in the backlog.
        let waits = tokio::net::TcpStream::connect(at).await.unwrap();
        let (listener, _kept) = listen(at, Some(bound)).await.unwrap();
        assert_eq!(listener.accept().await.unwrap().1, waits.local_addr().unwrap());

        let elsewhere = StdListener::bind(any).unwrap();
        let other = elsewhere.local_addr().unwrap();
        drop(listener);
        drop(_kept);
        let (listener, _) = listen(at, Some(elsewhere)).await.unwrap();
        assert_eq!(listener.local_addr().unwrap(), at, "and not {other}");
    }
}
