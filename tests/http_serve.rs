//! The accept loop against clients that are slow, stalled, greedy, or there when the gateway stops.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vigie::http::{ServeLimits, serve};

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const LONG: Duration = Duration::from_secs(3600);

const UNLIMITED: ServeLimits = ServeLimits {
    connections_max: 100,
    connections_per_peer_max: 100,
    header_time_max: LONG,
    stall_time_max: LONG,
    drain_time_max: LONG,
};

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Server {
    async fn start(router: Router, limits: ServeLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(listener, router, limits, async {
            let _ = stopped.await;
        }));
        Self { address, stop, served }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.served).await.expect("the server drains").unwrap();
    }
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// Sends a request on a kept connection and reads its whole short answer.
async fn exchange(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await.expect("an answer").unwrap();
        assert_ne!(read, 0, "the connection was closed after {:?}", String::from_utf8_lossy(&answer));
    }
}

/// Reads until the server closes; a reset counts as closed.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server closes the connection") {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    rest
}

#[tokio::test]
async fn half_a_head_and_an_idle_connection_are_cut_after_the_time_allowed() {
    let limits = ServeLimits { header_time_max: Duration::from_millis(100), ..UNLIMITED };
    let server = Server::start(hello(), limits).await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nhost").await.unwrap();
    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    exchange(&mut idle).await;
    for stream in [&mut half, &mut silent, &mut idle] {
        until_closed(stream).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn past_the_limit_the_longest_idle_connection_makes_room() {
    let server = Server::start(hello(), ServeLimits { connections_max: 2, ..UNLIMITED }).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    exchange(&mut first).await;
    exchange(&mut second).await;
    exchange(&mut first).await;
    let mut third = server.connect().await;
    exchange(&mut third).await;
    until_closed(&mut second).await;
    exchange(&mut first).await;
    drop((first, third));
    server.stop().await;
}

#[tokio::test]
async fn where_all_connections_are_answered_another_is_refused_until_one_ends() {
    let (router, _dropped) = endless();
    let server = Server::start(router, ServeLimits { connections_max: 1, ..UNLIMITED }).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    busy.read_exact(&mut [0; 1000]).await.unwrap();
    let mut refused = server.connect().await;
    let _ = refused.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(until_closed(&mut refused).await.is_empty());
    busy.read_exact(&mut [0; 1000]).await.unwrap();
    drop(busy);
    // The server notices when it next writes.
    let mut read = [0; 15];
    timeout(PATIENCE, async {
        loop {
            let mut stream = server.connect().await;
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            if stream.read_exact(&mut read).await.is_ok() {
                break;
            }
        }
    })
    .await
    .expect("the place is free again");
    assert_eq!(&read, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn thirteen_hundred_idle_connections_block_nobody() {
    let server = Server::start(hello(), ServeLimits { connections_max: 64, ..UNLIMITED }).await;
    let mut idle = Vec::new();
    for n in 0..1_300 {
        // A refused one may be reset while it is set up.
        idle.extend(TcpStream::connect(server.address).await);
        if n % 100 == 0 {
            exchange(&mut server.connect().await).await;
        }
    }
    exchange(&mut server.connect().await).await;
    drop(idle);
    server.stop().await;
}

#[tokio::test]
async fn a_head_beyond_its_bound_is_refused() {
    let server = Server::start(hello(), UNLIMITED).await;
    let mut stream = server.connect().await;
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(200 << 10));
    // The server may close before it has read all of it.
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = until_closed(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "), "{:?}", String::from_utf8_lossy(&answer));
    exchange(&mut server.connect().await).await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_http_costs_its_own_connection_only() {
    let server = Server::start(hello(), UNLIMITED).await;
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01"[..], b"\r\n\r\n\r\n\x00", b"GET / HTTP/9.9\r\n\r\n", &[0xff; 4096]]
    {
        let mut stream = server.connect().await;
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let answer = until_closed(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&answer));
    }
    exchange(&mut server.connect().await).await;
    server.stop().await;
}

/// An endless body; the receiver hears when the server lets go of it.
fn endless() -> (Router, oneshot::Receiver<()>) {
    let (guard, dropped) = oneshot::channel::<()>();
    let guard = Arc::new(std::sync::Mutex::new(Some(guard)));
    let route = get(move || {
        let held = guard.lock().unwrap().take();
        let chunk = Bytes::from(vec![7; 64 << 10]);
        let body = stream::repeat(chunk).map(Ok::<_, std::io::Error>).inspect(move |_| _ = &held);
        async { Body::from_stream(body) }
    });
    (Router::new().route("/", route), dropped)
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_and_its_answer_dropped() {
    let (router, dropped) = endless();
    let server = Server::start(router, ServeLimits { stall_time_max: Duration::from_millis(100), ..UNLIMITED }).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    let heard = timeout(PATIENCE, dropped).await.expect("the server drops the answer");
    assert!(heard.is_err(), "the guard is dropped, never used");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_under_way_ends_whole_when_the_gateway_stops() {
    let begun = Arc::new(Notify::new());
    let go_on = Arc::new(Notify::new());
    let (begin, go) = (begun.clone(), go_on.clone());
    let route = get(async move || {
        begin.notify_one();
        go.notified().await;
        "hello"
    });
    let server = Server::start(Router::new().route("/", route), UNLIMITED).await;
    let address = server.address;
    let mut stream = server.connect().await;
    let mut idle = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    begun.notified().await;
    let stopping = tokio::spawn(server.stop());
    // An idle connection is closed at once; by then the listener is gone too.
    until_closed(&mut idle).await;
    assert!(TcpStream::connect(address).await.is_err());
    go_on.notify_one();
    let answer = until_closed(&mut stream).await;
    assert!(answer.ends_with(b"hello"), "{:?}", String::from_utf8_lossy(&answer));
    stopping.await.unwrap();
}

#[tokio::test]
async fn an_answer_without_end_is_cut_when_the_drain_time_is_over() {
    let (router, _dropped) = endless();
    let server = Server::start(router, ServeLimits { drain_time_max: Duration::from_millis(100), ..UNLIMITED }).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    server.stop().await;
    until_closed(&mut stream).await;
}
