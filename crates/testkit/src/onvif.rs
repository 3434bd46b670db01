//! A simulated ONVIF device: an HTTP server that answers by the WSDL of ONVIF (device, media, media2, event, search and replay services)
//! and misbehaves on demand, and the answerer of WS-Discovery beside it.
//!
//! Invariant: it checks what it is asked as a strict device would: envelope, namespaces, digests and their nonces, the age
//! of tokens by its own clock, reference parameters. What it was asked is kept in its log.
//! Absent on purpose: anything that a client could share with it. It knows no other module but the clock and the units.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use footage::clock::Clock;
use footage::units::{Ticks90k, WallTime};
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

mod answers;
mod discovery;
mod events;
mod login;
mod recordings;
mod request;

use answers::{Reply, fault};
pub use events::{Notice, NoticeKind};
pub use login::Login;
use login::Nonces;
pub use recordings::SimulatedRecording;
use request::Asked;

/// What is odd about a device. Each is one that devices show, or that a hostile one would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnvifQuirk {
    /// Nothing.
    #[default]
    None,
    /// It names its services and streams at an address of its own network, as behind an address translation.
    PrivateAddress,
    /// It has no Media2 service.
    NoMedia2,
    /// It does not know GetServices.
    NoGetServices,
    /// It does not know Renew.
    NoRenew,
    /// Prefixes are others than the customary ones, and the body's is none.
    OtherPrefixes,
    /// It refuses in the words of SOAP 1.1, with the status 400.
    OldFaults,
    /// Each nonce of its digests is good for one request.
    NoncesOnce,
    /// All but its clock is answered with a fault that says the password.
    Faults,
    /// Its answers are some bytes more than a mebibyte.
    Oversized,
    /// It takes requests and never answers.
    Silent,
    /// Its answers declare entities that grow.
    EntityBomb,
    /// Its answers are elements inside one another, without end.
    Deep,
    /// Its answers are no XML.
    NotXml,
    /// It answers with a redirect to another host.
    Redirect,
    /// Its pictures' address is no address.
    NoAddress,
    /// A pull is answered with thousands of messages, whatever was asked for.
    Flood,
    /// A search gives one recording at a time, and a pause before each.
    SlowSearch,
    /// A search never says that it is over.
    EndlessSearch,
    /// A search is forgotten before its results are asked for.
    ForgottenSearch,
}

/// A device's description.
#[derive(Clone, Debug)]
pub struct SimulatedOnvif {
    /// How it wants to know who asks.
    pub login: Login,
    /// Whom it knows.
    pub credentials: (String, String),
    /// What is odd about it.
    pub quirk: OnvifQuirk,
    /// Host and port of its RTSP server, in the addresses of its streams; and the path of the first of them.
    pub rtsp: (SocketAddr, String),
    /// What its card holds; without any, it has neither search nor replay service.
    pub recordings: Vec<SimulatedRecording>,
}

impl SimulatedOnvif {
    /// A device that behaves and asks nobody who they are.
    pub fn new() -> Self {
        Self {
            login: Login::Nobody,
            credentials: ("operator".to_owned(), "pass word/é".to_owned()),
            quirk: OnvifQuirk::None,
            rtsp: ((Ipv4Addr::LOCALHOST, 554).into(), "stream1".to_owned()),
            recordings: Vec::new(),
        }
    }
}

impl Default for SimulatedOnvif {
    fn default() -> Self {
        Self::new()
    }
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnvifRequest {
    /// The operation.
    pub operation: String,
    /// Path of the service that it came to.
    pub path: String,
    /// What it named as its host.
    pub host: String,
    /// It carried something that proves who asks.
    pub with_login: bool,
    /// It was answered with a success.
    pub granted: bool,
}

#[derive(Debug)]
struct Live {
    device: SimulatedOnvif,
    clock: Arc<dyn Clock>,
    address: SocketAddr,
    clock_offset: Mutex<Ticks90k>,
    nonces: Mutex<Nonces>,
    log: Mutex<Vec<OnvifRequest>>,
    subscriptions: Mutex<HashMap<u64, events::Subscriber>>,
    /// Recordings that a search has given out, while there is one.
    search: Mutex<Option<usize>>,
    noticed: Notify,
}

impl Live {
    fn now(&self) -> WallTime {
        self.clock.wall().saturating_add(*self.clock_offset.lock())
    }
}

/// A running device. Dropping it ends every connection.
#[derive(Debug)]
pub struct OnvifServer {
    live: Arc<Live>,
    stop: CancellationToken,
    _guard: DropGuard,
}

impl OnvifServer {
    /// Serves a device on this address; port 0 takes any that is free.
    pub async fn start(listen: SocketAddr, device: SimulatedOnvif, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let live = Arc::new(Live {
            device,
            clock,
            address: listener.local_addr()?,
            clock_offset: Mutex::new(Ticks90k(0)),
            nonces: Mutex::default(),
            log: Mutex::default(),
            subscriptions: Mutex::default(),
            search: Mutex::default(),
            noticed: Notify::new(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, live.clone(), stop.clone()));
        Ok(Self { live, _guard: stop.clone().drop_guard(), stop })
    }

    /// The URL of its device service.
    pub fn url(&self) -> String {
        format!("http://{}/onvif/device_service", self.live.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.live.address
    }

    /// Sets its own clock against the machine's.
    pub fn set_clock_offset(&self, offset: Duration, is_ahead: bool) {
        let ticks = Ticks90k::from_duration(offset).0;
        *self.live.clock_offset.lock() = Ticks90k(if is_ahead { ticks } else { -ticks });
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<OnvifRequest> {
        self.live.log.lock().clone()
    }

    /// Its operations in the order in which they were granted.
    pub fn granted(&self) -> Vec<String> {
        let log = self.live.log.lock();
        log.iter().filter(|request| request.granted).map(|request| request.operation.clone()).collect()
    }

    /// How many pull points it has.
    pub fn subscriber_count(&self) -> usize {
        self.live.subscriptions.lock().len()
    }

    /// It forgets every subscription, as a device that restarts does.
    pub fn forget_subscriptions(&self) {
        self.live.subscriptions.lock().clear();
        self.live.noticed.notify_waiters();
    }

    /// It notices something.
    pub fn notice(&self, notice: &Notice) {
        events::notice(&self.live, notice);
    }

    /// Serves a connection that came on another way, as through TLS.
    pub async fn serve(&self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        serve(io, self.live.clone()).await;
    }

    /// Answers WS-Discovery on this multicast group and port, through the interface of this address.
    pub async fn answer_discovery(&self, group: Ipv4Addr, port: u16, interface: Ipv4Addr) -> std::io::Result<u16> {
        let socket = discovery::listen(group, port, interface)?;
        let port = socket.local_addr()?.port();
        self.answer_on(socket);
        Ok(port)
    }

    /// Answers WS-Discovery on this socket.
    pub fn answer_on(&self, socket: UdpSocket) {
        let stop = self.stop.clone();
        let live = self.live.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = discovery::answer(socket, live) => {}
            }
        });
    }
}

async fn accept(listener: TcpListener, live: Arc<Live>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((connection, _)) => drop(connections.spawn(serve(connection, live.clone()))),
            // Out of file descriptors, most often: connections that end give some back.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, live: Arc<Live>) {
    let service = service_fn(|request| {
        let live = live.clone();
        async move { Ok::<_, Infallible>(answer(request, &live).await) }
    });
    // How a connection ends is the client's to say.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
}

async fn answer(request: Request<hyper::body::Incoming>, live: &Live) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let authorization = header(AUTHORIZATION);
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = head.uri.path().to_owned();
    let asked = Asked::read(&body, &path, header(CONTENT_TYPE).as_str());
    let (operation, with_token) = match &asked {
        Ok(asked) => (asked.operation.clone(), asked.token.is_some()),
        Err(why) => (why.clone(), false),
    };
    let number = {
        let mut log = live.log.lock();
        let with_login = !authorization.is_empty() || with_token;
        let host = head.headers.get("host").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        log.push(OnvifRequest { operation, path: path.clone(), host, with_login, granted: false });
        log.len() - 1
    };
    let reply = match asked {
        Err(why) => fault(400, "Sender", "ter:WellFormed", &why),
        Ok(asked) => {
            let refusal = login::check(live, &asked, &authorization, head.uri.to_string().as_str());
            match refusal {
                Some(refusal) => refusal,
                None => answers::answer(live, &asked).await,
            }
        }
    };
    live.log.lock()[number].granted = reply.status == 200;
    response(live, reply)
}

fn response(live: &Live, reply: Reply) -> Response<Full<Bytes>> {
    let quirk = live.device.quirk;
    let mut response =
        Response::builder().status(reply.status).header(CONTENT_TYPE, "application/soap+xml; charset=utf-8");
    for challenge in &reply.challenges {
        response = response.header(WWW_AUTHENTICATE, challenge);
    }
    if quirk == OnvifQuirk::Redirect {
        response = response.status(302).header(LOCATION, "http://192.0.2.66/login?user=operator");
    }
    let body = match quirk {
        OnvifQuirk::OtherPrefixes => answers::with_other_prefixes(&reply.envelope()),
        _ => reply.envelope(),
    };
    response.body(Full::new(Bytes::from(body))).expect("plain headers make a response")
}

#[cfg(test)]
mod tests;
