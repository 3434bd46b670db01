//! A way to an HTTP server on which things go wrong as they do: slowly, with refusals, with half of what was sent.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::Response;
use futures::stream;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a slow request takes more.
const SLOW: Duration = Duration::from_secs(2);
/// No body of the tests is longer.
const BODY_BYTES_MAX: usize = 256 << 20;

/// What goes wrong now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    Pass,
    /// Each request takes two seconds more.
    Slow,
    /// Each is answered with 503 and goes no further.
    Unavailable,
    /// The second half of what the server answers is lost, with the connection.
    CutAnswers,
    /// The second half of what is sent is lost.
    CutRequests,
    /// The server does what is asked, and its answer is lost.
    LoseAnswers,
}

/// What was asked of an object, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) query: String,
    pub(crate) mode: Mode,
}

#[derive(Debug)]
struct ProxyState {
    server: SocketAddr,
    client: reqwest::Client,
    mode: Mutex<Mode>,
    seen: Mutex<BTreeMap<String, Vec<Seen>>>,
}

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<ProxyState>,
    port: u16,
    _stop: DropGuard,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let shared = Arc::new(ProxyState {
            server: (Ipv4Addr::LOCALHOST, port).into(),
            client: reqwest::Client::new(),
            mode: Mutex::new(Mode::Pass),
            seen: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (port, stop) = (listener.local_addr().unwrap().port(), CancellationToken::new());
        let app = Router::new().fallback(handle).with_state(shared.clone());
        let serving =
            vigie::http::serve(listener, app, vigie::http::ServeLimits::default(), stop.clone().cancelled_owned());
        tokio::spawn(serving);
        Self { shared, port, _stop: stop.drop_guard() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// By the object's path.
    pub(crate) fn seen(&self) -> BTreeMap<String, Vec<Seen>> {
        self.shared.seen.lock().unwrap().clone()
    }
}

fn answer(status: StatusCode) -> Response {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

/// An answer that breaks off after these bytes of more.
fn broken_off(mut answer: axum::http::response::Builder, whole_bytes: usize, bytes: Bytes) -> Response {
    if let Some(headers) = answer.headers_mut() {
        headers.insert(header::CONTENT_LENGTH, whole_bytes.into());
    }
    let lost = Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    answer.body(Body::from_stream(stream::iter([Ok(bytes), lost]))).unwrap()
}

async fn handle(State(shared): State<Arc<ProxyState>>, request: Request) -> Response {
    let mode = *shared.mode.lock().unwrap();
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    let method = parts.method.clone();
    let note = |mode| shared.seen.lock().unwrap().entry(path.clone()).or_default().push(Seen { method, query, mode });
    if mode == Mode::Unavailable {
        note(mode);
        return answer(StatusCode::SERVICE_UNAVAILABLE);
    }
    let Ok(mut body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else { return answer(StatusCode::BAD_REQUEST) };
    if mode == Mode::Slow {
        tokio::time::timeout(SLOW, std::future::pending::<()>()).await.expect_err("it is never there");
    }
    if mode == Mode::CutRequests {
        body.truncate(body.len() / 2);
    }
    let target = format!("http://{}{}", shared.server, parts.uri.path_and_query().map_or("/", |p| p.as_str()));
    let mut forwarded = shared.client.request(parts.method, target);
    let ends_here =
        |name: &HeaderName| [header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING].contains(name);
    for (name, value) in parts.headers.iter().filter(|(name, _)| !ends_here(name)) {
        forwarded = forwarded.header(name, value);
    }
    let reply = forwarded.body(body).send().await;
    // A server that is not there is as good as one that refuses.
    note(if reply.is_ok() { mode } else { Mode::Unavailable });
    let Ok(reply) = reply else { return answer(StatusCode::BAD_GATEWAY) };
    let mut back = Response::builder().status(reply.status());
    for (name, value) in reply.headers().iter().filter(|(name, _)| *name != header::CONNECTION) {
        back = back.header(name, value);
    }
    let Ok(bytes) = reply.bytes().await else { return answer(StatusCode::BAD_GATEWAY) };
    match mode {
        Mode::CutAnswers if bytes.len() > 1 => broken_off(back, bytes.len(), bytes.slice(..bytes.len() / 2)),
        Mode::LoseAnswers => broken_off(back, bytes.len().max(1), Bytes::new()),
        _ => back.body(Body::from(bytes)).unwrap(),
    }
}
