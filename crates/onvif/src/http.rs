//! One HTTP request (RFC 9112) on a connection of its own: a device's answers are small, rare and bounded.
//!
//! Invariant: nothing is sent to a host but the one of the URL, no redirect is followed, and no proxy is asked. What comes is
//! bounded: 64 KiB of headers, [`BODY_BYTES_MAX`] of body; its time is the caller's to bound.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rtsp::{TlsError, TlsTrust, secure};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::Url;

/// Largest answer: capabilities and profiles of large recorders take a tenth of it.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;

/// What a device answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// Each `WWW-Authenticate`.
    pub(crate) challenges: Vec<String>,
    pub(crate) location: Option<String>,
    /// Whom the connection was with.
    pub(crate) peer: IpAddr,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    Connect(std::io::Error),
    Tls(TlsError),
    TooLarge,
    Ended(String),
}

/// What to send.
#[derive(Debug)]
pub(crate) struct Post<'a> {
    /// `http://` or `https://`.
    pub(crate) url: &'a Url,
    pub(crate) trust: &'a TlsTrust,
    /// Whose it is, for the log.
    pub(crate) label: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) body: String,
}

/// Path and query, as the request line and a digest have them.
pub(crate) fn request_target(url: &Url) -> String {
    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

/// `host:port`.
pub(crate) fn endpoint(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or("(no host)"), url.port_or_known_default().unwrap_or(80))
}

impl Post<'_> {
    pub(crate) async fn send(self) -> Result<Answer, HttpError> {
        // An IPv6 address is in brackets in a URL alone.
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.url.port_or_known_default().unwrap_or(80);
        let stream = TcpStream::connect((host, port)).await.map_err(HttpError::Connect)?;
        let peer = stream.peer_addr().map_err(HttpError::Connect)?.ip();
        let _ = stream.set_nodelay(true);
        if self.url.scheme() == "https" {
            let secured = secure(stream, host, self.label, self.trust).await.map_err(HttpError::Tls)?;
            return self.exchange(secured.stream, peer).await;
        }
        self.exchange(stream, peer).await
    }

    async fn exchange(self, io: impl AsyncRead + AsyncWrite + Unpin, peer: IpAddr) -> Result<Answer, HttpError> {
        let mut builder = http1::Builder::new();
        // As small servers expect headers, and as they write them.
        builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).title_case_headers(true);
        builder.allow_obsolete_multiline_headers_in_responses(true).allow_spaces_after_header_name_in_responses(true);
        builder.ignore_invalid_headers_in_responses(true);
        let (mut sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(|e| ended(&e))?;
        let request = self.request()?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|e| ended(&e))?;
            read(answer, peer).await
        };
        tokio::pin!(exchange, connection);
        // The connection is driven until the answer is whole; where it ends first, the answer says what it lacks.
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            _ = &mut connection => exchange.await,
        }
    }

    fn request(self) -> Result<Request<Full<Bytes>>, HttpError> {
        let host = match self.url.port() {
            Some(port) => format!("{}:{port}", self.url.host_str().unwrap_or_default()),
            None => self.url.host_str().unwrap_or_default().to_owned(),
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(request_target(self.url))
            .header(HOST, host)
            .header(USER_AGENT, concat!("vigie/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, self.content_type);
        if let Some(authorization) = self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::new(Bytes::from(self.body))).map_err(|e| HttpError::Ended(e.to_string()))
    }
}

async fn read(answer: Response<hyper::body::Incoming>, peer: IpAddr) -> Result<Answer, HttpError> {
    let texts = |name: HeaderName| -> Vec<String> {
        let values = answer.headers().get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let (challenges, location) = (texts(WWW_AUTHENTICATE), texts(LOCATION).into_iter().next());
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await.map_err(|error| {
        let is_too_large = error.downcast_ref::<LengthLimitError>().is_some();
        if is_too_large { HttpError::TooLarge } else { HttpError::Ended(error.to_string()) }
    })?;
    Ok(Answer { status, body: body.to_bytes(), challenges, location, peer })
}

fn ended(error: &hyper::Error) -> HttpError {
    let cause = std::error::Error::source(error).map(|cause| format!(" ({cause})")).unwrap_or_default();
    HttpError::Ended(format!("{error}{cause}"))
}
