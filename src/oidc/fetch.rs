//! What is asked of a provider over HTTP.
//!
//! Invariants: an answer has so many bytes at most; no redirect is followed; an address is asked in clear only where the provider's
//! own issuer is, which is then this machine.

use std::path::Path;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use url::Url;

use crate::config::is_protected;
use footage::platform;

/// To the end of an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Metadata, keys, tokens and claims have some kilobytes.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Why there is no answer: words for the log, without an address and without what was sent.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub(super) struct FetchError(pub(super) String);

/// Asks one provider.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    client: reqwest::Client,
    is_clear: bool,
}

impl Fetch {
    /// `issuer`: whose it is; `ca_file`: authorities besides the system's.
    pub(super) async fn new(issuer: &Url, ca_file: Option<&Path>) -> Result<Self, FetchError> {
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("vigie/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(ANSWER_TIME_MAX);
        if let Some(file) = ca_file.map(Path::to_owned) {
            let shown = file.display().to_string();
            let read = platform::spawn_blocking(move || std::fs::read(file)).await;
            let pem = read.unwrap_or_else(|e| Err(std::io::Error::other(e)));
            let pem = pem.map_err(|e| FetchError(format!("ca_file {shown}: {e}")))?;
            let found = reqwest::Certificate::from_pem_bundle(&pem);
            let found = found.map_err(|_| FetchError(format!("ca_file {shown} holds no certificates in PEM")))?;
            client = found.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
        }
        let client = client.build().map_err(|e| FetchError(words(e)))?;
        Ok(Self { client, is_clear: issuer.scheme() == "http" })
    }

    /// Whether this address may be asked, or a browser sent there.
    pub(super) fn may_go_to(&self, url: &Url) -> bool {
        is_protected(url) && (self.is_clear || url.scheme() == "https")
    }

    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let request = reqwest::Request::try_from(request).map_err(|e| FetchError(words(e)))?;
        if !self.may_go_to(request.url()) {
            return Err(FetchError("an address of it is not https".to_owned()));
        }
        let mut answer = self.client.execute(request).await.map_err(|e| FetchError(words(e)))?;
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        if status.is_server_error() {
            return Err(FetchError(format!("it answered {}", status.as_u16())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| FetchError(words(e)))? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(FetchError(format!("an answer has more than {BODY_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = HttpResponse::new(body);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for Fetch {
    type Error = FetchError;
    type Future = BoxFuture<'c, Result<HttpResponse, FetchError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        self.send(request).boxed()
    }
}

/// An error of the client in one line: its address, and what is in it, left out.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
