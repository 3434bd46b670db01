//! The gateway's own TLS: a real client, certificates that are replaced, files that cannot serve, handshakes that stall.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use footage::clock::SimClock;
use footage::units::WallTime;
use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
use reqwest::{Certificate, Client, StatusCode};
use testkit::camera::{self, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use vigie::config::TlsFiles;
use vigie::demo;
use vigie::event::Fact;
use vigie::gateway::Gateway;
use vigie::http::{ServeLimits, ServerTls, TlsFilesError, serve_over};
use vigie::index::Index;

/// Certificate and key for localhost, valid until the end of this year, in this folder.
fn write_pair(folder: &Path, until: i32) -> (TlsFiles, Certificate) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 12, 31);
    let signing_key = KeyPair::generate().unwrap();
    let pair = CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key };
    let files = TlsFiles { certificate: folder.join("fullchain.pem"), key: folder.join("privkey.pem") };
    std::fs::write(&files.certificate, pair.cert.pem()).unwrap();
    std::fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let certificate = Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap();
    (files, certificate)
}

fn client(trusted: &Certificate) -> Client {
    Client::builder().tls_certs_only([trusted.clone()]).build().unwrap()
}

/// A server over TLS with one route.
async fn server(tls: ServerTls, limits: ServeLimits) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let stopped = stop.clone();
    let router = Router::new().route("/", get(|| async { "here" }));
    tokio::spawn(serve_over(Some(tls), listener, router, limits, async move { stopped.cancelled().await }));
    (address, stop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_a_certificate_serves_https_and_plain_http_to_its_own_machine_alone() {
    let mut camera = camera::demo_camera().unwrap();
    camera.path = "gate".to_owned();
    let cameras = Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![camera]).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let gate = demo::camera("gate".parse().unwrap(), "gate", cameras.url("gate"));
    let mut config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), dir.path(), vec![gate]).unwrap();
    let (files, certificate) = write_pair(dir.path(), 2099);
    config.http_tls = Some(files);
    let gateway = Gateway::start(&config).await.unwrap();
    let port = gateway.address().port();
    let answer = client(&certificate).get(format!("https://localhost:{port}/api/status")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    // Commands beside the gateway, and a proxy on its machine.
    let plain = Client::new().get(format!("http://127.0.0.1:{port}/livez")).send().await.unwrap();
    assert_eq!(plain.status(), StatusCode::OK);
    let stranger = tempfile::tempdir().unwrap();
    let (_, other) = write_pair(stranger.path(), 2099);
    assert!(client(&other).get(format!("https://localhost:{port}/livez")).send().await.is_err());
    gateway.stop().await;
}

#[tokio::test]
async fn files_that_are_replaced_serve_from_then_on_and_a_pair_that_does_not_fit_never_does() {
    let dir = tempfile::tempdir().unwrap();
    let (files, first) = write_pair(dir.path(), 2099);
    let tls = ServerTls::open(files.clone()).unwrap();
    let (address, _stop) = server(tls.clone(), ServeLimits::default()).await;
    let url = format!("https://localhost:{}/", address.port());
    assert_eq!(client(&first).get(&url).send().await.unwrap().text().await.unwrap(), "here");
    assert!(!tls.renew().unwrap(), "nothing changed");

    let elsewhere = tempfile::tempdir().unwrap();
    let (next, second) = write_pair(elsewhere.path(), 2099);
    // The certificate is there, its key not yet.
    std::fs::copy(&next.certificate, &files.certificate).unwrap();
    assert!(matches!(tls.renew(), Err(TlsFilesError::Refused { .. })));
    assert_eq!(client(&first).get(&url).send().await.unwrap().status(), StatusCode::OK);
    std::fs::copy(&next.key, &files.key).unwrap();
    assert!(tls.renew().unwrap());
    assert_eq!(client(&second).get(&url).send().await.unwrap().status(), StatusCode::OK);
    assert!(client(&first).get(&url).send().await.is_err());
}

#[test]
fn files_that_cannot_serve_are_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = write_pair(dir.path(), 2099);
    let refused = |want: &str| {
        let error = ServerTls::open(files.clone()).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused("privkey.pem may be read by every user");
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let key = std::fs::read(&files.key).unwrap();
    std::fs::write(&files.key, "nonsense").unwrap();
    refused("privkey.pem holds no private key in PEM");
    std::fs::write(&files.key, &key).unwrap();
    let certificate = std::fs::read(&files.certificate).unwrap();
    std::fs::write(&files.certificate, &key).unwrap();
    refused("fullchain.pem holds no certificate in PEM");
    std::fs::write(&files.certificate, &certificate[..certificate.len() / 2]).unwrap();
    refused("fullchain.pem holds no certificate in PEM");
    std::fs::remove_file(&files.certificate).unwrap();
    refused("fullchain.pem: No such file");
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut_and_garbage_is_no_session() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = write_pair(dir.path(), 2099);
    let limits = ServeLimits { header_time_max: Duration::from_millis(200), ..ServeLimits::default() };
    let (address, _stop) = server(ServerTls::open(files).unwrap(), limits).await;
    for begin in [&b""[..], &[22], &[22, 3, 1, 255, 255], &[22; 4096]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < 16, "an alert at most: {answer:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_an_alarm_until_another_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = write_pair(dir.path(), 2030);
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    let noon: WallTime = "2030-12-25T12:00:00Z".parse().unwrap();
    let tls = ServerTls::open(files).unwrap();
    let stop = CancellationToken::new();
    let keeping = tokio::spawn(tls.keep(index.clone(), Arc::new(SimClock::starting_at(noon)), stop.clone()));
    let expect = async |want: &[Fact]| {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            let events = index.events_after(0, 10).await.unwrap();
            if events.iter().map(|row| &row.event.fact).eq(want) {
                break;
            }
            tick.tick().await;
        }
    };
    let ends = Fact::ServerCertificateEnds { days: 5 };
    let patience = Duration::from_secs(40);
    tokio::time::timeout(patience, expect(std::slice::from_ref(&ends))).await.expect("an alarm");
    write_pair(dir.path(), 2099);
    tokio::time::timeout(patience, expect(&[ends, Fact::ServerCertificateRenewed])).await.expect("it is renewed");
    stop.cancel();
    keeping.await.unwrap();
}
