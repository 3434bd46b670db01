//! What a wire can carry, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use super::peer::*;
use super::*;
use footage::clock::SystemClock;
use footage::media::{AccessUnit, GapCause, Oddity, OddityCounts, Track};
use footage::source::Item;
use footage::units::WallTime;

const IDR: &[u8] = &[0x65, 0x88, 1, 2, 3];
const P: &[u8] = &[0x41, 0x9a, 4, 5];

/// A source for the peer, and how a test likes it.
async fn source(peer: &Peer, adapt: impl FnOnce(&mut RtspConfig)) -> RtspSource {
    let address = peer.start().await;
    let mut config = config(&format!("rtsp://{address}/live?channel=1&subtype=0"));
    adapt(&mut config);
    RtspSource::new(config, Arc::new(SystemClock::default()), SessionGroup::default())
}

/// Everything that one session yields, with how it ends.
async fn play(peer: &Peer) -> (Session, Vec<Item>, SourceError) {
    let source = source(peer, |_| ()).await;
    drain(source.open().await.expect("an open session")).await
}

async fn drain(mut session: Session) -> (Session, Vec<Item>, SourceError) {
    let mut items = Vec::new();
    loop {
        match session.items.next().await {
            Some(Ok(item)) => items.push(item),
            Some(Err(error)) => {
                assert!(session.items.next().await.is_none(), "items after the error");
                assert_presentable(&error.detail);
                return (session, items, error);
            }
            None => panic!("the session ended without an error"),
        }
    }
}

fn units(items: Vec<Item>) -> Vec<AccessUnit> {
    let unit = |item| match item {
        Item::AccessUnit(unit) => Some(unit),
        Item::SenderReport { .. } | Item::Oddities(_) => None,
    };
    items.into_iter().filter_map(unit).collect()
}

/// What was odd, of all that one session yielded.
fn odd(items: &[Item]) -> Vec<Oddity> {
    let mut all = OddityCounts::default();
    for item in items {
        if let Item::Oddities(counts) = item {
            all.take_from(&mut counts.clone());
        }
    }
    all.iter().map(|(oddity, _)| oddity).collect()
}

/// What our reader makes of a stream after which the peer closes: timestamp, bytes and lost packets of each picture, and
/// what was odd.
async fn check_odd(media: String, stream: &[Vec<u8>], expect: &[(i64, Vec<u8>, u32)], kinds: &[Oddity]) {
    let (_, items, error) = play(&Peer::new(media, stream, Then::Close)).await;
    assert_eq!(error.cause, GapCause::Disconnected, "{error}");
    assert_eq!(odd(&items), kinds);
    let got: Vec<_> = units(items).into_iter().map(|u| (u.timestamp, u.data.to_vec(), u.lost_packets)).collect();
    assert_eq!(got, expect);
}

/// A session that ends as the peer closes, against timestamp, bytes, randomness of access, and packets lost.
async fn check_units(peer: Peer, expect: &[(i64, Vec<u8>, bool, u32)]) {
    let (_, items, error) = play(&peer).await;
    assert_eq!(error.cause, GapCause::Disconnected, "{error}");
    let got: Vec<_> =
        units(items).into_iter().map(|u| (u.timestamp, u.data.to_vec(), u.random_access, u.lost_packets)).collect();
    assert_eq!(got, expect);
}

async fn check_open(peer: Peer, cause: GapCause, words: &[&str]) {
    let source = source(&peer, |c| c.setup_timeout = Duration::from_millis(300)).await;
    let error = source.open().await.err().expect("a failure");
    assert_says(&error, cause, words);
}

#[tokio::test]
async fn whole_pictures_come_once_in_order_with_their_bytes() {
    let fragments = [&[0x7c, 0x85, 0x88, 9][..], &[0x7c, 0x05, 8], &[0x7c, 0x45, 7]];
    let stream = [
        rtp(1, 1_000, true, IDR),
        rtp(2, 4_600, true, P),
        rtp(3, 8_200, false, fragments[0]),
        rtp(4, 8_200, false, fragments[1]),
        rtp(5, 8_200, true, fragments[2]),
    ];
    let expect =
        [(1_000, sample(IDR), true, 0), (4_600, sample(P), false, 0), (8_200, sample(&[0x65, 0x88, 9, 8, 7]), true, 0)];
    check_units(Peer::new(h264(), &stream, Then::Close), &expect).await;
}

#[tokio::test]
async fn timestamps_go_on_past_their_32_bits() {
    let stream = [rtp(1, u32::MAX - 99, true, IDR), rtp(2, 3_500, true, P)];
    let expect = [(i64::from(u32::MAX) - 99, sample(IDR), true, 0), ((1 << 32) + 3_500, sample(P), false, 0)];
    check_units(Peer::new(h264(), &stream, Then::Close), &expect).await;
}

#[tokio::test]
async fn lost_packets_surface_on_the_next_picture() {
    let stream = [
        rtp(1, 0, true, IDR),
        rtp(5, 3_600, true, P),
        // This picture loses its middle, and with it itself.
        rtp(6, 7_200, false, &[0x7c, 0x81, 0x9a]),
        rtp(8, 7_200, true, &[0x7c, 0x41, 1]),
        rtp(9, 10_800, true, P),
    ];
    let expect = [(0, sample(IDR), true, 0), (3_600, sample(P), false, 3), (10_800, sample(P), false, 1)];
    check_units(Peer::new(h264(), &stream, Then::Close), &expect).await;
}

#[tokio::test]
async fn a_picture_under_way_when_we_join_is_passed_over() {
    let stream = [
        rtp(1, 0, false, &[0x7c, 0x05, 8]),
        rtp(2, 0, true, &[0x7c, 0x45, 7]),
        // The tail of an IDR picture: whole as a NAL unit, but no picture to begin with.
        rtp(3, 3_600, true, &[0x65, 0x00, 7]),
        rtp(4, 7_200, true, IDR),
    ];
    let expect = [(3_600, sample(&[0x65, 0x00, 7]), false, 0), (7_200, sample(IDR), true, 0)];
    check_units(Peer::new(h264(), &stream, Then::Close), &expect).await;
}

#[tokio::test]
async fn parameter_sets_in_band_open_the_session_and_no_picture_after_them_is_lost() {
    let stream = [
        rtp(1, 0, true, P),
        rtp(4, 3_600, true, P),
        rtp(5, 7_200, false, SPS),
        rtp(6, 7_200, false, PPS),
        rtp(7, 7_200, true, IDR),
        rtp(8, 10_800, true, P),
    ];
    let peer = Peer::new(bare_h264(), &stream, Then::Close);
    let (session, items, _) = play(&peer).await;
    assert_eq!((session.params.video.width, session.params.video.height), (320, 240));
    let units = units(items);
    assert_eq!(units.iter().map(|u| u.timestamp).collect::<Vec<_>>(), [7_200, 10_800]);
    assert_eq!(units[0].lost_packets, 2, "what was lost before the first picture is not forgotten");
    assert_eq!(units[0].new_params, None, "the session's own parameters are no change");
}

#[tokio::test]
async fn parameter_sets_that_never_come_time_out() {
    let peer = Peer::new(bare_h264(), &[rtp(1, 0, true, P)], Then::Stay);
    check_open(peer, GapCause::SetupTimeout, &["parameter set", "0.3 s"]).await;
}

#[tokio::test]
async fn parameter_sets_that_change_come_with_the_picture_that_needs_them() {
    // Another level: 0x0d (1.3) becomes 0x0e (1.4).
    let other = [&SPS[..3], &[0x0e], &SPS[4..]].concat();
    let stream = [
        rtp(1, 0, true, IDR),
        rtp(2, 3_600, false, &other),
        rtp(3, 3_600, false, PPS),
        rtp(4, 3_600, true, IDR),
        rtp(5, 7_200, true, P),
    ];
    let (session, items, _) = play(&Peer::new(h264(), &stream, Then::Close)).await;
    assert_eq!(session.params.video.rfc6381, "avc3.42C00D");
    let units = units(items);
    let names: Vec<_> = units.iter().map(|u| u.new_params.as_ref().map(|p| p.video.rfc6381.clone())).collect();
    assert_eq!(names, [None, Some("avc3.42C00E".to_owned()), None]);
    assert_eq!(
        units[1].data.to_vec(),
        [sample(&other), sample(PPS), sample(IDR)].concat(),
        "they stay where they came"
    );
}

#[tokio::test]
async fn pictures_of_ten_megabytes_come_whole() {
    let part = [&[0x7c, 0x05][..], &[0xab; 50_000]].concat();
    let mut stream = vec![rtp(0, 0, true, IDR), rtp(1, 3_600, false, &[0x7c, 0x85, 0x88])];
    stream.extend((2..202).map(|seq| rtp(seq, 3_600, false, &part)));
    stream.push(rtp(202, 3_600, true, &[0x7c, 0x45, 1]));
    let (_, items, _) = play(&Peer::new(h264(), &stream, Then::Close)).await;
    let units = units(items);
    assert_eq!(units.len(), 2);
    assert_eq!((units[1].data.len(), units[1].random_access), (4 + 2 + 200 * 50_000 + 1, true));
}

#[tokio::test]
async fn a_picture_that_never_ends_is_silence() {
    let part = [&[0x7c, 0x05][..], &[0xab; 1_000]].concat();
    let mut stream = vec![rtp(0, 0, true, IDR), rtp(1, 3_600, false, &[0x7c, 0x85, 0x88])];
    stream.extend((2..2_000).map(|seq| rtp(seq, 3_600, false, &part)));
    let peer = Peer::new(h264(), &stream, Then::Stay);
    let source = source(&peer, |c| c.silence_max = Duration::from_millis(300)).await;
    let (_, items, error) = drain(source.open().await.expect("an open session")).await;
    assert_eq!((items.len(), error.cause), (1, GapCause::Silent));
}

#[tokio::test]
async fn reports_alone_do_not_break_the_silence() {
    let mut stream = vec![rtp(1, 0, true, IDR)];
    stream.extend((1..100).map(|i| sender_report(i << 32, 0)));
    let peer = Peer::new(h264(), &stream, Then::Stay);
    let source = source(&peer, |c| c.silence_max = Duration::from_millis(300)).await;
    let (_, items, error) = drain(source.open().await.expect("an open session")).await;
    assert_eq!((items.len(), error.cause), (100, GapCause::Silent));
}

#[tokio::test]
async fn sender_reports_are_placed_on_the_timeline_of_the_pictures() {
    let ntp = WallTime(1_800_000_000 * 90_000).to_ntp();
    let stream = [rtp(1, u32::MAX, true, IDR), sender_report(ntp, 50), sender_report(0, 60), rtp(2, 99, true, P)];
    let (_, items, _) = play(&Peer::new(h264(), &stream, Then::Close)).await;
    let reports: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Item::SenderReport { timestamp, camera_time, .. } => Some((*timestamp, *camera_time)),
            Item::AccessUnit(_) | Item::Oddities(_) => None,
        })
        .collect();
    assert_eq!(reports, [((1 << 32) + 50, WallTime(1_800_000_000 * 90_000))], "a camera without a clock sends zero");
}

#[tokio::test]
async fn bytes_between_packets_that_are_none_cost_no_packet() {
    let stray = [&b"\x00\x01garbage\r\n\r\n"[..], b"\0\0\0\0", b"$$$", b"RTSP", b"GET / HTTP/1.1\r\n\r\n", b"$"];
    for stray in stray {
        let packets = [rtp(1, 0, true, IDR), stray.to_vec(), rtp(2, 3_600, true, P)];
        let expect = [(0, sample(IDR), true, 0), (3_600, sample(P), false, 0)];
        check_units(Peer::new(h264(), &packets, Then::Close), &expect).await;
    }
}

#[tokio::test]
async fn packets_that_are_odd_cost_themselves_alone() {
    let (first, second) = ((0, sample(IDR), 0), (3_600, sample(P), 0));
    let (idr, p) = (rtp(1, 0, true, IDR), rtp(2, 3_600, true, P));
    let between = |what: Vec<u8>| [idr.clone(), what, p.clone()];
    let both = [first.clone(), second.clone()];
    check_odd(h264(), &between(interleaved(0, &[0x13; 20])), &both, &[Oddity::CorruptPacket]).await;
    check_odd(h264(), &between(rtp_from(8, 9, 1_800, true, P)), &both, &[Oddity::ForeignSource]).await;
    check_odd(h264(), &between(idr.clone()), &both, &[Oddity::DuplicatePacket]).await;
    check_odd(h264(), &between(interleaved(1, &[0x13; 20])), &both, &[Oddity::CorruptReport]).await;
    check_odd(h264(), &between(interleaved(6, &[0x80; 20])), &both, &[Oddity::UnknownChannel]).await;
    let report = sender_report(7 << 32, 0);
    check_odd(h264(), &between(interleaved(0, &report[4..])), &both, &[Oddity::ReportAmongPackets]).await;
    // An empty packet has a number of its own.
    let stream = [idr.clone(), rtp(2, 0, true, &[]), rtp(3, 3_600, true, P)];
    check_odd(h264(), &stream, &both, &[Oddity::EmptyPayload]).await;
    // Late by one.
    let stream = [idr, rtp(3, 7_200, true, P), p];
    check_odd(h264(), &stream, &[first, second, (7_200, sample(P), 0)], &[Oddity::ReorderedPacket]).await;
}

#[tokio::test]
async fn a_camera_that_marks_every_slice_sends_the_same_pictures() {
    let (second, third) = ([0x65, 0x40, 7], [0x41, 0x40, 7]);
    let stream = [
        rtp(1, 0, true, IDR),
        rtp(2, 0, true, &second),
        rtp(3, 3_600, true, P),
        rtp(4, 3_600, true, &third),
        rtp(5, 7_200, true, IDR),
    ];
    let expect = [
        (0, [sample(IDR), sample(&second)].concat(), 0),
        (3_600, [sample(P), sample(&third)].concat(), 0),
        (7_200, sample(IDR), 0),
    ];
    check_odd(h264(), &stream, &expect, &[Oddity::MarkerInsidePicture]).await;
}

#[tokio::test]
async fn a_signature_in_a_sei_message_is_recorded_whatever_its_bytes() {
    let sei = [&[0x06, 0x05, 0x20][..], &[0, 0, 1, 0x67, 0, 0, 0, 1, 0x65, 0x88, 0, 0, 0, 0x80]].concat();
    let stream: Vec<_> =
        (0..3).flat_map(|n| [rtp(2 * n, n as u32 * 9, false, &sei), rtp(2 * n + 1, n as u32 * 9, true, IDR)]).collect();
    let expect: Vec<_> = (0..3).map(|n| (n * 9, [sample(&sei), sample(IDR)].concat(), 0)).collect();
    check_odd(h264(), &stream, &expect, &[]).await;
}

#[tokio::test]
async fn parameter_sets_that_cannot_be_read_are_carried() {
    let broken = [0x67, 0xff];
    let stream = [rtp(1, 0, true, IDR), rtp(2, 3_600, false, &broken), rtp(3, 3_600, true, IDR)];
    let expect = [(0, sample(IDR), 0), (3_600, [sample(&broken), sample(IDR)].concat(), 0)];
    check_odd(h264(), &stream, &expect, &[Oddity::UnreadableParameterSet]).await;
}

#[tokio::test]
async fn the_last_picture_is_not_kept_back_when_a_camera_falls_silent() {
    let peer = Peer::new(h264(), &[rtp(1, 0, false, IDR)], Then::Stay);
    let source = source(&peer, |c| c.silence_max = Duration::from_millis(300)).await;
    let (_, items, error) = drain(source.open().await.expect("an open session")).await;
    assert_eq!((units(items).len(), error.cause), (1, GapCause::Silent));
}

#[tokio::test]
async fn a_camera_cannot_send_us_to_another_host() {
    let media = format!("a=control:rtsp://192.0.2.1/elsewhere\r\n{}", h264());
    let peer = Peer::new(media, &[rtp(1, 0, true, IDR)], Then::Close);
    let (_, items, _) = play(&peer).await;
    assert_eq!(units(items).len(), 1);
    let requests = peer.requests();
    let play = requests.iter().find(|r| r.starts_with("PLAY")).expect("it was played");
    assert!(play.starts_with("PLAY rtsp://192.0.2.1/elsewhere "), "{play}");
}

#[tokio::test]
async fn a_session_is_kept_alive_in_the_way_that_the_camera_offers() {
    let peer = Peer::new(h264(), &[rtp(1, 0, true, IDR)], Then::Stay);
    let source = source(&peer, |_| ()).await;
    let mut session = source.open().await.expect("an open session");
    assert!(matches!(session.items.next().await, Some(Ok(Item::AccessUnit(_)))));
    for request in ["OPTIONS", "GET_PARAMETER"] {
        tokio::select! {
            () = peer.asked(request) => {}
            item = session.items.next() => panic!("{item:?} before {request}"),
        }
    }
    let asked = peer.requests();
    let kept: Vec<_> = asked.iter().filter(|r| r.starts_with("OPTIONS") || r.starts_with("GET_")).collect();
    assert!(kept.iter().all(|r| r.contains("/live?channel=1&subtype=0 ")), "{kept:?}");
}

#[tokio::test]
async fn cra_pictures_of_h265_are_random_access_points() {
    let stream = [
        rtp(1, 0, true, &[0x26, 0x01, 0xaf, 1]),
        rtp(2, 9, true, &[0x02, 0x01, 0xd0]),
        rtp(3, 99, true, &[0x2a, 0x01, 0xaf]),
    ];
    let expect = [
        (0, sample(&[0x26, 0x01, 0xaf, 1]), true, 0),
        (9, sample(&[0x02, 0x01, 0xd0]), false, 0),
        (99, sample(&[0x2a, 0x01, 0xaf]), true, 0),
    ];
    check_units(Peer::new(H265, &stream, Then::Close), &expect).await;
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_packet_is_a_disconnection() {
    let torn = rtp(2, 3_600, true, P)[..9].to_vec();
    let (_, items, error) = play(&Peer::new(h264(), &[rtp(1, 0, true, IDR), torn], Then::Close)).await;
    assert_eq!((items.len(), error.cause), (1, GapCause::Disconnected), "{error}");
}

#[tokio::test]
async fn requests_that_go_unanswered_are_named() {
    for request in ["DESCRIBE", "SETUP", "PLAY"] {
        let peer = Peer::new(h264(), &[], Then::Stay).answering(request, Answer::Nothing);
        check_open(peer, GapCause::SetupTimeout, &[request, "0.3 s"]).await;
    }
}

#[tokio::test]
async fn odd_answers_to_each_request_say_which() {
    for request in ["DESCRIBE", "SETUP", "PLAY"] {
        let peer = |answer| Peer::new(h264(), &[], Then::Stay).answering(request, answer);
        check_open(peer(Answer::Status("403 Forbidden")), GapCause::Unauthorized, &[request, "operateur"]).await;
        check_open(peer(Answer::Status("500 Oops")), GapCause::ProtocolError, &["500", request]).await;
        check_open(peer(Answer::Garbage), GapCause::SetupTimeout, &["did not answer", request]).await;
        check_open(peer(Answer::Close), GapCause::Disconnected, &["closed", request]).await;
    }
}

#[tokio::test]
async fn a_camera_without_recordable_video_says_what_it_offers_instead() {
    let cause = GapCause::UnsupportedMedia;
    check_open(Peer::new(MJPEG, &[], Then::Stay), cause, &["video jpeg/90000"]).await;
    check_open(Peer::new(PCMA.to_owned() + ONVIF, &[], Then::Stay), cause, &["audio pcma/8000, onvif metadata"]).await;
    check_open(Peer::new("", &[], Then::Stay), cause, &["no stream"]).await;
}

#[tokio::test]
async fn sound_is_recorded_only_where_it_is_allowed() {
    let mut sound = vec![0x80, 8, 0, 1, 0, 0, 0, 80, 0, 0, 0, 9];
    sound.extend_from_slice(&[0xd5; 160]);
    let stream = [rtp(1, 0, true, IDR), interleaved(2, &sound)];
    let media = h264() + PCMA + ONVIF;
    for (audio, offered) in [(true, vec!["onvif metadata"]), (false, vec!["audio pcma/8000", "onvif metadata"])] {
        let peer = Peer::new(media.clone(), &stream, Then::Close);
        let source = source(&peer, |c| c.audio = audio).await;
        let (session, items, _) = drain(source.open().await.expect("an open session")).await;
        assert_eq!(session.also_offered, offered);
        let heard: Vec<_> = units(items).into_iter().filter(|u| u.track == Track::Audio).collect();
        assert_eq!(
            heard.iter().map(|u| (u.timestamp, u.data.len())).collect::<Vec<_>>(),
            vec![(80, 160); usize::from(audio)]
        );
        let entry = session.params.audio.as_ref().map(|a| (a.clock_rate, a.sample_entry[4..8].to_vec()));
        assert_eq!(entry, audio.then(|| (8_000, b"alaw".to_vec())));
    }
}

#[tokio::test]
async fn pictures_go_on_without_the_sound_that_a_camera_refuses_to_set_up() {
    let peer = Peer::new(h264() + PCMA, &[rtp(1, 0, true, IDR)], Then::Close);
    let peer = peer.answering("/sound ", Answer::Status("461 Unsupported Transport"));
    let source = source(&peer, |c| c.audio = true).await;
    let (session, items, _) = drain(source.open().await.expect("an open session")).await;
    assert_eq!(
        (session.params.audio.is_none(), session.also_offered.clone(), items.len()),
        (true, vec!["audio pcma/8000".to_owned()], 1)
    );
}

#[tokio::test]
async fn the_url_is_sent_as_it_was_configured() {
    let peer = Peer::new(h264(), &[rtp(1, 0, true, IDR)], Then::Close);
    let (_session, ..) = play(&peer).await;
    let lines = peer.requests();
    let described = lines.iter().find(|r| r.starts_with("DESCRIBE")).expect("a description was asked for");
    assert!(described.ends_with("/live?channel=1&subtype=0 RTSP/1.0"), "{described}");
}

#[tokio::test]
async fn a_dropped_session_is_torn_down() {
    let peer = Peer::new(h264(), &[rtp(1, 0, true, IDR)], Then::Stay);
    let source = source(&peer, |_| ()).await;
    drop(source.open().await.expect("an open session"));
    peer.asked("TEARDOWN").await;
    let again = source.open().await.expect("the old session is no obstacle");
    // Nor is dropping it where there is no runtime.
    std::thread::spawn(move || drop(again)).join().expect("no panic");
}
