//! The client against simulated devices.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::SystemClock;
use footage::failure::{Failure, Kind};
use footage::units::Ticks90k;
use rtsp::TlsTrust;
use testkit::onvif::{Login, Notice, NoticeKind, OnvifQuirk, OnvifServer, SimulatedOnvif};

use super::*;

mod recordings;

const PASSWORD: &str = "pass word/é";
/// Generous: what is awaited comes at once.
const SOON: Duration = Duration::from_secs(20);

async fn server(login: Login, quirk: OnvifQuirk) -> OnvifServer {
    let device = SimulatedOnvif { login, quirk, ..SimulatedOnvif::new() };
    let clock = Arc::new(SystemClock::default());
    OnvifServer::start((Ipv4Addr::LOCALHOST, 0).into(), device, clock).await.expect("a server")
}

fn config(url: &str, password: Option<&str>) -> DeviceConfig {
    DeviceConfig {
        label: "ville/entree".to_owned(),
        url: url.parse().expect("a url"),
        tls: TlsTrust::System,
        username: password.map(|_| "operator".to_owned()),
        password: password.map(|password| password.to_owned().into()),
        timeout: SOON,
    }
}

fn client(server: &OnvifServer, password: Option<&str>) -> Device {
    Device::new(config(&server.url(), password), Arc::new(SystemClock::default()))
}

fn assert_presentable(error: &Error) {
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains(PASSWORD) && !text.contains("pass word"), "{text}");
    }
    assert!(!error.to_string().contains(['\n', '\r']), "{error:?}");
}

#[tokio::test]
async fn a_device_says_who_it_is_however_it_wants_to_know_who_asks() {
    for (login, quirk) in [
        (Login::Nobody, OnvifQuirk::None),
        (Login::Md5, OnvifQuirk::None),
        (Login::Sha256, OnvifQuirk::None),
        (Login::Sha256, OnvifQuirk::NoncesOnce),
        (Login::Token, OnvifQuirk::None),
        (Login::Token, OnvifQuirk::OldFaults),
        (Login::Token, OnvifQuirk::OtherPrefixes),
    ] {
        let server = server(login, quirk).await;
        // Far off: a token made by this machine's clock would be refused.
        server.set_clock_offset(Duration::from_secs(86_400 * 400), false);
        let device = client(&server, Some(PASSWORD));
        for _ in 0..3 {
            let found = device.information().await.unwrap_or_else(|e| panic!("{login:?} {quirk:?}: {e}"));
            assert_eq!((found.manufacturer.as_str(), found.model.as_str()), ("Vigie", "Simulated"));
            assert_eq!((found.firmware.as_str(), found.serial.as_str()), ("1.2.3 & more", "0001"));
        }
        // Nothing that proves who asks is sent before the device has asked for it.
        let requests = server.requests();
        assert!(!requests[0].with_login, "{login:?}: {requests:?}");
        let refused = requests.iter().filter(|request| !request.granted).count();
        let expect = match (login, quirk) {
            (Login::Nobody, _) => 0,
            (_, OnvifQuirk::NoncesOnce) => 3,
            _ => 1,
        };
        assert_eq!(refused, expect, "{login:?} {quirk:?}: {requests:?}");
    }
}

#[tokio::test]
async fn a_token_is_made_again_when_the_devices_clock_was_set() {
    let server = server(Login::Token, OnvifQuirk::None).await;
    let device = client(&server, Some(PASSWORD));
    device.information().await.expect("an answer");
    server.set_clock_offset(Duration::from_secs(3_600), true);
    device.information().await.expect("an answer by the new clock");
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_never_shown() {
    for login in [Login::Md5, Login::Sha256, Login::Token, Login::Basic] {
        let server = server(login, OnvifQuirk::None).await;
        let error = client(&server, Some("pass word wrong")).information().await.expect_err("a refusal");
        assert!(matches!(&error, Error::Denied { user, .. } if user == "operator"), "{login:?}: {error:?}");
        assert_eq!(error.kind(), Kind::Denied);
        assert_presentable(&error);
        let with_login = server.requests().iter().filter(|request| request.with_login).count();
        assert_eq!(with_login, 1, "{login:?}");
        let error = client(&server, None).information().await.expect_err("a refusal");
        assert!(matches!(error, Error::NoUser { .. }), "{login:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_clock_is_compared_without_a_login() {
    let server = server(Login::Token, OnvifQuirk::None).await;
    let check = |clock: ClockOffset, seconds: i64| {
        let off = (clock.offset.0 - Ticks90k::from_seconds(seconds).expect("few").0).abs();
        assert!(off <= clock.bound.0 && clock.by_ntp, "{clock:?} for {seconds} s");
    };
    let device = client(&server, None);
    check(device.clock_offset().await.expect("a time"), 0);
    server.set_clock_offset(Duration::from_secs(3_600), true);
    check(device.clock_offset().await.expect("a time"), 3_600);
    server.set_clock_offset(Duration::from_secs(86_400 * 365 * 30), false);
    check(device.clock_offset().await.expect("a time"), -86_400 * 365 * 30);
}

#[tokio::test]
async fn profiles_and_their_streams_are_named() {
    for (quirk, service, coding, gov_length) in [
        (OnvifQuirk::None, MediaService::Media2, "H265", 50),
        (OnvifQuirk::OtherPrefixes, MediaService::Media2, "H265", 50),
        (OnvifQuirk::PrivateAddress, MediaService::Media2, "H265", 50),
        (OnvifQuirk::NoMedia2, MediaService::Media, "H264", 24),
        (OnvifQuirk::NoGetServices, MediaService::Media, "H264", 24),
    ] {
        let server = server(Login::Sha256, quirk).await;
        let device = client(&server, Some(PASSWORD));
        let found = device.profiles().await.unwrap_or_else(|e| panic!("{quirk:?}: {e}"));
        assert_eq!(found.service, service, "{quirk:?}");
        let main = &found.profiles[0];
        assert_eq!((main.token.as_str(), main.name.as_str()), ("p&1", "main"));
        assert_eq!((main.encoding.as_deref(), main.gov_length), (Some(coding), Some(gov_length)), "{quirk:?}");
        assert!(main.width > main.height && main.frame_rate.is_some() && main.bit_rate_kbps.is_some(), "{main:?}");

        let stream = device.stream_uri(service, &main.token, StreamTransport::Tcp).await.expect("a stream");
        assert_eq!(stream.url.as_str(), "rtsp://127.0.0.1:554/stream1?profile=1&unicast=true", "{quirk:?}");
        let named = (quirk == OnvifQuirk::PrivateAddress).then_some("10.77.0.5");
        assert_eq!(stream.named_host.as_deref(), named, "{quirk:?}");
        let secure = device.stream_uri(service, &main.token, StreamTransport::Tls).await;
        match service {
            MediaService::Media2 => assert_eq!(secure.expect("a stream").url.scheme(), "rtsps"),
            MediaService::Media => assert!(matches!(secure, Err(Error::NoService { .. }))),
        }
        let picture = device.snapshot_uri(service, &main.token).await.expect("a picture");
        assert_eq!(picture.url.host_str(), Some("127.0.0.1"), "{quirk:?}");
        let error = device.stream_uri(service, "other<", StreamTransport::Tcp).await.expect_err("no profile");
        assert!(matches!(&error, Error::Fault { code, .. } if code == "Sender/NoProfile"), "{error:?}");
        // Whatever it called itself, all went to the configured host.
        assert!(server.requests().iter().all(|request| request.host == server.address().to_string()), "{quirk:?}");
    }
    let server = server(Login::Nobody, OnvifQuirk::NoAddress).await;
    let error = client(&server, None).snapshot_uri(MediaService::Media2, "p2").await.expect_err("no address");
    assert!(matches!(error, Error::Unusable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_hostile_device_costs_an_error_and_no_more() {
    for (quirk, kind, words) in [
        (OnvifQuirk::Oversized, Kind::Invalid, "more than 1048576 bytes"),
        (OnvifQuirk::EntityBomb, Kind::Invalid, "declares a document type"),
        (OnvifQuirk::Deep, Kind::Invalid, "too many elements inside one another"),
        (OnvifQuirk::NotXml, Kind::Invalid, "cannot be used"),
        (OnvifQuirk::Redirect, Kind::Invalid, "redirects GetDeviceInformation to http://192.0.2.66:80"),
        (OnvifQuirk::Faults, Kind::Retry, "Receiver/OutofMemory: no memory for user operator with ***"),
    ] {
        let server = server(Login::Nobody, quirk).await;
        let error = client(&server, Some(PASSWORD)).information().await.expect_err("an error");
        assert!(error.to_string().contains(words), "{quirk:?}: {error}");
        assert_eq!(error.kind(), kind, "{quirk:?}");
        assert_presentable(&error);
        assert_eq!(server.requests().len(), 1, "{quirk:?}: nothing is tried again");
    }
}

#[tokio::test]
async fn a_device_that_is_away_or_silent_is_waited_for_a_bounded_time() {
    let server = server(Login::Nobody, OnvifQuirk::Silent).await;
    let device = DeviceConfig { timeout: Duration::from_millis(200), ..config(&server.url(), None) };
    let error = Device::new(device, Arc::new(SystemClock::default())).clock_offset().await.expect_err("no answer");
    assert!(matches!(error, Error::NoAnswer { .. }) && error.kind() == Kind::Retry, "{error:?}");
    assert!(error.to_string().contains("did not answer GetSystemDateAndTime within 0.2 s"), "{error}");

    let closed = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.and_then(|socket| socket.local_addr());
    let url = format!("http://{}/onvif/device_service", closed.expect("an address"));
    let device = Device::new(config(&url, None), Arc::new(SystemClock::default()));
    let error = device.clock_offset().await.expect_err("nobody");
    assert!(matches!(error, Error::Connect { .. }) && error.kind() == Kind::Retry, "{error:?}");
}

#[tokio::test]
async fn what_a_device_notices_is_told_by_kind_and_the_rest_is_counted() {
    for login in [Login::Nobody, Login::Sha256, Login::Token] {
        let server = server(login, OnvifQuirk::None).await;
        let device = client(&server, Some(PASSWORD));
        let mut subscription = device.subscribe(Duration::from_secs(60)).await.expect("a subscription");
        let first = device.pull(&mut subscription, Duration::from_secs(1)).await.expect("how it is");
        assert_eq!(first.notifications.len(), 1);
        assert_eq!(first.notifications[0].operation, Operation::Initialized);

        for notice in [
            Notice::changed(NoticeKind::Motion, true),
            Notice::changed(NoticeKind::Face, true),
            Notice::changed(NoticeKind::SceneChange, true),
            Notice { operation: "Deleted", ..Notice::changed(NoticeKind::DigitalInput, false) },
        ] {
            server.notice(&notice);
        }
        let pulled = device.pull(&mut subscription, SOON).await.expect("what was noticed");
        assert_eq!(pulled.ignored, 1);
        let told: Vec<_> = pulled.notifications.iter().map(|n| (n.kind, n.active, n.operation)).collect();
        let expect = [
            (NotificationKind::Motion, Some(true), Operation::Changed),
            (NotificationKind::Tampering, Some(true), Operation::Changed),
            (NotificationKind::DigitalInput, Some(false), Operation::Deleted),
        ];
        assert_eq!(told, expect, "{login:?}");
        assert!(pulled.notifications.iter().all(|n| n.source == "source-1" && n.device_time.is_some()));
        assert!(!device.is_due(&subscription));
        device.renew(&mut subscription, Duration::from_secs(60)).await.expect("renewed");
        assert_eq!(server.subscriber_count(), 1);
        device.unsubscribe(subscription).await.expect("ended");
        assert_eq!(server.subscriber_count(), 0);
    }
}

#[tokio::test]
async fn a_pull_waits_for_what_is_noticed() {
    let server = server(Login::Nobody, OnvifQuirk::None).await;
    let device = client(&server, None);
    let mut subscription = device.subscribe(Duration::from_secs(60)).await.expect("a subscription");
    device.pull(&mut subscription, Duration::from_secs(1)).await.expect("how it is");
    let (pulled, ()) = tokio::join!(device.pull(&mut subscription, SOON), async {
        while !server.requests().last().is_some_and(|r| r.operation == "PullMessages" && !r.granted) {
            tokio::task::yield_now().await;
        }
        server.notice(&Notice::changed(NoticeKind::DigitalInput, true));
    });
    assert_eq!(pulled.expect("a notice").notifications.len(), 1);
}

#[tokio::test]
async fn a_subscription_that_is_gone_or_cannot_be_renewed_says_so() {
    let forgetful = server(Login::Nobody, OnvifQuirk::None).await;
    let device = client(&forgetful, None);
    let mut subscription = device.subscribe(Duration::from_secs(60)).await.expect("a subscription");
    forgetful.forget_subscriptions();
    let error = device.pull(&mut subscription, Duration::from_secs(1)).await.expect_err("gone");
    assert!(matches!(&error, Error::Fault { code, .. } if code.contains("ResourceUnknown")), "{error:?}");

    let old = server(Login::Nobody, OnvifQuirk::NoRenew).await;
    let device = client(&old, None);
    let mut subscription = device.subscribe(Duration::from_secs(60)).await.expect("a subscription");
    let error = device.renew(&mut subscription, Duration::from_secs(60)).await.expect_err("not known");
    assert!(error.is_unsupported(), "{error:?}");
}

#[tokio::test]
async fn a_flood_of_messages_is_read_up_to_a_bound() {
    let server = server(Login::Nobody, OnvifQuirk::Flood).await;
    let device = client(&server, None);
    let mut subscription = device.subscribe(Duration::from_secs(60)).await.expect("a subscription");
    let pulled = device.pull(&mut subscription, Duration::from_secs(1)).await.expect("messages");
    assert_eq!((pulled.notifications.len(), pulled.ignored), (1, 999));
}

#[tokio::test]
async fn devices_on_the_network_are_found_once_each() {
    let (group, interface) = (Ipv4Addr::new(239, 255, 255, 250), Ipv4Addr::LOCALHOST);
    let plain = server(Login::Nobody, OnvifQuirk::None).await;
    let flood = server(Login::Nobody, OnvifQuirk::Flood).await;
    let translated = server(Login::Nobody, OnvifQuirk::PrivateAddress).await;
    // A port of its own, so that no other test is asked too.
    let port = plain.answer_discovery(group, 0, interface).await.expect("a listener");
    for other in [&flood, &translated] {
        other.answer_discovery(group, port, interface).await.expect("a listener");
    }
    let to = std::net::SocketAddrV4::new(group, port);
    let discovery = Discovery { to, from: vec![interface], wait: Duration::from_secs(2) };
    let found = discover(&discovery).await.expect("a look");
    let mut urls: Vec<String> = found.iter().map(|found| found.url.to_string()).collect();
    urls.sort();
    let mut expect: Vec<String> = [&plain, &flood, &translated].iter().map(|server| server.url()).collect();
    expect.sort();
    assert_eq!(urls, expect);
    assert!(found.iter().all(|found| found.scopes["location"] == "Place de la Mairie"), "{found:?}");
    assert!(found.iter().all(|found| found.address == interface), "{found:?}");
}

/// A device behind TLS with a certificate of its own.
#[tokio::test]
async fn a_device_behind_tls_has_to_convince_first() {
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
    use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

    let folder = tempfile::tempdir().expect("a folder");
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let file = folder.path().join("device.pem");
    std::fs::write(&file, own.cert.pem()).expect("written");
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .expect("a key of its certificate");
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let server = Arc::new(server(Login::Sha256, OnvifQuirk::None).await);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let behind = server.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    behind.serve(stream).await;
                }
            });
        }
    });
    let url = format!("https://127.0.0.1:{port}/onvif/device_service");
    let device = |tls| {
        let config = DeviceConfig { tls, ..config(&url, Some(PASSWORD)) };
        Device::new(config, Arc::new(SystemClock::default()))
    };
    let error = device(TlsTrust::System).information().await.expect_err("nobody vouches for it");
    assert!(matches!(error, Error::Tls { .. }) && error.kind() == Kind::Denied, "{error:?}");
    assert_eq!(server.requests(), [], "it was asked nothing");
    let trusted = device(TlsTrust::CaFile(file));
    assert_eq!(trusted.information().await.expect("an answer").model, "Simulated");
    // Its services are named without TLS: they are asked for inside it.
    assert_eq!(trusted.profiles().await.expect("profiles").service, MediaService::Media2);
    let pinned = folder.path().join("device.sha256");
    device(TlsTrust::FirstUse(pinned.clone())).information().await.expect("an answer");
    device(TlsTrust::FirstUse(pinned)).information().await.expect("the same certificate");
}
