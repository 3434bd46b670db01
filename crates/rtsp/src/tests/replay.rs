//! Replays of a simulated card.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use testkit::camera::{Card, CardQuirk, Filmed, Live, Server, SimulatedCamera, demo_camera};

use super::super::replay::{Replay, ReplayError, ReplayRange, Replayed};
use super::super::{RtspConfig, TlsTrust, Transport};
use footage::clock::SystemClock;
use footage::media::GapCause;
use footage::source::SourceError;
use footage::units::{Ticks90k, WallTime};

const SECOND: i64 = 90_000;

async fn server() -> Server {
    let demo = demo_camera().expect("a film");
    let camera = SimulatedCamera {
        one_scene: true,
        filming_for: Duration::from_secs(40),
        credentials: Some(("user".to_owned(), "secret".to_owned())),
        ..demo
    };
    Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![camera]).await.expect("a server")
}

fn live(server: &Server) -> &Arc<Live> {
    server.camera("pedestrians").expect("it is served")
}

async fn open(server: &Server, range: ReplayRange) -> Result<Replay, ReplayError> {
    let url = format!("{}/replay", server.url("pedestrians"));
    let config = RtspConfig {
        camera: "town/hall".parse().expect("a key"),
        url: url.parse().expect("a url"),
        tls: TlsTrust::System,
        username: Some("user".to_owned()),
        password: Some("secret".to_owned().into()),
        transport: Transport::Udp,
        audio: true,
        silence_max: Duration::from_millis(500),
        setup_timeout: Duration::from_secs(20),
    };
    Replay::open(config, range, Arc::new(SystemClock::default())).await
}

/// Seconds after the scene began.
fn range(filmed: &[Filmed], from: i64, to: i64) -> ReplayRange {
    let at = |seconds: i64| filmed[0].at.saturating_add(Ticks90k(seconds * SECOND));
    ReplayRange { start: at(from), end: at(to) }
}

/// What a replay of a second of the scene gives, how it ends, and the pictures of the scene.
async fn replayed(card: Card, from: i64, to: i64, most: usize) -> (Vec<Replayed>, Option<SourceError>, Vec<Filmed>) {
    let server = server().await;
    live(&server).set_card(card);
    let filmed = live(&server).filmed();
    let mut replay = open(&server, range(&filmed, from, to)).await.expect("a replay");
    let mut pictures = Vec::new();
    let end = loop {
        match replay.next().await {
            Ok(Some(picture)) if pictures.len() < most => pictures.push(picture),
            Ok(_) => break None,
            Err(error) => break Some(error),
        }
    };
    (pictures, end, filmed)
}

/// Every picture is one of the scene, byte for byte, with its time; gives their numbers.
fn numbers(pictures: &[Replayed], filmed: &[Filmed]) -> Vec<u64> {
    let number = |picture: &Replayed| {
        let hash = blake3::hash(&picture.data);
        let found = filmed.iter().find(|filmed| filmed.hash == hash).expect("a picture of the scene");
        let off = picture.filmed.expect("a time").since(found.at).0;
        assert!(off.abs() <= 1, "{off} ticks off");
        assert_eq!(picture.random_access, found.random_access);
        found.number
    };
    pictures.iter().map(number).collect()
}

#[tokio::test]
async fn a_replay_is_the_pictures_of_its_range_byte_for_byte_at_their_times() {
    let (pictures, end, filmed) = replayed(Card::default(), 12, 20, usize::MAX).await;
    let numbers = numbers(&pictures, &filmed);
    assert_eq!(end, None);
    assert!(pictures[0].random_access && numbers[0] <= 120 && numbers.last() == Some(&200), "{numbers:?}");
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert!(pictures.iter().all(|picture| !picture.follows_hole && picture.params == pictures[0].params));
}

#[tokio::test]
async fn a_hole_of_the_card_is_told() {
    let card = Card { holes: vec![130..165, 190..1_000], ..Card::default() };
    let (pictures, end, filmed) = replayed(card, 12, 25, usize::MAX).await;
    let numbers = numbers(&pictures, &filmed);
    assert_eq!((end, numbers.last()), (None, Some(&189)));
    let after: Vec<u64> = pictures.iter().zip(&numbers).filter(|(p, _)| p.follows_hole).map(|(_, n)| *n).collect();
    assert_eq!(after, [165]);
    assert!(numbers.iter().all(|n| !(130..165).contains(n)), "{numbers:?}");
}

#[tokio::test]
async fn odd_cards_give_what_they_have_and_say_how_it_ended() {
    let of = |quirk| Card { quirk, ..Card::default() };
    let (pictures, end, _) = replayed(of(CardQuirk::NoExtension), 12, 14, 10).await;
    assert!(pictures.len() == 10 && pictures.iter().all(|picture| picture.filmed.is_none()));
    assert_eq!(end, None);
    let (pictures, end, filmed) = replayed(of(CardQuirk::Stalls(7)), 12, 20, usize::MAX).await;
    assert_eq!((numbers(&pictures, &filmed).len(), end.map(|error| error.cause)), (7, Some(GapCause::Silent)));
    let (pictures, end, filmed) = replayed(of(CardQuirk::HangsUp(7)), 12, 20, usize::MAX).await;
    assert_eq!((numbers(&pictures, &filmed).len(), end.map(|error| error.cause)), (7, Some(GapCause::Disconnected)));
    let (pictures, _, filmed) = replayed(of(CardQuirk::Endless), 12, 14, 500).await;
    assert_eq!(numbers(&pictures, &filmed).len(), 500);
    let (pictures, _, filmed) = replayed(of(CardQuirk::TimesOff(60_000)), 80, 85, 1).await;
    let hash = blake3::hash(&pictures[0].data);
    let shown = filmed.iter().find(|filmed| filmed.hash == hash).expect("a picture of the scene");
    let off = pictures[0].filmed.expect("a time").since(shown.at);
    assert!((off.0 - 60 * SECOND).abs() <= 1, "{off:?}");
}

#[tokio::test]
async fn what_the_card_has_not_is_nothing_and_no_error_of_the_session() {
    let server = server().await;
    let filmed = live(&server).filmed();
    let asked = range(&filmed, 12, 14);
    assert!(matches!(open(&server, asked).await, Err(ReplayError::Nothing)), "no card");
    live(&server).set_card(Card { quirk: CardQuirk::RefusesRange, ..Card::default() });
    assert!(matches!(open(&server, asked).await, Err(ReplayError::Nothing)), "no ranges");
    live(&server).set(|faults| faults.refuse = true);
    let Err(ReplayError::Failed(error)) = open(&server, asked).await else { panic!("a session that is refused") };
    assert_eq!(error.cause, GapCause::Disconnected);
}

#[test]
fn a_range_is_written_as_rtsp_has_it() {
    let range =
        ReplayRange { start: WallTime(90_000 * 1_795_000_000 + 45), end: WallTime(90_000 * 1_795_000_007 + 89_999) };
    assert_eq!(range.header(), "clock=20261118T110640.000Z-20261118T110648.000Z");
}
