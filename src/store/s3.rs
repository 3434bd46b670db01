//! The client of S3, and what may be said of its errors.

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::{BackoffConfig, ClientOptions, Error, RetryConfig};
use secrecy::ExposeSecret;

use crate::config::S3;

/// A request, its body and its answer: 8 MiB at half a megabit a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(150);
/// To a store that is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds only: the drain tries again for as long as it takes.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one bucket. No request is made.
pub(super) fn client(bucket: &str, s3: &S3) -> Result<AmazonS3, Error> {
    let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries: 3, retry_timeout: RETRY_TIMEOUT };
    let options =
        ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT).with_allow_http(true);
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        // The server checks what arrives against its SHA-256 before it acknowledges it.
        .with_checksum_algorithm(Checksum::SHA256)
        // Packs go one by one: the request for many at once is the one that not every server knows.
        .with_disable_bulk_delete(true)
        .with_client_options(options)
        .with_retry(retry)
        .with_virtual_hosted_style_request(!s3.path_style);
    if let Some(region) = &s3.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    if let (Some(id), Some(secret)) = (&s3.access_key_id, &s3.secret_access_key) {
        builder = builder.with_access_key_id(id.expose_secret()).with_secret_access_key(secret.expose_secret());
    }
    builder.build()
}

/// The same error without the server's own words but for their code: a refusal quotes the access key and what was
/// signed, and errors end in logs.
pub(super) fn without_secrets(error: Error) -> Error {
    let said = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    let source = short(&said).into();
    match error {
        Error::NotFound { path, .. } => Error::NotFound { path, source },
        Error::AlreadyExists { path, .. } => Error::AlreadyExists { path, source },
        Error::Precondition { path, .. } => Error::Precondition { path, source },
        Error::PermissionDenied { path, .. } => Error::PermissionDenied { path, source },
        Error::Unauthenticated { path, .. } => Error::Unauthenticated { path, source },
        Error::Generic { store, .. } => Error::Generic { store, source },
        other => other,
    }
}

fn short(text: &str) -> String {
    let Some(start) = text.find('<') else { return text.to_owned() };
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    let plain = |code: &&str| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric());
    format!("{}{}", &text[..start], code.filter(plain).unwrap_or("(the rest of the answer is not shown)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_code_of_a_refusal_and_not_what_it_quotes() {
        let answer = "403 Forbidden: <?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code>\
                      <AWSAccessKeyId>GK0123</AWSAccessKeyId><StringToSign>AWS4-HMAC</StringToSign></Error>";
        let error = Error::PermissionDenied { path: "a/b".into(), source: answer.into() };
        let shown = format!("{0} {0:?}", without_secrets(error));
        assert!(shown.contains("403 Forbidden") && shown.contains("SignatureDoesNotMatch"), "{shown}");
        assert!(!shown.contains("GK0123") && !shown.contains("AWS4"), "{shown}");
    }
}
