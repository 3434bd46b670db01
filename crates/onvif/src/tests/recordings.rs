//! Searches of simulated cards.

use testkit::onvif::SimulatedRecording;

use super::*;

async fn server_with(recordings: Vec<SimulatedRecording>, quirk: OnvifQuirk) -> OnvifServer {
    let device = SimulatedOnvif { login: Login::Md5, quirk, recordings, ..SimulatedOnvif::new() };
    let clock = Arc::new(SystemClock::default());
    OnvifServer::start((Ipv4Addr::LOCALHOST, 0).into(), device, clock).await.expect("a server")
}

fn recordings() -> Vec<SimulatedRecording> {
    let first = SimulatedRecording::new("gate");
    let sound = SimulatedRecording { token: "sound".to_owned(), video: false, ..first.clone() };
    let other = SimulatedRecording { token: "r2".to_owned(), source: "vs2".to_owned(), ..first.clone() };
    vec![first, sound, other]
}

#[tokio::test]
async fn recordings_with_pictures_are_found_however_the_device_tells_them() {
    for quirk in [
        OnvifQuirk::None,
        OnvifQuirk::SlowSearch,
        OnvifQuirk::EndlessSearch,
        OnvifQuirk::OtherPrefixes,
        OnvifQuirk::NoGetServices,
        OnvifQuirk::NoncesOnce,
    ] {
        let server = server_with(recordings(), quirk).await;
        server.set_clock_offset(Duration::from_secs(3_600), true);
        let device = client(&server, Some(PASSWORD));
        let found = device.recordings().await.unwrap_or_else(|e| panic!("{quirk:?}: {e}"));
        let named: Vec<_> = found.iter().map(|found| (found.token.as_str(), found.source.as_str())).collect();
        assert_eq!(named, [("r&1", "vs1"), ("r2", "vs2")], "{quirk:?}");
        let length = found[0].latest.zip(found[0].earliest).map(|(latest, earliest)| latest.since(earliest));
        assert_eq!(length, Ticks90k::from_seconds(86_400), "{quirk:?}");
        assert_eq!(server.granted().last().map(String::as_str), Some("EndSearch"), "{quirk:?}");
        let uri = device.replay_uri("r&1").await.unwrap_or_else(|e| panic!("{quirk:?}: {e}"));
        assert_eq!((uri.url.as_str(), uri.named_host), ("rtsp://127.0.0.1:554/gate/replay", None), "{quirk:?}");
    }
}

#[tokio::test]
async fn a_replay_is_asked_for_at_the_configured_host() {
    let server = server_with(recordings(), OnvifQuirk::PrivateAddress).await;
    let uri = client(&server, Some(PASSWORD)).replay_uri("r2").await.expect("an address");
    let url = uri.url.as_str();
    assert_eq!((url, uri.named_host.as_deref()), ("rtsp://127.0.0.1:554/gate/replay", Some("10.77.0.5")));
}

#[tokio::test]
async fn a_device_without_a_card_and_one_that_forgets_are_errors_of_one_line() {
    let none = server_with(Vec::new(), OnvifQuirk::None).await;
    let error = client(&none, Some(PASSWORD)).recordings().await.expect_err("no service");
    assert!(matches!(error, Error::NoService { service: "recording search" }), "{error:?}");
    let error = client(&none, Some(PASSWORD)).replay_uri("r").await.expect_err("no service");
    assert!(matches!(error, Error::NoService { service: "replay" }), "{error:?}");
    for quirk in [OnvifQuirk::ForgottenSearch, OnvifQuirk::Faults, OnvifQuirk::NotXml, OnvifQuirk::Oversized] {
        let server = server_with(recordings(), quirk).await;
        assert_presentable(&client(&server, Some(PASSWORD)).recordings().await.expect_err("no answer"));
    }
    let server = server_with(recordings(), OnvifQuirk::None).await;
    let error = client(&server, Some(PASSWORD)).replay_uri("unknown").await.expect_err("no such recording");
    assert!(matches!(&error, Error::Fault { code, .. } if code.contains("InvalidToken")), "{error:?}");
}
