//! The TCP connection beneath RTSP, in clear or inside TLS.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tracing::info;
use url::Url;

use super::SetupError;
use super::tls::{self, Secured, TlsTrust};
use footage::units::WallTime;

/// What the kernel shall keep of a camera while nobody reads, because the disk or the processor makes us wait: eight
/// seconds of 4 Mb/s. It takes memory only then.
const KEPT_BYTES: usize = 4 << 20;
/// Where it allows less than this (`net.core.rmem_max`), what it chooses by itself is more.
const KEPT_BYTES_MIN: usize = 1 << 20;

/// Whether the kernel lets us have such buffers, as a socket of no other use says: asked for more than it allows, it gives
/// what it allows. It counts twice what was asked for, for what it needs itself (`SO_RCVBUF` in socket(7)).
static MAY_KEEP_MORE: LazyLock<bool> = LazyLock::new(|| {
    let allowed = std::net::UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| {
        sockopt::set_socket_recv_buffer_size(&socket, KEPT_BYTES)?;
        Ok(sockopt::socket_recv_buffer_size(&socket)? / 2)
    });
    let may = allowed.is_ok_and(|bytes| bytes >= KEPT_BYTES_MIN);
    if !may {
        info!("net.core.rmem_max is low: a camera is held back sooner while the disk is busy");
    }
    may
});

/// Whether a URL asks for TLS.
pub(in super::super) fn is_secure(url: &Url) -> bool {
    url.scheme() == "rtsps"
}

/// Its port: where it names none, the one that is registered for its scheme.
pub(in super::super) fn port(url: &Url) -> u16 {
    url.port().unwrap_or(if is_secure(url) { 322 } else { 554 })
}

/// Its host, an IPv6 address without brackets.
pub(in super::super) fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_matches(['[', ']'])
}

/// A connection.
#[derive(Debug)]
pub(super) enum Link {
    Clear(TcpStream),
    Secure(Box<Secured>),
}

impl Link {
    /// Connects to the host of `url`.
    pub(super) async fn open(url: &Url, camera: &str, trust: &TlsTrust) -> Result<Self, SetupError> {
        let host = host(url);
        let stream = TcpStream::connect((host, port(url))).await.map_err(SetupError::Connect)?;
        // Requests are small, and each is waited for.
        let _ = stream.set_nodelay(true);
        if *MAY_KEEP_MORE {
            let set = sockopt::set_socket_recv_buffer_size(&stream, KEPT_BYTES);
            set.map_err(|e| SetupError::Connect(e.into()))?;
        }
        if !is_secure(url) {
            return Ok(Self::Clear(stream));
        }
        let secure = tls::connect(stream, host, camera, trust).await.map_err(SetupError::Tls)?;
        Ok(Self::Secure(Box::new(secure)))
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(stream) => stream,
            Self::Secure(secured) => secured.stream.get_ref().0,
        }
    }

    /// When the certificate that convinced ends to be valid, where that is near enough to matter.
    pub(super) fn certificate_until(&self) -> Option<WallTime> {
        match self {
            Self::Clear(_) => None,
            Self::Secure(secured) => secured.certificate_until,
        }
    }

    /// The addresses of this end and of the camera's.
    pub(super) fn ends(&self) -> std::io::Result<(IpAddr, IpAddr)> {
        let socket = self.socket();
        Ok((socket.local_addr()?.ip(), socket.peer_addr()?.ip()))
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(secured) => Pin::new(&mut secured.stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Secure(secured) => Pin::new(&mut secured.stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(secured) => Pin::new(&mut secured.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(secured) => Pin::new(&mut secured.stream).poll_shutdown(cx),
        }
    }
}
